#include "usb/transport/record.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "usb/base/clock.h"
#include "usb/base/hash.h"
#include "usb/base/io.h"
#include "usb/base/mem.h"
#include "usb/codec/pcapng.h"

#define FRAME_BYTES 512 /* of a block around its data: headers and options */
#define IN_PROGRESS (-115)

struct record {
    int fd;
    uint64_t left_bytes, last_id;
    off_t end; /* of what was written whole */
    uint32_t keep_bytes;
    uint8_t device;
    char comment[PCAPNG_COMMENT_MAX];
    struct buf block;
};

struct record_layer {
    struct transport transport;
    struct record *record;
    uint8_t device, ep_in, ep_out;
};

static struct record_layer *self(struct transport *t)
{
    return (struct record_layer *)(void *)t;
}

/* ---- the file ---------------------------------------------------------------------------- */

/* A block that does not fit on the disk ends the record, and leaves no half behind. */
static void block_write(struct record *r)
{
    if (buf_check(&r->block, NULL) < 0 || io_write(r->fd, r->block.data, r->block.len, NULL) < 0) {
        r->left_bytes = 0;
        (void)!ftruncate(r->fd, r->end);
    } else {
        r->left_bytes -= r->block.len;
        r->end += (off_t)r->block.len;
    }
    buf_clear(&r->block);
}

struct record *record_new(int file_fd, uint64_t max_bytes, uint32_t keep_bytes)
{
    struct record *r = xcalloc(1, sizeof(*r));
    r->fd = file_fd;
    r->left_bytes = max_bytes;
    r->keep_bytes = keep_bytes;
    buf_init(&r->block, keep_bytes + FRAME_BYTES);
    pcapng_head_encode(keep_bytes, &r->block);
    if (r->block.len > max_bytes)
        r->left_bytes = 0;
    else
        block_write(r);
    return r;
}

void record_free(struct record **r)
{
    if (!*r)
        return;
    buf_deinit(&(*r)->block);
    free(*r);
    *r = NULL;
}

void record_comment(struct record *r, const char *text)
{
    snprintf(r->comment, sizeof(r->comment), "%s", text);
}

static void put(struct record *r, struct pcapng_usb *p)
{
    if (r->left_bytes == 0)
        return;
    p->at_ms = clock_utc_ms();
    memcpy(p->comment, r->comment, sizeof(p->comment));
    r->comment[0] = '\0';
    if (p->data.len > r->keep_bytes) {
        p->has_crc32 = true;
        p->crc32 = crc32_of(0, p->data);
        p->data.len = r->keep_bytes;
    }
    bool last = r->left_bytes < 2 * ((uint64_t)p->data.len + FRAME_BYTES);
    if (last)
        snprintf(p->comment, sizeof(p->comment), "the record is full");
    pcapng_usb_encode(p, &r->block);
    if (r->block.len > r->left_bytes)
        buf_clear(&r->block);
    else
        block_write(r);
    if (last)
        r->left_bytes = 0;
}

/* ---- the layer --------------------------------------------------------------------------- */

static int32_t status_of(ssize_t n)
{
    switch (n) {
    case ERR_TIMEOUT:
        return -ETIMEDOUT;
    case ERR_GONE:
        return -ENODEV;
    case ERR_REFUSED:
        return -EPIPE;
    default:
        return n < 0 ? -EIO : 0;
    }
}

static struct pcapng_usb begin(struct transport *t, uint8_t type, uint8_t endpoint, size_t length)
{
    struct record_layer *l = self(t);
    return (struct pcapng_usb){.id = ++l->record->last_id,
                               .event = 'S',
                               .type = type,
                               .endpoint = endpoint,
                               .device = l->device,
                               .status = IN_PROGRESS,
                               .length = (uint32_t)length};
}

static void end(struct transport *t, const struct pcapng_usb *asked, const void *data, ssize_t n)
{
    struct pcapng_usb p = *asked;
    p.event = 'C';
    p.has_setup = p.has_crc32 = false;
    p.status = status_of(n);
    p.length = n > 0 ? (uint32_t)n : 0;
    p.data = span_of(data, data ? p.length : 0);
    put(self(t)->record, &p);
}

static ssize_t record_read(struct transport *t, void *dst, size_t len, int64_t until_ms,
                           struct err *err)
{
    struct pcapng_usb p = begin(t, PCAPNG_BULK, self(t)->ep_in, len);
    put(self(t)->record, &p);
    ssize_t n = transport_read(t->below, dst, len, until_ms, err);
    end(t, &p, dst, n);
    return n;
}

static ssize_t record_write(struct transport *t, const void *src, size_t len, int64_t until_ms,
                            struct err *err)
{
    struct pcapng_usb p = begin(t, PCAPNG_BULK, self(t)->ep_out, len);
    p.data = span_of(src, len);
    put(self(t)->record, &p);
    ssize_t n = transport_write(t->below, src, len, until_ms, err);
    end(t, &p, NULL, n);
    return n;
}

static ssize_t record_control(struct transport *t, const struct usb_setup *setup, void *data,
                              int64_t until_ms, struct err *err)
{
    bool in = setup->request_type & 0x80;
    struct pcapng_usb p = begin(t, PCAPNG_CONTROL, in ? 0x80 : 0, setup->length);
    p.has_setup = true;
    p.setup[0] = setup->request_type;
    p.setup[1] = setup->request;
    put_le16(p.setup + 2, setup->value);
    put_le16(p.setup + 4, setup->index);
    put_le16(p.setup + 6, setup->length);
    p.data = span_of(data, in || !data ? 0 : setup->length);
    put(self(t)->record, &p);
    ssize_t n = transport_control(t->below, setup, data, until_ms, err);
    end(t, &p, in ? data : NULL, n);
    return n;
}

static void record_close(struct transport *t)
{
    transport_close(&t->below);
    free(self(t));
}

struct transport *transport_record_new(struct transport *below, const struct usb_identity *id,
                                       struct record *r)
{
    static const struct transport_ops ops = {
        .name = "record",
        .read = record_read,
        .write = record_write,
        .control = record_control,
        .close = record_close,
    };
    struct record_layer *l = xcalloc(1, sizeof(*l));
    l->transport = (struct transport){.ops = &ops, .below = below};
    l->record = r;
    l->device = ++r->device;
    l->ep_in = id->ep_in;
    l->ep_out = id->ep_out;
    return &l->transport;
}
