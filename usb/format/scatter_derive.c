/* A copy of a scatter file with other values of file_name and is_download, everything else byte by
 * byte. */
#include <stdio.h>
#include <stdlib.h>

#include "usb/base/mem.h"
#include "usb/format/scatter.h"

struct edit {
    size_t offset, len;
    const char *text;
    bool needs_blank; /* an empty value directly behind the colon */
};

struct plan {
    struct edit edits[2 * SCATTER_ENTRIES_MAX];
    size_t count;
    char images[SCATTER_ENTRIES_MAX][SCATTER_FILE_BYTES];
};

static const struct scatter_pick *pick_of(const struct scatter_section *section,
                                          const struct scatter_entry *e,
                                          const struct scatter_pick *picks, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (scatter_find(section, picks[i].name) == e)
            return &picks[i];
    return NULL;
}

static void edit_add(struct plan *p, struct span text, const struct scatter_place *at,
                     const char *value)
{
    struct span old = span_sub(text, at->offset, at->len);
    if (old.len == strlen(value) && memcmp(old.data, value, old.len) == 0)
        return;
    bool after_colon = at->len == 0 && at->offset && text.data[at->offset - 1] == ':';
    bool has_blank = after_colon && at->offset < text.len && text.data[at->offset] == ' ';
    p->edits[p->count++] =
        (struct edit){at->offset + has_blank, at->len, value, after_colon && !has_blank};
}

static int edit_by_offset(const void *a, const void *b)
{
    const struct edit *x = a, *y = b;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static int image_name(const struct scatter_pick *pick, char out[SCATTER_FILE_BYTES],
                      struct err *err)
{
    int n = pick->image ? snprintf(out, SCATTER_FILE_BYTES, "%s", pick->image)
                        : snprintf(out, SCATTER_FILE_BYTES, "%s.img", pick->name);
    if (n <= 0 || n >= SCATTER_FILE_BYTES || strpbrk(out, "/\\\r\n\t") || out[0] == ' ' ||
        out[0] == '.' || out[n - 1] == ' ' || strcmp(out, "NONE") == 0)
        return err_set(err, ERR_INPUT, "'%s' cannot be the image of '%s': a file name is needed",
                       out, pick->name);
    return 0;
}

static int plan_make(const struct scatter_section *section, struct span text,
                     const struct scatter_pick *picks, size_t pick_count, struct plan *p,
                     struct err *err)
{
    for (uint32_t i = 0; i < section->count; i++) {
        const struct scatter_entry *e = &section->entries[i];
        const struct scatter_pick *pick = pick_of(section, e, picks, pick_count);
        if (pick && (!e->file_place.line || !e->download_place.line))
            return err_set(err, ERR_FORMAT, "scatter line %u: '%s' has no %s to change", e->line,
                           e->name, e->file_place.line ? "is_download" : "file_name");
        if (e->download_place.line)
            edit_add(p, text, &e->download_place, pick ? "true" : "false");
        if (!pick)
            continue;
        int rc = image_name(pick, p->images[i], err);
        if (rc < 0)
            return rc;
        edit_add(p, text, &e->file_place, p->images[i]);
    }
    qsort(p->edits, p->count, sizeof(p->edits[0]), edit_by_offset);
    return 0;
}

static void plan_apply(const struct plan *p, struct span text, struct buf *out)
{
    size_t at = 0;
    for (size_t i = 0; i < p->count; i++) {
        const struct edit *e = &p->edits[i];
        buf_put(out, text.data + at, e->offset - at);
        if (e->needs_blank)
            buf_put_u8(out, ' ');
        buf_put(out, e->text, strlen(e->text));
        at = e->offset + e->len;
    }
    buf_put(out, text.data + at, text.len - at);
}

static bool same_but_picks(const struct scatter_entry *a, const struct scatter_entry *b)
{
    return a->index == b->index && strcmp(a->name, b->name) == 0 && a->line == b->line &&
           a->linear_start == b->linear_start && a->physical_start == b->physical_start &&
           a->size_bytes == b->size_bytes && strcmp(a->region, b->region) == 0 &&
           strcmp(a->operation_type, b->operation_type) == 0 && a->is_reserved == b->is_reserved &&
           a->boundary_check == b->boundary_check && a->is_upgradable == b->is_upgradable;
}

/* The copy, read again, must say what was asked for and nothing else. */
static int copy_check(const struct scatter *before, const struct scatter *after,
                      const struct scatter_section *edited, const struct scatter_pick *picks,
                      size_t pick_count, const struct plan *p, struct err *err)
{
    bool same = before->section_count == after->section_count;
    for (uint32_t i = 0; same && i < before->section_count; i++) {
        const struct scatter_section *a = &before->sections[i], *b = &after->sections[i];
        same = a->count == b->count;
        for (uint32_t j = 0; same && j < a->count; j++) {
            const struct scatter_entry *x = &a->entries[j], *y = &b->entries[j];
            const struct scatter_pick *pick = a == edited ? pick_of(a, x, picks, pick_count) : NULL;
            same = same_but_picks(x, y) &&
                   strcmp(y->file_name, pick ? p->images[j] : x->file_name) == 0 &&
                   y->is_download == (a == edited ? pick != NULL : x->is_download);
        }
    }
    return same ? 0 : err_set(err, ERR_INTERNAL, "the derived scatter does not say what it should");
}

static int picks_check(const struct scatter_section *section, const struct scatter_pick *picks,
                       size_t count, struct err *err)
{
    if (count == 0)
        return err_set(err, ERR_INPUT, "no partition named");
    for (size_t i = 0; i < count; i++) {
        const struct scatter_entry *e = scatter_find(section, picks[i].name);
        if (!e)
            return err_set(err, ERR_NOT_FOUND, "no partition '%s' in section %s", picks[i].name,
                           section->storage);
        if (pick_of(section, e, picks, i))
            return err_set(err, ERR_INPUT, "'%s' is named twice", picks[i].name);
    }
    return 0;
}

int scatter_derive(struct span text, const char *storage, const struct scatter_pick *picks,
                   size_t pick_count, struct buf *out, struct err *err)
{
    AUTO(scatter_free) struct scatter *before = NULL;
    AUTO(scatter_free) struct scatter *after = NULL;
    int rc = scatter_parse(text, &before, err);
    if (rc < 0)
        return rc;
    const struct scatter_section *section = scatter_section(before, storage);
    if (!section)
        return err_set(err, ERR_NOT_FOUND, "the scatter has no section for storage %s",
                       storage ? storage : "EMMC");
    AUTO(free_ptr) struct plan *p = xcalloc(1, sizeof(*p));
    rc = picks_check(section, picks, pick_count, err);
    if (rc >= 0)
        rc = plan_make(section, text, picks, pick_count, p, err);
    if (rc < 0)
        return rc;
    size_t start = out->len;
    plan_apply(p, text, out);
    rc = buf_check(out, err);
    if (rc >= 0)
        rc = scatter_parse(span_sub(buf_span(out), start, out->len), &after, err);
    if (rc >= 0)
        rc = copy_check(before, after, section, picks, pick_count, p, err);
    if (rc < 0)
        out->len = start;
    return rc;
}
