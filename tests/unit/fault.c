/* Fault specifications, and what the layer does to transfers. */
#include "tests/unit/rows.h"

#include "usb/base/clock.h"
#include "usb/base/io.h"
#include "usb/base/mem.h"
#include "usb/transport/fault_transport.h"

#include <sys/mman.h>

static const struct spec_row {
    const char *name; /* the text */
    int want;
    struct fault_spec spec;
} spec_rows[] = {
    {"unplug@transfer=120", 0, {.kind = FAULT_UNPLUG, .transfer = 120, .byte = -1}},
    {"corrupt@byte=7@seed=3", 0, {.kind = FAULT_CORRUPT, .transfer = -1, .byte = 7, .seed = 3}},
    {"lie@step=S5@transfer=0x10", 0, {.kind = FAULT_LIE, .transfer = 16, .byte = -1, .step = "S5"}},
    {"reset", 0, {.kind = FAULT_RESET, .transfer = -1, .byte = -1}},
    {"explode", ERR_INPUT, {0}},
    {"", ERR_INPUT, {0}},
    {"unplug@transfer=-1", ERR_INPUT, {0}},
    {"unplug@transfer=", ERR_INPUT, {0}},
    {"unplug@transfer", ERR_INPUT, {0}},
    {"unplug@colour=3", ERR_INPUT, {0}},
    {"unplug@transfer=99999999999999999999", ERR_INPUT, {0}},
    {"unplug@step=", ERR_INPUT, {0}},
};

static void specs(void **state)
{
    const struct spec_row *row = ROW(state);
    struct fault_spec spec = {0};
    assert_int_equal(fault_spec_parse(row->name, &spec, NULL), row->want);
    assert_memory_equal(&spec, &row->spec, sizeof(spec));
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
    {"late@transfer=2", ERR_TIMEOUT, ERR_TIMEOUT, 16, 0, false},
    {"corrupt@transfer=2@byte=3@seed=9", 16, 16, 16, 16, true},
    {"lie@transfer=2", 0, 16, 16, 0, false},
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
    };
    return RUN_ROWS(specs, spec_rows) + RUN_ROWS(layer, layer_rows) +
           cmocka_run_group_tests(tests, NULL, NULL);
}
