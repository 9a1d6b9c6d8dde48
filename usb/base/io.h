/* io.h: exact-length file and socket I/O with EINTR handled. Blocking; not for the event loop. */
#ifndef FLASHRACK_USB_BASE_IO_H
#define FLASHRACK_USB_BASE_IO_H

#include <stdint.h>
#include <sys/types.h>

#include "usb/base/err.h"
#include "usb/base/span.h"

/* All `len` bytes or an error; a file that ends early is ERR_FORMAT, a closed peer ERR_GONE. */
int io_pread(int fd, void *dst, size_t len, int64_t offset, struct err *err);
int io_pwrite(int fd, const void *src, size_t len, int64_t offset, struct err *err);
int io_write(int fd, const void *src, size_t len, struct err *err);
/* Size of an open file in bytes. */
int64_t io_size(int fd, struct err *err);
/* A whole small file; ERR_LIMIT above `max_bytes`. *out is malloc'ed, zero-terminated, the caller's. */
int io_slurp(int dir_fd, const char *path, size_t max_bytes, char **out, size_t *len_out,
             struct err *err);

#endif
