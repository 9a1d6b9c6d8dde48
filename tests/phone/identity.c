#include "tests/phone/identity.h"

#include <stdio.h>

#include "tests/phone/ext4.h"
#include "tests/phone/filler.h"
#include "tests/phone/layout.h"
#include "usb/base/mem.h"

/* ---- label and hardware
 * ---------------------------------------------------------------------------- */

/* Bytes that belong to phone `index` of rack `seed` and to nobody else. */
static void derive(uint64_t seed, unsigned index, const char *what, uint8_t *out, size_t len)
{
    uint8_t key[12];
    put_le64(key, seed);
    put_le32(key + 8, index);
    filler(out, len, what, span_of(key, sizeof(key)));
}

static void serial_derive(uint64_t seed, unsigned index, char out[17])
{
    /* the shape that was seen in public: PDA, 3 letters, 2 digits, a letter, 7 digits */
    static const char shape[] = "PDAAAA00A0000000";
    uint8_t random[16];
    derive(seed, index, "serial", random, sizeof(random));
    for (int i = 0; i < 16; i++)
        out[i] = (char)(shape[i] == '0' ? '0' + random[i] % 10 : 'A' + random[i] % 26);
    memcpy(out, "PDA", 3);
    out[16] = '\0';
}

static char luhn_digit(const char *digits14)
{
    int sum = 0;
    for (int i = 0; i < 14; i++) {
        int d = (digits14[i] - '0') * (i % 2 + 1);
        sum += d > 9 ? d - 9 : d;
    }
    return (char)('0' + (10 - sum % 10) % 10);
}

/* Type code 00199901: 001 is the range kept for test equipment, so that no real phone has these.
 * Two consecutive numbers a phone. */
static void imei_derive(uint64_t seed, unsigned index, char out[2][16])
{
    uint8_t random[4];
    derive(seed, 0, "imei", random, sizeof(random));
    uint32_t first = get_le32(random) % 900000;
    for (unsigned i = 0; i < 2; i++) {
        snprintf(out[i], 16, "00199901%06u", (first + 2 * index + i) % 1000000);
        out[i][14] = luhn_digit(out[i]);
        out[i][15] = '\0';
    }
}

void identity_tac_set(struct factory_phone *phone, const char tac[8])
{
    for (unsigned i = 0; i < 2; i++) {
        memcpy(phone->label.imei[i], tac, 8);
        phone->label.imei[i][14] = luhn_digit(phone->label.imei[i]);
    }
}

static void mac_text(const uint8_t mac[6], char out[18])
{
    snprintf(out, 18, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4],
             mac[5]);
}

static bool mac_parse(const char *text, uint8_t out[6])
{
    unsigned v[6];
    if (sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x", &v[0], &v[1], &v[2], &v[3], &v[4], &v[5]) != 6)
        return false;
    for (int i = 0; i < 6; i++)
        out[i] = (uint8_t)v[i];
    return true;
}

void identity_derive(uint64_t seed, unsigned index, struct factory_phone *out)
{
    /* maker 90, card 01, OEM 4A, product HCG8a4, revision 3; then serial number, date, checksum */
    static const uint8_t cid[10] = {0x90, 0x01, 0x4A, 0x48, 0x43, 0x47, 0x38, 0x61, 0x34, 0x03};
    uint8_t mac[6];
    derive(seed, index, "me_id", out->chip.me_id, sizeof(out->chip.me_id));
    derive(seed, index, "soc_id", out->chip.soc_id, sizeof(out->chip.soc_id));
    derive(seed, index, "emmc_cid", out->chip.emmc_cid, sizeof(out->chip.emmc_cid));
    memcpy(out->chip.emmc_cid, cid, sizeof(cid));
    out->chip.emmc_cid[15] |= 1; /* the stop bit */
    serial_derive(seed, index, out->label.serial);
    imei_derive(seed, index, out->label.imei);
    derive(seed, index, "mac", mac, sizeof(mac));
    mac[0] = 0x02; /* locally administered: nobody's */
    mac[1] = 0x5A;
    mac[5] &= 0xFE;
    mac_text(mac, out->label.wlan_mac);
    mac[5] |= 1;
    mac_text(mac, out->label.bt_mac);
}

/* ---- the NV container
 * ------------------------------------------------------------------------------
 *
 *   0x00000  u32 0, u32 content bytes, u32 0, u32 CRC-32 of header (this field zero) and content
 *   0x00010  salt, 16 bytes; u32 number of records
 *   0x00040  table: u32 offset in content, u32 bytes, path, zero; each entry on a multiple of 4
 *   0x20000  content; the first MASKED_BYTES XORed with the key stream of the salt
 *
 * Constructed but for what formats ask for: size at 4, checksum at 12, path strings. */
enum {
    NV_SIZE_AT = 4,
    NV_CRC_AT = 12,
    NV_SALT_AT = 16,
    NV_SALT_BYTES = 16,
    NV_COUNT_AT = 32,
    NV_TABLE_AT = 64,
    NV_MASKED_BYTES = 1024,
    NV_FILE_MAX = 32 * 1024, /* records up to this size get a file in nvdata */
    IMEI_RECORD_BYTES = 384,
    IMEI_BCD_AT = 16,
    IMEI_BCD_BYTES = 16,
    IMEI_CRC_AT = 40,
    WIFI_MAC_AT = 4,
};
#define NV_ROOT    "/mnt/vendor/nvdata/"
#define IMEI_PATH  "md/NVRAM/NVD_IMEI/LD0B_001"
#define WIFI_PATH  "APCFG/APRDEB/WIFI"
#define BT_PATH    "APCFG/APRDEB/BT_Addr"
#define STAMP_PATH "NVRAM_STAMP"
#define RF_PATH    "md/NVRAM/CALIBRAT/CL00_000"
#define BULK_PATH  "md/NVRAM/CALIBRAT/CL01_000"

static void mask(uint8_t *data, size_t len, struct span salt)
{
    static const char key[] = "emulated X5, nv mask 1";
    uint8_t stream[NV_MASKED_BYTES];
    filler(stream, sizeof(stream), key, salt);
    for (size_t i = 0; i < len && i < sizeof(stream); i++)
        data[i] ^= stream[i];
}

static void imei_record_build(const char imei[2][16], uint8_t out[IMEI_RECORD_BYTES])
{
    uint8_t *bcd = out + IMEI_BCD_AT;
    memset(out, 0, IMEI_RECORD_BYTES);
    memcpy(out, "LDI", 4);
    for (int i = 0; i < 2; i++)
        for (int d = 0; d < 15; d++)
            bcd[8 * i + d / 2] |= (uint8_t)((imei[i][d] - '0') << (d % 2 * 4));
    put_le32(out + IMEI_CRC_AT, crc32_of(0, span_of(bcd, IMEI_BCD_BYTES)));
    mask(bcd, IMEI_BCD_BYTES, span_of("LD0B", 4));
}

static bool imei_record_read(struct span record, char out[2][16])
{
    uint8_t bcd[IMEI_BCD_BYTES];
    if (record.len != IMEI_RECORD_BYTES || memcmp(record.data, "LDI", 4) != 0)
        return false;
    memcpy(bcd, record.data + IMEI_BCD_AT, sizeof(bcd));
    mask(bcd, sizeof(bcd), span_of("LD0B", 4));
    if (crc32_of(0, span_of(bcd, sizeof(bcd))) != get_le32(record.data + IMEI_CRC_AT))
        return false;
    for (int i = 0; i < 2; i++) {
        for (int d = 0; d < 15; d++)
            out[i][d] = (char)('0' + (bcd[8 * i + d / 2] >> (d % 2 * 4) & 15));
        out[i][15] = '\0';
    }
    return true;
}

struct nv_record {
    const char *path;
    uint8_t *data;
    size_t len;
};

static void container_pack(const struct nv_record *records, size_t count, struct span salt,
                           struct buf *out)
{
    size_t start = out->len, table_at = NV_TABLE_AT, content_bytes = 0;
    uint8_t *header = buf_grow(out, NVRAM_HEADER_BYTES);
    memset(header, 0, NVRAM_HEADER_BYTES);
    for (size_t i = 0; i < count; i++) {
        uint8_t *row = header + table_at;
        put_le32(row, (uint32_t)content_bytes);
        put_le32(row + 4, (uint32_t)records[i].len);
        int text = sprintf((char *)row + 8, NV_ROOT "%s", records[i].path);
        table_at += (8 + (size_t)text + 1 + 3) / 4 * 4;
        content_bytes += records[i].len;
    }
    put_le32(header + NV_SIZE_AT, (uint32_t)content_bytes);
    memcpy(header + NV_SALT_AT, salt.data, NV_SALT_BYTES);
    put_le32(header + NV_COUNT_AT, (uint32_t)count);
    for (size_t i = 0; i < count; i++)
        buf_put(out, records[i].data, records[i].len);
    uint8_t *content = out->data + start + NVRAM_HEADER_BYTES;
    mask(content, MIN_OF(content_bytes, (size_t)NV_MASKED_BYTES), salt);
    uint32_t crc = crc32_of(0, span_of(out->data + start, NVRAM_HEADER_BYTES + content_bytes));
    put_le32(out->data + start + NV_CRC_AT, crc);
}

static size_t bulk_bytes(enum factory_profile profile)
{
    static const size_t bytes[] = {
        [PROFILE_MINI] = 1 << 20, [PROFILE_TINY] = 64 << 10, [PROFILE_FULL] = 5 << 20};
    return bytes[factory_profile_base(profile)];
}

static int nvram_build(const struct factory_phone *phone, struct buf *out, struct err *err)
{
    struct span seed = span_of(phone->chip.me_id, sizeof(phone->chip.me_id));
    uint8_t imei[IMEI_RECORD_BYTES], wifi[128] = {1, 0, 1}, bt[64] = {0}, salt[NV_SALT_BYTES];
    uint8_t rf[16384];
    size_t bulk_len = bulk_bytes(phone->profile);
    AUTO(free_ptr) uint8_t *bulk = xcalloc(1, bulk_len);
    imei_record_build(phone->label.imei, imei);
    if (!mac_parse(phone->label.wlan_mac, wifi + WIFI_MAC_AT) ||
        !mac_parse(phone->label.bt_mac, bt))
        return err_set(err, ERR_INPUT, "label of %s: not a MAC address", phone->label.serial);
    filler(salt, sizeof(salt), "nv salt", seed);
    filler(rf, sizeof(rf), "radio calibration", seed);
    filler(bulk, bulk_len, "radio tables", seed);
    struct nv_record records[] = {
        {IMEI_PATH, imei, sizeof(imei)}, {WIFI_PATH, wifi, sizeof(wifi)}, {BT_PATH, bt, sizeof(bt)},
        {RF_PATH, rf, sizeof(rf)},       {BULK_PATH, bulk, bulk_len},
    };
    container_pack(records, ARRAY_LEN(records), span_of(salt, sizeof(salt)), out);
    return buf_check(out, err);
}

size_t nvram_container_bytes(struct span head, uint64_t partition_bytes)
{
    if (head.len < NV_TABLE_AT)
        return 0;
    uint32_t content = get_le32(head.data + NV_SIZE_AT);
    if (content == 0 || content > partition_bytes ||
        NVRAM_HEADER_BYTES + (uint64_t)content > partition_bytes)
        return 0;
    return NVRAM_HEADER_BYTES + (size_t)content;
}

/* Unmasked copy of a container's content; false when the checksum is wrong. */
static bool container_open(struct span container, struct buf *content)
{
    static const uint8_t no_crc[4];
    if (nvram_container_bytes(container, container.len) != container.len)
        return false;
    uint32_t crc = crc32_of(0, span_sub(container, 0, NV_CRC_AT));
    crc = crc32_of(crc, span_of(no_crc, sizeof(no_crc)));
    crc = crc32_of(crc, span_sub(container, NV_CRC_AT + 4, container.len));
    if (crc != get_le32(container.data + NV_CRC_AT))
        return false;
    buf_put_span(content, span_sub(container, NVRAM_HEADER_BYTES, container.len));
    mask(content->data, MIN_OF(content->len, (size_t)NV_MASKED_BYTES),
         span_of(container.data + NV_SALT_AT, NV_SALT_BYTES));
    return true;
}

/* Calls `each` for every record of the table. */
static void records_walk(struct span container, struct span content,
                         void (*each)(void *arg, const char *path, struct span data), void *arg)
{
    uint32_t count = get_le32(container.data + NV_COUNT_AT);
    struct span table = span_sub(container, NV_TABLE_AT, NVRAM_HEADER_BYTES - NV_TABLE_AT);
    for (uint32_t i = 0; i < count && table.len > 8; i++) {
        const char *path = (const char *)table.data + 8;
        size_t text = strnlen(path, table.len - 8);
        if (text == table.len - 8 || strncmp(path, NV_ROOT, strlen(NV_ROOT)) != 0)
            return;
        each(arg, path + strlen(NV_ROOT),
             span_sub(content, get_le32(table.data), get_le32(table.data + 4)));
        table = span_sub(table, (8 + text + 1 + 3) / 4 * 4, table.len);
    }
}

static void value_take(void *arg, const char *path, struct span data)
{
    struct nv_values *v = arg;
    if (strcmp(path, IMEI_PATH) == 0)
        v->imei_known = imei_record_read(data, v->imei);
    if (strcmp(path, WIFI_PATH) == 0 && data.len >= WIFI_MAC_AT + 6) {
        memcpy(v->wlan_mac, data.data + WIFI_MAC_AT, 6);
        v->wifi_known = true;
    }
    if (strcmp(path, BT_PATH) == 0 && data.len >= 6) {
        memcpy(v->bt_mac, data.data, 6);
        v->bt_known = true;
    }
}

bool nvram_read(struct span container, struct nv_values *out, struct sha256 *stamp_out)
{
    AUTO(buf_deinit) struct buf content;
    buf_init(&content, container.len);
    if (!container_open(container, &content))
        return false;
    memset(out, 0, sizeof(*out));
    records_walk(container, buf_span(&content), value_take, out);
    *stamp_out = sha256_of(container);
    return true;
}

/* ---- file systems
 * ------------------------------------------------------------------------------------ */

static void uuid_derive(const struct board_chip *chip, const char *partition, uint8_t out[16])
{
    filler(out, 16, partition, span_of(chip->me_id, sizeof(chip->me_id)));
    out[6] = (uint8_t)((out[6] & 0x0F) | 0x40); /* version 4, as mke2fs makes them */
    out[8] = (uint8_t)((out[8] & 0x3F) | 0x80);
}

struct nv_files {
    struct ext4_file files[16];
    size_t count;
};

static void file_take(void *arg, const char *path, struct span data)
{
    struct nv_files *f = arg;
    if (data.len <= NV_FILE_MAX && f->count < ARRAY_LEN(f->files))
        f->files[f->count++] = (struct ext4_file){path, data};
}

int nvdata_build(struct span container, uint64_t size_bytes, const struct board_chip *chip,
                 struct buf *out, struct err *err)
{
    uint8_t uuid[16], default_imei[IMEI_RECORD_BYTES];
    struct sha256 stamp = {{0}};
    struct nv_files f = {.count = 0};
    AUTO(buf_deinit) struct buf content;
    buf_init(&content, container.len);
    if (container.len) {
        if (!container_open(container, &content))
            return err_set(err, ERR_FORMAT, "NV container: wrong checksum");
        stamp = sha256_of(container);
        records_walk(container, buf_span(&content), file_take, &f);
    } else {
        static const char none[2][16] = {"000000000000000", "000000000000000"};
        imei_record_build(none, default_imei);
        file_take(&f, IMEI_PATH, span_of(default_imei, sizeof(default_imei)));
    }
    file_take(&f, STAMP_PATH, span_of(stamp.bytes, sizeof(stamp.bytes)));
    uuid_derive(chip, "nvdata", uuid);
    return ext4_build(size_bytes, "nvdata", uuid, f.files, f.count, out, err);
}

bool nvdata_read(struct span image, struct nv_values *out, struct sha256 *stamp_out)
{
    static const char *const paths[] = {IMEI_PATH, WIFI_PATH, BT_PATH};
    struct span stamp = ext4_find(image, STAMP_PATH);
    if (stamp.len != SHA256_BYTES || ext4_find(image, IMEI_PATH).len != IMEI_RECORD_BYTES)
        return false;
    memset(out, 0, sizeof(*out));
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        struct span data = ext4_find(image, paths[i]);
        if (data.len)
            value_take(out, paths[i], data);
    }
    if (strcmp(out->imei[0], "000000000000000") == 0)
        out->imei_known = false;
    memcpy(stamp_out->bytes, stamp.data, SHA256_BYTES);
    return true;
}

/* A file of `len` filler bytes behind the SHA-256 of chip id (or nothing) and those bytes. */
static void sealed_file_build(const char *name, const struct board_chip *chip, bool bound,
                              uint8_t *out, size_t len)
{
    struct span id = span_of(chip->me_id, sizeof(chip->me_id));
    filler(out + SHA256_BYTES, len - SHA256_BYTES, name, id);
    struct hasher *h = hasher_new();
    hasher_update(h, id.data, bound ? id.len : 0);
    hasher_update(h, out + SHA256_BYTES, len - SHA256_BYTES);
    struct sha256 seal = hasher_finish(h);
    hasher_free(&h);
    memcpy(out, seal.bytes, SHA256_BYTES);
}

static bool sealed_file_valid(struct span file, const struct board_chip *chip, bool bound)
{
    if (file.len <= SHA256_BYTES)
        return false;
    struct hasher *h = hasher_new();
    hasher_update(h, chip->me_id, bound ? sizeof(chip->me_id) : 0);
    hasher_update(h, file.data + SHA256_BYTES, file.len - SHA256_BYTES);
    struct sha256 seal = hasher_finish(h);
    hasher_free(&h);
    return memcmp(seal.bytes, file.data, SHA256_BYTES) == 0;
}

enum { SEALED_FILE_BYTES = 20000 };

struct small_fs {
    const char *partition, *path;
    bool bound;
};
static const struct small_fs small_file_systems[] = {
    {"nvcfg", "modem/CFG_000", false},
    {"protect1", "md/SML_S.bin", true},
    {"protect2", "md/SML_S.bin", true},
    {"persist", "sensors/calibration", false},
};

static int small_fs_build(const struct factory_phone *phone, const struct small_fs *fs,
                          struct buf *out, struct err *err)
{
    uint8_t file[SEALED_FILE_BYTES], uuid[16];
    uint64_t size = layout_find(layout_of(phone->profile), fs->partition)->size_bytes;
    sealed_file_build(fs->path, &phone->chip, fs->bound, file, sizeof(file));
    uuid_derive(&phone->chip, fs->partition, uuid);
    struct ext4_file files[] = {{fs->path, span_of(file, sizeof(file))}};
    return ext4_build(size, fs->partition, uuid, files, ARRAY_LEN(files), out, err);
}

bool nvcfg_valid(struct span image)
{
    return sealed_file_valid(ext4_find(image, "modem/CFG_000"), &(struct board_chip){0}, false);
}

bool protect_valid(struct span image, const struct board_chip *chip)
{
    return sealed_file_valid(ext4_find(image, "md/SML_S.bin"), chip, true);
}

/* ---- seccfg, proinfo, the rest
 * ----------------------------------------------------------------------- */

enum { SECCFG_HEAD_BYTES = SECCFG_BYTES - SHA256_BYTES, SECCFG_STATE_AT = 0x0C };
#define SECCFG_MAGIC 0x4D4D4D4Du
#define SECCFG_END   0x45454545u

static void seccfg_seal(const uint8_t *head, const struct board_chip *chip, uint8_t *out)
{
    filler(out, SHA256_BYTES, "seccfg seal", span_of(chip->me_id, sizeof(chip->me_id)));
    struct sha256 digest = sha256_of(span_of(head, SECCFG_HEAD_BYTES));
    for (size_t i = 0; i < SHA256_BYTES; i++)
        out[i] ^= digest.bytes[i];
}

/* Version 4: magic, version, bytes, lock state, critical lock, secure boot, end mark, seal. */
void seccfg_encode(const struct board_chip *chip, unsigned lock_state, uint8_t out[SECCFG_BYTES])
{
    memset(out, 0, SECCFG_BYTES);
    put_le32(out, SECCFG_MAGIC);
    put_le32(out + 0x04, 4);
    put_le32(out + 0x08, SECCFG_BYTES);
    put_le32(out + SECCFG_STATE_AT, lock_state);
    put_le32(out + 0x18, SECCFG_END);
    seccfg_seal(out, chip, out + SECCFG_HEAD_BYTES);
}

unsigned seccfg_lock_state(struct span head, const struct board_chip *chip)
{
    uint8_t seal[SHA256_BYTES];
    if (head.len < SECCFG_BYTES || get_le32(head.data) != SECCFG_MAGIC)
        return SECCFG_DEFAULT;
    seccfg_seal(head.data, chip, seal);
    if (memcmp(seal, head.data + SECCFG_HEAD_BYTES, sizeof(seal)) != 0)
        return SECCFG_DEFAULT;
    return get_le32(head.data + SECCFG_STATE_AT);
}

static bool letter_or_digit(uint8_t c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

void proinfo_serial_read(struct span head, char out[IDENTITY_SERIAL_MAX + 1])
{
    size_t len = 0;
    while (len < IDENTITY_SERIAL_MAX && len < head.len && letter_or_digit(head.data[len]))
        len++;
    if (len == 0) {
        strcpy(out, IDENTITY_SERIAL_LOST);
        return;
    }
    memcpy(out, head.data, len);
    out[len] = '\0';
}

/* The e-label shows the marks of the model's approval bodies: the same picture on every phone. */
static void elabel_build(struct buf *out)
{
    uint8_t picture[8192];
    filler(picture, sizeof(picture), "elabel TA-1105", (struct span){NULL, 0});
    buf_put(out, "ELABEL\1", 8);
    buf_put(out, picture, sizeof(picture));
}

/* Partitions that gather something of their own on every phone and that Format All wipes. */
static bool has_traces(const char *partition)
{
    static const char *const names[] = {"expdb",   "frp",  "metadata", "box",
                                        "sutinfo", "sec1", "userdata", "flashinfo"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(partition, names[i]) == 0)
            return true;
    return false;
}

static void traces_build(const struct factory_phone *phone, const char *partition, struct buf *out)
{
    uint8_t traces[4096];
    filler(traces, sizeof(traces), partition,
           span_of(phone->chip.me_id, sizeof(phone->chip.me_id)));
    buf_put(out, traces, sizeof(traces));
}

int identity_build(const struct factory_phone *phone, const char *partition, struct buf *out,
                   struct err *err)
{
    for (size_t i = 0; i < ARRAY_LEN(small_file_systems); i++)
        if (strcmp(partition, small_file_systems[i].partition) == 0)
            return small_fs_build(phone, &small_file_systems[i], out, err);
    if (strcmp(partition, "nvram") == 0)
        return nvram_build(phone, out, err);
    if (strcmp(partition, "nvdata") == 0) {
        AUTO(buf_deinit) struct buf container;
        buf_init(&container, 16 << 20);
        int rc = nvram_build(phone, &container, err);
        uint64_t size = layout_find(layout_of(phone->profile), "nvdata")->size_bytes;
        return rc < 0 ? rc : nvdata_build(buf_span(&container), size, &phone->chip, out, err);
    }
    if (strcmp(partition, "proinfo") == 0)
        buf_put(out, phone->label.serial, strlen(phone->label.serial));
    else if (strcmp(partition, "seccfg") == 0)
        seccfg_encode(&phone->chip, SECCFG_DEFAULT, buf_grow(out, SECCFG_BYTES));
    else if (strcmp(partition, "elabel") == 0)
        elabel_build(out);
    else if (has_traces(partition))
        traces_build(phone, partition, out);
    return buf_check(out, err);
}
