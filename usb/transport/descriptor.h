/* descriptor.h: what a device's descriptors say, for both transports. Phones differ in layout (data
 * interface first or second, endpoint descriptors of 7 or 8 bytes, reversed unions), so the walk
 * steps by bLength and chooses by class and by the bulk pair, never by number. */
#ifndef FLASHRACK_USB_TRANSPORT_DESCRIPTOR_H
#define FLASHRACK_USB_TRANSPORT_DESCRIPTOR_H

#include "usb/transport/transport.h"

#define DESCRIPTOR_DEVICE_BYTES 18
#define DESCRIPTOR_CONFIG_MAX   4096 /* wTotalLength that we are willing to read */

struct descriptor_device {
    uint16_t vid, pid, bcd_device;
    uint8_t device_class, serial_index;
};
int descriptor_device_decode(struct span in, struct descriptor_device *out, struct err *err);
/* bConfigurationValue and wTotalLength of the first 9 bytes. */
int descriptor_config_head(struct span in, uint8_t *value_out, uint16_t *total_out,
                           struct err *err);
/* Fills interface, endpoints, packets, comm_interface and fastboot. Preference: FF/42/03, then CDC
 * data (0A), then any interface with a bulk pair. ERR_UNSUPPORTED when there is no pair. */
int descriptor_pick(struct span config, struct usb_identity *id, struct err *err);
/* UTF-16LE string descriptor into printable ASCII; what is not becomes '?'. Empty when malformed.
 */
void descriptor_string(struct span in, char *out, size_t out_size);

#endif
