/* The writer: pieces as README.md, "Android sparse", pieces. A piece is at most five parts: header, don't care up
 * to it, head of the raw chunk, its blocks, don't care to the end; only the blocks come from the image. */
#include "usb/base/mem.h"
#include "usb/format/sparse.h"

enum { CHUNK_RAW = 0xcac1, CHUNK_DONT_CARE = 0xcac3 };

int sparse_writer_init(struct sparse_writer *w, const struct sparse_writer_options *o,
                       sparse_source_fn *source, void *arg, struct err *err)
{
    if (o->block_bytes == 0 || o->block_bytes % 4 || o->image_bytes == 0 ||
        o->image_bytes % o->block_bytes || o->image_bytes / o->block_bytes > UINT32_MAX)
        return err_set(err, ERR_INPUT, "image of %llu bytes cannot be cut into blocks of %u",
                       (unsigned long long)o->image_bytes, o->block_bytes);
    if (o->piece_bytes_max / o->block_bytes < SPARSE_PIECE_BLOCKS_MIN)
        return err_set(err, ERR_INPUT, "pieces of %llu bytes are too small",
                       (unsigned long long)o->piece_bytes_max);
    *w = (struct sparse_writer){.options = *o, .source = source, .arg = arg};
    w->total_blocks = (uint32_t)(o->image_bytes / o->block_bytes);
    return 0;
}

static void put_chunk(struct sparse_writer *w, uint16_t type, uint32_t blocks, uint64_t body_bytes)
{
    uint8_t *h = w->frame + w->frame_len;
    memset(h, 0, SPARSE_CHUNK_BYTES);
    put_le16(h, type);
    put_le32(h + 4, blocks);
    put_le32(h + 8, (uint32_t)(SPARSE_CHUNK_BYTES + body_bytes));
    w->frame_len += SPARSE_CHUNK_BYTES;
}

static void put_header(struct sparse_writer *w, uint32_t chunks)
{
    uint8_t *h = w->frame;
    memset(h, 0, SPARSE_HEADER_BYTES);
    put_le32(h, SPARSE_MAGIC);
    put_le16(h + 4, 1);
    put_le16(h + 8, SPARSE_HEADER_BYTES);
    put_le16(h + 10, SPARSE_CHUNK_BYTES);
    put_le32(h + 12, w->options.block_bytes);
    put_le32(h + 16, w->total_blocks); /* of the whole image: LK checks it against the partition */
    put_le32(h + 20, chunks);
    w->frame_len = SPARSE_HEADER_BYTES;
}

/* Blocks that fit beside `frame_bytes` of headers. */
static uint32_t room(const struct sparse_writer *w, uint32_t frame_bytes)
{
    uint32_t block = w->options.block_bytes;
    uint64_t most = MIN_OF(w->options.piece_bytes_max, (uint64_t)UINT32_MAX); /* "download:%08x" */
    uint64_t usable = most / block * block;
    return (uint32_t)((usable - frame_bytes) / block);
}

uint32_t sparse_writer_next(struct sparse_writer *w)
{
    w->first_block += w->block_count;
    uint32_t left = w->total_blocks - w->first_block;
    bool leads = w->first_block > 0;
    uint32_t frame = SPARSE_HEADER_BYTES + SPARSE_CHUNK_BYTES * (1u + leads);
    w->block_count = MIN_OF(left, room(w, frame));
    bool trails = w->block_count < left;
    if (trails) {
        frame += SPARSE_CHUNK_BYTES;
        w->block_count = MIN_OF(left, room(w, frame));
    }
    w->left_bytes = (uint64_t)w->block_count * w->options.block_bytes;
    w->frame_at = 0;
    if (left == 0)
        return 0;
    put_header(w, 1u + leads + trails);
    if (leads)
        put_chunk(w, CHUNK_DONT_CARE, w->first_block, 0);
    put_chunk(w, CHUNK_RAW, w->block_count, w->left_bytes);
    return frame + (uint32_t)w->left_bytes;
}

/* Behind the blocks: don't care to the end of the image. */
static void put_tail(struct sparse_writer *w)
{
    uint32_t end = w->first_block + w->block_count;
    w->frame_at = w->frame_len = 0;
    if (end < w->total_blocks)
        put_chunk(w, CHUNK_DONT_CARE, w->total_blocks - end, 0);
}

/* The next bytes of the frame, as far as it goes. */
static size_t frame_take(struct sparse_writer *w, uint8_t *dst, size_t len)
{
    size_t n = MIN_OF(len, w->frame_len - w->frame_at);
    memcpy(dst, w->frame + w->frame_at, n);
    w->frame_at += n;
    return n;
}

int sparse_writer_source(void *arg, void *dst, size_t len, struct err *err)
{
    struct sparse_writer *w = arg;
    uint8_t *to = dst;
    for (;;) {
        size_t n = frame_take(w, to, len);
        to += n;
        len -= n;
        if (len == 0)
            return 0;
        n = (size_t)MIN_OF((uint64_t)len, w->left_bytes);
        if (n == 0)
            return err_set(err, ERR_INTERNAL, "a sparse piece ends before it is asked to");
        int rc = w->source(w->arg, to, n, err);
        if (rc < 0)
            return rc;
        to += n;
        len -= n;
        w->left_bytes -= n;
        if (w->left_bytes == 0)
            put_tail(w);
    }
}
