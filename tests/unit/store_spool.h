/* store_spool.h: writes spools as a worker does. */
#ifndef FLASHRACK_TESTS_STORE_SPOOL_H
#define FLASHRACK_TESTS_STORE_SPOOL_H

#include "tests/unit/store_bench.h"

#include <sys/mman.h>

#include "usb/archive/chunk.h"
#include "usb/base/hash.h"
#include "usb/wire/spool.h"

struct spooling {
    int fd;
    struct spool_writer writer;
    struct spool_backup backup;
};

static inline void spooling_open(struct spooling *s, int64_t job_id)
{
    struct err err = {0};
    memset(s, 0, sizeof(*s));
    s->fd = memfd_create("spool", MFD_CLOEXEC);
    assert_int_equal(spool_writer_open(&s->writer, s->fd, job_id, &err), 0);
}

static inline struct sha256 spooling_chunk(struct spooling *s, struct span raw)
{
    struct err err = {0};
    struct buf packed;
    buf_init(&packed, CHUNK_PACKED_MAX);
    struct sha256 hash = sha256_of(raw);
    assert_int_equal(chunk_compress(raw, &packed, &err), 0);
    assert_int_equal(
        spool_append_chunk(&s->writer, &hash, (uint32_t)raw.len, buf_span(&packed), &err), 0);
    buf_deinit(&packed);
    return hash;
}

/* An image as chunks and its manifest; it becomes a member of the backup. */
static inline void spooling_image(struct spooling *s, const char *name, struct span data,
                                  enum spool_plausible plausible)
{
    struct spool_partition p = {.area = "USER",
                                .size_bytes = (int64_t)data.len,
                                .sha256 = sha256_of(data),
                                .plausible = plausible};
    struct spool_backup_partition *member = &s->backup.partitions[s->backup.partition_count++];
    snprintf(p.name, sizeof(p.name), "%s", name);
    snprintf(member->name, sizeof(member->name), "%s", name);
    member->sha256 = p.sha256;
    p.chunks = xcalloc(data.len / CHUNK_BYTES + 1, sizeof(*p.chunks));
    for (size_t at = 0; at < data.len; at += CHUNK_BYTES)
        p.chunks[p.chunk_count++] = spooling_chunk(s, span_sub(data, at, CHUNK_BYTES));
    json_auto_t *manifest = spool_partition_encode(&p);
    assert_int_equal(spool_append_json(&s->writer, SPOOL_PARTITION, manifest, NULL), 0);
    spool_partition_deinit(&p);
}

static inline struct sha256 spooling_finish_as(struct spooling *s, const char *key,
                                               const char *chip_id, const char *serial,
                                               const char *verdict, bool complete)
{
    struct sha256 manifest;
    struct err err = {0};
    snprintf(s->backup.key, sizeof(s->backup.key), "%s", key);
    snprintf(s->backup.chip_id, sizeof(s->backup.chip_id), "%s", chip_id);
    snprintf(s->backup.serial, sizeof(s->backup.serial), "%s", serial);
    snprintf(s->backup.verdict, sizeof(s->backup.verdict), "%s", verdict);
    s->backup.complete = complete;
    assert_int_equal(spool_manifest_append(&s->writer, &s->backup, &manifest, &err), 0);
    assert_int_equal(spool_sync(&s->writer, &err), 0);
    return manifest;
}

static inline struct sha256 spooling_finish(struct spooling *s, const char *key,
                                            const char *chip_id, const char *serial)
{
    return spooling_finish_as(s, key, chip_id, serial, "usable", true);
}

/* Bytes that do not compress and are the same for the same seed. */
static inline struct span noise(size_t len, uint32_t seed)
{
    uint8_t *data = xcalloc(len, 1);
    for (size_t i = 0; i < len; i++) {
        seed = seed * 1664525 + 1013904223;
        data[i] = (uint8_t)(seed >> 24);
    }
    return span_of(data, len);
}

static inline void span_free(struct span *s)
{
    free((void *)(uintptr_t)s->data);
}

#endif
