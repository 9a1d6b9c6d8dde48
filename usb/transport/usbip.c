#include "usb/transport/usbip.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "usb/base/clock.h"
#include "usb/base/mem.h"
#include "usb/codec/usbip.h"
#include "usb/transport/descriptor.h"

#define QUEUE       4 /* transfers in flight, each direction */
#define PIECE_BYTES 65536
#define RX_BYTES    4096 /* headers and short payloads; long payloads go straight to their place */

enum { SLICE_MS = 1000, SETUP_MS = 5000, UNLINK_MS = 1000 };

/* An IN transfer: asked for, then received, in the order of arrival. */
struct in_slot {
    uint32_t seqnum;
    bool asked;
    int32_t status;
    size_t len;        /* that the answer announced */
    uint8_t *data;     /* bytes that arrived while nobody read: PIECE_BYTES, made when needed */
    size_t at, stored; /* in data: next to give, end */
};
struct out_slot { /* an OUT or control transfer */
    uint32_t seqnum, unlink_seqnum;
    bool busy;
    int32_t status;
    size_t len, actual;
};

struct usbip_transport {
    struct transport transport;
    int fd;
    uint32_t devid, seqnum;
    struct usb_identity id;
    bool broken;
    int64_t tick_at_ms;
    struct in_slot in[QUEUE];
    unsigned arrived[QUEUE], arrived_count; /* slots with an answer, oldest first */
    struct out_slot out[QUEUE], control;
    uint8_t *control_data; /* where the answer of the control request goes */
    uint8_t *payload_to;   /* control answer under way; NULL: the newest arrived slot's */
    size_t payload_left;   /* of the message under way */
    uint8_t rx[RX_BYTES];
    size_t rx_at, rx_end;
};

static struct usbip_transport *self(struct transport *t)
{
    return (struct usbip_transport *)(void *)t;
}

static int broke(struct usbip_transport *u, struct err *err, const char *why)
{
    u->broken = true;
    return err_set(err, ERR_GONE, "USB/IP connection ended: %s", why);
}

/* ---- waiting ----------------------------------------------------------------------------- */

static void tick(struct usbip_transport *u)
{
    int64_t now_ms = clock_now_ms();
    if (now_ms < u->tick_at_ms)
        return;
    u->tick_at_ms = now_ms + SLICE_MS / 2;
    if (u->transport.tick)
        u->transport.tick(u->transport.tick_arg);
}

/* Until one of `events`; the events, or ERR_TIMEOUT. Waits in slices so that the tick runs. */
static int wait_for(struct usbip_transport *u, short events, int64_t until_ms, struct err *err)
{
    for (;;) {
        struct pollfd p = {.fd = u->fd, .events = events};
        int left_ms = clock_left(until_ms, SLICE_MS / 2);
        int n = poll(&p, 1, left_ms);
        tick(u);
        if (n > 0)
            return p.revents;
        if (n < 0 && errno != EINTR)
            return err_sys(err, ERR_IO, "poll");
        if (left_ms == 0)
            return err_set(err, ERR_TIMEOUT, "the phone does not answer");
    }
}

/* ---- receiving --------------------------------------------------------------------------- */

/* At most `len` bytes into dst without waiting; 0: nothing there yet. */
static ssize_t receive(struct usbip_transport *u, uint8_t *dst, size_t len, struct err *err)
{
    ssize_t n = recv(u->fd, dst, len, MSG_DONTWAIT);
    if (n > 0)
        return n;
    if (n == 0)
        return broke(u, err, "unplugged");
    if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)
        return 0;
    return broke(u, err, "connection reset");
}

/* The same, from what was read ahead first. */
static ssize_t take(struct usbip_transport *u, uint8_t *dst, size_t len, struct err *err)
{
    size_t have = u->rx_end - u->rx_at;
    if (have == 0)
        return receive(u, dst, len, err);
    size_t n = MIN_OF(have, len);
    memcpy(dst, u->rx + u->rx_at, n);
    u->rx_at += n;
    return (ssize_t)n;
}

/* Slot whose answer is being received, NULL: none, or a control answer. */
static struct in_slot *receiving(struct usbip_transport *u)
{
    if (u->payload_left == 0 || u->payload_to)
        return NULL;
    return &u->in[u->arrived[u->arrived_count - 1]];
}

static int answer_in(struct usbip_transport *u, unsigned i, const struct usbip_urb *urb,
                     struct err *err)
{
    struct in_slot *slot = &u->in[i];
    if (urb->length_bytes > PIECE_BYTES)
        return broke(u, err, "an answer longer than its request");
    slot->asked = false;
    slot->status = urb->status;
    slot->len = (size_t)urb->length_bytes;
    slot->at = slot->stored = 0;
    u->arrived[u->arrived_count++] = i;
    u->payload_left = slot->len;
    u->payload_to = NULL;
    return 0;
}

static int answer_out(struct usbip_transport *u, struct out_slot *slot, const struct usbip_urb *urb,
                      struct err *err)
{
    if ((size_t)urb->length_bytes > slot->len)
        return broke(u, err, "an answer longer than its request");
    slot->busy = false;
    slot->status = urb->status;
    slot->actual = (size_t)urb->length_bytes;
    if (slot == &u->control && u->control_data && slot->actual) {
        u->payload_to = u->control_data;
        u->payload_left = slot->actual;
    }
    return 0;
}

/* RET_SUBMIT: finds whose it is. */
static int answer(struct usbip_transport *u, const struct usbip_urb *urb, struct err *err)
{
    for (unsigned i = 0; i < QUEUE; i++)
        if (u->in[i].asked && u->in[i].seqnum == urb->seqnum)
            return answer_in(u, i, urb, err);
    for (unsigned i = 0; i < QUEUE; i++)
        if (u->out[i].busy && u->out[i].seqnum == urb->seqnum)
            return answer_out(u, &u->out[i], urb, err);
    if (u->control.busy && u->control.seqnum == urb->seqnum)
        return answer_out(u, &u->control, urb, err);
    return broke(u, err, "an answer to no request");
}

/* RET_UNLINK: when it says 0 the transfer's own answer came before. */
static int unlinked(struct usbip_transport *u, const struct usbip_urb *urb, struct err *err)
{
    for (unsigned i = 0; i <= QUEUE; i++) {
        struct out_slot *slot = i < QUEUE ? &u->out[i] : &u->control;
        if (!slot->unlink_seqnum || slot->unlink_seqnum != urb->seqnum)
            continue;
        slot->unlink_seqnum = 0;
        slot->busy = false;
        return 0;
    }
    return broke(u, err, "an answer to no unlink request");
}

static int header_take(struct usbip_transport *u, struct err *err)
{
    struct usbip_urb urb;
    struct err broken;
    if (usbip_urb_decode(span_of(u->rx + u->rx_at, USBIP_URB_BYTES), &urb, &broken) < 0)
        return broke(u, err, broken.text);
    u->rx_at += USBIP_URB_BYTES;
    if (urb.command == USBIP_RET_SUBMIT)
        return answer(u, &urb, err);
    if (urb.command == USBIP_RET_UNLINK)
        return unlinked(u, &urb, err);
    return broke(u, err, "a request from the rack");
}

/* Bytes of the message under way to where they belong when nobody reads directly. */
static ssize_t payload_store(struct usbip_transport *u, struct err *err)
{
    struct in_slot *slot = receiving(u);
    uint8_t *to = u->payload_to;
    if (slot) {
        if (!slot->data && !(slot->data = malloc(PIECE_BYTES)))
            return broke(u, err, "no memory");
        to = slot->data + slot->stored;
    }
    ssize_t n = take(u, to, u->payload_left, err);
    if (n <= 0)
        return n;
    u->payload_left -= (size_t)n;
    if (slot)
        slot->stored += (size_t)n;
    else
        u->payload_to = u->payload_left ? to + n : NULL;
    return n;
}

/* Everything that has arrived, without waiting, up to and with the next header; payload bytes that
 * nobody reads directly are stored. 0: nothing more is there. */
static int absorb(struct usbip_transport *u, bool leave_in_payload, struct err *err)
{
    if (u->payload_left) {
        if (leave_in_payload && !u->payload_to)
            return 1;
        ssize_t n = payload_store(u, err);
        return n > 0 ? 1 : (int)n;
    }
    size_t have = u->rx_end - u->rx_at;
    if (have >= USBIP_URB_BYTES) {
        int rc = header_take(u, err);
        return rc < 0 ? rc : 1;
    }
    memmove(u->rx, u->rx + u->rx_at, have);
    u->rx_at = 0;
    u->rx_end = have;
    ssize_t n = receive(u, u->rx + have, RX_BYTES - have, err);
    if (n > 0)
        u->rx_end += (size_t)n;
    return n > 0 ? 1 : (int)n;
}

/* Absorbs one step, waiting for it. */
static int pump(struct usbip_transport *u, bool leave_in_payload, int64_t until_ms, struct err *err)
{
    for (;;) {
        int rc = absorb(u, leave_in_payload, err);
        if (rc != 0)
            return rc;
        rc = wait_for(u, POLLIN, until_ms, err);
        if (rc < 0)
            return rc;
    }
}

/* ---- sending ----------------------------------------------------------------------------- */

/* Header and payload in one go. A message that went out in part cannot be taken back: then the
 * connection is over. While the socket is full, answers are taken in: the peer may be waiting for
 * us. */
static int message_send(struct usbip_transport *u, const struct usbip_urb *urb, const void *payload,
                        size_t payload_len, int64_t until_ms, struct err *err)
{
    uint8_t header[USBIP_URB_BYTES];
    usbip_urb_store(urb, header);
    struct iovec iov[2] = {{header, sizeof(header)}, {(void *)(uintptr_t)payload, payload_len}};
    struct msghdr message = {.msg_iov = iov, .msg_iovlen = 2};
    size_t total = sizeof(header) + payload_len, left = total;
    while (left) {
        ssize_t n = sendmsg(u->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)
            return broke(u, err, "unplugged");
        left -= n > 0 ? (size_t)n : 0;
        for (size_t i = 0, done = n > 0 ? (size_t)n : 0; i < 2; i++) {
            size_t part = MIN_OF(done, iov[i].iov_len);
            iov[i].iov_base = (uint8_t *)iov[i].iov_base + part;
            iov[i].iov_len -= part;
            done -= part;
        }
        if (n > 0)
            continue;
        int events = wait_for(u, POLLIN | POLLOUT, until_ms, err);
        if (events < 0 && left < total)
            u->broken = true;
        if (events < 0)
            return events;
        if (events & POLLIN && absorb(u, false, err) < 0)
            return err->code;
    }
    return 0;
}

static uint32_t seqnum_next(struct usbip_transport *u)
{
    if (++u->seqnum == 0) /* 0 means "none" in our tables */
        u->seqnum = 1;
    return u->seqnum;
}

/* Cancels a transfer and waits a moment for the answer. Without one the connection is over: later
 * answers could not be told apart. */
static int unlink_wait(struct usbip_transport *u, struct out_slot *slot, struct err *err)
{
    if (!slot->busy)
        return 0;
    int64_t until_ms = clock_in(UNLINK_MS);
    struct usbip_urb urb = {.command = USBIP_CMD_UNLINK, .devid = u->devid, .unlink = slot->seqnum};
    urb.seqnum = slot->unlink_seqnum = seqnum_next(u);
    int rc = message_send(u, &urb, NULL, 0, until_ms, err);
    while (rc >= 0 && slot->unlink_seqnum)
        rc = pump(u, false, until_ms, err);
    return rc == ERR_TIMEOUT ? broke(u, err, "no answer to an unlink request") : MIN_OF(rc, 0);
}

static int usable(const struct usbip_transport *u, struct err *err)
{
    return u->broken ? err_set(err, ERR_GONE, "the USB/IP connection has ended") : 0;
}

/* ---- control ----------------------------------------------------------------------------- */

static ssize_t control_run(struct usbip_transport *u, const struct usb_setup *setup, void *data,
                           int64_t until_ms, struct err *err)
{
    bool in = setup->request_type & 0x80;
    struct usbip_urb urb = {
        .command = USBIP_CMD_SUBMIT,
        .seqnum = seqnum_next(u),
        .devid = u->devid,
        .direction = in && setup->length ? USBIP_IN : USBIP_OUT,
        .flags = in && setup->length ? USBIP_FLAG_DIR_IN : 0,
        .length_bytes = setup->length,
    };
    urb.setup[0] = setup->request_type;
    urb.setup[1] = setup->request;
    put_le16(urb.setup + 2, setup->value);
    put_le16(urb.setup + 4, setup->index);
    put_le16(urb.setup + 6, setup->length);
    u->control = (struct out_slot){.seqnum = urb.seqnum, .busy = true, .len = setup->length};
    u->control_data = in ? data : NULL;
    int rc = message_send(u, &urb, data, in ? 0 : setup->length, until_ms, err);
    while (rc >= 0 && (u->control.busy || u->payload_to))
        rc = pump(u, false, until_ms, err);
    if (rc == ERR_TIMEOUT && !u->broken) {
        struct err gone;
        if (unlink_wait(u, &u->control, &gone) < 0)
            *err = gone;
        if (u->payload_to) /* half an answer is in a buffer that we are about to give back */
            return broke(u, err, "half an answer");
        return err->code;
    }
    if (rc < 0)
        return rc;
    if (u->control.status)
        return usbip_status_err(u->control.status, "control request", err);
    return (ssize_t)u->control.actual;
}

static ssize_t usbip_control(struct transport *t, const struct usb_setup *setup, void *data,
                             int64_t until_ms, struct err *err)
{
    struct err local;
    int rc = usable(self(t), err);
    return rc < 0 ? rc : control_run(self(t), setup, data, until_ms, err ? err : &local);
}

/* A halted bulk endpoint stays halted until this. */
static void halt_clear(struct usbip_transport *u, uint8_t endpoint)
{
    struct usb_setup clear = {0x02, 0x01, 0, endpoint, 0};
    struct err ignored;
    control_run(u, &clear, NULL, clock_in(UNLINK_MS), &ignored);
}

/* ---- reading ----------------------------------------------------------------------------- */

/* Asks for as much as the queue holds. */
static int in_ask(struct usbip_transport *u, int64_t until_ms, struct err *err)
{
    for (unsigned i = 0; i < QUEUE; i++) {
        struct in_slot *slot = &u->in[i];
        bool waiting = slot->asked;
        for (unsigned k = 0; k < u->arrived_count; k++)
            waiting = waiting || u->arrived[k] == i;
        if (waiting)
            continue;
        struct usbip_urb urb = {
            .command = USBIP_CMD_SUBMIT,
            .seqnum = seqnum_next(u),
            .devid = u->devid,
            .direction = USBIP_IN,
            .ep = u->id.ep_in & 15,
            .flags = USBIP_FLAG_DIR_IN,
            .length_bytes = PIECE_BYTES,
        };
        slot->seqnum = urb.seqnum;
        slot->asked = true;
        int rc = message_send(u, &urb, NULL, 0, until_ms, err);
        if (rc < 0) {
            slot->asked = false;
            return rc;
        }
    }
    return 0;
}

static void arrived_pop(struct usbip_transport *u)
{
    u->arrived_count--;
    memmove(u->arrived, u->arrived + 1, u->arrived_count * sizeof(u->arrived[0]));
}

/* A transfer that failed. After a stall the other queued ones fail, too: they are dropped and asked
 * for again once the halt is cleared. */
static int in_failed(struct usbip_transport *u, int32_t status, struct err *err)
{
    if (status == USBIP_EPIPE) {
        halt_clear(u, u->id.ep_in);
        while (u->arrived_count && u->in[u->arrived[0]].status == USBIP_EPIPE &&
               &u->in[u->arrived[0]] != receiving(u))
            arrived_pop(u);
        return err_set(err, ERR_IO, "the phone stalled while sending");
    }
    return usbip_status_err(status, "reading", err);
}

/* From the oldest answer; 0 with *again set when there is nothing to give yet. */
static ssize_t in_give(struct usbip_transport *u, uint8_t *dst, size_t len, bool *again,
                       struct err *err)
{
    struct in_slot *slot = &u->in[u->arrived[0]];
    bool direct = slot == receiving(u);
    ssize_t n = 0;
    *again = false;
    if (slot->stored > slot->at) {
        n = (ssize_t)MIN_OF(slot->stored - slot->at, len);
        memcpy(dst, slot->data + slot->at, (size_t)n);
        slot->at += (size_t)n;
        if (slot->at == slot->stored)
            slot->at = slot->stored = 0;
    } else if (direct) {
        n = take(u, dst, MIN_OF(u->payload_left, len), err);
        if (n < 0)
            return n;
        *again = n == 0;
        u->payload_left -= (size_t)n;
    }
    if (slot->stored > slot->at || slot == receiving(u))
        return n;
    int32_t status = slot->status;
    if (n && status) /* bytes first, the error with the next call */
        return n;
    arrived_pop(u);
    return status ? in_failed(u, status, err) : n;
}

static ssize_t usbip_read(struct transport *t, void *dst, size_t len, int64_t until_ms,
                          struct err *err)
{
    struct usbip_transport *u = self(t);
    struct err local;
    err = err ? err : &local;
    int rc = usable(u, err);
    if (rc == 0)
        rc = in_ask(u, until_ms, err);
    while (rc >= 0) {
        bool again = true;
        ssize_t n = u->arrived_count ? in_give(u, dst, len, &again, err) : 0;
        if (n != 0 || !again)
            return n;
        rc = u->arrived_count ? wait_for(u, POLLIN, until_ms, err) : pump(u, true, until_ms, err);
    }
    return rc;
}

/* ---- writing ----------------------------------------------------------------------------- */

static int out_send(struct usbip_transport *u, struct out_slot *slot, const uint8_t *data,
                    size_t len, int64_t until_ms, struct err *err)
{
    struct usbip_urb urb = {
        .command = USBIP_CMD_SUBMIT,
        .seqnum = seqnum_next(u),
        .devid = u->devid,
        .direction = USBIP_OUT,
        .ep = u->id.ep_out & 15,
        .length_bytes = (int32_t)len,
    };
    *slot = (struct out_slot){.seqnum = urb.seqnum, .busy = true, .len = len};
    return message_send(u, &urb, data, len, until_ms, err);
}

/* A transfer that was answered: all bytes, or an error. */
static int out_done(struct usbip_transport *u, const struct out_slot *slot, struct err *err)
{
    if (slot->status == USBIP_EPIPE)
        halt_clear(u, u->id.ep_out);
    if (slot->status == USBIP_EPIPE)
        return err_set(err, ERR_IO, "the phone stalled while receiving");
    if (slot->status)
        return usbip_status_err(slot->status, "writing", err);
    if (slot->actual != slot->len)
        return err_set(err, ERR_IO, "the phone took %zu of %zu bytes", slot->actual, slot->len);
    return 0;
}

/* Cancels whatever is still in flight; keeps the first error. */
static int out_abandon(struct usbip_transport *u, struct err *err)
{
    for (unsigned i = 0; i < QUEUE && !u->broken; i++) {
        struct err later;
        if (unlink_wait(u, &u->out[i], &later) < 0)
            *err = later;
    }
    return err->code;
}

static ssize_t usbip_write(struct transport *t, const void *src, size_t len, int64_t until_ms,
                           struct err *err)
{
    struct usbip_transport *u = self(t);
    struct err local;
    err = err ? err : &local;
    int rc = usable(u, err);
    size_t sent = 0;
    unsigned first = 0, flying = 0;
    while (rc >= 0 && (sent < len || flying)) {
        struct out_slot *oldest = &u->out[first % QUEUE];
        if (sent < len && flying < QUEUE) {
            size_t n = MIN_OF(len - sent, (size_t)PIECE_BYTES);
            rc = out_send(u, &u->out[(first + flying) % QUEUE], (const uint8_t *)src + sent, n,
                          until_ms, err);
            sent += n;
            flying++;
        } else if (oldest->busy) {
            rc = pump(u, false, until_ms, err);
        } else {
            rc = out_done(u, oldest, err);
            first++;
            flying--;
        }
    }
    if (rc < 0 && !u->broken)
        return out_abandon(u, err);
    return rc < 0 ? rc : (ssize_t)len;
}

/* ---- life -------------------------------------------------------------------------------- */

static void usbip_close(struct transport *t)
{
    struct usbip_transport *u = self(t);
    for (unsigned i = 0; i < QUEUE; i++)
        free(u->in[i].data);
    fd_close(&u->fd); /* ends the connection, which is the unplug: nothing needs to be cancelled */
    free(u);
}

static const struct transport_ops usbip_ops = {
    .name = "usbip",
    .read = usbip_read,
    .write = usbip_write,
    .control = usbip_control,
    .close = usbip_close,
};

static ssize_t descriptor_get(struct usbip_transport *u, uint16_t value, uint16_t language,
                              uint8_t *dst, uint16_t len, int64_t until_ms, struct err *err)
{
    struct usb_setup get = {0x80, 0x06, value, language, len};
    return control_run(u, &get, dst, until_ms, err);
}

/* One deadline for all of it: nobody has set a tick yet, and a worker that says nothing for long is taken for hung. */
static int enumerate(struct usbip_transport *u, struct err *err)
{
    uint8_t raw[DESCRIPTOR_CONFIG_MAX];
    struct descriptor_device device;
    uint8_t configuration = 0;
    uint16_t total = 0;
    int64_t until_ms = clock_in(SETUP_MS);
    ssize_t n = descriptor_get(u, 0x0100, 0, raw, DESCRIPTOR_DEVICE_BYTES, until_ms, err);
    if (n < 0 || descriptor_device_decode(span_of(raw, (size_t)n), &device, err) < 0)
        return err->code;
    n = descriptor_get(u, 0x0200, 0, raw, 9, until_ms, err);
    if (n < 0 || descriptor_config_head(span_of(raw, (size_t)n), &configuration, &total, err) < 0)
        return err->code;
    n = descriptor_get(u, 0x0200, 0, raw, total, until_ms, err);
    if (n < 0 || descriptor_pick(span_of(raw, (size_t)n), &u->id, err) < 0)
        return err->code;
    u->id.vid = device.vid;
    u->id.pid = device.pid;
    u->id.bcd_device = device.bcd_device;
    u->id.device_class = device.device_class;
    if (device.serial_index) {
        n = descriptor_get(u, (uint16_t)(0x0300 | device.serial_index), 0x0409, raw, 255, until_ms,
                           err);
        if (n < 0 && n != ERR_REFUSED)
            return err->code;
        if (n > 0)
            descriptor_string(span_of(raw, (size_t)n), u->id.serial, sizeof(u->id.serial));
    }
    struct usb_setup set = {0x00, 0x09, configuration, 0, 0};
    n = control_run(u, &set, NULL, until_ms, err);
    return (int)MIN_OF(n, 0);
}

int transport_usbip_open(int socket_fd, uint32_t devid, int speed, struct transport **out,
                         struct usb_identity *id_out, struct err *err)
{
    struct err local;
    err = err ? err : &local;
    struct usbip_transport *u = xcalloc(1, sizeof(*u));
    int one = 1;
    setsockopt(socket_fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)); /* fails on a unix socket */
    u->transport.ops = &usbip_ops;
    u->fd = socket_fd;
    u->devid = devid;
    u->id.speed = speed;
    int rc = enumerate(u, err);
    if (rc < 0) {
        u->fd = -1; /* stays the caller's */
        usbip_close(&u->transport);
        return err_in(err, "USB/IP device");
    }
    *id_out = u->id;
    *out = &u->transport;
    return 0;
}
