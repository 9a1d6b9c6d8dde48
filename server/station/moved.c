/* moved.c: a phone that was plugged into another port while its job waits for it. Only what a port shows by itself
 * counts (the serial in the descriptors of fastboot and Android), or what an ordered job found out about the phone that
 * lies there; nobody is asked for that (law 10). It is a proposal: a person confirms it by resume with the port, and the
 * chip is compared before any byte is written, as after every change of mode. */
#include <string.h>

#include "server/station/internal.h"
#include "usb/base/mem.h"

static bool waits_for_its_phone(const struct job *j)
{
    const char *by = json_string_value(json_object_get(j->prompt, "answered_by"));
    return j->worker && !j->ended && by && strcmp(by, "usb") == 0;
}

/* A phone that is looked for, and where it was. */
struct missed {
    int64_t job_id, phone_id;
    const char *serial; /* "": not known */
    const struct port *was_on;
};

static const char *shows(const struct missed *m, const struct port *p)
{
    if (p == m->was_on || strcmp(p->mode, "none") == 0)
        return NULL;
    if (m->phone_id && p->phone_id == m->phone_id)
        return "chip";
    return m->serial[0] && strcmp(p->serial, m->serial) == 0 ? "serial" : NULL;
}

/* Where it is, and by what that is known. NULL: on no other port, or two show it: then a person has to look. */
static struct port *look_for(const struct station *s, const struct missed *m, const char **by_out)
{
    struct port *p, *found = NULL;
    LIST_FOREACH(p, &s->ports, link)
    {
        const char *by = shows(m, p);
        if (!by)
            continue;
        if (found)
            return NULL;
        found = p;
        *by_out = by;
    }
    return found && port_is_free(found, m->job_id) ? found : NULL;
}

static const char *name_of(const struct port *p)
{
    return p->label[0] ? p->label : p->id;
}

static void look(struct job *j)
{
    const char *by = NULL;
    const struct missed missed = {j->id, j->phone_id, j->serial, j->port};
    struct port *p = waits_for_its_phone(j) ? look_for(j->s, &missed, &by) : NULL;
    if (p == j->seen_on)
        return;
    j->seen_on = p;
    j->seen_by = by;
    if (p) {
        AUTO(free_ptr)
        char *text = xasprintf("the phone of this job is seen on port %s", name_of(p));
        store_job_log_add(j->s->store, j->id, "info", j->step, text, NULL, NULL);
    }
    job_publish(j);
}

void moved_look(struct station *s)
{
    struct job *j;
    LIST_FOREACH(j, &s->jobs, link)
    {
        look(j);
    }
}

static json_t *proposal(const struct port *p, const char *by)
{
    return json_pack("{s:s, s:s, s:o}", "port", p->id, "by", by, "text",
                     json_sprintf("The phone of this job is seen on port %s: continue there?",
                                  name_of(p)));
}

json_t *moved_json(const struct job *j)
{
    return j->seen_on ? proposal(j->seen_on, j->seen_by) : json_null();
}

json_t *moved_stored_json(struct station *s, json_t *job)
{
    const char *port = json_string_value(json_object_get(job, "port"));
    const char *serial = json_string_value(json_object_get(job, "serial")), *by = NULL;
    const struct missed missed = {store_id(json_string_value(json_object_get(job, "id"))),
                                  store_id(json_string_value(json_object_get(job, "phone_id"))),
                                  serial ? serial : "", port ? port_find(s, port) : NULL};
    const struct port *p = look_for(s, &missed, &by);
    return p ? proposal(p, by) : json_null();
}
