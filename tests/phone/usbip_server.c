#include "tests/phone/usbip_server.h"

#include <assert.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tests/phone/hardware.h"
#include "tests/phone/rack.h"
#include "usb/base/log.h"
#include "usb/base/mem.h"
#include "usb/codec/usbip.h"

enum {
    LINKS_MAX = 256,
    HANDSHAKE_SECONDS = 10,
    INBOX_BYTES = 16384,
    DEVLIST_BYTES_MAX = 1 << 20,
    LINK_STACK_BYTES = 256 << 10,
};

/* One connection. */
struct link {
    struct link *next;
    struct usbip_server *server;
    struct board *board; /* imported; NULL in the handshake */
    int fd;
    pthread_mutex_t send_lock;
    /* Bytes that came with what was asked for: most requests are 48 bytes and arrive in bunches. */
    uint8_t inbox[INBOX_BYTES];
    size_t inbox_at, inbox_end;
};

struct usbip_server {
    struct board *const *boards;
    size_t count;
    int listen_fd, stop_fd;
    char address[NI_MAXHOST + NI_MAXSERV + 2];
    pthread_t acceptor;
    pthread_mutex_t lock;
    pthread_cond_t gone;
    struct link *links;
    size_t link_count;
    bool stopping;
};

/* ---- bytes
 * ------------------------------------------------------------------------------------------ */

static ssize_t receive(struct link *l, void *dst, size_t len)
{
    ssize_t n;
    do
        n = recv(l->fd, dst, len, 0);
    while (n < 0 && errno == EINTR);
    return n;
}

/* Exactly `len` bytes; false when the connection ended. */
static bool link_read(struct link *l, void *dst, size_t len)
{
    uint8_t *at = dst;
    while (len) {
        size_t there = MIN_OF(l->inbox_end - l->inbox_at, len);
        if (there) {
            memcpy(at, l->inbox + l->inbox_at, there);
            l->inbox_at += there;
            at += there;
            len -= there;
            continue;
        }
        bool big = len >= INBOX_BYTES; /* payload: straight to its place */
        ssize_t n = big ? receive(l, at, len) : receive(l, l->inbox, INBOX_BYTES);
        if (n <= 0)
            return false;
        if (big) {
            at += n;
            len -= (size_t)n;
        } else {
            l->inbox_at = 0;
            l->inbox_end = (size_t)n;
        }
    }
    return true;
}

/* The whole of both parts in as few calls as the socket allows; false when the connection ended. */
static bool send_parts(int fd, struct iovec parts[2])
{
    struct msghdr msg = {.msg_iov = parts, .msg_iovlen = 2};
    while (msg.msg_iovlen) {
        ssize_t n = sendmsg(fd, &msg, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return false;
        while (msg.msg_iovlen && (size_t)n >= msg.msg_iov->iov_len) {
            n -= (ssize_t)msg.msg_iov->iov_len;
            msg.msg_iov++;
            msg.msg_iovlen--;
        }
        if (msg.msg_iovlen) {
            msg.msg_iov->iov_base = (uint8_t *)msg.msg_iov->iov_base + n;
            msg.msg_iov->iov_len -= (size_t)n;
        }
    }
    return true;
}

static bool link_send(struct link *l, const void *head, size_t head_len, const void *body,
                      size_t body_len)
{
    struct iovec parts[2] = {{(void *)(uintptr_t)head, head_len},
                             {(void *)(uintptr_t)body, body_len}};
    pthread_mutex_lock(&l->send_lock);
    bool sent = send_parts(l->fd, parts);
    pthread_mutex_unlock(&l->send_lock);
    return sent;
}

void link_shutdown(struct link *l)
{
    shutdown(l->fd, SHUT_RDWR);
}

/* The one function that sends answers. An answer longer than its request would make the 6.1 kernel
 * copy past the caller's buffer. */
void link_answer(struct link *l, const struct answer *a)
{
    uint8_t head[USBIP_URB_BYTES];
    struct usbip_urb msg = {
        .command = a->unlink ? USBIP_RET_UNLINK : USBIP_RET_SUBMIT,
        .seqnum = a->seqnum,
        .status = a->status,
        .length_bytes = (int32_t)a->actual,
    };
    assert(a->actual <= a->requested);
    usbip_urb_store(&msg, head);
    if (!link_send(l, head, sizeof(head), a->data, a->data ? a->actual : 0))
        link_shutdown(l);
}

/* ---- handshake
 * -------------------------------------------------------------------------------------- */

static uint8_t interfaces(const struct gadget *g, struct usbip_interface *out, size_t max)
{
    uint8_t count = 0;
    const uint8_t *d = g->config_desc;
    for (size_t at = 0; at + 8 < g->config_len && d[at]; at += d[at])
        if (d[at + 1] == 4 && d[at + 3] == 0 && count < max) /* interface, first setting */
            out[count++] = (struct usbip_interface){d[at + 5], d[at + 6], d[at + 7]};
    return count;
}

/* False when the phone is not on the bus. */
static bool describe(struct board *b, struct usbip_device *out, struct usbip_interface faces[32])
{
    struct usb_device *u = &b->usb;
    struct usbip_device d = {.busnum = 1, .configuration_count = 1};
    pthread_mutex_lock(&b->lock);
    d.devnum = b->index + 1 + b->usb.stays % 500 * RACK_PHONES_MAX; /* another one at each enumeration */
    bool there = u->gadget && !u->lost && b->cable;
    if (there) {
        const uint8_t *desc = u->gadget->device_desc;
        d.speed = (uint32_t)u->gadget->speed;
        d.vid = get_le16(desc + 8);
        d.pid = get_le16(desc + 10);
        d.bcd_device = get_le16(desc + 12);
        d.device_class = desc[4];
        d.device_subclass = desc[5];
        d.device_protocol = desc[6];
        d.configuration_value = u->configuration;
        d.interface_count = interfaces(u->gadget, faces, 32);
    }
    pthread_mutex_unlock(&b->lock);
    if (!there)
        return false;
    snprintf(d.path, sizeof(d.path), "/sys/devices/emulated/usb1/%s", b->name);
    snprintf(d.busid, sizeof(d.busid), "%s", b->name);
    *out = d;
    return true;
}

static void give_devlist(struct link *l)
{
    const struct usbip_server *s = l->server;
    struct usbip_op_head head = {USBIP_OP_REP_DEVLIST, USBIP_ST_OK};
    AUTO(buf_deinit) struct buf records;
    AUTO(buf_deinit) struct buf reply;
    buf_init(&records, DEVLIST_BYTES_MAX);
    buf_init(&reply, DEVLIST_BYTES_MAX);
    uint32_t count = 0;
    for (size_t i = 0; i < s->count; i++) {
        struct usbip_device d;
        struct usbip_interface faces[32];
        if (!describe(s->boards[i], &d, faces))
            continue;
        usbip_device_encode(&d, &records);
        for (uint8_t f = 0; f < d.interface_count; f++)
            usbip_interface_encode(&faces[f], &records);
        count++;
    }
    usbip_op_encode(&head, &reply);
    buf_put_be32(&reply, count);
    link_send(l, reply.data, reply.len, records.data, records.len);
}

static struct board *find(const struct usbip_server *s, const char *busid)
{
    for (size_t i = 0; i < s->count; i++)
        if (strcmp(s->boards[i]->name, busid) == 0)
            return s->boards[i];
    return NULL;
}

/* USBIP_ST_*; OK: the phone is ours and described. */
static enum usbip_op_status import(struct link *l, const char *busid, struct usbip_device *d)
{
    struct usbip_interface faces[32];
    struct board *b = find(l->server, busid);
    if (!b)
        return USBIP_ST_NODEV;
    int rc = usb_device_claim(b, l);
    if (rc < 0)
        return rc == -1 ? USBIP_ST_NODEV : USBIP_ST_BUSY;
    l->board = b;
    return describe(b, d, faces) ? USBIP_ST_OK : USBIP_ST_NODEV;
}

static bool give_import(struct link *l)
{
    uint8_t raw[USBIP_BUSID_BYTES];
    char busid[USBIP_BUSID_BYTES];
    struct usbip_device d;
    struct usbip_op_head head = {USBIP_OP_REP_IMPORT, USBIP_ST_ERROR};
    AUTO(buf_deinit) struct buf reply;
    buf_init(&reply, 4096);
    if (!link_read(l, raw, sizeof(raw)))
        return false;
    if (usbip_busid_decode(span_of(raw, sizeof(raw)), busid, NULL) == 0)
        head.status = import(l, busid, &d);
    usbip_op_encode(&head, &reply);
    if (head.status == USBIP_ST_OK)
        usbip_device_encode(&d, &reply);
    return link_send(l, reply.data, reply.len, NULL, 0) && head.status == USBIP_ST_OK;
}

/* True when requests follow. */
static bool handshake(struct link *l)
{
    uint8_t raw[USBIP_OP_BYTES];
    struct usbip_op_head head;
    struct timeval limit = {.tv_sec = HANDSHAKE_SECONDS}, none = {0};
    setsockopt(l->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    if (!link_read(l, raw, sizeof(raw)) ||
        usbip_op_decode(span_of(raw, sizeof(raw)), &head, NULL) < 0)
        return false;
    if (head.code == USBIP_OP_REQ_DEVLIST)
        give_devlist(l);
    if (head.code != USBIP_OP_REQ_IMPORT || !give_import(l))
        return false;
    setsockopt(l->fd, SOL_SOCKET, SO_RCVTIMEO, &none, sizeof(none));
    return true;
}

/* ---- requests
 * --------------------------------------------------------------------------------------- */

/* The data of an OUT request; NULL when there is none. False: connection ended. */
static bool read_payload(struct link *l, const struct usbip_urb *msg, uint8_t **out)
{
    size_t len = msg->direction == USBIP_OUT ? (size_t)msg->length_bytes : 0;
    if (len == 0)
        return true;
    *out = malloc(len);
    return *out && link_read(l, *out, len);
}

static bool submit(struct link *l, const struct usbip_urb *msg)
{
    AUTO(free_ptr) uint8_t *data = NULL;
    bool in = msg->direction == USBIP_IN;
    if (!read_payload(l, msg, &data))
        return false;
    if (msg->ep == 0) {
        struct control c = {msg->seqnum, (uint32_t)msg->length_bytes, in, {0}, data};
        memcpy(c.setup, msg->setup, sizeof(c.setup));
        usb_device_control(l->board, l, &c);
        return true;
    }
    struct urb *u = urb_new();
    u->seqnum = msg->seqnum;
    u->length = (uint32_t)msg->length_bytes;
    u->endpoint = (uint8_t)(msg->ep | (in ? 0x80 : 0));
    u->data = STEAL(data);
    u->zero_packet = !in && msg->flags & USBIP_FLAG_ZERO_PACKET;
    return usb_device_submit(l->board, l, u) == 0;
}

/* One request of the importer; false when the connection ended or has to. */
static bool serve_one(struct link *l)
{
    uint8_t raw[USBIP_URB_BYTES];
    struct usbip_urb msg;
    struct err err;
    if (!link_read(l, raw, sizeof(raw)))
        return false;
    if (usbip_urb_decode(span_of(raw, sizeof(raw)), &msg, &err) < 0) {
        log_line(LOG_WARN, "usbip", LOG_KV({"phone", l->board->name}, {"err", err_name(err.code)}),
                 "%s", err.text);
        return false;
    }
    if (msg.command == USBIP_CMD_UNLINK) {
        usb_device_unlink(l->board, l, msg.seqnum, msg.unlink);
        return true;
    }
    return msg.command == USBIP_CMD_SUBMIT && msg.ep < 16 && submit(l, &msg);
}

/* ---- connections
 * ------------------------------------------------------------------------------------ */

static void link_end(struct link *l)
{
    struct usbip_server *s = l->server;
    if (l->board)
        usb_device_release(l->board, l);
    pthread_mutex_lock(&s->lock);
    for (struct link **at = &s->links; *at; at = &(*at)->next)
        if (*at == l) {
            *at = l->next;
            break;
        }
    close(l->fd);
    pthread_mutex_destroy(&l->send_lock);
    free(l);
    if (--s->link_count == 0)
        pthread_cond_broadcast(&s->gone);
    pthread_mutex_unlock(&s->lock);
}

static void *link_main(void *arg)
{
    struct link *l = arg;
    if (l->board || handshake(l))
        while (serve_one(l))
            ;
    link_end(l);
    return NULL;
}

static int start_thread(struct link *l)
{
    pthread_t thread;
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, LINK_STACK_BYTES);
    int rc = pthread_create(&thread, &attr, link_main, l);
    pthread_attr_destroy(&attr);
    return rc;
}

/* Takes over fd. `board`: claimed already on behalf of the link, see usbip_server_adopt(). */
static int link_start(struct usbip_server *s, struct board *board, int fd, struct err *err)
{
    struct link *l = xcalloc(1, sizeof(*l));
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on,
               sizeof(on)); /* fails on a socketpair: no matter */
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    l->server = s;
    l->fd = fd;
    pthread_mutex_init(&l->send_lock, NULL);
    pthread_mutex_lock(&s->lock);
    bool room = !s->stopping && s->link_count < LINKS_MAX;
    l->next = s->links;
    s->links = l;
    s->link_count++;
    pthread_mutex_unlock(&s->lock);
    if (board && usb_device_claim(board, l) == 0)
        l->board = board;
    if (!room || (board && !l->board) || start_thread(l) != 0) {
        link_end(l);
        return err_set(err, ERR_LIMIT, "no room for another connection");
    }
    return 0;
}

int usbip_server_adopt(struct usbip_server *s, struct board *b, int fd, struct err *err)
{
    return link_start(s, b, fd, err);
}

static void *acceptor_main(void *arg)
{
    struct usbip_server *s = arg;
    struct pollfd fds[2] = {{s->listen_fd, POLLIN, 0}, {s->stop_fd, POLLIN, 0}};
    for (;;) {
        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            break;
        if (fds[1].revents)
            break;
        int fd = fds[0].revents ? accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC) : -1;
        struct err err;
        if (fd >= 0 && link_start(s, NULL, fd, &err) < 0)
            log_line(LOG_WARN, "usbip", NULL, "%s", err.text);
    }
    return NULL;
}

static int listen_on(struct addrinfo *list, int *fd_out)
{
    for (struct addrinfo *a = list; a; a = a->ai_next) {
        int on = 1;
        int fd =
            socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, a->ai_protocol);
        if (fd < 0)
            continue;
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
        if (bind(fd, a->ai_addr, a->ai_addrlen) == 0 && listen(fd, 64) == 0) {
            *fd_out = fd;
            return 0;
        }
        close(fd);
    }
    return -1;
}

static int open_listener(struct usbip_server *s, const char *where, struct err *err)
{
    AUTO(free_ptr) char *host = xstrdup(where);
    char *port = strrchr(host, ':');
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *list = NULL;
    if (!port)
        return err_set(err, ERR_INPUT, "'%s' is not HOST:PORT", where);
    *port++ = '\0';
    int rc = getaddrinfo(host, port, &hints, &list);
    if (rc != 0)
        return err_set(err, ERR_INPUT, "'%s': %s", where, gai_strerror(rc));
    rc = listen_on(list, &s->listen_fd);
    int why = errno;
    freeaddrinfo(list);
    errno = why;
    if (rc < 0)
        return err_sys(err, ERR_IO, "listen on %s", where);
    struct sockaddr_storage at;
    socklen_t len = sizeof(at);
    char name[NI_MAXHOST], number[NI_MAXSERV];
    getsockname(s->listen_fd, (struct sockaddr *)&at, &len);
    getnameinfo((struct sockaddr *)&at, len, name, sizeof(name), number, sizeof(number),
                NI_NUMERICHOST | NI_NUMERICSERV);
    snprintf(s->address, sizeof(s->address), "%s:%s", name, number);
    return 0;
}

static void server_free(struct usbip_server *s)
{
    fd_close(&s->listen_fd);
    fd_close(&s->stop_fd);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->gone);
    free(s);
}

int usbip_server_start(const char *where, struct board *const *boards, size_t count,
                       struct usbip_server **out, struct err *err)
{
    struct usbip_server *s = xcalloc(1, sizeof(*s));
    s->boards = boards;
    s->count = count;
    s->listen_fd = -1;
    s->stop_fd = eventfd(0, EFD_CLOEXEC);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->gone, NULL);
    int rc = s->stop_fd < 0 ? err_sys(err, ERR_IO, "eventfd") : open_listener(s, where, err);
    if (rc == 0 && pthread_create(&s->acceptor, NULL, acceptor_main, s) != 0)
        rc = err_set(err, ERR_IO, "no thread for the USB/IP server");
    if (rc < 0) {
        server_free(s);
        return rc;
    }
    *out = s;
    return 0;
}

const char *usbip_server_address(const struct usbip_server *s)
{
    return s->address;
}

void usbip_server_stop(struct usbip_server **sp)
{
    struct usbip_server *s = *sp;
    if (!s)
        return;
    uint64_t one = 1;
    if (write(s->stop_fd, &one, sizeof(one)) < 0)
        abort(); /* an eventfd that was just made always takes a 1 */
    pthread_join(s->acceptor, NULL);
    pthread_mutex_lock(&s->lock);
    s->stopping = true;
    for (struct link *l = s->links; l; l = l->next)
        link_shutdown(l);
    while (s->link_count)
        pthread_cond_wait(&s->gone, &s->lock);
    pthread_mutex_unlock(&s->lock);
    server_free(s);
    *sp = NULL;
}
