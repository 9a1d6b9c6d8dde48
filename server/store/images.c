#include "server/store/images.h"

#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "server/store/chunks.h"
#include "usb/archive/chunk.h"
#include "usb/base/clock.h"
#include "usb/base/io.h"
#include "usb/base/log.h"
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

void images_in_init(struct images_in *in, struct conn *conn)
{
    *in = (struct images_in){.conn = conn, .whole = json_object()};
    buf_init(&in->scratch, CHUNK_PACKED_MAX);
    buf_init(&in->raw, SPOOL_CHUNK_MAX_BYTES);
}

void images_in_deinit(struct images_in *in)
{
    buf_deinit(&in->scratch);
    buf_deinit(&in->raw);
    json_decref(in->whole);
}

static void note_whole(struct images_in *in, const struct sha256 *hash, int64_t id)
{
    char hex[SHA256_HEX_BYTES];
    sha256_hex(hash, hex);
    json_object_set_new_nocheck(in->whole, hex, json_integer(id));
}

/* The chunk's row; 0: it was not compared so far. */
static int64_t whole_id(const struct images_in *in, const struct sha256 *hash)
{
    char hex[SHA256_HEX_BYTES];
    sha256_hex(hash, hex);
    return json_integer_value(json_object_get(in->whole, hex));
}

static void note_repair(struct images_in *in, int64_t id, const char *why)
{
    in->repaired++;
    log_line(LOG_ERROR, "store", NULL,
             "chunk %" PRId64 " of the backups was damaged (%s): the same contents came in again "
             "and are in its place",
             id, why);
}

/* Nobody stores what is not what it says. */
static int check_new(struct images_in *in, const struct spool_chunk *chunk, struct err *err)
{
    buf_clear(&in->raw);
    int code = chunk_decompress(chunk->zstd, chunk->raw_bytes, &in->raw, err);
    return code < 0 ? code : chunks_compare(buf_span(&in->raw), &chunk->sha256, err);
}

static bool is_damage(int code)
{
    return code == ERR_VERIFY || code == ERR_FORMAT;
}

/* 1: whole, its contents in in->raw; 0: not there; ERR_VERIFY, ERR_FORMAT: damaged. */
static int find_whole(struct images_in *in, const struct sha256 *hash, int64_t *id_out,
                      struct err *err)
{
    AUTO(db_reset) sqlite3_stmt *stmt = NULL;
    struct stored_chunk stored;
    int found = chunks_find(in->conn, hash, &stmt, &stored, err);
    if (found <= 0)
        return found;
    *id_out = stored.id;
    int code = chunks_unpack(in->conn, &stored, &in->scratch, &in->raw, err);
    if (code == 0)
        code = chunks_compare(buf_span(&in->raw), hash, err);
    return code < 0 ? code : 1;
}

/* The new row. */
static int64_t put_new(struct images_in *in, const struct spool_chunk *chunk, struct err *err)
{
    int code = check_new(in, chunk, err);
    return code < 0 ? code : chunks_put(in->conn, chunk, err);
}

int images_put_chunk(struct images_in *in, const struct spool_chunk *chunk, struct err *err)
{
    struct err why = {0};
    int64_t id = 0;
    if (whole_id(in, &chunk->sha256))
        return 0;
    int found = find_whole(in, &chunk->sha256, &id, &why);
    if (found < 0 && !is_damage(found)) {
        *err = why;
        return found;
    }
    if (found <= 0)
        id = put_new(in, chunk, err);
    if (id < 0)
        return (int)id;
    note_whole(in, &chunk->sha256, id);
    if (found < 0)
        note_repair(in, id, why.text);
    return found <= 0;
}

/* ---- images in ---- */

struct image_row {
    int64_t id, size_bytes;
};

static int find_image(struct db *db, const struct sha256 *sha256, struct image_row *out,
                      struct err *err)
{
    AUTO(db_reset) sqlite3_stmt *stmt = NULL;
    int found =
        find(db, "SELECT id, size_bytes FROM image WHERE sha256 = :sha256", sha256, &stmt, err);
    if (found > 0)
        *out = (struct image_row){sqlite3_column_int64(stmt, 0), sqlite3_column_int64(stmt, 1)};
    return found;
}

int images_have(struct db *db, const struct sha256 *sha256, int64_t size_bytes, struct err *err)
{
    struct image_row row = {0};
    int found = find_image(db, sha256, &row, err);
    return found > 0 ? row.size_bytes == size_bytes : found;
}

/* What an image is made of, while it is put together. */
struct assembly {
    struct hasher *hasher;
    int64_t *chunk_ids;
    int64_t size_bytes;
    const struct sha256 *in_raw; /* the chunk whose contents are in in->raw: zeros come in rows */
};

static void assembly_deinit(struct assembly *a)
{
    hasher_free(&a->hasher);
    free(a->chunk_ids);
}

static int add_chunk(struct images_in *in, const struct sha256 *hash, struct assembly *a, size_t i,
                     struct err *err)
{
    if (a->in_raw && sha256_equal(a->in_raw, hash)) {
        a->chunk_ids[i] = a->chunk_ids[i - 1];
    } else {
        int found = find_whole(in, hash, &a->chunk_ids[i], err);
        if (found == 0)
            return err_set(err, ERR_VERIFY, "a chunk that it names is missing");
        if (found < 0)
            return is_damage(found) ? err_set(err, ERR_VERIFY, "a chunk that it names is damaged")
                                    : found;
        note_whole(in, hash, a->chunk_ids[i]);
    }
    a->in_raw = hash;
    hasher_update(a->hasher, in->raw.data, in->raw.len);
    a->size_bytes += (int64_t)in->raw.len;
    return 0;
}

static int assemble(struct images_in *in, const struct spool_partition *p, struct assembly *a,
                    struct err *err)
{
    a->hasher = hasher_new();
    a->chunk_ids = xcalloc(p->chunk_count, sizeof(*a->chunk_ids));
    for (size_t i = 0; i < p->chunk_count; i++) {
        int code = add_chunk(in, &p->chunks[i], a, i, err);
        if (code < 0)
            return code;
        if (i + 1 < p->chunk_count && in->raw.len != SPOOL_CHUNK_MAX_BYTES)
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

static const char places_sql[] =
    "SELECT chunk_id FROM image_chunk WHERE image_id = :id ORDER BY seq";

/* 1: the stored image is made of just these chunks, and each of them was compared. */
static int is_stored(struct images_in *in, const struct image_row *row,
                     const struct spool_partition *p, struct err *err)
{
    json_auto_t *key = json_pack("{s:I}", "id", (json_int_t)row->id);
    json_auto_t *ids = json_array();
    int code = db_column(in->conn->backups, places_sql, key, ids, err);
    if (code < 0)
        return code;
    bool same = row->size_bytes == p->size_bytes && json_array_size(ids) == p->chunk_count;
    for (size_t i = 0; same && i < p->chunk_count; i++)
        same = json_integer_value(json_array_get(ids, i)) == whole_id(in, &p->chunks[i]);
    return same;
}

/* The row and its places say what `p` says again: they were damaged, or name chunks that wait for their new seal. */
static int put_right(struct images_in *in, const struct image_row *row,
                     const struct spool_partition *p, const int64_t *chunk_ids, struct err *err)
{
    struct db *db = in->conn->backups;
    json_auto_t *args =
        json_pack("{s:I, s:I}", "id", (json_int_t)row->id, "size", (json_int_t)p->size_bytes);
    in->repaired++;
    int code = db_run(db, "UPDATE image SET size_bytes = :size WHERE id = :id", args, err);
    if (code >= 0)
        code = db_run(db, "DELETE FROM image_chunk WHERE image_id = :id", args, err);
    return code < 0 ? code : insert_places(db, row->id, chunk_ids, p->chunk_count, err);
}

int images_put(struct images_in *in, const struct spool_partition *p, struct err *err)
{
    struct db *db = in->conn->backups;
    struct image_row row = {0};
    int found = find_image(db, &p->sha256, &row, err);
    int same = found > 0 ? is_stored(in, &row, p, err) : found;
    if (same != 0)
        return same < 0 ? same : 0;
    AUTO(assembly_deinit) struct assembly a = {0};
    int code = assemble(in, p, &a, err);
    if (code < 0)
        return code;
    same = found > 0 ? is_stored(in, &row, p, err) : 0;
    if (same != 0)
        return same < 0 ? same : 0;
    if (found > 0)
        return put_right(in, &row, p, a.chunk_ids, err);
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
