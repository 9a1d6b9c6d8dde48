/* Retention: which pre-images go, and the images and chunks that nothing names any more. A manifest stops naming its
 * images before they go, so a cut in between leaves what the next sweep finds, never a manifest without its bytes. */
#include <inttypes.h>
#include <string.h>

#include "server/store/events.h"
#include "server/store/images.h"
#include "server/store/resources.h"
#include "usb/base/clock.h"
#include "usb/base/mem.h"

enum {
    PHONES_A_TURN = 32, /* in one transaction of station.db, whose lane others wait for */
    IMAGES_A_TURN =
        64, /* rows looked at in one transaction of backups.db: some 4 GB of chunks at most */
    CHUNKS_A_TURN = 4096 /* likewise, of which few are deleted */
};

/* ---- which ------------------------------------------------------------------------------------------ */

static const char phones_sql[] = "SELECT id FROM phone WHERE id > :after ORDER BY id LIMIT :limit";
static const char candidates_sql[] =
    "SELECT b.id, b.pinned, b.verdict IN ('usable', 'no_elabel') AS good,"
    " b.complete AND b.damage IS NULL AS whole,"
    " EXISTS (SELECT 1 FROM job j WHERE j.id = b.job_id AND j.ended_ms IS NULL)"
    " OR EXISTS (SELECT 1 FROM job j WHERE j.backup_id = b.id AND j.ended_ms IS NULL)"
    " OR EXISTS (SELECT 1 FROM permit p JOIN job j ON j.id = p.job_id"
    " WHERE p.backup_id = b.id AND j.ended_ms IS NULL)"
    " OR EXISTS (SELECT 1 FROM permit p JOIN job j ON j.id = p.job_id"
    " WHERE p.source_backup_id = b.id AND j.ended_ms IS NULL) AS in_use,"
    " EXISTS (SELECT 1 FROM conflict c WHERE c.backup_id = b.id AND c.state = 'open')"
    " OR EXISTS (SELECT 1 FROM conflict c WHERE c.other_backup_id = b.id AND c.state = 'open')"
    " AS disputed FROM backup b WHERE b.phone_id = :phone_id AND b.origin = 'station'"
    " AND b.pruned_ms IS NULL ORDER BY b.id DESC";

static bool flag(json_t *row, const char *key)
{
    return json_integer_value(json_object_get(row, key)) != 0;
}

/* What was met so far of a phone's backups, newest first. */
struct met {
    int64_t keep, count;
    bool good, whole;
};

/* Why this one stays; NULL: it goes. The newest good one stays even when it is damaged or lacks a member: of an
 * identity that exists once in the world a part is worth more than nothing. */
static const char *why_kept(struct met *met, json_t *row)
{
    bool good = flag(row, "good"), whole = good && flag(row, "whole");
    bool last_good = (good && !met->good) || (whole && !met->whole);
    met->good |= good;
    met->whole |= whole;
    if (met->count++ < met->keep || met->keep == 0)
        return "newest";
    if (last_good)
        return "last_good";
    if (flag(row, "pinned"))
        return "pinned";
    if (flag(row, "in_use"))
        return "open_job";
    return flag(row, "disputed") ? "conflict" : NULL;
}

static json_t *id_text(int64_t id)
{
    return json_sprintf("%" PRId64, id);
}

/* ---- manifests -------------------------------------------------------------------------------------- */

/* From here on the backup names no image. Its row stays: permits and reports speak of it. */
static int forget_images(struct conn *conn, struct task *task, int64_t id)
{
    json_auto_t *key =
        json_pack("{s:I, s:I}", "id", (json_int_t)id, "now", (json_int_t)clock_utc_ms());
    int code =
        db_run(conn->station, "UPDATE backup SET pruned_ms = :now WHERE id = :id", key, &task->err);
    if (code >= 0)
        code = db_run(conn->station, "DELETE FROM backup_partition WHERE backup_id = :id", key,
                      &task->err);
    return code < 0 ? code
                    : audit_write(conn, task, arg_text(task, "actor"), "backup.prune", "backup", id,
                                  NULL);
}

static int judge_phone(struct conn *conn, struct task *task, int64_t phone_id, json_t *items)
{
    json_auto_t *rows = json_array();
    json_auto_t *key = json_pack("{s:I}", "phone_id", (json_int_t)phone_id);
    struct met met = {.keep = arg_int(task, "keep")};
    bool dry_run = json_is_true(json_object_get(task->args, "dry_run"));
    int code = db_rows(conn->station, candidates_sql, key, rows, &task->err);
    size_t i;
    json_t *row;
    json_array_foreach(rows, i, row)
    {
        int64_t id = json_integer_value(json_object_get(row, "id"));
        const char *why = why_kept(&met, row);
        if (code >= 0 && !why && !dry_run)
            code = forget_images(conn, task, id);
        json_array_append_new(items, json_pack("{s:o, s:o, s:s?}", "backup_id", id_text(id),
                                               "phone_id", id_text(phone_id), "why", why));
    }
    return code < 0 ? code : 0;
}

static int prune(struct conn *conn, struct task *task)
{
    json_auto_t *phones = json_array();
    json_t *items = json_array(), *id;
    task->body = json_pack("{s:o, s:n}", "items", items, "next");
    int code = db_column(conn->station, phones_sql, task->args, phones, &task->err);
    size_t i;
    json_array_foreach(phones, i, id)
    {
        code = code < 0 ? code : judge_phone(conn, task, json_integer_value(id), items);
        if (i + 1 == PHONES_A_TURN)
            json_object_set_new(task->body, "next", id_text(json_integer_value(id)));
    }
    return code < 0 ? code : 0;
}

void store_backup_prune(struct store *s, const struct store_prune *p, store_done_fn *done,
                        void *arg)
{
    json_t *args =
        json_pack("{s:i, s:b, s:I, s:i, s:s?}", "keep", p->keep, "dry_run", p->dry_run, "after",
                  (json_int_t)p->after_phone, "limit", PHONES_A_TURN, "actor", p->actor);
    lane_submit(s, p->dry_run ? LANE_READ : LANE_WRITE,
                task_new("backup_prune", prune, args, done, arg));
}

/* ---- images and chunks ------------------------------------------------------------------------------ */

static const char images_sql[] =
    "SELECT id, lower(hex(sha256)) AS sha256 FROM image WHERE id > :after ORDER BY id LIMIT :limit";
static const char named_sql[] =
    "SELECT backup_id FROM backup_partition WHERE sha256 = :sha256 LIMIT 1";
static const char chunks_sql[] =
    "DELETE FROM chunk WHERE id > :after AND id <= :after + :limit"
    " AND NOT EXISTS (SELECT 1 FROM image_chunk WHERE chunk_id = chunk.id)";

/* 1: deleted. */
static int sweep_image(struct conn *conn, struct task *task, json_t *image)
{
    json_auto_t *name = NULL;
    int code = db_row(conn->station, named_sql, image, &name, &task->err);
    if (code != 0)
        return code < 0 ? code : 0;
    code = db_run(conn->backups, "DELETE FROM image_chunk WHERE image_id = :id", image, &task->err);
    return code < 0 ? code
                    : db_run(conn->backups, "DELETE FROM image WHERE id = :id", image, &task->err);
}

static int sweep_images(struct conn *conn, struct task *task, int64_t *deleted)
{
    json_auto_t *images = json_array();
    int code = db_rows(conn->backups, images_sql, task->args, images, &task->err);
    size_t i;
    json_t *image;
    json_array_foreach(images, i, image)
    {
        code = code < 0 ? code : sweep_image(conn, task, image);
        *deleted += code > 0;
        json_object_set(task->args, "after", json_object_get(image, "id"));
    }
    bool last = json_array_size(images) < IMAGES_A_TURN;
    if (last)
        json_object_set_new(task->args, "after", json_integer(0));
    json_object_set_new(task->args, "chunks", json_boolean(last));
    return code;
}

static int sweep_chunks(struct conn *conn, struct task *task, int64_t *deleted, bool *done)
{
    json_auto_t *row = NULL;
    int64_t after = arg_int(task, "after") + CHUNKS_A_TURN;
    int code = db_run(conn->backups, chunks_sql, task->args, &task->err);
    *deleted = code;
    if (code >= 0)
        code = db_row(conn->backups, "SELECT id FROM chunk ORDER BY id DESC LIMIT 1", NULL, &row,
                      &task->err);
    *done = json_integer_value(json_object_get(row, "id")) <= after;
    json_object_set_new(task->args, "after", json_integer(after));
    return code;
}

/* In LANE_INGEST, so that no spool comes in meanwhile; manifests of those that came before are waited for. */
static int sweep(struct conn *conn, struct task *task)
{
    int64_t deleted = 0;
    bool done = false;
    lane_settle(conn->store, LANE_WRITE);
    int code = db_exec(conn->backups, "BEGIN IMMEDIATE", &task->err);
    if (code < 0)
        return code;
    code = json_is_true(json_object_get(task->args, "chunks"))
               ? sweep_chunks(conn, task, &deleted, &done)
               : sweep_images(conn, task, &deleted);
    struct err ignored;
    if (code >= 0)
        code = db_exec(conn->backups, "COMMIT", &task->err);
    if (db_in_transaction(conn->backups))
        db_exec(conn->backups, "ROLLBACK", &ignored);
    if (code < 0)
        return code;
    task->body = json_pack("{s:I, s:O, s:O, s:b}", "deleted", (json_int_t)deleted, "chunks",
                           json_object_get(task->args, "chunks"), "after",
                           json_object_get(task->args, "after"), "done", done);
    return 0;
}

void store_images_sweep(struct store *s, const struct store_sweep *at, store_done_fn *done,
                        void *arg)
{
    json_t *args =
        json_pack("{s:b, s:I, s:i}", "chunks", at->chunks, "after", (json_int_t)at->after, "limit",
                  at->chunks ? CHUNKS_A_TURN : IMAGES_A_TURN);
    lane_submit(s, LANE_INGEST, task_new("images_sweep", sweep, args, done, arg));
}

/* ---- pinning ---------------------------------------------------------------------------------------- */

static int pin(struct conn *conn, struct task *task)
{
    json_t *backup = NULL;
    int64_t id = arg_int(task, "id");
    int code = db_run(conn->station, "UPDATE backup SET pinned = :pinned WHERE id = :id",
                      task->args, &task->err);
    if (code > 0)
        code = audit_write(conn, task, arg_text(task, "actor"), "backup.pin", "backup", id,
                           json_object_get(task->args, "pinned"));
    if (code >= 0)
        code = backup_read(conn, id, &backup, &task->err);
    return answer_with(task, code, backup, "backup", id);
}

void store_backup_pin(struct store *s, int64_t backup_id, bool pinned, const char *actor,
                      store_done_fn *done, void *arg)
{
    json_t *args = json_pack("{s:I, s:b, s:s?}", "id", (json_int_t)backup_id, "pinned", pinned,
                             "actor", actor);
    lane_submit(s, LANE_WRITE, task_new("backup_pin", pin, args, done, arg));
}
