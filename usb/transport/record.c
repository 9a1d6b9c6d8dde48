#include "usb/transport/record.h"

#include <stdio.h>
#include <stdlib.h>

#include "usb/base/clock.h"
#include "usb/base/hash.h"
#include "usb/base/io.h"
#include "usb/base/mem.h"

#define WHOLE_BYTES 48 /* of a transfer that are written in full */
#define HEAD_BYTES  16 /* of a longer one */
#define LINE_BYTES  256

struct record {
    struct transport transport;
    uint8_t ep_in, ep_out;
    int fd;
    uint64_t left_bytes;
    int64_t start_ms;
};

static struct record *self(struct transport *t)
{
    return (struct record *)(void *)t;
}

/* A file that cannot be written must not stop a job: recording ends, the transfer goes on. */
static void line_write(struct record *r, const char *line, size_t len)
{
    static const char full[] = "# full\n";
    if (r->left_bytes == 0)
        return;
    bool fits = len + sizeof(full) <= r->left_bytes;
    if (io_write(r->fd, fits ? line : full, fits ? len : sizeof(full) - 1, NULL) < 0 || !fits)
        r->left_bytes = 0;
    else
        r->left_bytes -= len;
}

static void put(struct record *r, char direction, unsigned ep, const void *data, ssize_t n)
{
    char line[LINE_BYTES], hex[2 * WHOLE_BYTES + 1] = "";
    int64_t t_ms = clock_now_ms() - r->start_ms;
    int len;
    if (n < 0) {
        len = snprintf(line, sizeof(line), "%lld.%03d %c %02x %s\n", (long long)(t_ms / 1000),
                       (int)(t_ms % 1000), direction, ep, err_name((int)n));
    } else {
        struct span all = span_of(data, (size_t)n);
        hex_encode(span_sub(all, 0, n > WHOLE_BYTES ? HEAD_BYTES : WHOLE_BYTES), hex);
        len = snprintf(line, sizeof(line), "%lld.%03d %c %02x %zd %s", (long long)(t_ms / 1000),
                       (int)(t_ms % 1000), direction, ep, n, hex);
        len += n > WHOLE_BYTES ? snprintf(line + len, sizeof(line) - (size_t)len,
                                          "...+crc32=%08x\n", crc32_of(0, all))
                               : snprintf(line + len, sizeof(line) - (size_t)len, "\n");
    }
    line_write(r, line, (size_t)len);
}

static ssize_t record_read(struct transport *t, void *dst, size_t len, int64_t until_ms,
                           struct err *err)
{
    ssize_t n = transport_read(t->below, dst, len, until_ms, err);
    put(self(t), '<', self(t)->ep_in, dst, n);
    return n;
}

static ssize_t record_write(struct transport *t, const void *src, size_t len, int64_t until_ms,
                            struct err *err)
{
    ssize_t n = transport_write(t->below, src, len, until_ms, err);
    put(self(t), '>', self(t)->ep_out, src, n);
    return n;
}

static ssize_t record_control(struct transport *t, const struct usb_setup *setup, void *data,
                              int64_t until_ms, struct err *err)
{
    uint8_t raw[8] = {setup->request_type, setup->request};
    put_le16(raw + 2, setup->value);
    put_le16(raw + 4, setup->index);
    put_le16(raw + 6, setup->length);
    put(self(t), 'c', 0, raw, sizeof(raw));
    ssize_t n = transport_control(t->below, setup, data, until_ms, err);
    bool in = setup->request_type & 0x80;
    put(self(t), 'c', in ? 0x80 : 0, data, n);
    return n;
}

static void record_close(struct transport *t)
{
    transport_close(&t->below);
    free(self(t));
}

struct transport *transport_record_new(struct transport *below, const struct usb_identity *id,
                                       int file_fd, uint64_t max_bytes)
{
    static const struct transport_ops ops = {
        .name = "record",
        .read = record_read,
        .write = record_write,
        .control = record_control,
        .close = record_close,
    };
    struct record *r = xcalloc(1, sizeof(*r));
    r->transport = (struct transport){.ops = &ops, .below = below};
    r->ep_in = id->ep_in;
    r->ep_out = id->ep_out;
    r->fd = file_fd;
    r->left_bytes = max_bytes;
    r->start_ms = clock_now_ms();
    return &r->transport;
}
