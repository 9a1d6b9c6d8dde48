#include "server/store/events.h"
#include "server/store/resources.h"
#include "usb/base/clock.h"

#define PORT_COLUMNS                                                                               \
    "SELECT p.id, p.label, p.enabled AS \"enabled:bool\", p.created_ms AS \"created_at:time\","    \
    " j.id AS \"last_job_id:id\", j.state AS last_state, j.ended_ms AS \"last_at:time\""           \
    " FROM port p LEFT JOIN job j ON j.id = (SELECT k.id FROM job k WHERE k.port_id = p.id"        \
    " AND k.ended_ms IS NOT NULL ORDER BY k.id DESC LIMIT 1)"

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
    "INSERT INTO port (id, label, enabled, created_ms)"
    " VALUES (:id, coalesce(:label, ''), coalesce(:enabled, 1), :now) ON CONFLICT (id) DO UPDATE"
    " SET label = coalesce(:label, port.label), enabled = coalesce(:enabled, port.enabled)";

static const char port_sql[] = PORT_COLUMNS " WHERE p.id = :id";

/* Ports are put again at every start of the station: only news are events. */
static int put(struct conn *conn, struct task *task)
{
    json_auto_t *before = NULL;
    int code = db_row(conn->station, port_sql, task->args, &before, &task->err);
    if (code >= 0)
        code = db_run(conn->station, put_sql, task->args, &task->err);
    if (code >= 0)
        code = db_row(conn->station, port_sql, task->args, &task->body, &task->err);
    if (code < 0)
        return code;
    return json_equal(before, task->body) ? 0 : events_add(conn, task, "port", task->body);
}

void store_port_put(struct store *s, const char *port_id, const char *label, int enabled,
                    store_done_fn *done, void *arg)
{
    json_t *args = json_pack("{s:s, s:s?, s:o, s:I}", "id", port_id, "label", label, "enabled",
                             enabled < 0 ? json_null() : json_integer(enabled), "now",
                             (json_int_t)clock_utc_ms());
    lane_submit(s, LANE_WRITE, task_new("port_put", put, args, done, arg));
}
