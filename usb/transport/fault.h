/* fault.h: things that go wrong on purpose. One list of kinds for the emulated phone (--fault,
 * control socket) and for the transport that injects them below our own host code. */
#ifndef FLASHRACK_USB_TRANSPORT_FAULT_H
#define FLASHRACK_USB_TRANSPORT_FAULT_H

#include <stdbool.h>
#include <stdint.h>

#include "usb/base/err.h"

/* name, word in a specification, what happens at the chosen place */
#define FAULT_KINDS(X)                                                                             \
    X(UNPLUG, "unplug")   /* the device is gone, for good */                                       \
    X(STALL, "stall")     /* the transfer fails with a STALL */                                    \
    X(SHORT, "short")     /* only a part of the transfer's bytes comes or is taken */              \
    X(LATE, "late")       /* the transfer takes longer than the host's deadline for it */          \
    X(CORRUPT, "corrupt") /* one byte is changed, chosen by the seed */                            \
    X(LIE, "lie")         /* success is reported, the bytes are lost */                            \
    X(RESET, "reset")     /* the bus is reset: as unplug, then the device is back */
enum fault_kind {
    FAULT_NONE,
#define X(name, word) FAULT_##name,
    FAULT_KINDS(X)
#undef X
};
const char *fault_kind_word(enum fault_kind kind); /* "none" for FAULT_NONE */
enum fault_kind fault_kind_of(const char *word);   /* FAULT_NONE: no such kind */

/* "KIND[@transfer=N][@byte=N][@step=NAME][@seed=N]"; conditions that are given must all hold.
 * Transfers count from 1, bulk and control, both directions; byte is the place in the transfer or
 * in the stream, as the user of the specification defines. */
struct fault_spec {
    enum fault_kind kind;
    int64_t transfer, byte; /* -1: not given */
    uint64_t seed;          /* 0: not given */
    char step[48];          /* empty: not given */
};
int fault_spec_parse(const char *text, struct fault_spec *out, struct err *err);

/* The seeded sequence that all faults use (splitmix64): same seed, same faults. */
uint64_t fault_random(uint64_t *state);

#endif
