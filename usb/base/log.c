#include "usb/base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "usb/base/clock.h"

static enum log_level least_level = LOG_INFO;
static int as_json;
static const char *program = "flashrack";
static const char *const level_names[] = {"debug", "info", "warn", "error"};

enum { VALUE_MAX = 300, LINE_MAX_BYTES = 4000 };

void log_level_set(enum log_level least)
{
    least_level = least;
}

void log_json_set(int on)
{
    as_json = on;
}

void log_program_set(const char *name)
{
    program = name;
}

struct line {
    char text[LINE_MAX_BYTES];
    size_t len;
};

static void put_raw(struct line *l, const char *s, size_t n)
{
    if (n > sizeof(l->text) - 2 - l->len)
        n = sizeof(l->text) - 2 - l->len;
    memcpy(l->text + l->len, s, n);
    l->len += n;
}

static void put_text(struct line *l, const char *s)
{
    put_raw(l, s, strlen(s));
}

static void put_quoted(struct line *l, const char *s)
{
    put_raw(l, "\"", 1);
    for (size_t i = 0; s[i] && i < VALUE_MAX; i++) {
        unsigned char c = (unsigned char)s[i];
        char esc[8];
        if (c == '"' || c == '\\')
            snprintf(esc, sizeof(esc), "\\%c", c);
        else if (c < 0x20 || c == 0x7f)
            snprintf(esc, sizeof(esc), "\\u%04x", c);
        else
            snprintf(esc, sizeof(esc), "%c", c);
        put_text(l, esc);
    }
    put_raw(l, "\"", 1);
}

static int is_plain(const char *s)
{
    if (!*s || strlen(s) > VALUE_MAX)
        return 0;
    for (; *s; s++)
        if ((unsigned char)*s <= 0x20 || *s == '"' || *s == '\\' || *s == '=' || *s == 0x7f)
            return 0;
    return 1;
}

static void put_field(struct line *l, const char *key, const char *value, int first)
{
    if (as_json) {
        put_text(l, first ? "{" : ",");
        put_quoted(l, key);
        put_text(l, ":");
        put_quoted(l, value);
        return;
    }
    if (!first)
        put_text(l, " ");
    put_text(l, key);
    put_text(l, "=");
    if (is_plain(value) && strcmp(key, "msg") != 0)
        put_text(l, value);
    else
        put_quoted(l, value);
}

void log_line(enum log_level level, const char *mod, const struct log_field *fields,
              const char *fmt, ...)
{
    if (level < least_level)
        return;
    char msg[600];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(msg, sizeof(msg), fmt, ap);
    va_end(ap);

    char at[CLOCK_TEXT_BYTES];
    clock_rfc3339(clock_utc_ms(), at);
    struct line l = {.len = 0};
    put_field(&l, "at", at, 1);
    put_field(&l, "level", level_names[level], 0);
    put_field(&l, "prog", program, 0);
    put_field(&l, "mod", mod, 0);
    for (; fields && fields->key; fields++)
        if (fields->value)
            put_field(&l, fields->key, fields->value, 0);
    put_field(&l, "msg", msg, 0);
    if (as_json)
        put_text(&l, "}");
    l.text[l.len++] = '\n';
    ssize_t n = write(STDERR_FILENO, l.text, l.len);
    (void)n; /* there is nowhere to report a failing log */
}
