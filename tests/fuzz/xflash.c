/* The first byte picks a message. What decodes must encode to bytes that decode to the same again; where a
 * message has one length only, to the very same bytes. */
#include <string.h>

#include "tests/fuzz/fuzz.h"
#include "usb/codec/xflash.h"

#define MESSAGES(X) /* name, bytes come back unchanged */                                          \
    X(header, 1)                                                                                   \
    X(environment, 0)                                                                              \
    X(boot_to, 1)                                                                                  \
    X(range, 0)                                                                                    \
    X(shutdown, 0)                                                                                 \
    X(emmc_info, 0)                                                                                \
    X(nand_info, 0)                                                                                \
    X(nor_info, 1)                                                                                 \
    X(packet_length, 1)                                                                            \
    X(ram_info, 0)                                                                                 \
    X(chip_id, 1)                                                                                  \
    X(register, 0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    struct span in = span_of(data + 1, size - 1);
    struct buf out, again;
    buf_init(&out, 4096);
    buf_init(&again, 4096);
    unsigned kind = 0;
#define X(name, exact)                                                                             \
    if (data[0] == kind++) {                                                                       \
        struct xflash_##name msg;                                                                  \
        memset(&msg, 0, sizeof(msg));                                                              \
        if (xflash_##name##_decode(in, &msg, NULL) == 0) {                                         \
            xflash_##name##_encode(&msg, &out);                                                    \
            MUST(!(exact) || (out.len == in.len && memcmp(out.data, in.data, in.len) == 0));       \
            MUST(xflash_##name##_decode(buf_span(&out), &msg, NULL) == 0);                         \
            xflash_##name##_encode(&msg, &again);                                                  \
            MUST(out.len == again.len && memcmp(out.data, again.data, out.len) == 0);              \
        }                                                                                          \
    }
    MESSAGES(X)
#undef X
    struct xflash_ufs_info ufs;
    struct span text;
    uint32_t word;
    char name[XFLASH_NAME_MAX + 1];
    xflash_ufs_info_decode(in, &ufs, NULL);
    if (xflash_message_decode(in, &text, NULL) == 0)
        MUST(text.len == in.len - 4);
    if (xflash_name_decode(in, name, NULL) == 0)
        MUST(strlen(name) <= XFLASH_NAME_MAX);
    if (xflash_word_decode(in, &word, NULL) == 0) {
        struct err err;
        MUST(xflash_status_err(word, "fuzz", &err) < 0);
    }
    buf_deinit(&out);
    buf_deinit(&again);
    return 0;
}
