/* verbs.c: what a person asks of a job: cancel it, pause it, let it go on, answer what it asks. Most of it the worker does
 * between two steps; what has no worker is changed here. */
#include <stdlib.h>
#include <string.h>

#include "server/station/internal.h"
#include "usb/base/mem.h"

static void answer_with_job(struct job *j, station_done_fn *done, void *arg)
{
    json_t *body =
        json_pack("{s:o, s:s}", "id", json_sprintf("%lld", (long long)j->id), "state", j->state);
    station_job_overlay(j->s, body);
    done(arg, 0, NULL, body);
    json_decref(body);
}

/* One call of a person: what a job is asked for, and who waits for the answer. */
struct verb_call {
    struct station *s;
    char verb[16], port[128];
    bool has_port;
    int tries; /* more, while the job is between two states */
    int64_t job_id;
    station_done_fn *done;
    void *arg;
};

/* What a former process left is taken up, or a worker starts: mostly a fraction of a second. A worker of before that is
 * still in its step may take minutes; nobody waits that long for an answer. */
enum { VERB_AGAIN_MS = 50, VERB_TRIES = 100 };

static void verb_fail(struct verb_call *c, const struct err *err)
{
    done_error(c->done, c->arg, err);
    free(c);
}

static void verb_begin(void *arg);

static void verb_dropped(void *arg)
{
    struct err err = {0};
    err_set(&err, ERR_CANCELLED, "the station ends");
    verb_fail(arg, &err);
}

/* The job cannot do it just now: once more, or `err` when that was tried for long enough. */
static void verb_later(struct verb_call *c, const struct err *err)
{
    if (c->tries-- > 0 && !c->s->stopping)
        station_after(c->s, VERB_AGAIN_MS, verb_begin, verb_dropped, c);
    else
        verb_fail(c, err);
}

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
    struct store_job_change change = {
        .state = "cancelled", .from = "interrupted", .error = error};
    store_job_change(c->s->store, c->job_id, &change, on_cancelled, c);
    json_decref(error);
}

/* A job that does not live: the store knows whether it was interrupted (and can go on), has ended (409), is about to be
 * taken up again after a start (in a moment it lives) or never was (404). */
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
    if (code == 0 && !interrupted && state && !store_job_closes(state)) {
        err_set(&why, ERR_CONFLICT,
                "job %lld is being taken up again after the station's start: try again in a moment",
                (long long)c->job_id);
        verb_later(c, &why);
        return;
    }
    if (code == 0 && interrupted)
        err_set(&why, ERR_CONFLICT, "job %lld is interrupted: resume or cancel it",
                (long long)c->job_id);
    else if (code == 0)
        err_set(&why, ERR_CONFLICT, "job %lld has ended: %s", (long long)c->job_id, state);
    verb_fail(c, code < 0 ? err : &why);
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

static void pause_job(struct job *j)
{
    if (j->worker) {
        j->pausing = strcmp(j->state, "paused") != 0;
        job_control(j, "pause");
        return;
    }
    j->paused = true;
    j->waits_for = NULL;
    job_set_state(j, "paused");
}

/* With a worker, or queued for one; in between only its end can be asked for. Not once the worker has gone: what it wrote
 * to the phone is to stand in the job's report, and a job that has just succeeded is not cancelled any more. */
static void verb_live(struct verb_call *c, struct job *j)
{
    struct err err = {0};
    bool cancel = strcmp(c->verb, "cancel") == 0;
    if (j->ending) {
        err_set(&err, ERR_CONFLICT,
                "what the last run of job %lld left is still being taken in: try again in a moment",
                (long long)j->id);
        verb_later(c, &err);
        return;
    }
    if (cancel && !j->worker) {
        cancel_without_worker(j, c->done, c->arg);
        free(c);
        return;
    }
    if (!j->worker && !j->queued) {
        err_set(&err, ERR_CONFLICT, "job %lld is just starting: try again in a moment",
                (long long)j->id);
        verb_later(c, &err);
        return;
    }
    if (cancel) {
        j->cancelling = true;
        job_control(j, c->verb);
    } else if (strcmp(c->verb, "pause") == 0) {
        pause_job(j);
    } else if (resume(j, c->has_port ? c->port : NULL, &err) < 0) {
        verb_fail(c, &err);
        return;
    }
    job_publish(j);
    answer_with_job(j, c->done, c->arg);
    free(c);
}

static void verb_begin(void *arg)
{
    struct verb_call *c = arg;
    struct job *j = job_find(c->s, c->job_id);
    if (j)
        verb_live(c, j);
    else
        store_job_get(c->s->store, c->job_id, on_other_job, c);
}

static struct verb_call *verb_new(struct station *s, const char *job_id, const char *verb,
                                  station_done_fn *done, void *arg)
{
    struct verb_call *c = xcalloc(1, sizeof(*c));
    *c = (struct verb_call){.s = s, .job_id = store_id(job_id), .done = done, .arg = arg};
    WIRE_TEXT(c->verb, verb);
    return c;
}

void station_job_verb(struct station *s, const char *job_id, const char *verb, const char *port,
                      station_done_fn *done, void *arg)
{
    struct verb_call *c = verb_new(s, job_id, verb, done, arg);
    c->tries = VERB_TRIES;
    c->has_port = port != NULL;
    WIRE_TEXT(c->port, port);
    verb_begin(c);
}

void station_job_answer(struct station *s, const char *job_id, const char *prompt_id,
                        const char *answer, json_t *values, station_done_fn *done, void *arg)
{
    struct job *j = job_find(s, store_id(job_id));
    if (!j) { /* it asks nothing, whatever it is */
        store_job_get(s->store, store_id(job_id), on_other_job,
                      verb_new(s, job_id, "answer", done, arg));
        return;
    }
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
