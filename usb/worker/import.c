/* import.c: a read-back dump becomes a backup: each identity partition is judged, hashed and put into the spool.
 * A dump that cannot restore the phone is refused with what is missing; nothing of it is kept. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "usb/archive/stream.h"
#include "usb/base/io.h"
#include "usb/base/mem.h"
#include "usb/format/dump.h"
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
    struct dump *dump;
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
    struct session_image image = {.name = part->name,
                                  .area = "USER",
                                  .offset_bytes = part->first_lba * im->dump->sector_bytes,
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
            snprintf(item->judged.reason, sizeof(item->judged.reason), "not in the dump");
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

/* Files named like 13.proinfo.img, as the station sent them. */
static int folder_open(struct import *im, const struct scatter_section *section, struct err *err)
{
    im->dump = dump_folder_new();
    for (size_t i = 0; i < im->h->input_count; i++) {
        const struct host_input *from = &im->h->inputs[i];
        if (strncmp(from->name, file_prefix, sizeof(file_prefix) - 1) != 0)
            continue;
        struct input *in = host_input(im->h, input_of_fd(from->fd, err));
        int rc = in ? dump_folder_add(im->dump, from->name + sizeof(file_prefix) - 1, in, err)
                    : ERR_INPUT;
        if (rc < 0)
            return rc;
    }
    dump_expect(im->dump, section);
    return 0;
}

static int source_open(struct import *im, struct err *err)
{
    struct dump_options options = {.start_bytes = im->offset_bytes};
    int rc = scatter_load(im, &options.scatter, err), fd = input_fd(im->h, "dump");
    if (rc < 0 || fd < 0)
        return rc < 0 ? rc : folder_open(im, options.scatter, err);
    struct input *in = NULL;
    rc = archive_or_file_open(fd, &in, err);
    if (rc < 0)
        return rc;
    in = host_input(im->h, in);
    rc = dump_open(in, &options, &im->dump, err);
    if (rc < 0)
        input_close(&in);
    return rc;
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
    if (rc < 0) {
        WIRE_TEXT(done->failure, "A6");
        return rc;
    }
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
        rc = im->to.manifest(im->h, "", set.serial, set_verdict_name(set.verdict), complete,
                             &manifest, err);
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
    scatter_free(&im->scatter);
    hasher_free(&im->hasher);
    free(im->chunk);
    return rc;
}
