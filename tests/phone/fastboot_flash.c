#include <stdio.h>
#include <stdlib.h>

#include "tests/phone/lk.h"
#include "tests/phone/preloader_image.h"
#include "usb/base/mem.h"

enum { BATTERY_LOW_MV = 3500 };

/* ---- download
 * ---------------------------------------------------------------------------------------- */

/* Reads of 16 KiB; a transfer that is shorter than what was asked for ends the data phase, one that is longer spoils it.
 * What a host sends in a transfer of its own behind the last byte is its next command. LK_CONTINUE, LK_LOST, or LK_DEAF
 * when the number of bytes is wrong. */
static enum lk_outcome data_read(struct lk *lk, size_t len)
{
    size_t got = 0;
    while (got < len) {
        size_t want = MIN_OF(len - got, (size_t)LK_READ_BYTES);
        ssize_t n = board_out_request(lk->b, lk->data + got, want, -1);
        if (n < 0)
            return LK_LOST;
        got += (size_t)n;
        if ((size_t)n < want)
            return LK_DEAF;
    }
    return len && board_out_manners(lk->b) & OUT_MORE ? LK_DEAF : LK_CONTINUE;
}

enum lk_outcome fb_download(struct lk *lk, const char *arg)
{
    const struct board_settings *s = board_settings(lk->b);
    unsigned long len = strtoul(arg, NULL, 16);
    lk->data_bytes = 0;
    if (len > s->max_download)
        return fb_fail(lk, "data is too large");
    if (s->battery_mv < BATTERY_LOW_MV)
        return fb_fail(lk, "low power, need battery charging.");
    free(lk->data);
    lk->data = malloc(len ? len : 1);
    if (!lk->data)
        return fb_fail(lk, "data is too large");
    enum lk_outcome outcome = fb_data(lk, (uint32_t)len);
    if (outcome != LK_CONTINUE)
        return outcome;
    outcome = data_read(lk, len);
    if (outcome == LK_DEAF) {
        board_violation(lk->b, "fastboot.data_length");
        fb_fail(lk, "Read USB error");
    }
    if (outcome != LK_CONTINUE)
        return outcome;
    lk->data_bytes = len;
    return fb_okay(lk, "%s", "");
}

/* ---- where to
 * ---------------------------------------------------------------------------------------- */

const struct partition *fb_partition(const struct lk *lk, const char *name)
{
    static const char *const aliases[][2] = {{"misc", "para"}, {"uboot", "lk"}};
    char slot = para_active_slot(&lk->para);
    if (strcmp(name, "elabel") == 0 && board_settings(lk->b)->elabel_absent)
        return NULL;
    const struct partition *p = table_find(&lk->table, name, 0);
    if (!p)
        p = table_find(&lk->table, name, slot ? slot : 'a');
    for (size_t i = 0; !p && i < ARRAY_LEN(aliases); i++)
        if (strcmp(name, aliases[i][0]) == 0)
            p = fb_partition(lk, aliases[i][1]);
    return p;
}

bool fb_name_in(const char *name, const char *const *list)
{
    size_t len = strlen(name);
    if (len > 2 && (strcmp(name + len - 2, "_a") == 0 || strcmp(name + len - 2, "_b") == 0))
        len -= 2;
    for (; *list; list++)
        if (strncmp(name, *list, len) == 0 && (*list)[len] == '\0')
            return true;
    return false;
}

/* Constructed: not even the service build lets anybody write what is bound to the chip or to
 * Google. */
static bool never_written(const char *name)
{
    static const char *const names[] = {"seccfg", "frp", "otp", "efuse", NULL};
    return fb_name_in(name, names);
}

/* What generic mt6771 LKs mark as erasable; only scp is the beginning of a name there. */
static bool erasable(const char *name)
{
    static const char *const names[] = {"recovery", "boot",   "odmdtbo", "odm", "vendor",
                                        "system",   "cache", "userdata", NULL};
    return fb_name_in(name, names) || strncmp(name, "scp", 3) == 0;
}

/* ---- onto flash
 * -------------------------------------------------------------------------------------- */

enum flash_mood { FLASH_WRITES, FLASH_LIES, FLASH_FAILS };

/* What a fault makes of a write, raw or a chunk of a sparse image: it reports success only, or fails. */
static enum flash_mood flash_mood(struct board *b, uint64_t at, uint64_t len)
{
    return board_fault_over(b, "lying_write", AREA_USER, at, len)   ? FLASH_LIES
           : board_fault_over(b, "flash_fails", AREA_USER, at, len) ? FLASH_FAILS
                                                                    : FLASH_WRITES;
}

static const char *bytes_write(struct board *b, uint64_t at, struct span data)
{
    enum flash_mood mood = flash_mood(b, at, data.len);
    int rc = mood == FLASH_WRITES  ? board_flash_write(b, AREA_USER, at, data.data, data.len)
             : mood == FLASH_FAILS ? BOARD_STORAGE
                                   : BOARD_OK;
    return rc < 0 ? "flash write failure" : NULL;
}

/* ---- sparse
 * ------------------------------------------------------------------------------------------ */

#define SPARSE_MAGIC_BYTES "\x3a\xff\x26\xed"
enum {
    SPARSE_RAW = 0xCAC1,
    SPARSE_FILL = 0xCAC2,
    SPARSE_DONT_CARE = 0xCAC3,
    SPARSE_CRC32 = 0xCAC4
};
enum { SPARSE_HEADER_MIN = 28, SPARSE_CHUNK_MIN = 12 };

struct sparse {
    uint32_t block_bytes, total_blocks, chunks, chunk_header_bytes;
    uint64_t done_blocks;
    struct reader in;
    const struct partition *to;
};

static const char *fill_write(struct board *b, uint64_t at, uint64_t len, uint32_t pattern)
{
    enum { PIECE = 1 << 20 };
    static const char failure[] = "CHUNK_TYPE_FILL flash write failure";
    enum flash_mood mood = flash_mood(b, at, len);
    if (mood != FLASH_WRITES)
        return mood == FLASH_FAILS ? failure : NULL;
    if (pattern == 0)
        return board_flash_zero(b, AREA_USER, at, len) < 0 ? failure : NULL;
    AUTO(free_ptr) uint8_t *piece = xcalloc(1, PIECE);
    for (size_t i = 0; i < PIECE; i += 4)
        put_le32(piece + i, pattern);
    for (uint64_t end = at + len; at < end; at += PIECE)
        if (board_flash_write(b, AREA_USER, at, piece, (size_t)MIN_OF(end - at, (uint64_t)PIECE)) <
            0)
            return failure;
    return NULL;
}

/* Body of one chunk that spans `len` bytes of the partition; NULL, or LK's complaint. */
static const char *chunk_write(struct board *b, struct sparse *s, uint16_t type, uint64_t len,
                               uint64_t body)
{
    uint64_t at = s->to->start_bytes + s->done_blocks * s->block_bytes;
    struct span data;
    switch (type) {
    case SPARSE_RAW:
        if (body != len)
            return "Bogus chunk size for chunk type Raw";
        data = rd_bytes(&s->in, (size_t)len);
        if (!reader_ok(&s->in))
            return "sparse image write failure";
        return bytes_write(b, at, data);
    case SPARSE_FILL:
        if (body != 4)
            return "Bogus chunk size for chunk type FILL";
        return fill_write(b, at, len, rd_le32(&s->in));
    case SPARSE_DONT_CARE:
        rd_skip(&s->in, (size_t)body);
        return NULL;
    case SPARSE_CRC32: /* the standard form, with four bytes of checksum, is refused */
        board_violation(b, "fastboot.sparse_crc32_chunk");
        return body ? "Bogus chunk size for chunk type Dont Care" : NULL;
    }
    return "Unknown chunk type";
}

static const char *chunk_next(struct board *b, struct sparse *s)
{
    uint16_t type = rd_le16(&s->in);
    rd_skip(&s->in, 2);
    uint64_t blocks = rd_le32(&s->in), total = rd_le32(&s->in), len = blocks * s->block_bytes;
    rd_skip(&s->in, s->chunk_header_bytes - SPARSE_CHUNK_MIN);
    if (!reader_ok(&s->in))
        return "sparse image write failure";
    if (len > s->to->size_bytes)
        return "sparse chunk size is too big.";
    if (s->done_blocks * s->block_bytes + len > s->to->size_bytes)
        return "sparse chunk size overflow.";
    if (s->done_blocks + blocks > s->total_blocks)
        return "sparse chunk blocks bigger than total blocks.";
    if (total < s->chunk_header_bytes)
        return "Bogus chunk size for chunk type Raw";
    const char *wrong = chunk_write(b, s, type, len, total - s->chunk_header_bytes);
    s->done_blocks += blocks;
    return wrong;
}

static const char *sparse_write(struct lk *lk, const struct partition *to)
{
    struct sparse s = {.in = reader_of(span_of(lk->data, lk->data_bytes)), .to = to};
    rd_skip(&s.in, 8);
    uint16_t header = rd_le16(&s.in);
    s.chunk_header_bytes = rd_le16(&s.in);
    s.block_bytes = rd_le32(&s.in);
    s.total_blocks = rd_le32(&s.in);
    s.chunks = rd_le32(&s.in);
    rd_skip(&s.in, 4); /* the checksum is ignored */
    if (header > lk->data_bytes || header < SPARSE_HEADER_MIN || !reader_ok(&s.in) ||
        s.chunk_header_bytes < SPARSE_CHUNK_MIN)
        return "sparse image header invalid.";
    if ((uint64_t)s.total_blocks * s.block_bytes > to->size_bytes)
        return "sparse image size span overflow.";
    rd_skip(&s.in, header - (size_t)SPARSE_HEADER_MIN);
    for (uint32_t i = 0; i < s.chunks; i++) {
        const char *wrong = chunk_next(lk->b, &s);
        if (wrong)
            return wrong;
    }
    return s.done_blocks == s.total_blocks ? NULL : "sparse image write failure";
}

/* ---- flash, erase
 * ------------------------------------------------------------------------------------ */

static bool starts_with(const struct lk *lk, const char *magic, size_t len)
{
    return lk->data_bytes >= len && memcmp(lk->data, magic, len) == 0;
}

static bool wants_boot_image(const char *name)
{
    static const char *const names[] = {"boot", "boot_a", "boot_b", "recovery", NULL};
    for (size_t i = 0; names[i]; i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}

/* LK's order of checks; NULL when the bytes were written. Only those that were sent: the rest of
 * the partition keeps what it held. */
static const char *raw_write(struct lk *lk, const struct partition *to, const char *name)
{
    if (wants_boot_image(name) && !starts_with(lk, "ANDROID!", 8))
        return "image is not a boot image";
    uint64_t sectors = (lk->data_bytes + SECTOR_BYTES - 1) / SECTOR_BYTES;
    if (sectors * SECTOR_BYTES > to->size_bytes)
        return "size too large";
    return bytes_write(lk->b, to->start_bytes, span_of(lk->data, lk->data_bytes));
}

/* What newer LKs of MediaTek call controlled partitions. */
static bool controlled(const char *name)
{
    static const char *const names[] = {"nvram",    "nvcfg",    "proinfo", "nvdata",
                                        "protect1", "protect2", "persist", NULL};
    return fb_name_in(name, names);
}

enum lk_outcome fb_locked(struct lk *lk)
{
    return fb_fail(lk, "%s",
                   lk->kind == LK_SERVICE ? board_settings(lk->b)->locked_text
                                          : "not allowed in locked state");
}

enum lk_outcome fb_flash_locked(struct lk *lk, const char *name)
{
    enum text_style style = board_settings(lk->b)->text_style;
    if (style == STYLE_NEWMTK && controlled(name))
        return fb_fail(lk, "Flashing is not allowed for Controlled Partitions");
    if (style == STYLE_MTK && lk->kind == LK_SERVICE)
        return fb_fail(lk, "download for partition '%s' is not allowed\n", name);
    return fb_locked(lk);
}

enum lk_outcome fb_erase_locked(struct lk *lk, const char *name)
{
    enum text_style style = board_settings(lk->b)->text_style;
    if (style == STYLE_NEWMTK && controlled(name))
        return fb_fail(lk, "Erasing is not allowed for Controlled Partitions");
    if (style == STYLE_MTK && lk->kind == LK_SERVICE)
        return fb_fail(lk, "format for partition '%s' is not allowed\n", name);
    return fb_locked(lk);
}

/* The boot areas are permanently protected from LK, but with the setting preloader_writable: then a whole preloader file
 * goes there, with the storage header before it. */
static enum lk_outcome preloader_flash(struct lk *lk, const char *name)
{
    enum board_area area = strcmp(name, "preloader_b") == 0 ? AREA_BOOT2 : AREA_BOOT1;
    uint8_t header[BOOT_HEADER_BYTES];
    if (!board_settings(lk->b)->preloader_writable)
        return fb_fail(lk, "flash preloader is not permitted.");
    if (!preloader_file_whole(span_of(lk->data, lk->data_bytes)))
        return fb_fail(lk, "not a valid preloader.");
    if (sizeof(header) + lk->data_bytes > board_area_size(lk->b, area))
        return fb_fail(lk, "size too large");
    preloader_boot_header((uint32_t)lk->data_bytes, header);
    if (board_flash_write(lk->b, area, 0, header, sizeof(header)) < 0 ||
        board_flash_write(lk->b, area, sizeof(header), lk->data, lk->data_bytes) < 0)
        return fb_fail(lk, "flash write failure");
    return fb_okay(lk, "%s", "");
}

enum lk_outcome fb_flash(struct lk *lk, const char *name)
{
    if (never_written(name))
        return fb_fail(lk, "download for partition '%s' is not allowed\n", name);
    if (strcmp(name, "partition") == 0)
        return fb_fail(lk, "Do not support this operation.");
    if (strncmp(name, "preloader", 9) == 0)
        return preloader_flash(lk, name);
    const struct partition *to = fb_partition(lk, name);
    if (!to)
        return fb_fail(lk, "This partition doesn't exist");
    if (lk->data_bytes == 0) { /* nothing was downloaded: LK writes nothing and is content */
        board_violation(lk->b, "fastboot.empty_image");
        return fb_okay(lk, "%s", "");
    }
    const char *wrong =
        starts_with(lk, SPARSE_MAGIC_BYTES, 4) ? sparse_write(lk, to) : raw_write(lk, to, name);
    return wrong ? fb_fail(lk, "%s", wrong) : fb_okay(lk, "%s", "");
}

enum lk_outcome fb_erase(struct lk *lk, const char *name)
{
    if (!erasable(name))
        return fb_fail(lk, "format for partition '%s' is not allowed\n", name);
    const struct partition *p = fb_partition(lk, name);
    if (!p)
        return fb_fail(lk, "This partition doesn't exist");
    int rc = board_flash_zero(lk->b, AREA_USER, p->start_bytes, p->size_bytes);
    return rc < 0 ? fb_fail(lk, "Erase error") : fb_okay(lk, "%s", "");
}
