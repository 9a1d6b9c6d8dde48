/* The first byte says which checksums are made right, so that the search gets past them; then the
 * rest is read as a primary and as a backup table. */
#include <string.h>

#include "tests/fuzz/fuzz.h"
#include "usb/base/hash.h"
#include "usb/format/gpt.h"

static void fix(uint8_t *header, const uint8_t *table, size_t table_len)
{
    uint32_t count = get_le32(header + 80);
    size_t len = (size_t)count * 128;
    if (count <= GPT_ENTRIES_MAX && len <= table_len)
        put_le32(header + 88, crc32_of(0, span_of(table, len)));
    put_le32(header + 12, 92);
    put_le32(header + 16, 0);
    put_le32(header + 16, crc32_of(0, span_of(header, 92)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct gpt table;
    static uint8_t copy[64 * 1024];
    if (size < 1 || size > sizeof(copy))
        return 0;
    size_t len = size - 1;
    memcpy(copy, data + 1, len);
    if (data[0] & 1 && len >= 1024)
        fix(copy + 512, copy + 1024, len - 1024);
    if (data[0] & 2 && len >= GPT_TABLE_BYTES + 512)
        fix(copy + len - 512, copy + len - 512 - GPT_TABLE_BYTES, GPT_TABLE_BYTES);
    struct span in = span_of(copy, len);
    struct gpt *found = &table;
    for (int backup = 0; backup < 2; backup++) {
        int rc = backup ? gpt_probe_backup(in, found, NULL) : gpt_probe(in, found, NULL);
        for (uint32_t i = 0; rc >= 0 && i < found->count; i++) {
            struct extent x = gpt_extent(found, &found->entries[i]);
            MUST(x.size_bytes > 0 && x.start_bytes + x.size_bytes > x.start_bytes);
            MUST(strlen(found->entries[i].name) < GPT_NAME_BYTES);
        }
    }
    return 0;
}
