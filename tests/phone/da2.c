/* READ_DATA, UPLOAD, FORMAT, FORMAT_PARTITION. README.md, "Reading" and "Erasing". */
#include "tests/phone/da.h"

#include "usb/base/mem.h"

/* The agent's read buffers: two packets of the largest size, one being sent, one read ahead. */
_Static_assert(2 * XFLASH_DA2_READ_PACKET_OTHER <= DA_MEMORY_BYTES, "two read packets must fit");

/* ---- reading
 * ----------------------------------------------------------------------------------------- */

struct reading {
    struct da *d;
    struct da_target from;
    uint64_t packet_bytes;
    uint64_t fetched; /* bytes that were read from flash */
    unsigned slot;    /* buffer of the chunk that is due to be sent */
};

static uint64_t chunk_bytes(const struct reading *r, uint64_t at)
{
    return MIN_OF(r->packet_bytes, r->from.len - at);
}

static uint8_t *slot_at(const struct reading *r, unsigned slot)
{
    return r->d->memory + (size_t)(slot % 2) * XFLASH_DA2_READ_PACKET_OTHER;
}

/* Reads the next chunk of the area into `slot`. */
static uint32_t fetch(struct reading *r, unsigned slot)
{
    uint64_t n = chunk_bytes(r, r->fetched);
    uint32_t status = r->from.unreadable
                          ? (uint32_t)XFLASH_MMC_ERR
                          : da_flash_read(r->d, r->from.area, r->from.at + r->fetched,
                                          slot_at(r, slot), (size_t)n);
    r->fetched += n;
    return status;
}

/* Data and acknowledgement of one chunk. False when the command has ended with a status of its own. */
static bool send_chunk(struct reading *r, size_t len)
{
    struct da *d = r->d;
    da_log(&d->link, "chunk follows");
    da_send(&d->link, slot_at(r, r->slot), len);
    uint32_t ack;
    ptrdiff_t rc = da_recv_word(d, &ack);
    if (rc < 0) {
        da_send_word(&d->link, da_framing_status(rc));
        return false;
    }
    if (ack != 0) { /* the host stops: its own value is the final status */
        da_send_word(&d->link, ack);
        return false;
    }
    return !d->link.gone;
}

/* Chunks until the end. A storage error stands in the place of a chunk status and comes again as
 * final status; since one chunk is read ahead, it is seen one chunk early. */
static void read_target(struct da *d, const struct da_target *from)
{
    bool ahead = !board_settings(d->b)->read_ahead_off;
    struct reading r = {.d = d, .from = *from};
    r.packet_bytes =
        d->host_os == XFLASH_OS_LINUX ? XFLASH_DA2_READ_PACKET_LINUX : XFLASH_DA2_READ_PACKET_OTHER;
    uint32_t status = XFLASH_OK;
    for (uint64_t sent = 0; sent < from->len; r.slot++) {
        uint64_t n = chunk_bytes(&r, sent);
        if (r.fetched == sent)
            status = fetch(&r, r.slot);
        if (status == XFLASH_OK && ahead && r.fetched < from->len)
            status = fetch(&r, r.slot + 1);
        status = da_send_status(d, status);
        if (status != XFLASH_OK)
            break;
        if (!send_chunk(&r, (size_t)n))
            return;
        sent += n;
    }
    da_send_status(d, status);
}

void da2_read_data(struct da *d)
{
    if (!da_recv_range(d))
        return;
    struct da_target from;
    if (da_send_status(d, da_target_check(d, d->range, &from)) == XFLASH_OK)
        read_target(d, &from);
}

void da2_upload(struct da *d)
{
    char name[XFLASH_NAME_MAX + 1];
    struct da_target from;
    if (da_recv_name(d, name) < 0) {
        da_send_word(&d->link, (uint32_t)XFLASH_PARTITION_NOT_FOUND);
        return;
    }
    if (da_partition(d, name, &from) != XFLASH_OK) { /* silent, and ready for the next command */
        board_violation(d->b, "xflash.upload_of_unknown_name");
        if (board_settings(d->b)->upload_unknown_answers)
            da_send_word(&d->link, (uint32_t)XFLASH_PARTITION_NOT_FOUND);
        return;
    }
    if (da_send_status(d, XFLASH_OK) != XFLASH_OK)
        return;
    uint8_t size[8];
    put_le64(size, from.len);
    da_send(&d->link, size, sizeof(size));
    read_target(d, &from);
}

/* ---- erasing
 * ----------------------------------------------------------------------------------------- */

/* Whole blocks inside the range; what an eMMC's erased blocks read as is zero here. */
static uint32_t erase(struct da *d, const struct da_target *t)
{
    uint64_t end = (t->at + t->len) / XFLASH_BLOCK_BYTES * XFLASH_BLOCK_BYTES;
    uint64_t start = (t->at + XFLASH_BLOCK_BYTES - 1) / XFLASH_BLOCK_BYTES * XFLASH_BLOCK_BYTES;
    if (start >= end)
        return XFLASH_OK;
    int rc = board_flash_zero(d->b, t->area, start, end - start);
    if (rc == BOARD_GONE)
        d->link.gone = true;
    return rc < 0 ? (uint32_t)XFLASH_MMC_ERR : XFLASH_OK;
}

/* An eMMC reports once, when everything is over; the value of the acknowledgement is ignored. */
static void erase_and_report(struct da *d, const struct da_target *t)
{
    if (da_guards(d, t) & GUARD_LOCKED) {
        da_send_word(&d->link, (uint32_t)XFLASH_SEC_WRITE_DATA_NOT_ALLOWED);
        return;
    }
    uint32_t status = erase(d, t);
    if (status == XFLASH_OK) {
        da_send_word(&d->link, XFLASH_CONTINUE);
        da_send_word(&d->link, 100);
        uint32_t ack;
        ptrdiff_t rc = da_recv_word(d, &ack);
        status = rc < 0 ? da_framing_status(rc) : XFLASH_COMPLETE;
    }
    da_send_status(d, status);
}

/* After a failing parameter status the agent carries on all the same. */
static void format_after_error(struct da *d, uint32_t status, const struct da_target *inside)
{
    if (board_settings(d->b)->format_stop)
        return;
    if (d->range[0] != XFLASH_STORAGE_EMMC)
        da_send_word(&d->link, (uint32_t)XFLASH_UNKNOWN_STORAGE_TYPE);
    else if (status == (uint32_t)XFLASH_UNKNOWN_STORAGE_SECTION_TYPE)
        da_send_word(&d->link, (uint32_t)XFLASH_INVALID_PARAMETERS);
    else
        erase_and_report(d, inside);
}

void da2_format(struct da *d)
{
    if (!da_recv_range(d))
        return;
    struct da_target t;
    uint32_t status = da_target_check(d, d->range, &t);
    if (da_send_status(d, status) != status)
        return; /* a fault, and nothing that is known of genuine agents */
    if (status != XFLASH_OK)
        format_after_error(d, status, &t);
    else if (t.unreadable && get_le32(d->range + 4) == XFLASH_RPMB) /* 2017 */
        da_send_word(&d->link, XFLASH_COMPLETE);
    else {
        if (t.unreadable) /* 2017: a general purpose area, which this eMMC has at size 0 */
            t.len = 0;
        erase_and_report(d, &t);
    }
}

void da2_format_partition(struct da *d)
{
    char name[XFLASH_NAME_MAX + 1];
    struct da_target t;
    uint32_t status = XFLASH_PARTITION_NOT_FOUND;
    ptrdiff_t rc = da_recv_name(d, name);
    if (rc >= 0)
        status = da_partition(d, name, &t);
    if (rc >= 0 && status != XFLASH_OK)
        board_violation(d->b, "xflash.format_of_unknown_name");
    if (status == XFLASH_OK && t.len > 0)
        erase_and_report(d, &t);
    else if (rc != DA_LINK_GONE)
        da_send_status(d, status);
}
