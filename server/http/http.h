/* http.h: the station's HTTP server: routes, JSON both ways, problem documents, the dashboard's
 * files. Knows evhttp and nothing of ports and jobs. Runs on the event loop; nothing here blocks
 * for long.
 *
 * Until access tokens exist the rules are: loopback only, Host and Origin are checked, and a write
 * must say application/json, which no foreign page can send without asking first. */
#ifndef FLASHRACK_SERVER_HTTP_HTTP_H
#define FLASHRACK_SERVER_HTTP_HTTP_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "usb/base/err.h"
#include "usb/base/span.h"

struct event_base;
struct http;
struct http_call; /* one request; answered exactly once, at once or later */

#define HTTP_BODY_MAX_BYTES                                                                        \
    ((size_t)8 * 1024 * 1024 + (size_t)64 * 1024) /* largest body of any route: an upload part */
#define HTTP_JSON_MAX_BYTES ((size_t)64 * 1024)   /* body_max_bytes of routes that take JSON */

struct http_config {
    const char *listen; /* "127.0.0.1:8080" or "[::1]:8080"; port 0 takes a free one */
    bool allow_remote;  /* `listen` may name an address that others can reach */
    const char *const
        *hosts;          /* names besides localhost that Host may carry, NULL-terminated; or NULL */
    const char *web_dir; /* the dashboard's files; NULL: none */
    const char *tls_cert, *tls_key; /* PEM files, both or neither */
    int idle_ms;                    /* a peer that neither reads nor writes is dropped; 0: 30 s */
};

typedef void http_fn(struct http_call *call, void *arg);

/* "/ports/{id}": a part in braces matches one path segment, decoded, read with http_param(). */
struct http_route {
    const char *method, *pattern;
    http_fn *fn;
    size_t body_max_bytes; /* 0: no body is taken */
    int deadline_ms;       /* an answer that is not there by then is a 504; 0: 30 s */
};

/* Checks the configuration (loopback rule, TLS files); nothing is listened on yet. */
int http_new(struct event_base *base, const struct http_config *config, struct http **out,
             struct err *err);
/* Calls that wait for an answer are cut; their later http_reply_*() only frees them. */
void http_free(struct http **h);
/* `routes` is borrowed for the life of the server. */
void http_routes_add(struct http *h, const struct http_route *routes, size_t count, void *arg);
int http_listen(struct http *h, struct err *err);
const char *http_url(const struct http *h); /* "http://127.0.0.1:8080", with the real port */

/* ---- the request ---- */
const char *http_param(const struct http_call *call, const char *name);
const char *http_query(const struct http_call *call,
                       const char *name); /* decoded, NULL: not given */
/* ERR_INPUT naming the first query parameter that is not in `names` (NULL-terminated). */
int http_query_only(const struct http_call *call, const char *const *names, struct err *err);
/* A whole number between min and max; `absent` when it was not given. */
int http_query_int(const struct http_call *call, const char *name, int64_t min, int64_t max,
                   int64_t absent, int64_t *out, struct err *err);
const char *http_header(const struct http_call *call, const char *name);
struct span http_body(const struct http_call *call); /* contiguous, borrowed until the answer */
/* The body as an object that the caller owns; an empty body is an empty object. Duplicate keys,
 * bytes after the object and anything but an object are ERR_INPUT. */
int http_body_json(const struct http_call *call, json_t **out, struct err *err);

/* ---- the answer: exactly one of these ends a call ---- */
void http_reply_header(struct http_call *call, const char *name, const char *value);
void http_reply_json(struct http_call *call, int status, json_t *body); /* body is borrowed */
void http_reply_text(struct http_call *call, int status, const char *type, const char *text);
/* The problem document of `err`; advice NULL: the general advice of the code. */
void http_reply_err(struct http_call *call, const struct err *err, const char *advice);
/* The same of an error that has a code of its own in the failure catalogue; failure NULL: the error's. */
void http_reply_failure(struct http_call *call, const struct err *err, const char *failure,
                        const char *advice);

/* A body in parts with a known size. `more` runs on the loop when the part has left for the kernel;
 * `gone` instead when the peer went away, after which the call must not be touched. False: there is
 * no body to send (HEAD, or the call is over); it has been answered and `gone` has run. */
typedef void http_more_fn(struct http_call *call, void *arg);
bool http_stream_start(struct http_call *call, const char *type, uint64_t size_bytes,
                       http_more_fn *gone, void *arg);
void http_stream_write(struct http_call *call, struct span part, http_more_fn *more, void *arg);
void http_stream_end(struct http_call *call);
void http_stream_abort(
    struct http_call *call); /* cuts the connection: the peer sees a short body */

/* Prometheus lines about this process (memory, processor time, descriptors, start). Caller frees.
 */
char *http_process_metrics(void);

#endif
