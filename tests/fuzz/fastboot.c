/* Commands, responses, numbers, FAIL texts. */
#include <string.h>

#include "tests/fuzz/fuzz.h"
#include "usb/codec/fastboot.h"

static void response(struct span in)
{
    struct fastboot_response msg, again;
    if (fastboot_response_decode(in, &msg, NULL) < 0)
        return;
    MUST(strlen(msg.text) < sizeof(msg.text));
    for (const char *p = msg.text; *p; p++)
        MUST(*p >= 0x20 && *p <= 0x7e);
    struct buf out;
    struct err err;
    buf_init(&out, 512);
    fastboot_response_encode(&msg, FASTBOOT_RESPONSE_MAX, &out);
    MUST(fastboot_response_decode(buf_span(&out), &again, NULL) == 0);
    MUST(again.kind == msg.kind && again.data_bytes == msg.data_bytes);
    MUST(fastboot_fail_err(msg.text, "fuzz", &err) < 0);
    buf_deinit(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span in = span_of(data, size);
    struct fastboot_command command;
    char text[64];
    uint64_t number;
    uint32_t bytes;
    response(in);
    if (fastboot_command_decode(in, &command, NULL) == 0) {
        MUST(strlen(command.text) == size);
        MUST(strlen(command.verb) + strlen(command.argument) <= size);
        fastboot_download_decode(&command, &bytes, NULL);
    }
    if (size < sizeof(text) && size) {
        memcpy(text, data, size);
        text[size] = '\0';
        fastboot_number_parse(text, &number, NULL);
        fastboot_hex_parse(text, &number, NULL);
    }
    return 0;
}
