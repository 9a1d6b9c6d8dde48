/* input.h: a source of bytes that may be a file (random access, with holes) or a stream out of an
 * archive (forward only). Readers of dumps and packages are written once for both. Blocking. */
#ifndef FLASHRACK_USB_BASE_INPUT_H
#define FLASHRACK_USB_BASE_INPUT_H

#include <sys/types.h>

#include "usb/base/err.h"
#include "usb/base/span.h"

#define INPUT_SIZE_UNKNOWN UINT64_MAX

struct input;
struct input_ops {
    /* At most `len` bytes at `offset`; fewer only at the end of the source, 0 behind it. A
     * forward-only source may be asked for a smaller offset than before and starts again (slow). */
    ssize_t (*read)(struct input *in, void *dst, size_t len, uint64_t offset, struct err *err);
    /* First byte at or behind `offset` that may be other than zero; the size when there is none.
     * NULL when the source knows no holes. */
    int (*next_data)(struct input *in, uint64_t offset, uint64_t *out, struct err *err);
    /* End of the data that begins at `offset` (a hole, or the end). */
    int (*next_hole)(struct input *in, uint64_t offset, uint64_t *out, struct err *err);
    void (*close)(struct input *in); /* frees `in` */
};
struct input {
    const struct input_ops *ops;
    uint64_t
        size_bytes; /* INPUT_SIZE_UNKNOWN until a forward-only source has been read to its end */
    bool forward_only;
    bool cut_off; /* a packed source that breaks off: what was read is all there is */
};

/* An open regular file; the descriptor stays the caller's and must outlive the input. */
struct input *input_of_fd(int fd, struct err *err);
/* The same, opened by name and closed with the input; links are not followed. */
int input_open(int dir_fd, const char *path, struct input **out, struct err *err);
/* Bytes in memory, borrowed. */
struct input *input_of_span(struct span data);
void input_close(struct input **in); /* NULL-safe, clears *in; usable with AUTO */

static inline ssize_t input_read(struct input *in, void *dst, size_t len, uint64_t offset,
                                 struct err *err)
{
    return in->ops->read(in, dst, len, offset, err);
}

/* Data arrives as `data` (borrowed); a hole, or zeros known without reading, as data NULL and its
 * length. A negative result stops the walk and is handed on. */
typedef int input_sink_fn(void *arg, const uint8_t *data, uint64_t len, struct err *err);
/* Feeds `len` bytes from `offset` to the sink in parts of at most 1 MiB (holes in one). Returns the
 * bytes fed: fewer than `len` when the source ends. */
int64_t input_walk(struct input *in, uint64_t offset, uint64_t len, input_sink_fn *sink, void *arg,
                   struct err *err);

#endif
