/* usbip_server.h: serves the phones of a rack over USB/IP (README, "USB/IP"). A phone is listed and
 * may be imported only while it is on the bus; one importer a phone; its connection ends when the
 * phone leaves the bus, and the next identity of the phone is imported afresh under the same bus
 * id. */
#ifndef FLASHRACK_TESTS_PHONE_USBIP_SERVER_H
#define FLASHRACK_TESTS_PHONE_USBIP_SERVER_H

#include <stdint.h>
#include <sys/socket.h>

#include "tests/phone/board.h"
#include "usb/base/err.h"

struct usbip_server;

/* Listens on "HOST:PORT" (port 0: any free one) and serves; `boards` stay the caller's and outlive
 * it. */
int usbip_server_start(const char *listen, struct board *const *boards, size_t count,
                       struct usbip_server **out, struct err *err);
/* Where it listens, "127.0.0.1:3240"; borrowed. */
const char *usbip_server_address(const struct usbip_server *s);
/* Serves requests for one phone on a connected stream socket, without a handshake, on a thread of
 * its own: the other end belongs to the kernel. Takes over fd. */
int usbip_server_adopt(struct usbip_server *s, struct board *b, int fd, struct err *err);
/* Ends every connection and waits for their threads. */
void usbip_server_stop(struct usbip_server **s);

#endif
