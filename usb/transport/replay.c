#include "usb/transport/replay.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "usb/base/mem.h"
#include "usb/codec/pcapng.h"

struct transfer { /* both halves */
    struct pcapng_usb asked, done;
};

struct replay {
    struct transfer *transfers;
    size_t count, cap, at;
    uint8_t device;
};

struct replay_layer {
    struct transport transport;
    struct replay *replay;
    uint8_t device;
};

static struct replay *self(struct transport *t)
{
    return ((struct replay_layer *)(void *)t)->replay;
}

static struct transfer *grow(struct replay *r)
{
    if (r->count == r->cap) {
        r->cap = r->cap ? 2 * r->cap : 1024;
        r->transfers = realloc(r->transfers, r->cap * sizeof(*r->transfers));
        if (!r->transfers)
            abort();
    }
    return &r->transfers[r->count++];
}

/* Halves follow one another: the host's calls block. */
static int pair(struct replay *r, const struct pcapng_usb *p, struct err *err)
{
    if (p->has_crc32)
        return err_set(err, ERR_FORMAT, "transfer %llu was not kept whole",
                       (unsigned long long)p->id);
    if (p->event == 'S') {
        grow(r)->asked = *p;
        return 0;
    }
    if (r->count == 0 || r->transfers[r->count - 1].asked.id != p->id)
        return err_set(err, ERR_FORMAT, "transfer %llu ends, but never began",
                       (unsigned long long)p->id);
    r->transfers[r->count - 1].done = *p;
    return 0;
}

int replay_new(struct span file, struct replay **out, struct err *err)
{
    AUTO(replay_free) struct replay *r = xcalloc(1, sizeof(*r));
    struct pcapng_usb p;
    size_t at = 0;
    int rc;
    while ((rc = pcapng_next(file, &at, &p, err)) > 0) {
        rc = pair(r, &p, err);
        if (rc < 0)
            break;
    }
    if (rc < 0)
        return rc;
    if (r->count && r->transfers[r->count - 1].done.event != 'C')
        r->count--; /* the worker ended in the middle of it */
    *out = STEAL(r);
    return 0;
}

void replay_free(struct replay **r)
{
    if (*r)
        free((*r)->transfers);
    free(*r);
    *r = NULL;
}

size_t replay_left(const struct replay *r)
{
    return r->count - r->at;
}

static int code_of(int32_t status)
{
    switch (status) {
    case -ETIMEDOUT:
        return ERR_TIMEOUT;
    case -ENODEV:
        return ERR_GONE;
    case -EPIPE:
        return ERR_REFUSED;
    default:
        return status ? ERR_IO : 0;
    }
}

/* The recorded transfer if the call is what was recorded, else NULL. */
static const struct transfer *next(struct transport *t, const struct pcapng_usb *call,
                                   struct err *err)
{
    struct replay *r = self(t);
    const struct transfer *want = r->at < r->count ? &r->transfers[r->at] : NULL;
    bool same = want && want->asked.type == call->type &&
                (want->asked.endpoint & 0x80) == (call->endpoint & 0x80) &&
                want->asked.device == ((struct replay_layer *)(void *)t)->device &&
                want->asked.length == call->length && want->asked.data.len == call->data.len &&
                memcmp(want->asked.setup, call->setup, sizeof(call->setup)) == 0 &&
                (call->data.len == 0 ||
                 memcmp(want->asked.data.data, call->data.data, call->data.len) == 0);
    if (!same) {
        err_set(err, ERR_PROTOCOL, "transfer %zu of %zu is not what was recorded", r->at + 1,
                r->count);
        return NULL;
    }
    r->at++;
    return want;
}

static ssize_t finish(const struct transfer *x, void *dst, struct err *err)
{
    int code = code_of(x->done.status);
    if (code < 0)
        return err_set(err, code, "as recorded: USB error %d", (int)x->done.status);
    if (dst && x->done.data.len)
        memcpy(dst, x->done.data.data, x->done.data.len);
    return (ssize_t)x->done.length;
}

static ssize_t replay_read(struct transport *t, void *dst, size_t len, int64_t until_ms,
                           struct err *err)
{
    const struct pcapng_usb call = {.type = PCAPNG_BULK, .endpoint = 0x80, .length = (uint32_t)len};
    const struct transfer *x = next(t, &call, err);
    (void)until_ms;
    return x ? finish(x, dst, err) : ERR_PROTOCOL;
}

static ssize_t replay_write(struct transport *t, const void *src, size_t len, int64_t until_ms,
                            struct err *err)
{
    const struct pcapng_usb call = {
        .type = PCAPNG_BULK, .length = (uint32_t)len, .data = span_of(src, len)};
    const struct transfer *x = next(t, &call, err);
    (void)until_ms;
    return x ? finish(x, NULL, err) : ERR_PROTOCOL;
}

static ssize_t replay_control(struct transport *t, const struct usb_setup *setup, void *data,
                              int64_t until_ms, struct err *err)
{
    bool in = setup->request_type & 0x80;
    struct pcapng_usb call = {.type = PCAPNG_CONTROL,
                              .endpoint = in ? 0x80 : 0,
                              .length = setup->length,
                              .setup = {setup->request_type, setup->request}};
    put_le16(call.setup + 2, setup->value);
    put_le16(call.setup + 4, setup->index);
    put_le16(call.setup + 6, setup->length);
    call.data = span_of(data, in || !data ? 0 : setup->length);
    const struct transfer *x = next(t, &call, err);
    (void)until_ms;
    return x ? finish(x, in ? data : NULL, err) : ERR_PROTOCOL;
}

static void replay_close(struct transport *t)
{
    free(t);
}

struct transport *replay_device(struct replay *r, struct usb_identity *id_out)
{
    static const struct transport_ops ops = {
        .name = "replay",
        .read = replay_read,
        .write = replay_write,
        .control = replay_control,
        .close = replay_close,
    };
    struct replay_layer *l = xcalloc(1, sizeof(*l));
    l->transport.ops = &ops;
    l->replay = r;
    l->device = ++r->device;
    *id_out = (struct usb_identity){.comm_interface = 0xff};
    for (size_t i = r->at; i < r->count && r->transfers[i].asked.device == l->device; i++) {
        const struct pcapng_usb *p = &r->transfers[i].asked;
        if (p->has_setup && p->setup[0] == 0x21) /* class request to the CDC interface */
            id_out->comm_interface = p->setup[4];
        if (p->type == PCAPNG_BULK)
            *(p->endpoint & 0x80 ? &id_out->ep_in : &id_out->ep_out) = p->endpoint;
    }
    return &l->transport;
}
