/* portwatch.h: flashrackd's end of the connection to flashrack-portwatch; starts one when none is running
 * already, connects again when it is lost. Event loop only. */
#ifndef FLASHRACK_SERVER_WORKERS_PORTWATCH_H
#define FLASHRACK_SERVER_WORKERS_PORTWATCH_H

#include "usb/wire/wire.h"

struct event_base;
struct portwatch_link;

struct portwatch_config {
    const char *program; /* to start our own; NULL: only connect */
    const char *socket_path;
    const char *const *racks; /* NULL-terminated */
    bool usb;
};

struct portwatch_events {
    void (*port)(void *arg, const struct wire_port *port);
    void (*hub)(void *arg, const struct wire_hub *hub);
    void (*trouble)(void *arg, const char *port, const char *text);
    /* Connected (again): watches must be sent anew. False: lost. */
    void (*up)(void *arg, bool up);
};

int portwatch_link_new(struct event_base *base, const struct portwatch_config *config,
                       const struct portwatch_events *events, void *arg,
                       struct portwatch_link **out, struct err *err);
void portwatch_link_free(struct portwatch_link **link);
bool portwatch_is_up(const struct portwatch_link *link);
/* Hands the device end of a worker on; device_end stays the caller's. */
int portwatch_watch(struct portwatch_link *link, const char *port, int device_end, struct err *err);

#endif
