#include "server/cli/host_checks.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "usb/base/io.h"
#include "usb/base/mem.h"

#define RULE          "61-flashrack.rules"
#define REBOOT_ADVICE " The packaged file tmpfiles.d/flashrack.conf sets it at every boot."

enum {
    SMALL_FILE_BYTES = 4096,
    USBFS_MB_PER_PORT = 2, /* transfers in flight of one worker, both directions, rounded up */
    DESCRIPTOR_TIMEOUT_MOST_MS = 1000,
};

struct host {
    const char *root;
    check_fn *fn;
    void *arg;
};

static void tell(const struct host *h, const char *name, enum check_verdict verdict,
                 const char *fact, const char *advice)
{
    h->fn(h->arg, &(struct check){name, verdict, fact, advice});
}

static bool exists(const struct host *h, const char *path)
{
    AUTO(free_ptr) char *full = xasprintf("%s%s", h->root, path);
    return access(full, F_OK) == 0;
}

static bool dir_has_entries(const struct host *h, const char *path)
{
    AUTO(free_ptr) char *full = xasprintf("%s%s", h->root, path);
    DIR *dir = opendir(full);
    bool any = false;
    if (!dir)
        return false;
    for (struct dirent *e; !any && (e = readdir(dir));)
        any = e->d_name[0] != '.';
    closedir(dir);
    return any;
}

/* The first line of a small file; NULL when it cannot be read. */
static char *line_of(const struct host *h, const char *path)
{
    AUTO(free_ptr) char *full = xasprintf("%s%s", h->root, path);
    char *text = NULL;
    size_t len;
    if (io_slurp(AT_FDCWD, full, SMALL_FILE_BYTES, &text, &len, NULL) < 0)
        return NULL;
    text[strcspn(text, "\n")] = '\0';
    return text;
}

/* ---- USB at all ------------------------------------------------------------------------------------- */

static bool check_usb(const struct host *h)
{
    if (!dir_has_entries(h, "/sys/bus/usb/devices")) {
        tell(
            h, "USB", CHECK_WARN, "this machine shows no USB controller",
            "Only USB/IP racks work here. In a container mount /sys and /dev/bus/usb of the host.");
        return false;
    }
    if (!dir_has_entries(h, "/dev/bus/usb")) {
        tell(h, "USB", CHECK_WARN, "there are USB controllers, but no device nodes in /dev/bus/usb",
             "In a container mount /dev/bus/usb and allow its devices (cgroup rule c 189:* rmw).");
        return false;
    }
    tell(h, "USB", CHECK_OK, "controllers and device nodes are there", NULL);
    return true;
}

/* ---- settings of the kernel ------------------------------------------------------------------------- */

/* A value that is no number is told as it is and never passes. */
static bool number(const char *text, long *out)
{
    char *end;
    errno = 0;
    *out = strtol(text, &end, 10);
    return end != text && !*end && !errno;
}

static void check_usbfs_memory(const struct host *h, size_t ports)
{
    AUTO(free_ptr) char *text = line_of(h, "/sys/module/usbcore/parameters/usbfs_memory_mb");
    long mb, need = (long)(MAX_OF(ports, (size_t)1) * USBFS_MB_PER_PORT);
    if (!text)
        return;
    bool ok = number(text, &mb) && (mb == 0 || mb >= need);
    AUTO(free_ptr)
    char *fact = xasprintf("%s MiB for all USB transfers, %zu ports need %ld", text,
                           MAX_OF(ports, (size_t)1), need);
    tell(h, "USB memory", ok ? CHECK_OK : CHECK_WARN, fact,
         ok ? NULL : "echo 128 > /sys/module/usbcore/parameters/usbfs_memory_mb" REBOOT_ADVICE);
}

static void check_descriptor_timeout(const struct host *h)
{
    AUTO(free_ptr)
    char *text = line_of(h, "/sys/module/usbcore/parameters/initial_descriptor_timeout");
    long ms;
    if (!text)
        return;
    bool ok = number(text, &ms) && ms > 0 && ms <= DESCRIPTOR_TIMEOUT_MOST_MS;
    AUTO(free_ptr) char *fact = xasprintf("%s ms for a new phone's first answer", text);
    tell(h, "USB start", ok ? CHECK_OK : CHECK_WARN, fact,
         ok ? NULL
            : "One dead phone can hold up a whole controller for more than a minute: echo 500 > "
              "/sys/module/usbcore/parameters/initial_descriptor_timeout" REBOOT_ADVICE);
}

static void check_autosuspend(const struct host *h)
{
    AUTO(free_ptr) char *text = line_of(h, "/sys/module/usbcore/parameters/autosuspend");
    long seconds;
    if (!text)
        return;
    bool ok = number(text, &seconds) && seconds < 0;
    AUTO(free_ptr)
    char *fact = ok ? xstrdup("USB devices are not put to sleep")
                    : xasprintf("idle USB devices are put to sleep after %s s", text);
    tell(h, "USB sleep", ok ? CHECK_OK : CHECK_WARN, fact,
         ok ? NULL
            : "Hubs that sleep miss phones: echo -1 > "
              "/sys/module/usbcore/parameters/autosuspend" REBOOT_ADVICE);
}

static void check_snoop(const struct host *h)
{
    AUTO(free_ptr) char *text = line_of(h, "/sys/module/usbcore/parameters/usbfs_snoop");
    if (!text)
        return;
    bool ok = strcmp(text, "N") == 0 || strcmp(text, "0") == 0;
    tell(h, "USB tracing", ok ? CHECK_OK : CHECK_WARN,
         ok ? "every transfer is not written to the kernel log"
            : "every USB transfer is written to the kernel log",
         ok ? NULL : "That slows all phones: echo N > /sys/module/usbcore/parameters/usbfs_snoop");
}

/* ---- programs and drivers that take phones ----------------------------------------------------------- */

/* The worker detaches such a driver when a job has the phone; until then it may open the port first. */
static void check_drivers(const struct host *h)
{
    bool acm = exists(h, "/sys/bus/usb/drivers/cdc_acm"),
         option = exists(h, "/sys/bus/usb/drivers/option");
    if (!acm && !option) {
        tell(h, "USB drivers", CHECK_OK, "no serial driver takes phones", NULL);
        return;
    }
    AUTO(free_ptr)
    char *fact = xasprintf("%s%s%s is loaded and takes phones in download mode first",
                           acm ? "cdc_acm" : "", acm && option ? ", " : "", option ? "option" : "");
    tell(h, "USB drivers", CHECK_INFO, fact,
         "The station takes them back. On a machine that only flashes, blacklist it in "
         "/etc/modprobe.d.");
}

static bool rule_is_there(const struct host *h)
{
    static const char *const folders[] = {"/etc/udev/rules.d/", "/run/udev/rules.d/",
                                          "/usr/local/lib/udev/rules.d/", "/usr/lib/udev/rules.d/",
                                          "/lib/udev/rules.d/"};
    for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
        AUTO(free_ptr) char *path = xasprintf("%s" RULE, folders[i]);
        if (exists(h, path))
            return true;
    }
    return false;
}

static void check_rule(const struct host *h, bool there)
{
    tell(h, "udev rule", there ? CHECK_OK : CHECK_WARN,
         there ? RULE " is installed" : RULE " is not installed: other programs may talk to phones",
         there ? NULL
               : "Copy server/dist/" RULE
                 " to /etc/udev/rules.d, then: udevadm control --reload && "
                 "udevadm trigger --subsystem-match=usb");
}

static bool is_running(const struct host *h, const char *name)
{
    AUTO(free_ptr) char *proc = xasprintf("%s/proc", h->root);
    DIR *dir = opendir(proc);
    bool found = false;
    if (!dir)
        return false;
    for (struct dirent *e; !found && (e = readdir(dir));) {
        if (!isdigit((unsigned char)e->d_name[0]))
            continue;
        AUTO(free_ptr) char *path = xasprintf("/proc/%s/comm", e->d_name);
        AUTO(free_ptr) char *comm = line_of(h, path);
        found = comm && strcmp(comm, name) == 0;
    }
    closedir(dir);
    return found;
}

static void check_modem_manager(const struct host *h, bool rule)
{
    bool runs = is_running(h, "ModemManager");
    tell(h, "ModemManager", runs && !rule ? CHECK_WARN : CHECK_OK,
         !runs  ? "does not run"
         : rule ? "runs; the udev rule keeps it off phones"
                : "runs, and sends modem commands into phones",
         runs && !rule ? "systemctl mask --now ModemManager, or install the udev rule." : NULL);
}

void host_checks(const char *root, size_t ports, check_fn *fn, void *arg)
{
    const struct host h = {root, fn, arg};
    if (!check_usb(&h))
        return; /* nothing below matters where no phone can be plugged in */
    bool rule = rule_is_there(&h);
    check_usbfs_memory(&h, ports);
    check_descriptor_timeout(&h);
    check_autosuspend(&h);
    check_snoop(&h);
    check_drivers(&h);
    check_rule(&h, rule);
    check_modem_manager(&h, rule);
}
