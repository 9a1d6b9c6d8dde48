/* images.h: images in backups.db, made of chunks (chunks.h). */
#ifndef FLASHRACK_SERVER_STORE_IMAGES_H
#define FLASHRACK_SERVER_STORE_IMAGES_H

#include "server/store/lane.h"
#include "usb/base/buf.h"
#include "usb/wire/spool.h"

/* Unpacks, compares the hash, stores. 1: new, 0: was there. `raw` is scratch of
 * SPOOL_CHUNK_MAX_BYTES. ERR_VERIFY, ERR_FORMAT: the chunk is not what it says. */
int images_put_chunk(struct conn *conn, const struct spool_chunk *chunk, struct buf *raw,
                     struct err *err);
/* Stores the image after all of its chunks were read back and its hash was compared; nothing when
 * it is there already. ERR_VERIFY: a chunk is missing, or the hash or size differs. */
int images_put(struct conn *conn, const struct spool_partition *p, struct buf *raw,
               struct err *err);
/* 1 when an image with this hash and size is stored. */
int images_have(struct db *db, const struct sha256 *sha256, int64_t size_bytes, struct err *err);
/* Writes the image into fd (empty; zeros become holes; -1: nowhere) and compares its hash. ERR_VERIFY,
 * ERR_FORMAT: it is damaged. */
int images_write(struct conn *conn, const struct sha256 *sha256, int64_t size_bytes, int fd,
                 struct err *err);

#endif
