/* stream.c: answers that come in parts. One part is with the kernel at a time, so that a slow
 * reader costs one part of memory, not a whole image. */
#include "server/http/internal.h"

#include <event2/bufferevent.h>
#include <string.h>

#include "usb/base/mem.h"

static void peer_gone(struct evhttp_connection *connection, void *arg)
{
    (void)connection;
    struct http_call *call = arg;
    http_more_fn *gone = call->gone;
    gone(call, call->gone_arg);
    /* evhttp has taken the request off the dying connection; ending it there frees it. */
    evhttp_send_reply_end(call_take(call));
}

static void part_left(struct evhttp_connection *connection, void *arg)
{
    (void)connection;
    struct http_call *call = arg;
    http_more_fn *more = call->more;
    call->more = NULL;
    if (more)
        more(call, call->more_arg);
}

bool http_stream_start(struct http_call *call, const char *type, uint64_t size_bytes,
                       http_more_fn *gone, void *arg)
{
    char length[24];
    snprintf(length, sizeof(length), "%llu", (unsigned long long)size_bytes);
    http_reply_header(call, "Content-Length", length);
    if (!call->req || strcmp(call_method(call), "HEAD") == 0) {
        gone(call, arg);
        call_send(call, 200, type, NULL);
        return false;
    }
    if (call->deadline)
        event_del(call->deadline); /* from here on the peer's pace counts; evhttp drops idle ones */
    http_reply_header(call, "Content-Type", type);
    http_reply_header(call, "Cache-Control", "no-store");
    http_security_headers(call->req);
    call->streaming = true;
    call->gone = gone;
    call->gone_arg = arg;
    evhttp_connection_set_closecb(evhttp_request_get_connection(call->req), peer_gone, call);
    evhttp_send_reply_start(call->req, 200, NULL);
    return true;
}

void http_stream_write(struct http_call *call, struct span part, http_more_fn *more, void *arg)
{
    struct evbuffer *body = evbuffer_new();
    evbuffer_add(body, part.data, part.len);
    call->more = more;
    call->more_arg = arg;
    evhttp_send_reply_chunk_with_cb(call->req, body, part_left, call);
    evbuffer_free(body);
}

void http_stream_end(struct http_call *call)
{
    struct evhttp_request *req = call_take(call);
    evhttp_connection_set_closecb(evhttp_request_get_connection(req), NULL, NULL);
    evhttp_send_reply_end(req);
}

void http_stream_abort(struct http_call *call)
{
    struct evhttp_connection *connection = evhttp_request_get_connection(call_take(call));
    evhttp_connection_set_closecb(connection, NULL, NULL);
    evhttp_connection_free(connection);
}
