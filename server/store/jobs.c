#include <inttypes.h>
#include <string.h>

#include "server/store/events.h"
#include "server/store/manifests.h"
#include "server/store/resources.h"
#include "usb/base/clock.h"
#include "usb/base/mem.h"

#define JOB_COLUMNS                                                                                \
    "SELECT j.id AS \"id:id\", j.recipe, j.recipe_version, j.recipe_sha256, j.state, j.step, "     \
    "j.priority, j.port_id AS port,"                                                               \
    " j.phone_id AS \"phone_id:id\", j.serial, j.imeis AS \"imeis:json\","                         \
    " j.firmware_id AS \"firmware:id\", j.backup_id AS \"backup:id\", j.finish, j.accept, "        \
    "j.owner_ref,"                                                                                 \
    " j.any_port AS \"any_port:bool\", j.ordered_phone_id AS \"ordered_phone_id:id\", j.retries, " \
    "j.crash_step, j.retry_ms AS \"retry_at:time\","                                               \
    " EXISTS (SELECT 1 FROM permit p WHERE p.job_id = j.id) AS \"permitted:bool\","                \
    " j.client_ref, j.prompt AS \"prompt:json\", j.error AS \"error:json\","                       \
    " j.result AS \"result:json\", j.chip_id, j.phone_state, j.run_count, j.created_ms AS "        \
    "\"created_at:time\","                                                                         \
    " j.started_ms AS \"started_at:time\", j.ended_ms AS \"ended_at:time\" FROM job j"

static const char job_sql[] = JOB_COLUMNS " WHERE j.id = :id";

/* The key is always there; the station fills it while the job runs. */
static void put_no_progress(json_t *job)
{
    json_object_set_new(job, "progress",
                        json_pack("{s:i, s:i, s:i, s:n}", "done_bytes", 0, "total_bytes", 0,
                                  "bytes_per_s", 0, "eta_s"));
    json_object_set_new(job, "waits_for", json_null());
    json_object_set_new(job, "seen_on", json_null());
    json_object_set_new(job, "pending", json_null());
}

int job_read(struct conn *conn, int64_t job_id, json_t **out, struct err *err)
{
    json_auto_t *key = json_pack("{s:I}", "id", (json_int_t)job_id);
    int found = db_row(conn->station, job_sql, key, out, err);
    if (found > 0)
        put_no_progress(*out);
    return found;
}

int job_tell(struct conn *conn, struct task *task, int64_t job_id)
{
    json_auto_t *job = NULL;
    int found = job_read(conn, job_id, &job, &task->err);
    return found <= 0 ? found : events_add(conn, task, "job", job);
}

static int read_whole(struct conn *conn, int64_t job_id, json_t **out, struct err *err)
{
    json_auto_t *job = NULL;
    json_t *steps = NULL;
    int found = job_read(conn, job_id, &job, err);
    if (found <= 0)
        return found;
    int code = job_steps(conn, job_id, &steps, err);
    if (code < 0)
        return code;
    json_object_set_new(job, "steps", steps);
    *out = STEAL(job);
    return 1;
}

static int answer_with_job(struct conn *conn, struct task *task, int64_t job_id)
{
    json_t *job = NULL;
    int found = read_whole(conn, job_id, &job, &task->err);
    return answer_with(task, found, job, "job", job_id);
}

/* ---- ordering ---- */

static const char known_key_sql[] =
    "SELECT id, request_sha256 FROM job WHERE idempotency_key = :idempotency_key";
static const char add_sql[] =
    "INSERT INTO job (recipe, recipe_version, recipe_sha256, priority, port_id, phone_id,"
    " ordered_phone_id, serial, imeis, firmware_id, backup_id,"
    " finish, accept, owner_ref, client_ref, idempotency_key, request_sha256, any_port, created_ms)"
    " VALUES (:recipe, :recipe_version, :recipe_sha256, :priority, :port_id, :phone_id, :phone_id,"
    " :serial, :imeis, :firmware_id, :backup_id,"
    " :finish, :accept, :owner_ref, :client_ref, :idempotency_key, :request_sha256,"
    " :port_id IS NULL, :now)";

/* What the order names must be there: a sentence instead of a failed foreign key. */
static int check_named(struct conn *conn, struct task *task)
{
    static const struct {
        const char *key, *what, *sql;
    } named[] = {
        {"phone_id", "phone", "SELECT 1 AS found FROM phone WHERE id = :phone_id"},
        {"firmware_id", "firmware", "SELECT 1 AS found FROM firmware WHERE id = :firmware_id"},
        {"backup_id", "backup", "SELECT 1 AS found FROM backup WHERE id = :backup_id"},
    };
    for (size_t i = 0; i < ARRAY_LEN(named); i++) {
        json_auto_t *row = NULL;
        int64_t id = arg_int(task, named[i].key);
        int found = id ? db_row(conn->station, named[i].sql, task->args, &row, &task->err) : 1;
        if (found == 0)
            return err_set(&task->err, ERR_INPUT, "there is no %s %" PRId64, named[i].what, id);
        if (found < 0)
            return found;
    }
    return 0;
}

/* 1: this key was used before and the answer is made; 0: go on. */
static int answer_known_key(struct conn *conn, struct task *task)
{
    json_auto_t *row = NULL;
    if (!arg_text(task, "idempotency_key"))
        return 0;
    int found = db_row(conn->station, known_key_sql, task->args, &row, &task->err);
    if (found <= 0)
        return found;
    const char *hash = json_string_value(json_object_get(row, "request_sha256"));
    int64_t id = json_integer_value(json_object_get(row, "id"));
    if (strcmp(hash, arg_text(task, "request_sha256")) != 0)
        return err_set(&task->err, ERR_CONFLICT,
                       "this Idempotency-Key was sent before with another request: job %" PRId64,
                       id);
    int code = answer_with_job(conn, task, id);
    return code < 0 ? code : 1;
}

static int add(struct conn *conn, struct task *task)
{
    int code = answer_known_key(conn, task);
    if (code != 0)
        return code < 0 ? code : 0;
    code = check_named(conn, task);
    if (code == 0)
        code = recipe_use(conn, task);
    if (code < 0)
        return code;
    int64_t id = db_insert(conn->station, add_sql, task->args, &task->err);
    if (id < 0)
        return (int)id;
    code = audit_write(conn, task, arg_text(task, "actor"), "job.add", "job", id,
                       json_object_get(task->args, "recipe"));
    if (code >= 0)
        code = answer_with_job(conn, task, id);
    return code < 0 ? code : job_tell(conn, task, id);
}

static void set_text(json_t *args, const char *key, const char *text)
{
    json_object_set_new(args, key, text ? json_string(text) : json_null());
}

void store_job_add(struct store *s, const struct store_job_new *job, store_done_fn *done, void *arg)
{
    json_t *args = json_pack(
        "{s:s, s:i, s:s?, s:s?, s:o, s:o, s:o, s:o, s:s?, s:s?, s:s?, s:s?, s:s?, s:s?, s:s?, s:I}",
        "recipe", job->recipe, "priority", job->priority, "port_id", job->port_id, "serial",
        job->serial, "imeis", string_list(job->imeis, ARRAY_LEN(job->imeis)), "phone_id",
        id_or_null(job->phone_id), "firmware_id", id_or_null(job->firmware_id), "backup_id",
        id_or_null(job->backup_id), "finish", job->finish, "accept", job->accept, "owner_ref",
        job->owner_ref, "client_ref", job->client_ref, "idempotency_key", job->idempotency_key,
        "request_sha256", job->request_sha256, "actor", job->actor, "now",
        (json_int_t)clock_utc_ms());
    json_object_set_new(args, "recipe_version", id_or_null(job->recipe_version));
    set_text(args, "recipe_sha256", job->recipe_sha256);
    set_text(args, "recipe_document", job->recipe_document);
    lane_submit(s, LANE_WRITE, task_new("job_add", add, args, done, arg));
}

/* ---- changing ---- */

static const char change_sql[] =
    "UPDATE job SET state = coalesce(:state, state),"
    " port_id = CASE WHEN :port_id = '' THEN NULL ELSE coalesce(:port_id, port_id) END,"
    " any_port = CASE WHEN :port_ordered THEN 0 ELSE any_port END,"
    " phone_id = CASE WHEN :phone_id < 0 THEN NULL ELSE coalesce(:phone_id, phone_id) END,"
    " retries = coalesce(:retries, retries),"
    " crash_step = coalesce(:crash_step, crash_step),"
    " retry_ms = CASE WHEN coalesce(:state, state) = 'waiting' AND coalesce(:retry_ms, 0) >= 0"
    " THEN coalesce(:retry_ms, retry_ms) END,"
    " step = coalesce(:step, step),"
    " serial = coalesce(:serial, serial),"
    " prompt = CASE WHEN :prompt_set THEN :prompt WHEN coalesce(:state, state) = 'prompt' THEN "
    "prompt"
    " END,"
    " error = CASE WHEN :error_set THEN :error ELSE error END,"
    " result = CASE WHEN :result_set THEN :result ELSE result END,"
    " started_ms = CASE WHEN :state = 'running' THEN coalesce(started_ms, :now) ELSE started_ms "
    "END,"
    " ended_ms = CASE WHEN :state IN ('succeeded', 'failed', 'cancelled') THEN :now END"
    " WHERE id = :id AND ended_ms IS NULL AND (:from IS NULL OR state = :from)";

/* A run does not outlive its job. */
static const char end_run_sql[] =
    "UPDATE run SET ended_ms = :now, outcome = :state, error = :error WHERE job_id = :id AND"
    " ended_ms IS NULL AND :state IN ('succeeded', 'failed', 'cancelled', 'interrupted')";

/* The update found no open job, or one in another state than was asked for. */
static int explain_no_change(struct conn *conn, struct task *task, int64_t id)
{
    json_auto_t *job = NULL;
    int found = job_read(conn, id, &job, &task->err);
    if (found < 0)
        return found;
    if (found == 0)
        return err_set(&task->err, ERR_NOT_FOUND, "no job %" PRId64, id);
    bool open = json_is_null(json_object_get(job, "ended_at"));
    return err_set(&task->err, ERR_CONFLICT, "job %" PRId64 " %s: %s", id,
                   open ? "has gone on meanwhile" : "has ended",
                   json_string_value(json_object_get(job, "state")));
}

static int tell_prompt(struct conn *conn, struct task *task)
{
    json_t *job = task->body;
    if (!json_is_object(json_object_get(task->args, "prompt")))
        return 0;
    json_auto_t *body =
        json_pack("{s:O, s:O, s:O, s:O}", "job_id", json_object_get(job, "id"), "port",
                  json_object_get(job, "port"), "phone_id", json_object_get(job, "phone_id"),
                  "prompt", json_object_get(job, "prompt"));
    return events_add(conn, task, "prompt", body);
}

bool store_job_closes(const char *state)
{
    static const char *const states[] = {"succeeded", "failed", "cancelled"};
    for (size_t i = 0; state && i < ARRAY_LEN(states); i++)
        if (strcmp(state, states[i]) == 0)
            return true;
    return false;
}

static int change(struct conn *conn, struct task *task)
{
    int64_t id = arg_int(task, "id");
    int code = db_run(conn->station, change_sql, task->args, &task->err);
    if (code == ERR_CONFLICT) /* job_one_a_port, job_one_a_phone */
        return err_set(&task->err, code, "another job runs on this port or for this phone");
    if (code == 0)
        return explain_no_change(conn, task, id);
    if (code > 0)
        code = db_run(conn->station, end_run_sql, task->args, &task->err);
    if (code >= 0)
        code = answer_with_job(conn, task, id);
    if (code >= 0 && store_job_closes(arg_text(task, "state")))
        code = manifest_add(conn, task, id);
    if (code >= 0)
        code = job_tell(conn, task, id);
    return code < 0 ? code : tell_prompt(conn, task);
}

/* `value` NULL: not changed; JSON null: taken away. */
static void set_document(json_t *args, const char *key, const char *set_key, json_t *value)
{
    json_object_set_new(args, set_key, json_boolean(value != NULL));
    json_object_set_new(args, key, value ? json_deep_copy(value) : json_null());
}

void store_job_change(struct store *s, int64_t job_id, const struct store_job_change *c,
                      store_done_fn *done, void *arg)
{
    json_t *args = json_pack("{s:I, s:s?, s:s?, s:s?, s:b, s:o, s:o, s:s?, s:o, s:s?, s:s?, s:I}",
                             "id", (json_int_t)job_id, "from", c->from, "state", c->state,
                             "port_id", c->port_id,
                             "port_ordered", c->port_ordered, "phone_id", id_or_null(c->phone_id),
                             "retries", id_or_null(c->retries), "crash_step", c->crash_step,
                             "retry_ms", id_or_null(c->retry_ms), "step", c->step, "serial",
                             c->serial, "now", (json_int_t)clock_utc_ms());
    set_document(args, "prompt", "prompt_set", c->prompt);
    set_document(args, "error", "error_set", c->error);
    set_document(args, "result", "result_set", c->result);
    lane_submit(s, LANE_WRITE, task_new("job_change", change, args, done, arg));
}

/* ---- reading ---- */

static int get(struct conn *conn, struct task *task)
{
    return answer_with_job(conn, task, arg_int(task, "id"));
}

void store_job_get(struct store *s, int64_t job_id, store_done_fn *done, void *arg)
{
    json_t *args = json_pack("{s:I}", "id", (json_int_t)job_id);
    lane_submit(s, LANE_READ, task_new("job_get", get, args, done, arg));
}

/* One statement for each index: the named column leads, the others only filter what it finds. */
#define FILTERS                                                                                    \
    " AND (:state IS NULL OR +state = :state) AND (:port_id IS NULL OR +port_id = :port_id)"       \
    " AND (:serial IS NULL OR +serial = :serial) AND (:phone_id IS NULL OR +phone_id = :phone_id)" \
    " AND (:client_ref IS NULL OR +client_ref = :client_ref)"
#define NEWEST_BY(column)                                                                          \
    "SELECT id FROM job WHERE " column " = :" column " AND id < :after" FILTERS                    \
    " ORDER BY id DESC LIMIT :limit"
static const char open_sql[] =
    "SELECT id FROM job WHERE ended_ms IS NULL AND id > :after" FILTERS " ORDER BY id LIMIT :limit";
static const char any_sql[] =
    "SELECT id FROM job WHERE id < :after" FILTERS " ORDER BY id DESC LIMIT :limit";
static const struct {
    const char *key, *sql;
} by[] = {
    {"phone_id", NEWEST_BY("phone_id")}, {"client_ref", NEWEST_BY("client_ref")},
    {"serial", NEWEST_BY("serial")},     {"port_id", NEWEST_BY("port_id")},
    {"state", NEWEST_BY("state")},
};

static const char *list_sql(const struct task *task)
{
    if (json_is_true(json_object_get(task->args, "open")))
        return open_sql;
    for (size_t i = 0; i < ARRAY_LEN(by); i++)
        if (!json_is_null(json_object_get(task->args, by[i].key)))
            return by[i].sql;
    return any_sql;
}

static int list(struct conn *conn, struct task *task)
{
    return page_resources(conn, task, list_sql(task), read_whole);
}

void store_job_list(struct store *s, const struct store_job_filter *f,
                    const struct store_page *page, store_done_fn *done, void *arg)
{
    static const struct store_job_filter none;
    if (!f)
        f = &none;
    json_t *args = json_pack("{s:s?, s:s?, s:s?, s:s?, s:o, s:b}", "state", f->state, "port_id",
                             f->port_id, "serial", f->serial, "client_ref", f->client_ref,
                             "phone_id", id_or_null(f->phone_id), "open", f->open);
    page_submit(s, "job_list", list, args, page, f->open ? PAGE_OLDEST_FIRST : PAGE_NEWEST_FIRST,
                done, arg);
}
