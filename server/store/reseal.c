/* Chunks that are not sealed with the newest key are sealed anew: plain ones after the first start with a key, those of the
 * key before after a change of keys. Some at a time in one transaction of LANE_INGEST, so that spools come in meanwhile;
 * readers open either. A cut leaves some of each, and the next start goes on. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "server/store/chunks.h"
#include "server/store/inside.h"
#include "server/store/keys.h"
#include "server/store/resources.h"
#include "usb/archive/chunk.h"
#include "usb/base/log.h"
#include "usb/base/mem.h"

enum { CHUNKS_A_TURN = 8 }; /* some 8 MiB in one transaction */

/* One chunk on its way from one form to the other. */
struct resealing {
    struct conn *conn;
    struct err *err;
    struct buf frame, raw, sealed;
};

static void resealing_deinit(struct resealing *r)
{
    buf_deinit(&r->frame);
    buf_deinit(&r->raw);
    buf_deinit(&r->sealed);
}

/* ---- one chunk -------------------------------------------------------------------------------------- */

/* The frame and the hash of its contents. A plain chunk is named by it, right or wrong: damage stays what it is. */
static int open_chunk(struct resealing *r, const struct stored_chunk *chunk, struct span *frame_out,
                      struct sha256 *sha256_out)
{
    int code = chunks_frame(r->conn, chunk, &r->frame, frame_out, r->err);
    if (code < 0)
        return code;
    if (!chunk->key_id) {
        *sha256_out = chunk->content_id;
        return 0;
    }
    buf_clear(&r->raw);
    code = chunk_decompress(*frame_out, (size_t)chunk->raw_bytes, &r->raw, r->err);
    if (code == 0)
        *sha256_out = sha256_of(buf_span(&r->raw));
    return code;
}

static int put_chunk(struct resealing *r, const struct stored_chunk *chunk, struct span frame,
                     const struct sha256 *content_id)
{
    int64_t key_id;
    AUTO(db_reset) sqlite3_stmt *stmt = NULL;
    const struct seal *seal = keys_now(r->conn->keys, &key_id);
    struct chunk_about about = chunks_about(content_id, chunk->raw_bytes);
    buf_clear(&r->sealed);
    int code =
        seal_close(seal, span_of(about.bytes, sizeof(about.bytes)), frame, &r->sealed, r->err);
    if (code == 0)
        code = db_prepare(r->conn->backups,
                          "UPDATE chunk SET content_id = :content_id, packed = :packed,"
                          " key_id = :key_id WHERE id = :id",
                          &stmt, r->err);
    if (code < 0)
        return code;
    db_bind_blob(stmt, ":content_id", span_of(content_id->bytes, SHA256_BYTES));
    db_bind_blob(stmt, ":packed", buf_span(&r->sealed));
    db_bind_int(stmt, ":key_id", key_id);
    db_bind_int(stmt, ":id", chunk->id);
    return db_step(r->conn->backups, stmt, r->err);
}

/* The same contents came in again meanwhile and are sealed: images take those. */
static int merge_chunk(struct resealing *r, int64_t from, int64_t to)
{
    json_auto_t *ids = json_pack("{s:I, s:I}", "id", (json_int_t)from, "to", (json_int_t)to);
    int code = db_run(r->conn->backups,
                      "UPDATE image_chunk SET chunk_id = :to WHERE chunk_id = :id", ids, r->err);
    return code < 0 ? code
                    : db_run(r->conn->backups, "DELETE FROM chunk WHERE id = :id", ids, r->err);
}

/* Nobody can open it any more, and nothing of it is thrown away; but the old key shall not be kept for it. */
static int give_up(struct resealing *r, int64_t id)
{
    int64_t key_id;
    keys_now(r->conn->keys, &key_id);
    log_line(LOG_ERROR, "store", NULL, "chunk %" PRId64 " of the backups is damaged: %s", id,
             r->err->text);
    err_clear(r->err);
    json_auto_t *args = json_pack("{s:I, s:I}", "id", (json_int_t)id, "key", (json_int_t)key_id);
    return db_run(r->conn->backups, "UPDATE chunk SET key_id = :key WHERE id = :id", args, r->err);
}

static int reseal_chunk(struct resealing *r, const struct stored_chunk *chunk)
{
    AUTO(db_reset) sqlite3_stmt *stmt = NULL;
    struct stored_chunk same;
    struct span frame = {0};
    struct sha256 sha256;
    int code = open_chunk(r, chunk, &frame, &sha256);
    if (code == ERR_VERIFY || code == ERR_FORMAT)
        return give_up(r, chunk->id);
    int found = code < 0 ? code : chunks_find(r->conn, &sha256, &stmt, &same, r->err);
    if (found < 0)
        return found;
    if (found > 0)
        return merge_chunk(r, chunk->id, same.id);
    struct sha256 content_id = keys_content_id(r->conn->keys, &sha256);
    return put_chunk(r, chunk, frame, &content_id);
}

/* ---- a turn ----------------------------------------------------------------------------------------- */

static const char ids_sql[] =
    "SELECT id FROM chunk WHERE key_id IS :from AND id > :after ORDER BY id LIMIT :limit";
static const char chunk_sql[] = "SELECT " CHUNKS_COLUMNS " FROM chunk c WHERE c.id = :id";

static int reseal_id(struct resealing *r, int64_t id)
{
    AUTO(db_reset) sqlite3_stmt *stmt = NULL;
    struct stored_chunk chunk;
    int code = db_prepare(r->conn->backups, chunk_sql, &stmt, r->err);
    if (code < 0)
        return code;
    db_bind_int(stmt, ":id", id);
    code = db_step(r->conn->backups, stmt, r->err);
    if (code > 0)
        code = chunks_row(stmt, &chunk, r->err);
    return code < 0 ? code : reseal_chunk(r, &chunk);
}

static int reseal_ids(struct conn *conn, struct task *task, json_t *ids)
{
    AUTO(resealing_deinit) struct resealing r = {.conn = conn, .err = &task->err};
    buf_init(&r.frame, CHUNK_PACKED_MAX);
    buf_init(&r.raw, SPOOL_CHUNK_MAX_BYTES);
    buf_init(&r.sealed, CHUNK_PACKED_MAX + SEAL_EXTRA_BYTES);
    size_t i;
    json_t *id;
    json_array_foreach(ids, i, id)
    {
        int code = reseal_id(&r, json_integer_value(id));
        if (code < 0)
            return code;
    }
    return 0;
}

/* From now on only the new key is asked for; and what was plain is neither in the file (secure_delete) nor in its log. */
static int end_old(struct conn *conn, struct task *task)
{
    int64_t sealed = arg_int(task, "sealed"), now_id;
    keys_now(conn->keys, &now_id);
    json_auto_t *args = json_pack("{s:I}", "now", (json_int_t)now_id);
    int code = db_run(conn->backups, "DELETE FROM seal_key WHERE id <> :now", args, &task->err);
    if (code >= 0 && sealed > 0)
        code = db_exec(conn->backups, "PRAGMA wal_checkpoint(TRUNCATE)", &task->err);
    if (code >= 0 && sealed > 0)
        log_line(LOG_INFO, "store", NULL,
                 "%" PRId64 " chunks were sealed: from now on all backups are, with the key of "
                 "--backup-key. Copies of backups.db made before (*.bak, copies/) are not",
                 sealed);
    return code < 0 ? code : 0;
}

static int reseal_some(struct conn *conn, struct task *task, json_t *ids)
{
    struct err ignored;
    int code = db_exec(conn->backups, "PRAGMA secure_delete = ON; BEGIN IMMEDIATE", &task->err);
    if (code == 0)
        code = db_column(conn->backups, ids_sql, task->args, ids, &task->err);
    if (code > 0)
        code = reseal_ids(conn, task, ids);
    if (code >= 0)
        code = db_exec(conn->backups, "COMMIT", &task->err);
    if (db_in_transaction(conn->backups))
        db_exec(conn->backups, "ROLLBACK", &ignored);
    return code;
}

static void note(struct store *s, int64_t left, const char *trouble)
{
    pthread_mutex_lock(&s->finished_lock);
    s->sealing.wanted = true;
    s->sealing.left = left;
    snprintf(s->sealing.trouble, sizeof(s->sealing.trouble), "%.*s", STORE_DAMAGE_BYTES - 1,
             trouble);
    pthread_mutex_unlock(&s->finished_lock);
}

void store_sealing(struct store *s, struct store_sealing *out)
{
    pthread_mutex_lock(&s->finished_lock);
    *out = s->sealing;
    pthread_mutex_unlock(&s->finished_lock);
}

static const char left_sql[] = "SELECT (SELECT count(*) FROM chunk WHERE key_id IS NULL)"
                               " + (SELECT count(*) FROM chunk WHERE key_id = :old) AS n";

/* Counted once: what comes in meanwhile is sealed already. */
static int count_left(struct conn *conn, size_t sealed, struct err *err)
{
    struct store_sealing now;
    store_sealing(conn->store, &now);
    if (now.left >= 0) {
        note(conn->store, now.left - (int64_t)sealed, "");
        return 0;
    }
    json_auto_t *row = NULL;
    json_auto_t *args = json_pack("{s:I}", "old", (json_int_t)keys_old_id(conn->keys));
    int code = db_row(conn->backups, left_sql, args, &row, err);
    if (code > 0)
        note(conn->store, json_integer_value(json_object_get(row, "n")), "");
    return code < 0 ? code : 0;
}

static void submit(struct store *s, json_t *args);

/* Queues the next turn behind what came meanwhile. Plain chunks first, then those of the old key. */
static int turn(struct conn *conn, struct task *task)
{
    json_auto_t *ids = json_array();
    int64_t old_id = keys_old_id(conn->keys);
    int code = reseal_some(conn, task, ids);
    size_t count = json_array_size(ids);
    if (code >= 0)
        code = count_left(conn, count, &task->err);
    if (code < 0)
        return code;
    bool plain = json_is_null(json_object_get(task->args, "from"));
    if (count == 0 && (!plain || !old_id))
        return end_old(conn, task);
    json_t *args = json_deep_copy(task->args);
    json_object_set_new(args, "sealed", json_integer(arg_int(task, "sealed") + (json_int_t)count));
    if (count > 0)
        json_object_set(args, "after", json_array_get(ids, count - 1));
    else
        json_object_update_new(args,
                               json_pack("{s:I, s:i}", "from", (json_int_t)old_id, "after", 0));
    submit(conn->store, args);
    return 0;
}

static void on_turn(void *arg, int code, const struct err *err, json_t *body)
{
    (void)body;
    if (code >= 0 || code == ERR_CANCELLED) /* the store is closing */
        return;
    struct store *s = arg;
    struct store_sealing now;
    store_sealing(s, &now);
    note(s, now.left, err->text);
    log_line(LOG_ERROR, "store", LOG_KV({"err", err_name(code)}),
             "not all backups are sealed with the key of --backup-key, the next start goes on: "
             "%s",
             err->text);
}

static void submit(struct store *s, json_t *args)
{
    lane_submit(s, LANE_INGEST, task_new("reseal", turn, args, on_turn, s));
}

void reseal_start(struct store *s)
{
    int64_t key_id;
    if (!keys_now(s->keys, &key_id))
        return;
    note(s, -1, "");
    submit(s, json_pack("{s:n, s:i, s:i, s:i}", "from", "after", 0, "limit", CHUNKS_A_TURN,
                        "sealed", 0));
}
