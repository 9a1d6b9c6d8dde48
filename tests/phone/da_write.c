/* WRITE_DATA and DOWNLOAD. A chunk status says "received": a writer behind the packets puts the
 * bytes on flash later, and its errors come later. README.md, "Writing".
 *
 * The writer takes what is held, when DA_GROUP_BYTES or more have been accepted: that is where genuine
 * agents of 2018 and 2019 were seen to report errors of the first 4 MiB, and what a cancelled write
 * left on flash. The 2017 agent keeps everything until the last chunk; here in a temporary file,
 * since real DRAM is larger than what we want to hold. */
#include "tests/phone/da.h"

#include <stdio.h>
#include <stdlib.h>

#include "tests/phone/preloader_image.h"
#include "tests/phone/synthetic_da.h"
#include "usb/base/mem.h"
#include "usb/format/sparse.h"

enum {
    DL_INFO_BYTES = 0x4400,
    VERIFY_BYTES = 0x2000000, /* of memory in which an image is verified */
    RUNAWAY_BYTES = 0x10000,  /* what a positive host status costs; constructed, a garbage length */
};
_Static_assert(DA_MEMORY_BYTES - DA_GROUP_BYTES >= XFLASH_DA2_WRITE_PACKET_BYTES,
               "a chunk must fit behind a group that is almost whole");

struct writer {
    struct da *d;
    struct da_target to;
    uint64_t total;   /* bytes of the image */
    uint64_t written; /* bytes of the image that were handed to flash */
    size_t held;      /* accepted bytes in d->memory */
    uint32_t error;   /* first that was met; nothing is written after it */
    bool by_name;     /* DOWNLOAD: sparse images are recognised */
    bool boot_header; /* "preloader": the agent adds the storage header */
    unsigned guards;  /* DOWNLOAD: what has to be true of the image before it is written */
    FILE *spool;      /* 2017, and images that are verified first */
    struct sparse_reader *sparse;
};

static void writer_deinit(struct writer *w)
{
    sparse_reader_free(&w->sparse);
    if (w->spool)
        (void)fclose(w->spool);
    w->spool = NULL;
}

static enum da_build build_of(const struct writer *w)
{
    return board_settings(w->d->b)->da_build;
}

/* ---- onto flash
 * -------------------------------------------------------------------------------------- */

/* Checksum level bit 1: reads back and compares 16-bit sums, piece by piece. */
static uint32_t read_back(struct da *d, enum board_area area, uint64_t at, struct span sent)
{
    while (sent.len) {
        size_t n = MIN_OF(sent.len, (size_t)DA_SCRATCH_BYTES);
        uint32_t status = da_flash_read(d, area, at, d->scratch, n);
        if (status != XFLASH_OK)
            return status;
        if (xflash_checksum(span_of(d->scratch, n)) != xflash_checksum(span_sub(sent, 0, n)))
            return XFLASH_CHECKSUM_ERR;
        sent = span_sub(sent, n, sent.len);
        at += n;
    }
    return XFLASH_OK;
}

static void store(struct writer *w, uint64_t at, struct span data)
{
    struct da *d = w->d;
    uint64_t place = w->to.at + at;
    if (!board_fault_over(d->b, "lying_write", w->to.area, place, data.len))
        w->error = da_flash_write(d, w->to.area, place, data.data, data.len);
    if (w->error == XFLASH_OK && d->checksum_level & XFLASH_CHECKSUM_STORAGE)
        w->error = read_back(d, w->to.area, place, data);
}

static void fill(struct writer *w, const struct sparse_extent *e)
{
    uint8_t pattern[4096];
    for (size_t i = 0; i < sizeof(pattern); i++)
        pattern[i] = e->fill[i % 4];
    for (uint64_t at = 0; at < e->length && w->error == XFLASH_OK;) {
        size_t n = (size_t)MIN_OF(e->length - at, (uint64_t)sizeof(pattern));
        store(w, e->offset + at, span_of(pattern, n));
        at += n;
    }
}

static int sparse_sink(void *arg, const struct sparse_extent *e, struct err *err)
{
    struct writer *w = arg;
    if (e->kind == SPARSE_RAW)
        store(w, e->offset, span_of(e->data, (size_t)e->length));
    else if (e->kind == SPARSE_FILL)
        fill(w, e);
    return w->error == XFLASH_OK ? 0 : err_set(err, ERR_STORAGE, "status %08x", w->error);
}

static void expand(struct writer *w, struct span data)
{
    if (!w->sparse)
        w->sparse = sparse_reader_new(&(struct sparse_options){.output_bytes_max = w->to.len},
                                      sparse_sink, w);
    if (sparse_feed(w->sparse, data, NULL) < 0 && w->error == XFLASH_OK)
        w->error = (uint32_t)XFLASH_WRITE_SPARSE_IMAGE_FAIL;
}

/* Before the first byte: the header of a boot area; and the 2017 agent, when the start lies inside
 * a block, zeroes what comes before it. */
static void begin(struct writer *w)
{
    static const uint8_t zeros[XFLASH_BLOCK_BYTES];
    if (w->boot_header) {
        uint8_t header[BOOT_HEADER_BYTES];
        preloader_boot_header((uint32_t)w->total, header);
        store(w, 0, span_of(header, sizeof(header)));
        w->to.at += sizeof(header);
        w->to.len -= sizeof(header);
    }
    size_t inside = (size_t)(w->to.at % XFLASH_BLOCK_BYTES);
    if (inside && build_of(w) == BUILD_2017 && w->error == XFLASH_OK)
        w->error = da_flash_write(w->d, w->to.area, w->to.at - inside, zeros, inside);
}

/* Hands `data`, the next bytes of the image, to flash. Nothing of a part that leaves the target is
 * written. */
static void put(struct writer *w, struct span data)
{
    if (w->error != XFLASH_OK || data.len == 0)
        return;
    if (w->written == 0)
        begin(w);
    if (w->error == XFLASH_OK && w->by_name && (w->sparse || (w->written == 0 && sparse_is(data))))
        expand(w, data);
    else if (w->error == XFLASH_OK && data.len > w->to.len - MIN_OF(w->written, w->to.len))
        w->error = XFLASH_TOO_LARGE;
    else if (w->error == XFLASH_OK)
        store(w, w->written, data);
    w->written += data.len;
}

/* The writer's turn: everything that is held leaves the buffer. */
static void flush(struct writer *w)
{
    struct span held = span_of(w->d->memory, w->held);
    w->held = 0;
    if (build_of(w) != BUILD_2017 && !w->guards) {
        put(w, held);
        return;
    }
    if (!w->spool && !(w->spool = tmpfile()))
        w->error = XFLASH_MMC_ERR;
    if (w->error == XFLASH_OK && fwrite(held.data, 1, held.len, w->spool) != held.len)
        w->error = XFLASH_MMC_ERR;
}

/* Our own convention of what a vendor's signature is, and of what a phone is bound to: synthetic_da.h. */
static bool image_signed(const struct writer *w, struct span image)
{
    return w->boot_header ? preloader_file_whole(image) : synthetic_image_signed(image);
}

/* The whole image is in the spool, and nothing of it on flash. */
static void verify(struct writer *w)
{
    size_t len = (size_t)w->total; /* at most VERIFY_BYTES */
    AUTO(free_ptr) uint8_t *image = xcalloc(1, len + 1);
    rewind(w->spool);
    if (fread(image, 1, len, w->spool) != len)
        w->error = XFLASH_MMC_ERR;
    else if (!image_signed(w, span_of(image, len)))
        w->error = w->guards & GUARD_VERIFIED ? (uint32_t)XFLASH_SEC_IMG_VFY_FAIL
                                              : (uint32_t)XFLASH_SEC_HASH_BINDING_CHK_FAIL;
}

/* All that was accepted, in 2017, too. */
static void drain(struct writer *w)
{
    flush(w);
    if (w->guards && w->spool && w->error == XFLASH_OK)
        verify(w);
    if (!w->spool)
        return;
    rewind(w->spool);
    for (size_t n; !w->d->link.gone && w->error == XFLASH_OK &&
                   (n = fread(w->d->memory, 1, DA_GROUP_BYTES, w->spool)) > 0;)
        put(w, span_of(w->d->memory, n));
}

/* After the last chunk. */
static void finish(struct writer *w)
{
    drain(w);
    if (w->sparse && w->error == XFLASH_OK && sparse_finish(w->sparse, NULL) < 0)
        w->error = (uint32_t)XFLASH_WRITE_SPARSE_IMAGE_FAIL;
}

/* ---- from the host
 * ----------------------------------------------------------------------------------- */

/* A positive word after an accepted chunk: the agent writes what it holds and runs on with a
 * garbage length over whatever follows, then never answers again. */
static void run_away(struct writer *w)
{
    struct da *d = w->d;
    if (!board_settings(d->b)->positive_status_dead && !w->guards) {
        drain(w);
        uint64_t at = w->to.at + w->written, size = board_area_size(d->b, w->to.area);
        size_t n = (size_t)MIN_OF((uint64_t)RUNAWAY_BYTES, size - MIN_OF(at, size));
        if (n)
            (void)da_flash_write(d, w->to.area, at, d->memory, n);
    }
    da_die(d, "positive host status inside a write");
}

/* The word before each chunk: true when data follow. */
static bool host_goes_on(struct writer *w, bool first)
{
    struct da *d = w->d;
    uint32_t word;
    da_link_burst(&d->link, 3); /* this word, checksum, data */
    ptrdiff_t rc = da_recv_word(d, &word);
    if (rc < 0) {
        da_send_word(&d->link, da_framing_status(rc));
        return false;
    }
    if (word == 0)
        return true;
    if (word != (uint32_t)XFLASH_ABORT)
        board_violation(d->b, "xflash.host_status_in_write");
    if (word >> 31) { /* cancel: accepted chunks that are still held are dropped */
        da_link_burst(&d->link, 0);
        da_send_word(&d->link, word);
    } else if (!first)
        run_away(w);
    else
        da_send_word(&d->link,
                     build_of(w) == BUILD_2017 ? (uint32_t)XFLASH_INSUFFICIENT_BUFFER : word);
    return false;
}

/* Checksum and data of one chunk behind what is held. Its length, or negative when the command is
 * over. */
static ptrdiff_t receive(struct writer *w, uint64_t missing)
{
    struct da *d = w->d;
    size_t max = (size_t)MIN_OF((uint64_t)XFLASH_DA2_WRITE_PACKET_BYTES, missing);
    uint32_t sum = 0;
    ptrdiff_t rc = da_recv_word(d, &sum);
    if (rc >= 0)
        rc = da_recv(&d->link, d->memory + w->held, max);
    if (rc < 0) {
        da_send_word(&d->link, da_framing_status(rc));
        return rc;
    }
    if (xflash_checksum(span_of(d->memory + w->held, (size_t)rc)) == sum)
        return rc;
    board_violation(d->b, "xflash.wrong_chunk_checksum");
    if (!(d->checksum_level & XFLASH_CHECKSUM_USB))
        return rc;
    da_send_word(&d->link, XFLASH_CHECKSUM_ERR); /* nothing that is held gets written */
    da_send_word(&d->link, XFLASH_CHECKSUM_ERR);
    return DA_LINK_MAGIC;
}

/* One chunk and its status. False when the command is over. */
static bool chunk(struct writer *w, uint64_t *got)
{
    struct da *d = w->d;
    if (!host_goes_on(w, *got == 0))
        return false;
    ptrdiff_t n = receive(w, w->total - *got);
    if (n < 0)
        return false;
    *got += (uint64_t)n;
    w->held += (size_t)n;
    bool at_once = board_settings(d->b)->write_errors_at_once;
    if (at_once)
        flush(w);
    bool tells = at_once || build_of(w) != BUILD_2017;
    uint32_t status = da_send_status(d, tells ? w->error : XFLASH_OK);
    if (status != XFLASH_OK) {
        da_send_word(&d->link, status);
        return false;
    }
    if (w->held >= DA_GROUP_BYTES)
        flush(w);
    return !d->link.gone;
}

/* The download log, which START_DL_INFO switches on: a record at the start of flashinfo that the
 * host did not ask for. Its contents are constructed. */
static void dl_info_record(struct da *d)
{
    struct da_target info;
    if (!d->dl_info || da_partition(d, "flashinfo", &info) != XFLASH_OK)
        return;
    memset(d->memory, 0, DL_INFO_BYTES);
    memcpy(d->memory, "DL_INFO", 7);
    (void)da_flash_write(d, info.area, info.at, d->memory, DL_INFO_BYTES);
}

/* Chunks until the announced length is there, then the only word about the flash. */
static void write_target(struct writer *w, uint64_t total)
{
    w->total = total;
    for (uint64_t got = 0; got < total;)
        if (!chunk(w, &got))
            return;
    finish(w);
    if (w->error == XFLASH_OK)
        dl_info_record(w->d);
    da_log(&w->d->link, "write is over");
    da_send_status(w->d, w->error);
}

void da2_write_data(struct da *d)
{
    if (!da_recv_range(d))
        return;
    AUTO(writer_deinit) struct writer w = {.d = d};
    uint32_t status = da_target_check(d, d->range, &w.to);
    if (status == XFLASH_OK && w.to.area == AREA_USER && !da_gpt_load(d))
        status = XFLASH_READ_PT_FAIL;
    if (status == XFLASH_OK && da_guards(d, &w.to))
        status = XFLASH_SEC_WRITE_DATA_NOT_ALLOWED;
    if (status == XFLASH_OK && (w.to.at | w.to.len) % XFLASH_BLOCK_BYTES)
        board_violation(d->b, "xflash.unaligned_write");
    if (w.to.unreadable)
        w.error = XFLASH_MMC_ERR;
    if (da_send_status(d, status) == XFLASH_OK)
        write_target(&w, w.to.len);
}

static uint32_t download_target(struct da *d, const char *name, uint64_t total, struct writer *w)
{
    uint32_t status = da_partition(d, name, &w->to);
    if (status != XFLASH_OK) {
        board_violation(d->b, "xflash.download_of_unknown_name");
        return status;
    }
    w->boot_header = w->to.area != AREA_USER;
    if (total > w->to.len)
        board_violation(d->b, "xflash.image_larger_than_partition");
    if (w->boot_header && total > XFLASH_DA2_WRITE_PACKET_BYTES)
        board_violation(d->b, "xflash.preloader_in_pieces");
    unsigned guards = da_guards(d, &w->to);
    w->guards = guards & (GUARD_VERIFIED | GUARD_BOUND);
    if (guards & GUARD_LOCKED)
        return (uint32_t)XFLASH_SEC_DL_FORBIDDEN;
    return w->guards && total > VERIFY_BYTES ? (uint32_t)XFLASH_SEC_IMG_TOO_LARGE : XFLASH_OK;
}

void da2_download(struct da *d)
{
    char name[XFLASH_NAME_MAX + 1];
    uint8_t length[8] = {0};
    da_link_burst(&d->link, 2);
    if (da_recv_name(d, name) < 0) {
        da_send_word(&d->link, (uint32_t)XFLASH_PARTITION_NOT_FOUND);
        return;
    }
    ptrdiff_t rc = da_recv(&d->link, length, sizeof(length));
    if (rc < 0) {
        da_send_word(&d->link, da_framing_status(rc));
        return;
    }
    AUTO(writer_deinit) struct writer w = {.d = d, .by_name = true};
    uint32_t status = download_target(d, name, get_le64(length), &w);
    if (da_send_status(d, status) == XFLASH_OK)
        write_target(&w, get_le64(length));
}
