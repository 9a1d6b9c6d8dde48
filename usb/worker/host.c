#include "usb/worker/host.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "usb/archive/chunk.h"
#include "usb/base/clock.h"
#include "usb/base/mem.h"
#include "usb/transport/usbfs.h"
#include "usb/transport/usbip.h"

enum { SLICE_MS = 1000, BEAT_MS = 1000, TICK_MS = 100, PROGRESS_MS = 200, MESSAGES_AT_ONCE = 64 };

void host_init(struct host *h)
{
    memset(h, 0, sizeof(*h));
    h->attach_fd = h->run_fd = h->spool_fd = h->folder_fd = h->record_fd = -1;
    buf_init(&h->packed, CHUNK_PACKED_MAX);
}

void host_deinit(struct host *h)
{
    for (size_t i = 0; i < h->input_count; i++)
        fd_close(&h->inputs[i].fd);
    free(h->inputs);
    for (size_t i = 0; i < HOST_QUEUE_MAX; i++)
        free(h->unsent[i]);
    fd_close(&h->attach_fd);
    fd_close(&h->run_fd);
    fd_close(&h->spool_fd);
    fd_close(&h->folder_fd);
    record_free(&h->record);
    fd_close(&h->record_fd);
    if (h->has_answer)
        json_decref(h->answer.values);
    free(h->known);
    buf_deinit(&h->packed);
}

/* What waits goes first: messages keep their order. */
static void send_waiting(struct host *h)
{
    while (h->unsent_count && !h->server_gone) {
        struct err err = {0};
        int rc = wire_send_text(WORKER_CHANNEL_FD, h->unsent[h->unsent_at], -1, MSG_DONTWAIT, &err);
        if (rc == ERR_TIMEOUT)
            return;
        h->server_gone = rc < 0;
        free_ptr(&h->unsent[h->unsent_at]);
        h->unsent_at = (h->unsent_at + 1) % HOST_QUEUE_MAX;
        h->unsent_count--;
    }
}

/* A write to a phone must not stop because the station stands still. Steps, extents and the end are in the spool
 * besides, so that a message for which there is no room at all is not lost. */
void host_send(struct host *h, const struct wire_message *m)
{
    struct err err = {0};
    send_waiting(h);
    if (h->server_gone)
        return;
    int rc = h->unsent_count ? ERR_TIMEOUT : wire_send(WORKER_CHANNEL_FD, m, MSG_DONTWAIT, &err);
    if (rc != ERR_TIMEOUT) {
        h->server_gone = rc < 0;
        return;
    }
    if (m->type == WIRE_beat || m->type == WIRE_progress || h->unsent_count == HOST_QUEUE_MAX)
        return;
    json_auto_t *body = wire_encode(m);
    h->unsent[(h->unsent_at + h->unsent_count++) % HOST_QUEUE_MAX] = json_dumps(body, JSON_COMPACT);
}

void host_flush(struct host *h, int64_t until_ms)
{
    send_waiting(h);
    while (h->unsent_count && !h->server_gone && clock_now_ms() < until_ms) {
        struct pollfd fd = {WORKER_CHANNEL_FD, POLLOUT, 0};
        (void)poll(&fd, 1, clock_left(until_ms, SLICE_MS));
        send_waiting(h);
    }
}

static void beat(struct host *h)
{
    int64_t now = clock_now_ms();
    if (now < h->beat_at_ms)
        return;
    h->beat_at_ms = now + BEAT_MS;
    host_send(h, &(struct wire_message){.type = WIRE_beat, .fd = -1, .u.beat = {h->job_id}});
}

/* ---- what comes in ------------------------------------------------------------------------------------ */

static void take_control(struct host *h, const char *verb)
{
    if (strcmp(verb, "cancel") == 0)
        h->cancelled = true;
    else if (strcmp(verb, "pause") == 0)
        h->paused = true;
    else if (strcmp(verb, "resume") == 0)
        h->paused = false;
    else if (strcmp(verb, "hold") == 0)
        h->held = true;
    else if (strcmp(verb, "go") == 0)
        h->held = false;
}

static void take_input(struct host *h, struct wire_message *m)
{
    if (h->input_count == HOST_INPUTS_MAX)
        return;
    if (h->input_count == h->input_cap) {
        h->input_cap = h->input_cap ? h->input_cap * 2 : 8;
        h->inputs = realloc(h->inputs, h->input_cap * sizeof(*h->inputs));
        if (!h->inputs)
            abort();
    }
    struct host_input *in = &h->inputs[h->input_count++];
    WIRE_TEXT(in->name, m->u.file.name);
    in->fd = STEAL_FD(m->fd);
}

static void take_record(struct host *h, struct wire_message *m)
{
    const struct wire_record *r = &m->u.record;
    if (h->record || r->max_bytes <= 0 || r->keep_bytes < 0 || r->keep_bytes > r->max_bytes)
        return;
    h->record_fd = STEAL_FD(m->fd);
    h->record = record_new(h->record_fd, (uint64_t)r->max_bytes, (uint32_t)r->keep_bytes);
}

static void want(struct host *h, const char *modes);

/* Portwatch was started anew, or a person says that the phone is on another port: what was known and promised is void,
 * the want is said again. When the phone was taken on the old port in the same moment this run has the wrong one, or
 * the person is wrong: it ends before its next step, and the next run begins at the new port. */
static void take_channel(struct host *h, struct wire_message *m)
{
    bool moved = strcmp(m->u.channel.port, h->port) != 0;
    WIRE_TEXT(h->port, m->u.channel.port);
    h->server_gone |= moved && h->taken;
    if (dup3(m->fd, WORKER_DEVICE_FD, O_CLOEXEC) < 0)
        return;
    h->portwatch_gone = false;
    h->seen = (struct wire_seen){.mode = "none"};
    if (h->wanted[0]) {
        struct wire_seen again;
        WIRE_TEXT(again.mode, h->wanted);
        want(h, again.mode);
    }
}

static void on_server(struct host *h, struct wire_message *m)
{
    switch (m->type) {
    case WIRE_hello:
        if (strcmp(m->u.hello.build, wire_build_id()) != 0)
            h->server_gone = true;
        break;
    case WIRE_file:
        take_input(h, m);
        break;
    case WIRE_spool:
        h->spool_fd = STEAL_FD(m->fd);
        break;
    case WIRE_record:
        take_record(h, m);
        break;
    case WIRE_run:
        h->run = m->u.run;
        h->run_fd = STEAL_FD(m->fd);
        h->job_id = h->run.job_id;
        WIRE_TEXT(h->port, h->run.port);
        h->run_asked = true;
        break;
    case WIRE_permit:
        h->permit = m->u.permit;
        h->has_permit = true;
        break;
    case WIRE_deny:
        h->deny = m->u.deny;
        h->has_deny = true;
        break;
    case WIRE_answer:
        if (h->has_answer)
            json_decref(h->answer.values);
        h->answer = m->u.answer;
        json_incref(h->answer.values);
        h->has_answer = true;
        break;
    case WIRE_channel:
        take_channel(h, m);
        break;
    case WIRE_control:
        take_control(h, m->u.control.verb);
        break;
    default:
        h->server_gone = true; /* not the station we know */
    }
}

static void on_portwatch(struct host *h, struct wire_message *m)
{
    if (m->type == WIRE_attach) {
        fd_close(&h->attach_fd);
        h->attach = m->u.attach;
        h->attach_fd = STEAL_FD(m->fd);
        h->has_attach = true;
        h->seen_none = false;
    } else if (m->type == WIRE_seen) {
        h->seen = m->u.seen;
        h->seen_none |= strcmp(h->seen.mode, "none") == 0 ||
                        (h->attach.devid && h->seen.devid && h->seen.devid != h->attach.devid);
    } else {
        h->portwatch_gone = true;
    }
}

static void drain(struct host *h, int fd, bool *gone,
                  void (*take)(struct host *, struct wire_message *))
{
    for (int i = 0; i < MESSAGES_AT_ONCE && !*gone; i++) {
        struct wire_message m = {.fd = -1};
        struct err err = {0};
        int rc = wire_recv(fd, &m, MSG_DONTWAIT, &err);
        if (rc == ERR_TIMEOUT)
            return;
        if (rc > 0)
            take(h, &m);
        else
            *gone = true;
        wire_message_deinit(&m);
    }
}

void host_pump(struct host *h, int64_t until_ms)
{
    send_waiting(h);
    beat(h);
    struct pollfd fds[] = {{h->server_gone ? -1 : WORKER_CHANNEL_FD, POLLIN, 0},
                           {h->portwatch_gone ? -1 : WORKER_DEVICE_FD, POLLIN, 0}};
    if (poll(fds, 2, clock_left(until_ms, SLICE_MS)) <= 0)
        return;
    if (fds[0].revents)
        drain(h, WORKER_CHANNEL_FD, &h->server_gone, on_server);
    if (fds[1].revents)
        drain(h, WORKER_DEVICE_FD, &h->portwatch_gone, on_portwatch);
}

void host_tick(void *host)
{
    struct host *h = host;
    int64_t now = clock_now_ms();
    if (now < h->look_at_ms)
        return;
    h->look_at_ms = now + TICK_MS;
    host_pump(h, 0);
}

/* Why a wait must end before its time; 0: go on. */
static int interrupted(const struct host *h, struct err *err)
{
    if (h->cancelled)
        return err_set(err, ERR_CANCELLED, "cancelled by a person");
    if (h->server_gone)
        return err_set(err, ERR_CANCELLED, "the station ended; this step's result is in the spool");
    return 0;
}

/* ---- what the session asks ------------------------------------------------------------------------------ */

static void host_step(void *arg, const char *title, const char *state, int attempt,
                      const char *text)
{
    struct host *h = arg;
    struct wire_message m = {.type = WIRE_step, .fd = -1};
    if (h->record && strcmp(state, "running") == 0)
        record_comment(h->record, title);
    m.u.step.job_id = h->job_id;
    m.u.step.attempt = attempt;
    WIRE_TEXT(m.u.step.step, title);
    WIRE_TEXT(m.u.step.state, state);
    WIRE_TEXT(m.u.step.text, text);
    host_send(h, &m);
}

static void host_note(void *arg, const char *step, const char *level, const char *text)
{
    struct host *h = arg;
    struct wire_message m = {.type = WIRE_note, .fd = -1};
    m.u.note.job_id = h->job_id;
    WIRE_TEXT(m.u.note.step, step);
    WIRE_TEXT(m.u.note.level, level);
    WIRE_TEXT(m.u.note.text, text);
    host_send(h, &m);
}

static void host_progress(void *arg, const char *step, uint64_t done_bytes, uint64_t total_bytes)
{
    struct host *h = arg;
    int64_t now = clock_now_ms();
    if (now < h->progress_at_ms && done_bytes > 0 && done_bytes < total_bytes)
        return;
    h->progress_at_ms = now + PROGRESS_MS;
    struct wire_message m = {.type = WIRE_progress, .fd = -1};
    m.u.progress.job_id = h->job_id;
    m.u.progress.done_bytes = (int64_t)done_bytes;
    m.u.progress.total_bytes = (int64_t)total_bytes;
    WIRE_TEXT(m.u.progress.step, step);
    host_send(h, &m);
}

static void host_prompt(void *arg, const char *step, const char *id, const char *text,
                        const char *todo, const char *answered_by)
{
    struct host *h = arg;
    struct wire_message m = {.type = WIRE_prompt, .fd = -1};
    m.u.prompt.job_id = h->job_id;
    WIRE_TEXT(m.u.prompt.step, step);
    WIRE_TEXT(m.u.prompt.prompt_id, id);
    WIRE_TEXT(m.u.prompt.text, text);
    WIRE_TEXT(m.u.prompt.todo, todo);
    WIRE_TEXT(m.u.prompt.answered_by, answered_by);
    h->held |= text[0] != '\0';
    host_send(h, &m);
}

static void host_facts(void *arg, json_t *facts)
{
    struct host *h = arg;
    struct wire_message m = {.type = WIRE_facts, .fd = -1, .u.facts = {h->job_id, facts}};
    host_send(h, &m);
    json_decref(facts);
}

static int host_journal(void *arg, bool result, const char *title, int attempt, int code,
                        const char *text, struct err *err)
{
    struct host *h = arg;
    json_t *record = json_pack("{s:s, s:i, s:I}", "step", title, "attempt", attempt, "at_ms",
                               (json_int_t)clock_utc_ms());
    if (result)
        json_object_set_new(record, "code", json_string(err_name(code)));
    if (result && text[0])
        json_object_set_new(record, "text", json_string(text));
    int rc =
        spool_append_json(&h->spool, result ? SPOOL_STEP_RESULT : SPOOL_STEP_INTENT, record, err);
    json_decref(record);
    return rc < 0 ? rc : spool_sync(&h->spool, err);
}

static int host_extent(void *arg, const char *title, const struct phone_extent *e,
                       uint64_t offset_bytes, struct err *err)
{
    struct host *h = arg;
    char hex[SHA256_HEX_BYTES];
    sha256_hex(&e->sha256, hex);
    bool hashed = e->phase == PHONE_SENT || e->phase == PHONE_VERIFIED;
    json_t *record = json_pack(
        "{s:s, s:s, s:s, s:s, s:I, s:I, s:s?, s:I}", "step", title, "kind",
        phone_kind_name(e->kind), "partition", e->partition, "phase", phone_phase_name(e->phase),
        "offset", (json_int_t)offset_bytes, "length", (json_int_t)e->length_bytes, "sha256",
        hashed && e->partition[0] ? hex : NULL, "at_ms", (json_int_t)clock_utc_ms());
    int rc = spool_append_json(&h->spool, SPOOL_EXTENT, record, err);
    json_decref(record);
    return rc < 0 ? rc : spool_sync(&h->spool, err);
}

static void want(struct host *h, const char *modes)
{
    struct wire_message m = {.type = WIRE_want, .fd = -1};
    WIRE_TEXT(m.u.want.modes, modes);
    WIRE_TEXT(h->wanted, modes);
    fd_close(&h->attach_fd); /* an answer to a want that nobody waits for any more */
    h->has_attach = false;
    if (!h->portwatch_gone && wire_send(WORKER_DEVICE_FD, &m, 0, NULL) < 0)
        h->portwatch_gone = true;
}

static int open_transport(struct host *h, struct transport **out, struct usb_identity *id_out,
                          struct err *err)
{
    int fd = STEAL_FD(h->attach_fd);
    int rc = strcmp(h->attach.kind, "usbip") == 0
                 ? transport_usbip_open(fd, (uint32_t)h->attach.devid, (int)h->attach.speed, out,
                                        id_out, err)
                 : transport_usbfs_open(fd, (int)h->attach.speed, out, id_out, err);
    if (rc < 0) {
        fd_close(&fd);
        return rc;
    }
    if (h->record)
        *out = transport_record_new(*out, id_out, h->record);
    transport_set_tick(*out, host_tick, h);
    return 0;
}

/* modes has blanks between its words */
static bool covers(const char *modes, const char *mode)
{
    size_t len = strlen(mode);
    for (const char *at = strstr(modes, mode); len && at; at = strstr(at + 1, mode))
        if ((at == modes || at[-1] == ' ') && (at[len] == ' ' || at[len] == '\0'))
            return true;
    return false;
}

static int no_device(const struct host *h, const char *modes, struct err *err)
{
    if (h->portwatch_gone)
        return err_set(err, ERR_TIMEOUT, "nobody hands over phones: portwatch does not run");
    return err_set(err, ERR_TIMEOUT, "no phone in mode %s showed up on this port", modes);
}

static int host_device(void *arg, const char *modes, int64_t until_ms, struct transport **out,
                       struct usb_identity *id_out, char *mode_out, size_t mode_size,
                       struct err *err)
{
    struct host *h = arg;
    h->taken = false;
    want(h, modes);
    for (;;) {
        int rc = interrupted(h, err);
        if (rc < 0 || (clock_now_ms() >= until_ms && !h->has_attach)) {
            want(h, "");
            return rc < 0 ? rc : no_device(h, modes, err);
        }
        if (h->has_attach && !covers(modes, h->attach.mode)) {
            want(h, modes); /* it crossed this want and answers one before it */
            continue;
        }
        if (!h->has_attach) {
            host_pump(h, until_ms); /* also while portwatch is being started anew */
            continue;
        }
        h->has_attach = false;
        h->wanted[0] = '\0';
        rc = open_transport(h, out, id_out, err);
        if (rc == 0) {
            snprintf(mode_out, mode_size, "%s", h->attach.mode);
            h->taken = true;
            return 0;
        }
        /* it went away while it was being opened, or would not be claimed: the next one counts */
        host_note(h, "", "warn", err->text);
        host_pump(h, clock_now_ms() + 50);
        want(h, modes);
    }
}

static int host_seen(void *arg, const char *modes, int64_t until_ms, char *serial_out, size_t size,
                     struct err *err)
{
    struct host *h = arg;
    h->taken = false;
    for (;;) {
        int rc = interrupted(h, err);
        if (rc < 0)
            return rc;
        /* a portwatch that was started anew says "none" of what it has not looked at yet */
        if (strcmp(modes, "none") == 0 ? h->seen_none : covers(modes, h->seen.mode)) {
            snprintf(serial_out, size, "%s", h->seen.serial);
            return 0;
        }
        if (clock_now_ms() >= until_ms)
            return err_set(err, ERR_TIMEOUT, "the phone did not show up as %s", modes);
        host_pump(h, until_ms);
    }
}

static int host_answer(void *arg, const char *prompt_id, int64_t until_ms, char *answer_out,
                       size_t size, json_t **values_out, struct err *err)
{
    struct host *h = arg;
    for (;;) {
        int rc = interrupted(h, err);
        if (rc < 0)
            return rc;
        if (h->has_answer) {
            h->has_answer = false;
            if (strcmp(h->answer.prompt_id, prompt_id) == 0) {
                snprintf(answer_out, size, "%s", h->answer.answer);
                *values_out = STEAL(h->answer.values);
                return 0;
            }
            json_decref(h->answer.values);
            h->answer.values = NULL;
        }
        if (clock_now_ms() >= until_ms)
            return err_set(err, ERR_TIMEOUT, "nobody answered");
        host_pump(h, until_ms);
    }
}

static int host_between(void *arg, bool can_wait, struct err *err)
{
    struct host *h = arg;
    host_pump(h, 0);
    bool told = false;
    struct wire_message m = {.type = WIRE_held, .fd = -1, .u.held = {.job_id = h->job_id}};
    for (;;) {
        int rc = interrupted(h, err);
        bool paused = rc == 0 && can_wait && h->paused;
        if (paused != told) {
            m.u.held.held = paused;
            host_send(h, &m);
        }
        told = paused;
        if (rc < 0 || !can_wait || (!h->paused && !h->held))
            return rc;
        host_pump(h, clock_now_ms() + SLICE_MS);
    }
}

static int host_sleep(void *arg, int64_t ms, struct err *err)
{
    struct host *h = arg;
    int64_t until = clock_in(ms);
    while (clock_now_ms() < until) {
        int rc = interrupted(h, err);
        if (rc < 0)
            return rc;
        host_pump(h, until);
    }
    return 0;
}

/* ---- spool -------------------------------------------------------------------------------------------------- */

int host_spool_begin(struct host *h, struct err *err)
{
    if (h->spool_fd < 0)
        return err_set(err, ERR_INTERNAL, "no spool file came with the job");
    return spool_writer_open(&h->spool, h->spool_fd, h->job_id, err);
}

/* Wiped partitions repeat one chunk hundreds of times; it is stored once. */
static bool chunk_known(struct host *h, const struct sha256 *digest)
{
    for (size_t i = 0; i < h->known_count; i++)
        if (sha256_equal(&h->known[i], digest))
            return true;
    if (h->known_count == h->known_cap) {
        h->known_cap = h->known_cap ? h->known_cap * 2 : 256;
        h->known = realloc(h->known, h->known_cap * sizeof(*h->known));
        if (!h->known)
            abort();
    }
    h->known[h->known_count++] = *digest;
    return false;
}

static bool all_zero(struct span raw)
{
    return raw.len && raw.data[0] == 0 && memcmp(raw.data, raw.data + 1, raw.len - 1) == 0;
}

/* Most of a wiped phone is zeros: a whole chunk of them is hashed once a process, not once a megabyte. */
static struct sha256 chunk_sha256(struct span raw)
{
    static struct sha256 zeros;
    static size_t zeros_len;
    if (!all_zero(raw))
        return sha256_of(raw);
    if (zeros_len != raw.len) {
        zeros = sha256_of(raw);
        zeros_len = raw.len;
    }
    return zeros;
}

static int host_chunk(void *arg, struct span raw, struct sha256 *sha256_out, struct err *err)
{
    struct host *h = arg;
    *sha256_out = chunk_sha256(raw);
    if (chunk_known(h, sha256_out))
        return 0;
    buf_clear(&h->packed);
    int rc = chunk_compress(raw, &h->packed, err);
    if (rc == 0)
        rc =
            spool_append_chunk(&h->spool, sha256_out, (uint32_t)raw.len, buf_span(&h->packed), err);
    return rc;
}

/* A backup that broke off begins again: what is read anew takes the place of what was read before. */
static void remember_partition(struct spool_backup *b, const struct session_image *image)
{
    size_t i = 0;
    while (i < b->partition_count && strcmp(b->partitions[i].name, image->name) != 0)
        i++;
    if (i == SPOOL_BACKUP_PARTITIONS_MAX)
        return;
    WIRE_TEXT(b->partitions[i].name, image->name);
    b->partitions[i].sha256 = image->sha256;
    b->partition_count = MAX_OF(b->partition_count, i + 1);
}

static int host_partition(void *arg, const struct session_image *image, struct err *err)
{
    struct host *h = arg;
    struct spool_partition p = {.offset_bytes = (int64_t)image->offset_bytes,
                                .size_bytes = (int64_t)image->size_bytes,
                                .sha256 = image->sha256,
                                .plausible = image->plausible > 0   ? SPOOL_PLAUSIBLE_YES
                                             : image->plausible < 0 ? SPOOL_PLAUSIBLE_NO
                                                                    : SPOOL_PLAUSIBLE_UNKNOWN,
                                .chunk_count = image->chunk_count,
                                .chunks = (struct sha256 *)(uintptr_t)image->chunks};
    WIRE_TEXT(p.name, image->name);
    WIRE_TEXT(p.area, image->area);
    WIRE_TEXT(p.reason, image->reason);
    json_t *record = spool_partition_encode(&p);
    int rc = spool_append_json(&h->spool, SPOOL_PARTITION, record, err);
    json_decref(record);
    if (rc == 0)
        remember_partition(&h->backup, image);
    return rc;
}

/* The store's words for the verdicts of usb/format/plausible.h. */
static const char *verdict_name(const char *verdict)
{
    static const char *const names[][2] = {{"usable", "usable"},
                                           {"usable_without_elabel", "no_elabel"},
                                           {"placeholder", "placeholder"},
                                           {"other_phone", "foreign"}};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(names[i][0], verdict) == 0)
            return names[i][1];
    return "lost";
}

static int host_manifest(void *arg, const char *chip_id, const char *serial, const char *verdict,
                         bool complete, struct sha256 *manifest_out, struct err *err)
{
    struct host *h = arg;
    /* each run of a job takes a backup of its own */
    snprintf(h->backup.key, sizeof(h->backup.key), h->run_number > 1 ? "pre-%d" : "pre",
             h->run_number);
    WIRE_TEXT(h->backup.chip_id, chip_id);
    WIRE_TEXT(h->backup.serial, serial);
    WIRE_TEXT(h->backup.verdict, verdict_name(verdict));
    h->backup.complete = complete;
    int rc = spool_manifest_append(&h->spool, &h->backup, manifest_out, err);
    h->backup.partition_count = 0; /* the next backup of this run begins afresh */
    /* 1 MiB, and half of that for zstd: the writes that follow need none of it */
    buf_deinit(&h->packed);
    chunk_forget();
    return rc < 0 ? rc : spool_sync(&h->spool, err);
}

static int host_permit(void *arg, const struct sha256 *manifest, const struct sha256 *plan,
                       const char *chip_id, struct session_permit *out, char failure_out[8],
                       struct err *err)
{
    struct host *h = arg;
    struct wire_message m = {.type = WIRE_backup, .fd = -1, .u.backup = {.job_id = h->job_id}};
    sha256_hex(manifest, m.u.backup.manifest_sha256);
    sha256_hex(plan, m.u.backup.plan_sha256);
    WIRE_TEXT(m.u.backup.chip_id, chip_id);
    h->has_permit = h->has_deny = false;
    host_send(h, &m);
    while (!h->has_permit && !h->has_deny) {
        int rc = interrupted(h, err);
        if (rc < 0)
            return rc;
        host_pump(h, clock_now_ms() + SLICE_MS);
    }
    if (h->has_deny) {
        snprintf(failure_out, 8, "%.7s", h->deny.failure);
        return err_set(err, err_from_name(h->deny.code), "%s", h->deny.text);
    }
    out->backup_id = h->permit.backup_id;
    snprintf(out->chip_id, sizeof(out->chip_id), "%.64s", h->permit.chip_id);
    out->service_lk[0] = strstr(h->permit.service_lk, "lk_a") != NULL;
    out->service_lk[1] = strstr(h->permit.service_lk, "lk_b") != NULL;
    if (!sha256_parse(h->permit.manifest_sha256, &out->manifest) ||
        !sha256_parse(h->permit.plan_sha256, &out->plan))
        return err_set(err, ERR_PROTOCOL, "the permit's hashes cannot be read");
    return 0;
}

struct session_host host_session(struct host *h)
{
    return (struct session_host){.arg = h,
                                 .step = host_step,
                                 .note = host_note,
                                 .progress = host_progress,
                                 .prompt = host_prompt,
                                 .facts = host_facts,
                                 .journal = host_journal,
                                 .extent = host_extent,
                                 .device = host_device,
                                 .seen = host_seen,
                                 .answer = host_answer,
                                 .between = host_between,
                                 .sleep = host_sleep,
                                 .tick = host_tick,
                                 .chunk = host_chunk,
                                 .partition = host_partition,
                                 .manifest = host_manifest,
                                 .permit = host_permit};
}
