#include "usb/format/lk.h"

#include <ctype.h>
#include <string.h>

enum { I_MAGIC = 0, I_SIZE = 4, I_NAME = 8, I_LOAD = 0x28, I_MODE = 0x2c, I_MAGIC2 = 0x30 };

int mtk_image_decode(struct span in, struct mtk_image *out, struct err *err)
{
    if (in.len < MTK_IMAGE_HEADER_BYTES)
        return err_set(err, ERR_FORMAT, "image header is cut off at %zu bytes", in.len);
    if (get_le32(in.data + I_MAGIC) != MTK_IMAGE_MAGIC)
        return err_set(err, ERR_FORMAT, "no MediaTek image header (starts with %08x)",
                       get_le32(in.data + I_MAGIC));
    if (get_le32(in.data + I_MAGIC2) != MTK_IMAGE_MAGIC2)
        return err_set(err, ERR_FORMAT, "damaged MediaTek image header (second magic %08x)",
                       get_le32(in.data + I_MAGIC2));
    struct mtk_image image = {.data_bytes = get_le32(in.data + I_SIZE),
                              .load_address = get_le32(in.data + I_LOAD),
                              .mode = get_le32(in.data + I_MODE)};
    memcpy(image.name, in.data + I_NAME, 32);
    for (const char *p = image.name; *p; p++)
        if (!isprint((unsigned char)*p))
            return err_set(err, ERR_FORMAT, "image header holds no readable name");
    if (image.data_bytes == 0)
        return err_set(err, ERR_FORMAT, "image '%s' is empty", image.name);
    *out = image;
    return 0;
}

uint64_t mtk_image_span_bytes(const struct mtk_image *image)
{
    uint64_t end = (uint64_t)MTK_IMAGE_HEADER_BYTES + image->data_bytes;
    return (end + MTK_IMAGE_ALIGN - 1) / MTK_IMAGE_ALIGN * MTK_IMAGE_ALIGN;
}

void mtk_image_encode(const struct mtk_image *image, struct span payload, struct buf *out)
{
    uint8_t h[MTK_IMAGE_HEADER_BYTES];
    memset(h, 0xff, sizeof(h)); /* unused part, as MediaTek's tool leaves it [constructed] */
    memset(h, 0, I_MAGIC2);
    put_le32(h + I_MAGIC, MTK_IMAGE_MAGIC);
    put_le32(h + I_SIZE, (uint32_t)payload.len);
    memcpy(h + I_NAME, image->name, strnlen(image->name, 32));
    put_le32(h + I_LOAD, image->load_address);
    put_le32(h + I_MODE, image->mode);
    put_le32(h + I_MAGIC2, MTK_IMAGE_MAGIC2);
    buf_put(out, h, sizeof(h));
    buf_put_span(out, payload);
    size_t over = payload.len % MTK_IMAGE_ALIGN;
    buf_put_zeros(out, over ? MTK_IMAGE_ALIGN - over : 0);
}

int lk_check(struct span head, uint64_t file_bytes, struct mtk_image *out, struct err *err)
{
    struct mtk_image image;
    int rc = mtk_image_decode(head, &image, err);
    if (rc < 0)
        return rc;
    if (strcmp(image.name, "lk") != 0)
        return err_set(err, ERR_FORMAT, "this image is '%s', not the bootloader 'lk'", image.name);
    if (file_bytes > LK_FILE_BYTES_MAX)
        return err_set(err, ERR_FORMAT, "bootloader of %llu bytes does not fit its 1 MiB partition",
                       (unsigned long long)file_bytes);
    if (MTK_IMAGE_HEADER_BYTES + (uint64_t)image.data_bytes > file_bytes)
        return err_set(err, ERR_FORMAT, "bootloader is cut off: %llu of %llu bytes",
                       (unsigned long long)file_bytes,
                       (unsigned long long)MTK_IMAGE_HEADER_BYTES + image.data_bytes);
    *out = image;
    return 0;
}
