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
    if (strcmp(j->state, "running") == 0) {
        change.error = none; /* what the run before failed with is not what this one says */
        change.port_id = j->port->id;
    }
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

/* The port of a job that ended: its phone is still plugged in, and may be half written. */
static void leave_port(struct job *j, const char *state, json_t *error)
{
    struct port *p = j->port;
    p->job = NULL;
    p->spent = true;
    p->phone_id = j->phone_id;
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
    j->has_done = j->deny_sent = j->pausing = false;
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

void job_back_off(struct job *j)
{
    int64_t wait_ms = (int64_t)RETRY_FIRST_MS << (j->retries > 0 ? j->retries - 1 : 0);
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

static void answer_with_job(struct job *j, station_done_fn *done, void *arg)
{
    json_t *body =
        json_pack("{s:o, s:s}", "id", json_sprintf("%lld", (long long)j->id), "state", j->state);
    station_job_overlay(j->s, body);
    done(arg, 0, NULL, body);
    json_decref(body);
}

/* ---- verbs ------------------------------------------------------------------------------------------- */

struct verb_call {
    struct station *s;
    char verb[16], port[128];
    bool has_port;
    int64_t job_id;
    station_done_fn *done;
    void *arg;
};

static void on_cancelled(void *arg, int code, const struct err *err, json_t *body)
{
    struct verb_call *c = arg;
    if (code == 0) {
        ports_keep_no_more(c->s, c->job_id);
        spool_remove(c->s, c->job_id);
    }
    c->done(c->arg, code, err, body);
    free(c);
}

static void cancel_interrupted(struct verb_call *c, json_t *job)
{
    json_t *error = cancelled_error(c->s, job);
    struct store_job_change change = {.state = "cancelled", .error = error};
    store_job_change(c->s->store, c->job_id, &change, on_cancelled, c);
    json_decref(error);
}

/* A job that does not live: the store knows whether it was interrupted (and can go on), has ended (409), is about to be
 * taken up again after a start (409, for a moment) or never was (404). */
static void on_other_job(void *arg, int code, const struct err *err, json_t *body)
{
    struct verb_call *c = arg;
    struct err why = {0};
    const char *state = json_string_value(json_object_get(body, "state"));
    bool interrupted = state && strcmp(state, "interrupted") == 0;
    if (code == 0 && interrupted && strcmp(c->verb, "cancel") == 0) {
        cancel_interrupted(c, body);
        return;
    }
    if (code == 0 && interrupted && strcmp(c->verb, "resume") == 0) {
        resume_begin(c->s, body, c->has_port ? c->port : NULL, c->done, c->arg);
        free(c);
        return;
    }
    if (code == 0 && interrupted)
        err_set(&why, ERR_CONFLICT, "job %lld is interrupted: resume or cancel it",
                (long long)c->job_id);
    else if (code == 0 && state && !store_job_closes(state))
        err_set(&why, ERR_CONFLICT,
                "job %lld is being taken up again after the station's start: try again in a moment",
                (long long)c->job_id);
    else if (code == 0)
        err_set(&why, ERR_CONFLICT, "job %lld has ended: %s", (long long)c->job_id, state);
    done_error(c->done, c->arg, code < 0 ? err : &why);
    free(c);
}

static struct job *live_job(struct station *s, const char *id, const char *verb, const char *port,
                            station_done_fn *done, void *arg)
{
    struct job *j = job_find(s, store_id(id));
    if (j)
        return j;
    struct verb_call *c = xcalloc(1, sizeof(*c));
    *c = (struct verb_call){
        .s = s, .has_port = port != NULL, .job_id = store_id(id), .done = done, .arg = arg};
    WIRE_TEXT(c->verb, verb);
    WIRE_TEXT(c->port, port);
    store_job_get(s->store, c->job_id, on_other_job, c);
    return NULL;
}

struct cancel_call {
    int64_t job_id;
    station_done_fn *done;
    void *arg;
};

/* The store commits in order: with this line the end of the job is there, too. */
static void on_cancel_noted(void *arg, int code, const struct err *err, json_t *body)
{
    (void)body;
    struct cancel_call *c = arg;
    json_t *job = json_pack("{s:o, s:s}", "id", json_sprintf("%lld", (long long)c->job_id), "state",
                            "cancelled");
    c->done(c->arg, code, err, code < 0 ? NULL : job);
    json_decref(job);
    free(c);
}

static void cancel_without_worker(struct job *j, station_done_fn *done, void *arg)
{
    struct store *store = j->s->store;
    struct cancel_call *c = xcalloc(1, sizeof(*c));
    *c = (struct cancel_call){j->id, done, arg};
    const char *text = j->permitted ? "cancelled before it went on" : "cancelled before it began";
    json_t *error = failure_json(j->s, NULL, "cancelled", text);
    json_object_set_new(error, "advice",
                        json_string(j->permitted
                                        ? "An earlier run may have left the phone half written: do "
                                          "not start it; order the job again and plug it in with "
                                          "both volume keys held."
                                        : "Nothing was written to any phone."));
    job_end(j, "cancelled", error, NULL);
    json_decref(error);
    store_job_log_add(store, c->job_id, "info", NULL, text, on_cancel_noted, c);
}

/* The phone of a running job lies on another port now, says a person. Its worker waits there instead; it reads
 * the chip before it writes, as after every mode change. Only while it waits for a phone: between two other steps, also
 * when it is paused there, it has the one on the old port open and goes on with that. */
static int move(struct job *j, struct port *to, struct err *err)
{
    const char *by = json_string_value(json_object_get(j->prompt, "answered_by"));
    const char *name = to->label[0] ? to->label : to->id;
    if (!by || strcmp(by, "usb") != 0)
        return err_set(
            err, ERR_CONFLICT,
            "job %lld does not wait for its phone, it holds its phone on port %s: let it "
            "go on without a port; when the phone is not there it asks for it, and then "
            "the port can be named",
            (long long)j->id, j->port->label[0] ? j->port->label : j->port->id);
    if (!port_is_free(to, j->id))
        return err_set(err, ERR_CONFLICT, "port %s is not free", name);
    struct port *from = j->port;
    from->job = NULL;
    to->job = j;
    j->port = to;
    j->seen_on = NULL;
    job_store_change(j, &(struct store_job_change){.port_id = to->id});
    AUTO(free_ptr) char *text = xasprintf("a person says the phone is on port %s now", name);
    store_job_log_add(j->s->store, j->id, "info", j->step, text, NULL, NULL);
    job_watch_again(j);
    port_publish(from);
    port_publish(to);
    schedule_poke(j->s);
    return 0;
}

/* A job that waits, or was paused while it had no worker. */
static void go_on(struct job *j, struct port *to)
{
    if (to) {
        j->wants = to;
        j->any_port = false; /* a person named the port, as an order does */
        job_store_change(j, &(struct store_job_change){.port_id = to->id, .port_ordered = true});
    }
    if (j->paused) {
        j->paused = false;
        job_set_state(j, "queued");
    }
    j->not_before_ms = 0; /* a person who says "go on" does not wait for the back-off */
    schedule_poke(j->s);
}

static int resume(struct job *j, const char *port, struct err *err)
{
    struct port *to = port ? port_named(j->s, port, err) : NULL;
    if (port && !to)
        return err->code;
    if (!j->worker && !j->queued)
        return err_set(err, ERR_CONFLICT, "job %lld is just starting", (long long)j->id);
    if (!j->worker) {
        go_on(j, to);
        return 0;
    }
    int rc = to && to != j->port ? move(j, to, err) : 0;
    if (rc == 0) {
        j->pausing = false;
        job_control(j, "resume");
    }
    return rc;
}

static int pause_job(struct job *j, struct err *err)
{
    if (j->worker) {
        j->pausing = strcmp(j->state, "paused") != 0;
        job_control(j, "pause");
        return 0;
    }
    if (!j->queued)
        return err_set(err, ERR_CONFLICT, "job %lld is just starting; try again", (long long)j->id);
    j->paused = true;
    j->waits_for = NULL;
    job_set_state(j, "paused");
    return 0;
}

void station_job_verb(struct station *s, const char *job_id, const char *verb, const char *port,
                      station_done_fn *done, void *arg)
{
    struct job *j = live_job(s, job_id, verb, port, done, arg);
    if (!j)
        return;
    struct err err = {0};
    int rc = 0;
    if (strcmp(verb, "cancel") == 0 && !j->worker) {
        cancel_without_worker(j, done, arg);
        return;
    }
    if (strcmp(verb, "cancel") == 0) {
        j->cancelling = true;
        job_control(j, verb);
    } else {
        rc = strcmp(verb, "pause") == 0 ? pause_job(j, &err) : resume(j, port, &err);
    }
    if (rc < 0) {
        done_error(done, arg, &err);
        return;
    }
    job_publish(j);
    answer_with_job(j, done, arg);
}

void station_job_answer(struct station *s, const char *job_id, const char *prompt_id,
                        const char *answer, json_t *values, station_done_fn *done, void *arg)
{
    struct job *j = live_job(s, job_id, "answer", NULL, done, arg);
    if (!j)
        return;
    const char *asked = json_string_value(json_object_get(j->prompt, "id"));
    struct err err = {0};
    if (!asked || !j->worker)
        err_set(&err, ERR_CONFLICT, "job %s asks nothing at the moment", job_id);
    else if (!prompt_id || strcmp(prompt_id, asked) != 0)
        err_set(&err, ERR_CONFLICT, "job %s asks something else now: prompt %s", job_id, asked);
    else if (recognise_asks(j) && recognise_answer(j, answer, &err) == 0) {
        answer_with_job(j, done, arg);
        return;
    }
    if (err.code) {
        done_error(done, arg, &err);
        return;
    }
    struct wire_message m = {.type = WIRE_answer, .fd = -1, .u.answer = {.values = values}};
    WIRE_TEXT(m.u.answer.prompt_id, prompt_id);
    WIRE_TEXT(m.u.answer.answer, answer);
    worker_send(j->worker, &m);
    answer_with_job(j, done, arg);
}
