#include "usb/proto/fb.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include "usb/base/clock.h"
#include "usb/base/mem.h"

enum {
    QUERY_MS = 5000,
    FIRST_MS = 30000, /* the first answer after the phone appeared */
    SEND_MS = 5000,
    DOWNLOAD_MS = 10000,
    DATA_MS = 10000,
    DATA_MS_PER_MIB = 1000,
    FLASH_MS = 30000,
    FLASH_MS_PER_MIB = 2000,
    FLOOD_MAX = 10000,   /* INFO lines of one command */
    CHATTER_MS = 60000,  /* what they may add to its time, however many */
    REST_MS = 500,       /* for the text behind letters that came alone */
    EMPTY_LINES_MAX = 8, /* one after another that are passed over at once */
};
#define PIECE_BYTES (512u << 10) /* of a download: a multiple of LK's 16 KiB reads */
#define READ_BYTES  1024         /* multiple of any packet size, more than any response */

void fb_init(struct fb *fb, struct link *link)
{
    *fb = (struct fb){.link = link};
}

void fb_reply_init(struct fb_reply *reply)
{
    reply->okay[0] = '\0';
    buf_init(&reply->lines, FB_LINES_MAX);
}

void fb_reply_deinit(struct fb_reply *reply)
{
    buf_deinit(&reply->lines);
}

/* The lines as a string, "" when there are none. */
static const char *lines_text(const struct fb_reply *reply)
{
    return reply->lines.len ? (const char *)reply->lines.data : "";
}

bool fb_reply_has(const struct fb_reply *reply, const char *word)
{
    return strcasestr(reply->okay, word) || strcasestr(lines_text(reply), word);
}

bool fb_reply_value(const struct fb_reply *reply, const char *key, char out[FASTBOOT_RESPONSE_MAX])
{
    size_t key_len = strlen(key);
    for (const char *line = lines_text(reply); *line; line += strspn(line, "\n")) {
        size_t len = strcspn(line, "\n");
        if (len > key_len && strncasecmp(line, key, key_len) == 0 &&
            (line[key_len] == '=' || line[key_len] == ':')) {
            const char *value = line + key_len + 1;
            value += strspn(value, " \t");
            snprintf(out, FASTBOOT_RESPONSE_MAX, "%.*s", (int)(line + len - value), value);
            return true;
        }
        line += len;
    }
    return false;
}

/* A line behind the others, with a terminating zero that the next one overwrites. Lines past the
 * ceiling are dropped: a phone may flood. */
static void line_keep(struct fb_reply *reply, const struct fastboot_response *response)
{
    struct buf *lines = &reply->lines;
    size_t len = strlen(response->text);
    if (lines->len)
        lines->len--;
    if (lines->len + len + 2 <= lines->ceiling) {
        buf_put(lines, response->text, len);
        if (response->kind == FASTBOOT_INFO)
            buf_put_u8(lines, '\n');
    }
    buf_put_u8(lines, 0);
}

/* One transfer of at most READ_BYTES. Empty ones are skipped. */
static ssize_t transfer_read(struct fb *fb, uint8_t *dst, int64_t timeout_ms, struct err *err)
{
    int64_t until_ms = clock_in(timeout_ms);
    ssize_t n;
    do {
        n = transport_read(fb->link->transport, dst, READ_BYTES, until_ms, err);
    } while (n == 0 && clock_left(until_ms, 1));
    return n ? n : err_set(err, ERR_TIMEOUT, "only empty packets");
}

/* Are letters that came alone half of a response? Refusals, numbers of bytes and lines have a text. An OKAY has one
 * where it stands for a value; otherwise it is waited for only on a phone that was seen to do so. */
static bool is_half(const struct fb *fb, struct span letters)
{
    int kind = fastboot_response_kind(letters);
    return letters.len == FASTBOOT_KIND_BYTES && kind >= 0 &&
           (fb->splits || fb->value_due || kind != FASTBOOT_OKAY);
}

/* The rest of half a response of `*len` bytes. False: nothing more came (a phone that halts is gone by then), and it
 * is whole. Behind OKAY, FAIL and DATA the phone listens, so whatever comes belongs to it; behind a line that is empty
 * comes the next response. */
static bool rest_read(struct fb *fb, uint8_t *raw, size_t *len, int64_t timeout_ms)
{
    struct err ignored;
    int kind = fastboot_response_kind(span_of(raw, *len));
    bool line = kind == FASTBOOT_INFO || kind == FASTBOOT_TEXT;
    ssize_t n = transfer_read(fb, raw + *len, line ? timeout_ms : REST_MS, &ignored);
    if (n < 0)
        return false;
    if (line && fastboot_response_kind(span_of(raw + *len, (size_t)n)) >= 0) {
        memmove(raw, raw + *len, (size_t)n);
        *len = (size_t)n;
        return true;
    }
    *len += (size_t)n;
    fb->splits = true;
    return true;
}

/* One response: a transfer, or two. */
static int response_read(struct fb *fb, struct fastboot_response *out, int64_t timeout_ms,
                         struct err *err)
{
    uint8_t raw[FASTBOOT_KIND_BYTES + READ_BYTES];
    ssize_t n = transfer_read(fb, raw, timeout_ms, err);
    if (n < 0)
        return (int)n;
    fb->answered = true;
    size_t len = (size_t)n;
    for (int i = 0; i < EMPTY_LINES_MAX && is_half(fb, span_of(raw, len)); i++)
        if (!rest_read(fb, raw, &len, timeout_ms))
            break;
    return fastboot_response_decode(span_of(raw, len), out, err);
}

/* Silence, a stall, nonsense: the dialogue is over, but a time-out keeps its name (after `oem HALT`
 * it is what one expects). */
static int dialogue_lost(struct fb *fb, const char *what, struct err *err)
{
    fb->link->dead = true;
    if (err->code == ERR_TIMEOUT)
        return err_set(err, ERR_TIMEOUT, "%s: no answer: re-plug the phone", what);
    return link_lost(fb->link, what, err);
}

/* Responses until one that ends or continues the command. */
static int verdict_read(struct fb *fb, struct fastboot_response *out, int64_t timeout_ms,
                        struct fb_reply *reply, const char *what, struct err *err)
{
    int64_t last_ms = clock_in(timeout_ms + CHATTER_MS);
    for (int i = 0; i < FLOOD_MAX && clock_left(last_ms, 1); i++) {
        if (response_read(fb, out, timeout_ms, err) < 0)
            return dialogue_lost(fb, what, err);
        if (out->kind != FASTBOOT_INFO && out->kind != FASTBOOT_TEXT)
            return 0;
        if (reply)
            line_keep(reply, out);
    }
    err_set(err, ERR_PROTOCOL, "nothing but lines, more than %d or for too long", FLOOD_MAX);
    return dialogue_lost(fb, what, err);
}

static int verdict_take(struct fb *fb, const struct fastboot_response *response,
                        enum fastboot_kind want, struct fb_reply *reply, const char *what,
                        struct err *err)
{
    if (reply)
        snprintf(reply->okay, sizeof(reply->okay), "%s", response->text);
    if (response->kind == want)
        return 0;
    if (response->kind == FASTBOOT_FAIL) {
        int rc = fastboot_fail_err(response->text, what, err);
        fb->link->dead = fb->link->dead || rc == ERR_DEAD;
        return rc;
    }
    err_set(err, ERR_PROTOCOL, "answer '%s' of the wrong kind", response->text);
    return dialogue_lost(fb, what, err);
}

static int command_send(struct fb *fb, const struct buf *command, const char *what, struct err *err)
{
    int rc = link_check(fb->link, err);
    if (rc < 0)
        return rc;
    if (link_write(fb->link, command->data, command->len, SEND_MS, err) < 0)
        return dialogue_lost(fb, what, err);
    return 0;
}

/* Sends, and reads the answer that must be of kind `want`. */
static int exchange(struct fb *fb, const struct buf *command, enum fastboot_kind want,
                    int64_t timeout_ms, struct fb_reply *reply, struct fastboot_response *response,
                    struct err *err)
{
    char what[FASTBOOT_COMMAND_MAX + 1];
    snprintf(what, sizeof(what), "%.*s", (int)command->len, (const char *)command->data);
    if (!fb->answered)
        timeout_ms = MAX_OF(timeout_ms, (int64_t)FIRST_MS);
    fb->value_due = strncmp(what, "getvar:", strlen("getvar:")) == 0;
    int rc = command_send(fb, command, what, err);
    if (rc == 0)
        rc = verdict_read(fb, response, timeout_ms, reply, what, err);
    return rc < 0 ? rc : verdict_take(fb, response, want, reply, what, err);
}

int fb_command(struct fb *fb, const char *verb, const char *argument, int64_t timeout_ms,
               struct fb_reply *reply, struct err *err)
{
    struct err local;
    err = err ? err : &local;
    struct fastboot_response response;
    AUTO(buf_deinit) struct buf command;
    buf_init(&command, FASTBOOT_COMMAND_MAX);
    int rc = fastboot_command_encode(verb, argument, &command, err);
    if (rc < 0)
        return rc;
    return exchange(fb, &command, FASTBOOT_OKAY, timeout_ms ? timeout_ms : QUERY_MS, reply,
                    &response, err);
}

int fb_oem(struct fb *fb, const char *argument, int64_t timeout_ms, struct fb_reply *reply,
           struct err *err)
{
    return fb_command(fb, "oem", argument, timeout_ms, reply, err);
}

int fb_getvar(struct fb *fb, const char *name, char out[FASTBOOT_RESPONSE_MAX], struct err *err)
{
    struct err local;
    err = err ? err : &local;
    AUTO(fb_reply_deinit) struct fb_reply reply;
    fb_reply_init(&reply);
    int rc = fb_command(fb, "getvar", name, QUERY_MS, &reply, err);
    if (rc < 0)
        return rc;
    if (!reply.okay[0])
        return err_set(err, ERR_NOT_FOUND, "getvar:%s: empty", name);
    memcpy(out, reply.okay, sizeof(reply.okay));
    return 0;
}

int fb_partition_bytes(struct fb *fb, const char *partition, uint64_t *out, struct err *err)
{
    char name[FASTBOOT_COMMAND_MAX], value[FASTBOOT_RESPONSE_MAX];
    snprintf(name, sizeof(name), "partition-size:%.40s", partition);
    int rc = fb_getvar(fb, name, value, err);
    return rc < 0 ? rc : fastboot_hex_parse(value, out, err);
}

int fb_max_download(struct fb *fb, uint64_t *out, struct err *err)
{
    char value[FASTBOOT_RESPONSE_MAX];
    struct err local;
    err = err ? err : &local;
    if (fb->max_download_bytes == 0) {
        int rc = fb_getvar(fb, "max-download-size", value, err);
        if (rc == 0)
            rc = fastboot_number_parse(value, &fb->max_download_bytes, err);
        if (rc < 0 && fb->link->dead)
            return rc;
        if (rc < 0)
            fb->max_download_bytes = UINT32_MAX;
    }
    *out = fb->max_download_bytes;
    return 0;
}

static int limit_check(struct fb *fb, uint64_t size_bytes, struct err *err)
{
    uint64_t most;
    if (size_bytes == 0 || size_bytes > UINT32_MAX)
        return err_set(err, ERR_INPUT, "an image of %llu bytes cannot be sent",
                       (unsigned long long)size_bytes);
    int rc = fb_max_download(fb, &most, err);
    if (rc == 0 && size_bytes > most)
        return err_set(err, ERR_LIMIT, "%llu bytes, the phone takes %llu at once",
                       (unsigned long long)size_bytes, (unsigned long long)most);
    return rc;
}

/* The announced number of bytes must arrive: a source that stops leaves a phone that waits for
 * ever. */
static int data_send(struct fb *fb, uint64_t size_bytes, link_source_fn *source, void *arg,
                     struct err *err)
{
    AUTO(free_ptr) uint8_t *piece = malloc(PIECE_BYTES);
    if (!piece)
        return err_set(err, ERR_LIMIT, "no memory");
    for (uint64_t done = 0; done < size_bytes;) {
        size_t n = (size_t)MIN_OF(size_bytes - done, (uint64_t)PIECE_BYTES);
        int rc = source(arg, piece, n, err);
        if (rc < 0) {
            fb->link->dead = true;
            return rc;
        }
        if (link_write(fb->link, piece, n, DATA_MS + DATA_MS_PER_MIB, err) < 0)
            return dialogue_lost(fb, "sending data", err);
        done += n;
        link_progress(fb->link, done, size_bytes);
    }
    return 0;
}

static int64_t mib(uint64_t bytes)
{
    return (int64_t)((bytes + (1u << 20) - 1) >> 20);
}

int fb_download(struct fb *fb, uint64_t size_bytes, link_source_fn *source, void *arg,
                struct err *err)
{
    struct err local;
    err = err ? err : &local;
    struct fastboot_response response;
    AUTO(buf_deinit) struct buf command;
    buf_init(&command, FASTBOOT_COMMAND_MAX);
    int rc = limit_check(fb, size_bytes, err);
    if (rc == 0)
        rc = fastboot_download_encode((uint32_t)size_bytes, &command, err);
    if (rc == 0)
        rc = exchange(fb, &command, FASTBOOT_DATA, DOWNLOAD_MS, NULL, &response, err);
    if (rc < 0)
        return rc;
    if (response.data_bytes != size_bytes) {
        err_set(err, ERR_PROTOCOL, "the phone wants %u bytes instead of %llu", response.data_bytes,
                (unsigned long long)size_bytes);
        return dialogue_lost(fb, "download", err);
    }
    rc = data_send(fb, size_bytes, source, arg, err);
    if (rc == 0)
        rc = verdict_read(fb, &response, DATA_MS + DATA_MS_PER_MIB * mib(size_bytes), NULL,
                          "download", err);
    return rc < 0 ? rc : verdict_take(fb, &response, FASTBOOT_OKAY, NULL, "download", err);
}

int fb_flash(struct fb *fb, const char *partition, uint64_t size_bytes, link_source_fn *source,
             void *arg, struct err *err)
{
    int rc = fb_download(fb, size_bytes, source, arg, err);
    if (rc < 0)
        return rc;
    return fb_command(fb, "flash", partition, FLASH_MS + FLASH_MS_PER_MIB * mib(size_bytes), NULL,
                      err);
}
