/* workers.h: worker processes: start, channel, deadlines, end. One idle spare is always running, because a
 * fork, exec and set-up costs time that the preloader's 2.5 s window does not give. Event loop only. */
#ifndef FLASHRACK_SERVER_WORKERS_WORKERS_H
#define FLASHRACK_SERVER_WORKERS_WORKERS_H

#include "usb/base/err.h"
#include "usb/wire/wire.h"

struct event_base;
struct worker_pool;
struct worker;

struct worker_events {
    /* A message came; it is freed after the call. The worker may not be freed in it. */
    void (*message)(void *arg, struct worker *w, const struct wire_message *m);
    /* The process is gone, whatever the reason; called exactly once, w is freed afterwards. */
    void (*ended)(void *arg, struct worker *w, const char *why);
};

struct worker_pool_config {
    const char *program; /* path of flashrack-worker */
    double time_scale;
    int beat_deadline_ms; /* silence after which a busy worker is killed; 0: 10 000 */
    /* The same before its first word: dozens that start at once share the processors; 0: 60 000. */
    int start_deadline_ms;
};

int worker_pool_new(struct event_base *base, const struct worker_pool_config *config,
                    struct worker_pool **out, struct err *err);
/* Closes every channel: workers end the step they are in, leave its result in the spool and exit. Owners hear
 * `ended`; they may not take another worker then. */
void worker_pool_free(struct worker_pool **pool);

/* The spare, or a fresh process; a new spare is started. *device_end_out is the other end of its fd 4, for
 * portwatch; the caller closes it after handing it on. */
struct worker *worker_take(struct worker_pool *pool, const struct worker_events *events, void *arg,
                           int *device_end_out, struct err *err);
/* A fresh process that may make and change files below `folder` and nowhere else: for unpacking. No port. */
struct worker *worker_take_for_folder(struct worker_pool *pool, const char *folder,
                                      const struct worker_events *events, void *arg,
                                      struct err *err);
/* Queues a message; m->fd is duplicated. Failure shows as `ended`. */
void worker_send(struct worker *w, const struct wire_message *m);
/* From now on silence (see worker_pool_config) means the worker hangs: SIGKILL. */
void worker_expect_beats(struct worker *w);
/* Closes the channel; the worker ends after its step. `ended` follows. */
void worker_let_go(struct worker *w);
void worker_kill(struct worker *w, const char *why);
int64_t worker_pid(const struct worker *w);

#endif
