/* session.c: the step engine: one step after the other, each journaled before and after, a lost link brought
 * back by the steps that the recipe names for it. */
#include "usb/recipe/internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "usb/base/clock.h"
#include "usb/base/io.h"
#include "usb/base/mem.h"
#include "usb/plan/failure.h"
#include "usb/recipe/image.h"

enum { ATTEMPTS_MAX = 4, GONE_BY_ITSELF_MS = 2000 };

static const struct {
    const char *name;
    action_fn *fn;
} actions[] = {
    {"connect", action_connect},
    {"da_start", action_da_start},
    {"backup", action_backup},
    {"inspect", action_inspect},
    {"survey", action_survey},
    {"write", action_write},
    {"verify", action_verify},
    {"leave", action_leave},
    {"fastboot_check", action_fastboot_check},
    {"fastboot_authorise", action_fastboot_authorise},
    {"fastboot_flash", action_fastboot_flash},
    {"fastboot_halt", action_fastboot_halt},
    {"boot", action_boot},
    {"accept", action_accept},
    {"identify", action_identify},
    {"release", action_release},
};

int fail(struct session *s, const char *failure, struct err *err, int code, const char *fmt, ...)
{
    char text[480];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    snprintf(s->failure, sizeof(s->failure), "%s", failure);
    return err_set(err, code, "%s", text);
}

/* The link is what failed, whatever was going on over it. */
static bool link_broke(int code)
{
    return code == ERR_TIMEOUT || code == ERR_GONE || code == ERR_IO || code == ERR_PROTOCOL ||
           code == ERR_DEAD;
}

/* What an error is called that no action has a better name for; README "failures". */
static const char *name_of(const struct session *s, int code)
{
    bool fastboot = strcmp(s->mode, "fastboot") == 0;
    return failure_of_error(code, fastboot ? FAILURE_IN_FASTBOOT : FAILURE_IN_DOWNLOAD);
}

int failed(struct session *s, const char *failure, struct err *err)
{
    /* "no answer" from a phone that was never there, or never started, keeps its name */
    static const char *const of_waiting[] = {"C1", "C5", "C7", "D1", "E3"};
    bool keep = !link_broke(err->code);
    for (size_t i = 0; i < ARRAY_LEN(of_waiting) && !keep; i++)
        keep = strcmp(of_waiting[i], failure) == 0;
    snprintf(s->failure, sizeof(s->failure), "%s", keep ? failure : name_of(s, err->code));
    return err->code;
}

void note(struct session *s, const char *level, const char *fmt, ...)
{
    char text[500];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    s->host.note(s->host.arg, s->title, level, text);
}

void progress_begin(struct session *s, uint64_t step_bytes)
{
    s->base_bytes = 0;
    s->step_bytes = step_bytes;
    s->host.progress(s->host.arg, s->title, 0, step_bytes);
}

/* The link counts each transfer from zero; the step is their sum. */
static void on_link_progress(void *arg, uint64_t done_bytes, uint64_t total_bytes)
{
    struct session *s = arg;
    (void)total_bytes;
    if (s->step_bytes)
        s->host.progress(s->host.arg, s->title, s->base_bytes + done_bytes, s->step_bytes);
}

void session_close_device(struct session *s)
{
    if (s->da_up)
        da_deinit(&s->da);
    s->da_up = false;
    transport_close(&s->transport);
    s->link = (struct link){.dead = true}; /* whoever speaks now hears so */
}

void session_wait_gone(struct session *s)
{
    uint8_t rest[512];
    int64_t until = clock_in(10000);
    ssize_t n = 0;
    while (s->transport && clock_now_ms() < until && (n >= 0 || n == ERR_TIMEOUT)) {
        struct err err = {0};
        n = transport_read(s->transport, rest, sizeof(rest), clock_in(500), &err);
    }
    s->broken = s->transport && n != ERR_GONE;
    session_close_device(s);
}

void session_link(struct session *s)
{
    s->link =
        (struct link){.transport = s->transport, .progress = on_link_progress, .progress_arg = s};
}

/* Nobody answered within the time of the step: not a broken link, and no reason to begin again. */
static int gave_up(struct session *s, const char *failure, struct err *err)
{
    s->gave_up = true;
    return failed(s, failure, err);
}

/* After a broken link the phone may still be on the port, deaf until its power is cut: nothing is taken from
 * the port before it was seen empty. Most often it is by now: the cable is what broke the link. */
static int wait_let_go(struct session *s, int64_t until, struct err *err)
{
    const struct session_host *h = &s->host;
    const struct recipe_step *step = s->step;
    char serial[64];
    bool lost = step->lost_text[0];
    int rc = h->seen(h->arg, "none", clock_in(GONE_BY_ITSELF_MS), serial, sizeof(serial), err);
    if (rc == ERR_TIMEOUT) {
        note(s, "warn", "the phone is still there after the link broke; it has to be switched off");
        h->prompt(h->arg, s->title, step->id, lost ? step->lost_text : step->prompt_text,
                  lost ? step->lost_todo : step->prompt_todo, "usb");
        rc = h->seen(h->arg, "none", until, serial, sizeof(serial), err);
        h->prompt(h->arg, s->title, NULL, "", "", "");
    }
    if (rc < 0)
        return rc == ERR_TIMEOUT ? gave_up(s, "C1", err) : rc;
    s->broken = false;
    err_clear(err);
    return 0;
}

int session_attach(struct session *s, const char *modes, int timeout_s, bool ask_at_once,
                   struct err *err)
{
    session_close_device(s);
    gate_attached(s->gate);
    const struct session_host *h = &s->host;
    int64_t until = clock_in((int64_t)timeout_s * 1000);
    if (s->broken && wait_let_go(s, until, err) < 0)
        return err->code;
    /* a phone that restarts by itself needs no hands: ask only when it does not come */
    int64_t first = ask_at_once ? clock_now_ms() : clock_in(20000);
    bool asked = false;
    int rc = ERR_TIMEOUT;
    if (!ask_at_once)
        rc = h->device(h->arg, modes, first, &s->transport, &s->identity, s->mode, sizeof(s->mode),
                       err);
    if (rc == ERR_TIMEOUT && s->step->prompt_text[0]) {
        h->prompt(h->arg, s->title, s->step->id, s->step->prompt_text, s->step->prompt_todo, "usb");
        asked = true;
    }
    if (rc == ERR_TIMEOUT)
        rc = h->device(h->arg, modes, until, &s->transport, &s->identity, s->mode, sizeof(s->mode),
                       err);
    if (asked)
        h->prompt(h->arg, s->title, NULL, "", "", "");
    if (rc < 0)
        return rc == ERR_TIMEOUT ? gave_up(s, "C1", err) : rc;
    session_link(s);
    h->facts(h->arg, json_pack("{s:s}", "mode", s->mode));
    return 0;
}

int session_input(const struct session *s, const char *name)
{
    for (size_t i = 0; i < s->config->input_count; i++)
        if (strcmp(s->config->inputs[i].name, name) == 0)
            return s->config->inputs[i].fd;
    return -1;
}

int session_slurp(const struct session *s, const char *name, size_t max_bytes, struct buf *out,
                  struct err *err)
{
    int fd = session_input(s, name);
    if (fd < 0)
        return err_set(err, ERR_NOT_FOUND, "the package has no %s file", name);
    int64_t size = io_size(fd, err);
    if (size < 0)
        return (int)size;
    buf_init(out, max_bytes);
    uint8_t *at = buf_grow(out, (size_t)size);
    if (!at)
        return err_set(err, ERR_LIMIT, "%s has %lld bytes, at most %zu are read", name,
                       (long long)size, max_bytes);
    return io_pread(fd, at, (size_t)size, 0, err);
}

static bool plan_has_service_lk(const struct plan *p)
{
    for (size_t i = 0; i < p->write_count; i++)
        if (p->writes[i].write_class == PLAN_SERVICE_LK)
            return true;
    return false;
}

bool write_applies(const struct session *s, const struct plan_write *w, const char *step_id)
{
    if (strcmp(w->step, step_id) != 0)
        return false;
    if (w->slot == 0)
        return true;
    if (w->write_class == PLAN_SERVICE_LK)
        return w->slot == s->slot;
    /* commercial LK: into each slot that was given the service LK; an upgrade also renews slot a, and both slots where
     * nothing in the plan tells what a service LK looks like */
    return s->service_lk[w->slot - 'a'] || (strcmp(s->plan->finish, "upgrade") == 0 &&
                                            (w->slot == 'a' || !plan_has_service_lk(s->plan)));
}

/* ---- what is known of the phone ----------------------------------------------------------------------- */

enum phone_kind session_kind(const struct session *s, const struct plan_write *w)
{
    const struct recipe_step *step = recipe_step_find(&s->plan->recipe, w->step);
    if (w->write_class != PLAN_IDENTITY)
        return w->write_class == PLAN_SERVICE_LK ? PHONE_SERVICE_LK : PHONE_COMMERCIAL;
    if (w->optional)
        return PHONE_EXTRA;
    return step && strcmp(step->action, "fastboot_flash") == 0 ? PHONE_NVRAM : PHONE_IDENTITY;
}

static int journal_extent(struct session *s, const struct phone_extent *e, uint64_t offset_bytes,
                          struct err *err)
{
    phone_facts_note(&s->facts, e);
    return s->host.extent(s->host.arg, s->title, e, offset_bytes, err);
}

int session_extent(struct session *s, size_t index, enum phone_phase phase, struct err *err)
{
    const struct plan_write *w = &s->plan->writes[index];
    struct phone_extent e = {
        .kind = session_kind(s, w), .phase = phase, .length_bytes = s->writes[index].length_bytes};
    if (phase == PHONE_SENT || phase == PHONE_VERIFIED)
        e.sha256 = s->writes[index].flash;
    snprintf(e.partition, sizeof(e.partition), "%s", w->partition);
    if (strcmp(w->partition, "nvram") == 0)
        s->nvram_whole = phase == PHONE_VERIFIED;
    return journal_extent(s, &e, w->offset_bytes, err);
}

int session_started(struct session *s, enum phone_phase phase, struct err *err)
{
    return journal_extent(s, &(struct phone_extent){.kind = PHONE_START, .phase = phase}, 0, err);
}

/* What the runs before left. Slots that they gave the service bootloader are theirs to clean, whatever is found
 * there now. Once the phone was let start, all had been read back, and Android writes to its flash by itself: then
 * those readings count, and the phone is not asked again. */
static void take_up(struct session *s)
{
    s->facts = s->plan->before;
    s->service_lk[0] = phone_facts_find(&s->facts, PHONE_SERVICE_LK, "lk_a") != NULL;
    s->service_lk[1] = phone_facts_find(&s->facts, PHONE_SERVICE_LK, "lk_b") != NULL;
    if (!phone_facts_started(&s->facts))
        return;
    s->nvram_whole = true;
    snprintf(s->chip_id, sizeof(s->chip_id), "%s", s->plan->chip_id);
    for (size_t i = 0; i < s->plan->write_count; i++) {
        const struct plan_write *w = &s->plan->writes[i];
        const struct phone_extent *e =
            phone_facts_find(&s->facts, session_kind(s, w), w->partition);
        if (!e || e->phase != PHONE_VERIFIED)
            continue;
        s->writes[i] = (struct write_state){true, true, e->sha256, e->length_bytes};
    }
}

static bool all_verified(const struct session *s, const char *step_id)
{
    for (size_t i = 0; i < s->plan->write_count; i++)
        if (write_applies(s, &s->plan->writes[i], step_id) && !s->writes[i].verified)
            return false;
    return true;
}

/* All that needs the service bootloader is on the phone, and something is left to be done after it. */
static bool identity_proven(const struct session *s)
{
    bool commercial = false;
    for (size_t i = 0; i < s->plan->write_count; i++) {
        const struct plan_write *w = &s->plan->writes[i];
        if (w->write_class == PLAN_IDENTITY && !s->writes[i].verified)
            return false;
        commercial |= w->write_class == PLAN_COMMERCIAL && write_applies(s, w, w->step);
    }
    return commercial;
}

static bool comes_before_commercial(const struct session *s, const struct recipe_step *step)
{
    const struct recipe *r = &s->plan->recipe;
    for (size_t i = (size_t)(step - r->steps); i < r->step_count; i++)
        if (strcmp(r->steps[i].write_class, "commercial") == 0)
            return step != &r->steps[i];
    return false;
}

/* A later run passes over what the survey has proven to be done; reading back is never passed over. */
static bool pass_over(const struct session *s, const struct recipe_step *step)
{
    if (phone_facts_started(&s->plan->before))
        return strcmp(step->action, "boot") != 0 && strcmp(step->action, "accept") != 0;
    if (strcmp(step->action, "survey") == 0)
        return s->plan->run <= 1; /* nothing to look for */
    if (!s->surveyed)
        return false;
    bool writes = strcmp(step->action, "write") == 0 || strcmp(step->action, "fastboot_flash") == 0;
    if (writes && all_verified(s, step->id))
        return true;
    return comes_before_commercial(s, step) && identity_proven(s);
}

/* ---- before the phone is touched --------------------------------------------------------------------- */

/* Every file of the plan is hashed: what was catalogued is what will be written. */
static int check_inputs(struct session *s, struct err *err)
{
    for (size_t i = 0; i < s->plan->write_count; i++) {
        const struct plan_write *w = &s->plan->writes[i];
        bool before = false;
        for (size_t k = 0; k < i && !before; k++)
            before = strcmp(s->plan->writes[k].image, w->image) == 0;
        if (before)
            continue;
        int fd = session_input(s, w->image);
        if (fd < 0)
            return fail(s, "B6", err, ERR_NOT_FOUND, "input %s is missing", w->image);
        struct sha256 got;
        int rc = image_file_sha256(fd, &got, s->host.tick, s->host.arg, err);
        if (rc < 0)
            return rc;
        if (!sha256_equal(&got, &w->sha256))
            return fail(s, "B6", err, ERR_MISMATCH,
                        "%s is not the file that was catalogued: its hash "
                        "differs",
                        w->image);
    }
    return 0;
}

/* ---- running the steps ------------------------------------------------------------------------------- */

static action_fn *action_of(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(actions); i++)
        if (strcmp(actions[i].name, name) == 0)
            return actions[i].fn;
    return NULL;
}

/* Boot ROM and preloader wait 5 s and 2.5 s for the first word and then start the phone; an agent, and fastboot, wait for
 * ever. */
static bool awaits_handshake(const struct session *s)
{
    return s->transport && !s->da_up &&
           (strcmp(s->mode, "brom") == 0 || strcmp(s->mode, "preloader") == 0);
}

static int run_step(struct session *s, const struct recipe_step *step, int attempt, struct err *err)
{
    const struct session_host *h = &s->host;
    action_fn *action = action_of(step->action);
    if (!action)
        return err_set(err, ERR_UNSUPPORTED, "this worker does not know the action '%s'",
                       step->action);
    s->step = step;
    s->attempt = attempt;
    s->failure[0] = '\0';
    s->gave_up = s->begin_again = false;
    s->step_bytes = 0;
    recipe_step_title(step, s->title, sizeof(s->title));
    int rc = h->between(h->arg, !awaits_handshake(s), err);
    if (rc == 0)
        rc = h->journal(h->arg, false, s->title, attempt, 0, "", err);
    if (rc < 0)
        return rc;
    h->step(h->arg, s->title, "running", attempt, "");
    rc = action(s, step, err);
    const char *state = rc == ACTION_SKIPPED ? "skipped" : rc < 0 ? "failed" : "done";
    struct err journal_err = {0};
    int journaled =
        h->journal(h->arg, true, s->title, attempt, rc < 0 ? rc : 0, err->text, &journal_err);
    h->step(h->arg, s->title, state, attempt, err->text);
    if (rc >= 0 && journaled < 0) {
        *err = journal_err;
        return journaled;
    }
    if (rc == ACTION_SKIPPED)
        err_clear(err);
    return rc < 0 ? rc : 0;
}

/* A link that broke is worth another try; a phone or law that said no is not. What an agent takes for a wrong range, or for a
 * command that it lacks, was mangled on its way, or the sizes were that it was measured by. */
static bool worth_another_try(const struct session *s, int code, int attempt)
{
    if (attempt == ATTEMPTS_MAX || s->gave_up)
        return false;
    return s->begin_again || link_broke(code) || code == ERR_VERIFY || code == ERR_STORAGE ||
           ((code == ERR_UNSUPPORTED || code == ERR_INPUT) && s->da_up);
}

/* Did the phone say no before it touched its flash? After a broken link nobody knows what was written, and what
 * is half written is not passed over (law 5). */
static bool nothing_was_written(int code)
{
    return code == ERR_REFUSED || code == ERR_UNSUPPORTED || code == ERR_NOT_FOUND ||
           code == ERR_LIMIT || code == ERR_INPUT;
}

/* Brings the phone back to where the failed step can run again. */
static int reopen(struct session *s, const struct recipe_step *step, int attempt, struct err *err)
{
    session_close_device(s);
    for (size_t i = 0; i < step->reopen.count; i++) {
        const struct recipe_step *before =
            recipe_step_find(&s->plan->recipe, step->reopen.names[i]);
        int rc = run_step(s, before, attempt, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int run_step_with_tries(struct session *s, const struct recipe_step *step, struct err *err)
{
    for (int attempt = 1;; attempt++) {
        err_clear(err);
        int rc = attempt > 1 ? reopen(s, step, attempt, err) : 0;
        if (rc == 0)
            rc = run_step(s, step, attempt, err);
        if (rc >= 0)
            return 0;
        /* a connect step has nothing to reopen but itself */
        bool can = step->reopen.count || strcmp(step->action, "connect") == 0;
        if (can && worth_another_try(s, rc, attempt)) {
            s->broken = !s->begin_again;
            note(s, "warn", "%s; trying again (%d of %d)", err->text, attempt + 1, ATTEMPTS_MAX);
            continue;
        }
        if (step->optional && nothing_was_written(rc)) {
            note(s, "warn", "not done, the job goes on: %s", err->text);
            err_clear(err);
            s->failure[0] = '\0';
            return 0;
        }
        return rc;
    }
}

static json_t *writes_json(const struct session *s)
{
    json_t *list = json_array();
    for (size_t i = 0; i < s->plan->write_count; i++) {
        const struct plan_write *w = &s->plan->writes[i];
        char hex[SHA256_HEX_BYTES];
        if (!s->writes[i].written)
            continue;
        sha256_hex(&s->writes[i].flash, hex);
        json_array_append_new(list,
                              json_pack("{s:s, s:s, s:s, s:s, s:I, s:b}", "step", w->step,
                                        "partition", w->partition, "image", w->image, "sha256", hex,
                                        "bytes", (json_int_t)s->writes[i].length_bytes, "verified",
                                        s->writes[i].verified));
    }
    return list;
}

static json_t *result_json(struct session *s)
{
    char manifest[SHA256_HEX_BYTES] = "", slot[2] = {s->slot, '\0'};
    if (s->backed_up)
        sha256_hex(&s->manifest, manifest);
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:o, s:s, s:o*}", "serial", s->plan->serial,
                     "chip_id", s->chip_id, "slot", slot, "phone_version", s->phone_version,
                     "backup_manifest_sha256", manifest, "writes", writes_json(s), "phone_state",
                     phone_state(&s->facts), "accepted", s->accepted);
}

int session_check_verified(struct session *s, bool but_fastboot, struct err *err)
{
    for (size_t i = 0; i < s->plan->write_count; i++) {
        const struct plan_write *w = &s->plan->writes[i];
        enum phone_kind kind = session_kind(s, w);
        if (but_fastboot && (kind == PHONE_NVRAM || kind == PHONE_EXTRA))
            continue;
        if (s->writes[i].written && !s->writes[i].verified)
            return fail(s, "L1", err, ERR_REFUSED, "%s was written and never read back",
                        w->partition);
    }
    return 0;
}

static int check_slots(struct session *s, struct err *err)
{
    bool clean[2] = {!s->service_lk[0], !s->service_lk[1]};
    for (size_t i = 0; i < s->plan->write_count; i++) {
        const struct plan_write *w = &s->plan->writes[i];
        if (w->write_class == PLAN_COMMERCIAL && w->slot && s->writes[i].verified)
            clean[w->slot - 'a'] = true;
    }
    for (size_t i = 0; i < ARRAY_LEN(clean); i++)
        if (!clean[i])
            return fail(s, "L1", err, ERR_REFUSED, "slot %c still has the service bootloader",
                        (int)('a' + i));
    return 0;
}

int session_check_releasable(struct session *s, struct err *err)
{
    int rc = session_check_verified(s, false, err);
    if (rc == 0)
        rc = check_slots(s, err);
    if (rc == 0 && s->facts.count && !s->nvram_whole)
        rc = fail(s, "L1", err, ERR_REFUSED,
                  "nvram is not whole: Android would build a new one without the phone's numbers");
    return rc;
}

int session_run(const struct session_config *config, struct session_outcome *out, struct err *err)
{
    AUTO(free_ptr) struct session *s = xcalloc(1, sizeof(*s));
    s->config = config;
    s->plan = config->plan;
    s->host = config->host;
    s->gate = gate_new(config->plan, &config->plan_sha256);
    take_up(s);
    snprintf(s->title, sizeof(s->title), "prepare");
    int rc = check_inputs(s, err);
    for (size_t i = 0; rc == 0 && i < s->plan->recipe.step_count; i++)
        if (!pass_over(s, &s->plan->recipe.steps[i]))
            rc = run_step_with_tries(s, &s->plan->recipe.steps[i], err);
    if (rc < 0 && !s->failure[0])
        snprintf(s->failure, sizeof(s->failure), "%s", name_of(s, rc));
    if (rc == 0)
        rc = session_check_releasable(s, err);
    session_close_device(s);
    out->result = result_json(s);
    s->accepted = NULL; /* went into the result */
    snprintf(out->failure, sizeof(out->failure), "%s", rc < 0 ? s->failure : "");
    gate_free(&s->gate);
    return rc;
}
