#include "usb/portwatch/hubs.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>

#include "usb/base/mem.h"

struct hub {
    struct wire_hub info;
    bool there; /* in the look that is under way */
    bool due;   /* not told yet */
    LIST_ENTRY(hub) link;
};

struct hubs {
    LIST_HEAD(, hub) all;
    size_t count;
    int server;
};

struct hubs *hubs_new(void)
{
    struct hubs *h = xcalloc(1, sizeof(*h));
    LIST_INIT(&h->all);
    h->server = -1;
    return h;
}

static void drop(struct hubs *h, struct hub *hub)
{
    LIST_REMOVE(hub, link);
    free(hub);
    h->count--;
}

void hubs_free(struct hubs **h)
{
    if (!*h)
        return;
    while (!LIST_EMPTY(&(*h)->all))
        drop(*h, LIST_FIRST(&(*h)->all));
    free(*h);
    *h = NULL;
}

bool hubs_flush(struct hubs *h)
{
    bool due = false;
    for (struct hub *hub = LIST_FIRST(&h->all), *next; hub; hub = next) {
        next = LIST_NEXT(hub, link);
        if (hub->due && h->server >= 0) {
            struct wire_message m = {.type = WIRE_hub, .fd = -1, .u.hub = hub->info};
            hub->due = wire_send(h->server, &m, MSG_DONTWAIT, NULL) == ERR_TIMEOUT;
            due |= hub->due;
        }
        if (hub->info.sockets == 0 && (!hub->due || h->server < 0))
            drop(h, hub); /* nobody needs to hear of it any more */
    }
    return due;
}

void hubs_server_set(struct hubs *h, int socket_fd)
{
    struct hub *hub;
    h->server = socket_fd;
    LIST_FOREACH(hub, &h->all, link)
    {
        hub->due = true;
    }
    hubs_flush(h);
}

void hubs_look_begin(struct hubs *h)
{
    struct hub *hub;
    LIST_FOREACH(hub, &h->all, link)
    {
        hub->there = false;
    }
}

static struct hub *find_or_add(struct hubs *h, const char *id)
{
    struct hub *hub;
    LIST_FOREACH(hub, &h->all, link)
    {
        if (strcmp(hub->info.hub, id) == 0)
            return hub;
    }
    if (h->count == HUBS_MAX)
        return NULL;
    hub = xcalloc(1, sizeof(*hub));
    LIST_INSERT_HEAD(&h->all, hub, link);
    h->count++;
    return hub;
}

void hubs_update(struct hubs *h, const struct wire_hub *hub)
{
    struct hub *known = find_or_add(h, hub->hub);
    if (!known)
        return;
    known->there = true;
    struct wire_hub clean = {
        .speed = hub->speed, .sockets = hub->sockets, .self_powered = hub->self_powered};
    WIRE_TEXT(clean.hub, hub->hub);
    WIRE_TEXT(clean.parent, hub->parent);
    WIRE_TEXT(clean.kind, hub->kind);
    if (memcmp(&known->info, &clean, sizeof(clean)) == 0)
        return;
    known->info = clean;
    known->due = true;
}

void hubs_look_end(struct hubs *h)
{
    struct hub *hub;
    LIST_FOREACH(hub, &h->all, link)
    {
        if (hub->there)
            continue;
        hub->info.sockets = 0;
        hub->due = true;
    }
    hubs_flush(h);
}
