#include "usb/archive/chunk.h"

#include <pthread.h>
#include <stdlib.h>
#include <zstd.h>

/* Level 1: nvram-like data shrinks as well as at level 3, at twice the speed; a backup waits for
 * nobody. */
enum { LEVEL = 1 };

struct tools {
    ZSTD_CCtx *pack;
    ZSTD_DCtx *unpack;
};
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key;

static void tools_free(void *p)
{
    struct tools *t = p;
    ZSTD_freeCCtx(t->pack);
    ZSTD_freeDCtx(t->unpack);
    free(t);
}

static void main_tools_free(void)
{
    void *t = pthread_getspecific(key); /* thread destructors do not run for the thread of exit() */
    if (t)
        tools_free(t);
}

static void key_make(void)
{
    if (pthread_key_create(&key, tools_free) != 0)
        abort();
    atexit(main_tools_free);
}

static struct tools *tools_get(struct err *err)
{
    pthread_once(&once, key_make);
    struct tools *t = pthread_getspecific(key);
    if (t)
        return t;
    t = calloc(1, sizeof(*t));
    if (t) {
        t->pack = ZSTD_createCCtx();
        t->unpack = ZSTD_createDCtx();
    }
    if (!t || !t->pack || !t->unpack || pthread_setspecific(key, t) != 0) {
        if (t)
            tools_free(t);
        err_set(err, ERR_LIMIT, "no memory to pack a chunk");
        return NULL;
    }
    return t;
}

void chunk_forget(void)
{
    pthread_once(&once, key_make);
    void *t = pthread_getspecific(key);
    if (t && pthread_setspecific(key, NULL) == 0)
        tools_free(t);
}

int chunk_compress(struct span raw, struct buf *out, struct err *err)
{
    if (raw.len == 0 || raw.len > CHUNK_BYTES)
        return err_set(err, ERR_INTERNAL, "chunk of %zu bytes", raw.len);
    struct tools *t = tools_get(err);
    if (!t)
        return ERR_LIMIT;
    size_t start = out->len, bound = ZSTD_compressBound(raw.len);
    uint8_t *to = buf_grow(out, bound);
    if (!to)
        return buf_check(out, err);
    size_t n = ZSTD_compressCCtx(t->pack, to, bound, raw.data, raw.len, LEVEL);
    out->len = start;
    if (ZSTD_isError(n))
        return err_set(err, ERR_INTERNAL, "pack a chunk: %s", ZSTD_getErrorName(n));
    out->len = start + n;
    return 0;
}

int chunk_decompress(struct span packed, size_t raw_bytes, struct buf *out, struct err *err)
{
    if (raw_bytes == 0 || raw_bytes > CHUNK_BYTES || packed.len > CHUNK_PACKED_MAX)
        return err_set(err, ERR_FORMAT, "chunk of %zu bytes, packed %zu", raw_bytes, packed.len);
    struct tools *t = tools_get(err);
    if (!t)
        return ERR_LIMIT;
    size_t start = out->len;
    uint8_t *to = buf_grow(out, raw_bytes);
    if (!to)
        return buf_check(out, err);
    size_t n = ZSTD_decompressDCtx(t->unpack, to, raw_bytes, packed.data, packed.len);
    out->len = start;
    if (ZSTD_isError(n))
        return err_set(err, ERR_FORMAT, "unpack a chunk: %s", ZSTD_getErrorName(n));
    if (n != raw_bytes)
        return err_set(err, ERR_FORMAT, "chunk holds %zu bytes, %zu expected", n, raw_bytes);
    out->len = start + n;
    return 0;
}
