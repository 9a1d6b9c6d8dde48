/* client_stream.c: the stream of events as a queue that is read from the top down. The connection is kept on the
 * client's loop; when it breaks, another one resumes behind the last stored event (Last-Event-ID). */
#include "server/cli/client_inside.h"

#include <event2/buffer.h>
#include <event2/event.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "server/cli/sse_reader.h"
#include "usb/base/clock.h"
#include "usb/base/mem.h"

enum {
    SILENCE_S = 50,       /* the station gives a sign of life every 15 s */
    RETRY_FIRST_MS = 250, /* doubled each time */
    RETRY_MOST_MS = 5000,
    GIVE_UP_MS = 5 * 60 * 1000,
    REFUSAL_MAX_BYTES = 64 * 1024,
    HTTP_OK_ = 200,
};

struct queued {
    STAILQ_ENTRY(queued) next;
    struct client_event event;
};

struct client_stream {
    struct client *client;
    struct evhttp_connection *con;
    SSL *ssl;
    struct sse_reader reader;
    struct buf refusal; /* body of an answer that is not 200 */
    int status;         /* of the answer; 0: none yet */
    STAILQ_HEAD(, queued) queue;
    struct event *retry, *watch, *interrupt;
    int64_t lost_ms; /* since when there is no connection */
    int retry_ms;
    bool ended;  /* the connection is over and waits to be freed off its own callback */
    bool broken; /* what came is no event stream */
    bool lost_told, wake, interrupted;
    struct err why;
};

void client_event_deinit(struct client_event *e)
{
    json_decref(e->data);
    e->data = NULL;
}

static void queue_put(struct client_stream *s, const char *id, const char *type, json_t *data)
{
    struct queued *q = xcalloc(1, sizeof(*q));
    snprintf(q->event.id, sizeof(q->event.id), "%s", id);
    snprintf(q->event.type, sizeof(q->event.type), "%s", type);
    q->event.data = data;
    STAILQ_INSERT_TAIL(&s->queue, q, next);
}

/* ---- the connection's callbacks --------------------------------------------------------------------- */

static void on_event(void *arg, const char *id, const char *type, const char *data)
{
    struct client_stream *s = arg;
    json_t *body = json_loads(data, 0, NULL);
    if (!body) {
        s->broken = true;
        return;
    }
    if (strcmp(type, "hello") == 0) {
        s->lost_ms = 0;
        s->lost_told = false;
        s->retry_ms = RETRY_FIRST_MS;
    }
    queue_put(s, id, type, body);
}

static void on_chunk(struct evhttp_request *req, void *arg)
{
    struct client_stream *s = arg;
    struct evbuffer *in = evhttp_request_get_input_buffer(req);
    size_t len = evbuffer_get_length(in);
    const uint8_t *text = evbuffer_pullup(in, -1);
    s->status = evhttp_request_get_response_code(req);
    if (s->status != HTTP_OK_)
        buf_put(&s->refusal, text, len);
    else if (!s->broken && sse_reader_feed(&s->reader, span_of(text, len), on_event, s, NULL) < 0)
        s->broken = true;
    evbuffer_drain(in, len); /* evhttp does so as well where the body is chunked */
}

static void on_ended(struct evhttp_request *req, void *arg)
{
    struct client_stream *s = arg;
    s->ended = true;
    if (req && evhttp_request_get_response_code(req))
        s->status = evhttp_request_get_response_code(req);
    if (req && s->status && s->status != HTTP_OK_)
        on_chunk(req, s);
}

static void on_retry(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what, (void)arg; /* ends the loop's round; stream_tend() connects */
}

static void on_watched(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    ((struct client_stream *)arg)->wake = true;
}

static void on_interrupt(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    ((struct client_stream *)arg)->interrupted = true;
}

/* ---- connecting ------------------------------------------------------------------------------------- */

static int stream_connect(struct client_stream *s, struct err *err)
{
    struct client *c = s->client;
    sse_reader_restart(&s->reader);
    buf_clear(&s->refusal);
    s->status = 0;
    s->ended = s->broken = false;
    s->con = client_connect(c, SILENCE_S, &s->ssl, err);
    if (!s->con)
        return ERR_INTERNAL;
    struct evhttp_request *req = evhttp_request_new(on_ended, s);
    evhttp_request_set_chunked_cb(req, on_chunk);
    client_headers(c, req);
    struct evkeyvalq *headers = evhttp_request_get_output_headers(req);
    evhttp_add_header(headers, "Accept", "text/event-stream");
    if (s->reader.last_id[0])
        evhttp_add_header(headers, "Last-Event-ID", s->reader.last_id);
    AUTO(free_ptr) char *path = xasprintf("%s" CLIENT_API "/events", c->prefix);
    if (evhttp_make_request(s->con, req, EVHTTP_REQ_GET, path) < 0)
        s->ended = true;
    return 0;
}

static void connection_drop(struct client_stream *s)
{
    if (s->con)
        evhttp_connection_free(s->con);
    SSL_free(s->ssl);
    s->con = NULL;
    s->ssl = NULL;
}

/* The connection is over: tell it once, come back later, or give up. */
static int connection_lost(struct client_stream *s, struct err *err)
{
    int64_t now = clock_now_ms();
    bool refused = s->status >= 400 && s->status < 500;
    if (refused) {
        buf_put_u8(&s->refusal, '\0');
        return client_refusal(s->client, s->status,
                              s->refusal.over ? "" : (const char *)s->refusal.data, err);
    }
    if (!s->lost_ms)
        s->lost_ms = now;
    int rc = client_no_answer(s->client, s->ssl, false, err);
    connection_drop(s);
    if (rc == ERR_REFUSED || now - s->lost_ms >= GIVE_UP_MS)
        return rc;
    if (!s->lost_told) {
        s->lost_told = true;
        queue_put(s, "", "lost", json_object());
    }
    event_add(s->retry, &(struct timeval){s->retry_ms / 1000, s->retry_ms % 1000 * 1000});
    s->retry_ms = MIN_OF(2 * s->retry_ms, RETRY_MOST_MS);
    return 0;
}

static int stream_tend(struct client_stream *s, struct err *err)
{
    if (s->con && (s->ended || s->broken))
        return connection_lost(s, err);
    if (!s->con && !event_pending(s->retry, EV_TIMEOUT, NULL))
        return stream_connect(s, err);
    return 0;
}

/* ---- the caller's side ------------------------------------------------------------------------------ */

struct client_stream *client_stream_new(struct client *c, const char *after)
{
    struct client_stream *s = xcalloc(1, sizeof(*s));
    s->client = c;
    s->retry_ms = RETRY_FIRST_MS;
    STAILQ_INIT(&s->queue);
    sse_reader_init(&s->reader);
    buf_init(&s->refusal, REFUSAL_MAX_BYTES);
    if (after)
        snprintf(s->reader.last_id, sizeof(s->reader.last_id), "%s", after);
    s->retry = evtimer_new(c->base, on_retry, s);
    s->interrupt = evsignal_new(c->base, SIGINT, on_interrupt, s);
    event_add(s->interrupt, NULL);
    return s;
}

void client_stream_free(struct client_stream **sp)
{
    struct client_stream *s = *sp;
    if (!s)
        return;
    *sp = NULL;
    connection_drop(s);
    while (!STAILQ_EMPTY(&s->queue)) {
        struct queued *q = STAILQ_FIRST(&s->queue);
        STAILQ_REMOVE_HEAD(&s->queue, next);
        client_event_deinit(&q->event);
        free(q);
    }
    client_stream_watch(s, -1);
    event_free(s->retry);
    event_free(s->interrupt);
    sse_reader_deinit(&s->reader);
    buf_deinit(&s->refusal);
    free(s);
}

void client_stream_watch(struct client_stream *s, int fd)
{
    if (s->watch)
        event_free(s->watch);
    s->watch = NULL;
    s->wake = false;
    if (fd >= 0) {
        s->watch = event_new(s->client->base, fd, EV_READ, on_watched, s);
        event_add(s->watch, NULL);
    }
}

int client_stream_next(struct client_stream *s, struct client_event *out, struct err *err)
{
    for (;;) {
        struct queued *q = STAILQ_FIRST(&s->queue);
        if (s->interrupted)
            return err_set(err, ERR_CANCELLED, "interrupted");
        if (q) {
            STAILQ_REMOVE_HEAD(&s->queue, next);
            *out = q->event;
            free(q);
            return 1;
        }
        if (s->wake) {
            s->wake = false;
            event_add(s->watch, NULL);
            return 0;
        }
        int rc = stream_tend(s, err);
        if (rc < 0)
            return rc;
        if (STAILQ_EMPTY(&s->queue))
            event_base_loop(s->client->base, EVLOOP_ONCE);
    }
}
