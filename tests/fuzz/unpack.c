/* No archive gets a file or link out of the folder: the folder lies in a fresh folder that must
 * stay as empty as it was. And its files as inputs, forwards and back: never more than was asked for. */
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"
#include "usb/archive/stream.h"
#include "usb/archive/unpack.h"
#include "usb/base/io.h"
#include "usb/base/mem.h"

static char outer[64], inner[80];

static int visit(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)ftw;
    MUST(flag == FTW_F || flag == FTW_DP);
    MUST(S_ISREG(st->st_mode) || S_ISDIR(st->st_mode));
    if (strcmp(path, inner) != 0)
        MUST(remove(path) == 0);
    return 0;
}

static void make_folders(void)
{
    snprintf(outer, sizeof(outer), "/dev/shm/fuzz-unpack-%d", (int)getpid());
    snprintf(inner, sizeof(inner), "%s/in", outer);
    MUST(mkdir(outer, 0700) == 0 && mkdir(inner, 0700) == 0);
}

static void remove_folders(void)
{
    rmdir(inner);
    rmdir(outer);
}

static int entries_of(const char *path)
{
    DIR *dir = opendir(path);
    int n = 0;
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

static void head_read(struct input *in)
{
    uint8_t head[4096];
    ssize_t n = input_read(in, head, sizeof(head), 100, NULL);
    MUST(n <= (ssize_t)sizeof(head));
}

static void files_read(int file)
{
    enum { FILES = 8 }; /* each step back begins anew */
    AUTO(packed_close) struct packed *p = NULL;
    if (packed_open(file, &p, NULL) < 0)
        return;
    MUST(p->count > 0 && p->largest < p->count);
    struct input *in[FILES];
    size_t count = MIN_OF(p->count, (size_t)FILES);
    for (size_t i = 0; i < count; i++)
        head_read(in[i] = packed_input(p, i));
    for (size_t i = count; i--;) {
        head_read(in[i]);
        input_close(&in[i]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int file = -1;
    if (file < 0) {
        make_folders();
        atexit(remove_folders);
        file = memfd_create("archive", MFD_CLOEXEC);
    }
    MUST(ftruncate(file, 0) == 0 && io_pwrite(file, data, size, 0, NULL) == 0);
    int dir = open(inner, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct unpack_limits limits = {
        .total_bytes_max = 1 << 20, .file_bytes_max = 1 << 19, .files_max = 20};
    struct unpack_result result;
    (void)archive_unpack(file, dir, &limits, NULL, NULL, &result, NULL);
    close(dir);
    files_read(file);
    MUST(entries_of(outer) == 3); /* ".", "..", "in" */
    nftw(inner, visit, 8, FTW_PHYS | FTW_DEPTH);
    return 0;
}
