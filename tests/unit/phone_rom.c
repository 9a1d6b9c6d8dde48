/* Boot ROM, preloader and the start of DA1 of the emulated phone, on a double of its hardware. */
#include <stdio.h>

#include "tests/phone/firmware.h"
#include "tests/phone/preloader_image.h"
#include "tests/phone/synthetic_da.h"
#include "tests/unit/phone_host.h"
#include "tests/unit/rows.h"
#include "usb/base/hash.h"
#include "usb/base/mem.h"
#include "usb/codec/brom.h"

static void expect_violations(struct host *h, const char *names)
{
    assert_string_equal(fake_board_violations(h->b), names);
}

/* ---- descriptors
 * ------------------------------------------------------------------------------------ */

static void expect_bytes(const uint8_t *got, size_t len, const char *hex)
{
    uint8_t want[256];
    assert_int_equal(hex_decode(hex, want, sizeof(want)), (ptrdiff_t)len);
    assert_memory_equal(got, want, len);
}

static void brom_descriptors(void **state)
{
    (void)state;
    struct host h;
    host_init(&h, HOST_USER_BYTES);
    fake_board_start(h.b, brom_run);
    fake_board_settle(h.b);
    const struct gadget *g = fake_board_gadget(h.b);
    assert_int_equal(g->speed, 2);
    expect_bytes(g->device_desc, 18, "12010002 02000040 8d0e0300 00010000 0001");
    expect_bytes(g->config_desc, g->config_len,
                 "09024300020100 8000 090400000102020100 0524001001 0424020f 0524060001 0524010301"
                 "07058303400010 09040100020a000000 07050102400000 07058102400000");
    assert_null(g->bos_desc);
    assert_null(g->qualifier_desc);
    assert_int_equal(g->string_count, 0);
    host_deinit(&h);
}

static void preloader_descriptors(void **state)
{
    (void)state;
    struct host h;
    host_init(&h, HOST_USER_BYTES);
    fake_board_start(h.b, preloader_run);
    fake_board_settle(h.b);
    const struct gadget *g = fake_board_gadget(h.b);
    assert_int_equal(g->speed, 3);
    expect_bytes(g->device_desc, 18, "12011002 02000040 8d0e0020 00010102 0001");
    expect_bytes(g->config_desc, g->config_len,
                 "09024300020103c0fa 090400000102020105 0524001001 0424020f 0524060100 0524010300"
                 "07058303400010 09040100020a000004 07050102000200 07058102000200");
    assert_int_equal(g->bos_len, 22);
    expect_bytes(g->qualifier_desc, 10, "0a061002020000400100");
    assert_int_equal(get_le16(g->bos_desc + 2), 22);
    assert_string_equal(g->strings[0], "MediaTek");
    assert_string_equal(g->strings[1], "MT65xx Preloader");
    assert_int_equal(g->string_count, 5);
    host_deinit(&h);
}

static void the_preloaders_id_is_a_setting(void **state)
{
    (void)state;
    struct host h;
    host_init(&h, HOST_USER_BYTES);
    board_settings(h.b)->preloader_pid = 0x20ff;
    fake_board_start(h.b, preloader_run);
    fake_board_settle(h.b);
    expect_bytes(fake_board_gadget(h.b)->device_desc + 8, 4, "8d0eff20");
    host_deinit(&h);
}

static void class_requests(void **state)
{
    (void)state;
    static const uint8_t set[8] = {0x21, 0x20, 0, 0, 0, 0, 7, 0},
                         get[8] = {0xa1, 0x21, 0, 0, 0, 0, 7, 0},
                         line[8] = {0x21, 0x22, 2, 0, 0, 0, 0, 0}, brk[8] = {0x21, 0x23},
                         other[8] = {0x21, 0x55}, coding[7] = {0x80, 0x25, 0, 0, 0, 0, 8};
    struct host h;
    uint8_t in[16];
    host_init(&h, HOST_USER_BYTES);
    fake_board_start(h.b, brom_run);
    fake_board_settle(h.b);
    assert_int_equal(fake_board_control(h.b, get, NULL, in, sizeof(in)), 7);
    expect_bytes(in, 7, "00100e00000008");
    assert_int_equal(fake_board_control(h.b, set, coding, NULL, 0), 0);
    assert_int_equal(fake_board_control(h.b, get, NULL, in, sizeof(in)), 7);
    assert_memory_equal(in, coding, 7);
    assert_int_equal(fake_board_control(h.b, line, NULL, NULL, 0), 0);
    assert_int_equal(fake_board_control(h.b, brk, NULL, NULL, 0), 0);
    assert_int_equal(fake_board_control(h.b, other, NULL, NULL, 0), -1);
    host_deinit(&h);
}

/* ---- windows
 * ---------------------------------------------------------------------------------------- */

static void put_preloader(struct host *h)
{
    struct firmware *f = NULL;
    struct err err = {0};
    if (firmware_new(PROFILE_TINY, "PDA-1100-0-00WW-B01", &f, &err) < 0)
        fail_msg("%s", err.text);
    uint8_t header[BOOT_HEADER_BYTES];
    preloader_boot_header((uint32_t)f->preloader.len, header);
    host_flash_write(h, AREA_BOOT1, 0, header, sizeof(header));
    host_flash_write(h, AREA_BOOT1, sizeof(header), f->preloader.data, f->preloader.len);
    firmware_free(&f);
}

/* The boot ROM gives up after so many milliseconds; negative: never. */
static void expect_brom_window(struct host *h, int ms)
{
    fake_board_start(h->b, brom_run);
    fake_board_settle(h->b);
    fake_board_pass(h->b, ms < 0 ? 1000000000 : ms - 1);
    fake_board_settle(h->b);
    assert_int_equal(fake_board_next(h->b), FAKE_NEXT_RUNNING);
    if (ms < 0)
        return;
    fake_board_pass(h->b, 1);
    assert_int_equal(fake_board_end(h->b), NEXT_RESET);
}

static void brom_waits_five_seconds(void **state)
{
    (void)state;
    struct host h;
    host_init(&h, HOST_USER_BYTES);
    put_preloader(&h);
    expect_brom_window(&h, 5000);
    host_deinit(&h);
}

static void brom_waits_for_ever_without_preloader(void **state)
{
    (void)state;
    struct host h;
    host_init(&h, HOST_USER_BYTES);
    fake_board_start(h.b, brom_run);
    fake_board_settle(h.b);
    fake_board_pass(h.b, 1000000);
    host_hex(&h, "a0");
    host_expect_hex(&h, "5f");
    fake_board_unplug(h.b);
    assert_int_equal(fake_board_end(h.b), NEXT_OFF);
    host_deinit(&h);
}

static void brom_restarts_at_a_wrong_byte(void **state)
{
    (void)state;
    struct host h;
    host_init(&h, HOST_USER_BYTES);
    fake_board_start(h.b, brom_run);
    host_hex(&h, "a0");
    host_expect_hex(&h, "5f");
    fake_board_bus_reset(h.b); /* a bus reset, too, begins it again */
    fake_board_settle(h.b);
    host_hex(&h, "a0");
    host_expect_hex(&h, "5f");
    host_hex(&h, "0a");
    host_expect_hex(&h, "f5");
    host_hex(&h, "33");
    fake_board_take(h.b, NULL, NULL, 0, NULL);
    static const char *const pairs[][2] = {{"a0", "5f"}, {"0a", "f5"}, {"50", "af"}, {"05", "fa"}};
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        host_hex(&h, pairs[i][0]);
        host_expect_hex(&h, pairs[i][1]);
    }
    host_hex(&h, "fd");
    host_expect_hex(&h, "fd 0788 0000");
    fake_board_bus_reset(h.b); /* the command loop survives one */
    fake_board_settle(h.b);
    host_hex(&h, "a0"); /* unknown bytes are echoed, so a host can tell that the loop runs */
    host_expect_hex(&h, "a0");
    host_deinit(&h);
}

static void preloader_waits_two_and_a_half_seconds(void **state)
{
    (void)state;
    struct host h;
    host_init(&h, HOST_USER_BYTES);
    fake_board_start(h.b, preloader_run);
    fake_board_settle(h.b);
    for (int ms = 0; ms < 2480; ms += 20) {
        fake_board_pass(h.b, 20);
        fake_board_settle(h.b);
    }
    assert_int_equal(fake_board_next(h.b), FAKE_NEXT_RUNNING);
    fake_board_pass(h.b, 20);
    assert_int_equal(fake_board_end(h.b), NEXT_LK);
    host_quiet(&h); /* no tool has opened the port: no READY */
    host_deinit(&h);
}

static void download_bit_keeps_the_window_open(void **state)
{
    (void)state;
    struct host h;
    host_init(&h, HOST_USER_BYTES);
    board_boot_target_set(h.b, TARGET_NORMAL, true);
    fake_board_start(h.b, preloader_run);
    fake_board_settle(h.b);
    fake_board_pass(h.b, 1000000);
    fake_board_settle(h.b);
    assert_int_equal(fake_board_next(h.b), FAKE_NEXT_RUNNING);
    host_deinit(&h);
}

static void preloader_without_cable_or_with_keys(void **state)
{
    (void)state;
    struct host h;
    host_init(&h, HOST_USER_BYTES);
    fake_board_keys_set(h.b, KEY_VOL_UP | KEY_VOL_DOWN);
    fake_board_start(h.b, preloader_run);
    assert_int_equal(fake_board_end(h.b), NEXT_BROM);
    fake_board_unplug(h.b);
    fake_board_start(h.b, preloader_run);
    assert_int_equal(fake_board_end(h.b), NEXT_LK);
    assert_int_equal(fake_board_attached(h.b), 0);
    host_deinit(&h);
}

/* ---- preloader start
 * ---------------------------------------------------------------------------------- */

/* The boot ROM does not mind, but it is not how a host speaks. */
static void merged_fields_are_counted(void **state)
{
    (void)state;
    struct host h;
    host_init(&h, HOST_USER_BYTES);
    fake_board_start(h.b, brom_run);
    host_hex(&h, "a00a5005");
    host_expect_hex(&h, "5ff5affa");
    expect_violations(&h, "rom.merged_fields");
    host_deinit(&h);
    host_init(&h, HOST_USER_BYTES);
    host_preloader(&h);
    expect_violations(&h, "");
    host_hex(&h, "d110007000"); /* READ32 and its address */
    host_expect_hex(&h, "d110007000");
    expect_violations(&h, "rom.merged_fields");
    host_deinit(&h);
}

static void one_transfer_is_discarded_as_a_whole(void **state)
{
    (void)state;
    struct host h;
    host_init(&h, HOST_USER_BYTES);
    fake_board_start(h.b, preloader_run);
    host_hex(&h, "a00a5005");
    host_quiet(&h);
    expect_violations(&h, "rom.merged_fields");
    fake_board_pass(h.b, 300); /* the start check is over: listening again */
    fake_board_settle(h.b);
    host_hex(&h, "a0");
    host_hex(&h, "a0"); /* of the next transfer, so it counts */
    host_expect_hex(&h, "5f");
    host_hex(&h, "0a");
    host_expect_hex(&h, "f5");
    host_hex(&h, "33"); /* answered with the byte + 1, and back to the start */
    host_expect_hex(&h, "34");
    static const char *const pairs[][2] = {{"a0", "5f"}, {"0a", "f5"}, {"50", "af"}, {"05", "fa"}};
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        host_hex(&h, pairs[i][0]);
        host_expect_hex(&h, pairs[i][1]);
    }
    fake_board_pass(h.b, 1000000); /* a started tool has all the time in the world */
    host_hex(&h, "fe");
    host_expect_hex(&h, "03");
    host_deinit(&h);
}

static void tokens(void **state)
{
    (void)state;
    struct host h;
    host_init(&h, HOST_USER_BYTES);
    fake_board_start(h.b, preloader_run);
    host_raw(&h, "NONSENSE", 8);
    host_quiet(&h);
    host_raw(&h, "FAST", 4); /* collected over transfers */
    host_quiet(&h);
    host_raw(&h, "BOOT", 4);
    host_expect(&h, "TOOBTSAF", 8);
    assert_int_equal(fake_board_end(h.b), NEXT_LK);
    assert_int_equal(board_boot_target_take(h.b), TARGET_FASTBOOT);
    host_deinit(&h);
}

static void ready_noise(void **state)
{
    (void)state;
    struct host h;
    host_init(&h, HOST_USER_BYTES);
    fake_board_fault(h.b, "ready_noise", 0); /* once, without a tool */
    fake_board_start(h.b, preloader_run);
    host_expect(&h, "READY", 5);
    host_quiet(&h);
    host_deinit(&h);
}

/* ---- commands
 * ------------------------------------------------------------------------------------------ */

struct exchange {
    const char *name;
    bool brom;
    uint32_t target_config;
    const char *out[6], *in; /* transfers; everything that comes back */
};
static const struct exchange exchanges[] = {
    {"preloader: unknown bytes are echoed", false, 0, {"99", "e0", "00"}, "99 e0 00"},
    {"brom: unknown bytes are echoed", true, 0, {"99", "fb"}, "99 fb"},
    {"preloader: read outside the windows",
     false,
     0,
     {"d1", "00100000", "00000001"},
     "d1 00100000 00000001 1000"},
    {"preloader: read of the watchdog",
     false,
     0,
     {"d1", "10007000", "00000001"},
     "d1 10007000 00000001 0000 00000000 0000"},
    {"preloader: legacy read has no status",
     false,
     0,
     {"a2", "10007000", "00000001"},
     "a2 10007000 00000001 0000"},
    {"preloader: write outside the windows",
     false,
     0,
     {"d4", "1001a108", "00000001"},
     "d4 1001a108 00000001 1001"},
    {"preloader: misaligned",
     false,
     0,
     {"d1", "10007002", "00000001"},
     "d1 10007002 00000001 ffff"},
    {"preloader: no words", false, 0, {"d1", "10007000", "00000000"}, "d1 10007000 00000000 fffe"},
    {"preloader: too many words",
     false,
     0,
     {"d1", "10007000", "40000000"},
     "d1 10007000 40000000 fffd"},
    {"preloader: write without echo",
     false,
     0,
     {"d3", "10007000", "00000001", "2200"},
     "d3 10007000 00000001 0000 0000"},
    {"brom: chip id",
     true,
     0,
     {"d0", "08000000", "00000001"},
     "d0 08000000 00000001 0000 0788 0000"},
    {"brom: memory reads need authentication",
     true,
     BROM_TARGET_MEM_READ,
     {"d0", "08000000", "00000001"},
     "d0 08000000 00000001 1000"},
    {"brom: writes answer 1",
     true,
     0,
     {"d2", "10007000", "00000001", "2200"},
     "d2 10007000 00000001 0001 2200 0001"},
    {"brom: no authentication needed", true, 0, {"e2", "00000010"}, "e2 00000010 1d0c"},
    {"preloader reports three bits only", false, 0xe7, {"d8"}, "d8 00000007 0000"},
    {"brom: no DA to jump to", true, 0, {"d5", "00200000"}, "d5 00200000 1d16"},
    {"brom: DA without length",
     true,
     0,
     {"d7", "00200000", "00000000", "00000000"},
     "d7 00200000 00000000 00000000 1d13"},
    {"brom: signature longer than the DA",
     true,
     0,
     {"d7", "00200000", "00000010", "00000020"},
     "d7 00200000 00000010 00000020 1d14"},
    {"brom: DA outside SRAM",
     true,
     0,
     {"d7", "00100000", "00000010", "00000000"},
     "d7 00100000 00000010 00000000 1d12"},
    {"brom: odd address",
     true,
     0,
     {"d7", "00200001", "00000010", "00000000"},
     "d7 00200001 00000010 00000000 1d11"},
    {"preloader ignores the address",
     false,
     0,
     {"d7", "00000001", "00000004", "00000000", "01020304"},
     "d7 00000001 00000004 00000000 0000 0602 0000"},
    {"odd length",
     false,
     0,
     {"d7", "00200000", "00000005", "00000000", "0102030405"},
     "d7 00200000 00000005 00000000 0000 0607 0000"},
    {"secure: a signature is wanted",
     false,
     BROM_TARGET_DAA,
     {"d7", "00200000", "00000010", "00000000"},
     "d7 00200000 00000010 00000000 1d15"},
    {"fuses cannot be destroyed", false, 0, {"f0", "08825252"}, "f0 ffff"},
    {"power chip", false, 0, {"c6", "0010"}, "c6 0010 0000 0000 0000"},
    {"power chip write", false, 0, {"c7", "0010", "0001"}, "c7 0010 0001 0000 0000"},
};

static void exchange(struct host *h, const char *const out[6], const char *in)
{
    for (size_t i = 0; i < 6 && out[i]; i++)
        host_hex(h, out[i]);
    host_expect_hex(h, in);
    host_quiet(h);
}

static void one_exchange(void **state)
{
    const struct exchange *row = ROW(state);
    struct host h;
    host_init(&h, HOST_USER_BYTES);
    board_settings(h.b)->target_config = row->target_config;
    (row->brom ? host_brom : host_preloader)(&h);
    exchange(&h, row->out, row->in);
    expect_violations(&h, strstr(row->name, "fuses") ? "rom.zeroization" : "");
    host_deinit(&h);
}

static void jump_without_agent_resets_a_preloader(void **state)
{
    (void)state;
    struct host h;
    host_init(&h, HOST_USER_BYTES);
    host_preloader(&h);
    host_hex(&h, "d5");
    host_hex(&h, "00200000");
    host_expect_hex(&h, "d5 00200000 7024");
    assert_int_equal(fake_board_end(h.b), NEXT_RESET);
    host_deinit(&h);
}

/* SEND_DA that ends with an error is the end of the connection, also where the loop goes on. */
static const struct refused_row {
    const char *name;
    bool brom;
    uint32_t target_config;
    const char *out[6], *in; /* SEND_DA */
} refused_rows[] = {
    {"empty",
     false,
     0,
     {"d7", "00200000", "00000000", "00000000"},
     "d7 00200000 00000000 00000000 1d13"},
    {"odd address",
     true,
     0,
     {"d7", "00200001", "00000002", "00000000"},
     "d7 00200001 00000002 00000000 1d11"},
    {"unsigned",
     true,
     BROM_TARGET_DAA,
     {"d7", "00200000", "00000002", "00000000"},
     "d7 00200000 00000002 00000000 1d15"},
};

static void command_after_refused_agent(void **state)
{
    const struct refused_row *row = ROW(state);
    struct host h;
    host_init(&h, HOST_USER_BYTES);
    board_settings(h.b)->target_config = row->target_config;
    (row->brom ? host_brom : host_preloader)(&h);
    exchange(&h, row->out, row->in);
    expect_violations(&h, "");
    host_hex(&h, "fd");
    host_expect_hex(&h, "fd 0788 0000");
    expect_violations(&h, "rom.command_after_refused_da");
    host_deinit(&h);
}

static void a_challenge_must_be_answered(void **state)
{
    (void)state;
    static const char *const out[6] = {"d7", "00200000", "00000010", "00000000", "fd"};
    struct host h;
    host_init(&h, HOST_USER_BYTES);
    board_settings(h.b)->target_config = BROM_TARGET_SLA;
    host_brom(&h);
    exchange(&h, out, "d7 00200000 00000010 00000000 1d0d fd");
    expect_violations(&h, "rom.command_after_refused_da");
    host_deinit(&h);
}

static void a_new_connection_may_begin_again(void **state)
{
    (void)state;
    struct host h;
    host_init(&h, HOST_USER_BYTES);
    host_brom(&h);
    exchange(&h, refused_rows[0].out, refused_rows[0].in);
    fake_board_bus_reset(h.b);
    fake_board_settle(h.b);
    host_hex(&h, "fd");
    host_expect_hex(&h, "fd 0788 0000");
    expect_violations(&h, "");
    host_deinit(&h);
}

/* A tool writes the download flag and lets the watchdog reset the phone. */
static const struct flag_row {
    const char *name, *flag;
    bool locked; /* RST_CON cannot be written, and the flag is lost */
    enum board_next next;
    int window_ms; /* of the boot ROM then; negative: none */
} flag_rows[] = {
    {"no limit", "444cfffd", false, NEXT_BROM, -1},
    {"without the unlock the flag is lost", "444cfffd", true, NEXT_RESET, 5000},
    {"five minutes", "444c04b1", false, NEXT_BROM, 300000},
    {"two seconds", "444c0009", false, NEXT_BROM, 2000},
    {"the most seconds", "444cfff9", false, NEXT_BROM, 16382000},
    {"bit 1: not the boot ROM", "444cffff", false, NEXT_RESET, 5000},
    {"bit 0 missing", "444cfffc", false, NEXT_RESET, 5000},
    {"another mark", "44440009", false, NEXT_RESET, 5000},
};

static void download_flag(void **state)
{
    const struct flag_row *row = ROW(state);
    const char *const writes[][2] = {{"1001a100", row->locked ? "00000000" : "0000ad98"},
                                     {"1001a108", "00000001"}, /* the flag survives */
                                     {"1001a080", row->flag},
                                     {"10007014", "00001209"}};
    struct host h;
    host_init(&h, HOST_USER_BYTES);
    put_preloader(&h);
    host_brom(&h);
    for (size_t i = 0; i < ARRAY_LEN(writes); i++) {
        host_hex(&h, "d4");
        host_hex(&h, writes[i][0]);
        host_hex(&h, "00000001");
        host_hex(&h, writes[i][1]);
        fake_board_take(h.b, NULL, NULL, 0, NULL);
    }
    assert_int_equal(fake_board_end(h.b), row->next);
    expect_brom_window(&h, row->window_ms);
    if (row->window_ms > 0) /* the flag counts once */
        expect_brom_window(&h, 5000);
    host_deinit(&h);
}

/* ---- authentication
 * ------------------------------------------------------------------------------------ */

static void signed_agents_only(void **state)
{
    (void)state;
    uint8_t image[0x240] = {1, 2, 3};
    synthetic_sign(span_of(image, 0x140), image + 0x140, 0x100);
    for (int brom = 0; brom < 2; brom++)
        for (int good = 0; good < 2; good++) {
            struct host h;
            host_init(&h, HOST_USER_BYTES);
            board_settings(h.b)->target_config = BROM_TARGET_DAA;
            (brom ? host_brom : host_preloader)(&h);
            image[5] = good ? 0 : 9;
            host_send_da(&h, span_of(image, sizeof(image)), 0x100);
            struct brom_checksum sum = {0};
            brom_checksum_update(&sum, span_of(image, sizeof(image)));
            uint8_t want[4] = {(uint8_t)(sum.sum >> 8), (uint8_t)sum.sum, good ? 0 : 0x70,
                               good ? 0 : 0x24};
            host_expect(&h, want, sizeof(want));
            if (good)
                host_jump(&h);
            else
                assert_int_equal(fake_board_end(h.b), NEXT_RESET);
            host_deinit(&h);
        }
}

static void secure_preloader_takes_256_kib(void **state)
{
    (void)state;
    const size_t len = 0x40002;
    AUTO(free_ptr) uint8_t *image = xcalloc(1, len);
    synthetic_sign(span_of(image, len - 0x100), image + len - 0x100, 0x100);
    struct host h;
    host_init(&h, HOST_USER_BYTES);
    board_settings(h.b)->target_config = BROM_TARGET_DAA;
    host_preloader(&h);
    host_send_da(&h, span_of(image, len), 0x100);
    fake_board_settle(h.b);
    struct brom_checksum sum = {0};
    brom_checksum_update(&sum, span_of(image, len));
    uint8_t want[4] = {(uint8_t)(sum.sum >> 8), (uint8_t)sum.sum, 0x1d, 0x10};
    host_expect(&h, want, sizeof(want));
    host_deinit(&h);
}

static void send_auth(struct host *h, struct span file, const char *status)
{
    uint8_t length[4];
    put_be32(length, (uint32_t)file.len);
    host_hex(h, "e2");
    host_expect_hex(h, "e2");
    host_raw(h, length, 4);
    host_expect(h, length, 4);
    host_expect_hex(h, "0000");
    host_raw(h, file.data, file.len);
    struct brom_checksum sum = {0};
    brom_checksum_update(&sum, file);
    uint8_t want[2] = {(uint8_t)(sum.sum >> 8), (uint8_t)sum.sum};
    host_expect(h, want, sizeof(want));
    host_expect_hex(h, status);
}

static void sla_wants_the_owners_file(void **state)
{
    (void)state;
    static const uint8_t image[48] = {0}, answer[0x100] = {0};
    struct host h;
    host_init(&h, HOST_USER_BYTES);
    board_settings(h.b)->target_config = BROM_TARGET_SLA;
    host_brom(&h);
    /* The challenge, inside SEND_DA: no answer is right. */
    static const char *const args[] = {"d7", "00200000", "00000030", "00000010"};
    for (size_t i = 0; i < ARRAY_LEN(args); i++) {
        host_hex(&h, args[i]);
        host_expect_hex(&h, args[i]);
    }
    host_expect_hex(&h, "1d0d");
    host_hex(&h, "e3");
    host_expect_hex(&h, "e3 0000 00000010");
    fake_board_take(h.b, NULL, NULL, 0, NULL);
    h.at = h.in.len;          /* the challenge itself */
    host_hex(&h, "00010000"); /* 0x100, little-endian */
    host_expect_hex(&h, "00010000 0000");
    host_raw(&h, answer, sizeof(answer));
    host_expect_hex(&h, "7015 7015");
    /* A stranger's file, then the owner's. */
    AUTO(buf_deinit) struct buf file;
    buf_init(&file, 4096);
    send_auth(&h, span_of("someone else's file", 19), "2000");
    synthetic_auth_put(&file);
    send_auth(&h, buf_span(&file), "0000");
    host_hex(&h, "e3");
    host_expect_hex(&h, "e3 7017"); /* done already */
    host_send_da(&h, span_of(image, sizeof(image)), 16);
    host_expect_hex(&h, "0000 0000");
    host_deinit(&h);
}

static void faults_of_the_download(void **state)
{
    (void)state;
    static const uint8_t image[48] = {0};
    struct host h;
    host_init(&h, HOST_USER_BYTES);
    fake_board_fault(h.b, "da_checksum", 0);
    fake_board_fault(h.b, "no_alive_byte", 0);
    host_brom(&h);
    host_send_da(&h, span_of(image, sizeof(image)), 16);
    host_expect_hex(&h, "0101 0000");
    host_hex(&h, "d5");
    host_hex(&h, "00200000");
    host_expect_hex(&h, "d5 00200000 0000");
    host_dead(&h);
    fake_board_unplug(h.b);
    assert_int_equal(fake_board_end(h.b), NEXT_DEAD);
    host_deinit(&h);
    host_init(&h, HOST_USER_BYTES);
    fake_board_fault(h.b, "da_refused", 0);
    host_brom(&h);
    host_send_da(&h, span_of(image, sizeof(image)), 16);
    host_expect_hex(&h, "0000 7024");
    assert_int_equal(fake_board_end(h.b), NEXT_RESET);
    host_deinit(&h);
}

/* ---- start of DA1
 * --------------------------------------------------------------------------------------- */

static void to_alive(struct host *h)
{
    static const uint8_t image[48] = {0};
    host_init(h, HOST_USER_BYTES);
    host_brom(h);
    host_send_da(h, span_of(image, sizeof(image)), 16);
    host_expect_hex(h, "0000 0000");
    host_jump(h);
}

static void da1_has_no_second_chance(void **state)
{
    (void)state;
    struct host h;
    uint8_t env[24] = {2};

    to_alive(&h); /* step 2: no answer */
    host_word(&h, XFLASH_DEVICE_CTRL);
    host_word(&h, XFLASH_SETUP_ENVIRONMENT); /* a host has no reason yet to stop here */
    host_packet(&h, env, 20);
    host_quiet(&h);
    expect_violations(&h, "xflash.da1_start_order");
    host_dead(&h);
    expect_violations(&h, "xflash.da1_start_order,xflash.command_to_dead_agent");
    host_deinit(&h);

    to_alive(&h); /* step 3: status 0, which means nothing */
    host_word(&h, XFLASH_SYNC);
    host_word(&h, XFLASH_DEVICE_CTRL);
    assert_int_equal(host_status(&h), 0);
    host_dead(&h);
    host_deinit(&h);

    to_alive(&h); /* step 4 */
    host_word(&h, XFLASH_SYNC);
    host_word(&h, XFLASH_SETUP_ENVIRONMENT);
    host_packet(&h, env, sizeof(env));
    assert_int_equal(host_status(&h), (uint32_t)XFLASH_PROTOCOL_BUFFER_OVERFLOW);
    host_dead(&h);
    host_deinit(&h);

    to_alive(&h); /* step 6, after a short environment */
    host_word(&h, XFLASH_SYNC);
    host_word(&h, XFLASH_SETUP_ENVIRONMENT);
    host_packet(&h, env, 12);
    assert_int_equal(host_status(&h), 0);
    host_word(&h, XFLASH_SYNC);
    assert_int_equal(host_status(&h), 0);
    host_dead(&h);
    host_deinit(&h);
}

static void da1_takes_parameters(void **state)
{
    (void)state;
    struct host h;
    uint8_t env[20] = {2}, parameter[16] = {0};
    to_alive(&h);
    host_word(&h, XFLASH_SYNC);
    host_word(&h, XFLASH_SETUP_ENVIRONMENT);
    host_packet(&h, env, sizeof(env));
    assert_int_equal(host_status(&h), 0);
    host_word(&h, XFLASH_SETUP_HW_INIT_PARAMS);
    host_word(&h, 1);
    host_word(&h, sizeof(parameter));
    host_packet(&h, parameter, sizeof(parameter));
    assert_int_equal(host_status(&h), 0);
    assert_int_equal(host_status(&h), XFLASH_SYNC);
    host_alive(&h);
    expect_violations(&h, "");
    host_deinit(&h);
}

static void storage_commands_are_for_da2(void **state)
{
    (void)state;
    static const uint32_t codes[] = {XFLASH_READ_DATA, XFLASH_WRITE_DATA, XFLASH_FORMAT,
                                     XFLASH_DOWNLOAD, XFLASH_NAND_BMT_REMARK};
    struct host h;
    host_init(&h, HOST_USER_BYTES);
    host_brom(&h);
    host_da1(&h);
    for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
        host_word(&h, codes[i]);
        assert_int_equal(host_status(&h), (uint32_t)XFLASH_UNSUPPORT_CMD);
        host_alive(&h);
    }
    host_deinit(&h);
}

/* ---- loading DA2
 * ----------------------------------------------------------------------------------------- */

enum { DA1_BYTES = 0x1000, DA2_BYTES = 0x2000, SIGNATURE_BYTES = 0x100 };

static uint32_t boot_to(struct host *h, const uint8_t *image, size_t len)
{
    uint8_t target[16] = {0};
    put_le64(target, 0x40000000);
    put_le64(target + 8, len);
    host_command(h, XFLASH_BOOT_TO);
    host_packet(h, target, sizeof(target));
    host_packet(h, image, len);
    return host_status(h);
}

/* The agent of a fixture: DA1 knows the digest of DA2. */
static void marked_agent(struct host *h, enum da_build build, const uint8_t *da2)
{
    uint8_t da1[DA1_BYTES] = {0}, env[20] = {2};
    synthetic_da1_mark(da1, span_of(da2, DA2_BYTES));
    host_init(h, HOST_USER_BYTES);
    board_settings(h->b)->da_build = build;
    host_preloader(h); /* memory is up */
    host_send_da(h, span_of(da1, sizeof(da1)), SIGNATURE_BYTES);
    fake_board_take(h->b, NULL, NULL, 0, NULL);
    host_jump(h);
    host_word(h, XFLASH_SYNC);
    host_word(h, XFLASH_SETUP_ENVIRONMENT);
    host_packet(h, env, sizeof(env));
    assert_int_equal(host_status(h), 0);
    host_word(h, XFLASH_SETUP_HW_INIT_PARAMS);
    host_word(h, 0);
    assert_int_equal(host_status(h), 0);
    assert_int_equal(host_status(h), XFLASH_SYNC);
}

static void da2_must_match_its_digest(void **state)
{
    (void)state;
    AUTO(free_ptr) uint8_t *da2 = host_linear(3, 1, DA2_BYTES + SIGNATURE_BYTES);
    for (enum da_build build = BUILD_2018; build <= BUILD_2019; build++) {
        struct host h;
        marked_agent(&h, build, da2);
        assert_int_equal(boot_to(&h, da2, DA2_BYTES - 1), (uint32_t)XFLASH_DA_HASH_MISMATCH);
        host_alive(&h);
        expect_violations(&h, "");
        assert_int_equal(boot_to(&h, da2, DA2_BYTES + SIGNATURE_BYTES),
                         (uint32_t)XFLASH_DA_HASH_MISMATCH);
        expect_violations(&h, "xflash.boot_to_with_signature");
        assert_int_equal(boot_to(&h, da2, DA2_BYTES), 0);
        assert_int_equal(host_status(&h), XFLASH_SYNC);
        assert_int_equal(boot_to(&h, da2 + 1, DA2_BYTES), /* DA2 checks, too */
                         (uint32_t)XFLASH_DA_HASH_MISMATCH);
        host_alive(&h);
        host_deinit(&h);
    }
    struct host h;
    marked_agent(&h, BUILD_2018, da2);
    board_settings(h.b)->boot_to_signature_ok = true;
    fake_board_fault(h.b, "digest_error", 0);
    assert_int_equal(boot_to(&h, da2, DA2_BYTES), (uint32_t)XFLASH_DA_HASH_MISMATCH);
    assert_int_equal(boot_to(&h, da2, DA2_BYTES + SIGNATURE_BYTES), 0);
    host_deinit(&h);
}

/* What an agent without memory might do as well. */
static void da2_may_stay_silent(void **state)
{
    (void)state;
    uint8_t target[16] = {0}, image[32] = {0};
    target[8] = sizeof(image);
    struct host h;
    host_init(&h, HOST_USER_BYTES);
    host_brom(&h);
    host_da1(&h);
    fake_board_fault(h.b, "boot_silent", 0);
    host_command(&h, XFLASH_BOOT_TO);
    host_packet(&h, target, sizeof(target));
    host_packet(&h, image, sizeof(image));
    host_quiet(&h);
    expect_violations(&h, "");
    host_dead(&h);
    expect_violations(&h, "xflash.command_to_dead_agent");
    host_deinit(&h);
}

static void boot_rom_start_needs_memory_settings(void **state)
{
    (void)state;
    uint8_t block[0x70 + 2 * 0xa0] = "MTK_BLOADER_INFO_v36";
    static const uint8_t other[9] = {0x15, 1, 0, 'O', 'T', 'H', 'E', 'R', '1'};
    struct host h;
    host_init(&h, HOST_USER_BYTES);
    struct board_chip *chip = fake_board_chip(h.b);
    hex_decode("90014a484347386134a3123456789abc", chip->emmc_cid, 16);
    host_brom(&h);
    host_da1(&h);
    host_control(&h, XFLASH_GET_CONNECTION_AGENT);
    assert_int_equal(host_reply(&h).len, 4);
    assert_int_equal(host_status(&h), 0);
    uint8_t image[32] = {0};
    assert_int_equal(boot_to(&h, image, sizeof(image)), (uint32_t)XFLASH_DA_HASH_MISMATCH);
    expect_violations(&h, "xflash.boot_to_without_dram");
    put_le32(block + 0x6c, 2);
    memcpy(block + 0x70 + 0x10, other, sizeof(other));
    put_le32(block + 0x70 + 8, sizeof(other));
    for (int mine = 0; mine < 2; mine++) {
        if (mine) {
            memcpy(block + 0x70 + 0xa0 + 0x10, chip->emmc_cid, 9);
            put_le32(block + 0x70 + 0xa0 + 8, 9);
        }
        host_command(&h, XFLASH_INIT_EXT_RAM);
        host_word(&h, sizeof(block));
        host_packet(&h, block, sizeof(block));
        assert_int_equal(host_status(&h), mine ? 0 : (uint32_t)XFLASH_EMI_SETTING_VERSION_ERROR);
        host_control(&h, XFLASH_GET_RAM_INFO);
        struct span ram = host_reply(&h);
        assert_int_equal(ram.len, 48);
        assert_int_equal(get_le32(ram.data + 24), mine ? 1 : 0);
        assert_int_equal(host_status(&h), 0);
    }
    assert_int_equal(boot_to(&h, image, sizeof(image)), 0);
    assert_int_equal(host_status(&h), XFLASH_SYNC);
    host_deinit(&h);
}

static void speed_switch_keeps_the_agent(void **state)
{
    (void)state;
    struct host h;
    host_init(&h, HOST_USER_BYTES);
    host_brom(&h);
    host_da1(&h);
    host_da2(&h);
    for (int custom = 0; custom < 2; custom++) {
        host_command(&h, XFLASH_SWITCH_USB_SPEED);
        host_word(&h, custom ? 0x0e8d2345 : 0);
        assert_int_equal(host_status(&h), 0);
        fake_board_settle(h.b);
        const struct gadget *g = fake_board_gadget(h.b);
        assert_int_equal(g->speed, 3);
        assert_int_equal(g->packet, 512);
        assert_int_equal(get_le16(g->device_desc + 8), 0x0e8d);
        assert_int_equal(get_le16(g->device_desc + 10), custom ? 0x2345 : 0x2001);
        host_control(&h, XFLASH_GET_USB_SPEED);
        assert_memory_equal(host_reply(&h).data, "high-speed", 10);
        assert_int_equal(host_status(&h), 0);
        host_control(&h, XFLASH_GET_RANDOM_ID); /* still DA2 */
        assert_int_equal(host_reply(&h).len, 16);
        assert_int_equal(host_status(&h), 0);
    }
    assert_int_equal(fake_board_attached(h.b), 3);
    expect_violations(&h, "");
    host_deinit(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(brom_descriptors),
        cmocka_unit_test(preloader_descriptors),
        cmocka_unit_test(the_preloaders_id_is_a_setting),
        cmocka_unit_test(class_requests),
        cmocka_unit_test(brom_waits_five_seconds),
        cmocka_unit_test(brom_waits_for_ever_without_preloader),
        cmocka_unit_test(brom_restarts_at_a_wrong_byte),
        cmocka_unit_test(preloader_waits_two_and_a_half_seconds),
        cmocka_unit_test(download_bit_keeps_the_window_open),
        cmocka_unit_test(preloader_without_cable_or_with_keys),
        cmocka_unit_test(merged_fields_are_counted),
        cmocka_unit_test(one_transfer_is_discarded_as_a_whole),
        cmocka_unit_test(tokens),
        cmocka_unit_test(ready_noise),
        cmocka_unit_test(jump_without_agent_resets_a_preloader),
        cmocka_unit_test(signed_agents_only),
        cmocka_unit_test(secure_preloader_takes_256_kib),
        cmocka_unit_test(a_challenge_must_be_answered),
        cmocka_unit_test(a_new_connection_may_begin_again),
        cmocka_unit_test(sla_wants_the_owners_file),
        cmocka_unit_test(faults_of_the_download),
        cmocka_unit_test(da1_has_no_second_chance),
        cmocka_unit_test(da1_takes_parameters),
        cmocka_unit_test(storage_commands_are_for_da2),
        cmocka_unit_test(da2_must_match_its_digest),
        cmocka_unit_test(da2_may_stay_silent),
        cmocka_unit_test(boot_rom_start_needs_memory_settings),
        cmocka_unit_test(speed_switch_keeps_the_agent),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    return failed + RUN_ROWS(one_exchange, exchanges) + RUN_ROWS(download_flag, flag_rows) +
           RUN_ROWS(command_after_refused_agent, refused_rows);
}
