#include "server/http/internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/bufferevent.h>
#include <event2/listener.h>
#include <openssl/ssl.h>
#include <string.h>

#include "usb/base/clock.h"
#include "usb/base/log.h"
#include "usb/base/mem.h"

#define HEADERS_MAX_BYTES 16384
#define IDLE_DEFAULT_MS   30000
#define ACCEPT_PAUSE_US   500000L /* without descriptors accept() would spin */
#define LISTEN_BACKLOG    64

/* "HOST:PORT" or "[V6]:PORT" into a numeric address and a port. Names are not looked up: what is
 * listened on shall be said, not guessed. */
static int listen_parse(const char *text, char **address_out, uint16_t *port_out, struct err *err)
{
    const char *colon = strrchr(text, ':');
    char *end = NULL;
    unsigned long port = colon ? strtoul(colon + 1, &end, 10) : 0;
    if (!colon || end == colon + 1 || *end || port > 65535)
        return err_set(err, ERR_INPUT, "listen '%s': not of the form HOST:PORT", text);

    size_t len = (size_t)(colon - text);
    if (len >= 2 && text[0] == '[' && colon[-1] == ']') {
        text++;
        len -= 2;
    }
    AUTO(free_ptr) char *address = xasprintf("%.*s", (int)len, text);
    if (strcmp(address, "localhost") == 0) {
        free_ptr(&address);
        address = xstrdup("127.0.0.1");
    }
    unsigned char binary[sizeof(struct in6_addr)];
    if (inet_pton(AF_INET, address, binary) != 1 && inet_pton(AF_INET6, address, binary) != 1)
        return err_set(err, ERR_INPUT, "listen '%s': '%s' is not an IP address or localhost", text,
                       address);
    *address_out = STEAL(address);
    *port_out = (uint16_t)port;
    return 0;
}

static int config_check(const struct http_config *config, const char *address, struct err *err)
{
    if (!guard_host_is_loopback(address) && !config->allow_remote)
        return err_set(err, ERR_REFUSED,
                       "listen '%s': others could reach this address and the station has no access "
                       "control yet; listen on 127.0.0.1, or allow it explicitly where a container "
                       "or firewall keeps strangers out",
                       config->listen);
    if (!config->tls_cert != !config->tls_key)
        return err_set(err, ERR_INPUT, "TLS needs both a certificate and its key");
    return 0;
}

static void handle(struct evhttp_request *req, void *arg)
{
    struct http *h = arg;
    struct http_call *call = call_new(h, req);
    if (!guard_pass(call))
        return;

    const char *path = evhttp_uri_get_path(evhttp_request_get_evhttp_uri(req));
    if (!path || !*path)
        path = "/";
    char allow[64] = "";
    void *route_arg = NULL;
    switch (route_find(call, path, &route_arg, allow)) {
    case 0:
        break;
    case ERR_CONFLICT:
        http_reply_header(call, "Allow", allow);
        http_reply_problem(call, 405, "method_not_allowed",
                           "this address does not take that method",
                           "Use one of the methods in the Allow header.");
        return;
    default:
        if (files_serve(call, path))
            return;
        http_reply_err(call, &(struct err){ERR_NOT_FOUND, "there is nothing at this address"},
                       NULL);
        return;
    }
    if (http_body(call).len > call->route->body_max_bytes) {
        struct err err;
        err_set(&err, ERR_LIMIT, "the body is larger than %zu bytes", call->route->body_max_bytes);
        http_reply_err(call, &err, NULL);
        return;
    }
    if (call_deadline_set(call) == 0)
        call->route->fn(call, route_arg);
}

static struct bufferevent *plain_bufferevent(struct event_base *base, void *arg)
{
    (void)arg;
    return bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);
}

static void accept_again(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct http *h = arg;
    evconnlistener_enable(h->listener);
}

static void accept_failed(struct evconnlistener *listener, void *arg)
{
    struct http *h = arg;
    log_line(LOG_WARN, "http", NULL, "cannot accept a connection: %s", strerror(errno));
    evconnlistener_disable(listener);
    event_add(h->accept_again, &(struct timeval){.tv_usec = ACCEPT_PAUSE_US});
}

static const char **hosts_copy(const char *const *hosts)
{
    size_t count = 0;
    while (hosts && hosts[count])
        count++;
    const char **copy = xcalloc(count + 1, sizeof(*copy));
    for (size_t i = 0; i < count; i++)
        copy[i] = xstrdup(hosts[i]);
    return copy;
}

static void evhttp_setup(struct http *h)
{
    evhttp_set_gencb(h->evhttp, handle, h);
    evhttp_set_bevcb(h->evhttp, h->tls ? tls_bufferevent : plain_bufferevent, h->tls);
    evhttp_set_max_headers_size(h->evhttp, HEADERS_MAX_BYTES);
    evhttp_set_max_body_size(h->evhttp, HTTP_BODY_MAX_BYTES);
    evhttp_set_default_content_type(h->evhttp, NULL);
    evhttp_set_allowed_methods(h->evhttp, EVHTTP_REQ_GET | EVHTTP_REQ_HEAD | EVHTTP_REQ_POST |
                                              EVHTTP_REQ_PUT | EVHTTP_REQ_PATCH |
                                              EVHTTP_REQ_DELETE | EVHTTP_REQ_OPTIONS);
    int64_t idle_ms = clock_scaled(h->idle_ms);
    evhttp_set_timeout_tv(
        h->evhttp, &(struct timeval){.tv_sec = idle_ms / 1000, .tv_usec = idle_ms % 1000 * 1000});
}

int http_new(struct event_base *base, const struct http_config *config, struct http **out,
             struct err *err)
{
    AUTO(free_ptr) char *address = NULL;
    uint16_t port = 0;
    int rc = listen_parse(config->listen, &address, &port, err);
    if (rc == 0)
        rc = config_check(config, address, err);
    if (rc < 0)
        return rc;

    AUTO(http_free) struct http *h = xcalloc(1, sizeof(*h));
    LIST_INIT(&h->calls);
    h->base = base;
    h->address = STEAL(address);
    h->port = port;
    h->web_dir = xstrdup(config->web_dir);
    h->hosts = hosts_copy(config->hosts);
    h->idle_ms = config->idle_ms ? config->idle_ms : IDLE_DEFAULT_MS;
    if (config->tls_cert && tls_open(config->tls_cert, config->tls_key, &h->tls, err) < 0)
        return err_in(err, "TLS");
    h->accept_again = evtimer_new(base, accept_again, h);
    h->evhttp = evhttp_new(base);
    if (!h->evhttp || !h->accept_again)
        return err_set(err, ERR_INTERNAL, "no event loop for HTTP");
    evhttp_setup(h);
    *out = STEAL(h);
    return 0;
}

void http_routes_add(struct http *h, const struct http_route *routes, size_t count, void *arg)
{
    if (h->table_count == HTTP_TABLES_MAX)
        abort(); /* our bug: a constant too small */
    h->tables[h->table_count++] = (struct http_table){routes, count, arg};
}

/* A socket bound to the address, not yet listening; and the port that it really got. */
static int socket_bind(struct http *h, evutil_socket_t *fd_out, struct err *err)
{
    struct sockaddr_storage at = {0};
    socklen_t len;
    bool v6 = strchr(h->address, ':') != NULL;
    if (v6) {
        struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&at;
        in6->sin6_family = AF_INET6;
        in6->sin6_port = htons(h->port);
        inet_pton(AF_INET6, h->address, &in6->sin6_addr);
        len = sizeof(*in6);
    } else {
        struct sockaddr_in *in = (struct sockaddr_in *)&at;
        in->sin_family = AF_INET;
        in->sin_port = htons(h->port);
        inet_pton(AF_INET, h->address, &in->sin_addr);
        len = sizeof(*in);
    }
    AUTO(fd_close) int fd = socket(at.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int on = 1;
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
        bind(fd, (struct sockaddr *)&at, len) < 0 ||
        getsockname(fd, (struct sockaddr *)&at, &len) < 0)
        return err_sys(err, ERR_IO, "listen on %s port %u", h->address, h->port);
    h->port =
        ntohs(v6 ? ((struct sockaddr_in6 *)&at)->sin6_port : ((struct sockaddr_in *)&at)->sin_port);
    *fd_out = STEAL_FD(fd);
    return 0;
}

int http_listen(struct http *h, struct err *err)
{
    evutil_socket_t fd = -1;
    int rc = socket_bind(h, &fd, err);
    if (rc < 0)
        return rc;
    h->listener = evconnlistener_new(
        h->base, NULL, NULL, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_DISABLED,
        LISTEN_BACKLOG, fd);
    if (!h->listener) {
        fd_close(&fd);
        return err_sys(err, ERR_IO, "listen on %s port %u", h->address, h->port);
    }
    if (!evhttp_bind_listener(h->evhttp, h->listener)) { /* sets the accept callback */
        evconnlistener_free(h->listener);
        h->listener = NULL;
        return err_set(err, ERR_INTERNAL, "evhttp does not take the listener");
    }
    evconnlistener_set_error_cb(h->listener, accept_failed);
    evconnlistener_enable(h->listener);
    free_ptr(&h->url);
    h->url = xasprintf(strchr(h->address, ':') ? "%s://[%s]:%u" : "%s://%s:%u",
                       h->tls ? "https" : "http", h->address, h->port);
    return 0;
}

const char *http_url(const struct http *h)
{
    return h->url ? h->url : "";
}

void http_free(struct http **hp)
{
    struct http *h = *hp;
    if (!h)
        return;
    *hp = NULL;
    while (!LIST_EMPTY(&h->calls))
        call_cut(LIST_FIRST(&h->calls));
    if (h->evhttp)
        evhttp_free(h->evhttp); /* frees its listener, connections and their requests */
    if (h->accept_again)
        event_free(h->accept_again);
    SSL_CTX_free(h->tls);
    for (size_t i = 0; h->hosts && h->hosts[i]; i++)
        free((void *)h->hosts[i]);
    free(h->hosts);
    free(h->address);
    free(h->url);
    free(h->web_dir);
    free(h);
}
