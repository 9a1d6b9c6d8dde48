/* schema.c: schema/openapi.json, put into the program as it is. It is made from openapi.yaml; the
 * web tests compare the two. */
#include "server/api/internal.h"

#include "usb/base/mem.h"

__asm__(".section .rodata\n"
        ".global openapi_json\n"
        "openapi_json:\n"
        ".incbin \"" OPENAPI_JSON "\"\n"
        ".byte 0\n"
        ".previous\n");
extern const char openapi_json[];

static void openapi_get(struct http_call *call, void *arg)
{
    (void)arg;
    http_reply_text(call, 200, "application/json", openapi_json);
}

static const struct http_route routes[] = {
    {"GET", API_BASE "/openapi.json", openapi_get, 0, 0},
};
const struct api_routes api_schema_routes = {routes, ARRAY_LEN(routes)};
