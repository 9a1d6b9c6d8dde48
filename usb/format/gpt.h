/* gpt.h: GUID partition tables as MediaTek phones and sgdisk write them, both ways. Pure bytes;
 * sectors of 512 or 4096 bytes. Layout: README.md, "GPT". */
#ifndef FLASHRACK_USB_FORMAT_GPT_H
#define FLASHRACK_USB_FORMAT_GPT_H

#include "usb/base/buf.h"
#include "usb/base/err.h"
#include "usb/base/span.h"

#define GPT_ENTRIES_MAX    128
#define GPT_ENTRY_BYTES    128
#define GPT_NAME_BYTES     112 /* 36 UTF-16 units as UTF-8, and a zero */
#define GPT_TABLE_BYTES    ((size_t)GPT_ENTRIES_MAX * GPT_ENTRY_BYTES)
#define GPT_HEAD_BYTES_MAX (2 * (size_t)4096 + GPT_TABLE_BYTES) /* what gpt_probe() wants to see */

/* A run of bytes of one storage area. */
struct extent {
    uint64_t start_bytes, size_bytes;
};

struct gpt_entry {
    uint32_t
        number; /* 1-based place in the table; scatter index = number + 1 (README.md, "Scatter") */
    uint8_t type_guid[16], unique_guid[16]; /* as on disk, mixed endian */
    uint64_t first_lba, last_lba;           /* both inclusive */
    uint64_t attributes;
    char name[GPT_NAME_BYTES]; /* may hold anything a hostile table holds; check before using as a
                                  path */
};

struct gpt {
    uint32_t sector_bytes;
    bool from_backup;
    uint64_t my_lba, alternate_lba, first_usable_lba, last_usable_lba, entries_lba;
    uint8_t disk_guid[16];
    uint32_t count; /* used entries, in table order */
    struct gpt_entry entries[GPT_ENTRIES_MAX];
    /* Entries in strange places. Outside the usable area: kept. Reversed or behind the end of the
     * area: left out. `odd_number` and `odd_name` are those of the first, 0 and "" when all is well. */
    uint32_t outside_count, left_out_count, odd_number;
    char odd_name[GPT_NAME_BYTES];
};

/* Sectors that the entry array takes (32 at 512 bytes, 4 at 4096). */
uint32_t gpt_table_sectors(uint32_t sector_bytes);
/* First sectors of an area: PMBR (not looked at), header, entries (1 to 128). ERR_FORMAT when
 * signature, checksums or own place are wrong, or entries overlap. */
int gpt_decode_primary(struct span head, uint32_t sector_bytes, struct gpt *out, struct err *err);
/* `tail` ends with the last sector of the area, the backup header; the entries lie before it. */
int gpt_decode_backup(struct span tail, uint32_t sector_bytes, struct gpt *out, struct err *err);
/* Primary table with sector size 512, then 4096; sector_bytes is in the result. The error is the
 * one of the size whose signature is there. */
int gpt_probe(struct span head, struct gpt *out, struct err *err);
int gpt_probe_backup(struct span tail, struct gpt *out, struct err *err);
/* ERR_FORMAT when there are entries in strange places: good enough to read by, not to write by. */
int gpt_check_places(const struct gpt *table, struct err *err);
/* Bytes needed in front of the end of an area for gpt_decode_backup(). */
size_t gpt_backup_bytes(uint32_t sector_bytes);

/* The same bytes as sgdisk 1.0.9 writes: PMBR, header, entries; and entries, header. `table` says
 * disk_guid, sector size and entries; `total_lbas` is the size of the area. */
void gpt_encode_primary(const struct gpt *table, uint64_t total_lbas, struct buf *out);
void gpt_encode_backup(const struct gpt *table, uint64_t total_lbas, struct buf *out);

const struct gpt_entry *gpt_find(const struct gpt *table, const char *name);
struct extent gpt_extent(const struct gpt *table, const struct gpt_entry *e);
/* Extent of a partition by name; ERR_NOT_FOUND. */
int gpt_lookup(const struct gpt *table, const char *name, struct extent *out, struct err *err);
/* True when both tables describe the same partitions (names, places, sizes) and sector size. */
bool gpt_same_layout(const struct gpt *a, const struct gpt *b);
/* The type all MediaTek partitions have (EBD0A0A2-B9E5-4433-87C0-68B6B72699C7), as on disk. */
extern const uint8_t GPT_TYPE_DATA[16];

#endif
