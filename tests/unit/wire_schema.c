/* schema/wire/<name>.json says what the codec does. The codec is asked: what it writes for an empty message gives
 * names and kinds, what it still takes gives the lengths. `wire_schema FOLDER` compares, `wire_schema FOLDER
 * --write` makes the files (descriptions that are there stay). */
#include "tests/unit/rows.h"

#include <stdio.h>

#include "usb/base/mem.h"
#include "usb/wire/wire.h"

static const char *folder;

static const struct row {
    const char *name, *sender;
    enum wire_type type;
    int descriptors;
} rows[] = {
#define X(name, sender, fds) {#name, sender, WIRE_##name, fds},
    WIRE_MESSAGES(X)
#undef X
};

static bool accepts(json_t *message)
{
    struct wire_message m = {.fd = -1};
    AUTO(free_ptr) char *text = json_dumps(message, JSON_COMPACT);
    int rc = wire_decode(text, strlen(text), &m, NULL);
    wire_message_deinit(&m);
    return rc == 0;
}

/* The longest text that this field takes. */
static int longest(json_t *message, const char *field)
{
    static char text[WIRE_MESSAGE_MAX_BYTES];
    json_t *copy = json_deep_copy(message);
    int length = 0;
    for (bool fits = true; fits && length < WIRE_MESSAGE_MAX_BYTES - 1; length += fits) {
        memset(text, 'x', (size_t)length + 1);
        text[length + 1] = '\0';
        json_object_set_new(copy, field, json_string(text));
        fits = accepts(copy);
    }
    json_decref(copy);
    return length;
}

/* Objects are optional in that null stands for none. */
static json_t *property(json_t *message, const char *field, json_t *value)
{
    if (json_is_integer(value))
        return json_pack("{s:s}", "type", "integer");
    if (json_is_string(value))
        return json_pack("{s:s, s:i}", "type", "string", "maxLength", longest(message, field));
    return json_pack("{s:[s,s]}", "type", "object", "null");
}

static json_t *schema_of(const struct row *row)
{
    struct wire_message empty = {.type = row->type, .fd = -1};
    json_t *message = wire_encode(&empty), *properties = json_object(), *required = json_array();
    const char *field;
    json_t *value;
    json_object_foreach(message, field, value)
    {
        bool is_type = strcmp(field, "type") == 0;
        json_object_set_new(properties, field,
                            is_type ? json_pack("{s:s}", "const", row->name)
                                    : property(message, field, value));
        json_array_append_new(required, json_string(field));
    }
    json_decref(message);
    return json_pack("{s:s, s:s, s:s, s:s, s:i, s:s, s:b, s:o, s:o}", "$schema",
                     "https://json-schema.org/draft/2020-12/schema", "title", row->name,
                     "description", "", "x-sender", row->sender, "x-descriptors", row->descriptors,
                     "type", "object", "additionalProperties", false, "required", required,
                     "properties", properties);
}

static json_t *load(const struct row *row)
{
    AUTO(free_ptr) char *path = xasprintf("%s/%s.json", folder, row->name);
    return json_load_file(path, 0, NULL);
}

static void file_equals_codec(void **state)
{
    const struct row *row = ROW(state);
    json_t *want = schema_of(row), *have = load(row);
    assert_non_null(have);
    const char *description = json_string_value(json_object_get(have, "description"));
    assert_true(description && description[0]);
    json_object_set(want, "description", json_object_get(have, "description"));
    assert_true(json_equal(want, have));
    json_decref(want);
    json_decref(have);
}

static void write_all(void)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        json_t *schema = schema_of(&rows[i]), *old = load(&rows[i]);
        AUTO(free_ptr) char *path = xasprintf("%s/%s.json", folder, rows[i].name);
        if (old)
            json_object_set(schema, "description", json_object_get(old, "description"));
        if (json_dump_file(schema, path, JSON_INDENT(1)) < 0)
            perror(path);
        json_decref(schema);
        json_decref(old);
    }
}

int main(int argc, char **argv)
{
    if (argc < 2)
        return 2;
    folder = argv[1];
    if (argc == 3 && strcmp(argv[2], "--write") == 0) {
        write_all();
        return 0;
    }
    return RUN_ROWS(file_equals_codec, rows);
}
