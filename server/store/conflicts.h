/* conflicts.h: contradictions between phones and backups, noticed in the transaction of what shows them (laws 2
 * and 7). A conflict that is open blocks its phones and backups until an admin resolves it. */
#ifndef FLASHRACK_SERVER_STORE_CONFLICTS_H
#define FLASHRACK_SERVER_STORE_CONFLICTS_H

#include "server/store/lane.h"

/* The resource, with its sentence; 1, or 0 when there is none. */
int conflict_read(struct conn *conn, int64_t conflict_id, json_t **out, struct err *err);

/* The functions below answer 1 and the conflict (a new reference) when there is one that is open now, new or not;
 * 0 when there is none. The other phone of a new one is told (event `phone`); the caller tells its own. */

/* A phone is given facts [{kind value}]: a serial or IMEI that another phone has, or a serial beside the one that
 * the phone is known by. job_id 0: no job. */
int conflicts_of_facts(struct conn *conn, struct task *task, int64_t phone_id, int64_t job_id,
                       json_t *facts, json_t **out);
/* A backup was committed: another phone's backup holds an equal plausible image, and nobody decided yet. */
int conflicts_of_backup(struct conn *conn, struct task *task, int64_t backup_id, json_t **out);
/* An imported backup is bound to a phone, or came with the id of a chip, and another one asks for it. */
int conflicts_of_claim(struct conn *conn, struct task *task, int64_t backup_id, int64_t phone_id,
                       int64_t job_id, json_t **out);
/* One that is open already and names this phone or backup; 0: neither. */
int conflicts_open_for(struct conn *conn, struct task *task, int64_t phone_id, int64_t backup_id,
                       json_t **out);

/* Appends {backup_id phone_id serial name sha256} of each backup of another phone that holds an equal image.
 * `as_source`: for writing it back, where a decision against this backup counts, too; else what is not decided. */
int backup_twins(struct conn *conn, struct task *task, int64_t backup_id, bool as_source,
                 json_t *items);

#endif
