#include "usb/portwatch/sysfs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/netlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "usb/base/io.h"
#include "usb/base/mem.h"
#include "usb/wire/wire.h"

enum { KOBJECT_UEVENT_GROUP = 1, UEVENT_RCVBUF_BYTES = 4 << 20 };

#define CHAIN "-usb-0:" /* in a port id, between controller and port chain */

int sysfs_uevents_open(struct err *err)
{
    AUTO(fd_close)
    int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT);
    if (fd < 0)
        return err_sys(err, ERR_IO, "netlink socket for kernel uevents");
    int size = UEVENT_RCVBUF_BYTES;
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size)); /* without CAP_NET_ADMIN */
    struct sockaddr_nl addr = {.nl_family = AF_NETLINK, .nl_groups = KOBJECT_UEVENT_GROUP};
    if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
        return err_sys(err, ERR_IO, "bind to kernel uevents");
    return STEAL_FD(fd);
}

bool sysfs_uevents_drain(int netlink_fd)
{
    char text[8192];
    bool usb = false;
    for (;;) {
        struct sockaddr_nl from = {0};
        socklen_t from_len = sizeof(from);
        ssize_t n =
            recvfrom(netlink_fd, text, sizeof(text), 0, (struct sockaddr *)&from, &from_len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == ENOBUFS)
            return true; /* events were lost: look at everything */
        if (n <= 0)
            return usb;
        if (from.nl_pid == 0 && memmem(text, (size_t)n, "SUBSYSTEM=usb", 14))
            usb = true;
    }
}

/* One attribute as text without its newline; empty when it is not there. */
static void attribute(const char *dir, const char *name, char *out, size_t size)
{
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    AUTO(free_ptr) char *text = NULL;
    out[0] = '\0';
    if (io_slurp(AT_FDCWD, path, 4096, &text, NULL, NULL) < 0)
        return;
    text[strcspn(text, "\n")] = '\0';
    snprintf(out, size, "%s", text);
}

static long attribute_number(const char *dir, const char *name, int base)
{
    char text[32];
    attribute(dir, name, text, sizeof(text));
    return text[0] ? strtol(text, NULL, base) : -1;
}

static bool looks_like_pci(const char *controller)
{
    unsigned domain, bus, slot, function;
    return sscanf(controller, "%x:%x:%x.%x", &domain, &bus, &slot, &function) == 4;
}

/* "pci-0000:00:14.0" of a root hub's directory; empty when it is gone. */
static void controller_id(const char *dir, char out[64])
{
    char controller[48];
    attribute(dir, "serial", controller, sizeof(controller));
    out[0] = '\0';
    if (controller[0])
        snprintf(out, 64, "%s-%s", looks_like_pci(controller) ? "pci" : "platform", controller);
}

int sysfs_port_id(const char *root, const char *device, char out[PORT_ID_MAX], struct err *err)
{
    char dir[PATH_MAX], controller[64], devpath[48];
    snprintf(dir, sizeof(dir), "%s/bus/usb/devices/usb%d", root, atoi(device));
    controller_id(dir, controller);
    snprintf(dir, sizeof(dir), "%s/bus/usb/devices/%s", root, device);
    attribute(dir, "devpath", devpath, sizeof(devpath));
    if (!controller[0] || !devpath[0])
        return err_set(err, ERR_GONE, "device '%s' has no controller or path", device);
    snprintf(out, PORT_ID_MAX, "%s" CHAIN "%s", controller, devpath);
    return 0;
}

/* Does any interface of this device show fastboot's triple? Interfaces are the directory's children. */
static bool has_fastboot(const char *dir, const char *device)
{
    DIR *d = opendir(dir);
    if (!d)
        return false;
    bool yes = false;
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        if (strncmp(e->d_name, device, strlen(device)) != 0 || !strchr(e->d_name, ':'))
            continue;
        AUTO(free_ptr) char *sub = xasprintf("%s/%s", dir, e->d_name);
        if (attribute_number(sub, "bInterfaceClass", 16) == 0xff &&
            attribute_number(sub, "bInterfaceSubClass", 16) == 0x42 &&
            attribute_number(sub, "bInterfaceProtocol", 16) == 0x03)
            yes = true;
    }
    closedir(d);
    return yes;
}

static int speed_of(const char *dir)
{
    long mbit = attribute_number(dir, "speed", 10);
    return mbit >= 5000 ? 5 : mbit >= 480 ? 3 : mbit >= 12 ? 2 : 1;
}

/* Opens the node for the worker that waits. Returns true when it must be tried again soon. */
static bool open_for_worker(struct ports *p, const char *id, const char *dir)
{
    char configured[8], node[64];
    attribute(dir, "bConfigurationValue", configured, sizeof(configured));
    if (!configured[0])
        return true; /* add comes before the configuration is set */
    snprintf(node, sizeof(node), "/dev/bus/usb/%03ld/%03ld", attribute_number(dir, "busnum", 10),
             attribute_number(dir, "devnum", 10));
    AUTO(fd_close) int fd = open(node, O_RDWR | O_CLOEXEC);
    if (fd < 0 && (errno == ENOENT || errno == ENODEV || errno == ENXIO))
        return true; /* not made yet, or gone again: the next look tells */
    if (fd < 0) {
        ports_trouble(p, id,
                      "cannot open %s: %s; portwatch needs read and write access (group "
                      "flashrack, udev rule 61-flashrack)",
                      node, strerror(errno));
        return false;
    }
    return !ports_hand(p, id, "usbfs", fd, 0); /* a worker that does not read: once more */
}

/* The hub that a hub is plugged into: "...-usb-0:4" of "...-usb-0:4.2", the controller of "...-usb-0:4". */
static void parent_id(const char *id, char out[WIRE_NAME_MAX])
{
    const char *chain = strstr(id, CHAIN), *dot = chain ? strrchr(chain, '.') : NULL;
    snprintf(out, WIRE_NAME_MAX, "%.*s", chain ? (int)((dot ? dot : chain) - id) : 0, id);
}

/* bDeviceProtocol of a hub, USB 2.0 11.23.1: 0 full speed, 1 one transaction translator for all sockets, 2 one for
 * each; 3 is the super-speed half of a hub. */
static const char *hub_kind(const char *dir)
{
    long protocol = attribute_number(dir, "bDeviceProtocol", 16);
    return protocol == 2 ? "multi_tt" : protocol == 1 ? "single_tt" : "full_speed";
}

/* A USB 3 hub shows itself twice, with the same sockets; the half that phones use is told. */
static void look_at_hub(struct hubs *h, const char *root, const char *device, const char *dir)
{
    struct wire_hub hub = {.speed = speed_of(dir)};
    bool is_root = strncmp(device, "usb", 3) == 0;
    long attributes = attribute_number(dir, "bmAttributes", 16);
    hub.sockets = attribute_number(dir, "maxchild", 10);
    hub.self_powered = attributes >= 0 && (attributes & 0x40) != 0; /* USB 2.0 9.6.3 */
    if (is_root)
        controller_id(dir, hub.hub);
    else if (sysfs_port_id(root, device, hub.hub, NULL) == 0)
        parent_id(hub.hub, hub.parent);
    WIRE_TEXT(hub.kind, is_root ? "controller" : hub_kind(dir));
    if (hub.hub[0] && hub.sockets > 0 && hub.speed < 5)
        hubs_update(h, &hub);
}

static bool look_at(struct ports *p, struct hubs *h, const char *root, const char *device)
{
    char dir[PATH_MAX], id[PORT_ID_MAX];
    snprintf(dir, sizeof(dir), "%s/bus/usb/devices/%s", root, device);
    if (attribute_number(dir, "bDeviceClass", 16) == 9) {
        look_at_hub(h, root, device, dir);
        return false;
    }
    long vid = attribute_number(dir, "idVendor", 16), pid = attribute_number(dir, "idProduct", 16);
    if (vid < 0 || pid < 0)
        return false; /* gone meanwhile */
    if (sysfs_port_id(root, device, id, NULL) < 0)
        return false;
    struct port_device info = {.vid = (int)vid, .pid = (int)pid, .speed = speed_of(dir)};
    bool fastboot = has_fastboot(dir, device);
    WIRE_TEXT(info.mode, port_mode_of(info.vid, info.pid, fastboot));
    /* Interfaces appear a moment after the device: until then nobody can tell fastboot from Android. */
    if (strcmp(info.mode, "android") == 0 && attribute_number(dir, "bNumInterfaces", 10) <= 0)
        return true;
    attribute(dir, "serial", info.serial, sizeof(info.serial));
    ports_update(p, id, &info);
    return ports_wanted(p, id) && open_for_worker(p, id, dir);
}

bool sysfs_rescan(struct ports *p, struct hubs *h, const char *root)
{
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s/bus/usb/devices", root);
    DIR *d = opendir(path);
    if (!d)
        return false;
    int64_t mark = ports_mark(p);
    bool again = false;
    hubs_look_begin(h);
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        /* "1-4.2" is a device; "usb1" a root hub, "1-4.2:1.0" an interface */
        if (e->d_name[0] != '.' && !strchr(e->d_name, ':'))
            again |= look_at(p, h, root, e->d_name);
    }
    closedir(d);
    hubs_look_end(h);
    ports_sweep(p, "pci-", mark);
    ports_sweep(p, "platform-", mark);
    return again;
}
