/* client_download.c: an answer that is bytes for a file, as many as there are. */
#include <event2/buffer.h>
#include <event2/event.h>
#include <string.h>

#include "server/cli/client_inside.h"
#include "usb/base/io.h"
#include "usb/base/mem.h"

enum { PROBLEM_MAX_BYTES = 64 * 1024 };

struct download {
    bool done, timed_out;
    int status, fd;
    struct hasher *hasher;
    char problem[PROBLEM_MAX_BYTES]; /* of an answer that is none */
    size_t problem_len;
    struct err err; /* of our own disk */
};

/* libevent throws away what is left in the buffer when this returns. */
static void on_piece(struct evhttp_request *req, void *arg)
{
    struct download *d = arg;
    uint8_t piece[65536];
    struct evbuffer *in = evhttp_request_get_input_buffer(req);
    for (int n; (n = evbuffer_remove(in, piece, sizeof(piece))) > 0;) {
        size_t len = (size_t)n, space = sizeof(d->problem) - 1 - d->problem_len;
        if (evhttp_request_get_response_code(req) != 200) {
            memcpy(d->problem + d->problem_len, piece, MIN_OF(len, space));
            d->problem_len += MIN_OF(len, space);
        } else if (!d->err.code) {
            hasher_update(d->hasher, piece, len);
            io_write(d->fd, piece, len, &d->err);
        }
    }
}

static void on_error(enum evhttp_request_error why, void *arg)
{
    ((struct download *)arg)->timed_out = why == EVREQ_HTTP_TIMEOUT;
}

static void on_done(struct evhttp_request *req, void *arg)
{
    struct download *d = arg;
    d->done = true;
    d->status = req ? evhttp_request_get_response_code(req) : 0;
}

static void free_connection(struct evhttp_connection **con)
{
    if (*con)
        evhttp_connection_free(*con);
}

static void free_ssl(SSL **ssl)
{
    SSL_free(*ssl);
}

static int fetch(struct client *c, const char *path, struct download *d, struct err *err)
{
    AUTO(free_ssl) SSL *ssl = NULL;
    AUTO(free_connection)
    struct evhttp_connection *con = client_connect(c, CLIENT_WORK_WAIT_S, &ssl, err);
    if (!con)
        return ERR_INTERNAL;
    struct evhttp_request *req = evhttp_request_new(on_done, d);
    evhttp_request_set_error_cb(req, on_error);
    evhttp_request_set_chunked_cb(req, on_piece);
    client_headers(c, req);
    AUTO(free_ptr) char *whole = xasprintf("%s%s", c->prefix, path);
    if (evhttp_make_request(con, req, EVHTTP_REQ_GET, whole) < 0)
        return client_no_answer(c, ssl, false, err);
    while (!d->done && event_base_loop(c->base, EVLOOP_ONCE) == 0)
        ;
    return d->status ? 0 : client_no_answer(c, ssl, d->timed_out, err);
}

int client_download(struct client *c, const char *path, int fd, struct sha256 *out, struct err *err)
{
    AUTO(hasher_free) struct hasher *hasher = hasher_new();
    AUTO(free_ptr) struct download *d = xcalloc(1, sizeof(*d));
    d->fd = fd;
    d->hasher = hasher;
    int rc = fetch(c, path, d, err);
    if (rc < 0)
        return rc;
    if (d->status != 200)
        return client_refusal(c, d->status, d->problem, err);
    if (d->err.code) {
        *err = d->err;
        return err->code;
    }
    *out = hasher_finish(hasher);
    return 0;
}
