/* The parts of the emulated phone's hardware that need no phone: settings, faults, standard
 * requests, and what the person at the bench decides. */
#include "tests/unit/rows.h"

#include <stdio.h>

#include "tests/phone/hands.h"
#include "tests/phone/hardware.h"
#include "tests/phone/usb_standard.h"
#include "usb/base/clock.h"
#include "usb/base/mem.h"

/* ---- settings
 * ------------------------------------------------------------------------------------- */

static const struct setting_row {
    const char *name, *setting, *value;
    int want;
    const char *reads; /* the value as it comes back; NULL: as before */
} setting_rows[] = {
    {"choice", "usb_model", "exact", 0, "exact"},
    {"other choice", "da_build", "2017", 0, "2017"},
    {"no such choice", "usb_model", "best", ERR_INPUT, "field"},
    {"flag", "format_stop", "true", 0, "1"},
    {"flag off", "format_stop", "0", 0, "0"},
    {"flag that is none", "format_stop", "yes", ERR_INPUT, "0"},
    {"number", "brom_window_ms", "700", 0, "700"},
    {"hexadecimal", "fastboot_vid", "0x18d1", 0, "6353"},
    {"too large for 16 bits", "fastboot_pid", "0x10000", ERR_INPUT, "49161"},
    {"negative", "battery_mv", "-1", ERR_INPUT, "4000"},
    {"64 bits", "max_download", "0x100000000", 0, "4294967296"},
    {"text", "verity_refusal", "no!", 0, "no!"},
    {"text too long", "verity_refusal", "a text of more characters than there is room for", ERR_INPUT,
     "dm-verity verify failed"},
    {"no such setting", "colour", "red", ERR_INPUT, NULL},
};

struct wanted {
    const char *name;
    char value[32];
};

static void find_setting(void *arg, const char *name, const char *value)
{
    struct wanted *w = arg;
    if (strcmp(name, w->name) == 0)
        snprintf(w->value, sizeof(w->value), "%s", value);
}

static void setting_row(void **state)
{
    const struct setting_row *row = ROW(state);
    struct board_settings s;
    struct err err;
    struct wanted w = {row->setting, ""};
    settings_default(&s);
    assert_int_equal(settings_set(&s, row->setting, row->value, &err), row->want);
    settings_each(&s, find_setting, &w);
    assert_string_equal(w.value, row->reads ? row->reads : "");
}

static const struct keys_row {
    const char *name; /* value of the setting */
    unsigned held;
    bool leads;
} keys_rows[] = {
    {"both", KEY_VOL_UP | KEY_VOL_DOWN, true},
    {"both", KEY_VOL_UP, false},
    {"vol_up", KEY_VOL_UP, true},
    {"vol_up", KEY_VOL_UP | KEY_VOL_DOWN, false},
    {"vol_down", KEY_VOL_DOWN | KEY_POWER, true},
    {"vol_down", KEY_VOL_UP, false},
};

static void download_keys(void **state)
{
    const struct keys_row *row = ROW(state);
    struct board_settings s;
    settings_default(&s);
    assert_int_equal(settings_set(&s, "download_keys", row->name, NULL), 0);
    assert_int_equal(board_download_keys(&s, row->held), row->leads);
}

/* ---- faults
 * --------------------------------------------------------------------------------------- */

/* Ten transfers of 100 bytes; from the sixth on the phone is on the bus for the second time, in LK.
 */
static const struct fault_row {
    const char *name, *spec;
    int want; /* transfer it happens to, 0: none, negative: refused */
} fault_rows[] = {
    {"first occasion", "stall", 1},
    {"third transfer", "stall@transfer=3", 3},
    {"byte inside a transfer", "corrupt@byte=250", 3},
    {"last byte of a transfer", "corrupt@byte=300", 3},
    {"first byte of the next", "corrupt@byte=301", 4},
    {"second step", "late@step=2", 6},
    {"third transfer of the second step", "late@step=2@transfer=3", 8},
    {"third transfer in LK", "late@step=lk@transfer=3", 8},
    {"byte in LK", "late@step=lk@byte=101", 7},
    {"past the end", "unplug@transfer=11", 0},
    {"other stage", "unplug@step=android", 0},
    {"word of the firmware", "no_alive_byte", 0},
    {"control transfers are not these", "stall@control=1", 0},
    {"no word", "@transfer=1", ERR_INPUT},
    {"a slip", "unplugg@transfer=3", ERR_INPUT},
    {"a slip in a word of the firmware", "lying_writes", ERR_INPUT},
    {"a stage that does not exist", "unplug@step=bromm", ERR_INPUT},
    {"a time for what takes none", "unplug@ms=5", ERR_INPUT},
    {"no such place", "stall@moon=1", ERR_INPUT},
    {"no number", "stall@transfer=x", ERR_INPUT},
};

static void fault_row(void **state)
{
    const struct fault_row *row = ROW(state);
    struct fault_plan plan;
    struct err err;
    int hit = 0;
    fault_plan_init(&plan);
    int rc = fault_plan_add(&plan, row->spec, &err);
    assert_int_equal(rc, row->want < 0 ? row->want : 0);
    fault_plan_step(&plan, "brom");
    for (int i = 1; i <= 10; i++) {
        struct fault_spec spec;
        if (i == 6)
            fault_plan_step(&plan, "lk");
        if (fault_plan_transfer(&plan, false, NULL, 100, &spec) != FAULT_NONE) {
            assert_int_equal(hit, 0); /* once */
            hit = i;
        }
    }
    assert_int_equal(hit, row->want < 0 ? 0 : row->want);
    fault_plan_deinit(&plan);
}

/* A fault on flash happens to what touches its byte; `place` is what the firmware is about to touch. */
static const struct flash_fault_row {
    const char *name, *spec;
    struct fault_place place;
    bool due;
} flash_fault_rows[] = {
    {"behind the place", "storage_write@byte=5000", {"user", 5001, 512}, false},
    {"far behind it", "lying_write@byte=100", {"user", 0x800000, 0x100000}, false},
    {"ends where it begins", "storage_write@byte=5000", {"user", 4488, 512}, false},
    {"before it", "storage_read@byte=5000", {"user", 0, 512}, false},
    {"begins there", "storage_write@byte=5000", {"user", 5000, 1}, true},
    {"ends with it", "storage_write@byte=5000", {"user", 4489, 512}, true},
    {"around it", "flash_fails@byte=5000", {"user", 0, 0x100000}, true},
    {"nothing is touched", "storage_write@byte=5000", {"user", 5000, 0}, false},
    {"the place in another area", "storage_write@byte=5000", {"boot1", 4096, 4096}, false},
    {"a boot area", "storage_write@byte=5000@area=boot1", {"boot1", 4096, 4096}, true},
    {"USER, and a boot area was meant",
     "storage_write@byte=5000@area=boot1",
     {"user", 0, 8192},
     false},
    {"anywhere in a boot area", "lying_write@area=boot2", {"boot2", 0x300000, 512}, true},
    {"anywhere", "lying_write", {"boot2", 0x300000, 512}, true},
    {"up to the end of numbers", "lying_write@byte=5000", {"user", UINT64_MAX - 4, 4}, false},
};

static void flash_fault(void **state)
{
    const struct flash_fault_row *row = ROW(state);
    struct fault_plan plan;
    struct fault_spec spec;
    fault_plan_init(&plan);
    assert_int_equal(fault_plan_add(&plan, row->spec, NULL), 0);
    assert_int_equal(fault_spec_parse(row->spec, &spec, NULL), 0);
    const char *word = fault_kind_word(spec.kind);
    assert_false(fault_plan_due(&plan, "log_packet", NULL, NULL));
    assert_int_equal(fault_plan_due(&plan, word, &row->place, NULL), row->due);
    if (row->due) /* once */
        assert_false(fault_plan_due(&plan, word, &row->place, NULL));
    assert_int_equal(fault_plan_clear(&plan), row->due ? 0 : 1);
    fault_plan_deinit(&plan);
}

static void control_transfers_count_by_themselves(void **state)
{
    (void)state;
    struct fault_plan plan;
    struct fault_spec spec;
    fault_plan_init(&plan);
    fault_plan_step(&plan, "brom");
    assert_int_equal(fault_plan_add(&plan, "garbage@step=brom@control=2@seed=7", NULL), 0);
    assert_int_equal(fault_plan_transfer(&plan, true, NULL, 8, &spec), FAULT_NONE);
    assert_int_equal(fault_plan_control(&plan, &spec), FAULT_NONE);
    assert_int_equal(fault_plan_transfer(&plan, true, NULL, 8, &spec), FAULT_NONE);
    assert_int_equal(fault_plan_control(&plan, &spec), FAULT_GARBAGE);
    assert_int_equal(spec.seed, 7);
    assert_int_equal(fault_plan_control(&plan, &spec), FAULT_NONE);
    fault_plan_deinit(&plan);
}

/* The page that people read names every kind, each in a row of its own. */
static void the_page_lists_every_fault(void **state)
{
    (void)state;
    static char page[256 * 1024];
    FILE *f = fopen(SOURCE_DIR "/tests/phone/README.md", "r");
    assert_non_null(f);
    page[fread(page, 1, sizeof(page) - 1, f)] = '\0';
    fclose(f);
    for (int kind = FAULT_NONE + 1; kind < FAULT_KIND_COUNT; kind++) {
        char row[200];
        snprintf(row, sizeof(row), "\n| %s | %s |", fault_kind_word(kind), fault_kind_text(kind));
        if (!strstr(page, row))
            fail_msg("tests/phone/README.md lacks: %s", row + 1);
    }
}

/* ---- the person
 * ------------------------------------------------------------------------------------ */

#define SEE(d, ...)                                                                                \
    {                                                                                              \
        .display = DISPLAY_##d, __VA_ARGS__                                                        \
    }
static const struct hands_row {
    const char *name;
    struct view view;
    enum memory memory;
    unsigned fruitless;
    enum action want;
} hands_rows[] = {
    {"found switched off", SEE(DARK, .cable = false), MEMORY_NOTHING, 0, ACTION_DOWNLOAD},
    {"missed its window", SEE(CHARGING, .cable = true), MEMORY_NOTHING, 0, ACTION_DOWNLOAD},
    {"at work", SEE(DARK, .cable = true, .on_bus = true), MEMORY_DOWNLOAD, 0, ACTION_WAIT},
    {"between two identities", SEE(DARK, .cable = true, .quiet_ms = 1000), MEMORY_DOWNLOAD, 0,
     ACTION_WAIT},
    {"agent said goodbye", SEE(DARK, .cable = true, .quiet_ms = 3000), MEMORY_DOWNLOAD, 0,
     ACTION_POWER_ON},
    {"halted", SEE(DARK, .cable = true, .quiet_ms = 3000), MEMORY_BOOTLOADER, 0, ACTION_DOWNLOAD},
    {"hangs on the bus", SEE(DARK, .cable = true, .on_bus = true, .idle_ms = 61000),
     MEMORY_DOWNLOAD, 0, ACTION_FORCE},
    {"boot loop", SEE(DARK, .cable = true, .quiet_ms = 10, .idle_ms = 61000), MEMORY_NOTHING, 0,
     ACTION_FORCE},
    {"nothing came twice", SEE(DARK, .cable = true, .quiet_ms = 3000), MEMORY_NOTHING, 2,
     ACTION_FORCE},
    {"bootloader", SEE(BOOTLOADER, .cable = true, .idle_ms = 999999), MEMORY_BOOTLOADER, 0,
     ACTION_WAIT},
    {"bootloader unplugged", SEE(BOOTLOADER, .cable = false), MEMORY_BOOTLOADER, 0, ACTION_PLUG},
    {"logo on the way up", SEE(BOOTLOADER, .cable = false), MEMORY_POWERED_ON, 0, ACTION_WAIT},
    {"stuck in the bootloader", SEE(BOOTLOADER, .cable = false, .quiet_ms = 3000),
     MEMORY_POWERED_ON, 0, ACTION_FORCE},
    {"starting", SEE(DARK, .cable = false, .idle_ms = 20000), MEMORY_POWERED_ON, 0, ACTION_WAIT},
    {"does not start", SEE(DARK, .cable = false, .idle_ms = 91000), MEMORY_POWERED_ON, 0,
     ACTION_FORCE},
    {"Android comes up", SEE(ANDROID, .cable = false), MEMORY_NOTHING, 0, ACTION_WAIT},
    {"no baseband", SEE(ANDROID, .cable = true, .numbers = true), MEMORY_NOTHING, 0, ACTION_FORCE},
    {"whole", SEE(ANDROID, .cable = true, .numbers = true, .own = true), MEMORY_NOTHING, 0,
     ACTION_WAIT},
    {"whole, unplugged", SEE(ANDROID, .cable = false, .numbers = true, .own = true), MEMORY_NOTHING,
     0, ACTION_PLUG},
};

static void hands_row(void **state)
{
    const struct hands_row *row = ROW(state);
    assert_int_equal(hands_decide(&row->view, row->memory, row->fruitless), row->want);
}

/* ---- standard requests: what the USB/IP test does not reach
 * ----------------------------------------- */

static void broken_descriptors_do_not_mislead(void **state)
{
    (void)state;
    static const uint8_t device[18] = {18, 1};
    static const uint8_t config[] = {9, 2,    40, 0, 1, 1, 0, 0xc0, 0, 8,
                                     5, 0x81, 2,  0, 2, 0, 0, 0,    5, 7};
    const struct gadget g = {
        .device_desc = device, .config_desc = config, .config_len = sizeof(config)};
    struct usb_state s = {.configuration = 1};
    enum usb_effect effect;
    uint8_t in[2];
    const uint8_t status[8] = {0x80, 0, 0, 0, 0, 0, 2};
    assert_true(usb_has_endpoint(&g, 0x81));  /* an endpoint descriptor of 8 bytes */
    assert_false(usb_has_endpoint(&g, 0x07)); /* a length of 0 ends the walk */
    assert_int_equal(usb_standard(&g, &s, status, in, sizeof(in), &effect), 2);
    assert_int_equal(in[0], 1); /* self powered */
    assert_int_equal(usb_standard(&g, &s, status, in, 1, &effect),
                     1); /* no more than there is room */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(control_transfers_count_by_themselves),
        cmocka_unit_test(the_page_lists_every_fault),
        cmocka_unit_test(broken_descriptors_do_not_mislead),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    failed += RUN_ROWS(setting_row, setting_rows);
    failed += RUN_ROWS(download_keys, keys_rows);
    failed += RUN_ROWS(fault_row, fault_rows);
    failed += RUN_ROWS(flash_fault, flash_fault_rows);
    failed += RUN_ROWS(hands_row, hands_rows);
    return failed;
}
