/* Mask ROM download mode: full speed, no strings, no memory. README.md, "Boot ROM and preloader". */
#include "tests/phone/rom.h"

#include <string.h>

#include "usb/base/mem.h"

/* The four start bytes; true when the command loop begins, false when the window closes or the phone is
 * gone. A finished start has no time limit any more. */
static bool brom_listen(struct board *b, const struct rom_window *window)
{
    unsigned index = 0;
    while (index < BROM_START_BYTES) {
        uint8_t got, answer;
        if (board_out_stream(b, &got, 1, rom_window_left(window)) < 0)
            return false;
        if (brom_start_feed(&index, got, &answer) && board_in(b, &answer, 1, IN_FIELD, -1) < 0)
            return false;
    }
    return true;
}

enum board_next brom_run(struct board *b)
{
    struct acm acm;
    acm_init(&acm, ACM_BROM);
    *board_ram(b) = (struct board_ram){0};
    if (board_usb_attach(b, &acm.gadget) < 0)
        return NEXT_OFF;
    struct rom_window window = rom_window_open(brom_window_ms(b));
    if (brom_listen(b, &window))
        return rom_command_loop(b, BROM_STAGE_BROM, &acm);
    board_usb_detach(b);
    return board_cable(b) ? NEXT_RESET : NEXT_OFF;
}
