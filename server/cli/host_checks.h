/* host_checks.h: what of this machine a station depends on, as far as it can be read without root. The facts behind
 * each check: README.md, "What doctor knows about a machine". */
#ifndef FLASHRACK_SERVER_CLI_HOST_CHECKS_H
#define FLASHRACK_SERVER_CLI_HOST_CHECKS_H

#include <stddef.h>

enum check_verdict { CHECK_OK, CHECK_INFO, CHECK_WARN, CHECK_FAIL };

struct check {
    const char *name;
    enum check_verdict verdict;
    const char *fact, *advice; /* advice NULL or "": nothing to do */
};
typedef void check_fn(void *arg, const struct check *check);

/* `root`: "" for this machine, a folder in tests. `ports`: how many the station has, 0 when unknown. Each check is told
 * once; what the kernel does not have is left out. */
void host_checks(const char *root, size_t ports, check_fn *fn, void *arg);

#endif
