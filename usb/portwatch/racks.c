#include "usb/portwatch/racks.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "usb/base/log.h"
#include "usb/base/mem.h"
#include "usb/codec/fastboot.h"
#include "usb/transport/usbip_rack.h"
#include "usb/wire/wire.h"

enum {
    RACKS_MAX = 64,
    ASK_MS = 150,     /* between two looks; a preloader is there for 2500 ms */
    ASK_SOON_MS = 40, /* while a worker waits */
    SILENCES_MAX = 3, /* time-outs in a row after which a rack's ports count as empty */
};

struct rack {
    struct ports *ports;
    char host[96], address[120];
    uint16_t port;
    int64_t deadline_ms;
    int silences; /* time-outs in a row */
    bool troubled;
};

static struct rack *racks[RACKS_MAX];
static size_t rack_count;

static int parse_address(const char *address, struct rack *r, struct err *err)
{
    const char *colon = strrchr(address, ':');
    char *end = NULL;
    long port = colon ? strtol(colon + 1, &end, 10) : 0;
    size_t host_len = colon ? (size_t)(colon - address) : 0;
    if (!colon || host_len == 0 || host_len >= sizeof(r->host) || port < 1 || port > 65535 ||
        *end != '\0' || strlen(address) >= sizeof(r->address))
        return err_set(err, ERR_INPUT, "'%.80s' is not HOST:PORT", address);
    memcpy(r->host, address, host_len);
    memcpy(r->address, address, strlen(address) + 1);
    r->port = (uint16_t)port;
    return 0;
}

static bool shows_fastboot(const struct usbip_rack_device *d)
{
    for (size_t i = 0; i < d->interface_count; i++)
        if (d->interfaces[i].class_code == FASTBOOT_USB_CLASS &&
            d->interfaces[i].subclass == FASTBOOT_USB_SUBCLASS &&
            d->interfaces[i].protocol == FASTBOOT_USB_PROTOCOL)
            return true;
    return false;
}

/* It becomes a part of a port's id, in URLs and logs; the list comes from the network. */
static bool busid_ok(const char *busid)
{
    return busid[0] &&
           strspn(busid, "0123456789.-abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_") ==
               strlen(busid);
}

static void port_id(const struct rack *r, const char *busid, char out[PORT_ID_MAX])
{
    snprintf(out, PORT_ID_MAX, "usbip-%.80s-%.31s", r->address, busid);
}

/* Importing takes the device from everybody else, so it happens for a want only. */
static void serve(struct rack *r, const char *id, const struct usbip_device *seen)
{
    struct usbip_device device;
    struct err err = {0};
    int fd = -1;
    if (usbip_import(r->host, r->port, seen->busid, r->deadline_ms, &fd, &device, &err) < 0) {
        /* gone since the list was made, or another client has it: the next look tells */
        log_line(LOG_DEBUG, "racks", LOG_KV({"port", id}, {"err", err_name(err.code)}), "%s",
                 err.text);
        return;
    }
    /* a phone that came back as something else since the list was made: the next look tells */
    if (device.vid == seen->vid && device.pid == seen->pid)
        ports_hand(r->ports, id, "usbip", fd, usbip_devid(&device));
    close(fd); /* no copy stays here */
}

/* A rack that is slow once has its phones still: called empty, a phone would count as taken away, and what
 * comes back as another one. One that refuses or closes connections has lost them. */
static void unanswered(struct rack *r, const struct err *err, const char *prefix, int64_t mark)
{
    ports_trouble(r->ports, r->address, "USB/IP rack %s does not answer: %s", r->address,
                  err->text);
    r->troubled = true;
    r->silences = err->code == ERR_TIMEOUT ? r->silences + 1 : SILENCES_MAX;
    if (r->silences >= SILENCES_MAX)
        ports_sweep(r->ports, prefix, mark);
}

static void look(struct rack *r)
{
    struct usbip_rack_device *list = NULL;
    size_t count = 0;
    struct err err = {0};
    char prefix[PORT_ID_MAX], id[PORT_ID_MAX];
    snprintf(prefix, sizeof(prefix), "usbip-%s-", r->address);
    int64_t mark = ports_mark(r->ports);
    if (usbip_devlist(r->host, r->port, r->deadline_ms, &list, &count, &err) < 0) {
        unanswered(r, &err, prefix, mark);
        return;
    }
    r->silences = 0;
    if (r->troubled)
        ports_trouble(r->ports, r->address, "%s", "");
    r->troubled = false;
    for (size_t i = 0; i < count; i++) {
        const struct usbip_device *d = &list[i].device;
        if (!busid_ok(d->busid))
            continue;
        struct port_device info = {
            .vid = d->vid, .pid = d->pid, .speed = (int)d->speed, .devid = usbip_devid(d)};
        WIRE_TEXT(info.mode, port_mode_of(d->vid, d->pid, shows_fastboot(&list[i])));
        port_id(r, d->busid, id);
        ports_update(r->ports, id, &info);
    }
    ports_sweep(r->ports, prefix, mark);
    for (size_t i = 0; i < count; i++) {
        port_id(r, list[i].device.busid, id);
        if (ports_wanted(r->ports, id))
            serve(r, id, &list[i].device);
    }
    free(list);
}

static void *rack_main(void *arg)
{
    struct rack *r = arg;
    char prefix[PORT_ID_MAX];
    snprintf(prefix, sizeof(prefix), "usbip-%s-", r->address);
    for (;;) {
        look(r);
        int64_t ms = ports_any_want(r->ports, prefix) ? ASK_SOON_MS : ASK_MS;
        if (r->troubled)
            ms = r->deadline_ms / 2;
        struct timespec pause = {ms / 1000, (ms % 1000) * 1000000L};
        nanosleep(&pause, NULL);
    }
    return NULL;
}

int rack_watch(struct ports *ports, const char *address, int64_t deadline_ms, struct err *err)
{
    for (size_t i = 0; i < rack_count; i++)
        if (strcmp(racks[i]->address, address) == 0)
            return 0;
    if (rack_count == RACKS_MAX)
        return err_set(err, ERR_LIMIT, "more than %d racks", RACKS_MAX);
    struct rack *r = xcalloc(1, sizeof(*r));
    r->ports = ports;
    r->deadline_ms = deadline_ms;
    int rc = parse_address(address, r, err);
    pthread_t thread;
    if (rc == 0 && pthread_create(&thread, NULL, rack_main, r) != 0)
        rc = err_set(err, ERR_IO, "no thread for rack %s", address);
    if (rc < 0) {
        free(r);
        return rc;
    }
    pthread_detach(thread);
    racks[rack_count++] = r;
    return 0;
}
