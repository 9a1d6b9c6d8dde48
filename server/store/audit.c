#include <inttypes.h>

#include "server/store/events.h"
#include "usb/base/clock.h"

static const char add_sql[] = "INSERT INTO audit (at_ms, actor, action, subject, detail)"
                              " VALUES (:now, :actor, :action, :subject, :detail)";

int audit_write(struct conn *conn, struct task *task, const char *actor, const char *action,
                const char *subject_kind, int64_t subject_id, json_t *detail)
{
    json_t *subject = json_sprintf("%s %" PRId64, subject_kind, subject_id);
    json_t *params = json_pack("{s:I, s:s, s:s, s:o, s:O?}", "now", (json_int_t)clock_utc_ms(),
                               "actor", actor ? actor : "station", "action", action, "subject",
                               subject, "detail", detail);
    int code = db_run(conn->station, add_sql, params, &task->err);
    json_decref(params);
    return code < 0 ? code : 0;
}

static int add(struct conn *conn, struct task *task)
{
    return db_run(conn->station, add_sql, task->args, &task->err) < 0 ? task->err.code : 0;
}

void store_audit_add(struct store *s, const char *actor, const char *action, const char *subject,
                     json_t *detail, store_done_fn *done, void *arg)
{
    json_t *args =
        json_pack("{s:I, s:s, s:s, s:s, s:O?}", "now", (json_int_t)clock_utc_ms(), "actor", actor,
                  "action", action, "subject", subject, "detail", detail);
    lane_submit(s, LANE_WRITE, task_new("audit_add", add, args, done, arg));
}

static const char list_sql[] = "SELECT id AS \"id:id\", at_ms AS \"at:time\", actor, action, "
                               "subject, detail AS \"detail:json\""
                               " FROM audit WHERE id < :after ORDER BY id DESC LIMIT :limit";

static int list(struct conn *conn, struct task *task)
{
    return page_rows(conn, task, list_sql, "id");
}

void store_audit_list(struct store *s, const struct store_page *page, store_done_fn *done,
                      void *arg)
{
    page_submit(s, "audit_list", list, json_object(), page, PAGE_NEWEST_FIRST, done, arg);
}
