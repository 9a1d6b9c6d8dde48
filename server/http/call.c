#include "server/http/internal.h"

#include <errno.h>
#include <event2/bufferevent.h>
#include <string.h>

#include "usb/base/clock.h"
#include "usb/base/log.h"
#include "usb/base/mem.h"

#define DEADLINE_DEFAULT_MS 30000

struct http_call *call_new(struct http *h, struct evhttp_request *req)
{
    struct http_call *call = xcalloc(1, sizeof(*call));
    call->http = h;
    call->req = req;
    call->began_ms = clock_now_ms();
    TAILQ_INIT(&call->query);
    LIST_INSERT_HEAD(&h->calls, call, link);
    return call;
}

void call_free(struct http_call *call)
{
    if (call->http)
        LIST_REMOVE(call, link);
    if (call->deadline)
        event_free(call->deadline);
    for (size_t i = 0; i < call->param_count; i++)
        free(call->params[i].value);
    evhttp_clear_headers(&call->query);
    free(call);
}

void call_cut(struct http_call *call)
{
    if (call->streaming) {
        evhttp_connection_set_closecb(evhttp_request_get_connection(call->req), NULL, NULL);
        call->gone(call, call->gone_arg);
        call_free(call);
        return;
    }
    LIST_REMOVE(call, link);
    call->http = NULL;
    call->req = NULL;
    if (call->deadline)
        event_free(call->deadline);
    call->deadline = NULL;
}

const char *call_method(const struct http_call *call)
{
    switch (evhttp_request_get_command(call->req)) {
    case EVHTTP_REQ_GET:
        return "GET";
    case EVHTTP_REQ_HEAD:
        return "HEAD";
    case EVHTTP_REQ_POST:
        return "POST";
    case EVHTTP_REQ_PUT:
        return "PUT";
    case EVHTTP_REQ_PATCH:
        return "PATCH";
    case EVHTTP_REQ_DELETE:
        return "DELETE";
    default:
        return "OPTIONS";
    }
}

/* The handler still holds the call and will answer one day; that answer then only frees it. */
static void deadline_passed(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct http_call *call = arg;
    struct http_call *stand_in = call_new(call->http, call->req);
    stand_in->route = call->route;
    call_cut(call);
    struct err err;
    err_set(&err, ERR_TIMEOUT, "the station did not answer in time");
    http_reply_err(stand_in, &err, NULL);
}

int call_deadline_set(struct http_call *call)
{
    const char *query = evhttp_uri_get_query(evhttp_request_get_evhttp_uri(call->req));
    if (query && evhttp_parse_query_str(query, &call->query) < 0) {
        http_reply_err(call, &(struct err){ERR_INPUT, "the query string is malformed"}, NULL);
        return ERR_INPUT;
    }
    int64_t ms =
        clock_scaled(call->route->deadline_ms ? call->route->deadline_ms : DEADLINE_DEFAULT_MS);
    call->deadline = evtimer_new(call->http->base, deadline_passed, call);
    event_add(call->deadline, &(struct timeval){.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000});
    return 0;
}

const char *http_query(const struct http_call *call, const char *name)
{
    return evhttp_find_header(&call->query, name);
}

int http_query_only(const struct http_call *call, const char *const *names, struct err *err)
{
    const struct evkeyval *kv;
    TAILQ_FOREACH(kv, &call->query, next)
    {
        bool known = false;
        for (size_t i = 0; names[i] && !known; i++)
            known = strcmp(names[i], kv->key) == 0;
        if (!known)
            return err_set(err, ERR_INPUT, "query parameter '%s': not known here", kv->key);
    }
    return 0;
}

int http_query_int(const struct http_call *call, const char *name, int64_t min, int64_t max,
                   int64_t absent, int64_t *out, struct err *err)
{
    const char *text = http_query(call, name);
    if (!text) {
        *out = absent;
        return 0;
    }
    char *end;
    errno = 0;
    int64_t value = strtoll(text, &end, 10);
    if (errno || end == text || *end || value < min || value > max)
        return err_set(err, ERR_INPUT, "query parameter '%s': not a whole number from %lld to %lld",
                       name, (long long)min, (long long)max);
    *out = value;
    return 0;
}

const char *http_header(const struct http_call *call, const char *name)
{
    return evhttp_find_header(evhttp_request_get_input_headers(call->req), name);
}

struct span http_body(const struct http_call *call)
{
    struct evbuffer *in = evhttp_request_get_input_buffer(call->req);
    return span_of(evbuffer_pullup(in, -1), evbuffer_get_length(in));
}

int http_body_json(const struct http_call *call, json_t **out, struct err *err)
{
    struct span body = http_body(call);
    if (body.len == 0) {
        *out = json_object();
        return 0;
    }
    json_error_t e;
    json_t *doc = json_loadb((const char *)body.data, body.len, JSON_REJECT_DUPLICATES, &e);
    if (!doc)
        return err_set(err, ERR_INPUT, "the body is not JSON: line %d, column %d: %s", e.line,
                       e.column, e.text);
    if (!json_is_object(doc)) {
        json_decref(doc);
        return err_set(err, ERR_INPUT, "the body must be a JSON object");
    }
    *out = doc;
    return 0;
}

void http_security_headers(struct evhttp_request *req)
{
    struct evkeyvalq *out = evhttp_request_get_output_headers(req);
    /* an answer may bring a stricter one */
    if (!evhttp_find_header(out, "Content-Security-Policy"))
        evhttp_add_header(
            out, "Content-Security-Policy",
            "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; "
            "frame-ancestors 'none'");
    evhttp_add_header(out, "X-Content-Type-Options", "nosniff");
    evhttp_add_header(out, "Referrer-Policy", "no-referrer");
    evhttp_add_header(out, "Cross-Origin-Resource-Policy", "same-origin");
    evhttp_add_header(out, "Cross-Origin-Opener-Policy", "same-origin");
}

void http_reply_header(struct http_call *call, const char *name, const char *value)
{
    if (call->req)
        evhttp_add_header(evhttp_request_get_output_headers(call->req), name, value);
}

static void call_log(const struct http_call *call, int status)
{
    char status_text[12], ms_text[24];
    snprintf(status_text, sizeof(status_text), "%d", status);
    snprintf(ms_text, sizeof(ms_text), "%lld", (long long)(clock_now_ms() - call->began_ms));
    log_line(LOG_DEBUG, "http",
             LOG_KV({"method", call_method(call)}, {"path", evhttp_request_get_uri(call->req)},
                    {"status", status_text}, {"ms", ms_text}),
             "answered");
}

struct evhttp_request *call_take(struct http_call *call)
{
    struct evhttp_request *req = call->req;
    call_free(call);
    return req;
}

void call_send(struct http_call *call, int status, const char *type, struct evbuffer *body)
{
    if (!call->req) { /* answered by its deadline, or the server is gone */
        call_free(call);
        return;
    }
    call_log(call, status);
    struct evhttp_request *req = call_take(call);
    struct evkeyvalq *out = evhttp_request_get_output_headers(req);
    if (type)
        evhttp_add_header(out, "Content-Type", type);
    if (!evhttp_find_header(out, "Cache-Control"))
        evhttp_add_header(out, "Cache-Control", "no-store");
    http_security_headers(req);
    if (evhttp_request_get_command(req) == EVHTTP_REQ_HEAD && body) { /* evhttp would send it */
        char length[24];
        snprintf(length, sizeof(length), "%zu", evbuffer_get_length(body));
        if (!evhttp_find_header(out, "Content-Length"))
            evhttp_add_header(out, "Content-Length", length);
        body = NULL;
    }
    evhttp_send_reply(req, status, NULL, body);
}

void http_reply_text(struct http_call *call, int status, const char *type, const char *text)
{
    struct evbuffer *body = evbuffer_new();
    evbuffer_add(body, text, strlen(text));
    call_send(call, status, type, body);
    evbuffer_free(body);
}

void http_reply_json(struct http_call *call, int status, json_t *body)
{
    AUTO(free_ptr) char *text = json_dumps(body, JSON_COMPACT);
    if (text)
        http_reply_text(call, status, "application/json", text);
    else
        http_reply_err(call, &(struct err){ERR_INTERNAL, "the answer is not JSON"}, NULL);
}
