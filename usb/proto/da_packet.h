/* da_packet.h: packets and statuses of XFlash, for da.c and da_flash.c only. `err` is never NULL
 * here. */
#ifndef FLASHRACK_USB_PROTO_DA_PACKET_H
#define FLASHRACK_USB_PROTO_DA_PACKET_H

#include "usb/proto/da.h"

/* README, "Time-outs of the host". */
enum {
    DA_REPLY_MS = 5000, /* every short answer that has no time of its own */
    DA_SEND_MS = 10000,
    DA_ALIVE_MS = 5000,
    DA_INIT_MS = 15000,
    DA_READ_CHUNK_MS = 10000,
    DA_SECOND_STATUS_MS = 1000,
    DA_WRITE_CHUNK_MS = 30000,
    DA_WRITE_FINAL_MS = 120000,
    DA_UPLOAD_NAME_MS = 2000,
};

/* Header and payload, two transfers. */
int da_packet_write(struct da *da, const void *payload, size_t len, struct err *err);
int da_word_write(struct da *da, uint32_t word, struct err *err);
/* The next packet's header; log packets before it are read and dropped. More than `max` bytes, or a
 * broken header: the link is lost. A time-out is left to the caller (ERR_TIMEOUT). */
int da_header_read(struct da *da, size_t max, int64_t timeout_ms, uint32_t *length_out,
                   struct err *err);
/* A whole small packet into reply (its ceiling is the maximum). Lost when it does not come. */
int da_packet_read(struct da *da, struct buf *reply, int64_t timeout_ms, const char *what,
                   struct err *err);
/* A packet of 4 bytes. Lost when it does not come. */
int da_word_read(struct da *da, uint32_t *out, int64_t timeout_ms, const char *what,
                 struct err *err);
/* A status that must be 0; a framing status kills the link. */
int da_status_read(struct da *da, int64_t timeout_ms, const char *what, struct err *err);
/* Error of a status word; framing statuses kill the link. */
int da_status_fail(struct da *da, uint32_t status, const char *what, struct err *err);
/* Command word and its status. */
int da_command(struct da *da, enum xflash_command code, struct err *err);

#endif
