#include "usb/proto/brom_session.h"

#include <stdio.h>

#include "usb/base/clock.h"
#include "usb/base/mem.h"

/* README, "Time-outs of the host". */
enum {
    START_BYTE_MS = 100,
    START_PRELOADER_MS = 2500,
    START_BROM_MS = 5000,
    FIELD_MS = 1000,
    UPLOAD_MS = 10000, /* 256 KiB at full speed take a third of a second */
    CHECKSUM_MS = 5000,
    CONTROL_MS = 1000,
};

/* ---- start sequence ---------------------------------------------------------------------- */

static bool ready_noise(uint8_t byte)
{
    return strchr(BROM_READY_TEXT, byte) && byte;
}

/* The next byte that is not part of a READY text. */
static int start_byte(struct link *link, uint8_t *out, struct err *err)
{
    int64_t until_ms = clock_in(START_BYTE_MS);
    do {
        int rc = link_read(link, out, 1, START_BYTE_MS, err);
        if (rc < 0)
            return rc;
        if (!ready_noise(*out))
            return 0;
    } while (clock_left(until_ms, 1));
    return err_set(err, ERR_TIMEOUT, "only READY from the preloader");
}

/* A0 came back as A0: a phone in its command loop echoes. Swallows the echoes of all repeated A0.
 */
static int start_drain(struct link *link, struct err *err)
{
    uint8_t byte;
    int rc;
    do {
        rc = start_byte(link, &byte, err);
        if (rc == 0 && byte != brom_start_sequence[0])
            return err_set(err, ERR_PROTOCOL, "byte %02x among echoes", byte);
    } while (rc == 0);
    return rc == ERR_TIMEOUT ? 0 : rc;
}

enum start_result { START_AGAIN, START_DONE, START_RUNNING };

/* One pass through A0 0A 50 05. */
static int start_pass(struct link *link, struct err *err)
{
    for (unsigned i = 0; i < BROM_START_BYTES; i++) {
        uint8_t answer = 0;
        int rc = link_write(link, &brom_start_sequence[i], 1, FIELD_MS, err);
        if (rc == 0)
            rc = start_byte(link, &answer, err);
        if (rc == ERR_TIMEOUT)
            return START_AGAIN;
        if (rc < 0)
            return rc;
        if (i == 0 && answer == brom_start_sequence[0])
            return START_RUNNING;
        if (brom_start_sequence[i] + answer != 0xff) /* its complement */
            return START_AGAIN;
    }
    return START_DONE;
}

/* 921600 8N1 and RTS, as common tools do; the phone needs neither, so a refusal means nothing. */
static void line_coding(struct link *link, uint8_t comm_interface)
{
    uint8_t coding[7] = {0x00, 0x10, 0x0e, 0x00, 0, 0, 8};
    struct usb_setup set = {0x21, 0x20, 0, comm_interface, sizeof(coding)};
    struct usb_setup state = {0x21, 0x22, 2, comm_interface, 0};
    struct err ignored;
    transport_control(link->transport, &set, coding, clock_in(CONTROL_MS), &ignored);
    transport_control(link->transport, &state, NULL, clock_in(CONTROL_MS), &ignored);
}

int brom_start(struct link *link, enum brom_stage expected, uint8_t comm_interface, struct err *err)
{
    struct err local;
    err = err ? err : &local;
    bool preloader = expected == BROM_STAGE_PRELOADER;
    int64_t until_ms = clock_in(preloader ? START_PRELOADER_MS : START_BROM_MS);
    if (comm_interface != 0xff)
        line_coding(link, comm_interface);
    /* the preloader's listener swallows the first A0 without an answer */
    int rc = preloader ? link_write(link, brom_start_sequence, 1, FIELD_MS, err) : 0;
    if (rc < 0)
        return rc;
    do {
        rc = start_pass(link, err);
        if (rc == START_RUNNING)
            return start_drain(link, err);
        if (rc == START_DONE)
            return 0;
    } while (rc == START_AGAIN && clock_left(until_ms, 1));
    if (rc < 0)
        return rc;
    return err_set(err, ERR_TIMEOUT, "the %s does not answer the start sequence",
                   preloader ? "preloader" : "boot ROM");
}

/* ---- fields ------------------------------------------------------------------------------ */

/* From here on silence and wrong echoes mean that host and phone are out of step. */
static int read_fields(struct link *link, void *dst, size_t len, const char *what, struct err *err)
{
    if (link_read(link, dst, len, FIELD_MS, err) < 0)
        return link_lost(link, what, err);
    return 0;
}

static int echoed(struct link *link, const uint8_t *field, size_t len, const char *what,
                  struct err *err)
{
    uint8_t echo[4] = {0};
    if (link_write(link, field, len, FIELD_MS, err) < 0)
        return link_lost(link, what, err);
    int rc = read_fields(link, echo, len, what, err);
    if (rc < 0)
        return rc;
    if (memcmp(echo, field, len) == 0)
        return 0;
    err_set(err, ERR_PROTOCOL, "%02x came back as %02x", field[0], echo[0]);
    return link_lost(link, what, err);
}

static int command(struct link *link, enum brom_command code, struct err *err)
{
    uint8_t byte = (uint8_t)code;
    int rc = link_check(link, err);
    return rc < 0 ? rc : echoed(link, &byte, 1, brom_command_name(byte), err);
}

static int argument(struct link *link, uint32_t value, const char *what, struct err *err)
{
    uint8_t raw[4];
    put_be32(raw, value);
    return echoed(link, raw, sizeof(raw), what, err);
}

static int status_read(struct link *link, uint16_t *out, const char *what, struct err *err)
{
    uint8_t raw[2];
    int rc = read_fields(link, raw, sizeof(raw), what, err);
    if (rc == 0)
        *out = (uint16_t)(raw[0] << 8 | raw[1]);
    return rc;
}

static int status_good(struct link *link, const char *what, struct err *err)
{
    uint16_t status = 0;
    int rc = status_read(link, &status, what, err);
    return rc < 0 ? rc : brom_status_err(status, what, err);
}

/* A command whose reply has a fixed length. */
static int ask(struct link *link, enum brom_command code, uint8_t *reply, size_t len,
               struct err *err)
{
    int rc = command(link, code, err);
    return rc < 0 ? rc : read_fields(link, reply, len, brom_command_name((uint8_t)code), err);
}

int brom_get_hw_code(struct link *link, uint16_t *out, struct err *err)
{
    struct err local;
    err = err ? err : &local;
    uint8_t raw[4];
    struct brom_hw_code reply;
    int rc = ask(link, BROM_CMD_GET_HW_CODE, raw, sizeof(raw), err);
    if (rc == 0)
        rc = brom_hw_code_decode(span_of(raw, sizeof(raw)), &reply, err);
    if (rc == 0)
        rc = brom_status_err(reply.status, "GET_HW_CODE", err);
    if (rc == 0)
        *out = reply.code;
    return rc;
}

int brom_get_target_config(struct link *link, uint32_t *out, struct err *err)
{
    struct err local;
    err = err ? err : &local;
    uint8_t raw[6];
    struct brom_target_config reply;
    int rc = ask(link, BROM_CMD_GET_TARGET_CONFIG, raw, sizeof(raw), err);
    if (rc == 0)
        rc = brom_target_config_decode(span_of(raw, sizeof(raw)), &reply, err);
    if (rc == 0)
        rc = brom_status_err(reply.status, "GET_TARGET_CONFIG", err);
    if (rc == 0)
        *out = reply.bits;
    return rc;
}

/* One byte there, one byte back without the rule of echoes. */
static int ask_byte(struct link *link, enum brom_command code, uint8_t *out, struct err *err)
{
    uint8_t byte = (uint8_t)code;
    int rc = link_check(link, err);
    if (rc < 0)
        return rc;
    if (link_write(link, &byte, 1, FIELD_MS, err) < 0)
        return link_lost(link, brom_command_name(byte), err);
    return read_fields(link, out, 1, brom_command_name(byte), err);
}

int brom_get_stage(struct link *link, enum brom_stage *out, struct err *err)
{
    struct err local;
    err = err ? err : &local;
    uint8_t byte = 0;
    int rc = ask_byte(link, BROM_CMD_GET_BL_VER, &byte, err);
    if (rc < 0)
        return rc;
    if (byte == BROM_CMD_GET_BL_VER) {
        *out = BROM_STAGE_BROM;
        return 0;
    }
    if (byte != BROM_PRELOADER_VERSION)
        return err_set(err, ERR_UNSUPPORTED, "preloader version %u is not one that speaks XFlash",
                       byte);
    *out = BROM_STAGE_PRELOADER;
    return 0;
}

int brom_get_brom_version(struct link *link, uint8_t *out, struct err *err)
{
    struct err local;
    return ask_byte(link, BROM_CMD_GET_BROM_VERSION, out, err ? err : &local);
}

int brom_get_capabilities(struct link *link, struct brom_capabilities *out, struct err *err)
{
    struct err local;
    err = err ? err : &local;
    uint8_t raw[8];
    int rc = ask(link, BROM_CMD_GET_PL_CAP, raw, sizeof(raw), err);
    return rc < 0 ? rc : brom_capabilities_decode(span_of(raw, sizeof(raw)), out, err);
}

int brom_get_versions(struct link *link, struct brom_versions *out, struct err *err)
{
    struct err local;
    err = err ? err : &local;
    uint8_t raw[8];
    struct brom_versions reply;
    int rc = ask(link, BROM_CMD_GET_HW_SW_VER, raw, sizeof(raw), err);
    if (rc == 0)
        rc = brom_versions_decode(span_of(raw, sizeof(raw)), &reply, err);
    if (rc == 0)
        rc = brom_status_err(reply.status, "GET_HW_SW_VER", err);
    if (rc == 0)
        *out = reply;
    return rc;
}

int brom_get_id(struct link *link, enum brom_command code, struct brom_id *out, struct err *err)
{
    struct err local;
    err = err ? err : &local;
    const char *what = brom_command_name((uint8_t)code);
    uint8_t raw[4 + BROM_SOC_ID_BYTES + 2];
    size_t want = code == BROM_CMD_GET_ME_ID ? BROM_ME_ID_BYTES : BROM_SOC_ID_BYTES;
    int rc = ask(link, code, raw, 4, err);
    if (rc < 0)
        return rc;
    struct reader r = reader_of(span_of(raw, 4));
    uint32_t length = rd_be32(&r);
    if (length != want) {
        err_set(err, ERR_PROTOCOL, "length %u", length);
        return link_lost(link, what, err);
    }
    struct brom_id reply;
    rc = read_fields(link, raw + 4, want + 2, what, err);
    if (rc == 0)
        rc = brom_id_decode(span_of(raw, 4 + want + 2), &reply, err);
    if (rc == 0)
        rc = brom_status_err(reply.status, what, err);
    if (rc == 0)
        *out = reply;
    return rc;
}

/* ---- memory ------------------------------------------------------------------------------ */

/* Command, address, count 1, argument status. A failing status ends the command. */
static int memory_open(struct link *link, enum brom_command code, uint32_t address, struct err *err)
{
    const char *what = brom_command_name((uint8_t)code);
    int rc = command(link, code, err);
    if (rc == 0)
        rc = argument(link, address, what, err);
    if (rc == 0)
        rc = argument(link, 1, what, err);
    return rc < 0 ? rc : status_good(link, what, err);
}

int brom_read32(struct link *link, uint32_t address, uint32_t *out, struct err *err)
{
    struct err local;
    err = err ? err : &local;
    uint8_t raw[4] = {0};
    int rc = memory_open(link, BROM_CMD_READ32, address, err);
    if (rc == 0)
        rc = read_fields(link, raw, sizeof(raw), "READ32", err);
    if (rc == 0)
        rc = status_good(link, "READ32", err);
    struct reader r = reader_of(span_of(raw, sizeof(raw)));
    if (rc == 0)
        *out = rd_be32(&r);
    return rc;
}

int brom_write32(struct link *link, uint32_t address, uint32_t value, struct err *err)
{
    struct err local;
    err = err ? err : &local;
    int rc = memory_open(link, BROM_CMD_WRITE32, address, err);
    if (rc == 0)
        rc = argument(link, value, "WRITE32", err);
    return rc < 0 ? rc : status_good(link, "WRITE32", err);
}

int brom_watchdog_off(struct link *link, struct err *err)
{
    return brom_write32(link, BROM_WATCHDOG_BASE, BROM_WATCHDOG_OFF, err);
}

/* ---- identification ---------------------------------------------------------------------- */

/* The id commands, each behind a GET_BL_VER as common tools do. */
static int identify_ids(struct link *link, struct brom_info *info, struct err *err)
{
    struct brom_id id;
    enum brom_stage stage;
    int rc = brom_get_stage(link, &stage, err);
    if (rc == 0)
        rc = brom_get_id(link, BROM_CMD_GET_ME_ID, &id, err);
    if (rc < 0)
        return rc;
    memcpy(info->me_id, id.bytes, sizeof(info->me_id));
    info->has_me_id = true;
    rc = brom_get_stage(link, &stage, err);
    if (rc == 0)
        rc = brom_get_id(link, BROM_CMD_GET_SOC_ID, &id, err);
    if (rc < 0)
        return rc;
    memcpy(info->soc_id, id.bytes, sizeof(info->soc_id));
    info->has_soc_id = true;
    return stage == info->stage ? 0 : err_set(err, ERR_PROTOCOL, "the phone changed its stage");
}

/* What only one of the two stages knows. */
static int identify_stage(struct link *link, struct brom_info *info, struct err *err)
{
    if (info->stage == BROM_STAGE_BROM)
        return brom_get_brom_version(link, &info->brom_version, err);
    struct brom_capabilities capabilities = {0};
    int rc = brom_get_capabilities(link, &capabilities, err);
    info->capabilities = capabilities.word0;
    if (rc == 0 && !(capabilities.word0 & BROM_CAP_XFLASH))
        return err_set(err, ERR_UNSUPPORTED, "this preloader does not speak XFlash");
    return rc;
}

int brom_identify(struct link *link, struct brom_info *out, struct err *err)
{
    struct err local;
    err = err ? err : &local;
    struct brom_info info = {0};
    struct brom_versions versions = {0};
    int rc = brom_get_hw_code(link, &info.hw_code, err);
    if (rc == 0)
        rc = brom_watchdog_off(link, err);
    if (rc == 0)
        rc = brom_get_target_config(link, &info.target_config, err);
    if (rc == 0)
        rc = brom_get_stage(link, &info.stage, err);
    if (rc == 0)
        rc = identify_stage(link, &info, err);
    if (rc == 0)
        rc = brom_get_versions(link, &versions, err);
    if (rc == 0)
        rc = identify_ids(link, &info, err);
    if (rc < 0)
        return err_in(err, "identify");
    info.hw_sub_code = versions.hw_sub_code;
    info.hw_version = versions.hw_version;
    info.sw_version = versions.sw_version;
    *out = info;
    return 0;
}

/* ---- uploads ----------------------------------------------------------------------------- */

/* Data without echo, then the phone's checksum and its verdict. */
static int upload(struct link *link, struct span data, const char *what, struct err *err)
{
    struct brom_checksum sum = {0};
    uint8_t raw[4];
    struct brom_da_result result;
    brom_checksum_update(&sum, data);
    if (link_write(link, data.data, data.len, UPLOAD_MS, err) < 0)
        return link_lost(link, what, err);
    if (link_read(link, raw, sizeof(raw), CHECKSUM_MS, err) < 0)
        return link_lost(link, what, err);
    int rc = brom_da_result_decode(span_of(raw, sizeof(raw)), &result, err);
    if (rc == 0)
        rc = brom_status_err(result.status, what, err);
    if (rc < 0) {
        link->dead = true; /* an error here makes the phone assert and reset */
        return rc;
    }
    if (result.checksum == sum.sum)
        return 0;
    link->dead = true;
    return err_set(err, ERR_VERIFY, "%s: checksum %04x at the phone, %04x here: bad cable or port",
                   what, result.checksum, sum.sum);
}

int brom_send_auth(struct link *link, struct span auth, struct err *err)
{
    struct err local;
    err = err ? err : &local;
    uint16_t status = 0;
    if (auth.len == 0 || auth.len > UINT32_MAX)
        return err_set(err, ERR_INPUT, "authentication file of %zu bytes", auth.len);
    int rc = command(link, BROM_CMD_SEND_AUTH, err);
    if (rc == 0)
        rc = argument(link, (uint32_t)auth.len, "SEND_AUTH", err);
    if (rc == 0)
        rc = status_read(link, &status, "SEND_AUTH", err);
    if (rc < 0)
        return rc;
    if (status == BROM_NO_AUTH_NEEDED) /* and nothing follows */
        return 0;
    rc = brom_status_err(status, "SEND_AUTH", err);
    return rc < 0 ? rc : upload(link, auth, "SEND_AUTH", err);
}

int brom_authenticate(struct link *link, const struct brom_info *info, struct span auth,
                      struct err *err)
{
    uint32_t asked = info->target_config & (BROM_TARGET_SLA | BROM_TARGET_DAA);
    if (info->stage == BROM_STAGE_PRELOADER || !asked)
        return 0;
    if (auth.len)
        return brom_send_auth(link, auth, err);
    return err_set(err, ERR_AUTH_NEEDED,
                   "this phone's boot ROM asks for authentication (%s%s%s): give its owner's "
                   "authentication file, or start the phone without keys (preloader mode)",
                   asked & BROM_TARGET_SLA ? "SLA" : "", asked == 6 ? ", " : "",
                   asked & BROM_TARGET_DAA ? "DAA" : "");
}

int brom_send_da(struct link *link, uint32_t address, struct span da1, uint32_t signature_bytes,
                 struct err *err)
{
    struct err local;
    err = err ? err : &local;
    if (da1.len == 0 || da1.len > UINT32_MAX || signature_bytes > da1.len)
        return err_set(err, ERR_INPUT, "DA1 of %zu bytes with a signature of %u", da1.len,
                       signature_bytes);
    int rc = command(link, BROM_CMD_SEND_DA, err);
    if (rc == 0)
        rc = argument(link, address, "SEND_DA", err);
    if (rc == 0)
        rc = argument(link, (uint32_t)da1.len, "SEND_DA", err);
    if (rc == 0)
        rc = argument(link, signature_bytes, "SEND_DA", err);
    if (rc == 0)
        rc = status_good(link, "SEND_DA", err); /* 1D0D: the maker's challenge, we have no answer */
    return rc < 0 ? rc : upload(link, da1, "SEND_DA", err);
}

int brom_jump_da(struct link *link, uint32_t address, struct err *err)
{
    struct err local;
    err = err ? err : &local;
    int rc = command(link, BROM_CMD_JUMP_DA, err);
    if (rc == 0)
        rc = argument(link, address, "JUMP_DA", err);
    return rc < 0 ? rc : status_good(link, "JUMP_DA", err);
}
