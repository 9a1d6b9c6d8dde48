#include <stdlib.h>

#include "tests/phone/identity.h"
#include "tests/phone/lk.h"
#include "usb/base/hash.h"
#include "usb/base/mem.h"

enum {
    REBOOT_MS = 800, /* from OKAY to the reset */
    KEY_POLL_MS = 50,
    KEY_TEXT_BYTES = 32,
};

/* ---- leaving
 * ----------------------------------------------------------------------------------------- */

static enum lk_outcome leave(struct lk *lk, enum board_boot_target target)
{
    enum lk_outcome outcome = fb_okay(lk, "%s", "");
    if (outcome != LK_CONTINUE)
        return outcome;
    board_usb_detach(lk->b);
    board_boot_target_set(lk->b, target, false);
    board_sleep(lk->b, REBOOT_MS, false);
    lk->next = NEXT_RESET;
    return LK_LEAVE;
}

/* There is no recovery partition on an A/B phone: "reboot-recovery" just restarts it. */
static enum lk_outcome reboot(struct lk *lk, const char *arg)
{
    (void)arg;
    return leave(lk, TARGET_HOME);
}

static enum lk_outcome reboot_bootloader(struct lk *lk, const char *arg)
{
    (void)arg;
    return leave(lk, TARGET_FASTBOOT);
}

static enum lk_outcome boot_on(struct lk *lk, const char *arg)
{
    (void)arg;
    enum lk_outcome outcome = fb_okay(lk, "%s", "");
    if (outcome != LK_CONTINUE)
        return outcome;
    lk_boot(lk);
    return lk->next == NEXT_ANDROID ? LK_LEAVE : LK_CONTINUE;
}

static enum lk_outcome boot_image(struct lk *lk, const char *arg)
{
    if (lk->data_bytes < 8 || memcmp(lk->data, "ANDROID!", 8) != 0)
        return fb_fail(lk, "invalid boot image header");
    return boot_on(lk, arg);
}

/* ---- slots, lock
 * ------------------------------------------------------------------------------------- */

static enum lk_outcome set_active(struct lk *lk, const char *arg)
{
    if (strcmp(arg, "a") != 0 && strcmp(arg, "b") != 0)
        return fb_fail(lk, "command parameter is not allowed");
    if (board_settings(lk->b)->set_active == SLOT_SWITCH_IGNORED)
        return fb_okay(lk, "%s", "");
    para_set_active(&lk->para, arg[0]);
    if (slots_write(lk->b, &lk->table, &lk->para) < 0)
        return fb_fail(lk, "set slot %s fail", arg);
    return fb_okay(lk, "%s", "");
}

/* Last four bytes of frp; 1 when "OEM unlocking" was switched on, or when there is no frp. */
static uint32_t unlock_ability(struct lk *lk)
{
    const struct partition *frp = table_find(&lk->table, "frp", 0);
    uint8_t raw[4] = {0};
    if (!frp)
        return 1;
    board_flash_read(lk->b, AREA_USER, frp->start_bytes + frp->size_bytes - sizeof(raw), raw,
                     sizeof(raw));
    return get_le32(raw);
}

static enum lk_outcome get_unlock_ability(struct lk *lk, const char *arg)
{
    (void)arg;
    enum lk_outcome outcome = fb_info(lk, "unlock_ability = %u", unlock_ability(lk));
    return outcome == LK_CONTINUE ? fb_okay(lk, "%s", "") : outcome;
}

/* The question on the screen: Volume Up is yes, Volume Down no; LK waits for ever. BOARD_GONE,
 * 0, 1. */
static int ask_on_screen(struct lk *lk)
{
    for (;;) {
        unsigned keys = board_keys(lk->b) & (KEY_VOL_UP | KEY_VOL_DOWN);
        if (keys)
            return keys == KEY_VOL_UP;
        if (board_sleep(lk->b, KEY_POLL_MS, true) < 0)
            return BOARD_GONE;
    }
}

static int lock_state_write(struct lk *lk, unsigned state)
{
    const struct partition *seccfg = table_find(&lk->table, "seccfg", 0);
    uint8_t raw[SECCFG_BYTES];
    if (!seccfg)
        return BOARD_STORAGE;
    seccfg_encode(board_chip(lk->b), state, raw);
    lk->lock_state = state;
    return board_flash_write(lk->b, AREA_USER, seccfg->start_bytes, raw, sizeof(raw));
}

/* Both ways wipe userdata after a yes; OKAY also when the person said no. */
static enum lk_outcome lock_change(struct lk *lk, unsigned state)
{
    const struct partition *userdata = table_find(&lk->table, "userdata", 0);
    int yes = ask_on_screen(lk);
    if (yes < 0)
        return LK_LOST;
    if (yes && (lock_state_write(lk, state) < 0 ||
                (userdata && board_flash_zero(lk->b, AREA_USER, userdata->start_bytes,
                                              userdata->size_bytes) < 0)))
        return fb_fail(lk, "Unlock failed - Err:0x%x", 0x7000);
    return fb_okay(lk, "%s", "");
}

static enum lk_outcome flashing_unlock(struct lk *lk, const char *arg)
{
    (void)arg;
    if (unlock_ability(lk) != 1)
        return fb_fail(lk, "Unlock operation is not allowed\n");
    enum lk_outcome outcome = fb_info(lk, "Start unlock flow\n");
    return outcome == LK_CONTINUE ? lock_change(lk, SECCFG_UNLOCKED) : outcome;
}

static enum lk_outcome flashing_lock(struct lk *lk, const char *arg)
{
    (void)arg;
    enum lk_outcome outcome = fb_info(lk, "Start lock flow\n");
    return outcome == LK_CONTINUE ? lock_change(lk, SECCFG_DEFAULT) : outcome;
}

static enum lk_outcome oem_key(struct lk *lk, const char *arg)
{
    while (*arg == ' ')
        arg++;
    if (strlen(arg) != KEY_TEXT_BYTES)
        return fb_fail(lk, "argument size is wrong\n");
    return fb_okay(lk, "%s", ""); /* only stored; a real unlock would check it */
}

static enum lk_outcome oem_lks(struct lk *lk, const char *arg)
{
    (void)arg;
    enum lk_outcome outcome = fb_info(lk, "lks = %d", !lk_unlocked(lk));
    return outcome == LK_CONTINUE ? fb_okay(lk, "%s", "") : outcome;
}

static enum lk_outcome oem_socid(struct lk *lk, const char *arg)
{
    (void)arg;
    char hex[2 * 32 + 1];
    hex_encode(span_of(board_chip(lk->b)->soc_id, 32), hex);
    enum lk_outcome outcome = fb_info(lk, "%.32s", hex);
    if (outcome == LK_CONTINUE)
        outcome = fb_info(lk, "%.32s", hex + 32);
    return outcome == LK_CONTINUE ? fb_okay(lk, "%s", "") : outcome;
}

static enum lk_outcome accepted(struct lk *lk, const char *arg)
{
    (void)arg;
    return fb_okay(lk, "%s", "");
}

static enum lk_outcome signature(struct lk *lk, const char *arg)
{
    (void)arg;
    return fb_fail(lk, "Signature command not supported");
}

/* ---- the table
 * --------------------------------------------------------------------------------------- */

enum {
    ON_SECURE = 1,  /* runs with secure boot on */
    NOT_LOCKED = 2, /* refused on a locked phone */
    VERITY = 4,     /* the service build has it, the commercial one only with verity_commercial */
    CHALLENGE = 8,  /* instead of that, where the vendor's server has the answer */
};

/* In the order of registration. The last entry that is a prefix of the command wins, so "reboot"
 * must stand before "reboot-bootloader", and "reboot-xyz" is a plain reboot. */
static const struct command {
    const char *prefix;
    unsigned flags;
    enum lk_outcome (*run)(struct lk *lk, const char *arg);
} commands[] = {
    {"signature", NOT_LOCKED, signature},
    {"flash:", ON_SECURE | NOT_LOCKED, fb_flash},
    {"erase:", ON_SECURE | NOT_LOCKED, fb_erase},
    {"boot", ON_SECURE | NOT_LOCKED, boot_image},
    {"continue", 0, boot_on},
    {"reboot", ON_SECURE, reboot},
    {"reboot-bootloader", ON_SECURE, reboot_bootloader},
    {"reboot-recovery", ON_SECURE, reboot},
    {"getvar:", ON_SECURE, fb_getvar},
    {"download:", ON_SECURE, fb_download},
    {"set_active:", ON_SECURE, set_active},
    {"flashing unlock", ON_SECURE, flashing_unlock},
    {"flashing lock", ON_SECURE, flashing_lock},
    {"flashing get_unlock_ability", ON_SECURE, get_unlock_ability},
    {"oem p2u", ON_SECURE, accepted},
    {"oem off-mode-charge", 0, accepted},
    {"oem key", ON_SECURE, oem_key},
    {"oem lks", ON_SECURE, oem_lks},
    {"oem get_socid", ON_SECURE, oem_socid},
    {"oem alive", ON_SECURE, accepted},
    {"oem HALT", ON_SECURE, fb_oem_halt},
    {"oem set_active:", ON_SECURE, set_active},
    {"oem getBootloaderType", ON_SECURE, fb_oem_bootloader_type},
    {"oem getSecurityVersion", ON_SECURE, fb_oem_security_version},
    {"oem getProjectCode", ON_SECURE, fb_oem_project_code},
    {"oem getBrandCode", ON_SECURE, fb_oem_brand_code},
    {"oem getRootStatus", ON_SECURE, fb_oem_root_status},
    {"oem CustomerSKUID get", ON_SECURE, fb_oem_sku_get},
    {"oem CustomerSKUID set", ON_SECURE, fb_oem_sku_set},
    {"oem getUID", ON_SECURE, fb_oem_uid},
    {"oem getversions", ON_SECURE, fb_oem_versions},
    {"oem battery getcapacity", ON_SECURE, fb_oem_battery},
    {"oem getpermissions", ON_SECURE, fb_oem_permissions},
    {"oem state_of_permission", ON_SECURE, fb_oem_permissions},
    {"oem dm-verity", ON_SECURE | VERITY, fb_oem_dm_verity},
    {"oem dm-veracity", ON_SECURE | CHALLENGE, fb_oem_dm_veracity},
    {"flash:veracity", ON_SECURE | CHALLENGE, fb_challenge_answer},
    {"flash:encUID", ON_SECURE | CHALLENGE, fb_challenge_answer},
    {"flash:md4", ON_SECURE | CHALLENGE, fb_challenge_answer},
    {"flash:md5", ON_SECURE | CHALLENGE, fb_challenge_answer},
};

/* What this build on this phone has. */
static bool command_there(const struct lk *lk, const struct command *c)
{
    const struct board_settings *s = board_settings(lk->b);
    bool challenge = lk_auth(lk) == AUTH_CHALLENGE;
    if (c->flags & VERITY)
        return !challenge && (lk->kind == LK_SERVICE || s->verity_commercial);
    if (c->flags & CHALLENGE)
        return challenge;
    return c->run != set_active || s->set_active != SLOT_SWITCH_UNKNOWN;
}

static const struct command *command_find(const struct lk *lk, const char *text)
{
    for (size_t i = ARRAY_LEN(commands); i > 0; i--) {
        const struct command *c = &commands[i - 1];
        if (strncmp(text, c->prefix, strlen(c->prefix)) == 0 && command_there(lk, c))
            return c;
    }
    return NULL;
}

/* The fault "info_flood". */
static enum lk_outcome info_flood(struct lk *lk)
{
    enum lk_outcome outcome = LK_CONTINUE;
    for (int i = 0; i < 100 && outcome == LK_CONTINUE; i++)
        outcome = fb_info(lk, "line %d of 100", i + 1);
    return outcome;
}

/* The text with which the setting fail_command lets this command fail; NULL. */
static const char *planned_failure(const struct lk *lk, const char *text)
{
    const char *plan = board_settings(lk->b)->fail_command;
    size_t len = strcspn(plan, "=");
    return len && plan[len] && strncmp(text, plan, len) == 0 ? plan + len + 1 : NULL;
}

static enum lk_outcome locked(struct lk *lk, const struct command *c, const char *arg)
{
    if (c->run == fb_flash)
        return fb_flash_locked(lk, arg);
    return c->run == fb_erase ? fb_erase_locked(lk, arg) : fb_locked(lk);
}

static enum lk_outcome command_run(struct lk *lk, const char *text)
{
    const struct command *c = command_find(lk, text);
    const char *failure = planned_failure(lk, text);
    if (failure)
        return fb_fail(lk, "%s", failure);
    if (!c)
        return fb_fail(lk, "unknown command");
    const char *arg = text + strlen(c->prefix);
    if (!(c->flags & ON_SECURE) && lk_secure(lk))
        return fb_fail(lk, "not support on security");
    if ((c->flags & NOT_LOCKED) && !lk_open(lk))
        return locked(lk, c, arg);
    return c->run(lk, arg);
}

enum lk_outcome fb_command(struct lk *lk, struct span in)
{
    char text[LK_COMMAND_BYTES + 1] = "";
    if (in.len)
        memcpy(text, in.data, MIN_OF(in.len, (size_t)LK_COMMAND_BYTES));
    board_trace(lk->b, "fastboot: %s", text);
    if (board_fault_due(lk->b, "info_flood")) {
        enum lk_outcome outcome = info_flood(lk);
        if (outcome != LK_CONTINUE)
            return outcome;
    }
    return command_run(lk, text);
}
