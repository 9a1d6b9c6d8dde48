#include "tests/unit/phone_bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/phone/rack.h"
#include "tests/phone/synthetic_da.h"
#include "usb/base/clock.h"
#include "usb/base/mem.h"
#include "usb/format/emi.h"
#include "usb/transport/record.h"
#include "usb/transport/replay.h"
#include "usb/transport/usbip.h"
#include "usb/transport/usbip_rack.h"

enum {
    DA1_ADDRESS = 0x00200000,
    DA2_ADDRESS = 0x40000000,
    DA1_BYTES = 0x10000,
    DA2_BYTES = PHONE_DA2_BYTES,
    SIGNATURE_BYTES = 0x100,
    PATIENCE_MS = 20000, /* by the clock on the wall: a slow machine is slow at every time scale */
    IMPORT_MS = 2000,
    POLL_US = 10000,
};

struct phone_bench phone_bench;

void phone_ok(int rc, const struct err *err)
{
    if (rc < 0)
        fail_msg("%s: %s", err_name(rc), err->text);
}

int phone_bench_up(enum factory_profile profile)
{
    struct phone_bench *b = &phone_bench;
    struct err err = {0};
    snprintf(b->dir, sizeof(b->dir), "/tmp/phone-station-XXXXXX");
    if (!mkdtemp(b->dir))
        return -1;
    const struct rack_order order = {.listen = "127.0.0.1:0",
                                     .state = b->dir,
                                     .phones = 1,
                                     .profile = profile,
                                     .seed = 7,
                                     .slot = 'a',
                                     .vhci = b->open != NULL,
                                     .hands_speed = 1000};
    if (rack_start(&order, &b->rack, &err) < 0 ||
        firmware_new(profile, FACTORY_VERSION, &b->firmware, &err) < 0 ||
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

int phone_bench_down(void)
{
    struct phone_bench *b = &phone_bench;
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

void phone_expect_no_violations(struct board *b)
{
    pthread_mutex_lock(&b->lock);
    unsigned count = b->violation_count;
    char first[VIOLATION_NAME_BYTES];
    snprintf(first, sizeof(first), "%s", count ? b->violations[0].name : "");
    pthread_mutex_unlock(&b->lock);
    assert_string_equal(first, "");
}

void phone_plug(struct board *b, bool brom)
{
    if (brom)
        board_keys_hold(b, KEY_VOL_UP | KEY_VOL_DOWN);
    board_cable_set(b, true);
}

void phone_put_away(struct board *b)
{
    board_keys_release(b, KEY_VOL_UP | KEY_VOL_DOWN);
    board_cable_set(b, false);
    int64_t until = clock_now_ms() + PATIENCE_MS;
    while (stage_of(b) != STAGE_OFF && clock_now_ms() < until)
        board_power_long(b);
    assert_int_equal(stage_of(b), STAGE_OFF);
}

/* ---- the station's side
 * --------------------------------------------------------------------------------- */

static int import(struct transport **out, struct usb_identity *id_out, struct err *err)
{
    struct usbip_device device;
    AUTO(fd_close) int fd = -1;
    if (phone_bench.open)
        return phone_bench.open(out, id_out, err);
    int rc = usbip_import(phone_bench.host, phone_bench.port, "1-1",
                          (int64_t)(IMPORT_MS / clock_scale()), &fd, &device, err);
    if (rc == 0)
        rc = transport_usbip_open(fd, usbip_devid(&device), (int)device.speed, out, id_out, err);
    if (rc == 0)
        fd = -1; /* the transport has it */
    return rc;
}

void phone_take(struct phone_session *s, uint16_t pid)
{
    struct err err = {0};
    int64_t until = clock_now_ms() + PATIENCE_MS;
    transport_close(&s->transport);
    while (!phone_bench.replay) {
        int rc = import(&s->transport, &s->id, &err);
        if (rc == 0 && s->id.pid == pid)
            break;
        transport_close(&s->transport);
        if (clock_now_ms() >= until)
            fail_msg("no %04x on the bus: %s", pid, err.text);
        usleep(POLL_US);
    }
    if (phone_bench.replay)
        s->transport = replay_device(phone_bench.replay, &s->id);
    else if (phone_bench.record)
        s->transport = transport_record_new(s->transport, &s->id, phone_bench.record);
    s->link = (struct link){.transport = s->transport};
}

int phone_send_da1(struct phone_session *s, struct err *err)
{
    return brom_send_da(&s->link, DA1_ADDRESS, buf_span(&phone_bench.da1), SIGNATURE_BYTES, err);
}

void phone_enter_da1(struct phone_session *s)
{
    struct err err = {0};
    phone_ok(brom_jump_da(&s->link, DA1_ADDRESS, &err), &err);
    da_init(&s->da, &s->link);
}

void phone_start_da1(struct phone_session *s, enum brom_stage stage)
{
    struct err err = {0};
    struct brom_info info;
    phone_ok(brom_start(&s->link, stage, s->id.comm_interface, &err), &err);
    phone_ok(brom_identify(&s->link, &info, &err), &err);
    assert_int_equal(info.stage, stage);
    assert_memory_equal(info.me_id, board_chip(phone_bench.phone)->me_id, sizeof(info.me_id));
    assert_memory_equal(info.soc_id, board_chip(phone_bench.phone)->soc_id, sizeof(info.soc_id));
    phone_ok(brom_authenticate(&s->link, &info, span_of(NULL, 0), &err), &err);
    phone_ok(phone_send_da1(s, &err), &err);
    phone_enter_da1(s);
}

void phone_start_da2(struct phone_session *s)
{
    struct err err = {0};
    phone_ok(da_boot_to(&s->da, DA2_ADDRESS, span_of(phone_bench.da2, DA2_BYTES), &err), &err);
}

void phone_bring_up(struct phone_session *s)
{
    struct err err = {0};
    const struct da_images images = {DA2_ADDRESS, span_of(phone_bench.da2, DA2_BYTES),
                                     phone_bench.emi};
    phone_ok(da_bring_up(&s->da, DA_OPTIONS_DEFAULT, &images, &err), &err);
}

void phone_start_agent(struct phone_session *s, enum brom_stage stage)
{
    phone_start_da1(s, stage);
    phone_bring_up(s);
}

static int to_buf(void *arg, const void *data, size_t len, struct err *err)
{
    buf_put(arg, data, len);
    return buf_check(arg, err);
}

void phone_read_table(struct phone_session *s, struct gpt *table)
{
    struct err err = {0};
    AUTO(buf_deinit) struct buf head;
    buf_init(&head, GPT_HEAD_BYTES_MAX);
    phone_ok(da_read(&s->da, XFLASH_USER, 0, GPT_HEAD_BYTES_MAX, to_buf, &head, &err), &err);
    phone_ok(gpt_decode_primary(buf_span(&head), XFLASH_BLOCK_BYTES, table, &err), &err);
}

/* The next identity may have the id of the one that goes: waits until that is off the bus. */
void phone_finish(struct phone_session *s, const struct xflash_shutdown *how)
{
    struct err err = {0};
    struct board *b = phone_bench.phone;
    phone_ok(da_shutdown(&s->da, how, &err), &err);
    da_deinit(&s->da);
    if (phone_bench.replay) {
        transport_close(&s->transport);
        return;
    }
    int64_t until = clock_now_ms() + PATIENCE_MS;
    pthread_mutex_lock(&b->lock);
    while (b->usb.gadget && board_wait(b, &b->changed, until))
        ;
    assert_null(b->usb.gadget);
    pthread_mutex_unlock(&b->lock);
    transport_close(&s->transport);
}
