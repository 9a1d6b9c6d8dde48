#include "usb/recipe/gate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "usb/base/mem.h"
#include "usb/format/roles.h"
#include "usb/format/sparse.h"
#include "usb/proto/fb.h"
#include "usb/recipe/session.h"

struct gate {
    const struct plan *plan;
    struct sha256 plan_sha256;
    char chip_id[65];   /* of the job: by the plan of a later run, else the first phone seen */
    bool chip_seen;     /* that phone was here, in this run */
    bool chip_here;     /* the phone that is attached now has shown this id */
    bool layout_here;   /* and this table */
    bool fastboot_here; /* in fastboot: its serial was the job's */
    bool backup_complete, inspected;
    bool has_backup, permitted;
    bool shut; /* another phone came: nothing more, ever */
    struct sha256 manifest;
};

struct gate *gate_new(const struct plan *plan, const struct sha256 *plan_sha256)
{
    struct gate *g = xcalloc(1, sizeof(*g));
    g->plan = plan;
    g->plan_sha256 = *plan_sha256;
    snprintf(g->chip_id, sizeof(g->chip_id), "%s", plan->chip_id);
    return g;
}

void gate_free(struct gate **g)
{
    free(*g);
    *g = NULL;
}

void gate_attached(struct gate *g)
{
    g->chip_here = g->layout_here = g->fastboot_here = false;
}

int gate_see_chip(struct gate *g, const char *chip_id, struct err *err)
{
    if (!g->chip_id[0])
        snprintf(g->chip_id, sizeof(g->chip_id), "%s", chip_id);
    if (g->shut || strcmp(g->chip_id, chip_id) != 0) {
        g->shut = true;
        return err_set(
            err, ERR_MISMATCH,
            "another phone was plugged into this port: the job is for the phone with chip "
            "id %.16s..., this one has %.16s...",
            g->chip_id, chip_id);
    }
    g->chip_here = g->chip_seen = true;
    return 0;
}

/* userdata and what follows are placed by the size of this phone's eMMC, so a scatter cannot say where. */
int gate_see_layout(struct gate *g, const struct gpt *table, struct err *err)
{
    for (size_t i = 0; i < g->plan->layout_count; i++) {
        const struct plan_extent *want = &g->plan->layout[i];
        struct extent have;
        if (gpt_lookup(table, want->name, &have, NULL) < 0)
            return err_set(err, ERR_MISMATCH,
                           "the phone has no partition %s: the package is not for "
                           "this phone, or its table is damaged",
                           want->name);
        if (want->size_bytes == 0)
            continue;
        if (have.start_bytes != want->offset_bytes || have.size_bytes != want->size_bytes)
            return err_set(
                err, ERR_MISMATCH,
                "partition %s lies at 0x%llx with 0x%llx bytes on the phone, at 0x%llx with "
                "0x%llx in the package: wrong package for this phone",
                want->name, (unsigned long long)have.start_bytes,
                (unsigned long long)have.size_bytes, (unsigned long long)want->offset_bytes,
                (unsigned long long)want->size_bytes);
    }
    g->layout_here = true;
    return 0;
}

int gate_see_fastboot_serial(struct gate *g, const char *serial, struct err *err)
{
    if (!g->chip_seen || g->shut)
        return err_set(err, ERR_REFUSED,
                       "this phone did not show its chip id on this port before it "
                       "came in fastboot");
    if (strcmp(serial, g->plan->serial) != 0) {
        g->shut = true;
        return err_set(err, ERR_MISMATCH,
                       "the phone in fastboot calls itself %.32s, the job is for %s", serial,
                       g->plan->serial);
    }
    g->fastboot_here = true;
    return 0;
}

void gate_see_backup(struct gate *g, const struct sha256 *manifest, bool complete)
{
    g->manifest = *manifest;
    g->has_backup = true;
    g->backup_complete = complete;
    g->permitted = false; /* a permit is for one backup */
}

void gate_see_inspection(struct gate *g)
{
    g->inspected = g->chip_here;
}

/* What may come from where is the role table's word, whatever recipe, package and plan say. */
static int check_role(const struct plan_write *w, struct err *err)
{
    enum role_restore source = w->write_class == PLAN_IDENTITY ? RESTORE_OWN : RESTORE_PACKAGE;
    if (role_of(w->partition)->restore != source)
        return err_set(err, ERR_REFUSED, "%s is never written from %s", w->partition,
                       source == RESTORE_OWN ? "a backup" : "a package");
    return 0;
}

/* The extent of the write is the one that was compared with the phone's own table. */
static int check_extent(const struct gate *g, const struct plan_write *w, struct err *err)
{
    for (size_t i = 0; i < g->plan->layout_count; i++) {
        const struct plan_extent *e = &g->plan->layout[i];
        if (strcmp(e->name, w->partition) == 0 && e->size_bytes == w->partition_bytes &&
            e->offset_bytes == w->offset_bytes && e->size_bytes > 0)
            return 0;
    }
    return err_set(err, ERR_REFUSED, "%s: the plan's layout has no such extent", w->partition);
}

/* The plan as a whole: one entry that may not be written spoils it before the first byte (law 3). */
static int check_plan(const struct gate *g, struct err *err)
{
    for (size_t i = 0; i < g->plan->write_count; i++) {
        int rc = check_role(&g->plan->writes[i], err);
        if (rc == 0)
            rc = check_extent(g, &g->plan->writes[i], err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int gate_permit(struct gate *g, const struct session_permit *permit, struct err *err)
{
    if (!g->has_backup || !g->backup_complete || !sha256_equal(&permit->manifest, &g->manifest))
        return err_set(err, ERR_REFUSED,
                       "the permit is for another backup than the one taken here");
    if (!sha256_equal(&permit->plan, &g->plan_sha256))
        return err_set(err, ERR_REFUSED, "the permit is for another plan");
    if (!g->chip_here || strcmp(permit->chip_id, g->chip_id) != 0)
        return err_set(err, ERR_REFUSED, "the permit is for another phone");
    int rc = check_plan(g, err);
    g->permitted = rc == 0;
    return rc;
}

bool gate_is_open(const struct gate *g)
{
    return g->permitted && !g->shut;
}

/* A write must be an entry of the plan itself, not something that looks like one. */
static int check(const struct gate *g, const struct plan_write *w, uint64_t length_bytes,
                 struct err *err)
{
    if (w < g->plan->writes || w >= g->plan->writes + g->plan->write_count)
        return err_set(err, ERR_REFUSED, "this write is not in the plan");
    if (!gate_is_open(g))
        return err_set(err, ERR_REFUSED, "%s: no permit to write this phone", w->partition);
    if (!g->inspected)
        return err_set(err, ERR_REFUSED,
                       "%s: nobody has compared this phone's version and slot with the package",
                       w->partition);
    if (length_bytes == 0 || length_bytes > w->partition_bytes)
        return err_set(err, ERR_REFUSED, "%s: %llu bytes do not fit", w->partition,
                       (unsigned long long)length_bytes);
    if (w->write_class == PLAN_IDENTITY && length_bytes != w->partition_bytes)
        return err_set(err, ERR_REFUSED, "%s: an identity image fills its partition exactly",
                       w->partition);
    return 0;
}

int gate_download(struct gate *g, const struct plan_write *w, struct da *da, uint64_t length_bytes,
                  link_source_fn *source, void *arg, struct err *err)
{
    int rc = check(g, w, length_bytes, err);
    if (rc < 0)
        return rc;
    if (!g->chip_here || !g->layout_here)
        return err_set(err, ERR_REFUSED,
                       "%s: this phone was not identified since it was plugged in", w->partition);
    return da_download(da, w->partition, w->partition_bytes, length_bytes, source, arg, err);
}

enum { PIECE_BLOCK_BYTES = 4096, SECTOR_BYTES = 512 };

/* More than the phone takes at once: sparse images of the whole partition, each with a part of the blocks. */
static int flash_pieces(struct fb *fb, const struct plan_write *w, uint64_t length_bytes,
                        uint64_t most_bytes, link_source_fn *source, void *arg, struct err *err)
{
    struct sparse_writer_options options = {
        .image_bytes = length_bytes,
        .block_bytes = length_bytes % PIECE_BLOCK_BYTES ? SECTOR_BYTES : PIECE_BLOCK_BYTES,
        .piece_bytes_max = most_bytes};
    struct sparse_writer writer;
    int rc = sparse_writer_init(&writer, &options, source, arg, err);
    for (uint32_t size; rc >= 0 && (size = sparse_writer_next(&writer)) > 0;) {
        fb->link->before_bytes = (uint64_t)writer.first_block * options.block_bytes;
        rc = fb_flash(fb, w->partition, size, sparse_writer_source, &writer, err);
    }
    fb->link->before_bytes = 0;
    return rc;
}

int gate_flash(struct gate *g, const struct plan_write *w, struct fb *fb, uint64_t length_bytes,
               link_source_fn *source, void *arg, struct err *err)
{
    uint64_t most_bytes;
    int rc = check(g, w, length_bytes, err);
    if (rc < 0)
        return rc;
    if (!g->fastboot_here)
        return err_set(err, ERR_REFUSED,
                       "%s: this phone was not identified since it was plugged in", w->partition);
    rc = fb_max_download(fb, &most_bytes, err);
    if (rc < 0)
        return rc;
    if (length_bytes > most_bytes)
        return flash_pieces(fb, w, length_bytes, most_bytes, source, arg, err);
    return fb_flash(fb, w->partition, length_bytes, source, arg, err);
}
