/* filler.h: bytes that stand for code, calibration or user data: incompressible, different for
 * every name, the same each time. */
#ifndef FLASHRACK_TESTS_PHONE_FILLER_H
#define FLASHRACK_TESTS_PHONE_FILLER_H

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "usb/base/hash.h"

/* Fills `len` bytes with what `name` and `seed` (may be empty) stand for. */
static inline void filler(uint8_t *dst, size_t len, const char *name, struct span seed)
{
    struct hasher *h = hasher_new();
    hasher_update(h, name, strlen(name) + 1);
    hasher_update(h, seed.data, seed.len);
    struct sha256 key = hasher_finish(h);
    hasher_free(&h);
    uint64_t s0 = get_le64(key.bytes), s1 = get_le64(key.bytes + 8) | 1;
    for (size_t at = 0; at < len; at += 8) { /* xorshift128+ */
        uint64_t x = s0, y = s1, word = x + y;
        uint8_t bytes[8];
        s0 = y;
        x ^= x << 23;
        s1 = x ^ y ^ x >> 17 ^ y >> 26;
        put_le32(bytes, (uint32_t)word);
        put_le32(bytes + 4, (uint32_t)(word >> 32));
        memcpy(dst + at, bytes, len - at < 8 ? len - at : 8);
    }
}

#endif
