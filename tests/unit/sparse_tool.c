/* sparse_tool: usb/format/sparse.h as a program, so that real_tools.sh can compare it with Debian's
 * simg2img and img2simg. sparse_tool expand IN OUT            unfolds IN, which must be sound
 *   sparse_tool pieces IN LIMIT PREFIX   IN as pieces PREFIX.0, PREFIX.1 ... of at most LIMIT bytes
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "usb/base/input.h"
#include "usb/base/io.h"
#include "usb/base/mem.h"
#include "usb/format/sparse.h"

static int unfold(void *arg, const struct sparse_extent *e, struct err *err)
{
    int fd = *(int *)arg;
    uint8_t block[4096];
    if (e->kind == SPARSE_RAW)
        return io_pwrite(fd, e->data, (size_t)e->length, (int64_t)e->offset, err);
    if (e->kind == SPARSE_DONT_CARE)
        return 0;
    for (size_t i = 0; i < sizeof(block); i += 4)
        memcpy(block + i, e->fill, 4);
    for (uint64_t done = 0; done < e->length; done += sizeof(block)) {
        size_t n = (size_t)MIN_OF(e->length - done, (uint64_t)sizeof(block));
        int rc = io_pwrite(fd, block, n, (int64_t)(e->offset + done), err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int feed(void *arg, const uint8_t *data, uint64_t len, struct err *err)
{
    static const uint8_t zeros[1 << 16];
    while (len) {
        size_t n = (size_t)(data ? len : MIN_OF(len, (uint64_t)sizeof(zeros)));
        int rc = sparse_feed(arg, span_of(data ? data : zeros, n), err);
        if (rc < 0)
            return rc;
        len -= n;
    }
    return 0;
}

static int expand(struct input *in, const char *out_path, struct err *err)
{
    AUTO(fd_close) int fd = open(out_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    struct sparse_options options = {.output_bytes_max = 1ull << 40};
    AUTO(sparse_reader_free) struct sparse_reader *r = sparse_reader_new(&options, unfold, &fd);
    int64_t n = input_walk(in, 0, in->size_bytes, feed, r, err);
    int rc = n < 0 ? (int)n : sparse_finish(r, err);
    if (rc >= 0 && ftruncate(fd, (off_t)sparse_position(r)) < 0)
        rc = err_sys(err, ERR_IO, "truncate");
    return rc;
}

struct image {
    struct input *in;
    uint64_t at;
};

static int image_next(void *arg, void *dst, size_t len, struct err *err)
{
    struct image *image = arg;
    ssize_t n = input_read(image->in, dst, len, image->at, err);
    image->at += len;
    return n < 0 ? (int)n : (size_t)n == len ? 0 : err_set(err, ERR_FORMAT, "file ends early");
}

static int piece_write(struct sparse_writer *w, uint32_t size, const char *path, struct err *err)
{
    uint8_t part[10007]; /* no multiple of anything */
    AUTO(fd_close) int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    for (uint32_t done = 0; done < size;) {
        uint32_t n = MIN_OF((uint32_t)sizeof(part), size - done);
        int rc = sparse_writer_source(w, part, n, err);
        if (rc >= 0)
            rc = io_write(fd, part, n, err);
        if (rc < 0)
            return rc;
        done += n;
    }
    return 0;
}

static int pieces(struct input *in, uint64_t limit, const char *prefix, struct err *err)
{
    struct image image = {in, 0};
    struct sparse_writer_options options = {in->size_bytes, 4096, limit};
    struct sparse_writer w;
    uint32_t size;
    int rc = sparse_writer_init(&w, &options, image_next, &image, err);
    for (int i = 0; rc >= 0 && (size = sparse_writer_next(&w)) > 0; i++) {
        AUTO(free_ptr) char *path = xasprintf("%s.%d", prefix, i);
        rc = piece_write(&w, size, path, err);
    }
    return rc;
}

int main(int argc, char **argv)
{
    struct err err = {0};
    AUTO(input_close) struct input *in = NULL;
    int rc = ERR_INPUT;
    if (argc >= 4 && input_open(AT_FDCWD, argv[2], &in, &err) < 0)
        rc = err.code;
    else if (argc == 4 && strcmp(argv[1], "expand") == 0)
        rc = expand(in, argv[3], &err);
    else if (argc == 5 && strcmp(argv[1], "pieces") == 0)
        rc = pieces(in, strtoull(argv[3], NULL, 0), argv[4], &err);
    if (rc < 0)
        fprintf(stderr, "sparse_tool: %s\n", err.text);
    return rc < 0;
}
