/* The USB/IP side of a phone against a raw client: handshake, control requests, bulk rules,
 * unlinks, halts, comings and goings. The firmware is a script of each test. */
#include "tests/unit/rows.h"

#include <dirent.h>
#include <stdio.h>
#include <unistd.h>

#include "tests/phone/test/rig.h"
#include "usb/base/clock.h"
#include "usb/base/mem.h"

static struct rig rig;
static struct reply reply;

static int setup_one(void **state)
{
    (void)state;
    rig_start(&rig, 1);
    return 0;
}

static int setup_two(void **state)
{
    (void)state;
    rig_start(&rig, 2);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    rig_stop(&rig);
    return 0;
}

/* Frames an action: on the bus, configured, then what the test wants, then until the cable is
 * pulled. */
static enum board_next on_bus(struct board *b, void (*action)(struct board *b))
{
    if (board_usb_attach(b, &rig_gadget) < 0)
        return NEXT_OFF;
    if (board_usb_configured(b, -1) == BOARD_OK)
        action(b);
    board_wait_cable(b, false, -1);
    return NEXT_OFF;
}

/* Pulls the cable once the firmware has taken everything. */
static void end_session(int fd)
{
    rig_drain(rig.boards[0]);
    board_cable_set(rig.boards[0], false);
    rig_wait(rig.boards[0], rig_is_off);
    close(fd);
}

/* ---- handshake
 * ------------------------------------------------------------------------------------ */

static void nothing(struct board *b)
{
    (void)b;
}

static enum board_next idle_rom(struct board *b)
{
    return on_bus(b, nothing);
}

static size_t listed(void)
{
    uint8_t got[4096];
    size_t len = 0;
    int fd = client_connect(&rig);
    assert_int_equal(write(fd, "\x01\x11\x80\x05\0\0\0\0", 8), 8);
    for (ssize_t n; (n = read(fd, got + len, sizeof(got) - len)) > 0;)
        len += (size_t)n;
    close(fd);
    assert_memory_equal(got, "\x01\x11\x00\x05\0\0\0\0\0\0\0", 11);
    size_t count = got[11];
    assert_int_equal(len, 12 + count * (312 + 2 * 4)); /* two interfaces each */
    if (count) {
        const uint8_t *record = got + 12;
        assert_string_equal((const char *)record + 0x100, "1-1");
        assert_memory_equal(record + 0x128, "\0\0\0\x03\x0e\x8d\x00\x03\x01\x00\x02\0\0\0\x01\x02",
                            16);
        assert_memory_equal(record + 0x138, "\x02\x02\x01\0\x0a\0\0\0", 8);
    }
    return count;
}

static void listed_only_on_the_bus(void **state)
{
    (void)state;
    int fd, second;
    rig_firmware.brom = idle_rom;
    assert_int_equal(listed(), 0);
    assert_int_equal(client_try_import(&rig, "1-1", &fd), USBIP_ST_NODEV);
    rig_enter_brom(&rig, 0);
    assert_int_equal(listed(), 1);
    assert_int_equal(client_try_import(&rig, "1-9", &fd), USBIP_ST_NODEV);
    assert_int_equal(client_try_import(&rig, "1-1", &fd), USBIP_ST_OK);
    assert_int_equal(client_try_import(&rig, "1-1", &second), USBIP_ST_BUSY);
    board_cable_set(rig.boards[0], false);
    assert_int_equal(client_reply(fd, false, &reply), -1);
    rig_wait(rig.boards[0], rig_is_off);
    assert_int_equal(listed(), 0);
    close(fd);
}

static bool is_free(const struct board *b)
{
    return !b->usb.link;
}

static void killed_client_frees_the_phone(void **state)
{
    (void)state;
    rig_firmware.brom = idle_rom;
    rig_enter_brom(&rig, 0);
    close(client_open(&rig, "1-1"));
    rig_wait(rig.boards[0], is_free);
    assert_int_equal(listed(), 1);
    int fd = client_open(&rig, "1-1");
    close(fd);
}

static void nonsense_ends_the_connection(void **state)
{
    (void)state;
    rig_firmware.brom = idle_rom;
    rig_enter_brom(&rig, 0);
    int fd = client_connect(&rig);
    assert_int_equal(write(fd, "GET / HTTP/1.0\r\n\r\n", 18), 18);
    assert_int_equal(client_reply(fd, false, &reply), -1);
    close(fd);
    fd = client_open(&rig, "1-1");
    client_submit(fd, 9, 0x81, 0x7fffffff, NULL, 0); /* larger than any request we take */
    assert_int_equal(client_reply(fd, false, &reply), -1);
    close(fd);
}

/* ---- endpoint 0
 * ------------------------------------------------------------------------------------ */

static void control_requests(void **state)
{
    (void)state;
    static const struct {
        uint8_t setup[8];
        int want;
    } rows[] = {
        {{0x80, 6, 0, 1, 0, 0, 18, 0}, 18},    {{0x80, 6, 0, 2, 0, 0, 9, 0}, 9},
        {{0x80, 6, 0, 2, 0, 0, 255, 0}, 53},   {{0x80, 6, 0, 3, 0, 0, 255, 0}, 4},
        {{0x80, 6, 1, 3, 9, 4, 255, 0}, 12},   {{0x80, 6, 3, 3, 9, 4, 255, 0}, -32},
        {{0x80, 6, 0, 15, 0, 0, 5, 0}, -32},   {{0x80, 6, 0, 6, 0, 0, 10, 0}, -32},
        {{0x80, 8, 0, 0, 0, 0, 1, 0}, 1},      {{0x80, 0, 0, 0, 0, 0, 2, 0}, 2},
        {{0x82, 0, 0, 0, 0x81, 0, 2, 0}, 2},   {{0x82, 0, 0, 0, 0x85, 0, 2, 0}, -32},
        {{0x01, 11, 0, 0, 1, 0, 0, 0}, 0},     {{0x81, 10, 0, 0, 1, 0, 1, 0}, 1},
        {{0x01, 11, 1, 0, 1, 0, 0, 0}, -32},   {{0x00, 9, 2, 0, 0, 0, 0, 0}, -32},
        {{0x00, 3, 1, 0, 0, 0, 0, 0}, 0},      {{0x00, 0x31, 40, 0, 0, 0, 0, 0}, -32},
        {{0xc0, 0x77, 0, 0, 0, 0, 4, 0}, -32}, {{0x02, 1, 0, 0, 0x81, 0, 0, 0}, 0},
    };
    uint8_t in[256];
    rig_firmware.brom = idle_rom;
    rig_enter_brom(&rig, 0);
    int fd = client_open(&rig, "1-1");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_int_equal(client_control(fd, (uint32_t)i + 10, rows[i].setup, NULL, in),
                         rows[i].want);
    const uint8_t store[8] = {0x40, 0x50, 0, 0, 0, 0, 3}, fetch[8] = {0xc0, 0x51, 0, 0, 0, 0, 3};
    assert_int_equal(client_control(fd, 90, store, "abc", NULL), 3);
    assert_int_equal(client_control(fd, 91, fetch, NULL, in), 3);
    assert_memory_equal(in, "abc", 3);
    /* requests whose direction is not what their setup packet says: nobody brings the data, nobody takes it */
    assert_int_equal(client_control_as(fd, 92, store, true, NULL, in), -32);
    assert_int_equal(client_control_as(fd, 93, fetch, false, "xyz", NULL), -32);
    assert_int_equal(client_control(fd, 94, fetch, NULL, in), 3);
    assert_memory_equal(in, "abc", 3);
    close(fd);
}

static int resets_seen;

static void count_resets(struct board *b)
{
    uint8_t byte;
    for (;;) {
        if (board_out_stream(b, &byte, 1, -1) == BOARD_OK)
            continue;
        if (board_usb_configured(b, -1) < 0)
            return;
        resets_seen++;
    }
}

static enum board_next reset_rom(struct board *b)
{
    return on_bus(b, count_resets);
}

static void descriptor_of_64_bytes_is_a_bus_reset(void **state)
{
    (void)state;
    const uint8_t reset[8] = {0x80, 6, 0, 1, 0, 0, 64}, which[8] = {0x80, 8, 0, 0, 0, 0, 1};
    uint8_t in[64];
    resets_seen = 0;
    rig_firmware.brom = reset_rom;
    rig_enter_brom(&rig, 0);
    int fd = client_open(&rig, "1-1");
    client_submit(fd, 29, 0x01, 1, "x", 0); /* the firmware is there when it has taken this */
    assert_int_equal(client_reply(fd, false, &reply), 0);
    rig_drain(rig.boards[0]);
    client_submit(fd, 30, 0x81, 512, NULL, 0);
    assert_int_equal(client_control(fd, 31, which, NULL, in), 1);
    assert_int_equal(in[0], 1);
    uint8_t head[48] = {0, 0, 0, 1, 0, 0, 0, 32, 0, 0, 0, 0, 0, 0, 0, 1};
    head[27] = 64;
    memcpy(head + 40, reset, 8);
    assert_int_equal(write(fd, head, sizeof(head)), 48);
    assert_int_equal(client_reply(fd, true, &reply), 0); /* the waiting request fails first */
    assert_int_equal(reply.seqnum, 30);
    assert_int_equal(reply.status, -71);
    assert_int_equal(client_reply(fd, true, &reply), 0);
    assert_int_equal(reply.seqnum, 32);
    assert_int_equal(reply.actual, 18);
    assert_int_equal(client_control(fd, 33, which, NULL, in), 1);
    assert_int_equal(in[0], 0);
    client_configure(fd);
    client_submit(fd, 34, 0x01, 1, "x", 0);
    assert_int_equal(client_reply(fd, false, &reply), 0);
    end_session(fd);
    assert_int_equal(resets_seen, 1);
}

/* ---- bulk
 * ------------------------------------------------------------------------------------------- */

static uint8_t pattern[200000];

static void make_pattern(void)
{
    for (size_t i = 0; i < sizeof(pattern); i++)
        pattern[i] = (uint8_t)(i * 7 + i / 251);
}

static enum in_end end_rule;
static size_t in_bytes;

static void send_some(struct board *b)
{
    board_in(b, pattern, in_bytes, end_rule, -1);
}

static enum board_next sending_rom(struct board *b)
{
    return on_bus(b, send_some);
}

/* Answers to two requests of 1024 bytes; -1: none comes. */
static const struct in_row {
    const char *name;
    size_t bytes;
    enum in_end end;
    int first, second;
} in_rows[] = {
    {"short packet ends", 100, IN_PACKETS, 100, -1},
    {"full packet and short one", 700, IN_PACKETS, 700, -1},
    {"multiple of the packet size is held", 512, IN_PACKETS, -1, -1},
    {"empty packet ends it", 512, IN_ZLP, 512, -1},
    {"field ends it", 512, IN_FIELD, 512, -1},
    {"full request needs no end", 1024, IN_PACKETS, 1024, -1},
    {"full request, then an empty packet", 1024, IN_ZLP, 1024, 0},
    {"full request, field adds nothing", 1024, IN_FIELD, 1024, -1},
    {"over two requests", 1500, IN_PACKETS, 1024, 476},
    {"over two requests, second held", 1536, IN_PACKETS, 1024, -1},
    {"nothing but an empty packet", 0, IN_ZLP, 0, -1},
    {"nothing at all", 0, IN_FIELD, -1, -1},
};

static void in_row(void **state)
{
    const struct in_row *row = ROW(state);
    make_pattern();
    rig_start(&rig, 1);
    end_rule = row->end;
    in_bytes = row->bytes;
    rig_firmware.brom = sending_rom;
    rig_enter_brom(&rig, 0);
    int fd = client_open(&rig, "1-1");
    client_submit(fd, 20, 0x81, 1024, NULL, 0);
    client_submit(fd, 21, 0x81, 1024, NULL, 0);
    size_t at = 0;
    const int want[2] = {row->first, row->second};
    for (uint32_t i = 0; i < 2 && want[i] >= 0; i++) {
        assert_int_equal(client_reply(fd, true, &reply), 0);
        assert_int_equal(reply.seqnum, 20 + i);
        assert_int_equal(reply.status, 0);
        assert_int_equal(reply.actual, want[i]);
        assert_memory_equal(reply.data, pattern + at, reply.actual);
        at += reply.actual;
    }
    assert_true(client_silent(fd));
    close(fd);
    rig_stop(&rig);
}

static void babble(void **state)
{
    (void)state;
    make_pattern();
    end_rule = IN_PACKETS;
    in_bytes = 1024 + 10;
    rig_firmware.brom = sending_rom;
    rig_enter_brom(&rig, 0);
    int fd = client_open(&rig, "1-1");
    client_submit(fd, 20, 0x81, 600, NULL, 0); /* the second packet does not fit */
    client_submit(fd, 21, 0x81, 512, NULL, 0);
    assert_int_equal(client_reply(fd, true, &reply), 0);
    assert_int_equal(reply.status, -75);
    assert_int_equal(reply.actual, 600);
    assert_int_equal(client_reply(fd, true, &reply), 0);
    assert_int_equal(reply.status, 0);
    assert_int_equal(reply.actual, 10);
    assert_memory_equal(reply.data, pattern + 1024, 10);
    close(fd);
}

static uint8_t heard[sizeof(pattern)];
static size_t heard_len;
static ssize_t heard_sizes[16];
static size_t heard_count, surplus;

static void hear_packets(struct board *b)
{
    ssize_t n;
    heard_len = heard_count = 0;
    while (heard_count < ARRAY_LEN(heard_sizes) &&
           (n = board_out_packet(b, heard + heard_len, -1)) >= 0) {
        heard_len += (size_t)n;
        heard_sizes[heard_count++] = n;
    }
}

static enum board_next hearing_rom(struct board *b)
{
    return on_bus(b, hear_packets);
}

static void out_is_cut_into_packets(void **state)
{
    (void)state;
    const ssize_t want[] = {512, 188, 0, 512, 0, 512, 512, 3};
    make_pattern();
    rig_firmware.brom = hearing_rom;
    rig_enter_brom(&rig, 0);
    int fd = client_open(&rig, "1-1");
    client_submit(fd, 20, 0x01, 700, pattern, 0x40);       /* ZERO_PACKET, but a short end */
    client_submit(fd, 21, 0x01, 0, NULL, 0);               /* an empty transfer */
    client_submit(fd, 22, 0x01, 512, pattern + 700, 0x40); /* ended by an empty packet */
    client_submit(fd, 23, 0x01, 1024, pattern + 1212, 0);  /* not ended */
    client_submit(fd, 24, 0x01, 3, pattern + 2236, 0);
    for (uint32_t i = 0; i < 5; i++) {
        assert_int_equal(client_reply(fd, false, &reply), 0);
        assert_int_equal(reply.seqnum, 20 + i);
        assert_int_equal(reply.status, 0);
    }
    assert_int_equal(reply.actual, 3);
    end_session(fd);
    assert_int_equal(heard_count, ARRAY_LEN(want));
    for (size_t i = 0; i < ARRAY_LEN(want); i++)
        assert_int_equal(heard_sizes[i], want[i]);
    assert_memory_equal(heard, pattern, heard_len);
}

static void hear_whole_packets(struct board *b)
{
    heard_count = 0;
    surplus = 99;
    board_out_packets(b, heard, 1000, &surplus, -1);
    heard_sizes[0] = board_out_request(b, heard + 1000, 16384, -1);
    heard_sizes[1] = board_out_transfer(b, heard + 30000, 10, -1);
    heard_sizes[2] = board_out_stream(b, heard + 40000, 8, -1);
}

static enum board_next whole_packets_rom(struct board *b)
{
    return on_bus(b, hear_whole_packets);
}

static void ways_of_reading(void **state)
{
    (void)state;
    make_pattern();
    rig_firmware.brom = whole_packets_rom;
    rig_enter_brom(&rig, 0);
    int fd = client_open(&rig, "1-1");
    client_submit(fd, 20, 0x01, 0, NULL, 0);              /* skipped by packets */
    client_submit(fd, 21, 0x01, 1024, pattern, 0);        /* 1000 wanted, 24 lost */
    client_submit(fd, 22, 0x01, 1024, pattern + 2000, 0); /* a request over two transfers */
    client_submit(fd, 23, 0x01, 100, pattern + 3024, 0);
    client_submit(fd, 24, 0x01, 50, pattern + 5000, 0); /* 10 of a transfer */
    client_submit(fd, 25, 0x01, 3, pattern + 6000, 0);  /* a stream over three */
    client_submit(fd, 26, 0x01, 0, NULL, 0);
    client_submit(fd, 27, 0x01, 5, pattern + 6003, 0);
    for (uint32_t i = 0; i < 8; i++)
        assert_int_equal(client_reply(fd, false, &reply), 0);
    end_session(fd);
    assert_int_equal(surplus, 24);
    assert_memory_equal(heard, pattern, 1000);
    assert_int_equal(heard_sizes[0], 1124);
    assert_memory_equal(heard + 1000, pattern + 2000, 1124);
    assert_int_equal(heard_sizes[1], 10);
    assert_memory_equal(heard + 30000, pattern + 5000, 10);
    assert_int_equal(heard_sizes[2], 0);
    assert_memory_equal(heard + 40000, pattern + 6000, 8);
}

static const struct {
    size_t asked, got;
    unsigned manners;
} requests[] = {{512, 512, 0}, {512, 512, OUT_MORE}, {512, 512, OUT_MORE}, {512, 88, 0}, {4, 4, OUT_MORE}};
static unsigned manners[ARRAY_LEN(requests)];

static void hear_requests(struct board *b)
{
    for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
        heard_sizes[i] = board_out_request(b, heard, requests[i].asked, -1);
        manners[i] = board_out_manners(b);
    }
}

static enum board_next requests_rom(struct board *b)
{
    return on_bus(b, hear_requests);
}

/* A request that is full does not say by itself whether the host had more. */
static void a_request_tells_what_lies_behind_it(void **state)
{
    (void)state;
    make_pattern();
    rig_firmware.brom = requests_rom;
    rig_enter_brom(&rig, 0);
    int fd = client_open(&rig, "1-1");
    client_submit(fd, 20, 0x01, 512, pattern, 0);
    client_submit(fd, 21, 0x01, 1024 + 88, pattern, 0);
    client_submit(fd, 22, 0x01, 512, pattern, 0); /* into 4 bytes */
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(client_reply(fd, false, &reply), 0);
    end_session(fd);
    for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
        assert_int_equal(heard_sizes[i], requests[i].got);
        assert_int_equal(manners[i], requests[i].manners);
    }
}

/* A deaf phone takes what fits its FIFO, and lets the rest wait. */
static void out_waits_for_the_firmware(void **state)
{
    (void)state;
    rig_firmware.brom = idle_rom;
    rig_enter_brom(&rig, 0);
    int fd = client_open(&rig, "1-1");
    client_submit(fd, 20, 0x01, 4, "abcd", 0);
    client_submit(fd, 21, 0x01, 4, "efgh", 0);
    client_submit(fd, 22, 0x01, 4, "ijkl", 0);
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(client_reply(fd, false, &reply), 0);
        assert_int_equal(reply.seqnum, 20 + i);
        assert_int_equal(reply.actual, 4);
    }
    assert_true(client_silent(fd));
    client_unlink(fd, 23, 22);
    assert_int_equal(client_reply(fd, false, &reply), 0);
    assert_int_equal(reply.command, 4);
    assert_int_equal(reply.seqnum, 23);
    assert_int_equal(reply.status, -104);
    close(fd);
}

/* ---- unlink
 * ----------------------------------------------------------------------------------------- */

static void unlink_waiting_answered_unknown(void **state)
{
    (void)state;
    make_pattern();
    end_rule = IN_PACKETS;
    in_bytes = 5;
    rig_firmware.brom = sending_rom;
    rig_enter_brom(&rig, 0);
    int fd = client_open(&rig, "1-1");
    client_submit(fd, 20, 0x81, 512, NULL, 0);
    assert_int_equal(client_reply(fd, true, &reply), 0);
    assert_int_equal(reply.actual, 5);
    client_submit(fd, 21, 0x81, 512, NULL, 0);
    client_submit(fd, 22, 0x83, 64, NULL, 0); /* interrupt endpoint: waits for ever */
    const struct {
        uint32_t victim;
        int status;
    } rows[] = {{22, -104}, {21, -104}, {21, 0}, {20, 0}, {12345, 0}};
    for (uint32_t i = 0; i < ARRAY_LEN(rows); i++) {
        client_unlink(fd, 30 + i, rows[i].victim);
        assert_int_equal(client_reply(fd, false, &reply), 0);
        assert_int_equal(reply.command, 4);
        assert_int_equal(reply.seqnum, 30 + i);
        assert_int_equal(reply.status, rows[i].status);
    }
    close(fd);
}

/* Packets that the host has confirmed on the wire come back with the unlink. */
static void unlink_keeps_gathered_packets(void **state)
{
    (void)state;
    make_pattern();
    end_rule = IN_PACKETS;
    in_bytes = 1024;
    rig_firmware.brom = sending_rom;
    rig_enter_brom(&rig, 0);
    int fd = client_open(&rig, "1-1");
    client_submit(fd, 20, 0x81, 4096, NULL, 0);
    assert_true(client_silent(fd));
    client_unlink(fd, 21, 20);
    assert_int_equal(client_reply(fd, true, &reply), 0);
    assert_int_equal(reply.command, 3);
    assert_int_equal(reply.actual, 1024);
    assert_memory_equal(reply.data, pattern, 1024);
    assert_int_equal(client_reply(fd, true, &reply), 0);
    assert_int_equal(reply.command, 4);
    assert_int_equal(reply.status, 0);
    close(fd);
}

static void send_counted(struct board *b)
{
    for (uint32_t i = 0; board_in(b, &i, sizeof(i), IN_PACKETS, -1) == BOARD_OK; i++)
        usleep(i * 37 % 120);
}

static enum board_next counting_rom(struct board *b)
{
    return on_bus(b, send_counted);
}

/* The firmware answers while the unlink comes in: either order, exactly one answer each, nothing
 * lost. */
static void unlink_races(void **state)
{
    (void)state;
    uint32_t next = 0, won = 0, cancelled = 0;
    rig_firmware.brom = counting_rom;
    rig_enter_brom(&rig, 0);
    int fd = client_open(&rig, "1-1");
    for (uint32_t i = 0; i < 2000; i++) {
        uint32_t seqnum = 100 + 2 * i;
        client_submit(fd, seqnum, 0x81, 512, NULL, 0);
        if (i % 3 == 0)
            usleep(i % 50);
        client_unlink(fd, seqnum + 1, seqnum);
        assert_int_equal(client_reply(fd, true, &reply), 0);
        if (reply.command == 3) {
            assert_int_equal(reply.seqnum, seqnum);
            assert_int_equal(reply.actual, 4);
            assert_memory_equal(reply.data, &next, 4);
            next++;
            won++;
            assert_int_equal(client_reply(fd, true, &reply), 0);
            assert_int_equal(reply.status, 0);
        } else {
            assert_int_equal(reply.status, -104);
            cancelled++;
        }
        assert_int_equal(reply.command, 4);
        assert_int_equal(reply.seqnum, seqnum + 1);
    }
    print_message("answered first %u, cancelled %u\n", won, cancelled);
    close(fd);
}

/* ---- halts
 * ------------------------------------------------------------------------------------------ */

static void halt_and_clear(void **state)
{
    (void)state;
    const uint8_t status_in[8] = {0x82, 0, 0, 0, 0x81, 0, 2}, clear[8] = {0x02, 1, 0, 0, 0x81},
                  set[8] = {0x02, 3, 0, 0, 0x81};
    uint8_t in[2];
    make_pattern();
    end_rule = IN_PACKETS;
    in_bytes = 7;
    rig_firmware.brom = sending_rom;
    assert_int_equal(fault_plan_add(&rig.boards[0]->faults, "stall@transfer=1", NULL), 0);
    rig_enter_brom(&rig, 0);
    int fd = client_open(&rig, "1-1");
    client_submit(fd, 20, 0x01, 3, "abc", 0); /* OUT halts, and nothing but OUT */
    client_submit(fd, 21, 0x01, 3, "abc", 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(client_reply(fd, false, &reply), 0);
        assert_int_equal(reply.status, -32);
        assert_int_equal(reply.actual, 0);
    }
    assert_int_equal(client_control(fd, 22, status_in, NULL, in), 2);
    assert_int_equal(in[0], 0);
    assert_int_equal(client_control(fd, 23, set, NULL, NULL), 0);
    assert_int_equal(client_control(fd, 24, status_in, NULL, in), 2);
    assert_int_equal(in[0], 1);
    client_submit(fd, 25, 0x81, 512, NULL, 0);
    assert_int_equal(client_reply(fd, true, &reply), 0);
    assert_int_equal(reply.status, -32);
    assert_int_equal(client_control(fd, 26, clear, NULL, NULL), 0);
    client_submit(fd, 27, 0x81, 512, NULL, 0);
    assert_int_equal(client_reply(fd, true, &reply), 0);
    assert_int_equal(reply.status, 0);
    assert_int_equal(reply.actual, 7);
    client_submit(fd, 28, 0x01, 3, "abc", 0);
    assert_int_equal(client_reply(fd, false, &reply), 0);
    assert_int_equal(reply.status, -32);
    client_configure(fd); /* clears every halt */
    client_submit(fd, 29, 0x01, 3, "abc", 0);
    assert_int_equal(client_reply(fd, false, &reply), 0);
    assert_int_equal(reply.status, 0);
    client_submit(fd, 30, 0x85, 3, NULL, 0); /* no such endpoint */
    assert_int_equal(client_reply(fd, true, &reply), 0);
    assert_int_equal(reply.status, -32);
    close(fd);
}

/* ---- faults on the transfers
 * ------------------------------------------------------------------------ */

static void echo(struct board *b)
{
    uint8_t buf[64];
    for (ssize_t n; (n = board_out_transfer(b, buf, sizeof(buf), -1)) >= 0;)
        board_in(b, buf, (size_t)n, IN_FIELD, -1);
}

static enum board_next echo_rom(struct board *b)
{
    return on_bus(b, echo);
}

static const struct fault_row {
    const char *name, *spec;
    int out_status, out_actual, in_actual; /* -1: the connection ends, -2: nothing comes back */
    const char *in;
    int least_ms; /* that the exchange takes */
} fault_rows[] = {
    {"none", NULL, 0, 8, 8, "abcdefgh", 0},
    {"later", "corrupt@transfer=3", 0, 8, 8, "abcdefgh", 0},
    {"short out", "short@transfer=1", 0, 4, 4, "abcd", 0},
    {"short in", "short@transfer=2", 0, 8, 4, "abcd", 0},
    {"late in", "late@transfer=2@ms=80", 0, 8, 8, "abcdefgh", 80},
    {"late out", "late@transfer=1@ms=80", 0, 8, 8, "abcdefgh", 80},
    {"late by the usual time", "late@transfer=2", 0, 8, 8, "abcdefgh", FAULT_LATE_MS / 50},
    {"endless NAK in", "nak@transfer=2", 0, 8, -2, NULL, 0},
    {"garbage out", "garbage@transfer=1@seed=4", 0, 8, 8, NULL, 0},
    {"long in", "long@transfer=2", 0, 8, 8 + FAULT_LONG_BYTES, "abcdefgh", 0},
    {"babble in", "babble@transfer=2", 0, 8, -75, NULL, 0},
    {"babble is nothing out", "babble@transfer=1", 0, 8, 8, "abcdefgh", 0},
    {"other kind of transfer", "stall@control=40", 0, 8, 8, "abcdefgh", 0},
    {"corrupt out", "corrupt@transfer=1@seed=9", 0, 8, 8, "a`cdefgh", 0},
    {"corrupt in", "corrupt@byte=9@seed=9", 0, 8, 8, "a`cdefgh", 0},
    {"lie out", "lie@transfer=1", 0, 8, -2, NULL, 0},
    {"lie in", "lie@transfer=2", 0, 8, 0, "", 0},
    {"unplug out", "unplug@transfer=1", -1, 0, -1, NULL, 0},
    {"unplug in", "unplug@step=brom@transfer=2", 0, 8, -1, NULL, 0},
    {"stall in", "stall@step=1@transfer=2", 0, 8, -32, NULL, 0},
    {"other step", "stall@step=2@transfer=2", 0, 8, 8, "abcdefgh", 0},
    {"reset out", "reset@transfer=1", -71, 0, -2, NULL, 0},
};

static void fault_row(void **state)
{
    const struct fault_row *row = ROW(state);
    rig_start(&rig, 1);
    clock_scale_set(0.02); /* "late" without a time is meant for hosts, not for tests */
    rig_firmware.brom = echo_rom;
    if (row->spec)
        assert_int_equal(fault_plan_add(&rig.boards[0]->faults, row->spec, NULL), 0);
    rig_enter_brom(&rig, 0);
    int fd = client_open(&rig, "1-1");
    int64_t start_ms = clock_now_ms();
    client_submit(fd, 20, 0x01, 8, "abcdefgh", 0);
    int rc = client_reply(fd, false, &reply);
    assert_int_equal(rc < 0 ? -1 : reply.status, row->out_status);
    if (row->out_status == 0) {
        assert_int_equal(reply.actual, row->out_actual);
        client_submit(fd, 21, 0x81, 512, NULL, 0);
        if (row->in_actual == -2) {
            assert_true(client_silent(fd));
        } else {
            rc = client_reply(fd, true, &reply);
            assert_int_equal(rc < 0             ? -1
                             : reply.status < 0 ? reply.status
                                                : (int)reply.actual,
                             row->in_actual);
            if (row->in)
                assert_memory_equal(reply.data, row->in, strlen(row->in));
        }
    }
    assert_true(clock_now_ms() - start_ms >= row->least_ms);
    close(fd);
    rig_stop(&rig);
}

/* A phone that NAKs takes nothing and brings nothing, but lets go of what is taken back. */
static void endless_nak_out(void **state)
{
    (void)state;
    rig_firmware.brom = echo_rom;
    assert_int_equal(fault_plan_add(&rig.boards[0]->faults, "nak@transfer=1", NULL), 0);
    rig_enter_brom(&rig, 0);
    int fd = client_open(&rig, "1-1");
    client_submit(fd, 20, 0x01, 8, "abcdefgh", 0);
    assert_true(client_silent(fd));
    client_unlink(fd, 21, 20);
    assert_int_equal(client_reply(fd, false, &reply), 0);
    assert_int_equal(reply.command, 4);
    assert_int_equal(reply.status, -104);
    client_configure(fd);
    close(fd);
}

/* The device descriptor of 18 bytes, asked for by the first control transfer. */
static const struct control_fault_row {
    const char *name, *spec;
    int want; /* bytes or status; -1000: the connection ends */
    bool same;
} control_fault_rows[] = {
    {"none", NULL, 18, true},
    {"bulk only", "stall@transfer=1", 18, true},
    {"stall", "stall@control=1", -32, false},
    {"reset", "reset@control=1", -71, false},
    {"short", "short@control=1", 9, true},
    {"long", "long@control=1", 18 + FAULT_LONG_BYTES, true},
    {"babble", "babble@control=1", -75, false},
    {"nothing", "lie@control=1", 0, true},
    {"garbage descriptor", "garbage@control=1@seed=3", 18, false},
    {"late", "late@control=1@ms=30", 18, true},
    {"unplugged", "unplug@control=1", -1000, false},
    {"second", "stall@control=2", 18, true},
};

static void control_fault(void **state)
{
    const struct control_fault_row *row = ROW(state);
    const uint8_t setup[8] = {0x80, 6, 0, 1, 0, 0, 200};
    uint8_t in[256];
    int fd = -1;
    rig_start(&rig, 1);
    rig_firmware.brom = echo_rom;
    if (row->spec)
        assert_int_equal(fault_plan_add(&rig.boards[0]->faults, row->spec, NULL), 0);
    rig_enter_brom(&rig, 0);
    assert_int_equal(client_try_import(&rig, "1-1", &fd), 0);
    assert_int_equal(client_control(fd, 5, setup, NULL, in), row->want);
    if (row->want > 0)
        assert_int_equal(memcmp(in, rig_gadget.device_desc, MIN_OF((size_t)row->want, 18u)) == 0,
                         row->same);
    close(fd);
    rig_stop(&rig);
}

static int stream_result;

static void swallow(struct board *b)
{
    stream_result = board_out_stream(b, heard, sizeof(heard), -1);
}

static enum board_next swallowing_rom(struct board *b)
{
    return on_bus(b, swallow);
}

/* ---- speed
 * ------------------------------------------------------------------------------------------- */

enum { PACED_BYTES = 65536, PACED_RATE = 1000000, PACED_MS = 65 };
static int64_t flash_ms[2]; /* what write and read took */

static void use_flash(struct board *b)
{
    static uint8_t data[PACED_BYTES];
    int64_t start_ms = clock_now_ms();
    board_flash_write(b, AREA_USER, 0, data, sizeof(data));
    flash_ms[0] = clock_now_ms() - start_ms;
    start_ms += flash_ms[0];
    board_flash_read(b, AREA_USER, 0, data, sizeof(data));
    flash_ms[1] = clock_now_ms() - start_ms;
    board_in(b, data, 1, IN_FIELD, -1);
}

static enum board_next flash_rom(struct board *b)
{
    return on_bus(b, use_flash);
}

/* N bytes take at least N / rate, whatever else the machine does. */
static void rates_are_kept(void **state)
{
    (void)state;
    struct board_settings *s = board_settings(rig.boards[0]);
    make_pattern();
    clock_scale_set(1);
    s->high_speed_bytes_per_s = PACED_RATE;
    rig_firmware.brom = swallowing_rom;
    rig_enter_brom(&rig, 0);
    int fd = client_open(&rig, "1-1");
    int64_t start_ms = clock_now_ms();
    client_submit(fd, 20, 0x01, PACED_BYTES, pattern, 0);
    assert_int_equal(client_reply(fd, false, &reply), 0);
    assert_true(clock_now_ms() - start_ms >= PACED_MS);
    end_session(fd);

    rig_firmware.brom = sending_rom;
    end_rule = IN_FIELD;
    in_bytes = PACED_BYTES;
    rig_enter_brom(&rig, 0);
    fd = client_open(&rig, "1-1");
    start_ms = clock_now_ms();
    client_submit(fd, 20, 0x81, PACED_BYTES, NULL, 0);
    assert_int_equal(client_reply(fd, true, &reply), 0);
    assert_int_equal(reply.actual, PACED_BYTES);
    assert_true(clock_now_ms() - start_ms >= PACED_MS);
    end_session(fd);

    s->high_speed_bytes_per_s = 0;
    s->emmc_write_bytes_per_s = PACED_RATE;
    s->emmc_read_bytes_per_s = 2 * PACED_RATE;
    rig_firmware.brom = flash_rom;
    rig_enter_brom(&rig, 0);
    fd = client_open(&rig, "1-1");
    client_submit(fd, 20, 0x81, 512, NULL, 0);
    assert_int_equal(client_reply(fd, true, &reply), 0);
    assert_true(flash_ms[0] >= PACED_MS);
    assert_true(flash_ms[1] >= PACED_MS / 2);
    end_session(fd);
}

/* ---- comings and goings
 * ----------------------------------------------------------------------------- */

static void unplug_in_the_middle(void **state)
{
    (void)state;
    make_pattern();
    rig_firmware.brom = swallowing_rom;
    stream_result = 1;
    rig_enter_brom(&rig, 0);
    int fd = client_open(&rig, "1-1");
    client_submit(fd, 20, 0x01, 100000, pattern, 0);
    assert_int_equal(client_reply(fd, false, &reply), 0);
    board_cable_set(rig.boards[0], false);
    assert_int_equal(client_reply(fd, false, &reply), -1);
    rig_wait(rig.boards[0], rig_is_off);
    assert_int_equal(stream_result, BOARD_GONE);
    rig_enter_brom(&rig, 0); /* and back, as a new device */
    int again = client_open(&rig, "1-1");
    close(fd);
    close(again);
}

static void two_phones_at_once(void **state)
{
    (void)state;
    int fd[2];
    rig_firmware.brom = echo_rom;
    rig_enter_brom(&rig, 0);
    rig_enter_brom(&rig, 1);
    fd[0] = client_open(&rig, "1-1");
    fd[1] = client_open(&rig, "1-2");
    for (uint32_t i = 0; i < 300; i++)
        for (int p = 0; p < 2; p++) {
            char text[16];
            snprintf(text, sizeof(text), "%d-%05u", p, i);
            client_submit(fd[p], 100 + 2 * i, 0x81, 512, NULL, 0);
            client_submit(fd[p], 101 + 2 * i, 0x01, 8, text, 0);
            assert_int_equal(client_reply(fd[p], false, &reply), 0);
            assert_int_equal(reply.seqnum, 101 + 2 * i);
            assert_int_equal(client_reply(fd[p], true, &reply), 0);
            assert_int_equal(reply.actual, 8);
            assert_memory_equal(reply.data, text, 8);
        }
    board_cable_set(rig.boards[0], false); /* one goes, the other stays */
    assert_int_equal(client_reply(fd[0], false, &reply), -1);
    client_submit(fd[1], 5000, 0x01, 4, "stay", 0);
    assert_int_equal(client_reply(fd[1], false, &reply), 0);
    close(fd[0]);
    close(fd[1]);
}

static size_t open_descriptors(void)
{
    size_t count = 0;
    DIR *dir = opendir("/proc/self/fd");
    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

static bool is_alone(const struct board *b)
{
    return !b->usb.link && rig_is_off(b);
}

static void fifty_cycles_leave_nothing(void **state)
{
    (void)state;
    size_t before = 0;
    rig_firmware.brom = echo_rom;
    for (int i = 0; i < 50; i++) {
        rig_enter_brom(&rig, 0);
        int fd = client_open(&rig, "1-1");
        client_submit(fd, 20, 0x81, 512, NULL, 0);
        client_submit(fd, 21, 0x01, 600, pattern, 0);
        assert_int_equal(client_reply(fd, false, &reply), 0);
        board_cable_set(rig.boards[0], false);
        while (client_reply(fd, reply.seqnum == 21, &reply) == 0)
            ;
        close(fd);
        rig_wait(rig.boards[0], is_alone);
        if (i == 4)
            before = open_descriptors();
    }
    assert_true(open_descriptors() <= before + 1); /* one connection may be on its way out */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define ONE(fn) cmocka_unit_test_setup_teardown(fn, setup_one, teardown)
        ONE(listed_only_on_the_bus),
        ONE(killed_client_frees_the_phone),
        ONE(nonsense_ends_the_connection),
        ONE(control_requests),
        ONE(descriptor_of_64_bytes_is_a_bus_reset),
        ONE(babble),
        ONE(out_is_cut_into_packets),
        ONE(ways_of_reading),
        ONE(a_request_tells_what_lies_behind_it),
        ONE(out_waits_for_the_firmware),
        ONE(unlink_waiting_answered_unknown),
        ONE(unlink_keeps_gathered_packets),
        ONE(unlink_races),
        ONE(halt_and_clear),
        ONE(endless_nak_out),
        ONE(unplug_in_the_middle),
        ONE(fifty_cycles_leave_nothing),
        ONE(rates_are_kept),
        cmocka_unit_test_setup_teardown(two_phones_at_once, setup_two, teardown),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    failed += RUN_ROWS(in_row, in_rows);
    failed += RUN_ROWS(fault_row, fault_rows);
    failed += RUN_ROWS(control_fault, control_fault_rows);
    return failed;
}
