/* hands.h: the person at the bench (--hands auto). It has no connection to the station: it sees the
 * phone's display, whether the cable is in, and the hub's lights (device there, data moving), knows
 * the label on the phone's back and the procedure, and acts as slowly as people do. README,
 * "Hands". */
#ifndef FLASHRACK_TESTS_PHONE_HANDS_H
#define FLASHRACK_TESTS_PHONE_HANDS_H

#include <stdbool.h>
#include <stdint.h>

#include "usb/base/err.h"

struct board;
struct hands; /* the person of one phone */

int hands_start(struct board *b, uint64_t seed, struct hands **out, struct err *err);
void hands_stop(struct hands **h); /* the phone must be stopping */

/* What can be seen. */
enum display { DISPLAY_DARK, DISPLAY_CHARGING, DISPLAY_BOOTLOADER, DISPLAY_ANDROID };
struct view {
    enum display display;
    bool cable;
    bool on_bus;
    bool traffic;     /* since the person last moved the cable */
    bool numbers;     /* Android has come up and shows what it has */
    bool own;         /* ... and it is what the label says */
    int64_t quiet_ms; /* since display, cable, bus light or data light last changed */
    int64_t idle_ms;  /* the same, but a bus light that comes and goes is no progress */
};

/* What a person remembers of the phone in his hand. */
enum memory { MEMORY_NOTHING, MEMORY_DOWNLOAD, MEMORY_BOOTLOADER, MEMORY_POWERED_ON };
enum action {
    ACTION_WAIT,
    ACTION_PLUG,     /* just the cable */
    ACTION_DOWNLOAD, /* unplug, both volume keys, plug */
    ACTION_FORCE,    /* the same, but force it off first */
    ACTION_POWER_ON, /* unplug, long press of power */
};
/* The procedure; pure. `fruitless`: download attempts in a row that brought nothing onto the bus.
 */
enum action hands_decide(const struct view *v, enum memory memory, unsigned fruitless);

#endif
