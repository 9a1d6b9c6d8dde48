#include <ctype.h>
#include <stdio.h>
#include <strings.h>

#include "tests/phone/lk.h"
#include "usb/base/hash.h"
#include "usb/base/mem.h"

static const char *skip_blanks(const char *s)
{
    while (*s == ' ')
        s++;
    return s;
}

/* An answer of one line, as the setting oem_reply has it. */
static enum lk_outcome line(struct lk *lk, const char *name, const char *text)
{
    enum oem_reply how = board_settings(lk->b)->oem_reply;
    if (how == OEM_OKAY)
        return fb_okay(lk, "%s", text);
    enum lk_outcome outcome =
        how == OEM_NAMED ? fb_info(lk, "%s: %s", name, text) : fb_info(lk, "%s", text);
    return outcome == LK_CONTINUE ? fb_okay(lk, "%s", "") : outcome;
}

/* The digest in letters that this LK takes. */
static bool digest_matches(struct lk *lk, const char *got, const char *want_upper)
{
    enum digest_case letters = board_settings(lk->b)->verity_digest;
    for (const char *c = got; *c; c++)
        if ((letters == DIGEST_UPPER && islower((unsigned char)*c)) ||
            (letters == DIGEST_LOWER && isupper((unsigned char)*c)))
            return false;
    return strcasecmp(got, want_upper) == 0;
}

/* Opens flashing until this LK ends: MD5 of the serial that LK read at its start, either case. The
 * default serial has a digest like any other; that is what makes sending it dangerous. */
enum lk_outcome fb_oem_dm_verity(struct lk *lk, const char *arg)
{
    char want[MD5_HEX_BYTES];
    arg = skip_blanks(arg);
    if (board_fault_due(lk->b, "verity_unknown"))
        return fb_fail(lk, "unknown command");
    if (strlen(arg) != MD5_HEX_BYTES - 1)
        return fb_fail(lk, "argument size is wrong\n");
    md5_hex_upper(span_of(lk->serial, strlen(lk->serial)), want);
    if (!digest_matches(lk, arg, want))
        return fb_fail(lk, "%s", board_settings(lk->b)->verity_refusal);
    lk->permitted = true;
    return fb_okay(lk, "%s", "");
}

/* The variants of the security versions 0004 and 0008: a challenge, whose answer only the vendor's server knows.
 * Constructed: what it looks like. */
enum lk_outcome fb_oem_dm_veracity(struct lk *lk, const char *arg)
{
    char challenge[MD5_HEX_BYTES];
    (void)arg;
    md5_hex_upper(span_of(board_chip(lk->b)->soc_id, 32), challenge);
    return line(lk, "dm-veracity", challenge);
}

/* flash:veracity and its like take the answer as an image; none is right. */
enum lk_outcome fb_challenge_answer(struct lk *lk, const char *arg)
{
    (void)arg;
    return fb_fail(lk, "%s", board_settings(lk->b)->verity_refusal);
}

enum lk_outcome fb_oem_halt(struct lk *lk, const char *arg)
{
    (void)arg;
    enum lk_outcome outcome = fb_okay(lk, "%s", "");
    if (board_fault_due(lk->b, "halt_stays"))
        return LK_DEAF; /* on the bus, but silent */
    lk->next = NEXT_HALT;
    return outcome == LK_CONTINUE ? LK_LEAVE : outcome;
}

enum lk_outcome fb_oem_bootloader_type(struct lk *lk, const char *arg)
{
    (void)arg;
    return line(lk, "getBootloaderType", lk->kind == LK_SERVICE ? "service" : "commercial");
}

enum lk_outcome fb_oem_security_version(struct lk *lk, const char *arg)
{
    (void)arg;
    return line(lk, "getSecurityVersion", lk_security_version(lk));
}

enum lk_outcome fb_oem_project_code(struct lk *lk, const char *arg)
{
    (void)arg;
    return line(lk, "getProjectCode", "PDA");
}

/* Constructed: values of brand, root status and SKU; that a SKU lasts as long as this LK, and wants permission. */
enum lk_outcome fb_oem_brand_code(struct lk *lk, const char *arg)
{
    (void)arg;
    return line(lk, "getBrandCode", "HMD");
}

enum lk_outcome fb_oem_root_status(struct lk *lk, const char *arg)
{
    (void)arg;
    return line(lk, "getRootStatus", "0");
}

enum lk_outcome fb_oem_sku_get(struct lk *lk, const char *arg)
{
    (void)arg;
    return line(lk, "CustomerSKUID", lk->sku[0] ? lk->sku : "600WW");
}

enum lk_outcome fb_oem_sku_set(struct lk *lk, const char *arg)
{
    arg = skip_blanks(arg);
    if (!lk_open(lk))
        return fb_locked(lk);
    if (!*arg || strlen(arg) >= sizeof(lk->sku))
        return fb_fail(lk, "argument size is wrong\n");
    memcpy(lk->sku, arg, strlen(arg) + 1);
    return fb_okay(lk, "%s", "");
}

enum lk_outcome fb_oem_versions(struct lk *lk, const char *arg)
{
    (void)arg;
    uint8_t head[1024];
    char version[40], software[64];
    partition_read(lk->b, table_find(&lk->table, "systeminfo", lk->slot), head, sizeof(head));
    systeminfo_version(span_of(head, sizeof(head)), version);
    snprintf(software, sizeof(software), "software version=%s", version);
    const char *const lines[] = {
        "model=TA-1105",        "sub_model=PDA",          software,
        "hardware version=PVT", "chip version=MT6771V/C", "EMMC version=HCG8a4"};
    enum lk_outcome outcome = LK_CONTINUE;
    for (size_t i = 0; i < ARRAY_LEN(lines) && outcome == LK_CONTINUE; i++)
        outcome = fb_info(lk, "%s", lines[i]);
    return outcome == LK_CONTINUE ? fb_okay(lk, "%s", "") : outcome;
}

/* Constructed: 3400 mV is empty, 4200 mV full, straight between them. */
enum lk_outcome fb_oem_battery(struct lk *lk, const char *arg)
{
    (void)arg;
    char text[64];
    int percent = (board_settings(lk->b)->battery_mv - 3400) / 8;
    snprintf(text, sizeof(text), "Capacity=%d", MAX_OF(0, MIN_OF(100, percent)));
    return line(lk, "battery", text);
}

enum lk_outcome fb_oem_uid(struct lk *lk, const char *arg)
{
    (void)arg;
    char hex[2 * 16 + 1];
    hex_encode(span_of(board_chip(lk->b)->me_id, 16), hex);
    return line(lk, "getUID", hex);
}

enum lk_outcome fb_oem_permissions(struct lk *lk, const char *arg)
{
    (void)arg;
    return line(lk, "getpermissions", lk_open(lk) ? "permission=1" : "permission=0");
}
