/* `./run bench files`: the speed and memory of file work, each against a baseline of the same run.
 *   sparse_sha256    unfolding a sparse image of 3 GB and SHA-256 of what comes out, against
 *                    `openssl dgst -sha256` of that image unfolded; without and with the CRC-32 of the format
 *   identity_of_64gb the identity set out of a sparse 64 GB dump by `flashrack dump extract`, against
 *                    `dd conv=sparse` of the same partitions and `sha256sum` of the copies
 *   peak_memory      of flashrack commands on these files
 * Files lie in a folder of their own below TMPDIR (or /var/tmp), about 6.5 GB for some seconds. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/unit/x5_layout.h"
#include "usb/base/hash.h"
#include "usb/base/input.h"
#include "usb/base/io.h"
#include "usb/base/mem.h"
#include "usb/format/roles.h"
#include "usb/format/sparse.h"

extern char **environ;
static const char *flashrack;
enum { BLOCK = 4096, PART_BLOCKS = 256, PART_BYTES = BLOCK * PART_BLOCKS, ROUNDS = 3 };
static uint8_t part[PART_BYTES];

static void must(bool ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "bench files: %s: %s\n", what, strerror(errno));
    exit(1);
}

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Runs a command to its end, output dropped. Seconds; *peak_out is its largest resident memory. */
static double run(char *const argv[], uint64_t *peak_out)
{
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    pid_t pid;
    double start = now_s();
    must(posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ) == 0, argv[0]);
    posix_spawn_file_actions_destroy(&actions);
    int status;
    struct rusage usage;
    must(wait4(pid, &status, 0, &usage) == pid, "wait4");
    must(WIFEXITED(status) && WEXITSTATUS(status) == 0, argv[0]);
    if (peak_out)
        *peak_out = (uint64_t)usage.ru_maxrss * 1024;
    return now_s() - start;
}

static double least(double a, double b)
{
    return a < b ? a : b;
}

static void fill_noise(uint64_t seed)
{
    uint64_t x = seed * 0x9e3779b97f4a7c15u + 1;
    for (size_t i = 0; i < sizeof(part); i += 8) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        memcpy(part + i, &x, 8);
    }
}

/* ---- sparse ------------------------------------------------------------------------------------- */

enum {
    CHUNKS = 3000
}; /* MiB of output: of ten, seven are data, one a fill, two nobody cares about */

static void put_head(int fd, uint16_t type, uint32_t body)
{
    uint8_t h[SPARSE_CHUNK_BYTES] = {0};
    put_le16(h, type);
    put_le32(h + 4, PART_BLOCKS);
    put_le32(h + 8, SPARSE_CHUNK_BYTES + body);
    must(io_write(fd, h, sizeof(h), NULL) == 0, "write");
}

/* The same image twice: as a sparse file, and unfolded (with holes). */
static void make_images(void)
{
    int simg = open("image.simg", O_WRONLY | O_CREAT | O_TRUNC, 0600);
    int raw = open("image.raw", O_WRONLY | O_CREAT | O_TRUNC, 0600);
    must(simg >= 0 && raw >= 0, "create");
    uint8_t h[SPARSE_HEADER_BYTES] = {0};
    put_le32(h, SPARSE_MAGIC);
    put_le16(h + 4, 1);
    put_le16(h + 8, SPARSE_HEADER_BYTES);
    put_le16(h + 10, SPARSE_CHUNK_BYTES);
    put_le32(h + 12, BLOCK);
    put_le32(h + 16, CHUNKS * PART_BLOCKS);
    put_le32(h + 20, CHUNKS);
    must(io_write(simg, h, sizeof(h), NULL) == 0, "write");
    for (int i = 0; i < CHUNKS; i++) {
        int64_t at = (int64_t)i * PART_BYTES;
        if (i % 10 < 7) {
            fill_noise((uint64_t)i);
            put_head(simg, 0xcac1, PART_BYTES);
            must(io_write(simg, part, sizeof(part), NULL) == 0, "write");
            must(io_pwrite(raw, part, sizeof(part), at, NULL) == 0, "write");
        } else if (i % 10 == 7) {
            memset(part, 0xff, sizeof(part));
            put_head(simg, 0xcac2, 4);
            must(io_write(simg, part, 4, NULL) == 0, "write");
            must(io_pwrite(raw, part, sizeof(part), at, NULL) == 0, "write");
        } else {
            put_head(simg, 0xcac3, 0);
        }
    }
    must(ftruncate(raw, (off_t)CHUNKS * PART_BYTES) == 0, "truncate");
    close(simg);
    close(raw);
}

static int hash_extent(void *arg, const struct sparse_extent *e, struct err *err)
{
    static uint8_t filled[1 << 16];
    (void)err;
    if (e->kind == SPARSE_RAW)
        hasher_update(arg, e->data, (size_t)e->length);
    else if (e->kind == SPARSE_DONT_CARE)
        hasher_zeros(arg, e->length);
    for (size_t i = 0; e->kind == SPARSE_FILL && i < sizeof(filled); i += 4)
        memcpy(filled + i, e->fill, 4);
    for (uint64_t left = e->kind == SPARSE_FILL ? e->length : 0; left;) {
        size_t n = (size_t)MIN_OF(left, (uint64_t)sizeof(filled));
        hasher_update(arg, filled, n);
        left -= n;
    }
    return 0;
}

static int feed(void *arg, const uint8_t *data, uint64_t len, struct err *err)
{
    must(data != NULL, "a hole in the sparse file"); /* it was written without */
    return sparse_feed(arg, span_of(data, (size_t)len), err);
}

static double unfold(bool skip_crc, char hex[SHA256_HEX_BYTES])
{
    double start = now_s();
    struct err err = {0};
    AUTO(input_close) struct input *in = NULL;
    must(input_open(AT_FDCWD, "image.simg", &in, &err) == 0, "open");
    struct hasher *hasher = hasher_new();
    struct sparse_options options = {.output_bytes_max = 1ull << 40, .skip_crc = skip_crc};
    AUTO(sparse_reader_free)
    struct sparse_reader *r = sparse_reader_new(&options, hash_extent, hasher);
    bool sound =
        input_walk(in, 0, in->size_bytes, feed, r, &err) >= 0 && sparse_finish(r, &err) == 0;
    must(sound, err.text);
    struct sha256 digest = hasher_finish(hasher);
    sha256_hex(&digest, hex);
    hasher_free(&hasher);
    return now_s() - start;
}

static void sparse_line(const char *name, double seconds, double baseline)
{
    double bytes = (double)CHUNKS * PART_BYTES;
    printf("{\"bench\":\"files\",\"name\":\"%s\",\"bytes\":%.0f,\"seconds\":%.3f,\"mb_per_s\":%.0f,"
           "\"baseline\":\"openssl dgst -sha256\",\"baseline_seconds\":%.3f,\"ratio\":%.3f}\n",
           name, bytes, seconds, bytes / 1e6 / seconds, baseline, baseline / seconds);
    fflush(stdout);
}

static void bench_sparse(void)
{
    make_images();
    char ours[SHA256_HEX_BYTES], summed[SHA256_HEX_BYTES], theirs[128] = "";
    char *const openssl[] = {"openssl", "dgst",    "-sha256",   "-r",
                             "-out",    "sum.txt", "image.raw", NULL};
    double baseline = 1e9, quick = 1e9, checked = 1e9;
    for (int i = 0; i < ROUNDS; i++) { /* the first round also warms the page cache */
        baseline = least(baseline, run(openssl, NULL));
        quick = least(quick, unfold(true, ours));
        checked = least(checked, unfold(false, summed));
    }
    FILE *f = fopen("sum.txt", "r");
    must(f && fgets(theirs, sizeof(theirs), f) != NULL, "openssl's sum");
    fclose(f);
    must(strncmp(ours, theirs, 64) == 0 && strcmp(ours, summed) == 0, "the sums differ");
    sparse_line("sparse_sha256", quick, baseline);
    sparse_line("sparse_sha256_and_crc", checked, baseline);
    unlink("image.raw");
}

/* ---- a large dump -------------------------------------------------------------------------------- */

static struct gpt table;

static void put_partition(int fd, const char *name)
{
    struct extent x;
    must(gpt_lookup(&table, name, &x, NULL) == 0, name);
    /* a quarter of it is used, as on a phone that has lived a while */
    for (uint64_t at = 0; at < x.size_bytes / 4; at += sizeof(part)) {
        fill_noise(x.start_bytes + at);
        size_t n = (size_t)MIN_OF((uint64_t)sizeof(part), x.size_bytes / 4 - at);
        must(io_pwrite(fd, part, n, (int64_t)(x.start_bytes + at), NULL) == 0, "write");
    }
}

static void put_table(int fd, uint64_t lbas, bool backup)
{
    AUTO(buf_deinit) struct buf b;
    buf_init(&b, 1 << 16);
    if (backup)
        gpt_encode_backup(&table, lbas, &b);
    else
        gpt_encode_primary(&table, lbas, &b);
    int64_t at = backup ? (int64_t)(lbas * 512 - b.len) : 0;
    must(io_pwrite(fd, b.data, b.len, at, NULL) == 0, "write");
}

static const char identity[] = "nvcfg,nvdata,protect1,protect2,persist,proinfo,nvram,elabel,seccfg,"
                               "para,systeminfo_a,lk_a,lk_b";

/* The full layout with userdata stretched to a 64 GB user area. */
static void make_dump(void)
{
    uint64_t bytes = 64000000000 / 512 * 512, lbas = bytes / 512;
    x5_layout(&table, true);
    table.count -= 2; /* otp and flashinfo stay behind where the small area ended */
    table.entries[table.count - 1].last_lba = lbas - 34;
    int fd = open("dump.img", O_RDWR | O_CREAT | O_TRUNC, 0600);
    must(fd >= 0 && ftruncate(fd, (off_t)bytes) == 0, "create the dump");
    put_table(fd, lbas, false);
    put_table(fd, lbas, true);
    AUTO(free_ptr) char *names = xstrdup(identity);
    char *rest = names;
    for (char *name; (name = strsep(&rest, ","));)
        put_partition(fd, name);
    close(fd);
}

/* dd and sha256sum of the same partitions. */
static double copy_and_sum(void)
{
    AUTO(free_ptr) char *names = xstrdup(identity);
    char *rest = names;
    double seconds = 0;
    for (char *name; (name = strsep(&rest, ","));) {
        const struct gpt_entry *e = gpt_find(&table, name);
        char out[64], skip[64], count[64];
        snprintf(out, sizeof(out), "of=dd-%s.img", name);
        snprintf(skip, sizeof(skip), "skip=%lluB", (unsigned long long)e->first_lba * 512);
        snprintf(count, sizeof(count), "count=%lluB",
                 (unsigned long long)(e->last_lba - e->first_lba + 1) * 512);
        char *const dd[] = {"dd",  "if=dump.img",       out,           "bs=1M", skip,
                            count, "conv=sparse,fsync", "status=none", NULL};
        char *const sum[] = {"sha256sum", out + 3, NULL};
        seconds += run(dd, NULL);
        seconds += run(sum, NULL);
    }
    return seconds;
}

static void peak_line(const char *command, uint64_t bytes)
{
    printf("{\"bench\":\"files\",\"name\":\"peak_memory\",\"command\":\"%s\",\"bytes\":%llu}\n",
           command, (unsigned long long)bytes);
    fflush(stdout);
}

static void bench_dump(void)
{
    make_dump();
    char only[sizeof(identity) + 8];
    snprintf(only, sizeof(only), "--only=%s", identity);
    char *const extract[] = {
        (char *)flashrack, "dump", "extract", "dump.img", "-o", "out", only, NULL};
    char *const list[] = {(char *)flashrack, "dump", "list", "dump.img", NULL};
    uint64_t extract_peak = 0, list_peak = 0;
    double seconds = 1e9, baseline = 1e9, listing = 1e9;
    for (int i = 0; i < ROUNDS; i++) {
        baseline = least(baseline, copy_and_sum());
        seconds = least(seconds, run(extract, &extract_peak));
        listing = least(listing, run(list, &list_peak));
    }
    printf(
        "{\"bench\":\"files\",\"name\":\"identity_of_64gb\",\"seconds\":%.3f,\"list_seconds\":%.3f,"
        "\"baseline\":\"dd conv=sparse,fsync and sha256sum of the same partitions\","
        "\"baseline_seconds\":%.3f,\"ratio\":%.3f}\n",
        seconds, listing, baseline, baseline / seconds);
    peak_line("dump extract", extract_peak);
    peak_line("dump list", list_peak);
}

/* firmware check of a folder with the 3 GB image: it says "not usable" (exit 1), which is right here. */
static void bench_check(void)
{
    char script[300];
    snprintf(script, sizeof(script), "'%s' firmware check package 2>/dev/null; test $? = 1",
             flashrack);
    must(mkdir("package", 0700) == 0 && rename("image.simg", "package/system.img") == 0, "package");
    char *const check[] = {"sh", "-c", script, NULL};
    uint64_t peak = 0;
    (void)run(check, &peak); /* wait4 counts what the shell waited for, too */
    peak_line("firmware check", peak);
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st, (void)flag, (void)ftw;
    return remove(path);
}

static char folder[200];

static void clean(void)
{
    nftw(folder, remove_one, 8, FTW_PHYS | FTW_DEPTH);
}

int main(int argc, char **argv)
{
    (void)argc;
    const char *tmp = getenv("TMPDIR");
    snprintf(folder, sizeof(folder), "%.150s/bench-files-XXXXXX", tmp ? tmp : "/var/tmp");
    AUTO(free_ptr) char *self = realpath(argv[0], NULL);
    must(self != NULL, argv[0]);
    AUTO(free_ptr)
    char *beside = xasprintf("%.*s/flashrack", (int)(strrchr(self, '/') - self), self);
    flashrack = beside;
    must(access(flashrack, X_OK) == 0, flashrack);
    must(mkdtemp(folder) != NULL && atexit(clean) == 0 && chdir(folder) == 0, folder);
    bench_sparse();
    bench_dump();
    bench_check();
    return 0;
}
