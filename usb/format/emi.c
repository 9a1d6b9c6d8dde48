#include "usb/format/emi.h"

#include <ctype.h>

static const uint8_t gfh_magic[] = {'M', 'M', 'M', 1,   0x38, 0,   0,   0,  'F',
                                    'I', 'L', 'E', '_', 'I',  'N', 'F', 'O'};
static const char block_magic[] = "MTK_BLOADER_INFO_v";
enum {
    GFH_LOAD = 0x1c,
    GFH_LENGTH = 0x20,
    GFH_MAX = 0x24,
    GFH_CONTENT = 0x28,
    GFH_SIGNATURE = 0x2c,
    GFH_JUMP = 0x30,
    GFH_BYTES = 0x38,
    PADDING_BEHIND_BLOCK = 0x800, /* some builds end with so many zeros behind the length word */
};
enum { B_NAME = 0x1b, B_TAG = 0x58, B_COUNT = 0x6c };
enum { VERSION_36 = 36 };

static bool is_block(struct span s)
{
    size_t len = sizeof(block_magic) - 1;
    return s.len >= EMI_HEAD_BYTES && memcmp(s.data, block_magic, len) == 0;
}

int preloader_find(struct span file, size_t *gfh_offset_out, struct err *err)
{
    const uint8_t *at = file.len ? memmem(file.data, file.len, gfh_magic, sizeof(gfh_magic)) : NULL;
    if (!at)
        return err_set(err, ERR_FORMAT, "not a preloader: no FILE_INFO header in it");
    size_t offset = (size_t)(at - file.data);
    if (file.len - offset < GFH_BYTES)
        return err_set(err, ERR_FORMAT, "preloader is cut off inside its header");
    *gfh_offset_out = offset;
    return 0;
}

/* The block ends in front of a length word that ends `content`; empty when the word does not fit.
 */
static struct span block_before(struct span content)
{
    if (content.len < 4)
        return span_of(NULL, 0);
    uint32_t len = get_le32(content.data + content.len - 4);
    if (len < EMI_HEAD_BYTES || len > EMI_BLOCK_BYTES_MAX || len > content.len - 4)
        return span_of(NULL, 0);
    return span_sub(content, content.len - 4 - len, len);
}

int emi_cut(struct span file, struct span *block_out, struct err *err)
{
    if (file.len > PRELOADER_BYTES_MAX)
        return err_set(err, ERR_LIMIT, "preloader is larger than %d bytes", PRELOADER_BYTES_MAX);
    if (is_block(file)) {
        *block_out = file;
        return 0;
    }
    size_t gfh;
    int rc = preloader_find(file, &gfh, err);
    if (rc < 0)
        return rc;
    uint32_t length = get_le32(file.data + gfh + GFH_LENGTH);
    uint32_t signature = get_le32(file.data + gfh + GFH_SIGNATURE);
    if (length > file.len - gfh || signature > length || length - signature < GFH_BYTES)
        return err_set(err, ERR_FORMAT, "preloader is cut off: %zu of %u bytes (signature %u)",
                       file.len - gfh, length, signature);
    struct span content = span_sub(file, gfh, length - signature);
    if (get_le32(content.data + content.len - 4) == 0 && content.len > PADDING_BEHIND_BLOCK)
        content.len -= PADDING_BEHIND_BLOCK;
    struct span block = block_before(content);
    if (!is_block(block))
        return err_set(err, ERR_FORMAT, "preloader holds no DRAM settings (MTK_BLOADER_INFO)");
    *block_out = block;
    return 0;
}

int emi_decode(struct span block, struct emi_info *out, struct err *err)
{
    if (!is_block(block))
        return err_set(err, ERR_FORMAT, "not a block of DRAM settings (MTK_BLOADER_INFO)");
    const uint8_t *digits = block.data + sizeof(block_magic) - 1;
    if (!isdigit(digits[0]) || !isdigit(digits[1]))
        return err_set(err, ERR_FORMAT, "DRAM settings without a version");
    struct emi_info info = {.version = (digits[0] - '0') * 10 + digits[1] - '0',
                            .entry_count = get_le32(block.data + B_COUNT)};
    memcpy(info.preloader_name, block.data + B_NAME, B_TAG - B_NAME);
    for (char *p = info.preloader_name; *p; p++)
        if (!isprint((unsigned char)*p))
            *p = '?';
    /* Only the layout of version 36 is known; others are passed on as they are. */
    if (info.version == VERSION_36 &&
        (info.entry_count == 0 || info.entry_count > EMI_ENTRIES_MAX ||
         EMI_HEAD_BYTES + (size_t)info.entry_count * EMI_ENTRY_BYTES > block.len))
        return err_set(err, ERR_FORMAT, "DRAM settings name %u entries in %zu bytes",
                       info.entry_count, block.len);
    *out = info;
    return 0;
}

/* ---- synthetic preloader -------------------------------------------------------------------- */

enum { CONTENT_OFFSET = 0xf0, SIGNATURE_BYTES = 0x66c, EMMC_HEADER_BYTES = 0x800 };

static void put_le32_at(struct buf *out, size_t at, uint32_t v)
{
    if (at + 4 <= out->len)
        put_le32(out->data + at, v);
}

static void put_text(struct buf *out, const char *text, size_t width)
{
    size_t len = strnlen(text, width);
    buf_put(out, text, len);
    buf_put_zeros(out, width - len);
}

static void block_encode(const struct preloader_spec *spec, struct buf *out)
{
    put_text(out, "MTK_BLOADER_INFO_v36", B_NAME);
    put_text(out, spec->name, B_TAG - B_NAME);
    put_text(out, "V116", 4);
    buf_put_le32(out, 0x33448822);
    buf_put_le32(out, 0x00700090);
    put_text(out, "MTK_BIN", 8);
    buf_put_le32(out, spec->cid_count);
    for (uint32_t i = 0; i < spec->cid_count; i++) {
        buf_put_le32(out, 1);
        buf_put_le32(out, 0x0206); /* eMMC + LPDDR4X */
        buf_put_le32(out, 9);      /* bytes of the CID to compare */
        buf_put_le32(out, 0);
        buf_put(out, spec->cids[i], 16);
        buf_put_zeros(out, EMI_ENTRY_BYTES - 32); /* firmware id, register values: none here */
    }
}

void preloader_encode(const struct preloader_spec *spec, struct buf *out)
{
    if (spec->emmc_header) {
        put_text(out, "EMMC_BOOT", EMMC_HEADER_BYTES);
    }
    size_t gfh = out->len;
    buf_put(out, gfh_magic, sizeof(gfh_magic));
    buf_put_zeros(out, CONTENT_OFFSET - sizeof(gfh_magic));
    buf_put_span(out, spec->code);
    size_t block = out->len;
    block_encode(spec, out);
    buf_put_le32(out, (uint32_t)(out->len - block));
    buf_put_zeros(out, SIGNATURE_BYTES);
    uint32_t length = (uint32_t)(out->len - gfh);
    put_le32_at(out, gfh + GFH_LOAD, 0x00200f10);
    put_le32_at(out, gfh + GFH_LENGTH, length);
    put_le32_at(out, gfh + GFH_MAX, 0x00040000);
    put_le32_at(out, gfh + GFH_CONTENT, CONTENT_OFFSET);
    put_le32_at(out, gfh + GFH_SIGNATURE, SIGNATURE_BYTES);
    put_le32_at(out, gfh + GFH_JUMP, CONTENT_OFFSET);
}
