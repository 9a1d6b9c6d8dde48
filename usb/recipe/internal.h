/* internal.h: the session as its actions see it. */
#ifndef FLASHRACK_USB_RECIPE_INTERNAL_H
#define FLASHRACK_USB_RECIPE_INTERNAL_H

#include "usb/base/hash.h"
#include "usb/proto/fb.h"
#include "usb/recipe/session.h"

struct write_state { /* what is known of one entry of the plan */
    bool written, verified;
    struct sha256 flash;   /* of the stream that was sent */
    uint64_t length_bytes; /* of that stream */
};

struct session {
    const struct session_config *config;
    const struct plan *plan;
    struct session_host host;
    struct gate *gate;
    const struct recipe_step *step; /* the one that runs */
    char title[96];
    int attempt;

    struct transport *transport; /* NULL: no device */
    struct usb_identity identity;
    char mode[16];
    struct link link;
    struct da da;
    bool da_up;
    bool broken;  /* the link to the phone broke: what sits on the port now is not to be taken again */
    bool begin_again; /* the phone came back in another mode than asked for, but nothing is broken */
    bool gave_up; /* the step's own time ran out: nobody came, trying again is no use */
    struct fb fb;

    char chip_id[65], soc_id[65];
    struct brom_info brom;
    struct gpt gpt;
    char slot;             /* active, 'a' or 'b' */
    char phone_version[24];
    bool backed_up;
    struct sha256 manifest;
    char own_serial[65];   /* in the phone's own proinfo when it came; empty: none */
    bool service_lk[2];    /* slot a, b was given the service LK */
    struct write_state writes[PLAN_WRITES_MAX];
    bool serial_on_usb;    /* Android showed the job's serial there */
    json_t *accepted;
    char failure[8];
    struct phone_facts facts; /* what was journaled of the phone, by this run and those before */
    bool surveyed;            /* a later run has read what the runs before left */
    bool nvram_whole;         /* it was when it came, or is written and verified */
    uint64_t base_bytes, step_bytes; /* progress of the step */
};

/* An action of a recipe. 0, 1 = skipped with a reason in err->text, or ERR_*. */
typedef int action_fn(struct session *s, const struct recipe_step *step, struct err *err);
enum { ACTION_SKIPPED = 1 };

action_fn action_connect, action_da_start, action_backup, action_inspect, action_survey, action_write,
    action_verify, action_leave, action_fastboot_check, action_fastboot_authorise, action_fastboot_flash,
    action_fastboot_halt, action_boot, action_accept, action_identify, action_release;

/* Sets the failure id and the error in one go. */
int fail(struct session *s, const char *failure, struct err *err, int code, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
/* The same for an error that is there already. */
int failed(struct session *s, const char *failure, struct err *err);
void note(struct session *s, const char *level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void progress_begin(struct session *s, uint64_t step_bytes);
void session_close_device(struct session *s);
void session_link(struct session *s); /* a fresh link over the transport that was just opened */
/* After a shutdown: reads until the phone is off the bus, so that it is not taken for its next self. */
void session_wait_gone(struct session *s);
/* Waits for a device on the port and makes the link. `todo` overrides the step's prompt; NULL: its own. */
int session_attach(struct session *s, const char *modes, int timeout_s, bool ask_at_once,
                   struct err *err);
int session_input(const struct session *s, const char *name);
/* Length of the stream that is sent for this entry of the plan. */
uint64_t session_padded(const struct session *s, const struct plan_write *w);
struct image; /* usb/recipe/image.h */
int session_image_open(const struct session *s, const struct plan_write *w, struct image **out,
                       struct err *err);
/* Writes an entry of the plan through the gate: intent, bytes, result. */
int session_write(struct session *s, size_t index, bool by_fastboot, struct err *err);
/* SHA-256 of the beginning of a partition, read by the download agent. */
int session_read_hash(struct session *s, const char *partition, uint64_t length_bytes,
                      struct sha256 *out, struct err *err);
/* Whole small input in memory. ERR_NOT_FOUND, ERR_LIMIT. */
int session_slurp(const struct session *s, const char *name, size_t max_bytes, struct buf *out,
                  struct err *err);
/* The kind of a write by the action of its step. */
enum phone_kind session_kind(const struct session *s, const struct plan_write *w);
/* Journals an extent: before the phone is touched, and after. */
int session_extent(struct session *s, size_t index, enum phone_phase phase, struct err *err);
/* The same for letting the phone start. */
int session_started(struct session *s, enum phone_phase phase, struct err *err);
/* Law 4: all that was written was read back; but_fastboot: except what fastboot wrote. */
int session_check_verified(struct session *s, bool but_fastboot, struct err *err);
/* Laws 4 and 5, before a phone may start and at the end of every recipe, whatever its steps were: all is read back,
 * each slot that held the service LK holds the commercial one, the nvram is whole. */
int session_check_releasable(struct session *s, struct err *err);
/* Does this entry of the plan apply now: slot of lk, step? */
bool write_applies(const struct session *s, const struct plan_write *w, const char *step_id);

#endif
