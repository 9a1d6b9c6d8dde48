/* Retention: what goes, what must stay, and that no backup that stays lacks a byte, wherever it is cut. */
#include "tests/unit/store_spool.h"

#define SERIAL_A "PDAGATEST0000001"

struct one_backup {
    const char *verdict;
    bool complete;
    uint32_t seed; /* of its nvram: equal seeds are equal images */
};

static int64_t take_backup(struct bench *b, int64_t phone_id, int64_t job_id, const char *chip,
                           struct one_backup what)
{
    struct spooling spool;
    struct call c = {0};
    struct span nvram = noise(5000, what.seed);
    const struct store_backup_meta meta = {job_id, phone_id, "station", NULL};
    spooling_open(&spool, job_id);
    spooling_image(&spool, "nvram", nvram, SPOOL_PLAUSIBLE_UNKNOWN);
    spooling_image(&spool, "elabel", span_of("label", 5), SPOOL_PLAUSIBLE_UNKNOWN);
    spooling_finish_as(&spool, "pre", chip, SERIAL_A, what.verdict, what.complete);
    CALL_OK(b, &c, store_spool_ingest, spool.fd, 0, &meta);
    int64_t id = id_of(json_array_get(json_object_get(c.body, "backups"), 0));
    json_decref(c.body);
    span_free(&nvram);
    close(spool.fd);
    return id;
}

static void close_job(struct bench *b, int64_t job_id)
{
    struct call c = {0};
    CALL_OK(b, &c, store_job_change, job_id, (&(struct store_job_change){.state = "cancelled"}));
    json_decref(c.body);
}

/* One of a job that has ended. */
static int64_t old_backup(struct bench *b, int64_t phone_id, const char *chip,
                          struct one_backup what)
{
    int64_t job = add_job(b, NULL, phone_id);
    int64_t id = take_backup(b, phone_id, job, chip, what);
    close_job(b, job);
    return id;
}

static json_t *prune(struct bench *b, int keep, bool dry_run)
{
    struct call c = {0};
    CALL_OK(b, &c, store_backup_prune,
            (&(struct store_prune){.keep = keep, .dry_run = dry_run, .actor = "test"}));
    return c.body;
}

static void expect_why(json_t *answer, int64_t id, const char *want)
{
    AUTO(free_ptr) char *text = xasprintf("%lld", (long long)id);
    size_t i;
    json_t *item;
    json_array_foreach(json_object_get(answer, "items"), i, item)
    {
        if (strcmp(text_of(item, "backup_id"), text) != 0)
            continue;
        const char *why = json_string_value(json_object_get(item, "why"));
        if (!want != !why || (want && strcmp(want, why) != 0))
            fail_msg("backup %s: %s, not %s", text, why ? why : "gone", want ? want : "gone");
        return;
    }
    fail_msg("backup %s is not judged", text);
}

static void sweep_all(struct bench *b)
{
    struct store_sweep at = {0};
    struct call c = {0};
    do {
        CALL_OK(b, &c, store_images_sweep, &at);
        at.chunks = json_is_true(json_object_get(c.body, "chunks"));
        at.after = json_integer_value(json_object_get(c.body, "after"));
    } while (!json_is_true(json_object_get(c.body, "done")));
    json_decref(c.body);
}

static const char *damage_of(struct bench *b, int64_t id)
{
    struct call c = {0};
    CALL(b, &c, store_backup_verify, id);
    const char *found =
        c.code < 0 ? err_name(c.code) : json_string_value(json_object_get(c.body, "damage"));
    static char text[200];
    snprintf(text, sizeof(text), "%s", found ? found : "");
    json_decref(c.body);
    return text;
}

static void what_must_stay_stays(void **state)
{
    struct bench *b = *state;
    struct call c = {0};
    int64_t phone = add_phone(b, CHIP_A, SERIAL_A);
    int64_t gone = old_backup(b, phone, CHIP_A, (struct one_backup){"usable", true, 1});
    int64_t pinned = old_backup(b, phone, CHIP_A, (struct one_backup){"lost", true, 2});
    int64_t whole = old_backup(b, phone, CHIP_A, (struct one_backup){"no_elabel", true, 3});
    int64_t part = old_backup(b, phone, CHIP_A, (struct one_backup){"usable", false, 4});
    int64_t lost = old_backup(b, phone, CHIP_A, (struct one_backup){"lost", true, 5});
    int64_t job = add_job(b, NULL, phone);
    int64_t open = take_backup(b, phone, job, CHIP_A, (struct one_backup){"lost", true, 6});
    int64_t newest = old_backup(b, phone, CHIP_A, (struct one_backup){"lost", true, 7});
    CALL_OK(b, &c, store_backup_pin, pinned, true, "test");
    assert_true(json_is_true(json_object_get(c.body, "pinned")));
    for (int dry_run = 1; dry_run >= 0; dry_run--) {
        json_auto_t *answer = prune(b, 1, dry_run == 1);
        expect_why(answer, gone, NULL);
        expect_why(answer, pinned, "pinned");
        expect_why(answer, whole, "last_good");
        expect_why(answer, part, "last_good");
        expect_why(answer, lost, NULL);
        expect_why(answer, open, "open_job");
        expect_why(answer, newest, "newest");
        sweep_all(b);
        assert_int_equal(bench_count(b, "backups.db", "SELECT count(*) AS n FROM image"),
                         dry_run ? 8 : 6);
        assert_int_equal(bench_count(b, "backups.db", "SELECT count(*) AS n FROM chunk"),
                         dry_run ? 8 : 6);
    }
    assert_string_equal(damage_of(b, whole), "");
    assert_string_equal(damage_of(b, gone), err_name(ERR_CONFLICT));
    assert_int_equal(bench_count(b, "station.db",
                                 "SELECT count(*) AS n FROM audit WHERE action = 'backup.prune'"),
                     2);
    close_job(b, job);
    json_auto_t *answer = prune(b, 1, false);
    expect_why(answer, open, NULL);
    json_decref(c.body);
}

/* Damage that a reading found makes the one before it the last good one. */
static void a_damaged_backup_is_not_the_last_good_one(void **state)
{
    struct bench *b = *state;
    int64_t phone = add_phone(b, CHIP_A, SERIAL_A);
    int64_t first = old_backup(b, phone, CHIP_A, (struct one_backup){"usable", true, 1});
    int64_t second = old_backup(b, phone, CHIP_A, (struct one_backup){"usable", true, 2});
    old_backup(b, phone, CHIP_A, (struct one_backup){"lost", true, 3});
    AUTO(free_ptr)
    char *damage =
        xasprintf("UPDATE backup SET damage = 'nvram' WHERE id = %lld", (long long)second);
    bench_change(b, "station.db", damage);
    json_auto_t *answer = prune(b, 1, false);
    expect_why(answer, first, "last_good");
    expect_why(answer, second, "last_good");
}

/* An image that came in before its manifest is nobody's in between; the spool brings it once more. */
static void a_sweep_does_not_hurt_a_spool_that_grows(void **state)
{
    struct bench *b = *state;
    struct spooling spool;
    struct call c = {0};
    int64_t phone = add_phone(b, CHIP_A, SERIAL_A), job = add_job(b, "p1", phone);
    const struct store_backup_meta meta = {job, phone, "station", NULL};
    spooling_open(&spool, job);
    spooling_image(&spool, "nvram", span_of("one", 3), SPOOL_PLAUSIBLE_YES);
    CALL_OK(b, &c, store_spool_ingest, spool.fd, 0, &meta);
    int64_t end = json_integer_value(json_object_get(c.body, "valid_end"));
    sweep_all(b);
    assert_int_equal(bench_count(b, "backups.db", "SELECT count(*) AS n FROM chunk"), 0);
    spooling_finish(&spool, "pre", CHIP_A, SERIAL_A);
    CALL_OK(b, &c, store_spool_ingest, spool.fd, end, &meta);
    int64_t id = id_of(json_array_get(json_object_get(c.body, "backups"), 0));
    assert_string_equal(damage_of(b, id), "");
    json_decref(c.body);
    close(spool.fd);
}

/* ---- any history ---- */

enum { PHONES = 3, BACKUPS = 40, STEPS = 60 };

struct history {
    uint32_t random;
    int64_t phones[PHONES];
    struct {
        int64_t id, phone_id;
        bool good;
    } backups[BACKUPS];
    size_t count;
    int64_t open_job;
};

static uint32_t roll(struct history *h, uint32_t sides)
{
    h->random = h->random * 1664525 + 1013904223;
    return (h->random >> 16) % sides;
}

static void add_some(struct bench *b, struct history *h)
{
    static const char *const chips[PHONES] = {CHIP_A, CHIP_B, "00112233445566778899aabbccddeeff"};
    static const char *const verdicts[] = {"usable", "no_elabel", "lost", "placeholder"};
    uint32_t who = roll(h, PHONES);
    struct one_backup what = {verdicts[roll(h, 4)], roll(h, 4) > 0, 1 + roll(h, 6)};
    if (h->count == BACKUPS)
        return;
    int64_t job = add_job(b, NULL, h->phones[who]);
    h->backups[h->count].id = take_backup(b, h->phones[who], job, chips[who], what);
    h->backups[h->count].phone_id = h->phones[who];
    h->backups[h->count++].good = what.complete && (strcmp(what.verdict, "usable") == 0 ||
                                                    strcmp(what.verdict, "no_elabel") == 0);
    if (roll(h, 3) == 0 && !h->open_job)
        h->open_job = job;
    else
        close_job(b, job);
}

/* Closing cuts between any two of the transactions; what was asked for last has not been answered. */
static void step(struct bench *b, struct history *h)
{
    struct call c = {0};
    switch (roll(h, 6)) {
    case 0:
        json_decref(prune(b, 1 + (int)roll(h, 3), false));
        break;
    case 1:
        sweep_all(b);
        break;
    case 2:
        CALL_OK(b, &c, store_images_sweep, (&(struct store_sweep){.chunks = roll(h, 2) == 0}));
        json_decref(c.body);
        bench_reopen(b);
        break;
    case 3:
        if (h->open_job)
            close_job(b, h->open_job);
        h->open_job = 0;
        break;
    default:
        add_some(b, h);
    }
}

static bool is_pruned(struct bench *b, int64_t id)
{
    AUTO(free_ptr)
    char *sql =
        xasprintf("SELECT pruned_ms IS NOT NULL AS n FROM backup WHERE id = %lld", (long long)id);
    return bench_count(b, "station.db", sql) == 1;
}

/* Of each phone the newest good one is there, and what is there is whole. */
static void expect_nothing_lost(struct bench *b, const struct history *h)
{
    for (int who = 0; who < PHONES; who++) {
        bool met = false;
        for (size_t i = h->count; i-- > 0;) {
            if (h->backups[i].phone_id != h->phones[who])
                continue;
            bool pruned = is_pruned(b, h->backups[i].id);
            if (h->backups[i].good && !met && pruned)
                fail_msg("the last good backup of phone %d is gone", who);
            met |= h->backups[i].good;
            if (!pruned)
                assert_string_equal(damage_of(b, h->backups[i].id), "");
        }
    }
}

static void no_history_loses_the_last_good_backup(void **state)
{
    struct bench *b = *state;
    for (uint32_t seed = 1; seed <= 2; seed++) {
        struct history h = {.random = seed};
        h.phones[0] = add_phone(b, CHIP_A, NULL);
        h.phones[1] = add_phone(b, CHIP_B, NULL);
        h.phones[2] = add_phone(b, "00112233445566778899aabbccddeeff", NULL);
        for (int i = 0; i < STEPS; i++) {
            step(b, &h);
            if (i % 10 == 9)
                expect_nothing_lost(b, &h);
        }
        if (h.open_job)
            close_job(b, h.open_job);
    }
    json_decref(prune(b, 1, false));
    sweep_all(b);
    assert_int_equal(bench_count(b, "backups.db",
                                 "SELECT count(*) AS n FROM chunk WHERE NOT EXISTS"
                                 " (SELECT 1 FROM image_chunk WHERE chunk_id = chunk.id)"),
                     0);
    assert_true(bench_count(b, "station.db",
                            "SELECT count(*) AS n FROM backup WHERE pruned_ms IS NOT NULL") > 5);
}

#define WITH_BENCH(test) cmocka_unit_test_setup_teardown(test, bench_setup, bench_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_BENCH(what_must_stay_stays),
        WITH_BENCH(a_damaged_backup_is_not_the_last_good_one),
        WITH_BENCH(a_sweep_does_not_hurt_a_spool_that_grows),
        WITH_BENCH(no_history_loses_the_last_good_backup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
