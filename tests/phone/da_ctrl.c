/* DEVICE_CTRL: README.md, "Download agent". Replies whose contents no source gives are marked. */
#include "tests/phone/da.h"

#include "tests/phone/rom_memory.h"
#include "usb/base/hash.h"
#include "usb/base/mem.h"

enum {
    REPLY_MAX = 0x200,
    SIGNATURE_MAX = 0x200000,
    ALL_IN_ONE_MAX = 0x800000,
    META_BOOT_OFFSET = 0x152,     /* in proinfo */
    EMMC_FIRMWARE_VERSION = 0xa3, /* constructed */
    RPMB_KEY_PRESENT = 0x10,
    DRAM_LPDDR4X = 6,
    RAM_TYPE_DRAM = 1,
    RAM_TYPE_SRAM = 2,
    SRAM_BASE = 0x200000,
    SRAM_BYTES = 0x80000,
    BATTERY_USB_POWER = 1,
    PRE_EOL_NORMAL = 1,  /* 2 warning, 3 urgent */
    LIFE_TIME_YOUNG = 1, /* tenths of its life that are used; constructed */
};
#define DRAM_BASE  0x40000000u
#define DRAM_BYTES 0xc0000000u

/* ---- GET: fills `out` and returns the closing status; an empty reply sends the status alone
 * ---------- */

static uint32_t get_emmc_info(struct da *d, struct buf *out)
{
    struct xflash_emmc_info info = {
        .type = XFLASH_STORAGE_EMMC,
        .block_bytes = XFLASH_BLOCK_BYTES,
        .boot1_bytes = board_area_size(d->b, AREA_BOOT1),
        .boot2_bytes = board_area_size(d->b, AREA_BOOT2),
        .rpmb_bytes = board_area_size(d->b, AREA_RPMB),
        .user_bytes = board_area_size(d->b, AREA_USER),
        .firmware_version = EMMC_FIRMWARE_VERSION,
        .has_health = board_settings(d->b)->da_build == BUILD_2019,
        .pre_eol = (uint8_t)(PRE_EOL_NORMAL + board_settings(d->b)->storage_life),
        .life_time_a = LIFE_TIME_YOUNG,
        .life_time_b = LIFE_TIME_YOUNG + 1,
    };
    memcpy(info.cid, board_chip(d->b)->emmc_cid, sizeof(info.cid));
    xflash_emmc_info_encode(&info, out);
    return XFLASH_OK;
}

/* Storage that this phone does not have: zeros, and still status 0. */
static uint32_t get_nand_info(struct da *d, struct buf *out)
{
    (void)d;
    xflash_nand_info_encode(&(struct xflash_nand_info){0}, out);
    return XFLASH_OK;
}

static uint32_t get_nor_info(struct da *d, struct buf *out)
{
    (void)d;
    xflash_nor_info_encode(&(struct xflash_nor_info){0}, out);
    return XFLASH_OK;
}

static uint32_t get_ufs_info(struct da *d, struct buf *out)
{
    size_t bytes = board_settings(d->b)->da_build == BUILD_2019 ? XFLASH_UFS_INFO_2019_BYTES
                                                                : XFLASH_UFS_INFO_BYTES;
    xflash_ufs_info_encode(&(struct xflash_ufs_info){0}, bytes, out);
    return XFLASH_OK;
}

static uint32_t get_da_version(struct da *d, struct buf *out)
{
    (void)d;
    buf_put(out, "1.0", 3);
    return XFLASH_OK;
}

static uint32_t get_packet_length(struct da *d, struct buf *out)
{
    struct xflash_packet_length n = {XFLASH_DA1_PACKET_BYTES, XFLASH_DA1_PACKET_BYTES};
    if (d->stage == XFLASH_DA2) {
        n.write_bytes = XFLASH_DA2_WRITE_PACKET_BYTES;
        n.read_bytes = d->host_os == XFLASH_OS_LINUX ? XFLASH_DA2_READ_PACKET_LINUX
                                                     : XFLASH_DA2_READ_PACKET_OTHER;
    }
    xflash_packet_length_encode(&n, out);
    return XFLASH_OK;
}

/* Constructed: derived from the chip, so that it differs from phone to phone and stays. */
static uint32_t get_random_id(struct da *d, struct buf *out)
{
    struct sha256 id = sha256_of(span_of(board_chip(d->b)->me_id, sizeof(board_chip(d->b)->me_id)));
    buf_put(out, id.bytes, XFLASH_RANDOM_ID_BYTES);
    return XFLASH_OK;
}

static uint32_t get_partition_tbl_cata(struct da *d, struct buf *out)
{
    (void)d;
    buf_put_le32(out, XFLASH_TABLE_GPT);
    return XFLASH_OK;
}

static uint32_t get_connection_agent(struct da *d, struct buf *out)
{
    const char *agent = board_ram(d->b)->from_brom ? XFLASH_AGENT_BROM : XFLASH_AGENT_PRELOADER;
    buf_put(out, agent, strlen(agent));
    return XFLASH_OK;
}

static uint32_t get_usb_speed(struct da *d, struct buf *out)
{
    const char *speed = d->high_speed ? "high-speed" : "full-speed";
    buf_put(out, speed, strlen(speed));
    return XFLASH_OK;
}

static uint32_t get_ram_info(struct da *d, struct buf *out)
{
    struct xflash_ram_info info = {.sram = {RAM_TYPE_SRAM, SRAM_BASE, SRAM_BYTES},
                                   .dram = {0, DRAM_BASE, 0}};
    if (board_ram(d->b)->dram_up) {
        info.dram.type = RAM_TYPE_DRAM;
        info.dram.size_bytes = DRAM_BYTES;
    }
    xflash_ram_info_encode(&info, out);
    return XFLASH_OK;
}

static uint32_t get_chip_id(struct da *d, struct buf *out)
{
    (void)d;
    xflash_chip_id_encode(&(struct xflash_chip_id){.hw_code = BROM_MT6771_HW_CODE,
                                                   .hw_sub_code = ROM_HW_SUB_CODE,
                                                   .hw_version = ROM_HW_VERSION,
                                                   .sw_version = ROM_SW_VERSION},
                          out);
    return XFLASH_OK;
}

static uint32_t get_otp_lock_status(struct da *d, struct buf *out)
{
    struct da_target otp;
    if (da_partition(d, "otp", &otp) != XFLASH_OK)
        return (uint32_t)XFLASH_PARTITION_NOT_FOUND;
    buf_put_le32(out, XFLASH_OTP_UNLOCKED);
    return XFLASH_OK;
}

static uint32_t get_battery_voltage(struct da *d, struct buf *out)
{
    int millivolts = board_settings(d->b)->battery_mv;
    bool none = millivolts <= 0 || d->battery_opt == BATTERY_USB_POWER;
    buf_put_le32(out, none ? 0 : (uint32_t)millivolts);
    return none ? (uint32_t)XFLASH_UNSUPPORT_OP : XFLASH_OK;
}

static uint32_t get_rpmb_status(struct da *d, struct buf *out)
{
    (void)d;
    buf_put_le32(out, RPMB_KEY_PRESENT);
    return XFLASH_OK;
}

static uint32_t get_dram_type(struct da *d, struct buf *out)
{
    (void)d;
    buf_put_le32(out, DRAM_LPDDR4X);
    return XFLASH_OK;
}

static uint32_t get_dev_fw_info(struct da *d, struct buf *out)
{
    static const uint8_t without_sla[] = {0x12, 0x34, 0x56, 0x78};
    (void)d;
    buf_put(out, without_sla, sizeof(without_sla));
    return XFLASH_OK;
}

/* Constructed: 16 bytes of the SoC id. */
static uint32_t get_hrid(struct da *d, struct buf *out)
{
    buf_put(out, board_chip(d->b)->soc_id, 16);
    return XFLASH_OK;
}

/* ---- SET: `word` is what a parameter of at most eight bytes holds
 * ------------------------------------ */

static uint32_t set_battery_opt(struct da *d, uint64_t word)
{
    d->battery_opt = (uint32_t)word;
    return XFLASH_OK;
}

static uint32_t set_checksum_level(struct da *d, uint64_t word)
{
    d->checksum_level = (uint32_t)word;
    return XFLASH_OK;
}

/* Parameters that change nothing that a host could see. */
static uint32_t set_ignored(struct da *d, uint64_t word)
{
    (void)d;
    (void)word;
    return XFLASH_OK;
}

/* Writes the boot mode into proinfo, also for "normal": identity data that nobody asked to change.
 */
static uint32_t set_meta_boot_mode(struct da *d, uint64_t word)
{
    board_violation(d->b, "xflash.set_meta_boot_mode");
    struct da_target proinfo;
    uint32_t status = da_partition(d, "proinfo", &proinfo);
    if (status != XFLASH_OK)
        return status;
    uint8_t mode[3] = {(uint8_t)word, (uint8_t)(word >> 8), (uint8_t)(word >> 16)};
    return da_flash_write(d, proinfo.area, proinfo.at + META_BOOT_OFFSET, mode, sizeof(mode));
}

static uint32_t set_register_value(struct da *d, uint64_t word)
{
    (void)d;
    (void)word;
    return (uint32_t)XFLASH_REG_PERMISSION_DENIED;
}

static uint32_t set_all_in_one_sig(struct da *d, uint64_t word)
{
    (void)word;
    d->all_in_one_sig = true;
    return XFLASH_OK;
}

/* ---- ACT
 * --------------------------------------------------------------------------------------------- */

static uint32_t start_dl_info(struct da *d)
{
    board_violation(d->b, "xflash.start_dl_info");
    d->dl_info = true;
    return XFLASH_OK;
}

/* The closing status is the result. */
static uint32_t life_cycle_check(struct da *d)
{
    switch (board_settings(d->b)->storage_life) {
    case LIFE_NEAR_END:
        return (uint32_t)XFLASH_STOR_LIFE_WARN;
    case LIFE_WORN:
        return (uint32_t)XFLASH_STOR_LIFE_EXHAUST;
    case LIFE_GOOD:
        break;
    }
    return XFLASH_OK;
}

static uint32_t act_nothing(struct da *d)
{
    (void)d;
    return XFLASH_OK;
}

/* One-time zone and the eMMC's one-time setting: counted, and not modelled beyond the answer. */
static uint32_t act_irreversible(struct da *d)
{
    board_violation(d->b, "xflash.irreversible_control");
    return XFLASH_OK;
}

/* ---- the table
 * --------------------------------------------------------------------------------------- */

static const struct control {
    uint32_t code;
    uint32_t (*get)(struct da *d, struct buf *out);
    uint32_t (*set)(struct da *d, uint64_t word);
    uint32_t (*act)(struct da *d);
    size_t set_max;
} controls[] = {
    {.code = XFLASH_GET_EMMC_INFO, .get = get_emmc_info},
    {.code = XFLASH_GET_NAND_INFO, .get = get_nand_info},
    {.code = XFLASH_GET_NOR_INFO, .get = get_nor_info},
    {.code = XFLASH_GET_UFS_INFO, .get = get_ufs_info},
    {.code = XFLASH_GET_DA_VERSION, .get = get_da_version},
    {.code = XFLASH_GET_PACKET_LENGTH, .get = get_packet_length},
    {.code = XFLASH_GET_RANDOM_ID, .get = get_random_id},
    {.code = XFLASH_GET_PARTITION_TBL_CATA, .get = get_partition_tbl_cata},
    {.code = XFLASH_GET_CONNECTION_AGENT, .get = get_connection_agent},
    {.code = XFLASH_GET_USB_SPEED, .get = get_usb_speed},
    {.code = XFLASH_GET_RAM_INFO, .get = get_ram_info},
    {.code = XFLASH_GET_CHIP_ID, .get = get_chip_id},
    {.code = XFLASH_GET_OTP_LOCK_STATUS, .get = get_otp_lock_status},
    {.code = XFLASH_GET_BATTERY_VOLTAGE, .get = get_battery_voltage},
    {.code = XFLASH_GET_RPMB_STATUS, .get = get_rpmb_status},
    {.code = XFLASH_GET_DRAM_TYPE, .get = get_dram_type},
    {.code = XFLASH_GET_DEV_FW_INFO, .get = get_dev_fw_info},
    {.code = XFLASH_GET_HRID, .get = get_hrid},
    {.code = XFLASH_SET_BATTERY_OPT, .set = set_battery_opt, .set_max = 4},
    {.code = XFLASH_SET_CHECKSUM_LEVEL, .set = set_checksum_level, .set_max = 4},
    {.code = XFLASH_SET_RESET_KEY, .set = set_ignored, .set_max = 4},
    {.code = XFLASH_SET_META_BOOT_MODE, .set = set_meta_boot_mode, .set_max = 3},
    {.code = XFLASH_SET_REGISTER_VALUE, .set = set_register_value, .set_max = 8},
    {.code = XFLASH_SET_EXTERNAL_SIG, .set = set_ignored, .set_max = SIGNATURE_MAX},
    {.code = XFLASH_SET_REMOTE_SEC_POLICY, .set = set_ignored, .set_max = SIGNATURE_MAX},
    {.code = XFLASH_SET_ALL_IN_ONE_SIG, .set = set_all_in_one_sig, .set_max = ALL_IN_ONE_MAX},
    {.code = XFLASH_SET_RSC_INFO, .set = set_ignored, .set_max = SIGNATURE_MAX},
    {.code = XFLASH_START_DL_INFO, .act = start_dl_info},
    {.code = XFLASH_END_DL_INFO, .act = act_nothing},
    {.code = XFLASH_ACT_LOCK_OTP_ZONE, .act = act_irreversible},
    {.code = XFLASH_DISABLE_EMMC_HWRESET_PIN, .act = act_irreversible},
    {.code = XFLASH_CC_OPTIONAL_DOWNLOAD_ACT, .act = act_nothing},
    {.code = XFLASH_DA_STOR_LIFE_CYCLE_CHECK, .act = life_cycle_check},
    {.code = XFLASH_READ_REGISTER},
};

/* Stages that know a code in the 2018 build are in the codec's table; here the other two differ. */
static unsigned stages_of(const struct xflash_code_info *info, enum da_build build)
{
    static const uint32_t not_2017[] = {
        XFLASH_SET_REMOTE_SEC_POLICY, XFLASH_SET_ALL_IN_ONE_SIG, XFLASH_SET_RSC_INFO,
        XFLASH_GET_DEV_FW_INFO,       XFLASH_GET_HRID,           XFLASH_CC_OPTIONAL_DOWNLOAD_ACT,
    };
    if (build == BUILD_2019 && info->code == XFLASH_DA_STOR_LIFE_CYCLE_CHECK)
        return XFLASH_DA2;
    if (build != BUILD_2017)
        return info->stages;
    if (info->code == XFLASH_GET_EMMC_INFO || info->code == XFLASH_GET_UFS_INFO ||
        info->code == XFLASH_STORAGE_TEST)
        return XFLASH_DA2;
    for (size_t i = 0; i < ARRAY_LEN(not_2017); i++)
        if (not_2017[i] == info->code)
            return 0;
    return info->stages;
}

/* NULL when this stage of this build does not know the code. */
static const struct xflash_code_info *control_known(const struct da *d, uint32_t code)
{
    const struct xflash_code_info *info = xflash_control_find(code);
    return info && stages_of(info, board_settings(d->b)->da_build) & d->stage ? info : NULL;
}

static const struct control *control_find(uint32_t code)
{
    for (size_t i = 0; i < ARRAY_LEN(controls); i++)
        if (controls[i].code == code)
            return &controls[i];
    return NULL;
}

static void run_get(struct da *d, const struct control *c)
{
    AUTO(buf_deinit) struct buf reply;
    buf_init(&reply, REPLY_MAX);
    uint32_t status = c->get(d, &reply);
    da_log(&d->link, "reply follows");
    if (reply.len)
        da_send(&d->link, reply.data, reply.len);
    da_send_status(d, status);
}

static void run_set(struct da *d, const struct control *c)
{
    if (c->code == XFLASH_SET_ALL_IN_ONE_SIG && d->all_in_one_sig) { /* its parameter is not read */
        da_send_word(&d->link, (uint32_t)XFLASH_SEC_EXT_ALL_IN_ONE_SIG_REJECT);
        return;
    }
    uint8_t raw[8] = {0};
    ptrdiff_t rc = c->set_max <= sizeof(raw) ? da_recv(&d->link, raw, c->set_max)
                                             : da_recv_drop(&d->link, c->set_max);
    if (rc < 0)
        da_send_word(&d->link, da_framing_status(rc));
    else
        da_send_status(d, c->set(d, get_le64(raw)));
}

/* The only register on the list is the chip's code [constructed]. Eight bytes come back even when
 * the access is refused; a value that the host did not send is what an earlier call left there. */
static void read_register(struct da *d)
{
    ptrdiff_t rc = da_recv(&d->link, d->reg, sizeof(d->reg));
    if (rc < 0) {
        da_send_word(&d->link, da_framing_status(rc));
        return;
    }
    bool allowed = get_le32(d->reg) == 0x08000000;
    if (allowed)
        put_le32(d->reg + 4, BROM_MT6771_HW_CODE);
    da_send(&d->link, d->reg, sizeof(d->reg));
    da_send_status(d, allowed ? XFLASH_OK : (uint32_t)XFLASH_REG_PERMISSION_DENIED);
}

void da_device_ctrl(struct da *d)
{
    uint32_t code;
    ptrdiff_t rc = da_recv_word(d, &code);
    if (rc == DA_LINK_GONE)
        return;
    const struct xflash_code_info *info = rc < 0 ? NULL : control_known(d, code);
    if (info)
        board_trace(d->b, "da %s", info->name);
    if (da_send_status(d, info ? XFLASH_OK : (uint32_t)XFLASH_UNSUPPORT_CTRL_CODE) != XFLASH_OK) {
        if (rc < 0)
            da_die(d, "framing of a control code");
        return;
    }
    const struct control *c = control_find(code);
    if (!c) /* storage and RAM test: their exchanges are not known */
        da_send_word(&d->link, (uint32_t)XFLASH_NOT_IMPLEMENTED);
    else if (c->get)
        run_get(d, c);
    else if (c->set)
        run_set(d, c);
    else if (c->act)
        da_send_status(d, c->act(d));
    else
        read_register(d);
}
