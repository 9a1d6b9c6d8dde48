#include "usb/wire/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "usb/base/clock.h"
#include "usb/base/io.h"

static const uint8_t magic[8] = {'F', 'R', 'S', 'P', 'O', 'O', 'L', '\n'};

/* The largest payload of a type; 0 for what is no type. */
static size_t payload_max(unsigned type)
{
    switch (type) {
    case SPOOL_CHUNK:
        return SPOOL_CHUNK_PAYLOAD_MAX_BYTES;
    case SPOOL_PARTITION:
    case SPOOL_BACKUP:
    case SPOOL_STEP_INTENT:
    case SPOOL_STEP_RESULT:
    case SPOOL_NOTE:
    case SPOOL_EXTENT:
    case SPOOL_DONE:
        return SPOOL_JSON_MAX_BYTES;
    default:
        return 0;
    }
}

static uint32_t record_crc(const uint8_t head[8], struct span payload)
{
    return crc32_of(crc32_of(0, span_of(head, 8)), payload);
}

/* ---- writing ---- */

static int put(struct spool_writer *w, struct span bytes, int64_t at, struct err *err)
{
    struct err why = {0};
    if (io_pwrite(w->fd, bytes.data, bytes.len, at, &why) < 0)
        return err_set(err, ERR_DISK, "spool: %s", why.text);
    return 0;
}

/* What a failed write left behind must not stand in front of the next record. */
static int take_back(struct spool_writer *w, int code)
{
    if (code < 0 && ftruncate(w->fd, w->end) < 0)
        w->dead = true;
    return code;
}

static int put_header(struct spool_writer *w, int64_t job_id, struct err *err)
{
    uint8_t raw[SPOOL_HEADER_BYTES];
    memcpy(raw, magic, sizeof(magic));
    put_le32(raw + 8, SPOOL_VERSION);
    put_le64(raw + 12, (uint64_t)job_id);
    put_le64(raw + 20, (uint64_t)clock_utc_ms());
    put_le32(raw + 28, crc32_of(0, span_of(raw, 28)));
    int code = take_back(w, put(w, span_of(raw, sizeof(raw)), 0, err));
    if (code == 0)
        w->end = SPOOL_HEADER_BYTES;
    return code;
}

/* Goes behind the last whole record. */
static int continue_file(struct spool_writer *w, struct spool_reader *r, int64_t job_id,
                         struct err *err)
{
    struct spool_record record;
    int more;
    if (r->job_id != job_id)
        return err_set(err, ERR_FORMAT, "spool of job %lld, not of job %lld", (long long)r->job_id,
                       (long long)job_id);
    while ((more = spool_next(r, &record, err)) > 0)
        ;
    if (more < 0)
        return more;
    w->end = r->valid_end;
    if (r->torn && ftruncate(w->fd, w->end) < 0)
        return err_sys(err, ERR_DISK, "spool: cut off the torn tail");
    return 0;
}

int spool_writer_open(struct spool_writer *w, int fd, int64_t job_id, struct err *err)
{
    *w = (struct spool_writer){.fd = fd};
    struct spool_reader r;
    int code = spool_reader_open(&r, fd, 0, err);
    if (code < 0)
        return code;
    code = r.valid_end == 0 ? put_header(w, job_id, err) : continue_file(w, &r, job_id, err);
    spool_reader_deinit(&r);
    return code;
}

/* A record whose payload comes in two parts. */
static int append(struct spool_writer *w, enum spool_type type, struct span first, struct span rest,
                  struct err *err)
{
    size_t len = first.len + rest.len;
    if (w->dead)
        return err_set(err, ERR_DISK, "spool: an earlier write failed and could not be taken back");
    if (len > payload_max(type))
        return err_set(err, ERR_LIMIT, "spool: record of %zu bytes", len);
    if (w->end + SPOOL_RECORD_BYTES + (int64_t)len > SPOOL_FILE_MAX_BYTES)
        return err_set(err, ERR_LIMIT, "spool: larger than %lld bytes",
                       (long long)SPOOL_FILE_MAX_BYTES);
    uint8_t head[SPOOL_RECORD_BYTES];
    put_le16(head, (uint16_t)type);
    put_le16(head + 2, 0);
    put_le32(head + 4, (uint32_t)len);
    put_le32(head + 8, crc32_of(record_crc(head, first), rest));
    int64_t at = w->end;
    int code = put(w, span_of(head, sizeof(head)), at, err);
    if (code == 0)
        code = put(w, first, at + SPOOL_RECORD_BYTES, err);
    if (code == 0)
        code = put(w, rest, at + SPOOL_RECORD_BYTES + (int64_t)first.len, err);
    if (code == 0)
        w->end += SPOOL_RECORD_BYTES + (int64_t)len;
    return take_back(w, code);
}

int spool_append(struct spool_writer *w, enum spool_type type, struct span payload, struct err *err)
{
    return append(w, type, payload, (struct span){0}, err);
}

int spool_append_chunk(struct spool_writer *w, const struct sha256 *sha256, uint32_t raw_bytes,
                       struct span zstd, struct err *err)
{
    uint8_t head[SPOOL_CHUNK_HEAD_BYTES];
    if (raw_bytes == 0 || raw_bytes > SPOOL_CHUNK_MAX_BYTES)
        return err_set(err, ERR_LIMIT, "spool: chunk of %u bytes", raw_bytes);
    memcpy(head, sha256->bytes, SHA256_BYTES);
    put_le32(head + SHA256_BYTES, raw_bytes);
    return append(w, SPOOL_CHUNK, span_of(head, sizeof(head)), zstd, err);
}

/* The same document gives the same bytes: keys are sorted. */
static int append_json(struct spool_writer *w, enum spool_type type, const json_t *object,
                       struct sha256 *hash_out, struct err *err)
{
    char *text = json_dumps(object, JSON_COMPACT | JSON_SORT_KEYS);
    if (!text)
        return err_set(err, ERR_INTERNAL, "spool: a record that is no JSON object");
    struct span payload = span_of(text, strlen(text));
    if (hash_out)
        *hash_out = sha256_of(payload);
    int code = spool_append(w, type, payload, err);
    free(text);
    return code;
}

int spool_append_json(struct spool_writer *w, enum spool_type type, const json_t *object,
                      struct err *err)
{
    return append_json(w, type, object, NULL, err);
}

int spool_sync(struct spool_writer *w, struct err *err)
{
    if (fdatasync(w->fd) < 0)
        return err_sys(err, ERR_DISK, "spool: sync");
    return 0;
}

/* ---- reading ---- */

static int read_header(struct spool_reader *r, struct err *err)
{
    uint8_t raw[SPOOL_HEADER_BYTES];
    int code = io_pread(r->fd, raw, sizeof(raw), 0, err);
    if (code < 0)
        return code;
    if (memcmp(raw, magic, sizeof(magic)) != 0 ||
        get_le32(raw + 28) != crc32_of(0, span_of(raw, 28)))
        return err_set(err, ERR_FORMAT, "not a spool file");
    if (get_le32(raw + 8) != SPOOL_VERSION)
        return err_set(err, ERR_FORMAT, "spool version %u, this program reads %d",
                       get_le32(raw + 8), SPOOL_VERSION);
    r->job_id = (int64_t)get_le64(raw + 12);
    r->created_ms = (int64_t)get_le64(raw + 20);
    r->valid_end = SPOOL_HEADER_BYTES;
    return 0;
}

int spool_reader_open(struct spool_reader *r, int fd, int64_t from_offset, struct err *err)
{
    *r = (struct spool_reader){.fd = fd};
    buf_init(&r->buf, SPOOL_CHUNK_PAYLOAD_MAX_BYTES);
    int64_t size = io_size(fd, err);
    if (size < 0)
        return (int)size;
    if (size < SPOOL_HEADER_BYTES) { /* cut off while it was made: nothing is in it yet */
        r->torn = size > 0;
        return 0;
    }
    int code = read_header(r, err);
    if (code == 0 && from_offset > r->valid_end)
        r->valid_end = from_offset;
    return code;
}

void spool_reader_deinit(struct spool_reader *r)
{
    buf_deinit(&r->buf);
}

/* Whether `len` bytes lie at `offset`; 0 and torn when the file ends before. */
static int have(struct spool_reader *r, int64_t offset, size_t len, struct err *err)
{
    int64_t size = io_size(r->fd, err);
    if (size < 0)
        return (int)size;
    r->torn = offset + (int64_t)len > size && size > r->valid_end;
    return offset + (int64_t)len <= size;
}

static int read_payload(struct spool_reader *r, size_t len, struct err *err)
{
    buf_clear(&r->buf);
    uint8_t *to = len ? buf_grow(&r->buf, len) : NULL;
    if (len && !to)
        return err_set(err, ERR_LIMIT, "out of memory for a spool record");
    return io_pread(r->fd, to, len, r->valid_end + SPOOL_RECORD_BYTES, err);
}

static int stop_here(struct spool_reader *r, bool spoilt)
{
    r->torn = true;
    r->spoilt = spoilt;
    return 0;
}

int spool_next(struct spool_reader *r, struct spool_record *out, struct err *err)
{
    uint8_t head[SPOOL_RECORD_BYTES];
    if (r->valid_end < SPOOL_HEADER_BYTES)
        return 0;
    int there = have(r, r->valid_end, sizeof(head), err);
    if (there <= 0)
        return there;
    int code = io_pread(r->fd, head, sizeof(head), r->valid_end, err);
    if (code < 0)
        return code;
    size_t len = get_le32(head + 4);
    if (payload_max(get_le16(head)) == 0 || len > payload_max(get_le16(head)) || get_le16(head + 2))
        return stop_here(r, true);
    there = have(r, r->valid_end + SPOOL_RECORD_BYTES, len, err);
    if (there <= 0)
        return there;
    code = read_payload(r, len, err);
    if (code < 0)
        return code;
    if (record_crc(head, buf_span(&r->buf)) != get_le32(head + 8))
        return stop_here(r,
                         io_size(r->fd, NULL) > r->valid_end + SPOOL_RECORD_BYTES + (int64_t)len);
    *out = (struct spool_record){(enum spool_type)get_le16(head), r->valid_end, buf_span(&r->buf)};
    r->valid_end += SPOOL_RECORD_BYTES + (int64_t)len;
    return 1;
}

int spool_chunk_decode(struct span payload, struct spool_chunk *out, struct err *err)
{
    struct reader in = reader_of(payload);
    struct span hash = rd_bytes(&in, SHA256_BYTES);
    uint32_t raw_bytes = rd_le32(&in);
    if (!reader_ok(&in) || reader_left(&in) == 0 || raw_bytes == 0 ||
        raw_bytes > SPOOL_CHUNK_MAX_BYTES)
        return err_set(err, ERR_FORMAT, "spool: chunk of %u bytes in %zu", raw_bytes, payload.len);
    memcpy(out->sha256.bytes, hash.data, SHA256_BYTES);
    out->raw_bytes = raw_bytes;
    out->zstd = rd_bytes(&in, reader_left(&in));
    return 0;
}

int spool_json_decode(struct span payload, json_t **out, struct err *err)
{
    json_error_t why;
    json_t *object =
        json_loadb((const char *)payload.data, payload.len, JSON_REJECT_DUPLICATES, &why);
    if (!json_is_object(object)) {
        json_decref(object);
        return err_set(err, ERR_FORMAT, "spool: a record is no JSON object");
    }
    *out = object;
    return 0;
}

int spool_manifest_append(struct spool_writer *w, const struct spool_backup *backup,
                          struct sha256 *manifest_out, struct err *err)
{
    json_auto_t *object = spool_backup_encode(backup);
    struct sha256 hash;
    int code = append_json(w, SPOOL_BACKUP, object, &hash, err);
    if (code == 0)
        *manifest_out = hash;
    return code;
}
