#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "server/station/internal.h"
#include "usb/base/clock.h"
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

struct port *port_named(struct station *s, const char *name, struct err *err)
{
    struct port *p = port_find(s, name), *at;
    if (p)
        return p;
    LIST_FOREACH(at, &s->ports, link)
    {
        if (at->label[0] && strcasecmp(at->label, name) == 0) /* as the store tells labels apart */
            return at;
    }
    if (port_id_possible(s, name))
        return port_add(s, name);
    err_set(
        err, ERR_NOT_FOUND,
        "there is no port '%.100s'; GET /ports lists the ids, a port shows up there when something "
        "was plugged into it",
        name);
    return NULL;
}

bool port_is_there(const struct port *p)
{
    const struct job *j;
    if (p->known || p->job || p->kept_for || strcmp(p->last_state, "interrupted") == 0)
        return true;
    LIST_FOREACH(j, &p->s->jobs, link)
    {
        if (j->wants == p)
            return true;
    }
    return false;
}

static const char *port_state(const struct port *p)
{
    if (p->job) /* also of a port that was disabled meanwhile: bytes may move there */
        return strcmp(p->job->state, "prompt") == 0 ? "prompt" : "busy";
    if (!p->enabled)
        return "disabled";
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

const char *speed_word(int speed)
{
    static const char *const words[] = {NULL, "low", "full", "high", NULL, "super", "super_plus"};
    return speed > 0 && (size_t)speed < ARRAY_LEN(words) ? words[speed] : NULL;
}

json_t *port_json(const struct port *p)
{
    json_t *last = json_null();
    if (p->last_job[0])
        last = json_pack("{s:s, s:s, s:o, s:b}", "job_id", p->last_job, "state", p->last_state,
                         "text", text_or_null(p->last_text), "outdated", p->last_outdated);
    return json_pack("{s:s, s:o, s:s, s:s, s:o, s:o, s:o, s:b, s:b, s:o, s:o, s:o, s:o}", "id",
                     p->id, "label", text_or_null(p->label), "state", port_state(p), "mode",
                     p->mode, "phone_id", id_or_null(p->job ? p->job->phone_id : p->phone_id),
                     "job_id", id_or_null(p->job ? p->job->id : 0), "usb_serial",
                     text_or_null(p->serial), "enabled", p->enabled, "takes_work", p->takes_work,
                     "speed", text_or_null(speed_word(p->speed)), "kept_for",
                     id_or_null(p->kept_for), "trouble", text_or_null(p->trouble), "last", last);
}

void port_publish(struct port *p)
{
    if (!p->s->on_event)
        return;
    json_t *body = port_json(p);
    p->s->on_event(p->s->on_event_arg, 0, "port", body);
    json_decref(body);
}

/* Whatever comes next may be another phone. */
static void phone_left(struct port *p)
{
    p->spent = false;
    p->kept_for = 0;
    p->refused_count = 0;
    p->phone_id = 0;
    p->phone_serial[0] = '\0';
}

void port_seen(struct station *s, const struct wire_port *seen)
{
    struct port *p = port_add(s, seen->port);
    if (!p->known)
        store_port_put(s->store, p->id,
                       &(struct store_port_settings){.enabled = -1, .takes_work = -1}, NULL, NULL);
    p->known = true;
    p->unheard = false;
    bool there = strcmp(seen->mode, "none") != 0;
    bool came = strcmp(p->mode, "none") == 0 && there;
    p->last_outdated |= came && !p->job && strcmp(seen->mode, "android") != 0;
    WIRE_TEXT(p->mode, seen->mode);
    WIRE_TEXT(p->serial, seen->serial);
    p->vid = (int)seen->vid;
    p->pid = (int)seen->pid;
    p->speed = there ? (int)seen->speed : 0;
    p->trouble[0] = '\0';
    if (!there && !p->job)
        phone_left(p);
    if (came)
        calibration_arrival(s, p);
    port_publish(p);
    schedule_poke(s);
}

/* One whose rack does not answer may have its phone still. */
static void sweep_unheard(void *arg)
{
    struct station *s = arg;
    struct port *p;
    if (!portwatch_is_up(s->portwatch) || clock_now_ms() < s->ports_heard_ms)
        return; /* the next one up, or a later call, does it */
    LIST_FOREACH(p, &s->ports, link)
    {
        struct wire_port none = {.mode = "none"};
        WIRE_TEXT(none.port, p->id);
        if (p->unheard && !p->trouble[0])
            port_seen(s, &none);
    }
}

static void nothing(void *arg)
{
    (void)arg;
}

void ports_listen(struct station *s)
{
    s->ports_heard_ms = clock_in(PORTS_HEARD_MS);
    station_after(s, (int)clock_scaled(PORTS_HEARD_MS) + 1, sweep_unheard, nothing, s);
}

static const char *port_name(const struct port *p)
{
    return p->label[0] ? p->label : p->id;
}

/* A1 before A2 before A10. */
static int by_name(const void *a, const void *b)
{
    const struct port *p = *(struct port *const *)a, *q = *(struct port *const *)b;
    int order = strverscmp(port_name(p), port_name(q));
    return order ? order : strcmp(p->id, q->id);
}

json_t *station_ports(struct station *s)
{
    size_t count = 0;
    struct port *p;
    LIST_FOREACH(p, &s->ports, link)
    {
        count++;
    }
    AUTO(free_ptr) struct port **ports = xcalloc(count + 1, sizeof(*ports));
    count = 0;
    LIST_FOREACH(p, &s->ports, link)
    {
        if (port_is_there(p))
            ports[count++] = p;
    }
    qsort(ports, count, sizeof(*ports), by_name);
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, port_json(ports[i]));
    return list;
}

json_t *station_port(struct station *s, const char *id)
{
    struct port *p = port_find(s, id);
    return p && port_is_there(p) ? port_json(p) : NULL;
}

struct port_change {
    struct port *port;
    char label[64];
    struct port_settings settings;
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
    c->port->known = true;
    if (c->settings.label)
        WIRE_TEXT(c->port->label, c->label);
    if (c->settings.enabled >= 0)
        c->port->enabled = c->settings.enabled != 0;
    if (c->settings.takes_work >= 0)
        c->port->takes_work = c->settings.takes_work != 0;
    port_publish(c->port);
    json_t *port = port_json(c->port);
    c->done(c->arg, 0, NULL, port);
    json_decref(port);
    schedule_poke(c->port->s);
    free(c);
}

void station_port_change(struct station *s, const char *id, const struct port_settings *settings,
                         station_done_fn *done, void *arg)
{
    struct err err = {0};
    const char *label = settings->label;
    struct port *p = port_find(s, id);
    if (!p)
        err_set(&err, ERR_NOT_FOUND, "there is no port '%s'", id);
    else if (label && strlen(label) >= sizeof(p->label))
        err_set(&err, ERR_INPUT, "a label has at most %zu characters", sizeof(p->label) - 1);
    else if (label && label[0] && port_id_possible(s, label))
        err_set(&err, ERR_INPUT, "'%s' is the id of a port and cannot be a label", label);
    if (err.code) { /* whether a label is taken the store alone knows: two may ask at once */
        done_error(done, arg, &err);
        return;
    }
    struct port_change *c = xcalloc(1, sizeof(*c));
    *c = (struct port_change){.port = p, .settings = *settings, .done = done, .arg = arg};
    WIRE_TEXT(c->label, label);
    struct store_port_settings put = {label, settings->enabled, settings->takes_work};
    store_port_put(s->store, p->id, &put, on_port_stored, c);
}

void ports_free_all(struct station *s)
{
    while (!LIST_EMPTY(&s->ports)) {
        struct port *p = LIST_FIRST(&s->ports);
        LIST_REMOVE(p, link);
        free(p);
    }
}
