/* Rows for plausibility: what an operator is told about each image, and about the whole set. */
#include <stdio.h>

#include "tests/unit/rows.h"

#include "usb/base/mem.h"
#include "usb/format/lk.h"
#include "usb/format/para.h"
#include "usb/format/plausible.h"

enum { IMAGE_BYTES = 1 << 20 };
static uint8_t image[IMAGE_BYTES];

/* ---- makers of good images ----------------------------------------------------------------------
 */

static void make_zeros(void)
{
    memset(image, 0, sizeof(image));
}

static void make_ext4(void)
{
    make_zeros();
    put_le32(image + 0x400, 64);                 /* inodes */
    put_le32(image + 0x404, IMAGE_BYTES / 4096); /* blocks */
    put_le32(image + 0x418, 2);                  /* 4096 bytes each */
    put_le16(image + 0x438, 0xef53);
    put_le16(image + 0x43a, 1);
    put_le32(image + 0x460, 0x2c2); /* extents, 64bit, flex_bg: what mke2fs sets */
    memset(image + 0x468, 0x5a, 16);
    put_le32(image + 0x44c, 1);        /* revision */
    put_le16(image + 0x458, 256);      /* bytes an inode */
    put_le32(image + 0x1000 + 8, 9);   /* block of the inode table */
    put_le16(image + 0x9100, 0040755); /* inode 2: the root folder */
    put_le32(image + 0x9104, 4096);
    put_le16(image + 0x911a, 3);
}

/* Blocks of 1 KiB, as mke2fs takes for small partitions; the inode lies within the head. */
static void make_small_ext4(void)
{
    make_ext4();
    put_le32(image + 0x404, IMAGE_BYTES / 1024);
    put_le32(image + 0x418, 0);
    put_le32(image + 0x800 + 8, 6);
    memcpy(image + 0x1900, image + 0x9100, 128);
    memset(image + 0x9100, 0, 128);
}

static void make_proinfo(void)
{
    make_zeros();
    memcpy(image, "PDAGATEST0000001", 16);
}

static void make_nvram(void)
{
    make_zeros();
    put_le32(image + 4, 0x4000);
    memcpy(image + 0x20000, "/nvdata/APCFG/APRDEB/WIFI\0/nvdata/md/NVRAM/NVD_IMEI/LD0B_001", 60);
    memset(image + 0x30000, 0xa5, 4096);
}

static void make_elabel(void)
{
    make_zeros();
    memcpy(image, "ELABEL", 6);
}

static void make_seccfg(void)
{
    make_zeros();
    memcpy(image, "MMMM", 4);
    memcpy(image + 0x1c, "EEEE", 4);
}

static void make_para(void)
{
    struct para p = {{{14, 7, true}, {15, 7, false}}};
    struct buf b;
    make_zeros();
    buf_init(&b, 64);
    para_encode(&p, &b);
    memcpy(image + PARA_SLOT_OFFSET_BYTES, b.data, b.len);
    buf_deinit(&b);
}

static void make_systeminfo(void)
{
    make_zeros();
    memcpy(image, "MLF=PDA-1100-0-00WW-B01\n", 24);
}

static void make_lk(void)
{
    struct mtk_image lk = {.name = "lk"};
    struct buf b;
    make_zeros();
    buf_init(&b, 1 << 20);
    mtk_image_encode(&lk, span_of("payload", 7), &b);
    memcpy(image, b.data, b.len);
    buf_deinit(&b);
}

static void make_ff(void)
{
    memset(image, 0xff, sizeof(image));
}

/* ---- one image ----------------------------------------------------------------------------------
 */

static const struct image_row {
    const char *name, *partition;
    void (*make)(void);
    size_t at; /* u32 to change when value or at is set */
    uint32_t value;
    uint64_t expected_bytes;
    enum plausible_verdict verdict;
    enum plausible_why why;
    const char *says;
} image_rows[] = {
    {"ext4", "nvcfg", make_ext4, 0, 0, IMAGE_BYTES, PLAUSIBLE_YES, WHY_FINE, "file system present"},
    {"ext4 in use", "protect1", make_ext4, 0x460, 0x2c6, 0, PLAUSIBLE_YES, WHY_FINE, "was in use"},
    {"ext4 with small blocks", "nvcfg", make_small_ext4, 0, 0, 0, PLAUSIBLE_YES, WHY_FINE,
     "file system present"},
    {"ext4 whose root is no folder", "nvcfg", make_ext4, 0x9100, 0x81a4, 0, PLAUSIBLE_UNKNOWN,
     WHY_UNCERTAIN, "root folder"},
    {"ext4 whose root holds nothing", "nvcfg", make_ext4, 0x9104, 0, 0, PLAUSIBLE_UNKNOWN,
     WHY_UNCERTAIN, "root folder"},
    {"ext4 with errors", "persist", make_ext4, 0x43a, 0x10003, 0, PLAUSIBLE_UNKNOWN, WHY_UNCERTAIN,
     "found errors"},
    {"ext4 with a strange feature", "nvdata", make_ext4, 0x45c, 0x80000000, 0, PLAUSIBLE_UNKNOWN,
     WHY_UNCERTAIN, "not known"},
    {"ext4 with a strange feature for writers", "nvdata", make_ext4, 0x464, 0x80000000, 0,
     PLAUSIBLE_UNKNOWN, WHY_UNCERTAIN, "not known"},
    {"ext4 whose inodes lie behind its end", "nvcfg", make_ext4, 0x1008, 0x7fffffff, 0,
     PLAUSIBLE_UNKNOWN, WHY_UNCERTAIN, "root folder"},
    {"ext4 without magic", "nvcfg", make_ext4, 0x438, 0, 0, PLAUSIBLE_NO, WHY_DAMAGED,
     "no file system"},
    {"ext4 larger than the image", "persist", make_ext4, 0x404, 257, 0, PLAUSIBLE_NO,
     WHY_WRONG_SIZE, "larger than the image"},
    {"ext4 with blocks of 8 KiB", "nvdata", make_ext4, 0x418, 3, 0, PLAUSIBLE_NO, WHY_DAMAGED,
     "damaged"},
    {"ext4 of the future", "nvdata", make_ext4, 0x460, 0x80000000, 0, PLAUSIBLE_NO, WHY_DAMAGED,
     "damaged"},
    {"ext4 without blocks", "nvdata", make_ext4, 0x404, 0, 0, PLAUSIBLE_NO, WHY_DAMAGED, "damaged"},
    {"other layout", "protect2", make_ext4, 0, 0, IMAGE_BYTES + 0x166000, PLAUSIBLE_NO,
     WHY_WRONG_SIZE, "another layout"},
    {"empty nvcfg", "nvcfg", make_zeros, 0, 0, 0, PLAUSIBLE_NO, WHY_EMPTY, "all 00"},
    {"erased nvram", "nvram", make_ff, 0, 0, 0, PLAUSIBLE_NO, WHY_EMPTY, "all FF"},
    {"proinfo", "proinfo", make_proinfo, 0, 0, 0, PLAUSIBLE_YES, WHY_FINE, "PDAGATEST0000001"},
    {"proinfo of another model", "proinfo", make_proinfo, 0, 0x43424158, 0, PLAUSIBLE_NO,
     WHY_BAD_SERIAL, "not a serial of this model"},
    {"proinfo with something behind", "proinfo", make_proinfo, 20, 1, 0, PLAUSIBLE_NO,
     WHY_BAD_SERIAL, "does not begin with a serial"},
    {"proinfo empty at its start", "proinfo", make_zeros, 5000, 1, 0, PLAUSIBLE_NO, WHY_PLACEHOLDER,
     "nothing instead of a serial"},
    {"erased proinfo", "proinfo", make_ff, 0, 0, 0, PLAUSIBLE_NO, WHY_EMPTY, "all FF"},
    {"nvram", "nvram", make_nvram, 0, 0, 0, PLAUSIBLE_YES, WHY_FINE, "radio data"},
    {"nvram with an empty head", "nvram", make_nvram, 4, 0, 0, PLAUSIBLE_NO, WHY_EMPTY,
     "empty head"},
    {"nvram of unknown form", "nvram", make_nvram, 0x20000 + 21, 0, 0, PLAUSIBLE_UNKNOWN,
     WHY_UNCERTAIN, "compare the IMEI"},
    {"elabel", "elabel", make_elabel, 0, 0, 0, PLAUSIBLE_YES, WHY_FINE, "not empty"},
    {"empty elabel", "elabel", make_zeros, 0, 0, 0, PLAUSIBLE_NO, WHY_EMPTY, "works without it"},
    {"seccfg", "seccfg", make_seccfg, 0, 0, 0, PLAUSIBLE_YES, WHY_FINE, "never written back"},
    {"empty seccfg", "seccfg", make_zeros, 0, 0, 0, PLAUSIBLE_UNKNOWN, WHY_UNCERTAIN, "empty"},
    {"para", "para", make_para, 0, 0, 0, PLAUSIBLE_YES, WHY_FINE, "slot b is active"},
    {"empty para", "para", make_zeros, 0, 0, 0, PLAUSIBLE_UNKNOWN, WHY_UNCERTAIN, "empty"},
    {"systeminfo", "systeminfo_a", make_systeminfo, 0, 0, 0, PLAUSIBLE_YES, WHY_FINE, "PDA-1100"},
    {"lk", "lk_a", make_lk, 0, 0, 0, PLAUSIBLE_YES, WHY_FINE, "bootloader of 7 bytes"},
    {"lk damaged", "lk_b", make_lk, 0, 1, 0, PLAUSIBLE_NO, WHY_DAMAGED, "no MediaTek image header"},
    {"lk of the unused slot", "lk_b", make_zeros, 0, 0, 0, PLAUSIBLE_UNKNOWN, WHY_UNCERTAIN,
     "empty"},
    {"no rule", "system_a", make_zeros, 0, 0, 0, PLAUSIBLE_UNKNOWN, WHY_NOT_CHECKED, "not checked"},
    {"never heard of it", "foo", make_zeros, 0, 0, 0, PLAUSIBLE_UNKNOWN, WHY_NOT_CHECKED,
     "not checked"},
};

static void judge_in_steps(const struct image_row *row, size_t step, struct plausible *out)
{
    struct plausible_scan scan;
    plausible_begin(&scan, row->partition, IMAGE_BYTES, row->expected_bytes);
    for (size_t at = 0; at < IMAGE_BYTES; at += step)
        plausible_feed(&scan, span_sub(span_of(image, IMAGE_BYTES), at, step));
    plausible_end(&scan, out);
}

static void images_are_judged(void **state)
{
    const struct image_row *row = ROW(state);
    row->make();
    if (row->at || row->value)
        put_le32(image + row->at, row->value);
    static const size_t steps[] = {IMAGE_BYTES, 4096, 1021, 0x2001b};
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        struct plausible p;
        judge_in_steps(row, steps[i], &p);
        if (!strstr(p.reason, row->says))
            fail_msg("step %zu: '%s' does not say '%s'", steps[i], p.reason, row->says);
        assert_int_equal(p.verdict, row->verdict);
        assert_int_equal(p.why, row->why);
    }
}

static void holes_are_zeros(void **state)
{
    (void)state;
    struct plausible_scan scan;
    struct plausible p;
    make_nvram();
    plausible_begin(&scan, "nvram", IMAGE_BYTES, 0);
    plausible_feed(&scan, span_of(image, 0x31000));
    plausible_hole(&scan, IMAGE_BYTES - 0x31000);
    plausible_end(&scan, &p);
    assert_int_equal(p.verdict, PLAUSIBLE_YES);
    plausible_begin(&scan, "nvram", IMAGE_BYTES, 0);
    plausible_hole(&scan, IMAGE_BYTES);
    plausible_end(&scan, &p);
    assert_int_equal(p.why, WHY_EMPTY);
    plausible_begin(&scan, "nvram", IMAGE_BYTES, 0);
    plausible_hole(&scan, IMAGE_BYTES - 1);
    plausible_end(&scan, &p);
    assert_int_equal(p.why, WHY_CUT_SHORT);
}

/* ---- the set ------------------------------------------------------------------------------------
 */

static const struct set_row {
    const char *name, *label, *partition; /* whose image is replaced */
    void (*make)(void);                   /* NULL: it is missing */
    const char *serial;                   /* put into proinfo instead */
    enum set_verdict want;
    const char *says;
} set_rows[] = {
    {"good", "PDAGATEST0000001", "", NULL, NULL, SET_USABLE, "everything"},
    {"good, no label yet", NULL, "", NULL, NULL, SET_USABLE, "everything"},
    {"no elabel", NULL, "elabel", NULL, NULL, SET_WITHOUT_ELABEL, "elabel"},
    {"empty elabel", NULL, "elabel", make_zeros, NULL, SET_WITHOUT_ELABEL, "elabel"},
    {"no protect2", NULL, "protect2", NULL, NULL, SET_INCOMPLETE, "protect2 is missing"},
    {"damaged nvcfg", NULL, "nvcfg", make_nvram, NULL, SET_INCOMPLETE, "no file system"},
    {"zeroed nvram", NULL, "nvram", make_zeros, NULL, SET_AFTER_LOSS, "after the loss"},
    {"default serial", NULL, "", NULL, "0123456789ABCDEF", SET_PLACEHOLDER, "placeholder"},
    {"another phone's", "PDAGATEST0000002", "", NULL, NULL, SET_OTHER_PHONE, "another phone"},
    {"O for 0 on the label", "PDAGATESTO000001", "", NULL, NULL, SET_OTHER_PHONE,
     "scan the label again"},
};

static void good_image(const char *partition)
{
    if (strcmp(partition, "proinfo") == 0)
        make_proinfo();
    else if (strcmp(partition, "nvram") == 0)
        make_nvram();
    else if (strcmp(partition, "elabel") == 0)
        make_elabel();
    else
        make_ext4();
}

static void sets_are_judged(void **state)
{
    const struct set_row *row = ROW(state);
    static const char *const names[] = {"elabel",   "proinfo",  "nvcfg",
                                        "protect1", "protect2", "nvram"};
    struct set_item items[ARRAY_LEN(names)];
    size_t count = 0;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        bool replaced = strcmp(names[i], row->partition) == 0;
        if (replaced && !row->make)
            continue;
        if (replaced)
            row->make();
        else
            good_image(names[i]);
        if (row->serial && strcmp(names[i], "proinfo") == 0)
            memcpy(image, row->serial, 16);
        items[count].name = names[i];
        plausible_of(names[i], span_of(image, IMAGE_BYTES), 0, &items[count++].judged);
    }
    struct set_judgement out;
    plausible_set(items, count, row->label, &out);
    if (!strstr(out.reason, row->says))
        fail_msg("'%s' does not say '%s'", out.reason, row->says);
    assert_int_equal(out.verdict, row->want);
}

/* ---- roles --------------------------------------------------------------------------------------
 */

static const struct role_row {
    const char *name, *partition;
    enum role_class class;
    bool identity_set, protected;
} role_rows[] = {
    {"serial", "proinfo", ROLE_IDENTITY, true, true},
    {"lock state", "seccfg", ROLE_IDENTITY, true, true},
    {"bootloader", "lk_a", ROLE_MODEL, true, false},
    {"bootloader without slots", "lk", ROLE_MODEL, true, false},
    {"second bootloader", "lk2", ROLE_MODEL, false, false},
    {"version", "systeminfo_b", ROLE_MODEL, true, false},
    {"slots", "para", ROLE_DEVICE, true, true},
    {"system", "system_a", ROLE_MODEL, false, false},
    {"photos", "userdata", ROLE_USER, false, true},
    {"unknown", "nvram2", ROLE_UNKNOWN, false, true},
    {"no such slot", "nvram_c", ROLE_UNKNOWN, false, true},
    {"in capitals, as old scatter files have it", "PROINFO", ROLE_IDENTITY, true, true},
    {"bootloader in capitals", "LK_A", ROLE_MODEL, true, false},
    {"only a suffix", "_a", ROLE_UNKNOWN, false, true},
};

static void roles_are_known(void **state)
{
    const struct role_row *row = ROW(state);
    assert_int_equal(role_of(row->partition)->class, row->class);
    assert_int_equal(role_in_identity_set(row->partition), row->identity_set);
    assert_int_equal(role_is_protected(row->partition), row->protected);
}

static void identity_names_are_identity(void **state)
{
    (void)state;
    int count = 0;
    for (; role_identity_names[count]; count++)
        assert_true(role_in_identity_set(role_identity_names[count]));
    assert_int_equal(count, 18);
    assert_true(role_of("elabel")->donor_ok);
    assert_false(role_of("nvram")->donor_ok);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(holes_are_zeros),
        cmocka_unit_test(identity_names_are_identity),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    failed += RUN_ROWS(images_are_judged, image_rows);
    failed += RUN_ROWS(sets_are_judged, set_rows);
    failed += RUN_ROWS(roles_are_known, role_rows);
    return failed;
}
