/* The files themselves: migrations, a full disk, a kill at the worst moment, what tables refuse. */
#include "tests/unit/store_spool.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "server/store/db.h"
#include "server/store/schema.h"

/* ---- migrations ---- */

static const char *const steps[] = {
    "CREATE TABLE a (x INTEGER NOT NULL PRIMARY KEY) STRICT; INSERT INTO a VALUES (7)",
    "CREATE TABLE b (y INTEGER NOT NULL REFERENCES a (x)) STRICT; INSERT INTO b SELECT x FROM a",
    "CREATE TABLE c (z INTEGER NOT NULL) STRICT; INSERT INTO c VALUES ('no number')",
    "INSERT INTO b VALUES (8)",
};
static const struct schema one = {"test.db", steps, 1}, two = {"test.db", steps, 2},
                           bad = {"test.db", steps, 3};

static int64_t one_number(const char *dir, const char *file, const char *sql)
{
    AUTO(free_ptr) char *path = xasprintf("%s/%s", dir, file);
    AUTO(db_close) struct db *db = NULL;
    json_auto_t *row = NULL;
    if (db_open(path, true, &db, NULL) < 0 || db_row(db, sql, NULL, &row, NULL) <= 0)
        return -1;
    return json_integer_value(json_object_get(row, "n"));
}

static const char version_sql[] = "SELECT user_version AS n FROM pragma_user_version";

static void a_schema_goes_forward_and_a_copy_is_kept(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    assert_int_equal(schema_migrate(&one, b->dir, &err), 0);
    assert_int_equal(one_number(b->dir, "test.db", version_sql), 1);
    assert_int_equal(schema_migrate(&one, b->dir, &err), 0); /* nothing to do, no copy */
    assert_int_equal(one_number(b->dir, "test.db.1.bak", version_sql), -1);
    assert_int_equal(schema_migrate(&two, b->dir, &err), 0);
    assert_int_equal(one_number(b->dir, "test.db", version_sql), 2);
    assert_int_equal(one_number(b->dir, "test.db", "SELECT y AS n FROM b"), 7);
    assert_int_equal(one_number(b->dir, "test.db.1.bak", version_sql), 1);
    assert_int_equal(one_number(b->dir, "test.db.1.bak", "SELECT x AS n FROM a"), 7);
}

static void a_failing_migration_leaves_the_old_schema(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    const char *const dangling_steps[] = {steps[0], steps[1], steps[3]};
    const struct schema dangling = {"test.db", dangling_steps, 3};
    assert_int_equal(schema_migrate(&two, b->dir, &err), 0);
    assert_int_equal(schema_migrate(&bad, b->dir, &err), ERR_INPUT);
    assert_non_null(strstr(err.text, "migration 3"));
    assert_int_equal(one_number(b->dir, "test.db", version_sql), 2);
    assert_int_equal(one_number(b->dir, "test.db", "SELECT count(*) AS n FROM sqlite_schema"), 2);
    assert_int_equal(schema_migrate(&dangling, b->dir, &err), ERR_INTERNAL);
    assert_int_equal(one_number(b->dir, "test.db", "SELECT count(*) AS n FROM b"), 1);
}

/* Two ports with one label, from before labels were unique: the one that was there first keeps it. */
static void equal_labels_of_before_are_told_apart(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    const struct schema before = {"test.db", schema_station.migration, 6};
    const struct schema now = {"test.db", schema_station.migration, schema_station.version};
    assert_int_equal(schema_migrate(&before, b->dir, &err), 0);
    bench_change(b, "test.db",
                 "INSERT INTO port (id, label, created_ms) VALUES ('p1', 'a1', 7), ('p2', 'A1', 5),"
                 " ('p3', 'A1', 7), ('p4', 'A2', 7), ('p5', '', 1), ('p6', '', 1)");
    if (schema_migrate(&now, b->dir, &err) < 0)
        fail_msg("%s", err.text);
    assert_int_equal(one_number(b->dir, "test.db.6.bak", version_sql), 6);
    assert_int_equal(
        bench_count(b, "test.db",
                    "SELECT count(*) AS n FROM port WHERE id IN ('p2', 'p4') AND label <> ''"),
        2);
    assert_int_equal(bench_count(b, "test.db", "SELECT count(*) AS n FROM port WHERE label <> ''"),
                     2);
}

static void a_newer_schema_is_refused(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    AUTO(free_ptr) char *path = xasprintf("%s/station.db", b->dir);
    struct db *db = NULL;
    store_close(&b->store);
    assert_int_equal(db_open(path, false, &db, &err), 0);
    assert_int_equal(db_exec(db, "PRAGMA user_version = 999", &err), 0);
    db_close(&db);
    const struct store_config config = {.data_dir = b->dir, .base = b->base};
    assert_int_equal(store_open(&config, &b->store, &err), ERR_CONFLICT);
    assert_null(b->store);
    assert_non_null(strstr(err.text, "schema version 999"));
    assert_null(strstr(err.text, ".bak")); /* a copy that is not there is no advice */
    AUTO(free_ptr) char *copy = xasprintf("%s.%d.bak", path, schema_station.version);
    FILE *f = fopen(copy, "w");
    assert_non_null(f);
    fclose(f);
    assert_int_equal(store_open(&config, &b->store, &err), ERR_CONFLICT);
    assert_non_null(strstr(err.text, copy));
}

static void one_process_a_folder(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    struct store *second = NULL;
    const struct store_config config = {.data_dir = b->dir, .base = b->base};
    assert_int_equal(store_open(&config, &second, &err), ERR_CONFLICT);
    const struct store_config nowhere = {.data_dir = "/nonexistent", .base = b->base};
    assert_int_equal(store_open(&nowhere, &second, &err), ERR_DISK);
    bench_reopen(b); /* the lock goes with the store */
}

static void nobody_else_reads_the_files(void **state)
{
    struct bench *b = *state;
    static const char *const files[] = {"station.db", "backups.db", "station.db-wal", "lock"};
    struct stat st;
    add_job(b, NULL, 0);
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        AUTO(free_ptr) char *path = xasprintf("%s/%s", b->dir, files[i]);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
    }
}

/* ---- what tables refuse ---- */

static const struct refused {
    const char *name, *sql;
    int want;
} refused[] = {
    {"text as a number", "INSERT INTO job (recipe, created_ms) VALUES ('r', 'now')", ERR_INPUT},
    {"unknown state", "UPDATE job SET state = 'done'", ERR_INPUT},
    {"an end without its time", "UPDATE job SET state = 'failed'", ERR_INPUT},
    {"a step of no job",
     "INSERT INTO step (job_id, seq, name, attempt, started_ms)"
     " VALUES (99, 1, 'S1', 1, 0)",
     ERR_INPUT},
    {"a fact twice",
     "INSERT INTO phone_fact (phone_id, kind, value, source, learned_ms, seen_ms)"
     " VALUES (1, 'serial', 'S', 'label', 0, 0)",
     ERR_CONFLICT},
    {"a phone gone", "DELETE FROM phone", ERR_INPUT},
    {"a backup of nobody",
     "INSERT INTO backup (key, origin, complete, manifest, manifest_sha256,"
     " created_ms) VALUES ('k', 'station', 1, '{}', printf('%064d', 0), 0)",
     ERR_INPUT},
    {"audit changed", "UPDATE audit SET actor = 'x'", ERR_INPUT},
    {"audit gone", "DELETE FROM audit", ERR_INPUT},
    {"a label twice",
     "INSERT INTO port (id, label, created_ms) VALUES ('p8', 'B7', 0), ('p9', 'b7', 0)",
     ERR_CONFLICT},
};

static void tables_refuse(void **state)
{
    struct bench *b = *state;
    AUTO(free_ptr) char *path = xasprintf("%s/station.db", b->dir);
    struct db *db = NULL;
    add_phone(b, CHIP_A, "S");
    add_job(b, NULL, 0);
    assert_int_equal(db_open(path, false, &db, NULL), 0);
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        struct err err = {0};
        int code = db_exec(db, refused[i].sql, &err);
        if (code != refused[i].want)
            fail_msg("%s: %s, %s", refused[i].name, err_name(code), err.text);
    }
    db_close(&db);
}

/* Every column says what it is, see schema/sql/README.md. */
static void every_column_has_a_comment(void **state)
{
    (void)state;
    const struct schema *const schemas[] = {&schema_station, &schema_backups};
    for (size_t s = 0; s < ARRAY_LEN(schemas); s++)
        for (int m = 0; m < schemas[s]->version; m++) {
            AUTO(free_ptr) char *copy = xstrdup(schemas[s]->migration[m]);
            char *rest = copy;
            bool column = false, described = true;
            for (char *line; (line = strsep(&rest, "\n"));) {
                bool starts = strncmp(line, "    ", 4) == 0 && line[4] >= 'a' && line[4] <= 'z';
                if (starts || line[0] == ')') {
                    if (column && !described)
                        fail_msg("%s: no comment before: %s", schemas[s]->file, line);
                    column = starts;
                    described = false;
                }
                described = described || strstr(line, "-- ");
            }
        }
}

/* ---- a full disk ---- */

static void limit_files(rlim_t bytes)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* The WAL stops at a size limit: calls are told, nothing is half there, and it goes on with space
 * again. */
static void a_full_disk_is_told_and_survived(void **state)
{
    struct bench *b = *state;
    struct call c = {0};
    int64_t job = add_job(b, NULL, 0);
    int good = 0;
    signal(SIGXFSZ, SIG_IGN);
    limit_files(256 * 1024);
    for (int i = 0; i < 1000 && c.code >= 0; i++) {
        CALL(b, &c, store_step_begin, job, "S1", NULL);
        good += c.code >= 0;
    }
    assert_int_equal(c.code, ERR_DISK);
    assert_non_null(strstr(c.err.text, "disk"));
    limit_files(4096); /* not even a page more */
    const struct store_job_change nothing = {.state = "queued"};
    CALL(b, &c, store_job_change, job + 1, &nothing);
    assert_int_equal(c.code, ERR_NOT_FOUND);
    struct store_disk disk;
    store_disk(b->store, &disk); /* what wrote nothing says nothing of the disk */
    assert_non_null(strstr(disk.trouble, "disk"));
    assert_true(disk.free_bytes >
                0); /* a limit, and not the disk: the number alone would not tell */
    size_t events = b->event_count;
    CALL(b, &c, store_job_log_add, job, "info", NULL, "still full");
    assert_int_equal(b->event_count, c.code < 0 ? events : events + 1);
    limit_files(RLIM_INFINITY);
    for (store_disk(b->store, &disk); disk.trouble[0]; store_disk(b->store, &disk))
        event_base_loop(b->base, EVLOOP_ONCE); /* it finds out by itself */
    CALL_OK(b, &c, store_step_begin, job, "S1", NULL);
    assert_int_equal(json_integer_value(json_object_get(c.body, "attempt")), good + 1);
    bench_reopen(b);
    CALL_OK(b, &c, store_job_get, job);
    assert_int_equal(json_array_size(json_object_get(c.body, "steps")), good + 1);
    json_decref(c.body);
}

static void a_full_disk_leaves_no_backup(void **state)
{
    struct bench *b = *state;
    struct call c = {.fd = -1};
    struct spooling spool;
    struct span data = noise(4 * CHUNK_BYTES, 5);
    const struct store_backup_meta meta = {.origin = "import"};
    spooling_open(&spool, 0);
    spooling_image(&spool, "nvram", data, SPOOL_PLAUSIBLE_YES);
    spooling_finish(&spool, "dump", "", "");
    signal(SIGXFSZ, SIG_IGN);
    limit_files(2 * CHUNK_BYTES);
    CALL(b, &c, store_spool_ingest, spool.fd, 0, &meta);
    assert_int_equal(c.code, ERR_DISK);
    limit_files(RLIM_INFINITY);
    CALL_OK(b, &c, store_backup_list, 0, NULL, NULL);
    assert_int_equal(item_count(&c), 0);
    CALL_OK(b, &c, store_spool_ingest, spool.fd, 0, &meta);
    json_decref(c.body);
    limit_files(2 * CHUNK_BYTES); /* and on the way out */
    c = (struct call){.fd = -1};
    store_backup_open(b->store, 1, "nvram", call_fd_done, &c);
    call_wait(b, &c);
    limit_files(RLIM_INFINITY);
    assert_int_equal(c.code, ERR_DISK);
    close(spool.fd);
    span_free(&data);
}

/* ---- kill -9 ---- */

static void die_when_done(void *arg, int code, const struct err *err, json_t *body)
{
    (void)arg, (void)code, (void)err, (void)body;
    raise(SIGKILL);
}

/* A child with the store that takes in what the spool holds, and is killed when that is committed
 * or, with delay_us >= 0, at any time. */
static void ingest_and_die(struct bench *b, int fd, long delay_us)
{
    const struct store_backup_meta meta = {.origin = "import"};
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct event_base *base = event_base_new();
        const struct store_config config = {.data_dir = b->dir, .base = base};
        struct store *store = NULL;
        if (store_open(&config, &store, NULL) < 0)
            _exit(1);
        store_spool_ingest(store, fd, 0, &meta, die_when_done, NULL);
        event_base_dispatch(base);
        _exit(1);
    }
    if (delay_us >= 0) {
        usleep((useconds_t)delay_us);
        kill(child, SIGKILL);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void a_kill_between_chunks_and_manifest_leaves_no_backup(void **state)
{
    struct bench *b = *state;
    struct call c = {0};
    struct spooling spool;
    const struct store_backup_meta meta = {.origin = "import"};
    struct span data = noise(3 * CHUNK_BYTES, 5);
    spooling_open(&spool, 0);
    spooling_image(&spool, "nvram", data, SPOOL_PLAUSIBLE_YES);
    store_close(&b->store);
    ingest_and_die(b, spool.fd, -1);
    bench_open(b);
    assert_int_equal(one_number(b->dir, "backups.db", "SELECT count(*) AS n FROM chunk"), 3);
    CALL_OK(b, &c, store_backup_list, 0, NULL, NULL);
    assert_int_equal(item_count(&c), 0);
    spooling_finish(&spool, "dump", "", "");
    CALL_OK(b, &c, store_spool_ingest, spool.fd, 0, &meta);
    CALL_OK(b, &c, store_backup_list, 0, NULL, NULL);
    assert_int_equal(item_count(&c), 1);
    json_decref(c.body);
    close(spool.fd);
    span_free(&data);
}

/* Whenever it dies, a backup that is visible is whole. */
static void a_kill_at_any_time_leaves_whole_backups(void **state)
{
    struct bench *b = *state;
    const struct store_backup_meta meta = {.origin = "import"};
    for (uint32_t round = 0; round < 12; round++) {
        struct spooling spool;
        struct call list = {0}, image = {.fd = -1};
        struct span data = noise(2 * CHUNK_BYTES, round);
        spooling_open(&spool, 0);
        spooling_image(&spool, "nvram", data, SPOOL_PLAUSIBLE_YES);
        spooling_finish(&spool, "dump", "", "");
        store_close(&b->store);
        ingest_and_die(b, spool.fd, 5000 * round);
        bench_open(b);
        CALL_OK(b, &list, store_backup_list, 0, NULL, NULL);
        assert_in_range(item_count(&list), round, round + 1);
        CALL_OK(b, &list, store_spool_ingest, spool.fd, 0, &meta);
        int64_t id = id_of(json_array_get(json_object_get(list.body, "backups"), 0));
        assert_int_equal(id, round + 1);
        store_backup_open(b->store, id, "nvram", call_fd_done, &image);
        call_wait(b, &image);
        assert_int_equal(image.code, 0);
        fd_close(&image.fd);
        json_decref(list.body);
        close(spool.fd);
        span_free(&data);
    }
}

/* ---- closing ---- */

static void call_again(void *arg, int code, const struct err *err, json_t *body)
{
    struct call *c = arg;
    assert_int_equal(code, 0);
    (void)err, (void)body;
    store_job_get(c->bench->store, 1, call_done, c);
}

/* Nothing that was asked for is lost, every callback runs, also that of a call made while closing.
 */
static void closing_answers_everybody(void **state)
{
    struct bench *b = *state;
    enum { CALLS = 300 };
    static struct call calls[CALLS];
    struct call late = {.bench = b};
    memset(calls, 0, sizeof(calls));
    for (size_t i = 0; i < CALLS; i++)
        store_job_add(b->store, &(struct store_job_new){.recipe = "r"}, call_done, &calls[i]);
    struct store *store = b->store;
    store_job_add(b->store, &(struct store_job_new){.recipe = "r"}, call_again, &late);
    store_close(&store);
    b->store = NULL;
    for (size_t i = 0; i < CALLS; i++) {
        assert_true(calls[i].ran);
        assert_int_equal(calls[i].code, 0);
        json_decref(calls[i].body);
    }
    assert_true(late.ran);
    assert_int_equal(late.code, ERR_CANCELLED);
    bench_open(b);
    assert_int_equal(one_number(b->dir, "station.db", "SELECT count(*) AS n FROM job"), CALLS + 1);
}

#define WITH_BENCH(test) cmocka_unit_test_setup_teardown(test, bench_setup, bench_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_BENCH(a_schema_goes_forward_and_a_copy_is_kept),
        WITH_BENCH(a_failing_migration_leaves_the_old_schema),
        WITH_BENCH(equal_labels_of_before_are_told_apart),
        WITH_BENCH(a_newer_schema_is_refused),
        WITH_BENCH(one_process_a_folder),
        WITH_BENCH(nobody_else_reads_the_files),
        WITH_BENCH(tables_refuse),
        cmocka_unit_test(every_column_has_a_comment),
        WITH_BENCH(a_full_disk_is_told_and_survived),
        WITH_BENCH(a_full_disk_leaves_no_backup),
        WITH_BENCH(a_kill_between_chunks_and_manifest_leaves_no_backup),
        WITH_BENCH(a_kill_at_any_time_leaves_whole_backups),
        WITH_BENCH(closing_answers_everybody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
