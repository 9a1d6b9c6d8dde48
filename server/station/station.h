/* station.h: the bench itself: ports, phones, jobs, and the workers that do them. Runs on the event loop,
 * never blocks. Knows the store and the workers, nothing of HTTP. Answers come by callback on the loop. */
#ifndef FLASHRACK_SERVER_STATION_STATION_H
#define FLASHRACK_SERVER_STATION_STATION_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "usb/base/err.h"

struct event_base;
struct store;
struct station;

struct station_config {
    const char *data_dir;    /* exists, ours */
    const char *program_dir; /* where flashrack-worker and flashrack-portwatch are */
    const char
        *portwatch_path; /* unix socket of a portwatch that runs already; NULL: start our own */
    const char *const *racks; /* USB/IP racks "HOST:PORT", NULL-terminated */
    const char *const
        *import_dirs; /* folders below which firmware and dump paths may lie, NULL-terminated */
    const char *schema_dir;                          /* holds recipes/ and failures.json */
    bool usb;                                        /* false: --no-usb */
    int jobs_max, jobs_per_controller, jobs_per_hub; /* at the same time; 0: no limit */
    int retries;             /* how often a failed run of a passing kind is tried again by itself */
    const char *record_keep; /* bytes kept of each USB transfer in data/record; NULL: the default */
    int64_t verify_every_ms; /* each backup is read and compared once in this time; 0: never */
    int keep_backups;        /* pre-images of each phone that retention keeps; 0: all */
    double time_scale;
};

/* Every answer: `code` is 0 or ERR_* with the sentence in err; body is borrowed; on error NULL, or the entry of the
 * failure catalogue that it is (failure_json()). */
typedef void station_done_fn(void *arg, int code, const struct err *err, json_t *body);
/* Every change, for SSE: type is port|job|prompt|log|phone; id is the durable cursor, 0 for live progress
 * (which is not stored). The body is the resource in the API's shape, borrowed. */
typedef void station_event_fn(void *arg, int64_t id, const char *type, json_t *body);

int station_new(struct event_base *base, struct store *store, const struct station_config *config,
                struct station **out, struct err *err);
/* Ends portwatch and lets the workers go (they finish their step); nothing new is started, answers still come.
 * Then close the store, whose last callbacks need the station, then free it. */
void station_stop(struct station *s);
void station_free(struct station **s);
void station_on_event(struct station *s, station_event_fn *fn, void *arg);

/* Ports, in the API's shape (contract: id label state mode phone_id job_id), a new reference. */
json_t *station_ports(struct station *s);
json_t *station_port(struct station *s, const char *id); /* NULL: no such port */
/* Controllers, hubs in them, sockets in these with the port that is known there (openapi: Topology). */
json_t *station_topology(struct station *s);
struct port_settings {
    const char *label;       /* NULL: not changed; "": none */
    int enabled, takes_work; /* -1: not changed */
};
void station_port_change(struct station *s, const char *id, const struct port_settings *settings,
                         station_done_fn *done, void *arg);

/* The failure catalogue in its order, each with `seen_by` (openapi: Failure). A new reference to entries that are
 * borrowed. */
json_t *station_failures(struct station *s);

/* Labels by plugging one phone along the rack. {state: off waiting seen, port, label}, a new reference. While it is
 * on no job begins; it ends by itself after ten minutes in which nobody looked. */
json_t *station_calibration(struct station *s);
json_t *station_calibration_set(struct station *s, bool on);
/* For the port that got a device last. body: the port. ERR_CONFLICT: none did, or another port has the label. */
void station_calibration_label(struct station *s, const char *label, station_done_fn *done,
                               void *arg);

/* What POST /jobs says; strings are copied. NULL or 0: not given. */
struct job_order {
    const char *recipe, *port, *serial, *phone_id, *firmware, *backup, *finish, *accept;
    const char *owner_ref, *client_ref, *idempotency_key;
    const char
        *request_sha256; /* of the request body: the same key with another body is a conflict */
    const char *imeis[4];
    int priority;
    bool dry_run; /* everything is checked and the plan is the answer; no job, no phone */
};
/* body: the job as stored. A repeated idempotency key answers the first job again. A dry run: {dry_run plan{}}, the plan as
 * a worker would get it. */
void station_job_submit(struct station *s, const struct job_order *order, station_done_fn *done,
                        void *arg);
/* verb: cancel, pause, resume. port: with resume, where the phone is now, by id or label; NULL: where it was. */
void station_job_verb(struct station *s, const char *job_id, const char *verb, const char *port,
                      station_done_fn *done, void *arg);
/* values: object with serial, imeis[], wlan_mac, bt_mac, or NULL */
void station_job_answer(struct station *s, const char *job_id, const char *prompt_id,
                        const char *answer, json_t *values, station_done_fn *done, void *arg);
/* Puts what is not stored (progress, prompt) into a job that came from the store. */
void station_job_overlay(struct station *s, json_t *job);

/* A firmware package from a folder below import_dirs; body: the firmware resource. Long: hashing is a
 * worker's job. */
void station_firmware_add(struct station *s, const char *path, station_done_fn *done, void *arg);
/* Retention now, for some phones behind this one: store_backup_prune(). */
void station_backup_prune(struct station *s, bool dry_run, int64_t after_phone,
                          station_done_fn *done, void *arg);
/* A read-back dump below import_dirs into a backup (origin import) for the phone with this serial. */
struct backup_import {
    const char *path;    /* a dump, or a folder of images, on the station */
    const char *serial;  /* the phone's label */
    const char *scatter; /* NULL, a path on the station, or the id of a firmware package */
    int64_t offset_bytes; /* where in the user area the dump begins */
};
void station_backup_import(struct station *s, const struct backup_import *order,
                           station_done_fn *done, void *arg);
/* {"ok":bool, "portwatch":bool, "jobs":n, "damage":text or null, "disk":{free_bytes trouble}, "sealing":{chunks_left
 * trouble} or null} for /readyz; damage: store_damage(), disk: store_disk(), sealing: store_sealing() */
json_t *station_health(struct station *s);

#endif
