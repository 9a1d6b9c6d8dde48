/* Backups: spools in, images out, who owns what, and what a permit asks for. */
#include "tests/unit/store_spool.h"

#include <inttypes.h>
#include <sys/stat.h>

#include "usb/base/clock.h"
#include "usb/base/io.h"

#define SERIAL_A "PDAGATEST0000001"
#define SERIAL_B "PDAGATEST0000002"
static const size_t large_bytes = 3 * CHUNK_BYTES + 4711;

/* One phone, its job, and a spool that holds nvram (large) and elabel (of all phones alike). */
struct scene {
    const char *chip;
    int64_t phone_id, job_id;
    struct spooling spool;
    struct span nvram;
    struct sha256 manifest;
    struct store_backup_meta meta;
};

static int64_t add_order(struct bench *b, const char *port_id, int64_t phone_id, const char *serial)
{
    struct call c = {0};
    CALL_OK(
        b, &c, store_job_add,
        (&(struct store_job_new){
            .recipe = "x5-restore", .port_id = port_id, .phone_id = phone_id, .serial = serial}));
    int64_t id = id_of(c.body);
    CALL_OK(b, &c, store_job_change, id, (&(struct store_job_change){.state = "running"}));
    json_decref(c.body);
    return id;
}

static void scene_open(struct bench *b, struct scene *s, const char *chip, const char *serial,
                       uint32_t seed)
{
    s->chip = chip;
    s->phone_id = add_phone(b, chip, serial);
    s->job_id = add_order(b, chip, s->phone_id, serial);
    s->nvram = noise(large_bytes, seed);
    spooling_open(&s->spool, s->job_id);
    spooling_image(&s->spool, "nvram", s->nvram, SPOOL_PLAUSIBLE_YES);
    spooling_image(&s->spool, "elabel", span_of("label", 5), SPOOL_PLAUSIBLE_YES);
    s->meta = (struct store_backup_meta){s->job_id, s->phone_id, "station", NULL};
    s->manifest = spooling_finish(&s->spool, "pre", chip, serial ? serial : "");
}

static void scene_close(struct scene *s)
{
    span_free(&s->nvram);
    fd_close(&s->spool.fd);
}

static int64_t scene_ingest(struct bench *b, struct scene *s)
{
    struct call c = {0};
    CALL_OK(b, &c, store_spool_ingest, s->spool.fd, 0, &s->meta);
    int64_t id = id_of(json_array_get(json_object_get(c.body, "backups"), 0));
    json_decref(c.body);
    return id;
}

static void expect_image(struct bench *b, int64_t backup, const char *name, struct span want)
{
    struct call c = {.fd = -1};
    store_backup_open(b->store, backup, name, call_fd_done, &c);
    call_wait(b, &c);
    if (c.code < 0)
        fail_msg("%s", c.err.text);
    assert_int_equal(c.size_bytes, want.len);
    assert_int_equal(io_size(c.fd, NULL), want.len);
    uint8_t *have = xcalloc(want.len, 1);
    assert_int_equal(io_pread(c.fd, have, want.len, 0, NULL), 0);
    assert_memory_equal(have, want.data, want.len);
    assert_int_equal(write(c.fd, "x", 1), -1); /* a reader cannot change it */
    free(have);
    close(c.fd);
}

static int open_code(struct bench *b, int64_t backup, const char *name)
{
    struct call c = {0};
    store_backup_open(b->store, backup, name, call_fd_done, &c);
    call_wait(b, &c);
    assert_int_equal(c.fd, -1);
    return c.code;
}

static void an_image_comes_out_as_it_went_in(void **state)
{
    struct bench *b = *state;
    struct scene s;
    struct call c = {0};
    scene_open(b, &s, CHIP_A, SERIAL_A, 1);
    int64_t backup = scene_ingest(b, &s);
    expect_image(b, backup, "nvram", s.nvram);
    expect_image(b, backup, "elabel", span_of("label", 5));
    assert_int_equal(open_code(b, backup, "proinfo"), ERR_NOT_FOUND);
    assert_int_equal(open_code(b, 9, "nvram"), ERR_NOT_FOUND);
    CALL_OK(b, &c, store_backup_get, backup);
    char hex[SHA256_HEX_BYTES];
    sha256_hex(&s.manifest, hex);
    assert_string_equal(text_of(c.body, "manifest_sha256"), hex);
    assert_string_equal(text_of(c.body, "origin"), "station");
    assert_string_equal(text_of(c.body, "serial"), SERIAL_A);
    assert_true(json_is_true(json_object_get(c.body, "complete")));
    json_t *first = json_array_get(json_object_get(c.body, "partitions"), 0);
    assert_string_equal(text_of(first, "name"), "nvram");
    assert_string_equal(text_of(first, "plausible"), "yes");
    assert_int_equal(json_integer_value(json_object_get(first, "size")), large_bytes);
    CALL_OK(b, &c, store_phone_get, s.phone_id);
    assert_int_equal(json_array_size(json_object_get(c.body, "backups")), 1);
    assert_string_equal(b->last_type, "phone");
    json_decref(c.body);
    scene_close(&s);
}

static void zeros_become_holes(void **state)
{
    struct bench *b = *state;
    struct spooling spool;
    struct call c = {.fd = -1};
    uint8_t *zeros = xcalloc(8, CHUNK_BYTES);
    memcpy(zeros + 5 * CHUNK_BYTES, "data", 4);
    spooling_open(&spool, 0);
    spooling_image(&spool, "nvdata", span_of(zeros, 8 * CHUNK_BYTES), SPOOL_PLAUSIBLE_NO);
    spooling_finish(&spool, "dump", "", "");
    CALL_OK(b, &c, store_spool_ingest, spool.fd, 0,
            (&(struct store_backup_meta){.origin = "import"}));
    json_decref(c.body);
    assert_int_equal(bench_count(b, "backups.db", "SELECT count(*) AS n FROM chunk"), 2);
    expect_image(b, 1, "nvdata", span_of(zeros, 8 * CHUNK_BYTES));
    c = (struct call){.fd = -1};
    store_backup_open(b->store, 1, "nvdata", call_fd_done, &c);
    call_wait(b, &c);
    struct stat st;
    assert_int_equal(fstat(c.fd, &st), 0);
    assert_true(st.st_blocks * 512 <= 2 * (int64_t)CHUNK_BYTES);
    assert_int_equal(st.st_nlink, 0);
    close(c.fd);
    close(spool.fd);
    free(zeros);
}

static void equal_chunks_are_stored_once(void **state)
{
    struct bench *b = *state;
    struct scene one, two;
    scene_open(b, &one, CHIP_A, SERIAL_A, 1);
    scene_ingest(b, &one);
    assert_int_equal(bench_count(b, "backups.db", "SELECT count(*) AS n FROM chunk"), 5);
    scene_open(b, &two, CHIP_B, SERIAL_B, 1);
    int64_t backup = scene_ingest(b, &two);
    assert_int_equal(bench_count(b, "backups.db", "SELECT count(*) AS n FROM chunk"), 5);
    assert_int_equal(bench_count(b, "backups.db", "SELECT count(*) AS n FROM image"), 2);
    expect_image(b, backup, "nvram", two.nvram);
    scene_close(&one);
    scene_close(&two);
}

static void doing_it_again_changes_nothing(void **state)
{
    struct bench *b = *state;
    struct scene s;
    struct call c = {0};
    scene_open(b, &s, CHIP_A, SERIAL_A, 1);
    assert_int_equal(scene_ingest(b, &s), 1);
    size_t events = b->event_count;
    assert_int_equal(scene_ingest(b, &s), 1);
    assert_int_equal(b->event_count, events);
    CALL_OK(b, &c, store_backup_list, 0, NULL, NULL);
    assert_int_equal(item_count(&c), 1);
    /* a resumed job takes another one of what it finds then */
    struct spooling other;
    spooling_open(&other, s.job_id);
    spooling_image(&other, "nvram", span_of("other", 5), SPOOL_PLAUSIBLE_YES);
    spooling_finish(&other, "pre", CHIP_A, SERIAL_A);
    CALL_OK(b, &c, store_spool_ingest, other.fd, 0, &s.meta);
    assert_int_equal(id_of(json_array_get(json_object_get(c.body, "backups"), 0)), 2);
    json_decref(c.body);
    close(other.fd);
    scene_close(&s);
}

/* A spool that grows: what came before is not taken in twice, a manifest may name it all the same.
 */
static void a_spool_is_read_on(void **state)
{
    struct bench *b = *state;
    struct spooling spool;
    struct call c = {0};
    int64_t phone = add_phone(b, CHIP_A, SERIAL_A), job = add_job(b, "p1", phone);
    const struct store_backup_meta meta = {job, phone, "station", NULL};
    json_auto_t *step = json_pack("{s:s, s:i}", "step", "S5", "attempt", 1);
    spooling_open(&spool, job);
    spooling_image(&spool, "nvram", span_of("one", 3), SPOOL_PLAUSIBLE_YES);
    CALL_OK(b, &c, store_spool_ingest, spool.fd, 0, &meta);
    assert_int_equal(json_array_size(json_object_get(c.body, "backups")), 0);
    int64_t end = json_integer_value(json_object_get(c.body, "valid_end"));
    assert_int_equal(end, spool.writer.end);
    assert_int_equal(spool_append_json(&spool.writer, SPOOL_STEP_RESULT, step, NULL), 0);
    spooling_finish(&spool, "pre", CHIP_A, SERIAL_A);
    CALL_OK(b, &c, store_spool_ingest, spool.fd, end, &meta);
    assert_int_equal(json_array_size(json_object_get(c.body, "backups")), 1);
    assert_int_equal(json_integer_value(json_object_get(c.body, "chunks")), 0);
    json_t *record = json_array_get(json_object_get(c.body, "records"), 0);
    assert_string_equal(text_of(record, "type"), "step_result");
    assert_true(json_equal(json_object_get(record, "body"), step));
    assert_int_equal(ftruncate(spool.fd, spool.writer.end - 1), 0);
    CALL_OK(b, &c, store_spool_ingest, spool.fd, 0, &meta);
    assert_true(json_is_true(json_object_get(c.body, "torn")));
    assert_int_equal(json_array_size(json_object_get(c.body, "backups")), 0);
    json_decref(c.body);
    close(spool.fd);
}

/* ---- spools that lie ---- */

static int ingest_code(struct bench *b, struct spooling *spool)
{
    struct call c = {0}, list = {0};
    CALL(b, &c, store_spool_ingest, spool->fd, 0,
         (&(struct store_backup_meta){.origin = "import"}));
    CALL_OK(b, &list, store_backup_list, 0, NULL, NULL);
    assert_int_equal(item_count(&list), 0);
    json_decref(list.body);
    json_decref(c.body);
    close(spool->fd);
    return c.code;
}

static void append_lie(struct spooling *spool, struct sha256 hash, uint32_t raw_bytes)
{
    struct buf packed;
    buf_init(&packed, CHUNK_PACKED_MAX);
    assert_int_equal(chunk_compress(span_of("truth", 5), &packed, NULL), 0);
    assert_int_equal(spool_append_chunk(&spool->writer, &hash, raw_bytes, buf_span(&packed), NULL),
                     0);
    buf_deinit(&packed);
}

static void lies_are_found(void **state)
{
    struct bench *b = *state;
    struct spooling spool;
    spooling_open(&spool, 0);
    spooling_chunk(&spool, span_of("whole", 5));
    append_lie(&spool, sha256_of(span_of("lie", 3)), 5);
    assert_int_equal(ingest_code(b, &spool), ERR_VERIFY);
    assert_int_equal(bench_count(b, "backups.db", "SELECT count(*) AS n FROM chunk"),
                     1); /* the whole one is kept */

    spooling_open(&spool, 0);
    append_lie(&spool, sha256_of(span_of("truth", 5)), 6);
    assert_int_equal(ingest_code(b, &spool), ERR_FORMAT);

    spooling_open(&spool, 0); /* a manifest of chunks that never came */
    struct spool_partition p = {.name = "nvram", .area = "USER", .size_bytes = 3, .chunk_count = 1};
    struct sha256 hash = sha256_of(span_of("abc", 3));
    p.sha256 = hash;
    p.chunks = &hash;
    json_auto_t *manifest = spool_partition_encode(&p);
    spool_append_json(&spool.writer, SPOOL_PARTITION, manifest, NULL);
    assert_int_equal(ingest_code(b, &spool), ERR_VERIFY);

    spooling_open(&spool, 0); /* the image's hash is another one than that of its chunks */
    hash = spooling_chunk(&spool, span_of("abc", 3));
    p.sha256 = sha256_of(span_of("abd", 3));
    json_auto_t *other = spool_partition_encode(&p);
    spool_append_json(&spool.writer, SPOOL_PARTITION, other, NULL);
    assert_int_equal(ingest_code(b, &spool), ERR_VERIFY);

    spooling_open(&spool, 0); /* a member that is not in the spool */
    spooling_image(&spool, "nvram", span_of("abc", 3), SPOOL_PLAUSIBLE_YES);
    spool.backup.partitions[0].sha256 = sha256_of(span_of("abd", 3));
    spooling_finish(&spool, "pre", "", "");
    assert_int_equal(ingest_code(b, &spool), ERR_VERIFY);
}

static void a_backup_is_filed_under_its_own_chip(void **state)
{
    struct bench *b = *state;
    struct scene s;
    struct call c = {0};
    scene_open(b, &s, CHIP_A, SERIAL_A, 1);
    s.meta.phone_id = add_phone(b, CHIP_B, SERIAL_B);
    CALL(b, &c, store_spool_ingest, s.spool.fd, 0, &s.meta);
    assert_int_equal(c.code, ERR_MISMATCH);
    CALL_OK(b, &c, store_backup_list, 0, NULL, NULL);
    assert_int_equal(item_count(&c), 0);
    json_decref(c.body);
    scene_close(&s);
}

static void damage_on_disk_is_found(void **state)
{
    struct bench *b = *state;
    struct scene s;
    scene_open(b, &s, CHIP_A, SERIAL_A, 1);
    int64_t backup = scene_ingest(b, &s);
    bench_change(b, "backups.db", "UPDATE image_chunk SET chunk_id = 1 WHERE seq = 2");
    assert_int_equal(open_code(b, backup, "nvram"), ERR_VERIFY);
    bench_change(b, "backups.db", "UPDATE chunk SET packed = x'00' WHERE id = 1");
    assert_int_equal(open_code(b, backup, "nvram"), ERR_FORMAT);
    scene_close(&s);
}

/* A backup that was whole yesterday: reading it again finds what the disk did to it, and says so. */
static void verifying_finds_damage(void **state)
{
    struct bench *b = *state;
    struct scene s;
    struct call c = {0};
    scene_open(b, &s, CHIP_A, SERIAL_A, 1);
    int64_t backup = scene_ingest(b, &s);
    CALL_OK(b, &c, store_backup_verify, backup);
    assert_true(json_is_null(json_object_get(c.body, "damage")));
    assert_true(json_is_string(json_object_get(c.body, "verified_at")));
    CALL_OK(b, &c, store_backup_damaged, NULL);
    assert_int_equal(json_array_size(json_object_get(c.body, "items")), 0);
    CALL_OK(b, &c, store_backup_verify_due, 1000); /* long before it was stored: none is due */
    assert_null(c.body);
    bench_change(b, "backups.db", "UPDATE chunk SET packed = x'00' WHERE id = 2");
    CALL_OK(b, &c, store_backup_verify_due, clock_utc_ms() + 1000);
    assert_int_equal(id_of(c.body), backup);
    assert_non_null(strstr(text_of(c.body, "damage"), "nvram"));
    assert_string_equal(b->last_type, "phone");
    assert_int_equal(json_array_size(json_object_get(b->last_body, "damaged_backups")), 1);
    CALL_OK(b, &c, store_backup_damaged, NULL);
    assert_int_equal(id_of(item(&c, 0)), backup);
    CALL_OK(b, &c, store_audit_list, NULL);
    assert_string_equal(text_of(item(&c, 0), "action"), "backup.damaged");
    CALL(b, &c, store_backup_verify, 0);
    assert_int_equal(c.code, ERR_NOT_FOUND);
    json_decref(c.body);
    scene_close(&s);
}

/* Read while the clock was a year ahead: it is read again, not a year from now. */
static void a_clock_that_was_ahead_holds_up_no_reading(void **state)
{
    struct bench *b = *state;
    struct scene s;
    struct call c = {0};
    scene_open(b, &s, CHIP_A, SERIAL_A, 1);
    int64_t backup = scene_ingest(b, &s), day_ms = 24 * 3600 * 1000;
    clock_test_shift_utc(365 * day_ms);
    CALL_OK(b, &c, store_backup_verify, backup);
    clock_test_shift_utc(0);
    CALL_OK(b, &c, store_backup_verify_due, clock_utc_ms() - day_ms);
    assert_int_equal(id_of(c.body), backup);
    CALL_OK(b, &c, store_backup_verify_due, clock_utc_ms() - day_ms);
    assert_null(c.body);
    json_decref(c.body);
    scene_close(&s);
}

/* What a disk may do to nvram of backup 1: chunk 2 is the second of its four. */
static const char *const losses[] = {
    "UPDATE chunk SET packed = x'00' WHERE id = 2",
    "UPDATE chunk SET packed = CAST(substr(packed, 1, 1000) || x'5a' || substr(packed, 1002) AS"
    " BLOB) WHERE id = 2",
    "UPDATE chunk SET packed = (SELECT packed FROM chunk WHERE id = 1) WHERE id = 2",
    "UPDATE chunk SET raw_bytes = raw_bytes - 1 WHERE id = 2",
    "UPDATE image_chunk SET chunk_id = 1 WHERE image_id = 1 AND seq = 1",
    "DELETE FROM image_chunk WHERE image_id = 1 AND seq = 3",
};

/* Law 1: a pre-image is as good as the bytes that are stored, and those may be of an earlier backup and rotten since. What
 * comes in again takes their place, and both backups are whole. */
static void what_is_saved_again_is_whole(void **state)
{
    struct bench *b = *state;
    struct scene s;
    struct call c = {0};
    scene_open(b, &s, CHIP_A, SERIAL_A, 1);
    int64_t first = scene_ingest(b, &s);
    for (size_t i = 0; i < ARRAY_LEN(losses); i++) {
        bench_change(b, "backups.db", losses[i]);
        assert_true(open_code(b, first, "nvram") < 0);
        CALL_OK(b, &c, store_backup_verify, first);
        assert_true(json_is_string(json_object_get(c.body, "damage")));
        s.meta.job_id = add_job(b, CHIP_A, s.phone_id); /* another one saves the same */
        int64_t again = scene_ingest(b, &s);
        assert_int_not_equal(again, first);
        expect_image(b, again, "nvram", s.nvram);
        expect_image(b, first, "nvram", s.nvram);
        CALL_OK(b, &c, store_backup_verify, again); /* behind the reading that the repair began */
        CALL_OK(b, &c, store_backup_get, first);
        assert_true(json_is_null(json_object_get(c.body, "damage")));
    }
    bench_change(b, "backups.db",
                 "UPDATE image SET size_bytes = 1"); /* read by nobody but the next one who saves */
    scene_ingest(b, &s);
    assert_int_equal(
        bench_count(b, "backups.db", "SELECT count(*) AS n FROM image WHERE size_bytes > 1"), 2);
    CALL_OK(b, &c, store_phone_get, s.phone_id);
    assert_int_equal(json_array_size(json_object_get(c.body, "damaged_backups")), 0);
    CALL_OK(b, &c, store_audit_list, NULL);
    assert_string_equal(text_of(item(&c, 0), "action"), "backup.whole");
    json_decref(c.body);
    scene_close(&s);
}

/* A chunk of several images is put right by any of them; a backup of other images that are gone stays damaged. */
static void only_what_came_again_is_whole(void **state)
{
    struct bench *b = *state;
    struct scene s;
    struct spooling spool;
    struct call c = {0};
    scene_open(b, &s, CHIP_A, SERIAL_A, 1);
    int64_t first = scene_ingest(b, &s);
    bench_change(b, "backups.db", "UPDATE chunk SET packed = x'00' WHERE id IN (1, 5)");
    CALL_OK(b, &c, store_backup_verify, first);
    spooling_open(&spool, s.job_id);
    spooling_image(&spool, "elabel", span_of("label", 5), SPOOL_PLAUSIBLE_YES);
    spooling_finish(&spool, "pre", CHIP_A, SERIAL_A);
    CALL_OK(b, &c, store_spool_ingest, spool.fd, 0, &s.meta);
    CALL_OK(b, &c, store_backup_verify, first);
    assert_non_null(strstr(text_of(c.body, "damage"), "nvram"));
    expect_image(b, first, "elabel", span_of("label", 5));
    json_decref(c.body);
    close(spool.fd);
    scene_close(&s);
}

/* ---- whose ---- */

static void twins_are_other_phones_with_equal_plausible_images(void **state)
{
    struct bench *b = *state;
    struct scene own, twin, stranger;
    struct call c = {0};
    scene_open(b, &own, CHIP_A, SERIAL_A, 1);
    int64_t backup = scene_ingest(b, &own);
    scene_open(b, &stranger, "aaaaaaaabbbbbbbb", "PDAGATEST0000003", 3);
    scene_ingest(b, &stranger);
    CALL_OK(b, &c, store_order_check, backup, 0, NULL);
    assert_int_equal(json_array_size(json_object_get(c.body, "twins")), 0);
    scene_open(b, &twin, CHIP_B, SERIAL_B, 1);
    scene_ingest(b, &twin);
    CALL_OK(b, &c, store_order_check, backup, 0, NULL);
    assert_int_equal(json_array_size(json_object_get(c.body, "twins")), 1);
    json_t *found = json_array_get(json_object_get(c.body, "twins"), 0);
    assert_string_equal(text_of(found, "serial"), SERIAL_B);
    json_decref(c.body);
    scene_close(&own);
    scene_close(&twin);
    scene_close(&stranger);
}

/* All wiped phones hold the same zeros. */
static void wiped_phones_are_no_twins(void **state)
{
    struct bench *b = *state;
    static const char *const chips[] = {CHIP_A, CHIP_B};
    struct call c = {0};
    for (size_t i = 0; i < ARRAY_LEN(chips); i++) {
        struct spooling spool;
        int64_t phone = add_phone(b, chips[i], NULL), job = add_job(b, chips[i], phone);
        const struct store_backup_meta meta = {job, phone, "station", NULL};
        spooling_open(&spool, job);
        spooling_image(&spool, "nvram", span_of("\0\0\0\0", 4), SPOOL_PLAUSIBLE_NO);
        spooling_finish(&spool, "pre", chips[i], "");
        CALL_OK(b, &c, store_spool_ingest, spool.fd, 0, &meta);
        close(spool.fd);
    }
    CALL_OK(b, &c, store_order_check, 2, 0, NULL);
    assert_int_equal(json_array_size(json_object_get(c.body, "twins")), 0);
    json_decref(c.body);
}

/* A dump whose proinfo tells no serial, imported for the phone with this label; with a chip id, an export of another
 * station. */
static int64_t import_of_chip(struct bench *b, const char *serial, const char *chip)
{
    struct spooling spool;
    struct call c = {0};
    spooling_open(&spool, 0);
    spooling_image(&spool, "nvram", span_of("dump", 4), SPOOL_PLAUSIBLE_YES);
    spooling_finish(&spool, "dump", chip, "");
    CALL_OK(b, &c, store_spool_ingest, spool.fd, 0,
            (&(struct store_backup_meta){.origin = "import", .serial = serial}));
    int64_t id = id_of(json_array_get(json_object_get(c.body, "backups"), 0));
    json_decref(c.body);
    close(spool.fd);
    return id;
}

static int64_t import_dump(struct bench *b, const char *serial)
{
    return import_of_chip(b, serial, "");
}

/* ---- permits ---- */

static struct store_permit_new permit_of(const struct scene *s, int64_t backup, int64_t source)
{
    return (struct store_permit_new){.job_id = s->job_id,
                                     .backup_id = backup,
                                     .source_backup_id = source,
                                     .manifest = s->manifest,
                                     .chip_id = s->chip};
}

static void expect_refusal(struct bench *b, struct store_permit_new permit, const char *why)
{
    struct call c = {0};
    CALL(b, &c, store_permit_add, &permit);
    assert_int_equal(c.code, ERR_REFUSED);
    if (!strstr(c.err.text, why))
        fail_msg("'%s' does not say '%s'", c.err.text, why);
}

/* No permit, and what stands against it is on record. */
static void expect_conflict(struct bench *b, struct store_permit_new permit, const char *kind)
{
    struct call c = {0};
    CALL_OK(b, &c, store_permit_add, &permit);
    json_t *conflict = json_object_get(c.body, "conflict");
    assert_string_equal(text_of(conflict, "kind"), kind);
    CALL_OK(b, &c, store_permit_list, permit.job_id);
    assert_int_equal(item_count(&c), 0);
    json_decref(c.body);
}

static void expect_permit(struct bench *b, struct store_permit_new permit)
{
    struct call c = {0};
    CALL_OK(b, &c, store_permit_add, &permit);
    assert_string_equal(text_of(c.body, "chip_id"), permit.chip_id);
    json_decref(c.body);
}

static void expect_owner(struct bench *b, int64_t backup, int64_t phone_id)
{
    struct call c = {0};
    CALL_OK(b, &c, store_backup_get, backup);
    assert_int_equal(store_id(json_string_value(json_object_get(c.body, "phone_id"))), phone_id);
    json_decref(c.body);
}

static void a_permit_needs_its_proofs(void **state)
{
    struct bench *b = *state;
    struct scene s, other;
    struct call c = {0};
    scene_open(b, &s, CHIP_A, SERIAL_A, 1);
    scene_open(b, &other, CHIP_B, SERIAL_B, 2);
    int64_t backup = scene_ingest(b, &s), foreign = scene_ingest(b, &other);
    int64_t import = import_dump(b, SERIAL_A);
    struct store_permit_new p = permit_of(&s, backup, 0);
    p.chip_id = CHIP_B;
    expect_refusal(b, p, "another chip id");
    expect_refusal(b, permit_of(&s, foreign, 0), "took from this chip");
    expect_refusal(b, permit_of(&s, import, 0), "took from this chip");
    expect_refusal(b, permit_of(&s, 0, 0), "took from this chip");
    p = permit_of(&s, backup, 0);
    p.manifest = other.manifest;
    expect_refusal(b, p, "manifest");
    expect_refusal(b, permit_of(&s, backup, foreign), "not bound");
    expect_refusal(b, permit_of(&other, foreign, import), "another serial");
    p = permit_of(&s, backup, import);
    p.job_id = 99;
    expect_refusal(b, p, "no such job");
    expect_owner(b, import, 0);
    expect_permit(b, permit_of(&s, backup, import));
    expect_owner(b, import, s.phone_id);
    CALL_OK(b, &c, store_permit_list, s.job_id);
    assert_int_equal(item_count(&c), 1);
    CALL_OK(b, &c, store_job_change, s.job_id, (&(struct store_job_change){.state = "failed"}));
    expect_refusal(b, permit_of(&s, backup, 0), "does not run");
    json_decref(c.body);
    scene_close(&s);
    scene_close(&other);
}

/* The slots with an earlier job's service LK that the worker is told of with its permit. */
static void expect_slots(struct bench *b, struct store_permit_new permit, const char *want)
{
    struct call c = {0};
    CALL_OK(b, &c, store_permit_add, &permit);
    const char *told = json_string_value(json_object_get(c.body, "service_lk"));
    assert_string_equal(told ? told : "none", want);
    json_decref(c.body);
}

/* Runs to `state` with the service LK sent to lk_a at that time, or with no LK; the next order for this phone follows. */
static void run_job(struct bench *b, struct scene *s, bool service_lk, const char *state)
{
    struct call c = {0};
    json_auto_t *steps = json_array();
    json_auto_t *extents = json_array();
    if (service_lk)
        json_array_append_new(extents, json_pack("{s:s, s:s, s:s, s:s, s:i, s:i, s:n, s:I}", "step",
                                                 "S9", "kind", "service_lk", "partition", "lk_a",
                                                 "phase", "sent", "offset", 0, "length", 4096,
                                                 "sha256", "at_ms", (json_int_t)clock_utc_ms()));
    CALL_OK(b, &c, store_run_begin, s->job_id, s->chip);
    CALL_OK(b, &c, store_run_adopt, s->job_id, steps, extents);
    CALL_OK(b, &c, store_run_end, s->job_id, state, NULL, NULL);
    CALL_OK(b, &c, store_job_change, s->job_id, (&(struct store_job_change){.state = state}));
    json_decref(c.body);
    s->job_id = add_order(b, s->chip, s->phone_id, SERIAL_A);
}

/* Law 5: which job cleaned a phone is told by the order of the permits. A job that succeeded while the clock was ahead
 * did not clean up behind one that failed later, nor does a clock that falls back undo what was cleaned. */
static void a_service_lk_is_known_whatever_the_clock_says(void **state)
{
    struct bench *b = *state;
    struct scene s;
    scene_open(b, &s, CHIP_A, SERIAL_A, 1);
    int64_t backup = scene_ingest(b, &s), day_ms = 24 * 3600 * 1000;
    clock_test_shift_utc(day_ms);
    expect_slots(b, permit_of(&s, backup, 0), "none");
    run_job(b, &s, true, "succeeded");
    clock_test_shift_utc(-day_ms);
    expect_slots(b, permit_of(&s, backup, 0), "none");
    run_job(b, &s, true, "failed");
    expect_slots(b, permit_of(&s, backup, 0), "lk_a");
    run_job(b, &s, false, "failed");
    clock_test_shift_utc(-2 * day_ms);
    expect_slots(b, permit_of(&s, backup, 0), "lk_a");
    run_job(b, &s, false, "succeeded");
    expect_slots(b, permit_of(&s, backup, 0), "none");
    clock_test_shift_utc(0);
    scene_close(&s);
}

static void no_permit_while_a_conflict_is_open(void **state)
{
    struct bench *b = *state;
    struct scene s;
    struct call c = {0};
    scene_open(b, &s, CHIP_A, SERIAL_A, 1);
    int64_t backup = scene_ingest(b, &s);
    add_phone(b, CHIP_B, SERIAL_A); /* somebody else shows up with its serial */
    expect_conflict(b, permit_of(&s, backup, 0), "serial");
    CALL_OK(b, &c, store_conflict_resolve, 1, "anna", "the label was scanned at both", "1");
    expect_permit(b, permit_of(&s, backup, 0));
    json_decref(c.body);
    scene_close(&s);
}

/* Law 2: a phone that is known by its label gets no other label's backup, and nothing is learned or bound. */
static void a_known_phone_gets_no_other_label(void **state)
{
    struct bench *b = *state;
    struct scene s;
    struct call c = {0};
    scene_open(b, &s, CHIP_A, SERIAL_A, 1);
    int64_t backup = scene_ingest(b, &s), import = import_dump(b, SERIAL_B);
    CALL_OK(b, &c, store_job_change, s.job_id, (&(struct store_job_change){.state = "failed"}));
    s.job_id = add_order(b, CHIP_A, s.phone_id, SERIAL_B);
    expect_conflict(b, permit_of(&s, backup, import), "two_serials");
    expect_conflict(b, permit_of(&s, backup, import), "two_serials");
    expect_owner(b, import, 0);
    CALL_OK(b, &c, store_conflict_list, NULL, NULL);
    assert_int_equal(item_count(&c), 1); /* asked twice, one conflict */
    CALL_OK(b, &c, store_phone_get, s.phone_id);
    assert_string_equal(text_of(c.body, "serial"), SERIAL_A);
    CALL_OK(b, &c, store_conflict_resolve, 1, "anna", "label compared", SERIAL_B);
    expect_permit(b, permit_of(&s, backup, import));
    expect_owner(b, import, s.phone_id);
    json_decref(c.body);
    scene_close(&s);
}

/* Two phones with one label at the same time: whoever comes first gets the backup, an admin may change that. */
static void an_import_is_bound_once(void **state)
{
    struct bench *b = *state;
    struct scene one, two;
    struct call c = {0};
    int64_t import = import_dump(b, SERIAL_A);
    assert_int_equal(import_dump(b, SERIAL_A), import); /* the same dump again */
    scene_open(b, &one, CHIP_A, NULL, 1);
    scene_open(b, &two, CHIP_B, NULL, 2);
    int64_t first = scene_ingest(b, &one), second = scene_ingest(b, &two);
    for (struct scene *s = &one; s; s = s == &one ? &two : NULL)
        CALL_OK(b, &c, store_job_change, s->job_id,
                (&(struct store_job_change){.serial = SERIAL_A}));
    expect_permit(b, permit_of(&one, first, import));
    expect_conflict(b, permit_of(&two, second, import), "serial");
    CALL_OK(b, &c, store_conflict_resolve, 1, "anna", "the other one's label", "2");
    expect_conflict(b, permit_of(&two, second, import), "import_claim");
    expect_owner(b, import, one.phone_id);
    CALL_OK(b, &c, store_conflict_resolve, 2, "anna", "the other one's dump", "2");
    expect_owner(b, import, two.phone_id);
    expect_permit(b, permit_of(&two, second, import));
    CALL_OK(b, &c, store_phone_get, one.phone_id);
    assert_string_equal(text_of(c.body, "identity"), "donor"); /* it was allowed to write it */
    json_decref(c.body);
    scene_close(&one);
    scene_close(&two);
}

/* Law 2: an export names the chip that its backup is of, and so does the import that is made of it. Another chip gets it
 * when an admin says so; the label alone does not do. */
static void an_import_keeps_its_chip(void **state)
{
    struct bench *b = *state;
    struct scene other;
    struct call c = {0};
    scene_open(b, &other, CHIP_B, SERIAL_A, 2);
    int64_t foreign = scene_ingest(b, &other), import = import_of_chip(b, SERIAL_A, CHIP_A);
    CALL_OK(b, &c, store_backup_get, import);
    assert_string_equal(text_of(c.body, "chip_id"), CHIP_A);
    expect_owner(b, import, 0);
    expect_conflict(b, permit_of(&other, foreign, import), "import_claim");
    expect_conflict(b, permit_of(&other, foreign, import), "import_claim");
    expect_owner(b, import, 0);
    CALL_OK(b, &c, store_conflict_list, NULL, NULL);
    assert_int_equal(item_count(&c), 1);
    CALL_OK(b, &c, store_phone_list, NULL, NULL, NULL); /* the chip's phone was never here */
    assert_string_equal(text_of(item(&c, 1), "chip_id"), CHIP_A);
    char keep[24];
    snprintf(keep, sizeof(keep), "%" PRId64, other.phone_id);
    CALL_OK(b, &c, store_conflict_resolve, 1, "anna", "the board was changed", keep);
    expect_permit(b, permit_of(&other, foreign, import));
    expect_owner(b, import, other.phone_id);
    CALL_OK(b, &c, store_backup_get, import); /* from now on, and in what is exported of it */
    assert_string_equal(text_of(c.body, "chip_id"), CHIP_B);
    json_decref(c.body);
    scene_close(&other);
}

static void an_import_goes_to_its_chip(void **state)
{
    struct bench *b = *state;
    struct scene s;
    scene_open(b, &s, CHIP_A, SERIAL_A, 1);
    int64_t backup = scene_ingest(b, &s), import = import_of_chip(b, SERIAL_A, CHIP_A);
    expect_permit(b, permit_of(&s, backup, import));
    expect_owner(b, import, s.phone_id);
    scene_close(&s);
}

/* The identity of another phone on this one: flagged as soon as it is read. */
static void a_copy_is_flagged_when_it_comes_in(void **state)
{
    struct bench *b = *state;
    struct scene own, copy;
    struct call c = {0};
    scene_open(b, &own, CHIP_A, SERIAL_A, 1);
    int64_t original = scene_ingest(b, &own);
    scene_open(b, &copy, CHIP_B, SERIAL_B, 1);
    int64_t backup = scene_ingest(b, &copy), import = import_dump(b, SERIAL_B);
    expect_conflict(b, permit_of(&copy, backup, import), "backup_twin");
    CALL_OK(b, &c, store_conflict_get, 1);
    assert_int_equal(
        json_array_size(json_object_get(json_object_get(c.body, "records"), "backups")), 2);
    CALL(b, &c, store_conflict_resolve, 1, "anna", "compared", "9");
    assert_int_equal(c.code, ERR_INPUT);
    CALL_OK(b, &c, store_conflict_resolve, 1, "anna", "compared", "1");
    CALL_OK(b, &c, store_phone_get, copy.phone_id);
    assert_string_equal(text_of(c.body, "identity"), "donor");
    expect_refusal(b, permit_of(&copy, backup, backup), "copy of another");
    expect_permit(b, permit_of(&copy, backup, import)); /* the cure: its own dump */
    expect_permit(b, permit_of(&own, original, original));
    json_decref(c.body);
    scene_close(&own);
    scene_close(&copy);
}

#define WITH_BENCH(test) cmocka_unit_test_setup_teardown(test, bench_setup, bench_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_BENCH(an_image_comes_out_as_it_went_in),
        WITH_BENCH(zeros_become_holes),
        WITH_BENCH(equal_chunks_are_stored_once),
        WITH_BENCH(doing_it_again_changes_nothing),
        WITH_BENCH(a_spool_is_read_on),
        WITH_BENCH(lies_are_found),
        WITH_BENCH(a_backup_is_filed_under_its_own_chip),
        WITH_BENCH(damage_on_disk_is_found),
        WITH_BENCH(verifying_finds_damage),
        WITH_BENCH(a_clock_that_was_ahead_holds_up_no_reading),
        WITH_BENCH(what_is_saved_again_is_whole),
        WITH_BENCH(only_what_came_again_is_whole),
        WITH_BENCH(twins_are_other_phones_with_equal_plausible_images),
        WITH_BENCH(wiped_phones_are_no_twins),
        WITH_BENCH(a_permit_needs_its_proofs),
        WITH_BENCH(a_service_lk_is_known_whatever_the_clock_says),
        WITH_BENCH(no_permit_while_a_conflict_is_open),
        WITH_BENCH(a_known_phone_gets_no_other_label),
        WITH_BENCH(an_import_is_bound_once),
        WITH_BENCH(an_import_keeps_its_chip),
        WITH_BENCH(an_import_goes_to_its_chip),
        WITH_BENCH(a_copy_is_flagged_when_it_comes_in),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
