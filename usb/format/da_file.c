#include "usb/format/da_file.h"

#include <ctype.h>

enum {
    F_BUILD_ID = 0x20,
    F_VERSION = 0x60,
    F_MAGIC = 0x64,
    F_COUNT = 0x68,
    MAGIC = 0x22668899,
    ENTRY_MAGIC = 0xdada,
    OLD_ENTRY_BYTES = 0xd8,
    REGIONS_AT = 0x14,
    REGIONS_AT_OLD = 0x10,
    REGION_BYTES = 20,
};
static const char file_magic[] = "MTK_DOWNLOAD_AGENT";

static int region_decode(struct reader *r, uint64_t file_bytes, struct da_region *out,
                         struct err *err)
{
    out->offset = rd_le32(r);
    out->length = rd_le32(r);
    out->load_address = rd_le32(r);
    out->signature_offset = rd_le32(r);
    out->signature_length = rd_le32(r);
    if ((uint64_t)out->offset + out->length > file_bytes)
        return err_set(err, ERR_FORMAT, "region at %u, %u bytes, reaches past the end of the file",
                       out->offset, out->length);
    if (out->signature_length > out->length)
        return err_set(err, ERR_FORMAT, "signature of %u bytes in a region of %u bytes",
                       out->signature_length, out->length);
    return 0;
}

/* New entries: magic, hw code, sub code, hw version, sw version, 0, page size, 0, first, count.
 * Old ones lack "sw version, 0". */
static int entry_decode(struct span raw, bool old, uint64_t file_bytes, struct da_entry *out,
                        struct err *err)
{
    struct reader r = reader_of(raw);
    uint16_t magic = rd_le16(&r);
    struct da_entry e = {0};
    e.hw_code = rd_le16(&r);
    e.hw_sub_code = rd_le16(&r);
    e.hw_version = rd_le16(&r);
    if (!old) {
        e.sw_version = rd_le16(&r);
        rd_skip(&r, 2);
    }
    e.page_size = rd_le16(&r);
    rd_skip(&r, 4); /* reserved, index of the first region: always 0 */
    e.region_count = rd_le16(&r);
    if (!reader_ok(&r) || magic != ENTRY_MAGIC)
        return err_set(err, ERR_FORMAT, "entry does not start with DA DA");
    if (e.region_count > DA_REGIONS_MAX)
        return err_set(err, ERR_FORMAT, "entry names %u regions, there is room for %d",
                       e.region_count, DA_REGIONS_MAX);
    r.pos = old ? REGIONS_AT_OLD : REGIONS_AT;
    for (uint16_t i = 0; i < e.region_count; i++) {
        int rc = region_decode(&r, file_bytes, &e.regions[i], err);
        if (rc < 0) {
            err_in(err, "region %u", i);
            return rc;
        }
    }
    *out = e;
    return 0;
}

static int header_decode(struct span head, struct da_file *out, struct err *err)
{
    if (head.len < DA_HEADER_BYTES + OLD_ENTRY_BYTES ||
        memcmp(head.data, file_magic, sizeof(file_magic)) != 0)
        return err_set(err, ERR_FORMAT, "not a download agent file (no MTK_DOWNLOAD_AGENT)");
    memcpy(out->build_id, head.data + F_BUILD_ID, 64);
    for (char *p = out->build_id; *p; p++)
        if (!isprint((unsigned char)*p))
            *p = '?';
    if (strncmp(out->build_id, "MTK_DA_v6", 9) == 0)
        return err_set(err, ERR_UNSUPPORTED,
                       "download agent of the XML generation (v6); MT6771 needs a v5 file");
    out->version = get_le32(head.data + F_VERSION);
    out->count = get_le32(head.data + F_COUNT);
    if (get_le32(head.data + F_MAGIC) != MAGIC || out->count == 0 || out->count > DA_ENTRIES_MAX)
        return err_set(err, ERR_FORMAT, "download agent file: magic %08x, %u entries",
                       get_le32(head.data + F_MAGIC), out->count);
    return 0;
}

/* The second entry tells; a single one by its region count, which stands where new entries have a
 * zero behind their page size. */
static bool entries_are_old(struct span head, uint32_t count)
{
    const uint8_t *first = head.data + DA_HEADER_BYTES;
    size_t second = DA_HEADER_BYTES + OLD_ENTRY_BYTES;
    if (count == 1)
        return get_le16(first + 0x0c) == 0 && get_le16(first + 0x0e) != 0;
    return head.len >= second + 2 && get_le16(head.data + second) == ENTRY_MAGIC;
}

int da_file_decode(struct span head, uint64_t file_bytes, struct da_file *out, struct err *err)
{
    static _Thread_local struct da_file made; /* 14 KiB; *out changes only on success */
    made = (struct da_file){0};
    int rc = header_decode(head, &made, err);
    if (rc < 0)
        return rc;
    made.old_entries = entries_are_old(head, made.count);
    size_t entry_bytes = made.old_entries ? OLD_ENTRY_BYTES : DA_ENTRY_BYTES;
    for (uint32_t i = 0; i < made.count; i++) {
        struct span raw = span_sub(head, DA_HEADER_BYTES + i * entry_bytes, entry_bytes);
        if (raw.len < entry_bytes)
            return err_set(err, ERR_FORMAT, "entry %u of %u is cut off", i, made.count);
        rc = entry_decode(raw, made.old_entries, file_bytes, &made.entries[i], err);
        if (rc < 0) {
            err_in(err, "download agent entry %u", i);
            return rc;
        }
    }
    *out = made;
    return 0;
}

uint16_t da_code_of(uint16_t hw_code)
{
    return hw_code == DA_HW_CODE_MT6771 ? DA_CODE_MT6771 : 0;
}

static int usable(const struct da_entry *e, struct err *err)
{
    if (e->region_count < 3)
        return err_set(err, ERR_FORMAT, "download agent for %04x has %u regions, 3 are needed",
                       e->hw_code, e->region_count);
    if (e->regions[1].length == 0 || e->regions[1].length > DA1_BYTES_MAX ||
        e->regions[2].length <= e->regions[2].signature_length ||
        e->regions[2].length > DA2_BYTES_MAX)
        return err_set(err, ERR_FORMAT, "download agent for %04x has stages of %u and %u bytes",
                       e->hw_code, e->regions[1].length, e->regions[2].length);
    return 0;
}

int da_file_pick(const struct da_file *file, uint16_t da_code, uint16_t hw_version,
                 uint16_t sw_version, const struct da_entry **out, struct err *err)
{
    for (uint32_t i = 0; i < file->count; i++) {
        const struct da_entry *e = &file->entries[i];
        if (e->hw_code != da_code || (hw_version && e->hw_version > hw_version) ||
            (sw_version && e->sw_version > sw_version))
            continue;
        int rc = usable(e, err);
        if (rc >= 0)
            *out = e;
        return rc;
    }
    return err_set(err, ERR_NOT_FOUND, "the download agent file has no entry for chip %04x",
                   da_code);
}

struct da_stage da_stage1(const struct da_entry *e)
{
    const struct da_region *r = &e->regions[1];
    return (struct da_stage){r->offset, r->length, r->load_address, r->signature_length};
}

struct da_stage da_stage2(const struct da_entry *e)
{
    const struct da_region *r = &e->regions[2];
    return (struct da_stage){r->offset, r->length - r->signature_length, r->load_address,
                             r->signature_length};
}

/* ---- synthetic files ------------------------------------------------------------------------ */

enum { SIGNATURE_BYTES = 0x100, DESCRIPTION_BYTES = 0x270 };

static void put_text(struct buf *out, const char *text, size_t width)
{
    buf_put(out, text, strlen(text));
    buf_put_zeros(out, width - strlen(text));
}

static void put_region(struct buf *out, uint32_t offset, uint32_t code_bytes, uint32_t load_address,
                       bool is_signed)
{
    buf_put_le32(out, offset);
    buf_put_le32(out, code_bytes + (is_signed ? SIGNATURE_BYTES : 0));
    buf_put_le32(out, load_address);
    buf_put_le32(out, is_signed ? code_bytes : 0);
    buf_put_le32(out, is_signed ? SIGNATURE_BYTES : 0);
}

static void put_signed(struct buf *out, struct span code, uint8_t signature_fill)
{
    buf_put_span(out, code);
    uint8_t *at = buf_grow(out, SIGNATURE_BYTES);
    if (at)
        memset(at, signature_fill, SIGNATURE_BYTES);
}

void da_file_encode(struct span da1, struct span da2, uint8_t signature_fill, struct buf *out)
{
    size_t start = out->len;
    put_text(out, file_magic, 32);
    put_text(out, "MTK_AllInOne_DA_v3.3001.2018/08/21.13:52_000000", 64);
    buf_put_le32(out, 4);
    buf_put_le32(out, MAGIC);
    buf_put_le32(out, 1);
    static const uint16_t entry[] = {ENTRY_MAGIC, DA_CODE_MT6771, 0x8a00, 0xca00, 0,
                                     0,           0x1000,         0,      0,      3};
    for (size_t i = 0; i < sizeof(entry) / sizeof(entry[0]); i++)
        buf_put_le16(out, entry[i]);
    uint32_t at = DA_TABLE_BYTES;
    put_region(out, at, DESCRIPTION_BYTES, 0x50000000, false);
    at += DESCRIPTION_BYTES;
    put_region(out, at, (uint32_t)da1.len, 0x00200000, true);
    at += (uint32_t)da1.len + SIGNATURE_BYTES;
    put_region(out, at, (uint32_t)da2.len, 0x40000000, true);
    buf_put_zeros(out, DA_TABLE_BYTES - (out->len - start));
    buf_put(out, "MMM\1\x38\0\0\0FILE_INFO", 17);
    buf_put_zeros(out, DESCRIPTION_BYTES - 17);
    put_signed(out, da1, signature_fill);
    put_signed(out, da2, signature_fill);
}
