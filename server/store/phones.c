#include <string.h>

#include "server/store/conflicts.h"
#include "server/store/events.h"
#include "server/store/resources.h"
#include "usb/base/clock.h"
#include "usb/base/mem.h"

/* The newest fact of a kind. */
#define NEWEST(kind)                                                                               \
    "(SELECT f.value FROM phone_fact f WHERE f.phone_id = p.id AND f.kind = '" kind                \
    "' AND f.withdrawn_by IS NULL ORDER BY f.seen_ms DESC, f.id DESC LIMIT 1)"

static const char phone_sql[] =
    "SELECT p.id AS \"id:id\", p.chip_id, p.soc_id, " NEWEST("serial") " AS serial, " NEWEST(
        "wlan_mac") " AS wlan_mac, " NEWEST("bt_mac") " AS bt_mac, p.identity,"
                                                      " p.first_seen_ms AS \"first_seen:time\","
                                                      " p.last_seen_ms AS \"last_seen:time\","
                                                      " p.port_id FROM phone p WHERE p.id = :id";
static const char imeis_sql[] = "SELECT value FROM phone_fact WHERE phone_id = :id"
                                " AND kind = 'imei' AND withdrawn_by IS NULL ORDER BY id";
static const char backups_sql[] =
    "SELECT id AS \"id:id\" FROM backup WHERE phone_id = :id ORDER BY id DESC LIMIT 50";
static const char damaged_sql[] =
    "SELECT id AS \"id:id\" FROM backup WHERE phone_id = :id AND damage IS NOT NULL ORDER BY id";
static const char jobs_sql[] =
    "SELECT id AS \"id:id\" FROM job WHERE phone_id = :id ORDER BY id DESC LIMIT 50";
static const char conflicts_sql[] =
    "SELECT id FROM conflict WHERE phone_id = :id AND state = 'open'"
    " UNION SELECT id FROM conflict WHERE other_phone_id = :id AND state = 'open'";

/* An open conflict is shown in the place of the identity. */
static int read_conflicts(struct conn *conn, json_t *key, json_t *phone, struct err *err)
{
    json_auto_t *ids = json_array();
    json_t *conflicts = json_array();
    json_object_set_new(phone, "conflicts", conflicts);
    int code = db_column(conn->station, conflicts_sql, key, ids, err);
    if (code >= 0)
        code = resources_read(conn, ids, conflict_read, conflicts, err);
    if (json_array_size(conflicts))
        json_object_set_new(phone, "identity", json_string("conflict"));
    return code;
}

static int read_lists(struct conn *conn, json_t *key, json_t *phone, struct err *err)
{
    json_t *imeis = json_array(), *backups = json_array(), *jobs = json_array();
    json_t *damaged = json_array();
    json_object_set_new(phone, "imeis", imeis);
    json_object_set_new(phone, "backups", backups);
    json_object_set_new(phone, "jobs", jobs);
    json_object_set_new(phone, "damaged_backups", damaged);
    int code = db_column(conn->station, imeis_sql, key, imeis, err);
    if (code >= 0)
        code = db_column(conn->station, backups_sql, key, backups, err);
    if (code >= 0)
        code = db_column(conn->station, jobs_sql, key, jobs, err);
    if (code >= 0)
        code = db_column(conn->station, damaged_sql, key, damaged, err);
    return code < 0 ? code : read_conflicts(conn, key, phone, err);
}

int phone_read(struct conn *conn, int64_t phone_id, json_t **out, struct err *err)
{
    json_auto_t *key = json_pack("{s:I}", "id", (json_int_t)phone_id);
    json_auto_t *phone = NULL;
    int found = db_row(conn->station, phone_sql, key, &phone, err);
    if (found <= 0)
        return found;
    int code = read_lists(conn, key, phone, err);
    if (code < 0)
        return code;
    *out = STEAL(phone);
    return 1;
}

int phone_tell(struct conn *conn, struct task *task, int64_t phone_id)
{
    json_auto_t *phone = NULL;
    int found = phone_read(conn, phone_id, &phone, &task->err);
    return found <= 0 ? found : events_add(conn, task, "phone", phone);
}

/* ---- learning ---- */

static const char seen_sql[] =
    "INSERT INTO phone (chip_id, soc_id, port_id, first_seen_ms, last_seen_ms)"
    " VALUES (:chip_id, :soc_id, :port_id, :now, :now) ON CONFLICT (chip_id) DO UPDATE"
    " SET soc_id = coalesce(:soc_id, phone.soc_id), port_id = coalesce(:port_id, phone.port_id),"
    " last_seen_ms = :now RETURNING id";
static const char find_sql[] = "SELECT id FROM phone WHERE chip_id = :chip_id";
/* What is learned last is the newest, also after the clock was set back: seen_ms rises. */
static const char learn_sql[] =
    "INSERT INTO phone_fact (phone_id, kind, value, source, learned_ms, seen_ms)"
    " VALUES (:phone_id, :kind, :value, :source, :now,"
    " max(:now, (SELECT coalesce(max(seen_ms), 0) + 1 FROM phone_fact"
    " WHERE phone_id = :phone_id AND kind = :kind)))"
    " ON CONFLICT (phone_id, kind, value) DO UPDATE SET seen_ms = excluded.seen_ms,"
    " withdrawn_by = NULL";

int phone_learn(struct conn *conn, struct task *task, int64_t phone_id, const char *source,
                json_t *facts)
{
    size_t i;
    json_t *fact;
    json_array_foreach(facts, i, fact)
    {
        json_auto_t *row =
            json_pack("{s:I, s:O, s:O, s:s?, s:I}", "phone_id", (json_int_t)phone_id, "kind",
                      json_object_get(fact, "kind"), "value", json_object_get(fact, "value"),
                      "source", source, "now", (json_int_t)clock_utc_ms());
        int code = db_run(conn->station, learn_sql, row, &task->err);
        if (code < 0)
            return code;
    }
    return 0;
}

/* Equal but for the time of the contact, which changes at every plug-in and tells nobody anything.
 */
static bool only_seen_again(json_t *before, json_t *after)
{
    if (!before)
        return false;
    json_object_set(before, "last_seen", json_object_get(after, "last_seen"));
    return json_equal(before, after);
}

static int touch(struct conn *conn, struct task *task, int64_t *id_out)
{
    json_auto_t *row = NULL;
    int code = db_row(conn->station, seen_sql, task->args, &row, &task->err);
    if (code < 0)
        return code;
    *id_out = json_integer_value(json_object_get(row, "id"));
    return 0;
}

static int read_before(struct conn *conn, struct task *task, json_t **before)
{
    json_auto_t *row = NULL;
    int found = db_row(conn->station, find_sql, task->args, &row, &task->err);
    if (found <= 0)
        return found;
    return phone_read(conn, json_integer_value(json_object_get(row, "id")), before, &task->err);
}

static int seen(struct conn *conn, struct task *task)
{
    json_auto_t *before = NULL, *conflict = NULL;
    json_t *facts = json_object_get(task->args, "facts");
    int64_t id = 0;
    int code = read_before(conn, task, &before);
    if (code >= 0)
        code = touch(conn, task, &id);
    if (code >= 0)
        code = phone_learn(conn, task, id, arg_text(task, "source"), facts);
    if (code >= 0) /* law 7 */
        code = conflicts_of_facts(conn, task, id, 0, facts, &conflict);
    if (code >= 0)
        code = phone_read(conn, id, &task->body, &task->err);
    if (code < 0 || only_seen_again(before, task->body))
        return code < 0 ? code : 0;
    return events_add(conn, task, "phone", task->body);
}

static void add_fact(json_t *facts, const char *kind, const char *value)
{
    if (value)
        json_array_append_new(facts, json_pack("{s:s, s:s}", "kind", kind, "value", value));
}

void store_phone_seen(struct store *s, const struct store_phone_seen *seen_now, store_done_fn *done,
                      void *arg)
{
    json_t *facts = json_array();
    add_fact(facts, "serial", seen_now->serial);
    for (size_t i = 0; i < ARRAY_LEN(seen_now->imeis); i++)
        add_fact(facts, "imei", seen_now->imeis[i]);
    add_fact(facts, "wlan_mac", seen_now->wlan_mac);
    add_fact(facts, "bt_mac", seen_now->bt_mac);
    json_t *args = json_pack("{s:s, s:s?, s:s?, s:s?, s:o, s:I}", "chip_id", seen_now->chip_id,
                             "soc_id", seen_now->soc_id, "port_id", seen_now->port_id, "source",
                             seen_now->source, "facts", facts, "now", (json_int_t)clock_utc_ms());
    lane_submit(s, LANE_WRITE, task_new("phone_seen", seen, args, done, arg));
}

static int set_identity(struct conn *conn, struct task *task)
{
    int64_t id = arg_int(task, "id");
    int code = db_run(conn->station, "UPDATE phone SET identity = :identity WHERE id = :id",
                      task->args, &task->err);
    json_t *phone = NULL;
    if (code >= 0)
        code = phone_read(conn, id, &phone, &task->err);
    code = answer_with(task, code, phone, "phone", id);
    return code < 0 ? code : events_add(conn, task, "phone", task->body);
}

void store_phone_identity(struct store *s, int64_t phone_id, const char *identity,
                          store_done_fn *done, void *arg)
{
    json_t *args = json_pack("{s:I, s:s}", "id", (json_int_t)phone_id, "identity", identity);
    lane_submit(s, LANE_WRITE, task_new("phone_identity", set_identity, args, done, arg));
}

/* ---- reading ---- */

static int get(struct conn *conn, struct task *task)
{
    json_t *phone = NULL;
    int64_t id = arg_int(task, "id");
    int found = phone_read(conn, id, &phone, &task->err);
    return answer_with(task, found, phone, "phone", id);
}

void store_phone_get(struct store *s, int64_t phone_id, store_done_fn *done, void *arg)
{
    json_t *args = json_pack("{s:I}", "id", (json_int_t)phone_id);
    lane_submit(s, LANE_READ, task_new("phone_get", get, args, done, arg));
}

#define LIST_END " AND p.id > :after ORDER BY p.id LIMIT :limit"
static const char list_all_sql[] =
    "SELECT p.id FROM phone p WHERE p.id > :after ORDER BY p.id LIMIT :limit";
static const char list_chip_sql[] = "SELECT p.id FROM phone p WHERE p.chip_id = :chip_id"
                                    " AND (:serial IS NULL OR p.id IN (SELECT f.phone_id FROM"
                                    " phone_fact f WHERE f.kind = 'serial' AND f.value = :serial "
                                    "AND f.withdrawn_by IS NULL))" LIST_END;
static const char list_serial_sql[] =
    "SELECT p.id FROM phone p WHERE p.id IN (SELECT f.phone_id FROM phone_fact f"
    " WHERE f.kind = 'serial' AND f.value = :serial AND f.withdrawn_by IS NULL)" LIST_END;

static int list(struct conn *conn, struct task *task)
{
    const char *sql = arg_text(task, "chip_id")  ? list_chip_sql
                      : arg_text(task, "serial") ? list_serial_sql
                                                 : list_all_sql;
    return page_resources(conn, task, sql, phone_read);
}

void store_phone_list(struct store *s, const char *chip_id, const char *serial,
                      const struct store_page *page, store_done_fn *done, void *arg)
{
    json_t *args = json_pack("{s:s?, s:s?}", "chip_id", chip_id, "serial", serial);
    page_submit(s, "phone_list", list, args, page, PAGE_OLDEST_FIRST, done, arg);
}
