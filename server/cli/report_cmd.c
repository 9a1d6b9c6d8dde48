/* report_cmd.c: `report verify` works without a station; `report get` and `report key` ask one. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/cli/client_cmd.h"
#include "server/cli/offline.h"
#include "server/cli/report_check.h"
#include "usb/base/io.h"
#include "usb/base/mem.h"

enum { REPORT_MAX_BYTES = 4 << 20, KEY_FILE_MAX_BYTES = 4096 };

/* ---- verify ----------------------------------------------------------------------------------------- */

/* A key as 64 digits, or a file that `report key -o` wrote. */
static int key_of(const char *text, struct sign_key *out, struct err *err)
{
    if (sign_key_parse(text, out))
        return 0;
    AUTO(free_ptr) char *file = NULL;
    size_t len;
    int rc = io_slurp(AT_FDCWD, text, KEY_FILE_MAX_BYTES, &file, &len, err);
    if (rc < 0)
        return rc;
    file[strcspn(file, " \r\n")] = '\0';
    if (!sign_key_parse(file, out))
        return err_set(err, ERR_FORMAT, "'%s' is no public key: 64 hex digits are wanted", text);
    return 0;
}

struct
    trusted { /* keys that the person knows to be the station's, in the order in which it had them */
    struct sign_key keys[CLI_VALUES_MAX];
    int count;
};

/* The one that this report says it was signed with; else the first, which then refuses it. NULL: none was given. */
static const struct sign_key *key_for(json_t *report, const struct trusted *trusted)
{
    const char *text = json_string_value(json_object_get(report, "public_key"));
    struct sign_key key;
    if (!trusted->count || !text || !sign_key_parse(text, &key))
        return trusted->count ? trusted->keys : NULL;
    for (int i = 0; i < trusted->count; i++)
        if (memcmp(trusted->keys[i].bytes, key.bytes, sizeof(key.bytes)) == 0)
            return &trusted->keys[i];
    return trusted->keys;
}

static int report_read(const char *path, const struct trusted *trusted, json_t **json,
                       struct report *out, struct err *err)
{
    AUTO(free_ptr) char *text = NULL;
    size_t len;
    int rc = io_slurp(AT_FDCWD, path, REPORT_MAX_BYTES, &text, &len, err);
    if (rc < 0)
        return rc;
    json_error_t why;
    *json = json_loadb(text, len, JSON_REJECT_DUPLICATES, &why);
    if (!*json)
        return err_set(err, ERR_FORMAT, "%s line %d: %s", path, why.line, why.text);
    rc = report_check(*json, key_for(*json, trusted), out, err);
    return rc < 0 ? err_in(err, "%s", path) : 0;
}

static void report_tell(const struct report *r)
{
    printf("job %s (%s): signed and unchanged; %s, phone %s, number %lld of its station\n",
           cli_printable(r->job_id), cli_printable(r->serial), cli_printable(r->state),
           cli_printable(r->phone_state), (long long)r->sequence);
}

static void key_tell(const struct sign_key *key)
{
    char hex[SHA256_HEX_BYTES];
    struct sha256 fingerprint = sign_fingerprint(key);
    sha256_hex(&fingerprint, hex);
    printf("signed by the station with the fingerprint %s: compare it with 'flashrack report key' "
           "there, "
           "or give --key\n",
           hex);
}

static void key_digits(const struct sign_key *key, char digits[2 * SIGN_KEY_BYTES + 1])
{
    hex_encode(span_of(key->bytes, sizeof(key->bytes)), digits);
}

/* Where one key ends and the next begins: who knows both can check all of it as one chain. NULL: it is not that. */
static char *change_advice(const struct report *before, json_t *next)
{
    struct report now;
    char old[2 * SIGN_KEY_BYTES + 1], new[2 * SIGN_KEY_BYTES + 1];
    if (report_check(next, NULL, &now, NULL) < 0 ||
        memcmp(before->key.bytes, now.key.bytes, sizeof(now.key.bytes)) == 0)
        return NULL;
    key_digits(&before->key, old);
    key_digits(&now.key, new);
    return xasprintf(
        "A station that lost its key goes on with a new one; its audit names both (action "
        "station.key, "
        "after number %lld). Are these two the station's, by what you have kept? Then give them in "
        "their order:\n"
        "  flashrack report verify --key %s --key %s --chain FILE...",
        (long long)before->sequence, old, new);
}

static int verify_all(char **paths, int count, const struct trusted *trusted, bool chain,
                      char **advice, struct err *err)
{
    struct report before = {0}, now = {0};
    for (int i = 0; i < count; i++) {
        AUTO(client_json_free) json_t *json = NULL;
        int changed = 0, rc = report_read(paths[i], trusted, &json, &now, err);
        if (rc == 0 && chain && i > 0)
            rc = changed = report_follows(&before, &now, trusted->keys, trusted->count, err);
        if (rc < 0 && json && chain && i > 0 && trusted->count < 2)
            *advice = change_advice(&before, json);
        if (rc < 0)
            return rc;
        if (changed)
            printf("here the station goes on with its next key\n");
        report_tell(&now);
        before = now;
    }
    if (!trusted->count)
        key_tell(&now.key);
    return 0;
}

static int keys_of(const char *const *texts, struct trusted *out, struct err *err)
{
    for (; texts[out->count]; out->count++) {
        int rc = key_of(texts[out->count], &out->keys[out->count], err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int report_verify_cmd(const struct cli_command *self, int argc, char **argv)
{
    const char *key_texts[CLI_VALUES_MAX + 1] = {NULL};
    bool chain = false;
    const struct cli_option options[] = {
        {"key", key_texts, NULL, CLI_REPEATS}, {"chain", NULL, &chain, 0}, {0}};
    argc = cli_options(self, argc, argv, options);
    if (argc < 0)
        return CLI_USAGE;
    if (argc == 0)
        return cli_usage(self, "a report is needed, as 'flashrack report get' writes it");
    struct err err = {0};
    struct trusted trusted = {0};
    AUTO(free_ptr) char *advice = NULL;
    int rc = keys_of(key_texts, &trusted, &err);
    if (rc == 0)
        rc = verify_all(argv, argc, &trusted, chain, &advice, &err);
    if (rc < 0)
        return cli_fail(&err, advice             ? advice
                              : rc == ERR_VERIFY ? "Do not rely on it: get the report from its "
                                                   "station again."
                                                 : NULL);
    if (chain && argc > 1)
        printf("the chain of %d reports is whole\n", argc);
    return CLI_FINE;
}

/* ---- get, key --------------------------------------------------------------------------------------- */

static int save_or_print(const char *path, const char *text)
{
    struct err err;
    if (!path) {
        printf("%s\n", text);
        return CLI_FINE;
    }
    return new_file_write(path, span_of(text, strlen(text)), &err) < 0 ? cli_fail(&err, NULL)
                                                                       : CLI_FINE;
}

/* The report of a job as text, the caller's. */
static int report_fetch(struct client *c, const char *job_id, char **out, struct err *err)
{
    AUTO(client_json_free) json_t *report = NULL;
    AUTO(free_ptr) char *where = client_path("jobs", job_id, "report.json");
    int rc = client_get(c, where, &report, err);
    if (rc == 0)
        *out = json_dumps(report, JSON_INDENT(2) | JSON_SORT_KEYS);
    return rc;
}

/* "000017-job-21.json": a shell lists the files in the order of the chain. One that is there already is not fetched
 * again: a report never changes. */
static int report_save(struct client *c, const char *dir, json_t *place, struct err *err)
{
    const char *job_id = json_string_value(json_object_get(place, "job_id"));
    AUTO(free_ptr) char *text = NULL;
    AUTO(free_ptr)
    char *path =
        xasprintf("%s/%06lld-job-%s.json", dir,
                  (long long)json_integer_value(json_object_get(place, "sequence")), job_id);
    if (access(path, F_OK) == 0)
        return 0;
    int rc = report_fetch(c, job_id, &text, err);
    return rc < 0 ? rc : new_file_write(path, span_of(text, strlen(text)), err);
}

static int reports_save_all(struct client *c, const char *dir, size_t *count, struct err *err)
{
    AUTO(free_ptr) char *after = NULL;
    for (bool more = true; more;) {
        AUTO(client_json_free) json_t *page = NULL;
        AUTO(free_ptr) char *path = xstrdup(CLIENT_API "/reports");
        client_query(&path, "after", after);
        int rc = client_get(c, path, &page, err);
        json_t *items = json_object_get(page, "items");
        for (size_t i = 0; rc == 0 && i < json_array_size(items); i++, ++*count)
            rc = report_save(c, dir, json_array_get(items, i), err);
        if (rc < 0)
            return rc;
        free_ptr(&after);
        after = xstrdup(json_string_value(json_object_get(page, "next")));
        more = after != NULL;
    }
    return 0;
}

static int get_all(struct client *c, const char *dir)
{
    struct err err;
    size_t count = 0;
    if (mkdir(dir, 0755) < 0 && errno != EEXIST) {
        err_sys(&err, ERR_IO, "make folder '%s'", dir);
        return cli_fail(&err, NULL);
    }
    if (reports_save_all(c, dir, &count, &err) < 0)
        return client_fail(c, &err);
    printf("%zu reports in %s\nNext: flashrack report verify --chain %s/*.json\n", count, dir, dir);
    return CLI_FINE;
}

int report_get_cmd(const struct cli_command *self, int argc, char **argv)
{
    struct client_options common = {0};
    const char *path = NULL;
    bool all = false;
    const struct cli_option options[] = {
        CLIENT_OPTIONS(common), {"output", &path, NULL, 'o'}, {"all", NULL, &all, 0}, {0}};
    AUTO(client_free) struct client *c = NULL;
    argc = cli_options(self, argc, argv, options);
    if (argc < 0)
        return CLI_USAGE;
    if (argc != (all ? 0 : 1) || (all && !path))
        return cli_usage(self, "a job's id is needed, or --all and -o with a folder");
    int rc = station_open(&common, &c);
    if (rc != CMD_GO_ON)
        return rc;
    if (all)
        return get_all(c, path);
    struct err err;
    AUTO(free_ptr) char *text = NULL;
    if (report_fetch(c, argv[0], &text, &err) < 0)
        return client_fail(c, &err);
    return save_or_print(path, text);
}

int report_key_cmd(const struct cli_command *self, int argc, char **argv)
{
    struct client_options common = {0};
    const char *path = NULL;
    const struct cli_option options[] = {CLIENT_OPTIONS(common), {"output", &path, NULL, 'o'}, {0}};
    AUTO(client_free) struct client *c = NULL;
    int rc = client_begin(self, argc, argv, options, &common, 0, "", &c);
    if (rc != CMD_GO_ON)
        return rc;
    struct err err;
    AUTO(client_json_free) json_t *key = NULL;
    if (client_get(c, CLIENT_API "/station/key", &key, &err) < 0)
        return client_fail(c, &err);
    const char *public_key = json_string_value(json_object_get(key, "public_key"));
    const char *fingerprint = json_string_value(json_object_get(key, "fingerprint"));
    if (common.json)
        cli_json_print(json_incref(key));
    else if (!path)
        printf("%s\nfingerprint %s\n", public_key, fingerprint);
    return path ? save_or_print(path, public_key) : CLI_FINE;
}
