#include "server/store/lane.h"

#include <errno.h>
#include <event2/event.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "server/store/inside.h"
#include "usb/base/log.h"
#include "usb/base/mem.h"

enum {
    GROUP_MAX = 512,   /* tasks of one commit: bounds what a failure of the disk takes along */
    DELIVER_MAX = 256, /* callbacks in one turn of the loop, others want a turn too */
};

struct task *task_new(const char *what, task_fn *run, json_t *args, store_done_fn *done, void *arg)
{
    struct task *task = xcalloc(1, sizeof(*task));
    task->what = what;
    task->run = run;
    task->args = args;
    task->fd = -1;
    task->done = done;
    task->arg = arg;
    return task;
}

void task_free(struct task **task)
{
    if (!*task)
        return;
    json_decref((*task)->args);
    json_decref((*task)->body);
    json_decref((*task)->events);
    fd_close(&(*task)->fd);
    free(*task);
    *task = NULL;
}

static void list_put(struct task_list *list, struct task *task)
{
    task->next = NULL;
    if (list->last)
        list->last->next = task;
    else
        list->first = task;
    list->last = task;
    list->count++;
}

static struct task *list_take(struct task_list *list)
{
    struct task *task = list->first;
    if (!task)
        return NULL;
    list->first = task->next;
    if (!list->first)
        list->last = NULL;
    list->count--;
    return task;
}

/* ---- back to the loop ---- */

static void wake_loop(struct store *s)
{
    uint64_t one = 1;
    ssize_t n = write(s->wake_fd, &one, sizeof(one));
    (void)n; /* a full counter has already woken it */
}

static void finish(struct store *s, struct task_list *list)
{
    pthread_mutex_lock(&s->finished_lock);
    for (struct task *task; (task = list_take(list));)
        list_put(&s->finished, task);
    pthread_mutex_unlock(&s->finished_lock);
    wake_loop(s);
}

static void finish_one(struct store *s, struct task *task)
{
    struct task_list one = {0};
    list_put(&one, task);
    finish(s, &one);
}

static void tell_events(struct store *s, const struct task *task)
{
    size_t i;
    json_t *event;
    json_array_foreach(task->events, i, event)
    {
        if (s->on_event)
            s->on_event(s->on_event_arg, json_integer_value(json_object_get(event, "id")),
                        json_string_value(json_object_get(event, "type")),
                        json_object_get(event, "body"));
    }
}

static void answer(struct store *s, struct task *task)
{
    bool ok = task->code >= 0;
    if (ok)
        tell_events(s, task);
    if (task->fd_done)
        task->fd_done(task->arg, task->code, &task->err, ok ? STEAL_FD(task->fd) : -1,
                      ok ? task->size_bytes : 0);
    else if (task->done)
        task->done(task->arg, task->code, &task->err, ok ? task->body : NULL);
    else if (!ok)
        log_line(LOG_ERROR, "store", LOG_KV({"call", task->what}, {"err", err_name(task->code)}),
                 "%s", task->err.text);
    task_free(&task);
}

int lane_deliver(struct store *s)
{
    int count = 0;
    for (; count < DELIVER_MAX; count++) {
        pthread_mutex_lock(&s->finished_lock);
        struct task *task = list_take(&s->finished);
        pthread_mutex_unlock(&s->finished_lock);
        if (!task)
            return count;
        answer(s, task);
    }
    wake_loop(s); /* perhaps more: next turn */
    return count;
}

/* ---- queues ---- */

void task_refuse(struct store *s, struct task *task, int code, const char *text)
{
    task->code = err_set(&task->err, code, "%s", text);
    finish_one(s, task);
}

void lane_submit(struct store *s, enum lane_name name, struct task *task)
{
    struct lane *lane = &s->lanes[name];
    if (!task->args) {
        task_refuse(s, task, ERR_INPUT, "text that is not UTF-8");
        return;
    }
    pthread_mutex_lock(&lane->lock);
    bool closed = lane->closing, full = lane->queue.count >= STORE_QUEUE_MAX;
    if (!closed && !full) {
        list_put(&lane->queue, task);
        lane->queued++;
        pthread_cond_signal(&lane->more);
    }
    pthread_mutex_unlock(&lane->lock);
    if (closed)
        task_refuse(s, task, ERR_CANCELLED, "the store is closing");
    else if (full)
        task_refuse(s, task, ERR_LIMIT, "too many calls to the store are waiting");
}

void lane_settle(struct store *s, enum lane_name name)
{
    struct lane *lane = &s->lanes[name];
    pthread_mutex_lock(&lane->lock);
    uint64_t until = lane->queued;
    while (lane->through < until)
        pthread_cond_wait(&lane->settled, &lane->lock);
    pthread_mutex_unlock(&lane->lock);
}

static void tell_through(struct lane *lane, size_t count)
{
    pthread_mutex_lock(&lane->lock);
    lane->through += count;
    pthread_cond_broadcast(&lane->settled);
    pthread_mutex_unlock(&lane->lock);
}

/* Up to `max` tasks; none when the lane is closing and empty. */
static struct task_list wait_for(struct lane *lane, size_t max)
{
    struct task_list taken = {0};
    pthread_mutex_lock(&lane->lock);
    while (!lane->queue.first && !lane->closing)
        pthread_cond_wait(&lane->more, &lane->lock);
    while (taken.count < max && lane->queue.first)
        list_put(&taken, list_take(&lane->queue));
    pthread_mutex_unlock(&lane->lock);
    return taken;
}

/* ---- the writer: one commit for all that has gathered ---- */

static void forget_answer(struct task *task)
{
    json_decref(task->body);
    task->body = NULL;
    json_decref(task->events);
    task->events = NULL;
}

/* One task within the group's transaction. False: the transaction is lost. */
static bool run_in_group(struct conn *conn, struct task *task, struct err *err)
{
    if (db_exec(conn->station, "SAVEPOINT task", err) < 0)
        return false;
    task->code = task->run(conn, task);
    if (task->code >= 0)
        return db_exec(conn->station, "RELEASE task", err) == 0;
    forget_answer(task);
    if (task->code == ERR_DISK || !db_in_transaction(conn->station)) {
        *err = task->err;
        return false;
    }
    return db_exec(conn->station, "ROLLBACK TO task; RELEASE task", err) == 0;
}

static int run_group(struct conn *conn, struct task_list *group, struct err *err)
{
    if (db_exec(conn->station, "BEGIN IMMEDIATE", err) < 0)
        return err->code;
    for (struct task *task = group->first; task; task = task->next)
        if (!run_in_group(conn, task, err))
            return err->code;
    return db_exec(conn->station, "COMMIT", err);
}

/* Nothing of the group was committed: every task hears so, also those that went well by themselves.
 */
static void fail_group(struct conn *conn, struct task_list *group, const struct err *err)
{
    struct err ignored;
    if (db_in_transaction(conn->station))
        db_exec(conn->station, "ROLLBACK", &ignored);
    for (struct task *task = group->first; task; task = task->next) {
        forget_answer(task);
        task->code = err->code;
        task->err = *err;
    }
}

static bool writer_turn(struct lane *lane, struct conn *conn)
{
    struct task_list group = wait_for(lane, GROUP_MAX);
    if (!group.first)
        return false;
    struct err err = {0};
    int before = db_pages_written(conn->station);
    int code = run_group(conn, &group, &err);
    if (code < 0)
        fail_group(conn, &group, &err);
    if (code < 0 || db_pages_written(conn->station) != before) /* else it says nothing of the disk */
        disk_note(conn->store, code, &err);
    size_t count = group.count;
    finish(conn->store, &group);
    tell_through(lane, count);
    return true;
}

/* ---- the other lanes: one task after the other ---- */

/* One snapshot a task: a resource is never put together from two states of the database. */
static int run_in_snapshot(struct conn *conn, struct task *task)
{
    int code = db_exec(conn->station, "BEGIN", &task->err);
    if (code < 0)
        return code;
    code = task->run(conn, task);
    struct err ignored;
    db_exec(conn->station, "ROLLBACK", &ignored); /* it has only read */
    return code;
}

static bool single_turn(struct lane *lane, struct conn *conn)
{
    struct task_list one = wait_for(lane, 1);
    struct task *task = one.first;
    if (!task)
        return false;
    task->code = conn->station ? run_in_snapshot(conn, task) : task->run(conn, task);
    if (task->code == ERR_DISK && lane == &conn->store->lanes[LANE_INGEST])
        disk_note(conn->store, task->code, &task->err);
    if (task->code >= 0 && task->then) {
        task->run = task->then;
        task->then = NULL;
        lane_submit(conn->store, LANE_WRITE, task);
    } else {
        finish_one(conn->store, task);
    }
    tell_through(lane, 1);
    return true;
}

/* ---- threads ---- */

struct lane_thread {
    struct lane *lane;
    struct conn conn;
    pthread_t id;
};

static void *thread_main(void *arg)
{
    struct lane_thread *t = arg;
    bool group = t->lane == &t->conn.store->lanes[LANE_WRITE];
    while (group ? writer_turn(t->lane, &t->conn) : single_turn(t->lane, &t->conn))
        ;
    return NULL;
}

int lane_start(struct store *s, enum lane_name name, const struct conn *conn, struct err *err)
{
    struct lane *lane = &s->lanes[name];
    struct lane_thread *t = xcalloc(1, sizeof(*t));
    *t = (struct lane_thread){.lane = lane, .conn = *conn};
    errno = pthread_create(&t->id, NULL, thread_main, t);
    if (errno) {
        free(t);
        return err_sys(err, ERR_INTERNAL, "start a thread of the store");
    }
    lane->threads[lane->thread_count++] = t;
    return 0;
}

void lane_init(struct lane *lane)
{
    pthread_mutex_init(&lane->lock, NULL);
    pthread_cond_init(&lane->more, NULL);
    pthread_cond_init(&lane->settled, NULL);
}

/* An interrupt ends the statement that runs now; the task may begin another one. */
static void join(struct lane_thread *t, bool now)
{
    while (now) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        db_interrupt(t->conn.station);
        db_interrupt(t->conn.backups);
        until.tv_sec++;
        if (pthread_clockjoin_np(t->id, NULL, CLOCK_MONOTONIC, &until) == 0)
            return;
    }
    pthread_join(t->id, NULL);
}

void lane_stop(struct lane *lane, bool now)
{
    pthread_mutex_lock(&lane->lock);
    lane->closing = true;
    pthread_cond_broadcast(&lane->more);
    pthread_mutex_unlock(&lane->lock);
    for (size_t i = 0; i < lane->thread_count; i++) {
        struct lane_thread *t = lane->threads[i];
        join(t, now);
        db_close(&t->conn.station);
        db_close(&t->conn.backups);
        free(t);
    }
    lane->thread_count = 0;
}

void lane_deinit(struct lane *lane)
{
    pthread_cond_destroy(&lane->more);
    pthread_cond_destroy(&lane->settled);
    pthread_mutex_destroy(&lane->lock);
}
