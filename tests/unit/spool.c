/* The spool file: what a worker writes is what the store reads, whatever the end looks like. */
#include "tests/unit/rows.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "usb/base/io.h"
#include "usb/base/mem.h"
#include "usb/wire/spool.h"

enum { JOB = 77 };

static int new_file(void)
{
    int fd = memfd_create("spool", MFD_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static struct sha256 hash_of(const char *text)
{
    return sha256_of(span_of(text, strlen(text)));
}

/* Three records: a chunk, a note, a step result. */
static int64_t write_three(int fd)
{
    struct spool_writer w;
    struct err err = {0};
    struct sha256 hash = hash_of("raw");
    json_auto_t *note = json_pack("{s:s}", "text", "seen");
    assert_int_equal(spool_writer_open(&w, fd, JOB, &err), 0);
    assert_int_equal(spool_append_chunk(&w, &hash, 3, span_of("zstd", 4), &err), 0);
    assert_int_equal(spool_append_json(&w, SPOOL_NOTE, note, &err), 0);
    assert_int_equal(spool_append_json(&w, SPOOL_STEP_RESULT, note, &err), 0);
    assert_int_equal(spool_sync(&w, &err), 0);
    return w.end;
}

static int count_records(int fd, struct spool_reader *r)
{
    struct spool_record record;
    struct err err = {0};
    int count = 0, more;
    assert_int_equal(spool_reader_open(r, fd, 0, &err), 0);
    while ((more = spool_next(r, &record, &err)) > 0)
        count++;
    assert_int_equal(more, 0);
    spool_reader_deinit(r);
    return count;
}

static void records_come_back(void **state)
{
    (void)state;
    AUTO(fd_close) int fd = new_file();
    int64_t end = write_three(fd);
    struct spool_reader r;
    struct spool_record record;
    struct spool_chunk chunk;
    struct sha256 hash = hash_of("raw");
    json_auto_t *note = NULL;
    assert_int_equal(spool_reader_open(&r, fd, 0, NULL), 0);
    assert_int_equal(r.job_id, JOB);
    assert_int_equal(spool_next(&r, &record, NULL), 1);
    assert_int_equal(record.type, SPOOL_CHUNK);
    assert_int_equal(spool_chunk_decode(record.payload, &chunk, NULL), 0);
    assert_true(sha256_equal(&chunk.sha256, &hash));
    assert_int_equal(chunk.raw_bytes, 3);
    assert_memory_equal(chunk.zstd.data, "zstd", 4);
    assert_int_equal(spool_next(&r, &record, NULL), 1);
    assert_int_equal(spool_json_decode(record.payload, &note, NULL), 0);
    assert_string_equal(json_string_value(json_object_get(note, "text")), "seen");
    assert_int_equal(spool_next(&r, &record, NULL), 1);
    assert_int_equal(record.type, SPOOL_STEP_RESULT);
    assert_int_equal(spool_next(&r, &record, NULL), 0);
    assert_false(r.torn);
    assert_int_equal(r.valid_end, end);
    spool_reader_deinit(&r);
}

/* Cut at every byte: never an error, never more than what was whole, and the writer can go on. */
static void a_torn_tail_is_cut_off(void **state)
{
    (void)state;
    AUTO(fd_close) int whole = new_file();
    int64_t end = write_three(whole);
    uint8_t bytes[512];
    assert_true(end < (int64_t)sizeof(bytes));
    assert_int_equal(io_pread(whole, bytes, (size_t)end, 0, NULL), 0);
    for (int64_t cut = 0; cut < end; cut++) {
        AUTO(fd_close) int fd = new_file();
        struct spool_reader r;
        struct spool_writer w;
        assert_int_equal(io_pwrite(fd, bytes, (size_t)cut, 0, NULL), 0);
        int before = count_records(fd, &r);
        assert_in_range(before, 0, 2);
        assert_true(r.valid_end <= cut);
        assert_int_equal(r.torn, r.valid_end < cut);
        assert_false(r.spoilt);
        assert_int_equal(spool_writer_open(&w, fd, JOB, NULL), 0);
        assert_int_equal(spool_append(&w, SPOOL_NOTE, span_of("{}", 2), NULL), 0);
        assert_int_equal(count_records(fd, &r), before + 1);
        assert_false(r.torn);
    }
}

/* Any flipped bit is noticed: what follows it is not given out. */
static void a_flipped_byte_ends_the_file(void **state)
{
    (void)state;
    AUTO(fd_close) int fd = new_file();
    int64_t end = write_three(fd);
    for (int64_t at = SPOOL_HEADER_BYTES; at < end; at++) {
        uint8_t byte, flipped;
        struct spool_reader r;
        assert_int_equal(io_pread(fd, &byte, 1, at, NULL), 0);
        flipped = byte ^ 0x10;
        assert_int_equal(io_pwrite(fd, &flipped, 1, at, NULL), 0);
        assert_in_range(count_records(fd, &r), 0, 2);
        assert_true(r.torn);
        assert_true(r.valid_end <= at);
        if (r.valid_end == SPOOL_HEADER_BYTES && at >= SPOOL_HEADER_BYTES + SPOOL_RECORD_BYTES)
            assert_true(r.spoilt); /* two more records lie behind it */
        assert_int_equal(io_pwrite(fd, &byte, 1, at, NULL), 0);
    }
}

static void foreign_files_are_refused(void **state)
{
    (void)state;
    AUTO(fd_close) int fd = new_file();
    struct spool_reader r;
    struct spool_writer w;
    struct err err = {0};
    write_three(fd);
    assert_int_equal(spool_writer_open(&w, fd, JOB + 1, &err), ERR_FORMAT);
    /* a later version, with a right checksum */
    uint8_t head[SPOOL_HEADER_BYTES];
    assert_int_equal(io_pread(fd, head, sizeof(head), 0, NULL), 0);
    head[8] = 2;
    put_le32(head + 28, crc32_of(0, span_of(head, 28)));
    assert_int_equal(io_pwrite(fd, head, sizeof(head), 0, NULL), 0);
    assert_int_equal(spool_reader_open(&r, fd, 0, &err), ERR_FORMAT);
    assert_non_null(strstr(err.text, "version 2"));
    assert_int_equal(io_pwrite(fd, "X", 1, 0, NULL), 0);
    assert_int_equal(spool_reader_open(&r, fd, 0, &err), ERR_FORMAT);
}

static void limits_hold(void **state)
{
    (void)state;
    AUTO(fd_close) int fd = new_file();
    struct spool_writer w;
    struct sha256 hash = hash_of("");
    static uint8_t large[SPOOL_CHUNK_PAYLOAD_MAX_BYTES + 1];
    assert_int_equal(spool_writer_open(&w, fd, JOB, NULL), 0);
    struct span too_much = span_of(large, sizeof(large));
    assert_int_equal(spool_append(&w, SPOOL_CHUNK, too_much, NULL), ERR_LIMIT);
    assert_int_equal(spool_append(&w, SPOOL_NOTE, span_of(large, SPOOL_JSON_MAX_BYTES + 1), NULL),
                     ERR_LIMIT);
    assert_int_equal(
        spool_append_chunk(&w, &hash, SPOOL_CHUNK_MAX_BYTES + 1, span_of("z", 1), NULL), ERR_LIMIT);
    assert_int_equal(spool_append(&w, (enum spool_type)9, span_of("z", 1), NULL), ERR_LIMIT);
    assert_int_equal(w.end, SPOOL_HEADER_BYTES);
    assert_int_equal(io_size(fd, NULL), SPOOL_HEADER_BYTES);
    /* a record that claims 4 GB: torn, and no memory is asked for */
    uint8_t head[SPOOL_RECORD_BYTES] = {SPOOL_CHUNK, 0, 0, 0, 0xff, 0xff, 0xff, 0xff};
    struct spool_reader r;
    assert_int_equal(io_pwrite(fd, head, sizeof(head), w.end, NULL), 0);
    assert_int_equal(count_records(fd, &r), 0);
    assert_true(r.torn);
}

/* ---- manifests ---- */

#define HASH "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define PARTITION(name, area, offset, size, plausible, chunks)                                     \
    "{\"name\":\"" name "\",\"area\":\"" area "\",\"offset\":" offset ",\"size\":" size            \
    ",\"sha256\":\"" HASH "\",\"plausible\":\"" plausible "\",\"reason\":\"\",\"chunks\":" chunks  \
    "}"
#define BACKUP(key, chip, members)                                                                 \
    "{\"key\":\"" key "\",\"chip_id\":\"" chip "\",\"serial\":\"\",\"verdict\":\"usable\","        \
    "\"complete\":true,\"partitions\":" members "}"
#define MEMBER "{\"name\":\"nvram\",\"sha256\":\"" HASH "\"}"

static const struct row {
    const char *name;
    enum spool_type type;
    const char *json;
    int want;
} rows[] = {
    {"one chunk", SPOOL_PARTITION, PARTITION("nvram", "USER", "0", "3", "yes", "[\"" HASH "\"]"),
     0},
    {"nothing", SPOOL_PARTITION, PARTITION("nvram", "USER", "0", "0", "unknown", "[]"), 0},
    {"too few chunks", SPOOL_PARTITION,
     PARTITION("nvram", "USER", "0", "1048577", "no", "[\"" HASH "\"]"), ERR_FORMAT},
    {"negative size", SPOOL_PARTITION, PARTITION("nvram", "USER", "0", "-1", "no", "[]"),
     ERR_FORMAT},
    {"path as a name", SPOOL_PARTITION, PARTITION("../x", "USER", "0", "0", "no", "[]"),
     ERR_FORMAT},
    {"no name", SPOOL_PARTITION, PARTITION("", "USER", "0", "0", "no", "[]"), ERR_FORMAT},
    {"area too long", SPOOL_PARTITION, PARTITION("a", "USERUSER", "0", "0", "no", "[]"),
     ERR_FORMAT},
    {"other verdict", SPOOL_PARTITION, PARTITION("a", "USER", "0", "0", "maybe", "[]"), ERR_FORMAT},
    {"absurd size", SPOOL_PARTITION, PARTITION("a", "USER", "0", "9223372036854775807", "no", "[]"),
     ERR_FORMAT},
    {"number as chunk", SPOOL_PARTITION, PARTITION("a", "USER", "0", "3", "no", "[7]"), ERR_FORMAT},
    {"not an object", SPOOL_PARTITION, "[]", ERR_FORMAT},
    {"not JSON", SPOOL_PARTITION, "{\"name\":", ERR_FORMAT},
    {"backup", SPOOL_BACKUP, BACKUP("pre", "00ff", "[" MEMBER "]"), 0},
    {"backup of a file", SPOOL_BACKUP, BACKUP("dump", "", "[" MEMBER "]"), 0},
    {"member twice", SPOOL_BACKUP, BACKUP("pre", "", "[" MEMBER "," MEMBER "]"), ERR_FORMAT},
    {"no member", SPOOL_BACKUP, BACKUP("pre", "", "[]"), ERR_FORMAT},
    {"chip in capitals", SPOOL_BACKUP, BACKUP("pre", "FF", "[" MEMBER "]"), ERR_FORMAT},
    {"unknown field", SPOOL_BACKUP, "{\"key\":\"pre\",\"more\":1}", ERR_FORMAT},
};

static void manifest_row(void **state)
{
    const struct row *row = ROW(state);
    struct span payload = span_of(row->json, strlen(row->json));
    if (row->type == SPOOL_PARTITION) {
        struct spool_partition p = {0};
        assert_int_equal(spool_partition_decode(payload, &p, NULL), row->want);
        json_auto_t *again = row->want == 0 ? spool_partition_encode(&p) : NULL;
        json_auto_t *first = json_loads(row->json, 0, NULL);
        if (row->want == 0)
            assert_true(json_equal(first, again));
        spool_partition_deinit(&p);
        return;
    }
    struct spool_backup b;
    assert_int_equal(spool_backup_decode(payload, &b, NULL), row->want);
    json_auto_t *again = row->want == 0 ? spool_backup_encode(&b) : NULL;
    json_auto_t *first = json_loads(row->json, 0, NULL);
    if (row->want == 0)
        assert_true(json_equal(first, again));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_come_back),
        cmocka_unit_test(a_torn_tail_is_cut_off),
        cmocka_unit_test(a_flipped_byte_ends_the_file),
        cmocka_unit_test(foreign_files_are_refused),
        cmocka_unit_test(limits_hold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) + RUN_ROWS(manifest_row, rows);
}
