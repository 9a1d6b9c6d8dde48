/* Rows for usb/codec/brom: both directions, cut short, absurd lengths. */
#include "tests/unit/rows.h"

#include "usb/base/hash.h"
#include "usb/codec/brom.h"

union message {
    struct brom_hw_code hw_code;
    struct brom_versions versions;
    struct brom_target_config config;
    struct brom_capabilities capabilities;
    struct brom_id id;
    struct brom_da_result result;
    struct brom_send_da send_da;
    struct brom_memory memory;
};

/* Pairs by name, so that rows are data. */
#define PAIRS(X)                                                                                   \
    X(hw_code) X(versions) X(target_config) X(capabilities) X(id) X(da_result) X(send_da) X(memory)
static int decode(const char *kind, struct span in, union message *out, struct err *err)
{
#define X(name)                                                                                    \
    if (strcmp(kind, #name) == 0)                                                                  \
        return brom_##name##_decode(in, (void *)out, err);
    PAIRS(X)
#undef X
    fail_msg("no such message: %s", kind);
    return 0;
}

static void encode(const char *kind, const union message *msg, struct buf *out)
{
#define X(name)                                                                                    \
    if (strcmp(kind, #name) == 0)                                                                  \
        brom_##name##_encode((const void *)msg, out);
    PAIRS(X)
#undef X
}

static const struct row {
    const char *name, *kind, *wire;
    int want;
} rows[] = {
    {"hw code", "hw_code", "0788 0000", 0},
    {"hw code, cut short", "hw_code", "0788 00", ERR_PROTOCOL},
    {"hw code, too long", "hw_code", "0788 0000 00", ERR_PROTOCOL},
    {"versions", "versions", "8a00 ca00 0000 0000", 0},
    {"versions, empty", "versions", "", ERR_PROTOCOL},
    {"target config", "target_config", "000000e5 0000", 0},
    {"target config, cut short", "target_config", "000000e5", ERR_PROTOCOL},
    {"capabilities", "capabilities", "00000007 00000000", 0},
    {"capabilities, too long", "capabilities", "00000007 00000000 0000", ERR_PROTOCOL},
    {"me id", "id", "00000010 a0a1a2a3a4a5a6a7a8a9aaabacadaeaf 0000", 0},
    {"soc id", "id",
     "00000020 101112131415161718191a1b1c1d1e1f 202122232425262728292a2b2c2d2e2f 0000", 0},
    {"id, cut short", "id", "00000010 a0a1a2a3a4a5a6a7a8a9aaabacadaeaf 00", ERR_PROTOCOL},
    {"id, absurd length", "id", "ffffffff a0a1", ERR_PROTOCOL},
    {"id, length 0", "id", "00000000 0000", ERR_PROTOCOL},
    {"upload result", "da_result", "8020 0000", 0},
    {"upload result, cut short", "da_result", "8020", ERR_PROTOCOL},
    {"SEND_DA", "send_da", "00200000 00000030 00000010", 0},
    {"SEND_DA, cut short", "send_da", "00200000 00000030 000000", ERR_PROTOCOL},
    {"memory", "memory", "10007000 00000001", 0},
    {"memory, cut short", "memory", "10007000", ERR_PROTOCOL},
};

static void both_ways(void **state)
{
    const struct row *row = ROW(state);
    uint8_t wire[128];
    ptrdiff_t len = hex_decode(row->wire, wire, sizeof(wire));
    assert_true(len >= 0);
    union message msg, before;
    memset(&msg, 0xa5, sizeof(msg));
    before = msg;
    struct err err = {0};
    assert_int_equal(decode(row->kind, span_of(wire, (size_t)len), &msg, &err), row->want);
    if (row->want < 0) { /* outputs change only on success */
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

static void start_check_follows_its_table(void **state)
{
    (void)state;
    unsigned index = 0;
    uint8_t answer = 0;
    /* a wrong byte is answered by itself plus one and starts over */
    assert_true(brom_start_feed(&index, 0x41, &answer));
    assert_int_equal(answer, 0x42);
    assert_true(brom_start_feed(&index, 0xa0, &answer));
    assert_int_equal(answer, 0x5f);
    assert_false(brom_start_feed(&index, 0xa0, &answer)); /* swallowed */
    assert_int_equal(index, 1);
    assert_true(brom_start_feed(&index, 0x0a, &answer));
    assert_int_equal(answer, 0xf5);
    assert_true(brom_start_feed(&index, 0x50, &answer));
    assert_int_equal(answer, 0xaf);
    assert_true(brom_start_feed(&index, 0x05, &answer));
    assert_int_equal(answer, 0xfa);
    assert_int_equal(index, BROM_START_BYTES);
    assert_false(brom_start_feed(&index, 0x05, &answer));
}

static void checksum_runs_over_pieces(void **state)
{
    (void)state;
    const uint8_t data[] = {1, 2, 3, 4, 5};
    for (size_t cut = 0; cut <= sizeof(data); cut++) {
        struct brom_checksum c = {0};
        brom_checksum_update(&c, span_of(data, cut));
        brom_checksum_update(&c, span_of(data + cut, sizeof(data) - cut));
        assert_int_equal(c.sum, 0x0607);
    }
}

static void statuses_have_classes(void **state)
{
    (void)state;
    struct err err;
    assert_int_equal(brom_status_err(0x0001, "WRITE32", &err), 0);
    assert_int_equal(brom_status_err(0x00ff, "WRITE32", &err), 0);
    assert_int_equal(brom_status_err(0x1d0d, "SEND_DA", &err), ERR_AUTH_NEEDED);
    assert_int_equal(brom_status_err(0x7024, "SEND_DA", &err), ERR_REFUSED);
    assert_non_null(strstr(err.text, "DAA_SIG_VERIFY_FAILED"));
    assert_int_equal(brom_status_err(0x1234, "SEND_DA", &err), ERR_REFUSED);
    assert_non_null(strstr(err.text, "UNKNOWN"));
    assert_string_equal(brom_status_name(0x2003), "AUTH_FAILED");
}

static void stages_know_their_commands(void **state)
{
    (void)state;
    assert_true(brom_command_known(BROM_CMD_GET_BROM_VERSION, BROM_STAGE_BROM));
    assert_false(brom_command_known(BROM_CMD_GET_BROM_VERSION, BROM_STAGE_PRELOADER));
    assert_true(brom_command_known(BROM_CMD_GET_PL_CAP, BROM_STAGE_PRELOADER));
    assert_false(brom_command_known(BROM_CMD_SEND_AUTH, BROM_STAGE_PRELOADER));
    assert_false(brom_command_known(0x55, BROM_STAGE_BROM));
    assert_string_equal(brom_command_name(0xd7), "SEND_DA");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(start_check_follows_its_table),
        cmocka_unit_test(checksum_runs_over_pieces),
        cmocka_unit_test(statuses_have_classes),
        cmocka_unit_test(stages_know_their_commands),
    };
    int failed = RUN_ROWS(both_ways, rows);
    return failed + cmocka_run_group_tests(tests, NULL, NULL);
}
