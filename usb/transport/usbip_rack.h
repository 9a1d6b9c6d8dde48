/* usbip_rack.h: the handshake with a USB/IP rack: what is there, and importing one device. Blocking
 * with deadlines; for a thread, not for an event loop. Facts: usb/codec/README.md, "USB/IP". */
#ifndef FLASHRACK_USB_TRANSPORT_USBIP_RACK_H
#define FLASHRACK_USB_TRANSPORT_USBIP_RACK_H

#include "usb/codec/usbip.h"

#define USBIP_RACK_INTERFACES 8 /* records kept of one device */
struct usbip_rack_device {
    struct usbip_device device;
    struct usbip_interface interfaces[USBIP_RACK_INTERFACES];
    size_t interface_count;
};

/* All devices that `host` exports; *out is malloc'ed, the caller's; NULL when there are none. Name
 * resolution has its own, the system's, time limit. */
int usbip_devlist(const char *host, uint16_t port, int64_t timeout_ms,
                  struct usbip_rack_device **out, size_t *count_out, struct err *err);
/* A connection that carries URBs of this device: hand it, usbip_devid(device_out) and the speed to
 * transport_usbip_open(). ERR_NOT_FOUND, ERR_CONFLICT when it is in use, ERR_GONE when the rack is.
 */
int usbip_import(const char *host, uint16_t port, const char *busid, int64_t timeout_ms,
                 int *fd_out, struct usbip_device *device_out, struct err *err);

#endif
