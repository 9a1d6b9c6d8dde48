#include "server/api/internal.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>

#include "usb/base/io.h"
#include "usb/base/mem.h"

#define RECIPE_MAX_BYTES ((size_t)256 * 1024)

static void dir_close(DIR **d)
{
    if (*d)
        closedir(*d);
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
    json_object_set_new(a->recipes, name, doc);
    return 0;
}

int api_recipes_load(struct api *a, const char *dir, struct err *err)
{
    a->recipes = json_object();
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

/* What a list needs; the steps are in the recipe itself. */
static json_t *summary(const char *name, json_t *doc)
{
    json_t *item = json_pack("{s:s}", "name", name);
    static const char *const keys[] = {"version", "title", "description"};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        if (json_object_get(doc, keys[i]))
            json_object_set(item, keys[i], json_object_get(doc, keys[i]));
    return item;
}

static void recipes_list(struct http_call *call, void *arg)
{
    struct api *a = arg;
    json_t *items = json_array(), *doc;
    const char *name;
    json_object_foreach(a->recipes, name, doc) json_array_append_new(items, summary(name, doc));
    json_t *body = json_pack("{s:o, s:n}", "items", items, "next");
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
