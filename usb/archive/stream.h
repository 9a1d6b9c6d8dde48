/* stream.h: what is inside a packed file, as forward-only inputs: .gz .xz .zst .bz2 of one file, or the files of a
 * .7z, .zip or .tar. Constant memory but for the packer's own window and the list of names. */
#ifndef FLASHRACK_USB_ARCHIVE_STREAM_H
#define FLASHRACK_USB_ARCHIVE_STREAM_H

#include "usb/base/input.h"

/* True when the first bytes are those of a packed file we know (read with pread; 512 bytes are
 * enough). */
bool archive_recognised(int fd);

#define PACKED_FILES_MAX 4096

struct packed_file {
    char *name;          /* with its folders; "" when it cannot be told */
    uint64_t size_bytes; /* INPUT_SIZE_UNKNOWN: not told before the end (a packed single file) */
};
struct stream;
struct packed {
    size_t count, largest; /* an unknown size counts as the largest */
    struct packed_file *files;
    /* May be set: called now and then while a long stretch is passed over. */
    void (*tick)(void *arg);
    void *tick_arg;
    int fd;
    struct stream *active; /* the one that holds the archive open */
};
/* Lists the regular files, at least one; `fd` must be seekable, stays the caller's and must outlive it. ERR_FORMAT
 * for damaged or encrypted archives, ERR_LIMIT for more than PACKED_FILES_MAX files. */
int packed_open(int fd, struct packed **out, struct err *err);
/* The content of a file. Files are read in one pass as long as they are asked for in the order in which they lie,
 * one after the other; each step back begins anew. All are closed before `p` is. */
struct input *packed_input(struct packed *p, size_t index);
void packed_close(struct packed **p); /* NULL-safe, clears *p; usable with AUTO */

#endif
