/* ext4.h: the smallest true ext4: one block group, no journal, extents, one block a directory.
 * Enough for the phone's small file systems (nvdata, nvcfg, protect1, protect2, persist), which
 * Android must be able to build again without running mke2fs. e2fsck and debugfs judge it in
 * tests/unit/phone_ext4.sh. */
#ifndef FLASHRACK_TESTS_PHONE_EXT4_H
#define FLASHRACK_TESTS_PHONE_EXT4_H

#include <stdint.h>

#include "usb/base/buf.h"
#include "usb/base/err.h"

struct ext4_file {
    const char *path; /* "md/NVRAM/NVD_IMEI/LD0B_001"; folders are made as needed */
    struct span data;
};

/* Appends the used part of a file system of `size_bytes` (256 KiB to 128 MiB) to `out`; what
 * follows up to size_bytes is zero. Blocks are 1 KiB below 1 MiB, else 4 KiB. Deterministic. */
int ext4_build(uint64_t size_bytes, const char *label, const uint8_t uuid[16],
               const struct ext4_file *files, size_t file_count, struct buf *out, struct err *err);

/* True when `image` (at least its used part) begins with a clean ext4 of ours. */
bool ext4_valid(struct span image);
/* The contents of the file at `path`, borrowed from `image`; empty when there is none. */
struct span ext4_find(struct span image, const char *path);

#endif
