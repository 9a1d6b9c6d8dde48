/* clock.h: all times of the house. Milliseconds since boot for deadlines, milliseconds UTC for records.
 * One time scale (--time-scale) stretches every window, deadline and heartbeat: slow guests, sanitizers.
 * Tests turn the clock with clock_test_set(). */
#ifndef FLASHRACK_USB_BASE_CLOCK_H
#define FLASHRACK_USB_BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>

int64_t clock_now_ms(void);  /* monotonic */
int64_t clock_utc_ms(void);  /* wall clock */
/* 1.0 is real time, 10.0 makes every window ten times as long. Values <= 0 are ignored. */
void clock_scale_set(double scale);
double clock_scale(void);
int64_t clock_scaled(int64_t ms); /* ms stretched by the scale */
/* Deadline `ms` (stretched) from now. */
int64_t clock_in(int64_t ms);
/* Milliseconds left until the deadline, 0 when passed, at most `at_most_ms`; for poll(2). */
int clock_left(int64_t until_ms, int at_most_ms);
void clock_test_set(int64_t now_ms); /* freezes both clocks at this value; negative: real again */
void clock_test_shift_utc(int64_t ms); /* the wall clock alone, as when somebody sets it; 0: real again */
/* RFC 3339 UTC with milliseconds, "2026-11-22T10:00:00.000Z"; out holds at least 25 bytes. */
#define CLOCK_TEXT_BYTES 25
void clock_rfc3339(int64_t utc_ms, char out[CLOCK_TEXT_BYTES]);

#endif
