/* The first byte picks a message of the handshake or a URB header. */
#include <string.h>

#include "tests/fuzz/fuzz.h"
#include "usb/codec/usbip.h"

static void urb(struct span in)
{
    struct usbip_urb msg, again;
    uint8_t raw[USBIP_URB_BYTES];
    if (usbip_urb_decode(in, &msg, NULL) < 0)
        return;
    MUST(msg.length_bytes >= 0 && msg.length_bytes <= USBIP_TRANSFER_MAX);
    usbip_urb_store(&msg, raw);
    MUST(usbip_urb_decode(span_of(raw, sizeof(raw)), &again, NULL) == 0);
    MUST(again.seqnum == msg.seqnum && again.length_bytes == msg.length_bytes &&
         again.status == msg.status && again.unlink == msg.unlink);
}

static void device(struct span in)
{
    struct usbip_device msg;
    if (usbip_device_decode(in, &msg, NULL) == 0)
        MUST(strlen(msg.path) < sizeof(msg.path) && strlen(msg.busid) < sizeof(msg.busid));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    struct span in = span_of(data + 1, size - 1);
    struct usbip_op_head head;
    struct usbip_interface face;
    char busid[USBIP_BUSID_BYTES];
    if (data[0] % 4 == 0)
        urb(in);
    else if (data[0] % 4 == 1)
        device(in);
    else if (data[0] % 4 == 2 && usbip_busid_decode(in, busid, NULL) == 0)
        MUST(busid[0] && strlen(busid) < sizeof(busid));
    usbip_op_decode(in, &head, NULL);
    usbip_interface_decode(in, &face, NULL);
    return 0;
}
