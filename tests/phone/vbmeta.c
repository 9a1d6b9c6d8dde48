#include "tests/phone/vbmeta.h"

/* Head: "AVB0", u32 major 1, u32 minor 0, u32 bytes of the rows, zeros to 256; rows; SHA-256 of all
 * of it. Row: name 32 bytes, u32 extents, each u64 place and u64 length, SHA-256. */
enum { ROWS_BYTES_AT = 12, ROWS_BYTES_MAX = 32768 };

static void put_be64(struct buf *out, uint64_t v)
{
    buf_put_be32(out, (uint32_t)(v >> 32));
    buf_put_be32(out, (uint32_t)v);
}

static void row_encode(const struct vbmeta_row *row, struct buf *out)
{
    buf_put(out, row->partition, 32);
    buf_put_be32(out, row->extent_count);
    for (uint32_t i = 0; i < row->extent_count; i++) {
        put_be64(out, row->extents[i].at);
        put_be64(out, row->extents[i].len);
    }
    buf_put(out, row->digest.bytes, SHA256_BYTES);
}

void vbmeta_encode(const struct vbmeta *v, struct buf *out)
{
    size_t start = out->len;
    buf_put(out, "AVB0", 4);
    buf_put_be32(out, 1);
    buf_put_zeros(out, VBMETA_HEAD_BYTES - 8);
    for (size_t i = 0; i < v->row_count; i++)
        row_encode(&v->rows[i], out);
    size_t rows_bytes = out->len - start - VBMETA_HEAD_BYTES;
    put_be32(out->data + start + ROWS_BYTES_AT, (uint32_t)rows_bytes);
    struct sha256 seal = sha256_of(span_of(out->data + start, out->len - start));
    buf_put(out, seal.bytes, SHA256_BYTES);
}

static bool row_decode(struct reader *r, struct vbmeta_row *row)
{
    struct span name = rd_bytes(r, 32);
    if (!reader_ok(r))
        return false;
    memcpy(row->partition, name.data, 32);
    row->partition[32] = '\0';
    row->extent_count = rd_be32(r);
    if (row->extent_count > VBMETA_EXTENTS_MAX)
        return false;
    for (uint32_t i = 0; i < row->extent_count; i++) {
        row->extents[i].at = rd_be64(r);
        row->extents[i].len = rd_be64(r);
    }
    struct span digest = rd_bytes(r, SHA256_BYTES);
    if (!reader_ok(r))
        return false;
    memcpy(row->digest.bytes, digest.data, SHA256_BYTES);
    return true;
}

bool vbmeta_decode(struct span in, struct vbmeta *out)
{
    if (in.len < VBMETA_HEAD_BYTES + SHA256_BYTES || memcmp(in.data, "AVB0", 4) != 0)
        return false;
    struct reader head = reader_of(span_sub(in, ROWS_BYTES_AT, 4));
    size_t rows_bytes = rd_be32(&head);
    if (rows_bytes > ROWS_BYTES_MAX || VBMETA_HEAD_BYTES + rows_bytes + SHA256_BYTES > in.len)
        return false;
    struct sha256 seal = sha256_of(span_sub(in, 0, VBMETA_HEAD_BYTES + rows_bytes));
    if (memcmp(seal.bytes, in.data + VBMETA_HEAD_BYTES + rows_bytes, SHA256_BYTES) != 0)
        return false;
    struct reader r = reader_of(span_sub(in, VBMETA_HEAD_BYTES, rows_bytes));
    out->row_count = 0;
    while (reader_left(&r) && out->row_count < VBMETA_ROWS_MAX)
        if (!row_decode(&r, &out->rows[out->row_count++]))
            return false;
    return reader_done(&r);
}
