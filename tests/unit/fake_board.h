/* fake_board.h: a double of the emulated phone's hardware (tests/phone/board.h) inside the test
 * process, for tests of firmware alone. The test is the host: it sends transfers, sees every packet
 * of the phone, and turns the clock; the firmware runs on a thread of its own. Nothing here waits
 * for real time. */
#ifndef FLASHRACK_TESTS_FAKE_BOARD_H
#define FLASHRACK_TESTS_FAKE_BOARD_H

#include "tests/phone/board.h"
#include "usb/base/buf.h"

#define FAKE_NEXT_RUNNING (-1)

struct fake_sizes {
    uint64_t boot1, boot2, rpmb, user;
};

/* A phone with empty flash and default settings, off. */
struct board *fake_board_new(const struct fake_sizes *sizes);
void fake_board_free(struct board **b); /* pulls the cable, ends the firmware */
struct board_chip *fake_board_chip(struct board *b);

/* Starts a stage; what it returned, or FAKE_NEXT_RUNNING. */
void fake_board_start(struct board *b, enum board_next (*stage)(struct board *b));
int fake_board_next(struct board *b);
/* Waits for the stage to return. */
enum board_next fake_board_end(struct board *b);
void fake_board_unplug(struct board *b);
void fake_board_keys_set(struct board *b, unsigned mask);
/* A class request of the host to the attached gadget. Bytes of the IN stage, or -1. */
int fake_board_control(struct board *b, const uint8_t setup[8], const uint8_t *out, uint8_t *in,
                       size_t in_max);
/* Turns the clock and ends every timed wait that is over then. */
void fake_board_pass(struct board *b, int ms);
void fake_board_bus_reset(struct board *b);

/* One OUT transfer; `len` 0 is an empty one. */
void fake_board_out(struct board *b, const void *data, size_t len);
/* Waits until the firmware has taken everything it wants and waits for the host, sleeps for good,
 * or has returned. */
void fake_board_settle(struct board *b);
/* Everything the phone has sent since the last take, after fake_board_settle(). Packet lengths too,
 * when `packets` is not NULL: one per USB packet, at most `max`, count returned in *packet_count.
 */
void fake_board_take(struct board *b, struct buf *out, size_t *packets, size_t max,
                     size_t *packet_count);
/* Bytes of OUT transfers that nobody has taken. */
size_t fake_board_left(struct board *b);
const struct gadget *fake_board_gadget(struct board *b); /* NULL: not attached */
unsigned fake_board_attached(struct board *b);           /* how often it came on the bus */

/* Storage errors: any access of the area that covers this byte. */
void fake_board_storage_fault(struct board *b, bool write, uint64_t at);
/* board_fault_due() of this kind is due at once, board_fault_over() of it over byte `at` of USER;
 * board_fault_status() at the asking after `at` others; once. */
void fake_board_fault(struct board *b, const char *kind, uint64_t at);
/* Violations so far, comma separated, in order of their first appearance; "" when there are none.
 */
const char *fake_board_violations(struct board *b);
const char *fake_board_shutdown(struct board *b); /* what the agent reported */
void fake_board_boot_target(struct board *b, enum board_boot_target *target, bool *download_bit);

#endif
