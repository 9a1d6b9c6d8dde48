/* kernel_port.h: a phone on a virtual port of this kernel, through usbfs as a worker has it. */
#ifndef FLASHRACK_TESTS_BENCH_KERNEL_PORT_H
#define FLASHRACK_TESTS_BENCH_KERNEL_PORT_H

#include "usb/transport/transport.h"

/* Opens the device of bus id 1-<index> (tests/phone/README.md, "vhci": neighbours are on different controllers), once
 * the kernel has configured it. ERR_NOT_FOUND: not there (yet). */
int kernel_port_open(unsigned index, struct transport **out, struct usb_identity *id_out,
                     struct err *err);

#endif
