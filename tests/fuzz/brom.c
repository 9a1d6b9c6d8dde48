/* The first byte picks a message. What decodes must encode to the same bytes. */
#include <string.h>

#include "tests/fuzz/fuzz.h"
#include "usb/codec/brom.h"

#define MESSAGES(X)                                                                                \
    X(hw_code)                                                                                     \
    X(versions)                                                                                    \
    X(target_config)                                                                               \
    X(capabilities)                                                                                \
    X(id)                                                                                          \
    X(da_result)                                                                                   \
    X(send_da)                                                                                     \
    X(memory)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    struct span in = span_of(data + 1, size - 1);
    struct buf out;
    buf_init(&out, 256);
    unsigned kind = 0;
#define X(name)                                                                                    \
    if (data[0] == kind++) {                                                                       \
        struct brom_##name msg;                                                                    \
        if (brom_##name##_decode(in, &msg, NULL) == 0) {                                           \
            brom_##name##_encode(&msg, &out);                                                      \
            MUST(out.len == in.len && memcmp(out.data, in.data, in.len) == 0);                     \
        }                                                                                          \
    }
    MESSAGES(X)
#undef X
    unsigned index = 0;
    uint8_t answer;
    for (size_t i = 0; i < in.len; i++) {
        brom_start_feed(&index, in.data[i], &answer);
        MUST(index <= BROM_START_BYTES);
    }
    buf_deinit(&out);
    return 0;
}
