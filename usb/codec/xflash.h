/* xflash.h: the packet protocol of MediaTek's download agents, both stages (DA1, DA2). Everything
 * is little-endian. See usb/codec/README.md, "XFlash". */
#ifndef FLASHRACK_USB_CODEC_XFLASH_H
#define FLASHRACK_USB_CODEC_XFLASH_H

#include "usb/base/buf.h"

/* Packet: u32 magic, u32 kind, u32 payload length, payload. Header and payload are two OUT
 * transfers. */
#define XFLASH_MAGIC        0xfeeeeeef
#define XFLASH_HEADER_BYTES 12
#define XFLASH_KIND_FLOW    1 /* everything but log text */
#define XFLASH_KIND_MESSAGE 2 /* log text from the phone: u32 1, then text; may come anywhere */
#define XFLASH_PAYLOAD_MAX  0x1000000 /* our ceiling; the largest genuine one is 0x800000 */
struct xflash_header {
    uint32_t kind, length_bytes;
};
int xflash_header_decode(struct span in, struct xflash_header *out, struct err *err);
void xflash_header_encode(const struct xflash_header *msg, struct buf *out);
/* Straight into a packet buffer that is sent as one transfer. */
void xflash_header_store(uint32_t kind, uint32_t length_bytes, uint8_t out[XFLASH_HEADER_BYTES]);

#define XFLASH_ALIVE 0xc0       /* bare byte: DA1 runs */
#define XFLASH_SYNC  0x434e5953 /* "SYNC" */

enum xflash_stage_bit { XFLASH_DA1 = 1, XFLASH_DA2 = 2 };

/* name, code, stages that know it */
#define XFLASH_COMMANDS(X)                                                                         \
    X(DOWNLOAD, 0x010001, XFLASH_DA2)                                                              \
    X(UPLOAD, 0x010002, XFLASH_DA2)                                                                \
    X(FORMAT, 0x010003, XFLASH_DA2)                                                                \
    X(WRITE_DATA, 0x010004, XFLASH_DA2)                                                            \
    X(READ_DATA, 0x010005, XFLASH_DA2)                                                             \
    X(FORMAT_PARTITION, 0x010006, XFLASH_DA2)                                                      \
    X(SHUTDOWN, 0x010007, XFLASH_DA1 | XFLASH_DA2)                                                 \
    X(BOOT_TO, 0x010008, XFLASH_DA1 | XFLASH_DA2)                                                  \
    X(DEVICE_CTRL, 0x010009, XFLASH_DA1 | XFLASH_DA2)                                              \
    X(INIT_EXT_RAM, 0x01000a, XFLASH_DA1)                                                          \
    X(SWITCH_USB_SPEED, 0x01000b, XFLASH_DA1 | XFLASH_DA2)                                         \
    X(READ_OTP_ZONE, 0x01000c, XFLASH_DA2)  /* not used by Flashrack */                            \
    X(WRITE_OTP_ZONE, 0x01000d, XFLASH_DA2) /* irreversible: never sent */                         \
    X(WRITE_EFUSE, 0x01000e, XFLASH_DA2)    /* irreversible: never sent */                         \
    X(READ_EFUSE, 0x01000f, XFLASH_DA2)     /* not used by Flashrack */                            \
    X(NAND_BMT_REMARK, 0x010010, 0)                                                                \
    X(SRAM_TEST, 0x010011, XFLASH_DA1)                                                             \
    X(SETUP_ENVIRONMENT, 0x010100, 0)    /* only before the command loop */                        \
    X(SETUP_HW_INIT_PARAMS, 0x010101, 0) /* only before the command loop */
enum xflash_command {
#define X(name, code, stages) XFLASH_##name = (code),
    XFLASH_COMMANDS(X)
#undef X
};

enum xflash_control_kind { XFLASH_GET, XFLASH_SET, XFLASH_ACT, XFLASH_SPECIAL };
/* name, code, stages in the 2018 build (0: answered with UNSUPPORT_CTRL_CODE), kind. 2017 lacks
 * GET_EMMC_INFO and GET_UFS_INFO in DA1 and SET_REMOTE_SEC_POLICY, SET_ALL_IN_ONE_SIG,
 * SET_RSC_INFO, GET_DEV_FW_INFO, GET_HRID, CC_OPTIONAL_DOWNLOAD_ACT in DA2, but has STORAGE_TEST;
 * 2019 adds DA_STOR_LIFE_CYCLE_CHECK. */
#define XFLASH_CONTROLS(X)                                                                         \
    X(SET_BMT_PERCENTAGE, 0x020001, 0, XFLASH_SET)                                                 \
    X(SET_BATTERY_OPT, 0x020002, XFLASH_DA1 | XFLASH_DA2, XFLASH_SET)                              \
    X(SET_CHECKSUM_LEVEL, 0x020003, XFLASH_DA1, XFLASH_SET)                                        \
    X(SET_RESET_KEY, 0x020004, XFLASH_DA1, XFLASH_SET)                                             \
    X(SET_HOST_INFO, 0x020005, 0, XFLASH_SET)                                                      \
    X(SET_META_BOOT_MODE, 0x020006, XFLASH_DA2, XFLASH_SET) /* writes proinfo: never sent */       \
    X(SET_EMMC_HWRESET_PIN, 0x020007, 0, XFLASH_SET)                                               \
    X(SET_GENERATE_GPX, 0x020008, 0, XFLASH_SET)                                                   \
    X(SET_REGISTER_VALUE, 0x020009, XFLASH_DA2, XFLASH_SET)                                        \
    X(SET_EXTERNAL_SIG, 0x02000a, XFLASH_DA2, XFLASH_SET)                                          \
    X(SET_REMOTE_SEC_POLICY, 0x02000b, XFLASH_DA2, XFLASH_SET)                                     \
    X(SET_ALL_IN_ONE_SIG, 0x02000c, XFLASH_DA2, XFLASH_SET)                                        \
    X(SET_RSC_INFO, 0x02000d, XFLASH_DA2, XFLASH_SET)                                              \
    X(SET_UPDATE_FW, 0x020010, 0, XFLASH_SET)                                                      \
    X(SET_UFS_CONFIG, 0x020011, 0, XFLASH_SET)                                                     \
    X(GET_EMMC_INFO, 0x040001, XFLASH_DA1 | XFLASH_DA2, XFLASH_GET)                                \
    X(GET_NAND_INFO, 0x040002, XFLASH_DA2, XFLASH_GET)                                             \
    X(GET_NOR_INFO, 0x040003, XFLASH_DA2, XFLASH_GET)                                              \
    X(GET_UFS_INFO, 0x040004, XFLASH_DA1 | XFLASH_DA2, XFLASH_GET)                                 \
    X(GET_DA_VERSION, 0x040005, XFLASH_DA1 | XFLASH_DA2, XFLASH_GET)                               \
    X(GET_EXPIRE_DATA, 0x040006, 0, XFLASH_GET)                                                    \
    X(GET_PACKET_LENGTH, 0x040007, XFLASH_DA1 | XFLASH_DA2, XFLASH_GET)                            \
    X(GET_RANDOM_ID, 0x040008, XFLASH_DA2, XFLASH_GET)                                             \
    X(GET_PARTITION_TBL_CATA, 0x040009, XFLASH_DA1 | XFLASH_DA2, XFLASH_GET)                       \
    X(GET_CONNECTION_AGENT, 0x04000a, XFLASH_DA1, XFLASH_GET)                                      \
    X(GET_USB_SPEED, 0x04000b, XFLASH_DA1 | XFLASH_DA2, XFLASH_GET)                                \
    X(GET_RAM_INFO, 0x04000c, XFLASH_DA1 | XFLASH_DA2, XFLASH_GET)                                 \
    X(GET_CHIP_ID, 0x04000d, XFLASH_DA1 | XFLASH_DA2, XFLASH_GET)                                  \
    X(GET_OTP_LOCK_STATUS, 0x04000e, XFLASH_DA2, XFLASH_GET)                                       \
    X(GET_BATTERY_VOLTAGE, 0x04000f, XFLASH_DA2, XFLASH_GET)                                       \
    X(GET_RPMB_STATUS, 0x040010, XFLASH_DA1 | XFLASH_DA2, XFLASH_GET)                              \
    X(GET_EXPIRE_DATE, 0x040011, 0, XFLASH_GET)                                                    \
    X(GET_DRAM_TYPE, 0x040012, XFLASH_DA2, XFLASH_GET)                                             \
    X(GET_DEV_FW_INFO, 0x040013, XFLASH_DA2, XFLASH_GET)                                           \
    X(GET_HRID, 0x040014, XFLASH_DA2, XFLASH_GET)                                                  \
    X(GET_ERROR_DETAIL, 0x040015, 0, XFLASH_GET)                                                   \
    X(SLA_ENABLED_STATUS, 0x040016, 0, XFLASH_GET)                                                 \
    X(START_DL_INFO, 0x080001, XFLASH_DA2, XFLASH_ACT) /* writes flashinfo: never sent */          \
    X(END_DL_INFO, 0x080002, XFLASH_DA2, XFLASH_ACT)                                               \
    X(ACT_LOCK_OTP_ZONE, 0x080003, XFLASH_DA2, XFLASH_ACT)        /* irreversible: never sent */   \
    X(DISABLE_EMMC_HWRESET_PIN, 0x080004, XFLASH_DA2, XFLASH_ACT) /* irreversible: never sent */   \
    X(CC_OPTIONAL_DOWNLOAD_ACT, 0x080005, XFLASH_DA2, XFLASH_ACT)                                  \
    X(DA_STOR_LIFE_CYCLE_CHECK, 0x080007, 0, XFLASH_ACT)                                           \
    X(STORAGE_TEST, 0x0e0001, 0, XFLASH_SPECIAL)                                                   \
    X(RAM_TEST, 0x0e0002, XFLASH_DA1, XFLASH_SPECIAL)                                              \
    X(READ_REGISTER, 0x0e0003, XFLASH_DA2, XFLASH_SPECIAL)
enum xflash_control {
#define X(name, code, stages, kind) XFLASH_##name = (code),
    XFLASH_CONTROLS(X)
#undef X
};
struct xflash_code_info {
    uint32_t code;
    const char *name;
    unsigned stages;               /* mask of enum xflash_stage_bit */
    enum xflash_control_kind kind; /* control codes only */
};
/* Commands and control codes; NULL when the code is in neither table. */
const struct xflash_code_info *xflash_command_find(uint32_t code);
const struct xflash_code_info *xflash_control_find(uint32_t code);

/* ---- status codes (xflash_status.c): bits 31..30 severity, 23..16 domain, 15..0 number ---- */
enum xflash_status {
    XFLASH_OK = 0,
    XFLASH_CONTINUE = 0x40040004, /* a percentage follows */
    XFLASH_COMPLETE = 0x40040005,
    XFLASH_OTP_LOCKED = 0x40040002,
    XFLASH_OTP_UNLOCKED = 0x40040003,
    XFLASH_ERR = 0xc0010001,
    XFLASH_ABORT = 0xc0010002, /* also the host's only way to cancel a transfer */
    XFLASH_UNSUPPORT_CMD = 0xc0010003,
    XFLASH_UNSUPPORT_CTRL_CODE = 0xc0010004,
    XFLASH_PROTOCOL_ERR = 0xc0010005,             /* the DA is dead */
    XFLASH_PROTOCOL_BUFFER_OVERFLOW = 0xc0010006, /* the DA is dead */
    XFLASH_INSUFFICIENT_BUFFER = 0xc0010007,
    XFLASH_INVALID_STAGE = 0xc001000b,
    XFLASH_NOT_IMPLEMENTED = 0xc001000c,
    XFLASH_MEM_ALLOC_FAIL = 0xc0010013,
    XFLASH_SEC_DL_FORBIDDEN = 0xc0020004,
    XFLASH_SEC_IMG_TOO_LARGE = 0xc0020005,
    XFLASH_SEC_IMG_VFY_FAIL = 0xc0020007,
    XFLASH_SEC_HASH_BINDING_CHK_FAIL = 0xc0020009,
    XFLASH_SEC_WRITE_DATA_NOT_ALLOWED = 0xc002000c,
    XFLASH_SEC_EXT_ALL_IN_ONE_SIG_REJECT = 0xc0020042,
    XFLASH_STORAGE_MISMATCH = 0xc0030006,
    XFLASH_INVALID_PARAMETERS = 0xc0030007,
    XFLASH_INVALID_GPT = 0xc0030008,
    XFLASH_INVALID_FORMAT_PARAMETER = 0xc003000b,
    XFLASH_UNKNOWN_STORAGE_SECTION_TYPE = 0xc003000c,
    XFLASH_SEC_AUTH_FILE_NOT_FOUND = 0xc0030011,
    XFLASH_SEC_AUTH_FILE_NEEDED = 0xc0030012,
    XFLASH_STOR_LIFE_WARN = 0xc003001c,
    XFLASH_STOR_LIFE_EXHAUST = 0xc003001d,
    XFLASH_UNSUPPORT_OP = 0xc0040001,
    XFLASH_THREAD = 0xc0040002,
    XFLASH_CHECKSUM_ERR = 0xc0040003,
    XFLASH_TOO_LARGE = 0xc0040004,
    XFLASH_PARTITION_NOT_FOUND = 0xc0040006,
    XFLASH_READ_PT_FAIL = 0xc0040007,
    XFLASH_UNKNOWN_STORAGE_TYPE = 0xc0040009,
    XFLASH_EXCEED_AVAILABLE_RANGE = 0xc004000b,
    XFLASH_WRITE_SPARSE_IMAGE_FAIL = 0xc004000c,
    XFLASH_REG_PERMISSION_DENIED = 0xc004000d,
    XFLASH_MMC_ERR = 0xc0040030,
    XFLASH_EMI_SETTING_VERSION_ERROR = 0xc0040050,
    XFLASH_UFS_ERR = 0xc0040060,
    XFLASH_DA_HASH_MISMATCH = 0xc0070004,
};
struct xflash_status_info {
    uint32_t code;
    const char *name, *meaning; /* meaning: for an operator */
};
const struct xflash_status_info *xflash_status_find(uint32_t status); /* NULL: not in the table */
static inline bool xflash_status_failed(uint32_t status)
{
    return status >> 30 == 3;
}
/* Always a negative ERR_*, with `what`, number, name and meaning in err. Framing errors are
 * ERR_DEAD. */
int xflash_status_err(uint32_t status, const char *what, struct err *err);

/* Status, command, control code, acknowledgement: a payload of 4 bytes. */
int xflash_word_decode(struct span in, uint32_t *out, struct err *err);

/* Log text of a message packet: what follows the leading u32. Borrowed. */
int xflash_message_decode(struct span in, struct span *text_out, struct err *err);
void xflash_message_encode(struct span text, struct buf *out);

/* ---- start of DA1 ------------------------------------------------------------------------ */
enum xflash_log_channel { XFLASH_LOG_NONE, XFLASH_LOG_UART, XFLASH_LOG_USB, XFLASH_LOG_BOTH };
enum xflash_host_os { XFLASH_OS_WINDOWS = 0, XFLASH_OS_LINUX = 1 };
#define XFLASH_ENVIRONMENT_BYTES     20
#define XFLASH_ENVIRONMENT_MIN_BYTES 12
struct xflash_environment { /* u32 x 5; the phone takes 12 to 20 bytes and reads three words */
    uint32_t log_level;     /* 0 trace .. 5 fatal; 2 */
    uint32_t log_channel;   /* enum xflash_log_channel */
    uint32_t host_os;       /* 1: read packets of 64 KiB; any other: 2 MiB */
    uint32_t ufs_provision, reserved;
};
int xflash_environment_decode(struct span in, struct xflash_environment *out, struct err *err);
void xflash_environment_encode(const struct xflash_environment *msg, struct buf *out);

struct xflash_boot_to { /* u64 address, u64 length of the image without its signature */
    uint64_t address, length_bytes;
};
int xflash_boot_to_decode(struct span in, struct xflash_boot_to *out, struct err *err);
void xflash_boot_to_encode(const struct xflash_boot_to *msg, struct buf *out);

enum xflash_checksum_level { /* SET_CHECKSUM_LEVEL, bits; 2 when never set */
                             XFLASH_CHECKSUM_USB =
                                 1, /* the phone compares the checksum of each chunk */
                             XFLASH_CHECKSUM_STORAGE = 2, /* the phone reads back 16-bit sums */
};

/* ---- storage ----------------------------------------------------------------------------- */
enum xflash_storage { XFLASH_STORAGE_EMMC = 1, XFLASH_STORAGE_SD = 2, XFLASH_STORAGE_UFS = 0x30 };
enum xflash_section { XFLASH_BOOT1 = 1, XFLASH_BOOT2 = 2, XFLASH_RPMB = 3, XFLASH_USER = 8 };
#define XFLASH_BLOCK_BYTES 512

#define XFLASH_RANGE_BYTES     56
#define XFLASH_RANGE_MIN_BYTES 24 /* the phone takes these; the NAND part is zero on eMMC */
struct xflash_range { /* READ_DATA, WRITE_DATA, FORMAT: u32 storage, u32 section, u64, u64, 8 x u32
                         0 */
    uint32_t storage, section;
    uint64_t address, length_bytes; /* inside the section */
};
int xflash_range_decode(struct span in, struct xflash_range *out, struct err *err);
void xflash_range_encode(const struct xflash_range *msg, struct buf *out);

#define XFLASH_NAME_MAX 64 /* partition names on the wire, no terminator */
int xflash_name_decode(struct span in, char out[XFLASH_NAME_MAX + 1], struct err *err);

/* Sum of all bytes, plus 0xff for an odd count, modulo 0x10000. */
uint32_t xflash_checksum(struct span chunk);

#define XFLASH_SHUTDOWN_BYTES 24 /* exactly; a longer block shuts down without a reboot */
enum xflash_boot_target { XFLASH_TARGET_NORMAL, XFLASH_TARGET_HOME, XFLASH_TARGET_FASTBOOT };
struct xflash_shutdown {   /* u32 x 6 */
    uint32_t reboot;       /* 1: reboot as told below; else dead until the cable is pulled */
    uint32_t timeout_ms;   /* watchdog time before the reset */
    uint32_t async;        /* 1: disconnect before the reset */
    uint32_t target;       /* enum xflash_boot_target */
    uint32_t download_bit; /* 1: preloader waits for a tool without a time limit */
    uint32_t keep_rtc;
};
/* Up to 24 bytes; missing words are zero here (a real phone uses stack leftovers). */
int xflash_shutdown_decode(struct span in, struct xflash_shutdown *out, struct err *err);
void xflash_shutdown_encode(const struct xflash_shutdown *msg, struct buf *out);

/* ---- replies of GET codes ---------------------------------------------------------------- */
#define XFLASH_EMMC_INFO_BYTES      0x60
#define XFLASH_EMMC_INFO_2019_BYTES 0x68
struct xflash_emmc_info {
    uint32_t type, block_bytes; /* type 1 eMMC, 0 not present */
    uint64_t boot1_bytes, boot2_bytes, rpmb_bytes, gp_bytes[4], user_bytes;
    uint8_t cid[16];
    uint64_t firmware_version;
    bool has_health; /* the 2019 form, three bytes at 0x60 */
    uint8_t pre_eol, life_time_a, life_time_b;
};
int xflash_emmc_info_decode(struct span in, struct xflash_emmc_info *out, struct err *err);
/* 0x60 bytes, or 0x68 when has_health. */
void xflash_emmc_info_encode(const struct xflash_emmc_info *msg, struct buf *out);
/* Bytes of a section, 0 for sections that Flashrack does not touch. */
uint64_t xflash_section_bytes(const struct xflash_emmc_info *info, uint32_t section);

struct xflash_nand_info { /* 48 bytes */
    uint32_t type, page_bytes, block_bytes, spare_bytes;
    uint64_t total_bytes, available_bytes;
    uint8_t bmt, id[12];
};
int xflash_nand_info_decode(struct span in, struct xflash_nand_info *out, struct err *err);
void xflash_nand_info_encode(const struct xflash_nand_info *msg, struct buf *out);

struct xflash_nor_info { /* 16 bytes */
    uint32_t type, page_bytes;
    uint64_t size_bytes;
};
int xflash_nor_info_decode(struct span in, struct xflash_nor_info *out, struct err *err);
void xflash_nor_info_encode(const struct xflash_nor_info *msg, struct buf *out);

#define XFLASH_UFS_INFO_BYTES      0x38
#define XFLASH_UFS_INFO_2019_BYTES 0xd0
struct xflash_ufs_info { /* only what all builds have */
    uint32_t type, block_bytes;
    uint64_t lu_bytes[3];
};
int xflash_ufs_info_decode(struct span in, struct xflash_ufs_info *out, struct err *err);
void xflash_ufs_info_encode(const struct xflash_ufs_info *msg, size_t reply_bytes, struct buf *out);

struct xflash_packet_length { /* u32 write, u32 read */
    uint32_t write_bytes, read_bytes;
};
int xflash_packet_length_decode(struct span in, struct xflash_packet_length *out, struct err *err);
void xflash_packet_length_encode(const struct xflash_packet_length *msg, struct buf *out);

struct xflash_ram { /* u32 type (0 none, 1 DRAM, 2 SRAM), u32 pad, u64 base, u64 size */
    uint32_t type;
    uint64_t base, size_bytes;
};
struct xflash_ram_info { /* 48 bytes */
    struct xflash_ram sram, dram;
};
int xflash_ram_info_decode(struct span in, struct xflash_ram_info *out, struct err *err);
void xflash_ram_info_encode(const struct xflash_ram_info *msg, struct buf *out);

struct xflash_chip_id { /* 12 bytes */
    uint16_t hw_code, hw_sub_code, hw_version, sw_version;
    uint32_t evolution;
};
int xflash_chip_id_decode(struct span in, struct xflash_chip_id *out, struct err *err);
void xflash_chip_id_encode(const struct xflash_chip_id *msg, struct buf *out);

struct xflash_register { /* READ_REGISTER, SET_REGISTER_VALUE: u32 address, u32 value */
    uint32_t address, value;
};
int xflash_register_decode(struct span in, struct xflash_register *out, struct err *err);
void xflash_register_encode(const struct xflash_register *msg, struct buf *out);

#define XFLASH_AGENT_BROM      "brom"      /* DRAM is not up: INIT_EXT_RAM first */
#define XFLASH_AGENT_PRELOADER "preloader" /* DRAM is up */
#define XFLASH_RANDOM_ID_BYTES 16
#define XFLASH_TABLE_GPT       100 /* GET_PARTITION_TBL_CATA */
#define XFLASH_TABLE_PMT       101

/* Packet lengths of the genuine agents. */
#define XFLASH_DA1_PACKET_BYTES       0x8000
#define XFLASH_DA2_WRITE_PACKET_BYTES 0x200000
#define XFLASH_DA2_READ_PACKET_LINUX  0x10000
#define XFLASH_DA2_READ_PACKET_OTHER  0x200000

#endif
