#include "server/api/internal.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>

#include "usb/base/io.h"
#include "usb/base/mem.h"
#include "usb/plan/recipe.h"

#define RECIPE_MAX_BYTES ((size_t)256 * 1024)

static void dir_close(DIR **d)
{
    if (*d)
        closedir(*d);
}

/* What a list needs: whether an order wants serial, package and backup; the steps are in the recipe itself. */
static json_t *summary(const char *name, json_t *doc, const struct recipe *r)
{
    json_t *item = json_pack("{s:s, s:b, s:b, s:b}", "name", name, "writes", recipe_writes(r),
                             "wants_firmware", r->wants_firmware, "wants_backup", r->wants_backup);
    static const char *const keys[] = {"version", "title", "description", "finish"};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        if (json_object_get(doc, keys[i]))
            json_object_set(item, keys[i], json_object_get(doc, keys[i]));
    return item;
}

/* By name: a folder lists its files in any order. */
static void list_insert(json_t *items, json_t *item)
{
    const char *name = json_string_value(json_object_get(item, "name"));
    size_t at = 0;
    while (at < json_array_size(items) &&
           strcmp(json_string_value(json_object_get(json_array_get(items, at), "name")), name) < 0)
        at++;
    json_array_insert_new(items, at, item);
}

/* "x5-restore.json" is the recipe "x5-restore". */
static int recipe_load(struct api *a, int dir_fd, const char *file, struct err *err)
{
    AUTO(free_ptr) char *text = NULL;
    size_t len;
    int rc = io_slurp(dir_fd, file, RECIPE_MAX_BYTES, &text, &len, err);
    if (rc < 0)
        return err_in(err, "recipe '%s'", file);
    json_error_t e;
    json_t *doc = json_loadb(text, len, JSON_REJECT_DUPLICATES, &e);
    if (!json_is_object(doc)) {
        json_decref(doc);
        return err_set(err, ERR_FORMAT, "recipe '%s': line %d: %s", file, e.line, e.text);
    }
    AUTO(free_ptr) char *name = xasprintf("%.*s", (int)(strlen(file) - strlen(".json")), file);
    AUTO(free_ptr) struct recipe *recipe = xcalloc(1, sizeof(*recipe));
    json_object_set_new(a->recipes, name, doc);
    if (recipe_decode(doc, recipe, err) < 0)
        return err_in(err, "recipe '%s'", file);
    list_insert(a->recipe_items, summary(name, doc, recipe));
    return 0;
}

int api_recipes_load(struct api *a, const char *dir, struct err *err)
{
    a->recipes = json_object();
    a->recipe_items = json_array();
    AUTO(dir_close) DIR *d = opendir(dir);
    if (!d)
        return err_sys(err, ERR_IO, "recipes in '%s'", dir);
    struct dirent *entry;
    while ((entry = readdir(d))) {
        size_t len = strlen(entry->d_name);
        if (len <= 5 || strcmp(entry->d_name + len - 5, ".json") != 0)
            continue;
        int rc = recipe_load(a, dirfd(d), entry->d_name, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static void recipes_list(struct http_call *call, void *arg)
{
    struct api *a = arg;
    json_t *body = json_pack("{s:O, s:n}", "items", a->recipe_items, "next");
    http_reply_json(call, 200, body);
    json_decref(body);
}

static void recipe_get(struct http_call *call, void *arg)
{
    struct api *a = arg;
    json_t *doc = json_object_get(a->recipes, http_param(call, "name"));
    if (doc) {
        http_reply_json(call, 200, doc);
        return;
    }
    struct err err;
    err_set(&err, ERR_NOT_FOUND, "no recipe '%s'", http_param(call, "name"));
    http_reply_err(call, &err, "GET " API_BASE "/recipes lists the recipes of this station.");
}

static const struct http_route routes[] = {
    {"GET", API_BASE "/recipes", recipes_list, 0, 0},
    {"GET", API_BASE "/recipes/{name}", recipe_get, 0, 0},
};
const struct api_routes api_recipes_routes = {routes, ARRAY_LEN(routes)};
