/* internal.h: what the files of server/http share. */
#ifndef FLASHRACK_SERVER_HTTP_INTERNAL_H
#define FLASHRACK_SERVER_HTTP_INTERNAL_H

#include "server/http/http.h"

#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <openssl/types.h>
#include <sys/queue.h>

#define HTTP_PARAMS_MAX 4
#define HTTP_TABLES_MAX 8

struct http_table {
    const struct http_route *routes;
    size_t count;
    void *arg;
};

LIST_HEAD(http_calls, http_call);

struct http {
    struct event_base *base;
    struct evhttp *evhttp;
    char *address; /* without brackets */
    uint16_t port;
    char *url;
    char *web_dir;
    const char **hosts; /* owned copies, NULL-terminated */
    SSL_CTX *tls;       /* NULL: plain */
    int idle_ms;
    struct event *accept_again; /* after we ran out of descriptors */
    struct evconnlistener *listener;
    struct http_table tables[HTTP_TABLES_MAX];
    size_t table_count;
    struct http_calls calls; /* not yet answered */
};

struct http_param_value {
    char name[24];
    char *value; /* decoded */
};

struct http_call {
    LIST_ENTRY(http_call) link;
    struct http *http;          /* NULL once the server is gone */
    struct evhttp_request *req; /* NULL once answered by the deadline or cut */
    const struct http_route *route;
    struct http_param_value params[HTTP_PARAMS_MAX];
    size_t param_count;
    struct evkeyvalq query;
    struct event *deadline;
    int64_t began_ms;
    bool streaming;
    http_more_fn *more, *gone;
    void *more_arg, *gone_arg;
};

/* call.c */
struct http_call *call_new(struct http *h, struct evhttp_request *req);
void call_free(struct http_call *call);
void call_cut(struct http_call *call); /* forgets the request; the handler's reply only frees */
int call_deadline_set(struct http_call *call);
const char *call_method(const struct http_call *call);
/* Ends the call with these bytes; `body` (may be NULL) is emptied. */
void call_send(struct http_call *call, int status, const char *type, struct evbuffer *body);
/* Takes the request out of the call and frees the call; the connection stays open. */
struct evhttp_request *call_take(struct http_call *call);
void http_security_headers(struct evhttp_request *req);

/* problem.c: for what HTTP itself says no to, where no ERR_* fits. */
void http_reply_problem(struct http_call *call, int status, const char *code, const char *detail,
                        const char *advice);
/* route.c: 0 and the call's route, params and *arg_out; or ERR_NOT_FOUND; or ERR_CONFLICT with the
 * methods that the path does take in `allow`. */
int route_find(struct http_call *call, const char *path, void **arg_out, char allow[64]);
/* guard.c: true when the request may go on; else it has been answered. */
bool guard_pass(struct http_call *call);
bool guard_host_is_loopback(const char *host);
/* files.c: false when there is no such file; else answered. */
bool files_serve(struct http_call *call, const char *path);
/* tls.c */
int tls_open(const char *cert, const char *key, SSL_CTX **out, struct err *err);
struct bufferevent *tls_bufferevent(struct event_base *base, void *ctx);

#endif
