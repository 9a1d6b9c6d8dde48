/* job_cmd.c: one job: ordering it, looking at it, and the commands it takes. */
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "server/cli/client_cmd.h"
#include "server/cli/table.h"
#include "usb/base/mem.h"
#include "usb/plan/failure.h"

#define RESTORE "x5-restore"

enum { KEY_BYTES = 16, SEND_TRIES = 3 };

/* ---- a job for people ------------------------------------------------------------------------------- */

bool job_has_ended(json_t *job)
{
    static const char *const ended[] = {"succeeded", "failed", "cancelled", "interrupted"};
    const char *state = text_of(job, "state");
    for (size_t i = 0; i < ARRAY_LEN(ended); i++)
        if (state && strcmp(state, ended[i]) == 0)
            return true;
    return false;
}

int job_verdict(json_t *job)
{
    const char *state = text_of(job, "state");
    if (state && strcmp(state, "succeeded") == 0)
        return CLI_FINE;
    json_t *error = json_object_get(job, "error");
    const char *message = text_of(error, "message"), *advice = text_of(error, "advice");
    const char *cause = failure_cause_of(error);
    fprintf(stderr, "flashrack: job %s %s%s%s\n", text_or_dash(job, "id"), state ? state : "?",
            message ? ": " : "", message ? cli_printable(message) : "");
    if (cause)
        fprintf(stderr, "           Likely cause: %s\n", cli_printable(cause));
    if (advice && advice[0])
        fprintf(stderr, "           %s\n", cli_printable(advice));
    return CLI_BAD_INPUT;
}

static void line(const char *name, const char *text)
{
    if (text && text[0])
        printf("  %-9s %s\n", name, cli_printable(text));
}

static void progress_line(json_t *job)
{
    json_t *progress = json_object_get(job, "progress");
    json_int_t done = json_integer_value(json_object_get(progress, "done_bytes"));
    json_int_t total = json_integer_value(json_object_get(progress, "total_bytes"));
    if (total > 0 && !job_has_ended(job))
        printf("  %-9s %s of %s (%.0f %%)\n", "progress", cli_bytes((uint64_t)done),
               cli_bytes((uint64_t)total), 100.0 * (double)done / (double)total);
}

static void seen_line(json_t *job)
{
    json_t *seen = json_object_get(job, "seen_on");
    line("moved", text_of(seen, "text"));
    if (json_is_object(seen))
        printf("  %-9s flashrack resume %s --port %s\n", "", text_or_dash(job, "id"),
               text_or_dash(seen, "port"));
}

static void steps_print(json_t *steps)
{
    if (json_array_size(steps) == 0)
        return;
    AUTO(table_free) struct table *t = table_new("STEP\0TRY\0STATE\0TOOK\0ERROR\0");
    size_t i;
    json_t *step;
    json_array_foreach(steps, i, step)
    {
        double from = seconds_of(step, "started_at"), to = seconds_of(step, "ended_at");
        table_cell(t, text_of(step, "name"));
        table_cell(t, text_of(step, "attempt"));
        table_cell(t, text_of(step, "state"));
        table_cell(t, from >= 0 && to >= from ? text_duration(to - from) : NULL);
        table_cell(t, text_of(json_object_get(step, "error"), "message"));
    }
    putchar('\n');
    table_print(t);
}

void job_print(json_t *job)
{
    json_t *prompt = json_object_get(job, "prompt"), *error = json_object_get(job, "error");
    printf("job %s  %s\n", text_or_dash(job, "id"), text_or_dash(job, "state"));
    line("recipe", text_of(job, "recipe"));
    line("serial", text_of(job, "serial"));
    line("port", text_of(job, "port"));
    line("waits", text_of(json_object_get(job, "waits_for"), "text"));
    line("again at", text_time(job, "retry_at"));
    line("step", text_of(job, "step"));
    if (text_of(job, "pending"))
        printf("  %-9s %s after this step\n", "pending", text_of(job, "pending"));
    line("died in", text_of(job, "crash_step"));
    progress_line(job);
    line("ordered", text_time(job, "created_at"));
    line("started", text_time(job, "started_at"));
    line("ended", text_time(job, "ended_at"));
    line("reference", text_of(job, "client_ref"));
    line("DO NOW", text_of(prompt, "text"));
    line("", text_of(prompt, "todo"));
    seen_line(job);
    line("error", text_of(error, "message"));
    if (failure_cause_of(error))
        printf("  %-9s Likely cause: %s\n", "", text_or_dash(error, "cause"));
    line("", text_of(error, "advice"));
    steps_print(json_object_get(job, "steps"));
}

int job_cmd(const struct cli_command *self, int argc, char **argv)
{
    struct client_options common = {0};
    bool follow = false;
    const struct cli_option options[] = {CLIENT_OPTIONS(common), {"follow", NULL, &follow, 0}, {0}};
    AUTO(client_free) struct client *c = NULL;
    int rc = client_begin(self, argc, argv, options, &common, 1, "a job's id is needed", &c);
    if (rc != CMD_GO_ON)
        return rc;
    if (follow)
        return job_follow(c, argv[0], common.json);
    struct err err;
    AUTO(client_json_free) json_t *job = NULL;
    AUTO(free_ptr) char *path = client_path("jobs", argv[0], "");
    if (client_get(c, path, &job, &err) < 0)
        return client_fail(c, &err);
    if (common.json)
        cli_json_print(json_incref(job));
    else
        job_print(job);
    return CLI_FINE;
}

/* ---- orders ----------------------------------------------------------------------------------------- */

struct order {
    const char *recipe, *phone, *port, *serial, *firmware, *backup, *finish, *accept, *owner_ref,
        *client_ref, *key;
    const char *imeis[CLI_VALUES_MAX + 1];
    bool dry_run;
};

static void text_put(json_t *body, const char *name, const char *text)
{
    if (text)
        json_object_set_new(body, name, cli_json_text(text));
}

static json_t *order_json(const struct order *o)
{
    json_t *body = json_object();
    text_put(body, "recipe", o->recipe);
    text_put(body, "phone_id", o->phone);
    text_put(body, "port", o->port);
    text_put(body, "serial", o->serial);
    text_put(body, "firmware", o->firmware);
    text_put(body, "backup", o->backup);
    text_put(body, "finish", o->finish);
    text_put(body, "accept", o->accept);
    text_put(body, "owner_ref", o->owner_ref);
    text_put(body, "client_ref", o->client_ref);
    if (o->dry_run)
        json_object_set_new(body, "dry_run", json_true());
    if (o->imeis[0]) {
        json_t *imeis = json_array();
        for (int i = 0; o->imeis[i]; i++)
            json_array_append_new(imeis, cli_json_text(o->imeis[i]));
        json_object_set_new(body, "imeis", imeis);
    }
    return body;
}

/* An answer that is lost on the way must not become a second job: the order goes out under a key, again under the
 * same one when no answer came. */
static int order_send(struct client *c, const struct order *o, json_t **job_out, struct err *err)
{
    AUTO(client_json_free) json_t *body = order_json(o);
    char key[2 * KEY_BYTES + 1];
    uint8_t random[KEY_BYTES];
    if (getrandom(random, sizeof(random), 0) != sizeof(random))
        return err_sys(err, ERR_IO, "random numbers");
    for (size_t i = 0; i < sizeof(random); i++)
        snprintf(key + 2 * i, 3, "%02x", random[i]);
    const struct client_request request = {
        .method = "POST", .path = CLIENT_API "/jobs", .body = body, .key = o->key ? o->key : key};
    int rc = ERR_GONE;
    for (int i = 0; i < SEND_TRIES && rc == ERR_GONE; i++)
        rc = client_call(c, &request, job_out, err);
    return rc;
}

/* What a job of this order may write. */
static void plan_told(json_t *answer)
{
    AUTO(table_free) struct table *t = table_new("STEP\0PARTITION\0OFFSET\0SIZE\0IMAGE\0");
    json_t *write, *writes = json_object_get(json_object_get(answer, "plan"), "writes");
    size_t i;
    json_array_foreach(writes, i, write)
    {
        json_int_t offset = json_integer_value(json_object_get(write, "offset_bytes"));
        json_int_t size = json_integer_value(json_object_get(write, "size_bytes"));
        AUTO(free_ptr) char *place = xasprintf("0x%llx", (unsigned long long)offset);
        table_cell(t, text_of(write, "step"));
        table_cell(t, text_of(write, "partition"));
        table_cell(t, place);
        table_cell(t, cli_bytes((uint64_t)size));
        table_cell(t, text_of(write, "image"));
    }
    table_print(t);
    puts("Of lk_a and lk_b each step takes the slot that needs it. Nothing else is written; no job "
         "was made.");
}

static void order_told(json_t *job)
{
    const char *recipe = text_or_dash(job, "recipe"), *serial = text_of(job, "serial");
    printf("job %s: %s%s%s on %s, %s\n", text_or_dash(job, "id"),
           strcmp(recipe, RESTORE) == 0 ? "restore" : recipe, serial ? " of " : "",
           serial ? cli_printable(serial) : "", text_or_dash(job, "port"),
           text_or_dash(job, "state"));
    printf("Next: flashrack job %s --follow\n", text_or_dash(job, "id"));
}

/* recipe: NULL when --recipe names it. */
static int order_run(const struct cli_command *self, int argc, char **argv, const char *recipe)
{
    struct client_options common = {0};
    struct order o = {.recipe = recipe};
    bool follow = false;
    const struct cli_option options[] = {
        CLIENT_OPTIONS(common),
        {"port", &o.port, NULL, 0},
        {"serial", &o.serial, NULL, 0},
        {"firmware", &o.firmware, NULL, 0},
        {"backup", &o.backup, NULL, 0},
        {"imei", o.imeis, NULL, CLI_REPEATS},
        {"finish", &o.finish, NULL, 0},
        {"accept", &o.accept, NULL, 0},
        {"owner-ref", &o.owner_ref, NULL, 0},
        {"client-ref", &o.client_ref, NULL, 0},
        {"key", &o.key, NULL, 0},
        {"follow", NULL, &follow, 0},
        {"dry-run", NULL, &o.dry_run, 0},
        {recipe ? NULL : "recipe", &o.recipe, NULL, 0}, /* NULL: the end */
        {"phone", &o.phone, NULL, 0},
        {0}};
    AUTO(client_free) struct client *c = NULL;
    int rc = client_arguments(self, argc, argv, options, 0, "");
    if (rc == CMD_GO_ON && !o.recipe)
        rc = cli_usage(self, "--recipe is needed");
    if (rc == CMD_GO_ON && recipe && !o.serial)
        rc = cli_usage(self, "--serial is needed");
    if (rc == CMD_GO_ON)
        rc = station_open(&common, &c);
    if (rc != CMD_GO_ON)
        return rc;
    struct err err;
    AUTO(client_json_free) json_t *job = NULL;
    if (order_send(c, &o, &job, &err) < 0)
        return client_fail(c, &err);
    if (follow && !o.dry_run)
        return job_follow(c, text_or_dash(job, "id"), common.json);
    if (common.json)
        cli_json_print(json_incref(job));
    else if (o.dry_run)
        plan_told(job);
    else
        order_told(job);
    return CLI_FINE;
}

int restore_cmd(const struct cli_command *self, int argc, char **argv)
{
    return order_run(self, argc, argv, RESTORE);
}

int order_cmd(const struct cli_command *self, int argc, char **argv)
{
    return order_run(self, argc, argv, NULL);
}

/* ---- cancel, pause, resume -------------------------------------------------------------------------- */

static int verb_cmd(const struct cli_command *self, int argc, char **argv, const char *said)
{
    struct client_options common = {0};
    const char *port = NULL;
    bool resumes = strcmp(self->name, "resume") == 0;
    const struct cli_option with_port[] = {CLIENT_OPTIONS(common), {"port", &port, NULL, 0}, {0}};
    const struct cli_option without[] = {CLIENT_OPTIONS(common), {0}};
    const struct cli_option *options = resumes ? with_port : without;
    AUTO(client_free) struct client *c = NULL;
    int rc = client_begin(self, argc, argv, options, &common, 1, "a job's id is needed", &c);
    if (rc != CMD_GO_ON)
        return rc;
    struct err err;
    AUTO(client_json_free) json_t *job = NULL;
    AUTO(free_ptr) char *path = client_path("jobs", argv[0], self->name);
    json_t *body = port ? json_object() : NULL;
    text_put(body, "port", port);
    if (client_post(c, path, body, &job, &err) < 0)
        return client_fail(c, &err);
    if (common.json)
        cli_json_print(json_incref(job));
    else
        printf("job %s %s; now %s\n", text_or_dash(job, "id"), said, text_or_dash(job, "state"));
    return CLI_FINE;
}

int cancel_cmd(const struct cli_command *self, int argc, char **argv)
{
    return verb_cmd(self, argc, argv, "will stop after the step it is in");
}

int pause_cmd(const struct cli_command *self, int argc, char **argv)
{
    return verb_cmd(self, argc, argv, "will wait after the step it is in");
}

int resume_cmd(const struct cli_command *self, int argc, char **argv)
{
    return verb_cmd(self, argc, argv, "will go on");
}
