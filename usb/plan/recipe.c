#include "usb/plan/recipe.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "usb/base/mem.h"

bool recipe_list_has(const struct recipe_list *list, const char *name)
{
    for (size_t i = 0; i < list->count; i++)
        if (strcmp(list->names[i], name) == 0)
            return true;
    return false;
}

const struct recipe_step *recipe_step_find(const struct recipe *r, const char *id)
{
    for (size_t i = 0; i < r->step_count; i++)
        if (strcmp(r->steps[i].id, id) == 0)
            return &r->steps[i];
    return NULL;
}

bool recipe_writes(const struct recipe *r)
{
    for (size_t i = 0; i < r->step_count; i++)
        if (strcmp(r->steps[i].action, "write") == 0 ||
            strcmp(r->steps[i].action, "fastboot_flash") == 0)
            return true;
    return false;
}

void recipe_step_title(const struct recipe_step *step, char *out, size_t size)
{
    snprintf(out, size, "%s %s", step->id, step->name);
}

static int take_text(json_t *value, char *out, size_t size, const char *what, struct err *err)
{
    if (!value)
        return 0;
    if (!json_is_string(value) || json_string_length(value) >= size)
        return err_set(err, ERR_FORMAT, "'%s' is no text of at most %zu bytes", what, size - 1);
    memcpy(out, json_string_value(value), json_string_length(value) + 1);
    return 0;
}

static int take_number(json_t *value, int *out, const char *what, struct err *err)
{
    if (!value)
        return 0;
    if (!json_is_integer(value) || json_integer_value(value) < 0 ||
        json_integer_value(value) > 1000000)
        return err_set(err, ERR_FORMAT, "'%s' is no number from 0 to 1000000", what);
    *out = (int)json_integer_value(value);
    return 0;
}

static int take_list(json_t *value, struct recipe_list *out, const char *what, struct err *err)
{
    if (!value)
        return 0;
    if (!json_is_array(value) || json_array_size(value) > RECIPE_LIST_MAX)
        return err_set(err, ERR_FORMAT, "'%s' is no list of at most %d names", what,
                       RECIPE_LIST_MAX);
    size_t i;
    json_t *item;
    json_array_foreach(value, i, item)
    {
        int rc = take_text(item, out->names[i], RECIPE_NAME_MAX, what, err);
        if (rc == 0 && !out->names[i][0])
            rc = err_set(err, ERR_FORMAT, "'%s' has an empty name", what);
        if (rc < 0)
            return rc;
    }
    out->count = json_array_size(value);
    return 0;
}

/* Every member of `object` must be in the list of known names. */
static int only(json_t *object, const char *const *known, const char *where, struct err *err)
{
    if (!json_is_object(object))
        return err_set(err, ERR_FORMAT, "%s is not an object", where);
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value)
    {
        bool found = false;
        for (const char *const *k = known; *k && !found; k++)
            found = strcmp(*k, key) == 0;
        if (!found)
            return err_set(err, ERR_FORMAT, "%s: unknown member '%s'", where, key);
    }
    return 0;
}

#define TRY(expr)                                                                                  \
    do {                                                                                           \
        int rc_ = (expr);                                                                          \
        if (rc_ < 0)                                                                               \
            return rc_;                                                                            \
    } while (0)

static int take_prompt(json_t *prompt, const char *where, char text[RECIPE_TEXT_MAX],
                       char todo[RECIPE_TEXT_MAX], struct err *err)
{
    static const char *const known[] = {"text", "todo", NULL};
    if (!prompt)
        return 0;
    TRY(only(prompt, known, where, err));
    if (!json_object_get(prompt, "text") || !json_object_get(prompt, "todo"))
        return err_set(err, ERR_FORMAT, "%s needs text and todo", where);
    TRY(take_text(json_object_get(prompt, "text"), text, RECIPE_TEXT_MAX, "text", err));
    return take_text(json_object_get(prompt, "todo"), todo, RECIPE_TEXT_MAX, "todo", err);
}

static bool is_one_of(const char *word, const char *const *words)
{
    for (; *words; words++)
        if (strcmp(word, *words) == 0)
            return true;
    return false;
}

/* Words that the step engine knows (usb/recipe/session.c); empty where a step has none. */
static int check_words(const struct recipe_step *s, struct err *err)
{
    static const char *const actions[] = {"connect",
                                          "da_start",
                                          "backup",
                                          "inspect",
                                          "survey",
                                          "write",
                                          "verify",
                                          "leave",
                                          "fastboot_check",
                                          "fastboot_authorise",
                                          "fastboot_flash",
                                          "fastboot_halt",
                                          "boot",
                                          "accept",
                                          "identify",
                                          "release",
                                          NULL};
    static const char *const classes[] = {"", "identity", "service_lk", "commercial", NULL};
    static const char *const targets[] = {"", "fastboot", NULL};
    static const char *const modes[] = {"brom", "preloader", "da", "fastboot", NULL};
    if (!is_one_of(s->action, actions))
        return err_set(err, ERR_FORMAT, "step %s: nobody can do '%s'", s->id, s->action);
    if (!is_one_of(s->write_class, classes))
        return err_set(err, ERR_FORMAT, "step %s: unknown class '%s'", s->id, s->write_class);
    if (!is_one_of(s->target, targets))
        return err_set(err, ERR_FORMAT, "step %s: unknown target '%s'", s->id, s->target);
    if (s->modes.count > 4)
        return err_set(err, ERR_FORMAT, "step %s: more than four modes", s->id);
    for (size_t i = 0; i < s->modes.count; i++)
        if (!is_one_of(s->modes.names[i], modes))
            return err_set(err, ERR_FORMAT, "step %s: unknown mode '%s'", s->id, s->modes.names[i]);
    return 0;
}

static int step_decode(json_t *json, struct recipe_step *s, struct err *err)
{
    static const char *const known[] = {"id",    "name",       "do",           "class",    "target",
                                        "modes", "partitions", "of",           "reopen",   "prompt",
                                        "lost",  "timeout_s",  "hand_after_s", "optional", NULL};
    TRY(only(json, known, "step", err));
    TRY(take_text(json_object_get(json, "id"), s->id, sizeof(s->id), "id", err));
    TRY(take_text(json_object_get(json, "name"), s->name, sizeof(s->name), "name", err));
    TRY(take_text(json_object_get(json, "do"), s->action, sizeof(s->action), "do", err));
    TRY(take_text(json_object_get(json, "class"), s->write_class, sizeof(s->write_class), "class",
                  err));
    TRY(take_text(json_object_get(json, "target"), s->target, sizeof(s->target), "target", err));
    TRY(take_list(json_object_get(json, "modes"), &s->modes, "modes", err));
    TRY(take_list(json_object_get(json, "partitions"), &s->partitions, "partitions", err));
    TRY(take_list(json_object_get(json, "of"), &s->of, "of", err));
    TRY(take_list(json_object_get(json, "reopen"), &s->reopen, "reopen", err));
    TRY(take_number(json_object_get(json, "timeout_s"), &s->timeout_s, "timeout_s", err));
    TRY(take_number(json_object_get(json, "hand_after_s"), &s->hand_after_s, "hand_after_s", err));
    json_t *optional = json_object_get(json, "optional");
    if (optional && !json_is_boolean(optional))
        return err_set(err, ERR_FORMAT, "'optional' is true or false");
    s->optional = json_is_true(optional);
    TRY(take_prompt(json_object_get(json, "prompt"), "prompt", s->prompt_text, s->prompt_todo,
                    err));
    TRY(take_prompt(json_object_get(json, "lost"), "lost", s->lost_text, s->lost_todo, err));
    if (!s->id[0] || !s->name[0] || !s->action[0])
        return err_set(err, ERR_FORMAT, "a step needs id, name and do");
    return check_words(s, err);
}

/* A step may only name steps that come before it. */
static int check_references(const struct recipe *r, size_t at, struct err *err)
{
    const struct recipe_step *s = &r->steps[at];
    const struct recipe_list *lists[] = {&s->of, &s->reopen};
    for (size_t l = 0; l < ARRAY_LEN(lists); l++) {
        for (size_t i = 0; i < lists[l]->count; i++) {
            const struct recipe_step *named = recipe_step_find(r, lists[l]->names[i]);
            if (!named || named >= s)
                return err_set(err, ERR_FORMAT, "step %s names '%s', which does not come before it",
                               s->id, lists[l]->names[i]);
        }
    }
    const struct recipe_step *first = recipe_step_find(r, s->id);
    if (first != s)
        return err_set(err, ERR_FORMAT, "two steps have the id %s", s->id);
    return 0;
}

static int decode_needs(json_t *needs, struct recipe *r, struct err *err)
{
    static const char *const known[] = {"backup", "backup_optional", "firmware", NULL};
    if (!needs)
        return 0;
    TRY(only(needs, known, "needs", err));
    r->wants_backup = json_object_get(needs, "backup") != NULL;
    r->wants_firmware = json_object_get(needs, "firmware") != NULL;
    TRY(take_list(json_object_get(needs, "backup"), &r->needs_backup, "backup", err));
    TRY(take_list(json_object_get(needs, "backup_optional"), &r->needs_backup_optional,
                  "backup_optional", err));
    return take_list(json_object_get(needs, "firmware"), &r->needs_firmware, "firmware", err);
}

static int decode_head(json_t *json, struct recipe *r, struct err *err)
{
    static const char *const known[] = {"name",  "version", "title",  "model", "backup_set",
                                        "needs", "steps",   "finish", NULL};
    static const char *const model_known[] = {"platform", "project", "hw_code", "da_code", NULL};
    json_t *model = json_object_get(json, "model");
    int hw_code = 0, da_code = 0;
    TRY(only(json, known, "recipe", err));
    TRY(only(model, model_known, "model", err));
    TRY(take_text(json_object_get(json, "name"), r->name, sizeof(r->name), "name", err));
    TRY(take_text(json_object_get(json, "title"), r->title, sizeof(r->title), "title", err));
    TRY(take_number(json_object_get(json, "version"), &r->version, "version", err));
    TRY(take_text(json_object_get(model, "platform"), r->platform, sizeof(r->platform), "platform",
                  err));
    TRY(take_text(json_object_get(model, "project"), r->project, sizeof(r->project), "project",
                  err));
    TRY(take_number(json_object_get(model, "hw_code"), &hw_code, "hw_code", err));
    TRY(take_number(json_object_get(model, "da_code"), &da_code, "da_code", err));
    if (!r->name[0] || !r->title[0] || r->version < 1 || !r->platform[0] || !r->project[0])
        return err_set(err, ERR_FORMAT,
                       "a recipe needs name, title, version, platform and project");
    if (hw_code < 1 || hw_code > UINT16_MAX || da_code < 1 || da_code > UINT16_MAX)
        return err_set(err, ERR_FORMAT, "hw_code and da_code are numbers from 1 to 65535");
    r->hw_code = (uint16_t)hw_code;
    r->da_code = (uint16_t)da_code;
    TRY(take_list(json_object_get(json, "backup_set"), &r->backup_set, "backup_set", err));
    TRY(take_text(json_object_get(json, "finish"), r->finish, sizeof(r->finish), "finish", err));
    if (r->finish[0] && strcmp(r->finish, "lk") != 0 && strcmp(r->finish, "upgrade") != 0)
        return err_set(err, ERR_FORMAT, "'finish' is lk or upgrade");
    return decode_needs(json_object_get(json, "needs"), r, err);
}

/* What the steps do decides what must be named at the head. */
static int check_needs(const struct recipe *r, struct err *err)
{
    for (size_t i = 0; i < r->step_count; i++) {
        const struct recipe_step *step = &r->steps[i];
        if (strcmp(step->action, "backup") == 0 && r->backup_set.count == 0)
            return err_set(err, ERR_FORMAT, "step %s: a recipe that saves needs a backup_set",
                           step->id);
        if (strcmp(step->action, "da_start") == 0 && !r->wants_firmware)
            return err_set(err, ERR_FORMAT,
                           "step %s: the download agent comes from a package: needs.firmware is "
                           "missing (it may be an empty list)",
                           step->id);
        if (strcmp(step->write_class, "identity") == 0 && !r->wants_backup)
            return err_set(err, ERR_FORMAT, "step %s: it writes a backup: needs.backup is missing",
                           step->id);
    }
    return 0;
}

void recipe_copy(struct recipe *to, const struct recipe *from)
{
    memcpy(to, from, offsetof(struct recipe, steps) + from->step_count * sizeof(from->steps[0]));
}

int recipe_decode(json_t *json, struct recipe *out, struct err *err)
{
    AUTO(free_ptr) struct recipe *r = xcalloc(1, sizeof(*r));
    int rc = decode_head(json, r, err);
    json_t *steps = json_object_get(json, "steps");
    if (rc == 0 && (!json_is_array(steps) || json_array_size(steps) == 0 ||
                    json_array_size(steps) > RECIPE_STEPS_MAX))
        rc = err_set(err, ERR_FORMAT, "a recipe has 1 to %d steps", RECIPE_STEPS_MAX);
    for (size_t i = 0; rc == 0 && i < json_array_size(steps); i++) {
        r->step_count = i + 1;
        rc = step_decode(json_array_get(steps, i), &r->steps[i], err);
        if (rc == 0)
            rc = check_references(r, i, err);
        if (rc < 0)
            (void)err_in(err, "step %zu", i + 1);
    }
    if (rc == 0)
        rc = check_needs(r, err);
    if (rc < 0)
        return rc;
    recipe_copy(out, r);
    return 0;
}
