#include "server/store/schema.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "server/store/db.h"
#include "server/store/dbcopy.h"
#include "usb/base/mem.h"

int schema_create_private(const char *path, struct err *err)
{
    AUTO(fd_close) int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    return fd < 0 ? err_sys(err, ERR_DISK, "open '%s'", path) : 0;
}

static int64_t version_of(struct db *db, struct err *err)
{
    json_t *row = NULL;
    int code = db_row(db, "SELECT user_version FROM pragma_user_version", NULL, &row, err);
    int64_t version = json_integer_value(json_object_get(row, "user_version"));
    json_decref(row);
    return code < 0 ? code : version;
}

int schema_sync(const char *path, int flags, struct err *err)
{
    AUTO(fd_close) int fd = open(path, flags | O_CLOEXEC);
    if (fd < 0 || fsync(fd) < 0)
        return err_sys(err, ERR_DISK, "sync '%s'", path);
    return 0;
}

/* The copy is whole and on disk under its final name, or not there. */
static int keep_copy(struct db *db, const char *data_dir, const char *path, int64_t version,
                     struct err *err)
{
    AUTO(free_ptr) char *copy = xasprintf("%s.%lld.bak", path, (long long)version);
    AUTO(free_ptr) char *partial = xasprintf("%s.part", copy);
    AUTO(json_decrefp) json_t *params = json_pack("{s:s}", "path", partial);
    if (unlink(partial) < 0 && errno != ENOENT)
        return err_sys(err, ERR_DISK, "remove '%s'", partial);
    int code = schema_create_private(partial, err);
    if (code == 0)
        code = db_run(db, "VACUUM INTO :path", params, err);
    if (code >= 0)
        code = schema_sync(partial, O_RDWR, err);
    if (code < 0)
        return err_in(err, "keep a copy of '%s'", path);
    if (rename(partial, copy) < 0)
        return err_sys(err, ERR_DISK, "rename '%s'", partial);
    return schema_sync(data_dir, O_RDONLY | O_DIRECTORY, err);
}

static int check_references(struct db *db, struct err *err)
{
    json_t *row = NULL;
    int code = db_row(db, "SELECT \"table\" FROM pragma_foreign_key_check", NULL, &row, err);
    json_decref(row);
    if (code > 0)
        return err_set(err, ERR_INTERNAL, "a row refers to one that is not there");
    return code;
}

/* From `version` to version + 1 in one transaction. Tables may be built anew: references are
 * checked at the end instead of at each statement. */
static int apply(struct db *db, const struct schema *schema, int64_t version, struct err *err)
{
    char set[64];
    snprintf(set, sizeof(set), "PRAGMA user_version = %lld", (long long)version + 1);
    int code = db_exec(db, "BEGIN IMMEDIATE", err);
    if (code == 0)
        code = db_exec(db, schema->migration[version], err);
    if (code == 0)
        code = check_references(db, err);
    if (code == 0)
        code = db_exec(db, set, err);
    if (code == 0)
        code = db_exec(db, "COMMIT", err);
    return code < 0 ? err_in(err, "%s: migration %lld", schema->file, (long long)version + 1) : 0;
}

/* Before a change, not at every start: it reads the whole file. */
static int check_whole(struct db *db, const char *path, struct err *err)
{
    json_auto_t *problems = json_array();
    int code = db_check(db, false, problems, err);
    if (code == 0 && json_array_size(problems) > 0)
        code = err_set(err, ERR_VERIFY, "%s is damaged (%.80s). " DAMAGE_ADVICE, path,
                       json_string_value(json_array_get(problems, 0)));
    return code;
}

/* The copy is there when this program's version was what the newer one migrated from. */
static int refuse_newer(const char *path, int64_t version, int known, struct err *err)
{
    AUTO(free_ptr) char *copy = xasprintf("%s.%d.bak", path, known);
    AUTO(free_ptr) char *instead = xasprintf(", or put the copy %s in its place", copy);
    return err_set(err, ERR_CONFLICT,
                   "%s has schema version %lld, this program knows versions up to %d: start the "
                   "newer program again%s",
                   path, (long long)version, known, access(copy, F_OK) == 0 ? instead : "");
}

int schema_migrate(const struct schema *schema, const char *data_dir, struct err *err)
{
    AUTO(free_ptr) char *path = xasprintf("%s/%s", data_dir, schema->file);
    AUTO(db_close) struct db *db = NULL;
    int code = schema_create_private(path, err);
    if (code == 0)
        code = db_open(path, false, &db, err);
    if (code == ERR_VERIFY)
        return err_set(err, code, "%s is damaged or no database. " DAMAGE_ADVICE, path);
    if (code < 0)
        return code;
    int64_t version = version_of(db, err);
    if (version < 0)
        return err_in(err, "%s", path);
    if (version > schema->version)
        return refuse_newer(path, version, schema->version, err);
    if (version > 0 && version < schema->version)
        code = check_whole(db, path, err);
    if (code == 0 && version > 0 && version < schema->version)
        code = keep_copy(db, data_dir, path, version, err);
    if (code == 0)
        code = db_exec(db, "PRAGMA foreign_keys = OFF", err);
    for (; code == 0 && version < schema->version; version++)
        code = apply(db, schema, version, err);
    return code;
}
