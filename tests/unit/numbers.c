/* Rows for serials and IMEIs, slot metadata, versions and gates. */
#include "tests/unit/rows.h"

#include "usb/format/firmware.h"
#include "usb/format/para.h"
#include "usb/format/serial.h"
#include "usb/format/systeminfo.h"

static const struct serial_row {
    const char *name, *serial;
    enum serial_verdict want;
    const char *says; /* part of the reason, or the code of a valid one */
} serial_rows[] = {
    {"label serial", "PDAGATEST0000001", SERIAL_VALID, "313CA5F469846D5CCFBCECE02BE4F1E5"},
    {"empty", "", SERIAL_EMPTY, "About phone"},
    {"IMEI typed as serial", "490154203237518", SERIAL_IMEI, "IMEI"},
    {"IMEISV typed as serial", "4901542032375101", SERIAL_IMEI, "IMEI"},
    {"15 digits that are no IMEI", "490154203237519", SERIAL_MALFORMED, "this has 15"},
    {"what LK says without proinfo", "0123456789ABCDEF", SERIAL_PLACEHOLDER, "placeholder"},
    {"all zeros", "0000000000000000", SERIAL_PLACEHOLDER, "placeholder"},
    {"lower case", "pdagatest0000001", SERIAL_LOWER_CASE, "capital"},
    {"mixed case", "PDAgatest0000001", SERIAL_LOWER_CASE, "capital"},
    {"newline behind it", "PDAGATEST0000001\n", SERIAL_MALFORMED, "blank at place 17"},
    {"blank inside", "PDAGATE T0000001", SERIAL_MALFORMED, "blank at place 8"},
    {"one short", "PDAGATEST000001", SERIAL_MALFORMED, "this has 15"},
    {"another model", "E2MGAHIKARICALYX", SERIAL_MALFORMED, "start with PDA"},
    {"sign inside", "PDAGATEST-000001", SERIAL_MALFORMED, "A to Z"},
    {"not ASCII",
     "PDAGATEST\xc3\x84"
     "00001",
     SERIAL_MALFORMED, "A to Z"},
};

static void serial_is_judged(void **state)
{
    const struct serial_row *row = ROW(state);
    struct serial_check check;
    serial_check(row->serial, SERIAL_PROJECT_X5, &check);
    assert_int_equal(check.verdict, row->want);
    const char *text = row->want == SERIAL_VALID ? check.dm_verity_code : check.reason;
    if (!strstr(text, row->says))
        fail_msg("'%s' does not say '%s'", text, row->says);
    assert_int_equal(check.dm_verity_code[0] != 0, row->want == SERIAL_VALID);
}

static void dm_verity_codes_are_upper_case_md5(void **state)
{
    (void)state;
    char code[MD5_HEX_BYTES];
    serial_dm_verity_code("E2MGAHIKARICALYX", code); /* published example */
    assert_string_equal(code, "0AB1B1E9F3AACC85849341CD5FB21412");
}

static const struct compare_row {
    const char *name, *a, *b;
    enum serial_match want;
    int at;
} compare_rows[] = {
    {"same", "PDAGATEST0000001", "PDAGATEST0000001", SERIAL_SAME, 0},
    {"O for 0", "PDAGATESTO000001", "PDAGATEST0000001", SERIAL_CONFUSABLE, 10},
    {"8 for B", "PDAB0000000000O1", "PDA80000000000O1", SERIAL_CONFUSABLE, 4},
    {"two pairs are too many", "PDAGATESTOO00001", "PDAGATEST0000001", SERIAL_DIFFERENT, 0},
    {"not alike", "PDAGATEST0000002", "PDAGATEST0000001", SERIAL_DIFFERENT, 0},
    {"pair and difference", "PDAGATESTO000002", "PDAGATEST0000001", SERIAL_DIFFERENT, 0},
    {"length", "PDAGATEST000000", "PDAGATEST0000001", SERIAL_DIFFERENT, 0},
};

static void serials_are_compared(void **state)
{
    const struct compare_row *row = ROW(state);
    int at = 0;
    assert_int_equal(serial_compare(row->a, row->b, &at), row->want);
    assert_int_equal(at, row->at);
    assert_int_equal(serial_compare(row->b, row->a, NULL), row->want);
}

static const struct imei_row {
    const char *name, *imei;
    enum imei_verdict want;
} imei_rows[] = {
    {"textbook", "490154203237518", IMEI_VALID},
    {"mistyped", "490154203237528", IMEI_BAD_CHECK_DIGIT},
    {"digits swapped", "490154202337518", IMEI_BAD_CHECK_DIGIT},
    {"zeros pass Luhn", "000000000000000", IMEI_PLACEHOLDER},
    {"test firmware passes Luhn", "004400152020002", IMEI_PLACEHOLDER},
    {"emulator passes Luhn", "123456789012347", IMEI_PLACEHOLDER},
    {"repair tool fails Luhn", "135790246811220", IMEI_PLACEHOLDER},
    {"all equal", "777777777777777", IMEI_PLACEHOLDER},
    {"short", "49015420323751", IMEI_MALFORMED},
    {"IMEISV", "4901542032375101", IMEI_MALFORMED},
    {"letters", "49015420323751X", IMEI_MALFORMED},
};

static void imei_is_judged(void **state)
{
    const struct imei_row *row = ROW(state);
    char reason[200] = "stale";
    assert_int_equal(imei_check(row->imei, reason, sizeof(reason)), row->want);
    assert_int_equal(reason[0] == 0, row->want == IMEI_VALID);
}

static void proinfo_starts_with_the_serial(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 4096);
    proinfo_encode("PDAGATEST0000001", &b);
    char serial[SERIAL_BYTES];
    assert_int_equal(proinfo_serial(buf_span(&b), serial, NULL), 0);
    assert_string_equal(serial, "PDAGATEST0000001");
    b.data[40] = 'x'; /* something behind the NUL */
    assert_int_equal(proinfo_serial(buf_span(&b), serial, NULL), ERR_FORMAT);
    b.data[40] = 0;
    b.data[3] = 7;
    assert_int_equal(proinfo_serial(buf_span(&b), serial, NULL), ERR_FORMAT);
    assert_int_equal(proinfo_serial(span_of(b.data, 63), serial, NULL), ERR_FORMAT);
    memset(b.data, 0, 64);
    assert_int_equal(proinfo_serial(buf_span(&b), serial, NULL), 0);
    assert_string_equal(serial, "");
    buf_deinit(&b);
}

/* ---- slots ---------------------------------------------------------------------------------- */

static const struct slot_row {
    const char *name;
    struct para_slot a, b;
    char want;
} slot_rows[] = {
    {"fresh a", {15, 7, false}, {14, 7, false}, 'a'},
    {"b is higher", {14, 0, true}, {15, 7, false}, 'b'},
    {"equal: a", {15, 7, false}, {15, 7, false}, 'a'},
    {"b has no tries left", {14, 0, true}, {15, 0, false}, 'a'},
    {"b has booted", {14, 0, true}, {15, 0, true}, 'b'},
    {"neither", {15, 0, false}, {0, 7, true}, 0},
};

static void active_slot_is_found(void **state)
{
    const struct slot_row *row = ROW(state);
    struct para in = {{row->a, row->b}}, out;
    struct buf b;
    buf_init(&b, 8192);
    buf_put_zeros(&b, PARA_SLOT_OFFSET_BYTES);
    para_encode(&in, &b);
    assert_int_equal(b.len, PARA_HEAD_BYTES);
    assert_int_equal(get_le32(b.data + 2048), 0x19191100);
    assert_int_equal(para_decode(buf_span(&b), &out, NULL), 0);
    assert_memory_equal(&in, &out, sizeof(in));
    assert_int_equal(para_active_slot(&out), row->want);
    for (size_t i = PARA_SLOT_OFFSET_BYTES + 4; i < b.len; i++) { /* every flipped bit is seen */
        b.data[i] ^= 1;
        assert_int_equal(para_decode(buf_span(&b), &out, NULL), ERR_FORMAT);
        b.data[i] ^= 1;
    }
    buf_deinit(&b);
}

static void slot_metadata_may_be_missing(void **state)
{
    (void)state;
    static const uint8_t zeros[4096];
    struct para p;
    assert_int_equal(para_decode(span_of(zeros, sizeof(zeros)), &p, NULL), ERR_NOT_FOUND);
    assert_int_equal(para_decode(span_of(zeros, 2060), &p, NULL), ERR_FORMAT);
    p = (struct para){{{15, 7, true}, {14, 7, true}}};
    para_set_active(&p, 'b');
    assert_int_equal(para_active_slot(&p), 'b');
    para_set_active(&p, 'a');
    assert_int_equal(para_active_slot(&p), 'a');
}

/* ---- versions and gates --------------------------------------------------------------------- */

static void versions_are_found(void **state)
{
    (void)state;
    struct fw_version v;
    assert_int_equal(fw_version_parse("PDA-1100-0-00WW-B01", &v, NULL), 0);
    assert_string_equal(v.project, "PDA");
    assert_string_equal(v.number, "1100");
    assert_string_equal(v.region, "00WW");
    assert_string_equal(v.branch, "B01");
    assert_int_equal(v.sku, '0');
    assert_int_equal(fw_version_parse("PDA-1100-0-00WW-B01x", &v, NULL), ERR_FORMAT);
    assert_int_equal(fw_version_parse("PDA-110-0-00WW-B01", &v, NULL), ERR_FORMAT);
    const char text[] = "x PDA-2200-0-00CN-B02 MLF=PDA-3100-0-00WW-B03 y";
    assert_int_equal(systeminfo_decode(span_of(text, sizeof(text)), &v, NULL), 0);
    assert_string_equal(v.text, "PDA-3100-0-00WW-B03"); /* the tag wins */
    assert_int_equal(systeminfo_decode(span_of(text, 24), &v, NULL), 0);
    assert_string_equal(v.text, "PDA-2200-0-00CN-B02");
    assert_int_equal(systeminfo_decode(span_of(text, 10), &v, NULL), ERR_NOT_FOUND);
}

static const struct gate_row {
    const char *name, *package, *phone, *serial;
    int battery;
    enum gate_action want;
    const char *stops_at;
} gate_rows[] = {
    {"same", "PDA-1100-0-00WW-B01", "PDA-1100-0-00WW-B01", "PDAGATEST0000001", 80, GATE_PASS, ""},
    {"newer Android", "PDA-3100-0-00WW-B01", "PDA-1100-0-00WW-B01", "PDA", 80, GATE_PASS, ""},
    {"V1 another project", "PLE-1100-0-00WW-B01", "PDA-1100-0-00WW-B01", "PDA", 80, GATE_REFUSE,
     "V1"},
    {"V1 by serial", "PLE-1100-0-00WW-B01", NULL, "PDAGATEST0000001", 80, GATE_REFUSE, "V1"},
    {"V1 nothing known", "PDA-1100-0-00WW-B01", NULL, NULL, 80, GATE_REFUSE, "V1"},
    {"V2 older Android", "PDA-1100-0-00WW-B01", "PDA-2070-0-00WW-B01", "PDA", 80, GATE_REFUSE,
     "V2"},
    {"V3 older release", "PDA-1100-0-00WW-B01", "PDA-1120-0-00WW-B01", "PDA", 80, GATE_WARN, "V3"},
    {"V3 older patch only", "PDA-1100-0-00WW-B01", "PDA-1101-0-00WW-B01", "PDA", 80, GATE_PASS, ""},
    {"V4 region", "PDA-1100-0-00WW-B01", "PDA-1100-0-00CN-B01", "PDA", 80, GATE_CONFIRM, "V4"},
    {"V5 battery", "PDA-1100-0-00WW-B01", "PDA-1100-0-00WW-B01", "PDA", 40, GATE_REFUSE, "V5"},
    {"V5 just enough", "PDA-1100-0-00WW-B01", "PDA-1100-0-00WW-B01", "PDA", 41, GATE_PASS, ""},
    {"V5 not known", "PDA-1100-0-00WW-B01", "PDA-1100-0-00WW-B01", "PDA", -1, GATE_PASS, ""},
    {"V6 version not known", "PDA-1100-0-00WW-B01", NULL, "PDAGATEST0000001", 80, GATE_CONFIRM,
     "V6"},
};

static void gates_decide(void **state)
{
    const struct gate_row *row = ROW(state);
    struct fw_version package, phone_version;
    assert_int_equal(fw_version_parse(row->package, &package, NULL), 0);
    struct gate_phone phone = {.project = row->serial, .battery_percent = row->battery};
    if (row->phone) {
        assert_int_equal(fw_version_parse(row->phone, &phone_version, NULL), 0);
        phone.version = &phone_version;
    }
    struct gate_result results[FIRMWARE_GATES];
    assert_int_equal(firmware_gates(&package, &phone, results), row->want);
    for (size_t i = 0; i < FIRMWARE_GATES; i++) {
        bool stops = strcmp(results[i].id, row->stops_at) == 0;
        if (stops)
            assert_int_equal(results[i].action, row->want);
        assert_int_equal(results[i].text[0] != 0, results[i].action != GATE_PASS);
    }
}

static const struct sum_row {
    const char *name, *line, *file, *digest;
} sum_rows[] = {
    {"md5sum", "d41d8cd98f00b204e9800998ecf8427e  boot.img", "boot.img",
     "d41d8cd98f00b204e9800998ecf8427e"},
    {"binary mark, path", "D41D8CD98F00B204E9800998ECF8427E *images\\boot.img\r", "images/boot.img",
     "d41d8cd98f00b204e9800998ecf8427e"},
    {"ini", "boot.img=d41d8cd98f00b204e9800998ecf8427e", "boot.img",
     "d41d8cd98f00b204e9800998ecf8427e"},
    {"BSD", "MD5 (a/boot.img) = d41d8cd98f00b204e9800998ecf8427e", "a/boot.img",
     "d41d8cd98f00b204e9800998ecf8427e"},
    {"sha256", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  x.bin", "x.bin",
     "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
    {"16-bit sum", "boot.img=0x12fe", NULL, NULL},
    {"section", "[Program Images]", NULL, NULL},
    {"no name", "d41d8cd98f00b204e9800998ecf8427e", NULL, NULL},
    {"empty", "", NULL, NULL},
};

static void checksum_lines_are_read(void **state)
{
    const struct sum_row *row = ROW(state);
    struct checksum_line line;
    bool found = checksum_line_parse(span_of(row->line, strlen(row->line)), &line);
    assert_int_equal(found, row->file != NULL);
    if (!found)
        return;
    assert_string_equal(line.name, row->file);
    assert_string_equal(line.digest, row->digest);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dm_verity_codes_are_upper_case_md5),
        cmocka_unit_test(proinfo_starts_with_the_serial),
        cmocka_unit_test(slot_metadata_may_be_missing),
        cmocka_unit_test(versions_are_found),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    failed += RUN_ROWS(serial_is_judged, serial_rows);
    failed += RUN_ROWS(serials_are_compared, compare_rows);
    failed += RUN_ROWS(imei_is_judged, imei_rows);
    failed += RUN_ROWS(active_slot_is_found, slot_rows);
    failed += RUN_ROWS(gates_decide, gate_rows);
    failed += RUN_ROWS(checksum_lines_are_read, sum_rows);
    return failed;
}
