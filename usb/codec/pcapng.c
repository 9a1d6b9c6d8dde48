#include "usb/codec/pcapng.h"

#include <stdio.h>
#include <string.h>

#include "usb/base/mem.h"

enum {
    BLOCK_SECTION = 0x0a0d0d0a,
    BLOCK_INTERFACE = 1,
    BLOCK_PACKET = 6,
    BYTE_ORDER_MARK = 0x1a2b3c4d,
    OPTION_END = 0,
    OPTION_COMMENT = 1,
    OPTION_HASH = 3,
    OPTION_TIME_RESOLUTION = 9,
    OPTION_NAME = 2,
    HASH_CRC32 = 2,
    BLOCK_FRAME_BYTES = 12, /* type, and the length at both ends */
    PACKET_FIXED_BYTES = 20,
};

/* ---- writing ----------------------------------------------------------------------------- */

static size_t pad4(size_t n)
{
    return (4 - n % 4) % 4;
}

static void option_put(struct buf *out, uint16_t code, const void *value, size_t len)
{
    buf_put_le16(out, code);
    buf_put_le16(out, (uint16_t)len);
    buf_put(out, value, len);
    buf_put_zeros(out, pad4(len));
}

static size_t block_begin(struct buf *out, uint32_t type)
{
    size_t at = out->len;
    buf_put_le32(out, type);
    buf_put_le32(out, 0); /* block_end() knows */
    return at;
}

static void block_end(struct buf *out, size_t at)
{
    uint32_t len = (uint32_t)(out->len - at + 4);
    buf_put_le32(out, len);
    if (!out->over)
        put_le32(out->data + at + 4, len);
}

void pcapng_head_encode(uint32_t keep_bytes, struct buf *out)
{
    static const char name[] = "phone";
    static const uint8_t milliseconds = 3; /* 10^-3 s */
    size_t at = block_begin(out, BLOCK_SECTION);
    buf_put_le32(out, BYTE_ORDER_MARK);
    buf_put_le16(out, 1); /* version 1.0 */
    buf_put_le16(out, 0);
    buf_put_le64(out, UINT64_MAX); /* length of the section: not known */
    block_end(out, at);
    at = block_begin(out, BLOCK_INTERFACE);
    buf_put_le16(out, PCAPNG_LINK_USB_MMAPPED);
    buf_put_le16(out, 0);
    buf_put_le32(out, keep_bytes + PCAPNG_USB_HEADER_BYTES);
    option_put(out, OPTION_NAME, name, sizeof(name) - 1);
    option_put(out, OPTION_TIME_RESOLUTION, &milliseconds, 1);
    option_put(out, OPTION_END, NULL, 0);
    block_end(out, at);
}

static void usb_header_put(const struct pcapng_usb *p, struct buf *out)
{
    bool in = p->endpoint & 0x80;
    bool carries = (p->event == 'S') != in; /* the half that data belongs to */
    buf_put_le64(out, p->id);
    buf_put_u8(out, (uint8_t)p->event);
    buf_put_u8(out, p->type);
    buf_put_u8(out, p->endpoint);
    buf_put_u8(out, p->device);
    buf_put_le16(out, 1); /* bus */
    buf_put_u8(out, p->has_setup ? 0 : '-');
    buf_put_u8(out, carries ? 0 : in ? '<' : '>');
    buf_put_le64(out, (uint64_t)(p->at_ms / 1000));
    buf_put_le32(out, (uint32_t)(p->at_ms % 1000 * 1000));
    buf_put_le32(out, (uint32_t)p->status);
    buf_put_le32(out, p->length);
    buf_put_le32(out, (uint32_t)p->data.len);
    buf_put(out, p->setup, sizeof(p->setup));
    buf_put_zeros(out, 16); /* interval, start frame, flags, isochronous descriptors */
}

void pcapng_usb_encode(const struct pcapng_usb *p, struct buf *out)
{
    bool whole = p->data.len || p->has_crc32;
    size_t kept = PCAPNG_USB_HEADER_BYTES + p->data.len;
    size_t at = block_begin(out, BLOCK_PACKET);
    buf_put_le32(out, 0); /* interface */
    buf_put_le32(out, (uint32_t)((uint64_t)p->at_ms >> 32));
    buf_put_le32(out, (uint32_t)p->at_ms);
    buf_put_le32(out, (uint32_t)kept);
    buf_put_le32(out, PCAPNG_USB_HEADER_BYTES + (whole ? p->length : 0));
    usb_header_put(p, out);
    buf_put_span(out, p->data);
    buf_put_zeros(out, pad4(kept));
    if (p->comment[0])
        option_put(out, OPTION_COMMENT, p->comment, strlen(p->comment));
    if (p->has_crc32) {
        uint8_t hash[5] = {HASH_CRC32};
        put_le32(hash + 1, p->crc32);
        option_put(out, OPTION_HASH, hash, sizeof(hash));
    }
    if (p->comment[0] || p->has_crc32)
        option_put(out, OPTION_END, NULL, 0);
    block_end(out, at);
}

/* ---- reading ----------------------------------------------------------------------------- */

static void options_take(struct reader *r, struct pcapng_usb *p)
{
    while (reader_left(r) >= 4) {
        uint16_t code = rd_le16(r), len = rd_le16(r);
        struct span value = rd_bytes(r, len);
        rd_skip(r, MIN_OF(pad4(len), reader_left(r)));
        if (code == OPTION_END || !reader_ok(r))
            return;
        if (code == OPTION_COMMENT)
            snprintf(p->comment, sizeof(p->comment), "%.*s", (int)value.len,
                     (const char *)value.data);
        if (code == OPTION_HASH && value.len == 5 && value.data[0] == HASH_CRC32) {
            p->has_crc32 = true;
            p->crc32 = get_le32(value.data + 1);
        }
    }
}

static bool packet_take(struct span body, struct pcapng_usb *p)
{
    struct reader r = reader_of(body);
    *p = (struct pcapng_usb){.id = 0};
    rd_skip(&r, 4);
    uint64_t high = rd_le32(&r);
    p->at_ms = (int64_t)(high << 32 | rd_le32(&r));
    uint32_t kept = rd_le32(&r);
    rd_skip(&r, 4);
    p->id = rd_le64(&r);
    p->event = (char)rd_u8(&r);
    p->type = rd_u8(&r);
    p->endpoint = rd_u8(&r);
    p->device = rd_u8(&r);
    rd_skip(&r, 2);
    p->has_setup = rd_u8(&r) == 0;
    rd_skip(&r, 1 + 8 + 4);
    p->status = (int32_t)rd_le32(&r);
    p->length = rd_le32(&r);
    uint32_t data_len = rd_le32(&r);
    struct span setup = rd_bytes(&r, sizeof(p->setup));
    rd_skip(&r, 16);
    p->data = rd_bytes(&r, data_len);
    if (!reader_ok(&r) || kept != PCAPNG_USB_HEADER_BYTES + data_len || data_len > p->length)
        return false;
    memcpy(p->setup, setup.data, sizeof(p->setup));
    rd_skip(&r, MIN_OF(pad4(kept), reader_left(&r)));
    options_take(&r, p);
    return true;
}

int pcapng_next(struct span file, size_t *at, struct pcapng_usb *out, struct err *err)
{
    while (*at < file.len) {
        struct reader r = reader_of(span_sub(file, *at, file.len - *at));
        uint32_t type = rd_le32(&r), len = rd_le32(&r);
        if (len < BLOCK_FRAME_BYTES || len % 4 || len > file.len - *at ||
            get_le32(file.data + *at + len - 4) != len || (*at == 0 && type != BLOCK_SECTION))
            return err_set(err, ERR_FORMAT, "pcapng block at %zu", *at);
        struct span body = span_sub(file, *at + 8, len - BLOCK_FRAME_BYTES);
        if (type == BLOCK_INTERFACE &&
            (body.len < 8 || get_le32(body.data) != PCAPNG_LINK_USB_MMAPPED))
            return err_set(err, ERR_FORMAT, "pcapng: not a recording of USB transfers");
        struct pcapng_usb packet;
        if (type == BLOCK_PACKET && (body.len < PACKET_FIXED_BYTES || !packet_take(body, &packet)))
            return err_set(err, ERR_FORMAT, "pcapng packet at %zu", *at);
        *at += len;
        if (type == BLOCK_PACKET) {
            *out = packet;
            return 1;
        }
    }
    return 0;
}
