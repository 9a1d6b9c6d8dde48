/* health.c: for supervisors and Prometheus. Outside of the API's base and its versions. */
#include "server/api/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "usb/base/mem.h"

static const char *const open_states[] = {"queued", "waiting", "running", "prompt", "paused"};
static const char *const port_states[] = {"empty",  "connected", "busy",
                                          "prompt", "fault",     "disabled"};

static void healthz(struct http_call *call, void *arg)
{
    (void)arg;
    http_reply_text(call, 200, "text/plain", "ok\n"); /* the loop turns: that is all it says */
}

static void readyz(struct http_call *call, void *arg)
{
    struct api *a = arg;
    json_t *health = station_health(a->station);
    http_reply_json(call, json_is_true(json_object_get(health, "ok")) ? 200 : 503, health);
    json_decref(health);
}

/* ---- metrics ---- */

static void states_print(FILE *out, const char *metric, const char *help, const char *const *states,
                         size_t state_count, json_t *items)
{
    fprintf(out, "# HELP %s %s\n# TYPE %s gauge\n", metric, help, metric);
    for (size_t k = 0; k < state_count; k++) {
        size_t i;
        unsigned count = 0;
        json_t *item;
        json_array_foreach(items, i, item)
        {
            const char *state = json_string_value(json_object_get(item, "state"));
            count += state && strcmp(state, states[k]) == 0;
        }
        fprintf(out, "%s{state=\"%s\"} %u\n", metric, states[k], count);
    }
}

static void bytes_print(FILE *out, json_t *jobs)
{
    json_int_t done = 0;
    double per_s = 0;
    size_t i;
    json_t *job;
    json_array_foreach(jobs, i, job)
    {
        json_t *progress = json_object_get(job, "progress");
        done += json_integer_value(json_object_get(progress, "done_bytes"));
        per_s += json_number_value(json_object_get(progress, "bytes_per_s"));
    }
    fprintf(out,
            "# HELP flashrack_open_jobs_done_bytes Bytes moved in the current steps.\n"
            "# TYPE flashrack_open_jobs_done_bytes gauge\n"
            "flashrack_open_jobs_done_bytes %lld\n"
            "# HELP flashrack_bytes_per_second All phones together.\n"
            "# TYPE flashrack_bytes_per_second gauge\n"
            "flashrack_bytes_per_second %.0f\n",
            (long long)done, per_s);
}

static void counters_print(FILE *out, const struct api *a)
{
    fprintf(out,
            "# HELP flashrack_jobs_ended_total Jobs that ended since the start.\n"
            "# TYPE flashrack_jobs_ended_total counter\n"
            "flashrack_jobs_ended_total{state=\"succeeded\"} %llu\n"
            "flashrack_jobs_ended_total{state=\"failed\"} %llu\n"
            "flashrack_jobs_ended_total{state=\"cancelled\"} %llu\n"
            "flashrack_jobs_ended_total{state=\"interrupted\"} %llu\n"
            "# HELP flashrack_event_streams Clients of the event stream.\n"
            "# TYPE flashrack_event_streams gauge\n"
            "flashrack_event_streams %zu\n"
            "# HELP flashrack_event_streams_dropped_total Clients too slow.\n"
            "# TYPE flashrack_event_streams_dropped_total counter\n"
            "flashrack_event_streams_dropped_total %llu\n",
            (unsigned long long)a->jobs_succeeded, (unsigned long long)a->jobs_failed,
            (unsigned long long)a->jobs_cancelled, (unsigned long long)a->jobs_interrupted,
            sse_clients(a->sse), (unsigned long long)sse_dropped(a->sse));
}

static void sealing_print(FILE *out, json_t *sealing)
{
    json_t *left = json_object_get(sealing, "chunks_left");
    if (!json_is_integer(left))
        return;
    fprintf(out,
            "# HELP flashrack_backup_chunks_unsealed Not sealed yet with the key of --backup-key.\n"
            "# TYPE flashrack_backup_chunks_unsealed gauge\n"
            "flashrack_backup_chunks_unsealed %lld\n"
            "# HELP flashrack_backup_sealing_stopped Sealing failed and waits for the next start.\n"
            "# TYPE flashrack_backup_sealing_stopped gauge\n"
            "flashrack_backup_sealing_stopped %d\n",
            (long long)json_integer_value(left),
            json_is_string(json_object_get(sealing, "trouble")));
}

static void metrics_print(void *arg, int code, const struct err *err, json_t *body)
{
    struct ask *q = arg;
    struct api *a = q->api;
    struct http_call *call = q->call;
    if (code < 0 || !a->station) {
        http_reply_err(call, err, NULL);
        ask_free(q);
        return;
    }
    json_t *jobs = json_object_get(body, "items"), *ports = station_ports(a->station), *job;
    json_t *health = station_health(a->station);
    size_t i;
    json_array_foreach(jobs, i, job) station_job_overlay(a->station, job);
    AUTO(free_ptr) char *text = NULL, *process = http_process_metrics();
    size_t len;
    FILE *out = open_memstream(&text, &len);
    if (!out)
        abort(); /* no memory */
    states_print(out, "flashrack_jobs", "Open jobs by state, at most 1000.", open_states,
                 ARRAY_LEN(open_states), jobs);
    states_print(out, "flashrack_ports", "Ports by state.", port_states, ARRAY_LEN(port_states),
                 ports);
    bytes_print(out, jobs);
    counters_print(out, a);
    sealing_print(out, json_object_get(health, "sealing"));
    fputs(process, out);
    fclose(out);
    http_reply_text(call, 200, "text/plain; version=0.0.4", text);
    json_decref(ports);
    json_decref(health);
    ask_free(q);
}

static void metrics(struct http_call *call, void *arg)
{
    struct api *a = arg;
    store_job_list(a->store, &(struct store_job_filter){.open = true},
                   &(struct store_page){.limit = STORE_PAGE_MAX}, metrics_print,
                   ask_new(a, call, 200, NULL));
}

static const struct http_route routes[] = {
    {"GET", "/healthz", healthz, 0, 0},
    {"GET", "/readyz", readyz, 0, 0},
    {"GET", "/metrics", metrics, 0, 0},
};
const struct api_routes api_health_routes = {routes, ARRAY_LEN(routes)};
