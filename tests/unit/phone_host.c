#include "tests/unit/phone_host.h"

#include <stdarg.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "usb/base/hash.h"
#include "usb/base/mem.h"

enum { IN_BYTES_MAX = 64 << 20, FIRST_LBA = 64, PARTITION_LBAS = 2048 };

static const char *const names[] = {"proinfo", "nvram", "lk_a", "flashinfo", "otp"};

void host_init(struct host *h, uint64_t user_bytes)
{
    *h = (struct host){.checksum_level = XFLASH_CHECKSUM_STORAGE};
    h->b = fake_board_new(&(struct fake_sizes){0x400000, 0x400000, 0x400000, user_bytes});
    buf_init(&h->in, IN_BYTES_MAX);
}

void host_deinit(struct host *h)
{
    fake_board_free(&h->b);
    buf_deinit(&h->in);
}

void host_flash_read(struct host *h, enum board_area area, uint64_t at, void *dst, size_t len)
{
    assert_int_equal(board_flash_read(h->b, area, at, dst, len), 0);
}

void host_flash_write(struct host *h, enum board_area area, uint64_t at, const void *src,
                      size_t len)
{
    assert_int_equal(board_flash_write(h->b, area, at, src, len), 0);
}

struct extent host_partition(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(names[i], name) == 0)
            return (struct extent){(FIRST_LBA + i * PARTITION_LBAS) * XFLASH_BLOCK_BYTES,
                                   PARTITION_LBAS * XFLASH_BLOCK_BYTES};
    fail_msg("no partition %s", name);
    return (struct extent){0, 0};
}

void host_gpt(struct host *h, bool otp)
{
    uint64_t lbas = board_area_size(h->b, AREA_USER) / XFLASH_BLOCK_BYTES;
    AUTO(free_ptr) struct gpt *table = xcalloc(1, sizeof(*table));
    table->sector_bytes = XFLASH_BLOCK_BYTES;
    table->count = ARRAY_LEN(names) - (otp ? 0 : 1);
    for (uint32_t i = 0; i < table->count; i++) {
        struct gpt_entry *e = &table->entries[i];
        e->number = i + 1;
        memcpy(e->type_guid, GPT_TYPE_DATA, sizeof(e->type_guid));
        e->unique_guid[0] = (uint8_t)(i + 1);
        e->first_lba = FIRST_LBA + (uint64_t)i * PARTITION_LBAS;
        e->last_lba = e->first_lba + PARTITION_LBAS - 1;
        snprintf(e->name, sizeof(e->name), "%s", names[i]);
    }
    AUTO(buf_deinit) struct buf bytes;
    buf_init(&bytes, 1 << 20);
    gpt_encode_primary(table, lbas, &bytes);
    host_flash_write(h, AREA_USER, 0, bytes.data, bytes.len);
    buf_clear(&bytes);
    gpt_encode_backup(table, lbas, &bytes);
    host_flash_write(h, AREA_USER, lbas * XFLASH_BLOCK_BYTES - bytes.len, bytes.data, bytes.len);
}

/* ---- host to phone
 * ----------------------------------------------------------------------------------- */

void host_raw(struct host *h, const void *data, size_t len)
{
    fake_board_out(h->b, data, len);
}

void host_hex(struct host *h, const char *hex)
{
    uint8_t raw[256];
    ptrdiff_t n = hex_decode(hex, raw, sizeof(raw));
    assert_true(n >= 0);
    host_raw(h, raw, (size_t)n);
}

void host_header(struct host *h, uint32_t magic, uint32_t length)
{
    uint8_t raw[XFLASH_HEADER_BYTES];
    put_le32(raw, magic);
    put_le32(raw + 4, XFLASH_KIND_FLOW);
    put_le32(raw + 8, length);
    host_raw(h, raw, sizeof(raw));
}

void host_packet(struct host *h, const void *payload, size_t len)
{
    host_header(h, XFLASH_MAGIC, (uint32_t)len);
    if (len)
        host_raw(h, payload, len);
}

void host_word(struct host *h, uint32_t word)
{
    uint8_t raw[4];
    put_le32(raw, word);
    host_packet(h, raw, sizeof(raw));
}

void host_range(struct host *h, uint32_t section, uint64_t address, uint64_t length)
{
    uint8_t raw[XFLASH_RANGE_BYTES] = {XFLASH_STORAGE_EMMC};
    put_le32(raw + 4, section);
    put_le64(raw + 8, address);
    put_le64(raw + 16, length);
    host_packet(h, raw, sizeof(raw));
}

/* ---- phone to host
 * ----------------------------------------------------------------------------------- */

static void gather(struct host *h)
{
    fake_board_take(h->b, &h->in, NULL, 0, NULL);
    assert_int_equal(buf_check(&h->in, NULL), 0);
}

static const uint8_t *next(struct host *h, size_t len)
{
    if (h->in.len - h->at < len)
        gather(h);
    if (h->in.len - h->at < len)
        fail_msg("the phone sent %zu bytes, %zu were expected", h->in.len - h->at, len);
    h->at += len;
    return h->in.data + h->at - len;
}

void host_expect(struct host *h, const void *data, size_t len)
{
    assert_memory_equal(next(h, len), data, len);
}

void host_expect_hex(struct host *h, const char *hex)
{
    uint8_t raw[256];
    ptrdiff_t n = hex_decode(hex, raw, sizeof(raw));
    assert_true(n >= 0);
    host_expect(h, raw, (size_t)n);
}

struct span host_reply(struct host *h)
{
    const uint8_t *header = next(h, XFLASH_HEADER_BYTES);
    assert_int_equal(get_le32(header), XFLASH_MAGIC);
    uint32_t len = get_le32(header + 8);
    return span_of(next(h, len), len);
}

uint32_t host_status(struct host *h)
{
    struct span s = host_reply(h);
    assert_int_equal(s.len, 4);
    return get_le32(s.data);
}

void host_quiet(struct host *h)
{
    gather(h);
    assert_int_equal(h->in.len - h->at, 0);
}

void host_alive(struct host *h)
{
    host_quiet(h);
    assert_int_equal(fake_board_left(h->b), 0);
    host_control(h, XFLASH_GET_DA_VERSION);
    struct span version = host_reply(h);
    assert_int_equal(version.len, 3);
    assert_memory_equal(version.data, "1.0", 3);
    assert_int_equal(host_status(h), 0);
    host_quiet(h);
}

void host_dead(struct host *h)
{
    host_quiet(h);
    host_word(h, XFLASH_DEVICE_CTRL);
    host_word(h, XFLASH_DEVICE_CTRL);
    host_quiet(h);
    assert_int_equal(fake_board_next(h->b), FAKE_NEXT_RUNNING);
}

/* ---- conversations
 * ------------------------------------------------------------------------------------ */

static void start_sequence(struct host *h)
{
    static const uint8_t start[] = {0xa0, 0x0a, 0x50, 0x05};
    for (size_t i = 0; i < sizeof(start); i++) {
        host_raw(h, &start[i], 1);
        uint8_t answer = (uint8_t)~start[i];
        host_expect(h, &answer, 1);
    }
}

void host_brom(struct host *h)
{
    fake_board_start(h->b, brom_run);
    start_sequence(h);
}

void host_preloader(struct host *h)
{
    fake_board_start(h->b, preloader_run);
    host_hex(h, "a0"); /* swallowed */
    host_quiet(h);
    start_sequence(h);
}

static void echoed(struct host *h, const uint8_t *field, size_t len)
{
    host_raw(h, field, len);
    host_expect(h, field, len);
}

void host_send_da(struct host *h, struct span image, uint32_t signature_bytes)
{
    static const uint8_t command[] = {0xd7};
    uint8_t field[4];
    echoed(h, command, 1);
    put_be32(field, 0x00200000);
    echoed(h, field, 4);
    put_be32(field, (uint32_t)image.len);
    echoed(h, field, 4);
    put_be32(field, signature_bytes);
    echoed(h, field, 4);
    host_expect_hex(h, "0000");
    host_raw(h, image.data, image.len);
}

void host_jump(struct host *h)
{
    static const uint8_t command[] = {0xd5};
    uint8_t field[4];
    echoed(h, command, 1);
    put_be32(field, 0x00200000);
    echoed(h, field, 4);
    host_expect_hex(h, "0000 c0");
}

void host_da1(struct host *h)
{
    static const uint8_t image[48] = {0};
    host_send_da(h, span_of(image, sizeof(image)), 16);
    host_expect_hex(h, "0000 0000");
    host_jump(h);
    uint8_t env[XFLASH_ENVIRONMENT_BYTES] = {2};
    put_le32(env + 4, h->log_channel);
    put_le32(env + 8, h->host_os);
    host_word(h, XFLASH_SYNC);
    host_word(h, XFLASH_SETUP_ENVIRONMENT);
    host_packet(h, env, sizeof(env));
    assert_int_equal(host_status(h), 0);
    host_word(h, XFLASH_SETUP_HW_INIT_PARAMS);
    host_word(h, 0);
    assert_int_equal(host_status(h), 0);
    while (h->log_channel > 1 && host_reply(h).len != 4)
        ;
    if (h->log_channel <= 1)
        assert_int_equal(host_status(h), XFLASH_SYNC);
}

/* A block without entries, which fits every phone. */
static void init_ext_ram(struct host *h)
{
    uint8_t block[0x70] = "MTK_BLOADER_INFO_v36";
    memcpy(block + 0x58, "V116", 4);
    put_le32(block + 0x5c, 0x33448822);
    put_le32(block + 0x60, 0x00700090);
    memcpy(block + 0x64, "MTK_BIN", 7);
    host_command(h, XFLASH_INIT_EXT_RAM);
    host_word(h, sizeof(block));
    host_packet(h, block, sizeof(block));
    assert_int_equal(host_status(h), 0);
}

void host_da2(struct host *h)
{
    if (h->checksum_level != XFLASH_CHECKSUM_STORAGE) {
        host_control(h, XFLASH_SET_CHECKSUM_LEVEL);
        host_word(h, h->checksum_level);
        assert_int_equal(host_status(h), 0);
    }
    if (board_ram(h->b)->from_brom)
        init_ext_ram(h);
    uint8_t target[16] = {0}, image[32] = {0};
    put_le64(target, 0x40000000);
    put_le64(target + 8, sizeof(image));
    host_command(h, XFLASH_BOOT_TO);
    host_packet(h, target, sizeof(target));
    host_packet(h, image, sizeof(image));
    assert_int_equal(host_status(h), 0);
    assert_int_equal(host_status(h), XFLASH_SYNC);
}

void host_command(struct host *h, uint32_t code)
{
    host_word(h, code);
    assert_int_equal(host_status(h), 0);
}

void host_control(struct host *h, uint32_t code)
{
    host_command(h, XFLASH_DEVICE_CTRL);
    host_word(h, code);
    assert_int_equal(host_status(h), 0);
}

void host_chunk(struct host *h, const void *data, size_t len)
{
    host_word(h, 0);
    host_word(h, xflash_checksum(span_of(data, len)));
    host_packet(h, data, len);
}

uint8_t *host_linear(unsigned m, unsigned a, size_t len)
{
    uint8_t *out = xcalloc(1, len);
    for (size_t i = 0; i < len; i++)
        out[i] = (uint8_t)(m * i + a);
    return out;
}
