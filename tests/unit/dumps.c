/* Rows for read-back dumps: the variants of usb/format/README.md, "Fixture layout", as sparse files
 * of the mini layout. The images in them satisfy the checks; tests/unit/real_tools.sh uses real
 * file systems. */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "tests/unit/rows.h"

#include "tests/unit/x5_layout.h"
#include "usb/base/hash.h"
#include "usb/base/io.h"
#include "usb/base/mem.h"
#include "usb/format/dump.h"

static struct gpt table;
static uint64_t area_bytes;

/* ---- making -------------------------------------------------------------------------------------
 */

static void put_at(int fd, const char *partition, uint64_t offset, const void *data, size_t len)
{
    struct extent x;
    assert_int_equal(gpt_lookup(&table, partition, &x, NULL), 0);
    assert_int_equal(io_pwrite(fd, data, len, (int64_t)(x.start_bytes + offset), NULL), 0);
}

static void put_ext4(int fd, const char *partition)
{
    struct extent x;
    uint8_t super[1024] = {0};
    assert_int_equal(gpt_lookup(&table, partition, &x, NULL), 0);
    put_le32(super + 4, (uint32_t)(x.size_bytes / 4096));
    put_le32(super + 0x18, 2);
    put_le16(super + 0x38, 0xef53);
    put_le32(super + 0x60, 0x2c2);
    memset(super + 0x68, 0x5a, 16);
    put_at(fd, partition, 0x400, super, sizeof(super));
    static const uint8_t folder[] = {0xed, 0x41, 0, 0, 0, 0x10, 0, 0}, links[] = {3, 0};
    put_at(fd, partition, 0x1008, "\x09", 1); /* block of the inode table */
    put_at(fd, partition, 0x9080, folder, sizeof(folder));
    put_at(fd, partition, 0x9080 + 0x1a, links, sizeof(links));
}

static void put_table(int fd)
{
    struct buf b;
    buf_init(&b, 1 << 16);
    gpt_encode_primary(&table, area_bytes / 512, &b);
    assert_int_equal(io_pwrite(fd, b.data, b.len, 0, NULL), 0);
    buf_clear(&b);
    gpt_encode_backup(&table, area_bytes / 512, &b);
    assert_int_equal(io_pwrite(fd, b.data, b.len, (int64_t)(area_bytes - b.len), NULL), 0);
    buf_deinit(&b);
}

/* A good dump in an unlinked file. */
static int good_dump(void)
{
    char path[] = "/tmp/dump-test-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    unlink(path);
    area_bytes = x5_layout(&table, false);
    assert_int_equal(ftruncate(fd, (off_t)area_bytes), 0);
    put_table(fd);
    static const char *const ext4[] = {"nvcfg", "nvdata", "protect1", "protect2", "persist"};
    for (size_t i = 0; i < ARRAY_LEN(ext4); i++)
        put_ext4(fd, ext4[i]);
    put_at(fd, "proinfo", 0, "PDAGATEST0000001", 16);
    uint8_t head[] = {0, 0, 0, 0, 0, 0, 0x40, 0};
    put_at(fd, "nvram", 0, head, sizeof(head));
    uint8_t noise[256];
    memset(noise, 0xa5, sizeof(noise));
    put_at(fd, "nvram", 0x1000, noise, sizeof(noise));
    put_at(fd, "nvram", 0x20000, "md/NVRAM/NVD_IMEI/LD0B_001 APCFG/APRDEB/WIFI", 45);
    put_at(fd, "elabel", 0, "ELABEL", 6);
    return fd;
}

static void flip(int fd, int64_t at)
{
    uint8_t b;
    assert_int_equal(io_pread(fd, &b, 1, at, NULL), 0);
    b ^= 1;
    assert_int_equal(io_pwrite(fd, &b, 1, at, NULL), 0);
}

/* ---- variants -----------------------------------------------------------------------------------
 */

static void v_good(int fd)
{
    (void)fd;
}
static void cut_at(int fd, const char *partition, uint64_t offset)
{
    struct extent x;
    assert_int_equal(gpt_lookup(&table, partition, &x, NULL), 0);
    assert_int_equal(ftruncate(fd, (off_t)(x.start_bytes + offset)), 0);
}
static void v_cut_before_elabel(int fd)
{
    cut_at(fd, "elabel", 0);
}
static void v_cut_before_nvram(int fd)
{
    cut_at(fd, "nvram", 0);
}
static void v_cut_inside_nvram(int fd)
{
    cut_at(fd, "nvram", 0x80000);
}
static void fill(int fd, const char *partition, uint8_t value)
{
    struct extent x;
    assert_int_equal(gpt_lookup(&table, partition, &x, NULL), 0);
    uint8_t *all = malloc(x.size_bytes);
    memset(all, value, x.size_bytes);
    put_at(fd, partition, 0, all, x.size_bytes);
    free(all);
}
static void v_zero_nvram(int fd)
{
    fill(fd, "nvram", 0);
}
static void v_ff_proinfo(int fd)
{
    fill(fd, "proinfo", 0xff);
}
static void v_default_serial(int fd)
{
    put_at(fd, "proinfo", 0, "0123456789ABCDEF", 16);
}
static void v_donor(int fd)
{
    put_at(fd, "proinfo", 0, "PDADONOR00000001", 16);
}
static void v_broken_ext4(int fd)
{
    put_at(fd, "nvcfg", 0x438, "\0\0", 2);
}
static void v_flip_primary(int fd)
{
    flip(fd, 1100);
}
static void v_flip_header(int fd)
{
    flip(fd, 512 + 60);
}
/* One more partition in front moves every number (as on the LG). */
static void v_extra_partition(int fd)
{
    for (uint32_t i = table.count; i > 0; i--) {
        table.entries[i] = table.entries[i - 1];
        table.entries[i].number++;
    }
    table.count++;
    table.entries[0].number = 1;
    table.entries[0].first_lba = 40;
    table.entries[0].last_lba = 63;
    snprintf(table.entries[0].name, sizeof(table.entries[0].name), "%s", "extra");
    put_table(fd);
}

static const struct variant_row {
    const char *name;
    void (*spoil)(int fd);
    enum dump_table want_table;
    enum set_verdict set;
    const char *says;  /* in the set's reason */
    const char *warns; /* first warning, NULL: none */
} variant_rows[] = {
    {"good", v_good, DUMP_PRIMARY, SET_USABLE, "", NULL},
    {"cut before elabel", v_cut_before_elabel, DUMP_PRIMARY, SET_WITHOUT_ELABEL, "elabel",
     "42 partitions are not (wholly) in the dump: elabel, box"},
    {"cut before nvram", v_cut_before_nvram, DUMP_PRIMARY, SET_INCOMPLETE,
     "nvram is not in the dump", "43 partitions are not (wholly) in the dump: nvram"},
    {"cut inside nvram", v_cut_inside_nvram, DUMP_PRIMARY, SET_INCOMPLETE,
     "ends inside nvram: 524288 of 5242880", "43 partitions are not (wholly) in the dump: nvram"},
    {"zeroed nvram", v_zero_nvram, DUMP_PRIMARY, SET_AFTER_LOSS, "nvram is empty (all 00)", NULL},
    {"0xFF proinfo", v_ff_proinfo, DUMP_PRIMARY, SET_AFTER_LOSS, "proinfo is empty (all FF)", NULL},
    {"default serial", v_default_serial, DUMP_PRIMARY, SET_PLACEHOLDER, "0123456789ABCDEF", NULL},
    {"donor", v_donor, DUMP_PRIMARY, SET_OTHER_PHONE, "its serial is PDADONOR00000001", NULL},
    {"broken ext4 magic", v_broken_ext4, DUMP_PRIMARY, SET_INCOMPLETE, "nvcfg holds no file system",
     NULL},
    {"flipped primary", v_flip_primary, DUMP_BACKUP, SET_USABLE, "",
     "primary partition table: GPT entries"},
    {"flipped header", v_flip_header, DUMP_BACKUP, SET_USABLE, "",
     "primary partition table: GPT header"},
    {"extra partition", v_extra_partition, DUMP_PRIMARY, SET_USABLE, "", NULL},
};

static void judge_set(struct dump *d, const char *label, struct set_judgement *out)
{
    struct set_item items[GPT_ENTRIES_MAX];
    for (uint32_t i = 0; i < d->count; i++) {
        items[i].name = d->parts[i].name;
        assert_int_equal(dump_judge(d, &d->parts[i], &items[i].judged, NULL), 0);
    }
    plausible_set(items, d->count, label, out);
}

static struct dump *opened(int fd, const struct dump_options *options)
{
    struct input *in = input_of_fd(fd, NULL);
    struct dump *d = NULL;
    struct err err;
    assert_non_null(in);
    if (dump_open(in, options, &d, &err) < 0)
        fail_msg("%s", err.text);
    return d;
}

static const struct dump_options plain;

static void variants_are_told_apart(void **state)
{
    const struct variant_row *row = ROW(state);
    AUTO(fd_close) int fd = good_dump();
    row->spoil(fd);
    AUTO(dump_close) struct dump *d = opened(fd, &plain);
    assert_int_equal(d->table, row->want_table);
    assert_int_equal(d->count, table.count);
    assert_int_equal(dump_find(d, "proinfo")->first_lba, 135168);
    struct set_judgement set;
    judge_set(d, "PDAGATEST0000001", &set);
    if (!strstr(set.reason, row->says))
        fail_msg("'%s' does not say '%s'", set.reason, row->says);
    assert_int_equal(set.verdict, row->set);
    if (!row->warns)
        assert_int_equal(d->warning_count, 0);
    else if (!strstr(d->warnings[0], row->warns))
        fail_msg("'%s' does not warn '%s'", d->warnings[0], row->warns);
}

/* ---- reading ------------------------------------------------------------------------------------
 */

static int hash_sink(void *arg, const uint8_t *data, uint64_t len, struct err *err)
{
    (void)err;
    if (data)
        hasher_update(arg, data, (size_t)len);
    else
        hasher_zeros(arg, len);
    return 0;
}

static void assert_contents(struct dump *d, const char *partition, const char *start, uint64_t size)
{
    struct dump_part *p = (struct dump_part *)dump_find(d, partition);
    struct hasher *got = hasher_new(), *want = hasher_new();
    assert_int_equal(dump_read(d, p, hash_sink, got, NULL), 0);
    hasher_update(want, start, strlen(start));
    hasher_zeros(want, size - strlen(start));
    struct sha256 a = hasher_finish(got), b = hasher_finish(want);
    assert_true(sha256_equal(&a, &b));
    hasher_free(&got);
    hasher_free(&want);
}

static void partitions_are_read_with_their_holes(void **state)
{
    (void)state;
    AUTO(fd_close) int fd = good_dump();
    AUTO(dump_close) struct dump *d = opened(fd, &plain);
    assert_contents(d, "proinfo", "PDAGATEST0000001", 6144 * 512);
    assert_contents(d, "userdata", "", 241631ull * 512);
    cut_at(fd, "nvram", 4);
    dump_close(&d);
    d = opened(fd, &plain);
    struct err err;
    struct dump_part *nvram = (struct dump_part *)dump_find(d, "nvram");
    assert_false(nvram->complete);
    assert_int_equal(nvram->there_bytes, 4);
    assert_int_equal(dump_read(d, nvram, hash_sink, NULL, &err), ERR_FORMAT);
    assert_non_null(strstr(err.text, "ends before the end of nvram"));
}

/* A file that shrinks after it was opened is an error, not zeros. */
static void a_shrinking_dump_is_noticed(void **state)
{
    (void)state;
    AUTO(fd_close) int fd = good_dump();
    AUTO(dump_close) struct dump *d = opened(fd, &plain);
    cut_at(fd, "proinfo", 100);
    struct hasher *h = hasher_new();
    struct dump_part *p = (struct dump_part *)dump_find(d, "proinfo");
    assert_int_equal(dump_read(d, p, hash_sink, h, NULL), ERR_FORMAT);
    hasher_free(&h);
}

/* ---- dumps that begin elsewhere
 * ------------------------------------------------------------------ */

static int copy_part(int from, uint64_t at, uint64_t len, uint64_t to_at)
{
    char path[] = "/tmp/dump-test-XXXXXX";
    int to = mkstemp(path);
    unlink(path);
    uint8_t *block = malloc(1 << 20);
    for (uint64_t done = 0; done < len; done += 1 << 20) {
        size_t n = (size_t)MIN_OF(len - done, (uint64_t)1 << 20);
        assert_int_equal(io_pread(from, block, n, (int64_t)(at + done), NULL), 0);
        static const uint8_t zeros[1 << 20];
        if (memcmp(block, zeros, n) != 0)
            assert_int_equal(io_pwrite(to, block, n, (int64_t)(to_at + done), NULL), 0);
    }
    free(block);
    assert_int_equal(ftruncate(to, (off_t)(to_at + len)), 0);
    return to;
}

static void a_table_further_in_is_found(void **state)
{
    (void)state;
    AUTO(fd_close) int fd = good_dump();
    AUTO(fd_close)
    int whole_chip = copy_part(fd, 0, area_bytes, 8 << 20); /* BOOT1, BOOT2 in front */
    AUTO(dump_close) struct dump *d = opened(whole_chip, &plain);
    assert_int_equal(d->table, DUMP_PRIMARY);
    assert_int_equal(d->delta_bytes, 8 << 20);
    assert_non_null(strstr(d->warnings[0], "begins at byte 8388608 of the dump"));
    assert_contents(d, "proinfo", "PDAGATEST0000001", 6144 * 512);
}

static void a_dump_of_the_end_is_placed_by_the_backup_table(void **state)
{
    (void)state;
    AUTO(fd_close) int fd = good_dump();
    uint64_t from = 98304 * 512; /* seccfg */
    AUTO(fd_close) int tail = copy_part(fd, from, area_bytes - from, 0);
    AUTO(dump_close) struct dump *d = opened(tail, &plain);
    assert_int_equal(d->table, DUMP_BACKUP);
    assert_int_equal(d->delta_bytes, -(int64_t)from);
    assert_contents(d, "proinfo", "PDAGATEST0000001", 6144 * 512);
    assert_false(dump_find(d, "nvcfg")->complete);
    assert_true(dump_find(d, "seccfg")->complete);
    struct err err;
    struct dump_part *nvcfg = (struct dump_part *)dump_find(d, "nvcfg");
    assert_int_equal(dump_read(d, nvcfg, hash_sink, NULL, &err), ERR_FORMAT);
    assert_non_null(strstr(err.text, "begins behind the start of nvcfg"));
}

/* ---- no table at all
 * ----------------------------------------------------------------------------- */

/* Scatter of the mini layout's identity partitions. */
static struct scatter *mini_scatter(uint64_t shift)
{
    static const char *const names[] = {"nvcfg", "protect1", "protect2", "proinfo", "nvram"};
    struct buf b;
    buf_init(&b, 1 << 16);
    const char head[] = "- general: MTK_PLATFORM_CFG\n  info: \n    - config_version: V1.1.2\n"
                        "      platform: MT6771\n      storage: EMMC\n      block_size: 0x20000\n";
    buf_put(&b, head, strlen(head));
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct extent x;
        assert_int_equal(gpt_lookup(&table, names[i], &x, NULL), 0);
        char *part = xasprintf("- partition_index: SYS%zu\n  partition_name: %s\n"
                               "  physical_start_addr: 0x%llx\n  partition_size: 0x%llx\n"
                               "  operation_type: UPDATE\n  region: EMMC_USER\n",
                               i, names[i], (unsigned long long)(x.start_bytes + shift),
                               (unsigned long long)x.size_bytes);
        buf_put(&b, part, strlen(part));
        free(part);
    }
    struct scatter *s = NULL;
    struct err err;
    if (scatter_parse(buf_span(&b), &s, &err) < 0)
        fail_msg("%s", err.text);
    buf_deinit(&b);
    return s;
}

static int fails_to_open(int fd, const struct dump_options *options, const char *says)
{
    struct input *in = input_of_fd(fd, NULL);
    struct dump *d = NULL;
    struct err err = {0};
    int rc = dump_open(in, options, &d, &err);
    input_close(&in);
    if (!strstr(err.text, says))
        fail_msg("'%s' does not say '%s'", err.text, says);
    return rc;
}

static void a_scatter_stands_in_for_both_tables(void **state)
{
    (void)state;
    AUTO(fd_close) int fd = good_dump();
    AUTO(scatter_free) struct scatter *s = mini_scatter(0);
    AUTO(scatter_free) struct scatter *shifted = mini_scatter(0x100000);
    flip(fd, 1100);
    flip(fd, (int64_t)area_bytes - 16000);
    assert_int_equal(fails_to_open(fd, &plain, "scatter file can be used"), ERR_FORMAT);
    struct dump_options wrong = {.scatter = &shifted->sections[0]};
    assert_int_equal(fails_to_open(fd, &wrong, "places do not fit this dump"), ERR_MISMATCH);
    struct dump_options right = {.scatter = &s->sections[0]};
    AUTO(dump_close) struct dump *d = opened(fd, &right);
    assert_int_equal(d->table, DUMP_SCATTER);
    assert_contents(d, "proinfo", "PDAGATEST0000001", 6144 * 512);
}

static void a_dump_from_the_middle_needs_offset_and_scatter(void **state)
{
    (void)state;
    AUTO(fd_close) int fd = good_dump();
    AUTO(scatter_free) struct scatter *s = mini_scatter(0);
    uint64_t from = 7232 * 512;
    AUTO(fd_close) int middle = copy_part(fd, from, 72 << 20, 0);
    struct dump_options options = {.start_bytes = from, .scatter = &s->sections[0]};
    AUTO(dump_close) struct dump *d = opened(middle, &options);
    assert_int_equal(d->table, DUMP_SCATTER);
    assert_int_equal(dump_find(d, "nvcfg")->offset_bytes, 0);
    assert_contents(d, "proinfo", "PDAGATEST0000001", 6144 * 512);
    struct dump_options off = {.start_bytes = from + 512, .scatter = &s->sections[0]};
    assert_int_equal(fails_to_open(middle, &off, "proinfo"), ERR_MISMATCH);
}

static void something_else_is_no_dump(void **state)
{
    (void)state;
    char path[] = "/tmp/dump-test-XXXXXX";
    AUTO(fd_close) int fd = mkstemp(path);
    unlink(path);
    assert_int_equal(fails_to_open(fd, &plain, "is empty"), ERR_FORMAT);
    assert_int_equal(ftruncate(fd, 64 << 20), 0);
    assert_int_equal(fails_to_open(fd, &plain, "no partition table"), ERR_FORMAT);
    assert_int_equal(io_pwrite(fd, "\x3a\xff\x26\xed", 4, 0, NULL), 0);
    assert_int_equal(fails_to_open(fd, &plain, "simg2img"), ERR_FORMAT);
}

/* ---- folders
 * -------------------------------------------------------------------------------------- */

static const struct file_row {
    const char *name, *partition; /* NULL: no partition */
    uint32_t number;
} file_rows[] = {
    {"proinfo.img", "proinfo", 0},
    {"13.proinfo.img", "proinfo", 14},
    {"proinfo", "proinfo", 0},
    {"nvram.bin", "nvram", 0},
    {"28.lk_a.img", "lk_a", 29},
    {"SHA256SUMS", NULL, 0},
    {"0.img", NULL, 0},
    {"proinfo.img.part", NULL, 0},
    {".img", NULL, 0},
    {"1234.proinfo.img", NULL, 0},
    {"readme.txt", NULL, 0},
    {"", NULL, 0},
    {"../proinfo.img", "proinfo", 0}, /* a name in an archive: nothing is ever written there */
    {"backup\\PDA/13.PROINFO.IMG", "proinfo", 14},
    {"proinfo.img/", NULL, 0},
};

static void file_names_name_partitions(void **state)
{
    const struct file_row *row = ROW(state);
    char name[GPT_NAME_BYTES];
    uint32_t number;
    bool is_one = dump_file_partition(row->name, name, &number);
    assert_int_equal(is_one, row->partition != NULL);
    if (!is_one)
        return;
    assert_string_equal(name, row->partition);
    assert_int_equal(number, row->number);
}

static void folders_are_dumps(void **state)
{
    (void)state;
    uint8_t proinfo[4096] = "PDAGATEST0000001";
    AUTO(dump_close) struct dump *d = dump_folder_new();
    struct span image = span_of(proinfo, sizeof(proinfo));
    assert_int_equal(dump_folder_add(d, "13.proinfo.img", input_of_span(image), NULL), 1);
    assert_int_equal(dump_folder_add(d, "notes.txt", input_of_span(image), NULL), 0);
    assert_int_equal(dump_folder_add(d, "proinfo.img", input_of_span(image), NULL), ERR_CONFLICT);
    assert_int_equal(d->count, 1);
    struct plausible p;
    assert_int_equal(dump_judge(d, &d->parts[0], &p, NULL), 0);
    assert_int_equal(p.verdict, PLAUSIBLE_YES);
    assert_contents(d, "proinfo", "PDAGATEST0000001", 4096);
}

/* A cut image still begins as it should: only the scatter knows its size. */
static void sizes_of_a_folder_come_from_the_scatter(void **state)
{
    (void)state;
    x5_layout(&table, false);
    AUTO(scatter_free) struct scatter *s = mini_scatter(0);
    struct extent whole;
    assert_int_equal(gpt_lookup(&table, "proinfo", &whole, NULL), 0);
    AUTO(buf_deinit) struct buf image;
    buf_init(&image, 1 << 23);
    proinfo_encode("PDAGATEST0000001", &image);
    buf_put_zeros(&image, (size_t)whole.size_bytes - image.len);
    for (int cut = 0; cut < 2; cut++) {
        struct span bytes = span_of(image.data, image.len - (cut ? 4096 : 0));
        AUTO(dump_close) struct dump *d = dump_folder_new();
        assert_int_equal(dump_folder_add(d, "13.PROINFO.IMG", input_of_span(bytes), NULL), 1);
        struct plausible p;
        assert_int_equal(dump_judge(d, &d->parts[0], &p, NULL), 0);
        assert_int_equal(p.verdict, PLAUSIBLE_YES);
        dump_expect(d, scatter_section(s, NULL));
        assert_int_equal(d->warning_count, 0);
        assert_int_equal(d->parts[0].first_lba, whole.start_bytes / 512);
        assert_int_equal(dump_judge(d, &d->parts[0], &p, NULL), 0);
        assert_int_equal(p.verdict, cut ? PLAUSIBLE_NO : PLAUSIBLE_YES);
        dump_expect(d, NULL);
        assert_non_null(strstr(d->warnings[0], "not checked"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(partitions_are_read_with_their_holes),
        cmocka_unit_test(a_shrinking_dump_is_noticed),
        cmocka_unit_test(a_table_further_in_is_found),
        cmocka_unit_test(a_dump_of_the_end_is_placed_by_the_backup_table),
        cmocka_unit_test(a_scatter_stands_in_for_both_tables),
        cmocka_unit_test(a_dump_from_the_middle_needs_offset_and_scatter),
        cmocka_unit_test(something_else_is_no_dump),
        cmocka_unit_test(folders_are_dumps),
        cmocka_unit_test(sizes_of_a_folder_come_from_the_scatter),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    failed += RUN_ROWS(variants_are_told_apart, variant_rows);
    failed += RUN_ROWS(file_names_name_partitions, file_rows);
    return failed;
}
