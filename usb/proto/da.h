/* da.h: the host's conversation with a download agent over XFlash: start of DA1, DRAM, DA2,
 * queries, reading and writing flash, shutdown. Facts: usb/codec/README.md, "XFlash".
 *
 * Every range, section and size is checked here before a command goes out, because a phone does not
 * check them all and cannot be brought back in band: a framing error or unexpected silence is
 * ERR_DEAD, and from then on every call answers ERR_DEAD until the phone was re-plugged. */
#ifndef FLASHRACK_USB_PROTO_DA_H
#define FLASHRACK_USB_PROTO_DA_H

#include "usb/codec/xflash.h"
#include "usb/proto/link.h"

struct da {
    struct link *link; /* borrowed */
    bool in_da2;
    struct xflash_packet_length packet; /* write_bytes 0: not asked for yet */
    struct xflash_emmc_info emmc;       /* type 0 until da_get_emmc_info() was asked */
    uint8_t *buffer;                    /* two chunks of a write, one piece of a read */
    uint32_t chunk_max_bytes; /* largest chunk of a write; 0: half of the phone's packet length, so
                                 that one chunk is filled while the other is on its way */
};
void da_init(struct da *da, struct link *link);
void da_deinit(struct da *da);
/* The same phone in DA2 after SWITCH_USB_SPEED, on the transport of its new identity. */
void da_reattach(struct da *da, struct link *link);

struct da_options {
    uint32_t host_os;     /* XFLASH_OS_WINDOWS (0) for read packets of 2 MiB */
    uint32_t log_channel; /* XFLASH_LOG_UART (1): no log packets on the link */
};
#define DA_OPTIONS_DEFAULT ((struct da_options){XFLASH_OS_WINDOWS, XFLASH_LOG_UART})

/* From JUMP_DA's status to DA1's command loop. */
int da_start(struct da *da, struct da_options options, struct err *err);
/* Bits of enum xflash_checksum_level. DA1 only, hands it to DA2. */
int da_set_checksum_level(struct da *da, uint32_t level, struct err *err);
/* DA1: true when a preloader has set up DRAM, else da_init_dram() must come before da_boot_to(). */
int da_get_dram_up(struct da *da, bool *out, struct err *err);
/* emi: the info block cut from the phone's own preloader file. */
int da_init_dram(struct da *da, struct span emi, struct err *err);
/* da2: region 2 of the agent file without its signature. */
int da_boot_to(struct da *da, uint64_t address, struct span da2, struct err *err);

struct da_images {
    uint64_t da2_address;
    struct span da2; /* without signature */
    struct span emi; /* may be empty when the preloader started DA1 */
};
/* da_start() to da_boot_to() in one go, checksum level USB (the station reads back itself); then
 * packet lengths and eMMC information. */
int da_bring_up(struct da *da, struct da_options options, const struct da_images *images,
                struct err *err);

/* ---- queries ----------------------------------------------------------------------------- */
/* Any GET code; ERR_UNSUPPORTED when this build does not know it. */
int da_get(struct da *da, enum xflash_control code, struct buf *reply, struct err *err);
int da_get_emmc_info(struct da *da, struct xflash_emmc_info *out, struct err *err);
int da_get_packet_length(struct da *da, struct xflash_packet_length *out, struct err *err);
int da_get_chip_id(struct da *da, struct xflash_chip_id *out, struct err *err);
int da_get_ram_info(struct da *da, struct xflash_ram_info *out, struct err *err);
/* ERR_UNSUPPORTED without a battery. */
int da_get_battery_mv(struct da *da, uint32_t *out, struct err *err);
int da_get_random_id(struct da *da, uint8_t out[XFLASH_RANDOM_ID_BYTES], struct err *err);
#define DA_TEXT_BYTES 32
/* GET_USB_SPEED, GET_DA_VERSION, GET_CONNECTION_AGENT: printable text. */
int da_get_text(struct da *da, enum xflash_control code, char out[DA_TEXT_BYTES], struct err *err);

/* ---- flash, DA2 -------------------------------------------------------------------------- */
/* Bytes of a section in pieces of at most 32 KiB; the sink runs while the phone sends on. Multiples
 * of 512. When the sink stops, the transfer is aborted properly and the phone stays usable.
 * ERR_STORAGE: a block in the range (not necessarily where the data ended) cannot be read. */
int da_read(struct da *da, enum xflash_section section, uint64_t address, uint64_t length_bytes,
            link_sink_fn *sink, void *arg, struct err *err);
/* A whole partition by name. `size_bytes`: what the partition table says; another size is
 * ERR_MISMATCH. ERR_NOT_FOUND when the phone does not know the name (it says nothing then). */
int da_upload(struct da *da, const char *name, uint64_t size_bytes, link_sink_fn *sink, void *arg,
              struct err *err);
/* Success is the phone's final word, no proof: read back. After any error the whole range is
 * unknown. When the source stops, the transfer is cancelled and the phone stays usable. Multiples
 * of 512. */
int da_write(struct da *da, enum xflash_section section, uint64_t address, uint64_t length_bytes,
             link_source_fn *source, void *arg, struct err *err);
/* By name; `partition_bytes` is the partition's size in the phone's table (the phone notices too
 * late). An even number of bytes; "preloader" and "preloader_backup" at most 1 MiB, since they have
 * to go in one chunk. */
int da_download(struct da *da, const char *name, uint64_t partition_bytes, uint64_t length_bytes,
                link_source_fn *source, void *arg, struct err *err);

/* Ends the session; the phone leaves the bus about 200 ms later. */
int da_shutdown(struct da *da, const struct xflash_shutdown *how, struct err *err);
#define DA_SHUTDOWN_OFF    ((struct xflash_shutdown){0})
#define DA_SHUTDOWN_REBOOT ((struct xflash_shutdown){.reboot = 1, .target = XFLASH_TARGET_HOME})
#define DA_SHUTDOWN_FASTBOOT                                                                       \
    ((struct xflash_shutdown){.reboot = 1, .target = XFLASH_TARGET_FASTBOOT})
#define DA_SHUTDOWN_DOWNLOAD ((struct xflash_shutdown){.reboot = 1, .download_bit = 1})
/* The phone leaves the bus about 100 ms later and comes back at high speed as 0e8d:2001:
 * da_reattach(). */
int da_switch_usb_speed(struct da *da, struct err *err);

#endif
