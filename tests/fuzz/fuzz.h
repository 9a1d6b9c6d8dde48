/* fuzz.h: what all fuzz targets share. A target aborts when a promise of the parser is broken. */
#ifndef FLASHRACK_TESTS_FUZZ_H
#define FLASHRACK_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(condition)                                                                            \
    do {                                                                                           \
        if (!(condition))                                                                          \
            abort();                                                                               \
    } while (0)

#endif
