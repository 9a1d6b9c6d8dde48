#include "server/store/resources.h"

#include <inttypes.h>
#include <string.h>

#include "usb/base/mem.h"

int answer_with(struct task *task, int found, json_t *body, const char *what, int64_t id)
{
    if (found < 0)
        return found;
    if (found == 0)
        return err_set(&task->err, ERR_NOT_FOUND, "no %s %" PRId64, what, id);
    json_decref(task->body);
    task->body = body;
    return 0;
}

/* Bytes of the UTF-8 sequence that begins here, by its lead byte alone; 1 for what can not begin
 * one. */
static size_t sequence_bytes(unsigned char lead)
{
    if (lead >= 0xf0 && lead < 0xf5)
        return 4;
    if (lead >= 0xe0)
        return lead < 0xf0 ? 3 : 1;
    return lead >= 0xc2 ? 2 : 1;
}

char *utf8_copy(const char *text)
{
    char *copy = xstrdup(text);
    for (size_t at = 0; copy[at];) {
        size_t len = sequence_bytes((unsigned char)copy[at]);
        json_t *probe = json_stringn(copy + at, strnlen(copy + at, len)); /* NULL: not UTF-8 */
        if (!probe) {
            copy[at] = '?';
            len = 1;
        }
        json_decref(probe);
        at += strnlen(copy + at, len);
    }
    return copy;
}

json_t *string_list(const char *const *strings, size_t max)
{
    json_t *list = json_array();
    for (size_t i = 0; i < max && strings[i]; i++)
        if (json_array_append_new(list, json_string(strings[i])) < 0) {
            json_decref(list); /* not UTF-8: lane_submit answers ERR_INPUT */
            return NULL;
        }
    return list;
}

json_t *id_or_null(int64_t id)
{
    return id ? json_integer(id) : json_null();
}

int64_t arg_int(const struct task *task, const char *key)
{
    return json_integer_value(json_object_get(task->args, key));
}

const char *arg_text(const struct task *task, const char *key)
{
    return json_string_value(json_object_get(task->args, key));
}
