#include "server/store/conflicts.h"

#include <inttypes.h>
#include <string.h>

#include "server/store/events.h"
#include "server/store/resources.h"
#include "usb/base/clock.h"
#include "usb/base/mem.h"

/* ---- reading ---- */

static const char read_sql[] =
    "SELECT id AS \"id:id\", kind, value, other_value, phone_id AS \"phone:id\","
    " other_phone_id AS \"other_phone:id\", backup_id AS \"backup:id\","
    " other_backup_id AS \"other_backup:id\", job_id AS \"job_id:id\", state,"
    " noticed_ms AS \"noticed_at:time\", resolved_ms AS \"resolved_at:time\", resolved_by, reason,"
    " kept FROM conflict WHERE id = :id";

static const char *member(json_t *conflict, const char *key)
{
    const char *text = json_string_value(json_object_get(conflict, key));
    return text ? text : "that is not known yet";
}

/* What a person reads first, in refusals and on the dashboard. */
static json_t *sentence(json_t *c)
{
    const char *kind = member(c, "kind"), *value = member(c, "value");
    const char *phone = member(c, "phone"), *other = member(c, "other_phone");
    if (strcmp(kind, "two_serials") == 0)
        return json_sprintf("phone %s is known as %s and was given the serial %s", phone,
                            member(c, "other_value"), value);
    if (strcmp(kind, "backup_twin") == 0)
        return json_sprintf("%s in backup %s is the same as in backup %s of another phone: one of "
                            "the two phones holds a copy",
                            value, member(c, "backup"), member(c, "other_backup"));
    if (strcmp(kind, "import_claim") == 0)
        return json_sprintf("backup %s belongs to phone %s and was asked for by phone %s", value,
                            other, phone);
    return json_sprintf("%s %s is on two phones: %s and %s",
                        strcmp(kind, "imei") == 0 ? "IMEI" : kind, value, other, phone);
}

/* Two columns become a list without nulls: the one known before comes first. */
static void name_both(json_t *conflict, const char *list, const char *first, const char *second)
{
    const char *const keys[] = {first, second};
    json_t *both = json_array();
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        json_t *id = json_object_get(conflict, keys[i]);
        if (!json_is_null(id))
            json_array_append(both, id);
        json_object_del(conflict, keys[i]);
    }
    json_object_set_new(conflict, list, both);
}

int conflict_read(struct conn *conn, int64_t conflict_id, json_t **out, struct err *err)
{
    json_auto_t *key = json_pack("{s:I}", "id", (json_int_t)conflict_id);
    int found = db_row(conn->station, read_sql, key, out, err);
    if (found <= 0)
        return found;
    json_object_set_new(*out, "text", sentence(*out));
    name_both(*out, "phones", "other_phone", "phone");
    name_both(*out, "backups", "other_backup", "backup");
    return 1;
}

static const char open_phone_sql[] =
    "SELECT id FROM (SELECT id FROM conflict WHERE phone_id = :phone_id AND state = 'open'"
    " UNION ALL SELECT id FROM conflict WHERE other_phone_id = :phone_id AND state = 'open'"
    " UNION ALL SELECT id FROM conflict WHERE backup_id = :backup_id AND state = 'open'"
    " UNION ALL SELECT id FROM conflict WHERE other_backup_id = :backup_id AND state = 'open')"
    " LIMIT 1";

int conflicts_open_for(struct conn *conn, struct task *task, int64_t phone_id, int64_t backup_id,
                       json_t **out)
{
    json_auto_t *key = json_pack("{s:o, s:o}", "phone_id", id_or_null(phone_id), "backup_id",
                                 id_or_null(backup_id));
    json_auto_t *row = NULL;
    int found = db_row(conn->station, open_phone_sql, key, &row, &task->err);
    if (found <= 0)
        return found;
    return conflict_read(conn, json_integer_value(json_object_get(row, "id")), out, &task->err);
}

/* ---- opening ---- */

/* Between the same phones it is the same conflict, whichever of them shows it; where a phone is not known the
 * backups say so. */
static const char find_sql[] =
    "SELECT id FROM conflict WHERE kind = :kind AND value = :value AND state = 'open'"
    " AND ((phone_id IS :phone_id AND other_phone_id IS :other_phone_id)"
    " OR (phone_id IS :other_phone_id AND other_phone_id IS :phone_id))"
    " AND ((phone_id IS NOT NULL AND other_phone_id IS NOT NULL)"
    " OR (backup_id IS :backup_id AND other_backup_id IS :other_backup_id)) LIMIT 1";
static const char open_sql[] =
    "INSERT INTO conflict (kind, value, other_value, phone_id, other_phone_id, backup_id,"
    " other_backup_id, job_id, noticed_ms) VALUES (:kind, :value, :other_value, :phone_id,"
    " :other_phone_id, :backup_id, :other_backup_id, :job_id, :now)";

static json_t *conflict_new(const char *kind, const char *value, int64_t phone_id,
                            int64_t other_phone_id, int64_t job_id)
{
    return json_pack("{s:s, s:s, s:n, s:o, s:o, s:n, s:n, s:o, s:I}", "kind", kind, "value", value,
                     "other_value", "phone_id", id_or_null(phone_id), "other_phone_id",
                     id_or_null(other_phone_id), "backup_id", "other_backup_id", "job_id",
                     id_or_null(job_id), "now", (json_int_t)clock_utc_ms());
}

static int64_t insert(struct conn *conn, struct task *task, json_t *fields)
{
    int64_t id = db_insert(conn->station, open_sql, fields, &task->err);
    if (id < 0)
        return id;
    int code = audit_write(conn, task, NULL, "conflict.open", "conflict", id, fields);
    int64_t other = json_integer_value(json_object_get(fields, "other_phone_id"));
    if (code >= 0 && other)
        code = phone_tell(conn, task, other);
    return code < 0 ? code : id;
}

/* Takes `fields`; the first conflict of a call stays in *out. */
static int open_or_find(struct conn *conn, struct task *task, json_t *fields, json_t **out)
{
    json_auto_t *row = NULL;
    int64_t id = db_row(conn->station, find_sql, fields, &row, &task->err);
    if (id > 0)
        id = json_integer_value(json_object_get(row, "id"));
    else if (id == 0)
        id = insert(conn, task, fields);
    json_decref(fields);
    if (id < 0 || *out)
        return id < 0 ? (int)id : 1;
    return conflict_read(conn, id, out, &task->err);
}

/* ---- facts ---- */

/* Other phones with this number, but for those that an admin let have it, too. */
static const char others_sql[] =
    "SELECT f.phone_id FROM phone_fact f WHERE f.kind = :kind AND f.value = :value"
    " AND f.phone_id <> :phone_id AND f.withdrawn_by IS NULL AND NOT EXISTS"
    " (SELECT 1 FROM conflict c WHERE c.kind = f.kind AND c.value = f.value"
    " AND c.state = 'resolved' AND c.kept = 'both'"
    " AND ((c.phone_id = f.phone_id AND c.other_phone_id = :phone_id)"
    " OR (c.phone_id = :phone_id AND c.other_phone_id = f.phone_id))) ORDER BY f.id";
static const char known_sql[] =
    "SELECT value FROM phone_fact WHERE phone_id = :phone_id AND kind = 'serial'"
    " AND value <> :value AND withdrawn_by IS NULL"
    " AND source IN ('label', 'screen', 'proinfo', 'admin') ORDER BY seen_ms DESC, id DESC LIMIT 1";

/* The serial the phone is known by, when it is not this one. The other phone is the one that has it. */
static int two_serials(struct conn *conn, struct task *task, json_t *claim, json_t *others,
                       json_t **out)
{
    json_auto_t *known = NULL;
    int found = db_row(conn->station, known_sql, claim, &known, &task->err);
    if (found <= 0)
        return found;
    json_t *fields = conflict_new("two_serials", member(claim, "value"),
                                  json_integer_value(json_object_get(claim, "phone_id")),
                                  json_integer_value(json_array_get(others, 0)),
                                  json_integer_value(json_object_get(claim, "job_id")));
    json_object_set(fields, "other_value", json_object_get(known, "value"));
    return open_or_find(conn, task, fields, out);
}

static int check_claim(struct conn *conn, struct task *task, json_t *claim, json_t **out)
{
    json_auto_t *others = json_array();
    const char *kind = member(claim, "kind");
    int code = db_column(conn->station, others_sql, claim, others, &task->err);
    if (code >= 0 && strcmp(kind, "serial") == 0)
        code = two_serials(conn, task, claim, others, out);
    if (code < 0 || (code > 0 && strcmp(kind, "serial") == 0))
        return code;
    size_t i;
    json_t *other;
    json_array_foreach(others, i, other)
    {
        code = open_or_find(conn, task,
                            conflict_new(kind, member(claim, "value"),
                                         json_integer_value(json_object_get(claim, "phone_id")),
                                         json_integer_value(other),
                                         json_integer_value(json_object_get(claim, "job_id"))),
                            out);
        if (code < 0)
            return code;
    }
    return 0;
}

int conflicts_of_facts(struct conn *conn, struct task *task, int64_t phone_id, int64_t job_id,
                       json_t *facts, json_t **out)
{
    size_t i;
    json_t *fact;
    json_array_foreach(facts, i, fact)
    {
        const char *kind = member(fact, "kind");
        if (strcmp(kind, "serial") != 0 && strcmp(kind, "imei") != 0)
            continue; /* radios' addresses are no identity: many wiped phones share one */
        json_auto_t *claim =
            json_pack("{s:s, s:O, s:I, s:I}", "kind", kind, "value", json_object_get(fact, "value"),
                      "phone_id", (json_int_t)phone_id, "job_id", (json_int_t)job_id);
        int code = check_claim(conn, task, claim, out);
        if (code < 0)
            return code;
    }
    return *out ? 1 : 0;
}

/* ---- backups ---- */

/* Two backups are of one phone when their phones are the same or, where one is not bound yet, their serials; of a
 * lost phone's backup that tells none the job knew it. */
#define SERIAL_OF(b)                                                                               \
    "coalesce(" b ".serial, (SELECT j.serial FROM job j WHERE j.id = " b ".job_id))"
#define SAME_PHONE(a, b)                                                                           \
    "coalesce(" a ".phone_id = " b ".phone_id, " SERIAL_OF(a) " = " SERIAL_OF(b) ", 0)"

/* Equality counts only between plausible images: all wiped phones hold the same zeros. */
static const char twins_sql[] =
    "SELECT b.id AS \"backup_id:id\", b.phone_id AS \"phone_id:id\", " SERIAL_OF(
        "b") " AS serial,"
             " other.name, other.sha256"
             " FROM backup own JOIN backup_partition mine ON mine.backup_id = own.id AND mine.name "
             "= :name"
             " AND mine.plausible = 'yes' JOIN backup_partition other ON other.sha256 = mine.sha256"
             " AND other.name = mine.name AND other.plausible = 'yes' AND other.backup_id <> own.id"
             " JOIN backup b ON b.id = other.backup_id WHERE own.id = :id AND NOT " SAME_PHONE(
                 "own", "b") " AND NOT EXISTS (SELECT 1 FROM conflict c JOIN backup x ON x.id = "
                             "c.backup_id"
                             " JOIN backup y ON y.id = c.other_backup_id JOIN backup k ON k.id = "
                             "CAST(c.kept AS INTEGER)"
                             " WHERE c.kind = 'backup_twin' AND c.state = 'resolved'"
                             " AND ((" SAME_PHONE("own", "x") " AND " SAME_PHONE(
                                 "b", "y") ")"
                                           " OR (" SAME_PHONE("own", "y") " AND " SAME_PHONE(
                                               "b", "x") "))"
                                                         " AND (NOT :as_source OR " SAME_PHONE(
                                                             "own",
                                                             "k") ")) ORDER BY b.id LIMIT 100";

/* What differs from phone to phone by construction. */
static const char *const individual[] = {"proinfo", "nvram", "protect1", "protect2"};

int backup_twins(struct conn *conn, struct task *task, int64_t backup_id, bool as_source,
                 json_t *items)
{
    for (size_t i = 0; i < ARRAY_LEN(individual); i++) {
        json_auto_t *key = json_pack("{s:I, s:s, s:i}", "id", (json_int_t)backup_id, "name",
                                     individual[i], "as_source", as_source);
        int code = db_rows(conn->station, twins_sql, key, items, &task->err);
        if (code < 0)
            return code;
    }
    return 0;
}

static const char owner_sql[] = "SELECT phone_id, job_id FROM backup WHERE id = :id";

int conflicts_of_backup(struct conn *conn, struct task *task, int64_t backup_id, json_t **out)
{
    json_auto_t *twins = json_array(), *own = NULL;
    json_auto_t *key = json_pack("{s:I}", "id", (json_int_t)backup_id);
    int code = backup_twins(conn, task, backup_id, false, twins);
    json_t *twin = json_array_get(twins, 0); /* the oldest: who had it first */
    if (code < 0 || !twin)
        return code;
    code = db_row(conn->station, owner_sql, key, &own, &task->err);
    if (code < 0)
        return code;
    json_t *fields = conflict_new("backup_twin", member(twin, "name"),
                                  json_integer_value(json_object_get(own, "phone_id")),
                                  store_id(json_string_value(json_object_get(twin, "phone_id"))),
                                  json_integer_value(json_object_get(own, "job_id")));
    json_object_set_new(fields, "backup_id", json_integer(backup_id));
    json_object_set_new(fields, "other_backup_id",
                        json_integer(store_id(member(twin, "backup_id"))));
    return open_or_find(conn, task, fields, out);
}

/* Whose it is: of the phone that it was approved for, else of the chip that came with it from another station. */
static const char claim_sql[] =
    "SELECT phone_id, chip_id, phone_id IS NULL AND chip_id <> (SELECT chip_id FROM phone"
    " WHERE id = :phone_id) AS other_chip FROM backup WHERE id = :id";
static const char name_chip_sql[] = "INSERT INTO phone (chip_id, first_seen_ms, last_seen_ms)"
                                    " VALUES (:chip_id, :now, :now) ON CONFLICT DO NOTHING";
static const char of_chip_sql[] = "SELECT id FROM phone WHERE chip_id = :chip_id";

/* The phone with the chip that an import came with; it may never have been here, but an admin must be able to name it. */
static int phone_of_chip(struct conn *conn, struct task *task, json_t *claim, int64_t *out)
{
    json_auto_t *row = NULL;
    json_object_set_new(claim, "now", json_integer(clock_utc_ms()));
    int code = db_run(conn->station, name_chip_sql, claim, &task->err);
    if (code >= 0)
        code = db_row(conn->station, of_chip_sql, claim, &row, &task->err);
    *out = json_integer_value(json_object_get(row, "id"));
    return code < 0 ? code : 0;
}

int conflicts_of_claim(struct conn *conn, struct task *task, int64_t backup_id, int64_t phone_id,
                       int64_t job_id, json_t **out)
{
    json_auto_t *claim = NULL;
    json_auto_t *key =
        json_pack("{s:I, s:I}", "id", (json_int_t)backup_id, "phone_id", (json_int_t)phone_id);
    int code = db_row(conn->station, claim_sql, key, &claim, &task->err);
    int64_t bound = json_integer_value(json_object_get(claim, "phone_id"));
    if (code > 0 && json_integer_value(json_object_get(claim, "other_chip")))
        code = phone_of_chip(conn, task, claim, &bound);
    if (code < 0 || !bound || bound == phone_id)
        return code < 0 ? code : 0;
    char value[24];
    snprintf(value, sizeof(value), "%" PRId64, backup_id);
    json_t *fields = conflict_new("import_claim", value, phone_id, bound, job_id);
    json_object_set_new(fields, "backup_id", json_integer(backup_id));
    return open_or_find(conn, task, fields, out);
}

/* ---- before a job is taken ---- */

static const char known_as_sql[] = "SELECT phone_id FROM phone_fact WHERE kind = 'serial'"
                                   " AND value = :serial AND withdrawn_by IS NULL";

/* An open conflict of the backup, of the phone with this id, or of a phone that is known by this serial. */
static int open_for_order(struct conn *conn, struct task *task, json_t **out)
{
    json_auto_t *phones = json_array();
    int64_t wanted = arg_int(task, "phone_id");
    int code = conflicts_open_for(conn, task, wanted, arg_int(task, "id"), out);
    if (code == 0 && arg_text(task, "serial"))
        code = db_column(conn->station, known_as_sql, task->args, phones, &task->err);
    size_t i;
    json_t *phone;
    json_array_foreach(phones, i, phone)
    {
        if (code >= 0 && !*out)
            code = conflicts_open_for(conn, task, json_integer_value(phone), 0, out);
    }
    return code;
}

static int check_order(struct conn *conn, struct task *task)
{
    json_t *twins = json_array(), *conflict = NULL;
    int code = backup_twins(conn, task, arg_int(task, "id"), true, twins);
    if (code == 0)
        code = open_for_order(conn, task, &conflict);
    task->body = json_pack("{s:o, s:o?}", "twins", twins, "conflict", conflict);
    return code < 0 ? code : 0;
}

void store_order_check(struct store *s, int64_t backup_id, int64_t phone_id, const char *serial,
                       store_done_fn *done, void *arg)
{
    json_t *args = json_pack("{s:I, s:o, s:s?}", "id", (json_int_t)backup_id, "phone_id",
                             id_or_null(phone_id), "serial", serial);
    lane_submit(s, LANE_READ, task_new("order_check", check_order, args, done, arg));
}

/* ---- lists ---- */

static const char list_sql[] =
    "SELECT id FROM conflict WHERE id < :after AND (:state IS NULL OR state = :state)"
    " ORDER BY id DESC LIMIT :limit";

static int list(struct conn *conn, struct task *task)
{
    return page_resources(conn, task, list_sql, conflict_read);
}

void store_conflict_list(struct store *s, const char *state, const struct store_page *page,
                         store_done_fn *done, void *arg)
{
    page_submit(s, "conflict_list", list, json_pack("{s:s?}", "state", state), page,
                PAGE_NEWEST_FIRST, done, arg);
}

/* Both records side by side. */
static int read_records(struct conn *conn, json_t *ids, resource_read_fn *read, json_t *records,
                        struct err *err)
{
    size_t i;
    json_t *id;
    json_array_foreach(ids, i, id)
    {
        json_t *record = NULL;
        int found = read(conn, store_id(json_string_value(id)), &record, err);
        if (found < 0)
            return found;
        if (found > 0)
            json_array_append_new(records, record);
    }
    return 0;
}

static int get(struct conn *conn, struct task *task)
{
    json_t *conflict = NULL;
    int64_t id = arg_int(task, "id");
    int code = conflict_read(conn, id, &conflict, &task->err);
    code = answer_with(task, code, conflict, "conflict", id);
    if (code < 0)
        return code;
    json_t *phones = json_array(), *backups = json_array();
    json_object_set_new(task->body, "records",
                        json_pack("{s:o, s:o}", "phones", phones, "backups", backups));
    code =
        read_records(conn, json_object_get(task->body, "phones"), phone_read, phones, &task->err);
    return code < 0 ? code
                    : read_records(conn, json_object_get(task->body, "backups"), backup_read,
                                   backups, &task->err);
}

void store_conflict_get(struct store *s, int64_t conflict_id, store_done_fn *done, void *arg)
{
    json_t *args = json_pack("{s:I}", "id", (json_int_t)conflict_id);
    lane_submit(s, LANE_READ, task_new("conflict_get", get, args, done, arg));
}
