#include "server/api/internal.h"

#include <stdio.h>
#include <string.h>

#include "usb/base/io.h"
#include "usb/base/mem.h"

#define PART_BYTES         (256 * 1024)
#define PATH_MAX_BYTES     1024
#define VERIFY_DEADLINE_MS (5 * 60 * 1000)  /* others may be read before it */
#define IMPORT_DEADLINE_MS (10 * 60 * 1000) /* a dump of 64 GB is hashed by a worker meanwhile */

static void backups_list(struct http_call *call, void *arg)
{
    static const char *const names[] = {API_PAGE_NAMES, "phone_id", "serial", "damaged", NULL};
    struct api *a = arg;
    struct err err;
    struct store_page page;
    int rc = api_page(call, names, &page, &err);
    const char *phone = http_query(call, "phone_id");
    if (rc == 0 && phone && !store_id(phone))
        rc = err_set(&err, ERR_INPUT, "query parameter 'phone_id': not an id");
    const char *damaged = http_query(call, "damaged");
    if (rc == 0 && damaged && (strcmp(damaged, "true") != 0 || phone || http_query(call, "serial")))
        rc = err_set(&err, ERR_INPUT,
                     "query parameter 'damaged': must be true, and is given without phone_id and "
                     "serial");
    if (rc < 0)
        http_reply_err(call, &err, NULL);
    else if (damaged)
        store_backup_damaged(a->store, &page, ask_done, ask_new(a, call, 200, NULL));
    else
        store_backup_list(a->store, phone ? store_id(phone) : 0, http_query(call, "serial"), &page,
                          ask_done, ask_new(a, call, 200, NULL));
}

static void backup_get(struct http_call *call, void *arg)
{
    struct api *a = arg;
    store_backup_get(a->store, store_id(http_param(call, "id")), ask_done,
                     ask_new(a, call, 200, NULL));
}

/* ---- POST: a read-back dump, or a folder of images, becomes a backup ---- */

static void backup_post(struct http_call *call, void *arg)
{
    struct api *a = arg;
    struct err err;
    json_t *body = NULL;
    struct fields f;
    struct backup_import order = {0};
    int rc = api_body(call, &f, &body, &err);
    if (rc == 0) {
        order.path = fields_string(&f, "path", PATH_MAX_BYTES);
        order.serial = fields_string(&f, "serial", 64);
        order.scatter = fields_string(&f, "scatter", PATH_MAX_BYTES);
        order.offset_bytes = fields_int(&f, "offset", 0, INT64_MAX, 0);
        fields_need(&f, "path");
        fields_need(&f, "serial");
        if (order.serial)
            api_check_serial(&f, "serial", order.serial);
        if (order.scatter && order.scatter[0] != '/' && !store_id(order.scatter))
            fields_fail(&f, "scatter",
                        "an absolute path on the station, or the id of a firmware package");
        rc = fields_close(&f, &err);
    }
    if (rc < 0)
        http_reply_err(call, &err, NULL);
    else
        station_backup_import(a->station, &order, ask_done,
                              ask_new(a, call, 201, API_BASE "/backups"));
    json_decref(body);
}

static void backup_verify(struct http_call *call, void *arg)
{
    struct api *a = arg;
    struct err err;
    if (api_no_body(call, &err) < 0)
        http_reply_err(call, &err, NULL);
    else
        store_backup_verify(a->store, store_id(http_param(call, "id")), ask_done,
                            ask_new(a, call, 200, NULL));
}

static void backup_pin(struct http_call *call, void *arg)
{
    struct api *a = arg;
    struct err err;
    json_t *body = NULL;
    struct fields f;
    int pinned = -1, rc = api_body(call, &f, &body, &err);
    if (rc == 0) {
        pinned = fields_bool(&f, "pinned");
        fields_need(&f, "pinned");
        rc = fields_close(&f, &err);
    }
    if (rc < 0)
        http_reply_err(call, &err, NULL);
    else
        store_backup_pin(a->store, store_id(http_param(call, "id")), pinned == 1, NULL, ask_done,
                         ask_new(a, call, 200, NULL));
    json_decref(body);
}

static void backups_prune(struct http_call *call, void *arg)
{
    struct api *a = arg;
    struct err err;
    json_t *body = NULL;
    struct fields f;
    const char *after = NULL;
    int dry_run = 0, rc = api_body(call, &f, &body, &err);
    if (rc == 0) {
        dry_run = fields_bool(&f, "dry_run");
        after = fields_string(&f, "after", 20);
        rc = fields_close(&f, &err);
    }
    if (rc == 0 && after && !store_id(after))
        rc = err_set(&err, ERR_INPUT, "after: not the id of a phone");
    if (rc < 0)
        http_reply_err(call, &err, NULL);
    else
        station_backup_prune(a->station, dry_run == 1, after ? store_id(after) : 0, ask_done,
                             ask_new(a, call, 200, NULL));
    json_decref(body);
}

/* ---- GET one partition's image ---- */

struct download {
    int fd;
    int64_t at, size_bytes;
    uint8_t part[PART_BYTES];
};

static void download_free(struct download *d)
{
    fd_close(&d->fd);
    free(d);
}

static void download_gone(struct http_call *call, void *arg)
{
    (void)call;
    download_free(arg);
}

static void download_more(struct http_call *call, void *arg)
{
    struct download *d = arg;
    size_t len = (size_t)MIN_OF((int64_t)PART_BYTES, d->size_bytes - d->at);
    if (len == 0) {
        http_stream_end(call);
        download_free(d);
        return;
    }
    if (io_pread(d->fd, d->part, len, d->at, NULL) < 0) {
        http_stream_abort(call); /* the length was promised: a short body is the honest sign */
        download_free(d);
        return;
    }
    d->at += (int64_t)len;
    http_stream_write(call, span_of(d->part, len), download_more, d);
}

static void download_name(struct http_call *call)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
    const char *name = http_param(call, "name");
    if (name[strspn(name, allowed)])
        return; /* would need quoting; the peer names it as it likes */
    AUTO(free_ptr) char *value = xasprintf("attachment; filename=\"%s.img\"", name);
    http_reply_header(call, "Content-Disposition", value);
}

static void partition_opened(void *arg, int code, const struct err *err, int fd, int64_t size_bytes)
{
    struct ask *q = arg;
    struct http_call *call = q->call;
    if (code < 0)
        ask_refuse(q, err, NULL);
    ask_free(q);
    if (code < 0)
        return;
    struct download *d = xcalloc(1, sizeof(*d));
    d->fd = fd;
    d->size_bytes = size_bytes;
    if (http_stream_start(call, "application/octet-stream", (uint64_t)size_bytes, download_gone, d))
        download_more(call, d);
}

static void partition_get(struct http_call *call, void *arg)
{
    struct api *a = arg;
    download_name(call);
    store_backup_open(a->store, store_id(http_param(call, "id")), http_param(call, "name"),
                      partition_opened, ask_new(a, call, 200, NULL));
}

static const struct http_route routes[] = {
    {"GET", API_BASE "/backups", backups_list, 0, 0},
    {"POST", API_BASE "/backups", backup_post, HTTP_JSON_MAX_BYTES, IMPORT_DEADLINE_MS},
    {"POST", API_BASE "/backups/prune", backups_prune, HTTP_JSON_MAX_BYTES, 0},
    {"GET", API_BASE "/backups/{id}", backup_get, 0, 0},
    {"POST", API_BASE "/backups/{id}/verify", backup_verify, HTTP_JSON_MAX_BYTES,
     VERIFY_DEADLINE_MS},
    {"POST", API_BASE "/backups/{id}/pin", backup_pin, HTTP_JSON_MAX_BYTES, 0},
    {"GET", API_BASE "/backups/{id}/export", api_backup_export, 0, 0},
    {"GET", API_BASE "/backups/{id}/partitions/{name}", partition_get, 0, 0},
};
const struct api_routes api_backups_routes = {routes, ARRAY_LEN(routes)};
