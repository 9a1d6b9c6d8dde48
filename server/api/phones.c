#include "server/api/internal.h"

#include "usb/base/mem.h"

static void phones_list(struct http_call *call, void *arg)
{
    static const char *const names[] = {API_PAGE_NAMES, "chip_id", "serial", NULL};
    struct api *a = arg;
    struct err err;
    struct store_page page;
    if (api_page(call, names, &page, &err) < 0)
        http_reply_err(call, &err, NULL);
    else
        store_phone_list(a->store, http_query(call, "chip_id"), http_query(call, "serial"), &page,
                         ask_done, ask_new(a, call, 200, NULL));
}

static void phone_get(struct http_call *call, void *arg)
{
    struct api *a = arg;
    store_phone_get(a->store, store_id(http_param(call, "id")), ask_done,
                    ask_new(a, call, 200, NULL));
}

static const struct http_route routes[] = {
    {"GET", API_BASE "/phones", phones_list, 0, 0},
    {"GET", API_BASE "/phones/{id}", phone_get, 0, 0},
};
const struct api_routes api_phones_routes = {routes, ARRAY_LEN(routes)};
