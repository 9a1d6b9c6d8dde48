/* Rows for chunks, packed streams and unpacking: what hostile archives may not do. */
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <locale.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/mman.h>
#include <unistd.h>

#include <archive.h>
#include <archive_entry.h>

#include "tests/unit/rows.h"

#include "usb/archive/chunk.h"
#include "usb/archive/stream.h"
#include "usb/archive/unpack.h"
#include "usb/base/io.h"
#include "usb/base/mem.h"

/* ---- chunks -------------------------------------------------------------------------------------
 */

static uint8_t raw[CHUNK_BYTES];

static void fill(bool noise)
{
    uint32_t x = 7;
    for (size_t i = 0; i < sizeof(raw); i++) {
        x = x * 1664525 + 1013904223;
        raw[i] = noise ? (uint8_t)(x >> 24) : (uint8_t)(i >> 12);
    }
}

static const struct chunk_row {
    const char *name;
    size_t len;
    bool noise;
} chunk_rows[] = {
    {"one byte", 1, false},
    {"whole", CHUNK_BYTES, false},
    {"noise does not shrink", CHUNK_BYTES, true},
    {"odd length", 12345, true},
};

static void chunks_round_trip(void **state)
{
    const struct chunk_row *row = ROW(state);
    fill(row->noise);
    AUTO(buf_deinit) struct buf packed;
    AUTO(buf_deinit) struct buf out;
    buf_init(&packed, CHUNK_PACKED_MAX + 3);
    buf_init(&out, CHUNK_BYTES + 3);
    buf_put(&packed, "abc", 3); /* appended behind what is there */
    buf_put(&out, "abc", 3);
    assert_int_equal(chunk_compress(span_of(raw, row->len), &packed, NULL), 0);
    assert_true(packed.len - 3 <= CHUNK_PACKED_MAX);
    struct span frame = span_sub(buf_span(&packed), 3, packed.len);
    assert_int_equal(chunk_decompress(frame, row->len, &out, NULL), 0);
    assert_int_equal(out.len, row->len + 3);
    assert_memory_equal(out.data, "abc", 3);
    assert_memory_equal(out.data + 3, raw, row->len);
    /* a frame that says less or more than the record, or is cut, is an error; `out` stays */
    size_t wrong[] = {row->len + 1, row->len - 1};
    for (size_t i = 0; i < 2; i++) {
        buf_clear(&out);
        assert_int_equal(chunk_decompress(frame, wrong[i], &out, NULL), ERR_FORMAT);
        assert_int_equal(out.len, 0);
    }
    frame.len--;
    assert_int_equal(chunk_decompress(frame, row->len, &out, NULL), ERR_FORMAT);
}

static void chunks_have_limits(void **state)
{
    (void)state;
    AUTO(buf_deinit) struct buf out;
    buf_init(&out, 4096);
    fill(true);
    assert_int_equal(chunk_compress(span_of(raw, 0), &out, NULL), ERR_INTERNAL);
    assert_int_equal(chunk_compress(span_of(raw, sizeof(raw)), &out, NULL), ERR_LIMIT);
    assert_int_equal(out.len, 0);
    buf_clear(&out);
    assert_int_equal(chunk_decompress(span_of("x", 1), CHUNK_BYTES + 1, &out, NULL), ERR_FORMAT);
    assert_int_equal(chunk_decompress(span_of("not zstd", 8), 100, &out, NULL), ERR_FORMAT);
}

/* ---- making archives ----------------------------------------------------------------------------
 */

struct member {
    const char *path, *link; /* link: symbolic; "=x": hard */
    size_t size;
    mode_t type; /* 0: AE_IFREG */
};

static void add(struct archive *a, const struct member *m)
{
    struct archive_entry *e = archive_entry_new();
    archive_entry_set_pathname(e, m->path);
    archive_entry_set_filetype(e, m->type ? m->type : AE_IFREG);
    archive_entry_set_perm(e, 0644);
    archive_entry_set_size(e, (la_int64_t)m->size);
    if (m->link && m->link[0] == '=') {
        archive_entry_set_hardlink(e, m->link + 1);
        archive_entry_unset_size(e);
    } else if (m->link) {
        archive_entry_set_filetype(e, AE_IFLNK);
        archive_entry_set_symlink(e, m->link);
    }
    assert_true(archive_write_header(a, e) >= ARCHIVE_WARN);
    if (m->size)
        assert_int_equal(archive_write_data(a, raw, m->size), m->size);
    archive_entry_free(e);
}

static int make_archive(const struct member *members, size_t count, int format, int filter)
{
    int fd = memfd_create("archive", MFD_CLOEXEC);
    struct archive *a = archive_write_new();
    archive_write_set_format(a, format);
    archive_write_add_filter(a, filter);
    assert_int_equal(archive_write_open_fd(a, fd), ARCHIVE_OK);
    for (size_t i = 0; i < count && members[i].path; i++)
        add(a, &members[i]);
    assert_int_equal(archive_write_close(a), ARCHIVE_OK);
    archive_write_free(a);
    return fd;
}

/* ---- a folder of our own ------------------------------------------------------------------------
 */

static char outer[64], inner[80];

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st, (void)flag, (void)ftw;
    return remove(path);
}

static int folder_make(void **state)
{
    (void)state;
    snprintf(outer, sizeof(outer), "/tmp/archive-test-XXXXXX");
    assert_non_null(mkdtemp(outer));
    snprintf(inner, sizeof(inner), "%s/in", outer);
    return mkdir(inner, 0700);
}

static int folder_remove(void **state)
{
    (void)state;
    return nftw(outer, remove_one, 8, FTW_PHYS | FTW_DEPTH);
}

static int entries_of(const char *path)
{
    DIR *dir = opendir(path);
    int n = -2; /* . and .. */
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

static void assert_file(const char *name, size_t size)
{
    char path[200], *data;
    size_t len;
    snprintf(path, sizeof(path), "%s/%s", inner, name);
    assert_int_equal(io_slurp(AT_FDCWD, path, 1 << 21, &data, &len, NULL), 0);
    assert_int_equal(len, size);
    assert_memory_equal(data, raw, size);
    free(data);
}

static const struct unpack_limits limits = {
    .total_bytes_max = 3 << 20, .file_bytes_max = 2 << 20, .files_max = 4};

static int unpack_into(int archive, const struct unpack_limits *l, unpack_tick_fn *tick,
                       struct unpack_result *out, struct err *err)
{
    AUTO(fd_close) int dir = open(inner, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return archive_unpack(archive, dir, l, tick, NULL, out, err);
}

/* ---- unpacking ----------------------------------------------------------------------------------
 */

static const struct unpack_row {
    const char *name;
    int format, filter;
    struct member members[6];
    int want;
    const char *says;
} unpack_rows[] = {
#define TAR ARCHIVE_FORMAT_TAR_PAX_RESTRICTED, ARCHIVE_FILTER_NONE
#define ZIP ARCHIVE_FORMAT_ZIP, ARCHIVE_FILTER_NONE
    {"tar",
     TAR,
     {{"./", NULL, 0, AE_IFDIR},
      {"a.img", NULL, 100, 0},
      {"d/", NULL, 0, AE_IFDIR},
      {"d/b.img", NULL, 70000, 0}},
     0,
     ""},
    {"tar.gz",
     ARCHIVE_FORMAT_TAR_USTAR,
     ARCHIVE_FILTER_GZIP,
     {{"a.img", NULL, 100, 0}, {"d/b.img", NULL, 70000, 0}},
     0,
     ""},
    {"tar.xz",
     ARCHIVE_FORMAT_TAR_USTAR,
     ARCHIVE_FILTER_XZ,
     {{"a.img", NULL, 100, 0}, {"d/b.img", NULL, 70000, 0}},
     0,
     ""},
    {"tar.zst",
     ARCHIVE_FORMAT_TAR_USTAR,
     ARCHIVE_FILTER_ZSTD,
     {{"a.img", NULL, 100, 0}, {"d/b.img", NULL, 70000, 0}},
     0,
     ""},
    {"zip", ZIP, {{"a.img", NULL, 100, 0}, {"d\\b.img", NULL, 70000, 0}}, 0, ""},
    {"7z",
     ARCHIVE_FORMAT_7ZIP,
     ARCHIVE_FILTER_NONE,
     {{"a.img", NULL, 100, 0}, {"d/b.img", NULL, 70000, 0}},
     0,
     ""},
    {"up", TAR, {{"a.img", NULL, 100, 0}, {"../evil", NULL, 10, 0}}, ERR_REFUSED, "'../evil'"},
    {"up in the middle", ZIP, {{"d/../../evil", NULL, 10, 0}}, ERR_REFUSED, "leads out"},
    {"up with backslashes", ZIP, {{"d\\..\\..\\evil", NULL, 10, 0}}, ERR_REFUSED, "leads out"},
    {"absolute", TAR, {{"/tmp/evil", NULL, 10, 0}}, ERR_REFUSED, "leads out"},
    {"symbolic link", TAR, {{"d", "/tmp", 0, 0}, {"d/evil", NULL, 10, 0}}, ERR_REFUSED, "link"},
    {"hard link", TAR, {{"x", "=/etc/passwd", 0, 0}}, ERR_REFUSED, "link"},
    {"device", TAR, {{"x", NULL, 0, AE_IFCHR}}, ERR_REFUSED, "special file"},
    {"pipe", TAR, {{"x", NULL, 0, AE_IFIFO}}, ERR_REFUSED, "special file"},
    {"control characters", TAR, {{"a\nb", NULL, 10, 0}}, ERR_REFUSED, "leads out"},
    {"our own journal", TAR, {{".unpack", NULL, 10, 0}}, ERR_REFUSED, "leads out"},
    {"too deep", TAR, {{"1/2/3/4/5/6/7/8/9", NULL, 10, 0}}, ERR_REFUSED, "leads out"},
    {"too many files",
     TAR,
     {{"1", NULL, 1, 0},
      {"2", NULL, 1, 0},
      {"3", NULL, 1, 0},
      {"4", NULL, 1, 0},
      {"5", NULL, 1, 0}},
     ERR_LIMIT,
     "more than 4 files"},
    {"too much",
     TAR,
     {{"1", NULL, 1 << 20, 0},
      {"2", NULL, 1 << 20, 0},
      {"3", NULL, 1 << 20, 0},
      {"4", NULL, 1 << 20, 0}},
     ERR_LIMIT,
     "more than is allowed"},
    {"a name twice",
     TAR,
     {{"a", NULL, 10, 0}, {"a", NULL, 20, 0}},
     ERR_CONFLICT,
     "'a' is there already"},
    {"a file as a folder",
     TAR,
     {{"a", NULL, 10, 0}, {"a/b", NULL, 20, 0}},
     ERR_REFUSED,
     "'a' in the folder is not a folder"},
    {"nothing in it", TAR, {{"d/", NULL, 0, AE_IFDIR}}, ERR_FORMAT, "holds no file"},
};

static void archives_are_unpacked(void **state)
{
    const struct unpack_row *row = ROW(state);
    fill(true);
    folder_make(NULL);
    AUTO(fd_close) int archive = make_archive(row->members, 6, row->format, row->filter);
    struct unpack_result result = {0};
    struct err err = {0};
    int rc = unpack_into(archive, &limits, NULL, &result, &err);
    if (rc != row->want || !strstr(err.text, row->says))
        fail_msg("%d: '%s' does not say '%s'", rc, err.text, row->says);
    assert_int_equal(entries_of(outer), 1); /* nothing beside the folder */
    if (rc == 0) {
        assert_int_equal(result.files, 2);
        assert_int_equal(result.bytes, 70100);
        assert_int_equal(entries_of(inner), 2); /* no journal, no parts */
        assert_file("a.img", 100);
        assert_file("d/b.img", 70000);
    }
    folder_remove(NULL);
}

static int ticks_left;

static int stop_at_tick(void *arg, const char *file, uint64_t done_bytes, struct err *err)
{
    (void)arg, (void)file, (void)done_bytes;
    return --ticks_left < 0 ? err_set(err, ERR_CANCELLED, "stopped") : 0;
}

static const struct member three[] = {
    {"1", NULL, 1 << 20, 0}, {"2", NULL, 600000, 0}, {"3", NULL, 1000, 0}};

/* Stopped at every point, the next run goes on and the result is the same. */
static void unpacking_goes_on_where_it_was(void **state)
{
    (void)state;
    fill(true);
    AUTO(fd_close) int archive = make_archive(three, 3, TAR);
    for (int stop = 0; stop < 4; stop++) {
        folder_make(NULL);
        struct unpack_result result = {0};
        ticks_left = stop;
        int rc = unpack_into(archive, &limits, stop_at_tick, &result, NULL);
        assert_int_equal(rc, stop < 3 ? ERR_CANCELLED : 0);
        if (rc < 0)
            assert_int_equal(unpack_into(archive, &limits, NULL, &result, NULL), 0);
        assert_int_equal(result.files, 3);
        assert_int_equal(result.resumed_files, stop < 3 ? stop : 0);
        assert_file("1", 1 << 20);
        assert_file("2", 600000);
        assert_file("3", 1000);
        assert_int_equal(entries_of(inner), 3);
        folder_remove(NULL);
    }
}

static void a_half_file_of_a_crash_is_made_again(void **state)
{
    (void)state;
    fill(true);
    AUTO(fd_close) int archive = make_archive(three, 3, TAR);
    folder_make(NULL);
    struct unpack_result result;
    ticks_left = 1;
    assert_int_equal(unpack_into(archive, &limits, stop_at_tick, &result, NULL), ERR_CANCELLED);
    char path[200];
    snprintf(path, sizeof(path), "%s/1", inner);
    assert_int_equal(truncate(path, 500), 0); /* in the journal, but not as it was */
    snprintf(path, sizeof(path), "%s/2.part", inner);
    FILE *half = fopen(path, "w");
    fputs("half", half);
    fclose(half);
    assert_int_equal(unpack_into(archive, &limits, NULL, &result, NULL), 0);
    assert_int_equal(result.resumed_files, 0);
    assert_file("1", 1 << 20);
    assert_file("2", 600000);
    assert_int_equal(entries_of(inner), 3);
    folder_remove(NULL);
}

static void another_archive_is_not_mixed_in(void **state)
{
    (void)state;
    fill(true);
    AUTO(fd_close) int archive = make_archive(three, 3, TAR);
    AUTO(fd_close) int other = make_archive(three, 2, TAR);
    folder_make(NULL);
    struct unpack_result result;
    ticks_left = 1;
    assert_int_equal(unpack_into(archive, &limits, stop_at_tick, &result, NULL), ERR_CANCELLED);
    assert_int_equal(unpack_into(other, &limits, NULL, &result, NULL), ERR_CONFLICT);
    assert_int_equal(unpack_into(archive, &limits, NULL, &result, NULL), 0);
    struct err err; /* finished: another package does not come on top of it */
    assert_int_equal(unpack_into(other, &limits, NULL, &result, &err), ERR_CONFLICT);
    assert_non_null(strstr(err.text, "name a new one"));
    assert_int_equal(entries_of(inner), 3);
    folder_remove(NULL);
}

static const struct name_row {
    const char *name;
    int format, filter;
    const char *packed, *unpacked;
} name_rows[] = {
    {"Chinese in a 7z", ARCHIVE_FORMAT_7ZIP, ARCHIVE_FILTER_NONE, "\u56fa\u4ef6.txt",
     "\u56fa\u4ef6.txt"},
    {"Chinese in a zip", ZIP, "\u56fa\u4ef6.txt", "\u56fa\u4ef6.txt"},
    {"a code page in a tar", ARCHIVE_FORMAT_TAR_USTAR, ARCHIVE_FILTER_NONE, "\xb9\xcc.txt",
     "%b9%cc.txt"},
};

static void names_are_kept(void **state)
{
    const struct name_row *row = ROW(state);
    const struct member members[] = {{row->packed, NULL, 10, 0}, {"a.img", NULL, 100, 0}};
    fill(true);
    AUTO(fd_close) int archive = make_archive(members, 2, row->format, row->filter);
    folder_make(NULL);
    struct unpack_result result;
    struct err err;
    if (unpack_into(archive, &limits, NULL, &result, &err) < 0)
        fail_msg("%s", err.text);
    assert_file(row->unpacked, 10);
    assert_file("a.img", 100);
    folder_remove(NULL);
}

static int try_the_same(void *arg, const char *file, uint64_t done_bytes, struct err *err)
{
    (void)file, (void)done_bytes, (void)err;
    struct unpack_result result;
    struct err refused;
    assert_int_equal(unpack_into(*(int *)arg, &limits, NULL, &result, &refused), ERR_CONFLICT);
    assert_non_null(strstr(refused.text, "another run"));
    return 0;
}

/* Both would take each other's unfinished files away. */
static void two_runs_do_not_share_a_folder(void **state)
{
    (void)state;
    fill(true);
    AUTO(fd_close) int archive = make_archive(three, 3, TAR);
    AUTO(fd_close) int again = make_archive(three, 3, TAR);
    folder_make(NULL);
    struct unpack_result result;
    AUTO(fd_close) int dir = open(inner, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(archive_unpack(archive, dir, &limits, try_the_same, &again, &result, NULL), 0);
    assert_int_equal(result.files, 3);
    assert_file("1", 1 << 20);
    assert_file("2", 600000);
    assert_file("3", 1000);
    assert_int_equal(entries_of(inner), 3);
    folder_remove(NULL);
}

static void a_full_disk_leaves_no_half_file(void **state)
{
    (void)state;
    fill(true);
    AUTO(fd_close) int archive = make_archive(three, 3, TAR);
    folder_make(NULL);
    struct unpack_limits greedy = limits;
    greedy.free_bytes_min = UINT64_MAX / 2;
    struct unpack_result result;
    struct err err;
    assert_int_equal(unpack_into(archive, &greedy, NULL, &result, &err), ERR_LIMIT);
    assert_non_null(strstr(err.text, "disk is full"));
    assert_int_equal(entries_of(inner), 1); /* the journal */
    assert_int_equal(unpack_into(archive, &limits, NULL, &result, NULL), 0);
    folder_remove(NULL);
}

static void damage_is_an_error(void **state)
{
    (void)state;
    fill(true);
    AUTO(fd_close)
    int archive = make_archive(three, 3, ARCHIVE_FORMAT_TAR_USTAR, ARCHIVE_FILTER_GZIP);
    int64_t size = io_size(archive, NULL);
    folder_make(NULL);
    assert_int_equal(ftruncate(archive, size / 2), 0);
    struct unpack_result result;
    assert_int_equal(unpack_into(archive, &limits, NULL, &result, NULL), ERR_FORMAT);
    assert_int_equal(ftruncate(archive, 0), 0);
    folder_remove(NULL);
    folder_make(NULL);
    assert_int_equal(unpack_into(archive, &limits, NULL, &result, NULL), ERR_FORMAT);
    folder_remove(NULL);
}

/* ---- streams ------------------------------------------------------------------------------------
 */

static const struct stream_row {
    const char *name;
    int format, filter;
} stream_rows[] = {
    {"gz of one file", ARCHIVE_FORMAT_RAW, ARCHIVE_FILTER_GZIP},
    {"xz of one file", ARCHIVE_FORMAT_RAW, ARCHIVE_FILTER_XZ},
    {"zst of one file", ARCHIVE_FORMAT_RAW, ARCHIVE_FILTER_ZSTD},
    {"bz2 of one file", ARCHIVE_FORMAT_RAW, ARCHIVE_FILTER_BZIP2},
    {"zip", ZIP},
    {"7z", ARCHIVE_FORMAT_7ZIP, ARCHIVE_FILTER_NONE},
    {"tar", TAR},
    {"tar.gz", ARCHIVE_FORMAT_TAR_USTAR, ARCHIVE_FILTER_GZIP},
};

static void streams_are_read(void **state)
{
    const struct stream_row *row = ROW(state);
    static const struct member members[] = {
        {"readme.txt", NULL, 10, 0}, {"Backup_0", NULL, sizeof(raw), 0}, {"small", NULL, 20, 0}};
    bool one = row->format == ARCHIVE_FORMAT_RAW;
    fill(true);
    AUTO(fd_close)
    int fd = make_archive(one ? &members[1] : members, one ? 1 : 3, row->format, row->filter);
    assert_true(archive_recognised(fd));
    AUTO(packed_close) struct packed *p = NULL;
    assert_int_equal(packed_open(fd, &p, NULL), 0);
    assert_int_equal(p->count, one ? 1 : 3);
    if (!one)
        assert_string_equal(p->files[p->largest].name, "Backup_0");
    AUTO(input_close) struct input *in = packed_input(p, p->largest);
    assert_true(in->forward_only);
    static uint8_t got[sizeof(raw) + 10];
    static const size_t places[] = {0, 100000, 400001, 7,
                                    sizeof(raw) - 3}; /* 7: back to the start */
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        size_t want = MIN_OF((size_t)50000, sizeof(raw) - places[i]);
        assert_int_equal(input_read(in, got, 50000, places[i], NULL), want);
        assert_memory_equal(got, raw + places[i], want);
    }
    assert_int_equal(input_read(in, got, sizeof(got), 0, NULL), sizeof(raw));
    assert_int_equal(in->size_bytes, sizeof(raw));
    assert_int_equal(input_read(in, got, 10, sizeof(raw) + 5, NULL), 0);
}

static void plain_files_are_left_alone(void **state)
{
    (void)state;
    AUTO(fd_close) int fd = memfd_create("plain", MFD_CLOEXEC);
    assert_false(archive_recognised(fd));
    assert_int_equal(io_pwrite(fd, "hello", 5, 0, NULL), 0);
    assert_false(archive_recognised(fd));
}

static int ticks;

static void tick_count(void *arg)
{
    (void)arg;
    ticks++;
}

/* Files of one archive: in its order one pass is enough; a step back, a file left half read and two that are read
 * in turn give the same bytes. */
static void files_are_read_in_any_order(void **state)
{
    const struct stream_row *row = ROW(state);
    static const struct member members[] = {{"a/proinfo.img", NULL, 300000, 0},
                                            {"elabel.img", NULL, 5, 0},
                                            {"nvram.img", NULL, sizeof(raw), 0},
                                            {"empty", NULL, 0, 0}}; /* a .7z has these last */
    static const size_t order[] = {0, 1, 2, 3, 3, 2, 0, 2, 1, 3};
    static uint8_t got[sizeof(raw)];
    if (row->format == ARCHIVE_FORMAT_RAW)
        return;
    fill(true);
    AUTO(fd_close) int fd = make_archive(members, ARRAY_LEN(members), row->format, row->filter);
    AUTO(packed_close) struct packed *p = NULL;
    struct input *in[ARRAY_LEN(members)];
    assert_int_equal(packed_open(fd, &p, NULL), 0);
    assert_int_equal(p->count, ARRAY_LEN(members));
    assert_string_equal(p->files[0].name, "a/proinfo.img");
    p->tick = tick_count;
    for (size_t i = 0; i < p->count; i++)
        in[i] = packed_input(p, i);
    ticks = 0;
    for (size_t i = 0; i < ARRAY_LEN(order); i++) {
        size_t file = order[i], half = members[file].size / 2;
        size_t want = i % 2 ? half : members[file].size; /* every other one is left half read */
        assert_int_equal(p->files[file].size_bytes, members[file].size);
        assert_int_equal(input_read(in[file], got, want, 0, NULL), want);
        assert_memory_equal(got, raw, want);
    }
    assert_int_equal(input_read(in[0], got, 100, 150000, NULL), 100); /* back in another file */
    assert_memory_equal(got, raw + 150000, 100);
    assert_int_equal(input_read(in[2], got, 100, 700000, NULL), 100);
    assert_memory_equal(got, raw + 700000, 100);
    assert_true(ticks > 0);
    for (size_t i = 0; i < p->count; i++)
        input_close(&in[i]);
}

static void too_many_files_are_refused(void **state)
{
    (void)state;
    AUTO(free_ptr) struct member *members = xcalloc(PACKED_FILES_MAX + 1, sizeof(*members));
    for (size_t i = 0; i <= PACKED_FILES_MAX; i++)
        members[i] = (struct member){.path = "x"};
    AUTO(packed_close) struct packed *p = NULL;
    AUTO(fd_close)
    int most = make_archive(members, PACKED_FILES_MAX, TAR);
    assert_int_equal(packed_open(most, &p, NULL), 0);
    AUTO(fd_close)
    int more = make_archive(members, PACKED_FILES_MAX + 1, TAR);
    AUTO(packed_close) struct packed *none = NULL;
    assert_int_equal(packed_open(more, &none, NULL), ERR_LIMIT);
    assert_null(none);
}

int main(void)
{
    setlocale(LC_CTYPE, "C.UTF-8"); /* as the programs do: usb/archive/reader.h */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chunks_have_limits),
        cmocka_unit_test(unpacking_goes_on_where_it_was),
        cmocka_unit_test(a_half_file_of_a_crash_is_made_again),
        cmocka_unit_test(another_archive_is_not_mixed_in),
        cmocka_unit_test(two_runs_do_not_share_a_folder),
        cmocka_unit_test(a_full_disk_leaves_no_half_file),
        cmocka_unit_test(damage_is_an_error),
        cmocka_unit_test(plain_files_are_left_alone),
        cmocka_unit_test(too_many_files_are_refused),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    failed += RUN_ROWS(chunks_round_trip, chunk_rows);
    failed += RUN_ROWS(archives_are_unpacked, unpack_rows);
    failed += RUN_ROWS(names_are_kept, name_rows);
    failed += RUN_ROWS(streams_are_read, stream_rows);
    failed += RUN_ROWS(files_are_read_in_any_order, stream_rows);
    return failed;
}
