#include "server/api/internal.h"

#include "usb/base/mem.h"

static const struct api_routes *const resources[] = {
    &api_ports_routes,    &api_jobs_routes,    &api_phones_routes,   &api_backups_routes,
    &api_firmware_routes, &api_recipes_routes, &api_failures_routes, &api_events_routes,
    &api_health_routes,   &api_schema_routes,  &api_report_routes,   &api_conflicts_routes,
    &api_db_routes,
};

/* One table for the server: it has few places for tables, we have many files. */
static struct http_route *routes_join(size_t *count_out)
{
    size_t count = 0, at = 0;
    for (size_t i = 0; i < ARRAY_LEN(resources); i++)
        count += resources[i]->count;
    struct http_route *all = xcalloc(count, sizeof(*all));
    for (size_t i = 0; i < ARRAY_LEN(resources); i++)
        for (size_t k = 0; k < resources[i]->count; k++)
            all[at++] = resources[i]->routes[k];
    *count_out = count;
    return all;
}

int api_new(struct http *http, struct station *station, struct store *store,
            const struct api_config *config, struct api **out, struct err *err)
{
    AUTO(api_free) struct api *a = xcalloc(1, sizeof(*a));
    a->refs = 1;
    a->http = http;
    a->station = station;
    a->store = store;
    a->open_jobs = json_object();
    int rc = api_recipes_load(a, config->recipe_dir, err);
    if (rc < 0)
        return rc;
    struct sse_config sse = {
        .fetch = api_events_fetch, .arg = a, .last_id = store_event_newest(store)};
    a->sse = sse_new(config->base, &sse);
    station_on_event(station, api_event, a);
    size_t count;
    a->routes = routes_join(&count);
    http_routes_add(http, a->routes, count, a);
    *out = STEAL(a);
    return 0;
}

void api_unref(struct api *a)
{
    if (--a->refs > 0)
        return;
    json_decref(a->recipes);
    json_decref(a->recipe_items);
    json_decref(a->open_jobs);
    free(a->routes);
    free(a);
}

void api_free(struct api **ap)
{
    struct api *a = *ap;
    if (!a)
        return;
    *ap = NULL;
    if (a->sse)
        station_on_event(a->station, NULL, NULL);
    sse_free(&a->sse);
    a->station = NULL;
    api_unref(a);
}
