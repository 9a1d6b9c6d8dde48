/* exported.h: what an exported backup says of its images: SHA256SUMS and manifest.json, as GET
 * /backups/{id}/export and `flashrack backup export` write them. Nothing in them is believed before the images
 * agree. */
#ifndef FLASHRACK_USB_WORKER_EXPORTED_H
#define FLASHRACK_USB_WORKER_EXPORTED_H

#include "usb/base/hash.h"
#include "usb/format/gpt.h"

enum { EXPORTED_TEXT_MAX_BYTES = 1 << 20 }; /* of some sixty partitions: 20 KiB */

struct exported_image {
    char name[GPT_NAME_BYTES];
    struct sha256 sha256;
    /* from the manifest */
    bool placed;
    char area[8]; /* USER BOOT1 BOOT2 */
    int64_t offset_bytes, size_bytes;
};

struct exported {
    bool has_sums, has_manifest;
    char serial[32]; /* "" when the manifest names none */
    /* Lower-case hex; "" when the manifest names none. Anybody can have written it: it binds the backup to that chip, and
     * loosens nothing. */
    char chip_id[65];
    size_t count;
    struct exported_image images[GPT_ENTRIES_MAX];
};

/* Either text may be missing (data NULL): a folder of images without a manifest is no export, but its sums hold.
 * ERR_FORMAT: they are not what an export writes, or contradict each other. */
int exported_parse(struct span sums, struct span manifest, struct exported *out, struct err *err);
const struct exported_image *exported_find(const struct exported *e, const char *name);

#endif
