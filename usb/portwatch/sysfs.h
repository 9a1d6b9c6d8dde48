/* sysfs.h: phones on real ports: kernel uevents tell at once, a rescan of sysfs each second catches what
 * they missed. Opens device nodes for workers that want them. Main thread only. */
#ifndef FLASHRACK_USB_PORTWATCH_SYSFS_H
#define FLASHRACK_USB_PORTWATCH_SYSFS_H

#include "usb/portwatch/hubs.h"
#include "usb/portwatch/ports.h"

/* Netlink socket for kernel uevents, -1 with a text when this namespace has none (then the rescan alone
 * works). */
int sysfs_uevents_open(struct err *err);
/* Reads everything that is queued; true when a USB device came, changed or went. */
bool sysfs_uevents_drain(int netlink_fd);
/* Looks at every device below `root` (normally "/sys"), updates hubs and ports, hands wanted ones over. True: a
 * wanted device is not configured yet, look again in a few milliseconds. */
bool sysfs_rescan(struct ports *p, struct hubs *h, const char *root);
/* Port id (udev's ID_PATH) of a device directory below root, e.g. "pci-0000:00:14.0-usb-0:1.2". */
int sysfs_port_id(const char *root, const char *device, char out[PORT_ID_MAX], struct err *err);

#endif
