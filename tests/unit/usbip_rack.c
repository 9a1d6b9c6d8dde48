/* The handshake with a rack: one that works, and answers that must be refused. The rack is a thread on a
 * loopback port that says what the row says. */
#include "tests/unit/rows.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "usb/base/clock.h"
#include "usb/base/hash.h"
#include "usb/base/io.h"
#include "usb/base/mem.h"
#include "usb/transport/usbip_rack.h"

struct rack {
    int fd;
    uint16_t port;
    struct buf says, heard;
    bool stays; /* keeps the connection open without another word */
    pthread_t thread;
};

static void *rack_run(void *arg)
{
    struct rack *r = arg;
    AUTO(fd_close) int fd = accept(r->fd, NULL, NULL);
    uint8_t raw[64];
    ssize_t n = recv(fd, raw, sizeof(raw), 0);
    buf_put(&r->heard, raw, n > 0 ? (size_t)n : 0);
    io_write(fd, r->says.data, r->says.len, NULL);
    while (r->stays && recv(fd, raw, sizeof(raw), 0) > 0)
        continue;
    return NULL;
}

static void rack_start(struct rack *r)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof(at);
    r->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(r->fd, (struct sockaddr *)&at, size), 0);
    assert_int_equal(listen(r->fd, 1), 0);
    assert_int_equal(getsockname(r->fd, (struct sockaddr *)&at, &size), 0);
    r->port = ntohs(at.sin_port);
    buf_init(&r->heard, 64);
    assert_int_equal(pthread_create(&r->thread, NULL, rack_run, r), 0);
}

static void rack_stop(struct rack *r)
{
    pthread_join(r->thread, NULL);
    close(r->fd);
    buf_deinit(&r->says);
    buf_deinit(&r->heard);
}

static void says_hex(struct buf *says, const char *hex)
{
    uint8_t raw[64];
    ptrdiff_t n = hex_decode(hex, raw, sizeof(raw));
    assert_true(n >= 0);
    buf_put(says, raw, (size_t)n);
}

static void says_device(struct buf *says, const char *busid, uint8_t interfaces, unsigned records)
{
    struct usbip_device d = {.busnum = 1, .devnum = 2, .speed = 3, .interface_count = interfaces};
    strcpy(d.busid, busid);
    usbip_device_encode(&d, says);
    for (unsigned i = 0; i < records; i++)
        usbip_interface_encode(&(struct usbip_interface){0xff, 0x42, (uint8_t)i}, says);
}

static const struct row {
    const char *name;
    bool import, stays;
    const char *head;
    const char *busid; /* of a device record; NULL: none */
    uint8_t interfaces;
    unsigned records;
    int want;
} rows[] = {
    {"list", false, false, "0111000500000000 00000001", "1-3", 2, 2, 0},
    {"empty list", false, false, "0111000500000000 00000000", NULL, 0, 0, 0},
    {"more interfaces than we keep", false, false, "0111000500000000 00000001", "1-3", 20, 20, 0},
    {"list cut short", false, false, "0111000500000000 00000001", "1-3", 2, 1, ERR_GONE},
    {"list refused", false, false, "0111000500000001", NULL, 0, 0, ERR_REFUSED},
    {"absurd count", false, false, "0111000500000000 ffffffff", NULL, 0, 0, ERR_LIMIT},
    {"other version", false, false, "0106000500000000", NULL, 0, 0, ERR_PROTOCOL},
    {"other answer", false, false, "0111000300000000", NULL, 0, 0, ERR_PROTOCOL},
    {"list, silence", false, true, "", NULL, 0, 0, ERR_TIMEOUT},
    {"import", true, true, "0111000300000000", "1-3", 2, 0, 0},
    {"import of another", true, false, "0111000300000000", "1-4", 2, 0, ERR_PROTOCOL},
    {"import, in use", true, false, "0111000300000002", NULL, 0, 0, ERR_CONFLICT},
    {"import, no such device", true, false, "0111000300000004", NULL, 0, 0, ERR_NOT_FOUND},
    {"import, closed", true, false, "", NULL, 0, 0, ERR_GONE},
};

static int list(const struct row *row, struct rack *r, int64_t timeout_ms)
{
    struct usbip_rack_device *devices = NULL;
    size_t count = 99;
    int rc = usbip_devlist("127.0.0.1", r->port, timeout_ms, &devices, &count, NULL);
    if (rc == 0) {
        assert_int_equal(count, row->busid ? 1 : 0);
        assert_int_equal(devices != NULL, row->busid != NULL);
    }
    if (rc == 0 && count) {
        assert_string_equal(devices[0].device.busid, row->busid);
        assert_int_equal(devices[0].interface_count,
                         MIN_OF(row->interfaces, USBIP_RACK_INTERFACES));
        assert_int_equal(devices[0].interfaces[1].protocol, 1);
    }
    free(devices);
    return rc;
}

static int import(struct rack *r, int64_t timeout_ms)
{
    struct usbip_device device;
    int fd = -1;
    int rc = usbip_import("127.0.0.1", r->port, "1-3", timeout_ms, &fd, &device, NULL);
    assert_int_equal(fd >= 0, rc == 0);
    if (rc == 0)
        assert_int_equal(usbip_devid(&device), 0x10002);
    fd_close(&fd);
    return rc;
}

static void handshake(void **state)
{
    const struct row *row = ROW(state);
    struct rack r = {.stays = row->stays};
    buf_init(&r.says, 4096);
    says_hex(&r.says, row->head);
    if (row->busid)
        says_device(&r.says, row->busid, row->interfaces, row->records);
    rack_start(&r);
    int64_t timeout_ms = row->want == ERR_TIMEOUT ? 50 : 5000;
    int rc = row->import ? import(&r, timeout_ms) : list(row, &r, timeout_ms);
    rack_stop(&r);
    assert_int_equal(rc, row->want);
}

static void requests_are_byte_exact(void **state)
{
    (void)state;
    struct rack r = {0};
    uint8_t want[40] = {0x01, 0x11, 0x80, 0x03, 0, 0, 0, 0, '1', '-', '3'};
    buf_init(&r.says, 64);
    rack_start(&r);
    import(&r, 5000);
    pthread_join(r.thread, NULL);
    assert_int_equal(r.heard.len, sizeof(want));
    assert_memory_equal(r.heard.data, want, sizeof(want));
    close(r.fd);
    buf_deinit(&r.says);
    buf_deinit(&r.heard);
}

static void nobody_listens(void **state)
{
    (void)state;
    struct rack r = {0};
    struct usbip_rack_device *devices = NULL;
    size_t count = 0;
    buf_init(&r.says, 64);
    rack_start(&r);
    import(&r, 5000); /* ends the thread */
    rack_stop(&r);
    assert_int_equal(usbip_devlist("127.0.0.1", r.port, 1000, &devices, &count, NULL), ERR_GONE);
    assert_int_equal(import(&r, 1000), ERR_GONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_are_byte_exact),
        cmocka_unit_test(nobody_listens),
    };
    return RUN_ROWS(handshake, rows) + cmocka_run_group_tests(tests, NULL, NULL);
}
