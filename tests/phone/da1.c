/* DA1: start, DRAM set-up, loading DA2. README.md, "Download agent". */
#include "tests/phone/da.h"

#include "usb/base/mem.h"
#include "usb/format/da_file.h"
#include "usb/format/emi.h"

enum {
    HW_PARAMETERS_MAX = 16, /* constructed: how many the agent takes */
    HW_PARAMETER_BYTES_MAX = 0xff,
    SIGNATURE_BYTES = 0x100, /* what boot_to_signature_ok forgives */
};

/* Steps 2 and 3: SYNC and SETUP_ENVIRONMENT. Any other word is the end: without an answer for the
 * first, with status 0 for the others. */
static bool expect_word(struct da *d, uint32_t want, bool answers)
{
    uint32_t got;
    ptrdiff_t rc = da_recv_word(d, &got);
    if (rc >= 0 && got == want)
        return true;
    if (rc != DA_LINK_GONE)
        board_violation(d->b, "xflash.da1_start_order");
    if (answers)
        da_send_word(&d->link, XFLASH_OK);
    da_die(d, "unexpected word in the start of DA1");
    return false;
}

static bool environment(struct da *d)
{
    uint8_t raw[XFLASH_ENVIRONMENT_BYTES] = {0};
    ptrdiff_t rc = da_recv(&d->link, raw, sizeof(raw));
    if (rc < 0) {
        da_send_word(&d->link, da_framing_status(rc));
        da_die(d, "environment block");
        return false;
    }
    struct xflash_environment e = {0};
    (void)xflash_environment_decode(span_of(raw, sizeof(raw)), &e, NULL);
    d->host_os = e.host_os;
    d->link.log_usb = e.log_channel == XFLASH_LOG_USB || e.log_channel == XFLASH_LOG_BOTH;
    da_send_word(&d->link, XFLASH_OK);
    return true;
}

/* A count, then for each parameter its length and the parameter; nothing of it matters here. */
static bool hw_parameters(struct da *d)
{
    uint32_t count, length;
    ptrdiff_t rc = da_recv_word(d, &count);
    for (uint32_t i = 0; rc >= 0 && i < MIN_OF(count & 0xff, (uint32_t)HW_PARAMETERS_MAX); i++) {
        rc = da_recv_word(d, &length);
        if (rc >= 0)
            rc = da_recv_drop(&d->link, MIN_OF(length & 0xff, (uint32_t)HW_PARAMETER_BYTES_MAX));
    }
    if (rc < 0) {
        da_die(d, "hardware parameters");
        return false;
    }
    da_send_word(&d->link, XFLASH_OK);
    return true;
}

bool da1_start(struct da *d)
{
    if (board_fault_due(d->b, "no_alive_byte")) {
        da_die(d, "a fault that was asked for");
        return false;
    }
    uint8_t alive = XFLASH_ALIVE; /* bare, in a packet of its own */
    if (d->link.gone || board_in(d->b, &alive, 1, IN_PACKETS, -1) < 0)
        return false;
    da_link_burst(&d->link, 3);
    if (!expect_word(d, XFLASH_SYNC, false) || !expect_word(d, XFLASH_SETUP_ENVIRONMENT, true) ||
        !environment(d))
        return false;
    da_link_burst(&d->link, 2);
    if (!expect_word(d, XFLASH_SETUP_HW_INIT_PARAMS, true) || !hw_parameters(d))
        return false;
    da_log(&d->link, "hardware and storage are up");
    da_send_word(&d->link, XFLASH_SYNC);
    return !d->link.gone;
}

/* ---- INIT_EXT_RAM
 * ------------------------------------------------------------------------------------ */

/* Does the block hold settings for this phone's memory? Entries: +8 length of the eMMC id to
 * compare, +0x10 the id. Constructed: this phone's memory sits in its eMMC's package, so that
 * entries for discrete memory (length 0) do not fit it; a block without any entry to compare is
 * taken (README.md). */
static bool emi_fits(const struct da *d, struct span block)
{
    static const char head[] = "MTK_BLOADER_INFO_v36";
    if (block.len < EMI_HEAD_BYTES || memcmp(block.data, head, sizeof(head) - 1) != 0)
        return false;
    uint32_t count = get_le32(block.data + EMI_HEAD_BYTES - 4);
    struct reader r = reader_of(span_sub(block, EMI_HEAD_BYTES, block.len));
    bool compared = false;
    for (uint32_t i = 0; i < count; i++) {
        struct span entry = rd_bytes(&r, EMI_ENTRY_BYTES);
        if (!reader_ok(&r))
            return false;
        uint32_t id_bytes = get_le32(entry.data + 8);
        if (id_bytes == 0 || id_bytes > sizeof(board_chip(d->b)->emmc_cid))
            continue;
        compared = true;
        if (memcmp(entry.data + 0x10, board_chip(d->b)->emmc_cid, id_bytes) == 0)
            return true;
    }
    return !compared;
}

void da1_init_ext_ram(struct da *d)
{
    uint32_t announced;
    da_link_burst(&d->link, 2);
    ptrdiff_t rc = da_recv_word(d, &announced);
    if (rc >= 0)
        rc = da_recv(&d->link, d->memory, MIN_OF(announced, (uint32_t)EMI_BLOCK_BYTES_MAX));
    if (rc < 0) {
        da_send_word(&d->link, da_framing_status(rc));
        return;
    }
    bool fits = emi_fits(d, span_of(d->memory, (size_t)rc));
    if (board_fault_due(d->b, "emi_error"))
        fits = false;
    if (da_send_status(d, fits ? XFLASH_OK : (uint32_t)XFLASH_EMI_SETTING_VERSION_ERROR) ==
        XFLASH_OK)
        board_ram(d->b)->dram_up = true;
}

/* ---- BOOT_TO
 * ----------------------------------------------------------------------------------------- */

static bool da2_accepted(const struct da *d, struct span image)
{
    const struct board_settings *set = board_settings(d->b);
    bool sha256 = set->da_build == BUILD_2019;
    if (board_fault_due(d->b, "digest_error"))
        return false;
    if (!board_ram(d->b)->dram_up) { /* there was no memory to receive it into */
        board_violation(d->b, "xflash.boot_to_without_dram");
        return false;
    }
    if (synthetic_da2_matches(&d->da2, image, sha256))
        return true;
    if (image.len <= SIGNATURE_BYTES ||
        !synthetic_da2_matches(&d->da2, span_sub(image, 0, image.len - SIGNATURE_BYTES), sha256))
        return false;
    board_violation(d->b, "xflash.boot_to_with_signature");
    return set->boot_to_signature_ok;
}

void da1_boot_to(struct da *d)
{
    uint8_t raw[16] = {0};
    da_link_burst(&d->link, 2);
    ptrdiff_t rc = da_recv(&d->link, raw, sizeof(raw));
    uint64_t length = get_le64(raw + 8);
    if (rc >= 0)
        rc = da_recv(&d->link, d->memory, (size_t)MIN_OF(length, (uint64_t)DA_MEMORY_BYTES));
    if (rc < 0) {
        da_send_word(&d->link, da_framing_status(rc));
        return;
    }
    if (board_fault_due(d->b, "boot_silent")) {
        da_die(d, "a fault that was asked for");
        return;
    }
    bool accepted = da2_accepted(d, span_of(d->memory, (size_t)rc));
    if (da_send_status(d, accepted ? XFLASH_OK : (uint32_t)XFLASH_DA_HASH_MISMATCH) != XFLASH_OK)
        return;
    d->stage = XFLASH_DA2;
    da_log(&d->link, "DA2 is up");
    da_send_word(&d->link, XFLASH_SYNC);
}
