/* fields.h: strict reading of a JSON object. Each call reads one field and marks it as known; the
 * first thing that is wrong is kept, later calls do nothing, and fields_close() reports it or the
 * first field that nobody asked for. null is the same as absent. */
#ifndef FLASHRACK_SERVER_HTTP_FIELDS_H
#define FLASHRACK_SERVER_HTTP_FIELDS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "usb/base/err.h"

#define FIELDS_MAX 24

struct fields {
    json_t *object;    /* borrowed */
    const char *place; /* put before names in messages: "", or "values." */
    struct err err;
    const char *known[FIELDS_MAX];
    size_t known_count;
};

void fields_open(struct fields *f, json_t *object, const char *place);
/* 1 to max_bytes bytes of UTF-8 without control characters; NULL when absent. Borrowed. */
const char *fields_string(struct fields *f, const char *name, size_t max_bytes);
/* The same, but "" is fine, too. */
const char *fields_string_or_empty(struct fields *f, const char *name, size_t max_bytes);
/* One of the NULL-terminated choices; NULL when absent. */
const char *fields_choice(struct fields *f, const char *name, const char *const *choices);
int64_t fields_int(struct fields *f, const char *name, int64_t min, int64_t max, int64_t absent);
int fields_bool(struct fields *f, const char *name); /* 1, 0, or -1 when absent */
/* Fills out[] with borrowed strings; how many. More than `max` is an error. */
size_t fields_strings(struct fields *f, const char *name, const char **out, size_t max,
                      size_t max_bytes);
json_t *fields_object(struct fields *f, const char *name); /* NULL when absent; borrowed */
void fields_need(struct fields *f, const char *name);      /* absent is an error */
/* An error about one field, from the caller's own check; ignored when one is there already. */
void fields_fail(struct fields *f, const char *name, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
int fields_close(struct fields *f, struct err *err);

#endif
