#include "server/http/fields.h"

#include <assert.h>
#include <stdarg.h>
#include <string.h>

void fields_open(struct fields *f, json_t *object, const char *place)
{
    *f = (struct fields){.object = object, .place = place};
}

void fields_fail(struct fields *f, const char *name, const char *fmt, ...)
{
    if (f->err.code < 0)
        return;
    char why[200];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(why, sizeof(why), fmt, ap);
    va_end(ap);
    err_set(&f->err, ERR_INPUT, "field '%s%s': %s", f->place, name, why);
}

/* The field's value, NULL when absent or null; remembers that the name is known. */
static json_t *field(struct fields *f, const char *name)
{
    assert(f->known_count < FIELDS_MAX);
    f->known[f->known_count++] = name;
    json_t *value = json_object_get(f->object, name);
    return json_is_null(value) ? NULL : value;
}

/* Control characters have no business in any of our fields: scanners append them, logs suffer. */
static const char *text_check(struct fields *f, const char *name, json_t *value, size_t max_bytes)
{
    const char *text = json_string_value(value);
    if (!text) {
        fields_fail(f, name, "must be a string");
        return NULL;
    }
    size_t len = json_string_length(value);
    if (len == 0 || len > max_bytes) {
        fields_fail(f, name, "must have 1 to %zu bytes", max_bytes);
        return NULL;
    }
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f) {
            fields_fail(f, name, "must not hold control characters");
            return NULL;
        }
    }
    return text;
}

const char *fields_string(struct fields *f, const char *name, size_t max_bytes)
{
    json_t *value = field(f, name);
    return value ? text_check(f, name, value, max_bytes) : NULL;
}

const char *fields_string_or_empty(struct fields *f, const char *name, size_t max_bytes)
{
    const char *text = json_string_value(json_object_get(f->object, name));
    if (!text || text[0])
        return fields_string(f, name, max_bytes);
    field(f, name);
    return text;
}

const char *fields_choice(struct fields *f, const char *name, const char *const *choices)
{
    json_t *value = field(f, name);
    const char *text = value ? text_check(f, name, value, 64) : NULL;
    if (!text)
        return NULL;
    char list[160] = "";
    for (size_t i = 0; choices[i]; i++) {
        if (strcmp(choices[i], text) == 0)
            return choices[i];
        size_t len = strlen(list);
        snprintf(list + len, sizeof(list) - len, "%s%s", len ? ", " : "", choices[i]);
    }
    fields_fail(f, name, "must be one of: %s", list);
    return NULL;
}

int64_t fields_int(struct fields *f, const char *name, int64_t min, int64_t max, int64_t absent)
{
    json_t *value = field(f, name);
    if (!value)
        return absent;
    if (!json_is_integer(value) || json_integer_value(value) < min ||
        json_integer_value(value) > max) {
        fields_fail(f, name, "must be a whole number from %lld to %lld", (long long)min,
                    (long long)max);
        return absent;
    }
    return json_integer_value(value);
}

int fields_bool(struct fields *f, const char *name)
{
    json_t *value = field(f, name);
    if (!value)
        return -1;
    if (!json_is_boolean(value)) {
        fields_fail(f, name, "must be true or false");
        return -1;
    }
    return json_is_true(value);
}

size_t fields_strings(struct fields *f, const char *name, const char **out, size_t max,
                      size_t max_bytes)
{
    json_t *value = field(f, name), *item;
    if (!value)
        return 0;
    if (!json_is_array(value) || json_array_size(value) > max) {
        fields_fail(f, name, "must be a list of at most %zu strings", max);
        return 0;
    }
    size_t i;
    json_array_foreach(value, i, item)
    {
        out[i] = text_check(f, name, item, max_bytes);
        if (!out[i])
            return 0;
    }
    return json_array_size(value);
}

json_t *fields_object(struct fields *f, const char *name)
{
    json_t *value = field(f, name);
    if (value && !json_is_object(value)) {
        fields_fail(f, name, "must be an object");
        return NULL;
    }
    return value;
}

void fields_need(struct fields *f, const char *name)
{
    json_t *value = json_object_get(f->object, name);
    if (!value || json_is_null(value))
        fields_fail(f, name, "is missing");
}

int fields_close(struct fields *f, struct err *err)
{
    const char *name;
    json_t *value;
    json_object_foreach(f->object, name, value)
    {
        bool known = false;
        for (size_t i = 0; i < f->known_count && !known; i++)
            known = strcmp(f->known[i], name) == 0;
        if (!known) {
            char shown[65]; /* a hostile name may be long */
            snprintf(shown, sizeof(shown), "%s", name);
            fields_fail(f, shown, "is not known here");
        }
    }
    if (f->err.code < 0)
        return err_set(err, f->err.code, "%s", f->err.text);
    return 0;
}
