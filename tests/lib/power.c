#include "tests/lib/power.h"

#include <fcntl.h>
#include <pthread.h>
#include <search.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "usb/base/mem.h"

enum { SECTOR = 512 };

/* Not must(): release builds run this, too. */
static void must(bool ok)
{
    if (!ok)
        abort();
}

/* What a sector held when it was synced last. */
struct sector {
    int64_t index;
    uint8_t old[SECTOR];
};

struct disk_file {
    struct disk_file *next;
    char *path;
    void *sectors; /* tsearch tree of those written since the last sync */
    int64_t synced_bytes;
};

struct power_file {
    sqlite3_file base;
    struct disk_file *disk; /* NULL: a temporary file, which is nobody's after a cut */
    sqlite3_file *real;     /* behind this structure */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of everything below */
static sqlite3_vfs *real_vfs, power_vfs;
static struct disk_file *files;
static uint64_t random_state;
static long operations, cut_at, fill_at, fill_count;
static bool is_cut;

uint64_t power_random(uint64_t limit)
{
    random_state ^= random_state << 13; /* xorshift64 */
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state % limit;
}

/* ---- sectors ---- */

static int compare_sectors(const void *a, const void *b)
{
    const struct sector *x = a, *y = b;
    return (x->index > y->index) - (x->index < y->index);
}

static void remember(struct power_file *f, int64_t index)
{
    struct sector key = {.index = index};
    if (tfind(&key, &f->disk->sectors, compare_sectors))
        return;
    struct sector *s = xcalloc(1, sizeof(*s));
    s->index = index;
    int rc = f->real->pMethods->xRead(f->real, s->old, SECTOR, index * SECTOR);
    must(rc == SQLITE_OK || rc == SQLITE_IOERR_SHORT_READ); /* the rest is zeros then */
    tsearch(s, &f->disk->sectors, compare_sectors);
}

static void remember_range(struct power_file *f, int64_t from, int64_t to)
{
    for (int64_t index = from / SECTOR; f->disk && index * SECTOR < to; index++)
        remember(f, index);
}

static void forget_sectors(struct disk_file *d)
{
    tdestroy(d->sectors, free);
    d->sectors = NULL;
}

static struct disk_file *find_file(const char *path)
{
    struct disk_file *d = files;
    while (d && strcmp(d->path, path) != 0)
        d = d->next;
    return d;
}

static struct disk_file *file_of(const char *path)
{
    struct disk_file *d = find_file(path);
    if (d)
        return d;
    struct stat st;
    d = xcalloc(1, sizeof(*d));
    d->path = xstrdup(path);
    d->synced_bytes = stat(path, &st) == 0 ? st.st_size : 0;
    d->next = files;
    return files = d;
}

/* ---- what a disk holds after the cut ---- */

static int lost_fd; /* twalk has no argument for its function */
static int64_t lost_size;

static void lose_sector(const void *node, VISIT visit, int depth)
{
    (void)depth;
    const struct sector *s = *(struct sector *const *)node;
    bool twice = visit == preorder || visit == endorder;
    if (twice || s->index * SECTOR >= lost_size || power_random(2))
        return;
    size_t len = (size_t)MIN_OF(lost_size - s->index * SECTOR, (int64_t)SECTOR);
    ssize_t n = pwrite(lost_fd, s->old, len, s->index * SECTOR);
    must(n == (ssize_t)len);
}

/* A file that grew or shrank has its new size, its old one, or while growing one in between. */
static int64_t lost_bytes(const struct disk_file *d, int64_t now)
{
    if (now <= d->synced_bytes)
        return power_random(2) ? now : d->synced_bytes;
    int64_t sectors = (now - d->synced_bytes) / SECTOR;
    return power_random(2)
               ? now
               : d->synced_bytes + (int64_t)power_random((uint64_t)sectors + 1) * SECTOR;
}

static void lose_file(struct disk_file *d)
{
    AUTO(fd_close) int fd = open(d->path, O_RDWR | O_CLOEXEC);
    struct stat st;
    if (fd < 0)
        return; /* deleted */
    int rc = fstat(fd, &st);
    lost_fd = fd;
    lost_size = lost_bytes(d, st.st_size);
    rc |= ftruncate(fd, lost_size);
    must(rc == 0);
    twalk(d->sectors, lose_sector);
}

void power_lose(void)
{
    for (struct disk_file *d = files; d; d = d->next)
        lose_file(d);
}

/* ---- operations that can fail ---- */

/* Counts it; what becomes of it. */
static int begin_operation(bool needs_space)
{
    operations++;
    if (is_cut)
        return SQLITE_IOERR;
    if (needs_space && fill_count > 0 && operations >= fill_at) {
        fill_count--;
        return SQLITE_FULL;
    }
    return SQLITE_OK;
}

/* True: this is the operation at which the power goes. */
static bool cut_now(void)
{
    is_cut = is_cut || operations == cut_at;
    return is_cut;
}

static int on_write(sqlite3_file *file, const void *data, int len, sqlite3_int64 at)
{
    struct power_file *f = (struct power_file *)file;
    pthread_mutex_lock(&lock);
    int rc = begin_operation(true);
    if (rc == SQLITE_OK) {
        remember_range(f, at, at + len);
        rc = f->real->pMethods->xWrite(f->real, data, len, at);
        if (cut_now())
            rc = SQLITE_IOERR_WRITE;
    }
    pthread_mutex_unlock(&lock);
    return rc;
}

static int on_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    struct power_file *f = (struct power_file *)file;
    sqlite3_int64 now = 0;
    pthread_mutex_lock(&lock);
    int rc = begin_operation(false);
    if (rc == SQLITE_OK)
        rc = f->real->pMethods->xFileSize(f->real, &now);
    if (rc == SQLITE_OK) {
        remember_range(f, size, now);
        rc = f->real->pMethods->xTruncate(f->real, size);
        if (cut_now())
            rc = SQLITE_IOERR_TRUNCATE;
    }
    pthread_mutex_unlock(&lock);
    return rc;
}

/* Nothing is synced really: a test shall not wait for a disk. */
static int on_sync(sqlite3_file *file, int flags)
{
    struct power_file *f = (struct power_file *)file;
    sqlite3_int64 now = 0;
    (void)flags;
    pthread_mutex_lock(&lock);
    int rc = begin_operation(false);
    if (rc == SQLITE_OK && cut_now())
        rc = SQLITE_IOERR_FSYNC;
    if (rc == SQLITE_OK)
        rc = f->real->pMethods->xFileSize(f->real, &now);
    if (rc == SQLITE_OK && f->disk) {
        forget_sectors(f->disk);
        f->disk->synced_bytes = now;
    }
    pthread_mutex_unlock(&lock);
    return rc;
}

static int on_delete(sqlite3_vfs *vfs, const char *path, int sync_dir)
{
    (void)vfs;
    pthread_mutex_lock(&lock);
    struct disk_file *d = find_file(path);
    int rc = is_cut ? SQLITE_IOERR_DELETE : real_vfs->xDelete(real_vfs, path, sync_dir);
    if (rc == SQLITE_OK && d) {
        forget_sectors(d);
        d->synced_bytes = 0;
    }
    pthread_mutex_unlock(&lock);
    return rc;
}

/* ---- everything else goes through ---- */

#define REAL(file)          (((struct power_file *)(file))->real)
#define CALL(file, fn, ...) REAL(file)->pMethods->fn(REAL(file), __VA_ARGS__)

static int on_close(sqlite3_file *file)
{
    return REAL(file)->pMethods->xClose(REAL(file));
}

static int on_read(sqlite3_file *file, void *out, int len, sqlite3_int64 at)
{
    return CALL(file, xRead, out, len, at);
}

static int on_size(sqlite3_file *file, sqlite3_int64 *out)
{
    return CALL(file, xFileSize, out);
}

static int on_lock(sqlite3_file *file, int level)
{
    return CALL(file, xLock, level);
}

static int on_unlock(sqlite3_file *file, int level)
{
    return CALL(file, xUnlock, level);
}

static int on_check_lock(sqlite3_file *file, int *out)
{
    return CALL(file, xCheckReservedLock, out);
}

static int on_control(sqlite3_file *file, int op, void *arg)
{
    return CALL(file, xFileControl, op, arg);
}

static int on_sector_size(sqlite3_file *file)
{
    return REAL(file)->pMethods->xSectorSize(REAL(file));
}

static int on_characteristics(sqlite3_file *file)
{
    return REAL(file)->pMethods->xDeviceCharacteristics(REAL(file));
}

/* The index of the log is shared memory: gone after a cut, made anew at the next opening. */
static int on_shm_map(sqlite3_file *file, int page, int bytes, int extend, void volatile **out)
{
    return CALL(file, xShmMap, page, bytes, extend, out);
}

static int on_shm_lock(sqlite3_file *file, int offset, int count, int flags)
{
    return CALL(file, xShmLock, offset, count, flags);
}

static void on_shm_barrier(sqlite3_file *file)
{
    REAL(file)->pMethods->xShmBarrier(REAL(file));
}

static int on_shm_unmap(sqlite3_file *file, int remove)
{
    return CALL(file, xShmUnmap, remove);
}

static const sqlite3_io_methods methods = {
    .iVersion = 2, /* no mapped pages: they would be written past us */
    .xClose = on_close,
    .xRead = on_read,
    .xWrite = on_write,
    .xTruncate = on_truncate,
    .xSync = on_sync,
    .xFileSize = on_size,
    .xLock = on_lock,
    .xUnlock = on_unlock,
    .xCheckReservedLock = on_check_lock,
    .xFileControl = on_control,
    .xSectorSize = on_sector_size,
    .xDeviceCharacteristics = on_characteristics,
    .xShmMap = on_shm_map,
    .xShmLock = on_shm_lock,
    .xShmBarrier = on_shm_barrier,
    .xShmUnmap = on_shm_unmap,
};

static int on_open(sqlite3_vfs *vfs, const char *path, sqlite3_file *file, int flags, int *out)
{
    struct power_file *f = (struct power_file *)file;
    (void)vfs;
    *f = (struct power_file){.real = (sqlite3_file *)(f + 1)};
    pthread_mutex_lock(&lock);
    if (path)
        f->disk = file_of(path);
    int rc = real_vfs->xOpen(real_vfs, path, f->real, flags, out);
    pthread_mutex_unlock(&lock);
    if (f->real->pMethods)
        f->base.pMethods = &methods;
    return rc;
}

void power_install(void)
{
    real_vfs = sqlite3_vfs_find("unix");
    must(real_vfs);
    power_vfs = *real_vfs;
    power_vfs.zName = "power";
    power_vfs.pNext = NULL;
    power_vfs.szOsFile = (int)sizeof(struct power_file) + real_vfs->szOsFile;
    power_vfs.xOpen = on_open;
    power_vfs.xDelete = on_delete;
    int rc = sqlite3_vfs_register(&power_vfs, 1);
    must(rc == SQLITE_OK);
}

void power_on(uint64_t seed)
{
    while (files) {
        struct disk_file *d = files;
        files = d->next;
        forget_sectors(d);
        free(d->path);
        free(d);
    }
    random_state = seed * 0x9e3779b97f4a7c15 + 1; /* never 0, and far apart for near seeds */
    operations = cut_at = fill_at = fill_count = 0;
    is_cut = false;
}

void power_cut_at(long operation)
{
    cut_at = operation;
}

void power_fill_at(long operation, long count)
{
    fill_at = operation;
    fill_count = count;
}

long power_operations(void)
{
    pthread_mutex_lock(&lock);
    long count = operations;
    pthread_mutex_unlock(&lock);
    return count;
}

bool power_is_cut(void)
{
    pthread_mutex_lock(&lock);
    bool cut = is_cut;
    pthread_mutex_unlock(&lock);
    return cut;
}
