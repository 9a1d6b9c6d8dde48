/* What starts a phone and what it forgets: keys, cable, power, flash, faults of the eMMC. */
#include "tests/unit/rows.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/phone/test/rig.h"
#include "usb/base/clock.h"
#include "usb/base/mem.h"

static struct rig rig;
static char trail[256]; /* the stages that ran, one letter each */
static pthread_mutex_t trail_lock = PTHREAD_MUTEX_INITIALIZER;

static void note(const char *what)
{
    pthread_mutex_lock(&trail_lock);
    strncat(trail, what, sizeof(trail) - strlen(trail) - 1);
    pthread_mutex_unlock(&trail_lock);
}

/* A stage is entered a moment before it notes so. */
static void expect_trail(const char *want)
{
    char seen[sizeof(trail)] = "";
    for (int64_t until = clock_now_ms() + RIG_PATIENCE_MS; clock_now_ms() < until; usleep(1000)) {
        pthread_mutex_lock(&trail_lock);
        memcpy(seen, trail, sizeof(seen));
        pthread_mutex_unlock(&trail_lock);
        if (strlen(seen) >= strlen(want))
            break;
    }
    assert_string_equal(seen, want);
    pthread_mutex_lock(&trail_lock);
    trail[0] = '\0';
    pthread_mutex_unlock(&trail_lock);
}

static enum board_next rom(struct board *b)
{
    note("B");
    board_wait_cable(b, false, -1);
    return NEXT_OFF;
}

static enum board_next preloader(struct board *b)
{
    static const char *const reasons[] = {"c", "k", "r"};
    note("P");
    note(reasons[board_start_reason(b)]);
    return NEXT_LK;
}

static enum board_next lk(struct board *b)
{
    (void)b;
    note("L");
    return NEXT_ANDROID;
}

static enum board_next android(struct board *b)
{
    note("A");
    board_screen_set(b, "{\"serial\":\"x\"}");
    while (board_sleep(b, 100000, false) == BOARD_OK)
        ;
    return NEXT_OFF;
}

static int setup(void **state)
{
    (void)state;
    trail[0] = '\0';
    rig_start(&rig, 2);
    rig_firmware = (struct rig_firmware){rom, preloader, lk, android};
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    rig_stop(&rig);
    return 0;
}

static bool is_charging(const struct board *b)
{
    return b->stage == STAGE_CHARGING;
}

static bool is_off(const struct board *b)
{
    return b->stage == STAGE_OFF;
}

static bool in_brom(const struct board *b)
{
    return b->stage == STAGE_BROM;
}

static bool android_up(const struct board *b)
{
    return b->stage == STAGE_ANDROID && b->screen;
}

static bool is_halted(const struct board *b)
{
    return b->stage == STAGE_HALTED;
}

static bool is_dead(const struct board *b)
{
    return b->stage == STAGE_DEAD;
}

static void cable_alone_ends_on_the_charging_screen(void **state)
{
    (void)state;
    struct board *b = rig.boards[0];
    board_keys_hold(b, KEY_VOL_UP); /* one key is not both */
    board_cable_set(b, true);
    rig_wait(b, is_charging);
    expect_trail("Pc");
    board_keys_hold(b, KEY_VOL_DOWN); /* too late: the cable has to come in with the keys held */
    board_cable_set(b, false);
    rig_wait(b, is_off);
    expect_trail("");
    board_cable_set(b, true);
    rig_wait(b, in_brom);
    board_cable_set(b, false);
    rig_wait(b, is_off);
    expect_trail("B");
}

static void cable_and_volume_down_start_the_bootloader(void **state)
{
    (void)state;
    struct board *b = rig.boards[0];
    board_keys_hold(b, KEY_VOL_DOWN);
    board_cable_set(b, true);
    rig_wait(b, android_up); /* where the rig's bootloader goes whatever is held */
    expect_trail("PcLA");
}

static void power_key_starts_and_forces_off(void **state)
{
    (void)state;
    struct board *b = rig.boards[0];
    board_power_long(b);
    rig_wait(b, android_up);
    expect_trail("PkLA");
    board_cable_set(b, true);
    board_power_long(b); /* forced off, and the cable starts it like a charger */
    rig_wait(b, is_charging);
    expect_trail("Pc");
    board_power_long(b);
    rig_wait(b, android_up);
    board_cable_set(b, false);
    board_power_long(b);
    rig_wait(b, is_off);
    expect_trail("PkLA");
}

/* A person looks whether it worked, and presses the key again if not: what they see must be true. */
static void power_key_is_held_until_the_phone_reacts(void **state)
{
    (void)state;
    struct board *b = rig.boards[0];
    for (int i = 0; i < 20; i++) {
        board_power_long(b);
        assert_false(rig_is_off(b));
        rig_wait(b, android_up);
        (i % 2 ? board_power_long : board_force_off)(b);
        assert_true(rig_is_off(b));
        board_force_off(b); /* nothing to do */
        assert_true(rig_is_off(b) && !b->power_key_edge);
    }
}

static void empty_battery_needs_the_cable(void **state)
{
    (void)state;
    struct board *b = rig.boards[0];
    b->settings.battery_mv = 3000;
    board_power_long(b);
    assert_false(b->power_key_edge);
    board_cable_set(b, true);
    rig_wait(b, is_charging);
    expect_trail("Pc");
}

static enum board_next halting(struct board *b)
{
    (void)b;
    note("H");
    return NEXT_HALT;
}

static enum board_next dying(struct board *b)
{
    (void)b;
    note("D");
    return NEXT_DEAD;
}

static void halt_waits_for_the_cable(void **state)
{
    (void)state;
    struct board *b = rig.boards[0];
    rig_firmware.brom = halting;
    board_keys_hold(b, KEY_VOL_UP | KEY_VOL_DOWN);
    board_cable_set(b, true);
    rig_wait(b, is_halted);
    board_cable_set(b, false); /* as fast as nobody does it: still seen */
    rig_firmware.brom = rom;
    board_cable_set(b, true);
    rig_wait(b, in_brom);
    expect_trail("HB");
}

static void dead_needs_the_power_key(void **state)
{
    (void)state;
    struct board *b = rig.boards[0];
    rig_firmware.brom = dying;
    board_keys_hold(b, KEY_VOL_UP | KEY_VOL_DOWN);
    board_cable_set(b, true);
    rig_wait(b, is_dead);
    board_cable_set(b, false);
    board_cable_set(b, true);
    board_keys_release(b, ~0u);
    board_cable_set(b, false);
    board_power_long(b);
    rig_wait(b, is_off);
    expect_trail("D");
}

static enum board_next resetting(struct board *b)
{
    note("R");
    board_boot_target_set(b, TARGET_FASTBOOT, true);
    rig_firmware.brom = rom;
    return NEXT_RESET;
}

static enum board_next careful_lk(struct board *b)
{
    bool bit = board_download_bit_take(b);
    note(board_boot_target_take(b) == TARGET_FASTBOOT && bit ? "f" : "-");
    note(board_boot_target_take(b) == TARGET_NORMAL && !board_download_bit_take(b) ? "n" : "-");
    return NEXT_BROM;
}

static void reset_carries_the_boot_target_once(void **state)
{
    (void)state;
    struct board *b = rig.boards[0];
    rig_firmware.brom = resetting;
    rig_firmware.lk = careful_lk;
    board_keys_hold(b, KEY_VOL_UP | KEY_VOL_DOWN);
    board_cable_set(b, true);
    expect_trail("RPrfnB");
}

static void without_preloader_the_rom_waits(void **state)
{
    (void)state;
    struct board *b = rig.boards[0];
    assert_true(flash_preloader_bootable(b));
    uint8_t torn[256] = {1};
    assert_int_equal(board_flash_write(b, AREA_BOOT1, 0x2000, torn, sizeof(torn)), 0);
    assert_false(flash_preloader_bootable(b));
    board_cable_set(b, true);
    rig_wait(b, in_brom);
    board_cable_set(b, false);
    rig_wait(b, is_off);
    board_power_long(b); /* nothing to start, no tool to wait for */
    expect_trail("B");
}

/* ---- flash
 * ------------------------------------------------------------------------------------------ */

static void flash_keeps_what_is_written(void **state)
{
    (void)state;
    struct board *b = rig.boards[0];
    static uint8_t data[300000], back[300000];
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (i / 8192) % 3 == 1 ? 0 : (uint8_t)(i * 13 + 1);
    const uint64_t at = 1000; /* blocks of the host's file system do not fit */
    assert_int_equal(board_flash_write(b, AREA_USER, at, data, sizeof(data)), 0);
    assert_int_equal(board_flash_read(b, AREA_USER, at, back, sizeof(back)), 0);
    assert_memory_equal(back, data, sizeof(data));
    assert_int_equal(b->bytes_written, sizeof(data));
    assert_int_equal(board_flash_zero(b, AREA_USER, at + 10, 100000), 0);
    assert_int_equal(board_flash_read(b, AREA_USER, at, back, sizeof(back)), 0);
    memset(data + 10, 0, 100000);
    assert_memory_equal(back, data, sizeof(data));
    assert_int_equal(b->bytes_written, sizeof(data) + 100000);
}

static void zeros_become_holes(void **state)
{
    (void)state;
    struct board *b = rig.boards[0];
    struct stat before, full, empty;
    static uint8_t data[1 << 20];
    const uint64_t at = 4 << 20;
    memset(data, 0, sizeof(data));
    assert_int_equal(board_flash_zero(b, AREA_USER, at, sizeof(data)), 0);
    assert_int_equal(fstat(b->user.fd, &before), 0);
    memset(data, 0x5a, sizeof(data));
    assert_int_equal(board_flash_write(b, AREA_USER, at, data, sizeof(data)), 0);
    assert_int_equal(fstat(b->user.fd, &full), 0);
    memset(data, 0, sizeof(data));
    assert_int_equal(board_flash_write(b, AREA_USER, at, data, sizeof(data)), 0);
    assert_int_equal(fstat(b->user.fd, &empty), 0);
    assert_true(full.st_blocks >= before.st_blocks + 2048);
    assert_true(empty.st_blocks <= before.st_blocks);
    assert_int_equal(empty.st_size, before.st_size);
}

static void flash_has_ends_and_faults(void **state)
{
    (void)state;
    struct board *b = rig.boards[0];
    uint8_t block[512] = {1};
    uint64_t size = board_area_size(b, AREA_USER);
    assert_int_equal(board_flash_write(b, AREA_USER, size - 512, block, 512), 0);
    assert_int_equal(board_flash_write(b, AREA_USER, size - 511, block, 512), BOARD_STORAGE);
    assert_int_equal(board_flash_read(b, AREA_USER, UINT64_MAX - 100, block, 512), BOARD_STORAGE);
    assert_int_equal(board_flash_read(b, (enum board_area)7, 0, block, 512), BOARD_STORAGE);
    assert_int_equal(fault_plan_add(&b->faults, "storage_write@byte=8200", NULL), 0);
    assert_int_equal(board_flash_write(b, AREA_USER, 7680, block, 512), 0);
    assert_int_equal(board_flash_write(b, AREA_USER, 8704, block, 512), 0);
    assert_int_equal(board_flash_write(b, AREA_BOOT1, 8192, block, 512), 0);
    assert_int_equal(board_flash_read(b, AREA_USER, 8192, block, 512), 0);
    assert_int_equal(board_flash_write(b, AREA_USER, 8192, block, 8),
                     BOARD_STORAGE); /* its block */
    assert_int_equal(board_flash_write(b, AREA_USER, 8192, block, 512), 0);
    assert_int_equal(fault_plan_add(&b->faults, "storage_write@byte=8200", NULL), 0);
    assert_int_equal(board_flash_zero(b, AREA_USER, 8704, 4096), 0);
    assert_int_equal(board_flash_zero(b, AREA_USER, 4096, 8192), BOARD_STORAGE);
    assert_int_equal(fault_plan_add(&b->faults, "storage_read@byte=0@area=boot1", NULL), 0);
    assert_int_equal(board_flash_read(b, AREA_USER, 0, block, 512), 0);
    assert_int_equal(board_flash_read(b, AREA_BOOT1, 0, block, 512), BOARD_STORAGE);
}

static uint8_t old_block[512], new_block[512];

static enum board_next writing(struct board *b)
{
    note("W");
    while (board_sleep(b, 1000000, false) == BOARD_OK)
        ;
    /* Power is gone in the middle of this write. */
    note(board_flash_write(b, AREA_USER, 0, new_block, sizeof(new_block)) == BOARD_GONE ? "g"
                                                                                        : "-");
    return NEXT_OFF;
}

static void power_cut_tears_a_block(void **state)
{
    (void)state;
    struct board *b = rig.boards[0];
    uint8_t back[512];
    memset(old_block, 0x11, sizeof(old_block));
    memset(new_block, 0x22, sizeof(new_block));
    assert_int_equal(board_flash_write(b, AREA_USER, 0, old_block, sizeof(old_block)), 0);
    rig_firmware.android = writing;
    board_power_long(b);
    expect_trail("PkLW");
    board_power_long(b);
    rig_wait(b, is_off);
    expect_trail("g");
    assert_int_equal(board_flash_read(b, AREA_USER, 0, back, sizeof(back)), 0);
    assert_memory_equal(back, new_block, 256);
    assert_memory_equal(back + 256, old_block, 256);
}

/* ---- what lasts
 * -------------------------------------------------------------------------------------- */

static void state_survives_the_program(void **state)
{
    (void)state;
    struct board *b = rig.boards[0];
    uint8_t block[512] = {7};
    char dir[128];
    struct err err;
    assert_int_equal(board_flash_write(b, AREA_USER, 0, block, sizeof(block)), 0);
    board_cable_set(b, true);
    rig_wait(b, is_charging);
    board_power_long(b);
    rig_wait(b, android_up);
    snprintf(dir, sizeof(dir), "%s", b->dir);
    board_stop(b);
    expect_trail("PcPkLA");
    struct board_new how = {"1-1", dir, 1, false, 100};
    struct board *again;
    assert_int_equal(board_open(&how, &again, &err), 0);
    assert_true(again->cable);
    assert_int_equal(again->bytes_written, 512);
    assert_int_equal(board_run(again, &err), 0);
    rig_wait(again, android_up);
    expect_trail("PkLA");
    board_stop(again);
    board_close(&again);
    assert_int_equal(board_run(b, &err), 0); /* for the teardown */
}

static void phones_change_places(void **state)
{
    (void)state;
    struct board *a = rig.boards[0], *b = rig.boards[1];
    struct err err;
    uint8_t me_id[16], head[512] = {9}, back[512];
    memcpy(me_id, a->chip.me_id, sizeof(me_id));
    assert_int_equal(board_flash_write(a, AREA_USER, 0, head, sizeof(head)), 0);
    board_cable_set(b, true);
    rig_wait(b, is_charging);
    assert_int_equal(board_swap(a, b, &err), ERR_CONFLICT);
    board_cable_set(b, false);
    rig_wait(b, is_off);
    assert_int_equal(board_swap(a, b, &err), 0);
    assert_memory_equal(board_chip(b)->me_id, me_id, sizeof(me_id));
    assert_int_equal(board_flash_read(b, AREA_USER, 0, back, sizeof(back)), 0);
    assert_memory_equal(back, head, sizeof(head));
    assert_string_equal(board_name(b), "1-2");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define ONE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
        ONE(cable_alone_ends_on_the_charging_screen),
        ONE(cable_and_volume_down_start_the_bootloader),
        ONE(power_key_starts_and_forces_off),
        ONE(power_key_is_held_until_the_phone_reacts),
        ONE(empty_battery_needs_the_cable),
        ONE(halt_waits_for_the_cable),
        ONE(dead_needs_the_power_key),
        ONE(reset_carries_the_boot_target_once),
        ONE(without_preloader_the_rom_waits),
        ONE(flash_keeps_what_is_written),
        ONE(zeros_become_holes),
        ONE(flash_has_ends_and_faults),
        ONE(power_cut_tears_a_block),
        ONE(state_survives_the_program),
        ONE(phones_change_places),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
