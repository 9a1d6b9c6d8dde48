#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/phone/hardware.h"
#include "usb/base/mem.h"

enum { SETTING_TEXT_BYTES = 128 }; /* the longest text of struct board_settings */
enum kind { KIND_CHOICE, KIND_BOOL, KIND_INT, KIND_U16, KIND_U32, KIND_U64, KIND_TEXT };

static const char *const usb_models[] = {"field", "buffered", "exact", NULL};
static const char *const da_builds[] = {"2018", "2017", "2019", NULL};
static const char *const storage_lives[] = {"good", "near_end", "worn", NULL};
static const char *const digest_cases[] = {"either", "upper", "lower", NULL};
static const char *const oem_replies[] = {"info", "okay", "named", NULL};
static const char *const auths[] = {"by_version", "none", "md5", "challenge", NULL};
static const char *const text_styles[] = {"fih", "mtk", "newmtk", NULL};
static const char *const slot_switches[] = {"works", "unknown", "ignored", NULL};
static const char *const key_choices[] = {"both", "vol_up", "vol_down", NULL};

static const struct setting {
    const char *name;
    enum kind kind;
    size_t offset, size;
    const char *const *choices;
} table[] = {
#define SETTING(name, kind, choices)                                                               \
    {                                                                                              \
#name, kind, offsetof(struct board_settings, name),                                        \
            sizeof(((struct board_settings *)0)->name), choices                                    \
    }
    SETTING(usb_model, KIND_CHOICE, usb_models),
    SETTING(da_build, KIND_CHOICE, da_builds),
    SETTING(framing_swallow, KIND_BOOL, NULL),
    SETTING(format_stop, KIND_BOOL, NULL),
    SETTING(upload_unknown_answers, KIND_BOOL, NULL),
    SETTING(shutdown_lenient, KIND_BOOL, NULL),
    SETTING(boot_to_signature_ok, KIND_BOOL, NULL),
    SETTING(positive_status_dead, KIND_BOOL, NULL),
    SETTING(write_errors_at_once, KIND_BOOL, NULL),
    SETTING(read_ahead_off, KIND_BOOL, NULL),
    SETTING(storage_life, KIND_CHOICE, storage_lives),
    SETTING(target_config, KIND_U32, NULL),
    SETTING(brom_window_ms, KIND_INT, NULL),
    SETTING(preloader_configure_ms, KIND_INT, NULL),
    SETTING(preloader_window_ms, KIND_INT, NULL),
    SETTING(battery_mv, KIND_INT, NULL),
    SETTING(fastboot_vid, KIND_U16, NULL),
    SETTING(fastboot_pid, KIND_U16, NULL),
    SETTING(max_download, KIND_U64, NULL),
    SETTING(full_speed_bytes_per_s, KIND_U64, NULL),
    SETTING(high_speed_bytes_per_s, KIND_U64, NULL),
    SETTING(emmc_read_bytes_per_s, KIND_U64, NULL),
    SETTING(emmc_write_bytes_per_s, KIND_U64, NULL),
    SETTING(download_keys, KIND_CHOICE, key_choices),
    SETTING(preloader_vid, KIND_U16, NULL),
    SETTING(preloader_pid, KIND_U16, NULL),
    SETTING(verity_commercial, KIND_BOOL, NULL),
    SETTING(verity_digest, KIND_CHOICE, digest_cases),
    SETTING(verity_refusal, KIND_TEXT, NULL),
    SETTING(permission_lost, KIND_BOOL, NULL),
    SETTING(oem_reply, KIND_CHOICE, oem_replies),
    SETTING(auth, KIND_CHOICE, auths),
    SETTING(security_version, KIND_TEXT, NULL),
    SETTING(text_style, KIND_CHOICE, text_styles),
    SETTING(locked_text, KIND_TEXT, NULL),
    SETTING(product, KIND_TEXT, NULL),
    SETTING(version_preloader, KIND_TEXT, NULL),
    SETTING(version_bootloader, KIND_TEXT, NULL),
    SETTING(version_baseband, KIND_TEXT, NULL),
    SETTING(hw_revision, KIND_TEXT, NULL),
    SETTING(vars_absent, KIND_TEXT, NULL),
    SETTING(set_active, KIND_CHOICE, slot_switches),
    SETTING(preloader_writable, KIND_BOOL, NULL),
    SETTING(fail_command, KIND_TEXT, NULL),
    SETTING(size_prefix, KIND_BOOL, NULL),
    SETTING(elabel_absent, KIND_BOOL, NULL),
    SETTING(unlocked, KIND_BOOL, NULL),
    SETTING(split_response, KIND_BOOL, NULL),
    SETTING(sbc_locked, KIND_TEXT, NULL),
    SETTING(sbc_verified, KIND_TEXT, NULL),
    SETTING(sbc_bound, KIND_TEXT, NULL),
#undef SETTING
};

void settings_default(struct board_settings *s)
{
    *s = (struct board_settings){
        .brom_window_ms = 5000,
        .preloader_configure_ms = 8000,
        .preloader_window_ms = 2500,
        .battery_mv = 4000,
        .fastboot_vid = 0x2e04,
        .fastboot_pid = 0xc009,
        .max_download = 0x8000000,
        .preloader_vid = 0x0e8d,
        .preloader_pid = 0x2000,
        .verity_refusal = "dm-verity verify failed",
        .locked_text = "target device is locked",
        .product = "PDA",
        .version_preloader = "0.1.00",
        .version_bootloader = "pda-0.5",
        .version_baseband = "N/A",
        .hw_revision = "ca00",
        .sbc_verified = "preloader,lk,boot,tee,vbmeta",
    };
}

static int set_choice(const struct setting *t, void *at, const char *value, struct err *err)
{
    for (int i = 0; t->choices[i]; i++)
        if (strcmp(t->choices[i], value) == 0) {
            memcpy(at, &i, sizeof(i));
            return 0;
        }
    return err_set(err, ERR_INPUT, "setting %s: no choice '%s'", t->name, value);
}

static int set_bool(const struct setting *t, void *at, const char *value, struct err *err)
{
    bool on = strcmp(value, "1") == 0 || strcmp(value, "true") == 0;
    if (!on && strcmp(value, "0") != 0 && strcmp(value, "false") != 0)
        return err_set(err, ERR_INPUT, "setting %s is 0 or 1, not '%s'", t->name, value);
    memcpy(at, &on, sizeof(on));
    return 0;
}

static int set_text(const struct setting *t, void *at, const char *value, struct err *err)
{
    if (strlen(value) >= t->size)
        return err_set(err, ERR_INPUT, "setting %s: '%s' is too long", t->name, value);
    memcpy(at, value, strlen(value) + 1);
    return 0;
}

static int set_number(const struct setting *t, void *at, const char *value, struct err *err)
{
    char *end;
    errno = 0;
    unsigned long long v = strtoull(value, &end, 0);
    unsigned long long max = t->kind == KIND_INT   ? INT32_MAX
                             : t->kind == KIND_U16 ? UINT16_MAX
                             : t->kind == KIND_U32 ? UINT32_MAX
                                                   : UINT64_MAX;
    if (errno || end == value || *end || value[0] == '-' || v > max)
        return err_set(err, ERR_INPUT, "setting %s: '%s' is not a number in range", t->name, value);
    if (t->kind == KIND_INT)
        *(int *)at = (int)v;
    else if (t->kind == KIND_U16)
        *(uint16_t *)at = (uint16_t)v;
    else if (t->kind == KIND_U32)
        *(uint32_t *)at = (uint32_t)v;
    else
        *(uint64_t *)at = v;
    return 0;
}

int settings_set(struct board_settings *s, const char *name, const char *value, struct err *err)
{
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        const struct setting *t = &table[i];
        void *at = (char *)s + t->offset;
        if (strcmp(t->name, name) != 0)
            continue;
        switch (t->kind) {
        case KIND_CHOICE:
            return set_choice(t, at, value, err);
        case KIND_BOOL:
            return set_bool(t, at, value, err);
        case KIND_TEXT:
            return set_text(t, at, value, err);
        default:
            return set_number(t, at, value, err);
        }
    }
    return err_set(err, ERR_INPUT, "no setting '%s'", name);
}

static void value_text(const struct setting *t, const void *at, char out[SETTING_TEXT_BYTES])
{
    unsigned long long v = 0;
    switch (t->kind) {
    case KIND_CHOICE:
        snprintf(out, SETTING_TEXT_BYTES, "%s", t->choices[*(const int *)at]);
        return;
    case KIND_TEXT:
        snprintf(out, SETTING_TEXT_BYTES, "%s", (const char *)at);
        return;
    case KIND_BOOL:
        v = *(const bool *)at;
        break;
    case KIND_INT:
        v = (unsigned long long)*(const int *)at;
        break;
    case KIND_U16:
        v = *(const uint16_t *)at;
        break;
    case KIND_U32:
        v = *(const uint32_t *)at;
        break;
    case KIND_U64:
        v = *(const uint64_t *)at;
        break;
    }
    snprintf(out, SETTING_TEXT_BYTES, "%llu", v);
}

void settings_each(const struct board_settings *s,
                   void (*each)(void *arg, const char *name, const char *value), void *arg)
{
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        char value[SETTING_TEXT_BYTES];
        value_text(&table[i], (const char *)s + table[i].offset, value);
        each(arg, table[i].name, value);
    }
}
