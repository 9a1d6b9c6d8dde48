/* usb/plan/failure.h and schema/failures.json: each error has exactly one entry, wherever it happens. What ids the sources
 * use, failure_ids.sh finds. Usage: failures CATALOGUE */
#include "tests/unit/rows.h"

#include <jansson.h>

#include "usb/base/err.h"
#include "usb/plan/failure.h"

static json_t *catalogue; /* the list */

static size_t entries(const char *id)
{
    size_t i, count = 0;
    json_t *item;
    json_array_foreach(catalogue, i, item)
    {
        count += strcmp(json_string_value(json_object_get(item, "id")), id) == 0;
    }
    return count;
}

static void every_error_is_one_failure(void **state)
{
    (void)state;
    static const int codes[] = {
#define X(name, api, http, retry) name,
        ERR_TABLE(X)
#undef X
    };
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
        for (int place = FAILURE_IN_DOWNLOAD; place <= FAILURE_AT_STATION; place++) {
            const char *id = failure_of_error(codes[i], (enum failure_place)place);
            if (entries(id) != 1)
                fail_msg("%s: failure '%s' is in the catalogue %zu times", err_name(codes[i]), id,
                         entries(id));
            /* a bug of ours is a name for what nothing else explains, not for a phone that says no */
            if (codes[i] != ERR_INTERNAL && place != FAILURE_AT_STATION)
                assert_string_not_equal(id, "G2");
        }
    assert_string_equal(failure_of_error(-1000, FAILURE_AT_STATION), "G2");
    /* only what is refused for good is secure boot's word or the commercial bootloader's */
    static const int arguments[] = {ERR_INPUT, ERR_NOT_FOUND, ERR_LIMIT, ERR_FORMAT};
    for (size_t i = 0; i < sizeof(arguments) / sizeof(arguments[0]); i++)
        assert_string_equal(failure_of_error(arguments[i], FAILURE_IN_DOWNLOAD), "C12");
    assert_string_equal(failure_of_error(ERR_REFUSED, FAILURE_IN_DOWNLOAD), "C9");
    assert_string_equal(failure_of_error(ERR_NOT_FOUND, FAILURE_IN_FASTBOOT), "C12");
    assert_string_equal(failure_of_error(ERR_REFUSED, FAILURE_IN_FASTBOOT), "D11");
}

static void codes_are_given_once(void **state)
{
    (void)state;
    size_t i;
    json_t *item;
    json_t *seen = json_object();
    json_array_foreach(catalogue, i, item)
    {
        const char *code = json_string_value(json_object_get(item, "code"));
        if (json_object_get(seen, code))
            fail_msg("two failures are called %s", code);
        json_object_set_new(seen, code, json_true());
    }
    assert_true(json_object_size(seen) > 60);
    json_decref(seen);
}

/* Whether a person is told the cause of this error: it must say more than its message. */
static const struct row {
    const char *name, *error;
    bool told;
} rows[] = {
    {"another thing", "{'message': 'no bytes for 60 s', 'cause': 'cable or port'}", true},
    {"one word more", "{'message': 'the port', 'cause': 'cable or port'}", true},
    {"part of a word is not the word",
     "{'message': 'reported: cables, orders', 'cause': 'cable or port'}", true},
    {"word for word", "{'message': 'is it Port or Cable?', 'cause': 'cable or port'}", false},
    {"a person stopped it",
     "{'code': 'cancelled', 'message': 'cancelled', 'cause': 'a person stopped the job'}", false},
    {"of an older station", "{'message': 'no bytes for 60 s', 'advice': 'Unplug.'}", false},
    {"no text", "{'message': 'no bytes for 60 s', 'cause': null}", false},
    {"no message", "{'cause': 'cable or port'}", true},
    {"no error", "null", false},
};

static void cause_row(void **state)
{
    const struct row *r = *state;
    char text[200];
    size_t n = strlen(r->error);
    assert_true(n < sizeof(text));
    for (size_t i = 0; i <= n; i++)
        text[i] = r->error[i] == '\'' ? '"' : r->error[i];
    json_t *error = json_loads(text, JSON_DECODE_ANY, NULL);
    assert_non_null(error);
    const char *cause = failure_cause_of(error);
    assert_int_equal(cause != NULL, r->told);
    if (cause)
        assert_string_equal(cause, json_string_value(json_object_get(error, "cause")));
    json_decref(error);
}

int main(int argc, char **argv)
{
    json_t *document = argc == 2 ? json_load_file(argv[1], JSON_REJECT_DUPLICATES, NULL) : NULL;
    catalogue = json_object_get(document, "failures");
    if (!catalogue)
        return 2;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_error_is_one_failure),
        cmocka_unit_test(codes_are_given_once),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL) + RUN_ROWS(cause_row, rows);
    json_decref(document);
    return failed;
}
