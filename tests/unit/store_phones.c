/* Phones: facts, conflicts, identity. */
#include "tests/unit/store_bench.h"

#include "usb/base/clock.h"

#define SERIAL "PDAGATEST0000001"

static void a_phone_is_its_chip(void **state)
{
    struct bench *b = *state;
    struct call c = {0};
    int64_t phone = add_phone(b, CHIP_A, SERIAL);
    assert_int_equal(add_phone(b, CHIP_A, NULL), phone);
    CALL_OK(b, &c, store_phone_seen,
            (&(struct store_phone_seen){.chip_id = CHIP_A,
                                        .port_id = "p1",
                                        .imeis = {"356938035643809", "356938035643817"},
                                        .wlan_mac = "00:11:22:33:44:55",
                                        .source = "screen"}));
    json_t *imeis = json_object_get(c.body, "imeis");
    assert_string_equal(json_string_value(json_array_get(imeis, 0)), "356938035643809");
    assert_string_equal(json_string_value(json_array_get(imeis, 1)), "356938035643817");
    assert_string_equal(text_of(c.body, "serial"), SERIAL);
    assert_string_equal(text_of(c.body, "port_id"), "p1");
    assert_string_equal(text_of(c.body, "identity"), "unknown");
    add_job(b, "p1", phone);
    CALL_OK(b, &c, store_phone_get, phone);
    assert_int_equal(json_array_size(json_object_get(c.body, "jobs")), 1);
    assert_int_equal(json_array_size(json_object_get(c.body, "backups")), 0);
    CALL_OK(b, &c, store_phone_list, NULL, SERIAL, NULL);
    assert_int_equal(item_count(&c), 1);
    CALL_OK(b, &c, store_phone_list, CHIP_B, NULL, NULL);
    assert_int_equal(item_count(&c), 0);
    CALL(b, &c, store_phone_get, 9);
    assert_int_equal(c.code, ERR_NOT_FOUND);
}

static void the_newest_serial_counts(void **state)
{
    struct bench *b = *state;
    struct call c = {0};
    clock_test_set(1000);
    add_phone(b, CHIP_A, SERIAL);
    clock_test_set(2000);
    int64_t phone = add_phone(b, CHIP_A, "PDAGATEST0000002");
    clock_test_set(-1);
    CALL_OK(b, &c, store_phone_get, phone);
    assert_string_equal(text_of(c.body, "serial"), "PDAGATEST0000002");
    assert_string_equal(text_of(c.body, "first_seen"), "1970-01-01T00:00:01.000Z");
    assert_string_equal(text_of(c.body, "last_seen"), "1970-01-01T00:00:02.000Z");
    json_decref(c.body);
}

/* A phone is plugged in dozens of times a day: only news are events. */
static void only_news_are_events(void **state)
{
    struct bench *b = *state;
    struct call c = {0};
    int64_t phone = add_phone(b, CHIP_A, SERIAL);
    assert_int_equal(b->event_count, 1);
    assert_string_equal(b->last_type, "phone");
    add_phone(b, CHIP_A, SERIAL);
    assert_int_equal(b->event_count, 1);
    CALL_OK(b, &c, store_phone_identity, phone, "lost");
    assert_int_equal(b->event_count, 2);
    CALL(b, &c, store_phone_identity, phone, "stolen");
    assert_int_equal(c.code, ERR_INPUT);
    CALL(b, &c, store_phone_identity, 9, "own");
    assert_int_equal(c.code, ERR_NOT_FOUND);
    assert_int_equal(b->event_count, 2);
}

static void one_serial_on_two_chips_is_a_conflict(void **state)
{
    struct bench *b = *state;
    struct call c = {0};
    int64_t first = add_phone(b, CHIP_A, SERIAL);
    CALL_OK(b, &c, store_phone_identity, first, "own");
    int64_t second = add_phone(b, CHIP_B, SERIAL);
    assert_int_equal(b->event_count, 4); /* both of them, at once */
    for (int64_t id = first; id <= second; id++) {
        CALL_OK(b, &c, store_phone_get, id);
        assert_string_equal(text_of(c.body, "identity"), "conflict");
        json_t *conflict = json_array_get(json_object_get(c.body, "conflicts"), 0);
        assert_string_equal(text_of(conflict, "value"), SERIAL);
        assert_int_equal(json_array_size(json_object_get(conflict, "phones")), 2);
    }
    CALL_OK(b, &c, store_conflict_resolve, 1, "anna", "board was exchanged", NULL);
    CALL_OK(b, &c, store_phone_get, first);
    assert_string_equal(text_of(c.body, "identity"), "own");
    CALL(b, &c, store_conflict_resolve, 1, "anna", "again", NULL);
    assert_int_equal(c.code, ERR_NOT_FOUND);
    add_phone(b, CHIP_B, SERIAL); /* resolved is resolved */
    CALL_OK(b, &c, store_conflict_list, NULL, NULL);
    assert_int_equal(item_count(&c), 1);
    assert_string_equal(text_of(item(&c, 0), "state"), "resolved");
    assert_string_equal(text_of(item(&c, 0), "reason"), "board was exchanged");
    CALL_OK(b, &c, store_audit_list, NULL);
    assert_string_equal(text_of(item(&c, 0), "action"), "conflict.resolve");
    json_decref(c.body);
}

static void one_imei_on_two_chips_is_a_conflict(void **state)
{
    struct bench *b = *state;
    struct call c = {0};
    struct store_phone_seen seen = {.chip_id = CHIP_A, .imeis = {"1", "2"}, .source = "label"};
    CALL_OK(b, &c, store_phone_seen, &seen);
    seen = (struct store_phone_seen){.chip_id = CHIP_B, .imeis = {"3", "2"}, .source = "label"};
    CALL_OK(b, &c, store_phone_seen, &seen);
    assert_string_equal(text_of(c.body, "identity"), "conflict");
    /* addresses of radios are no identity: many wiped phones share one */
    seen = (struct store_phone_seen){
        .chip_id = "0000000011111111", .wlan_mac = "00:00:00:00:00:00", .source = "screen"};
    CALL_OK(b, &c, store_phone_seen, &seen);
    seen.chip_id = "0000000022222222";
    CALL_OK(b, &c, store_phone_seen, &seen);
    assert_string_equal(text_of(c.body, "identity"), "unknown");
    json_decref(c.body);
}

static json_t *first_conflict(struct call *c)
{
    return json_array_get(json_object_get(c->body, "conflicts"), 0);
}

/* A label that was scanned at the wrong phone, and an admin who says so. */
static void two_serials_on_one_chip_are_a_conflict(void **state)
{
    struct bench *b = *state;
    struct call c = {0};
    static const char other[] = "PDAGATEST0000002";
    int64_t phone = add_phone(b, CHIP_A, SERIAL);
    add_phone(b, CHIP_A, other);
    CALL_OK(b, &c, store_phone_get, phone);
    assert_string_equal(text_of(c.body, "identity"), "conflict");
    assert_string_equal(text_of(first_conflict(&c), "kind"), "two_serials");
    assert_string_equal(text_of(first_conflict(&c), "value"), other);
    assert_string_equal(text_of(first_conflict(&c), "other_value"), SERIAL);
    assert_int_equal(json_array_size(json_object_get(first_conflict(&c), "phones")), 1);
    CALL(b, &c, store_conflict_resolve, 1, "anna", "wrong label", NULL);
    assert_int_equal(c.code, ERR_INPUT);
    assert_non_null(strstr(c.err.text, SERIAL));
    CALL_OK(b, &c, store_conflict_resolve, 1, "anna", "wrong label", SERIAL);
    CALL_OK(b, &c, store_phone_get, phone);
    assert_string_equal(text_of(c.body, "identity"), "unknown");
    assert_string_equal(text_of(c.body, "serial"), SERIAL);
    add_phone(b, CHIP_A, other); /* decided once, scanned wrongly again: shown again */
    CALL_OK(b, &c, store_conflict_resolve, 2, "anna", "the board was exchanged", other);
    add_phone(b, CHIP_A, other);
    CALL_OK(b, &c, store_phone_get, phone);
    assert_int_equal(json_array_size(json_object_get(c.body, "conflicts")), 0);
    assert_string_equal(text_of(c.body, "serial"), other);
    json_decref(c.body);
}

/* A decision for one of two phones: the other one's fact stays on record and does not count. */
static void a_number_is_left_to_one_phone(void **state)
{
    struct bench *b = *state;
    struct call c = {0};
    int64_t first = add_phone(b, CHIP_A, SERIAL), second = add_phone(b, CHIP_B, SERIAL);
    CALL(b, &c, store_conflict_resolve, 1, "anna", "typo", "77");
    assert_int_equal(c.code, ERR_INPUT);
    CALL_OK(b, &c, store_conflict_get, 1);
    json_t *records = json_object_get(json_object_get(c.body, "records"), "phones");
    assert_string_equal(text_of(json_array_get(records, 0), "chip_id"), CHIP_A);
    assert_string_equal(text_of(json_array_get(records, 1), "chip_id"), CHIP_B);
    CALL_OK(b, &c, store_conflict_resolve, 1, "anna", "the label was on the wrong phone", "2");
    CALL_OK(b, &c, store_phone_get, second);
    assert_string_equal(text_of(c.body, "serial"), SERIAL);
    CALL_OK(b, &c, store_phone_get, first);
    assert_true(json_is_null(json_object_get(c.body, "serial")));
    CALL_OK(b, &c, store_phone_list, NULL, SERIAL, NULL);
    assert_int_equal(item_count(&c), 1);
    add_phone(b, CHIP_A, SERIAL); /* it says so again: it is a conflict again */
    CALL_OK(b, &c, store_conflict_list, "open", NULL);
    assert_int_equal(item_count(&c), 1);
    json_decref(c.body);
}

static void facts_need_a_source(void **state)
{
    struct bench *b = *state;
    struct call c = {0};
    CALL(b, &c, store_phone_seen, (&(struct store_phone_seen){.chip_id = CHIP_A, .serial = "S"}));
    assert_int_equal(c.code, ERR_INPUT);
    CALL_OK(b, &c, store_phone_list, NULL, NULL, NULL);
    assert_int_equal(item_count(&c), 0); /* not half of it */
    json_decref(c.body);
}

#define WITH_BENCH(test) cmocka_unit_test_setup_teardown(test, bench_setup, bench_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_BENCH(a_phone_is_its_chip),
        WITH_BENCH(the_newest_serial_counts),
        WITH_BENCH(only_news_are_events),
        WITH_BENCH(one_serial_on_two_chips_is_a_conflict),
        WITH_BENCH(one_imei_on_two_chips_is_a_conflict),
        WITH_BENCH(two_serials_on_one_chip_are_a_conflict),
        WITH_BENCH(a_number_is_left_to_one_phone),
        WITH_BENCH(facts_need_a_source),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
