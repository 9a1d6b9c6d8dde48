#include "server/api/internal.h"

#include <string.h>

#include "usb/base/mem.h"

#define REASON_MAX_BYTES 1000
#define KEEP_MAX_BYTES   64

/* Until there are tokens whoever reaches the station's loopback address decides. */
#define ACTOR "operator"

static void conflicts_list(struct http_call *call, void *arg)
{
    static const char *const names[] = {API_PAGE_NAMES, "state", NULL};
    struct api *a = arg;
    struct err err;
    struct store_page page;
    int rc = api_page(call, names, &page, &err);
    const char *state = http_query(call, "state");
    if (rc == 0 && state && strcmp(state, "open") != 0 && strcmp(state, "resolved") != 0)
        rc = err_set(&err, ERR_INPUT, "query parameter 'state': open or resolved");
    if (rc < 0)
        http_reply_err(call, &err, NULL);
    else
        store_conflict_list(a->store, state, &page, ask_done, ask_new(a, call, 200, NULL));
}

static void conflict_get(struct http_call *call, void *arg)
{
    struct api *a = arg;
    store_conflict_get(a->store, store_id(http_param(call, "id")), ask_done,
                       ask_new(a, call, 200, NULL));
}

static void conflict_resolve(struct http_call *call, void *arg)
{
    struct api *a = arg;
    struct err err;
    json_t *body = NULL;
    struct fields f;
    const char *reason = NULL, *keep = NULL;
    int rc = api_body(call, &f, &body, &err);
    if (rc == 0) {
        reason = fields_string(&f, "reason", REASON_MAX_BYTES);
        keep = fields_string(&f, "keep", KEEP_MAX_BYTES);
        fields_need(&f, "reason");
        if (reason && !reason[strspn(reason, " \t\r\n")])
            fields_fail(&f, "reason", "must say in words why");
        rc = fields_close(&f, &err);
    }
    if (rc < 0)
        http_reply_err(call, &err, NULL);
    else
        store_conflict_resolve(a->store, store_id(http_param(call, "id")), ACTOR, reason, keep,
                               ask_done, ask_new(a, call, 200, NULL));
    json_decref(body);
}

static const struct http_route routes[] = {
    {"GET", API_BASE "/conflicts", conflicts_list, 0, 0},
    {"GET", API_BASE "/conflicts/{id}", conflict_get, 0, 0},
    {"POST", API_BASE "/conflicts/{id}/resolve", conflict_resolve, HTTP_JSON_MAX_BYTES, 0},
};
const struct api_routes api_conflicts_routes = {routes, ARRAY_LEN(routes)};
