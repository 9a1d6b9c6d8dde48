/* Reading and writing flash through DA2. */
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "usb/base/mem.h"
#include "usb/proto/da.h"
#include "usb/proto/da_packet.h"

/* What a sink gets at once: stays in the cache between bus and hash. */
#define PIECE_BYTES 0x8000
/* Two of these are the phone's own packet length. */
#define WRITE_CHUNK_MAX 0x100000

/* ---- checks before a command ------------------------------------------------------------- */

static int section_check(struct da *da, enum xflash_section section, uint64_t address,
                         uint64_t length, struct err *err)
{
    struct xflash_emmc_info info;
    int rc = link_check(da->link, err);
    if (rc == 0 && !da->in_da2)
        rc = err_set(err, ERR_CONFLICT, "DA2 is not running");
    if (rc == 0 && da->emmc.type == 0)
        rc = da_get_emmc_info(da, &info, err);
    if (rc < 0)
        return rc;
    uint64_t size = xflash_section_bytes(&da->emmc, section);
    if (size == 0)
        return err_set(err, ERR_INPUT, "section %d is not one that is read or written",
                       (int)section);
    if (length == 0 || address % XFLASH_BLOCK_BYTES || length % XFLASH_BLOCK_BYTES ||
        address > size || length > size - address)
        return err_set(err, ERR_INPUT, "range %#llx + %#llx in a section of %#llx bytes",
                       (unsigned long long)address, (unsigned long long)length,
                       (unsigned long long)size);
    return 0;
}

static int name_check(struct da *da, const char *name, struct err *err)
{
    char ignored[XFLASH_NAME_MAX + 1];
    int rc = link_check(da->link, err);
    if (rc == 0 && !da->in_da2)
        rc = err_set(err, ERR_CONFLICT, "DA2 is not running");
    if (rc == 0 && (!name[0] || xflash_name_decode(span_of(name, strlen(name)), ignored, err) < 0))
        rc = err_set(err, ERR_INPUT, "'%.80s' is no partition name", name);
    return rc;
}

static uint8_t *buffer(struct da *da)
{
    if (!da->buffer)
        da->buffer = xcalloc(2, WRITE_CHUNK_MAX);
    return da->buffer;
}

static int range_send(struct da *da, enum xflash_command code, enum xflash_section section,
                      uint64_t address, uint64_t length, struct err *err)
{
    const struct xflash_range range = {XFLASH_STORAGE_EMMC, (uint32_t)section, address, length};
    AUTO(buf_deinit) struct buf block;
    buf_init(&block, XFLASH_RANGE_BYTES);
    xflash_range_encode(&range, &block);
    int rc = da_command(da, code, err);
    if (rc == 0)
        rc = da_packet_write(da, block.data, block.len, err);
    return rc < 0 ? rc : da_status_read(da, DA_REPLY_MS, xflash_command_find(code)->name, err);
}

/* ---- reading ----------------------------------------------------------------------------- */

struct reading {
    struct da *da;
    link_sink_fn *sink;
    void *arg;
    uint64_t done, total;
    int stop_code; /* what the sink said; the rest of the chunk is dropped */
    struct err stop;
};

static void piece_give(struct reading *r, const uint8_t *piece, size_t len)
{
    if (r->stop_code == 0)
        r->stop_code = r->sink(r->arg, piece, len, &r->stop);
    r->done += len;
    link_progress(r->da->link, r->done, r->total);
}

/* One data packet and its acknowledgement, which goes out before the sink has seen the last piece:
 * the phone fetches the next chunk meanwhile. */
static int chunk_read(struct reading *r, struct err *err)
{
    struct da *da = r->da;
    uint8_t *piece = buffer(da);
    uint32_t left = 0;
    size_t max = (size_t)MIN_OF(r->total - r->done, (uint64_t)XFLASH_PAYLOAD_MAX);
    int rc = da_header_read(da, max, DA_READ_CHUNK_MS, &left, err);
    if (rc == 0 && left == 0)
        rc = err_set(err, ERR_PROTOCOL, "a chunk without data");
    while (rc == 0 && left) {
        size_t n = MIN_OF(left, (uint32_t)PIECE_BYTES);
        rc = link_read(da->link, piece, n, DA_READ_CHUNK_MS, err);
        if (rc < 0)
            break;
        left -= (uint32_t)n;
        if (left == 0)
            rc = da_word_write(da, r->stop_code ? XFLASH_ABORT : XFLASH_OK, err);
        bool aborted = left == 0 && r->stop_code;
        if (rc == 0)
            piece_give(r, piece, n);
        if (rc == 0 && aborted)
            return 1;
    }
    return rc < 0 ? link_lost(da->link, "reading flash", err) : 0;
}

/* A storage error stands in the place of a chunk status and comes again as the final one. */
static int read_failed(struct reading *r, uint32_t status, struct err *err)
{
    uint32_t final = 0;
    int rc = da_status_fail(r->da, status, "reading flash", err);
    if (rc == ERR_DEAD)
        return rc;
    struct err second;
    if (da_word_read(r->da, &final, DA_SECOND_STATUS_MS, "second status", &second) < 0)
        *err = second; /* a word that comes later would be taken for another's answer */
    return err->code;
}

/* Chunk status, data, acknowledgement until all is there; then the final status. */
static int chunks_read(struct reading *r, struct err *err)
{
    uint32_t status = 0;
    int rc = 0;
    while (rc == 0 && r->done < r->total) {
        rc = da_word_read(r->da, &status, DA_READ_CHUNK_MS, "chunk status", err);
        if (rc == 0 && status != XFLASH_OK)
            return read_failed(r, status, err);
        if (rc == 0)
            rc = chunk_read(r, err);
    }
    if (rc < 0)
        return rc;
    rc = da_word_read(r->da, &status, DA_READ_CHUNK_MS, "final status", err);
    if (rc < 0)
        return rc;
    if (r->stop_code) {
        *err = r->stop;
        return r->stop_code;
    }
    return status == XFLASH_OK ? 0 : da_status_fail(r->da, status, "reading flash", err);
}

int da_read(struct da *da, enum xflash_section section, uint64_t address, uint64_t length_bytes,
            link_sink_fn *sink, void *arg, struct err *err)
{
    struct err local;
    err = err ? err : &local;
    struct reading r = {.da = da, .sink = sink, .arg = arg, .total = length_bytes};
    int rc = section_check(da, section, address, length_bytes, err);
    if (rc == 0)
        rc = range_send(da, XFLASH_READ_DATA, section, address, length_bytes, err);
    return rc < 0 ? rc : chunks_read(&r, err);
}

/* A name that the phone does not know is answered by silence, and its loop goes on. */
static int upload_silence(struct da *da, const char *name, struct err *err)
{
    char speed[DA_TEXT_BYTES];
    int rc = da_get_text(da, XFLASH_GET_USB_SPEED, speed, err);
    return rc < 0 ? rc : err_set(err, ERR_NOT_FOUND, "the phone has no partition '%s'", name);
}

/* The status behind the name, by hand because its absence has a meaning. */
static int upload_status(struct da *da, const char *name, struct err *err)
{
    uint8_t raw[4];
    uint32_t length = 0, status = 0;
    int rc = da_header_read(da, sizeof(raw), DA_UPLOAD_NAME_MS, &length, err);
    if (rc == ERR_TIMEOUT)
        return upload_silence(da, name, err);
    if (rc == 0)
        rc = link_read(da->link, raw, length, DA_REPLY_MS, err);
    if (rc == 0)
        rc = xflash_word_decode(span_of(raw, length), &status, err);
    if (rc < 0)
        return link_lost(da->link, "UPLOAD", err);
    return status == XFLASH_OK ? 0 : da_status_fail(da, status, "UPLOAD", err);
}

int da_upload(struct da *da, const char *name, uint64_t size_bytes, link_sink_fn *sink, void *arg,
              struct err *err)
{
    struct err local;
    err = err ? err : &local;
    struct reading r = {.da = da, .sink = sink, .arg = arg};
    AUTO(buf_deinit) struct buf reply;
    buf_init(&reply, 8);
    int rc = name_check(da, name, err);
    if (rc == 0)
        rc = da_command(da, XFLASH_UPLOAD, err);
    if (rc == 0)
        rc = da_packet_write(da, name, strlen(name), err);
    if (rc == 0)
        rc = upload_status(da, name, err);
    if (rc == 0)
        rc = da_packet_read(da, &reply, DA_REPLY_MS, "size of the partition", err);
    if (rc == 0 && reply.len != 8) {
        err_set(err, ERR_PROTOCOL, "size of the partition in %zu bytes", reply.len);
        rc = link_lost(da->link, "UPLOAD", err);
    }
    if (rc < 0)
        return rc;
    r.total = get_le64(reply.data);
    if (r.total != size_bytes) { /* the phone sends on: abort at the first acknowledgement */
        r.stop_code = err_set(&r.stop, ERR_MISMATCH,
                              "partition '%s' has %llu bytes on the phone, %llu in the table", name,
                              (unsigned long long)r.total, (unsigned long long)size_bytes);
    }
    return chunks_read(&r, err);
}

/* ---- writing ----------------------------------------------------------------------------- */

struct writing {
    struct da *da;
    link_source_fn *source;
    void *arg;
    uint64_t done, total; /* sent; and in all */
    size_t chunk_max;
    int stop_code; /* what the source said */
    struct err stop;
};

static size_t chunk_next(const struct writing *w)
{
    return (size_t)MIN_OF(w->total - w->done, (uint64_t)w->chunk_max);
}

static void chunk_fill(struct writing *w, uint8_t *chunk)
{
    size_t n = chunk_next(w);
    if (n && w->stop_code == 0)
        w->stop_code = w->source(w->arg, chunk, n, &w->stop);
}

/* In the place of the host status: the only other word that is allowed there. One status answers.
 */
static int write_cancel(struct writing *w, struct err *err)
{
    uint32_t status = 0;
    int rc = da_word_write(w->da, XFLASH_ABORT, err);
    if (rc == 0)
        rc = da_word_read(w->da, &status, DA_WRITE_FINAL_MS, "cancelling a write", err);
    if (rc < 0)
        return rc;
    *err = w->stop;
    return w->stop_code;
}

static int chunk_send(struct writing *w, const uint8_t *chunk, size_t n, struct err *err)
{
    int rc = da_word_write(w->da, XFLASH_OK, err);
    if (rc == 0)
        rc = da_word_write(w->da, xflash_checksum(span_of(chunk, n)), err);
    return rc < 0 ? rc : da_packet_write(w->da, chunk, n, err);
}

/* After a failing chunk status the final one follows, unless the framing broke. INSUFFICIENT_BUFFER is how an agent of
 * 2017 takes another host status than 0: it has left the write and reads sum and data as commands. */
static int write_failed(struct writing *w, uint32_t status, struct err *err)
{
    uint32_t final = 0;
    if (status == XFLASH_INSUFFICIENT_BUFFER) {
        err_set(err, ERR_PROTOCOL, "status %08x: the phone does not take this for a write", status);
        return link_lost(w->da->link, "writing flash", err);
    }
    int rc = da_status_fail(w->da, status, "writing flash", err);
    if (rc == ERR_DEAD)
        return rc;
    struct err lost;
    if (da_word_read(w->da, &final, DA_WRITE_FINAL_MS, "final status", &lost) < 0) {
        *err = lost;
        return lost.code;
    }
    if (xflash_status_failed(final)) /* the word that counts */
        return da_status_fail(w->da, final, "writing flash", err);
    return rc;
}

/* Chunks alternate between the halves of the buffer: while the phone takes one, the source fills
 * the other. */
static int chunks_write(struct writing *w, struct err *err)
{
    struct da *da = w->da;
    uint8_t *chunk = buffer(da), *other = chunk + WRITE_CHUNK_MAX;
    uint32_t status = 0;
    int rc = 0;
    chunk_fill(w, chunk);
    while (w->done < w->total) {
        if (w->stop_code)
            return write_cancel(w, err);
        size_t n = chunk_next(w);
        rc = chunk_send(w, chunk, n, err);
        if (rc < 0)
            return rc;
        w->done += n;
        chunk_fill(w, other);
        rc = da_word_read(da, &status, DA_WRITE_CHUNK_MS, "chunk status", err);
        if (rc < 0)
            return rc;
        if (status != XFLASH_OK)
            return write_failed(w, status, err);
        link_progress(da->link, w->done, w->total);
        uint8_t *swap = chunk;
        chunk = other;
        other = swap;
    }
    return da_status_read(da, DA_WRITE_FINAL_MS, "writing flash", err);
}

static int writing_init(struct writing *w, struct da *da, struct err *err)
{
    int rc = 0;
    if (da->packet.write_bytes == 0)
        rc = da_get_packet_length(da, &da->packet, err);
    size_t max = MIN_OF(da->packet.write_bytes, (uint32_t)WRITE_CHUNK_MAX);
    if (da->chunk_max_bytes)
        max = MIN_OF(max, (size_t)da->chunk_max_bytes);
    w->chunk_max = max > 1 ? max & ~(size_t)1 : max; /* even: then all checksums agree */
    return rc;
}

int da_write(struct da *da, enum xflash_section section, uint64_t address, uint64_t length_bytes,
             link_source_fn *source, void *arg, struct err *err)
{
    struct err local;
    err = err ? err : &local;
    struct writing w = {.da = da, .source = source, .arg = arg, .total = length_bytes};
    int rc = section_check(da, section, address, length_bytes, err);
    if (rc == 0)
        rc = writing_init(&w, da, err);
    if (rc == 0)
        rc = range_send(da, XFLASH_WRITE_DATA, section, address, length_bytes, err);
    return rc < 0 ? rc : chunks_write(&w, err);
}

/* The agent puts a header before a preloader and must have it whole for that. */
static bool in_one_chunk(const char *name)
{
    return strcasecmp(name, "preloader") == 0 || strcasecmp(name, "preloader_backup") == 0;
}

static int download_check(const char *name, uint64_t partition_bytes, uint64_t length_bytes,
                          struct err *err)
{
    if (length_bytes == 0 || length_bytes > partition_bytes)
        return err_set(err, ERR_INPUT, "%llu bytes for partition '%s' of %llu",
                       (unsigned long long)length_bytes, name, (unsigned long long)partition_bytes);
    if (length_bytes % 2) /* agents add up an odd chunk in their own way */
        return err_set(err, ERR_INPUT, "%llu bytes for partition '%s': pad to an even number",
                       (unsigned long long)length_bytes, name);
    if (in_one_chunk(name) && length_bytes > WRITE_CHUNK_MAX)
        return err_set(err, ERR_LIMIT, "%llu bytes for '%s', which goes in one chunk of at most %d",
                       (unsigned long long)length_bytes, name, WRITE_CHUNK_MAX);
    return 0;
}

int da_download(struct da *da, const char *name, uint64_t partition_bytes, uint64_t length_bytes,
                link_source_fn *source, void *arg, struct err *err)
{
    struct err local;
    err = err ? err : &local;
    struct writing w = {.da = da, .source = source, .arg = arg, .total = length_bytes};
    uint8_t length[8];
    put_le64(length, length_bytes);
    int rc = name_check(da, name, err);
    if (rc == 0)
        rc = download_check(name, partition_bytes, length_bytes, err);
    if (rc == 0)
        rc = writing_init(&w, da, err);
    if (rc == 0)
        rc = da_command(da, XFLASH_DOWNLOAD, err);
    if (rc == 0)
        rc = da_packet_write(da, name, strlen(name), err);
    if (rc == 0)
        rc = da_packet_write(da, length, sizeof(length), err);
    if (rc == 0)
        rc = da_status_read(da, DA_REPLY_MS, "DOWNLOAD", err);
    return rc < 0 ? rc : chunks_write(&w, err);
}
