/* admit.h: who may start, and in which order. Pure: no station, no clock. */
#ifndef FLASHRACK_SERVER_STATION_ADMIT_H
#define FLASHRACK_SERVER_STATION_ADMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Jobs that may move bytes at the same time; 0: as many as want to. Hubs and controllers share their bus among
 * all that hangs on them: with too many each phone gets so little that its deadlines pass. */
struct admit_limits {
    int all, per_controller, per_hub;
};

enum admit { ADMIT_YES, ADMIT_ALL, ADMIT_CONTROLLER, ADMIT_HUB };

/* May a job start on this port while those on `busy` run? Otherwise which limit says no. */
enum admit admit_check(const struct admit_limits *limits, const char *port_id,
                       const char *const *busy, size_t busy_count);

/* Bytes of the port id that name its controller: "pci-0000:00:14.0" of "pci-0000:00:14.0-usb-0:1.2". 0: a USB/IP
 * port, whose controller is not this machine's. */
size_t admit_controller_len(const char *port_id);
/* Bytes of the port id that name hub number `depth` (from 0) on its way, outermost first: "...-usb-0:1" of
 * "...-usb-0:1.2". 0: there are not so many hubs. */
size_t admit_hub_len(const char *port_id, size_t depth);

/* Higher priority first, then who came first. */
bool admit_before(int priority_a, int64_t id_a, int priority_b, int64_t id_b);

#endif
