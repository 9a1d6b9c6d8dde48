/* Many rows: readers are answered while the writer is busy, and no statement reads a whole table.
 */
#include "tests/unit/store_bench.h"

#include <semaphore.h>

#include "server/store/inside.h"

#ifdef __SANITIZE_ADDRESS__
enum { LINES = 20000, BURST = 5000 };
#else
enum { LINES = 100000, BURST = 10000 };
#endif

static void write_lines(struct bench *b, int64_t job, int count)
{
    for (int i = 0; i < count; i += BURST) {
        struct call last = {0};
        for (int k = 1; k < BURST; k++)
            store_job_log_add(b->store, job, "info", "S7", "block written", NULL, NULL);
        store_job_log_add(b->store, job, "info", "S7", "last of the burst", call_done, &last);
        /* readers are answered in between */
        struct call read = {0};
        CALL_OK(b, &read, store_job_log, job, (&(struct store_page){.limit = 1}));
        json_decref(read.body);
        call_wait(b, &last);
        assert_int_equal(last.code, 0);
        json_decref(last.body);
    }
}

static struct task *plan_task;
static char *plans;
static int note_plans(struct conn *conn, struct task *task)
{
    (void)task;
    char *more = db_plans(conn->station);
    char *all = xasprintf("%s%s", plans ? plans : "", more);
    free(plans);
    free(more);
    plans = all;
    return 0;
}

/* Every write once: foreign keys are looked up by whole scans where an index is missing. */
static void write_everything(struct bench *b, int64_t job, int64_t phone)
{
    struct call c = {0};
    json_auto_t *files = json_array();
    const struct store_firmware_new fw = {.path = "/srv/fw", .files = files};
    const struct store_job_new order = {
        .recipe = "r", .phone_id = phone, .idempotency_key = "k", .request_sha256 = "aa"};
    CALL_OK(b, &c, store_port_put, "p1", &(struct store_port_settings){"A1", 1, -1});
    CALL_OK(b, &c, store_firmware_put, &fw);
    CALL_OK(b, &c, store_job_add, &order);
    CALL_OK(b, &c, store_step_begin, job, "S1", NULL);
    CALL_OK(b, &c, store_step_end, job, "S1", "done", NULL, NULL);
    CALL_OK(b, &c, store_phone_identity, phone, "own");
    CALL_OK(b, &c, store_job_change, job, (&(struct store_job_change){.state = "running"}));
    CALL_OK(b, &c, store_audit_add, "anna", "a", "b", NULL);
    CALL(b, &c, store_conflict_resolve, 1, "anna", "same phone, new board", NULL);
    CALL(b, &c, store_permit_add, (&(struct store_permit_new){.job_id = job, .chip_id = CHIP_A}));
    json_decref(c.body);
}

static void take_plans(struct bench *b, enum lane_name lane)
{
    struct call c = {0};
    plan_task = task_new("plans", note_plans, json_object(), call_done, &c);
    lane_submit(b->store, lane, plan_task);
    call_wait(b, &c);
}

/* Every read of the module once, so that its statement is prepared (with one reader thread). */
static void read_everything(struct bench *b, int64_t job, int64_t phone)
{
    struct call c = {0};
    CALL_OK(b, &c, store_job_get, job);
    CALL_OK(b, &c, store_job_log, job, NULL);
    CALL_OK(b, &c, store_event_list, NULL);
    CALL_OK(b, &c, store_job_list, NULL, NULL);
    CALL_OK(b, &c, store_job_list, (&(struct store_job_filter){.state = "running"}), NULL);
    CALL_OK(b, &c, store_job_list, (&(struct store_job_filter){.port_id = "p1"}), NULL);
    CALL_OK(b, &c, store_job_list, (&(struct store_job_filter){.serial = "x"}), NULL);
    CALL_OK(b, &c, store_job_list, (&(struct store_job_filter){.client_ref = "x"}), NULL);
    CALL_OK(b, &c, store_job_list, (&(struct store_job_filter){.phone_id = 1}), NULL);
    CALL_OK(b, &c, store_job_list, (&(struct store_job_filter){.open = true}), NULL);
    CALL_OK(b, &c, store_phone_get, phone);
    CALL_OK(b, &c, store_phone_list, NULL, NULL, NULL);
    CALL_OK(b, &c, store_phone_list, CHIP_A, NULL, NULL);
    CALL_OK(b, &c, store_phone_list, NULL, "x", NULL);
    CALL_OK(b, &c, store_conflict_list, NULL, NULL);
    CALL_OK(b, &c, store_conflict_list, "open", NULL);
    CALL(b, &c, store_conflict_get, 1);
    CALL_OK(b, &c, store_backup_list, 0, NULL, NULL);
    CALL_OK(b, &c, store_backup_list, 1, NULL, NULL);
    CALL_OK(b, &c, store_backup_list, 0, "x", NULL);
    CALL_OK(b, &c, store_order_check, 1, phone, "x");
    CALL_OK(b, &c, store_firmware_list, NULL);
    CALL_OK(b, &c, store_permit_list, job);
    CALL_OK(b, &c, store_audit_list, NULL);
    json_decref(c.body);
}

/* A line "SCAN x" without an index reads a whole table. Scalar subqueries without a table say
 * CONSTANT ROW. */
static void assert_no_scan(void)
{
    char *rest = plans;
    const char *sql = "";
    assert_non_null(strstr(plans, "SEARCH"));
    for (char *line; (line = strsep(&rest, "\n"));) {
        if (*line != '\t')
            sql = *line ? line : sql;
        else if (strstr(line, "SCAN") && !strstr(line, "CONSTANT ROW"))
            fail_msg("%s\n%s", line, sql);
    }
}

static void no_query_reads_a_whole_table(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    store_close(&b->store);
    const struct store_config config = {.data_dir = b->dir, .base = b->base, .reader_count = 1};
    assert_int_equal(store_open(&config, &b->store, &err), 0);
    store_on_event(b->store, bench_event, b);

    int64_t phone = add_phone(b, CHIP_A, "PDAGATEST0000001"), job = add_job(b, "p1", phone);
    write_everything(b, job, phone);
    size_t before = b->event_count;
    write_lines(b, job, LINES);
    assert_int_equal(b->event_count, before + LINES);
    read_everything(b, job, phone);
    take_plans(b, LANE_READ);
    take_plans(b, LANE_WRITE);
    assert_no_scan();
    free(plans);
    plans = NULL;
}

static void count_refused(void *arg, int code, const struct err *err, json_t *body)
{
    int *counts = arg;
    (void)err, (void)body;
    counts[code == 0 ? 0 : code == ERR_LIMIT ? 1 : 2]++;
}

static sem_t gate;
static int wait_at_gate(struct conn *conn, struct task *task)
{
    (void)conn, (void)task;
    while (sem_wait(&gate) < 0)
        ;
    return 0;
}

/* The writer stands still: the queue takes what it may, the rest is told at once, and what was taken is
 * written when it goes on. */
static void a_full_queue_is_told(void **state)
{
    struct bench *b = *state;
    enum { CALLS = STORE_QUEUE_MAX + 2000 };
    int counts[3] = {0};
    assert_int_equal(sem_init(&gate, 0, 0), 0);
    lane_submit(b->store, LANE_WRITE, task_new("wait", wait_at_gate, json_object(), NULL, NULL));
    for (int i = 0; i < CALLS; i++)
        store_audit_add(b->store, "a", "b", "c", NULL, count_refused, counts);
    sem_post(&gate);
    while (counts[0] + counts[1] + counts[2] < CALLS)
        event_base_loop(b->base, EVLOOP_ONCE);
    assert_int_equal(counts[2], 0);
    assert_in_range(counts[0], STORE_QUEUE_MAX - 1, CALLS - 1);
    sem_destroy(&gate);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(no_query_reads_a_whole_table, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(a_full_queue_is_told, bench_setup, bench_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
