/* fault.h: things that go wrong on purpose. One list of kinds for the emulated phone (--fault,
 * control socket) and for the transport that injects them below our own host code. */
#ifndef FLASHRACK_USB_TRANSPORT_FAULT_H
#define FLASHRACK_USB_TRANSPORT_FAULT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "usb/base/err.h"

/* Who makes a fault happen: a layer that sees transfers (the injecting transport and the emulated
 * phone's USB controller), or a part of the emulated phone alone. */
enum fault_actor { FAULT_BY_WIRE, FAULT_BY_PHONE };

/* name, word in a specification, actor, what happens at the chosen place. The one list: parsers,
 * `emulated-x5 --list-faults`, and the table in tests/phone/README.md, which a test compares. */
#define FAULT_KINDS(X)                                                                             \
    X(UNPLUG, "unplug", WIRE, "the device is gone until it is plugged in again")                   \
    X(RESET, "reset", WIRE, "bus reset: what waits fails, the device has to be configured anew")   \
    X(STALL, "stall", WIRE, "the transfer fails with a STALL")                                     \
    X(SHORT, "short", WIRE, "only a part of the transfer's bytes comes or is taken")               \
    X(LONG, "long", WIRE, "IN: bytes that nobody sent come behind the transfer's own")             \
    X(BABBLE, "babble", WIRE, "IN: more comes than fits, and the transfer ends with an overflow")  \
    X(LATE, "late", WIRE, "NAK for ms, by default for longer than a host waits")                   \
    X(NAK, "nak", WIRE, "NAK until the device is reset or plugged in again")                       \
    X(CORRUPT, "corrupt", WIRE, "one bit is changed, chosen by the seed")                          \
    X(GARBAGE, "garbage", WIRE,                                                                    \
      "every byte is replaced by a random one; with control=N a "                                  \
      "descriptor")                                                                                \
    X(LIE, "lie", WIRE, "success is reported, the bytes are lost")                                 \
    X(STORAGE_READ, "storage_read", PHONE, "the eMMC cannot read the block that holds byte")       \
    X(STORAGE_WRITE, "storage_write", PHONE, "the eMMC cannot write the block that holds byte")    \
    X(OTHER_PHONE, "other_phone", PHONE, "plugged in again, the chip is another one")              \
    X(DA_CHECKSUM, "da_checksum", PHONE, "wrong sum after SEND_DA")                                \
    X(DA_REFUSED, "da_refused", PHONE, "SEND_DA is refused with 7024")                             \
    X(NO_ALIVE_BYTE, "no_alive_byte", PHONE, "DA1 never says C0")                                  \
    X(EMI_ERROR, "emi_error", PHONE, "INIT_EXT_RAM ends with C0040050")                            \
    X(DIGEST_ERROR, "digest_error", PHONE, "BOOT_TO ends with C0070004")                           \
    X(BOOT_SILENT, "boot_silent", PHONE, "BOOT_TO is never answered")                              \
    X(DA_STATUS, "da_status", PHONE, "the agent ends a command with status (default C0010001)")    \
    X(OVERSIZED, "oversized", PHONE, "a reply of boot ROM, preloader or agent says it is huge")    \
    X(MERGED, "merged", PHONE, "a header and its payload come in one USB packet")                  \
    X(READY_NOISE, "ready_noise", PHONE, "the preloader says READY though nobody asked")           \
    X(LOG_PACKET, "log_packet", PHONE, "the agent sends a log packet though nobody asked")         \
    X(LYING_WRITE, "lying_write", PHONE, "a write over byte of its area reports success only")     \
    X(FLASH_FAILS, "flash_fails", PHONE, "LK cannot flash")                                        \
    X(INFO_FLOOD, "info_flood", PHONE, "LK answers with 100 INFO lines first")                     \
    X(LONG_REPLY, "long_reply", PHONE, "LK answers with 200 bytes")                                \
    X(REPLY_NEWLINE, "reply_newline", PHONE, "LK's answer ends in a newline")                      \
    X(EMPTY_GETVAR, "empty_getvar", PHONE, "LK knows the variable but not its value")              \
    X(VERITY_UNKNOWN, "verity_unknown", PHONE, "the service LK does not know oem dm-verity")       \
    X(HALT_STAYS, "halt_stays", PHONE, "after oem HALT the phone stays on the bus, silent")        \
    X(NO_SERIAL_STRING, "no_serial_string", PHONE, "LK's device descriptor has no serial")
enum fault_kind {
    FAULT_NONE,
#define X(name, word, actor, text) FAULT_##name,
    FAULT_KINDS(X)
#undef X
        FAULT_KIND_COUNT
};
const char *fault_kind_word(enum fault_kind kind); /* "none" for FAULT_NONE */
const char *fault_kind_text(enum fault_kind kind); /* what happens; "" for FAULT_NONE */
enum fault_kind fault_kind_of(const char *word);   /* FAULT_NONE: no such kind */
enum fault_actor fault_kind_actor(enum fault_kind kind);
bool fault_kind_on_flash(enum fault_kind kind); /* its place is one on the eMMC */

/* Longer than a host waits for a short answer (5 s) or for a piece of data to move (10 s); stretched
 * by the time scale, as those are. Where phone and host are stretched differently, name ms. */
enum { FAULT_LATE_MS = 11000, FAULT_LONG_BYTES = 32 /* that `long` adds */ };

/* "KIND[@transfer=N][@control=N][@byte=N][@step=NAME][@seed=N][@ms=N][@status=N][@area=NAME]";
 * conditions that are given must all hold. Bulk transfers of both directions count from 1, control
 * transfers by themselves from 1 and are touched only by a specification with control=N. byte is the
 * place in the transfer or in the stream, as the user of the specification defines; for kinds that are
 * about flash (fault_kind_on_flash) it is a place there, in USER or the area that is named. */
struct fault_spec {
    enum fault_kind kind;
    int64_t transfer, control, byte; /* -1: not given */
    int64_t ms;                      /* late only: real milliseconds; -1: FAULT_LATE_MS, scaled */
    int64_t status;                  /* da_status only: the status word; -1: not given */
    uint64_t seed;                   /* 0: not given */
    char step[48];                   /* empty: not given */
    char area[8];                    /* kinds on flash: boot1, boot2, user; empty: not given */
};
int fault_spec_parse(const char *text, struct fault_spec *out, struct err *err);
/* When a transfer that is late now goes on (clock_now_ms()). */
int64_t fault_late_until_ms(const struct fault_spec *spec);
/* `len` bytes of garbage, the same for the same seed. */
void fault_garbage(uint64_t seed, void *dst, size_t len);

/* The seeded sequence that all faults use (splitmix64): same seed, same faults. */
uint64_t fault_random(uint64_t *state);

#endif
