/* `./run bench link`: how much of what the transport can carry a conversation uses. XFlash reads and writes of one
 * emulated phone against a raw bulk loop, same transport (USB/IP, direct), same transfer size, in turns, so that a
 * loaded machine slows both. With --usbfs (`./run bench link_guest`) both are devices of this kernel, through vhci_hcd,
 * usbfs and libusb as a worker has them. Rates are for comparison only; README of tests/phone, "Speed", says what
 * limits them. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/bench/kernel_port.h"
#include "tests/phone/factory.h"
#include "tests/phone/hardware.h"
#include "tests/phone/usbip_server.h"
#include "tests/unit/phone_bench.h"
#include "usb/base/clock.h"
#include "usb/base/hash.h"
#include "usb/base/mem.h"
#include "usb/transport/usbip.h"
#include "usb/transport/usbip_rack.h"

enum {
    PACED_BYTES_PER_S = 40 * 1000 * 1000,      /* a high-speed agent at its best */
    PACED_GUEST_BYTES_PER_S = 4 * 1000 * 1000, /* what an emulated processor carries, hashing too */
    BULK_BYTES = 64 << 20,
    BULK_USBFS_BYTES = 8 << 20, /* in a guest everything is slow */
    READ_BYTES = 32768,         /* what usb/proto takes from the transport at once */
    WRITE_BYTES = 1 << 20,      /* and gives it */
    PACKET_BYTES = 2 << 20,     /* of the phone, both directions */
    ROUNDS = 3,
    WAIT_MS = 60000,
    LOOK_US = 500,
};
/* Virtual ports: the phone of the rack and the raw device. */
enum { PHONE_INDEX = 1, RAW_INDEX = 2 };

static bool usbfs;
static size_t bulk_bytes = BULK_BYTES;

struct speed {
    double wall_s, cpu_s;
};

static double thread_cpu_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static struct speed start(void)
{
    return (struct speed){now_s(), thread_cpu_s()};
}

static struct speed since(struct speed s)
{
    return (struct speed){now_s() - s.wall_s, thread_cpu_s() - s.cpu_s};
}

/* ---- how many transfers wait at the device -------------------------------------------------------------- */

/* The most requests, and the longest one, that a device had before it at once: in flight, as it sees it. What it has
 * confirmed already and keeps in its FIFO is not. */
struct flight {
    struct board *board;
    pthread_t thread;
    atomic_bool stopping;
    size_t most;
    uint32_t longest_bytes;
};

static void look(struct flight *f)
{
    pthread_mutex_lock(&f->board->lock);
    const struct urb_queue *queues[] = {&f->board->usb.in, &f->board->usb.out};
    for (size_t i = 0; i < ARRAY_LEN(queues); i++) {
        size_t count = 0;
        for (const struct urb *u = queues[i]->head; u; u = u->next) {
            count += !u->acked;
            f->longest_bytes = MAX_OF(f->longest_bytes, u->length);
        }
        f->most = MAX_OF(f->most, count);
    }
    pthread_mutex_unlock(&f->board->lock);
}

static void *flight_main(void *arg)
{
    struct flight *f = arg;
    while (!atomic_load(&f->stopping)) {
        look(f);
        usleep(LOOK_US);
    }
    return NULL;
}

static void flight_watch(struct flight *f, struct board *b)
{
    f->board = b;
    atomic_store(&f->stopping, false);
    if (pthread_create(&f->thread, NULL, flight_main, f) != 0)
        abort();
}

static void flight_end(struct flight *f)
{
    atomic_store(&f->stopping, true);
    pthread_join(f->thread, NULL);
}

/* ---- the raw loop: a device whose firmware is one loop ------------------------------------------------- */

static const uint8_t raw_device_desc[] = {18,   1, 0x00, 0x02, 0, 0, 0, 64, 0x8d,
                                          0x0e, 1, 0x20, 0,    1, 0, 0, 0,  1};
static const uint8_t raw_config_desc[] = {9, 2, 32, 0,    1, 1, 0, 0x80, 50, 9,    4,
                                          0, 0, 2,  0x0a, 0, 0, 0, 7,    5,  0x81, 2,
                                          0, 2, 0,  7,    5, 1, 2, 0,    2,  0};
static const struct gadget raw_gadget = {.speed = 3,
                                         .device_desc = raw_device_desc,
                                         .config_desc = raw_config_desc,
                                         .config_len = sizeof(raw_config_desc),
                                         .ep_in = 0x81,
                                         .ep_out = 0x01,
                                         .packet = 512};

struct raw {
    char dir[32];
    struct board *board;
    struct usbip_server *server;
    struct transport *transport;
    pthread_t thread;
    bool in;
    uint8_t *phone_side, *host_side;
};

static void *raw_main(void *arg)
{
    struct raw *r = arg;
    size_t lost;
    for (size_t done = 0; done < bulk_bytes; done += PACKET_BYTES) {
        int rc = r->in ? board_in(r->board, r->phone_side, PACKET_BYTES, IN_FIELD, WAIT_MS)
                       : board_out_packets(r->board, r->phone_side, PACKET_BYTES, &lost, WAIT_MS);
        if (rc < 0)
            break;
    }
    return NULL;
}

static void raw_import(struct raw *r)
{
    struct err err = {0};
    struct usb_identity id;
    struct usbip_device device;
    int fd = -1;
    const char *colon = strrchr(usbip_server_address(r->server), ':');
    phone_ok(
        usbip_import("127.0.0.1", (uint16_t)atoi(colon + 1), "1-2", WAIT_MS, &fd, &device, &err),
        &err);
    phone_ok(
        transport_usbip_open(fd, usbip_devid(&device), (int)device.speed, &r->transport, &id, &err),
        &err);
}

static void raw_open_node(struct raw *r)
{
    struct err err = {0};
    struct usb_identity id;
    int64_t until = clock_in(WAIT_MS);
    while (kernel_port_open(RAW_INDEX, &r->transport, &id, &err) < 0 && clock_now_ms() < until)
        usleep(10000);
    if (!r->transport)
        phone_ok(err.code, &err);
}

static void raw_open(struct raw *r)
{
    struct err err = {0};
    const struct factory_order order = {PROFILE_TINY, 7, RAW_INDEX, 'a', NULL, NULL};
    const struct board_new how = {"1-2", r->dir, RAW_INDEX, usbfs, 100};
    snprintf(r->dir, sizeof(r->dir), "/tmp/bench-link-XXXXXX");
    if (!mkdtemp(r->dir))
        abort();
    phone_ok(factory_make_phone(r->dir, &order, &err), &err);
    phone_ok(board_open(&how, &r->board, &err), &err);
    phone_ok(usbip_server_start("127.0.0.1:0", &r->board, 1, &r->server, &err), &err);
    board_cable_set(r->board, true); /* no firmware thread: nobody minds */
    phone_ok(board_usb_attach(r->board, &raw_gadget), &err);
    (usbfs ? raw_open_node : raw_import)(r);
    phone_ok(board_usb_configured(r->board, WAIT_MS), &err);
    r->phone_side = xcalloc(1, PACKET_BYTES);
    r->host_side = xcalloc(1, WRITE_BYTES);
}

static void raw_close(struct raw *r)
{
    transport_close(&r->transport);
    board_usb_detach(r->board);
    usbip_server_stop(&r->server);
    board_close(&r->board);
    free(r->phone_side);
    free(r->host_side);
    AUTO(free_ptr) char *command = xasprintf("rm -rf '%s'", r->dir);
    if (system(command) != 0)
        abort();
}

static struct speed raw_run(struct raw *r, bool in)
{
    struct err err = {0};
    r->in = in;
    if (pthread_create(&r->thread, NULL, raw_main, r) != 0)
        abort();
    struct speed s = start();
    for (size_t done = 0; done < bulk_bytes;) {
        int64_t until = clock_in(WAIT_MS);
        ssize_t n = in ? transport_read(r->transport, r->host_side, READ_BYTES, until, &err)
                       : transport_write(r->transport, r->host_side, WRITE_BYTES, until, &err);
        phone_ok((int)n, &err);
        done += (size_t)n;
    }
    s = since(s);
    pthread_join(r->thread, NULL);
    return s;
}

/* ---- the conversation ---------------------------------------------------------------------------------- */

static int take(void *hasher, const void *data, size_t len, struct err *err)
{
    (void)err;
    if (hasher)
        hasher_update(hasher, data, len);
    return 0;
}

struct source {
    struct hasher *hasher;
    uint8_t *pattern;
};

/* As a recipe's image source: from memory into the chunk, hashed on the way when asked for. */
static int give(void *arg, void *dst, size_t len, struct err *err)
{
    struct source *s = arg;
    (void)err;
    memcpy(dst, s->pattern, len);
    if (s->hasher)
        hasher_update(s->hasher, dst, len);
    return 0;
}

static struct speed xflash_run(struct phone_session *p, uint64_t at, bool in, bool hash)
{
    struct err err = {0};
    AUTO(hasher_free) struct hasher *hasher = hash ? hasher_new() : NULL;
    AUTO(free_ptr) uint8_t *pattern = xcalloc(1, PACKET_BYTES);
    struct source source = {hasher, pattern};
    memset(pattern, 0x5a, PACKET_BYTES);
    struct speed s = start();
    phone_ok(in ? da_read(&p->da, XFLASH_USER, at, bulk_bytes, take, hasher, &err)
                : da_write(&p->da, XFLASH_USER, at, bulk_bytes, give, &source, &err),
             &err);
    return since(s);
}

/* ---- the comparison ------------------------------------------------------------------------------------ */

static int by_value(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static void compare(struct raw *raw, struct phone_session *p, uint64_t at, uint64_t pace, bool in,
                    bool hash)
{
    struct speed r = {0, 0}, x = {0, 0};
    raw->board->settings.high_speed_bytes_per_s = pace;
    board_settings(phone_bench.phone)->high_speed_bytes_per_s = pace;
    double ratios[ROUNDS];
    struct flight raw_flight = {.most = 0}, flight = {.most = 0};
    for (int i = 0; i < ROUNDS; i++) {
        flight_watch(&raw_flight, raw->board);
        struct speed a = raw_run(raw, in);
        flight_end(&raw_flight);
        flight_watch(&flight, phone_bench.phone);
        struct speed b = xflash_run(p, at, in, hash);
        flight_end(&flight);
        r.wall_s += a.wall_s;
        r.cpu_s += a.cpu_s;
        x.wall_s += b.wall_s;
        x.cpu_s += b.cpu_s;
        ratios[i] = a.wall_s / b.wall_s;
    }
    qsort(ratios, ROUNDS, sizeof(ratios[0]),
          by_value); /* the middle one: others work on this machine, too */
    double mb = (double)bulk_bytes * ROUNDS / 1e6;
    printf("{\"bench\": \"link\", \"transport\": \"%s\", \"direction\": \"%s\", "
           "\"paced_mb_per_s\": %.1f, \"hash\": %s, \"mb\": %.1f, ",
           usbfs ? "usbfs" : "usbip", in ? "read" : "write", (double)pace / 1e6,
           hash ? "true" : "false", mb);
    printf("\"transfer_bytes\": %u, \"in_flight\": %zu, \"raw_transfer_bytes\": %u, "
           "\"raw_in_flight\": %zu, ",
           flight.longest_bytes, flight.most, raw_flight.longest_bytes, raw_flight.most);
    printf("\"raw_mb_per_s\": %.1f, \"xflash_mb_per_s\": %.1f, \"ratio\": %.3f, "
           "\"raw_cpu_s_per_gb\": %.3f, \"xflash_cpu_s_per_gb\": %.3f}\n",
           mb / r.wall_s, mb / x.wall_s, ratios[ROUNDS / 2], r.cpu_s / mb * 1e3,
           x.cpu_s / mb * 1e3);
    (void)fflush(stdout);
}

static int open_phone(struct transport **out, struct usb_identity *id_out, struct err *err)
{
    return kernel_port_open(PHONE_INDEX, out, id_out, err);
}

int main(int argc, char **argv)
{
    usbfs = argc == 2 && strcmp(argv[1], "--usbfs") == 0;
    if (argc > 1 && !usbfs) {
        fputs("usage: bench_link [--usbfs]\n", stderr);
        return 2;
    }
    bulk_bytes = usbfs ? BULK_USBFS_BYTES : BULK_BYTES;
    phone_bench.open = usbfs ? open_phone : NULL;
    struct raw raw = {.in = false};
    struct phone_session p = {0};
    struct err err = {0};
    AUTO(free_ptr) struct gpt *table = xcalloc(1, sizeof(*table));
    struct extent userdata;
    phone_ok(phone_bench_up(PROFILE_MINI), &err);
    raw_open(&raw);
    phone_plug(phone_bench.phone, true);
    phone_take(&p, BROM_USB_PID_BROM);
    phone_start_agent(&p, BROM_STAGE_BROM);
    phone_ok(da_switch_usb_speed(&p.da, &err), &err);
    phone_take(&p, BROM_USB_PID_DA_HIGHSPEED);
    da_reattach(&p.da, &p.link);
    phone_read_table(&p, table);
    phone_ok(gpt_lookup(table, "userdata", &userdata, &err), &err);
    if (userdata.size_bytes < bulk_bytes)
        abort();
    const uint64_t paces[] = {0, usbfs ? PACED_GUEST_BYTES_PER_S : PACED_BYTES_PER_S};
    for (size_t i = 0; i < ARRAY_LEN(paces); i++)
        for (int k = 0; k < 4; k++)
            compare(&raw, &p, userdata.start_bytes, paces[i], k & 1, k & 2);
    phone_finish(&p, &DA_SHUTDOWN_OFF);
    raw_close(&raw);
    phone_put_away(phone_bench.phone);
    return phone_bench_down();
}
