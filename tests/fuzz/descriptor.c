/* Configurations from phones. */
#include <string.h>

#include "tests/fuzz/fuzz.h"
#include "usb/transport/descriptor.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span in = span_of(data, size);
    struct usb_identity id = {0};
    struct descriptor_device device;
    uint8_t value;
    uint16_t total;
    char text[16];
    if (descriptor_pick(in, &id, NULL) == 0) {
        MUST(id.ep_in & 0x80 && !(id.ep_out & 0x80) && id.ep_out & 15 && id.ep_in & 15);
        MUST(id.packet_in && id.packet_in <= 1024 && id.packet_out && id.packet_out <= 1024);
    }
    descriptor_device_decode(in, &device, NULL);
    if (descriptor_config_head(in, &value, &total, NULL) == 0)
        MUST(total >= 9 && total <= DESCRIPTOR_CONFIG_MAX);
    descriptor_string(in, text, sizeof(text));
    MUST(strlen(text) < sizeof(text));
    return 0;
}
