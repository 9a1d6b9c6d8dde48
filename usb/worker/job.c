#include <stdlib.h>

#include "usb/base/mem.h"
#include "usb/worker/runs.h"

/* How the run ended outlives a station that does not hear it. On a full disk the steps alone tell. */
static void spool_done(struct host *h, int code, const struct wire_done *done,
                       const struct err *why)
{
    struct err err = {0};
    json_auto_t *record =
        json_pack("{s:s, s:s, s:s, s:O}", "code", err_name(code), "failure", done->failure, "text",
                  code < 0 ? why->text : "", "result", done->result);
    if (spool_append_json(&h->spool, SPOOL_DONE, record, &err) == 0)
        (void)spool_sync(&h->spool, &err);
}

int run_job(struct host *h, const char *text, size_t len, struct wire_done *done, struct err *err)
{
    AUTO(free_ptr) struct plan *plan = xcalloc(1, sizeof(*plan));
    int rc = plan_decode(text, len, plan, err);
    if (rc == 0 && plan->job_id != h->job_id)
        rc = err_set(err, ERR_PROTOCOL, "the plan is for another job");
    if (rc == 0)
        rc = host_spool_begin(h, err);
    if (rc < 0)
        return rc;
    h->run_number = plan->run;
    struct session_input inputs[HOST_INPUTS_MAX];
    for (size_t i = 0; i < h->input_count; i++)
        inputs[i] = (struct session_input){h->inputs[i].name, h->inputs[i].fd};
    struct session_config config = {.plan = plan,
                                    .plan_sha256 = sha256_of(span_of(text, len)),
                                    .inputs = inputs,
                                    .input_count = h->input_count,
                                    .host = host_session(h)};
    struct session_outcome outcome = {0};
    rc = session_run(&config, &outcome, err);
    WIRE_TEXT(done->failure, outcome.failure);
    done->result = outcome.result;
    /* a run that broke off because its station is gone has not come to its end: the job goes on */
    if (rc != ERR_CANCELLED || h->cancelled)
        spool_done(h, rc, done, err);
    return rc;
}
