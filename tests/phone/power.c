/* power.c: what makes a phone start, and which firmware runs next. Key combinations and gaps:
 * tests/phone/README.md, "Power". */
#include "tests/phone/hardware.h"
#include "usb/base/log.h"

/* Off the bus between two USB identities; and from power to the boot ROM's first look at the keys.
 */
enum { GAP_LEAST_MS = 500, GAP_SPREAD_MS = 500, POWER_UP_MS = 200 };
/* Below this a phone without a charger does not start. Constructed: no figure is known for this
 * phone. */
enum { BATTERY_EMPTY_MV = 3200 };

static void save(struct board *b)
{
    struct err err;
    if (board_save(b, &err) < 0)
        log_line(LOG_ERROR, "phone", LOG_KV({"phone", b->name}, {"err", err_name(err.code)}), "%s",
                 err.text);
}

/* Moves to a stage; false when the phone has no power for it. A cable that comes back while a stage
 * runs starts the phone again only if that stage turns it off. */
static bool enter(struct board *b, enum board_stage stage)
{
    pthread_mutex_lock(&b->lock);
    bool powered = !board_powerless(b);
    if (powered) {
        board_stage_set(b, stage);
        b->cable_edge = b->power_key_edge = false;
    }
    pthread_mutex_unlock(&b->lock);
    if (powered)
        board_trace(b, "stage %s", board_stage_name(stage));
    return powered;
}

static enum board_next run_stage(struct board *b, enum board_stage stage,
                                 enum board_next (*firmware)(struct board *b))
{
    if (!enter(b, stage))
        return NEXT_OFF;
    if (stage == STAGE_ANDROID)
        save(b);
    enum board_next next = firmware(b);
    board_usb_detach(b);
    return next;
}

static void gap(struct board *b)
{
    if (enter(b, STAGE_RESET))
        board_sleep(b, GAP_LEAST_MS + (int)(fault_random(&b->chance) % GAP_SPREAD_MS), false);
}

/* The boot ROM starts the preloader, or waits for a tool where there is none. */
static enum board_next boot(struct board *b)
{
    if (!flash_preloader_bootable(b)) {
        board_trace(b, "no preloader in BOOT1");
        return board_cable(b) ? run_stage(b, STAGE_BROM, brom_run) : NEXT_OFF;
    }
    enum board_next next = run_stage(b, STAGE_PRELOADER, preloader_run);
    if (next == NEXT_LK && b->start == START_CABLE && b->boot_target == TARGET_NORMAL &&
        !board_fastboot_keys(board_keys(b)))
        return NEXT_OFF; /* the charging screen */
    return next;
}

/* What ends being off. Lock held. */
static bool starts(struct board *b)
{
    if (b->cable_edge && b->cable)
        return true;
    if (!b->power_key_edge)
        return false;
    b->power_key_edge = b->cable || b->settings.battery_mv >= BATTERY_EMPTY_MV;
    if (!b->power_key_edge)
        pthread_cond_broadcast(&b->changed); /* who presses it sees that nothing happens */
    return b->power_key_edge;
}

/* Dark, or the battery symbol. Lock held. */
static void show_off(struct board *b)
{
    enum board_stage stage = b->cable ? STAGE_CHARGING : STAGE_OFF;
    if (b->stage != stage)
        board_stage_set(b, stage);
}

static enum board_next be_off(struct board *b)
{
    pthread_mutex_lock(&b->lock);
    b->ram = (struct board_ram){.dram_up = false};
    if (!b->stopping)
        show_off(b);
    pthread_mutex_unlock(&b->lock);
    save(b);
    pthread_mutex_lock(&b->lock);
    while (!b->stopping && !starts(b)) {
        show_off(b);
        board_wait(b, &b->wake, -1);
    }
    bool by_key = b->power_key_edge;
    b->cable_edge = b->power_key_edge = false;
    b->power_lost = false;
    b->start = by_key ? START_POWER_KEY : START_CABLE;
    board_stage_set(b, STAGE_RESET);
    pthread_mutex_unlock(&b->lock);
    board_sleep(b, POWER_UP_MS, false);
    if (board_cable(b) && board_download_keys(&b->settings, board_keys(b)))
        return run_stage(b, STAGE_BROM, brom_run);
    return boot(b);
}

/* Silent until the cable is pulled. */
static enum board_next be_halted(struct board *b)
{
    if (enter(b, STAGE_HALTED)) {
        pthread_mutex_lock(&b->lock);
        while (b->cable && !b->cable_edge && !board_powerless(b)) /* out, or out and in again */
            board_wait(b, &b->wake, -1);
        pthread_mutex_unlock(&b->lock);
    }
    return NEXT_OFF;
}

/* Deaf and off the bus (while it still was on it, the firmware was deaf itself): only power helps.
 */
static enum board_next be_dead(struct board *b)
{
    if (enter(b, STAGE_DEAD)) {
        pthread_mutex_lock(&b->lock);
        while (!board_powerless(b))
            board_wait(b, &b->wake, -1);
        pthread_mutex_unlock(&b->lock);
    }
    return NEXT_OFF;
}

static enum board_next step(struct board *b, enum board_next next)
{
    switch (next) {
    case NEXT_OFF:
        return be_off(b);
    case NEXT_DEAD:
        return be_dead(b);
    case NEXT_HALT:
        return be_halted(b);
    case NEXT_BROM:
        gap(b);
        return run_stage(b, STAGE_BROM, brom_run);
    case NEXT_RESET:
        gap(b);
        b->start = START_RESET;
        b->ram = (struct board_ram){.dram_up = false};
        return boot(b);
    case NEXT_LK:
        return run_stage(b, STAGE_LK, lk_run);
    case NEXT_ANDROID:
        return run_stage(b, STAGE_ANDROID, android_run);
    }
    return NEXT_OFF;
}

/* After a forced power-off nothing is left of where the phone was; a cable that is still in starts
 * it as a charger would. */
static enum board_next after_power_loss(struct board *b)
{
    board_usb_detach(b);
    pthread_mutex_lock(&b->lock);
    b->power_lost = false;
    b->cable_edge = b->cable;
    b->boot_target = TARGET_NORMAL;
    b->download_bit = false;
    if (!b->cable)
        board_stage_set(b, STAGE_OFF);
    pthread_mutex_unlock(&b->lock);
    return NEXT_OFF;
}

static void *firmware_main(void *arg)
{
    struct board *b = arg;
    enum board_next next = NEXT_OFF;
    b->power_key_edge = b->was_on;
    for (;;) {
        next = step(b, next);
        pthread_mutex_lock(&b->lock);
        bool stopping = b->stopping, lost = b->power_lost;
        pthread_mutex_unlock(&b->lock);
        if (stopping)
            break;
        if (lost)
            next = after_power_loss(b);
    }
    board_usb_detach(b);
    return NULL;
}

int board_run(struct board *b, struct err *err)
{
    int rc = pthread_create(&b->firmware, NULL, firmware_main, b);
    return rc ? err_set(err, ERR_IO, "phone %s: no thread", b->name) : 0;
}

void board_halt(struct board *b)
{
    pthread_mutex_lock(&b->lock);
    if (!b->stopping)
        b->was_on = b->stage == STAGE_ANDROID;
    b->stopping = true;
    usb_device_lose(b);
    pthread_cond_broadcast(&b->wake);
    pthread_cond_broadcast(&b->changed);
    pthread_mutex_unlock(&b->lock);
}

void board_stop(struct board *b)
{
    board_halt(b);
    pthread_join(b->firmware, NULL);
    save(b);
}
