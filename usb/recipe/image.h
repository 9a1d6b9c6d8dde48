/* image.h: an input file as the stream of bytes that goes to the phone: raw as it is or an Android sparse image
 * expanded, padded with zeros, hashed on the way. Memory does not depend on the size of the image. */
#ifndef FLASHRACK_USB_RECIPE_IMAGE_H
#define FLASHRACK_USB_RECIPE_IMAGE_H

#include "usb/base/hash.h"
#include "usb/proto/link.h"

struct image;

struct image_spec {
    int fd;                /* borrowed */
    bool sparse;
    uint64_t size_bytes;   /* of the image when expanded */
    uint64_t padded_bytes; /* of the stream; zeros follow the image */
};

int image_open(const struct image_spec *spec, struct image **out, struct err *err);
/* link_source_fn: arg is the struct image. */
int image_source(void *arg, void *dst, size_t len, struct err *err);
/* SHA-256 of everything the source gave since image_open(). */
struct sha256 image_sent(struct image *image);
/* SHA-256 of the file itself, as it was read for the stream; what the stream did not need is read now. */
int image_read(struct image *image, struct sha256 *out, struct err *err);
void image_close(struct image **image);

/* SHA-256 of a whole file as it is, in constant memory; `tick` (may be NULL) runs between pieces. */
int image_file_sha256(int fd, struct sha256 *out, void (*tick)(void *arg), void *tick_arg,
                      struct err *err);

#endif
