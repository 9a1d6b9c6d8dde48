/* Replays every conversation of tests/transcript against the emulated phone's firmware, in all
 * three USB models: the same bytes, cut into the USB packets that the model makes of them. */
#include <glob.h>
#include <stdio.h>

#include "tests/transcript/transcript.h"
#include "tests/unit/phone_host.h"
#include "tests/unit/rows.h"
#include "usb/base/hash.h"
#include "usb/base/mem.h"

enum { PACKETS_MAX = 4096 };

struct replay {
    const char *path;
    enum usb_model model;
    char name[96];
};

/* Host mistakes that are the subject of a transcript; every other must be free of them. */
static const struct {
    const char *transcript, *violations;
} mistakes[] = {
    {"error-01-read-past-end", "xflash.range_beyond_section"},
    {"error-04-chunk-checksum", "xflash.wrong_chunk_checksum"},
    {"error-10-format-rpmb", "xflash.wrong_section"},
    {"error-12-upload-unknown", "xflash.upload_of_unknown_name"},
    {"error-13-long-command", "xflash.packet_too_long"},
};

static const char *mistakes_of(const struct transcript *t)
{
    for (size_t i = 0; i < ARRAY_LEN(mistakes); i++)
        if (strcmp(mistakes[i].transcript, t->name) == 0)
            return mistakes[i].violations;
    return "";
}

/* ---- the phone of the transcript's head
 * ------------------------------------------------------------- */

static void hex_head(const struct transcript *t, const char *key, uint8_t *out, size_t len)
{
    const char *value = transcript_value(t, key, 0);
    if (value)
        assert_int_equal(hex_decode(value, out, len), (ptrdiff_t)len);
}

static uint64_t user_bytes(const struct transcript *t)
{
    const char *value;
    for (size_t n = 0; (value = transcript_value(t, "area", n)); n++)
        if (strncmp(value, "USER ", 5) == 0)
            return strtoull(value + 5, NULL, 0);
    return HOST_USER_BYTES;
}

static enum board_area area_of(const char *name)
{
    return strcmp(name, "BOOT1") == 0   ? AREA_BOOT1
           : strcmp(name, "BOOT2") == 0 ? AREA_BOOT2
                                        : AREA_USER;
}

static void content(struct host *h, const struct transcript *t)
{
    const char *value;
    for (size_t n = 0; (value = transcript_value(t, "content", n)); n++) {
        AUTO(buf_deinit) struct buf bytes;
        buf_init(&bytes, 1 << 20);
        char area[16];
        uint64_t at;
        assert_int_equal(transcript_place(value, area, &at, &bytes, NULL), 0);
        host_flash_write(h, area_of(area), at, bytes.data, bytes.len);
    }
}

static void faults(struct host *h, const struct transcript *t)
{
    const char *value = transcript_value(t, "fault", 0);
    if (!value)
        return;
    const char *at = strstr(value, "@byte=");
    assert_non_null(at);
    fake_board_storage_fault(h->b, strncmp(value, "write", 5) == 0, strtoull(at + 6, NULL, 0));
}

static void make_phone(struct host *h, const struct transcript *t, enum usb_model model)
{
    host_init(h, user_bytes(t));
    struct board_settings *set = board_settings(h->b);
    struct board_chip *chip = fake_board_chip(h->b);
    hex_head(t, "me_id", chip->me_id, sizeof(chip->me_id));
    hex_head(t, "soc_id", chip->soc_id, sizeof(chip->soc_id));
    hex_head(t, "cid", chip->emmc_cid, sizeof(chip->emmc_cid));
    uint64_t build = transcript_number(t, "build", 2018);
    set->usb_model = model;
    set->da_build = build == 2017 ? BUILD_2017 : build == 2019 ? BUILD_2019 : BUILD_2018;
    set->target_config = (uint32_t)transcript_number(t, "target_config", 0);
    h->host_os = (uint32_t)transcript_number(t, "host_os", 0);
    h->checksum_level = (uint32_t)transcript_number(t, "checksum_level", 2);
    if (transcript_value(t, "gpt", 0) && strcmp(transcript_value(t, "gpt", 0), "yes") == 0)
        host_gpt(h, false);
    content(h, t);
    faults(h, t);
}

static void set_line_coding(struct host *h)
{
    static const uint8_t setup[8] = {0x21, 0x20, 0, 0, 0, 0, 7, 0};
    static const uint8_t coding[7] = {0x00, 0x10, 0x0e, 0x00, 0x00, 0x00, 0x08};
    assert_int_equal(fake_board_control(h->b, setup, coding, NULL, 0), 0);
}

/* Brings the phone to where the transcript begins. True when XFlash is spoken from there on. */
static bool bring_to_stage(struct host *h, const struct transcript *t)
{
    const char *stage = transcript_value(t, "stage", 0);
    assert_non_null(stage);
    if (strcmp(stage, "brom") == 0) {
        fake_board_start(h->b, brom_run);
    } else if (strcmp(stage, "preloader") == 0) {
        fake_board_start(h->b, preloader_run);
    } else {
        const char *agent = transcript_value(t, "agent", 0);
        bool brom = strcmp(stage, "brom-loop") == 0 || (agent && strcmp(agent, "brom") == 0);
        (brom ? host_brom : host_preloader)(h);
        if (strncmp(stage, "da", 2) == 0)
            host_da1(h);
        if (strcmp(stage, "da2") == 0)
            host_da2(h);
    }
    fake_board_take(h->b, NULL, NULL, 0, NULL);
    if (transcript_number(t, "ready", 0)) {
        set_line_coding(h);
        fake_board_pass(h->b, 20); /* one round of listening */
    }
    return strncmp(stage, "da", 2) == 0;
}

/* ---- what is expected
 * ------------------------------------------------------------------------------- */

struct expected {
    struct buf bytes;
    size_t packets[PACKETS_MAX], count;
};

/* How one field is cut into USB packets: README.md of tests/phone, "USB models". */
static void expect_field(struct expected *e, const struct transcript_line *line,
                         enum usb_model model, size_t packet)
{
    buf_put(&e->bytes, line->data, line->len);
    size_t piece = model == MODEL_FIELD ? line->len : 0xfc00;
    size_t step = model == MODEL_BUFFERED && line->len <= 12 ? 1 : packet;
    for (size_t at = 0; at < line->len;) {
        size_t n = MIN_OF(line->len - at, piece);
        for (size_t done = 0; done < n; done += step)
            e->packets[e->count++] = MIN_OF(n - done, step);
        if (model != MODEL_FIELD && line->len > 12 && n % packet == 0)
            e->packets[e->count++] = 0;
        at += n;
    }
}

static void compare(struct host *h, struct expected *e, int line)
{
    AUTO(buf_deinit) struct buf got;
    size_t packets[PACKETS_MAX], count = 0;
    buf_init(&got, 64 << 20);
    fake_board_take(h->b, &got, packets, PACKETS_MAX, &count);
    if (got.len != e->bytes.len)
        fail_msg("before line %d: %zu bytes instead of %zu", line, got.len, e->bytes.len);
    if (got.len)
        assert_memory_equal(got.data, e->bytes.data, got.len);
    assert_int_equal(count, e->count);
    assert_memory_equal(packets, e->packets, count * sizeof(packets[0]));
    buf_clear(&e->bytes);
    e->count = 0;
}

static void control_line(struct host *h, const struct transcript_line *line)
{
    assert_true(line->len >= 8);
    assert_int_equal(fake_board_control(h->b, line->data, line->data + 8, NULL, 0), 0);
}

static void replay_lines(struct host *h, const struct transcript *t, enum usb_model model)
{
    AUTO(free_ptr) struct expected *e = xcalloc(1, sizeof(*e));
    buf_init(&e->bytes, 64 << 20);
    bool xflash = bring_to_stage(h, t);
    size_t packet = fake_board_gadget(h->b)->packet;
    for (size_t i = 0; i < t->line_count; i++) {
        const struct transcript_line *line = &t->lines[i];
        if (line->kind == TRANSCRIPT_PHONE) {
            expect_field(e, line, xflash ? model : MODEL_FIELD, packet);
            xflash = xflash || (line->len == 1 && line->data[0] == XFLASH_ALIVE);
            continue;
        }
        compare(h, e, line->number);
        if (line->kind == TRANSCRIPT_HOST)
            host_raw(h, line->data, line->len);
        else
            control_line(h, line);
    }
    compare(h, e, 0);
    buf_deinit(&e->bytes);
}

static void check_after(struct host *h, const struct transcript *t)
{
    const char *value;
    for (size_t n = 0; (value = transcript_value(t, "after", n)); n++) {
        AUTO(buf_deinit) struct buf want;
        buf_init(&want, 1 << 20);
        char area[16];
        uint64_t at;
        assert_int_equal(transcript_place(value, area, &at, &want, NULL), 0);
        AUTO(free_ptr) uint8_t *got = xcalloc(1, want.len);
        host_flash_read(h, area_of(area), at, got, want.len);
        assert_memory_equal(got, want.data, want.len);
    }
    const char *target = transcript_value(t, "boot_target", 0);
    if (!target)
        return;
    enum board_boot_target got;
    bool bit;
    assert_string_equal(target, "fastboot");
    assert_int_equal(fake_board_end(h->b), NEXT_RESET);
    fake_board_boot_target(h->b, &got, &bit);
    assert_int_equal(got, TARGET_FASTBOOT);
    assert_false(bit);
}

static void replay(void **state)
{
    const struct replay *row = *state;
    struct transcript *t = NULL;
    struct err err = {0};
    if (transcript_load(row->path, &t, &err) < 0)
        fail_msg("%s", err.text);
    struct host h;
    make_phone(&h, t, row->model);
    replay_lines(&h, t, row->model);
    check_after(&h, t);
    assert_string_equal(fake_board_violations(h.b), mistakes_of(t));
    host_deinit(&h);
    transcript_free(&t);
}

int main(void)
{
    static const char *const models[] = {"field", "buffered", "exact"};
    glob_t files;
    if (glob(TRANSCRIPT_DIR "/[a-z]*.txt", 0, NULL, &files) != 0)
        return 1;
    size_t count = files.gl_pathc * ARRAY_LEN(models);
    AUTO(free_ptr) struct replay *rows = xcalloc(count, sizeof(*rows));
    AUTO(free_ptr) struct CMUnitTest *tests = xcalloc(count, sizeof(*tests));
    for (size_t i = 0; i < count; i++) {
        const char *path = files.gl_pathv[i / ARRAY_LEN(models)];
        const char *base = strrchr(path, '/');
        rows[i] = (struct replay){.path = path, .model = (enum usb_model)(i % ARRAY_LEN(models))};
        snprintf(rows[i].name, sizeof(rows[i].name), "%s %s", base ? base + 1 : path,
                 models[i % ARRAY_LEN(models)]);
        tests[i] = (struct CMUnitTest){
            .name = rows[i].name, .test_func = replay, .initial_state = &rows[i]};
    }
    int failed = _cmocka_run_group_tests("replay", tests, count, NULL, NULL);
    globfree(&files);
    return failed;
}
