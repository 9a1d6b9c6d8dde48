#include "server/workers/portwatch.h"

#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "usb/base/log.h"
#include "usb/base/mem.h"

extern char **environ;

enum { RETRY_MS = 100, TELL_AFTER_TRIES = 50 };

struct portwatch_link {
    struct event_base *base;
    char *program, *path;
    char **racks;
    bool usb, up;
    pid_t child;
    int fd, tries; /* to connect, in vain, since the last connection */
    struct event *readable, *retry;
    struct portwatch_events events;
    void *arg;
};

static void retry_later(struct portwatch_link *link)
{
    struct timeval tv = {0, RETRY_MS * 1000};
    evtimer_add(link->retry, &tv);
}

static void link_down(struct portwatch_link *link)
{
    if (link->readable)
        event_free(link->readable);
    link->readable = NULL;
    fd_close(&link->fd);
    if (link->up) {
        link->up = false;
        log_line(LOG_WARN, "portwatch", NULL, "connection to portwatch lost");
        link->events.up(link->arg, false);
    }
    retry_later(link);
}

static void on_message(struct portwatch_link *link, const struct wire_message *m)
{
    switch (m->type) {
    case WIRE_hello:
        if (strcmp(m->u.hello.build, wire_build_id()) != 0) {
            log_line(LOG_ERROR, "portwatch", NULL,
                     "portwatch is of another build (%s, we are %s): restart it", m->u.hello.build,
                     wire_build_id());
            link_down(link);
            return;
        }
        link->up = true;
        link->events.up(link->arg, true);
        break;
    case WIRE_port:
        link->events.port(link->arg, &m->u.port);
        break;
    case WIRE_hub:
        link->events.hub(link->arg, &m->u.hub);
        break;
    case WIRE_trouble:
        link->events.trouble(link->arg, m->u.trouble.port, m->u.trouble.text);
        break;
    default:
        log_line(LOG_WARN, "portwatch", NULL, "unexpected message %s", wire_type_name(m->type));
    }
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct portwatch_link *link = arg;
    while (link->fd >= 0) {
        struct wire_message m = {.fd = -1};
        struct err err = {0};
        int rc = wire_recv(link->fd, &m, MSG_DONTWAIT, &err);
        if (rc == ERR_TIMEOUT)
            return;
        if (rc > 0)
            on_message(link, &m);
        else
            link_down(link);
        wire_message_deinit(&m);
    }
}

static void spawn(struct portwatch_link *link)
{
    if (!link->program || (link->child > 0 && waitpid(link->child, NULL, WNOHANG) == 0))
        return;
    char *argv[8];
    int n = 0;
    argv[n++] = link->program;
    argv[n++] = (char *)(uintptr_t) "--listen";
    argv[n++] = link->path;
    argv[n++] = (char *)(uintptr_t) "--exit-with-client";
    if (!link->usb)
        argv[n++] = (char *)(uintptr_t) "--no-usb";
    argv[n] = NULL;
    int rc = posix_spawn(&link->child, link->program, NULL, NULL, argv, environ);
    if (rc != 0) {
        link->child = 0;
        log_line(LOG_ERROR, "portwatch", NULL, "start '%s': %s", link->program, strerror(rc));
    }
}

static int try_connect(struct portwatch_link *link)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    memcpy(addr.sun_path, link->path, strlen(link->path) + 1);
    AUTO(fd_close) int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
        return -1;
    link->fd = STEAL_FD(fd);
    return 0;
}

static void on_retry(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct portwatch_link *link = arg;
    if (try_connect(link) < 0) {
        if (++link->tries == TELL_AFTER_TRIES)
            log_line(LOG_ERROR, "portwatch", NULL,
                     "no portwatch at %s: no phone is seen, no job starts", link->path);
        spawn(link);
        retry_later(link);
        return;
    }
    link->tries = 0;
    link->readable = event_new(link->base, link->fd, EV_READ | EV_PERSIST, on_readable, link);
    event_add(link->readable, NULL);
    struct wire_message m = {.type = WIRE_hello, .fd = -1, .u.hello = {.pid = getpid()}};
    WIRE_TEXT(m.u.hello.build, wire_build_id());
    WIRE_TEXT(m.u.hello.role, "server");
    (void)wire_send(link->fd, &m, MSG_DONTWAIT, NULL);
    for (char **rack = link->racks; *rack; rack++) {
        m = (struct wire_message){.type = WIRE_rack, .fd = -1};
        WIRE_TEXT(m.u.rack.address, *rack);
        (void)wire_send(link->fd, &m, MSG_DONTWAIT, NULL);
    }
}

int portwatch_link_new(struct event_base *base, const struct portwatch_config *config,
                       const struct portwatch_events *events, void *arg,
                       struct portwatch_link **out, struct err *err)
{
    struct sockaddr_un addr;
    if (strlen(config->socket_path) >= sizeof(addr.sun_path))
        return err_set(err, ERR_INPUT,
                       "socket path '%s' is longer than %zu bytes; choose a shorter "
                       "data folder or --portwatch PATH",
                       config->socket_path, sizeof(addr.sun_path) - 1);
    struct portwatch_link *link = xcalloc(1, sizeof(*link));
    link->base = base;
    link->program = xstrdup(config->program);
    link->path = xstrdup(config->socket_path);
    link->racks = list_copy(config->racks);
    link->usb = config->usb;
    link->fd = -1;
    link->events = *events;
    link->arg = arg;
    link->retry = evtimer_new(base, on_retry, link);
    struct timeval now = {0, 0};
    evtimer_add(link->retry, &now);
    *out = link;
    return 0;
}

enum { END_MS = 3000, KILLED_MS = 1000, LOOK_AGAIN_MS = 10 };

static bool is_over(pid_t child, int within_ms)
{
    for (int ms = 0; waitpid(child, NULL, WNOHANG) == 0; ms += LOOK_AGAIN_MS) {
        if (ms >= within_ms)
            return false;
        nanosleep(&(struct timespec){.tv_nsec = LOOK_AGAIN_MS * 1000000}, NULL);
    }
    return true;
}

/* It may sit in a call of the kernel to a device that does not answer, and the station ends all the same. */
static void end_child(pid_t child)
{
    kill(child, SIGTERM);
    if (is_over(child, END_MS))
        return;
    log_line(LOG_WARN, "station", NULL, "portwatch (process %d) does not end and is killed", child);
    kill(child, SIGKILL);
    if (!is_over(child, KILLED_MS))
        log_line(LOG_WARN, "station", NULL, "portwatch (process %d) is left in the kernel", child);
}

void portwatch_link_free(struct portwatch_link **link)
{
    struct portwatch_link *l = *link;
    if (!l)
        return;
    if (l->readable)
        event_free(l->readable);
    event_free(l->retry);
    fd_close(&l->fd);
    if (l->child > 0)
        end_child(l->child);
    list_free(&l->racks);
    free(l->program);
    free(l->path);
    free(l);
    *link = NULL;
}

bool portwatch_is_up(const struct portwatch_link *link)
{
    return link->up;
}

int portwatch_watch(struct portwatch_link *link, const char *port, int device_end, struct err *err)
{
    if (!link->up)
        return err_set(err, ERR_GONE, "portwatch is not running");
    struct wire_message m = {.type = WIRE_watch, .fd = device_end};
    WIRE_TEXT(m.u.watch.port, port);
    return wire_send(link->fd, &m, MSG_DONTWAIT, err);
}
