/* emi.h: the DRAM settings ("EMI", bootloader-info block) inside a preloader file, which a download
 * agent started from the boot ROM needs before it has memory. Layout: README.md, "Preloader". */
#ifndef FLASHRACK_USB_FORMAT_EMI_H
#define FLASHRACK_USB_FORMAT_EMI_H

#include "usb/base/buf.h"
#include "usb/base/err.h"
#include "usb/base/span.h"

#define EMI_ENTRY_BYTES      0xa0
#define EMI_HEAD_BYTES       0x70
#define EMI_ENTRIES_MAX      64
#define EMI_BLOCK_BYTES_MAX  0x8000
#define PRELOADER_BYTES_MAX  0x400000 /* a copy of a whole boot area */
#define PRELOADER_NAME_BYTES 0x3e

struct emi_info {
    int version; /* 36 on MT6771 */
    char preloader_name[PRELOADER_NAME_BYTES];
    uint32_t entry_count;
};

/* The part of `file` to send to the agent, borrowed from it. `file` is a plain preloader, a copy of
 * BOOT1 with its EMMC_BOOT header, or a block that was cut out before. */
int emi_cut(struct span file, struct span *block_out, struct err *err);
/* What a block says about itself. Checks that all DRAM entries are there. */
int emi_decode(struct span block, struct emi_info *out, struct err *err);
/* Is this a plain preloader file, or EMMC_BOOT with one? Where its GFH begins. */
int preloader_find(struct span file, size_t *gfh_offset_out, struct err *err);

/* A synthetic preloader for tests: GFH, `code`, a version-36 block that names `name` and holds one
 * DRAM entry for each 16-byte eMMC CID prefix in `cids`, length word, signature. */
struct preloader_spec {
    const char *name; /* "preloader_pda.bin" */
    struct span code;
    const uint8_t (*cids)[16];
    uint32_t cid_count;
    bool emmc_header; /* as BOOT1 holds it: EMMC_BOOT header in front, program at 0x800 */
};
void preloader_encode(const struct preloader_spec *spec, struct buf *out);

#endif
