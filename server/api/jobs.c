#include "server/api/internal.h"

#include <string.h>

#include "usb/base/hash.h"
#include "usb/base/mem.h"

#define NAME_MAX_BYTES 64
#define PORT_MAX_BYTES 128
#define REF_MAX_BYTES  128
#define KEY_MAX_BYTES  128
#define PRIORITY_MAX   100

static const char *const states[] = {"queued",    "waiting", "running",   "prompt",      "paused",
                                     "succeeded", "failed",  "cancelled", "interrupted", NULL};

/* ---- POST /jobs ---- */

static void order_decode(struct fields *f, struct job_order *order)
{
    static const char *const finishes[] = {"lk", "upgrade", NULL};
    static const char *const accepts[] = {"usb", "scan", NULL};
    order->recipe = fields_string(f, "recipe", NAME_MAX_BYTES);
    order->port = fields_string(f, "port", PORT_MAX_BYTES);
    order->serial = fields_string(f, "serial", NAME_MAX_BYTES);
    size_t imei_count = fields_strings(f, "imeis", order->imeis, ARRAY_LEN(order->imeis), 32);
    order->phone_id = fields_string(f, "phone_id", NAME_MAX_BYTES);
    order->firmware = fields_string(f, "firmware", NAME_MAX_BYTES);
    order->backup = fields_string(f, "backup", NAME_MAX_BYTES);
    order->finish = fields_choice(f, "finish", finishes);
    order->accept = fields_choice(f, "accept", accepts);
    order->owner_ref = fields_string(f, "owner_ref", REF_MAX_BYTES);
    order->client_ref = fields_string(f, "client_ref", REF_MAX_BYTES);
    order->priority = (int)fields_int(f, "priority", -PRIORITY_MAX, PRIORITY_MAX, 0);
    order->dry_run = fields_bool(f, "dry_run") == 1;
    fields_need(f, "recipe");
    if (order->serial)
        api_check_serial(f, "serial", order->serial);
    for (size_t i = 0; i < imei_count; i++)
        api_check_imei(f, "imeis", order->imeis[i]);
}

static int recipe_check(const struct api *a, const char *recipe, struct err *err)
{
    if (json_object_get(a->recipes, recipe))
        return 0;
    return err_set(err, ERR_INPUT, "field 'recipe': there is no recipe '%s'", recipe);
}

static int key_check(const char *key, struct err *err)
{
    size_t len = key ? strlen(key) : 0;
    if (!key)
        return 0;
    if (len == 0 || len > KEY_MAX_BYTES)
        return err_set(err, ERR_INPUT, "Idempotency-Key: must have 1 to %d characters",
                       KEY_MAX_BYTES);
    for (size_t i = 0; i < len; i++)
        if (key[i] < 0x21 || key[i] > 0x7e)
            return err_set(err, ERR_INPUT, "Idempotency-Key: printable ASCII without blanks only");
    return 0;
}

static void job_post(struct http_call *call, void *arg)
{
    struct api *a = arg;
    struct err err;
    json_t *body = NULL;
    struct fields f;
    struct job_order order = {0};
    int rc = api_body(call, &f, &body, &err);
    if (rc == 0) {
        order_decode(&f, &order);
        rc = fields_close(&f, &err);
    }
    if (rc == 0)
        rc = recipe_check(a, order.recipe, &err);
    order.idempotency_key = http_header(call, "Idempotency-Key");
    if (rc == 0)
        rc = key_check(order.idempotency_key, &err);
    if (rc < 0) {
        http_reply_err(call, &err, NULL);
    } else {
        char hash[SHA256_HEX_BYTES];
        struct sha256 digest = sha256_of(http_body(call)); /* at most 64 KiB: fit for the loop */
        sha256_hex(&digest, hash);
        order.request_sha256 = hash;
        if (order.dry_run)
            station_job_submit(a->station, &order, ask_done, ask_new(a, call, 200, NULL));
        else
            station_job_submit(a->station, &order, ask_job_done,
                               ask_new(a, call, 201, API_BASE "/jobs"));
    }
    json_decref(body);
}

/* ---- reading ---- */

static int filter_decode(const struct http_call *call, struct store_job_filter *filter,
                         struct store_page *page, struct err *err)
{
    static const char *const names[] = {API_PAGE_NAMES, "state",    "port", "serial",
                                        "client_ref",   "phone_id", "open", NULL};
    int rc = api_page(call, names, page, err);
    if (rc < 0)
        return rc;
    const char *open = http_query(call, "open"), *phone = http_query(call, "phone_id");
    *filter = (struct store_job_filter){
        .state = http_query(call, "state"),
        .port_id = http_query(call, "port"),
        .serial = http_query(call, "serial"),
        .client_ref = http_query(call, "client_ref"),
        .phone_id = phone ? store_id(phone) : 0,
        .open = open && strcmp(open, "true") == 0,
    };
    if (open && !filter->open && strcmp(open, "false") != 0)
        return err_set(err, ERR_INPUT, "query parameter 'open': must be true or false");
    if (phone && !filter->phone_id)
        return err_set(err, ERR_INPUT, "query parameter 'phone_id': not an id");
    for (size_t i = 0; filter->state && i < ARRAY_LEN(states); i++) {
        if (!states[i])
            return err_set(err, ERR_INPUT, "query parameter 'state': not a state of a job");
        if (strcmp(states[i], filter->state) == 0)
            break;
    }
    return 0;
}

static void jobs_list(struct http_call *call, void *arg)
{
    struct api *a = arg;
    struct err err;
    struct store_job_filter filter;
    struct store_page page;
    if (filter_decode(call, &filter, &page, &err) < 0)
        http_reply_err(call, &err, NULL);
    else
        store_job_list(a->store, &filter, &page, ask_jobs_done, ask_new(a, call, 200, NULL));
}

static void job_get(struct http_call *call, void *arg)
{
    struct api *a = arg;
    store_job_get(a->store, store_id(http_param(call, "id")), ask_job_done,
                  ask_new(a, call, 200, NULL));
}

static void job_log(struct http_call *call, void *arg)
{
    static const char *const names[] = {API_PAGE_NAMES, NULL};
    struct api *a = arg;
    struct err err;
    struct store_page page;
    if (api_page(call, names, &page, &err) < 0)
        http_reply_err(call, &err, NULL);
    else
        store_job_log(a->store, store_id(http_param(call, "id")), &page, ask_done,
                      ask_new(a, call, 200, NULL));
}

/* ---- commands ---- */

/* The station has done it; the answer is the whole job as it is stored now. */
static void job_commanded(void *arg, int code, const struct err *err, json_t *body)
{
    struct ask *q = arg;
    if (code < 0 || !q->api->station)
        ask_done(arg, code, err, body);
    else
        store_job_get(q->api->store, store_id(http_param(q->call, "id")), ask_job_done, q);
}

static void job_verb(struct http_call *call, struct api *a, const char *verb)
{
    struct err err;
    json_t *body = NULL;
    struct fields f;
    const char *port = NULL;
    int rc = api_body(call, &f, &body, &err);
    if (rc == 0 && strcmp(verb, "resume") == 0)
        port = fields_string(&f, "port", PORT_MAX_BYTES);
    if (rc == 0)
        rc = fields_close(&f, &err);
    if (rc < 0)
        http_reply_err(call, &err, NULL);
    else
        station_job_verb(a->station, http_param(call, "id"), verb, port, job_commanded,
                         ask_new(a, call, 200, NULL));
    json_decref(body);
}

static void job_cancel(struct http_call *call, void *arg)
{
    job_verb(call, arg, "cancel");
}

static void job_pause(struct http_call *call, void *arg)
{
    job_verb(call, arg, "pause");
}

static void job_resume(struct http_call *call, void *arg)
{
    job_verb(call, arg, "resume");
}

/* What a person read on the phone. Checked for form only: whether it is the right phone's, the
 * station decides. */
static int values_check(json_t *values, struct err *err)
{
    struct fields f;
    const char *imeis[4];
    fields_open(&f, values, "values.");
    const char *serial = fields_string(&f, "serial", NAME_MAX_BYTES);
    size_t imei_count = fields_strings(&f, "imeis", imeis, ARRAY_LEN(imeis), 32);
    const char *wlan = fields_string(&f, "wlan_mac", 32);
    const char *bt = fields_string(&f, "bt_mac", 32);
    if (serial)
        api_check_serial(&f, "serial", serial);
    for (size_t i = 0; i < imei_count; i++)
        api_check_imei(&f, "imeis", imeis[i]);
    if (wlan)
        api_check_mac(&f, "wlan_mac", wlan);
    if (bt)
        api_check_mac(&f, "bt_mac", bt);
    return fields_close(&f, err);
}

struct answer {
    const char *prompt_id, *answer;
    json_t *values;
};

static int answer_decode(struct http_call *call, json_t **body_out, struct answer *out,
                         struct err *err)
{
    static const char *const answers[] = {"ok", "retry", "abort", NULL};
    struct fields f;
    int rc = api_body(call, &f, body_out, err);
    if (rc < 0)
        return rc;
    out->prompt_id = fields_string(&f, "prompt_id", NAME_MAX_BYTES);
    out->answer = fields_choice(&f, "answer", answers);
    out->values = fields_object(&f, "values");
    fields_need(&f, "prompt_id");
    fields_need(&f, "answer");
    rc = fields_close(&f, err);
    if (rc == 0 && out->values)
        rc = values_check(out->values, err);
    return rc;
}

static void job_answer(struct http_call *call, void *arg)
{
    struct api *a = arg;
    struct err err;
    json_t *body = NULL;
    struct answer answer = {0};
    if (answer_decode(call, &body, &answer, &err) < 0)
        http_reply_err(call, &err, NULL);
    else
        station_job_answer(a->station, http_param(call, "id"), answer.prompt_id, answer.answer,
                           answer.values, job_commanded, ask_new(a, call, 200, NULL));
    json_decref(body);
}

static const struct http_route routes[] = {
    {"POST", API_BASE "/jobs", job_post, HTTP_JSON_MAX_BYTES, 0},
    {"GET", API_BASE "/jobs", jobs_list, 0, 0},
    {"GET", API_BASE "/jobs/{id}", job_get, 0, 0},
    {"GET", API_BASE "/jobs/{id}/log", job_log, 0, 0},
    {"POST", API_BASE "/jobs/{id}/cancel", job_cancel, HTTP_JSON_MAX_BYTES, 0},
    {"POST", API_BASE "/jobs/{id}/pause", job_pause, HTTP_JSON_MAX_BYTES, 0},
    {"POST", API_BASE "/jobs/{id}/resume", job_resume, HTTP_JSON_MAX_BYTES, 0},
    {"POST", API_BASE "/jobs/{id}/answer", job_answer, HTTP_JSON_MAX_BYTES, 0},
};
const struct api_routes api_jobs_routes = {routes, ARRAY_LEN(routes)};
