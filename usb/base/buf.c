#include "usb/base/buf.h"

#include <stdlib.h>

#include "usb/base/mem.h"

void buf_init(struct buf *b, size_t ceiling_bytes)
{
    *b = (struct buf){.ceiling = ceiling_bytes};
}

void buf_deinit(struct buf *b)
{
    free(b->data);
    *b = (struct buf){.ceiling = b->ceiling};
}

void buf_clear(struct buf *b)
{
    b->len = 0;
    b->over = false;
}

int buf_check(const struct buf *b, struct err *err)
{
    if (b->over)
        return err_set(err, ERR_LIMIT, "more than %zu bytes", b->ceiling);
    return 0;
}

uint8_t *buf_grow(struct buf *b, size_t len)
{
    if (b->over || len > b->ceiling - b->len) {
        b->over = true;
        return NULL;
    }
    if (b->len + len > b->cap) {
        size_t cap = b->cap ? b->cap : 64;
        while (cap < b->len + len)
            cap *= 2;
        if (cap > b->ceiling)
            cap = b->ceiling;
        uint8_t *data = realloc(b->data, cap);
        if (!data) {
            b->over = true;
            return NULL;
        }
        b->data = data;
        b->cap = cap;
    }
    uint8_t *at = b->data + b->len;
    b->len += len;
    return at;
}

void buf_put(struct buf *b, const void *data, size_t len)
{
    if (len == 0)
        return;
    uint8_t *at = buf_grow(b, len);
    if (at)
        memcpy(at, data, len);
}

void buf_put_span(struct buf *b, struct span s)
{
    buf_put(b, s.data, s.len);
}

void buf_put_zeros(struct buf *b, size_t len)
{
    uint8_t *at = len ? buf_grow(b, len) : NULL;
    if (at)
        memset(at, 0, len);
}

void buf_drop_front(struct buf *b, size_t len)
{
    if (len > b->len)
        len = b->len;
    if (len && b->len > len)
        memmove(b->data, b->data + len, b->len - len);
    b->len -= len;
}

void buf_put_u8(struct buf *b, uint8_t v)
{
    buf_put(b, &v, 1);
}

void buf_put_le16(struct buf *b, uint16_t v)
{
    uint8_t raw[2];
    put_le16(raw, v);
    buf_put(b, raw, sizeof(raw));
}

void buf_put_le32(struct buf *b, uint32_t v)
{
    uint8_t raw[4];
    put_le32(raw, v);
    buf_put(b, raw, sizeof(raw));
}

void buf_put_le64(struct buf *b, uint64_t v)
{
    uint8_t raw[8];
    put_le64(raw, v);
    buf_put(b, raw, sizeof(raw));
}

void buf_put_be16(struct buf *b, uint16_t v)
{
    uint8_t raw[2];
    put_be16(raw, v);
    buf_put(b, raw, sizeof(raw));
}

void buf_put_be32(struct buf *b, uint32_t v)
{
    uint8_t raw[4];
    put_be32(raw, v);
    buf_put(b, raw, sizeof(raw));
}
