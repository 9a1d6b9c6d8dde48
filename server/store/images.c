#include "server/store/images.h"

#include <stdlib.h>
#include <unistd.h>

#include "usb/archive/chunk.h"
#include "usb/base/clock.h"
#include "usb/base/io.h"
#include "usb/base/mem.h"

static struct span hash_span(const struct sha256 *hash)
{
    return span_of(hash->bytes, SHA256_BYTES);
}

/* A row by its hash; the statement stands on it. 0: there is none. */
static int find(struct db *db, const char *sql, const struct sha256 *hash, sqlite3_stmt **stmt,
                struct err *err)
{
    int code = db_prepare(db, sql, stmt, err);
    if (code < 0)
        return code;
    db_bind_blob(*stmt, ":sha256", hash_span(hash));
    return db_step(db, *stmt, err);
}

static struct span column_span(sqlite3_stmt *stmt, int at)
{
    return span_of(sqlite3_column_blob(stmt, at), (size_t)sqlite3_column_bytes(stmt, at));
}

/* ---- chunks in ---- */

static int unpack(struct span zstd, int64_t raw_bytes, const struct sha256 *want, struct buf *raw,
                  struct err *err)
{
    buf_clear(raw);
    int code = chunk_decompress(zstd, (size_t)raw_bytes, raw, err);
    if (code < 0)
        return code;
    struct sha256 have = sha256_of(buf_span(raw));
    if (!sha256_equal(&have, want))
        return err_set(err, ERR_VERIFY, "a chunk's contents do not have its hash");
    return 0;
}

static const char insert_chunk_sql[] =
    "INSERT INTO chunk (sha256, raw_bytes, zstd) VALUES (:sha256, :raw_bytes, :zstd)";

static int insert_chunk(struct db *db, const struct spool_chunk *chunk, struct err *err)
{
    AUTO(db_reset) sqlite3_stmt *stmt = NULL;
    int code = db_prepare(db, insert_chunk_sql, &stmt, err);
    if (code < 0)
        return code;
    db_bind_blob(stmt, ":sha256", hash_span(&chunk->sha256));
    db_bind_int(stmt, ":raw_bytes", chunk->raw_bytes);
    db_bind_blob(stmt, ":zstd", chunk->zstd);
    return db_step(db, stmt, err);
}

int images_put_chunk(struct db *db, const struct spool_chunk *chunk, struct buf *raw,
                     struct err *err)
{
    AUTO(db_reset) sqlite3_stmt *stmt = NULL;
    int found = find(db, "SELECT 1 FROM chunk WHERE sha256 = :sha256", &chunk->sha256, &stmt, err);
    if (found != 0)
        return found < 0 ? found : 0;
    int code = unpack(chunk->zstd, chunk->raw_bytes, &chunk->sha256, raw, err);
    if (code == 0)
        code = insert_chunk(db, chunk, err);
    return code < 0 ? code : 1;
}

/* ---- images in ---- */

static int image_size(struct db *db, const struct sha256 *sha256, int64_t *size_out,
                      struct err *err)
{
    AUTO(db_reset) sqlite3_stmt *stmt = NULL;
    int found = find(db, "SELECT size_bytes FROM image WHERE sha256 = :sha256", sha256, &stmt, err);
    if (found > 0)
        *size_out = sqlite3_column_int64(stmt, 0);
    return found;
}

int images_have(struct db *db, const struct sha256 *sha256, int64_t size_bytes, struct err *err)
{
    int64_t size = 0;
    int found = image_size(db, sha256, &size, err);
    return found > 0 ? size == size_bytes : found;
}

/* What an image is made of, while it is put together. */
struct assembly {
    struct hasher *hasher;
    int64_t *chunk_ids;
    int64_t size_bytes;
    const struct sha256
        *in_raw; /* the chunk whose bytes are in the scratch buffer: zeros come in rows */
};

static void assembly_deinit(struct assembly *a)
{
    hasher_free(&a->hasher);
    free(a->chunk_ids);
}

static int add_chunk(struct db *db, const struct sha256 *hash, struct assembly *a, int64_t *id_out,
                     struct buf *raw, struct err *err)
{
    AUTO(db_reset) sqlite3_stmt *stmt = NULL;
    int found =
        find(db, "SELECT id, raw_bytes, zstd FROM chunk WHERE sha256 = :sha256", hash, &stmt, err);
    if (found == 0)
        return err_set(err, ERR_VERIFY, "a chunk that it names is missing");
    if (found > 0 && !(a->in_raw && sha256_equal(a->in_raw, hash)))
        found = unpack(column_span(stmt, 2), sqlite3_column_int64(stmt, 1), hash, raw, err);
    if (found < 0)
        return found;
    a->in_raw = hash;
    *id_out = sqlite3_column_int64(stmt, 0);
    hasher_update(a->hasher, raw->data, raw->len);
    a->size_bytes += (int64_t)raw->len;
    return 0;
}

static int assemble(struct db *db, const struct spool_partition *p, struct assembly *a,
                    struct buf *raw, struct err *err)
{
    a->hasher = hasher_new();
    a->chunk_ids = xcalloc(p->chunk_count, sizeof(*a->chunk_ids));
    for (size_t i = 0; i < p->chunk_count; i++) {
        int code = add_chunk(db, &p->chunks[i], a, &a->chunk_ids[i], raw, err);
        if (code < 0)
            return code;
        if (i + 1 < p->chunk_count && raw->len != SPOOL_CHUNK_MAX_BYTES)
            return err_set(err, ERR_VERIFY, "a chunk in the middle is short");
    }
    struct sha256 hash = hasher_finish(a->hasher);
    if (a->size_bytes != p->size_bytes || !sha256_equal(&hash, &p->sha256))
        return err_set(err, ERR_VERIFY, "its chunks do not add up to its size and hash");
    return 0;
}

static int insert_places(struct db *db, int64_t image_id, const int64_t *chunk_ids, size_t count,
                         struct err *err)
{
    for (size_t i = 0; i < count; i++) {
        AUTO(db_reset) sqlite3_stmt *stmt = NULL;
        int code = db_prepare(db,
                              "INSERT INTO image_chunk (image_id, seq, chunk_id)"
                              " VALUES (:image_id, :seq, :chunk_id)",
                              &stmt, err);
        if (code < 0)
            return code;
        db_bind_int(stmt, ":image_id", image_id);
        db_bind_int(stmt, ":seq", (int64_t)i);
        db_bind_int(stmt, ":chunk_id", chunk_ids[i]);
        code = db_step(db, stmt, err);
        if (code < 0)
            return code;
    }
    return 0;
}

/* The id of the new row. */
static int64_t insert_image(struct db *db, const struct spool_partition *p, struct err *err)
{
    AUTO(db_reset) sqlite3_stmt *stmt = NULL;
    int code = db_prepare(db,
                          "INSERT INTO image (sha256, size_bytes, created_ms)"
                          " VALUES (:sha256, :size_bytes, :now) RETURNING id",
                          &stmt, err);
    if (code < 0)
        return code;
    db_bind_blob(stmt, ":sha256", hash_span(&p->sha256));
    db_bind_int(stmt, ":size_bytes", p->size_bytes);
    db_bind_int(stmt, ":now", clock_utc_ms());
    code = db_step(db, stmt, err);
    return code < 0 ? code : sqlite3_column_int64(stmt, 0);
}

int images_put(struct db *db, const struct spool_partition *p, struct buf *raw, struct err *err)
{
    int64_t size = 0;
    int found = image_size(db, &p->sha256, &size, err);
    if (found < 0)
        return found;
    if (found > 0 && size != p->size_bytes)
        return err_set(err, ERR_VERIFY, "an image with this hash has another size");
    if (found > 0)
        return 0;
    AUTO(assembly_deinit) struct assembly a = {0};
    int code = assemble(db, p, &a, raw, err);
    if (code < 0)
        return code;
    int64_t id = insert_image(db, p, err);
    return id < 0 ? (int)id : insert_places(db, id, a.chunk_ids, p->chunk_count, err);
}

/* ---- images out ---- */

static const char pieces_sql[] =
    "SELECT c.zstd, c.raw_bytes FROM image i JOIN image_chunk p ON p.image_id = i.id"
    " JOIN chunk c ON c.id = p.chunk_id WHERE i.sha256 = :sha256 ORDER BY p.seq";

static bool all_zero(struct span s)
{
    return s.len == 0 || (s.data[0] == 0 && memcmp(s.data, s.data + 1, s.len - 1) == 0);
}

static int write_piece(sqlite3_stmt *stmt, struct hasher *hasher, int fd, int64_t at,
                       struct buf *raw, struct err *err)
{
    buf_clear(raw);
    int code =
        chunk_decompress(column_span(stmt, 0), (size_t)sqlite3_column_int64(stmt, 1), raw, err);
    if (code < 0)
        return code;
    hasher_update(hasher, raw->data, raw->len);
    struct err why = {0};
    if (fd >= 0 && !all_zero(buf_span(raw)) && io_pwrite(fd, raw->data, raw->len, at, &why) < 0)
        return err_set(err, ERR_DISK, "the station's disk: %s", why.text);
    return 0;
}

int images_write(struct db *db, const struct sha256 *sha256, int64_t size_bytes, int fd,
                 struct err *err)
{
    AUTO(hasher_free) struct hasher *hasher = hasher_new();
    AUTO(buf_deinit) struct buf raw;
    buf_init(&raw, SPOOL_CHUNK_MAX_BYTES);
    AUTO(db_reset) sqlite3_stmt *stmt = NULL;
    int64_t at = 0;
    int more = find(db, pieces_sql, sha256, &stmt, err);
    for (; more > 0; more = db_step(db, stmt, err)) {
        int code = write_piece(stmt, hasher, fd, at, &raw, err);
        if (code < 0)
            return code;
        at += (int64_t)raw.len;
    }
    if (more < 0)
        return more;
    struct sha256 hash = hasher_finish(hasher);
    if (at != size_bytes || !sha256_equal(&hash, sha256))
        return err_set(err, ERR_VERIFY, "the stored image is damaged");
    if (fd >= 0 && ftruncate(fd, size_bytes) < 0)
        return err_sys(err, ERR_DISK, "the station's disk: size of a temporary file");
    return 0;
}
