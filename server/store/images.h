/* images.h: images in backups.db, made of chunks (chunks.h). */
#ifndef FLASHRACK_SERVER_STORE_IMAGES_H
#define FLASHRACK_SERVER_STORE_IMAGES_H

#include "server/store/lane.h"
#include "usb/base/buf.h"
#include "usb/wire/spool.h"

/* Chunks and images on their way in. What is stored already is not believed but read again, and put right where the disk
 * lost it: the spool may hold the only good copy there is. */
struct images_in {
    struct conn *conn;
    struct buf scratch, raw; /* an opened seal; an unpacked chunk */
    json_t *whole;           /* chunks that were compared; hash: id of the row */
    int64_t repaired;        /* chunks and images that are stored anew */
};
void images_in_init(struct images_in *in, struct conn *conn);
void images_in_deinit(struct images_in *in);

/* Unpacks, compares the hash, stores. 1: new, or put in the place of a damaged one; 0: was there, whole. ERR_VERIFY,
 * ERR_FORMAT: the chunk is not what it says. */
int images_put_chunk(struct images_in *in, const struct spool_chunk *chunk, struct err *err);
/* Stores the image after all of its chunks were read back and its hash was compared; nothing when it is there already and
 * is made of chunks that were compared. ERR_VERIFY: a chunk is missing or damaged, or the hash or size differs. */
int images_put(struct images_in *in, const struct spool_partition *p, struct err *err);
/* 1 when an image with this hash and size is stored. */
int images_have(struct db *db, const struct sha256 *sha256, int64_t size_bytes, struct err *err);
/* Writes the image into fd (empty; zeros become holes; -1: nowhere) and compares its hash. ERR_VERIFY,
 * ERR_FORMAT: it is damaged. */
int images_write(struct conn *conn, const struct sha256 *sha256, int64_t size_bytes, int fd,
                 struct err *err);

#endif
