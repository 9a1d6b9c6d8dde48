/* scatter.h: MediaTek scatter files, config V1.1.x and V2.x. They look like YAML and are not; a
 * copy with other images is made by changing the values asked for and keeping every other byte.
 * Grammar: README.md, "Scatter". */
#ifndef FLASHRACK_USB_FORMAT_SCATTER_H
#define FLASHRACK_USB_FORMAT_SCATTER_H

#include "usb/base/buf.h"
#include "usb/base/err.h"
#include "usb/base/span.h"
#include "usb/format/gpt.h"

#define SCATTER_BYTES_MAX    (4u << 20)
#define SCATTER_ENTRIES_MAX  128
#define SCATTER_SECTIONS_MAX 4
#define SCATTER_NAME_BYTES   64
#define SCATTER_FILE_BYTES   256
#define SCATTER_WARNINGS_MAX 64

/* Where a value stands in the text; line 0: the key is not there. */
struct scatter_place {
    uint32_t line; /* from 1 */
    size_t offset, len;
};

/* What SP Flash Tool may do to an entry (README.md, "operation_type"). */
enum scatter_operation {
    SCATTER_OP_OTHER, /* missing or not known: never written */
    SCATTER_OP_BOOTLOADERS,
    SCATTER_OP_UPDATE,
    SCATTER_OP_PROTECTED,
    SCATTER_OP_BINREGION,
    SCATTER_OP_INVISIBLE,
    SCATTER_OP_RESERVED,
    SCATTER_OP_NEEDRESIZE,
};

struct scatter_entry {
    int index;                     /* n of SYSn, -1 when written otherwise: a place, not a name */
    char name[SCATTER_NAME_BYTES]; /* the partition */
    char file_name[SCATTER_FILE_BYTES]; /* "" for NONE */
    bool is_download, boundary_check, is_reserved, is_upgradable;
    char type[32], region[32], storage[32], operation_type[32];
    enum scatter_operation operation;
    uint64_t linear_start, physical_start, size_bytes;
    /* The one of both that counts: linear where no entry of the region has a physical place.
     * Reserved: 0xFFFFnnnn, see scatter_start(). */
    uint64_t start_bytes;
    uint32_t line; /* of "- partition_index:" */
    struct scatter_place file_place, download_place;
};

struct scatter_section {
    char storage[32]; /* "EMMC", "UFS" ... */
    char boot_channel[32];
    uint64_t block_bytes; /* also the unit of reserved addresses */
    uint32_t line;
    uint32_t count;
    struct scatter_entry *entries;
};

struct scatter {
    char config_version[32], platform[32], project[64];
    uint32_t section_count;
    struct scatter_section sections[SCATTER_SECTIONS_MAX];
    uint32_t warning_count; /* may be more than are kept */
    char *warnings[SCATTER_WARNINGS_MAX];
};

/* ERR_FORMAT names line and field. *out is the caller's. */
int scatter_parse(struct span text, struct scatter **out, struct err *err);
void scatter_free(struct scatter **s);

/* Section of a storage ("EMMC"); NULL: EMMC, or the only section there is. NULL when there is none.
 */
const struct scatter_section *scatter_section(const struct scatter *s, const char *storage);
/* By its name as it stands there, else by the only one that differs in case (role_same_name). */
const struct scatter_entry *scatter_find(const struct scatter_section *section, const char *name);
/* First pair of entries whose linear and physical ranges both overlap, in file order; false when
 * there is none. Real files have such pairs: they are read with a warning, and nothing is written
 * by them. */
bool scatter_overlap(const struct scatter_section *section, const struct scatter_entry **first_out,
                     const struct scatter_entry **second_out);
/* Byte offset in its region. Reserved entries that are written 0xFFFFnnnn count from the end:
 * `user_bytes` is the size of the user area (0: not known), the result UINT64_MAX when it cannot be
 * told. */
uint64_t scatter_start(const struct scatter_section *section, const struct scatter_entry *e,
                       uint64_t user_bytes);

struct scatter_pick {
    const char *name, *image; /* image NULL: NAME.img */
};
/* Appends a copy of `text` in which exactly the picked partitions of that section are downloaded,
 * each with its image; only values of file_name and is_download of that section differ. The copy
 * was parsed again and compared before it is returned. ERR_NOT_FOUND when a name is not there. */
int scatter_derive(struct span text, const char *storage, const struct scatter_pick *picks,
                   size_t pick_count, struct buf *out, struct err *err);

/* The user-area partitions of a section as a table of extents, for dumps whose GPTs are both
 * damaged: all entries that lie in the GPT (not preloader, pgpt, sgpt) with known place and size,
 * up to `user_bytes`. */
int scatter_to_gpt(const struct scatter_section *section, uint64_t user_bytes, struct gpt *out,
                   struct err *err);

/* Do table and section describe the same phone? Names, places and sizes of everything before
 * userdata; ERR_MISMATCH names the first difference. */
int scatter_matches_gpt(const struct scatter_section *section, const struct gpt *table,
                        struct err *err);

#endif
