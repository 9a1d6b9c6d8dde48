/* Rows for scatter files: samples in the shapes of three vendors and of a dump tool, derived
 * copies, and every mistake that a hand in a text editor makes. */
#include <fcntl.h>
#include <stdio.h>

#include "tests/unit/rows.h"

#include "usb/base/io.h"
#include "usb/base/mem.h"
#include "usb/format/scatter.h"

#define HEAD                                                                                       \
    "- general: MTK_PLATFORM_CFG\n  info: \n    - config_version: V1.1.2\n"                        \
    "      platform: MT6771\n      project: x\n      storage: EMMC\n      block_size: 0x20000\n"
#define PART(i, n, start, size)                                                                    \
    "- partition_index: SYS" i "\n  partition_name: " n "\n  file_name: NONE\n"                    \
    "  is_download: false\n  physical_start_addr: " start "\n  partition_size: " size "\n"         \
    "  region: EMMC_USER\n  operation_type: UPDATE\n"

static char *sample(const char *name, size_t *len_out)
{
    char path[512], *text = NULL;
    snprintf(path, sizeof(path), SAMPLES "/%s", name);
    assert_int_equal(io_slurp(AT_FDCWD, path, SCATTER_BYTES_MAX, &text, len_out, NULL), 0);
    return text;
}

static struct scatter *parsed(struct span text)
{
    struct scatter *s = NULL;
    struct err err;
    if (scatter_parse(text, &s, &err) < 0)
        fail_msg("%s", err.text);
    return s;
}

/* ---- samples ------------------------------------------------------------------------------------
 */

static const struct sample_row {
    const char *name, *version, *platform, *project;
    uint32_t sections, entries[2];
    uint64_t block_bytes[2];
    int proinfo_index;
    uint64_t user_bytes, otp_start; /* of section EMMC */
} sample_rows[] = {
    {"v1-emmc-crlf.txt",
     "V1.1.2",
     "MT6771",
     "k71v1_64_bsp",
     1,
     {41},
     {0x20000},
     14,
     0x73A000000,
     0x73A000000 - 0x8000 - 0x1d8ull * 0x20000},
    {"v2-emmc-ufs.txt",
     "V2.1.0",
     "MT6771",
     "v965",
     2,
     {42, 42},
     {0x20000, 0x80000},
     15,
     0x73A000000,
     0x73A000000 - 0x8000 - 0x1d8ull * 0x20000},
    {"v1-old-bom.txt",
     "V1.1.1",
     "MT6735M",
     "hct6735m_35gu_c_l1",
     1,
     {30},
     {0x20000},
     13,
     0,
     UINT64_MAX},
    {"v1-ab-absolute.txt", "V1.1.2", "MT6765", "mcv1s", 1, {42}, {0x200000}, 14, 0, UINT64_MAX},
};

static void samples_are_read(void **state)
{
    const struct sample_row *row = ROW(state);
    size_t len;
    AUTO(free_ptr) char *text = sample(row->name, &len);
    AUTO(scatter_free) struct scatter *s = parsed(span_of(text, len));
    assert_string_equal(s->config_version, row->version);
    assert_string_equal(s->platform, row->platform);
    assert_string_equal(s->project, row->project);
    assert_int_equal(s->section_count, row->sections);
    for (uint32_t i = 0; i < row->sections; i++) {
        assert_int_equal(s->sections[i].count, row->entries[i]);
        assert_int_equal(s->sections[i].block_bytes, row->block_bytes[i]);
    }
    const struct scatter_section *emmc = scatter_section(s, NULL);
    assert_string_equal(emmc->storage, "EMMC");
    assert_ptr_equal(scatter_section(s, "emmc"), emmc);
    const struct scatter_entry *proinfo = scatter_find(emmc, "proinfo");
    assert_int_equal(proinfo->index, row->proinfo_index);
    assert_int_equal(proinfo->operation, SCATTER_OP_PROTECTED);
    assert_string_equal(proinfo->file_name, "");
    assert_int_equal(proinfo->size_bytes, 0x300000);
    assert_int_equal(emmc->entries[0].physical_start, 0);
    const struct scatter_entry *otp = scatter_find(emmc, "otp");
    if (otp->is_reserved)
        assert_int_equal(scatter_start(emmc, otp, row->user_bytes), row->otp_start);
}

/* Reserved places of the one phone whose absolute addresses are known: README.md, "Addresses". */
static void reserved_addresses_count_from_the_end(void **state)
{
    (void)state;
    struct scatter_entry e[4] = {
        {.name = "otp", .is_reserved = true, .start_bytes = 0xFFFF01d8, .size_bytes = 0x2B00000},
        {.name = "flashinfo", .is_reserved = true, .start_bytes = 0xffff0080},
        {.name = "sgpt", .is_reserved = true, .start_bytes = 0xFFFF0000, .size_bytes = 0x4200},
        {.name = "made by a dump tool", .is_reserved = true, .start_bytes = 0x738FFBE00},
    };
    struct scatter_section s = {.block_bytes = 0x20000, .count = 4, .entries = e};
    assert_int_equal(scatter_start(&s, &e[0], 0x73A000000), 0x7364FBE00);
    assert_int_equal(scatter_start(&s, &e[1], 0x73A000000), 0x738FFBE00);
    assert_int_equal(scatter_start(&s, &e[2], 0x73A000000), 0x73A000000 - 0x4200);
    assert_int_equal(scatter_start(&s, &e[3], 0), 0x738FFBE00);
    assert_int_equal(scatter_start(&s, &e[0], 0), UINT64_MAX);        /* not known */
    assert_int_equal(scatter_start(&s, &e[0], 0x100000), UINT64_MAX); /* does not fit */
}

/* V1.1.1 of MT6572: capitals, and physical_start_addr 0x0 in every entry. */
static void places_stand_in_linear_only(void **state)
{
    (void)state;
    size_t len;
    AUTO(free_ptr) char *text = sample("v1-physical-zero.txt", &len);
    AUTO(scatter_free) struct scatter *s = parsed(span_of(text, len));
    const struct scatter_section *emmc = scatter_section(s, NULL);
    assert_int_equal(s->warning_count, 1); /* USRDATA has size 0 */
    assert_int_equal(emmc->count, 15);
    assert_int_equal(scatter_find(emmc, "EBR1")->physical_start, 0);
    assert_int_equal(scatter_start(emmc, scatter_find(emmc, "PRELOADER"), 0), 0);
    assert_int_equal(scatter_start(emmc, scatter_find(emmc, "EBR1"), 0), 0x80000);
    assert_int_equal(scatter_start(emmc, scatter_find(emmc, "NVRAM"), 0), 0x400000);
    assert_int_equal(scatter_start(emmc, scatter_find(emmc, "BMTPOOL"), 0x100000000),
                     0x100000000 - 0x4200 - 0xa8ull * 0x20000);
    AUTO(free_ptr) struct gpt *table = xcalloc(1, sizeof(*table));
    struct extent x;
    assert_int_equal(scatter_to_gpt(emmc, 0, table, NULL), 0);
    assert_int_equal(gpt_lookup(table, "PROTECT_F", &x, NULL), 0);
    assert_int_equal(x.start_bytes, 0x900000);
    assert_int_equal(scatter_matches_gpt(emmc, table, NULL), ERR_MISMATCH); /* no USRDATA there */
}

/* Files of real phones in which `system` begins inside `vbmeta`: to be read, not to be flashed. */
static void overlapping_entries_are_told(void **state)
{
    (void)state;
    size_t len;
    AUTO(free_ptr) char *text = sample("v1-overlap.txt", &len);
    AUTO(scatter_free) struct scatter *s = parsed(span_of(text, len));
    const struct scatter_entry *a, *b;
    assert_true(scatter_overlap(scatter_section(s, NULL), &a, &b));
    assert_string_equal(a->name, "vbmeta");
    assert_string_equal(b->name, "system");
    assert_int_equal(s->warning_count, 1);
    assert_non_null(strstr(s->warnings[0], "'system' overlaps 'vbmeta'"));
}

/* V2 with storage and block size where V1 has them. */
static void platform_block_speaks_for_its_section(void **state)
{
    (void)state;
    static const char text[] = HEAD "- storage_type: EMMC\n  description: \n" PART(
        "0", "a", "0x0", "0x1") "- storage_type: UFS\n" PART("0", "a", "0x0", "0x1");
    AUTO(scatter_free) struct scatter *s = parsed(span_of(text, sizeof(text) - 1));
    assert_int_equal(s->section_count, 2);
    assert_string_equal(s->sections[0].storage, "EMMC");
    assert_int_equal(s->sections[0].block_bytes, 0x20000);
    assert_int_equal(s->sections[1].block_bytes, 0);
}

/* ---- derived copies -----------------------------------------------------------------------------
 */

static struct span next_line(struct span *rest)
{
    const uint8_t *end = rest->len ? memchr(rest->data, '\n', rest->len) : NULL;
    size_t len = end ? (size_t)(end - rest->data) + 1 : rest->len;
    struct span line = span_sub(*rest, 0, len);
    *rest = span_sub(*rest, len, rest->len);
    return line;
}

static bool has(struct span line, const char *word)
{
    return line.len && memmem(line.data, line.len, word, strlen(word)) != NULL;
}

/* Only file_name and is_download lines differ, and each keeps its line end and what stands behind.
 */
static int lines_changed(struct span before, struct span after)
{
    int changed = 0;
    while (before.len || after.len) {
        struct span a = next_line(&before), b = next_line(&after);
        if (a.len == b.len && memcmp(a.data, b.data, a.len) == 0)
            continue;
        changed++;
        assert_true(has(a, "file_name:") || has(a, "is_download:"));
        assert_int_equal(has(a, "file_name:"), has(b, "file_name:"));
        assert_int_equal(has(a, "\r\n"), has(b, "\r\n"));
        assert_int_equal(has(a, "  \n"), has(b, "  \n")); /* trailing blanks */
    }
    return changed;
}

static const struct derive_row {
    const char *name, *storage;
    int downloads_before; /* in the section */
} derive_rows[] = {
    {"v1-emmc-crlf.txt", NULL, 24}, {"v2-emmc-ufs.txt", NULL, 25}, {"v2-emmc-ufs.txt", "UFS", 25},
    {"v1-old-bom.txt", NULL, 14},   {"v1-overlap.txt", NULL, 5},   {"v1-ab-absolute.txt", NULL, 13},
};

static int downloads(const struct scatter_section *section)
{
    int n = 0;
    for (uint32_t i = 0; i < section->count; i++)
        n += section->entries[i].is_download;
    return n;
}

/* The guide's edit (README.md, "Scatter"): four identity partitions and the bootloader. */
static void the_guides_edit(void **state)
{
    const struct derive_row *row = ROW(state);
    size_t len;
    AUTO(free_ptr) char *text = sample(row->name, &len);
    AUTO(scatter_free) struct scatter *before = parsed(span_of(text, len));
    const struct scatter_section *from = scatter_section(before, row->storage);
    const char *lk = scatter_find(from, "lk_a") ? "lk_a" : "lk";
    struct scatter_pick picks[] = {{"proinfo", NULL},
                                   {"nvcfg", NULL},
                                   {"protect1", NULL},
                                   {"protect2", NULL},
                                   {lk, "lk_service.img"}};
    AUTO(buf_deinit) struct buf copy;
    buf_init(&copy, SCATTER_BYTES_MAX);
    struct err err;
    if (scatter_derive(span_of(text, len), row->storage, picks, 5, &copy, &err) < 0)
        fail_msg("%s", err.text);
    AUTO(scatter_free) struct scatter *after = parsed(buf_span(&copy));
    const struct scatter_section *to = scatter_section(after, row->storage);
    assert_int_equal(downloads(from), row->downloads_before);
    assert_int_equal(downloads(to), 5);
    assert_string_equal(scatter_find(to, "proinfo")->file_name, "proinfo.img");
    assert_string_equal(scatter_find(to, lk)->file_name, "lk_service.img");
    for (uint32_t i = 0; i < before->section_count; i++)
        if (&before->sections[i] != from)
            assert_int_equal(downloads(&after->sections[i]), downloads(&before->sections[i]));
    /* every tick but lk's goes, four come; four or five names change (v2: nvcfg has one already) */
    int names = scatter_find(from, "nvcfg")->file_name[0] ? 4 : 5;
    int kept = 1 + (scatter_find(from, "nvcfg")->is_download ? 1 : 0);
    assert_int_equal(lines_changed(span_of(text, len), buf_span(&copy)),
                     row->downloads_before - kept + 5 - kept + names);
}

static const struct refusal_row {
    const char *name, *storage;
    struct scatter_pick pick[2];
    size_t count;
    int want;
} refusal_rows[] = {
    {"no such partition", NULL, {{"proinf", NULL}}, 1, ERR_NOT_FOUND},
    {"an index is no name", NULL, {{"SYS15", NULL}}, 1, ERR_NOT_FOUND},
    {"no such storage", "NAND", {{"proinfo", NULL}}, 1, ERR_NOT_FOUND},
    {"nothing named", NULL, {{0}}, 0, ERR_INPUT},
    {"named twice", NULL, {{"proinfo", NULL}, {"proinfo", "x.img"}}, 2, ERR_INPUT},
    {"image in another folder", NULL, {{"proinfo", "../proinfo.img"}}, 1, ERR_INPUT},
    {"image with a line end", NULL, {{"proinfo", "a\nb"}}, 1, ERR_INPUT},
    {"image called NONE", NULL, {{"proinfo", "NONE"}}, 1, ERR_INPUT},
    {"image without a name", NULL, {{"proinfo", ""}}, 1, ERR_INPUT},
};

static void derive_refuses(void **state)
{
    const struct refusal_row *row = ROW(state);
    size_t len;
    AUTO(free_ptr) char *text = sample("v2-emmc-ufs.txt", &len);
    AUTO(buf_deinit) struct buf copy;
    buf_init(&copy, SCATTER_BYTES_MAX);
    assert_int_equal(
        scatter_derive(span_of(text, len), row->storage, row->pick, row->count, &copy, NULL),
        row->want);
    assert_int_equal(copy.len, 0);
}

/* ---- texts --------------------------------------------------------------------------------------
 */

static const struct text_row {
    const char *name, *text;
    int want;
    const char *says; /* error, or the first warning; NULL: no warning at all */
} text_rows[] = {
    {"fine", HEAD PART("0", "lk", "0x0", "0x1000"), 0, NULL},
    {"no newline at the end",
     HEAD "- partition_index: SYS0\n  partition_name: lk\n"
          "  physical_start_addr: 0x0\n  operation_type: UPDATE\n"
          "  partition_size: 0x1000",
     0, NULL},
    {"unknown keys are kept", HEAD PART("0", "lk", "0x0", "0x10") "  future_key: 7: 8\n", 0, NULL},
    {"comments and blank lines", "# a\n\n" HEAD "\n  # b: c\n" PART("0", "lk", "0X0", "0xAbC"), 0,
     NULL},
    {"size 0", HEAD PART("0", "lk", "0x0", "0x0"), 0, "line 8: 'lk' has size 0"},
    {"index of another form", HEAD PART("x", "lk", "0x0", "0x1"), 0, "'SYSx' is not SYSn"},
    {"same place in another region",
     HEAD PART("0", "a", "0x0", "0x1000") "- partition_index: SYS1\n  partition_name: b\n"
                                          "  physical_start_addr: 0x0\n  partition_size: 0x10\n  "
                                          "region: EMMC_BOOT\n  operation_type: UPDATE\n",
     0, NULL},
    {"empty", "", ERR_FORMAT, "no general block"},
    {"another kind of file", "hello\nworld\n", ERR_FORMAT, "line 1: 'hello'"},
    {"binary", HEAD "a\0b: c\n", ERR_FORMAT, "line 8"},
    {"no platform", "- general: X\n    - config_version: V1.1.2\n" PART("0", "a", "0x0", "0x1"),
     ERR_FORMAT, "no platform"},
    {"new grammar",
     "- general: X\n    - config_version: V3.0\n platform: a\n" PART("0", "a", "0x0", "0x1"),
     ERR_UNSUPPORTED, "'V3.0'"},
    {"no partitions", HEAD, ERR_FORMAT, "no partitions"},
    {"no name", HEAD "- partition_index: SYS0\n  partition_size: 0x1\n", ERR_FORMAT,
     "line 8: the entry has no partition_name"},
    {"no size", HEAD "- partition_index: SYS0\n  partition_name: a\n", ERR_FORMAT,
     "no partition_size"},
    {"no address", HEAD "- partition_index: SYS0\n  partition_name: a\n  partition_size: 0x1\n",
     ERR_FORMAT, "'a' has no physical_start_addr"},
    {"decimal address", HEAD PART("0", "a", "4096", "0x1"), ERR_FORMAT,
     "line 12, physical_start_addr: '4096'"},
    {"broken number", HEAD PART("0", "a", "0x12G", "0x1"), ERR_FORMAT,
     "physical_start_addr: '0x12G'"},
    {"number too long", HEAD PART("0", "a", "0x11111111111111111", "0x1"), ERR_FORMAT, "line 12"},
    {"address + size too large", HEAD PART("0", "a", "0xffffffffffffffff", "0x2"), ERR_FORMAT,
     "too large"},
    {"TRUE", HEAD "- partition_index: SYS0\n  is_download: TRUE\n", ERR_FORMAT,
     "line 9, is_download: 'TRUE'"},
    {"a key twice", HEAD "- partition_index: SYS0\n  file_name: a\n  file_name: b\n", ERR_FORMAT,
     "line 10, file_name: 'b' stands here a second time"},
    {"a name twice", HEAD PART("0", "a", "0x0", "0x1") PART("1", "a", "0x10", "0x1"), ERR_FORMAT,
     "line 16: partition_name 'a' stands on line 8"},
    {"overlap", HEAD PART("0", "a", "0x0", "0x11") PART("1", "b", "0x10", "0x1"), 0,
     "line 16: 'b' overlaps 'a' of line 8"},
    {"overlap of the linear places only",
     HEAD PART("0", "a", "0x0", "0x10") "  linear_start_addr: 0x0\n" PART(
         "1", "b", "0x10", "0x10") "  linear_start_addr: 0x8\n",
     0, NULL},
    {"editor's lines", "---\n=====\n" HEAD PART("0", "a", "0x0", "0x1") "...\r\n\x1a", 0, NULL},
    {"Ctrl-Z behind the last value", HEAD PART("0", "a", "0x0", "0x1") "  is_reserved: false\x1a",
     0, NULL},
    {"path in file_name", HEAD "- partition_index: SYS0\n  file_name: ../x.img\n", ERR_FORMAT,
     "line 9, file_name"},
    {"name with a blank", HEAD "- partition_index: SYS0\n  partition_name: a b\n", ERR_FORMAT,
     "partition_name: 'a b'"},
    {"tab turned into text", HEAD "- partition_index: SYS0\n\tpartition_name lk\n", ERR_FORMAT,
     "line 9: 'partition_name lk'"},
    {"a storage twice", HEAD PART("0", "a", "0x0", "0x1") "- storage_type: EMMC\n", ERR_FORMAT,
     "storage_type: 'EMMC' has a section"},
};

static void texts_are_judged(void **state)
{
    const struct text_row *row = ROW(state);
    size_t len = strcmp(row->name, "binary") == 0 ? strlen(HEAD) + 6 : strlen(row->text);
    AUTO(scatter_free) struct scatter *s = NULL;
    struct err err = {0};
    assert_int_equal(scatter_parse(span_of(row->text, len), &s, &err), row->want);
    if (row->want == 0 && !row->says) {
        assert_int_equal(s->warning_count, 0);
        return;
    }
    const char *said = row->want < 0 ? err.text : s->warnings[0];
    if (!said || !strstr(said, row->says))
        fail_msg("'%s' does not say '%s'", said ? said : "(nothing)", row->says);
}

static void limits_hold(void **state)
{
    (void)state;
    AUTO(buf_deinit) struct buf text;
    buf_init(&text, 8 << 20);
    AUTO(scatter_free) struct scatter *s = NULL;
    struct err err;
    buf_put(&text, HEAD, strlen(HEAD));
    for (int i = 0; i < 129; i++) {
        AUTO(free_ptr) char *part = xasprintf(PART("%d", "p%d", "0x%x", "0x1"), i, i, i);
        buf_put(&text, part, strlen(part));
        if (i == 127) {
            assert_int_equal(scatter_parse(buf_span(&text), &s, &err), 0);
            assert_int_equal(s->sections[0].count, 128);
        }
    }
    scatter_free(&s);
    s = NULL;
    assert_int_equal(scatter_parse(buf_span(&text), &s, &err), ERR_FORMAT);
    assert_non_null(strstr(err.text, "more than 128 partitions"));
    buf_put_zeros(&text, SCATTER_BYTES_MAX);
    assert_int_equal(scatter_parse(buf_span(&text), &s, &err), ERR_LIMIT);
}

/* An empty file_name gets its value behind the blank that is there, or behind one that is added. */
static void empty_values_are_filled(void **state)
{
    (void)state;
    static const char *const forms[] = {"file_name:", "file_name: ", "file_name:   "};
    for (size_t i = 0; i < 3; i++) {
        AUTO(free_ptr)
        char *text = xasprintf(
            HEAD "- partition_index: SYS0\n  partition_name: a\n  %s\r\n  is_download: false\n"
                 "  physical_start_addr: 0x0\n  partition_size: 0x1\n",
            forms[i]);
        AUTO(buf_deinit) struct buf copy;
        buf_init(&copy, 1 << 16);
        struct scatter_pick pick = {"a", NULL};
        assert_int_equal(scatter_derive(span_of(text, strlen(text)), NULL, &pick, 1, &copy, NULL),
                         0);
        assert_true(has(buf_span(&copy), "file_name: a.img"));
        assert_true(has(buf_span(&copy), "is_download: true\n"));
    }
}

/* Old files write names in capitals: found by either spelling, and kept as they stand. */
static void names_are_found_in_any_case(void **state)
{
    (void)state;
    static const char text[] = HEAD PART("0", "PROINFO", "0x0", "0x200")
        PART("1", "nvram", "0x200", "0x200") PART("2", "NVRAM", "0x400", "0x200");
    AUTO(scatter_free) struct scatter *s = parsed(span_of(text, sizeof(text) - 1));
    const struct scatter_section *section = &s->sections[0];
    assert_ptr_equal(scatter_find(section, "proinfo"), &section->entries[0]);
    assert_ptr_equal(scatter_find(section, "nvram"), &section->entries[1]);
    assert_ptr_equal(scatter_find(section, "NVRAM"), &section->entries[2]);
    assert_null(scatter_find(section, "Nvram")); /* which one? */
    struct scatter_pick picks[] = {{"proinfo", NULL}, {"PROINFO", NULL}};
    AUTO(buf_deinit) struct buf copy;
    buf_init(&copy, 1 << 16);
    assert_int_equal(scatter_derive(span_of(text, sizeof(text) - 1), NULL, picks, 2, &copy, NULL),
                     ERR_INPUT); /* twice the same */
    assert_int_equal(scatter_derive(span_of(text, sizeof(text) - 1), NULL, picks, 1, &copy, NULL),
                     0);
    assert_int_equal(lines_changed(span_of(text, sizeof(text) - 1), buf_span(&copy)), 2);
    assert_true(has(buf_span(&copy), "partition_name: PROINFO\n  file_name: proinfo.img\n  "
                                     "is_download: true\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_found_in_any_case),
        cmocka_unit_test(reserved_addresses_count_from_the_end),
        cmocka_unit_test(places_stand_in_linear_only),
        cmocka_unit_test(overlapping_entries_are_told),
        cmocka_unit_test(platform_block_speaks_for_its_section),
        cmocka_unit_test(limits_hold),
        cmocka_unit_test(empty_values_are_filled),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    failed += RUN_ROWS(samples_are_read, sample_rows);
    failed += RUN_ROWS(the_guides_edit, derive_rows);
    failed += RUN_ROWS(derive_refuses, refusal_rows);
    failed += RUN_ROWS(texts_are_judged, text_rows);
    return failed;
}
