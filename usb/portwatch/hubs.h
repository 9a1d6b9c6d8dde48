/* hubs.h: controllers and hubs of this machine as flashrackd was told of them: which sockets there are, also those
 * that never had a phone. Main thread only. */
#ifndef FLASHRACK_USB_PORTWATCH_HUBS_H
#define FLASHRACK_USB_PORTWATCH_HUBS_H

#include "usb/wire/wire.h"

struct hubs;

enum { HUBS_MAX = 512 }; /* kept; a USB bus has at most 127 devices */

struct hubs *hubs_new(void);
void hubs_free(struct hubs **h); /* NULL-safe, clears *h */

/* The channel to flashrackd, -1: none. Not owned. All hubs are told again. */
void hubs_server_set(struct hubs *h, int socket_fd);
/* Says what a full channel did not take before; true: there is still something due. */
bool hubs_flush(struct hubs *h);

/* One look at everything: begin, one update a hub that is there, end. Hubs that were not updated are gone, which
 * flashrackd is told as a hub without sockets. */
void hubs_look_begin(struct hubs *h);
void hubs_update(struct hubs *h, const struct wire_hub *hub);
void hubs_look_end(struct hubs *h);

#endif
