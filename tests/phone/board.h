/* board.h: the emulated phone's hardware, as the firmware on it sees it. Firmware (boot ROM, preloader,
 * download agent, LK, Android) is blocking code on the phone's own thread, top to bottom; everything that
 * waits returns BOARD_GONE as soon as the phone loses what it waits on, and the firmware unwinds.
 *
 *   board.c, usbip_server.c, hands.c ...   this hardware: USB device, eMMC files, keys, cable, power
 *   brom.c preloader.c da*.c               firmware of the download path (mediatek)
 *   lk.c android.c                         fastboot and the booted phone
 *   factory.c identity.c                   how a phone leaves the factory, and loses its identity
 */
#ifndef FLASHRACK_TESTS_PHONE_BOARD_H
#define FLASHRACK_TESTS_PHONE_BOARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct board;
struct err;

enum { BOARD_OK = 0, BOARD_GONE = -1, BOARD_TIMEOUT = -2, BOARD_STORAGE = -3 };

enum board_key { KEY_VOL_UP = 1, KEY_VOL_DOWN = 2, KEY_POWER = 4 };
enum board_area { AREA_BOOT1 = 1, AREA_BOOT2 = 2, AREA_RPMB = 3, AREA_USER = 8 };
enum board_boot_target { TARGET_NORMAL = 0, TARGET_HOME = 1, TARGET_FASTBOOT = 2 };

/* What happens after a firmware stage returns. */
enum board_next {
    NEXT_OFF,   /* powered off (charging screen when the cable is in): no USB */
    NEXT_DEAD,  /* silent until a long press of the power key */
    NEXT_HALT,  /* LK "oem HALT": silent until the cable is pulled, then off */
    NEXT_BROM,  /* reset into boot ROM download mode */
    NEXT_RESET, /* reset: boot ROM runs the preloader from BOOT1, or waits in BROM mode if broken */
    NEXT_LK,    /* preloader hands over to LK */
    NEXT_ANDROID, /* LK hands over to Android */
};

/* Entry points of the firmware. They return when that stage is over; BOARD_GONE inside means: return
 * NEXT_OFF or NEXT_RESET as the real thing would when the cable is pulled or power is lost (the board
 * ignores the value after a power loss). */
enum board_next brom_run(struct board *b);      /* keys held, or no valid preloader in BOOT1 */
enum board_next preloader_run(struct board *b); /* every start; USB window only with the cable in */
enum board_next lk_run(struct board *b);
enum board_next android_run(struct board *b);

/* ---- settings: every choice the protocol pages leave open, first value is the default ---------------- */
enum usb_model { MODEL_FIELD, MODEL_BUFFERED, MODEL_EXACT };
enum da_build { BUILD_2018, BUILD_2017, BUILD_2019 };
enum storage_life { LIFE_GOOD, LIFE_NEAR_END, LIFE_WORN };
enum digest_case { DIGEST_EITHER, DIGEST_UPPER, DIGEST_LOWER };
enum oem_reply { OEM_INFO, OEM_OKAY, OEM_NAMED };
enum lk_auth { AUTH_BY_VERSION, AUTH_NONE, AUTH_MD5, AUTH_CHALLENGE };
enum text_style { STYLE_FIH, STYLE_MTK, STYLE_NEWMTK };
enum slot_switch { SLOT_SWITCH_WORKS, SLOT_SWITCH_UNKNOWN, SLOT_SWITCH_IGNORED };
enum download_keys { DOWNLOAD_BOTH, DOWNLOAD_VOL_UP, DOWNLOAD_VOL_DOWN };
struct board_settings {
    enum usb_model usb_model;
    enum da_build da_build;
    bool framing_swallow;        /* default: dead */
    bool format_stop;            /* FORMAT after a failing parameter status: default goes on */
    bool upload_unknown_answers; /* default: silent */
    bool shutdown_lenient;       /* default: strict 24 bytes */
    bool boot_to_signature_ok;   /* default: 0xC0070004 */
    bool positive_status_dead;   /* default: damage */
    bool write_errors_at_once;   /* default: late, as the build */
    bool read_ahead_off;         /* default: one chunk */
    enum storage_life storage_life; /* what the 2019 agent says of the eMMC */
    uint32_t target_config;      /* bits of GET_TARGET_CONFIG: 1 SBC, 2 SLA, 4 DAA */
    int brom_window_ms;          /* 5000 */
    int preloader_configure_ms;  /* 8000: how long the preloader waits for a host to configure it */
    int preloader_window_ms;     /* 2500, from then on */
    int battery_mv;              /* 4000 */
    uint16_t fastboot_vid, fastboot_pid; /* 0x2e04, 0xc009 */
    uint64_t max_download;               /* 0x8000000 */
    uint64_t full_speed_bytes_per_s,
        high_speed_bytes_per_s; /* of the bus, both directions; 0: no limit */
    uint64_t emmc_read_bytes_per_s, emmc_write_bytes_per_s;
    /* What nobody knows of this phone's bootloaders; README.md, "Unknowns". */
    enum download_keys download_keys; /* both volume keys */
    uint16_t preloader_vid, preloader_pid; /* 0x0e8d, 0x2000 */
    bool verity_commercial;          /* the commercial LK knows oem dm-verity, too */
    enum digest_case verity_digest;  /* letters of the digest that are taken */
    char verity_refusal[48];         /* "dm-verity verify failed" */
    bool permission_lost;            /* a re-plug closes what dm-verity opened */
    enum oem_reply oem_reply;        /* one INFO line and an empty OKAY, all in the OKAY, or the line with its name */
    enum lk_auth auth;               /* what opens flashing on the service LK; default: what security_version asks for */
    char security_version[16];       /* "": 0001, with auth=challenge 0004 */
    enum text_style text_style;      /* how a locked service LK refuses */
    char locked_text[48];            /* "target device is locked" */
    char product[24], version_preloader[24], version_bootloader[24], version_baseband[24], hw_revision[16];
    char vars_absent[128];           /* "": variables that LK does not know, "has-slot,battery-voltage" */
    enum slot_switch set_active;
    bool preloader_writable;         /* the boot areas are not protected from LK */
    char fail_command[128];          /* "": "flash:nvram=TEXT" lets commands that begin so fail */
    bool size_prefix;                /* partition sizes begin with 0x */
    bool elabel_absent;              /* LK knows no partition of that name */
    bool unlocked;                   /* whatever seccfg says */
    bool split_response;             /* four letters, then the rest, in a transfer each */
    /* What a phone with SBC on protects: partitions, comma separated, without a slot both of them. */
    char sbc_locked[64];   /* "": not written at all */
    char sbc_verified[64]; /* "preloader,lk,boot,tee,vbmeta": signed images only, by name */
    char sbc_bound[64];    /* "": images of the list only that the phone is bound to, by name */
};
struct board_settings *board_settings(struct board *b);
void settings_default(struct board_settings *s);
/* Sets one by its name in struct board_settings; ERR_INPUT names what is wrong. */
int settings_set(struct board_settings *s, const char *name, const char *value, struct err *err);
/* Calls `each` with every name and its value as text. */
void settings_each(const struct board_settings *s,
                   void (*each)(void *arg, const char *name, const char *value), void *arg);
/* True when the keys held are those that lead to download mode. */
static inline bool board_download_keys(const struct board_settings *s, unsigned held)
{
    unsigned want = s->download_keys == DOWNLOAD_VOL_UP     ? KEY_VOL_UP
                    : s->download_keys == DOWNLOAD_VOL_DOWN ? KEY_VOL_DOWN
                                                            : KEY_VOL_UP | KEY_VOL_DOWN;
    return (held & (KEY_VOL_UP | KEY_VOL_DOWN)) == want;
}
/* True when the keys held are those that lead to fastboot. Constructed: those of other Nokias. */
static inline bool board_fastboot_keys(unsigned held)
{
    return (held & (KEY_VOL_UP | KEY_VOL_DOWN)) == KEY_VOL_DOWN;
}

/* ---- identity of the hardware --------------------------------------------------------------------- */
struct board_chip {
    uint8_t me_id[16], soc_id[32], emmc_cid[16];
};
const struct board_chip *board_chip(const struct board *b);
const char *board_name(const struct board *b); /* bus id, "1-3" */

/* ---- power, keys, time ---------------------------------------------------------------------------- */
unsigned board_keys(const struct board *b); /* mask of enum board_key held now */
bool board_cable(const struct board *b);
/* Sleeps `ms` times the time scale; BOARD_GONE when power was lost (or the cable, if `needs_cable`). */
int board_sleep(struct board *b, int ms, bool needs_cable);
/* What the next start shall do; set by the download agent's SHUTDOWN and LK's reboot commands. */
void board_boot_target_set(struct board *b, enum board_boot_target target, bool download_bit);
/* How the download agent was told to end: for whoever watches the phone. */
void board_shutdown_report(struct board *b, const char *how);
enum board_boot_target board_boot_target_take(struct board *b); /* reads and forgets */
bool board_download_bit_take(struct board *b);
/* Why the phone started. Whatever the preloader hands over to, a start by the cable alone ends on the
 * charging screen (the board sees to that). After START_RESET it is LK that decides: TARGET_NORMAL with the
 * cable in is the charging screen (return NEXT_OFF), TARGET_HOME boots on. */
enum board_start { START_CABLE, START_POWER_KEY, START_RESET };
enum board_start board_start_reason(const struct board *b);
/* Waits until the cable is in (or out). BOARD_GONE when power was lost. */
int board_wait_cable(struct board *b, bool plugged, int timeout_ms);
/* Volatile memory that survives from stage to stage until power is lost. */
struct board_ram {
    bool dram_up;   /* DRAM was initialised (by the preloader or INIT_EXT_RAM) */
    bool from_brom; /* the download agent was started by the boot ROM */
    uint32_t
        download_flag; /* BOOT_MISC0, when a watchdog reset has kept it for the boot ROM; else 0 */
};
struct board_ram *board_ram(struct board *b);
/* What a person would read on the phone: *#06#, About. Android sets it; JSON text, copied. */
void board_screen_set(struct board *b, const char *json);

/* ---- eMMC ----------------------------------------------------------------------------------------- */
uint64_t board_area_size(const struct board *b, enum board_area area); /* bytes */
/* 0, BOARD_STORAGE (a fault that was asked for), BOARD_GONE (power cut in the middle: what came before
 * it is on flash, in whole blocks but for the torn one). */
int board_flash_read(struct board *b, enum board_area area, uint64_t at, void *dst, size_t len);
/* All-zero blocks become holes where the file system can; counts bytes written. */
int board_flash_write(struct board *b, enum board_area area, uint64_t at, const void *src,
                      size_t len);
int board_flash_zero(struct board *b, enum board_area area, uint64_t at, uint64_t len);

/* ---- USB device ----------------------------------------------------------------------------------- */
struct gadget {
    int speed;                  /* 2 full, 3 high */
    const uint8_t *device_desc; /* 18 bytes */
    const uint8_t *config_desc;
    size_t config_len;
    const uint8_t *bos_desc; /* NULL: STALL */
    size_t bos_len;
    const uint8_t *qualifier_desc; /* 10 bytes; NULL: STALL */
    const char *const *strings; /* [0] is string 1; string_count of them; ASCII */
    size_t string_count;
    uint8_t ep_in, ep_out; /* the bulk pair, addresses */
    uint16_t packet;       /* wMaxPacketSize of the bulk pair */
    /* Class and vendor requests; runs on the USB thread. Bytes of IN data, or -1 for STALL. May be NULL. */
    int (*control)(void *ctx, const uint8_t setup[8], const uint8_t *out, uint8_t *in,
                   size_t in_max);
    void *ctx;
};
/* Comes on the bus (as a new device). BOARD_GONE without a cable. The gadget is borrowed until detach, or
 * until the stage returns: what it leaves attached the board detaches. */
int board_usb_attach(struct board *b, const struct gadget *g);
void board_usb_detach(struct board *b);
/* Waits until the host has set a configuration. */
int board_usb_configured(struct board *b, int timeout_ms);
/* BOARD_GONE from the calls below has three reasons: the cable was pulled (board_cable() is false, or true
 * again: detach in any case), power was lost, or a bus reset. A bus reset (also: the importer let go of the
 * phone) leaves the phone attached, unconfigured, with empty queues and every call failing until
 * board_usb_configured() has succeeded again; firmware that loses its place by a reset just returns. */

/* Bulk OUT. Transfers of the host queue up; a zero-length transfer is kept as one. timeout_ms < 0: none.
 * Exactly `len` bytes from the stream, whatever the transfer boundaries, empty transfers ignored. */
int board_out_stream(struct board *b, void *dst, size_t len, int timeout_ms);
/* One USB packet of at most wMaxPacketSize bytes; 0 is an empty packet. */
ssize_t board_out_packet(struct board *b, void *dst, int timeout_ms);
/* What is left of the transfer at the head of the queue, at most `max` (the rest is dropped). */
ssize_t board_out_transfer(struct board *b, void *dst, size_t max, int timeout_ms);
/* What a USB request of `max` bytes to the controller would bring: packets until it is full or one is
 * shorter than the packet size (LK's reads). The surplus of a packet that does not fit is dropped. */
ssize_t board_out_request(struct board *b, void *dst, size_t max, int timeout_ms);
/* Whole packets straight into `dst` until `len` bytes are there: the fast path for big payloads of the
 * buffered and exact models. Surplus of the last packet is dropped and its size stored in *lost. */
int board_out_packets(struct board *b, void *dst, size_t len, size_t *lost, int timeout_ms);
/* How the host cut what the last board_out_stream(), board_out_packets() or board_out_request() (OUT_MORE only) took: a
 * mask. */
enum out_manners {
    OUT_EMPTY = 1, /* an empty packet was skipped */
    OUT_CUT = 2,   /* a transfer ended with a short packet before `len` was there */
    OUT_MORE = 4,  /* the transfer goes on behind what was taken, or a dropped surplus was its end */
};
unsigned board_out_manners(const struct board *b);
bool board_out_pending(const struct board *b);
/* True when the host has sent something, since this was asked last, while bytes of a board_in() were
 * still waiting for it to read them. */
bool board_out_early(struct board *b);
/* A transfer that waits, looked at and not taken. */
struct out_transfer {
    uint64_t number; /* counts up; 0: none yet */
    size_t len;
    uint8_t head[16]; /* its first bytes */
};
/* The next one behind *t; waits for it. */
int board_out_peek(struct board *b, struct out_transfer *t);
void board_out_flush(struct board *b); /* forgets everything queued */

/* Bulk IN, blocking until the host has taken it all. How the last packet ends: */
enum in_end {
    IN_PACKETS, /* nothing more: a multiple of the packet size leaves a larger request waiting */
    IN_ZLP,     /* a zero-length packet follows when len is a multiple of the packet size */
    IN_FIELD, /* the pending request completes if it holds anything; never an extra empty packet */
};
int board_in(struct board *b, const void *src, size_t len, enum in_end end, int timeout_ms);

/* ---- what tests want to know ---------------------------------------------------------------------- */
/* Counts a host mistake that the protocol page calls MUST NOT, by name ("xflash.header_with_payload"). */
void board_violation(struct board *b, const char *name);
/* A trace line for people, with --verbose. */
void board_trace(struct board *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Faults that were asked for by --fault or the control socket and act inside the firmware rather than in
 * the transport (a wrong checksum, a silent DA2): asks whether `kind` is due now; consumes it. */
bool board_fault_due(struct board *b, const char *kind);
/* The same for a fault on flash: due when its place is one of the bytes [at, at + len) of the area. */
bool board_fault_over(struct board *b, const char *kind, enum board_area area, uint64_t at,
                      uint64_t len);
/* The same for a fault that brings a status word with it (0xC0010001 when none was given). */
bool board_fault_status(struct board *b, const char *kind, uint32_t *status_out);

#endif
