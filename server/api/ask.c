#include "server/api/internal.h"

#include <ctype.h>
#include <string.h>

#include "usb/base/mem.h"
#include "usb/format/serial.h"

struct ask *ask_new(struct api *a, struct http_call *call, int status, const char *location)
{
    struct ask *q = xcalloc(1, sizeof(*q));
    a->refs++;
    *q = (struct ask){a, call, status, location};
    return q;
}

void ask_free(struct ask *q)
{
    api_unref(q->api);
    free(q);
}

/* What is no id at all is asked of the store as 0: the answer names what the client wrote. */
void ask_refuse(struct ask *q, const struct err *err, json_t *body)
{
    const char *id = http_param(q->call, "id");
    struct err named;
    if (err->code == ERR_NOT_FOUND && id && store_id(id) == 0 && !strstr(err->text, id)) {
        err_set(&named, err->code, "'%s' is no id", id);
        err = &named;
    }
    http_reply_failure(q->call, err, json_string_value(json_object_get(body, "code")),
                       json_string_value(json_object_get(body, "advice")));
}

void ask_done(void *arg, int code, const struct err *err, json_t *body)
{
    struct ask *q = arg;
    if (code < 0) {
        ask_refuse(q, err, body);
    } else {
        const char *id = json_string_value(json_object_get(body, "id"));
        if (q->location && id) {
            AUTO(free_ptr) char *where = xasprintf("%s/%s", q->location, id);
            http_reply_header(q->call, "Location", where);
        }
        http_reply_json(q->call, q->status, body);
    }
    ask_free(q);
}

void ask_job_done(void *arg, int code, const struct err *err, json_t *body)
{
    struct ask *q = arg;
    if (code >= 0 && q->api->station)
        station_job_overlay(q->api->station, body);
    ask_done(arg, code, err, body);
}

void ask_jobs_done(void *arg, int code, const struct err *err, json_t *body)
{
    struct ask *q = arg;
    size_t i;
    json_t *job, *items = q->api->station ? json_object_get(body, "items") : NULL;
    json_array_foreach(items, i, job) station_job_overlay(q->api->station, job);
    ask_done(arg, code, err, body);
}

void api_reply_whole(struct http_call *call, json_t *body)
{
    static const char *const none[] = {NULL};
    struct err err;
    if (http_query_only(call, none, &err) < 0)
        http_reply_err(call, &err, NULL);
    else
        http_reply_json(call, 200, body);
    json_decref(body);
}

void api_reply_items(struct http_call *call, json_t *items)
{
    api_reply_whole(call, json_pack("{s:o, s:n}", "items", items, "next"));
}

int api_page(const struct http_call *call, const char *const *names, struct store_page *page,
             struct err *err)
{
    int64_t limit = 0;
    int rc = http_query_only(call, names, err);
    if (rc == 0)
        rc = http_query_int(call, "limit", 1, STORE_PAGE_MAX, STORE_PAGE_DEFAULT, &limit, err);
    if (rc < 0)
        return rc;
    *page = (struct store_page){.after = http_query(call, "after"), .limit = (int)limit};
    return 0;
}

int api_body(struct http_call *call, struct fields *f, json_t **out, struct err *err)
{
    int rc = http_body_json(call, out, err);
    if (rc == 0)
        fields_open(f, *out, "");
    return rc;
}

int api_no_body(struct http_call *call, struct err *err)
{
    struct fields f;
    json_t *body = NULL;
    int rc = api_body(call, &f, &body, err);
    if (rc == 0)
        rc = fields_close(&f, err);
    json_decref(body);
    return rc;
}

void api_check_serial(struct fields *f, const char *name, const char *serial)
{
    struct serial_check check;
    serial_check(serial, SERIAL_PROJECT_X5, &check);
    if (check.verdict != SERIAL_VALID)
        fields_fail(f, name, "%s", check.reason);
}

void api_check_imei(struct fields *f, const char *name, const char *imei)
{
    char reason[160];
    if (imei_check(imei, reason, sizeof(reason)) != IMEI_VALID)
        fields_fail(f, name, "%s", reason);
}

/* "a4:50:46:01:02:03", either case, as the phone's About screen shows it. */
void api_check_mac(struct fields *f, const char *name, const char *mac)
{
    bool ok = strlen(mac) == 17;
    for (size_t i = 0; ok && i < 17; i++)
        ok = i % 3 == 2 ? mac[i] == ':' : isxdigit((unsigned char)mac[i]) != 0;
    if (!ok)
        fields_fail(f, name, "must look like a4:50:46:01:02:03");
}
