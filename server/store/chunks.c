#include "server/store/chunks.h"

#include <string.h>

#include "server/store/keys.h"
#include "usb/archive/chunk.h"
#include "usb/base/mem.h"

/* Content id (32 bytes), size of the contents (u32 LE), version of this format (u32 LE). */
struct chunk_about chunks_about(const struct sha256 *content_id, int64_t raw_bytes)
{
    enum { FORMAT_VERSION = 1 };
    struct chunk_about about = {0};
    memcpy(about.bytes, content_id->bytes, SHA256_BYTES);
    for (int i = 0; i < 4; i++)
        about.bytes[SHA256_BYTES + i] = (uint8_t)(raw_bytes >> (8 * i));
    about.bytes[SHA256_BYTES + 4] = FORMAT_VERSION;
    return about;
}

/* ---- reading ---------------------------------------------------------------------------------------- */

int chunks_row(sqlite3_stmt *stmt, struct stored_chunk *out, struct err *err)
{
    const void *content_id = sqlite3_column_blob(stmt, 1);
    if (sqlite3_column_bytes(stmt, 1) != SHA256_BYTES)
        return err_set(err, ERR_VERIFY, "a chunk's name is damaged");
    struct stored_chunk chunk = {
        .id = sqlite3_column_int64(stmt, 0),
        .raw_bytes = sqlite3_column_int64(stmt, 2),
        .key_id = sqlite3_column_int64(stmt, 3), /* null: 0 */
        .packed = span_of(sqlite3_column_blob(stmt, 4), (size_t)sqlite3_column_bytes(stmt, 4)),
    };
    memcpy(chunk.content_id.bytes, content_id, SHA256_BYTES);
    *out = chunk;
    return 0;
}

int chunks_find(struct conn *conn, const struct sha256 *sha256, sqlite3_stmt **stmt,
                struct stored_chunk *out, struct err *err)
{
    static const char sql[] =
        "SELECT " CHUNKS_COLUMNS " FROM chunk c WHERE c.content_id = :content_id";
    struct sha256 content_id = keys_content_id(conn->keys, sha256);
    int code = db_prepare(conn->backups, sql, stmt, err);
    if (code < 0)
        return code;
    sqlite3_bind_blob(*stmt, 1, content_id.bytes, SHA256_BYTES, SQLITE_TRANSIENT);
    code = db_step(conn->backups, *stmt, err);
    if (code > 0 && chunks_row(*stmt, out, err) < 0)
        return err->code;
    return code;
}

int chunks_frame(const struct conn *conn, const struct stored_chunk *chunk, struct buf *scratch,
                 struct span *frame_out, struct err *err)
{
    if (!chunk->key_id) {
        *frame_out = chunk->packed;
        return 0;
    }
    const struct seal *seal = keys_find(conn->keys, chunk->key_id);
    if (!seal)
        return err_set(err, ERR_VERIFY, "a chunk is sealed with a key that was not given");
    struct chunk_about about = chunks_about(&chunk->content_id, chunk->raw_bytes);
    buf_clear(scratch);
    int code =
        seal_open(seal, span_of(about.bytes, sizeof(about.bytes)), chunk->packed, scratch, err);
    if (code == 0)
        *frame_out = buf_span(scratch);
    return code;
}

int chunks_unpack(const struct conn *conn, const struct stored_chunk *chunk, struct buf *scratch,
                  struct buf *raw, struct err *err)
{
    struct span frame = {0};
    int code = chunks_frame(conn, chunk, scratch, &frame, err);
    if (code < 0)
        return code;
    buf_clear(raw);
    return chunk_decompress(frame, (size_t)chunk->raw_bytes, raw, err);
}

int chunks_compare(struct span raw, const struct sha256 *want, struct err *err)
{
    struct sha256 have = sha256_of(raw);
    if (!sha256_equal(&have, want))
        return err_set(err, ERR_VERIFY, "a chunk's contents do not have its hash");
    return 0;
}

/* ---- storing ---------------------------------------------------------------------------------------- */

/* The row keeps its id: all images that have the chunk get the new bytes. */
static const char put_sql[] =
    "INSERT INTO chunk (content_id, raw_bytes, packed, key_id)"
    " VALUES (:content_id, :raw_bytes, :packed, :key_id)"
    " ON CONFLICT (content_id) DO UPDATE SET raw_bytes = excluded.raw_bytes,"
    " packed = excluded.packed, key_id = excluded.key_id RETURNING id";

int64_t chunks_put(struct conn *conn, const struct spool_chunk *chunk, struct err *err)
{
    AUTO(buf_deinit) struct buf sealed;
    AUTO(db_reset) sqlite3_stmt *stmt = NULL;
    int64_t key_id;
    const struct seal *seal = keys_now(conn->keys, &key_id);
    struct sha256 content_id = keys_content_id(conn->keys, &chunk->sha256);
    struct chunk_about about = chunks_about(&content_id, chunk->raw_bytes);
    buf_init(&sealed, CHUNK_PACKED_MAX + SEAL_EXTRA_BYTES);
    int code = db_prepare(conn->backups, put_sql, &stmt, err);
    if (code == 0 && seal)
        code =
            seal_close(seal, span_of(about.bytes, sizeof(about.bytes)), chunk->zstd, &sealed, err);
    if (code < 0)
        return code;
    db_bind_blob(stmt, ":content_id", span_of(content_id.bytes, SHA256_BYTES));
    db_bind_int(stmt, ":raw_bytes", chunk->raw_bytes);
    db_bind_blob(stmt, ":packed", seal ? buf_span(&sealed) : chunk->zstd);
    if (seal)
        db_bind_int(stmt, ":key_id", key_id); /* else null */
    code = db_step(conn->backups, stmt, err);
    return code < 0 ? code : sqlite3_column_int64(stmt, 0);
}
