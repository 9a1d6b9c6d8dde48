#include "usb/proto/da.h"

#include <stdio.h>
#include <stdlib.h>

#include "usb/base/mem.h"
#include "usb/proto/da_packet.h"

#define REPLY_MAX 4096 /* bytes of a GET reply; the largest known one is 208 */

void da_init(struct da *da, struct link *link)
{
    *da = (struct da){.link = link};
}

void da_deinit(struct da *da)
{
    free(da->buffer);
    *da = (struct da){0};
}

void da_reattach(struct da *da, struct link *link)
{
    da->link = link;
}

/* ---- start ------------------------------------------------------------------------------- */

static int sync_read(struct da *da, const char *what, struct err *err)
{
    uint32_t word = 0;
    int rc = da_word_read(da, &word, DA_INIT_MS, what, err);
    if (rc < 0 || word == XFLASH_SYNC)
        return rc;
    if (xflash_status_failed(word))
        return da_status_fail(da, word, what, err);
    err_set(err, ERR_PROTOCOL, "%08x instead of SYNC", word);
    return link_lost(da->link, what, err);
}

static int alive_read(struct da *da, struct err *err)
{
    uint8_t byte = 0;
    int rc = link_read(da->link, &byte, 1, DA_ALIVE_MS, err);
    if (rc == 0 && byte != XFLASH_ALIVE)
        rc = err_set(err, ERR_PROTOCOL, "byte %02x instead of C0", byte);
    return rc < 0 ? link_lost(da->link, "start of the download agent", err) : 0;
}

static int environment_send(struct da *da, struct da_options options, struct err *err)
{
    const struct xflash_environment env = {
        .log_level = 2, /* debug level hangs some agents that were started by the boot ROM */
        .log_channel = options.log_channel,
        .host_os = options.host_os,
    };
    AUTO(buf_deinit) struct buf block;
    buf_init(&block, XFLASH_ENVIRONMENT_BYTES);
    xflash_environment_encode(&env, &block);
    int rc = da_word_write(da, XFLASH_SETUP_ENVIRONMENT, err);
    if (rc == 0)
        rc = da_packet_write(da, block.data, block.len, err);
    return rc < 0 ? rc : da_status_read(da, DA_REPLY_MS, "SETUP_ENVIRONMENT", err);
}

int da_start(struct da *da, struct da_options options, struct err *err)
{
    struct err local;
    err = err ? err : &local;
    int rc = alive_read(da, err);
    if (rc == 0)
        rc = da_word_write(da, XFLASH_SYNC, err);
    if (rc == 0)
        rc = environment_send(da, options, err);
    if (rc == 0)
        rc = da_word_write(da, XFLASH_SETUP_HW_INIT_PARAMS, err);
    if (rc == 0)
        rc = da_word_write(da, 0, err); /* no parameters */
    if (rc == 0)
        rc = da_status_read(da, DA_REPLY_MS, "SETUP_HW_INIT_PARAMS", err);
    if (rc == 0)
        rc = sync_read(da, "hardware init of the download agent", err);
    return rc;
}

/* DEVICE_CTRL, control code, and the status that says whether it is known. */
static int control_open(struct da *da, enum xflash_control code, struct err *err)
{
    int rc = da_command(da, XFLASH_DEVICE_CTRL, err);
    if (rc == 0)
        rc = da_word_write(da, (uint32_t)code, err);
    return rc < 0 ? rc : da_status_read(da, DA_REPLY_MS, xflash_control_find(code)->name, err);
}

int da_set_checksum_level(struct da *da, uint32_t level, struct err *err)
{
    struct err local;
    err = err ? err : &local;
    if (da->in_da2)
        return err_set(err, ERR_INTERNAL, "the checksum level can be set in DA1 only");
    int rc = control_open(da, XFLASH_SET_CHECKSUM_LEVEL, err);
    if (rc == 0)
        rc = da_word_write(da, level, err);
    return rc < 0 ? rc : da_status_read(da, DA_REPLY_MS, "SET_CHECKSUM_LEVEL", err);
}

int da_get_dram_up(struct da *da, bool *out, struct err *err)
{
    struct err local;
    err = err ? err : &local;
    char agent[DA_TEXT_BYTES];
    int rc = da_get_text(da, XFLASH_GET_CONNECTION_AGENT, agent, err);
    if (rc < 0)
        return rc;
    bool up = strcmp(agent, XFLASH_AGENT_PRELOADER) == 0;
    if (!up && strcmp(agent, XFLASH_AGENT_BROM) != 0)
        return err_set(err, ERR_PROTOCOL, "unknown connection agent '%s'", agent);
    *out = up;
    return 0;
}

int da_init_dram(struct da *da, struct span emi, struct err *err)
{
    struct err local;
    err = err ? err : &local;
    if (emi.len == 0 || emi.len > XFLASH_PAYLOAD_MAX)
        return err_set(err, ERR_INPUT,
                       "the boot ROM started this phone, so the DRAM data of its preloader file is "
                       "needed");
    int rc = da_command(da, XFLASH_INIT_EXT_RAM, err);
    if (rc == 0)
        rc = da_word_write(da, (uint32_t)emi.len, err);
    if (rc == 0)
        rc = da_packet_write(da, emi.data, emi.len, err);
    return rc < 0 ? rc : da_status_read(da, DA_INIT_MS, "INIT_EXT_RAM", err);
}

int da_boot_to(struct da *da, uint64_t address, struct span da2, struct err *err)
{
    struct err local;
    err = err ? err : &local;
    if (da2.len == 0 || da2.len > XFLASH_PAYLOAD_MAX)
        return err_set(err, ERR_INPUT, "DA2 of %zu bytes", da2.len);
    AUTO(buf_deinit) struct buf block;
    buf_init(&block, 16);
    xflash_boot_to_encode(&(struct xflash_boot_to){address, da2.len}, &block);
    int rc = da_command(da, XFLASH_BOOT_TO, err);
    if (rc == 0)
        rc = da_packet_write(da, block.data, block.len, err);
    if (rc == 0)
        rc = da_packet_write(da, da2.data, da2.len, err);
    if (rc == 0)
        rc = da_status_read(da, DA_INIT_MS, "BOOT_TO", err);
    if (rc == 0)
        rc = sync_read(da, "start of DA2", err);
    if (rc == 0)
        da->in_da2 = true;
    return rc;
}

int da_bring_up(struct da *da, struct da_options options, const struct da_images *images,
                struct err *err)
{
    struct err local;
    err = err ? err : &local;
    bool dram_up = false;
    struct xflash_emmc_info emmc;
    int rc = da_start(da, options, err);
    if (rc == 0)
        rc = da_set_checksum_level(da, XFLASH_CHECKSUM_USB, err);
    if (rc == 0)
        rc = da_get_dram_up(da, &dram_up, err);
    if (rc == 0 && !dram_up)
        rc = da_init_dram(da, images->emi, err);
    if (rc == 0)
        rc = da_boot_to(da, images->da2_address, images->da2, err);
    if (rc == 0)
        rc = da_get_packet_length(da, &da->packet, err);
    if (rc == 0)
        rc = da_get_emmc_info(da, &emmc, err);
    return rc < 0 ? err_in(err, "download agent") : 0;
}

/* ---- queries ----------------------------------------------------------------------------- */

int da_get(struct da *da, enum xflash_control code, struct buf *reply, struct err *err)
{
    const char *what = xflash_control_find(code)->name;
    int rc = control_open(da, code, err);
    if (rc == 0)
        rc = da_packet_read(da, reply, DA_REPLY_MS, what, err);
    if (rc < 0)
        return rc;
    /* a GET that fails may send its closing status in the place of the data */
    if (reply->len == 4 && xflash_status_failed(get_le32(reply->data)))
        return da_status_fail(da, get_le32(reply->data), what, err);
    return da_status_read(da, DA_REPLY_MS, what, err);
}

/* A GET whose reply goes through one decoder of the codec. */
#define DA_GET(da, code, decode, out, err)                                                         \
    __extension__({                                                                                \
        struct err get_local_;                                                                     \
        struct err *get_err_ = (err) ? (err) : &get_local_;                                        \
        AUTO(buf_deinit) struct buf get_reply_;                                                    \
        buf_init(&get_reply_, REPLY_MAX);                                                          \
        int get_rc_ = da_get(da, code, &get_reply_, get_err_);                                     \
        get_rc_ < 0 ? get_rc_ : decode(buf_span(&get_reply_), out, get_err_);                      \
    })

int da_get_emmc_info(struct da *da, struct xflash_emmc_info *out, struct err *err)
{
    int rc = DA_GET(da, XFLASH_GET_EMMC_INFO, xflash_emmc_info_decode, out, err);
    if (rc == 0)
        da->emmc = *out;
    return rc;
}

int da_get_packet_length(struct da *da, struct xflash_packet_length *out, struct err *err)
{
    return DA_GET(da, XFLASH_GET_PACKET_LENGTH, xflash_packet_length_decode, out, err);
}

int da_get_chip_id(struct da *da, struct xflash_chip_id *out, struct err *err)
{
    return DA_GET(da, XFLASH_GET_CHIP_ID, xflash_chip_id_decode, out, err);
}

int da_get_ram_info(struct da *da, struct xflash_ram_info *out, struct err *err)
{
    return DA_GET(da, XFLASH_GET_RAM_INFO, xflash_ram_info_decode, out, err);
}

int da_get_battery_mv(struct da *da, uint32_t *out, struct err *err)
{
    return DA_GET(da, XFLASH_GET_BATTERY_VOLTAGE, xflash_word_decode, out, err);
}

static int random_id_decode(struct span in, uint8_t *out, struct err *err)
{
    if (in.len != XFLASH_RANDOM_ID_BYTES)
        return err_set(err, ERR_PROTOCOL, "random id of %zu bytes", in.len);
    memcpy(out, in.data, in.len);
    return 0;
}

int da_get_random_id(struct da *da, uint8_t out[XFLASH_RANDOM_ID_BYTES], struct err *err)
{
    return DA_GET(da, XFLASH_GET_RANDOM_ID, random_id_decode, out, err);
}

static int text_decode(struct span in, char *out, struct err *err)
{
    if (in.len == 0 || in.len >= DA_TEXT_BYTES)
        return err_set(err, ERR_PROTOCOL, "text of %zu bytes", in.len);
    for (size_t i = 0; i < in.len; i++)
        out[i] = in.data[i] < 0x20 || in.data[i] > 0x7e ? '?' : (char)in.data[i];
    out[in.len] = '\0';
    return 0;
}

int da_get_text(struct da *da, enum xflash_control code, char out[DA_TEXT_BYTES], struct err *err)
{
    return DA_GET(da, code, text_decode, out, err);
}

/* ---- end --------------------------------------------------------------------------------- */

int da_shutdown(struct da *da, const struct xflash_shutdown *how, struct err *err)
{
    struct err local;
    err = err ? err : &local;
    AUTO(buf_deinit) struct buf block;
    buf_init(&block, XFLASH_SHUTDOWN_BYTES);
    xflash_shutdown_encode(how, &block);
    int rc = da_command(da, XFLASH_SHUTDOWN, err);
    if (rc == 0)
        rc = da_packet_write(da, block.data, block.len, err);
    if (rc == 0)
        rc = da_status_read(da, DA_REPLY_MS, "SHUTDOWN", err);
    if (rc == 0)
        da->link->dead = true; /* nobody listens any more */
    return rc;
}

int da_switch_usb_speed(struct da *da, struct err *err)
{
    struct err local;
    err = err ? err : &local;
    int rc = da_command(da, XFLASH_SWITCH_USB_SPEED, err);
    if (rc == 0)
        rc = da_word_write(da, 0, err); /* the default id, 0e8d:2001 */
    if (rc == 0)
        rc = da_status_read(da, DA_REPLY_MS, "SWITCH_USB_SPEED", err);
    if (rc == 0)
        da->link->dead = true; /* this identity is about to go */
    return rc;
}
