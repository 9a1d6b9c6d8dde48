#include <stdarg.h>
#include <stdio.h>

#include "tests/phone/lk.h"
#include "usb/base/mem.h"

/* Descriptors of MediaTek's LK at high speed, with the ids of the settings: README.md, "LK". */
static const uint8_t config_desc[] = {
    9, 2, 32,   0, 1,    1,    0,    0x80, 0x80, /* one interface, bus powered, 256 mA */
    9, 4, 0,    0, 2,    0xFF, 0x42, 0x03, 4,    7, 5, 0x81, 2, 0x00, 0x02, 0, /* bulk IN first */
    7, 5, 0x01, 2, 0x00, 0x02, 1,
};

struct fastboot_device {
    uint8_t device_desc[18];
    const char *strings[4];
    struct gadget gadget;
};

static void device_make(struct fastboot_device *d, const struct lk *lk)
{
    static const uint8_t head[18] = {18, 1, 0x00, 0x02, 0,    0, 0, 64, 0,
                                     0,  0, 0,    0x00, 0x01, 1, 2, 3,  1};
    const struct board_settings *s = board_settings(lk->b);
    memcpy(d->device_desc, head, sizeof(head));
    put_le16(d->device_desc + 8, s->fastboot_vid);
    put_le16(d->device_desc + 10, s->fastboot_pid);
    if (board_fault_due(lk->b, "no_serial_string"))
        d->device_desc[16] = 0;
    d->strings[0] = "MediaTek";
    d->strings[1] = "Android";
    d->strings[2] = lk->serial;
    d->strings[3] = "fastboot";
    d->gadget = (struct gadget){
        .speed = 3,
        .device_desc = d->device_desc,
        .config_desc = config_desc,
        .config_len = sizeof(config_desc),
        .strings = d->strings,
        .string_count = ARRAY_LEN(d->strings),
        .ep_in = 0x81,
        .ep_out = 0x01,
        .packet = 512,
    };
}

/* ---- responses
 * --------------------------------------------------------------------------------------- */

/* What the fault "long_reply" makes of one. */
enum { LONG_RESPONSE_BYTES = 200 };

static enum lk_outcome respond(struct lk *lk, const char *kind, const char *fmt, va_list args)
    __attribute__((format(printf, 3, 0)));
__attribute__((format(printf, 3, 0))) static enum lk_outcome
respond(struct lk *lk, const char *kind, const char *fmt, va_list args)
{
    char text[LONG_RESPONSE_BYTES + 1];
    memcpy(text, kind, 4);
    vsnprintf(text + 4, LK_RESPONSE_BYTES + 1 - 4, fmt, args);
    bool long_response = board_fault_due(lk->b, "long_reply");
    if (board_fault_due(lk->b, "reply_newline"))
        strcat(text, "\n");
    while (strlen(text) < LONG_RESPONSE_BYTES && long_response)
        strcat(text, ".");
    size_t first = board_settings(lk->b)->split_response ? 4 : 0;
    int rc = first ? board_in(lk->b, text, first, IN_PACKETS, LK_WRITE_TIMEOUT_MS) : 0;
    if (rc == 0 && text[first])
        rc = board_in(lk->b, text + first, strlen(text + first), IN_PACKETS, LK_WRITE_TIMEOUT_MS);
    if (rc == BOARD_TIMEOUT)
        return LK_DEAF;
    return rc < 0 ? LK_LOST : LK_CONTINUE;
}

#define RESPONDER(name, kind)                                                                      \
    enum lk_outcome name(struct lk *lk, const char *fmt, ...)                                      \
    {                                                                                              \
        va_list args;                                                                              \
        va_start(args, fmt);                                                                       \
        enum lk_outcome outcome = respond(lk, kind, fmt, args);                                    \
        va_end(args);                                                                              \
        return outcome;                                                                            \
    }
RESPONDER(fb_okay, "OKAY")
RESPONDER(fb_fail, "FAIL")
RESPONDER(fb_info, "INFO")

__attribute__((format(printf, 2, 3))) static RESPONDER(respond_data, "DATA")

    enum lk_outcome fb_data(struct lk *lk, uint32_t len)
{
    return respond_data(lk, "%08x", len);
}

/* ---- the command loop
 * -------------------------------------------------------------------------------- */

/* One USB packet; LK reads it 64 bytes at a time, so the rest of a longer one is the next command,
 * and an empty packet is a command without a name. */
static enum lk_outcome packet_run(struct lk *lk, struct span packet)
{
    if (packet.len == 0)
        board_violation(lk->b, "fastboot.zero_length_packet");
    if (packet.len > LK_COMMAND_BYTES)
        board_violation(lk->b, "fastboot.command_too_long");
    do {
        enum lk_outcome outcome = fb_command(lk, span_sub(packet, 0, LK_COMMAND_BYTES));
        if (outcome != LK_CONTINUE)
            return outcome;
        packet = span_sub(packet, LK_COMMAND_BYTES, packet.len);
    } while (packet.len);
    return LK_CONTINUE;
}

static enum lk_outcome session(struct lk *lk)
{
    uint8_t packet[512];
    enum lk_outcome outcome = LK_CONTINUE;
    while (outcome == LK_CONTINUE) {
        ssize_t n = board_out_packet(lk->b, packet, -1);
        if (n < 0)
            return LK_LOST;
        outcome = packet_run(lk, span_of(packet, (size_t)n));
    }
    return outcome;
}

/* Out of the command loop: packets are taken and forgotten. */
static void be_deaf(struct lk *lk)
{
    uint8_t packet[512];
    board_trace(lk->b, "fastboot session is dead until the next plug");
    while (board_out_packet(lk->b, packet, -1) >= 0)
        ;
}

/* One stay on the bus. */
static enum lk_outcome plugged_run(struct lk *lk)
{
    enum lk_outcome outcome = LK_LOST;
    while (outcome != LK_LEAVE && board_usb_configured(lk->b, -1) >= 0) {
        outcome = session(lk);
        if (outcome == LK_DEAF)
            be_deaf(lk);
    }
    return outcome;
}

enum board_next fastboot_run(struct lk *lk)
{
    struct fastboot_device device;
    device_make(&device, lk);
    lk->next = NEXT_OFF;
    while (board_wait_cable(lk->b, true, -1) == BOARD_OK) {
        if (board_usb_attach(lk->b, &device.gadget) < 0)
            continue;
        if (board_settings(lk->b)->permission_lost)
            lk->permitted = false;
        enum lk_outcome outcome = plugged_run(lk);
        board_usb_detach(lk->b);
        if (outcome == LK_LEAVE)
            return lk->next;
    }
    return NEXT_OFF;
}
