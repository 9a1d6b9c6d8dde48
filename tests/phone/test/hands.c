/* The person at the bench takes a phone through the whole procedure, with a station that only moves
 * data. */
#include "tests/unit/rows.h"

#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/phone/control.h"
#include "tests/phone/hands.h"
#include "tests/phone/rack.h"
#include "tests/phone/test/rig.h"
#include "usb/base/clock.h"
#include "usb/base/mem.h"

static struct rig rig;
static struct hands *hands;
static struct reply reply;
static atomic_bool restored; /* the phone has its numbers */
static atomic_int boots, downloads;

static int setup(void **state)
{
    (void)state;
    rig_start(&rig, 1);
    restored = false;
    boots = downloads = 0;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    board_halt(rig.boards[0]);
    hands_stop(&hands);
    rig_stop(&rig);
    return 0;
}

/* Serves one byte, which says what comes next. */
static enum board_next obey(struct board *b)
{
    uint8_t order = 0;
    if (board_usb_attach(b, &rig_gadget) < 0 || board_usb_configured(b, 5000) < 0 ||
        board_out_stream(b, &order, 1, -1) < 0)
        return board_cable(b) ? NEXT_RESET : NEXT_OFF;
    board_sleep(b, 200, false);
    switch (order) {
    case 'f': /* the download agent restarts the phone into fastboot */
        board_boot_target_set(b, TARGET_FASTBOOT, false);
        return NEXT_RESET;
    case 'h': /* power-off by the agent, oem HALT */
        return NEXT_HALT;
    default: /* dead, and still on the bus */
        board_wait_cable(b, false, -1);
        return NEXT_DEAD;
    }
}

static enum board_next rom(struct board *b)
{
    downloads++;
    return obey(b);
}

static enum board_next preloader(struct board *b)
{
    board_sleep(b, 100, false);
    return NEXT_LK;
}

static enum board_next lk(struct board *b)
{
    return board_boot_target_take(b) == TARGET_FASTBOOT ? obey(b) : NEXT_ANDROID;
}

static enum board_next android(struct board *b)
{
    char text[200];
    boots++;
    board_sleep(b, 1000, false);
    snprintf(text, sizeof(text), "{\"serial\":\"%s\",\"imeis\":[\"%s\"],\"baseband\":%s}",
             b->label.serial, b->label.imei[0], restored ? "\"MOLY\"" : "null");
    board_screen_set(b, text);
    while (board_sleep(b, 100000, false) == BOARD_OK)
        ;
    return NEXT_OFF;
}

static void start_hands(void)
{
    rig_firmware = (struct rig_firmware){rom, preloader, lk, android};
    assert_int_equal(hands_start(rig.boards[0], 3, &hands, NULL), 0);
}

/* The station: takes the phone as soon as it is there in this stage, and gives it an order. */
static bool in_brom(const struct board *b)
{
    return b->stage == STAGE_BROM && rig_on_bus(b);
}

static bool in_lk(const struct board *b)
{
    return b->stage == STAGE_LK && rig_on_bus(b);
}

static void order(bool (*where)(const struct board *b), const char *what)
{
    int fd = -1;
    for (;;) { /* its window may close under our hands */
        rig_wait(rig.boards[0], where);
        if (client_try_import(&rig, "1-1", &fd) != USBIP_ST_OK)
            continue;
        if (client_control(fd, 5, (const uint8_t[8]){0, 9, 1}, NULL, NULL) == 0)
            break;
        close(fd);
    }
    client_submit(fd, 20, 0x01, 1, what, 0);
    assert_int_equal(client_reply(fd, false, &reply), 0);
    assert_int_equal(reply.actual, 1);
    if (what[0] != 'd')
        while (client_reply(fd, false, &reply) == 0)
            ;
    close(fd);
}

static bool in_android(const struct board *b)
{
    return b->stage == STAGE_ANDROID && b->screen;
}

static bool whole_and_plugged(const struct board *b)
{
    return b->stage == STAGE_ANDROID && b->screen && b->cable;
}

static void the_whole_procedure(void **state)
{
    (void)state;
    rig_firmware.preloader = preloader;
    rig_firmware.lk = lk;
    rig_firmware.android = android;
    board_power_long(rig.boards[0]);
    rig_wait(rig.boards[0], in_android); /* found there, without baseband */
    start_hands();
    order(in_brom, "f");
    order(in_lk, "h");
    order(in_brom, "h");
    restored = true; /* in time for the boot that the person is about to do */
    rig_wait(rig.boards[0], whole_and_plugged);
    assert_int_equal(downloads, 2);
    assert_int_equal(boots, 2);
    assert_int_equal(board_keys(rig.boards[0]), 0);
}

static bool given_up(const struct board *b)
{
    return !rig_on_bus(b);
}

static void missed_windows_and_dead_agents(void **state)
{
    (void)state;
    clock_scale_set(0.01); /* patience is long */
    start_hands();
    while (downloads < 3) /* nobody comes: again and again */
        usleep(1000);
    order(in_brom, "d");
    rig_wait(rig.boards[0], given_up); /* until then it swallows what it is told */
    order(in_brom, "h");
    restored = true;
    rig_wait(rig.boards[0], whole_and_plugged);
    assert_true(downloads >= 4);
}

/* ---- the program's parts together
 * -------------------------------------------------------------------- */

static json_t *ask(int fd, const char *line)
{
    char text[8192];
    size_t len = 0;
    assert_int_equal(send(fd, line, strlen(line), 0), strlen(line));
    while (len == 0 || text[len - 1] != '\n') {
        ssize_t n = recv(fd, text + len, sizeof(text) - len, 0);
        assert_true(n > 0);
        len += (size_t)n;
    }
    json_t *answer = json_loadb(text, len, 0, NULL);
    assert_true(json_is_object(answer));
    return answer;
}

static void expect(int fd, const char *line, const char *path, const char *want)
{
    json_t *answer = ask(fd, line);
    AUTO(free_ptr)
    char *text = json_dumps(json_object_get(answer, path), JSON_ENCODE_ANY | JSON_COMPACT);
    json_decref(answer);
    assert_string_equal(text ? text : "nothing", want);
}

/* A line that the buffer cannot hold, up to its last byte: it is answered, and the connection ends. */
static void assert_long_line_refused(const struct sockaddr_un *at)
{
    enum { LINE_BYTES = 65536 };
    AUTO(free_ptr) char *line = xcalloc(1, LINE_BYTES + 1);
    memset(line, ' ', LINE_BYTES);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)at, sizeof(*at)), 0);
    expect(fd, line, "code", "\"limit\"");
    assert_int_equal(recv(fd, &(char){0}, 1, 0), 0);
    close(fd);
}

static void control_socket(void **state)
{
    (void)state;
    char dir[] = "/tmp/flashrack-rack-XXXXXX";
    const char *const faults[] = {"1-2:stall@transfer=7"}, *const sets[] = {"1-1:usb_model=exact"};
    assert_non_null(mkdtemp(dir));
    AUTO(free_ptr) char *socket_path = xasprintf("%s/control", dir);
    struct rack_order how = {.listen = "127.0.0.1:0",
                             .state = dir,
                             .control = socket_path,
                             .phones = 2,
                             .profile = PROFILE_TINY,
                             .seed = 9,
                             .slot = 'a',
                             .hands_speed = 100,
                             .faults = faults,
                             .fault_count = 1,
                             .settings = sets,
                             .setting_count = 1};
    struct rack *rack = NULL;
    struct err err;
    rig_firmware = (struct rig_firmware){rom, preloader, lk, android};
    assert_int_equal(rack_start(&how, &rack, &err), 0);
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    snprintf(at.sun_path, sizeof(at.sun_path), "%s", socket_path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);

    expect(fd, "{\"phone\":\"1-1\",\"do\":\"state\"}\n", "stage", "\"off\"");
    expect(fd, "{\"phone\":\"1-1\",\"do\":\"hold\",\"keys\":[\"vol_up\",\"vol_down\"]}\n", "ok",
           "true");
    expect(fd, "{\"phone\":\"1-1\",\"do\":\"state\"}\n", "keys", "[\"vol_up\",\"vol_down\"]");
    expect(fd, "{\"phone\":\"1-1\",\"do\":\"plug\"}\n", "ok", "true");
    rig_wait(rack_find(rack, "1-1"), in_brom);
    expect(fd, "{\"phone\":\"1-1\",\"do\":\"state\"}\n", "usb_id", "\"0e8d:0003\"");
    expect(fd, "{\"phone\":\"1-1\",\"do\":\"release\"}\n", "ok", "true");
    expect(fd, "{\"phone\":\"1-1\",\"do\":\"state\"}\n", "keys", "[]");
    expect(fd, "{\"phone\":\"1-1\",\"do\":\"unplug\"}\n", "ok", "true");
    rig_wait(rack_find(rack, "1-1"), rig_is_off);
    expect(fd, "{\"phone\":\"1-1\",\"do\":\"screen\"}\n", "screen", "{\"display\":\"dark\"}");
    expect(fd, "{\"phone\":\"1-1\",\"do\":\"swap\",\"with\":\"1-2\"}\n", "ok", "true");
    expect(fd, "{\"phone\":\"1-1\",\"do\":\"fault\",\"fault\":\"late@byte=3\"}\n", "ok", "true");
    expect(fd, "{\"phone\":\"1-1\",\"do\":\"fault\",\"fault\":\"late@bite=3\"}\n", "code",
           "\"bad_input\"");
    expect(fd, "{\"phone\":\"1-1\",\"do\":\"settings\",\"set\":{\"colour\":\"red\"}}\n", "code",
           "\"bad_input\"");
    expect(fd, "{\"phone\":\"1-1\",\"do\":\"settings\",\"set\":{\"battery_mv\":\"3000\",\"nope\":\"1\"}}\n",
           "code", "\"bad_input\"");
    assert_int_equal(board_settings(rack_find(rack, "1-1"))->battery_mv, 4000);
    expect(fd, "{\"do\":\"settings\",\"set\":{\"battery_mv\":\"3000\",\"format_stop\":\"1\"}}\n", "ok", "true");
    assert_int_equal(board_settings(rack_find(rack, "1-2"))->battery_mv, 3000);
    expect(fd, "{\"phone\":\"1-1\",\"do\":\"settings\",\"set\":[1]}\n", "code", "\"bad_input\"");
    expect(fd, "{\"phone\":1,\"do\":\"state\"}\n", "code", "\"bad_input\"");
    expect(fd, "{\"phone\":\"1-1\",\"do\":\"release\",\"keys\":\"power\"}\n", "code", "\"bad_input\"");
    expect(fd, "{\"phone\":\"1-1\",\"do\":\"swap\",\"with\":\"1-1\"}\n", "code", "\"bad_input\"");
    expect(fd, "{\"phone\":\"1-2\",\"do\":\"bytes_written\"}\n", "bytes_written", "0");
    expect(fd, "{\"phone\":\"1-3\",\"do\":\"plug\"}\n", "code", "\"not_found\"");
    expect(fd, "{\"do\":\"plug\"}\n", "ok", "false");
    expect(fd, "[1]\n", "ok", "false");
    expect(fd, "{\"do\":\"plug\"\n", "ok", "false");
    board_violation(rack_find(rack, "1-2"), "test.made_up");
    expect(fd, "{\"phone\":\"1-2\",\"do\":\"violations\"}\n", "violations", "{\"test.made_up\":1}");
    json_t *all = ask(fd, "{\"do\":\"settings\"}\n"), *phones = json_object_get(all, "phones");
    assert_int_equal(json_array_size(phones), 2);
    assert_string_equal(json_string_value(json_object_get(
                            json_object_get(json_array_get(phones, 0), "settings"), "usb_model")),
                        "exact");
    assert_string_equal(json_string_value(json_object_get(
                            json_object_get(json_array_get(phones, 1), "settings"), "usb_model")),
                        "field");
    json_decref(all);
    assert_long_line_refused(&at);
    rack_stop(&rack);
    assert_int_equal(recv(fd, &(char){0}, 1, 0), 0);
    close(fd);
    assert_int_equal(access(socket_path, F_OK), -1);
    how.faults = (const char *const[]){"1-7:stall"};
    assert_int_equal(rack_start(&how, &rack, &err), ERR_NOT_FOUND);
    AUTO(free_ptr) char *command = xasprintf("rm -rf '%s'", dir);
    assert_int_equal(system(command), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_whole_procedure, setup, teardown),
        cmocka_unit_test_setup_teardown(missed_windows_and_dead_agents, setup, teardown),
        cmocka_unit_test(control_socket),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
