#include "usb/format/para.h"

#include <string.h>

#include "usb/base/hash.h"

/* Constructed layout, little-endian: u32 magic | u8 version 1 | u8 slots 2 | u16 0 |
 * 2 x { u8 priority, u8 tries left, u8 successful, u8 0 } | 12 zeros | u32 CRC-32 of the 28 before.
 */
enum { P_VERSION = 4, P_COUNT = 5, P_SLOTS = 8, P_CRC = 28 };
enum { PRIORITY_ACTIVE = 15, PRIORITY_OTHER = 14, PRIORITY_MAX = 15, TRIES_FRESH = 7 };

int para_decode(struct span head, struct para *out, struct err *err)
{
    struct span s = span_sub(head, PARA_SLOT_OFFSET_BYTES, PARA_SLOT_BYTES);
    if (s.len < PARA_SLOT_BYTES)
        return err_set(err, ERR_FORMAT, "para is cut off at %zu bytes", head.len);
    if (get_le32(s.data) != PARA_SLOT_MAGIC)
        return err_set(err, ERR_NOT_FOUND, "para holds no slot metadata (magic %08x)",
                       get_le32(s.data));
    if (crc32_of(0, span_of(s.data, P_CRC)) != get_le32(s.data + P_CRC))
        return err_set(err, ERR_FORMAT, "slot metadata in para: checksum is wrong");
    if (s.data[P_VERSION] != 1 || s.data[P_COUNT] != 2)
        return err_set(err, ERR_FORMAT, "slot metadata in para: version %u with %u slots",
                       s.data[P_VERSION], s.data[P_COUNT]);
    struct para made;
    for (size_t i = 0; i < 2; i++) {
        const uint8_t *p = s.data + P_SLOTS + 4 * i;
        if (p[0] > PRIORITY_MAX || p[1] > TRIES_FRESH || p[2] > 1)
            return err_set(err, ERR_FORMAT, "slot metadata in para: slot %c says %u %u %u",
                           'a' + (int)i, p[0], p[1], p[2]);
        made.slots[i] = (struct para_slot){p[0], p[1], p[2] == 1};
    }
    *out = made;
    return 0;
}

static int rank(const struct para_slot *s)
{
    return s->successful || s->tries_left ? s->priority : 0;
}

char para_active_slot(const struct para *p)
{
    int a = rank(&p->slots[0]), b = rank(&p->slots[1]);
    if (a == 0 && b == 0)
        return 0;
    return b > a ? 'b' : 'a';
}

void para_set_active(struct para *p, char slot)
{
    int chosen = slot == 'b';
    p->slots[chosen] = (struct para_slot){PRIORITY_ACTIVE, TRIES_FRESH, false};
    if (p->slots[!chosen].priority > PRIORITY_OTHER)
        p->slots[!chosen].priority = PRIORITY_OTHER;
}

void para_encode(const struct para *p, struct buf *out)
{
    uint8_t raw[PARA_SLOT_BYTES] = {0};
    put_le32(raw, PARA_SLOT_MAGIC);
    raw[P_VERSION] = 1;
    raw[P_COUNT] = 2;
    for (size_t i = 0; i < 2; i++) {
        uint8_t *to = raw + P_SLOTS + 4 * i;
        to[0] = p->slots[i].priority;
        to[1] = p->slots[i].tries_left;
        to[2] = p->slots[i].successful;
    }
    put_le32(raw + P_CRC, crc32_of(0, span_of(raw, P_CRC)));
    buf_put(out, raw, sizeof(raw));
}
