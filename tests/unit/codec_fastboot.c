/* Rows for usb/codec/fastboot. */
#include "tests/unit/rows.h"

#include <stdio.h>

#include "usb/codec/fastboot.h"

static const struct response_row {
    const char *name, *wire;
    int want;
    enum fastboot_kind kind;
    const char *text;
    uint32_t data_bytes;
} response_rows[] = {
    {"okay with text", "OKAYPDA", 0, FASTBOOT_OKAY, "PDA", 0},
    {"okay, empty", "OKAY", 0, FASTBOOT_OKAY, "", 0},
    {"fail, line ends", "FAIL\ntarget device is locked\n", 0, FASTBOOT_FAIL,
     "target device is locked", 0},
    {"info", "INFOservice", 0, FASTBOOT_INFO, "service", 0},
    {"text", "TEXTabc", 0, FASTBOOT_TEXT, "abc", 0},
    {"data", "DATA04000000", 0, FASTBOOT_DATA, "04000000", 0x4000000},
    {"data, upper case", "DATA0000ABCD", 0, FASTBOOT_DATA, "0000ABCD", 0xabcd},
    {"data, too few digits", "DATA400", ERR_PROTOCOL, 0, "", 0},
    {"data, no digits", "DATA0400000g", ERR_PROTOCOL, 0, "", 0},
    {"data, too many digits", "DATA004000000", ERR_PROTOCOL, 0, "", 0},
    {"unknown kind", "NOPEx", ERR_PROTOCOL, 0, "", 0},
    {"cut short", "OKA", ERR_PROTOCOL, 0, "", 0},
    {"empty", "", ERR_PROTOCOL, 0, "", 0},
    {"phones name themselves", "OKAYa\x1b[31mb\xff", 0, FASTBOOT_OKAY, "a?[31mb?", 0},
};

static void responses(void **state)
{
    const struct response_row *row = ROW(state);
    struct fastboot_response msg;
    int rc = fastboot_response_decode(span_of(row->wire, strlen(row->wire)), &msg, NULL);
    assert_int_equal(rc, row->want);
    if (rc < 0)
        return;
    assert_int_equal(msg.kind, row->kind);
    assert_string_equal(msg.text, row->text);
    assert_int_equal(msg.data_bytes, row->data_bytes);
}

static void responses_are_bounded(void **state)
{
    (void)state;
    uint8_t raw[FASTBOOT_RESPONSE_MAX + 1];
    struct fastboot_response msg;
    memset(raw, 'x', sizeof(raw));
    memcpy(raw, "OKAY", 4);
    assert_int_equal(fastboot_response_decode(span_of(raw, sizeof(raw) - 1), &msg, NULL), 0);
    assert_int_equal(strlen(msg.text), FASTBOOT_RESPONSE_MAX - 4);
    assert_int_equal(fastboot_response_decode(span_of(raw, sizeof(raw)), &msg, NULL), ERR_PROTOCOL);
}

static void responses_are_cut_as_lk_cuts(void **state)
{
    (void)state;
    struct fastboot_response msg = {.kind = FASTBOOT_FAIL};
    struct buf out;
    memset(msg.text, 'y', 100);
    buf_init(&out, 512);
    fastboot_response_encode(&msg, FASTBOOT_LK_RESPONSE_MAX, &out);
    assert_int_equal(out.len, 63);
    buf_clear(&out);
    msg = (struct fastboot_response){.kind = FASTBOOT_DATA, .data_bytes = 0x400000};
    fastboot_response_encode(&msg, FASTBOOT_LK_RESPONSE_MAX, &out);
    assert_int_equal(out.len, 12);
    assert_memory_equal(out.data, "DATA00400000", 12);
    buf_deinit(&out);
}

static const struct command_row {
    const char *name, *verb, *argument, *wire;
    int want;
} command_rows[] = {
    {"getvar", "getvar", "product", "getvar:product", 0},
    {"bare", "reboot-bootloader", NULL, "reboot-bootloader", 0},
    {"oem keeps its blanks", "oem", "dm-verity 313CA5F469846D5CCFBCECE02BE4F1E5",
     "oem dm-verity 313CA5F469846D5CCFBCECE02BE4F1E5", 0},
    {"64 bytes", "flash", "0123456789012345678901234567890123456789012345678901234567",
     "flash:0123456789012345678901234567890123456789012345678901234567", 0},
    {"65 bytes", "flash", "01234567890123456789012345678901234567890123456789012345678", NULL,
     ERR_INPUT},
    {"line end", "oem", "dm-verity abc\n", NULL, ERR_INPUT},
    {"nothing", "", NULL, NULL, ERR_INPUT},
};

static void commands(void **state)
{
    const struct command_row *row = ROW(state);
    struct fastboot_command back;
    struct buf out;
    buf_init(&out, 128);
    int rc = fastboot_command_encode(row->verb, row->argument, &out, NULL);
    assert_int_equal(rc, row->want);
    if (rc == 0) {
        assert_int_equal(out.len, strlen(row->wire));
        assert_memory_equal(out.data, row->wire, out.len);
        assert_int_equal(fastboot_command_decode(buf_span(&out), &back, NULL), 0);
        assert_string_equal(back.verb, row->verb);
        assert_string_equal(back.argument, row->argument ? row->argument : "");
    } else {
        assert_int_equal(out.len, 0);
    }
    buf_deinit(&out);
}

static void downloads(void **state)
{
    (void)state;
    struct buf out;
    struct fastboot_command back;
    uint32_t size = 0;
    buf_init(&out, 64);
    assert_int_equal(fastboot_download_encode(0, &out, NULL), ERR_INPUT);
    assert_int_equal(fastboot_download_encode(0x4000000, &out, NULL), 0);
    assert_memory_equal(out.data, "download:04000000", 17);
    assert_int_equal(fastboot_command_decode(buf_span(&out), &back, NULL), 0);
    assert_int_equal(fastboot_download_decode(&back, &size, NULL), 0);
    assert_int_equal(size, 0x4000000);
    snprintf(back.argument, sizeof(back.argument), "123456789");
    assert_int_equal(fastboot_download_decode(&back, &size, NULL), ERR_PROTOCOL);
    assert_int_equal(fastboot_command_decode(span_of("a\0b", 3), &back, NULL), ERR_PROTOCOL);
    buf_deinit(&out);
}

static const struct number_row {
    const char *name, *text;
    bool hex;
    int want;
    uint64_t value;
} number_rows[] = {
    {"hex with 0x", "0x8000000", false, 0, 0x8000000},
    {"upper case, TAB", "\t0X8000000 ", false, 0, 0x8000000},
    {"decimal", "134217728", false, 0, 134217728},
    {"partition size", "4000000", true, 0, 0x4000000},
    {"partition size with 0x", "0x4000000", true, 0, 0x4000000},
    {"negative", "-1", false, ERR_PROTOCOL, 0},
    {"letters", "12ab", false, ERR_PROTOCOL, 0},
    {"empty", " ", false, ERR_PROTOCOL, 0},
    {"0x alone", "0x", true, ERR_PROTOCOL, 0},
    {"too long", "11111111111111111", true, ERR_PROTOCOL, 0},
};

static void numbers(void **state)
{
    const struct number_row *row = ROW(state);
    uint64_t value = 0;
    int rc = row->hex ? fastboot_hex_parse(row->text, &value, NULL)
                      : fastboot_number_parse(row->text, &value, NULL);
    assert_int_equal(rc, row->want);
    if (rc == 0)
        assert_int_equal(value, row->value);
}

static const struct fail_row {
    const char *name; /* the phone's text */
    enum fastboot_fail want;
    int code;
} fail_rows[] = {
    {"target device is locked", FASTBOOT_FAIL_AUTH_MISSING, ERR_REFUSED},
    {"not allowed in locked state", FASTBOOT_FAIL_LOCKED, ERR_REFUSED},
    {"Command not allowed", FASTBOOT_FAIL_LOCKED, ERR_REFUSED},
    {"download for partition 'nvram' is not allowed", FASTBOOT_FAIL_POLICY, ERR_REFUSED},
    {"Flashing is not allowed for Controlled Partitions", FASTBOOT_FAIL_POLICY, ERR_REFUSED},
    {"not support on security", FASTBOOT_FAIL_SECURE, ERR_REFUSED},
    {"unknown command", FASTBOOT_FAIL_UNSUPPORTED, ERR_UNSUPPORTED},
    {"unknown reason", FASTBOOT_FAIL_INTERNAL, ERR_IO},
    {"Unlock failed - Err:0x7000", FASTBOOT_FAIL_UNLOCK_DENIED, ERR_REFUSED},
    {"argument size is wrong", FASTBOOT_FAIL_BAD_ARG, ERR_INPUT},
    {"low power, need battery charging.", FASTBOOT_FAIL_BATTERY, ERR_REFUSED},
    {"data is too large", FASTBOOT_FAIL_SIZE, ERR_LIMIT},
    {"sparse image size span overflow.", FASTBOOT_FAIL_SIZE, ERR_LIMIT},
    {"sparse chunk size overflow.", FASTBOOT_FAIL_BAD_IMAGE, ERR_FORMAT},
    {"partition table doesn't exist", FASTBOOT_FAIL_NO_PART, ERR_NOT_FOUND},
    {"image is not a boot image", FASTBOOT_FAIL_BAD_IMAGE, ERR_FORMAT},
    {"CHUNK_TYPE_FILL flash write failure", FASTBOOT_FAIL_STORAGE, ERR_STORAGE},
    {"Read USB error", FASTBOOT_FAIL_LINK, ERR_DEAD},
    {"GetVar Variable Not found", FASTBOOT_FAIL_INFO, ERR_NOT_FOUND},
    {"something new", FASTBOOT_FAIL_UNKNOWN, ERR_REFUSED},
};

static void fails(void **state)
{
    const struct fail_row *row = ROW(state);
    struct err err;
    assert_int_equal(fastboot_fail_classify(row->name), row->want);
    assert_int_equal(fastboot_fail_err(row->name, "flash:nvram", &err), row->code);
    assert_non_null(strstr(err.text, row->name));
    assert_non_null(strstr(err.text, fastboot_fail_name(row->want)));
    assert_non_null(strstr(err.text, fastboot_fail_advice(row->want)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(responses_are_bounded),
        cmocka_unit_test(responses_are_cut_as_lk_cuts),
        cmocka_unit_test(downloads),
    };
    int failed = RUN_ROWS(responses, response_rows) + RUN_ROWS(commands, command_rows) +
                 RUN_ROWS(numbers, number_rows) + RUN_ROWS(fails, fail_rows);
    return failed + cmocka_run_group_tests(tests, NULL, NULL);
}
