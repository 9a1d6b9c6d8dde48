#include "tests/phone/da_link.h"

#include "usb/base/mem.h"

enum {
    SHORT_MAX = 12,      /* up to here the drivers work byte by byte */
    PIECE_BYTES = 0xfc00 /* longest run that a driver sends without a zero-length packet */
    ,
    OVERSIZED_BYTES = 0x40000000, /* what a faulty header promises */
    DEAF_PACKETS = 2,             /* what the driver takes although nobody asks for it */
};

static const char header_surplus[] = "xflash.header_with_payload";
static const char payload_surplus[] = "xflash.payload_with_next_header";

void da_link_init(struct da_link *l, struct board *b, size_t packet)
{
    *l = (struct da_link){.b = b, .packet = packet};
    (void)board_out_early(b); /* before the agent there is no such rule */
}

static enum usb_model model(const struct da_link *l)
{
    return board_settings(l->b)->usb_model;
}

/* A bus reset loses what is on its way, not the place in the program: an agent that waits for a
 * command goes on waiting, one in the middle of a transfer is out of step. True when the read is to
 * be repeated. */
static bool survives(struct da_link *l)
{
    l->held_at = l->held_len = 0;
    if (board_usb_configured(l->b, -1) != BOARD_OK)
        l->gone = true;
    return !l->gone;
}

/* ---- OUT
 * --------------------------------------------------------------------------------------------- */

static size_t take_held(struct da_link *l, uint8_t *dst, size_t len)
{
    size_t n = MIN_OF(len, l->held_len - l->held_at);
    memcpy(dst, l->held + l->held_at, n);
    l->held_at += n;
    return n;
}

/* What the controller saw in a read that looks at bytes only. */
static void manners(struct da_link *l)
{
    unsigned seen = board_out_manners(l->b);
    if (seen & OUT_EMPTY)
        board_violation(l->b, "xflash.zero_length_packet");
    if (seen & OUT_CUT)
        board_violation(l->b, "xflash.payload_in_short_pieces");
}

/* The next packet into `held`. */
static ptrdiff_t next_packet(struct da_link *l)
{
    ssize_t n;
    while ((n = board_out_packet(l->b, l->held, -1)) < 0)
        if (!survives(l))
            return n;
    if (n == 0)
        board_violation(l->b, "xflash.zero_length_packet");
    l->held_at = 0;
    l->held_len = (size_t)n;
    return n;
}

/* Model "field": a byte stream whatever the transfer boundaries, but boundaries that break the
 * rules are counted. The bulk of a long payload goes straight to its place. */
static void field_read(struct da_link *l, uint8_t *dst, size_t len)
{
    size_t done = take_held(l, dst, len);
    while (done < len && !l->gone) {
        size_t left = len - done;
        size_t tail = (left - 1) % l->packet + 1;
        if (left > tail) {
            if (board_out_stream(l->b, dst + done, left - tail, -1) == BOARD_OK) {
                done += left - tail;
                manners(l);
            } else {
                (void)survives(l);
            }
            continue;
        }
        ptrdiff_t n = next_packet(l);
        if (n <= 0)
            continue;
        done += take_held(l, dst + done, left);
        if (done < len && (size_t)n < l->packet)
            board_violation(l->b, "xflash.payload_in_short_pieces");
    }
}

/* Model "buffered", up to 12 bytes: one by one out of the last packet. */
static void buffered_read(struct da_link *l, uint8_t *dst, size_t len)
{
    for (size_t i = 0; i < len && !l->gone; i++) {
        while (l->held_at == l->held_len) {
            bool cut = i > 0 && l->held_len > 0 && l->held_len < l->packet;
            ptrdiff_t n = next_packet(l);
            if (n > 0 && cut)
                board_violation(l->b, "xflash.payload_in_short_pieces");
            if (n < 0)
                return;
            if (n == 0) { /* an old byte comes out once more, and the next new one is lost */
                l->skip_first = true;
                break;
            }
            l->held_at = l->skip_first ? 1 : 0;
            l->skip_first = false;
        }
        if (l->held_at < l->held_len)
            l->stale = l->held[l->held_at++];
        dst[i] = l->stale;
    }
}

/* Whole packets straight to their place; what the last one brings too much is lost. */
static void packets_read(struct da_link *l, uint8_t *dst, size_t len, const char *surplus)
{
    size_t lost = 0;
    while (board_out_packets(l->b, dst, len, &lost, -1) < 0)
        if (!survives(l))
            return;
    manners(l);
    if (lost)
        board_violation(l->b, surplus);
}

static bool read_bytes(struct da_link *l, void *dst, size_t len, const char *surplus)
{
    if (len == 0 || l->gone)
        return !l->gone;
    switch (model(l)) {
    case MODEL_FIELD:
        field_read(l, dst, len);
        break;
    case MODEL_BUFFERED:
        if (len <= SHORT_MAX) {
            buffered_read(l, dst, len);
            break;
        }
        if (l->held_at < l->held_len)
            board_trace(l->b, "payload lost: %zu bytes stay in the buffer",
                        l->held_len - l->held_at);
        packets_read(l, dst, len, surplus);
        return !l->gone;
    case MODEL_EXACT:
        packets_read(l, dst, len, surplus);
        return !l->gone;
    }
    if (!l->gone && l->held_at < l->held_len)
        board_violation(l->b, surplus);
    return !l->gone;
}

static void drop_bytes(struct da_link *l, size_t len)
{
    uint8_t rest[4096]; /* a multiple of every packet size */
    while (len && read_bytes(l, rest, MIN_OF(len, sizeof(rest)), payload_surplus))
        len -= MIN_OF(len, sizeof(rest));
}

/* Header of the next packet: its payload length, or DA_LINK_*. */
static ptrdiff_t recv_header(struct da_link *l, size_t max)
{
    for (;;) {
        uint8_t header[XFLASH_HEADER_BYTES];
        if (!read_bytes(l, header, sizeof(header), header_surplus))
            return DA_LINK_GONE;
        if (board_out_early(l->b) && !l->left_over)
            board_violation(l->b, "xflash.answer_not_read");
        l->burst -= l->burst > 0;
        l->left_over -= l->left_over > 0;
        bool swallow = board_settings(l->b)->framing_swallow;
        uint32_t len = get_le32(header + 8);
        if (get_le32(header) != XFLASH_MAGIC) {
            board_violation(l->b, "xflash.bad_magic");
            l->spoiled = !swallow;
            if (!swallow)
                return DA_LINK_MAGIC;
            l->held_at = l->held_len = 0;
            board_out_flush(l->b);
        } else if (len > max) {
            board_violation(l->b, "xflash.packet_too_long");
            l->spoiled = !swallow;
            if (!swallow)
                return DA_LINK_LONG;
            drop_bytes(l, len);
        } else {
            return (ptrdiff_t)len;
        }
    }
}

ptrdiff_t da_recv(struct da_link *l, void *dst, size_t max)
{
    ptrdiff_t len = recv_header(l, max);
    if (len > 0 && !read_bytes(l, dst, (size_t)len, payload_surplus))
        return DA_LINK_GONE;
    return len;
}

void da_link_burst(struct da_link *l, unsigned packets)
{
    l->left_over = packets ? l->left_over + l->burst : 0;
    l->burst = packets;
}

/* What a dead agent is sent: a header, or a payload and what is left of one. */
static void overhear(struct da_link *l, const uint8_t *head, size_t len)
{
    if (len < XFLASH_HEADER_BYTES || get_le32(head) != XFLASH_MAGIC)
        return;
    if (l->burst)
        l->burst--;
    else
        board_violation(l->b, "xflash.command_to_dead_agent");
}

void da_link_deaf(struct da_link *l)
{
    for (int i = 0; i < DEAF_PACKETS && !l->gone; i++) {
        ptrdiff_t n = next_packet(l);
        if (n > 0)
            overhear(l, l->held, (size_t)n);
    }
    struct out_transfer t = {0};
    while (!l->gone)
        if (board_out_peek(l->b, &t) == BOARD_OK)
            overhear(l, t.head, t.len);
        else
            (void)survives(l);
}

ptrdiff_t da_recv_drop(struct da_link *l, size_t max)
{
    ptrdiff_t len = recv_header(l, max);
    if (len > 0)
        drop_bytes(l, (size_t)len);
    return l->gone ? DA_LINK_GONE : len;
}

uint32_t da_framing_status(ptrdiff_t rc)
{
    return rc == DA_LINK_LONG ? (uint32_t)XFLASH_PROTOCOL_BUFFER_OVERFLOW
                              : (uint32_t)XFLASH_PROTOCOL_ERR;
}

/* ---- IN
 * ---------------------------------------------------------------------------------------------- */

static void in(struct da_link *l, const uint8_t *src, size_t len, enum in_end end)
{
    if (!l->gone && board_in(l->b, src, len, end, -1) < 0)
        (void)survives(l);
}

static void write_bytes(struct da_link *l, const uint8_t *src, size_t len)
{
    enum usb_model m = model(l);
    if (m == MODEL_FIELD) {
        in(l, src, len, IN_FIELD);
        return;
    }
    if (len <= SHORT_MAX) {
        size_t step = m == MODEL_BUFFERED ? 1 : len;
        for (size_t at = 0; at < len; at += step)
            in(l, src + at, step, IN_PACKETS);
        return;
    }
    for (size_t at = 0; at < len; at += PIECE_BYTES)
        in(l, src + at, MIN_OF(len - at, (size_t)PIECE_BYTES), IN_ZLP);
}

static void send_kind(struct da_link *l, uint32_t kind, const void *payload, size_t len)
{
    uint8_t both[XFLASH_HEADER_BYTES + 64];
    bool oversized = kind == XFLASH_KIND_FLOW && board_fault_due(l->b, "oversized");
    xflash_header_store(kind, oversized ? OVERSIZED_BYTES : (uint32_t)len, both);
    if (len <= sizeof(both) - XFLASH_HEADER_BYTES && board_fault_due(l->b, "merged")) {
        memcpy(both + XFLASH_HEADER_BYTES, payload, len);
        in(l, both, XFLASH_HEADER_BYTES + len, IN_FIELD);
        return;
    }
    write_bytes(l, both, XFLASH_HEADER_BYTES);
    if (len)
        write_bytes(l, payload, len);
}

void da_send(struct da_link *l, const void *payload, size_t len)
{
    send_kind(l, XFLASH_KIND_FLOW, payload, len);
}

void da_send_word(struct da_link *l, uint32_t word)
{
    uint8_t raw[4];
    put_le32(raw, word);
    da_send(l, raw, sizeof(raw));
}

void da_log(struct da_link *l, const char *text)
{
    if (!l->log_usb && !board_fault_due(l->b, "log_packet"))
        return;
    AUTO(buf_deinit) struct buf line, message;
    buf_init(&line, 256);
    buf_init(&message, 512);
    buf_put(&line, text, strlen(text));
    buf_put(&line, "\r\n", 2);
    xflash_message_encode(buf_span(&line), &message);
    send_kind(l, XFLASH_KIND_MESSAGE, message.data, message.len);
}
