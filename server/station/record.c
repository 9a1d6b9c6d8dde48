/* record.c: where the black box of a job lies. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/station/internal.h"
#include "usb/base/mem.h"

/* Each run has a file of its own: the one that went wrong is the one that is wanted. */
static void record_name(char *out, size_t size, int64_t job_id, int run)
{
    if (run > 1)
        snprintf(out, size, "job-%lld-run-%d.pcapng", (long long)job_id, run);
    else
        snprintf(out, size, "job-%lld.pcapng", (long long)job_id);
}

/* Jobs are numbered in order: the files of at most RECORDS_MAX of them stay. */
static void remove_old(int dir, int64_t job_id)
{
    char name[64];
    for (int run = 1;; run++) {
        record_name(name, sizeof(name), job_id, run);
        if (unlinkat(dir, name, 0) < 0)
            return;
    }
}

int record_open(const struct station *s, int64_t job_id, int run, struct err *err)
{
    AUTO(free_ptr) char *path = xasprintf("%s/record", s->data_dir);
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return err_sys(err, ERR_IO, "folder '%s'", path);
    AUTO(fd_close) int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return err_sys(err, ERR_IO, "folder '%s'", path);
    char name[64];
    remove_old(dir, job_id - RECORDS_MAX);
    record_name(name, sizeof(name), job_id, run);
    int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    return fd < 0 ? err_sys(err, ERR_IO, "record '%s/%s'", path, name) : fd;
}
