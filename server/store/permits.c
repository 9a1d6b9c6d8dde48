/* Permits: the last check in the station before a phone may be written, and the row that proves it.
 */
#include <inttypes.h>
#include <string.h>

#include "server/store/resources.h"
#include "usb/base/clock.h"

/* All that a permit depends on, as it is at this moment. */
static const char facts_sql[] =
    "SELECT j.state, j.phone_id, p.chip_id, b.origin, b.chip_id AS backup_chip_id, b.complete,"
    " b.manifest_sha256, s.phone_id AS source_phone_id,"
    " EXISTS (SELECT 1 FROM conflict c WHERE c.low_phone_id = p.id AND c.state = 'open')"
    " + EXISTS (SELECT 1 FROM conflict c WHERE c.high_phone_id = p.id AND c.state = 'open') AS "
    "conflicts"
    " FROM job j LEFT JOIN phone p ON p.id = j.phone_id LEFT JOIN backup b ON b.id = :backup_id"
    " LEFT JOIN backup s ON s.id = :source_backup_id WHERE j.id = :job_id";
static const char add_sql[] =
    "INSERT INTO permit (job_id, backup_id, source_backup_id, manifest_sha256, plan_sha256, "
    "chip_id,"
    " issued_ms) VALUES (:job_id, :backup_id, :source_backup_id, :manifest_sha256, :plan_sha256,"
    " :chip_id, :now)";
#define PERMIT_COLUMNS                                                                             \
    "SELECT id AS \"id:id\", job_id AS \"job_id:id\", backup_id AS \"backup_id:id\","              \
    " source_backup_id AS \"source_backup_id:id\", manifest_sha256, plan_sha256, chip_id,"         \
    " issued_ms AS \"issued_at:time\" FROM permit"

static bool text_is(json_t *row, const char *key, const char *want)
{
    const char *have = json_string_value(json_object_get(row, key));
    return have && strcmp(have, want) == 0;
}

static int64_t number(json_t *row, const char *key)
{
    return json_integer_value(json_object_get(row, key));
}

/* NULL: nothing speaks against it. */
static const char *objection(const struct task *task, json_t *f)
{
    const char *chip = arg_text(task, "chip_id");
    if (!text_is(f, "state", "running") && !text_is(f, "state", "prompt"))
        return "the job does not run";
    if (!text_is(f, "chip_id", chip))
        return "the job is for a phone with another chip id";
    if (number(f, "conflicts"))
        return "its serial or IMEI was seen on another phone: an admin must resolve the conflict";
    if (!text_is(f, "origin", "station") || !text_is(f, "backup_chip_id", chip))
        return "there is no backup that this station took from this chip";
    if (!number(f, "complete"))
        return "the backup lacks a member of the identity set";
    if (!text_is(f, "manifest_sha256", arg_text(task, "manifest_sha256")))
        return "the backup's manifest is another one";
    if (arg_int(task, "source_backup_id") && number(f, "source_phone_id") != number(f, "phone_id"))
        return "what is to be written back is not bound to this phone";
    return NULL;
}

static int add(struct conn *conn, struct task *task)
{
    json_auto_t *facts = NULL;
    int found = db_row(conn->station, facts_sql, task->args, &facts, &task->err);
    if (found < 0)
        return found;
    const char *why = found ? objection(task, facts) : "there is no such job";
    if (why)
        return err_set(&task->err, ERR_REFUSED, "no permit to write for job %" PRId64 ": %s",
                       arg_int(task, "job_id"), why);
    int64_t id = db_insert(conn->station, add_sql, task->args, &task->err);
    if (id < 0)
        return (int)id;
    json_object_set_new(task->args, "id", json_integer(id));
    int code = db_row(conn->station, PERMIT_COLUMNS " WHERE id = :id", task->args, &task->body,
                      &task->err);
    return code < 0 ? code : 0;
}

void store_permit_add(struct store *s, const struct store_permit_new *permit, store_done_fn *done,
                      void *arg)
{
    char manifest[SHA256_HEX_BYTES], plan[SHA256_HEX_BYTES];
    sha256_hex(&permit->manifest, manifest);
    sha256_hex(&permit->plan, plan);
    json_t *args =
        json_pack("{s:I, s:I, s:o, s:s, s:s, s:s, s:I}", "job_id", (json_int_t)permit->job_id,
                  "backup_id", (json_int_t)permit->backup_id, "source_backup_id",
                  id_or_null(permit->source_backup_id), "manifest_sha256", manifest, "plan_sha256",
                  plan, "chip_id", permit->chip_id, "now", (json_int_t)clock_utc_ms());
    lane_submit(s, LANE_WRITE, task_new("permit_add", add, args, done, arg));
}

static int list(struct conn *conn, struct task *task)
{
    return page_rows(
        conn, task,
        PERMIT_COLUMNS " WHERE job_id = :job_id AND id > :after ORDER BY id LIMIT :limit", "id");
}

void store_permit_list(struct store *s, int64_t job_id, store_done_fn *done, void *arg)
{
    json_t *args = json_pack("{s:I}", "job_id", (json_int_t)job_id);
    const struct store_page all = {.limit = STORE_PAGE_MAX};
    page_submit(s, "permit_list", list, args, &all, PAGE_OLDEST_FIRST, done, arg);
}
