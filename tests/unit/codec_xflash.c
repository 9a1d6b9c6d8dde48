/* Rows for usb/codec/xflash: both directions, cut short, absurd lengths. */
#include "tests/unit/rows.h"

#include "usb/base/hash.h"
#include "usb/codec/xflash.h"

union message {
    struct xflash_header header;
    struct xflash_environment environment;
    struct xflash_boot_to boot_to;
    struct xflash_range range;
    struct xflash_shutdown shutdown;
    struct xflash_emmc_info emmc_info;
    struct xflash_nand_info nand_info;
    struct xflash_nor_info nor_info;
    struct xflash_packet_length packet_length;
    struct xflash_ram_info ram_info;
    struct xflash_chip_id chip_id;
    struct xflash_register reg;
};

#define PAIRS(X)                                                                                   \
    X(header)                                                                                      \
    X(environment)                                                                                 \
    X(boot_to)                                                                                     \
    X(range)                                                                                       \
    X(shutdown)                                                                                    \
    X(emmc_info) X(nand_info) X(nor_info) X(packet_length) X(ram_info) X(chip_id) X(register)
static int decode(const char *kind, struct span in, union message *out, struct err *err)
{
#define X(name)                                                                                    \
    if (strcmp(kind, #name) == 0)                                                                  \
        return xflash_##name##_decode(in, (void *)out, err);
    PAIRS(X)
#undef X
    fail_msg("no such message: %s", kind);
    return 0;
}

static void encode(const char *kind, const union message *msg, struct buf *out)
{
#define X(name)                                                                                    \
    if (strcmp(kind, #name) == 0)                                                                  \
        xflash_##name##_encode((const void *)msg, out);
    PAIRS(X)
#undef X
}

#define Z16 "00000000000000000000000000000000"
#define EMMC                                                                                       \
    "01000000 00020000 0000400000000000 0000400000000000 0000400000000000" Z16 Z16                 \
    "0000c04707000000 90014a484347386134a3123456789abc a300000000000000"

static const struct row {
    const char *name, *kind, *wire;
    int want;
} rows[] = {
    {"status packet", "header", "efeeeefe 01000000 04000000", 0},
    {"header, cut short", "header", "efeeeefe 01000000", ERR_PROTOCOL},
    {"header, wrong magic", "header", "efeeeeff 01000000 04000000", ERR_PROTOCOL},
    {"header, absurd length", "header", "efeeeefe 01000000 ffffffff", ERR_PROTOCOL},
    {"header, just too long", "header", "efeeeefe 01000000 01000001", ERR_PROTOCOL},
    {"header, longest", "header", "efeeeefe 01000000 00000001", 0},
    {"environment", "environment", "02000000 01000000 01000000 00000000 00000000", 0},
    {"environment, cut short", "environment", "02000000 01000000 010000", ERR_PROTOCOL},
    {"environment, too long", "environment", "02000000 01000000 01000000 00000000 00000000 00",
     ERR_PROTOCOL},
    {"boot to", "boot_to", "0000004000000000 2000000000000000", 0},
    {"boot to, cut short", "boot_to", "0000004000000000 20000000000000", ERR_PROTOCOL},
    {"range", "range", "01000000 08000000 0000100000000000 0010000000000000" Z16 Z16, 0},
    {"range, one byte too long", "range",
     "01000000 08000000 0000100000000000 0010000000000000" Z16 Z16 "00", ERR_PROTOCOL},
    {"range, cut short", "range", "01000000 08000000 0000100000000000 00100000000000",
     ERR_PROTOCOL},
    {"shutdown", "shutdown", "01000000 00000000 00000000 02000000 00000000 00000000", 0},
    {"shutdown, 25 bytes", "shutdown", "01000000 00000000 00000000 02000000 00000000 00000000 00",
     ERR_PROTOCOL},
    {"emmc 2018", "emmc_info", EMMC, 0},
    {"emmc 2019", "emmc_info", EMMC "0101020000000000", 0},
    {"emmc, cut short", "emmc_info", "01000000 00020000", ERR_PROTOCOL},
    {"nand, absent", "nand_info", Z16 Z16 Z16, 0},
    {"nand, cut short", "nand_info", Z16 Z16, ERR_PROTOCOL},
    {"nor, absent", "nor_info", Z16, 0},
    {"nor, too long", "nor_info", Z16 "00", ERR_PROTOCOL},
    {"packet lengths", "packet_length", "00002000 00000100", 0},
    {"packet lengths, zero", "packet_length", "00000000 00000100", ERR_PROTOCOL},
    {"packet lengths, absurd", "packet_length", "00002000 ffffffff", ERR_PROTOCOL},
    {"packet lengths, cut short", "packet_length", "00002000", ERR_PROTOCOL},
    {"ram", "ram_info",
     "02000000 00000000 0000200000000000 0000040000000000"
     "01000000 00000000 0000004000000000 000000c000000000",
     0},
    {"ram, one record", "ram_info", "02000000 00000000 0000200000000000 0000040000000000",
     ERR_PROTOCOL},
    {"chip id", "chip_id", "8807 008a 00ca 0000 00000000", 0},
    {"chip id, cut short", "chip_id", "8807 008a 00ca 0000 0000", ERR_PROTOCOL},
    {"register", "register", "00700010 01000000", 0},
    {"register, cut short", "register", "00700010 0100", ERR_PROTOCOL},
};

static void both_ways(void **state)
{
    const struct row *row = ROW(state);
    uint8_t wire[256];
    ptrdiff_t len = hex_decode(row->wire, wire, sizeof(wire));
    assert_true(len >= 0);
    union message msg, before;
    memset(&msg, 0xa5, sizeof(msg));
    before = msg;
    struct err err = {0};
    assert_int_equal(decode(row->kind, span_of(wire, (size_t)len), &msg, &err), row->want);
    if (row->want < 0) {
        assert_memory_equal(&msg, &before, sizeof(msg));
        assert_true(err.text[0]);
        return;
    }
    struct buf out;
    buf_init(&out, 256);
    encode(row->kind, &msg, &out);
    assert_int_equal(out.len, len);
    assert_memory_equal(out.data, wire, out.len);
    buf_deinit(&out);
}

static void short_forms_are_read_as_the_phone_reads_them(void **state)
{
    (void)state;
    const uint8_t words[24] = {2, 0, 0, 0, 1, 0, 0, 0, 1};
    struct xflash_environment env;
    struct xflash_range range;
    struct xflash_register reg;
    assert_int_equal(xflash_environment_decode(span_of(words, 12), &env, NULL), 0);
    assert_int_equal(env.host_os, 1);
    assert_int_equal(env.reserved, 0);
    assert_int_equal(xflash_range_decode(span_of(words, 24), &range, NULL), 0);
    assert_int_equal(range.storage, 2);
    assert_int_equal(xflash_register_decode(span_of(words, 4), &reg, NULL), 0);
    assert_int_equal(reg.address, 2);
}

static void names_are_text(void **state)
{
    (void)state;
    char name[XFLASH_NAME_MAX + 1];
    char longest[XFLASH_NAME_MAX + 1];
    memset(longest, 'n', sizeof(longest));
    assert_int_equal(xflash_name_decode(span_of("nvram\0\0", 7), name, NULL), 0);
    assert_string_equal(name, "nvram");
    assert_int_equal(xflash_name_decode(span_of(longest, XFLASH_NAME_MAX), name, NULL), 0);
    assert_int_equal(xflash_name_decode(span_of(longest, XFLASH_NAME_MAX + 1), name, NULL),
                     ERR_PROTOCOL);
    assert_int_equal(xflash_name_decode(span_of("nv\nram", 6), name, NULL), ERR_PROTOCOL);
}

static void log_text_follows_a_word(void **state)
{
    (void)state;
    struct span text;
    struct buf out;
    buf_init(&out, 64);
    xflash_message_encode(span_of("hello\r\n", 7), &out);
    assert_int_equal(out.len, 11);
    assert_int_equal(xflash_message_decode(buf_span(&out), &text, NULL), 0);
    assert_int_equal(text.len, 7);
    assert_memory_equal(text.data, "hello\r\n", 7);
    assert_int_equal(xflash_message_decode(span_of("abc", 3), &text, NULL), ERR_PROTOCOL);
    buf_deinit(&out);
}

static void checksum_of_odd_chunks(void **state)
{
    (void)state;
    uint8_t data[4096];
    for (unsigned i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(5 * i + 1);
    assert_int_equal(xflash_checksum(span_of(data, 4096)), 0xf800);
    assert_int_equal(xflash_checksum(span_of(data, 4095)), 0xf803);
    assert_int_equal(xflash_checksum(span_of(data, 0)), 0);
    memset(data, 0xff, sizeof(data)); /* the largest sum there is, at every length */
    for (unsigned len = 1000; len < 1060; len++)
        assert_int_equal(xflash_checksum(span_of(data, len)),
                         (len * 0xff + (len % 2 ? 0xff : 0)) & 0xffff);
}

static void codes_have_names_and_stages(void **state)
{
    (void)state;
    assert_string_equal(xflash_command_find(0x010005)->name, "READ_DATA");
    assert_int_equal(xflash_command_find(0x010005)->stages, XFLASH_DA2);
    assert_null(xflash_command_find(0x999999));
    assert_int_equal(xflash_control_find(0x020003)->stages, XFLASH_DA1);
    assert_int_equal(xflash_control_find(0x040011)->stages, 0);
    assert_null(xflash_control_find(0x800005));
}

static const struct class_row {
    const char *name;
    uint32_t status;
    int want;
    const char *text;
} class_rows[] = {
    {"framing", 0xc0010005, ERR_DEAD, "PROTOCOL_ERR"},
    {"overflow", 0xc0010006, ERR_DEAD, "re-plug"},
    {"abort", 0xc0010002, ERR_CANCELLED, "ABORT"},
    {"unknown control code", 0xc0010004, ERR_UNSUPPORTED, "UNSUPPORT_CTRL_CODE"},
    {"locked partition", 0xc0020004, ERR_REFUSED, "locked"},
    {"eMMC", 0xc0040030, ERR_STORAGE, "MMC_ERR"},
    {"checksum", 0xc0040003, ERR_VERIFY, "CHECKSUM_ERR"},
    {"no such name", 0xc0040006, ERR_NOT_FOUND, "PARTITION_NOT_FOUND"},
    {"digest", 0xc0070004, ERR_MISMATCH, "DA_HASH_MISMATCH"},
    {"wrong EMI", 0xc0040050, ERR_MISMATCH, "EMI_SETTING_VERSION_ERROR"},
    {"no detail given", 0xc0010001, ERR_STORAGE, "no detail"},
    {"no memory", 0xc0010013, ERR_STORAGE, "MEM_ALLOC_FAIL"},
    {"no thread", 0xc0040002, ERR_STORAGE, "restart the phone"},
    {"wrong arguments", 0xc0030007, ERR_INPUT, "INVALID_PARAMETERS"},
    {"beyond the end", 0xc004000b, ERR_INPUT, "EXCEED_AVAILABLE_RANGE"},
    {"wrong section", 0xc003000c, ERR_INPUT, "UNKNOWN_STORAGE_SECTION_TYPE"},
    {"no such storage", 0xc0030006, ERR_INPUT, "STORAGE_MISMATCH"},
    {"wrong kind of storage", 0xc0040009, ERR_INPUT, "UNKNOWN_STORAGE_TYPE"},
    {"no readable table", 0xc0040007, ERR_INPUT, "READ_PT_FAIL"},
    {"memory that failed", 0xc004000a, ERR_STORAGE, "DRAM_TEST_FAILED"},
    {"authentication file needed", 0xc0030012, ERR_AUTH_NEEDED, "SEC_AUTH_FILE_NEEDED"},
    {"security check nobody knows", 0xc00200f0, ERR_REFUSED, "UNKNOWN"},
    {"error nobody knows", 0xc0ffffff, ERR_STORAGE, "UNKNOWN"},
    {"information in the place of a status", 0x40040004, ERR_PROTOCOL, "CONTINUE"},
    {"half a magic in the place of a status", 0xeeef0000, ERR_PROTOCOL, "UNKNOWN"},
    {"positive word in the place of a status", 5, ERR_PROTOCOL, "UNKNOWN"},
};

static void statuses_have_classes(void **state)
{
    const struct class_row *row = ROW(state);
    struct err err;
    assert_int_equal(xflash_status_err(row->status, "test", &err), row->want);
    assert_non_null(strstr(err.text, row->text));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(short_forms_are_read_as_the_phone_reads_them),
        cmocka_unit_test(names_are_text),
        cmocka_unit_test(log_text_follows_a_word),
        cmocka_unit_test(checksum_of_odd_chunks),
        cmocka_unit_test(codes_have_names_and_stages),
    };
    int failed = RUN_ROWS(both_ways, rows) + RUN_ROWS(statuses_have_classes, class_rows);
    return failed + cmocka_run_group_tests(tests, NULL, NULL);
}
