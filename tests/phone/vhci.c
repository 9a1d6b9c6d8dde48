/* vhci.c: plugs a phone into this kernel through vhci_hcd by sysfs, without the usbip tool (README,
 * "vhci"). Bus id 1-k always gets the same virtual port; neighbours are on different controllers,
 * because one hub enumerates its devices one after another. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/phone/hardware.h"
#include "tests/phone/usbip_server.h"
#include "tests/phone/vhci.h"
#include "usb/base/clock.h"
#include "usb/base/io.h"
#include "usb/base/log.h"
#include "usb/base/mem.h"

#define VHCI_FOLDER "/sys/devices/platform/vhci_hcd.0"

enum {
    PORTS_PER_HUB = 15, /* of the high-speed hub of a controller; the super-speed hub has as many */
    PORTS_PER_CONTROLLER = 30,
    PORT_FREE = 4, /* sta of a port that nothing is attached to */
    STATUS_MAX_BYTES = 16384,
    FREE_WAIT_MS = 5000,
    RETRY_MS = 5,
};

static struct usbip_server *server;
static unsigned controllers;

static int read_text(const char *name, char **out, struct err *err)
{
    AUTO(free_ptr) char *path = xasprintf(VHCI_FOLDER "/%s", name);
    size_t len;
    return io_slurp(AT_FDCWD, path, STATUS_MAX_BYTES, out, &len, err);
}

int vhci_init(struct usbip_server *s, size_t phones, struct err *err)
{
    AUTO(free_ptr) char *text = NULL;
    int rc = read_text("nports", &text, err);
    if (rc < 0)
        return err_in(err, "vhci_hcd (is the module loaded?)");
    controllers = (unsigned)strtoul(text, NULL, 10) / PORTS_PER_CONTROLLER;
    if (phones > (size_t)controllers * PORTS_PER_HUB)
        return err_set(err, ERR_LIMIT, "%zu phones, but vhci_hcd has %u ports", phones,
                       controllers * PORTS_PER_HUB);
    server = s;
    return 0;
}

/* The number that attach and status know the port by. */
static unsigned port_of(const struct board *b)
{
    unsigned k = b->index - 1;
    return k % controllers * PORTS_PER_CONTROLLER + k / controllers;
}

/* sta column of a port, -1 when it cannot be told. Lines: "hs  0003 004 000 00000000 000000 0-0".
 */
static int port_state(unsigned port)
{
    unsigned controller = port / PORTS_PER_CONTROLLER;
    AUTO(free_ptr) char *name = controller ? xasprintf("status.%u", controller) : xstrdup("status");
    AUTO(free_ptr) char *text = NULL;
    if (read_text(name, &text, NULL) < 0)
        return -1;
    char *rest = NULL;
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        char hub[8];
        unsigned number, state;
        if (sscanf(line, "%7s %u %u", hub, &number, &state) == 3 && number == port)
            return (int)state;
    }
    return -1;
}

static bool wait_free(struct board *b, unsigned port)
{
    int64_t until = clock_in(FREE_WAIT_MS);
    while (port_state(port) != PORT_FREE)
        if (clock_now_ms() >= until || board_sleep(b, RETRY_MS, true) < 0)
            return false;
    return true;
}

/* "port sockfd devid speed"; -1 with errno as the kernel says. */
static int write_attach(unsigned port, int fd, uint32_t devid, int speed)
{
    AUTO(fd_close) int file = open(VHCI_FOLDER "/attach", O_WRONLY | O_CLOEXEC);
    char line[64];
    int len = snprintf(line, sizeof(line), "%u %d %u %d\n", port, fd, devid, speed);
    if (file < 0)
        return -1;
    return write(file, line, (size_t)len) == len ? 0 : -1;
}

static int attach(struct board *b, struct err *err)
{
    unsigned port = port_of(b);
    int ends[2];
    if (!wait_free(b, port))
        return err_set(err, ERR_TIMEOUT, "vhci port %u is not free", port);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
        return err_sys(err, ERR_IO, "socketpair");
    AUTO(fd_close) int theirs = ends[0]; /* the kernel takes a reference of its own */
    int rc = usbip_server_adopt(server, b, ends[1], err);
    if (rc < 0)
        return rc;
    int64_t until = clock_in(FREE_WAIT_MS);
    while (write_attach(port, theirs, 1u << 16 | (b->index + 1), b->usb.gadget->speed) < 0) {
        if (errno != EBUSY || clock_now_ms() >= until || board_sleep(b, RETRY_MS, true) < 0)
            return err_sys(err, ERR_IO, "attach to vhci port %u", port);
    }
    return 0;
}

void vhci_attach(struct board *b)
{
    struct err err;
    if (attach(b, &err) < 0)
        log_line(LOG_ERROR, "vhci", LOG_KV({"phone", b->name}, {"err", err_name(err.code)}), "%s",
                 err.text);
}
