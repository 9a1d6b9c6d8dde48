#include "usb/recipe/image.h"

#include <stdlib.h>
#include <string.h>

#include "usb/base/io.h"
#include "usb/base/mem.h"
#include "usb/format/sparse.h"

enum { FEED_BYTES = 16 * 1024, HASH_BYTES = 256 * 1024 };

/* A part of the expanded image that waits to be sent; RAW bytes lie in `raw`. */
struct part {
    enum sparse_kind kind;
    uint64_t left;
    size_t raw_at;
    uint8_t fill[4];
};

struct image {
    struct image_spec spec;
    int64_t file_bytes, file_at;
    uint64_t sent;
    struct hasher *hasher;        /* of the stream */
    struct hasher *file_hasher;   /* of the file */
    struct sparse_reader *reader; /* NULL for raw files */
    struct part *parts;           /* of the last feed */
    size_t part_count, part_cap, part_at;
    struct buf raw;
    uint8_t feed[FEED_BYTES];
};

/* One feed of 16 KiB yields at most 16 KiB of raw bytes and some 1,400 parts. */
static int on_extent(void *arg, const struct sparse_extent *e, struct err *err)
{
    struct image *im = arg;
    if (im->part_count == im->part_cap) {
        im->part_cap = im->part_cap ? im->part_cap * 2 : 64;
        struct part *grown = realloc(im->parts, im->part_cap * sizeof(*grown));
        if (!grown)
            return err_set(err, ERR_LIMIT, "out of memory");
        im->parts = grown;
    }
    struct part *p = &im->parts[im->part_count++];
    *p = (struct part){.kind = e->kind, .left = e->length, .raw_at = im->raw.len};
    memcpy(p->fill, e->fill, sizeof(p->fill));
    if (e->kind == SPARSE_RAW)
        buf_put(&im->raw, e->data, (size_t)e->length);
    return buf_check(&im->raw, err);
}

int image_open(const struct image_spec *spec, struct image **out, struct err *err)
{
    int64_t size = io_size(spec->fd, err);
    if (size < 0)
        return (int)size;
    if (!spec->sparse && (uint64_t)size != spec->size_bytes)
        return err_set(err, ERR_MISMATCH, "the file has %lld bytes, the plan says %llu",
                       (long long)size, (unsigned long long)spec->size_bytes);
    struct image *im = xcalloc(1, sizeof(*im));
    im->spec = *spec;
    im->file_bytes = size;
    im->hasher = hasher_new();
    im->file_hasher = hasher_new();
    buf_init(&im->raw, 2 * FEED_BYTES);
    if (spec->sparse) {
        struct sparse_options options = {.output_bytes_max = spec->size_bytes};
        im->reader = sparse_reader_new(&options, on_extent, im);
    }
    *out = im;
    return 0;
}

static int feed_more(struct image *im, struct err *err)
{
    im->part_count = im->part_at = 0;
    buf_clear(&im->raw);
    int64_t left = im->file_bytes - im->file_at;
    if (left <= 0) {
        int rc = sparse_finish(im->reader, err);
        return rc < 0 ? rc : err_set(err, ERR_FORMAT, "the image ends early");
    }
    size_t n = left < FEED_BYTES ? (size_t)left : FEED_BYTES;
    int rc = io_pread(im->spec.fd, im->feed, n, im->file_at, err);
    if (rc < 0)
        return rc;
    im->file_at += (int64_t)n;
    hasher_update(im->file_hasher, im->feed, n);
    return sparse_feed(im->reader, span_of(im->feed, n), err);
}

static void take_part(struct image *im, struct part *p, uint8_t *dst, size_t n)
{
    if (p->kind == SPARSE_RAW) {
        memcpy(dst, im->raw.data + p->raw_at, n);
        p->raw_at += n;
    } else if (p->kind == SPARSE_FILL) {
        /* parts are cut at any byte: the pattern goes on where it stopped */
        size_t phase = (size_t)((4 - p->left % 4) % 4);
        for (size_t i = 0; i < n; i++)
            dst[i] = p->fill[(phase + i) % 4];
    } else {
        memset(dst, 0, n); /* don't care: zeros, so that what is on flash can be proven */
    }
    p->left -= n;
}

static int expand(struct image *im, uint8_t *dst, size_t len, struct err *err)
{
    while (len) {
        if (im->part_at == im->part_count) {
            int rc = feed_more(im, err);
            if (rc < 0)
                return rc;
            continue;
        }
        struct part *p = &im->parts[im->part_at];
        size_t n = p->left < len ? (size_t)p->left : len;
        take_part(im, p, dst, n);
        dst += n;
        len -= n;
        if (p->left == 0)
            im->part_at++;
    }
    return 0;
}

static int read_raw(struct image *im, uint8_t *dst, size_t len, struct err *err)
{
    int rc = io_pread(im->spec.fd, dst, len, im->file_at, err);
    if (rc < 0)
        return rc;
    im->file_at += (int64_t)len;
    hasher_update(im->file_hasher, dst, len);
    return 0;
}

int image_source(void *arg, void *dst, size_t len, struct err *err)
{
    struct image *im = arg;
    uint64_t left = im->sent < im->spec.size_bytes ? im->spec.size_bytes - im->sent : 0;
    size_t n = left < len ? (size_t)left : len;
    int rc = im->reader ? expand(im, dst, n, err) : read_raw(im, dst, n, err);
    if (rc < 0)
        return rc;
    memset((uint8_t *)dst + n, 0, len - n);
    hasher_update(im->hasher, dst, len);
    im->sent += len;
    return 0;
}

struct sha256 image_sent(struct image *im)
{
    return hasher_finish(im->hasher);
}

int image_read(struct image *im, struct sha256 *out, struct err *err)
{
    while (im->file_at < im->file_bytes) {
        size_t n = (size_t)MIN_OF(im->file_bytes - im->file_at, (int64_t)FEED_BYTES);
        int rc = read_raw(im, im->feed, n, err);
        if (rc < 0)
            return rc;
    }
    *out = hasher_finish(im->file_hasher);
    return 0;
}

void image_close(struct image **im)
{
    if (!*im)
        return;
    hasher_free(&(*im)->hasher);
    hasher_free(&(*im)->file_hasher);
    sparse_reader_free(&(*im)->reader);
    buf_deinit(&(*im)->raw);
    free((*im)->parts);
    free(*im);
    *im = NULL;
}

int image_file_sha256(int fd, struct sha256 *out, void (*tick)(void *arg), void *tick_arg,
                      struct err *err)
{
    int64_t size = io_size(fd, err), at = 0;
    if (size < 0)
        return (int)size;
    AUTO(free_ptr) uint8_t *piece = xcalloc(1, HASH_BYTES);
    AUTO(hasher_free) struct hasher *h = hasher_new();
    while (at < size) {
        size_t n = size - at < HASH_BYTES ? (size_t)(size - at) : HASH_BYTES;
        int rc = io_pread(fd, piece, n, at, err);
        if (rc < 0)
            return rc;
        hasher_update(h, piece, n);
        at += (int64_t)n;
        if (tick)
            tick(tick_arg);
    }
    *out = hasher_finish(h);
    return 0;
}
