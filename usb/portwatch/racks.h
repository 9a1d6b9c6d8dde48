/* racks.h: USB/IP racks: one thread each asks the rack what is on it and imports what a worker wants. A rack
 * that does not answer holds up nobody else. */
#ifndef FLASHRACK_USB_PORTWATCH_RACKS_H
#define FLASHRACK_USB_PORTWATCH_RACKS_H

#include "usb/portwatch/ports.h"

enum { RACK_DEADLINE_MS = 2000 }; /* for one answer */

/* Starts watching "HOST:PORT"; asking again for the same one changes nothing. The thread lives as long as
 * the process. Port ids are "usbip-HOST:PORT-BUSID". Its ports count as empty when it refuses a connection
 * or was silent for `deadline_ms` three times in a row. */
int rack_watch(struct ports *ports, const char *address, int64_t deadline_ms, struct err *err);

#endif
