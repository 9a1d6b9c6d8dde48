/* usb/plan/phone_state: what a phone is called after each point at which a restore may be cut (usb/recipe/README.md,
 * "phone_state"). */
#include "tests/unit/rows.h"

#include <stdio.h>

#include "usb/base/mem.h"
#include "usb/plan/phone_state.h"

enum { EVENTS_MAX = 12 };

struct row {
    const char *name, *events; /* "identity:proinfo:intent ..." in the order of the journal */
    const char *state;
    bool releasable, started;
};

#define IDENTITY "identity:proinfo:intent identity:proinfo:sent identity:proinfo:verified "
#define SERVICE  "service_lk:lk_a:intent service_lk:lk_a:sent service_lk:lk_a:verified "
#define NVRAM    "nvram:nvram:intent nvram:nvram:sent "
#define LK_BACK  "commercial:lk_a:intent commercial:lk_a:sent "

static const struct row rows[] = {
    {"nothing", "", "untouched", true, false},
    {"S7 cut", "identity:proinfo:intent", "identity_partly_written", false, false},
    {"S7 done", "identity:proinfo:intent identity:proinfo:sent", "identity_partly_written", false,
     false},
    {"S7 half read back", IDENTITY "identity:nvcfg:intent identity:nvcfg:sent",
     "identity_partly_written", false, false},
    {"identity read back", IDENTITY, "identity_verified", false, false},
    {"S8 cut", IDENTITY "service_lk:lk_a:intent", "service_lk_unverified", false, false},
    {"S9 done", IDENTITY SERVICE, "service_lk_verified", false, false},
    {"S13 cut", IDENTITY SERVICE "nvram:nvram:intent", "nvram_partly_written_do_not_boot", false,
     false},
    {"S13 done", IDENTITY SERVICE NVRAM, "nvram_written_service_lk_in_place", false, false},
    {"S14 cut", IDENTITY SERVICE NVRAM "extra:elabel:intent", "nvram_written_service_lk_in_place",
     false, false},
    {"S18w cut", IDENTITY SERVICE NVRAM "commercial:lk_a:intent",
     "commercial_firmware_partly_written", false, false},
    {"S18v done", IDENTITY SERVICE NVRAM LK_BACK "commercial:lk_a:verified",
     "commercial_lk_verified", false, false},
    {"S19 done", IDENTITY SERVICE NVRAM LK_BACK "commercial:lk_a:verified nvram:nvram:verified",
     "ready_to_start", true, false},
    {"S20 begun", IDENTITY SERVICE NVRAM "start::intent", "first_start", true, true},
    {"S20 done", IDENTITY "start::intent start::sent", "booted", true, true},
    {"S21 done", IDENTITY "start::intent start::sent start::verified", "restored", true, true},
    {"a later run finds the nvram torn",
     IDENTITY SERVICE NVRAM "identity:proinfo:verified nvram:nvram:differs",
     "nvram_partly_written_do_not_boot", false, false},
    {"a later run finds the nvram whole",
     IDENTITY SERVICE "nvram:nvram:intent nvram:nvram:verified",
     "nvram_written_service_lk_in_place", false, false},
    {"a later run writes the identity again", IDENTITY SERVICE NVRAM "identity:proinfo:intent",
     "identity_partly_written", false, false},
    {"written again after a start", IDENTITY "start::intent start::sent identity:proinfo:intent",
     "identity_partly_written", false, false},
};

static void note(struct phone_facts *facts, const char *word)
{
    struct phone_extent e = {.length_bytes = 4096};
    char kind[16] = "", phase[16] = "";
    if (sscanf(word, "%15[^:]:%39[^:]:%15s", kind, e.partition, phase) < 3)
        assert_int_equal(sscanf(word, "%15[^:]::%15s", kind, phase), 2);
    assert_true(phone_kind_parse(kind, &e.kind));
    assert_true(phone_phase_parse(phase, &e.phase));
    phone_facts_note(facts, &e);
}

static void check(const struct row *r, const struct phone_facts *facts)
{
    assert_string_equal(phone_state(facts), r->state);
    assert_int_equal(phone_state_releasable(r->state), r->releasable);
    assert_int_equal(phone_facts_started(facts), r->started);
}

static void row_test(void **state)
{
    const struct row *r = ROW(state);
    AUTO(free_ptr) struct phone_facts *facts = xcalloc(1, sizeof(*facts));
    AUTO(free_ptr) struct phone_facts *again = xcalloc(1, sizeof(*again));
    AUTO(free_ptr) char *events = xstrdup(r->events);
    char *rest = NULL;
    for (char *word = strtok_r(events, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
        note(facts, word);
    check(r, facts);
    /* the next run gets them as text, in its plan */
    json_auto_t *list = phone_facts_encode(facts);
    assert_int_equal(phone_facts_decode(list, again, NULL), 0);
    check(r, again);
    /* a job that was cancelled or failed with the phone in that state cannot be resumed */
    assert_null(strstr(phone_state_advice(phone_state(again)), "esume"));
}

static void bad_text(void **arg)
{
    (void)arg;
    static const char *const texts[] = {
        "[1]",
        "[{\"kind\":\"other\",\"phase\":\"sent\",\"partition\":\"nvram\"}]",
        "[{\"kind\":\"nvram\",\"phase\":\"gone\",\"partition\":\"nvram\"}]",
        "[{\"kind\":\"nvram\",\"phase\":\"sent\"}]",
        "[{\"kind\":\"nvram\",\"phase\":\"sent\",\"partition\":\"nvram\",\"sha256\":\"12\"}]",
        ("[{\"kind\":\"nvram\",\"phase\":\"sent\","
         "\"partition\":\"0123456789012345678901234567890123456789\"}]")};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        AUTO(free_ptr) struct phone_facts *facts = xcalloc(1, sizeof(*facts));
        json_auto_t *list = json_loads(texts[i], 0, NULL);
        struct err err = {0};
        assert_int_equal(phone_facts_decode(list, facts, &err), ERR_FORMAT);
        assert_true(err.text[0]);
    }
    assert_false(phone_state_releasable("no such word"));
    assert_true(phone_state_advice(NULL)[0]);
}

int main(void)
{
    const struct CMUnitTest texts[] = {cmocka_unit_test(bad_text)};
    return RUN_ROWS(row_test, rows) + cmocka_run_group_tests(texts, NULL, NULL);
}
