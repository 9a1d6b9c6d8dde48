/* hash.h: SHA-256, MD5 (the dm-verity code of a serial, vendors' lists) and CRC-32, by OpenSSL and zlib. */
#ifndef FLASHRACK_USB_BASE_HASH_H
#define FLASHRACK_USB_BASE_HASH_H

#include <stdbool.h>

#include "usb/base/span.h"

#define SHA256_BYTES 32
#define SHA256_HEX_BYTES 65 /* with the terminating zero */
#define MD5_HEX_BYTES 33

struct sha256 {
    uint8_t bytes[SHA256_BYTES];
};

struct hasher; /* a running SHA-256 */
struct hasher *hasher_new(void);
void hasher_update(struct hasher *h, const void *data, size_t len);
void hasher_zeros(struct hasher *h, uint64_t len); /* as if `len` zero bytes came */
/* The digest; the hasher starts afresh. */
struct sha256 hasher_finish(struct hasher *h);
void hasher_free(struct hasher **h);

struct sha256 sha256_of(struct span in);
bool sha256_equal(const struct sha256 *a, const struct sha256 *b);
void sha256_hex(const struct sha256 *digest, char out[SHA256_HEX_BYTES]); /* lower case */
bool sha256_parse(const char *hex, struct sha256 *out);                   /* 64 digits, either case */
void md5_hex_upper(struct span in, char out[MD5_HEX_BYTES]);
/* A hasher that makes an MD5: for the checksum lists of vendors' packages, nothing else. */
struct hasher *hasher_md5_new(void);
void hasher_md5_finish(struct hasher *h, char hex_out[MD5_HEX_BYTES]); /* lower case; starts afresh */
/* zlib's CRC-32 (IEEE), continued from `crc`; start with 0. */
uint32_t crc32_of(uint32_t crc, struct span in);
/* CRC-32 continued over `count` repetitions of a four-byte word, in time that grows with log(count). */
uint32_t crc32_word(uint32_t crc, const uint8_t word[4], uint64_t count);
/* `len` bytes as 2*len lower-case digits and a zero. */
void hex_encode(struct span in, char *out);
/* Digits of either case, blanks allowed between bytes. Bytes written, or -1. */
ptrdiff_t hex_decode(const char *text, uint8_t *out, size_t out_max);

#endif
