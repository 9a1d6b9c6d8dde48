/* Permits: the last check in the station before a phone may be written, and the row that proves it.
 */
#include <inttypes.h>
#include <string.h>

#include "server/store/conflicts.h"
#include "server/store/events.h"
#include "server/store/resources.h"
#include "usb/base/clock.h"

/* All that a permit depends on, as it is at this moment. */
static const char facts_sql[] =
    "SELECT j.state, j.phone_id, j.serial, j.imeis AS \"imeis:json\", p.chip_id, b.origin,"
    " b.chip_id AS backup_chip_id, b.complete AND b.pruned_ms IS NULL AS complete, "
    "b.manifest_sha256, s.phone_id AS source_phone_id,"
    " s.origin AS source_origin, s.serial AS source_serial"
    " FROM job j LEFT JOIN phone p ON p.id = j.phone_id LEFT JOIN backup b ON b.id = :backup_id"
    " LEFT JOIN backup s ON s.id = :source_backup_id WHERE j.id = :job_id";
static const char bind_sql[] =
    "UPDATE backup SET phone_id = :phone_id WHERE id = :id AND phone_id IS NULL";
static const char add_sql[] =
    "INSERT INTO permit (job_id, backup_id, source_backup_id, manifest_sha256, plan_sha256, "
    "chip_id,"
    " issued_ms) VALUES (:job_id, :backup_id, :source_backup_id, :manifest_sha256, :plan_sha256,"
    " :chip_id, :now)";
#define PERMIT_COLUMNS                                                                             \
    "SELECT id AS \"id:id\", job_id AS \"job_id:id\", backup_id AS \"backup_id:id\","              \
    " source_backup_id AS \"source_backup_id:id\", manifest_sha256, plan_sha256, chip_id,"         \
    " issued_ms AS \"issued_at:time\" FROM permit"
/* Slots of this phone that another job's service LK may lie in, also a torn one that nobody can tell any more by its
 * bytes. A job that succeeded has cleaned all of them (law 5), and those of jobs whose permits were issued before its own;
 * the order of the permits tells, not the clock, which may jump. */
static const char service_lk_sql[] =
    "SELECT group_concat(DISTINCT e.partition) AS service_lk FROM job j JOIN write_extent e"
    " ON e.job_id = j.id WHERE j.phone_id = (SELECT id FROM phone WHERE chip_id = :chip_id)"
    " AND j.id <> :job_id AND j.state <> 'succeeded' AND e.kind = 'service_lk'"
    " AND NOT EXISTS (SELECT 1 FROM job later"
    " WHERE later.phone_id = j.phone_id AND later.state = 'succeeded'"
    " AND EXISTS (SELECT 1 FROM permit p WHERE p.job_id = later.id AND p.id >"
    " (SELECT max(id) FROM permit WHERE job_id = j.id)))";

static bool text_is(json_t *row, const char *key, const char *want)
{
    const char *have = json_string_value(json_object_get(row, key));
    return have && strcmp(have, want) == 0;
}

static int64_t number(json_t *row, const char *key)
{
    return json_integer_value(json_object_get(row, key));
}

/* An import is for the phone on whose label its serial stands; that another phone has it is a conflict. */
static const char *objection_to_source(json_t *f)
{
    bool import = text_is(f, "source_origin", "import");
    const char *serial = json_string_value(json_object_get(f, "serial"));
    if (number(f, "source_phone_id") == number(f, "phone_id"))
        return NULL;
    if (!import || (!number(f, "source_phone_id") && !serial))
        return "what is to be written back is not bound to this phone";
    if (!serial || !text_is(f, "source_serial", serial))
        return "what is to be written back was imported for another serial";
    return NULL;
}

/* NULL: nothing speaks against it. */
static const char *objection(const struct task *task, json_t *f)
{
    const char *chip = arg_text(task, "chip_id");
    if (!text_is(f, "state", "running") && !text_is(f, "state", "prompt"))
        return "the job does not run";
    if (!text_is(f, "chip_id", chip))
        return "the job is for a phone with another chip id";
    if (!text_is(f, "origin", "station") || !text_is(f, "backup_chip_id", chip))
        return "there is no backup that this station took from this chip";
    if (!number(f, "complete"))
        return "the backup lacks a member of the identity set";
    if (!text_is(f, "manifest_sha256", arg_text(task, "manifest_sha256")))
        return "the backup's manifest is another one";
    return arg_int(task, "source_backup_id") ? objection_to_source(f) : NULL;
}

/* {kind value} of each number that the order named. */
static json_t *claims(json_t *f)
{
    json_t *list = json_array(), *imei, *serial = json_object_get(f, "serial");
    size_t i;
    if (!json_is_null(serial))
        json_array_append_new(list, json_pack("{s:s, s:O}", "kind", "serial", "value", serial));
    json_array_foreach(json_object_get(f, "imeis"), i, imei)
    {
        json_array_append_new(list, json_pack("{s:s, s:O}", "kind", "imei", "value", imei));
    }
    return list;
}

/* Laws 2 and 7 at the last moment, hours after the order perhaps. 1 and the conflict. */
static int find_conflict(struct conn *conn, struct task *task, json_t *f, json_t *facts,
                         json_t **out)
{
    int64_t phone_id = number(f, "phone_id"), job_id = arg_int(task, "job_id");
    int64_t source = arg_int(task, "source_backup_id");
    int code = conflicts_open_for(conn, task, phone_id, source, out);
    if (code == 0)
        code = conflicts_of_facts(conn, task, phone_id, job_id, facts, out);
    if (code == 0 && source)
        code = conflicts_of_claim(conn, task, source, phone_id, job_id, out);
    if (code == 0 && source)
        code = conflicts_of_backup(conn, task, source, out);
    return code;
}

/* A backup that an admin found to be a copy is not written back, whoever asks. */
static int check_copy(struct conn *conn, struct task *task)
{
    json_auto_t *twins = json_array();
    int64_t source = arg_int(task, "source_backup_id");
    int code = source ? backup_twins(conn, task, source, true, twins) : 0;
    return code == 0 && json_array_size(twins)
               ? err_set(&task->err, ERR_REFUSED,
                         "no permit to write: backup %" PRId64 " is a copy of another phone's",
                         source)
               : code;
}

/* An import belongs to the first phone that it is approved for. */
static int bind_source(struct conn *conn, struct task *task, json_t *f)
{
    int64_t source = arg_int(task, "source_backup_id");
    if (!source || number(f, "source_phone_id"))
        return 0;
    json_auto_t *key = json_pack("{s:I, s:O}", "id", (json_int_t)source, "phone_id",
                                 json_object_get(f, "phone_id"));
    int code = db_run(conn->station, bind_sql, key, &task->err);
    return code < 0 ? code
                    : audit_write(conn, task, NULL, "backup.bind", "backup", source,
                                  json_object_get(f, "phone_id"));
}

static int issue(struct conn *conn, struct task *task)
{
    int64_t id = db_insert(conn->station, add_sql, task->args, &task->err);
    if (id < 0)
        return (int)id;
    json_object_set_new(task->args, "id", json_integer(id));
    int code = db_row(conn->station, PERMIT_COLUMNS " WHERE id = :id", task->args, &task->body,
                      &task->err);
    json_auto_t *slots = NULL;
    if (code >= 0)
        code = db_row(conn->station, service_lk_sql, task->args, &slots, &task->err);
    if (code >= 0)
        json_object_update(task->body, slots);
    return code < 0 ? code : 0;
}

/* Nothing speaks against it: the phone is what the order said. */
static int grant(struct conn *conn, struct task *task, json_t *f, json_t *facts)
{
    int64_t phone_id = number(f, "phone_id");
    int code = check_copy(conn, task);
    if (code == 0)
        code = bind_source(conn, task, f);
    if (code == 0)
        code = phone_learn(conn, task, phone_id, "label", facts);
    if (code == 0)
        code = issue(conn, task);
    return code < 0 ? code : phone_tell(conn, task, phone_id);
}

static int add(struct conn *conn, struct task *task)
{
    json_auto_t *f = NULL, *conflict = NULL;
    int found = db_row(conn->station, facts_sql, task->args, &f, &task->err);
    if (found < 0)
        return found;
    const char *why = found ? objection(task, f) : "there is no such job";
    if (why)
        return err_set(&task->err, ERR_REFUSED, "no permit to write for job %" PRId64 ": %s",
                       arg_int(task, "job_id"), why);
    json_auto_t *facts = claims(f);
    int code = find_conflict(conn, task, f, facts, &conflict);
    if (code <= 0)
        return code < 0 ? code : grant(conn, task, f, facts);
    task->body = json_pack("{s:O}", "conflict", conflict); /* an answer, so that it is committed */
    return phone_tell(conn, task, number(f, "phone_id"));
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
