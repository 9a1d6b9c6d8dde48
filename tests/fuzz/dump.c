/* A dump of a few sectors: tables found, parts measured, judged and read; nothing is read past its
 * end. The same bytes as an image of a partition: judged alike however they come. */
#include "tests/fuzz/fuzz.h"
#include "usb/base/mem.h"
#include "usb/format/dump.h"

static int count_sink(void *arg, const uint8_t *data, uint64_t len, struct err *err)
{
    (void)data, (void)err;
    *(uint64_t *)arg += len;
    return 0;
}

static void judge_in_parts(const char *name, struct span image)
{
    enum { STEP = 1021 };
    struct plausible whole, parts;
    struct plausible_scan scan;
    plausible_of(name, image, 0, &whole);
    plausible_begin(&scan, name, image.len, 0);
    for (size_t at = 0; at < image.len; at += STEP)
        plausible_feed(&scan, span_sub(image, at, STEP));
    plausible_end(&scan, &parts);
    MUST(whole.verdict == parts.verdict && strcmp(whole.reason, parts.reason) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const images[] = {"nvcfg", "nvram", "proinfo"};
    for (size_t i = 0; i < ARRAY_LEN(images); i++)
        judge_in_parts(images[i], span_of(data, size));
    struct input *in = input_of_span(span_of(data, size));
    struct dump_options options = {0};
    AUTO(dump_close) struct dump *d = NULL;
    if (dump_open(in, &options, &d, NULL) < 0) {
        input_close(&in);
        return 0;
    }
    for (uint32_t i = 0; i < d->count; i++) {
        struct dump_part *p = &d->parts[i];
        struct plausible judged;
        uint64_t fed = 0;
        bool complete = p->complete;
        (void)dump_judge(d, p, &judged, NULL);
        int rc = dump_read(d, p, count_sink, &fed, NULL);
        MUST(complete ? rc == 0 && fed == p->size_bytes : rc < 0);
    }
    return 0;
}
