/* para.h: A/B slot metadata in the partition para, at byte 2048. The magic and the place are known,
 * the fields behind them are CONSTRUCTED (README.md, "para"): whoever learns the real structure
 * changes para.c alone. */
#ifndef FLASHRACK_USB_FORMAT_PARA_H
#define FLASHRACK_USB_FORMAT_PARA_H

#include "usb/base/buf.h"
#include "usb/base/err.h"
#include "usb/base/span.h"

#define PARA_SLOT_OFFSET_BYTES 2048
#define PARA_SLOT_MAGIC        0x19191100u
#define PARA_SLOT_BYTES        32
#define PARA_HEAD_BYTES        (PARA_SLOT_OFFSET_BYTES + PARA_SLOT_BYTES) /* what decoding needs */

struct para_slot {
    uint8_t priority;   /* 0: never boot */
    uint8_t tries_left; /* boots that may still fail */
    bool successful;    /* has booted Android since it was made active */
};

struct para {
    struct para_slot slots[2]; /* a, b */
};

/* ERR_NOT_FOUND: no metadata there (all zero after a format: LK then starts slot a);
 * ERR_FORMAT: metadata with a wrong checksum or impossible values. */
int para_decode(struct span head, struct para *out, struct err *err);
/* 'a' or 'b': the bootable slot of higher priority, a if equal; 0 when neither may boot. */
char para_active_slot(const struct para *p);
/* Makes `slot` the active one, as LK's set_active does. */
void para_set_active(struct para *p, char slot);
/* The 32 bytes that stand at PARA_SLOT_OFFSET_BYTES. */
void para_encode(const struct para *p, struct buf *out);

#endif
