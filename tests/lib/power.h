/* power.h: what a power cut and a full disk do to files, below every SQLite connection of a test: a VFS in front of the
 * system's own. Writes go through at once, and what each 512-byte sector held at the last sync is remembered. Where the
 * power is cut, each sector that was not synced is lost or kept by chance, and so is a change of the file's size. */
#ifndef FLASHRACK_TESTS_POWER_H
#define FLASHRACK_TESTS_POWER_H

#include <stdbool.h>
#include <stdint.h>

/* Becomes the default VFS; before the first connection is opened. */
void power_install(void);
/* Power is on, space is there, all files are synced; operations count from 0. No connection is open. */
void power_on(uint64_t seed);
/* Cuts at the n-th write, sync or truncation from power_on() on: that one and all later ones fail. 0: never. */
void power_cut_at(long operation);
/* From the n-th operation on `count` writes find the disk full. */
void power_fill_at(long operation, long count);
long power_operations(void);
bool power_is_cut(void);
/* Makes the files what the disk holds after the cut. No connection is open. */
void power_lose(void);
/* A number below `limit` from the seed. */
uint64_t power_random(uint64_t limit);

#endif
