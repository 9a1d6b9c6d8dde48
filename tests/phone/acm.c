#include "tests/phone/acm.h"

#include <string.h>

#include "usb/base/mem.h"
#include "usb/base/span.h"
#include "usb/codec/brom.h"

/* README.md, "USB identities of the download path". The preloader's bytes are those of a genuine
 * MediaTek image; of the boot ROM only speed, class, string indexes and sizes are known, the rest
 * is constructed; the agent's own descriptors are constructed after the preloader's. */
static const uint8_t brom_device[ACM_DEVICE_BYTES] = {
    0x12, 0x01, 0x00, 0x02, 0x02, 0x00, 0x00, 0x40, 0x8d,
    0x0e, 0x03, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x01,
};
static const uint8_t preloader_device[ACM_DEVICE_BYTES] = {
    0x12, 0x01, 0x10, 0x02, 0x02, 0x00, 0x00, 0x40, 0x8d,
    0x0e, 0x00, 0x20, 0x00, 0x01, 0x01, 0x02, 0x00, 0x01,
};
static const uint8_t agent_device[ACM_DEVICE_BYTES] = {
    0x12, 0x01, 0x00, 0x02, 0x02, 0x00, 0x00, 0x40, 0x8d,
    0x0e, 0x01, 0x20, 0x00, 0x01, 0x01, 0x02, 0x00, 0x01,
};

static const uint8_t brom_config[ACM_CONFIG_BYTES] = {
    0x09, 0x02, 0x43, 0x00, 0x02, 0x01, 0x00, 0x80, 0x00, /* no strings, bus powered, 0 mA */
    0x09, 0x04, 0x00, 0x00, 0x01, 0x02, 0x02, 0x01, 0x00, /* 0: communication, ACM */
    0x05, 0x24, 0x00, 0x10, 0x01,                         /* CDC 1.10 */
    0x04, 0x24, 0x02, 0x0f,                               /* ACM capabilities */
    0x05, 0x24, 0x06, 0x00, 0x01,                         /* union 0, 1 */
    0x05, 0x24, 0x01, 0x03, 0x01,                         /* call management on 1 */
    0x07, 0x05, 0x83, 0x03, 0x40, 0x00, 0x10,             /* interrupt IN */
    0x09, 0x04, 0x01, 0x00, 0x02, 0x0a, 0x00, 0x00, 0x00, /* 1: data */
    0x07, 0x05, 0x01, 0x02, 0x40, 0x00, 0x00,             /* bulk OUT, 64 */
    0x07, 0x05, 0x81, 0x02, 0x40, 0x00, 0x00,             /* bulk IN, 64 */
};
static const uint8_t preloader_config[ACM_CONFIG_BYTES] = {
    0x09, 0x02, 0x43, 0x00, 0x02, 0x01, 0x03, 0xc0, 0xfa, /* string 3, self powered, 500 mA */
    0x09, 0x04, 0x00, 0x00, 0x01, 0x02, 0x02, 0x01, 0x05, /* 0: communication, string 5 */
    0x05, 0x24, 0x00, 0x10, 0x01,                         /* CDC 1.10 */
    0x04, 0x24, 0x02, 0x0f,                               /* ACM capabilities */
    0x05, 0x24, 0x06, 0x01, 0x00,                         /* union, reversed as in the image */
    0x05, 0x24, 0x01, 0x03, 0x00,                         /* call management on 0 */
    0x07, 0x05, 0x83, 0x03, 0x40, 0x00, 0x10,             /* interrupt IN */
    0x09, 0x04, 0x01, 0x00, 0x02, 0x0a, 0x00, 0x00, 0x04, /* 1: data, string 4 */
    0x07, 0x05, 0x01, 0x02, 0x00, 0x02, 0x00,             /* bulk OUT, 512 */
    0x07, 0x05, 0x81, 0x02, 0x00, 0x02, 0x00,             /* bulk IN, 512 */
};
/* bcdUSB 2.10 wants one: USB 2.0 extension with LPM, and a super-speed capability. Sizes are
 * genuine, the capability's latencies are constructed. */
static const uint8_t preloader_bos[] = {
    0x05, 0x0f, 0x16, 0x00, 0x02,                               /* two capabilities */
    0x07, 0x10, 0x02, 0x02, 0x00, 0x00, 0x00,                   /* USB 2.0 extension, LPM */
    0x0a, 0x10, 0x03, 0x00, 0x0e, 0x00, 0x01, 0x0a, 0xff, 0x07, /* full, high and super speed */
};
/* A genuine preloader has one; its contents follow from the device descriptor. */
static const uint8_t preloader_qualifier[] = {0x0a, 0x06, 0x10, 0x02, 0x02,
                                              0x00, 0x00, 0x40, 0x01, 0x00};
static const char *const preloader_strings[] = {
    "MediaTek",
    "MT65xx Preloader",
    "USB CDC ACM for preloader",
    "CDC ACM Data Interface",
    "CDC ACM Comm Interface",
};
static const char *const agent_strings[] = {
    "MediaTek",
    "DA USB VCOM",
    "USB CDC ACM for DA",
    "CDC ACM Data Interface",
    "CDC ACM Comm Interface",
};

enum { SET_LINE_CODING = 0x20, GET_LINE_CODING, SET_CONTROL_LINE_STATE, SEND_BREAK };

static int acm_control(void *ctx, const uint8_t setup[8], const uint8_t *out, uint8_t *in,
                       size_t in_max)
{
    struct acm *a = ctx;
    uint16_t length = get_le16(setup + 6);
    if (setup[0] == 0xa1 && setup[1] == GET_LINE_CODING) {
        size_t n = MIN_OF(MIN_OF((size_t)length, sizeof(a->line_coding)), in_max);
        memcpy(in, a->line_coding, n);
        return (int)n;
    }
    if (setup[0] != 0x21)
        return -1;
    switch (setup[1]) {
    case SET_LINE_CODING:
        if (length != sizeof(a->line_coding))
            return -1;
        memcpy(a->line_coding, out, sizeof(a->line_coding));
        atomic_store(&a->tool, true);
        return 0;
    case SET_CONTROL_LINE_STATE:
    case SEND_BREAK:
        return 0;
    default:
        return -1;
    }
}

void acm_init(struct acm *a, enum acm_kind kind)
{
    static const uint8_t coding[ACM_LINE_CODING_BYTES] = {0x00, 0x10, 0x0e, 0x00, 0x00, 0x00, 0x08};
    static const uint8_t *const devices[] = {brom_device, preloader_device, agent_device};
    *a = (struct acm){
        .gadget =
            {
                .speed = kind == ACM_BROM ? 2 : 3,
                .config_desc = kind == ACM_BROM ? brom_config : preloader_config,
                .config_len = ACM_CONFIG_BYTES,
                .ep_in = 0x81,
                .ep_out = 0x01,
                .packet = kind == ACM_BROM ? 64 : 512,
                .control = acm_control,
            },
    };
    memcpy(a->device, devices[kind], sizeof(a->device));
    memcpy(a->line_coding, coding, sizeof(coding));
    a->gadget.device_desc = a->device;
    a->gadget.ctx = a;
    if (kind == ACM_PRELOADER) {
        a->gadget.bos_desc = preloader_bos;
        a->gadget.bos_len = sizeof(preloader_bos);
        a->gadget.qualifier_desc = preloader_qualifier;
    }
    if (kind != ACM_BROM) {
        a->gadget.strings = kind == ACM_PRELOADER ? preloader_strings : agent_strings;
        a->gadget.string_count = ARRAY_LEN(preloader_strings);
    }
}

void acm_id_set(struct acm *a, uint16_t vid, uint16_t pid)
{
    put_le16(a->device + 8, vid);
    put_le16(a->device + 10, pid);
}
