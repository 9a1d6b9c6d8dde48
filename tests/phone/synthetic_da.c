#include "tests/phone/synthetic_da.h"

#include <openssl/evp.h>

#include "usb/base/hash.h"
#include "usb/base/mem.h"

static void digests_of(struct span body, struct synthetic_digests *out)
{
    struct sha256 d = sha256_of(body);
    memcpy(out->sha256, d.bytes, sizeof(out->sha256));
    /* SHA-1 only here: download agents before 2019 check DA2 by it, nothing of the station does. */
    unsigned len = 0;
    if (!EVP_Digest(body.data, body.len, out->sha1, &len, EVP_sha1(), NULL))
        memset(out->sha1, 0, sizeof(out->sha1));
    out->known = true;
}

static void mask(uint8_t *dst, const uint8_t *src, size_t len)
{
    for (size_t i = 0; i < len; i++)
        dst[i] = src[i] ^ SYNTHETIC_MASK;
}

void synthetic_da1_mark(uint8_t *da1, struct span da2_body)
{
    struct synthetic_digests d;
    digests_of(da2_body, &d);
    uint8_t *at = da1 + SYNTHETIC_DA1_OFFSET;
    memcpy(at, SYNTHETIC_DA1_MARK, SYNTHETIC_DA1_MARK_BYTES);
    at += SYNTHETIC_DA1_MARK_BYTES;
    mask(at, d.sha1, sizeof(d.sha1));
    mask(at + sizeof(d.sha1), d.sha256, sizeof(d.sha256));
}

struct synthetic_digests synthetic_da1_digests(struct span da1)
{
    struct synthetic_digests out = {0};
    if (da1.len < SYNTHETIC_DA1_MIN_BYTES ||
        memcmp(da1.data + SYNTHETIC_DA1_OFFSET, SYNTHETIC_DA1_MARK, SYNTHETIC_DA1_MARK_BYTES) != 0)
        return out;
    const uint8_t *at = da1.data + SYNTHETIC_DA1_OFFSET + SYNTHETIC_DA1_MARK_BYTES;
    mask(out.sha1, at, sizeof(out.sha1));
    mask(out.sha256, at + sizeof(out.sha1), sizeof(out.sha256));
    out.known = true;
    return out;
}

bool synthetic_da2_matches(const struct synthetic_digests *want, struct span da2, bool sha256)
{
    if (!want->known)
        return true;
    struct synthetic_digests got;
    digests_of(da2, &got);
    return sha256 ? memcmp(got.sha256, want->sha256, sizeof(got.sha256)) == 0
                  : memcmp(got.sha1, want->sha1, sizeof(got.sha1)) == 0;
}

void synthetic_sign(struct span body, uint8_t *signature_out, size_t signature_bytes)
{
    struct sha256 d = sha256_of(body);
    for (size_t i = 0; i < signature_bytes; i++)
        signature_out[i] = d.bytes[i % SHA256_BYTES];
}

bool synthetic_signed(struct span image, size_t signature_bytes)
{
    if (signature_bytes == 0 || signature_bytes > image.len)
        return false;
    struct span body = span_sub(image, 0, image.len - signature_bytes);
    struct sha256 d = sha256_of(body);
    for (size_t i = 0; i < signature_bytes; i++)
        if (image.data[body.len + i] != d.bytes[i % SHA256_BYTES])
            return false;
    return true;
}

enum { IMAGE_BLOCK = 512, IMAGE_SIGNATURE_BYTES = 0x100 };

void synthetic_image_sign(struct buf *image)
{
    uint8_t signature[IMAGE_SIGNATURE_BYTES];
    size_t over = (image->len + sizeof(signature)) % IMAGE_BLOCK;
    buf_put_zeros(image, over ? IMAGE_BLOCK - over : 0);
    synthetic_sign(buf_span(image), signature, sizeof(signature));
    buf_put(image, signature, sizeof(signature));
}

bool synthetic_image_signed(struct span image)
{
    size_t end = image.len;
    while (end && image.data[end - 1] == 0)
        end--;
    end = (end + IMAGE_BLOCK - 1) / IMAGE_BLOCK * IMAGE_BLOCK;
    return end <= image.len && synthetic_signed(span_sub(image, 0, end), IMAGE_SIGNATURE_BYTES);
}

void synthetic_auth_put(struct buf *out)
{
    buf_put(out, SYNTHETIC_AUTH_MARK, sizeof(SYNTHETIC_AUTH_MARK) - 1);
    buf_put_zeros(out, 0x100);
}

bool synthetic_auth_ok(struct span file)
{
    return file.len >= sizeof(SYNTHETIC_AUTH_MARK) - 1 &&
           memcmp(file.data, SYNTHETIC_AUTH_MARK, sizeof(SYNTHETIC_AUTH_MARK) - 1) == 0;
}
