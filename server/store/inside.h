/* inside.h: the store itself, for lane.c, store.c, disk.c, dbcopy.c and reseal.c only. */
#ifndef FLASHRACK_SERVER_STORE_INSIDE_H
#define FLASHRACK_SERVER_STORE_INSIDE_H

#include <pthread.h>

#include "server/store/lane.h"

enum { LANE_THREADS_MAX = 8 };

struct task_list {
    struct task *first, *last;
    size_t count;
};

struct lane_thread;
struct lane {
    pthread_mutex_t lock; /* of queue and closing */
    pthread_cond_t more, settled;
    uint64_t queued, through; /* tasks, since the start */
    struct task_list queue;
    bool closing; /* takes nothing more, ends when the queue is empty */
    struct lane_thread *threads[LANE_THREADS_MAX];
    size_t thread_count;
};

struct event;
struct store {
    char *data_dir, **copy_dirs;
    struct signer *signer; /* the station's key: signs the manifests of closed jobs */
    struct keys *keys;     /* of sealed chunks */
    int lock_fd; /* held as long as we live: one process a data folder */
    int wake_fd; /* eventfd: something is in `finished` */
    struct event *wake_event;
    struct lane lanes[LANE_COUNT];
    pthread_mutex_t finished_lock;
    struct task_list finished;
    char damage[STORE_DAMAGE_BYTES]; /* under finished_lock; see store_damage() */
    char disk_trouble[STORE_DAMAGE_BYTES]; /* likewise; see store_disk() */
    struct store_sealing sealing;          /* likewise; see store_sealing() */
    bool disk_probed; /* on the loop: a probe is under way */
    int64_t event_newest; /* when it was opened */
    store_event_fn *on_event;
    void *on_event_arg;
};

void lane_init(struct lane *lane);
/* One more thread with these connections, which lane_stop() closes. */
int lane_start(struct store *s, enum lane_name name, const struct conn *conn, struct err *err);
/* Does what is queued, ends the threads. `now`: what they are doing is cut off (ERR_CANCELLED). */
void lane_stop(struct lane *lane, bool now);
void lane_deinit(struct lane *lane);
/* From any lane, after each of its commits: what became of it, for store_disk(). */
void disk_note(struct store *s, int code, const struct err *err);
/* On the loop: runs the callbacks that are due, some at a time; how many. */
int lane_deliver(struct store *s);

#endif
