/* da.h: the download agent of the emulated phone, both stages. README.md, "Download agent".
 *
 *   da.c          command loop, SHUTDOWN, SWITCH_USB_SPEED, and what being dead means
 *   da1.c         start, DRAM, loading DA2
 *   da_ctrl.c     DEVICE_CTRL
 *   da_storage.c  areas, ranges, partition table
 *   da2.c         READ_DATA, UPLOAD, FORMAT, FORMAT_PARTITION
 *   da_write.c    WRITE_DATA, DOWNLOAD: the writer behind them */
#ifndef FLASHRACK_TESTS_PHONE_DA_H
#define FLASHRACK_TESTS_PHONE_DA_H

#include "tests/phone/acm.h"
#include "tests/phone/da_link.h"
#include "tests/phone/synthetic_da.h"
#include "usb/format/gpt.h"

/* The phone's working memory: image of DA1, then of DA2, then the read and write buffers: what a
 * writer takes at a time, and one packet that goes beyond it. */
#define DA_GROUP_BYTES   (4u << 20)
#define DA_MEMORY_BYTES  (DA_GROUP_BYTES + (2u << 20))
#define DA_SCRATCH_BYTES (64u << 10)

struct da_image { /* a loaded DA1 at the start of the memory; len 0: none */
    uint32_t address, len, signature_len;
};

struct da {
    struct board *b;
    struct da_link link;
    struct acm own;   /* identity after SWITCH_USB_SPEED */
    uint8_t *memory;  /* DA_MEMORY_BYTES, borrowed */
    uint8_t *scratch; /* DA_SCRATCH_BYTES */
    unsigned stage;   /* XFLASH_DA1 or XFLASH_DA2 */
    bool high_speed;
    struct synthetic_digests da2; /* what DA1 was told to accept */
    bool over;                    /* the command loop is left for good, for `next` */
    enum board_next next;

    uint32_t host_os;
    uint32_t checksum_level; /* enum xflash_checksum_level */
    uint32_t battery_opt;
    bool all_in_one_sig; /* was given once */
    bool dl_info;        /* START_DL_INFO: each write leaves a record in flashinfo */
    /* Blocks that a short packet only overwrites in part: the rest is left over from earlier
     * commands. */
    uint8_t range[XFLASH_RANGE_BYTES], shutdown[XFLASH_SHUTDOWN_BYTES], reg[8];
    struct gpt gpt; /* valid after da_gpt_load() */
};

/* Runs the DA1 at `memory` until the phone leaves the bus. `acm` is attached and stays the
 * caller's. */
enum board_next da_run(struct board *b, const struct acm *acm, uint8_t *memory,
                       const struct da_image *image);

/* ---- da.c ---- */
void da_leave(struct da *d, enum board_next next);
/* Dead: stays on the bus and answers nothing until cable and power are gone. */
void da_die(struct da *d, const char *why);
/* Sets link.gone when the phone is. */
void da_sleep(struct da *d, int ms);
/* Sends a status of a command. What was sent: the fault da_status puts an error in the place of a good
 * one, and whatever the command was about to do then, it does as after an error of its own. */
uint32_t da_send_status(struct da *d, uint32_t status);
/* A word from the host (acknowledgement, host status, checksum), or DA_LINK_*. */
ptrdiff_t da_recv_word(struct da *d, uint32_t *out);

/* ---- da1.c ---- */
bool da1_start(struct da *d); /* false: dead or gone */
void da1_init_ext_ram(struct da *d);
void da1_boot_to(struct da *d);

/* ---- da_ctrl.c ---- */
void da_device_ctrl(struct da *d);

/* ---- da_storage.c ---- */
struct da_target { /* bytes of an area */
    enum board_area area;
    uint64_t at, len;
    bool unreadable; /* 2017 lets hosts at RPMB and GP areas, the eMMC does not */
};
/* Checks a parameter block in the order of the build; XFLASH_OK and *out, or the error status. For
 * an EXCEED_AVAILABLE_RANGE *out is the part that lies inside. */
uint32_t da_target_check(struct da *d, const uint8_t raw[XFLASH_RANGE_BYTES],
                         struct da_target *out);
bool da_gpt_load(struct da *d); /* false: neither primary nor backup table is readable */
/* A partition by name, in any case; XFLASH_OK, PARTITION_NOT_FOUND or INVALID_GPT. */
uint32_t da_partition(struct da *d, const char *name, struct da_target *out);
/* What a phone with secure boot guards in the range: a mask. */
enum da_guard { GUARD_LOCKED = 1, GUARD_VERIFIED = 2, GUARD_BOUND = 4 };
unsigned da_guards(struct da *d, const struct da_target *t);
/* XFLASH_OK or MMC_ERR; sets link.gone when power is lost. */
uint32_t da_flash_read(struct da *d, enum board_area area, uint64_t at, void *dst, size_t len);
uint32_t da_flash_write(struct da *d, enum board_area area, uint64_t at, const void *src,
                        size_t len);
/* Takes whatever arrives as the parameter block; errors of framing are not noticed here, the block is
 * then what earlier commands left, and the stream is out of step. False when the phone is gone. */
bool da_recv_range(struct da *d);
/* Name packet of the commands by name. Framing errors count as a name that no partition has. */
ptrdiff_t da_recv_name(struct da *d, char out[XFLASH_NAME_MAX + 1]);

/* ---- da2.c, da_write.c ---- */
void da2_read_data(struct da *d);
void da2_upload(struct da *d);
void da2_format(struct da *d);
void da2_format_partition(struct da *d);
void da2_write_data(struct da *d);
void da2_download(struct da *d);

#endif
