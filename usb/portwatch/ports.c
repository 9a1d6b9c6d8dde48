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
    int64_t mark;
    LIST_ENTRY(port) link;
};

struct ports {
    pthread_mutex_t lock;
    LIST_HEAD(, port) all;
    int server;
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
    port = xcalloc(1, sizeof(*port));
    WIRE_TEXT(port->id, id);
    WIRE_TEXT(port->device.mode, "none");
    port->channel = -1;
    LIST_INSERT_HEAD(&p->all, port, link);
    return port;
}

/* A full or closed channel is not waited for: flashrackd asks again on a fresh connection, and a worker
 * that does not read its channel is dealt with by its heartbeat. */
static void tell_server(struct ports *p, const struct port *port)
{
    struct wire_message m = {.type = WIRE_port, .fd = -1};
    WIRE_TEXT(m.u.port.port, port->id);
    WIRE_TEXT(m.u.port.mode, port->device.mode);
    WIRE_TEXT(m.u.port.serial, port->device.serial);
    m.u.port.vid = port->device.vid;
    m.u.port.pid = port->device.pid;
    m.u.port.speed = port->device.speed;
    struct err err = {0};
    if (p->server >= 0 && wire_send(p->server, &m, MSG_DONTWAIT, &err) < 0)
        log_line(LOG_WARN, "ports", LOG_KV({"port", port->id}, {"err", err_name(err.code)}),
                 "flashrackd was not told: %s", err.text);
}

static void tell_worker(const struct port *port)
{
    if (port->channel < 0)
        return;
    struct wire_message m = {.type = WIRE_seen, .fd = -1};
    WIRE_TEXT(m.u.seen.mode, port->device.mode);
    WIRE_TEXT(m.u.seen.serial, port->device.serial);
    (void)wire_send(port->channel, &m, MSG_DONTWAIT, NULL);
}

void ports_server_set(struct ports *p, int socket_fd)
{
    pthread_mutex_lock(&p->lock);
    p->server = socket_fd;
    struct port *port;
    LIST_FOREACH(port, &p->all, link)
    {
        tell_server(p, port);
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
    port->mark = ++p->mark;
    struct port_device clean = {.vid = device->vid, .pid = device->pid, .speed = device->speed};
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

void ports_watch(struct ports *p, const char *id, int channel_fd)
{
    pthread_mutex_lock(&p->lock);
    struct port *port = find_or_add(p, id);
    port_drop_channel(port);
    port->channel = channel_fd;
    tell_worker(port);
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
        port->want[0] = '\0';
        struct err err = {0};
        yes = wire_send(port->channel, &m, MSG_DONTWAIT, &err) == 0;
        if (!yes)
            log_line(LOG_WARN, "ports", LOG_KV({"port", id}), "device not handed over: %s",
                     err.text);
    }
    pthread_mutex_unlock(&p->lock);
    return yes;
}

void ports_trouble(struct ports *p, const char *id, const char *fmt, ...)
{
    struct wire_message m = {.type = WIRE_trouble, .fd = -1};
    WIRE_TEXT(m.u.trouble.port, id);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(m.u.trouble.text, sizeof(m.u.trouble.text), fmt, ap);
    va_end(ap);
    log_line(LOG_WARN, "ports", LOG_KV({"port", id}), "%s", m.u.trouble.text);
    pthread_mutex_lock(&p->lock);
    if (p->server >= 0)
        (void)wire_send(p->server, &m, MSG_DONTWAIT, NULL);
    pthread_mutex_unlock(&p->lock);
}
