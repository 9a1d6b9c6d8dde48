/* What phones do beyond the common transcripts: late errors, framing, silence, noise, fastboot. */
#include "tests/transcript/play.h"

#include <stdio.h>

#include "usb/base/mem.h"

/* ---- download agent ------------------------------------------------------------------------------ */

static int usb_speed(struct play *p)
{
    char text[DA_TEXT_BYTES];
    int rc = da_get_text(&p->da, XFLASH_GET_USB_SPEED, text, &p->err);
    if (rc == 0)
        assert_string_equal(text, "high-speed");
    return rc;
}

static int battery(struct play *p)
{
    uint32_t mv;
    return da_get_battery_mv(&p->da, &mv, &p->err);
}

static int write_some(struct play *p, uint64_t length, size_t stop_at)
{
    struct flow flow = {.stop_at = stop_at};
    buf_init(&flow.bytes, 1u << 20);
    for (int i = 0; i < 4; i++)
        transcript_bytes("[linear 5 1 4096]", &flow.bytes, NULL);
    flow.at = stop_at ? stop_at : 0;
    p->da.chunk_max_bytes = (uint32_t)transcript_number(p->t, "chunk", 0);
    int rc = da_write(&p->da, XFLASH_USER, 0x100000, length, flow_source, &flow, &p->err);
    buf_deinit(&flow.bytes);
    return rc;
}

static int write_one(struct play *p)
{
    return write_some(p, 4096, 0);
}

static int write_two(struct play *p)
{
    return write_some(p, 8192, 0);
}

static int write_three(struct play *p)
{
    return write_some(p, 12288, 0);
}

static int write_stopped(struct play *p)
{
    return write_some(p, 8192, 1);
}

/* Compares what came with the head's @content. */
static int read_with(struct play *p, struct flow *flow, bool upload)
{
    char area[16];
    uint64_t address = 0;
    struct buf want;
    buf_init(&want, 1u << 20);
    buf_init(&flow->bytes, 1u << 20);
    const char *content = transcript_value(p->t, "content", 0);
    if (content)
        transcript_place(content, area, &address, &want, NULL);
    int rc = upload ? da_upload(&p->da, "nvram", 1024, flow_sink, flow, &p->err)
                    : da_read(&p->da, XFLASH_USER, 0, 1024, flow_sink, flow, &p->err);
    if (rc == 0)
        assert_int_equal(flow->bytes.len, 1024);
    if (flow->bytes.len)
        assert_memory_equal(flow->bytes.data, want.data, flow->bytes.len);
    buf_deinit(&want);
    buf_deinit(&flow->bytes);
    return rc;
}

static int read_1024(struct play *p)
{
    struct flow flow = {0};
    return read_with(p, &flow, false);
}

static int read_stopped(struct play *p)
{
    struct flow flow = {.stop_at = 1};
    return read_with(p, &flow, false);
}

static int upload(struct play *p)
{
    struct flow flow = {0};
    return read_with(p, &flow, true);
}

static int download_some(struct play *p, uint64_t length)
{
    struct flow flow = {0};
    struct err err;
    static const char *const whole[] = {"preloader", "Preloader_Backup"};
    buf_init(&flow.bytes, 8192);
    transcript_bytes("[linear 5 1 4096]", &flow.bytes, NULL);
    /* these are refused here, before a byte goes out */
    assert_int_equal(da_download(&p->da, "nvram", 4096, 4097, flow_source, &flow, &err), ERR_INPUT);
    assert_int_equal(da_download(&p->da, "nvram", 4096, 0, flow_source, &flow, &err), ERR_INPUT);
    assert_int_equal(da_download(&p->da, "nvram", 4096, 4095, flow_source, &flow, &err), ERR_INPUT);
    for (size_t i = 0; i < ARRAY_LEN(whole); i++) /* one chunk or none */
        assert_int_equal(
            da_download(&p->da, whole[i], 1 << 22, (1 << 20) + 2, flow_source, &flow, &err),
            ERR_LIMIT);
    assert_int_equal(da_download(&p->da, "nv\nram", 4096, 9, flow_source, &flow, &err), ERR_INPUT);
    assert_int_equal(da_write(&p->da, XFLASH_RPMB, 0, 512, flow_source, &flow, &err), ERR_INPUT);
    assert_int_equal(da_write(&p->da, XFLASH_USER, 1, 512, flow_source, &flow, &err), ERR_INPUT);
    assert_int_equal(da_write(&p->da, XFLASH_USER, 0, 0, flow_source, &flow, &err), ERR_INPUT);
    int rc = da_download(&p->da, "nvram", 4096, length, flow_source, &flow, &p->err);
    buf_deinit(&flow.bytes);
    return rc;
}

static int download_short(struct play *p)
{
    return download_some(p, 4094);
}

static int download_whole(struct play *p)
{
    return download_some(p, 4096);
}

static int boot(struct play *p)
{
    uint8_t image[32];
    for (unsigned i = 0; i < sizeof(image); i++)
        image[i] = (uint8_t)(3 * i + 64);
    int rc = da_boot_to(&p->da, 0x40000000, span_of(image, sizeof(image)), &p->err);
    assert_int_equal(p->da.in_da2, rc == 0);
    return rc;
}

static int speed_switch(struct play *p)
{
    int rc = da_switch_usb_speed(&p->da, &p->err);
    uint32_t mv;
    struct err err;
    assert_int_equal(da_get_battery_mv(&p->da, &mv, &err), ERR_DEAD);
    return rc;
}

static int da1(struct play *p)
{
    return da_start(&p->da, DA_OPTIONS_DEFAULT, &p->err);
}

/* ---- boot ROM and preloader ---------------------------------------------------------------------- */

static int start(struct play *p, enum brom_stage stage)
{
    uint16_t code = 0;
    int rc = brom_start(&p->link, stage, 0xff, &p->err);
    if (rc == 0)
        rc = brom_get_hw_code(&p->link, &code, &p->err);
    assert_true(rc < 0 || code == BROM_MT6771_HW_CODE);
    return rc;
}

static int start_brom(struct play *p)
{
    return start(p, BROM_STAGE_BROM);
}

static int start_preloader(struct play *p)
{
    return start(p, BROM_STAGE_PRELOADER);
}

static const uint8_t four[] = {1, 2, 3, 4};

static int send_da(struct play *p)
{
    return brom_send_da(&p->link, 0x200000, span_of(four, 4), 2, &p->err);
}

static int send_auth(struct play *p)
{
    struct brom_info locked = {.stage = BROM_STAGE_BROM, .target_config = 0xe7};
    struct brom_info open_brom = {.stage = BROM_STAGE_BROM, .target_config = 0xe1};
    struct brom_info preloader = {.stage = BROM_STAGE_PRELOADER, .target_config = 5};
    struct span none = {0};
    struct err err;
    assert_int_equal(brom_authenticate(&p->link, &open_brom, none, &err), 0);
    assert_int_equal(brom_authenticate(&p->link, &preloader, none, &err), 0);
    assert_int_equal(brom_authenticate(&p->link, &locked, none, &err), ERR_AUTH_NEEDED);
    assert_non_null(strstr(err.text, "SLA, DAA"));
    return brom_authenticate(&p->link, &locked, span_of(four, 4), &p->err);
}

static int read32(struct play *p)
{
    uint32_t value;
    return brom_read32(&p->link, 0x00100000, &value, &p->err);
}

/* ---- fastboot --------------------------------------------------------------------------------------- */

static int fb_query(struct play *p)
{
    char value[FASTBOOT_RESPONSE_MAX];
    uint64_t bytes = 0;
    struct fb_reply reply;
    fb_reply_init(&reply);
    assert_int_equal(fb_getvar(&p->fb, "product", value, &p->err), 0);
    assert_string_equal(value, "PDA");
    assert_int_equal(fb_oem(&p->fb, "getversions", 0, &reply, &p->err), 0);
    assert_true(fb_reply_value(&reply, "software version", value));
    assert_string_equal(value, "PDA-1100");
    assert_false(fb_reply_value(&reply, "software", value));
    fb_reply_deinit(&reply);
    fb_reply_init(&reply);
    assert_int_equal(fb_oem(&p->fb, "getBootloaderType", 0, &reply, &p->err), 0);
    assert_true(fb_reply_has(&reply, "SERVICE"));
    assert_false(fb_reply_has(&reply, "commercial"));
    fb_reply_deinit(&reply);
    assert_int_equal(fb_partition_bytes(&p->fb, "nvram", &bytes, &p->err), 0);
    assert_int_equal(bytes, 0x4000000);
    return fb_getvar(&p->fb, "nosuch", value, &p->err);
}

static int fb_flash_once(struct play *p)
{
    struct flow flow = {0};
    buf_init(&flow.bytes, 4096);
    transcript_bytes("[linear 5 1 4096]", &flow.bytes, NULL);
    int rc = fb_flash(&p->fb, "nvram", 4096, flow_source, &flow, &p->err);
    buf_deinit(&flow.bytes);
    return rc;
}

static int fb_flash_twice(struct play *p)
{
    assert_int_equal(fb_flash_once(p), ERR_REFUSED);
    assert_non_null(strstr(p->err.text, "AUTH_MISSING"));
    int rc = fb_oem(&p->fb, "dm-verity 313CA5F469846D5CCFBCECE02BE4F1E5", 0, NULL, &p->err);
    return rc < 0 ? rc : fb_flash_once(p);
}

static int fb_nonsense(struct play *p)
{
    char value[FASTBOOT_RESPONSE_MAX];
    return fb_getvar(&p->fb, "product", value, &p->err);
}

static int fb_halt(struct play *p)
{
    return fb_oem(&p->fb, "HALT", 0, NULL, &p->err);
}

/* ---- rows --------------------------------------------------------------------------------------------- */

static const struct play_row rows[] = {
    {"host/log-packets", usb_speed, 0, false},
    {"host/get-late-failure", battery, ERR_UNSUPPORTED, false},
    {"host/status-wrong-magic", battery, ERR_DEAD, true},
    {"host/status-too-long", battery, ERR_DEAD, true},
    {"host/status-missing", battery, ERR_DEAD, true},
    {"host/write-late-error", write_three, ERR_STORAGE, false},
    {"host/write-final-counts", write_two, ERR_STORAGE, false},
    {"host/write-framing", write_two, ERR_DEAD, true},
    {"host/write-refused", write_one, ERR_REFUSED, false},
    {"host/write-cancel-at-once", write_stopped, ERR_CANCELLED, false},
    {"host/read-odd-chunks", read_1024, 0, false},
    {"host/read-second-missing", read_1024, ERR_DEAD, true},
    {"host/read-chunk-too-long", read_1024, ERR_DEAD, true},
    {"host/read-chunk-empty", read_1024, ERR_DEAD, true},
    {"host/read-stopped-at-end", read_stopped, ERR_CANCELLED, false},
    {"host/upload", upload, 0, false},
    {"host/upload-size-differs", upload, ERR_MISMATCH, false},
    {"host/download", download_short, 0, false},
    {"host/download-locked", download_whole, ERR_REFUSED, false},
    {"host/boot-digest", boot, ERR_MISMATCH, false},
    {"host/boot-no-sync", boot, ERR_DEAD, true},
    {"host/speed-switch", speed_switch, 0, true},
    {"host/da1-no-sync", da1, ERR_DEAD, true},
    {"host/da1-not-alive", da1, ERR_DEAD, true},
    {"host/start-running", start_brom, 0, false},
    {"host/start-noise", start_preloader, 0, false},
    {"host/send-da-sla", send_da, ERR_AUTH_NEEDED, false},
    {"host/send-da-checksum", send_da, ERR_VERIFY, true},
    {"host/send-da-rejected", send_da, ERR_REFUSED, true},
    {"host/send-auth", send_auth, 0, false},
    {"host/send-auth-not-needed", send_auth, 0, false},
    {"host/echo-differs", read32, ERR_DEAD, true},
    {"host/fb-query", fb_query, ERR_NOT_FOUND, false},
    {"host/fb-split", fb_query, ERR_NOT_FOUND, false},
    {"host/fb-split-flash", fb_flash_once, ERR_REFUSED, false},
    {"host/fb-flash", fb_flash_once, 0, false},
    {"host/fb-flash-again", fb_flash_twice, 0, false},
    {"host/fb-low-battery", fb_flash_once, ERR_REFUSED, false},
    {"host/fb-too-large", fb_flash_once, ERR_LIMIT, false},
    {"host/fb-usb-error", fb_flash_once, ERR_DEAD, true},
    {"host/fb-wrong-size", fb_flash_once, ERR_DEAD, true},
    {"host/fb-nonsense", fb_nonsense, ERR_DEAD, true},
    {"host/fb-silence", fb_halt, ERR_TIMEOUT, true},
};

static void all_have_rows(void **state)
{
    (void)state;
    play_all_have_rows("/host", rows, ARRAY_LEN(rows));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(all_have_rows)};
    return RUN_ROWS(play_test, rows) + cmocka_run_group_tests(tests, NULL, NULL);
}
