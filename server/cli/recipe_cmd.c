/* recipe_cmd.c: `recipe check`: what a recipe may do, proven without a phone and without a station. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/cli/offline.h"
#include "usb/base/mem.h"
#include "usb/plan/check.h"
#include "usb/plan/package.h"

struct check { /* what is checked, ours */
    json_t *json, *package, *backup;
    struct recipe *recipe;
    struct plan *plan; /* NULL: without a package there is none */
};

static void check_deinit(struct check *c)
{
    json_decref(c->json);
    json_decref(c->package);
    json_decref(c->backup);
    free(c->recipe);
    free(c->plan);
}

static int json_read(const char *path, json_t **out, struct err *err)
{
    json_error_t why;
    *out = json_load_file(path, JSON_REJECT_DUPLICATES, &why);
    return *out ? 0 : err_set(err, ERR_FORMAT, "%s line %d: %s", path, why.line, why.text);
}

/* ---- the plan --------------------------------------------------------------------------------------- */

static json_t *layout_entry(json_t *package, const char *name)
{
    size_t i;
    json_t *entry;
    json_array_foreach(json_object_get(package, "layout"), i, entry)
    {
        if (strcmp(json_string_value(json_object_get(entry, "name")), name) == 0)
            return entry;
    }
    return NULL;
}

/* A backup that fits: what a recipe writes back depends on names and sizes only. */
static json_t *fitting_backup(const struct recipe *r, json_t *package)
{
    const struct recipe_list *lists[] = {&r->needs_backup, &r->needs_backup_optional};
    static const char hash[] = "0000000000000000000000000000000000000000000000000000000000000000";
    json_t *partitions = json_array();
    for (size_t l = 0; l < ARRAY_LEN(lists); l++)
        for (size_t i = 0; i < lists[l]->count; i++) {
            json_t *entry = layout_entry(package, lists[l]->names[i]);
            if (entry)
                json_array_append_new(partitions,
                                      json_pack("{s:s, s:O, s:s, s:s}", "name", lists[l]->names[i],
                                                "size", json_object_get(entry, "size"), "sha256",
                                                hash, "plausible", "yes"));
        }
    return json_pack("{s:s, s:o}", "serial", "", "partitions", partitions);
}

static int package_read(const char *dir, json_t **out, struct err *err)
{
    AUTO(firmware_free) struct firmware *f = NULL;
    int rc = firmware_of_folder(dir, true, &f, err);
    if (rc == 0)
        *out = plan_package(f);
    return rc;
}

static int plan_make(struct check *c, const char *finish, struct err *err)
{
    const char *serial = json_string_value(json_object_get(c->backup, "serial"));
    const char *failure = NULL;
    const struct plan_inputs in = {.recipe = c->recipe,
                                   .package = c->package,
                                   .backup = c->backup,
                                   .serial = serial ? serial : "",
                                   .finish = finish,
                                   .accept = "scan"};
    c->plan = xcalloc(1, sizeof(*c->plan));
    return plan_build(&in, c->plan, &failure, err);
}

static int check_all(struct check *c, const char *dir, const char *backup, const char *finish,
                     struct err *err)
{
    c->recipe = xcalloc(1, sizeof(*c->recipe));
    int rc = recipe_decode(c->json, c->recipe, err);
    if (rc == 0)
        rc = recipe_check(c->recipe, err);
    if (rc < 0 || !dir)
        return rc;
    rc = package_read(dir, &c->package, err);
    if (rc == 0 && backup)
        rc = json_read(backup, &c->backup, err);
    else if (rc == 0)
        c->backup = fitting_backup(c->recipe, c->package);
    return rc < 0 ? rc : plan_make(c, finish, err);
}

/* ---- what is told ----------------------------------------------------------------------------------- */

static void write_print(const struct plan_write *w)
{
    printf("  %-6s %-14s 0x%010llx %12llu bytes  %s%s\n", w->step, w->partition,
           (unsigned long long)w->offset_bytes, (unsigned long long)w->size_bytes, w->image,
           w->slot       ? "  (when this slot needs it)"
           : w->optional ? "  (may be left out)"
                         : "");
}

static void check_print(const struct check *c)
{
    printf("%s version %d: %s\n", c->recipe->name, c->recipe->version, c->recipe->title);
    for (size_t i = 0; i < c->recipe->step_count; i++)
        printf("  %-6s %s\n", c->recipe->steps[i].id, c->recipe->steps[i].name);
    if (c->plan)
        printf("writes with %s, finish %s:\n", c->plan->package_version, c->plan->finish);
    for (size_t i = 0; c->plan && i < c->plan->write_count; i++)
        write_print(&c->plan->writes[i]);
    puts(c->plan ? "The recipe keeps the laws and writes nothing outside of this plan."
                 : "The recipe keeps the laws. With --firmware its plan is checked, too.");
}

static void json_print(const struct check *c)
{
    json_t *plan = json_null();
    if (c->plan) {
        AUTO(free_ptr) char *text = plan_encode(c->plan, c->json);
        plan = json_loads(text, 0, NULL);
    }
    cli_json_print(json_pack("{s:s, s:i, s:o}", "recipe", c->recipe->name, "version",
                             c->recipe->version, "plan", plan));
}

int recipe_check_cmd(const struct cli_command *self, int argc, char **argv)
{
    const char *dir = NULL, *backup = NULL, *finish = "lk";
    bool json = false;
    const struct cli_option options[] = {{"firmware", &dir, NULL, 0},
                                         {"backup", &backup, NULL, 0},
                                         {"finish", &finish, NULL, 0},
                                         {"json", NULL, &json, 0},
                                         {0}};
    argc = cli_options(self, argc, argv, options);
    if (argc < 0)
        return CLI_USAGE;
    if (argc != 1)
        return cli_usage(self, "a recipe is needed, as schema/recipes/x5-restore.json");
    if (strcmp(finish, "lk") != 0 && strcmp(finish, "upgrade") != 0)
        return cli_usage(self, "--finish is lk or upgrade");
    struct err err;
    AUTO(check_deinit) struct check c = {0};
    int rc = json_read(argv[0], &c.json, &err);
    if (rc == 0)
        rc = check_all(&c, dir, backup, finish, &err);
    if (rc < 0)
        return cli_fail(&err, NULL);
    if (json)
        json_print(&c);
    else
        check_print(&c);
    return CLI_FINE;
}
