#include "usb/codec/xflash.h"

#include "usb/base/mem.h"

int xflash_header_decode(struct span in, struct xflash_header *out, struct err *err)
{
    struct reader r = reader_of(in); /* past the end reads 0 and remembers it */
    uint32_t magic = rd_le32(&r);
    struct xflash_header msg;
    msg.kind = rd_le32(&r);
    msg.length_bytes = rd_le32(&r);
    if (!reader_done(&r) || magic != XFLASH_MAGIC || msg.length_bytes > XFLASH_PAYLOAD_MAX)
        return err_set(err, ERR_PROTOCOL, "xflash header: magic %08x, %u bytes", magic,
                       msg.length_bytes);
    *out = msg;
    return 0;
}

void xflash_header_store(uint32_t kind, uint32_t length_bytes, uint8_t out[XFLASH_HEADER_BYTES])
{
    put_le32(out, XFLASH_MAGIC);
    put_le32(out + 4, kind);
    put_le32(out + 8, length_bytes);
}

void xflash_header_encode(const struct xflash_header *msg, struct buf *out)
{
    uint8_t raw[XFLASH_HEADER_BYTES];
    xflash_header_store(msg->kind, msg->length_bytes, raw);
    buf_put(out, raw, sizeof(raw));
}

static const struct xflash_code_info commands[] = {
#define X(name, code, stages) {code, #name, stages, XFLASH_SPECIAL},
    XFLASH_COMMANDS(X)
#undef X
};
static const struct xflash_code_info controls[] = {
#define X(name, code, stages, kind) {code, #name, stages, kind},
    XFLASH_CONTROLS(X)
#undef X
};

static const struct xflash_code_info *find(const struct xflash_code_info *table, size_t count,
                                           uint32_t code)
{
    for (size_t i = 0; i < count; i++)
        if (table[i].code == code)
            return &table[i];
    return NULL;
}

const struct xflash_code_info *xflash_command_find(uint32_t code)
{
    return find(commands, ARRAY_LEN(commands), code);
}

const struct xflash_code_info *xflash_control_find(uint32_t code)
{
    return find(controls, ARRAY_LEN(controls), code);
}

/* The verdict of every fixed-size decoder: read inside, and nothing left over. */
static int exact(const struct reader *r, const char *what, struct err *err)
{
    if (reader_done(r))
        return 0;
    return err_set(err, ERR_PROTOCOL, "%s: a packet of %zu bytes does not fit", what, r->in.len);
}

int xflash_word_decode(struct span in, uint32_t *out, struct err *err)
{
    struct reader r = reader_of(in);
    uint32_t word = rd_le32(&r);
    int rc = exact(&r, "word", err);
    if (rc == 0)
        *out = word;
    return rc;
}

int xflash_message_decode(struct span in, struct span *text_out, struct err *err)
{
    struct reader r = reader_of(in);
    rd_skip(&r, 4); /* 1 in all examined builds; nothing depends on it */
    if (!reader_ok(&r))
        return err_set(err, ERR_PROTOCOL, "log packet of %zu bytes", in.len);
    *text_out = rd_bytes(&r, reader_left(&r));
    return 0;
}

void xflash_message_encode(struct span text, struct buf *out)
{
    buf_put_le32(out, 1);
    buf_put_span(out, text);
}

int xflash_environment_decode(struct span in, struct xflash_environment *out, struct err *err)
{
    if (in.len < XFLASH_ENVIRONMENT_MIN_BYTES || in.len > XFLASH_ENVIRONMENT_BYTES)
        return err_set(err, ERR_PROTOCOL, "environment: %zu bytes", in.len);
    struct reader r = reader_of(in); /* words that are missing read as 0 */
    struct xflash_environment msg;
    msg.log_level = rd_le32(&r);
    msg.log_channel = rd_le32(&r);
    msg.host_os = rd_le32(&r);
    msg.ufs_provision = rd_le32(&r);
    msg.reserved = rd_le32(&r);
    *out = msg;
    return 0;
}

void xflash_environment_encode(const struct xflash_environment *msg, struct buf *out)
{
    buf_put_le32(out, msg->log_level);
    buf_put_le32(out, msg->log_channel);
    buf_put_le32(out, msg->host_os);
    buf_put_le32(out, msg->ufs_provision);
    buf_put_le32(out, msg->reserved);
}

int xflash_boot_to_decode(struct span in, struct xflash_boot_to *out, struct err *err)
{
    struct reader r = reader_of(in);
    struct xflash_boot_to msg;
    msg.address = rd_le64(&r);
    msg.length_bytes = rd_le64(&r);
    int rc = exact(&r, "BOOT_TO", err);
    if (rc == 0)
        *out = msg;
    return rc;
}

void xflash_boot_to_encode(const struct xflash_boot_to *msg, struct buf *out)
{
    buf_put_le64(out, msg->address);
    buf_put_le64(out, msg->length_bytes);
}

int xflash_range_decode(struct span in, struct xflash_range *out, struct err *err)
{
    if (in.len < XFLASH_RANGE_MIN_BYTES || in.len > XFLASH_RANGE_BYTES)
        return err_set(err, ERR_PROTOCOL, "parameter block: %zu bytes", in.len);
    struct reader r = reader_of(in); /* the NAND part behind it means nothing on eMMC */
    struct xflash_range msg;
    msg.storage = rd_le32(&r);
    msg.section = rd_le32(&r);
    msg.address = rd_le64(&r);
    msg.length_bytes = rd_le64(&r);
    *out = msg;
    return 0;
}

void xflash_range_encode(const struct xflash_range *msg, struct buf *out)
{
    buf_put_le32(out, msg->storage);
    buf_put_le32(out, msg->section);
    buf_put_le64(out, msg->address);
    buf_put_le64(out, msg->length_bytes);
    buf_put_zeros(out, XFLASH_RANGE_BYTES - XFLASH_RANGE_MIN_BYTES);
}

int xflash_name_decode(struct span in, char out[XFLASH_NAME_MAX + 1], struct err *err)
{
    if (in.len > XFLASH_NAME_MAX)
        return err_set(err, ERR_PROTOCOL, "partition name of %zu bytes", in.len);
    size_t len = in.len; /* terminating zeros are allowed */
    while (len && in.data[len - 1] == 0)
        len--;
    for (size_t i = 0; i < len; i++)
        if (in.data[i] < 0x20 || in.data[i] > 0x7e)
            return err_set(err, ERR_PROTOCOL, "partition name with byte %02x", in.data[i]);
    if (len)
        memcpy(out, in.data, len);
    out[len] = '\0';
    return 0;
}

/* Sum of the bytes, eight at a time: four lanes of 16 bits, each of which has room for 128 times two bytes. */
#define LANES_OF_BYTES 0x00ff00ff00ff00ffull
#define LANES_BLOCK    (128 * sizeof(uint64_t))

static uint64_t block_sum(const uint8_t *data, size_t len)
{
    uint64_t lanes = 0, sum = 0;
    size_t at = 0;
    for (uint64_t word; len - at >= sizeof(word); at += sizeof(word)) {
        memcpy(&word, data + at, sizeof(word));
        lanes += (word & LANES_OF_BYTES) + (word >> 8 & LANES_OF_BYTES);
    }
    for (; lanes; lanes >>= 16)
        sum += lanes & 0xffff;
    for (; at < len; at++)
        sum += data[at];
    return sum;
}

uint32_t xflash_checksum(struct span chunk)
{
    uint64_t sum = 0;
    for (size_t at = 0; at < chunk.len; at += LANES_BLOCK)
        sum += block_sum(chunk.data + at, MIN_OF(chunk.len - at, LANES_BLOCK));
    if (chunk.len % 2)
        sum += 0xff;
    return (uint32_t)(sum & 0xffff);
}

int xflash_shutdown_decode(struct span in, struct xflash_shutdown *out, struct err *err)
{
    if (in.len > XFLASH_SHUTDOWN_BYTES)
        return err_set(err, ERR_PROTOCOL, "SHUTDOWN block of %zu bytes", in.len);
    struct reader r = reader_of(in);
    struct xflash_shutdown msg;
    msg.reboot = rd_le32(&r);
    msg.timeout_ms = rd_le32(&r);
    msg.async = rd_le32(&r);
    msg.target = rd_le32(&r);
    msg.download_bit = rd_le32(&r);
    msg.keep_rtc = rd_le32(&r);
    *out = msg;
    return 0;
}

void xflash_shutdown_encode(const struct xflash_shutdown *msg, struct buf *out)
{
    buf_put_le32(out, msg->reboot);
    buf_put_le32(out, msg->timeout_ms);
    buf_put_le32(out, msg->async);
    buf_put_le32(out, msg->target);
    buf_put_le32(out, msg->download_bit);
    buf_put_le32(out, msg->keep_rtc);
}

int xflash_emmc_info_decode(struct span in, struct xflash_emmc_info *out, struct err *err)
{
    if (in.len < XFLASH_EMMC_INFO_BYTES)
        return err_set(err, ERR_PROTOCOL, "eMMC information of %zu bytes", in.len);
    struct reader r = reader_of(in); /* later builds append; what is unknown is ignored */
    struct xflash_emmc_info msg = {.type = rd_le32(&r)};
    msg.block_bytes = rd_le32(&r);
    msg.boot1_bytes = rd_le64(&r);
    msg.boot2_bytes = rd_le64(&r);
    msg.rpmb_bytes = rd_le64(&r);
    for (size_t i = 0; i < ARRAY_LEN(msg.gp_bytes); i++)
        msg.gp_bytes[i] = rd_le64(&r);
    msg.user_bytes = rd_le64(&r);
    memcpy(msg.cid, rd_bytes(&r, sizeof(msg.cid)).data, sizeof(msg.cid));
    msg.firmware_version = rd_le64(&r);
    if (reader_left(&r) >= 3) {
        msg.has_health = true;
        msg.pre_eol = rd_u8(&r);
        msg.life_time_a = rd_u8(&r);
        msg.life_time_b = rd_u8(&r);
    }
    *out = msg;
    return 0;
}

void xflash_emmc_info_encode(const struct xflash_emmc_info *msg, struct buf *out)
{
    buf_put_le32(out, msg->type);
    buf_put_le32(out, msg->block_bytes);
    buf_put_le64(out, msg->boot1_bytes);
    buf_put_le64(out, msg->boot2_bytes);
    buf_put_le64(out, msg->rpmb_bytes);
    for (size_t i = 0; i < ARRAY_LEN(msg->gp_bytes); i++)
        buf_put_le64(out, msg->gp_bytes[i]);
    buf_put_le64(out, msg->user_bytes);
    buf_put(out, msg->cid, sizeof(msg->cid));
    buf_put_le64(out, msg->firmware_version);
    if (msg->has_health) {
        buf_put_u8(out, msg->pre_eol);
        buf_put_u8(out, msg->life_time_a);
        buf_put_u8(out, msg->life_time_b);
        buf_put_zeros(out, 5);
    }
}

uint64_t xflash_section_bytes(const struct xflash_emmc_info *info, uint32_t section)
{
    switch (section) {
    case XFLASH_BOOT1:
        return info->boot1_bytes;
    case XFLASH_BOOT2:
        return info->boot2_bytes;
    case XFLASH_USER:
        return info->user_bytes;
    default:
        return 0;
    }
}

int xflash_nand_info_decode(struct span in, struct xflash_nand_info *out, struct err *err)
{
    struct reader r = reader_of(in);
    struct xflash_nand_info msg = {.type = rd_le32(&r)};
    msg.page_bytes = rd_le32(&r);
    msg.block_bytes = rd_le32(&r);
    msg.spare_bytes = rd_le32(&r);
    msg.total_bytes = rd_le64(&r);
    msg.available_bytes = rd_le64(&r);
    msg.bmt = rd_u8(&r);
    struct span id = rd_bytes(&r, sizeof(msg.id));
    if (id.len)
        memcpy(msg.id, id.data, id.len);
    rd_skip(&r, 3);
    int rc = exact(&r, "NAND information", err);
    if (rc == 0)
        *out = msg;
    return rc;
}

void xflash_nand_info_encode(const struct xflash_nand_info *msg, struct buf *out)
{
    buf_put_le32(out, msg->type);
    buf_put_le32(out, msg->page_bytes);
    buf_put_le32(out, msg->block_bytes);
    buf_put_le32(out, msg->spare_bytes);
    buf_put_le64(out, msg->total_bytes);
    buf_put_le64(out, msg->available_bytes);
    buf_put_u8(out, msg->bmt);
    buf_put(out, msg->id, sizeof(msg->id));
    buf_put_zeros(out, 3);
}

int xflash_nor_info_decode(struct span in, struct xflash_nor_info *out, struct err *err)
{
    struct reader r = reader_of(in);
    struct xflash_nor_info msg;
    msg.type = rd_le32(&r);
    msg.page_bytes = rd_le32(&r);
    msg.size_bytes = rd_le64(&r);
    int rc = exact(&r, "NOR information", err);
    if (rc == 0)
        *out = msg;
    return rc;
}

void xflash_nor_info_encode(const struct xflash_nor_info *msg, struct buf *out)
{
    buf_put_le32(out, msg->type);
    buf_put_le32(out, msg->page_bytes);
    buf_put_le64(out, msg->size_bytes);
}

int xflash_ufs_info_decode(struct span in, struct xflash_ufs_info *out, struct err *err)
{
    if (in.len < XFLASH_UFS_INFO_BYTES)
        return err_set(err, ERR_PROTOCOL, "UFS information of %zu bytes", in.len);
    struct reader r = reader_of(in);
    struct xflash_ufs_info msg;
    msg.type = rd_le32(&r);
    msg.block_bytes = rd_le32(&r);
    for (size_t i = 0; i < ARRAY_LEN(msg.lu_bytes); i++)
        msg.lu_bytes[i] = rd_le64(&r);
    *out = msg;
    return 0;
}

void xflash_ufs_info_encode(const struct xflash_ufs_info *msg, size_t reply_bytes, struct buf *out)
{
    buf_put_le32(out, msg->type);
    buf_put_le32(out, msg->block_bytes);
    for (size_t i = 0; i < ARRAY_LEN(msg->lu_bytes); i++)
        buf_put_le64(out, msg->lu_bytes[i]);
    if (reply_bytes > 32)
        buf_put_zeros(out, reply_bytes - 32);
}

int xflash_packet_length_decode(struct span in, struct xflash_packet_length *out, struct err *err)
{
    struct reader r = reader_of(in);
    struct xflash_packet_length msg;
    msg.write_bytes = rd_le32(&r);
    msg.read_bytes = rd_le32(&r);
    int rc = exact(&r, "packet lengths", err);
    if (rc < 0)
        return rc;
    if (msg.write_bytes == 0 || msg.read_bytes == 0 || msg.write_bytes > XFLASH_PAYLOAD_MAX ||
        msg.read_bytes > XFLASH_PAYLOAD_MAX)
        return err_set(err, ERR_PROTOCOL, "packet lengths: write %u, read %u", msg.write_bytes,
                       msg.read_bytes);
    *out = msg;
    return 0;
}

void xflash_packet_length_encode(const struct xflash_packet_length *msg, struct buf *out)
{
    buf_put_le32(out, msg->write_bytes);
    buf_put_le32(out, msg->read_bytes);
}

static struct xflash_ram ram_read(struct reader *r)
{
    struct xflash_ram ram = {.type = rd_le32(r)};
    rd_skip(r, 4);
    ram.base = rd_le64(r);
    ram.size_bytes = rd_le64(r);
    return ram;
}

int xflash_ram_info_decode(struct span in, struct xflash_ram_info *out, struct err *err)
{
    struct reader r = reader_of(in);
    struct xflash_ram_info msg;
    msg.sram = ram_read(&r);
    msg.dram = ram_read(&r);
    int rc = exact(&r, "RAM information", err);
    if (rc == 0)
        *out = msg;
    return rc;
}

static void ram_put(const struct xflash_ram *ram, struct buf *out)
{
    buf_put_le32(out, ram->type);
    buf_put_le32(out, 0);
    buf_put_le64(out, ram->base);
    buf_put_le64(out, ram->size_bytes);
}

void xflash_ram_info_encode(const struct xflash_ram_info *msg, struct buf *out)
{
    ram_put(&msg->sram, out);
    ram_put(&msg->dram, out);
}

int xflash_chip_id_decode(struct span in, struct xflash_chip_id *out, struct err *err)
{
    struct reader r = reader_of(in);
    struct xflash_chip_id msg;
    msg.hw_code = rd_le16(&r);
    msg.hw_sub_code = rd_le16(&r);
    msg.hw_version = rd_le16(&r);
    msg.sw_version = rd_le16(&r);
    msg.evolution = rd_le32(&r);
    int rc = exact(&r, "chip id", err);
    if (rc == 0)
        *out = msg;
    return rc;
}

void xflash_chip_id_encode(const struct xflash_chip_id *msg, struct buf *out)
{
    buf_put_le16(out, msg->hw_code);
    buf_put_le16(out, msg->hw_sub_code);
    buf_put_le16(out, msg->hw_version);
    buf_put_le16(out, msg->sw_version);
    buf_put_le32(out, msg->evolution);
}

int xflash_register_decode(struct span in, struct xflash_register *out, struct err *err)
{
    struct reader r = reader_of(in);
    struct xflash_register msg = {.address = rd_le32(&r)};
    if (in.len != 4) /* the address alone is accepted for a read */
        msg.value = rd_le32(&r);
    int rc = exact(&r, "register", err);
    if (rc == 0)
        *out = msg;
    return rc;
}

void xflash_register_encode(const struct xflash_register *msg, struct buf *out)
{
    buf_put_le32(out, msg->address);
    buf_put_le32(out, msg->value);
}
