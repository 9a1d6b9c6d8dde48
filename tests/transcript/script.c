#include "tests/transcript/script.h"

#include <stdio.h>

#include "usb/base/mem.h"

#define PIECE_BYTES  0xfc00
#define PACKET_BYTES 512

static struct script *self(struct transport *t)
{
    return (struct script *)(void *)t;
}

static const struct transcript_line *next(const struct script *s)
{
    return s->line < s->transcript->line_count ? &s->transcript->lines[s->line] : NULL;
}

static int broke(struct script *s, struct err *err, const char *what, size_t len)
{
    const struct transcript_line *line = next(s);
    if (!s->broke[0])
        snprintf(s->broke, sizeof(s->broke), "%s (%zu bytes) at line %d", what, len,
                 line ? line->number : -1);
    return err_set(err, ERR_IO, "%s", s->broke);
}

/* End of the transfer that byte `at` of the field lies in. */
static size_t transfer_end(const struct script *s, const struct transcript_line *line)
{
    if (s->model == SCRIPT_FIELD)
        return line->len;
    if (line->len <= 12)
        return s->model == SCRIPT_BUFFERED ? s->at + 1 : line->len;
    return MIN_OF(s->at - s->at % PIECE_BYTES + PIECE_BYTES, line->len);
}

static ssize_t script_read(struct transport *t, void *dst, size_t len, int64_t until_ms,
                           struct err *err)
{
    (void)until_ms;
    struct script *s = self(t);
    if (s->empty_due) {
        s->empty_due = false;
        return 0;
    }
    const struct transcript_line *line = next(s);
    if (!line || line->kind != TRANSCRIPT_PHONE)
        return err_set(err, ERR_TIMEOUT, "the phone says nothing");
    size_t end = transfer_end(s, line);
    size_t n = MIN_OF(end - s->at, len);
    memcpy(dst, line->data + s->at, n);
    s->at += n;
    size_t in_piece = s->at % PIECE_BYTES ? s->at % PIECE_BYTES : PIECE_BYTES;
    if (s->at == end && s->model != SCRIPT_FIELD && line->len > 12 && in_piece % PACKET_BYTES == 0)
        s->empty_due = true;
    if (s->at == line->len) {
        s->at = 0;
        s->line++;
    }
    return (ssize_t)n;
}

/* READY noise may stay unread while the host starts its sequence. */
static void noise_keep(struct script *s)
{
    const struct transcript_line *line = next(s);
    if (line && line->kind == TRANSCRIPT_PHONE && line[1].kind == TRANSCRIPT_HOST && s->line == 0 &&
        transcript_value(s->transcript, "ready", 0)) {
        struct transcript_line noise = *line; /* comes after the first A0 instead */
        s->transcript->lines[0] = s->transcript->lines[1];
        s->transcript->lines[1] = s->transcript->lines[2];
        s->transcript->lines[2] = noise;
    }
}

static ssize_t script_write(struct transport *t, const void *src, size_t len, int64_t until_ms,
                            struct err *err)
{
    (void)until_ms;
    struct script *s = self(t);
    noise_keep(s);
    const struct transcript_line *line = next(s);
    if (!line)
        return broke(s, err, "the host goes on after the end", len);
    if (line->kind == TRANSCRIPT_PHONE || s->at)
        return broke(s, err, "the host sends before it has read everything", len);
    if (line->kind != TRANSCRIPT_HOST || line->len != len || memcmp(line->data, src, len) != 0)
        return broke(s, err, "the host sends another transfer than the transcript", len);
    s->line++;
    return (ssize_t)len;
}

static ssize_t script_control(struct transport *t, const struct usb_setup *setup, void *data,
                              int64_t until_ms, struct err *err)
{
    (void)until_ms;
    struct script *s = self(t);
    uint8_t raw[64] = {setup->request_type, setup->request};
    put_le16(raw + 2, setup->value);
    put_le16(raw + 4, setup->index);
    put_le16(raw + 6, setup->length);
    if (setup->length)
        memcpy(raw + 8, data, MIN_OF((size_t)setup->length, sizeof(raw) - 8));
    const struct transcript_line *line = next(s);
    if (!line || line->kind != TRANSCRIPT_CONTROL || line->len != 8u + setup->length ||
        memcmp(line->data, raw, line->len) != 0)
        return broke(s, err, "another control request than the transcript", setup->length);
    s->line++;
    return setup->length;
}

static void script_close(struct transport *t)
{
    (void)t;
}

void script_init(struct script *s, const struct transcript *t, enum script_model model)
{
    static const struct transport_ops ops = {
        .name = "script",
        .read = script_read,
        .write = script_write,
        .control = script_control,
        .close = script_close,
    };
    *s = (struct script){.transport = {.ops = &ops}, .transcript = t, .model = model};
}

bool script_done(struct script *s)
{
    if (!s->broke[0] && next(s))
        broke(s, NULL, "the host stops", 0);
    return !s->broke[0];
}
