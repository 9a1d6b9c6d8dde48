/* racks.h: USB/IP racks: one thread each asks the rack what is on it and imports what a worker wants. A rack
 * that does not answer holds up nobody else. */
#ifndef FLASHRACK_USB_PORTWATCH_RACKS_H
#define FLASHRACK_USB_PORTWATCH_RACKS_H

#include "usb/portwatch/ports.h"

/* Starts watching "HOST:PORT"; asking again for the same one changes nothing. The thread lives as long as
 * the process. Port ids are "usbip-HOST:PORT-BUSID". */
int rack_watch(struct ports *ports, const char *address, struct err *err);

#endif
