#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/station/internal.h"
#include "usb/base/io.h"
#include "usb/base/log.h"
#include "usb/base/mem.h"
#include "usb/plan/failure.h"

enum { SCHEMA_FILE_MAX_BYTES = 1 << 20 };

static int load_json(const char *path, json_t **out, struct err *err)
{
    AUTO(free_ptr) char *text = NULL;
    size_t len;
    int rc = io_slurp(AT_FDCWD, path, SCHEMA_FILE_MAX_BYTES, &text, &len, err);
    if (rc < 0)
        return rc;
    json_error_t why;
    *out = json_loadb(text, len, JSON_REJECT_DUPLICATES, &why);
    if (!*out)
        return err_set(err, ERR_FORMAT, "%s line %d: %s", path, why.line, why.text);
    return 0;
}

/* Takes `json` over, also when it fails. */
static int take_recipe(struct loaded_recipe *r, json_t *json, struct err *err)
{
    memset(r, 0, sizeof(*r));
    r->json = json;
    int rc = recipe_decode(json, &r->recipe, err);
    if (rc < 0) {
        json_decref(json);
        return rc;
    }
    r->document = json_dumps(json, JSON_COMPACT | JSON_SORT_KEYS);
    struct sha256 hash = sha256_of(span_of(r->document, strlen(r->document)));
    sha256_hex(&hash, r->sha256);
    return 0;
}

static int load_recipe(struct station *s, const char *path, struct err *err)
{
    json_t *json;
    int rc = load_json(path, &json, err);
    if (rc < 0)
        return rc;
    s->recipes = realloc(s->recipes, (s->recipe_count + 1) * sizeof(*s->recipes));
    if (!s->recipes)
        abort();
    rc = take_recipe(&s->recipes[s->recipe_count], json, err);
    if (rc < 0)
        return err_in(err, "%s", path);
    s->recipe_count++;
    return 0;
}

static void recipe_deinit(struct loaded_recipe *r)
{
    json_decref(r->json);
    free(r->document);
    free(r->refusal);
}

void recipes_free(struct station *s)
{
    for (size_t i = 0; i < s->recipe_count; i++)
        recipe_deinit(&s->recipes[i]);
    free(s->recipes);
    while (s->former_recipes) {
        struct loaded_recipe *r = s->former_recipes;
        s->former_recipes = r->next;
        recipe_deinit(r);
        free(r);
    }
}

static bool failure_is_whole(json_t *failure)
{
    static const char *const members[] = {"code", "class", "cause", "advice"};
    for (size_t i = 0; i < ARRAY_LEN(members); i++)
        if (!json_is_string(json_object_get(failure, members[i])))
            return false;
    return true;
}

/* Whatever fails has a name, and every name is explained: a catalogue that lacks one is not taken. */
static int check_failures(const struct station *s, struct err *err)
{
    const char *id;
    json_t *failure;
    json_object_foreach(s->failures, id, failure)
    {
        if (!failure_is_whole(failure))
            return err_set(err, ERR_FORMAT,
                           "%s/failures.json: failure %s lacks code, class, cause or advice: take "
                           "the file that came with this program",
                           s->schema_dir, id);
    }
    static const int codes[] = {
#define X(name, api, http, retry) name,
        ERR_TABLE(X)
#undef X
    };
    for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
        id = failure_of_error(codes[i], FAILURE_AT_STATION);
        if (!json_object_get(s->failures, id))
            return err_set(err, ERR_FORMAT,
                           "%s/failures.json: there is no failure %s: take the file that came with "
                           "this program",
                           s->schema_dir, id);
    }
    return 0;
}

static int load_failures(struct station *s, struct err *err)
{
    AUTO(free_ptr) char *path = xasprintf("%s/failures.json", s->schema_dir);
    json_t *list;
    int rc = load_json(path, &list, err);
    if (rc < 0)
        return rc;
    s->failures = json_object();
    size_t i;
    json_t *item;
    json_array_foreach(json_object_get(list, "failures"), i, item)
    {
        const char *id = json_string_value(json_object_get(item, "id"));
        if (!id)
            continue;
        if (!json_object_get(item, "seen_by")) /* a worker or flashrackd notices it by itself */
            json_object_set_new(item, "seen_by", json_string("station"));
        json_object_set(s->failures, id, item);
    }
    json_decref(list);
    return check_failures(s, err);
}

int recipes_load(struct station *s, struct err *err)
{
    AUTO(free_ptr) char *dir = xasprintf("%s/recipes", s->schema_dir);
    DIR *d = opendir(dir);
    if (!d)
        return err_sys(err, ERR_NOT_FOUND, "recipe folder '%s'", dir);
    int rc = 0;
    for (struct dirent *e; rc == 0 && (e = readdir(d)) != NULL;) {
        const char *dot = strrchr(e->d_name, '.');
        if (!dot || strcmp(dot, ".json") != 0)
            continue;
        AUTO(free_ptr) char *path = xasprintf("%s/%s", dir, e->d_name);
        rc = load_recipe(s, path, err);
    }
    closedir(d);
    return rc < 0 ? rc : load_failures(s, err);
}

static void on_checked(void *arg, int code, const struct err *err, json_t *body)
{
    (void)body;
    struct loaded_recipe *r = arg;
    if (code >= 0)
        return;
    log_line(LOG_ERROR, "station", LOG_KV({"err", err_name(code)}), "%s", err->text);
    if (code == ERR_CONFLICT && !r->refusal)
        r->refusal = xstrdup(err->text);
}

void recipes_check(struct station *s)
{
    for (size_t i = 0; i < s->recipe_count; i++) {
        struct loaded_recipe *r = &s->recipes[i];
        store_recipe_check(s->store, r->recipe.name, r->recipe.version, r->sha256, on_checked, r);
    }
}

const struct loaded_recipe *recipe_by_name(const struct station *s, const char *name)
{
    for (size_t i = 0; i < s->recipe_count; i++)
        if (strcmp(s->recipes[i].recipe.name, name) == 0)
            return &s->recipes[i];
    return NULL;
}

const struct loaded_recipe *recipe_by_hash(const struct station *s, const char *name,
                                           const char *sha256)
{
    const struct loaded_recipe *r = recipe_by_name(s, name);
    if (r && strcmp(r->sha256, sha256) == 0)
        return r;
    for (r = s->former_recipes; r; r = r->next)
        if (strcmp(r->recipe.name, name) == 0 && strcmp(r->sha256, sha256) == 0)
            return r;
    return NULL;
}

int recipe_take_former(struct station *s, json_t *stored, const char *sha256,
                       const struct loaded_recipe **out, struct err *err)
{
    const char *document = json_string_value(json_object_get(stored, "document"));
    const char *name = json_string_value(json_object_get(stored, "name"));
    json_t *json = json_loads(document ? document : "", JSON_REJECT_DUPLICATES, NULL);
    if (!json)
        return err_set(err, ERR_FORMAT, "the kept document of recipe %s is no JSON", name);
    struct loaded_recipe *r = xcalloc(1, sizeof(*r));
    int rc = take_recipe(r, json, err);
    if (rc < 0) {
        free(r);
        return err_in(err, "recipe %s as it was when this job was ordered", name);
    }
    if (strcmp(r->sha256, sha256) != 0) {
        recipe_deinit(r);
        free(r);
        return err_set(err, ERR_CONFLICT,
                       "recipe %s is another one than when this job was ordered: order it again",
                       name);
    }
    r->next = s->former_recipes;
    s->former_recipes = r;
    *out = r;
    return 0;
}

json_t *station_failures(struct station *s)
{
    json_t *items = json_array(), *failure;
    const char *id;
    json_object_foreach(s->failures, id, failure) json_array_append(items, failure);
    return items;
}

json_t *failure_json(const struct station *s, const char *id, const char *code, const char *text)
{
    json_t *failure = id && id[0] ? json_object_get(s->failures, id) : NULL;
    if (!failure) {
        id = failure_of_error(err_from_name(code), FAILURE_AT_STATION);
        failure = json_object_get(s->failures, id);
    }
    return json_pack("{s:O, s:s, s:O, s:O, s:O, s:s}", "code", json_object_get(failure, "code"),
                     "message", text && text[0] ? text : "no detail", "cause",
                     json_object_get(failure, "cause"), "advice",
                     json_object_get(failure, "advice"), "class", json_object_get(failure, "class"),
                     "failure", id);
}
