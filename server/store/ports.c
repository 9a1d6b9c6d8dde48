#include "server/store/events.h"
#include "server/store/resources.h"
#include "usb/base/clock.h"

#define PORT_COLUMNS                                                                               \
    "SELECT p.id, p.label, p.enabled AS \"enabled:bool\", p.takes_work AS \"takes_work:bool\","    \
    " p.created_ms AS \"created_at:time\","                                                        \
    " j.id AS \"last_job_id:id\", j.state AS last_state, j.ended_ms AS \"last_at:time\","          \
    " coalesce(json_extract(j.error, '$.message'), j.serial) AS last_text"                         \
    " FROM port p LEFT JOIN job j ON j.id = (SELECT k.id FROM job k WHERE k.port_id = p.id"        \
    " AND (k.ended_ms IS NOT NULL OR k.state = 'interrupted') ORDER BY k.id DESC LIMIT 1)"

static int list(struct conn *conn, struct task *task)
{
    json_t *rows = json_array();
    int code = db_rows(conn->station, PORT_COLUMNS " ORDER BY p.id", task->args, rows, &task->err);
    task->body = json_pack("{s:o, s:n}", "items", rows, "next");
    return code < 0 ? code : 0;
}

void store_port_list(struct store *s, store_done_fn *done, void *arg)
{
    lane_submit(s, LANE_READ, task_new("port_list", list, json_object(), done, arg));
}

static const char put_sql[] =
    "INSERT INTO port (id, label, enabled, takes_work, created_ms)"
    " VALUES (:id, coalesce(:label, ''), coalesce(:enabled, 1), coalesce(:takes_work, 0), :now)"
    " ON CONFLICT (id) DO UPDATE"
    " SET label = coalesce(:label, port.label), enabled = coalesce(:enabled, port.enabled),"
    " takes_work = coalesce(:takes_work, port.takes_work)";

static const char port_sql[] = PORT_COLUMNS " WHERE p.id = :id";

/* A person who scans a label means one port, and does not hear whether a letter is a capital. */
static const char labelled_sql[] =
    "SELECT id FROM port WHERE lower(label) = lower(:label) AND label <> '' AND id <> :id";

static int check_label(struct conn *conn, struct task *task)
{
    json_auto_t *other = NULL;
    int found = db_row(conn->station, labelled_sql, task->args, &other, &task->err);
    return found > 0
               ? err_set(&task->err, ERR_CONFLICT, "port %s has the label %s already",
                         json_string_value(json_object_get(other, "id")), arg_text(task, "label"))
               : found;
}

/* Ports are put again at every start of the station: only news are events. */
static int put(struct conn *conn, struct task *task)
{
    json_auto_t *before = NULL;
    int code = check_label(conn, task);
    if (code >= 0)
        code = db_row(conn->station, port_sql, task->args, &before, &task->err);
    if (code >= 0)
        code = db_run(conn->station, put_sql, task->args, &task->err);
    if (code >= 0)
        code = db_row(conn->station, port_sql, task->args, &task->body, &task->err);
    if (code < 0)
        return code;
    return json_equal(before, task->body) ? 0 : events_add(conn, task, "port", task->body);
}

static json_t *choice_or_null(int value)
{
    return value < 0 ? json_null() : json_integer(value);
}

void store_port_put(struct store *s, const char *port_id,
                    const struct store_port_settings *settings, store_done_fn *done, void *arg)
{
    json_t *args =
        json_pack("{s:s, s:s?, s:o, s:o, s:I}", "id", port_id, "label", settings->label, "enabled",
                  choice_or_null(settings->enabled), "takes_work",
                  choice_or_null(settings->takes_work), "now", (json_int_t)clock_utc_ms());
    lane_submit(s, LANE_WRITE, task_new("port_put", put, args, done, arg));
}

/* By job_port, so that a port with thousands of jobs answers at once. */
static const char history_sql[] =
    "SELECT id AS \"id:id\", recipe, state, serial, phone_id AS \"phone_id:id\","
    " started_ms AS \"started_at:time\", ended_ms AS \"ended_at:time\","
    " json_extract(error, '$.message') AS text FROM job WHERE port_id = :port_id AND id < :after"
    " AND started_ms IS NOT NULL AND (ended_ms IS NOT NULL OR state = 'interrupted')"
    " ORDER BY id DESC LIMIT :limit";

static int history(struct conn *conn, struct task *task)
{
    return page_rows(conn, task, history_sql, "id");
}

void store_port_history(struct store *s, const char *port_id, const struct store_page *page,
                        store_done_fn *done, void *arg)
{
    json_t *args = json_pack("{s:s}", "port_id", port_id);
    page_submit(s, "port_history", history, args, page, PAGE_NEWEST_FIRST, done, arg);
}
