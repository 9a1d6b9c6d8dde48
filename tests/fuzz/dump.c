/* A dump of a few sectors: tables found, parts measured, judged and read; nothing is read past its
 * end. */
#include "tests/fuzz/fuzz.h"
#include "usb/base/mem.h"
#include "usb/format/dump.h"

static int count_sink(void *arg, const uint8_t *data, uint64_t len, struct err *err)
{
    (void)data, (void)err;
    *(uint64_t *)arg += len;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
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
