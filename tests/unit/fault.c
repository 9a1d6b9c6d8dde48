/* Fault specifications, and what the layer does to transfers. */
#include "tests/unit/rows.h"

#include <stdio.h>

#include "usb/base/clock.h"
#include "usb/base/io.h"
#include "usb/base/mem.h"
#include "usb/transport/fault_transport.h"

#include <sys/mman.h>

static const struct spec_row {
    const char *name; /* the text */
    const char *want; /* what describe() makes of it; NULL: ERR_INPUT */
} spec_rows[] = {
    {"unplug@transfer=120", "unplug transfer=120"},
    {"corrupt@byte=7@seed=3", "corrupt byte=7 seed=3"},
    {"lie@step=S5@transfer=0x10", "lie transfer=16 step=S5"},
    {"reset", "reset"},
    {"garbage@control=2", "garbage control=2"},
    {"late@ms=300", "late ms=300"},
    {"da_status@status=0xc0030007", "da_status status=3221422087"},
    {"storage_write@byte=7", "storage_write byte=7"},
    {"lying_write@area=boot2@byte=7", "lying_write byte=7 area=boot2"},
    {"explode", NULL},
    {"unplugg@transfer=3", NULL},
    {"@unplug", NULL},
    {"none", NULL},
    {"", NULL},
    {"unplug@transfer=-1", NULL},
    {"unplug@transfer=0", NULL},
    {"unplug@control=0", NULL},
    {"storage_write@byte=0", "storage_write byte=0"},
    {"unplug@", NULL},
    {"unplug@@transfer=3", NULL},
    {"unplug@transfer=", NULL},
    {"unplug@transfer", NULL},
    {"unplug@colour=3", NULL},
    {"unplug@transfer=99999999999999999999", NULL},
    {"unplug@step=", NULL},
    {"unplug@ms=3", NULL},
    {"emi_error@control=1", NULL},
    {"emi_error@status=1", NULL},
    {"da_status@status=0x100000000", NULL},
    {"da_checksum@byte=1", NULL},
    {"stall@area=user", NULL},
    {"storage_read@area=moon", NULL},
};

/* Kind and conditions that are given, in a fixed order. */
static void describe(const struct fault_spec *s, char *out, size_t size)
{
    const struct {
        const char *name;
        int64_t value;
    } all[] = {{"transfer", s->transfer}, {"control", s->control},
               {"byte", s->byte},         {"ms", s->ms},
               {"status", s->status},     {"seed", (int64_t)s->seed - 1}};
    int at = snprintf(out, size, "%s", fault_kind_word(s->kind));
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        if (all[i].value >= 0)
            at += snprintf(out + at, size - (size_t)at, " %s=%lld", all[i].name,
                           (long long)all[i].value + (strcmp(all[i].name, "seed") == 0));
    if (s->step[0])
        at += snprintf(out + at, size - (size_t)at, " step=%s", s->step);
    if (s->area[0])
        snprintf(out + at, size - (size_t)at, " area=%s", s->area);
}

static void specs(void **state)
{
    const struct spec_row *row = ROW(state);
    struct fault_spec spec = {0}, untouched = {0};
    char text[128];
    int rc = fault_spec_parse(row->name, &spec, NULL);
    assert_int_equal(rc, row->want ? 0 : ERR_INPUT);
    if (!row->want) {
        assert_memory_equal(&spec, &untouched, sizeof(spec));
        return;
    }
    describe(&spec, text, sizeof(text));
    assert_string_equal(text, row->want);
}

/* Gives 16 times the letter 'r', counts what is written, remembers the last bytes. */
struct echo {
    struct transport transport;
    size_t written;
    uint8_t last[64];
};
static ssize_t echo_read(struct transport *t, void *dst, size_t len, int64_t until_ms,
                         struct err *err)
{
    (void)t;
    (void)until_ms;
    (void)err;
    memset(dst, 'r', MIN_OF(len, 16u));
    return (ssize_t)MIN_OF(len, 16u);
}
static ssize_t echo_write(struct transport *t, const void *src, size_t len, int64_t until_ms,
                          struct err *err)
{
    struct echo *e = (struct echo *)(void *)t;
    (void)until_ms;
    (void)err;
    e->written += len;
    memcpy(e->last, src, MIN_OF(len, sizeof(e->last)));
    return (ssize_t)len;
}
static ssize_t echo_control(struct transport *t, const struct usb_setup *setup, void *data,
                            int64_t until_ms, struct err *err)
{
    (void)t;
    (void)data;
    (void)until_ms;
    (void)err;
    return setup->length;
}
static void echo_close(struct transport *t)
{
    (void)t;
}
static const struct transport_ops echo_ops = {"echo", echo_read, echo_write, echo_control,
                                              echo_close};

static const struct layer_row {
    const char *name; /* specification; always the second of three transfers */
    ssize_t read, write, after;
    size_t written; /* bytes that reached the phone in the second transfer */
    bool changed;   /* their contents */
} layer_rows[] = {
    {"unplug@transfer=2", ERR_GONE, ERR_GONE, ERR_GONE, 0, false},
    {"reset@transfer=2", ERR_GONE, ERR_GONE, ERR_GONE, 0, false},
    {"stall@transfer=2", ERR_IO, ERR_IO, 16, 0, false},
    {"short@transfer=2@byte=5", 5, ERR_IO, 16, 5, false},
    {"babble@transfer=2", ERR_IO, 16, 16, 16, false},
    {"late@transfer=2", ERR_TIMEOUT, ERR_TIMEOUT, 16, 0, false},
    {"corrupt@transfer=2@byte=3@seed=9", 16, 16, 16, 16, true},
    {"lie@transfer=2", 0, 16, 16, 0, false},
    {"late@transfer=2@ms=1", 16, 16, 16, 16, false},
    {"nak@transfer=2", ERR_TIMEOUT, ERR_TIMEOUT, ERR_TIMEOUT, 0, false},
    {"garbage@transfer=2@seed=5", 16, 16, 16, 16, true},
    {"stall@control=1", 16, 16, 16, 16, false},
    {"da_checksum@transfer=2", 16, 16, 16, 16, false},
};

static void layer(void **state)
{
    const struct layer_row *row = ROW(state);
    struct fault_spec spec;
    uint8_t data[16];
    assert_int_equal(fault_spec_parse(row->name, &spec, NULL), 0);
    for (int writing = 0; writing < 2; writing++) {
        struct echo echo = {.transport = {.ops = &echo_ops}};
        struct transport *t = transport_fault_new(&echo.transport, &spec);
        memset(data, 'w', sizeof(data));
        assert_int_equal(transport_write(t, data, 16, clock_in(10), NULL), 16);
        echo.written = 0;
        memset(echo.last, 'w', sizeof(echo.last));
        if (writing) {
            assert_int_equal(transport_write(t, data, 16, clock_in(10), NULL), row->write);
            assert_int_equal(echo.written, row->written);
            assert_int_equal(memcmp(echo.last, data, 16) != 0, row->changed);
            assert_true(!row->changed || echo.last[3] != 'w');
        } else {
            assert_int_equal(transport_read(t, data, 16, clock_in(10), NULL), row->read);
            assert_int_equal(row->read == 16 && data[3] != 'r', row->changed);
        }
        assert_int_equal(transport_read(t, data, 16, clock_in(10), NULL), row->after);
        assert_int_equal(transport_fault_count(t), 3);
        transport_close(&t);
    }
}

static const struct control_row {
    const char *name;      /* specification */
    ssize_t first, second; /* of two control requests for 8 of 16 bytes */
} control_rows[] = {
    {"stall@control=1", ERR_REFUSED, 8}, {"short@control=2@byte=3", 8, 3},
    {"nak@control=2", 8, ERR_TIMEOUT},   {"unplug@control=1", ERR_GONE, ERR_GONE},
    {"babble@control=1", ERR_IO, 8},     {"stall@transfer=1", 8, 8}, /* bulk only */
};

static void control(void **state)
{
    const struct control_row *row = ROW(state);
    const struct usb_setup setup = {.request_type = 0x80, .length = 8};
    struct echo echo = {.transport = {.ops = &echo_ops}};
    struct fault_spec spec;
    uint8_t data[8];
    assert_int_equal(fault_spec_parse(row->name, &spec, NULL), 0);
    struct transport *t = transport_fault_new(&echo.transport, &spec);
    assert_int_equal(transport_control(t, &setup, data, clock_in(10), NULL), row->first);
    assert_int_equal(transport_control(t, &setup, data, clock_in(10), NULL), row->second);
    transport_close(&t);
}

/* Bytes that nobody sent come behind those that were, as far as they were asked for. */
static void more_comes_than_was_sent(void **state)
{
    (void)state;
    struct fault_spec spec;
    struct echo echo = {.transport = {.ops = &echo_ops}};
    uint8_t data[64] = {0};
    assert_int_equal(fault_spec_parse("long@seed=1", &spec, NULL), 0);
    struct transport *t = transport_fault_new(&echo.transport, &spec);
    assert_int_equal(transport_read(t, data, sizeof(data), 0, NULL), 16 + FAULT_LONG_BYTES);
    assert_int_equal(data[15], 'r');
    assert_int_equal(transport_read(t, data, sizeof(data), 0, NULL), 16);
    transport_close(&t);
}

static void a_step_must_match(void **state)
{
    (void)state;
    struct fault_spec spec;
    struct echo echo = {.transport = {.ops = &echo_ops}};
    uint8_t data[16] = {0};
    assert_int_equal(fault_spec_parse("stall@step=S5", &spec, NULL), 0);
    struct transport *t = transport_fault_new(&echo.transport, &spec);
    assert_int_equal(transport_read(t, data, 16, 0, NULL), 16);
    transport_fault_step(t, "S5");
    assert_int_equal(transport_read(t, data, 16, 0, NULL), ERR_IO);
    assert_int_equal(transport_read(t, data, 16, 0, NULL), 16);
    transport_close(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_step_must_match),
        cmocka_unit_test(more_comes_than_was_sent),
    };
    return RUN_ROWS(specs, spec_rows) + RUN_ROWS(layer, layer_rows) +
           RUN_ROWS(control, control_rows) + cmocka_run_group_tests(tests, NULL, NULL);
}
