/* Runs of a job: what each began with, what its worker left in the spool, how it ended. */
#include <inttypes.h>
#include <string.h>

#include "server/store/resources.h"
#include "usb/base/clock.h"
#include "usb/base/mem.h"

static const char extents_sql[] =
    "SELECT run, step, kind, partition, phase, offset_bytes AS \"offset\", length_bytes AS"
    " length, sha256, at_ms AS \"at:time\" FROM write_extent WHERE job_id = :job_id"
    " ORDER BY run, seq";
static const char job_sql[] = "SELECT state, run_count AS run, chip_id FROM job WHERE id = :job_id";

/* {state run chip_id extents[]} of the job. */
static int answer_with_run(struct conn *conn, struct task *task)
{
    json_t *extents = json_array();
    int found = db_row(conn->station, job_sql, task->args, &task->body, &task->err);
    if (found == 0)
        err_set(&task->err, found = ERR_NOT_FOUND, "no job %" PRId64, arg_int(task, "job_id"));
    if (found < 0) {
        json_decref(extents);
        return found;
    }
    json_object_set_new(task->body, "extents", extents);
    int code = db_rows(conn->station, extents_sql, task->args, extents, &task->err);
    return code < 0 ? code : 0;
}

static int run_all(struct conn *conn, struct task *task, const char *const *sql, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        int code = db_run(conn->station, sql[i], task->args, &task->err);
        if (code < 0)
            return code;
    }
    return 0;
}

/* ---- beginning ---- */

static int begin(struct conn *conn, struct task *task)
{
    /* what was permitted to be written once pins the job to this phone */
    static const char *const sql[] = {
        "UPDATE run SET ended_ms = :now, outcome = 'interrupted' WHERE job_id = :job_id AND"
        " ended_ms IS NULL",
        "UPDATE job SET run_count = run_count + 1, chip_id = coalesce(chip_id, (SELECT chip_id FROM"
        " permit WHERE job_id = :job_id ORDER BY id DESC LIMIT 1)) WHERE id = :job_id",
        "INSERT INTO run (job_id, seq, port_id, started_ms)"
        " SELECT id, run_count, :port_id, :now FROM job WHERE id = :job_id",
    };
    int code = run_all(conn, task, sql, ARRAY_LEN(sql));
    return code < 0 ? code : answer_with_run(conn, task);
}

void store_run_begin(struct store *s, int64_t job_id, const char *port_id, store_done_fn *done,
                     void *arg)
{
    json_t *args = json_pack("{s:I, s:s, s:I}", "job_id", (json_int_t)job_id, "port_id", port_id,
                             "now", (json_int_t)clock_utc_ms());
    lane_submit(s, LANE_WRITE, task_new("run_begin", begin, args, done, arg));
}

/* ---- taking in what the worker left ---- */

static const char known_steps_sql[] =
    "SELECT seq, name, state FROM step WHERE job_id = :job_id AND run = :run ORDER BY seq";
static const char end_step_sql[] =
    "UPDATE step SET state = :state, error = :error, ended_ms = :ended_ms"
    " WHERE job_id = :job_id AND seq = :seq";
static const char add_step_sql[] =
    "INSERT INTO step (job_id, seq, run, name, attempt, state, error, started_ms, ended_ms)"
    " SELECT :job_id, (SELECT coalesce(max(seq), 0) + 1 FROM step WHERE job_id = :job_id), :run,"
    " :name, (SELECT coalesce(max(attempt), 0) + 1 FROM step WHERE job_id = :job_id AND name ="
    " :name), :state, :error, :started_ms, :ended_ms";
static const char last_step_sql[] = "UPDATE job SET step = :name WHERE id = :job_id";
static const char add_extent_sql[] =
    "INSERT INTO write_extent (job_id, run, seq, step, kind, partition, phase, offset_bytes,"
    " length_bytes, sha256, at_ms) VALUES (:job_id, :run, :seq, :step, :kind, :partition, :phase,"
    " :offset, :length, :sha256, :at_ms) ON CONFLICT DO NOTHING";

static void name_run(const struct task *task, json_t *row)
{
    json_object_set(row, "job_id", json_object_get(task->args, "job_id"));
    json_object_set(row, "run", json_object_get(task->args, "run"));
}

/* The worker told of its steps in the order of its journal: the rows that are there are the first of them. */
static int adopt_steps(struct conn *conn, struct task *task)
{
    json_auto_t *known = json_array();
    int code = db_rows(conn->station, known_steps_sql, task->args, known, &task->err);
    size_t i;
    json_t *step;
    json_array_foreach(json_object_get(task->args, "steps"), i, step)
    {
        json_t *row = json_array_get(known, i);
        const char *state = json_string_value(json_object_get(row, "state"));
        name_run(task, step);
        json_object_set(step, "seq", json_object_get(row, "seq"));
        if (code >= 0 && !row)
            code = db_run(conn->station, add_step_sql, step, &task->err);
        else if (code >= 0 && state && strcmp(state, "running") == 0)
            code = db_run(conn->station, end_step_sql, step, &task->err);
        if (code >= 0)
            code = db_run(conn->station, last_step_sql, step, &task->err);
    }
    return code < 0 ? code : 0;
}

static int adopt_extents(struct conn *conn, struct task *task)
{
    size_t i;
    json_t *extent;
    json_array_foreach(json_object_get(task->args, "extents"), i, extent)
    {
        name_run(task, extent);
        json_object_set_new(extent, "seq", json_integer((json_int_t)i + 1));
        int code = db_run(conn->station, add_extent_sql, extent, &task->err);
        if (code < 0)
            return code;
    }
    return 0;
}

static const char open_run_sql[] =
    "SELECT seq AS run FROM run WHERE job_id = :job_id AND ended_ms IS NULL";

static int adopt(struct conn *conn, struct task *task)
{
    json_auto_t *row = NULL;
    int open = db_row(conn->station, open_run_sql, task->args, &row, &task->err);
    if (open > 0) {
        json_object_set(task->args, "run", json_object_get(row, "run"));
        open = adopt_steps(conn, task);
    }
    if (open == 0 && row)
        open = adopt_extents(conn, task);
    return open < 0 ? open : answer_with_run(conn, task);
}

void store_run_adopt(struct store *s, int64_t job_id, json_t *steps, json_t *extents,
                     store_done_fn *done, void *arg)
{
    json_t *args = json_pack("{s:I, s:o, s:o}", "job_id", (json_int_t)job_id, "steps",
                             json_deep_copy(steps), "extents", json_deep_copy(extents));
    lane_submit(s, LANE_WRITE, task_new("run_adopt", adopt, args, done, arg));
}

/* ---- the end ---- */

static int end(struct conn *conn, struct task *task)
{
    static const char *const sql[] = {
        "UPDATE run SET ended_ms = :now, outcome = :outcome, error = :error WHERE job_id = :job_id"
        " AND ended_ms IS NULL",
        "UPDATE step SET state = 'interrupted', ended_ms = :now WHERE job_id = :job_id AND state ="
        " 'running'",
        "UPDATE job SET phone_state = :phone_state, chip_id = coalesce(chip_id, (SELECT chip_id"
        " FROM permit WHERE job_id = :job_id ORDER BY id DESC LIMIT 1)) WHERE id = :job_id",
    };
    return run_all(conn, task, sql, ARRAY_LEN(sql));
}

void store_run_end(struct store *s, int64_t job_id, const char *outcome, json_t *error,
                   const char *phone_state, store_done_fn *done, void *arg)
{
    json_t *args = json_pack("{s:I, s:s, s:o?, s:s?, s:I}", "job_id", (json_int_t)job_id, "outcome",
                             outcome, "error", json_deep_copy(error), "phone_state", phone_state,
                             "now", (json_int_t)clock_utc_ms());
    lane_submit(s, LANE_WRITE, task_new("run_end", end, args, done, arg));
}
