/* input.c: inputs whose reading keeps the heartbeat going. */
#include <stdlib.h>

#include "usb/base/mem.h"
#include "usb/worker/host.h"

struct beating {
    struct input base;
    struct input *inner;
    struct host *host;
};

static struct beating *beating_of(struct input *in)
{
    return (struct beating *)in; /* base is its first member */
}

static ssize_t beating_read(struct input *in, void *dst, size_t len, uint64_t offset,
                            struct err *err)
{
    struct beating *b = beating_of(in);
    host_tick(b->host);
    ssize_t n = b->inner->ops->read(b->inner, dst, len, offset, err);
    in->size_bytes = b->inner->size_bytes; /* a stream learns its size at its end */
    in->cut_off = b->inner->cut_off;
    return n;
}

static int beating_next_data(struct input *in, uint64_t offset, uint64_t *out, struct err *err)
{
    struct input *inner = beating_of(in)->inner;
    return inner->ops->next_data(inner, offset, out, err);
}

static int beating_next_hole(struct input *in, uint64_t offset, uint64_t *out, struct err *err)
{
    struct input *inner = beating_of(in)->inner;
    return inner->ops->next_hole(inner, offset, out, err);
}

static void beating_close(struct input *in)
{
    struct beating *b = beating_of(in);
    input_close(&b->inner);
    free(b);
}

static const struct input_ops with_holes = {beating_read, beating_next_data, beating_next_hole,
                                            beating_close};
static const struct input_ops without_holes = {beating_read, NULL, NULL, beating_close};

struct input *host_input(struct host *h, struct input *inner)
{
    if (!inner)
        return NULL;
    struct beating *b = xcalloc(1, sizeof(*b));
    b->base.ops = inner->ops->next_data ? &with_holes : &without_holes;
    b->base.size_bytes = inner->size_bytes;
    b->base.forward_only = inner->forward_only;
    b->inner = inner;
    b->host = h;
    return &b->base;
}
