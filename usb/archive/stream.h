/* stream.h: what is inside a packed file, as a forward-only input: .gz .xz .zst .bz2 of one file,
 * or the largest file of a .7z, .zip or .tar. Constant memory but for the packer's own window. */
#ifndef FLASHRACK_USB_ARCHIVE_STREAM_H
#define FLASHRACK_USB_ARCHIVE_STREAM_H

#include "usb/base/input.h"

/* True when the first bytes are those of a packed file we know (read with pread; 512 bytes are
 * enough). */
bool archive_recognised(int fd);
/* Opens the content; `fd` must be seekable, stays the caller's and must outlive the input. The name
 * of the chosen file is put into `name_out` (may be NULL). ERR_FORMAT for damaged or encrypted
 * archives. */
int archive_input_open(int fd, char *name_out, size_t name_max, struct input **out,
                       struct err *err);
/* A plain file as it is, a packed one by its content. */
int archive_or_file_open(int fd, struct input **out, struct err *err);

#endif
