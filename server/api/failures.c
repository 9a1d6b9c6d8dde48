/* failures.c: the failure catalogue, to look up what a person sees at a phone. */
#include "server/api/internal.h"

#include "usb/base/mem.h"

static void failures_list(struct http_call *call, void *arg)
{
    struct api *a = arg;
    api_reply_items(call, station_failures(a->station));
}

static const struct http_route routes[] = {
    {"GET", API_BASE "/failures", failures_list, 0, 0},
};
const struct api_routes api_failures_routes = {routes, ARRAY_LEN(routes)};
