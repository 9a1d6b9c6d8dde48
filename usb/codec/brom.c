#include "usb/codec/brom.h"

#include "usb/base/mem.h"

const uint8_t brom_start_sequence[BROM_START_BYTES] = {0xa0, 0x0a, 0x50, 0x05};

bool brom_start_feed(unsigned *index, uint8_t got, uint8_t *answer_out)
{
    if (*index >= BROM_START_BYTES)
        return false;
    if (got == brom_start_sequence[*index]) {
        *answer_out = (uint8_t)~got;
        (*index)++;
        return true;
    }
    if (got ==
        brom_start_sequence[0]) { /* the host starts over: swallowed, counts as the first byte */
        *index = 1;
        return false;
    }
    *answer_out = (uint8_t)(got + 1);
    *index = 0;
    return true;
}

static const struct {
    uint8_t code, stages;
    const char *name;
} commands[] = {
#define X(code, name, stages) {code, stages, #name},
    BROM_COMMANDS(X)
#undef X
};

const char *brom_command_name(uint8_t command)
{
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (commands[i].code == command)
            return commands[i].name;
    return "?";
}

bool brom_command_known(uint8_t command, enum brom_stage stage)
{
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (commands[i].code == command)
            return commands[i].stages & (stage == BROM_STAGE_BROM ? 1 : 2);
    return false;
}

/* README, "16-bit status words". Ranges, because the 2000, 6000 and 7000 groups share one advice.
 */
static const struct {
    uint16_t first, last;
    const char *name, *meaning;
} statuses[] = {
    {0x0000, 0x0000, "OK", "done"},
    {0x0001, 0x0001, "OK_WRITE", "write accepted by the boot ROM"},
    {0x0002, 0x00ff, "OK_OTHER", "done"},
    {0x1000, 0x1000, "READ_REGION_CHK_FAIL", "this address may not be read"},
    {0x1001, 0x1001, "WRITE_REGION_CHK_FAIL", "this address may not be written"},
    {0x1d00, 0x1d01, "ADDRESS_TOO_HIGH", "address out of the allowed window"},
    {0x1d02, 0x1d02, "INVALID_ADDRESS", "address not allowed"},
    {0x1d0c, 0x1d0c, "NO_AUTH_NEEDED", "this phone does not want an authentication file"},
    {0x1d0d, 0x1d0d, "SLA_REQUIRED", "the phone wants its maker's serial link authentication"},
    {0x1d0e, 0x1d0e, "DA_OVERLAP", "the DA overlaps memory in use"},
    {0x1d0f, 0x1d0f, "DA_INVALID_JUMP_ADDR", "jump address is not the loaded DA"},
    {0x1d10, 0x1d10, "DA_EXCEED_MAX_DA_BLOCKS", "DA too big or in too many parts"},
    {0x1d11, 0x1d11, "DA_ADDR_NOT_16BITS_ALIGNED", "odd load address"},
    {0x1d12, 0x1d12, "DA_INVALID_ADDR_AND_LEN", "load window not allowed"},
    {0x1d13, 0x1d13, "DA_LEN_IS_ZERO", "empty DA"},
    {0x1d14, 0x1d14, "DA_SIG_LEN_EXCEED_DA_LEN", "signature longer than the DA"},
    {0x1d15, 0x1d15, "DA_SIG_LEN_IS_ZERO", "the phone wants a signed DA"},
    {0x1d16, 0x1d16, "DA_NOT_EXIST", "nothing loaded to jump to"},
    {0x1d17, 0x1d17, "DA_BLOCKS_INCONSISTENT_WITH_TOOL_AUTH",
     "the DA does not match the authentication file"},
    {0x1d21, 0x1d21, "DA_VERSION_NOT_SUPPORTED", "DA too old or too new for this phone"},
    {0x2000, 0x2006, "AUTH_FAILED", "signature problem: files are not the ones for this phone"},
    {0x5a5b, 0x5a5b, "DA_IN_BLACKLIST", "this DA build is revoked"},
    {0x6000, 0x6005, "SECURE_BOOT_FAILED", "wrong or missing signature"},
    {0x7000, 0x7004, "REGION_INVALID", "the DA does not fit this phone"},
    {0x7015, 0x7015, "SECURITY_ERROR", "security check failed"},
    {0x7017, 0x7017, "SECURITY_ERROR", "security check failed"},
    {0x7024, 0x7024, "DAA_SIG_VERIFY_FAILED",
     "DA signature rejected: wrong DA file for this phone"},
    {0xfffd, 0xfffd, "COUNT_OVERFLOW", "count too large (a fault of the station)"},
    {0xfffe, 0xfffe, "COUNT_ZERO", "count is zero (a fault of the station)"},
    {0xffff, 0xffff, "MISALIGNED", "address not aligned (a fault of the station)"},
};

static size_t status_index(uint16_t status)
{
    size_t i = 0;
    while (i < ARRAY_LEN(statuses) && (status < statuses[i].first || status > statuses[i].last))
        i++;
    return i;
}

const char *brom_status_name(uint16_t status)
{
    size_t i = status_index(status);
    return i < ARRAY_LEN(statuses) ? statuses[i].name : "UNKNOWN";
}

const char *brom_status_meaning(uint16_t status)
{
    size_t i = status_index(status);
    return i < ARRAY_LEN(statuses) ? statuses[i].meaning : "a status that no table lists";
}

int brom_status_err(uint16_t status, const char *what, struct err *err)
{
    if (brom_status_ok(status))
        return 0;
    bool auth = status == BROM_SLA_REQUIRED || (status >= 0x2000 && status <= 0x2006);
    return err_set(err, auth ? ERR_AUTH_NEEDED : ERR_REFUSED, "%s: status %04x %s: %s", what,
                   status, brom_status_name(status), brom_status_meaning(status));
}

static int exact(const struct reader *r, const char *what, struct err *err)
{
    if (reader_done(r))
        return 0;
    return err_set(err, ERR_PROTOCOL, "%s: %zu bytes do not make one message", what, r->in.len);
}

int brom_hw_code_decode(struct span in, struct brom_hw_code *out, struct err *err)
{
    struct reader r = reader_of(in);
    struct brom_hw_code msg;
    msg.code = rd_be16(&r);
    msg.status = rd_be16(&r);
    int rc = exact(&r, "hw code", err);
    if (rc == 0)
        *out = msg;
    return rc;
}

int brom_versions_decode(struct span in, struct brom_versions *out, struct err *err)
{
    struct reader r = reader_of(in);
    struct brom_versions msg;
    msg.hw_sub_code = rd_be16(&r);
    msg.hw_version = rd_be16(&r);
    msg.sw_version = rd_be16(&r);
    msg.status = rd_be16(&r);
    int rc = exact(&r, "chip versions", err);
    if (rc == 0)
        *out = msg;
    return rc;
}

int brom_target_config_decode(struct span in, struct brom_target_config *out, struct err *err)
{
    struct reader r = reader_of(in);
    struct brom_target_config msg;
    msg.bits = rd_be32(&r);
    msg.status = rd_be16(&r);
    int rc = exact(&r, "target config", err);
    if (rc == 0)
        *out = msg;
    return rc;
}

int brom_capabilities_decode(struct span in, struct brom_capabilities *out, struct err *err)
{
    struct reader r = reader_of(in);
    struct brom_capabilities msg;
    msg.word0 = rd_be32(&r);
    msg.word1 = rd_be32(&r);
    int rc = exact(&r, "preloader capabilities", err);
    if (rc == 0)
        *out = msg;
    return rc;
}

int brom_id_decode(struct span in, struct brom_id *out, struct err *err)
{
    struct reader r = reader_of(in);
    struct brom_id msg = {.length = rd_be32(&r)};
    if (msg.length != BROM_ME_ID_BYTES && msg.length != BROM_SOC_ID_BYTES)
        return err_set(err, ERR_PROTOCOL, "chip id: length %u", msg.length);
    struct span bytes = rd_bytes(&r, msg.length);
    if (bytes.len)
        memcpy(msg.bytes, bytes.data, bytes.len);
    msg.status = rd_be16(&r);
    int rc = exact(&r, "chip id", err);
    if (rc == 0)
        *out = msg;
    return rc;
}

int brom_da_result_decode(struct span in, struct brom_da_result *out, struct err *err)
{
    struct reader r = reader_of(in);
    struct brom_da_result msg;
    msg.checksum = rd_be16(&r);
    msg.status = rd_be16(&r);
    int rc = exact(&r, "upload result", err);
    if (rc == 0)
        *out = msg;
    return rc;
}

void brom_hw_code_encode(const struct brom_hw_code *msg, struct buf *out)
{
    buf_put_be16(out, msg->code);
    buf_put_be16(out, msg->status);
}

void brom_versions_encode(const struct brom_versions *msg, struct buf *out)
{
    buf_put_be16(out, msg->hw_sub_code);
    buf_put_be16(out, msg->hw_version);
    buf_put_be16(out, msg->sw_version);
    buf_put_be16(out, msg->status);
}

void brom_target_config_encode(const struct brom_target_config *msg, struct buf *out)
{
    buf_put_be32(out, msg->bits);
    buf_put_be16(out, msg->status);
}

void brom_capabilities_encode(const struct brom_capabilities *msg, struct buf *out)
{
    buf_put_be32(out, msg->word0);
    buf_put_be32(out, msg->word1);
}

void brom_id_encode(const struct brom_id *msg, struct buf *out)
{
    buf_put_be32(out, msg->length);
    buf_put(out, msg->bytes, MIN_OF(msg->length, sizeof(msg->bytes)));
    buf_put_be16(out, msg->status);
}

void brom_da_result_encode(const struct brom_da_result *msg, struct buf *out)
{
    buf_put_be16(out, msg->checksum);
    buf_put_be16(out, msg->status);
}

int brom_send_da_decode(struct span in, struct brom_send_da *out, struct err *err)
{
    struct reader r = reader_of(in);
    struct brom_send_da msg;
    msg.address = rd_be32(&r);
    msg.length_bytes = rd_be32(&r);
    msg.signature_bytes = rd_be32(&r);
    int rc = exact(&r, "SEND_DA arguments", err);
    if (rc == 0)
        *out = msg;
    return rc;
}

int brom_memory_decode(struct span in, struct brom_memory *out, struct err *err)
{
    struct reader r = reader_of(in);
    struct brom_memory msg;
    msg.address = rd_be32(&r);
    msg.count = rd_be32(&r);
    int rc = exact(&r, "memory arguments", err);
    if (rc == 0)
        *out = msg;
    return rc;
}

void brom_send_da_encode(const struct brom_send_da *msg, struct buf *out)
{
    buf_put_be32(out, msg->address);
    buf_put_be32(out, msg->length_bytes);
    buf_put_be32(out, msg->signature_bytes);
}

void brom_memory_encode(const struct brom_memory *msg, struct buf *out)
{
    buf_put_be32(out, msg->address);
    buf_put_be32(out, msg->count);
}

void brom_checksum_update(struct brom_checksum *c, struct span in)
{
    for (size_t i = 0; i < in.len; i++) {
        c->sum = (uint16_t)(c->sum ^ (c->odd ? in.data[i] << 8 : in.data[i]));
        c->odd = !c->odd;
    }
}
