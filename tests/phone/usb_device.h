/* usb_device.h: the USB device controller of an emulated phone, between the firmware (board_usb_*,
 * board_out_*, board_in) and whoever imported the device (usbip_server.c). Requests of the host
 * (URBs) wait here until the firmware takes or makes their data; packet rules as silicon has them:
 * tests/phone/README.md, "USB device controller". */
#ifndef FLASHRACK_TESTS_PHONE_USB_DEVICE_H
#define FLASHRACK_TESTS_PHONE_USB_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/phone/pace.h"

struct board;
struct gadget;
struct link;

enum {
    URB_BYTES_MAX = 16 << 20,   /* of one request; more ends the connection */
    QUEUE_BYTES_MAX = 64 << 20, /* of all OUT data waiting in one phone; more ends the connection */
    QUEUE_URBS_MAX = 4096,
    FIFO_PACKETS = 2, /* OUT packets the controller confirms before the firmware has taken them */
    ANSWERING_MAX = 32,
};

/* Wire status values: negative errno of the kernel ABI (README, "USB/IP"). */
enum usb_status {
    USB_OK = 0,
    USB_STALL = -32,
    USB_NO_ANSWER = -71,
    USB_BABBLE = -75,
    USB_UNLINKED = -104,
};

struct urb {
    struct urb *next;
    uint32_t seqnum, length;
    uint8_t endpoint; /* address, with the direction bit */
    bool zero_packet; /* OUT: the host wants a transfer of full packets ended by an empty one */
    bool zlp;         /* OUT: an empty packet follows the data (or is all there is) */
    bool acked;       /* OUT: the host has its answer, the last packets wait in the FIFO */
    uint32_t done;    /* OUT: bytes the firmware has taken; IN: bytes gathered in `data` */
    uint8_t *data;    /* OUT: the payload; IN: NULL until packets have to be gathered */
    uint64_t number;  /* OUT: counts up */
};

struct urb_queue {
    struct urb *head, **tail;
    size_t count, bytes;
};

/* One answer to the host. `data` is borrowed until it is sent. */
struct answer {
    uint32_t seqnum;
    int32_t status;
    uint32_t requested, actual;
    const void *data; /* IN only */
    bool unlink;      /* RET_UNLINK: seqnum and status count */
};

struct usb_device {              /* guarded by the phone's lock */
    const struct gadget *gadget; /* NULL: not attached */
    struct link *link;           /* who imported it; NULL: free */
    bool lost;                   /* the cable was pulled since the attach */
    bool reset;                  /* bus reset, or the importer went away, since it was configured */
    bool was_configured;         /* board_usb_configured() has succeeded */
    bool in_callback;            /* gadget->control is running */
    bool confirming;             /* a thread is confirming OUT requests */
    uint8_t configuration;
    uint32_t halted;                   /* bit number: endpoint, + 16 for IN */
    int64_t out_naks_until_ms;         /* a fault: until then the firmware gets no OUT data */
    struct urb_queue out, in, idle;    /* idle: other endpoints, never answered */
    uint32_t answering[ANSWERING_MAX]; /* seqnums whose answers are on their way */
    unsigned answering_count;
    unsigned out_manners;      /* enum out_manners, of the last read; firmware thread only */
    uint64_t out_number;       /* OUT requests so far */
    size_t in_left;            /* bytes of board_in() that no request has taken yet */
    bool out_early;            /* an OUT request came meanwhile */
    uint64_t transfers, bytes; /* bulk, since the program started: places for faults */
    uint32_t stays;            /* on the bus, before the present one */
    struct pace pace;          /* of both directions: one bus */
    int64_t active_ms;         /* last bulk traffic; what an activity light would show */
};

void usb_device_init(struct usb_device *d);
void usb_device_deinit(struct usb_device *d);

/* The phone's device for an importer: 0, or -1 when it is not there, -2 when another has it. */
int usb_device_claim(struct board *b, struct link *link);
/* The importer is gone: nothing of it is left when this returns. A cable stays a cable: to the
 * firmware it is a bus reset. */
void usb_device_release(struct board *b, struct link *link);
/* A bulk or interrupt request; the urb is taken over. -1: the importer asks too much, end it. */
int usb_device_submit(struct board *b, struct link *link, struct urb *urb);
struct control {
    uint32_t seqnum, length;
    bool in; /* direction of the request; a request without data stage has none and is OUT */
    uint8_t setup[8];
    const uint8_t *data; /* OUT: `length` bytes */
};
void usb_device_control(struct board *b, struct link *link, const struct control *c);
void usb_device_unlink(struct board *b, struct link *link, uint32_t seqnum, uint32_t victim);

/* The cable was pulled or the power lost: everything that waits for USB ends. Lock held. */
void usb_device_lose(struct board *b);

struct urb *urb_new(void);
void urb_free(struct urb **u);

/* ---- usbip_server.c: sends one whole message in one writev; errors end the connection ---- */
void link_answer(struct link *link, const struct answer *answer);
/* Wakes everything blocked on the connection. Lock of the phone may be held. */
void link_shutdown(struct link *link);

#endif
