/* The black box: what is written is read back, stays below its bound, and plays again. */
#include "tests/unit/rows.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "usb/base/hash.h"
#include "usb/base/io.h"
#include "usb/base/mem.h"
#include "usb/codec/pcapng.h"
#include "usb/transport/record.h"
#include "usb/transport/replay.h"

enum { FILE_MAX = 65536, KEEP = 64 };

/* A phone that sends 0x72s, once more than asked for, and goes at the seventh call. */
struct echo {
    struct transport transport;
    int calls;
};

static int gone(struct transport *t, struct err *err)
{
    struct echo *e = (struct echo *)(void *)t;
    return ++e->calls == 7 ? err_set(err, ERR_GONE, "unplugged") : 0;
}

static ssize_t echo_read(struct transport *t, void *dst, size_t len, int64_t until_ms,
                         struct err *err)
{
    (void)until_ms;
    if (gone(t, err) < 0)
        return ERR_GONE;
    memset(dst, 0x72, len / 2);
    return (ssize_t)(len / 2);
}

static ssize_t echo_write(struct transport *t, const void *src, size_t len, int64_t until_ms,
                          struct err *err)
{
    (void)src, (void)until_ms;
    return gone(t, err) < 0 ? ERR_GONE : (ssize_t)len;
}

static ssize_t echo_control(struct transport *t, const struct usb_setup *setup, void *data,
                            int64_t until_ms, struct err *err)
{
    (void)until_ms;
    if (gone(t, err) < 0)
        return ERR_GONE;
    if (setup->request_type & 0x80)
        memset(data, 0x33, setup->length);
    return setup->length;
}

static void echo_close(struct transport *t)
{
    (void)t;
}

static const struct transport_ops echo_ops = {"echo", echo_read, echo_write, echo_control,
                                              echo_close};

/* Every kind of call once; what a host would do. */
static void talk(struct transport *t)
{
    static const struct usb_setup in = {0xa1, 0x21, 0, 1, 7}, out = {0x21, 0x20, 2, 1, 7};
    uint8_t data[200];
    memset(data, 0xab, sizeof(data));
    assert_int_equal(transport_control(t, &out, data, 0, NULL), 7);
    assert_int_equal(transport_write(t, data, 4, 0, NULL), 4);
    assert_int_equal(transport_read(t, data, 8, 0, NULL), 4);
    assert_int_equal(data[3], 0x72);
    assert_int_equal(transport_control(t, &in, data, 0, NULL), 7);
    assert_int_equal(data[6], 0x33);
    assert_int_equal(transport_write(t, data, 200, 0, NULL), 200);
    assert_int_equal(transport_read(t, data, 1, 0, NULL), 0); /* an empty packet */
    assert_int_equal(transport_read(t, data, 64, 0, NULL), ERR_GONE);
}

static size_t record(uint8_t file[FILE_MAX], uint64_t max_bytes, uint32_t keep, int times)
{
    const struct usb_identity id = {.ep_in = 0x81, .ep_out = 0x01, .comm_interface = 1};
    AUTO(fd_close) int fd = memfd_create("record", MFD_CLOEXEC);
    AUTO(record_free) struct record *r = record_new(fd, max_bytes, keep);
    for (int i = 0; i < times; i++) {
        struct echo echo = {.transport = {.ops = &echo_ops}};
        struct transport *t = transport_record_new(&echo.transport, &id, r);
        record_comment(r, "S7 write identity");
        talk(t);
        transport_close(&t);
    }
    int64_t size = io_size(fd, NULL);
    assert_in_range(size, 1, FILE_MAX);
    assert_int_equal(io_pread(fd, file, (size_t)size, 0, NULL), 0);
    return (size_t)size;
}

static void reads_back(void **state)
{
    (void)state;
    AUTO(free_ptr) uint8_t *file = xcalloc(1, FILE_MAX);
    size_t size = record(file, FILE_MAX, KEEP, 1), at = 0;
    struct pcapng_usb p[14];
    struct err err = {0};
    for (size_t i = 0; i < ARRAY_LEN(p); i++)
        assert_int_equal(pcapng_next(span_of(file, size), &at, &p[i], &err), 1);
    assert_int_equal(pcapng_next(span_of(file, size), &at, &p[0], &err), 0);
    assert_string_equal(p[0].comment, "S7 write identity");
    assert_true(p[0].has_setup && p[0].setup[0] == 0x21 && p[0].data.len == 7);
    assert_int_equal(p[2].endpoint, 0x01);
    assert_memory_equal(p[2].data.data, "\xab\xab\xab\xab", 4);
    assert_int_equal(p[4].data.len, 0);
    assert_true(p[5].event == 'C' && p[5].endpoint == 0x81 && p[5].length == 4);
    assert_true(p[8].has_crc32 && p[8].data.len == KEEP && p[8].length == 200);
    assert_int_equal(p[13].status, -19);
    assert_string_equal(p[13].comment, "");
}

static void is_bounded(void **state)
{
    (void)state;
    AUTO(free_ptr) uint8_t *file = xcalloc(1, FILE_MAX);
    struct pcapng_usb p = {0};
    struct err err = {0};
    size_t size = record(file, 8192, KEEP, 20), at = 0;
    assert_in_range(size, 4096, 8192);
    while (pcapng_next(span_of(file, size), &at, &p, &err) > 0)
        continue;
    assert_int_equal(err.code, 0);
    assert_string_equal(p.comment, "the record is full");
}

/* A disk that takes half a packet: what was whole stays a file that can be read. */
static void ends_with_a_whole_packet_on_a_full_disk(void **state)
{
    (void)state;
    struct rlimit before, limit;
    struct err err = {0};
    AUTO(free_ptr) uint8_t *file = xcalloc(1, FILE_MAX);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, SIG_IGN);
    for (rlim_t room = 600; room < 900; room += 50) {
        struct pcapng_usb p;
        limit = (struct rlimit){room, before.rlim_max};
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
        size_t size = record(file, FILE_MAX, KEEP, 1), at = 0, packets = 0;
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
        while (pcapng_next(span_of(file, size), &at, &p, &err) > 0)
            packets++;
        assert_int_equal(err.code, 0);
        assert_in_range(packets, 1, 10);
    }
}

static void plays_again(void **state)
{
    (void)state;
    AUTO(free_ptr) uint8_t *file = xcalloc(1, FILE_MAX);
    size_t size = record(file, FILE_MAX, 4096, 2);
    AUTO(replay_free) struct replay *r = NULL;
    struct usb_identity id;
    struct err err = {0};
    assert_int_equal(replay_new(span_of(file, size), &r, &err), 0);
    for (int i = 0; i < 2; i++) {
        struct transport *t = replay_device(r, &id);
        assert_true(id.ep_in == 0x81 && id.ep_out == 0x01 && id.comm_interface == 1);
        talk(t);
        transport_close(&t);
    }
    assert_int_equal(replay_left(r), 0);
    AUTO(transport_close) struct transport *more = replay_device(r, &id);
    assert_int_equal(transport_write(more, "x", 1, 0, &err), ERR_PROTOCOL);
}

static void notices_another_host(void **state)
{
    (void)state;
    AUTO(free_ptr) uint8_t *file = xcalloc(1, FILE_MAX);
    size_t size = record(file, FILE_MAX, 4096, 1);
    static const struct usb_setup out = {0x21, 0x20, 2, 1, 7};
    AUTO(replay_free) struct replay *r = NULL;
    struct usb_identity id;
    struct err err = {0};
    uint8_t data[8] = {0xab, 0xab, 0xab, 0xab, 0xab, 0xab, 0xab};
    assert_int_equal(replay_new(span_of(file, size), &r, &err), 0);
    AUTO(transport_close) struct transport *t = replay_device(r, &id);
    assert_int_equal(transport_control(t, &out, data, 0, &err), 7);
    assert_int_equal(transport_write(t, "\xab\xab\xab\xac", 4, 0, &err), ERR_PROTOCOL);
    assert_non_null(strstr(err.text, "transfer 2 of 7"));
    assert_int_equal(transport_write(t, data, 4, 0, &err), 4);
}

static void what_was_cut_cannot_be_played(void **state)
{
    (void)state;
    AUTO(free_ptr) uint8_t *file = xcalloc(1, FILE_MAX);
    size_t size = record(file, FILE_MAX, KEEP, 1);
    struct replay *r = NULL;
    struct err err = {0};
    assert_int_equal(replay_new(span_of(file, size), &r, &err), ERR_FORMAT);
    assert_int_equal(replay_new(span_of(file, size - 2), &r, &err), ERR_FORMAT);
    assert_null(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_back),
        cmocka_unit_test(is_bounded),
        cmocka_unit_test(ends_with_a_whole_packet_on_a_full_disk),
        cmocka_unit_test(plays_again),
        cmocka_unit_test(notices_another_host),
        cmocka_unit_test(what_was_cut_cannot_be_played),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
