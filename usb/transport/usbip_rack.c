#include "usb/transport/usbip_rack.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "usb/base/clock.h"
#include "usb/base/mem.h"

static int ready(int fd, short events, int64_t until_ms, struct err *err)
{
    for (;;) {
        struct pollfd p = {.fd = fd, .events = events};
        int left_ms = clock_left(until_ms, 1000);
        int n = poll(&p, 1, left_ms);
        if (n > 0)
            return 0;
        if (n < 0 && errno != EINTR)
            return err_sys(err, ERR_IO, "poll");
        if (left_ms == 0)
            return err_set(err, ERR_TIMEOUT, "the rack does not answer");
    }
}

static int connect_one(const struct addrinfo *a, int64_t until_ms, int *fd_out, struct err *err)
{
    int error = 0, one = 1;
    socklen_t size = sizeof(error);
    AUTO(fd_close)
    int fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, a->ai_protocol);
    if (fd < 0)
        return err_sys(err, ERR_IO, "socket");
    if (connect(fd, a->ai_addr, a->ai_addrlen) < 0) {
        if (errno != EINPROGRESS)
            return err_sys(err, ERR_GONE, "connect");
        int rc = ready(fd, POLLOUT, until_ms, err);
        if (rc < 0)
            return rc;
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
        errno = error;
        if (error)
            return err_sys(err, ERR_GONE, "connect");
    }
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) < 0)
        return err_sys(err, ERR_IO, "TCP_NODELAY");
    *fd_out = STEAL_FD(fd);
    return 0;
}

static void addresses_free(struct addrinfo **list)
{
    if (*list)
        freeaddrinfo(*list);
}

static int rack_connect(const char *host, uint16_t port, int64_t until_ms, int *fd_out,
                        struct err *err)
{
    char service[8];
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    AUTO(addresses_free) struct addrinfo *list = NULL;
    snprintf(service, sizeof(service), "%u", port);
    int rc = getaddrinfo(host, service, &hints, &list);
    if (rc != 0)
        return err_set(err, ERR_NOT_FOUND, "rack '%s': %s", host, gai_strerror(rc));
    for (const struct addrinfo *a = list; a; a = a->ai_next) {
        rc = connect_one(a, until_ms, fd_out, err);
        if (rc == 0)
            return 0;
    }
    return err_in(err, "rack %s:%u", host, port);
}

static int read_all(int fd, void *dst, size_t len, int64_t until_ms, struct err *err)
{
    uint8_t *at = dst;
    while (len) {
        ssize_t n = recv(fd, at, len, MSG_DONTWAIT);
        if (n == 0)
            return err_set(err, ERR_GONE, "the rack closed the connection");
        if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)
            return err_sys(err, ERR_GONE, "rack");
        int rc = n < 0 ? ready(fd, POLLIN, until_ms, err) : 0;
        if (rc < 0)
            return rc;
        at += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
    }
    return 0;
}

/* Requests are shorter than any socket buffer. */
static int request_send(int fd, const struct buf *request, struct err *err)
{
    ssize_t n = send(fd, request->data, request->len, MSG_NOSIGNAL);
    return n == (ssize_t)request->len ? 0 : err_set(err, ERR_GONE, "the rack takes no request");
}

static int op_reply(int fd, uint16_t want, int64_t until_ms, uint32_t *status_out, struct err *err)
{
    uint8_t raw[USBIP_OP_BYTES];
    struct usbip_op_head head;
    int rc = read_all(fd, raw, sizeof(raw), until_ms, err);
    if (rc == 0)
        rc = usbip_op_decode(span_of(raw, sizeof(raw)), &head, err);
    if (rc < 0)
        return rc;
    if (head.code != want)
        return err_set(err, ERR_PROTOCOL, "the rack answers %04x", head.code);
    *status_out = head.status;
    return 0;
}

static int device_read(int fd, int64_t until_ms, struct usbip_device *out, struct err *err)
{
    uint8_t raw[USBIP_DEVICE_BYTES];
    int rc = read_all(fd, raw, sizeof(raw), until_ms, err);
    return rc < 0 ? rc : usbip_device_decode(span_of(raw, sizeof(raw)), out, err);
}

/* One device with its interfaces; those that are too many are read and dropped. */
static int entry_read(int fd, int64_t until_ms, struct usbip_rack_device *out, struct err *err)
{
    int rc = device_read(fd, until_ms, &out->device, err);
    for (unsigned i = 0; rc == 0 && i < out->device.interface_count; i++) {
        uint8_t raw[USBIP_INTERFACE_BYTES];
        struct usbip_interface interface;
        rc = read_all(fd, raw, sizeof(raw), until_ms, err);
        if (rc == 0)
            rc = usbip_interface_decode(span_of(raw, sizeof(raw)), &interface, err);
        if (rc == 0 && out->interface_count < USBIP_RACK_INTERFACES)
            out->interfaces[out->interface_count++] = interface;
    }
    return rc;
}

int usbip_devlist(const char *host, uint16_t port, int64_t timeout_ms,
                  struct usbip_rack_device **out, size_t *count_out, struct err *err)
{
    struct err local;
    err = err ? err : &local;
    int64_t until_ms = clock_in(timeout_ms);
    uint32_t status = 0;
    uint8_t raw[4];
    AUTO(buf_deinit) struct buf request;
    buf_init(&request, USBIP_OP_BYTES);
    usbip_op_encode(&(struct usbip_op_head){USBIP_OP_REQ_DEVLIST, 0}, &request);
    AUTO(fd_close) int fd = -1;
    int rc = rack_connect(host, port, until_ms, &fd, err);
    if (rc == 0)
        rc = request_send(fd, &request, err);
    if (rc == 0)
        rc = op_reply(fd, USBIP_OP_REP_DEVLIST, until_ms, &status, err);
    if (rc == 0 && status)
        rc = err_set(err, ERR_REFUSED, "rack %s: %s", host, usbip_op_status_text(status));
    if (rc == 0)
        rc = read_all(fd, raw, sizeof(raw), until_ms, err);
    if (rc < 0)
        return rc;
    struct reader r = reader_of(span_of(raw, sizeof(raw)));
    uint32_t count = rd_be32(&r);
    if (count > USBIP_DEVLIST_MAX)
        return err_set(err, ERR_LIMIT, "rack %s claims %u devices", host, count);
    AUTO(free_ptr) struct usbip_rack_device *list = count ? xcalloc(count, sizeof(*list)) : NULL;
    for (uint32_t i = 0; i < count; i++) {
        rc = entry_read(fd, until_ms, &list[i], err);
        if (rc < 0)
            return err_in(err, "rack %s, device %u", host, i);
    }
    *out = STEAL(list);
    *count_out = count;
    return 0;
}

static int import_refused(uint32_t status, const char *busid, struct err *err)
{
    int code = status == USBIP_ST_BUSY                             ? ERR_CONFLICT
               : status == USBIP_ST_NODEV || status == USBIP_ST_NA ? ERR_NOT_FOUND
                                                                   : ERR_IO;
    return err_set(err, code, "bus id %s: %s", busid, usbip_op_status_text(status));
}

int usbip_import(const char *host, uint16_t port, const char *busid, int64_t timeout_ms,
                 int *fd_out, struct usbip_device *device_out, struct err *err)
{
    struct err local;
    err = err ? err : &local;
    int64_t until_ms = clock_in(timeout_ms);
    uint32_t status = 0;
    struct usbip_device device;
    if (!busid[0] || strlen(busid) >= USBIP_BUSID_BYTES)
        return err_set(err, ERR_INPUT, "bus id '%.40s'", busid);
    AUTO(buf_deinit) struct buf request;
    buf_init(&request, USBIP_OP_BYTES + USBIP_BUSID_BYTES);
    usbip_op_encode(&(struct usbip_op_head){USBIP_OP_REQ_IMPORT, 0}, &request);
    usbip_busid_encode(busid, &request);
    AUTO(fd_close) int fd = -1;
    int rc = rack_connect(host, port, until_ms, &fd, err);
    if (rc == 0)
        rc = request_send(fd, &request, err);
    if (rc == 0)
        rc = op_reply(fd, USBIP_OP_REP_IMPORT, until_ms, &status, err);
    if (rc == 0 && status)
        rc = import_refused(status, busid, err);
    if (rc == 0)
        rc = device_read(fd, until_ms, &device, err);
    if (rc < 0)
        return rc;
    if (strcmp(device.busid, busid) != 0)
        return err_set(err, ERR_PROTOCOL, "asked for bus id %s, got %s", busid, device.busid);
    *device_out = device;
    *fd_out = STEAL_FD(fd);
    return 0;
}
