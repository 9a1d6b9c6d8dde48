/* transport.h: bytes to and from one phone in one of its USB identities. Small and stackable:
 * `record` and `fault` wrap whatever lies below. One transport lives from attach to gone; nothing
 * of it is carried to the next identity. Blocking; used by workers only. */
#ifndef FLASHRACK_USB_TRANSPORT_TRANSPORT_H
#define FLASHRACK_USB_TRANSPORT_TRANSPORT_H

#include <stdint.h>
#include <sys/types.h>

#include "usb/base/err.h"
#include "usb/base/span.h"

struct transport;

/* A control request as in USB 2.0 chapter 9; direction is bit 7 of request_type. */
struct usb_setup {
    uint8_t request_type, request;
    uint16_t value, index, length;
};

struct transport_ops {
    const char *name;
    /* Bytes of at most one completed IN transfer, at most `len` (the rest of that transfer comes
     * with the next call, nothing is lost); 0 for a zero-length packet, which is neither end of
     * data nor a time-out; or ERR_TIMEOUT, ERR_GONE, ERR_IO. until_ms: clock_now_ms() deadline. */
    ssize_t (*read)(struct transport *t, void *dst, size_t len, int64_t until_ms, struct err *err);
    /* One OUT transfer from the phone's point of view: pieces but the last are multiples of the
     * packet size, never a zero-length packet. `len`, or an error (then how much arrived is
     * unknown). */
    ssize_t (*write)(struct transport *t, const void *src, size_t len, int64_t until_ms,
                     struct err *err);
    /* Data stage length, or ERR_REFUSED for a STALL. `data` holds setup->length bytes. */
    ssize_t (*control)(struct transport *t, const struct usb_setup *setup, void *data,
                       int64_t until_ms, struct err *err);
    void (*close)(struct transport *t); /* frees t and everything below */
};

struct transport {
    const struct transport_ops *ops;
    struct transport *below; /* NULL at the bottom */
    /* Called at least once a second while a call waits; the worker's heartbeat and cancel check. */
    void (*tick)(void *arg);
    void *tick_arg;
};

/* What a device says of itself, by its descriptors (no string requests but the serial). */
struct usb_identity {
    uint16_t vid, pid, bcd_device;
    uint8_t device_class;
    int speed;       /* USB/IP and kernel numbering: 1 low, 2 full, 3 high, 5 super */
    char serial[64]; /* iSerialNumber, empty when there is none; printable ASCII only */
    uint8_t interface, ep_in, ep_out; /* the bulk pair that was chosen by class */
    uint8_t comm_interface;           /* CDC control interface for class requests, 0xff: none */
    uint16_t packet_in, packet_out;   /* wMaxPacketSize */
    bool fastboot;                    /* interface FF/42/03 */
};

static inline ssize_t transport_read(struct transport *t, void *dst, size_t len, int64_t until_ms,
                                     struct err *err)
{
    return t->ops->read(t, dst, len, until_ms, err);
}
static inline ssize_t transport_write(struct transport *t, const void *src, size_t len,
                                      int64_t until_ms, struct err *err)
{
    return t->ops->write(t, src, len, until_ms, err);
}
static inline ssize_t transport_control(struct transport *t, const struct usb_setup *setup,
                                        void *data, int64_t until_ms, struct err *err)
{
    return t->ops->control(t, setup, data, until_ms, err);
}
static inline void transport_close(struct transport **t)
{
    if (*t)
        (*t)->ops->close(*t);
    *t = NULL;
}
/* Sets the hook on every layer of the stack. */
static inline void transport_set_tick(struct transport *t, void (*tick)(void *arg), void *arg)
{
    for (; t; t = t->below) {
        t->tick = tick;
        t->tick_arg = arg;
    }
}

#endif
