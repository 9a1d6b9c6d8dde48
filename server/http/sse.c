#include "server/http/sse.h"

#include <event2/bufferevent.h>
#include <string.h>
#include <sys/queue.h>

#include "server/http/internal.h"
#include "usb/base/clock.h"
#include "usb/base/log.h"
#include "usb/base/mem.h"

#define QUEUE_DEFAULT_BYTES  ((size_t)512 * 1024)
#define CLIENTS_DEFAULT      64
#define HEARTBEAT_DEFAULT_MS 15000
#define LIVE_DEFAULT_MS      200
#define WRITE_IDLE_MS        30000 /* a peer that takes nothing for so long is dropped */
#define RETRY_MS             2000  /* what browsers wait before they come back */
#define FETCH_ROWS           200
#define INPUT_MAX_BYTES      4096 /* an event stream's peer has nothing to say */

struct client {
    LIST_ENTRY(client) link;
    struct sse *sse;
    struct evhttp_request *req;
    uint64_t ticket;
    int64_t cursor;   /* newest durable id that this client has */
    bool catching_up; /* gets stored events in batches; published ones wait in the store */
    bool fetching;    /* a fetch is under way */
};

/* The newest live event of one subject, waiting for its turn. */
struct live {
    LIST_ENTRY(live) link;
    char *type, *subject, *data;
};

struct sse {
    struct sse_config config;
    struct event *heartbeat, *live_timer;
    LIST_HEAD(, client) clients;
    LIST_HEAD(, live) waiting;
    size_t client_count;
    uint64_t last_ticket, dropped;
    int64_t last_id; /* newest durable event that is known */
};

static void timer_start(struct event *timer, int64_t ms)
{
    ms = clock_scaled(ms);
    event_add(timer, &(struct timeval){.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000});
}

/* ---- clients ---- */

static void client_forget(struct client *c)
{
    LIST_REMOVE(c, link);
    c->sse->client_count--;
    free(c);
}

static void client_left(struct evhttp_connection *connection, void *arg)
{
    (void)connection;
    struct client *c = arg;
    struct evhttp_request *req = c->req;
    client_forget(c);
    evhttp_send_reply_end(req); /* already off its connection: this frees it */
}

static void client_drop(struct client *c)
{
    struct evhttp_connection *connection = evhttp_request_get_connection(c->req);
    client_forget(c);
    evhttp_connection_set_closecb(connection, NULL, NULL);
    evhttp_connection_free(connection); /* with its request */
}

static void client_drained(struct evhttp_connection *connection, void *arg);

static void client_send(struct client *c, struct evbuffer *text)
{
    /* evhttp keeps one callback a connection, so each write names it again */
    evhttp_send_reply_chunk_with_cb(c->req, text, client_drained, c);
}

/* False: the client did not keep up and is gone. */
static bool client_keeps_up(struct client *c)
{
    struct bufferevent *bev =
        evhttp_connection_get_bufferevent(evhttp_request_get_connection(c->req));
    if (evbuffer_get_length(bufferevent_get_output(bev)) <= c->sse->config.queue_max_bytes)
        return true;
    c->sse->dropped++;
    log_line(LOG_INFO, "sse", NULL, "a client did not keep up and was dropped");
    client_drop(c);
    return false;
}

static void event_format(struct evbuffer *out, int64_t id, const char *type, const char *data)
{
    if (id > 0)
        evbuffer_add_printf(out, "id: %lld\n", (long long)id);
    evbuffer_add_printf(out, "event: %s\ndata: %s\n\n", type, data);
}

static void clients_send(struct sse *s, int64_t id, const char *type, const char *data)
{
    struct client *c, *next;
    for (c = LIST_FIRST(&s->clients); c; c = next) {
        next = LIST_NEXT(c, link);
        if (c->catching_up || !client_keeps_up(c))
            continue;
        struct evbuffer *text = evbuffer_new();
        event_format(text, id, type, data);
        if (id > 0)
            c->cursor = id;
        client_send(c, text);
        evbuffer_free(text);
    }
}

/* ---- catching up ---- */

static void client_fetch(struct client *c)
{
    if (!c->catching_up || c->fetching)
        return;
    c->fetching = true;
    c->sse->config.fetch(c->sse->config.arg, c->ticket, c->cursor, FETCH_ROWS);
}

/* The batch before has left: room for the next one. */
static void client_drained(struct evhttp_connection *connection, void *arg)
{
    (void)connection;
    client_fetch(arg);
}

void sse_fetched(struct sse *s, uint64_t ticket, int code, const struct sse_event *events,
                 size_t count)
{
    struct client *c;
    LIST_FOREACH(c, &s->clients, link)
    if (c->ticket == ticket)
        break;
    if (!c)
        return; /* left meanwhile */
    c->fetching = false;
    if (code < 0) {
        client_drop(c);
        return;
    }
    struct evbuffer *text = evbuffer_new();
    for (size_t i = 0; i < count; i++) {
        event_format(text, events[i].id, events[i].type, events[i].data);
        c->cursor = events[i].id;
        s->last_id = c->cursor > s->last_id ? c->cursor : s->last_id;
    }
    /* What was published while we read lies in the store by now: read on until nothing is behind
     * us. An empty answer ends it in any case. */
    if (count == 0 || (count < FETCH_ROWS && c->cursor >= s->last_id))
        c->catching_up = false;
    if (count > 0)
        client_send(c, text); /* and fetch again when it has left */
    evbuffer_free(text);
}

/* ---- joining ---- */

/* The cursor of a request, -1 when it has none. */
static int cursor_of(struct http_call *call, int64_t *out, struct err *err)
{
    static const char *const known[] = {"after", NULL};
    int rc = http_query_only(call, known, err);
    if (rc == 0)
        rc = http_query_int(call, "after", 0, INT64_MAX, -1, out, err);
    const char *header =
        http_header(call, "Last-Event-ID"); /* newer than the URL after a reconnect */
    if (rc < 0 || !header || !*header)
        return rc;
    char *end;
    long long id = strtoll(header, &end, 10);
    if (*end || id < 0)
        return err_set(err, ERR_INPUT, "Last-Event-ID: not an id of this stream");
    *out = id;
    return 0;
}

/* First words of a stream: how long to wait before coming back, where a client without a cursor stands, and up to
 * where what follows is of before. A page loads its resources when it reads `hello`, so that nothing falls between. */
static void client_greet(struct client *c)
{
    struct evbuffer *text = evbuffer_new();
    char data[96];
    evbuffer_add_printf(text, "retry: %d\n\n", RETRY_MS);
    snprintf(data, sizeof(data), "{\"cursor\":\"%lld\",\"newest\":\"%lld\"}", (long long)c->cursor,
             (long long)c->sse->last_id);
    event_format(text, c->catching_up ? 0 : c->cursor, "hello", data);
    client_send(c, text);
    evbuffer_free(text);
}

static void stream_begin(struct evhttp_request *req)
{
    struct evkeyvalq *out = evhttp_request_get_output_headers(req);
    evhttp_add_header(out, "Content-Type", "text/event-stream");
    evhttp_add_header(out, "Cache-Control", "no-store");
    evhttp_add_header(out, "X-Accel-Buffering", "no"); /* a proxy in front must not collect */
    http_security_headers(req);
    evhttp_send_reply_start(req, 200, NULL);
    struct bufferevent *bev = evhttp_connection_get_bufferevent(evhttp_request_get_connection(req));
    int64_t ms = clock_scaled(WRITE_IDLE_MS);
    /* silence from the peer is normal here, a full queue is not */
    bufferevent_set_timeouts(bev, NULL,
                             &(struct timeval){.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000});
    bufferevent_setwatermark(bev, EV_READ, 0, INPUT_MAX_BYTES);
}

void sse_attach(struct sse *s, struct http_call *call)
{
    struct err err;
    int64_t cursor = -1;
    if (cursor_of(call, &cursor, &err) < 0) {
        http_reply_err(call, &err, NULL);
        return;
    }
    if (s->client_count >= s->config.clients_max) {
        http_reply_problem(call, 503, "too_many_streams",
                           "the station serves as many event streams as it can",
                           "Close dashboards that nobody looks at.");
        return;
    }
    if (strcmp(call_method(call), "HEAD") == 0) {
        http_reply_text(call, 200, "text/event-stream", "");
        return;
    }
    struct client *c = xcalloc(1, sizeof(*c));
    c->sse = s;
    c->req = call_take(call);
    c->ticket = ++s->last_ticket;
    if (cursor > s->last_id)
        cursor = -1; /* of a database that was put back to an older copy: begins as without one */
    c->catching_up = cursor >= 0;
    c->cursor = cursor >= 0 ? cursor : s->last_id;
    LIST_INSERT_HEAD(&s->clients, c, link);
    s->client_count++;
    stream_begin(c->req);
    evhttp_connection_set_closecb(evhttp_request_get_connection(c->req), client_left, c);
    client_greet(c); /* when it has left, catching up begins */
}

/* ---- publishing ---- */

static void live_free(struct live *l)
{
    LIST_REMOVE(l, link);
    free(l->type);
    free(l->subject);
    free(l->data);
    free(l);
}

static struct live *live_find(struct sse *s, const char *type, const char *subject)
{
    struct live *l;
    LIST_FOREACH(l, &s->waiting, link)
    if (strcmp(l->type, type) == 0 && strcmp(l->subject, subject) == 0)
        return l;
    return NULL;
}

static void live_flush(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct sse *s = arg;
    while (!LIST_EMPTY(&s->waiting)) {
        struct live *l = LIST_FIRST(&s->waiting);
        clients_send(s, 0, l->type, l->data);
        live_free(l);
    }
}

/* The first live event waits a little, later ones replace it: at most one a subject and tick. */
static void live_put(struct sse *s, const char *type, const char *subject, const char *data)
{
    struct live *l = live_find(s, type, subject);
    if (!l) {
        l = xcalloc(1, sizeof(*l));
        l->type = xstrdup(type);
        l->subject = xstrdup(subject);
        LIST_INSERT_HEAD(&s->waiting, l, link);
    }
    free(l->data);
    l->data = xstrdup(data);
    if (!evtimer_pending(s->live_timer, NULL))
        timer_start(s->live_timer, s->config.live_ms);
}

void sse_publish(struct sse *s, int64_t id, const char *type, const char *subject, const char *data)
{
    if (id <= 0) {
        live_put(s, type, subject, data);
        return;
    }
    struct live *older = live_find(s, type, subject);
    if (older) /* would arrive after this newer state and undo it */
        live_free(older);
    s->last_id = id;
    clients_send(s, id, type, data);
}

/* A comment keeps the connection open, as the standard advises; browsers do not show comments to a page,
 * so that the event beside it lets the page tell a quiet station from one that has lost its power. */
static void heartbeat(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct sse *s = arg;
    struct client *c, *next;
    for (c = LIST_FIRST(&s->clients); c; c = next) {
        next = LIST_NEXT(c, link);
        if (!client_keeps_up(c))
            continue;
        struct evbuffer *text = evbuffer_new();
        evbuffer_add_printf(text, ": still here\nevent: beat\ndata: {}\n\n");
        client_send(c, text);
        evbuffer_free(text);
    }
    timer_start(s->heartbeat, s->config.heartbeat_ms);
}

struct sse *sse_new(struct event_base *base, const struct sse_config *config)
{
    struct sse *s = xcalloc(1, sizeof(*s));
    s->config = *config;
    s->last_id = config->last_id;
    if (!s->config.queue_max_bytes)
        s->config.queue_max_bytes = QUEUE_DEFAULT_BYTES;
    if (!s->config.clients_max)
        s->config.clients_max = CLIENTS_DEFAULT;
    if (!s->config.heartbeat_ms)
        s->config.heartbeat_ms = HEARTBEAT_DEFAULT_MS;
    if (!s->config.live_ms)
        s->config.live_ms = LIVE_DEFAULT_MS;
    LIST_INIT(&s->clients);
    LIST_INIT(&s->waiting);
    s->heartbeat = evtimer_new(base, heartbeat, s);
    s->live_timer = evtimer_new(base, live_flush, s);
    timer_start(s->heartbeat, s->config.heartbeat_ms);
    return s;
}

void sse_free(struct sse **sp)
{
    struct sse *s = *sp;
    if (!s)
        return;
    *sp = NULL;
    while (!LIST_EMPTY(&s->clients))
        client_drop(LIST_FIRST(&s->clients));
    while (!LIST_EMPTY(&s->waiting))
        live_free(LIST_FIRST(&s->waiting));
    event_free(s->heartbeat);
    event_free(s->live_timer);
    free(s);
}

size_t sse_clients(const struct sse *s)
{
    return s->client_count;
}

uint64_t sse_dropped(const struct sse *s)
{
    return s->dropped;
}
