/* systeminfo.h: firmware versions ("PDA-1100-0-00WW-B01"), and where a phone keeps its own: the
 * partition systeminfo, behind the tag MLF. Parts and rules: README.md, "Versions". */
#ifndef FLASHRACK_USB_FORMAT_SYSTEMINFO_H
#define FLASHRACK_USB_FORMAT_SYSTEMINFO_H

#include "usb/base/buf.h"
#include "usb/base/err.h"
#include "usb/base/span.h"

#define FW_VERSION_BYTES      20 /* 19 characters and a zero */
#define SYSTEMINFO_HEAD_BYTES 4096

struct fw_version {
    char text[FW_VERSION_BYTES];
    char project[4]; /* "PDA" */
    char number[5];  /* "1100": Android generation, release (2), security patch step */
    char sku;        /* '0' */
    char region[5];  /* "00WW" */
    char branch[4];  /* "B01" */
};

/* The whole of `text` is a version. */
int fw_version_parse(const char *text, struct fw_version *out, struct err *err);
/* The first version inside some text or bytes (a folder's name, a partition). ERR_NOT_FOUND. */
int fw_version_find(struct span in, struct fw_version *out, struct err *err);
/* Version in the head of the partition: behind MLF, else anywhere in it. */
int systeminfo_decode(struct span head, struct fw_version *out, struct err *err);
/* How the emulated phone's partition begins. CONSTRUCTED: only the tag and the version are known.
 */
void systeminfo_encode(const char *version, struct buf *out);

#endif
