#include "usb/base/sign.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "usb/base/io.h"
#include "usb/base/mem.h"

enum { KEY_FILE_MAX_BYTES = 4096 };

struct signer {
    EVP_PKEY *key;
    struct sign_key public_key;
};

static void pkey_free(EVP_PKEY **key)
{
    EVP_PKEY_free(*key);
}

static void bio_free(BIO **bio)
{
    BIO_free(*bio);
}

static void md_ctx_free(EVP_MD_CTX **ctx)
{
    EVP_MD_CTX_free(*ctx);
}

/* Memory is all that can be missing here. */
static void must(int ok)
{
    if (ok != 1)
        abort();
}

/* ---- the file --------------------------------------------------------------------------------------- */

static int key_load(const char *path, int fd, EVP_PKEY **out, struct err *err)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return err_sys(err, ERR_IO, "look at '%s'", path);
    if (st.st_mode & (S_IRWXG | S_IRWXO))
        return err_set(
            err, ERR_REFUSED,
            "'%s' is the station's private key and others can read it: take their rights away "
            "(chmod 600), or remove it if it was copied, and start once with --new-station-key",
            path);
    char text[KEY_FILE_MAX_BYTES];
    if (st.st_size > (off_t)sizeof(text))
        return err_set(err, ERR_FORMAT, "'%s' is too large for a key", path);
    int rc = io_pread(fd, text, (size_t)st.st_size, 0, err);
    if (rc < 0)
        return rc;
    AUTO(bio_free) BIO *bio = BIO_new_mem_buf(text, (int)st.st_size);
    must(bio != NULL);
    AUTO(pkey_free) EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, NULL, (void *)"");
    if (!key || EVP_PKEY_id(key) != EVP_PKEY_ED25519)
        return err_set(
            err, ERR_FORMAT,
            "'%s' holds no Ed25519 key: put the station's key back, or remove the file and start "
            "once with --new-station-key",
            path);
    *out = STEAL(key);
    return 0;
}

static int write_durably(int dir, int fd, const char *part, const char *name, struct span text,
                         struct err *err)
{
    int rc = io_write(fd, text.data, text.len, err);
    if (rc < 0)
        return rc;
    if (fsync(fd) < 0 || renameat(dir, part, dir, name) < 0 || fsync(dir) < 0)
        return err_sys(err, ERR_DISK, "write '%s'", name);
    return 0;
}

/* Whole under its name, or not there: a key that is cut off would end a station's chain. */
static int key_save(const char *path, EVP_PKEY *key, struct err *err)
{
    AUTO(bio_free) BIO *bio = BIO_new(BIO_s_mem());
    must(bio != NULL);
    must(PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL));
    char *text = NULL;
    long len = BIO_get_mem_data(bio, &text);
    AUTO(free_ptr) char *dir_copy = xstrdup(path);
    AUTO(free_ptr) char *base_copy = xstrdup(path);
    const char *name = basename(base_copy);
    AUTO(free_ptr) char *part = xasprintf("%s.part", name);
    AUTO(fd_close) int dir = open(dirname(dir_copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return err_sys(err, ERR_DISK, "open the folder of '%s'", path);
    AUTO(fd_close)
    int fd = openat(dir, part, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_sys(err, ERR_DISK, "create '%s'", part);
    return write_durably(dir, fd, part, name, span_of(text, (size_t)len), err);
}

static int key_make(const char *path, EVP_PKEY **out, struct err *err)
{
    AUTO(pkey_free) EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    if (!key)
        return err_set(err, ERR_INTERNAL, "OpenSSL makes no Ed25519 key");
    int rc = key_save(path, key, err);
    if (rc < 0)
        return rc;
    *out = STEAL(key);
    return 0;
}

int signer_open(const char *path, struct signer **out, struct err *err)
{
    AUTO(pkey_free) EVP_PKEY *key = NULL;
    AUTO(fd_close) int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno != ENOENT)
        return err_sys(err, ERR_IO, "open the station's key '%s'", path);
    int rc = fd < 0 ? key_make(path, &key, err) : key_load(path, fd, &key, err);
    if (rc < 0)
        return rc;
    struct signer *s = xcalloc(1, sizeof(*s));
    size_t len = SIGN_KEY_BYTES;
    must(EVP_PKEY_get_raw_public_key(key, s->public_key.bytes, &len));
    s->key = STEAL(key);
    *out = s;
    return 0;
}

void signer_free(struct signer **s)
{
    if (!*s)
        return;
    EVP_PKEY_free((*s)->key);
    free(*s);
    *s = NULL;
}

/* ---- signing and checking ----------------------------------------------------------------------------- */

struct sign_key signer_public(const struct signer *s)
{
    return s->public_key;
}

struct signature signer_sign(const struct signer *s, struct span message)
{
    struct signature out;
    size_t len = sizeof(out.bytes);
    AUTO(md_ctx_free) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    must(ctx != NULL);
    must(EVP_DigestSignInit(ctx, NULL, NULL, NULL, s->key));
    must(EVP_DigestSign(ctx, out.bytes, &len, message.data, message.len));
    return out;
}

bool sign_check(const struct sign_key *key, struct span message, const struct signature *signature)
{
    AUTO(pkey_free)
    EVP_PKEY *pkey =
        EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, key->bytes, sizeof(key->bytes));
    AUTO(md_ctx_free) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    must(ctx != NULL);
    return pkey && EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, pkey) == 1 &&
           EVP_DigestVerify(ctx, signature->bytes, sizeof(signature->bytes), message.data,
                            message.len) == 1;
}

struct sha256 sign_fingerprint(const struct sign_key *key)
{
    return sha256_of(span_of(key->bytes, sizeof(key->bytes)));
}

static bool parse(const char *hex, uint8_t *out, size_t size)
{
    return hex && strlen(hex) == 2 * size && hex_decode(hex, out, size) == (ptrdiff_t)size;
}

bool sign_key_parse(const char *hex, struct sign_key *out)
{
    return parse(hex, out->bytes, sizeof(out->bytes));
}

bool signature_parse(const char *hex, struct signature *out)
{
    return parse(hex, out->bytes, sizeof(out->bytes));
}
