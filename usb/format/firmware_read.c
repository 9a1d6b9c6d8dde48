#include "usb/format/firmware_read.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "usb/base/mem.h"
#include "usb/format/sparse.h"

enum { LIST_BYTES_MAX = 1 << 20, SUMS_MAX = 1024 };

struct sums {
    uint32_t count;
    struct checksum_line lines[SUMS_MAX];
    const struct firmware_file *files[SUMS_MAX]; /* what each line is about; NULL: not there */
};

const char *firmware_base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* ---- checksum lists ------------------------------------------------------------------------- */

static bool is_checksum_list(const struct firmware_file *file)
{
    char name[FIRMWARE_NAME_BYTES];
    snprintf(name, sizeof(name), "%s", firmware_base_name(file->name));
    for (char *p = name; *p; p++)
        *p = (char)tolower((unsigned char)*p);
    const char *dot = strrchr(name, '.');
    if (file->size_bytes == 0 || file->size_bytes > LIST_BYTES_MAX)
        return false;
    return strcmp(name, "checksum.ini") == 0 || strncmp(name, "md5sum", 6) == 0 ||
           strncmp(name, "sha256sum", 9) == 0 || (dot && strcmp(dot, ".md5") == 0) ||
           (dot && strcmp(dot, ".txt") == 0 && strstr(name, "md5"));
}

/* A file by its whole name: in the package, or as seen from the list's folder. */
static const struct firmware_file *file_by_path(const struct firmware *f, const char *list,
                                                const char *name)
{
    int folder = (int)(firmware_base_name(list) - list);
    char beside[2 * FIRMWARE_NAME_BYTES];
    snprintf(beside, sizeof(beside), "%.*s%s", folder, list, name);
    for (uint32_t i = 0; i < f->file_count; i++)
        if (strcasecmp(f->files[i].name, beside) == 0)
            return &f->files[i];
    for (uint32_t i = 0; i < f->file_count; i++)
        if (strcasecmp(f->files[i].name, name) == 0)
            return &f->files[i];
    return NULL;
}

static void list_parse(struct firmware *f, const char *name, struct span text, struct sums *sums)
{
    uint32_t before = sums->count;
    while (text.len && sums->count < SUMS_MAX) {
        const uint8_t *end = memchr(text.data, '\n', text.len);
        size_t len = end ? (size_t)(end - text.data) : text.len;
        if (checksum_line_parse(span_sub(text, 0, len), &sums->lines[sums->count])) {
            sums->files[sums->count] = file_by_path(f, name, sums->lines[sums->count].name);
            sums->count++;
        }
        text = span_sub(text, len + 1, text.len);
    }
    if (sums->count == before)
        firmware_problem(f, FIRMWARE_WARNING, "checksum_list_unknown", name,
                         "nothing to do: the images are checked by their own contents",
                         "'%s' holds no MD5 or SHA-256 sums", name);
}

/* Lists made elsewhere name other folders: then the last part of the name decides, if it is that of
 * one line of its kind and of one file only. */
static const struct firmware_file *file_by_base_name(const struct firmware *f,
                                                     const struct sums *sums,
                                                     const struct checksum_line *line)
{
    const char *base = firmware_base_name(line->name);
    const struct firmware_file *found = NULL;
    uint32_t files = 0, lines = 0;
    for (uint32_t i = 0; i < f->file_count; i++)
        if (strcasecmp(firmware_base_name(f->files[i].name), base) == 0) {
            found = &f->files[i];
            files++;
        }
    for (uint32_t i = 0; i < sums->count; i++)
        lines += strlen(sums->lines[i].digest) == strlen(line->digest) &&
                 strcasecmp(firmware_base_name(sums->lines[i].name), base) == 0;
    return files == 1 && lines == 1 ? found : NULL;
}

static int lists_read(struct firmware *f, const struct firmware_source *source, struct sums *sums,
                      struct err *err)
{
    for (uint32_t i = 0; i < f->file_count; i++) {
        const struct firmware_file *file = &f->files[i];
        if (!is_checksum_list(file))
            continue;
        AUTO(input_close) struct input *in = NULL;
        int rc = firmware_open(source, file->name, &in, err);
        if (rc < 0)
            return rc;
        AUTO(free_ptr) uint8_t *text = xcalloc(1, LIST_BYTES_MAX);
        ssize_t n = input_read(in, text, LIST_BYTES_MAX, 0, err);
        if (n < 0)
            return (int)n;
        list_parse(f, file->name, span_of(text, (size_t)n), sums);
    }
    for (uint32_t i = 0; i < sums->count; i++)
        if (!sums->files[i])
            sums->files[i] = file_by_base_name(f, sums, &sums->lines[i]);
    return 0;
}

static const struct checksum_line *sum_of(const struct sums *sums, const struct firmware_file *file,
                                          size_t digits)
{
    for (uint32_t i = 0; i < sums->count; i++)
        if (strlen(sums->lines[i].digest) == digits && sums->files[i] == file)
            return &sums->lines[i];
    return NULL;
}

static void sums_missing_files(struct firmware *f, const struct sums *sums)
{
    for (uint32_t i = 0; i < sums->count; i++)
        if (!sums->files[i])
            firmware_problem(f, FIRMWARE_WARNING, "listed_file_missing", sums->lines[i].name,
                             "unpack the package again if this file belongs to it",
                             "the checksum list names '%s', which is not there",
                             sums->lines[i].name);
}

/* ---- one file ------------------------------------------------------------------------------- */

struct reading {
    struct hasher *sha, *md5;     /* md5 NULL when no list wants one */
    struct sparse_reader *sparse; /* NULL for other files */
    struct err *sparse_err;
    bool sparse_failed;
};

static int reading_sink(void *arg, const uint8_t *data, uint64_t len, struct err *err)
{
    static const uint8_t zeros[1 << 16];
    (void)err;
    struct reading *r = arg;
    while (len) {
        size_t n = (size_t)(data ? len : MIN_OF(len, (uint64_t)sizeof(zeros)));
        const uint8_t *from = data ? data : zeros;
        hasher_update(r->sha, from, n);
        if (r->md5)
            hasher_update(r->md5, from, n);
        if (r->sparse && !r->sparse_failed)
            r->sparse_failed = sparse_feed(r->sparse, span_of(from, n), r->sparse_err) < 0;
        len -= n;
    }
    return 0;
}

static int drop_extent(void *arg, const struct sparse_extent *e, struct err *err)
{
    (void)arg, (void)e, (void)err;
    return 0;
}

static int read_exactly(void *arg, uint64_t offset, void *dst, size_t len, struct err *err)
{
    ssize_t n = input_read(arg, dst, len, offset, err);
    if (n < 0)
        return (int)n;
    return (size_t)n == len ? 0 : err_set(err, ERR_FORMAT, "the file ends early");
}

static void sparse_begin(struct reading *r, struct input *in, const struct firmware_file *file)
{
    bool has_crc = true;
    if (!in->forward_only)
        (void)sparse_has_crc(read_exactly, in, file->size_bytes, &has_crc, NULL);
    struct sparse_options options = {.output_bytes_max = INT64_MAX, .skip_crc = !has_crc};
    r->sparse = sparse_reader_new(&options, drop_extent, NULL);
}

static void digest_compare(struct firmware *f, const char *name, const char *want, const char *got)
{
    if (strcmp(want, got) != 0)
        firmware_problem(f, FIRMWARE_ERROR, "checksum", name,
                         "the file is damaged: unpack or download the package again",
                         "'%s' has the checksum %s, the package's list says %s", name, got, want);
}

static void file_result(struct firmware *f, struct firmware_file *file, struct reading *r,
                        const struct sums *sums)
{
    file->sha256 = hasher_finish(r->sha);
    file->hashed = true;
    char hex[SHA256_HEX_BYTES];
    const struct checksum_line *want = sum_of(sums, file, 64);
    sha256_hex(&file->sha256, hex);
    if (want)
        digest_compare(f, file->name, want->digest, hex);
    if (r->md5) {
        hasher_md5_finish(r->md5, hex);
        digest_compare(f, file->name, sum_of(sums, file, 32)->digest, hex);
    }
    if (r->sparse && !r->sparse_failed)
        r->sparse_failed = sparse_finish(r->sparse, r->sparse_err) < 0;
    file->sound = !r->sparse_failed;
    if (r->sparse_failed)
        firmware_problem(f, FIRMWARE_ERROR, "sparse_damaged", file->name,
                         "the file is damaged: unpack or download the package again", "'%s': %s",
                         file->name, r->sparse_err->text);
    else if (r->sparse && sparse_trailing_bytes(r->sparse))
        firmware_problem(f, FIRMWARE_WARNING, "sparse_trailing", file->name,
                         "the surplus is ignored", "'%s' has %llu bytes behind its last chunk",
                         file->name, (unsigned long long)sparse_trailing_bytes(r->sparse));
}

static int file_read(struct firmware *f, const struct firmware_source *source,
                     struct firmware_file *file, const struct sums *sums, struct err *err)
{
    AUTO(input_close) struct input *in = NULL;
    int rc = firmware_open(source, file->name, &in, err);
    if (rc < 0) {
        err_in(err, "'%s'", file->name);
        return rc;
    }
    struct err sparse_err = {0};
    struct reading r = {.sha = hasher_new(), .sparse_err = &sparse_err};
    if (sum_of(sums, file, 32))
        r.md5 = hasher_md5_new();
    if (file->sparse)
        sparse_begin(&r, in, file);
    int64_t n = input_walk(in, 0, file->size_bytes, reading_sink, &r, err);
    if (n >= 0)
        file_result(f, file, &r, sums);
    hasher_free(&r.sha);
    if (r.md5)
        hasher_free(&r.md5);
    sparse_reader_free(&r.sparse);
    if (n < 0)
        err_in(err, "'%s'", file->name);
    return n < 0 ? (int)n : 0;
}

int firmware_read_all(struct firmware *f, const struct firmware_source *source, struct err *err)
{
    AUTO(free_ptr) struct sums *sums = xcalloc(1, sizeof(*sums));
    int rc = lists_read(f, source, sums, err);
    for (uint32_t i = 0; rc >= 0 && i < f->file_count; i++)
        rc = file_read(f, source, &f->files[i], sums, err);
    if (rc >= 0)
        sums_missing_files(f, sums);
    return rc;
}
