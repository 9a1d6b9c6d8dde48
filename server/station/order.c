/* order.c: what POST /jobs asks for becomes a job that waits for its turn, or an error that says what to do.
 * Everything that can be refused without the phone is refused here: recipe, port, numbers, package, backup. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/station/internal.h"
#include "usb/base/log.h"
#include "usb/base/mem.h"
#include "usb/format/serial.h"

/* An order on its way through the store: each callback hands it to the next step. */
struct order {
    struct station *s;
    struct port *port; /* NULL: the next phone on a port that takes work */
    const struct loaded_recipe *recipe;
    char serial[24], finish[16], accept[16];
    char imeis[PLAN_IMEIS_MAX][20];
    size_t imei_count;
    char *owner_ref, *client_ref, *idempotency_key, *request_sha256;
    int64_t firmware_id, backup_id, phone_id, resumed_job;
    int priority;
    /* of a job that is in the store already */
    json_t *stored;
    char *moved_to; /* a person named this port; NULL: where it was */
    bool unfit;     /* no plan can be made of it: that does not pass */
    bool any_port, paused, permitted, interrupted;
    bool met_only; /* nobody has said of the phone that its last run met that it is the job's */
    bool backs_off;
    int retries;
    char crash_step[64];
    json_t *package, *backup;
    bool dry_run;
    json_t *plan; /* of a dry run */
    const char *failure;
    station_done_fn *done;
    void *arg;
};

static void order_free(struct order *o)
{
    json_decref(o->package);
    json_decref(o->backup);
    json_decref(o->plan);
    json_decref(o->stored);
    free(o->moved_to);
    free(o->owner_ref);
    free(o->client_ref);
    free(o->idempotency_key);
    free(o->request_sha256);
    free(o);
}

static const char *member(json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

static bool member_is(json_t *object, const char *key, const char *text)
{
    const char *value = member(object, key);
    return value && strcmp(value, text) == 0;
}

/* Its phone may be half written and still be plugged in. */
static void keep_its_port(struct station *s, json_t *job)
{
    const char *port = member(job, "port");
    if (port && json_is_true(json_object_get(job, "permitted")))
        port_keep(port_add(s, port), store_id(member(job, "id")));
}

struct taking_up { /* a job that a former process left */
    struct station *s;
    json_t *job;
};

static struct taking_up *taking_up_new(struct station *s, json_t *job)
{
    struct taking_up *c = xcalloc(1, sizeof(*c));
    *c = (struct taking_up){s, json_incref(job)};
    return c;
}

static void taking_up_free(void *arg)
{
    struct taking_up *c = arg;
    json_decref(c->job);
    free(c);
}

static void take_up_later(struct station *s, json_t *job, const struct err *err);

static void on_stopped(void *arg, int code, const struct err *err, json_t *body)
{
    (void)body;
    struct taking_up *c = arg;
    if (passes(code))
        take_up_later(c->s, c->job, err);
    taking_up_free(c);
}

/* It cannot be refused to anybody: it ends with the reason instead. Not when its phone may be half written: what is in the
 * way may be taken away, and then the job goes on. */
static void stop_stored(struct order *o, const struct err *err)
{
    json_t *error = failure_json(o->s, o->failure, err_name(err->code), err->text);
    struct store_job_change change = {.state = o->permitted ? "interrupted" : "failed",
                                      .error = error};
    if (o->permitted) {
        error_add_phone(error, member(o->stored, "phone_state"));
        keep_its_port(o->s, o->stored);
    } else {
        ports_keep_no_more(o->s, o->resumed_job);
    }
    log_line(LOG_WARN, "job", LOG_KV({"job", member(o->stored, "id")}, {"state", change.state}),
             "%s", err->text);
    store_job_log_add(o->s->store, o->resumed_job, "warn", NULL, err->text, NULL, NULL);
    store_job_change(o->s->store, o->resumed_job, &change, on_stopped,
                     taking_up_new(o->s, o->stored));
    json_decref(error);
}

static void order_fail(struct order *o, const struct err *err)
{
    if (o->resumed_job && !o->done) {
        if (passes(err->code) && !o->unfit)
            take_up_later(o->s, o->stored, err);
        else if (err->code != ERR_CANCELLED) /* the store closes: the next start does it */
            stop_stored(o, err);
    } else {
        json_t *failure =
            o->failure ? failure_json(o->s, o->failure, err_name(err->code), err->text) : NULL;
        o->done(o->arg, err->code, err, failure);
        json_decref(failure);
    }
    order_free(o);
}

static int check_numbers(const struct job_order *in, struct order *o, struct err *err)
{
    bool serial = in->serial && in->serial[0];
    if (!serial && !recipe_writes(&o->recipe->recipe))
        return 0; /* whoever is plugged in */
    if (!serial)
        return err_set(
            err, ERR_INPUT,
            "a job that writes needs the serial from the phone's label, or the phone_id of a phone "
            "whose serial is known");
    struct serial_check check;
    serial_check(in->serial, o->recipe->recipe.project, &check);
    if (check.verdict != SERIAL_VALID)
        return err_set(err, ERR_INPUT, "serial: %s", check.reason);
    WIRE_TEXT(o->serial, in->serial);
    for (size_t i = 0; i < PLAN_IMEIS_MAX && in->imeis[i]; i++) {
        char reason[200];
        if (imei_check(in->imeis[i], reason, sizeof(reason)) != IMEI_VALID)
            return err_set(err, ERR_INPUT, "IMEI %zu: %s", i + 1, reason);
        for (size_t k = 0; k < i; k++)
            if (strcmp(o->imeis[k], in->imeis[i]) == 0)
                return err_set(err, ERR_INPUT,
                               "IMEI %zu and %zu are the same: a phone has two "
                               "different ones, read the label again",
                               k + 1, i + 1);
        WIRE_TEXT(o->imeis[i], in->imeis[i]);
        o->imei_count = i + 1;
    }
    return 0;
}

static int check_choice(const char *value, const char *fallback, const char *other,
                        const char *what, char *out, size_t size, struct err *err)
{
    const char *chosen = value && value[0] ? value : fallback;
    if (strcmp(chosen, fallback) != 0 && strcmp(chosen, other) != 0)
        return err_set(err, ERR_INPUT, "%s is '%s' or '%s', not '%.40s'", what, fallback, other,
                       value);
    snprintf(out, size, "%s", chosen);
    return 0;
}

static int check_finish(const struct job_order *in, struct order *o, struct err *err)
{
    const struct recipe *r = &o->recipe->recipe;
    if (!r->finish[0])
        return check_choice(in->finish, "lk", "upgrade", "finish", o->finish, sizeof(o->finish),
                            err);
    if (in->finish && in->finish[0] && strcmp(in->finish, r->finish) != 0)
        return err_set(err, ERR_INPUT, "recipe %s always has finish '%s'", r->name, r->finish);
    WIRE_TEXT(o->finish, r->finish);
    return 0;
}

/* What would not be used is not taken: whoever names it expects something else. */
static int check_inputs(const struct job_order *in, const struct order *o, struct err *err)
{
    const struct recipe *r = &o->recipe->recipe;
    if (in->firmware && !r->wants_firmware)
        return err_set(err, ERR_INPUT, "recipe %s uses no firmware: leave it out", r->name);
    if (in->backup && !r->wants_backup)
        return err_set(err, ERR_INPUT, "recipe %s writes no backup: leave it out", r->name);
    return 0;
}

static int check_port(const struct job_order *in, struct order *o, struct err *err)
{
    if (!in->port || !in->port[0])
        return 0; /* wherever its phone shows up */
    o->port = port_named(o->s, in->port, err);
    return o->port ? 0 : err->code;
}

static int choose_recipe(struct order *o, const char *name, struct err *err)
{
    o->recipe = recipe_by_name(o->s, name ? name : "");
    if (!o->recipe)
        return err_set(err, ERR_NOT_FOUND, "there is no recipe '%.60s'; GET /recipes lists them",
                       name ? name : "");
    if (o->recipe->refusal)
        return err_set(err, ERR_CONFLICT, "%s", o->recipe->refusal);
    return 0;
}

static int order_take(const struct job_order *in, struct order *o, struct err *err)
{
    int rc = check_port(in, o, err);
    if (rc == 0 &&
        (!in->phone_id || in->serial)) /* else the phone's own, when the store has told it */
        rc = check_numbers(in, o, err);
    if (rc == 0)
        rc = check_finish(in, o, err);
    if (rc == 0)
        rc = check_choice(in->accept, "scan", "usb", "accept", o->accept, sizeof(o->accept), err);
    if (rc == 0)
        rc = check_inputs(in, o, err);
    if (rc < 0)
        return rc;
    if (o->port && !o->port->enabled && !o->resumed_job)
        return err_set(err, ERR_CONFLICT, "port %s is disabled; enable it first",
                       o->port->label[0] ? o->port->label : o->port->id);
    o->firmware_id = in->firmware ? store_id(in->firmware) : 0;
    o->backup_id = in->backup ? store_id(in->backup) : 0;
    o->phone_id = in->phone_id ? store_id(in->phone_id) : 0;
    if ((in->firmware && !o->firmware_id) || (in->backup && !o->backup_id) ||
        (in->phone_id && !o->phone_id))
        return err_set(err, ERR_INPUT,
                       "firmware, backup and phone_id are ids, as GET /firmware, "
                       "/backups and /phones list them");
    return 0;
}

/* ---- the way through the store ---------------------------------------------------------------------- */

/* What a run has met is not the job's phone before a permit was given, and does not keep it on that port. */
static void forget_whom_it_met(struct order *o, struct job *j)
{
    if (!o->met_only || (!member(o->stored, "phone_id") && !member(o->stored, "port")))
        return;
    job_store_change(j, &(struct store_job_change){.phone_id = o->phone_id ? o->phone_id : -1,
                                                   .port_id = o->port ? o->port->id : ""});
}

static void on_added(void *arg, int code, const struct err *err, json_t *body)
{
    struct order *o = arg;
    if (code < 0) {
        order_fail(o, err);
        return;
    }
    int64_t id = store_id(json_string_value(json_object_get(body, "id")));
    const char *state = json_string_value(json_object_get(body, "state"));
    /* a repeated idempotency key answers the first job, which lives or has ended already */
    bool fresh = !job_find(o->s, id) && state && (o->resumed_job || strcmp(state, "queued") == 0);
    if (fresh) {
        struct job *j = job_new(o->s, id);
        j->recipe = o->recipe;
        j->package = json_incref(o->package);
        j->backup = json_incref(o->backup);
        j->firmware_id = o->firmware_id;
        j->backup_id = o->backup_id;
        j->priority = o->priority;
        j->wanted_phone_id = j->ordered_phone_id = o->phone_id;
        j->wants = o->port;
        j->any_port = o->resumed_job ? o->any_port : !o->port;
        j->permitted = o->permitted;
        j->retries = o->retries;
        WIRE_TEXT(j->crash_step, o->crash_step);
        WIRE_TEXT(j->left_as, member(o->stored, "phone_state"));
        if (o->backs_off)
            job_back_off(j);
        WIRE_TEXT(j->serial, o->serial);
        WIRE_TEXT(j->finish, o->finish);
        WIRE_TEXT(j->accept, o->accept);
        memcpy(j->imeis, o->imeis, sizeof(j->imeis));
        j->imei_count = o->imei_count;
        forget_whom_it_met(o, j);
        if (j->permitted && j->wants)
            port_keep(j->wants, j->id);
        j->paused = o->paused;
        if (j->paused)
            WIRE_TEXT(j->state, "paused");
        else if (o->interrupted)
            job_set_state(j, "waiting");
        schedule_add(j);
    }
    if (o->done)
        o->done(o->arg, 0, NULL, body);
    order_free(o);
}

static void answer_with_plan(struct order *o)
{
    json_t *body = json_pack("{s:b, s:O}", "dry_run", 1, "plan", o->plan);
    o->done(o->arg, 0, NULL, body);
    json_decref(body);
    order_free(o);
}

static void add_to_store(struct order *o)
{
    if (o->dry_run) {
        answer_with_plan(o);
        return;
    }
    if (o->interrupted) { /* somebody else may cancel it, or resume it, too */
        const struct store_job_change change = {
            .state = "queued",
            .from = "interrupted",
            .port_id = o->moved_to && o->port ? o->port->id : NULL,
            .port_ordered = o->moved_to != NULL};
        store_job_change(o->s->store, o->resumed_job, &change, on_added, o);
        return;
    }
    if (o->resumed_job) { /* it is in the store already */
        json_t *body = json_pack(
            "{s:o, s:s}", "id", json_sprintf("%lld", (long long)o->resumed_job), "state", "queued");
        on_added(o, 0, NULL, body);
        json_decref(body);
        return;
    }
    struct store_job_new job = {.recipe = o->recipe->recipe.name,
                                .recipe_version = o->recipe->recipe.version,
                                .recipe_sha256 = o->recipe->sha256,
                                .recipe_document = o->recipe->document,
                                .port_id = o->port ? o->port->id : NULL,
                                .serial = o->serial[0] ? o->serial : NULL,
                                .finish = o->finish,
                                .accept = o->accept,
                                .owner_ref = o->owner_ref,
                                .client_ref = o->client_ref,
                                .phone_id = o->phone_id,
                                .firmware_id = o->firmware_id,
                                .backup_id = o->backup_id,
                                .priority = o->priority,
                                .idempotency_key = o->idempotency_key,
                                .request_sha256 = o->request_sha256};
    for (size_t i = 0; i < o->imei_count; i++)
        job.imeis[i] = o->imeis[i];
    store_job_add(o->s->store, &job, on_added, o);
}

/* Laws 2 and 7, the part that needs no phone: a plausible image equal to another phone's is a copied backup; an
 * open conflict waits for an admin. */
static void on_checked(void *arg, int code, const struct err *err, json_t *body)
{
    struct order *o = arg;
    struct err refusal = {0};
    json_t *twin = json_array_get(json_object_get(body, "twins"), 0);
    json_t *conflict = json_object_get(body, "conflict");
    if (code < 0) {
        order_fail(o, err);
        return;
    }
    if (twin) {
        const char *serial = json_string_value(json_object_get(twin, "serial"));
        o->failure = "A3";
        err_set(&refusal, ERR_REFUSED,
                "%s in this backup is the same as in the backup of %s: one of "
                "the two is a copy of another phone's files",
                json_string_value(json_object_get(twin, "name")),
                serial ? serial : "another phone");
        order_fail(o, &refusal);
        return;
    }
    if (json_is_object(conflict)) {
        AUTO(free_ptr) char *text = conflict_sentence(conflict);
        o->failure = "L7";
        err_set(&refusal, ERR_CONFLICT, "%s", text);
        order_fail(o, &refusal);
        return;
    }
    add_to_store(o);
}

/* The plan is made once without a phone, so that everything that does not fit is refused now. */
static void check_plan(struct order *o)
{
    const char *imeis[PLAN_IMEIS_MAX];
    for (size_t i = 0; i < o->imei_count; i++)
        imeis[i] = o->imeis[i];
    struct plan_inputs in = {.recipe = &o->recipe->recipe,
                             .package = json_object_get(o->package, "detail"),
                             .backup = o->backup,
                             .serial = o->serial,
                             .finish = o->finish,
                             .accept = o->accept,
                             .imeis = imeis,
                             .imei_count = o->imei_count};
    struct err err = {0};
    AUTO(free_ptr) struct plan *plan = xcalloc(1, sizeof(*plan));
    if (plan_build(&in, plan, &o->failure, &err) < 0) {
        o->unfit = true;
        order_fail(o, &err);
        return;
    }
    if (o->dry_run) {
        AUTO(free_ptr) char *text = plan_encode(plan, o->recipe->json);
        o->plan = json_loads(text, 0, NULL);
    }
    if (o->backup_id)
        store_order_check(o->s->store, o->backup_id, o->phone_id, o->serial, on_checked, o);
    else
        add_to_store(o);
}

static bool is_pruned(json_t *backup)
{
    return json_is_string(json_object_get(backup, "pruned_at"));
}

static int refuse_damaged(struct order *o, json_t *backup, struct err *err)
{
    o->failure = "A9";
    return err_set(err, ERR_CONFLICT, "backup %s of %s is damaged: %s", member(backup, "id"),
                   o->serial, member(backup, "damage"));
}

static void on_backup(void *arg, int code, const struct err *err, json_t *body)
{
    struct order *o = arg;
    struct err why = {0};
    if (code >= 0 && is_pruned(body)) {
        code = err_set(&why, ERR_CONFLICT,
                       "retention deleted the images of backup %s on %s: name another backup of "
                       "this phone, or none",
                       member(body, "id"), member(body, "pruned_at"));
        err = &why;
    } else if (code >= 0 && member(body, "damage")) {
        code = refuse_damaged(o, body, &why);
        err = &why;
    }
    if (code < 0) {
        order_fail(o, err);
        return;
    }
    o->backup = json_incref(body);
    check_plan(o);
}

static bool holds_identity(json_t *backup)
{
    const char *verdict = member(backup, "verdict");
    return verdict && !is_pruned(backup) &&
           (strcmp(verdict, "usable") == 0 || strcmp(verdict, "no_elabel") == 0);
}

/* The newest of this origin that is whole. A damaged one is remembered: it is why there is none. */
static json_t *newest_of(json_t *items, const char *origin, json_t **damaged_out)
{
    size_t i;
    json_t *item;
    json_array_foreach(items, i, item)
    {
        if (!holds_identity(item) || !member_is(item, "origin", origin))
            continue;
        if (!member(item, "damage"))
            return item;
        *damaged_out = *damaged_out ? *damaged_out : item;
    }
    return NULL;
}

/* No backup was named: the newest import for this serial, else one the station took itself while the phone
 * was whole. */
static void on_backups(void *arg, int code, const struct err *err, json_t *body)
{
    struct order *o = arg;
    struct err none = {0};
    if (code < 0) {
        order_fail(o, err);
        return;
    }
    json_t *items = json_object_get(body, "items"), *damaged = NULL;
    json_t *found = newest_of(items, "import", &damaged);
    found = found ? found : newest_of(items, "station", &damaged);
    if (!found && damaged) {
        refuse_damaged(o, damaged, &none);
    } else if (!found) {
        o->failure = "A1";
        err_set(&none, ERR_NOT_FOUND, "there is no usable backup for %s", o->serial);
    }
    if (!found) {
        order_fail(o, &none);
        return;
    }
    o->backup = json_incref(found);
    o->backup_id = store_id(json_string_value(json_object_get(o->backup, "id")));
    check_plan(o);
}

static void find_backup(struct order *o)
{
    if (!o->recipe->recipe.wants_backup)
        check_plan(o);
    else if (o->backup_id)
        store_backup_get(o->s->store, o->backup_id, on_backup, o);
    else
        store_backup_list(o->s->store, 0, o->serial, &(struct store_page){.limit = 100}, on_backups,
                          o);
}

static void on_firmware(void *arg, int code, const struct err *err, json_t *body)
{
    struct order *o = arg;
    if (code < 0) {
        order_fail(o, err);
        return;
    }
    o->package = json_incref(body);
    find_backup(o);
}

/* No package was named: fine when there is exactly one, a question otherwise. */
static void on_firmwares(void *arg, int code, const struct err *err, json_t *body)
{
    struct order *o = arg;
    json_t *items = json_object_get(body, "items");
    struct err which = {0};
    if (code == 0 && json_array_size(items) != 1) {
        code =
            err_set(&which, ERR_INPUT,
                    json_array_size(items) == 0 ? "there is no firmware package yet: add one first"
                                                : "there are several firmware packages: name one "
                                                  "(firmware), of the phone's own generation");
        err = &which;
    }
    if (code < 0) {
        order_fail(o, err);
        return;
    }
    o->firmware_id = store_id(json_string_value(json_object_get(json_array_get(items, 0), "id")));
    store_firmware_get(o->s->store, o->firmware_id, on_firmware, o);
}

static void find_firmware(struct order *o)
{
    if (!o->recipe->recipe.wants_firmware)
        find_backup(o);
    else if (o->firmware_id)
        store_firmware_get(o->s->store, o->firmware_id, on_firmware, o);
    else
        store_firmware_list(o->s->store, &(struct store_page){.limit = 2}, on_firmwares, o);
}

/* An order that names a phone only is for the serial that this phone has. */
static void on_ordered_phone(void *arg, int code, const struct err *err, json_t *body)
{
    struct order *o = arg;
    struct err why = {0};
    struct job_order in = {.serial = json_string_value(json_object_get(body, "serial"))};
    json_t *imeis = json_object_get(body, "imeis");
    for (size_t i = 0; i < json_array_size(imeis) && i < PLAN_IMEIS_MAX; i++)
        in.imeis[i] = json_string_value(json_array_get(imeis, i));
    if (code == 0)
        code = check_numbers(&in, o, &why);
    if (code < 0)
        order_fail(o, why.code ? &why : err);
    else
        find_firmware(o);
}

static void order_go(struct order *o)
{
    if (o->phone_id && !o->serial[0])
        store_phone_get(o->s->store, o->phone_id, on_ordered_phone, o);
    else
        find_firmware(o);
}

static struct order *order_new(struct station *s, const struct job_order *in, struct err *err)
{
    struct order *o = xcalloc(1, sizeof(*o));
    o->s = s;
    if (choose_recipe(o, in->recipe, err) < 0 || order_take(in, o, err) < 0) {
        order_free(o);
        return NULL;
    }
    o->owner_ref = xstrdup(in->owner_ref);
    o->client_ref = xstrdup(in->client_ref);
    o->idempotency_key = xstrdup(in->idempotency_key);
    o->request_sha256 = in->idempotency_key ? xstrdup(in->request_sha256) : NULL;
    o->priority = in->priority;
    o->dry_run = in->dry_run;
    return o;
}

void station_job_submit(struct station *s, const struct job_order *in, station_done_fn *done,
                        void *arg)
{
    struct err err = {0};
    struct order *o = order_new(s, in, &err);
    if (!o) {
        done_error(done, arg, &err);
        return;
    }
    o->done = done;
    o->arg = arg;
    order_go(o);
}

/* ---- after a restart --------------------------------------------------------------------------------- */

/* The order that made this job, as the store has kept it. */
static void take_stored(struct order *o)
{
    struct err err = {0};
    json_t *job = o->stored, *imeis = json_object_get(job, "imeis");
    bool anywhere = o->met_only && !o->done; /* else a person says: go on where it was */
    struct job_order in = {.recipe = member(job, "recipe"),
                           .port = o->moved_to ? o->moved_to
                                   : anywhere  ? NULL
                                               : member(job, "port"),
                           .serial = member(job, "serial"),
                           .firmware = member(job, "firmware"),
                           .backup = member(job, "backup"),
                           .finish = member(job, "finish"),
                           .accept = member(job, "accept"),
                           .phone_id = member(job, o->met_only ? "ordered_phone_id" : "phone_id")};
    for (size_t i = 0; i < json_array_size(imeis) && i < PLAN_IMEIS_MAX; i++)
        in.imeis[i] = json_string_value(json_array_get(imeis, i));
    if (order_take(&in, o, &err) < 0)
        order_fail(o, &err);
    else
        order_go(o);
}

static void on_former_recipe(void *arg, int code, const struct err *err, json_t *body)
{
    struct order *o = arg;
    struct err why = {0};
    if (code == ERR_NOT_FOUND) {
        code = err_set(&why, ERR_CONFLICT,
                       "the recipe that this job was ordered with is not kept: order it again");
        err = &why;
    }
    if (code == 0) {
        code = recipe_take_former(o->s, body, member(o->stored, "recipe_sha256"), &o->recipe, &why);
        err = &why;
    }
    if (code < 0)
        order_fail(o, err);
    else
        take_stored(o);
}

/* A job is done by the recipe that it was ordered with, whatever is shipped now. */
static void find_its_recipe(struct order *o)
{
    struct err err = {0};
    const char *name = member(o->stored, "recipe"), *hash = member(o->stored, "recipe_sha256");
    json_t *version = json_object_get(o->stored, "recipe_version");
    o->recipe = hash ? recipe_by_hash(o->s, name, hash) : NULL;
    if (o->recipe)
        take_stored(o);
    else if (hash && json_is_integer(version))
        store_recipe_get(o->s->store, name, (int)json_integer_value(version), on_former_recipe, o);
    else if (choose_recipe(o, name, &err) < 0) /* ordered before versions were kept */
        order_fail(o, &err);
    else
        take_stored(o);
}

static struct order *order_of(struct station *s, json_t *job, const char *port)
{
    struct order *o = xcalloc(1, sizeof(*o));
    o->s = s;
    o->stored = json_incref(job);
    o->moved_to = xstrdup(port);
    o->resumed_job = store_id(member(job, "id"));
    o->priority = (int)json_integer_value(json_object_get(job, "priority"));
    bool any_port = json_is_true(json_object_get(job, "any_port"));
    o->any_port = any_port && !port;
    o->paused = member_is(job, "state", "paused");
    o->interrupted = member_is(job, "state", "interrupted");
    o->permitted = json_is_true(json_object_get(job, "permitted"));
    o->met_only = any_port && !o->permitted;
    o->retries = (int)json_integer_value(json_object_get(job, "retries"));
    WIRE_TEXT(o->crash_step, member(job, "crash_step"));
    o->backs_off = member(job, "retry_at") != NULL;
    return o;
}

void order_requeue(struct station *s, json_t *job)
{
    find_its_recipe(order_of(s, job, NULL));
}

static void take_up_again(void *arg)
{
    struct taking_up *c = arg;
    order_requeue(c->s, c->job);
    taking_up_free(c);
}

static void take_up_later(struct station *s, json_t *job, const struct err *err)
{
    log_line(LOG_ERROR, "job", LOG_KV({"err", err_name(err->code)}),
             "job %s is not taken up: %s; it is tried again", member(job, "id"), err->text);
    station_later(s, take_up_again, taking_up_free, taking_up_new(s, job));
}

/* What a job that ran has done is taken from its spool first, then it goes on (run_settle()). One that only waited,
 * or was paused, does so again. */
static void resume_one(struct station *s, json_t *job)
{
    bool ran = member_is(job, "state", "running") || member_is(job, "state", "prompt");
    if (member_is(job, "state", "paused"))
        ran = spool_is_there(s, store_id(member(job, "id")));
    keep_its_port(s, job);
    if (ran)
        run_found(s, job);
    else if (!member_is(job, "state", "interrupted"))
        order_requeue(s, job);
}

void order_again(struct station *s, json_t *job, const char *port, station_done_fn *done, void *arg)
{
    struct order *o = order_of(s, job, port);
    o->done = done;
    o->arg = arg;
    find_its_recipe(o);
}

struct open_jobs { /* the list of those that a former process left, and where it goes on */
    struct station *s;
    char *after;
};

static void open_jobs_free(void *arg)
{
    struct open_jobs *c = arg;
    free(c->after);
    free(c);
}

static void list_open_jobs(void *arg);

static void on_open_jobs(void *arg, int code, const struct err *err, json_t *body)
{
    struct open_jobs *c = arg;
    if (code < 0)
        log_line(LOG_ERROR, "station", LOG_KV({"err", err_name(code)}), "open jobs: %s", err->text);
    if (passes(code)) {
        station_later(c->s, list_open_jobs, open_jobs_free, c);
        return;
    }
    size_t i;
    json_t *job;
    json_array_foreach(json_object_get(body, "items"), i, job)
    {
        resume_one(c->s, job);
    }
    const char *next = json_string_value(json_object_get(body, "next"));
    if (next)
        orders_resume(c->s, next);
    open_jobs_free(c);
}

static void list_open_jobs(void *arg)
{
    struct open_jobs *c = arg;
    store_job_list(c->s->store, &(struct store_job_filter){.open = true},
                   &(struct store_page){.after = c->after, .limit = STORE_PAGE_MAX}, on_open_jobs,
                   c);
}

void orders_resume(struct station *s, const char *after)
{
    struct open_jobs *c = xcalloc(1, sizeof(*c));
    *c = (struct open_jobs){s, xstrdup(after)};
    list_open_jobs(c);
}
