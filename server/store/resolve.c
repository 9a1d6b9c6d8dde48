/* An admin's decision on a conflict: what is kept counts, what is not kept stays on record and counts no more. */
#include <inttypes.h>
#include <string.h>

#include "server/store/conflicts.h"
#include "server/store/events.h"
#include "server/store/resources.h"
#include "usb/base/clock.h"
#include "usb/base/mem.h"

static const char conflict_sql[] =
    "SELECT id, kind, value, other_value, phone_id, other_phone_id, backup_id, other_backup_id"
    " FROM conflict WHERE id = :id AND state = 'open'";
static const char close_sql[] =
    "UPDATE conflict SET state = 'resolved', resolved_ms = :now, resolved_by = :actor,"
    " reason = :reason, kept = :keep WHERE id = :id";
static const char withdraw_sql[] =
    "UPDATE phone_fact SET withdrawn_by = :id WHERE phone_id = :phone_id AND kind = :kind"
    " AND value = :value";
static const char learn_sql[] =
    "INSERT INTO phone_fact (phone_id, kind, value, source, learned_ms, seen_ms)"
    " VALUES (:phone_id, 'serial', :value, 'admin', :now, :now)"
    " ON CONFLICT (phone_id, kind, value) DO UPDATE SET seen_ms = :now, withdrawn_by = NULL";
static const char rebind_sql[] = "UPDATE backup SET phone_id = :phone_id WHERE id = :backup_id";
static const char donor_sql[] = "UPDATE phone SET identity = 'donor' WHERE id = :phone_id";
static const char written_sql[] =
    "SELECT 1 AS yes FROM permit p JOIN job j ON j.id = p.job_id"
    " WHERE p.source_backup_id = :backup_id AND j.phone_id = :phone_id LIMIT 1";
static const char owner_sql[] = "SELECT phone_id FROM backup WHERE id = :id AND origin = 'station'";

static int64_t number(json_t *row, const char *key)
{
    return json_integer_value(json_object_get(row, key));
}

static int run(struct conn *conn, struct task *task, const char *sql, json_t *params)
{
    int code = db_run(conn->station, sql, params, &task->err);
    json_decref(params);
    return code < 0 ? code : 0;
}

/* Which of two ids was named? 0: neither, with the sentence. */
static int64_t pick(struct task *task, json_t *c, const char *a, const char *b, int64_t *loser_out)
{
    int64_t keep = store_id(arg_text(task, "keep"));
    int64_t one = number(c, a), other = number(c, b);
    if (!keep || (keep != one && keep != other)) {
        err_set(&task->err, ERR_INPUT, "keep: %" PRId64 " or %" PRId64 ", the one that is right",
                other, one);
        return 0;
    }
    *loser_out = keep == one ? other : one;
    return keep;
}

/* One number on two phones: the phone that has it, or both. */
static int keep_number(struct conn *conn, struct task *task, json_t *c)
{
    int64_t loser = 0;
    const char *keep = arg_text(task, "keep");
    if (!keep || strcmp(keep, "both") == 0) {
        json_object_set_new(task->args, "keep", json_string("both"));
        return 0;
    }
    if (!pick(task, c, "phone_id", "other_phone_id", &loser))
        return err_set(&task->err, ERR_INPUT,
                       "keep: the phone that has this number (%" PRId64 " or %" PRId64 "), or both",
                       number(c, "other_phone_id"), number(c, "phone_id"));
    return run(conn, task, withdraw_sql,
               json_pack("{s:I, s:I, s:O, s:O}", "id", number(c, "id"), "phone_id",
                         (json_int_t)loser, "kind", json_object_get(c, "kind"), "value",
                         json_object_get(c, "value")));
}

/* The serial that is kept is the phone's from now on, and may be on another one, too. */
static int learn_serial(struct conn *conn, struct task *task, json_t *c, const char *serial)
{
    json_auto_t *facts = json_pack("[{s:s, s:s}]", "kind", "serial", "value", serial);
    json_auto_t *next = NULL;
    int code = run(conn, task, learn_sql,
                   json_pack("{s:I, s:s, s:O}", "phone_id", number(c, "phone_id"), "value", serial,
                             "now", json_object_get(task->args, "now")));
    if (code == 0)
        code = conflicts_of_facts(conn, task, number(c, "phone_id"), 0, facts, &next);
    return code < 0 ? code : 0;
}

static int keep_serial(struct conn *conn, struct task *task, json_t *c)
{
    const char *keep = arg_text(task, "keep");
    const char *value = json_string_value(json_object_get(c, "value"));
    const char *known = json_string_value(json_object_get(c, "other_value"));
    bool is_new = keep && strcmp(keep, value) == 0;
    if (!is_new && (!keep || strcmp(keep, known) != 0))
        return err_set(&task->err, ERR_INPUT, "keep: %s or %s, the serial on the phone's label",
                       known, value);
    int code =
        run(conn, task, withdraw_sql,
            json_pack("{s:I, s:I, s:s, s:s}", "id", number(c, "id"), "phone_id",
                      number(c, "phone_id"), "kind", "serial", "value", is_new ? known : value));
    return code < 0 ? code : learn_serial(conn, task, c, keep);
}

static int make_donor(struct conn *conn, struct task *task, int64_t phone_id)
{
    return run(conn, task, donor_sql, json_pack("{s:I}", "phone_id", (json_int_t)phone_id));
}

/* A phone that the backup was written to and that it does not belong to has another one's identity. */
static int keep_owner(struct conn *conn, struct task *task, json_t *c)
{
    int64_t loser = 0, keep = pick(task, c, "phone_id", "other_phone_id", &loser);
    if (!keep)
        return task->err.code;
    json_auto_t *key = json_pack("{s:O, s:I}", "backup_id", json_object_get(c, "backup_id"),
                                 "phone_id", (json_int_t)loser);
    json_auto_t *row = NULL;
    int code = db_row(conn->station, written_sql, key, &row, &task->err);
    if (code > 0)
        code = make_donor(conn, task, loser);
    if (code >= 0)
        code = run(conn, task, rebind_sql,
                   json_pack("{s:I, s:O}", "phone_id", (json_int_t)keep, "backup_id",
                             json_object_get(c, "backup_id")));
    return code;
}

static int keep_original(struct conn *conn, struct task *task, json_t *c)
{
    int64_t loser = 0;
    if (!pick(task, c, "backup_id", "other_backup_id", &loser))
        return task->err.code;
    json_auto_t *key = json_pack("{s:I}", "id", (json_int_t)loser);
    json_auto_t *row = NULL;
    int code = db_row(conn->station, owner_sql, key, &row, &task->err);
    return code <= 0 ? code : make_donor(conn, task, number(row, "phone_id"));
}

static int decide(struct conn *conn, struct task *task, json_t *c)
{
    static const struct {
        const char *kind;
        int (*keep)(struct conn *conn, struct task *task, json_t *c);
    } table[] = {{"serial", keep_number},
                 {"imei", keep_number},
                 {"two_serials", keep_serial},
                 {"import_claim", keep_owner},
                 {"backup_twin", keep_original}};
    const char *kind = json_string_value(json_object_get(c, "kind"));
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        if (strcmp(kind, table[i].kind) == 0)
            return table[i].keep(conn, task, c);
    return err_set(&task->err, ERR_INTERNAL, "conflict of an unknown kind '%s'", kind);
}

static int tell_phones(struct conn *conn, struct task *task, json_t *c)
{
    static const char *const keys[] = {"other_phone_id", "phone_id"};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        int code = number(c, keys[i]) ? phone_tell(conn, task, number(c, keys[i])) : 0;
        if (code < 0)
            return code;
    }
    return 0;
}

static int resolve(struct conn *conn, struct task *task)
{
    json_auto_t *c = NULL;
    int64_t id = arg_int(task, "id");
    int code = db_row(conn->station, conflict_sql, task->args, &c, &task->err);
    if (code == 0)
        return err_set(&task->err, ERR_NOT_FOUND, "no open conflict %" PRId64, id);
    if (code > 0)
        code = decide(conn, task, c);
    if (code >= 0)
        code = db_run(conn->station, close_sql, task->args, &task->err);
    json_auto_t *detail = json_pack("{s:O, s:O}", "reason", json_object_get(task->args, "reason"),
                                    "keep", json_object_get(task->args, "keep"));
    if (code >= 0)
        code = audit_write(conn, task, arg_text(task, "actor"), "conflict.resolve", "conflict", id,
                           detail);
    if (code >= 0)
        code = tell_phones(conn, task, c);
    if (code >= 0)
        code = conflict_read(conn, id, &task->body, &task->err);
    return code < 0 ? code : 0;
}

void store_conflict_resolve(struct store *s, int64_t conflict_id, const char *actor,
                            const char *reason, const char *keep, store_done_fn *done, void *arg)
{
    json_t *args =
        json_pack("{s:I, s:s, s:s, s:s?, s:I}", "id", (json_int_t)conflict_id, "actor", actor,
                  "reason", reason, "keep", keep, "now", (json_int_t)clock_utc_ms());
    lane_submit(s, LANE_WRITE, task_new("conflict_resolve", resolve, args, done, arg));
}
