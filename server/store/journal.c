/* The journal of a job: every attempt at every step, and log lines. */
#include <inttypes.h>

#include "server/store/events.h"
#include "server/store/resources.h"
#include "usb/base/clock.h"
#include "usb/base/mem.h"

#define STEP_COLUMNS                                                                               \
    "seq, run, name, attempt, state, intent AS \"intent:json\", error AS \"error:json\","          \
    " result AS \"result:json\", started_ms AS \"started_at:time\", ended_ms AS \"ended_at:time\""

static const char steps_sql[] =
    "SELECT " STEP_COLUMNS " FROM step WHERE job_id = :job_id ORDER BY seq";
static const char step_sql[] = "SELECT job_id AS \"job_id:id\", " STEP_COLUMNS
                               " FROM step WHERE job_id = :job_id AND seq = :seq";

int job_steps(struct conn *conn, int64_t job_id, json_t **out, struct err *err)
{
    json_auto_t *key = json_pack("{s:I}", "job_id", (json_int_t)job_id);
    json_auto_t *steps = json_array();
    int code = db_rows(conn->station, steps_sql, key, steps, err);
    if (code < 0)
        return code;
    *out = STEAL(steps);
    return 0;
}

/* Makes the step with args' job_id and `seq` the answer, tells the job. */
static int answer_with_step(struct conn *conn, struct task *task, json_t *seq)
{
    json_object_set(task->args, "seq", seq);
    int code = db_row(conn->station, step_sql, task->args, &task->body, &task->err);
    return code < 0 ? code : job_tell(conn, task, arg_int(task, "job_id"));
}

/* ---- steps ---- */

static const char enter_sql[] =
    "UPDATE job SET step = :name WHERE id = :job_id AND ended_ms IS NULL";
static const char begin_sql[] =
    "INSERT INTO step (job_id, seq, run, name, attempt, intent, started_ms)"
    " SELECT :job_id, (SELECT coalesce(max(seq), 0) + 1 FROM step WHERE job_id = :job_id),"
    " (SELECT max(run_count, 1) FROM job WHERE id = :job_id), :name,"
    " (SELECT coalesce(max(attempt), 0) + 1 FROM step WHERE job_id = :job_id AND name = :name),"
    " :intent, :now RETURNING seq";

static int begin(struct conn *conn, struct task *task)
{
    json_auto_t *row = NULL;
    int code = db_run(conn->station, enter_sql, task->args, &task->err);
    if (code == 0)
        return err_set(&task->err, ERR_CONFLICT, "job %" PRId64 " is not there or has ended",
                       arg_int(task, "job_id"));
    if (code > 0)
        code = db_row(conn->station, begin_sql, task->args, &row, &task->err);
    return code < 0 ? code : answer_with_step(conn, task, json_object_get(row, "seq"));
}

void store_step_begin(struct store *s, int64_t job_id, const char *step, json_t *intent,
                      store_done_fn *done, void *arg)
{
    json_t *args = json_pack("{s:I, s:s, s:o?, s:I}", "job_id", (json_int_t)job_id, "name", step,
                             "intent", json_deep_copy(intent), "now", (json_int_t)clock_utc_ms());
    lane_submit(s, LANE_WRITE, task_new("step_begin", begin, args, done, arg));
}

static const char end_sql[] =
    "UPDATE step SET state = :state, error = :error, result = :result, ended_ms = :now"
    " WHERE job_id = :job_id AND seq = (SELECT max(seq) FROM step WHERE job_id = :job_id"
    " AND name = :name AND state = 'running') RETURNING seq";

static int end(struct conn *conn, struct task *task)
{
    json_auto_t *row = NULL;
    int code = db_row(conn->station, end_sql, task->args, &row, &task->err);
    if (code == 0)
        return err_set(&task->err, ERR_CONFLICT, "step %s of job %" PRId64 " does not run",
                       arg_text(task, "name"), arg_int(task, "job_id"));
    return code < 0 ? code : answer_with_step(conn, task, json_object_get(row, "seq"));
}

void store_step_end(struct store *s, int64_t job_id, const char *step, const char *state,
                    json_t *error, json_t *result, store_done_fn *done, void *arg)
{
    json_t *args = json_pack("{s:I, s:s, s:s, s:o?, s:o?, s:I}", "job_id", (json_int_t)job_id,
                             "name", step, "state", state, "error", json_deep_copy(error), "result",
                             json_deep_copy(result), "now", (json_int_t)clock_utc_ms());
    lane_submit(s, LANE_WRITE, task_new("step_end", end, args, done, arg));
}

/* ---- log lines ---- */

static const char log_sql[] =
    "INSERT INTO job_log (job_id, seq, at_ms, level, step, message)"
    " SELECT :job_id, (SELECT coalesce(max(seq), 0) + 1 FROM job_log WHERE job_id = :job_id), :now,"
    " :level, :step, :message RETURNING seq";
static const char line_sql[] =
    "SELECT job_id AS \"job_id:id\", seq, at_ms AS \"at:time\", level, step, message FROM job_log"
    " WHERE job_id = :job_id AND seq = :seq";

static int add_line(struct conn *conn, struct task *task)
{
    json_auto_t *row = NULL;
    int code = db_row(conn->station, log_sql, task->args, &row, &task->err);
    if (code < 0)
        return code;
    json_t *seq = json_object_get(row, "seq");
    json_object_set(task->args, "seq", seq);
    code = db_row(conn->station, line_sql, task->args, &task->body, &task->err);
    if (code < 0)
        return code;
    return events_add_log(conn, task, arg_int(task, "job_id"), json_integer_value(seq), task->body);
}

void store_job_log_add(struct store *s, int64_t job_id, const char *level, const char *step,
                       const char *message, store_done_fn *done, void *arg)
{
    AUTO(free_ptr) char *text = utf8_copy(message);
    json_t *args =
        json_pack("{s:I, s:s, s:s?, s:s, s:I}", "job_id", (json_int_t)job_id, "level", level,
                  "step", step, "message", text, "now", (json_int_t)clock_utc_ms());
    lane_submit(s, LANE_WRITE, task_new("job_log_add", add_line, args, done, arg));
}

static const char lines_sql[] =
    "SELECT seq, at_ms AS \"at:time\", level, step, message FROM job_log"
    " WHERE job_id = :job_id AND seq > :after ORDER BY seq LIMIT :limit";

static int list_lines(struct conn *conn, struct task *task)
{
    json_auto_t *job = NULL;
    int64_t id = arg_int(task, "job_id");
    int found = job_read(conn, id, &job, &task->err);
    if (found == 0)
        return err_set(&task->err, ERR_NOT_FOUND, "no job %" PRId64, id);
    return found < 0 ? found : page_rows(conn, task, lines_sql, "seq");
}

void store_job_log(struct store *s, int64_t job_id, const struct store_page *page,
                   store_done_fn *done, void *arg)
{
    json_t *args = json_pack("{s:I}", "job_id", (json_int_t)job_id);
    page_submit(s, "job_log", list_lines, args, page, PAGE_OLDEST_FIRST, done, arg);
}
