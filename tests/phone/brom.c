/* Mask ROM download mode: full speed, no strings, no memory. README.md, "Boot ROM and preloader".
 */
#include "tests/phone/preloader_image.h"
#include "tests/phone/rom.h"
#include "tests/phone/rom_memory.h"
#include "usb/base/mem.h"

/* The four start bytes; true when the command loop begins, false when the window closes or the
 * phone is gone. A finished start has no time limit any more. */
static bool brom_listen(struct board *b, const struct rom_window *window)
{
    unsigned index = 0;
    while (index < BROM_START_BYTES) {
        uint8_t got, answer;
        int rc = board_out_stream(b, &got, 1, rom_window_left(window));
        if (rc == BOARD_OK && board_out_manners(b) & OUT_MORE)
            board_violation(b, "rom.merged_fields");
        if (rc == BOARD_OK && brom_start_feed(&index, got, &answer))
            rc = board_in(b, &answer, 1, IN_FIELD, rom_window_left(window));
        if (rc == BOARD_GONE) /* after a bus reset the sequence begins again */
            index = 0;
        if (rc == BOARD_TIMEOUT ||
            (rc == BOARD_GONE && board_usb_configured(b, rom_window_left(window)) != BOARD_OK))
            return false;
    }
    return true;
}

/* Does BOOT1 hold a program to start when the window closes? */
static bool preloader_there(struct board *b)
{
    uint8_t head[BOOT_HEADER_BYTES + 0x40];
    if (board_flash_read(b, AREA_BOOT1, 0, head, sizeof(head)) < 0)
        return false;
    size_t len = BOOT_HEADER_BYTES + preloader_length(span_of(head, sizeof(head)));
    if (len == BOOT_HEADER_BYTES || len > board_area_size(b, AREA_BOOT1))
        return false;
    AUTO(free_ptr) uint8_t *area = xcalloc(1, len);
    return board_flash_read(b, AREA_BOOT1, 0, area, len) == BOARD_OK &&
           preloader_bootable(span_of(area, len));
}

/* For ever when there is nothing else to start; as long as the flag says that a tool has set; five
 * seconds when a key asked for download mode. */
static struct rom_window window_open(struct board *b, uint32_t download_flag)
{
    return rom_window_open(!preloader_there(b) ? -1
                           : download_flag     ? rom_flag_window_ms(download_flag)
                                               : board_settings(b)->brom_window_ms);
}

enum board_next brom_run(struct board *b)
{
    struct acm acm;
    acm_init(&acm, ACM_BROM);
    uint32_t download_flag = board_ram(b)->download_flag;
    *board_ram(b) = (struct board_ram){0};
    if (board_usb_attach(b, &acm.gadget) < 0)
        return NEXT_OFF;
    struct rom_window window = window_open(b, download_flag);
    if (board_usb_configured(b, rom_window_left(&window)) == BOARD_OK && brom_listen(b, &window))
        return rom_command_loop(b, BROM_STAGE_BROM, &acm);
    board_usb_detach(b);
    return board_cable(b) ? NEXT_RESET : NEXT_OFF;
}
