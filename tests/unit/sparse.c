/* Rows for Android sparse images: reading in any pieces, refusing, and pieces that LK accepts. */
#include "tests/unit/rows.h"

#include "usb/base/hash.h"
#include "usb/base/mem.h"
#include "usb/format/sparse.h"

enum { RAW = 0xcac1, FILL = 0xcac2, DONT_CARE = 0xcac3, CRC = 0xcac4, BLOCK = 16 };

struct chunk {
    uint16_t type;
    uint32_t blocks, total; /* total 0: what is right */
    const char *body;
    uint32_t body_len;
};
#define BODY(s) s, sizeof(s) - 1

static struct buf image, output;

static void make(const struct chunk *chunks, uint32_t count, uint32_t total_blocks,
                 uint32_t checksum)
{
    buf_clear(&image);
    buf_put_le32(&image, SPARSE_MAGIC);
    buf_put_le32(&image, 1); /* version 1.0 */
    buf_put_le16(&image, 28);
    buf_put_le16(&image, 12);
    buf_put_le32(&image, BLOCK);
    buf_put_le32(&image, total_blocks);
    buf_put_le32(&image, count);
    buf_put_le32(&image, checksum);
    for (uint32_t i = 0; i < count; i++) {
        buf_put_le16(&image, chunks[i].type);
        buf_put_le16(&image, 0);
        buf_put_le32(&image, chunks[i].blocks);
        buf_put_le32(&image, chunks[i].total ? chunks[i].total : 12 + chunks[i].body_len);
        buf_put(&image, chunks[i].body, chunks[i].body_len);
    }
}

/* Writes the output as simg2img would; what nobody cares about is zeros. */
static int unfold(void *arg, const struct sparse_extent *e, struct err *err)
{
    (void)arg, (void)err;
    assert_int_equal(e->offset, output.len);
    for (uint64_t i = 0; e->kind == SPARSE_FILL && i < e->length; i += 4)
        buf_put(&output, e->fill, 4);
    if (e->kind == SPARSE_RAW)
        buf_put(&output, e->data, (size_t)e->length);
    if (e->kind == SPARSE_DONT_CARE)
        buf_put_zeros(&output, (size_t)e->length);
    return 0;
}

static int read_in_steps(size_t step, const struct sparse_options *options, struct err *err)
{
    buf_clear(&output);
    struct sparse_reader *r = sparse_reader_new(options, unfold, NULL);
    int rc = 0;
    for (size_t at = 0; rc >= 0 && at < image.len; at += step)
        rc = sparse_feed(r, span_sub(buf_span(&image), at, step), err);
    if (rc >= 0)
        rc = sparse_finish(r, err);
    sparse_reader_free(&r);
    return rc;
}

static const struct sparse_options roomy = {.output_bytes_max = 1 << 20};
#define RAW1                                                                                       \
    {                                                                                              \
        RAW, 1, 0, BODY("0123456789abcdef")                                                        \
    }
static const char expected[] = "0123456789abcdef"
                               "wxyzwxyzwxyzwxyz"
                               "wxyzwxyzwxyzwxyz"
                               "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

static void every_split_gives_the_same(void **state)
{
    (void)state;
    uint32_t sum = crc32_of(0, span_of(expected, 64));
    char sum_bytes[4];
    put_le32((uint8_t *)sum_bytes, sum);
    const struct chunk chunks[] = {
        RAW1, {FILL, 2, 0, BODY("wxyz")}, {DONT_CARE, 1, 0, BODY("")}, {CRC, 0, 0, sum_bytes, 4}};
    make(chunks, 4, 4, sum);
    for (size_t step = 1; step <= image.len; step++) {
        struct err err;
        if (read_in_steps(step, &roomy, &err) < 0)
            fail_msg("step %zu: %s", step, err.text);
        assert_int_equal(output.len, 64);
        assert_memory_equal(output.data, expected, 64);
    }
    for (size_t len = 0; len < image.len; len++) { /* cut anywhere, it is an error */
        size_t whole = image.len;
        image.len = len;
        assert_int_equal(read_in_steps(13, &roomy, NULL), ERR_FORMAT);
        image.len = whole;
    }
}

static const struct bad_row {
    const char *name;
    struct chunk chunks[2];
    uint32_t count, total_blocks, checksum;
    size_t at; /* u16 to change in the file; 0: none */
    uint16_t value;
    int want;
    const char *says;
} bad_rows[] = {
    {"fine", {RAW1}, 1, 1, 0, 0, 0, 0, ""},
    {"empty image", {{0}}, 0, 0, 0, 0, 0, 0, ""},
    {"minor version is not looked at", {RAW1}, 1, 1, 0, 6, 9, 0, ""},
    {"magic", {RAW1}, 1, 1, 0, 2, 1, ERR_FORMAT, "not an Android sparse"},
    {"major version", {RAW1}, 1, 1, 0, 4, 2, ERR_UNSUPPORTED, "version 2"},
    {"header too short", {RAW1}, 1, 1, 0, 8, 27, ERR_FORMAT, "header sizes"},
    {"chunk header too short", {RAW1}, 1, 1, 0, 10, 11, ERR_FORMAT, "header sizes"},
    {"block size 0", {RAW1}, 1, 1, 0, 12, 0, ERR_FORMAT, "blocks of 0"},
    {"block size 18", {RAW1}, 1, 1, 0, 12, 18, ERR_FORMAT, "blocks of 18"},
    {"larger than the partition", {RAW1}, 1, 0x10001, 0, 0, 0, ERR_LIMIT, "there is room for"},
    {"block count overflows 32 bits", {RAW1}, 1, 0xffffffff, 0, 0, 0, ERR_LIMIT, "68719476720"},
    {"too few blocks", {RAW1}, 1, 2, 0, 0, 0, ERR_FORMAT, "1 of 2 blocks"},
    {"too many blocks", {RAW1, RAW1}, 2, 1, 0, 0, 0, ERR_FORMAT, "chunk 1 of 2: more blocks"},
    {"raw with a wrong size",
     {{RAW, 1, 27, BODY("0123456789abcdef")}},
     1,
     1,
     0,
     0,
     0,
     ERR_FORMAT,
     "size"},
    {"fill with a wrong size", {{FILL, 1, 20, BODY("wxyz")}}, 1, 1, 0, 0, 0, ERR_FORMAT, "size"},
    {"don't-care with a body",
     {{DONT_CARE, 1, 0, BODY("wxyz")}},
     1,
     1,
     0,
     0,
     0,
     ERR_FORMAT,
     "size"},
    {"unknown type", {{0xcac5, 0, 0, BODY("")}}, 1, 0, 0, 0, 0, ERR_FORMAT, "unknown type"},
    {"checksum chunk is wrong",
     {RAW1, {CRC, 0, 0, BODY("wxyz")}},
     2,
     1,
     0,
     0,
     0,
     ERR_FORMAT,
     "chunk 1 of 2: checksum"},
    {"checksum chunk with blocks",
     {RAW1, {CRC, 1, 0, BODY("wxyz")}},
     2,
     2,
     0,
     0,
     0,
     ERR_FORMAT,
     "covers"},
    {"image checksum is wrong", {RAW1}, 1, 1, 5, 0, 0, ERR_FORMAT, "damaged"},
};

static void images_are_judged(void **state)
{
    const struct bad_row *row = ROW(state);
    make(row->chunks, row->count, row->total_blocks, row->checksum);
    if (row->at)
        put_le16(image.data + row->at, row->value);
    for (size_t step = 1; step < 64; step += 31) {
        struct err err = {0};
        assert_int_equal(read_in_steps(step, &roomy, &err), row->want);
        if (!strstr(err.text, row->says))
            fail_msg("'%s' does not say '%s'", err.text, row->says);
    }
}

static void surplus_of_headers_is_skipped(void **state)
{
    (void)state;
    const struct chunk chunk = RAW1;
    make(&chunk, 1, 1, 0);
    struct buf b;
    buf_init(&b, 1 << 16);
    buf_put(&b, image.data, 28);
    put_le16(b.data + 8, 33);
    put_le16(b.data + 10, 19);
    buf_put(&b, "12345", 5);
    buf_put(&b, image.data + 28, 12);
    put_le32(b.data + 33 + 8, 19 + BLOCK);
    buf_put(&b, "1234567", 7);
    buf_put(&b, image.data + 40, BLOCK);
    buf_clear(&image);
    buf_put_span(&image, buf_span(&b));
    buf_deinit(&b);
    for (size_t step = 1; step <= image.len; step++) {
        assert_int_equal(read_in_steps(step, &roomy, NULL), 0);
        assert_memory_equal(output.data, expected, BLOCK);
    }
}

static void trailing_bytes_are_counted(void **state)
{
    (void)state;
    const struct chunk chunk = RAW1;
    make(&chunk, 1, 1, 0);
    buf_put(&image, "surplus", 7);
    buf_clear(&output);
    struct sparse_reader *r = sparse_reader_new(&roomy, unfold, NULL);
    assert_int_equal(sparse_feed(r, buf_span(&image), NULL), 0);
    assert_int_equal(sparse_finish(r, NULL), 0);
    assert_int_equal(sparse_trailing_bytes(r), 7);
    sparse_reader_free(&r);
}

static int from_memory(void *arg, uint64_t offset, void *dst, size_t len, struct err *err)
{
    const struct buf *b = arg;
    if (offset + len > b->len)
        return err_set(err, ERR_FORMAT, "past the end");
    memcpy(dst, b->data + offset, len);
    return 0;
}

static void checksums_can_be_left_out(void **state)
{
    (void)state;
    const struct sparse_options quick = {.output_bytes_max = 1 << 20, .skip_crc = true};
    const struct chunk chunks[] = {RAW1, {CRC, 0, 0, BODY("wxyz")}};
    bool has_crc = true;
    make(chunks, 1, 1, 0);
    assert_int_equal(sparse_has_crc(from_memory, &image, image.len, &has_crc, NULL), 0);
    assert_false(has_crc);
    assert_int_equal(read_in_steps(7, &quick, NULL), 0);
    make(chunks, 2, 1, 0);
    assert_int_equal(sparse_has_crc(from_memory, &image, image.len, &has_crc, NULL), 0);
    assert_true(has_crc);
    assert_int_equal(read_in_steps(7, &quick, NULL),
                     ERR_UNSUPPORTED); /* never silently unchecked */
    make(chunks, 1, 1, 9);
    assert_int_equal(sparse_has_crc(from_memory, &image, image.len, &has_crc, NULL), 0);
    assert_true(has_crc);
    assert_int_equal(read_in_steps(7, &quick, NULL), ERR_UNSUPPORTED);
}

static void crc_of_words_equals_crc_of_bytes(void **state)
{
    (void)state;
    const uint8_t word[4] = {1, 2, 3, 4};
    uint8_t many[4 * 1000];
    for (size_t i = 0; i < sizeof(many); i++)
        many[i] = word[i % 4];
    for (uint64_t n = 0; n <= 1000; n += 37)
        assert_int_equal(crc32_word(0x12345678, word, n),
                         crc32_of(0x12345678, span_of(many, (size_t)n * 4)));
}

/* ---- pieces
 * --------------------------------------------------------------------------------------- */

static struct buf raw, piece;

/* What LK checks (README.md, "Android sparse"), and writes: only RAW, the rest keeps what it holds. */
static void lk_takes(uint8_t *flash, uint64_t partition_bytes)
{
    uint32_t blk = get_le32(piece.data + 12), total = get_le32(piece.data + 16), blocks = 0;
    assert_true((uint64_t)total * blk <= partition_bytes);
    size_t at = 28;
    for (uint32_t i = 0; i < get_le32(piece.data + 20); i++) {
        uint16_t type = get_le16(piece.data + at);
        uint32_t n = get_le32(piece.data + at + 4), size = get_le32(piece.data + at + 8);
        uint8_t *to = flash + (uint64_t)blocks * blk;
        if (type == RAW) {
            assert_int_equal(size, 12 + n * blk);
            memcpy(to, piece.data + at + 12, (size_t)n * blk);
        } else {
            assert_int_equal(type, DONT_CARE); /* never a checksum chunk */
            assert_int_equal(size, 12);
        }
        blocks += n;
        at += size;
    }
    assert_int_equal(blocks, total);
    assert_int_equal(at, piece.len);
}

static const struct piece_row {
    const char *name;
    size_t image_bytes;
    uint32_t block_bytes;
    uint64_t limit;
    size_t sizes[6]; /* of the pieces; 0: not looked at */
} piece_rows[] = {
    /* as Debian's fastboot cuts 3 MiB for max-download-size 0x100000 */
    {"as libsparse", 3 << 20, 4096, 0x100000, {1044532, 1044544, 1044544, 12340}},
    {"limit that is no multiple of blocks",
     3 << 20,
     4096,
     0x100fff,
     {1044532, 1044544, 1044544, 12340}},
    {"one piece", 1 << 20, 4096, 128 << 20, {28 + 12 + (1 << 20)}},
    {"sectors", 512 * 1001, 512, 0x4000, {0}},
    {"smallest pieces",
     4096 * 7,
     4096,
     3 * 4096,
     {28 + 12 + 8192 + 12, 28 + 24 + 8192 + 12, 28 + 24 + 8192 + 12, 28 + 24 + 4096}},
};

static void fill_raw(const struct piece_row *row)
{
    buf_clear(&raw);
    buf_put_zeros(&raw, row->image_bytes);
    uint32_t x = 7;
    for (size_t i = 0; i < raw.len; i++) {
        x = x * 1664525 + 1013904223;
        bool noise = (i / 4096 / 3) % 2 == 0; /* three blocks noise, three of one word */
        raw.data[i] = noise ? (uint8_t)(x >> 24) : (uint8_t)(0xe0 | (i & 3));
    }
}

static size_t raw_at; /* what the writer took so far */

static int from_raw(void *arg, void *dst, size_t len, struct err *err)
{
    (void)arg;
    if (len > raw.len - raw_at)
        return err_set(err, ERR_FORMAT, "the image ends early");
    memcpy(dst, raw.data + raw_at, len);
    raw_at += len;
    return 0;
}

/* The piece in parts of `step` bytes. */
static void piece_read(struct sparse_writer *w, uint32_t size, uint32_t step)
{
    buf_clear(&piece);
    for (uint32_t done = 0; done < size; done += step) {
        uint32_t n = MIN_OF(step, size - done);
        assert_int_equal(sparse_writer_source(w, buf_grow(&piece, n), n, NULL), 0);
    }
}

static void pieces_are_what_lk_accepts(void **state)
{
    const struct piece_row *row = ROW(state);
    static const uint32_t steps[] = {1 << 20, 512 << 10, 1021};
    fill_raw(row);
    AUTO(free_ptr) uint8_t *flash = malloc(row->image_bytes);
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        memset(flash, 0xaa, row->image_bytes);
        struct sparse_writer_options options = {row->image_bytes, row->block_bytes, row->limit};
        struct sparse_writer w;
        raw_at = 0;
        assert_int_equal(sparse_writer_init(&w, &options, from_raw, NULL, NULL), 0);
        uint32_t size;
        for (size_t count = 0; (size = sparse_writer_next(&w)) > 0; count++) {
            assert_true(size <= row->limit);
            piece_read(&w, size, steps[i]);
            assert_int_equal(sparse_writer_source(&w, &size, 1, NULL), ERR_INTERNAL);
            if (row->sizes[0])
                assert_int_equal(piece.len, row->sizes[count]);
            lk_takes(flash, row->image_bytes);
        }
        assert_int_equal(raw_at, raw.len);
        assert_memory_equal(flash, raw.data, raw.len);
    }
}

static void impossible_pieces_are_refused(void **state)
{
    (void)state;
    static const struct sparse_writer_options bad[] = {
        {4095, 4096, 1 << 20}, {0, 4096, 1 << 20}, {8192, 4096, 8192},
        {8192, 0, 8192},       {8190, 6, 8192},    {1ull << 50, 4096, 1 << 20},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct sparse_writer w;
        assert_int_equal(sparse_writer_init(&w, &bad[i], from_raw, NULL, NULL), ERR_INPUT);
    }
}

static void a_read_error_stops_the_writer(void **state)
{
    (void)state;
    buf_clear(&raw);
    buf_put_zeros(&raw, 4096); /* half of what is announced */
    raw_at = 0;
    struct sparse_writer_options options = {8192, 4096, 1 << 20};
    struct sparse_writer w;
    uint8_t all[28 + 12 + 8192];
    assert_int_equal(sparse_writer_init(&w, &options, from_raw, NULL, NULL), 0);
    assert_int_equal(sparse_writer_next(&w), sizeof(all));
    assert_int_equal(sparse_writer_source(&w, all, sizeof(all), NULL), ERR_FORMAT);
}

int main(void)
{
    buf_init(&image, 1 << 20);
    buf_init(&output, 1 << 20);
    buf_init(&raw, 8 << 20);
    buf_init(&piece, 8 << 20);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_split_gives_the_same),
        cmocka_unit_test(surplus_of_headers_is_skipped),
        cmocka_unit_test(trailing_bytes_are_counted),
        cmocka_unit_test(checksums_can_be_left_out),
        cmocka_unit_test(crc_of_words_equals_crc_of_bytes),
        cmocka_unit_test(impossible_pieces_are_refused),
        cmocka_unit_test(a_read_error_stops_the_writer),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    failed += RUN_ROWS(images_are_judged, bad_rows);
    failed += RUN_ROWS(pieces_are_what_lk_accepts, piece_rows);
    buf_deinit(&image);
    buf_deinit(&output);
    buf_deinit(&raw);
    buf_deinit(&piece);
    return failed;
}
