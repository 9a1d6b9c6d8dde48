/* A worker's spool into the databases, and images out of them. */
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "server/store/backups.h"
#include "server/store/images.h"
#include "server/store/resources.h"
#include "usb/base/mem.h"

enum {
    COMMIT_BYTES = 16 << 20, /* of packed chunks in one transaction: bounds the WAL */
    RECORDS_MAX = 10000,     /* steps and notes of one spool */
};

struct ingest {
    struct conn *conn;
    struct db *db; /* the connection's backups.db */
    struct task *task;
    struct err *err;
    struct spool_reader reader;
    struct images_in images;
    int64_t from_offset;   /* chunks and notes before it were taken in earlier */
    bool again;            /* chunks and images are all taken once more */
    int64_t chunk_count;   /* met from there on */
    int64_t pending_bytes; /* not committed yet */
    json_t *partitions;    /* name: row of its manifest, without chunks */
    json_t *records, *manifests;
};

static void ingest_deinit(struct ingest *in)
{
    spool_reader_deinit(&in->reader);
    images_in_deinit(&in->images);
    json_decref(in->partitions);
    json_decref(in->records);
    json_decref(in->manifests);
}

/* ---- records ---- */

static int take_chunk(struct ingest *in, const struct spool_record *record)
{
    struct spool_chunk chunk;
    if (record->offset < in->from_offset && !in->again)
        return 0;
    int code = spool_chunk_decode(record->payload, &chunk, in->err);
    if (code == 0)
        code = images_put_chunk(&in->images, &chunk, in->err);
    if (code < 0)
        return code;
    in->chunk_count++;
    in->pending_bytes += code > 0 ? (int64_t)chunk.zstd.len : 0;
    if (in->pending_bytes < COMMIT_BYTES)
        return 0;
    in->pending_bytes = 0;
    return db_exec(in->db, "COMMIT; BEGIN IMMEDIATE", in->err);
}

static json_t *partition_row(const struct spool_partition *p)
{
    char hash[SHA256_HEX_BYTES];
    sha256_hex(&p->sha256, hash);
    return json_pack("{s:s, s:s, s:I, s:I, s:s, s:s, s:s}", "name", p->name, "area", p->area,
                     "offset", (json_int_t)p->offset_bytes, "size", (json_int_t)p->size_bytes,
                     "sha256", hash, "plausible", spool_plausible_name(p->plausible), "reason",
                     p->reason);
}

static int take_partition(struct ingest *in, const struct spool_record *record)
{
    AUTO(spool_partition_deinit) struct spool_partition p = {0};
    int code = spool_partition_decode(record->payload, &p, in->err);
    if (code == 0 && (record->offset >= in->from_offset || in->again))
        code = images_put(&in->images, &p, in->err);
    if (code < 0)
        return err_in(in->err, "partition '%s'", p.name);
    json_object_set_new(in->partitions, p.name, partition_row(&p));
    return 0;
}

/* The row of a member of the backup; borrowed. Its image is in backups.db, whole. */
static json_t *find_member(struct ingest *in, const struct spool_backup_partition *member)
{
    json_t *row = json_object_get(in->partitions, member->name);
    struct sha256 hash;
    if (!row || !sha256_parse(json_string_value(json_object_get(row, "sha256")), &hash) ||
        !sha256_equal(&hash, &member->sha256)) {
        err_set(in->err, ERR_VERIFY, "the backup names an image of '%s' that is not in the spool",
                member->name);
        return NULL;
    }
    int have =
        images_have(in->db, &hash, json_integer_value(json_object_get(row, "size")), in->err);
    if (have == 0)
        err_set(in->err, ERR_VERIFY, "the image of '%s' is not stored", member->name);
    return have > 0 ? row : NULL;
}

static json_t *text_or_null(const char *text)
{
    return text && *text ? json_string(text) : json_null();
}

static json_t *manifest_args(struct ingest *in, const struct spool_backup *b, struct span payload,
                             json_t *members)
{
    char hex[SHA256_HEX_BYTES];
    struct sha256 hash = sha256_of(payload);
    sha256_hex(&hash, hex);
    json_t *meta = json_object_get(in->task->args, "meta");
    json_t *serial = json_object_get(meta, "serial");
    return json_pack("{s:O, s:O, s:O, s:o, s:s, s:o, s:o, s:b, s:s%, s:s, s:o}", "job_id",
                     json_object_get(meta, "job_id"), "phone_id", json_object_get(meta, "phone_id"),
                     "origin", json_object_get(meta, "origin"), "chip_id", text_or_null(b->chip_id),
                     "key", b->key, "serial",
                     json_is_null(serial) ? text_or_null(b->serial) : json_incref(serial),
                     "verdict", text_or_null(b->verdict), "complete", b->complete, "manifest",
                     payload.data, payload.len, "manifest_sha256", hex, "partitions", members);
}

static int take_members(struct ingest *in, const struct spool_backup *b, struct span payload)
{
    json_t *members = json_array();
    for (size_t i = 0; i < b->partition_count; i++) {
        json_t *row = find_member(in, &b->partitions[i]);
        if (!row) {
            json_decref(members);
            return in->err->code;
        }
        json_array_append_new(members, json_deep_copy(row));
    }
    json_t *manifest = manifest_args(in, b, payload, members);
    return json_array_append_new(in->manifests, manifest) < 0
               ? err_set(in->err, ERR_FORMAT, "the backup's manifest is not UTF-8")
               : 0;
}

static int take_backup(struct ingest *in, const struct spool_record *record)
{
    if (record->offset < in->from_offset)
        return 0;
    if (!json_is_object(json_object_get(in->task->args, "meta")))
        return err_set(in->err, ERR_FORMAT, "a backup in a spool where none was expected");
    AUTO(free_ptr) struct spool_backup *b = xcalloc(1, sizeof(*b));
    int code = spool_backup_decode(record->payload, b, in->err);
    return code < 0 ? code : take_members(in, b, record->payload);
}

static int take_note(struct ingest *in, const struct spool_record *record, const char *type)
{
    json_t *body = NULL;
    if (record->offset < in->from_offset)
        return 0;
    if (json_array_size(in->records) == RECORDS_MAX)
        return err_set(in->err, ERR_FORMAT, "more than %d records", RECORDS_MAX);
    int code = spool_json_decode(record->payload, &body, in->err);
    if (code < 0)
        return code;
    json_array_append_new(in->records, json_pack("{s:s, s:I, s:o}", "type", type, "offset",
                                                 (json_int_t)record->offset, "body", body));
    return 0;
}

static int take(struct ingest *in, const struct spool_record *record)
{
    switch (record->type) {
    case SPOOL_CHUNK:
        return take_chunk(in, record);
    case SPOOL_PARTITION:
        return take_partition(in, record);
    case SPOOL_BACKUP:
        return take_backup(in, record);
    case SPOOL_STEP_INTENT:
        return take_note(in, record, "step_intent");
    case SPOOL_STEP_RESULT:
        return take_note(in, record, "step_result");
    case SPOOL_NOTE:
        return take_note(in, record, "note");
    case SPOOL_EXTENT:
        return take_note(in, record, "extent");
    case SPOOL_DONE:
        return take_note(in, record, "done");
    }
    return 0; /* spool_next lets no other type pass */
}

/* ---- the whole file ---- */

static int take_all(struct ingest *in)
{
    struct spool_record record;
    int more;
    /* From the start: a manifest behind from_offset may name partitions before it. */
    int code = spool_reader_open(&in->reader, in->task->fd, 0, in->err);
    if (code < 0)
        return code;
    while ((more = spool_next(&in->reader, &record, in->err)) > 0) {
        code = take(in, &record);
        if (code < 0)
            return err_in(in->err, "spool at %" PRId64, record.offset);
    }
    return more;
}

/* Whole chunks before a fault of the spool are kept; after one of our disk nothing is. */
static int finish_transaction(struct ingest *in, int code)
{
    struct err ignored;
    if (code >= 0)
        code = db_exec(in->db, "COMMIT", in->err);
    else if (code != ERR_DISK && db_in_transaction(in->db))
        db_exec(in->db, "COMMIT", &ignored);
    if (db_in_transaction(in->db))
        db_exec(in->db, "ROLLBACK", &ignored);
    return code;
}

/* What was taken in before and is not named by a manifest so far may have been swept away meanwhile; the spool
 * still has it. */
static int take_all_again(struct ingest *in)
{
    spool_reader_deinit(&in->reader);
    json_object_clear(in->partitions);
    json_array_clear(in->records);
    json_array_clear(in->manifests);
    json_object_clear(in->images.whole);
    err_clear(in->err);
    in->chunk_count = in->pending_bytes = 0;
    in->again = true;
    return take_all(in);
}

static void prepare_answer(struct ingest *in)
{
    struct task *task = in->task;
    json_object_set(task->args, "manifests", in->manifests);
    task->body =
        json_pack("{s:I, s:b, s:b, s:I, s:O, s:[]}", "valid_end", (json_int_t)in->reader.valid_end,
                  "torn", in->reader.torn, "spoilt", in->reader.spoilt, "chunks",
                  (json_int_t)in->chunk_count, "records", in->records, "backups");
    if (json_array_size(in->manifests) == 0)
        task->then = NULL;
}

static int ingest(struct conn *conn, struct task *task)
{
    AUTO(ingest_deinit)
    struct ingest in = {.conn = conn, .db = conn->backups, .task = task, .err = &task->err};
    in.from_offset = arg_int(task, "from_offset");
    in.partitions = json_object();
    in.records = json_array();
    in.manifests = json_array();
    images_in_init(&in.images, conn);
    int code = db_exec(in.db, "BEGIN IMMEDIATE", in.err);
    if (code == 0)
        code = take_all(&in);
    if (code == ERR_VERIFY && in.from_offset > 0 && db_in_transaction(in.db))
        code = take_all_again(&in);
    code = finish_transaction(&in, code);
    if (in.images.repaired > 0)
        backups_verify_damaged(conn);
    if (code < 0)
        return code;
    prepare_answer(&in);
    return 0;
}

void store_spool_ingest(struct store *s, int fd, int64_t from_offset,
                        const struct store_backup_meta *meta, store_done_fn *done, void *arg)
{
    json_t *meta_json = json_null();
    if (meta)
        meta_json =
            json_pack("{s:o, s:o, s:s, s:s?}", "job_id", id_or_null(meta->job_id), "phone_id",
                      id_or_null(meta->phone_id), "origin", meta->origin, "serial", meta->serial);
    json_t *args =
        json_pack("{s:I, s:o}", "from_offset", (json_int_t)from_offset, "meta", meta_json);
    struct task *task = task_new("spool_ingest", ingest, args, done, arg);
    task->then = backups_commit;
    task->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (task->fd < 0)
        task_refuse(s, task, ERR_INTERNAL, "no descriptor left for a spool");
    else
        lane_submit(s, LANE_INGEST, task);
}

/* ---- images out ---- */

/* A name that is gone at once; O_TMPFILE is not known to every file system that containers use. */
static int open_unnamed(const char *dir, struct err *err)
{
    AUTO(free_ptr) char *path = xasprintf("%s/image-XXXXXX", dir);
    int fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0)
        return err_sys(err, ERR_DISK, "the station's disk: temporary file in '%s'", dir);
    unlink(path);
    return fd;
}

/* Workers get it: they shall read it, not change it. */
static int reopen_read_only(int fd, struct err *err)
{
    char path[40];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    int again = open(path, O_RDONLY | O_CLOEXEC);
    return again < 0 ? err_sys(err, ERR_DISK, "open a temporary file again") : again;
}

static const char image_sql[] = "SELECT size_bytes AS size, sha256 FROM backup_partition"
                                " WHERE backup_id = :backup_id AND name = :name";

static int open_image(struct conn *conn, struct task *task)
{
    json_auto_t *row = NULL;
    int found = db_row(conn->station, image_sql, task->args, &row, &task->err);
    if (found < 0)
        return found;
    if (found == 0)
        return err_set(&task->err, ERR_NOT_FOUND, "backup %" PRId64 " has no partition '%s'",
                       arg_int(task, "backup_id"), arg_text(task, "name"));
    struct sha256 hash;
    sha256_parse(json_string_value(json_object_get(row, "sha256")), &hash);
    task->size_bytes = json_integer_value(json_object_get(row, "size"));
    AUTO(fd_close) int fd = open_unnamed(conn->data_dir, &task->err);
    if (fd < 0)
        return fd;
    int code = images_write(conn, &hash, task->size_bytes, fd, &task->err);
    if (code < 0)
        return code;
    task->fd = reopen_read_only(fd, &task->err);
    return task->fd < 0 ? task->fd : 0;
}

void store_backup_open(struct store *s, int64_t backup_id, const char *partition, store_fd_fn *done,
                       void *arg)
{
    json_t *args = json_pack("{s:I, s:s}", "backup_id", (json_int_t)backup_id, "name", partition);
    struct task *task = task_new("backup_open", open_image, args, NULL, arg);
    task->fd_done = done;
    lane_submit(s, LANE_IMAGE, task);
}
