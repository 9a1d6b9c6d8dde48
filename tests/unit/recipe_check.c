/* usb/plan/check: the shipped recipes pass; each rule is broken once, and the check says which. Usage:
 * recipe_check FOLDER_OF_RECIPES */
#include "tests/unit/rows.h"

#include <dirent.h>
#include <jansson.h>
#include <stdio.h>

#include "usb/base/mem.h"
#include "usb/plan/check.h"

static const char *folder;

static json_t *load(const char *name)
{
    AUTO(free_ptr) char *path = xasprintf("%s/%s", folder, name);
    json_t *json = json_load_file(path, JSON_REJECT_DUPLICATES, NULL);
    if (!json)
        fail_msg("%s does not load", path);
    return json;
}

static struct recipe *decode(json_t *json)
{
    struct err err = {0};
    struct recipe *r = xcalloc(1, sizeof(*r));
    if (recipe_decode(json, r, &err) < 0)
        fail_msg("%s", err.text);
    return r;
}

static void shipped_recipes_keep_the_laws(void **state)
{
    (void)state;
    int count = 0;
    DIR *d = opendir(folder);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        struct err err = {0};
        if (!strstr(e->d_name, ".json"))
            continue;
        json_auto_t *json = load(e->d_name);
        AUTO(free_ptr) struct recipe *r = decode(json);
        if (recipe_check(r, &err) < 0)
            fail_msg("%s: %s", e->d_name, err.text);
        count++;
    }
    closedir(d);
    assert_true(count >= 1);
}

/* ---- recipes that break one rule each --------------------------------------------------------------------- */

static json_t *list_of(const char *text)
{
    json_t *list = json_loads(text, 0, NULL);
    assert_non_null(list);
    return list;
}

static size_t place_of(json_t *recipe, const char *id)
{
    size_t i;
    json_t *step, *steps = json_object_get(recipe, "steps");
    json_array_foreach(steps, i, step)
    {
        if (strcmp(json_string_value(json_object_get(step, "id")), id) == 0)
            return i;
    }
    fail_msg("the recipe has no step %s", id);
    return 0;
}

static json_t *step_of(json_t *recipe, const char *id)
{
    return json_array_get(json_object_get(recipe, "steps"), place_of(recipe, id));
}

static void take_name_out(json_t *list, const char *id)
{
    for (size_t i = json_array_size(list); i > 0; i--)
        if (strcmp(json_string_value(json_array_get(list, i - 1)), id) == 0)
            json_array_remove(list, i - 1);
}

static void drop(json_t *recipe, const char *id)
{
    size_t i;
    json_t *step, *steps = json_object_get(recipe, "steps");
    json_array_remove(steps, place_of(recipe, id));
    json_array_foreach(steps, i, step)
    {
        take_name_out(json_object_get(step, "reopen"), id);
        take_name_out(json_object_get(step, "of"), id);
    }
}

/* Moves step `id` to right before step `other`. */
static void move_before(json_t *recipe, const char *id, const char *other)
{
    json_t *steps = json_object_get(recipe, "steps"), *step = json_incref(step_of(recipe, id));
    json_array_remove(steps, place_of(recipe, id));
    json_array_insert_new(steps, place_of(recipe, other), step);
}

static void no_backup(json_t *r)
{
    drop(r, "S5");
}
static void backup_after_write(json_t *r)
{
    move_before(r, "S7", "S5");
}
static void no_inspection(json_t *r)
{
    drop(r, "S6");
}
static void inspection_after_write(json_t *r)
{
    move_before(r, "S7", "S6");
}
static void backup_without_para(json_t *r)
{
    take_name_out(json_object_get(r, "backup_set"), "para");
}
static void write_without_class(json_t *r)
{
    json_object_del(step_of(r, "S7"), "class");
}
static void write_seccfg(json_t *r)
{
    json_array_append_new(json_object_get(step_of(r, "S7"), "partitions"), json_string("seccfg"));
}
static void write_userdata(json_t *r)
{
    json_array_append_new(json_object_get(step_of(r, "S13"), "partitions"),
                          json_string("userdata"));
}
static void commercial_with_names(json_t *r)
{
    json_object_set_new(step_of(r, "S18w"), "partitions", list_of("[\"nvram\"]"));
}
static void package_by_fastboot(json_t *r)
{
    json_t *step = step_of(r, "S13");
    json_object_set_new(step, "class", json_string("commercial"));
    json_object_del(step, "partitions");
}
static void no_first_verify(json_t *r)
{
    drop(r, "S9");
}
static void no_last_verify(json_t *r)
{
    drop(r, "S19");
}
static void nvram_not_verified(json_t *r)
{
    take_name_out(json_object_get(step_of(r, "S19"), "of"), "S13");
}
static void verify_before_write(json_t *r)
{
    move_before(r, "S18v", "S18w");
    json_object_set_new(step_of(r, "S18v"), "of", list_of("[\"S7\"]"));
}
static void verify_of_nothing(json_t *r)
{
    json_object_set_new(step_of(r, "S9"), "of", json_array());
}
static void verify_of_a_reader(json_t *r)
{
    json_object_set_new(step_of(r, "S9"), "of", list_of("[\"S5\"]"));
}
static void service_lk_stays(json_t *r)
{
    drop(r, "S18w");
    drop(r, "S18v");
}
static void commercial_lk_before_the_service_lk(json_t *r)
{
    move_before(r, "S18w", "S8");
    json_object_set_new(step_of(r, "S18w"), "reopen", list_of("[\"S3\", \"S4\"]"));
    json_array_append_new(json_object_get(step_of(r, "S9"), "of"), json_string("S18w"));
}
static void ends_in_fastboot(json_t *r)
{
    static const char *const rest[] = {"S21", "S20", "S19", "S18v", "S18w", "S18", "S17"};
    for (size_t i = 0; i < ARRAY_LEN(rest); i++)
        drop(r, rest[i]);
}
static void write_without_agent(json_t *r)
{
    drop(r, "S4");
}
static void flash_in_agent(json_t *r)
{
    drop(r, "S10");
    drop(r, "S11");
    drop(r, "S12");
}
static void fastboot_phone_not_checked(json_t *r)
{
    drop(r, "S11");
}
static void reopen_writes(json_t *r)
{
    json_object_set_new(step_of(r, "S9"), "reopen", list_of("[\"S3\", \"S4\", \"S7\"]"));
}
static void reopen_goes_nowhere(json_t *r)
{
    json_object_set_new(step_of(r, "S13"), "reopen", list_of("[\"S3\", \"S4\"]"));
}
static void reopen_out_of_order(json_t *r)
{
    json_object_set_new(step_of(r, "S9"), "reopen", list_of("[\"S4\", \"S3\"]"));
}
static void accept_without_start(json_t *r)
{
    drop(r, "S20");
}

static const struct row {
    const char *name;
    void (*bend)(json_t *recipe);
    const char *word; /* of the reason */
} rows[] = {
    {"no backup", no_backup, "law 1"},
    {"backup after the first write", backup_after_write, "law 1"},
    {"no inspection", no_inspection, "law 3"},
    {"inspection after the first write", inspection_after_write, "law 3"},
    {"backup that leaves something out", backup_without_para, "para"},
    {"write that does not say from where", write_without_class, "class"},
    {"write of what the chip has sealed", write_seccfg, "seccfg"},
    {"write of the owner's data", write_userdata, "userdata"},
    {"package written to a partition of choice", commercial_with_names, "name none"},
    {"package by fastboot", package_by_fastboot, "nothing but identity"},
    {"fastboot before anything is read back", no_first_verify, "law 4"},
    {"start before anything is read back", no_last_verify, "law 4"},
    {"one write of several is not read back", nvram_not_verified, "S13"},
    {"read back before it is written", verify_before_write, "law 4"},
    {"verify that names nothing", verify_of_nothing, "verifies nothing"},
    {"verify of a step that only reads", verify_of_a_reader, "writes nothing"},
    {"service LK stays", service_lk_stays, "law 5"},
    {"commercial LK before the service LK", commercial_lk_before_the_service_lk, "law 5"},
    {"recipe that ends in fastboot", ends_in_fastboot, "law 4"},
    {"write without the agent", write_without_agent, "in the download agent"},
    {"fastboot write in the agent", flash_in_agent, "in fastboot"},
    {"phone in fastboot was not compared", fastboot_phone_not_checked, "nobody knows which"},
    {"reopen that writes", reopen_writes, "more than bring the phone back"},
    {"reopen that ends in the wrong place", reopen_goes_nowhere, "after reopen"},
    {"reopen in the wrong order", reopen_out_of_order, "reopen comes to"},
    {"acceptance of a phone that never started", accept_without_start, "started"},
};

static void broken_rule(void **state)
{
    const struct row *row = ROW(state);
    struct err err = {0};
    json_auto_t *json = load("x5-restore.json");
    row->bend(json);
    AUTO(free_ptr) struct recipe *r = decode(json);
    assert_int_equal(recipe_check(r, &err), ERR_REFUSED);
    if (!strstr(err.text, row->word))
        fail_msg("refused for another reason: %s", err.text);
}

/* ---- plans ------------------------------------------------------------------------------------------------- */

static const char hash[] = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
static const char *const names[] = {"proinfo", "nvcfg",  "nvram", "protect1", "protect2",
                                    "elabel",  "seccfg", "lk_a",  "lk_b",     "logo_a"};
enum { PARTITION_BYTES = 4096 };

static json_t *package(void)
{
    json_t *layout = json_array(), *files = json_array();
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        json_array_append_new(layout, json_pack("{s:s, s:I, s:i}", "name", names[i], "offset",
                                                (json_int_t)(0x8000 + i * PARTITION_BYTES), "size",
                                                PARTITION_BYTES));
    static const char *const images[] = {"lk.img", "lk_service.img", "logo.bin"};
    for (size_t i = 0; i < ARRAY_LEN(images); i++)
        json_array_append_new(
            files, json_pack("{s:s, s:i, s:s}", "name", images[i], "size", 1024, "sha256", hash));
    return json_pack("{s:s, s:s, s:o, s:o, s:[{s:s, s:s}]}", "platform", "MT6771", "version",
                     "PDA-1100-0-00WW-B01", "layout", layout, "files", files, "upgrade",
                     "partition", "logo_a", "file", "logo.bin");
}

static json_t *backup(void)
{
    json_t *partitions = json_array();
    for (size_t i = 0; i < 6; i++)
        json_array_append_new(partitions,
                              json_pack("{s:s, s:i, s:s, s:s}", "name", names[i], "size",
                                        PARTITION_BYTES, "sha256", hash, "plausible", "yes"));
    return json_pack("{s:s, s:o}", "serial", "PDAGATEST0000001", "partitions", partitions);
}

static struct plan *plan_of(const char *finish)
{
    json_auto_t *json = load("x5-restore.json"), *firmware = package(), *images = backup();
    AUTO(free_ptr) struct recipe *recipe = decode(json);
    const struct plan_inputs in = {.recipe = recipe,
                                   .package = firmware,
                                   .backup = images,
                                   .serial = "PDAGATEST0000001",
                                   .finish = finish,
                                   .accept = "usb"};
    struct plan *plan = xcalloc(1, sizeof(*plan));
    struct err err = {0};
    const char *failure = NULL;
    if (plan_build(&in, plan, &failure, &err) < 0)
        fail_msg("%s", err.text);
    return plan;
}

static struct plan_write *write_of(struct plan *p, const char *step, const char *partition)
{
    for (size_t i = 0; i < p->write_count; i++)
        if (strcmp(p->writes[i].step, step) == 0 && strcmp(p->writes[i].partition, partition) == 0)
            return &p->writes[i];
    fail_msg("%s does not write %s", step, partition);
    return NULL;
}

static struct plan_extent *extent_of(struct plan *p, const char *partition)
{
    for (size_t i = 0; i < p->layout_count; i++)
        if (strcmp(p->layout[i].name, partition) == 0)
            return &p->layout[i];
    fail_msg("no %s in the layout", partition);
    return NULL;
}

/* Both the write and the layout say another partition. */
static void rename_to(struct plan *p, const char *step, const char *from, const char *to)
{
    snprintf(extent_of(p, from)->name, RECIPE_NAME_MAX, "%s", to);
    snprintf(write_of(p, step, from)->partition, RECIPE_NAME_MAX, "%s", to);
}

static void nobodys_step(struct plan *p)
{
    snprintf(write_of(p, "S7", "nvcfg")->step, RECIPE_NAME_MAX, "S5");
}
static void other_class(struct plan *p)
{
    write_of(p, "S7", "nvcfg")->write_class = PLAN_COMMERCIAL;
}
static void unnamed_partition(struct plan *p)
{
    rename_to(p, "S7", "nvcfg", "nvdata");
}
static void userdata_from_package(struct plan *p)
{
    rename_to(p, "S18w", "logo_a", "userdata");
}
static void nvram_from_package(struct plan *p)
{
    rename_to(p, "S18w", "logo_a", "persist");
}
static void preloader_written(struct plan *p)
{
    rename_to(p, "S18w", "logo_a", "preloader_a");
}
static void moved_write(struct plan *p)
{
    write_of(p, "S7", "nvcfg")->offset_bytes += 512;
}
static void longer_write(struct plan *p)
{
    write_of(p, "S18w", "logo_a")->size_bytes = PARTITION_BYTES + 1;
}
static void short_identity(struct plan *p)
{
    write_of(p, "S7", "nvcfg")->size_bytes--;
}
static void overlapping_layout(struct plan *p)
{
    extent_of(p, "logo_a")->offset_bytes = extent_of(p, "seccfg")->offset_bytes + 1;
    write_of(p, "S18w", "logo_a")->offset_bytes = extent_of(p, "logo_a")->offset_bytes;
}
static void layout_without(struct plan *p)
{
    struct plan_extent *e = extent_of(p, "nvcfg");
    *e = (struct plan_extent){.name = "other"};
}
static void no_way_back(struct plan *p)
{
    write_of(p, "S18w", "lk_b")->slot = 'a';
}
static void written_twice(struct plan *p)
{
    *write_of(p, "S7", "nvcfg") = *write_of(p, "S7", "proinfo");
}
static void empty_step(struct plan *p)
{
    *write_of(p, "S13", "nvram") = p->writes[--p->write_count];
}
static void recipe_that_breaks_a_law(struct plan *p)
{
    p->recipe.backup_set.count--;
}

static const struct plan_row {
    const char *name;
    void (*bend)(struct plan *p);
    const char *word;
} plan_rows[] = {
    {"write of a step that writes nothing", nobodys_step, "no step of the recipe"},
    {"write of another class than its step", other_class, "no step of the recipe"},
    {"identity that the step does not name", unnamed_partition, "does not name it"},
    {"owner's data from the package", userdata_from_package, "protected"},
    {"identity from the package", nvram_from_package, "protected"},
    {"preloader", preloader_written, "preloader"},
    {"write beside its partition", moved_write, "elsewhere"},
    {"image larger than its partition", longer_write, "does not fit"},
    {"identity image that is too short", short_identity, "does not fit"},
    {"partitions that overlap", overlapping_layout, "overlaps"},
    {"partition that the layout does not have", layout_without, "does not say where"},
    {"service LK without a way back", no_way_back, "law 5"},
    {"one partition twice in a step", written_twice, "twice"},
    {"step without anything to write", empty_step, "nothing for it to write"},
    {"recipe that breaks a law", recipe_that_breaks_a_law, "backup_set"},
};

static void broken_plan(void **state)
{
    const struct plan_row *row = ROW(state);
    struct err err = {0};
    AUTO(free_ptr) struct plan *plan = plan_of("upgrade");
    assert_int_equal(plan_check(plan, &err), 0);
    row->bend(plan);
    assert_int_equal(plan_check(plan, &err), ERR_REFUSED);
    if (!strstr(err.text, row->word))
        fail_msg("refused for another reason: %s", err.text);
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    folder = argv[1];
    const struct CMUnitTest tests[] = {cmocka_unit_test(shipped_recipes_keep_the_laws)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    failed += RUN_ROWS(broken_rule, rows);
    return failed + RUN_ROWS(broken_plan, plan_rows);
}
