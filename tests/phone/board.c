#include "tests/phone/board.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/phone/hardware.h"
#include "usb/base/clock.h"
#include "usb/base/log.h"
#include "usb/base/mem.h"
#include "usb/codec/xflash.h"

/* How long a finger stays on the power key; the phone starts or is forced off at the end of it. */
enum { POWER_ON_MS = 2500, FORCED_OFF_MS = 12000 };
enum { STATE_MAX_BYTES = 4096, EMMC_MODEL_BYTES = 9 };
#define STATE_FILE "power.json"

static const char *const stage_names[] = {
    [STAGE_OFF] = "off",         [STAGE_CHARGING] = "charging",   [STAGE_RESET] = "reset",
    [STAGE_BROM] = "brom",       [STAGE_PRELOADER] = "preloader", [STAGE_LK] = "lk",
    [STAGE_ANDROID] = "android", [STAGE_HALTED] = "halted",       [STAGE_DEAD] = "dead",
};

const char *board_stage_name(enum board_stage stage)
{
    return stage_names[stage];
}

/* ---- life of a phone
 * ------------------------------------------------------------------------------- */

static void cond_init(pthread_cond_t *c)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(c, &attr);
    pthread_condattr_destroy(&attr);
}

/* power.json is ours: what is missing or odd in it counts as "off, no cable". */
static void load_state(struct board *b)
{
    AUTO(free_ptr) char *path = xasprintf("%s/%s", b->dir, STATE_FILE);
    json_t *root = json_load_file(path, JSON_REJECT_DUPLICATES, NULL);
    b->was_on = json_is_true(json_object_get(root, "on"));
    b->cable = json_is_true(json_object_get(root, "cable"));
    b->bytes_written = (uint64_t)json_integer_value(json_object_get(root, "bytes_written"));
    json_decref(root);
}

int board_save(struct board *b, struct err *err)
{
    pthread_mutex_lock(&b->lock);
    bool on = b->stage == STAGE_ANDROID || (b->stopping && b->was_on);
    json_t *root = json_pack("{s:b, s:b, s:I}", "on", on, "cable", b->cable, "bytes_written",
                             (json_int_t)b->bytes_written);
    AUTO(free_ptr) char *path = xasprintf("%s/%s", b->dir, STATE_FILE);
    pthread_mutex_unlock(&b->lock);
    AUTO(free_ptr) char *fresh = xasprintf("%s.new", path);
    int bad = json_dump_file(root, fresh, JSON_INDENT(2));
    json_decref(root);
    if (bad || rename(fresh, path) != 0)
        return err_sys(err, ERR_IO, "write '%s'", path);
    return 0;
}

int board_open(const struct board_new *how, struct board **out, struct err *err)
{
    AUTO(board_close) struct board *b = xcalloc(1, sizeof(*b));
    pthread_mutex_init(&b->lock, NULL);
    cond_init(&b->wake);
    cond_init(&b->changed);
    usb_device_init(&b->usb);
    fault_plan_init(&b->faults);
    settings_default(&b->settings);
    b->boot1.fd = b->boot2.fd = b->rpmb.fd = b->user.fd = -1;
    snprintf(b->name, sizeof(b->name), "%s", how->name);
    b->dir = xstrdup(how->dir);
    b->index = how->index;
    b->vhci = how->vhci;
    b->hands_speed = how->hands_speed;
    b->chance = how->index;
    struct factory_phone phone;
    int rc = factory_load_phone(how->dir, &phone, err);
    if (rc == 0)
        rc = flash_open(b, how->dir, err);
    if (rc < 0)
        return err_in(err, "phone %s", how->name);
    b->chip = phone.chip;
    b->label = phone.label;
    load_state(b);
    *out = STEAL(b);
    return 0;
}

void board_close(struct board **bp)
{
    struct board *b = *bp;
    if (!b)
        return;
    flash_close(b);
    usb_device_deinit(&b->usb);
    fault_plan_deinit(&b->faults);
    pthread_cond_destroy(&b->wake);
    pthread_cond_destroy(&b->changed);
    pthread_mutex_destroy(&b->lock);
    free(b->screen);
    free(b->dir);
    free(b);
    *bp = NULL;
}

static bool is_off(const struct board *b)
{
    return b->stage == STAGE_OFF || b->stage == STAGE_CHARGING;
}

#define EXCHANGE(x, y)                                                                             \
    do {                                                                                           \
        __typeof__(x) exchanged_ = (x);                                                            \
        (x) = (y);                                                                                 \
        (y) = exchanged_;                                                                          \
    } while (0)

int board_swap(struct board *a, struct board *b, struct err *err)
{
    int rc = 0;
    if (a == b)
        return err_set(err, ERR_INPUT, "%s cannot change places with itself", a->name);
    struct board *first = a->index < b->index ? a : b, *second = first == a ? b : a;
    pthread_mutex_lock(&first->lock);
    pthread_mutex_lock(&second->lock);
    if (is_off(a) && is_off(b) && !a->cable && !b->cable) {
        EXCHANGE(a->dir, b->dir);
        EXCHANGE(a->chip, b->chip);
        EXCHANGE(a->label, b->label);
        EXCHANGE(a->boot1, b->boot1);
        EXCHANGE(a->boot2, b->boot2);
        EXCHANGE(a->rpmb, b->rpmb);
        EXCHANGE(a->user, b->user);
        EXCHANGE(a->bytes_written, b->bytes_written);
    } else {
        rc = err_set(err, ERR_CONFLICT, "%s and %s must be off and unplugged", a->name, b->name);
    }
    pthread_mutex_unlock(&second->lock);
    pthread_mutex_unlock(&first->lock);
    return rc;
}

/* ---- waiting
 * --------------------------------------------------------------------------------------- */

int64_t board_deadline(int timeout_ms)
{
    return timeout_ms < 0 ? -1 : clock_in(timeout_ms);
}

bool board_wait(struct board *b, pthread_cond_t *cond, int64_t until_ms)
{
    if (until_ms < 0)
        return pthread_cond_wait(cond, &b->lock) == 0;
    struct timespec until = {until_ms / 1000, until_ms % 1000 * 1000000};
    return pthread_cond_timedwait(cond, &b->lock, &until) != ETIMEDOUT;
}

int board_sleep(struct board *b, int ms, bool needs_cable)
{
    int64_t until = board_deadline(ms);
    int rc = BOARD_OK;
    pthread_mutex_lock(&b->lock);
    do {
        if (board_powerless(b) || (needs_cable && !b->cable)) {
            rc = BOARD_GONE;
            break;
        }
    } while (board_wait(b, &b->wake, until));
    pthread_mutex_unlock(&b->lock);
    return rc;
}

int board_wait_cable(struct board *b, bool plugged, int timeout_ms)
{
    int64_t until = board_deadline(timeout_ms);
    int rc = BOARD_OK;
    pthread_mutex_lock(&b->lock);
    while (rc == BOARD_OK && b->cable != plugged && !board_powerless(b))
        if (!board_wait(b, &b->wake, until))
            rc = BOARD_TIMEOUT;
    if (board_powerless(b))
        rc = BOARD_GONE;
    pthread_mutex_unlock(&b->lock);
    return rc;
}

/* ---- what hands do
 * --------------------------------------------------------------------------------- */

/* Somebody did something that phone and person notice. Lock held. */
static void notice(struct board *b)
{
    pthread_cond_broadcast(&b->wake);
    pthread_cond_broadcast(&b->changed);
}

void board_keys_hold(struct board *b, unsigned mask)
{
    pthread_mutex_lock(&b->lock);
    b->keys |= mask;
    notice(b);
    pthread_mutex_unlock(&b->lock);
}

void board_keys_hold_until_bus(struct board *b, unsigned mask)
{
    pthread_mutex_lock(&b->lock);
    b->keys |= mask;
    b->keys_until_bus |= mask;
    notice(b);
    pthread_mutex_unlock(&b->lock);
}

void board_keys_release(struct board *b, unsigned mask)
{
    pthread_mutex_lock(&b->lock);
    b->keys &= ~mask;
    b->keys_until_bus &= ~mask;
    notice(b);
    pthread_mutex_unlock(&b->lock);
}

/* A fault: whoever plugs in now plugs in another phone. What tells chips apart changes, the flash
 * stays; the first bytes of the eMMC's id name its model, which DRAM settings depend on. */
static void other_phone(struct board *b)
{
    struct fault_spec spec;
    if (!fault_plan_due(&b->faults, "other_phone", NULL, &spec))
        return;
    struct board_chip *c = &b->chip;
    fault_garbage(spec.seed, c->me_id, sizeof(c->me_id));
    fault_garbage(spec.seed + 1, c->soc_id, sizeof(c->soc_id));
    fault_garbage(spec.seed + 2, c->emmc_cid + EMMC_MODEL_BYTES,
                  sizeof(c->emmc_cid) - EMMC_MODEL_BYTES);
}

void board_cable_move(struct board *b, bool plugged)
{
    if (plugged && !b->cable) {
        b->cable_edge = true;
        other_phone(b);
    }
    if (!plugged && b->cable) {
        b->cable_edge = false;
        usb_device_lose(b);
    }
    b->cable = plugged;
    notice(b);
}

void board_cable_set(struct board *b, bool plugged)
{
    pthread_mutex_lock(&b->lock);
    board_cable_move(b, plugged);
    pthread_mutex_unlock(&b->lock);
}

/* Until the key has been held long enough for what the phone is, which may change under the finger, or until it is off
 * by itself, for who wants no more. True when it was on. Lock held. */
static bool hold_power(struct board *b, bool only_off)
{
    int64_t since_ms = clock_now_ms();
    bool on = !is_off(b);
    while (!b->stopping && !(only_off && is_off(b))) {
        int64_t until = since_ms + (int64_t)((on ? FORCED_OFF_MS : POWER_ON_MS) / b->hands_speed);
        if (!board_wait(b, &b->changed, until))
            break;
        if (on == is_off(b)) {
            on = !on;
            since_ms = clock_now_ms();
        }
    }
    return on && !(only_off && is_off(b));
}

/* Has the phone not come around yet to what the key did? Lock held. */
static bool press_is_news(const struct board *b)
{
    return (b->power_lost && !is_off(b)) || (b->power_key_edge && is_off(b));
}

static void press_power(struct board *b, bool only_off)
{
    pthread_mutex_lock(&b->lock);
    b->keys |= KEY_POWER;
    notice(b);
    if (hold_power(b, only_off)) {
        b->power_lost = true;
        usb_device_lose(b);
    } else {
        b->power_key_edge = !only_off;
    }
    b->keys &= ~(unsigned)KEY_POWER;
    notice(b);
    while (!b->stopping && press_is_news(b))
        board_wait(b, &b->changed, -1);
    pthread_mutex_unlock(&b->lock);
}

void board_power_long(struct board *b)
{
    press_power(b, false);
}

void board_force_off(struct board *b)
{
    press_power(b, true);
}

void board_stage_set(struct board *b, enum board_stage stage)
{
    b->stage = stage;
    free(b->screen);
    b->screen = NULL;
    notice(b);
}

/* ---- small things the firmware asks
 * ---------------------------------------------------------------- */

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
    return b->name;
}

/* The lock is all that these change in a phone that they only look at. */
static struct board *lockable(const struct board *b)
{
    return (struct board *)(uintptr_t)b;
}

unsigned board_keys(const struct board *b)
{
    pthread_mutex_lock(&lockable(b)->lock);
    unsigned keys = b->keys;
    pthread_mutex_unlock(&lockable(b)->lock);
    return keys;
}

bool board_cable(const struct board *b)
{
    pthread_mutex_lock(&lockable(b)->lock);
    bool cable = b->cable;
    pthread_mutex_unlock(&lockable(b)->lock);
    return cable;
}

enum board_start board_start_reason(const struct board *b)
{
    return b->start;
}

void board_boot_target_set(struct board *b, enum board_boot_target target, bool download_bit)
{
    b->boot_target = target;
    b->download_bit = download_bit;
}

void board_shutdown_report(struct board *b, const char *how)
{
    pthread_mutex_lock(&b->lock);
    snprintf(b->last_shutdown, sizeof(b->last_shutdown), "%s", how);
    pthread_mutex_unlock(&b->lock);
    board_trace(b, "shutdown: %s", how);
}

enum board_boot_target board_boot_target_take(struct board *b)
{
    enum board_boot_target target = b->boot_target;
    b->boot_target = TARGET_NORMAL;
    return target;
}

bool board_download_bit_take(struct board *b)
{
    bool bit = b->download_bit;
    b->download_bit = false;
    return bit;
}

struct board_ram *board_ram(struct board *b)
{
    return &b->ram;
}

void board_screen_set(struct board *b, const char *json)
{
    pthread_mutex_lock(&b->lock);
    free(b->screen);
    b->screen = xstrdup(json);
    notice(b);
    pthread_mutex_unlock(&b->lock);
}

/* ---- what tests want to know
 * ----------------------------------------------------------------------- */

void board_violation(struct board *b, const char *name)
{
    pthread_mutex_lock(&b->lock);
    unsigned i = 0;
    while (i < b->violation_count && strcmp(b->violations[i].name, name) != 0)
        i++;
    if (i < VIOLATION_NAMES) {
        if (i == b->violation_count) {
            snprintf(b->violations[i].name, sizeof(b->violations[i].name), "%s", name);
            b->violation_count++;
        }
        b->violations[i].count++;
    }
    pthread_mutex_unlock(&b->lock);
    log_line(LOG_WARN, "phone", LOG_KV({"phone", b->name}, {"violation", name}),
             "the host did what it must not");
}

void board_trace(struct board *b, const char *fmt, ...)
{
    char text[300];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    log_line(LOG_DEBUG, "phone", LOG_KV({"phone", b->name}), "%s", text);
}

bool board_fault_due(struct board *b, const char *kind)
{
    bool due = fault_plan_due(&b->faults, kind, NULL, NULL);
    if (due)
        board_trace(b, "fault %s", kind);
    return due;
}

bool board_fault_over(struct board *b, const char *kind, enum board_area area, uint64_t at,
                      uint64_t len)
{
    struct fault_place place = {board_area_name(area), at, len};
    bool due = fault_plan_due(&b->faults, kind, &place, NULL);
    if (due)
        board_trace(b, "fault %s in %s at %llu", kind, place.area, (unsigned long long)at);
    return due;
}

bool board_fault_status(struct board *b, const char *kind, uint32_t *status_out)
{
    struct fault_spec spec;
    bool due = fault_plan_due(&b->faults, kind, NULL, &spec);
    if (due)
        *status_out = spec.status < 0 ? (uint32_t)XFLASH_ERR : (uint32_t)spec.status;
    return due;
}
