#include "tests/phone/lk.h"

#include <stdlib.h>

#include "tests/phone/identity.h"
#include "usb/base/mem.h"

enum {
    BOOT_LOOP_MS =
        1000, /* constructed: how long a preloader without a bootloader sits before it resets */
    CONFIG_SBC = 1, /* bit of GET_TARGET_CONFIG */
};

bool lk_secure(const struct lk *lk)
{
    return board_settings(lk->b)->target_config & CONFIG_SBC;
}

bool lk_unlocked(const struct lk *lk)
{
    return lk->lock_state == SECCFG_UNLOCKED || board_settings(lk->b)->unlocked;
}

bool lk_open(const struct lk *lk)
{
    return lk_unlocked(lk) || lk->permitted || (lk->kind == LK_SERVICE && lk_auth(lk) == AUTH_NONE);
}

const char *lk_security_version(const struct lk *lk)
{
    const struct board_settings *s = board_settings(lk->b);
    return s->security_version[0] ? s->security_version : s->auth == AUTH_CHALLENGE ? "0004" : "0001";
}

enum lk_auth lk_auth(const struct lk *lk)
{
    const char *version = lk_security_version(lk);
    enum lk_auth auth = board_settings(lk->b)->auth;
    if (auth != AUTH_BY_VERSION)
        return auth;
    return strcmp(version, "0004") == 0 || strcmp(version, "0008") == 0 ? AUTH_CHALLENGE : AUTH_MD5;
}

/* The preloader found no bootloader to start and resets, again and again. */
static enum board_next boot_loop(struct board *b)
{
    board_trace(b, "no LK that the preloader could start");
    board_sleep(b, BOOT_LOOP_MS, false);
    return board_cable(b) ? NEXT_RESET : NEXT_OFF;
}

static char slot_other(char slot)
{
    return slot == 'a' ? 'b' : 'a';
}

/* The preloader's choice: LK of the active slot, the other one when that is not whole. */
static bool lk_choose(struct lk *lk)
{
    char slot = para_active_slot(&lk->para);
    if (!slot)
        slot = 'a';
    lk->slot = slot;
    lk->kind = slot_lk(lk->b, &lk->table, slot);
    if (lk->kind == LK_BROKEN) {
        lk->slot = slot_other(slot);
        lk->kind = slot_lk(lk->b, &lk->table, lk->slot);
    }
    return lk->kind != LK_BROKEN;
}

static void identity_read(struct lk *lk)
{
    uint8_t head[64], seccfg[SECCFG_BYTES];
    partition_read(lk->b, table_find(&lk->table, "proinfo", 0), head, sizeof(head));
    proinfo_serial_read(span_of(head, sizeof(head)), lk->serial);
    partition_read(lk->b, table_find(&lk->table, "seccfg", 0), seccfg, sizeof(seccfg));
    lk->lock_state = seccfg_lock_state(span_of(seccfg, sizeof(seccfg)), board_chip(lk->b));
}

/* Takes a try off a slot that has not booted yet; a slot that is not whole loses all of them. */
static bool slot_try(struct lk *lk, char slot)
{
    struct para_slot *s = &lk->para.slots[slot == 'b'];
    bool whole = slot_whole(lk->b, &lk->table, slot);
    if (!whole)
        *s = (struct para_slot){.priority = s->priority};
    else if (!s->successful)
        s->tries_left--;
    slots_write(lk->b, &lk->table, &lk->para);
    return whole;
}

void lk_boot(struct lk *lk)
{
    for (char slot; (slot = para_active_slot(&lk->para));)
        if (slot_try(lk, slot)) {
            lk->next = NEXT_ANDROID;
            return;
        }
    lk->next = NEXT_LK;
}

/* Fastboot when it was asked for: by the download agent, a reboot command, or keys at the start. */
static bool fastboot_wanted(struct board *b, enum board_boot_target target)
{
    return target == TARGET_FASTBOOT || board_fastboot_keys(board_keys(b));
}

static enum board_next start(struct lk *lk)
{
    enum board_boot_target target = board_boot_target_take(lk->b);
    bool fastboot = fastboot_wanted(lk->b, target);
    if (table_read(lk->b, &lk->table) < 0)
        return boot_loop(lk->b);
    slots_read(lk->b, &lk->table, &lk->para);
    if (!lk_choose(lk))
        return boot_loop(lk->b);
    identity_read(lk);
    board_trace(lk->b, "LK %s of slot %c, serial %s",
                lk->kind == LK_SERVICE ? "service" : "commercial", lk->slot, lk->serial);
    if (fastboot)
        return fastboot_run(lk);
    if (board_start_reason(lk->b) == START_RESET && target == TARGET_NORMAL && board_cable(lk->b))
        return NEXT_OFF; /* the charging screen */
    lk_boot(lk);
    return lk->next == NEXT_LK ? fastboot_run(lk) : lk->next;
}

enum board_next lk_run(struct board *b)
{
    struct lk *lk = xcalloc(1, sizeof(*lk));
    lk->b = b;
    enum board_next next = start(lk);
    free(lk->data);
    free(lk);
    return next;
}
