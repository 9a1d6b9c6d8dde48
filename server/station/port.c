#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/station/internal.h"
#include "usb/base/log.h"
#include "usb/base/mem.h"

struct port *port_find(struct station *s, const char *id)
{
    struct port *p;
    LIST_FOREACH(p, &s->ports, link)
    {
        if (strcmp(p->id, id) == 0)
            return p;
    }
    return NULL;
}

struct port *port_named(struct station *s, const char *name)
{
    struct port *p = port_find(s, name), *at;
    if (p)
        return p;
    LIST_FOREACH(at, &s->ports, link)
    {
        if (at->label[0] && strcmp(at->label, name) == 0)
            return at;
    }
    return NULL;
}

struct port *port_add(struct station *s, const char *id)
{
    struct port *p = port_find(s, id);
    if (p)
        return p;
    p = xcalloc(1, sizeof(*p));
    WIRE_TEXT(p->id, id);
    WIRE_TEXT(p->mode, "none");
    p->enabled = true;
    p->s = s;
    STAILQ_INIT(&p->waiting);
    LIST_INSERT_HEAD(&s->ports, p, link);
    return p;
}

bool port_id_possible(const struct station *s, const char *id)
{
    if (strlen(id) >= sizeof(((struct port *)0)->id))
        return false;
    struct port *p;
    LIST_FOREACH(p, &s->ports, link)
    {
        if (strcmp(p->id, id) == 0)
            return true;
    }
    /* a rack's phone that is off is not listed by the rack, but its port can be named */
    for (char **rack = s->racks; *rack; rack++) {
        char prefix[160];
        snprintf(prefix, sizeof(prefix), "usbip-%s-", *rack);
        if (strncmp(id, prefix, strlen(prefix)) == 0 && strlen(id) > strlen(prefix))
            return true;
    }
    /* a socket of this machine with nothing in it: controller and path say where it is */
    return s->usb && (strncmp(id, "pci-", 4) == 0 || strncmp(id, "platform-", 9) == 0) &&
           strstr(id, "-usb-0:") != NULL;
}

static const char *port_state(const struct port *p)
{
    if (!p->enabled)
        return "disabled";
    if (p->job)
        return strcmp(p->job->state, "prompt") == 0 ? "prompt" : "busy";
    if (p->trouble[0])
        return "fault";
    return strcmp(p->mode, "none") == 0 ? "empty" : "connected";
}

static json_t *text_or_null(const char *text)
{
    return text && text[0] ? json_string(text) : json_null();
}

static json_t *id_or_null(int64_t id)
{
    char text[24];
    snprintf(text, sizeof(text), "%lld", (long long)id);
    return id > 0 ? json_string(text) : json_null();
}

json_t *port_json(const struct port *p)
{
    json_t *last = json_null();
    if (p->last_job[0])
        last = json_pack("{s:s, s:s, s:o}", "job_id", p->last_job, "state", p->last_state, "text",
                         text_or_null(p->last_text));
    return json_pack("{s:s, s:o, s:s, s:s, s:o, s:o, s:o, s:b, s:o, s:o}", "id", p->id, "label",
                     text_or_null(p->label), "state", port_state(p), "mode", p->mode, "phone_id",
                     id_or_null(p->job ? p->job->phone_id : 0), "job_id",
                     id_or_null(p->job ? p->job->id : 0), "usb_serial", text_or_null(p->serial),
                     "enabled", p->enabled, "trouble", text_or_null(p->trouble), "last", last);
}

void port_publish(struct port *p)
{
    if (!p->s->on_event)
        return;
    json_t *body = port_json(p);
    p->s->on_event(p->s->on_event_arg, 0, "port", body);
    json_decref(body);
}

void port_seen(struct station *s, const struct wire_port *seen)
{
    bool known = port_find(s, seen->port) != NULL;
    struct port *p = port_add(s, seen->port);
    if (!known)
        store_port_put(s->store, p->id, NULL, -1, NULL, NULL);
    /* the result of the last job stays until another phone comes */
    bool came = strcmp(p->mode, "none") == 0 && strcmp(seen->mode, "none") != 0;
    if (came && !p->job && strcmp(seen->mode, "android") != 0)
        p->last_job[0] = '\0';
    WIRE_TEXT(p->mode, seen->mode);
    WIRE_TEXT(p->serial, seen->serial);
    p->vid = (int)seen->vid;
    p->pid = (int)seen->pid;
    p->trouble[0] = '\0';
    port_publish(p);
}

json_t *station_ports(struct station *s)
{
    json_t *list = json_array();
    struct port *p;
    LIST_FOREACH(p, &s->ports, link)
    {
        json_array_insert_new(list, 0, port_json(p));
    }
    return list;
}

json_t *station_port(struct station *s, const char *id)
{
    struct port *p = port_find(s, id);
    return p ? port_json(p) : NULL;
}

struct port_change {
    struct port *port;
    char label[64];
    int enabled;
    bool has_label;
    station_done_fn *done;
    void *arg;
};

static void on_port_stored(void *arg, int code, const struct err *err, json_t *body)
{
    (void)body;
    struct port_change *c = arg;
    if (code < 0) {
        done_error(c->done, c->arg, err);
        free(c);
        return;
    }
    if (c->has_label)
        WIRE_TEXT(c->port->label, c->label);
    if (c->enabled >= 0)
        c->port->enabled = c->enabled != 0;
    port_publish(c->port);
    json_t *port = port_json(c->port);
    c->done(c->arg, 0, NULL, port);
    json_decref(port);
    if (c->port->enabled)
        port_take_next(c->port);
    free(c);
}

void station_port_change(struct station *s, const char *id, const char *label, int enabled,
                         station_done_fn *done, void *arg)
{
    struct err err = {0};
    struct port *p = port_find(s, id), *other;
    if (!p)
        err_set(&err, ERR_NOT_FOUND, "there is no port '%s'", id);
    else if (label && strlen(label) >= sizeof(p->label))
        err_set(&err, ERR_INPUT, "a label has at most %zu characters", sizeof(p->label) - 1);
    else if (label && label[0] && port_id_possible(s, label))
        err_set(&err, ERR_INPUT, "'%s' is the id of a port and cannot be a label", label);
    LIST_FOREACH(other, &s->ports, link)
    {
        if (p && label && label[0] && other != p && strcmp(other->label, label) == 0)
            err_set(&err, ERR_CONFLICT, "port %s has the label %s already", other->id, label);
    }
    if (err.code) {
        done_error(done, arg, &err);
        return;
    }
    struct port_change *c = xcalloc(1, sizeof(*c));
    *c = (struct port_change){.port = p, .enabled = enabled, .done = done, .arg = arg};
    c->has_label = label != NULL;
    WIRE_TEXT(c->label, label);
    store_port_put(s->store, p->id, label, enabled, on_port_stored, c);
}

void ports_free_all(struct station *s)
{
    while (!LIST_EMPTY(&s->ports)) {
        struct port *p = LIST_FIRST(&s->ports);
        LIST_REMOVE(p, link);
        free(p);
    }
}
