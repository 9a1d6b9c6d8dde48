#include "server/cli/client_inside.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent_ssl.h>
#include <event2/event.h>
#include <netdb.h>
#include <netinet/in.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "usb/base/mem.h"

enum {
    PROBE_MS = 5000,
    HEADERS_MAX_BYTES = 64 * 1024,
    REPLY_MAX_BYTES = 64 * 1024 * 1024, /* a thousand jobs with their steps are a few */
};

static void advise(struct client *c, const char *advice)
{
    snprintf(c->advice, sizeof(c->advice), "%s", advice ? advice : "");
}

/* ---- the address ------------------------------------------------------------------------------------ */

static void uri_free(struct evhttp_uri **uri)
{
    if (*uri)
        evhttp_uri_free(*uri);
}

/* "https://name:port/prefix", also without scheme, port or prefix. */
static int address_take(struct client *c, const char *text, struct err *err)
{
    c->url = strstr(text, "://") ? xstrdup(text) : xasprintf("http://%s", text);
    for (size_t len = strlen(c->url); len && c->url[len - 1] == '/'; len--)
        c->url[len - 1] = '\0';
    AUTO(uri_free) struct evhttp_uri *uri = evhttp_uri_parse(c->url);
    const char *scheme = uri ? evhttp_uri_get_scheme(uri) : NULL;
    const char *host = uri ? evhttp_uri_get_host(uri) : NULL;
    bool tls = scheme && strcasecmp(scheme, "https") == 0;
    if (!host || !host[0] || evhttp_uri_get_query(uri) ||
        (!tls && strcasecmp(scheme, "http") != 0)) {
        advise(c, "An address looks like " CLIENT_SERVER_DEFAULT " or https://station.example.");
        return err_set(err, ERR_INPUT, "'%s' is not the address of a station", text);
    }
    int port = evhttp_uri_get_port(uri);
    c->port = (uint16_t)(port > 0 ? port : tls ? 443 : 80);
    size_t len = strlen(host);
    bool v6 = host[0] == '[' && host[len - 1] == ']';
    c->host = v6 ? xasprintf("%.*s", (int)len - 2, host + 1) : xstrdup(host);
    c->authority = port > 0 ? xasprintf("%s:%d", host, port) : xstrdup(host);
    c->scheme = xstrdup(tls ? "https" : "http");
    c->prefix = xstrdup(evhttp_uri_get_path(uri) ? evhttp_uri_get_path(uri) : "");
    return 0;
}

static bool is_loopback(const struct sockaddr *a)
{
    if (a->sa_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)(const void *)a)->sin_addr.s_addr) >> 24 == 127;
    return a->sa_family == AF_INET6 &&
           IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)(const void *)a)->sin6_addr);
}

/* 0 or errno. */
static int probe_one(const struct addrinfo *a)
{
    AUTO(fd_close) int fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno;
    if (connect(fd, a->ai_addr, a->ai_addrlen) == 0)
        return 0;
    if (errno != EINPROGRESS)
        return errno;
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    if (poll(&p, 1, PROBE_MS) == 0)
        return ETIMEDOUT;
    int why = 0;
    socklen_t len = sizeof(why);
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &why, &len) < 0 ? errno : why;
}

static void addresses_free(struct addrinfo **list)
{
    if (*list)
        freeaddrinfo(*list);
}

/* `localhost` is two addresses and a station listens on one: the first that answers is taken. */
static int address_probe(struct client *c, struct err *err)
{
    char port[8];
    snprintf(port, sizeof(port), "%u", c->port);
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    AUTO(addresses_free) struct addrinfo *list = NULL;
    int rc = getaddrinfo(c->host, port, &hints, &list);
    if (rc != 0) {
        advise(c, "Check the name in --server URL or FLASHRACK_SERVER.");
        return err_set(err, ERR_GONE, "there is no address for '%s': %s", c->host,
                       gai_strerror(rc));
    }
    int why = 0;
    for (const struct addrinfo *a = list; a; a = a->ai_next) {
        c->local = is_loopback(a->ai_addr);
        why = probe_one(a);
        if (why)
            continue;
        getnameinfo(a->ai_addr, a->ai_addrlen, c->address, sizeof(c->address), NULL, 0,
                    NI_NUMERICHOST);
        return 0;
    }
    advise(
        c,
        "Start it with './run serve' (or 'systemctl start flashrackd'), or name another one with "
        "--server URL or FLASHRACK_SERVER.");
    return err_set(err, ERR_GONE, "no station answers at %s: %s", c->url, strerror(why));
}

/* ---- TLS -------------------------------------------------------------------------------------------- */

static int tls_open(struct client *c, const char *ca_file, struct err *err)
{
    if (strcmp(c->scheme, "https") != 0)
        return 0;
    c->tls = SSL_CTX_new(TLS_client_method());
    if (!c->tls)
        return err_set(err, ERR_INTERNAL, "OpenSSL has no TLS");
    SSL_CTX_set_min_proto_version(c->tls, TLS1_2_VERSION);
    SSL_CTX_set_verify(c->tls, SSL_VERIFY_PEER, NULL);
    if (!ca_file) {
        SSL_CTX_set_default_verify_paths(c->tls);
        return 0;
    }
    if (SSL_CTX_load_verify_locations(c->tls, ca_file, NULL) == 1)
        return 0;
    return err_set(err, ERR_INPUT, "'%s' holds no certificates in PEM form", ca_file);
}

static SSL *tls_new(const struct client *c)
{
    SSL *ssl = SSL_new(c->tls);
    uint8_t numeric[16];
    if (inet_pton(AF_INET, c->host, numeric) == 1 || inet_pton(AF_INET6, c->host, numeric) == 1) {
        X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), c->host);
    } else {
        SSL_set1_host(ssl, c->host);
        SSL_set_tlsext_host_name(ssl, c->host);
    }
    return ssl;
}

static void ssl_free(SSL **ssl)
{
    SSL_free(*ssl);
}

/* ---- opening ---------------------------------------------------------------------------------------- */

/* Options that an empty variable or argument names are not given. */
static const char *option(const char *given, const char *variable, const char *fallback)
{
    if (!given || !given[0])
        given = getenv(variable);
    return given && given[0] ? given : fallback;
}

static void token_warn(const struct client *c)
{
    if (c->token && !c->tls && !c->local)
        fprintf(stderr,
                "flashrack: the token travels to %s without TLS: anyone on the way can read it\n",
                c->authority);
}

int client_open(const struct client_options *options, struct client **out, struct err *err)
{
    struct client *c = xcalloc(1, sizeof(*c));
    *out = c; /* also on failure: it holds the advice */
    signal(SIGPIPE, SIG_IGN);
    int rc =
        address_take(c, option(options->server, "FLASHRACK_SERVER", CLIENT_SERVER_DEFAULT), err);
    if (rc == 0)
        rc = tls_open(c, option(options->ca_file, "FLASHRACK_TLS_CA", NULL), err);
    if (rc == 0)
        rc = address_probe(c, err);
    if (rc < 0)
        return rc;
    c->token = xstrdup(option(options->token, "FLASHRACK_TOKEN", NULL));
    c->base = event_base_new();
    token_warn(c);
    return 0;
}

void client_free(struct client **cp)
{
    struct client *c = *cp;
    if (!c)
        return;
    *cp = NULL;
    if (c->base) {
        event_base_loop(c->base, EVLOOP_NONBLOCK); /* connections are freed on the loop */
        event_base_free(c->base);
    }
    SSL_CTX_free(c->tls);
    free(c->url);
    free(c->scheme);
    free(c->host);
    free(c->authority);
    free(c->prefix);
    free(c->token);
    free(c);
}

const char *client_url(const struct client *c)
{
    return c->url ? c->url : "";
}

bool client_is_local(const struct client *c)
{
    return c->local;
}

const char *client_advice(const struct client *c)
{
    return c ? c->advice : "";
}

/* ---- one exchange ----------------------------------------------------------------------------------- */

struct evhttp_connection *client_connect(struct client *c, int timeout_s, SSL **ssl_out,
                                         struct err *err)
{
    struct bufferevent *bev = NULL;
    if (c->tls) {
        SSL *ssl = tls_new(c);
        SSL_up_ref(ssl);
        *ssl_out = ssl;
        bev = bufferevent_openssl_socket_new(c->base, -1, ssl, BUFFEREVENT_SSL_CONNECTING,
                                             BEV_OPT_CLOSE_ON_FREE);
        if (bev)
            bufferevent_openssl_set_allow_dirty_shutdown(bev, 1);
    }
    struct evhttp_connection *con =
        evhttp_connection_base_bufferevent_new(c->base, NULL, bev, c->address, c->port);
    if (!con) {
        err_set(err, ERR_INTERNAL, "no memory for a connection");
        return NULL;
    }
    evhttp_connection_set_timeout(con, timeout_s);
    evhttp_connection_set_max_headers_size(con, HEADERS_MAX_BYTES);
    return con;
}

void client_headers(const struct client *c, struct evhttp_request *req)
{
    struct evkeyvalq *headers = evhttp_request_get_output_headers(req);
    evhttp_add_header(headers, "Host", c->authority);
    evhttp_add_header(headers, "Connection", "close");
    evhttp_add_header(headers, "User-Agent", "flashrack/" FLASHRACK_VERSION);
    if (c->token) {
        AUTO(free_ptr) char *bearer = xasprintf("Bearer %s", c->token);
        evhttp_add_header(headers, "Authorization", bearer);
    }
}

struct exchange {
    bool done, timed_out;
    struct client_reply reply;
};

static void on_error(enum evhttp_request_error why, void *arg)
{
    ((struct exchange *)arg)->timed_out = why == EVREQ_HTTP_TIMEOUT;
}

static void on_done(struct evhttp_request *req, void *arg)
{
    struct exchange *x = arg;
    x->done = true;
    x->reply.status = req ? evhttp_request_get_response_code(req) : 0;
    if (!x->reply.status)
        return;
    struct evbuffer *in = evhttp_request_get_input_buffer(req);
    size_t len = evbuffer_get_length(in);
    x->reply.text = xcalloc(1, len + 1); /* len: at most REPLY_MAX_BYTES */
    evbuffer_remove(in, x->reply.text, len);
}

int client_no_answer(struct client *c, SSL *ssl, bool timed_out, struct err *err)
{
    long verdict = ssl ? SSL_get_verify_result(ssl) : X509_V_OK;
    if (verdict != X509_V_OK) {
        advise(c, "Name the certificate of the station's authority with --tls-ca FILE, and the "
                  "station as the "
                  "certificate does.");
        return err_set(err, ERR_REFUSED, "the certificate of %s is not trusted: %s", c->url,
                       X509_verify_cert_error_string(verdict));
    }
    if (timed_out) {
        advise(c, "Look at the station's log; what was asked may still be done.");
        return err_set(err, ERR_TIMEOUT, "%s did not answer in time", c->url);
    }
    advise(c,
           "Is this the address of a station, and http or https as it has to be? Look at its log.");
    return err_set(err, ERR_GONE, "%s closed the connection without an answer", c->url);
}

static enum evhttp_cmd_type command_of(const char *method)
{
    if (strcmp(method, "POST") == 0)
        return EVHTTP_REQ_POST;
    return strcmp(method, "PATCH") == 0 ? EVHTTP_REQ_PATCH : EVHTTP_REQ_GET;
}

static void body_put(struct evhttp_request *req, const struct client_request *request)
{
    struct evkeyvalq *headers = evhttp_request_get_output_headers(req);
    evhttp_add_header(headers, "Accept", "application/json");
    if (request->key)
        evhttp_add_header(headers, "Idempotency-Key", request->key);
    if (!request->body)
        return;
    evhttp_add_header(headers, "Content-Type", "application/json");
    AUTO(free_ptr) char *text = json_dumps(request->body, JSON_COMPACT);
    char length[24];
    snprintf(length, sizeof(length), "%zu", strlen(text));
    evhttp_add_header(headers, "Content-Length", length); /* libevent adds none to a PATCH */
    evbuffer_add(evhttp_request_get_output_buffer(req), text, strlen(text));
}

static void connection_free(struct evhttp_connection **con)
{
    if (*con)
        evhttp_connection_free(*con);
}

int client_ask(struct client *c, const struct client_request *request, struct client_reply *out,
               struct err *err)
{
    struct exchange x = {0};
    AUTO(ssl_free) SSL *ssl = NULL;
    AUTO(connection_free)
    struct evhttp_connection *con =
        client_connect(c, request->wait_s ? request->wait_s : CLIENT_WAIT_S, &ssl, err);
    if (!con)
        return ERR_INTERNAL;
    evhttp_connection_set_max_body_size(con, REPLY_MAX_BYTES);
    struct evhttp_request *req = evhttp_request_new(on_done, &x);
    evhttp_request_set_error_cb(req, on_error);
    client_headers(c, req);
    body_put(req, request);
    AUTO(free_ptr) char *path = xasprintf("%s%s", c->prefix, request->path);
    if (evhttp_make_request(con, req, command_of(request->method), path) < 0)
        return client_no_answer(c, ssl, false, err);
    while (!x.done && event_base_loop(c->base, EVLOOP_ONCE) == 0)
        ;
    if (!x.reply.status)
        return client_no_answer(c, ssl, x.timed_out, err);
    *out = x.reply;
    return 0;
}

void client_reply_deinit(struct client_reply *r)
{
    free_ptr(&r->text);
}

/* ---- the API ---------------------------------------------------------------------------------------- */

static void json_free(json_t **j)
{
    json_decref(*j);
}

int client_refusal(struct client *c, int status, const char *text, struct err *err)
{
    AUTO(json_free) json_t *doc = json_loads(text, 0, NULL);
    const char *detail = json_string_value(json_object_get(doc, "detail"));
    const char *code = json_string_value(json_object_get(doc, "code"));
    advise(c, json_string_value(json_object_get(doc, "advice")));
    if (detail)
        return err_set(err, code ? err_from_name(code) : ERR_INTERNAL, "%s", detail);
    advise(c, "Is this the address of a Flashrack station?");
    return err_set(err, ERR_PROTOCOL, "%s answered %d", c->url, status);
}

int client_call(struct client *c, const struct client_request *request, json_t **out,
                struct err *err)
{
    AUTO(client_reply_deinit) struct client_reply reply = {0};
    advise(c, NULL);
    int rc = client_ask(c, request, &reply, err);
    if (rc < 0)
        return rc;
    if (reply.status < 200 || reply.status > 299)
        return client_refusal(c, reply.status, reply.text, err);
    json_t *body = json_loads(reply.text, 0, NULL);
    if (!json_is_object(body)) {
        json_decref(body);
        return client_refusal(c, reply.status, "", err);
    }
    *out = body;
    return 0;
}

int client_get(struct client *c, const char *path, json_t **out, struct err *err)
{
    return client_call(c, &(struct client_request){.method = "GET", .path = path}, out, err);
}

int client_post(struct client *c, const char *path, json_t *body, json_t **out, struct err *err)
{
    AUTO(json_free) json_t *sent = body ? body : json_object();
    return client_call(c, &(struct client_request){.method = "POST", .path = path, .body = sent},
                       out, err);
}

char *client_path(const char *noun, const char *id, const char *verb)
{
    AUTO(free_ptr) char *segment = evhttp_uriencode(id, -1, 0);
    return xasprintf(CLIENT_API "/%s/%s%s%s", noun, segment, verb[0] ? "/" : "", verb);
}

void client_query(char **path, const char *name, const char *value)
{
    if (!value)
        return;
    AUTO(free_ptr) char *encoded = evhttp_uriencode(value, -1, 0);
    char *longer = xasprintf("%s%c%s=%s", *path, strchr(*path, '?') ? '&' : '?', name, encoded);
    free(*path);
    *path = longer;
}
