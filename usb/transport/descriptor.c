#include "usb/transport/descriptor.h"

#include "usb/codec/fastboot.h"

enum { DESC_DEVICE = 1, DESC_CONFIG = 2, DESC_STRING = 3, DESC_INTERFACE = 4, DESC_ENDPOINT = 5 };
enum { CLASS_COMM = 0x02, CLASS_CDC_DATA = 0x0a };

int descriptor_device_decode(struct span in, struct descriptor_device *out, struct err *err)
{
    if (in.len < DESCRIPTOR_DEVICE_BYTES || in.data[1] != DESC_DEVICE)
        return err_set(err, ERR_PROTOCOL, "device descriptor of %zu bytes", in.len);
    *out = (struct descriptor_device){
        .device_class = in.data[4],
        .vid = get_le16(in.data + 8),
        .pid = get_le16(in.data + 10),
        .bcd_device = get_le16(in.data + 12),
        .serial_index = in.data[16],
    };
    return 0;
}

int descriptor_config_head(struct span in, uint8_t *value_out, uint16_t *total_out, struct err *err)
{
    if (in.len < 9 || in.data[1] != DESC_CONFIG)
        return err_set(err, ERR_PROTOCOL, "configuration descriptor of %zu bytes", in.len);
    uint16_t total = get_le16(in.data + 2);
    if (total < 9 || total > DESCRIPTOR_CONFIG_MAX)
        return err_set(err, ERR_PROTOCOL, "configuration of %u bytes", total);
    *value_out = in.data[5];
    *total_out = total;
    return 0;
}

/* An interface while its endpoints pass by. */
struct candidate {
    uint8_t number, ep_in, ep_out;
    uint16_t packet_in, packet_out;
    int rank; /* 3 fastboot, 2 CDC data, 1 anything, 0 none */
};

static int rank_of(const uint8_t *d)
{
    if (d[5] == FASTBOOT_USB_CLASS && d[6] == FASTBOOT_USB_SUBCLASS &&
        d[7] == FASTBOOT_USB_PROTOCOL)
        return 3;
    return d[5] == CLASS_CDC_DATA ? 2 : 1;
}

static void endpoint_take(struct candidate *c, const uint8_t *d)
{
    uint16_t packet = get_le16(d + 4) & 0x7ff;
    bool bulk = (d[3] & 3) == 2 && packet && packet <= 1024 && (d[2] & 15);
    if (bulk && d[2] & 0x80 && !c->ep_in) {
        c->ep_in = d[2];
        c->packet_in = packet;
    } else if (bulk && !(d[2] & 0x80) && !c->ep_out) {
        c->ep_out = d[2];
        c->packet_out = packet;
    }
}

static void better(struct candidate *best, const struct candidate *c)
{
    if (c->ep_in && c->ep_out && c->rank > best->rank)
        *best = *c;
}

int descriptor_pick(struct span config, struct usb_identity *id, struct err *err)
{
    struct candidate best = {0}, now = {0};
    uint8_t comm = 0xff;
    for (size_t at = 0; at + 2 <= config.len;) {
        const uint8_t *d = config.data + at;
        size_t len = d[0];
        if (len < 2 || len > config.len - at)
            break; /* garbage: what came before may still do */
        if (d[1] == DESC_INTERFACE && len >= 9) {
            better(&best, &now);
            /* alternate settings other than 0 would need SET_INTERFACE: rank 0, never chosen */
            now = (struct candidate){.number = d[2], .rank = d[3] == 0 ? rank_of(d) : 0};
            if (d[5] == CLASS_COMM && comm == 0xff)
                comm = d[2];
        } else if (d[1] == DESC_ENDPOINT && len >= 7) {
            endpoint_take(&now, d);
        }
        at += len;
    }
    better(&best, &now);
    if (!best.rank)
        return err_set(err, ERR_UNSUPPORTED, "no interface with a bulk pair");
    id->interface = best.number;
    id->ep_in = best.ep_in;
    id->ep_out = best.ep_out;
    id->packet_in = best.packet_in;
    id->packet_out = best.packet_out;
    id->comm_interface = comm;
    id->fastboot = best.rank == 3;
    return 0;
}

void descriptor_string(struct span in, char *out, size_t out_size)
{
    size_t n = 0;
    out[0] = '\0';
    if (in.len < 2 || in.data[1] != DESC_STRING)
        return;
    size_t len = in.data[0] < in.len ? in.data[0] : in.len;
    for (size_t i = 2; i + 1 < len && n + 1 < out_size; i += 2) {
        uint16_t c = get_le16(in.data + i);
        out[n++] = c < 0x20 || c > 0x7e ? '?' : (char)c;
    }
    out[n] = '\0';
}
