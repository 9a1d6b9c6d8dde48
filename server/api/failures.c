/* failures.c: the failure catalogue, to look up what a person sees at a phone. */
#include "server/api/internal.h"

#include "usb/base/mem.h"

static void failures_list(struct http_call *call, void *arg)
{
    struct api *a = arg;
    static const char *const none[] = {NULL};
    struct err err;
    if (http_query_only(call, none, &err) < 0) {
        http_reply_err(call, &err, NULL);
        return;
    }
    json_t *body = json_pack("{s:o, s:n}", "items", station_failures(a->station), "next");
    http_reply_json(call, 200, body);
    json_decref(body);
}

static const struct http_route routes[] = {
    {"GET", API_BASE "/failures", failures_list, 0, 0},
};
const struct api_routes api_failures_routes = {routes, ARRAY_LEN(routes)};
