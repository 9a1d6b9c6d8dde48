/* db.c: the station's databases as a whole: copies of them, and a check. */
#include "server/api/internal.h"

#include "usb/base/mem.h"

#define PATH_MAX_BYTES   1024
#define WORK_DEADLINE_MS (10 * 60 * 1000) /* both files are read and written whole */

static void db_backup(struct http_call *call, void *arg)
{
    struct api *a = arg;
    struct err err;
    json_t *body = NULL;
    struct fields f;
    const char *path = NULL;
    int rc = api_body(call, &f, &body, &err);
    if (rc == 0) {
        path = fields_string(&f, "path", PATH_MAX_BYTES);
        rc = fields_close(&f, &err);
    }
    if (rc < 0)
        http_reply_err(call, &err, NULL);
    else
        store_copy(a->store, path, ask_done, ask_new(a, call, 201, NULL));
    json_decref(body);
}

static void db_check(struct http_call *call, void *arg)
{
    struct api *a = arg;
    struct err err;
    if (api_no_body(call, &err) < 0)
        http_reply_err(call, &err, NULL);
    else
        store_check(a->store, ask_done, ask_new(a, call, 200, NULL));
}

static const struct http_route routes[] = {
    {"POST", API_BASE "/db/backup", db_backup, HTTP_JSON_MAX_BYTES, WORK_DEADLINE_MS},
    {"POST", API_BASE "/db/check", db_check, HTTP_JSON_MAX_BYTES, WORK_DEADLINE_MS},
};
const struct api_routes api_db_routes = {routes, ARRAY_LEN(routes)};
