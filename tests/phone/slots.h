/* slots.h: the flash as LK and Android see it: partitions by name, A/B slots, and whether a slot is
 * whole. tests/phone/README.md, "LK". */
#ifndef FLASHRACK_TESTS_PHONE_SLOTS_H
#define FLASHRACK_TESTS_PHONE_SLOTS_H

#include "tests/phone/board.h"
#include "tests/phone/firmware.h"
#include "tests/phone/layout.h"
#include "usb/format/para.h"

struct flash_table {
    size_t count;
    struct partition parts[128];
};

/* Reads the partition table as LK does: the primary one, the copy at the end when it is damaged;
 * the list ends at the first entry without a start. BOARD_STORAGE when neither is good. */
int table_read(struct board *b, struct flash_table *out);
/* NULL when there is none. `slot` 0: exactly `name`; else `name`_a or `name`_b. */
const struct partition *table_find(const struct flash_table *t, const char *name, char slot);
/* The first `len` bytes of a partition (at most all of it); zeros and BOARD_STORAGE when there is
 * none. */
int partition_read(struct board *b, const struct partition *p, void *dst, size_t len);

/* Slot metadata of para; what LK assumes (slot a, both fresh) when para holds none. */
void slots_read(struct board *b, const struct flash_table *t, struct para *out);
int slots_write(struct board *b, const struct flash_table *t, const struct para *para);
/* What lk_<slot> holds. */
enum lk_kind slot_lk(struct board *b, const struct flash_table *t, char slot);
/* True when vbmeta_<slot> is whole and every byte that it covers is as it says. */
bool slot_whole(struct board *b, const struct flash_table *t, char slot);

#endif
