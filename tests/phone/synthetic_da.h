/* synthetic_da.h: what marks the download agents and authentication files that this project makes for
 * itself. All of it is our own convention: genuine agents are signed by their maker and hold no such
 * marks. The fixture generator puts them in, the emulated phone looks for them. README.md, "Download
 * path, what is constructed".
 *
 *   DA1, at SYNTHETIC_DA1_OFFSET: 16 bytes mark, SHA-1 and SHA-256 of the DA2 body, every digest byte
 *   XORed with SYNTHETIC_MASK so that clients that search agents for a digest and patch it find none.
 *   A DA1 without the mark lets its phone accept any DA2.
 *
 *   signature: SHA-256 of the body, repeated up to the signature's length. */
#ifndef FLASHRACK_TESTS_PHONE_SYNTHETIC_DA_H
#define FLASHRACK_TESTS_PHONE_SYNTHETIC_DA_H

#include "usb/base/buf.h"

#define SYNTHETIC_DA1_OFFSET     0x40
#define SYNTHETIC_DA1_MARK       "FR-SYNTHETIC-DA1" /* 16 bytes, no terminator */
#define SYNTHETIC_DA1_MARK_BYTES 16
#define SYNTHETIC_MASK           0xa5
#define SYNTHETIC_DA1_MIN_BYTES  (SYNTHETIC_DA1_OFFSET + SYNTHETIC_DA1_MARK_BYTES + 20 + 32)

struct synthetic_digests {
    bool known; /* the DA1 image carried the mark */
    uint8_t sha1[20], sha256[32];
};

/* Fixture: writes mark and digests into a DA1 body of at least SYNTHETIC_DA1_MIN_BYTES. */
void synthetic_da1_mark(uint8_t *da1, struct span da2_body);
/* Phone: `known` is false when the image has no mark. */
struct synthetic_digests synthetic_da1_digests(struct span da1);
/* True when `da2` is what the digest was made from; sha256 picks the 2019 build's digest. */
bool synthetic_da2_matches(const struct synthetic_digests *want, struct span da2, bool sha256);

void synthetic_sign(struct span body, uint8_t *signature_out, size_t signature_bytes);
/* `image` ends in its signature; false also when signature_bytes is 0 or more than the image has. */
bool synthetic_signed(struct span image, size_t signature_bytes);

/* Vendor's image of a partition: whole blocks, of which the last 256 bytes are the signature of all before
 * them; a host may have filled the partition with zeros behind it. A phone with secure boot asks for the
 * signature: tests/phone/README.md, "Names". */
void synthetic_image_sign(struct buf *image);
bool synthetic_image_signed(struct span image);

/* Authentication file of the phone's owner: the mark, then anything. */
#define SYNTHETIC_AUTH_MARK "FR-SYNTHETIC-AUTH\n"
void synthetic_auth_put(struct buf *out);
bool synthetic_auth_ok(struct span file);

#endif
