/* preloader_image.h: what the boot ROM looks for in BOOT1, and what the download agent puts in
 * front of a preloader file that it writes by name. tests/phone/README.md, "Preloader image". */
#ifndef FLASHRACK_TESTS_PHONE_PRELOADER_IMAGE_H
#define FLASHRACK_TESTS_PHONE_PRELOADER_IMAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "usb/base/span.h"

#define BOOT_HEADER_BYTES 0x800 /* "EMMC_BOOT" at 0, layout at 0x200, the program behind it */

/* The storage header for a preloader file of `image_bytes` bytes. */
void preloader_boot_header(uint32_t image_bytes, uint8_t out[BOOT_HEADER_BYTES]);
/* True when `boot_area` (the whole area or its beginning) starts with the header and a whole
 * preloader: the boot ROM starts it. A torn write or a wrong file is false: the boot ROM stays in
 * download mode. */
bool preloader_bootable(struct span boot_area);
/* True when `file` is a whole preloader file without storage header ("MMM", our signature behind
 * it). */
bool preloader_file_whole(struct span file);
/* Length of the preloader file behind the header, 0 when there is none; so that a caller reads no
 * more of the area than it needs. `head` holds at least BOOT_HEADER_BYTES + 0x40 bytes. */
uint32_t preloader_length(struct span head);

#endif
