/* resources.h: resources as the API shows them, read within a task's transaction. New references;
 * 1, or 0 when there is no such row. */
#ifndef FLASHRACK_SERVER_STORE_RESOURCES_H
#define FLASHRACK_SERVER_STORE_RESOURCES_H

#include "server/store/lane.h"

int phone_read(struct conn *conn, int64_t phone_id, json_t **out, struct err *err);
/* Event `phone` with the phone as it is now. */
int phone_tell(struct conn *conn, struct task *task, int64_t phone_id);
/* Facts [{kind value}] become the phone's. source: where they are from; NULL only without facts. */
int phone_learn(struct conn *conn, struct task *task, int64_t phone_id, const char *source,
                json_t *facts);
/* The job without steps[], as events carry it. */
int job_read(struct conn *conn, int64_t job_id, json_t **out, struct err *err);
/* Event `job` with the job as it is now. */
int job_tell(struct conn *conn, struct task *task, int64_t job_id);
/* steps[] of a job; 0 or more is fine. */
int job_steps(struct conn *conn, int64_t job_id, json_t **out, struct err *err);
int backup_read(struct conn *conn, int64_t backup_id, json_t **out, struct err *err);
int firmware_read(struct conn *conn, int64_t firmware_id, json_t **out, struct err *err);

/* Turns the answer of a *_read into the task's body; 0, or ERR_NOT_FOUND "no <what> <id>". */
int answer_with(struct task *task, int found, json_t *body, const char *what, int64_t id);
/* A copy with every byte that is not UTF-8 as '?': phones and libraries name things as they like.
 * The caller frees it. */
char *utf8_copy(const char *text);
/* A JSON list of the strings before the first NULL, at most `max`. */
json_t *string_list(const char *const *strings, size_t max);
json_t *id_or_null(int64_t id);                                 /* 0: null */
int64_t arg_int(const struct task *task, const char *key);      /* of args; 0 for null */
const char *arg_text(const struct task *task, const char *key); /* of args; NULL for null */

#endif
