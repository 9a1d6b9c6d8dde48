#include "tests/phone/usb_standard.h"

#include <string.h>

#include "usb/base/mem.h"
#include "usb/base/span.h"

enum {
    GET_STATUS = 0,
    CLEAR_FEATURE = 1,
    SET_FEATURE = 3,
    GET_DESCRIPTOR = 6,
    GET_CONFIGURATION = 8,
    SET_CONFIGURATION = 9,
    GET_INTERFACE = 10,
    SET_INTERFACE = 11,
    SET_SEL = 0x30,
    SET_ISOCH_DELAY = 0x31,
};
enum {
    DESC_DEVICE = 1,
    DESC_CONFIG = 2,
    DESC_STRING = 3,
    DESC_INTERFACE = 4,
    DESC_ENDPOINT = 5,
    DESC_QUALIFIER = 6,
    DESC_BOS = 15
};
enum { LANGUAGE_ENGLISH = 0x0409, SPEED_SUPER = 5 };
enum { TO_DEVICE = 0x00, TO_INTERFACE = 0x01, TO_ENDPOINT = 0x02 };

struct request {
    uint8_t type, request;
    uint16_t value, index, length;
};

static int give(const void *data, size_t len, uint8_t *in, size_t in_max)
{
    size_t n = MIN_OF(len, in_max);
    memcpy(in, data, n);
    return (int)n;
}

bool usb_has_endpoint(const struct gadget *g, uint8_t endpoint)
{
    const uint8_t *d = g->config_desc;
    for (size_t at = 0; at + 2 < g->config_len && d[at]; at += d[at])
        if (d[at + 1] == DESC_ENDPOINT && d[at + 2] == endpoint)
            return true;
    return false;
}

static bool has_interface(const struct gadget *g, uint16_t number)
{
    const uint8_t *d = g->config_desc;
    for (size_t at = 0; at + 2 < g->config_len && d[at]; at += d[at])
        if (d[at + 1] == DESC_INTERFACE && d[at + 2] == number)
            return true;
    return false;
}

static int give_string(const struct gadget *g, const struct request *r, uint8_t *in, size_t in_max)
{
    uint8_t desc[255] = {4, DESC_STRING, LANGUAGE_ENGLISH & 0xff, LANGUAGE_ENGLISH >> 8};
    unsigned number = r->value & 0xff;
    if (number == 0)
        return give(desc, 4, in, in_max);
    if (number > g->string_count || !g->strings[number - 1])
        return -1;
    const char *text = g->strings[number - 1];
    size_t len = MIN_OF(strlen(text), (size_t)126);
    desc[0] = (uint8_t)(2 + 2 * len);
    for (size_t i = 0; i < len; i++)
        put_le16(desc + 2 + 2 * i, (uint8_t)text[i]);
    return give(desc, desc[0], in, in_max);
}

static int give_descriptor(const struct gadget *g, struct usb_state *state, const struct request *r,
                           uint8_t *in, size_t in_max, enum usb_effect *effect)
{
    switch (r->value >> 8) {
    case DESC_DEVICE:
        /* 64 (or 8, in the old scheme) is asked for only after a bus reset, and nothing else tells
         * of one. A super-speed host asks for 8 as well. */
        if (r->length == 64 || r->length == 8) {
            *state = (struct usb_state){0};
            *effect = USB_EFFECT_BUS_RESET;
        }
        return give(g->device_desc, 18, in, in_max);
    case DESC_CONFIG:
        return (r->value & 0xff) ? -1 : give(g->config_desc, g->config_len, in, in_max);
    case DESC_STRING:
        return give_string(g, r, in, in_max);
    case DESC_BOS:
        return g->bos_desc ? give(g->bos_desc, g->bos_len, in, in_max) : -1;
    case DESC_QUALIFIER:
        return g->qualifier_desc ? give(g->qualifier_desc, 10, in, in_max) : -1;
    default: /* other speed, debug */
        return -1;
    }
}

static int endpoint_feature(const struct gadget *g, struct usb_state *state,
                            const struct request *r, enum usb_effect *effect)
{
    uint8_t endpoint = (uint8_t)r->index;
    if (r->value != 0)
        return -1; /* ENDPOINT_HALT is the only one */
    if ((endpoint & 0x0f) == 0)
        return 0;
    if (!usb_has_endpoint(g, endpoint))
        return -1;
    if (r->request == SET_FEATURE)
        state->halted |= usb_halt_bit(endpoint);
    else
        state->halted &= ~usb_halt_bit(endpoint);
    *effect = USB_EFFECT_HALTS;
    return 0;
}

static int give_status(const struct gadget *g, const struct usb_state *state,
                       const struct request *r, uint8_t *in, size_t in_max)
{
    uint8_t status[2] = {0};
    uint8_t endpoint = (uint8_t)r->index;
    if ((r->type & 0x1f) == TO_DEVICE)
        status[0] = g->config_desc[7] & 0x40 ? 1 : 0; /* self powered */
    else if ((r->type & 0x1f) == TO_ENDPOINT) {
        if ((endpoint & 0x0f) != 0 && !usb_has_endpoint(g, endpoint))
            return -1;
        status[0] = state->halted & usb_halt_bit(endpoint) ? 1 : 0;
    }
    return give(status, sizeof(status), in, in_max);
}

static int device_request(const struct gadget *g, struct usb_state *state, const struct request *r,
                          uint8_t *in, size_t in_max, enum usb_effect *effect)
{
    switch (r->request) {
    case GET_DESCRIPTOR:
        return r->type & 0x80 ? give_descriptor(g, state, r, in, in_max, effect) : -1;
    case GET_CONFIGURATION:
        return give(&state->configuration, 1, in, in_max);
    case SET_CONFIGURATION:
        if (r->value != 0 && r->value != g->config_desc[5])
            return -1;
        *state = (struct usb_state){.configuration = (uint8_t)r->value};
        *effect = USB_EFFECT_CONFIGURED;
        return 0;
    case CLEAR_FEATURE:
    case SET_FEATURE:
        return 0;
    case SET_SEL:
    case SET_ISOCH_DELAY:
        return g->speed >= SPEED_SUPER ? 0 : -1;
    default:
        return -1;
    }
}

int usb_standard(const struct gadget *g, struct usb_state *state, const uint8_t setup[8],
                 uint8_t *in, size_t in_max, enum usb_effect *effect_out)
{
    struct request r = {setup[0], setup[1], get_le16(setup + 2), get_le16(setup + 4),
                        get_le16(setup + 6)};
    in_max = MIN_OF(in_max, (size_t)r.length);
    *effect_out = USB_EFFECT_NONE;
    if (r.request == GET_STATUS)
        return r.type & 0x80 ? give_status(g, state, &r, in, in_max) : -1;
    switch (r.type & 0x1f) {
    case TO_DEVICE:
        return device_request(g, state, &r, in, in_max, effect_out);
    case TO_ENDPOINT:
        if (r.request == CLEAR_FEATURE || r.request == SET_FEATURE)
            return endpoint_feature(g, state, &r, effect_out);
        return -1;
    case TO_INTERFACE:
        if (!has_interface(g, r.index) || state->configuration == 0)
            return -1;
        if (r.request == SET_INTERFACE)
            return r.value == 0 ? 0 : -1;
        if (r.request == GET_INTERFACE)
            return give("", 1, in, in_max);
        return -1;
    default:
        return -1;
    }
}
