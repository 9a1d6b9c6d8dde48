#include "tests/transcript/transcript.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "usb/base/hash.h"
#include "usb/base/io.h"
#include "usb/base/mem.h"

#define FILE_MAX  (256u << 10)
#define BYTES_MAX (4u << 20)

int transcript_bytes(const char *text, struct buf *out, struct err *err)
{
    while (*text) {
        unsigned mul = 0, add = 0, count = 0;
        int used = 0;
        uint8_t byte;
        const char *quote = *text == '"' ? strchr(text + 1, '"') : NULL;
        if (*text == ' ') {
            text++;
        } else if (quote) {
            buf_put(out, text + 1, (size_t)(quote - text - 1));
            text = quote + 1;
        } else if (sscanf(text, "[linear %u %u %u]%n", &mul, &add, &count, &used) == 3 && used) {
            uint8_t *at = buf_grow(out, count);
            for (unsigned i = 0; at && i < count; i++)
                at[i] = (uint8_t)(mul * i + add);
            text += used;
        } else {
            char pair[3] = {text[0], text[1], 0};
            if (hex_decode(pair, &byte, 1) != 1)
                return err_set(err, ERR_FORMAT,
                               "'%.20s' is neither hex nor \"text\" nor [linear ...]", text);
            buf_put_u8(out, byte);
            text += 2;
        }
    }
    return buf_check(out, err);
}

int transcript_place(const char *value, char area[16], uint64_t *address_out, struct buf *bytes_out,
                     struct err *err)
{
    unsigned long long address = 0;
    int used = 0;
    if (sscanf(value, "%15s %llx %n", area, &address, &used) != 2 || !used)
        return err_set(err, ERR_FORMAT, "'%s' is no place", value);
    *address_out = address;
    return transcript_bytes(value + used, bytes_out, err);
}

static int line_add(struct transcript *t, enum transcript_kind kind, int number, const char *text,
                    bool more, struct err *err)
{
    AUTO(buf_deinit) struct buf bytes;
    buf_init(&bytes, BYTES_MAX);
    struct transcript_line *last = more && t->line_count ? &t->lines[t->line_count - 1] : NULL;
    if (more && !last)
        return err_set(err, ERR_FORMAT, "nothing to continue");
    if (last)
        buf_put(&bytes, last->data, last->len);
    int rc = transcript_bytes(text, &bytes, err);
    if (rc < 0)
        return rc;
    if (!last) {
        t->lines = reallocarray(t->lines, t->line_count + 1, sizeof(*t->lines));
        if (!t->lines)
            abort();
        last = &t->lines[t->line_count++];
        *last = (struct transcript_line){.kind = kind, .number = number};
    }
    free(last->data);
    last->len = bytes.len;
    last->data = STEAL(bytes.data);
    return 0;
}

static int head_add(struct transcript *t, const char *text, struct err *err)
{
    const char *blank = strchr(text, ' ');
    if (t->line_count || !blank)
        return err_set(err, ERR_FORMAT, "head '%s' has no value or stands too late", text);
    t->heads = reallocarray(t->heads, t->head_count + 1, sizeof(*t->heads));
    if (!t->heads)
        abort();
    t->heads[t->head_count++] =
        (struct transcript_head){xasprintf("%.*s", (int)(blank - text), text), xstrdup(blank + 1)};
    return 0;
}

static int line_read(struct transcript *t, int number, char *text, struct err *err)
{
    if (*text == '#')
        return 0;
    if (*text == '@')
        return head_add(t, text + 1, err);
    text[strcspn(text, ";")] = '\0';
    for (size_t n = strlen(text); n && text[n - 1] == ' '; n--)
        text[n - 1] = '\0';
    if (!*text)
        return 0;
    if (strncmp(text, "> ", 2) == 0)
        return line_add(t, TRANSCRIPT_HOST, number, text + 2, false, err);
    if (strncmp(text, "< ", 2) == 0)
        return line_add(t, TRANSCRIPT_PHONE, number, text + 2, false, err);
    if (strncmp(text, "C> ", 3) == 0)
        return line_add(t, TRANSCRIPT_CONTROL, number, text + 3, false, err);
    if (strncmp(text, "  ", 2) == 0)
        return line_add(t, TRANSCRIPT_HOST, number, text + 2, true, err);
    return err_set(err, ERR_FORMAT, "'%.20s'", text);
}

int transcript_load(const char *path, struct transcript **out, struct err *err)
{
    AUTO(free_ptr) char *text = NULL;
    int rc = io_slurp(AT_FDCWD, path, FILE_MAX, &text, NULL, err);
    if (rc < 0)
        return rc;
    AUTO(transcript_free) struct transcript *t = xcalloc(1, sizeof(*t));
    const char *base = strrchr(path, '/');
    t->name = xstrdup(base ? base + 1 : path);
    t->name[strcspn(t->name, ".")] = '\0';
    char *rest = text;
    for (int number = 1; rest; number++) {
        char *line = strsep(&rest, "\n");
        if (line_read(t, number, line, err) < 0)
            return err_in(err, "%s:%d", path, number);
    }
    *out = STEAL(t);
    return 0;
}

void transcript_free(struct transcript **tp)
{
    struct transcript *t = *tp;
    if (!t)
        return;
    for (size_t i = 0; i < t->line_count; i++)
        free(t->lines[i].data);
    for (size_t i = 0; i < t->head_count; i++) {
        free(t->heads[i].key);
        free(t->heads[i].value);
    }
    free(t->lines);
    free(t->heads);
    free(t->name);
    free(t);
    *tp = NULL;
}

const char *transcript_value(const struct transcript *t, const char *key, size_t n)
{
    for (size_t i = 0; i < t->head_count; i++)
        if (strcmp(t->heads[i].key, key) == 0 && n-- == 0)
            return t->heads[i].value;
    return NULL;
}

uint64_t transcript_number(const struct transcript *t, const char *key, uint64_t fallback)
{
    const char *value = transcript_value(t, key, 0);
    return value ? strtoull(value, NULL, 0) : fallback;
}
