#include "tests/phone/slots.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/phone/vbmeta.h"
#include "usb/base/hash.h"
#include "usb/base/mem.h"

/* Not usb/format/gpt.h: the station's reader is stricter than LK (it refuses overlaps, goes on
 * after a hole) and must not be what decides whether the phone understands what the station wrote.
 */
enum { ENTRY_BYTES = 128, ENTRIES = 128, ENTRIES_BYTES = ENTRIES * ENTRY_BYTES };

static void entry_read(const uint8_t *e, struct partition *out)
{
    uint64_t first = get_le64(e + 32), last = get_le64(e + 40);
    memset(out, 0, sizeof(*out));
    for (size_t i = 0; i < sizeof(out->name) - 1; i++)
        out->name[i] = (char)e[56 + 2 * i];
    out->start_bytes = first * SECTOR_BYTES;
    out->size_bytes = (last - first + 1) * SECTOR_BYTES;
}

static bool header_good(uint8_t *header, uint64_t lba)
{
    uint32_t crc = get_le32(header + 16), len = get_le32(header + 12);
    if (memcmp(header, "EFI PART", 8) != 0 || len < 92 || len > SECTOR_BYTES)
        return false;
    put_le32(header + 16, 0);
    return crc32_of(0, span_of(header, len)) == crc && get_le64(header + 24) == lba &&
           get_le32(header + 80) == ENTRIES && get_le32(header + 84) == ENTRY_BYTES;
}

static bool table_at(struct board *b, uint64_t lba, struct flash_table *out)
{
    uint8_t header[SECTOR_BYTES];
    AUTO(free_ptr) uint8_t *entries = xcalloc(1, ENTRIES_BYTES);
    if (board_flash_read(b, AREA_USER, lba * SECTOR_BYTES, header, sizeof(header)) < 0 ||
        !header_good(header, lba))
        return false;
    uint64_t at = get_le64(header + 72) * SECTOR_BYTES;
    if (at > board_area_size(b, AREA_USER) - ENTRIES_BYTES ||
        board_flash_read(b, AREA_USER, at, entries, ENTRIES_BYTES) < 0 ||
        crc32_of(0, span_of(entries, ENTRIES_BYTES)) != get_le32(header + 88))
        return false;
    out->count = 0;
    while (out->count < ENTRIES && get_le64(entries + out->count * ENTRY_BYTES + 32) != 0) {
        entry_read(entries + out->count * ENTRY_BYTES, &out->parts[out->count]);
        out->count++;
    }
    return true;
}

int table_read(struct board *b, struct flash_table *out)
{
    uint64_t last = board_area_size(b, AREA_USER) / SECTOR_BYTES - 1;
    return table_at(b, 1, out) || table_at(b, last, out) ? BOARD_OK : BOARD_STORAGE;
}

const struct partition *table_find(const struct flash_table *t, const char *name, char slot)
{
    char full[48];
    if (slot)
        snprintf(full, sizeof(full), "%.40s_%c", name, slot);
    else
        snprintf(full, sizeof(full), "%.40s", name);
    for (size_t i = 0; i < t->count; i++)
        if (strcmp(t->parts[i].name, full) == 0)
            return &t->parts[i];
    return NULL;
}

int partition_read(struct board *b, const struct partition *p, void *dst, size_t len)
{
    memset(dst, 0, len);
    if (!p)
        return BOARD_STORAGE;
    return board_flash_read(b, AREA_USER, p->start_bytes, dst,
                            (size_t)MIN_OF((uint64_t)len, p->size_bytes));
}

void slots_read(struct board *b, const struct flash_table *t, struct para *out)
{
    static const struct para fresh = {.slots = {{15, 7, false}, {14, 7, false}}};
    uint8_t head[PARA_HEAD_BYTES];
    partition_read(b, table_find(t, "para", 0), head, sizeof(head));
    if (para_decode(span_of(head, sizeof(head)), out, NULL) < 0)
        *out = fresh;
}

int slots_write(struct board *b, const struct flash_table *t, const struct para *para)
{
    const struct partition *p = table_find(t, "para", 0);
    if (!p)
        return BOARD_STORAGE;
    AUTO(buf_deinit) struct buf raw;
    buf_init(&raw, PARA_SLOT_BYTES);
    para_encode(para, &raw);
    return board_flash_write(b, AREA_USER, p->start_bytes + PARA_SLOT_OFFSET_BYTES, raw.data,
                             raw.len);
}

enum lk_kind slot_lk(struct board *b, const struct flash_table *t, char slot)
{
    const struct partition *p = table_find(t, "lk", slot);
    uint8_t head[0x200];
    if (partition_read(b, p, head, sizeof(head)) < 0)
        return LK_BROKEN;
    size_t len = lk_image_bytes(span_of(head, sizeof(head)));
    if (len == 0 || len > p->size_bytes)
        return LK_BROKEN;
    AUTO(free_ptr) uint8_t *image = xcalloc(1, len);
    if (partition_read(b, p, image, len) < 0)
        return LK_BROKEN;
    return lk_image_kind(span_of(image, len));
}

static bool row_whole(struct board *b, const struct partition *p, const struct vbmeta_row *row)
{
    enum { PIECE = 1 << 18 };
    AUTO(free_ptr) uint8_t *piece = xcalloc(1, PIECE);
    AUTO(hasher_free) struct hasher *h = hasher_new();
    for (uint32_t i = 0; i < row->extent_count; i++) {
        uint64_t at = row->extents[i].at, end = at + row->extents[i].len;
        if (end < at || end > p->size_bytes)
            return false;
        for (; at < end; at += PIECE) {
            size_t len = (size_t)MIN_OF(end - at, (uint64_t)PIECE);
            if (board_flash_read(b, AREA_USER, p->start_bytes + at, piece, len) < 0)
                return false;
            hasher_update(h, piece, len);
        }
    }
    struct sha256 digest = hasher_finish(h);
    return sha256_equal(&digest, &row->digest);
}

bool slot_whole(struct board *b, const struct flash_table *t, char slot)
{
    enum { VBMETA_BYTES = 16384 };
    AUTO(free_ptr) uint8_t *raw = xcalloc(1, VBMETA_BYTES);
    AUTO(free_ptr) struct vbmeta *v = xcalloc(1, sizeof(*v));
    if (partition_read(b, table_find(t, "vbmeta", slot), raw, VBMETA_BYTES) < 0 ||
        !vbmeta_decode(span_of(raw, VBMETA_BYTES), v))
        return false;
    for (size_t i = 0; i < v->row_count; i++) {
        const struct partition *p = table_find(t, v->rows[i].partition, slot);
        if (!p || !row_whole(b, p, &v->rows[i])) {
            board_trace(b, "slot %c: %s is not whole", slot, v->rows[i].partition);
            return false;
        }
    }
    return true;
}
