#include "tests/phone/usb_device.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "tests/phone/hardware.h"
#include "tests/phone/usb_standard.h"
#include "usb/base/clock.h"
#include "usb/base/mem.h"
#include "usb/base/span.h"

enum { CONTROL_IN_MAX = 4096 };

/* ---- requests and their queues
 * ------------------------------------------------------------------- */

struct urb *urb_new(void)
{
    return xcalloc(1, sizeof(struct urb));
}

void urb_free(struct urb **u)
{
    if (*u)
        free((*u)->data);
    free(*u);
    *u = NULL;
}

static void queue_init(struct urb_queue *q)
{
    *q = (struct urb_queue){.tail = &q->head};
}

static void queue_put(struct urb_queue *q, struct urb *u)
{
    u->next = NULL;
    *q->tail = u;
    q->tail = &u->next;
    q->count++;
    q->bytes += u->length;
}

static struct urb *queue_remove(struct urb_queue *q, struct urb **at)
{
    struct urb *u = *at;
    *at = u->next;
    if (q->tail == &u->next)
        q->tail = at;
    q->count--;
    q->bytes -= u->length;
    return u;
}

static struct urb *queue_take(struct urb_queue *q)
{
    return q->head ? queue_remove(q, &q->head) : NULL;
}

static struct urb **queue_find(struct urb_queue *q, uint32_t seqnum)
{
    for (struct urb **at = &q->head; *at; at = &(*at)->next)
        if ((*at)->seqnum == seqnum && !(*at)->acked)
            return at;
    return NULL;
}

static void queue_clear(struct urb_queue *q)
{
    for (struct urb *u; (u = queue_take(q));)
        urb_free(&u);
}

void usb_device_init(struct usb_device *d)
{
    *d = (struct usb_device){.gadget = NULL};
    queue_init(&d->out);
    queue_init(&d->in);
    queue_init(&d->idle);
}

static void clear_queues(struct usb_device *d)
{
    queue_clear(&d->out);
    queue_clear(&d->in);
    queue_clear(&d->idle);
}

void usb_device_deinit(struct usb_device *d)
{
    clear_queues(d);
}

/* ---- answers
 * -------------------------------------------------------------------------------------- */

/* Until an answer is sent its seqnum is listed, so that an unlink that crosses it waits: RET_UNLINK
 * must not overtake the answer. Lock held. */
static void answering_begin(struct usb_device *d, uint32_t seqnum)
{
    assert(d->answering_count < ANSWERING_MAX);
    d->answering[d->answering_count++] = seqnum;
}

static void answering_end(struct board *b, uint32_t seqnum)
{
    struct usb_device *d = &b->usb;
    for (unsigned i = 0; i < d->answering_count; i++)
        if (d->answering[i] == seqnum) {
            d->answering[i] = d->answering[--d->answering_count];
            break;
        }
    pthread_cond_broadcast(&b->wake);
}

/* Sends without the lock; it is held before and after. */
static void transmit(struct board *b, const struct answer *a)
{
    struct link *link = b->usb.link;
    if (!link)
        return; /* whoever asked is gone */
    pthread_mutex_unlock(&b->lock);
    link_answer(link, a);
    pthread_mutex_lock(&b->lock);
}

static void send_answer(struct board *b, const struct answer *a)
{
    answering_begin(&b->usb, a->seqnum);
    transmit(b, a);
    answering_end(b, a->seqnum);
}

static bool is_answering(const struct usb_device *d, uint32_t seqnum)
{
    for (unsigned i = 0; i < d->answering_count; i++)
        if (d->answering[i] == seqnum)
            return true;
    return false;
}

/* Answers a request that is in no queue any more, and frees it. Lock held before and after. */
static void finish(struct board *b, struct urb *u, int32_t status, uint32_t actual,
                   const void *data)
{
    struct answer a = {.seqnum = u->seqnum,
                       .status = status,
                       .requested = u->length,
                       .actual = actual,
                       .data = data};
    send_answer(b, &a);
    urb_free(&u);
}

/* Answers everything that waits in a queue with the same status. Lock held. */
static void finish_all(struct board *b, struct urb_queue *q, int32_t status)
{
    for (struct urb *u; (u = queue_take(q));) {
        if (u->acked)
            urb_free(&u);
        else
            finish(b, u, status, 0, NULL);
    }
}

/* ---- OUT: what the controller confirms
 * ------------------------------------------------------------ */

static bool urb_spent(const struct urb *u)
{
    return u->done == u->length && !u->zlp;
}

static size_t urb_packets(const struct urb *u, size_t packet)
{
    return (u->length - u->done + packet - 1) / packet + (u->zlp ? 1 : 0);
}

static bool out_naks(const struct usb_device *d)
{
    return d->out_naks_until_ms > clock_now_ms();
}

/* The first request that may be confirmed now, NULL: none. */
static struct urb *next_to_confirm(struct usb_device *d)
{
    size_t packets = 0;
    for (struct urb *u = out_naks(d) ? NULL : d->out.head; u; u = u->next) {
        packets += urb_packets(u, d->gadget->packet);
        if (packets > FIFO_PACKETS)
            return NULL;
        if (!u->acked)
            return u;
    }
    return NULL;
}

/* Drops what the firmware has taken and confirms what fits the FIFO. Lock held before and after,
 * but released in between. */
static void confirm_out(struct board *b)
{
    struct usb_device *d = &b->usb;
    if (!d->confirming) { /* one thread at a time, so that the answers keep their order */
        d->confirming = true;
        for (struct urb *u; d->gadget && (u = next_to_confirm(d));) {
            struct answer a = {.seqnum = u->seqnum, .requested = u->length, .actual = u->length};
            u->acked = true;
            send_answer(b, &a);
        }
        d->confirming = false;
    }
    while (d->out.head && d->out.head->acked && urb_spent(d->out.head)) {
        struct urb *u = queue_take(&d->out);
        urb_free(&u);
    }
}

/* ---- bus events
 * ------------------------------------------------------------------------------------ */

/* Lock held before and after; answers are sent in between. */
static void bus_reset(struct board *b)
{
    struct usb_device *d = &b->usb;
    d->configuration = 0;
    d->halted = 0;
    d->out_naks_until_ms = 0;
    if (d->was_configured)
        d->reset = true;
    d->was_configured = false;
    pthread_cond_broadcast(&b->wake);
    finish_all(b, &d->out, USB_NO_ANSWER);
    finish_all(b, &d->in, USB_NO_ANSWER);
    finish_all(b, &d->idle, USB_NO_ANSWER);
}

void usb_device_lose(struct board *b)
{
    b->usb.lost = true;
    if (b->usb.link)
        link_shutdown(b->usb.link);
    pthread_cond_broadcast(&b->wake);
}

int usb_device_claim(struct board *b, struct link *link)
{
    struct usb_device *d = &b->usb;
    int rc = 0;
    pthread_mutex_lock(&b->lock);
    if (!d->gadget || d->lost || !b->cable)
        rc = -1;
    else if (d->link)
        rc = -2;
    else
        d->link = link;
    pthread_mutex_unlock(&b->lock);
    return rc;
}

void usb_device_release(struct board *b, struct link *link)
{
    struct usb_device *d = &b->usb;
    link_shutdown(link);
    pthread_mutex_lock(&b->lock);
    if (d->link == link) {
        while (d->answering_count)
            pthread_cond_wait(&b->wake, &b->lock);
        d->link = NULL;
        clear_queues(d);
        bus_reset(b);
        pthread_cond_broadcast(&b->changed);
    }
    pthread_mutex_unlock(&b->lock);
}

/* ---- what the importer asks
 * ------------------------------------------------------------------------ */

static int64_t nak_until_ms(const struct fault_spec *spec)
{
    return spec->kind == FAULT_NAK ? INT64_MAX : fault_late_until_ms(spec);
}

/* Faults that leave a transfer as it is but for its bytes. */
static void spoil(const struct fault_spec *spec, uint8_t *data, size_t len)
{
    if (spec->kind == FAULT_GARBAGE)
        fault_garbage(spec->seed, data, len);
    if (spec->kind == FAULT_CORRUPT && len)
        data[spec->seed / 8 % len] ^= (uint8_t)(1u << spec->seed % 8);
}

/* What a transfer fault does to an OUT request that has just arrived. Lock held before and after.
 * True when the request has its answer already. */
static bool fault_out(struct board *b, struct urb *u)
{
    struct usb_device *d = &b->usb;
    struct fault_spec spec = {.kind = FAULT_NONE};
    fault_plan_transfer(&b->faults, false, u->data, u->length, &spec);
    switch (spec.kind) {
    case FAULT_UNPLUG:
        board_cable_move(b, false);
        urb_free(&u);
        return true;
    case FAULT_RESET:
        queue_put(&d->out, u);
        bus_reset(b);
        return true;
    case FAULT_STALL:
        d->halted |= usb_halt_bit(u->endpoint);
        finish(b, u, USB_STALL, 0, NULL);
        return true;
    case FAULT_LIE:
        finish(b, u, USB_OK, u->length, NULL);
        return true;
    case FAULT_SHORT: { /* the rest never arrives, and is not confirmed */
        uint32_t taken = u->length / 2;
        struct answer a = {.seqnum = u->seqnum, .requested = u->length, .actual = taken};
        u->length = taken;
        u->zlp = taken == 0;
        u->acked = true;
        queue_put(&d->out, u);
        send_answer(b, &a);
        return true;
    }
    case FAULT_LATE:
    case FAULT_NAK:
        d->out_naks_until_ms = nak_until_ms(&spec);
        return false;
    default:
        spoil(&spec, u->data, u->length);
        return false;
    }
}

/* The time that the bytes need on the wire. Lock held before and after. */
static void bus_time(struct board *b, size_t len)
{
    const struct board_settings *s = &b->settings;
    struct usb_device *d = &b->usb;
    uint64_t rate =
        d->gadget && d->gadget->speed == 2 ? s->full_speed_bytes_per_s : s->high_speed_bytes_per_s;
    int64_t until = pace_take(&d->pace, len, rate);
    while (until && !d->lost && board_wait(b, &b->wake, until))
        ;
}

static void submit_out(struct board *b, struct urb *u)
{
    struct usb_device *d = &b->usb;
    bus_time(b, u->length);
    d->transfers++;
    d->bytes += u->length;
    d->active_ms = clock_now_ms();
    if (fault_out(b, u)) {
        pthread_cond_broadcast(&b->wake);
        return;
    }
    u->zlp = u->length == 0 || (u->zero_packet && u->length % d->gadget->packet == 0);
    u->number = ++d->out_number;
    d->out_early = d->out_early || d->in_left > 0;
    queue_put(&d->out, u);
    pthread_cond_broadcast(&b->wake);
    confirm_out(b);
}

int usb_device_submit(struct board *b, struct link *link, struct urb *u)
{
    struct usb_device *d = &b->usb;
    pthread_mutex_lock(&b->lock);
    if (d->link != link || d->lost || !d->gadget) {
        urb_free(&u);
        pthread_mutex_unlock(&b->lock);
        return -1;
    }
    size_t count = d->out.count + d->in.count + d->idle.count;
    int rc = count >= QUEUE_URBS_MAX || d->out.bytes + u->length > QUEUE_BYTES_MAX ? -1 : 0;
    if (rc < 0)
        urb_free(&u);
    else if (d->configuration == 0)
        finish(b, u, USB_NO_ANSWER, 0, NULL);
    else if (!usb_has_endpoint(d->gadget, u->endpoint) || d->halted & usb_halt_bit(u->endpoint))
        finish(b, u, USB_STALL, 0, NULL);
    else if (u->endpoint == d->gadget->ep_out)
        submit_out(b, u);
    else {
        queue_put(u->endpoint == d->gadget->ep_in ? &d->in : &d->idle, u);
        pthread_cond_broadcast(&b->wake);
    }
    pthread_mutex_unlock(&b->lock);
    return rc;
}

static void apply_effect(struct board *b, enum usb_effect effect, const struct usb_state *state)
{
    struct usb_device *d = &b->usb;
    if (effect == USB_EFFECT_NONE)
        return;
    if (effect == USB_EFFECT_BUS_RESET ||
        (effect == USB_EFFECT_CONFIGURED && !state->configuration))
        bus_reset(b);
    d->configuration = state->configuration;
    d->halted = state->halted;
    if (d->halted & usb_halt_bit(d->gadget->ep_in))
        finish_all(b, &d->in, USB_STALL);
    if (d->halted & usb_halt_bit(d->gadget->ep_out))
        finish_all(b, &d->out, USB_STALL);
    pthread_cond_broadcast(&b->wake);
}

/* A class or vendor request runs in the gadget's callback, without the lock. */
static int gadget_request(struct board *b, const uint8_t setup[8], const uint8_t *data, uint8_t *in,
                          size_t in_max)
{
    const struct gadget *g = b->usb.gadget;
    if (!g->control)
        return -1;
    b->usb.in_callback = true;
    pthread_mutex_unlock(&b->lock);
    int n = g->control(g->ctx, setup, data, in, in_max);
    pthread_mutex_lock(&b->lock);
    b->usb.in_callback = false;
    pthread_cond_broadcast(&b->wake);
    return n;
}

/* Bytes of IN data or -1 for STALL. Lock held before and after. */
static int control_request(struct board *b, const struct control *c, uint8_t *in, size_t in_max)
{
    struct usb_device *d = &b->usb;
    uint16_t promised = get_le16(c->setup + 6);
    bool in_by_setup = c->setup[0] & 0x80;
    if (promised && (in_by_setup != c->in || (!c->in && c->length < promised)))
        return -1; /* data in the other direction than the setup packet's, or less than it promises */
    if ((c->setup[0] & 0x60) != 0)
        return gadget_request(b, c->setup, c->data, in, in_max);
    struct usb_state state = {d->configuration, d->halted};
    enum usb_effect effect;
    int n = usb_standard(d->gadget, &state, c->setup, in, in_max, &effect);
    if (n >= 0)
        apply_effect(b, effect, &state);
    return n;
}

/* What a fault does to a control transfer before the phone looks at it: false when it has no answer
 * now. One that is NAKed for ever waits where an unlink finds it. Lock held before and after. */
static bool fault_control_before(struct board *b, const struct control *c, struct fault_spec *spec)
{
    struct usb_device *d = &b->usb;
    fault_plan_control(&b->faults, spec);
    if (spec->kind == FAULT_UNPLUG)
        board_cable_move(b, false);
    if (spec->kind == FAULT_NAK) {
        struct urb *u = urb_new();
        u->seqnum = c->seqnum;
        u->length = c->length;
        queue_put(&d->idle, u);
    }
    for (int64_t until = spec->kind == FAULT_LATE ? fault_late_until_ms(spec) : 0;
         until > clock_now_ms() && !d->lost;)
        board_wait(b, &b->wake, until);
    return spec->kind != FAULT_NAK && !d->lost;
}

/* What a fault does to the answer; `in` is its data, of at most in_max bytes. */
static void fault_control(const struct fault_spec *spec, struct answer *a, uint8_t *in,
                          size_t in_max)
{
    if (spec->kind == FAULT_STALL || spec->kind == FAULT_RESET)
        a->status = spec->kind == FAULT_STALL ? USB_STALL : USB_NO_ANSWER;
    if (a->status != USB_OK || !a->data)
        return;
    if (spec->kind == FAULT_SHORT)
        a->actual /= 2;
    else if (spec->kind == FAULT_LIE)
        a->actual = 0;
    else if (spec->kind == FAULT_BABBLE)
        a->status = USB_BABBLE;
    else if (spec->kind == FAULT_LONG) {
        size_t more = MIN_OF(in_max - a->actual, (size_t)FAULT_LONG_BYTES);
        fault_garbage(spec->seed, in + a->actual, more);
        a->actual += (uint32_t)more;
    } else
        spoil(spec, in, a->actual);
}

void usb_device_control(struct board *b, struct link *link, const struct control *c)
{
    struct usb_device *d = &b->usb;
    uint8_t in[CONTROL_IN_MAX];
    size_t in_max = c->in && c->setup[0] & 0x80 ? MIN_OF((size_t)c->length, sizeof(in)) : 0;
    struct answer a = {.seqnum = c->seqnum, .requested = c->length};
    pthread_mutex_lock(&b->lock);
    struct fault_spec fault = {.kind = FAULT_NONE};
    bool there = d->link == link && !d->lost && d->gadget;
    if (there && fault_control_before(b, c, &fault)) {
        int n = control_request(b, c, in, in_max);
        if (n < 0)
            a.status = USB_STALL;
        else
            a.actual = c->in ? (uint32_t)MIN_OF((size_t)n, in_max) : c->length;
        a.data = c->in ? in : NULL;
        fault_control(&fault, &a, in, in_max);
        send_answer(b, &a);
        if (fault.kind == FAULT_RESET)
            bus_reset(b);
    }
    pthread_mutex_unlock(&b->lock);
}

/* Takes the request out of its queue, NULL when it is not waiting any more. Lock held. */
static struct urb *withdraw(struct usb_device *d, uint32_t victim)
{
    struct urb_queue *queues[] = {&d->in, &d->out, &d->idle};
    for (size_t i = 0; i < ARRAY_LEN(queues); i++) {
        struct urb **at = queue_find(queues[i], victim);
        if (at)
            return queue_remove(queues[i], at);
    }
    return NULL;
}

void usb_device_unlink(struct board *b, struct link *link, uint32_t seqnum, uint32_t victim)
{
    struct usb_device *d = &b->usb;
    struct answer a = {.seqnum = seqnum, .unlink = true};
    pthread_mutex_lock(&b->lock);
    if (d->link == link) {
        struct urb *u = withdraw(d, victim);
        if (u && u->endpoint & 0x80 && u->done) {
            /* Packets the host has confirmed on the wire are its own: the answer wins the race. */
            finish(b, u, USB_OK, u->done, u->data);
        } else if (u) {
            a.status = USB_UNLINKED;
            urb_free(&u);
        } else {
            while (is_answering(d, victim))
                pthread_cond_wait(&b->wake, &b->lock);
        }
        send_answer(b, &a);
    }
    pthread_mutex_unlock(&b->lock);
}

/* ---- what the firmware sees: on and off the bus
 * ---------------------------------------------------- */

int board_usb_attach(struct board *b, const struct gadget *g)
{
    struct usb_device *d = &b->usb;
    pthread_mutex_lock(&b->lock);
    assert(!d->gadget);
    bool there = b->cable && !board_powerless(b);
    if (there) {
        assert(!d->link);
        d->gadget = g;
        d->lost = d->reset = d->was_configured = false;
        d->configuration = 0;
        d->halted = 0;
        d->out_naks_until_ms = 0;
        d->active_ms = clock_now_ms();
        b->keys &= ~b->keys_until_bus;
        b->keys_until_bus = 0;
        fault_plan_step(&b->faults, board_stage_name(b->stage));
        pthread_cond_broadcast(&b->changed);
    }
    pthread_mutex_unlock(&b->lock);
    if (!there)
        return BOARD_GONE;
    board_trace(b, "on the bus as %04x:%04x", get_le16(g->device_desc + 8),
                get_le16(g->device_desc + 10));
    if (b->vhci)
        vhci_attach(b);
    return BOARD_OK;
}

void board_usb_detach(struct board *b)
{
    struct usb_device *d = &b->usb;
    pthread_mutex_lock(&b->lock);
    if (d->gadget) {
        usb_device_lose(b);
        while (d->link || d->in_callback)
            pthread_cond_wait(&b->wake, &b->lock);
        clear_queues(d);
        d->gadget = NULL;
        d->stays++;
        pthread_cond_broadcast(&b->changed);
        pthread_mutex_unlock(&b->lock);
        board_trace(b, "off the bus");
        return;
    }
    pthread_mutex_unlock(&b->lock);
}

int board_usb_configured(struct board *b, int timeout_ms)
{
    struct usb_device *d = &b->usb;
    int64_t until = board_deadline(timeout_ms);
    int rc = BOARD_OK;
    pthread_mutex_lock(&b->lock);
    while (d->gadget && !d->lost && !board_powerless(b) && !d->configuration && rc == BOARD_OK)
        if (!board_wait(b, &b->wake, until))
            rc = BOARD_TIMEOUT;
    if (!d->gadget || d->lost || board_powerless(b))
        rc = BOARD_GONE;
    if (d->configuration && rc != BOARD_GONE) {
        rc = BOARD_OK;
        d->reset = false;
        d->was_configured = true;
    }
    pthread_mutex_unlock(&b->lock);
    return rc;
}

static bool usb_gone(const struct board *b)
{
    return !b->usb.gadget || b->usb.lost || b->usb.reset || board_powerless(b);
}

/* ---- what the firmware sees: OUT
 * ------------------------------------------------------------------- */

/* The first request with something left in it, or NULL and *rc. Lock held. */
static struct urb *out_head(struct board *b, int64_t until, int *rc)
{
    for (;;) {
        if (usb_gone(b)) {
            *rc = BOARD_GONE;
            return NULL;
        }
        /* What is just being confirmed waits, so that the host sees its confirmation before any answer
         * to what it said. */
        struct urb *u = b->usb.out.head;
        while (u && urb_spent(u))
            u = u->next;
        bool naks = out_naks(&b->usb);
        if (u && !naks && !is_answering(&b->usb, u->seqnum))
            return u;
        int64_t naks_until = b->usb.out_naks_until_ms;
        bool naks_first = naks && naks_until != INT64_MAX && (until < 0 || naks_until < until);
        if (!board_wait(b, &b->wake, naks_first ? naks_until : until) && !naks_first) {
            *rc = BOARD_TIMEOUT;
            return NULL;
        }
    }
}

/* The next USB packet of a request, borrowed; an empty one when only that is left. */
static struct span next_packet(struct urb *u, size_t packet)
{
    size_t left = u->length - u->done;
    struct span s = {u->data + u->done, MIN_OF(left, packet)};
    if (left == 0) {
        s = (struct span){NULL, 0};
        u->zlp = false;
    }
    u->done += (uint32_t)s.len;
    return s;
}

/* All the full packets that fit into `max` at once, else one packet, cut. *full tells whether the
 * last one was a whole packet. */
static size_t copy_packets(struct urb *u, size_t packet, uint8_t *dst, size_t max, bool *full)
{
    size_t left = u->length - u->done;
    size_t whole = MIN_OF(left, max) / packet * packet;
    if (whole) {
        memcpy(dst, u->data + u->done, whole);
        u->done += (uint32_t)whole;
        *full = true;
        return whole;
    }
    struct span s = next_packet(u, packet);
    size_t n = MIN_OF(s.len, max);
    if (n)
        memcpy(dst, s.data, n);
    *full = s.len == packet;
    return n;
}

int board_out_stream(struct board *b, void *dst, size_t len, int timeout_ms)
{
    int64_t until = board_deadline(timeout_ms);
    int rc = BOARD_OK;
    uint8_t *at = dst;
    unsigned manners = 0;
    pthread_mutex_lock(&b->lock);
    while (len) {
        struct urb *u = out_head(b, until, &rc);
        if (!u)
            break;
        size_t n = MIN_OF(len, (size_t)(u->length - u->done));
        if (n) {
            memcpy(at, u->data + u->done, n);
            at += n;
            len -= n;
            u->done += (uint32_t)n;
            bool ended = u->done == u->length;
            manners |= !ended ? OUT_MORE : len && u->length % b->usb.gadget->packet ? OUT_CUT : 0;
        } else {
            u->zlp = false;
            manners |= OUT_EMPTY;
        }
        confirm_out(b);
    }
    b->usb.out_manners = manners;
    pthread_mutex_unlock(&b->lock);
    return rc;
}

ssize_t board_out_packet(struct board *b, void *dst, int timeout_ms)
{
    if (!b->usb.gadget)
        return BOARD_GONE;
    return board_out_request(b, dst, b->usb.gadget->packet, timeout_ms);
}

ssize_t board_out_request(struct board *b, void *dst, size_t max, int timeout_ms)
{
    int64_t until = board_deadline(timeout_ms);
    int rc = BOARD_OK;
    size_t got = 0;
    bool full = true, more = false;
    pthread_mutex_lock(&b->lock);
    while (full && got < max) {
        struct urb *u = out_head(b, until, &rc);
        if (!u)
            break;
        uint32_t before = u->done;
        size_t n = copy_packets(u, b->usb.gadget->packet, (uint8_t *)dst + got, max - got, &full);
        got += n;
        more = u->done - before > n || u->done < u->length;
        confirm_out(b);
    }
    b->usb.out_manners = more ? OUT_MORE : 0;
    pthread_mutex_unlock(&b->lock);
    return rc < 0 ? rc : (ssize_t)got;
}

ssize_t board_out_transfer(struct board *b, void *dst, size_t max, int timeout_ms)
{
    int64_t until = board_deadline(timeout_ms);
    int rc = BOARD_OK;
    size_t n = 0;
    pthread_mutex_lock(&b->lock);
    struct urb *u = out_head(b, until, &rc);
    if (u) {
        n = MIN_OF(max, (size_t)(u->length - u->done));
        if (n)
            memcpy(dst, u->data + u->done, n);
        u->done = u->length;
        u->zlp = false;
        confirm_out(b);
    }
    pthread_mutex_unlock(&b->lock);
    return rc < 0 ? rc : (ssize_t)n;
}

int board_out_packets(struct board *b, void *dst, size_t len, size_t *lost, int timeout_ms)
{
    int64_t until = board_deadline(timeout_ms);
    int rc = BOARD_OK;
    size_t got = 0, surplus = 0;
    unsigned manners = 0;
    pthread_mutex_lock(&b->lock);
    while (got < len) {
        struct urb *u = out_head(b, until, &rc);
        if (!u)
            break;
        bool full;
        uint32_t before = u->done;
        size_t n = copy_packets(u, b->usb.gadget->packet, (uint8_t *)dst + got, len - got, &full);
        got += n;
        surplus = u->done - before - n;
        manners |= n == 0 ? OUT_EMPTY : !full && got < len ? OUT_CUT : 0;
        confirm_out(b);
    }
    b->usb.out_manners = manners;
    pthread_mutex_unlock(&b->lock);
    if (rc == BOARD_OK && lost)
        *lost = surplus;
    return rc;
}

unsigned board_out_manners(const struct board *b)
{
    return b->usb.out_manners;
}

bool board_out_pending(const struct board *b)
{
    struct board *mutable = (struct board *)(uintptr_t)b; /* the lock is all that changes */
    bool pending = false;
    pthread_mutex_lock(&mutable->lock);
    for (const struct urb *u = b->usb.out.head; u && !pending; u = u->next)
        pending = !urb_spent(u);
    pthread_mutex_unlock(&mutable->lock);
    return pending;
}

bool board_out_early(struct board *b)
{
    pthread_mutex_lock(&b->lock);
    bool early = b->usb.out_early;
    b->usb.out_early = false;
    pthread_mutex_unlock(&b->lock);
    return early;
}

/* The first request behind `number`, NULL: none waits. Lock held. */
static const struct urb *out_behind(const struct board *b, uint64_t number)
{
    const struct urb *u = b->usb.out.head;
    while (u && u->number <= number)
        u = u->next;
    return u;
}

int board_out_peek(struct board *b, struct out_transfer *t)
{
    const struct urb *u = NULL;
    pthread_mutex_lock(&b->lock);
    while (!usb_gone(b) && !(u = out_behind(b, t->number)))
        board_wait(b, &b->wake, -1);
    if (u) {
        t->number = u->number;
        t->len = u->length - u->done;
        if (t->len)
            memcpy(t->head, u->data + u->done, MIN_OF(t->len, sizeof(t->head)));
    }
    pthread_mutex_unlock(&b->lock);
    return u ? BOARD_OK : BOARD_GONE;
}

void board_out_flush(struct board *b)
{
    pthread_mutex_lock(&b->lock);
    for (struct urb *u = b->usb.out.head; u; u = u->next) {
        u->done = u->length;
        u->zlp = false;
    }
    confirm_out(b);
    pthread_mutex_unlock(&b->lock);
}

/* ---- what the firmware sees: IN
 * -------------------------------------------------------------------- */

struct in_source {
    const uint8_t *at;
    size_t left;
    enum in_end end;
};

/* The request that the next packet goes into, or NULL and *rc. Lock held. */
static struct urb *in_head(struct board *b, int64_t until, int *rc)
{
    for (;;) {
        if (usb_gone(b)) {
            *rc = BOARD_GONE;
            return NULL;
        }
        if (b->usb.in.head)
            return b->usb.in.head;
        if (!board_wait(b, &b->wake, until)) {
            *rc = BOARD_TIMEOUT;
            return NULL;
        }
    }
}

/* NAK before an IN answer: waits, and says whether the request is still there afterwards. Lock held
 * before and after. */
static bool in_naks(struct board *b, const struct urb *u, int64_t until_ms)
{
    uint32_t seqnum = u->seqnum; /* the request may go meanwhile */
    int64_t until = until_ms == INT64_MAX ? -1 : until_ms;
    while (!usb_gone(b) && b->usb.in.head && b->usb.in.head->seqnum == seqnum)
        if (!board_wait(b, &b->wake, until))
            return true;
    return false;
}

/* What a transfer fault does to an IN answer that is about to leave; *copy_out is a changed copy of
 * its data. True when a bus reset follows. Lock held before and after. */
static bool fault_in(struct board *b, const struct fault_spec *spec, struct answer *a,
                     uint8_t **copy_out)
{
    struct usb_device *d = &b->usb;
    uint32_t came = a->actual;
    switch (spec->kind) {
    case FAULT_UNPLUG:
        board_cable_move(b, false);
        break;
    case FAULT_SHORT:
        a->actual /= 2;
        break;
    case FAULT_LIE:
        a->actual = 0;
        break;
    case FAULT_BABBLE:
        a->status = USB_BABBLE;
        break;
    case FAULT_LONG:
        a->actual = MIN_OF(a->actual + FAULT_LONG_BYTES, a->requested);
        *copy_out = xcalloc(1, a->actual + 1);
        fault_garbage(spec->seed, *copy_out, a->actual);
        memcpy(*copy_out, came ? a->data : *copy_out, came);
        a->data = *copy_out;
        break;
    case FAULT_CORRUPT:
    case FAULT_GARBAGE:
        *copy_out = xcalloc(1, came + 1);
        memcpy(*copy_out, came ? a->data : *copy_out, came);
        spoil(spec, *copy_out, came);
        a->data = *copy_out;
        break;
    case FAULT_STALL:
    case FAULT_RESET:
        a->status = spec->kind == FAULT_STALL ? USB_STALL : USB_NO_ANSWER;
        a->actual = 0;
        if (spec->kind == FAULT_STALL && d->gadget)
            d->halted |= usb_halt_bit(d->gadget->ep_in);
        break;
    default:
        break;
    }
    return spec->kind == FAULT_RESET;
}

/* Asks for the fault of an IN answer that is ready to leave, and does what it does before: false
 * when the request is not there any more, and the data still the phone's. Lock held before and
 * after. */
static bool before_in(struct board *b, const void *data, size_t len, struct fault_spec *spec)
{
    *spec = (struct fault_spec){.kind = FAULT_NONE};
    fault_plan_transfer(&b->faults, true, data, len, spec);
    bool naks = spec->kind == FAULT_LATE || spec->kind == FAULT_NAK;
    return !naks || in_naks(b, b->usb.in.head, nak_until_ms(spec));
}

/* Sends `data` as the whole answer of the first IN request. Lock held before and after. */
static void complete_in(struct board *b, const struct fault_spec *fault, int32_t status,
                        uint32_t actual, const void *data)
{
    struct usb_device *d = &b->usb;
    AUTO(urb_free) struct urb *u = queue_take(&d->in);
    AUTO(free_ptr) uint8_t *copy = NULL;
    struct answer a = {.seqnum = u->seqnum,
                       .status = status,
                       .requested = u->length,
                       .actual = actual,
                       .data = data};
    d->transfers++;
    d->bytes += actual;
    d->active_ms = clock_now_ms();
    answering_begin(d, a.seqnum);
    bus_time(b, actual);
    bool reset = fault_in(b, fault, &a, &copy);
    transmit(b, &a);
    answering_end(b, a.seqnum);
    if (a.status == USB_STALL)
        finish_all(b, &d->in, USB_STALL);
    if (reset)
        bus_reset(b);
}

static void gather(struct urb *u, const uint8_t *src, size_t n)
{
    uint8_t *grown = realloc(u->data, u->done + n);
    assert(grown || u->done + n == 0);
    u->data = grown;
    memcpy(u->data + u->done, src, n);
    u->done += (uint32_t)n;
}

/* Puts packets into the first IN request until it completes or the source is empty: it completes
 * when it is full, when a packet is short, or by babble. Lock held before and after. */
static void fill_in(struct board *b, struct in_source *s)
{
    struct urb *u = b->usb.in.head;
    size_t packet = b->usb.gadget->packet, room = u->length - u->done;
    size_t n = MIN_OF(s->left, room);
    bool babble = n < s->left && room % packet != 0;
    bool all = n == s->left;
    bool ends_short = all && n % packet != 0;
    bool ends = ends_short || n == room || (all && s->end == IN_FIELD);
    const uint8_t *src = s->at;
    size_t taken = n;
    struct fault_spec fault;
    if (ends && !before_in(b, u->done ? u->data : src, u->done + n, &fault))
        return;
    if (babble) /* of the packet that does not fit the rest is lost */
        taken = MIN_OF(s->left, room / packet * packet + packet);
    s->at += taken;
    s->left -= taken;
    b->usb.in_left = s->left;
    if (!ends || u->done) {
        gather(u, src, n);
        if (!ends)
            return;
        src = u->data;
        n = u->done;
        u->data = NULL; /* outlives the request while it is sent */
        complete_in(b, &fault, babble ? USB_BABBLE : USB_OK, (uint32_t)n, src);
        free((void *)(uintptr_t)src);
        return;
    }
    complete_in(b, &fault, babble ? USB_BABBLE : USB_OK, (uint32_t)n, src);
}

/* An empty packet: completes the first IN request with what it holds. Lock held before and after.
 */
static void empty_packet(struct board *b)
{
    struct urb *u = b->usb.in.head;
    struct fault_spec fault;
    if (!before_in(b, u->data, u->done, &fault))
        return; /* whoever asked has taken it back, and with it what it held */
    uint8_t *data = u->data;
    uint32_t n = u->done;
    u->data = NULL;
    complete_in(b, &fault, USB_OK, n, data);
    free(data);
}

int board_in(struct board *b, const void *src, size_t len, enum in_end end, int timeout_ms)
{
    int64_t until = board_deadline(timeout_ms);
    struct in_source s = {src, len, end};
    int rc = BOARD_OK;
    pthread_mutex_lock(&b->lock);
    size_t packet = b->usb.gadget ? b->usb.gadget->packet : 1;
    b->usb.in_left = len;
    while (s.left && in_head(b, until, &rc))
        fill_in(b, &s);
    if (rc == BOARD_OK && usb_gone(b))
        rc = BOARD_GONE;
    if (rc == BOARD_OK && end == IN_ZLP && len % packet == 0 && in_head(b, until, &rc))
        empty_packet(b);
    if (rc == BOARD_OK && end == IN_FIELD && b->usb.in.head && b->usb.in.head->done)
        empty_packet(b);
    b->usb.in_left = 0;
    pthread_mutex_unlock(&b->lock);
    return rc;
}
