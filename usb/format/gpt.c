#include "usb/format/gpt.h"

#include "usb/base/hash.h"
#include "usb/base/mem.h"

/* Header fields by offset (README.md, "GPT"). */
enum {
    H_REVISION = 8,
    H_SIZE = 12,
    H_CRC = 16,
    H_MY = 24,
    H_ALTERNATE = 32,
    H_FIRST_USABLE = 40,
    H_LAST_USABLE = 48,
    H_DISK_GUID = 56,
    H_ENTRIES_LBA = 72,
    H_COUNT = 80,
    H_ENTRY_SIZE = 84,
    H_TABLE_CRC = 88,
    HEADER_BYTES = 92,
};
static const uint8_t signature[8] = {'E', 'F', 'I', ' ', 'P', 'A', 'R', 'T'};
const uint8_t GPT_TYPE_DATA[16] = {0xa2, 0xa0, 0xd0, 0xeb, 0xe5, 0xb9, 0x33, 0x44,
                                   0x87, 0xc0, 0x68, 0xb6, 0xb7, 0x26, 0x99, 0xc7};

struct header {
    uint64_t my_lba, alternate_lba, first_usable, last_usable, entries_lba;
    uint32_t count, table_crc;
};

/* What the entries of this very table take: MediaTek's have 128, others fewer. */
static uint64_t entry_sectors(const struct header *h, uint32_t sector_bytes)
{
    return (h->count * (uint64_t)GPT_ENTRY_BYTES + sector_bytes - 1) / sector_bytes;
}

uint32_t gpt_table_sectors(uint32_t sector_bytes)
{
    return (uint32_t)(GPT_TABLE_BYTES / sector_bytes);
}

size_t gpt_backup_bytes(uint32_t sector_bytes)
{
    return GPT_TABLE_BYTES + sector_bytes;
}

static bool has_signature(struct span sector)
{
    return sector.len >= sizeof(signature) &&
           memcmp(sector.data, signature, sizeof(signature)) == 0;
}

static uint32_t header_crc(const uint8_t *sector, uint32_t size)
{
    static const uint8_t zeros[4];
    uint32_t crc = crc32_of(0, span_of(sector, H_CRC));
    crc = crc32_of(crc, span_of(zeros, sizeof(zeros)));
    return crc32_of(crc, span_of(sector + H_CRC + 4, size - H_CRC - 4));
}

static int header_decode(struct span sector, struct header *out, struct err *err)
{
    if (sector.len < HEADER_BYTES || !has_signature(sector))
        return err_set(err, ERR_FORMAT, "no GPT header");
    const uint8_t *p = sector.data;
    uint32_t size = get_le32(p + H_SIZE);
    if (size < HEADER_BYTES || size > sector.len)
        return err_set(err, ERR_FORMAT, "GPT header says it is %u bytes long", size);
    if (header_crc(p, size) != get_le32(p + H_CRC))
        return err_set(err, ERR_FORMAT, "GPT header checksum is wrong");
    *out = (struct header){.my_lba = get_le64(p + H_MY),
                           .alternate_lba = get_le64(p + H_ALTERNATE),
                           .first_usable = get_le64(p + H_FIRST_USABLE),
                           .last_usable = get_le64(p + H_LAST_USABLE),
                           .entries_lba = get_le64(p + H_ENTRIES_LBA),
                           .count = get_le32(p + H_COUNT),
                           .table_crc = get_le32(p + H_TABLE_CRC)};
    if (get_le32(p + H_ENTRY_SIZE) != GPT_ENTRY_BYTES || out->count == 0 ||
        out->count > GPT_ENTRIES_MAX)
        return err_set(err, ERR_FORMAT, "GPT has %u entries of %u bytes; 1 to 128 of 128 expected",
                       out->count, get_le32(p + H_ENTRY_SIZE));
    return 0;
}

/* UTF-16LE, at most 36 units, to UTF-8. Lone surrogates become U+FFFD. */
static void name_decode(const uint8_t *raw, char out[GPT_NAME_BYTES])
{
    char *to = out;
    for (size_t i = 0; i < 36; i++) {
        uint32_t c = get_le16(raw + 2 * i);
        if (c == 0)
            break;
        if (c >= 0xd800 && c < 0xe000)
            c = 0xfffd;
        if (c < 0x80) {
            *to++ = (char)c;
        } else if (c < 0x800) {
            *to++ = (char)(0xc0 | c >> 6);
            *to++ = (char)(0x80 | (c & 63));
        } else {
            *to++ = (char)(0xe0 | c >> 12);
            *to++ = (char)(0x80 | (c >> 6 & 63));
            *to++ = (char)(0x80 | (c & 63));
        }
    }
    *to = '\0';
}

static bool all_zero(const uint8_t *p, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (p[i])
            return false;
    return true;
}

static void entry_decode(const uint8_t *raw, struct gpt_entry *out)
{
    memcpy(out->type_guid, raw, 16);
    memcpy(out->unique_guid, raw + 16, 16);
    out->first_lba = get_le64(raw + 32);
    out->last_lba = get_le64(raw + 40);
    out->attributes = get_le64(raw + 48);
    name_decode(raw + 56, out->name);
}

/* Notes an entry in a strange place; false when it cannot be kept. */
static bool place_ok(const struct gpt_entry *e, const struct header *h, struct gpt *out)
{
    bool kept = e->first_lba <= e->last_lba && e->last_lba <= MAX_OF(h->my_lba, h->alternate_lba);
    if (kept && e->first_lba >= h->first_usable && e->last_lba <= h->last_usable)
        return true;
    out->outside_count += kept;
    out->left_out_count += !kept;
    if (!out->odd_number) {
        out->odd_number = e->number;
        memcpy(out->odd_name, e->name, sizeof(out->odd_name));
    }
    return kept;
}

static int overlap_check(const struct gpt *table, const struct gpt_entry *e, struct err *err)
{
    for (uint32_t i = 0; i < table->count; i++) {
        const struct gpt_entry *o = &table->entries[i];
        if (e->first_lba <= o->last_lba && o->first_lba <= e->last_lba)
            return err_set(err, ERR_FORMAT, "GPT entries %u '%.36s' and %u '%.36s' overlap",
                           o->number, o->name, e->number, e->name);
    }
    return 0;
}

static int table_decode(struct span raw, const struct header *h, struct gpt *out, struct err *err)
{
    size_t len = (size_t)h->count * GPT_ENTRY_BYTES;
    if (raw.len < len)
        return err_set(err, ERR_FORMAT, "GPT entries are cut off");
    if (crc32_of(0, span_of(raw.data, len)) != h->table_crc)
        return err_set(err, ERR_FORMAT, "GPT entries checksum is wrong");
    out->count = 0;
    for (uint32_t i = 0; i < h->count; i++) {
        const uint8_t *p = raw.data + (size_t)i * GPT_ENTRY_BYTES;
        if (all_zero(p, 16)) /* type zero: unused */
            continue;
        struct gpt_entry e = {.number = i + 1};
        entry_decode(p, &e);
        if (!place_ok(&e, h, out))
            continue;
        int rc = overlap_check(out, &e, err);
        if (rc < 0)
            return rc;
        out->entries[out->count++] = e;
    }
    return 0;
}

static int finish(struct span header, struct span table, uint32_t sector_bytes,
                  const struct header *h, struct gpt *out, struct err *err)
{
    static _Thread_local struct gpt
        made; /* 22 KiB: off the stack, and *out changes only on success */
    made = (struct gpt){.sector_bytes = sector_bytes,
                        .my_lba = h->my_lba,
                        .alternate_lba = h->alternate_lba,
                        .first_usable_lba = h->first_usable,
                        .last_usable_lba = h->last_usable,
                        .entries_lba = h->entries_lba};
    memcpy(made.disk_guid, header.data + H_DISK_GUID, 16);
    int rc = table_decode(table, h, &made, err);
    if (rc >= 0)
        *out = made;
    return rc;
}

int gpt_decode_primary(struct span head, uint32_t sector_bytes, struct gpt *out, struct err *err)
{
    struct span header = span_sub(head, sector_bytes, sector_bytes);
    struct header h;
    int rc = header_decode(header, &h, err);
    if (rc < 0)
        return rc;
    if (h.my_lba != 1 || h.entries_lba < 2 || h.entries_lba > 64 ||
        h.first_usable < h.entries_lba + entry_sectors(&h, sector_bytes))
        return err_set(err, ERR_FORMAT, "GPT header is not in its place (sector %llu)",
                       (unsigned long long)h.my_lba);
    if (h.last_usable >= h.alternate_lba || h.alternate_lba > UINT64_MAX / sector_bytes - 1)
        return err_set(err, ERR_FORMAT, "GPT usable area reaches past the backup table");
    struct span table = span_sub(head, (size_t)h.entries_lba * sector_bytes, GPT_TABLE_BYTES);
    rc = finish(header, table, sector_bytes, &h, out, err);
    if (rc >= 0)
        out->from_backup = false;
    return rc;
}

int gpt_decode_backup(struct span tail, uint32_t sector_bytes, struct gpt *out, struct err *err)
{
    if (tail.len < sector_bytes)
        return err_set(err, ERR_FORMAT, "no GPT header");
    struct span header = span_sub(tail, tail.len - sector_bytes, sector_bytes);
    struct header h;
    int rc = header_decode(header, &h, err);
    if (rc < 0)
        return rc;
    uint64_t back = h.my_lba - h.entries_lba; /* sectors from the entries to the header */
    if (h.alternate_lba != 1 || h.my_lba > UINT64_MAX / sector_bytes - 1 ||
        h.entries_lba >= h.my_lba || back < entry_sectors(&h, sector_bytes) ||
        h.last_usable >= h.entries_lba)
        return err_set(err, ERR_FORMAT, "GPT backup header is not in its place (sector %llu)",
                       (unsigned long long)h.my_lba);
    if (back > tail.len / sector_bytes - 1)
        return err_set(err, ERR_FORMAT, "GPT backup entries are cut off");
    size_t at = tail.len - sector_bytes - (size_t)back * sector_bytes;
    rc = finish(header, span_sub(tail, at, GPT_TABLE_BYTES), sector_bytes, &h, out, err);
    if (rc >= 0)
        out->from_backup = true;
    return rc;
}

int gpt_check_places(const struct gpt *table, struct err *err)
{
    if (!table->odd_number)
        return 0;
    return err_set(err, ERR_FORMAT, "GPT entry %u '%.36s' lies outside the usable area",
                   table->odd_number, table->odd_name);
}

static const uint32_t sector_sizes[] = {512, 4096};

int gpt_probe(struct span head, struct gpt *out, struct err *err)
{
    for (size_t i = 0; i < 2; i++)
        if (has_signature(span_sub(head, sector_sizes[i], 8)))
            return gpt_decode_primary(head, sector_sizes[i], out, err);
    return err_set(err, ERR_FORMAT, "no GPT header");
}

int gpt_probe_backup(struct span tail, struct gpt *out, struct err *err)
{
    for (size_t i = 0; i < 2; i++)
        if (tail.len >= sector_sizes[i] &&
            has_signature(span_sub(tail, tail.len - sector_sizes[i], 8)))
            return gpt_decode_backup(tail, sector_sizes[i], out, err);
    return err_set(err, ERR_FORMAT, "no GPT backup header");
}

/* ---- encoding ------------------------------------------------------------------------------- */

/* Cylinder, head, sector of an LBA with 255 heads and 63 sectors a track, as sgdisk writes it into
 * the protective MBR; FF FF FF past cylinder 1023. */
static void chs_of(uint64_t lba, uint8_t out[3])
{
    uint64_t cylinder = lba / (255 * 63);
    if (cylinder > 1023) {
        memset(out, 0xff, 3);
        return;
    }
    uint32_t rest = (uint32_t)(lba % (255 * 63));
    out[0] = (uint8_t)(rest / 63);
    out[1] = (uint8_t)((rest % 63 + 1) | (cylinder >> 8) << 6);
    out[2] = (uint8_t)cylinder;
}

static void pmbr_encode(uint64_t total_lbas, uint32_t sector_bytes, struct buf *out)
{
    uint8_t mbr[512] = {0};
    uint8_t *entry = mbr + 446;
    entry[2] = 2; /* first CHS: 0, 0, 2 */
    entry[4] = 0xee;
    chs_of(total_lbas - 1, entry + 5);
    put_le32(entry + 8, 1);
    put_le32(entry + 12, total_lbas - 1 > UINT32_MAX ? UINT32_MAX : (uint32_t)(total_lbas - 1));
    mbr[510] = 0x55;
    mbr[511] = 0xaa;
    buf_put(out, mbr, sizeof(mbr));
    buf_put_zeros(out, sector_bytes - sizeof(mbr));
}

static void name_encode(const char *name, uint8_t *raw)
{
    for (size_t i = 0; i < 36 && name[i]; i++) /* our own names are ASCII */
        put_le16(raw + 2 * i, (uint8_t)name[i]);
}

static void table_encode(const struct gpt *table, uint8_t raw[GPT_TABLE_BYTES])
{
    memset(raw, 0, GPT_TABLE_BYTES);
    for (uint32_t i = 0; i < table->count; i++) {
        const struct gpt_entry *e = &table->entries[i];
        uint8_t *p = raw + (size_t)(e->number - 1) * GPT_ENTRY_BYTES;
        memcpy(p, e->type_guid, 16);
        memcpy(p + 16, e->unique_guid, 16);
        put_le64(p + 32, e->first_lba);
        put_le64(p + 40, e->last_lba);
        put_le64(p + 48, e->attributes);
        name_encode(e->name, p + 56);
    }
}

static void header_encode(const struct gpt *table, bool backup, uint64_t total_lbas,
                          uint32_t table_crc, struct buf *out)
{
    uint32_t sectors = gpt_table_sectors(table->sector_bytes);
    uint64_t last = total_lbas - 1;
    uint8_t h[HEADER_BYTES] = {0};
    memcpy(h, signature, sizeof(signature));
    put_le32(h + H_REVISION, 0x00010000);
    put_le32(h + H_SIZE, HEADER_BYTES);
    put_le64(h + H_MY, backup ? last : 1);
    put_le64(h + H_ALTERNATE, backup ? 1 : last);
    put_le64(h + H_FIRST_USABLE, 2 + sectors);
    put_le64(h + H_LAST_USABLE, last - sectors - 1);
    memcpy(h + H_DISK_GUID, table->disk_guid, 16);
    put_le64(h + H_ENTRIES_LBA, backup ? last - sectors : 2);
    put_le32(h + H_COUNT, GPT_ENTRIES_MAX);
    put_le32(h + H_ENTRY_SIZE, GPT_ENTRY_BYTES);
    put_le32(h + H_TABLE_CRC, table_crc);
    put_le32(h + H_CRC, header_crc(h, HEADER_BYTES));
    buf_put(out, h, sizeof(h));
    buf_put_zeros(out, table->sector_bytes - sizeof(h));
}

void gpt_encode_primary(const struct gpt *table, uint64_t total_lbas, struct buf *out)
{
    uint8_t raw[GPT_TABLE_BYTES];
    table_encode(table, raw);
    pmbr_encode(total_lbas, table->sector_bytes, out);
    header_encode(table, false, total_lbas, crc32_of(0, span_of(raw, sizeof(raw))), out);
    buf_put(out, raw, sizeof(raw));
}

void gpt_encode_backup(const struct gpt *table, uint64_t total_lbas, struct buf *out)
{
    uint8_t raw[GPT_TABLE_BYTES];
    table_encode(table, raw);
    buf_put(out, raw, sizeof(raw));
    header_encode(table, true, total_lbas, crc32_of(0, span_of(raw, sizeof(raw))), out);
}

/* ---- questions ------------------------------------------------------------------------------ */

const struct gpt_entry *gpt_find(const struct gpt *table, const char *name)
{
    for (uint32_t i = 0; i < table->count; i++)
        if (strcmp(table->entries[i].name, name) == 0)
            return &table->entries[i];
    return NULL;
}

struct extent gpt_extent(const struct gpt *table, const struct gpt_entry *e)
{
    return (struct extent){e->first_lba * table->sector_bytes,
                           (e->last_lba - e->first_lba + 1) * table->sector_bytes};
}

int gpt_lookup(const struct gpt *table, const char *name, struct extent *out, struct err *err)
{
    const struct gpt_entry *e = gpt_find(table, name);
    if (!e)
        return err_set(err, ERR_NOT_FOUND, "no partition '%s' in the table", name);
    *out = gpt_extent(table, e);
    return 0;
}

bool gpt_same_layout(const struct gpt *a, const struct gpt *b)
{
    if (a->sector_bytes != b->sector_bytes || a->count != b->count)
        return false;
    for (uint32_t i = 0; i < a->count; i++) {
        const struct gpt_entry *x = &a->entries[i], *y = &b->entries[i];
        if (x->number != y->number || x->first_lba != y->first_lba || x->last_lba != y->last_lba ||
            strcmp(x->name, y->name) != 0)
            return false;
    }
    return true;
}
