/* Parsing. A file is a list of lines "[indent][- ]key: value"; what a line belongs to follows from
 * the last "- partition_index:", "- storage_type:" or "- general:" before it, never from its
 * indent. */
#include "usb/format/scatter.h"

#include <ctype.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "usb/base/mem.h"
#include "usb/format/roles.h"

enum { LINE_BYTES_MAX = 4096, CTRL_Z = 0x1a /* DOS editors end a text with it */ };

struct line {
    uint32_t number;
    struct span key, value; /* no blanks around */
    size_t value_offset;    /* in the text */
};

struct parser {
    struct span text;
    size_t pos;
    uint32_t line_number;
    struct scatter *s;
    struct scatter_section *section; /* NULL before the first */
    struct scatter_entry *entry;     /* NULL outside entries */
    bool general_seen, storage_seen;
    struct scatter_section platform; /* storage and block size said before the first storage_type */
    uint32_t seen;                   /* fields of `entry`, a bit for each row of fields[] */
};

/* ---- words ---------------------------------------------------------------------------------- */

static bool span_is(struct span s, const char *text)
{
    return s.len == strlen(text) && memcmp(s.data, text, s.len) == 0;
}

static struct span trimmed(struct span s)
{
    while (s.len && (s.data[0] == ' ' || s.data[0] == '\t'))
        s = span_sub(s, 1, s.len);
    while (s.len && (s.data[s.len - 1] == ' ' || s.data[s.len - 1] == '\t'))
        s.len--;
    return s;
}

static int field_bad(const struct line *l, struct err *err, const char *what)
{
    return err_set(err, ERR_FORMAT, "scatter line %u, %.*s: '%.*s' %s", l->number,
                   (int)MIN_OF(l->key.len, (size_t)40), (const char *)l->key.data,
                   (int)MIN_OF(l->value.len, (size_t)60), (const char *)l->value.data, what);
}

static int text_value(const struct line *l, char *out, size_t max, struct err *err)
{
    if (l->value.len >= max)
        return field_bad(l, err, "is too long");
    memcpy(out, l->value.data, l->value.len);
    out[l->value.len] = '\0';
    return 0;
}

static int bool_value(const struct line *l, bool *out, struct err *err)
{
    if (!span_is(l->value, "true") && !span_is(l->value, "false"))
        return field_bad(l, err, "is neither true nor false");
    *out = l->value.data[0] == 't';
    return 0;
}

static int hex_value(const struct line *l, uint64_t *out, struct err *err)
{
    struct span v = l->value;
    if (v.len < 3 || v.len > 18 || v.data[0] != '0' || (v.data[1] | 32) != 'x')
        return field_bad(l, err, "is not a number in 0x form");
    uint64_t n = 0;
    for (size_t i = 2; i < v.len; i++) {
        int c = v.data[i];
        if (!isxdigit(c))
            return field_bad(l, err, "is not a number in 0x form");
        n = n << 4 | (uint64_t)(isdigit(c) ? c - '0' : (c | 32) - 'a' + 10);
    }
    *out = n;
    return 0;
}

static int name_value(const struct line *l, char *out, size_t max, struct err *err)
{
    if (l->value.len == 0)
        return field_bad(l, err, "is empty");
    for (size_t i = 0; i < l->value.len; i++)
        if (!isalnum(l->value.data[i]) && !memchr("_-.", l->value.data[i], 3))
            return field_bad(l, err, "is not a partition name");
    return text_value(l, out, max, err);
}

/* A name in the scatter's own folder; NONE becomes "". */
static int file_value(const struct line *l, char *out, size_t max, struct err *err)
{
    for (size_t i = 0; i < l->value.len; i++)
        if (l->value.data[i] < 0x20 || l->value.data[i] == '/' || l->value.data[i] == '\\')
            return field_bad(l, err, "is not the name of a file in the scatter's folder");
    if (span_is(l->value, "..") || span_is(l->value, "."))
        return field_bad(l, err, "is not the name of a file in the scatter's folder");
    int rc = text_value(l, out, max, err);
    if (rc >= 0 && strcmp(out, "NONE") == 0)
        out[0] = '\0';
    return rc;
}

/* ---- fields of an entry --------------------------------------------------------------------- */

enum kind { TEXT, BOOL, HEX, NAME, FILE_NAME };
enum { F_NAME, F_FILE, F_DOWNLOAD, F_LINEAR, F_PHYSICAL, F_SIZE, F_RESERVED };

#define FIELD(key, kind, member)                                                                   \
    {                                                                                              \
        key, kind, offsetof(struct scatter_entry, member),                                         \
            sizeof(((struct scatter_entry *)0)->member)                                            \
    }
static const struct field {
    const char *key;
    enum kind kind;
    size_t at, size;
} fields[] = {
    [F_NAME] = FIELD("partition_name", NAME, name),
    [F_FILE] = FIELD("file_name", FILE_NAME, file_name),
    [F_DOWNLOAD] = FIELD("is_download", BOOL, is_download),
    [F_LINEAR] = FIELD("linear_start_addr", HEX, linear_start),
    [F_PHYSICAL] = FIELD("physical_start_addr", HEX, physical_start),
    [F_SIZE] = FIELD("partition_size", HEX, size_bytes),
    [F_RESERVED] = FIELD("is_reserved", BOOL, is_reserved),
    FIELD("boundary_check", BOOL, boundary_check),
    FIELD("is_upgradable", BOOL, is_upgradable),
    FIELD("type", TEXT, type),
    FIELD("region", TEXT, region),
    FIELD("storage", TEXT, storage),
    FIELD("operation_type", TEXT, operation_type),
};

static int field_value(const struct field *f, const struct line *l, struct scatter_entry *e,
                       struct err *err)
{
    void *to = (char *)e + f->at;
    switch (f->kind) {
    case TEXT:
        return text_value(l, to, f->size, err);
    case BOOL:
        return bool_value(l, to, err);
    case HEX:
        return hex_value(l, to, err);
    case NAME:
        return name_value(l, to, f->size, err);
    case FILE_NAME:
        return file_value(l, to, f->size, err);
    }
    return 0;
}

static int entry_field(struct parser *p, const struct line *l, struct err *err)
{
    struct scatter_place place = {l->number, l->value_offset, l->value.len};
    for (uint32_t i = 0; i < ARRAY_LEN(fields); i++) {
        if (!span_is(l->key, fields[i].key))
            continue;
        if (p->seen & 1u << i)
            return field_bad(l, err, "stands here a second time");
        p->seen |= 1u << i;
        if (i == F_FILE)
            p->entry->file_place = place;
        if (i == F_DOWNLOAD)
            p->entry->download_place = place;
        return field_value(&fields[i], l, p->entry, err);
    }
    return 0; /* a key we do not know: kept, not looked at */
}

static void warn(struct scatter *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void warn(struct scatter *s, const char *fmt, ...)
{
    if (s->warning_count < SCATTER_WARNINGS_MAX) {
        char text[200];
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(text, sizeof(text), fmt, ap);
        va_end(ap);
        s->warnings[s->warning_count] = xstrdup(text);
    }
    s->warning_count++;
}

static enum scatter_operation operation_of(const char *text)
{
    static const char *const names[] = {
        [SCATTER_OP_BOOTLOADERS] = "BOOTLOADERS", [SCATTER_OP_UPDATE] = "UPDATE",
        [SCATTER_OP_PROTECTED] = "PROTECTED",     [SCATTER_OP_BINREGION] = "BINREGION",
        [SCATTER_OP_INVISIBLE] = "INVISIBLE",     [SCATTER_OP_RESERVED] = "RESERVED",
        [SCATTER_OP_NEEDRESIZE] = "NEEDRESIZE",
    };
    for (size_t i = SCATTER_OP_BOOTLOADERS; i < ARRAY_LEN(names); i++)
        if (strcmp(text, names[i]) == 0)
            return (enum scatter_operation)i;
    return SCATTER_OP_OTHER;
}

static int entry_needs(const struct parser *p, struct err *err)
{
    const struct scatter_entry *e = p->entry;
    static const int needed[] = {F_NAME, F_SIZE};
    for (size_t i = 0; i < ARRAY_LEN(needed); i++)
        if (!(p->seen & 1u << needed[i]))
            return err_set(err, ERR_FORMAT, "scatter line %u: the entry has no %s", e->line,
                           fields[needed[i]].key);
    if (!(p->seen & (1u << F_LINEAR | 1u << F_PHYSICAL)))
        return err_set(err, ERR_FORMAT, "scatter line %u: '%s' has no physical_start_addr", e->line,
                       e->name);
    return 0;
}

static bool from_the_end(const struct scatter_entry *e)
{
    return e->is_reserved && e->start_bytes >> 16 == 0xffff;
}

static bool ranges_meet(uint64_t a, uint64_t a_bytes, uint64_t b, uint64_t b_bytes)
{
    return a < b + b_bytes && b < a + a_bytes;
}

/* One of both addresses may be a placeholder: only a clash in both is one. */
static bool overlaps(const struct scatter_entry *a, const struct scatter_entry *b)
{
    return !from_the_end(a) && !from_the_end(b) && strcmp(a->region, b->region) == 0 &&
           ranges_meet(a->physical_start, a->size_bytes, b->physical_start, b->size_bytes) &&
           ranges_meet(a->linear_start, a->size_bytes, b->linear_start, b->size_bytes);
}

static int entry_fits(const struct scatter_section *section, const struct scatter_entry *e,
                      struct err *err)
{
    if (e->size_bytes > UINT64_MAX - MAX_OF(e->physical_start, e->linear_start))
        return err_set(err, ERR_FORMAT,
                       "scatter line %u: '%s' start address + partition_size is too large", e->line,
                       e->name);
    for (const struct scatter_entry *o = section->entries; o < e; o++)
        if (strcmp(o->name, e->name) == 0)
            return err_set(err, ERR_FORMAT,
                           "scatter line %u: partition_name '%s' stands on line %u already",
                           e->line, e->name, o->line);
    return 0;
}

static int entry_close(struct parser *p, struct err *err)
{
    struct scatter_entry *e = p->entry;
    if (!e)
        return 0;
    int rc = entry_needs(p, err);
    if (rc < 0)
        return rc;
    if (!(p->seen & 1u << F_PHYSICAL))
        e->physical_start = e->linear_start;
    if (!(p->seen & 1u << F_LINEAR))
        e->linear_start = e->physical_start;
    e->operation = operation_of(e->operation_type);
    if (e->size_bytes == 0)
        warn(p->s, "line %u: '%s' has size 0", e->line, e->name);
    if (e->operation == SCATTER_OP_OTHER)
        warn(p->s, "line %u: '%s' has operation_type '%s', which is not known: never written",
             e->line, e->name, e->operation_type);
    p->entry = NULL;
    return entry_fits(p->section, e, err);
}

/* ---- sections ------------------------------------------------------------------------------- */

static int section_open(struct parser *p, uint32_t line, struct err *err)
{
    if (p->s->section_count == SCATTER_SECTIONS_MAX)
        return err_set(err, ERR_FORMAT, "scatter line %u: more than %d storage sections", line,
                       SCATTER_SECTIONS_MAX);
    p->section = &p->s->sections[p->s->section_count++];
    p->section->line = line;
    p->section->entries = xcalloc(SCATTER_ENTRIES_MAX, sizeof(struct scatter_entry));
    return 0;
}

/* n of "SYSn", -1 for other texts. */
static int index_of(const char *text)
{
    size_t digits = strncmp(text, "SYS", 3) == 0 ? strspn(text + 3, "0123456789") : 0;
    if (digits == 0 || digits > 4 || text[3 + digits])
        return -1;
    return (int)strtol(text + 3, NULL, 10);
}

static int entry_open(struct parser *p, const struct line *l, struct err *err)
{
    int rc = entry_close(p, err);
    if (rc >= 0 && !p->section)
        rc = section_open(p, l->number, err);
    if (rc < 0)
        return rc;
    if (p->section->count == SCATTER_ENTRIES_MAX)
        return err_set(err, ERR_FORMAT, "scatter line %u: more than %d partitions", l->number,
                       SCATTER_ENTRIES_MAX);
    p->entry = &p->section->entries[p->section->count++];
    p->entry->line = l->number;
    p->seen = 0;
    char text[16] = "";
    rc = text_value(l, text, sizeof(text), err);
    if (rc < 0)
        return rc;
    p->entry->index = index_of(text);
    if (p->entry->index < 0)
        warn(p->s, "line %u: partition_index '%s' is not SYSn", l->number, text);
    return 0;
}

/* Some V2 files say storage and block size in the platform block, as V1 files do, and have sections
 * all the same: what looked like the one section of a V1 file is the head of the one it names. */
static void platform_take(struct parser *p)
{
    if (!p->section || p->section->count || p->s->section_count != 1 || p->storage_seen)
        return;
    p->platform = *p->section;
    free(p->platform.entries);
    p->platform.entries = NULL;
    *p->section = (struct scatter_section){0};
    p->section = NULL;
    p->s->section_count = 0;
}

static int storage_open(struct parser *p, const struct line *l, struct err *err)
{
    int rc = entry_close(p, err);
    platform_take(p);
    p->storage_seen = true;
    if (rc >= 0)
        rc = section_open(p, l->number, err);
    if (rc < 0)
        return rc;
    for (uint32_t i = 0; i + 1 < p->s->section_count; i++)
        if (span_is(l->value, p->s->sections[i].storage))
            return field_bad(l, err, "has a section already");
    if (span_is(l->value, p->platform.storage)) {
        p->section->block_bytes = p->platform.block_bytes;
        memcpy(p->section->boot_channel, p->platform.boot_channel,
               sizeof(p->platform.boot_channel));
    }
    return text_value(l, p->section->storage, sizeof(p->section->storage), err);
}

/* Lines outside entries: the general block, and the head of a storage section. */
static int general_field(struct parser *p, const struct line *l, struct err *err)
{
    struct scatter *s = p->s;
    if (span_is(l->key, "config_version"))
        return text_value(l, s->config_version, sizeof(s->config_version), err);
    if (span_is(l->key, "platform"))
        return text_value(l, s->platform, sizeof(s->platform), err);
    if (span_is(l->key, "project"))
        return text_value(l, s->project, sizeof(s->project), err);
    bool is_storage = span_is(l->key, "storage"), is_block = span_is(l->key, "block_size");
    if (!is_storage && !is_block && !span_is(l->key, "boot_channel"))
        return 0;
    int rc = p->section ? 0 : section_open(p, l->number, err);
    if (rc < 0)
        return rc;
    struct scatter_section *section = p->section;
    if (is_storage)
        return text_value(l, section->storage, sizeof(section->storage), err);
    if (is_block)
        return hex_value(l, &section->block_bytes, err);
    return text_value(l, section->boot_channel, sizeof(section->boot_channel), err);
}

static int take_line(struct parser *p, const struct line *l, struct err *err)
{
    if (span_is(l->key, "partition_index"))
        return entry_open(p, l, err);
    if (span_is(l->key, "storage_type"))
        return storage_open(p, l, err);
    if (span_is(l->key, "general")) {
        p->general_seen = true;
        return entry_close(p, err);
    }
    return p->entry ? entry_field(p, l, err) : general_field(p, l, err);
}

/* ---- lines ---------------------------------------------------------------------------------- */

/* Blank lines, comments, and what YAML or an editor draws: "---", "...", "=====". */
static bool says_nothing(struct span body)
{
    size_t same = 0;
    while (same < body.len && body.data[same] == body.data[0])
        same++;
    return body.len == 0 || body.data[0] == '#' ||
           (same == body.len && same >= 3 && memchr("-.=*_", body.data[0], 5));
}

/* The next line that says something: 1, or 0 at the end. */
static int next_line(struct parser *p, struct line *out, struct err *err)
{
    while (p->pos < p->text.len) {
        struct span rest = span_sub(p->text, p->pos, p->text.len);
        const uint8_t *end = memchr(rest.data, '\n', rest.len);
        struct span raw = span_sub(rest, 0, end ? (size_t)(end - rest.data) : rest.len);
        p->pos += raw.len + (end != NULL);
        p->line_number++;
        if (raw.len && raw.data[raw.len - 1] == CTRL_Z)
            raw.len--;
        if (raw.len && raw.data[raw.len - 1] == '\r')
            raw.len--;
        if (raw.len > LINE_BYTES_MAX || (raw.len && memchr(raw.data, 0, raw.len)))
            return err_set(err, ERR_FORMAT, "scatter line %u is not text", p->line_number);
        struct span body = trimmed(raw);
        if (says_nothing(body))
            continue;
        if (body.len > 1 && body.data[0] == '-' && (body.data[1] == ' ' || body.data[1] == '\t'))
            body = trimmed(span_sub(body, 1, body.len));
        const uint8_t *colon = memchr(body.data, ':', body.len);
        if (!colon)
            return err_set(err, ERR_FORMAT, "scatter line %u: '%.*s' is not of the form key: value",
                           p->line_number, (int)MIN_OF(body.len, (size_t)40),
                           (const char *)body.data);
        size_t key_len = (size_t)(colon - body.data);
        out->number = p->line_number;
        out->key = trimmed(span_sub(body, 0, key_len));
        out->value = trimmed(span_sub(body, key_len + 1, body.len));
        out->value_offset = (size_t)(out->value.data - p->text.data);
        return 1;
    }
    return 0;
}

/* Old files (V1.1.1 of MT6572) have physical_start_addr 0x0 everywhere: there linear_start_addr is
 * the place. In files that have both, linear may count the boot region, too. */
static bool physical_is_silent(const struct scatter_section *section, const char *region)
{
    uint32_t entries = 0;
    for (uint32_t i = 0; i < section->count; i++) {
        const struct scatter_entry *e = &section->entries[i];
        if (strcmp(e->region, region) != 0)
            continue;
        if (e->physical_start != 0)
            return false;
        entries++;
    }
    return entries > 1;
}

static void places_choose(struct scatter *s, struct scatter_section *section)
{
    for (uint32_t i = 0; i < section->count; i++) {
        struct scatter_entry *e = &section->entries[i];
        e->start_bytes =
            physical_is_silent(section, e->region) ? e->linear_start : e->physical_start;
    }
    const struct scatter_entry *a, *b;
    if (scatter_overlap(section, &a, &b))
        warn(s, "line %u: '%s' overlaps '%s' of line %u: nothing is written by this file", b->line,
             b->name, a->name, a->line);
}

static int check_whole(struct scatter *s, bool general_seen, struct err *err)
{
    if (!general_seen)
        return err_set(err, ERR_FORMAT, "not a scatter file: no general block");
    if (!s->platform[0])
        return err_set(err, ERR_FORMAT, "scatter file: the general block has no platform");
    if (strncmp(s->config_version, "V1.", 3) != 0 && strncmp(s->config_version, "V2.", 3) != 0)
        return err_set(err, ERR_UNSUPPORTED,
                       "scatter file: config_version '%s' is not known (V1.x and V2.x are)",
                       s->config_version);
    uint32_t entries = 0;
    for (uint32_t i = 0; i < s->section_count; i++)
        entries += s->sections[i].count;
    if (entries == 0)
        return err_set(err, ERR_FORMAT, "scatter file: no partitions");
    for (uint32_t i = 0; i < s->section_count; i++)
        places_choose(s, &s->sections[i]);
    return 0;
}

int scatter_parse(struct span text, struct scatter **out, struct err *err)
{
    if (text.len > SCATTER_BYTES_MAX)
        return err_set(err, ERR_LIMIT, "scatter file is larger than %u bytes", SCATTER_BYTES_MAX);
    AUTO(scatter_free) struct scatter *s = xcalloc(1, sizeof(*s));
    struct parser p = {.text = text, .s = s};
    if (text.len >= 3 && memcmp(text.data, "\xef\xbb\xbf", 3) == 0)
        p.pos = 3;
    struct line l;
    int rc;
    while ((rc = next_line(&p, &l, err)) > 0)
        if ((rc = take_line(&p, &l, err)) < 0)
            break;
    if (rc >= 0)
        rc = entry_close(&p, err);
    if (rc >= 0)
        rc = check_whole(s, p.general_seen, err);
    if (rc < 0)
        return rc;
    *out = STEAL(s);
    return 0;
}

void scatter_free(struct scatter **s)
{
    if (!*s)
        return;
    for (uint32_t i = 0; i < (*s)->section_count; i++)
        free((*s)->sections[i].entries);
    for (uint32_t i = 0; i < SCATTER_WARNINGS_MAX; i++)
        free((*s)->warnings[i]);
    free(*s);
    *s = NULL;
}

/* ---- questions ------------------------------------------------------------------------------ */

const struct scatter_section *scatter_section(const struct scatter *s, const char *storage)
{
    for (uint32_t i = 0; i < s->section_count; i++)
        if (strcasecmp(s->sections[i].storage, storage ? storage : "EMMC") == 0)
            return &s->sections[i];
    return !storage && s->section_count == 1 ? &s->sections[0] : NULL;
}

const struct scatter_entry *scatter_find(const struct scatter_section *section, const char *name)
{
    const struct scatter_entry *alike = NULL;
    uint32_t count = 0;
    for (uint32_t i = 0; i < section->count; i++) {
        const struct scatter_entry *e = &section->entries[i];
        if (strcmp(e->name, name) == 0)
            return e;
        if (role_same_name(e->name, name) && ++count == 1)
            alike = e;
    }
    return count == 1 ? alike : NULL;
}

bool scatter_overlap(const struct scatter_section *section, const struct scatter_entry **first_out,
                     const struct scatter_entry **second_out)
{
    for (uint32_t i = 0; i < section->count; i++)
        for (uint32_t j = 0; j < i; j++)
            if (overlaps(&section->entries[j], &section->entries[i])) {
                *first_out = &section->entries[j];
                *second_out = &section->entries[i];
                return true;
            }
    return false;
}

enum { SGPT_BYTES_DEFAULT = 0x4200 }; /* 33 sectors */

uint64_t scatter_start(const struct scatter_section *section, const struct scatter_entry *e,
                       uint64_t user_bytes)
{
    if (!from_the_end(e))
        return e->start_bytes;
    const struct scatter_entry *sgpt = scatter_find(section, "sgpt");
    uint64_t sgpt_bytes = sgpt && sgpt->size_bytes ? sgpt->size_bytes : SGPT_BYTES_DEFAULT;
    uint64_t back = (e->start_bytes & 0xffff) * section->block_bytes;
    if (user_bytes == 0 || section->block_bytes > UINT32_MAX || back > user_bytes ||
        sgpt_bytes > user_bytes - back)
        return UINT64_MAX;
    return user_bytes - sgpt_bytes - back;
}

static bool in_gpt(const struct scatter_entry *e)
{
    static const char *const not_there[] = {"preloader", "preloader2", "pgpt", "sgpt"};
    for (size_t i = 0; i < ARRAY_LEN(not_there); i++)
        if (role_same_name(e->name, not_there[i]))
            return false;
    return strstr(e->region, "BOOT") == NULL && strcmp(e->region, "UFS_LU0_LU1") != 0;
}

int scatter_to_gpt(const struct scatter_section *section, uint64_t user_bytes, struct gpt *out,
                   struct err *err)
{
    uint32_t sector = strcasecmp(section->storage, "UFS") == 0 ? 4096 : 512;
    AUTO(free_ptr) struct gpt *made = xcalloc(1, sizeof(*made));
    made->sector_bytes = sector;
    for (uint32_t i = 0; i < section->count; i++) {
        const struct scatter_entry *e = &section->entries[i];
        uint64_t start = scatter_start(section, e, user_bytes);
        if (!in_gpt(e) || e->size_bytes < sector || start == UINT64_MAX)
            continue;
        struct gpt_entry *g = &made->entries[made->count++];
        g->number = e->index > 1 ? (uint32_t)e->index - 1 : made->count;
        memcpy(g->type_guid, GPT_TYPE_DATA, sizeof(g->type_guid));
        snprintf(g->name, sizeof(g->name), "%s", e->name);
        g->first_lba = start / sector;
        g->last_lba = (start + e->size_bytes) / sector - 1;
    }
    if (made->count == 0)
        return err_set(err, ERR_FORMAT, "scatter section '%s' names no place of any partition",
                       section->storage);
    *out = *made;
    return 0;
}

int scatter_matches_gpt(const struct scatter_section *section, const struct gpt *table,
                        struct err *err)
{
    for (uint32_t i = 0; i < section->count; i++) {
        const struct scatter_entry *e = &section->entries[i];
        if (!in_gpt(e))
            continue;
        if (role_same_name(e->name, "userdata"))
            return 0; /* stretched on the phone; behind it only reserved places */
        const struct gpt_entry *g = gpt_find(table, e->name);
        if (!g)
            return err_set(err, ERR_MISMATCH, "the phone has no partition '%s'", e->name);
        struct extent x = gpt_extent(table, g);
        if (!e->is_reserved && (x.start_bytes != e->start_bytes || x.size_bytes != e->size_bytes))
            return err_set(err, ERR_MISMATCH,
                           "'%s' is %llu bytes at %llu in the table, %llu at %llu in the scatter",
                           e->name, (unsigned long long)x.size_bytes,
                           (unsigned long long)x.start_bytes, (unsigned long long)e->size_bytes,
                           (unsigned long long)e->start_bytes);
    }
    return 0;
}
