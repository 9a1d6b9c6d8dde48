/* internal.h: what the files of this folder share. */
#ifndef FLASHRACK_SERVER_STATION_INTERNAL_H
#define FLASHRACK_SERVER_STATION_INTERNAL_H

#include <stdbool.h>
#include <sys/queue.h>

#include "server/station/station.h"
#include "server/store/store.h"
#include "server/workers/portwatch.h"
#include "server/workers/workers.h"
#include "usb/plan/plan.h"

struct job;
struct adoption;

struct loaded_recipe {
    struct recipe recipe;
    json_t *json;
};

struct port {
    char id[128], label[64];
    bool enabled;
    char mode[16], serial[64]; /* what is on it now */
    int vid, pid;
    char trouble[200]; /* why the port does not work; empty when it does */
    char last_job[24], last_state[16], last_text[200]; /* of the job before, until the next phone */
    struct job *job;                                   /* the one that has the port now */
    int held; /* workers of a former process that are still in their last step here */
    STAILQ_HEAD(, job) waiting; /* first come first served, higher priority first */
    struct station *s;
    LIST_ENTRY(port) link;
};

struct station {
    struct event_base *base;
    struct store *store;
    char *data_dir, *program_dir, *schema_dir;
    char **racks, **import_dirs;
    int64_t record_keep_bytes;
    bool usb, stopping;
    int settling; /* calls under way that must be through before the first job starts */
    LIST_HEAD(, adoption) adoptions;
    struct worker_pool *workers;
    struct portwatch_link *portwatch;
    LIST_HEAD(, port) ports;
    LIST_HEAD(, job) jobs; /* those that have not ended */
    size_t recipe_count;
    struct loaded_recipe *recipes;
    json_t *failures; /* by id */
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
    struct port *port;
    int64_t wanted_phone_id; /* the order was for this phone; 0: for any */
    int64_t id, phone_id, firmware_id, backup_id, pre_backup_id;
    char state[16];
    char serial[24], finish[16], accept[16], step[64];
    char imeis[PLAN_IMEIS_MAX][20];
    size_t imei_count;
    int priority;
    const struct loaded_recipe *recipe;
    json_t *package, *backup;
    char *plan_text;
    struct sha256 plan_sha256;
    char chip_id[72], soc_id[72];
    struct wire_backup asked; /* what the worker wants a permit for */
    struct image images[JOB_IMAGES_MAX];
    size_t image_count, images_due;
    int spool_fd;
    struct worker *worker;
    json_t *prompt;
    struct wire_done done;
    bool has_done, ended, deny_sent;
    char why[200];              /* its worker ended, in words */
    int run;                    /* of this job, from 1 */
    char pinned_chip[72];       /* the only phone that a later run may go on with; empty: any */
    struct phone_facts *before; /* what the runs before left on it; NULL until the run began */
    int64_t done_bytes, total_bytes, rate_from_ms, rate_from_bytes;
    double bytes_per_s;
    int64_t told_ms; /* when progress was last published */
    int pending;     /* calls under way whose callback has this job */
    struct err prepare_err;
    STAILQ_ENTRY(job) queue;
    LIST_ENTRY(job) link;
};

/* port.c */
struct port *port_find(struct station *s, const char *id);
struct port *port_add(struct station *s, const char *id); /* finds it when it is there already */
/* Is this the name of a port that can exist here: one that was seen, or one of a configured rack? */
bool port_id_possible(const struct station *s, const char *id);
json_t *port_json(const struct port *p);
void port_publish(struct port *p);
void port_seen(struct station *s, const struct wire_port *seen);
void ports_free_all(struct station *s);

/* recipes.c */
int recipes_load(struct station *s, struct err *err);
const struct loaded_recipe *recipe_by_name(const struct station *s, const char *name);
/* {code message advice} of a failure id; code and text stand in when the id is unknown or empty. */
json_t *failure_json(const struct station *s, const char *id, const char *code, const char *text);

/* order.c: from POST /jobs to a job that waits for its port */
/* Jobs that a former process left, from this cursor on; NULL: all. */
void orders_resume(struct station *s, const char *after);
/* A job that is queued in the store goes into the queue of its port; `done` may be NULL. */
void order_requeue(struct station *s, json_t *job, station_done_fn *done, void *arg);

/* job.c: the life of a job from its port to its end */
struct job *job_new(struct station *s, int64_t id);
struct job *job_find(struct station *s, int64_t id);
void job_enqueue(struct job *j, struct port *port);
void job_end(struct job *j, const char *state, json_t *error, json_t *result);
void job_set_state(struct job *j, const char *state);
void job_publish(struct job *j);
void job_learn_chip(struct job *j, const char *chip_id, const char *soc_id);
void job_unref(struct job *j); /* a callback is through; frees what has ended */
void port_take_next(struct port *p);

/* session.c: what a job and its worker say to one another */
void session_start(struct job *j);
void session_collect(struct job *j); /* the run has begun in the store: its inputs, then a worker */
void session_end(struct job *j);     /* as its worker's `done` says */
void fail_before_start(struct job *j, const struct err *err);
extern const struct worker_events session_events;

/* permit.c: from "backup is in the spool" to "may write" */
void permit_begin(struct job *j, const struct wire_backup *asked);

/* resume.c: runs: how one begins, what is made of its end, how a job is taken up again */
void run_begin(struct job *j); /* then session_collect() */
/* A run is over: what its worker left (`records` of its spool; NULL: unreadable) goes into the store, then the job
 * ends or waits to be taken up again. `j` NULL: the run of a former process, `owner` is its job as stored. `port`
 * (may be NULL) gives no job away before that. */
void run_settle(struct station *s, struct job *j, json_t *owner, json_t *records,
                struct port *port);
/* A job that a former process left running, at a prompt or paused. */
void run_found(struct station *s, json_t *owner);
/* What a person is told of the phone goes into the error of a run. */
void error_add_phone(json_t *error, const char *phone_state);
/* A new run of a job that is interrupted or paused without a worker; port_id NULL: where it was. `job` as stored. */
void resume_begin(struct station *s, json_t *job, const char *port_id, station_done_fn *done,
                  void *arg);
/* Ends such a job as cancelled. */
void resume_cancel(struct station *s, json_t *job, station_done_fn *done, void *arg);
/* A job that succeeded: its numbers are the phone's. */
void learn_acceptance(struct station *s, int64_t phone_id, const struct store_phone_seen *known,
                      json_t *result);

/* adopt.c: spool files */
int spool_open(const struct station *s, const char *name, struct err *err);
void spool_remove(const struct station *s, int64_t job_id);
/* Takes what a worker left in its spool into the store when it is gone, then run_settle(). What fails for now (a
 * full disk) is tried again; `port` (may be NULL) gives no job away before it is through. */
void spool_adopt(struct station *s, struct job *j, json_t *owner, struct port *port);
/* The same once more, after something else failed for now. */
void spool_adopt_later(struct station *s, struct job *j, json_t *owner);
bool spool_is_there(const struct station *s, int64_t job_id);
void spools_find(struct station *s); /* those of a former process; then station_settled() */
void adoptions_free(struct station *s);

/* station.c */
void station_settled(struct station *s);

/* inputs.c: runs without a port: dumps and packages */
int path_allowed(const struct station *s, const char *path, char *resolved, size_t size,
                 struct err *err);
/* record.c: the black box of a job, DATA/record/job-N.pcapng. A fresh file, or ERR_IO; old ones go. */
int record_open(const struct station *s, int64_t job_id, struct err *err);
enum { RECORD_KEEP_BYTES = 512, RECORD_MAX_BYTES = 64 << 20, RECORDS_MAX = 500 };
int memfd_sealed(const char *name, const char *text, struct err *err);

static inline void done_error(station_done_fn *done, void *arg, const struct err *err)
{
    if (done)
        done(arg, err->code, err, NULL);
}

#endif
