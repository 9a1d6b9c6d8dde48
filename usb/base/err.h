/* err.h: the one table of errors. A function that can fail returns zero or more on success and a
 * negative ERR_* on failure, and writes a sentence into the last parameter, `err` (which may be NULL).
 * A code says what to do next and travels unchanged from the worker to the page. */
#ifndef FLASHRACK_USB_BASE_ERR_H
#define FLASHRACK_USB_BASE_ERR_H

#include <stdarg.h>
#include <stdbool.h>

/* name, API string, HTTP status, worth a retry without a change */
#define ERR_TABLE(X)                                                                               \
    X(ERR_TIMEOUT, "timeout", 504, true)        /* no answer before the deadline */                \
    X(ERR_GONE, "device_gone", 503, true)       /* unplugged, re-enumerated, peer closed */        \
    X(ERR_IO, "io", 500, true)                  /* the system or the bus failed */                 \
    X(ERR_REFUSED, "refused", 409, false)       /* the phone or a law said no */                   \
    X(ERR_PROTOCOL, "protocol", 502, false)     /* the other side broke the protocol */            \
    X(ERR_FORMAT, "bad_format", 422, false)     /* a file or document is not what it should be */  \
    X(ERR_LIMIT, "limit", 413, false)           /* larger than we accept */                        \
    X(ERR_INPUT, "bad_input", 422, false)       /* a request or option does not fit */             \
    X(ERR_NOT_FOUND, "not_found", 404, false)   /* no such thing */                                \
    X(ERR_CONFLICT, "conflict", 409, false)     /* exists already, or state does not allow it */   \
    X(ERR_MISMATCH, "mismatch", 422, false)     /* two things that must agree do not */            \
    X(ERR_AUTH_NEEDED, "auth_needed", 409, false) /* phone wants its owner's authentication */     \
    X(ERR_STORAGE, "storage", 500, false)       /* the phone's flash failed */                     \
    X(ERR_VERIFY, "verify_failed", 500, true)   /* read back differs from what was sent */         \
    X(ERR_CANCELLED, "cancelled", 409, false)   /* a person stopped it */                          \
    X(ERR_UNSUPPORTED, "unsupported", 501, false) /* known, but not by this build or phone */      \
    X(ERR_DEAD, "needs_replug", 503, true)      /* link state lost for good: re-plug the phone */  \
    X(ERR_DISK, "station_disk", 507, true)      /* the station's own disk is full or fails */       \
    X(ERR_INTERNAL, "internal", 500, false)     /* our bug */

enum err_code {
    ERR_OK_ = 0,
#define X(name, api, http, retry) name##_ORDINAL_,
    ERR_TABLE(X)
#undef X
};
enum {
#define X(name, api, http, retry) name = -(int)name##_ORDINAL_,
    ERR_TABLE(X)
#undef X
};

struct err {
    int code; /* ERR_*, 0 when nothing went wrong */
    char text[480];
};

/* Sets code and text, returns code. `err` may be NULL. */
int err_set(struct err *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* The same, with ": strerror(errno)" appended. */
int err_sys(struct err *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Puts the place in front ("place: what went wrong") and returns the code that is already there. */
int err_in(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void err_clear(struct err *err);

const char *err_name(int code);    /* API string, "ok" for >= 0, "internal" for unknown codes */
int err_http_status(int code);     /* 200 for >= 0 */
bool err_may_retry(int code);
int err_from_name(const char *name); /* ERR_*, ERR_INTERNAL when the name is unknown */

#endif
