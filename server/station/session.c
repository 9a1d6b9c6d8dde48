/* session.c: what a job and its worker say to one another. Inputs are collected as descriptors first, then a
 * worker gets them all and starts; from then on its messages move the job along. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/station/internal.h"
#include "usb/base/clock.h"
#include "usb/base/io.h"
#include "usb/base/log.h"
#include "usb/base/mem.h"

enum { TELL_MS = 200 };

/* A worker that has its inputs but no channel to portwatch ends first, see on_ended(). */
void fail_before_start(struct job *j, const struct err *err)
{
    json_t *error = failure_json(j->s, j->prepare_failure, err_name(err->code), err->text);
    const char *phone = j->left_as[0] ? j->left_as : NULL;
    const char *state = j->permitted ? "interrupted" : "failed";
    if (j->permitted)
        error_add_phone(error, phone);
    store_run_end(j->s->store, j->id, state, error, phone, NULL, NULL);
    if (!job_try_again(j, error))
        job_end(j, state, error, NULL);
    json_decref(error);
}

/* ---- collecting the inputs -------------------------------------------------------------------------- */

int memfd_sealed(const char *name, const char *text, struct err *err)
{
    AUTO(fd_close) int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return err_sys(err, ERR_IO, "memfd");
    int rc = io_write(fd, text, strlen(text), err);
    if (rc < 0)
        return rc;
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0)
        return err_sys(err, ERR_IO, "seal the plan");
    return STEAL_FD(fd);
}

static void add_image(struct job *j, const char *name, int fd)
{
    struct image *image = &j->images[j->image_count++];
    WIRE_TEXT(image->name, name);
    image->fd = fd;
}

static bool have_image(const struct job *j, const char *name)
{
    for (size_t i = 0; i < j->image_count; i++)
        if (strcmp(j->images[i].name, name) == 0)
            return true;
    return false;
}

/* A file of the package, as it lies on disk; its hash is checked by the worker as it streams it. */
static int open_package_file(struct job *j, const char *file, const char *as, struct err *err)
{
    const char *dir = json_string_value(json_object_get(j->package, "path"));
    AUTO(fd_close) int dir_fd = open(dir ? dir : "", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir_fd < 0)
        return err_sys(err, ERR_NOT_FOUND, "firmware folder '%s'", dir ? dir : "");
    AUTO(fd_close) int fd = openat(dir_fd, file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return err_sys(err, ERR_NOT_FOUND, "package file '%s'", file);
    add_image(j, as, STEAL_FD(fd));
    return 0;
}

static int open_package_files(struct job *j, const struct plan *plan, struct err *err)
{
    static const char *const tools[][2] = {
        {"da_file", "da"}, {"preloader", "preloader"}, {"auth_file", "auth"}};
    json_t *detail = json_object_get(j->package, "detail");
    for (size_t i = 0; i < ARRAY_LEN(tools); i++) {
        const char *file = json_string_value(json_object_get(detail, tools[i][0]));
        int rc = file && file[0] ? open_package_file(j, file, tools[i][1], err) : 0;
        if (rc < 0)
            return rc;
    }
    for (size_t i = 0; i < plan->write_count; i++) {
        const char *image = plan->writes[i].image;
        if (strncmp(image, "firmware/", 9) != 0 || have_image(j, image))
            continue;
        int rc = open_package_file(j, image + 9, image, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static void start_worker(struct job *j);

struct image_call {
    struct job *job;
    char name[RECIPE_NAME_MAX * 2];
};

static void on_image(void *arg, int code, const struct err *err, int fd, int64_t size_bytes)
{
    (void)size_bytes;
    struct image_call *call = arg;
    struct job *j = call->job;
    if (code < 0 && !j->prepare_err.code) {
        j->prepare_err = *err;
        j->prepare_failure = code == ERR_VERIFY || code == ERR_FORMAT ? "A9" : NULL;
    }
    if (code == 0 && !j->ended && j->image_count < JOB_IMAGES_MAX)
        add_image(j, call->name, fd);
    else if (fd >= 0)
        close(fd);
    free(call);
    if (--j->images_due == 0 && !j->ended) {
        if (j->prepare_err.code)
            fail_before_start(j, &j->prepare_err);
        else
            start_worker(j);
    }
    job_unref(j);
}

static void want_backup_image(struct job *j, const struct plan_write *w)
{
    struct image_call *call = xcalloc(1, sizeof(*call));
    call->job = j;
    WIRE_TEXT(call->name, w->image);
    j->pending++;
    j->images_due++;
    store_backup_open(j->s->store, j->backup_id, w->partition, on_image, call);
}

static int make_plan(struct job *j, struct plan *plan, struct err *err)
{
    const char *imeis[PLAN_IMEIS_MAX], *failure = NULL;
    for (size_t i = 0; i < j->imei_count; i++)
        imeis[i] = j->imeis[i];
    json_t *before = phone_facts_encode(j->before);
    struct plan_inputs in = {.job_id = j->id,
                             .run = j->run,
                             .chip_id = j->pinned_chip,
                             .before = before,
                             .recipe = &j->recipe->recipe,
                             .package = json_object_get(j->package, "detail"),
                             .backup = j->backup,
                             .serial = j->serial,
                             .finish = j->finish,
                             .accept = j->accept,
                             .imeis = imeis,
                             .imei_count = j->imei_count};
    int rc = plan_build(&in, plan, &failure, err);
    json_decref(before);
    if (rc < 0)
        return rc;
    j->writes = plan->write_count > 0;
    free(j->plan_text);
    j->plan_text = plan_encode(plan, j->recipe->json);
    j->plan_sha256 = sha256_of(span_of(j->plan_text, strlen(j->plan_text)));
    return 0;
}

void session_start(struct job *j)
{
    job_set_state(j, "running");
    run_begin(j);
}

void session_collect(struct job *j)
{
    struct err err = {0};
    AUTO(free_ptr) struct plan *plan = xcalloc(1, sizeof(*plan));
    char name[40];
    snprintf(name, sizeof(name), "job-%lld.spool", (long long)j->id);
    int rc = make_plan(j, plan, &err);
    spool_remove(j->s, j->id); /* of the run before: it was taken in before this one began */
    if (rc == 0)
        rc = j->spool_fd = spool_open(j->s, name, &err);
    if (rc >= 0)
        rc = open_package_files(j, plan, &err);
    if (rc < 0) {
        fail_before_start(j, &err);
        return;
    }
    for (size_t i = 0; i < plan->write_count; i++)
        if (plan->writes[i].write_class == PLAN_IDENTITY)
            want_backup_image(j, &plan->writes[i]);
    if (j->images_due == 0)
        start_worker(j);
}

/* A job without its black box is better than no job. */
static void send_record(struct job *j)
{
    struct err err = {0};
    AUTO(fd_close) int fd = record_open(j->s, j->id, j->run, &err);
    struct wire_message m = {
        .type = WIRE_record, .fd = fd, .u.record = {RECORD_MAX_BYTES, j->s->record_keep_bytes}};
    if (fd >= 0)
        worker_send(j->worker, &m);
    else
        log_line(LOG_WARN, "job", LOG_KV({"err", err_name(err.code)}), "not recorded: %s",
                 err.text);
}

static void send_inputs(struct job *j, int plan_fd)
{
    struct wire_message m = {.type = WIRE_spool, .fd = j->spool_fd, .u.spool = {.job_id = j->id}};
    worker_send(j->worker, &m);
    send_record(j);
    for (size_t i = 0; i < j->image_count; i++) {
        m = (struct wire_message){.type = WIRE_file, .fd = j->images[i].fd};
        WIRE_TEXT(m.u.file.name, j->images[i].name);
        worker_send(j->worker, &m);
        fd_close(&j->images[i].fd); /* the worker has its own now */
    }
    j->image_count = 0;
    m = (struct wire_message){.type = WIRE_run, .fd = plan_fd, .u.run = {.job_id = j->id}};
    WIRE_TEXT(m.u.run.kind, "job");
    WIRE_TEXT(m.u.run.port, j->port->id);
    worker_send(j->worker, &m);
}

static void start_worker(struct job *j)
{
    struct err err = {0};
    int device_end = -1;
    if (j->s->stopping)
        return; /* it stays in the store as it is; the next start begins it again */
    AUTO(fd_close) int plan_fd = memfd_sealed("plan", j->plan_text, &err);
    if (plan_fd >= 0)
        j->worker = worker_take(j->s->workers, &session_events, j, &device_end, &err);
    if (!j->worker) {
        fail_before_start(j, &err);
        return;
    }
    AUTO(fd_close) int device = device_end;
    if (portwatch_watch(j->s->portwatch, j->port->id, device, &err) < 0) {
        j->prepare_err = err;
        worker_kill(j->worker, err.text);
        return;
    }
    send_inputs(j, plan_fd);
    worker_expect_beats(j->worker);
}

/* ---- what the worker says ---------------------------------------------------------------------------- */

static void on_step(struct job *j, const struct wire_step *m)
{
    WIRE_TEXT(j->step, m->step);
    j->done_bytes = j->total_bytes = 0;
    j->bytes_per_s = 0;
    j->rate_from_ms = 0;
    if (strcmp(m->state, "running") == 0) {
        json_t *intent = json_pack("{s:I}", "attempt", (json_int_t)m->attempt);
        store_step_begin(j->s->store, j->id, m->step, intent, NULL, NULL);
        json_decref(intent);
    } else {
        json_t *note = m->text[0] ? json_pack("{s:s}", "message", m->text) : NULL;
        bool failed = strcmp(m->state, "failed") == 0;
        store_step_end(j->s->store, j->id, m->step, m->state, failed ? note : NULL,
                       failed ? NULL : note, NULL, NULL);
        json_decref(note);
    }
    job_publish(j);
}

/* Rate over a sliding window, so that a stall shows and a burst does not. */
static void on_progress(struct job *j, const struct wire_progress *m)
{
    int64_t now = clock_now_ms();
    if (!j->rate_from_ms || m->done_bytes < j->rate_from_bytes) {
        j->rate_from_ms = now;
        j->rate_from_bytes = m->done_bytes;
    } else if (now - j->rate_from_ms >= 500) {
        double rate =
            (double)(m->done_bytes - j->rate_from_bytes) * 1000.0 / (double)(now - j->rate_from_ms);
        j->bytes_per_s = j->bytes_per_s > 0 ? 0.5 * j->bytes_per_s + 0.5 * rate : rate;
        j->rate_from_ms = now;
        j->rate_from_bytes = m->done_bytes;
    }
    j->done_bytes = m->done_bytes;
    j->total_bytes = m->total_bytes;
    if (now - j->told_ms >= TELL_MS)
        job_publish(j);
}

static void on_prompt(struct job *j, const struct wire_prompt *m)
{
    json_decref(j->prompt);
    j->prompt = NULL;
    if (!m->prompt_id[0]) {
        schedule_return(j);
        job_set_state(j, "running");
        return;
    }
    bool person = strcmp(m->answered_by, "person") == 0;
    j->prompt = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s?}", "id", m->prompt_id, "step", m->step,
                          "text", m->text, "todo", m->todo, "answered_by", m->answered_by, "wants",
                          person ? "numbers" : NULL);
    if (strcmp(j->state, "prompt") == 0) { /* the text of an open prompt changed */
        struct store_job_change change = {.prompt = j->prompt};
        store_job_change(j->s->store, j->id, &change, NULL, NULL);
        job_publish(j);
        return;
    }
    schedule_rest(j);
    job_set_state(j, "prompt");
}

static void on_held(struct job *j, const struct wire_held *m)
{
    store_job_log_add(j->s->store, j->id, "info", j->step,
                      m->held ? "paused before the next step" : "goes on", NULL, NULL);
    j->pausing = false;
    if (m->held)
        schedule_rest(j);
    else
        schedule_return(j);
    job_set_state(j, m->held ? "paused" : "running");
}

static void on_facts(struct job *j, const struct wire_facts *m)
{
    const char *chip = json_string_value(json_object_get(m->facts, "chip_id"));
    const char *soc = json_string_value(json_object_get(m->facts, "soc_id"));
    const char *mode = json_string_value(json_object_get(m->facts, "mode"));
    if (chip && !j->phone_id)
        job_learn_chip(j, chip, soc);
    if (mode && strcmp(j->port->mode, mode) != 0) {
        WIRE_TEXT(j->port->mode, mode); /* the DA keeps the ids of the stage that started it */
        port_publish(j->port);
    }
    AUTO(free_ptr) char *text = json_dumps(m->facts, JSON_COMPACT | JSON_SORT_KEYS);
    if (text && !mode)
        store_job_log_add(j->s->store, j->id, "info", j->step, text, NULL, NULL);
}

static void on_message(void *arg, struct worker *w, const struct wire_message *m)
{
    struct job *j = arg;
    /* the job id stands first in everything a worker says (struct wire_beat and its neighbours) */
    if (m->type != WIRE_NONE && m->u.beat.job_id != j->id && m->type != WIRE_beat) {
        worker_kill(w, "the worker spoke of another job");
        return;
    }
    switch (m->type) {
    case WIRE_beat:
        break;
    case WIRE_held:
        on_held(j, &m->u.held);
        break;
    case WIRE_step:
        on_step(j, &m->u.step);
        break;
    case WIRE_note:
        store_job_log_add(j->s->store, j->id, m->u.note.level, m->u.note.step, m->u.note.text, NULL,
                          NULL);
        break;
    case WIRE_progress:
        on_progress(j, &m->u.progress);
        break;
    case WIRE_prompt:
        on_prompt(j, &m->u.prompt);
        break;
    case WIRE_facts:
        on_facts(j, &m->u.facts);
        break;
    case WIRE_backup:
        permit_begin(j, &m->u.backup);
        break;
    case WIRE_done:
        json_decref(j->done.result);
        j->done = m->u.done;
        json_incref(j->done.result);
        j->has_done = true;
        worker_let_go(j->worker);
        break;
    default:
        worker_kill(j->worker, "the worker broke the protocol");
    }
}

/* ---- the end ------------------------------------------------------------------------------------------ */

/* A number that another phone has, too (law 7): the phone is whole and must not leave the bench as it is. */
static void learn_acceptance(void *arg);

static void learn_no_more(void *arg)
{
    job_unref(arg); /* its spool tells the next start */
}

static void on_accepted(void *arg, int code, const struct err *err, json_t *body)
{
    struct job *j = arg;
    if (!j->ended && passes(code)) {
        log_line(LOG_ERROR, "job", LOG_KV({"err", err_name(code)}),
                 "what job %lld read on the screen is not stored: %s; it is tried again",
                 (long long)j->id, err->text);
        station_later(j->s, learn_acceptance, learn_no_more, j);
        return;
    }
    if (!j->ended) {
        json_t *error = acceptance_error(j->s, code, err, body);
        const char *state = error ? "failed" : "succeeded";
        if (!error)
            store_phone_identity(j->s->store, j->phone_id, "own", NULL, NULL);
        const char *phone = json_string_value(json_object_get(j->done.result, "phone_state"));
        store_run_end(j->s->store, j->id, state, error, phone, NULL, NULL);
        job_end(j, state, error, j->done.result);
        json_decref(error);
    }
    job_unref(j);
}

static void learn_acceptance(void *arg)
{
    struct job *j = arg;
    acceptance_learn(j->s, j->chip_id, j->port->id, j->done.result, on_accepted, j);
}

static void end_well(struct job *j, const char *phone)
{
    if (j->phone_id && j->writes) {
        j->pending++;
        learn_acceptance(j);
        return;
    }
    store_run_end(j->s->store, j->id, "succeeded", NULL, phone, NULL, NULL);
    job_end(j, "succeeded", NULL, j->done.result);
}

void session_end(struct job *j)
{
    const char *phone = json_string_value(json_object_get(j->done.result, "phone_state"));
    if (strcmp(j->done.code, "ok") == 0) {
        end_well(j, phone);
        return;
    }
    bool cancelled = strcmp(j->done.code, "cancelled") == 0;
    bool stopped = cancelled && j->stopped.code; /* by the station, which knows why */
    json_t *error = stopped ? failure_json(j->s, NULL, err_name(j->stopped.code), j->stopped.text)
                            : failure_json(j->s, j->done.failure, j->done.code, j->done.text);
    error_add_phone(error, phone);
    WIRE_TEXT(j->left_as, phone);
    const char *state = cancelled && !stopped ? "cancelled" : "failed";
    store_run_end(j->s->store, j->id, state, error, phone, NULL, NULL);
    if (!job_try_again(j, error))
        job_end(j, state, error, j->done.result);
    json_decref(error);
}

static void on_ended(void *arg, struct worker *w, const char *why)
{
    (void)w;
    struct job *j = arg;
    j->pending++;
    j->worker = NULL;
    j->ending = true;
    schedule_remove(j);
    fd_close(&j->spool_fd); /* its lock goes with the last descriptor */
    WIRE_TEXT(j->why, why);
    if (j->has_done && strcmp(j->done.code, "ok") == 0)
        session_end(j);
    else if (!j->ended && !j->s->stopping && j->prepare_err.code)
        fail_before_start(j, &j->prepare_err);
    else if (!j->ended && !j->s->stopping) /* else its spool tells the next start */
        spool_adopt(j->s, j, NULL, NULL);
    job_unref(j);
}

const struct worker_events session_events = {on_message, on_ended};
