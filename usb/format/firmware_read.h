/* firmware_read.h: the part of firmware_check() that reads whole files: hashes, sparse images,
 * checksum lists. Internal to usb/format. */
#ifndef FLASHRACK_USB_FORMAT_FIRMWARE_READ_H
#define FLASHRACK_USB_FORMAT_FIRMWARE_READ_H

#include "usb/format/firmware.h"

/* Hashes every file, unfolds sparse images, compares with the package's own checksum lists. */
int firmware_read_all(struct firmware *f, const struct firmware_source *source, struct err *err);
/* Opens by name; problems of opening are the caller's to report. */
static inline int firmware_open(const struct firmware_source *source, const char *name,
                                struct input **out, struct err *err)
{
    return source->open(source->arg, name, out, err);
}
const char *firmware_base_name(const char *path);

#endif
