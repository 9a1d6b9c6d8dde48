/* DA2 of the emulated phone, on a double of its hardware: storage commands, late errors, dead
 * states, host mistakes by name. */
#include <stdio.h>

#include "tests/phone/firmware.h"
#include "tests/phone/preloader_image.h"
#include "tests/phone/synthetic_da.h"
#include "tests/unit/phone_host.h"
#include "tests/unit/rows.h"
#include "usb/base/hash.h"
#include "usb/base/mem.h"
#include "usb/codec/brom.h"
#include "usb/format/sparse.h"

enum { MIB = 1 << 20, CHUNK = 2 * MIB };
#define MMC_ERR      ((uint32_t)XFLASH_MMC_ERR)
#define CHECKSUM_ERR ((uint32_t)XFLASH_CHECKSUM_ERR)
#define ABORT        ((uint32_t)XFLASH_ABORT)

static void expect_violations(struct host *h, const char *names)
{
    assert_string_equal(fake_board_violations(h->b), names);
}

/* A phone at DA2's command loop. */
static void at_da2(struct host *h, enum da_build build, enum usb_model model)
{
    host_init(h, HOST_USER_BYTES);
    host_gpt(h, false);
    board_settings(h->b)->da_build = build;
    board_settings(h->b)->usb_model = model;
    host_preloader(h);
    host_da1(h);
    host_da2(h);
}

static void at_da2_level(struct host *h, uint32_t level)
{
    host_init(h, HOST_USER_BYTES);
    host_gpt(h, false);
    h->checksum_level = level;
    host_preloader(h);
    host_da1(h);
    host_da2(h);
}

/* Each test of this file that does not name a model runs with all three. */
#define EACH_MODEL(m) for (enum usb_model m = MODEL_FIELD; m <= MODEL_EXACT; m++)
#define EACH_BUILD(v) for (enum da_build v = BUILD_2018; v <= BUILD_2019; v++)

static void range_command(struct host *h, uint32_t code, uint32_t section, uint64_t at,
                          uint64_t len)
{
    host_command(h, code);
    host_range(h, section, at, len);
}

static void expect_flash(struct host *h, enum board_area area, uint64_t at, const uint8_t *want,
                         size_t len)
{
    AUTO(free_ptr) uint8_t *got = xcalloc(1, len);
    host_flash_read(h, area, at, got, len);
    assert_memory_equal(got, want, len);
}

static void expect_zeros(struct host *h, uint64_t at, size_t len)
{
    AUTO(free_ptr) uint8_t *zeros = xcalloc(1, len);
    expect_flash(h, AREA_USER, at, zeros, len);
}

/* ---- framing
 * ------------------------------------------------------------------------------------------- */

static void long_or_spoiled_commands_kill(void **state)
{
    (void)state;
    EACH_MODEL(m)
    {
        struct host h;
        at_da2(&h, BUILD_2018, m);
        host_packet(&h, "\x09\0\1\0\0\0\0\0", 8);
        host_dead(&h);
        expect_violations(&h, "xflash.packet_too_long,xflash.command_to_dead_agent");
        fake_board_unplug(h.b);
        assert_int_equal(fake_board_end(h.b), NEXT_DEAD);
        host_deinit(&h);

        at_da2(&h, BUILD_2018, m);
        host_header(&h, 0xdeadbeef, 4);
        host_dead(&h);
        expect_violations(&h, "xflash.bad_magic,xflash.command_to_dead_agent");
        host_deinit(&h);

        at_da2(&h, BUILD_2018, m);
        host_command(&h, XFLASH_DEVICE_CTRL);
        host_packet(&h, "\x05\0\4\0\0", 5);
        assert_int_equal(host_status(&h), (uint32_t)XFLASH_UNSUPPORT_CTRL_CODE);
        host_dead(&h);
        host_deinit(&h);
    }
}

static void a_death_without_further_commands_is_no_second_mistake(void **state)
{
    (void)state;
    struct host h;
    at_da2(&h, BUILD_2018, MODEL_EXACT);
    host_packet(&h, "\x09\0\1\0\0\0\0\0", 8);
    host_quiet(&h);
    fake_board_unplug(h.b);
    assert_int_equal(fake_board_end(h.b), NEXT_DEAD);
    expect_violations(&h, "xflash.packet_too_long");
    host_deinit(&h);
}

/* What belongs to the chunk that the host was sending is no new command; what comes then is one, also
 * behind more than the controller takes. */
static void dead_agents_are_left_alone(void **state)
{
    (void)state;
    static const uint8_t five[5] = {0};
    AUTO(free_ptr) uint8_t *data = host_linear(1, 1, 8192);
    EACH_MODEL(m)
    {
        struct host h;
        at_da2(&h, BUILD_2018, m);
        range_command(&h, XFLASH_WRITE_DATA, XFLASH_USER, MIB, 4096);
        assert_int_equal(host_status(&h), 0);
        host_word(&h, 0);
        host_packet(&h, five, sizeof(five)); /* checksum */
        assert_int_equal(host_status(&h), (uint32_t)XFLASH_PROTOCOL_BUFFER_OVERFLOW);
        host_packet(&h, data, 4096);
        host_quiet(&h);
        expect_violations(&h, "xflash.packet_too_long");
        host_dead(&h);
        expect_violations(&h, "xflash.packet_too_long,xflash.command_to_dead_agent");
        host_deinit(&h);

        at_da2(&h, BUILD_2018, m);
        range_command(&h, XFLASH_WRITE_DATA, XFLASH_USER, MIB, 4096);
        assert_int_equal(host_status(&h), 0);
        host_chunk(&h, data, 8192);
        assert_int_equal(host_status(&h), (uint32_t)XFLASH_PROTOCOL_BUFFER_OVERFLOW);
        host_quiet(&h);
        expect_violations(&h, "xflash.packet_too_long");
        host_dead(&h);
        expect_violations(&h, "xflash.packet_too_long,xflash.command_to_dead_agent");
        host_deinit(&h);
    }
}

static void short_commands_do_not(void **state)
{
    (void)state;
    EACH_MODEL(m)
    {
        struct host h;
        at_da2(&h, BUILD_2018, m);
        host_packet(&h, "\x09\0", 2);
        assert_int_equal(host_status(&h), (uint32_t)XFLASH_UNSUPPORT_CMD);
        host_alive(&h);
        host_packet(&h, "", 0);
        assert_int_equal(host_status(&h), (uint32_t)XFLASH_UNSUPPORT_CMD);
        host_alive(&h);
        host_deinit(&h);
    }
}

static void framing_inside_a_transfer(void **state)
{
    (void)state;
    static const uint8_t five[5] = {0};
    EACH_MODEL(m)
    {
        struct host h;
        at_da2(&h, BUILD_2018, m); /* acknowledgement of a read too long */
        range_command(&h, XFLASH_READ_DATA, XFLASH_USER, 0, 512);
        assert_int_equal(host_status(&h), 0);
        assert_int_equal(host_status(&h), 0);
        assert_int_equal(host_reply(&h).len, 512);
        host_packet(&h, five, sizeof(five));
        assert_int_equal(host_status(&h), (uint32_t)XFLASH_PROTOCOL_BUFFER_OVERFLOW);
        host_dead(&h);
        host_deinit(&h);

        at_da2(&h, BUILD_2018, m); /* host status of a write with a wrong magic */
        range_command(&h, XFLASH_WRITE_DATA, XFLASH_USER, MIB, 512);
        assert_int_equal(host_status(&h), 0);
        host_header(&h, 0x11111111, 4);
        assert_int_equal(host_status(&h), (uint32_t)XFLASH_PROTOCOL_ERR);
        host_dead(&h);
        host_deinit(&h);

        at_da2(&h, BUILD_2018, m); /* a chunk longer than what is missing: one status only */
        AUTO(free_ptr) uint8_t *data = host_linear(1, 1, 1024);
        range_command(&h, XFLASH_WRITE_DATA, XFLASH_USER, MIB, 512);
        assert_int_equal(host_status(&h), 0);
        host_chunk(&h, data, 1024);
        assert_int_equal(host_status(&h), (uint32_t)XFLASH_PROTOCOL_BUFFER_OVERFLOW);
        host_dead(&h);
        expect_zeros(&h, MIB, 1024);
        host_deinit(&h);
    }
}

static void parameter_blocks(void **state)
{
    (void)state;
    static const uint8_t block[64] = {1};
    EACH_MODEL(m)
    {
        struct host h;
        at_da2(&h, BUILD_2018, m);
        host_command(&h, XFLASH_READ_DATA); /* the first 24 bytes are enough */
        uint8_t start[24] = {1, 0, 0, 0, 8};
        start[16] = 4;
        host_packet(&h, start, sizeof(start));
        assert_int_equal(host_status(&h), 0);
        assert_int_equal(host_status(&h), 0);
        assert_int_equal(host_reply(&h).len, 4); /* looks like a status, and is data */
        host_word(&h, 0);
        assert_int_equal(host_status(&h), 0);
        host_alive(&h);
        expect_violations(&h, "");
        host_command(&h, XFLASH_READ_DATA); /* too long: what the last command left is used */
        host_packet(&h, block, sizeof(block));
        assert_int_equal(host_status(&h), 0);
        assert_int_equal(host_status(&h), 0);
        assert_int_equal(host_reply(&h).len, 4);
        assert_int_equal(host_status(&h),
                         (uint32_t)XFLASH_PROTOCOL_ERR); /* the rest of the block */
        host_dead(&h);
        host_deinit(&h);
    }
}

static void names_too_long(void **state)
{
    (void)state;
    static const uint32_t codes[] = {XFLASH_DOWNLOAD, XFLASH_UPLOAD, XFLASH_FORMAT_PARTITION};
    uint8_t name[65];
    memset(name, 'n', sizeof(name));
    for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
        struct host h;
        at_da2(&h, BUILD_2018, MODEL_EXACT);
        host_command(&h, codes[i]);
        host_packet(&h, name, sizeof(name));
        assert_int_equal(host_status(&h), (uint32_t)XFLASH_PARTITION_NOT_FOUND);
        host_dead(&h);
        host_deinit(&h);
    }
}

static void swallowing_goes_on(void **state)
{
    (void)state;
    EACH_MODEL(m)
    {
        struct host h;
        at_da2(&h, BUILD_2018, m);
        board_settings(h.b)->framing_swallow = true;
        host_packet(&h, "\x09\0\1\0\0\0\0\0", 8);
        host_alive(&h);
        host_header(&h, 0xdeadbeef, 4);
        host_quiet(&h);
        host_alive(&h);
        expect_violations(&h, "xflash.packet_too_long,xflash.bad_magic");
        host_deinit(&h);
    }
}

/* ---- the fault da_status
 *
 * -------------------------------------------------------------------------------- */

/* Statuses of a command up to the faulty one. */
struct statuses {
    struct host *h;
    unsigned good; /* still to come */
};

static bool status_good(struct statuses *s, uint32_t want)
{
    bool good = s->good > 0;
    s->good -= good;
    assert_int_equal(host_status(s->h), good ? want : (uint32_t)XFLASH_ERR);
    return good;
}

static bool begins(struct statuses *s, uint32_t code)
{
    host_word(s->h, code);
    return status_good(s, 0);
}

static void faulty_get(struct statuses *s)
{
    if (!begins(s, XFLASH_DEVICE_CTRL))
        return;
    host_word(s->h, XFLASH_GET_DA_VERSION);
    if (!status_good(s, 0))
        return;
    assert_int_equal(host_reply(s->h).len, 3);
    assert_false(status_good(s, 0));
}

static void faulty_set(struct statuses *s)
{
    if (!begins(s, XFLASH_DEVICE_CTRL))
        return;
    host_word(s->h, XFLASH_SET_BATTERY_OPT);
    if (!status_good(s, 0))
        return;
    host_word(s->h, 2);
    assert_false(status_good(s, 0));
}

static bool ranged(struct statuses *s, uint32_t code, uint64_t len)
{
    if (!begins(s, code))
        return false;
    host_range(s->h, XFLASH_USER, 8 * MIB, len);
    return status_good(s, 0);
}

static void faulty_read(struct statuses *s)
{
    if (!ranged(s, XFLASH_READ_DATA, 2 * CHUNK))
        return;
    for (int i = 0; i < 2; i++) {
        if (!status_good(s, 0)) {
            assert_false(status_good(s, 0)); /* final, the same */
            return;
        }
        assert_int_equal(host_reply(s->h).len, CHUNK);
        host_word(s->h, 0);
    }
    assert_false(status_good(s, 0));
}

static void faulty_write(struct statuses *s)
{
    AUTO(free_ptr) uint8_t *data = host_linear(3, 1, 512);
    if (!ranged(s, XFLASH_WRITE_DATA, 1024))
        return;
    for (int i = 0; i < 2; i++) {
        host_chunk(s->h, data, 512);
        if (!status_good(s, 0)) {
            assert_false(status_good(s, 0));
            expect_zeros(s->h, 8 * MIB, 1024);
            return;
        }
    }
    assert_false(status_good(s, 0));
    expect_flash(s->h, AREA_USER, 8 * MIB, data, 512); /* it says it failed, and did not */
}

static void faulty_format(struct statuses *s)
{
    if (!ranged(s, XFLASH_FORMAT, 512))
        return;
    assert_int_equal(host_status(s->h), XFLASH_CONTINUE);
    assert_int_equal(host_status(s->h), 100);
    host_word(s->h, 0);
    assert_false(status_good(s, XFLASH_COMPLETE));
}

static void faulty_shutdown(struct statuses *s)
{
    static const uint8_t block[XFLASH_SHUTDOWN_BYTES] = {1};
    if (!begins(s, XFLASH_SHUTDOWN))
        return;
    host_packet(s->h, block, sizeof(block));
    assert_false(status_good(s, 0));
}

static const struct faulty_row {
    const char *name;
    void (*run)(struct statuses *s);
    unsigned statuses; /* of a good run: each is the faulty one once */
} faulty_rows[] = {
    {"GET: first, control code, closing", faulty_get, 3},
    {"SET: first, control code, closing", faulty_set, 3},
    {"READ_DATA: first, parameters, two chunks, final", faulty_read, 5},
    {"WRITE_DATA: first, parameters, two chunks, final", faulty_write, 5},
    {"FORMAT: first, parameters, final", faulty_format, 3},
    {"SHUTDOWN: first, last", faulty_shutdown, 2},
};

static void faulty_status(void **state)
{
    const struct faulty_row *row = ROW(state);
    EACH_BUILD(build)
    {
        for (unsigned i = 0; i < row->statuses; i++) {
            struct host h;
            at_da2(&h, build, MODEL_FIELD);
            fake_board_fault(h.b, "da_status", i);
            struct statuses s = {&h, i};
            row->run(&s);
            host_alive(&h);
            expect_violations(&h, "");
            host_deinit(&h);
        }
    }
}

/* ---- USB models
 * ----------------------------------------------------------------------------------------- */

static void header_and_payload_together(void **state)
{
    (void)state;
    static const char command[] = "efeeeefe 01000000 04000000 09000100";
    struct host h;
    at_da2(&h, BUILD_2018, MODEL_FIELD); /* every client works with it */
    host_hex(&h, command);
    assert_int_equal(host_status(&h), 0);
    expect_violations(&h, "xflash.header_with_payload");
    host_deinit(&h);
    at_da2(&h, BUILD_2018, MODEL_BUFFERED); /* four bytes come out of the buffer */
    host_hex(&h, command);
    assert_int_equal(host_status(&h), 0);
    expect_violations(&h, "xflash.header_with_payload");
    host_deinit(&h);
    at_da2(&h, BUILD_2018, MODEL_EXACT); /* lost, and waited for */
    host_hex(&h, command);
    host_quiet(&h);
    expect_violations(&h, "xflash.header_with_payload");
    host_deinit(&h);
}

static void payload_and_next_header_together(void **state)
{
    (void)state;
    uint8_t both[XFLASH_RANGE_BYTES + XFLASH_HEADER_BYTES] = {1, 0, 0, 0, 8};
    both[16] = 4;
    xflash_header_store(XFLASH_KIND_FLOW, 4, both + XFLASH_RANGE_BYTES);
    EACH_MODEL(m)
    {
        struct host h;
        at_da2(&h, BUILD_2018, m);
        host_command(&h, XFLASH_READ_DATA);
        host_header(&h, XFLASH_MAGIC, XFLASH_RANGE_BYTES);
        host_raw(&h, both, sizeof(both));
        host_raw(&h, "\0\0\0\0", 4); /* acknowledgement */
        assert_int_equal(host_status(&h), 0);
        assert_int_equal(host_status(&h), 0);
        assert_int_equal(host_reply(&h).len, 4);
        if (m == MODEL_FIELD) /* the others have lost the header */
            assert_int_equal(host_status(&h), 0);
        host_quiet(&h);
        expect_violations(&h, "xflash.payload_with_next_header");
        host_deinit(&h);
    }
}

static void empty_transfers(void **state)
{
    (void)state;
    EACH_MODEL(m)
    {
        struct host h;
        at_da2(&h, BUILD_2018, m);
        host_raw(&h, "", 0);
        host_word(&h, XFLASH_DEVICE_CTRL);
        if (m == MODEL_BUFFERED) { /* a stale byte in the header's place */
            host_dead(&h);
        } else {
            assert_int_equal(host_status(&h), 0);
            host_quiet(&h);
        }
        assert_non_null(strstr(fake_board_violations(h.b), "xflash.zero_length_packet"));
        host_deinit(&h);
    }
}

/* One chunk of a write, in pieces, with an empty packet after the first. */
static void long_payload(struct host *h, const uint8_t *data, size_t len, size_t piece, bool empty)
{
    range_command(h, XFLASH_WRITE_DATA, XFLASH_USER, MIB, len);
    assert_int_equal(host_status(h), 0);
    host_word(h, 0);
    host_word(h, xflash_checksum(span_of(data, len)));
    host_header(h, XFLASH_MAGIC, (uint32_t)len);
    host_raw(h, data, piece);
    if (empty)
        host_raw(h, "", 0);
    host_raw(h, data + piece, len - piece);
}

/* What a driver skips inside a long payload, and what it cannot: it is a mistake either way. */
static void inside_a_long_payload(void **state)
{
    (void)state;
    const size_t len = 8192;
    AUTO(free_ptr) uint8_t *data = host_linear(3, 1, len);
    EACH_MODEL(m)
    {
        struct host h;
        at_da2(&h, BUILD_2018, m); /* whole packets: allowed */
        long_payload(&h, data, len, 1024, false);
        assert_int_equal(host_status(&h), 0);
        assert_int_equal(host_status(&h), 0);
        expect_violations(&h, "");
        long_payload(&h, data, len, 1024, true);
        assert_int_equal(host_status(&h), 0);
        assert_int_equal(host_status(&h), 0);
        expect_violations(&h, "xflash.zero_length_packet");
        expect_flash(&h, AREA_USER, MIB, data, len);
        host_deinit(&h);
        at_da2(&h, BUILD_2018, m);
        long_payload(&h, data, len, 1000, false);
        assert_int_equal(host_status(&h), 0);
        assert_int_equal(host_status(&h), 0);
        expect_violations(&h, "xflash.payload_in_short_pieces");
        host_deinit(&h);
    }
}

static void short_blocks_and_other_storage(void **state)
{
    (void)state;
    struct host h;
    at_da2(&h, BUILD_2018, MODEL_FIELD);
    host_packet(&h, "\x09\0", 2); /* half a command */
    (void)host_status(&h);
    expect_violations(&h, "xflash.short_command");
    host_deinit(&h);
    static const uint32_t ranged[] = {XFLASH_READ_DATA, XFLASH_WRITE_DATA, XFLASH_FORMAT};
    for (size_t i = 0; i < ARRAY_LEN(ranged); i++) {
        at_da2(&h, BUILD_2018, MODEL_FIELD);
        host_command(&h, ranged[i]);
        host_packet(&h, "\1\0\0\0\x08\0\0\0", 8);
        assert_int_equal(host_status(&h), 0);
        expect_violations(&h, "xflash.short_parameters");
        host_deinit(&h);
    }
    at_da2(&h, BUILD_2018, MODEL_FIELD);
    uint8_t block[XFLASH_RANGE_BYTES] = {0x30, 0, 0, 0, 8};
    host_command(&h, XFLASH_READ_DATA);
    host_packet(&h, block, sizeof(block));
    assert_int_equal(host_status(&h), (uint32_t)XFLASH_STORAGE_MISMATCH);
    expect_violations(&h, "xflash.wrong_storage");
    host_deinit(&h);
}

static void pieces_that_are_not_multiples(void **state)
{
    (void)state;
    EACH_MODEL(m)
    {
        struct host h;
        at_da2(&h, BUILD_2018, m);
        uint8_t block[XFLASH_RANGE_BYTES] = {1, 0, 0, 0, 8};
        host_command(&h, XFLASH_READ_DATA);
        host_header(&h, XFLASH_MAGIC, sizeof(block));
        host_raw(&h, block, 30);
        host_raw(&h, block + 30, sizeof(block) - 30);
        assert_int_equal(host_status(&h), 0);
        assert_int_equal(host_status(&h), 0);
        expect_violations(&h, "xflash.payload_in_short_pieces");
        host_deinit(&h);
        at_da2(&h, BUILD_2018, m); /* a header is never in pieces, though each driver puts them together */
        host_raw(&h, "\xef\xee\xee\xfe\1", 5);
        host_raw(&h, "\0\0\0\4\0\0\0", 7);
        host_raw(&h, "\x05\0\1\0", 4);
        assert_int_equal(host_status(&h), 0);
        expect_violations(&h, "xflash.payload_in_short_pieces");
        host_deinit(&h);
    }
}

/* ---- reading
 * -------------------------------------------------------------------------------------------- */

static void reads_in_packets_of_the_environment(void **state)
{
    (void)state;
    const size_t len = 5 * MIB + 13;
    AUTO(free_ptr) uint8_t *data = host_linear(13, 5, len);
    EACH_MODEL(m)
    {
        for (uint32_t os = 0; os < 2; os++) {
            struct host h;
            host_init(&h, HOST_USER_BYTES);
            host_flash_write(&h, AREA_USER, 7, data, len);
            board_settings(h.b)->usb_model = m;
            h.host_os = os;
            host_preloader(&h);
            host_da1(&h);
            host_da2(&h);
            range_command(&h, XFLASH_READ_DATA, XFLASH_USER, 7, len);
            assert_int_equal(host_status(&h), 0);
            size_t packet = os == XFLASH_OS_LINUX ? 0x10000 : 0x200000;
            for (size_t at = 0; at < len;) {
                assert_int_equal(host_status(&h), 0);
                struct span s = host_reply(&h);
                assert_int_equal(s.len, MIN_OF(packet, len - at));
                assert_memory_equal(s.data, data + at, s.len);
                at += s.len;
                host_word(&h, 0);
            }
            assert_int_equal(host_status(&h), 0);
            host_alive(&h);
            expect_violations(&h, "");
            host_deinit(&h);
        }
    }
}

static void read_of_nothing(void **state)
{
    (void)state;
    struct host h;
    at_da2(&h, BUILD_2018, MODEL_FIELD);
    range_command(&h, XFLASH_READ_DATA, XFLASH_USER, 0, 0);
    assert_int_equal(host_status(&h), 0);
    assert_int_equal(host_status(&h), 0);
    host_alive(&h);
    host_deinit(&h);
}

/* An error in chunk n is met in the place of chunk n - 1: that one is read ahead. */
static void read_errors_come_one_chunk_early(void **state)
{
    (void)state;
    for (unsigned bad = 0; bad < 4; bad++)
        for (int ahead = 0; ahead < 2; ahead++) {
            struct host h;
            host_init(&h, HOST_USER_BYTES);
            h.host_os = XFLASH_OS_LINUX;
            board_settings(h.b)->read_ahead_off = !ahead;
            fake_board_storage_fault(h.b, false, MIB + bad * 0x10000u + 99);
            host_preloader(&h);
            host_da1(&h);
            host_da2(&h);
            range_command(&h, XFLASH_READ_DATA, XFLASH_USER, MIB, 4 * 0x10000);
            assert_int_equal(host_status(&h), 0);
            unsigned good = ahead && bad ? bad - 1 : bad;
            for (unsigned i = 0; i < good; i++) {
                assert_int_equal(host_status(&h), 0);
                assert_int_equal(host_reply(&h).len, 0x10000);
                host_word(&h, 0);
            }
            assert_int_equal(host_status(&h), MMC_ERR); /* in the chunk's place */
            assert_int_equal(host_status(&h), MMC_ERR); /* final */
            host_alive(&h);
            host_deinit(&h);
        }
}

static void read_stops_with_the_hosts_value(void **state)
{
    (void)state;
    static const uint32_t values[] = {(uint32_t)XFLASH_ABORT, 5};
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        struct host h;
        at_da2(&h, BUILD_2018, MODEL_EXACT);
        range_command(&h, XFLASH_READ_DATA, XFLASH_USER, 0, 5 * MIB);
        assert_int_equal(host_status(&h), 0);
        assert_int_equal(host_status(&h), 0);
        (void)host_reply(&h);
        host_word(&h, values[i]);
        assert_int_equal(host_status(&h), values[i]);
        host_alive(&h);
        host_deinit(&h);
    }
}

static const struct check {
    const char *name;
    uint32_t storage, section;
    uint64_t at, len;
    uint32_t status, status_2017; /* of READ_DATA */
} checks[] = {
    {"no storage", 0, 8, 0, 512, 0xc0040009, 0xc0040009},
    {"SD", 2, 8, 0, 512, 0xc004000b, 0xc004000b},
    {"NAND", 0x10, 8, 0, 512, 0xc004000b, 0xc004000b},
    {"NOR", 0x20, 8, 0, 512, 0xc0030006, 0xc0030006},
    {"UFS", 0x30, 3, 0, 512, 0xc0030006, 0xc0030006},
    {"unknown storage", 0x55, 8, 0, 512, 0xc0030006, 0xc0030006},
    {"section 0", 1, 0, 0, 512, 0xc003000c, 0},
    {"RPMB", 1, 3, 0, 512, 0xc003000c, 0},
    {"general purpose area", 1, 5, 0, 512, 0xc003000c, 0},
    {"section 9", 1, 9, 0, 512, 0xc003000c, 0},
    {"section 10", 1, 10, 0, 512, 0xc003000c, 0},
    {"end of USER", 1, 8, HOST_USER_BYTES - 512, 1024, 0xc004000b, 0xc004000b},
    {"wrap-around", 1, 8, UINT64_MAX - 511, 1024, 0xc004000b, 0xc004000b},
    {"end of BOOT1", 1, 1, 0x400000, 1, 0xc004000b, 0xc004000b},
    {"last block", 1, 8, HOST_USER_BYTES - 512, 512, 0, 0},
};

static void one_check(void **state)
{
    const struct check *row = ROW(state);
    EACH_BUILD(build)
    {
        struct host h;
        at_da2(&h, build, MODEL_FIELD);
        uint8_t block[XFLASH_RANGE_BYTES] = {0};
        put_le32(block, row->storage);
        put_le32(block + 4, row->section);
        put_le64(block + 8, row->at);
        put_le64(block + 16, row->len);
        host_command(&h, XFLASH_READ_DATA);
        host_packet(&h, block, sizeof(block));
        uint32_t want = build == BUILD_2017 ? row->status_2017 : row->status;
        assert_int_equal(host_status(&h), want);
        if (want == 0 && (row->section == 3 || row->section == 5)) { /* the eMMC says no */
            assert_int_equal(host_status(&h), MMC_ERR);
            assert_int_equal(host_status(&h), MMC_ERR);
        } else if (want == 0) {
            assert_int_equal(host_status(&h), 0);
            (void)host_reply(&h);
            host_word(&h, 0);
            assert_int_equal(host_status(&h), 0);
        }
        host_alive(&h); /* exactly one status after a parameter error */
        if (row->status)
            assert_true(fake_board_violations(h.b)[0]);
        else
            expect_violations(&h, "");
        host_deinit(&h);
    }
}

/* ---- writing
 * -------------------------------------------------------------------------------------------- */

static void write_begin(struct host *h, uint64_t at, uint64_t len)
{
    range_command(h, XFLASH_WRITE_DATA, XFLASH_USER, at, len);
    assert_int_equal(host_status(h), 0);
}

static void chunk_sizes_are_free(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 511, CHUNK, 3, CHUNK, 77777, CHUNK - 5};
    EACH_MODEL(m)
    {
        EACH_BUILD(build)
        {
            size_t total = 0;
            for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
                total += sizes[i];
            AUTO(free_ptr) uint8_t *data = host_linear(7, 9, total);
            struct host h;
            at_da2(&h, build, m);
            write_begin(&h, 8 * MIB, total);
            for (size_t i = 0, at = 0; i < ARRAY_LEN(sizes); at += sizes[i++]) {
                host_chunk(&h, data + at, sizes[i]);
                assert_int_equal(host_status(&h), 0);
            }
            assert_int_equal(host_status(&h), 0);
            host_alive(&h);
            expect_flash(&h, AREA_USER, 8 * MIB, data, total);
            expect_zeros(&h, 8 * MIB + total, 4096);
            expect_violations(&h, "xflash.unaligned_write");
            host_deinit(&h);
        }
    }
}

static void nothing_to_write_and_boot_areas(void **state)
{
    (void)state;
    AUTO(free_ptr) uint8_t *data = host_linear(7, 9, 4096);
    struct host h;
    at_da2(&h, BUILD_2018, MODEL_EXACT);
    write_begin(&h, 8 * MIB, 0);
    assert_int_equal(host_status(&h), 0);
    range_command(&h, XFLASH_WRITE_DATA, XFLASH_BOOT2, 512, 4096);
    assert_int_equal(host_status(&h), 0);
    host_chunk(&h, data, 4096);
    assert_int_equal(host_status(&h), 0);
    assert_int_equal(host_status(&h), 0);
    expect_flash(&h, AREA_BOOT2, 512, data, 4096);
    host_deinit(&h);
}

/* Where an error of the flash shows up. `bad` is the broken byte, counted from the start of the
 * write. */
static const struct late {
    const char *name;
    unsigned chunks; /* of 2 MiB */
    uint64_t bad;
    enum da_build build;
    bool at_once;
    unsigned fails_at; /* chunk whose status is the error, counted from 1; 0: only the final one */
} lates[] = {
    {"2 MiB: final status only", 1, 99, BUILD_2018, false, 0},
    {"4 MiB: final status only", 2, 99, BUILD_2018, false, 0},
    {"6 MiB, error at the start: chunk 3", 3, 99, BUILD_2018, false, 3},
    {"6 MiB, error in the second chunk: chunk 3", 3, CHUNK + 99, BUILD_2018, false, 3},
    {"6 MiB, error at the end: final status only", 3, 2 * CHUNK + 99, BUILD_2018, false, 0},
    {"12 MiB, error in the middle: chunk 5", 6, 2 * CHUNK + 99, BUILD_2019, false, 5},
    {"2019 as 2018", 3, 99, BUILD_2019, false, 3},
    {"2017: final status only", 6, 99, BUILD_2017, false, 0},
    {"setting: at once", 3, CHUNK + 99, BUILD_2018, true, 2},
};

static void one_late(void **state)
{
    const struct late *row = ROW(state);
    AUTO(free_ptr) uint8_t *data = host_linear(3, 1, CHUNK);
    struct host h;
    at_da2(&h, row->build, MODEL_EXACT);
    board_settings(h.b)->write_errors_at_once = row->at_once;
    fake_board_storage_fault(h.b, true, 8 * MIB + row->bad);
    write_begin(&h, 8 * MIB, (uint64_t)row->chunks * CHUNK);
    unsigned chunks = row->fails_at ? row->fails_at : row->chunks;
    for (unsigned i = 1; i <= chunks; i++) {
        host_chunk(&h, data, CHUNK);
        assert_int_equal(host_status(&h), i == row->fails_at ? MMC_ERR : 0);
    }
    assert_int_equal(host_status(&h), MMC_ERR); /* always both */
    host_alive(&h);
    expect_violations(&h, "");
    host_deinit(&h);
}

/* Of 2 MiB that were accepted nothing is on flash, of 4 and 6 MiB the first 4; 2017: nothing at
 * all. */
static void cancel_discards_what_is_held(void **state)
{
    (void)state;
    AUTO(free_ptr) uint8_t *data = host_linear(3, 1, CHUNK);
    EACH_BUILD(build)
    {
        for (unsigned sent = 0; sent <= 3; sent++) {
            struct host h;
            at_da2(&h, build, MODEL_BUFFERED);
            write_begin(&h, 8 * MIB, 8 * CHUNK);
            for (unsigned i = 0; i < sent; i++) {
                host_chunk(&h, data, CHUNK);
                assert_int_equal(host_status(&h), 0);
            }
            host_word(&h, ABORT);
            assert_int_equal(host_status(&h), ABORT); /* one status */
            host_alive(&h);
            unsigned kept = build == BUILD_2017 || sent < 2 ? 0 : 2;
            for (unsigned i = 0; i < 4; i++) {
                if (i < kept)
                    expect_flash(&h, AREA_USER, 8 * MIB + (uint64_t)i * CHUNK, data, CHUNK);
                else
                    expect_zeros(&h, 8 * MIB + (uint64_t)i * CHUNK, CHUNK);
            }
            expect_violations(&h, "");
            host_deinit(&h);
        }
    }
}

static void positive_host_status(void **state)
{
    (void)state;
    AUTO(free_ptr) uint8_t *data = host_linear(3, 1, CHUNK);
    EACH_BUILD(build)
    {
        struct host h;
        at_da2(&h, build, MODEL_FIELD);
        write_begin(&h, 8 * MIB, CHUNK);
        host_word(&h, XFLASH_DEVICE_CTRL); /* before the first chunk: harmless */
        assert_int_equal(host_status(&h), build == BUILD_2017 ? (uint32_t)XFLASH_INSUFFICIENT_BUFFER
                                                              : (uint32_t)XFLASH_DEVICE_CTRL);
        host_alive(&h);
        expect_violations(&h, "xflash.host_status_in_write");
        host_deinit(&h);
    }
    for (int spare = 0; spare < 4; spare++) { /* after one: damage, and dead */
        struct host h;
        at_da2(&h, spare < 2 ? BUILD_2018 : BUILD_2017, MODEL_FIELD);
        board_settings(h.b)->positive_status_dead = spare % 2;
        write_begin(&h, 8 * MIB, 2 * CHUNK);
        host_chunk(&h, data, 4096);
        assert_int_equal(host_status(&h), 0);
        host_word(&h, XFLASH_DEVICE_CTRL);
        host_dead(&h);
        if (spare % 2) {
            expect_zeros(&h, 8 * MIB, 2 * 4096);
        } else {
            uint8_t next[4096];
            expect_flash(&h, AREA_USER, 8 * MIB, data, 4096);
            host_flash_read(&h, AREA_USER, 8 * MIB + 4096, next, sizeof(next));
            assert_int_not_equal(next[0] | next[1], 0); /* bytes that nobody sent there */
        }
        host_deinit(&h);
    }
}

static void wrong_checksums(void **state)
{
    (void)state;
    AUTO(free_ptr) uint8_t *data = host_linear(3, 1, 4096);
    struct host h;
    at_da2_level(&h, XFLASH_CHECKSUM_USB);
    write_begin(&h, 8 * MIB, 8192);
    host_chunk(&h, data, 4096);
    assert_int_equal(host_status(&h), 0);
    host_word(&h, 0);
    host_word(&h, xflash_checksum(span_of(data, 4096)) | 0x10000); /* compared as 32 bits */
    host_packet(&h, data, 4096);
    assert_int_equal(host_status(&h), CHECKSUM_ERR);
    assert_int_equal(host_status(&h), CHECKSUM_ERR);
    host_alive(&h);
    expect_zeros(&h, 8 * MIB, 8192); /* the good chunk was still held */
    expect_violations(&h, "xflash.wrong_chunk_checksum");
    host_deinit(&h);
    at_da2(&h, BUILD_2018,
           MODEL_FIELD); /* level 2, when nobody sets it: not looked at, but counted */
    write_begin(&h, 8 * MIB, 4096);
    host_word(&h, 0);
    host_word(&h, 1);
    host_packet(&h, data, 4096);
    assert_int_equal(host_status(&h), 0);
    assert_int_equal(host_status(&h), 0);
    expect_flash(&h, AREA_USER, 8 * MIB, data, 4096);
    expect_violations(&h, "xflash.wrong_chunk_checksum");
    host_deinit(&h);
}

static void lying_writes_and_read_back(void **state)
{
    (void)state;
    AUTO(free_ptr) uint8_t *data = host_linear(3, 1, 4096);
    for (uint32_t level = 0; level <= 2; level += 2) {
        struct host h;
        at_da2_level(&h, level);
        fake_board_fault(h.b, "lying_write", 8 * MIB);
        write_begin(&h, 8 * MIB, 4096);
        host_chunk(&h, data, 4096);
        assert_int_equal(host_status(&h), 0);
        assert_int_equal(host_status(&h), level ? CHECKSUM_ERR : 0);
        expect_zeros(&h, 8 * MIB, 4096);
        host_alive(&h);
        host_deinit(&h);
    }
}

static void start_inside_a_block(void **state)
{
    (void)state;
    AUTO(free_ptr) uint8_t *old = host_linear(1, 1, 1024);
    AUTO(free_ptr) uint8_t *data = host_linear(5, 7, 300);
    EACH_BUILD(build)
    {
        struct host h;
        at_da2(&h, build, MODEL_FIELD);
        host_flash_write(&h, AREA_USER, 8 * MIB, old, 1024);
        write_begin(&h, 8 * MIB + 100, 300);
        host_chunk(&h, data, 300);
        assert_int_equal(host_status(&h), 0);
        assert_int_equal(host_status(&h), 0);
        uint8_t want[1024];
        memcpy(want, old, sizeof(want));
        memcpy(want + 100, data, 300);
        if (build == BUILD_2017)
            memset(want, 0, 100);
        expect_flash(&h, AREA_USER, 8 * MIB, want, sizeof(want));
        host_deinit(&h);
    }
}

/* ---- by name
 * --------------------------------------------------------------------------------------------- */

static uint32_t download_begin(struct host *h, const char *name, uint64_t len)
{
    uint8_t raw[8];
    put_le64(raw, len);
    host_command(h, XFLASH_DOWNLOAD);
    host_packet(h, name, strlen(name));
    host_packet(h, raw, sizeof(raw));
    return host_status(h);
}

static uint32_t download(struct host *h, const char *name, const uint8_t *data, size_t len)
{
    uint32_t status = download_begin(h, name, len);
    if (status != 0)
        return status;
    for (size_t at = 0; at < len; at += CHUNK) {
        host_chunk(h, data + at, MIN_OF(len - at, (size_t)CHUNK));
        status = host_status(h);
        if (status != 0) {
            assert_int_equal(host_status(h), status);
            return status;
        }
    }
    return host_status(h);
}

static void without_a_table(void **state)
{
    (void)state;
    struct host h, other;
    at_da2(&other, BUILD_2018, MODEL_FIELD);
    uint8_t pgpt[0x8000];
    host_flash_read(&other, AREA_USER, 0, pgpt, sizeof(pgpt));
    host_init(&h, HOST_USER_BYTES);
    host_preloader(&h);
    host_da1(&h);
    host_da2(&h);
    range_command(&h, XFLASH_WRITE_DATA, XFLASH_USER, 0, 512);
    assert_int_equal(host_status(&h), (uint32_t)XFLASH_READ_PT_FAIL);
    range_command(&h, XFLASH_WRITE_DATA, XFLASH_BOOT1, 0, 0);
    assert_int_equal(host_status(&h), 0);
    assert_int_equal(host_status(&h), 0);
    assert_int_equal(download_begin(&h, "nvram", 512), (uint32_t)XFLASH_INVALID_GPT);
    host_command(&h, XFLASH_FORMAT_PARTITION);
    host_packet(&h, "nvram", 5);
    assert_int_equal(host_status(&h), (uint32_t)XFLASH_INVALID_GPT);
    assert_int_equal(download(&h, "PGPT", pgpt, sizeof(pgpt)), 0); /* the way out */
    assert_int_equal(download(&h, "NVRAM", pgpt, sizeof(pgpt)), 0);
    expect_flash(&h, AREA_USER, host_partition("nvram").start_bytes, pgpt, sizeof(pgpt));
    write_begin(&h, 8 * MIB, 0);
    assert_int_equal(host_status(&h), 0);
    host_deinit(&h);
    uint8_t zeros[1024] = {0}; /* a broken primary table with a good backup is enough */
    host_flash_write(&other, AREA_USER, 512, zeros, sizeof(zeros));
    write_begin(&other, 8 * MIB, 0);
    assert_int_equal(host_status(&other), 0);
    assert_int_equal(download(&other, "nvram", pgpt, sizeof(pgpt)), 0);
    host_deinit(&other);
}

static void unknown_names_and_large_images(void **state)
{
    (void)state;
    AUTO(free_ptr) uint8_t *data = host_linear(3, 1, 6 * MIB);
    struct host h;
    at_da2(&h, BUILD_2018, MODEL_EXACT);
    assert_int_equal(download_begin(&h, "nosuch", 512), (uint32_t)XFLASH_PARTITION_NOT_FOUND);
    host_alive(&h);
    expect_violations(&h, "xflash.download_of_unknown_name");
    host_deinit(&h);
    at_da2(&h, BUILD_2018, MODEL_EXACT); /* taken, and refused late */
    assert_int_equal(download_begin(&h, "lk_a", 2 * MIB), 0);
    host_chunk(&h, data, 2 * MIB);
    assert_int_equal(host_status(&h), 0);
    assert_int_equal(host_status(&h), (uint32_t)XFLASH_TOO_LARGE);
    host_alive(&h);
    expect_violations(&h, "xflash.image_larger_than_partition");
    expect_zeros(&h, host_partition("flashinfo").start_bytes, MIB); /* the neighbour is whole */
    host_deinit(&h);
    at_da2(&h, BUILD_2018, MODEL_EXACT); /* more than 4 MiB: the chunk status, too */
    assert_int_equal(download_begin(&h, "lk_a", 6 * MIB), 0);
    for (unsigned i = 0; i < 3; i++) {
        host_chunk(&h, data, CHUNK);
        assert_int_equal(host_status(&h), i == 2 ? (uint32_t)XFLASH_TOO_LARGE : 0);
    }
    assert_int_equal(host_status(&h), (uint32_t)XFLASH_TOO_LARGE);
    host_alive(&h);
    host_deinit(&h);
}

static void preloader_gets_its_header(void **state)
{
    (void)state;
    AUTO(free_ptr) uint8_t *data = host_linear(3, 1, 0x400000);
    uint8_t header[BOOT_HEADER_BYTES];
    preloader_boot_header(100000, header);
    struct host h;
    at_da2(&h, BUILD_2018, MODEL_FIELD);
    assert_int_equal(download(&h, "preloader", data, 100000), 0);
    expect_flash(&h, AREA_BOOT1, 0, header, sizeof(header));
    expect_flash(&h, AREA_BOOT1, sizeof(header), data, 100000);
    assert_int_equal(download(&h, "preloader_backup", data, 100000), 0);
    expect_flash(&h, AREA_BOOT2, sizeof(header), data, 100000);
    expect_violations(&h, "");
    assert_int_equal(download(&h, "preloader", data, 0x400000), (uint32_t)XFLASH_TOO_LARGE);
    expect_violations(&h, "xflash.preloader_in_pieces");
    host_deinit(&h);
}

static void put_chunk(struct buf *out, uint16_t type, uint32_t blocks, uint32_t body)
{
    buf_put_le16(out, type);
    buf_put_le16(out, 0);
    buf_put_le32(out, blocks);
    buf_put_le32(out, SPARSE_CHUNK_BYTES + body);
}

static void sparse_images_are_expanded(void **state)
{
    (void)state;
    AUTO(free_ptr) uint8_t *raw = host_linear(3, 1, 8192);
    AUTO(free_ptr) uint8_t *old = host_linear(1, 1, MIB);
    AUTO(buf_deinit) struct buf image;
    buf_init(&image, 1 << 20);
    buf_put_le32(&image, SPARSE_MAGIC);
    buf_put_le16(&image, 1);
    buf_put_le16(&image, 0);
    buf_put_le16(&image, SPARSE_HEADER_BYTES);
    buf_put_le16(&image, SPARSE_CHUNK_BYTES);
    buf_put_le32(&image, 4096);
    buf_put_le32(&image, 6); /* blocks */
    buf_put_le32(&image, 3); /* chunks */
    buf_put_le32(&image, 0);
    put_chunk(&image, 0xcac1, 2, 8192);
    buf_put(&image, raw, 8192);
    put_chunk(&image, 0xcac3, 1, 0);
    put_chunk(&image, 0xcac2, 3, 4);
    buf_put_le32(&image, 0xa1b2c3d4);
    uint8_t want[6 * 4096];
    EACH_BUILD(build)
    {
        struct host h;
        at_da2(&h, build, MODEL_BUFFERED);
        struct extent nvram = host_partition("nvram");
        host_flash_write(&h, AREA_USER, nvram.start_bytes, old, MIB);
        assert_int_equal(download(&h, "nvram", image.data, image.len), 0);
        memcpy(want, raw, 8192);
        memcpy(want + 8192, old + 8192, 4096);
        for (size_t i = 0; i < 3 * 4096; i += 4)
            put_le32(want + 3 * 4096 + i, 0xa1b2c3d4);
        expect_flash(&h, AREA_USER, nvram.start_bytes, want, sizeof(want));
        /* Cut short: not a whole image. WRITE_DATA never expands. */
        assert_int_equal(download(&h, "nvram", image.data, image.len - 4), 0xc004000c);
        write_begin(&h, 8 * MIB, image.len);
        host_chunk(&h, image.data, image.len);
        assert_int_equal(host_status(&h), 0);
        assert_int_equal(host_status(&h), 0);
        expect_flash(&h, AREA_USER, 8 * MIB, image.data, image.len);
        host_deinit(&h);
    }
}

static void upload(void **state)
{
    (void)state;
    AUTO(free_ptr) uint8_t *data = host_linear(3, 1, MIB);
    EACH_MODEL(m)
    {
        struct host h;
        at_da2(&h, BUILD_2018, m);
        host_flash_write(&h, AREA_USER, host_partition("nvram").start_bytes, data, MIB);
        host_command(&h, XFLASH_UPLOAD);
        host_packet(&h, "nvram\0\0", 7);
        assert_int_equal(host_status(&h), 0);
        struct span size = host_reply(&h);
        assert_int_equal(size.len, 8);
        assert_int_equal(get_le64(size.data), MIB);
        assert_int_equal(host_status(&h), 0);
        struct span got = host_reply(&h);
        assert_int_equal(got.len, MIB);
        assert_memory_equal(got.data, data, MIB);
        host_word(&h, 0);
        assert_int_equal(host_status(&h), 0);
        host_alive(&h);
        expect_violations(&h, "");
        host_command(
            &h, XFLASH_UPLOAD); /* a name that does not exist: silence, then the next command */
        host_packet(&h, "nosuch", 6);
        host_alive(&h);
        board_settings(h.b)->upload_unknown_answers = true;
        host_command(&h, XFLASH_UPLOAD);
        host_packet(&h, "nosuch", 6);
        assert_int_equal(host_status(&h), (uint32_t)XFLASH_PARTITION_NOT_FOUND);
        host_alive(&h);
        host_deinit(&h);
    }
}

/* ---- erasing
 * -----------------------------------------------------------------------------------------------
 */

static void finish_format(struct host *h)
{
    assert_int_equal(host_status(h), XFLASH_CONTINUE);
    assert_int_equal(host_status(h), 100);
    host_word(h, 12345); /* the value does not matter */
    assert_int_equal(host_status(h), XFLASH_COMPLETE);
    host_alive(h);
}

static void format_whole_blocks(void **state)
{
    (void)state;
    AUTO(free_ptr) uint8_t *data = host_linear(3, 1, 4096);
    struct host h;
    at_da2(&h, BUILD_2018, MODEL_EXACT);
    host_flash_write(&h, AREA_USER, 8 * MIB, data, 4096);
    range_command(&h, XFLASH_FORMAT, XFLASH_USER, 8 * MIB + 1, 1024 + 500);
    assert_int_equal(host_status(&h), 0);
    finish_format(&h);
    expect_flash(&h, AREA_USER, 8 * MIB, data, 512); /* only begun: kept */
    expect_zeros(&h, 8 * MIB + 512, 512);
    expect_flash(&h, AREA_USER, 8 * MIB + 1024, data + 1024, 4096 - 1024);
    range_command(&h, XFLASH_FORMAT, XFLASH_USER, 8 * MIB, 0);
    assert_int_equal(host_status(&h), 0);
    finish_format(&h);
    expect_flash(&h, AREA_USER, 8 * MIB, data, 512);
    expect_violations(&h, "");
    host_deinit(&h);
}

static void format_goes_on_after_an_error(void **state)
{
    (void)state;
    AUTO(free_ptr) uint8_t *data = host_linear(3, 1, 512);
    for (int stop = 0; stop < 2; stop++) {
        struct host h;
        at_da2(&h, BUILD_2018, MODEL_FIELD);
        board_settings(h.b)->format_stop = stop;
        host_flash_write(&h, AREA_BOOT1, 0x400000 - 512, data, 512);
        range_command(&h, XFLASH_FORMAT, XFLASH_BOOT1, 0x400000 - 512, 1024);
        assert_int_equal(host_status(&h), (uint32_t)XFLASH_EXCEED_AVAILABLE_RANGE);
        uint8_t zeros[512] = {0};
        if (!stop)
            finish_format(&h); /* it really erases */
        host_alive(&h);
        expect_flash(&h, AREA_BOOT1, 0x400000 - 512, stop ? data : zeros, 512);
        uint8_t block[XFLASH_RANGE_BYTES] = {0};
        host_command(&h, XFLASH_FORMAT);
        host_packet(&h, block, sizeof(block));
        assert_int_equal(host_status(&h), (uint32_t)XFLASH_UNKNOWN_STORAGE_TYPE);
        if (!stop)
            assert_int_equal(host_status(&h), (uint32_t)XFLASH_UNKNOWN_STORAGE_TYPE);
        host_alive(&h);
        block[0] = 0x55;
        host_command(&h, XFLASH_FORMAT);
        host_packet(&h, block, sizeof(block));
        assert_int_equal(host_status(&h), (uint32_t)XFLASH_STORAGE_MISMATCH);
        if (!stop)
            assert_int_equal(host_status(&h), (uint32_t)XFLASH_UNKNOWN_STORAGE_TYPE);
        host_alive(&h);
        host_deinit(&h);
    }
}

static void format_2017_sections(void **state)
{
    (void)state;
    AUTO(free_ptr) uint8_t *data = host_linear(3, 1, 512);
    struct host h;
    at_da2(&h, BUILD_2017, MODEL_FIELD);
    range_command(&h, XFLASH_FORMAT, XFLASH_RPMB, 0, 512);
    assert_int_equal(host_status(&h), 0);
    assert_int_equal(host_status(&h), XFLASH_COMPLETE); /* without progress */
    host_alive(&h);
    host_flash_write(&h, AREA_BOOT1, 0, data, 512);
    range_command(&h, XFLASH_FORMAT, 9, 0, 512); /* hits BOOT1 */
    assert_int_equal(host_status(&h), 0);
    finish_format(&h);
    uint8_t zeros[512] = {0};
    expect_flash(&h, AREA_BOOT1, 0, zeros, 512);
    host_flash_write(&h, AREA_RPMB, 0, data, 512);
    range_command(&h, XFLASH_FORMAT, 5, 0, 512); /* a general purpose area that is empty */
    assert_int_equal(host_status(&h), 0);
    finish_format(&h);
    expect_flash(&h, AREA_RPMB, 0, data, 512);
    host_deinit(&h);
}

static void format_partition(void **state)
{
    (void)state;
    AUTO(free_ptr) uint8_t *data = host_linear(3, 1, MIB);
    struct host h;
    at_da2(&h, BUILD_2018, MODEL_BUFFERED);
    struct extent nvram = host_partition("nvram");
    host_flash_write(&h, AREA_USER, nvram.start_bytes, data, MIB);
    host_command(&h, XFLASH_FORMAT_PARTITION);
    host_packet(&h, "NvRam", 5);
    finish_format(&h);
    expect_zeros(&h, nvram.start_bytes, MIB);
    host_command(&h, XFLASH_FORMAT_PARTITION);
    host_packet(&h, "nosuch", 6);
    assert_int_equal(host_status(&h), (uint32_t)XFLASH_PARTITION_NOT_FOUND);
    host_alive(&h);
    expect_violations(&h, "xflash.format_of_unknown_name");
    host_deinit(&h);
}

/* ---- locked partitions
 * --------------------------------------------------------------------------------------- */

static void locked_partitions_of_a_secure_phone(void **state)
{
    (void)state;
    AUTO(free_ptr) uint8_t *data = host_linear(3, 1, 512);
    struct extent lk = host_partition("lk_a"), nvram = host_partition("nvram");
    struct host h;
    at_da2(&h, BUILD_2018, MODEL_FIELD);
    snprintf(board_settings(h.b)->sbc_locked, sizeof(board_settings(h.b)->sbc_locked),
             "tee_a,lk_a");
    assert_int_equal(download(&h, "lk_a", data, 512), 0); /* not a secure phone */
    board_settings(h.b)->target_config = BROM_TARGET_SBC;
    assert_int_equal(download_begin(&h, "lk_a", 512), (uint32_t)XFLASH_SEC_DL_FORBIDDEN);
    assert_int_equal(download(&h, "nvram", data, 512), 0);
    range_command(&h, XFLASH_WRITE_DATA, XFLASH_USER, lk.start_bytes + 512, 512);
    assert_int_equal(host_status(&h), (uint32_t)XFLASH_SEC_WRITE_DATA_NOT_ALLOWED);
    range_command(&h, XFLASH_WRITE_DATA, XFLASH_USER, nvram.start_bytes, MIB + 512);
    assert_int_equal(host_status(&h), (uint32_t)XFLASH_SEC_WRITE_DATA_NOT_ALLOWED);
    range_command(&h, XFLASH_FORMAT, XFLASH_USER, lk.start_bytes, 512);
    assert_int_equal(host_status(&h), 0);
    assert_int_equal(host_status(&h), (uint32_t)XFLASH_SEC_WRITE_DATA_NOT_ALLOWED);
    host_alive(&h);
    expect_flash(&h, AREA_USER, lk.start_bytes, data, 512);
    expect_violations(&h, "");
    host_deinit(&h);
}

/* A secure phone takes signed images only, by name only, and writes none of an image that is not. */
static const struct secure_row {
    const char *name;
    const char *verified, *bound; /* lists */
    bool guarded;                 /* not to be written by its place */
    bool spoilt;                  /* the image's signature does not hold */
    uint32_t filled;              /* zeros that the host sends behind it */
    uint32_t final;
} secure_rows[] = {
    {"not listed", "", "", false, true, 0, 0},
    {"verified, signed", "boot,lk", "", true, false, 0, 0},
    {"verified, not signed", "boot,lk", "", true, true, 0, 0xc0020007},
    {"verified with its slot", "lk_a", "", true, true, 0, 0xc0020007},
    {"the other slot is verified", "lk_b", "", false, true, 0, 0},
    {"verified, signed, and zeros", "lk", "", true, false, 10240, 0},
    {"verified, not signed, and zeros", "lk", "", true, true, 512, 0xc0020007},
    {"bound, on the list", "", "lk", true, false, 0, 0},
    {"bound, not on the list", "", "lk", true, true, 0, 0xc0020009},
    {"both", "lk", "lk", true, true, 0, 0xc0020007},
};

static void secure_download(void **state)
{
    const struct secure_row *row = ROW(state);
    AUTO(buf_deinit) struct buf image;
    buf_init(&image, MIB);
    for (int i = 0; i < 40000; i++)
        buf_put_u8(&image, (uint8_t)(i * 7));
    synthetic_image_sign(&image);
    image.data[image.len - 9] ^= row->spoilt;
    buf_put_zeros(&image, row->filled);
    struct extent lk = host_partition("lk_a");
    EACH_BUILD(build)
    {
        struct host h;
        at_da2(&h, build, MODEL_FIELD);
        struct board_settings *set = board_settings(h.b);
        set->target_config = BROM_TARGET_SBC;
        snprintf(set->sbc_verified, sizeof(set->sbc_verified), "%s", row->verified);
        snprintf(set->sbc_bound, sizeof(set->sbc_bound), "%s", row->bound);
        assert_int_equal(download_begin(&h, "lk_a", image.len), 0);
        host_chunk(&h, image.data, image.len);
        assert_int_equal(host_status(&h), 0);
        assert_int_equal(host_status(&h), row->final);
        host_alive(&h);
        if (row->final)
            expect_zeros(&h, lk.start_bytes, image.len);
        else
            expect_flash(&h, AREA_USER, lk.start_bytes, image.data, image.len);
        range_command(&h, XFLASH_WRITE_DATA, XFLASH_USER, lk.start_bytes, 512);
        assert_int_equal(host_status(&h),
                         row->guarded ? (uint32_t)XFLASH_SEC_WRITE_DATA_NOT_ALLOWED : 0);
        if (row->guarded)
            host_alive(&h);
        expect_violations(&h, "");
        host_deinit(&h);
    }
}

/* target_config alone protects what starts the phone. */
static void a_secure_phone_by_default(void **state)
{
    (void)state;
    struct extent lk = host_partition("lk_a"), nvram = host_partition("nvram");
    struct host h;
    at_da2(&h, BUILD_2018, MODEL_FIELD);
    board_settings(h.b)->target_config = BROM_TARGET_SBC;
    for (uint32_t section = XFLASH_BOOT1; section <= XFLASH_BOOT2; section++) {
        range_command(&h, XFLASH_WRITE_DATA, section, 0, 512);
        assert_int_equal(host_status(&h), (uint32_t)XFLASH_SEC_WRITE_DATA_NOT_ALLOWED);
    }
    range_command(&h, XFLASH_WRITE_DATA, XFLASH_USER, nvram.start_bytes, MIB + 512);
    assert_int_equal(host_status(&h), (uint32_t)XFLASH_SEC_WRITE_DATA_NOT_ALLOWED);
    range_command(&h, XFLASH_FORMAT, XFLASH_USER, lk.start_bytes, 512); /* locked ones alone */
    assert_int_equal(host_status(&h), 0);
    finish_format(&h);
    host_alive(&h);
    expect_violations(&h, "");
    /* the boot areas: what the boot ROM would start */
    struct firmware *f = NULL;
    assert_int_equal(firmware_new(PROFILE_TINY, FACTORY_VERSION, &f, NULL), 0);
    assert_int_equal(download(&h, "preloader", f->preloader.data, f->preloader.len), 0);
    f->preloader.data[0x500] ^= 1;
    assert_int_equal(download(&h, "preloader_backup", f->preloader.data, f->preloader.len),
                     (uint32_t)XFLASH_SEC_IMG_VFY_FAIL);
    f->preloader.data[0x500] ^= 1;
    uint8_t none[512] = {0};
    expect_flash(&h, AREA_BOOT1, BOOT_HEADER_BYTES, f->preloader.data, f->preloader.len);
    expect_flash(&h, AREA_BOOT2, 0, none, sizeof(none));
    firmware_free(&f);
    /* what has to be verified has to fit the agent's memory */
    assert_int_equal(download_begin(&h, "lk_a", 0x2000000 + 512),
                     (uint32_t)XFLASH_SEC_IMG_TOO_LARGE);
    host_alive(&h);
    assert_int_equal(download_begin(&h, "lk_a", 0x2000000), 0);
    host_word(&h, ABORT);
    assert_int_equal(host_status(&h), ABORT);
    host_alive(&h);
    assert_int_equal(download_begin(&h, "nvram", 0x2000000 + 512), 0); /* nobody verifies it */
    host_word(&h, ABORT);
    assert_int_equal(host_status(&h), ABORT);
    host_alive(&h);
    host_deinit(&h);
}

/* ---- control codes
 * ---------------------------------------------------------------------------------------------- */

enum { D1 = XFLASH_DA1, D2 = XFLASH_DA2, BOTH = D1 | D2 };
static const struct support {
    const char *name;
    uint32_t code;
    unsigned stages[3]; /* 2018, 2017, 2019 */
    int reply;          /* bytes; -1: a SET or ACT */
} supports[] = {
    {"GET_EMMC_INFO", 0x040001, {BOTH, D2, BOTH}, 0x60},
    {"GET_NAND_INFO", 0x040002, {D2, D2, D2}, 48},
    {"GET_NOR_INFO", 0x040003, {D2, D2, D2}, 16},
    {"GET_UFS_INFO", 0x040004, {BOTH, D2, BOTH}, 0x38},
    {"GET_DA_VERSION", 0x040005, {BOTH, BOTH, BOTH}, 3},
    {"GET_EXPIRE_DATA", 0x040006, {0, 0, 0}, 0},
    {"GET_PACKET_LENGTH", 0x040007, {BOTH, BOTH, BOTH}, 8},
    {"GET_RANDOM_ID", 0x040008, {D2, D2, D2}, 16},
    {"GET_PARTITION_TBL_CATA", 0x040009, {BOTH, BOTH, BOTH}, 4},
    {"GET_CONNECTION_AGENT", 0x04000a, {D1, D1, D1}, 9},
    {"GET_USB_SPEED", 0x04000b, {BOTH, BOTH, BOTH}, 10},
    {"GET_RAM_INFO", 0x04000c, {BOTH, BOTH, BOTH}, 48},
    {"GET_CHIP_ID", 0x04000d, {BOTH, BOTH, BOTH}, 12},
    {"GET_RPMB_STATUS", 0x040010, {BOTH, BOTH, BOTH}, 4},
    {"GET_EXPIRE_DATE", 0x040011, {0, 0, 0}, 0},
    {"GET_DRAM_TYPE", 0x040012, {D2, D2, D2}, 4},
    {"GET_DEV_FW_INFO", 0x040013, {D2, 0, D2}, 4},
    {"GET_HRID", 0x040014, {D2, 0, D2}, 16},
    {"GET_ERROR_DETAIL", 0x040015, {0, 0, 0}, 0},
    {"SLA_ENABLED_STATUS", 0x040016, {0, 0, 0}, 0},
    {"SET_CHECKSUM_LEVEL", 0x020003, {D1, D1, D1}, -1},
    {"SET_RESET_KEY", 0x020004, {D1, D1, D1}, -1},
    {"SET_BATTERY_OPT", 0x020002, {BOTH, BOTH, BOTH}, -1},
    {"SET_HOST_INFO", 0x020005, {0, 0, 0}, 0},
    {"SET_REMOTE_SEC_POLICY", 0x02000b, {D2, 0, D2}, -1},
    {"SET_RSC_INFO", 0x02000d, {D2, 0, D2}, -1},
    {"END_DL_INFO", 0x080002, {D2, D2, D2}, -2},
    {"CC_OPTIONAL_DOWNLOAD_ACT", 0x080005, {D2, 0, D2}, -2},
    {"DA_STOR_LIFE_CYCLE_CHECK", 0x080007, {0, 0, D2}, -2},
    {"mtkclient's 0x800005", 0x800005, {0, 0, 0}, 0},
};

static int reply_bytes(const struct support *row, enum da_build build)
{
    if (build != BUILD_2019)
        return row->reply;
    return row->code == 0x040001 ? 0x68 : row->code == 0x040004 ? 0xd0 : row->reply;
}

static void ask(struct host *h, const struct support *row, enum da_build build, unsigned stage)
{
    host_command(h, XFLASH_DEVICE_CTRL);
    host_word(h, row->code);
    if (!(row->stages[build] & stage)) {
        assert_int_equal(host_status(h), (uint32_t)XFLASH_UNSUPPORT_CTRL_CODE);
        host_alive(h);
        return;
    }
    assert_int_equal(host_status(h), 0);
    int bytes = reply_bytes(row, build);
    if (bytes >= 0)
        assert_int_equal(host_reply(h).len, bytes);
    else if (bytes == -1)
        host_word(h, 2);
    assert_int_equal(host_status(h), 0);
    host_alive(h);
}

static void one_support(void **state)
{
    const struct support *row = ROW(state);
    EACH_BUILD(build)
    {
        struct host h;
        host_init(&h, HOST_USER_BYTES);
        host_gpt(&h, false);
        board_settings(h.b)->da_build = build;
        host_preloader(&h);
        host_da1(&h);
        ask(&h, row, build, D1);
        host_da2(&h);
        ask(&h, row, build, D2);
        expect_violations(&h, "");
        host_deinit(&h);
    }
}

static void packet_lengths(void **state)
{
    (void)state;
    for (uint32_t os = 0; os < 2; os++) {
        struct host h;
        host_init(&h, HOST_USER_BYTES);
        h.host_os = os;
        host_preloader(&h);
        host_da1(&h);
        host_control(&h, XFLASH_GET_PACKET_LENGTH);
        struct span s = host_reply(&h);
        assert_int_equal(get_le32(s.data), 0x8000);
        assert_int_equal(get_le32(s.data + 4), 0x8000);
        assert_int_equal(host_status(&h), 0);
        host_da2(&h);
        host_control(&h, XFLASH_GET_PACKET_LENGTH);
        s = host_reply(&h);
        assert_int_equal(get_le32(s.data), 0x200000);
        assert_int_equal(get_le32(s.data + 4), os ? 0x10000 : 0x200000);
        assert_int_equal(host_status(&h), 0);
        host_deinit(&h);
    }
}

static void gets_that_fail(void **state)
{
    (void)state;
    struct host h;
    at_da2(&h, BUILD_2018, MODEL_FIELD);
    host_control(&h, XFLASH_GET_OTP_LOCK_STATUS); /* the closing status in the place of the data */
    assert_int_equal(host_status(&h), (uint32_t)XFLASH_PARTITION_NOT_FOUND);
    host_alive(&h);
    host_control(&h, XFLASH_GET_BATTERY_VOLTAGE);
    assert_int_equal(host_status(&h), 4000);
    assert_int_equal(host_status(&h), 0);
    host_control(&h, XFLASH_SET_BATTERY_OPT);
    host_word(&h, 1); /* USB power */
    assert_int_equal(host_status(&h), 0);
    host_control(&h, XFLASH_GET_BATTERY_VOLTAGE); /* data, then an error */
    assert_int_equal(host_status(&h), 0);
    assert_int_equal(host_status(&h), (uint32_t)XFLASH_UNSUPPORT_OP);
    host_alive(&h);
    host_deinit(&h);
    host_init(&h, HOST_USER_BYTES);
    host_gpt(&h, true);
    host_preloader(&h);
    host_da1(&h);
    host_da2(&h);
    host_control(&h, XFLASH_GET_OTP_LOCK_STATUS);
    assert_int_equal(host_status(&h), XFLASH_OTP_UNLOCKED);
    assert_int_equal(host_status(&h), 0);
    host_deinit(&h);
}

static void registers(void **state)
{
    (void)state;
    uint8_t param[8];
    struct host h;
    at_da2(&h, BUILD_2018, MODEL_EXACT);
    put_le32(param, 0x10007000);
    put_le32(param + 4, 0x55);
    host_control(&h, XFLASH_READ_REGISTER);
    host_packet(&h, param, 8);
    assert_int_equal(host_reply(&h).len, 8); /* even when refused */
    assert_int_equal(host_status(&h), (uint32_t)XFLASH_REG_PERMISSION_DENIED);
    put_le32(param, 0x08000000);
    host_control(&h, XFLASH_READ_REGISTER);
    host_packet(&h, param, 4);
    struct span s = host_reply(&h);
    assert_int_equal(get_le32(s.data + 4), BROM_MT6771_HW_CODE);
    assert_int_equal(host_status(&h), 0);
    put_le32(param, 0x10007000);
    host_control(&h, XFLASH_READ_REGISTER);
    host_packet(&h, param, 4);
    s = host_reply(&h);
    assert_int_equal(get_le32(s.data + 4), BROM_MT6771_HW_CODE); /* a leftover */
    assert_int_equal(host_status(&h), (uint32_t)XFLASH_REG_PERMISSION_DENIED);
    host_control(&h, XFLASH_SET_REGISTER_VALUE);
    host_packet(&h, param, 8);
    assert_int_equal(host_status(&h), (uint32_t)XFLASH_REG_PERMISSION_DENIED);
    host_alive(&h);
    host_deinit(&h);
}

static void codes_that_change_the_phone(void **state)
{
    (void)state;
    AUTO(free_ptr) uint8_t *data = host_linear(3, 1, 512);
    struct host h;
    at_da2(&h, BUILD_2018, MODEL_FIELD);
    host_control(&h, XFLASH_SET_META_BOOT_MODE);
    host_packet(&h, "\1\2\3", 3);
    assert_int_equal(host_status(&h), 0);
    expect_flash(&h, AREA_USER, host_partition("proinfo").start_bytes + 0x152,
                 (const uint8_t *)"\1\2\3", 3);
    uint64_t info = host_partition("flashinfo").start_bytes;
    assert_int_equal(download(&h, "nvram", data, 512), 0);
    expect_zeros(&h, info, 0x4400);
    host_control(&h, XFLASH_START_DL_INFO);
    assert_int_equal(host_status(&h), 0);
    assert_int_equal(download(&h, "nvram", data, 512), 0);
    uint8_t record[16], zeros[16] = {0};
    host_flash_read(&h, AREA_USER, info, record, sizeof(record));
    assert_memory_not_equal(record, zeros, sizeof(record));
    host_control(&h, XFLASH_DISABLE_EMMC_HWRESET_PIN);
    assert_int_equal(host_status(&h), 0);
    host_command(&h, XFLASH_WRITE_EFUSE);
    assert_int_equal(host_status(&h), (uint32_t)XFLASH_NOT_IMPLEMENTED);
    expect_violations(&h, "xflash.set_meta_boot_mode,xflash.start_dl_info,"
                          "xflash.irreversible_control,xflash.otp_or_efuse");
    host_deinit(&h);
}

/* Commands and control codes that are known, and whose exchanges nobody knows: status 0 comes first. */
static const struct service_row {
    const char *name;
    uint32_t code;
    bool control;
    unsigned stages[3]; /* 2018, 2017, 2019 */
} service_rows[] = {
    {"READ_OTP_ZONE", 0x01000c, false, {D2, D2, D2}},
    {"WRITE_OTP_ZONE", 0x01000d, false, {D2, D2, D2}},
    {"WRITE_EFUSE", 0x01000e, false, {D2, D2, D2}},
    {"READ_EFUSE", 0x01000f, false, {D2, D2, D2}},
    {"NAND_BMT_REMARK", 0x010010, false, {0, 0, 0}},
    {"SRAM test", 0x010011, false, {D1, D1, D1}},
    {"no such command", 0x010012, false, {0, 0, 0}},
    {"storage test", 0x0e0001, true, {0, D2, 0}},
    {"RAM test", 0x0e0002, true, {D1, D1, D1}},
};

static void service_in(struct host *h, const struct service_row *row, bool known)
{
    if (row->control)
        host_command(h, XFLASH_DEVICE_CTRL);
    host_word(h, row->code);
    if (known)
        assert_int_equal(host_status(h), 0);
    assert_int_equal(host_status(h), known          ? (uint32_t)XFLASH_NOT_IMPLEMENTED
                                     : row->control ? (uint32_t)XFLASH_UNSUPPORT_CTRL_CODE
                                                    : (uint32_t)XFLASH_UNSUPPORT_CMD);
    host_alive(h);
}

static void service_code(void **state)
{
    const struct service_row *row = ROW(state);
    EACH_BUILD(build)
    {
        struct host h;
        host_init(&h, HOST_USER_BYTES);
        board_settings(h.b)->da_build = build;
        host_preloader(&h);
        host_da1(&h);
        service_in(&h, row, row->stages[build] & D1);
        host_da2(&h);
        service_in(&h, row, row->stages[build] & D2);
        host_deinit(&h);
    }
}

static void storage_grows_old(void **state)
{
    (void)state;
    static const uint32_t closing[] = {0, 0xc003001c, 0xc003001d};
    for (unsigned life = LIFE_GOOD; life <= LIFE_WORN; life++) {
        struct host h;
        at_da2(&h, BUILD_2019, MODEL_FIELD);
        board_settings(h.b)->storage_life = (enum storage_life)life;
        host_control(&h, XFLASH_DA_STOR_LIFE_CYCLE_CHECK);
        assert_int_equal(host_status(&h), closing[life]);
        host_control(&h, XFLASH_GET_EMMC_INFO);
        assert_int_equal(host_reply(&h).data[0x60], 1 + life);
        assert_int_equal(host_status(&h), 0);
        host_alive(&h);
        host_deinit(&h);
    }
}

static void signature_is_given_once(void **state)
{
    (void)state;
    const size_t len = 6 * MIB; /* more than the phone keeps */
    AUTO(free_ptr) uint8_t *data = host_linear(3, 1, len);
    EACH_MODEL(m)
    {
        struct host h;
        at_da2(&h, BUILD_2018, m);
        host_control(&h, XFLASH_SET_ALL_IN_ONE_SIG);
        host_packet(&h, data, len);
        assert_int_equal(host_status(&h), 0);
        host_control(&h, XFLASH_SET_ALL_IN_ONE_SIG); /* its parameter is not even read */
        assert_int_equal(host_status(&h), (uint32_t)XFLASH_SEC_EXT_ALL_IN_ONE_SIG_REJECT);
        host_alive(&h);
        host_deinit(&h);
    }
}

/* ---- log, shutdown
 * ------------------------------------------------------------------------------------------------
 */

static void log_text_between_packets(void **state)
{
    (void)state;
    struct host h;
    host_init(&h, HOST_USER_BYTES);
    host_gpt(&h, false);
    h.log_channel = XFLASH_LOG_BOTH;
    host_preloader(&h);
    host_da1(&h);
    host_command(&h, XFLASH_DEVICE_CTRL);
    host_word(&h, XFLASH_GET_DA_VERSION);
    assert_int_equal(host_status(&h), 0);
    host_expect_hex(&h, "efeeeefe 02000000"); /* kind 2 */
    fake_board_take(h.b, &h.in, NULL, 0, NULL);
    uint32_t len = get_le32(h.in.data + h.at);
    h.at += 4;
    assert_int_equal(get_le32(h.in.data + h.at), 1);
    assert_memory_equal(h.in.data + h.at + len - 2, "\r\n", 2);
    h.at += len;
    assert_int_equal(host_reply(&h).len, 3);
    assert_int_equal(host_status(&h), 0);
    host_deinit(&h);
}

static const struct shutdown_case {
    const char *name;
    size_t len;
    uint32_t words[6];
    bool lenient;
    enum board_next next;
    enum board_boot_target target;
    bool download_bit, clean;
    const char *report;
} shutdowns[] = {
    {"power off", 24, {0}, false, NEXT_HALT, TARGET_NORMAL, false, true, "power off"},
    {"normal", 24, {1, 0, 0, 0}, false, NEXT_RESET, TARGET_NORMAL, false, true, "reboot: normal"},
    {"home screen",
     24,
     {1, 100, 0, 1},
     false,
     NEXT_RESET,
     TARGET_HOME,
     false,
     true,
     "reboot: home screen"},
    {"fastboot",
     24,
     {1, 0, 0, 2},
     false,
     NEXT_RESET,
     TARGET_FASTBOOT,
     false,
     true,
     "reboot: fastboot"},
    {"download mode",
     24,
     {1, 0, 0, 0, 1},
     false,
     NEXT_RESET,
     TARGET_NORMAL,
     true,
     true,
     "reboot: download mode"},
    {"2 arms nothing", 24, {2, 0, 0, 2}, false, NEXT_HALT, TARGET_NORMAL, false, true, "power off"},
    {"20 bytes work",
     20,
     {1, 0, 0, 2},
     false,
     NEXT_RESET,
     TARGET_FASTBOOT,
     false,
     false,
     "reboot: fastboot"},
    {"32 bytes do not",
     32,
     {1, 0, 0, 2},
     false,
     NEXT_HALT,
     TARGET_NORMAL,
     false,
     false,
     "none: block too long"},
    {"28 bytes do not",
     28,
     {1, 0, 0, 2},
     false,
     NEXT_HALT,
     TARGET_NORMAL,
     false,
     false,
     "none: block too long"},
    {"32 bytes, lenient",
     32,
     {1, 0, 0, 2},
     true,
     NEXT_RESET,
     TARGET_FASTBOOT,
     false,
     false,
     "reboot: fastboot"},
};

static void one_shutdown(void **state)
{
    const struct shutdown_case *row = ROW(state);
    EACH_MODEL(m)
    {
        for (int stage = 1; stage <= 2; stage++) {
            struct host h;
            host_init(&h, HOST_USER_BYTES);
            board_settings(h.b)->usb_model = m;
            board_settings(h.b)->shutdown_lenient = row->lenient;
            host_preloader(&h);
            host_da1(&h);
            if (stage == 2)
                host_da2(&h);
            uint8_t block[32] = {0};
            for (size_t i = 0; i < ARRAY_LEN(row->words); i++)
                put_le32(block + 4 * i, row->words[i]);
            host_command(&h, XFLASH_SHUTDOWN);
            host_packet(&h, block, row->len);
            assert_int_equal(host_status(&h), 0);
            assert_int_equal(fake_board_end(h.b), row->next);
            enum board_boot_target target;
            bool bit;
            fake_board_boot_target(h.b, &target, &bit);
            assert_int_equal(target, row->target);
            assert_int_equal(bit, row->download_bit);
            assert_string_equal(fake_board_shutdown(h.b), row->report);
            assert_null(fake_board_gadget(h.b));
            if (row->clean)
                expect_violations(&h, "");
            else
                assert_non_null(strstr(fake_board_violations(h.b), "xflash.shutdown_length"));
            host_deinit(&h);
        }
    }
}

static void bus_resets_and_unplugs(void **state)
{
    (void)state;
    EACH_MODEL(m)
    {
        struct host h;
        at_da2(&h, BUILD_2018, m);
        fake_board_settle(h.b);
        fake_board_bus_reset(h.b);
        fake_board_settle(h.b);
        host_alive(&h); /* an idle agent survives */
        write_begin(&h, 8 * MIB, CHUNK);
        fake_board_settle(h.b);
        fake_board_unplug(h.b);
        assert_int_equal(fake_board_end(h.b), NEXT_OFF);
        host_deinit(&h);
    }
}

/* Commands with random parameters, and noise: whatever the host sends, the phone stays in one piece. */
static void hostile_hosts(void **state)
{
    (void)state;
    uint8_t noise[600];
    for (unsigned seed = 1; seed <= 120; seed++) {
        uint64_t r = seed * 0x9e3779b97f4a7c15u;
        struct host h;
        at_da2(&h, (enum da_build)(seed % 3), (enum usb_model)(seed / 3 % 3));
        board_settings(h.b)->framing_swallow = seed & 1;
        for (int i = 0; i < 40; i++) {
            r = r * 6364136223846793005u + 1442695040888963407u;
            uint32_t a = (uint32_t)(r >> 33);
            for (size_t k = 0; k < sizeof(noise); k++)
                noise[k] = (uint8_t)(a * k >> 7);
            if (a % 4 == 0)
                host_word(&h, 0x010001 + a / 4 % 0x12);
            else if (a % 4 == 1)
                host_word(&h, a & 8 ? 0 : (0x020000u << a / 16 % 4) + a / 64 % 0x18);
            else if (a % 4 == 2)
                host_range(&h, a / 4 % 12, (uint64_t)(a >> 6) << 9, (uint64_t)(a >> 20) << 9);
            else
                host_packet(&h, noise, a / 4 % sizeof(noise));
            if (a % 61 == 0)
                host_raw(&h, noise, a % 70);
        }
        fake_board_settle(h.b);
        fake_board_unplug(h.b);
        enum board_next next = fake_board_end(h.b);
        assert_true(next == NEXT_DEAD || next == NEXT_OFF || next == NEXT_HALT ||
                    next == NEXT_RESET);
        host_deinit(&h);
    }
}

static void merged_fields(void **state)
{
    (void)state;
    size_t packets[8], count;
    struct host h;
    at_da2(&h, BUILD_2018, MODEL_EXACT);
    fake_board_take(h.b, NULL, NULL, 0, NULL);
    fake_board_fault(h.b, "merged", 0);
    host_word(&h, XFLASH_DEVICE_CTRL);
    fake_board_take(h.b, NULL, packets, ARRAY_LEN(packets), &count);
    assert_int_equal(count, 1);
    assert_int_equal(packets[0], 16);
    host_deinit(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(long_or_spoiled_commands_kill),
        cmocka_unit_test(a_death_without_further_commands_is_no_second_mistake),
        cmocka_unit_test(dead_agents_are_left_alone),
        cmocka_unit_test(short_commands_do_not),
        cmocka_unit_test(framing_inside_a_transfer),
        cmocka_unit_test(parameter_blocks),
        cmocka_unit_test(names_too_long),
        cmocka_unit_test(swallowing_goes_on),
        cmocka_unit_test(header_and_payload_together),
        cmocka_unit_test(payload_and_next_header_together),
        cmocka_unit_test(empty_transfers),
        cmocka_unit_test(pieces_that_are_not_multiples),
        cmocka_unit_test(inside_a_long_payload),
        cmocka_unit_test(short_blocks_and_other_storage),
        cmocka_unit_test(reads_in_packets_of_the_environment),
        cmocka_unit_test(read_of_nothing),
        cmocka_unit_test(read_errors_come_one_chunk_early),
        cmocka_unit_test(read_stops_with_the_hosts_value),
        cmocka_unit_test(chunk_sizes_are_free),
        cmocka_unit_test(nothing_to_write_and_boot_areas),
        cmocka_unit_test(cancel_discards_what_is_held),
        cmocka_unit_test(positive_host_status),
        cmocka_unit_test(wrong_checksums),
        cmocka_unit_test(lying_writes_and_read_back),
        cmocka_unit_test(start_inside_a_block),
        cmocka_unit_test(without_a_table),
        cmocka_unit_test(unknown_names_and_large_images),
        cmocka_unit_test(preloader_gets_its_header),
        cmocka_unit_test(sparse_images_are_expanded),
        cmocka_unit_test(upload),
        cmocka_unit_test(format_whole_blocks),
        cmocka_unit_test(format_goes_on_after_an_error),
        cmocka_unit_test(format_2017_sections),
        cmocka_unit_test(format_partition),
        cmocka_unit_test(locked_partitions_of_a_secure_phone),
        cmocka_unit_test(a_secure_phone_by_default),
        cmocka_unit_test(packet_lengths),
        cmocka_unit_test(gets_that_fail),
        cmocka_unit_test(registers),
        cmocka_unit_test(codes_that_change_the_phone),
        cmocka_unit_test(storage_grows_old),
        cmocka_unit_test(signature_is_given_once),
        cmocka_unit_test(log_text_between_packets),
        cmocka_unit_test(bus_resets_and_unplugs),
        cmocka_unit_test(hostile_hosts),
        cmocka_unit_test(merged_fields),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    failed += RUN_ROWS(one_check, checks);
    failed += RUN_ROWS(one_late, lates);
    failed += RUN_ROWS(one_support, supports);
    failed += RUN_ROWS(secure_download, secure_rows);
    failed += RUN_ROWS(service_code, service_rows);
    failed += RUN_ROWS(faulty_status, faulty_rows);
    return failed + RUN_ROWS(one_shutdown, shutdowns);
}
