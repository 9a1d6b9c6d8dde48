#include "tests/phone/layout.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "usb/base/hash.h"
#include "usb/base/mem.h"
#include "usb/base/span.h"

enum {
    COMMON_PARTS = 18,
    SLOT_PARTS = 18,
    FIRST_PART_AT = 0x8000,
    SYS8_INDEX = 8 - LAYOUT_FIRST_SYS,
    USERDATA_INDEX = COMMON_PARTS + 2 * SLOT_PARTS,
    GPT_HEADER_BYTES = 92,
    GPT_ENTRY_BYTES = 128,
    GPT_ENTRIES = 128,
    GPT_ENTRIES_BYTES = GPT_ENTRIES * GPT_ENTRY_BYTES,
};

/* KiB by profile in the order of enum factory_profile; `align`: starts on a multiple of the
 * profile's unit, the partition before it grows to fill the gap. */
struct size_row {
    const char *name;
    uint32_t kib[3];
    bool align;
};
static const struct size_row common_rows[COMMON_PARTS] = {
    /*             mini   tiny  full */
    {"boot_para", {1024, 16, 1024}, false}, {"para", {512, 16, 512}, false},
    {"expdb", {1024, 16, 20480}, false},    {"frp", {1024, 16, 1024}, false},
    {"nvcfg", {8192, 256, 32768}, false},   {"nvdata", {16384, 256, 65536}, false},
    {"md_udc", {616, 16, 23144}, false},    {"metadata", {1024, 16, 32768}, false},
    {"protect1", {8192, 256, 8192}, false}, {"protect2", {8192, 192, 8192}, false},
    {"seccfg", {8192, 64, 8192}, true},     {"persist", {8192, 256, 49152}, true},
    {"sec1", {2048, 16, 2048}, true},       {"proinfo", {3072, 64, 3072}, false},
    {"nvram", {5120, 256, 65536}, false},   {"elabel", {1024, 16, 8192}, false},
    {"box", {8192, 16, 65536}, false},      {"sutinfo", {1024, 16, 1024}, false},
};
static const struct size_row slot_rows[SLOT_PARTS] = {
    {"logo", {8192, 16, 8192}, false},      {"md1img", {1024, 64, 102400}, false},
    {"spmfw", {1024, 16, 1024}, false},     {"scp", {1024, 16, 6144}, false},
    {"sspm", {1024, 16, 1024}, false},      {"cam_vpu1", {1024, 16, 15360}, false},
    {"cam_vpu2", {1024, 16, 15360}, false}, {"cam_vpu3", {1024, 16, 15360}, false},
    {"gz", {1024, 16, 16384}, false},       {"lk", {1024, 64, 1024}, false},
    {"boot", {4096, 64, 32768}, false},     {"odmdtbo", {1024, 16, 16384}, false},
    {"tee", {5120, 32, 5120}, false},       {"vbmeta", {64, 16, 8192}, false},
    {"cda", {1024, 16, 16384}, false},      {"systeminfo", {1024, 16, 1024}, false},
    {"vendor", {8192, 64, 876544}, true},   {"system", {16384, 128, 3145728}, true},
};

struct areas {
    uint64_t user, boot, rpmb, preloader, otp, flashinfo, align;
};
static const struct areas area_sizes[] = {
    [PROFILE_MINI] = {335544320, 0x400000, 0x400000, 0x80000, 0x100000, 0x100000, 0x800000},
    [PROFILE_TINY] = {0x600000, 0x40000, 0x40000, 0x20000, 0x20000, 0x20000, 0x10000},
    [PROFILE_FULL] = {31037849600, 0x400000, 0x400000, 0x80000, 0x2B00000, 0x1000000, 0x800000},
    [PROFILE_MINI64] = {671088640, 0x400000, 0x400000, 0x80000, 0x100000, 0x100000, 0x800000},
    [PROFILE_FULL64] = {62537072640, 0x400000, 0x400000, 0x80000, 0x2B00000, 0x1000000, 0x800000},
};

static void part_place(struct layout *l, unsigned index, const struct size_row *row,
                       const char *suffix, uint64_t align)
{
    struct partition *p = &l->parts[index];
    uint64_t at = index ? p[-1].start_bytes + p[-1].size_bytes : FIRST_PART_AT;
    if (row->align && at % align) {
        uint64_t gap = align - at % align;
        p[-1].size_bytes += gap;
        at += gap;
    }
    snprintf(p->name, sizeof(p->name), "%s%s", row->name, suffix);
    p->start_bytes = at;
    p->size_bytes = (uint64_t)row->kib[factory_profile_base(l->profile)] * 1024;
}

static void tail_place(struct layout *l)
{
    uint64_t end = l->user_bytes - GPT_TAIL_BYTES;
    struct partition *userdata = &l->parts[USERDATA_INDEX];
    struct partition *otp = userdata + 1, *flashinfo = userdata + 2;
    strcpy(otp->name, "otp");
    strcpy(flashinfo->name, "flashinfo");
    flashinfo->size_bytes = l->flashinfo_bytes;
    flashinfo->start_bytes = end - flashinfo->size_bytes;
    otp->size_bytes = l->otp_bytes;
    otp->start_bytes = flashinfo->start_bytes - otp->size_bytes;
    userdata->size_bytes = otp->start_bytes - userdata->start_bytes;
}

static void layout_make(struct layout *l, enum factory_profile profile)
{
    static const struct size_row userdata_row = {"userdata", {0, 0, 0}, true};
    const struct areas *a = &area_sizes[profile];
    unsigned at = 0;
    l->profile = profile;
    l->user_bytes = a->user;
    l->boot_bytes = a->boot;
    l->rpmb_bytes = a->rpmb;
    l->preloader_bytes = a->preloader;
    l->otp_bytes = a->otp;
    l->flashinfo_bytes = a->flashinfo;
    for (unsigned i = 0; i < COMMON_PARTS; i++)
        part_place(l, at++, &common_rows[i], "", a->align);
    for (unsigned i = 0; i < SLOT_PARTS; i++)
        part_place(l, at++, &slot_rows[i], "_a", a->align);
    for (unsigned i = 0; i < SLOT_PARTS; i++)
        part_place(l, at++, &slot_rows[i], "_b", a->align);
    part_place(l, at, &userdata_row, "", a->align);
    tail_place(l);
}

static struct layout layouts[PROFILE_COUNT];

static char other_names[2][36]; /* of SYS8 and SYS9; empty: as in the table */

int layout_names_set(const char *sys8_sys9, struct err *err)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789_";
    const char *second = strchr(sys8_sys9, ',');
    const char *const names[2] = {sys8_sys9, second ? second + 1 : ""};
    for (int i = 0; i < 2; i++) {
        size_t len = strspn(names[i], letters);
        if (len == 0 || len >= sizeof(other_names[0]) || names[i][len] != (i ? '\0' : ','))
            return err_set(err, ERR_INPUT, "'%s' are not two names of partitions, with a comma between",
                           sys8_sys9);
    }
    for (int i = 0; i < 2; i++)
        snprintf(other_names[i], sizeof(other_names[i]), "%.*s", (int)strspn(names[i], letters), names[i]);
    return 0;
}

static void layouts_make(void)
{
    for (int i = 0; i < PROFILE_COUNT; i++) {
        layout_make(&layouts[i], (enum factory_profile)i);
        for (int n = 0; n < 2; n++)
            if (other_names[n][0])
                memcpy(layouts[i].parts[SYS8_INDEX + n].name, other_names[n], sizeof(other_names[n]));
    }
}

const struct layout *layout_of(enum factory_profile profile)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, layouts_make);
    return &layouts[profile];
}

const struct partition *layout_find(const struct layout *l, const char *name)
{
    for (unsigned i = 0; i < LAYOUT_PARTITIONS; i++)
        if (strcmp(l->parts[i].name, name) == 0)
            return &l->parts[i];
    return NULL;
}

/* 5A5A0000-0000-4000-8000-<number as 12 hex digits> as a GPT stores it; 0 is the disk. */
static void guid_write(uint8_t out[16], unsigned number)
{
    static const uint8_t head[10] = {0x00, 0x00, 0x5A, 0x5A, 0x00, 0x00, 0x00, 0x40, 0x80, 0x00};
    memset(out, 0, 16);
    memcpy(out, head, sizeof(head));
    put_be32(out + 12, number);
}

static void entries_write(const struct layout *l, uint8_t out[GPT_ENTRIES_BYTES])
{
    /* EBD0A0A2-B9E5-4433-87C0-68B6B72699C7, "basic data": MediaTek gives it to every partition */
    static const uint8_t basic_data[16] = {0xA2, 0xA0, 0xD0, 0xEB, 0xE5, 0xB9, 0x33, 0x44,
                                           0x87, 0xC0, 0x68, 0xB6, 0xB7, 0x26, 0x99, 0xC7};
    memset(out, 0, GPT_ENTRIES_BYTES);
    for (unsigned i = 0; i < LAYOUT_PARTITIONS; i++) {
        const struct partition *p = &l->parts[i];
        uint8_t *e = out + (size_t)i * GPT_ENTRY_BYTES;
        memcpy(e, basic_data, sizeof(basic_data));
        guid_write(e + 16, i + 1);
        put_le64(e + 32, p->start_bytes / SECTOR_BYTES);
        put_le64(e + 40, (p->start_bytes + p->size_bytes) / SECTOR_BYTES - 1);
        for (size_t c = 0; p->name[c]; c++)
            e[56 + 2 * c] = (uint8_t)p->name[c];
    }
}

static void header_write(const struct layout *l, const uint8_t *entries, bool backup, uint8_t *out)
{
    uint64_t last = l->user_bytes / SECTOR_BYTES - 1;
    memset(out, 0, SECTOR_BYTES);
    memcpy(out, "EFI PART", 8);
    put_le32(out + 8, 0x00010000);
    put_le32(out + 12, GPT_HEADER_BYTES);
    put_le64(out + 24, backup ? last : 1);
    put_le64(out + 32, backup ? 1 : last);
    put_le64(out + 40, 34);
    put_le64(out + 48, last - 33);
    guid_write(out + 56, 0);
    put_le64(out + 72, backup ? last - 32 : 2);
    put_le32(out + 80, GPT_ENTRIES);
    put_le32(out + 84, GPT_ENTRY_BYTES);
    put_le32(out + 88, crc32_of(0, span_of(entries, GPT_ENTRIES_BYTES)));
    put_le32(out + 16, crc32_of(0, span_of(out, GPT_HEADER_BYTES)));
}

/* Cylinder, head, sector of an LBA for 255 heads and 63 sectors; past cylinder 1023 all ones. */
static void chs_write(uint64_t lba, uint8_t out[3])
{
    uint64_t cylinder = lba / (255 * 63);
    memset(out, 0xFF, 3);
    if (cylinder > 1023)
        return;
    out[0] = (uint8_t)(lba / 63 % 255);
    out[1] = (uint8_t)(lba % 63 + 1 + (cylinder >> 8 << 6));
    out[2] = (uint8_t)cylinder;
}

void layout_gpt_head(const struct layout *l, uint8_t out[GPT_HEAD_BYTES])
{
    uint8_t *entry = out + 446; /* the one entry of the protective MBR */
    uint64_t sectors = l->user_bytes / SECTOR_BYTES - 1;
    memset(out, 0, SECTOR_BYTES);
    entry[2] = 2; /* starts at cylinder 0, head 0, sector 2 */
    entry[4] = 0xEE;
    chs_write(sectors, entry + 5);
    put_le32(entry + 8, 1);
    put_le32(entry + 12, (uint32_t)MIN_OF(sectors, UINT32_MAX));
    out[510] = 0x55;
    out[511] = 0xAA;
    entries_write(l, out + (size_t)2 * SECTOR_BYTES);
    header_write(l, out + (size_t)2 * SECTOR_BYTES, false, out + SECTOR_BYTES);
}

void layout_gpt_tail(const struct layout *l, uint8_t out[GPT_TAIL_BYTES])
{
    entries_write(l, out);
    header_write(l, out, true, out + GPT_ENTRIES_BYTES);
}
