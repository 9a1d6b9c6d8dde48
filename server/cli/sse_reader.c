#include "server/cli/sse_reader.h"

#include <string.h>

enum { EVENT_MAX_BYTES = 1024 * 1024 };

void sse_reader_init(struct sse_reader *r)
{
    memset(r, 0, sizeof(*r));
    buf_init(&r->line, EVENT_MAX_BYTES);
    buf_init(&r->data, EVENT_MAX_BYTES);
}

void sse_reader_deinit(struct sse_reader *r)
{
    buf_deinit(&r->line);
    buf_deinit(&r->data);
}

static void event_begin(struct sse_reader *r)
{
    buf_clear(&r->data);
    r->id[0] = r->type[0] = '\0';
}

void sse_reader_restart(struct sse_reader *r)
{
    buf_clear(&r->line);
    r->after_cr = false;
    event_begin(r);
}

/* A value that does not fit is dropped whole: half an id would resume at the wrong place. */
static void keep(char *to, size_t size, struct span value)
{
    if (value.len < size && !memchr(value.data, '\0', value.len)) {
        memcpy(to, value.data, value.len);
        to[value.len] = '\0';
    }
}

static bool named(struct span name, const char *want)
{
    return name.len == strlen(want) && memcmp(name.data, want, name.len) == 0;
}

static void field(struct sse_reader *r, struct span line)
{
    const uint8_t *colon = memchr(line.data, ':', line.len);
    size_t name_len = colon ? (size_t)(colon - line.data) : line.len;
    struct span name = span_sub(line, 0, name_len);
    struct span value = span_sub(line, name_len + (colon != NULL), line.len);
    if (value.len && value.data[0] == ' ')
        value = span_sub(value, 1, value.len);
    if (named(name, "data")) {
        if (r->data.len)
            buf_put_u8(&r->data, '\n');
        buf_put_span(&r->data, value);
    } else if (named(name, "event")) {
        keep(r->type, sizeof(r->type), value);
    } else if (named(name, "id")) {
        keep(r->id, sizeof(r->id), value);
    } /* comments have an empty name; `retry` is ours to decide */
}

static void line_end(struct sse_reader *r, sse_event_fn *fn, void *arg)
{
    if (r->line.len) {
        field(r, buf_span(&r->line));
        buf_clear(&r->line);
        return;
    }
    if (r->data.len && !r->data.over) {
        buf_put_u8(&r->data, '\0');
        if (!r->data.over)
            fn(arg, r->id, r->type[0] ? r->type : "message", (const char *)r->data.data);
    }
    if (r->id[0]) /* not before: a connection that breaks inside an event resumes in front of it */
        memcpy(r->last_id, r->id, sizeof(r->last_id));
    event_begin(r);
}

int sse_reader_feed(struct sse_reader *r, struct span text, sse_event_fn *fn, void *arg,
                    struct err *err)
{
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.data[i];
        bool second_half = c == '\n' && r->after_cr;
        r->after_cr = c == '\r';
        if (second_half)
            continue;
        if (c == '\n' || c == '\r')
            line_end(r, fn, arg);
        else
            buf_put_u8(&r->line, c);
        if (r->line.over || r->data.over)
            return err_set(err, ERR_LIMIT, "an event of more than %d bytes", EVENT_MAX_BYTES);
    }
    return 0;
}
