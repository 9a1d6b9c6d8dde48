/* session.h: one run of a recipe for one phone on one port. The step engine and its actions know the phone
 * through usb/proto and everything else through `struct session_host`, which the worker implements over its
 * channels (and tests in memory). Blocking, single-threaded. */
#ifndef FLASHRACK_USB_RECIPE_SESSION_H
#define FLASHRACK_USB_RECIPE_SESSION_H

#include <jansson.h>

#include "usb/format/gpt.h"
#include "usb/plan/plan.h"
#include "usb/proto/brom_session.h"
#include "usb/proto/da.h"
#include "usb/recipe/gate.h"
#include "usb/transport/transport.h"

struct session;
struct session_image;

struct session_permit {
    int64_t backup_id;
    struct sha256 manifest, plan;
    char chip_id[65];
    bool service_lk[2]; /* slot a, b: an earlier job's service LK may lie there, whole or torn */
};

/* What a session needs of the world. Every call that waits also returns ERR_CANCELLED and ERR_GONE (the
 * station is gone: end after this step). */
struct session_host {
    void *arg;
    void (*step)(void *arg, const char *title, const char *state, int attempt, const char *text);
    void (*note)(void *arg, const char *step, const char *level, const char *text);
    void (*progress)(void *arg, const char *step, uint64_t done_bytes, uint64_t total_bytes);
    /* id NULL: nothing is asked any more. answered_by: "usb" or "person". */
    void (*prompt)(void *arg, const char *step, const char *id, const char *text, const char *todo,
                   const char *answered_by);
    void (*facts)(void *arg, json_t *facts); /* takes the reference */
    /* Intent and result of a step, durable when it returns. */
    int (*journal)(void *arg, bool result, const char *title, int attempt, int code,
                   const char *text, struct err *err);
    /* An extent before and after bytes go to the phone, durable when it returns. */
    int (*extent)(void *arg, const char *title, const struct phone_extent *extent,
                  uint64_t offset_bytes, struct err *err);
    /* The next device in one of these modes ("brom preloader"); ERR_TIMEOUT at until_ms. The transport is the
     * session's, with the tick of the host set. */
    int (*device)(void *arg, const char *modes, int64_t until_ms, struct transport **out,
                  struct usb_identity *id_out, char *mode_out, size_t mode_size, struct err *err);
    /* Waits until the port shows one of these modes; no descriptor. "none": until nothing was there, since
     * the last device was handed over, even if something is there again. */
    int (*seen)(void *arg, const char *modes, int64_t until_ms, char *serial_out, size_t size,
                struct err *err);
    /* A person's answer to the prompt: ok, retry, abort; values may be NULL, the caller's reference. */
    int (*answer)(void *arg, const char *prompt_id, int64_t until_ms, char *answer_out, size_t size,
                  json_t **values_out, struct err *err);
    /* Between steps: ERR_CANCELLED, ERR_GONE; blocks while paused. can_wait false: the phone goes away when nobody
     * speaks to it, so it does not block now. */
    int (*between)(void *arg, bool can_wait, struct err *err);
    int (*sleep)(void *arg, int64_t ms, struct err *err);
    void (*tick)(void *arg); /* during long work without the phone: heartbeat */
    /* Spool. chunk: at most 1 MiB raw. */
    int (*chunk)(void *arg, struct span raw, struct sha256 *sha256_out, struct err *err);
    int (*partition)(void *arg, const struct session_image *image, struct err *err);
    int (*manifest)(void *arg, const char *chip_id, const char *serial, const char *verdict,
                    bool complete, struct sha256 *manifest_out, struct err *err);
    /* Syncs the spool, asks the station, waits for its permit or refusal (then *failure_out says which). */
    int (*permit)(void *arg, const struct sha256 *manifest, const struct sha256 *plan,
                  const char *chip_id, struct session_permit *out, char failure_out[8],
                  struct err *err);
};

/* An image that was read from the phone into the spool. */
struct session_image {
    const char *name, *area; /* area: USER BOOT1 BOOT2 */
    uint64_t offset_bytes, size_bytes;
    struct sha256 sha256;
    const struct sha256 *chunks;
    size_t chunk_count;
    int plausible; /* -1 no, 0 unknown, 1 yes */
    const char *reason;
};

struct session_input { /* a descriptor by name, owned by the worker */
    const char *name;
    int fd;
};

struct session_config {
    const struct plan *plan;
    struct sha256 plan_sha256;
    const struct session_input *inputs;
    size_t input_count;
    struct session_host host;
};

struct session_outcome {
    char failure[8]; /* id of schema/failures.json, or empty */
    json_t *result;  /* object: chip_id, slot, writes[], verified[], accepted, phone_state; the caller's */
};

/* Runs the recipe to its end. 0, or ERR_* with the sentence; *out is filled in both cases. */
int session_run(const struct session_config *config, struct session_outcome *out, struct err *err);

#endif
