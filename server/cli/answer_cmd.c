/* answer_cmd.c: a job's question to a person. The station takes an answer at once and the phone's worker judges it a
 * moment later, so the verdict is seen in the job: it goes on, or asks again. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "server/cli/client_cmd.h"
#include "server/cli/job_view.h"
#include "server/cli/table.h"
#include "usb/base/clock.h"
#include "usb/base/mem.h"

enum { VERDICT_WAIT_MS = 20000, LOOK_EVERY_MS = 100 };

static json_t *numbers_json(const struct phone_numbers *n)
{
    json_t *values = json_object();
    if (n->serial)
        json_object_set_new(values, "serial", cli_json_text(n->serial));
    if (n->imeis[0]) {
        json_t *imeis = json_array();
        for (int i = 0; n->imeis[i]; i++)
            json_array_append_new(imeis, cli_json_text(n->imeis[i]));
        json_object_set_new(values, "imeis", imeis);
    }
    if (n->wlan_mac)
        json_object_set_new(values, "wlan_mac", cli_json_text(n->wlan_mac));
    if (n->bt_mac)
        json_object_set_new(values, "bt_mac", cli_json_text(n->bt_mac));
    return values;
}

static bool differs(json_t *a, json_t *b, const char *key)
{
    const char *x = text_of(a, key), *y = text_of(b, key);
    return x && y && strcmp(x, y) != 0;
}

/* Numbers that do not fit are asked for again in the same step. Between the two prompts the job is running, so a missing
 * prompt says nothing by itself: the step must have ended, or the job does not run any more. Nobody judges an ok. */
static bool judged(json_t *job, json_t *asked)
{
    json_t *now = json_object_get(job, "prompt");
    const char *state = text_of(job, "state");
    if (json_is_object(now))
        return differs(now, asked, "id");
    if (state && (strcmp(state, "running") == 0 || strcmp(state, "prompt") == 0))
        return prompt_wants_ok(asked) || differs(job, asked, "step");
    return true;
}

/* A prompt that stands there now may be the next one, of another step or done at the phone. */
static bool asks_again(json_t *job, json_t *asked)
{
    json_t *now = json_object_get(job, "prompt");
    const char *by = text_of(now, "answered_by");
    return by && strcmp(by, "person") == 0 && !differs(now, asked, "step");
}

static int verdict_wait(struct client *c, const char *job_id, json_t *asked, json_t **job_out,
                        struct err *err)
{
    AUTO(free_ptr) char *path = client_path("jobs", job_id, "");
    for (int64_t until = clock_in(VERDICT_WAIT_MS);;) {
        AUTO(client_json_free) json_t *job = NULL;
        int rc = client_get(c, path, &job, err);
        if (rc < 0)
            return rc;
        if (judged(job, asked)) {
            *job_out = json_incref(job);
            return 0;
        }
        if (clock_left(until, 1) == 0)
            return err_set(err, ERR_TIMEOUT, "the answer was sent, but job %s has not taken it yet",
                           job_id);
        nanosleep(&(struct timespec){.tv_nsec = LOOK_EVERY_MS * 1000000L}, NULL);
    }
}

int prompt_answer(struct client *c, const char *job_id, json_t *prompt, const char *answer,
                  const struct phone_numbers *numbers, json_t **job_out, struct err *err)
{
    AUTO(client_json_free) json_t *taken = NULL;
    AUTO(free_ptr) char *path = client_path("jobs", job_id, "answer");
    json_t *body = json_object();
    json_object_set_new(body, "prompt_id", cli_json_text(text_or_dash(prompt, "id")));
    json_object_set_new(body, "answer", cli_json_text(answer));
    json_t *values = numbers_json(numbers);
    if (json_object_size(values))
        json_object_set(body, "values", values);
    json_decref(values);
    int rc = client_post(c, path, body, &taken, err);
    if (rc < 0)
        return rc;
    rc = verdict_wait(c, job_id, prompt, job_out, err);
    if (rc < 0 || !asks_again(*job_out, prompt))
        return rc;
    const char *text = text_of(json_object_get(*job_out, "prompt"), "text");
    return err_set(err, ERR_MISMATCH, "%s", text ? text : "the job asks again");
}

/* The prompt that stands now, or NULL after telling that nothing is asked. */
static json_t *prompt_now(struct client *c, const char *job_id)
{
    struct err err;
    AUTO(client_json_free) json_t *job = NULL;
    AUTO(free_ptr) char *path = client_path("jobs", job_id, "");
    if (client_get(c, path, &job, &err) < 0) {
        client_fail(c, &err);
        return NULL;
    }
    json_t *prompt = json_object_get(job, "prompt");
    const char *by = text_of(prompt, "answered_by");
    if (by && strcmp(by, "person") == 0)
        return json_incref(prompt);
    if (by) {
        err_set(&err, ERR_CONFLICT, "job %s asks for something that is done at the phone: %s",
                job_id, text_or_dash(prompt, "text"));
        cli_fail(&err, text_of(prompt, "todo"));
    } else {
        err_set(&err, ERR_CONFLICT, "job %s asks nothing at the moment: it is %s", job_id,
                text_or_dash(job, "state"));
        cli_fail(&err, "'flashrack job ID --follow' shows when it asks.");
    }
    return NULL;
}

/* They belong to another question than the one that stands there: a yes would be taken for them. */
static int numbers_refuse(const char *job_id, json_t *prompt)
{
    struct err err;
    err_set(&err, ERR_CONFLICT, "job %s asks for ok or abort, and for no numbers: %s", job_id,
            text_or_dash(prompt, "text"));
    return cli_fail(&err, text_of(prompt, "todo"));
}

int answer_cmd(const struct cli_command *self, int argc, char **argv)
{
    struct client_options common = {0};
    struct phone_numbers n = {0};
    bool abort_job = false;
    const struct cli_option options[] = {CLIENT_OPTIONS(common),
                                         {"serial", &n.serial, NULL, 0},
                                         {"imei", n.imeis, NULL, CLI_REPEATS},
                                         {"wlan-mac", &n.wlan_mac, NULL, 0},
                                         {"bt-mac", &n.bt_mac, NULL, 0},
                                         {"abort", NULL, &abort_job, 0},
                                         {0}};
    AUTO(client_free) struct client *c = NULL;
    int rc = client_arguments(self, argc, argv, options, 1, "a job's id is needed");
    if (rc == CMD_GO_ON)
        rc = station_open(&common, &c);
    if (rc != CMD_GO_ON)
        return rc;
    AUTO(client_json_free) json_t *prompt = prompt_now(c, argv[0]);
    if (!prompt)
        return CLI_BAD_INPUT;
    if (prompt_wants_ok(prompt) && (n.serial || n.imeis[0] || n.wlan_mac || n.bt_mac))
        return numbers_refuse(argv[0], prompt);
    struct err err;
    AUTO(client_json_free) json_t *job = NULL;
    rc = prompt_answer(c, argv[0], prompt, abort_job ? "abort" : "ok", &n, &job, &err);
    if (common.json && job)
        cli_json_print(json_incref(job));
    if (rc < 0)
        return client_fail(c, &err);
    if (!common.json)
        printf("job %s took the answer; now %s\n", text_or_dash(job, "id"),
               text_or_dash(job, "state"));
    return CLI_FINE;
}
