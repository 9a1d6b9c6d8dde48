/* seal.h: AES-256-GCM by OpenSSL, with a secret of 32 bytes out of a file. What is used are keys derived from it by
 * HKDF-SHA256 (RFC 5869), one for each purpose. */
#ifndef FLASHRACK_USB_BASE_SEAL_H
#define FLASHRACK_USB_BASE_SEAL_H

#include "usb/base/buf.h"
#include "usb/base/hash.h"

enum { SEAL_EXTRA_BYTES = 28 }; /* nonce (12) in front of the ciphertext, tag (16) behind it */

struct seal; /* a key; may be used by several threads at once */
/* The file holds 32 bytes, or 64 hex digits and perhaps a newline. ERR_INPUT with what to do: it is not there, is no such
 * file, or others than its owner have rights on it. */
int seal_load(const char *path, struct seal **out, struct err *err);
void seal_free(struct seal **s); /* NULL-safe; wipes the key */
/* Says which key it is, and nothing else about it. */
struct sha256 seal_check_value(const struct seal *s);
/* A name for contents with this hash that nobody without the key can compute or compare. */
struct sha256 seal_content_id(const struct seal *s, const struct sha256 *content);

/* Appends the sealed form under a nonce of its own; `about` is not in it, but must be the same when it is opened. ERR_LIMIT:
 * `out` is full. */
int seal_close(const struct seal *s, struct span about, struct span plain, struct buf *out,
               struct err *err);
/* Appends what was sealed. ERR_VERIFY: a bit of it or of `about` was changed, or another key sealed it. */
int seal_open(const struct seal *s, struct span about, struct span sealed, struct buf *out,
              struct err *err);

#endif
