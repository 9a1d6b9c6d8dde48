/* manifests.h: what jobs.c needs of manifests.c and recipes.c. */
#ifndef FLASHRACK_SERVER_STORE_MANIFESTS_H
#define FLASHRACK_SERVER_STORE_MANIFESTS_H

#include "server/store/lane.h"

/* In the transaction that closed the job: says what became of it, signed and chained to the one before. */
int manifest_add(struct conn *conn, struct task *task, int64_t job_id);

/* recipes.c. In the transaction that adds a job: the recipe of args (recipe, recipe_version, recipe_sha256,
 * recipe_document) is kept when its version is new. ERR_CONFLICT: this version was used with other contents. Nothing
 * when recipe_version is null. */
int recipe_use(struct conn *conn, struct task *task);

#endif
