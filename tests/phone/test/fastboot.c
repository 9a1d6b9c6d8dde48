/* LK and Android on the real board: a phone is started by its keys, talks fastboot over USB/IP, is
 * halted, booted, and read. The host's side is raw: commands and answers, nothing of usb/proto. */
#include "tests/unit/rows.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/phone/control.h"
#include "tests/phone/firmware.h"
#include "tests/phone/hardware.h"
#include "tests/phone/identity.h"
#include "tests/phone/rack.h"
#include "usb/base/clock.h"
#include "usb/base/hash.h"
#include "usb/base/io.h"
#include "usb/base/mem.h"
#include "usb/transport/usbip.h"
#include "usb/transport/usbip_rack.h"

enum { PATIENCE_MS = 30000, FASTER = 8 }; /* FASTER: the phone runs on a clock of its own */

struct bench {
    char dir[64];
    struct rack *rack;
    struct board *phone;
    struct factory_phone made;
    struct transport *link;
    struct usb_identity id;
};
static struct bench bench;

static int setup(void **state)
{
    (void)state;
    struct err err = {0};
    bench = (struct bench){.dir = "/tmp/flashrack-fastboot-XXXXXX"};
    assert_non_null(mkdtemp(bench.dir));
    clock_scale_set(1.0 / FASTER);
    struct rack_order order = {.listen = "127.0.0.1:0",
                               .state = bench.dir,
                               .phones = 1,
                               .profile = PROFILE_TINY,
                               .seed = 3,
                               .slot = 'a',
                               .hands_speed = 100};
    if (rack_start(&order, &bench.rack, &err) < 0)
        fail_msg("%s", err.text);
    bench.phone = rack_find(bench.rack, "1-1");
    AUTO(free_ptr) char *dir = xasprintf("%s/1-1", bench.dir);
    assert_int_equal(factory_load_phone(dir, &bench.made, NULL), 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    transport_close(&bench.link);
    rack_stop(&bench.rack);
    AUTO(free_ptr) char *command = xasprintf("rm -rf '%s'", bench.dir);
    assert_int_equal(system(command), 0);
    clock_scale_set(1);
    return 0;
}

/* ---- hands
 * --------------------------------------------------------------------------------------- */

static void wait_stage(enum board_stage stage)
{
    struct board *b = bench.phone;
    int64_t until = clock_now_ms() + PATIENCE_MS;
    pthread_mutex_lock(&b->lock);
    while (b->stage != stage && board_wait(b, &b->changed, until))
        ;
    bool there = b->stage == stage;
    pthread_mutex_unlock(&b->lock);
    assert_true(there);
}

static bool is_off(void)
{
    struct board *b = bench.phone;
    pthread_mutex_lock(&b->lock);
    bool off = b->stage == STAGE_OFF || b->stage == STAGE_CHARGING;
    pthread_mutex_unlock(&b->lock);
    return off;
}

static bool stays_off(void)
{
    for (int i = 0; i < 5; i++, usleep(20000))
        if (!is_off())
            return false;
    return true;
}

static void power_off(void)
{
    transport_close(&bench.link);
    board_cable_set(bench.phone, false);
    /* A phone that goes off by itself while the key goes down is switched on by it, as a real one is: look, press
     * again. */
    int64_t until = clock_now_ms() + PATIENCE_MS;
    while (!stays_off() && clock_now_ms() < until) {
        board_power_long(bench.phone);
        for (int i = 0; i < 20 && !is_off(); i++)
            usleep(100000);
    }
    wait_stage(STAGE_OFF);
}

static void flash_write(const char *partition, const void *data, size_t len)
{
    AUTO(free_ptr) char *path = xasprintf("%s/1-1/user.img", bench.dir);
    AUTO(fd_close) int fd = open(path, O_WRONLY | O_CLOEXEC);
    uint64_t at = layout_find(layout_of(PROFILE_TINY), partition)->start_bytes;
    assert_true(fd >= 0);
    assert_int_equal(io_pwrite(fd, data, len, (int64_t)at, NULL), 0);
}

static void import(void)
{
    struct usbip_device device;
    struct err err = {0};
    const char *address = rack_address(bench.rack);
    uint16_t port = (uint16_t)atoi(strrchr(address, ':') + 1);
    int fd, rc;
    int64_t until = clock_now_ms() + PATIENCE_MS;
    while ((rc = usbip_import("127.0.0.1", port, "1-1", PATIENCE_MS, &fd, &device, &err)) < 0 &&
           clock_now_ms() < until)
        usleep(10000);
    if (rc < 0)
        fail_msg("%s", err.text);
    rc = transport_usbip_open(fd, usbip_devid(&device), (int)device.speed, &bench.link, &bench.id,
                              &err);
    if (rc < 0)
        fail_msg("%s", err.text);
}

static void enter_fastboot(void)
{
    power_off();
    board_cable_set(bench.phone, true);
    wait_stage(STAGE_CHARGING);
    board_keys_hold(bench.phone, KEY_VOL_DOWN);
    board_power_long(bench.phone);
    wait_stage(STAGE_LK);
    import();
    board_keys_release(bench.phone, KEY_VOL_DOWN);
}

/* ---- dialogue
 * -------------------------------------------------------------------------------------- */

static void say(const void *data, size_t len)
{
    struct err err = {0};
    if (transport_write(bench.link, data, len, clock_now_ms() + PATIENCE_MS, &err) != (ssize_t)len)
        fail_msg("%s", err.text);
}

static void expect(const char *want)
{
    char got[128] = "";
    struct err err = {0};
    ssize_t n = transport_read(bench.link, got, 64, clock_now_ms() + PATIENCE_MS, &err);
    if (n < 0)
        fail_msg("instead of %s: %s", want, err.text);
    assert_string_equal(got, want);
}

static void ask(const char *command, const char *want)
{
    say(command, strlen(command));
    expect(want);
}

static void flash(const char *partition, struct span image, const char *want)
{
    char command[64], data[64];
    snprintf(command, sizeof(command), "download:%08zx", image.len);
    snprintf(data, sizeof(data), "DATA%08zx", image.len);
    ask(command, data);
    say(image.data, image.len);
    expect("OKAY");
    snprintf(command, sizeof(command), "flash:%s", partition);
    ask(command, want);
}

static void permit(void)
{
    char command[64] = "oem dm-verity ";
    md5_hex_upper(span_of(bench.made.label.serial, 16), command + strlen(command));
    ask(command, "OKAY");
}

static void service_lk(void)
{
    struct firmware *f = NULL;
    assert_int_equal(firmware_new(PROFILE_TINY, FACTORY_VERSION, &f, NULL), 0);
    flash_write("lk_a", f->lk_service.data, f->lk_service.len);
    firmware_free(&f);
}

static json_t *booted_screen(void)
{
    json_t *ask_screen = json_pack("{s:s, s:s}", "phone", "1-1", "do", "screen");
    json_t *screen = NULL;
    int64_t until = clock_now_ms() + PATIENCE_MS;
    for (bool up = false; !up && clock_now_ms() < until; usleep(10000)) {
        json_decref(screen);
        json_t *answer = control_command(bench.rack, ask_screen);
        screen = json_incref(json_object_get(answer, "screen"));
        json_decref(answer);
        up = json_object_get(screen, "serial") != NULL;
    }
    json_decref(ask_screen);
    assert_non_null(json_object_get(screen, "serial"));
    return screen;
}

/* ---- tests
 * ------------------------------------------------------------------------------------------- */

static void commercial_refuses(void **state)
{
    (void)state;
    enter_fastboot();
    assert_int_equal(bench.id.vid, 0x2e04);
    assert_int_equal(bench.id.pid, 0xc009);
    assert_true(bench.id.fastboot);
    assert_string_equal(bench.id.serial, bench.made.label.serial);
    uint8_t image[4096] = {1};
    ask("oem getBootloaderType", "INFOcommercial");
    expect("OKAY");
    flash("nvram", span_of(image, sizeof(image)), "FAILnot allowed in locked state");
    ask("oem dm-verity 00000000000000000000000000000000", "FAILunknown command");
}

static void nvram_comes_back_through_the_service_build(void **state)
{
    (void)state;
    AUTO(buf_deinit) struct buf nvram;
    buf_init(&nvram, 1 << 20);
    assert_int_equal(identity_build(&bench.made, "nvram", &nvram, NULL), 0);
    buf_put_zeros(&nvram, layout_find(layout_of(PROFILE_TINY), "nvram")->size_bytes - nvram.len);
    power_off();
    service_lk();
    flash_write("nvram", (uint8_t[4096]){0}, 4096);
    enter_fastboot();
    ask("oem getBootloaderType", "INFOservice");
    expect("OKAY");
    flash("nvram", buf_span(&nvram), "FAILtarget device is locked");
    permit();
    flash("nvram", buf_span(&nvram), "OKAY");
    ask("oem HALT", "OKAY");
    wait_stage(STAGE_HALTED);
    transport_close(&bench.link);
    board_cable_set(bench.phone, false);
    wait_stage(STAGE_OFF);
    board_power_long(bench.phone);
    wait_stage(STAGE_ANDROID);
    json_t *screen = booted_screen();
    assert_string_equal(json_string_value(json_object_get(screen, "serial")),
                        bench.made.label.serial);
    assert_string_equal(json_string_value(json_array_get(json_object_get(screen, "imeis"), 0)),
                        bench.made.label.imei[0]);
    json_decref(screen);
}

static void permission_outlives_the_cable_but_not_lk(void **state)
{
    (void)state;
    uint8_t image[512] = {7};
    power_off();
    service_lk();
    enter_fastboot();
    permit();
    transport_close(&bench.link);
    board_cable_set(bench.phone, false);
    board_cable_set(bench.phone, true);
    import();
    flash("cda_b", span_of(image, sizeof(image)), "OKAY");
    ask("reboot-bootloader", "OKAY");
    transport_close(&bench.link);
    import(); /* perhaps the preloader's window first */
    while (!bench.id.fastboot) {
        transport_close(&bench.link);
        usleep(10000);
        import();
    }
    flash("cda_b", span_of(image, sizeof(image)), "FAILtarget device is locked");
}

static void permission_may_end_with_the_cable(void **state)
{
    (void)state;
    uint8_t image[512] = {7};
    power_off();
    service_lk();
    board_settings(bench.phone)->permission_lost = true;
    enter_fastboot();
    permit();
    flash("cda_b", span_of(image, sizeof(image)), "OKAY");
    transport_close(&bench.link);
    board_cable_set(bench.phone, false);
    board_cable_set(bench.phone, true);
    import();
    flash("cda_b", span_of(image, sizeof(image)), "FAILtarget device is locked");
    board_settings(bench.phone)->permission_lost = false;
}

static void wrong_data_needs_a_new_plug(const char *download, const char *answer, size_t sent)
{
    static const char zeros[1024];
    char byte;
    enter_fastboot();
    ask(download, answer);
    say(zeros, sent);
    expect("FAILRead USB error");
    say("getvar:product", 14);
    assert_int_equal(transport_read(bench.link, &byte, 1, clock_now_ms() + 300, NULL), ERR_TIMEOUT);
    transport_close(&bench.link);
    board_cable_set(bench.phone, false);
    board_cable_set(bench.phone, true);
    import();
    ask("getvar:product", "OKAYPDA");
    assert_int_equal(bench.phone->violation_count, 1);
    assert_string_equal(bench.phone->violations[0].name, "fastboot.data_length");
}

static void short_data_needs_a_new_plug(void **state)
{
    (void)state;
    wrong_data_needs_a_new_plug("download:00001000", "DATA00001000", 5);
}

static void surplus_data_needs_a_new_plug(void **state)
{
    (void)state;
    wrong_data_needs_a_new_plug("download:00000004", "DATA00000004", 512);
}

static void over_a_lost_cable_nothing_hangs(void **state)
{
    (void)state;
    enter_fastboot();
    ask("download:00040000", "DATA00040000");
    board_cable_set(bench.phone, false);
    transport_close(&bench.link);
    board_cable_set(bench.phone, true);
    import();
    ask("getvar:kernel", "OKAYlk");
    power_off();
}

static void without_a_bootloader_the_preloader_comes_and_goes(void **state)
{
    (void)state;
    power_off();
    flash_write("lk_a", "torn", 4);
    board_cable_set(bench.phone, true);
    wait_stage(STAGE_CHARGING);
    board_power_long(bench.phone);
    for (int i = 0; i < 3; i++) {
        wait_stage(STAGE_PRELOADER);
        wait_stage(STAGE_LK); /* looks, and resets */
        wait_stage(STAGE_RESET);
    }
}

int main(void)
{
#define BENCH_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        BENCH_TEST(commercial_refuses),
        BENCH_TEST(nvram_comes_back_through_the_service_build),
        BENCH_TEST(permission_outlives_the_cable_but_not_lk),
        BENCH_TEST(permission_may_end_with_the_cable),
        BENCH_TEST(short_data_needs_a_new_plug),
        BENCH_TEST(surplus_data_needs_a_new_plug),
        BENCH_TEST(over_a_lost_cable_nothing_hangs),
        BENCH_TEST(without_a_bootloader_the_preloader_comes_and_goes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
