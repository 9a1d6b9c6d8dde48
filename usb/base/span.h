/* span.h: a borrowed run of bytes, and a reader that walks it. Reading past the end yields zeros and is
 * remembered, so a decoder reads all fields first and asks once. */
#ifndef FLASHRACK_USB_BASE_SPAN_H
#define FLASHRACK_USB_BASE_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct span {
    const uint8_t *data;
    size_t len;
};

static inline struct span span_of(const void *data, size_t len)
{
    return (struct span){data, len};
}

/* The part from `offset`, at most `len` bytes; empty when offset lies past the end. */
static inline struct span span_sub(struct span s, size_t offset, size_t len)
{
    if (offset > s.len)
        offset = s.len;
    return (struct span){s.data + offset, len < s.len - offset ? len : s.len - offset};
}

struct reader {
    struct span in;
    size_t pos;
    bool overrun;
};

static inline struct reader reader_of(struct span in)
{
    return (struct reader){in, 0, false};
}

static inline size_t reader_left(const struct reader *r)
{
    return r->in.len - r->pos;
}

/* True when every read so far lay inside. */
static inline bool reader_ok(const struct reader *r)
{
    return !r->overrun;
}

/* True when every read lay inside and nothing is left. */
static inline bool reader_done(const struct reader *r)
{
    return !r->overrun && r->pos == r->in.len;
}

/* The next `len` bytes, borrowed; an empty span and an overrun when there are fewer. */
static inline struct span rd_bytes(struct reader *r, size_t len)
{
    if (len > reader_left(r)) {
        r->overrun = true;
        r->pos = r->in.len;
        return (struct span){NULL, 0};
    }
    struct span s = {r->in.data + r->pos, len};
    r->pos += len;
    return s;
}

static inline void rd_skip(struct reader *r, size_t len)
{
    (void)rd_bytes(r, len);
}

static inline uint64_t rd_le_(struct reader *r, size_t len)
{
    struct span s = rd_bytes(r, len);
    uint64_t v = 0;
    for (size_t i = s.len; i > 0; i--)
        v = v << 8 | s.data[i - 1];
    return v;
}

static inline uint64_t rd_be_(struct reader *r, size_t len)
{
    struct span s = rd_bytes(r, len);
    uint64_t v = 0;
    for (size_t i = 0; i < s.len; i++)
        v = v << 8 | s.data[i];
    return v;
}

static inline uint8_t rd_u8(struct reader *r)
{
    return (uint8_t)rd_le_(r, 1);
}
static inline uint16_t rd_le16(struct reader *r)
{
    return (uint16_t)rd_le_(r, 2);
}
static inline uint32_t rd_le32(struct reader *r)
{
    return (uint32_t)rd_le_(r, 4);
}
static inline uint64_t rd_le64(struct reader *r)
{
    return rd_le_(r, 8);
}
static inline uint16_t rd_be16(struct reader *r)
{
    return (uint16_t)rd_be_(r, 2);
}
static inline uint32_t rd_be32(struct reader *r)
{
    return (uint32_t)rd_be_(r, 4);
}
static inline uint64_t rd_be64(struct reader *r)
{
    return rd_be_(r, 8);
}

/* Plain loads and stores for fixed places in a block that is known to be long enough. */
static inline uint16_t get_le16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}
static inline uint32_t get_le32(const uint8_t *p)
{
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}
static inline uint64_t get_le64(const uint8_t *p)
{
    return get_le32(p) | (uint64_t)get_le32(p + 4) << 32;
}
static inline void put_le16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}
static inline void put_le32(uint8_t *p, uint32_t v)
{
    put_le16(p, (uint16_t)v);
    put_le16(p + 2, (uint16_t)(v >> 16));
}
static inline void put_le64(uint8_t *p, uint64_t v)
{
    put_le32(p, (uint32_t)v);
    put_le32(p + 4, (uint32_t)(v >> 32));
}
static inline void put_be16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}
static inline void put_be32(uint8_t *p, uint32_t v)
{
    put_be16(p, (uint16_t)(v >> 16));
    put_be16(p + 2, (uint16_t)v);
}

#endif
