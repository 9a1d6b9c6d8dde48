/* usb/portwatch/ports: wants, attaches, what is told to whom, also when nobody reads. */
#include "tests/unit/rows.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/socket.h>
#include <unistd.h>

#include "usb/base/io.h"
#include "usb/base/mem.h"
#include "usb/codec/usbip.h"
#include "usb/portwatch/ports.h"
#include "usb/portwatch/racks.h"
#include "usb/portwatch/sysfs.h"
#include "usb/wire/wire.h"

static const char id[] = "pci-0000:00:14.0-usb-0:1";
static const struct port_device brom = {.mode = "brom", .vid = 0x0e8d, .pid = 3, .speed = 2};
static const struct port_device android = {.mode = "android", .vid = 0x2e04, .pid = 1, .speed = 3};

static void want(int worker, const char *modes)
{
    struct wire_message m = {.type = WIRE_want, .fd = -1};
    WIRE_TEXT(m.u.want.modes, modes);
    assert_int_equal(wire_send(worker, &m, 0, NULL), 0);
}

static enum wire_type next(int fd, struct wire_message *m)
{
    *m = (struct wire_message){.fd = -1};
    return wire_recv(fd, m, MSG_DONTWAIT, NULL) > 0 ? m->type : WIRE_NONE;
}

/* Law 10: without a want nothing is handed over, and one want is answered once. */
static void one_attach_for_one_want(void **state)
{
    (void)state;
    int ends[2], device = open("/dev/null", O_RDWR | O_CLOEXEC);
    struct wire_message m;
    struct ports *p = ports_new();
    assert_int_equal(wire_pair(ends, NULL), 0);
    ports_watch(p, id, ends[0]);
    ports_update(p, id, &brom);
    assert_false(ports_wanted(p, id));
    assert_false(ports_hand(p, id, "usbfs", device, 0));
    assert_int_equal(next(ends[1], &m), WIRE_seen);
    assert_int_equal(next(ends[1], &m), WIRE_seen);

    want(ends[1], "fastboot preloaderx");
    ports_channel_readable(p, ends[0]);
    assert_false(ports_wanted(p, id));
    want(ends[1], "preloader brom");
    ports_channel_readable(p, ends[0]);
    assert_true(ports_wanted(p, id));
    assert_true(ports_hand(p, id, "usbfs", device, 0));
    assert_int_equal(next(ends[1], &m), WIRE_attach);
    assert_string_equal(m.u.attach.mode, "brom");
    wire_message_deinit(&m);
    assert_false(ports_hand(p, id, "usbfs", device, 0));

    /* it changed between the look and the handing over */
    want(ends[1], "brom");
    ports_channel_readable(p, ends[0]);
    ports_update(p, id, &android);
    assert_false(ports_hand(p, id, "usbfs", device, 0));
    close(device);
    close(ends[1]);
    ports_free(&p);
}

/* A later watch replaces the one before: its worker is gone. */
static void a_new_worker_takes_the_port(void **state)
{
    (void)state;
    int old[2], new[2];
    struct wire_message m;
    struct ports *p = ports_new();
    assert_int_equal(wire_pair(old, NULL), 0);
    assert_int_equal(wire_pair(new, NULL), 0);
    ports_watch(p, id, old[0]);
    want(old[1], "brom");
    ports_channel_readable(p, old[0]);
    ports_update(p, id, &brom);
    assert_true(ports_wanted(p, id));
    ports_watch(p, id, new[0]);
    assert_false(ports_wanted(p, id)); /* a want belongs to the worker that said it */
    while (next(old[1], &m) != WIRE_NONE)
        ;
    assert_int_equal(wire_recv(old[1], &m, MSG_DONTWAIT, NULL), 0); /* closed */
    close(old[1]);
    close(new[1]);
    ports_free(&p);
}

/* 600 ports change while flashrackd does not read: nothing is lost, the last word of each is said. */
static void a_server_that_does_not_read_misses_nothing(void **state)
{
    (void)state;
    enum { PORTS = 600 };
    int ends[2], seen = 0;
    char name[PORT_ID_MAX];
    struct wire_message m;
    struct ports *p = ports_new();
    assert_int_equal(wire_pair(ends, NULL), 0);
    ports_server_set(p, ends[0]);
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < PORTS; i++) {
            snprintf(name, sizeof(name), "usbip-rack:1-%d", i);
            ports_update(p, name, round ? &android : &brom);
        }
    assert_true(ports_flush(p));
    static bool is_android[PORTS];
    for (int quiet = 0; quiet < 3; quiet++) {
        while (next(ends[1], &m) == WIRE_port) {
            int i = atoi(strrchr(m.u.port.port, '-') + 1);
            seen++;
            is_android[i] = strcmp(m.u.port.mode, "android") == 0;
            quiet = 0;
        }
        ports_flush(p);
    }
    assert_true(seen >= PORTS);
    for (int i = 0; i < PORTS; i++)
        assert_true(is_android[i]);
    assert_false(ports_flush(p));
    close(ends[0]);
    close(ends[1]);
    ports_free(&p);
}

static void a_rack_that_invents_ports_is_cut(void **state)
{
    (void)state;
    int ends[2], count = 0;
    char name[PORT_ID_MAX];
    struct wire_message m;
    struct ports *p = ports_new();
    for (int i = 0; i < PORTS_MAX + 100; i++) {
        snprintf(name, sizeof(name), "usbip-rack:1-%d", i);
        ports_update(p, name, &brom);
    }
    assert_int_equal(wire_pair(ends, NULL), 0);
    ports_server_set(p, ends[0]);
    for (int quiet = 0; quiet < 3; quiet++) {
        for (; next(ends[1], &m) == WIRE_port; quiet = 0)
            count++;
        ports_flush(p);
    }
    assert_int_equal(count, PORTS_MAX);
    close(ends[0]);
    close(ends[1]);
    ports_free(&p);
}

/* Without room for another port its worker would wait for ever: flashrackd hears why. */
static void a_watch_without_room_is_told(void **state)
{
    (void)state;
    int server[2], worker[2];
    char name[PORT_ID_MAX];
    struct wire_message m;
    struct ports *p = ports_new();
    for (int i = 0; i < PORTS_MAX; i++) {
        snprintf(name, sizeof(name), "usbip-rack:1-%d", i);
        ports_update(p, name, &brom);
    }
    assert_int_equal(wire_pair(server, NULL), 0);
    assert_int_equal(wire_pair(worker, NULL), 0);
    ports_server_set(p, server[0]);
    for (int quiet = 0; quiet < 3; quiet++) {
        for (; next(server[1], &m) == WIRE_port; quiet = 0)
            ;
        ports_flush(p);
    }
    ports_watch(p, id, worker[0]);
    assert_int_equal(next(server[1], &m), WIRE_trouble);
    assert_string_equal(m.u.trouble.port, id);
    assert_non_null(strstr(m.u.trouble.text, "2048 ports"));
    assert_int_equal(wire_recv(worker[1], &m, MSG_DONTWAIT, NULL), 0); /* closed */
    close(server[0]);
    close(server[1]);
    close(worker[1]);
    ports_free(&p);
}

/* A device that a full channel did not take is wanted still. */
static void a_want_stays_until_it_is_answered(void **state)
{
    (void)state;
    int ends[2], device = open("/dev/null", O_RDWR | O_CLOEXEC);
    struct wire_message m;
    struct ports *p = ports_new();
    assert_int_equal(wire_pair(ends, NULL), 0);
    ports_watch(p, id, ends[0]);
    want(ends[1], "brom");
    ports_channel_readable(p, ends[0]);
    ports_update(p, id, &brom);
    struct wire_message filler = {.type = WIRE_seen, .fd = -1};
    while (wire_send(ends[0], &filler, MSG_DONTWAIT, NULL) == 0)
        ;
    assert_false(ports_hand(p, id, "usbfs", device, 0));
    assert_true(ports_wanted(p, id));
    while (next(ends[1], &m) != WIRE_NONE)
        ;
    assert_true(ports_hand(p, id, "usbfs", device, 0));
    assert_int_equal(next(ends[1], &m), WIRE_attach);
    wire_message_deinit(&m);
    assert_false(ports_wanted(p, id));
    close(device);
    close(ends[1]);
    ports_free(&p);
}

static void trouble_is_told_once_and_taken_back(void **state)
{
    (void)state;
    int ends[2];
    struct wire_message m;
    struct ports *p = ports_new();
    assert_int_equal(wire_pair(ends, NULL), 0);
    ports_server_set(p, ends[0]);
    ports_trouble(p, "rack:3240", "does not answer");
    ports_trouble(p, "rack:3240", "does not answer");
    assert_int_equal(next(ends[1], &m), WIRE_trouble);
    assert_string_equal(m.u.trouble.text, "does not answer");
    assert_int_equal(next(ends[1], &m), WIRE_NONE);
    ports_server_set(
        p,
        ends[0]); /* flashrackd came anew: it hears of the trouble, and of no port by that name */
    assert_int_equal(next(ends[1], &m), WIRE_trouble);
    assert_int_equal(next(ends[1], &m), WIRE_NONE);
    ports_trouble(p, "rack:3240", "%s", "");
    assert_int_equal(next(ends[1], &m), WIRE_trouble);
    assert_string_equal(m.u.trouble.text, "");
    close(ends[0]);
    close(ends[1]);
    ports_free(&p);
}

/* ---- a rack that is deaf for a while: a thread on a loopback port ---- */

static struct {
    int listener;
    pthread_t thread;
    atomic_bool deaf;
    atomic_int unanswered; /* requests, while it was deaf */
} rack;

static void rack_answer(int fd)
{
    struct usbip_device d = {
        .busid = "1-1", .busnum = 1, .devnum = 2, .speed = 2, .vid = 0x0e8d, .pid = 3};
    AUTO(buf_deinit) struct buf list;
    buf_init(&list, 512);
    usbip_op_encode(&(struct usbip_op_head){USBIP_OP_REP_DEVLIST, 0}, &list);
    buf_put(&list, "\0\0\0\1", 4);
    usbip_device_encode(&d, &list);
    io_write(fd, list.data, list.len, NULL);
}

static void *rack_run(void *arg)
{
    (void)arg;
    for (;;) {
        AUTO(fd_close) int fd = accept(rack.listener, NULL, NULL);
        uint8_t request[USBIP_OP_BYTES];
        if (fd < 0)
            return NULL;
        if (!rack.deaf)
            rack_answer(fd);
        else
            rack.unanswered++;
        while (recv(fd, request, sizeof(request), 0) > 0) /* until the other end gives up */
            continue;
    }
}

static void rack_start(char address[64])
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof(at);
    rack.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(rack.listener, (struct sockaddr *)&at, size), 0);
    assert_int_equal(listen(rack.listener, 8), 0);
    assert_int_equal(getsockname(rack.listener, (struct sockaddr *)&at, &size), 0);
    snprintf(address, 64, "127.0.0.1:%u", ntohs(at.sin_port));
    assert_int_equal(pthread_create(&rack.thread, NULL, rack_run, NULL), 0);
}

/* Reads what flashrackd is told until the port shows this mode. */
static void wait_mode(int fd, const char *mode)
{
    struct wire_message m;
    do {
        m = (struct wire_message){.fd = -1};
        assert_int_equal(wire_recv(fd, &m, 0, NULL), 1);
    } while (m.type != WIRE_port || strcmp(m.u.port.mode, mode) != 0);
}

/* A deaf rack's phone is there still: called empty it would count as taken away, and be taken anew. */
static void a_rack_that_is_deaf_for_a_moment_keeps_its_ports(void **state)
{
    (void)state;
    int server[2];
    char address[64];
    struct ports *p = ports_new(); /* stays: the thread that watches ends with the process */
    rack_start(address);
    assert_int_equal(wire_pair(server, NULL), 0);
    ports_server_set(p, server[0]);
    assert_int_equal(rack_watch(p, address, 200, NULL), 0);
    wait_mode(server[1], "brom");
    rack.deaf = true;
    wait_mode(server[1], "none");
    assert_true(rack.unanswered >= 3);
    rack.deaf = false;
    wait_mode(server[1], "brom");
    shutdown(rack.listener, SHUT_RDWR); /* nobody listens: no silence, the phones are gone */
    wait_mode(server[1], "none");
    pthread_join(rack.thread, NULL);
    close(rack.listener);
}

#define DEVICES "bus/usb/devices"
#define ROM     DEVICES "/999-1"
#define HUB     DEVICES "/999-2"

/* A boot ROM and a hub as sysfs shows them, on a bus that this machine has no device nodes of. */
static const struct {
    const char *name, *text;
} sysfs_files[] = {
    {DEVICES "/usb998/serial", "vhci_hcd.0\n"}, /* the super-speed half of the controller */
    {DEVICES "/usb998/bDeviceClass", "09\n"},
    {DEVICES "/usb998/maxchild", "8\n"},
    {DEVICES "/usb998/speed", "5000\n"},
    {DEVICES "/usb999/serial", "vhci_hcd.0\n"},
    {DEVICES "/usb999/bDeviceClass", "09\n"},
    {DEVICES "/usb999/bmAttributes", "e0\n"},
    {DEVICES "/usb999/maxchild", "8\n"},
    {DEVICES "/usb999/speed", "480\n"},
    {ROM "/devpath", "1\n"},
    {ROM "/idVendor", "0e8d\n"},
    {ROM "/idProduct", "0003\n"},
    {ROM "/bDeviceClass", "02\n"},
    {ROM "/speed", "12\n"},
    {ROM "/busnum", "999\n"},
    {ROM "/devnum", "999\n"},
    {ROM "/bConfigurationValue", "1\n"},
    {HUB "/devpath", "2\n"},
    {HUB "/bDeviceClass", "09\n"},
    {HUB "/bDeviceProtocol", "01\n"},
    {HUB "/bmAttributes", "a0\n"},
    {HUB "/maxchild", "4\n"},
    {HUB "/speed", "480\n"},
    {HUB ".3/devpath", "2.3\n"},
    {HUB ".3/bDeviceClass", "09\n"},
    {HUB ".3/bDeviceProtocol", "02\n"},
    {HUB ".3/bmAttributes", "e0\n"},
    {HUB ".3/maxchild", "7\n"},
    {HUB ".3/speed", "480\n"},
};
static const char *const sysfs_folders[] = {
    "bus", "bus/usb", DEVICES, DEVICES "/usb998", DEVICES "/usb999", ROM, HUB, HUB ".3"};

static void sysfs_make(const char *root)
{
    int dir = open(root, O_DIRECTORY | O_CLOEXEC);
    for (size_t i = 0; i < ARRAY_LEN(sysfs_folders); i++)
        assert_int_equal(mkdirat(dir, sysfs_folders[i], 0700), 0);
    for (size_t i = 0; i < ARRAY_LEN(sysfs_files); i++) {
        int fd = openat(dir, sysfs_files[i].name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        assert_int_equal(io_write(fd, sysfs_files[i].text, strlen(sysfs_files[i].text), NULL), 0);
        close(fd);
    }
    close(dir);
}

/* What is below `under`; "": all, and the root itself. */
static void sysfs_remove(const char *root, const char *under)
{
    int dir = open(root, O_DIRECTORY | O_CLOEXEC);
    for (size_t i = 0; i < ARRAY_LEN(sysfs_files); i++)
        if (strncmp(sysfs_files[i].name, under, strlen(under)) == 0)
            unlinkat(dir, sysfs_files[i].name, 0);
    for (size_t i = ARRAY_LEN(sysfs_folders); i-- > 0;)
        if (strncmp(sysfs_folders[i], under, strlen(under)) == 0)
            unlinkat(dir, sysfs_folders[i], AT_REMOVEDIR);
    close(dir);
    if (!under[0])
        assert_int_equal(rmdir(root), 0);
}

/* The next hub that flashrackd is told of must be one of those that are expected; it is struck out. */
static void next_hub(int fd, struct wire_hub *expected, size_t count)
{
    struct wire_message m;
    assert_int_equal(next(fd, &m), WIRE_hub);
    for (size_t i = 0; i < count; i++)
        if (memcmp(&m.u.hub, &expected[i], sizeof(m.u.hub)) == 0) {
            expected[i] = (struct wire_hub){0};
            return;
        }
    fail_msg("hub %s of %s: %s, %d sockets", m.u.hub.hub, m.u.hub.parent, m.u.hub.kind,
             (int)m.u.hub.sockets);
}

#define VHCI "platform-vhci_hcd.0"

/* Empty sockets have names because their hubs are told: what each is, and what it is plugged into. */
static void controllers_and_hubs_are_told(void **state)
{
    (void)state;
    struct wire_hub expected[] = {
        {VHCI, "", "controller", 3, 8, 1},
        {VHCI "-usb-0:2", VHCI, "single_tt", 3, 4, 0},
        {VHCI "-usb-0:2.3", VHCI "-usb-0:2", "multi_tt", 3, 7, 1},
    };
    struct wire_hub all[ARRAY_LEN(expected)], gone[] = {expected[2]};
    memcpy(all, expected, sizeof(all));
    gone[0].sockets = 0;
    char root[] = "/tmp/portwatch.XXXXXX";
    int server[2];
    struct wire_message m;
    struct ports *p = ports_new();
    struct hubs *h = hubs_new();
    assert_non_null(mkdtemp(root));
    sysfs_make(root);
    assert_int_equal(wire_pair(server, NULL), 0);
    hubs_server_set(h, server[0]);
    sysfs_rescan(p, h, root);
    for (size_t i = 0; i < ARRAY_LEN(expected); i++)
        next_hub(server[1], expected, ARRAY_LEN(expected));
    sysfs_rescan(p, h, root); /* nothing changed */
    assert_int_equal(next(server[1], &m), WIRE_NONE);
    hubs_server_set(h, server[0]); /* flashrackd came anew */
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        next_hub(server[1], all, ARRAY_LEN(all));
    sysfs_remove(root, HUB ".3");
    sysfs_rescan(p, h, root);
    next_hub(server[1], gone, ARRAY_LEN(gone));
    assert_int_equal(next(server[1], &m), WIRE_NONE);
    sysfs_remove(root, "");
    close(server[0]);
    close(server[1]);
    hubs_free(&h);
    ports_free(&p);
}

/* Unplugged between discovery and open: no trouble, one more look soon, and the worker's want stays. */
static void a_node_that_vanished_is_looked_for_again(void **state)
{
    (void)state;
    static const char vhci[] = "platform-vhci_hcd.0-usb-0:1";
    char root[] = "/tmp/portwatch.XXXXXX";
    int server[2], worker[2];
    struct wire_message m;
    struct ports *p = ports_new();
    struct hubs *h = hubs_new();
    assert_non_null(mkdtemp(root));
    sysfs_make(root);
    assert_int_equal(wire_pair(server, NULL), 0);
    assert_int_equal(wire_pair(worker, NULL), 0);
    ports_server_set(p, server[0]);
    ports_watch(p, vhci, worker[0]);
    assert_false(sysfs_rescan(p, h, root)); /* nobody waits for it: no look at its node */
    want(worker[1], "brom");
    ports_channel_readable(p, worker[0]);
    assert_true(sysfs_rescan(p, h, root));
    assert_true(ports_wanted(p, vhci));
    assert_int_equal(next(server[1], &m), WIRE_port);
    assert_string_equal(m.u.port.mode, "brom");
    assert_int_equal(next(server[1], &m), WIRE_NONE);
    sysfs_remove(root, "");
    close(server[0]);
    close(server[1]);
    close(worker[1]);
    hubs_free(&h);
    ports_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_attach_for_one_want),
        cmocka_unit_test(a_new_worker_takes_the_port),
        cmocka_unit_test(a_server_that_does_not_read_misses_nothing),
        cmocka_unit_test(a_rack_that_invents_ports_is_cut),
        cmocka_unit_test(a_watch_without_room_is_told),
        cmocka_unit_test(a_want_stays_until_it_is_answered),
        cmocka_unit_test(trouble_is_told_once_and_taken_back),
        cmocka_unit_test(a_rack_that_is_deaf_for_a_moment_keeps_its_ports),
        cmocka_unit_test(controllers_and_hubs_are_told),
        cmocka_unit_test(a_node_that_vanished_is_looked_for_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
