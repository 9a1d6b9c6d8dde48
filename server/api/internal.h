/* internal.h: what the files of server/api share. */
#ifndef FLASHRACK_SERVER_API_INTERNAL_H
#define FLASHRACK_SERVER_API_INTERNAL_H

#include "server/api/api.h"
#include "server/http/fields.h"
#include "server/http/sse.h"

#define API_BASE "/api/v1"

/* Questions that wait for the store hold a reference each: they may outlive api_free(), after which
 * station and sse are NULL. */
struct api {
    unsigned refs;
    struct http *http;
    struct station *station;
    struct store *store;
    struct sse *sse;
    struct http_route *routes;
    json_t *recipes;      /* name -> document */
    json_t *recipe_items; /* what a list of them says */
    json_t *open_jobs; /* ids that were seen before they ended, for the counters below */
    uint64_t jobs_succeeded, jobs_failed, jobs_cancelled, jobs_interrupted;
};

/* A call that waits for store or station. Freed by the callback. */
struct ask {
    struct api *api;
    struct http_call *call;
    int status;           /* of a good answer */
    const char *location; /* for 201: what stands before the id; else NULL */
};
struct ask *ask_new(struct api *a, struct http_call *call, int status, const char *location);
void ask_free(struct ask *q);
void api_unref(struct api *a);
/* A store_done_fn and station_done_fn that passes the body or the error on. */
void ask_done(void *arg, int code, const struct err *err, json_t *body);
/* An error of the store or the station as the answer; body: NULL, or the failure it is. The caller frees q. */
void ask_refuse(struct ask *q, const struct err *err, json_t *body);
/* ask_done() for a job, with what only the station knows about it; and for a list of jobs. */
void ask_job_done(void *arg, int code, const struct err *err, json_t *body);
void ask_jobs_done(void *arg, int code, const struct err *err, json_t *body);

/* ?limit= and ?after=, and the other names of a list; page->after is borrowed from the call. */
int api_page(const struct http_call *call, const char *const *names, struct store_page *page,
             struct err *err);
#define API_PAGE_NAMES "limit", "after"
/* What the station has at hand, as the answer to a request that takes no query; and a list of it in one page. Both take
 * the reference. */
void api_reply_whole(struct http_call *call, json_t *body);
void api_reply_items(struct http_call *call, json_t *items);
/* The body's object opened for reading; owned by the caller. */
int api_body(struct http_call *call, struct fields *f, json_t **out, struct err *err);
/* Of a request that takes none: empty, or an empty object. */
int api_no_body(struct http_call *call, struct err *err);

/* Serial as it stands on the label, IMEI with its check digit: a failing field says what to do. */
void api_check_serial(struct fields *f, const char *name, const char *serial);
void api_check_imei(struct fields *f, const char *name, const char *imei);
void api_check_mac(struct fields *f, const char *name, const char *mac);

struct api_routes {
    const struct http_route *routes;
    size_t count;
};
extern const struct api_routes api_ports_routes, api_jobs_routes, api_phones_routes,
    api_backups_routes, api_conflicts_routes, api_firmware_routes, api_recipes_routes,
    api_failures_routes, api_events_routes, api_health_routes, api_schema_routes, api_report_routes,
    api_db_routes;

/* export.c: GET /backups/{id}/export */
void api_backup_export(struct http_call *call, void *arg);
/* recipes.c */
int api_recipes_load(struct api *a, const char *dir, struct err *err);
/* events.c: a station_event_fn, and a sse_fetch_fn. */
void api_event(void *arg, int64_t id, const char *type, json_t *body);
void api_events_fetch(void *arg, uint64_t ticket, int64_t after, size_t limit);

#endif
