#include "usb/transport/usbfs.h"

#include <errno.h>
#include <libusb.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "usb/base/clock.h"
#include "usb/base/mem.h"
#include "usb/transport/descriptor.h"

#define QUEUE       4
#define PIECE_BYTES 65536

enum { SLICE_MS = 500, SETUP_MS = 5000, DRAIN_MS = 2000, STRING_MS = 1000 };

struct slot {
    struct libusb_transfer *transfer;
    bool flying;
    uint8_t *data;  /* IN: PIECE_BYTES of our own */
    size_t at, end; /* IN: next byte to give, end of what came */
    size_t len;     /* OUT: what was sent */
    int status;     /* enum libusb_transfer_status once it has landed */
};
struct usbfs {
    struct transport transport;
    int fd;
    libusb_context *context;
    libusb_device_handle *handle;
    struct usb_identity id;
    bool gone;
    int64_t tick_at_ms;
    struct slot in[QUEUE], out[QUEUE];
    unsigned depth;               /* IN transfers that the shared memory allows */
    unsigned in_first, in_flying; /* ring of IN transfers in flight or landed, oldest first */
};

static struct usbfs *self(struct transport *t)
{
    return (struct usbfs *)(void *)t;
}

/* ---- errors ------------------------------------------------------------------------------ */

static int api_error(struct usbfs *u, int rc, const char *what, struct err *err)
{
    switch (rc) {
    case LIBUSB_ERROR_NO_DEVICE:
    case LIBUSB_ERROR_NOT_FOUND:
        u->gone = true;
        return err_set(err, ERR_GONE, "%s: the phone is gone", what);
    case LIBUSB_ERROR_TIMEOUT:
        return err_set(err, ERR_TIMEOUT, "%s: no answer", what);
    case LIBUSB_ERROR_PIPE:
        return err_set(err, ERR_REFUSED, "%s: the phone answered with a stall", what);
    case LIBUSB_ERROR_NO_MEM:
        return err_set(err, ERR_IO, "%s: no memory for USB transfers (usbfs_memory_mb)", what);
    case LIBUSB_ERROR_BUSY:
        return err_set(err, ERR_CONFLICT, "%s: another program or driver holds the phone", what);
    default:
        return err_set(err, ERR_IO, "%s: %s", what, libusb_error_name(rc));
    }
}

/* Of a bulk transfer that did not complete. Errors storm just before an unplug is noticed, so they
 * are not called broken protocol. */
static int landed_error(struct usbfs *u, int status, uint8_t endpoint, const char *what,
                        struct err *err)
{
    switch (status) {
    case LIBUSB_TRANSFER_NO_DEVICE:
        u->gone = true;
        return err_set(err, ERR_GONE, "%s: unplugged", what);
    case LIBUSB_TRANSFER_STALL:
        libusb_clear_halt(u->handle, endpoint);
        return err_set(err, ERR_IO, "%s: the phone stalled", what);
    case LIBUSB_TRANSFER_OVERFLOW:
        return err_set(err, ERR_IO, "%s: the phone sent more than was asked for", what);
    default:
        return err_set(err, ERR_IO, "%s: USB transfer failed (%d)", what, status);
    }
}

/* ---- waiting ----------------------------------------------------------------------------- */

static void tick(struct usbfs *u)
{
    int64_t now_ms = clock_now_ms();
    if (now_ms < u->tick_at_ms)
        return;
    u->tick_at_ms = now_ms + SLICE_MS;
    if (u->transport.tick)
        u->transport.tick(u->transport.tick_arg);
}

/* Runs libusb until the slot has landed; ERR_TIMEOUT leaves it in flight. */
static int wait_landed(struct usbfs *u, const struct slot *slot, int64_t until_ms, const char *what,
                       struct err *err)
{
    while (slot->flying) {
        int left_ms = clock_left(until_ms, SLICE_MS);
        struct timeval tv = {.tv_sec = left_ms / 1000, .tv_usec = left_ms % 1000 * 1000};
        int rc = libusb_handle_events_timeout_completed(u->context, &tv, NULL);
        tick(u);
        if (rc < 0 && rc != LIBUSB_ERROR_INTERRUPTED)
            return api_error(u, rc, what, err);
        if (slot->flying && left_ms == 0)
            return err_set(err, ERR_TIMEOUT, "%s: no answer from the phone", what);
    }
    return 0;
}

static void LIBUSB_CALL landed(struct libusb_transfer *transfer)
{
    struct slot *slot = transfer->user_data;
    slot->flying = false;
    slot->status = transfer->status;
    slot->at = 0;
    slot->end = (size_t)transfer->actual_length;
}

/* A slot into the air; 0, or LIBUSB_ERROR_*. Deadlines are ours: the transfer itself has none. */
static int launch(struct usbfs *u, struct slot *slot, uint8_t endpoint, uint8_t *data, size_t len)
{
    libusb_fill_bulk_transfer(slot->transfer, u->handle, endpoint, data, (int)len, landed, slot, 0);
    slot->len = len;
    slot->flying = true;
    int rc = libusb_submit_transfer(slot->transfer);
    if (rc < 0)
        slot->flying = false;
    return rc;
}

/* Cancels and waits: freeing or closing earlier is not allowed. False: it never landed. */
static bool recall(struct usbfs *u, struct slot *slot)
{
    struct err ignored;
    if (slot->flying)
        libusb_cancel_transfer(slot->transfer);
    return wait_landed(u, slot, clock_in(DRAIN_MS), "cancel", &ignored) == 0 || !slot->flying;
}

/* No memory for a transfer and none of ours in flight that could give some back: other ports have it all. Waits
 * a moment for them; ERR_IO when the time is up. */
static int memory_wait(struct usbfs *u, int64_t until_ms, struct err *err)
{
    if (clock_left(until_ms, 1) == 0)
        return err_set(err, ERR_IO, "no memory for USB transfers (usbfs_memory_mb)");
    struct timeval tv = {.tv_usec = 20000};
    libusb_handle_events_timeout_completed(u->context, &tv, NULL);
    tick(u);
    return 0;
}

/* ---- reading ----------------------------------------------------------------------------- */

/* Keeps the queue full. Memory for transfers is shared by all ports of the machine: when it is used
 * up the queue shrinks to what could be had, at least one. */
static int in_fill(struct usbfs *u, int64_t until_ms, struct err *err)
{
    while (u->in_flying < u->depth) {
        struct slot *slot = &u->in[(u->in_first + u->in_flying) % QUEUE];
        int rc = launch(u, slot, u->id.ep_in, slot->data, PIECE_BYTES);
        if (rc == 0) {
            u->in_flying++;
            continue;
        }
        if (rc != LIBUSB_ERROR_NO_MEM)
            return api_error(u, rc, "reading", err);
        if (u->in_flying) {
            u->depth = u->in_flying;
            return 0;
        }
        rc = memory_wait(u, until_ms, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static void in_pop(struct usbfs *u)
{
    u->in_first = (u->in_first + 1) % QUEUE;
    u->in_flying--;
}

/* After an error all queued transfers are taken back, so that the next read starts clean; what they
 * carry already is kept. */
static void in_recall(struct usbfs *u)
{
    for (unsigned i = 0; i < u->in_flying; i++) {
        struct slot *slot = &u->in[(u->in_first + i) % QUEUE];
        recall(u, slot);
        if (slot->end && !slot->flying)
            slot->status = LIBUSB_TRANSFER_COMPLETED;
    }
}

static ssize_t usbfs_read(struct transport *t, void *dst, size_t len, int64_t until_ms,
                          struct err *err)
{
    struct usbfs *u = self(t);
    struct err local;
    err = err ? err : &local;
    if (u->gone)
        return err_set(err, ERR_GONE, "the phone is gone");
    int rc = in_fill(u, until_ms, err);
    if (rc < 0)
        return rc;
    struct slot *slot = &u->in[u->in_first];
    rc = wait_landed(u, slot, until_ms, "reading", err);
    if (rc < 0)
        return rc;
    size_t n = MIN_OF(slot->end - slot->at, len);
    memcpy(dst, slot->data + slot->at, n);
    slot->at += n;
    if (slot->at < slot->end)
        return (ssize_t)n;
    int status = slot->status;
    if (status != LIBUSB_TRANSFER_COMPLETED && n) /* bytes first, the error with the next call */
        return (ssize_t)n;
    in_pop(u);
    if (status == LIBUSB_TRANSFER_COMPLETED)
        return (ssize_t)n;
    if (status == LIBUSB_TRANSFER_CANCELLED) /* taken back after an error, empty */
        return usbfs_read(t, dst, len, until_ms, err);
    in_recall(u);
    return landed_error(u, status, u->id.ep_in, "reading", err);
}

/* ---- writing ----------------------------------------------------------------------------- */

static int out_done(struct usbfs *u, const struct slot *slot, struct err *err)
{
    if (slot->status != LIBUSB_TRANSFER_COMPLETED)
        return landed_error(u, slot->status, u->id.ep_out, "writing", err);
    if (slot->end != slot->len)
        return err_set(err, ERR_IO, "the phone took %zu of %zu bytes", slot->end, slot->len);
    return 0;
}

/* One more piece into the air; without memory while others fly: not now. */
static int out_launch(struct usbfs *u, struct slot *slot, const uint8_t *data, size_t len,
                      unsigned flying, int64_t until_ms, struct err *err)
{
    for (;;) {
        int rc = launch(u, slot, u->id.ep_out, (uint8_t *)(uintptr_t)data, len);
        if (rc != LIBUSB_ERROR_NO_MEM)
            return rc < 0 ? api_error(u, rc, "writing", err) : 1;
        if (flying)
            return 0;
        rc = memory_wait(u, until_ms, err);
        if (rc < 0)
            return rc;
    }
}

static ssize_t usbfs_write(struct transport *t, const void *src, size_t len, int64_t until_ms,
                           struct err *err)
{
    struct usbfs *u = self(t);
    struct err local;
    err = err ? err : &local;
    int rc = u->gone ? err_set(err, ERR_GONE, "the phone is gone") : 0;
    size_t sent = 0;
    unsigned first = 0, flying = 0;
    while (rc >= 0 && (sent < len || flying)) {
        size_t n = MIN_OF(len - sent, (size_t)PIECE_BYTES);
        if (n && flying < QUEUE) {
            rc = out_launch(u, &u->out[(first + flying) % QUEUE], (const uint8_t *)src + sent, n,
                            flying, until_ms, err);
            if (rc > 0) {
                sent += n;
                flying++;
                continue;
            }
            if (rc < 0)
                break;
        }
        struct slot *oldest = &u->out[first % QUEUE];
        rc = wait_landed(u, oldest, until_ms, "writing", err);
        if (rc == 0)
            rc = out_done(u, oldest, err);
        if (rc == 0) {
            first++;
            flying--;
        }
    }
    if (rc >= 0)
        return (ssize_t)len;
    for (unsigned i = 0; i < QUEUE; i++)
        recall(u, &u->out[i]);
    return rc;
}

/* ---- control ----------------------------------------------------------------------------- */

/* A control transfer needs memory of the same budget. LIBUSB_ERROR_* as it is, or the bytes moved. */
static int control(struct usbfs *u, const struct usb_setup *setup, void *data, int64_t until_ms)
{
    for (;;) {
        int left_ms = clock_left(until_ms, SETUP_MS);
        int rc = libusb_control_transfer(u->handle, setup->request_type, setup->request,
                                         setup->value, setup->index, data, setup->length,
                                         left_ms ? (unsigned)left_ms : 1);
        if (rc != LIBUSB_ERROR_NO_MEM || memory_wait(u, until_ms, NULL) < 0)
            return rc;
    }
}

static ssize_t usbfs_control(struct transport *t, const struct usb_setup *setup, void *data,
                             int64_t until_ms, struct err *err)
{
    struct usbfs *u = self(t);
    int rc = control(u, setup, data, until_ms);
    return rc < 0 ? api_error(u, rc, "control request", err) : rc;
}

/* ---- life -------------------------------------------------------------------------------- */

static void usbfs_close(struct transport *t)
{
    struct usbfs *u = self(t);
    bool all = true;
    for (unsigned i = 0; i < QUEUE && u->handle; i++) {
        all = recall(u, &u->in[i]) && all;
        all = recall(u, &u->out[i]) && all;
    }
    if (u->handle) {
        libusb_release_interface(u->handle, u->id.interface);
        if (u->id.comm_interface != 0xff)
            libusb_release_interface(u->handle, u->id.comm_interface);
        libusb_close(u->handle); /* the kernel still has what never landed; libusb forgets it */
    }
    for (unsigned i = 0; i < QUEUE; i++) {
        if (u->in[i].flying || u->out[i].flying)
            continue; /* rather lose its memory than have it written to */
        libusb_free_transfer(u->in[i].transfer);
        libusb_free_transfer(u->out[i].transfer);
        free(u->in[i].data);
    }
    if (u->context && all)
        libusb_exit(u->context);
    fd_close(&u->fd); /* libusb leaves a wrapped descriptor open */
    free(u);
}

static const struct transport_ops usbfs_ops = {
    .name = "usbfs",
    .read = usbfs_read,
    .write = usbfs_write,
    .control = usbfs_control,
    .close = usbfs_close,
};

static int context_open(struct usbfs *u, struct err *err)
{
    int rc = libusb_set_option(NULL, LIBUSB_OPTION_NO_DEVICE_DISCOVERY);
    if (rc == 0)
        rc = libusb_init(&u->context);
    return rc < 0 ? api_error(u, rc, "libusb", err) : 0;
}

/* The kernel keeps the descriptors: reading them from the node costs the phone nothing, and is
 * byte-exact where libusb's parser drops odd layouts. Only the serial is asked for on the bus. */
static int descriptors_read(struct usbfs *u, struct err *err)
{
    uint8_t raw[DESCRIPTOR_DEVICE_BYTES + DESCRIPTOR_CONFIG_MAX];
    struct descriptor_device device;
    ssize_t n = pread(u->fd, raw, sizeof(raw), 0);
    if (n < 0)
        return err_sys(err, errno == ENODEV ? ERR_GONE : ERR_IO, "descriptors of the device node");
    struct span all = span_of(raw, (size_t)n);
    if (descriptor_device_decode(span_sub(all, 0, DESCRIPTOR_DEVICE_BYTES), &device, err) < 0 ||
        descriptor_pick(span_sub(all, DESCRIPTOR_DEVICE_BYTES, all.len), &u->id, err) < 0)
        return err->code;
    u->id.vid = device.vid;
    u->id.pid = device.pid;
    u->id.bcd_device = device.bcd_device;
    u->id.device_class = device.device_class;
    struct usb_setup serial = {.request_type = 0x80, /* GET_DESCRIPTOR, string, in English */
                               .request = LIBUSB_REQUEST_GET_DESCRIPTOR,
                               .value = (uint16_t)(LIBUSB_DT_STRING << 8 | device.serial_index),
                               .index = 0x0409,
                               .length = 255};
    int rc = device.serial_index ? control(u, &serial, raw, clock_in(STRING_MS)) : 0;
    if (rc > 0)
        descriptor_string(span_of(raw, (size_t)rc), u->id.serial, sizeof(u->id.serial));
    return 0;
}

static int claim(struct usbfs *u, struct err *err)
{
    libusb_set_auto_detach_kernel_driver(u->handle, 1);
    int rc = libusb_claim_interface(u->handle, u->id.interface);
    if (rc < 0)
        return api_error(u, rc, "claiming the interface", err);
    if (u->id.comm_interface != 0xff) /* for class requests; the kernel minds if nobody holds it */
        libusb_claim_interface(u->handle, u->id.comm_interface);
    for (unsigned i = 0; i < QUEUE; i++) {
        u->in[i] = (struct slot){.transfer = libusb_alloc_transfer(0)};
        u->out[i] = (struct slot){.transfer = libusb_alloc_transfer(0)};
        u->in[i].data = malloc(PIECE_BYTES);
        if (!u->in[i].transfer || !u->out[i].transfer || !u->in[i].data)
            return err_set(err, ERR_IO, "no memory");
    }
    u->depth = QUEUE;
    return 0;
}

int transport_usbfs_open(int device_fd, int speed, struct transport **out,
                         struct usb_identity *id_out, struct err *err)
{
    struct err local;
    err = err ? err : &local;
    struct usbfs *u = xcalloc(1, sizeof(*u));
    u->transport.ops = &usbfs_ops;
    u->fd = device_fd;
    u->id.speed = speed;
    int rc = context_open(u, err);
    if (rc == 0) {
        rc = libusb_wrap_sys_device(u->context, device_fd, &u->handle);
        rc = rc < 0 ? api_error(u, rc, "opening the device", err) : 0;
    }
    if (rc == 0)
        rc = descriptors_read(u, err);
    if (rc == 0)
        rc = claim(u, err);
    if (rc < 0) {
        u->fd = -1; /* stays the caller's */
        usbfs_close(&u->transport);
        return rc;
    }
    *id_out = u->id;
    *out = &u->transport;
    return 0;
}
