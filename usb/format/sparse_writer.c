/* The writer: pieces as README.md, "Android sparse", pieces. A piece is planned first (its size
 * must be announced before its bytes), then emitted, reading the image a second time. */
#include <stdlib.h>

#include "usb/base/mem.h"
#include "usb/format/sparse.h"

enum { CHUNK_RAW = 0xcac1, CHUNK_FILL = 0xcac2, CHUNK_DONT_CARE = 0xcac3, CHUNK_FILL_BYTES = 16 };
enum { READ_BYTES = 1 << 20, RUNS_MAX = 1 << 16 };

struct run {
    uint32_t blocks;
    bool is_fill;
    uint8_t fill[4];
};

struct sparse_writer {
    struct sparse_writer_options options;
    sparse_read_fn *read;
    void *arg;
    uint32_t total_blocks;
    uint32_t first_block, block_count; /* of the planned piece */
    struct run *runs;                  /* of the planned piece, at most RUNS_MAX */
    size_t run_count, run_cap;
    uint8_t *buffer; /* READ_BYTES */
    uint64_t buffer_offset;
    size_t buffer_len;
};

int sparse_writer_new(const struct sparse_writer_options *o, sparse_read_fn *read, void *arg,
                      struct sparse_writer **out, struct err *err)
{
    if (o->block_bytes == 0 || o->block_bytes % 4 || READ_BYTES % o->block_bytes ||
        o->image_bytes % o->block_bytes || o->image_bytes / o->block_bytes > UINT32_MAX)
        return err_set(err, ERR_INPUT, "image of %llu bytes cannot be cut into blocks of %u",
                       (unsigned long long)o->image_bytes, o->block_bytes);
    if (o->image_bytes == 0)
        return err_set(err, ERR_INPUT, "the image is empty");
    if (o->piece_bytes_max / o->block_bytes < 3)
        return err_set(err, ERR_INPUT, "pieces of %llu bytes are too small",
                       (unsigned long long)o->piece_bytes_max);
    struct sparse_writer *w = xcalloc(1, sizeof(*w));
    w->options = *o;
    w->read = read;
    w->arg = arg;
    w->total_blocks = (uint32_t)(o->image_bytes / o->block_bytes);
    w->buffer = xcalloc(1, READ_BYTES);
    *out = w;
    return 0;
}

void sparse_writer_free(struct sparse_writer **w)
{
    if (!*w)
        return;
    free((*w)->runs);
    free((*w)->buffer);
    free(*w);
    *w = NULL;
}

void sparse_writer_rewind(struct sparse_writer *w)
{
    w->first_block = 0;
    w->block_count = 0;
}

/* The bytes of a block, through a read-ahead buffer. */
static int block_at(struct sparse_writer *w, uint32_t block, const uint8_t **out, struct err *err)
{
    uint64_t offset = (uint64_t)block * w->options.block_bytes;
    if (offset < w->buffer_offset ||
        offset + w->options.block_bytes > w->buffer_offset + w->buffer_len) {
        size_t len = (size_t)MIN_OF((uint64_t)READ_BYTES, w->options.image_bytes - offset);
        w->buffer_len = 0;
        int rc = w->read(w->arg, offset, w->buffer, len, err);
        if (rc < 0)
            return rc;
        w->buffer_offset = offset;
        w->buffer_len = len;
    }
    *out = w->buffer + (offset - w->buffer_offset);
    return 0;
}

static bool one_word(const uint8_t *block, size_t len)
{
    return memcmp(block, block + 4, len - 4) == 0;
}

static int run_of(struct sparse_writer *w, uint32_t block, struct run *out, struct err *err)
{
    *out = (struct run){.blocks = 1};
    if (!w->options.fill)
        return 0;
    const uint8_t *data;
    int rc = block_at(w, block, &data, err);
    if (rc < 0)
        return rc;
    if (one_word(data, w->options.block_bytes)) {
        out->is_fill = true;
        memcpy(out->fill, data, 4);
    }
    return 0;
}

static bool continues(const struct sparse_writer *w, const struct run *next)
{
    if (w->run_count == 0)
        return false;
    const struct run *last = &w->runs[w->run_count - 1];
    return last->is_fill == next->is_fill && memcmp(last->fill, next->fill, 4) == 0;
}

static void run_add(struct sparse_writer *w, const struct run *next)
{
    if (w->run_count == w->run_cap) {
        size_t cap = w->run_cap ? w->run_cap * 2 : 64;
        struct run *grown = xcalloc(cap, sizeof(*grown)); /* at most RUNS_MAX: 768 KiB */
        if (w->run_count)
            memcpy(grown, w->runs, w->run_count * sizeof(*grown));
        free(w->runs);
        w->runs = grown;
        w->run_cap = cap;
    }
    w->runs[w->run_count++] = *next;
}

/* What one more block adds to the piece. */
static uint64_t cost_of(const struct sparse_writer *w, const struct run *next)
{
    bool joins = continues(w, next);
    if (next->is_fill)
        return joins ? 0 : CHUNK_FILL_BYTES;
    return w->options.block_bytes + (joins ? 0 : SPARSE_CHUNK_BYTES);
}

int64_t sparse_writer_next(struct sparse_writer *w, struct err *err)
{
    uint32_t first = w->first_block + w->block_count, block = first;
    uint64_t usable = w->options.piece_bytes_max / w->options.block_bytes * w->options.block_bytes;
    uint64_t size = SPARSE_HEADER_BYTES + (first ? SPARSE_CHUNK_BYTES : 0);
    w->run_count = 0;
    for (; block < w->total_blocks; block++) {
        struct run next;
        int rc = run_of(w, block, &next, err);
        if (rc < 0)
            return rc;
        uint64_t more = cost_of(w, &next);
        uint64_t tail = block + 1 < w->total_blocks ? SPARSE_CHUNK_BYTES : 0;
        if (size + more + tail > usable || (w->run_count == RUNS_MAX && !continues(w, &next)))
            break;
        size += more;
        if (continues(w, &next))
            w->runs[w->run_count - 1].blocks++;
        else
            run_add(w, &next);
    }
    w->first_block = first;
    w->block_count = block - first;
    if (w->block_count == 0)
        return 0;
    return (int64_t)(size + (block < w->total_blocks ? SPARSE_CHUNK_BYTES : 0));
}

/* ---- emitting ------------------------------------------------------------------------------- */

static int put_chunk(sparse_put_fn *put, void *arg, uint16_t type, uint32_t blocks, uint32_t body,
                     struct err *err)
{
    uint8_t h[SPARSE_CHUNK_BYTES] = {0};
    put_le16(h, type);
    put_le32(h + 4, blocks);
    put_le32(h + 8, SPARSE_CHUNK_BYTES + body);
    return put(arg, span_of(h, sizeof(h)), err);
}

static int put_header(const struct sparse_writer *w, sparse_put_fn *put, void *arg, struct err *err)
{
    uint32_t end = w->first_block + w->block_count;
    uint8_t h[SPARSE_HEADER_BYTES] = {0};
    put_le32(h, SPARSE_MAGIC);
    put_le16(h + 4, 1);
    put_le16(h + 8, SPARSE_HEADER_BYTES);
    put_le16(h + 10, SPARSE_CHUNK_BYTES);
    put_le32(h + 12, w->options.block_bytes);
    put_le32(h + 16, w->total_blocks); /* of the whole image: LK checks it against the partition */
    put_le32(h + 20, (uint32_t)w->run_count + (w->first_block > 0) + (end < w->total_blocks));
    return put(arg, span_of(h, sizeof(h)), err);
}

static int put_raw(struct sparse_writer *w, uint32_t block, uint32_t blocks, sparse_put_fn *put,
                   void *arg, struct err *err)
{
    while (blocks) {
        const uint8_t *data;
        int rc = block_at(w, block, &data, err);
        if (rc < 0)
            return rc;
        size_t there = w->buffer_len - (size_t)(data - w->buffer);
        uint32_t n = (uint32_t)MIN_OF((size_t)blocks, there / w->options.block_bytes);
        rc = put(arg, span_of(data, (size_t)n * w->options.block_bytes), err);
        if (rc < 0)
            return rc;
        block += n;
        blocks -= n;
    }
    return 0;
}

static int put_run(struct sparse_writer *w, uint32_t block, const struct run *run,
                   sparse_put_fn *put, void *arg, struct err *err)
{
    uint32_t body = run->is_fill ? 4 : run->blocks * w->options.block_bytes;
    int rc = put_chunk(put, arg, run->is_fill ? CHUNK_FILL : CHUNK_RAW, run->blocks, body, err);
    if (rc < 0)
        return rc;
    if (run->is_fill)
        return put(arg, span_of(run->fill, 4), err);
    return put_raw(w, block, run->blocks, put, arg, err);
}

int sparse_writer_emit(struct sparse_writer *w, sparse_put_fn *put, void *put_arg, struct err *err)
{
    int rc = put_header(w, put, put_arg, err);
    if (rc >= 0 && w->first_block)
        rc = put_chunk(put, put_arg, CHUNK_DONT_CARE, w->first_block, 0, err);
    uint32_t block = w->first_block;
    for (size_t i = 0; rc >= 0 && i < w->run_count; i++) {
        rc = put_run(w, block, &w->runs[i], put, put_arg, err);
        block += w->runs[i].blocks;
    }
    if (rc >= 0 && block < w->total_blocks)
        rc = put_chunk(put, put_arg, CHUNK_DONT_CARE, w->total_blocks - block, 0, err);
    return rc < 0 ? rc : 0;
}
