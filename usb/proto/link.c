#include "usb/proto/link.h"

#include <stdio.h>

#include "usb/base/clock.h"

int link_read(struct link *link, void *dst, size_t len, int64_t timeout_ms, struct err *err)
{
    int64_t until_ms = clock_in(timeout_ms);
    uint8_t *at = dst;
    while (len) {
        ssize_t n = transport_read(link->transport, at, len, until_ms, err);
        if (n < 0)
            return (int)n;
        if (n == 0 && clock_left(until_ms, 1) == 0) /* a phone that sends only empty packets */
            return err_set(err, ERR_TIMEOUT, "only empty packets in %lld ms",
                           (long long)timeout_ms);
        at += n;
        len -= (size_t)n;
    }
    return 0;
}

int link_write(struct link *link, const void *src, size_t len, int64_t timeout_ms, struct err *err)
{
    ssize_t n = transport_write(link->transport, src, len, clock_in(timeout_ms), err);
    if (n < 0)
        return (int)n;
    if ((size_t)n != len)
        return err_set(err, ERR_IO, "%zd of %zu bytes went out", n, len);
    return 0;
}

int link_check(const struct link *link, struct err *err)
{
    if (!link->dead)
        return 0;
    return err_set(err, ERR_DEAD, "the phone has lost step before: re-plug it");
}

int link_lost(struct link *link, const char *what, struct err *err)
{
    if (err->code == ERR_TIMEOUT || err->code == ERR_PROTOCOL || err->code == ERR_IO) {
        char text[300];
        snprintf(text, sizeof(text), "%.299s", err->text);
        link->dead = true;
        return err_set(err, ERR_DEAD, "%s: %s: re-plug the phone (hold power about 10 s)", what,
                       text);
    }
    link->dead = true;
    return err_in(err, "%s", what);
}

void link_progress(const struct link *link, uint64_t done_bytes, uint64_t total_bytes)
{
    if (link->progress)
        link->progress(link->progress_arg, link->before_bytes + done_bytes, total_bytes);
}
