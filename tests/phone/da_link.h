/* da_link.h: packets of the download agent (usb/codec/xflash.h) over the phone's bulk pair, with
 * the habits of three kinds of USB driver (enum usb_model). README.md, "USB models". Sticky: once
 * the phone is gone nothing is sent and every receive says so. */
#ifndef FLASHRACK_TESTS_PHONE_DA_LINK_H
#define FLASHRACK_TESTS_PHONE_DA_LINK_H

#include "tests/phone/board.h"
#include "usb/codec/xflash.h"

enum { /* results of da_recv() below zero */
       DA_LINK_GONE = -1,
       DA_LINK_MAGIC =
           -2, /* the packet did not begin with the magic number; only its header was taken */
       DA_LINK_LONG = -3, /* longer than asked for; the payload was left where it is */
};

struct da_link {
    struct board *b;
    size_t packet; /* wMaxPacketSize of the bulk pair */
    bool gone;
    bool log_usb; /* log text goes to the host as packets of kind 2 */
    /* The last OUT packet that was not used up ("buffered" model; in "field" what came with it). */
    uint8_t held[1024];
    size_t held_at, held_len;
    bool skip_first; /* buffered: an empty packet spoils the byte after it */
    uint8_t stale;   /* buffered: the byte that came out last */
    unsigned burst;  /* packets that belong to what the host is saying, without those taken */
    unsigned left_over; /* of bursts before, which errors of the agent cut short */
    bool spoiled; /* there was a framing error: what is left of it makes the next command unreadable
                   */
};

void da_link_init(struct da_link *l, struct board *b, size_t packet);
/* Payload length of one packet, at most `max`, into `dst`; a shorter one leaves the rest of dst
 * alone. Negative: DA_LINK_*. With the setting framing_swallow only DA_LINK_GONE is left. */
ptrdiff_t da_recv(struct da_link *l, void *dst, size_t max);
/* The same for a payload that nobody looks at. */
ptrdiff_t da_recv_drop(struct da_link *l, size_t max);
/* The host is about to send so many packets without an answer in between; 0: it has said all. */
void da_link_burst(struct da_link *l, unsigned packets);
/* Hears nothing any more, until the phone is gone. Counts what the host sends beyond the present burst:
 * whole packets, also those that wait behind what driver and controller have taken. */
void da_link_deaf(struct da_link *l);
void da_send(struct da_link *l, const void *payload, size_t len);
void da_send_word(struct da_link *l, uint32_t word); /* status, SYNC, percentage */
/* A line of the agent's log, when the host has asked for it over USB. */
void da_log(struct da_link *l, const char *text);
/* What a framing error costs inside a transfer. */
uint32_t da_framing_status(ptrdiff_t rc);

#endif
