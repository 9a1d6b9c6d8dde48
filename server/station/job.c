/* job.c: the life of a job from the queue of its port to its end. */
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
    free(j->plan_text);
    free(j->before);
    free(j);
}

void job_unref(struct job *j)
{
    j->pending--;
    if (j->ended && j->pending == 0 && !j->worker)
        job_free(j);
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

/* Live view of a running job; the whole resource comes from the store. */
void job_publish(struct job *j)
{
    if (!j->s->on_event)
        return;
    j->told_ms = clock_now_ms();
    json_t *body = json_pack(
        "{s:o, s:s, s:s, s:s, s:s, s:o, s:o}", "id", json_sprintf("%lld", (long long)j->id),
        "state", j->state, "step", j->step, "port", j->port ? j->port->id : "", "serial", j->serial,
        "progress", progress_json(j), "prompt", j->prompt ? json_incref(j->prompt) : json_null());
    j->s->on_event(j->s->on_event_arg, 0, "job", body);
    json_decref(body);
}

void job_set_state(struct job *j, const char *state)
{
    if (strcmp(j->state, state) == 0)
        return;
    WIRE_TEXT(j->state, state);
    struct store_job_change change = {.state = state, .step = j->step, .prompt = j->prompt};
    store_job_change(j->s->store, j->id, &change, NULL, NULL);
    if (j->port)
        port_publish(j->port);
    job_publish(j);
}

static void insert_by_priority(struct port *port, struct job *j)
{
    struct job *at, *before = NULL;
    STAILQ_FOREACH(at, &port->waiting, queue)
    {
        if (at->priority >= j->priority)
            before = at;
    }
    if (before)
        STAILQ_INSERT_AFTER(&port->waiting, before, j, queue);
    else
        STAILQ_INSERT_HEAD(&port->waiting, j, queue);
}

void job_enqueue(struct job *j, struct port *port)
{
    j->port = port;
    insert_by_priority(port, j);
    if (port->job)
        job_set_state(j, "waiting");
    port_take_next(port);
}

void port_take_next(struct port *p)
{
    if (p->s->stopping || p->s->settling || p->held || p->job || !p->enabled ||
        STAILQ_EMPTY(&p->waiting) || !portwatch_is_up(p->s->portwatch))
        return;
    struct job *j = STAILQ_FIRST(&p->waiting);
    STAILQ_REMOVE_HEAD(&p->waiting, queue);
    p->job = j;
    p->last_job[0] = '\0';
    session_start(j);
}

static void remember_result(struct port *p, const struct job *j, const char *state, json_t *error)
{
    const char *message = json_string_value(json_object_get(error, "message"));
    snprintf(p->last_job, sizeof(p->last_job), "%lld", (long long)j->id);
    WIRE_TEXT(p->last_state, state);
    WIRE_TEXT(p->last_text, message ? message : j->serial);
}

/* Only what is committed makes the spool superfluous. */
static void on_end_stored(void *arg, int code, const struct err *err, json_t *body)
{
    (void)body;
    struct job *j = arg;
    if (code < 0 && code != ERR_CANCELLED)
        log_line(LOG_ERROR, "job", LOG_KV({"err", err_name(code)}),
                 "job %lld: its end was not stored: %s", (long long)j->id, err->text);
    else if (code == 0)
        spool_remove(j->s, j->id);
    job_unref(j);
}

void job_end(struct job *j, const char *state, json_t *error, json_t *result)
{
    if (j->ended)
        return;
    j->ended = true;
    WIRE_TEXT(j->state, state);
    struct store_job_change change = {.state = state, .error = error, .result = result};
    j->pending++;
    store_job_change(j->s->store, j->id, &change, on_end_stored, j);
    char id[24];
    snprintf(id, sizeof(id), "%lld", (long long)j->id);
    log_line(LOG_INFO, "job",
             LOG_KV({"job", id}, {"port", j->port ? j->port->id : NULL}, {"state", state}), "%s",
             json_is_object(error) ? json_string_value(json_object_get(error, "message")) : j->serial);
    json_decref(j->prompt);
    j->prompt = NULL;
    LIST_REMOVE(j, link);
    struct port *p = j->port;
    if (p && p->job == j) {
        p->job = NULL;
        remember_result(p, j, state, error);
        port_publish(p);
    } else if (p) {
        STAILQ_REMOVE(&p->waiting, j, job, queue);
    }
    job_publish(j);
    if (p)
        port_take_next(p);
}

/* ---- what the API asks -------------------------------------------------------------------------------- */

void station_job_overlay(struct station *s, json_t *job)
{
    struct job *j = job_find(s, store_id(json_string_value(json_object_get(job, "id"))));
    if (!j)
        return;
    json_object_set_new(job, "progress", progress_json(j));
    json_object_set_new(job, "state", json_string(j->state));
    if (j->step[0])
        json_object_set_new(job, "step", json_string(j->step));
    json_object_set_new(job, "prompt", j->prompt ? json_incref(j->prompt) : json_null());
}

static void answer_with_job(struct job *j, station_done_fn *done, void *arg)
{
    json_t *body =
        json_pack("{s:o, s:s}", "id", json_sprintf("%lld", (long long)j->id), "state", j->state);
    station_job_overlay(j->s, body);
    done(arg, 0, NULL, body);
    json_decref(body);
}

struct ended_call {
    struct station *s;
    char verb[16]; /* empty: none that such a job could follow */
    station_done_fn *done;
    void *arg;
};

/* A job that does not live: the store knows whether it can be taken up again, has ended (409) or never was (404). */
static void on_ended_job(void *arg, int code, const struct err *err, json_t *body)
{
    struct ended_call *c = arg;
    const char *state = json_string_value(json_object_get(body, "state"));
    bool open =
        code == 0 && (strcmp(state, "interrupted") == 0 || strcmp(state, "paused") == 0);
    struct err ended = {0};
    if (open && strcmp(c->verb, "resume") == 0) {
        resume_begin(c->s, body, NULL, c->done, c->arg);
    } else if (open && strcmp(c->verb, "cancel") == 0) {
        resume_cancel(c->s, body, c->done, c->arg);
    } else {
        if (code == 0)
            err_set(&ended, ERR_CONFLICT, "job %s %s: %s",
                    json_string_value(json_object_get(body, "id")),
                    open ? "does not run" : "has ended", state);
        done_error(c->done, c->arg, code < 0 ? err : &ended);
    }
    free(c);
}

static struct job *live_job(struct station *s, const char *id, const char *verb,
                            station_done_fn *done, void *arg)
{
    struct job *j = job_find(s, store_id(id));
    if (j)
        return j;
    struct ended_call *c = xcalloc(1, sizeof(*c));
    *c = (struct ended_call){.s = s, .done = done, .arg = arg};
    WIRE_TEXT(c->verb, verb);
    store_job_get(s->store, store_id(id), on_ended_job, c);
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

static void cancel_before_start(struct job *j, station_done_fn *done, void *arg)
{
    struct store *store = j->s->store;
    struct cancel_call *c = xcalloc(1, sizeof(*c));
    *c = (struct cancel_call){j->id, done, arg};
    json_t *error = failure_json(j->s, NULL, "cancelled", "cancelled before it began");
    json_object_set_new(error, "advice", json_string("Nothing was written to any phone."));
    job_end(j, "cancelled", error, NULL);
    json_decref(error);
    store_job_log_add(store, c->job_id, "info", NULL, "cancelled before it began", on_cancel_noted,
                      c);
}

void station_job_verb(struct station *s, const char *job_id, const char *verb,
                      station_done_fn *done, void *arg)
{
    struct job *j = live_job(s, job_id, verb, done, arg);
    if (!j)
        return;
    bool cancel = strcmp(verb, "cancel") == 0;
    if (!j->worker && cancel) {
        cancel_before_start(j, done, arg);
        return;
    }
    if (!j->worker) {
        struct err err = {0};
        err_set(&err, ERR_CONFLICT, "job %s is %s: only a running job can be paused or resumed",
                job_id, j->state);
        done_error(done, arg, &err);
        return;
    }
    struct wire_message m = {.type = WIRE_control, .fd = -1};
    WIRE_TEXT(m.u.control.verb, verb);
    worker_send(j->worker, &m);
    answer_with_job(j, done, arg);
}

void station_job_answer(struct station *s, const char *job_id, const char *prompt_id,
                        const char *answer, json_t *values, station_done_fn *done, void *arg)
{
    struct job *j = live_job(s, job_id, "", done, arg);
    if (!j)
        return;
    const char *asked = json_string_value(json_object_get(j->prompt, "id"));
    struct err err = {0};
    if (!asked || !j->worker)
        err_set(&err, ERR_CONFLICT, "job %s asks nothing at the moment", job_id);
    else if (!prompt_id || strcmp(prompt_id, asked) != 0)
        err_set(&err, ERR_CONFLICT, "job %s asks something else now: prompt %s", job_id, asked);
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
