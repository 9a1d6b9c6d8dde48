/* fault_transport.h: a layer that lets one transfer of a conversation go wrong (fault.h). */
#ifndef FLASHRACK_USB_TRANSPORT_FAULT_TRANSPORT_H
#define FLASHRACK_USB_TRANSPORT_FAULT_TRANSPORT_H

#include "usb/transport/fault.h"
#include "usb/transport/transport.h"

/* Wraps `below` (taken). A transfer here is one call of read or write, a control transfer one of
 * control, each counted from 1; `byte` is the byte that is corrupted, or where a short transfer
 * ends. unplug, reset and nak last until close; late lasts to the call's deadline unless ms says
 * otherwise. Kinds that only a phone can make happen are never due. */
struct transport *transport_fault_new(struct transport *below, const struct fault_spec *spec);
/* What the specification's step is compared with; "" at first. */
void transport_fault_step(struct transport *t, const char *step);
int64_t transport_fault_count(const struct transport *t); /* bulk transfers so far */

#endif
