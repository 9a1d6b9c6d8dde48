/* spool.h: the append-only file into which a worker puts what must not be lost: backup chunks,
 * manifests, step intents and results. The store reads it while the worker lives and after
 * anybody's crash.
 *
 *   header   magic "FRSPOOL\n", u32 version, u64 job id, u64 created (ms UTC), u32 CRC-32 of these
 * 28 bytes record   u16 type, u16 flags (0), u32 payload length, u32 CRC-32 of these 8 bytes and
 * the payload; payload
 *
 * All numbers little-endian. Records are never changed. A write that was cut off leaves a torn
 * tail: the reader stops in front of it and says where, the writer cuts it off before it goes on.
 * Blocking. */
#ifndef FLASHRACK_USB_WIRE_SPOOL_H
#define FLASHRACK_USB_WIRE_SPOOL_H

#include <jansson.h>

#include "usb/base/buf.h"
#include "usb/base/hash.h"

enum {
    SPOOL_VERSION = 1,
    SPOOL_HEADER_BYTES = 32,
    SPOOL_RECORD_BYTES = 12,         /* the head of a record */
    SPOOL_CHUNK_MAX_BYTES = 1 << 20, /* of raw data in one chunk */
    SPOOL_CHUNK_HEAD_BYTES = 36,     /* SHA-256, u32 raw size */
    /* zstd adds at most 1/256 and a few bytes to data that it cannot compress */
    SPOOL_CHUNK_PAYLOAD_MAX_BYTES = SPOOL_CHUNK_HEAD_BYTES + (1 << 20) + (1 << 13),
    SPOOL_JSON_MAX_BYTES = 1 << 20,
    SPOOL_PARTITION_CHUNKS_MAX = 8192, /* 8 GiB, or what fits the JSON limit */
    SPOOL_BACKUP_PARTITIONS_MAX = 128,
};
#define SPOOL_FILE_MAX_BYTES ((int64_t)16 << 30)

enum spool_type {
    SPOOL_CHUNK = 1,     /* SHA-256 of the raw bytes, u32 raw size, zstd frame */
    SPOOL_PARTITION = 2, /* JSON, struct spool_partition; after its chunks */
    SPOOL_BACKUP = 3, /* JSON, struct spool_backup; after its partitions: now the backup is whole */
    SPOOL_STEP_INTENT =
        4, /* JSON object with "step" and "attempt": written before the phone is touched */
    SPOOL_STEP_RESULT = 5, /* JSON object with "step", "attempt", "code" ... */
    SPOOL_NOTE = 6,        /* JSON object */
    SPOOL_EXTENT = 7,      /* JSON object with "step", "kind", "partition", "phase" ...: before and after
                              bytes go to the phone */
    SPOOL_DONE = 8,        /* JSON object with "code", "failure", "text", "result": the run's end */
};

/* ---- writing (worker) ---- */
struct spool_writer {
    int fd;      /* borrowed; opened for reading and writing */
    int64_t end; /* where the next record goes */
    bool dead;   /* a record could neither be written nor cut off again: nothing more is accepted */
};

/* An empty file gets its header; a file with records of the same job is continued after its last
 * whole record, a torn tail is cut off. ERR_FORMAT: not a spool, or another job's. */
int spool_writer_open(struct spool_writer *w, int fd, int64_t job_id, struct err *err);
/* Appends one record. A failure leaves the file as it was before (ERR_DISK when it is full). */
int spool_append(struct spool_writer *w, enum spool_type type, struct span payload,
                 struct err *err);
/* `zstd` is the compressed frame of raw_bytes bytes whose SHA-256 is `sha256`. */
int spool_append_chunk(struct spool_writer *w, const struct sha256 *sha256, uint32_t raw_bytes,
                       struct span zstd, struct err *err);
int spool_append_json(struct spool_writer *w, enum spool_type type, const json_t *object,
                      struct err *err);
/* fdatasync: what was appended before survives a power cut. */
int spool_sync(struct spool_writer *w, struct err *err);

/* ---- reading (store, station after a restart) ---- */
struct spool_record {
    enum spool_type type;
    int64_t offset;      /* of the record in the file */
    struct span payload; /* borrowed from the reader until the next call */
};
struct spool_chunk {
    struct sha256 sha256;
    uint32_t raw_bytes;
    struct span zstd; /* borrowed */
};
struct spool_reader {
    int fd; /* borrowed */
    int64_t job_id, created_ms;
    int64_t valid_end; /* offset behind the last whole record that was read */
    bool torn;         /* bytes that are no whole record follow valid_end */
    bool
        spoilt; /* and they are not what a write that was cut off leaves: whole records may be among them */
    struct buf buf;
};

/* from_offset: 0, or a valid_end of an earlier reading. ERR_FORMAT: not a spool of a known version.
 */
int spool_reader_open(struct spool_reader *r, int fd, int64_t from_offset, struct err *err);
void spool_reader_deinit(struct spool_reader *r);
/* 1: *out is the next record; 0: the end, see valid_end and torn; negative: reading failed. */
int spool_next(struct spool_reader *r, struct spool_record *out, struct err *err);
int spool_chunk_decode(struct span payload, struct spool_chunk *out, struct err *err);
/* The JSON object of a record that is not a chunk; a new reference. */
int spool_json_decode(struct span payload, json_t **out, struct err *err);

/* ---- the two manifests ---- */
enum spool_plausible { SPOOL_PLAUSIBLE_UNKNOWN, SPOOL_PLAUSIBLE_YES, SPOOL_PLAUSIBLE_NO };
const char *spool_plausible_name(enum spool_plausible p); /* "unknown" "yes" "no" */

/* One image of a backup: a partition, a GPT or a boot area. */
struct spool_partition {  /* names: letters, digits and _-. */
    char name[40];        /* partition name, or pgpt sgpt boot1 boot2 */
    char area[8];         /* USER BOOT1 BOOT2 */
    int64_t offset_bytes; /* within the area */
    int64_t size_bytes;
    struct sha256 sha256; /* of the whole image */
    enum spool_plausible plausible;
    char reason[200];      /* why, in words an operator understands */
    size_t chunk_count;    /* all chunks but the last hold SPOOL_CHUNK_MAX_BYTES */
    struct sha256 *chunks; /* owned */
};
void spool_partition_deinit(struct spool_partition *p);
json_t *spool_partition_encode(const struct spool_partition *p);
int spool_partition_decode(struct span payload, struct spool_partition *out, struct err *err);

/* The whole backup. Its manifest hash (in permits) is the SHA-256 of the record's payload: take it
 * from spool_manifest_append() or of the bytes that a reader returns. */
struct spool_backup {
    char key[40];     /* what it is within its job, as "pre"; a resumed job may take another */
    char chip_id[65]; /* of the phone it was read from, lower-case hex; empty: a file */
    char serial[40];  /* inside its proinfo; empty: none that is plausible */
    char verdict[24]; /* usable | no_elabel | lost | foreign | placeholder: of the set */
    bool complete;    /* every member of the identity set is in it */
    size_t partition_count;
    struct spool_backup_partition {
        char name[40];
        struct sha256 sha256;
    } partitions[SPOOL_BACKUP_PARTITIONS_MAX];
};
int spool_manifest_append(struct spool_writer *w, const struct spool_backup *backup,
                          struct sha256 *manifest_out, struct err *err);
json_t *spool_backup_encode(const struct spool_backup *backup);
int spool_backup_decode(struct span payload, struct spool_backup *out, struct err *err);

#endif
