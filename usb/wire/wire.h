/* wire.h: what our processes say to one another. A channel is a SOCK_SEQPACKET socket: one datagram is one
 * JSON message of at most 64 KiB, some carry one descriptor. Decoding is strict: an unknown type or field, a
 * missing field or a text that is too long is ERR_PROTOCOL and costs the sender its job, not us ours.
 *
 *   flashrackd <-> worker     fd 3 of the worker        flashrackd <-> portwatch   unix socket
 *   portwatch  <-> worker     fd 4 of the worker        bodies: schema/wire/<name>.json
 */
#ifndef FLASHRACK_USB_WIRE_WIRE_H
#define FLASHRACK_USB_WIRE_WIRE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "usb/base/err.h"

enum { WIRE_MESSAGE_MAX_BYTES = 64 * 1024, WIRE_NAME_MAX = 128, WIRE_TEXT_MAX = 512 };

/* name, who sends it, descriptors it carries */
#define WIRE_MESSAGES(X)                                                                           \
    X(hello, "any", 0)         /* first message each way; another build id ends the channel */     \
    X(file, "server", 1)       /* an input, by name */                                             \
    X(spool, "server", 1)      /* append-only records: chunks, manifests, step results */          \
    X(record, "server", 1)     /* black box: every transfer of the job goes there, pcapng */       \
    X(run, "server", 1)        /* start; recipe and plan in a sealed memfd */                      \
    X(permit, "server", 0)     /* may write: what the gate compares with what it read */           \
    X(deny, "server", 0)       /* may not write, and why */                                        \
    X(answer, "server", 0)     /* a person answered a prompt */                                    \
    X(channel, "server", 1)    /* a fresh fd 4: portwatch was started anew, or the phone was moved */                      \
    X(control, "server", 0)    /* cancel, pause, resume, hold, go: acts between steps */           \
    X(beat, "worker", 0)       /* alive; also while waiting on USB */                              \
    X(held, "worker", 0)       /* paused between two steps (1), or goes on (0) */                  \
    X(step, "worker", 0)       /* a step begins, is done, failed, is skipped */                    \
    X(note, "worker", 0)       /* a log line of the job */                                         \
    X(progress, "worker", 0)   /* at most 5 a second */                                            \
    X(prompt, "worker", 0)     /* waits for a human, or no longer does */                          \
    X(facts, "worker", 0)      /* what was learned about the phone */                              \
    X(backup, "worker", 0)     /* the identity set lies in the spool, synced; asks for a permit */ \
    X(done, "worker", 0)       /* exactly one per run */                                           \
    X(rack, "server", 0)       /* to portwatch: watch this USB/IP rack */                          \
    X(watch, "server", 1)      /* to portwatch: the other end of a worker's fd 4 */                \
    X(port, "portwatch", 0)    /* to flashrackd: what is on a port now */                          \
    X(hub, "portwatch", 0)     /* to flashrackd: a controller or hub, and its sockets */           \
    X(trouble, "portwatch", 0) /* to flashrackd: a port or rack does not work, and why */          \
    X(want, "worker", 0)       /* on fd 4: hand me the next device in one of these modes */        \
    X(attach, "portwatch", 1)  /* on fd 4: answers one want */                                     \
    X(seen, "portwatch", 0)    /* on fd 4: the port changed; no descriptor */

enum wire_type {
    WIRE_NONE,
#define X(name, sender, fds) WIRE_##name,
    WIRE_MESSAGES(X)
#undef X
};

struct wire_hello {
    char build[WIRE_NAME_MAX];
    char role[WIRE_NAME_MAX]; /* server, worker, portwatch */
    int64_t pid;
};
struct wire_file {
    char name[WIRE_NAME_MAX * 2]; /* "backup/nvram", "firmware/lk.img" */
};
struct wire_spool {
    int64_t job_id;
};
struct wire_record {
    int64_t max_bytes, keep_bytes; /* of the file; of one transfer */
};
struct wire_run {
    int64_t job_id;
    char kind[WIRE_NAME_MAX]; /* job, import, firmware */
    char port[WIRE_NAME_MAX];
};
struct wire_permit {
    int64_t backup_id;
    char manifest_sha256[WIRE_NAME_MAX], plan_sha256[WIRE_NAME_MAX], chip_id[WIRE_NAME_MAX];
    char service_lk[WIRE_NAME_MAX]; /* "lk_a,lk_b": where an earlier job's service LK may lie */
};
struct wire_deny {
    char code[WIRE_NAME_MAX]; /* err_name() */
    char failure[WIRE_NAME_MAX];
    char text[WIRE_TEXT_MAX];
};
struct wire_answer {
    char prompt_id[WIRE_NAME_MAX];
    char answer[WIRE_NAME_MAX]; /* ok, retry, abort */
    json_t *values;             /* object or NULL; owned by the struct */
};
struct wire_control {
    /* cancel, pause, resume: a person wants it. hold, go: no room on the bus, room again; a worker that has shown
     * a prompt waits for go by itself, as soon as its phone can wait */
    char verb[WIRE_NAME_MAX];
};
struct wire_channel {
    int64_t job_id;
    char port[WIRE_NAME_MAX]; /* where the phone is, says the station: another one when it was moved */
};
struct wire_beat {
    int64_t job_id;
};
struct wire_held {
    int64_t job_id, held;
};
struct wire_step {
    int64_t job_id;
    char step[WIRE_NAME_MAX];
    char state[WIRE_NAME_MAX]; /* running, done, failed, skipped */
    int64_t attempt;
    char text[WIRE_TEXT_MAX];
};
struct wire_note {
    int64_t job_id;
    char step[WIRE_NAME_MAX];
    char level[WIRE_NAME_MAX]; /* debug, info, warn, error */
    char text[WIRE_TEXT_MAX];
};
struct wire_progress {
    int64_t job_id;
    char step[WIRE_NAME_MAX];
    int64_t done_bytes, total_bytes;
};
struct wire_prompt {
    int64_t job_id;
    char prompt_id[WIRE_NAME_MAX]; /* empty: nothing is asked any more */
    char step[WIRE_NAME_MAX];
    char text[WIRE_TEXT_MAX];        /* what is going on */
    char todo[WIRE_TEXT_MAX];        /* what to do, in order */
    char answered_by[WIRE_NAME_MAX]; /* usb, person */
};
struct wire_facts {
    int64_t job_id;
    json_t *facts; /* object; keys: mode chip_id serial version battery_mv slot ... */
};
struct wire_backup {
    int64_t job_id;
    char manifest_sha256[WIRE_NAME_MAX];
    char chip_id[WIRE_NAME_MAX];
    char plan_sha256[WIRE_NAME_MAX];
};
struct wire_done {
    int64_t job_id;
    char code[WIRE_NAME_MAX];    /* "ok" or err_name() */
    char failure[WIRE_NAME_MAX]; /* id of schema/failures.json, or empty */
    char text[WIRE_TEXT_MAX];
    json_t *result; /* object */
};
struct wire_rack {
    char address[WIRE_NAME_MAX]; /* HOST:PORT */
};
struct wire_watch {
    char port[WIRE_NAME_MAX];
};
struct wire_port {
    char port[WIRE_NAME_MAX];
    char mode[WIRE_NAME_MAX]; /* brom preloader da fastboot android other none */
    int64_t vid, pid, speed;
    char serial[WIRE_NAME_MAX];
};
struct wire_hub {
    char hub[WIRE_NAME_MAX];    /* its own port id; a controller: the id's part before "-usb-0:" */
    char parent[WIRE_NAME_MAX]; /* the hub it is plugged into; empty: it is a controller */
    char kind[WIRE_NAME_MAX];   /* controller full_speed single_tt multi_tt */
    int64_t speed, sockets, self_powered; /* speed as in port; sockets 0: it is gone */
};
struct wire_trouble {
    char port[WIRE_NAME_MAX];
    char text[WIRE_TEXT_MAX];
};
struct wire_want {
    char modes[WIRE_NAME_MAX]; /* "brom preloader"; empty: nothing any more */
};
struct wire_attach {
    char port[WIRE_NAME_MAX];
    char mode[WIRE_NAME_MAX];
    char kind[WIRE_NAME_MAX]; /* usbfs, usbip */
    int64_t devid, speed;     /* of usbip */
};
struct wire_seen {
    char mode[WIRE_NAME_MAX];
    char serial[WIRE_NAME_MAX];
    int64_t devid; /* of usbip, as in attach; another one: it was off the bus in between */
};

struct wire_message {
    enum wire_type type;
    int fd; /* -1 when none came along; owned until wire_message_deinit() */
    union {
#define X(name, sender, fds) struct wire_##name name;
        WIRE_MESSAGES(X)
#undef X
    } u;
};

/* Identifies what was built together; processes of another build refuse each other. */
const char *wire_build_id(void);
const char *wire_type_name(enum wire_type type);

/* Two connected ends, close-on-exec. */
int wire_pair(int fds_out[2], struct err *err);
/* Sends one message; m->fd (if >= 0) goes along and stays the caller's. Blocks; ERR_GONE when the peer is
 * gone, ERR_TIMEOUT (nothing sent) with MSG_DONTWAIT in flags when it would block. */
int wire_send(int socket_fd, const struct wire_message *m, int flags, struct err *err);
/* The same for a message that is encoded already; fd -1: none. */
int wire_send_text(int socket_fd, const char *text, int fd, int flags, struct err *err);
/* Receives one message: 1, or 0 at end of file, ERR_TIMEOUT when nothing is there (MSG_DONTWAIT). */
int wire_recv(int socket_fd, struct wire_message *m, int flags, struct err *err);
void wire_message_deinit(struct wire_message *m);

/* Encoding and decoding alone, for tests and the fuzzer. */
json_t *wire_encode(const struct wire_message *m);
int wire_decode(const char *text, size_t len, struct wire_message *m, struct err *err);

#define WIRE_SEND(socket_fd, name, flags, err, ...)                                                \
    wire_send(socket_fd,                                                                           \
              &(struct wire_message){.type = WIRE_##name, .fd = -1, .u.name = {__VA_ARGS__}},      \
              flags, err)

/* Copies text into a fixed field, cutting it at the end. */
#define WIRE_TEXT(dst, src) wire_text(dst, sizeof(dst), src)
void wire_text(char *dst, size_t size, const char *src);

#endif
