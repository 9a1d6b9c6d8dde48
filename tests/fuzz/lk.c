/* The image header, and the other small readers of fixed places. */
#include "tests/fuzz/fuzz.h"
#include "usb/format/firmware.h"
#include "usb/format/lk.h"
#include "usb/format/para.h"
#include "usb/format/plausible.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span in = span_of(data, size);
    struct mtk_image image;
    if (lk_check(in, size, &image, NULL) == 0)
        MUST(MTK_IMAGE_HEADER_BYTES + (uint64_t)image.data_bytes <= size);
    struct para para;
    if (para_decode(in, &para, NULL) == 0) {
        char slot = para_active_slot(&para);
        MUST(slot == 0 || slot == 'a' || slot == 'b');
    }
    struct checksum_line line;
    if (checksum_line_parse(in, &line))
        MUST(line.name[0] && (line.digest[32] == 0 || line.digest[64] == 0));
    for (size_t i = 0; role_identity_names[i]; i++) {
        struct plausible p;
        plausible_of(role_identity_names[i], in, 0, &p);
        MUST(p.reason[0]);
    }
    return 0;
}
