/* The power goes, or the disk is full, at any write or sync of the store while jobs run and the backups are sealed with
 * another key: what was acknowledged is there, what is there is whole, and work goes on. Usage: test_store_power [SEED [ROUNDS]] */
#include "tests/unit/store_spool.h"

#include <inttypes.h>
#include <sqlite3.h>

#include "tests/lib/power.h"

enum {
    ACTORS = 4,
    JOBS_MAX = 400, /* of one data folder */
    JOBS_A_ROUND = 24,
    ROUNDS_A_FOLDER = 8,
    OPERATIONS = 1400, /* some more than a round makes */
    LINES = 3,
};

/* What was acknowledged of a job. */
struct record {
    int64_t id;
    int stage; /* how many of `stages` */
    int lines;
};

struct world;
/* One phone's job after the other; a call follows when the one before was answered. */
struct actor {
    struct world *world;
    int number;
    struct record *record;
    int stage, waiting; /* calls without an answer */
    bool stopped;
    char port[16], key[16];
    struct spooling spool; /* of the job it is at; fd -1: none */
};

struct world {
    struct bench bench;
    struct actor actors[ACTORS];
    struct record records[JOBS_MAX];
    int record_count, jobs_left;
    bool retry; /* a full disk: the same call again */
    long full_answers;
    char *keys[2]; /* of the backups: each start seals with the other one anew what is there */
    int starts;
};

static void go_on(struct actor *a);

/* ---- calls ---- */

static void answered(struct actor *a, int code, const struct err *err, json_t *body)
{
    a->waiting--;
    if (code < 0 && !(code == ERR_DISK || power_is_cut()))
        fail_msg("stage %d: %s, %s", a->stage, err_name(code), err->text);
    if (code < 0) {
        a->world->full_answers++;
        a->stopped = a->stopped || !a->world->retry;
        return;
    }
    if (a->stage == 0) {
        a->record = &a->world->records[a->world->record_count++];
        *a->record = (struct record){.id = id_of(body)};
    }
}

static void on_answer(void *arg, int code, const struct err *err, json_t *body)
{
    struct actor *a = arg;
    answered(a, code, err, body);
    if (code >= 0)
        a->record->stage = ++a->stage;
    go_on(a);
}

static void on_line(void *arg, int code, const struct err *err, json_t *body)
{
    struct actor *a = arg;
    answered(a, code, err, body);
    if (code >= 0)
        a->record->lines++;
    if (a->waiting > 0)
        return;
    if (a->record->lines >= LINES)
        a->record->stage = ++a->stage;
    go_on(a);
}

static void add(struct actor *a)
{
    store_job_add(a->world->bench.store,
                  &(struct store_job_new){.recipe = "x5-restore", .port_id = a->port}, on_answer,
                  a);
}

static void run(struct actor *a)
{
    store_job_change(a->world->bench.store, a->record->id,
                     &(struct store_job_change){.state = "running"}, on_answer, a);
}

static void begin(struct actor *a)
{
    store_step_begin(a->world->bench.store, a->record->id, "S1", NULL, on_answer, a);
}

static void lines(struct actor *a)
{
    a->waiting = LINES - a->record->lines;
    for (int i = a->waiting; i > 0; i--)
        store_job_log_add(a->world->bench.store, a->record->id, "info", "S1", "a line", on_line, a);
}

/* Chunks that are new and one that all backups share, so that there is more to lose than one row. */
static void fill_spool(struct actor *a)
{
    struct span own = noise(90000, (uint32_t)a->record->id), same = noise(30000, 1);
    spooling_open(&a->spool, a->record->id);
    spooling_image(&a->spool, "nvram", own, SPOOL_PLAUSIBLE_YES);
    spooling_image(&a->spool, "para", same, SPOOL_PLAUSIBLE_UNKNOWN);
    snprintf(a->key, sizeof(a->key), "pre");
    spooling_finish(&a->spool, a->key, "", "");
    span_free(&own);
    span_free(&same);
}

static void ingest(struct actor *a)
{
    const struct store_backup_meta meta = {.job_id = a->record->id, .origin = "import"};
    if (a->spool.fd < 0)
        fill_spool(a);
    store_spool_ingest(a->world->bench.store, a->spool.fd, 0, &meta, on_answer, a);
}

static void end(struct actor *a)
{
    store_step_end(a->world->bench.store, a->record->id, "S1", "done", NULL, NULL, on_answer, a);
}

static void succeed(struct actor *a)
{
    store_job_change(a->world->bench.store, a->record->id,
                     &(struct store_job_change){.state = "succeeded"}, on_answer, a);
}

enum {
    STAGE_ADD,
    STAGE_RUN,
    STAGE_BEGIN,
    STAGE_LINES,
    STAGE_INGEST,
    STAGE_END,
    STAGE_SUCCEED,
    STAGES
};
static void (*const stages[STAGES])(struct actor *) = {add,    run, begin,  lines,
                                                       ingest, end, succeed};

static void drop_spool(struct actor *a)
{
    fd_close(&a->spool.fd);
}

static void go_on(struct actor *a)
{
    if (a->stage == STAGES) {
        a->stage = 0;
        drop_spool(a);
    }
    if (a->stage == 0 && !a->stopped)
        a->stopped = a->world->jobs_left-- <= 0;
    if (a->stopped)
        return;
    a->waiting = 1;
    stages[a->stage](a);
}

/* ---- a round ---- */

static bool is_busy(const struct world *w)
{
    bool busy = false;
    for (int i = 0; i < ACTORS; i++)
        busy = busy || w->actors[i].waiting > 0;
    return busy;
}

/* False: the power went while the store was opened. */
static bool try_open(struct world *w)
{
    struct bench *b = &w->bench;
    struct err err = {0};
    const struct store_config config = {.data_dir = b->dir,
                                        .base = b->base,
                                        .backup_key = w->keys[w->starts % 2],
                                        .old_backup_key = w->keys[(w->starts + 1) % 2]};
    w->starts++;
    if (store_open(&config, &b->store, &err) < 0) {
        if (!power_is_cut() && err.code != ERR_DISK)
            fail_msg("%s", err.text);
        return false;
    }
    store_on_event(b->store, bench_event, b);
    return true;
}

static void work(struct world *w)
{
    w->jobs_left = JOBS_A_ROUND;
    for (int i = 0; i < ACTORS; i++) {
        struct actor *a = &w->actors[i];
        drop_spool(a);
        *a = (struct actor){.world = w, .number = i, .spool.fd = -1};
        snprintf(a->port, sizeof(a->port), "p%d", i);
        go_on(a);
    }
    while (is_busy(w))
        event_base_loop(w->bench.base, EVLOOP_ONCE);
}

/* ---- what must be there afterwards ---- */

static int place_of(const char *state)
{
    static const char *const order[] = {"queued", "running", "succeeded"};
    if (strcmp(state, "failed") == 0)
        return 2; /* close_open_jobs() */
    for (size_t i = 0; i < ARRAY_LEN(order); i++)
        if (strcmp(state, order[i]) == 0)
            return (int)i;
    fail_msg("state %s", state);
    return -1;
}

static void check_record(struct bench *b, const struct record *r)
{
    struct call c = {0};
    CALL_OK(b, &c, store_job_get, r->id);
    int place = place_of(text_of(c.body, "state"));
    assert_true(place >= (r->stage > STAGE_SUCCEED) + (r->stage > STAGE_RUN));
    json_t *steps = json_object_get(c.body, "steps");
    assert_true(json_array_size(steps) <= 1);
    assert_true(json_array_size(steps) == 1 || r->stage <= STAGE_BEGIN);
    if (r->stage > STAGE_END)
        assert_string_equal(text_of(json_array_get(steps, 0), "state"), "done");
    CALL_OK(b, &c, store_job_log, r->id, NULL);
    assert_in_range(item_count(&c), r->lines, LINES);
    json_decref(c.body);
}

static void check_images(struct bench *b, json_t *backup)
{
    static const char *const names[] = {"nvram", "para"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct call image = {.fd = -1};
        store_backup_open(b->store, id_of(backup), names[i], call_fd_done, &image);
        call_wait(b, &image);
        if (image.code < 0)
            fail_msg("backup %s: %s", text_of(backup, "id"), image.err.text);
        fd_close(&image.fd);
    }
}

/* Each backup that is visible is whole; those that were acknowledged are visible, once. */
static void check_backups(struct world *w)
{
    struct call c = {0};
    int seen[JOBS_MAX] = {0};
    CALL_OK(&w->bench, &c, store_backup_list, 0, NULL, (&(struct store_page){.limit = 1000}));
    for (size_t i = 0; i < item_count(&c); i++) {
        int64_t job = store_id(text_of(item(&c, i), "job_id"));
        check_images(&w->bench, item(&c, i));
        for (int k = 0; k < w->record_count; k++)
            seen[k] += w->records[k].id == job;
    }
    for (int k = 0; k < w->record_count; k++)
        if (seen[k] > 1 || seen[k] < (w->records[k].stage > STAGE_INGEST))
            fail_msg("job %" PRId64 " has %d backups", w->records[k].id, seen[k]);
    json_decref(c.body);
}

static void check_files(struct bench *b)
{
    struct call c = {0};
    store_check(b->store, call_done, &c);
    call_wait(b, &c);
    assert_int_equal(c.code, 0);
    json_t *problems = json_object_get(c.body, "problems");
    if (json_array_size(problems))
        fail_msg("%s", json_string_value(json_array_get(problems, 0)));
    json_decref(c.body);
}

/* The spool outlives the cut: taken in again it gives the same backup, also twice. */
static void ingest_again(struct world *w)
{
    for (int i = 0; i < ACTORS; i++) {
        struct actor *a = &w->actors[i];
        const struct store_backup_meta meta = {.job_id = a->record ? a->record->id : 0,
                                               .origin = "import"};
        struct call one = {0}, two = {0};
        if (a->spool.fd < 0)
            continue;
        CALL_OK(&w->bench, &one, store_spool_ingest, a->spool.fd, 0, &meta);
        CALL_OK(&w->bench, &two, store_spool_ingest, a->spool.fd, 0, &meta);
        json_t *first = json_array_get(json_object_get(one.body, "backups"), 0);
        json_t *second = json_array_get(json_object_get(two.body, "backups"), 0);
        assert_string_equal(text_of(first, "id"), text_of(second, "id"));
        json_decref(one.body);
        json_decref(two.body);
    }
}

/* Jobs that the cut left open would be in the way of the next round's. */
static void close_open_jobs(struct bench *b)
{
    struct call list = {0}, c = {0};
    CALL_OK(b, &list, store_job_list, (&(struct store_job_filter){.open = true}), NULL);
    for (size_t i = 0; i < item_count(&list); i++)
        CALL_OK(b, &c, store_job_change, id_of(item(&list, i)),
                (&(struct store_job_change){.state = "failed"}));
    json_decref(list.body);
    json_decref(c.body);
}

static void check_world(struct world *w)
{
    check_files(&w->bench);
    for (int i = 0; i < w->record_count; i++)
        check_record(&w->bench, &w->records[i]);
    ingest_again(w);
    check_backups(w);
}

/* ---- the tests ---- */

static uint64_t seed = 1, round_seed;
static long rounds = 12, cuts;

static struct world *world_new(void)
{
    struct world *w = xcalloc(1, sizeof(*w));
    snprintf(w->bench.dir, sizeof(w->bench.dir), "/tmp/flashrack-power-XXXXXX");
    assert_non_null(mkdtemp(w->bench.dir));
    w->bench.base = event_base_new();
    for (int i = 0; i < ACTORS; i++)
        w->actors[i].spool.fd = -1;
    for (int i = 0; i < 2; i++) {
        w->keys[i] = xasprintf("%s/key.%d", w->bench.dir, i);
        int fd = open(w->keys[i], O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        assert_int_equal(dprintf(fd, "%064d\n", i), 65);
        close(fd);
    }
    return w;
}

static void world_free(struct world *w)
{
    for (int i = 0; i < ACTORS; i++)
        drop_spool(&w->actors[i]);
    event_base_free(w->bench.base);
    bench_remove_dir(w->bench.dir);
    free(w->keys[0]);
    free(w->keys[1]);
    json_decref(w->bench.last_body);
    free(w);
}

static void one_cut(struct world *w)
{
    power_on(round_seed);
    power_cut_at(1 + (long)power_random(OPERATIONS));
    if (try_open(w))
        work(w);
    store_close(&w->bench.store);
    cuts += power_is_cut();
    if (power_is_cut())
        power_lose();
    power_on(round_seed);
    assert_true(try_open(w)); /* what a cut left is never too damaged to open */
    check_world(w);
    close_open_jobs(&w->bench);
    store_close(&w->bench.store);
}

static void a_power_cut_loses_nothing(void **state)
{
    (void)state;
    struct world *w = NULL;
    for (long i = 0; i < rounds; i++) {
        if (i % ROUNDS_A_FOLDER == 0) {
            if (w)
                world_free(w);
            w = world_new();
        }
        round_seed = seed + (uint64_t)i;
        one_cut(w);
    }
    world_free(w);
    assert_true(cuts > 0);
}

/* Calls are told, and sent again until there is space: each job is whole in the end. */
static void a_full_disk_loses_nothing(void **state)
{
    (void)state;
    struct world *w = world_new();
    w->retry = true;
    power_on(seed);
    assert_true(try_open(w));
    for (long i = 0; i < MAX_OF(rounds / 3, 1) && w->record_count < JOBS_MAX - JOBS_A_ROUND; i++) {
        power_fill_at(power_operations() + 1 + (long)power_random(OPERATIONS / 2),
                      1 + (long)power_random(40));
        work(w);
        power_fill_at(0, 0);
        check_world(w);
    }
    assert_true(w->full_answers > 0);
    for (int i = 0; i < w->record_count; i++)
        assert_int_equal(w->records[i].stage, STAGES);
    store_close(&w->bench.store);
    world_free(w);
}

/* ---- retention ---- */

enum { PRE_IMAGES = 4 }; /* of one phone in a round; one stays */

static void add_pre_image(struct bench *b, int64_t phone, uint32_t number)
{
    struct call c = {0};
    struct spooling spool;
    struct span own = noise(90000, number), same = noise(30000, 1);
    int64_t job = add_job(b, NULL, phone);
    const struct store_backup_meta meta = {job, phone, "station", NULL};
    spooling_open(&spool, job);
    spooling_image(&spool, "nvram", own, SPOOL_PLAUSIBLE_UNKNOWN);
    spooling_image(&spool, "para", same, SPOOL_PLAUSIBLE_UNKNOWN);
    spooling_finish(&spool, "pre", CHIP_A, "");
    CALL_OK(b, &c, store_spool_ingest, spool.fd, 0, &meta);
    CALL_OK(b, &c, store_job_change, job, (&(struct store_job_change){.state = "cancelled"}));
    json_decref(c.body);
    span_free(&own);
    span_free(&same);
    close(spool.fd);
}

/* A whole round of the station's retention; ends early where the power does. */
static void retain(struct bench *b)
{
    struct call c = {0};
    struct store_sweep at = {0};
    bool done = false;
    CALL(b, &c, store_backup_prune, (&(struct store_prune){.keep = 1}));
    while (c.code >= 0 && !done) {
        CALL(b, &c, store_images_sweep, &at);
        at.chunks = json_is_true(json_object_get(c.body, "chunks"));
        at.after = json_integer_value(json_object_get(c.body, "after"));
        done = json_is_true(json_object_get(c.body, "done"));
    }
    if (c.code < 0 && !power_is_cut())
        fail_msg("%s", c.err.text);
    json_decref(c.body);
}

/* What still names its images has them, and the newest does; how many do. */
static size_t check_kept(struct bench *b)
{
    struct call c = {0};
    size_t kept = 0;
    check_files(b);
    CALL_OK(b, &c, store_backup_list, 0, NULL, (&(struct store_page){.limit = 1000}));
    for (size_t i = 0; i < item_count(&c); i++) {
        bool pruned = json_is_string(json_object_get(item(&c, i), "pruned_at"));
        if (!pruned)
            check_images(b, item(&c, i));
        assert_false(pruned && i == 0);
        kept += !pruned;
    }
    json_decref(c.body);
    return kept;
}

/* `operations`: how many one round of retention makes; 0: not known yet, nothing is cut. How many it made. */
static long cut_retention(struct world *w, int64_t phone, uint32_t number, long operations)
{
    struct bench *b = &w->bench;
    for (uint32_t i = 0; i < PRE_IMAGES; i++)
        add_pre_image(b, phone, number + i);
    long before = power_operations();
    if (operations)
        power_cut_at(before + 1 + (long)power_random((uint64_t)operations));
    retain(b);
    long made = power_operations() - before;
    store_close(&b->store);
    cuts += power_is_cut();
    if (power_is_cut())
        power_lose();
    power_on(round_seed);
    assert_true(try_open(w));
    check_kept(b);
    retain(b); /* the next round finds what the cut left */
    assert_int_equal(check_kept(b), 1);
    assert_int_equal(bench_count(b, "backups.db", "SELECT count(*) AS n FROM image"), 2);
    assert_int_equal(bench_count(b, "backups.db", "SELECT count(*) AS n FROM chunk"), 2);
    return made;
}

static void a_power_cut_in_retention_takes_no_kept_backup(void **state)
{
    (void)state;
    struct world *w = world_new();
    power_on(seed);
    assert_true(try_open(w));
    int64_t phone = add_phone(&w->bench, CHIP_A, NULL);
    long operations = cut_retention(w, phone, 2, 0), cuts_before = cuts;
    for (long i = 0; i < rounds; i++) {
        round_seed = seed + (uint64_t)i;
        cut_retention(w, phone, (uint32_t)(i + 1) * 1000, operations);
    }
    assert_true(cuts > cuts_before);
    store_close(&w->bench.store);
    world_free(w);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_power_cut_loses_nothing),
        cmocka_unit_test(a_power_cut_in_retention_takes_no_kept_backup),
        cmocka_unit_test(a_full_disk_loses_nothing),
    };
    seed = argc > 1 ? strtoull(argv[1], NULL, 10) : seed;
    rounds = argc > 2 ? strtol(argv[2], NULL, 10) : rounds;
    power_install();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    printf("{\"seed\":%" PRIu64 ",\"last_seed\":%" PRIu64
           ",\"rounds\":%ld,\"cuts\":%ld,\"failed\":%d}\n",
           seed, round_seed, rounds, cuts, failed);
    return failed;
}
