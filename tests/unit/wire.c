/* usb/wire: strict decoding, descriptors, end of file. */
#include "tests/unit/rows.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "usb/wire/wire.h"

struct row {
    const char *name, *text;
    int want;
};

static const struct row rows[] = {
    {"a good message", "{\"type\":\"beat\",\"job_id\":7}", 0},
    {"not JSON", "{\"type\":", ERR_PROTOCOL},
    {"not an object", "[1]", ERR_PROTOCOL},
    {"unknown type", "{\"type\":\"erase_all\",\"job_id\":7}", ERR_PROTOCOL},
    {"missing field", "{\"type\":\"beat\"}", ERR_PROTOCOL},
    {"unknown field", "{\"type\":\"beat\",\"job_id\":7,\"x\":1}", ERR_PROTOCOL},
    {"wrong kind", "{\"type\":\"beat\",\"job_id\":\"7\"}", ERR_PROTOCOL},
    {"twice the same field", "{\"type\":\"beat\",\"job_id\":7,\"job_id\":8}", ERR_PROTOCOL},
    {"object field", "{\"type\":\"facts\",\"job_id\":1,\"facts\":{\"slot\":\"a\"}}", 0},
    {"object field of another kind", "{\"type\":\"facts\",\"job_id\":1,\"facts\":3}", ERR_PROTOCOL},
    {"text too long",
     "{\"type\":\"rack\",\"address\":"
     "\"0123456789012345678901234567890123456789012345678901234567890"
     "12345678901234567890123456789012345678901234567890123456789012345678901234567890\"}",
     ERR_PROTOCOL},
};

static void decode_row(void **state)
{
    const struct row *row = ROW(state);
    struct wire_message m = {.fd = -1};
    struct err err = {0};
    assert_int_equal(wire_decode(row->text, strlen(row->text), &m, &err), row->want);
    wire_message_deinit(&m);
}

static void descriptor_travels(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(wire_pair(ends, NULL), 0);
    int file = open("/dev/null", O_RDONLY | O_CLOEXEC);
    struct wire_message out = {.type = WIRE_file, .fd = file};
    WIRE_TEXT(out.u.file.name, "firmware/lk.img");
    assert_int_equal(wire_send(ends[0], &out, 0, NULL), 0);
    close(file);
    struct wire_message in = {.fd = -1};
    assert_int_equal(wire_recv(ends[1], &in, 0, NULL), 1);
    assert_int_equal(in.type, WIRE_file);
    assert_string_equal(in.u.file.name, "firmware/lk.img");
    assert_true(in.fd >= 0);
    wire_message_deinit(&in);

    assert_int_equal(wire_recv(ends[1], &in, MSG_DONTWAIT, NULL), ERR_TIMEOUT);
    out.fd = -1; /* a message that must carry a descriptor comes without one */
    assert_int_equal(wire_send(ends[0], &out, 0, NULL), 0);
    assert_int_equal(wire_recv(ends[1], &in, 0, NULL), ERR_PROTOCOL);
    close(ends[0]);
    assert_int_equal(wire_recv(ends[1], &in, 0, NULL), 0);
    close(ends[1]);
}

static void every_message_round_trips(void **state)
{
    (void)state;
    for (int type = WIRE_hello; type <= WIRE_seen; type++) {
        struct wire_message out = {.type = (enum wire_type)type, .fd = -1}, in = {.fd = -1};
        json_t *body = wire_encode(&out);
        char *text = json_dumps(body, JSON_COMPACT);
        assert_int_equal(wire_decode(text, strlen(text), &in, NULL), 0);
        assert_int_equal(in.type, type);
        wire_message_deinit(&in);
        free(text);
        json_decref(body);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(descriptor_travels),
        cmocka_unit_test(every_message_round_trips),
    };
    int failed = RUN_ROWS(decode_row, rows);
    return failed + cmocka_run_group_tests(tests, NULL, NULL);
}
