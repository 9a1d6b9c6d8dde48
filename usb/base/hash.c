#include "usb/base/hash.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <zlib.h>

#include "usb/base/mem.h"

struct hasher {
    EVP_MD_CTX *ctx;
};

static void must(int ok)
{
    if (ok != 1)
        abort(); /* only memory or a broken OpenSSL: nothing can be certified any more */
}

struct hasher *hasher_new(void)
{
    struct hasher *h = xcalloc(1, sizeof(*h));
    h->ctx = EVP_MD_CTX_new();
    must(h->ctx != NULL);
    must(EVP_DigestInit_ex(h->ctx, EVP_sha256(), NULL));
    return h;
}

void hasher_update(struct hasher *h, const void *data, size_t len)
{
    must(EVP_DigestUpdate(h->ctx, data, len));
}

void hasher_zeros(struct hasher *h, uint64_t len)
{
    static const uint8_t zeros[65536];
    while (len) {
        size_t n = len < sizeof(zeros) ? (size_t)len : sizeof(zeros);
        hasher_update(h, zeros, n);
        len -= n;
    }
}

struct sha256 hasher_finish(struct hasher *h)
{
    struct sha256 out;
    must(EVP_DigestFinal_ex(h->ctx, out.bytes, NULL));
    must(EVP_DigestInit_ex(h->ctx, EVP_sha256(), NULL));
    return out;
}

void hasher_free(struct hasher **h)
{
    if (!*h)
        return;
    EVP_MD_CTX_free((*h)->ctx);
    free(*h);
    *h = NULL;
}

struct sha256 sha256_of(struct span in)
{
    struct sha256 out;
    must(EVP_Digest(in.data, in.len, out.bytes, NULL, EVP_sha256(), NULL));
    return out;
}

bool sha256_equal(const struct sha256 *a, const struct sha256 *b)
{
    return memcmp(a->bytes, b->bytes, SHA256_BYTES) == 0;
}

void sha256_hex(const struct sha256 *digest, char out[SHA256_HEX_BYTES])
{
    hex_encode(span_of(digest->bytes, SHA256_BYTES), out);
}

bool sha256_parse(const char *hex, struct sha256 *out)
{
    struct sha256 parsed;
    if (strlen(hex) != 64 || hex_decode(hex, parsed.bytes, SHA256_BYTES) != SHA256_BYTES)
        return false;
    *out = parsed;
    return true;
}

void md5_hex_upper(struct span in, char out[MD5_HEX_BYTES])
{
    uint8_t digest[16];
    must(EVP_Digest(in.data, in.len, digest, NULL, EVP_md5(), NULL));
    hex_encode(span_of(digest, sizeof(digest)), out);
    for (char *p = out; *p; p++)
        if (*p >= 'a')
            *p = (char)(*p - 'a' + 'A');
}

struct hasher *hasher_md5_new(void)
{
    struct hasher *h = xcalloc(1, sizeof(*h));
    h->ctx = EVP_MD_CTX_new();
    must(h->ctx != NULL);
    must(EVP_DigestInit_ex(h->ctx, EVP_md5(), NULL));
    return h;
}

void hasher_md5_finish(struct hasher *h, char hex_out[MD5_HEX_BYTES])
{
    uint8_t digest[16];
    must(EVP_DigestFinal_ex(h->ctx, digest, NULL));
    must(EVP_DigestInit_ex(h->ctx, EVP_md5(), NULL));
    hex_encode(span_of(digest, sizeof(digest)), hex_out);
}

uint32_t crc32_of(uint32_t crc, struct span in)
{
    return in.len ? (uint32_t)crc32_z(crc, in.data, in.len) : crc; /* zlib: NULL starts afresh */
}

/* The sum of 2^k words is joined from two sums of 2^(k-1) words. */
uint32_t crc32_word(uint32_t crc, const uint8_t word[4], uint64_t count)
{
    uint32_t unit = crc32_of(0, span_of(word, 4));
    z_off_t unit_bytes = 4;
    for (; count; count >>= 1) {
        if (count & 1)
            crc = (uint32_t)crc32_combine(crc, unit, unit_bytes);
        unit = (uint32_t)crc32_combine(unit, unit, unit_bytes);
        unit_bytes *= 2;
    }
    return crc;
}

void hex_encode(struct span in, char *out)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < in.len; i++) {
        *out++ = digits[in.data[i] >> 4];
        *out++ = digits[in.data[i] & 15];
    }
    *out = '\0';
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

ptrdiff_t hex_decode(const char *text, uint8_t *out, size_t out_max)
{
    size_t n = 0;
    for (;;) {
        while (*text == ' ' || *text == '\t')
            text++;
        if (!*text)
            return (ptrdiff_t)n;
        int high = hex_digit(text[0]);
        int low = high < 0 ? -1 : hex_digit(text[1]);
        if (low < 0 || n == out_max)
            return -1;
        out[n++] = (uint8_t)(high << 4 | low);
        text += 2;
    }
}
