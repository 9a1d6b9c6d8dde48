/* The wall clock jumps by hours while jobs run: what happened keeps its order, ids stay unique, the phone's newest
 * serial is the one that was learned last, and deadlines do not move. */
#include "tests/unit/store_bench.h"

#include "usb/base/clock.h"

enum { HOUR_MS = 3600 * 1000, JUMPS = 6 };

static const int64_t jumps_ms[JUMPS] = {0, -5LL * HOUR_MS, 7LL * HOUR_MS, -24LL * HOUR_MS,
                                        1, -1000};

static void log_and_events_keep_their_order(void **state)
{
    struct bench *b = *state;
    struct call c = {0};
    int64_t job = add_job(b, "p1", 0);
    for (size_t i = 0; i < JUMPS; i++) {
        char text[24];
        snprintf(text, sizeof(text), "line %zu", i);
        clock_test_shift_utc(jumps_ms[i]);
        CALL_OK(b, &c, store_job_log_add, job, "info", NULL, text); /* bench_event: ids rise */
    }
    CALL_OK(b, &c, store_job_log, job, NULL);
    assert_int_equal(item_count(&c), JUMPS);
    for (size_t i = 0; i < JUMPS; i++) {
        char text[24];
        snprintf(text, sizeof(text), "line %zu", i);
        assert_string_equal(text_of(item(&c, i), "message"), text);
        assert_int_equal(json_integer_value(json_object_get(item(&c, i), "seq")), i + 1);
    }
    CALL_OK(b, &c, store_event_list, NULL);
    int64_t last = 0;
    for (size_t i = 0; i < item_count(&c); i++) {
        assert_true(id_of(item(&c, i)) > last);
        last = id_of(item(&c, i));
    }
    json_decref(c.body);
}

/* It ends at a time before its beginning: it has ended all the same, and the next job follows it. */
static void a_job_that_ends_before_it_began_has_ended(void **state)
{
    struct bench *b = *state;
    struct call c = {0};
    int64_t first = add_job(b, "p1", 0);
    CALL_OK(b, &c, store_job_change, first, (&(struct store_job_change){.state = "running"}));
    CALL_OK(b, &c, store_step_begin, first, "S1", NULL);
    clock_test_shift_utc(-5LL * HOUR_MS);
    CALL_OK(b, &c, store_step_end, first, "S1", "done", NULL, NULL);
    CALL_OK(b, &c, store_job_change, first, (&(struct store_job_change){.state = "succeeded"}));
    assert_true(strcmp(text_of(c.body, "ended_at"), text_of(c.body, "started_at")) < 0);
    int64_t second = add_job(b, "p1", 0);
    assert_true(second > first);
    CALL_OK(b, &c, store_job_change, second, (&(struct store_job_change){.state = "running"}));
    CALL_OK(b, &c, store_job_list, NULL, NULL);
    assert_int_equal(id_of(item(&c, 0)), second); /* newest first, whatever the clock says */
    json_decref(c.body);
}

static void the_serial_learned_last_is_the_phones(void **state)
{
    struct bench *b = *state;
    struct call c = {0};
    add_phone(b, CHIP_A, "PDAGATEST0000001");
    clock_test_shift_utc(-24LL * HOUR_MS);
    int64_t phone = add_phone(b, CHIP_A, "PDAGATEST0000002");
    CALL_OK(b, &c, store_phone_get, phone);
    assert_string_equal(text_of(c.body, "serial"), "PDAGATEST0000002");
    add_phone(b, CHIP_A, "PDAGATEST0000001"); /* seen again */
    CALL_OK(b, &c, store_phone_get, phone);
    assert_string_equal(text_of(c.body, "serial"), "PDAGATEST0000001");
    json_decref(c.body);
}

static void deadlines_do_not_move(void **state)
{
    (void)state;
    int64_t until = clock_in(HOUR_MS);
    clock_test_shift_utc(7LL * HOUR_MS);
    assert_in_range(clock_left(until, 2 * HOUR_MS), 1, HOUR_MS);
    clock_test_shift_utc(-7LL * HOUR_MS);
    assert_in_range(clock_left(until, 2 * HOUR_MS), 1, HOUR_MS);
}

/* Named by the time: that of the copy before may come again. */
static void a_second_copy_takes_another_name(void **state)
{
    struct bench *b = *state;
    struct call one = {0}, two = {0};
    clock_test_set(1795680000000); /* 2026-11-26 */
    CALL_OK(b, &one, store_copy, NULL);
    CALL_OK(b, &two, store_copy, NULL);
    clock_test_set(-1);
    assert_string_not_equal(text_of(one.body, "path"), text_of(two.body, "path"));
    bench_remove_dir(text_of(one.body, "path"));
    bench_remove_dir(text_of(two.body, "path"));
    AUTO(free_ptr) char *copies = xasprintf("%s/copies", b->dir);
    rmdir(copies);
    json_decref(one.body);
    json_decref(two.body);
}

static int teardown(void **state)
{
    clock_test_shift_utc(0);
    return bench_teardown(state);
}

#define WITH_BENCH(test) cmocka_unit_test_setup_teardown(test, bench_setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_BENCH(log_and_events_keep_their_order),
        WITH_BENCH(a_job_that_ends_before_it_began_has_ended),
        WITH_BENCH(the_serial_learned_last_is_the_phones),
        WITH_BENCH(deadlines_do_not_move),
        WITH_BENCH(a_second_copy_takes_another_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
