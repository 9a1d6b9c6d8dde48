/* The layouts that phones show (usb/codec/README.md, "Identities"), and garbage. */
#include "tests/unit/rows.h"

#include "usb/base/hash.h"
#include "usb/transport/descriptor.h"

static const struct row {
    const char *name, *wire;
    int want;
    uint8_t interface, ep_in, ep_out, comm;
    uint16_t packet;
    bool fastboot;
} rows[] = {
    {"preloader, communication first",
     "0902430002 0103c0fa 090400000102020105 0524001001 0424020f 0524060100 0524010300"
     "07058303400010 0904010002 0a000004 07050102000200 07058102000200",
     0, 1, 0x81, 0x01, 0, 512, false},
    {"preloader, data first, endpoints of 8 bytes",
     "0902460002 0103c0fa 09040000020a000004 0805010200020000 0805810200020000"
     "090401000102020105 0524001001 0424020f 0524060100 0524010300 0805830340001000",
     0, 0, 0x81, 0x01, 1, 512, false},
    {"data first, numbered 1",
     "0902460002 0103c0fa 09040100020a000004 0805010200020000 0805810200020000"
     "090400000102020105 0805830340001000",
     0, 1, 0x81, 0x01, 0, 512, false},
    {"boot ROM, full speed",
     "0902430002 01008000 090400000102020100 07058303400010 09040100020a000000 07050102400000"
     "07058102400000",
     0, 1, 0x81, 0x01, 0, 64, false},
    {"fastboot, IN first", "0902200001 01008080 0904000002ff420304 07058102000200 07050102000201",
     0, 0, 0x81, 0x01, 0xff, 512, true},
    {"fastboot beside a data interface",
     "0902370002 01008080 09040000020a000000 07058202000200 07050202000200"
     "0904010002ff420304 07058102000200 07050102000201",
     0, 1, 0x81, 0x01, 0xff, 512, true},
    {"no bulk pair", "0902190001 01008080 090400000108060000 07058103400010", ERR_UNSUPPORTED, 0, 0,
     0, 0, 0, false},
    {"bulk OUT alone", "0902190001 01008080 09040000010a000000 07050102000200", ERR_UNSUPPORTED, 0,
     0, 0, 0, 0, false},
    {"alternate setting only",
     "0902200001 01008080 09040001020a000000 07058102000200 07050102000200", ERR_UNSUPPORTED, 0, 0,
     0, 0, 0, false},
    {"packet size 0", "0902200001 01008080 09040000020a000000 07058102000000 07050102000200",
     ERR_UNSUPPORTED, 0, 0, 0, 0, 0, false},
    {"length 0 in the middle", "0902200001 01008080 0000", ERR_UNSUPPORTED, 0, 0, 0, 0, 0, false},
    {"cut inside an endpoint", "0902200001 01008080 09040000020a000000 07058102000200 070501",
     ERR_UNSUPPORTED, 0, 0, 0, 0, 0, false},
    {"empty", "", ERR_UNSUPPORTED, 0, 0, 0, 0, 0, false},
};

static void picks(void **state)
{
    const struct row *row = ROW(state);
    uint8_t wire[256];
    struct usb_identity id = {0};
    ptrdiff_t len = hex_decode(row->wire, wire, sizeof(wire));
    assert_true(len >= 0);
    assert_int_equal(descriptor_pick(span_of(wire, (size_t)len), &id, NULL), row->want);
    if (row->want < 0)
        return;
    assert_int_equal(id.interface, row->interface);
    assert_int_equal(id.ep_in, row->ep_in);
    assert_int_equal(id.ep_out, row->ep_out);
    assert_int_equal(id.comm_interface, row->comm);
    assert_int_equal(id.packet_in, row->packet);
    assert_int_equal(id.fastboot, row->fastboot);
}

static void heads_and_strings(void **state)
{
    (void)state;
    uint8_t raw[32];
    struct descriptor_device device;
    uint8_t value = 0;
    uint16_t total = 0;
    char text[8];
    ptrdiff_t n = hex_decode("12011002020000408d0e0020000101020001", raw, sizeof(raw));
    assert_int_equal(descriptor_device_decode(span_of(raw, (size_t)n), &device, NULL), 0);
    assert_int_equal(device.pid, 0x2000);
    assert_int_equal(descriptor_device_decode(span_of(raw, 17), &device, NULL), ERR_PROTOCOL);
    hex_decode("090243000201 03c0fa", raw, sizeof(raw));
    assert_int_equal(descriptor_config_head(span_of(raw, 9), &value, &total, NULL), 0);
    assert_int_equal(total, 67);
    raw[3] = 0xff;
    assert_int_equal(descriptor_config_head(span_of(raw, 9), &value, &total, NULL), ERR_PROTOCOL);
    hex_decode("0a03410042000a004300", raw, sizeof(raw));
    descriptor_string(span_of(raw, 10), text, sizeof(text));
    assert_string_equal(text, "AB?C");
    descriptor_string(span_of(raw, 5), text, sizeof(text)); /* cut inside a character */
    assert_string_equal(text, "A");
    raw[1] = 2;
    descriptor_string(span_of(raw, 10), text, sizeof(text));
    assert_string_equal(text, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(heads_and_strings)};
    return RUN_ROWS(picks, rows) + cmocka_run_group_tests(tests, NULL, NULL);
}
