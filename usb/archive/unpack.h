/* unpack.h: a .7z, .zip or .tar(.gz .xz .zst .bz2) into a folder, as hostile as it may be: no path
 * leaves the folder, no links, sizes and counts are limited, a full disk is an error and not a half
 * file, and an unpacking that was cut off goes on where it was. Runs in a worker. */
#ifndef FLASHRACK_USB_ARCHIVE_UNPACK_H
#define FLASHRACK_USB_ARCHIVE_UNPACK_H

#include <stdint.h>

#include "usb/base/err.h"

struct unpack_limits {
    uint64_t total_bytes_max, file_bytes_max;
    uint32_t files_max;
    uint64_t free_bytes_min; /* left on the disk */
};
extern const struct unpack_limits UNPACK_LIMITS_DEFAULT; /* 64 GiB, 32 GiB, 4096 files, 256 MiB */

/* Called now and then; a negative result stops the unpacking and is handed on. */
typedef int unpack_tick_fn(void *arg, const char *file, uint64_t done_bytes, struct err *err);

struct unpack_result {
    uint32_t files, resumed_files; /* of which were there from an earlier run */
    uint64_t bytes;
};
/* `archive_fd` must be seekable; `dir_fd` an existing folder, empty or with what an earlier run on
 * the same archive left. A finished folder holds the files only; an unfinished one also ".unpack"
 * (the journal) and at most one "*.part". ERR_LIMIT, ERR_FORMAT (damaged, password), ERR_REFUSED (a
 * path or link that leads out), ERR_CONFLICT (the folder holds something else, or another run unpacks into it). */
int archive_unpack(int archive_fd, int dir_fd, const struct unpack_limits *limits,
                   unpack_tick_fn *tick, void *arg, struct unpack_result *out, struct err *err);

/* Is this a path that stays inside: relative, no "..", no empty or over-long part, no control
 * characters?
 * "\" counts as "/". Rewrites the copy in `out`. */
bool unpack_path_ok(const char *path, char out[1024]);

#endif
