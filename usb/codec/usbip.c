#include "usb/codec/usbip.h"

#include "usb/base/mem.h"

const char *usbip_op_status_text(uint32_t status)
{
    static const char *const texts[] = {
        "ok",           "not available",  "in use by another station",
        "device error", "no such device", "unexpected request"};
    return status < ARRAY_LEN(texts) ? texts[status] : "unknown status";
}

int usbip_op_decode(struct span in, struct usbip_op_head *out, struct err *err)
{
    struct reader r = reader_of(in);
    uint16_t version = rd_be16(&r);
    struct usbip_op_head msg;
    msg.code = rd_be16(&r);
    msg.status = rd_be32(&r);
    if (!reader_done(&r) || version != USBIP_VERSION)
        return err_set(err, ERR_PROTOCOL, "usbip: version %04x, %zu bytes", version, in.len);
    *out = msg;
    return 0;
}

void usbip_op_encode(const struct usbip_op_head *msg, struct buf *out)
{
    buf_put_be16(out, USBIP_VERSION);
    buf_put_be16(out, msg->code);
    buf_put_be32(out, msg->status);
}

/* A zero-padded text field into a C string of the same size; what is not printable ends it. */
static void text_read(struct reader *r, char *out, size_t size)
{
    struct span field = rd_bytes(r, size);
    size_t n = 0;
    while (n < field.len && n < size - 1 && field.data[n] >= 0x20 && field.data[n] <= 0x7e)
        n++;
    if (n)
        memcpy(out, field.data, n);
    memset(out + n, 0, size - n);
}

static void text_put(const char *text, size_t size, struct buf *out)
{
    size_t len = strnlen(text, size - 1);
    buf_put(out, text, len);
    buf_put_zeros(out, size - len);
}

int usbip_busid_decode(struct span in, char out[USBIP_BUSID_BYTES], struct err *err)
{
    struct reader r = reader_of(in);
    char busid[USBIP_BUSID_BYTES];
    text_read(&r, busid, sizeof(busid));
    if (!reader_done(&r) || !busid[0])
        return err_set(err, ERR_PROTOCOL, "usbip: no bus id in %zu bytes", in.len);
    memcpy(out, busid, sizeof(busid));
    return 0;
}

void usbip_busid_encode(const char *busid, struct buf *out)
{
    text_put(busid, USBIP_BUSID_BYTES, out);
}

int usbip_device_decode(struct span in, struct usbip_device *out, struct err *err)
{
    struct reader r = reader_of(in);
    struct usbip_device msg;
    text_read(&r, msg.path, sizeof(msg.path));
    text_read(&r, msg.busid, sizeof(msg.busid));
    msg.busnum = rd_be32(&r);
    msg.devnum = rd_be32(&r);
    msg.speed = rd_be32(&r);
    msg.vid = rd_be16(&r);
    msg.pid = rd_be16(&r);
    msg.bcd_device = rd_be16(&r);
    msg.device_class = rd_u8(&r);
    msg.device_subclass = rd_u8(&r);
    msg.device_protocol = rd_u8(&r);
    msg.configuration_value = rd_u8(&r);
    msg.configuration_count = rd_u8(&r);
    msg.interface_count = rd_u8(&r);
    if (!reader_done(&r) || !msg.busid[0])
        return err_set(err, ERR_PROTOCOL, "usbip: device record of %zu bytes", in.len);
    *out = msg;
    return 0;
}

void usbip_device_encode(const struct usbip_device *msg, struct buf *out)
{
    text_put(msg->path, USBIP_PATH_BYTES, out);
    text_put(msg->busid, USBIP_BUSID_BYTES, out);
    buf_put_be32(out, msg->busnum);
    buf_put_be32(out, msg->devnum);
    buf_put_be32(out, msg->speed);
    buf_put_be16(out, msg->vid);
    buf_put_be16(out, msg->pid);
    buf_put_be16(out, msg->bcd_device);
    buf_put_u8(out, msg->device_class);
    buf_put_u8(out, msg->device_subclass);
    buf_put_u8(out, msg->device_protocol);
    buf_put_u8(out, msg->configuration_value);
    buf_put_u8(out, msg->configuration_count);
    buf_put_u8(out, msg->interface_count);
}

int usbip_interface_decode(struct span in, struct usbip_interface *out, struct err *err)
{
    struct reader r = reader_of(in);
    struct usbip_interface msg;
    msg.class_code = rd_u8(&r);
    msg.subclass = rd_u8(&r);
    msg.protocol = rd_u8(&r);
    rd_skip(&r, 1);
    if (!reader_done(&r))
        return err_set(err, ERR_PROTOCOL, "usbip: interface record of %zu bytes", in.len);
    *out = msg;
    return 0;
}

void usbip_interface_encode(const struct usbip_interface *msg, struct buf *out)
{
    buf_put_u8(out, msg->class_code);
    buf_put_u8(out, msg->subclass);
    buf_put_u8(out, msg->protocol);
    buf_put_u8(out, 0);
}

/* Bytes 20..47 of each message. */
static void urb_body_read(struct reader *r, struct usbip_urb *msg)
{
    struct span setup;
    switch (msg->command) {
    case USBIP_CMD_SUBMIT:
        msg->flags = rd_be32(r);
        msg->length_bytes = (int32_t)rd_be32(r);
        rd_skip(r, 8); /* start_frame, number_of_packets: isochronous only; 0 or -1 */
        msg->interval = (int32_t)rd_be32(r);
        setup = rd_bytes(r, sizeof(msg->setup));
        if (setup.len)
            memcpy(msg->setup, setup.data, setup.len);
        break;
    case USBIP_RET_SUBMIT:
        msg->status = (int32_t)rd_be32(r);
        msg->length_bytes = (int32_t)rd_be32(r);
        rd_skip(r, 20);
        break;
    case USBIP_CMD_UNLINK:
        msg->unlink = rd_be32(r);
        rd_skip(r, 24);
        break;
    case USBIP_RET_UNLINK:
        msg->status = (int32_t)rd_be32(r);
        rd_skip(r, 24);
        break;
    }
}

int usbip_urb_decode(struct span in, struct usbip_urb *out, struct err *err)
{
    struct reader r = reader_of(in);
    uint32_t command = rd_be32(&r);
    if (command < USBIP_CMD_SUBMIT || command > USBIP_RET_UNLINK)
        return err_set(err, ERR_PROTOCOL, "usbip: message %08x", command);
    struct usbip_urb msg = {.command = (enum usbip_command)command};
    msg.seqnum = rd_be32(&r);
    msg.devid = rd_be32(&r);
    msg.direction = rd_be32(&r);
    msg.ep = rd_be32(&r);
    urb_body_read(&r, &msg);
    bool answer =
        msg.command >= USBIP_RET_SUBMIT; /* endpoint and direction of answers mean nothing */
    if (!reader_done(&r) || (!answer && (msg.direction > USBIP_IN || msg.ep > 15)) ||
        msg.length_bytes < 0 || msg.length_bytes > USBIP_TRANSFER_MAX || msg.status > 0)
        return err_set(err, ERR_PROTOCOL, "usbip: message %u: %zu bytes, length %d, status %d",
                       command, in.len, msg.length_bytes, msg.status);
    *out = msg;
    return 0;
}

void usbip_urb_store(const struct usbip_urb *msg, uint8_t out[USBIP_URB_BYTES])
{
    memset(out, 0, USBIP_URB_BYTES);
    put_be32(out, msg->command);
    put_be32(out + 4, msg->seqnum);
    put_be32(out + 8, msg->devid);
    put_be32(out + 12, msg->direction);
    put_be32(out + 16, msg->ep);
    switch (msg->command) {
    case USBIP_CMD_SUBMIT:
        put_be32(out + 20, msg->flags);
        put_be32(out + 24, (uint32_t)msg->length_bytes);
        put_be32(out + 36, (uint32_t)msg->interval);
        memcpy(out + 40, msg->setup, sizeof(msg->setup));
        break;
    case USBIP_RET_SUBMIT:
        put_be32(out + 20, (uint32_t)msg->status);
        put_be32(out + 24, (uint32_t)msg->length_bytes);
        break;
    case USBIP_CMD_UNLINK:
        put_be32(out + 20, msg->unlink);
        break;
    case USBIP_RET_UNLINK:
        put_be32(out + 20, (uint32_t)msg->status);
        break;
    }
}

void usbip_urb_encode(const struct usbip_urb *msg, struct buf *out)
{
    uint8_t raw[USBIP_URB_BYTES];
    usbip_urb_store(msg, raw);
    buf_put(out, raw, sizeof(raw));
}

int usbip_status_err(int32_t status, const char *what, struct err *err)
{
    switch (status) {
    case USBIP_EPIPE:
        return err_set(err, ERR_REFUSED, "%s: the phone answered with a stall", what);
    case USBIP_ENODEV:
    case USBIP_ESHUTDOWN:
        return err_set(err, ERR_GONE, "%s: the phone is gone", what);
    case USBIP_EOVERFLOW:
        return err_set(err, ERR_IO, "%s: the phone sent more than was asked for", what);
    default:
        return err_set(err, ERR_IO, "%s: USB error %d", what, (int)status);
    }
}
