/* Copies of both databases beside running jobs, and checks of them.
 *
 * A copy is a pair: a manifest in station.db never names an image that backups.db lacks. Images are
 * committed before manifests, so station.db's snapshot is taken first; retention deletes in the other
 * direction, so the pair is compared, and taken again where a deletion fell in between. */
#include "server/store/dbcopy.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "server/store/images.h"
#include "server/store/inside.h"
#include "server/store/resources.h"
#include "server/store/schema.h"
#include "usb/base/clock.h"
#include "usb/base/log.h"
#include "usb/base/mem.h"

enum {
    PIN_TRIES = 3,
    PROBLEMS_MAX = 20,
    ROOM_LEFT_BYTES = 64 << 20, /* for the jobs, where the copy lies on the disk they write to */
    START_CHECK_MS = 500, /* unless told; some 100 MiB: the station shall be ready within 2 s */
};

static bool is_closing(void *arg)
{
    struct conn *conn = arg;
    struct lane *lane = &conn->store->lanes[LANE_COPY];
    pthread_mutex_lock(&lane->lock);
    bool closing = lane->closing;
    pthread_mutex_unlock(&lane->lock);
    return closing;
}

static void put_problem(json_t *problems, const char *where, const char *text)
{
    if (json_array_size(problems) < PROBLEMS_MAX)
        json_array_append_new(problems, json_sprintf("%s: %s", where, text));
}

/* ---- do manifests and images fit? ---- */

static const char members_sql[] =
    "SELECT name, size_bytes AS size, sha256 FROM backup_partition WHERE backup_id = :id";

static int compare_backup(struct conn *conn, json_t *id, json_t *problems, struct err *err)
{
    json_auto_t *args = json_pack("{s:O}", "id", id), *rows = json_array();
    int code = db_rows(conn->station, members_sql, args, rows, err);
    size_t i;
    json_t *row;
    json_array_foreach(rows, i, row)
    {
        struct sha256 hash;
        sha256_parse(json_string_value(json_object_get(row, "sha256")), &hash);
        int have = images_have(conn->backups, &hash,
                               json_integer_value(json_object_get(row, "size")), err);
        if (have < 0)
            return have;
        if (have == 0 && json_array_size(problems) < PROBLEMS_MAX)
            json_array_append_new(problems,
                                  json_sprintf("backup %" JSON_INTEGER_FORMAT
                                               " names an image of '%s' that is not stored",
                                               json_integer_value(id),
                                               json_string_value(json_object_get(row, "name"))));
    }
    return code < 0 ? code : 0;
}

static const char backup_ids_sql[] =
    "SELECT id FROM backup WHERE id > :after ORDER BY id LIMIT 1000";

static int compare_pair(struct conn *conn, json_t *problems, struct err *err)
{
    json_auto_t *args = json_pack("{s:i}", "after", 0);
    for (;;) {
        json_auto_t *ids = json_array();
        int count = db_column(conn->station, backup_ids_sql, args, ids, err);
        if (count <= 0)
            return count;
        if (is_closing(conn))
            return err_set(err, ERR_CANCELLED, "the station is closing");
        size_t i;
        json_t *id;
        json_array_foreach(ids, i, id)
        {
            int code = compare_backup(conn, id, problems, err);
            if (code < 0)
                return code;
        }
        json_object_set(args, "after", json_array_get(ids, json_array_size(ids) - 1));
    }
}

/* A deferred transaction sees the database as it is at its first read. */
static int pin(struct db *db, struct err *err)
{
    json_t *row = NULL;
    int code = db_row(db, "SELECT count(*) FROM sqlite_schema", NULL, &row, err);
    json_decref(row);
    return code < 0 ? code : 0;
}

/* The transaction of station.db is open already (lane.c); both are ended by unpin_pair(). */
static int pin_pair(struct conn *conn, json_t *problems, struct err *err)
{
    int code = 0;
    for (int i = 0; i < PIN_TRIES && code == 0; i++) {
        json_array_clear(problems);
        code = db_exec(conn->station, "ROLLBACK; BEGIN", err);
        if (code == 0)
            code = pin(conn->station, err);
        if (code == 0 && db_in_transaction(conn->backups))
            code = db_exec(conn->backups, "ROLLBACK", err);
        if (code == 0)
            code = db_exec(conn->backups, "BEGIN", err);
        if (code == 0)
            code = pin(conn->backups, err);
        if (code == 0)
            code = compare_pair(conn, problems, err);
        if (code == 0 && json_array_size(problems) == 0)
            return 0;
    }
    return code;
}

static void unpin_pair(struct conn *conn)
{
    struct err ignored;
    if (db_in_transaction(conn->backups))
        db_exec(conn->backups, "ROLLBACK", &ignored);
}

/* ---- the folder ---- */

struct place {
    char *folder, *part; /* absolute; `part` holds the copy until it is whole */
    char *parent;
};

static void place_deinit(struct place *p)
{
    free(p->folder);
    free(p->part);
    free(p->parent);
}

static bool lies_in(const char *real, const char *dir)
{
    char base[PATH_MAX];
    if (!realpath(dir, base))
        return false;
    size_t len = strlen(base);
    return strncmp(real, base, len) == 0 && (real[len] == '/' || real[len] == '\0');
}

static bool is_allowed(const struct store *s, const char *real)
{
    AUTO(free_ptr) char *own = xasprintf("%s/copies", s->data_dir);
    bool allowed = lies_in(real, own);
    for (char **d = s->copy_dirs; *d && !allowed; d++)
        allowed = lies_in(real, *d);
    return allowed;
}

/* DATA/copies/20261126T072512Z: readable, sorts by time, and any file system takes it. */
static int place_default(const struct store *s, struct place *p, struct err *err)
{
    char name[32];
    time_t now = (time_t)(clock_utc_ms() / 1000);
    struct tm tm;
    strftime(name, sizeof(name), "%Y%m%dT%H%M%SZ", gmtime_r(&now, &tm));
    p->parent = xasprintf("%s/copies", s->data_dir);
    if (mkdir(p->parent, 0700) < 0 && errno != EEXIST)
        return err_sys(err, ERR_DISK, "folder '%s'", p->parent);
    p->folder = xasprintf("%s/%s", p->parent, name);
    for (int i = 2; access(p->folder, F_OK) == 0; i++) { /* the clock may show a time again */
        free(p->folder);
        p->folder = xasprintf("%s/%s-%d", p->parent, name, i);
    }
    p->part = xasprintf("%s/.part", p->parent);
    return 0;
}

static int place_named(const struct store *s, const char *path, struct place *p, struct err *err)
{
    char real[PATH_MAX];
    const char *name = strrchr(path, '/');
    if (path[0] != '/' || !name[1] || name[1] == '.')
        return err_set(err, ERR_INPUT, "'%s' is not the absolute path of a new folder", path);
    AUTO(free_ptr)
    char *parent = name == path ? xstrdup("/") : strndup(path, (size_t)(name - path));
    if (!realpath(parent, real))
        return err_sys(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_INPUT, "'%s'", parent);
    if (!is_allowed(s, real))
        return err_set(err, ERR_INPUT,
                       "'%s' does not lie below a folder for copies; leave the folder out "
                       "(DATA/copies), or start flashrackd with --copy-dir FOLDER",
                       path);
    p->parent = xstrdup(real);
    p->folder = xasprintf("%s%s", real, name);
    p->part = xasprintf("%s/.%s.part", real, name + 1);
    return 0;
}

static int check_unused(const char *folder, struct err *err)
{
    DIR *dir = opendir(folder);
    if (!dir)
        return errno == ENOENT ? 0 : err_sys(err, ERR_INPUT, "'%s'", folder);
    bool used = false;
    for (struct dirent *e; (e = readdir(dir));)
        used = used || (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0);
    closedir(dir);
    return used ? err_set(err, ERR_CONFLICT, "'%s' is not empty: name a new folder", folder) : 0;
}

/* Only what a copy puts there: the files, and SQLite's own beside them. */
static void remove_part(const char *part)
{
    static const char *const ends[] = {"", "-wal", "-shm", "-journal"};
    const struct schema *const schemas[] = {&schema_station, &schema_backups};
    for (size_t i = 0; i < ARRAY_LEN(schemas); i++)
        for (size_t k = 0; k < ARRAY_LEN(ends); k++) {
            AUTO(free_ptr) char *path = xasprintf("%s/%s%s", part, schemas[i]->file, ends[k]);
            unlink(path);
        }
    rmdir(part);
}

static int place_open(const struct store *s, const char *path, struct place *p, struct err *err)
{
    int code = path ? place_named(s, path, p, err) : place_default(s, p, err);
    if (code == 0)
        code = check_unused(p->folder, err);
    if (code < 0)
        return code;
    remove_part(p->part); /* of a copy that was cut off */
    if (mkdir(p->part, 0700) < 0)
        return err_sys(err, ERR_DISK, "folder '%s'", p->part);
    return 0;
}

/* ---- the copy ---- */

static int64_t bytes_of(struct db *db, struct err *err)
{
    json_auto_t *row = NULL;
    int code = db_row(db,
                      "SELECT page_count * page_size AS n"
                      " FROM pragma_page_count, pragma_page_size",
                      NULL, &row, err);
    return code < 0 ? code : json_integer_value(json_object_get(row, "n"));
}

static int check_room(const struct place *p, int64_t bytes, struct err *err)
{
    struct statvfs disk;
    if (statvfs(p->parent, &disk) < 0)
        return err_sys(err, ERR_DISK, "'%s'", p->parent);
    int64_t room = (int64_t)disk.f_bavail * (int64_t)disk.f_frsize - ROOM_LEFT_BYTES;
    if (room < bytes)
        return err_set(err, ERR_DISK,
                       "the copy needs %" PRId64 " MiB, '%s' has room for %" PRId64
                       " MiB: name a folder on another disk",
                       (bytes >> 20) + 1, p->parent, room > 0 ? room >> 20 : 0);
    return 0;
}

static int copy_file(struct conn *conn, struct db *db, const struct schema *schema,
                     const struct place *p, json_t *problems, struct err *err)
{
    AUTO(free_ptr) char *path = xasprintf("%s/%s", p->part, schema->file);
    AUTO(db_close) struct db *copy = NULL;
    json_auto_t *found = json_array();
    int code = schema_create_private(path, err);
    if (code == 0)
        code = db_copy(db, path, is_closing, conn, err);
    if (code == 0)
        code = db_open(path, true, &copy, err);
    if (code == 0)
        code = db_check(copy, true, found, err);
    db_close(&copy);
    if (code == 0)
        code = schema_sync(path, O_RDWR, err);
    for (size_t i = 0; i < json_array_size(found); i++)
        put_problem(problems, schema->file, json_string_value(json_array_get(found, i)));
    return code;
}

static int copy_pair(struct conn *conn, const struct place *p, json_t *problems, struct err *err)
{
    int code = copy_file(conn, conn->station, &schema_station, p, problems, err);
    if (code == 0)
        code = copy_file(conn, conn->backups, &schema_backups, p, problems, err);
    if (code == 0)
        code = schema_sync(p->part, O_RDONLY | O_DIRECTORY, err);
    if (code < 0)
        return code;
    if (rename(p->part, p->folder) < 0)
        return err_sys(err, errno == ENOTEMPTY || errno == EEXIST ? ERR_CONFLICT : ERR_DISK,
                       "rename '%s' to '%s'", p->part, p->folder);
    return schema_sync(p->parent, O_RDONLY | O_DIRECTORY, err);
}

static int copy_to(struct conn *conn, struct task *task, const struct place *p)
{
    json_auto_t *problems = json_array();
    int code = pin_pair(conn, problems, &task->err);
    int64_t station = code < 0 ? code : bytes_of(conn->station, &task->err);
    int64_t backups = station < 0 ? station : bytes_of(conn->backups, &task->err);
    if (backups < 0)
        return task->err.code;
    int64_t created_ms = clock_utc_ms();
    code = check_room(p, station + backups, &task->err);
    if (code == 0)
        code = copy_pair(conn, p, problems, &task->err);
    if (code < 0)
        return code;
    char created[CLOCK_TEXT_BYTES];
    clock_rfc3339(created_ms, created);
    task->body = json_pack("{s:s, s:s, s:I, s:I, s:O}", "path", p->folder, "created_at", created,
                           "station_bytes", (json_int_t)station, "backups_bytes",
                           (json_int_t)backups, "problems", problems);
    return task->body ? 0 : err_set(&task->err, ERR_INPUT, "the folder's name is not UTF-8");
}

static int copy(struct conn *conn, struct task *task)
{
    AUTO(place_deinit) struct place p = {0};
    const char *path = json_string_value(json_object_get(task->args, "path"));
    if (is_closing(conn))
        return err_set(&task->err, ERR_CANCELLED, "the station is closing");
    int code = place_open(conn->store, path, &p, &task->err);
    if (code < 0)
        return code;
    code = copy_to(conn, task, &p);
    unpin_pair(conn);
    if (code < 0)
        remove_part(p.part);
    return code;
}

void store_copy(struct store *s, const char *folder, store_done_fn *done, void *arg)
{
    json_t *args = json_pack("{s:s?}", "path", folder);
    lane_submit(s, LANE_COPY, task_new("copy", copy, args, done, arg));
}

/* ---- the check ---- */

static int check_file(struct db *db, const struct schema *schema, bool full, json_t *problems,
                      struct err *err)
{
    json_auto_t *found = json_array();
    int code = db_check(db, full, found, err);
    for (size_t i = 0; i < json_array_size(found); i++)
        put_problem(problems, schema->file, json_string_value(json_array_get(found, i)));
    return code;
}

static int read_all(struct conn *conn, struct task *task)
{
    bool full = json_is_true(json_object_get(task->args, "full"));
    json_t *problems = json_array();
    char now[CLOCK_TEXT_BYTES];
    clock_rfc3339(clock_utc_ms(), now);
    task->body = json_pack("{s:s, s:o}", "checked_at", now, "problems", problems);
    if (is_closing(conn))
        return err_set(&task->err, ERR_CANCELLED, "the station is closing");
    int code = check_file(conn->station, &schema_station, full, problems, &task->err);
    if (code == 0)
        code = check_file(conn->backups, &schema_backups, full, problems, &task->err);
    if (code < 0 || json_array_size(problems) > 0 || !full)
        return code;
    code = pin_pair(conn, problems, &task->err);
    unpin_pair(conn);
    return code;
}

/* A check that reads less than the one before takes nothing back. */
static int check(struct conn *conn, struct task *task)
{
    int code = read_all(conn, task);
    const char *first =
        json_string_value(json_array_get(json_object_get(task->body, "problems"), 0));
    bool whole = code == 0 && json_is_true(json_object_get(task->args, "full"));
    pthread_mutex_lock(&conn->store->finished_lock);
    if (first || whole)
        snprintf(conn->store->damage, sizeof(conn->store->damage), "%s", first ? first : "");
    pthread_mutex_unlock(&conn->store->finished_lock);
    return code;
}

void store_damage(struct store *s, char out[STORE_DAMAGE_BYTES])
{
    pthread_mutex_lock(&s->finished_lock);
    memcpy(out, s->damage, STORE_DAMAGE_BYTES);
    pthread_mutex_unlock(&s->finished_lock);
}

void store_check(struct store *s, store_done_fn *done, void *arg)
{
    json_t *args = json_pack("{s:b}", "full", true);
    lane_submit(s, LANE_COPY, task_new("check", check, args, done, arg));
}

/* ---- at start ---- */

/* Shared by the thread that opens the store and the check; the last of the two frees it. */
struct start_check {
    pthread_mutex_t lock;
    pthread_cond_t ended;
    bool over, alone; /* alone: nobody waits for it any more */
    int code;
    struct err err;
};

static void start_check_free(struct start_check *c)
{
    pthread_cond_destroy(&c->ended);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

static int check_verdict(struct conn *conn, struct task *task)
{
    int code = check(conn, task);
    json_t *problems = json_object_get(task->body, "problems");
    if (code < 0 || json_array_size(problems) == 0)
        return code;
    return err_set(&task->err, ERR_VERIFY, "a database in %s is damaged (%.80s). " DAMAGE_ADVICE,
                   conn->data_dir, json_string_value(json_array_get(problems, 0)));
}

static int check_at_start(struct conn *conn, struct task *task)
{
    struct start_check *c = task->arg;
    int code = check_verdict(conn, task);
    pthread_mutex_lock(&c->lock);
    c->over = true;
    c->code = code;
    c->err = task->err;
    bool alone = c->alone;
    pthread_cond_signal(&c->ended);
    pthread_mutex_unlock(&c->lock);
    task->arg = NULL;
    if (!alone)
        return 0; /* store_open() tells it */
    start_check_free(c);
    if (code == 0)
        log_line(LOG_INFO, "store", NULL, "both databases were read and are whole");
    return code == ERR_CANCELLED ? 0 : code; /* there is no callback: the lane logs it */
}

/* Until the check is over or the time is; whether it is over. */
static bool wait_for_check(struct start_check *c, int wait_ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += wait_ms / 1000;
    until.tv_nsec += wait_ms % 1000 * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    pthread_mutex_lock(&c->lock);
    int rc = 0;
    while (!c->over && rc != ETIMEDOUT)
        rc = pthread_cond_clockwait(&c->ended, &c->lock, CLOCK_MONOTONIC, &until);
    bool over = c->over;
    c->alone = !over;
    pthread_mutex_unlock(&c->lock);
    return over;
}

int dbcopy_check_at_start(struct store *s, int wait_ms, struct err *err)
{
    struct start_check *c = xcalloc(1, sizeof(*c));
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->ended, NULL);
    json_t *args = json_pack("{s:b}", "full", false);
    c->alone = wait_ms < 0;
    lane_submit(s, LANE_COPY, task_new("check at start", check_at_start, args, NULL, c));
    if (wait_ms < 0 || !wait_for_check(c, wait_ms ? wait_ms : START_CHECK_MS)) {
        log_line(LOG_INFO, "store", NULL, "the check of the databases goes on beside");
        return 0;
    }
    int code = c->code;
    if (code < 0 && err)
        *err = c->err;
    start_check_free(c);
    return code;
}
