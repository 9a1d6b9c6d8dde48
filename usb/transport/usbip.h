/* usbip.h: a phone on a USB/IP connection, driven from user space: no kernel module, no root.
 * Facts: usb/codec/README.md, "USB/IP". */
#ifndef FLASHRACK_USB_TRANSPORT_USBIP_H
#define FLASHRACK_USB_TRANSPORT_USBIP_H

#include "usb/transport/transport.h"

/* On a connection whose import has succeeded: reads the descriptors, sets the configuration. The
 * descriptor is taken on success; `speed` is the record's. Keeps 4 IN transfers of 64 KiB queued
 * from the first read on, and up to 4 OUT transfers in flight. Nothing the peer says is trusted:
 * answers that are longer than their request or belong to none end the connection (ERR_GONE). */
int transport_usbip_open(int socket_fd, uint32_t devid, int speed, struct transport **out,
                         struct usb_identity *id_out, struct err *err);

#endif
