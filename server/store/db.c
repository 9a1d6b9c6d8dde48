#include "server/store/db.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "usb/base/buf.h"
#include "usb/base/clock.h"
#include "usb/base/mem.h"

enum {
    STATEMENTS_MAX = 256, /* one connection; there are fewer in the source */
    BUSY_MS = 10000,      /* only a checkpoint of our own can be in the way */
    PLANS_MAX_BYTES = 1 << 20,
    COPY_STEP_PAGES = 4096, /* 16 MiB: how often a copy asks whether it shall stop */
};

struct db {
    sqlite3 *handle;
    struct {
        const char *sql;
        sqlite3_stmt *stmt;
    } prepared[STATEMENTS_MAX];
    size_t prepared_count;
};

/* What the caller should do about SQLite's answer. */
static int code_of(int extended)
{
    switch (extended) {
    case SQLITE_CONSTRAINT_UNIQUE:
    case SQLITE_CONSTRAINT_PRIMARYKEY:
    case SQLITE_CONSTRAINT_ROWID:
        return ERR_CONFLICT;
    }
    switch (extended & 0xff) {
    case SQLITE_FULL:
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_PROTOCOL:
        return ERR_DISK;
    case SQLITE_CONSTRAINT:
    case SQLITE_MISMATCH:
        return ERR_INPUT;
    case SQLITE_TOOBIG:
        return ERR_LIMIT;
    case SQLITE_INTERRUPT:
        return ERR_CANCELLED;
    default:
        return ERR_INTERNAL;
    }
}

static int db_fail(struct db *db, struct err *err)
{
    int code = code_of(sqlite3_extended_errcode(db->handle));
    if (code == ERR_DISK)
        return err_set(err, code, "the station's disk: %s", sqlite3_errmsg(db->handle));
    return err_set(err, code, "database: %s", sqlite3_errmsg(db->handle));
}

/* True: the bytes are wrong. Everything else that fails may be well again later. */
static bool is_damaged(struct db *db)
{
    int primary = sqlite3_errcode(db->handle) & 0xff;
    return primary == SQLITE_CORRUPT || primary == SQLITE_NOTADB;
}

static const char *const writer_pragmas =
    "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;"
    "PRAGMA trusted_schema = OFF; PRAGMA temp_store = MEMORY; PRAGMA journal_size_limit = 16777216";
static const char *const reader_pragmas =
    "PRAGMA query_only = ON; PRAGMA trusted_schema = OFF; PRAGMA temp_store = MEMORY";

int db_open(const char *path, bool read_only, struct db **db_out, struct err *err)
{
    AUTO(db_close) struct db *db = xcalloc(1, sizeof(*db));
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE |
                (read_only ? 0 : SQLITE_OPEN_CREATE);
    if (sqlite3_open_v2(path, &db->handle, flags, NULL) != SQLITE_OK) {
        db_fail(db, err);
        return err_in(err, "%s", path);
    }
    sqlite3_busy_timeout(db->handle, BUSY_MS);
    sqlite3_db_config(db->handle, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(db->handle, SQLITE_DBCONFIG_DQS_DML, 0, NULL);
    int code = db_exec(db, read_only ? reader_pragmas : writer_pragmas, err);
    if (code < 0 && is_damaged(db))
        code = err_set(err, ERR_VERIFY, "%s", sqlite3_errmsg(db->handle));
    if (code < 0)
        return err_in(err, "%s", path);
    *db_out = STEAL(db);
    return 0;
}

void db_close(struct db **db)
{
    if (!*db)
        return;
    for (size_t i = 0; i < (*db)->prepared_count; i++)
        sqlite3_finalize((*db)->prepared[i].stmt);
    sqlite3_close((*db)->handle);
    free(*db);
    *db = NULL;
}

int db_exec(struct db *db, const char *sql, struct err *err)
{
    return sqlite3_exec(db->handle, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : db_fail(db, err);
}

bool db_in_transaction(struct db *db)
{
    return !sqlite3_get_autocommit(db->handle);
}

int db_pages_written(struct db *db)
{
    int pages = 0, most;
    sqlite3_db_status(db->handle, SQLITE_DBSTATUS_CACHE_WRITE, &pages, &most, 0);
    return pages;
}

int db_prepare(struct db *db, const char *sql, sqlite3_stmt **stmt_out, struct err *err)
{
    for (size_t i = 0; i < db->prepared_count; i++)
        if (db->prepared[i].sql == sql) {
            *stmt_out = db->prepared[i].stmt;
            return 0;
        }
    if (db->prepared_count == STATEMENTS_MAX)
        return err_set(err, ERR_INTERNAL, "database: more than %d statements", STATEMENTS_MAX);
    sqlite3_stmt *stmt = NULL;
    if (sqlite3_prepare_v3(db->handle, sql, -1, SQLITE_PREPARE_PERSISTENT, &stmt, NULL) !=
        SQLITE_OK)
        return db_fail(db, err);
    db->prepared[db->prepared_count].sql = sql;
    db->prepared[db->prepared_count++].stmt = stmt;
    *stmt_out = stmt;
    return 0;
}

void db_bind_blob(sqlite3_stmt *stmt, const char *name, struct span value)
{
    sqlite3_bind_blob64(stmt, sqlite3_bind_parameter_index(stmt, name), value.data, value.len,
                        SQLITE_STATIC);
}

void db_bind_int(sqlite3_stmt *stmt, const char *name, int64_t value)
{
    sqlite3_bind_int64(stmt, sqlite3_bind_parameter_index(stmt, name), value);
}

int db_step(struct db *db, sqlite3_stmt *stmt, struct err *err)
{
    switch (sqlite3_step(stmt)) {
    case SQLITE_ROW:
        return 1;
    case SQLITE_DONE:
        return 0;
    default:
        return db_fail(db, err);
    }
}

void db_reset(sqlite3_stmt **stmt)
{
    if (!*stmt)
        return;
    sqlite3_reset(*stmt);
    sqlite3_clear_bindings(*stmt);
    *stmt = NULL;
}

/* ---- parameters ---- */

static int bind_value(sqlite3_stmt *stmt, int at, json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_NULL:
        return sqlite3_bind_null(stmt, at);
    case JSON_TRUE:
    case JSON_FALSE:
        return sqlite3_bind_int(stmt, at, json_is_true(value));
    case JSON_INTEGER:
        return sqlite3_bind_int64(stmt, at, json_integer_value(value));
    case JSON_REAL:
        return sqlite3_bind_double(stmt, at, json_real_value(value));
    case JSON_STRING:
        return sqlite3_bind_text64(stmt, at, json_string_value(value), json_string_length(value),
                                   SQLITE_TRANSIENT, SQLITE_UTF8);
    case JSON_ARRAY:
    case JSON_OBJECT:
        return sqlite3_bind_text(stmt, at, json_dumps(value, JSON_COMPACT), -1, free);
    }
    return SQLITE_MISUSE;
}

static int bind_all(struct db *db, sqlite3_stmt *stmt, json_t *params, struct err *err)
{
    int count = sqlite3_bind_parameter_count(stmt);
    for (int at = 1; at <= count; at++) {
        const char *name = sqlite3_bind_parameter_name(stmt, at);
        json_t *value = name ? json_object_get(params, name + 1) : NULL;
        if (!value)
            return err_set(err, ERR_INTERNAL, "database: no value for %s", name ? name : "?");
        if (bind_value(stmt, at, value) != SQLITE_OK)
            return db_fail(db, err);
    }
    return 0;
}

/* ---- rows ---- */

static json_t *time_json(int64_t utc_ms)
{
    char text[CLOCK_TEXT_BYTES];
    clock_rfc3339(utc_ms, text);
    return json_string(text);
}

static json_t *id_json(int64_t id)
{
    char text[24];
    snprintf(text, sizeof(text), "%" PRId64, id);
    return json_string(text);
}

static json_t *integer_json(sqlite3_stmt *stmt, int at, const char *kind)
{
    int64_t value = sqlite3_column_int64(stmt, at);
    if (strcmp(kind, "id") == 0)
        return id_json(value);
    if (strcmp(kind, "time") == 0)
        return time_json(value);
    if (strcmp(kind, "bool") == 0)
        return json_boolean(value != 0);
    return json_integer(value);
}

static json_t *text_json(sqlite3_stmt *stmt, int at, const char *kind)
{
    const char *text = (const char *)sqlite3_column_text(stmt, at);
    size_t len = (size_t)sqlite3_column_bytes(stmt, at);
    if (strcmp(kind, "json") == 0)
        return json_loadb(text, len, JSON_DECODE_ANY, NULL);
    return json_stringn(text, len);
}

/* New reference; NULL for what no table of ours holds (a blob, text that is not UTF-8). */
static json_t *column_json(sqlite3_stmt *stmt, int at)
{
    const char *colon = strchr(sqlite3_column_name(stmt, at), ':');
    const char *kind = colon ? colon + 1 : "";
    switch (sqlite3_column_type(stmt, at)) {
    case SQLITE_NULL:
        return json_null();
    case SQLITE_INTEGER:
        return integer_json(stmt, at, kind);
    case SQLITE_TEXT:
        return text_json(stmt, at, kind);
    default:
        return NULL;
    }
}

static json_t *row_json(sqlite3_stmt *stmt)
{
    json_t *row = json_object();
    for (int at = 0; at < sqlite3_column_count(stmt); at++) {
        const char *name = sqlite3_column_name(stmt, at);
        char key[64];
        snprintf(key, sizeof(key), "%.*s", (int)strcspn(name, ":"), name);
        json_t *value = column_json(stmt, at);
        json_object_set_new(row, key, value ? value : json_null());
    }
    return row;
}

static json_t *first_column_json(sqlite3_stmt *stmt)
{
    return column_json(stmt, 0);
}

/* ---- whole statements ---- */

static int start(struct db *db, const char *sql, json_t *params, sqlite3_stmt **stmt_out,
                 struct err *err)
{
    AUTO(db_reset) sqlite3_stmt *stmt = NULL;
    int code = db_prepare(db, sql, &stmt, err);
    if (code < 0)
        return code;
    code = bind_all(db, stmt, params, err);
    if (code < 0)
        return code;
    *stmt_out = STEAL(stmt);
    return 0;
}

int db_run(struct db *db, const char *sql, json_t *params, struct err *err)
{
    AUTO(db_reset) sqlite3_stmt *stmt = NULL;
    int code = start(db, sql, params, &stmt, err);
    if (code < 0)
        return code;
    while ((code = db_step(db, stmt, err)) > 0)
        ;
    return code < 0 ? code : sqlite3_changes(db->handle);
}

int64_t db_insert(struct db *db, const char *sql, json_t *params, struct err *err)
{
    int code = db_run(db, sql, params, err);
    return code < 0 ? code : sqlite3_last_insert_rowid(db->handle);
}

int db_row(struct db *db, const char *sql, json_t *params, json_t **row_out, struct err *err)
{
    AUTO(db_reset) sqlite3_stmt *stmt = NULL;
    int code = start(db, sql, params, &stmt, err);
    if (code == 0)
        code = db_step(db, stmt, err);
    if (code > 0)
        *row_out = row_json(stmt);
    return code;
}

static int collect(struct db *db, const char *sql, json_t *params, json_t *(*make)(sqlite3_stmt *),
                   json_t *array, struct err *err)
{
    AUTO(db_reset) sqlite3_stmt *stmt = NULL;
    int count = 0, code = start(db, sql, params, &stmt, err);
    if (code < 0)
        return code;
    while ((code = db_step(db, stmt, err)) > 0) {
        json_array_append_new(array, make(stmt));
        count++;
    }
    return code < 0 ? code : count;
}

int db_rows(struct db *db, const char *sql, json_t *params, json_t *array, struct err *err)
{
    return collect(db, sql, params, row_json, array, err);
}

int db_column(struct db *db, const char *sql, json_t *params, json_t *array, struct err *err)
{
    return collect(db, sql, params, first_column_json, array, err);
}

/* ---- the whole file ---- */

/* Within one transaction of the source no step starts the copy afresh, whatever is written
 * meanwhile; without it every commit beside would. */
static int copy_steps(sqlite3_backup *copy, bool (*stop)(void *arg), void *arg, struct err *err)
{
    int step;
    while ((step = sqlite3_backup_step(copy, COPY_STEP_PAGES)) == SQLITE_OK)
        if (stop(arg))
            return err_set(err, ERR_CANCELLED, "the copy was stopped");
    if (step == SQLITE_DONE)
        return 0;
    return err_set(err, code_of(step), "copy a database: %s", sqlite3_errstr(step));
}

int db_copy(struct db *db, const char *path, bool (*stop)(void *arg), void *arg, struct err *err)
{
    /* A half copy is thrown away: neither journal nor sync. */
    static const char *const copy_pragmas = "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF";
    AUTO(db_close) struct db *to = xcalloc(1, sizeof(*to));
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
    if (sqlite3_open_v2(path, &to->handle, flags, NULL) != SQLITE_OK)
        return db_fail(to, err);
    int code = db_exec(to, copy_pragmas, err);
    if (code < 0)
        return code;
    sqlite3_backup *copy = sqlite3_backup_init(to->handle, "main", db->handle, "main");
    if (!copy)
        return db_fail(to, err);
    code = copy_steps(copy, stop, arg, err);
    sqlite3_backup_finish(copy);
    return code;
}

/* What the check found; SQLite says "ok" when that is nothing. */
static void take_findings(json_t *found, json_t *problems)
{
    size_t i;
    json_t *line;
    json_array_foreach(found, i, line)
    {
        const char *text = json_string_value(line);
        if (text && strcmp(text, "ok") != 0)
            json_array_append(problems, line);
    }
}

int db_check(struct db *db, bool full, json_t *problems, struct err *err)
{
    json_auto_t *found = json_array();
    sqlite3_db_release_memory(db->handle); /* what the disk holds, not what was read before */
    int code = db_column(db, full ? "PRAGMA integrity_check(20)" : "PRAGMA quick_check(20)", NULL,
                         found, err);
    take_findings(found, problems);
    if (code < 0 && is_damaged(db)) { /* so much that not even the check can go on */
        json_array_append_new(problems, json_string(sqlite3_errmsg(db->handle)));
        return 0;
    }
    return code < 0 ? code : 0;
}

void db_interrupt(struct db *db)
{
    sqlite3_interrupt(db->handle);
}

/* ---- for the test of the query plans ---- */

static void put_plan(struct db *db, const char *sql, struct buf *out)
{
    AUTO(free_ptr) char *explain = xasprintf("EXPLAIN QUERY PLAN %s", sql);
    sqlite3_stmt *stmt = NULL;
    buf_put(out, sql, strlen(sql));
    buf_put_u8(out, '\n');
    if (sqlite3_prepare_v2(db->handle, explain, -1, &stmt, NULL) == SQLITE_OK)
        while (sqlite3_step(stmt) == SQLITE_ROW) {
            const char *detail = (const char *)sqlite3_column_text(stmt, 3);
            buf_put(out, "\t", 1);
            buf_put(out, detail, strlen(detail));
            buf_put_u8(out, '\n');
        }
    sqlite3_finalize(stmt);
}

char *db_plans(struct db *db)
{
    struct buf out;
    buf_init(&out, PLANS_MAX_BYTES);
    for (size_t i = 0; i < db->prepared_count; i++)
        put_plan(db, db->prepared[i].sql, &out);
    buf_put_u8(&out, '\0');
    return (char *)out.data; /* malloc'ed by the buffer, the caller's now */
}
