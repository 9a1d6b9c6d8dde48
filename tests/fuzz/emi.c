#include "tests/fuzz/fuzz.h"
#include "usb/format/emi.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span block;
    struct emi_info info;
    if (emi_cut(span_of(data, size), &block, NULL) < 0)
        return 0;
    MUST(block.data >= data && block.data + block.len <= data + size);
    (void)emi_decode(block, &info, NULL);
    return 0;
}
