/* server/workers: real worker processes with many descriptors open beside them, silence, and a pool that goes. */
#include "tests/unit/rows.h"

#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/workers/workers.h"
#include "usb/base/mem.h"

static const char *program;

struct bench {
    struct event_base *base;
    struct worker_pool *pool;
    int ended;
    char why[160];
};

static void on_message(void *arg, struct worker *w, const struct wire_message *m)
{
    (void)w;
    struct bench *b = arg;
    (void)m;
    event_base_loopbreak(b->base);
}

static void on_ended(void *arg, struct worker *w, const char *why)
{
    (void)w;
    struct bench *b = arg;
    b->ended++;
    snprintf(b->why, sizeof(b->why), "%s", why);
    if (b->base)
        event_base_loopbreak(b->base);
}

static const struct worker_events events = {on_message, on_ended};

static void bench_open(struct bench *b, const char *run, int beat_deadline_ms)
{
    struct worker_pool_config config = {
        .program = run, .time_scale = 1, .beat_deadline_ms = beat_deadline_ms};
    *b = (struct bench){.base = event_base_new()};
    assert_int_equal(worker_pool_new(b->base, &config, &b->pool, NULL), 0);
}

static void bench_close(struct bench *b)
{
    worker_pool_free(&b->pool);
    event_base_free(b->base);
}

/* With some 200 descriptors open the ends of a new worker's two channels lie at any number, also at those that a
 * naive dup2 would pass through. Each worker must read on its fd 4 what was sent there, and on fd 3 ours. */
static void channels_are_not_mixed_up(void **state)
{
    (void)state;
    enum { OPEN = 240, HOLE = 12 };
    static int open_fds[OPEN];
    struct bench b;
    for (int i = 0; i < OPEN; i++)
        open_fds[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
    for (int first = 180; first < 220; first++) {
        /* leave holes there, so that channels get exactly these numbers */
        for (int fd = first; fd < first + HOLE; fd++)
            close(fd);
        bench_open(&b, program, 0);
        int device = -1;
        struct worker *w = worker_take(b.pool, &events, &b, &device, NULL);
        assert_non_null(w);
        event_base_dispatch(b.base); /* its first beat: it runs, and holds what it holds */
        struct wire_message seen = {.type = WIRE_seen, .fd = -1};
        assert_int_equal(wire_send(device, &seen, MSG_DONTWAIT, NULL),
                         0); /* somebody holds its fd 4 */
        close(device);       /* it lives on without portwatch, and ends when our end goes */
        worker_let_go(w);
        while (!b.ended)
            event_base_dispatch(b.base);
        assert_string_equal(b.why, "the worker exited with status 0");
        bench_close(&b);
        for (int fd = first; fd < first + HOLE; fd++)
            (void)fcntl(open_fds[0], F_DUPFD_CLOEXEC, fd);
    }
    for (int fd = 5; fd < OPEN + 20; fd++)
        close(fd);
}

static void silence_is_death(void **state)
{
    (void)state;
    struct bench b;
    bench_open(&b, program, 300);
    int device = -1;
    struct worker *w = worker_take(b.pool, &events, &b, &device, NULL);
    assert_non_null(w);
    event_base_dispatch(b.base); /* it has started */
    kill((pid_t)worker_pid(w), SIGSTOP);
    worker_expect_beats(w);
    while (!b.ended)
        event_base_dispatch(b.base);
    assert_non_null(strstr(b.why, "hung"));
    close(device);
    bench_close(&b);
}

/* Dozens that start at once share the processors: a worker that has said nothing so far does not hang. */
static void slow_start_is_no_hang(void **state)
{
    (void)state;
    char slow[] = "/tmp/flashrack-slow-XXXXXX";
    int fd = mkstemp(slow), device = -1;
    assert_true(fd >= 0 && fchmod(fd, 0700) == 0);
    dprintf(fd, "#!/bin/sh\nsleep 1\nexec '%s' \"$@\"\n", program);
    close(fd);
    struct bench b;
    bench_open(&b, slow, 300);
    struct worker *w = worker_take(b.pool, &events, &b, &device, NULL);
    assert_non_null(w);
    worker_expect_beats(w);
    event_base_dispatch(b.base); /* its first beat, or its end */
    unlink(slow);
    assert_int_equal(b.ended, 0);
    close(device);
    bench_close(&b);
}

static void owners_hear_that_the_pool_goes(void **state)
{
    (void)state;
    struct bench b;
    bench_open(&b, program, 0);
    int device = -1;
    assert_non_null(worker_take(b.pool, &events, &b, &device, NULL));
    worker_pool_free(&b.pool);
    assert_int_equal(b.ended, 1);
    assert_string_equal(b.why, "the station was stopped");
    close(device);
    event_base_free(b.base);
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    program = argv[1];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(channels_are_not_mixed_up),
        cmocka_unit_test(silence_is_death),
        cmocka_unit_test(slow_start_is_no_hang),
        cmocka_unit_test(owners_hear_that_the_pool_goes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
