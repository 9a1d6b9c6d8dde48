#include "usb/format/dump.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "usb/base/mem.h"
#include "usb/format/sparse.h"

enum {
    TAIL_BYTES = GPT_TABLE_BYTES + 4096, /* a backup table with either sector size */
    SEARCH_BYTES = 32 << 20, /* how far into a file a table is looked for: boot areas, a header */
};

const char *dump_table_name(enum dump_table t)
{
    static const char *const names[] = {"primary", "backup", "scatter", "folder"};
    return names[t];
}

static void warn(struct dump *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void warn(struct dump *d, const char *fmt, ...)
{
    if (d->warning_count == DUMP_WARNINGS_MAX)
        return;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(d->warnings[d->warning_count++], sizeof(d->warnings[0]), fmt, ap);
    va_end(ap);
}

/* ---- finding the table ---------------------------------------------------------------------- */

/* Last bytes of the source, right-aligned meaning: *len_out bytes from the start of `tail`. */
struct tail {
    uint8_t data[TAIL_BYTES];
    size_t len;
};

static int tail_add(void *arg, const uint8_t *data, uint64_t len, struct err *err)
{
    (void)err;
    struct tail *t = arg;
    size_t add = (size_t)MIN_OF(len, (uint64_t)TAIL_BYTES);
    size_t keep = MIN_OF(t->len, TAIL_BYTES - add);
    memmove(t->data, t->data + t->len - keep, keep);
    if (data)
        memcpy(t->data + keep, data + (len - add), add);
    else
        memset(t->data + keep, 0, add);
    t->len = keep + add;
    return 0;
}

static int read_tail(struct input *in, struct tail *t, struct err *err)
{
    t->len = 0;
    uint64_t from = in->size_bytes == INPUT_SIZE_UNKNOWN || in->size_bytes < TAIL_BYTES
                        ? 0
                        : in->size_bytes - TAIL_BYTES;
    int64_t n = input_walk(in, from, (uint64_t)INT64_MAX - from, tail_add, t, err);
    return n < 0 ? (int)n : 0;
}

static int primary_at(struct dump *d, uint64_t at, struct err *err)
{
    uint8_t head[GPT_HEAD_BYTES_MAX];
    ssize_t n = input_read(d->in, head, sizeof(head), at, err);
    if (n < 0)
        return (int)n;
    int rc = gpt_probe(span_of(head, (size_t)n), &d->gpt, err);
    if (rc < 0)
        return rc;
    d->table = DUMP_PRIMARY;
    d->delta_bytes = (int64_t)at;
    return 0;
}

/* A dump of the whole chip, or one with a header of whatever size, has the user area further in. */
static int primary_search(struct dump *d, struct err *err)
{
    enum { STEP = 1 << 20, OVERLAP = 7 }; /* a signature may lie across two parts */
    AUTO(free_ptr) uint8_t *part = xcalloc(1, STEP);
    for (uint64_t base = 0; base < SEARCH_BYTES; base += STEP - OVERLAP) {
        ssize_t n = input_read(d->in, part, STEP, base, err);
        if (n < 0)
            return (int)n;
        const uint8_t *found = part, *end = part + n;
        for (; (found = memmem(found, (size_t)(end - found), "EFI PART", 8)); found++) {
            uint64_t at = base + (uint64_t)(found - part);
            if ((at >= 512 && primary_at(d, at - 512, NULL) == 0) ||
                (at >= 4096 && primary_at(d, at - 4096, NULL) == 0))
                return 0;
        }
        if (n < STEP)
            break;
    }
    return err_set(err, ERR_FORMAT, "no partition table in the first %d MiB", SEARCH_BYTES >> 20);
}

/* The backup header says where the area ends; the source ends there, too. */
static int backup_at_end(struct dump *d, struct err *err)
{
    AUTO(free_ptr) struct tail *t = xcalloc(1, sizeof(*t));
    int rc = read_tail(d->in, t, err);
    if (rc >= 0)
        rc = gpt_probe_backup(span_of(t->data, t->len), &d->gpt, err);
    if (rc < 0)
        return rc;
    uint64_t area_bytes = (d->gpt.my_lba + 1) * d->gpt.sector_bytes;
    if (area_bytes > INT64_MAX || d->in->size_bytes > INT64_MAX)
        return err_set(err, ERR_FORMAT, "the backup table names an area of %llu bytes",
                       (unsigned long long)area_bytes);
    d->table = DUMP_BACKUP;
    d->delta_bytes = (int64_t)d->in->size_bytes - (int64_t)area_bytes;
    return 0;
}

static int find_table(struct dump *d, const struct dump_options *o, struct err *err)
{
    struct err first = {0};
    if (o->start_bytes == 0) {
        if (primary_at(d, 0, &first) == 0)
            return 0;
        if (primary_search(d, NULL) == 0) {
            warn(d, "the user area begins at byte %lld of the dump", (long long)d->delta_bytes);
            return 0;
        }
        warn(d, "primary partition table: %s", first.text);
    }
    struct err second = {0};
    if (backup_at_end(d, &second) == 0) {
        if (d->delta_bytes > 0)
            warn(d, "the user area begins at byte %lld of the dump", (long long)d->delta_bytes);
        else if (d->delta_bytes != -(int64_t)o->start_bytes)
            warn(d, "the dump begins at byte %lld of the user area", -(long long)d->delta_bytes);
        return 0;
    }
    warn(d, "backup partition table: %s", second.text);
    if (!o->scatter)
        return err_set(
            err, ERR_FORMAT,
            "no partition table in the dump (primary: %s; backup: %s). If the phone's own "
            "firmware package is at hand, its scatter file can be used instead",
            first.text[0] ? first.text : "not at its start", second.text);
    int rc = scatter_to_gpt(o->scatter, 0, &d->gpt, err);
    d->table = DUMP_SCATTER;
    d->delta_bytes = -(int64_t)o->start_bytes;
    return rc;
}

/* ---- parts ---------------------------------------------------------------------------------- */

static bool name_is_safe(const char *name)
{
    size_t len = strlen(name);
    return len > 0 && len <= 36 && name[0] != '.' &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.") == len;
}

static void part_measure(const struct dump *d, struct dump_part *p)
{
    const struct input *in = p->own_input ? p->own_input : d->in;
    p->known = in->size_bytes != INPUT_SIZE_UNKNOWN;
    p->complete = p->known && p->offset_bytes >= 0 && (uint64_t)p->offset_bytes <= in->size_bytes &&
                  p->size_bytes <= in->size_bytes - (uint64_t)p->offset_bytes;
    p->there_bytes = p->complete ? p->size_bytes : 0;
    if (!p->complete && p->known && p->offset_bytes >= 0 &&
        (uint64_t)p->offset_bytes < in->size_bytes)
        p->there_bytes = in->size_bytes - (uint64_t)p->offset_bytes;
}

static void place_part(struct dump *d, const struct gpt_entry *e)
{
    struct extent x = gpt_extent(&d->gpt, e);
    struct dump_part *p = &d->parts[d->count++];
    *p = (struct dump_part){.number = e->number,
                            .first_lba = e->first_lba,
                            .last_lba = e->last_lba,
                            .size_bytes = x.size_bytes,
                            .offset_bytes = (int64_t)x.start_bytes + d->delta_bytes,
                            .safe_name = name_is_safe(e->name)};
    memcpy(p->name, e->name, sizeof(p->name));
    part_measure(d, p);
}

static void warn_missing(struct dump *d)
{
    char names[120] = "";
    uint32_t missing = 0;
    for (uint32_t i = 0; i < d->count; i++) {
        if (!d->parts[i].known || d->parts[i].complete)
            continue;
        size_t len = strlen(names);
        if (missing++ < 4)
            snprintf(names + len, sizeof(names) - len, "%s%.20s", len ? ", " : "",
                     d->parts[i].name);
    }
    if (missing)
        warn(d, "%u partitions are not (wholly) in the dump: %s%s", missing, names,
             missing > 4 ? " ..." : "");
}

static void warn_odd_places(struct dump *d)
{
    const struct gpt *g = &d->gpt;
    if (g->outside_count)
        warn(d, "%u partitions lie outside the table's usable area (entry %u '%.36s')",
             g->outside_count, g->odd_number, g->odd_name);
    if (g->left_out_count)
        warn(d, "%u entries of the table name no place on the disk and are left out (%u '%.36s')",
             g->left_out_count, g->odd_number, g->odd_name);
}

/* Offsets of a scatter are believed only when every checkable identity partition is in its place.
 */
static int scatter_fits(struct dump *d, struct err *err)
{
    static const char *const anchors[] = {"proinfo", "nvcfg", "protect1", "protect2"};
    for (size_t i = 0; i < ARRAY_LEN(anchors); i++) {
        struct dump_part *p = (struct dump_part *)dump_find(d, anchors[i]);
        struct plausible judged;
        if (!p || !(p->complete || !p->known))
            return err_set(err, ERR_MISMATCH, "%s is not in the dump at the scatter's place",
                           anchors[i]);
        int rc = dump_judge(d, p, &judged, err);
        if (rc < 0)
            return rc;
        if (judged.verdict != PLAUSIBLE_YES)
            return err_set(err, ERR_MISMATCH, "the scatter's places do not fit this dump: %s",
                           judged.reason);
    }
    return 0;
}

/* One bad name does not spoil the others: the first of a name is the one that is found. */
static void warn_names(struct dump *d)
{
    for (uint32_t i = 0; i < d->count; i++)
        for (uint32_t j = 0; j < i; j++)
            if (strcmp(d->parts[i].name, d->parts[j].name) == 0) {
                d->parts[i].safe_name = false;
                warn(d, "the table names '%.36s' twice: the second one is not taken",
                     d->parts[i].name);
            }
}

/* What is taken for a dump and is none, in words that say what to do. */
static int foreign_check(struct input *in, struct err *err)
{
    uint8_t head[4];
    ssize_t n = input_read(in, head, sizeof(head), 0, err);
    if (n < 0)
        return (int)n;
    if (n == 0)
        return err_set(err, ERR_FORMAT, "the file is empty");
    if (sparse_is(span_of(head, (size_t)n)))
        return err_set(err, ERR_FORMAT,
                       "this is an Android sparse image: unfold it first (simg2img)");
    return 0;
}

int dump_open(struct input *in, const struct dump_options *options, struct dump **out,
              struct err *err)
{
    AUTO(dump_close) struct dump *d = xcalloc(1, sizeof(*d));
    d->in = in;
    int rc = foreign_check(in, err);
    if (rc >= 0)
        rc = find_table(d, options, err);
    if (rc >= 0) {
        d->sector_bytes = d->gpt.sector_bytes;
        warn_odd_places(d);
        for (uint32_t i = 0; i < d->gpt.count; i++)
            place_part(d, &d->gpt.entries[i]);
        warn_names(d);
    }
    if (rc >= 0 && d->table == DUMP_SCATTER)
        rc = scatter_fits(d, err);
    if (rc < 0) {
        d->in = NULL; /* stays the caller's */
        return rc;
    }
    warn_missing(d);
    *out = STEAL(d);
    return 0;
}

void dump_close(struct dump **d)
{
    if (!*d)
        return;
    for (uint32_t i = 0; i < (*d)->count; i++)
        input_close(&(*d)->parts[i].own_input);
    input_close(&(*d)->in);
    free(*d);
    *d = NULL;
}

/* ---- folders -------------------------------------------------------------------------------- */

struct dump *dump_folder_new(void)
{
    struct dump *d = xcalloc(1, sizeof(*d));
    d->table = DUMP_FOLDER;
    d->sector_bytes = 512;
    return d;
}

bool dump_file_partition(const char *file_name, char out[GPT_NAME_BYTES], uint32_t *number_out)
{
    const char *from = file_name;
    uint32_t number = 0;
    for (const char *at = from; (at = strpbrk(at, "/\\")) != NULL;) /* of any system */
        from = ++at;
    size_t digits = strspn(from, "0123456789");
    if (digits > 0 && digits <= 3 && from[digits] == '.') { /* 7-Zip's 0-based place in the table */
        number = (uint32_t)strtoul(from, NULL, 10) + 1;
        from += digits + 1;
    }
    size_t len = strlen(from);
    if (len > 4 &&
        (strcasecmp(from + len - 4, ".img") == 0 || strcasecmp(from + len - 4, ".bin") == 0))
        len -= 4;
    if (len == 0 || len > 36)
        return false;
    char name[GPT_NAME_BYTES];
    for (size_t i = 0; i < len; i++) /* some file systems turn names into capitals */
        name[i] = (char)tolower((unsigned char)from[i]);
    name[len] = '\0';
    if (!name_is_safe(name) || strchr(name, '.') || role_of(name)->class == ROLE_UNKNOWN)
        return false;
    memcpy(out, name, sizeof(name));
    *number_out = number;
    return true;
}

/* 1: a new part, without a source so far. */
static int folder_part(struct dump *d, const char *file_name, uint64_t size_bytes, struct err *err)
{
    char name[GPT_NAME_BYTES] = "";
    uint32_t number;
    if (!dump_file_partition(file_name, name, &number) || d->count == GPT_ENTRIES_MAX)
        return 0;
    if (dump_find(d, name))
        return err_set(err, ERR_CONFLICT,
                       "there are two files for '%s', the second is '%s': leave only the right one",
                       name, file_name);
    if (size_bytes == INPUT_SIZE_UNKNOWN)
        return err_set(err, ERR_FORMAT,
                       "the archive does not say how large '%s' is: unpack it first", file_name);
    struct dump_part *p = &d->parts[d->count++];
    *p = (struct dump_part){.number = number, .size_bytes = size_bytes, .safe_name = true};
    memcpy(p->name, name, sizeof(p->name));
    p->last_lba = size_bytes ? size_bytes / 512 - 1 : 0; /* its place is not known */
    return 1;
}

int dump_folder_add(struct dump *d, const char *file_name, struct input *in, struct err *err)
{
    int rc = folder_part(d, file_name, in->size_bytes, err);
    if (rc <= 0) {
        input_close(&in);
        return rc;
    }
    struct dump_part *p = &d->parts[d->count - 1];
    p->own_input = in;
    part_measure(d, p);
    return 1;
}

int dump_folder_place(struct dump *d, const char *file_name, uint64_t offset_bytes,
                      uint64_t size_bytes, struct err *err)
{
    int rc = folder_part(d, file_name, size_bytes, err);
    if (rc <= 0)
        return rc;
    struct dump_part *p = &d->parts[d->count - 1];
    p->offset_bytes = (int64_t)offset_bytes;
    part_measure(d, p);
    return 1;
}

void dump_expect(struct dump *d, const struct scatter_section *section)
{
    if (!section)
        warn(d, "the sizes of the files are not checked: the scatter file of the phone's own "
                "firmware says what they must be");
    for (uint32_t i = 0; section && i < d->count; i++) {
        struct dump_part *p = &d->parts[i];
        const struct scatter_entry *e = scatter_find(section, p->name);
        uint64_t start = e ? scatter_start(section, e, 0) : UINT64_MAX;
        if (start == UINT64_MAX || role_same_name(p->name, "userdata")) /* stretched on the phone */
            continue;
        p->expected_bytes = e->size_bytes;
        p->first_lba = start / d->sector_bytes;
        p->last_lba = (start + p->size_bytes) / d->sector_bytes - 1;
    }
}

/* ---- reading -------------------------------------------------------------------------------- */

const struct dump_part *dump_find(const struct dump *d, const char *name)
{
    for (uint32_t i = 0; i < d->count; i++)
        if (strcmp(d->parts[i].name, name) == 0)
            return &d->parts[i];
    return NULL;
}

void dump_order(const struct dump *d, uint32_t order_out[GPT_ENTRIES_MAX])
{
    for (uint32_t i = 0; i < d->count; i++) {
        uint32_t j = i;
        for (; j && d->parts[order_out[j - 1]].offset_bytes > d->parts[i].offset_bytes; j--)
            order_out[j] = order_out[j - 1];
        order_out[j] = i;
    }
}

static int64_t walk_part(struct dump *d, const struct dump_part *p, input_sink_fn *sink, void *arg,
                         struct err *err)
{
    if (p->offset_bytes < 0)
        return 0;
    struct input *in = p->own_input ? p->own_input : d->in;
    return input_walk(in, (uint64_t)p->offset_bytes, p->size_bytes, sink, arg, err);
}

static void part_seen(struct dump_part *p, uint64_t there_bytes)
{
    p->known = true;
    p->there_bytes = there_bytes;
    p->complete = there_bytes == p->size_bytes;
}

static int part_incomplete(const struct dump_part *p, struct err *err)
{
    return err_set(err, ERR_FORMAT, "the dump %s %s (%llu of %llu bytes are there)",
                   p->offset_bytes < 0 ? "begins behind the start of" : "ends before the end of",
                   p->name, (unsigned long long)p->there_bytes, (unsigned long long)p->size_bytes);
}

int dump_read(struct dump *d, struct dump_part *part, input_sink_fn *sink, void *arg,
              struct err *err)
{
    if (part->known && !part->complete)
        return part_incomplete(part, err);
    int64_t n = walk_part(d, part, sink, arg, err);
    if (n < 0) {
        err_in(err, "%s", part->name);
        return (int)n;
    }
    part_seen(part, (uint64_t)n);
    if (!part->complete)
        return part_incomplete(part, err);
    return 0;
}

static int scan_sink(void *arg, const uint8_t *data, uint64_t len, struct err *err)
{
    (void)err;
    if (data)
        plausible_feed(arg, span_of(data, (size_t)len));
    else
        plausible_hole(arg, len);
    return 0;
}

int dump_judge(struct dump *d, struct dump_part *part, struct plausible *out, struct err *err)
{
    struct plausible_scan scan;
    plausible_begin(&scan, part->name, part->size_bytes, part->expected_bytes);
    if (scan.role->contents == CONTENTS_ANY) {
        if (!part->known || part->complete)
            scan.fed_bytes = part->size_bytes; /* nothing to look at: not read */
    } else {
        int64_t n = walk_part(d, part, scan_sink, &scan, err);
        if (n < 0) {
            err_in(err, "%s", part->name);
            return (int)n;
        }
        part_seen(part, (uint64_t)n);
    }
    plausible_end(&scan, out);
    return 0;
}

static int nothing(void *arg, const uint8_t *data, uint64_t len, struct err *err)
{
    (void)arg, (void)data, (void)len, (void)err;
    return 0;
}

static int stream_end_find(struct dump *d, struct err *err)
{
    uint64_t from = 0; /* the end of the last partition is behind everything that was read */
    for (uint32_t i = 0; i < d->count; i++)
        if (d->parts[i].known && d->parts[i].complete)
            from = MAX_OF(from, (uint64_t)d->parts[i].offset_bytes + d->parts[i].size_bytes);
    int64_t n = input_walk(d->in, from, (uint64_t)INT64_MAX - from, nothing, NULL, err);
    if (n < 0)
        return (int)n;
    d->in->size_bytes = from + (uint64_t)n;
    return 0;
}

int dump_measure(struct dump *d, struct err *err)
{
    bool all_known = true;
    for (uint32_t i = 0; i < d->count; i++)
        all_known &= d->parts[i].known;
    if (!d->in || all_known)
        return 0;
    int rc = d->in->size_bytes == INPUT_SIZE_UNKNOWN ? stream_end_find(d, err) : 0;
    if (rc < 0)
        return rc;
    if (d->in->cut_off)
        warn(d, "the packed file is cut off: only what stands before is there");
    for (uint32_t i = 0; i < d->count; i++)
        part_measure(d, &d->parts[i]);
    warn_missing(d);
    return 0;
}
