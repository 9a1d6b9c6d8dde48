#include "tests/phone/test/rig.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "usb/base/clock.h"
#include "usb/base/mem.h"

struct rig_firmware rig_firmware;

static enum board_next run(rig_stage *stage, struct board *b)
{
    return stage ? stage(b) : NEXT_OFF;
}

enum board_next brom_run(struct board *b)
{
    return run(rig_firmware.brom, b);
}

enum board_next preloader_run(struct board *b)
{
    return run(rig_firmware.preloader, b);
}

enum board_next lk_run(struct board *b)
{
    return run(rig_firmware.lk, b);
}

enum board_next android_run(struct board *b)
{
    return run(rig_firmware.android, b);
}

static const uint8_t device_desc[18] = {18,   1, 0x00, 0x02, 2, 0, 0, 64, 0x8d,
                                        0x0e, 3, 0,    0x00, 1, 1, 2, 0,  1};
static const uint8_t config_desc[] = {
    9, 2,    53,   0,    2, 1,  0, 0x80, 0,                           /* configuration 1 */
    9, 4,    0,    0,    1, 2,  2, 1,    0, 7, 5, 0x83, 3, 64, 0, 16, /* communication */
    5, 0x24, 0,    0x10, 1,                                           /* CDC header */
    9, 4,    1,    0,    2, 10, 0, 0,    0, 7, 5, 0x01, 2, 0,  2, 0,
    7, 5,    0x81, 2,    0, 2,  0, /* data */
};
static const char *const strings[] = {"Maker", "Thing"};

/* Vendor request 0x51: gives what 0x50 stored, at most 8 bytes. */
static int vendor_request(void *ctx, const uint8_t setup[8], const uint8_t *out, uint8_t *in,
                          size_t in_max)
{
    static uint8_t stored[8];
    (void)ctx;
    size_t len = MIN_OF((size_t)setup[6], sizeof(stored));
    if (setup[0] == 0x40 && setup[1] == 0x50) {
        memcpy(stored, out, len);
        return 0;
    }
    if (setup[0] == 0xc0 && setup[1] == 0x51) {
        memcpy(in, stored, MIN_OF(len, in_max));
        return (int)MIN_OF(len, in_max);
    }
    return -1;
}

const struct gadget rig_gadget = {
    .speed = 3,
    .device_desc = device_desc,
    .config_desc = config_desc,
    .config_len = sizeof(config_desc),
    .strings = strings,
    .string_count = ARRAY_LEN(strings),
    .ep_in = 0x81,
    .ep_out = 0x01,
    .packet = 512,
    .control = vendor_request,
};

void rig_start(struct rig *r, size_t phones)
{
    struct err err = {0};
    *r = (struct rig){.dir = "/tmp/flashrack-rig-XXXXXX"};
    rig_firmware = (struct rig_firmware){.brom = NULL};
    clock_scale_set(0.05);
    assert_non_null(mkdtemp(r->dir));
    for (size_t i = 0; i < phones; i++) {
        char name[32], dir[128];
        snprintf(name, sizeof(name), "1-%zu", i + 1);
        snprintf(dir, sizeof(dir), "%s/%s", r->dir, name);
        struct factory_order order = {PROFILE_TINY, 7, (unsigned)i + 1, 'a', NULL, NULL};
        struct board_new how = {name, dir, (unsigned)i + 1, false, 100};
        assert_int_equal(factory_make_phone(dir, &order, &err), 0);
        assert_int_equal(board_open(&how, &r->boards[i], &err), 0);
        r->count++;
    }
    assert_int_equal(usbip_server_start("127.0.0.1:0", r->boards, r->count, &r->server, &err), 0);
    r->port = atoi(strrchr(usbip_server_address(r->server), ':') + 1);
    for (size_t i = 0; i < phones; i++)
        assert_int_equal(board_run(r->boards[i], &err), 0);
}

void rig_stop(struct rig *r)
{
    for (size_t i = 0; i < r->count; i++)
        board_stop(r->boards[i]);
    usbip_server_stop(&r->server);
    for (size_t i = 0; i < r->count; i++)
        board_close(&r->boards[i]);
    AUTO(free_ptr) char *command = xasprintf("rm -rf '%s'", r->dir);
    assert_int_equal(system(command), 0);
    clock_scale_set(1);
}

void rig_wait(struct board *b, bool (*holds)(const struct board *b))
{
    int64_t until = clock_now_ms() + RIG_PATIENCE_MS;
    pthread_mutex_lock(&b->lock);
    while (!holds(b) && clock_now_ms() < until)
        board_wait(b, &b->changed, clock_now_ms() + 20); /* not every change is announced */
    bool held = holds(b);
    pthread_mutex_unlock(&b->lock);
    assert_true(held);
}

void rig_drain(struct board *b)
{
    int64_t until = clock_now_ms() + RIG_PATIENCE_MS;
    while (board_out_pending(b)) {
        assert_true(clock_now_ms() < until);
        usleep(1000);
    }
}

bool rig_on_bus(const struct board *b)
{
    return b->usb.gadget && !b->usb.lost && b->cable;
}

bool rig_is_off(const struct board *b)
{
    return b->stage == STAGE_OFF || b->stage == STAGE_CHARGING;
}

void rig_enter_brom(struct rig *r, size_t phone)
{
    struct board *b = r->boards[phone];
    board_keys_hold(b, KEY_VOL_UP | KEY_VOL_DOWN);
    board_cable_set(b, true);
    rig_wait(b, rig_on_bus);
    board_keys_release(b, ~0u);
}

/* ---- client
 * ------------------------------------------------------------------------------------------ */

static void put(int fd, const void *data, size_t len)
{
    const uint8_t *at = data;
    while (len) {
        ssize_t n = send(fd, at, len, MSG_NOSIGNAL);
        if (n < 0)
            return; /* the phone is gone; the next read tells */
        at += n;
        len -= (size_t)n;
    }
}

static bool get(int fd, void *data, size_t len)
{
    uint8_t *at = data;
    while (len) {
        struct pollfd p = {fd, POLLIN, 0};
        if (poll(&p, 1, RIG_PATIENCE_MS) != 1)
            fail_msg("no answer");
        ssize_t n = recv(fd, at, len, 0);
        if (n <= 0)
            return false;
        at += n;
        len -= (size_t)n;
    }
    return true;
}

int client_connect(const struct rig *r)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)r->port)};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    return fd;
}

int client_try_import(const struct rig *r, const char *busid, int *fd_out)
{
    uint8_t request[40] = {0x01, 0x11, 0x80, 0x03}, head[8], record[312];
    int fd = client_connect(r);
    snprintf((char *)request + 8, 32, "%s", busid);
    put(fd, request, sizeof(request));
    assert_true(get(fd, head, sizeof(head)));
    assert_memory_equal(head, "\x01\x11\x00\x03", 4);
    if (head[7] != 0) {
        close(fd);
        return head[7];
    }
    assert_true(get(fd, record, sizeof(record)));
    assert_string_equal((char *)record + 256, busid);
    *fd_out = fd;
    return 0;
}

int client_open(const struct rig *r, const char *busid)
{
    int fd = -1;
    assert_int_equal(client_try_import(r, busid, &fd), 0);
    client_configure(fd);
    return fd;
}

static void put_be(uint8_t *p, uint32_t v)
{
    v = htonl(v);
    memcpy(p, &v, sizeof(v));
}

static uint32_t get_be(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof(v));
    return ntohl(v);
}

static void head_of(uint8_t head[48], uint32_t command, uint32_t seqnum)
{
    memset(head, 0, 48);
    put_be(head, command);
    put_be(head + 4, seqnum);
    put_be(head + 8, 0x10002);
}

void client_submit(int fd, uint32_t seqnum, uint8_t endpoint, uint32_t len, const void *data,
                   uint32_t flags)
{
    uint8_t head[48];
    bool in = endpoint & 0x80;
    head_of(head, 1, seqnum);
    put_be(head + 12, in);
    put_be(head + 16, endpoint & 0x0f);
    put_be(head + 20, flags | (in ? 0x200 : 0));
    put_be(head + 24, len);
    put(fd, head, sizeof(head));
    if (!in)
        put(fd, data, len);
}

void client_unlink(int fd, uint32_t seqnum, uint32_t victim)
{
    uint8_t head[48];
    head_of(head, 2, seqnum);
    put_be(head + 20, victim);
    put(fd, head, sizeof(head));
}

int client_reply(int fd, bool in, struct reply *out)
{
    uint8_t head[48];
    if (!get(fd, head, sizeof(head)))
        return -1;
    out->command = get_be(head);
    out->seqnum = get_be(head + 4);
    out->status = (int32_t)get_be(head + 20);
    out->actual = out->command == 3 ? get_be(head + 24) : 0;
    assert_true(!in || out->actual <= sizeof(out->data));
    if (in && out->actual)
        assert_true(get(fd, out->data, out->actual));
    return 0;
}

bool client_silent(int fd)
{
    struct pollfd p = {fd, POLLIN, 0};
    return poll(&p, 1, 100) == 0;
}

int client_control(int fd, uint32_t seqnum, const uint8_t setup[8], const void *out, void *in)
{
    bool is_in = setup[0] & 0x80 && (setup[6] || setup[7]);
    return client_control_as(fd, seqnum, setup, is_in, out, in);
}

int client_control_as(int fd, uint32_t seqnum, const uint8_t setup[8], bool is_in, const void *out,
                      void *in)
{
    static __thread struct reply reply;
    uint8_t head[48];
    uint32_t len = (uint32_t)(setup[6] | setup[7] << 8);
    head_of(head, 1, seqnum);
    put_be(head + 12, is_in);
    put_be(head + 24, len);
    memcpy(head + 40, setup, 8);
    put(fd, head, sizeof(head));
    if (!is_in && len)
        put(fd, out, len);
    if (client_reply(fd, is_in, &reply) < 0)
        return -1000;
    assert_int_equal(reply.command, 3);
    assert_int_equal(reply.seqnum, seqnum);
    if (is_in && reply.status == 0)
        memcpy(in, reply.data, reply.actual);
    return reply.status < 0 ? reply.status : (int)reply.actual;
}

void client_configure(int fd)
{
    const uint8_t setup[8] = {0x00, 9, 1};
    assert_int_equal(client_control(fd, 5, setup, NULL, NULL), 0);
}
