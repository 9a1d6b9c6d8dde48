/* import.c: a read-back dump, a folder of images or an exported backup becomes a backup: each identity partition is
 * compared with the hash that came with it, judged, hashed and put into the spool. What cannot restore the phone, or
 * is not what its sums say, is refused with what is wrong; nothing of it is kept. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "usb/archive/stream.h"
#include "usb/base/buf.h"
#include "usb/base/io.h"
#include "usb/base/mem.h"
#include "usb/format/dump.h"
#include "usb/format/tar.h"
#include "usb/worker/exported.h"
#include "usb/worker/runs.h"

enum { CHUNK_RAW_BYTES = 1 << 20 };
static const char file_prefix[] = "dump/";

static int input_fd(const struct host *h, const char *name)
{
    for (size_t i = 0; i < h->input_count; i++)
        if (strcmp(h->inputs[i].name, name) == 0)
            return h->inputs[i].fd;
    return -1;
}

struct import {
    struct host *h;
    struct session_host to;
    struct recipe recipe;
    char serial[32];
    uint64_t offset_bytes;   /* where in the user area the dump begins */
    struct scatter *scatter; /* NULL: none was given */
    struct packed *packed;   /* NULL: not packed */
    struct dump *dump;
    struct exported exported; /* what came with the images says of them */
    struct set_item items[RECIPE_LIST_MAX];
    size_t item_count;
    /* the partition that is being read */
    uint8_t *chunk;
    size_t chunk_len;
    struct sha256 *chunks;
    size_t chunk_count;
    struct hasher *hasher;
};

static int flush(struct import *im, struct err *err)
{
    if (im->chunk_len == 0)
        return 0;
    int rc =
        im->to.chunk(im->h, span_of(im->chunk, im->chunk_len), &im->chunks[im->chunk_count], err);
    im->chunk_count++;
    im->chunk_len = 0;
    return rc;
}

/* data NULL: a hole, as long as it is, in pieces of a chunk. */
static int sink(void *arg, const uint8_t *data, uint64_t len, struct err *err)
{
    struct import *im = arg;
    host_tick(im->h);
    while (len) {
        size_t n = CHUNK_RAW_BYTES - im->chunk_len;
        if (n > len)
            n = (size_t)len;
        if (data)
            memcpy(im->chunk + im->chunk_len, data, n);
        else
            memset(im->chunk + im->chunk_len, 0, n);
        hasher_update(im->hasher, im->chunk + im->chunk_len, n);
        im->chunk_len += n;
        if (data)
            data += n;
        len -= n;
        if (im->chunk_len == CHUNK_RAW_BYTES) {
            int rc = flush(im, err);
            if (rc < 0)
                return rc;
        }
    }
    return 0;
}

static int save(struct import *im, struct dump_part *part, const struct plausible *judged,
                struct err *err)
{
    im->chunks = xcalloc((size_t)(part->size_bytes / CHUNK_RAW_BYTES) + 1, sizeof(*im->chunks));
    im->chunk_count = im->chunk_len = 0;
    int rc = dump_read(im->dump, part, sink, im, err);
    if (rc == 0)
        rc = flush(im, err);
    const struct exported_image *told = exported_find(&im->exported, part->name);
    bool placed = told && told->placed;
    struct session_image image = {.name = part->name,
                                  .area = placed ? told->area : "USER",
                                  .offset_bytes = placed ? (uint64_t)told->offset_bytes
                                                         : part->first_lba * im->dump->sector_bytes,
                                  .size_bytes = part->size_bytes,
                                  .sha256 = hasher_finish(im->hasher),
                                  .chunks = im->chunks,
                                  .chunk_count = im->chunk_count,
                                  .plausible = judged->verdict == PLAUSIBLE_YES  ? 1
                                               : judged->verdict == PLAUSIBLE_NO ? -1
                                                                                 : 0,
                                  .reason = judged->reason};
    if (rc == 0)
        rc = im->to.partition(im->h, &image, err);
    free(im->chunks);
    im->chunks = NULL;
    return rc;
}

/* Everything of the identity set that the dump holds; what a restore needs must be whole. */
static int judge_all(struct import *im, struct err *err)
{
    for (size_t i = 0; i < im->recipe.backup_set.count; i++) {
        const char *name = im->recipe.backup_set.names[i];
        struct dump_part *part = (struct dump_part *)(uintptr_t)dump_find(im->dump, name);
        bool needed = recipe_list_has(&im->recipe.needs_backup, name);
        if (!part && !needed)
            continue;
        struct set_item *item = &im->items[im->item_count++];
        item->name = name;
        if (!part) {
            item->judged = (struct plausible){.verdict = PLAUSIBLE_NO, .why = WHY_CUT_SHORT};
            snprintf(item->judged.reason, sizeof(item->judged.reason), "%s is not in the dump",
                     name);
            continue;
        }
        int rc = dump_judge(im->dump, part, &item->judged, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int check_set(struct import *im, struct set_judgement *set, struct wire_done *done,
                     struct err *err)
{
    static const struct {
        enum set_verdict verdict;
        const char *failure;
    } refusals[] = {{SET_INCOMPLETE, "A5"},
                    {SET_AFTER_LOSS, "A4"},
                    {SET_PLACEHOLDER, "A8"},
                    {SET_OTHER_PHONE, "A2"}};
    plausible_set(im->items, im->item_count, im->serial, set);
    for (size_t i = 0; i < ARRAY_LEN(refusals); i++) {
        if (set->verdict != refusals[i].verdict)
            continue;
        WIRE_TEXT(done->failure, refusals[i].failure);
        return err_set(err, ERR_REFUSED, "%s", set->reason);
    }
    return 0;
}

static int take_params(struct import *im, const char *text, size_t len, struct err *err)
{
    json_error_t why;
    json_t *params = json_loadb(text, len, 0, &why);
    if (!params)
        return err_set(err, ERR_PROTOCOL, "parameters: %s", why.text);
    WIRE_TEXT(im->serial, json_string_value(json_object_get(params, "serial")));
    im->offset_bytes = (uint64_t)json_integer_value(json_object_get(params, "offset"));
    int rc = recipe_decode(json_object_get(params, "recipe"), &im->recipe, err);
    json_decref(params);
    return rc;
}

static int scatter_load(struct import *im, const struct scatter_section **out, struct err *err)
{
    int fd = input_fd(im->h, "scatter");
    *out = NULL;
    if (fd < 0)
        return 0;
    int64_t size = io_size(fd, err);
    if (size < 0)
        return (int)size;
    if (size > SCATTER_BYTES_MAX)
        return err_set(err, ERR_LIMIT, "the scatter file is larger than %u bytes",
                       SCATTER_BYTES_MAX);
    AUTO(free_ptr) char *text = xcalloc(1, (size_t)size + 1);
    int rc = io_pread(fd, text, (size_t)size, 0, err);
    if (rc >= 0)
        rc = scatter_parse(span_of(text, (size_t)size), &im->scatter, err);
    if (rc < 0)
        return rc;
    *out = scatter_section(im->scatter, NULL);
    return *out ? 0 : err_set(err, ERR_INPUT, "the scatter file has no section for EMMC");
}

/* ---- what came with the images -------------------------------------------------------------------------- */

static const char sums_name[] = "SHA256SUMS", manifest_name[] = "manifest.json";

struct texts {
    struct buf sums, manifest;
};

static void texts_deinit(struct texts *t)
{
    buf_deinit(&t->sums);
    buf_deinit(&t->manifest);
}

static struct buf *text_named(struct texts *t, const char *name)
{
    if (strcmp(name, sums_name) == 0)
        return &t->sums;
    return strcmp(name, manifest_name) == 0 ? &t->manifest : NULL;
}

static int text_read(struct input *in, uint64_t offset, uint64_t size, struct buf *out,
                     struct err *err)
{
    if (size == 0 || size > EXPORTED_TEXT_MAX_BYTES || out->len)
        return err_set(err, ERR_FORMAT, "%s or %s is empty, there twice or larger than %d bytes",
                       sums_name, manifest_name, EXPORTED_TEXT_MAX_BYTES);
    ssize_t n = input_read(in, buf_grow(out, (size_t)size), (size_t)size, offset, err);
    return n < 0 ? (int)n : 0;
}

/* A text that the station sent beside the images; nothing when there is none. */
static int text_of_file(struct import *im, const char *name, struct buf *out, struct err *err)
{
    int fd = input_fd(im->h, name);
    if (fd < 0)
        return 0;
    AUTO(input_close) struct input *in = input_of_fd(fd, err);
    return in ? text_read(in, 0, in->size_bytes, out, err) : ERR_INPUT;
}

/* A tar with images, its largest file being one. One with a dump in it is a packed file like others. */
static bool is_tar_of_images(struct input *in)
{
    struct tar_member member;
    char partition[GPT_NAME_BYTES];
    uint32_t number;
    uint64_t at = 0, most_bytes = 0;
    bool images = false;
    while (tar_next(in, &at, &member, NULL) > 0) {
        if (member.size_bytes < most_bytes)
            continue;
        most_bytes = member.size_bytes;
        images = dump_file_partition(member.name, partition, &number);
    }
    return images;
}

/* The dump takes `in` over. */
static int tar_open(struct import *im, struct input *in, struct texts *texts, struct err *err)
{
    struct tar_member member;
    uint64_t at = 0;
    int rc = 0;
    im->dump = dump_folder_new();
    im->dump->in = in;
    while (rc >= 0 && (rc = tar_next(in, &at, &member, err)) > 0) {
        struct buf *text = text_named(texts, member.name);
        rc = text ? text_read(in, member.offset_bytes, member.size_bytes, text, err)
                  : dump_folder_place(im->dump, member.name, member.offset_bytes, member.size_bytes,
                                      err);
    }
    return rc;
}

/* Hashes what the import will take, and changes nothing. */
static int hash_sink(void *arg, const uint8_t *data, uint64_t len, struct err *err)
{
    (void)err;
    struct import *im = arg;
    host_tick(im->h);
    if (data)
        hasher_update(im->hasher, data, (size_t)len);
    else
        hasher_zeros(im->hasher, len);
    return 0;
}

static int compare_part(struct import *im, struct dump_part *part, struct err *err)
{
    const struct exported_image *told = exported_find(&im->exported, part->name);
    if (!told && !im->exported.has_manifest)
        return 0; /* an image that somebody put beside those of the list */
    if (!told)
        return err_set(err, ERR_FORMAT, "%s.img is not named in %s", part->name, sums_name);
    int rc = dump_read(im->dump, part, hash_sink, im, err);
    struct sha256 sha256 = hasher_finish(im->hasher);
    if (rc < 0)
        return rc;
    if (!sha256_equal(&sha256, &told->sha256))
        return err_set(err, ERR_FORMAT, "%s.img is not as it was exported: %s has another hash",
                       part->name, sums_name);
    if (told->placed && (uint64_t)told->size_bytes != part->size_bytes)
        return err_set(err, ERR_FORMAT, "%s.img has another size than %s says", part->name,
                       manifest_name);
    return 0;
}

/* Before anything is judged: a damaged copy is a damaged copy, whatever it looks like. */
static int compare_all(struct import *im, struct err *err)
{
    const struct exported *e = &im->exported;
    if (e->serial[0] && strcmp(e->serial, im->serial) != 0)
        return err_set(err, ERR_MISMATCH, "the backup was exported for serial %s, not for %s",
                       e->serial, im->serial);
    for (size_t i = 0; i < e->count; i++)
        if (e->images[i].placed && !dump_find(im->dump, e->images[i].name))
            return err_set(err, ERR_FORMAT, "%s.img is named in %s and missing", e->images[i].name,
                           manifest_name);
    for (uint32_t i = 0; e->has_sums && i < im->dump->count; i++) {
        struct dump_part *part = &im->dump->parts[i];
        int rc =
            recipe_list_has(&im->recipe.backup_set, part->name) ? compare_part(im, part, err) : 0;
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* ---- opening -------------------------------------------------------------------------------------------- */

/* Files named like 13.proinfo.img, as the station sent them. */
static int folder_open(struct import *im, struct texts *texts, struct err *err)
{
    im->dump = dump_folder_new();
    int rc = text_of_file(im, sums_name, &texts->sums, err);
    if (rc == 0)
        rc = text_of_file(im, manifest_name, &texts->manifest, err);
    for (size_t i = 0; rc >= 0 && i < im->h->input_count; i++) {
        const struct host_input *from = &im->h->inputs[i];
        if (strncmp(from->name, file_prefix, sizeof(file_prefix) - 1) != 0)
            continue;
        struct input *in = host_input(im->h, input_of_fd(from->fd, err));
        rc = in ? dump_folder_add(im->dump, from->name + sizeof(file_prefix) - 1, in, err)
                : ERR_INPUT;
    }
    return rc < 0 ? rc : 0;
}

static void beat(void *arg)
{
    host_tick(arg);
}

/* Images of an archive, and what came with them. */
static int images_open(struct import *im, struct texts *texts, struct err *err)
{
    int rc = 0;
    im->dump = dump_folder_new();
    for (size_t i = 0; rc >= 0 && i < im->packed->count; i++) {
        const struct packed_file *file = &im->packed->files[i];
        const char *slash = strrchr(file->name, '/');
        struct buf *text = text_named(texts, slash ? slash + 1 : file->name);
        AUTO(input_close) struct input *in = host_input(im->h, packed_input(im->packed, i));
        rc = text ? text_read(in, 0, file->size_bytes, text, err)
                  : dump_folder_add(im->dump, file->name, STEAL(in), err);
    }
    return rc < 0 ? rc : 0;
}

/* A packed file holds a dump, or images of partitions: the largest file in it decides. */
static int packed_file_open(struct import *im, int fd, struct input **dump_out, struct texts *texts,
                            struct err *err)
{
    char partition[GPT_NAME_BYTES];
    uint32_t number;
    int rc = packed_open(fd, &im->packed, err);
    if (rc < 0)
        return rc;
    im->packed->tick = beat;
    im->packed->tick_arg = im->h;
    if (dump_file_partition(im->packed->files[im->packed->largest].name, partition, &number))
        return images_open(im, texts, err);
    *dump_out = host_input(im->h, packed_input(im->packed, im->packed->largest));
    return 0;
}

static int file_open(struct import *im, int fd, const struct dump_options *options,
                     struct texts *texts, struct err *err)
{
    struct input *in = host_input(im->h, input_of_fd(fd, err));
    if (!in)
        return ERR_INPUT;
    if (is_tar_of_images(in))
        return tar_open(im, in, texts, err);
    if (archive_recognised(fd)) {
        input_close(&in);
        int rc = packed_file_open(im, fd, &in, texts, err);
        if (rc < 0 || !in)
            return rc;
    }
    int rc = dump_open(in, options, &im->dump, err);
    if (rc < 0)
        input_close(&in);
    return rc;
}

static int source_open(struct import *im, struct err *err)
{
    AUTO(texts_deinit) struct texts texts;
    struct dump_options options = {.start_bytes = im->offset_bytes};
    buf_init(&texts.sums, EXPORTED_TEXT_MAX_BYTES);
    buf_init(&texts.manifest, EXPORTED_TEXT_MAX_BYTES);
    int rc = scatter_load(im, &options.scatter, err), fd = input_fd(im->h, "dump");
    if (rc == 0)
        rc = fd < 0 ? folder_open(im, &texts, err) : file_open(im, fd, &options, &texts, err);
    if (rc == 0)
        rc = exported_parse(buf_span(&texts.sums), buf_span(&texts.manifest), &im->exported, err);
    if (rc == 0 && im->dump->table == DUMP_FOLDER && !im->exported.has_manifest)
        dump_expect(im->dump, options.scatter); /* a manifest says what sizes and places are */
    return rc < 0 ? rc : compare_all(im, err);
}

static void tell_warnings(struct import *im)
{
    for (uint32_t i = 0; i < im->dump->warning_count; i++) {
        struct wire_message m = {.type = WIRE_note, .fd = -1};
        WIRE_TEXT(m.u.note.level, "warn");
        WIRE_TEXT(m.u.note.text, im->dump->warnings[i]);
        host_send(im->h, &m);
    }
}

static int import_dump(struct import *im, struct wire_done *done, struct err *err)
{
    int rc = source_open(im, err);
    if (rc < 0 && !im->dump)
        WIRE_TEXT(done->failure, "A6");
    if (rc < 0)
        return rc;
    tell_warnings(im);
    struct set_judgement set;
    rc = judge_all(im, err);
    if (rc == 0)
        rc = check_set(im, &set, done, err);
    bool complete = true;
    for (size_t i = 0; rc == 0 && i < im->item_count; i++) {
        struct dump_part *part =
            (struct dump_part *)(uintptr_t)dump_find(im->dump, im->items[i].name);
        if (part && part->complete)
            rc = save(im, part, &im->items[i].judged, err);
        else
            complete = false;
    }
    struct sha256 manifest;
    if (rc == 0)
        rc = im->to.manifest(im->h, im->exported.chip_id, set.serial, set_verdict_name(set.verdict),
                             complete, &manifest, err);
    return rc;
}

int run_import(struct host *h, const char *text, size_t len, struct wire_done *done,
               struct err *err)
{
    AUTO(free_ptr) struct import *im = xcalloc(1, sizeof(*im));
    im->h = h;
    im->to = host_session(h);
    int rc = take_params(im, text, len, err);
    if (rc == 0)
        rc = host_spool_begin(h, err);
    if (rc < 0)
        return rc;
    im->chunk = xcalloc(1, CHUNK_RAW_BYTES);
    im->hasher = hasher_new();
    rc = import_dump(im, done, err);
    dump_close(&im->dump);
    packed_close(&im->packed);
    scatter_free(&im->scatter);
    hasher_free(&im->hasher);
    free(im->chunk);
    return rc;
}
