#include "usb/archive/unpack.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "usb/archive/reader.h"
#include "usb/base/hash.h"
#include "usb/base/io.h"
#include "usb/base/mem.h"
#include "usb/base/utf8.h"

const struct unpack_limits UNPACK_LIMITS_DEFAULT = {
    .total_bytes_max = 64ull << 30,
    .file_bytes_max = 32ull << 30,
    .files_max = 4096,
    .free_bytes_min = 256ull << 20,
};

enum { PATH_MAX_BYTES = 1024, PART_MAX = 200, DEPTH_MAX = 8, COPY_BYTES = 1 << 20 };
enum { JOURNAL_BYTES_MAX = 8 << 20 };
static const char journal_name[] = ".unpack";

struct unpacker {
    int archive_fd, dir_fd;
    const struct unpack_limits *limits;
    unpack_tick_fn *tick;
    void *arg;
    struct unpack_result done;
    char *journal; /* text of an earlier run, or "" */
    int journal_fd;
    uint8_t *copy; /* COPY_BYTES */
};

/* ---- paths ---------------------------------------------------------------------------------- */

static bool part_ok(const char *part, size_t len)
{
    if (len == 0 || len > PART_MAX || (len == 1 && part[0] == '.') ||
        (len == 2 && part[0] == '.' && part[1] == '.'))
        return false;
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)part[i] < 0x20 || part[i] == 0x7f)
            return false;
    return true;
}

bool unpack_path_ok(const char *path, char out[PATH_MAX_BYTES])
{
    while (path[0] == '.' && (path[1] == '/' || path[1] == '\\'))
        path += 2;
    size_t len = strlen(path);
    if (len == 0 || len >= PATH_MAX_BYTES)
        return false;
    memcpy(out, path, len + 1);
    for (char *p = out; *p; p++)
        if (*p == '\\')
            *p = '/';
    if (out[len - 1] == '/') /* a folder */
        out[--len] = '\0';
    int depth = 0;
    for (const char *part = out;;) {
        size_t n = strcspn(part, "/");
        if (!part_ok(part, n) || ++depth > DEPTH_MAX)
            return false;
        if (!part[n])
            break;
        part += n + 1;
    }
    return strncmp(out, journal_name, sizeof(journal_name) - 1) != 0;
}

/* Opens the folder of `path`, making folders on the way, never through a link. */
static int parent_open(int dir_fd, const char *path, const char **leaf_out, struct err *err)
{
    AUTO(fd_close) int at = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (at < 0)
        return err_sys(err, ERR_IO, "open the folder");
    for (const char *slash; (slash = strchr(path, '/')); path = slash + 1) {
        char part[PART_MAX + 1];
        snprintf(part, sizeof(part), "%.*s", (int)(slash - path), path);
        if (mkdirat(at, part, 0755) < 0 && errno != EEXIST)
            return err_sys(err, ERR_IO, "make folder '%s'", part);
        int next = openat(at, part, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (next < 0)
            return err_sys(err, ERR_REFUSED, "'%s' in the folder is not a folder", part);
        close(at);
        at = next;
    }
    *leaf_out = path;
    return STEAL_FD(at);
}

/* ---- the journal: first line says which archive, then a line "size path" for each finished file
 * ---- */

static int archive_id(int fd, char id[SHA256_HEX_BYTES + 24], struct err *err)
{
    int64_t size = io_size(fd, err);
    if (size < 0)
        return (int)size;
    AUTO(free_ptr) uint8_t *ends = xcalloc(2, COPY_BYTES);
    size_t n = (size_t)MIN_OF(size, (int64_t)COPY_BYTES);
    int rc = io_pread(fd, ends, n, 0, err);
    if (rc >= 0)
        rc = io_pread(fd, ends + n, n, size - (int64_t)n, err);
    if (rc < 0)
        return rc;
    struct sha256 digest = sha256_of(span_of(ends, 2 * n));
    sha256_hex(&digest, id);
    snprintf(id + SHA256_HEX_BYTES - 1, 24, " %lld", (long long)size);
    return 0;
}

/* Two runs in one folder would take each other's files away. */
static int folder_lock(int dir_fd, struct err *err)
{
    if (flock(dir_fd, LOCK_EX | LOCK_NB) == 0)
        return 0;
    if (errno == EWOULDBLOCK)
        return err_set(err, ERR_CONFLICT, "another run is unpacking into this folder: wait for it");
    return err_sys(err, ERR_IO, "lock the folder");
}

/* Without a journal nothing of ours is there, and files of two packages must not lie in one folder. */
static int folder_check_empty(int dir_fd, struct err *err)
{
    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir)
        return err_sys(err, ERR_IO, "read the folder");
    int rc = 0;
    for (struct dirent *d; rc == 0 && (d = readdir(dir));)
        if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0)
            rc = err_set(err, ERR_CONFLICT, "the folder holds '%.100s' already: name a new one",
                         d->d_name);
    closedir(dir);
    return rc;
}

static int journal_open(struct unpacker *u, struct err *err)
{
    char id[SHA256_HEX_BYTES + 24];
    int rc = archive_id(u->archive_fd, id, err);
    if (rc < 0)
        return rc;
    rc = io_slurp(u->dir_fd, journal_name, JOURNAL_BYTES_MAX, &u->journal, NULL, err);
    if (rc == ERR_NOT_FOUND)
        rc = folder_check_empty(u->dir_fd, err);
    if (rc < 0)
        return rc;
    size_t id_len = strlen(id);
    bool ours = u->journal && strncmp(u->journal, id, id_len) == 0 && u->journal[id_len] == '\n';
    if (u->journal && u->journal[0] && !ours)
        return err_set(err, ERR_CONFLICT, "the folder holds another archive, half unpacked");
    if (!u->journal)
        u->journal = xstrdup("");
    u->journal_fd = openat(u->dir_fd, journal_name,
                           O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (u->journal_fd < 0)
        return err_sys(err, ERR_IO, "open the journal of the unpacking");
    if (ours)
        return 0;
    AUTO(free_ptr) char *line = xasprintf("%s\n", id);
    return io_write(u->journal_fd, line, strlen(line), err);
}

/* Finished by an earlier run, and still there with the size it had. */
static bool journal_has(const struct unpacker *u, const char *path, uint64_t *size_out)
{
    size_t len = strlen(path);
    for (const char *line = strchr(u->journal, '\n'); line; line = strchr(line, '\n')) {
        line++;
        char *end;
        unsigned long long size = strtoull(line, &end, 10);
        if (*end != ' ' || strncmp(end + 1, path, len) != 0 || end[1 + len] != '\n')
            continue;
        struct stat st;
        *size_out = size;
        return fstatat(u->dir_fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
               (unsigned long long)st.st_size == size;
    }
    return false;
}

/* ---- one file ------------------------------------------------------------------------------- */

static int no_room(const struct unpacker *u, struct err *err)
{
    struct statvfs fs;
    if (fstatvfs(u->dir_fd, &fs) == 0 &&
        (uint64_t)fs.f_bavail * fs.f_frsize < u->limits->free_bytes_min + COPY_BYTES)
        return err_set(err, ERR_LIMIT, "the disk is full: free some space and try again");
    return 0;
}

static int write_part(const struct unpacker *u, int fd, size_t n, struct err *err)
{
    int rc = no_room(u, err);
    if (rc >= 0)
        rc = io_write(fd, u->copy, n, err);
    if (rc < 0 && errno == ENOSPC)
        return err_set(err, ERR_LIMIT, "the disk is full: free some space and try again");
    return rc;
}

static int copy_data(struct unpacker *u, struct archive *a, int fd, const char *path,
                     uint64_t *size_out, struct err *err)
{
    uint64_t size = 0;
    for (;;) {
        la_ssize_t n = archive_read_data(a, u->copy, COPY_BYTES);
        if (n < 0)
            return archive_reader_error(a, err);
        if (n == 0)
            break;
        size += (uint64_t)n;
        u->done.bytes += (uint64_t)n;
        if (size > u->limits->file_bytes_max || u->done.bytes > u->limits->total_bytes_max)
            return err_set(err, ERR_LIMIT, "the archive unpacks to more than is allowed");
        int rc = write_part(u, fd, (size_t)n, err);
        if (rc >= 0 && u->tick)
            rc = u->tick(u->arg, path, u->done.bytes, err);
        if (rc < 0)
            return rc;
    }
    *size_out = size;
    return 0;
}

static int file_finish(struct unpacker *u, int fd, int parent, const char *part, const char *leaf,
                       const char *path, uint64_t size, struct err *err)
{
    if (fsync(fd) < 0)
        return err_sys(err, errno == ENOSPC ? ERR_LIMIT : ERR_IO, "write '%s'", path);
    if (renameat(parent, part, parent, leaf) < 0)
        return err_sys(err, ERR_IO, "rename to '%s'", path);
    AUTO(free_ptr) char *line = xasprintf("%llu %s\n", (unsigned long long)size, path);
    return io_write(u->journal_fd, line, strlen(line), err);
}

static int file_unpack(struct unpacker *u, struct archive *a, const char *path, struct err *err)
{
    const char *leaf = NULL; /* gcc 12 at -O2 does not see that parent_open sets it */
    AUTO(fd_close) int parent = parent_open(u->dir_fd, path, &leaf, err);
    if (parent < 0)
        return parent;
    struct stat st;
    if (fstatat(parent, leaf, &st, AT_SYMLINK_NOFOLLOW) == 0)
        return err_set(err, ERR_CONFLICT, "'%s' is there already (or twice in the archive)", path);
    AUTO(free_ptr) char *part = xasprintf("%s.part", leaf);
    AUTO(fd_close)
    int fd = openat(parent, part, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (fd < 0)
        return err_sys(err, errno == ENOSPC ? ERR_LIMIT : ERR_IO, "create '%s'", path);
    uint64_t size = 0;
    int rc = copy_data(u, a, fd, path, &size, err);
    if (rc >= 0)
        rc = file_finish(u, fd, parent, part, leaf, path, size, err);
    if (rc < 0) {
        unlinkat(parent, part, 0);
        err_in(err, "'%s'", path);
    }
    return rc;
}

/* A file that was finished but not written into the journal before a crash is unpacked again. */
static void forget_unjournaled(const struct unpacker *u, const char *path)
{
    if (u->journal[0])
        unlinkat(u->dir_fd, path, 0);
}

static int entry_unpack(struct unpacker *u, struct archive *a, struct archive_entry *e,
                        struct err *err)
{
    const char *name = archive_reader_name(e);
    char path[PATH_MAX_BYTES], plain[PATH_MAX_BYTES];
    if (name && archive_entry_filetype(e) == AE_IFDIR &&
        (strcmp(name, ".") == 0 || strcmp(name, "./") == 0))
        return 0; /* tar names the folder itself */
    if (!name)
        return err_set(err, ERR_FORMAT,
                       "the archive holds a file name that cannot be read: unpack it first");
    /* Old .zip files have names in the code page of their maker. */
    if (!utf8_escape(name, plain, sizeof(plain)) || !unpack_path_ok(plain, path))
        return err_set(err, ERR_REFUSED, "the archive holds a path that leads out: '%.100s'", name);
    if (archive_entry_hardlink(e) || archive_entry_symlink(e) ||
        (archive_entry_filetype(e) != AE_IFREG && archive_entry_filetype(e) != AE_IFDIR))
        return err_set(err, ERR_REFUSED, "the archive holds a link or special file: '%.100s'",
                       path);
    if (archive_entry_filetype(e) == AE_IFDIR)
        return 0; /* made when a file needs it */
    if (++u->done.files > u->limits->files_max)
        return err_set(err, ERR_LIMIT, "the archive holds more than %u files",
                       u->limits->files_max);
    uint64_t size;
    if (journal_has(u, path, &size)) {
        u->done.resumed_files++;
        u->done.bytes += size;
        return 0;
    }
    forget_unjournaled(u, path);
    return file_unpack(u, a, path, err);
}

static int entries_unpack(struct unpacker *u, struct err *err)
{
    AUTO(archive_reader_free) struct archive *a = NULL;
    int rc = archive_reader_open(u->archive_fd, false, &a, err);
    while (rc >= 0) {
        struct archive_entry *e;
        rc = archive_reader_next(a, &e, err);
        if (rc == 0)
            break;
        if (rc > 0)
            rc = entry_unpack(u, a, e, err);
    }
    if (rc >= 0 && u->done.files == 0)
        return err_set(err, ERR_FORMAT, "the archive holds no file");
    return rc;
}

int archive_unpack(int archive_fd, int dir_fd, const struct unpack_limits *limits,
                   unpack_tick_fn *tick, void *arg, struct unpack_result *out, struct err *err)
{
    struct unpacker u = {.archive_fd = archive_fd,
                         .dir_fd = dir_fd,
                         .limits = limits,
                         .tick = tick,
                         .arg = arg,
                         .journal_fd = -1};
    u.copy = xcalloc(1, COPY_BYTES);
    int rc = folder_lock(dir_fd, err);
    if (rc >= 0)
        rc = journal_open(&u, err);
    if (rc >= 0)
        rc = entries_unpack(&u, err);
    if (rc >= 0 && unlinkat(dir_fd, journal_name, 0) < 0)
        rc = err_sys(err, ERR_IO, "remove the journal of the unpacking");
    if (rc >= 0)
        *out = u.done;
    flock(dir_fd, LOCK_UN); /* of our own open folder: another run's lock stays */
    fd_close(&u.journal_fd);
    free(u.journal);
    free(u.copy);
    return rc < 0 ? rc : 0;
}
