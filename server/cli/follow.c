/* follow.c: a job from now to its end. The event stream says what changes; after each `hello` (the connection is new)
 * and at the end the job itself is read, so that nothing that happened in between is missed. After a break the stream
 * gives what was missed first: of that steps and log are told, and what is to be done now is read behind it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "server/cli/client_cmd.h"
#include "server/cli/job_view.h"
#include "server/cli/number_form.h"
#include "server/cli/table.h"
#include "usb/base/mem.h"

/* Why the job must be read. */
enum look {
    LOOK_NOT,
    LOOK_END,  /* has it ended? If not, the stream says what it does */
    LOOK_SHOW, /* the stream does not say how it is now */
};

struct follow {
    struct client *client;
    struct client_stream *stream;
    const char *job_id;
    struct job_view view;
    struct number_form form;
    json_t *prompt; /* that the form answers */
    json_t *job;    /* as it was read last */
    enum look look;
    int64_t missed; /* the newest event of before the stream began that is still to come; 0: none */
};

static int job_read(struct follow *f, struct err *err)
{
    AUTO(free_ptr) char *path = client_path("jobs", f->job_id, "");
    json_t *job = NULL;
    int rc = client_get(f->client, path, &job, err);
    if (rc < 0)
        return rc;
    json_decref(f->job);
    f->job = job;
    return 0;
}

/* ---- the form --------------------------------------------------------------------------------------- */

static void form_stop(struct follow *f)
{
    f->form.active = false;
    client_stream_watch(f->stream, -1);
}

static void form_open(struct follow *f, bool confirm)
{
    number_form_start(&f->form, confirm);
    number_form_ask(&f->form, f->view.out);
    client_stream_watch(f->stream, STDIN_FILENO);
}

static void form_match(struct follow *f, json_t *job)
{
    json_t *prompt = json_object_get(job, "prompt");
    const char *by = text_of(prompt, "answered_by");
    if (!f->view.form_here || !by || strcmp(by, "person") != 0) {
        if (f->form.active) {
            fputc('\n', f->view.out);
            job_view_say(&f->view, "answered elsewhere");
        }
        form_stop(f);
        return;
    }
    json_decref(f->prompt);
    f->prompt = json_incref(prompt);
    form_open(f, prompt_wants_ok(prompt));
}

static void show(struct follow *f, json_t *job)
{
    if (job_view_show(&f->view, job))
        form_match(f, job);
}

/* What the job does next is shown from the stream alone: it is behind what is read here, and the prompt that was just
 * answered would come up again. */
static void form_send(struct follow *f, const char *answer)
{
    struct err err;
    struct phone_numbers numbers = {0};
    AUTO(client_json_free) json_t *job = NULL;
    if (strcmp(answer, "ok") == 0)
        number_form_numbers(&f->form, &numbers);
    form_stop(f);
    if (prompt_answer(f->client, f->job_id, f->prompt, answer, &numbers, &job, &err) == 0)
        return;
    job_view_say(&f->view, "not accepted: %s", cli_printable(err.text));
    if (!job) /* refused, or nobody knows: the question stands until the stream says otherwise */
        form_open(f, f->form.confirm);
}

/* The terminal gives a line at a time. */
static void form_input(struct follow *f)
{
    char line[256];
    ssize_t len = read(STDIN_FILENO, line, sizeof(line) - 1);
    if (len <= 0) { /* the terminal is gone, or Ctrl-D: the prompt stands, others can answer it */
        form_stop(f);
        return;
    }
    line[len] = '\0';
    switch (number_form_line(&f->form, line, f->view.out)) {
    case NUMBER_FORM_FULL:
        form_send(f, "ok");
        break;
    case NUMBER_FORM_ABORT:
        form_send(f, "abort");
        break;
    case NUMBER_FORM_MORE:
        number_form_ask(&f->form, f->view.out);
        break;
    }
}

/* ---- events ----------------------------------------------------------------------------------------- */

static bool about_this_job(const struct follow *f, const struct client_event *e, const char *key)
{
    const char *id = text_of(e->data, key);
    return id && strcmp(id, f->job_id) == 0;
}

static int64_t number_of(json_t *object, const char *key)
{
    const char *text = text_of(object, key);
    return text ? strtoll(text, NULL, 10) : 0;
}

static void on_hello(struct follow *f, json_t *hello)
{
    int64_t newest = number_of(hello, "newest");
    f->missed = newest > number_of(hello, "cursor") ? newest : 0;
    f->look = f->missed ? LOOK_END : LOOK_SHOW;
}

/* 1: the job has ended and f->job says how. Without an answer it is read again at the next event, and the station beats. */
static int look(struct follow *f, struct err *err)
{
    int rc = job_read(f, err);
    if (rc == ERR_GONE || rc == ERR_TIMEOUT)
        return 0;
    if (rc < 0)
        return rc;
    bool ended = job_has_ended(f->job);
    if (ended || f->look == LOOK_SHOW)
        show(f, f->job);
    f->look = LOOK_NOT;
    return ended;
}

/* As look(). */
static int event_take(struct follow *f, const struct client_event *e, struct err *err)
{
    bool of_job = strcmp(e->type, "job") == 0 && about_this_job(f, e, "id");
    if (strcmp(e->type, "lost") == 0)
        job_view_say(&f->view, "the station does not answer; the job may go on, trying again");
    if (strcmp(e->type, "log") == 0 && about_this_job(f, e, "job_id"))
        job_view_log(&f->view, e->data);
    if (of_job && f->missed)
        job_view_step(&f->view, e->data);
    else if (of_job)
        show(f, e->data);
    if (of_job && job_has_ended(e->data))
        f->look = LOOK_END; /* it may be told before it is stored, and is told again then */
    if (strcmp(e->type, "hello") == 0)
        on_hello(f, e->data);
    if (f->missed && strtoll(e->id, NULL, 10) >= f->missed) {
        f->missed = 0;
        f->look = LOOK_SHOW;
    }
    return f->look ? look(f, err) : 0;
}

static int follow_events(struct follow *f, struct err *err)
{
    for (;;) {
        AUTO(client_event_deinit) struct client_event e = {.data = NULL};
        int rc = client_stream_next(f->stream, &e, err);
        if (rc < 0)
            return rc;
        if (rc == 0) {
            form_input(f);
            continue;
        }
        rc = event_take(f, &e, err);
        if (rc != 0)
            return rc;
    }
}

static int follow_end(struct follow *f, bool json)
{
    double from = seconds_of(f->job, "started_at"), to = seconds_of(f->job, "ended_at");
    job_view_clear(&f->view);
    if (from >= 0 && to >= from)
        job_view_say(&f->view, "job %s %s after %s", f->job_id, text_or_dash(f->job, "state"),
                     text_duration(to - from));
    else
        job_view_say(&f->view, "job %s %s", f->job_id, text_or_dash(f->job, "state"));
    if (json)
        cli_json_print(json_incref(f->job));
    return job_verdict(f->job);
}

int job_follow(struct client *c, const char *id, bool json)
{
    AUTO(free_ptr) char *job_id = xstrdup(id); /* `id` may be one of the texts that are reused */
    struct follow f = {.client = c, .job_id = job_id};
    struct err err;
    job_view_init(&f.view, json ? stderr : stdout);
    f.view.form_here = f.view.tty && isatty(STDIN_FILENO);
    int rc = job_read(&f, &err);
    if (rc < 0)
        return client_fail(c, &err);
    job_view_say(&f.view, "job %s: %s of %s on %s", job_id, text_or_dash(f.job, "recipe"),
                 text_or_dash(f.job, "serial"), text_or_dash(f.job, "port"));
    AUTO(client_json_free) json_t *last = NULL;
    if (!job_has_ended(f.job)) {
        f.stream = client_stream_new(c, NULL);
        rc = follow_events(&f, &err);
        client_stream_free(&f.stream);
        json_decref(f.prompt);
    }
    last = f.job;
    if (rc >= 0)
        return follow_end(&f, json);
    job_view_clear(&f.view);
    if (rc != ERR_CANCELLED)
        return client_fail(c, &err);
    fprintf(
        stderr,
        "flashrack: job %s goes on without being watched; 'flashrack job %s --follow' shows it, "
        "'flashrack cancel %s' stops it\n",
        job_id, job_id, job_id);
    return CLI_BAD_INPUT;
}
