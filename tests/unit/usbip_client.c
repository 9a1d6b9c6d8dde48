/* The USB/IP transport against a peer that behaves, and against peers that do not. The peer is a
 * thread on the other end of a socket pair. */
#include "tests/unit/rows.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "usb/base/clock.h"
#include "usb/base/hash.h"
#include "usb/base/io.h"
#include "usb/base/mem.h"
#include "usb/codec/usbip.h"
#include "usb/transport/usbip.h"

enum { DEVID = 0x10002, IN_MAX = 64, BULK_BYTES = 1 << 20 };

enum behaviour {
    ECHO,          /* what comes in on OUT goes out on IN, transfer by transfer */
    TOO_LONG,      /* the first IN answer says it is longer than its request */
    UNKNOWN,       /* an answer to a request that was never made */
    REQUEST,       /* the peer asks us */
    STALL_IN,      /* the first IN fails, so do the queued ones, until the halt is cleared */
    STALL_OUT,     /* the same for OUT */
    SHORT_OUT,     /* half of each OUT is taken */
    SILENT_OUT,    /* OUT is not answered until it is unlinked */
    NO_UNLINK,     /* nor then */
    CLOSE_OUT,     /* the peer is gone at the first OUT */
    HALF_PAYLOAD,  /* the peer is gone inside an IN answer */
    GONE_STATUS,   /* OUT is answered with -ENODEV */
    STALL_CONTROL, /* class requests are stalled */
    BAD_DESCRIPTOR,
    SLOW_CONTROL, /* each control request takes SLOW_MS */
};
enum { SLOW_MS = 60 };

struct peer {
    int fd;
    enum behaviour behaviour;
    pthread_t thread;
    uint32_t in[IN_MAX]; /* IN requests that wait, oldest first */
    size_t in_count;
    uint32_t held; /* an OUT that is not answered */
    bool halted;
    unsigned unlinks, clears, class_requests;
    uint64_t out_bytes;
};

static int get(struct peer *p, void *dst, size_t len)
{
    for (uint8_t *at = dst; len;) {
        ssize_t n = recv(p->fd, at, len, 0);
        if (n <= 0)
            return -1;
        at += n;
        len -= (size_t)n;
    }
    return 0;
}

static void reply(struct peer *p, enum usbip_command command, uint32_t seqnum, int32_t status,
                  const void *data, size_t len, size_t claimed)
{
    uint8_t raw[USBIP_URB_BYTES];
    struct usbip_urb urb = {.command = command, .seqnum = seqnum, .status = status};
    urb.length_bytes = (int32_t)claimed;
    usbip_urb_store(&urb, raw);
    if (send(p->fd, raw, sizeof(raw), MSG_NOSIGNAL) == sizeof(raw))
        io_write(p->fd, data, len, NULL);
}

static size_t descriptor(struct peer *p, const uint8_t setup[8], uint8_t *out)
{
    static const char *const texts[] = {
        "",
        "12010002020000408d0e00200001000001 01",
        ("09024300020103c0fa 090400000102020105 0524001001 0424020f 0524060100 0524010300"
         "07058303400010 0904010002 0a000004 07050102000200 07058102000200"),
        "0a0353004e0037000100",
    };
    ptrdiff_t n = 0;
    if (p->behaviour == BAD_DESCRIPTOR)
        n = hex_decode("120100", out, 64);
    else if (setup[3] >= 1 && setup[3] <= 3)
        n = hex_decode(texts[setup[3]], out, 256);
    return MIN_OF(n > 0 ? (size_t)n : 0, (size_t)get_le16(setup + 6));
}

static void control(struct peer *p, const struct usbip_urb *urb)
{
    uint8_t data[512];
    bool in = urb->setup[0] & 0x80;
    if (!in && urb->length_bytes && get(p, data, (size_t)urb->length_bytes) < 0)
        return;
    size_t n = in && urb->setup[1] == 6 ? descriptor(p, urb->setup, data) : 0;
    if (p->behaviour == SLOW_CONTROL)
        nanosleep(&(struct timespec){0, SLOW_MS * 1000000}, NULL);
    if (urb->setup[0] == 0x02 && urb->setup[1] == 1) {
        p->clears++;
        p->halted = false;
    }
    bool class_request = urb->setup[0] == 0x21;
    p->class_requests += class_request;
    bool stall = class_request && p->behaviour == STALL_CONTROL;
    reply(p, USBIP_RET_SUBMIT, urb->seqnum, stall ? USBIP_EPIPE : 0, data, n,
          in ? n : (stall ? 0 : (size_t)urb->length_bytes));
}

static void in_answer(struct peer *p, const void *data, size_t len)
{
    if (p->in_count == 0)
        return;
    reply(p, USBIP_RET_SUBMIT, p->in[0], 0, data, len, len);
    memmove(p->in, p->in + 1, --p->in_count * sizeof(p->in[0]));
}

static void in_request(struct peer *p, const struct usbip_urb *urb)
{
    static const uint8_t some[100] = "half";
    switch (p->behaviour) {
    case TOO_LONG:
        reply(p, USBIP_RET_SUBMIT, urb->seqnum, 0, NULL, 0, (size_t)urb->length_bytes + 1);
        return;
    case UNKNOWN:
        reply(p, USBIP_RET_SUBMIT, urb->seqnum + 1000, 0, NULL, 0, 0);
        return;
    case REQUEST:
        reply(p, USBIP_CMD_SUBMIT, urb->seqnum, 0, NULL, 0, 0);
        return;
    case HALF_PAYLOAD:
        reply(p, USBIP_RET_SUBMIT, urb->seqnum, 0, some, 50, 100);
        shutdown(p->fd, SHUT_RDWR);
        return;
    default:
        break;
    }
    if (p->behaviour == STALL_IN && p->halted) {
        reply(p, USBIP_RET_SUBMIT, urb->seqnum, USBIP_EPIPE, NULL, 0, 0);
        return;
    }
    p->in[p->in_count++] = urb->seqnum;
    if (p->behaviour == STALL_IN && p->clears) /* proof of life after the stall */
        in_answer(p, some, 4);
}

static void out_request(struct peer *p, const struct usbip_urb *urb)
{
    static uint8_t data[BULK_BYTES];
    size_t len = (size_t)urb->length_bytes;
    if (get(p, data, len) < 0)
        return;
    p->out_bytes += len;
    switch (p->behaviour) {
    case CLOSE_OUT:
        shutdown(p->fd, SHUT_RDWR);
        return;
    case SILENT_OUT:
    case NO_UNLINK:
        p->held = urb->seqnum;
        return;
    case GONE_STATUS:
        reply(p, USBIP_RET_SUBMIT, urb->seqnum, USBIP_ENODEV, NULL, 0, 0);
        return;
    case STALL_OUT:
        if (p->halted) {
            reply(p, USBIP_RET_SUBMIT, urb->seqnum, USBIP_EPIPE, NULL, 0, 0);
            return;
        }
        break;
    default:
        break;
    }
    reply(p, USBIP_RET_SUBMIT, urb->seqnum, 0, NULL, 0, p->behaviour == SHORT_OUT ? len / 2 : len);
    if (p->behaviour == ECHO)
        in_answer(p, data, len);
}

static void *peer_run(void *arg)
{
    struct peer *p = arg;
    uint8_t raw[USBIP_URB_BYTES];
    struct usbip_urb urb;
    while (get(p, raw, sizeof(raw)) == 0 &&
           usbip_urb_decode(span_of(raw, sizeof(raw)), &urb, NULL) == 0) {
        if (urb.command == USBIP_CMD_UNLINK) {
            p->unlinks++;
            if (p->behaviour != NO_UNLINK)
                reply(p, USBIP_RET_UNLINK, urb.seqnum, USBIP_ECONNRESET, NULL, 0, 0);
        } else if (urb.ep == 0) {
            control(p, &urb);
        } else if (urb.direction == USBIP_IN) {
            in_request(p, &urb);
        } else {
            out_request(p, &urb);
        }
    }
    close(p->fd);
    return NULL;
}

static int peer_start(struct peer *p, enum behaviour behaviour)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    *p = (struct peer){.fd = fds[1], .behaviour = behaviour};
    p->halted = behaviour == STALL_IN || behaviour == STALL_OUT;
    assert_int_equal(pthread_create(&p->thread, NULL, peer_run, p), 0);
    return fds[0];
}

static struct transport *start(struct peer *p, enum behaviour behaviour, struct usb_identity *id)
{
    struct transport *t = NULL;
    struct err err = {0};
    int fd = peer_start(p, behaviour);
    if (transport_usbip_open(fd, DEVID, 3, &t, id, &err) < 0)
        fail_msg("%s", err.text);
    return t;
}

static void stop(struct peer *p, struct transport **t)
{
    transport_close(t);
    pthread_join(p->thread, NULL);
}

/* ---- a peer that behaves
 * ------------------------------------------------------------------------- */

static void reads_what_the_descriptors_say(void **state)
{
    (void)state;
    struct peer p;
    struct usb_identity id;
    struct transport *t = start(&p, ECHO, &id);
    assert_int_equal(id.vid, 0x0e8d);
    assert_int_equal(id.pid, 0x2000);
    assert_int_equal(id.ep_in, 0x81);
    assert_int_equal(id.interface, 1);
    assert_int_equal(id.comm_interface, 0);
    assert_int_equal(id.speed, 3);
    assert_string_equal(id.serial, "SN7?");
    stop(&p, &t);
}

static void keeps_what_a_read_leaves(void **state)
{
    (void)state;
    struct peer p;
    struct usb_identity id;
    struct transport *t = start(&p, ECHO, &id);
    uint8_t in[200], out[100];
    for (unsigned i = 0; i < sizeof(out); i++)
        out[i] = (uint8_t)i;
    assert_int_equal(transport_read(t, in, 10, clock_in(20), NULL), ERR_TIMEOUT);
    assert_int_equal(transport_write(t, out, 100, clock_in(5000), NULL), 100);
    assert_int_equal(transport_write(t, out, 0, clock_in(5000), NULL), 0); /* sends nothing */
    assert_int_equal(transport_write(t, out, 7, clock_in(5000), NULL), 7);
    size_t got = 0;
    while (got < 100) { /* one transfer, however the socket cuts it */
        ssize_t n = transport_read(t, in + got, MIN_OF(30, 100 - got), clock_in(5000), NULL);
        assert_true(n > 0);
        got += (size_t)n;
    }
    assert_memory_equal(in, out, 100);
    /* never bytes of two transfers in one answer */
    assert_int_equal(transport_read(t, in, sizeof(in), clock_in(5000), NULL), 7);
    stop(&p, &t);
}

/* Writing while answers pile up: the transport takes them in meanwhile, and nothing is lost. */
static void long_transfers_both_ways(void **state)
{
    (void)state;
    struct peer p;
    struct usb_identity id;
    struct transport *t = start(&p, ECHO, &id);
    uint8_t *out = malloc(BULK_BYTES), *in = malloc(BULK_BYTES);
    size_t room = 4 * 65536; /* as much as the queue of IN requests takes */
    for (size_t i = 0; i < BULK_BYTES; i++)
        out[i] = (uint8_t)(i * 7 + i / 65536);
    assert_int_equal(transport_read(t, in, 1, clock_in(10), NULL), ERR_TIMEOUT);
    assert_int_equal(transport_write(t, out, room, clock_in(10000), NULL), room);
    size_t got = 0;
    while (got < room) {
        ssize_t n = transport_read(t, in + got, room - got, clock_in(10000), NULL);
        assert_true(n > 0);
        got += (size_t)n;
    }
    assert_memory_equal(in, out, room);
    assert_int_equal(transport_write(t, out, BULK_BYTES, clock_in(10000), NULL), BULK_BYTES);
    assert_int_equal(p.out_bytes, room + BULK_BYTES);
    free(out);
    free(in);
    stop(&p, &t);
}

static void tick_count(void *arg)
{
    ++*(int *)arg;
}

static void waiting_ticks(void **state)
{
    (void)state;
    struct peer p;
    struct usb_identity id;
    struct transport *t = start(&p, ECHO, &id);
    int ticks = 0;
    uint8_t byte;
    transport_set_tick(t, tick_count, &ticks);
    assert_int_equal(transport_read(t, &byte, 1, clock_now_ms() + 1200, NULL), ERR_TIMEOUT);
    assert_true(ticks >= 1);
    stop(&p, &t);
}

/* ---- peers that do not
 * --------------------------------------------------------------------------- */

static const struct row {
    const char *name;
    enum behaviour behaviour;
    int read, write; /* 1: not done; codes of the first call */
    int after;       /* of a read after it: 4 bytes, or an error */
} rows[] = {
    {"answer longer than its request", TOO_LONG, ERR_GONE, 1, ERR_GONE},
    {"answer to no request", UNKNOWN, ERR_GONE, 1, ERR_GONE},
    {"a request from the peer", REQUEST, ERR_GONE, 1, ERR_GONE},
    {"stall while reading", STALL_IN, ERR_IO, 1, 4},
    {"stall while writing", STALL_OUT, 1, ERR_IO, ERR_TIMEOUT},
    {"half of a write taken", SHORT_OUT, 1, ERR_IO, ERR_TIMEOUT},
    {"write not answered", SILENT_OUT, 1, ERR_TIMEOUT, ERR_TIMEOUT},
    {"unlink not answered", NO_UNLINK, 1, ERR_GONE, ERR_GONE},
    {"gone while writing", CLOSE_OUT, 1, ERR_GONE, ERR_GONE},
    {"gone by status", GONE_STATUS, 1, ERR_GONE, ERR_TIMEOUT},
};

static void misbehaves(void **state)
{
    const struct row *row = ROW(state);
    struct peer p;
    struct usb_identity id;
    struct transport *t = start(&p, row->behaviour, &id);
    uint8_t data[512] = {0};
    clock_scale_set(0.1); /* the patience for unlink answers */
    if (row->read != 1)
        assert_int_equal(transport_read(t, data, 512, clock_now_ms() + 5000, NULL), row->read);
    if (row->write != 1) {
        int64_t patience_ms = row->write == ERR_TIMEOUT || row->behaviour == NO_UNLINK ? 30 : 5000;
        assert_int_equal(transport_write(t, data, 512, clock_now_ms() + patience_ms, NULL),
                         row->write);
    }
    int64_t after_ms = row->after == ERR_TIMEOUT ? 30 : 5000;
    assert_int_equal(transport_read(t, data, 512, clock_now_ms() + after_ms, NULL), row->after);
    clock_scale_set(1);
    stop(&p, &t);
    if (row->behaviour == STALL_IN || row->behaviour == STALL_OUT)
        assert_true(p.clears >= 1);
    if (row->behaviour == SILENT_OUT)
        assert_int_equal(p.unlinks, 1);
}

static void half_an_answer(void **state)
{
    (void)state;
    struct peer p;
    struct usb_identity id;
    struct transport *t = start(&p, HALF_PAYLOAD, &id);
    uint8_t data[512];
    size_t got = 0;
    ssize_t n;
    while ((n = transport_read(t, data + got, 512 - got, clock_in(5000), NULL)) > 0)
        got += (size_t)n;
    assert_true(got <= 50); /* none when the end was noticed while asking for more */
    assert_int_equal(n, ERR_GONE);
    stop(&p, &t);
}

static void control_requests(void **state)
{
    (void)state;
    struct peer p;
    struct usb_identity id;
    struct usb_setup coding = {0x21, 0x20, 0, 0, 7};
    uint8_t data[7] = {0};
    struct transport *t = start(&p, ECHO, &id);
    assert_int_equal(transport_control(t, &coding, data, clock_in(5000), NULL), 7);
    stop(&p, &t);
    assert_int_equal(p.class_requests, 1);
    t = start(&p, STALL_CONTROL, &id);
    assert_int_equal(transport_control(t, &coding, data, clock_in(5000), NULL), ERR_REFUSED);
    assert_int_equal(transport_control(t, &coding, data, clock_in(5000), NULL), ERR_REFUSED);
    stop(&p, &t);
}

static void a_failed_open_leaves_the_socket(void **state)
{
    (void)state;
    struct peer p;
    struct usb_identity id;
    struct transport *t = NULL;
    struct err err;
    int fd = peer_start(&p, BAD_DESCRIPTOR);
    assert_int_equal(transport_usbip_open(fd, DEVID, 3, &t, &id, &err), ERR_PROTOCOL);
    assert_null(t);
    assert_int_equal(close(fd), 0);
    pthread_join(p.thread, NULL);
}

/* Nothing tells the station meanwhile that its worker lives: five requests have the time of one. */
static void a_slow_open_ends(void **state)
{
    (void)state;
    struct peer p;
    struct usb_identity id;
    struct transport *t = NULL;
    struct err err;
    int fd = peer_start(&p, SLOW_CONTROL);
    clock_scale_set(2.0 * SLOW_MS / 5000);
    int rc = transport_usbip_open(fd, DEVID, 3, &t, &id, &err);
    clock_scale_set(1);
    assert_true(rc == ERR_TIMEOUT ||
                rc == ERR_GONE); /* by whether the unlink was answered in time */
    assert_null(t);
    assert_int_equal(close(fd), 0);
    pthread_join(p.thread, NULL);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN); /* as in the programs: a peer here may speak to a client that has gone */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_what_the_descriptors_say),
        cmocka_unit_test(keeps_what_a_read_leaves),
        cmocka_unit_test(long_transfers_both_ways),
        cmocka_unit_test(waiting_ticks),
        cmocka_unit_test(half_an_answer),
        cmocka_unit_test(control_requests),
        cmocka_unit_test(a_failed_open_leaves_the_socket),
        cmocka_unit_test(a_slow_open_ends),
    };
    return RUN_ROWS(misbehaves, rows) + cmocka_run_group_tests(tests, NULL, NULL);
}
