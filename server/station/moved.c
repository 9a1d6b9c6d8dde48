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

static const char *shows_phone_of(const struct job *j, const struct port *p)
{
    if (strcmp(p->mode, "none") == 0)
        return NULL;
    if (j->phone_id && p->phone_id == j->phone_id)
        return "chip";
    return j->serial[0] && strcmp(p->serial, j->serial) == 0 ? "serial" : NULL;
}

/* Where it is, and by what that is known. NULL: on no other port, or two show it: then a person has to look. */
static struct port *look_for(const struct job *j, const char **by_out)
{
    struct port *p, *found = NULL;
    LIST_FOREACH(p, &j->s->ports, link)
    {
        const char *by = p == j->port ? NULL : shows_phone_of(j, p);
        if (!by)
            continue;
        if (found)
            return NULL;
        found = p;
        *by_out = by;
    }
    return found && port_is_free(found, j) ? found : NULL;
}

static const char *name_of(const struct port *p)
{
    return p->label[0] ? p->label : p->id;
}

static void look(struct job *j)
{
    const char *by = NULL;
    struct port *p = waits_for_its_phone(j) ? look_for(j, &by) : NULL;
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

json_t *moved_json(const struct job *j)
{
    if (!j->seen_on)
        return json_null();
    return json_pack("{s:s, s:s, s:o}", "port", j->seen_on->id, "by", j->seen_by, "text",
                     json_sprintf("The phone of this job is seen on port %s: continue there?",
                                  name_of(j->seen_on)));
}
