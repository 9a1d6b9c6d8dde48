/* topology.c: where the ports are: controllers, hubs in their sockets, and sockets that no phone was in yet. Port ids
 * name the way already (usb/portwatch/README.md); hubs add how many sockets there are. A USB/IP rack is a controller
 * of its own whose sockets show only when something was in them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/station/internal.h"
#include "usb/base/mem.h"

enum {
    HUBS_MAX = 512,
    SOCKETS_MAX = 255, /* bNbrPorts is one byte, USB 2.0 11.23.2.1 */
    TIERS_MAX = 7,     /* root hub and device included, USB 2.0 4.1.1 */
};

static struct hub *hub_find(const struct station *s, const char *id)
{
    struct hub *hub;
    LIST_FOREACH(hub, &s->hubs, link)
    {
        if (strcmp(hub->info.hub, id) == 0)
            return hub;
    }
    return NULL;
}

static void hub_drop(struct hub *hub)
{
    LIST_REMOVE(hub, link);
    free(hub);
}

void topology_hub(struct station *s, const struct wire_hub *hub)
{
    struct hub *known = hub_find(s, hub->hub), *other;
    size_t count = 0;
    if (known)
        hub_drop(known);
    LIST_FOREACH(other, &s->hubs, link)
    {
        count++;
    }
    if (hub->sockets < 1 || count == HUBS_MAX)
        return;
    known = xcalloc(1, sizeof(*known));
    known->info = *hub;
    if (known->info.sockets > SOCKETS_MAX)
        known->info.sockets = SOCKETS_MAX;
    LIST_INSERT_HEAD(&s->hubs, known, link);
}

void topology_forget(struct station *s)
{
    while (!LIST_EMPTY(&s->hubs))
        hub_drop(LIST_FIRST(&s->hubs));
}

/* What a person can do about a hub that phones are badly off behind; NULL: nothing to say. */
static const char *advice(const struct wire_hub *hub)
{
    if (!hub->parent[0])
        return NULL;
    if (strcmp(hub->kind, "full_speed") == 0)
        return "A hub at full speed: all phones behind it share 12 Mb/s. Plug it into a USB 2 "
               "socket, or replace it by a multi-TT USB 2 hub.";
    if (!hub->self_powered)
        return "A hub without a power supply gives 100 mA a socket, too little for a phone. Plug "
               "its power supply in.";
    if (strcmp(hub->kind, "single_tt") == 0)
        return "A single-TT hub: phones in the boot ROM share 12 Mb/s behind it. Prefer a multi-TT "
               "hub, or put fewer phones on it.";
    return NULL;
}

static json_t *hub_json(struct station *s, const struct wire_hub *hub, json_t *placed, int tiers);

static json_t *socket_json(struct station *s, const struct wire_hub *hub, int number,
                           json_t *placed, int tiers)
{
    AUTO(free_ptr)
    char *id = xasprintf("%s%s%d", hub->hub, hub->parent[0] ? "." : "-usb-0:", number);
    const struct port *port = port_find(s, id);
    const struct hub *inner = hub_find(s, id);
    if (port)
        json_object_set_new(placed, id, json_true());
    return json_pack("{s:s, s:i, s:o, s:o}", "id", id, "number", number, "port",
                     port ? port_json(port) : json_null(), "hub",
                     inner && tiers > 0 ? hub_json(s, &inner->info, placed, tiers - 1)
                                        : json_null());
}

static json_t *hub_json(struct station *s, const struct wire_hub *hub, json_t *placed, int tiers)
{
    json_t *sockets = json_array();
    for (int number = 1; number <= hub->sockets; number++)
        json_array_append_new(sockets, socket_json(s, hub, number, placed, tiers));
    return json_pack("{s:s, s:s, s:s?, s:b, s:s?, s:o}", "id", hub->hub, "kind", hub->kind, "speed",
                     speed_word((int)hub->speed), "self_powered", hub->self_powered != 0, "advice",
                     advice(hub), "sockets", sockets);
}

static json_t *rack_json(struct station *s, const char *address, json_t *placed)
{
    AUTO(free_ptr) char *prefix = xasprintf("usbip-%s-", address);
    json_t *sockets = json_array();
    struct port *p;
    LIST_FOREACH(p, &s->ports, link)
    {
        if (strncmp(p->id, prefix, strlen(prefix)) != 0 || !port_is_there(p))
            continue;
        json_object_set_new(placed, p->id, json_true());
        json_array_append_new(sockets, json_pack("{s:s, s:n, s:o, s:n}", "id", p->id, "number",
                                                 "port", port_json(p), "hub"));
    }
    prefix[strlen(prefix) - 1] = '\0';
    return json_pack("{s:s, s:s, s:n, s:n, s:n, s:o}", "id", prefix, "kind", "rack", "speed",
                     "self_powered", "advice", "sockets", sockets);
}

json_t *station_topology(struct station *s)
{
    json_t *controllers = json_array(), *elsewhere = json_array(), *placed = json_object();
    struct hub *hub;
    LIST_FOREACH(hub, &s->hubs, link)
    {
        if (!hub->info.parent[0])
            json_array_append_new(controllers, hub_json(s, &hub->info, placed, TIERS_MAX));
    }
    for (char **rack = s->racks; *rack; rack++)
        json_array_append_new(controllers, rack_json(s, *rack, placed));
    struct port *p;
    LIST_FOREACH(p, &s->ports, link)
    {
        if (!json_object_get(placed, p->id) && port_is_there(p))
            json_array_append_new(elsewhere, port_json(p));
    }
    json_decref(placed);
    return json_pack("{s:o, s:o}", "controllers", controllers, "elsewhere", elsewhere);
}
