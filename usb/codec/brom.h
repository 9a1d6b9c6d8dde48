/* brom.h: what boot ROM and preloader of a MediaTek phone speak before a download agent runs. All
 * fields are big-endian; each field is a transfer of its own. See usb/codec/README.md, "Boot ROM
 * and preloader". */
#ifndef FLASHRACK_USB_CODEC_BROM_H
#define FLASHRACK_USB_CODEC_BROM_H

#include "usb/base/buf.h"

enum brom_stage { BROM_STAGE_BROM, BROM_STAGE_PRELOADER };

/* USB identities (README, "Identities"). */
#define BROM_USB_VID              0x0e8d
#define BROM_USB_PID_BROM         0x0003
#define BROM_USB_PID_PRELOADER    0x2000
#define BROM_USB_PID_DA_HIGHSPEED 0x2001

/* Start sequence A0 0A 50 05; each byte is answered by its complement. */
#define BROM_START_BYTES 4
extern const uint8_t brom_start_sequence[BROM_START_BYTES];
/* What a listening preloader says again and again once a tool has set the line coding. */
#define BROM_READY_TEXT "READY"

/* The phone's side of the start sequence (README, "Start check"): feeds one byte, true when there
 * is an answer byte. The command loop begins once *index is BROM_START_BYTES. The preloader answers
 * a wrong byte with byte + 1; the boot ROM does the same here [constructed: no source tells]. */
bool brom_start_feed(unsigned *index, uint8_t got, uint8_t *answer_out);

/* code, name, stages that know it: 1 boot ROM, 2 preloader */
#define BROM_COMMANDS(X)                                                                           \
    X(0xfd, GET_HW_CODE, 3)                                                                        \
    X(0xfc, GET_HW_SW_VER, 3)                                                                      \
    X(0xfe, GET_BL_VER, 3)                                                                         \
    X(0xff, GET_BROM_VERSION, 1)                                                                   \
    X(0xfb, GET_PL_CAP, 2)                                                                         \
    X(0xd8, GET_TARGET_CONFIG, 3)                                                                  \
    X(0xe1, GET_ME_ID, 3)                                                                          \
    X(0xe7, GET_SOC_ID, 3)                                                                         \
    X(0xd0, READ16, 3)                                                                             \
    X(0xd1, READ32, 3)                                                                             \
    X(0xd2, WRITE16, 3)                                                                            \
    X(0xd3, WRITE16_NO_ECHO, 3)                                                                    \
    X(0xd4, WRITE32, 3)                                                                            \
    X(0xa1, LEGACY_WRITE16, 2)                                                                     \
    X(0xa2, LEGACY_READ16, 2)                                                                      \
    X(0xd7, SEND_DA, 3)                                                                            \
    X(0xd5, JUMP_DA, 3)                                                                            \
    X(0xde, JUMP_DA64, 1)                                                                          \
    X(0xd6, JUMP_BL, 1)                                                                            \
    X(0xe0, SEND_CERT, 1)                                                                          \
    X(0xe2, SEND_AUTH, 1)                                                                          \
    X(0xe3, SLA, 1)                                                                                \
    X(0xd9, SEND_ENV_PREPARE, 1)                                                                   \
    X(0xdb, UART1_LOG_EN, 3)                                                                       \
    X(0xdc, UART1_SET_BAUDRATE, 1)                                                                 \
    X(0xdd, BROM_DEBUGLOG, 1)                                                                      \
    X(0xdf, BROM_DEBUGLOG_NEW, 1)                                                                  \
    X(0xc4, PWR_INIT, 2)                                                                           \
    X(0xc5, PWR_DEINIT, 2)                                                                         \
    X(0xc6, PWR_READ16, 2)                                                                         \
    X(0xc7, PWR_WRITE16, 2)                                                                        \
    X(0x80, STAY_STILL, 2)                                                                         \
    X(0xf0, ZEROIZATION, 2) /* destroys fuse keys; Flashrack never sends it */

enum brom_command {
#define X(code, name, stages) BROM_CMD_##name = (code),
    BROM_COMMANDS(X)
#undef X
};
const char *brom_command_name(uint8_t command); /* "?" when unknown */
bool brom_command_known(uint8_t command, enum brom_stage stage);

/* 16-bit status words. 0x0000..0x00ff are success: the boot ROM answers writes with 1. */
enum brom_status {
    BROM_OK = 0x0000,
    BROM_OK_WRITE = 0x0001, /* boot ROM, WRITE16/WRITE32 */
    BROM_READ_REGION_CHK_FAIL = 0x1000,
    BROM_WRITE_REGION_CHK_FAIL = 0x1001,
    BROM_NO_AUTH_NEEDED = 0x1d0c,
    BROM_SLA_REQUIRED = 0x1d0d,
    BROM_DA_OVERLAP = 0x1d0e,
    BROM_DA_INVALID_JUMP_ADDR = 0x1d0f,
    BROM_DA_EXCEED_MAX_DA_BLOCKS = 0x1d10,
    BROM_DA_ADDR_NOT_ALIGNED = 0x1d11,
    BROM_DA_INVALID_ADDR_AND_LEN = 0x1d12,
    BROM_DA_LEN_IS_ZERO = 0x1d13,
    BROM_DA_SIG_LEN_EXCEED_DA_LEN = 0x1d14,
    BROM_DA_SIG_LEN_IS_ZERO = 0x1d15,
    BROM_DA_NOT_EXIST = 0x1d16,
    BROM_SLA_ALREADY_DONE = 0x7017, /* as an answer to SLA */
    BROM_DAA_SIG_VERIFY_FAILED = 0x7024,
    BROM_COUNT_OVERFLOW = 0xfffd,
    BROM_COUNT_ZERO = 0xfffe,
    BROM_MISALIGNED = 0xffff,
};
static inline bool brom_status_ok(uint16_t status)
{
    return status <= 0x00ff;
}
const char *brom_status_name(uint16_t status);    /* "UNKNOWN" when not in the table */
const char *brom_status_meaning(uint16_t status); /* for an operator */
/* 0 for success, else ERR_AUTH_NEEDED or ERR_REFUSED, with `what`, number, name and meaning in err.
 */
int brom_status_err(uint16_t status, const char *what, struct err *err);

/* GET_TARGET_CONFIG bits. A preloader reports only the first three. */
enum brom_target_config_bit {
    BROM_TARGET_SBC = 0x01, /* secure boot */
    BROM_TARGET_SLA = 0x02, /* serial link authentication */
    BROM_TARGET_DAA = 0x04, /* download agent must be signed */
    BROM_TARGET_EPP = 0x08,
    BROM_TARGET_CERT = 0x10,      /* root certificate wanted */
    BROM_TARGET_MEM_READ = 0x20,  /* memory reads need authentication */
    BROM_TARGET_MEM_WRITE = 0x40, /* memory writes need authentication */
    BROM_TARGET_C8_BLOCKED = 0x80,
};

#define BROM_PRELOADER_VERSION 3 /* GET_BL_VER of a preloader that knows XFlash; 1: too old */
#define BROM_CAP_XFLASH        1 /* GET_PL_CAP word 0 */
#define BROM_CAP_ME_ID         2
#define BROM_CAP_SOC_ID        4

/* MT6771 (README, "MT6771 values"). */
#define BROM_MT6771_HW_CODE 0x0788
#define BROM_MT6771_DACODE  0x6771
#define BROM_WATCHDOG_BASE  0x10007000
#define BROM_WATCHDOG_OFF   0x22000064
#define BROM_DA1_SECURE_MAX 0x40000 /* preloader with secure USB download: signature included */

#define BROM_ME_ID_BYTES  16
#define BROM_SOC_ID_BYTES 32

/* Replies, after the echo of the command byte. All decoders want exactly the bytes of the message.
 */
struct brom_hw_code { /* 4 bytes: u16 code, u16 status */
    uint16_t code, status;
};
struct brom_versions { /* 8 bytes: u16 sub code, u16 hw version, u16 sw version, u16 status */
    uint16_t hw_sub_code, hw_version, sw_version, status;
};
struct brom_target_config { /* 6 bytes: u32 bits, u16 status */
    uint32_t bits;
    uint16_t status;
};
struct brom_capabilities { /* 8 bytes: u32 word 0, u32 word 1; no status */
    uint32_t word0, word1;
};
struct brom_id { /* u32 length (16 or 32), the bytes, u16 status */
    uint32_t length;
    uint8_t bytes[BROM_SOC_ID_BYTES];
    uint16_t status;
};
struct brom_da_result { /* 4 bytes after the data of SEND_DA, SEND_CERT, SEND_AUTH */
    uint16_t checksum, status;
};
int brom_hw_code_decode(struct span in, struct brom_hw_code *out, struct err *err);
int brom_versions_decode(struct span in, struct brom_versions *out, struct err *err);
int brom_target_config_decode(struct span in, struct brom_target_config *out, struct err *err);
int brom_capabilities_decode(struct span in, struct brom_capabilities *out, struct err *err);
int brom_id_decode(struct span in, struct brom_id *out, struct err *err);
int brom_da_result_decode(struct span in, struct brom_da_result *out, struct err *err);
void brom_hw_code_encode(const struct brom_hw_code *msg, struct buf *out);
void brom_versions_encode(const struct brom_versions *msg, struct buf *out);
void brom_target_config_encode(const struct brom_target_config *msg, struct buf *out);
void brom_capabilities_encode(const struct brom_capabilities *msg, struct buf *out);
void brom_id_encode(const struct brom_id *msg, struct buf *out);
void brom_da_result_encode(const struct brom_da_result *msg, struct buf *out);

/* Arguments of SEND_DA (three u32) and of the memory commands (two u32): each u32 is a transfer of
 * its own and echoed, so these are for tests, records and the phone's bookkeeping. */
struct brom_send_da {
    uint32_t address, length_bytes, signature_bytes; /* length includes the signature */
};
struct brom_memory {
    uint32_t address, count; /* count of 16- or 32-bit words */
};
int brom_send_da_decode(struct span in, struct brom_send_da *out, struct err *err);
int brom_memory_decode(struct span in, struct brom_memory *out, struct err *err);
void brom_send_da_encode(const struct brom_send_da *msg, struct buf *out);
void brom_memory_encode(const struct brom_memory *msg, struct buf *out);

/* XOR of all 16-bit little-endian words, a last odd byte counting as a word; runs over pieces. */
struct brom_checksum {
    uint16_t sum;
    bool odd; /* an odd number of bytes so far */
};
void brom_checksum_update(struct brom_checksum *c, struct span in);

#endif
