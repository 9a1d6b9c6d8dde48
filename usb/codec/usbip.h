/* usbip.h: USB/IP, both phases: a handshake (devlist, import), then URB messages of 48 bytes.
 * Headers are big-endian, the setup bytes are as on the bus. See usb/codec/README.md, "USB/IP". */
#ifndef FLASHRACK_USB_CODEC_USBIP_H
#define FLASHRACK_USB_CODEC_USBIP_H

#include "usb/base/buf.h"

#define USBIP_TCP_PORT 3240
#define USBIP_VERSION  0x0111

enum usbip_op {
    USBIP_OP_REQ_DEVLIST = 0x8005,
    USBIP_OP_REP_DEVLIST = 0x0005,
    USBIP_OP_REQ_IMPORT = 0x8003,
    USBIP_OP_REP_IMPORT = 0x0003,
};
enum usbip_op_status {
    USBIP_ST_OK,
    USBIP_ST_NA,   /* not available */
    USBIP_ST_BUSY, /* imported already */
    USBIP_ST_DEV_ERR,
    USBIP_ST_NODEV,
    USBIP_ST_ERROR,
};
const char *usbip_op_status_text(uint32_t status);

#define USBIP_OP_BYTES        8
#define USBIP_BUSID_BYTES     32
#define USBIP_PATH_BYTES      256
#define USBIP_DEVICE_BYTES    312
#define USBIP_INTERFACE_BYTES 4
#define USBIP_DEVLIST_MAX     1024 /* devices we are willing to read */
struct usbip_op_head {             /* u16 version, u16 code, u32 status */
    uint16_t code;
    uint32_t status;
};
int usbip_op_decode(struct span in, struct usbip_op_head *out, struct err *err);
void usbip_op_encode(const struct usbip_op_head *msg, struct buf *out);

/* Body of OP_REQ_IMPORT: the bus id, zero padded to 32 bytes. */
int usbip_busid_decode(struct span in, char out[USBIP_BUSID_BYTES], struct err *err);
void usbip_busid_encode(const char *busid, struct buf *out);

struct usbip_device { /* 312 bytes; texts are cut to printable ASCII */
    char path[USBIP_PATH_BYTES];
    char busid[USBIP_BUSID_BYTES];
    uint32_t busnum, devnum, speed; /* speed: 1 low, 2 full, 3 high, 5 super */
    uint16_t vid, pid, bcd_device;
    uint8_t device_class, device_subclass, device_protocol;
    uint8_t configuration_value, configuration_count, interface_count;
};
int usbip_device_decode(struct span in, struct usbip_device *out, struct err *err);
void usbip_device_encode(const struct usbip_device *msg, struct buf *out);
static inline uint32_t usbip_devid(const struct usbip_device *device)
{
    return device->busnum << 16 | (device->devnum & 0xffff);
}

struct usbip_interface { /* 4 bytes: class, subclass, protocol, 0; after each record of a devlist */
    uint8_t class_code, subclass, protocol;
};
int usbip_interface_decode(struct span in, struct usbip_interface *out, struct err *err);
void usbip_interface_encode(const struct usbip_interface *msg, struct buf *out);

/* ---- URBs -------------------------------------------------------------------------------- */
enum usbip_command {
    USBIP_CMD_SUBMIT = 1,
    USBIP_CMD_UNLINK = 2,
    USBIP_RET_SUBMIT = 3,
    USBIP_RET_UNLINK = 4,
};
enum usbip_direction { USBIP_OUT = 0, USBIP_IN = 1 };
#define USBIP_URB_BYTES         48
#define USBIP_TRANSFER_MAX      0x1000000 /* our ceiling for one URB */
#define USBIP_FLAG_SHORT_NOT_OK 0x0001
#define USBIP_FLAG_ZERO_PACKET  0x0040 /* OUT: a trailing empty packet is wanted */
#define USBIP_FLAG_DIR_IN       0x0200
/* All four messages; fields that a command does not have are 0 in both directions. */
struct usbip_urb {
    enum usbip_command command;
    uint32_t seqnum, devid, direction, ep;
    uint32_t flags;       /* CMD_SUBMIT */
    int32_t length_bytes; /* CMD_SUBMIT: transfer_buffer_length; RET_SUBMIT: actual_length */
    int32_t interval;     /* CMD_SUBMIT */
    int32_t status;       /* RET_*: 0 or a negative errno, USBIP_E* */
    uint32_t unlink;      /* CMD_UNLINK: seqnum of the URB to cancel */
    uint8_t setup[8];     /* CMD_SUBMIT on endpoint 0 */
};
/* Negative and absurd lengths are refused here; whether an answer is longer than what was asked for
 * only the asker knows. */
int usbip_urb_decode(struct span in, struct usbip_urb *out, struct err *err);
void usbip_urb_store(const struct usbip_urb *msg, uint8_t out[USBIP_URB_BYTES]);
void usbip_urb_encode(const struct usbip_urb *msg, struct buf *out);

/* Linux errno values of the wire (x86 and arm numbering), negative. */
enum usbip_errno {
    USBIP_ENOENT = -2,
    USBIP_EIO = -5,
    USBIP_ENODEV = -19,
    USBIP_EINVAL = -22,
    USBIP_EPIPE = -32, /* STALL */
    USBIP_ETIME = -62,
    USBIP_EPROTO = -71,
    USBIP_EOVERFLOW = -75, /* babble */
    USBIP_EILSEQ = -84,
    USBIP_ECONNRESET = -104, /* unlinked */
    USBIP_ESHUTDOWN = -108,
    USBIP_ETIMEDOUT = -110,
    USBIP_EREMOTEIO = -121,
};
/* ERR_GONE, ERR_REFUSED (STALL) or ERR_IO, with a sentence. */
int usbip_status_err(int32_t status, const char *what, struct err *err);

#endif
