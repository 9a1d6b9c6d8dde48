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
    int64_t count, control_count;
    bool gone, naks, done;
    char step[sizeof(((struct fault_spec *)0)->step)];
};

static struct fault_layer *self(struct transport *t)
{
    return (struct fault_layer *)(void *)t;
}

/* The kind that is due for this transfer; each specification acts once. */
static enum fault_kind due(struct fault_layer *f, bool control)
{
    int64_t count = control ? ++f->control_count : ++f->count;
    int64_t wanted = control ? f->spec.control : f->spec.transfer;
    if (f->done || fault_kind_actor(f->spec.kind) != FAULT_BY_WIRE ||
        control != (f->spec.control >= 0) || (wanted >= 0 && wanted != count) ||
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

/* NAK until `end_ms`; 0 when the transfer then goes on, ERR_TIMEOUT when its deadline came first. */
static int late(struct transport *t, int64_t end_ms, int64_t until_ms, struct err *err)
{
    int64_t stop_ms = MIN_OF(end_ms, until_ms);
    for (int left_ms; (left_ms = clock_left(stop_ms, 500)) > 0;) {
        poll(NULL, 0, left_ms);
        if (t->tick)
            t->tick(t->tick_arg);
    }
    return end_ms < until_ms ? 0 : err_set(err, ERR_TIMEOUT, "fault: late");
}

/* What kinds have in common; 0 when the transfer shall be done. */
static int before(struct transport *t, enum fault_kind kind, int64_t until_ms, struct err *err)
{
    struct fault_layer *f = self(t);
    f->gone = f->gone || kind == FAULT_UNPLUG || kind == FAULT_RESET;
    f->naks = f->naks || kind == FAULT_NAK;
    if (f->gone)
        return err_set(err, ERR_GONE, "fault: %s", fault_kind_word(f->spec.kind));
    if (f->naks)
        return late(t, INT64_MAX, until_ms, err);
    if (kind == FAULT_LATE)
        return late(t, f->spec.ms < 0 ? INT64_MAX : fault_late_until_ms(&f->spec), until_ms, err);
    if (kind == FAULT_STALL)
        return err_set(err, ERR_IO, "fault: stall");
    return 0;
}

/* What a kind makes of `n` bytes on their way; how many there are now, at most `max`. */
static ssize_t spoil(struct fault_layer *f, enum fault_kind kind, uint8_t *data, size_t n,
                     size_t max)
{
    if (kind == FAULT_CORRUPT)
        data[place(f, n)] ^= (uint8_t)(1u << fault_random(&f->random) % 8);
    else if (kind == FAULT_GARBAGE)
        fault_garbage(f->random, data, n);
    else if (kind == FAULT_SHORT)
        return (ssize_t)place(f, n);
    else if (kind == FAULT_LIE)
        return 0;
    else if (kind == FAULT_LONG) {
        size_t more = MIN_OF(max - n, (size_t)FAULT_LONG_BYTES);
        fault_garbage(f->random, data + n, more);
        return (ssize_t)(n + more);
    }
    return (ssize_t)n;
}

/* The same for what was read: an error, nothing, or bytes. */
static ssize_t spoil_read(struct fault_layer *f, enum fault_kind kind, uint8_t *data, ssize_t n,
                          size_t max, struct err *err)
{
    if (n > 0 && kind == FAULT_BABBLE)
        return err_set(err, ERR_IO, "fault: more came than was asked for");
    return n <= 0 ? n : spoil(f, kind, data, (size_t)n, max);
}

static ssize_t fault_read(struct transport *t, void *dst, size_t len, int64_t until_ms,
                          struct err *err)
{
    enum fault_kind kind = due(self(t), false);
    int rc = before(t, kind, until_ms, err);
    ssize_t n = rc < 0 ? rc : transport_read(t->below, dst, len, until_ms, err);
    return spoil_read(self(t), kind, dst, n, len, err);
}

static ssize_t fault_write(struct transport *t, const void *src, size_t len, int64_t until_ms,
                           struct err *err)
{
    struct fault_layer *f = self(t);
    enum fault_kind kind = due(f, false);
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
    if ((kind != FAULT_CORRUPT && kind != FAULT_GARBAGE) || len == 0)
        return transport_write(t->below, src, len, until_ms, err);
    AUTO(free_ptr) uint8_t *copy = malloc(len);
    if (!copy)
        return err_set(err, ERR_IO, "no memory");
    memcpy(copy, src, len);
    spoil(f, kind, copy, len, len);
    return transport_write(t->below, copy, len, until_ms, err);
}

static ssize_t fault_control(struct transport *t, const struct usb_setup *setup, void *data,
                             int64_t until_ms, struct err *err)
{
    enum fault_kind kind = due(self(t), true);
    int rc = before(t, kind, until_ms, err);
    if (kind == FAULT_STALL)
        return err_set(err, ERR_REFUSED, "fault: stall");
    if (rc < 0)
        return rc;
    if (kind == FAULT_LIE)
        return setup->length;
    ssize_t n = transport_control(t->below, setup, data, until_ms, err);
    bool in = setup->request_type & 0x80;
    return in ? spoil_read(self(t), kind, data, n, setup->length, err) : n;
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
