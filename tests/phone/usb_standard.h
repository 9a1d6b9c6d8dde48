/* usb_standard.h: the standard requests of USB 2.0 chapter 9 for a gadget; pure. README, "USB
 * device controller". */
#ifndef FLASHRACK_TESTS_PHONE_USB_STANDARD_H
#define FLASHRACK_TESTS_PHONE_USB_STANDARD_H

#include "tests/phone/board.h"

struct usb_state {
    uint8_t configuration;
    uint32_t halted; /* bit number: endpoint, + 16 for IN */
};

enum usb_effect {
    USB_EFFECT_NONE,
    USB_EFFECT_BUS_RESET,  /* the way a bus reset looks through USB/IP */
    USB_EFFECT_CONFIGURED, /* or unconfigured: see configuration */
    USB_EFFECT_HALTS,
};

/* Bit of an endpoint address in `halted`. */
static inline uint32_t usb_halt_bit(uint8_t endpoint)
{
    return 1u << ((endpoint & 0x0f) + (endpoint & 0x80 ? 16 : 0));
}
/* True when the gadget's configuration has this endpoint. */
bool usb_has_endpoint(const struct gadget *g, uint8_t endpoint);
/* Answers a standard request (type bits 5-6 of setup[0] are 0): bytes of IN data, -1 for STALL. */
int usb_standard(const struct gadget *g, struct usb_state *state, const uint8_t setup[8],
                 uint8_t *in, size_t in_max, enum usb_effect *effect_out);

#endif
