/* rom_memory.h: the few registers that hosts touch before a download agent runs: chip id, watchdog,
 * download flag, fuses. README.md, "Memory windows". */
#ifndef FLASHRACK_TESTS_PHONE_ROM_MEMORY_H
#define FLASHRACK_TESTS_PHONE_ROM_MEMORY_H

#include "tests/phone/board.h"
#include "usb/codec/brom.h"

/* Versions of this chip [constructed: must not be lower than the DA file entry says]. */
#define ROM_HW_SUB_CODE  0x8a00
#define ROM_HW_VERSION   0xca00
#define ROM_SW_VERSION   0x0000
#define ROM_BROM_VERSION 0x05 /* constructed */

struct rom_memory {
    uint32_t watchdog_mode, download_flag, lock, reset_control;
    bool reset; /* a software reset was written */
};

struct rom_access {
    uint32_t address, count;
    uint32_t width; /* bytes of a word: 2 or 4 */
    bool write;
};
/* The argument check in the order of the genuine preloader; BROM_OK when the access may begin.
 * `config` is the target configuration: a boot ROM whose memory bits are clear has no windows. */
enum brom_status rom_access_check(const struct rom_access *a, enum brom_stage stage,
                                  uint32_t config);

uint32_t rom_memory_read(const struct rom_memory *m, uint32_t address); /* the aligned word there */
void rom_memory_write(struct rom_memory *m, uint32_t address, uint32_t value, uint32_t width);
/* The download flag after a software reset, when it leads to the boot ROM; 0: it does not. The flag
 * survives only when RST_CON says so. */
uint32_t rom_memory_kept_flag(const struct rom_memory *m);
/* How long the boot ROM waits for a tool with that flag; negative: for ever. */
int rom_flag_window_ms(uint32_t download_flag);

#endif
