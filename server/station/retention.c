/* retention.c: lets old pre-images go, a few phones at a time, and then the images that nothing names any more. The
 * judging and deleting is the store's; here it is only asked for, step by step, so that nothing else waits long. */
#include <event2/event.h>
#include <stdlib.h>

#include "server/station/internal.h"
#include "usb/base/log.h"
#include "usb/base/mem.h"

enum {
    FIRST_MS = 2000,          /* after the start, which has more urgent things to do */
    EVERY_MS = 10 * 60 * 1000 /* backups come with jobs: some an hour */
};

struct retention {
    struct station *s;
    struct event *timer;
    struct store_prune prune;
    struct store_sweep sweep;
    bool busy; /* a call is on its way */
};

static void wait_ms(struct retention *r, int64_t ms)
{
    struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = (ms % 1000) * 1000};
    r->busy = false;
    event_add(r->timer, &tv);
}

/* False: the round ends here. */
static bool went_well(struct retention *r, int code, const struct err *err)
{
    if (code == ERR_CANCELLED || r->s->stopping)
        return false; /* the store is closing */
    if (code >= 0)
        return true;
    log_line(LOG_ERROR, "retention", LOG_KV({"err", err_name(code)}), "%s", err->text);
    wait_ms(r, EVERY_MS);
    return false;
}

static void on_swept(void *arg, int code, const struct err *err, json_t *body)
{
    struct retention *r = arg;
    if (!went_well(r, code, err))
        return;
    r->sweep.chunks = json_is_true(json_object_get(body, "chunks"));
    r->sweep.after = json_integer_value(json_object_get(body, "after"));
    if (json_is_true(json_object_get(body, "done")))
        wait_ms(r, EVERY_MS);
    else
        store_images_sweep(r->s->store, &r->sweep, on_swept, r);
}

static void on_pruned(void *arg, int code, const struct err *err, json_t *body)
{
    struct retention *r = arg;
    const char *next = json_string_value(json_object_get(body, "next"));
    if (!went_well(r, code, err))
        return;
    r->prune.after_phone = next ? store_id(next) : 0;
    r->sweep = (struct store_sweep){0};
    if (next)
        store_backup_prune(r->s->store, &r->prune, on_pruned, r);
    else
        store_images_sweep(r->s->store, &r->sweep, on_swept, r);
}

static void on_time(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct retention *r = arg;
    if (r->s->stopping || r->busy)
        return;
    r->busy = true;
    store_backup_prune(r->s->store, &r->prune, on_pruned, r);
}

void retention_new(struct station *s, int keep_backups)
{
    struct retention *r = s->retention = xcalloc(1, sizeof(*r));
    r->s = s;
    r->prune.keep = keep_backups;
    r->timer = evtimer_new(s->base, on_time, r);
    wait_ms(r, FIRST_MS);
}

void retention_free(struct station *s)
{
    event_free(s->retention->timer);
    free(s->retention);
    s->retention = NULL;
}

void station_backup_prune(struct station *s, bool dry_run, int64_t after_phone,
                          station_done_fn *done, void *arg)
{
    struct store_prune prune = s->retention->prune;
    prune.dry_run = dry_run;
    prune.after_phone = after_phone;
    store_backup_prune(s->store, &prune, done, arg);
    if (!dry_run)
        event_active(s->retention->timer, EV_TIMEOUT, 0); /* the images follow */
}
