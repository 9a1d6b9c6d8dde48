/* inputs.c: dumps and firmware packages. Hashing, unpacking and judging them is the work of a worker without
 * a port; this side opens the files, and puts into the store what the worker found. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/station/internal.h"
#include "usb/base/clock.h"
#include "usb/base/io.h"
#include "usb/base/log.h"
#include "usb/base/mem.h"
#include "usb/base/tree.h"
#include "usb/format/dump.h"
#include "usb/format/firmware.h"
#include "usb/format/serial.h"

enum { RESULT_MAX_BYTES = 4 << 20 };

struct input_run {
    struct station *s;
    struct worker *worker;
    int spool_fd;
    char spool_name[64];
    int result_fd; /* of a package check: what was found, as JSON */
    char serial[24];
    char *path;
    char *scatter; /* of an import: a path, NULL when none was given */
    int64_t offset_bytes;
    struct wire_done result;
    bool has_result;
    struct err failed; /* on our side, before the worker could do anything */
    station_done_fn *done;
    void *arg;
    void (*finish)(struct input_run *r);
};

static void run_free(struct input_run *r)
{
    if (r->spool_fd >= 0) {
        AUTO(free_ptr) char *path = xasprintf("%s/spool/%s", r->s->data_dir, r->spool_name);
        unlink(path);
    }
    fd_close(&r->spool_fd);
    fd_close(&r->result_fd);
    json_decref(r->result.result);
    free(r->path);
    free(r->scatter);
    free(r);
}

static void run_fail(struct input_run *r, int code, const char *text)
{
    struct err err = {0};
    err_set(&err, code, "%s", text);
    done_error(r->done, r->arg, &err);
    run_free(r);
}

int path_allowed(const struct station *s, const char *path, char *resolved, size_t size,
                 struct err *err)
{
    char real[PATH_MAX], dir[PATH_MAX];
    if (!path || path[0] != '/')
        return err_set(err, ERR_INPUT, "path is an absolute path on the station");
    if (!realpath(path, real))
        return err_sys(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_INPUT, "'%s'", path);
    for (char **d = s->import_dirs; *d; d++) {
        if (!realpath(*d, dir))
            continue;
        size_t len = strlen(dir);
        bool inside = strncmp(real, dir, len) == 0 && (real[len] == '/' || real[len] == '\0');
        if (inside && strlen(real) < size) {
            memcpy(resolved, real, strlen(real) + 1);
            return 0;
        }
    }
    return err_set(err, ERR_INPUT,
                   "'%s' does not lie below a folder that the station may read; "
                   "start flashrackd with --import-dir FOLDER",
                   path);
}

static void on_message(void *arg, struct worker *w, const struct wire_message *m)
{
    (void)w;
    struct input_run *r = arg;
    if (m->type == WIRE_done) {
        json_decref(r->result.result);
        r->result = m->u.done;
        json_incref(r->result.result);
        r->has_result = true;
        worker_let_go(r->worker);
    } else if (m->type == WIRE_note) {
        log_line(LOG_INFO, "inputs", NULL, "%s: %s", r->path, m->u.note.text);
    }
}

static void on_ended(void *arg, struct worker *w, const char *why)
{
    (void)w;
    struct input_run *r = arg;
    r->worker = NULL;
    if (!r->has_result) {
        run_fail(r, r->failed.code ? r->failed.code : ERR_INTERNAL,
                 r->failed.code ? r->failed.text : why);
        return;
    }
    if (strcmp(r->result.code, "ok") != 0) {
        struct err err = {0};
        json_t *failure = json_object_get(r->s->failures, r->result.failure);
        const char *advice = json_string_value(json_object_get(failure, "advice"));
        err_set(&err, err_from_name(r->result.code), "%s%s%s", r->result.text, advice ? ". " : "",
                advice ? advice : "");
        done_error(r->done, r->arg, &err);
        run_free(r);
        return;
    }
    r->finish(r);
}

static const struct worker_events input_events = {on_message, on_ended};

static struct input_run *run_new(struct station *s, station_done_fn *done, void *arg)
{
    struct input_run *r = xcalloc(1, sizeof(*r));
    r->s = s;
    r->spool_fd = r->result_fd = -1;
    r->done = done;
    r->arg = arg;
    return r;
}

/* on_ended() answers */
static void run_abort(struct input_run *r, const struct err *err)
{
    r->failed = *err;
    worker_kill(r->worker, err->text);
}

static int run_worker(struct input_run *r, struct err *err)
{
    int device_end = -1;
    if (r->s->stopping)
        return err_set(err, ERR_CANCELLED, "the station is stopping");
    r->worker = worker_take(r->s->workers, &input_events, r, &device_end, err);
    if (!r->worker)
        return err->code;
    fd_close(&device_end); /* no port belongs to this run */
    return 0;
}

static void send_file(struct input_run *r, const char *name, int fd)
{
    struct wire_message m = {.type = WIRE_file, .fd = fd};
    WIRE_TEXT(m.u.file.name, name);
    worker_send(r->worker, &m);
}

static int send_run(struct input_run *r, const char *kind, const char *params, struct err *err)
{
    AUTO(fd_close) int fd = memfd_sealed("run", params, err);
    if (fd < 0)
        return fd;
    struct wire_message m = {.type = WIRE_run, .fd = fd};
    WIRE_TEXT(m.u.run.kind, kind);
    worker_send(r->worker, &m);
    worker_expect_beats(r->worker);
    return 0;
}

/* ---- dumps -------------------------------------------------------------------------------------------- */

static void on_import_ingested(void *arg, int code, const struct err *err, json_t *body)
{
    struct input_run *r = arg;
    json_t *backup = json_array_get(json_object_get(body, "backups"), 0);
    if (code < 0)
        done_error(r->done, r->arg, err);
    else if (backup)
        r->done(r->arg, 0, NULL, backup);
    else
        done_error(r->done, r->arg,
                   &(struct err){ERR_INTERNAL, "the import left no backup in its spool"});
    run_free(r);
}

static void import_finish(struct input_run *r)
{
    struct store_backup_meta meta = {.origin = "import", .serial = r->serial};
    store_spool_ingest(r->s->store, r->spool_fd, 0, &meta, on_import_ingested, r);
}

/* What an export writes beside the images. */
static int send_texts(struct input_run *r, int dir_fd, struct err *err)
{
    static const char *const names[] = {"SHA256SUMS", "manifest.json"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        AUTO(fd_close)
        int fd = openat(dir_fd, names[i], O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        if (fd < 0 && errno != ENOENT)
            return err_sys(err, ERR_INPUT, "'%s'", names[i]);
        if (fd >= 0)
            send_file(r, names[i], fd);
    }
    return 0;
}

/* Only what is named like a partition's image: other files of the folder are nobody's business. */
static int send_images(struct input_run *r, int dir_fd, struct err *err)
{
    AUTO(tree_deinit) struct tree files = {0};
    int rc = tree_list(dir_fd, FIRMWARE_FILES_MAX, &files, err), sent = 0;
    for (size_t i = 0; rc == 0 && i < files.count; i++) {
        char partition[GPT_NAME_BYTES], input[WIRE_NAME_MAX * 2];
        uint32_t number;
        if (strchr(files.names[i], '/') || !dump_file_partition(files.names[i], partition, &number))
            continue;
        AUTO(fd_close) int fd = openat(dir_fd, files.names[i], O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0)
            return err_sys(err, ERR_INPUT, "'%s'", files.names[i]);
        snprintf(input, sizeof(input), "dump/%.200s", files.names[i]);
        send_file(r, input, fd);
        sent++;
    }
    if (rc == 0 && sent == 0)
        return err_set(err, ERR_INPUT, "'%s' has no files named like proinfo.img or 13.proinfo.img",
                       r->path);
    return rc;
}

static int send_dump(struct input_run *r, int fd, const struct stat *st, struct err *err)
{
    if (S_ISDIR(st->st_mode)) {
        int rc = send_texts(r, fd, err);
        return rc < 0 ? rc : send_images(r, fd, err);
    }
    send_file(r, "dump", fd);
    return 0;
}

static int send_scatter(struct input_run *r, struct err *err)
{
    if (!r->scatter)
        return 0;
    AUTO(fd_close) int fd = open(r->scatter, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return err_sys(err, ERR_INPUT, "scatter file '%s'", r->scatter);
    send_file(r, "scatter", fd);
    return 0;
}

static int import_run(struct input_run *r, struct err *err)
{
    AUTO(fd_close) int dump = open(r->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;
    if (dump < 0 || fstat(dump, &st) < 0)
        return err_sys(err, ERR_INPUT, "'%s'", r->path);
    if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
        return err_set(err, ERR_INPUT, "'%s' is neither a dump nor a folder of images", r->path);
    static int counter;
    snprintf(r->spool_name, sizeof(r->spool_name), "import-%d-%lld-%d.spool", (int)getpid(),
             (long long)clock_utc_ms(), counter++);
    int rc = r->spool_fd = spool_open(r->s, r->spool_name, err);
    if (rc >= 0)
        rc = run_worker(r, err);
    if (rc < 0)
        return rc;
    struct wire_message spool = {.type = WIRE_spool, .fd = r->spool_fd};
    worker_send(r->worker, &spool);
    rc = send_dump(r, dump, &st, err);
    if (rc == 0)
        rc = send_scatter(r, err);
    if (rc < 0)
        return rc;
    const struct loaded_recipe *recipe = recipe_by_name(r->s, "x5-restore");
    json_t *params = json_pack("{s:s, s:O, s:I}", "serial", r->serial, "recipe", recipe->json,
                               "offset", (json_int_t)r->offset_bytes);
    AUTO(free_ptr) char *text = json_dumps(params, JSON_COMPACT);
    json_decref(params);
    return send_run(r, "import", text, err);
}

static void import_go_on(struct input_run *r, int rc, struct err *err)
{
    if (rc == 0)
        rc = import_run(r, err);
    if (rc < 0 && !r->worker)
        run_fail(r, rc, err->text);
    else if (rc < 0)
        run_abort(r, err);
}

/* The scatter file of a package that the station knows. */
static void on_import_firmware(void *arg, int code, const struct err *why, json_t *firmware)
{
    struct input_run *r = arg;
    struct err err = why ? *why : (struct err){0};
    const char *dir = json_string_value(json_object_get(firmware, "path"));
    const char *name =
        json_string_value(json_object_get(json_object_get(firmware, "detail"), "scatter"));
    if (code == 0 && dir && name && name[0])
        r->scatter = xasprintf("%s/%s", dir, name);
    else if (code == 0)
        code =
            err_set(&err, ERR_INPUT, "no scatter file is on record for this package: add it again");
    import_go_on(r, code, &err);
}

static int import_start(struct input_run *r, const struct backup_import *order, struct err *err)
{
    struct serial_check check;
    char real[PATH_MAX];
    serial_check(order->serial ? order->serial : "", SERIAL_PROJECT_X5, &check);
    if (check.verdict != SERIAL_VALID)
        return err_set(err, ERR_INPUT, "serial: %s", check.reason);
    int rc = path_allowed(r->s, order->path, real, sizeof(real), err);
    if (rc < 0)
        return rc;
    r->path = xstrdup(real);
    WIRE_TEXT(r->serial, order->serial);
    r->offset_bytes = order->offset_bytes;
    if (!order->scatter || order->scatter[0] != '/')
        return 0;
    rc = path_allowed(r->s, order->scatter, real, sizeof(real), err);
    if (rc == 0)
        r->scatter = xstrdup(real);
    return rc;
}

void station_backup_import(struct station *s, const struct backup_import *order,
                           station_done_fn *done, void *arg)
{
    struct err err = {0};
    struct input_run *r = run_new(s, done, arg);
    r->finish = import_finish;
    int rc = import_start(r, order, &err);
    if (rc == 0 && order->scatter && !r->scatter)
        store_firmware_get(s->store, store_id(order->scatter), on_import_firmware, r);
    else
        import_go_on(r, rc, &err);
}

/* ---- firmware ----------------------------------------------------------------------------------------- */

static void on_firmware_stored(void *arg, int code, const struct err *err, json_t *body)
{
    struct input_run *r = arg;
    if (r->done)
        r->done(r->arg, code, err, code < 0 ? NULL : body);
    run_free(r);
}

static json_t *result_read(struct input_run *r, struct err *err)
{
    int64_t size = io_size(r->result_fd, err);
    if (size < 0 || size > RESULT_MAX_BYTES) {
        err_set(err, ERR_LIMIT, "the worker found too much in '%s'", r->path);
        return NULL;
    }
    AUTO(free_ptr) char *text = xcalloc(1, (size_t)size + 1);
    json_error_t why;
    json_t *found = NULL;
    if (io_pread(r->result_fd, text, (size_t)size, 0, err) == 0 &&
        !(found = json_loadb(text, (size_t)size, 0, &why)))
        err_set(err, ERR_INTERNAL, "result of the package check: %s", why.text);
    return found;
}

static void firmware_finish(struct input_run *r)
{
    struct err err = {0};
    json_t *found = result_read(r, &err);
    if (!found) {
        run_fail(r, err.code, err.text);
        return;
    }
    struct store_firmware_new fw = {
        .path = r->path,
        .name = json_string_value(json_object_get(found, "name")),
        .platform = json_string_value(json_object_get(found, "platform")),
        .project = json_string_value(json_object_get(found, "project")),
        .version = json_string_value(json_object_get(found, "version")),
        .files = json_object_get(found, "files"),
        .problems = json_object_get(found, "problems"),
        .detail = found,
    };
    store_firmware_put(r->s->store, &fw, on_firmware_stored, r);
    json_decref(found);
}

static int send_result_file(struct input_run *r, struct err *err)
{
    r->result_fd = memfd_create("result", MFD_CLOEXEC);
    if (r->result_fd < 0)
        return err_sys(err, ERR_IO, "memfd");
    send_file(r, "result", r->result_fd);
    return 0;
}

static int send_package_file(struct input_run *r, int dir_fd, const char *name, struct err *err)
{
    char input[WIRE_NAME_MAX * 2];
    int n = snprintf(input, sizeof(input), "firmware/%s", name);
    if (n < 0 || (size_t)n >= sizeof(input))
        return err_set(err, ERR_LIMIT, "'%s' is too long a name for a file of a package", name);
    AUTO(fd_close) int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return err_sys(err, ERR_INPUT, "'%s'", name);
    send_file(r, input, fd);
    return 0;
}

/* The worker's parameters: files that it gets nothing of are named, to be told as problems. */
static char *package_params(const struct input_run *r, const struct tree *files)
{
    const char *slash = strrchr(r->path, '/');
    json_t *left_out = json_array();
    for (size_t i = 0; i < files->left_out_count; i++)
        json_array_append_new(left_out, json_string(files->left_out[i]));
    json_t *params =
        json_pack("{s:s, s:o}", "name", slash ? slash + 1 : r->path, "left_out", left_out);
    char *text = json_dumps(params, JSON_COMPACT);
    json_decref(params);
    return text;
}

/* The files of the folder, then what they are to be looked at as. */
static int send_folder(struct input_run *r, struct err *err)
{
    AUTO(fd_close) int dir_fd = open(r->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir_fd < 0)
        return err_sys(err, ERR_INPUT, "'%s': a firmware package is a folder", r->path);
    AUTO(tree_deinit) struct tree files = {0};
    int rc = tree_list(dir_fd, FIRMWARE_FILES_MAX, &files, err);
    if (rc < 0)
        return err_in(err, "'%s' is no firmware package", r->path);
    if (files.count == 0)
        return err_set(err, ERR_INPUT, "'%s' has no files", r->path);
    for (size_t i = 0; rc == 0 && i < files.count; i++)
        rc = send_package_file(r, dir_fd, files.names[i], err);
    AUTO(free_ptr) char *params = package_params(r, &files);
    return rc < 0 ? rc : send_run(r, "firmware", params, err);
}

/* r->path is a folder with the package's files. */
static int package_check(struct input_run *r, struct err *err)
{
    int rc = run_worker(r, err);
    r->finish = firmware_finish;
    if (rc == 0)
        rc = send_result_file(r, err);
    return rc < 0 ? rc : send_folder(r, err);
}

/* Vendors pack a package with or without a folder around it: one folder and nothing else is gone into. */
static void enter_only_folder(struct input_run *r)
{
    DIR *d = opendir(r->path);
    char only[NAME_MAX + 1] = "";
    int count = 0;
    for (struct dirent *e; d && (e = readdir(d)) != NULL;) {
        if (e->d_name[0] == '.')
            continue;
        count++;
        WIRE_TEXT(only, e->d_name);
    }
    if (d)
        closedir(d);
    struct stat st;
    AUTO(free_ptr) char *inner = xasprintf("%s/%s", r->path, only);
    if (count == 1 && lstat(inner, &st) == 0 && S_ISDIR(st.st_mode)) {
        free(r->path);
        r->path = STEAL(inner);
    }
}

static void unpack_finish(struct input_run *r)
{
    struct err err = {0};
    enter_only_folder(r);
    r->has_result = false;
    int rc = package_check(r, &err);
    if (rc < 0 && !r->worker)
        run_fail(r, rc, err.text);
    else if (rc < 0)
        run_abort(r, &err);
}

/* DATA/firmware/<name>-<id>: the id is made of the archive's path, size and time, so that an unpacking that was
 * cut off goes on in the same folder, and another archive of the same name gets its own. */
static int unpack_folder(const struct station *s, const char *archive, const struct stat *st,
                         char **out, struct err *err)
{
    AUTO(free_ptr) char *parent = xasprintf("%s/firmware", s->data_dir);
    AUTO(free_ptr)
    char *identity =
        xasprintf("%s %lld %lld", archive, (long long)st->st_size, (long long)st->st_mtime);
    struct sha256 digest = sha256_of(span_of(identity, strlen(identity)));
    char hex[SHA256_HEX_BYTES];
    sha256_hex(&digest, hex);
    const char *slash = strrchr(archive, '/');
    const char *name = slash ? slash + 1 : archive;
    int stem = (int)strcspn(name, ".");
    *out = xasprintf("%s/%.*s-%.8s", parent, stem, name, hex);
    if ((mkdir(parent, 0700) < 0 && errno != EEXIST) || (mkdir(*out, 0700) < 0 && errno != EEXIST))
        return err_sys(err, ERR_IO, "folder '%s'", *out);
    return 0;
}

/* A folder that holds something and not the unpacker's journal was finished before. */
static bool unpacked_before(const char *folder)
{
    AUTO(free_ptr) char *journal = xasprintf("%s/.unpack", folder);
    DIR *d = opendir(folder);
    int count = 0;
    while (d && readdir(d))
        count++;
    if (d)
        closedir(d);
    return count > 2 && access(journal, F_OK) < 0; /* more than "." and ".." */
}

static int unpack_start(struct input_run *r, const struct stat *st, struct err *err)
{
    AUTO(fd_close) int archive = open(r->path, O_RDONLY | O_CLOEXEC);
    if (archive < 0)
        return err_sys(err, ERR_INPUT, "'%s'", r->path);
    char *folder = NULL;
    int rc = unpack_folder(r->s, r->path, st, &folder, err);
    free(r->path);
    r->path = folder;
    if (rc < 0)
        return rc;
    if (unpacked_before(folder)) {
        enter_only_folder(r);
        return package_check(r, err);
    }
    r->worker = worker_take_for_folder(r->s->workers, folder, &input_events, r, err);
    if (!r->worker)
        return err->code;
    send_file(r, "archive", archive);
    r->finish = unpack_finish;
    return send_run(r, "unpack", "{}", err);
}

static int firmware_start(struct input_run *r, const char *path, struct err *err)
{
    char real[PATH_MAX];
    struct stat st;
    int rc = path_allowed(r->s, path, real, sizeof(real), err);
    if (rc < 0)
        return rc;
    r->path = xstrdup(real);
    if (stat(real, &st) < 0)
        return err_sys(err, ERR_INPUT, "'%s'", real);
    return S_ISREG(st.st_mode) ? unpack_start(r, &st, err) : package_check(r, err);
}

void station_firmware_add(struct station *s, const char *path, station_done_fn *done, void *arg)
{
    struct err err = {0};
    struct input_run *r = run_new(s, done, arg);
    int rc = firmware_start(r, path, &err);
    if (rc < 0 && !r->worker)
        run_fail(r, rc, err.text);
    else if (rc < 0)
        run_abort(r, &err);
}
