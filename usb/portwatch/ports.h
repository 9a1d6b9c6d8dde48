/* ports.h: what is on every port now, and which worker waits for it. Shared by the main thread (sysfs,
 * sockets) and one thread a USB/IP rack; every call locks. Law 10: a device is opened only for a `want` of
 * the worker of its port; without one it is only looked at. */
#ifndef FLASHRACK_USB_PORTWATCH_PORTS_H
#define FLASHRACK_USB_PORTWATCH_PORTS_H

#include <stdbool.h>
#include <stdint.h>

#include "usb/base/err.h"

struct ports;

enum { PORTS_MAX = 2048 }; /* a rack that invents bus ids fills no memory */
enum { PORT_ID_MAX = 128, PORT_MODE_MAX = 16, PORT_SERIAL_MAX = 64 };

struct port_device {
    char mode[PORT_MODE_MAX]; /* brom preloader da fastboot android other none */
    int vid, pid, speed;      /* speed in USB/IP numbering */
    char serial[PORT_SERIAL_MAX];
    int64_t devid; /* a rack's number for this stay on the bus; 0: every coming and going is told */
};

struct ports *ports_new(void);
void ports_free(struct ports **p);

/* The channel to flashrackd, -1: none. Not owned. All known ports are told again. */
void ports_server_set(struct ports *p, int socket_fd);
/* Says what a full channel did not take before; true: there is still something due. */
bool ports_flush(struct ports *p);
/* What is on a port now; tells flashrackd and the port's worker when it changed. */
void ports_update(struct ports *p, const char *id, const struct port_device *device);
/* Every port whose id begins with `prefix` and that was not updated since `mark` is empty now. */
int64_t ports_mark(struct ports *p);
void ports_sweep(struct ports *p, const char *prefix, int64_t mark);

/* The worker end of a port; takes channel_fd. A later one for the same port replaces it. With PORTS_MAX ports
 * known it is closed and flashrackd is told the trouble. */
void ports_watch(struct ports *p, const char *id, int channel_fd);
/* Descriptors of all channels for poll(2); returns how many. */
int ports_channels(struct ports *p, int *fds_out, int max);
/* Reads what a worker said on this channel (a want), forgets the channel at end of file. */
void ports_channel_readable(struct ports *p, int channel_fd);

/* Does a worker want what is on this port right now? */
bool ports_wanted(struct ports *p, const char *id);
bool ports_any_want(struct ports *p, const char *prefix);
/* Hands the open device to the worker; fd stays the caller's and must be closed at once (a kept copy keeps
 * a killed worker's claims alive, usb/portwatch/README.md). False when nobody wants it any more, or the worker's
 * channel is full: then its want stays and must be served again. */
bool ports_hand(struct ports *p, const char *id, const char *kind, int fd, int64_t devid);
/* Why a port (or, by its address, a rack) does not work; an empty text: it works again. Told when it changes. */
void ports_trouble(struct ports *p, const char *id, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* The mode a device is in, by its ids and whether it shows a fastboot interface (FF/42/03). */
const char *port_mode_of(int vid, int pid, bool fastboot_interface);

#endif
