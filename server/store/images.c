#include "server/store/images.h"

#include <stdlib.h>
#include <unistd.h>

#include "server/store/chunks.h"
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

/* ---- chunks in ---- */

/* Nobody stores what is not what it says. */
static int check(const struct spool_chunk *chunk, struct buf *raw, struct err *err)
{
    buf_clear(raw);
    int code = chunk_decompress(chunk->zstd, chunk->raw_bytes, raw, err);
    return code < 0 ? code : chunks_compare(buf_span(raw), &chunk->sha256, err);
}

int images_put_chunk(struct conn *conn, const struct spool_chunk *chunk, struct buf *raw,
                     struct err *err)
{
    int have = chunks_have(conn, &chunk->sha256, err);
    if (have != 0)
        return have < 0 ? have : 0;
    int code = check(chunk, raw, err);
    if (code == 0)
        code = chunks_add(conn, chunk, err);
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
    struct buf scratch; /* an opened seal */
    int64_t *chunk_ids;
    int64_t size_bytes;
    const struct sha256
        *in_raw; /* the chunk whose bytes are in the scratch buffer: zeros come in rows */
};

static void assembly_deinit(struct assembly *a)
{
    hasher_free(&a->hasher);
    buf_deinit(&a->scratch);
    free(a->chunk_ids);
}

static int add_chunk(struct conn *conn, const struct sha256 *hash, struct assembly *a,
                     int64_t *id_out, struct buf *raw, struct err *err)
{
    AUTO(db_reset) sqlite3_stmt *stmt = NULL;
    struct stored_chunk chunk;
    int found = chunks_find(conn, hash, &stmt, &chunk, err);
    if (found == 0)
        return err_set(err, ERR_VERIFY, "a chunk that it names is missing");
    if (found > 0 && !(a->in_raw && sha256_equal(a->in_raw, hash))) {
        found = chunks_unpack(conn, &chunk, &a->scratch, raw, err);
        if (found == 0)
            found = chunks_compare(buf_span(raw), hash, err);
    }
    if (found < 0)
        return found;
    a->in_raw = hash;
    *id_out = chunk.id;
    hasher_update(a->hasher, raw->data, raw->len);
    a->size_bytes += (int64_t)raw->len;
    return 0;
}

static int assemble(struct conn *conn, const struct spool_partition *p, struct assembly *a,
                    struct buf *raw, struct err *err)
{
    a->hasher = hasher_new();
    buf_init(&a->scratch, CHUNK_PACKED_MAX);
    a->chunk_ids = xcalloc(p->chunk_count, sizeof(*a->chunk_ids));
    for (size_t i = 0; i < p->chunk_count; i++) {
        int code = add_chunk(conn, &p->chunks[i], a, &a->chunk_ids[i], raw, err);
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

int images_put(struct conn *conn, const struct spool_partition *p, struct buf *raw, struct err *err)
{
    struct db *db = conn->backups;
    int64_t size = 0;
    int found = image_size(db, &p->sha256, &size, err);
    if (found < 0)
        return found;
    if (found > 0 && size != p->size_bytes)
        return err_set(err, ERR_VERIFY, "an image with this hash has another size");
    if (found > 0)
        return 0;
    AUTO(assembly_deinit) struct assembly a = {0};
    int code = assemble(conn, p, &a, raw, err);
    if (code < 0)
        return code;
    int64_t id = insert_image(db, p, err);
    return id < 0 ? (int)id : insert_places(db, id, a.chunk_ids, p->chunk_count, err);
}

/* ---- images out ---- */

static const char pieces_sql[] =
    "SELECT " CHUNKS_COLUMNS " FROM image i JOIN image_chunk p ON p.image_id = i.id"
    " JOIN chunk c ON c.id = p.chunk_id WHERE i.sha256 = :sha256 ORDER BY p.seq";

/* Where an image goes, piece by piece. */
struct output {
    struct hasher *hasher;
    struct buf scratch, raw; /* an opened seal; a piece */
    int fd;                  /* -1: nowhere */
    int64_t at;
};

static void output_init(struct output *o, int fd)
{
    *o = (struct output){.hasher = hasher_new(), .fd = fd};
    buf_init(&o->scratch, CHUNK_PACKED_MAX);
    buf_init(&o->raw, SPOOL_CHUNK_MAX_BYTES);
}

static void output_deinit(struct output *o)
{
    hasher_free(&o->hasher);
    buf_deinit(&o->scratch);
    buf_deinit(&o->raw);
}

static bool all_zero(struct span s)
{
    return s.len == 0 || (s.data[0] == 0 && memcmp(s.data, s.data + 1, s.len - 1) == 0);
}

static int write_piece(struct conn *conn, sqlite3_stmt *stmt, struct output *o, struct err *err)
{
    struct stored_chunk chunk;
    int code = chunks_row(stmt, &chunk, err);
    if (code == 0)
        code = chunks_unpack(conn, &chunk, &o->scratch, &o->raw, err);
    if (code < 0)
        return code;
    struct span raw = buf_span(&o->raw);
    struct err why = {0};
    hasher_update(o->hasher, raw.data, raw.len);
    if (o->fd >= 0 && !all_zero(raw) && io_pwrite(o->fd, raw.data, raw.len, o->at, &why) < 0)
        return err_set(err, ERR_DISK, "the station's disk: %s", why.text);
    o->at += (int64_t)raw.len;
    return 0;
}

int images_write(struct conn *conn, const struct sha256 *sha256, int64_t size_bytes, int fd,
                 struct err *err)
{
    AUTO(output_deinit) struct output o;
    output_init(&o, fd);
    AUTO(db_reset) sqlite3_stmt *stmt = NULL;
    int more = find(conn->backups, pieces_sql, sha256, &stmt, err);
    for (; more > 0; more = db_step(conn->backups, stmt, err)) {
        int code = write_piece(conn, stmt, &o, err);
        if (code < 0)
            return code;
    }
    if (more < 0)
        return more;
    struct sha256 hash = hasher_finish(o.hasher);
    if (o.at != size_bytes || !sha256_equal(&hash, sha256))
        return err_set(err, ERR_VERIFY, "the stored image is damaged");
    if (fd >= 0 && ftruncate(fd, size_bytes) < 0)
        return err_sys(err, ERR_DISK, "the station's disk: size of a temporary file");
    return 0;
}
