/* usb/worker/host: a station that stands still must not stop a worker in the middle of a write. */
#include "tests/unit/rows.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "usb/base/clock.h"
#include "usb/base/mem.h"
#include "usb/worker/host.h"

enum { SPOKEN = 2000, HANG_S = 30 };

static int station; /* the other end of the worker's fd 3 */

static void say_step(struct host *h, int number)
{
    struct wire_message m = {.type = WIRE_step, .fd = -1, .u.step = {.attempt = number}};
    WIRE_TEXT(m.u.step.step, "S7 write identity");
    WIRE_TEXT(m.u.step.state, "running");
    WIRE_TEXT(m.u.step.text, "");
    host_send(h, &m);
}

/* Everything that is there; false when a step came out of its order. */
static bool hear(int *steps, int64_t *last, bool *done)
{
    for (;;) {
        struct wire_message m = {.fd = -1};
        struct err err = {0};
        if (wire_recv(station, &m, MSG_DONTWAIT, &err) <= 0)
            return true;
        bool in_order = m.type != WIRE_step || m.u.step.attempt > *last;
        if (m.type == WIRE_step) {
            *last = m.u.step.attempt;
            (*steps)++;
        }
        *done |= m.type == WIRE_done;
        wire_message_deinit(&m);
        if (!in_order)
            return false;
    }
}

static void station_that_stands_still(void **state)
{
    (void)state;
    static struct host h;
    struct session_host to;
    int steps = 0;
    int64_t last = -1;
    bool done = false;
    host_init(&h);
    to = host_session(&h);
    alarm(HANG_S); /* a call that waits ends the test */
    for (int i = 0; i < SPOKEN; i++) {
        to.progress(to.arg, "S7 write identity", 7, 7);
        say_step(&h, i);
    }
    assert_false(h.server_gone);
    assert_int_equal(h.unsent_count, HOST_QUEUE_MAX);
    while (h.unsent_count) {
        assert_true(hear(&steps, &last, &done));
        host_pump(&h, 0);
    }
    struct wire_message end = {.type = WIRE_done, .fd = -1, .u.done = {.result = json_object()}};
    host_send(&h, &end);
    wire_message_deinit(&end);
    host_flush(&h, clock_in(1000));
    assert_true(hear(&steps, &last, &done));
    assert_true(done);
    assert_true(steps > HOST_QUEUE_MAX); /* what the socket had room for, and what waited */
    assert_false(h.server_gone);
    host_deinit(&h);
    alarm(0);
}

static void say_channel(const char *port)
{
    int ends[2];
    struct err err = {0};
    assert_int_equal(wire_pair(ends, &err), 0);
    struct wire_message m = {.type = WIRE_channel, .fd = ends[0]};
    WIRE_TEXT(m.u.channel.port, port);
    assert_int_equal(wire_send(station, &m, 0, &err), 0);
    close(ends[0]);
    close(ends[1]);
}

/* A phone that is open on one port is not gone on with for a station that sees it on another. */
static void phone_that_was_moved(void **state)
{
    (void)state;
    static const struct {
        bool taken;
        const char *port;
        bool ends;
    } rows[] = {{true, "p1", false}, {false, "p2", false}, {true, "p2", true}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        static struct host h;
        host_init(&h);
        WIRE_TEXT(h.port, "p1");
        h.taken = rows[i].taken;
        say_channel(rows[i].port);
        host_pump(&h, clock_in(1000));
        assert_int_equal(h.server_gone, rows[i].ends);
        assert_string_equal(h.port, rows[i].port);
        host_deinit(&h);
    }
}

int main(void)
{
    int channel[2], device[2];
    if (wire_pair(channel, NULL) < 0 || wire_pair(device, NULL) < 0)
        return 1;
    int kept = fcntl(channel[1], F_DUPFD_CLOEXEC, 10);
    int other = fcntl(device[1], F_DUPFD_CLOEXEC, 10);
    station = fcntl(channel[0], F_DUPFD_CLOEXEC, 10);
    if (kept < 0 || other < 0 || dup2(kept, WORKER_CHANNEL_FD) < 0 ||
        dup2(other, WORKER_DEVICE_FD) < 0)
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(station_that_stands_still),
        cmocka_unit_test(phone_that_was_moved),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
