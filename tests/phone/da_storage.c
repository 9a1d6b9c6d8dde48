/* Areas, ranges and the partition table as DA2 sees them. README.md, "Ranges" and "Names". */
#include "tests/phone/da.h"

#include <strings.h>

#include "usb/base/mem.h"
#include "usb/codec/brom.h"

enum {
    PGPT_BYTES = 0x8000,
    SGPT_BYTES = 0x4200,
    NAND_FIRST = 0x10,
    NAND_LAST = 0x14, /* numbers that the agent takes for kinds of NAND */
};

/* ---- flash
 * ------------------------------------------------------------------------------------------- */

static uint32_t flash_status(struct da *d, int rc)
{
    if (rc == BOARD_GONE)
        d->link.gone = true;
    return rc < 0 ? (uint32_t)XFLASH_MMC_ERR : XFLASH_OK;
}

uint32_t da_flash_read(struct da *d, enum board_area area, uint64_t at, void *dst, size_t len)
{
    return flash_status(d, board_flash_read(d->b, area, at, dst, len));
}

uint32_t da_flash_write(struct da *d, enum board_area area, uint64_t at, const void *src,
                        size_t len)
{
    return flash_status(d, board_flash_write(d->b, area, at, src, len));
}

/* ---- ranges
 * ------------------------------------------------------------------------------------------ */

/* 0 when the section names no area. 2017 does not check: 9 and 10 end up in the boot areas, 0 in
 * USER. */
static int section_area(uint32_t section, enum da_build build)
{
    switch (section) {
    case XFLASH_BOOT1:
        return AREA_BOOT1;
    case XFLASH_BOOT2:
        return AREA_BOOT2;
    case XFLASH_USER:
        return AREA_USER;
    default:
        break;
    }
    if (build != BUILD_2017)
        return 0;
    return section == 0    ? AREA_USER
           : section == 9  ? AREA_BOOT1
           : section == 10 ? AREA_BOOT2
                           : AREA_RPMB;
}

static uint32_t storage_status(uint32_t storage)
{
    if (storage == XFLASH_STORAGE_EMMC)
        return XFLASH_OK;
    if (storage == 0)
        return (uint32_t)XFLASH_UNKNOWN_STORAGE_TYPE;
    if (storage == XFLASH_STORAGE_SD || (storage >= NAND_FIRST && storage <= NAND_LAST))
        return (uint32_t)XFLASH_EXCEED_AVAILABLE_RANGE;
    return (uint32_t)XFLASH_STORAGE_MISMATCH;
}

uint32_t da_target_check(struct da *d, const uint8_t raw[XFLASH_RANGE_BYTES], struct da_target *out)
{
    *out = (struct da_target){0};
    uint32_t status = storage_status(raw[0]);
    if (status != XFLASH_OK) {
        board_violation(d->b, "xflash.wrong_storage");
        return status;
    }
    uint32_t section = get_le32(raw + 4);
    int area = section_area(section, board_settings(d->b)->da_build);
    if (section != XFLASH_BOOT1 && section != XFLASH_BOOT2 && section != XFLASH_USER)
        board_violation(d->b, "xflash.wrong_section");
    if (area == 0)
        return (uint32_t)XFLASH_UNKNOWN_STORAGE_SECTION_TYPE;
    out->area = (enum board_area)area;
    out->at = get_le64(raw + 8);
    out->len = get_le64(raw + 16);
    out->unreadable = area == AREA_RPMB;
    uint64_t size = board_area_size(d->b, out->area);
    if (out->at <= size && out->len <= size - out->at)
        return XFLASH_OK;
    board_violation(d->b, "xflash.range_beyond_section");
    out->at = MIN_OF(out->at, size);
    out->len = MIN_OF(out->len, size - out->at);
    return (uint32_t)XFLASH_EXCEED_AVAILABLE_RANGE;
}

/* ---- partition table
 * --------------------------------------------------------------------------------- */

_Static_assert(GPT_HEAD_BYTES_MAX <= DA_SCRATCH_BYTES, "the table is read into the scratch buffer");

bool da_gpt_load(struct da *d)
{
    uint64_t size = board_area_size(d->b, AREA_USER);
    size_t head = (size_t)MIN_OF((uint64_t)GPT_HEAD_BYTES_MAX, size);
    if (da_flash_read(d, AREA_USER, 0, d->scratch, head) == XFLASH_OK &&
        gpt_decode_primary(span_of(d->scratch, head), XFLASH_BLOCK_BYTES, &d->gpt, NULL) == 0)
        return true;
    size_t tail = gpt_backup_bytes(XFLASH_BLOCK_BYTES);
    return tail <= size &&
           da_flash_read(d, AREA_USER, size - tail, d->scratch, tail) == XFLASH_OK &&
           gpt_decode_backup(span_of(d->scratch, tail), XFLASH_BLOCK_BYTES, &d->gpt, NULL) == 0;
}

/* Names that need no table. "preloader" is a boot area without the header that the agent adds. */
static bool built_in(struct da *d, const char *name, struct da_target *out)
{
    uint64_t user = board_area_size(d->b, AREA_USER);
    if (strncasecmp(name, "pgpt", 4) == 0)
        *out = (struct da_target){AREA_USER, 0, PGPT_BYTES, false};
    else if (strcasecmp(name, "sgpt") == 0)
        *out = (struct da_target){AREA_USER, user - SGPT_BYTES, SGPT_BYTES, false};
    else if (strcasecmp(name, "preloader") == 0)
        *out = (struct da_target){AREA_BOOT1, 0, board_area_size(d->b, AREA_BOOT1), false};
    else if (strcasecmp(name, "preloader_backup") == 0)
        *out = (struct da_target){AREA_BOOT2, 0, board_area_size(d->b, AREA_BOOT2), false};
    else
        return false;
    return true;
}

uint32_t da_partition(struct da *d, const char *name, struct da_target *out)
{
    if (built_in(d, name, out))
        return XFLASH_OK;
    if (!da_gpt_load(d))
        return (uint32_t)XFLASH_INVALID_GPT;
    for (uint32_t i = 0; i < d->gpt.count; i++) {
        if (strcasecmp(d->gpt.entries[i].name, name) != 0)
            continue;
        struct extent e = gpt_extent(&d->gpt, &d->gpt.entries[i]);
        *out = (struct da_target){AREA_USER, e.start_bytes, e.size_bytes, false};
        return XFLASH_OK;
    }
    return (uint32_t)XFLASH_PARTITION_NOT_FOUND;
}

/* True when the comma-separated list has `name`, or its name without the slot. */
static bool listed(const char *list, const char *name)
{
    size_t len = strlen(name);
    size_t base = len > 2 && name[len - 2] == '_' ? len - 2 : len;
    for (const char *at = list; *at;) {
        size_t n = strcspn(at, ",");
        if ((n == len || n == base) && strncasecmp(at, name, n) == 0)
            return true;
        at += n + (at[n] == ',');
    }
    return false;
}

static unsigned guards_of(const struct board_settings *set, const char *name)
{
    return (listed(set->sbc_locked, name) ? GUARD_LOCKED : 0u) |
           (listed(set->sbc_verified, name) ? GUARD_VERIFIED : 0u) |
           (listed(set->sbc_bound, name) ? GUARD_BOUND : 0u);
}

unsigned da_guards(struct da *d, const struct da_target *t)
{
    const struct board_settings *set = board_settings(d->b);
    if (!(set->target_config & BROM_TARGET_SBC) || t->len == 0)
        return 0;
    if (t->area != AREA_USER) /* both hold the preloader */
        return t->area == AREA_RPMB ? 0 : guards_of(set, "preloader");
    unsigned guards = 0;
    uint32_t count = da_gpt_load(d) ? d->gpt.count : 0;
    for (uint32_t i = 0; i < count; i++) {
        struct extent e = gpt_extent(&d->gpt, &d->gpt.entries[i]);
        if (e.start_bytes < t->at + t->len && t->at < e.start_bytes + e.size_bytes)
            guards |= guards_of(set, d->gpt.entries[i].name);
    }
    return guards;
}

bool da_recv_range(struct da *d)
{
    ptrdiff_t n = da_recv(&d->link, d->range, sizeof(d->range));
    if (n >= 0 && n < XFLASH_RANGE_MIN_BYTES)
        board_violation(d->b, "xflash.short_parameters");
    return n != DA_LINK_GONE;
}

ptrdiff_t da_recv_name(struct da *d, char out[XFLASH_NAME_MAX + 1])
{
    memset(out, 0, XFLASH_NAME_MAX + 1); /* terminators are allowed, not needed */
    return da_recv(&d->link, out, XFLASH_NAME_MAX);
}
