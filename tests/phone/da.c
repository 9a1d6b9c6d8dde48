#include "tests/phone/da.h"

#include "usb/base/mem.h"
#include "usb/codec/brom.h"

enum {
    ALIVE_MS = 20,             /* JUMP_DA's status to the first byte of DA1 */
    SPEED_SWITCH_MS = 100,     /* last status to leaving the bus */
    SPEED_SWITCH_OFF_MS = 300, /* off the bus; constructed */
    SHUTDOWN_MS = 200,         /* last status to leaving the bus */
};

void da_leave(struct da *d, enum board_next next)
{
    d->over = true;
    d->next = next;
}

void da_sleep(struct da *d, int ms)
{
    if (!d->link.gone && board_sleep(d->b, ms, true) < 0)
        d->link.gone = true;
}

void da_die(struct da *d, const char *why)
{
    if (d->link.gone)
        return;
    board_trace(d->b, "download agent is dead: %s", why);
    da_leave(d, NEXT_DEAD);
    da_link_deaf(&d->link);
}

uint32_t da_send_status(struct da *d, uint32_t status)
{
    uint32_t fault;
    if (!xflash_status_failed(status) && board_fault_status(d->b, "da_status", &fault))
        status = fault;
    da_send_word(&d->link, status);
    return status;
}

ptrdiff_t da_recv_word(struct da *d, uint32_t *out)
{
    uint8_t raw[4] = {0xff, 0xff, 0xff, 0xff}; /* a short word is completed by what lay there */
    ptrdiff_t rc = da_recv(&d->link, raw, sizeof(raw));
    *out = get_le32(raw);
    return rc;
}

/* ---- SHUTDOWN
 * ---------------------------------------------------------------------------------------- */

static ptrdiff_t shutdown_block(struct da *d)
{
    bool lenient = board_settings(d->b)->shutdown_lenient;
    uint8_t block[32];
    ptrdiff_t n = da_recv(&d->link, block, lenient ? sizeof(block) : sizeof(d->shutdown));
    if (n != XFLASH_SHUTDOWN_BYTES && n != DA_LINK_GONE)
        board_violation(d->b, "xflash.shutdown_length");
    /* Any other length of at most 24 bytes is completed by leftovers, a longer block is not used.
     */
    if (n > 0)
        memcpy(d->shutdown, block, MIN_OF((size_t)n, sizeof(d->shutdown)));
    return n;
}

/* What comes of a block of `length` bytes, or DA_LINK_*. */
static const char *shutdown_text(const struct xflash_shutdown *s, ptrdiff_t length)
{
    static const char *const targets[] = {[TARGET_NORMAL] = "reboot: normal",
                                          [TARGET_HOME] = "reboot: home screen",
                                          [TARGET_FASTBOOT] = "reboot: fastboot"};
    if (length < 0)
        return length == DA_LINK_LONG ? "none: block too long" : "none: no block";
    if (s->reboot != 1)
        return "power off";
    if (s->download_bit == 1)
        return "reboot: download mode";
    return targets[s->target <= TARGET_FASTBOOT ? s->target : TARGET_NORMAL];
}

/* Answers before anything happens. Only 1 in the first word arms a reboot. */
static void shutdown_agent(struct da *d)
{
    ptrdiff_t length = shutdown_block(d);
    struct xflash_shutdown s;
    if (xflash_shutdown_decode(span_of(d->shutdown, sizeof(d->shutdown)), &s, NULL) < 0)
        s = (struct xflash_shutdown){0};
    if (da_send_status(d, XFLASH_OK) != XFLASH_OK)
        return;
    da_sleep(d, SHUTDOWN_MS);
    if (d->link.gone)
        return;
    board_shutdown_report(d->b, shutdown_text(&s, length));
    da_leave(d, s.reboot == 1 ? NEXT_RESET : NEXT_HALT);
    if (s.reboot != 1)
        return;
    board_boot_target_set(
        d->b, s.target <= TARGET_FASTBOOT ? (enum board_boot_target)s.target : TARGET_NORMAL,
        s.download_bit == 1);
    board_usb_detach(d->b);
    (void)board_sleep(d->b, (int)(s.timeout_ms & 0xffff), false);
}

/* ---- SWITCH_USB_SPEED
 * -------------------------------------------------------------------------------- */

static void switch_usb_speed(struct da *d)
{
    uint32_t id;
    ptrdiff_t rc = da_recv_word(d, &id);
    if (rc < 0) {
        da_send_word(&d->link, da_framing_status(rc));
        return;
    }
    if (da_send_status(d, XFLASH_OK) != XFLASH_OK)
        return;
    da_sleep(d, SPEED_SWITCH_MS);
    board_usb_detach(d->b);
    da_sleep(d, SPEED_SWITCH_OFF_MS);
    acm_init(&d->own, ACM_AGENT);
    if (id)
        acm_id_set(&d->own, (uint16_t)(id >> 16), (uint16_t)id);
    bool log_usb = d->link.log_usb, gone = d->link.gone;
    da_link_init(&d->link, d->b, d->own.gadget.packet);
    d->link.log_usb = log_usb;
    d->link.gone = gone || board_usb_attach(d->b, &d->own.gadget) < 0;
    d->high_speed = true;
}

/* ---- command loop
 * ------------------------------------------------------------------------------------ */

static const struct {
    uint32_t code;
    void (*run)(struct da *d); /* after the first status */
} handlers[] = {
    {XFLASH_DOWNLOAD, da2_download},
    {XFLASH_UPLOAD, da2_upload},
    {XFLASH_FORMAT, da2_format},
    {XFLASH_WRITE_DATA, da2_write_data},
    {XFLASH_READ_DATA, da2_read_data},
    {XFLASH_FORMAT_PARTITION, da2_format_partition},
    {XFLASH_SHUTDOWN, shutdown_agent},
    {XFLASH_BOOT_TO, da1_boot_to},
    {XFLASH_DEVICE_CTRL, da_device_ctrl},
    {XFLASH_INIT_EXT_RAM, da1_init_ext_ram},
    {XFLASH_SWITCH_USB_SPEED, switch_usb_speed},
};

static void command(struct da *d, uint32_t code)
{
    const struct xflash_code_info *info = xflash_command_find(code);
    board_trace(d->b, "da%u %s", d->stage == XFLASH_DA1 ? 1 : 2, info ? info->name : "?");
    if (code >= XFLASH_READ_OTP_ZONE && code <= XFLASH_READ_EFUSE)
        board_violation(d->b, "xflash.otp_or_efuse");
    bool known = info && info->stages & d->stage;
    if (da_send_status(d, known ? XFLASH_OK : (uint32_t)XFLASH_UNSUPPORT_CMD) != XFLASH_OK)
        return;
    for (size_t i = 0; i < ARRAY_LEN(handlers); i++)
        if (handlers[i].code == code) {
            handlers[i].run(d);
            return;
        }
    /* Fuse, one-time zone and service commands: their exchanges are not known. */
    da_send_word(&d->link, (uint32_t)XFLASH_NOT_IMPLEMENTED);
}

static void command_loop(struct da *d)
{
    while (!d->over && !d->link.gone) {
        uint32_t code = 0;
        if (!d->link.spoiled)
            da_link_burst(&d->link, 1);
        ptrdiff_t rc = d->link.spoiled ? DA_LINK_MAGIC : da_recv_word(d, &code);
        if (rc == DA_LINK_GONE)
            return;
        if (rc < 0) {
            da_die(d, "framing of a command");
            return;
        }
        if (rc != sizeof(code))
            board_violation(d->b, "xflash.short_command");
        command(d, code);
    }
}

enum board_next da_run(struct board *b, const struct acm *acm, uint8_t *memory,
                       const struct da_image *image)
{
    AUTO(free_ptr) struct da *d = xcalloc(1, sizeof(*d));
    AUTO(free_ptr) uint8_t *scratch = xcalloc(1, DA_SCRATCH_BYTES);
    *d = (struct da){
        .b = b,
        .memory = memory,
        .scratch = scratch,
        .stage = XFLASH_DA1,
        .high_speed = acm->gadget.speed >= 3,
        .da2 = synthetic_da1_digests(span_of(memory, image->len)),
        .next = NEXT_OFF,
        .checksum_level = XFLASH_CHECKSUM_STORAGE,
    };
    da_link_init(&d->link, b, acm->gadget.packet);
    da_sleep(d, ALIVE_MS);
    if (da1_start(d))
        command_loop(d);
    board_usb_detach(b); /* `own` goes with this frame */
    return d->next;
}
