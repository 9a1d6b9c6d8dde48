#include "usb/base/input.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "usb/base/mem.h"

enum { PART_BYTES = 1 << 20 };

void input_close(struct input **in)
{
    if (*in)
        (*in)->ops->close(*in);
    *in = NULL;
}

/* ---- a file --------------------------------------------------------------------------------- */

struct file_input {
    struct input base;
    int fd;
    bool owns_fd;
};

static ssize_t file_read(struct input *in, void *dst, size_t len, uint64_t offset, struct err *err)
{
    const struct file_input *f = (const struct file_input *)in;
    size_t done = 0;
    while (done < len) {
        ssize_t n = pread(f->fd, (char *)dst + done, len - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_sys(err, ERR_IO, "read at %llu", (unsigned long long)(offset + done));
        if (n == 0)
            break;
        done += (size_t)n;
    }
    return (ssize_t)done;
}

static int file_seek(struct input *in, uint64_t offset, int whence, uint64_t *out, struct err *err)
{
    const struct file_input *f = (const struct file_input *)in;
    off_t at = lseek(f->fd, (off_t)offset, whence);
    if (at < 0 && errno == ENXIO) { /* only a hole is left, or nothing: the file may have shrunk */
        struct stat st;
        if (fstat(f->fd, &st) < 0)
            return err_sys(err, ERR_IO, "fstat");
        *out = MAX_OF(offset, (uint64_t)st.st_size);
        return 0;
    }
    if (at < 0)
        return err_sys(err, ERR_IO, "seek from %llu", (unsigned long long)offset);
    *out = (uint64_t)at;
    return 0;
}

static int file_next_data(struct input *in, uint64_t offset, uint64_t *out, struct err *err)
{
    return file_seek(in, offset, SEEK_DATA, out, err);
}

static int file_next_hole(struct input *in, uint64_t offset, uint64_t *out, struct err *err)
{
    return file_seek(in, offset, SEEK_HOLE, out, err);
}

static void file_close(struct input *in)
{
    struct file_input *f = (struct file_input *)in;
    if (f->owns_fd)
        fd_close(&f->fd);
    free(f);
}

struct input *input_of_fd(int fd, struct err *err)
{
    static const struct input_ops ops = {file_read, file_next_data, file_next_hole, file_close};
    static const struct input_ops ops_no_holes = {file_read, NULL, NULL, file_close};
    struct stat st;
    if (fstat(fd, &st) < 0) {
        err_sys(err, ERR_IO, "fstat");
        return NULL;
    }
    if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode)) {
        err_set(err, ERR_INPUT, "not a file");
        return NULL;
    }
    struct file_input *f = xcalloc(1, sizeof(*f));
    bool holes = S_ISREG(st.st_mode) && (st.st_size == 0 || lseek(fd, 0, SEEK_HOLE) >= 0);
    off_t size = S_ISREG(st.st_mode) ? st.st_size : lseek(fd, 0, SEEK_END);
    f->base = (struct input){.ops = holes ? &ops : &ops_no_holes, .size_bytes = (uint64_t)size};
    f->fd = fd;
    return &f->base;
}

int input_open(int dir_fd, const char *path, struct input **out, struct err *err)
{
    AUTO(fd_close) int fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return err_sys(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "open '%s'", path);
    struct input *in = input_of_fd(fd, err);
    if (!in) {
        err_in(err, "'%s'", path);
        return ERR_INPUT;
    }
    ((struct file_input *)in)->owns_fd = true;
    (void)STEAL_FD(fd);
    *out = in;
    return 0;
}

/* ---- memory --------------------------------------------------------------------------------- */

struct span_input {
    struct input base;
    struct span data;
};

static ssize_t span_read(struct input *in, void *dst, size_t len, uint64_t offset, struct err *err)
{
    (void)err;
    const struct span_input *s = (const struct span_input *)in;
    if (offset >= s->data.len)
        return 0;
    struct span part = span_sub(s->data, (size_t)offset, len);
    memcpy(dst, part.data, part.len);
    return (ssize_t)part.len;
}

static void span_close(struct input *in)
{
    free(in);
}

struct input *input_of_span(struct span data)
{
    static const struct input_ops ops = {span_read, NULL, NULL, span_close};
    struct span_input *s = xcalloc(1, sizeof(*s));
    s->base = (struct input){.ops = &ops, .size_bytes = data.len};
    s->data = data;
    return &s->base;
}

/* ---- walking -------------------------------------------------------------------------------- */

/* Where the run that begins at `at` ends (at most `end`), and whether it is data. */
static int run_at(struct input *in, uint64_t at, uint64_t end, uint64_t *run_end, bool *is_data,
                  struct err *err)
{
    *is_data = true;
    *run_end = end;
    if (!in->ops->next_data || at >= in->size_bytes)
        return 0;
    uint64_t data, stop;
    int rc = in->ops->next_data(in, at, &data, err);
    if (rc < 0)
        return rc;
    *is_data = data <= at;
    stop = MIN_OF(data, in->size_bytes); /* past the end of a file there are no zeros either */
    if (*is_data && (rc = in->ops->next_hole(in, at, &stop, err)) < 0)
        return rc;
    if (stop > at) /* else the file has shrunk, which reading will show */
        *run_end = MIN_OF(stop, end);
    return 0;
}

/* Data of one run; 1 when the source ended in it. */
static int feed_run(struct input *in, uint8_t *part, uint64_t *at, uint64_t run_end,
                    input_sink_fn *sink, void *arg, struct err *err)
{
    while (*at < run_end) {
        size_t want = (size_t)MIN_OF((uint64_t)PART_BYTES, run_end - *at);
        ssize_t n = input_read(in, part, want, *at, err);
        if (n < 0)
            return (int)n;
        int rc = n ? sink(arg, part, (uint64_t)n, err) : 0;
        if (rc < 0)
            return rc;
        *at += (uint64_t)n;
        if ((size_t)n < want)
            return 1;
    }
    return 0;
}

int64_t input_walk(struct input *in, uint64_t offset, uint64_t len, input_sink_fn *sink, void *arg,
                   struct err *err)
{
    if (len > INT64_MAX || offset > INT64_MAX - len)
        return err_set(err, ERR_FORMAT, "%llu bytes at %llu: no file is that large",
                       (unsigned long long)len, (unsigned long long)offset);
    AUTO(free_ptr) uint8_t *part = xcalloc(1, (size_t)MIN_OF(len, (uint64_t)PART_BYTES));
    uint64_t at = offset, end = offset + len;
    while (at < end) {
        uint64_t run_end;
        bool is_data;
        int rc = run_at(in, at, end, &run_end, &is_data, err);
        if (rc < 0)
            return rc;
        if (is_data) {
            rc = feed_run(in, part, &at, run_end, sink, arg, err);
            if (rc > 0)
                break;
        } else {
            rc = sink(arg, NULL, run_end - at, err);
            at = run_end;
        }
        if (rc < 0)
            return rc;
    }
    return (int64_t)(at - offset);
}
