/* tar.h: the members of a plain tar file (POSIX ustar, GNU), in place: where each file's bytes lie, so that they
 * are read out of the tar itself, in any order. For exported backups; packed archives are usb/archive's. */
#ifndef FLASHRACK_USB_FORMAT_TAR_H
#define FLASHRACK_USB_FORMAT_TAR_H

#include "usb/base/input.h"

struct tar_member {
    char name[101]; /* without its folder */
    uint64_t offset_bytes, size_bytes;
};

/* The next regular file behind `*at` (0: the first), which moves on. 1, 0 at the end, ERR_FORMAT for what is no tar
 * or reaches past the end of the source. */
int tar_next(struct input *in, uint64_t *at, struct tar_member *out, struct err *err);

#endif
