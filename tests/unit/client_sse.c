/* Rows for the reader of event streams: every text is read whole and byte by byte, with the same events. */
#include "tests/unit/rows.h"

#include <stdio.h>

#include "server/cli/sse_reader.h"
#include "usb/base/mem.h"

static const struct row {
    const char *name, *text;
    const char *want; /* "id|type|data;" an event */
    const char *last_id;
} rows[] = {
    {"one event", "id: 7\nevent: job\ndata: {}\n\n", "7|job|{};", "7"},
    {"no type, no id", "data: x\n\n", "|message|x;", ""},
    {"carriage returns", "id: 1\r\ndata: a\r\rdata: b\r\n\r\n", "1|message|a;|message|b;", "1"},
    {"lines of data", "data: a\ndata:b\ndata:  c\n\n", "|message|a\nb\n c;", ""},
    {"comments and retry", ": still here\nretry: 5\ndata: x\n\n", "|message|x;", ""},
    {"id without data counts", "id: 9\n\n", "", "9"},
    {"id lasts", "id: 3\ndata: x\n\ndata: y\n\n", "3|message|x;|message|y;", "3"},
    {"type does not last", "event: a\ndata: x\n\ndata: y\n\n", "|a|x;|message|y;", ""},
    {"unfinished event is none", "id: 4\ndata: x\n", "", ""},
    {"field without colon", "data\nevent\ndata: x\n\n", "|message|x;", ""},
    {"unknown field", "colour: red\ndata: x\n\n", "|message|x;", ""},
    {"id that is too long is dropped", "id: 123456789012345678901234567890\ndata: x\n\n",
     "|message|x;", ""},
    {"blank lines", "\n\n\ndata: x\n\n\n", "|message|x;", ""},
};

static void note(void *arg, const char *id, const char *type, const char *data)
{
    char *said = arg;
    size_t len = strlen(said);
    snprintf(said + len, 256 - len, "%s|%s|%s;", id, type, data);
}

static void read_in_pieces(const struct row *row, size_t piece)
{
    char said[256] = "";
    struct err err;
    AUTO(sse_reader_deinit) struct sse_reader r;
    sse_reader_init(&r);
    struct span text = span_of(row->text, strlen(row->text));
    for (size_t at = 0; at < text.len; at += piece)
        assert_int_equal(sse_reader_feed(&r, span_sub(text, at, piece), note, said, &err), 0);
    assert_string_equal(said, row->want);
    assert_string_equal(r.last_id, row->last_id);
}

static void reads(void **state)
{
    const struct row *row = ROW(state);
    for (size_t piece = 1; piece <= strlen(row->text); piece++)
        read_in_pieces(row, piece);
}

static void restart_forgets_the_half_event(void **state)
{
    (void)state;
    char said[256] = "";
    AUTO(sse_reader_deinit) struct sse_reader r;
    sse_reader_init(&r);
    const char *half = "id: 1\ndata: a\n\nid: 2\ndata: b\nda";
    assert_int_equal(sse_reader_feed(&r, span_of(half, strlen(half)), note, said, NULL), 0);
    assert_string_equal(r.last_id, "1");
    sse_reader_restart(&r);
    assert_int_equal(sse_reader_feed(&r, span_of("data: c\n\n", 9), note, said, NULL), 0);
    assert_string_equal(said, "1|message|a;|message|c;");
}

static void endless_is_refused(void **state)
{
    (void)state;
    char said[256] = "", line[1001];
    struct err err;
    AUTO(sse_reader_deinit) struct sse_reader r;
    sse_reader_init(&r);
    memset(line, 'x', sizeof(line));
    memcpy(line, "data: ", 6);
    line[1000] = '\n';
    int rc = 0;
    for (int i = 0; i < 1100 && rc == 0; i++)
        rc = sse_reader_feed(&r, span_of(line, sizeof(line)), note, said, &err);
    assert_int_equal(rc, ERR_LIMIT);
    assert_string_equal(said, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(restart_forgets_the_half_event),
        cmocka_unit_test(endless_is_refused),
    };
    return RUN_ROWS(reads, rows) + cmocka_run_group_tests(tests, NULL, NULL);
}
