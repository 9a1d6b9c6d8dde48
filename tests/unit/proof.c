/* Manifests of closed jobs as server/store signs and chains them, judged by the offline check of server/cli. */
#include "tests/unit/store_bench.h"

#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "server/cli/report_check.h"
#include "server/store/db.h"

enum { JOBS = 4, KILLS = 6 };

static const char chip[] = CHIP_A;
static const char recipe_sha256[] =
    "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

static json_t *result_of_job(void)
{
    return json_pack("{s:s, s:s, s:[{s:s, s:s, s:s, s:s, s:i, s:b}], s:{s:s, s:s}}", "phone_state",
                     "restored", "slot", "a", "writes", "step", "S7", "partition", "proinfo",
                     "image", "backup/proinfo", "sha256", recipe_sha256, "bytes", 3145728,
                     "verified", 1, "accepted", "by", "usb", "serial", "PDAGATEST0000001");
}

/* A job that ran its step and was closed. */
static int64_t closed_job_of(struct bench *b, int64_t phone_id, const char *state)
{
    struct call c = {0};
    const struct store_job_new job = {.recipe = "x5-restore",
                                      .recipe_version = 1,
                                      .recipe_sha256 = recipe_sha256,
                                      .recipe_document = "{}",
                                      .serial = "PDAGATEST0000001",
                                      .imeis = {"356938035643809"},
                                      .finish = "lk",
                                      .owner_ref = "shop <7>"};
    CALL_OK(b, &c, store_job_add, &job);
    int64_t id = id_of(c.body);
    CALL_OK(b, &c, store_job_change, id,
            (&(struct store_job_change){.state = "running", .phone_id = phone_id}));
    CALL_OK(b, &c, store_step_begin, id, "S7 write identity", NULL);
    CALL_OK(b, &c, store_step_end, id, "S7 write identity", "done", NULL, NULL);
    json_t *result = result_of_job();
    CALL_OK(b, &c, store_job_change, id,
            (&(struct store_job_change){.state = state, .result = result}));
    json_decref(result);
    json_decref(c.body);
    return id;
}

static int64_t closed_job(struct bench *b, const char *state)
{
    return closed_job_of(b, add_phone(b, chip, NULL), state);
}

/* As a reader gets it: through text. */
static json_t *report_of(struct bench *b, int64_t job_id)
{
    struct call c = {0};
    CALL_OK(b, &c, store_job_report, job_id);
    char *text = json_dumps(c.body, JSON_INDENT(1));
    json_t *report = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    free(text);
    json_decref(c.body);
    assert_non_null(report);
    return report;
}

static void a_closed_job_is_proven(void **state)
{
    struct bench *b = *state;
    json_auto_t *report = report_of(b, closed_job(b, "succeeded"));
    struct sign_key key = store_sign_key(b->store);
    struct report r;
    struct err err = {0};
    if (report_check(report, &key, &r, &err) < 0)
        fail_msg("%s", err.text);
    assert_int_equal(r.sequence, 1);
    assert_string_equal(r.state, "succeeded");
    assert_string_equal(r.phone_state, "restored");
    json_t *manifest = json_object_get(report, "manifest");
    assert_string_equal(text_of(json_object_get(manifest, "phone"), "chip_id"), chip);
    assert_string_equal(text_of(json_object_get(manifest, "recipe"), "sha256"), recipe_sha256);
    assert_int_equal(json_array_size(json_object_get(manifest, "written")), 1);
    assert_int_equal(json_array_size(json_object_get(manifest, "attempts")), 1);
}

/* ---- tampering ---------------------------------------------------------------------------------------- */

static size_t tampered; /* how many changes were tried */

static void expect_refused(json_t *report, const struct sign_key *key, const char *what)
{
    struct report r;
    struct err err = {0};
    tampered++;
    if (report_check(report, key, &r, &err) == 0)
        fail_msg("changed unnoticed: %s", what);
    assert_true(err.text[0] != '\0');
}

/* Another value of the same kind. */
static json_t *changed(json_t *value)
{
    if (json_is_integer(value))
        return json_integer(json_integer_value(value) + 1);
    if (json_is_boolean(value))
        return json_boolean(!json_is_true(value));
    if (json_is_string(value)) {
        AUTO(free_ptr) char *text = xstrdup(json_string_value(value));
        if (!text[0])
            return json_string("x");
        text[strlen(text) / 2] ^= 1;
        return json_string(text);
    }
    return json_string("something");
}

static void tamper(json_t *report, json_t *node, const struct sign_key *key);

static void tamper_object(json_t *report, json_t *object, const struct sign_key *key)
{
    const char *name;
    void *next;
    json_t *value;
    json_auto_t *names = json_array();
    json_object_foreach_safe(object, next, name, value)
    {
        json_array_append_new(names, json_string(name));
    }
    for (size_t i = 0; i < json_array_size(names); i++) {
        name = json_string_value(json_array_get(names, i));
        value = json_incref(json_object_get(object, name));
        tamper(report, value, key);
        if (!json_is_object(value) && !json_is_array(value)) {
            json_object_set_new(object, name, changed(value));
            expect_refused(report, key, name);
        }
        json_object_del(object, name);
        expect_refused(report, key, name);
        json_object_set_new(object, name, value);
    }
    json_object_set_new(object, "added", json_true());
    expect_refused(report, key, "a member more");
    json_object_del(object, "added");
}

static void tamper_array(json_t *report, json_t *array, const struct sign_key *key)
{
    for (size_t i = 0; i < json_array_size(array); i++) {
        json_t *value = json_incref(json_array_get(array, i));
        tamper(report, value, key);
        json_array_remove(array, i);
        expect_refused(report, key, "an item less");
        json_array_insert_new(array, i, value);
    }
    json_array_append_new(array, json_string("added"));
    expect_refused(report, key, "an item more");
    json_array_remove(array, json_array_size(array) - 1);
}

static void tamper(json_t *report, json_t *node, const struct sign_key *key)
{
    if (json_is_object(node))
        tamper_object(report, node, key);
    else if (json_is_array(node))
        tamper_array(report, node, key);
}

static void every_change_is_noticed(void **state)
{
    struct bench *b = *state;
    json_auto_t *report = report_of(b, closed_job(b, "failed"));
    struct sign_key key = store_sign_key(b->store);
    struct report r;
    tampered = 0;
    tamper(report, report, &key);
    assert_true(tampered > 100);
    assert_int_equal(report_check(report, &key, &r, NULL), 0); /* all was put back */
    key.bytes[0] ^= 1;
    assert_int_equal(report_check(report, &key, &r, NULL), ERR_VERIFY);
    assert_int_equal(report_check(report, NULL, &r, NULL), 0);
}

/* ---- the chain ---------------------------------------------------------------------------------------- */

static int chain_of(const struct report *reports, const size_t *order, size_t count)
{
    int rc = 0;
    for (size_t i = 1; i < count && rc == 0; i++)
        rc = report_follows(&reports[order[i - 1]], &reports[order[i]], NULL, 0, NULL);
    return rc;
}

static void the_chain_misses_nothing(void **state)
{
    struct bench *b = *state;
    static const char *const states[JOBS] = {"succeeded", "failed", "cancelled", "succeeded"};
    struct report reports[JOBS];
    for (size_t i = 0; i < JOBS; i++) {
        json_auto_t *report = report_of(b, closed_job(b, states[i]));
        assert_int_equal(report_check(report, NULL, &reports[i], NULL), 0);
        bench_reopen(b); /* the key and the place in the chain outlive the process */
    }
    assert_int_equal(chain_of(reports, (size_t[]){0, 1, 2, 3}, 4), 0);
    assert_int_equal(chain_of(reports, (size_t[]){0, 2, 3}, 3), ERR_VERIFY);
    assert_int_equal(chain_of(reports, (size_t[]){0, 2, 1, 3}, 4), ERR_VERIFY);
    assert_int_equal(chain_of(reports, (size_t[]){1, 0}, 2), ERR_VERIFY);
    assert_int_equal(chain_of(reports, (size_t[]){1, 1}, 2), ERR_VERIFY);
    reports[2].sha256.bytes[0] ^= 1; /* as if another number 3 had been signed by the same key */
    assert_int_equal(chain_of(reports, (size_t[]){2, 3}, 2), ERR_VERIFY);
    reports[1].key.bytes[0] ^= 1;
    assert_int_equal(chain_of(reports, (size_t[]){0, 1}, 2), ERR_VERIFY);
    struct call c = {0};
    CALL_OK(b, &c, store_report_list, &(struct store_page){0});
    assert_int_equal(item_count(&c), JOBS);
    json_decref(c.body);
}

static void open_jobs_have_no_report(void **state)
{
    struct bench *b = *state;
    struct call c = {0};
    int64_t id = add_job(b, NULL, 0);
    CALL(b, &c, store_job_report, id);
    assert_int_equal(c.code, ERR_CONFLICT);
    CALL_OK(b, &c, store_job_change, id, &(struct store_job_change){.state = "interrupted"});
    CALL(b, &c, store_job_report, id);
    assert_int_equal(c.code, ERR_CONFLICT);
    assert_non_null(strstr(c.err.text, "interrupted"));
    CALL(b, &c, store_job_report, id + 1);
    assert_int_equal(c.code, ERR_NOT_FOUND);
    CALL_OK(b, &c, store_job_change, id, &(struct store_job_change){.state = "cancelled"});
    json_auto_t *report = report_of(b, id);
    assert_string_equal(text_of(json_object_get(report, "manifest"), "phone_state"), "untouched");
    json_decref(c.body);
}

/* Two runs wrote nvcfg, the second was cut in lk_a; no worker told how it ended. */
static void what_a_journal_knows_is_proven(void **state)
{
    struct bench *b = *state;
    struct call c = {0};
    struct err err = {0};
    struct db *db = NULL;
    int64_t id = add_job(b, NULL, 0);
    AUTO(free_ptr) char *path = xasprintf("%s/station.db", b->dir);
    assert_int_equal(db_open(path, false, &db, &err), 0);
    int code = db_exec(
        db,
        "INSERT INTO run (job_id, seq, port_id, started_ms) VALUES (1, 1, 'p', 1), (1, 2, 'p', 2);"
        "INSERT INTO write_extent (job_id, run, seq, step, kind, partition, phase, offset_bytes,"
        " length_bytes, at_ms) VALUES"
        " (1, 1, 1, 'S7', 'identity', 'nvcfg', 'intent', 0, 512, 1),"
        " (1, 2, 1, 'S7', 'identity', 'nvcfg', 'sent', 0, 512, 2),"
        " (1, 2, 2, 'S7', 'identity', 'nvcfg', 'verified', 0, 512, 3),"
        " (1, 2, 3, 'S8', 'service_lk', 'lk_a', 'intent', 512, 512, 4)",
        &err);
    db_close(&db);
    if (code < 0)
        fail_msg("%s", err.text);
    CALL_OK(b, &c, store_job_change, id, &(struct store_job_change){.state = "cancelled"});
    json_auto_t *report = report_of(b, id);
    json_t *manifest = json_object_get(report, "manifest");
    json_t *journal = json_object_get(manifest, "journal");
    assert_int_equal(json_array_size(json_object_get(manifest, "runs")), 2);
    assert_int_equal(json_array_size(journal), 2);
    assert_string_equal(text_of(json_array_get(journal, 0), "partition"), "nvcfg");
    assert_string_equal(text_of(json_array_get(journal, 0), "phase"), "verified");
    assert_string_equal(text_of(json_array_get(journal, 1), "phase"), "intent");
    json_decref(c.body);
}

/* ---- killed in the middle ------------------------------------------------------------------------------ */

/* One byte into `told` for each job, so that the kill comes when there is something to kill. */
static void close_jobs_for_ever(const char *dir, int told)
{
    struct bench b = {0};
    snprintf(b.dir, sizeof(b.dir), "%s", dir);
    b.base = event_base_new();
    bench_open(&b);
    for (;;) {
        closed_job_of(&b, 0, "succeeded"); /* a job that the kill left open would hold its phone */
        if (write(told, "", 1) != 1)
            _exit(1);
    }
}

/* Each job that is closed has its manifest, and each manifest its job and its place. */
static int64_t check_whole(struct bench *b, int64_t before)
{
    struct report last = {0}, now;
    char after[24] = "0";
    int64_t count = 0;
    for (bool more = true; more;) {
        struct call c = {0};
        CALL_OK(b, &c, store_report_list, (&(struct store_page){.after = after}));
        for (size_t i = 0; i < item_count(&c); i++, last = now) {
            json_auto_t *report = report_of(b, store_id(text_of(item(&c, i), "job_id")));
            assert_int_equal(report_check(report, NULL, &now, NULL), 0);
            assert_int_equal(now.sequence, ++count);
            if (count > 1)
                assert_int_equal(report_follows(&last, &now, NULL, 0, NULL), 0);
        }
        snprintf(after, sizeof(after), "%lld", (long long)count);
        more = json_is_string(json_object_get(c.body, "next"));
        json_decref(c.body);
    }
    assert_true(count >= before);
    struct call c = {0};
    CALL_OK(b, &c, store_job_list, &(struct store_job_filter){.state = "succeeded"},
            &(struct store_page){.limit = STORE_PAGE_MAX});
    assert_int_equal(item_count(&c), count);
    json_decref(c.body);
    return count;
}

static void a_kill_leaves_a_whole_chain(void **state)
{
    struct bench *b = *state;
    int64_t count = 0;
    for (int i = 0; i < KILLS; i++) {
        store_close(&b->store);
        int ends[2];
        assert_int_equal(pipe(ends), 0);
        pid_t child = fork();
        if (child == 0)
            close_jobs_for_ever(b->dir, ends[1]);
        close(ends[1]);
        char byte;
        for (int k = 0; k <= i; k++)
            assert_int_equal(read(ends[0], &byte, 1), 1);
        usleep((useconds_t)i * 700); /* somewhere within the next job */
        assert_int_equal(kill(child, SIGKILL), 0);
        assert_int_equal(waitpid(child, NULL, 0), child);
        close(ends[0]);
        bench_open(b);
        b->last_event = 0;
        count = check_whole(b, count);
    }
    assert_true(count > 0);
    closed_job(b, "succeeded"); /* and it goes on */
    assert_int_equal(check_whole(b, count), count + 1);
}

/* ---- recipes ------------------------------------------------------------------------------------------- */

static void a_used_version_stays_what_it_was(void **state)
{
    struct bench *b = *state;
    struct call c = {0};
    char other[65];
    snprintf(other, sizeof(other), "ff%s", recipe_sha256 + 2);
    CALL_OK(b, &c, store_recipe_check, "x5-restore", 1, other); /* nobody has used it */
    closed_job(b, "succeeded");
    CALL_OK(b, &c, store_recipe_check, "x5-restore", 1, recipe_sha256);
    CALL_OK(b, &c, store_recipe_get, "x5-restore", 1);
    assert_string_equal(json_string_value(json_object_get(c.body, "sha256")), recipe_sha256);
    assert_non_null(json_string_value(json_object_get(c.body, "document")));
    CALL(b, &c, store_recipe_get, "x5-restore", 2);
    assert_int_equal(c.code, ERR_NOT_FOUND);
    CALL_OK(b, &c, store_recipe_check, "x5-restore", 2, other);
    CALL(b, &c, store_recipe_check, "x5-restore", 1, other);
    assert_int_equal(c.code, ERR_CONFLICT);
    struct store_job_new job = {.recipe = "x5-restore",
                                .recipe_version = 1,
                                .recipe_sha256 = other,
                                .recipe_document = "{\"a\":1}"};
    CALL(b, &c, store_job_add, &job);
    assert_int_equal(c.code, ERR_CONFLICT);
    assert_non_null(strstr(c.err.text, "higher version"));
    job.recipe_version = 2;
    CALL_OK(b, &c, store_job_add, &job);
    assert_string_equal(text_of(c.body, "recipe_sha256"), other);
    json_decref(c.body);
}

/* ---- the key ------------------------------------------------------------------------------------------- */

static void the_key_is_kept_and_closed(void **state)
{
    struct bench *b = *state;
    AUTO(free_ptr) char *path = xasprintf("%s/station.key", b->dir);
    struct stat st;
    struct err err = {0};
    struct signer *signer = NULL;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(signer_open(path, &signer, &err), 0);
    struct sign_key key = store_sign_key(b->store), again = signer_public(signer);
    assert_memory_equal(key.bytes, again.bytes, sizeof(key.bytes));
    struct span message = span_of("message", 7);
    struct signature signature = signer_sign(signer, message);
    assert_true(sign_check(&key, message, &signature));
    assert_false(sign_check(&key, span_of("massage", 7), &signature));
    signer_free(&signer);

    assert_int_equal(chmod(path, 0640), 0);
    assert_int_equal(signer_open(path, &signer, &err), ERR_REFUSED);
    assert_int_equal(chmod(path, 0600), 0);
    assert_int_equal(truncate(path, 20), 0);
    assert_int_equal(signer_open(path, &signer, &err), ERR_FORMAT);
    assert_null(signer);
}

static int try_start(struct bench *b, bool new_station_key, struct err *err)
{
    const struct store_config config = {
        .data_dir = b->dir, .base = b->base, .new_station_key = new_station_key};
    store_close(&b->store);
    return store_open(&config, &b->store, err);
}

static void expect_refusal(struct bench *b, const char *why)
{
    struct err err = {0};
    assert_int_equal(try_start(b, false, &err), ERR_INPUT);
    if (!strstr(err.text, why) || !strstr(err.text, "--new-station-key"))
        fail_msg("%s", err.text);
}

/* {public_key previous_public_key after_sequence signature}: signed by the key that it names. */
static void check_note(struct bench *b, struct sign_key old)
{
    struct call c = {0};
    struct sign_key key = store_sign_key(b->store), named;
    struct signature signature;
    CALL_OK(b, &c, store_audit_list, NULL);
    assert_string_equal(text_of(item(&c, 0), "action"), "station.key");
    json_t *note = json_object_get(item(&c, 0), "detail");
    assert_true(signature_parse(text_of(note, "signature"), &signature));
    assert_true(sign_key_parse(text_of(note, "public_key"), &named));
    assert_memory_equal(named.bytes, key.bytes, sizeof(key.bytes));
    assert_true(sign_key_parse(text_of(note, "previous_public_key"), &named));
    assert_memory_equal(named.bytes, old.bytes, sizeof(old.bytes));
    json_object_del(note, "signature");
    AUTO(free_ptr) char *document = json_dumps(note, JSON_COMPACT | JSON_SORT_KEYS);
    assert_true(sign_check(&key, span_of(document, strlen(document)), &signature));
    json_decref(c.body);
}

/* The chain goes on from a key to a later one, of those that a person knows; in no other order, and with no other key. */
static void check_change_of_keys(struct bench *b, int64_t job, const struct report *now,
                                 struct sign_key old)
{
    json_auto_t *report = report_of(b, job);
    struct report before;
    const struct sign_key keys[] = {old, now->key, old}, none[] = {{{0}}, now->key};
    assert_int_equal(report_check(report, &old, &before, NULL), 0);
    assert_int_equal(report_follows(&before, now, keys, 2, NULL), 1);
    assert_int_equal(report_follows(&before, now, keys + 1, 2, NULL), ERR_VERIFY);
    assert_int_equal(report_follows(&before, now, keys, 1, NULL), ERR_VERIFY);
    assert_int_equal(report_follows(&before, now, none, 2, NULL), ERR_VERIFY);
    assert_int_equal(report_follows(&before, now, NULL, 0, NULL), ERR_VERIFY);
    before.sha256.bytes[0] ^= 1;
    assert_int_equal(report_follows(&before, now, keys, 2, NULL), ERR_VERIFY);
}

/* A station that signed reports does not take another key on its own; with a person's word it does, once, and the change
 * is on record. */
static void a_lost_key_is_not_replaced_silently(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    AUTO(free_ptr) char *path = xasprintf("%s/station.key", b->dir);
    AUTO(free_ptr) char *copy = xasprintf("%s/copy.key", b->dir);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(try_start(b, false, &err), 0); /* nothing was signed so far */
    struct sign_key old = store_sign_key(b->store);
    int64_t first = closed_job(b, "succeeded");
    assert_int_equal(rename(path, copy), 0);
    expect_refusal(b, "is missing");
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(try_start(b, true, &err), 0);
    check_note(b, old);
    assert_int_equal(try_start(b, false, &err), 0); /* before anything was signed with it */
    int64_t job = closed_job(b, "succeeded");
    assert_int_equal(try_start(b, false, &err), 0);
    json_auto_t *report = report_of(b, job);
    struct report checked;
    struct sign_key key = store_sign_key(b->store);
    assert_int_equal(report_check(report, &key, &checked, &err), 0);
    check_change_of_keys(b, first, &checked, old);
    assert_int_equal(rename(copy, path), 0); /* now the old one is the wrong one */
    expect_refusal(b, "is another key");
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, bench_setup, bench_teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_closed_job_is_proven),
        TEST(every_change_is_noticed),
        TEST(the_chain_misses_nothing),
        TEST(open_jobs_have_no_report),
        TEST(what_a_journal_knows_is_proven),
        TEST(a_kill_leaves_a_whole_chain),
        TEST(a_used_version_stays_what_it_was),
        TEST(the_key_is_kept_and_closed),
        TEST(a_lost_key_is_not_replaced_silently),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
