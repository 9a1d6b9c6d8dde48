#include "usb/archive/stream.h"

#include <archive.h>
#include <archive_entry.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "usb/archive/reader.h"
#include "usb/base/mem.h"

enum { SKIP_BYTES = 1 << 20 };

struct stream {
    struct input base;
    struct packed *from;
    size_t member;     /* which regular file of the archive, from 0 */
    struct archive *a; /* NULL: another stream has it, or nobody yet */
    uint64_t position;
    bool ended;
    /* what libarchive gave last and was not taken yet: zeros (of a sparse file), then bytes */
    uint64_t zeros;
    const uint8_t *block;
    size_t block_len;
};

bool archive_recognised(int fd)
{
    static const struct {
        size_t at;
        const char *bytes;
        size_t len;
    } magics[] = {
        {0, "7z\xbc\xaf\x27\x1c", 6},
        {0, "PK\3\4", 4},
        {0, "\x1f\x8b", 2},
        {0,
         "\xfd"
         "7zXZ",
         5},
        {0, "\x28\xb5\x2f\xfd", 4},
        {0, "BZh", 3},
        {257, "ustar", 5},
    };
    uint8_t head[512];
    ssize_t n = pread(fd, head, sizeof(head), 0);
    for (size_t i = 0; n > 0 && i < ARRAY_LEN(magics); i++)
        if (magics[i].at + magics[i].len <= (size_t)n &&
            memcmp(head + magics[i].at, magics[i].bytes, magics[i].len) == 0)
            return true;
    return false;
}

static void tick(const struct packed *p)
{
    if (p->tick)
        p->tick(p->tick_arg);
}

/* libarchive 3.6 loses its place in a solid .7z when files are skipped ("Truncated 7-Zip file body"):
 * what stands before is read instead, which unpacking would do anyway. */
static int pass_over(const struct packed *p, struct archive *a, struct err *err)
{
    if (archive_format(a) != ARCHIVE_FORMAT_7ZIP)
        return 0;
    const void *block;
    size_t len;
    la_int64_t offset;
    int rc;
    while ((rc = archive_read_data_block(a, &block, &len, &offset)) == ARCHIVE_OK)
        tick(p);
    return rc == ARCHIVE_EOF ? 0 : archive_reader_error(a, err);
}

/* A second name of a file has no content of its own. */
static bool is_file(struct archive_entry *e)
{
    return (archive_entry_filetype(e) == AE_IFREG || archive_entry_filetype(e) == 0) &&
           !archive_entry_hardlink(e);
}

/* 1 and the next regular file, 0 at the end. */
static int next_file(struct archive *a, struct archive_entry **out, struct err *err)
{
    int rc;
    while ((rc = archive_reader_next(a, out, err)) > 0)
        if (is_file(*out))
            break;
    return rc;
}

/* From regular file number `at`, which comes next, to number `member`. */
static int to_member(const struct stream *s, size_t at, struct err *err)
{
    for (;; at++) {
        struct archive_entry *e;
        int rc = next_file(s->a, &e, err);
        if (rc == 0)
            return err_set(err, ERR_FORMAT, "the archive was changed while it was read");
        if (rc > 0 && at == s->member)
            return 0;
        if (rc > 0)
            rc = pass_over(s->from, s->a, err);
        if (rc < 0)
            return rc;
    }
}

/* Takes the archive from the stream that has it open when ours comes later in it. *at_out: the file that comes
 * next. */
static int take_over(struct stream *s, size_t *at_out, struct err *err)
{
    struct stream *before = s->from->active;
    s->from->active = s;
    if (!before || before == s)
        return 0;
    if (before->member < s->member) {
        *at_out = before->member + 1;
        s->a = STEAL(before->a);
        return s->a ? pass_over(s->from, s->a, err) : 0;
    }
    archive_reader_free(&before->a);
    return 0;
}

static int restart(struct stream *s, struct err *err)
{
    size_t at = 0;
    archive_reader_free(&s->a);
    s->position = s->zeros = 0;
    s->block_len = 0;
    s->ended = false;
    int rc = take_over(s, &at, err);
    if (rc >= 0 && !s->a) {
        at = 0;
        rc = archive_reader_open(s->from->fd, true, &s->a, err);
    }
    if (rc >= 0)
        rc = to_member(s, at, err);
    if (rc < 0)
        archive_reader_free(&s->a);
    return rc;
}

/* A packed dump whose copying was broken off is good up to there; other damage is not to be trusted. */
static bool is_cut_off(struct archive *a)
{
    const char *text = archive_error_string(a);
    return archive_format(a) == ARCHIVE_FORMAT_RAW && text &&
           (strcasestr(text, "truncated") || strstr(text, "No progress is possible")); /* xz */
}

static int next_block(struct stream *s, struct err *err)
{
    const void *block;
    size_t len;
    la_int64_t offset;
    int rc = archive_read_data_block(s->a, &block, &len, &offset);
    if (rc == ARCHIVE_EOF || (rc < ARCHIVE_WARN && is_cut_off(s->a))) {
        s->ended = true;
        s->base.cut_off = rc != ARCHIVE_EOF;
        s->base.size_bytes = s->position;
        return 0;
    }
    if (rc < ARCHIVE_WARN)
        return archive_reader_error(s->a, err);
    if ((uint64_t)offset < s->position)
        return err_set(err, ERR_FORMAT, "archive: its parts overlap");
    s->zeros = (uint64_t)offset - s->position;
    s->block = block;
    s->block_len = len;
    return 0;
}

/* Up to `len` bytes from where the stream is. */
static ssize_t take(struct stream *s, void *dst, size_t len, struct err *err)
{
    size_t done = 0;
    while (done < len && !s->ended) {
        size_t n = (size_t)MIN_OF(s->zeros ? s->zeros : (uint64_t)s->block_len, len - done);
        if (s->zeros) {
            memset((char *)dst + done, 0, n);
            s->zeros -= n;
        } else if (n) {
            memcpy((char *)dst + done, s->block, n);
            s->block += n;
            s->block_len -= n;
        } else {
            int rc = next_block(s, err);
            if (rc < 0)
                return rc;
        }
        s->position += n;
        done += n;
    }
    return (ssize_t)done;
}

static ssize_t stream_read(struct input *in, void *dst, size_t len, uint64_t offset,
                           struct err *err)
{
    struct stream *s = (struct stream *)in;
    if (offset < s->position || !s->a) {
        int rc = restart(s, err);
        if (rc < 0)
            return rc;
    }
    if (offset > s->position) {
        AUTO(free_ptr) uint8_t *skipped = xcalloc(1, SKIP_BYTES);
        while (s->position < offset && !s->ended) {
            size_t n = (size_t)MIN_OF((uint64_t)SKIP_BYTES, offset - s->position);
            ssize_t got = take(s, skipped, n, err);
            if (got < 0)
                return got;
            tick(s->from);
        }
    }
    return s->position == offset ? take(s, dst, len, err) : 0;
}

static void stream_close(struct input *in)
{
    struct stream *s = (struct stream *)in;
    if (s->from->active == s)
        s->from->active = NULL;
    archive_reader_free(&s->a);
    free(s);
}

/* ---- the list of files ---------------------------------------------------------------------- */

static int file_add(struct packed *p, struct archive_entry *e, struct err *err)
{
    if (p->count == PACKED_FILES_MAX)
        return err_set(err, ERR_LIMIT, "the archive holds more than %d files", PACKED_FILES_MAX);
    const char *name = archive_reader_name(e);
    bool told = archive_entry_size_is_set(e) && archive_entry_size(e) >= 0;
    struct packed_file *file = &p->files[p->count];
    file->name = xstrdup(name ? name : "");
    file->size_bytes = told ? (uint64_t)archive_entry_size(e) : INPUT_SIZE_UNKNOWN;
    if (file->size_bytes > p->files[p->largest].size_bytes)
        p->largest = p->count;
    p->count++;
    return 0;
}

int packed_open(int fd, struct packed **out, struct err *err)
{
    AUTO(packed_close) struct packed *p = xcalloc(1, sizeof(*p));
    AUTO(archive_reader_free) struct archive *a = NULL;
    struct archive_entry *e;
    p->fd = fd;
    p->files = xcalloc(PACKED_FILES_MAX, sizeof(*p->files));
    int rc = archive_reader_open(fd, true, &a, err);
    while (rc >= 0 && (rc = next_file(a, &e, err)) > 0)
        rc = file_add(p, e, err);
    if (rc == 0 && p->count == 0)
        return err_set(err, ERR_FORMAT, "the archive holds no file");
    if (rc < 0)
        return rc;
    *out = STEAL(p);
    return 0;
}

struct input *packed_input(struct packed *p, size_t index)
{
    static const struct input_ops ops = {stream_read, NULL, NULL, stream_close};
    struct stream *s = xcalloc(1, sizeof(*s));
    s->base =
        (struct input){.ops = &ops, .size_bytes = p->files[index].size_bytes, .forward_only = true};
    s->from = p;
    s->member = index;
    return &s->base;
}

void packed_close(struct packed **p)
{
    if (!*p)
        return;
    for (size_t i = 0; i < (*p)->count; i++)
        free((*p)->files[i].name);
    free((*p)->files);
    free(*p);
    *p = NULL;
}
