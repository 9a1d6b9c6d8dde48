/* The strict decoder of recipes against the same files that a JSON Schema validator judges (tests/web/schema.test.mjs):
 * the shipped recipes are taken, each file of samples/recipes is refused. */
#include "tests/unit/rows.h"

#include <dirent.h>
#include <stdio.h>

#include "usb/base/mem.h"
#include "usb/plan/recipe.h"

static const char *shipped, *broken;

/* How many files there are, and how many of them the decoder takes. */
static int judge(const char *folder, int *taken_out)
{
    int count = 0;
    DIR *d = opendir(folder);
    assert_non_null(d);
    AUTO(free_ptr) struct recipe *recipe = xcalloc(1, sizeof(*recipe));
    *taken_out = 0;
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        if (!strstr(e->d_name, ".json"))
            continue;
        struct err err = {0};
        AUTO(free_ptr) char *path = xasprintf("%s/%s", folder, e->d_name);
        json_t *json = json_load_file(path, JSON_REJECT_DUPLICATES, NULL);
        assert_non_null(json);
        bool taken = recipe_decode(json, recipe, &err) == 0;
        *taken_out += taken;
        print_message("%s: %s\n", e->d_name, taken ? "taken" : err.text);
        json_decref(json);
        count++;
    }
    closedir(d);
    return count;
}

static void shipped_recipes_are_taken(void **state)
{
    (void)state;
    int taken, count = judge(shipped, &taken);
    assert_true(count >= 1);
    assert_int_equal(taken, count);
}

static void broken_recipes_are_refused(void **state)
{
    (void)state;
    int taken, count = judge(broken, &taken);
    assert_true(count >= 10);
    assert_int_equal(taken, 0);
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    shipped = argv[1];
    broken = argv[2];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shipped_recipes_are_taken),
        cmocka_unit_test(broken_recipes_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
