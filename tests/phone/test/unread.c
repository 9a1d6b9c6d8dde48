/* The download agent on the phone's own USB controller, and a host that sends its next word before it has read what the
 * phone said: one request at a time, so that what it does not ask for waits in the phone. */
#include "tests/unit/rows.h"

#include <stdio.h>
#include <unistd.h>

#include "tests/phone/da.h"
#include "tests/phone/test/rig.h"
#include "usb/base/mem.h"

static struct rig rig;
static int fd;
static uint32_t seqnum;

/* A phone whose boot ROM is the agent, with memory that is up. */
static enum board_next agent(struct board *b)
{
    AUTO(free_ptr) uint8_t *memory = xcalloc(1, DA_MEMORY_BYTES);
    const struct da_image image = {0x200000, 48, 16};
    struct acm acm;
    acm_init(&acm, ACM_PRELOADER);
    *board_ram(b) = (struct board_ram){.dram_up = true};
    if (board_usb_attach(b, &acm.gadget) < 0 || board_usb_configured(b, -1) != BOARD_OK)
        return NEXT_OFF;
    return da_run(b, &acm, memory, &image);
}

/* ---- the host
 * -------------------------------------------------------------------------------------- */

static void out(const void *data, size_t len)
{
    static struct reply reply;
    client_submit(fd, ++seqnum, 0x01, (uint32_t)len, data, 0);
    assert_int_equal(client_reply(fd, false, &reply), 0);
    assert_int_equal(reply.seqnum, seqnum);
    assert_int_equal(reply.actual, len);
}

static const uint8_t *in(size_t want)
{
    static struct reply reply;
    client_submit(fd, ++seqnum, 0x81, 512, NULL, 0);
    assert_int_equal(client_reply(fd, true, &reply), 0);
    assert_int_equal(reply.seqnum, seqnum);
    assert_int_equal(reply.actual, want);
    return reply.data;
}

static void packet(const void *payload, size_t len)
{
    uint8_t header[XFLASH_HEADER_BYTES];
    xflash_header_store(XFLASH_KIND_FLOW, (uint32_t)len, header);
    out(header, sizeof(header));
    out(payload, len);
}

static void say(uint32_t word)
{
    uint8_t raw[4];
    put_le32(raw, word);
    packet(raw, sizeof(raw));
}

static void expect(uint32_t word)
{
    assert_int_equal(get_le32(in(XFLASH_HEADER_BYTES) + 8), 4);
    assert_int_equal(get_le32(in(4)), word);
}

static void range(uint32_t code, uint64_t address, uint64_t length)
{
    uint8_t block[XFLASH_RANGE_BYTES] = {XFLASH_STORAGE_EMMC, 0, 0, 0, XFLASH_USER};
    put_le64(block + 8, address);
    put_le64(block + 16, length);
    say(code);
    expect(XFLASH_OK);
    packet(block, sizeof(block));
}

static void to_da2(void)
{
    uint8_t environment[XFLASH_ENVIRONMENT_BYTES] = {2}, target[16] = {0}, image[32] = {0};
    target[8] = sizeof(image);
    assert_int_equal(in(1)[0], XFLASH_ALIVE);
    say(XFLASH_SYNC);
    say(XFLASH_SETUP_ENVIRONMENT);
    packet(environment, sizeof(environment));
    expect(XFLASH_OK);
    say(XFLASH_SETUP_HW_INIT_PARAMS);
    say(0);
    expect(XFLASH_OK);
    expect(XFLASH_SYNC);
    say(XFLASH_BOOT_TO);
    expect(XFLASH_OK);
    packet(target, sizeof(target));
    packet(image, sizeof(image));
    expect(XFLASH_OK);
    expect(XFLASH_SYNC);
}

static bool something_unread(const struct board *b)
{
    return b->usb.in_left > 0;
}

static bool something_counted(const struct board *b)
{
    return b->violation_count > 0;
}

static int up(void **state)
{
    (void)state;
    rig_start(&rig, 1);
    rig_firmware.brom = agent;
    board_settings(rig.boards[0])->usb_model = MODEL_EXACT;
    rig_enter_brom(&rig, 0);
    fd = client_open(&rig, "1-1");
    to_da2();
    return 0;
}

static int down(void **state)
{
    (void)state;
    close(fd);
    rig_stop(&rig);
    return 0;
}

/* ---- what it leaves
 * -------------------------------------------------------------------------------- */

/* A GET whose data were read, and whose closing status was not. */
static void closing_status(void)
{
    say(XFLASH_DEVICE_CTRL);
    expect(XFLASH_OK);
    say(XFLASH_GET_RPMB_STATUS);
    expect(XFLASH_OK);
    expect(0x10);
}

/* The final status behind the one in the place of a chunk. */
static void second_status(void)
{
    assert_int_equal(fault_plan_add(&rig.boards[0]->faults, "storage_read@byte=4096", NULL), 0);
    range(XFLASH_READ_DATA, 4096, 512);
    expect(XFLASH_OK);
    expect((uint32_t)XFLASH_MMC_ERR);
}

/* FORMAT carries on after it said that the range is none. */
static void format_after_an_error(void)
{
    range(XFLASH_FORMAT, board_area_size(rig.boards[0], AREA_USER), 512);
    expect((uint32_t)XFLASH_EXCEED_AVAILABLE_RANGE);
    rig.boards[0]->violation_count = 0; /* that one is not what this is about */
}

static const struct unread_row {
    const char *name;
    void (*leave)(void);
    unsigned words; /* that the phone says then */
} unread_rows[] = {
    {"closing status of a GET", closing_status, 1},
    {"second status after a storage error", second_status, 1},
    {"FORMAT after a failing parameter status", format_after_an_error, 2},
};

/* `in_time`: the host reads what there is, and sends its next command then. */
static void unread(const struct unread_row *row, bool in_time)
{
    struct board *b = rig.boards[0];
    row->leave();
    rig_wait(b, something_unread);
    if (!in_time)
        say(XFLASH_DEVICE_CTRL);
    for (unsigned i = 0; i < row->words; i++) {
        (void)in(XFLASH_HEADER_BYTES);
        (void)in(4);
    }
    if (in_time)
        say(XFLASH_DEVICE_CTRL);
    else
        rig_wait(b, something_counted);
    rig_drain(b);
    assert_int_equal(b->violation_count, in_time ? 0 : 1);
    if (!in_time)
        assert_string_equal(b->violations[0].name, "xflash.answer_not_read");
}

static void sent_before_it_was_read(void **state)
{
    unread(*state, false);
}

static void sent_after_it_was_read(void **state)
{
    unread(*state, true);
}

int main(void)
{
    struct CMUnitTest tests[2 * ARRAY_LEN(unread_rows)];
    static char names[ARRAY_LEN(tests)][80];
    for (size_t i = 0; i < ARRAY_LEN(tests); i++) {
        const struct unread_row *row = &unread_rows[i / 2];
        snprintf(names[i], sizeof(names[i]), "%s: %s", row->name, i % 2 ? "read" : "not read");
        tests[i] = (struct CMUnitTest){.name = names[i],
                                       .test_func =
                                           i % 2 ? sent_after_it_was_read : sent_before_it_was_read,
                                       .setup_func = up,
                                       .teardown_func = down,
                                       .initial_state = (void *)(uintptr_t)row};
    }
    return _cmocka_run_group_tests("unread", tests, ARRAY_LEN(tests), NULL, NULL);
}
