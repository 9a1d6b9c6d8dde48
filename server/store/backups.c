/* Manifests of backups in station.db. Their images: images.c; how they come in: ingest.c. */
#include "server/store/backups.h"

#include <inttypes.h>
#include <string.h>

#include "server/store/conflicts.h"
#include "server/store/resources.h"
#include "usb/base/clock.h"
#include "usb/base/mem.h"

static const char backup_sql[] =
    "SELECT id AS \"id:id\", phone_id AS \"phone_id:id\", job_id AS \"job_id:id\", origin, serial,"
    " coalesce((SELECT chip_id FROM phone WHERE id = backup.phone_id), chip_id) AS chip_id,"
    " verdict, complete AS \"complete:bool\", manifest_sha256,"
    " created_ms AS \"created_at:time\", verified_ms AS \"verified_at:time\", damage,"
    " pinned AS \"pinned:bool\", pruned_ms AS \"pruned_at:time\" FROM backup "
    "WHERE id "
    "= :id";
static const char partitions_sql[] =
    "SELECT name, area, offset_bytes AS \"offset\", size_bytes AS size, sha256, plausible, reason"
    " FROM backup_partition WHERE backup_id = :id ORDER BY seq";

int backup_read(struct conn *conn, int64_t backup_id, json_t **out, struct err *err)
{
    json_auto_t *key = json_pack("{s:I}", "id", (json_int_t)backup_id);
    json_auto_t *backup = NULL;
    int found = db_row(conn->station, backup_sql, key, &backup, err);
    if (found <= 0)
        return found;
    json_t *partitions = json_array();
    json_object_set_new(backup, "partitions", partitions);
    int code = db_rows(conn->station, partitions_sql, key, partitions, err);
    if (code < 0)
        return code;
    *out = STEAL(backup);
    return 1;
}

/* ---- committing a manifest ---- */

/* The same manifest of the same job, or of the same file for the same label, is the same backup. A
 * job that is resumed may well take another one of what it finds then. */
static const char again_sql[] =
    "SELECT id FROM backup WHERE manifest_sha256 = :manifest_sha256 AND origin = :origin"
    " AND coalesce(job_id, 0) = coalesce(:job_id, 0)"
    " AND coalesce(serial, '') = coalesce(:serial, '')";
static const char add_sql[] =
    "INSERT INTO backup (job_id, key, phone_id, chip_id, origin, serial, verdict, complete, "
    "manifest,"
    " manifest_sha256, created_ms) VALUES (:job_id, :key, :phone_id, :chip_id, :origin, :serial,"
    " :verdict, :complete, :manifest, :manifest_sha256, :now)";
static const char add_partition_sql[] =
    "INSERT INTO backup_partition (backup_id, seq, name, area, offset_bytes, size_bytes, sha256,"
    " plausible, reason) VALUES (:backup_id, :seq, :name, :area, :offset, :size, :sha256, "
    ":plausible,"
    " :reason)";

/* 1 and the id when this manifest is stored already. */
static int find_again(struct conn *conn, json_t *manifest, int64_t *id_out, struct err *err)
{
    json_auto_t *row = NULL;
    int found = db_row(conn->station, again_sql, manifest, &row, err);
    if (found > 0)
        *id_out = json_integer_value(json_object_get(row, "id"));
    return found;
}

/* Law 2: what was read from one chip is never filed under another. */
static int check_chip(struct conn *conn, json_t *manifest, struct err *err)
{
    json_t *chip = json_object_get(manifest, "chip_id");
    json_auto_t *row = NULL;
    if (json_is_null(chip) || json_is_null(json_object_get(manifest, "phone_id")))
        return 0;
    int found = db_row(conn->station, "SELECT chip_id FROM phone WHERE id = :phone_id", manifest,
                       &row, err);
    if (found == 0)
        return err_set(err, ERR_INPUT, "there is no such phone");
    if (found > 0 && !json_equal(chip, json_object_get(row, "chip_id")))
        return err_set(err, ERR_MISMATCH, "the backup was read from chip %s, the phone has %s",
                       json_string_value(chip), json_string_value(json_object_get(row, "chip_id")));
    return found < 0 ? found : 0;
}

static int add_partitions(struct conn *conn, json_t *manifest, int64_t id, struct err *err)
{
    size_t i;
    json_t *partition;
    json_array_foreach(json_object_get(manifest, "partitions"), i, partition)
    {
        json_object_set_new(partition, "backup_id", json_integer(id));
        json_object_set_new(partition, "seq", json_integer((json_int_t)i));
        int code = db_run(conn->station, add_partition_sql, partition, err);
        if (code < 0)
            return code;
    }
    return 0;
}

/* A station that died between the phone's chip id and its backup has not noted the phone. */
static int know_phone(struct conn *conn, json_t *manifest, struct err *err)
{
    const char *origin = json_string_value(json_object_get(manifest, "origin"));
    json_auto_t *row = NULL;
    if (!origin || strcmp(origin, "station") != 0 ||
        !json_is_null(json_object_get(manifest, "phone_id")) ||
        json_is_null(json_object_get(manifest, "chip_id")))
        return 0;
    json_object_set_new(manifest, "now", json_integer(clock_utc_ms()));
    int code = db_run(conn->station,
                      "INSERT INTO phone (chip_id, first_seen_ms, last_seen_ms) VALUES (:chip_id,"
                      " :now, :now) ON CONFLICT DO NOTHING",
                      manifest, err);
    if (code >= 0)
        code = db_row(conn->station, "SELECT id FROM phone WHERE chip_id = :chip_id", manifest,
                      &row, err);
    if (code > 0)
        json_object_set(manifest, "phone_id", json_object_get(row, "id"));
    return code < 0 ? code : 0;
}

static int add(struct conn *conn, struct task *task, json_t *manifest, int64_t *id_out)
{
    int code = know_phone(conn, manifest, &task->err);
    if (code == 0)
        code = check_chip(conn, manifest, &task->err);
    if (code < 0)
        return code;
    json_object_set_new(manifest, "now", json_integer(clock_utc_ms()));
    *id_out = db_insert(conn->station, add_sql, manifest, &task->err);
    if (*id_out < 0)
        return (int)*id_out;
    json_auto_t *conflict = NULL;
    code = add_partitions(conn, manifest, *id_out, &task->err);
    if (code >= 0) /* law 2: a copy is flagged when it comes in */
        code = conflicts_of_backup(conn, task, *id_out, &conflict);
    int64_t phone_id = json_integer_value(json_object_get(manifest, "phone_id"));
    return code < 0 || !phone_id ? code : phone_tell(conn, task, phone_id);
}

int backups_commit(struct conn *conn, struct task *task)
{
    json_t *answers = json_object_get(task->body, "backups");
    size_t i;
    json_t *manifest, *backup = NULL;
    json_array_foreach(json_object_get(task->args, "manifests"), i, manifest)
    {
        int64_t id = 0;
        int code = find_again(conn, manifest, &id, &task->err);
        if (code == 0)
            code = add(conn, task, manifest, &id);
        if (code >= 0)
            code = backup_read(conn, id, &backup, &task->err);
        if (code < 0)
            return code;
        json_array_append_new(answers, backup);
    }
    return 0;
}

/* ---- reading ---- */

static int get(struct conn *conn, struct task *task)
{
    json_t *backup = NULL;
    int64_t id = arg_int(task, "id");
    int found = backup_read(conn, id, &backup, &task->err);
    return answer_with(task, found, backup, "backup", id);
}

void store_backup_get(struct store *s, int64_t backup_id, store_done_fn *done, void *arg)
{
    json_t *args = json_pack("{s:I}", "id", (json_int_t)backup_id);
    lane_submit(s, LANE_READ, task_new("backup_get", get, args, done, arg));
}

#define LIST_END " id < :after ORDER BY id DESC LIMIT :limit"
static const char list_all_sql[] = "SELECT id FROM backup WHERE" LIST_END;
static const char list_phone_sql[] = "SELECT id FROM backup WHERE phone_id = :phone_id AND"
                                     " (:serial IS NULL OR +serial = :serial) AND" LIST_END;
static const char list_serial_sql[] = "SELECT id FROM backup WHERE serial = :serial AND" LIST_END;

static int list(struct conn *conn, struct task *task)
{
    const char *sql = arg_int(task, "phone_id")  ? list_phone_sql
                      : arg_text(task, "serial") ? list_serial_sql
                                                 : list_all_sql;
    return page_resources(conn, task, sql, backup_read);
}

void store_backup_list(struct store *s, int64_t phone_id, const char *serial,
                       const struct store_page *page, store_done_fn *done, void *arg)
{
    json_t *args = json_pack("{s:o, s:s?}", "phone_id", id_or_null(phone_id), "serial", serial);
    page_submit(s, "backup_list", list, args, page, PAGE_NEWEST_FIRST, done, arg);
}

static const char list_damaged_sql[] =
    "SELECT id FROM backup INDEXED BY backup_damaged WHERE damage IS NOT NULL AND pruned_ms IS NULL"
    " AND" LIST_END;

static int list_damaged(struct conn *conn, struct task *task)
{
    return page_resources(conn, task, list_damaged_sql, backup_read);
}

void store_backup_damaged(struct store *s, const struct store_page *page, store_done_fn *done,
                          void *arg)
{
    page_submit(s, "backup_damaged", list_damaged, json_object(), page, PAGE_NEWEST_FIRST, done,
                arg);
}
