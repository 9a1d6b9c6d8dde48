/* Commands: README.md, "Boot ROM and preloader". Input and output are sticky: after the phone has
 * lost power or cable nothing is sent, zeros are read, and the loop ends at its next turn. */
#include "tests/phone/rom.h"

#include "tests/phone/da.h"
#include "tests/phone/rom_memory.h"
#include "tests/phone/synthetic_da.h"
#include "usb/base/clock.h"
#include "usb/base/mem.h"

enum {
    ASSERTION_MS = 200,           /* from an assertion to the reset; constructed */
    OVERSIZED_BYTES = 0x40000000, /* what a faulty length says */
    STAY_STILL_MS = 100,          /* STAY_STILL's answer to leaving the bus */
    SLA_CHALLENGE_BYTES = 16,
    AUTH_BYTES_MAX = 0x10000,
};
/* Constructed: status of an authentication that does not hold; the group 2000..2006 is named. */
#define STATUS_AUTH_FAILED 0x2000
#define STATUS_SLA_FAILED  0x7015
/* Boot ROM: SRAM where a download agent may lie [constructed size]. */
#define SRAM_BASE          0x00200000u
#define SRAM_BYTES         0x00080000u
#define ZEROIZATION_STATUS 0xffff

struct rom {
    struct board *b;
    enum brom_stage stage;
    struct acm *acm;
    bool gone;
    bool over; /* the command loop is left, for `next` */
    enum board_next next;
    struct rom_memory memory;
    bool refused;       /* SEND_DA ended with an error: to the host the connection is lost */
    bool authenticated; /* an owner's authentication file was accepted */
    uint8_t *da;        /* DA_MEMORY_BYTES; the agent goes on using it */
    struct da_image image;
};

struct rom_window rom_window_open(int ms)
{
    return (struct rom_window){ms < 0 ? -1 : clock_in(ms)};
}

int rom_window_left(const struct rom_window *w)
{
    if (w->until_ms < 0)
        return -1;
    int64_t left = w->until_ms - clock_now_ms();
    return left > 0 ? (int)((double)left / clock_scale()) : 0;
}

/* ---- fields
 * ---------------------------------------------------------------------------------------- */

/* A bus reset loses what is on its way, not the place in the program: once the host has configured
 * the phone again, it goes on waiting. Cable or power lost: sets `gone`. */
static bool survives(struct rom *r)
{
    r->refused = false;
    if (board_usb_configured(r->b, -1) != BOARD_OK)
        r->gone = true;
    return !r->gone;
}

/* A field, which has a transfer of its own. */
static void get(struct rom *r, void *dst, size_t len)
{
    while (!r->gone && board_out_stream(r->b, dst, len, -1) < 0 && survives(r))
        ;
    if (r->gone)
        memset(dst, 0, len);
    else if (board_out_manners(r->b) & OUT_MORE)
        board_violation(r->b, "rom.merged_fields");
}

static void put(struct rom *r, const void *src, size_t len)
{
    if (!r->gone && board_in(r->b, src, len, IN_FIELD, -1) < 0)
        (void)survives(r);
}

static void put_u8(struct rom *r, uint8_t v)
{
    put(r, &v, 1);
}

static void put_u16(struct rom *r, uint16_t v)
{
    uint8_t raw[2];
    put_be16(raw, v);
    put(r, raw, sizeof(raw));
}

static void put_u32(struct rom *r, uint32_t v)
{
    uint8_t raw[4];
    put_be32(raw, v);
    put(r, raw, sizeof(raw));
}

static uint32_t get_u32(struct rom *r)
{
    uint8_t raw[4];
    get(r, raw, sizeof(raw));
    return (uint32_t)raw[0] << 24 | (uint32_t)raw[1] << 16 | (uint32_t)raw[2] << 8 | raw[3];
}

static uint32_t get_u32_echo(struct rom *r)
{
    uint32_t v = get_u32(r);
    put_u32(r, v);
    return v;
}

static uint16_t get_u16_echo(struct rom *r)
{
    uint8_t raw[2];
    get(r, raw, sizeof(raw));
    put(r, raw, sizeof(raw));
    return (uint16_t)(raw[0] << 8 | raw[1]);
}

static void leave(struct rom *r, enum board_next next)
{
    r->over = true;
    r->next = next;
}

/* Stops at an assertion; the watchdog resets the phone a little later, so that its last word arrives. */
static void fail_assertion(struct rom *r)
{
    if (board_sleep(r->b, ASSERTION_MS, true) < 0)
        r->gone = true;
    leave(r, NEXT_RESET);
}

/* ---- identification
 * -------------------------------------------------------------------------------- */

static void get_hw_code(struct rom *r)
{
    put_u16(r, BROM_MT6771_HW_CODE);
    put_u16(r, BROM_OK);
}

static void get_hw_sw_ver(struct rom *r)
{
    put_u16(r, ROM_HW_SUB_CODE);
    put_u16(r, ROM_HW_VERSION);
    put_u16(r, ROM_SW_VERSION);
    put_u16(r, BROM_OK);
}

static void get_pl_cap(struct rom *r)
{
    put_u32(r, BROM_CAP_XFLASH | BROM_CAP_ME_ID | BROM_CAP_SOC_ID);
    put_u32(r, 0);
}

static uint32_t target_config(const struct rom *r)
{
    uint32_t bits = board_settings(r->b)->target_config;
    return r->stage == BROM_STAGE_BROM
               ? bits
               : bits & (BROM_TARGET_SBC | BROM_TARGET_SLA | BROM_TARGET_DAA);
}

static void get_target_config(struct rom *r)
{
    put_u32(r, target_config(r));
    put_u16(r, BROM_OK);
}

static void put_id(struct rom *r, const uint8_t *id, size_t len)
{
    put_u32(r, board_fault_due(r->b, "oversized") ? OVERSIZED_BYTES : (uint32_t)len);
    put(r, id, len);
    put_u16(r, BROM_OK);
}

static void get_me_id(struct rom *r)
{
    put_id(r, board_chip(r->b)->me_id, BROM_ME_ID_BYTES);
}

static void get_soc_id(struct rom *r)
{
    put_id(r, board_chip(r->b)->soc_id, BROM_SOC_ID_BYTES);
}

/* ---- memory
 * ---------------------------------------------------------------------------------------- */

static uint16_t access_status(const struct rom *r, bool write)
{
    return write && r->stage == BROM_STAGE_BROM ? BROM_OK_WRITE : BROM_OK;
}

/* Address, count and, with `statuses`, the status word; true when the data follow. */
static bool access_begin(struct rom *r, struct rom_access *a, bool statuses)
{
    a->address = get_u32_echo(r);
    a->count = get_u32_echo(r);
    enum brom_status status = rom_access_check(a, r->stage, target_config(r));
    if (statuses)
        put_u16(r, status == BROM_OK ? access_status(r, a->write) : (uint16_t)status);
    return status == BROM_OK;
}

static void read_words(struct rom *r, uint32_t width, bool statuses)
{
    struct rom_access a = {.width = width};
    if (!access_begin(r, &a, statuses))
        return;
    for (uint32_t i = 0; i < a.count && !r->gone; i++) {
        uint32_t address = a.address + i * width;
        uint32_t word = rom_memory_read(&r->memory, address);
        if (width == 4)
            put_u32(r, word);
        else
            put_u16(r, (uint16_t)(word >> (address & 2 ? 16 : 0)));
    }
    if (statuses)
        put_u16(r, access_status(r, false));
}

static void write_words(struct rom *r, uint32_t width, bool echo)
{
    struct rom_access a = {.width = width, .write = true};
    if (!access_begin(r, &a, true))
        return;
    for (uint32_t i = 0; i < a.count && !r->gone; i++) {
        uint8_t raw[4];
        get(r, raw, width);
        if (echo)
            put(r, raw, width);
        uint32_t value = 0;
        for (uint32_t j = 0; j < width; j++)
            value = value << 8 | raw[j];
        rom_memory_write(&r->memory, a.address + i * width, value, width);
    }
    put_u16(r, access_status(r, true));
    if (!r->memory.reset)
        return;
    board_ram(r->b)->download_flag = rom_memory_kept_flag(&r->memory);
    leave(r, board_ram(r->b)->download_flag ? NEXT_BROM : NEXT_RESET);
}

static void read16(struct rom *r)
{
    read_words(r, 2, true);
}
static void read32(struct rom *r)
{
    read_words(r, 4, true);
}
static void legacy_read16(struct rom *r)
{
    read_words(r, 2, false);
}
static void write16(struct rom *r)
{
    write_words(r, 2, true);
}
static void write16_no_echo(struct rom *r)
{
    write_words(r, 2, false);
}
static void write32(struct rom *r)
{
    write_words(r, 4, true);
}

/* ---- authentication (boot ROM)
 * --------------------------------------------------------------------- */

/* Data of SEND_DA, SEND_CERT, SEND_AUTH: what fits into `dst` is kept, all of it counts for the
 * sum. */
static uint16_t receive(struct rom *r, uint8_t *dst, size_t room, uint32_t length)
{
    struct brom_checksum sum = {0};
    size_t kept = MIN_OF((size_t)length, room);
    get(r, dst, kept);
    brom_checksum_update(&sum, span_of(dst, kept));
    uint8_t rest[512];
    for (uint32_t left = length - (uint32_t)kept; left && !r->gone;) {
        uint32_t n = MIN_OF(left, (uint32_t)sizeof(rest));
        get(r, rest, n);
        brom_checksum_update(&sum, span_of(rest, n));
        left -= n;
    }
    return sum.sum;
}

static void send_cert(struct rom *r)
{
    uint32_t length = get_u32_echo(r);
    put_u16(r, BROM_OK);
    /* Constructed: any certificate is taken; what the boot ROM makes of it is not known. */
    put_u16(r, receive(r, r->da, DA_MEMORY_BYTES, length));
    put_u16(r, BROM_OK);
}

static void send_auth(struct rom *r)
{
    uint32_t length = get_u32_echo(r);
    if (!(target_config(r) & BROM_TARGET_SLA)) {
        put_u16(r, BROM_NO_AUTH_NEEDED);
        return;
    }
    put_u16(r, BROM_OK);
    uint16_t sum = receive(r, r->da, AUTH_BYTES_MAX, length);
    r->authenticated =
        synthetic_auth_ok(span_of(r->da, MIN_OF(length, (uint32_t)AUTH_BYTES_MAX))) && !r->gone;
    put_u16(r, sum);
    put_u16(r, r->authenticated ? BROM_OK : STATUS_AUTH_FAILED);
}

static bool sla_size_ok(uint32_t n)
{
    return n == 0x80 || n == 0x100 || n == 0x180;
}

/* The answer needs a key that this project does not have, so none is ever right. */
static void sla(struct rom *r)
{
    if (!(target_config(r) & BROM_TARGET_SLA) || r->authenticated) {
        put_u16(r, BROM_SLA_ALREADY_DONE);
        return;
    }
    put_u16(r, BROM_OK);
    uint8_t challenge[SLA_CHALLENGE_BYTES];
    for (size_t i = 0; i < sizeof(challenge); i++)
        challenge[i] = (uint8_t)(board_chip(r->b)->me_id[i] ^ 0x5c);
    put_u32(r, sizeof(challenge));
    put(r, challenge, sizeof(challenge));
    /* Hosts disagree about the byte order of the length; the echo is the same four bytes. */
    uint32_t length = get_u32_echo(r);
    if (!sla_size_ok(length))
        length = __builtin_bswap32(length);
    if (!sla_size_ok(length)) {
        put_u16(r, STATUS_SLA_FAILED);
        return;
    }
    put_u16(r, BROM_OK);
    uint8_t answer[0x180];
    get(r, answer, length);
    /* Twice: some hosts read this status as 32 bits. */
    put_u16(r, STATUS_SLA_FAILED);
    put_u16(r, STATUS_SLA_FAILED);
}

/* ---- download agent
 * -------------------------------------------------------------------------------- */

static enum brom_status send_da_check(const struct rom *r, const struct brom_send_da *a)
{
    if (a->length_bytes == 0)
        return BROM_DA_LEN_IS_ZERO;
    if (a->signature_bytes > a->length_bytes)
        return BROM_DA_SIG_LEN_EXCEED_DA_LEN;
    if ((target_config(r) & BROM_TARGET_DAA) && a->signature_bytes == 0)
        return BROM_DA_SIG_LEN_IS_ZERO;
    if (r->stage == BROM_STAGE_PRELOADER) /* loads to its own buffer, wherever the host wants it */
        return BROM_OK;
    if (a->address & 1)
        return BROM_DA_ADDR_NOT_ALIGNED;
    if (a->address < SRAM_BASE || a->length_bytes > SRAM_BYTES ||
        a->address - SRAM_BASE > SRAM_BYTES - a->length_bytes)
        return BROM_DA_INVALID_ADDR_AND_LEN;
    /* Serial link authentication is a matter of the boot ROM alone. */
    if ((target_config(r) & BROM_TARGET_SLA) && !r->authenticated)
        return BROM_SLA_REQUIRED;
    return BROM_OK;
}

/* What the phone thinks of the image it has received. */
static enum brom_status send_da_verify(const struct rom *r, const struct brom_send_da *a)
{
    bool secure = target_config(r) & BROM_TARGET_DAA;
    bool preloader = r->stage == BROM_STAGE_PRELOADER;
    if (a->length_bytes > DA_MEMORY_BYTES ||
        (preloader && secure && a->length_bytes > BROM_DA1_SECURE_MAX))
        return BROM_DA_EXCEED_MAX_DA_BLOCKS;
    if (secure && !synthetic_signed(span_of(r->da, a->length_bytes), a->signature_bytes))
        return BROM_DAA_SIG_VERIFY_FAILED;
    return BROM_OK;
}

static void send_da(struct rom *r)
{
    struct brom_send_da a = {.address = get_u32_echo(r)};
    a.length_bytes = get_u32_echo(r);
    a.signature_bytes = get_u32_echo(r);
    r->image.len = 0;
    enum brom_status status = send_da_check(r, &a);
    put_u16(r, (uint16_t)status);
    r->refused = status != BROM_OK;
    if (status == BROM_SLA_REQUIRED) { /* the challenge comes as a command inside this one */
        uint8_t command;
        get(r, &command, 1);
        put_u8(r, command);
        if (command == BROM_CMD_SLA)
            sla(r);
        else if (!r->gone)
            board_violation(r->b, "rom.command_after_refused_da");
        return;
    }
    if (status != BROM_OK)
        return;
    uint16_t sum = receive(r, r->da, DA_MEMORY_BYTES, a.length_bytes);
    if (r->gone)
        return;
    if (board_fault_due(r->b, "da_checksum"))
        sum ^= 0x0101;
    status = send_da_verify(r, &a);
    if (board_fault_due(r->b, "da_refused"))
        status = BROM_DAA_SIG_VERIFY_FAILED;
    put_u16(r, sum);
    put_u16(r, (uint16_t)status);
    r->refused = status != BROM_OK;
    if (status == BROM_OK)
        r->image = (struct da_image){a.address, a.length_bytes, a.signature_bytes};
    else if (status == BROM_DAA_SIG_VERIFY_FAILED) /* wipes the buffer and asserts */
        fail_assertion(r);
}

static void jump(struct rom *r, uint32_t address)
{
    bool preloader = r->stage == BROM_STAGE_PRELOADER;
    if (r->image.len == 0) {
        put_u16(r, preloader ? BROM_DAA_SIG_VERIFY_FAILED : BROM_DA_NOT_EXIST);
        if (preloader)
            fail_assertion(r);
        return;
    }
    if (!preloader && address != r->image.address) {
        put_u16(r, BROM_DA_INVALID_JUMP_ADDR);
        return;
    }
    put_u16(r, BROM_OK);
    if (r->gone)
        return;
    board_ram(r->b)->from_brom = !preloader;
    leave(r, da_run(r->b, r->acm, r->da, &r->image));
}

static void jump_da(struct rom *r)
{
    jump(r, get_u32_echo(r));
}

static void jump_da64(struct rom *r)
{
    uint32_t address = get_u32_echo(r);
    uint8_t wide;
    get(r, &wide, 1);
    put_u8(r, wide);
    jump(r, address);
}

static void jump_bl(struct rom *r)
{
    put_u16(r, BROM_OK);
    put_u16(r, BROM_OK);
    leave(r, NEXT_RESET);
}

/* ---- the rest
 * -------------------------------------------------------------------------------------- */

static void uart1_log_en(struct rom *r)
{
    put_u16(r, BROM_OK);
}

static void uart1_set_baudrate(struct rom *r)
{
    (void)get_u32(r);
    put_u16(r, BROM_OK);
}

static void debug_log(struct rom *r)
{
    static const char text[] = "[BROM] download mode\r\n"; /* constructed */
    put_u32(r, sizeof(text) - 1);
    put(r, text, sizeof(text) - 1);
}

static void debug_log_new(struct rom *r)
{
    debug_log(r);
    put_u16(r, BROM_OK);
}

static void pwr_init(struct rom *r)
{
    (void)get_u32_echo(r);
    (void)get_u32_echo(r);
    put_u16(r, BROM_OK);
}

static void pwr_deinit(struct rom *r)
{
    put_u16(r, BROM_OK);
}

static void pwr_read16(struct rom *r)
{
    (void)get_u16_echo(r);
    put_u16(r, BROM_OK); /* argument */
    put_u16(r, BROM_OK); /* operation */
    put_u16(r, 0);
}

static void pwr_write16(struct rom *r)
{
    (void)get_u16_echo(r);
    (void)get_u16_echo(r);
    put_u16(r, BROM_OK);
    put_u16(r, BROM_OK);
}

static void stay_still(struct rom *r)
{
    put_u16(r, BROM_OK);
    (void)board_sleep(r->b, STAY_STILL_MS, false);
    leave(r, NEXT_HALT);
}

static void zeroization(struct rom *r)
{
    board_violation(r->b, "rom.zeroization");
    (void)get_u32(r);
    put_u16(r, ZEROIZATION_STATUS);
}

static const struct {
    uint8_t code;
    void (*run)(struct rom *r); /* after the echo */
} handlers[] = {
    {BROM_CMD_GET_HW_CODE, get_hw_code},
    {BROM_CMD_GET_HW_SW_VER, get_hw_sw_ver},
    {BROM_CMD_GET_PL_CAP, get_pl_cap},
    {BROM_CMD_GET_TARGET_CONFIG, get_target_config},
    {BROM_CMD_GET_ME_ID, get_me_id},
    {BROM_CMD_GET_SOC_ID, get_soc_id},
    {BROM_CMD_READ16, read16},
    {BROM_CMD_READ32, read32},
    {BROM_CMD_WRITE16, write16},
    {BROM_CMD_WRITE16_NO_ECHO, write16_no_echo},
    {BROM_CMD_WRITE32, write32},
    {BROM_CMD_LEGACY_WRITE16, write16},
    {BROM_CMD_LEGACY_READ16, legacy_read16},
    {BROM_CMD_SEND_DA, send_da},
    {BROM_CMD_JUMP_DA, jump_da},
    {BROM_CMD_JUMP_DA64, jump_da64},
    {BROM_CMD_JUMP_BL, jump_bl},
    {BROM_CMD_SEND_CERT, send_cert},
    {BROM_CMD_SEND_AUTH, send_auth},
    {BROM_CMD_SLA, sla},
    {BROM_CMD_UART1_LOG_EN, uart1_log_en},
    {BROM_CMD_UART1_SET_BAUDRATE, uart1_set_baudrate},
    {BROM_CMD_BROM_DEBUGLOG, debug_log},
    {BROM_CMD_BROM_DEBUGLOG_NEW, debug_log_new},
    {BROM_CMD_PWR_INIT, pwr_init},
    {BROM_CMD_PWR_DEINIT, pwr_deinit},
    {BROM_CMD_PWR_READ16, pwr_read16},
    {BROM_CMD_PWR_WRITE16, pwr_write16},
    {BROM_CMD_STAY_STILL, stay_still},
    {BROM_CMD_ZEROIZATION, zeroization},
};

/* One command. Two answer without an echo; a byte that the stage does not know is only echoed, so
 * arguments sent after it are taken as commands. */
static void command(struct rom *r, uint8_t code)
{
    if (code == BROM_CMD_GET_BL_VER && r->stage == BROM_STAGE_PRELOADER) {
        put_u8(r, BROM_PRELOADER_VERSION);
        return;
    }
    if (code == BROM_CMD_GET_BROM_VERSION && r->stage == BROM_STAGE_BROM) {
        put_u8(r, ROM_BROM_VERSION);
        return;
    }
    put_u8(r, code);
    if (!brom_command_known(code, r->stage))
        return;
    for (size_t i = 0; i < ARRAY_LEN(handlers); i++)
        if (handlers[i].code == code) {
            board_trace(r->b, "%s %s", r->stage == BROM_STAGE_BROM ? "brom" : "preloader",
                        brom_command_name(code));
            handlers[i].run(r);
            return;
        }
}

enum board_next rom_command_loop(struct board *b, enum brom_stage stage, struct acm *acm)
{
    AUTO(free_ptr) uint8_t *memory = xcalloc(1, DA_MEMORY_BYTES);
    struct rom r = {.b = b, .stage = stage, .acm = acm, .next = NEXT_OFF, .da = memory};
    while (!r.over && !r.gone) {
        uint8_t code;
        get(&r, &code, 1);
        if (!r.gone && r.refused)
            board_violation(b, "rom.command_after_refused_da");
        if (!r.gone)
            command(&r, code);
    }
    board_usb_detach(b);
    return r.next;
}
