/* Jobs, steps, log lines, events and ports in a real database. */
#include "tests/unit/store_bench.h"

#include "usb/base/clock.h"

static void a_job_has_the_shape_of_the_api(void **state)
{
    struct bench *b = *state;
    struct call c = {0};
    clock_test_set(1795341600123);
    const struct store_job_new order = {.recipe = "x5-restore",
                                        .port_id = "usbip-127.0.0.1:3240-1-1",
                                        .serial = "PDAGATEST0000001",
                                        .imeis = {"356938035643809"},
                                        .finish = "lk",
                                        .priority = 3};
    CALL_OK(b, &c, store_job_add, &order);
    clock_test_set(-1);
    assert_string_equal(text_of(c.body, "id"), "1");
    assert_string_equal(text_of(c.body, "state"), "queued");
    assert_string_equal(text_of(c.body, "created_at"), "2026-11-22T10:00:00.123Z");
    assert_string_equal(text_of(c.body, "port"), "usbip-127.0.0.1:3240-1-1");
    json_t *imeis = json_object_get(c.body, "imeis");
    assert_string_equal(json_string_value(json_array_get(imeis, 0)), "356938035643809");
    static const char *const nulls[] = {"step",     "prompt",     "error",    "started_at",
                                        "ended_at", "result",     "phone_id", "firmware",
                                        "backup",   "client_ref", "accept"};
    for (size_t i = 0; i < ARRAY_LEN(nulls); i++)
        assert_true(json_is_null(json_object_get(c.body, nulls[i])));
    assert_int_equal(json_array_size(json_object_get(c.body, "steps")), 0);
    json_t *progress = json_object_get(c.body, "progress");
    assert_true(json_is_integer(json_object_get(progress, "done_bytes")));
    assert_string_equal(b->last_type, "job");
    assert_null(json_object_get(b->last_body, "steps"));
    json_decref(c.body);
}

static void the_same_key_gives_the_same_job(void **state)
{
    struct bench *b = *state;
    struct call c = {0};
    struct store_job_new order = {
        .recipe = "x5-restore", .idempotency_key = "k", .request_sha256 = "aa"};
    CALL_OK(b, &c, store_job_add, &order);
    size_t events = b->event_count;
    CALL_OK(b, &c, store_job_add, &order);
    assert_string_equal(text_of(c.body, "id"), "1");
    assert_int_equal(b->event_count, events);
    order.request_sha256 = "bb";
    CALL(b, &c, store_job_add, &order);
    assert_int_equal(c.code, ERR_CONFLICT);
    assert_non_null(strstr(c.err.text, "job 1"));
    CALL_OK(b, &c, store_job_list, NULL, NULL);
    assert_int_equal(item_count(&c), 1);
    json_decref(c.body);
}

/* Two calls of one group: the second sees the first, although neither is committed. */
static void the_same_key_in_one_group(void **state)
{
    struct bench *b = *state;
    struct call one = {0}, two = {0};
    const struct store_job_new order = {
        .recipe = "x5-restore", .idempotency_key = "k", .request_sha256 = "aa"};
    store_job_add(b->store, &order, call_done, &one);
    store_job_add(b->store, &order, call_done, &two);
    call_wait(b, &one);
    call_wait(b, &two);
    assert_string_equal(text_of(one.body, "id"), text_of(two.body, "id"));
    json_decref(one.body);
    json_decref(two.body);
}

static void an_order_names_what_is_there(void **state)
{
    struct bench *b = *state;
    struct call c = {0};
    CALL(b, &c, store_job_add, (&(struct store_job_new){.recipe = "r", .phone_id = 9}));
    assert_int_equal(c.code, ERR_INPUT);
    assert_string_equal(c.err.text, "there is no phone 9");
    CALL(b, &c, store_job_add, (&(struct store_job_new){.recipe = "r", .finish = "maybe"}));
    assert_int_equal(c.code, ERR_INPUT);
    CALL(b, &c, store_job_add, (&(struct store_job_new){.recipe = "\xff"}));
    assert_int_equal(c.code, ERR_INPUT);
    CALL(b, &c, store_job_get, store_id("x"));
    assert_int_equal(c.code, ERR_NOT_FOUND);
    assert_int_equal(b->event_count, 0);
}

static void change_to(struct bench *b, struct call *c, int64_t job, const char *to)
{
    CALL(b, c, store_job_change, job, (&(struct store_job_change){.state = to}));
}

static void states_set_the_times(void **state)
{
    struct bench *b = *state;
    struct call c = {0};
    int64_t job = add_job(b, "p1", 0);
    change_to(b, &c, job, "running");
    assert_true(json_is_string(json_object_get(c.body, "started_at")));
    json_auto_t *prompt = json_pack("{s:s, s:s}", "id", "S4", "text", "Plug the phone in.");
    CALL_OK(b, &c, store_job_change, job,
            (&(struct store_job_change){.state = "prompt", .step = "S4", .prompt = prompt}));
    assert_string_equal(b->last_type, "prompt");
    assert_string_equal(text_of(json_object_get(b->last_body, "prompt"), "text"),
                        "Plug the phone in.");
    change_to(b, &c, job, "running");
    assert_true(json_is_null(json_object_get(c.body, "prompt")));
    CALL(b, &c, store_job_change, job,
         (&(struct store_job_change){.state = "cancelled", .from = "interrupted"}));
    assert_int_equal(c.code, ERR_CONFLICT);
    assert_non_null(strstr(c.err.text, "has gone on meanwhile: running"));
    json_auto_t *error = json_pack("{s:s, s:s}", "code", "F12", "message", "no");
    CALL_OK(b, &c, store_job_change, job,
            (&(struct store_job_change){.state = "failed", .error = error}));
    assert_true(json_is_string(json_object_get(c.body, "ended_at")));
    assert_string_equal(text_of(json_object_get(c.body, "error"), "code"), "F12");
    change_to(b, &c, job, "running");
    assert_int_equal(c.code, ERR_CONFLICT);
    assert_non_null(strstr(c.err.text, "failed"));
    change_to(b, &c, 99, "running");
    assert_int_equal(c.code, ERR_NOT_FOUND);
    json_decref(c.body);
}

static void one_running_job_a_port_and_a_phone(void **state)
{
    struct bench *b = *state;
    struct call c = {0};
    int64_t phone = add_phone(b, CHIP_A, NULL);
    int64_t first = add_job(b, "p1", phone), second = add_job(b, "p1", 0);
    int64_t third = add_job(b, "p2", phone);
    change_to(b, &c, first, "running");
    change_to(b, &c, second, "running");
    assert_int_equal(c.code, ERR_CONFLICT);
    change_to(b, &c, third, "prompt");
    assert_int_equal(c.code, ERR_CONFLICT);
    change_to(b, &c, first, "interrupted");
    change_to(b, &c, second, "running");
    assert_int_equal(c.code, 0);
    json_decref(c.body);
}

static void every_attempt_is_kept(void **state)
{
    struct bench *b = *state;
    struct call c = {0};
    int64_t job = add_job(b, "p1", 0);
    json_auto_t *intent = json_pack("{s:i}", "bytes", 5);
    json_auto_t *error = json_pack("{s:s}", "code", "timeout");
    CALL_OK(b, &c, store_step_begin, job, "S7", intent);
    assert_int_equal(json_integer_value(json_object_get(c.body, "attempt")), 1);
    assert_string_equal(text_of(b->last_body, "step"), "S7");
    CALL_OK(b, &c, store_step_end, job, "S7", "failed", error, NULL);
    CALL(b, &c, store_step_end, job, "S7", "done", NULL, NULL);
    assert_int_equal(c.code, ERR_CONFLICT);
    CALL_OK(b, &c, store_step_begin, job, "S7", NULL);
    assert_int_equal(json_integer_value(json_object_get(c.body, "attempt")), 2);
    CALL(b, &c, store_step_end, job, "S7", "well", NULL, NULL);
    assert_int_equal(c.code, ERR_INPUT);
    CALL_OK(b, &c, store_step_end, job, "S7", "done", NULL, intent);
    CALL_OK(b, &c, store_job_get, job);
    json_t *steps = json_object_get(c.body, "steps");
    assert_int_equal(json_array_size(steps), 2);
    assert_string_equal(text_of(json_array_get(steps, 0), "state"), "failed");
    assert_string_equal(text_of(json_array_get(steps, 1), "state"), "done");
    assert_true(json_equal(json_object_get(json_array_get(steps, 0), "intent"), intent));
    change_to(b, &c, job, "cancelled");
    CALL(b, &c, store_step_begin, job, "S8", NULL);
    assert_int_equal(c.code, ERR_CONFLICT);
    json_decref(c.body);
}

static void log_lines_and_events_have_cursors(void **state)
{
    struct bench *b = *state;
    struct call c = {0};
    int64_t job = add_job(b, "p1", 0);
    CALL_OK(b, &c, store_job_log_add, job, "info", NULL, "first");
    CALL_OK(b, &c, store_job_log_add, job, "warn", "S1", "bad \xff\xc3\xa4 byte");
    assert_string_equal(text_of(b->last_body, "message"), "bad ?\xc3\xa4 byte");
    CALL_OK(b, &c, store_job_log, job, (&(struct store_page){.limit = 1}));
    assert_string_equal(text_of(item(&c, 0), "message"), "first");
    assert_string_equal(text_of(c.body, "next"), "1");
    CALL_OK(b, &c, store_job_log, job, (&(struct store_page){.after = "1", .limit = 1}));
    assert_string_equal(text_of(item(&c, 0), "level"), "warn");
    assert_true(json_is_null(json_object_get(c.body, "next")));
    CALL_OK(b, &c, store_event_list, NULL);
    assert_int_equal(item_count(&c), 3);
    json_t *last = item(&c, 2);
    assert_string_equal(text_of(last, "type"), "log");
    assert_true(json_equal(json_object_get(last, "body"), b->last_body));
    assert_int_equal(json_object_size(last), 4);
    assert_string_equal(text_of(c.body, "next"), text_of(last, "id"));
    CALL_OK(b, &c, store_event_list, (&(struct store_page){.after = "3"}));
    assert_int_equal(item_count(&c), 0);
    assert_string_equal(text_of(c.body, "next"), "3");
    CALL(b, &c, store_event_list, (&(struct store_page){.after = "x"}));
    assert_int_equal(c.code, ERR_INPUT);
    CALL(b, &c, store_event_list, (&(struct store_page){.limit = STORE_PAGE_MAX + 1}));
    assert_int_equal(c.code, ERR_INPUT);
    CALL(b, &c, store_job_log, 99, NULL);
    assert_int_equal(c.code, ERR_NOT_FOUND);
}

static void lists_filter_and_page(void **state)
{
    struct bench *b = *state;
    struct call c = {0};
    for (int i = 0; i < 5; i++)
        add_job(b, i % 2 ? "p1" : "p2", 0);
    change_to(b, &c, 2, "cancelled");
    CALL_OK(b, &c, store_job_list, (&(struct store_job_filter){.port_id = "p2"}),
            (&(struct store_page){.limit = 2}));
    assert_string_equal(text_of(item(&c, 0), "id"), "5");
    assert_string_equal(text_of(item(&c, 1), "id"), "3");
    assert_string_equal(text_of(c.body, "next"), "3");
    CALL_OK(b, &c, store_job_list, (&(struct store_job_filter){.port_id = "p2"}),
            (&(struct store_page){.after = "3", .limit = 2}));
    assert_int_equal(item_count(&c), 1);
    CALL_OK(b, &c, store_job_list, (&(struct store_job_filter){.open = true, .port_id = "p1"}),
            NULL);
    assert_int_equal(item_count(&c), 1);
    assert_string_equal(text_of(item(&c, 0), "id"), "4");
    CALL_OK(b, &c, store_job_list, (&(struct store_job_filter){.state = "cancelled"}), NULL);
    assert_int_equal(item_count(&c), 1);
    json_decref(c.body);
}

static void put_label(struct bench *b, struct call *c, const char *port, const char *label)
{
    store_port_put(b->store, port, &(struct store_port_settings){label, -1, -1}, call_done, c);
}

/* Two people label at the same moment: neither answer is there when the other one asks. */
static void a_label_is_given_once(void **state)
{
    struct bench *b = *state;
    static const char *const ports[] = {"p1", "p2", "p3"}, *const labels[] = {"A1", "A1", "a1"};
    struct call calls[ARRAY_LEN(ports)] = {0}, c = {0};
    for (size_t i = 0; i < ARRAY_LEN(ports); i++)
        put_label(b, &calls[i], ports[i], labels[i]);
    for (size_t i = 0; i < ARRAY_LEN(ports); i++) {
        call_wait(b, &calls[i]);
        assert_int_equal(calls[i].code, i == 0 ? 0 : ERR_CONFLICT);
        json_decref(calls[i].body);
    }
    assert_non_null(strstr(calls[2].err.text, "p1 has the label"));
    CALL_OK(b, &c, store_port_put, "p1", &(struct store_port_settings){"a1", -1, -1}); /* its own */
    CALL_OK(b, &c, store_port_put, "p1", &(struct store_port_settings){"", -1, -1});
    CALL_OK(b, &c, store_port_put, "p2", &(struct store_port_settings){"", -1, -1});
    CALL_OK(b, &c, store_port_put, "p3", &(struct store_port_settings){"A1", -1, -1});
    json_decref(c.body);
}

static void ports_keep_label_and_last_result(void **state)
{
    struct bench *b = *state;
    struct call c = {0};
    CALL_OK(b, &c, store_port_put, "p1", &(struct store_port_settings){"A1", -1, -1});
    assert_true(json_is_true(json_object_get(c.body, "enabled")));
    CALL_OK(b, &c, store_port_put, "p1", &(struct store_port_settings){NULL, 0, -1});
    assert_string_equal(text_of(c.body, "label"), "A1");
    assert_true(json_is_false(json_object_get(c.body, "enabled")));
    assert_string_equal(b->last_type, "port");
    size_t events = b->event_count;
    CALL_OK(b, &c, store_port_put, "p1", &(struct store_port_settings){NULL, -1, -1});
    assert_int_equal(b->event_count, events);
    int64_t job = add_job(b, "p1", 0);
    add_job(b, "p1", 0);
    change_to(b, &c, job, "cancelled");
    json_decref(c.body);
    c = (struct call){0};
    store_port_list(b->store, call_done, &c);
    call_wait(b, &c);
    assert_string_equal(text_of(item(&c, 0), "last_state"), "cancelled");
    assert_string_equal(text_of(item(&c, 0), "last_job_id"), "1");
    json_decref(c.body);
}

static void audit_rows_are_written(void **state)
{
    struct bench *b = *state;
    struct call c = {0};
    add_job(b, NULL, 0);
    CALL_OK(b, &c, store_audit_add, "anna", "token.add", "token 4", NULL);
    CALL_OK(b, &c, store_audit_list, NULL);
    assert_int_equal(item_count(&c), 2);
    assert_string_equal(text_of(item(&c, 0), "actor"), "anna");
    assert_string_equal(text_of(item(&c, 1), "subject"), "job 1");
    json_decref(c.body);
}

static void firmware_is_catalogued_once(void **state)
{
    struct bench *b = *state;
    struct call c = {0};
    json_auto_t *files =
        json_pack("[{s:s, s:i, s:s}]", "name", "boot.img", "size", 3, "sha256",
                  "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    struct store_firmware_new fw = {.path = "/srv/fw", .platform = "MT6771", .files = files};
    CALL_OK(b, &c, store_firmware_put, &fw);
    CALL_OK(b, &c, store_firmware_put, &fw);
    assert_string_equal(text_of(c.body, "id"), "1");
    assert_true(json_equal(json_object_get(c.body, "files"), files));
    assert_int_equal(json_array_size(json_object_get(c.body, "problems")), 0);
    json_object_set_new(json_array_get(files, 0), "size", json_integer(4));
    CALL_OK(b, &c, store_firmware_put, &fw);
    assert_string_equal(text_of(c.body, "id"), "2");
    CALL_OK(b, &c, store_firmware_list, NULL);
    assert_int_equal(item_count(&c), 2);
    CALL_OK(b, &c, store_firmware_get, 1);
    CALL(b, &c, store_firmware_get, 3);
    assert_int_equal(c.code, ERR_NOT_FOUND);
}

/* A rejected call takes nothing along: its group is committed without it. */
static void a_group_survives_a_rejected_call(void **state)
{
    struct bench *b = *state;
    struct call good[2] = {0}, bad = {0}, c = {0};
    int64_t job = add_job(b, NULL, 0);
    store_job_log_add(b->store, job, "info", NULL, "one", call_done, &good[0]);
    store_job_log_add(b->store, job, "loud", NULL, "two", call_done, &bad);
    store_job_log_add(b->store, job, "info", NULL, "three", call_done, &good[1]);
    call_wait(b, &good[1]);
    assert_true(good[0].ran && bad.ran);
    assert_int_equal(bad.code, ERR_INPUT);
    CALL_OK(b, &c, store_job_log, job, NULL);
    assert_int_equal(item_count(&c), 2);
    assert_int_equal(json_integer_value(json_object_get(item(&c, 1), "seq")), 2);
    json_decref(good[0].body);
    json_decref(good[1].body);
    json_decref(c.body);
}

#define WITH_BENCH(test) cmocka_unit_test_setup_teardown(test, bench_setup, bench_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_BENCH(a_job_has_the_shape_of_the_api),
        WITH_BENCH(the_same_key_gives_the_same_job),
        WITH_BENCH(the_same_key_in_one_group),
        WITH_BENCH(an_order_names_what_is_there),
        WITH_BENCH(states_set_the_times),
        WITH_BENCH(one_running_job_a_port_and_a_phone),
        WITH_BENCH(every_attempt_is_kept),
        WITH_BENCH(log_lines_and_events_have_cursors),
        WITH_BENCH(lists_filter_and_page),
        WITH_BENCH(a_label_is_given_once),
        WITH_BENCH(ports_keep_label_and_last_result),
        WITH_BENCH(audit_rows_are_written),
        WITH_BENCH(firmware_is_catalogued_once),
        WITH_BENCH(a_group_survives_a_rejected_call),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
