/* internal.h: what the files of this folder share. */
#ifndef FLASHRACK_SERVER_STATION_INTERNAL_H
#define FLASHRACK_SERVER_STATION_INTERNAL_H

#include <stdbool.h>
#include <sys/queue.h>

#include "server/station/admit.h"
#include "server/station/station.h"
#include "server/store/store.h"
#include "server/workers/portwatch.h"
#include "server/workers/workers.h"
#include "usb/plan/plan.h"

struct job;
struct keeper;
struct retention;
struct adoption;
struct later;

/* PORTS_HEARD_MS: by then a portwatch that came up has looked at every port and rack, so that a port of which nothing was
 * heard is empty. */
enum { PORT_REFUSALS_MAX = 32, PORTS_HEARD_MS = 3000 };

struct loaded_recipe {
    struct recipe recipe;
    json_t *json;
    char *document; /* keys sorted, no blanks: what its hash is of */
    char sha256[SHA256_HEX_BYTES];
    char *
        refusal; /* why no order may use it: this version was another document before; NULL: fine */
    struct loaded_recipe *next; /* of former_recipes */
};

struct port {
    char id[128], label[64];
    bool enabled;
    bool known; /* something was plugged in here once, or a person set it up; else a job named it */
    bool takes_work; /* also runs jobs that name no port: law 10's standing order to identify */
    char mode[16], serial[64]; /* what is on it now */
    bool unheard;    /* that is what the portwatch of before said; this one has said nothing so far */
    int vid, pid, speed;       /* speed in USB/IP numbering, 0: nothing there */
    char trouble[200];         /* why the port does not work; empty when it does */
    char last_job[24], last_state[16],
        last_text[200]; /* of the job before, until the next one begins */
    bool last_outdated; /* a phone came since, which may be another one */
    struct job *job;    /* the one that has the port now */
    int held; /* it gives no job away: a worker of a former process is in its last step here, or the end of
               * a job is not stored yet */
    int64_t kept_for; /* the job whose half-written phone may still be plugged in here; 0: none */
    int64_t kept_ms;  /* when a kept port that shows nothing is believed to be empty */
    int64_t phone_id; /* that the last job here has met, until it is taken away; 0: not known */
    bool spent;       /* a job ended here and its phone was not taken away since */
    int64_t
        refused[PORT_REFUSALS_MAX]; /* jobs without a port that met this phone: it is another one */
    size_t refused_count;
    char phone_serial
        [24]; /* what such a look found out about the phone that is on it; empty: nothing */
    struct station *s;
    LIST_ENTRY(port) link;
};

struct hub {
    struct wire_hub info;
    LIST_ENTRY(hub) link;
};

TAILQ_HEAD(job_queue, job);

struct station {
    struct event_base *base;
    struct store *store;
    char *data_dir, *program_dir, *schema_dir;
    char **racks, **import_dirs;
    int64_t record_keep_bytes;
    bool usb, stopping;
    int settling; /* calls under way that must be through before the first job starts */
    LIST_HEAD(, adoption) adoptions;
    LIST_HEAD(, later) laters;
    struct worker_pool *workers;
    struct portwatch_link *portwatch;
    int64_t ports_heard_ms; /* then ports that are still unheard of are empty */
    LIST_HEAD(, port) ports;
    LIST_HEAD(, hub) hubs;      /* controllers and hubs of this machine, as portwatch told */
    LIST_HEAD(, job) jobs;      /* those that have not ended */
    LIST_HEAD(, job) unsaved;   /* ended, but the store could not write that down yet */
    struct job_queue queue;     /* those that wait for their turn, in the order of their turns */
    struct job_queue returning; /* waited for a person and want to go on; in the same order */
    struct event *poke;         /* looks at the queue */
    int64_t start_ms;           /* before that no worker is started: they come one after another */
    struct admit_limits limits;
    int retries_max;
    struct {
        int64_t until_ms; /* 0 or past: none is under way */
        char port[128];   /* that got a device and waits for its label; empty: none yet */
    } calibration;
    size_t recipe_count;
    struct loaded_recipe *recipes;
    struct loaded_recipe
        *former_recipes;   /* of jobs that were ordered before a newer version came */
    json_t *failures;      /* by id */
    struct keeper *keeper; /* NULL: backups are not read again */
    struct retention *retention;
    station_event_fn *on_event;
    void *on_event_arg;
};

struct image { /* an input that a worker gets as a descriptor */
    char name[RECIPE_NAME_MAX * 2 + 8];
    int fd;
};

enum { JOB_IMAGES_MAX = 256 };

struct job {
    struct station *s;
    struct port *port;  /* where it runs, or ran last; NULL: nowhere yet */
    struct port *wants; /* the port it must run on; NULL: any that takes work */
    bool any_port; /* the order named no port: its phone must be recognised before it is written */
    int64_t wanted_phone_id; /* the order was for this phone; 0: for any */
    int64_t
        ordered_phone_id; /* as ordered: where the wanted phone comes from when a run met another one */
    int64_t id, phone_id, firmware_id, backup_id, pre_backup_id;
    char state[16];
    char serial[24], finish[16], accept[16], step[64];
    char imeis[PLAN_IMEIS_MAX][20];
    size_t imei_count;
    int priority;
    const struct loaded_recipe *recipe;
    json_t *package, *backup;
    char *plan_text;
    bool writes; /* the plan changes the phone's flash; else the job only looks */
    struct sha256 plan_sha256;
    char chip_id[72], soc_id[72];
    struct wire_backup asked; /* what the worker wants a permit for */
    struct image images[JOB_IMAGES_MAX];
    size_t image_count, images_due;
    int spool_fd;
    struct worker *worker;
    json_t *prompt;
    struct wire_done done;
    bool has_done, ended, saved, deny_sent;
    bool resting;       /* waits for a person: it counts in no limit until it has returned */
    bool returning;     /* its worker waits before the next step until there is room for it */
    bool ending;        /* its worker has gone, what it left is not all in the store yet */
    bool cancelling;    /* a person wants it to end, its worker was told so */
    bool pausing;       /* the same of a pause that it has not come to yet */
    struct err stopped; /* why the station told its worker to end; no code: it did not */
    bool queued, paused,
        permitted;         /* permitted: a permit was given, so its phone may be half written */
    struct port *seen_on;  /* another port that shows its phone while it waits for it; NULL: none */
    const char *seen_by;   /* serial, chip */
    const char *waits_for; /* why it is not running, a word of the API; NULL: nothing */
    int64_t met_phone_id;  /* the last phone that it met and that is another one, */
    int met_again;         /* and how often it met that one again since */
    int retries;           /* runs that failed before this one, and might pass */
    char crash_step[64];   /* its worker died in it and the job was taken up again; empty: none */
    int64_t not_before_ms, retry_at_ms; /* back-off: by our clock; UTC for people */
    json_t *end_error, *end_result;     /* of an ended job, until they are stored */
    struct event *save;                 /* stores again what the store did not take */
    char why[200];                      /* its worker ended, in words */
    int run;                            /* of this job, from 1 */
    char pinned_chip[72];       /* the only phone that a later run may go on with; empty: any */
    struct phone_facts *before; /* what the runs before left on it; NULL until the run began */
    char left_as
        [PHONE_NAME_MAX]; /* by the runs before, a word of phone_state(); empty: no run ended, or not known */
    int64_t done_bytes, total_bytes, rate_from_ms, rate_from_bytes;
    double bytes_per_s;
    int64_t told_ms; /* when progress was last published */
    int pending;     /* calls under way whose callback has this job */
    struct err prepare_err;
    const char *prepare_failure; /* what that is called; NULL: by its code */
    TAILQ_ENTRY(job) queue;      /* or returning: never both */
    LIST_ENTRY(job) link;
};

/* port.c */
struct port *port_find(struct station *s, const char *id);
/* By id; else by the label that stands beside the socket, in capitals or not; else a socket that nothing was plugged into yet. NULL:
 * there can be no such port. */
struct port *port_named(struct station *s, const char *name, struct err *err);
struct port *port_add(struct station *s, const char *id); /* finds it when it is there already */
/* Is this the name of a port that can exist here: one that was seen, or one of a configured rack? */
bool port_id_possible(const struct station *s, const char *id);
/* Is there such a socket, for all we know? One that only a job names is there while that job is open. */
bool port_is_there(const struct port *p);
json_t *port_json(const struct port *p);
/* "high", numbered by USB/IP as by the kernel (enum usb_device_speed); NULL: nothing there. */
const char *speed_word(int speed);
void port_publish(struct port *p);
void port_seen(struct station *s, const struct wire_port *seen);
/* Another portwatch looks, or a rack answers again: of what went meanwhile nobody tells. */
void ports_listen(struct station *s);
void ports_free_all(struct station *s);

/* recipes.c */
int recipes_load(struct station *s, struct err *err);
/* Compares each with the version that jobs have used before; told and remembered where it differs. */
void recipes_check(struct station *s);
void recipes_free(struct station *s);
const struct loaded_recipe *recipe_by_name(const struct station *s, const char *name);
/* The document with this hash, of this start or taken from the store. NULL: it has to be read from there. */
const struct loaded_recipe *recipe_by_hash(const struct station *s, const char *name,
                                           const char *sha256);
/* stored: store_recipe_get(). ERR_FORMAT: this build does not understand it; ERR_CONFLICT: it has another hash. Before
 * it is used the plan's check looks at it, as at every recipe (usb/plan/check.h). */
int recipe_take_former(struct station *s, json_t *stored, const char *sha256,
                       const struct loaded_recipe **out, struct err *err);
/* {code message advice class failure} of an entry of the catalogue; without an id, or with one that is not there, it is
 * the entry of the error `code` (usb/plan/failure.h). */
json_t *failure_json(const struct station *s, const char *id, const char *code, const char *text);

/* order.c: from POST /jobs to a job that waits for its port */
/* Jobs that a former process left, from this cursor on; NULL: all. */
void orders_resume(struct station *s, const char *after);
/* A job that is queued or paused in the store goes back to its place, with the recipe that it was ordered with. One that
 * cannot ends as failed; when its phone may be half written it is interrupted, and a person resumes or cancels it. */
void order_requeue(struct station *s, json_t *job);
/* An interrupted job goes into the queue again; port NULL: where it was. body: the job. */
void order_again(struct station *s, json_t *job, const char *port, station_done_fn *done,
                 void *arg);

/* job.c: the life of a job from its port to its end */
struct job *job_new(struct station *s, int64_t id);
struct job *job_find(struct station *s, int64_t id);
void job_end(struct job *j, const char *state, json_t *error, json_t *result);
void job_set_state(struct job *j, const char *state);
/* Tells the store; what it cannot take now is told again, and a job that it knows another one for stops. */
void job_store_change(struct job *j, const struct store_job_change *change);
void job_publish(struct job *j);
/* Tells its worker: cancel, pause, resume, hold, go (struct wire_control). */
void job_control(struct job *j, const char *verb);
struct port *job_place(const struct job *j); /* where it runs, or will; NULL: anywhere */
void job_learn_chip(struct job *j, const char *chip_id, const char *soc_id);
void job_unref(struct job *j); /* a callback is through; frees what has ended */
/* A run failed: true when the job goes back into the queue instead of ending, because the failure may pass by
 * itself, or because the run met another phone than the job is for and touched nothing. */
bool job_try_again(struct job *j, json_t *error);
/* Has a worker of this job died in this step before, and the station took it up again? */
bool job_crashed_here(const struct job *j);
/* Its worker died: true when the job goes back into the queue instead of waiting for a person. */
bool job_after_crash(struct job *j, json_t *error);
/* Waits before its next run: 10 s after the first that failed, then twice as long each time. */
void job_back_off(struct job *j);
int64_t retry_wait_ms(int retries);
/* Jobs whose end is not in the store: once more, at the latest when the station ends. */
void jobs_save(struct station *s);
void jobs_free_all(struct station *s);

/* calibrate.c */
bool calibration_is_on(const struct station *s);
void calibration_arrival(struct station *s, const struct port *p); /* a device came to this port */

/* schedule.c: whose turn it is, and where */
int schedule_new(struct station *s, const struct station_config *config, struct err *err);
void schedule_free(struct station *s);
void schedule_add(struct job *j);
void schedule_remove(struct job *j); /* also one that wanted to return */
/* The job waits for a person, and others may have its place on the bus meanwhile; then it wants to go on. Its worker
 * waits before its next step in between. */
void schedule_rest(struct job *j);
void schedule_return(struct job *j);
/* Something changed that jobs may wait for; the queue is looked at from the loop, soon. */
void schedule_poke(struct station *s);
/* The phone of this job may be half written: until it was taken away, no other job gets the port. */
void port_keep(struct port *p, int64_t job_id);
void ports_keep_no_more(struct station *s, int64_t job_id);
/* May a job begin here now, whatever the queue says? */
bool port_is_free(const struct port *p, int64_t job_id);

/* session.c: what a job and its worker say to one another */
void session_start(struct job *j);
void session_collect(struct job *j); /* the run has begun in the store: its inputs, then a worker */
void session_end(struct job *j);     /* as its worker's `done` says */
void fail_before_start(struct job *j, const struct err *err);
extern const struct worker_events session_events;

/* keeper.c: backups are read again on a schedule; 0: never */
void keeper_new(struct station *s, int64_t verify_every_ms);
void keeper_free(struct station *s);
/* retention.c */
void retention_new(struct station *s, int keep_backups);
void retention_free(struct station *s);

/* permit.c: from "backup is in the spool" to "may write" */
void permit_begin(struct job *j, const struct wire_backup *asked);
/* The phone is the job's: the store compares all numbers, then the worker gets its permit. */
void permit_go_on(struct job *j);
/* The worker may not write, and why: a failure id and a sentence. */
void permit_deny(struct job *j, int code, const char *failure, const char *text);
/* How every callback on this way begins: was the job ended meanwhile, did the call fail? False: nothing more to
 * do. */
bool permit_may_go_on(struct job *j, int code, const struct err *err, const char *failure);

/* moved.c: has the phone that a job waits for come to another port? */
void moved_look(struct station *s);
json_t *moved_json(const struct job *j); /* {port by text} or null, a new reference */
json_t *moved_stored_json(struct station *s,
                          json_t *job); /* the same for one that is interrupted */

/* recognise.c: is this phone the one that the job is for? Goes on with permit_go_on() or permit_deny(). */
#define RECOGNISE_PROMPT "is-it-this-phone"
void recognise(struct job *j,
               const char *serial_read); /* from its proinfo; NULL or empty: it has lost it */
bool recognise_asks(const struct job *j);
int recognise_answer(struct job *j, const char *answer, struct err *err);
/* What an open conflict says to the person in front of the phone. The caller frees it. */
char *conflict_sentence(json_t *conflict);

/* resume.c: runs: how one begins, what is made of its end, how a job is taken up again */
void run_begin(struct job *j); /* then session_collect() */
/* A run is over: what its worker left (`records` of its spool; NULL: unreadable) goes into the store, then the job
 * ends or waits to be taken up again. `j` NULL: the run of a former process, `owner` is its job as stored. `port`
 * (may be NULL) gives no job away before that. `hides`: there may have been more records, so nobody knows the phone's
 * state. */
void run_settle(struct station *s, struct job *j, json_t *owner, json_t *records, bool hides,
                struct port *port);
/* A job that a former process left running, at a prompt or paused. */
void run_found(struct station *s, json_t *owner);
/* What a person is told of the phone goes into the error of a run. */
void error_add_phone(json_t *error, const char *phone_state);
/* What a person read on the screen is known of this phone now; the label's numbers were learned with the permit. */
void acceptance_learn(struct station *s, const char *chip_id, const char *port_id, json_t *result,
                      store_done_fn *done, void *arg);
/* What that call's answer means for the job; NULL: it has succeeded. */
json_t *acceptance_error(const struct station *s, int code, const struct err *err, json_t *body);
/* A new run of a job that is interrupted; port NULL: where it was. `job` as stored. body: the job. */
void resume_begin(struct station *s, json_t *job, const char *port, station_done_fn *done,
                  void *arg);
/* Why an interrupted job that a person gives up ended, and what its phone is left as. */
json_t *cancelled_error(const struct station *s, json_t *job);

/* adopt.c: spool files */
int spool_open(const struct station *s, const char *name, struct err *err);
void spool_remove(const struct station *s, int64_t job_id);
void spool_keep_aside(const struct station *s, int64_t job_id,
                      const struct err *err); /* nobody can make anything of it */
/* Takes what a worker left in its spool into the store when it is gone, then run_settle(). What fails for now (a
 * full disk) is tried again; `port` (may be NULL) gives no job away before it is through. */
void spool_adopt(struct station *s, struct job *j, json_t *owner, struct port *port);
bool spool_is_there(const struct station *s, int64_t job_id);
void spools_find(struct station *s); /* those of a former process; then station_settled() */
void adoptions_free(struct station *s);

/* later.c: what failed for now is done again */
bool passes(int code); /* the disk, or a queue that is full: nothing is wrong with what was asked */
/* Two seconds from now, or in `ms`: again(arg), or drop(arg) when the station ends before. */
typedef void later_fn(void *arg);
void station_after(struct station *s, int ms, later_fn *again, later_fn *drop, void *arg);
void station_later(struct station *s, later_fn *again, later_fn *drop, void *arg);
void laters_free(struct station *s);

/* topology.c: controllers, hubs, sockets */
void topology_hub(struct station *s,
                  const struct wire_hub *hub); /* there, or with 0 sockets gone */
void topology_forget(struct station *s);       /* all of them */

/* station.c */
void station_settled(struct station *s);
/* Gives the worker of a job a fresh channel to portwatch, on the port that the job has now. */
void job_watch_again(struct job *j);

/* inputs.c: runs without a port: dumps and packages */
int path_allowed(const struct station *s, const char *path, char *resolved, size_t size,
                 struct err *err);
/* record.c: the black box of a job, DATA/record/job-N.pcapng, of a later run job-N-run-R.pcapng. A fresh file, or
 * ERR_IO; old ones go. */
int record_open(const struct station *s, int64_t job_id, int run, struct err *err);
enum { RECORD_KEEP_BYTES = 512, RECORD_MAX_BYTES = 64 << 20, RECORDS_MAX = 500 };
int memfd_sealed(const char *name, const char *text, struct err *err);

static inline void done_error(station_done_fn *done, void *arg, const struct err *err)
{
    if (done)
        done(arg, err->code, err, NULL);
}

#endif
