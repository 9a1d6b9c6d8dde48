/* Rows for firmware packages: a good one made in memory, and every way it comes spoiled. */
#include <stdio.h>

#include "tests/unit/rows.h"

#include "usb/base/mem.h"
#include "usb/format/da_file.h"
#include "usb/format/emi.h"
#include "usb/format/firmware.h"
#include "usb/format/lk.h"

/* ---- a package in memory ------------------------------------------------------------------------
 */

enum { FILES_MAX = 24 };
static struct {
    const char *names[FILES_MAX];
    struct buf data[FILES_MAX];
    size_t count;
} package;

static struct buf *file(const char *name)
{
    for (size_t i = 0; i < package.count; i++)
        if (strcmp(package.names[i], name) == 0)
            return &package.data[i];
    struct buf *b = &package.data[package.count];
    package.names[package.count++] = name;
    buf_init(b, 4 << 20);
    return b;
}

static void file_text(const char *name, const char *text)
{
    struct buf *b = file(name);
    buf_clear(b);
    buf_put(b, text, strlen(text));
}

static void file_lk(const char *name, const char *payload)
{
    struct mtk_image lk = {.name = "lk", .load_address = 0x4c400000};
    struct buf *b = file(name);
    buf_clear(b);
    mtk_image_encode(&lk, span_of(payload, strlen(payload)), b);
}

/* 4 blocks of output, 1 of data. */
static void file_sparse(const char *name)
{
    struct buf *b = file(name);
    buf_clear(b);
    buf_put_le32(b, 0xed26ff3a);
    buf_put_le32(b, 1);
    buf_put_le16(b, 28);
    buf_put_le16(b, 12);
    buf_put_le32(b, 4096);
    buf_put_le32(b, 4);
    buf_put_le32(b, 2);
    buf_put_le32(b, 0);
    buf_put_le32(b, 0xcac1);
    buf_put_le32(b, 1);
    buf_put_le32(b, 12 + 4096);
    buf_put_zeros(b, 4096);
    buf_put_le32(b, 0xcac3);
    buf_put_le32(b, 3);
    buf_put_le32(b, 12);
}

static char *part(int i, const char *name, const char *image, const char *op, unsigned start,
                  unsigned size, bool upgradable)
{
    return xasprintf("- partition_index: SYS%d\n  partition_name: %s\n  file_name: %s\n"
                     "  is_download: %s\n  physical_start_addr: 0x%x\n  partition_size: 0x%x\n"
                     "  region: %s\n  operation_type: %s\n  is_upgradable: %s\n\n",
                     i, name, image ? image : "NONE", image ? "true" : "false", start, size,
                     i == 0 ? "EMMC_BOOT1_BOOT2" : "EMMC_USER", op, upgradable ? "true" : "false");
}

static const struct {
    const char *name, *image, *op;
    unsigned start, size;
    bool upgradable;
} entries[] = {
    {"preloader", "preloader_pda.bin", "BOOTLOADERS", 0, 0x80000, true},
    {"pgpt", NULL, "INVISIBLE", 0, 0x8000, false},
    {"para", NULL, "INVISIBLE", 0x8000, 0x80000, false},
    {"nvcfg", NULL, "PROTECTED", 0x88000, 0x100000, false},
    {"nvdata", NULL, "INVISIBLE", 0x188000, 0x100000, false},
    {"proinfo", NULL, "PROTECTED", 0x288000, 0x300000, false},
    {"nvram", NULL, "BINREGION", 0x588000, 0x100000, false},
    {"logo_a", "logo.img", "UPDATE", 0x688000, 0x8000, false},
    {"lk_a", "lk.img", "UPDATE", 0x690000, 0x100000, true},
    {"system_a", "system.img", "UPDATE", 0x790000, 0x4000, true},
    {"lk_b", NULL, "INVISIBLE", 0x800000, 0x100000, false},
    {"userdata", NULL, "UPDATE", 0x900000, 0x100000, false},
};

static void scatter_make(const char *platform, const char *project)
{
    struct buf *b = file("MT6771_Android_scatter.txt");
    buf_clear(b);
    AUTO(free_ptr)
    char *head = xasprintf("- general: MTK_PLATFORM_CFG\n  info: \n    - config_version: V1.1.2\n"
                           "      platform: %s\n      project: %s\n      storage: EMMC\n"
                           "      block_size: 0x20000\n",
                           platform, project);
    buf_put(b, head, strlen(head));
    for (size_t i = 0; i < ARRAY_LEN(entries); i++) {
        AUTO(free_ptr)
        char *text = part((int)i, entries[i].name, entries[i].image, entries[i].op,
                          entries[i].start, entries[i].size, entries[i].upgradable);
        buf_put(b, text, strlen(text));
    }
}

static void scatter_replace(const char *from, const char *to)
{
    struct buf *b = file("MT6771_Android_scatter.txt");
    uint8_t *at = memmem(b->data, b->len, from, strlen(from));
    assert_non_null(at);
    struct buf copy;
    buf_init(&copy, 1 << 20);
    buf_put(&copy, b->data, (size_t)(at - b->data));
    buf_put(&copy, to, strlen(to));
    buf_put(&copy, at + strlen(from), b->len - (size_t)(at - b->data) - strlen(from));
    buf_clear(b);
    buf_put_span(b, buf_span(&copy));
    buf_deinit(&copy);
}

static void good_package(void)
{
    static const uint8_t code[4096], cid[1][16] = {{0x90, 1, 0x4a}};
    for (size_t i = 0; i < package.count; i++)
        buf_deinit(&package.data[i]);
    package.count = 0;
    scatter_make("MT6771", "PDA");
    struct preloader_spec spec = {"preloader_pda.bin", span_of(code, sizeof(code)), cid, 1, false};
    preloader_encode(&spec, file("preloader_pda.bin"));
    da_file_encode(span_of(code, 4096), span_of(code, 4096), 1, file("MTK_AllInOne_DA.bin"));
    file_lk("lk.img", "commercial");
    file_lk("lk_service.img", "service");
    file_lk("logo.img", "any header will do");
    file_sparse("system.img");
}

static int memory_open(void *arg, const char *name, struct input **out, struct err *err)
{
    (void)arg;
    for (size_t i = 0; i < package.count; i++) {
        if (strcmp(package.names[i], name) != 0)
            continue;
        *out = input_of_span(buf_span(&package.data[i]));
        return 0;
    }
    return err_set(err, ERR_NOT_FOUND, "no file '%s'", name);
}

static struct firmware *checked(const char *name)
{
    struct firmware_source source = {
        .name = name, .names = package.names, .count = package.count, .open = memory_open};
    struct firmware_options options = {&FIRMWARE_MODEL_X5, "EMMC", true};
    struct firmware *f = NULL;
    struct err err;
    if (firmware_check(&source, &options, &f, &err) < 0)
        fail_msg("%s", err.text);
    return f;
}

/* ---- good ---------------------------------------------------------------------------------------
 */

static const struct firmware_step *step_of(const struct firmware_plan *plan, const char *name)
{
    for (uint32_t i = 0; i < plan->count; i++)
        if (strcmp(plan->steps[i].entry->name, name) == 0)
            return &plan->steps[i];
    fail_msg("no step for %s", name);
    return NULL;
}

static void a_good_package_is_planned(void **state)
{
    (void)state;
    good_package();
    AUTO(firmware_free) struct firmware *f = checked("PDA-1100-0-00WW-B01");
    assert_int_equal(f->problem_count, 0);
    assert_true(f->usable);
    assert_string_equal(f->version.text, "PDA-1100-0-00WW-B01");
    assert_string_equal(f->scatter_name, "MT6771_Android_scatter.txt");
    assert_string_equal(f->da_name, "MTK_AllInOne_DA.bin");
    assert_string_equal(f->service_lk_name, "lk_service.img");
    assert_true(firmware_file(f, "system.img")->sparse);
    static const char *const written[] = {"lk_a", "system_a"};
    uint64_t total = 0;
    for (size_t i = 0; i < ARRAY_LEN(written); i++) {
        const struct firmware_step *s = step_of(&f->upgrade, written[i]);
        assert_int_equal(s->action, FIRMWARE_WRITE);
        total += s->extent.size_bytes;
    }
    assert_int_equal(f->upgrade.write_bytes, total);
    const struct firmware_step *system = step_of(&f->upgrade, "system_a");
    assert_int_equal(system->extent.start_bytes, 0x790000);
    assert_int_equal(system->extent.size_bytes, 4 * 4096); /* unfolded */
    /* the logo: Download Only writes it, Firmware Upgrade does not */
    assert_int_equal(step_of(&f->upgrade, "logo_a")->action, FIRMWARE_KEEP);
    assert_int_equal(step_of(&f->download_only, "logo_a")->action, FIRMWARE_WRITE);
    static const char *const kept[] = {"preloader", "pgpt",  "para", "nvcfg",   "nvdata",
                                       "proinfo",   "nvram", "lk_b", "userdata"};
    for (size_t i = 0; i < ARRAY_LEN(kept); i++) {
        assert_int_equal(step_of(&f->upgrade, kept[i])->action, FIRMWARE_KEEP);
        assert_int_equal(step_of(&f->download_only, kept[i])->action, FIRMWARE_KEEP);
    }
}

static void a_package_in_a_folder_is_found(void **state)
{
    (void)state;
    good_package();
    static char names[FILES_MAX][64];
    for (size_t i = 0; i < package.count; i++) {
        snprintf(names[i], sizeof(names[i]), "images/%s", package.names[i]);
        package.names[i] = names[i];
    }
    AUTO(firmware_free) struct firmware *f = checked("PDA-1100-0-00WW-B01");
    assert_int_equal(f->problem_count, 0);
    assert_string_equal(f->prefix, "images/");
    assert_string_equal(step_of(&f->upgrade, "lk_a")->file->name, "images/lk.img");
}

/* ---- spoiled ------------------------------------------------------------------------------------
 */

static void forget(const char *name)
{
    for (size_t i = 0; i < package.count; i++) {
        if (strcmp(package.names[i], name) != 0)
            continue;
        buf_deinit(&package.data[i]);
        package.count--;
        package.names[i] = package.names[package.count];
        package.data[i] = package.data[package.count];
        return;
    }
    fail_msg("no file %s", name);
}

static void s_platform(void)
{
    scatter_make("MT6765", "PDA");
}
static void s_project(void)
{
    scatter_make("MT6771", "PLE");
}
static void s_no_scatter(void)
{
    forget("MT6771_Android_scatter.txt");
}
static void s_bad_scatter(void)
{
    scatter_replace("partition_size: 0x300000", "partition_size: 3MB");
}
static void s_storage(void)
{
    scatter_replace("storage: EMMC", "storage: UFS");
}
static void s_overlap(void)
{
    scatter_replace("physical_start_addr: 0x690000", "physical_start_addr: 0x68f000");
}
static void s_misaligned(void)
{
    scatter_replace("physical_start_addr: 0x790000", "physical_start_addr: 0x790010");
}
static void s_misaligned_download_only(void)
{
    scatter_replace("physical_start_addr: 0x688000\n  partition_size: 0x8000",
                    "physical_start_addr: 0x688010\n  partition_size: 0x7000");
}
static void s_no_da(void)
{
    forget("MTK_AllInOne_DA.bin");
}
static void s_da_chip(void)
{
    put_le16(file("MTK_AllInOne_DA.bin")->data + 0x6e, 0x6765);
}
static void s_no_preloader(void)
{
    forget("preloader_pda.bin");
}
static void s_cut_preloader(void)
{
    file("preloader_pda.bin")->len -= 100;
}
static void s_no_service(void)
{
    forget("lk_service.img");
}
static void s_capital_i(void)
{
    forget("lk_service.img");
    file_lk("Ik_service.img", "service");
}
static void s_service_same(void)
{
    file_lk("lk_service.img", "commercial");
}
static void s_service_damaged(void)
{
    file("lk_service.img")->data[0] = 0;
}
static void s_no_system(void)
{
    forget("system.img");
}
static void s_empty_system(void)
{
    buf_clear(file("system.img"));
}
static void s_large_system(void)
{
    scatter_replace("partition_size: 0x4000", "partition_size: 0x3000");
}
static void s_cut_system(void)
{
    file("system.img")->len -= 20;
}
static void s_system_header(void)
{
    put_le32(file("system.img")->data + 12, 18);
}
static void s_logo_header(void)
{
    file("logo.img")->data[0] = 0;
}
static void s_checksum(void)
{
    file_text("md5sum.txt", "00000000000000000000000000000000 *lk.img\n");
}
static void s_checksum_right(void)
{
    char hex[MD5_HEX_BYTES];
    md5_hex_upper(buf_span(file("lk.img")), hex);
    AUTO(free_ptr) char *line = xasprintf("[x]\r\nlk.img=%s\r\n", hex);
    file_text("Checksum.ini", line);
}
static void sum_line(const char *content_of, const char *listed_as)
{
    char hex[MD5_HEX_BYTES];
    md5_hex_upper(buf_span(file(content_of)), hex);
    AUTO(free_ptr) char *line = xasprintf("%s *%s\n", hex, listed_as);
    buf_put(file("md5sum.txt"), line, strlen(line));
}
static void s_checksums_by_folder(void)
{
    file_text("a/x.txt", "one");
    file_text("b/x.txt", "two");
    sum_line("a/x.txt", "a\\x.txt");
    sum_line("b/x.txt", "./b/x.txt");
    sum_line("lk.img", "D:\\build\\out\\lk.img");
}
static void s_checksum_of_another_folder(void)
{
    file_text("md5sum.txt", "00000000000000000000000000000000 *out/lk.img\n");
}
static void s_checksum_of_either(void)
{
    file_text("a/x.txt", "one");
    file_text("b/x.txt", "two");
    file_text("md5sum.txt", "00000000000000000000000000000000 *out/x.txt\n");
}
static void s_listed_missing(void)
{
    file_text("md5sum.txt", "00000000000000000000000000000000  tee.img\n");
}
static void s_list_unknown(void)
{
    file_text("Checksum.ini", "lk.img=0x1234\n");
}
static void s_identity(void)
{
    scatter_replace("partition_name: proinfo\n  file_name: NONE\n  is_download: false",
                    "partition_name: proinfo\n  file_name: proinfo.img\n  is_download: true");
    file_text("proinfo.img", "PDADONOR00000001");
}
static void s_two_scatters(void)
{
    file_text("proinfo_MT6771_Android_scatter.txt", "- general: x\n");
}
static void s_nothing(void)
{
}

static const struct spoiled_row {
    const char *name, *package;
    void (*spoil)(void);
    bool usable;
    const char *code, *says; /* of the first problem; NULL: none */
} spoiled_rows[] = {
    {"wrong platform", "PDA-1100-0-00WW-B01", s_platform, false, "wrong_platform", "MT6765"},
    {"wrong project", "PDA-1100-0-00WW-B01", s_project, false, "wrong_project", "'PLE'"},
    {"version of another project", "PLE-1100-0-00WW-B01", s_nothing, false, "wrong_project",
     "PLE-1100"},
    {"no version anywhere", "firmware", s_nothing, true, "version_unknown", "PDA-1100"},
    {"no scatter", "PDA-1100-0-00WW-B01", s_no_scatter, false, "scatter_missing", ""},
    {"broken scatter", "PDA-1100-0-00WW-B01", s_bad_scatter, false, "scatter_bad",
     "partition_size: '3MB'"},
    {"overlapping partitions", "PDA-1100-0-00WW-B01", s_overlap, false, "overlap", "overlaps"},
    {"misaligned in Download Only", "PDA-1100-0-00WW-B01", s_misaligned_download_only, false,
     "misaligned", "logo_a"},
    {"misaligned partition", "PDA-1100-0-00WW-B01", s_misaligned, false, "misaligned",
     "multiple of 512"},
    {"other storage", "PDA-1100-0-00WW-B01", s_storage, false, "wrong_storage", "EMMC"},
    {"no download agent", "PDA-1100-0-00WW-B01", s_no_da, false, "da_missing", ""},
    {"download agent for another chip", "PDA-1100-0-00WW-B01", s_da_chip, false, "da_bad", "6771"},
    {"no preloader", "PDA-1100-0-00WW-B01", s_no_preloader, false, "preloader_missing", ""},
    {"preloader cut off", "PDA-1100-0-00WW-B01", s_cut_preloader, false, "preloader_bad",
     "cut off"},
    {"no service bootloader", "PDA-1100-0-00WW-B01", s_no_service, false, "service_lk_missing", ""},
    {"its name with a capital i", "PDA-1100-0-00WW-B01", s_capital_i, false, "service_lk_name",
     "Ik_service"},
    {"service is the commercial one", "PDA-1100-0-00WW-B01", s_service_same, false,
     "service_lk_same", ""},
    {"service bootloader damaged", "PDA-1100-0-00WW-B01", s_service_damaged, false, "lk_bad",
     "lk_service"},
    {"image missing", "PDA-1100-0-00WW-B01", s_no_system, false, "image_missing", "system.img"},
    {"image empty", "PDA-1100-0-00WW-B01", s_empty_system, false, "image_empty", "system.img"},
    {"image too large unfolded", "PDA-1100-0-00WW-B01", s_large_system, false, "image_too_large",
     "16384 bytes when unfolded"},
    {"sparse image cut off", "PDA-1100-0-00WW-B01", s_cut_system, false, "sparse_damaged",
     "ends here"},
    {"sparse header damaged", "PDA-1100-0-00WW-B01", s_system_header, false, "sparse_damaged",
     "blocks of 18"},
    {"image of another kind", "PDA-1100-0-00WW-B01", s_logo_header, true, "image_header", "logo_a"},
    {"checksum differs", "PDA-1100-0-00WW-B01", s_checksum, false, "checksum", "lk.img"},
    {"checksums of equal names", "PDA-1100-0-00WW-B01", s_checksums_by_folder, true, NULL, NULL},
    {"checksum by base name", "PDA-1100-0-00WW-B01", s_checksum_of_another_folder, false,
     "checksum", "lk.img"},
    {"checksum of either", "PDA-1100-0-00WW-B01", s_checksum_of_either, true, "listed_file_missing",
     "out/x.txt"},
    {"checksum right", "PDA-1100-0-00WW-B01", s_checksum_right, true, NULL, NULL},
    {"listed file missing", "PDA-1100-0-00WW-B01", s_listed_missing, true, "listed_file_missing",
     "tee.img"},
    {"list of another form", "PDA-1100-0-00WW-B01", s_list_unknown, true, "checksum_list_unknown",
     ""},
    {"identity in the package", "PDA-1100-0-00WW-B01", s_identity, true, "identity_in_package",
     "proinfo"},
    {"edited copy beside it", "PDA-1100-0-00WW-B01", s_two_scatters, true, "several_scatters",
     "2 scatter"},
};

static void spoiled_packages_are_refused(void **state)
{
    const struct spoiled_row *row = ROW(state);
    good_package();
    row->spoil();
    AUTO(firmware_free) struct firmware *f = checked(row->package);
    for (uint32_t i = 0; i < f->problem_count; i++)
        print_message("    %s: %s\n", f->problems[i].code, f->problems[i].what);
    assert_int_equal(f->usable, row->usable);
    if (!row->code) {
        assert_int_equal(f->problem_count, 0);
        return;
    }
    assert_true(f->problem_count > 0);
    assert_string_equal(f->problems[0].code, row->code);
    assert_true(f->problems[0].advice[0] != 0);
    if (!strstr(f->problems[0].what, row->says))
        fail_msg("'%s' does not say '%s'", f->problems[0].what, row->says);
    for (uint32_t i = 0; f->section && i < f->upgrade.count; i++)
        if (strcmp(f->upgrade.steps[i].entry->name, "proinfo") == 0) {
            assert_int_equal(f->upgrade.steps[i].action, FIRMWARE_KEEP);
            assert_int_equal(f->download_only.steps[i].action, FIRMWARE_KEEP);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_package_is_planned),
        cmocka_unit_test(a_package_in_a_folder_is_found),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    failed += RUN_ROWS(spoiled_packages_are_refused, spoiled_rows);
    for (size_t i = 0; i < package.count; i++)
        buf_deinit(&package.data[i]);
    return failed;
}
