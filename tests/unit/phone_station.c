/* The station's own conversations (usb/proto) with the emulated phone over USB/IP, as a job has
 * them: boot ROM, both stages of the agent, speed switch, flash by address and by name, reboot into
 * fastboot; in every USB model and every agent build, without one host mistake. */
#include <sys/mman.h>

#include "tests/unit/phone_bench.h"
#include "tests/unit/rows.h"
#include "usb/base/io.h"
#include "usb/base/mem.h"
#include "usb/transport/record.h"
#include "usb/transport/replay.h"

static int to_buf(void *arg, const void *data, size_t len, struct err *err)
{
    buf_put(arg, data, len);
    return buf_check(arg, err);
}

struct source {
    const uint8_t *data;
    size_t at;
};
static int from_memory(void *arg, void *dst, size_t len, struct err *err)
{
    struct source *s = arg;
    (void)err;
    memcpy(dst, s->data + s->at, len);
    s->at += len;
    return 0;
}

static void write_and_read_back(struct phone_session *s, const struct gpt *table)
{
    struct err err = {0};
    struct extent userdata, nvram;
    phone_ok(gpt_lookup(table, "userdata", &userdata, &err), &err);
    phone_ok(gpt_lookup(table, "nvram", &nvram, &err), &err);
    size_t len = (size_t)MIN_OF(userdata.size_bytes, (uint64_t)(9 << 20) + 512);
    AUTO(free_ptr) uint8_t *data = xcalloc(1, len);
    for (size_t i = 0; i < len; i++)
        data[i] = (uint8_t)(i * 7 + (i >> 12));
    AUTO(buf_deinit) struct buf got;
    buf_init(&got, len);
    struct source source = {data, 0};
    phone_ok(da_write(&s->da, XFLASH_USER, userdata.start_bytes, len, from_memory, &source, &err),
             &err);
    phone_ok(da_read(&s->da, XFLASH_USER, userdata.start_bytes, len, to_buf, &got, &err), &err);
    assert_int_equal(got.len, len);
    assert_memory_equal(got.data, data, len);
    AUTO(buf_deinit) struct buf was, again;
    buf_init(&was, nvram.size_bytes);
    buf_init(&again, nvram.size_bytes);
    phone_ok(da_upload(&s->da, "nvram", nvram.size_bytes, to_buf, &was, &err), &err);
    source = (struct source){was.data, 0};
    phone_ok(da_download(&s->da, "nvram", nvram.size_bytes, was.len, from_memory, &source, &err),
             &err);
    phone_ok(
        da_read(&s->da, XFLASH_USER, nvram.start_bytes, nvram.size_bytes, to_buf, &again, &err),
        &err);
    assert_memory_equal(again.data, was.data, was.len);
}

static int up(void **state)
{
    (void)state;
    return phone_bench_up(PROFILE_TINY);
}

static int down(void **state)
{
    (void)state;
    return phone_bench_down();
}

struct variant {
    const char *name;
    enum usb_model model;
    enum da_build build;
};
static const struct variant variants[] = {
    {"field, 2018", MODEL_FIELD, BUILD_2018},       {"field, 2017", MODEL_FIELD, BUILD_2017},
    {"field, 2019", MODEL_FIELD, BUILD_2019},       {"buffered, 2018", MODEL_BUFFERED, BUILD_2018},
    {"buffered, 2017", MODEL_BUFFERED, BUILD_2017}, {"buffered, 2019", MODEL_BUFFERED, BUILD_2019},
    {"exact, 2018", MODEL_EXACT, BUILD_2018},       {"exact, 2017", MODEL_EXACT, BUILD_2017},
    {"exact, 2019", MODEL_EXACT, BUILD_2019},
};

static void whole_session(void **state)
{
    const struct variant *v = ROW(state);
    struct err err = {0};
    struct phone_session s = {0};
    AUTO(free_ptr) struct gpt *table = xcalloc(1, sizeof(*table));
    board_settings(phone_bench.phone)->usb_model = v->model;
    board_settings(phone_bench.phone)->da_build = v->build;
    board_settings(phone_bench.phone)->preloader_window_ms =
        100; /* nobody wants it on the way to LK */
    phone_plug(phone_bench.phone, true);
    phone_take(&s, BROM_USB_PID_BROM);
    phone_start_agent(&s, BROM_STAGE_BROM);
    phone_ok(da_switch_usb_speed(&s.da, &err), &err);
    phone_take(&s, BROM_USB_PID_DA_HIGHSPEED);
    da_reattach(&s.da, &s.link);
    phone_read_table(&s, table);
    write_and_read_back(&s, table);
    board_keys_release(phone_bench.phone, KEY_VOL_UP | KEY_VOL_DOWN);
    phone_finish(&s, &DA_SHUTDOWN_FASTBOOT);
    phone_take(&s, board_settings(phone_bench.phone)->fastboot_pid);
    assert_true(s.id.fastboot);
    transport_close(&s.transport);
    phone_expect_no_violations(phone_bench.phone);
    phone_put_away(phone_bench.phone);
}

/* Through the preloader, whose window is short; DRAM is up there, and the link fast. */
static void preloader_session(void **state)
{
    (void)state;
    struct phone_session s = {0};
    AUTO(free_ptr) struct gpt *table = xcalloc(1, sizeof(*table));
    board_settings(phone_bench.phone)->preloader_window_ms = 2500;
    phone_plug(phone_bench.phone, false);
    phone_take(&s, BROM_USB_PID_PRELOADER);
    phone_start_agent(&s, BROM_STAGE_PRELOADER);
    phone_read_table(&s, table);
    phone_finish(&s, &DA_SHUTDOWN_DOWNLOAD);
    phone_take(&s, BROM_USB_PID_PRELOADER); /* and waits there */
    phone_start_agent(&s, BROM_STAGE_PRELOADER);
    phone_finish(&s, &DA_SHUTDOWN_OFF);
    phone_expect_no_violations(phone_bench.phone);
    phone_put_away(phone_bench.phone);
}

/* The download half of a job, as the host leads it. */
static void download_half(void)
{
    struct err err = {0};
    struct phone_session s = {0};
    AUTO(free_ptr) struct gpt *table = xcalloc(1, sizeof(*table));
    phone_take(&s, BROM_USB_PID_BROM);
    phone_start_agent(&s, BROM_STAGE_BROM);
    phone_ok(da_switch_usb_speed(&s.da, &err), &err);
    phone_take(&s, BROM_USB_PID_DA_HIGHSPEED);
    da_reattach(&s.da, &s.link);
    phone_read_table(&s, table);
    write_and_read_back(&s, table);
    phone_finish(&s, &DA_SHUTDOWN_OFF);
}

/* What the black box holds is the whole conversation: the host's code takes it for the phone. */
static void recorded_and_replayed(void **state)
{
    (void)state;
    enum { RECORD_MAX = 128 << 20, KEEP_ALL = 16 << 20 };
    struct err err = {0};
    AUTO(fd_close) int fd = memfd_create("record", MFD_CLOEXEC);
    board_settings(phone_bench.phone)->usb_model = MODEL_FIELD;
    board_settings(phone_bench.phone)->da_build = BUILD_2018;
    phone_bench.record = record_new(fd, RECORD_MAX, KEEP_ALL);
    phone_plug(phone_bench.phone, true);
    download_half();
    phone_put_away(phone_bench.phone);
    record_free(&phone_bench.record);

    int64_t size = io_size(fd, &err);
    assert_in_range(size, 1 << 20, RECORD_MAX);
    AUTO(free_ptr) uint8_t *file = xcalloc(1, (size_t)size);
    phone_ok(io_pread(fd, file, (size_t)size, 0, &err), &err);
    phone_ok(replay_new(span_of(file, (size_t)size), &phone_bench.replay, &err), &err);
    download_half();
    assert_int_equal(replay_left(phone_bench.replay), 0);
    replay_free(&phone_bench.replay);
}

int main(void)
{
    struct CMUnitTest tests[ARRAY_LEN(variants) + 2];
    for (size_t i = 0; i < ARRAY_LEN(variants); i++)
        tests[i] = (struct CMUnitTest){.name = variants[i].name,
                                       .test_func = whole_session,
                                       .initial_state = (void *)(uintptr_t)&variants[i]};
    tests[ARRAY_LEN(variants)] =
        (struct CMUnitTest){.name = "preloader", .test_func = preloader_session};
    tests[ARRAY_LEN(variants) + 1] =
        (struct CMUnitTest){.name = "recorded and replayed", .test_func = recorded_and_replayed};
    return _cmocka_run_group_tests("station", tests, ARRAY_LEN(tests), up, down);
}
