#include "tests/unit/fake_board.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "usb/base/clock.h"
#include "usb/base/io.h"
#include "usb/base/mem.h"
#include "usb/codec/xflash.h"

enum { PACKETS_MAX = 4096, IN_BYTES_MAX = 64 << 20 };

struct transfer {
    struct transfer *next;
    uint8_t *data;
    size_t len, at;
    uint64_t number;
};

struct fake_fault {
    char kind[24];
    uint64_t at;
    bool armed;
};

struct board {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    pthread_t thread;
    bool started, waiting, over, gone, reset;
    enum board_next (*stage)(struct board *b);
    enum board_next next;

    struct board_settings settings;
    struct board_chip chip;
    struct board_ram ram;
    unsigned keys;
    bool cable;
    enum board_boot_target target;
    bool download_bit;
    char shutdown[32];

    int fd[4];
    uint64_t size[4];

    const struct gadget *gadget;
    unsigned attached;
    struct transfer *out;
    uint64_t out_number;
    struct buf in;
    size_t packets[PACKETS_MAX], packet_count;

    struct fake_fault storage_read, storage_write, faults[4];
    unsigned manners; /* of the last read */
    char violations[1024];
};

/* ---- the phone's side: board.h
 * ------------------------------------------------------------------------ */

struct board_settings *board_settings(struct board *b)
{
    return &b->settings;
}
const struct board_chip *board_chip(const struct board *b)
{
    return &b->chip;
}
const char *board_name(const struct board *b)
{
    (void)b;
    return "1-1";
}
unsigned board_keys(const struct board *b)
{
    return b->keys;
}
bool board_cable(const struct board *b)
{
    return b->cable;
}
struct board_ram *board_ram(struct board *b)
{
    return &b->ram;
}
void board_boot_target_set(struct board *b, enum board_boot_target target, bool download_bit)
{
    b->target = target;
    b->download_bit = download_bit;
}
void board_shutdown_report(struct board *b, const char *how)
{
    snprintf(b->shutdown, sizeof(b->shutdown), "%s", how);
}
enum board_boot_target board_boot_target_take(struct board *b)
{
    enum board_boot_target target = b->target;
    b->target = TARGET_NORMAL;
    return target;
}
bool board_download_bit_take(struct board *b)
{
    bool bit = b->download_bit;
    b->download_bit = false;
    return bit;
}
void board_trace(struct board *b, const char *fmt, ...)
{
    (void)b;
    (void)fmt;
}

/* Waits on the host: marks the firmware as settled. False when cable or power is gone. Lock held.
 */
static bool wait_host(struct board *b)
{
    b->waiting = true;
    pthread_cond_broadcast(&b->wake);
    pthread_cond_wait(&b->wake, &b->lock);
    b->waiting = false;
    return !b->gone;
}

/* Short sleeps take no time, long ones are the sleep of the dead. */
int board_sleep(struct board *b, int ms, bool needs_cable)
{
    pthread_mutex_lock(&b->lock);
    while (ms >= 1000 && !b->gone)
        (void)wait_host(b);
    int rc = b->gone && needs_cable ? BOARD_GONE : BOARD_OK;
    pthread_mutex_unlock(&b->lock);
    return rc;
}

static unsigned slot(enum board_area area)
{
    return area == AREA_BOOT1 ? 0 : area == AREA_BOOT2 ? 1 : area == AREA_RPMB ? 2 : 3;
}
uint64_t board_area_size(const struct board *b, enum board_area area)
{
    return b->size[slot(area)];
}

static bool storage_fails(const struct fake_fault *f, uint64_t at, uint64_t len)
{
    return f->armed && f->at >= at && f->at < at + len;
}

int board_flash_read(struct board *b, enum board_area area, uint64_t at, void *dst, size_t len)
{
    if (storage_fails(&b->storage_read, at, len))
        return BOARD_STORAGE;
    return io_pread(b->fd[slot(area)], dst, len, (int64_t)at, NULL) < 0 ? BOARD_STORAGE : BOARD_OK;
}

int board_flash_write(struct board *b, enum board_area area, uint64_t at, const void *src,
                      size_t len)
{
    assert(at + len <= b->size[slot(area)]);
    if (storage_fails(&b->storage_write, at, len))
        return BOARD_STORAGE;
    return io_pwrite(b->fd[slot(area)], src, len, (int64_t)at, NULL) < 0 ? BOARD_STORAGE : BOARD_OK;
}

int board_flash_zero(struct board *b, enum board_area area, uint64_t at, uint64_t len)
{
    static const uint8_t zeros[65536];
    for (uint64_t end = at + len; at < end;) {
        size_t n = (size_t)MIN_OF(end - at, (uint64_t)sizeof(zeros));
        int rc = board_flash_write(b, area, at, zeros, n);
        if (rc < 0)
            return rc;
        at += n;
    }
    return BOARD_OK;
}

static void drop_out(struct board *b)
{
    for (struct transfer *t; (t = b->out);) {
        b->out = t->next;
        free(t->data);
        free(t);
    }
}

int board_usb_attach(struct board *b, const struct gadget *g)
{
    pthread_mutex_lock(&b->lock);
    int rc = b->gone ? BOARD_GONE : BOARD_OK;
    if (rc == BOARD_OK) {
        b->gadget = g;
        b->attached++;
    }
    pthread_cond_broadcast(&b->wake);
    pthread_mutex_unlock(&b->lock);
    return rc;
}
void board_usb_detach(struct board *b)
{
    pthread_mutex_lock(&b->lock);
    b->gadget = NULL;
    drop_out(b);
    pthread_mutex_unlock(&b->lock);
}
int board_usb_configured(struct board *b, int timeout_ms)
{
    (void)timeout_ms;
    pthread_mutex_lock(&b->lock);
    b->reset = false;
    int rc = b->gone ? BOARD_GONE : BOARD_OK;
    pthread_mutex_unlock(&b->lock);
    return rc;
}

/* The transfer at the head of the queue; BOARD_GONE or BOARD_TIMEOUT without one. Lock held. */
static int head(struct board *b, int64_t until_ms)
{
    while (!b->out) {
        if (b->gone || b->reset)
            return BOARD_GONE;
        if (until_ms >= 0 && clock_now_ms() >= until_ms)
            return BOARD_TIMEOUT;
        (void)wait_host(b);
    }
    return BOARD_OK;
}

static size_t take(struct board *b, void *dst, size_t len)
{
    struct transfer *t = b->out;
    size_t n = MIN_OF(len, t->len - t->at);
    memcpy(dst, t->data + t->at, n);
    t->at += n;
    bool ended = t->at == t->len;
    if (t->len == 0)
        b->manners |= OUT_EMPTY;
    else
        b->manners |= !ended ? OUT_MORE : n < len && t->len % b->gadget->packet ? OUT_CUT : 0;
    if (ended) {
        b->out = t->next;
        free(t->data);
        free(t);
    }
    return n;
}

static int64_t deadline(int timeout_ms)
{
    return timeout_ms < 0 ? -1 : clock_now_ms() + timeout_ms;
}

int board_out_stream(struct board *b, void *dst, size_t len, int timeout_ms)
{
    pthread_mutex_lock(&b->lock);
    b->manners = 0;
    int64_t until = deadline(timeout_ms);
    int rc = BOARD_OK;
    for (size_t done = 0; done < len && (rc = head(b, until)) == BOARD_OK;)
        done += take(b, (uint8_t *)dst + done, len - done);
    pthread_mutex_unlock(&b->lock);
    return rc;
}

ssize_t board_out_packet(struct board *b, void *dst, int timeout_ms)
{
    pthread_mutex_lock(&b->lock);
    ssize_t n = head(b, deadline(timeout_ms));
    if (n == BOARD_OK)
        n = (ssize_t)take(b, dst, b->gadget->packet);
    pthread_mutex_unlock(&b->lock);
    return n;
}

ssize_t board_out_transfer(struct board *b, void *dst, size_t max, int timeout_ms)
{
    pthread_mutex_lock(&b->lock);
    ssize_t n = head(b, deadline(timeout_ms));
    if (n == BOARD_OK) {
        struct transfer *t = b->out;
        t->len = MIN_OF(t->len, t->at + max);
        n = (ssize_t)take(b, dst, max);
    }
    pthread_mutex_unlock(&b->lock);
    return n;
}

int board_out_packets(struct board *b, void *dst, size_t len, size_t *lost, int timeout_ms)
{
    uint8_t packet[1024];
    size_t done = 0;
    unsigned manners = 0;
    *lost = 0;
    while (done < len) {
        ssize_t n = board_out_packet(b, packet, timeout_ms);
        if (n < 0)
            return (int)n;
        size_t used = MIN_OF((size_t)n, len - done);
        memcpy((uint8_t *)dst + done, packet, used);
        done += used;
        *lost = (size_t)n - used;
        bool full = (size_t)n == b->gadget->packet;
        manners |= n == 0 ? OUT_EMPTY : !full && done < len ? OUT_CUT : 0;
    }
    b->manners = manners;
    return BOARD_OK;
}

unsigned board_out_manners(const struct board *b)
{
    return b->manners;
}
bool board_out_pending(const struct board *b)
{
    return b->out != NULL;
}
/* Whatever the phone says is read at once; tests/phone/test/unread.c has hosts that leave it. */
bool board_out_early(struct board *b)
{
    (void)b;
    return false;
}
int board_out_peek(struct board *b, struct out_transfer *t)
{
    const struct transfer *next = NULL;
    pthread_mutex_lock(&b->lock);
    while (!b->gone && !b->reset) {
        next = b->out;
        while (next && next->number <= t->number)
            next = next->next;
        if (next)
            break;
        (void)wait_host(b);
    }
    if (next) {
        t->number = next->number;
        t->len = next->len - next->at;
        memcpy(t->head, next->data + next->at, MIN_OF(t->len, sizeof(t->head)));
    }
    pthread_mutex_unlock(&b->lock);
    return next ? BOARD_OK : BOARD_GONE;
}
void board_out_flush(struct board *b)
{
    pthread_mutex_lock(&b->lock);
    drop_out(b);
    pthread_mutex_unlock(&b->lock);
}

static void packet_add(struct board *b, size_t len)
{
    if (b->packet_count < PACKETS_MAX)
        b->packets[b->packet_count++] = len;
}

int board_in(struct board *b, const void *src, size_t len, enum in_end end, int timeout_ms)
{
    (void)timeout_ms;
    pthread_mutex_lock(&b->lock);
    int rc = b->gone || b->reset ? BOARD_GONE : BOARD_OK;
    if (rc == BOARD_OK) {
        buf_put(&b->in, src, len);
        size_t packet = b->gadget->packet;
        for (size_t at = 0; at < len; at += packet)
            packet_add(b, MIN_OF(len - at, packet));
        if (end == IN_ZLP && len % packet == 0)
            packet_add(b, 0);
    }
    pthread_mutex_unlock(&b->lock);
    return rc;
}

void board_violation(struct board *b, const char *name)
{
    if (strstr(b->violations, name))
        return;
    size_t used = strlen(b->violations);
    snprintf(b->violations + used, sizeof(b->violations) - used, "%s%s", used ? "," : "", name);
}

bool board_fault_due(struct board *b, const char *kind)
{
    for (size_t i = 0; i < ARRAY_LEN(b->faults); i++) {
        struct fake_fault *f = &b->faults[i];
        if (f->armed && strcmp(f->kind, kind) == 0) {
            f->armed = false;
            return true;
        }
    }
    return false;
}

bool board_fault_over(struct board *b, const char *kind, enum board_area area, uint64_t at,
                      uint64_t len)
{
    for (size_t i = 0; area == AREA_USER && i < ARRAY_LEN(b->faults); i++)
        if (strcmp(b->faults[i].kind, kind) == 0 && storage_fails(&b->faults[i], at, len)) {
            b->faults[i].armed = false;
            return true;
        }
    return false;
}

bool board_fault_status(struct board *b, const char *kind, uint32_t *status_out)
{
    *status_out = (uint32_t)XFLASH_ERR;
    for (size_t i = 0; i < ARRAY_LEN(b->faults); i++)
        if (b->faults[i].armed && strcmp(b->faults[i].kind, kind) == 0) {
            b->faults[i].armed = b->faults[i].at > 0;
            return b->faults[i].at-- == 0;
        }
    return false;
}

/* ---- the test's side
 * ----------------------------------------------------------------------------------- */

struct board *fake_board_new(const struct fake_sizes *sizes)
{
    struct board *b = xcalloc(1, sizeof(*b));
    const uint64_t size[4] = {sizes->boot1, sizes->boot2, sizes->rpmb, sizes->user};
    pthread_mutex_init(&b->lock, NULL);
    pthread_cond_init(&b->wake, NULL);
    buf_init(&b->in, IN_BYTES_MAX);
    for (size_t i = 0; i < 4; i++) {
        b->size[i] = size[i];
        b->fd[i] = memfd_create("emmc", MFD_CLOEXEC);
        if (b->fd[i] < 0 || ftruncate(b->fd[i], (off_t)size[i]) < 0)
            abort();
    }
    settings_default(&b->settings);
    b->cable = true;
    clock_test_set(1000);
    return b;
}

static void *run(void *arg)
{
    struct board *b = arg;
    enum board_next next = b->stage(b);
    pthread_mutex_lock(&b->lock);
    b->next = next;
    b->over = true;
    pthread_cond_broadcast(&b->wake);
    pthread_mutex_unlock(&b->lock);
    return NULL;
}

void fake_board_start(struct board *b, enum board_next (*stage)(struct board *b))
{
    assert(!b->started);
    b->stage = stage;
    b->started = true;
    b->over = false;
    if (pthread_create(&b->thread, NULL, run, b) != 0)
        abort();
}

int fake_board_next(struct board *b)
{
    pthread_mutex_lock(&b->lock);
    int next = b->over ? (int)b->next : FAKE_NEXT_RUNNING;
    pthread_mutex_unlock(&b->lock);
    return next;
}

enum board_next fake_board_end(struct board *b)
{
    pthread_join(b->thread, NULL);
    b->started = false;
    return b->next;
}

void fake_board_unplug(struct board *b)
{
    pthread_mutex_lock(&b->lock);
    b->gone = true;
    b->cable = false;
    pthread_cond_broadcast(&b->wake);
    pthread_mutex_unlock(&b->lock);
}

void fake_board_free(struct board **bp)
{
    struct board *b = *bp;
    fake_board_unplug(b);
    if (b->started)
        (void)fake_board_end(b);
    drop_out(b);
    buf_deinit(&b->in);
    for (size_t i = 0; i < 4; i++)
        fd_close(&b->fd[i]);
    pthread_cond_destroy(&b->wake);
    pthread_mutex_destroy(&b->lock);
    clock_test_set(-1);
    free_ptr(bp);
}

struct board_chip *fake_board_chip(struct board *b)
{
    return &b->chip;
}
void fake_board_keys_set(struct board *b, unsigned mask)
{
    b->keys = mask;
}

int fake_board_control(struct board *b, const uint8_t setup[8], const uint8_t *out, uint8_t *in,
                       size_t in_max)
{
    return b->gadget->control(b->gadget->ctx, setup, out, in, in_max);
}

void fake_board_pass(struct board *b, int ms)
{
    pthread_mutex_lock(&b->lock);
    clock_test_set(clock_now_ms() + ms);
    b->waiting = false;
    pthread_cond_broadcast(&b->wake);
    pthread_mutex_unlock(&b->lock);
}

void fake_board_bus_reset(struct board *b)
{
    pthread_mutex_lock(&b->lock);
    drop_out(b);
    b->reset = true;
    b->waiting = false;
    pthread_cond_broadcast(&b->wake);
    pthread_mutex_unlock(&b->lock);
}

void fake_board_out(struct board *b, const void *data, size_t len)
{
    struct transfer *t = xcalloc(1, sizeof(*t));
    t->data = xcalloc(1, len + 1);
    t->len = len;
    if (len)
        memcpy(t->data, data, len);
    pthread_mutex_lock(&b->lock);
    t->number = ++b->out_number;
    struct transfer **at = &b->out;
    while (*at)
        at = &(*at)->next;
    *at = t;
    b->waiting = false;
    pthread_cond_broadcast(&b->wake);
    pthread_mutex_unlock(&b->lock);
}

void fake_board_settle(struct board *b)
{
    pthread_mutex_lock(&b->lock);
    while (!b->over && !b->waiting)
        pthread_cond_wait(&b->wake, &b->lock);
    pthread_mutex_unlock(&b->lock);
}

void fake_board_take(struct board *b, struct buf *out, size_t *packets, size_t max,
                     size_t *packet_count)
{
    fake_board_settle(b);
    pthread_mutex_lock(&b->lock);
    if (out)
        buf_put_span(out, buf_span(&b->in));
    if (packets) {
        *packet_count = MIN_OF(b->packet_count, max);
        memcpy(packets, b->packets, *packet_count * sizeof(*packets));
    }
    buf_clear(&b->in);
    b->packet_count = 0;
    pthread_mutex_unlock(&b->lock);
}

size_t fake_board_left(struct board *b)
{
    size_t left = 0;
    pthread_mutex_lock(&b->lock);
    for (const struct transfer *t = b->out; t; t = t->next)
        left += t->len - t->at;
    pthread_mutex_unlock(&b->lock);
    return left;
}

const struct gadget *fake_board_gadget(struct board *b)
{
    return b->gadget;
}
unsigned fake_board_attached(struct board *b)
{
    return b->attached;
}

void fake_board_storage_fault(struct board *b, bool write, uint64_t at)
{
    *(write ? &b->storage_write : &b->storage_read) = (struct fake_fault){.at = at, .armed = true};
}

void fake_board_fault(struct board *b, const char *kind, uint64_t at)
{
    for (size_t i = 0; i < ARRAY_LEN(b->faults); i++)
        if (!b->faults[i].armed) {
            snprintf(b->faults[i].kind, sizeof(b->faults[i].kind), "%s", kind);
            b->faults[i].at = at;
            b->faults[i].armed = true;
            return;
        }
    abort();
}

const char *fake_board_violations(struct board *b)
{
    return b->violations;
}

const char *fake_board_shutdown(struct board *b)
{
    return b->shutdown;
}

void fake_board_boot_target(struct board *b, enum board_boot_target *target, bool *download_bit)
{
    *target = b->target;
    *download_bit = b->download_bit;
}
