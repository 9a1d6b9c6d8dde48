/* resume.c: the runs of a job. A job is one order; each worker that it was given is a run. When a run breaks off, what
 * its worker journaled is taken into the store, and the job goes on with a new run, which believes nothing of that and
 * reads the phone (usb/recipe/survey.c). README.md, "Runs". */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/station/internal.h"
#include "usb/base/clock.h"
#include "usb/base/log.h"
#include "usb/base/mem.h"

static const char *text_of(json_t *object, const char *key)
{
    const char *s = json_string_value(json_object_get(object, key));
    return s ? s : "";
}

void error_add_phone(json_t *error, const char *phone_state)
{
    const char *advice = text_of(error, "advice");
    json_object_set_new(error, "advice",
                        json_sprintf("%s %s", phone_state_advice(phone_state), advice));
    json_object_set_new(error, "phone_state", json_string(phone_state ? phone_state : "unknown"));
}

void acceptance_learn(struct station *s, const char *chip_id, const char *port_id, json_t *result,
                      store_done_fn *done, void *arg)
{
    json_t *screen = json_object_get(result, "accepted");
    json_t *imeis = json_object_get(screen, "imeis");
    struct store_phone_seen seen = {.chip_id = chip_id,
                                    .port_id = port_id,
                                    .serial = json_string_value(json_object_get(screen, "serial")),
                                    .wlan_mac =
                                        json_string_value(json_object_get(screen, "wlan_mac")),
                                    .bt_mac = json_string_value(json_object_get(screen, "bt_mac")),
                                    .source = "screen"};
    for (size_t i = 0; i < json_array_size(imeis) && i < PLAN_IMEIS_MAX; i++)
        seen.imeis[i] = json_string_value(json_array_get(imeis, i));
    store_phone_seen(s->store, &seen, done, arg);
}

json_t *acceptance_error(const struct station *s, int code, const struct err *err, json_t *body)
{
    json_t *conflict = json_array_get(json_object_get(body, "conflicts"), 0);
    AUTO(free_ptr) char *text = conflict ? conflict_sentence(conflict) : NULL;
    if (code == 0 && !conflict)
        return NULL;
    json_t *error =
        failure_json(s, conflict ? "L7" : NULL, err_name(conflict ? ERR_CONFLICT : code),
                     conflict ? text : err->text);
    error_add_phone(error, "booted");
    return error;
}

/* ---- a run begins ------------------------------------------------------------------------------------- */

static void on_begun(void *arg, int code, const struct err *err, json_t *body)
{
    struct job *j = arg;
    struct err why = {0};
    if (code == 0) {
        j->run = (int)json_integer_value(json_object_get(body, "run"));
        WIRE_TEXT(j->pinned_chip, text_of(body, "chip_id"));
        free(j->before);
        j->before = xcalloc(1, sizeof(*j->before));
        code = phone_facts_decode(json_object_get(body, "extents"), j->before, &why);
        err = &why;
    }
    if (code == 0)
        WIRE_TEXT(j->left_as, phone_state(j->before));
    if (code < 0 && !j->ended)
        fail_before_start(j, err);
    else if (!j->ended && !j->s->stopping)
        session_collect(j);
    job_unref(j);
}

void run_begin(struct job *j)
{
    j->pending++;
    store_run_begin(j->s->store, j->id, j->port->id, on_begun, j);
}

/* ---- what its worker left -------------------------------------------------------------------------------- */

static json_t *step_cut(json_t *intent)
{
    return json_pack("{s:O, s:s, s:{s:s, s:s}, s:O, s:n}", "name", json_object_get(intent, "step"),
                     "state", "interrupted", "error", "code", "interrupted", "message",
                     "the worker ended in this step: what it did to the phone is not known",
                     "started_ms", json_object_get(intent, "at_ms"), "ended_ms");
}

/* A worker whose station is gone breaks off its waiting and says "cancelled", though nobody cancelled. */
static void step_ends(json_t *step, json_t *result, bool cancelled)
{
    const char *code = text_of(result, "code");
    bool ok = strcmp(code, "ok") == 0;
    json_object_set(step, "ended_ms", json_object_get(result, "at_ms"));
    json_object_set_new(
        step, "error",
        ok ? json_null()
           : json_pack("{s:s, s:s}", "code", code, "message", text_of(result, "text")));
    if (ok)
        json_object_set_new(step, "state", json_string("done"));
    else if (cancelled || strcmp(code, "cancelled") != 0)
        json_object_set_new(step, "state", json_string("failed"));
}

struct left {                       /* the records of a spool, sorted */
    json_t *steps, *extents, *done; /* done is borrowed; NULL: the worker did not come to its end */
};

static void left_deinit(struct left *l)
{
    json_decref(l->steps);
    json_decref(l->extents);
}

static void left_sort(json_t *records, struct left *l)
{
    size_t i;
    json_t *record;
    *l = (struct left){json_array(), json_array(), NULL};
    json_array_foreach(records, i, record)
    {
        if (strcmp(text_of(record, "type"), "done") == 0)
            l->done = json_object_get(record, "body");
    }
    bool cancelled = strcmp(text_of(l->done, "code"), "cancelled") == 0;
    json_array_foreach(records, i, record)
    {
        const char *type = text_of(record, "type");
        json_t *body = json_object_get(record, "body");
        size_t count = json_array_size(l->steps);
        if (strcmp(type, "step_intent") == 0)
            json_array_append_new(l->steps, step_cut(body));
        else if (strcmp(type, "step_result") == 0 && count)
            step_ends(json_array_get(l->steps, count - 1), body, cancelled);
        else if (strcmp(type, "extent") == 0)
            json_array_append(l->extents, body);
    }
}

/* ---- a run ends ---------------------------------------------------------------------------------------- */

struct settling {
    struct station *s;
    struct job *job;   /* of this process; NULL: see owner */
    struct port *port; /* held until this is through; NULL: none */
    json_t *owner, *done, *steps, *extents;
    int64_t job_id;
    bool readable;
    char step[WIRE_NAME_MAX]; /* that the run was in last */
};

/* The job needs its spool no longer, its port may be given away. */
static void settling_free(void *arg)
{
    struct settling *c = arg;
    struct port *p = c->port;
    if (p) {
        p->held--;
        schedule_poke(p->s);
    }
    json_decref(c->owner);
    json_decref(c->done);
    json_decref(c->steps);
    json_decref(c->extents);
    if (c->job)
        job_unref(c->job);
    free(c);
}

static void settle(void *arg);

/* The disk is full, say: all of it is done once more, what is stored already stays as it is. */
static bool settles_later(struct settling *c, int code, const struct err *err)
{
    if (!passes(code))
        return false;
    log_line(LOG_ERROR, "job", LOG_KV({"err", err_name(code)}),
             "what the last run of job %lld left is not taken in: %s; it is tried again",
             (long long)c->job_id, err->text);
    station_later(c->s, settle, settling_free, c);
    return true;
}

static const char *phone_after(const struct settling *c, json_t *extents)
{
    struct err err = {0};
    AUTO(free_ptr) struct phone_facts *facts = xcalloc(1, sizeof(*facts));
    if (!c->readable || phone_facts_decode(extents, facts, &err) < 0)
        return NULL;
    return phone_state(facts);
}

static json_t *cut_error(struct settling *c, const char *failure, const char *why,
                         const char *phone)
{
    AUTO(free_ptr)
    char *text = xasprintf("%s, in step %s", why, c->step[0] ? c->step : "(none)");
    json_t *error = failure_json(c->s, failure, "interrupted", text);
    error_add_phone(error, phone);
    return error;
}

/* Every step can be taken up: the next run reads the phone. Not when nobody can say what was written, nor twice in
 * one step: what kills its worker there kills the next one, too, and a person looks first. */
static void end_crashed(struct settling *c, const char *phone)
{
    struct job *j = c->job;
    if (c->step[0])
        WIRE_TEXT(j->step, c->step);
    WIRE_TEXT(j->left_as, phone);
    json_t *error = cut_error(c, job_crashed_here(j) ? "G7" : "F5", j->why, phone);
    store_run_end(j->s->store, j->id, "interrupted", error, phone, NULL, NULL);
    if (!c->readable || !job_after_crash(j, error))
        job_end(j, "interrupted", error, NULL);
    json_decref(error);
}

/* This process saw the worker go. */
static void end_live(struct settling *c, const char *phone)
{
    struct job *j = c->job;
    if (j->ended)
        return;                    /* a person was faster */
    if (!j->has_done && c->done) { /* it was spooled, but not heard */
        WIRE_TEXT(j->done.code, text_of(c->done, "code"));
        WIRE_TEXT(j->done.failure, text_of(c->done, "failure"));
        WIRE_TEXT(j->done.text, text_of(c->done, "text"));
        j->done.result = json_incref(json_object_get(c->done, "result"));
        j->has_done = true;
    }
    if (j->has_done)
        session_end(j);
    else
        end_crashed(c, phone);
}

static void on_changed(void *arg, int code, const struct err *err, json_t *body)
{
    struct settling *c = arg;
    if (settles_later(c, code, err))
        return;
    if (code < 0 && code != ERR_CANCELLED)
        log_line(LOG_ERROR, "job", LOG_KV({"err", err_name(code)}), "job %lld: %s",
                 (long long)c->job_id, err->text);
    if (code == 0)
        spool_remove(c->s, c->job_id);
    const char *state = text_of(body, "state");
    if (code == 0 && store_job_closes(state))
        ports_keep_no_more(c->s, c->job_id);
    bool queued = code == 0 && (strcmp(state, "queued") == 0 || strcmp(state, "waiting") == 0);
    bool its_port = !json_is_true(json_object_get(body, "any_port")) ||
                    json_is_true(json_object_get(body, "permitted"));
    if (queued && c->port && its_port)
        port_keep(c->port, c->job_id); /* it goes before those that wait for the port */
    if ((queued || (code == 0 && strcmp(state, "paused") == 0)) && !c->s->stopping)
        order_requeue(c->s, body);
    settling_free(c);
}

static void close_found(struct settling *c, const char *state, json_t *error, const char *phone)
{
    json_t *none = json_null(); /* what an earlier run broke off with is over */
    struct store_job_change change = {.state = state,
                                      .error = error ? error : none,
                                      .result = json_object_get(c->done, "result")};
    store_run_end(c->s->store, c->job_id, state, error, phone, NULL, NULL);
    store_job_change(c->s->store, c->job_id, &change, on_changed, c);
    json_decref(error);
}

/* As job_try_again() does with a run that it hears fail. */
static bool tried_again(struct settling *c, json_t *error, const char *phone)
{
    int retries = (int)json_integer_value(json_object_get(c->owner, "retries"));
    if (strcmp(text_of(error, "class"), "retry") != 0 || retries >= c->s->retries_max)
        return false;
    int64_t wait_ms = retry_wait_ms(retries + 1);
    struct store_job_change change = {.state = "waiting",
                                      .error = error,
                                      .retries = retries + 1,
                                      .retry_ms = clock_utc_ms() + clock_scaled(wait_ms)};
    AUTO(free_ptr)
    char *why = xasprintf("a run failed while the station was not there: %s; again in %lld s",
                          text_of(error, "message"), (long long)(clock_scaled(wait_ms) / 1000));
    store_run_end(c->s->store, c->job_id, "failed", error, phone, NULL, NULL);
    store_job_log_add(c->s->store, c->job_id, "warn", c->step[0] ? c->step : NULL, why, NULL, NULL);
    store_job_change(c->s->store, c->job_id, &change, on_changed, c);
    return true;
}

static void on_accepted(void *arg, int code, const struct err *err, json_t *body)
{
    struct settling *c = arg;
    if (settles_later(c, code, err))
        return;
    json_t *error = acceptance_error(c->s, code, err, body);
    if (!error)
        store_phone_identity(c->s->store, store_id(text_of(c->owner, "phone_id")), "own", NULL,
                             NULL);
    json_t *phone = json_object_get(json_object_get(c->done, "result"), "phone_state");
    close_found(c, error ? "failed" : "succeeded", error, json_string_value(phone));
}

/* The worker came to its end, but nobody was there to hear it. */
static void end_by_spool(struct settling *c, const char *phone)
{
    json_t *result = json_object_get(c->done, "result");
    const char *code = text_of(c->done, "code");
    bool wrote = json_array_size(json_object_get(result, "writes")) > 0;
    if (strcmp(code, "ok") == 0 && wrote && store_id(text_of(c->owner, "phone_id"))) {
        acceptance_learn(c->s, text_of(result, "chip_id"), text_of(c->owner, "port"), result,
                         on_accepted, c);
    } else if (strcmp(code, "ok") == 0) {
        close_found(c, "succeeded", NULL, phone);
    } else {
        json_t *error =
            failure_json(c->s, text_of(c->done, "failure"), code, text_of(c->done, "text"));
        error_add_phone(error, phone);
        if (tried_again(c, error, phone))
            json_decref(error);
        else
            close_found(c, strcmp(code, "cancelled") == 0 ? "cancelled" : "failed", error, phone);
    }
}

/* The station ended under the job: it goes on by itself, unless a person had paused it. */
static void go_on(struct settling *c, const char *state, const char *phone)
{
    json_t *error = cut_error(c, "F5", "the station ended while this job ran", phone);
    bool paused = strcmp(state, "paused") == 0;
    struct store_job_change change = {
        .state = paused ? "paused" : "queued", .step = c->step[0] ? c->step : NULL, .error = error};
    store_run_end(c->s->store, c->job_id, "interrupted", error, phone, NULL, NULL);
    store_job_log_add(c->s->store, c->job_id, "warn", change.step, text_of(error, "message"), NULL,
                      NULL);
    store_job_change(c->s->store, c->job_id, &change, on_changed, c);
    json_decref(error);
}

static void end_found(struct settling *c, const char *state, const char *phone)
{
    static const char *const running[] = {"running", "prompt", "paused"};
    bool open = false;
    for (size_t i = 0; i < ARRAY_LEN(running); i++)
        open |= strcmp(state, running[i]) == 0;
    if (open && c->done) {
        end_by_spool(c, phone);
    } else if (open) {
        go_on(c, state, phone);
    } else { /* its end was stored, only the file was left */
        spool_remove(c->s, c->job_id);
        settling_free(c);
    }
}

/* The store refuses what the worker wrote down, as of a worker that lied or was of another version. The job ends all the
 * same, as one whose spool cannot be read: nobody can say what was done to its phone. */
static void settle_without(struct settling *c, const struct err *err)
{
    spool_keep_aside(c->s, c->job_id, err);
    c->readable = false;
    json_decref(c->done);
    c->done = NULL;
    json_array_clear(c->steps);
    json_array_clear(c->extents);
    settle(c);
}

static void on_taken(void *arg, int code, const struct err *err, json_t *body)
{
    struct settling *c = arg;
    if (settles_later(c, code, err))
        return;
    if (code < 0 && code != ERR_CANCELLED && code != ERR_NOT_FOUND && c->readable) {
        settle_without(c, err);
        return;
    }
    if (code < 0) {
        log_line(LOG_ERROR, "job", LOG_KV({"err", err_name(code)}),
                 "what the last run of job %lld left is not taken in: %s", (long long)c->job_id,
                 err->text);
        if (c->job && code != ERR_CANCELLED) /* the store closes: the next start does it */
            end_live(c, NULL);
        settling_free(c);
        return;
    }
    const char *phone = phone_after(c, json_object_get(body, "extents"));
    if (c->job) {
        end_live(c, phone);
        settling_free(c);
    } else {
        end_found(c, text_of(body, "state"), phone);
    }
}

static void settle(void *arg)
{
    struct settling *c = arg;
    store_run_adopt(c->s->store, c->job_id, c->steps, c->extents, on_taken, c);
}

void run_settle(struct station *s, struct job *j, json_t *owner, json_t *records, bool hides,
                struct port *port)
{
    AUTO(left_deinit) struct left left;
    left_sort(records, &left);
    struct settling *c = xcalloc(1, sizeof(*c));
    *c = (struct settling){.s = s, .job = j, .port = port, .readable = records && !hides};
    c->owner = json_incref(owner);
    c->done = json_incref(left.done);
    c->steps = json_incref(left.steps);
    c->extents = json_incref(left.extents);
    c->job_id = j ? j->id : store_id(text_of(owner, "id"));
    WIRE_TEXT(c->step, j ? j->step : text_of(owner, "step"));
    size_t count = json_array_size(left.steps);
    if (count)
        WIRE_TEXT(c->step, text_of(json_array_get(left.steps, count - 1), "name"));
    if (j)
        j->pending++;
    if (port)
        port->held++;
    settle(c);
}

void run_found(struct station *s, json_t *owner)
{
    int64_t job_id = store_id(text_of(owner, "id"));
    const char *port = json_string_value(json_object_get(owner, "port"));
    if (spool_is_there(s, job_id) || job_find(s, job_id))
        return; /* its file is being read, or was already */
    json_auto_t *nothing = json_array();
    run_settle(s, NULL, owner, nothing, false, port ? port_add(s, port) : NULL);
}

/* ---- a person, or the scheduler ------------------------------------------------------------------------ */

void resume_begin(struct station *s, json_t *job, const char *port, station_done_fn *done,
                  void *arg)
{
    struct err err = {0};
    if (spool_is_there(s, store_id(text_of(job, "id")))) {
        err_set(&err, ERR_CONFLICT,
                "what the last run of job %s left is still being taken in: try again in a moment",
                text_of(job, "id"));
        done_error(done, arg, &err);
        return;
    }
    order_again(s, job, port, done, arg);
}

json_t *cancelled_error(const struct station *s, json_t *job)
{
    const char *phone = json_string_value(json_object_get(job, "phone_state"));
    json_t *error = failure_json(s, NULL, "cancelled",
                                 phone_state_releasable(phone)
                                     ? "cancelled after it was interrupted"
                                     : "cancelled in the middle: this phone must not be given "
                                       "away as it is");
    error_add_phone(error, phone);
    return error;
}
