/* Whatever parses can be shown, laid out as a table and derived; a copy differs in picked values
 * only. */
#include "tests/fuzz/fuzz.h"
#include "usb/base/mem.h"
#include "usb/format/scatter.h"

static void derive_first(struct span text, const struct scatter *s)
{
    AUTO(buf_deinit) struct buf copy;
    buf_init(&copy, SCATTER_BYTES_MAX);
    const struct scatter_section *section = scatter_section(s, NULL);
    if (!section || section->count == 0)
        return;
    struct scatter_pick pick = {section->entries[section->count / 2].name, "x.img"};
    struct err err = {0};
    int rc = scatter_derive(text, NULL, &pick, 1, &copy, &err);
    MUST(rc != ERR_INTERNAL); /* the copy does not say what was asked for */
    if (rc < 0)
        return;
    /* deriving the copy again changes nothing */
    AUTO(buf_deinit) struct buf again;
    buf_init(&again, SCATTER_BYTES_MAX);
    MUST(scatter_derive(buf_span(&copy), NULL, &pick, 1, &again, NULL) == 0);
    MUST(again.len == copy.len && memcmp(again.data, copy.data, copy.len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO(scatter_free) struct scatter *s = NULL;
    struct span text = span_of(data, size);
    if (scatter_parse(text, &s, NULL) < 0)
        return 0;
    static struct gpt table;
    for (uint32_t i = 0; i < s->section_count; i++) {
        (void)scatter_to_gpt(&s->sections[i], 31037849600, &table, NULL);
        (void)scatter_matches_gpt(&s->sections[i], &table, NULL);
    }
    derive_first(text, s);
    return 0;
}
