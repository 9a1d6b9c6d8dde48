/* keeper.c: backups are read again and compared, one after the other, each once in verify_every_ms. The reading is
 * the store's; here it is only asked for, so that the loop and the jobs do not wait for it. */
#include <event2/event.h>
#include <stdlib.h>

#include "server/station/internal.h"
#include "usb/base/clock.h"
#include "usb/base/log.h"
#include "usb/base/mem.h"

enum {
    PAUSE_MS = 1000, /* between two backups: the images of jobs that start come first */
    LOOK_MAX_MS = 10 * 60 * 1000, /* nothing is due: look again, and sooner with a short interval */
};

struct keeper {
    struct station *s;
    struct event *timer;
    int64_t verify_every_ms;
};

static void wait_ms(struct keeper *k, int64_t ms)
{
    struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = (ms % 1000) * 1000};
    event_add(k->timer, &tv);
}

static void on_verified(void *arg, int code, const struct err *err, json_t *body)
{
    struct keeper *k = arg;
    const char *damage = json_string_value(json_object_get(body, "damage"));
    if (code == ERR_CANCELLED)
        return; /* the store is closing */
    if (code < 0)
        log_line(LOG_ERROR, "keeper", LOG_KV({"err", err_name(code)}), "%s", err->text);
    if (damage)
        log_line(LOG_ERROR, "keeper",
                 LOG_KV({"backup", json_string_value(json_object_get(body, "id"))}),
                 "a stored backup is damaged: %s", damage);
    wait_ms(k, body ? PAUSE_MS : MIN_OF(k->verify_every_ms, LOOK_MAX_MS));
}

static void on_time(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct keeper *k = arg;
    if (!k->s->stopping)
        store_backup_verify_due(k->s->store, clock_utc_ms() - k->verify_every_ms, on_verified, k);
}

void keeper_new(struct station *s, int64_t verify_every_ms)
{
    if (verify_every_ms <= 0)
        return;
    struct keeper *k = s->keeper = xcalloc(1, sizeof(*k));
    k->s = s;
    k->verify_every_ms = verify_every_ms;
    k->timer = evtimer_new(s->base, on_time, k);
    wait_ms(k, PAUSE_MS);
}

void keeper_free(struct station *s)
{
    if (!s->keeper)
        return;
    event_free(s->keeper->timer);
    free(s->keeper);
    s->keeper = NULL;
}
