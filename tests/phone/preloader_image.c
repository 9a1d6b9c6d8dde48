#include "tests/phone/preloader_image.h"

#include <string.h>

#include "tests/phone/synthetic_da.h"

enum {
    LAYOUT_AT = 0x200,
    GFH_LENGTH_AT = 0x20,
    GFH_SIGNATURE_AT = 0x2C,
    FILE_BYTES_MIN = 0x400,
    FILE_BYTES_MAX = 0x400000,
};

/* Sector 0: "EMMC_BOOT", u32 1, u32 sector size. Sector 1: "BRLYT", u32 1, u32 where the program
 * starts, u32 where it ends, then one region: 0x42424242, u32 1, u32 start, u32 end. */
void preloader_boot_header(uint32_t image_bytes, uint8_t out[BOOT_HEADER_BYTES])
{
    uint8_t *layout = out + LAYOUT_AT;
    memset(out, 0, BOOT_HEADER_BYTES);
    memcpy(out, "EMMC_BOOT", 9);
    put_le32(out + 12, 1);
    put_le32(out + 16, LAYOUT_AT);
    memcpy(layout, "BRLYT", 5);
    put_le32(layout + 8, 1);
    put_le32(layout + 12, BOOT_HEADER_BYTES);
    put_le32(layout + 16, BOOT_HEADER_BYTES + image_bytes);
    put_le32(layout + 20, 0x42424242);
    put_le32(layout + 24, 1);
    put_le32(layout + 28, BOOT_HEADER_BYTES);
    put_le32(layout + 32, BOOT_HEADER_BYTES + image_bytes);
}

static bool gfh_at(const uint8_t *p)
{
    static const uint8_t file_info[8] = {'M', 'M', 'M', 1, 0x38, 0, 0, 0};
    return memcmp(p, file_info, sizeof(file_info)) == 0 && memcmp(p + 8, "FILE_INFO", 9) == 0;
}

bool preloader_file_whole(struct span file)
{
    if (file.len < FILE_BYTES_MIN || !gfh_at(file.data))
        return false;
    uint32_t length = get_le32(file.data + GFH_LENGTH_AT);
    if (length > file.len || length < FILE_BYTES_MIN)
        return false;
    return synthetic_signed(span_sub(file, 0, length), get_le32(file.data + GFH_SIGNATURE_AT));
}

uint32_t preloader_length(struct span head)
{
    if (head.len < BOOT_HEADER_BYTES + 0x40 || memcmp(head.data, "EMMC_BOOT", 9) != 0 ||
        !gfh_at(head.data + BOOT_HEADER_BYTES))
        return 0;
    uint32_t length = get_le32(head.data + BOOT_HEADER_BYTES + GFH_LENGTH_AT);
    return length <= FILE_BYTES_MAX ? length : 0;
}

bool preloader_bootable(struct span boot_area)
{
    uint32_t length = preloader_length(boot_area);
    uint8_t header[BOOT_HEADER_BYTES];
    if (length == 0 || boot_area.len < BOOT_HEADER_BYTES + length)
        return false;
    preloader_boot_header(length, header);
    return memcmp(header, boot_area.data, sizeof(header)) == 0 &&
           preloader_file_whole(span_sub(boot_area, BOOT_HEADER_BYTES, length));
}
