/* backup_cmd.c: a backup read again, because somebody wants to know now; a backup as files of one's own. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/cli/client_cmd.h"
#include "server/cli/offline.h"
#include "server/cli/table.h"
#include "usb/base/io.h"
#include "usb/base/mem.h"

/* ---- verify ----------------------------------------------------------------------------------------- */

static int verify_one(struct client *c, const char *id, json_t **out, struct err *err)
{
    AUTO(free_ptr) char *path = client_path("backups", id, "verify");
    AUTO(client_json_free) json_t *body = json_object();
    struct client_request request = {
        .method = "POST", .path = path, .body = body, .wait_s = CLIENT_WORK_WAIT_S};
    return client_call(c, &request, out, err);
}

/* Damage goes to stderr; what is good is a line, or all of it JSON. */
static int verify_list(struct client *c, json_t *ids, bool json)
{
    AUTO(client_json_free) json_t *found = json_array();
    int rc = CLI_FINE;
    size_t i;
    json_t *id;
    json_array_foreach(ids, i, id)
    {
        struct err err;
        json_t *backup = NULL;
        if (verify_one(c, json_string_value(id), &backup, &err) < 0)
            return client_fail(c, &err);
        json_array_append_new(found, backup);
        const char *damage = text_of(backup, "damage");
        if (damage) {
            err_set(&err, ERR_VERIFY, "backup %s is damaged: %s", text_or_dash(backup, "id"),
                    damage);
            rc = cli_fail(
                &err,
                "Do not rely on it. Import the same dump, or save the phone, once more: what is "
                "damaged is put right by it. Or restore backups.db from a copy (flashrack db "
                "backup).");
        } else if (!json) {
            printf("backup %s: every image is as it was stored\n", text_or_dash(backup, "id"));
        }
    }
    if (json)
        cli_json_print(json_pack("{s:O}", "items", found));
    return rc;
}

int backup_verify_cmd(const struct cli_command *self, int argc, char **argv)
{
    struct client_options common = {0};
    bool all = false;
    const struct cli_option options[] = {CLIENT_OPTIONS(common), {"all", NULL, &all, 0}, {0}};
    AUTO(client_free) struct client *c = NULL;
    AUTO(client_json_free) json_t *ids = json_array();
    int n = cli_options(self, argc, argv, options);
    if (n < 0)
        return CLI_USAGE;
    if ((n == 0) != all || n > 1)
        return cli_usage(self, "one backup's id is needed, or --all");
    int rc = station_open(&common, &c);
    if (rc == CMD_GO_ON && n == 1)
        json_array_append_new(ids, cli_json_text(argv[0]));
    if (rc == CMD_GO_ON && all)
        rc = backup_ids(c, ids);
    return rc != CMD_GO_ON ? rc : verify_list(c, ids, common.json);
}

/* ---- retention -------------------------------------------------------------------------------------- */

static int prune_some(struct client *c, bool dry_run, json_t *items, json_t **next, struct err *err)
{
    AUTO(client_json_free) json_t *body = json_object(), *answer = NULL;
    json_object_set_new(body, "dry_run", json_boolean(dry_run));
    if (*next)
        json_object_set(body, "after", *next);
    json_decref(*next);
    *next = NULL;
    int rc = client_work(c, CLIENT_API "/backups/prune", body, &answer, err);
    if (rc < 0)
        return rc;
    json_array_extend(items, json_object_get(answer, "items"));
    if (json_is_string(json_object_get(answer, "next")))
        *next = json_incref(json_object_get(answer, "next"));
    return 0;
}

static void prune_print(json_t *items, bool dry_run)
{
    AUTO(table_free) struct table *t = table_new("BACKUP\0PHONE\0\0WHY\0");
    size_t i, gone = 0;
    json_t *item;
    json_array_foreach(items, i, item)
    {
        const char *why = text_of(item, "why");
        table_cell(t, text_of(item, "backup_id"));
        table_cell(t, text_of(item, "phone_id"));
        table_cell(t, why ? "stays" : dry_run ? "would go" : "gone");
        table_cell(t, why ? why : "-");
        gone += !why;
    }
    table_print(t);
    printf("\n%zu of %zu pre-images %s\n", gone, json_array_size(items),
           dry_run ? "would go" : "went");
}

int backup_prune_cmd(const struct cli_command *self, int argc, char **argv)
{
    struct client_options common = {0};
    bool dry_run = false;
    const struct cli_option options[] = {
        CLIENT_OPTIONS(common), {"dry-run", NULL, &dry_run, 0}, {0}};
    AUTO(client_free) struct client *c = NULL;
    AUTO(client_json_free) json_t *items = json_array();
    json_t *next = NULL;
    int rc = client_begin(self, argc, argv, options, &common, 0, "", &c);
    if (rc != CMD_GO_ON)
        return rc;
    do {
        struct err err;
        if (prune_some(c, dry_run, items, &next, &err) < 0)
            return client_fail(c, &err);
    } while (next);
    if (common.json)
        cli_json_print(json_pack("{s:O}", "items", items));
    else
        prune_print(items, dry_run);
    return CLI_FINE;
}

int backup_pin_cmd(const struct cli_command *self, int argc, char **argv)
{
    struct client_options common = {0};
    bool off = false;
    const struct cli_option options[] = {CLIENT_OPTIONS(common), {"off", NULL, &off, 0}, {0}};
    AUTO(client_free) struct client *c = NULL;
    AUTO(client_json_free) json_t *body = json_object(), *backup = NULL;
    int rc = client_begin(self, argc, argv, options, &common, 1, "the backup's id is needed", &c);
    if (rc != CMD_GO_ON)
        return rc;
    struct err err;
    AUTO(free_ptr) char *path = client_path("backups", argv[0], "pin");
    json_object_set_new(body, "pinned", json_boolean(!off));
    if (client_work(c, path, body, &backup, &err) < 0)
        return client_fail(c, &err);
    if (common.json)
        cli_json_print(json_incref(backup));
    else
        printf("backup %s: %s\n", text_or_dash(backup, "id"),
               off ? "retention decides" : "retention leaves it alone");
    return CLI_FINE;
}

/* ---- export ----------------------------------------------------------------------------------------- */

/* The station names the files: none may leave the folder. */
static int check_name(const char *name, struct err *err)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
    if (name && name[0] && !name[strspn(name, allowed)])
        return 0;
    return err_set(err, ERR_FORMAT, "'%s' cannot be a file name", name ? name : "");
}

static int image_get(struct client *c, const char *id, json_t *partition, int dir_fd,
                     struct new_file *file, struct err *err)
{
    const char *name = json_string_value(json_object_get(partition, "name"));
    int rc = check_name(name, err);
    if (rc < 0)
        return rc;
    AUTO(free_ptr) char *image = xasprintf("%s.img", name);
    AUTO(free_ptr) char *verb = xasprintf("partitions/%s", name);
    AUTO(free_ptr) char *path = client_path("backups", id, verb);
    struct sha256 got, want;
    rc = new_file_open(dir_fd, image, file, err);
    if (rc >= 0)
        rc = client_download(c, path, file->fd, &got, err);
    if (rc < 0)
        return rc;
    bool named = sha256_parse(json_string_value(json_object_get(partition, "sha256")), &want);
    if (!named || !sha256_equal(&got, &want))
        return err_set(err, ERR_VERIFY, "%s did not arrive whole: its hash is another one", image);
    return 0;
}

static int text_put(int dir_fd, const char *name, const char *text, struct err *err)
{
    AUTO(new_file_deinit) struct new_file file = {0};
    int rc = new_file_open(dir_fd, name, &file, err);
    if (rc >= 0)
        rc = io_write(file.fd, text, strlen(text), err);
    return rc < 0 ? rc : new_file_commit(&file, err);
}

/* The sums come last: a folder with SHA256SUMS is a whole one. */
static int texts_put(int dir_fd, json_t *backup, struct err *err)
{
    AUTO(free_ptr) char *manifest = json_dumps(backup, JSON_INDENT(1));
    AUTO(free_ptr) char *sums = xstrdup("");
    size_t i;
    json_t *p;
    json_array_foreach(json_object_get(backup, "partitions"), i, p)
    {
        char *more =
            xasprintf("%s%s  %s.img\n", sums, text_or_dash(p, "sha256"), text_or_dash(p, "name"));
        free(sums);
        sums = more;
    }
    int rc = text_put(dir_fd, "manifest.json", manifest, err);
    return rc < 0 ? rc : text_put(dir_fd, "SHA256SUMS", sums, err);
}

/* Every image is fetched and compared before the first gets its final name. */
static int export_to(struct client *c, json_t *backup, int dir_fd, struct err *err)
{
    json_t *partitions = json_object_get(backup, "partitions"), *p;
    size_t i, count = json_array_size(partitions);
    const char *id = json_string_value(json_object_get(backup, "id"));
    AUTO(free_ptr) struct new_file *files = xcalloc(count + 1, sizeof(*files));
    int rc = 0;
    json_array_foreach(partitions, i, p)
    {
        rc = rc < 0 ? rc : image_get(c, id, p, dir_fd, &files[i], err);
    }
    for (i = 0; rc >= 0 && i < count; i++)
        rc = new_file_commit(&files[i], err);
    for (i = 0; i < count; i++)
        new_file_deinit(&files[i]);
    return rc < 0 ? rc : texts_put(dir_fd, backup, err);
}

/* A folder that is there already may hold another backup: the two would mix. */
static int folder_new(const char *path, struct err *err)
{
    if (mkdir(path, 0700) < 0)
        return err_sys(err, errno == EEXIST ? ERR_INPUT : ERR_IO, "make folder '%s'", path);
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? err_sys(err, ERR_IO, "open folder '%s'", path) : fd;
}

int backup_export_cmd(const struct cli_command *self, int argc, char **argv)
{
    struct client_options common = {0};
    const char *output = NULL;
    const struct cli_option options[] = {
        CLIENT_OPTIONS(common), {"output", &output, NULL, 'o'}, {0}};
    AUTO(client_free) struct client *c = NULL;
    int rc = client_arguments(self, argc, argv, options, 1, "the backup's id is needed");
    if (rc == CMD_GO_ON && !output)
        rc = cli_usage(self, "-o DIR is needed: a folder that is not there yet");
    if (rc == CMD_GO_ON)
        rc = station_open(&common, &c);
    if (rc != CMD_GO_ON)
        return rc;
    struct err err;
    AUTO(client_json_free) json_t *backup = NULL;
    AUTO(free_ptr) char *path = client_path("backups", argv[0], "");
    if (client_get(c, path, &backup, &err) < 0)
        return client_fail(c, &err);
    AUTO(fd_close) int dir_fd = folder_new(output, &err);
    if (dir_fd < 0)
        return cli_fail(&err, "Name a folder that is not there yet.");
    if (export_to(c, backup, dir_fd, &err) < 0) {
        rmdir(output); /* only when nothing is in it */
        return client_fail(c, &err);
    }
    if (common.json)
        cli_json_print(json_incref(backup));
    else
        printf("backup %s is in %s: %zu images, SHA256SUMS, manifest.json\n", argv[0], output,
               json_array_size(json_object_get(backup, "partitions")));
    return CLI_FINE;
}
