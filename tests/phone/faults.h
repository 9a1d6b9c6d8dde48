/* faults.h: what an emulated phone was asked to do wrong (--fault, control command `fault`).
 * Specifications and kinds are those of usb/transport/fault.h; those of the phone's own are
 * questions of the firmware (board_fault_due), such as "storage_write".
 *
 * Places: transfer=N is the N-th bulk transfer of the phone, control=N its N-th control transfer,
 * byte=N the bulk transfer that carries its N-th bulk byte, all counted from 1 since the program started, or, with step=S, since the phone
 * came on the bus for the S-th time (S a number) or for the last time in stage S (brom, preloader,
 * lk, android). Kinds on flash take byte=N as a place in USER, or in area=NAME, and are due when the
 * firmware touches it. Without a place a fault is due at the first occasion. Each happens once. seed=N
 * picks what the kind leaves open: which bit, how much is missing. */
#ifndef FLASHRACK_TESTS_PHONE_FAULTS_H
#define FLASHRACK_TESTS_PHONE_FAULTS_H

#include <pthread.h>

#include "usb/transport/fault.h"

/* One bulk transfer, as a later fault can name it: step and number, and what it looked like. */
enum { FAULT_SEEN_MAX = 8192, FAULT_HEAD_BYTES = 12 };
struct fault_seen {
    int64_t at_ms; /* UTC */
    uint64_t step, transfer;
    bool in;
    uint32_t len;
    uint8_t head[FAULT_HEAD_BYTES];
    char stage[16];
};

struct fault_plan {
    pthread_mutex_t lock;
    struct fault_item *first;
    uint64_t transfers, controls, bytes, steps;         /* so far */
    uint64_t step_transfers, step_controls, step_bytes; /* before the present step */
    char stage[16];          /* in which the phone last came on the bus */
    struct fault_seen *seen; /* FAULT_SEEN_MAX, once somebody has asked for it */
    size_t seen_count;
};

void fault_plan_init(struct fault_plan *p);
void fault_plan_deinit(struct fault_plan *p);
int fault_plan_add(struct fault_plan *p, const char *spec, struct err *err);
/* Forgets what has not happened yet; how many that were. */
size_t fault_plan_clear(struct fault_plan *p);
/* From now on transfers are noted, the first FAULT_SEEN_MAX of them. */
void fault_plan_watch(struct fault_plan *p);
/* The phone came on the bus. */
void fault_plan_step(struct fault_plan *p, const char *stage);
/* Counts a bulk transfer of `len` bytes and says what shall happen to it; *spec_out belongs to it.
 */
enum fault_kind fault_plan_transfer(struct fault_plan *p, bool in, const void *data, size_t len,
                                    struct fault_spec *spec_out);
/* The same for a control transfer. */
enum fault_kind fault_plan_control(struct fault_plan *p, struct fault_spec *spec_out);
/* Bytes of an area that the firmware is about to touch. */
struct fault_place {
    const char *area; /* as a specification names it */
    uint64_t at, len;
};
/* board_fault_due(), board_fault_over(), board_fault_status(); `place` is NULL where a kind has none,
 * spec_out may be. `word` is one of the list's. */
bool fault_plan_due(struct fault_plan *p, const char *word, const struct fault_place *place,
                    struct fault_spec *spec_out);

#endif
