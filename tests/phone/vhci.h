/* vhci.h: the kernel as the importer of every phone. */
#ifndef FLASHRACK_TESTS_PHONE_VHCI_H
#define FLASHRACK_TESTS_PHONE_VHCI_H

#include <stddef.h>

#include "usb/base/err.h"

struct usbip_server;
/* Must be called before a phone runs that was opened with `vhci`. ERR_NOT_FOUND without vhci_hcd,
 * ERR_LIMIT when it has fewer ports than there are phones. */
int vhci_init(struct usbip_server *s, size_t phones, struct err *err);

#endif
