/* lk.h: what the files of the bootloader share. LK is the same program in both its builds; `kind`
 * is what the image says that the preloader found in lk_<slot>. Texts, limits and order of checks
 * are MediaTek's, the service commands FIH's: tests/phone/README.md, "LK". */
#ifndef FLASHRACK_TESTS_PHONE_LK_H
#define FLASHRACK_TESTS_PHONE_LK_H

#include "tests/phone/slots.h"
#include "usb/base/span.h"

enum {
    LK_COMMAND_BYTES = 64,  /* one read of the command loop */
    LK_RESPONSE_BYTES = 63, /* LK formats into 64 bytes with the zero */
    LK_TEXT_BYTES = LK_RESPONSE_BYTES - 4,
    LK_READ_BYTES = 16384, /* one read of the data phase */
    LK_WRITE_TIMEOUT_MS = 5000,
};

struct lk {
    struct board *b;
    struct flash_table table;
    struct para para;
    char slot; /* whose LK runs */
    enum lk_kind kind;
    char serial[20]; /* read once, at start */
    unsigned lock_state;
    bool permitted; /* dm-verity was accepted; until this LK ends */
    char sku[9];    /* what `oem CustomerSKUID set` said; until this LK ends */
    uint8_t *data;  /* what was downloaded last; room for max_download bytes */
    size_t data_bytes;
    enum board_next next; /* where LK_LEAVE leads */
};

/* What a command did to the session. */
enum lk_outcome {
    LK_CONTINUE, /* next command */
    LK_LEAVE,    /* LK ends: lk->next */
    LK_DEAF,     /* out of the command loop until the phone is plugged in again */
    LK_LOST,     /* BOARD_GONE */
};

/* ---- lk.c ---- */
bool lk_secure(const struct lk *lk); /* secure boot is on */
bool lk_unlocked(const struct lk *lk);
/* Flashing is open: the phone is unlocked, permission was given, or this service LK asks for none. */
bool lk_open(const struct lk *lk);
const char *lk_security_version(const struct lk *lk);
enum lk_auth lk_auth(const struct lk *lk); /* never AUTH_BY_VERSION */
/* Checks the slots and hands over to Android: lk->next; NEXT_LK when no slot can boot. */
void lk_boot(struct lk *lk);

/* ---- fastboot_gadget.c ---- */
/* Serves fastboot until LK ends. */
enum board_next fastboot_run(struct lk *lk);
/* One response; texts are cut at LK_TEXT_BYTES. */
enum lk_outcome fb_okay(struct lk *lk, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
enum lk_outcome fb_fail(struct lk *lk, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
enum lk_outcome fb_info(struct lk *lk, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
enum lk_outcome fb_data(struct lk *lk, uint32_t len);

/* ---- fastboot_commands.c ---- */
/* Runs one command of at most LK_COMMAND_BYTES bytes. */
enum lk_outcome fb_command(struct lk *lk, struct span command);

/* ---- fastboot_vars.c ---- */
enum lk_outcome fb_getvar(struct lk *lk, const char *name);

/* ---- fastboot_flash.c ---- */
enum lk_outcome fb_download(struct lk *lk, const char *arg);
enum lk_outcome fb_flash(struct lk *lk, const char *name);
enum lk_outcome fb_erase(struct lk *lk, const char *name);
/* What a locked phone says to both, in its style. */
enum lk_outcome fb_flash_locked(struct lk *lk, const char *name);
enum lk_outcome fb_erase_locked(struct lk *lk, const char *name);
enum lk_outcome fb_locked(struct lk *lk); /* ... and to all else */
/* Exact name, then with the active slot, then old aliases; NULL when there is none. */
const struct partition *fb_partition(const struct lk *lk, const char *name);
/* True when the name, without its slot, is one of the list, which ends in NULL. */
bool fb_name_in(const char *name, const char *const *list);

/* ---- fastboot_oem.c: FIH's service commands ---- */
enum lk_outcome fb_oem_dm_verity(struct lk *lk, const char *arg);
enum lk_outcome fb_oem_dm_veracity(struct lk *lk, const char *arg);
enum lk_outcome fb_challenge_answer(struct lk *lk, const char *arg);
enum lk_outcome fb_oem_halt(struct lk *lk, const char *arg);
enum lk_outcome fb_oem_bootloader_type(struct lk *lk, const char *arg);
enum lk_outcome fb_oem_security_version(struct lk *lk, const char *arg);
enum lk_outcome fb_oem_project_code(struct lk *lk, const char *arg);
enum lk_outcome fb_oem_brand_code(struct lk *lk, const char *arg);
enum lk_outcome fb_oem_root_status(struct lk *lk, const char *arg);
enum lk_outcome fb_oem_sku_get(struct lk *lk, const char *arg);
enum lk_outcome fb_oem_sku_set(struct lk *lk, const char *arg);
enum lk_outcome fb_oem_versions(struct lk *lk, const char *arg);
enum lk_outcome fb_oem_battery(struct lk *lk, const char *arg);
enum lk_outcome fb_oem_uid(struct lk *lk, const char *arg);
enum lk_outcome fb_oem_permissions(struct lk *lk, const char *arg);

#endif
