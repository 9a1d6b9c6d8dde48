/* permit.c: from "the identity set lies in the spool" to "may write". The order is the law: the backup is
 * committed, and only then a permit exists, which the store gives after it compared everything with what it
 * knows; any refusal on the way is told to the worker. */
#include <stdio.h>
#include <string.h>

#include "server/station/internal.h"
#include "usb/base/log.h"
#include "usb/base/mem.h"

void permit_deny(struct job *j, int code, const char *failure, const char *text)
{
    if (!j->worker || j->deny_sent)
        return;
    j->deny_sent = true;
    struct wire_message m = {.type = WIRE_deny, .fd = -1};
    WIRE_TEXT(m.u.deny.code, err_name(code));
    WIRE_TEXT(m.u.deny.failure, failure);
    WIRE_TEXT(m.u.deny.text, text);
    worker_send(j->worker, &m);
}

/* Every callback begins so: was the job ended meanwhile, did the call fail? False: nothing more to do. */
bool permit_may_go_on(struct job *j, int code, const struct err *err, const char *failure)
{
    if (code < 0)
        permit_deny(j, code, failure, err->text);
    return code == 0 && j->worker && !j->ended;
}

/* service_lk: see struct wire_permit. */
static void send_permit(struct job *j, const char *service_lk)
{
    struct wire_message m = {.type = WIRE_permit, .fd = -1};
    m.u.permit.backup_id = j->pre_backup_id;
    memcpy(m.u.permit.manifest_sha256, j->asked.manifest_sha256,
           sizeof(m.u.permit.manifest_sha256));
    sha256_hex(&j->plan_sha256, m.u.permit.plan_sha256);
    WIRE_TEXT(m.u.permit.chip_id, j->chip_id);
    WIRE_TEXT(m.u.permit.service_lk, service_lk);
    j->permitted = j->writes;
    worker_send(j->worker, &m);
}

char *conflict_sentence(json_t *conflict)
{
    return xasprintf("%s (conflict %s): an admin must resolve it with a reason",
                     json_string_value(json_object_get(conflict, "text")),
                     json_string_value(json_object_get(conflict, "id")));
}

static void on_permit(void *arg, int code, const struct err *err, json_t *body)
{
    struct job *j = arg;
    json_t *conflict = json_object_get(body, "conflict");
    if (permit_may_go_on(j, code, err, "A2")) {
        AUTO(free_ptr) char *text = conflict ? conflict_sentence(conflict) : NULL;
        if (text)
            permit_deny(j, ERR_CONFLICT, "L7", text);
        else
            send_permit(j, json_string_value(json_object_get(body, "service_lk")));
    }
    job_unref(j);
}

/* The store compares the order's numbers with all that is known, binds an import to this phone and writes the row
 * that proves it, in one transaction: two phones that ask for one backup at once do not both get it. */
void permit_go_on(struct job *j)
{
    struct store_permit_new permit = {.job_id = j->id,
                                      .backup_id = j->pre_backup_id,
                                      .source_backup_id = j->backup_id,
                                      .plan = j->plan_sha256,
                                      .chip_id = j->chip_id};
    if (!sha256_parse(j->asked.manifest_sha256, &permit.manifest)) {
        permit_deny(j, ERR_PROTOCOL, "", "the worker named no manifest");
        return;
    }
    j->pending++;
    store_permit_add(j->s->store, &permit, on_permit, j);
}

/* The job only looks: what was saved is committed, there is nothing to permit. What the phone's own proinfo says is
 * learned, so that a number on two chips is seen (law 7). */
static void saved_only(struct job *j, const char *serial)
{
    struct store_phone_seen seen = {.chip_id = j->chip_id,
                                    .port_id = j->port->id,
                                    .serial = serial && serial[0] ? serial : NULL,
                                    .source = "proinfo"};
    store_phone_seen(j->s->store, &seen, NULL, NULL);
    send_permit(j, NULL);
}

/* The pre-image is committed. Does it belong to another phone than the label says? */
static void on_ingested(void *arg, int code, const struct err *err, json_t *body)
{
    struct job *j = arg;
    json_t *backups = json_object_get(body, "backups");
    json_t *backup = json_array_get(backups, json_array_size(backups) - 1);
    if (!permit_may_go_on(j, code, err, "")) {
        job_unref(j);
        return;
    }
    const char *manifest = json_string_value(json_object_get(backup, "manifest_sha256"));
    const char *serial = json_string_value(json_object_get(backup, "serial"));
    const char *verdict = json_string_value(json_object_get(backup, "verdict"));
    if (!manifest || strcmp(manifest, j->asked.manifest_sha256) != 0) {
        permit_deny(j, ERR_VERIFY, "",
                    "the backup that was committed is not the one the worker took");
    } else if (j->serial[0] && serial && serial[0] && strcmp(serial, j->serial) != 0) {
        AUTO(free_ptr)
        char *text = xasprintf("this phone holds the identity of %s, the job is for %s: "
                               "another phone is plugged in here",
                               serial, j->serial);
        WIRE_TEXT(j->port->phone_serial, serial);
        permit_deny(j, ERR_MISMATCH, "F4", text);
    } else {
        j->pre_backup_id = store_id(json_string_value(json_object_get(backup, "id")));
        bool lost =
            verdict && (strcmp(verdict, "lost") == 0 || strcmp(verdict, "placeholder") == 0);
        if (lost)
            store_phone_identity(j->s->store, j->phone_id, "lost", NULL, NULL);
        if (!j->writes)
            saved_only(j, lost ? NULL : serial);
        else if (lost && !j->backup_id)
            permit_deny(
                j, ERR_REFUSED, "A1",
                "this phone's identity is lost, and this recipe does not bring it back: restore it "
                "first");
        else
            recognise(j, serial);
    }
    job_unref(j);
}

static void take_phone(struct job *j, int64_t phone_id)
{
    if (j->phone_id == phone_id)
        return;
    j->phone_id = phone_id;
    job_store_change(j, &(struct store_job_change){.phone_id = phone_id});
    port_publish(j->port);
}

static void on_chip(void *arg, int code, const struct err *err, json_t *body)
{
    struct job *j = arg;
    if (code < 0)
        log_line(LOG_ERROR, "job", LOG_KV({"err", err_name(code)}), "%s", err->text);
    else if (!j->ended && !j->phone_id)
        take_phone(j, store_id(json_string_value(json_object_get(body, "id"))));
    job_unref(j);
}

/* As soon as the chip is known the job names its phone, so that a backup whose job is cut off before it asks for
 * a permit can be filed. */
void job_learn_chip(struct job *j, const char *chip_id, const char *soc_id)
{
    WIRE_TEXT(j->chip_id, chip_id);
    WIRE_TEXT(j->soc_id, soc_id);
    struct store_phone_seen seen = {
        .chip_id = j->chip_id, .soc_id = j->soc_id[0] ? j->soc_id : NULL, .port_id = j->port->id};
    j->pending++;
    store_phone_seen(j->s->store, &seen, on_chip, j);
}

static void on_phone(void *arg, int code, const struct err *err, json_t *body)
{
    struct job *j = arg;
    int64_t phone_id = store_id(json_string_value(json_object_get(body, "id")));
    if (permit_may_go_on(j, code, err, "") && j->wanted_phone_id &&
        j->wanted_phone_id != phone_id) {
        AUTO(free_ptr)
        char *text = xasprintf("the job is for phone %lld, this is phone %lld",
                               (long long)j->wanted_phone_id, (long long)phone_id);
        permit_deny(j, ERR_MISMATCH, "F4", text);
    } else if (code == 0 && j->worker && !j->ended) {
        take_phone(j, phone_id);
        struct store_backup_meta meta = {
            .job_id = j->id, .phone_id = j->phone_id, .origin = "station"};
        j->pending++;
        store_spool_ingest(j->s->store, j->spool_fd, 0, &meta, on_ingested, j);
    }
    job_unref(j);
}

void permit_begin(struct job *j, const struct wire_backup *asked)
{
    j->asked = *asked;
    j->deny_sent = false;
    char plan[SHA256_HEX_BYTES];
    sha256_hex(&j->plan_sha256, plan);
    if (strcmp(asked->plan_sha256, plan) != 0) {
        permit_deny(j, ERR_MISMATCH, "", "the worker holds another plan");
        return;
    }
    WIRE_TEXT(j->chip_id, asked->chip_id);
    struct store_phone_seen seen = {
        .chip_id = j->chip_id, .soc_id = j->soc_id[0] ? j->soc_id : NULL, .port_id = j->port->id};
    j->pending++;
    store_phone_seen(j->s->store, &seen, on_phone, j);
}
