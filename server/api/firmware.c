#include "server/api/internal.h"

#include "usb/base/mem.h"

#define PATH_MAX_BYTES  1024
#define ADD_DEADLINE_MS (10 * 60 * 1000) /* a worker hashes some gigabytes meanwhile */

static void firmware_list(struct http_call *call, void *arg)
{
    static const char *const names[] = {API_PAGE_NAMES, NULL};
    struct api *a = arg;
    struct err err;
    struct store_page page;
    if (api_page(call, names, &page, &err) < 0)
        http_reply_err(call, &err, NULL);
    else
        store_firmware_list(a->store, &page, ask_done, ask_new(a, call, 200, NULL));
}

static void firmware_get(struct http_call *call, void *arg)
{
    struct api *a = arg;
    store_firmware_get(a->store, store_id(http_param(call, "id")), ask_done,
                       ask_new(a, call, 200, NULL));
}

static void firmware_post(struct http_call *call, void *arg)
{
    struct api *a = arg;
    struct err err;
    json_t *body = NULL;
    struct fields f;
    const char *path = NULL;
    int rc = api_body(call, &f, &body, &err);
    if (rc == 0) {
        path = fields_string(&f, "path", PATH_MAX_BYTES);
        fields_need(&f, "path");
        rc = fields_close(&f, &err);
    }
    if (rc < 0)
        http_reply_err(call, &err, NULL);
    else
        station_firmware_add(a->station, path, ask_done,
                             ask_new(a, call, 201, API_BASE "/firmware"));
    json_decref(body);
}

static const struct http_route routes[] = {
    {"GET", API_BASE "/firmware", firmware_list, 0, 0},
    {"POST", API_BASE "/firmware", firmware_post, HTTP_JSON_MAX_BYTES, ADD_DEADLINE_MS},
    {"GET", API_BASE "/firmware/{id}", firmware_get, 0, 0},
};
const struct api_routes api_firmware_routes = {routes, ARRAY_LEN(routes)};
