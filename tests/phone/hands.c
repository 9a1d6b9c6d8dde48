#include "tests/phone/hands.h"

#include <jansson.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "tests/phone/hardware.h"
#include "usb/base/clock.h"
#include "usb/base/mem.h"

enum {
    PAUSE_LEAST_MS = 1000, /* a person's delay before and between movements */
    PAUSE_SPREAD_MS = 2000,
    LOOK_MS = 250,
    /* Longer than the phone is off the bus between two of its identities (power.c). */
    SETTLED_MS = 2500,
    /* Nothing moves: the phone hangs. Longer than any pause of a working station. */
    PATIENCE_MS = 60000,
    BOOT_PATIENCE_MS = 90000,
    APPEAR_MS = 4000, /* keys are held until the phone shows up, at most so long */
    FRUITLESS_MAX = 2,
};

struct hands {
    struct board *b;
    pthread_t thread;
    uint64_t chance;
    enum memory memory;
    unsigned fruitless;
    /* What was seen last, and since when it has been so. */
    struct view seen;
    uint64_t seen_transfers, plugged_transfers;
    int64_t quiet_since_ms, idle_since_ms;
};

/* A dark phone may be off, at work, or dead: lights and memory tell. */
static enum action decide_dark(const struct view *v, enum memory memory, unsigned fruitless)
{
    if (memory == MEMORY_POWERED_ON)
        return v->idle_ms >= clock_scaled(BOOT_PATIENCE_MS) ? ACTION_FORCE : ACTION_WAIT;
    if (v->cable && v->idle_ms >= clock_scaled(PATIENCE_MS))
        return ACTION_FORCE;
    if (v->on_bus || (v->cable && v->quiet_ms < clock_scaled(SETTLED_MS)))
        return ACTION_WAIT;
    if (v->cable && memory == MEMORY_DOWNLOAD) /* the download agent has said goodbye */
        return ACTION_POWER_ON;
    return fruitless >= FRUITLESS_MAX ? ACTION_FORCE : ACTION_DOWNLOAD;
}

enum action hands_decide(const struct view *v, enum memory memory, unsigned fruitless)
{
    switch (v->display) {
    case DISPLAY_ANDROID:
        if (v->numbers && !v->own)
            return ACTION_FORCE;
        return v->numbers && !v->cable ? ACTION_PLUG : ACTION_WAIT;
    case DISPLAY_BOOTLOADER:
        if (memory == MEMORY_POWERED_ON) /* on its way to Android, or stuck here */
            return v->quiet_ms >= clock_scaled(SETTLED_MS) ? ACTION_FORCE : ACTION_WAIT;
        return v->cable ? ACTION_WAIT : ACTION_PLUG;
    case DISPLAY_CHARGING:
        return ACTION_DOWNLOAD;
    case DISPLAY_DARK:
        return decide_dark(v, memory, fruitless);
    }
    return ACTION_WAIT;
}

/* ---- looking
 * --------------------------------------------------------------------------------------- */

static enum display display_of(const struct board *b)
{
    switch (b->stage) {
    case STAGE_CHARGING:
        return DISPLAY_CHARGING;
    case STAGE_LK:
        return DISPLAY_BOOTLOADER;
    case STAGE_ANDROID:
        return DISPLAY_ANDROID;
    default:
        return DISPLAY_DARK;
    }
}

/* The numbers on the screen are those of the label, and the modem lives. */
static bool screen_is_own(const struct phone_label *label, const char *screen)
{
    json_t *root = json_loads(screen, 0, NULL);
    const char *serial = json_string_value(json_object_get(root, "serial"));
    const char *baseband = json_string_value(json_object_get(root, "baseband"));
    const json_t *imeis = json_object_get(root, "imeis");
    const char *imei = json_string_value(json_array_get(imeis, 0));
    bool own = serial && imei && baseband && baseband[0] && strcmp(serial, label->serial) == 0 &&
               strcmp(imei, label->imei[0]) == 0;
    json_decref(root);
    return own;
}

/* Lock held. */
static void look(struct hands *h)
{
    const struct board *b = h->b;
    int64_t now_ms = clock_now_ms();
    struct view now = {
        .display = display_of(b),
        .cable = b->cable,
        .on_bus = b->usb.gadget && !b->usb.lost && b->cable,
        .traffic = b->usb.transfers != h->plugged_transfers,
        .numbers = b->stage == STAGE_ANDROID && b->screen,
    };
    now.own = now.numbers && screen_is_own(&b->label, b->screen);
    if (now.display != h->seen.display || now.cable != h->seen.cable ||
        now.numbers != h->seen.numbers || b->usb.transfers != h->seen_transfers)
        h->idle_since_ms = h->quiet_since_ms = now_ms;
    bool buzzes = b->stage == STAGE_RESET; /* it restarts by itself, and that is felt */
    if (now.on_bus != h->seen.on_bus || buzzes)
        h->quiet_since_ms = now_ms;
    h->seen_transfers = b->usb.transfers;
    now.quiet_ms = now_ms - h->quiet_since_ms;
    now.idle_ms = now_ms - h->idle_since_ms;
    h->seen = now;
    if (now.display == DISPLAY_BOOTLOADER && h->memory != MEMORY_POWERED_ON)
        h->memory = MEMORY_BOOTLOADER;
    else if (now.display == DISPLAY_DARK && now.traffic && h->memory == MEMORY_NOTHING)
        h->memory = MEMORY_DOWNLOAD;
    else if (now.display == DISPLAY_ANDROID)
        h->memory = MEMORY_NOTHING;
}

/* ---- moving
 * ---------------------------------------------------------------------------------------- */

/* Waits as a person does, with open eyes; false when the program ends. */
static bool pause_for(struct hands *h, int64_t ms)
{
    struct board *b = h->b;
    pthread_mutex_lock(&b->lock);
    int64_t until = clock_now_ms() + ms;
    while (!b->stopping && board_wait(b, &b->changed, until))
        look(h);
    bool goes_on = !b->stopping;
    pthread_mutex_unlock(&b->lock);
    return goes_on;
}

static bool human_pause(struct hands *h)
{
    double ms = PAUSE_LEAST_MS + (double)(fault_random(&h->chance) % PAUSE_SPREAD_MS);
    return pause_for(h, (int64_t)(ms / h->b->hands_speed));
}

/* Until the bus light goes on, at most APPEAR_MS. */
static bool wait_on_bus(struct hands *h)
{
    struct board *b = h->b;
    int64_t until = clock_in(APPEAR_MS);
    pthread_mutex_lock(&b->lock);
    while (!b->stopping && !(b->usb.gadget && !b->usb.lost) && board_wait(b, &b->changed, until))
        look(h);
    bool there = b->usb.gadget && !b->usb.lost;
    pthread_mutex_unlock(&b->lock);
    return there;
}

static void download(struct hands *h, bool force)
{
    struct board *b = h->b;
    board_cable_set(b, false);
    if (!human_pause(h))
        return;
    if (force)
        board_force_off(b);
    board_keys_hold_until_bus(b, KEY_VOL_UP | KEY_VOL_DOWN);
    if (!human_pause(h))
        return;
    pthread_mutex_lock(&b->lock);
    h->plugged_transfers = b->usb.transfers;
    pthread_mutex_unlock(&b->lock);
    h->memory = MEMORY_NOTHING;
    board_cable_set(b, true);
    h->fruitless = wait_on_bus(h) ? 0 : h->fruitless + 1;
    board_keys_release(b, KEY_VOL_UP | KEY_VOL_DOWN);
}

static void power_on(struct hands *h)
{
    board_cable_set(h->b, false);
    if (!human_pause(h))
        return;
    board_power_long(h->b);
    h->memory = MEMORY_POWERED_ON;
}

static void act(struct hands *h, enum action action)
{
    static const char *const names[] = {"wait", "plug", "download", "force", "power on"};
    if (action == ACTION_WAIT) {
        pause_for(h, LOOK_MS);
        return;
    }
    board_trace(h->b, "hands: %s", names[action]);
    if (!human_pause(h))
        return;
    switch (action) {
    case ACTION_PLUG:
        board_cable_set(h->b, true);
        break;
    case ACTION_DOWNLOAD:
    case ACTION_FORCE:
        download(h, action == ACTION_FORCE);
        break;
    case ACTION_POWER_ON:
        power_on(h);
        break;
    case ACTION_WAIT:
        break;
    }
    h->quiet_since_ms = h->idle_since_ms = clock_now_ms();
}

static void *hands_main(void *arg)
{
    struct hands *h = arg;
    for (;;) {
        pthread_mutex_lock(&h->b->lock);
        bool stopping = h->b->stopping;
        look(h);
        pthread_mutex_unlock(&h->b->lock);
        if (stopping)
            return NULL;
        act(h, hands_decide(&h->seen, h->memory, h->fruitless));
    }
}

int hands_start(struct board *b, uint64_t seed, struct hands **out, struct err *err)
{
    struct hands *h = xcalloc(1, sizeof(*h));
    h->b = b;
    h->chance = seed + b->index;
    h->quiet_since_ms = h->idle_since_ms = clock_now_ms();
    if (pthread_create(&h->thread, NULL, hands_main, h) != 0) {
        free(h);
        return err_set(err, ERR_IO, "no thread for the hands of %s", b->name);
    }
    *out = h;
    return 0;
}

void hands_stop(struct hands **h)
{
    if (!*h)
        return;
    pthread_join((*h)->thread, NULL);
    free(*h);
    *h = NULL;
}
