#include "usb/wire/wire.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "usb/base/hash.h"
#include "usb/base/mem.h"

/* Every message is a table of fields, so that encoder, decoder and schema test walk the same list. */
enum kind { KIND_INT, KIND_TEXT, KIND_OBJECT };
struct field {
    const char *name;
    enum kind kind;
    size_t offset, size;
};

#define INT(m, f)                                                                                  \
    {                                                                                              \
#f, KIND_INT, offsetof(struct wire_##m, f), 0                                              \
    }
#define TEXT(m, f)                                                                                 \
    {                                                                                              \
#f, KIND_TEXT, offsetof(struct wire_##m, f), sizeof(((struct wire_##m *)0)->f)             \
    }
#define OBJECT(m, f)                                                                               \
    {                                                                                              \
#f, KIND_OBJECT, offsetof(struct wire_##m, f), 0                                           \
    }
#define FIELDS(m, ...) static const struct field fields_##m[] = {__VA_ARGS__, {0}};

FIELDS(hello, TEXT(hello, build), TEXT(hello, role), INT(hello, pid))
FIELDS(file, TEXT(file, name))
FIELDS(spool, INT(spool, job_id))
FIELDS(record, INT(record, max_bytes), INT(record, keep_bytes))
FIELDS(run, INT(run, job_id), TEXT(run, kind), TEXT(run, port))
FIELDS(permit, INT(permit, backup_id), TEXT(permit, manifest_sha256), TEXT(permit, plan_sha256),
       TEXT(permit, chip_id), TEXT(permit, service_lk))
FIELDS(deny, TEXT(deny, code), TEXT(deny, failure), TEXT(deny, text))
FIELDS(answer, TEXT(answer, prompt_id), TEXT(answer, answer), OBJECT(answer, values))
FIELDS(control, TEXT(control, verb))
FIELDS(channel, INT(channel, job_id), TEXT(channel, port))
FIELDS(beat, INT(beat, job_id))
FIELDS(held, INT(held, job_id), INT(held, held))
FIELDS(step, INT(step, job_id), TEXT(step, step), TEXT(step, state), INT(step, attempt),
       TEXT(step, text))
FIELDS(note, INT(note, job_id), TEXT(note, step), TEXT(note, level), TEXT(note, text))
FIELDS(progress, INT(progress, job_id), TEXT(progress, step), INT(progress, done_bytes),
       INT(progress, total_bytes))
FIELDS(prompt, INT(prompt, job_id), TEXT(prompt, prompt_id), TEXT(prompt, step), TEXT(prompt, text),
       TEXT(prompt, todo), TEXT(prompt, answered_by))
FIELDS(facts, INT(facts, job_id), OBJECT(facts, facts))
FIELDS(backup, INT(backup, job_id), TEXT(backup, manifest_sha256), TEXT(backup, chip_id),
       TEXT(backup, plan_sha256))
FIELDS(done, INT(done, job_id), TEXT(done, code), TEXT(done, failure), TEXT(done, text),
       OBJECT(done, result))
FIELDS(rack, TEXT(rack, address))
FIELDS(watch, TEXT(watch, port))
FIELDS(port, TEXT(port, port), TEXT(port, mode), INT(port, vid), INT(port, pid), INT(port, speed),
       TEXT(port, serial))
FIELDS(hub, TEXT(hub, hub), TEXT(hub, parent), TEXT(hub, kind), INT(hub, speed), INT(hub, sockets),
       INT(hub, self_powered))
FIELDS(trouble, TEXT(trouble, port), TEXT(trouble, text))
FIELDS(want, TEXT(want, modes))
FIELDS(attach, TEXT(attach, port), TEXT(attach, mode), TEXT(attach, kind), INT(attach, devid),
       INT(attach, speed))
FIELDS(seen, TEXT(seen, mode), TEXT(seen, serial), INT(seen, devid))

static const struct {
    const char *name;
    int fds;
    const struct field *fields;
} messages[] = {[WIRE_NONE] = {"none", 0, NULL},
#define X(name, sender, fds) [WIRE_##name] = {#name, fds, fields_##name},
                WIRE_MESSAGES(X)
#undef X
};

/* Two builds understand each other exactly when version, message names and fields are the same; so the id
 * is made of them, and a worker of yesterday's package is refused by today's server. */
const char *wire_build_id(void)
{
    static char id[32];
    if (id[0])
        return id;
    uint32_t crc = 0;
    for (size_t i = 1; i < ARRAY_LEN(messages); i++) {
        crc = crc32_of(crc, span_of(messages[i].name, strlen(messages[i].name) + 1));
        for (const struct field *f = messages[i].fields; f->name; f++)
            crc = crc32_of(crc, span_of(f->name, strlen(f->name) + 1));
    }
    snprintf(id, sizeof(id), FLASHRACK_VERSION "-%08x", crc);
    return id;
}

const char *wire_type_name(enum wire_type type)
{
    return type < ARRAY_LEN(messages) ? messages[type].name : "unknown";
}

void wire_text(char *dst, size_t size, const char *src)
{
    snprintf(dst, size, "%s", src ? src : "");
    /* A cut in the middle of a UTF-8 sequence would make the whole message undecodable. */
    size_t len = strlen(dst);
    if (src && len < strlen(src))
        while (len && ((unsigned char)dst[len - 1] & 0x80))
            dst[--len] = '\0';
}

int wire_pair(int fds_out[2], struct err *err)
{
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds_out) < 0)
        return err_sys(err, ERR_IO, "socketpair");
    return 0;
}

static json_t *field_value(const struct field *f, const char *at)
{
    if (f->kind == KIND_INT)
        return json_integer(*(const int64_t *)(const void *)at);
    if (f->kind == KIND_OBJECT) {
        json_t *object = *(json_t *const *)(const void *)at;
        return object ? json_incref(object) : json_null();
    }
    json_t *text = json_string(at);
    return text ? text : json_string("(text that is not UTF-8)");
}

json_t *wire_encode(const struct wire_message *m)
{
    json_t *body = json_object();
    json_object_set_new(body, "type", json_string(messages[m->type].name));
    for (const struct field *f = messages[m->type].fields; f->name; f++)
        json_object_set_new(body, f->name, field_value(f, (const char *)&m->u + f->offset));
    return body;
}

static int take_field(const struct field *f, json_t *value, char *at, struct err *err)
{
    if (f->kind == KIND_INT) {
        if (!json_is_integer(value))
            return err_set(err, ERR_PROTOCOL, "field '%s' is not a number", f->name);
        *(int64_t *)(void *)at = json_integer_value(value);
    } else if (f->kind == KIND_OBJECT) {
        if (!json_is_object(value) && !json_is_null(value))
            return err_set(err, ERR_PROTOCOL, "field '%s' is not an object", f->name);
        *(json_t **)(void *)at = json_is_object(value) ? json_incref(value) : NULL;
    } else {
        if (!json_is_string(value) || json_string_length(value) >= f->size)
            return err_set(err, ERR_PROTOCOL, "field '%s' is no text of at most %zu bytes", f->name,
                           f->size - 1);
        memcpy(at, json_string_value(value), json_string_length(value) + 1);
    }
    return 0;
}

static enum wire_type type_of(const char *name)
{
    for (size_t i = 1; name && i < ARRAY_LEN(messages); i++)
        if (strcmp(messages[i].name, name) == 0)
            return (enum wire_type)i;
    return WIRE_NONE;
}

static void json_drop(json_t **j)
{
    json_decref(*j);
}

int wire_decode(const char *text, size_t len, struct wire_message *m, struct err *err)
{
    json_error_t why;
    AUTO(json_drop) json_t *body = json_loadb(text, len, JSON_REJECT_DUPLICATES, &why);
    if (!json_is_object(body))
        return err_set(err, ERR_PROTOCOL, "message is not a JSON object: %s", why.text);
    struct wire_message out = {.fd = -1};
    out.type = type_of(json_string_value(json_object_get(body, "type")));
    if (out.type == WIRE_NONE)
        return err_set(err, ERR_PROTOCOL, "unknown message type");

    size_t count = 1;
    for (const struct field *f = messages[out.type].fields; f->name; f++, count++) {
        json_t *value = json_object_get(body, f->name);
        int rc = value ? take_field(f, value, (char *)&out.u + f->offset, err)
                       : err_set(err, ERR_PROTOCOL, "field '%s' is missing", f->name);
        if (rc < 0) {
            wire_message_deinit(&out);
            return err_in(err, "message %s", messages[out.type].name);
        }
    }
    if (json_object_size(body) != count) {
        enum wire_type type = out.type;
        wire_message_deinit(&out);
        return err_set(err, ERR_PROTOCOL, "message %s has unknown fields", messages[type].name);
    }
    *m = out;
    return 0;
}

void wire_message_deinit(struct wire_message *m)
{
    fd_close(&m->fd);
    if (m->type == WIRE_NONE || m->type >= ARRAY_LEN(messages))
        return;
    for (const struct field *f = messages[m->type].fields; f->name; f++) {
        if (f->kind != KIND_OBJECT)
            continue;
        json_t **object = (json_t **)(void *)((char *)&m->u + f->offset);
        json_decref(*object);
        *object = NULL;
    }
    m->type = WIRE_NONE;
}

int wire_send(int socket_fd, const struct wire_message *m, int flags, struct err *err)
{
    AUTO(json_drop) json_t *body = wire_encode(m);
    AUTO(free_ptr) char *text = json_dumps(body, JSON_COMPACT);
    int rc = wire_send_text(socket_fd, text, m->fd, flags, err);
    if (rc < 0)
        (void)err_in(err, "message %s", messages[m->type].name);
    return rc;
}

int wire_send_text(int socket_fd, const char *text, int fd, int flags, struct err *err)
{
    if (!text || strlen(text) > WIRE_MESSAGE_MAX_BYTES)
        return err_set(err, ERR_LIMIT, "message is too large");

    union {
        char raw[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {.raw = {0}};
    struct iovec iov = {(void *)(uintptr_t)text, strlen(text)};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    if (fd >= 0) {
        msg.msg_control = control.raw;
        msg.msg_controllen = sizeof(control.raw);
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &fd, sizeof(int));
    }
    for (;;) {
        if (sendmsg(socket_fd, &msg, flags | MSG_NOSIGNAL) >= 0)
            return 0;
        if (errno == EINTR)
            continue;
        if (errno == EAGAIN || errno == EWOULDBLOCK)
            return err_set(err, ERR_TIMEOUT, "channel is full");
        if (errno == EPIPE || errno == ECONNRESET || errno == ENOTCONN)
            return err_set(err, ERR_GONE, "the other process is gone");
        return err_sys(err, ERR_IO, "sendmsg");
    }
}

/* The first descriptor of a datagram; any further ones are closed, no message carries two. */
static int take_fds(struct msghdr *msg)
{
    int first = -1;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
            if (first < 0)
                first = fd;
            else
                close(fd);
        }
    }
    return first;
}

int wire_recv(int socket_fd, struct wire_message *m, int flags, struct err *err)
{
    AUTO(free_ptr) char *text = xcalloc(1, WIRE_MESSAGE_MAX_BYTES);
    union {
        char raw[CMSG_SPACE(4 * sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec iov = {text, WIRE_MESSAGE_MAX_BYTES};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.raw,
                         .msg_controllen = sizeof(control.raw)};
    ssize_t n;
    do
        n = recvmsg(socket_fd, &msg, flags | MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return err_set(err, ERR_TIMEOUT, "no message");
    if (n < 0 && errno != ECONNRESET)
        return err_sys(err, ERR_IO, "receive");
    if (n <= 0)
        return 0;

    AUTO(fd_close) int fd = take_fds(&msg);
    if (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC))
        return err_set(err, ERR_PROTOCOL, "message too large");
    int rc = wire_decode(text, (size_t)n, m, err);
    if (rc < 0)
        return rc;
    if ((fd >= 0) != (messages[m->type].fds == 1)) {
        enum wire_type type = m->type;
        wire_message_deinit(m);
        return err_set(err, ERR_PROTOCOL, "message %s with%s a descriptor", messages[type].name,
                       fd >= 0 ? "" : "out");
    }
    m->fd = STEAL_FD(fd);
    return 1;
}
