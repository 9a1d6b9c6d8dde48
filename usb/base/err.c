#include "usb/base/err.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const struct {
    int code;
    const char *api;
    int http;
    bool retry;
} table[] = {
#define X(name, api, http, retry) {name, api, http, retry},
    ERR_TABLE(X)
#undef X
};

#define COUNT (sizeof(table) / sizeof(table[0]))

int err_set(struct err *err, int code, const char *fmt, ...)
{
    if (err) {
        va_list ap;
        va_start(ap, fmt);
        err->code = code;
        vsnprintf(err->text, sizeof(err->text), fmt, ap);
        va_end(ap);
    }
    return code;
}

int err_sys(struct err *err, int code, const char *fmt, ...)
{
    int saved = errno;
    if (err) {
        va_list ap;
        va_start(ap, fmt);
        err->code = code;
        int n = vsnprintf(err->text, sizeof(err->text), fmt, ap);
        va_end(ap);
        if (n > 0 && (size_t)n < sizeof(err->text))
            snprintf(err->text + n, sizeof(err->text) - (size_t)n, ": %s", strerror(saved));
    }
    return code;
}

int err_in(struct err *err, const char *fmt, ...)
{
    if (!err)
        return ERR_INTERNAL; /* callers that want the code pass an err */
    char place[160];
    char joined[sizeof(err->text)];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(place, sizeof(place), fmt, ap);
    va_end(ap);
    snprintf(joined, sizeof(joined), "%.150s: %.320s", place, err->text);
    memcpy(err->text, joined, sizeof(joined));
    return err->code;
}

void err_clear(struct err *err)
{
    if (err)
        *err = (struct err){0};
}

const char *err_name(int code)
{
    if (code >= 0)
        return "ok";
    for (size_t i = 0; i < COUNT; i++)
        if (table[i].code == code)
            return table[i].api;
    return "internal";
}

int err_http_status(int code)
{
    if (code >= 0)
        return 200;
    for (size_t i = 0; i < COUNT; i++)
        if (table[i].code == code)
            return table[i].http;
    return 500;
}

bool err_may_retry(int code)
{
    for (size_t i = 0; i < COUNT; i++)
        if (table[i].code == code)
            return table[i].retry;
    return false;
}

int err_from_name(const char *name)
{
    for (size_t i = 0; i < COUNT; i++)
        if (strcmp(table[i].api, name) == 0)
            return table[i].code;
    return ERR_INTERNAL;
}
