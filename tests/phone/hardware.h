/* hardware.h: what the files of the emulated phone's hardware share. Firmware includes board.h
 * only.
 *
 * Threads of one phone: its firmware (power.c runs the stages), the USB/IP connection that has
 * imported it (usbip_server.c), and now and then a person's hand (hands.c, control.c). One lock a
 * phone guards everything below `lock`; it is never held while something is sent, written to flash
 * or waited for other than on its two condition variables. */
#ifndef FLASHRACK_TESTS_PHONE_HARDWARE_H
#define FLASHRACK_TESTS_PHONE_HARDWARE_H

#include <pthread.h>

#include "tests/phone/board.h"
#include "tests/phone/factory.h"
#include "tests/phone/faults.h"
#include "tests/phone/pace.h"
#include "tests/phone/usb_device.h"
#include "usb/base/err.h"

enum board_stage {
    STAGE_OFF,      /* no power, dark screen */
    STAGE_CHARGING, /* off, with the battery symbol on the screen */
    STAGE_RESET,    /* between two stages, off the bus */
    STAGE_BROM,     /* brom_run(): the boot ROM and the download agent it started */
    STAGE_PRELOADER,
    STAGE_LK,
    STAGE_ANDROID,
    STAGE_HALTED, /* black; ends when the cable is pulled */
    STAGE_DEAD,   /* black; ends with a long press of the power key */
};
const char *board_stage_name(enum board_stage stage);

enum { VIOLATION_NAMES = 64, VIOLATION_NAME_BYTES = 64 };
struct violation {
    char name[VIOLATION_NAME_BYTES];
    unsigned count;
};

struct flash_area {
    int fd; /* -1: not backed by a file */
    uint64_t size;
};

struct board {
    char name[16];  /* bus id */
    char *dir;      /* of the eMMC files */
    bool vhci;      /* the kernel is the importer */
    unsigned index; /* 1 for 1-1 */
    struct board_chip chip;
    struct phone_label label; /* on the back of the phone */
    struct board_settings settings;
    struct fault_plan faults; /* has its own lock */
    double hands_speed;
    uint64_t chance; /* state of fault_random() for gaps; firmware thread only */
    pthread_t firmware;

    pthread_mutex_t lock;
    pthread_cond_t wake;    /* USB traffic and everything that ends a wait of the firmware */
    pthread_cond_t changed; /* power, cable, keys, stage, screen: what a person would notice */

    /* Power and hands. */
    bool stopping;   /* the program ends */
    bool power_lost; /* forced off; the firmware unwinds */
    bool cable;
    bool cable_edge;     /* plugged in since the stage began */
    bool power_key_edge; /* pressed long enough to start a phone that is off */
    unsigned keys;
    unsigned keys_until_bus; /* those of them that are let go once the phone is on the bus */
    enum board_stage stage;
    bool was_on; /* when the program ended last */
    enum board_start start;
    struct board_ram ram;
    enum board_boot_target boot_target;
    bool download_bit;
    char last_shutdown[32]; /* board_shutdown_report(); empty: no agent has ended yet */
    char *screen;           /* JSON, NULL: nothing but what the stage shows */

    /* eMMC; the descriptors are used by the firmware thread only. */
    struct flash_area boot1, boot2, rpmb, user;
    uint64_t bytes_written; /* guarded by lock */
    struct pace flash_pace; /* firmware thread only */

    struct usb_device usb;

    struct violation violations[VIOLATION_NAMES];
    unsigned violation_count;
};

/* ---- board.c ---- */
struct board_new {
    const char *name, *dir;
    unsigned index;
    bool vhci;
    double hands_speed;
};
/* Opens the phone in `dir` (factory.h) with its power as it was left; no thread runs yet. */
int board_open(const struct board_new *how, struct board **out, struct err *err);
void board_close(struct board **b);
/* Exchanges the phones on two bus ids; both must be off. ERR_CONFLICT when one is not, ERR_INPUT when they are the
 * same. */
int board_swap(struct board *a, struct board *b, struct err *err);
/* Writes power.json: what the phone remembers without its flash. Atomic. Called without the lock.
 */
int board_save(struct board *b, struct err *err);

/* What hands do. Each returns at once but for the last two, which press the power key as long as a person, and until the
 * phone is off or starts: pressed once more, the key would do the opposite. A phone that goes off by itself under the finger
 * is started by board_power_long(), and left alone by board_force_off(), as is one that is off. */
void board_keys_hold(struct board *b, unsigned mask);
/* Keys that are let go the moment the phone shows up on the bus: tests let a whole job pass in less time than a finger
 * needs, and a phone that restarts after it must not find them still down. */
void board_keys_hold_until_bus(struct board *b, unsigned mask);
void board_keys_release(struct board *b, unsigned mask);
void board_cable_set(struct board *b, bool plugged);
void board_power_long(struct board *b);
void board_force_off(struct board *b);

/* True when the firmware has to unwind. Lock held. */
static inline bool board_powerless(const struct board *b)
{
    return b->power_lost || b->stopping;
}
/* The cable goes in or out. Lock held. */
void board_cable_move(struct board *b, bool plugged);
/* Moves on to `stage` and tells everybody. Lock held. */
void board_stage_set(struct board *b, enum board_stage stage);
/* Waits on `cond` at most until the deadline (negative: for ever). False when it has passed. Lock
 * held. */
bool board_wait(struct board *b, pthread_cond_t *cond, int64_t until_ms);
/* Deadline of a firmware time-out: scaled, negative stays "never". */
int64_t board_deadline(int timeout_ms);

/* ---- power.c ---- */
int board_run(struct board *b, struct err *err); /* starts the firmware thread */
void board_halt(struct board *b);                /* tells everything that waits to end */
void board_stop(struct board *b);                /* the same, and waits for the firmware thread */

/* ---- flash.c ---- */
const char *board_area_name(enum board_area area); /* "boot1", as faults name it */
int flash_open(struct board *b, const char *dir, struct err *err);
void flash_close(struct board *b);
/* True when BOOT1 holds a preloader that the boot ROM would start. */
bool flash_preloader_bootable(struct board *b);

/* ---- vhci.c ---- */
/* Hands the phone's device to the kernel, on the virtual port that belongs to its bus id. */
void vhci_attach(struct board *b);

#endif
