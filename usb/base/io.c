#include "usb/base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "usb/base/mem.h"

int io_pread(int fd, void *dst, size_t len, int64_t offset, struct err *err)
{
    uint8_t *at = dst;
    while (len) {
        ssize_t n = pread(fd, at, len, offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_sys(err, ERR_IO, "read %zu bytes at %lld", len, (long long)offset);
        if (n == 0)
            return err_set(err, ERR_FORMAT, "file ends at %lld, %zu bytes short", (long long)offset,
                           len);
        at += n;
        offset += n;
        len -= (size_t)n;
    }
    return 0;
}

int io_pwrite(int fd, const void *src, size_t len, int64_t offset, struct err *err)
{
    const uint8_t *at = src;
    while (len) {
        ssize_t n = pwrite(fd, at, len, offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_sys(err, ERR_IO, "write %zu bytes at %lld", len, (long long)offset);
        at += n;
        offset += n;
        len -= (size_t)n;
    }
    return 0;
}

int io_write(int fd, const void *src, size_t len, struct err *err)
{
    const uint8_t *at = src;
    while (len) {
        ssize_t n = write(fd, at, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_sys(err, errno == EPIPE ? ERR_GONE : ERR_IO, "write %zu bytes", len);
        at += n;
        len -= (size_t)n;
    }
    return 0;
}

int64_t io_size(int fd, struct err *err)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return err_sys(err, ERR_IO, "fstat");
    return st.st_size;
}

int io_slurp(int dir_fd, const char *path, size_t max_bytes, char **out, size_t *len_out,
             struct err *err)
{
    AUTO(fd_close) int fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_sys(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "open '%s'", path);
    AUTO(free_ptr) char *data = NULL;
    size_t len = 0, cap = 0;
    for (;;) {
        if (len == cap) {
            cap = cap ? cap * 2 : 4096;
            char *grown = realloc(data, cap + 1);
            if (!grown)
                return err_set(err, ERR_LIMIT, "'%s': out of memory", path);
            data = grown;
        }
        ssize_t n = read(fd, data + len, cap - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_sys(err, ERR_IO, "read '%s'", path);
        if (n == 0)
            break;
        len += (size_t)n;
        if (len > max_bytes)
            return err_set(err, ERR_LIMIT, "'%s' is larger than %zu bytes", path, max_bytes);
    }
    data[len] = '\0';
    *out = STEAL(data);
    if (len_out)
        *len_out = len;
    return 0;
}
