#include "server/store/keys.h"

#include <stdlib.h>

#include "server/store/db.h"
#include "server/store/schema.h"
#include "usb/base/clock.h"
#include "usb/base/log.h"
#include "usb/base/mem.h"

#define MAKE_PAIR "to change the key give both: --backup-key NEW --old-backup-key OLD"

struct keys {
    struct seal *now, *old;
    int64_t now_id, old_id;
    bool unknown; /* the database was sealed with a key that is neither */
};

void keys_free(struct keys **k)
{
    if (!*k)
        return;
    seal_free(&(*k)->now);
    seal_free(&(*k)->old);
    free(*k);
    *k = NULL;
}

const struct seal *keys_now(const struct keys *k, int64_t *id_out)
{
    *id_out = k->now_id;
    return k->now;
}

const struct seal *keys_find(const struct keys *k, int64_t id)
{
    return id == k->now_id ? k->now : id == k->old_id ? k->old : NULL;
}

int64_t keys_old_id(const struct keys *k)
{
    return k->old_id;
}

struct sha256 keys_content_id(const struct keys *k, const struct sha256 *content)
{
    return k->now ? seal_content_id(k->now, content) : *content;
}

/* ---- at start --------------------------------------------------------------------------------------- */

static bool is_key(const struct seal *seal, const char *check_value)
{
    struct sha256 want, have;
    if (!seal || !sha256_parse(check_value, &want))
        return false;
    have = seal_check_value(seal);
    return sha256_equal(&have, &want);
}

static int find_rows(struct keys *k, struct db *db, struct err *err)
{
    json_auto_t *rows = json_array();
    int code =
        db_rows(db, "SELECT id, lower(hex(check_value)) AS value FROM seal_key", NULL, rows, err);
    size_t i;
    json_t *row;
    json_array_foreach(rows, i, row)
    {
        int64_t id = json_integer_value(json_object_get(row, "id"));
        const char *value = json_string_value(json_object_get(row, "value"));
        if (is_key(k->now, value))
            k->now_id = id;
        else if (is_key(k->old, value))
            k->old_id = id;
        else
            k->unknown = true;
    }
    return code < 0 ? code : 0;
}

static int check_rows(const struct keys *k, const char *data_dir, struct err *err)
{
    if (!k->unknown)
        return 0;
    if (!k->now)
        return err_set(err, ERR_INPUT,
                       "the backups in %s are sealed: start with --backup-key FILE, the key that "
                       "they were sealed with",
                       data_dir);
    return err_set(err, ERR_INPUT,
                   "backups in %s are sealed with another key than that of --backup-key: give that "
                   "one; " MAKE_PAIR,
                   data_dir);
}

static int add_row(struct keys *k, struct db *db, struct err *err)
{
    AUTO(db_reset) sqlite3_stmt *stmt = NULL;
    struct sha256 value = seal_check_value(k->now);
    int code = db_prepare(
        db, "INSERT INTO seal_key (check_value, created_ms) VALUES (:value, :now) RETURNING id",
        &stmt, err);
    if (code < 0)
        return code;
    db_bind_blob(stmt, ":value", span_of(value.bytes, SHA256_BYTES));
    db_bind_int(stmt, ":now", clock_utc_ms());
    code = db_step(db, stmt, err);
    if (code > 0)
        k->now_id = sqlite3_column_int64(stmt, 0);
    return code > 0 ? db_step(db, stmt, err) : code; /* the row is there when the statement ended */
}

static int load(struct keys *k, const struct store_config *config, struct err *err)
{
    if (config->old_backup_key && !config->backup_key)
        return err_set(err, ERR_INPUT, "--old-backup-key goes with --backup-key; " MAKE_PAIR);
    int code = config->backup_key ? seal_load(config->backup_key, &k->now, err) : 0;
    if (code == 0 && config->old_backup_key)
        code = seal_load(config->old_backup_key, &k->old, err);
    return code;
}

/* Sealing protects the folder's copies. A key that goes along with each of them protects nothing. */
static void warn_of_place(const char *data_dir, const char *key)
{
    AUTO(free_ptr) char *folder = realpath(data_dir, NULL);
    AUTO(free_ptr) char *file = key ? realpath(key, NULL) : NULL;
    size_t len = folder ? strlen(folder) : 0;
    if (file && len && strncmp(file, folder, len) == 0 && file[len] == '/')
        log_line(
            LOG_WARN, "store", NULL,
            "the backup key %s lies in the data folder: whoever has a copy of the folder can open "
            "the backups; keep the key elsewhere",
            key);
}

int keys_open(const struct store_config *config, struct keys **out, struct err *err)
{
    AUTO(keys_free) struct keys *k = xcalloc(1, sizeof(*k));
    AUTO(free_ptr) char *path = xasprintf("%s/%s", config->data_dir, schema_backups.file);
    AUTO(db_close) struct db *db = NULL;
    int code = load(k, config, err);
    warn_of_place(config->data_dir, config->backup_key);
    if (code == 0)
        code = db_open(path, false, &db, err);
    if (code == 0)
        code = find_rows(k, db, err);
    if (code == 0)
        code = check_rows(k, config->data_dir, err);
    if (code == 0 && k->now && !k->now_id)
        code = add_row(k, db, err);
    if (code < 0)
        return code;
    if (k->old && !k->old_id)
        log_line(LOG_INFO, "store", NULL,
                 "no backup is sealed with the key of --old-backup-key: it is not needed any more");
    *out = STEAL(k);
    return 0;
}
