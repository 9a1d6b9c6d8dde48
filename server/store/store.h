/* store.h: the only module that knows SQL. station.db (phones, jobs, steps, log lines, events,
 * backups' manifests, firmware, audit) and backups.db (images as chunks) lie in the data folder.
 *
 * Every call returns at once. Writes queue to one thread that commits them in groups; `done` runs
 * on the event loop after the commit, in the order of the calls. Reads run on threads with
 * connections of their own and see at least everything whose `done` has run. Inputs are copied; the
 * caller keeps them. Resources come back as JSON in the shape of the REST API: ids as strings,
 * times RFC 3339 UTC with milliseconds, lists {"items":[...],"next":cursor|null}. A NULL `done` is
 * allowed: failures of such a call are logged.
 *
 * Errors beside those named at the calls: ERR_DISK (the station's disk is full or fails; the change
 * did not happen), ERR_LIMIT (STORE_QUEUE_MAX calls are waiting), ERR_INTERNAL. */
#ifndef FLASHRACK_SERVER_STORE_STORE_H
#define FLASHRACK_SERVER_STORE_STORE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "usb/base/err.h"
#include "usb/base/hash.h"
#include "usb/base/sign.h"

struct event_base;
struct store;

enum {
    STORE_QUEUE_MAX = 65536, /* calls that wait for one thread */
    STORE_PAGE_MAX = 1000,   /* items of one list answer; limit 0 means STORE_PAGE_DEFAULT */
    STORE_PAGE_DEFAULT = 100,
    STORE_DAMAGE_BYTES = 200,
};

struct store_config {
    const char *data_dir; /* exists and is ours; the databases are made when they are not there */
    struct event_base *base;      /* callbacks run on this loop */
    int reader_count;             /* threads for reads; 0: 2 */
    int start_check_ms;           /* so long store_open() waits for its check; 0: 500, < 0: not */
    const char *const *copy_dirs; /* store_copy() may write below them; NULL-terminated, or NULL */
    /* Files of the key that backups are sealed with (usb/base/seal.h) and of the one before; NULL: none. */
    const char *backup_key, *old_backup_key;
    bool
        new_station_key; /* DATA/station.key may be another one than that of the manifests so far */
};

/* code is 0 or ERR_* with the sentence in err; body is borrowed, NULL on error and where nothing is
 * said about it below. Keep it with json_incref: the store does not touch it again. */
typedef void store_done_fn(void *arg, int code, const struct err *err, json_t *body);
/* fd is the callback's, positioned at 0, an unlinked file; -1 on error. */
typedef void store_fd_fn(void *arg, int code, const struct err *err, int fd, int64_t size_bytes);
/* A change that was committed. type: port job prompt log phone. Runs before the `done` of its call,
 * in the order of the ids; the body is borrowed and may be changed by nobody. */
typedef void store_event_fn(void *arg, int64_t id, const char *type, json_t *body);

/* Brings both databases to this build's schema (a copy <name>.<version>.bak is kept first).
 * ERR_CONFLICT: the schema is newer than this build, or another process has the folder open.
 * ERR_VERIFY: a database is damaged; the sentence says what to do. ERR_INPUT: a key of the backups, or the station's
 * own, is missing or another one. Blocking: for start-up. With a key, chunks that are not sealed with it are, beside all else. */
int store_open(const struct store_config *config, struct store **store_out, struct err *err);
/* Finishes what is queued and runs every callback that is still due, then closes. On the loop's
 * thread. NULL-safe, clears *s. */
void store_close(struct store **s);
/* Id of the newest event that was stored when it was opened. */
int64_t store_event_newest(const struct store *s);
/* One listener, set before the loop runs. */
void store_on_event(struct store *s, store_event_fn *fn, void *arg);

/* The number of an id from a URL or message; 0 when it is none (calls answer 0 with ERR_NOT_FOUND).
 */
int64_t store_id(const char *text);

struct store_page {
    const char *after; /* the `next` of the list before; NULL: from the start */
    int limit;         /* 0: STORE_PAGE_DEFAULT; above STORE_PAGE_MAX: ERR_INPUT */
};

/* ---- the databases as a whole ---- */
/* Both as they are now into a new folder, from which a station can be started; jobs go on meanwhile.
 * folder: absolute, not there or empty, below DATA/copies or a folder of copy_dirs; NULL:
 * DATA/copies/<time>. It appears when it is whole and on disk. body: {path created_at station_bytes
 * backups_bytes problems[]}: what a check of the copy found, as texts; none when all is well.
 * ERR_CANCELLED: the store was closed meanwhile. */
void store_copy(struct store *s, const char *folder, store_done_fn *done, void *arg);
/* Reads everything. body: {checked_at problems[]}. */
void store_check(struct store *s, store_done_fn *done, void *arg);
/* What the last check found first, that of the start included, which may go on for long; "": nothing. */
void store_damage(struct store *s, char out[STORE_DAMAGE_BYTES]);

struct store_disk {
    int64_t free_bytes;               /* in the data folder */
    char trouble[STORE_DAMAGE_BYTES]; /* why the last commit failed on the disk; "": it did not */
};
/* While there is trouble each call has something small written, so that it ends by itself when the disk takes bytes
 * again. On the loop. */
void store_disk(struct store *s, struct store_disk *out);

struct store_sealing {
    bool wanted;  /* a key was given: what is stored is sealed with it, by and by */
    int64_t left; /* chunks that are not; -1: not counted yet */
    char trouble[STORE_DAMAGE_BYTES]; /* why it does not go on before the next start; "": it does */
};
void store_sealing(struct store *s, struct store_sealing *out);

/* ---- ports: what survives a restart; mode, phone and state live in the station ---- */
/* {"items":[{id label enabled takes_work last_job_id last_state last_text last_at created_at}]} */
void store_port_list(struct store *s, store_done_fn *done, void *arg);
struct store_port_settings {
    const char *label;       /* NULL: not changed */
    int enabled, takes_work; /* < 0: not changed */
};
/* Makes the port known or changes it. Event `port` when something changed. body: the port. */
void store_port_put(struct store *s, const char *port_id,
                    const struct store_port_settings *settings, store_done_fn *done, void *arg);
/* Jobs that ran on this port and ended or were interrupted, newest first: items {id recipe state serial phone_id
 * started_at ended_at text}; text: what went wrong, or null. */
void store_port_history(struct store *s, const char *port_id, const struct store_page *page,
                        store_done_fn *done, void *arg);

/* ---- phones: key is the chip id; serials and IMEIs are facts learned about it ---- */
struct store_phone_seen {
    const char *chip_id;  /* lower-case hex, required */
    const char *soc_id;   /* NULL: not known */
    const char *port_id;  /* NULL: not known */
    const char *serial;   /* only one that is plausible: a placeholder is no fact */
    const char *imeis[4]; /* from the label or *#06#, checked by the caller; NULL: none */
    const char *wlan_mac, *bt_mac;
    const char *source; /* where the facts are from: label screen proinfo fastboot import; required
                           with any fact */
};
/* Makes the phone known, learns, notices conflicts (one serial or IMEI on two chips, two serials on one). Event `phone`
 * for every phone whose resource changed in more than last_seen. body: the phone. */
void store_phone_seen(struct store *s, const struct store_phone_seen *seen, store_done_fn *done,
                      void *arg);
/* identity: own donor lost unknown. An open conflict is shown in its place as long as it is open.
 */
void store_phone_identity(struct store *s, int64_t phone_id, const char *identity,
                          store_done_fn *done, void *arg);
/* id chip_id soc_id serial imeis[] wlan_mac bt_mac identity first_seen last_seen port_id backups[]
 * jobs[] conflicts[], open ones as store_conflict_list has them; the newest 50 of backups and jobs;
 * damaged_backups[]. */
void store_phone_get(struct store *s, int64_t phone_id, store_done_fn *done, void *arg);
/* Both may be NULL: all phones. Oldest first. */
void store_phone_list(struct store *s, const char *chip_id, const char *serial,
                      const struct store_page *page, store_done_fn *done, void *arg);
/* ---- conflicts: schema/sql/station/0004_conflicts.sql says which kinds there are ---- */
/* Items {id kind value other_value phones[] backups[] job_id state noticed_at resolved_at resolved_by reason kept
 * text}, newest first. state: open, resolved; NULL: any. */
void store_conflict_list(struct store *s, const char *state, const struct store_page *page,
                         store_done_fn *done, void *arg);
/* The same with records{phones[] backups[]}: the resources that it names. */
void store_conflict_get(struct store *s, int64_t conflict_id, store_done_fn *done, void *arg);
/* Does something known speak against writing this backup to the phone with this id (0: any) and serial? body:
 * {"twins":[{backup_id phone_id serial name sha256}],"conflict":{}|null}: backups of other phones with an equal
 * plausible image, but for those that an admin found to be copies of this one; and an open conflict. */
void store_order_check(struct store *s, int64_t backup_id, int64_t phone_id, const char *serial,
                       store_done_fn *done, void *arg);
/* By an admin with a written reason. keep: the phone that a number or an imported backup belongs to, or "both" (or
 * NULL) for a number; of two_serials the serial; of backup_twin the backup that is no copy. What is not kept stays on
 * record and counts no more: facts are withdrawn, an import is bound anew, a phone that got what is not its own
 * is a `donor`. Audit row, event `phone` for both. ERR_NOT_FOUND, ERR_INPUT. body: the conflict. */
void store_conflict_resolve(struct store *s, int64_t conflict_id, const char *actor,
                            const char *reason, const char *keep, store_done_fn *done, void *arg);

/* ---- jobs ---- */
struct store_job_new {
    const char *recipe;                          /* required */
    int recipe_version;                          /* 0: not known, then no version is kept */
    const char *recipe_sha256, *recipe_document; /* of and as JSON with sorted keys and no blanks */
    const char *port_id, *serial, *finish, *accept, *owner_ref, *client_ref;
    const char *imeis[4];
    int64_t phone_id, firmware_id, backup_id;     /* 0: not given */
    int priority;                                 /* higher first */
    const char *idempotency_key, *request_sha256; /* both or none */
    const char *actor; /* who asked, for the audit row; NULL: "station" */
};
/* State queued, event `job`, audit row. body: the job. The same key with the same hash answers the
 * first job again (no event), with another hash ERR_CONFLICT; so is a recipe version that was used before with
 * another document. ERR_INPUT: no such phone, firmware or backup. */
void store_job_add(struct store *s, const struct store_job_new *job, store_done_fn *done,
                   void *arg);

/* NULL or 0: not changed. JSON null takes a value away. */
struct store_job_change {
    const char
        *state; /* queued waiting running prompt paused succeeded failed cancelled interrupted */
    const char *from; /* only of a job in this state, else ERR_CONFLICT: two people may ask at once */
    const char *port_id; /* where it runs or waits; "": anywhere again */
    bool port_ordered;   /* true: from now on the port counts as ordered by a person */
    int64_t phone_id;    /* < 0: taken away */
    int retries;         /* runs that failed and were tried again */
    int64_t retry_ms;    /* UTC: not before; < 0: taken away, as by any other state than waiting */
    const char *step;    /* name of the step it is in */
    const char *serial;
    json_t
        *prompt; /* object with id, text ...; taken away by itself when the state leaves `prompt` */
    json_t *error; /* {code message advice} */
    json_t *result;
    const char *crash_step; /* its worker died in it, and the job was taken up again */
};
bool store_job_closes(const char *state); /* succeeded, failed, cancelled */
/* Sets started_at and ended_at by the state; with one that closes it the job's signed manifest is written with it. Events `job`, and `prompt` when a prompt was set.
 * body: the job. ERR_CONFLICT: it has succeeded, failed or was cancelled before, or another job
 * runs on this port or phone. */
void store_job_change(struct store *s, int64_t job_id, const struct store_job_change *change,
                      store_done_fn *done, void *arg);
/* id recipe state step progress steps[] prompt error{code message advice} created_at started_at
 * ended_at result port serial imeis[] phone_id firmware backup finish accept owner_ref client_ref
 * priority chip_id phone_state run_count crash_step ordered_phone_id; progress is all zeros (it is not stored). */
void store_job_get(struct store *s, int64_t job_id, store_done_fn *done, void *arg);
struct store_job_filter { /* NULL or 0: any */
    const char *state, *port_id, *serial, *client_ref;
    int64_t phone_id;
    bool open; /* only jobs that have not ended, oldest first */
};
/* Newest first, but see `open`. */
void store_job_list(struct store *s, const struct store_job_filter *filter,
                    const struct store_page *page, store_done_fn *done, void *arg);

/* A run: one worker's way through the job. Ends one that was left open; go on when `done` has run. body:
 * {state run chip_id extents[{run step kind partition phase offset length sha256 at}]}: chip_id is
 * the only phone that the job may go on with, or null; extents are those of all runs before. */
void store_run_begin(struct store *s, int64_t job_id, const char *port_id, store_done_fn *done,
                     void *arg);
/* What the worker of the open run left in its spool: all its steps {name state error started_ms
 * ended_ms} and extents {step kind partition phase offset length sha256 at_ms}, in order. Rows that
 * are missing are made, steps that still run are ended. Doing it again changes nothing. body: as
 * above, with these. */
void store_run_adopt(struct store *s, int64_t job_id, json_t *steps, json_t *extents,
                     store_done_fn *done, void *arg);
/* outcome: succeeded failed cancelled interrupted. Ends the open run and what still runs of its
 * steps, and says what the phone was left as. error may be NULL. */
void store_run_end(struct store *s, int64_t job_id, const char *outcome, json_t *error,
                   const char *phone_state, store_done_fn *done, void *arg);

/* The journal. Intent before the phone is touched: go on when `done` has run. body: {job_id seq
 * name attempt state started_at ...}: `attempt` counts from 1, every attempt is kept. Event `job`.
 */
void store_step_begin(struct store *s, int64_t job_id, const char *step, json_t *intent,
                      store_done_fn *done, void *arg);
/* state: done failed skipped interrupted. Ends the newest attempt that is still running;
 * ERR_CONFLICT when there is none. error and result may be NULL. Event `job`. body: the step. */
void store_step_end(struct store *s, int64_t job_id, const char *step, const char *state,
                    json_t *error, json_t *result, store_done_fn *done, void *arg);
/* level: debug info warn error. step may be NULL. Event `log`: {job_id seq at level step message}.
 */
void store_job_log_add(struct store *s, int64_t job_id, const char *level, const char *step,
                       const char *message, store_done_fn *done, void *arg);
/* Items {seq at level step message}, oldest first; cursor: seq. */
void store_job_log(struct store *s, int64_t job_id, const struct store_page *page,
                   store_done_fn *done, void *arg);

/* ---- events: the durable cursor of SSE and webhooks ---- */
/* Items {id type at body}, oldest first, with ids above `after`; next is the last id, also of an
 * empty list. A `job` event's body is the job without steps[]. */
void store_event_list(struct store *s, const struct store_page *page, store_done_fn *done,
                      void *arg);

/* ---- backups ---- */
struct store_backup_meta {
    int64_t job_id;     /* 0: none */
    int64_t phone_id;   /* 0: not bound (an import) */
    const char *origin; /* station import donor */
    const char *serial; /* for an import: by the label; NULL: the manifest's */
};
/* Reads the records of a worker's spool from from_offset on: every chunk is unpacked and its hash
 * checked, new ones are stored (equal ones once) and committed; a backup manifest in the spool
 * whose partitions are whole is committed after them and becomes visible. Doing it again changes
 * nothing. `meta` may be NULL when no manifest is expected. fd is duplicated. body:
 * {"valid_end":n,"torn":bool,"spoilt":bool,"chunks":n,"records":[{"type","offset","body"}],"backups":[backup]}:
 * records are the step intents, results and notes; backups those whose manifest was met.
 * ERR_FORMAT, ERR_VERIFY: the spool lies about a hash or size. ERR_MISMATCH: its chip id is not
 * that of the phone. Whole chunks before the fault are kept, a backup never. */
void store_spool_ingest(struct store *s, int fd, int64_t from_offset,
                        const struct store_backup_meta *meta, store_done_fn *done, void *arg);
/* id phone_id job_id origin serial verdict complete manifest_sha256 created_at verified_at damage
 * partitions[{name area offset size sha256 plausible reason}] */
void store_backup_get(struct store *s, int64_t backup_id, store_done_fn *done, void *arg);
/* Newest first. 0, NULL: any. */
void store_backup_list(struct store *s, int64_t phone_id, const char *serial,
                       const struct store_page *page, store_done_fn *done, void *arg);
/* Those of which the last reading found something damaged, newest first. */
void store_backup_damaged(struct store *s, const struct store_page *page, store_done_fn *done,
                          void *arg);
/* Reads every image of a backup again and compares its hash; verified_at is the time of it, damage says what is
 * wrong. body: the backup. Damage is an audit row and an event `phone`. */
void store_backup_verify(struct store *s, int64_t backup_id, store_done_fn *done, void *arg);
/* The same for the one that was longest not read, if that was before this time; body NULL: none is due. */
void store_backup_verify_due(struct store *s, int64_t before_ms, store_done_fn *done, void *arg);
/* A pinned backup is left alone by retention. body: the backup. An audit row. */
void store_backup_pin(struct store *s, int64_t backup_id, bool pinned, const char *actor,
                      store_done_fn *done, void *arg);
/* Retention for some phones behind `after_phone`: of the pre-images that this station took of a phone the newest
 * `keep` stay (0: all), the last that holds its identity whole and undamaged, pinned ones, those of an open job, of
 * its permits and of open conflicts; imports always. The others stop naming their images, an audit row each; the rows
 * stay, with pruned_at. body: {"items":[{"backup_id","phone_id","why"}],"next":phone or null}; why: newest pinned
 * last_good open_job conflict, null for those that went. dry_run: that would go. */
struct store_prune {
    int keep;
    bool dry_run;
    int64_t after_phone;
    const char *actor; /* NULL: the station */
};
void store_backup_prune(struct store *s, const struct store_prune *prune, store_done_fn *done,
                        void *arg);
/* Deletes images, then chunks, that nothing names any more, some hundred rows looked at in one transaction. body:
 * {"deleted","chunks","after","done"}: where to go on, and whether that was all. */
struct store_sweep {
    bool chunks;   /* false: images */
    int64_t after; /* row */
};
void store_images_sweep(struct store *s, const struct store_sweep *sweep, store_done_fn *done,
                        void *arg);
/* The image as an unlinked file in the data folder; its hash was checked. ERR_NOT_FOUND,
 * ERR_VERIFY. */
void store_backup_open(struct store *s, int64_t backup_id, const char *partition, store_fd_fn *done,
                       void *arg);

/* ---- firmware: packages are files on disk, catalogued ---- */
struct store_firmware_new {
    const char *path;                                /* folder, absolute */
    const char *name, *platform, *project, *version; /* NULL: not known */
    json_t *files;                                   /* [{name size sha256}] */
    json_t *problems;                                /* [...], as firmware check prints them */
    json_t *detail; /* object: layout, file kinds, upgrade list; given back as it is. NULL: none */
};
/* The same folder with the same files is the same package (its problems are updated). body: the
 * package. */
void store_firmware_put(struct store *s, const struct store_firmware_new *fw, store_done_fn *done,
                        void *arg);
/* id name platform project version path created_at files[{name size sha256}] problems[] detail{} */
void store_firmware_get(struct store *s, int64_t firmware_id, store_done_fn *done, void *arg);
void store_firmware_list(struct store *s, const struct store_page *page, store_done_fn *done,
                         void *arg);

/* ---- proof: recipes as they were used, signed manifests of closed jobs ---- */
/* {name version sha256 document} as a job has used it; `document` is text. ERR_NOT_FOUND. */
void store_recipe_get(struct store *s, const char *name, int version, store_done_fn *done,
                      void *arg);
/* ERR_CONFLICT: this version was used before with another document. */
void store_recipe_check(struct store *s, const char *name, int version, const char *sha256,
                        store_done_fn *done, void *arg);
/* The public half of DATA/station.key, made at the first start. */
struct sign_key store_sign_key(const struct store *s);
/* report_version algorithm manifest{} manifest_sha256 signature public_key. ERR_CONFLICT: the job has not ended. */
void store_job_report(struct store *s, int64_t job_id, store_done_fn *done, void *arg);
/* Items {sequence job_id sha256 at}, oldest first: the chain. */
void store_report_list(struct store *s, const struct store_page *page, store_done_fn *done,
                       void *arg);

/* ---- permits and audit ---- */
struct store_permit_new {
    int64_t job_id;           /* running or at a prompt, for the phone with this chip id */
    int64_t backup_id;        /* the pre-image: taken from this chip by this station, complete */
    int64_t source_backup_id; /* what is written back: of this phone, or an import for the job's
                                 serial that is not bound yet and is bound by this; 0: nothing */
    struct sha256 manifest, plan;
    const char *chip_id;
};
/* The last check before a phone may be written, in one transaction with the row that proves it. The job's serial and
 * IMEIs become facts of the phone, an import is bound. ERR_REFUSED with the reason. body: {id job_id backup_id
 * manifest_sha256 plan_sha256 chip_id issued_at service_lk (struct wire_permit)}, or {conflict{}} that is open now and stands against it: no permit,
 * and nothing was learned or bound. */
void store_permit_add(struct store *s, const struct store_permit_new *permit, store_done_fn *done,
                      void *arg);
/* Items {id job_id backup_id source_backup_id manifest_sha256 plan_sha256 chip_id issued_at} of a
 * job */
void store_permit_list(struct store *s, int64_t job_id, store_done_fn *done, void *arg);
/* detail may be NULL. */
void store_audit_add(struct store *s, const char *actor, const char *action, const char *subject,
                     json_t *detail, store_done_fn *done, void *arg);
/* Items {id at actor action subject detail}, newest first. */
void store_audit_list(struct store *s, const struct store_page *page, store_done_fn *done,
                      void *arg);

#endif
