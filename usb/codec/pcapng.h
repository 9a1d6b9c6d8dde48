/* pcapng.h: USB transfers as Wireshark reads them: pcapng blocks, little endian, link type 220 (usbmon with its
 * header of 64 bytes). Facts: usb/codec/README.md, "pcapng". Only what we write ourselves is read back; any other
 * block or option is skipped, and the first thing that does not fit ends the file. */
#ifndef FLASHRACK_USB_CODEC_PCAPNG_H
#define FLASHRACK_USB_CODEC_PCAPNG_H

#include <stdint.h>

#include "usb/base/buf.h"
#include "usb/base/err.h"
#include "usb/base/span.h"

enum { PCAPNG_LINK_USB_MMAPPED = 220, PCAPNG_USB_HEADER_BYTES = 64, PCAPNG_COMMENT_MAX = 120 };

enum pcapng_usb_type { PCAPNG_CONTROL = 2, PCAPNG_BULK = 3 };

/* Half a transfer: what was asked for ('S') or what became of it ('C'). */
struct pcapng_usb {
    uint64_t id;            /* the same in both halves */
    int64_t at_ms;          /* UTC */
    char event;             /* 'S', 'C' */
    uint8_t type, endpoint; /* endpoint with its direction, bit 7 */
    uint8_t device;         /* which of the phone's appearances on the bus, from 1 */
    bool has_setup;
    uint8_t setup[8];
    int32_t status;   /* 0, -115 in an 'S', or a negative errno */
    uint32_t length;  /* bytes asked for, or moved */
    struct span data; /* what was kept of them, from the first one on */
    bool has_crc32;   /* of all `length` bytes, when not all were kept */
    uint32_t crc32;
    char comment[PCAPNG_COMMENT_MAX]; /* empty: none */
};

/* Section header and the one interface; a file begins with it. keep_bytes: the most that is kept of one transfer. */
void pcapng_head_encode(uint32_t keep_bytes, struct buf *out);
void pcapng_usb_encode(const struct pcapng_usb *p, struct buf *out);
/* The next packet at *at, which moves behind it: 1, 0 at the end of the file, ERR_FORMAT. Packets point into `file`. */
int pcapng_next(struct span file, size_t *at, struct pcapng_usb *out, struct err *err);

#endif
