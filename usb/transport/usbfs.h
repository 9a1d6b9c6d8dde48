/* usbfs.h: a phone on a device node of the kernel, through libusb on a descriptor that somebody
 * else opened. No device discovery, no thread, no udev: right for a worker that has no rights of
 * its own. */
#ifndef FLASHRACK_USB_TRANSPORT_USBFS_H
#define FLASHRACK_USB_TRANSPORT_USBFS_H

#include "usb/transport/transport.h"

/* device_fd: a node of /dev/bus/usb opened for reading and writing; taken on success. Claims the
 * interface with the bulk pair and the communication interface, taking them from cdc_acm. `speed`
 * as in struct usb_identity; the parent knows it from sysfs. Keeps up to 4 transfers of 64 KiB in
 * flight each way, fewer when the memory that all ports share is used up. */
int transport_usbfs_open(int device_fd, int speed, struct transport **out,
                         struct usb_identity *id_out, struct err *err);

#endif
