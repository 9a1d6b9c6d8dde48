/* The seal: files of keys, what other programs make of the same key, and every way to break one. */
#include "tests/unit/rows.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "usb/base/mem.h"
#include "usb/base/seal.h"

#define HEX_KEY "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"

static char dir[] = "/tmp/flashrack-seal-XXXXXX";

static char *key_file(const char *text, size_t len, mode_t mode)
{
    char *path = xasprintf("%s/key", dir);
    unlink(path);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, text, len), len);
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
    return path;
}

static struct seal *load(const char *text, size_t len)
{
    AUTO(free_ptr) char *path = key_file(text, len, 0600);
    struct seal *s = NULL;
    struct err err = {0};
    if (seal_load(path, &s, &err) < 0)
        fail_msg("%s", err.text);
    return s;
}

static const struct key_row {
    const char *name, *text;
    size_t len;
    mode_t mode;
    const char *says; /* NULL: it is taken */
} key_rows[] = {
    {"digits", HEX_KEY, 64, 0600, NULL},
    {"digits and a newline", HEX_KEY "\n", 65, 0400, NULL},
    {"capital digits", "000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F\r\n", 66,
     0600, NULL},
    {"bytes", "................................", 32, 0600, NULL},
    {"empty", "", 0, 0600, "openssl rand -hex 32"},
    {"a byte too few", "...............................", 31, 0600, "neither"},
    {"a digit too few", HEX_KEY, 63, 0600, "neither"},
    {"a digit too many", HEX_KEY "0", 65, 0600, "neither"},
    {"no digit", "g00102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f", 64, 0600,
     "neither"},
    {"blanks between", "00 102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f", 64, 0600,
     "neither"},
    {"much more", HEX_KEY HEX_KEY, 128, 0600, "128 bytes"},
    {"group reads it", HEX_KEY, 64, 0640, "chmod 600"},
    {"others write it", HEX_KEY, 64, 0602, "chmod 600"},
};

static void key_row(void **state)
{
    const struct key_row *row = *state;
    AUTO(free_ptr) char *path = key_file(row->text, row->len, row->mode);
    AUTO(seal_free) struct seal *s = NULL;
    struct err err = {0};
    int code = seal_load(path, &s, &err);
    if (code != (row->says ? ERR_INPUT : 0) || (row->says && !strstr(err.text, row->says)))
        fail_msg("%s: %s", err_name(code), err.text);
    assert_int_equal(s == NULL, code < 0);
}

static void no_file_and_no_regular_one(void **state)
{
    (void)state;
    struct seal *s = NULL;
    struct err err = {0};
    assert_int_equal(seal_load("/nonexistent/key", &s, &err), ERR_INPUT);
    assert_int_equal(seal_load(dir, &s, &err), ERR_INPUT);
    assert_non_null(strstr(err.text, "no regular file"));
}

static void expect_hex(const struct sha256 *have, const char *want)
{
    char hex[SHA256_HEX_BYTES];
    sha256_hex(have, hex);
    assert_string_equal(hex, want);
}

/* The values were computed by another program (Python's cryptography: HKDF, HMAC, AESGCM) from the same key. */
static void another_program_agrees(void **state)
{
    (void)state;
    AUTO(seal_free) struct seal *s = load(HEX_KEY, 64);
    struct sha256 check = seal_check_value(s), content = sha256_of(span_of("abc", 3));
    struct sha256 id = seal_content_id(s, &content);
    expect_hex(&check, "a8b3a73a6936af1152ffd126f926c8e8b3654390baad43e64c35a05c3ffb0d61");
    expect_hex(&id, "4a1caca0836d3bd55a8c39b8a845dc1fb2d10d156ade807c257ffa28350c9d3c");
    uint8_t sealed[44];
    assert_int_equal(hex_decode("6465666768696a6b6c6d6e6fba7ab7ac4f0a1634bf33cac264406d17753489df"
                                "2e006df995379cbc93ff5fc6",
                                sealed, sizeof(sealed)),
                     sizeof(sealed));
    AUTO(buf_deinit) struct buf out;
    buf_init(&out, 64);
    assert_int_equal(seal_open(s, span_of("about", 5), span_of(sealed, sizeof(sealed)), &out, NULL),
                     0);
    assert_int_equal(out.len, 16);
    assert_memory_equal(out.data, "known plain text", 16);
}

static void same_key_in_both_forms(void **state)
{
    (void)state;
    uint8_t raw[32];
    hex_decode(HEX_KEY, raw, sizeof(raw));
    AUTO(seal_free) struct seal *a = load(HEX_KEY, 64);
    AUTO(seal_free) struct seal *b = load((const char *)raw, sizeof(raw));
    struct sha256 of_a = seal_check_value(a), of_b = seal_check_value(b);
    assert_true(sha256_equal(&of_a, &of_b));
}

/* Every bit counts: nonce, text, tag; and so do what it is about, its length, its key. */
static void nothing_broken_opens(void **state)
{
    (void)state;
    struct span about = span_of("about", 5);
    AUTO(seal_free) struct seal *s = load(HEX_KEY, 64);
    AUTO(seal_free) struct seal *other = load("................................", 32);
    AUTO(buf_deinit) struct buf sealed;
    AUTO(buf_deinit) struct buf out;
    buf_init(&sealed, 100);
    buf_init(&out, 100);
    assert_int_equal(seal_close(s, about, span_of("text", 4), &sealed, NULL), 0);
    assert_int_equal(sealed.len, 4 + SEAL_EXTRA_BYTES);
    for (size_t i = 0; i < sealed.len * 8; i++) {
        sealed.data[i / 8] ^= (uint8_t)(1 << i % 8);
        assert_int_equal(seal_open(s, about, buf_span(&sealed), &out, NULL), ERR_VERIFY);
        sealed.data[i / 8] ^= (uint8_t)(1 << i % 8);
    }
    assert_int_equal(seal_open(s, span_of("abouT", 5), buf_span(&sealed), &out, NULL), ERR_VERIFY);
    assert_int_equal(seal_open(other, about, buf_span(&sealed), &out, NULL), ERR_VERIFY);
    for (size_t len = 0; len < sealed.len; len++)
        assert_int_equal(seal_open(s, about, span_of(sealed.data, len), &out, NULL), ERR_VERIFY);
    assert_int_equal(out.len, 0);
    assert_int_equal(seal_open(s, about, buf_span(&sealed), &out, NULL), 0);
    assert_memory_equal(out.data, "text", 4);
}

static void equal_texts_are_sealed_differently(void **state)
{
    (void)state;
    AUTO(seal_free) struct seal *s = load(HEX_KEY, 64);
    AUTO(buf_deinit) struct buf out;
    buf_init(&out, 2 * (4 + SEAL_EXTRA_BYTES));
    for (int i = 0; i < 2; i++)
        assert_int_equal(seal_close(s, span_of("", 0), span_of("text", 4), &out, NULL), 0);
    assert_memory_not_equal(out.data, out.data + 4 + SEAL_EXTRA_BYTES, 12);
    assert_memory_not_equal(out.data + 12, out.data + 12 + 4 + SEAL_EXTRA_BYTES, 4);
    assert_int_equal(seal_close(s, span_of("", 0), span_of("text", 4), &out, NULL), ERR_LIMIT);
}

int main(void)
{
    assert_non_null(mkdtemp(dir));
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_file_and_no_regular_one),
        cmocka_unit_test(another_program_agrees),
        cmocka_unit_test(same_key_in_both_forms),
        cmocka_unit_test(nothing_broken_opens),
        cmocka_unit_test(equal_texts_are_sealed_differently),
    };
    int failed = RUN_ROWS(key_row, key_rows) + cmocka_run_group_tests(tests, NULL, NULL);
    AUTO(free_ptr) char *path = xasprintf("%s/key", dir);
    unlink(path);
    rmdir(dir);
    return failed;
}
