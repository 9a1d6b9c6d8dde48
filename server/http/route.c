#include "server/http/internal.h"

#include <string.h>

#include "usb/base/mem.h"

#define SEGMENT_MAX_BYTES 256

static void params_clear(struct http_call *call)
{
    for (size_t i = 0; i < call->param_count; i++)
        free(call->params[i].value);
    call->param_count = 0;
}

/* One path segment, percent-decoded, under the name in the pattern. A decoded NUL or slash would
 * mean something else to whoever reads the value, so such a path matches nothing. */
static bool param_take(struct http_call *call, const char *name, size_t name_len, const char *text,
                       size_t text_len)
{
    if (text_len == 0 || text_len > SEGMENT_MAX_BYTES || call->param_count == HTTP_PARAMS_MAX)
        return false;
    struct http_param_value *p = &call->params[call->param_count];
    AUTO(free_ptr) char *raw = xasprintf("%.*s", (int)text_len, text);
    size_t decoded_len;
    AUTO(free_ptr) char *value = evhttp_uridecode(raw, 0, &decoded_len);
    if (!value || strlen(value) != decoded_len || strchr(value, '/'))
        return false;
    if (name_len >= sizeof(p->name))
        abort(); /* our bug: a pattern's name too long */
    memcpy(p->name, name, name_len);
    p->name[name_len] = 0;
    p->value = STEAL(value);
    call->param_count++;
    return true;
}

static bool pattern_match(struct http_call *call, const char *pattern, const char *path)
{
    while (*pattern && *path) {
        size_t path_len = strcspn(path + 1, "/") + 1; /* with its slash */
        size_t pattern_len = strcspn(pattern + 1, "/") + 1;
        if (*path != '/')
            return false;
        if (pattern[1] == '{') {
            if (!param_take(call, pattern + 2, pattern_len - 3, path + 1, path_len - 1))
                return false;
        } else if (path_len != pattern_len || memcmp(path, pattern, path_len) != 0) {
            return false;
        }
        path += path_len;
        pattern += pattern_len;
    }
    return !*pattern && !*path;
}

static bool method_match(const char *route, const char *method)
{
    return strcmp(route, method) == 0 ||
           (strcmp(route, "GET") == 0 && strcmp(method, "HEAD") == 0); /* evhttp drops the body */
}

static void allow_add(char allow[64], const char *method)
{
    size_t len = strlen(allow);
    if (!strstr(allow, method))
        snprintf(allow + len, 64 - len, "%s%s", len ? ", " : "", method);
}

int route_find(struct http_call *call, const char *path, void **arg_out, char allow[64])
{
    /* the first that fits: /ports/topology is no {id} of a later route */
    const char *pattern = NULL;
    allow[0] = 0;
    for (size_t t = 0; t < call->http->table_count; t++) {
        const struct http_table *table = &call->http->tables[t];
        for (size_t i = 0; i < table->count; i++) {
            const struct http_route *route = &table->routes[i];
            if ((pattern && strcmp(pattern, route->pattern) != 0) ||
                !pattern_match(call, route->pattern, path)) {
                params_clear(call);
                continue;
            }
            pattern = route->pattern;
            if (method_match(route->method, call_method(call))) {
                call->route = route;
                *arg_out = table->arg;
                return 0;
            }
            params_clear(call);
            allow_add(allow, route->method);
        }
    }
    return allow[0] ? ERR_CONFLICT : ERR_NOT_FOUND;
}

const char *http_param(const struct http_call *call, const char *name)
{
    for (size_t i = 0; i < call->param_count; i++)
        if (strcmp(call->params[i].name, name) == 0)
            return call->params[i].value;
    return NULL;
}
