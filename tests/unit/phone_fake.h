/* phone_fake.h: a board without threads, USB or power for tests of the firmware on it: flash from a
 * factory folder, a scripted host, and a record of what the firmware did. Included by one test
 * program. */
#ifndef FLASHRACK_TESTS_PHONE_FAKE_H
#define FLASHRACK_TESTS_PHONE_FAKE_H

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "rows.h"
#include "tests/phone/factory.h"
#include "tests/phone/layout.h"
#include "usb/base/io.h"
#include "usb/base/mem.h"
#include "usb/base/span.h"

enum { FAKE_TRANSFERS = 256, FAKE_OUTPUT = 1 << 16 };

struct board {
    char dir[64];
    struct factory_phone phone;
    struct board_settings settings;
    int user, boot1, boot2;
    unsigned keys;
    bool cable;
    enum board_start start;
    enum board_boot_target target;
    struct board_ram ram;
    /* the host's transfers still to come; when they are used up the power goes */
    struct span transfers[FAKE_TRANSFERS];
    size_t transfer_count, transfer_at, transfer_used;
    unsigned manners; /* of the last request */
    bool powerless;
    char output[FAKE_OUTPUT]; /* every response on a line of its own */
    size_t output_len;
    char *screen;
    const struct gadget *gadget;
    uint8_t device_desc[18], config_desc[128]; /* of the last gadget */
    char serial_string[64];
    char fault[32];     /* due whenever it is asked for */
    uint64_t fault_at;  /* on flash: over this byte of USER */
    char violation[64]; /* the last one */
};

/* ---- the board.h that the firmware sees
 * ---------------------------------------------------------------- */

struct board_settings *board_settings(struct board *b)
{
    return &b->settings;
}
const struct board_chip *board_chip(const struct board *b)
{
    return &b->phone.chip;
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
int board_sleep(struct board *b, int ms, bool needs_cable)
{
    (void)ms;
    return b->powerless || (needs_cable && !b->cable) ? BOARD_GONE : BOARD_OK;
}
void board_boot_target_set(struct board *b, enum board_boot_target target, bool download_bit)
{
    (void)download_bit;
    b->target = target;
}
enum board_boot_target board_boot_target_take(struct board *b)
{
    enum board_boot_target target = b->target;
    b->target = TARGET_NORMAL;
    return target;
}
bool board_download_bit_take(struct board *b)
{
    (void)b;
    return false;
}
enum board_start board_start_reason(const struct board *b)
{
    return b->start;
}
int board_wait_cable(struct board *b, bool plugged, int timeout_ms)
{
    (void)timeout_ms;
    return b->powerless || b->cable != plugged ? BOARD_GONE : BOARD_OK;
}
struct board_ram *board_ram(struct board *b)
{
    return &b->ram;
}
void board_screen_set(struct board *b, const char *json)
{
    free(b->screen);
    b->screen = xstrdup(json);
}
static int fake_area(const struct board *b, enum board_area area)
{
    return area == AREA_USER ? b->user : area == AREA_BOOT1 ? b->boot1 : b->boot2;
}
uint64_t board_area_size(const struct board *b, enum board_area area)
{
    return area == AREA_USER ? b->phone.user_bytes : b->phone.boot_bytes;
}
int board_flash_read(struct board *b, enum board_area area, uint64_t at, void *dst, size_t len)
{
    return io_pread(fake_area(b, area), dst, len, (int64_t)at, NULL) < 0 ? BOARD_STORAGE : BOARD_OK;
}
int board_flash_write(struct board *b, enum board_area area, uint64_t at, const void *src,
                      size_t len)
{
    return io_pwrite(fake_area(b, area), src, len, (int64_t)at, NULL) < 0 ? BOARD_STORAGE
                                                                          : BOARD_OK;
}
int board_flash_zero(struct board *b, enum board_area area, uint64_t at, uint64_t len)
{
    int rc = fallocate(fake_area(b, area), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)at,
                       (off_t)len);
    return len && rc < 0 ? BOARD_STORAGE : BOARD_OK;
}
int board_usb_attach(struct board *b, const struct gadget *g)
{
    b->gadget = g;
    memcpy(b->device_desc, g->device_desc, sizeof(b->device_desc));
    assert_true(g->config_len <= sizeof(b->config_desc));
    memcpy(b->config_desc, g->config_desc, g->config_len);
    assert_true(b->device_desc[16] >= 1 && b->device_desc[16] <= g->string_count);
    snprintf(b->serial_string, sizeof(b->serial_string), "%s", g->strings[b->device_desc[16] - 1]);
    return b->cable && !b->powerless ? BOARD_OK : BOARD_GONE;
}
void board_usb_detach(struct board *b)
{
    b->gadget = NULL;
}
int board_usb_configured(struct board *b, int timeout_ms)
{
    (void)timeout_ms;
    return b->powerless ? BOARD_GONE : BOARD_OK;
}
/* The transfer at the head, or NULL and no power when the script is over. */
static struct span *fake_transfer(struct board *b)
{
    if (b->transfer_at == b->transfer_count)
        b->powerless = true;
    return b->powerless ? NULL : &b->transfers[b->transfer_at];
}
static size_t fake_take(struct board *b, void *dst, size_t max)
{
    struct span *t = &b->transfers[b->transfer_at];
    size_t len = MIN_OF(t->len - b->transfer_used, max);
    if (len)
        memcpy(dst, t->data + b->transfer_used, len);
    b->transfer_used += len;
    if (b->transfer_used == t->len) {
        b->transfer_at++;
        b->transfer_used = 0;
    }
    return len;
}
ssize_t board_out_packet(struct board *b, void *dst, int timeout_ms)
{
    (void)timeout_ms;
    return fake_transfer(b) ? (ssize_t)fake_take(b, dst, 512) : BOARD_GONE;
}
ssize_t board_out_request(struct board *b, void *dst, size_t max, int timeout_ms)
{
    uint8_t packet[512];
    size_t got = 0;
    (void)timeout_ms;
    while (got < max) {
        if (!fake_transfer(b))
            return BOARD_GONE;
        size_t n = fake_take(b, packet, sizeof(packet)), used = MIN_OF(n, max - got);
        memcpy((uint8_t *)dst + got, packet, used);
        got += used;
        b->manners = n > used || b->transfer_used ? OUT_MORE : 0;
        if (n < sizeof(packet))
            break;
    }
    return (ssize_t)got;
}
unsigned board_out_manners(const struct board *b)
{
    return b->manners;
}
int board_in(struct board *b, const void *src, size_t len, enum in_end end, int timeout_ms)
{
    (void)end;
    (void)timeout_ms;
    assert_true(len < 64 || b->fault[0]);
    b->output_len += (size_t)snprintf(b->output + b->output_len, FAKE_OUTPUT - b->output_len,
                                      "%.*s\n", (int)len, (const char *)src);
    return BOARD_OK;
}
void board_violation(struct board *b, const char *name)
{
    snprintf(b->violation, sizeof(b->violation), "%s", name);
}
void board_trace(struct board *b, const char *fmt, ...)
{
    (void)b;
    (void)fmt;
}
bool board_fault_due(struct board *b, const char *kind)
{
    return strcmp(kind, b->fault) == 0;
}

bool board_fault_over(struct board *b, const char *kind, enum board_area area, uint64_t at,
                      uint64_t len)
{
    return area == AREA_USER && strcmp(kind, b->fault) == 0 && at <= b->fault_at &&
           b->fault_at - at < len;
}

bool board_fault_status(struct board *b, const char *kind, uint32_t *status_out)
{
    (void)b, (void)kind, (void)status_out;
    return false;
}

/* ---- for the tests
 * ------------------------------------------------------------------------------------- */

static inline void fake_script(struct board *b, const void *data, size_t len)
{
    assert_true(b->transfer_count < FAKE_TRANSFERS);
    b->transfers[b->transfer_count++] = span_of(data, len);
}

static inline void fake_say(struct board *b, const char *command)
{
    fake_script(b, command, strlen(command));
}

/* Where a partition lies; the test fails when there is none. */
static const struct partition *fake_partition(const struct board *b, const char *name)
{
    const struct partition *p = layout_find(layout_of(b->phone.profile), name);
    assert_non_null(p);
    return p;
}

static inline void fake_put(struct board *b, const char *name, uint64_t at, const void *data,
                            size_t len)
{
    assert_int_equal(
        board_flash_write(b, AREA_USER, fake_partition(b, name)->start_bytes + at, data, len), 0);
}

static inline void fake_wipe(struct board *b, const char *name)
{
    const struct partition *p = fake_partition(b, name);
    assert_int_equal(board_flash_zero(b, AREA_USER, p->start_bytes, p->size_bytes), 0);
}

/* A tiny phone fresh from the factory, with the power on and the cable in. */
static struct board *fake_new(const struct factory_order *order)
{
    struct board *b = xcalloc(1, sizeof(*b));
    struct err err = {0};
    strcpy(b->dir, "/tmp/flashrack-phone-XXXXXX");
    assert_non_null(mkdtemp(b->dir));
    if (factory_make_phone(b->dir, order, &err) < 0 ||
        factory_load_phone(b->dir, &b->phone, &err) < 0)
        fail_msg("%s", err.text);
    int *fds[] = {&b->user, &b->boot1, &b->boot2};
    static const char *const names[] = {"user.img", "boot1.img", "boot2.img"};
    for (int i = 0; i < 3; i++) {
        AUTO(free_ptr) char *path = xasprintf("%s/%s", b->dir, names[i]);
        *fds[i] = open(path, O_RDWR | O_CLOEXEC);
        assert_true(*fds[i] >= 0);
    }
    b->cable = true;
    b->start = START_POWER_KEY;
    settings_default(&b->settings);
    return b;
}

static int fake_unlink(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    return remove(path);
}

static void fake_free(struct board **b)
{
    if (!*b)
        return;
    fd_close(&(*b)->user);
    fd_close(&(*b)->boot1);
    fd_close(&(*b)->boot2);
    nftw((*b)->dir, fake_unlink, 8, FTW_DEPTH | FTW_PHYS);
    free((*b)->screen);
    free_ptr(b);
}

#endif
