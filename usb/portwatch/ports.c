#include "usb/portwatch/ports.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "usb/base/log.h"
#include "usb/base/mem.h"
#include "usb/wire/wire.h"

struct port {
    char id[PORT_ID_MAX];
    struct port_device device;
    int channel;
    char want[PORT_ID_MAX];
    char trouble[WIRE_TEXT_MAX]; /* as told to flashrackd; empty: none */
    bool is_port;                /* false: the address of a rack, here for its trouble alone */
    bool tell_server, tell_worker, tell_trouble; /* something that is not said yet */
    int64_t mark;
    LIST_ENTRY(port) link;
};

struct ports {
    pthread_mutex_t lock;
    LIST_HEAD(, port) all;
    int server;
    size_t count;
    bool full; /* said once */
    int64_t mark;
};

/* usb ids of the phone's modes; usb/portwatch/README.md, "modes" */
static const struct {
    int vid, pid; /* pid -1: any */
    const char *mode;
} mode_table[] = {
    {0x0e8d, 0x0003, "brom"},      {0x0e8d, 0x2000, "preloader"}, {0x0e8d, 0x20ff, "preloader"},
    {0x0e8d, 0x3000, "preloader"}, {0x0e8d, 0x6000, "preloader"}, {0x0e8d, 0x2001, "da"},
    {0x2e04, -1, "android"},       {0x0489, -1, "android"},       {0x18d1, -1, "android"},
    {0x0e8d, -1, "android"},
};

const char *port_mode_of(int vid, int pid, bool fastboot_interface)
{
    if (fastboot_interface)
        return "fastboot";
    for (size_t i = 0; i < ARRAY_LEN(mode_table); i++)
        if (mode_table[i].vid == vid && (mode_table[i].pid == pid || mode_table[i].pid == -1))
            return mode_table[i].mode;
    return "other";
}

struct ports *ports_new(void)
{
    struct ports *p = xcalloc(1, sizeof(*p));
    pthread_mutex_init(&p->lock, NULL);
    LIST_INIT(&p->all);
    p->server = -1;
    return p;
}

static void port_drop_channel(struct port *port)
{
    fd_close(&port->channel);
    port->want[0] = '\0';
    port->tell_worker = false;
}

void ports_free(struct ports **p)
{
    if (!*p)
        return;
    while (!LIST_EMPTY(&(*p)->all)) {
        struct port *port = LIST_FIRST(&(*p)->all);
        LIST_REMOVE(port, link);
        port_drop_channel(port);
        free(port);
    }
    pthread_mutex_destroy(&(*p)->lock);
    free(*p);
    *p = NULL;
}

static struct port *find(struct ports *p, const char *id)
{
    struct port *port;
    LIST_FOREACH(port, &p->all, link)
    {
        if (strcmp(port->id, id) == 0)
            return port;
    }
    return NULL;
}

static struct port *find_or_add(struct ports *p, const char *id)
{
    struct port *port = find(p, id);
    if (port)
        return port;
    if (p->count == PORTS_MAX) {
        if (!p->full)
            log_line(LOG_WARN, "ports", LOG_KV({"port", id}),
                     "more than %d ports: the others are left out", PORTS_MAX);
        p->full = true;
        return NULL;
    }
    p->count++;
    port = xcalloc(1, sizeof(*port));
    WIRE_TEXT(port->id, id);
    WIRE_TEXT(port->device.mode, "none");
    port->channel = -1;
    LIST_INSERT_HEAD(&p->all, port, link);
    return port;
}

/* A full channel is not waited for under the lock: what could not be said stays due, ports_flush() says it as
 * it is then. A closed one is forgotten by the main thread. False: still due. */
static bool say(int socket_fd, const struct wire_message *m)
{
    struct err err = {0};
    return socket_fd < 0 || wire_send(socket_fd, m, MSG_DONTWAIT, &err) != ERR_TIMEOUT;
}

static void tell_server(struct ports *p, struct port *port)
{
    if (!port->is_port)
        return;
    struct wire_message m = {.type = WIRE_port, .fd = -1};
    WIRE_TEXT(m.u.port.port, port->id);
    WIRE_TEXT(m.u.port.mode, port->device.mode);
    WIRE_TEXT(m.u.port.serial, port->device.serial);
    m.u.port.vid = port->device.vid;
    m.u.port.pid = port->device.pid;
    m.u.port.speed = port->device.speed;
    port->tell_server = !say(p->server, &m);
}

static void tell_trouble(struct ports *p, struct port *port)
{
    struct wire_message m = {.type = WIRE_trouble, .fd = -1};
    WIRE_TEXT(m.u.trouble.port, port->id);
    WIRE_TEXT(m.u.trouble.text, port->trouble);
    port->tell_trouble = !say(p->server, &m);
}

static void tell_worker(struct port *port)
{
    struct wire_message m = {.type = WIRE_seen, .fd = -1};
    WIRE_TEXT(m.u.seen.mode, port->device.mode);
    WIRE_TEXT(m.u.seen.serial, port->device.serial);
    m.u.seen.devid = port->device.devid;
    port->tell_worker = !say(port->channel, &m);
}

bool ports_flush(struct ports *p)
{
    bool due = false;
    struct port *port;
    pthread_mutex_lock(&p->lock);
    LIST_FOREACH(port, &p->all, link)
    {
        if (port->tell_server)
            tell_server(p, port);
        if (port->tell_trouble)
            tell_trouble(p, port);
        if (port->tell_worker)
            tell_worker(port);
        due |= port->tell_server || port->tell_trouble || port->tell_worker;
    }
    pthread_mutex_unlock(&p->lock);
    return due;
}

void ports_server_set(struct ports *p, int socket_fd)
{
    pthread_mutex_lock(&p->lock);
    p->server = socket_fd;
    struct port *port;
    LIST_FOREACH(port, &p->all, link)
    {
        tell_server(p, port);
        if (port->trouble[0])
            tell_trouble(p, port);
    }
    pthread_mutex_unlock(&p->lock);
}

static void change(struct ports *p, struct port *port, const struct port_device *device)
{
    if (memcmp(&port->device, device, sizeof(*device)) == 0)
        return;
    port->device = *device;
    log_line(LOG_DEBUG, "ports", LOG_KV({"port", port->id}, {"mode", device->mode}), "changed");
    tell_server(p, port);
    tell_worker(port);
}

void ports_update(struct ports *p, const char *id, const struct port_device *device)
{
    pthread_mutex_lock(&p->lock);
    struct port *port = find_or_add(p, id);
    if (!port) {
        pthread_mutex_unlock(&p->lock);
        return;
    }
    port->is_port = true;
    port->mark = ++p->mark;
    struct port_device clean = {
        .vid = device->vid, .pid = device->pid, .speed = device->speed, .devid = device->devid};
    WIRE_TEXT(clean.mode, device->mode);
    WIRE_TEXT(clean.serial, device->serial);
    change(p, port, &clean);
    pthread_mutex_unlock(&p->lock);
}

int64_t ports_mark(struct ports *p)
{
    pthread_mutex_lock(&p->lock);
    int64_t mark = p->mark;
    pthread_mutex_unlock(&p->lock);
    return mark;
}

void ports_sweep(struct ports *p, const char *prefix, int64_t mark)
{
    static const struct port_device nothing = {.mode = "none"};
    pthread_mutex_lock(&p->lock);
    struct port *port;
    LIST_FOREACH(port, &p->all, link)
    {
        if (port->mark <= mark && strncmp(port->id, prefix, strlen(prefix)) == 0)
            change(p, port, &nothing);
    }
    pthread_mutex_unlock(&p->lock);
}

/* The worker of a port that found no room would wait for ever: flashrackd must know why. */
static void tell_no_room(struct ports *p, const char *id)
{
    struct wire_message m = {.type = WIRE_trouble, .fd = -1};
    WIRE_TEXT(m.u.trouble.port, id);
    snprintf(m.u.trouble.text, sizeof(m.u.trouble.text),
             "portwatch watches %d ports already and no more: restart it, and look for a rack that "
             "invents bus ids",
             PORTS_MAX);
    if (!say(p->server, &m))
        log_line(LOG_ERROR, "ports", LOG_KV({"port", id}), "%s", m.u.trouble.text);
}

void ports_watch(struct ports *p, const char *id, int channel_fd)
{
    pthread_mutex_lock(&p->lock);
    struct port *port = find_or_add(p, id);
    if (port) {
        port->is_port = true;
        port_drop_channel(port);
        port->channel = STEAL_FD(channel_fd);
        tell_worker(port);
    } else {
        tell_no_room(p, id);
    }
    fd_close(&channel_fd);
    pthread_mutex_unlock(&p->lock);
}

int ports_channels(struct ports *p, int *fds_out, int max)
{
    int n = 0;
    pthread_mutex_lock(&p->lock);
    struct port *port;
    LIST_FOREACH(port, &p->all, link)
    {
        if (port->channel >= 0 && n < max)
            fds_out[n++] = port->channel;
    }
    pthread_mutex_unlock(&p->lock);
    return n;
}

static void read_wants(struct port *port)
{
    for (;;) {
        struct wire_message m = {.fd = -1};
        struct err err = {0};
        int rc = wire_recv(port->channel, &m, MSG_DONTWAIT, &err);
        if (rc == ERR_TIMEOUT)
            return;
        if (rc > 0 && m.type == WIRE_want)
            WIRE_TEXT(port->want, m.u.want.modes);
        bool broken = rc < 0 || (rc > 0 && m.type != WIRE_want);
        wire_message_deinit(&m);
        if (broken)
            log_line(LOG_WARN, "ports", LOG_KV({"port", port->id}), "worker dropped: %s",
                     rc < 0 ? err.text : "it sent something else than a want");
        if (rc == 0 || broken) {
            port_drop_channel(port);
            return;
        }
    }
}

void ports_channel_readable(struct ports *p, int channel_fd)
{
    pthread_mutex_lock(&p->lock);
    struct port *port;
    LIST_FOREACH(port, &p->all, link)
    {
        if (port->channel == channel_fd) {
            read_wants(port);
            break;
        }
    }
    pthread_mutex_unlock(&p->lock);
}

/* want is a list of modes with blanks between them */
static bool covers(const char *want, const char *mode)
{
    size_t len = strlen(mode);
    for (const char *at = strstr(want, mode); at; at = strstr(at + 1, mode))
        if ((at == want || at[-1] == ' ') && (at[len] == ' ' || at[len] == '\0'))
            return true;
    return false;
}

static bool wanted(const struct port *port)
{
    return port && port->channel >= 0 && covers(port->want, port->device.mode);
}

bool ports_wanted(struct ports *p, const char *id)
{
    pthread_mutex_lock(&p->lock);
    bool yes = wanted(find(p, id));
    pthread_mutex_unlock(&p->lock);
    return yes;
}

bool ports_any_want(struct ports *p, const char *prefix)
{
    bool any = false;
    pthread_mutex_lock(&p->lock);
    struct port *port;
    LIST_FOREACH(port, &p->all, link)
    {
        if (port->want[0] && strncmp(port->id, prefix, strlen(prefix)) == 0)
            any = true;
    }
    pthread_mutex_unlock(&p->lock);
    return any;
}

bool ports_hand(struct ports *p, const char *id, const char *kind, int fd, int64_t devid)
{
    pthread_mutex_lock(&p->lock);
    struct port *port = find(p, id);
    bool yes = wanted(port);
    if (yes) {
        struct wire_message m = {.type = WIRE_attach, .fd = fd};
        WIRE_TEXT(m.u.attach.port, id);
        WIRE_TEXT(m.u.attach.mode, port->device.mode);
        WIRE_TEXT(m.u.attach.kind, kind);
        m.u.attach.devid = devid;
        m.u.attach.speed = port->device.speed;
        struct err err = {0};
        yes = wire_send(port->channel, &m, MSG_DONTWAIT, &err) == 0;
        if (yes)
            port->want[0] =
                '\0'; /* one that could not be answered stays: the next look answers it */
        if (!yes)
            log_line(LOG_WARN, "ports", LOG_KV({"port", id}), "device not handed over: %s",
                     err.text);
        else if (port->trouble[0]) { /* what was wrong with this port is over */
            port->trouble[0] = '\0';
            tell_trouble(p, port);
        }
    }
    pthread_mutex_unlock(&p->lock);
    return yes;
}

void ports_trouble(struct ports *p, const char *id, const char *fmt, ...)
{
    char text[WIRE_TEXT_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    pthread_mutex_lock(&p->lock);
    struct port *port = find_or_add(p, id);
    if (port && strcmp(port->trouble, text) != 0) {
        WIRE_TEXT(port->trouble, text);
        log_line(text[0] ? LOG_WARN : LOG_INFO, "ports", LOG_KV({"port", id}), "%s",
                 text[0] ? text : "works again");
        tell_trouble(p, port);
    }
    pthread_mutex_unlock(&p->lock);
}
