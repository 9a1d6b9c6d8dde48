/* chunks.h: rows of table chunk: equal contents once, packed, and sealed when the station has a key. */
#ifndef FLASHRACK_SERVER_STORE_CHUNKS_H
#define FLASHRACK_SERVER_STORE_CHUNKS_H

#include "server/store/lane.h"
#include "usb/wire/spool.h"

/* Columns of a statement that chunks_row() reads. */
#define CHUNKS_COLUMNS "c.id, c.content_id, c.raw_bytes, c.key_id, c.packed"

struct stored_chunk {
    int64_t id, raw_bytes, key_id; /* key_id 0: plain */
    struct sha256 content_id;
    struct span packed; /* borrowed from the statement */
};

/* What the chunk is sealed about: a seal opens only at its own content id and size. */
#define CHUNKS_ABOUT_BYTES 40
struct chunk_about {
    uint8_t bytes[CHUNKS_ABOUT_BYTES];
};
struct chunk_about chunks_about(const struct sha256 *content_id, int64_t raw_bytes);

/* The statement's row. ERR_VERIFY: it is damaged. */
int chunks_row(sqlite3_stmt *stmt, struct stored_chunk *out, struct err *err);
/* 1: the row of contents with this hash, the statement stands on it; 0: there is none. */
int chunks_find(struct conn *conn, const struct sha256 *sha256, sqlite3_stmt **stmt,
                struct stored_chunk *out, struct err *err);
/* The zstd frame, borrowed from the row or from `scratch`. ERR_VERIFY: its seal is broken. */
int chunks_frame(const struct conn *conn, const struct stored_chunk *chunk, struct buf *scratch,
                 struct span *frame_out, struct err *err);
/* Puts the contents alone into `raw`. ERR_VERIFY, ERR_FORMAT: damaged. The caller compares a hash. */
int chunks_unpack(const struct conn *conn, const struct stored_chunk *chunk, struct buf *scratch,
                  struct buf *raw, struct err *err);
/* ERR_VERIFY: the contents do not have this hash. */
int chunks_compare(struct span raw, const struct sha256 *want, struct err *err);
/* Stores a chunk whose contents were compared with its hash, in the place of one with its name if there is one; its id. */
int64_t chunks_put(struct conn *conn, const struct spool_chunk *chunk, struct err *err);

/* On the loop, once: seals what is not sealed with the newest key, some at a time in LANE_INGEST. */
void reseal_start(struct store *s);

#endif
