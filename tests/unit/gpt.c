/* Rows for GPT: byte for byte sgdisk's table, and every way a table can be wrong. */
#include "tests/unit/rows.h"

#include "tests/unit/x5_layout.h"
#include "usb/base/hash.h"
#include "usb/base/mem.h"

static struct gpt table, decoded;
static struct buf image;

static uint64_t make(bool full)
{
    buf_clear(&image);
    return x5_layout(&table, full);
}

static void assert_sha256(struct span in, const char *want)
{
    char hex[SHA256_HEX_BYTES];
    struct sha256 d = sha256_of(in);
    sha256_hex(&d, hex);
    assert_string_equal(hex, want);
}

/* Sums of images made by sgdisk 1.0.9 (README.md of usb/format, "Fixture layout"). */
static const struct sgdisk_row {
    const char *name;
    bool full;
    const char *primary, *backup;
} sgdisk_rows[] = {
    {"mini", false, "8af9a40ac47436b170fed3e0ae68dabc6323d18d4315bfcd2d07938758b57c92",
     "4100163975b1faf4d72b8ab4c86b1c38d94f7eee8ee630b6015a773451b9db5d"},
    {"full", true, "411905da9edaa186df12c19b2cefb3bff712b23c4875e4ef1222eac143859803",
     "73a22defdd4557b3d4e5a58b2d1ca3297c101e28386f7be71e1796bb40af02ae"},
};

static void same_bytes_as_sgdisk(void **state)
{
    const struct sgdisk_row *row = ROW(state);
    uint64_t lbas = make(row->full) / 512;
    gpt_encode_primary(&table, lbas, &image);
    assert_int_equal(image.len, 17408);
    assert_sha256(buf_span(&image), row->primary);
    assert_int_equal(gpt_probe(buf_span(&image), &decoded, NULL), 0);
    assert_true(gpt_same_layout(&table, &decoded));
    assert_int_equal(decoded.alternate_lba, lbas - 1);

    buf_clear(&image);
    gpt_encode_backup(&table, lbas, &image);
    assert_int_equal(image.len, 16896);
    assert_sha256(buf_span(&image), row->backup);
    assert_int_equal(gpt_probe_backup(buf_span(&image), &decoded, NULL), 0);
    assert_true(decoded.from_backup && gpt_same_layout(&table, &decoded));
}

static void big_sectors_round_trip(void **state)
{
    (void)state;
    make(false);
    table.sector_bytes = 4096;
    for (uint32_t i = 0; i < table.count; i++) {
        table.entries[i].first_lba = 6 + i * 2;
        table.entries[i].last_lba = 7 + i * 2;
    }
    gpt_encode_primary(&table, 100000, &image);
    assert_int_equal(gpt_probe(buf_span(&image), &decoded, NULL), 0);
    assert_int_equal(decoded.sector_bytes, 4096);
    assert_true(gpt_same_layout(&table, &decoded));
    buf_clear(&image);
    gpt_encode_backup(&table, 100000, &image);
    assert_int_equal(image.len, gpt_backup_bytes(4096));
    assert_int_equal(gpt_probe_backup(buf_span(&image), &decoded, NULL), 0);
    assert_true(gpt_same_layout(&table, &decoded));
}

static void names_lead_to_extents(void **state)
{
    (void)state;
    make(false);
    struct extent x;
    assert_int_equal(gpt_lookup(&table, "proinfo", &x, NULL), 0);
    assert_int_equal(x.start_bytes, 135168 * 512);
    assert_int_equal(x.size_bytes, 6144 * 512);
    assert_int_equal(gpt_lookup(&table, "proinf", &x, NULL), ERR_NOT_FOUND);
}

/* Writes `value` at `at` in the primary table of the mini layout; with `sums` the checksums are
 * made right again, so that the field itself must be refused. */
static const struct damage_row {
    const char *name;
    size_t at;
    uint8_t value;
    bool sums;
    const char *says;
} damage_rows[] = {
    {"signature", 512, 'X', false, "no GPT header"},
    {"header byte", 512 + 24, 9, false, "header checksum"},
    {"entry byte (7-Zip shows a single 0.img)", 1100, 0x55, false, "entries checksum"},
    {"header too long", 512 + 13, 0xff, false, "bytes long"},
    {"not in its place", 512 + 24, 9, true, "not in its place"},
    {"no entries", 512 + 80, 0, true, "0 entries"},
    {"entries of 384 bytes", 512 + 85, 1, true, "of 384 bytes"},
    {"entries overlap", 1024 + 128 + 33, 7, true, "overlap"},
};

static void table_sum(uint8_t *p, uint32_t count)
{
    put_le32(p + 512 + 88, crc32_of(0, span_of(p + 1024, (size_t)count * GPT_ENTRY_BYTES)));
    put_le32(p + 512 + 16, 0);
    put_le32(p + 512 + 16, crc32_of(0, span_of(p + 512, 92)));
}

static void sums_again(uint8_t *p)
{
    table_sum(p, GPT_ENTRIES_MAX);
}

static void damage_is_named(void **state)
{
    const struct damage_row *row = ROW(state);
    uint64_t lbas = make(false) / 512;
    gpt_encode_primary(&table, lbas, &image);
    image.data[row->at] = row->value;
    if (row->sums)
        sums_again(image.data);
    struct err err = {0};
    decoded.count = 7;
    assert_int_equal(gpt_probe(buf_span(&image), &decoded, &err), ERR_FORMAT);
    if (!strstr(err.text, row->says))
        fail_msg("'%s' does not say '%s'", err.text, row->says);
    assert_int_equal(decoded.count, 7);
}

/* One strange entry does not spoil the others. */
static const struct place_row {
    const char *name;
    size_t at; /* in the first entry, boot_para */
    uint8_t value;
    uint32_t outside, left_out;
} place_rows[] = {
    {"outside the usable area", 32, 1, 1, 0},
    {"ends before it starts", 41, 0, 0, 1},
    {"behind the end of the disk", 45, 1, 0, 1},
};

static void strange_places_are_told(void **state)
{
    const struct place_row *row = ROW(state);
    uint64_t lbas = make(false) / 512;
    gpt_encode_primary(&table, lbas, &image);
    image.data[1024 + row->at] = row->value;
    sums_again(image.data);
    struct err err = {0};
    assert_int_equal(gpt_probe(buf_span(&image), &decoded, &err), 0);
    assert_int_equal(decoded.count, table.count - row->left_out);
    assert_int_equal(decoded.outside_count, row->outside);
    assert_int_equal(decoded.left_out_count, row->left_out);
    assert_int_equal(gpt_check_places(&decoded, &err), ERR_FORMAT);
    assert_non_null(strstr(err.text, "1 'boot_para'"));
}

/* As `sgdisk -S 12` makes them: what belongs to fewer entries, and no sector more. */
static void small_tables_are_read(void **state)
{
    (void)state;
    static const uint32_t counts[] = {12, 32, 64};
    for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
        uint32_t sectors = counts[i] / 4;
        uint64_t lbas = make(false) / 512;
        table.count = 2;
        gpt_encode_primary(&table, lbas, &image);
        put_le32(image.data + 512 + 80, counts[i]);
        put_le64(image.data + 512 + 40, 2 + sectors);
        table_sum(image.data, counts[i]);
        assert_int_equal(gpt_probe(span_of(image.data, (2 + sectors) * 512), &decoded, NULL), 0);
        assert_true(gpt_same_layout(&table, &decoded));
        assert_int_equal(gpt_check_places(&decoded, NULL), 0);
        assert_int_equal(gpt_probe(span_of(image.data, (1 + sectors) * 512), &decoded, NULL),
                         ERR_FORMAT);
    }
}

static void every_cut_is_an_error(void **state)
{
    (void)state;
    uint64_t lbas = make(false) / 512;
    gpt_encode_primary(&table, lbas, &image);
    for (size_t len = 0; len < image.len; len += 64)
        assert_int_equal(gpt_probe(span_of(image.data, len), &decoded, NULL), ERR_FORMAT);
    buf_clear(&image);
    gpt_encode_backup(&table, lbas, &image);
    for (size_t cut = 64; cut < image.len; cut += 64)
        assert_int_equal(
            gpt_probe_backup(span_of(image.data + cut, image.len - cut), &decoded, NULL),
            ERR_FORMAT);
}

int main(void)
{
    buf_init(&image, 1 << 20);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(big_sectors_round_trip),
        cmocka_unit_test(names_lead_to_extents),
        cmocka_unit_test(small_tables_are_read),
        cmocka_unit_test(every_cut_is_an_error),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    failed += RUN_ROWS(same_bytes_as_sgdisk, sgdisk_rows);
    failed += RUN_ROWS(damage_is_named, damage_rows);
    failed += RUN_ROWS(strange_places_are_told, place_rows);
    buf_deinit(&image);
    return failed;
}
