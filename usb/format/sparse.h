/* sparse.h: Android sparse images as a stream. The reader is fed bytes in any pieces and calls a
 * sink with extents of the output in rising order; it never holds more than a header. The writer
 * cuts a raw image into pieces that a phone's LK accepts. Layout and LK's rules: README.md,
 * "Android sparse". */
#ifndef FLASHRACK_USB_FORMAT_SPARSE_H
#define FLASHRACK_USB_FORMAT_SPARSE_H

#include "usb/base/buf.h"
#include "usb/base/err.h"
#include "usb/base/span.h"

#define SPARSE_MAGIC        0xed26ff3au
#define SPARSE_HEADER_BYTES 28
#define SPARSE_CHUNK_BYTES  12

struct sparse_header {
    uint16_t header_bytes, chunk_header_bytes;
    uint32_t block_bytes, total_blocks, total_chunks, checksum;
};

bool sparse_is(struct span head); /* the first four bytes are enough */
int sparse_header_decode(struct span head, struct sparse_header *out, struct err *err);
static inline uint64_t sparse_output_bytes(const struct sparse_header *h)
{
    return (uint64_t)h->total_blocks * h->block_bytes;
}

enum sparse_kind { SPARSE_RAW, SPARSE_FILL, SPARSE_DONT_CARE };
/* A part of the output. A RAW chunk comes in as many parts as its bytes were fed in. */
struct sparse_extent {
    enum sparse_kind kind;
    uint64_t offset, length; /* bytes of the output */
    const uint8_t *data;     /* RAW: length bytes, borrowed for the call */
    uint8_t fill[4]; /* FILL: the pattern, from its first byte (length is a multiple of 4) */
};
/* Returns 0, or a negative ERR_* that stops the reader and is handed on. */
typedef int sparse_sink_fn(void *arg, const struct sparse_extent *e, struct err *err);

struct sparse_options {
    uint64_t output_bytes_max; /* size of the partition */
    bool skip_crc; /* do not compute CRC-32; an image that carries one is then ERR_UNSUPPORTED. For
                      files known to carry none (sparse_scan): the sum costs as much as a SHA-256 */
};
struct sparse_reader;
struct sparse_reader *sparse_reader_new(const struct sparse_options *options, sparse_sink_fn *sink,
                                        void *arg);
/* The next bytes of the file. ERR_FORMAT says at which chunk the file is wrong. */
int sparse_feed(struct sparse_reader *r, struct span in, struct err *err);
/* At the end of the file: everything there, block count and image checksum right. */
int sparse_finish(struct sparse_reader *r, struct err *err);
/* Bytes of output so far, and (after the header) the whole. */
uint64_t sparse_position(const struct sparse_reader *r);
const struct sparse_header *
sparse_reader_header(const struct sparse_reader *r); /* NULL before it */
/* Bytes behind the last chunk, which are ignored; worth a warning when not 0. */
uint64_t sparse_trailing_bytes(const struct sparse_reader *r);
void sparse_reader_free(struct sparse_reader **r);

/* Random access to a file: exactly `len` bytes at `offset`. */
typedef int sparse_read_fn(void *arg, uint64_t offset, void *dst, size_t len, struct err *err);
/* Walks the chunk headers only: does the file carry checksums (or so many chunks that looking costs
 * more than adding up)? For sparse_options.skip_crc. */
int sparse_has_crc(sparse_read_fn *read, void *arg, uint64_t file_bytes, bool *out,
                   struct err *err);

/* ---- writing -------------------------------------------------------------------------------- */

/* Fills all `len` bytes of dst with the next bytes of a stream; negative to stop. */
typedef int sparse_source_fn(void *arg, void *dst, size_t len, struct err *err);

#define SPARSE_PIECE_BLOCKS_MIN 3
struct sparse_writer_options {
    uint64_t image_bytes;     /* a multiple of block_bytes */
    uint32_t block_bytes;     /* a multiple of 4 */
    uint64_t piece_bytes_max; /* the phone's max-download-size, or less */
};
/* The image is read once, from its start to its end, and nothing of it is kept. Fields are the writer's own. */
struct sparse_writer {
    struct sparse_writer_options options;
    sparse_source_fn *source;
    void *arg;
    uint32_t total_blocks;
    uint32_t first_block, block_count;                           /* of this piece */
    uint8_t frame[SPARSE_HEADER_BYTES + 2 * SPARSE_CHUNK_BYTES]; /* headers that come next */
    size_t frame_len, frame_at;
    uint64_t left_bytes; /* of the blocks of this piece */
};
/* ERR_INPUT when sizes do not fit or a piece would hold fewer than 3 blocks. */
int sparse_writer_init(struct sparse_writer *w, const struct sparse_writer_options *options,
                       sparse_source_fn *source, void *arg, struct err *err);
/* Begins the next piece: its size in bytes (for "download:"), 0 after the last. The piece before must have been
 * read to its end. A piece that failed means a new writer: it is never repeated alone. */
uint32_t sparse_writer_next(struct sparse_writer *w);
/* The next `len` bytes of the piece; a sparse_source_fn whose arg is the writer. */
int sparse_writer_source(void *arg, void *dst, size_t len, struct err *err);

#endif
