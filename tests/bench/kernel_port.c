#include "tests/bench/kernel_port.h"

#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "usb/base/io.h"
#include "usb/base/mem.h"
#include "usb/transport/usbfs.h"

enum { ATTRIBUTE_MAX = 64 };

/* A decimal attribute of sysfs; 0: not there, or empty, as a configuration that is not set. */
static int number(const char *dir, const char *name)
{
    AUTO(free_ptr) char *path = xasprintf("%s/%s", dir, name);
    AUTO(free_ptr) char *text = NULL;
    size_t len;
    return io_slurp(AT_FDCWD, path, ATTRIBUTE_MAX, &text, &len, NULL) < 0 ? 0 : atoi(text);
}

/* USB/IP's numbers for the kernel's megabits a second. */
static int speed_of(int mbit_per_s)
{
    return mbit_per_s >= 480 ? 3 : mbit_per_s >= 12 ? 2 : 1;
}

/* The device's folder: that of the first port of the controller's high-speed hub. */
static bool device_dir(unsigned index, char *out, size_t size)
{
    AUTO(free_ptr)
    char *pattern = xasprintf("/sys/devices/platform/vhci_hcd.%u/usb*/*-1/idVendor", index - 1);
    glob_t found;
    if (glob(pattern, 0, NULL, &found) != 0)
        return false;
    snprintf(out, size, "%s", found.gl_pathv[0]);
    globfree(&found);
    *strrchr(out, '/') = '\0';
    return true;
}

int kernel_port_open(unsigned index, struct transport **out, struct usb_identity *id_out,
                     struct err *err)
{
    char dir[256];
    if (!device_dir(index, dir, sizeof(dir)) || number(dir, "bConfigurationValue") == 0)
        return err_set(err, ERR_NOT_FOUND, "nothing is on virtual port %u", index);
    AUTO(free_ptr)
    char *node = xasprintf("/dev/bus/usb/%03d/%03d", number(dir, "busnum"), number(dir, "devnum"));
    AUTO(fd_close) int fd = open(node, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return err_sys(err, ERR_NOT_FOUND, "open '%s'", node);
    int rc = transport_usbfs_open(fd, speed_of(number(dir, "speed")), out, id_out, err);
    if (rc == 0)
        fd = -1; /* the transport has it */
    return rc;
}
