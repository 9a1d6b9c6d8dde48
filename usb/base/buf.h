/* buf.h: a growing byte buffer with a ceiling that is set at init. Passing the ceiling loses nothing
 * that was there: the buffer remembers it and buf_check() reports ERR_LIMIT. */
#ifndef FLASHRACK_USB_BASE_BUF_H
#define FLASHRACK_USB_BASE_BUF_H

#include "usb/base/err.h"
#include "usb/base/span.h"

struct buf {
    uint8_t *data;
    size_t len, cap, ceiling;
    bool over; /* something did not fit */
};

void buf_init(struct buf *b, size_t ceiling_bytes);
void buf_deinit(struct buf *b); /* frees; usable as AUTO(buf_deinit) */
void buf_clear(struct buf *b);  /* keeps the memory, forgets contents and `over` */
/* 0, or ERR_LIMIT when something was put that passed the ceiling. */
int buf_check(const struct buf *b, struct err *err);
/* Appends; returns where `len` writable bytes begin, NULL past the ceiling. */
uint8_t *buf_grow(struct buf *b, size_t len);
void buf_put(struct buf *b, const void *data, size_t len);
void buf_put_span(struct buf *b, struct span s);
void buf_put_zeros(struct buf *b, size_t len);
void buf_drop_front(struct buf *b, size_t len); /* forgets the first `len` bytes */
void buf_put_u8(struct buf *b, uint8_t v);
void buf_put_le16(struct buf *b, uint16_t v);
void buf_put_le32(struct buf *b, uint32_t v);
void buf_put_le64(struct buf *b, uint64_t v);
void buf_put_be16(struct buf *b, uint16_t v);
void buf_put_be32(struct buf *b, uint32_t v);

static inline struct span buf_span(const struct buf *b)
{
    return (struct span){b->data, b->len};
}

#endif
