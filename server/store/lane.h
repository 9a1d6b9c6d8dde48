/* lane.h: how a call of store.h travels. A task waits in the queue of one lane, runs on a thread of
 * it with that thread's connections, and comes back to the event loop, where its callback runs.
 *
 *   LANE_WRITE   1 thread, station.db; takes what has gathered and commits it as one group
 *   LANE_READ    threads, station.db read-only; one snapshot a task
 *   LANE_INGEST  1 thread, backups.db, station.db read-only; spools in and images that no manifest
 *                names out, its tasks commit by themselves and may go on in LANE_WRITE
 *   LANE_IMAGE   1 thread, both read-only; images out
 *   LANE_COPY    1 thread, both read-only; copies and checks of the whole, which take long */
#ifndef FLASHRACK_SERVER_STORE_LANE_H
#define FLASHRACK_SERVER_STORE_LANE_H

#include "server/store/db.h"
#include "server/store/store.h"

/* In the order of closing. The copies are cut off first: a connection that was interrupted does not take the log into the
 * file when it is the last to close. */
enum lane_name {
    LANE_COPY,
    LANE_INGEST,
    LANE_WRITE,
    LANE_READ,
    LANE_IMAGE,
    LANE_COUNT
};

/* What a thread works with. Pointers that its lane does not have are NULL. */
struct signer;
struct keys;
struct conn {
    struct store *store;
    const struct signer *signer; /* the station's key */
    const struct keys *keys;     /* of sealed chunks */
    struct db *station, *backups;
    const char *data_dir;
};

struct task;
/* Fills task->body (or fd), appends to task->events. 0 or ERR_* with the sentence in task->err. */
typedef int task_fn(struct conn *conn, struct task *task);

struct task {
    struct task *next;
    task_fn *run;
    const char *what; /* name of the call, for the log */
    json_t *args;     /* parameters by name, ours */
    json_t *body;     /* answer, ours */
    json_t *events;   /* [{id type body}], NULL: none */
    task_fn *then;    /* goes on in LANE_WRITE after `run`; NULL: over */
    int fd;           /* a spool in, or an image out; ours until given to the callback */
    int64_t size_bytes;
    int code;
    struct err err;
    store_done_fn *done;
    store_fd_fn *fd_done;
    void *arg;
};

/* `args` is taken; NULL (json_pack failed: text that is not UTF-8) answers ERR_INPUT. */
struct task *task_new(const char *what, task_fn *run, json_t *args, store_done_fn *done, void *arg);
void task_free(struct task **task);
/* Queues; the task is the lane's. */
void lane_submit(struct store *s, enum lane_name lane, struct task *task);
/* From another lane's thread: returns when all that this lane has in its queue now is through. */
void lane_settle(struct store *s, enum lane_name lane);
/* Answers without a lane, on the loop. */
void task_refuse(struct store *s, struct task *task, int code, const char *text);

/* Puts `after` and `limit` (one more than asked for, so that page_end sees whether there are more)
 * into the parameters. Cursors are ids; the list starts at their lower or upper end. Refuses and
 * frees nothing. */
enum page_order { PAGE_OLDEST_FIRST, PAGE_NEWEST_FIRST };
int page_begin(json_t *args, const struct store_page *page, enum page_order order, struct err *err);
/* {"items":rows,"next":`key` of the last row or null}; takes rows. */
json_t *page_end(json_t *args, json_t *rows, const char *key);
/* A whole list answer: the rows of `sql` with the task's parameters. */
int page_rows(struct conn *conn, struct task *task, const char *sql, const char *key);
/* Reads one resource: 1 and a new reference, 0: not there. */
typedef int resource_read_fn(struct conn *conn, int64_t id, json_t **out, struct err *err);
/* Appends each resource that is there; ids are numbers. */
int resources_read(struct conn *conn, json_t *ids, resource_read_fn *read, json_t *items,
                   struct err *err);
/* A whole list answer: `sql` finds the ids. */
int page_resources(struct conn *conn, struct task *task, const char *sql, resource_read_fn *read);
/* task_new + page_begin + lane_submit */
void page_submit(struct store *s, const char *what, task_fn *run, json_t *args,
                 const struct store_page *page, enum page_order order, store_done_fn *done,
                 void *arg);

#endif
