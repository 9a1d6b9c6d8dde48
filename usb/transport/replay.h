/* replay.h: plays a recorded job (record.h) to the code that once led it: each call must ask for what was asked then,
 * and gets the answer of then, errors and time-outs too, without waiting. */
#ifndef FLASHRACK_USB_TRANSPORT_REPLAY_H
#define FLASHRACK_USB_TRANSPORT_REPLAY_H

#include "usb/transport/transport.h"

struct replay;
/* `file` must outlive it. The recording must hold every transfer whole. ERR_FORMAT. */
int replay_new(struct span file, struct replay **out, struct err *err);
/* The phone's next appearance on the bus; endpoints of the identity come from the record, nothing else is set. Its
 * calls answer ERR_PROTOCOL, naming the transfer, when they leave the track. */
struct transport *replay_device(struct replay *r, struct usb_identity *id_out);
/* Transfers of the file that were not asked for. */
size_t replay_left(const struct replay *r);
void replay_free(struct replay **r);

#endif
