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
    int fd;
    int member; /* which regular file of the archive, from 0 */
    struct archive *a;
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

/* libarchive 3.6 loses its place in a solid .7z when files are skipped ("Truncated 7-Zip file body"):
 * what stands before is read instead, which unpacking would do anyway. */
static int pass_over(struct archive *a, struct err *err)
{
    if (archive_format(a) != ARCHIVE_FORMAT_7ZIP)
        return 0;
    const void *block;
    size_t len;
    la_int64_t offset;
    int rc;
    while ((rc = archive_read_data_block(a, &block, &len, &offset)) == ARCHIVE_OK)
        ;
    return rc == ARCHIVE_EOF ? 0 : archive_reader_error(a, err);
}

/* Moves to regular file number `member`. */
static int to_member(struct archive *a, int member, struct archive_entry **out, struct err *err)
{
    for (int i = 0;;) {
        struct archive_entry *e;
        int rc = archive_reader_next(a, &e, err);
        if (rc < 0)
            return rc;
        if (rc == 0)
            return err_set(err, ERR_FORMAT, "the archive holds no file");
        if (archive_entry_filetype(e) != AE_IFREG && archive_entry_filetype(e) != 0)
            continue;
        if (i++ == member) {
            *out = e;
            return 0;
        }
        rc = pass_over(a, err);
        if (rc < 0)
            return rc;
    }
}

/* The largest regular file; one whose size is not told (a packed single file) wins at once. */
static int choose_member(int fd, int *member_out, struct err *err)
{
    AUTO(archive_reader_free) struct archive *a = NULL;
    int rc = archive_reader_open(fd, true, &a, err);
    if (rc < 0)
        return rc;
    int64_t best = -1;
    *member_out = 0;
    for (int i = 0;;) {
        struct archive_entry *e;
        rc = archive_reader_next(a, &e, err);
        if (rc <= 0)
            return rc;
        if (archive_entry_filetype(e) != AE_IFREG && archive_entry_filetype(e) != 0)
            continue;
        if (!archive_entry_size_is_set(e)) {
            *member_out = i;
            return 0;
        }
        if (archive_entry_size(e) > best) {
            best = archive_entry_size(e);
            *member_out = i;
        }
        i++;
    }
}

static int restart(struct stream *s, struct archive_entry **entry_out, struct err *err)
{
    archive_reader_free(&s->a);
    s->position = s->zeros = 0;
    s->block_len = 0;
    s->ended = false;
    int rc = archive_reader_open(s->fd, true, &s->a, err);
    return rc < 0 ? rc : to_member(s->a, s->member, entry_out, err);
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
    if (offset < s->position) {
        struct archive_entry *e;
        int rc = restart(s, &e, err);
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
        }
    }
    return s->position == offset ? take(s, dst, len, err) : 0;
}

static void stream_close(struct input *in)
{
    struct stream *s = (struct stream *)in;
    archive_reader_free(&s->a);
    free(s);
}

static void stream_free(struct stream **s)
{
    if (*s)
        stream_close(&(*s)->base);
    *s = NULL;
}

int archive_input_open(int fd, char *name_out, size_t name_max, struct input **out, struct err *err)
{
    static const struct input_ops ops = {stream_read, NULL, NULL, stream_close};
    AUTO(stream_free) struct stream *s = xcalloc(1, sizeof(*s));
    s->base = (struct input){.ops = &ops, .size_bytes = INPUT_SIZE_UNKNOWN, .forward_only = true};
    s->fd = fd;
    int rc = choose_member(fd, &s->member, err);
    struct archive_entry *e;
    if (rc >= 0)
        rc = restart(s, &e, err);
    if (rc < 0)
        return rc;
    if (archive_entry_size_is_set(e) && archive_entry_size(e) >= 0)
        s->base.size_bytes = (uint64_t)archive_entry_size(e);
    const char *name = archive_reader_name(e);
    if (name_out)
        snprintf(name_out, name_max, "%s", name ? name : "");
    *out = &STEAL(s)->base;
    return 0;
}

int archive_or_file_open(int fd, struct input **out, struct err *err)
{
    if (archive_recognised(fd))
        return archive_input_open(fd, NULL, 0, out, err);
    struct input *in = input_of_fd(fd, err);
    if (!in)
        return ERR_INPUT;
    *out = in;
    return 0;
}
