/* events.h: the row and the announcement of a change, in the transaction of the change. */
#ifndef FLASHRACK_SERVER_STORE_EVENTS_H
#define FLASHRACK_SERVER_STORE_EVENTS_H

#include "server/store/lane.h"

/* type: port job prompt phone. `body` is borrowed. */
int events_add(struct conn *conn, struct task *task, const char *type, json_t *body);
/* Id of the newest event that is stored, 0 without one. */
int events_newest(const char *data_dir, int64_t *newest_out, struct err *err);
/* A log line, which is stored already: {job_id seq at level step message}. */
int events_add_log(struct conn *conn, struct task *task, int64_t job_id, int64_t seq, json_t *line);
/* Audit row of what a task does. */
int audit_write(struct conn *conn, struct task *task, const char *actor, const char *action,
                const char *subject_kind, int64_t subject_id, json_t *detail);

#endif
