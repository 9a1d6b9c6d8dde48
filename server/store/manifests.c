/* Manifests: what the station says about a closed job, signed with its key. The bytes that are hashed and signed are
 * the document with sorted keys and no blanks (JSON_COMPACT | JSON_SORT_KEYS); all numbers in it are whole, so that a
 * reader who sorts and prints it again gets the same bytes. Each document names the hash of the one before. */
#include "server/store/manifests.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "server/store/resources.h"
#include "usb/base/clock.h"
#include "usb/base/mem.h"
#include "usb/base/sign.h"

enum { MANIFEST_VERSION = 1 };
#define FIRMWARE_IMAGE "firmware/" /* how a write names a file of the package */

/* Copies these members when they are there. */
static void copy_members(json_t *to, json_t *from, const char *const *names)
{
    for (; *names; names++) {
        json_t *value = json_object_get(from, *names);
        json_object_set(to, *names, value ? value : json_null());
    }
}

static json_t *members(json_t *from, const char *const *names)
{
    json_t *out = json_object();
    copy_members(out, from, names);
    return out;
}

static json_t *job_part(json_t *job)
{
    static const char *const names[] = {"id",         "state",     "port",       "serial",
                                        "imeis",      "phone_id",  "finish",     "accept",
                                        "error",      "owner_ref", "client_ref", "created_at",
                                        "started_at", "ended_at",  NULL};
    return members(job, names);
}

static json_t *recipe_part(json_t *job)
{
    return json_pack("{s:O, s:O, s:O}", "name", json_object_get(job, "recipe"), "version",
                     json_object_get(job, "recipe_version"), "sha256",
                     json_object_get(job, "recipe_sha256"));
}

/* ---- what was used ------------------------------------------------------------------------------------ */

/* Was this file of the package written, or did it start the phone's agent? */
static bool file_used(json_t *firmware, json_t *writes, const char *name)
{
    static const char *const tools[] = {"da_file", "preloader", "auth_file"};
    for (size_t i = 0; i < ARRAY_LEN(tools); i++) {
        json_t *tool = json_object_get(json_object_get(firmware, "detail"), tools[i]);
        if (json_is_string(tool) && strcmp(json_string_value(tool), name) == 0)
            return true;
    }
    size_t i;
    json_t *write;
    json_array_foreach(writes, i, write)
    {
        const char *image = json_string_value(json_object_get(write, "image"));
        if (image && strncmp(image, FIRMWARE_IMAGE, strlen(FIRMWARE_IMAGE)) == 0 &&
            strcmp(image + strlen(FIRMWARE_IMAGE), name) == 0)
            return true;
    }
    return false;
}

static int add_firmware(struct conn *conn, json_t *manifest, json_t *job, json_t *writes,
                        struct err *err)
{
    static const char *const names[] = {"id", "name", "platform", "project", "version", NULL};
    int64_t id = store_id(json_string_value(json_object_get(job, "firmware")));
    json_auto_t *firmware = NULL;
    int found = id ? firmware_read(conn, id, &firmware, err) : 0;
    if (found <= 0) {
        json_object_set_new(manifest, "firmware", json_null());
        return found;
    }
    json_t *part = members(firmware, names), *files = json_array(), *file;
    size_t i;
    json_array_foreach(json_object_get(firmware, "files"), i, file)
    {
        const char *name = json_string_value(json_object_get(file, "name"));
        if (file_used(firmware, writes, name))
            json_array_append(files, file);
    }
    json_object_set_new(part, "files", files);
    json_object_set_new(manifest, "firmware", part);
    return 0;
}

/* The backup that was written back. */
static int add_source(struct conn *conn, json_t *manifest, json_t *job, struct err *err)
{
    static const char *const names[] = {"id", "origin", "serial", "manifest_sha256", NULL};
    int64_t id = store_id(json_string_value(json_object_get(job, "backup")));
    json_auto_t *backup = NULL;
    int found = id ? backup_read(conn, id, &backup, err) : 0;
    json_object_set_new(manifest, "source_backup",
                        found > 0 ? members(backup, names) : json_null());
    return found < 0 ? found : 0;
}

static const char taken_sql[] = "SELECT id FROM backup WHERE job_id = :id ORDER BY id";

/* What the phone held before: the backups that this job took. */
static int add_pre_images(struct conn *conn, json_t *manifest, json_t *key, struct err *err)
{
    static const char *const names[] = {
        "id", "serial", "verdict", "complete", "manifest_sha256", "created_at", "partitions", NULL};
    json_auto_t *ids = json_array();
    json_t *list = json_array(), *id;
    json_object_set_new(manifest, "pre_images", list);
    int code = db_column(conn->station, taken_sql, key, ids, err);
    size_t i;
    json_array_foreach(ids, i, id)
    {
        json_auto_t *backup = NULL;
        code = backup_read(conn, json_integer_value(id), &backup, err);
        if (code < 0)
            return code;
        json_array_append_new(list, members(backup, names));
    }
    return code < 0 ? code : 0;
}

static const char phone_sql[] = "SELECT p.id AS \"id:id\", p.chip_id, p.soc_id FROM job j"
                                " JOIN phone p ON p.id = j.phone_id WHERE j.id = :id";

static int add_phone(struct conn *conn, json_t *manifest, json_t *key, struct err *err)
{
    json_auto_t *phone = NULL;
    int found = db_row(conn->station, phone_sql, key, &phone, err);
    json_object_set(manifest, "phone", found > 0 ? phone : json_null());
    return found < 0 ? found : 0;
}

/* ---- what was done ------------------------------------------------------------------------------------ */

static const char permits_sql[] =
    "SELECT backup_id AS \"backup_id:id\", source_backup_id AS \"source_backup_id:id\","
    " manifest_sha256, plan_sha256, chip_id, issued_ms AS \"issued_at:time\" FROM permit"
    " WHERE job_id = :id ORDER BY id";
static const char attempts_sql[] =
    "SELECT name, attempt, state, started_ms AS \"started_at:time\", ended_ms AS \"ended_at:time\""
    " FROM step WHERE job_id = :id ORDER BY seq";

static const char runs_sql[] =
    "SELECT seq, port_id AS port, started_ms AS \"started_at:time\", ended_ms AS \"ended_at:time\","
    " outcome FROM run WHERE job_id = :id ORDER BY seq";
/* The last that was journaled of each extent, over all runs: what is known when no worker told how it ended. */
static const char extents_sql[] =
    "SELECT run, step, kind, partition, phase, length_bytes AS bytes, sha256 FROM write_extent e"
    " WHERE job_id = :id AND NOT EXISTS (SELECT 1 FROM write_extent later WHERE later.job_id = "
    "e.job_id"
    " AND later.kind = e.kind AND later.partition = e.partition"
    " AND (later.run > e.run OR (later.run = e.run AND later.seq > e.seq))) ORDER BY run, seq";

static int add_rows(struct conn *conn, json_t *manifest, const char *name, const char *sql,
                    json_t *key, struct err *err)
{
    json_t *rows = json_array();
    json_object_set_new(manifest, name, rows);
    int code = db_rows(conn->station, sql, key, rows, err);
    return code < 0 ? code : 0;
}

/* Without a permit no worker can write (law 1), so the phone is as it was; with one, and no word from the worker or
 * its journal about the end, nobody knows. */
static void add_outcome(json_t *manifest, json_t *job, json_t *result)
{
    static const char *const names[] = {"slot", "phone_version", "accepted", NULL};
    json_t *told = json_object_get(result, "phone_state");
    json_t *state = json_is_string(told) ? told : json_object_get(job, "phone_state");
    json_t *writes = json_object_get(result, "writes");
    bool permitted = json_array_size(json_object_get(manifest, "permits")) > 0;
    copy_members(manifest, result, names);
    json_object_set_new(manifest, "written", writes ? json_deep_copy(writes) : json_array());
    if (json_is_string(state))
        json_object_set(manifest, "phone_state", state);
    else
        json_object_set_new(manifest, "phone_state",
                            json_string(permitted ? "unknown" : "untouched"));
}

static int fill(struct conn *conn, json_t *manifest, json_t *job, struct err *err)
{
    json_t *result = json_object_get(job, "result");
    json_auto_t *key = json_pack(
        "{s:I}", "id", (json_int_t)store_id(json_string_value(json_object_get(job, "id"))));
    json_object_set_new(manifest, "job", job_part(job));
    json_object_set_new(manifest, "recipe", recipe_part(job));
    int code = add_phone(conn, manifest, key, err);
    if (code == 0)
        code = add_firmware(conn, manifest, job, json_object_get(result, "writes"), err);
    if (code == 0)
        code = add_source(conn, manifest, job, err);
    if (code == 0)
        code = add_pre_images(conn, manifest, key, err);
    if (code == 0)
        code = add_rows(conn, manifest, "permits", permits_sql, key, err);
    if (code == 0)
        code = add_rows(conn, manifest, "runs", runs_sql, key, err);
    if (code == 0 && !json_is_string(json_object_get(result, "phone_state")))
        code = add_rows(conn, manifest, "journal", extents_sql, key, err);
    if (code == 0)
        code = add_rows(conn, manifest, "attempts", attempts_sql, key, err);
    add_outcome(manifest, job, result);
    return code;
}

/* ---- the chain ---------------------------------------------------------------------------------------- */

static const char last_sql[] = "SELECT seq, sha256 FROM manifest ORDER BY seq DESC LIMIT 1";
static const char insert_sql[] =
    "INSERT INTO manifest (seq, job_id, document, sha256, signature, public_key, at_ms)"
    " VALUES (:seq, :job_id, :document, :sha256, :signature, :public_key, :now)";

/* sequence and previous_sha256, from the newest manifest. */
static int link_to_last(struct conn *conn, json_t *manifest, struct err *err)
{
    json_auto_t *none = json_object();
    json_auto_t *last = NULL;
    int found = db_row(conn->station, last_sql, none, &last, err);
    if (found < 0)
        return found;
    json_int_t seq = json_integer_value(json_object_get(last, "seq"));
    json_object_set_new(manifest, "sequence", json_integer(seq + 1));
    json_object_set(manifest, "previous_sha256",
                    found ? json_object_get(last, "sha256") : json_null());
    return 0;
}

static int sign_and_insert(struct conn *conn, struct task *task, int64_t job_id, json_t *manifest)
{
    AUTO(free_ptr) char *document = json_dumps(manifest, JSON_COMPACT | JSON_SORT_KEYS);
    struct span bytes = span_of(document, strlen(document));
    struct sha256 hash = sha256_of(bytes);
    struct signature signature = signer_sign(conn->signer, bytes);
    struct sign_key key = signer_public(conn->signer);
    char hash_hex[SHA256_HEX_BYTES], signature_hex[2 * SIGN_BYTES + 1],
        key_hex[2 * SIGN_KEY_BYTES + 1];
    sha256_hex(&hash, hash_hex);
    hex_encode(span_of(signature.bytes, sizeof(signature.bytes)), signature_hex);
    hex_encode(span_of(key.bytes, sizeof(key.bytes)), key_hex);
    json_auto_t *row = json_pack(
        "{s:O, s:I, s:s, s:s, s:s, s:s, s:I}", "seq", json_object_get(manifest, "sequence"),
        "job_id", (json_int_t)job_id, "document", document, "sha256", hash_hex, "signature",
        signature_hex, "public_key", key_hex, "now", (json_int_t)clock_utc_ms());
    return db_run(conn->station, insert_sql, row, &task->err) < 0 ? task->err.code : 0;
}

int manifest_add(struct conn *conn, struct task *task, int64_t job_id)
{
    json_auto_t *job = NULL;
    char station[SHA256_HEX_BYTES];
    struct sign_key key = signer_public(conn->signer);
    struct sha256 fingerprint = sign_fingerprint(&key);
    sha256_hex(&fingerprint, station);
    int code = job_read(conn, job_id, &job, &task->err);
    if (code < 0)
        return code;
    json_auto_t *manifest =
        json_pack("{s:i, s:s}", "manifest_version", MANIFEST_VERSION, "station", station);
    code = fill(conn, manifest, job, &task->err);
    if (code == 0)
        code = link_to_last(conn, manifest, &task->err);
    return code < 0 ? code : sign_and_insert(conn, task, job_id, manifest);
}

/* ---- reading ------------------------------------------------------------------------------------------ */

static const char report_sql[] = "SELECT document AS \"manifest:json\", sha256 AS manifest_sha256,"
                                 " signature, public_key FROM manifest WHERE job_id = :id";

static int explain_absence(struct conn *conn, struct task *task, int64_t id)
{
    json_auto_t *job = NULL;
    int found = job_read(conn, id, &job, &task->err);
    if (found < 0)
        return found;
    if (found == 0)
        return err_set(&task->err, ERR_NOT_FOUND, "no job %" PRId64, id);
    if (json_is_null(json_object_get(job, "ended_at")))
        return err_set(&task->err, ERR_CONFLICT,
                       "job %" PRId64 " is %s: its report is made when it ends", id,
                       json_string_value(json_object_get(job, "state")));
    return err_set(&task->err, ERR_NOT_FOUND,
                   "job %" PRId64 " ended before this station signed reports", id);
}

static int report(struct conn *conn, struct task *task)
{
    int64_t id = arg_int(task, "id");
    json_t *document = NULL;
    int found = db_row(conn->station, report_sql, task->args, &document, &task->err);
    if (found == 0)
        return explain_absence(conn, task, id);
    if (found < 0)
        return found;
    json_object_set_new(document, "report_version", json_integer(MANIFEST_VERSION));
    json_object_set_new(document, "algorithm", json_string("Ed25519"));
    return answer_with(task, 1, document, "job", id);
}

void store_job_report(struct store *s, int64_t job_id, store_done_fn *done, void *arg)
{
    json_t *args = json_pack("{s:I}", "id", (json_int_t)job_id);
    lane_submit(s, LANE_READ, task_new("job_report", report, args, done, arg));
}

static const char list_sql[] =
    "SELECT seq AS sequence, job_id AS \"job_id:id\", sha256, at_ms AS \"at:time\" FROM manifest"
    " WHERE seq > :after ORDER BY seq LIMIT :limit";

static int list(struct conn *conn, struct task *task)
{
    return page_rows(conn, task, list_sql, "sequence");
}

void store_report_list(struct store *s, const struct store_page *page, store_done_fn *done,
                       void *arg)
{
    page_submit(s, "report_list", list, json_object(), page, PAGE_OLDEST_FIRST, done, arg);
}
