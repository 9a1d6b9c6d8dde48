/* sign.h: Ed25519 (RFC 8032) by OpenSSL: a station's key signs what it says about a job. The key lies in a file that
 * only its owner can read, as PEM (PKCS#8), so that `openssl pkey` can read it, too. */
#ifndef FLASHRACK_USB_BASE_SIGN_H
#define FLASHRACK_USB_BASE_SIGN_H

#include "usb/base/err.h"
#include "usb/base/hash.h"

#define SIGN_KEY_BYTES 32 /* public key */
#define SIGN_BYTES     64 /* signature */

struct sign_key {
    uint8_t bytes[SIGN_KEY_BYTES];
};
struct signature {
    uint8_t bytes[SIGN_BYTES];
};

struct signer; /* a private key; may be used by several threads at once */
/* Takes the key in the file `path`; makes one, durable and readable by its owner alone, when there is none.
 * ERR_FORMAT: the file holds no such key. ERR_REFUSED: others can read it. Blocking, for start-up. */
int signer_open(const char *path, struct signer **out, struct err *err);
void signer_free(struct signer **s); /* NULL-safe */
struct sign_key signer_public(const struct signer *s);
struct signature signer_sign(const struct signer *s, struct span message);

bool sign_check(const struct sign_key *key, struct span message, const struct signature *signature);
/* SHA-256 of the 32 bytes: what a person compares. */
struct sha256 sign_fingerprint(const struct sign_key *key);
/* Exactly 64 or 128 digits. */
bool sign_key_parse(const char *hex, struct sign_key *out);
bool signature_parse(const char *hex, struct signature *out);

#endif
