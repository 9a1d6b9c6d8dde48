#include "server/workers/workers.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "usb/base/clock.h"
#include "usb/base/log.h"
#include "usb/base/mem.h"

extern char **environ;

struct outgoing {
    char *
        text; /* encoded at once: what the message points to may be gone when the channel has room */
    int fd;
    STAILQ_ENTRY(outgoing) next;
};

struct worker {
    struct worker_pool *pool;
    pid_t pid;
    int channel;
    int device_end; /* of a spare; -1 once it was taken */
    struct event *readable, *writable, *deadline;
    STAILQ_HEAD(, outgoing) queue;
    struct worker_events events;
    void *arg;
    bool taken, exited, greeted;
    char why[160];
    LIST_ENTRY(worker) link;
};

struct worker_pool {
    struct event_base *base;
    char *program;
    double time_scale;
    int64_t beat_deadline_ms, start_deadline_ms;
    struct event *sigchld, *respawn;
    struct worker *spare;
    LIST_HEAD(, worker) all;
};

static void outgoing_free(struct outgoing *o)
{
    fd_close(&o->fd);
    free(o->text);
    free(o);
}

static void worker_destroy(struct worker *w)
{
    LIST_REMOVE(w, link);
    if (w->pool->spare == w)
        w->pool->spare = NULL;
    while (!STAILQ_EMPTY(&w->queue)) {
        struct outgoing *o = STAILQ_FIRST(&w->queue);
        STAILQ_REMOVE_HEAD(&w->queue, next);
        outgoing_free(o);
    }
    if (w->readable)
        event_free(w->readable);
    if (w->writable)
        event_free(w->writable);
    if (w->deadline)
        event_free(w->deadline);
    fd_close(&w->channel);
    fd_close(&w->device_end);
    free(w);
}

/* The process was reaped: what it still said is read first, then its owner is told. */
static void worker_ended(struct worker *w)
{
    if (w->taken)
        w->events.ended(w->arg, w, w->why);
    worker_destroy(w);
}

/* One line of /proc/PID/name; empty when there is none. */
static void read_proc(const struct worker *w, const char *name, char *out, size_t size)
{
    AUTO(free_ptr) char *path = xasprintf("/proc/%d/%s", (int)w->pid, name);
    AUTO(fd_close) int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, out, size - 1);
    out[n > 0 ? n : 0] = '\0';
    out[strcspn(out, "\n")] = '\0';
}

/* For whoever looks for the reason: what it waits for, and whether it got a processor at all. */
static void log_hung(const struct worker *w)
{
    char stat[200], wchan[80], times[80];
    read_proc(w, "stat", stat, sizeof(stat));
    read_proc(w, "wchan", wchan, sizeof(wchan));
    read_proc(w, "schedstat", times, sizeof(times));
    const char *state = strrchr(stat, ')');
    unsigned long long ran_ns = 0, waited_ns = 0;
    (void)sscanf(times, "%llu %llu", &ran_ns, &waited_ns);
    log_line(
        LOG_WARN, "workers", NULL,
        "worker %d has said nothing for too long: state %c, waits in %s, has run for %llu ms and "
        "waited for a processor for %llu ms",
        (int)w->pid, state && state[1] ? state[2] : '?', wchan[0] ? wchan : "?", ran_ns / 1000000,
        waited_ns / 1000000);
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    log_hung(arg);
    worker_kill(arg, "no heartbeat: the worker hung");
}

static void deadline_restart(struct worker *w)
{
    if (!w->deadline)
        return;
    int64_t ms = clock_scaled(w->greeted ? w->pool->beat_deadline_ms : w->pool->start_deadline_ms);
    struct timeval tv = {ms / 1000, (ms % 1000) * 1000};
    evtimer_add(w->deadline, &tv);
}

static void on_message(struct worker *w, struct wire_message *m)
{
    w->greeted = true;
    deadline_restart(w);
    if (m->type == WIRE_hello) {
        if (strcmp(m->u.hello.build, wire_build_id()) != 0)
            worker_kill(w, "the worker is of another build; restart the station");
        return;
    }
    if (w->taken)
        w->events.message(w->arg, w, m);
}

/* Reads at most a few messages, so that one chatty worker does not hold up the loop. */
static void drain(struct worker *w, int at_most)
{
    for (int i = 0; i < at_most && w->channel >= 0; i++) {
        struct wire_message m = {.fd = -1};
        struct err err = {0};
        int rc = wire_recv(w->channel, &m, MSG_DONTWAIT, &err);
        if (rc == ERR_TIMEOUT)
            return;
        if (rc <= 0) {
            if (rc < 0) {
                log_line(LOG_WARN, "workers", LOG_KV({"err", err_name(rc)}), "worker %d: %s",
                         (int)w->pid, err.text);
                worker_kill(w, err.text);
            }
            if (w->readable)
                event_del(w->readable);
            return;
        }
        on_message(w, &m);
        wire_message_deinit(&m);
    }
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    drain(arg, 32);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct worker *w = arg;
    while (!STAILQ_EMPTY(&w->queue)) {
        struct outgoing *o = STAILQ_FIRST(&w->queue);
        struct err err = {0};
        int rc = wire_send_text(w->channel, o->text, o->fd, MSG_DONTWAIT, &err);
        if (rc == ERR_TIMEOUT) {
            event_add(w->writable, NULL);
            return;
        }
        STAILQ_REMOVE_HEAD(&w->queue, next);
        outgoing_free(o);
        if (rc < 0) /* its end is reported when the process is reaped */
            return;
    }
}

static int spawn(struct worker_pool *pool, struct worker *w, const char *folder, int channel_far,
                 int device_far, struct err *err)
{
    char scale[32];
    snprintf(scale, sizeof(scale), "%g", pool->time_scale);
    char *argv[] = {
        pool->program, "--time-scale", scale, folder ? "--folder" : NULL, (char *)(uintptr_t)folder,
        NULL};
    /* far from 3 and 4, so that no dup2 below overwrites what a later one needs */
    AUTO(fd_close) int channel_fd = fcntl(channel_far, F_DUPFD_CLOEXEC, 5);
    AUTO(fd_close) int device_fd = fcntl(device_far, F_DUPFD_CLOEXEC, 5);
    if (channel_fd < 0 || device_fd < 0)
        return err_sys(err, ERR_IO, "descriptors for a worker");
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attr);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, channel_fd, 3);
    posix_spawn_file_actions_adddup2(&actions, device_fd, 4);
    sigset_t none;
    sigemptyset(&none);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
    int rc = posix_spawn(&w->pid, pool->program, &actions, &attr, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attr);
    if (rc != 0) {
        errno = rc;
        return err_sys(err, ERR_IO, "start '%s'", pool->program);
    }
    return 0;
}

static int worker_start(struct worker_pool *pool, const char *folder, struct worker **out,
                        struct err *err)
{
    int channel[2], device[2];
    int rc = wire_pair(channel, err);
    if (rc < 0)
        return rc;
    AUTO(fd_close) int near = channel[0];
    AUTO(fd_close) int far = channel[1];
    rc = wire_pair(device, err);
    if (rc < 0)
        return rc;
    AUTO(fd_close) int device_near = device[0];
    AUTO(fd_close) int device_far = device[1];

    struct worker *w = xcalloc(1, sizeof(*w));
    STAILQ_INIT(&w->queue);
    w->pool = pool;
    rc = spawn(pool, w, folder, far, device_far, err);
    if (rc < 0) {
        free(w);
        return rc;
    }
    w->channel = STEAL_FD(near);
    w->device_end = STEAL_FD(device_near);
    LIST_INSERT_HEAD(&pool->all, w, link);
    w->readable = event_new(pool->base, w->channel, EV_READ | EV_PERSIST, on_readable, w);
    w->writable = event_new(pool->base, w->channel, EV_WRITE, on_writable, w);
    event_add(w->readable, NULL);
    struct wire_message hello = {.type = WIRE_hello, .fd = -1, .u.hello = {.pid = getpid()}};
    WIRE_TEXT(hello.u.hello.build, wire_build_id());
    WIRE_TEXT(hello.u.hello.role, "server");
    worker_send(w, &hello);
    *out = w;
    return 0;
}

static void respawn_soon(struct worker_pool *pool, int ms)
{
    struct timeval tv = {ms / 1000, (ms % 1000) * 1000};
    evtimer_add(pool->respawn, &tv);
}

static void on_respawn(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct worker_pool *pool = arg;
    struct err err = {0};
    if (pool->spare || worker_start(pool, NULL, &pool->spare, &err) == 0)
        return;
    log_line(LOG_ERROR, "workers", LOG_KV({"err", err_name(err.code)}), "no spare worker: %s",
             err.text);
    respawn_soon(pool, 2000);
}

/* After an upgrade (SIGHUP) the workers of before are still our children; they are known by their name only. */
static void reap_strangers(const struct worker_pool *pool)
{
    siginfo_t who = {0};
    while (waitid(P_ALL, 0, &who, WEXITED | WNOHANG | WNOWAIT) == 0 && who.si_pid > 0) {
        char path[40], name[16] = "";
        const struct worker *w;
        snprintf(path, sizeof(path), "/proc/%d/comm", (int)who.si_pid);
        FILE *f = fopen(path, "re");
        bool worker = f && fscanf(f, "%15s", name) == 1 && strcmp(name, "flashrack-worke") == 0;
        if (f)
            fclose(f);
        LIST_FOREACH(w, &pool->all, link)
        {
            worker &= w->pid != who.si_pid;
        }
        if (!worker)
            return; /* somebody else waits for that one */
        waitpid(who.si_pid, NULL, 0);
        who.si_pid = 0;
    }
}

static void on_sigchld(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct worker_pool *pool = arg;
    struct worker *w, *next;
    for (w = LIST_FIRST(&pool->all); w; w = next) {
        next = LIST_NEXT(w, link);
        int status;
        if (waitpid(w->pid, &status, WNOHANG) != w->pid)
            continue;
        w->exited = true;
        if (!w->why[0] && WIFSIGNALED(status))
            snprintf(w->why, sizeof(w->why), "the worker was ended by signal %d (%s)",
                     WTERMSIG(status), strsignal(WTERMSIG(status)));
        else if (!w->why[0])
            snprintf(w->why, sizeof(w->why), "the worker exited with status %d",
                     WIFEXITED(status) ? WEXITSTATUS(status) : -1);
        drain(w, 100000); /* its last words, `done` among them, count */
        bool spare = !w->taken;
        worker_ended(w);
        if (spare) /* do not spin when the program cannot start at all */
            respawn_soon(pool, 1000);
    }
    reap_strangers(pool);
}

int worker_pool_new(struct event_base *base, const struct worker_pool_config *config,
                    struct worker_pool **out, struct err *err)
{
    if (access(config->program, X_OK) < 0)
        return err_sys(err, ERR_NOT_FOUND, "worker program '%s'", config->program);
    struct worker_pool *pool = xcalloc(1, sizeof(*pool));
    pool->base = base;
    pool->program = xstrdup(config->program);
    pool->time_scale = config->time_scale > 0 ? config->time_scale : 1.0;
    pool->beat_deadline_ms = config->beat_deadline_ms > 0 ? config->beat_deadline_ms : 10000;
    pool->start_deadline_ms = config->start_deadline_ms > 0 ? config->start_deadline_ms : 60000;
    LIST_INIT(&pool->all);
    pool->sigchld = evsignal_new(base, SIGCHLD, on_sigchld, pool);
    pool->respawn = evtimer_new(base, on_respawn, pool);
    event_add(pool->sigchld, NULL);
    respawn_soon(pool, 0);
    *out = pool;
    return 0;
}

void worker_pool_free(struct worker_pool **pool)
{
    if (!*pool)
        return;
    while (!LIST_EMPTY(&(*pool)->all)) {
        struct worker *w = LIST_FIRST(&(*pool)->all);
        WIRE_TEXT(w->why, "the station was stopped");
        worker_ended(w);
    }
    event_free((*pool)->sigchld);
    event_free((*pool)->respawn);
    free((*pool)->program);
    free(*pool);
    *pool = NULL;
}

struct worker *worker_take(struct worker_pool *pool, const struct worker_events *events, void *arg,
                           int *device_end_out, struct err *err)
{
    struct worker *w = STEAL(pool->spare);
    if (!w && worker_start(pool, NULL, &w, err) < 0)
        return NULL;
    w->events = *events;
    w->arg = arg;
    w->taken = true;
    *device_end_out = STEAL_FD(w->device_end);
    respawn_soon(pool, 0);
    return w;
}

struct worker *worker_take_for_folder(struct worker_pool *pool, const char *folder,
                                      const struct worker_events *events, void *arg,
                                      struct err *err)
{
    struct worker *w = NULL;
    if (worker_start(pool, folder, &w, err) < 0)
        return NULL;
    w->events = *events;
    w->arg = arg;
    w->taken = true;
    fd_close(&w->device_end);
    return w;
}

void worker_send(struct worker *w, const struct wire_message *m)
{
    struct outgoing *o = xcalloc(1, sizeof(*o));
    json_t *body = wire_encode(m);
    o->text = json_dumps(body, JSON_COMPACT);
    json_decref(body);
    o->fd = m->fd >= 0 ? fcntl(m->fd, F_DUPFD_CLOEXEC, 5) : -1;
    STAILQ_INSERT_TAIL(&w->queue, o, next);
    if (w->channel >= 0)
        on_writable(-1, 0, w);
}

void worker_expect_beats(struct worker *w)
{
    if (!w->deadline)
        w->deadline = evtimer_new(w->pool->base, on_deadline, w);
    deadline_restart(w);
}

void worker_let_go(struct worker *w)
{
    if (w->channel >= 0)
        shutdown(w->channel, SHUT_WR); /* what it still says is read until it exits */
}

void worker_kill(struct worker *w, const char *why)
{
    if (!w->why[0])
        WIRE_TEXT(w->why, why);
    if (!w->exited)
        kill(w->pid, SIGKILL);
}

int64_t worker_pid(const struct worker *w)
{
    return w->pid;
}
