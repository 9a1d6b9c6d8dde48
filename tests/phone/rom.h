/* rom.h: the command loop that boot ROM and preloader have in common, big-endian, each field a
 * transfer of its own. README.md, "Boot ROM and preloader". */
#ifndef FLASHRACK_TESTS_PHONE_ROM_H
#define FLASHRACK_TESTS_PHONE_ROM_H

#include "tests/phone/acm.h"
#include "tests/phone/board.h"
#include "usb/codec/brom.h"

/* From the end of the start sequence until the phone leaves the download mode, the download agent
 * included. No time limit, as in the genuine ones. `acm` is attached; on return it is not. */
enum board_next rom_command_loop(struct board *b, enum brom_stage stage, struct acm *acm);

/* A window of the firmware that is open for `ms` milliseconds from now, or for ever when negative.
 */
struct rom_window {
    int64_t until_ms; /* clock_now_ms(); negative: for ever */
};
struct rom_window rom_window_open(int ms);
/* What is left as a time-out for board_*(), which stretches it by the time scale; 0 when closed. */
int rom_window_left(const struct rom_window *w);

#endif
