#include "usb/transport/fault_transport.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include "usb/base/clock.h"
#include "usb/base/mem.h"

struct fault_layer {
    struct transport transport;
    struct fault_spec spec;
    uint64_t random;
    int64_t count;
    bool gone, done;
    char step[sizeof(((struct fault_spec *)0)->step)];
};

static struct fault_layer *self(struct transport *t)
{
    return (struct fault_layer *)(void *)t;
}

/* The kind that is due for this transfer; each specification acts once. */
static enum fault_kind due(struct fault_layer *f)
{
    f->count++;
    if (f->done || (f->spec.transfer >= 0 && f->spec.transfer != f->count) ||
        (f->spec.step[0] && strcmp(f->spec.step, f->step) != 0))
        return FAULT_NONE;
    f->done = true;
    return f->spec.kind;
}

static size_t place(struct fault_layer *f, size_t len)
{
    if (len == 0)
        return 0;
    uint64_t at = f->spec.byte >= 0 ? (uint64_t)f->spec.byte : fault_random(&f->random);
    return (size_t)(at % len);
}

static int late(struct transport *t, int64_t until_ms, struct err *err)
{
    for (int left_ms; (left_ms = clock_left(until_ms, 500)) > 0;) {
        poll(NULL, 0, left_ms);
        if (t->tick)
            t->tick(t->tick_arg);
    }
    return err_set(err, ERR_TIMEOUT, "fault: late");
}

/* What kinds have in common; 0 when the transfer shall be done. */
static int before(struct transport *t, enum fault_kind kind, int64_t until_ms, struct err *err)
{
    struct fault_layer *f = self(t);
    f->gone = f->gone || kind == FAULT_UNPLUG || kind == FAULT_RESET;
    if (f->gone)
        return err_set(err, ERR_GONE, "fault: %s", fault_kind_word(f->spec.kind));
    if (kind == FAULT_LATE)
        return late(t, until_ms, err);
    if (kind == FAULT_STALL)
        return err_set(err, ERR_IO, "fault: stall");
    return 0;
}

static ssize_t fault_read(struct transport *t, void *dst, size_t len, int64_t until_ms,
                          struct err *err)
{
    struct fault_layer *f = self(t);
    enum fault_kind kind = due(f);
    int rc = before(t, kind, until_ms, err);
    ssize_t n = rc < 0 ? rc : transport_read(t->below, dst, len, until_ms, err);
    if (n <= 0)
        return n;
    if (kind == FAULT_CORRUPT)
        ((uint8_t *)dst)[place(f, (size_t)n)] ^= (uint8_t)(1u << fault_random(&f->random) % 8);
    if (kind == FAULT_SHORT)
        return (ssize_t)place(f, (size_t)n);
    return kind == FAULT_LIE ? 0 : n;
}

static ssize_t fault_write(struct transport *t, const void *src, size_t len, int64_t until_ms,
                           struct err *err)
{
    struct fault_layer *f = self(t);
    enum fault_kind kind = due(f);
    int rc = before(t, kind, until_ms, err);
    if (rc < 0)
        return rc;
    if (kind == FAULT_LIE)
        return (ssize_t)len;
    if (kind == FAULT_SHORT) {
        size_t part = place(f, len);
        ssize_t n = part ? transport_write(t->below, src, part, until_ms, err) : 0;
        return n < 0 ? n : err_set(err, ERR_IO, "fault: %zu of %zu bytes", part, len);
    }
    if (kind != FAULT_CORRUPT || len == 0)
        return transport_write(t->below, src, len, until_ms, err);
    AUTO(free_ptr) uint8_t *copy = malloc(len);
    if (!copy)
        return err_set(err, ERR_IO, "no memory");
    memcpy(copy, src, len);
    copy[place(f, len)] ^= (uint8_t)(1u << fault_random(&f->random) % 8);
    return transport_write(t->below, copy, len, until_ms, err);
}

static ssize_t fault_control(struct transport *t, const struct usb_setup *setup, void *data,
                             int64_t until_ms, struct err *err)
{
    enum fault_kind kind = due(self(t));
    int rc = before(t, kind, until_ms, err);
    if (kind == FAULT_STALL)
        return err_set(err, ERR_REFUSED, "fault: stall");
    if (rc < 0)
        return rc;
    return kind == FAULT_LIE ? setup->length
                             : transport_control(t->below, setup, data, until_ms, err);
}

static void fault_close(struct transport *t)
{
    transport_close(&t->below);
    free(self(t));
}

struct transport *transport_fault_new(struct transport *below, const struct fault_spec *spec)
{
    static const struct transport_ops ops = {
        .name = "fault",
        .read = fault_read,
        .write = fault_write,
        .control = fault_control,
        .close = fault_close,
    };
    struct fault_layer *f = xcalloc(1, sizeof(*f));
    f->transport = (struct transport){.ops = &ops, .below = below};
    f->spec = *spec;
    f->random = spec->seed;
    return &f->transport;
}

void transport_fault_step(struct transport *t, const char *step)
{
    snprintf(self(t)->step, sizeof(self(t)->step), "%s", step);
}

int64_t transport_fault_count(const struct transport *t)
{
    return ((const struct fault_layer *)(const void *)t)->count;
}
