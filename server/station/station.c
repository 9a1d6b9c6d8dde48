#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/station/internal.h"
#include "usb/base/log.h"
#include "usb/base/mem.h"

static void on_port(void *arg, const struct wire_port *port)
{
    port_seen(arg, port);
}

static void on_hub(void *arg, const struct wire_hub *hub)
{
    topology_hub(arg, hub);
}

/* id: a port, or the address of a rack: then all of its ports. An empty text: it works again. */
static void on_trouble(void *arg, const char *id, const char *text)
{
    struct station *s = arg;
    if (text[0])
        log_line(LOG_WARN, "station", LOG_KV({"port", id}), "%s", text);
    char of_rack[160];
    snprintf(of_rack, sizeof(of_rack), "usbip-%s-", id);
    struct port *p;
    LIST_FOREACH(p, &s->ports, link)
    {
        if (strcmp(p->id, id) != 0 && strncmp(p->id, of_rack, strlen(of_rack)) != 0)
            continue;
        WIRE_TEXT(p->trouble, text);
        port_publish(p);
    }
    if (!text[0])
        ports_listen(s);
}

/* The worker goes on with the phone that it has open; for the next one it needs a channel to the new portwatch. */
void job_watch_again(struct job *j)
{
    int ends[2];
    struct err err = {0};
    if (wire_pair(ends, &err) < 0) {
        log_line(LOG_ERROR, "station", LOG_KV({"err", err_name(err.code)}), "%s", err.text);
        return;
    }
    AUTO(fd_close) int near = ends[0];
    AUTO(fd_close) int far = ends[1];
    if (portwatch_watch(j->s->portwatch, j->port->id, near, &err) < 0)
        return; /* it went again: the next `up` does this once more */
    struct wire_message m = {.type = WIRE_channel, .fd = far, .u.channel = {.job_id = j->id}};
    WIRE_TEXT(m.u.channel.port, j->port->id);
    worker_send(j->worker, &m);
}

void station_settled(struct station *s)
{
    schedule_poke(s);
}

static void on_portwatch(void *arg, bool up)
{
    struct station *s = arg;
    log_line(up ? LOG_INFO : LOG_WARN, "station", NULL, "portwatch is %s", up ? "there" : "gone");
    if (up)
        topology_forget(s); /* it tells all hubs anew */
    struct job *j;
    LIST_FOREACH(j, &s->jobs, link)
    {
        if (up && j->worker)
            job_watch_again(j);
    }
    struct port *p;
    LIST_FOREACH(p, &s->ports, link)
    {
        p->unheard |= up && strcmp(p->mode, "none") != 0;
        if (up && p->kept_for)
            port_keep(p, p->kept_for); /* what is on it will be heard soon, or there is nothing */
    }
    if (up)
        ports_listen(s);
    schedule_poke(s);
}

static const struct portwatch_events portwatch_events = {on_port, on_hub, on_trouble, on_portwatch};

/* What the store committed is what SSE tells with a cursor. */
static void on_store_event(void *arg, int64_t id, const char *type, json_t *body)
{
    struct station *s = arg;
    if (s->on_event)
        s->on_event(s->on_event_arg, id, type, body);
}

static void find_ports(void *arg);

static void nothing(void *arg)
{
    (void)arg;
}

static void on_ports_known(void *arg, int code, const struct err *err, json_t *body)
{
    struct station *s = arg;
    if (code < 0) {
        log_line(LOG_ERROR, "station", LOG_KV({"err", err_name(code)}), "ports: %s", err->text);
        if (passes(code))
            station_later(s, find_ports, nothing, s);
        return;
    }
    size_t i;
    json_t *item;
    json_array_foreach(json_object_get(body, "items"), i, item)
    {
        struct port *p = port_add(s, json_string_value(json_object_get(item, "id")));
        json_t *enabled = json_object_get(item, "enabled");
        WIRE_TEXT(p->label, json_string_value(json_object_get(item, "label")));
        p->enabled = !json_is_false(enabled);
        p->known = true;
        p->takes_work = json_is_true(json_object_get(item, "takes_work"));
        WIRE_TEXT(p->last_job, json_string_value(json_object_get(item, "last_job_id")));
        WIRE_TEXT(p->last_state, json_string_value(json_object_get(item, "last_state")));
        WIRE_TEXT(p->last_text, json_string_value(json_object_get(item, "last_text")));
    }
    orders_resume(s, NULL);
}

static void find_ports(void *arg)
{
    struct station *s = arg;
    store_port_list(s->store, on_ports_known, s); /* then the jobs that wait for them */
}

static int start_portwatch(struct station *s, const struct station_config *config, struct err *err)
{
    AUTO(free_ptr) char *own = xasprintf("%s/portwatch.sock", s->data_dir);
    AUTO(free_ptr) char *program = xasprintf("%s/flashrack-portwatch", s->program_dir);
    struct portwatch_config pw = {.program = config->portwatch_path ? NULL : program,
                                  .socket_path =
                                      config->portwatch_path ? config->portwatch_path : own,
                                  .racks = config->racks,
                                  .usb = config->usb};
    return portwatch_link_new(s->base, &pw, &portwatch_events, s, &s->portwatch, err);
}

int station_new(struct event_base *base, struct store *store, const struct station_config *config,
                struct station **out, struct err *err)
{
    AUTO(station_free) struct station *s = xcalloc(1, sizeof(*s));
    s->base = base;
    s->store = store;
    s->data_dir = xstrdup(config->data_dir);
    s->record_keep_bytes = config->record_keep ? atoll(config->record_keep) : RECORD_KEEP_BYTES;
    s->program_dir = xstrdup(config->program_dir);
    s->schema_dir = xstrdup(config->schema_dir);
    s->racks = list_copy(config->racks);
    s->import_dirs = list_copy(config->import_dirs);
    s->usb = config->usb;
    LIST_INIT(&s->ports);
    LIST_INIT(&s->hubs);
    LIST_INIT(&s->jobs);
    LIST_INIT(&s->unsaved);
    LIST_INIT(&s->adoptions);
    LIST_INIT(&s->laters);

    int rc = schedule_new(s, config, err);
    if (rc == 0)
        rc = recipes_load(s, err);
    AUTO(free_ptr) char *worker = xasprintf("%s/flashrack-worker", s->program_dir);
    struct worker_pool_config pool = {.program = worker, .time_scale = config->time_scale};
    if (rc == 0)
        rc = worker_pool_new(base, &pool, &s->workers, err);
    if (rc == 0)
        rc = start_portwatch(s, config, err);
    if (rc < 0)
        return rc;
    store_on_event(store, on_store_event, s);
    recipes_check(s);
    find_ports(s);
    spools_find(s);
    keeper_new(s, config->verify_every_ms);
    retention_new(s, config->keep_backups);
    *out = STEAL(s);
    return 0;
}

void station_stop(struct station *s)
{
    if (!s)
        return;
    s->stopping = true;
    laters_free(s); /* who waits for an answer is told while the API is still there */
    jobs_save(s);
    worker_pool_free(&s->workers);
    portwatch_link_free(&s->portwatch);
}

void station_free(struct station **sp)
{
    struct station *s = *sp;
    if (!s)
        return;
    station_stop(s);
    adoptions_free(s);
    laters_free(s);
    jobs_free_all(s);
    schedule_free(s);
    keeper_free(s);
    if (s->retention)
        retention_free(s);
    ports_free_all(s);
    topology_forget(s);
    recipes_free(s);
    json_decref(s->failures);
    list_free(&s->racks);
    list_free(&s->import_dirs);
    free(s->data_dir);
    free(s->program_dir);
    free(s->schema_dir);
    free(s);
    *sp = NULL;
}

void station_on_event(struct station *s, station_event_fn *fn, void *arg)
{
    s->on_event = fn;
    s->on_event_arg = arg;
}

/* Below it SQLite's logs and a spool's end hardly fit: better no new order than one that ends half-way. */
enum { FREE_MIN_BYTES = 16 << 20 };

/* Null when no key was given. */
static json_t *sealing_json(struct station *s)
{
    struct store_sealing sealing;
    store_sealing(s->store, &sealing);
    if (!sealing.wanted)
        return json_null();
    return json_pack("{s:o, s:s?}", "chunks_left",
                     sealing.left < 0 ? json_null() : json_integer(sealing.left), "trouble",
                     sealing.trouble[0] ? sealing.trouble : NULL);
}

json_t *station_health(struct station *s)
{
    int busy = 0;
    struct job *j;
    LIST_FOREACH(j, &s->jobs, link)
    {
        busy++;
    }
    bool up = !s->stopping && portwatch_is_up(s->portwatch);
    char damage[STORE_DAMAGE_BYTES];
    struct store_disk disk;
    store_damage(s->store, damage);
    store_disk(s->store, &disk);
    bool room = !disk.trouble[0] && disk.free_bytes >= FREE_MIN_BYTES;
    return json_pack("{s:b, s:b, s:i, s:s?, s:{s:I, s:s?}, s:o}", "ok", up && !damage[0] && room,
                     "portwatch", up, "jobs", busy, "damage", damage[0] ? damage : NULL, "disk",
                     "free_bytes", (json_int_t)disk.free_bytes, "trouble",
                     disk.trouble[0] ? disk.trouble : NULL, "sealing", sealing_json(s));
}
