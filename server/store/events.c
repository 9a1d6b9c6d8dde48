#include "server/store/events.h"

#include <string.h>

#include "usb/base/clock.h"
#include "usb/base/mem.h"

static const char add_sql[] = "INSERT INTO event (at_ms, type, body, job_id, log_seq)"
                              " VALUES (:now, :type, :body, :job_id, :log_seq)";

/* Takes params. */
static int add(struct conn *conn, struct task *task, json_t *params, json_t *body)
{
    int64_t id = db_insert(conn->station, add_sql, params, &task->err);
    if (id >= 0 && !task->events)
        task->events = json_array();
    if (id >= 0)
        json_array_append_new(task->events,
                              json_pack("{s:I, s:O, s:O}", "id", (json_int_t)id, "type",
                                        json_object_get(params, "type"), "body", body));
    json_decref(params);
    return id < 0 ? (int)id : 0;
}

int events_add(struct conn *conn, struct task *task, const char *type, json_t *body)
{
    return add(conn, task,
               json_pack("{s:I, s:s, s:O, s:n, s:n}", "now", (json_int_t)clock_utc_ms(), "type",
                         type, "body", body, "job_id", "log_seq"),
               body);
}

int events_add_log(struct conn *conn, struct task *task, int64_t job_id, int64_t seq, json_t *line)
{
    return add(conn, task,
               json_pack("{s:I, s:s, s:n, s:I, s:I}", "now", (json_int_t)clock_utc_ms(), "type",
                         "log", "body", "job_id", (json_int_t)job_id, "log_seq", (json_int_t)seq),
               line);
}

int events_newest(const char *data_dir, int64_t *newest_out, struct err *err)
{
    AUTO(free_ptr) char *path = xasprintf("%s/station.db", data_dir);
    AUTO(db_close) struct db *db = NULL;
    json_t *row = NULL;
    int rc = db_open(path, true, &db, err);
    if (rc == 0)
        rc = db_row(db, "SELECT coalesce(max(id), 0) AS id FROM event", NULL, &row, err);
    if (rc > 0)
        *newest_out = json_integer_value(json_object_get(row, "id"));
    json_decref(row);
    return rc < 0 ? rc : 0;
}

static const char list_sql[] =
    "SELECT e.id AS \"id:id\", e.type, e.at_ms AS \"at:time\", e.body AS \"body:json\","
    " e.job_id AS \"job_id:id\", l.seq, l.at_ms AS \"line_at:time\", l.level, l.step, l.message"
    " FROM event e LEFT JOIN job_log l ON l.job_id = e.job_id AND l.seq = e.log_seq"
    " WHERE e.id > :after ORDER BY e.id LIMIT :limit";

static json_t *log_body(json_t *row)
{
    return json_pack("{s:O, s:O, s:O, s:O, s:O, s:O}", "job_id", json_object_get(row, "job_id"),
                     "seq", json_object_get(row, "seq"), "at", json_object_get(row, "line_at"),
                     "level", json_object_get(row, "level"), "step", json_object_get(row, "step"),
                     "message", json_object_get(row, "message"));
}

static void shape(json_t *row)
{
    static const char *const joined[] = {"job_id", "seq", "line_at", "level", "step", "message"};
    if (strcmp(json_string_value(json_object_get(row, "type")), "log") == 0)
        json_object_set_new(row, "body", log_body(row));
    for (size_t i = 0; i < ARRAY_LEN(joined); i++)
        json_object_del(row, joined[i]);
}

/* Unlike other lists `next` is never null: it is where a listener goes on later. */
static int list(struct conn *conn, struct task *task)
{
    json_t *rows = json_array();
    int code = db_rows(conn->station, list_sql, task->args, rows, &task->err);
    size_t i;
    json_t *row;
    json_array_foreach(rows, i, row)
    {
        shape(row);
    }
    task->body = page_end(task->args, rows, "id");
    json_t *items = json_object_get(task->body, "items");
    json_t *last = json_array_get(items, json_array_size(items) - 1);
    json_object_set_new(
        task->body, "next",
        last ? json_incref(json_object_get(last, "id"))
             : json_sprintf("%" JSON_INTEGER_FORMAT,
                            json_integer_value(json_object_get(task->args, "after"))));
    return code < 0 ? code : 0;
}

void store_event_list(struct store *s, const struct store_page *page, store_done_fn *done,
                      void *arg)
{
    page_submit(s, "event_list", list, json_object(), page, PAGE_OLDEST_FIRST, done, arg);
}
