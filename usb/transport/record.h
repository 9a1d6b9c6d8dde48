/* record.h: the black box of a job: every transfer, control and bulk, both halves, in a pcapng file for Wireshark
 * (usb/codec/pcapng.h). Serial numbers and images pass here: the file is for the station. replay.h plays it back. */
#ifndef FLASHRACK_USB_TRANSPORT_RECORD_H
#define FLASHRACK_USB_TRANSPORT_RECORD_H

#include "usb/transport/transport.h"

/* What one job writes to, whatever the phone's identities. */
struct record;
/* file_fd is borrowed, empty, and must outlive the record and its transports. At most max_bytes are written, the last
 * packet then says so; of one transfer keep_bytes at most, and a CRC-32 of all. A file that cannot be written ends
 * the recording, not the job. */
struct record *record_new(int file_fd, uint64_t max_bytes, uint32_t keep_bytes);
void record_free(struct record **r);
/* Goes as a comment with the next transfer: the step that begins. */
void record_comment(struct record *r, const char *text);

/* Wraps `below` (taken; closed with the wrapper). */
struct transport *transport_record_new(struct transport *below, const struct usb_identity *id,
                                       struct record *r);

#endif
