/* recognise.c: is the phone that a job met the one it is for? Only asked for jobs that named no port, where nobody
 * vouched for the phone by the place it was plugged into. A phone tells by its proinfo, or by what is known about
 * its chip; one that has lost everything cannot, and then a person who sees its label is asked. */
#include <stdio.h>
#include <string.h>

#include "server/station/internal.h"
#include "usb/base/mem.h"

static void another_phone(struct job *j, const char *serial)
{
    WIRE_TEXT(j->port->phone_serial, serial);
    AUTO(free_ptr)
    char *text = xasprintf("the phone on port %s is %s, the job is for %s",
                           j->port->label[0] ? j->port->label : j->port->id,
                           serial ? serial : "another one", j->serial);
    permit_deny(j, ERR_MISMATCH, "F4", text);
}

static void ask(struct job *j)
{
    const char *name = j->port->label[0] ? j->port->label : j->port->id;
    json_decref(j->prompt);
    j->prompt = json_pack(
        "{s:s, s:s, s:o, s:o, s:s, s:s}", "id", RECOGNISE_PROMPT, "step", j->step, "text",
        json_sprintf("Is the phone on port %s the one with serial %s?", name, j->serial), "todo",
        json_sprintf(
            "The phone on port %s has lost its own serial. Compare its label: OK when it says "
            "%s, abort when it is another phone.",
            name, j->serial),
        "answered_by", "person", "wants", "confirmation");
    schedule_rest(j);
    job_set_state(j, "prompt");
}

bool recognise_asks(const struct job *j)
{
    const char *id = json_string_value(json_object_get(j->prompt, "id"));
    return id && strcmp(id, RECOGNISE_PROMPT) == 0;
}

int recognise_answer(struct job *j, const char *answer, struct err *err)
{
    if (strcmp(answer, "retry") == 0)
        return err_set(err, ERR_INPUT,
                       "answer ok when it is this phone, abort when it is another one");
    json_decref(j->prompt);
    j->prompt = NULL;
    schedule_return(j);
    job_set_state(j, "running");
    if (strcmp(answer, "ok") == 0) {
        store_job_log_add(j->s->store, j->id, "info", j->step,
                          "a person says that the label is this phone's", NULL, NULL);
        permit_go_on(j);
    } else {
        another_phone(j, NULL);
    }
    return 0;
}

/* The chip is new to the station. A serial that belongs to a phone which is known is not this one's. */
static void on_owner(void *arg, int code, const struct err *err, json_t *body)
{
    struct job *j = arg;
    if (permit_may_go_on(j, code, err, "")) {
        if (json_array_size(json_object_get(body, "items")) > 0)
            another_phone(j, NULL);
        else
            ask(j);
    }
    job_unref(j);
}

static void on_known(void *arg, int code, const struct err *err, json_t *body)
{
    struct job *j = arg;
    const char *serial = json_string_value(json_object_get(body, "serial"));
    if (permit_may_go_on(j, code, err, "")) {
        if (serial && strcmp(serial, j->serial) == 0) {
            permit_go_on(j);
        } else if (serial && serial[0]) {
            another_phone(j, serial);
        } else {
            j->pending++;
            store_phone_list(j->s->store, NULL, j->serial, &(struct store_page){.limit = 1},
                             on_owner, j);
        }
    }
    job_unref(j);
}

void recognise(struct job *j, const char *serial_read)
{
    bool ordered_by_chip = j->wanted_phone_id && j->wanted_phone_id == j->phone_id;
    bool tells =
        serial_read && serial_read[0]; /* another serial than the job's was refused before */
    if (!j->any_port || !j->serial[0] || j->permitted || ordered_by_chip || tells) {
        permit_go_on(j);
        return;
    }
    j->pending++;
    store_phone_get(j->s->store, j->phone_id, on_known, j);
}
