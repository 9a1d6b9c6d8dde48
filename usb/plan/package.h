/* package.h: what the catalogue keeps of a firmware package, and plans are made of. */
#ifndef FLASHRACK_USB_PLAN_PACKAGE_H
#define FLASHRACK_USB_PLAN_PACKAGE_H

#include <jansson.h>

#include "usb/format/firmware.h"

/* {name platform project version usable files[{name size sha256 sparse expanded_bytes}] layout[{name offset size}]
 * upgrade[{partition file}] plan{} prefix scatter problems[{severity code where text advice}] da_file preloader auth_file}, a new reference.
 * Hashes are empty where the check did not read the files. */
json_t *plan_package(const struct firmware *f);
/* {"download_only", "firmware_upgrade"}, each {"write_bytes", "write": [{partition, file, area, start,
 * size, partition_size}], "keep": [{partition, reason}]}; empty lists when there is no scatter. The same for
 * `flashrack firmware check` and the station. */
json_t *plan_package_modes(const struct firmware *f);

#endif
