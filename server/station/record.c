/* record.c: where the black box of a job lies. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/station/internal.h"
#include "usb/base/mem.h"

static void record_name(char *out, size_t size, int64_t job_id)
{
    snprintf(out, size, "job-%lld.pcapng", (long long)job_id);
}

int record_open(const struct station *s, int64_t job_id, struct err *err)
{
    AUTO(free_ptr) char *path = xasprintf("%s/record", s->data_dir);
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return err_sys(err, ERR_IO, "folder '%s'", path);
    AUTO(fd_close) int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return err_sys(err, ERR_IO, "folder '%s'", path);
    char name[40];
    record_name(name, sizeof(name), job_id - RECORDS_MAX);
    (void)unlinkat(dir, name, 0); /* jobs are numbered in order: at most RECORDS_MAX files stay */
    record_name(name, sizeof(name), job_id);
    int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    return fd < 0 ? err_sys(err, ERR_IO, "record '%s/%s'", path, name) : fd;
}
