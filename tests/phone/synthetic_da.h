/* synthetic_da.h: what the made-up download agent of our firmware package and the emulated phone's boot
 * ROM and DA1 agree on. The agent's stages are filler, not code: the phone never executes them, it only
 * checks them as genuine firmware checks genuine stages. All of it constructed; the container around
 * the stages is described in tests/phone/README.md, "Synthetic download agent".
 *
 *   region 1 (DA1) = body | signature of SYNTH_DA_SIGNATURE_BYTES
 *     body: FF FF FF EA, SYNTH_DA1_MARK at SYNTH_DA1_MARK_OFFSET, digest of DA2's body at
 *           SYNTH_DA1_DIGEST_OFFSET, filler
 *   region 2 (DA2) = body | signature; the host sends the body only
 *
 * The digest is salted, so that it is not the plain hash which third-party tools look for in a DA1 and
 * would patch over. */
#ifndef FLASHRACK_TESTS_PHONE_SYNTHETIC_DA_H
#define FLASHRACK_TESTS_PHONE_SYNTHETIC_DA_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "usb/base/hash.h"
#include "usb/base/span.h"

#define SYNTH_DA_BUILD_ID "MTK_AllInOne_DA_v3.3001.2018/08/21.13:52_000000"
#define SYNTH_DA1_MARK "FLASHRACK-SYNTHETIC-DA1"
#define SYNTH_DA2_MARK "FLASHRACK-SYNTHETIC-DA2" /* at SYNTH_DA1_MARK_OFFSET of DA2, too */

enum {
    SYNTH_DA_HW_CODE = 0x6771,
    SYNTH_DA_HW_SUB_CODE = 0x8A00,
    SYNTH_DA_HW_VERSION = 0xCA00,
    SYNTH_DA1_ADDRESS = 0x00200000,
    SYNTH_DA2_ADDRESS = 0x40000000,
    SYNTH_DA_SIGNATURE_BYTES = 0x100,
    SYNTH_DA1_MARK_OFFSET = 0x10,
    SYNTH_DA1_DIGEST_OFFSET = 0x40, /* SHA256_BYTES */
    SYNTH_DA1_BYTES = 0x1C000,      /* with its signature; at most 0x40000 (secure download) */
    SYNTH_DA2_BYTES = 0x3A000,      /* with its signature */
};

/* The digest of DA2's body (signature excluded) as DA1 carries it. */
static inline struct sha256 synth_da2_digest(struct span da2_body)
{
    struct hasher *h = hasher_new();
    hasher_update(h, SYNTH_DA2_MARK, sizeof(SYNTH_DA2_MARK));
    hasher_update(h, da2_body.data, da2_body.len);
    struct sha256 digest = hasher_finish(h);
    hasher_free(&h);
    return digest;
}

/* The signature that stands behind a stage: eight SHA-256 blocks over counter and body digest. */
static inline void synth_da_sign(struct span body, uint8_t out[SYNTH_DA_SIGNATURE_BYTES])
{
    struct sha256 digest = sha256_of(body);
    for (uint8_t i = 0; i < SYNTH_DA_SIGNATURE_BYTES / SHA256_BYTES; i++) {
        uint8_t block[1 + SHA256_BYTES] = {i};
        memcpy(block + 1, digest.bytes, SHA256_BYTES);
        struct sha256 part = sha256_of(span_of(block, sizeof(block)));
        memcpy(out + (size_t)i * SHA256_BYTES, part.bytes, SHA256_BYTES);
    }
}

/* True when the last `signature_len` bytes of `region` are the signature of what is before them. */
static inline bool synth_da_signed(struct span region, size_t signature_len)
{
    uint8_t want[SYNTH_DA_SIGNATURE_BYTES];
    if (signature_len != sizeof(want) || region.len <= sizeof(want))
        return false;
    size_t body_len = region.len - sizeof(want);
    synth_da_sign(span_sub(region, 0, body_len), want);
    return memcmp(region.data + body_len, want, sizeof(want)) == 0;
}

/* True when `da1` (with or without signature) is our DA1; the digest it wants DA2 to have. */
static inline bool synth_da1_read(struct span da1, struct sha256 *da2_digest_out)
{
    if (da1.len < SYNTH_DA1_DIGEST_OFFSET + SHA256_BYTES ||
        memcmp(da1.data + SYNTH_DA1_MARK_OFFSET, SYNTH_DA1_MARK, sizeof(SYNTH_DA1_MARK)) != 0)
        return false;
    memcpy(da2_digest_out->bytes, da1.data + SYNTH_DA1_DIGEST_OFFSET, SHA256_BYTES);
    return true;
}

#endif
