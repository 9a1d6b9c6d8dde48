/* host.h: a worker's two channels and its spool, as the step engine wants them (struct session_host). All
 * waiting happens in one place, host_pump(): it reads both channels and sends the heartbeat. */
#ifndef FLASHRACK_USB_WORKER_HOST_H
#define FLASHRACK_USB_WORKER_HOST_H

#include "usb/base/input.h"
#include "usb/recipe/session.h"
#include "usb/transport/record.h"
#include "usb/wire/spool.h"
#include "usb/wire/wire.h"

enum {
    WORKER_CHANNEL_FD = 3,
    WORKER_DEVICE_FD = 4,
    HOST_INPUTS_MAX = 520, /* FIRMWARE_FILES_MAX and some */
    HOST_QUEUE_MAX = 512,
};

struct host_input {
    char name[WIRE_NAME_MAX * 2];
    int fd;
};

struct host {
    int64_t job_id;
    char port[WIRE_NAME_MAX];
    bool server_gone, portwatch_gone, cancelled;
    bool paused; /* by a person, before the next step */
    bool held;   /* by the station: after a prompt others may have its place on the bus */
    char *unsent[HOST_QUEUE_MAX]; /* messages that a station that does not read has no room for; a ring */
    size_t unsent_at, unsent_count;
    int64_t beat_at_ms, look_at_ms, progress_at_ms;
    /* what came and waits to be taken */
    bool has_permit, has_deny, has_answer, has_attach, run_asked;
    struct wire_permit permit;
    struct wire_deny deny;
    struct wire_answer answer;
    struct wire_attach attach;
    int attach_fd;
    struct wire_seen seen;
    char wanted[WIRE_NAME_MAX]; /* modes of the want that waits for its attach; empty: none */
    bool seen_none; /* since the last device was handed over */
    bool taken;     /* the session has the device that was handed over last, and has not waited for another since */
    struct wire_run run;
    int run_fd;
    int run_number; /* of this job, from 1 */
    struct host_input *inputs; /* grows: an array for the most would be 130 KB that most workers never use */
    size_t input_count, input_cap;
    int record_fd;
    struct record *record; /* NULL: nothing is recorded */
    int spool_fd;
    int folder_fd; /* of --folder, -1: none */
    struct spool_writer spool;
    struct sha256 *known; /* chunks that lie in the spool already */
    size_t known_count, known_cap;
    struct spool_backup backup; /* being put together */
    struct buf packed;
};

void host_init(struct host *h);
void host_deinit(struct host *h);
/* Sends, never waits: what a station that does not read has no room for is sent later, heartbeat and progress not
 * at all. A station that is gone is remembered, not an error. */
void host_send(struct host *h, const struct wire_message *m);
/* Waits until all is sent or the station is gone, at most until until_ms: before the process ends. */
void host_flush(struct host *h, int64_t until_ms);
/* Reads what came and waits until something does, at most until until_ms and one second. */
void host_pump(struct host *h, int64_t until_ms);
/* The same without waiting, at most ten times a second: the tick hook of transports and long loops. */
void host_tick(void *host);
/* `inner` with a heartbeat at every read: hashing gigabytes is no silence. Takes `inner`; NULL stays NULL. */
struct input *host_input(struct host *h, struct input *inner);
/* The functions of a session, with `h` as their argument. */
struct session_host host_session(struct host *h);
int host_spool_begin(struct host *h, struct err *err);

#endif
