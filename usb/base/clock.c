#include "usb/base/clock.h"

#include <stdio.h>
#include <time.h>

static double scale_factor = 1.0;
static int64_t frozen_ms = -1, utc_shift_ms;

static int64_t read_clock(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int64_t clock_now_ms(void)
{
    return frozen_ms >= 0 ? frozen_ms : read_clock(CLOCK_MONOTONIC);
}

int64_t clock_utc_ms(void)
{
    return frozen_ms >= 0 ? frozen_ms : read_clock(CLOCK_REALTIME) + utc_shift_ms;
}

void clock_scale_set(double scale)
{
    if (scale > 0)
        scale_factor = scale;
}

double clock_scale(void)
{
    return scale_factor;
}

int64_t clock_scaled(int64_t ms)
{
    return (int64_t)((double)ms * scale_factor);
}

int64_t clock_in(int64_t ms)
{
    return clock_now_ms() + clock_scaled(ms);
}

int clock_left(int64_t until_ms, int at_most_ms)
{
    int64_t left = until_ms - clock_now_ms();
    if (left <= 0)
        return 0;
    return left < at_most_ms ? (int)left : at_most_ms;
}

void clock_test_set(int64_t now_ms)
{
    frozen_ms = now_ms;
}

void clock_test_shift_utc(int64_t ms)
{
    utc_shift_ms = ms;
}

void clock_rfc3339(int64_t utc_ms, char out[CLOCK_TEXT_BYTES])
{
    time_t seconds = (time_t)(utc_ms / 1000);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    char text[64];
    snprintf(text, sizeof(text), "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", tm.tm_year + 1900,
             tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, (int)(utc_ms % 1000));
    snprintf(out, CLOCK_TEXT_BYTES, "%.24s", text);
}
