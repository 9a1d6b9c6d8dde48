/* pace.h: how long bytes take on a bus or a flash that is slower than this computer (README, "Speed"). */
#ifndef FLASHRACK_TESTS_PHONE_PACE_H
#define FLASHRACK_TESTS_PHONE_PACE_H

#include <stdint.h>

struct pace {
    int64_t free_at_us; /* when all that was taken before is through */
};

/* `len` bytes take their place at bytes_per_s, stretched by the time scale; the time (ms) until which the caller has
 * to wait, never more than a millisecond too early. 0 bytes_per_s: no limit. */
int64_t pace_take(struct pace *p, uint64_t len, uint64_t bytes_per_s);

#endif
