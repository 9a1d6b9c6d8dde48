/* The station's own conversations (usb/proto) with the emulated phone over USB/IP, as a job has
 * them: boot ROM, both stages of the agent, speed switch, flash by address and by name, reboot into
 * fastboot; in every USB model and every agent build, without one host mistake. */
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/phone/firmware.h"
#include "tests/phone/hardware.h"
#include "tests/phone/rack.h"
#include "tests/phone/synthetic_da.h"
#include "tests/unit/rows.h"
#include "usb/base/clock.h"
#include "usb/base/io.h"
#include "usb/base/mem.h"
#include "usb/format/emi.h"
#include "usb/format/gpt.h"
#include "usb/proto/brom_session.h"
#include "usb/proto/da.h"
#include "usb/transport/record.h"
#include "usb/transport/replay.h"
#include "usb/transport/usbip.h"
#include "usb/transport/usbip_rack.h"

enum {
    DA1_ADDRESS = 0x00200000,
    DA2_ADDRESS = 0x40000000,
    DA1_BYTES = 0x10000,
    DA2_BYTES = 0x20000,
    SIGNATURE_BYTES = 0x100,
    PATIENCE_MS = 20000,
    IMPORT_MS = 2000,
    POLL_US = 10000,
};

struct bench {
    char dir[32];
    struct rack *rack;
    struct board *phone;
    char host[32];
    uint16_t port;
    struct buf da1; /* with signature */
    uint8_t da2[DA2_BYTES];
    struct firmware *firmware;
    struct span emi;
    struct record *record; /* not NULL: what passes goes there, too */
    struct replay *replay; /* not NULL: it answers in the place of the phone */
};
static struct bench bench;

static void ok(int rc, const struct err *err)
{
    if (rc < 0)
        fail_msg("%s: %s", err_name(rc), err->text);
}

static int bench_up(void **state)
{
    struct bench *b = &bench;
    struct err err = {0};
    (void)state;
    snprintf(b->dir, sizeof(b->dir), "/tmp/phone-station-XXXXXX");
    if (!mkdtemp(b->dir))
        return -1;
    const struct rack_order order = {.listen = "127.0.0.1:0",
                                     .state = b->dir,
                                     .phones = 1,
                                     .profile = PROFILE_TINY,
                                     .seed = 7,
                                     .slot = 'a',
                                     .hands_speed = 1000};
    if (rack_start(&order, &b->rack, &err) < 0 ||
        firmware_new(PROFILE_TINY, FACTORY_VERSION, &b->firmware, &err) < 0 ||
        emi_cut(buf_span(&b->firmware->preloader), &b->emi, &err) < 0) {
        print_error("%s\n", err.text);
        return -1;
    }
    b->phone = rack_find(b->rack, "1-1");
    const char *address = rack_address(b->rack), *colon = strrchr(address, ':');
    snprintf(b->host, sizeof(b->host), "%.*s", (int)(colon - address), address);
    b->port = (uint16_t)atoi(colon + 1);
    for (size_t i = 0; i < sizeof(b->da2); i++)
        b->da2[i] = (uint8_t)(i * 31 + (i >> 8));
    buf_init(&b->da1, DA1_BYTES + SIGNATURE_BYTES);
    buf_put_zeros(&b->da1, DA1_BYTES);
    synthetic_da1_mark(b->da1.data, span_of(b->da2, sizeof(b->da2)));
    uint8_t signature[SIGNATURE_BYTES];
    synthetic_sign(buf_span(&b->da1), signature, sizeof(signature));
    buf_put(&b->da1, signature, sizeof(signature));
    return 0;
}

static int bench_down(void **state)
{
    struct bench *b = &bench;
    (void)state;
    rack_stop(&b->rack);
    firmware_free(&b->firmware);
    buf_deinit(&b->da1);
    AUTO(free_ptr) char *command = xasprintf("rm -rf '%s'", b->dir);
    return system(command) == 0 ? 0 : -1;
}

/* ---- the phone's side of the bench
 * -------------------------------------------------------------------- */

static enum board_stage stage_of(struct board *b)
{
    pthread_mutex_lock(&b->lock);
    enum board_stage stage = b->stage;
    pthread_mutex_unlock(&b->lock);
    return stage;
}

static void expect_no_violations(struct board *b)
{
    pthread_mutex_lock(&b->lock);
    unsigned count = b->violation_count;
    char first[VIOLATION_NAME_BYTES];
    snprintf(first, sizeof(first), "%s", count ? b->violations[0].name : "");
    pthread_mutex_unlock(&b->lock);
    assert_string_equal(first, "");
}

static void plug(struct board *b, bool brom)
{
    if (brom)
        board_keys_hold(b, KEY_VOL_UP | KEY_VOL_DOWN);
    board_cable_set(b, true);
}

/* Off, unplugged, keys free: as the next session wants it. */
static void put_away(struct board *b)
{
    board_keys_release(b, KEY_VOL_UP | KEY_VOL_DOWN);
    board_cable_set(b, false);
    int64_t until = clock_in(PATIENCE_MS);
    while (stage_of(b) != STAGE_OFF && clock_now_ms() < until)
        board_power_long(b);
    assert_int_equal(stage_of(b), STAGE_OFF);
}

/* ---- the station's side
 * --------------------------------------------------------------------------------- */

struct session {
    struct transport *transport;
    struct usb_identity id;
    struct link link;
    struct da da;
};

/* Takes the phone in its next identity, as soon as it is on the bus as `pid`. */
static void take(struct session *s, uint16_t pid)
{
    struct err err = {0};
    int64_t until = clock_in(PATIENCE_MS);
    transport_close(&s->transport);
    while (!bench.replay) {
        struct usbip_device device;
        int fd = -1;
        int rc = usbip_import(bench.host, bench.port, "1-1", IMPORT_MS, &fd, &device, &err);
        if (rc == 0)
            rc = transport_usbip_open(fd, usbip_devid(&device), (int)device.speed, &s->transport,
                                      &s->id, &err);
        if (rc == 0 && s->id.pid == pid)
            break;
        if (rc == 0)
            transport_close(&s->transport);
        else
            fd_close(&fd);
        if (clock_now_ms() >= until)
            fail_msg("no %04x on the bus: %s", pid, err.text);
        usleep(POLL_US);
    }
    if (bench.replay)
        s->transport = replay_device(bench.replay, &s->id);
    else if (bench.record)
        s->transport = transport_record_new(s->transport, &s->id, bench.record);
    s->link = (struct link){.transport = s->transport};
}

static void start_agent(struct session *s, enum brom_stage stage)
{
    struct err err = {0};
    struct brom_info info;
    const struct da_images images = {DA2_ADDRESS, span_of(bench.da2, DA2_BYTES), bench.emi};
    ok(brom_start(&s->link, stage, s->id.comm_interface, &err), &err);
    ok(brom_identify(&s->link, &info, &err), &err);
    assert_int_equal(info.stage, stage);
    assert_memory_equal(info.me_id, board_chip(bench.phone)->me_id, sizeof(info.me_id));
    assert_memory_equal(info.soc_id, board_chip(bench.phone)->soc_id, sizeof(info.soc_id));
    ok(brom_authenticate(&s->link, &info, span_of(NULL, 0), &err), &err);
    ok(brom_send_da(&s->link, DA1_ADDRESS, buf_span(&bench.da1), SIGNATURE_BYTES, &err), &err);
    ok(brom_jump_da(&s->link, DA1_ADDRESS, &err), &err);
    da_init(&s->da, &s->link);
    ok(da_bring_up(&s->da, DA_OPTIONS_DEFAULT, &images, &err), &err);
}

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

static void read_table(struct session *s, struct gpt *table)
{
    struct err err = {0};
    AUTO(buf_deinit) struct buf head;
    buf_init(&head, GPT_HEAD_BYTES_MAX);
    ok(da_read(&s->da, XFLASH_USER, 0, GPT_HEAD_BYTES_MAX, to_buf, &head, &err), &err);
    ok(gpt_decode_primary(buf_span(&head), XFLASH_BLOCK_BYTES, table, &err), &err);
}

static void write_and_read_back(struct session *s, const struct gpt *table)
{
    struct err err = {0};
    struct extent userdata, nvram;
    ok(gpt_lookup(table, "userdata", &userdata, &err), &err);
    ok(gpt_lookup(table, "nvram", &nvram, &err), &err);
    size_t len = (size_t)MIN_OF(userdata.size_bytes, (uint64_t)(9 << 20) + 512);
    AUTO(free_ptr) uint8_t *data = xcalloc(1, len);
    for (size_t i = 0; i < len; i++)
        data[i] = (uint8_t)(i * 7 + (i >> 12));
    AUTO(buf_deinit) struct buf got;
    buf_init(&got, len);
    struct source source = {data, 0};
    ok(da_write(&s->da, XFLASH_USER, userdata.start_bytes, len, from_memory, &source, &err), &err);
    ok(da_read(&s->da, XFLASH_USER, userdata.start_bytes, len, to_buf, &got, &err), &err);
    assert_int_equal(got.len, len);
    assert_memory_equal(got.data, data, len);
    AUTO(buf_deinit) struct buf was, again;
    buf_init(&was, nvram.size_bytes);
    buf_init(&again, nvram.size_bytes);
    ok(da_upload(&s->da, "nvram", nvram.size_bytes, to_buf, &was, &err), &err);
    source = (struct source){was.data, 0};
    ok(da_download(&s->da, "nvram", nvram.size_bytes, was.len, from_memory, &source, &err), &err);
    ok(da_read(&s->da, XFLASH_USER, nvram.start_bytes, nvram.size_bytes, to_buf, &again, &err),
       &err);
    assert_memory_equal(again.data, was.data, was.len);
}

/* The next identity may have the id of the one that goes: waits until that is off the bus. */
static void finish(struct session *s, const struct xflash_shutdown *how)
{
    struct err err = {0};
    struct board *b = bench.phone;
    ok(da_shutdown(&s->da, how, &err), &err);
    da_deinit(&s->da);
    if (bench.replay) {
        transport_close(&s->transport);
        return;
    }
    int64_t until = clock_in(PATIENCE_MS);
    pthread_mutex_lock(&b->lock);
    while (b->usb.gadget && board_wait(b, &b->changed, until))
        ;
    assert_null(b->usb.gadget);
    pthread_mutex_unlock(&b->lock);
    transport_close(&s->transport);
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
    struct session s = {0};
    AUTO(free_ptr) struct gpt *table = xcalloc(1, sizeof(*table));
    board_settings(bench.phone)->usb_model = v->model;
    board_settings(bench.phone)->da_build = v->build;
    board_settings(bench.phone)->preloader_window_ms = 100; /* nobody wants it on the way to LK */
    plug(bench.phone, true);
    take(&s, BROM_USB_PID_BROM);
    start_agent(&s, BROM_STAGE_BROM);
    ok(da_switch_usb_speed(&s.da, &err), &err);
    take(&s, BROM_USB_PID_DA_HIGHSPEED);
    da_reattach(&s.da, &s.link);
    read_table(&s, table);
    write_and_read_back(&s, table);
    board_keys_release(bench.phone, KEY_VOL_UP | KEY_VOL_DOWN);
    finish(&s, &DA_SHUTDOWN_FASTBOOT);
    take(&s, board_settings(bench.phone)->fastboot_pid);
    assert_true(s.id.fastboot);
    transport_close(&s.transport);
    expect_no_violations(bench.phone);
    put_away(bench.phone);
}

/* Through the preloader, whose window is short; DRAM is up there, and the link fast. */
static void preloader_session(void **state)
{
    (void)state;
    struct session s = {0};
    AUTO(free_ptr) struct gpt *table = xcalloc(1, sizeof(*table));
    board_settings(bench.phone)->preloader_window_ms = 2500;
    plug(bench.phone, false);
    take(&s, BROM_USB_PID_PRELOADER);
    start_agent(&s, BROM_STAGE_PRELOADER);
    read_table(&s, table);
    finish(&s, &DA_SHUTDOWN_DOWNLOAD);
    take(&s, BROM_USB_PID_PRELOADER); /* and waits there */
    start_agent(&s, BROM_STAGE_PRELOADER);
    finish(&s, &DA_SHUTDOWN_OFF);
    expect_no_violations(bench.phone);
    put_away(bench.phone);
}

/* The download half of a job, as the host leads it. */
static void download_half(void)
{
    struct err err = {0};
    struct session s = {0};
    AUTO(free_ptr) struct gpt *table = xcalloc(1, sizeof(*table));
    take(&s, BROM_USB_PID_BROM);
    start_agent(&s, BROM_STAGE_BROM);
    ok(da_switch_usb_speed(&s.da, &err), &err);
    take(&s, BROM_USB_PID_DA_HIGHSPEED);
    da_reattach(&s.da, &s.link);
    read_table(&s, table);
    write_and_read_back(&s, table);
    finish(&s, &DA_SHUTDOWN_OFF);
}

/* What the black box holds is the whole conversation: the host's code takes it for the phone. */
static void recorded_and_replayed(void **state)
{
    (void)state;
    enum { RECORD_MAX = 128 << 20, KEEP_ALL = 16 << 20 };
    struct err err = {0};
    AUTO(fd_close) int fd = memfd_create("record", MFD_CLOEXEC);
    board_settings(bench.phone)->usb_model = MODEL_FIELD;
    board_settings(bench.phone)->da_build = BUILD_2018;
    bench.record = record_new(fd, RECORD_MAX, KEEP_ALL);
    plug(bench.phone, true);
    download_half();
    put_away(bench.phone);
    record_free(&bench.record);

    int64_t size = io_size(fd, &err);
    assert_in_range(size, 1 << 20, RECORD_MAX);
    AUTO(free_ptr) uint8_t *file = xcalloc(1, (size_t)size);
    ok(io_pread(fd, file, (size_t)size, 0, &err), &err);
    ok(replay_new(span_of(file, (size_t)size), &bench.replay, &err), &err);
    download_half();
    assert_int_equal(replay_left(bench.replay), 0);
    replay_free(&bench.replay);
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
    return _cmocka_run_group_tests("station", tests, ARRAY_LEN(tests), bench_up, bench_down);
}
