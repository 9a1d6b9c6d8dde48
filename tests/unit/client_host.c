/* Rows for doctor's look at a machine: folders that are a good one, each with one thing changed. */
#include "tests/unit/rows.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/cli/host_checks.h"
#include "usb/base/io.h"
#include "usb/base/mem.h"

#define PARAMETERS "/sys/module/usbcore/parameters/"
#define MM         "/proc/812/comm"
#define RULE       "/lib/udev/rules.d/61-flashrack.rules"

enum { PORTS = 16 };

static const char *const good_machine[][2] = {
    {"/sys/bus/usb/devices/usb1", ""},
    {"/dev/bus/usb/001", ""},
    {PARAMETERS "usbfs_memory_mb", "128\n"},
    {PARAMETERS "initial_descriptor_timeout", "500\n"},
    {PARAMETERS "autosuspend", "-1\n"},
    {PARAMETERS "usbfs_snoop", "N\n"},
    {RULE, "# rule\n"},
    {"/proc/1/comm", "systemd\n"},
};

static const struct row {
    const char *name;
    const char *path, *text; /* differs from the good machine; text NULL: is not there */
    const char *check;       /* the one check that differs; NULL: none does */
    enum check_verdict verdict;
    const char *words; /* in its fact or advice */
} rows[] = {
    {"good machine", NULL, NULL, NULL, CHECK_OK, NULL},
    {"no controller", "/sys/bus/usb/devices/usb1", NULL, "USB", CHECK_WARN, "no USB controller"},
    {"no device nodes", "/dev/bus/usb/001", NULL, "USB", CHECK_WARN, "c 189:* rmw"},
    {"default memory", PARAMETERS "usbfs_memory_mb", "16\n", "USB memory", CHECK_WARN, "need 32"},
    {"just enough memory", PARAMETERS "usbfs_memory_mb", "32\n", NULL, CHECK_OK, NULL},
    {"memory without limit", PARAMETERS "usbfs_memory_mb", "0\n", NULL, CHECK_OK, NULL},
    {"memory is no number", PARAMETERS "usbfs_memory_mb", "much\n", "USB memory", CHECK_WARN,
     "much"},
    {"slow descriptors", PARAMETERS "initial_descriptor_timeout", "5000\n", "USB start", CHECK_WARN,
     "echo 500"},
    {"sleep", PARAMETERS "autosuspend", "2\n", "USB sleep", CHECK_WARN, "after 2 s"},
    {"snoop", PARAMETERS "usbfs_snoop", "Y\n", "USB tracing", CHECK_WARN, "echo N"},
    {"cdc_acm", "/sys/bus/usb/drivers/cdc_acm/bind", "", "USB drivers", CHECK_INFO, "cdc_acm"},
    {"option", "/sys/bus/usb/drivers/option/bind", "", "USB drivers", CHECK_INFO, "option"},
    {"no rule", RULE, NULL, "udev rule", CHECK_WARN, "udevadm control --reload"},
    {"ModemManager beside the rule", MM, "ModemManager\n", NULL, CHECK_OK, NULL},
};

static char root[64];

static void make_parents(const char *path)
{
    AUTO(free_ptr) char *copy = xstrdup(path);
    for (char *slash = strchr(copy + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(copy, 0755);
        *slash = '/';
    }
}

static void put(const char *path, const char *text)
{
    AUTO(free_ptr) char *full = xasprintf("%s%s", root, path);
    make_parents(full);
    AUTO(fd_close) int fd = open(full, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(io_write(fd, text, strlen(text), NULL), 0);
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st, (void)kind, (void)at;
    return remove(path);
}

static void machine_make(void)
{
    strcpy(root, "/tmp/flashrack-host-XXXXXX");
    assert_non_null(mkdtemp(root));
    for (size_t i = 0; i < ARRAY_LEN(good_machine); i++)
        put(good_machine[i][0], good_machine[i][1]);
}

static void machine_change(const char *path, const char *text)
{
    AUTO(free_ptr) char *full = xasprintf("%s%s", root, path);
    if (text)
        put(path, text);
    else
        assert_int_equal(unlink(full), 0);
}

struct seen {
    const struct row *row;
    bool told;
    int count;
};

static void look(void *arg, const struct check *check)
{
    struct seen *seen = arg;
    const struct row *row = seen->row;
    bool this_one = row->check && strcmp(check->name, row->check) == 0;
    seen->told |= this_one;
    seen->count++;
    assert_int_equal(check->verdict, this_one ? row->verdict : CHECK_OK);
    bool wants_advice = check->verdict != CHECK_OK;
    assert_int_equal(wants_advice, check->advice != NULL);
    if (this_one)
        assert_true(strstr(check->fact, row->words) || strstr(check->advice, row->words));
}

static void checks(void **state)
{
    const struct row *row = ROW(state);
    struct seen seen = {row, false, 0};
    machine_make();
    if (row->path)
        machine_change(row->path, row->text);
    host_checks(root, PORTS, look, &seen);
    nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    assert_int_equal(seen.told, row->check != NULL);
    assert_int_equal(seen.count, row->check && strcmp(row->check, "USB") == 0 ? 1 : 8);
}

static void warned_of(void *arg, const struct check *check)
{
    if (strcmp(check->name, "ModemManager") == 0)
        *(bool *)arg = check->verdict == CHECK_WARN && strstr(check->advice, "mask --now") != NULL;
}

static void modem_manager_without_the_rule(void **state)
{
    (void)state;
    bool warned = false;
    machine_make();
    machine_change(RULE, NULL);
    machine_change(MM, "ModemManager\n");
    host_checks(root, PORTS, warned_of, &warned);
    nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    assert_true(warned);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(modem_manager_without_the_rule)};
    return RUN_ROWS(checks, rows) + cmocka_run_group_tests(tests, NULL, NULL);
}
