/* plausible.h: does an image of a partition hold what it should? Judged from a stream: a scan is
 * fed the image in order (holes by their length) and keeps its head and a few counts, so nothing is
 * loaded whole. Rules: README.md, "Plausibility". */
#ifndef FLASHRACK_USB_FORMAT_PLAUSIBLE_H
#define FLASHRACK_USB_FORMAT_PLAUSIBLE_H

#include "usb/base/err.h"
#include "usb/base/span.h"
#include "usb/format/roles.h"
#include "usb/format/serial.h"

enum plausible_verdict { PLAUSIBLE_NO, PLAUSIBLE_YES, PLAUSIBLE_UNKNOWN };
/* Why: for programs; the reason is for people. */
enum plausible_why {
    WHY_FINE,
    WHY_NOT_CHECKED, /* no rule for this partition */
    WHY_UNCERTAIN,   /* not what was expected, but the format is not known well enough */
    WHY_CUT_SHORT,
    WHY_WRONG_SIZE,
    WHY_EMPTY,       /* all 00 or all FF: taken after the loss */
    WHY_DAMAGED,     /* e.g. no file system where one should be */
    WHY_PLACEHOLDER, /* proinfo with the serial of a phone without identity */
    WHY_BAD_SERIAL,
};

struct plausible {
    enum plausible_verdict verdict;
    enum plausible_why why;
    char reason[240];
    char serial[SERIAL_BYTES]; /* proinfo only */
};
const char *plausible_name(enum plausible_verdict v); /* "yes", "no", "unknown" */

#define PLAUSIBLE_HEAD_BYTES  8192 /* up to the group descriptors of an ext4 of 4 KiB blocks */
#define PLAUSIBLE_INODE_BYTES 128

struct plausible_scan {
    const struct role *role;
    char name[40];
    uint64_t size_bytes, expected_bytes;
    uint64_t fed_bytes, nonzero_bytes, not_ff_bytes;
    uint8_t head[PLAUSIBLE_HEAD_BYTES];
    uint64_t inode_at; /* of an ext4's root folder, in the image; known with the head */
    uint8_t inode[PLAUSIBLE_INODE_BYTES];
    uint8_t carry[16]; /* end of what was fed, for words that lie across two parts */
    size_t carry_len;
    bool has_imei_path, has_wifi_path;
};

/* `size_bytes` is the length of the image; `expected_bytes` the size of the partition on the phone
 * or in the scatter, 0 when not known. */
void plausible_begin(struct plausible_scan *s, const char *name, uint64_t size_bytes,
                     uint64_t expected_bytes);
void plausible_feed(struct plausible_scan *s, struct span data);
void plausible_hole(struct plausible_scan *s, uint64_t len); /* zeros that were not read */
void plausible_end(const struct plausible_scan *s, struct plausible *out);
/* A whole image in memory. */
void plausible_of(const char *name, struct span image, uint64_t expected_bytes,
                  struct plausible *out);

/* ---- the set -------------------------------------------------------------------------------- */

enum set_verdict {
    SET_USABLE,
    SET_WITHOUT_ELABEL,
    SET_INCOMPLETE,  /* a needed partition is missing, cut or damaged */
    SET_AFTER_LOSS,  /* a needed partition is empty: an older dump is needed */
    SET_PLACEHOLDER, /* proinfo holds no real serial */
    SET_OTHER_PHONE, /* its serial is not the one on the label */
};
struct set_judgement {
    enum set_verdict verdict;
    char serial[SERIAL_BYTES];
    char reason[400];
};
struct set_item {
    const char *name;
    struct plausible judged;
};
const char *set_verdict_name(enum set_verdict v); /* "usable", "usable_without_elabel", ... */
/* `label` is the serial on the phone's label, NULL when nobody has said it. */
void plausible_set(const struct set_item *items, size_t count, const char *label,
                   struct set_judgement *out);

#endif
