/* layout.h: the partition tables of the emulated phone: the same 57 names in the same order in
 * three sizes, and the GPT over them. tests/phone/README.md, "Partition tables". Sizes are
 * constructed. */
#ifndef FLASHRACK_TESTS_PHONE_LAYOUT_H
#define FLASHRACK_TESTS_PHONE_LAYOUT_H

#include "tests/phone/factory.h"

enum {
    SECTOR_BYTES = 512,
    LAYOUT_PARTITIONS = 57,
    LAYOUT_FIRST_SYS = 2, /* GPT entry n is SYS(n+1): preloader and pgpt are not in the table */
    GPT_HEAD_BYTES = 34 * SECTOR_BYTES, /* protective MBR, header, 128 entries */
    GPT_TAIL_BYTES = 33 * SECTOR_BYTES, /* entries, header */
};

struct partition {
    char name[36];
    uint64_t start_bytes, size_bytes;
};

struct layout {
    enum factory_profile profile;
    uint64_t user_bytes, boot_bytes, rpmb_bytes;
    uint64_t preloader_bytes; /* what the scatter grants the preloader inside BOOT1 */
    uint64_t otp_bytes, flashinfo_bytes;
    struct partition parts[LAYOUT_PARTITIONS];
};

/* "NAME,NAME": what the partitions at SYS8 and SYS9 are called, which nobody knows of firmware 8.1; md_udc and metadata
 * are those of 9 and 10. For the whole process, before its first layout_of(). ERR_INPUT. */
int layout_names_set(const char *sys8_sys9, struct err *err);
/* Borrowed, never NULL; made once. */
const struct layout *layout_of(enum factory_profile profile);
/* NULL when there is none. */
const struct partition *layout_find(const struct layout *l, const char *name);

/* Protective MBR, primary header and entries: the first GPT_HEAD_BYTES of USER. */
void layout_gpt_head(const struct layout *l, uint8_t out[GPT_HEAD_BYTES]);
/* Backup entries and header: the last GPT_TAIL_BYTES of USER. */
void layout_gpt_tail(const struct layout *l, uint8_t out[GPT_TAIL_BYTES]);

#endif
