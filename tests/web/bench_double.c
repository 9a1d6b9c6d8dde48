/* bench_double.c: a bench without phones, for the tests of page and API: the real server/http and
 * server/api over a station and store that live in memory. A timer plays what workers would report:
 * a job asks for keys, moves bytes, asks for the numbers on the phone, ends. Nothing of this is in
 * flashrackd.
 *
 *   bench-double --listen 127.0.0.1:0 --web web --recipes schema/recipes [--ports N] [--tick-ms T]
 *                [--scene]      ports in every state at once, for looking at the page
 *                [--no-hands]   prompts for keys stay; else they are answered after a while
 *
 * Prints its URL on the first line of stdout and ends on SIGTERM, SIGINT or when stdin is closed.
 */
#include <event2/event.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "server/api/api.h"
#include "usb/base/clock.h"
#include "usb/base/log.h"
#include "usb/base/mem.h"

#define WRITE_BYTES     (640LL * 1024 * 1024)
#define WRITE_TICKS     40
#define PROMPT_TICKS    15
#define PARTITION_BYTES (5 * 1024 * 1024)

struct station {
    json_t *ports, *jobs, *events, *logs, *keys, *firmware, *backups, *phones, *failures;
    station_event_fn *on_event;
    void *on_event_arg;
    struct event *timer;
    int tick_ms;
    bool hands, calibrating;
    size_t carried_to; /* the port that gets the phone next while ports are labelled */
    int looks;         /* since then; the phone is there at the second */
    bool frozen; /* --scene: only running jobs go on, and they start again when they are through */
};

struct store {
    struct station *station;
};

/* the longest of the recipe: must fit the smallest card */
static const char keys_todo[] =
    "Unplug the phone. Do not switch it on. Hold Volume Up and Volume Down, plug it in again, keep "
    "both keys until this text goes.";
static const char acceptance_todo[] =
    "Dial *#06# and open About: enter serial, IMEIs and MAC addresses exactly as the phone shows "
    "them. Check that no NVRAM WARNING is in the Wi-Fi list.";

/* ---- small JSON ---- */

static const char *text_of(json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : "";
}

static void put_text(json_t *o, const char *key, const char *value)
{
    json_object_set_new(o, key, value ? json_string(value) : json_null());
}

static void put_now(json_t *o, const char *key)
{
    char at[CLOCK_TEXT_BYTES];
    clock_rfc3339(clock_utc_ms(), at);
    put_text(o, key, at);
}

static json_t *find(json_t *list, const char *id)
{
    size_t i;
    json_t *item;
    json_array_foreach(list, i, item) if (strcmp(text_of(item, "id"), id) == 0) return item;
    return NULL;
}

static char *next_id(json_t *list)
{
    return xasprintf("%zu", json_array_size(list) + 1);
}

static void emit(struct station *s, bool durable, const char *type, json_t *body)
{
    int64_t id = 0;
    if (durable) {
        id = (int64_t)json_array_size(s->events) + 1;
        AUTO(free_ptr) char *text = xasprintf("%lld", (long long)id);
        json_t *event =
            json_pack("{s:s, s:s, s:o}", "id", text, "type", type, "body", json_deep_copy(body));
        put_now(event, "at");
        json_array_append_new(s->events, event);
    }
    if (s->on_event)
        s->on_event(s->on_event_arg, id, type, body);
}

/* ---- ports and jobs ---- */

static json_t *port_add(struct station *s, int number)
{
    AUTO(free_ptr) char *id = xasprintf("usbip-127.0.0.1:3240-1-%d", number);
    AUTO(free_ptr) char *label = xasprintf("%c%d", 'A' + (number - 1) / 8, (number - 1) % 8 + 1);
    json_t *port = json_pack("{s:s, s:s, s:s, s:s, s:n, s:n, s:n, s:b, s:b, s:n, s:n, s:n, s:n}",
                             "id", id, "label", label, "state", "empty", "mode", "none", "phone_id",
                             "job_id", "usb_serial", "enabled", 1, "takes_work", 0, "speed",
                             "kept_for", "trouble", "last");
    json_array_append_new(s->ports, port);
    return port;
}

static void job_log(struct station *s, json_t *job, const char *level, const char *message)
{
    const char *id = text_of(job, "id");
    json_t *lines = json_object_get(s->logs, id);
    if (!lines) {
        lines = json_array();
        json_object_set_new(s->logs, id, lines);
    }
    json_t *line =
        json_pack("{s:s, s:i, s:s, s:s, s:s}", "job_id", id, "seq", (int)json_array_size(lines) + 1,
                  "level", level, "step", text_of(job, "step"), "message", message);
    put_now(line, "at");
    json_array_append_new(lines, line);
    emit(s, true, "log", line);
}

static void progress_set(json_t *job, int64_t done, int64_t total, int64_t per_s)
{
    json_t *progress =
        json_pack("{s:I, s:I, s:I, s:n}", "done_bytes", (json_int_t)done, "total_bytes",
                  (json_int_t)total, "bytes_per_s", (json_int_t)per_s, "eta_s");
    if (per_s > 0)
        json_object_set_new(progress, "eta_s", json_integer((total - done) / per_s));
    json_object_set_new(job, "progress", progress);
}

static void port_follow(struct station *s, json_t *job, const char *state, const char *mode)
{
    json_t *port = find(s->ports, text_of(job, "port"));
    if (!port)
        return;
    bool ended = strcmp(state, "empty") == 0 || strcmp(state, "connected") == 0;
    put_text(port, "state", state);
    put_text(port, "mode", mode);
    put_text(port, "job_id", ended ? NULL : text_of(job, "id"));
    put_text(port, "phone_id", ended ? NULL : "1");
    emit(s, false, "port", port);
}

static void step_begin(struct station *s, json_t *job, const char *step)
{
    put_text(job, "step", step);
    json_t *steps = json_object_get(job, "steps");
    json_t *row =
        json_pack("{s:i, s:s, s:i, s:s, s:n, s:n, s:n}", "seq", (int)json_array_size(steps) + 1,
                  "name", step, "attempt", 1, "state", "running", "error", "result", "ended_at");
    put_now(row, "started_at");
    json_array_append_new(steps, row);
    job_log(s, job, "info", "begins");
}

static void step_end(json_t *job, const char *state)
{
    json_t *steps = json_object_get(job, "steps");
    json_t *row = json_array_get(steps, json_array_size(steps) - 1);
    put_text(row, "state", state);
    put_now(row, "ended_at");
}

static void prompt_set(struct station *s, json_t *job, const char *id, const char *text,
                       const char *todo, const char *answered_by)
{
    const char *wants = strcmp(answered_by, "person") == 0 ? "numbers" : NULL;
    json_t *prompt =
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:s?}", "id", id, "step", text_of(job, "step"), "text",
                  text, "todo", todo, "answered_by", answered_by, "wants", wants);
    json_object_set_new(job, "prompt", prompt);
    put_text(job, "state", "prompt");
    emit(s, true, "job", job);
    json_t *body = json_pack("{s:s, s:O, s:O}", "job_id", text_of(job, "id"), "port",
                             json_object_get(job, "port"), "prompt", prompt);
    emit(s, true, "prompt", body);
    json_decref(body);
}

static void job_end(struct station *s, json_t *job, const char *state, const char *text)
{
    put_text(job, "state", state);
    json_object_set_new(job, "prompt", json_null());
    put_now(job, "ended_at");
    if (strcmp(state, "failed") == 0)
        json_object_set_new(
            job, "error",
            json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "code", "keys_not_held", "message", text,
                      "cause", "the preloader shows up for two seconds and vanishes", "advice",
                      "Hold both volume keys before plugging in, and keep them.", "class", "retry",
                      "failure", "C2"));
    json_t *port = find(s->ports, text_of(job, "port"));
    if (port)
        json_object_set_new(port, "last",
                            json_pack("{s:s, s:s, s:s}", "job_id", text_of(job, "id"), "state",
                                      state, "text", text));
    port_follow(s, job, "connected", "android");
    emit(s, true, "job", job);
}

static json_t *job_new(struct station *s, const struct job_order *o)
{
    AUTO(free_ptr) char *id = next_id(s->jobs);
    json_t *imeis = json_array();
    for (size_t i = 0; i < ARRAY_LEN(o->imeis) && o->imeis[i]; i++)
        json_array_append_new(imeis, json_string(o->imeis[i]));
    json_t *job =
        json_pack("{s:s, s:s, s:s, s:n, s:[], s:n, s:n, s:n, s:n, s:n, s:o, s:i}", "id", id,
                  "recipe", o->recipe, "state", "queued", "step", "steps", "prompt", "error",
                  "started_at", "ended_at", "result", "imeis", imeis, "priority", o->priority);
    put_text(job, "port", o->port);
    put_text(job, "serial", o->serial);
    put_text(job, "phone_id", o->phone_id);
    put_text(job, "firmware", o->firmware);
    put_text(job, "backup", o->backup);
    put_text(job, "finish", o->finish ? o->finish : "lk");
    put_text(job, "accept", o->accept ? o->accept : "scan");
    put_text(job, "owner_ref", o->owner_ref);
    put_text(job, "client_ref", o->client_ref);
    put_now(job, "created_at");
    progress_set(job, 0, 0, 0);
    json_object_set_new(job, "ticks", json_integer(0));
    json_array_append_new(s->jobs, job);
    return job;
}

/* What a job shows; "ticks" is ours. */
static json_t *job_shown(json_t *job)
{
    json_t *copy = json_deep_copy(job);
    json_object_del(copy, "ticks");
    return copy;
}

static void job_running(struct station *s, json_t *job, int64_t ticks)
{
    if (ticks == 0) {
        step_begin(s, job, "S7 write identity");
        put_text(job, "state", "running");
        port_follow(s, job, "busy", "da");
        emit(s, true, "job", job);
    }
    int64_t done = WRITE_BYTES * ticks / WRITE_TICKS;
    progress_set(job, done, WRITE_BYTES, WRITE_BYTES * 1000 / (WRITE_TICKS * s->tick_ms));
    emit(s, false, "job", job);
}

static void job_tick(struct station *s, json_t *job)
{
    int64_t ticks = json_integer_value(json_object_get(job, "ticks"));
    const char *state = text_of(job, "state"), *step = text_of(job, "step");
    json_object_set_new(job, "ticks", json_integer(ticks + 1));
    if (strcmp(state, "queued") == 0) {
        step_begin(s, job, "S3 connect");
        port_follow(s, job, "prompt", "none");
        prompt_set(s, job, "S3-1", "Unplug, then download mode once more", keys_todo, "usb");
    } else if (strcmp(state, "prompt") == 0 && strcmp(step, "S3 connect") == 0) {
        if (!s->hands || s->frozen || ticks < PROMPT_TICKS)
            return;
        json_object_set_new(job, "prompt", json_null());
        json_object_set_new(job, "ticks", json_integer(0));
        step_end(job, "done");
        put_now(job, "started_at");
        put_text(job, "state", "running");
        job_running(s, job, 0);
    } else if (strcmp(state, "running") == 0) {
        job_running(s, job, ticks);
        if (ticks < WRITE_TICKS)
            return;
        if (s->frozen) {
            json_object_set_new(job, "ticks", json_integer(1));
            return;
        }
        step_end(job, "done");
        step_begin(s, job, "S21 acceptance");
        port_follow(s, job, "prompt", "android");
        prompt_set(s, job, "S21-1", "Check the phone's numbers", acceptance_todo, "person");
    }
}

static void tick(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct station *s = arg;
    size_t i;
    json_t *job;
    json_array_foreach(s->jobs, i, job) job_tick(s, job);
    event_add(s->timer,
              &(struct timeval){.tv_sec = s->tick_ms / 1000, .tv_usec = s->tick_ms % 1000 * 1000});
}

/* ---- station.h ---- */

void station_on_event(struct station *s, station_event_fn *fn, void *arg)
{
    s->on_event = fn;
    s->on_event_arg = arg;
}

json_t *station_ports(struct station *s)
{
    return json_deep_copy(s->ports);
}

json_t *station_port(struct station *s, const char *id)
{
    json_t *port = find(s->ports, id);
    return port ? json_deep_copy(port) : NULL;
}

json_t *station_failures(struct station *s)
{
    return json_deep_copy(s->failures);
}

/* The shipped catalogue, beside the recipes, as a station tells it. */
static json_t *failures_load(const char *recipes)
{
    AUTO(free_ptr) char *path = xasprintf("%s/../failures.json", recipes);
    json_t *document = json_load_file(path, JSON_REJECT_DUPLICATES, NULL), *failure;
    json_t *list = json_incref(json_object_get(document, "failures"));
    size_t i;
    json_array_foreach(list, i, failure)
    {
        if (!json_object_get(failure, "seen_by"))
            put_text(failure, "seen_by", "station");
    }
    json_decref(document);
    return list;
}

/* One controller: a single-TT hub with the ports but the last of it, an empty socket; the last port is elsewhere. */
json_t *station_topology(struct station *s)
{
    size_t count = json_array_size(s->ports) - 1;
    json_t *sockets = json_array();
    for (size_t i = 0; i <= count; i++)
        json_array_append_new(
            sockets,
            json_pack("{s:o, s:i, s:o, s:n}", "id",
                      json_sprintf("pci-0000:00:14.0-usb-0:1.%zu", i + 1), "number", (int)i + 1,
                      "port", i < count ? json_deep_copy(json_array_get(s->ports, i)) : json_null(),
                      "hub"));
    json_t *hub = json_pack("{s:s, s:s, s:s, s:b, s:s, s:o}", "id", "pci-0000:00:14.0-usb-0:1",
                            "kind", "single_tt", "speed", "high", "self_powered", 1, "advice",
                            "A single-TT hub: prefer a multi-TT hub.", "sockets", sockets);
    json_t *socket = json_pack("{s:s, s:i, s:n, s:o}", "id", "pci-0000:00:14.0-usb-0:1", "number",
                               1, "port", "hub", hub);
    json_t *controller =
        json_pack("{s:s, s:s, s:s, s:b, s:n, s:[o]}", "id", "pci-0000:00:14.0", "kind",
                  "controller", "speed", "high", "self_powered", 1, "advice", "sockets", socket);
    return json_pack("{s:[o], s:[o]}", "controllers", controller, "elsewhere",
                     json_deep_copy(json_array_get(s->ports, count)));
}

static void fail(station_done_fn *done, void *arg, int code, const char *text)
{
    struct err err;
    err_set(&err, code, "%s", text);
    done(arg, code, &err, NULL);
}

void station_port_change(struct station *s, const char *id, const struct port_settings *settings,
                         station_done_fn *done, void *arg)
{
    json_t *port = find(s->ports, id);
    if (!port) {
        fail(done, arg, ERR_NOT_FOUND, "there is no such port");
        return;
    }
    size_t i;
    json_t *other;
    json_array_foreach(s->ports, i,
                       other) if (settings->label && settings->label[0] && other != port &&
                                  strcmp(text_of(other, "label"), settings->label) == 0)
    {
        fail(done, arg, ERR_CONFLICT, "another port has this label already");
        return;
    }
    if (settings->label)
        put_text(port, "label", settings->label[0] ? settings->label : NULL);
    if (settings->takes_work >= 0)
        json_object_set_new(port, "takes_work", json_boolean(settings->takes_work));
    if (settings->enabled >= 0) {
        json_object_set_new(port, "enabled", json_boolean(settings->enabled));
        put_text(port, "state", settings->enabled ? "empty" : "disabled");
    }
    emit(s, false, "port", port);
    done(arg, 0, NULL, port);
}

json_t *station_calibration(struct station *s)
{
    json_t *port = s->calibrating && s->looks++ > 0
                       ? json_array_get(s->ports, s->carried_to % json_array_size(s->ports))
                       : NULL;
    return json_pack("{s:s, s:O?, s:O?}", "state",
                     !s->calibrating ? "off"
                     : port          ? "seen"
                                     : "waiting",
                     "port", json_object_get(port, "id"), "label", json_object_get(port, "label"));
}

json_t *station_calibration_set(struct station *s, bool on)
{
    s->calibrating = on;
    s->carried_to = 0;
    s->looks = 0;
    return station_calibration(s);
}

/* The phone is carried from port to port. */
void station_calibration_label(struct station *s, const char *label, station_done_fn *done,
                               void *arg)
{
    if (!s->calibrating) {
        fail(done, arg, ERR_CONFLICT, "no calibration is under way");
        return;
    }
    struct port_settings settings = {.label = label, .enabled = -1, .takes_work = -1};
    json_t *port = json_array_get(s->ports, s->carried_to % json_array_size(s->ports));
    station_port_change(s, text_of(port, "id"), &settings, done, arg);
    if (strcmp(text_of(port, "label"), label) == 0) {
        s->carried_to++;
        s->looks = 0;
    }
}

static void job_answer_done(json_t *job, station_done_fn *done, void *arg)
{
    json_t *shown = job_shown(job);
    done(arg, 0, NULL, shown);
    json_decref(shown);
}

/* A repeated key answers the first job again, as the store does. */
static bool key_known(struct station *s, const struct job_order *o, station_done_fn *done,
                      void *arg)
{
    json_t *known = o->idempotency_key ? json_object_get(s->keys, o->idempotency_key) : NULL;
    if (!known)
        return false;
    if (strcmp(text_of(known, "sha256"), o->request_sha256) != 0)
        fail(done, arg, ERR_CONFLICT, "this Idempotency-Key was used with another body");
    else
        job_answer_done(find(s->jobs, text_of(known, "id")), done, arg);
    return true;
}

void station_job_submit(struct station *s, const struct job_order *o, station_done_fn *done,
                        void *arg)
{
    if (key_known(s, o, done, arg))
        return;
    if (o->port && !find(s->ports, o->port)) {
        fail(done, arg, ERR_INPUT, "field 'port': there is no such port");
        return;
    }
    if (o->dry_run) {
        json_t *plan = json_pack("{s:b, s:{s:[]}}", "dry_run", 1, "plan", "writes");
        done(arg, 0, NULL, plan);
        json_decref(plan);
        return;
    }
    json_t *job = job_new(s, o);
    if (o->idempotency_key)
        json_object_set_new(
            s->keys, o->idempotency_key,
            json_pack("{s:s, s:s}", "sha256", o->request_sha256, "id", text_of(job, "id")));
    emit(s, true, "job", job);
    job_answer_done(job, done, arg);
}

static bool is_open(json_t *job)
{
    return json_is_null(json_object_get(job, "ended_at"));
}

void station_job_verb(struct station *s, const char *job_id, const char *verb, const char *port,
                      station_done_fn *done, void *arg)
{
    json_t *job = find(s->jobs, job_id);
    if (job && port)
        put_text(job, "port", port);
    if (!job || !is_open(job)) {
        fail(done, arg, job ? ERR_CONFLICT : ERR_NOT_FOUND,
             job ? "the job has ended" : "there is no such job");
        return;
    }
    if (strcmp(verb, "cancel") == 0) {
        step_end(job, "interrupted");
        job_end(s, job, "cancelled", "Cancelled by a person");
    } else {
        put_text(job, "state", strcmp(verb, "pause") == 0 ? "paused" : "running");
        emit(s, true, "job", job);
    }
    job_answer_done(job, done, arg);
}

void station_job_answer(struct station *s, const char *job_id, const char *prompt_id,
                        const char *answer, json_t *values, station_done_fn *done, void *arg)
{
    json_t *job = find(s->jobs, job_id);
    if (!job || strcmp(text_of(json_object_get(job, "prompt"), "id"), prompt_id) != 0) {
        fail(done, arg, job ? ERR_CONFLICT : ERR_NOT_FOUND, "the job does not ask that");
        return;
    }
    bool ok = strcmp(answer, "ok") == 0;
    if (ok && values && strcmp(text_of(values, "serial"), text_of(job, "serial")) != 0) {
        AUTO(free_ptr)
        char *why = xasprintf("the phone shows serial '%s', the label says %s",
                              text_of(values, "serial"), text_of(job, "serial"));
        prompt_set(s, job, "S21-2", why, acceptance_todo, "person"); /* as the worker asks again */
        job_answer_done(job, done, arg);
        return;
    }
    step_end(job, ok ? "done" : "failed");
    job_log(s, job, ok ? "info" : "error", ok ? "numbers are right" : "given up by a person");
    job_end(s, job, ok ? "succeeded" : "failed", ok ? "Restored" : "Stopped by a person");
    job_answer_done(job, done, arg);
}

void station_job_overlay(struct station *s, json_t *job)
{
    json_t *live = find(s->jobs, text_of(job, "id"));
    if (live) {
        json_object_set(job, "progress", json_object_get(live, "progress"));
        json_object_set(job, "prompt", json_object_get(live, "prompt"));
    }
    json_object_del(job, "ticks");
}

static json_t *firmware_new(struct station *s, const char *path)
{
    AUTO(free_ptr) char *id = next_id(s->firmware);
    const char *name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    json_t *fw =
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:[], s:[{s:s, s:I, s:s}]}", "id", id, "name",
                  name, "platform", "MT6771", "project", "PDA", "version", "00WW_2_290", "path",
                  path, "problems", "files", "name", "lk.img", "size", (json_int_t)1048576,
                  "sha256", "0000000000000000000000000000000000000000000000000000000000000000");
    put_now(fw, "created_at");
    json_array_append_new(s->firmware, fw);
    return fw;
}

static json_t *backup_new(struct station *s, const char *serial, const char *origin)
{
    AUTO(free_ptr) char *id = next_id(s->backups);
    json_t *b = json_pack("{s:s, s:n, s:n, s:s, s:s, s:s, s:b, s:n, s:[{s:s, s:I, s:s, s:s, s:s}]}",
                          "id", id, "phone_id", "job_id", "origin", origin, "serial", serial,
                          "verdict", "usable", "complete", 1, "verified_at", "partitions", "name",
                          "nvram", "size", (json_int_t)PARTITION_BYTES, "sha256",
                          "0000000000000000000000000000000000000000000000000000000000000000",
                          "plausible", "yes", "reason", "");
    put_now(b, "created_at");
    json_array_append_new(s->backups, b);
    return b;
}

void station_firmware_add(struct station *s, const char *path, station_done_fn *done, void *arg)
{
    if (strncmp(path, "/srv/", 5) != 0)
        fail(done, arg, ERR_REFUSED, "the folder is not below one that the station may read");
    else
        done(arg, 0, NULL, firmware_new(s, path));
}

void station_backup_import(struct station *s, const struct backup_import *order,
                           station_done_fn *done, void *arg)
{
    if (strncmp(order->path, "/srv/", 5) != 0)
        fail(done, arg, ERR_REFUSED, "the file is not below a folder that the station may read");
    else
        done(arg, 0, NULL, backup_new(s, order->serial, "import"));
}

json_t *station_health(struct station *s)
{
    (void)s;
    return json_pack("{s:b, s:b, s:i, s:n, s:{s:I, s:n}, s:{s:i, s:n}}", "ok", 1, "portwatch", 1,
                     "jobs", 0, "damage", "disk", "free_bytes", (json_int_t)1 << 40, "trouble",
                     "sealing", "chunks_left", 17, "trouble");
}

/* ---- the part of store.h that the API reads ---- */

int64_t store_event_newest(const struct store *store)
{
    return (int64_t)json_array_size(store->station->events);
}

int64_t store_id(const char *text)
{
    char *end;
    long long id = text ? strtoll(text, &end, 10) : 0;
    return id > 0 && !*end ? id : 0;
}

static void page_done(json_t *items, const struct store_page *page, store_done_fn *done, void *arg)
{
    json_t *out = json_array(), *next = json_null(), *item;
    size_t i, limit = page->limit ? (size_t)page->limit : STORE_PAGE_DEFAULT;
    int64_t after = page->after ? strtoll(page->after, NULL, 10) : 0;
    json_array_foreach(items, i, item)
    {
        if ((int64_t)i < after)
            continue;
        if (json_array_size(out) == limit) {
            char cursor[24];
            snprintf(cursor, sizeof(cursor), "%zu", i);
            next = json_string(cursor);
            break;
        }
        json_array_append_new(out, json_deep_copy(item));
    }
    json_t *body = json_pack("{s:o, s:o}", "items", out, "next", next);
    done(arg, 0, NULL, body);
    json_decref(body);
}

static void get_done(json_t *list, int64_t id, store_done_fn *done, void *arg)
{
    AUTO(free_ptr) char *text = xasprintf("%lld", (long long)id);
    json_t *item = find(list, text);
    if (!item) {
        fail(done, arg, ERR_NOT_FOUND, "there is no such thing");
        return;
    }
    json_t *copy = json_deep_copy(item);
    done(arg, 0, NULL, copy);
    json_decref(copy);
}

void store_job_get(struct store *s, int64_t job_id, store_done_fn *done, void *arg)
{
    get_done(s->station->jobs, job_id, done, arg);
}

void store_job_list(struct store *s, const struct store_job_filter *filter,
                    const struct store_page *page, store_done_fn *done, void *arg)
{
    json_t *items = json_array();
    for (size_t i = json_array_size(s->station->jobs); i > 0; i--) {
        json_t *job = json_array_get(s->station->jobs, i - 1);
        bool match = (!filter->open || is_open(job)) &&
                     (!filter->state || strcmp(filter->state, text_of(job, "state")) == 0) &&
                     (!filter->serial || strcmp(filter->serial, text_of(job, "serial")) == 0) &&
                     (!filter->port_id || strcmp(filter->port_id, text_of(job, "port")) == 0);
        if (match)
            json_array_append(items, job);
    }
    page_done(items, page, done, arg);
    json_decref(items);
}

void store_job_log(struct store *s, int64_t job_id, const struct store_page *page,
                   store_done_fn *done, void *arg)
{
    AUTO(free_ptr) char *id = xasprintf("%lld", (long long)job_id);
    if (!find(s->station->jobs, id)) {
        fail(done, arg, ERR_NOT_FOUND, "there is no such job");
        return;
    }
    json_t *none = json_array(), *lines = json_object_get(s->station->logs, id);
    page_done(lines ? lines : none, page, done, arg);
    json_decref(none);
}

void store_port_history(struct store *s, const char *port_id, const struct store_page *page,
                        store_done_fn *done, void *arg)
{
    json_t *items = json_array(), *job;
    size_t i;
    json_array_foreach(s->station->jobs, i, job)
    {
        if (is_open(job) || json_is_null(json_object_get(job, "started_at")) ||
            strcmp(text_of(job, "port"), port_id) != 0)
            continue;
        json_t *text = json_object_get(json_object_get(job, "error"), "message");
        json_array_insert_new(
            items, 0,
            json_pack("{s:O, s:O, s:O, s:O, s:O, s:O, s:O, s:O?}", "id", json_object_get(job, "id"),
                      "recipe", json_object_get(job, "recipe"), "state",
                      json_object_get(job, "state"), "serial", json_object_get(job, "serial"),
                      "phone_id", json_object_get(job, "phone_id"), "started_at",
                      json_object_get(job, "started_at"), "ended_at",
                      json_object_get(job, "ended_at"), "text", text));
    }
    page_done(items, page, done, arg);
    json_decref(items);
}

void store_event_list(struct store *s, const struct store_page *page, store_done_fn *done,
                      void *arg)
{
    page_done(s->station->events, page, done, arg);
}

void store_phone_get(struct store *s, int64_t phone_id, store_done_fn *done, void *arg)
{
    get_done(s->station->phones, phone_id, done, arg);
}

void store_phone_list(struct store *s, const char *chip_id, const char *serial,
                      const struct store_page *page, store_done_fn *done, void *arg)
{
    (void)chip_id, (void)serial;
    page_done(s->station->phones, page, done, arg);
}

/* One conflict, of phone 1 with a phone that this station does not show. */
static json_t *conflict_new(const char *state)
{
    return json_pack("{s:s, s:s, s:s, s:n, s:[ss], s:[], s:n, s:s, s:s, s:n, s:n, s:n, s:n, s:s}",
                     "id", "1", "kind", "imei", "value", "490154203237518", "other_value", "phones",
                     "1", "2", "backups", "job_id", "state", state, "noticed_at",
                     "2026-11-22T10:00:00.000Z", "resolved_at", "resolved_by", "reason", "kept",
                     "text", "IMEI 490154203237518 is on two phones: 1 and 2");
}

void store_conflict_list(struct store *s, const char *state, const struct store_page *page,
                         store_done_fn *done, void *arg)
{
    (void)s, (void)state;
    json_t *items = json_pack("[o]", conflict_new("open"));
    page_done(items, page, done, arg);
    json_decref(items);
}

void store_conflict_get(struct store *s, int64_t conflict_id, store_done_fn *done, void *arg)
{
    (void)conflict_id;
    json_t *conflict = conflict_new("open");
    json_object_set_new(
        conflict, "records",
        json_pack("{s:[O], s:[]}", "phones", find(s->station->phones, "1"), "backups"));
    done(arg, 0, NULL, conflict);
    json_decref(conflict);
}

void store_conflict_resolve(struct store *s, int64_t conflict_id, const char *actor,
                            const char *reason, const char *keep, store_done_fn *done, void *arg)
{
    (void)s, (void)conflict_id, (void)actor, (void)keep;
    json_t *conflict = conflict_new("resolved");
    json_object_set_new(conflict, "reason", json_string(reason));
    done(arg, 0, NULL, conflict);
    json_decref(conflict);
}

struct sign_key store_sign_key(const struct store *s)
{
    (void)s;
    return (struct sign_key){{1}};
}

/* A report of the right shape; its signature is none. */
void store_job_report(struct store *s, int64_t job_id, store_done_fn *done, void *arg)
{
    AUTO(free_ptr) char *id = xasprintf("%lld", (long long)job_id);
    json_t *job = find(s->station->jobs, id);
    if (!job) {
        fail(done, arg, ERR_NOT_FOUND, "there is no such job");
        return;
    }
    char hex[129];
    memset(hex, '0', sizeof(hex) - 1);
    hex[128] = '\0';
    json_t *manifest = json_pack(
        "{s:i, s:s, s:i, s:n, s:{s:O, s:O, s:O, s:O}, s:s, s:[]}", "manifest_version", 1, "station",
        hex + 64, "sequence", 1, "previous_sha256", "job", "id", json_object_get(job, "id"),
        "state", json_object_get(job, "state"), "serial", json_object_get(job, "serial"), "error",
        json_object_get(job, "error"), "phone_state", "untouched", "written");
    json_t *report = json_pack("{s:i, s:s, s:o, s:s, s:s, s:s}", "report_version", 1, "algorithm",
                               "Ed25519", "manifest", manifest, "manifest_sha256", hex + 64,
                               "signature", hex, "public_key", hex + 64);
    done(arg, 0, NULL, report);
    json_decref(report);
}

void store_report_list(struct store *s, const struct store_page *page, store_done_fn *done,
                       void *arg)
{
    (void)s;
    json_t *none = json_array();
    page_done(none, page, done, arg);
    json_decref(none);
}

void store_backup_get(struct store *s, int64_t backup_id, store_done_fn *done, void *arg)
{
    get_done(s->station->backups, backup_id, done, arg);
}

void store_backup_verify(struct store *s, int64_t backup_id, store_done_fn *done, void *arg)
{
    get_done(s->station->backups, backup_id, done, arg);
}

void store_backup_pin(struct store *s, int64_t backup_id, bool pinned, const char *actor,
                      store_done_fn *done, void *arg)
{
    (void)actor;
    AUTO(free_ptr) char *id = xasprintf("%lld", (long long)backup_id);
    json_t *backup = find(s->station->backups, id);
    if (backup)
        json_object_set_new(backup, "pinned", json_boolean(pinned));
    get_done(s->station->backups, backup_id, done, arg);
}

void station_backup_prune(struct station *s, bool dry_run, int64_t after_phone,
                          station_done_fn *done, void *arg)
{
    (void)dry_run, (void)after_phone;
    json_t *items = json_array(), *backup;
    size_t i;
    json_array_foreach(s->backups, i, backup)
    {
        json_array_append_new(
            items, json_pack("{s:O, s:O, s:s}", "backup_id", json_object_get(backup, "id"),
                             "phone_id", json_object_get(backup, "phone_id"), "why", "newest"));
    }
    json_auto_t *body = json_pack("{s:o, s:n}", "items", items, "next");
    done(arg, 0, NULL, body);
}

void store_backup_list(struct store *s, int64_t phone_id, const char *serial,
                       const struct store_page *page, store_done_fn *done, void *arg)
{
    (void)phone_id, (void)serial;
    page_done(s->station->backups, page, done, arg);
}

/* None of the double's is damaged. */
void store_backup_damaged(struct store *s, const struct store_page *page, store_done_fn *done,
                          void *arg)
{
    (void)s;
    json_t *none = json_array();
    page_done(none, page, done, arg);
    json_decref(none);
}

/* The image: PARTITION_BYTES of a pattern that the test can make, too. */
void store_backup_open(struct store *s, int64_t backup_id, const char *partition, store_fd_fn *done,
                       void *arg)
{
    AUTO(free_ptr) char *id = xasprintf("%lld", (long long)backup_id);
    struct err err;
    if (!find(s->station->backups, id) || strcmp(partition, "nvram") != 0) {
        err_set(&err, ERR_NOT_FOUND, "there is no such partition in this backup");
        done(arg, err.code, &err, -1, 0);
        return;
    }
    int fd = memfd_create("partition", MFD_CLOEXEC);
    static uint8_t block[65536];
    for (size_t i = 0; i < sizeof(block); i++)
        block[i] = (uint8_t)(i * 7);
    for (size_t at = 0; at < PARTITION_BYTES; at += sizeof(block))
        if (write(fd, block, sizeof(block)) != sizeof(block))
            abort();
    done(arg, 0, NULL, fd, PARTITION_BYTES);
}

void store_firmware_get(struct store *s, int64_t firmware_id, store_done_fn *done, void *arg)
{
    get_done(s->station->firmware, firmware_id, done, arg);
}

void store_firmware_list(struct store *s, const struct store_page *page, store_done_fn *done,
                         void *arg)
{
    page_done(s->station->firmware, page, done, arg);
}

/* ---- the databases as a whole ---- */

void store_copy(struct store *s, const char *folder, store_done_fn *done, void *arg)
{
    (void)s;
    json_t *copy = json_pack(
        "{s:s, s:s, s:i, s:i, s:[]}", "path", folder ? folder : "/srv/copies/1", "created_at",
        "2026-11-22T10:00:00.000Z", "station_bytes", 4096, "backups_bytes", 4096, "problems");
    done(arg, 0, NULL, copy);
    json_decref(copy);
}

void store_check(struct store *s, store_done_fn *done, void *arg)
{
    (void)s;
    json_t *verdict =
        json_pack("{s:s, s:[]}", "checked_at", "2026-11-22T10:00:00.000Z", "problems");
    done(arg, 0, NULL, verdict);
    json_decref(verdict);
}

/* ---- scenes ---- */

static void phone_add(struct station *s)
{
    json_t *phone = json_pack(
        "{s:s, s:s, s:n, s:s, s:[ss], s:s, s:s, s:s, s:n, s:[s], s:[], s:[]}", "id", "1", "chip_id",
        "5d1e0c4a7b3f92866a0d4be1c3f7a9e2", "soc_id", "serial", "PDAGAD0123456789", "imeis",
        "352384100000012", "352384100000020", "wlan_mac", "a4:50:46:01:02:03", "bt_mac",
        "a4:50:46:01:02:04", "identity", "own", "port_id", "backups", "1", "jobs", "conflicts");
    put_now(phone, "first_seen");
    put_now(phone, "last_seen");
    json_array_append_new(s->phones, phone);
}

static void scene_port(struct station *s, size_t i)
{
    json_t *port = json_array_get(s->ports, i);
    AUTO(free_ptr) char *serial = xasprintf("PDAGAD01234567%02zu", i + 10);
    struct job_order order = {
        .recipe = "x5-restore", .port = text_of(port, "id"), .serial = serial};
    if (i % 8 == 4) /* left empty */
        return;
    if (i % 8 == 6) {
        put_text(port, "state", "fault");
        put_text(port, "trouble", "The hub reports too much current on this port.");
        return;
    }
    json_t *job = job_new(s, &order);
    job_tick(s, job);
    if (i % 8 == 1) /* waits for keys */
        return;
    if (i % 8 == 2 || i % 8 == 5) {
        job_end(s, job, i % 8 == 2 ? "succeeded" : "failed",
                i % 8 == 2 ? "Restored, started, numbers checked"
                           : "Only the preloader showed up: the keys were not held");
        return;
    }
    json_object_set_new(job, "prompt", json_null());
    put_text(job, "state", "running");
    step_end(job, "done");
    job_running(s, job, 0);
    json_object_set_new(job, "ticks", json_integer((json_int_t)(i * 11 % (WRITE_TICKS - 5)) + 3));
    if (i % 8 == 7) { /* acceptance */
        json_object_set_new(job, "ticks", json_integer(WRITE_TICKS));
        bool frozen = s->frozen;
        s->frozen = false;
        job_tick(s, job);
        s->frozen = frozen;
    }
}

static struct station *station_double(struct event_base *base, int ports, int tick_ms, bool scene,
                                      bool hands)
{
    struct station *s = xcalloc(1, sizeof(*s));
    s->ports = json_array();
    s->jobs = json_array();
    s->events = json_array();
    s->firmware = json_array();
    s->backups = json_array();
    s->phones = json_array();
    s->logs = json_object();
    s->keys = json_object();
    s->tick_ms = tick_ms;
    s->frozen = scene;
    s->hands = hands;
    for (int i = 1; i <= ports; i++)
        port_add(s, i);
    if (scene) {
        firmware_new(s, "/srv/firmware/PDA-290H-0-00WW-B05");
        backup_new(s, "PDAGAD0123456789", "station");
        phone_add(s);
        for (size_t i = 0; i < (size_t)ports; i++)
            scene_port(s, i);
    }
    s->timer = evtimer_new(base, tick, s);
    tick(-1, 0, s);
    return s;
}

static void station_double_free(struct station *s)
{
    json_t *all[] = {s->ports,    s->jobs,    s->events, s->logs,    s->keys,
                     s->firmware, s->backups, s->phones, s->failures};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        json_decref(all[i]);
    event_free(s->timer);
    free(s);
}

/* ---- main ---- */

struct options {
    const char *recipes;
    int ports, tick_ms;
    bool scene, hands;
    struct http_config http;
};

static void options_read(int argc, char **argv, struct options *o)
{
    static const struct option names[] = {{"listen", 1, NULL, 'l'},   {"web", 1, NULL, 'w'},
                                          {"recipes", 1, NULL, 'r'},  {"ports", 1, NULL, 'p'},
                                          {"tick-ms", 1, NULL, 't'},  {"scene", 0, NULL, 's'},
                                          {"tls-cert", 1, NULL, 'c'}, {"tls-key", 1, NULL, 'k'},
                                          {"no-hands", 0, NULL, 'n'}, {0}};
    int c;
    while ((c = getopt_long(argc, argv, "", names, NULL)) != -1) {
        switch (c) {
        case 'l':
            o->http.listen = optarg;
            break;
        case 'w':
            o->http.web_dir = optarg;
            break;
        case 'r':
            o->recipes = optarg;
            break;
        case 'p':
            o->ports = atoi(optarg);
            break;
        case 't':
            o->tick_ms = atoi(optarg);
            break;
        case 's':
            o->scene = true;
            break;
        case 'c':
            o->http.tls_cert = optarg;
            break;
        case 'k':
            o->http.tls_key = optarg;
            break;
        case 'n':
            o->hands = false;
            break;
        default:
            exit(2);
        }
    }
}

static void stop(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    event_base_loopbreak(arg);
}

static void stdin_ready(evutil_socket_t fd, short what, void *arg)
{
    char byte;
    if (read(fd, &byte, 1) <= 0)
        stop(fd, what, arg);
}

int main(int argc, char **argv)
{
    struct options o = {.recipes = "schema/recipes",
                        .ports = 4,
                        .tick_ms = 200,
                        .hands = true,
                        .http = {.listen = "127.0.0.1:0", .web_dir = "web"}};
    options_read(argc, argv, &o);
    signal(SIGPIPE, SIG_IGN);
    log_program_set("bench-double");
    struct event_base *base = event_base_new();
    struct event *ends[] = {evsignal_new(base, SIGTERM, stop, base),
                            evsignal_new(base, SIGINT, stop, base),
                            event_new(base, 0, EV_READ | EV_PERSIST, stdin_ready, base)};
    for (size_t i = 0; i < ARRAY_LEN(ends); i++)
        event_add(ends[i], NULL);
    struct station *station = station_double(base, o.ports, o.tick_ms, o.scene, o.hands);
    station->failures = failures_load(o.recipes);
    struct store store = {station};
    struct http *http = NULL;
    struct api *api = NULL;
    struct err err;
    struct api_config config = {.base = base, .recipe_dir = o.recipes};
    int rc = http_new(base, &o.http, &http, &err);
    if (rc == 0)
        rc = api_new(http, station, &store, &config, &api, &err);
    if (rc == 0)
        rc = http_listen(http, &err);
    if (rc < 0) {
        fprintf(stderr, "bench-double: %s\n", err.text);
    } else {
        printf("%s\n", http_url(http));
        fflush(stdout);
        event_base_dispatch(base);
    }
    api_free(&api);
    http_free(&http);
    station_double_free(station);
    for (size_t i = 0; i < ARRAY_LEN(ends); i++)
        event_free(ends[i]);
    event_base_free(base);
    return rc < 0;
}
