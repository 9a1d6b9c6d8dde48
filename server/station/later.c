/* later.c: what failed for now, a full disk say, is done again until it passes: nobody else would do it. */
#include <event2/event.h>
#include <stdlib.h>

#include "server/station/internal.h"
#include "usb/base/mem.h"

enum { AGAIN_MS = 2000 };

struct later {
    struct station *s;
    struct event *timer;
    later_fn *again, *drop;
    void *arg;
    LIST_ENTRY(later) link;
};

bool passes(int code)
{
    return code == ERR_DISK || code == ERR_LIMIT || code == ERR_IO || code == ERR_INTERNAL;
}

static void later_free(struct later *l)
{
    LIST_REMOVE(l, link);
    event_free(l->timer);
    free(l);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct later *l = arg, call = *l;
    if (l->s->stopping)
        return; /* laters_free() drops it, and the next start finds it as it is stored */
    later_free(l);
    call.again(call.arg);
}

void station_after(struct station *s, int ms, later_fn *again, later_fn *drop, void *arg)
{
    struct later *l = xcalloc(1, sizeof(*l));
    *l = (struct later){.s = s, .again = again, .drop = drop, .arg = arg};
    l->timer = evtimer_new(s->base, on_timer, l);
    LIST_INSERT_HEAD(&s->laters, l, link);
    struct timeval tv = {ms / 1000, (ms % 1000) * 1000};
    if (!l->timer || evtimer_add(l->timer, &tv) < 0)
        abort();
}

void station_later(struct station *s, later_fn *again, later_fn *drop, void *arg)
{
    station_after(s, AGAIN_MS, again, drop, arg);
}

void laters_free(struct station *s)
{
    while (!LIST_EMPTY(&s->laters)) {
        struct later *l = LIST_FIRST(&s->laters), call = *l;
        later_free(l);
        call.drop(call.arg);
    }
}
