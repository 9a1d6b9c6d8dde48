/* flash.c: the phone's eMMC. Each area is a sparse file; nothing of it is held in memory. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/phone/hardware.h"
#include "tests/phone/preloader_image.h"
#include "usb/base/io.h"
#include "usb/base/mem.h"

enum {
    SECTOR = 512,
    HOLE = 4096,       /* the unit in which the host's file systems keep holes */
    PIECE = 256 << 10, /* between two looks at the power */
    PRELOADER_MAX = 0x100000,
};

static int area_open(struct flash_area *area, const char *dir, const char *name, struct err *err)
{
    AUTO(free_ptr) char *path = xasprintf("%s/%s", dir, name);
    area->fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (area->fd < 0)
        return err_sys(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "open '%s'", path);
    int64_t size = io_size(area->fd, err);
    if (size < 0)
        return (int)size;
    area->size = (uint64_t)size;
    return 0;
}

int flash_open(struct board *b, const char *dir, struct err *err)
{
    const struct {
        struct flash_area *area;
        const char *name;
    } files[] = {{&b->boot1, "boot1.img"},
                 {&b->boot2, "boot2.img"},
                 {&b->rpmb, "rpmb.img"},
                 {&b->user, "user.img"}};
    for (size_t i = 0; i < ARRAY_LEN(files); i++)
        files[i].area->fd = -1;
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        int rc = area_open(files[i].area, dir, files[i].name, err);
        if (rc < 0) {
            flash_close(b);
            return rc;
        }
    }
    return 0;
}

void flash_close(struct board *b)
{
    fd_close(&b->boot1.fd);
    fd_close(&b->boot2.fd);
    fd_close(&b->rpmb.fd);
    fd_close(&b->user.fd);
}

static const struct flash_area *area_of(const struct board *b, enum board_area area)
{
    switch (area) {
    case AREA_BOOT1:
        return &b->boot1;
    case AREA_BOOT2:
        return &b->boot2;
    case AREA_RPMB:
        return &b->rpmb;
    case AREA_USER:
        return &b->user;
    }
    return NULL;
}

const char *board_area_name(enum board_area area)
{
    return area == AREA_BOOT1   ? "boot1"
           : area == AREA_BOOT2 ? "boot2"
           : area == AREA_RPMB  ? "rpmb"
                                : "user";
}

uint64_t board_area_size(const struct board *b, enum board_area area)
{
    const struct flash_area *a = area_of(b, area);
    return a ? a->size : 0;
}

static const struct flash_area *range(const struct board *b, enum board_area area, uint64_t at,
                                      uint64_t len)
{
    const struct flash_area *a = area_of(b, area);
    return a && at <= a->size && len <= a->size - at ? a : NULL;
}

static bool power_is_lost(struct board *b)
{
    pthread_mutex_lock(&b->lock);
    bool lost = board_powerless(b);
    pthread_mutex_unlock(&b->lock);
    return lost;
}

static void count_written(struct board *b, uint64_t len)
{
    pthread_mutex_lock(&b->lock);
    b->bytes_written += len;
    pthread_mutex_unlock(&b->lock);
}

/* A power loss ends the wait; whoever goes on sees it. */
static void flash_time(struct board *b, uint64_t len, uint64_t bytes_per_s)
{
    int64_t until = pace_take(&b->flash_pace, len, bytes_per_s);
    if (!until)
        return;
    pthread_mutex_lock(&b->lock);
    while (!board_powerless(b) && board_wait(b, &b->wake, until))
        ;
    pthread_mutex_unlock(&b->lock);
}

/* What cannot be read or written is a whole block. */
static bool storage_fault(struct board *b, const char *kind, enum board_area area, uint64_t at,
                          uint64_t len)
{
    uint64_t start = at / SECTOR * SECTOR, end = (at + len + SECTOR - 1) / SECTOR * SECTOR;
    return board_fault_over(b, kind, area, start, end - start);
}

int board_flash_read(struct board *b, enum board_area area, uint64_t at, void *dst, size_t len)
{
    const struct flash_area *a = range(b, area, at, len);
    if (power_is_lost(b))
        return BOARD_GONE;
    if (!a || storage_fault(b, "storage_read", area, at, len))
        return BOARD_STORAGE;
    flash_time(b, len, b->settings.emmc_read_bytes_per_s);
    return io_pread(a->fd, dst, len, (int64_t)at, NULL) < 0 ? BOARD_STORAGE : BOARD_OK;
}

static bool all_zero(const uint8_t *p, size_t len)
{
    return len == 0 || (p[0] == 0 && memcmp(p, p + 1, len - 1) == 0);
}

static int punch(const struct flash_area *a, uint64_t at, uint64_t len)
{
    int rc = fallocate(a->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)at, (off_t)len);
    if (rc == 0)
        return BOARD_OK;
    static const uint8_t zeros[PIECE]; /* file systems without holes */
    while (len) {
        size_t n = (size_t)MIN_OF(len, (uint64_t)PIECE);
        if (io_pwrite(a->fd, zeros, n, (int64_t)at, NULL) < 0)
            return BOARD_STORAGE;
        at += n;
        len -= n;
    }
    return BOARD_OK;
}

/* Bytes of the run at the start of src: whole zero blocks, or anything else up to the next such
 * block. */
static size_t run_length(uint64_t at, const uint8_t *src, size_t len, bool *zero)
{
    size_t lead = (size_t)((HOLE - at % HOLE) % HOLE), n = MIN_OF(lead, len);
    *zero = lead == 0 && len >= HOLE && all_zero(src, HOLE);
    while (n + HOLE <= len && all_zero(src + n, HOLE) == *zero)
        n += HOLE;
    return !*zero && len - n < HOLE ? len : n;
}

static int write_piece(const struct flash_area *a, uint64_t at, const uint8_t *src, size_t len)
{
    while (len) {
        bool zero;
        size_t n = run_length(at, src, len, &zero);
        int rc = zero                                              ? punch(a, at, n)
                 : io_pwrite(a->fd, src, n, (int64_t)at, NULL) < 0 ? BOARD_STORAGE
                                                                   : BOARD_OK;
        if (rc < 0)
            return rc;
        at += n;
        src += n;
        len -= n;
    }
    return BOARD_OK;
}

/* Power went in the middle of a block: half of it is new. */
static void tear(const struct flash_area *a, uint64_t at, const uint8_t *src, size_t len)
{
    size_t n = MIN_OF(len, (size_t)SECTOR / 2);
    (void)io_pwrite(a->fd, src, n, (int64_t)at, NULL);
}

int board_flash_write(struct board *b, enum board_area area, uint64_t at, const void *src,
                      size_t len)
{
    const struct flash_area *a = range(b, area, at, len);
    const uint8_t *from = src;
    if (!a || storage_fault(b, "storage_write", area, at, len))
        return BOARD_STORAGE;
    while (len) {
        size_t n = MIN_OF(len, (size_t)PIECE);
        if (power_is_lost(b)) {
            tear(a, at, from, len);
            return BOARD_GONE;
        }
        int rc = write_piece(a, at, from, n);
        if (rc < 0)
            return rc;
        count_written(b, n);
        flash_time(b, n, b->settings.emmc_write_bytes_per_s);
        at += n;
        from += n;
        len -= n;
    }
    return BOARD_OK;
}

int board_flash_zero(struct board *b, enum board_area area, uint64_t at, uint64_t len)
{
    static const uint8_t zeros[HOLE];
    const struct flash_area *a = range(b, area, at, len);
    if (!a || storage_fault(b, "storage_write", area, at, len))
        return BOARD_STORAGE;
    if (power_is_lost(b))
        return BOARD_GONE;
    size_t lead = (size_t)MIN_OF((HOLE - at % HOLE) % HOLE, len);
    uint64_t body = (len - lead) / HOLE * HOLE;
    size_t tail = (size_t)(len - lead - body);
    int rc =
        lead && io_pwrite(a->fd, zeros, lead, (int64_t)at, NULL) < 0 ? BOARD_STORAGE : BOARD_OK;
    if (rc == BOARD_OK && body)
        rc = punch(a, at + lead, body);
    if (rc == BOARD_OK && tail &&
        io_pwrite(a->fd, zeros, tail, (int64_t)(at + lead + body), NULL) < 0)
        rc = BOARD_STORAGE;
    if (rc == BOARD_OK)
        count_written(b, len);
    return rc;
}

bool flash_preloader_bootable(struct board *b)
{
    uint8_t head[BOOT_HEADER_BYTES + 0x40];
    if (b->boot1.size < sizeof(head) || io_pread(b->boot1.fd, head, sizeof(head), 0, NULL) < 0)
        return false;
    uint32_t length = preloader_length(span_of(head, sizeof(head)));
    size_t whole = BOOT_HEADER_BYTES + (size_t)length;
    if (length == 0 || length > PRELOADER_MAX || whole > b->boot1.size)
        return false;
    AUTO(free_ptr) uint8_t *image = xcalloc(1, whole);
    return io_pread(b->boot1.fd, image, whole, 0, NULL) == 0 &&
           preloader_bootable(span_of(image, whole));
}
