#include "usb/base/seal.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "usb/base/io.h"
#include "usb/base/mem.h"

enum {
    KEY_BYTES = 32,
    NONCE_BYTES = 12,
    TAG_BYTES = 16,
    FILE_MAX_BYTES = 2 * KEY_BYTES + 2, /* hex digits and a line's end */
};

#define MAKE_ONE "make a key with: (umask 077; openssl rand -hex 32 > FILE)"

struct seal {
    uint8_t cipher_key[KEY_BYTES], id_key[KEY_BYTES];
    struct sha256 check_value;
};

/* Memory is all that can be missing here. */
static void must(int ok)
{
    if (ok != 1)
        abort();
}

static void cipher_ctx_free(EVP_CIPHER_CTX **ctx)
{
    EVP_CIPHER_CTX_free(*ctx);
}

/* ---- the key ---------------------------------------------------------------------------------------- */

static void derive(const uint8_t secret[KEY_BYTES], const char *purpose, uint8_t out[KEY_BYTES])
{
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
    must(kdf != NULL);
    EVP_KDF_CTX *ctx = EVP_KDF_CTX_new(kdf);
    must(ctx != NULL);
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char[]){"SHA256"}, 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)(uintptr_t)secret, KEY_BYTES),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, (void *)(uintptr_t)purpose,
                                          strlen(purpose)),
        OSSL_PARAM_construct_end()};
    must(EVP_KDF_derive(ctx, out, KEY_BYTES, params));
    EVP_KDF_CTX_free(ctx);
    EVP_KDF_free(kdf);
}

static bool is_blank_end(const char *text, size_t len)
{
    return strspn(text, "\r\n") == len;
}

/* `text` is zero-terminated. */
static bool parse(const char *text, size_t len, uint8_t secret[KEY_BYTES])
{
    if (len == KEY_BYTES) {
        memcpy(secret, text, KEY_BYTES);
        return true;
    }
    char digits[2 * KEY_BYTES + 1] = "";
    if (len < 2 * KEY_BYTES || !is_blank_end(text + 2 * KEY_BYTES, len - 2 * KEY_BYTES))
        return false;
    memcpy(digits, text, 2 * KEY_BYTES);
    bool good = hex_decode(digits, secret, KEY_BYTES) == KEY_BYTES;
    OPENSSL_cleanse(digits, sizeof(digits));
    return good;
}

static int check_file(const char *path, int fd, struct err *err)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return err_sys(err, ERR_INPUT, "look at the key file '%s'", path);
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_INPUT, "the key file '%s' is no regular file", path);
    if (st.st_mode & (S_IRWXG | S_IRWXO))
        return err_set(err, ERR_INPUT,
                       "others than its owner have rights on the key file '%s': chmod 600 '%s'",
                       path, path);
    if (st.st_size > FILE_MAX_BYTES)
        return err_set(
            err, ERR_INPUT,
            "the key file '%s' holds %lld bytes, not 32 bytes or 64 hex digits; " MAKE_ONE, path,
            (long long)st.st_size);
    return (int)st.st_size;
}

static int read_secret(const char *path, uint8_t secret[KEY_BYTES], struct err *err)
{
    char text[FILE_MAX_BYTES + 1] = "";
    AUTO(fd_close) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return err_sys(err, ERR_INPUT, "open the key file '%s'", path);
    int len = check_file(path, fd, err);
    int rc = len < 0 ? len : io_pread(fd, text, (size_t)len, 0, err);
    if (rc >= 0 && !parse(text, (size_t)len, secret))
        rc = err_set(err, ERR_INPUT,
                     "the key file '%s' holds neither 32 bytes nor 64 hex digits; " MAKE_ONE, path);
    OPENSSL_cleanse(text, sizeof(text));
    return rc;
}

int seal_load(const char *path, struct seal **out, struct err *err)
{
    uint8_t secret[KEY_BYTES];
    int rc = read_secret(path, secret, err);
    if (rc < 0)
        return rc;
    struct seal *s = xcalloc(1, sizeof(*s));
    derive(secret, "flashrack backups 1: cipher", s->cipher_key);
    derive(secret, "flashrack backups 1: content id", s->id_key);
    derive(secret, "flashrack backups 1: check value", s->check_value.bytes);
    OPENSSL_cleanse(secret, sizeof(secret));
    *out = s;
    return 0;
}

void seal_free(struct seal **s)
{
    if (!*s)
        return;
    OPENSSL_cleanse(*s, sizeof(**s));
    free(*s);
    *s = NULL;
}

struct sha256 seal_check_value(const struct seal *s)
{
    return s->check_value;
}

struct sha256 seal_content_id(const struct seal *s, const struct sha256 *content)
{
    struct sha256 out;
    must(HMAC(EVP_sha256(), s->id_key, KEY_BYTES, content->bytes, SHA256_BYTES, out.bytes, NULL) !=
         NULL);
    return out;
}

/* ---- sealing ---------------------------------------------------------------------------------------- */

int seal_close(const struct seal *s, struct span about, struct span plain, struct buf *out,
               struct err *err)
{
    int len;
    uint8_t *at = buf_grow(out, plain.len + SEAL_EXTRA_BYTES);
    if (!at)
        return buf_check(out, err);
    uint8_t *text = at + NONCE_BYTES, *tag = text + plain.len;
    AUTO(cipher_ctx_free) EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    must(ctx != NULL);
    must(RAND_bytes(at, NONCE_BYTES));
    must(EVP_EncryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, s->cipher_key, at));
    must(EVP_EncryptUpdate(ctx, NULL, &len, about.data, (int)about.len));
    must(EVP_EncryptUpdate(ctx, text, &len, plain.data, (int)plain.len));
    must(EVP_EncryptFinal_ex(ctx, tag, &len)); /* a stream: nothing is left to write */
    must(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_GET_TAG, TAG_BYTES, tag));
    return 0;
}

static bool decrypt(const struct seal *s, struct span about, struct span sealed, uint8_t *to)
{
    int len;
    uint8_t tag[TAG_BYTES];
    size_t text_len = sealed.len - SEAL_EXTRA_BYTES;
    memcpy(tag, sealed.data + sealed.len - TAG_BYTES, TAG_BYTES);
    AUTO(cipher_ctx_free) EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    must(ctx != NULL);
    must(EVP_DecryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, s->cipher_key, sealed.data));
    must(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_SET_TAG, TAG_BYTES, tag));
    must(EVP_DecryptUpdate(ctx, NULL, &len, about.data, (int)about.len));
    must(EVP_DecryptUpdate(ctx, to, &len, sealed.data + NONCE_BYTES, (int)text_len));
    return EVP_DecryptFinal_ex(ctx, to + text_len, &len) == 1;
}

int seal_open(const struct seal *s, struct span about, struct span sealed, struct buf *out,
              struct err *err)
{
    size_t start = out->len;
    if (sealed.len <= SEAL_EXTRA_BYTES)
        return err_set(err, ERR_VERIFY, "%zu bytes are too few to be sealed", sealed.len);
    uint8_t *to = buf_grow(out, sealed.len - SEAL_EXTRA_BYTES);
    if (!to)
        return buf_check(out, err);
    if (decrypt(s, about, sealed, to))
        return 0;
    out->len = start; /* bytes that nobody vouches for */
    return err_set(err, ERR_VERIFY,
                   "the seal is broken: bytes were changed, or the key is another");
}
