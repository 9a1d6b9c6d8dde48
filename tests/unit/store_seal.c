/* Sealed backups: what the disk holds, who may start, and that no chunk passes for another, before, while and after keys
 * change. */
#include "tests/unit/store_spool.h"

#include "usb/base/io.h"

#define KEY_A          "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define KEY_B          "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define FILE_MAX_BYTES (64 << 20)

enum { IMAGES = 12, IMAGE_BYTES = 5000 }; /* more than one turn of reseal.c */

/* ---- the folder ------------------------------------------------------------------------------------- */

static char *in_dir(struct bench *b, const char *name)
{
    return xasprintf("%s/%s", b->dir, name);
}

static bool holds(struct bench *b, const char *name, struct span bytes)
{
    AUTO(free_ptr) char *path = in_dir(b, name);
    AUTO(free_ptr) char *data = NULL;
    size_t len = 0;
    if (io_slurp(AT_FDCWD, path, FILE_MAX_BYTES, &data, &len, NULL) < 0)
        return false;
    return memmem(data, len, bytes.data, bytes.len) != NULL;
}

static bool disk_holds(struct bench *b, struct span bytes)
{
    return holds(b, "backups.db", bytes) || holds(b, "backups.db-wal", bytes);
}

/* ---- keys ------------------------------------------------------------------------------------------- */

/* The path of a file with these digits; NULL for none. The caller frees it. */
static char *key_file(struct bench *b, const char *name, const char *digits)
{
    if (!digits)
        return NULL;
    char *path = in_dir(b, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, digits, strlen(digits)), strlen(digits));
    close(fd);
    return path;
}

static int try_start(struct bench *b, const char *key, const char *old, struct err *err)
{
    store_close(&b->store);
    AUTO(free_ptr) char *key_path = key_file(b, "key", key);
    AUTO(free_ptr) char *old_path = key_file(b, "old", old);
    const struct store_config config = {
        .data_dir = b->dir, .base = b->base, .backup_key = key_path, .old_backup_key = old_path};
    int code = store_open(&config, &b->store, err);
    if (code == 0)
        store_on_event(b->store, bench_event, b);
    return code;
}

static void start(struct bench *b, const char *key, const char *old)
{
    struct err err = {0};
    if (try_start(b, key, old, &err) < 0)
        fail_msg("%s", err.text);
}

static void refused(struct bench *b, const char *key, const char *old, const char *says)
{
    struct err err = {0};
    assert_int_equal(try_start(b, key, old, &err), ERR_INPUT);
    if (!strstr(err.text, says))
        fail_msg("%s", err.text);
}

/* Until `sql` counts none; each call waits for the turn that goes on now. */
static void wait_for_none(struct bench *b, const char *sql)
{
    struct call c = {0};
    do {
        CALL_OK(b, &c, store_images_sweep, (&(struct store_sweep){0}));
    } while (bench_count(b, "backups.db", sql) > 0);
    json_decref(c.body);
}

#define PLAIN "SELECT count(*) AS n FROM chunk WHERE key_id IS NULL"
#define KEYS  "SELECT count(*) AS n FROM seal_key"

/* ---- backups ---------------------------------------------------------------------------------------- */

static int64_t ingest(struct bench *b, struct spooling *spool)
{
    struct call c = {0};
    spooling_finish(spool, "dump", "", "");
    CALL_OK(b, &c, store_spool_ingest, spool->fd, 0,
            (&(struct store_backup_meta){.origin = "import"}));
    int64_t id = id_of(json_array_get(json_object_get(c.body, "backups"), 0));
    json_decref(c.body);
    close(spool->fd);
    return id;
}

/* Images m0, m1 ... of noise; the same seed gives the same. */
static int64_t add_backup(struct bench *b, uint32_t seed)
{
    struct spooling spool;
    spooling_open(&spool, 0);
    for (uint32_t i = 0; i < IMAGES; i++) {
        char name[8];
        struct span data = noise(IMAGE_BYTES, seed + i);
        snprintf(name, sizeof(name), "m%u", i);
        spooling_image(&spool, name, data, SPOOL_PLAUSIBLE_UNKNOWN);
        span_free(&data);
    }
    return ingest(b, &spool);
}

static int open_code(struct bench *b, int64_t backup, const char *name)
{
    struct call c = {.fd = -1};
    store_backup_open(b->store, backup, name, call_fd_done, &c);
    call_wait(b, &c);
    fd_close(&c.fd);
    return c.code; /* the image's hash was compared */
}

static void expect_whole(struct bench *b, int64_t backup)
{
    struct call c = {0};
    CALL_OK(b, &c, store_backup_verify, backup);
    if (!json_is_null(json_object_get(c.body, "damage")))
        fail_msg("%s", text_of(c.body, "damage"));
    json_decref(c.body);
    assert_int_equal(open_code(b, backup, "m0"), 0);
    assert_int_equal(open_code(b, backup, "m11"), 0);
}

/* ---- the tests -------------------------------------------------------------------------------------- */

static void the_disk_holds_nothing_plain(void **state)
{
    struct bench *b = *state;
    struct span data = noise(IMAGE_BYTES, 1), part = span_sub(data, 100, 64);
    struct sha256 hash = sha256_of(data);
    add_backup(b, 1);
    assert_true(
        disk_holds(b, part)); /* without a key: noise is not packed, so the search finds it */
    bench_teardown(state);
    bench_setup(state);
    b = *state;
    start(b, KEY_A, NULL);
    int64_t backup = add_backup(b, 1);
    assert_false(disk_holds(b, part));
    assert_int_equal(bench_count(b, "backups.db", PLAIN), 0);
    char hex[SHA256_HEX_BYTES];
    sha256_hex(&hash, hex);
    AUTO(free_ptr)
    char *sql = xasprintf("SELECT count(*) AS n FROM chunk WHERE content_id = x'%s'", hex);
    assert_int_equal(bench_count(b, "backups.db", sql), 0);
    expect_whole(b, backup);
    span_free(&data);
}

static void equal_contents_are_stored_once(void **state)
{
    struct bench *b = *state;
    start(b, KEY_A, NULL);
    add_backup(b, 1);
    struct spooling spool;
    struct span zeros = span_of(xcalloc(3, CHUNK_BYTES), 3 * CHUNK_BYTES),
                m3 = noise(IMAGE_BYTES, 4);
    spooling_open(&spool, 0);
    spooling_image(&spool, "zeros", zeros, SPOOL_PLAUSIBLE_NO);
    spooling_image(&spool, "again", m3, SPOOL_PLAUSIBLE_NO);
    int64_t backup = ingest(b, &spool);
    assert_int_equal(bench_count(b, "backups.db", "SELECT count(*) AS n FROM chunk"), IMAGES + 1);
    assert_int_equal(open_code(b, backup, "zeros"), 0);
    assert_int_equal(open_code(b, backup, "again"), 0);
    span_free(&zeros);
    span_free(&m3);
}

static void only_the_right_key_starts(void **state)
{
    struct bench *b = *state;
    refused(b, NULL, KEY_A, "goes with --backup-key");
    start(b, KEY_A, NULL);
    int64_t backup = add_backup(b, 1);
    refused(b, NULL, NULL, "start with --backup-key");
    refused(b, KEY_B, NULL, "another key");
    refused(b, "short", NULL, "neither 32 bytes nor 64 hex digits");
    assert_int_equal(bench_count(b, "backups.db", KEYS), 1); /* what was refused left nothing */
    start(b, KEY_A, NULL);
    expect_whole(b, backup);
}

static const struct tampering {
    const char *name, *sql;
} tamperings[] = {
    {"nonce", "UPDATE chunk SET packed = CAST(x'000000000000000000000000' || substr(packed, 13)"
              " AS BLOB) WHERE id = 1"},
    {"text", "UPDATE chunk SET packed = CAST(substr(packed, 1, 500) || x'00010203' ||"
             " substr(packed, 505) AS BLOB) WHERE id = 1"},
    {"cut short", "UPDATE chunk SET packed = substr(packed, 1, 400) WHERE id = 1"},
    {"next to nothing", "UPDATE chunk SET packed = x'00' WHERE id = 1"},
    {"another chunk's seal", "UPDATE chunk SET packed = (SELECT packed FROM chunk WHERE id = 2) "
                             "WHERE id = 1"},
    {"another chunk in its place", "UPDATE image_chunk SET chunk_id = 2 WHERE image_id = 1"},
    {"another name", "UPDATE chunk SET content_id = randomblob(32) WHERE id = 1"},
    {"another size", "UPDATE chunk SET raw_bytes = raw_bytes - 1 WHERE id = 1"},
    {"taken for plain", "UPDATE chunk SET key_id = NULL WHERE id = 1"},
};

static void what_was_tampered_with_is_damage(void **state)
{
    struct bench *b = *state;
    start(b, KEY_A, NULL);
    int64_t backup = add_backup(b, 1);
    for (size_t i = 0; i < ARRAY_LEN(tamperings); i++) {
        bench_change(b, "backups.db",
                     "CREATE TABLE was AS SELECT * FROM chunk; CREATE TABLE was_in AS SELECT * FROM"
                     " image_chunk");
        bench_change(b, "backups.db", tamperings[i].sql);
        int code = open_code(b, backup, "m0");
        if (code != ERR_VERIFY && code != ERR_FORMAT)
            fail_msg("%s: %s", tamperings[i].name, err_name(code));
        bench_change(
            b, "backups.db",
            "REPLACE INTO image_chunk SELECT * FROM was_in; REPLACE INTO chunk SELECT * FROM"
            " was; DROP TABLE was; DROP TABLE was_in");
        assert_int_equal(open_code(b, backup, "m0"), 0);
    }
}

/* The same contents come in again: their seal is whole, also for the backup of before. */
static void what_is_saved_again_is_whole(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(tamperings); i++) {
        bench_teardown(state);
        bench_setup(state);
        struct bench *b = *state;
        start(b, KEY_A, NULL);
        int64_t backup = add_backup(b, 1);
        bench_change(b, "backups.db", tamperings[i].sql);
        if (open_code(b, backup, "m0") == 0)
            fail_msg("%s did nothing", tamperings[i].name);
        assert_int_equal(add_backup(b, 1), backup); /* an import of the same file is the same */
        expect_whole(b, backup);
        assert_int_equal(bench_count(b, "backups.db", PLAIN), 0);
    }
}

/* What a station without a key stored, and the disk lost before it was sealed. */
static void damage_of_before_the_key_is_put_right(void **state)
{
    struct bench *b = *state;
    int64_t backup = add_backup(b, 1);
    bench_change(b, "backups.db", "UPDATE chunk SET packed = x'00' WHERE id = 1");
    start(b, KEY_A, NULL);
    assert_int_equal(add_backup(b, 1), backup);
    expect_whole(b, backup);
    wait_for_none(b, PLAIN);
    expect_whole(b, backup);
}

static void expect_sealing(struct bench *b, bool wanted, int64_t left, const char *trouble)
{
    struct store_sealing now;
    for (int tries = 0; tries < 500; tries++) { /* the loop hears of a failure after the lane */
        event_base_loop(b->base, EVLOOP_NONBLOCK);
        store_sealing(b->store, &now);
        if (now.wanted == wanted && now.left == left && (now.trouble[0] != '\0') == !!trouble[0])
            break;
        usleep(10000);
    }
    assert_int_equal(now.wanted, wanted);
    assert_int_equal(now.left, left);
    assert_non_null(strstr(now.trouble, trouble));
}

/* How far it is, and why it does not go on, is told to whoever looks. */
static void how_far_it_is(void **state)
{
    struct bench *b = *state;
    add_backup(b, 1);
    expect_sealing(b, false, 0, "");
    bench_change(
        b, "backups.db",
        "CREATE TRIGGER no BEFORE UPDATE ON chunk WHEN old.id = 11 BEGIN SELECT raise(ABORT,"
        " 'not this one'); END");
    start(b, KEY_A, NULL);
    expect_sealing(b, true, IMAGES - 8, "not this one"); /* after the first turn */
    bench_change(b, "backups.db", "DROP TRIGGER no");
    start(b, KEY_A, NULL);
    expect_sealing(b, true, 0, "");
}

/* Backups from before are readable at once and sealed by and by; what came in plain is gone from the disk then. */
static void older_backups_are_sealed(void **state)
{
    struct bench *b = *state;
    struct span data = noise(IMAGE_BYTES, 1), part = span_sub(data, 100, 64);
    int64_t before = add_backup(b, 1);
    start(b, KEY_A, NULL);
    int64_t after = add_backup(b, 101);
    expect_whole(b, before);
    wait_for_none(b, PLAIN);
    expect_whole(b, before);
    expect_whole(b, after);
    assert_int_equal(bench_count(b, "backups.db", "SELECT count(*) AS n FROM chunk"), 2 * IMAGES);
    store_close(&b->store);
    assert_false(disk_holds(b, part));
    span_free(&data);
}

/* Half of the chunks are plain again, as after a cut; the same contents come in sealed before their turn is there. */
static void sealed_twins_of_plain_chunks_are_joined(void **state)
{
    struct bench *b = *state;
    struct span label = span_of("label", 5);
    struct spooling spool;
    start(b, KEY_A, NULL);
    spooling_open(&spool, 0);
    spooling_image(&spool, "elabel", label, SPOOL_PLAUSIBLE_UNKNOWN);
    int64_t backup = ingest(b, &spool);
    store_close(&b->store);
    AUTO(buf_deinit) struct buf packed;
    buf_init(&packed, CHUNK_PACKED_MAX);
    chunk_compress(label, &packed, NULL);
    char hex[SHA256_HEX_BYTES], frame[200];
    struct sha256 hash = sha256_of(label);
    sha256_hex(&hash, hex);
    assert_true(packed.len < sizeof(frame) / 2);
    hex_encode(buf_span(&packed), frame);
    AUTO(free_ptr)
    char *sql = xasprintf("INSERT INTO chunk (id, content_id, raw_bytes, packed) VALUES (9, x'%s', "
                          "5, x'%s'); UPDATE image_chunk SET chunk_id = 9",
                          hex, frame);
    bench_change(b, "backups.db", sql);
    start(b, KEY_A, NULL);
    wait_for_none(b, PLAIN);
    assert_int_equal(bench_count(b, "backups.db", "SELECT count(*) AS n FROM chunk"), 1);
    assert_int_equal(open_code(b, backup, "elabel"), 0);
}

static void keys_change(void **state)
{
    struct bench *b = *state;
    start(b, KEY_A, NULL);
    int64_t backup = add_backup(b, 1);
    start(b, KEY_B, KEY_A);
    expect_whole(b, backup);
    wait_for_none(b, KEYS " WHERE id = 1");
    assert_int_equal(
        bench_count(b, "backups.db", "SELECT count(*) AS n FROM chunk WHERE key_id = 2"), IMAGES);
    refused(b, KEY_A, NULL, "another key");
    start(b, KEY_B, NULL);
    expect_whole(b, backup);
    start(b, KEY_B, KEY_A); /* still in somebody's configuration */
    expect_whole(b, backup);
}

/* Cut in between: half of the chunks under each key. Neither alone starts, both do, in either order. */
static void a_change_of_keys_is_cut(void **state)
{
    struct bench *b = *state;
    start(b, KEY_A, NULL);
    int64_t backup = add_backup(b, 1);
    bench_change(b, "backups.db",
                 "CREATE TABLE was AS SELECT * FROM chunk; CREATE TABLE was_key AS SELECT * FROM"
                 " seal_key");
    start(b, KEY_B, KEY_A);
    wait_for_none(b, KEYS " WHERE id = 1");
    bench_change(b, "backups.db",
                 "INSERT INTO seal_key SELECT * FROM was_key;"
                 "REPLACE INTO chunk SELECT * FROM was WHERE id <= 6");
    refused(b, KEY_B, NULL, "another key");
    refused(b, KEY_A, NULL, "another key");
    start(b, KEY_A, KEY_B); /* and back */
    expect_whole(b, backup);
    wait_for_none(b, KEYS " WHERE id = 2");
    start(b, KEY_A, NULL);
    expect_whole(b, backup);
}

/* A chunk that cannot be opened keeps no key alive, and stays damage. */
static void damage_outlives_a_change_of_keys(void **state)
{
    struct bench *b = *state;
    struct call c = {0};
    start(b, KEY_A, NULL);
    int64_t backup = add_backup(b, 1);
    bench_change(b, "backups.db", "UPDATE chunk SET packed = x'00' WHERE id = 1");
    start(b, KEY_B, KEY_A);
    wait_for_none(b, KEYS " WHERE id = 1");
    start(b, KEY_B, NULL);
    CALL_OK(b, &c, store_backup_verify, backup);
    assert_non_null(strstr(text_of(c.body, "damage"), "m0"));
    assert_int_equal(open_code(b, backup, "m1"), 0);
    json_decref(c.body);
}

/* A copy of both databases is as sealed as they are, and starts with the same key. */
static void a_copy_stays_sealed(void **state)
{
    struct bench *b = *state;
    struct call c = {0};
    start(b, KEY_A, NULL);
    int64_t backup = add_backup(b, 1);
    CALL_OK(b, &c, store_copy, NULL);
    assert_int_equal(json_array_size(json_object_get(c.body, "problems")), 0);
    struct bench copy = {.base = b->base};
    snprintf(copy.dir, sizeof(copy.dir), "%s", b->dir);
    AUTO(free_ptr) char *path = xstrdup(text_of(c.body, "path"));
    json_decref(c.body);
    store_close(&b->store);
    static const char *const files[] = {"station.db", "backups.db"};
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        AUTO(free_ptr) char *from = xasprintf("%s/%s", path, files[i]), *to = in_dir(b, files[i]);
        assert_int_equal(rename(from, to), 0);
    }
    rmdir(path);
    AUTO(free_ptr) char *copies = in_dir(b, "copies");
    rmdir(copies);
    refused(b, NULL, NULL, "start with --backup-key");
    start(b, KEY_A, NULL);
    expect_whole(b, backup);
}

#define WITH_BENCH(test) cmocka_unit_test_setup_teardown(test, bench_setup, bench_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_BENCH(the_disk_holds_nothing_plain),
        WITH_BENCH(equal_contents_are_stored_once),
        WITH_BENCH(only_the_right_key_starts),
        WITH_BENCH(what_was_tampered_with_is_damage),
        WITH_BENCH(what_is_saved_again_is_whole),
        WITH_BENCH(damage_of_before_the_key_is_put_right),
        WITH_BENCH(older_backups_are_sealed),
        WITH_BENCH(how_far_it_is),
        WITH_BENCH(sealed_twins_of_plain_chunks_are_joined),
        WITH_BENCH(keys_change),
        WITH_BENCH(a_change_of_keys_is_cut),
        WITH_BENCH(damage_outlives_a_change_of_keys),
        WITH_BENCH(a_copy_stays_sealed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
