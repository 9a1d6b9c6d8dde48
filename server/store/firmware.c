#include <inttypes.h>

#include "server/store/resources.h"
#include "usb/base/clock.h"
#include "usb/base/hash.h"
#include "usb/base/mem.h"

static const char firmware_sql[] =
    "SELECT id AS \"id:id\", name, platform, project, version, path,"
    " problems AS \"problems:json\", detail AS \"detail:json\", created_ms AS "
    "\"created_at:time\" FROM firmware WHERE id = :id";
static const char files_sql[] = "SELECT name, size_bytes AS size, sha256 FROM firmware_file WHERE "
                                "firmware_id = :id ORDER BY name";

int firmware_read(struct conn *conn, int64_t firmware_id, json_t **out, struct err *err)
{
    json_auto_t *key = json_pack("{s:I}", "id", (json_int_t)firmware_id);
    json_auto_t *firmware = NULL;
    int found = db_row(conn->station, firmware_sql, key, &firmware, err);
    if (found <= 0)
        return found;
    json_t *files = json_array();
    json_object_set_new(firmware, "files", files);
    json_t *detail = json_object_get(firmware, "detail"), *plan = json_object_get(detail, "plan");
    json_object_set(firmware, "plan", plan ? plan : json_null()); /* packages of before have none */
    json_object_del(detail, "plan");
    int code = db_rows(conn->station, files_sql, key, files, err);
    if (code < 0)
        return code;
    *out = STEAL(firmware);
    return 1;
}

static int get(struct conn *conn, struct task *task)
{
    json_t *firmware = NULL;
    int64_t id = arg_int(task, "id");
    int found = firmware_read(conn, id, &firmware, &task->err);
    return answer_with(task, found, firmware, "firmware", id);
}

void store_firmware_get(struct store *s, int64_t firmware_id, store_done_fn *done, void *arg)
{
    json_t *args = json_pack("{s:I}", "id", (json_int_t)firmware_id);
    lane_submit(s, LANE_READ, task_new("firmware_get", get, args, done, arg));
}

static const char list_sql[] =
    "SELECT id FROM firmware WHERE id < :after ORDER BY id DESC LIMIT :limit";

static int list(struct conn *conn, struct task *task)
{
    return page_resources(conn, task, list_sql, firmware_read);
}

void store_firmware_list(struct store *s, const struct store_page *page, store_done_fn *done,
                         void *arg)
{
    page_submit(s, "firmware_list", list, json_object(), page, PAGE_NEWEST_FIRST, done, arg);
}

/* ---- adding ---- */

static const char put_sql[] =
    "INSERT INTO firmware (path, name, platform, project, version, files_sha256, problems, detail, "
    "created_ms)"
    " VALUES (:path, :name, :platform, :project, :version, :files_sha256, :problems, :detail, :now)"
    " ON CONFLICT (path, files_sha256) DO UPDATE SET problems = :problems, detail = :detail"
    " RETURNING id";
static const char file_sql[] =
    "INSERT INTO firmware_file (firmware_id, name, size_bytes, sha256)"
    " VALUES (:id, :name, :size, :sha256) ON CONFLICT (firmware_id, name) DO NOTHING";

static int put_files(struct conn *conn, struct task *task, json_t *id)
{
    size_t i;
    json_t *file;
    json_array_foreach(json_object_get(task->args, "files"), i, file)
    {
        json_object_set(file, "id", id);
        int code = db_run(conn->station, file_sql, file, &task->err);
        if (code < 0)
            return code;
    }
    return 0;
}

static int put(struct conn *conn, struct task *task)
{
    json_auto_t *row = NULL;
    json_t *firmware = NULL;
    int code = db_row(conn->station, put_sql, task->args, &row, &task->err);
    json_t *id = json_object_get(row, "id");
    if (code >= 0)
        code = put_files(conn, task, id);
    if (code >= 0)
        code = firmware_read(conn, json_integer_value(id), &firmware, &task->err);
    return answer_with(task, code, firmware, "firmware", json_integer_value(id));
}

/* Of the list as it was given: the same folder read twice gives the same list. */
static void hash_files(json_t *files, char hex[SHA256_HEX_BYTES])
{
    char *text = json_dumps(files, JSON_COMPACT | JSON_SORT_KEYS);
    struct sha256 hash = sha256_of(span_of(text ? text : "", text ? strlen(text) : 0));
    sha256_hex(&hash, hex);
    free_ptr(&text);
}

void store_firmware_put(struct store *s, const struct store_firmware_new *fw, store_done_fn *done,
                        void *arg)
{
    char hash[SHA256_HEX_BYTES];
    hash_files(fw->files, hash);
    json_t *problems = fw->problems ? json_deep_copy(fw->problems) : json_array();
    json_t *args = json_pack(
        "{s:s, s:s?, s:s?, s:s?, s:s?, s:s, s:o, s:o, s:o, s:I}", "path", fw->path, "name",
        fw->name, "platform", fw->platform, "project", fw->project, "version", fw->version,
        "files_sha256", hash, "files", json_deep_copy(fw->files), "problems", problems, "detail",
        fw->detail ? json_deep_copy(fw->detail) : json_object(), "now", (json_int_t)clock_utc_ms());
    lane_submit(s, LANE_WRITE, task_new("firmware_put", put, args, done, arg));
}
