/* chunk.h: one chunk of a stored partition: at most 1 MiB of raw bytes, packed with zstd. The store
 * and the workers' spool use the same form, so a chunk goes from one into the other without
 * repacking. */
#ifndef FLASHRACK_USB_ARCHIVE_CHUNK_H
#define FLASHRACK_USB_ARCHIVE_CHUNK_H

#include "usb/base/buf.h"
#include "usb/base/err.h"
#include "usb/base/span.h"

#define CHUNK_BYTES (1u << 20)
#define CHUNK_PACKED_MAX                                                                           \
    (CHUNK_BYTES + 8192) /* zstd's worst case for 1 MiB is 4096 bytes more + header */

/* Appends the packed form of `raw` (1 byte to CHUNK_BYTES). ERR_LIMIT when `out` is full.
 * Thread-safe; the compressor's memory is kept per thread. */
int chunk_compress(struct span raw, struct buf *out, struct err *err);
/* Appends exactly `raw_bytes` (at most CHUNK_BYTES) unpacked bytes, whatever the frame claims;
 * ERR_FORMAT when it holds more, fewer, or is damaged. The caller compares the SHA-256. */
int chunk_decompress(struct span packed, size_t raw_bytes, struct buf *out, struct err *err);
/* Gives the memory that this thread keeps for packing and unpacking back; the next call takes it again. */
void chunk_forget(void);

#endif
