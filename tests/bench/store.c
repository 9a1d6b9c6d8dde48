/* `./run bench store [JOBS LINES]`: what the store costs over plain SQLite (same rows, same pragmas, same disk, in the same
 * run), and what pages of lists cost when the database has grown to JOBS jobs and LINES log lines, against the same
 * pages of a small one. Times are for comparison only. */
#include "tests/unit/store_bench.h"

#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

#include "server/store/db.h"
#include "server/store/schema.h"

enum {
    SMALL_JOBS = 1000,
    SMALL_LINES = 10000,
    JOBS = 100000,
    LINES = 1000000,
    RAW_LINES = 100000,
    GROUP = 512,       /* lane.c, GROUP_MAX: rows of one commit */
    IN_FLIGHT = 16384, /* calls that wait for the writer, below STORE_QUEUE_MAX */
    SINGLES = 200,     /* one row, one commit, one answer */
    READS = 101,       /* odd: the median is one of them */
};

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, size_t count)
{
    qsort(values, count, sizeof(*values), compare);
    return values[count / 2];
}

static void print_ratio(const char *what, const char *baseline, double ratio, const char *unit,
                        double base, double value)
{
    printf("{\"bench\":\"store\",\"what\":\"%s\",\"baseline\":\"%s\",\"ratio\":%.3f,"
           "\"baseline_%s\":%.1f,\"%s\":%.1f}\n",
           what, baseline, ratio, unit, base, unit, value);
    fflush(stdout);
}

/* ---- plain SQLite ------------------------------------------------------------------------------------------ */

static const char raw_line_sql[] = "INSERT INTO job_log (job_id, seq, at_ms, level, message)"
                                   " VALUES (1, :seq, 1, 'info', 'block written')";
static const char raw_event_sql[] =
    "INSERT INTO event (at_ms, type, job_id, log_seq) VALUES (1, 'log', 1, :seq)";

static void raw_put(struct db *db, const char *sql, int64_t seq)
{
    sqlite3_stmt *stmt;
    struct err err = {0};
    if (db_prepare(db, sql, &stmt, &err) < 0)
        fail_msg("%s", err.text);
    db_bind_int(stmt, ":seq", seq);
    if (db_step(db, stmt, &err) < 0)
        fail_msg("%s", err.text);
    db_reset(&stmt);
}

static void raw_lines(struct db *db, int64_t from, int64_t count)
{
    struct err err = {0};
    db_exec(db, "BEGIN IMMEDIATE", &err);
    for (int64_t i = from; i < from + count; i++) {
        raw_put(db, raw_line_sql, i);
        raw_put(db, raw_event_sql, i);
    }
    if (db_exec(db, "COMMIT", &err) < 0)
        fail_msg("%s", err.text);
}

struct speeds {
    double lines_s, single_s; /* lines a second; seconds for one line that is waited for */
};

/* In a folder of its own on the same disk. */
static struct speeds measure_raw(void)
{
    struct err err = {0};
    struct speeds found;
    double singles[SINGLES];
    char dir[] = "/tmp/flashrack-raw-XXXXXX";
    assert_non_null(mkdtemp(dir));
    AUTO(free_ptr) char *path = xasprintf("%s/station.db", dir);
    struct db *db = NULL;
    if (schema_migrate(&schema_station, dir, &err) < 0 || db_open(path, false, &db, &err) < 0)
        fail_msg("%s", err.text);
    db_exec(db, "INSERT INTO job (recipe, created_ms) VALUES ('r', 1)", &err);
    double start = now_s();
    for (int64_t i = 0; i < RAW_LINES; i += GROUP)
        raw_lines(db, i + 1, GROUP);
    found.lines_s = RAW_LINES / (now_s() - start);
    for (int i = 0; i < SINGLES; i++) {
        start = now_s();
        raw_lines(db, RAW_LINES + GROUP + i, 1);
        singles[i] = now_s() - start;
    }
    found.single_s = median(singles, SINGLES);
    db_close(&db);
    bench_remove_dir(dir);
    return found;
}

/* ---- through the store ------------------------------------------------------------------------------------- */

static void count_done(void *arg, int code, const struct err *err, json_t *body)
{
    int64_t *waiting = arg;
    (void)body;
    if (code < 0)
        fail_msg("%s", err->text);
    (*waiting)--;
}

static void wait_below(struct bench *b, const int64_t *waiting, int64_t limit)
{
    while (*waiting >= limit)
        event_base_loop(b->base, EVLOOP_ONCE);
}

static void add_jobs(struct bench *b, int64_t from, int64_t to)
{
    int64_t waiting = 0;
    for (int64_t i = from; i < to; i++) {
        char port[24], serial[24];
        snprintf(port, sizeof(port), "p%" PRId64, i % 64);
        snprintf(serial, sizeof(serial), "PDAGAT%010" PRId64, i % (SMALL_JOBS / 2));
        waiting++;
        store_job_add(
            b->store,
            &(struct store_job_new){.recipe = "x5-restore", .port_id = port, .serial = serial},
            count_done, &waiting);
        wait_below(b, &waiting, IN_FLIGHT);
    }
    wait_below(b, &waiting, 1);
}

/* Half of them to job 1, so that one log is long; lines a second. */
static double add_lines(struct bench *b, int64_t jobs, int64_t count)
{
    int64_t waiting = 0;
    double start = now_s();
    for (int64_t i = 0; i < count; i++) {
        waiting++;
        store_job_log_add(b->store, i % 2 ? 1 : 1 + i / 2 % jobs, "info", NULL, "block written",
                          count_done, &waiting);
        wait_below(b, &waiting, IN_FLIGHT);
    }
    wait_below(b, &waiting, 1);
    return (double)count / (now_s() - start);
}

static double measure_single(struct bench *b)
{
    double singles[SINGLES];
    for (int i = 0; i < SINGLES; i++) {
        struct call c = {0};
        double start = now_s();
        CALL_OK(b, &c, store_job_log_add, 1, "info", NULL, "block written");
        singles[i] = now_s() - start;
        json_decref(c.body);
    }
    return median(singles, SINGLES);
}

/* ---- pages ------------------------------------------------------------------------------------------------- */

static const struct store_page middle = {.after = "2000"};

static void read_newest(struct bench *b, struct call *c)
{
    CALL_OK(b, c, store_job_list, NULL, NULL);
}

static void read_open(struct bench *b, struct call *c)
{
    CALL_OK(b, c, store_job_list, (&(struct store_job_filter){.open = true}), NULL);
}

static void read_of_port(struct bench *b, struct call *c)
{
    CALL_OK(b, c, store_job_list, (&(struct store_job_filter){.port_id = "p7"}),
            (&(struct store_page){.limit = 10}));
}

static void read_of_serial(struct bench *b, struct call *c)
{
    CALL_OK(b, c, store_job_list, (&(struct store_job_filter){.serial = "PDAGAT0000000007"}),
            (&(struct store_page){.limit = 2}));
}

static void read_job(struct bench *b, struct call *c)
{
    CALL_OK(b, c, store_job_get, SMALL_JOBS / 2);
}

static void read_log(struct bench *b, struct call *c)
{
    CALL_OK(b, c, store_job_log, 1, &middle);
}

static void read_events(struct bench *b, struct call *c)
{
    CALL_OK(b, c, store_event_list, &middle);
}

static void read_audit(struct bench *b, struct call *c)
{
    CALL_OK(b, c, store_audit_list, NULL);
}

static const struct reading {
    const char *name;
    void (*read)(struct bench *b, struct call *c);
} readings[] = {
    {"newest jobs", read_newest},
    {"open jobs", read_open},
    {"jobs of a port", read_of_port},
    {"jobs of a serial", read_of_serial},
    {"one job", read_job},
    {"log page", read_log},
    {"events after a cursor", read_events},
    {"newest audit rows", read_audit},
};

static double time_of(struct bench *b, const struct reading *r)
{
    struct call c = {0};
    double start = now_s();
    r->read(b, &c);
    json_decref(c.body);
    return now_s() - start;
}

/* In turns, so that a loaded machine slows both. */
static void measure_reads(struct bench *small, struct bench *large)
{
    for (size_t i = 0; i < ARRAY_LEN(readings); i++) {
        double of_small[READS], of_large[READS];
        for (int k = 0; k < READS; k++) {
            of_small[k] = time_of(small, &readings[i]);
            of_large[k] = time_of(large, &readings[i]);
        }
        double base = median(of_small, READS), value = median(of_large, READS);
        print_ratio(readings[i].name, "the same of a small database", value / base, "microseconds",
                    base * 1e6, value * 1e6);
    }
}

int main(int argc, char **argv)
{
    int64_t jobs = argc > 1 ? strtoll(argv[1], NULL, 10) : JOBS;
    int64_t lines = argc > 2 ? strtoll(argv[2], NULL, 10) : LINES;
    void *small = NULL, *large = NULL;
    if (jobs < SMALL_JOBS || lines < SMALL_LINES) {
        fprintf(stderr, "usage: bench_store [JOBS LINES], at least %d and %d\n", SMALL_JOBS,
                SMALL_LINES);
        return 2;
    }
    struct speeds raw = measure_raw();
    bench_setup(&small);
    bench_setup(&large);
    add_jobs(small, 0, SMALL_JOBS);
    add_lines(small, SMALL_JOBS, SMALL_LINES);
    add_jobs(large, 0, jobs);
    double lines_s = add_lines(large, jobs, lines), single_s = measure_single(large);
    print_ratio("log lines in groups", "plain SQLite", lines_s / raw.lines_s, "lines_per_second",
                raw.lines_s, lines_s);
    print_ratio("one line until it is answered", "plain SQLite", single_s / raw.single_s,
                "microseconds", raw.single_s * 1e6, single_s * 1e6);
    measure_reads(small, large);
    printf("{\"bench\":\"store\",\"jobs\":%" PRId64 ",\"lines\":%" PRId64 "}\n", jobs, lines);
    bench_teardown(&small);
    bench_teardown(&large);
    return 0;
}
