#include "server/api/internal.h"

#include <string.h>

#include "usb/base/log.h"
#include "usb/base/mem.h"

static void events_get(struct http_call *call, void *arg)
{
    struct api *a = arg;
    sse_attach(a->sse, call);
}

/* ---- stored events for clients that come back ---- */

struct fetch {
    struct api *api;
    uint64_t ticket;
};

static void fetch_pass_on(struct sse *sse, uint64_t ticket, int code, json_t *body)
{
    json_t *items = json_object_get(body, "items"), *item;
    size_t count = json_array_size(items), i;
    struct sse_event *events = xcalloc(count + 1, sizeof(*events));
    json_array_foreach(items, i, item)
    {
        events[i].id = store_id(json_string_value(json_object_get(item, "id")));
        events[i].type = json_string_value(json_object_get(item, "type"));
        events[i].data = json_dumps(json_object_get(item, "body"), JSON_COMPACT);
    }
    sse_fetched(sse, ticket, code, events, count);
    for (i = 0; i < count; i++)
        free((void *)events[i].data);
    free(events);
}

static void fetched(void *arg, int code, const struct err *err, json_t *body)
{
    struct fetch *q = arg;
    if (code < 0)
        log_line(LOG_WARN, "sse", LOG_KV({"err", err_name(code)}), "stored events: %s", err->text);
    if (q->api->sse)
        fetch_pass_on(q->api->sse, q->ticket, code, body);
    api_unref(q->api);
    free(q);
}

void api_events_fetch(void *arg, uint64_t ticket, int64_t after, size_t limit)
{
    struct api *a = arg;
    struct fetch *q = xcalloc(1, sizeof(*q));
    *q = (struct fetch){a, ticket};
    a->refs++;
    char cursor[24];
    snprintf(cursor, sizeof(cursor), "%lld", (long long)after);
    store_event_list(a->store, &(struct store_page){.after = cursor, .limit = (int)limit}, fetched,
                     q);
}

/* ---- events as they happen ---- */

static uint64_t *ended_counter(struct api *a, const char *state)
{
    if (strcmp(state, "succeeded") == 0)
        return &a->jobs_succeeded;
    if (strcmp(state, "failed") == 0)
        return &a->jobs_failed;
    if (strcmp(state, "cancelled") == 0)
        return &a->jobs_cancelled;
    if (strcmp(state, "interrupted") == 0)
        return &a->jobs_interrupted;
    return NULL;
}

/* A job counts once, when it passes from open to ended before our eyes. */
static void job_count(struct api *a, const char *id, json_t *job)
{
    const char *state = json_string_value(json_object_get(job, "state"));
    if (!state)
        return;
    uint64_t *counter = ended_counter(a, state);
    if (!counter)
        json_object_set_new(a->open_jobs, id, json_true());
    else if (json_object_del(a->open_jobs, id) == 0)
        ++*counter;
}

void api_event(void *arg, int64_t id, const char *type, json_t *body)
{
    struct api *a = arg;
    const char *subject = json_string_value(json_object_get(body, "id"));
    json_t *shown = json_incref(body);
    if (strcmp(type, "job") == 0 && subject) {
        json_decref(shown);
        shown = json_copy(body); /* the event's own body stays as it was stored */
        station_job_overlay(a->station, shown);
        job_count(a, subject, shown);
    }
    AUTO(free_ptr) char *text = json_dumps(shown, JSON_COMPACT);
    json_decref(shown);
    if (text)
        sse_publish(a->sse, id, type, subject ? subject : "", text);
}

static const struct http_route routes[] = {
    {"GET", API_BASE "/events", events_get, 0, 0},
};
const struct api_routes api_events_routes = {routes, ARRAY_LEN(routes)};
