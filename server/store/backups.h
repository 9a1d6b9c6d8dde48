/* backups.h: what ingest.c hands to the manifests. */
#ifndef FLASHRACK_SERVER_STORE_BACKUPS_H
#define FLASHRACK_SERVER_STORE_BACKUPS_H

#include "server/store/lane.h"

/* In LANE_WRITE, after the images are committed: args' manifests[] {job_id key phone_id chip_id
 * origin serial verdict complete manifest manifest_sha256 partitions[]} become backups; appends
 * them to body's backups[]. One that is stored already is answered again. */
int backups_commit(struct conn *conn, struct task *task);

/* From a lane with station.db: backups that are noted as damaged are read again, and the note goes or stays. */
void backups_verify_damaged(struct conn *conn);

#endif
