#include "usb/proto/da_packet.h"

#include "usb/base/clock.h"
#include "usb/base/mem.h"

int da_packet_write(struct da *da, const void *payload, size_t len, struct err *err)
{
    uint8_t header[XFLASH_HEADER_BYTES];
    xflash_header_store(XFLASH_KIND_FLOW, (uint32_t)len, header);
    int rc = link_write(da->link, header, sizeof(header), DA_SEND_MS, err);
    if (rc == 0)
        rc = link_write(da->link, payload, len, DA_SEND_MS, err);
    return rc < 0 ? link_lost(da->link, "sending to the download agent", err) : 0;
}

int da_word_write(struct da *da, uint32_t word, struct err *err)
{
    uint8_t raw[4];
    put_le32(raw, word);
    return da_packet_write(da, raw, sizeof(raw), err);
}

/* A log packet's payload, in small bites: its length is the phone's claim. */
static int log_drop(struct da *da, uint32_t length, int64_t timeout_ms, struct err *err)
{
    uint8_t bite[512];
    while (length) {
        size_t n = MIN_OF(length, sizeof(bite));
        int rc = link_read(da->link, bite, n, timeout_ms, err);
        if (rc < 0)
            return rc;
        length -= (uint32_t)n;
    }
    return 0;
}

int da_header_read(struct da *da, size_t max, int64_t timeout_ms, uint32_t *length_out,
                   struct err *err)
{
    int64_t until_ms = clock_in(timeout_ms);
    for (;;) {
        uint8_t raw[XFLASH_HEADER_BYTES];
        struct xflash_header header;
        int rc = link_read(da->link, raw, sizeof(raw), timeout_ms, err);
        if (rc < 0)
            return rc;
        if (xflash_header_decode(span_of(raw, sizeof(raw)), &header, err) < 0)
            return link_lost(da->link, "packet header", err);
        if (header.kind != XFLASH_KIND_MESSAGE) {
            if (header.length_bytes <= max) {
                *length_out = header.length_bytes;
                return 0;
            }
            err_set(err, ERR_PROTOCOL, "%u bytes where at most %zu can be", header.length_bytes,
                    max);
            return link_lost(da->link, "packet header", err);
        }
        rc = log_drop(da, header.length_bytes, timeout_ms, err);
        if (rc < 0)
            return rc;
        if (clock_left(until_ms, 1) == 0)
            return err_set(err, ERR_TIMEOUT, "only log text in %lld ms", (long long)timeout_ms);
    }
}

int da_packet_read(struct da *da, struct buf *reply, int64_t timeout_ms, const char *what,
                   struct err *err)
{
    uint32_t length = 0;
    buf_clear(reply);
    int rc = da_header_read(da, reply->ceiling, timeout_ms, &length, err);
    if (rc == 0 && length) {
        uint8_t *at = buf_grow(reply, length);
        rc = at ? link_read(da->link, at, length, timeout_ms, err) : buf_check(reply, err);
    }
    return rc < 0 ? link_lost(da->link, what, err) : 0;
}

int da_word_read(struct da *da, uint32_t *out, int64_t timeout_ms, const char *what,
                 struct err *err)
{
    uint8_t raw[4];
    uint32_t length = 0;
    int rc = da_header_read(da, sizeof(raw), timeout_ms, &length, err);
    if (rc == 0)
        rc = link_read(da->link, raw, length, timeout_ms, err);
    if (rc == 0)
        rc = xflash_word_decode(span_of(raw, length), out, err);
    return rc < 0 ? link_lost(da->link, what, err) : 0;
}

int da_status_fail(struct da *da, uint32_t status, const char *what, struct err *err)
{
    int rc = xflash_status_err(status, what, err);
    if (rc == ERR_DEAD || rc == ERR_PROTOCOL)
        return link_lost(da->link, "status", err);
    return rc;
}

int da_status_read(struct da *da, int64_t timeout_ms, const char *what, struct err *err)
{
    uint32_t status = 0;
    int rc = da_word_read(da, &status, timeout_ms, what, err);
    if (rc == 0 && status != XFLASH_OK)
        rc = da_status_fail(da, status, what, err);
    return rc;
}

int da_command(struct da *da, enum xflash_command code, struct err *err)
{
    int rc = link_check(da->link, err);
    if (rc == 0)
        rc = da_word_write(da, (uint32_t)code, err);
    return rc < 0 ? rc : da_status_read(da, DA_REPLY_MS, xflash_command_find(code)->name, err);
}
