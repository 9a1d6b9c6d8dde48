/* sse.h: server-sent events. Durable events carry an id and can be had again after a pause
 * (`Last-Event-ID` or ?after=); live ones (id 0) tell of progress and are thinned out to five a
 * second per subject. Each client has a bounded queue; one that does not keep up is dropped and
 * resumes from its last id. */
#ifndef FLASHRACK_SERVER_HTTP_SSE_H
#define FLASHRACK_SERVER_HTTP_SSE_H

#include <stddef.h>
#include <stdint.h>

#include "server/http/http.h"

struct sse;

struct sse_event {
    int64_t id;
    const char *type; /* port, job, prompt, log, phone */
    const char *data; /* JSON on one line */
};

/* Asks for stored events after `after`, oldest first, at most `limit`; answered by sse_fetched()
 * with the same ticket, once, at any time on the loop. */
typedef void sse_fetch_fn(void *arg, uint64_t ticket, int64_t after, size_t limit);

struct sse_config {
    sse_fetch_fn *fetch;
    void *arg;
    int64_t last_id;        /* newest durable event that is stored already */
    size_t queue_max_bytes; /* per client; 0: 512 KiB */
    size_t clients_max;     /* 0: 64 */
    int heartbeat_ms;       /* 0: 15 s */
    int live_ms;            /* least time between two live events of one subject; 0: 200 ms */
};

struct sse *sse_new(struct event_base *base, const struct sse_config *config);
void sse_free(struct sse **s); /* before http_free() */
/* Takes the call over until its peer leaves. */
void sse_attach(struct sse *s, struct http_call *call);
/* code < 0: the client is dropped and will try again. */
void sse_fetched(struct sse *s, uint64_t ticket, int code, const struct sse_event *events,
                 size_t count);
/* id > 0: durable, in the store already. id 0: live; `subject` (a job's id) is what it is thinned
 * by. */
void sse_publish(struct sse *s, int64_t id, const char *type, const char *subject,
                 const char *data);
size_t sse_clients(const struct sse *s);
uint64_t sse_dropped(const struct sse *s); /* slow clients so far */

#endif
