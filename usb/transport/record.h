/* record.h: writes what passes to a bounded text file, one line a transfer:
 *   123.456 > 01 12 efeeeefe0100000004000000
 *   123.457 < 81 65536 030a1118...+crc32=89abcdef
 * seconds since the start, direction (> out, < in, c control), endpoint, length (or error name),
 * bytes; more than 48 are cut to 16 and a CRC-32 of all. Serial numbers and images pass here: the
 * file is for the station. */
#ifndef FLASHRACK_USB_TRANSPORT_RECORD_H
#define FLASHRACK_USB_TRANSPORT_RECORD_H

#include "usb/transport/transport.h"

/* Wraps `below` (taken; closed with the wrapper). file_fd is borrowed and must outlive it; at most
 * max_bytes are written, then a last line says so. */
struct transport *transport_record_new(struct transport *below, const struct usb_identity *id,
                                       int file_fd, uint64_t max_bytes);

#endif
