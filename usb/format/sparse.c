/* The reader. Layout of a file: header, then chunks; README.md, "Android sparse". */
#include "usb/format/sparse.h"

#include <stdlib.h>

#include "usb/base/hash.h"
#include "usb/base/mem.h"

enum { CHUNK_RAW = 0xcac1, CHUNK_FILL = 0xcac2, CHUNK_DONT_CARE = 0xcac3, CHUNK_CRC32 = 0xcac4 };
enum { STASH_BYTES = 64 };

enum state { AT_HEADER, AT_SURPLUS, AT_CHUNK, AT_WORD, IN_RAW, AT_END };

struct sparse_reader {
    struct sparse_options options;
    sparse_sink_fn *sink;
    void *arg;
    enum state state;
    uint8_t stash[STASH_BYTES]; /* a header that came in parts */
    size_t stashed;
    struct sparse_header header;
    bool has_header;
    uint32_t chunk; /* number of the chunk being read, from 0 */
    uint16_t chunk_type;
    uint64_t skip_bytes; /* surplus of a header larger than ours */
    enum state after_skip;
    uint64_t left_bytes;  /* of the output of this chunk */
    uint64_t blocks_done; /* of chunks begun */
    uint64_t position;
    uint32_t crc;
    uint64_t trailing;
};

bool sparse_is(struct span head)
{
    return head.len >= 4 && get_le32(head.data) == SPARSE_MAGIC;
}

int sparse_header_decode(struct span head, struct sparse_header *out, struct err *err)
{
    struct reader r = reader_of(head);
    uint32_t magic = rd_le32(&r);
    uint16_t major = rd_le16(&r);
    rd_skip(&r, 2); /* minor: any */
    struct sparse_header h = {.header_bytes = rd_le16(&r)};
    h.chunk_header_bytes = rd_le16(&r);
    h.block_bytes = rd_le32(&r);
    h.total_blocks = rd_le32(&r);
    h.total_chunks = rd_le32(&r);
    h.checksum = rd_le32(&r);
    if (!reader_ok(&r) || magic != SPARSE_MAGIC)
        return err_set(err, ERR_FORMAT, "not an Android sparse image");
    if (major != 1)
        return err_set(err, ERR_UNSUPPORTED, "sparse image of version %u", major);
    if (h.header_bytes < SPARSE_HEADER_BYTES || h.chunk_header_bytes < SPARSE_CHUNK_BYTES)
        return err_set(err, ERR_FORMAT, "sparse image: header sizes %u and %u", h.header_bytes,
                       h.chunk_header_bytes);
    if (h.block_bytes == 0 || h.block_bytes % 4)
        return err_set(err, ERR_FORMAT, "sparse image: blocks of %u bytes", h.block_bytes);
    *out = h;
    return 0;
}

struct sparse_reader *sparse_reader_new(const struct sparse_options *options, sparse_sink_fn *sink,
                                        void *arg)
{
    struct sparse_reader *r = xcalloc(1, sizeof(*r));
    r->options = *options;
    r->sink = sink;
    r->arg = arg;
    return r;
}

void sparse_reader_free(struct sparse_reader **r)
{
    free(*r);
    *r = NULL;
}

uint64_t sparse_position(const struct sparse_reader *r)
{
    return r->position;
}

const struct sparse_header *sparse_reader_header(const struct sparse_reader *r)
{
    return r->has_header ? &r->header : NULL;
}

uint64_t sparse_trailing_bytes(const struct sparse_reader *r)
{
    return r->trailing;
}

static int bad_chunk(const struct sparse_reader *r, struct err *err, const char *what)
{
    return err_set(err, ERR_FORMAT, "sparse image, chunk %u of %u: %s", r->chunk,
                   r->header.total_chunks, what);
}

static void next_chunk(struct sparse_reader *r)
{
    r->chunk++;
    r->state = r->chunk < r->header.total_chunks ? AT_CHUNK : AT_END;
}

static int emit(struct sparse_reader *r, const struct sparse_extent *e, struct err *err)
{
    if (e->length == 0)
        return 0;
    if (!r->options.skip_crc) {
        static const uint8_t zeros[4];
        if (e->kind == SPARSE_RAW)
            r->crc = crc32_of(r->crc, span_of(e->data, (size_t)e->length));
        else /* what nobody cares about counts as zeros */
            r->crc = crc32_word(r->crc, e->kind == SPARSE_FILL ? e->fill : zeros, e->length / 4);
    }
    r->position += e->length;
    return r->sink(r->arg, e, err);
}

/* Takes bytes until `want` are in the stash. True when they are. */
static bool gather(struct sparse_reader *r, struct span *in, size_t want)
{
    size_t n = MIN_OF(want - r->stashed, in->len);
    memcpy(r->stash + r->stashed, in->data, n);
    r->stashed += n;
    *in = span_sub(*in, n, in->len);
    if (r->stashed < want)
        return false;
    r->stashed = 0;
    return true;
}

static void skip_then(struct sparse_reader *r, uint64_t bytes, enum state next)
{
    r->skip_bytes = bytes;
    r->after_skip = next;
    r->state = bytes ? AT_SURPLUS : next;
}

static int take_header(struct sparse_reader *r, struct err *err)
{
    struct sparse_header h;
    int rc = sparse_header_decode(span_of(r->stash, SPARSE_HEADER_BYTES), &h, err);
    if (rc < 0)
        return rc;
    if (sparse_output_bytes(&h) > r->options.output_bytes_max)
        return err_set(err, ERR_LIMIT, "sparse image expands to %llu bytes, there is room for %llu",
                       (unsigned long long)sparse_output_bytes(&h),
                       (unsigned long long)r->options.output_bytes_max);
    if (r->options.skip_crc && h.checksum)
        return err_set(err, ERR_UNSUPPORTED, "sparse image carries a checksum");
    r->header = h;
    r->has_header = true;
    skip_then(r, h.header_bytes - SPARSE_HEADER_BYTES, h.total_chunks ? AT_CHUNK : AT_END);
    return 0;
}

static int take_chunk(struct sparse_reader *r, struct err *err)
{
    uint32_t head = r->header.chunk_header_bytes;
    uint32_t blocks = get_le32(r->stash + 4);
    uint64_t total = get_le32(r->stash + 8);
    r->chunk_type = get_le16(r->stash);
    r->left_bytes = (uint64_t)blocks * r->header.block_bytes;
    uint64_t body = 0;
    enum state next = AT_WORD;
    switch (r->chunk_type) {
    case CHUNK_RAW:
        body = r->left_bytes;
        next = IN_RAW;
        break;
    case CHUNK_DONT_CARE:
        break;
    case CHUNK_CRC32:
        if (blocks)
            return bad_chunk(r, err, "a checksum that covers blocks");
        body = 4;
        break;
    case CHUNK_FILL:
        body = 4;
        break;
    default:
        return bad_chunk(r, err, "unknown type");
    }
    if (total != head + body)
        return bad_chunk(r, err, "its size does not fit its type");
    r->blocks_done += blocks;
    if (r->blocks_done > r->header.total_blocks)
        return bad_chunk(r, err, "more blocks than the header says");
    skip_then(r, head - SPARSE_CHUNK_BYTES, next);
    return 0;
}

/* A chunk whose body is one word, or nothing at all. */
static int take_word(struct sparse_reader *r, struct err *err)
{
    struct sparse_extent e = {.offset = r->position, .length = r->left_bytes};
    if (r->chunk_type == CHUNK_CRC32) {
        if (r->options.skip_crc)
            return err_set(err, ERR_UNSUPPORTED, "sparse image carries a checksum");
        if (get_le32(r->stash) != r->crc)
            return bad_chunk(r, err, "checksum is wrong: the file is damaged");
    } else if (r->chunk_type == CHUNK_FILL) {
        e.kind = SPARSE_FILL;
        memcpy(e.fill, r->stash, 4);
    } else {
        e.kind = SPARSE_DONT_CARE;
    }
    next_chunk(r);
    return emit(r, &e, err);
}

static int take_raw(struct sparse_reader *r, struct span *in, struct err *err)
{
    struct span part = span_sub(*in, 0, (size_t)MIN_OF(r->left_bytes, in->len));
    struct sparse_extent e = {SPARSE_RAW, r->position, part.len, part.data, {0}};
    *in = span_sub(*in, part.len, in->len);
    r->left_bytes -= part.len;
    if (r->left_bytes == 0)
        next_chunk(r);
    return emit(r, &e, err);
}

static size_t word_bytes(const struct sparse_reader *r)
{
    return r->chunk_type == CHUNK_DONT_CARE ? 0 : 4;
}

/* One state's worth of input; 1 when more bytes are needed. */
static int step(struct sparse_reader *r, struct span *in, struct err *err)
{
    switch (r->state) {
    case AT_HEADER:
        return gather(r, in, SPARSE_HEADER_BYTES) ? take_header(r, err) : 1;
    case AT_SURPLUS: {
        size_t n = (size_t)MIN_OF(r->skip_bytes, in->len);
        *in = span_sub(*in, n, in->len);
        r->skip_bytes -= n;
        if (r->skip_bytes)
            return 1;
        r->state = r->after_skip;
        return 0;
    }
    case AT_CHUNK:
        return gather(r, in, SPARSE_CHUNK_BYTES) ? take_chunk(r, err) : 1;
    case AT_WORD:
        return gather(r, in, word_bytes(r)) ? take_word(r, err) : 1;
    case IN_RAW:
        if (r->left_bytes == 0) {
            next_chunk(r);
            return 0;
        }
        return in->len ? take_raw(r, in, err) : 1;
    case AT_END:
        r->trailing += in->len;
        in->len = 0;
        return 1;
    }
    return err_set(err, ERR_INTERNAL, "sparse reader state");
}

int sparse_feed(struct sparse_reader *r, struct span in, struct err *err)
{
    for (;;) {
        int rc = step(r, &in, err);
        if (rc < 0)
            return rc;
        if (rc > 0)
            return 0;
    }
}

int sparse_finish(struct sparse_reader *r, struct err *err)
{
    if (r->state == AT_HEADER)
        return err_set(err, ERR_FORMAT, "sparse image is cut off in its header");
    if (r->state != AT_END)
        return bad_chunk(r, err, "the file ends here");
    if (r->blocks_done != r->header.total_blocks)
        return err_set(err, ERR_FORMAT, "sparse image holds %llu of %u blocks",
                       (unsigned long long)r->blocks_done, r->header.total_blocks);
    if (r->header.checksum && r->header.checksum != r->crc)
        return err_set(err, ERR_FORMAT, "sparse image: checksum is wrong, the file is damaged");
    return 0;
}

enum { SCAN_CHUNKS_MAX = 1 << 16 };

int sparse_has_crc(sparse_read_fn *read, void *arg, uint64_t file_bytes, bool *out, struct err *err)
{
    uint8_t raw[SPARSE_HEADER_BYTES];
    struct sparse_header h;
    int rc = read(arg, 0, raw, sizeof(raw), err);
    if (rc >= 0)
        rc = sparse_header_decode(span_of(raw, sizeof(raw)), &h, err);
    if (rc < 0)
        return rc;
    bool found = h.checksum != 0 || h.total_chunks > SCAN_CHUNKS_MAX;
    uint64_t at = h.header_bytes;
    for (uint32_t i = 0; i < h.total_chunks && !found; i++) {
        if (at + SPARSE_CHUNK_BYTES > file_bytes)
            break; /* the reader will say so */
        rc = read(arg, at, raw, SPARSE_CHUNK_BYTES, err);
        if (rc < 0)
            return rc;
        found = get_le16(raw) == CHUNK_CRC32;
        at += MAX_OF(get_le32(raw + 8), (uint32_t)SPARSE_CHUNK_BYTES);
    }
    *out = found;
    return 0;
}
