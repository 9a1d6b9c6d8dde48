#include "server/http/internal.h"

#include <event2/bufferevent_ssl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "usb/base/mem.h"

static void ctx_free(SSL_CTX **ctx)
{
    SSL_CTX_free(*ctx);
}

static int tls_err(struct err *err, const char *what, const char *path)
{
    char text[160];
    ERR_error_string_n(ERR_get_error(), text, sizeof(text));
    ERR_clear_error();
    return err_set(err, ERR_INPUT, "%s '%s': %s", what, path, text);
}

int tls_open(const char *cert, const char *key, SSL_CTX **out, struct err *err)
{
    AUTO(ctx_free) SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    if (!ctx)
        return err_set(err, ERR_INTERNAL, "OpenSSL has no TLS");
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    if (SSL_CTX_use_certificate_chain_file(ctx, cert) != 1)
        return tls_err(err, "certificate", cert);
    if (SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_check_private_key(ctx) != 1)
        return tls_err(err, "key", key);
    *out = STEAL(ctx);
    return 0;
}

struct bufferevent *tls_bufferevent(struct event_base *base, void *ctx)
{
    SSL *ssl = SSL_new(ctx);
    struct bufferevent *bev = bufferevent_openssl_socket_new(
        base, -1, ssl, BUFFEREVENT_SSL_ACCEPTING, BEV_OPT_CLOSE_ON_FREE);
    if (bev) /* browsers close without close_notify */
        bufferevent_openssl_set_allow_dirty_shutdown(bev, 1);
    return bev;
}
