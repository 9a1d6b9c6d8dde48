/* Rows for the image header, the download agent container and the preloader's DRAM settings. */
#include <stdio.h>

#include "tests/unit/rows.h"

#include "usb/format/da_file.h"
#include "usb/format/emi.h"
#include "usb/format/lk.h"

static struct buf file;

static void says(const struct err *err, const char *want)
{
    if (!strstr(err->text, want))
        fail_msg("'%s' does not say '%s'", err->text, want);
}

/* ---- image header --------------------------------------------------------------------------- */

static const struct lk_row {
    const char *name, *image_name;
    size_t payload;
    size_t at; /* byte to change, 0: none */
    uint8_t value;
    uint64_t file_bytes; /* 0: as made */
    int want;
    const char *says;
} lk_rows[] = {
    {"bootloader", "lk", 1000, 0, 0, 0, 0, ""},
    {"fills the partition", "lk", 0x100000 - 0x200, 0, 0, 0, 0, ""},
    {"another image", "atf", 1000, 0, 0, 0, ERR_FORMAT, "'atf'"},
    {"capital i", "Ik", 1000, 0, 0, 0, ERR_FORMAT, "'Ik'"},
    {"one sector too large", "lk", 1000, 0, 0, 0x100200, ERR_FORMAT, "1 MiB"},
    {"cut off", "lk", 1000, 0, 0, 900, ERR_FORMAT, "cut off"},
    {"first magic", "lk", 1000, 1, 0, 0, ERR_FORMAT, "no MediaTek image header"},
    {"second magic", "lk", 1000, 0x30, 0, 0, ERR_FORMAT, "second magic"},
    {"empty", "lk", 0, 0, 0, 0, ERR_FORMAT, "empty"},
    {"name not readable", "lk", 16, 8, 1, 0, ERR_FORMAT, "readable name"},
};

static void lk_is_checked(void **state)
{
    const struct lk_row *row = ROW(state);
    struct mtk_image in = {.load_address = 0x4c400000}, out;
    snprintf(in.name, sizeof(in.name), "%s", row->image_name);
    uint8_t *payload = calloc(1, row->payload + 1);
    buf_clear(&file);
    mtk_image_encode(&in, span_of(payload, row->payload), &file);
    free(payload);
    assert_int_equal(file.len % MTK_IMAGE_ALIGN, 0);
    if (row->at)
        file.data[row->at] = row->value;
    struct err err = {0};
    uint64_t bytes = row->file_bytes ? row->file_bytes : file.len;
    assert_int_equal(lk_check(buf_span(&file), bytes, &out, &err), row->want);
    says(&err, row->says);
    if (row->want < 0)
        return;
    assert_int_equal(out.data_bytes, row->payload);
    assert_int_equal(out.load_address, 0x4c400000);
    assert_int_equal(mtk_image_span_bytes(&out), file.len);
    assert_int_equal(lk_check(span_of(file.data, 0x1ff), bytes, &out, NULL), ERR_FORMAT);
}

/* ---- download agent ------------------------------------------------------------------------- */

enum { DA1 = 1000, DA2 = 3001 };
static const size_t entry = DA_HEADER_BYTES;

static void da_make(void)
{
    static uint8_t code[DA2];
    memset(code, 0xc0, sizeof(code));
    buf_clear(&file);
    da_file_encode(span_of(code, DA1), span_of(code, DA2), 0x51, &file);
}

static void da_round_trip(void **state)
{
    (void)state;
    da_make();
    struct da_file da;
    const struct da_entry *e;
    assert_int_equal(file.len, 0x376c + 0x270 + DA1 + DA2 + 0x200);
    assert_int_equal(da_file_decode(span_of(file.data, DA_TABLE_BYTES), file.len, &da, NULL), 0);
    assert_int_equal(da.count, 1);
    assert_int_equal(da.version, 4);
    assert_int_equal(da_code_of(0x0788), 0x6771);
    assert_int_equal(da_code_of(0x0690), 0);
    assert_int_equal(da_file_pick(&da, 0x6771, 0xca00, 0, &e, NULL), 0);
    struct da_stage one = da_stage1(e), two = da_stage2(e);
    assert_int_equal(one.length, DA1 + 0x100); /* sent with its signature */
    assert_int_equal(two.length, DA2);         /* sent without */
    assert_int_equal(one.load_address, 0x00200000);
    assert_int_equal(two.load_address, 0x40000000);
    assert_int_equal(file.data[one.offset], 0xc0);
    assert_int_equal(file.data[two.offset + DA2], 0x51);
    assert_memory_equal(file.data + e->regions[0].offset, "MMM\1\x38\0\0\0FILE_INFO", 17);
    /* a detector of the old entry size looks here */
    assert_int_not_equal(get_le16(file.data + 0x144), 0xdada);
}

static const struct pick_row {
    const char *name;
    uint16_t code, hw, sw;
    int want;
} pick_rows[] = {
    {"exact", 0x6771, 0xca00, 0, 0},
    {"phone is newer", 0x6771, 0xcb00, 1, 0},
    {"phone does not say", 0x6771, 0, 0, 0},
    {"phone is older than the agent", 0x6771, 0xc900, 0, ERR_NOT_FOUND},
    {"another chip", 0x6765, 0xca00, 0, ERR_NOT_FOUND},
};

static void da_entry_is_picked(void **state)
{
    const struct pick_row *row = ROW(state);
    da_make();
    struct da_file da;
    const struct da_entry *e;
    assert_int_equal(da_file_decode(buf_span(&file), file.len, &da, NULL), 0);
    assert_int_equal(da_file_pick(&da, row->code, row->hw, row->sw, &e, NULL), row->want);
}

static const struct da_row {
    const char *name;
    size_t at;
    uint32_t value; /* u32 put at `at` */
    int want;
    const char *says;
} da_rows[] = {
    {"magic text", 0, 0, ERR_FORMAT, "MTK_DOWNLOAD_AGENT"},
    {"magic", 0x64, 1, ERR_FORMAT, "magic 00000001"},
    {"no entries", 0x68, 0, ERR_FORMAT, "0 entries"},
    {"too many entries", 0x68, 65, ERR_FORMAT, "65 entries"},
    {"second entry is not there", 0x68, 2, ERR_FORMAT, "entry 1: entry does not start"},
    {"XML generation", 0x20 + 4, 0x765f4144, ERR_UNSUPPORTED, "v6"}, /* MTK_DA_v */
    {"entry magic", entry, 0x67710000, ERR_FORMAT, "DA DA"},
    {"eleven regions", entry + 0x12, 11, ERR_FORMAT, "11 regions"},
    {"region past the end", entry + 0x14, 0x7fffffff, ERR_FORMAT, "region 0: region at"},
    {"length overflows", entry + 0x14 + 20 + 4, 0xffffffff, ERR_FORMAT, "region 1: region at"},
    {"signature longer than region", entry + 0x14 + 20 + 16, 0x10000, ERR_FORMAT,
     "signature of 65536"},
};

static void da_damage_is_named(void **state)
{
    const struct da_row *row = ROW(state);
    da_make();
    put_le32(file.data + row->at, row->value);
    if (row->want == ERR_UNSUPPORTED)
        memcpy(file.data + 0x20, "MTK_DA_v6", 9);
    struct da_file da = {.count = 77};
    struct err err = {0};
    assert_int_equal(da_file_decode(buf_span(&file), file.len, &da, &err), row->want);
    says(&err, row->says);
    assert_int_equal(da.count, 77); /* outputs change only on success */
}

static void da_stages_must_be_there(void **state)
{
    (void)state;
    struct da_file da;
    const struct da_entry *e;
    da_make();
    put_le16(file.data + entry + 0x12, 2);
    assert_int_equal(da_file_decode(buf_span(&file), file.len, &da, NULL), 0);
    assert_int_equal(da_file_pick(&da, 0x6771, 0, 0, &e, NULL), ERR_FORMAT);
    da_make();
    put_le32(file.data + entry + 0x14 + 40 + 16, DA2 + 0x100); /* all of DA2 is signature */
    assert_int_equal(da_file_decode(buf_span(&file), file.len, &da, NULL), 0);
    assert_int_equal(da_file_pick(&da, 0x6771, 0, 0, &e, NULL), ERR_FORMAT);
}

static void old_da_file(int count)
{
    uint8_t old[0x6c + 2 * 0xd8 + 64] = "MTK_DOWNLOAD_AGENT";
    put_le32(old + 0x60, 4);
    put_le32(old + 0x64, 0x22668899);
    put_le32(old + 0x68, (uint32_t)count);
    for (int i = 0; i < count; i++) {
        uint8_t *p = old + 0x6c + i * 0xd8;
        put_le16(p, 0xdada);
        put_le16(p + 2, i == count - 1 ? 0x6771 : 0x6572);
        put_le16(p + 6, 0xca00);
        put_le16(p + 8, 0x1000); /* page size, where new entries have the sw version */
        put_le16(p + 0x0e, 1);
        put_le32(p + 0x10, 0x6c + 2 * 0xd8);
        put_le32(p + 0x14, 64);
    }
    struct da_file da;
    assert_int_equal(da_file_decode(span_of(old, sizeof(old)), sizeof(old), &da, NULL), 0);
    assert_true(da.old_entries);
    const struct da_entry *last = &da.entries[count - 1];
    assert_int_equal(last->hw_code, 0x6771);
    assert_int_equal(last->page_size, 0x1000);
    assert_int_equal(last->sw_version, 0);
    assert_int_equal(last->regions[0].length, 64);
}

static void old_da_entries_are_shorter(void **state)
{
    (void)state;
    old_da_file(2);
    old_da_file(1); /* no second one to tell by */
}

/* ---- preloader ------------------------------------------------------------------------------ */

static const uint8_t cids[2][16] = {{0x90, 1, 0x4a, 'H', 'C', 'G', '8', 'a', '4'},
                                    {0x15, 1, 0, 'D', 'H', '6', 'D', 'M', 'B'}};

static void preloader_make(bool emmc_header)
{
    static uint8_t code[5000];
    struct preloader_spec spec = {.name = "preloader_pda.bin",
                                  .code = span_of(code, sizeof(code)),
                                  .cids = cids,
                                  .cid_count = 2,
                                  .emmc_header = emmc_header};
    buf_clear(&file);
    preloader_encode(&spec, &file);
}

static void block_is_cut(const char *how, struct span in, struct span *block)
{
    struct err err = {0};
    if (emi_cut(in, block, &err) < 0)
        fail_msg("%s: %s", how, err.text);
    struct emi_info info;
    assert_int_equal(emi_decode(*block, &info, NULL), 0);
    assert_int_equal(info.version, 36);
    assert_int_equal(info.entry_count, 2);
    assert_string_equal(info.preloader_name, "preloader_pda.bin");
    assert_int_equal(block->len, 0x70 + 2 * 0xa0);
}

static void emi_is_cut_from_every_form(void **state)
{
    (void)state;
    struct span block, again;
    preloader_make(false);
    block_is_cut("plain", buf_span(&file), &block);
    block_is_cut("cut before", block, &again);
    assert_ptr_equal(again.data, block.data);
    buf_put_zeros(&file, 5000); /* a file padded to its partition */
    block_is_cut("padded file", buf_span(&file), &block);
    preloader_make(true);
    assert_memory_equal(file.data, "EMMC_BOOT", 9);
    assert_memory_equal(file.data + 0x800, "MMM\1", 4);
    buf_put_zeros(&file, 100000);
    block_is_cut("BOOT1", buf_span(&file), &block);
}

/* Some builds put 0x800 zeros between the length word and the signature. */
static void emi_is_cut_behind_padding(void **state)
{
    (void)state;
    preloader_make(false);
    struct buf padded;
    buf_init(&padded, 1 << 20);
    uint32_t length = get_le32(file.data + 0x20), signature = get_le32(file.data + 0x2c);
    buf_put(&padded, file.data, length - signature);
    buf_put_zeros(&padded, 0x800);
    buf_put(&padded, file.data + length - signature, signature);
    put_le32(padded.data + 0x20, length + 0x800);
    struct span block;
    block_is_cut("padding", buf_span(&padded), &block);
    buf_deinit(&padded);
}

static const struct emi_row {
    const char *name;
    size_t at;
    uint32_t value;
    const char *says;
} emi_rows[] = {
    {"no header", 8, 0, "no FILE_INFO"},
    {"longer than the file", 0x20, 0x100000, "cut off"},
    {"signature longer than the file", 0x2c, 0x100000, "cut off"},
    {"no room for a header", 0x20, 0x66c + 10, "cut off"},
    {"wrong signature length", 0x2c, 0x600, "no DRAM settings"},
};

static void emi_damage_is_named(void **state)
{
    const struct emi_row *row = ROW(state);
    preloader_make(false);
    put_le32(file.data + row->at, row->value);
    struct err err = {0};
    struct span block;
    assert_int_equal(emi_cut(buf_span(&file), &block, &err), ERR_FORMAT);
    says(&err, row->says);
}

static void emi_entries_must_be_there(void **state)
{
    (void)state;
    struct span block;
    struct emi_info info;
    preloader_make(false);
    assert_int_equal(emi_cut(buf_span(&file), &block, NULL), 0);
    assert_int_equal(emi_decode(span_of(block.data, block.len - 1), &info, NULL), ERR_FORMAT);
    uint8_t copy[0x70 + 2 * 0xa0];
    memcpy(copy, block.data, sizeof(copy));
    put_le32(copy + 0x6c, 0);
    assert_int_equal(emi_decode(span_of(copy, sizeof(copy)), &info, NULL), ERR_FORMAT);
    put_le32(copy + 0x6c, 0xffffffff);
    assert_int_equal(emi_decode(span_of(copy, sizeof(copy)), &info, NULL), ERR_FORMAT);
}

int main(void)
{
    buf_init(&file, 4 << 20);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(da_round_trip),
        cmocka_unit_test(da_stages_must_be_there),
        cmocka_unit_test(old_da_entries_are_shorter),
        cmocka_unit_test(emi_is_cut_from_every_form),
        cmocka_unit_test(emi_is_cut_behind_padding),
        cmocka_unit_test(emi_entries_must_be_there),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    failed += RUN_ROWS(lk_is_checked, lk_rows);
    failed += RUN_ROWS(da_entry_is_picked, pick_rows);
    failed += RUN_ROWS(da_damage_is_named, da_rows);
    failed += RUN_ROWS(emi_damage_is_named, emi_rows);
    buf_deinit(&file);
    return failed;
}
