#include "tests/fuzz/fuzz.h"
#include "usb/format/da_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct da_file da;
    if (da_file_decode(span_of(data, size), size, &da, NULL) < 0)
        return 0;
    const struct da_entry *e;
    if (da_file_pick(&da, DA_CODE_MT6771, 0xca00, 0, &e, NULL) < 0)
        return 0;
    struct da_stage a = da_stage1(e), b = da_stage2(e);
    MUST((uint64_t)a.offset + a.length <= size && (uint64_t)b.offset + b.length <= size);
    MUST(a.length <= DA1_BYTES_MAX && b.length > 0);
    return 0;
}
