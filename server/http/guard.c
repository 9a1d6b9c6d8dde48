/* guard.c: who may talk to a station that has no access tokens yet. A browser on this host shows
 * pages of strangers, too. Three things keep those out: the Host header must name us (a name that a
 * stranger has pointed at 127.0.0.1 does not), Origin must be our own page, and a write must be
 * application/json, which a page may not send across origins without a preflight request that we
 * never grant. */
#include "server/http/internal.h"

#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

#include "usb/base/mem.h"

bool guard_host_is_loopback(const char *host)
{
    struct in_addr v4;
    struct in6_addr v6;
    if (strcasecmp(host, "localhost") == 0)
        return true;
    if (inet_pton(AF_INET, host, &v4) == 1)
        return ntohl(v4.s_addr) >> 24 == 127;
    return inet_pton(AF_INET6, host, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

/* The name in "name:port" or "[v6]:port", without port and brackets; NULL when it is malformed. */
static char *authority_name(const char *authority)
{
    const char *end = authority[0] == '[' ? strchr(authority, ']') : strchr(authority, ':');
    if (authority[0] == '[') {
        if (!end || (end[1] && end[1] != ':'))
            return NULL;
        authority++;
    }
    size_t len = end ? (size_t)(end - authority) : strlen(authority);
    return len ? xasprintf("%.*s", (int)len, authority) : NULL;
}

static bool host_ok(const struct http_call *call)
{
    const char *header = http_header(call, "Host");
    AUTO(free_ptr) char *name = header ? authority_name(header) : NULL;
    if (!name)
        return false;
    if (guard_host_is_loopback(name) || strcasecmp(name, call->http->address) == 0)
        return true;
    for (size_t i = 0; call->http->hosts[i]; i++)
        if (strcasecmp(name, call->http->hosts[i]) == 0)
            return true;
    return false;
}

/* Origin, where a browser sends one, must be the very address that the page came from. */
static bool origin_ok(const struct http_call *call)
{
    const char *origin = http_header(call, "Origin");
    if (!origin)
        return true;
    const char *authority = strstr(origin, "://");
    return authority && strcasecmp(authority + 3, http_header(call, "Host")) == 0;
}

static bool is_write(const struct http_call *call)
{
    const char *method = call_method(call);
    return strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0 &&
           strcmp(method, "OPTIONS") != 0;
}

static bool is_json(const char *type)
{
    static const char want[] = "application/json";
    size_t len = sizeof(want) - 1;
    return type && strncasecmp(type, want, len) == 0 &&
           (type[len] == 0 || type[len] == ';' || type[len] == ' ');
}

bool guard_pass(struct http_call *call)
{
    if (evhttp_request_get_uri(call->req)[0] != '/') {
        http_reply_problem(call, 400, "bad_request", "the request line must name a path",
                           "Talk to the station directly, not as to a proxy.");
    } else if (!host_ok(call)) {
        http_reply_problem(call, 403, "host_refused",
                           "the Host header is not a name of this station",
                           "Use http://localhost or 127.0.0.1, or add the name to the station's "
                           "allowed hosts.");
    } else if (!origin_ok(call)) {
        http_reply_problem(call, 403, "origin_refused",
                           "the request comes from a page of another origin",
                           "Open the dashboard from the station's own address.");
    } else if (is_write(call) && !is_json(http_header(call, "Content-Type"))) {
        http_reply_problem(call, 415, "unsupported_media_type",
                           "a write must have Content-Type: application/json",
                           "Send the header, also where the body is empty.");
    } else {
        return true;
    }
    return false;
}
