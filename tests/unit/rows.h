/* rows.h: table-driven cmocka tests. Each row is a struct whose first member is `const char *name`;
 * RUN_ROWS(fn, rows) makes every row a test of its own that calls fn(&row). */
#ifndef FLASHRACK_TESTS_ROWS_H
#define FLASHRACK_TESTS_ROWS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static inline int rows_run(CMUnitTestFunction fn, const void *rows, size_t count, size_t size)
{
    struct CMUnitTest *tests = calloc(count, sizeof(*tests));
    for (size_t i = 0; i < count; i++) {
        const char *row = (const char *)rows + i * size;
        tests[i] = (struct CMUnitTest){.name = *(const char *const *)row,
                                       .test_func = fn,
                                       .initial_state = (void *)(uintptr_t)row};
    }
    int failed = _cmocka_run_group_tests("rows", tests, count, NULL, NULL);
    free(tests);
    return failed;
}

#define RUN_ROWS(fn, rows)                                                                         \
    rows_run((CMUnitTestFunction)(void (*)(void **))fn, rows, sizeof(rows) / sizeof((rows)[0]),    \
             sizeof((rows)[0]))
/* In the test function: `static void fn(void **state)`, then `const struct row *row = ROW(state);` */
#define ROW(state) (*(state))

#endif
