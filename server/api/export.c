/* export.c: a whole backup as one tar file (POSIX ustar): NAME.img of each partition, SHA256SUMS as sha256sum reads
 * it, manifest.json. One image is open at a time and one part of it is in memory: a slow reader costs no more. */
#include "server/api/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "usb/base/buf.h"
#include "usb/base/clock.h"
#include "usb/base/io.h"
#include "usb/base/mem.h"

enum {
    PART_BYTES = 256 * 1024,
    TAR_BLOCK = 512,
    TAR_END = 2 * TAR_BLOCK,   /* two blocks of zeros */
    TEXTS_MAX_BYTES = 1 << 20, /* manifest and sums of some sixty partitions are 20 KiB */
};

struct export
{
    struct api *api;
    struct http_call *call;
    json_t *backup;
    struct buf tail; /* what stands behind the images: SHA256SUMS, manifest.json, the end */
    size_t index;    /* of the partition that is sent */
    int fd;
    int64_t at, size_bytes;
    bool waiting, gone; /* for the store; the peer */
    uint8_t part[PART_BYTES + TAR_BLOCK];
};

static void export_free(struct export *e)
{
    fd_close(&e->fd);
    buf_deinit(&e->tail);
    json_decref(e->backup);
    api_unref(e->api);
    free(e);
}

static void export_gone(struct http_call *call, void *arg)
{
    (void)call;
    struct export *e = arg;
    e->gone = true;
    if (!e->waiting)
        export_free(e);
}

static void export_abort(struct export *e)
{
    http_stream_abort(e->call); /* the length was promised: a short body is the honest sign */
    export_free(e);
}

/* ---- tar -------------------------------------------------------------------------------------------- */

static int64_t padding(int64_t size_bytes)
{
    return (TAR_BLOCK - size_bytes % TAR_BLOCK) % TAR_BLOCK;
}

/* name 100, mode 8, uid 8, gid 8, size 12, mtime 12, checksum 8, type 1, link 100, "ustar" 6, "00" 2; numbers octal.
 * The checksum is the sum of all bytes with blanks in its own place. */
static void tar_header(const char *name, int64_t size_bytes, uint8_t *block)
{
    unsigned sum = 0;
    char *at = (char *)block;
    memset(block, 0, TAR_BLOCK);
    snprintf(at, 100, "%s", name);
    memcpy(at + 100, "0000600", 7);
    memcpy(at + 108, "0000000", 7);
    memcpy(at + 116, "0000000", 7);
    snprintf(at + 124, 12, "%011llo", (unsigned long long)size_bytes);
    snprintf(at + 136, 12, "%011llo", (unsigned long long)(clock_utc_ms() / 1000));
    memset(at + 148, ' ', 8);
    at[156] = '0';
    memcpy(at + 257, "ustar\00000", 8);
    for (size_t i = 0; i < TAR_BLOCK; i++)
        sum += block[i];
    snprintf(at + 148, 8, "%06o", sum);
}

static void append_text(struct buf *tail, const char *name, const char *text)
{
    uint8_t block[TAR_BLOCK];
    size_t len = strlen(text);
    tar_header(name, (int64_t)len, block);
    buf_put(tail, block, sizeof(block));
    buf_put(tail, text, len);
    buf_put_zeros(tail, (size_t)padding((int64_t)len));
}

static json_t *partition_at(const struct export *e, size_t index)
{
    return json_array_get(json_object_get(e->backup, "partitions"), index);
}

static void make_tail(struct export *e)
{
    char line[SHA256_HEX_BYTES + 128];
    struct buf sums;
    buf_init(&sums, TEXTS_MAX_BYTES);
    json_t *p;
    for (size_t i = 0; (p = partition_at(e, i)); i++) {
        int n = snprintf(line, sizeof(line), "%s  %s.img\n",
                         json_string_value(json_object_get(p, "sha256")),
                         json_string_value(json_object_get(p, "name")));
        buf_put(&sums, line, MIN_OF((size_t)n, sizeof(line) - 1));
    }
    buf_put_zeros(&sums, 1); /* ends the text */
    append_text(&e->tail, "SHA256SUMS", (const char *)sums.data);
    buf_deinit(&sums);
    AUTO(free_ptr) char *manifest = json_dumps(e->backup, JSON_INDENT(1));
    append_text(&e->tail, "manifest.json", manifest);
    buf_put_zeros(&e->tail, TAR_END);
}

static int64_t tar_size(const struct export *e)
{
    int64_t total = (int64_t)e->tail.len;
    json_t *p;
    for (size_t i = 0; (p = partition_at(e, i)); i++) {
        int64_t size = json_integer_value(json_object_get(p, "size"));
        total += TAR_BLOCK + size + padding(size);
    }
    return total;
}

/* ---- sending ---------------------------------------------------------------------------------------- */

static void export_next(struct http_call *call, void *arg);

/* The next part of the open image; behind its last byte zeros up to a whole block. */
static void image_more(struct http_call *call, void *arg)
{
    struct export *e = arg;
    size_t len = (size_t)MIN_OF((int64_t)PART_BYTES, e->size_bytes - e->at);
    if (len && io_pread(e->fd, e->part, len, e->at, NULL) < 0) {
        export_abort(e);
        return;
    }
    e->at += (int64_t)len;
    if (e->at < e->size_bytes) {
        http_stream_write(call, span_of(e->part, len), image_more, e);
        return;
    }
    size_t pad = (size_t)padding(e->size_bytes);
    memset(e->part + len, 0, pad);
    fd_close(&e->fd);
    e->index++;
    if (len + pad == 0)
        export_next(call, e); /* an empty image has no part to wait for */
    else
        http_stream_write(call, span_of(e->part, len + pad), export_next, e);
}

static void image_opened(void *arg, int code, const struct err *err, int fd, int64_t size_bytes)
{
    (void)err;
    struct export *e = arg;
    e->waiting = false;
    e->fd = fd;
    if (e->gone) {
        export_free(e);
        return;
    }
    if (code < 0) {
        export_abort(e);
        return;
    }
    char name[100];
    snprintf(name, sizeof(name), "%s.img",
             json_string_value(json_object_get(partition_at(e, e->index), "name")));
    e->at = 0;
    e->size_bytes = size_bytes;
    tar_header(name, size_bytes, e->part);
    http_stream_write(e->call, span_of(e->part, TAR_BLOCK), image_more, e);
}

static void export_end(struct http_call *call, void *arg)
{
    http_stream_end(call);
    export_free(arg);
}

static void export_next(struct http_call *call, void *arg)
{
    struct export *e = arg;
    json_t *p = partition_at(e, e->index);
    if (!p) {
        http_stream_write(call, buf_span(&e->tail), export_end, e);
        return;
    }
    e->waiting = true;
    store_backup_open(e->api->store, store_id(json_string_value(json_object_get(e->backup, "id"))),
                      json_string_value(json_object_get(p, "name")), image_opened, e);
}

static void export_found(void *arg, int code, const struct err *err, json_t *backup)
{
    struct ask *q = arg;
    struct err pruned;
    if (code >= 0 && !json_is_null(json_object_get(backup, "pruned_at"))) {
        code = err_set(&pruned, ERR_CONFLICT, "retention deleted the images of this backup");
        err = &pruned;
    }
    if (code < 0) {
        ask_refuse(q, err, NULL);
        ask_free(q);
        return;
    }
    struct export *e = xcalloc(1, sizeof(*e));
    e->api = q->api;
    e->api->refs++;
    e->call = q->call;
    e->fd = -1;
    e->backup = json_incref(backup);
    ask_free(q);
    buf_init(&e->tail, TEXTS_MAX_BYTES);
    make_tail(e);
    AUTO(free_ptr)
    char *name = xasprintf("attachment; filename=\"backup-%s.tar\"",
                           json_string_value(json_object_get(backup, "id")));
    http_reply_header(e->call, "Content-Disposition", name);
    if (http_stream_start(e->call, "application/x-tar", (uint64_t)tar_size(e), export_gone, e))
        export_next(e->call, e);
}

void api_backup_export(struct http_call *call, void *arg)
{
    struct api *a = arg;
    store_backup_get(a->store, store_id(http_param(call, "id")), export_found,
                     ask_new(a, call, 200, NULL));
}
