/* lk.h: the 0x200-byte MediaTek image header in front of lk, tee, scp, sspm, spmfw, md1img, logo
 * ... Layout: README.md, "Image header". */
#ifndef FLASHRACK_USB_FORMAT_LK_H
#define FLASHRACK_USB_FORMAT_LK_H

#include "usb/base/buf.h"
#include "usb/base/err.h"
#include "usb/base/span.h"

#define MTK_IMAGE_MAGIC        0x58881688u
#define MTK_IMAGE_MAGIC2       0x58891689u
#define MTK_IMAGE_HEADER_BYTES 0x200
#define MTK_IMAGE_ALIGN        16
#define LK_FILE_BYTES_MAX      0x100000 /* size of lk_a and lk_b */

struct mtk_image {
    char name[33];
    uint32_t data_bytes; /* payload behind the header, without padding */
    uint32_t load_address, mode;
};

/* The first 0x200 bytes of an image. */
int mtk_image_decode(struct span in, struct mtk_image *out, struct err *err);
/* Offset at which a following image of the same file would begin: header, payload, padding. */
uint64_t mtk_image_span_bytes(const struct mtk_image *image);
/* Header, `payload`, zeros up to a multiple of 16. data_bytes comes from the payload. */
void mtk_image_encode(const struct mtk_image *image, struct span payload, struct buf *out);
/* Is a file of `file_bytes` whose head is `head` (0x200 bytes at least) a bootloader that fits
 * lk_a? */
int lk_check(struct span head, uint64_t file_bytes, struct mtk_image *out, struct err *err);

#endif
