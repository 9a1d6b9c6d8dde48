/* da_file.h: the download agent container (MTK_DOWNLOAD_AGENT, "V5"), parsed, and made for tests.
 * Layout: README.md, "DA container". */
#ifndef FLASHRACK_USB_FORMAT_DA_FILE_H
#define FLASHRACK_USB_FORMAT_DA_FILE_H

#include "usb/base/buf.h"
#include "usb/base/err.h"
#include "usb/base/span.h"

#define DA_ENTRIES_MAX    64
#define DA_REGIONS_MAX    10
#define DA_HEADER_BYTES   0x6c
#define DA_ENTRY_BYTES    0xdc
#define DA_TABLE_BYTES    (DA_HEADER_BYTES + DA_ENTRIES_MAX * DA_ENTRY_BYTES) /* 0x376c */
#define DA_CODE_MT6771    0x6771
#define DA_HW_CODE_MT6771 0x0788  /* what a boot ROM answers; DA files use the other number */
#define DA1_BYTES_MAX     0x40000 /* the preloader takes no more with secure download on */
#define DA2_BYTES_MAX     0x800000

struct da_region {
    uint32_t offset; /* in the file */
    uint32_t length; /* with signature */
    uint32_t load_address;
    uint32_t signature_offset; /* length without signature; 0 in region 0 */
    uint32_t signature_length;
};

struct da_entry {
    uint16_t hw_code, hw_sub_code, hw_version, sw_version, page_size, region_count;
    struct da_region regions[DA_REGIONS_MAX]; /* 0: description, 1: DA1, 2: DA2 */
};

struct da_file {
    char build_id[65];
    uint32_t version;
    bool old_entries; /* 0xD8-byte entries without sw_version */
    uint32_t count;
    struct da_entry entries[DA_ENTRIES_MAX];
};

/* `head` is the start of the file, DA_TABLE_BYTES of it if there is that much; `file_bytes` the
 * size of the whole. ERR_FORMAT for anything that does not fit, ERR_UNSUPPORTED for the XML
 * generation (v6). */
int da_file_decode(struct span head, uint64_t file_bytes, struct da_file *out, struct err *err);

/* DA code for a boot ROM's hw code; 0 when the chip is not known. */
uint16_t da_code_of(uint16_t hw_code);
/* First entry with this DA code that is not newer than the phone's versions (0 = phone does not
 * say) and has the three regions. ERR_NOT_FOUND, or ERR_FORMAT when its regions cannot be used. */
int da_file_pick(const struct da_file *file, uint16_t da_code, uint16_t hw_version,
                 uint16_t sw_version, const struct da_entry **out, struct err *err);

/* What is sent: DA1 with its signature, DA2 without. */
struct da_stage {
    uint32_t offset, length, load_address, signature_length;
};
struct da_stage da_stage1(const struct da_entry *e);
struct da_stage da_stage2(const struct da_entry *e);

/* A synthetic single-entry MT6771 file: `da1` and `da2` are code; each gets a 0x100-byte signature
 * made of `signature_fill`. Values [REC] in README.md, "DA container". */
void da_file_encode(struct span da1, struct span da2, uint8_t signature_fill, struct buf *out);

#endif
