/* client_inside.h: what client.c and client_stream.c share. */
#ifndef FLASHRACK_SERVER_CLI_CLIENT_INSIDE_H
#define FLASHRACK_SERVER_CLI_CLIENT_INSIDE_H

#include <event2/http.h>
#include <openssl/ssl.h>

#include "server/cli/client.h"

struct client {
    struct event_base *base;
    char *url, *scheme, *host, *authority, *prefix, *token;
    char address[64]; /* numeric, where somebody listens */
    uint16_t port;
    SSL_CTX *tls; /* NULL: plain */
    bool local;
    char advice[512];
};

/* A connection of its own; *ssl_out is a reference that the caller frees (NULL without TLS). */
struct evhttp_connection *client_connect(struct client *c, int timeout_s, SSL **ssl_out,
                                         struct err *err);
void client_headers(const struct client *c, struct evhttp_request *req);
/* Why a connection brought no answer: certificate, deadline, or gone. */
int client_no_answer(struct client *c, SSL *ssl, bool timed_out, struct err *err);
/* What a reply of 4xx or 5xx says. Fills the advice. */
int client_refusal(struct client *c, int status, const char *text, struct err *err);

#endif
