/* x5_layout.h: the constructed partition layout of an X5-like phone (usb/format/README.md, "Fixture
 * layout"), for tests that need a table byte for byte as sgdisk writes it. */
#ifndef FLASHRACK_TESTS_X5_LAYOUT_H
#define FLASHRACK_TESTS_X5_LAYOUT_H

#include <stdio.h>

#include "usb/format/gpt.h"

struct x5_part {
    const char *name;
    uint32_t full_kib, mini_kib;
    bool align; /* starts on a multiple of 8 MiB; the partition before it absorbs the gap */
};

static const struct x5_part x5_common[] = {
    {"boot_para", 1024, 1024, 0}, {"para", 512, 512, 0},        {"expdb", 20480, 1024, 0},
    {"frp", 1024, 1024, 0},       {"nvcfg", 32768, 8192, 0},    {"nvdata", 65536, 16384, 0},
    {"md_udc", 23144, 616, 0},    {"metadata", 32768, 1024, 0}, {"protect1", 8192, 8192, 0},
    {"protect2", 8192, 8192, 0},  {"seccfg", 8192, 8192, 1},    {"persist", 49152, 8192, 1},
    {"sec1", 2048, 2048, 1},      {"proinfo", 3072, 3072, 0},   {"nvram", 65536, 5120, 0},
    {"elabel", 8192, 1024, 0},    {"box", 65536, 8192, 0},      {"sutinfo", 1024, 1024, 0},
};
static const struct x5_part x5_slotted[] = {
    {"logo", 8192, 8192, 0},       {"md1img", 102400, 1024, 0},  {"spmfw", 1024, 1024, 0},
    {"scp", 6144, 1024, 0},        {"sspm", 1024, 1024, 0},      {"cam_vpu1", 15360, 1024, 0},
    {"cam_vpu2", 15360, 1024, 0},  {"cam_vpu3", 15360, 1024, 0}, {"gz", 16384, 1024, 0},
    {"lk", 1024, 1024, 0},         {"boot", 32768, 4096, 0},     {"odmdtbo", 16384, 1024, 0},
    {"tee", 5120, 5120, 0},        {"vbmeta", 8192, 64, 0},      {"cda", 16384, 1024, 0},
    {"systeminfo", 1024, 1024, 0}, {"vendor", 876544, 8192, 1},  {"system", 3145728, 16384, 1},
};

static inline void x5_add(struct gpt *t, const char *name, const char *suffix, uint64_t start,
                          uint64_t size)
{
    struct gpt_entry *e = &t->entries[t->count++];
    e->number = t->count;
    memcpy(e->type_guid, GPT_TYPE_DATA, 16);
    memcpy(e->unique_guid, "\x00\x00\x5a\x5a\x00\x00\x00\x40\x80\x00", 10);
    e->unique_guid[15] = (uint8_t)t->count;
    snprintf(e->name, sizeof(e->name), "%s%s", name, suffix);
    e->first_lba = start / 512;
    e->last_lba = (start + size) / 512 - 1;
}

static inline uint64_t x5_align(struct gpt *t, uint64_t off)
{
    uint64_t to = (off + 0x7fffff) / 0x800000 * 0x800000;
    t->entries[t->count - 1].last_lba += (to - off) / 512;
    return to;
}

static inline uint64_t x5_put(struct gpt *t, const struct x5_part *p, const char *suffix, bool full,
                              uint64_t off)
{
    uint64_t size = (uint64_t)(full ? p->full_kib : p->mini_kib) * 1024;
    if (p->align)
        off = x5_align(t, off);
    x5_add(t, p->name, suffix, off, size);
    return off + size;
}

/* Fills *t, returns the size of the user area. */
static inline uint64_t x5_layout(struct gpt *t, bool full)
{
    uint64_t total = full ? 31037849600 : 335544320;
    uint64_t otp = full ? 0x2b00000 : 1 << 20, flashinfo = full ? 0x1000000 : 1 << 20;
    *t = (struct gpt){.sector_bytes = 512};
    memcpy(t->disk_guid, "\x00\x00\x5a\x5a\x00\x00\x00\x40\x80\x00\x00\x00\x00\x00\x00\x00", 16);
    uint64_t off = 0x8000, end = total - 33 * 512;
    for (size_t i = 0; i < 18; i++)
        off = x5_put(t, &x5_common[i], "", full, off);
    for (size_t i = 0; i < 18; i++)
        off = x5_put(t, &x5_slotted[i], "_a", full, off);
    for (size_t i = 0; i < 18; i++)
        off = x5_put(t, &x5_slotted[i], "_b", full, off);
    off = x5_align(t, off);
    x5_add(t, "userdata", "", off, end - flashinfo - otp - off);
    x5_add(t, "otp", "", end - flashinfo - otp, otp);
    x5_add(t, "flashinfo", "", end - flashinfo, flashinfo);
    return total;
}

#endif
