#include <stdio.h>
#include <strings.h>

#include "tests/phone/lk.h"
#include "usb/base/hash.h"
#include "usb/base/mem.h"

/* Constructed: what FIH's LK says when the digest is not the one of its serial is not known. */
#define WRONG_DIGEST_TEXT "dm-verity verify failed"

static const char *skip_blanks(const char *s)
{
    while (*s == ' ')
        s++;
    return s;
}

static enum lk_outcome info_and_okay(struct lk *lk, const char *text)
{
    enum lk_outcome outcome = fb_info(lk, "%s", text);
    return outcome == LK_CONTINUE ? fb_okay(lk, "%s", "") : outcome;
}

/* Opens flashing until this LK ends: MD5 of the serial that LK read at its start, either case. The
 * default serial has a digest like any other; that is what makes sending it dangerous. */
enum lk_outcome fb_oem_dm_verity(struct lk *lk, const char *arg)
{
    char want[MD5_HEX_BYTES];
    arg = skip_blanks(arg);
    if (board_fault_due(lk->b, "verity_unknown", 0))
        return fb_fail(lk, "unknown command");
    if (strlen(arg) != MD5_HEX_BYTES - 1)
        return fb_fail(lk, "argument size is wrong\n");
    md5_hex_upper(span_of(lk->serial, strlen(lk->serial)), want);
    if (strcasecmp(arg, want) != 0)
        return fb_fail(lk, WRONG_DIGEST_TEXT);
    lk->permitted = true;
    return fb_okay(lk, "%s", "");
}

enum lk_outcome fb_oem_halt(struct lk *lk, const char *arg)
{
    (void)arg;
    enum lk_outcome outcome = fb_okay(lk, "%s", "");
    if (board_fault_due(lk->b, "halt_stays", 0))
        return LK_DEAF; /* on the bus, but silent */
    lk->next = NEXT_HALT;
    return outcome == LK_CONTINUE ? LK_LEAVE : outcome;
}

enum lk_outcome fb_oem_bootloader_type(struct lk *lk, const char *arg)
{
    (void)arg;
    return info_and_okay(lk, lk->kind == LK_SERVICE ? "service" : "commercial");
}

enum lk_outcome fb_oem_versions(struct lk *lk, const char *arg)
{
    (void)arg;
    uint8_t head[1024];
    char version[40], line[64];
    partition_read(lk->b, table_find(&lk->table, "systeminfo", lk->slot), head, sizeof(head));
    systeminfo_version(span_of(head, sizeof(head)), version);
    snprintf(line, sizeof(line), "software version=%s", version);
    const char *const lines[] = {
        "model=TA-1105",        "sub_model=PDA",          line,
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
    char line[64];
    int percent = (board_settings(lk->b)->battery_mv - 3400) / 8;
    snprintf(line, sizeof(line), "Capacity=%d", MAX_OF(0, MIN_OF(100, percent)));
    return info_and_okay(lk, line);
}

enum lk_outcome fb_oem_uid(struct lk *lk, const char *arg)
{
    (void)arg;
    char hex[2 * 16 + 1];
    hex_encode(span_of(board_chip(lk->b)->me_id, 16), hex);
    return info_and_okay(lk, hex);
}

enum lk_outcome fb_oem_permissions(struct lk *lk, const char *arg)
{
    (void)arg;
    return info_and_okay(lk, lk->permitted ? "permission=1" : "permission=0");
}
