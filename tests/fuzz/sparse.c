/* The reader gives extents in rising order without gaps, the same whatever pieces it is fed in; an
 * image that passes can be told to have no trailing blocks. */
#include "tests/fuzz/fuzz.h"
#include "usb/base/hash.h"
#include "usb/format/sparse.h"

struct seen {
    uint64_t at;
    uint32_t sum;
};

static int sink(void *arg, const struct sparse_extent *e, struct err *err)
{
    (void)err;
    struct seen *s = arg;
    MUST(e->offset == s->at && e->length > 0);
    s->at += e->length;
    if (e->kind == SPARSE_RAW)
        s->sum = crc32_of(s->sum, span_of(e->data, (size_t)e->length));
    else
        MUST(e->length % 4 == 0);
    return 0;
}

static int run(const uint8_t *data, size_t size, size_t step, bool skip_crc, struct seen *seen)
{
    *seen = (struct seen){0};
    struct sparse_options options = {.output_bytes_max = 1ull << 40, .skip_crc = skip_crc};
    struct sparse_reader *r = sparse_reader_new(&options, sink, seen);
    int rc = 0;
    for (size_t at = 0; rc >= 0 && at < size; at += step)
        rc = sparse_feed(r, span_sub(span_of(data, size), at, step), NULL);
    if (rc >= 0)
        rc = sparse_finish(r, NULL);
    if (rc >= 0)
        MUST(seen->at == sparse_output_bytes(sparse_reader_header(r)));
    sparse_reader_free(&r);
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct seen whole, pieces;
    int a = run(data, size, size ? size : 1, false, &whole);
    int b = run(data, size, 7, false, &pieces);
    MUST(a == b && whole.at == pieces.at && whole.sum == pieces.sum);
    int c = run(data, size, size ? size : 1, true, &pieces);
    MUST(a < 0 || c == 0 || c == ERR_UNSUPPORTED);
    return 0;
}
