/* The databases as a whole: copies beside running jobs, checks, and what a damaged file does. */
#include "tests/unit/store_spool.h"

#include <sys/stat.h>

#include "server/store/db.h"
#include "server/store/schema.h"

static char *in_dir(const struct bench *b, const char *name)
{
    return xasprintf("%s/%s", b->dir, name);
}

static int64_t import_backup(struct bench *b, uint32_t seed)
{
    struct call c = {0};
    struct spooling spool;
    const struct store_backup_meta meta = {.origin = "import"};
    struct span data = noise(2 * CHUNK_BYTES + 17, seed);
    spooling_open(&spool, 0);
    spooling_image(&spool, "nvram", data, SPOOL_PLAUSIBLE_YES);
    spooling_finish(&spool, "dump", "", "");
    CALL_OK(b, &c, store_spool_ingest, spool.fd, 0, &meta);
    int64_t id = id_of(json_array_get(json_object_get(c.body, "backups"), 0));
    json_decref(c.body);
    close(spool.fd);
    span_free(&data);
    return id;
}

/* ---- copies ---- */

struct writer {
    struct bench *bench;
    int64_t job;
    int acked;        /* log lines that are committed */
    bool going, idle; /* going: one call follows the other, so that commits fall into the copy */
};

static void write_on(void *arg, int code, const struct err *err, json_t *body)
{
    struct writer *w = arg;
    (void)err, (void)body;
    assert_int_equal(code, 0);
    w->acked++;
    w->idle = !w->going;
    if (w->going)
        store_job_log_add(w->bench->store, w->job, "info", "S7", "beside a copy", write_on, w);
}

static int lines_of(struct bench *b, int64_t job)
{
    struct call c = {0};
    int count = 0;
    char after[24] = "0";
    do {
        CALL_OK(b, &c, store_job_log, job, (&(struct store_page){.after = after, .limit = 1000}));
        count += (int)item_count(&c);
        snprintf(after, sizeof(after), "%d", count);
    } while (json_is_string(json_object_get(c.body, "next")));
    json_decref(c.body);
    return count;
}

/* A station that starts from the copy: what was acknowledged before the copy is there, and each backup's
 * images are whole. */
static void assert_copy_works(const char *folder, int64_t job, int lines_min, int64_t backups)
{
    struct bench copy = {.base = event_base_new()};
    struct call c = {.fd = -1};
    snprintf(copy.dir, sizeof(copy.dir), "%s", folder);
    bench_open(&copy);
    assert_true(lines_of(&copy, job) >= lines_min);
    CALL_OK(&copy, &c, store_backup_list, 0, NULL, NULL);
    assert_int_equal(item_count(&c), backups);
    for (int64_t id = 1; id <= backups; id++) {
        struct call image = {.fd = -1};
        store_backup_open(copy.store, id, "nvram", call_fd_done, &image);
        call_wait(&copy, &image);
        assert_int_equal(image.code, 0);
        fd_close(&image.fd);
    }
    json_decref(c.body);
    store_close(&copy.store);
    event_base_free(copy.base);
}

static void assert_mode(const char *folder, const char *name, mode_t mode)
{
    struct stat st;
    AUTO(free_ptr) char *path = xasprintf("%s/%s", folder, name);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, mode);
}

static void assert_absent(const char *folder, const char *name)
{
    AUTO(free_ptr) char *path = xasprintf("%s/%s", folder, name);
    assert_int_equal(access(path, F_OK), -1);
}

static void remove_copies(struct bench *b, const char *folder)
{
    AUTO(free_ptr) char *copies = in_dir(b, "copies");
    bench_remove_dir(folder);
    rmdir(copies);
}

static void a_copy_is_whole_while_jobs_write(void **state)
{
    struct bench *b = *state;
    struct call c = {0};
    struct writer w = {.bench = b, .job = add_job(b, NULL, 0), .going = true};
    import_backup(b, 1);
    import_backup(b, 2);
    write_on(&w, 0, NULL, NULL);
    w.acked--; /* the first call was ours */
    while (w.acked < 200)
        event_base_loop(b->base, EVLOOP_ONCE);
    int before = w.acked;
    CALL_OK(b, &c, store_copy, NULL);
    w.going = false;
    while (!w.idle)
        event_base_loop(b->base, EVLOOP_ONCE);
    assert_int_equal(json_array_size(json_object_get(c.body, "problems")), 0);
    assert_true(json_integer_value(json_object_get(c.body, "backups_bytes")) > 4 * CHUNK_BYTES);
    AUTO(free_ptr) char *folder = xstrdup(text_of(c.body, "path"));
    assert_int_equal(strncmp(folder, b->dir, strlen(b->dir)), 0);
    assert_mode(folder, ".", 0700);
    assert_mode(folder, "station.db", 0600);
    assert_mode(folder, "backups.db", 0600);
    assert_absent(folder, "station.db-wal");
    assert_absent(folder, "../.part");
    assert_copy_works(folder, w.job, before, 2);
    remove_copies(b, folder);
    json_decref(c.body);
}

static void a_copy_goes_only_where_it_may(void **state)
{
    struct bench *b = *state;
    struct call c = {0};
    AUTO(free_ptr) char *outside = in_dir(b, "elsewhere"), *copies = in_dir(b, "copies");
    AUTO(free_ptr) char *named = in_dir(b, "copies/monday"), *up = in_dir(b, "copies/..");
    AUTO(free_ptr) char *deep = in_dir(b, "copies/no/such");
    const char *const refused[] = {"monday", "/", outside, up, "/etc/flashrack"};
    assert_int_equal(mkdir(copies, 0700), 0);
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        CALL(b, &c, store_copy, refused[i]);
        if (c.code != ERR_INPUT)
            fail_msg("%s: %s", refused[i], err_name(c.code));
    }
    CALL(b, &c, store_copy, deep);
    assert_int_equal(c.code, ERR_NOT_FOUND);
    assert_int_equal(mkdir(named, 0700), 0); /* empty: that will do */
    CALL_OK(b, &c, store_copy, named);
    assert_string_equal(text_of(c.body, "path"), named);
    CALL(b, &c, store_copy, named);
    assert_int_equal(c.code, ERR_CONFLICT);
    assert_absent(copies, ".monday.part");
    remove_copies(b, named);
    json_decref(c.body);
}

/* Its remains are in the way of nobody. */
static void a_copy_that_was_cut_off_is_cleared_away(void **state)
{
    struct bench *b = *state;
    struct call c = {0};
    AUTO(free_ptr) char *copies = in_dir(b, "copies"), *part = in_dir(b, "copies/.part");
    AUTO(free_ptr) char *half = in_dir(b, "copies/.part/station.db");
    assert_int_equal(mkdir(copies, 0700), 0);
    assert_int_equal(mkdir(part, 0700), 0);
    assert_true(close(open(half, O_CREAT | O_WRONLY, 0600)) == 0);
    CALL_OK(b, &c, store_copy, NULL);
    assert_absent(copies, ".part");
    remove_copies(b, text_of(c.body, "path"));
    json_decref(c.body);
}

static void a_copy_is_stopped_by_closing(void **state)
{
    struct bench *b = *state;
    struct call c = {0};
    AUTO(free_ptr) char *copies = in_dir(b, "copies");
    import_backup(b, 1);
    store_copy(b->store, NULL, call_done, &c);
    store_close(&b->store);
    assert_true(c.ran);
    assert_true(c.code == ERR_CANCELLED || c.code == 0); /* the copy may have been faster */
    if (c.code == 0)
        bench_remove_dir(text_of(c.body, "path"));
    rmdir(copies);
    assert_absent(b->dir, "copies");
    json_decref(c.body);
    bench_open(b);
}

/* Whoever copies the two files of a station that has ended has all of it: nothing is left in their logs. */
static void a_clean_end_leaves_two_whole_files(void **state)
{
    struct bench *b = *state;
    import_backup(b, 1);
    add_job(b, NULL, 0);
    store_close(&b->store);
    assert_absent(b->dir, "station.db-wal");
    assert_absent(b->dir, "backups.db-wal");
    bench_open(b);
}

/* ---- checks ---- */

/* What the check finds; the caller's. */
static json_t *problems_of(struct bench *b)
{
    struct call c = {0};
    store_check(b->store, call_done, &c);
    call_wait(b, &c);
    assert_int_equal(c.code, 0);
    json_t *problems = json_incref(json_object_get(c.body, "problems"));
    json_decref(c.body);
    return problems;
}

static void a_missing_image_is_found(void **state)
{
    struct bench *b = *state;
    import_backup(b, 1);
    json_auto_t *none = problems_of(b);
    assert_int_equal(json_array_size(none), 0);
    bench_change(b, "backups.db", "DELETE FROM image_chunk; DELETE FROM image");
    json_auto_t *problems = problems_of(b);
    assert_int_equal(json_array_size(problems), 1);
    assert_string_equal(json_string_value(json_array_get(problems, 0)),
                        "backup 1 names an image of 'nvram' that is not stored");
}

static void scribble(struct bench *b, const char *file, off_t at, size_t len)
{
    AUTO(free_ptr) char *path = in_dir(b, file);
    struct span junk = noise(len, 7);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, junk.data, len, at), (ssize_t)len);
    close(fd);
    span_free(&junk);
}

static const struct damage {
    const char *name, *file;
    off_t at;
    size_t len;
} damages[] = {
    {"no database at all", "station.db", 0, 4096},
    {"pages of tables", "station.db", 4096, 20 * 4096},
    {"images: no database", "backups.db", 0, 100},
    {"images: a page", "backups.db", 2 * 4096, 4096},
};

/* The store does not open, says which file and what to do, and changes nothing. */
static void a_damaged_file_is_refused(void **state)
{
    struct bench *b = *state;
    for (size_t i = 0; i < ARRAY_LEN(damages); i++) {
        const struct damage *d = &damages[i];
        struct err err = {0};
        const struct store_config config = {.data_dir = b->dir, .base = b->base};
        add_job(b, NULL, 0);
        store_close(&b->store);
        scribble(b, d->file, d->at, d->len);
        int code = store_open(&config, &b->store, &err);
        if (code != ERR_VERIFY || !strstr(err.text, d->file) || !strstr(err.text, ".recover"))
            fail_msg("%s: %s, %s", d->name, err_name(code), err.text);
        assert_null(b->store);
        bench_remove_dir(b->dir);
        assert_int_equal(mkdir(b->dir, 0700), 0);
        b->last_event = 0;
        bench_open(b);
    }
}

/* The start does not wait for a long check; what that finds later is told, and is not taken for the last word when it is
 * nothing. */
static void damage_found_beside_the_work_is_told(void **state)
{
    struct bench *b = *state;
    struct call c = {0};
    struct err err = {0};
    char damage[STORE_DAMAGE_BYTES];
    const struct store_config config = {.data_dir = b->dir, .base = b->base, .start_check_ms = -1};
    import_backup(b, 1);
    json_decref(problems_of(b));
    store_damage(b->store, damage);
    assert_string_equal(damage, "");
    store_close(&b->store);
    bench_change(b, "backups.db", "PRAGMA wal_checkpoint(TRUNCATE)"); /* the log would hide it */
    scribble(b, "backups.db", 2 * 4096, 4096);
    assert_int_equal(store_open(&config, &b->store, &err), 0);
    CALL(b, &c, store_copy, NULL); /* comes behind the check */
    store_damage(b->store, damage);
    if (strncmp(damage, "backups.db: ", 12) != 0)
        fail_msg("%s", damage);
    json_decref(c.body);
}

/* ---- migrations ---- */

/* A data folder of the first release, filled by hand, is brought forward: its rows stay, a copy is kept, and a
 * job can be ordered. */
static void data_of_version_1_comes_along(void **state)
{
    struct bench *b = *state;
    struct call c = {0};
    struct err err = {0};
    const struct schema first = {"station.db", schema_station.migration, 1};
    int64_t backup = import_backup(b, 1);
    store_close(&b->store);
    AUTO(free_ptr) char *path = in_dir(b, "station.db");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(schema_migrate(&first, b->dir, &err), 0);
    bench_change(
        b, "station.db",
        "INSERT INTO phone (chip_id, first_seen_ms, last_seen_ms) VALUES ('" CHIP_A "', 1, 2);"
        "INSERT INTO phone_fact (phone_id, kind, value, source, learned_ms, seen_ms)"
        " VALUES (1, 'serial', 'PDAGATEST0000001', 'label', 1, 2);"
        "INSERT INTO job (recipe, state, phone_id, created_ms, started_ms, ended_ms)"
        " VALUES ('x5-restore', 'succeeded', 1, 3, 4, 5);"
        "INSERT INTO step (job_id, seq, name, attempt, state, started_ms)"
        " VALUES (1, 1, 'S1', 1, 'done', 4);"
        "INSERT INTO job_log (job_id, seq, at_ms, level, message) VALUES (1, 1, 4, 'info', 'x');"
        "INSERT INTO event (at_ms, type, body) VALUES (4, 'job', '{}');"
        "INSERT INTO audit (at_ms, actor, action, subject) VALUES (3, 'a', 'job.add', 'job 1');");
    bench_open(b);
    CALL_OK(b, &c, store_job_get, 1);
    assert_string_equal(text_of(c.body, "serial"), "(no text)");
    assert_string_equal(text_of(c.body, "state"), "succeeded");
    assert_int_equal(json_array_size(json_object_get(c.body, "steps")), 1);
    assert_int_equal(lines_of(b, 1), 1);
    CALL_OK(b, &c, store_phone_get, 1);
    assert_string_equal(text_of(c.body, "serial"), "PDAGATEST0000001");
    assert_int_equal(add_job(b, NULL, 1), 2);
    if (schema_station.version > 1)
        assert_mode(b->dir, "station.db.1.bak", 0600);
    assert_int_equal(backup, 1);
    json_decref(c.body);
}

#define WITH_BENCH(test) cmocka_unit_test_setup_teardown(test, bench_setup, bench_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_BENCH(a_copy_is_whole_while_jobs_write),
        WITH_BENCH(a_copy_goes_only_where_it_may),
        WITH_BENCH(a_copy_that_was_cut_off_is_cleared_away),
        WITH_BENCH(a_copy_is_stopped_by_closing),
        WITH_BENCH(a_clean_end_leaves_two_whole_files),
        WITH_BENCH(a_missing_image_is_found),
        WITH_BENCH(a_damaged_file_is_refused),
        WITH_BENCH(damage_found_beside_the_work_is_told),
        WITH_BENCH(data_of_version_1_comes_along),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
