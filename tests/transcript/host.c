/* Every conversation of this folder, spoken by our host. */
#include "tests/transcript/play.h"

#include "usb/base/hash.h"
#include "usb/base/mem.h"
#include "usb/proto/da_packet.h"

/* ---- boot ROM and preloader -------------------------------------------------------------- */

static int brom_identify_play(struct play *p)
{
    struct brom_info info;
    uint8_t me_id[16], soc_id[32];
    int rc = brom_start(&p->link, BROM_STAGE_BROM, 0, &p->err);
    if (rc == 0)
        rc = brom_identify(&p->link, &info, &p->err);
    if (rc < 0)
        return rc;
    hex_decode(transcript_value(p->t, "me_id", 0), me_id, sizeof(me_id));
    hex_decode(transcript_value(p->t, "soc_id", 0), soc_id, sizeof(soc_id));
    assert_int_equal(info.stage, BROM_STAGE_BROM);
    assert_int_equal(info.hw_code, BROM_MT6771_HW_CODE);
    assert_int_equal(info.hw_sub_code, 0x8a00);
    assert_int_equal(info.hw_version, 0xca00);
    assert_int_equal(info.target_config, transcript_number(p->t, "target_config", 0));
    assert_int_equal(info.brom_version, transcript_number(p->t, "brom_version", 0));
    assert_memory_equal(info.me_id, me_id, sizeof(me_id));
    assert_memory_equal(info.soc_id, soc_id, sizeof(soc_id));
    struct err err;
    assert_int_equal(brom_authenticate(&p->link, &info, (struct span){0}, &err), ERR_AUTH_NEEDED);
    return 0;
}

static int preloader_identify_play(struct play *p)
{
    enum brom_stage stage;
    struct brom_capabilities capabilities;
    uint8_t version = 0;
    uint32_t config = 0;
    int rc = brom_start(&p->link, BROM_STAGE_PRELOADER, 0xff, &p->err);
    if (rc == 0)
        rc = brom_get_stage(&p->link, &stage, &p->err);
    if (rc == 0)
        rc = brom_get_capabilities(&p->link, &capabilities, &p->err);
    if (rc == 0)
        rc = brom_get_brom_version(&p->link, &version, &p->err);
    if (rc == 0)
        rc = brom_get_target_config(&p->link, &config, &p->err);
    if (rc < 0)
        return rc;
    assert_int_equal(stage, BROM_STAGE_PRELOADER);
    assert_int_equal(capabilities.word0, 7);
    assert_int_equal(config, transcript_number(p->t, "target_config", 0));
    return 0;
}

static int da1_start_play(struct play *p)
{
    uint8_t image[48];
    for (unsigned i = 0; i < 48; i++)
        image[i] = (uint8_t)(i < 32 ? 13 * i + 7 : 0xf0 + i - 32);
    int rc = brom_send_da(&p->link, 0x200000, span_of(image, sizeof(image)), 16, &p->err);
    if (rc == 0)
        rc = brom_jump_da(&p->link, 0x200000, &p->err);
    struct da_options linux_host = {XFLASH_OS_LINUX, XFLASH_LOG_UART};
    return rc < 0 ? rc : da_start(&p->da, linux_host, &p->err);
}

/* The first `>` line of this length: payloads that a file would hold. */
static struct span payload(const struct transcript *t, size_t len)
{
    for (size_t i = 0; i < t->line_count; i++)
        if (t->lines[i].kind == TRANSCRIPT_HOST && t->lines[i].len == len)
            return span_of(t->lines[i].data, len);
    return (struct span){0};
}

static int da2_boot_play(struct play *p)
{
    bool up = true;
    int rc = da_get_dram_up(&p->da, &up, &p->err);
    assert_false(up);
    if (rc == 0)
        rc = da_init_dram(&p->da, payload(p->t, 112), &p->err);
    if (rc == 0)
        rc = da_boot_to(&p->da, 0x40000000, payload(p->t, 32), &p->err);
    assert_true(rc < 0 || p->da.in_da2);
    return rc;
}

static int read_region_play(struct play *p)
{
    uint32_t value;
    return brom_read32(&p->link, 0x00100000, &value, &p->err);
}

/* ---- DA2 --------------------------------------------------------------------------------- */

static int emmc_info_play(struct play *p)
{
    struct xflash_emmc_info info;
    uint8_t cid[16];
    int rc = da_get_emmc_info(&p->da, &info, &p->err);
    if (rc < 0)
        return rc;
    hex_decode(transcript_value(p->t, "cid", 0), cid, sizeof(cid));
    assert_int_equal(info.type, 1);
    assert_int_equal(info.boot1_bytes, 0x400000);
    assert_int_equal(info.user_bytes, 0x747c00000);
    assert_int_equal(info.firmware_version, transcript_number(p->t, "emmc_firmware", 0));
    assert_memory_equal(info.cid, cid, sizeof(cid));
    assert_int_equal(info.has_health, transcript_value(p->t, "health", 0) != NULL);
    if (info.has_health)
        assert_int_equal(info.life_time_b, 2);
    return 0;
}

/* Reads what @content promises, compares. */
static int read_play(struct play *p, uint64_t length, size_t stop_at)
{
    char area[16];
    uint64_t address = 0;
    struct buf want;
    struct flow flow = {.stop_at = stop_at};
    buf_init(&want, 4u << 20);
    buf_init(&flow.bytes, 4u << 20);
    const char *content = transcript_value(p->t, "content", 0);
    if (content)
        assert_int_equal(transcript_place(content, area, &address, &want, NULL), 0);
    int rc = da_read(&p->da, XFLASH_USER, address, length, flow_sink, &flow, &p->err);
    assert_true(flow.bytes.len <= want.len);
    if (flow.bytes.len)
        assert_memory_equal(flow.bytes.data, want.data, flow.bytes.len);
    if (rc == 0)
        assert_int_equal(flow.bytes.len, length);
    buf_deinit(&want);
    buf_deinit(&flow.bytes);
    return rc;
}

static int read_1024_play(struct play *p)
{
    return read_play(p, 1024, 0);
}

static int read_two_chunks_play(struct play *p)
{
    return read_play(p, 0x18000, 0);
}

static int read_storage_play(struct play *p)
{
    int rc = read_play(p, 0x20000, 0);
    return rc;
}

static int read_abort_play(struct play *p)
{
    int rc = read_play(p, 0x20000, 1);
    return rc;
}

static int read_past_end_play(struct play *p)
{
    struct err err;
    uint64_t end = p->da.emmc.user_bytes;
    struct flow flow = {0};
    /* our own check refuses it before a byte goes out; the transcript wants to see the phone's */
    assert_int_equal(da_read(&p->da, XFLASH_USER, end - 512, 1024, flow_sink, &flow, &err),
                     ERR_INPUT);
    p->da.emmc.user_bytes += 512;
    return da_read(&p->da, XFLASH_USER, end - 512, 1024, flow_sink, &flow, &p->err);
}

static int write_run(struct play *p, uint64_t length, size_t stop_at)
{
    struct flow flow = {.stop_at = stop_at};
    buf_init(&flow.bytes, 1u << 20);
    transcript_bytes("[linear 5 1 4096]", &flow.bytes, NULL);
    p->da.chunk_max_bytes = (uint32_t)transcript_number(p->t, "chunk", 0);
    int rc = da_write(&p->da, XFLASH_USER, 0x100000, length, flow_source, &flow, &p->err);
    buf_deinit(&flow.bytes);
    return rc;
}

static int write_4096_play(struct play *p)
{
    return write_run(p, 4096, 0);
}

static int write_cancel_play(struct play *p)
{
    return write_run(p, 8192, 4096);
}

static int shutdown_play(struct play *p)
{
    int rc = da_shutdown(&p->da, &DA_SHUTDOWN_FASTBOOT, &p->err);
    return rc;
}

static int control_code_play(struct play *p)
{
    struct buf reply;
    buf_init(&reply, 64);
    int rc = da_get(&p->da, XFLASH_GET_EXPIRE_DATE, &reply, &p->err);
    buf_deinit(&reply);
    return rc;
}

static int command_play(struct play *p)
{
    return da_command(&p->da, XFLASH_NAND_BMT_REMARK, &p->err);
}

static int get_fails_play(struct play *p)
{
    struct buf reply;
    buf_init(&reply, 64);
    int rc = da_get(&p->da, XFLASH_GET_OTP_LOCK_STATUS, &reply, &p->err);
    buf_deinit(&reply);
    return rc;
}

static int upload_unknown_play(struct play *p)
{
    struct flow flow = {0};
    int rc = da_upload(&p->da, "nosuch", 4096, flow_sink, &flow, &p->err);
    return rc;
}

/* ---- what our host never says by itself -------------------------------------------------- */

/* The host's lines go out as they are; each packet of the phone is a status to the host's decoders and
 * must be the word that the transcript has. The last one's error, or that of a word which does not
 * come. */
static int words_play(struct play *p)
{
    uint32_t word = XFLASH_OK;
    for (size_t i = 0; i < p->t->line_count; i++) {
        const struct transcript_line *line = &p->t->lines[i];
        int rc;
        if (line->kind == TRANSCRIPT_HOST) {
            rc = link_write(&p->link, line->data, line->len, DA_SEND_MS, &p->err);
        } else { /* a header, and the word behind it */
            rc = da_word_read(&p->da, &word, DA_REPLY_MS, "word", &p->err);
            assert_true(rc < 0 || word == get_le32(p->t->lines[++i].data));
        }
        if (rc < 0)
            return rc;
    }
    return xflash_status_failed(word) ? da_status_fail(&p->da, word, "word", &p->err) : 0;
}

/* Nothing comes after all that was said. */
static int words_then_silence_play(struct play *p)
{
    uint32_t word;
    int rc = words_play(p);
    return rc < 0 ? rc : da_word_read(&p->da, &word, DA_REPLY_MS, "word", &p->err);
}

/* ---- rows -------------------------------------------------------------------------------- */

static const struct play_row rows[] = {
    {"brom-identify", brom_identify_play, 0, false},
    {"preloader-identify", preloader_identify_play, 0, false},
    {"da1-start", da1_start_play, 0, false},
    {"da2-boot", da2_boot_play, 0, false},
    {"emmc-info-2018", emmc_info_play, 0, false},
    {"emmc-info-2019", emmc_info_play, 0, false},
    {"read-1024", read_1024_play, 0, false},
    {"read-two-chunks", read_two_chunks_play, 0, false},
    {"write-4096", write_4096_play, 0, false},
    {"shutdown-fastboot", shutdown_play, 0, true},
    {"error-01-read-past-end", read_past_end_play, ERR_INPUT, false},
    {"format-1m", words_play, 0, false},
    {"error-04-chunk-checksum", words_play, ERR_VERIFY, false},
    {"error-10-format-rpmb", words_play, ERR_INPUT, false},
    {"error-13-long-command", words_then_silence_play, ERR_DEAD, true},
    {"error-02-control-code", control_code_play, ERR_UNSUPPORTED, false},
    {"error-03-command", command_play, ERR_UNSUPPORTED, false},
    {"error-05-read-region", read_region_play, ERR_REFUSED, false},
    {"error-06-read-storage", read_storage_play, ERR_STORAGE, false},
    {"error-07-read-abort", read_abort_play, ERR_CANCELLED, false},
    {"error-08-write-cancel", write_cancel_play, ERR_CANCELLED, false},
    {"error-09-write-storage", write_4096_play, ERR_STORAGE, false},
    {"error-11-get-fails", get_fails_play, ERR_NOT_FOUND, false},
    {"error-12-upload-unknown", upload_unknown_play, ERR_NOT_FOUND, false},
};

static void all_have_rows(void **state)
{
    (void)state;
    play_all_have_rows("", rows, ARRAY_LEN(rows));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(all_have_rows)};
    return RUN_ROWS(play_test, rows) + cmocka_run_group_tests(tests, NULL, NULL);
}
