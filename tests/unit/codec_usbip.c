/* Rows for usb/codec/usbip. */
#include "tests/unit/rows.h"

#include "usb/base/hash.h"
#include "usb/codec/usbip.h"

#define Z8 "0000000000000000"

static const struct urb_row {
    const char *name, *wire;
    int want;
    struct usbip_urb msg;
} urb_rows[] = {
    {"submit IN",
     "00000001 0000000d 00010002 00000001 00000001 00000200 00010000 00000000 00000000 00000000" Z8,
     0,
     {.command = USBIP_CMD_SUBMIT,
      .seqnum = 13,
      .devid = 0x10002,
      .direction = USBIP_IN,
      .ep = 1,
      .flags = USBIP_FLAG_DIR_IN,
      .length_bytes = 65536}},
    {"submit control",
     "00000001 00000001 00010002 00000001 00000000 00000200 00000012 00000000 00000000 00000000"
     "8006000100001200",
     0,
     {.command = USBIP_CMD_SUBMIT,
      .seqnum = 1,
      .devid = 0x10002,
      .direction = USBIP_IN,
      .flags = USBIP_FLAG_DIR_IN,
      .length_bytes = 18,
      .setup = {0x80, 6, 0, 1, 0, 0, 18, 0}}},
    {"answer, stall",
     "00000003 00000001 00000000 00000000 00000000 ffffffe0 00000000 00000000 00000000 00000000" Z8,
     0,
     {.command = USBIP_RET_SUBMIT, .seqnum = 1, .status = USBIP_EPIPE}},
    {"unlink",
     "00000002 00000009 00010002 00000000 00000000 00000007 00000000 00000000 00000000 00000000" Z8,
     0,
     {.command = USBIP_CMD_UNLINK, .seqnum = 9, .devid = 0x10002, .unlink = 7}},
    {"unlinked",
     "00000004 00000009 00000000 00000000 00000000 ffffff98 00000000 00000000 00000000 00000000" Z8,
     0,
     {.command = USBIP_RET_UNLINK, .seqnum = 9, .status = USBIP_ECONNRESET}},
    {"unknown message",
     "00000005 00000009 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000" Z8,
     ERR_PROTOCOL,
     {0}},
    {"negative length",
     "00000003 00000001 00000000 00000000 00000000 00000000 ffffffff 00000000 00000000 00000000" Z8,
     ERR_PROTOCOL,
     {0}},
    {"absurd length",
     "00000003 00000001 00000000 00000000 00000000 00000000 7fffffff 00000000 00000000 00000000" Z8,
     ERR_PROTOCOL,
     {0}},
    {"positive status",
     "00000003 00000001 00000000 00000000 00000000 00000001 00000000 00000000 00000000 00000000" Z8,
     ERR_PROTOCOL,
     {0}},
    {"endpoint 16",
     "00000001 0000000d 00010002 00000001 00000010 00000200 00010000 00000000 00000000 00000000" Z8,
     ERR_PROTOCOL,
     {0}},
    {"cut short", "00000003 00000001", ERR_PROTOCOL, {0}},
};

static void urbs(void **state)
{
    const struct urb_row *row = ROW(state);
    uint8_t wire[64];
    ptrdiff_t len = hex_decode(row->wire, wire, sizeof(wire));
    struct usbip_urb msg = {0};
    assert_int_equal(usbip_urb_decode(span_of(wire, (size_t)len), &msg, NULL), row->want);
    if (row->want < 0)
        return;
    assert_memory_equal(&msg, &row->msg, sizeof(msg));
    struct buf out;
    buf_init(&out, 64);
    usbip_urb_encode(&msg, &out);
    assert_int_equal(out.len, USBIP_URB_BYTES);
    assert_memory_equal(out.data, wire, out.len);
    buf_deinit(&out);
}

static void answers_may_carry_any_endpoint(void **state)
{
    (void)state;
    uint8_t raw[USBIP_URB_BYTES];
    struct usbip_urb msg = {.command = USBIP_RET_SUBMIT, .seqnum = 3, .direction = 7, .ep = 99};
    usbip_urb_store(&msg, raw);
    assert_int_equal(usbip_urb_decode(span_of(raw, sizeof(raw)), &msg, NULL), 0);
}

static void device_records(void **state)
{
    (void)state;
    struct usbip_device in = {
        .path = "/sys/x", .busid = "1-3", .busnum = 1, .devnum = 4, .speed = 3};
    in.vid = 0x0e8d;
    in.pid = 0x2000;
    in.bcd_device = 0x0100;
    in.device_class = 2;
    in.configuration_count = 1;
    in.interface_count = 2;
    struct usbip_device out;
    struct buf raw;
    buf_init(&raw, 1024);
    usbip_device_encode(&in, &raw);
    assert_int_equal(raw.len, USBIP_DEVICE_BYTES);
    assert_int_equal(raw.data[0x12c], 0x0e); /* offsets of the record */
    assert_int_equal(raw.data[0x137], 2);
    assert_int_equal(usbip_device_decode(buf_span(&raw), &out, NULL), 0);
    assert_memory_equal(&in, &out, sizeof(in));
    assert_int_equal(usbip_devid(&out), 0x10004);
    raw.data[0x101] = '\n'; /* text ends at what is not printable */
    assert_int_equal(usbip_device_decode(buf_span(&raw), &out, NULL), 0);
    assert_string_equal(out.busid, "1");
    raw.data[0x100] = 0;
    assert_int_equal(usbip_device_decode(buf_span(&raw), &out, NULL), ERR_PROTOCOL);
    assert_int_equal(usbip_device_decode(span_of(raw.data, 311), &out, NULL), ERR_PROTOCOL);
    memset(raw.data, 'a', raw.len); /* texts without an end */
    assert_int_equal(usbip_device_decode(buf_span(&raw), &out, NULL), 0);
    assert_int_equal(strlen(out.busid), USBIP_BUSID_BYTES - 1);
    buf_deinit(&raw);
}

static void handshake_heads(void **state)
{
    (void)state;
    struct usbip_op_head head = {USBIP_OP_REP_IMPORT, USBIP_ST_NODEV}, back;
    struct usbip_interface face = {0xff, 0x42, 0x03}, face_back;
    char busid[USBIP_BUSID_BYTES];
    struct buf raw;
    buf_init(&raw, 64);
    usbip_op_encode(&head, &raw);
    assert_int_equal(usbip_op_decode(buf_span(&raw), &back, NULL), 0);
    assert_int_equal(back.status, USBIP_ST_NODEV);
    assert_string_equal(usbip_op_status_text(back.status), "no such device");
    assert_string_equal(usbip_op_status_text(99), "unknown status");
    raw.data[0] = 2;
    assert_int_equal(usbip_op_decode(buf_span(&raw), &back, NULL), ERR_PROTOCOL);
    assert_int_equal(usbip_op_decode(span_of(raw.data, 7), &back, NULL), ERR_PROTOCOL);
    buf_clear(&raw);
    usbip_interface_encode(&face, &raw);
    assert_int_equal(usbip_interface_decode(buf_span(&raw), &face_back, NULL), 0);
    assert_int_equal(face_back.subclass, 0x42);
    buf_clear(&raw);
    usbip_busid_encode("1-3", &raw);
    assert_int_equal(usbip_busid_decode(buf_span(&raw), busid, NULL), 0);
    assert_string_equal(busid, "1-3");
    assert_int_equal(usbip_busid_decode(span_of(raw.data, 31), busid, NULL), ERR_PROTOCOL);
    buf_deinit(&raw);
}

static void statuses_have_classes(void **state)
{
    (void)state;
    assert_int_equal(usbip_status_err(USBIP_EPIPE, "x", NULL), ERR_REFUSED);
    assert_int_equal(usbip_status_err(USBIP_ESHUTDOWN, "x", NULL), ERR_GONE);
    assert_int_equal(usbip_status_err(USBIP_EPROTO, "x", NULL), ERR_IO);
    assert_int_equal(usbip_status_err(USBIP_ECONNRESET, "x", NULL), ERR_IO); /* never success */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_may_carry_any_endpoint),
        cmocka_unit_test(device_records),
        cmocka_unit_test(handshake_heads),
        cmocka_unit_test(statuses_have_classes),
    };
    return RUN_ROWS(urbs, urb_rows) + cmocka_run_group_tests(tests, NULL, NULL);
}
