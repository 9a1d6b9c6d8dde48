#include "tests/phone/pace.h"

#include "usb/base/clock.h"
#include "usb/base/mem.h"

int64_t pace_take(struct pace *p, uint64_t len, uint64_t bytes_per_s)
{
    if (bytes_per_s == 0)
        return 0;
    double us = (double)len * 1e6 / (double)bytes_per_s * clock_scale();
    p->free_at_us = MAX_OF(p->free_at_us, clock_now_ms() * 1000) + (int64_t)us;
    return p->free_at_us / 1000;
}
