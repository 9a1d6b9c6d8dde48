/* vbmeta.h: which bytes of a slot must be whole before Android starts. The head is AVB's ("AVB0",
 * big endian); the rows behind it are ours, since nobody has the key of a real one.
 * tests/phone/README.md, "Firmware images". */
#ifndef FLASHRACK_TESTS_PHONE_VBMETA_H
#define FLASHRACK_TESTS_PHONE_VBMETA_H

#include <stdint.h>

#include "usb/base/buf.h"
#include "usb/base/hash.h"

enum { VBMETA_ROWS_MAX = 24, VBMETA_EXTENTS_MAX = 12, VBMETA_HEAD_BYTES = 256 };

struct vbmeta_extent {
    uint64_t at, len; /* bytes in the partition */
};

struct vbmeta_row {
    char partition[33]; /* without slot suffix */
    uint32_t extent_count;
    struct vbmeta_extent extents[VBMETA_EXTENTS_MAX];
    struct sha256 digest; /* over the bytes of all extents, in order */
};

struct vbmeta {
    size_t row_count;
    struct vbmeta_row rows[VBMETA_ROWS_MAX];
};

void vbmeta_encode(const struct vbmeta *v, struct buf *out);
/* `in` begins with a vbmeta image. False when it is none, torn or changed. */
bool vbmeta_decode(struct span in, struct vbmeta *out);

#endif
