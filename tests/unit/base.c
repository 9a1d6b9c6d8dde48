/* Rows for usb/base. */
#include "tests/unit/rows.h"

#include "usb/base/buf.h"
#include "usb/base/clock.h"
#include "usb/base/hash.h"
#include "usb/base/utf8.h"

static void errors_travel_by_name(void **state)
{
    (void)state;
    struct err err = {0};
    assert_int_equal(err_set(&err, ERR_GONE, "port %d", 7), ERR_GONE);
    assert_int_equal(err_in(&err, "step %s", "S7"), ERR_GONE);
    assert_string_equal(err.text, "step S7: port 7");
    assert_string_equal(err_name(ERR_GONE), "device_gone");
    assert_int_equal(err_from_name("device_gone"), ERR_GONE);
    assert_int_equal(err_from_name("no such name"), ERR_INTERNAL);
    assert_int_equal(err_http_status(ERR_LIMIT), 413);
    assert_true(err_may_retry(ERR_TIMEOUT));
    assert_false(err_may_retry(ERR_REFUSED));
}

static void reader_remembers_overrun(void **state)
{
    (void)state;
    const uint8_t raw[] = {1, 2, 3, 4, 5};
    struct reader r = reader_of(span_of(raw, sizeof(raw)));
    assert_int_equal(rd_le32(&r), 0x04030201);
    assert_int_equal(rd_be16(&r), 0);
    assert_false(reader_ok(&r));
    r = reader_of(span_of(raw, sizeof(raw)));
    assert_int_equal(rd_be32(&r), 0x01020304);
    assert_false(reader_done(&r));
    assert_int_equal(rd_u8(&r), 5);
    assert_true(reader_done(&r));
}

static void buf_keeps_its_ceiling(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 6);
    buf_put_be32(&b, 0x01020304);
    assert_int_equal(buf_check(&b, NULL), 0);
    buf_put_le32(&b, 1);
    assert_int_equal(buf_check(&b, NULL), ERR_LIMIT);
    assert_int_equal(b.len, 4);
    buf_deinit(&b);
}

static void hashes_match_published_vectors(void **state)
{
    (void)state;
    char hex[SHA256_HEX_BYTES];
    struct sha256 d = sha256_of(span_of("abc", 3));
    sha256_hex(&d, hex);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    /* the dm-verity code of a serial, usb/format/README.md, "Identity numbers" */
    md5_hex_upper(span_of("PDAGATEST0000001", 16), hex);
    assert_string_equal(hex, "313CA5F469846D5CCFBCECE02BE4F1E5");
    assert_int_equal(crc32_of(0, span_of("123456789", 9)), 0xcbf43926);
    assert_int_equal(crc32_of(0xcbf43926, span_of(NULL, 0)), 0xcbf43926);
    struct hasher *h = hasher_new();
    hasher_zeros(h, 70000);
    uint8_t *zeros = calloc(1, 70000);
    struct sha256 a = hasher_finish(h), b = sha256_of(span_of(zeros, 70000));
    assert_true(sha256_equal(&a, &b));
    free(zeros);
    hasher_free(&h);
}

static void clock_formats_and_scales(void **state)
{
    (void)state;
    char text[CLOCK_TEXT_BYTES];
    clock_rfc3339(1795341600123, text);
    assert_string_equal(text, "2026-11-22T10:00:00.123Z");
    clock_test_set(1000);
    clock_scale_set(2.0);
    assert_int_equal(clock_in(500), 2000);
    assert_int_equal(clock_left(1500, 200), 200);
    clock_scale_set(1.0);
    clock_test_set(-1);
}

static void text_that_is_no_utf8_is_escaped(void **state)
{
    (void)state;
    char out[17];
    assert_true(utf8_escape("\xe5\x9b\xba.txt", out, sizeof(out)));
    assert_string_equal(out, "\xe5\x9b\xba.txt");
    assert_true(
        utf8_escape("na\xefve\xe5\x9b\xba", out, sizeof(out))); /* one wrong byte: all of them */
    assert_string_equal(out, "na%efve%e5%9b%ba");
    assert_false(utf8_escape("na\xefve\xe5\x9b\xba.", out, sizeof(out)));
    assert_false(utf8_escape("0123456789abcdefg", out, sizeof(out)));
    assert_true(utf8_escape("", out, 1));
    static const char *const bad[] = {"\xc0\x80",        "\xed\xa0\x80", "\xf4\x90\x80\x80",
                                      "\xe0\x80\x80",    "\xe5\x9b",     "\x80",
                                      "\xf5\x80\x80\x80"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(utf8_is(bad[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_travel_by_name),
        cmocka_unit_test(text_that_is_no_utf8_is_escaped),
        cmocka_unit_test(reader_remembers_overrun),
        cmocka_unit_test(buf_keeps_its_ceiling),
        cmocka_unit_test(hashes_match_published_vectors),
        cmocka_unit_test(clock_formats_and_scales),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
