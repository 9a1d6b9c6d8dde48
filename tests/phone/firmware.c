#include "tests/phone/firmware.h"

#include <stdio.h>

#include "tests/phone/filler.h"
#include "tests/phone/preloader_image.h"
#include "tests/phone/synthetic_da.h"
#include "tests/phone/vbmeta.h"
#include "usb/base/io.h"
#include "usb/base/mem.h"
#include "usb/format/lk.h"

enum image_kind {
    IMAGE_MTK, /* MediaTek image header and filler */
    IMAGE_LK,
    IMAGE_MODEM,  /* IMAGE_MTK that begins with the baseband's version */
    IMAGE_BOOT,   /* "ANDROID!" */
    IMAGE_PLAIN,  /* filler behind the partition's name */
    IMAGE_SYSTEM, /* Android sparse */
    IMAGE_INFO,   /* systeminfo */
    IMAGE_VBMETA, /* over all that stand before it in the table */
};

/* In the order in which they are made: vbmeta last. */
static const struct image_row {
    const char *partition;
    enum image_kind kind;
    bool slotted, verified; /* verified: vbmeta covers it */
} image_rows[] = {
    {"logo", IMAGE_MTK, true, false},       {"md1img", IMAGE_MODEM, true, true},
    {"spmfw", IMAGE_MTK, true, true},       {"scp", IMAGE_MTK, true, true},
    {"sspm", IMAGE_MTK, true, true},        {"cam_vpu1", IMAGE_MTK, true, true},
    {"cam_vpu2", IMAGE_MTK, true, true},    {"cam_vpu3", IMAGE_MTK, true, true},
    {"gz", IMAGE_MTK, true, true},          {"lk", IMAGE_LK, true, false},
    {"boot", IMAGE_BOOT, true, true},       {"odmdtbo", IMAGE_PLAIN, true, true},
    {"tee", IMAGE_MTK, true, true},         {"cda", IMAGE_PLAIN, true, true},
    {"systeminfo", IMAGE_INFO, true, true}, {"vendor", IMAGE_SYSTEM, true, true},
    {"system", IMAGE_SYSTEM, true, true},   {"userdata", IMAGE_SYSTEM, false, false},
    {"vbmeta", IMAGE_VBMETA, true, false},
};

static void code(struct buf *out, size_t len, const char *name, const char *version)
{
    uint8_t *at = buf_grow(out, len);
    if (at)
        filler(at, len, name, span_of(version, strlen(version)));
}

/* Bytes of an image: three quarters of its partition, with a cap that keeps racks small. */
static size_t image_bytes(const struct firmware *f, const char *partition, unsigned weight)
{
    static const size_t caps[] = {
        [PROFILE_MINI] = 256 << 10, [PROFILE_TINY] = 64 << 10, [PROFILE_FULL] = 2 << 20};
    char slotted[40];
    snprintf(slotted, sizeof(slotted), "%s_a", partition);
    uint64_t size = layout_find(layout_of(f->profile), slotted)->size_bytes;
    return (size_t)MIN_OF(size / 4 * 3, (uint64_t)caps[factory_profile_base(f->profile)] * weight) /
           512 * 512;
}

/* ---- raw images
 * -------------------------------------------------------------------------------------- */

#define BASEBAND "MOLY.LR12A.R2.MP.V94.3"

static void mtk_image(const struct firmware *f, const char *name, const char *text, unsigned weight,
                      struct buf *out)
{
    struct mtk_image header = {.load_address = 0xFFFFFFFF, .mode = 0xFFFFFFFF};
    AUTO(buf_deinit) struct buf payload;
    buf_init(&payload, 64 << 20);
    snprintf(header.name, sizeof(header.name), "%s", name);
    buf_put(&payload, text, strlen(text) + 1);
    size_t want = image_bytes(f, name, weight) - MTK_IMAGE_HEADER_BYTES;
    code(&payload, want - payload.len, name, f->version);
    mtk_image_encode(&header, buf_span(&payload), out);
}

/* LK's payload: mark and type, version, filler, SHA-256 of all that. */
#define LK_MARK "EMULATED-X5-LK"
enum { LK_TYPE_AT = 16, LK_VERSION_AT = 32, LK_CODE_AT = 96 };

static void lk_image(const struct firmware *f, const char *type, struct buf *out)
{
    struct mtk_image header = {.name = "lk", .load_address = 0x46000000, .mode = 0xFFFFFFFF};
    AUTO(buf_deinit) struct buf payload;
    buf_init(&payload, 1 << 20);
    uint8_t *head = buf_grow(&payload, LK_CODE_AT);
    memset(head, 0, LK_CODE_AT);
    memcpy(head, LK_MARK, sizeof(LK_MARK));
    snprintf((char *)head + LK_TYPE_AT, 16, "%s", type);
    snprintf((char *)head + LK_VERSION_AT, 64, "%s", f->version);
    code(&payload, image_bytes(f, "lk", 2) - 0x1000, type, f->version);
    struct sha256 seal = sha256_of(buf_span(&payload));
    buf_put(&payload, seal.bytes, sizeof(seal.bytes));
    mtk_image_encode(&header, buf_span(&payload), out);
}

size_t lk_image_bytes(struct span head)
{
    struct mtk_image header;
    if (mtk_image_decode(head, &header, NULL) < 0 || strcmp(header.name, "lk") != 0 ||
        header.data_bytes > LK_FILE_BYTES_MAX)
        return 0;
    return MTK_IMAGE_HEADER_BYTES + (size_t)header.data_bytes;
}

enum lk_kind lk_image_kind(struct span image)
{
    size_t len = lk_image_bytes(image);
    if (len < MTK_IMAGE_HEADER_BYTES + LK_CODE_AT + SHA256_BYTES || image.len < len)
        return LK_BROKEN;
    struct span payload = span_sub(image, MTK_IMAGE_HEADER_BYTES, len - MTK_IMAGE_HEADER_BYTES);
    struct span body = span_sub(payload, 0, payload.len - SHA256_BYTES);
    struct sha256 seal = sha256_of(body);
    if (memcmp(seal.bytes, payload.data + body.len, SHA256_BYTES) != 0 ||
        memcmp(body.data, LK_MARK, sizeof(LK_MARK)) != 0)
        return LK_BROKEN;
    return memcmp(body.data + LK_TYPE_AT, "service", 8) == 0 ? LK_SERVICE : LK_COMMERCIAL;
}

void baseband_version(struct span md1img_head, char out[64])
{
    struct mtk_image header;
    struct span text = span_sub(md1img_head, MTK_IMAGE_HEADER_BYTES, 63);
    out[0] = '\0';
    if (mtk_image_decode(md1img_head, &header, NULL) == 0 && text.len == 63)
        snprintf(out, 64, "%.*s", 63, (const char *)text.data);
}

static void info_image(const struct firmware *f, struct buf *out)
{
    uint8_t *at = buf_grow(out, 1024);
    memset(at, 0, 1024);
    snprintf((char *)at, 1024, "MLF %s\n", f->version);
}

void systeminfo_version(struct span head, char out[40])
{
    out[0] = '\0';
    if (head.len >= 44 && memcmp(head.data, "MLF ", 4) == 0)
        for (size_t i = 0; i < 39 && head.data[4 + i] > ' ' && head.data[4 + i] < 0x7F; i++) {
            out[i] = (char)head.data[4 + i];
            out[i + 1] = '\0';
        }
}

static void boot_image(const struct firmware *f, const char *name, const char *magic,
                       unsigned weight, struct buf *out)
{
    size_t want = image_bytes(f, name, weight);
    buf_put(out, magic, strlen(magic));
    code(out, want - strlen(magic), name, f->version);
}

/* ---- Android sparse images
 * --------------------------------------------------------------------------- */

enum { CHUNK_RAW = 0xCAC1, CHUNK_FILL = 0xCAC2, CHUNK_SKIP = 0xCAC3, CHUNK_HEADER = 12 };
enum { SPARSE_HEADER = 28 };
#define SPARSE_MAGIC 0xED26FF3Au

struct chunk {
    uint16_t type;
    uint32_t blocks, pattern;
};

static void chunk_put(struct buf *out, const struct chunk *c, const char *name, const char *version)
{
    uint32_t body = c->type == CHUNK_RAW    ? c->blocks * SPARSE_BLOCK_BYTES
                    : c->type == CHUNK_FILL ? 4
                                            : 0;
    buf_put_le16(out, c->type);
    buf_put_le16(out, 0);
    buf_put_le32(out, c->blocks);
    buf_put_le32(out, CHUNK_HEADER + body);
    if (c->type == CHUNK_RAW)
        code(out, body, name, version);
    else if (c->type == CHUNK_FILL)
        buf_put_le32(out, c->pattern);
}

/* Seven chunks of every kind that span the partition; code only in a few of its blocks. */
static void sparse_image(const struct firmware *f, const char *partition, uint64_t partition_bytes,
                         struct buf *out)
{
    uint32_t total = (uint32_t)(partition_bytes / SPARSE_BLOCK_BYTES);
    bool full = factory_profile_base(f->profile) == PROFILE_FULL;
    uint32_t cap = strcmp(partition, "userdata") == 0 ? 8 : full ? 2048 : 384;
    uint32_t piece = MAX_OF(MIN_OF(total / 16, cap), 1u);
    struct chunk chunks[] = {
        {CHUNK_RAW, piece, 0},      {CHUNK_FILL, total / 4, 0},
        {CHUNK_RAW, piece, 0},      {CHUNK_FILL, piece, 0xDEADBEEF},
        {CHUNK_SKIP, total / 8, 0}, {CHUNK_RAW, MAX_OF(piece / 2, 1u), 0},
        {CHUNK_SKIP, 0, 0},
    };
    size_t count = ARRAY_LEN(chunks);
    uint32_t used = 0;
    for (size_t i = 0; i + 1 < count; i++)
        used += chunks[i].blocks;
    chunks[count - 1].blocks = total - used;
    buf_put_le32(out, SPARSE_MAGIC);
    buf_put_le16(out, 1);
    buf_put_le16(out, 0);
    buf_put_le16(out, SPARSE_HEADER);
    buf_put_le16(out, CHUNK_HEADER);
    buf_put_le32(out, SPARSE_BLOCK_BYTES);
    buf_put_le32(out, total);
    buf_put_le32(out, (uint32_t)count);
    buf_put_le32(out, 0);
    for (size_t i = 0; i < count; i++) {
        char name[48];
        snprintf(name, sizeof(name), "%s chunk %zu", partition, i);
        chunk_put(out, &chunks[i], name, f->version);
    }
}

/* Calls `each` for the runs of bytes that an image puts on flash, in order; `pattern` is repeated
 * when `data` is empty. Stops at the first negative answer. */
typedef int run_fn(void *arg, uint64_t at, uint64_t len, struct span data, uint32_t pattern);

static int image_walk(const struct firmware_image *image, run_fn *each, void *arg)
{
    if (!image->sparse)
        return each(arg, 0, image->file.len, buf_span(&image->file), 0);
    struct reader r = reader_of(buf_span(&image->file));
    uint64_t at = 0;
    rd_skip(&r, SPARSE_HEADER);
    while (reader_left(&r)) {
        uint16_t type = rd_le16(&r);
        rd_skip(&r, 2);
        uint64_t len = (uint64_t)rd_le32(&r) * SPARSE_BLOCK_BYTES;
        struct span body = rd_bytes(&r, rd_le32(&r) - CHUNK_HEADER);
        int rc = 0;
        if (type == CHUNK_RAW)
            rc = each(arg, at, len, body, 0);
        else if (type == CHUNK_FILL)
            rc = each(arg, at, len, (struct span){NULL, 0}, get_le32(body.data));
        if (rc < 0)
            return rc;
        at += len;
    }
    return 0;
}

/* ---- vbmeta
 * ------------------------------------------------------------------------------------------ */

struct vbmeta_run {
    struct vbmeta_row *row;
    struct hasher *hasher;
};

/* Zeros are not covered: they would cost a read of the whole partition at every boot. */
static int vbmeta_run_add(void *arg, uint64_t at, uint64_t len, struct span data, uint32_t pattern)
{
    struct vbmeta_run *run = arg;
    if (!data.len && pattern == 0)
        return 0;
    run->row->extents[run->row->extent_count++] = (struct vbmeta_extent){at, len};
    if (data.len)
        hasher_update(run->hasher, data.data, data.len);
    uint8_t word[4];
    put_le32(word, pattern);
    for (uint64_t i = 0; !data.len && i < len; i += sizeof(word))
        hasher_update(run->hasher, word, sizeof(word));
    return 0;
}

static void vbmeta_image(const struct firmware *f, struct buf *out)
{
    struct vbmeta *v = xcalloc(1, sizeof(*v));
    struct hasher *h = hasher_new();
    for (size_t i = 0; i < f->count; i++) {
        if (!image_rows[i].verified)
            continue;
        struct vbmeta_row *row = &v->rows[v->row_count++];
        struct vbmeta_run run = {row, h};
        snprintf(row->partition, sizeof(row->partition), "%s", f->images[i].partition);
        image_walk(&f->images[i], vbmeta_run_add, &run);
        row->digest = hasher_finish(h);
    }
    vbmeta_encode(v, out);
    hasher_free(&h);
    free_ptr(&v);
}

/* ---- preloader
 * --------------------------------------------------------------------------------------- */

enum {
    PRELOADER_CODE_AT = 0x300,
    EMI_HEAD_BYTES_V36 = 0x70,
    EMI_ENTRY_BYTES_V36 = 0xA0,
    EMI_ENTRIES = 15,
};

/* The CID prefixes that the genuine PDA block lists; maker bytes before each name are constructed.
 */
static void emi_entry(unsigned index, uint8_t out[EMI_ENTRY_BYTES_V36])
{
    static const char *const chips[] = {"HCG8a4", "DH6DMB", "HBG4a2", "3H6CMB", "DD68MB", "GD6BMB",
                                        "hB8aP>", "S0J9B7", "hC8aP>", "3H6CAB", "FMBCJC", "DV6DMB"};
    bool discrete = index == 0 || index > ARRAY_LEN(chips); /* first and last two */
    memset(out, 0, EMI_ENTRY_BYTES_V36);
    put_le32(out, 1);
    put_le32(out + 4, discrete ? 0x0006 : 0x0206);
    put_le32(out + 8, discrete ? 0 : 9);
    if (!discrete) {
        const char *chip = chips[index - 1];
        bool hynix = chip[0] == 'H' || chip[0] == 'h';
        memcpy(out + 0x10, hynix ? "\x90\x01\x4A" : "\x15\x01\x00", 3);
        memcpy(out + 0x13, chip, 6);
    }
    filler(out + 0x28, EMI_ENTRY_BYTES_V36 - 0x28, "dram registers", span_of(&index, 4));
}

static void emi_block(struct buf *out)
{
    uint8_t head[EMI_HEAD_BYTES_V36] = "MTK_BLOADER_INFO_v36";
    snprintf((char *)head + 0x1B, 0x3D, "preloader_pda.bin");
    memcpy(head + 0x58, "V116", 4);
    put_le32(head + 0x5C, 0x33448822);
    put_le32(head + 0x60, 0x00700090);
    memcpy(head + 0x64, "MTK_BIN", 8);
    put_le32(head + 0x6C, EMI_ENTRIES);
    buf_put(out, head, sizeof(head));
    for (unsigned i = 0; i < EMI_ENTRIES; i++) {
        uint8_t entry[EMI_ENTRY_BYTES_V36];
        emi_entry(i, entry);
        buf_put(out, entry, sizeof(entry));
    }
}

/* GFH file info, code, EMI block, its length, signature. */
static void preloader_image(const struct firmware *f, struct buf *out)
{
    uint32_t emi_bytes = EMI_HEAD_BYTES_V36 + EMI_ENTRIES * EMI_ENTRY_BYTES_V36;
    uint32_t total = f->profile == PROFILE_TINY ? 0x8000 : 0x40000;
    uint32_t signature = SHA256_BYTES * 8;
    uint8_t gfh[PRELOADER_CODE_AT] = {'M', 'M', 'M', 1, 0x38, 0, 0, 0};
    memcpy(gfh + 0x08, "FILE_INFO", 9);
    put_le32(gfh + 0x14, 1);
    put_le32(gfh + 0x1C, 0x00201000); /* load address */
    put_le32(gfh + 0x20, total);
    put_le32(gfh + 0x24, 0x40000);
    put_le32(gfh + 0x28, PRELOADER_CODE_AT);
    put_le32(gfh + 0x2C, signature);
    put_le32(gfh + 0x30, PRELOADER_CODE_AT);
    buf_put(out, gfh, sizeof(gfh));
    code(out, total - sizeof(gfh) - emi_bytes - 4 - signature, "preloader", f->version);
    emi_block(out);
    buf_put_le32(out, emi_bytes);
    struct span body = buf_span(out);
    uint8_t seal[SHA256_BYTES * 8];
    synthetic_sign(body, seal, sizeof(seal));
    buf_put(out, seal, sizeof(seal));
}

/* ---- all together
 * ------------------------------------------------------------------------------------ */

static void image_make(struct firmware *f, const struct image_row *row)
{
    struct firmware_image *image = &f->images[f->count];
    const struct layout *l = layout_of(f->profile);
    char slotted[40];
    snprintf(image->partition, sizeof(image->partition), "%s", row->partition);
    snprintf(slotted, sizeof(slotted), "%s%s", row->partition, row->slotted ? "_a" : "");
    image->slotted = row->slotted;
    image->sparse = row->kind == IMAGE_SYSTEM;
    buf_init(&image->file, 256 << 20);
    switch (row->kind) {
    case IMAGE_MTK:
        mtk_image(f, row->partition, "", 1, &image->file);
        break;
    case IMAGE_MODEM:
        mtk_image(f, row->partition, BASEBAND, 2, &image->file);
        break;
    case IMAGE_LK:
        lk_image(f, "commercial", &image->file);
        break;
    case IMAGE_BOOT:
        boot_image(f, row->partition, "ANDROID!", 4, &image->file);
        break;
    case IMAGE_PLAIN:
        boot_image(f, row->partition, row->partition, 1, &image->file);
        break;
    case IMAGE_INFO:
        info_image(f, &image->file);
        break;
    case IMAGE_SYSTEM:
        sparse_image(f, row->partition, layout_find(l, slotted)->size_bytes, &image->file);
        break;
    case IMAGE_VBMETA:
        vbmeta_image(f, &image->file);
        break;
    }
    if (!image->sparse)
        synthetic_image_sign(&image->file);
    f->count++;
}

int firmware_new(enum factory_profile profile, const char *version, struct firmware **out,
                 struct err *err)
{
    AUTO(firmware_free) struct firmware *f = xcalloc(1, sizeof(*f));
    f->profile = profile;
    if (snprintf(f->version, sizeof(f->version), "%s", version) >= (int)sizeof(f->version))
        return err_set(err, ERR_INPUT, "firmware version '%s' is too long", version);
    for (size_t i = 0; i < ARRAY_LEN(image_rows); i++)
        image_make(f, &image_rows[i]);
    buf_init(&f->preloader, 1 << 20);
    preloader_image(f, &f->preloader);
    buf_init(&f->lk_service, 1 << 20);
    lk_image(f, "service", &f->lk_service);
    synthetic_image_sign(&f->lk_service);
    for (size_t i = 0; i < f->count; i++)
        if (buf_check(&f->images[i].file, err) < 0)
            return err_in(err, "image of %s", f->images[i].partition);
    *out = STEAL(f);
    return 0;
}

void firmware_free(struct firmware **f)
{
    if (!*f)
        return;
    for (size_t i = 0; i < (*f)->count; i++)
        buf_deinit(&(*f)->images[i].file);
    buf_deinit(&(*f)->preloader);
    buf_deinit(&(*f)->lk_service);
    free_ptr(f);
}

const struct firmware_image *firmware_find(const struct firmware *f, const char *partition)
{
    for (size_t i = 0; i < f->count; i++)
        if (strcmp(f->images[i].partition, partition) == 0)
            return &f->images[i];
    return NULL;
}

struct write_run {
    int fd;
    uint64_t base;
    struct err *err;
};

static int run_write(void *arg, uint64_t at, uint64_t len, struct span data, uint32_t pattern)
{
    struct write_run *w = arg;
    if (data.len)
        return io_pwrite(w->fd, data.data, data.len, (int64_t)(w->base + at), w->err);
    uint8_t block[SPARSE_BLOCK_BYTES];
    for (size_t i = 0; i < sizeof(block); i += 4)
        put_le32(block + i, pattern);
    for (uint64_t done = 0; pattern && done < len; done += sizeof(block))
        if (io_pwrite(w->fd, block, sizeof(block), (int64_t)(w->base + at + done), w->err) < 0)
            return ERR_IO;
    return 0; /* zeros are there already: the flash was erased */
}

int firmware_image_write(const struct firmware_image *image, int fd, uint64_t at, struct err *err)
{
    struct write_run w = {fd, at, err};
    return image_walk(image, run_write, &w);
}
