#include "server/cli/table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "server/cli/cli.h"
#include "usb/base/mem.h"

enum { COLUMNS_MAX = 12, SLOTS = 8, SLOT_BYTES = 256 };

struct table {
    size_t columns, count, cap; /* cells, the heads among them */
    char **cells;
};

/* Places on a screen, as far as every character takes one. */
static size_t width_of(const char *s)
{
    size_t n = 0;
    for (; *s; s++)
        n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

void table_cell(struct table *t, const char *text)
{
    if (t->count == t->cap) {
        t->cap = t->cap ? 2 * t->cap : 64;
        t->cells = realloc(t->cells, t->cap * sizeof(*t->cells));
        if (!t->cells)
            abort();
    }
    t->cells[t->count++] = xstrdup(text && text[0] ? cli_printable(text) : "-");
}

struct table *table_new(const char *heads)
{
    struct table *t = xcalloc(1, sizeof(*t));
    for (const char *head = heads; *head && t->columns < COLUMNS_MAX; head += strlen(head) + 1) {
        table_cell(t, head);
        t->columns++;
    }
    return t;
}

void table_print(const struct table *t)
{
    size_t widths[COLUMNS_MAX] = {0};
    for (size_t i = 0; i < t->count; i++) {
        size_t column = i % t->columns;
        widths[column] = MAX_OF(widths[column], width_of(t->cells[i]));
    }
    for (size_t i = 0; i < t->count; i++) {
        size_t column = i % t->columns;
        bool last = column + 1 == t->columns;
        fputs(t->cells[i], stdout);
        if (last)
            putchar('\n');
        else
            printf("%*s", (int)(widths[column] - width_of(t->cells[i])) + 2, "");
    }
}

void table_free(struct table **tp)
{
    struct table *t = *tp;
    if (!t)
        return;
    *tp = NULL;
    for (size_t i = 0; i < t->count; i++)
        free(t->cells[i]);
    free(t->cells);
    free(t);
}

/* ---- words ------------------------------------------------------------------------------------------ */

static char *slot(void)
{
    static char slots[SLOTS][SLOT_BYTES];
    static int next;
    return slots[next++ % SLOTS];
}

const char *text_of(json_t *object, const char *key)
{
    json_t *value = json_object_get(object, key);
    if (json_is_string(value))
        return json_string_value(value);
    if (!json_is_integer(value))
        return NULL;
    char *out = slot();
    snprintf(out, SLOT_BYTES, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    return out;
}

const char *text_or_dash(json_t *object, const char *key)
{
    const char *text = text_of(object, key);
    return text && text[0] ? cli_printable(text) : "-";
}

double seconds_of(json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    struct tm utc = {0};
    int ms = 0;
    if (!text || sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d.%3dZ", &utc.tm_year, &utc.tm_mon,
                        &utc.tm_mday, &utc.tm_hour, &utc.tm_min, &utc.tm_sec, &ms) < 6)
        return -1;
    utc.tm_year -= 1900;
    utc.tm_mon -= 1;
    return (double)timegm(&utc) + ms / 1000.0;
}

const char *text_time(json_t *object, const char *key)
{
    double at = seconds_of(object, key);
    if (at < 0)
        return text_of(object, key);
    time_t whole = (time_t)at;
    struct tm local;
    char *out = slot();
    strftime(out, SLOT_BYTES, "%Y-%m-%d %H:%M:%S", localtime_r(&whole, &local));
    return out;
}

const char *text_duration(double seconds)
{
    char *out = slot();
    long s = (long)(seconds + 0.5);
    if (s < 60)
        snprintf(out, SLOT_BYTES, "%ld s", s);
    else if (s < 3600)
        snprintf(out, SLOT_BYTES, "%ld min %ld s", s / 60, s % 60);
    else
        snprintf(out, SLOT_BYTES, "%ld h %ld min", s / 3600, s % 3600 / 60);
    return out;
}
