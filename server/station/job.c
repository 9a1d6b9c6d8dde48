/* job.c: the life of a job from its order to its end, run by run. */
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/station/internal.h"
#include "usb/base/clock.h"
#include "usb/base/log.h"
#include "usb/base/mem.h"

struct job *job_new(struct station *s, int64_t id)
{
    struct job *j = xcalloc(1, sizeof(*j));
    j->s = s;
    j->id = id;
    j->spool_fd = -1;
    WIRE_TEXT(j->state, "queued");
    LIST_INSERT_HEAD(&s->jobs, j, link);
    return j;
}

struct job *job_find(struct station *s, int64_t id)
{
    struct job *j;
    LIST_FOREACH(j, &s->jobs, link)
    {
        if (j->id == id)
            return j;
    }
    return NULL;
}

static void job_free(struct job *j)
{
    for (size_t i = 0; i < j->image_count; i++)
        fd_close(&j->images[i].fd);
    fd_close(&j->spool_fd);
    json_decref(j->package);
    json_decref(j->backup);
    json_decref(j->prompt);
    json_decref(j->done.result);
    json_decref(j->end_error);
    json_decref(j->end_result);
    if (j->save)
        event_free(j->save);
    free(j->plan_text);
    free(j->before);
    free(j);
}

void job_unref(struct job *j)
{
    j->pending--;
    if (j->saved && j->pending == 0 && !j->worker)
        job_free(j);
    else if (j->queued && j->pending == 0)
        schedule_poke(j->s); /* it may start now */
}

static json_t *progress_json(const struct job *j)
{
    double left = (double)(j->total_bytes - j->done_bytes);
    json_t *eta = json_null();
    if (j->bytes_per_s > 0 && left >= 0)
        eta = json_integer((json_int_t)(left / j->bytes_per_s + 0.5));
    return json_pack("{s:I, s:I, s:I, s:o}", "done_bytes", (json_int_t)j->done_bytes, "total_bytes",
                     (json_int_t)j->total_bytes, "bytes_per_s", (json_int_t)j->bytes_per_s, "eta_s",
                     eta);
}

struct port *job_place(const struct job *j)
{
    return j->port ? j->port : j->wants;
}

void job_control(struct job *j, const char *verb)
{
    struct wire_message m = {.type = WIRE_control, .fd = -1};
    WIRE_TEXT(m.u.control.verb, verb);
    worker_send(j->worker, &m);
}

/* Why a job that could run does not; null when it does not wait. */
static json_t *waits_json(const struct job *j)
{
    static const struct {
        const char *what, *text;
    } words[] = {
        {"port", "another job has its port"},
        {"enabled_port", "its port is switched off"},
        {"kept_port",
         "the phone of an interrupted job is still on its port: resume or cancel that job, or "
         "unplug the phone"},
        {"phone", "its phone has not shown up on a port that takes work"},
        {"work_port",
         "no port takes jobs that name none: switch that on in a port's settings, or order the job "
         "for a port"},
        {"phone_busy", "another job runs for its phone"},
        {"calibration", "a person labels the ports by plugging a phone along the rack"},
        {"slot", "as many jobs run as the station's limits allow"},
        {"retry", "its last run failed in a way that may pass; it will be tried again"},
    };
    for (size_t i = 0; j->waits_for && i < ARRAY_LEN(words); i++)
        if (strcmp(words[i].what, j->waits_for) == 0)
            return json_pack("{s:s, s:s}", "what", words[i].what, "text", words[i].text);
    return json_null();
}

static json_t *retry_at_json(const struct job *j)
{
    char text[CLOCK_TEXT_BYTES];
    clock_rfc3339(j->retry_at_ms, text);
    bool due = j->waits_for && strcmp(j->waits_for, "retry") == 0;
    return due ? json_string(text) : json_null();
}

/* What a person wants of it that its worker does after the step it is in. */
static json_t *pending_json(const struct job *j)
{
    if (!j->worker || !(j->cancelling || j->pausing))
        return json_null();
    return json_string(j->cancelling ? "cancel" : "pause");
}

/* Live view of a running job; the whole resource comes from the store. */
void job_publish(struct job *j)
{
    if (!j->s->on_event)
        return;
    j->told_ms = clock_now_ms();
    const struct port *place = job_place(j);
    json_t *body = json_pack(
        "{s:o, s:s, s:s, s:s?, s:s, s:o, s:o, s:o, s:o, s:o, s:o}", "id",
        json_sprintf("%lld", (long long)j->id), "state", j->state, "step", j->step, "port",
        place ? place->id : NULL, "serial", j->serial, "progress", progress_json(j), "prompt",
        j->prompt ? json_incref(j->prompt) : json_null(), "waits_for", waits_json(j), "retry_at",
        retry_at_json(j), "seen_on", moved_json(j), "pending", pending_json(j));
    j->s->on_event(j->s->on_event_arg, 0, "job", body);
    json_decref(body);
}

/* ---- what the store knows ---------------------------------------------------------------------------- */

enum { SAVE_AGAIN_MS = 1000 };

static void store_end(struct job *j);
static void store_state(struct job *j);

static void on_save(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct job *j = arg;
    if (j->ended)
        store_end(j);
    else
        store_state(j);
    job_unref(j);
}

/* The disk is full, or the store has too much to do: until it takes what we know, the two differ. */
static void save_later(struct job *j, const struct err *err)
{
    log_line(LOG_ERROR, "job", LOG_KV({"err", err_name(err->code)}),
             "job %lld is %s, which could not be stored: %s; trying again", (long long)j->id,
             j->state, err->text);
    if (!j->save)
        j->save = evtimer_new(j->s->base, on_save, j);
    if (j->s->stopping || evtimer_pending(j->save, NULL))
        return;
    j->pending++;
    struct timeval tv = {SAVE_AGAIN_MS / 1000, 0};
    evtimer_add(j->save, &tv);
}

/* Another job has this port or phone, says the database: two must never work on one. */
static void stop_running(struct job *j, const struct err *err)
{
    log_line(LOG_ERROR, "job", LOG_KV({"err", err_name(err->code)}), "job %lld stops: %s",
             (long long)j->id, err->text);
    if (j->worker) {
        j->stopped = *err;
        job_control(j, "cancel");
        return;
    }
    json_t *error = failure_json(j->s, NULL, err_name(err->code), err->text);
    job_end(j, "failed", error, NULL);
    json_decref(error);
}

static void on_state_stored(void *arg, int code, const struct err *err, json_t *body)
{
    (void)body;
    struct job *j = arg;
    if (code == ERR_CONFLICT && !j->ended && !j->queued)
        stop_running(j, err);
    else if (code < 0 && code != ERR_CANCELLED && code != ERR_CONFLICT && !j->ended)
        save_later(j, err);
    job_unref(j);
}

void job_store_change(struct job *j, const struct store_job_change *change)
{
    j->pending++;
    store_job_change(j->s->store, j->id, change, on_state_stored, j);
}

static void store_state(struct job *j)
{
    json_t *none = json_null();
    struct store_job_change change = {
        .state = j->state, .phone_id = j->phone_id, .step = j->step, .prompt = j->prompt};
    if (strcmp(j->state, "running") == 0)
        change.error = none; /* what the run before failed with is not what this one says */
    if (strcmp(j->state, "running") == 0 || j->worker)
        change.port_id = j->port->id; /* also where a person moved it, when that could not be stored */
    job_store_change(j, &change);
}

void job_set_state(struct job *j, const char *state)
{
    if (strcmp(j->state, state) == 0)
        return;
    WIRE_TEXT(j->state, state);
    store_state(j);
    if (j->port)
        port_publish(j->port);
    job_publish(j);
}

/* ---- the end ----------------------------------------------------------------------------------------- */

static void remember_result(struct port *p, const struct job *j, const char *state, json_t *error)
{
    const char *message = json_string_value(json_object_get(error, "message"));
    snprintf(p->last_job, sizeof(p->last_job), "%lld", (long long)j->id);
    p->last_outdated = false;
    WIRE_TEXT(p->last_state, state);
    WIRE_TEXT(p->last_text, message ? message : j->serial);
}

/* Only what is committed makes the spool superfluous. */
static void on_end_stored(void *arg, int code, const struct err *err, json_t *body)
{
    (void)body;
    struct job *j = arg;
    if (code < 0 && code != ERR_CANCELLED && code != ERR_CONFLICT && code != ERR_NOT_FOUND) {
        save_later(j, err);
    } else if (code != ERR_CANCELLED) {
        LIST_REMOVE(j, link);
        j->saved = true;
        if (j->port)
            j->port->held--;
        if (code == 0)
            spool_remove(j->s, j->id);
        schedule_poke(j->s);
    }
    job_unref(j);
}

static void store_end(struct job *j)
{
    struct store_job_change change = {
        .state = j->state, .error = j->end_error, .result = j->end_result};
    j->pending++;
    store_job_change(j->s->store, j->id, &change, on_end_stored, j);
}

void jobs_save(struct station *s)
{
    struct job *j;
    LIST_FOREACH(j, &s->unsaved, link)
    {
        if (!j->save || !evtimer_pending(j->save, NULL))
            continue;
        evtimer_del(j->save);
        store_end(j);
        j->pending--;
    }
}

/* The port of a job that ended: its phone is still plugged in, and may be half written. Unless it was taken away before. */
static void leave_port(struct job *j, const char *state, json_t *error)
{
    struct port *p = j->port;
    bool there = strcmp(p->mode, "none") != 0;
    p->job = NULL;
    p->spent = there;
    p->phone_id = there ? j->phone_id : 0;
    if (strcmp(state, "interrupted") == 0 && j->permitted)
        port_keep(p, j->id);
    remember_result(p, j, state, error);
    port_publish(p);
}

void job_end(struct job *j, const char *state, json_t *error, json_t *result)
{
    if (j->ended)
        return;
    j->ended = true;
    j->waits_for = NULL;
    WIRE_TEXT(j->state, state);
    j->end_error = json_incref(error);
    j->end_result = json_incref(result);
    char id[24];
    snprintf(id, sizeof(id), "%lld", (long long)j->id);
    log_line(LOG_INFO, "job",
             LOG_KV({"job", id}, {"port", j->port ? j->port->id : NULL}, {"state", state}), "%s",
             error ? json_string_value(json_object_get(error, "message")) : j->serial);
    json_decref(j->prompt);
    j->prompt = NULL;
    LIST_REMOVE(j, link);
    LIST_INSERT_HEAD(&j->s->unsaved, j, link);
    schedule_remove(j);
    if (j->port) {
        j->port->held++; /* until its row says so no other job can run there */
        leave_port(j, state, error);
    }
    if (strcmp(state, "interrupted") != 0)
        ports_keep_no_more(j->s, j->id);
    store_end(j);
    job_publish(j);
}

/* ---- another run ------------------------------------------------------------------------------------- */

enum { RETRY_FIRST_MS = 10000 };

/* Nothing of the run before may be taken for this one's. */
static void forget_run(struct job *j)
{
    for (size_t i = 0; i < j->image_count; i++)
        fd_close(&j->images[i].fd);
    j->image_count = j->images_due = 0;
    fd_close(&j->spool_fd);
    json_decref(j->done.result);
    json_decref(j->prompt);
    j->done = (struct wire_done){0};
    j->prompt = NULL;
    j->prepare_err = (struct err){0};
    j->prepare_failure = NULL;
    j->has_done = j->deny_sent = j->pausing = j->ending = false;
    j->done_bytes = j->total_bytes = j->rate_from_ms = 0;
    j->bytes_per_s = 0;
}

/* Its run is told from the store before the spool goes: the next run begins a new one. */
static void on_waiting_stored(void *arg, int code, const struct err *err, json_t *body)
{
    (void)body;
    struct job *j = arg;
    if (code == 0 && !j->ended)
        spool_remove(j->s, j->id);
    else if (code < 0 && code != ERR_CANCELLED && !j->ended)
        save_later(j, err);
    job_unref(j);
    schedule_poke(j->s);
}

static void back_into_queue(struct job *j, json_t *error, const char *why)
{
    struct port *p = j->port;
    struct store_job_change change = {.state = "waiting",
                                      .error = error,
                                      .port_id = j->wants ? NULL : "",
                                      .phone_id = j->phone_id ? j->phone_id : -1,
                                      .retries = j->retries,
                                      .crash_step = j->crash_step[0] ? j->crash_step : NULL,
                                      .retry_ms = j->retry_at_ms ? j->retry_at_ms : -1};
    store_job_log_add(j->s->store, j->id, "warn", j->step, why, NULL, NULL);
    WIRE_TEXT(j->state, "waiting");
    forget_run(j);
    p->job = NULL;
    if (j->permitted)
        port_keep(p, j->id);
    j->pending++;
    store_job_change(j->s->store, j->id, &change, on_waiting_stored, j);
    j->port = NULL;
    schedule_add(j);
    port_publish(p);
    job_publish(j);
}

static bool untouched(const struct job *j)
{
    const char *state = json_string_value(json_object_get(j->done.result, "phone_state"));
    return !j->permitted && state && strcmp(state, "untouched") == 0;
}

/* A phone that starts anew by itself looks like another one that came: it is not read again and again. */
static void meet_less_often(struct job *j)
{
    enum { DOUBLINGS_MAX = 5 };
    j->met_again = j->phone_id && j->phone_id == j->met_phone_id ? j->met_again + 1 : 0;
    j->met_phone_id = j->phone_id;
    int doublings = j->met_again <= DOUBLINGS_MAX ? j->met_again - 1 : DOUBLINGS_MAX;
    if (j->met_again)
        j->not_before_ms = clock_in((int64_t)RETRY_FIRST_MS << doublings);
}

/* A job that named no port met another phone than its own: that phone's own job may run here instead. */
static void pass_on(struct job *j, json_t *error)
{
    struct port *p = j->port;
    if (p->refused_count < PORT_REFUSALS_MAX)
        p->refused[p->refused_count++] = j->id;
    p->phone_id = j->phone_id;
    meet_less_often(j);
    j->phone_id = j->wanted_phone_id = j->ordered_phone_id;
    j->chip_id[0] = j->soc_id[0] = '\0';
    j->waits_for = "phone";
    j->wants = NULL;
    AUTO(free_ptr)
    char *why = xasprintf("%s; this job waits for its own phone",
                          json_string_value(json_object_get(error, "message")));
    back_into_queue(j, NULL, why);
}

int64_t retry_wait_ms(int retries)
{
    return (int64_t)RETRY_FIRST_MS << (retries > 0 ? retries - 1 : 0);
}

void job_back_off(struct job *j)
{
    int64_t wait_ms = retry_wait_ms(j->retries);
    j->not_before_ms = clock_in(wait_ms);
    j->retry_at_ms = clock_utc_ms() + clock_scaled(wait_ms);
    j->waits_for = "retry";
}

static void stay_with_its_phone(struct job *j)
{
    if (!j->any_port || j->permitted) { /* its phone is there, and no other will do */
        j->wanted_phone_id = j->phone_id ? j->phone_id : j->wanted_phone_id;
        j->wants = j->port;
    } else {
        j->phone_id = j->wanted_phone_id = j->ordered_phone_id;
    }
}

bool job_try_again(struct job *j, json_t *error)
{
    const char *class_name = json_string_value(json_object_get(error, "class"));
    const char *failure = json_string_value(json_object_get(error, "failure"));
    if (j->s->stopping || strcmp(j->done.code, "cancelled") == 0)
        return false;
    if (j->any_port && failure && strcmp(failure, "F4") == 0 && untouched(j)) {
        pass_on(j, error);
        return true;
    }
    if (!class_name || strcmp(class_name, "retry") != 0 || j->retries >= j->s->retries_max)
        return false;
    j->retries++;
    job_back_off(j);
    stay_with_its_phone(j);
    AUTO(free_ptr)
    char *why = xasprintf("run %d failed: %s; again in %lld s", j->retries,
                          json_string_value(json_object_get(error, "message")),
                          (long long)((j->retry_at_ms - clock_utc_ms()) / 1000));
    back_into_queue(j, error, why);
    return true;
}

/* Where its worker died: before the first step counts as one. */
static const char *crash_place(const struct job *j)
{
    return j->step[0] ? j->step : "start";
}

bool job_crashed_here(const struct job *j)
{
    return strcmp(j->crash_step, crash_place(j)) == 0;
}

bool job_after_crash(struct job *j, json_t *error)
{
    bool person = j->cancelling || strcmp(j->state, "paused") == 0; /* who wanted it to stop */
    if (j->s->stopping || person || job_crashed_here(j) || j->retries >= j->s->retries_max)
        return false;
    j->retries++;
    j->retry_at_ms = 0; /* at once: nothing has to pass first */
    WIRE_TEXT(j->crash_step, crash_place(j));
    stay_with_its_phone(j);
    AUTO(free_ptr)
    char *why = xasprintf("%s; the station takes the job up again by itself, once in this step",
                          json_string_value(json_object_get(error, "message")));
    back_into_queue(j, error, why);
    return true;
}

void jobs_free_all(struct station *s)
{
    struct job *j;
    while ((j = LIST_FIRST(&s->jobs)) || (j = LIST_FIRST(&s->unsaved))) {
        LIST_REMOVE(j, link);
        job_free(j);
    }
}

/* ---- what the API asks -------------------------------------------------------------------------------- */

void station_job_overlay(struct station *s, json_t *job)
{
    struct job *j = job_find(s, store_id(json_string_value(json_object_get(job, "id"))));
    const char *stored = json_string_value(json_object_get(job, "state"));
    if (!j && stored && strcmp(stored, "interrupted") == 0)
        json_object_set_new(job, "seen_on", moved_stored_json(s, job));
    if (!j)
        return;
    const struct port *place = job_place(j);
    json_object_set_new(job, "progress", progress_json(j));
    json_object_set_new(job, "port", place ? json_string(place->id) : json_null());
    json_object_set_new(job, "state", json_string(j->state));
    if (j->step[0])
        json_object_set_new(job, "step", json_string(j->step));
    json_object_set_new(job, "prompt", j->prompt ? json_incref(j->prompt) : json_null());
    json_object_set_new(job, "waits_for", waits_json(j));
    json_object_set_new(job, "retry_at", retry_at_json(j));
    json_object_set_new(job, "seen_on", moved_json(j));
    json_object_set_new(job, "pending", pending_json(j));
}
