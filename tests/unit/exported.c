/* Exported backups that come back from anywhere: tar files that lie about themselves, lists that do not agree. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "usb/base/mem.h"
#include "usb/format/tar.h"
#include "usb/worker/exported.h"

#define HASH_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define HASH_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

enum { BLOCK = 512 };

/* One header, as tar writes it. */
static void header(uint8_t *block, const char *name, const char *size, char type)
{
    unsigned sum = 0;
    memset(block, 0, BLOCK);
    snprintf((char *)block, 100, "%s", name);
    memcpy(block + 124, size, strlen(size));
    memset(block + 148, ' ', 8);
    block[156] = (uint8_t)type;
    memcpy(block + 257, "ustar", 5);
    for (int i = 0; i < BLOCK; i++)
        sum += block[i];
    snprintf((char *)block + 148, 8, "%06o", sum);
}

static int next(const uint8_t *data, size_t len, uint64_t *at, struct tar_member *out,
                struct err *err)
{
    AUTO(input_close) struct input *in = input_of_span(span_of(data, len));
    return tar_next(in, at, out, err);
}

static void members_are_found_in_place(void **state)
{
    (void)state;
    static uint8_t tar[7 * BLOCK];
    struct tar_member m;
    struct err err = {0};
    uint64_t at = 0;
    header(tar, "backup/", "00000000000", '5');
    header(tar + BLOCK, "backup/proinfo.img", "00000001001", '0'); /* 513 bytes */
    header(tar + 4 * BLOCK, "SHA256SUMS", "00000000000", '\0');
    assert_int_equal(next(tar, sizeof(tar), &at, &m, &err), 1);
    assert_string_equal(m.name, "proinfo.img");
    assert_int_equal(m.offset_bytes, 2 * BLOCK);
    assert_int_equal(m.size_bytes, 513);
    assert_int_equal(next(tar, sizeof(tar), &at, &m, &err), 1);
    assert_string_equal(m.name, "SHA256SUMS");
    assert_int_equal(m.size_bytes, 0);
    assert_int_equal(next(tar, sizeof(tar), &at, &m, &err), 0);
}

static void tars_that_lie_are_refused(void **state)
{
    (void)state;
    static uint8_t tar[2 * BLOCK];
    static const char *const sizes[] = {"77777777777", "00000001001", "x", "-1", ""};
    struct tar_member m;
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        struct err err = {0};
        uint64_t at = 0;
        header(tar, "proinfo.img", sizes[i], '0');
        assert_int_equal(next(tar, sizeof(tar), &at, &m, &err), ERR_FORMAT);
        assert_non_null(strstr(err.text, "proinfo.img"));
    }
    struct err err = {0};
    uint64_t at = 0;
    header(tar, "proinfo.img", "00000000001", '0');
    tar[0] ^= 1; /* the sum does not fit */
    assert_int_equal(next(tar, sizeof(tar), &at, &m, &err), ERR_FORMAT);
    at = 0;
    assert_int_equal(next(tar, 100, &at, &m, &err), ERR_FORMAT);
    at = 0;
    assert_int_equal(next(tar, 0, &at, &m, &err), 0);
}

#define PLACE(name, area, hash)                                                                    \
    "{\"name\":\"" name "\",\"area\":\"" area "\",\"offset\":512,\"size\":3,\"sha256\":\"" hash    \
    "\"}"

static const struct {
    const char *sums, *manifest, *why; /* why NULL: they are good */
} rows[] = {
    {NULL, NULL, NULL},
    {HASH_A "  proinfo.img\n", NULL, NULL},
    {HASH_A "  proinfo.img\n" HASH_B "  notes.txt\n",
     "{\"partitions\":[" PLACE("proinfo", "USER", HASH_A) "]}", NULL},
    {NULL, "{\"partitions\":[]}", "not whole"},
    {"hello\n", NULL, "no line of sha256sum"},
    {HASH_A "  proinfo.img\n" HASH_B "  13.proinfo.img\n", NULL, "twice"},
    {HASH_A "  proinfo.img\n", "{", "manifest.json"},
    {HASH_A "  proinfo.img\n", "[]", "no partitions"},
    {HASH_A "  proinfo.img\n", "{\"partitions\":[7]}", "lacks"},
    {HASH_A "  proinfo.img\n", "{\"partitions\":[" PLACE("proinfo", "RPMB", HASH_A) "]}", "lacks"},
    {HASH_A "  proinfo.img\n", "{\"partitions\":[" PLACE("proinfo", "USER", HASH_B) "]}",
     "do not agree on proinfo.img"},
    {HASH_A "  proinfo.img\n", "{\"partitions\":[" PLACE("../x", "USER", HASH_A) "]}",
     "do not agree"},
    {HASH_A "  proinfo.img\n", "{\"chip_id\":null,\"partitions\":[]}", NULL},
    {HASH_A "  proinfo.img\n", "{\"chip_id\":\"\",\"partitions\":[]}", "no chip's"},
    {HASH_A "  proinfo.img\n", "{\"chip_id\":7,\"partitions\":[]}", "no chip's"},
    {HASH_A "  proinfo.img\n", "{\"chip_id\":\"00010203040506\",\"partitions\":[]}", NULL},
    {HASH_A "  proinfo.img\n", "{\"chip_id\":\"0001020304050\",\"partitions\":[]}", "no chip's"},
    {HASH_A "  proinfo.img\n", "{\"chip_id\":\"000102030405AB\",\"partitions\":[]}", "no chip's"},
    {HASH_A "  proinfo.img\n", "{\"chip_id\":\"" HASH_A "aa\",\"partitions\":[]}", "no chip's"},
};

static struct span text(const char *s)
{
    return span_of(s, s ? strlen(s) : 0);
}

static void lists_must_agree(void **state)
{
    (void)state;
    AUTO(free_ptr) struct exported *e = xcalloc(1, sizeof(*e));
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err err = {0};
        int rc = exported_parse(text(rows[i].sums), text(rows[i].manifest), e, &err);
        if (rows[i].why ? rc != ERR_FORMAT || !strstr(err.text, rows[i].why) : rc != 0)
            fail_msg("row %zu: %d '%s', not '%s'", i, rc, err.text, rows[i].why ? rows[i].why : "");
    }
}

static void places_come_from_the_manifest(void **state)
{
    (void)state;
    AUTO(free_ptr) struct exported *e = xcalloc(1, sizeof(*e));
    assert_int_equal(
        exported_parse(text(HASH_A "  boot1.img\n"),
                       text("{\"serial\":\"S\",\"chip_id\":\"0a0b0c0d\",\"partitions\":[" PLACE(
                           "boot1", "BOOT1", HASH_A) "]}"),
                       e, NULL),
        0);
    const struct exported_image *image = exported_find(e, "boot1");
    assert_non_null(image);
    assert_true(image->placed);
    assert_string_equal(image->area, "BOOT1");
    assert_string_equal(e->serial, "S");
    assert_string_equal(e->chip_id, "0a0b0c0d");
    assert_int_equal(image->offset_bytes, 512);
    assert_null(exported_find(e, "boot2"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(members_are_found_in_place),
        cmocka_unit_test(tars_that_lie_are_refused),
        cmocka_unit_test(lists_must_agree),
        cmocka_unit_test(places_come_from_the_manifest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
