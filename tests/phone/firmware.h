/* firmware.h: the vendor's images: what a package folder holds and a slot is made of. Deterministic
 * in profile and version; the payloads are filler, the containers are true. tests/phone/README.md,
 * "Firmware images". */
#ifndef FLASHRACK_TESTS_PHONE_FIRMWARE_H
#define FLASHRACK_TESTS_PHONE_FIRMWARE_H

#include "tests/phone/factory.h"
#include "tests/phone/layout.h"
#include "usb/base/buf.h"

enum { FIRMWARE_IMAGES_MAX = 24, SPARSE_BLOCK_BYTES = 4096 };

struct firmware_image {
    char partition[33]; /* without slot suffix */
    bool slotted;
    bool sparse;     /* `file` is an Android sparse image */
    struct buf file; /* as it lies in the package, <partition>.img */
};

struct firmware {
    enum factory_profile profile;
    char version[40];
    size_t count;
    struct firmware_image images[FIRMWARE_IMAGES_MAX];
    struct buf preloader;  /* preloader_pda.bin */
    struct buf lk_service; /* lk_service.img */
};

/* Makes all images; some ten megabytes (mini). Free with firmware_free(). */
int firmware_new(enum factory_profile profile, const char *version, struct firmware **out,
                 struct err *err);
void firmware_free(struct firmware **f);
/* Borrowed; NULL when there is none. */
const struct firmware_image *firmware_find(const struct firmware *f, const char *partition);

/* Writes the image, expanded, at byte `at` of the file `fd`: what a download leaves on erased
 * flash. */
int firmware_image_write(const struct firmware_image *image, int fd, uint64_t at, struct err *err);

/* What an LK says about itself, read from the partition that holds it. */
enum lk_kind { LK_BROKEN, LK_COMMERCIAL, LK_SERVICE };
/* Bytes of the image that begins with `head` (0x200 bytes at least), 0 when it has no LK header. */
size_t lk_image_bytes(struct span head);
enum lk_kind lk_image_kind(struct span image);
/* Text that md1img carries behind its header; empty when it is none. */
void baseband_version(struct span md1img_head, char out[64]);
/* "PDA-1100-0-00WW-B01" out of systeminfo's head; empty when it is not there. */
void systeminfo_version(struct span head, char out[40]);

#endif
