/* api.h: the REST API under /api/v1, and /healthz, /readyz, /metrics. One file a resource. Requests
 * are decoded strictly by hand; what an answer looks like is the business of store and station,
 * whose JSON is passed on. schema/openapi.yaml describes all of it and is served as
 * /api/v1/openapi.json. */
#ifndef FLASHRACK_SERVER_API_API_H
#define FLASHRACK_SERVER_API_API_H

#include "server/http/http.h"
#include "server/station/station.h"
#include "server/store/store.h"

struct api;

struct api_config {
    struct event_base *base;
    const char *recipe_dir; /* schema/recipes; read once, here */
};

/* Registers every route at `http` and listens to the station's events. All three outlive the api.
 */
int api_new(struct http *http, struct station *station, struct store *store,
            const struct api_config *config, struct api **out, struct err *err);
/* Before http, station and store go: ends the event streams. Routes stay registered but the loop
 * must not run requests between this and http_free(). */
void api_free(struct api **a);

#endif
