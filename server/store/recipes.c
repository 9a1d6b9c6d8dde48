/* Versions of recipes: what a job was done by stays readable, and a version means one document for ever. */
#include <inttypes.h>
#include <string.h>

#include "server/store/manifests.h"
#include "server/store/resources.h"
#include "usb/base/clock.h"
#include "usb/base/mem.h"

static const char known_sql[] =
    "SELECT sha256 FROM recipe_version WHERE name = :recipe AND version = :recipe_version";
static const char add_sql[] =
    "INSERT INTO recipe_version (name, version, sha256, document, first_used_ms)"
    " VALUES (:recipe, :recipe_version, :recipe_sha256, :recipe_document, :now)";

/* 1: this version was used with these contents, 0: it was never used. */
static int compare(struct conn *conn, struct task *task)
{
    json_auto_t *row = NULL;
    int found = db_row(conn->station, known_sql, task->args, &row, &task->err);
    if (found <= 0)
        return found;
    const char *before = json_string_value(json_object_get(row, "sha256"));
    const char *now = arg_text(task, "recipe_sha256");
    if (before && now && strcmp(before, now) == 0)
        return 1;
    return err_set(&task->err, ERR_CONFLICT,
                   "recipe %s version %" PRId64
                   " was used before with other contents (sha256 %.12s..., "
                   "now %.12s...): give the changed recipe a higher version",
                   arg_text(task, "recipe"), arg_int(task, "recipe_version"), before, now);
}

int recipe_use(struct conn *conn, struct task *task)
{
    if (!arg_int(task, "recipe_version"))
        return 0;
    int known = compare(conn, task);
    if (known != 0)
        return known < 0 ? known : 0;
    return db_run(conn->station, add_sql, task->args, &task->err) < 0 ? task->err.code : 0;
}

static int check(struct conn *conn, struct task *task)
{
    int known = compare(conn, task);
    return known < 0 ? known : 0;
}

static const char document_sql[] = "SELECT name, version, sha256, document FROM recipe_version"
                                   " WHERE name = :recipe AND version = :recipe_version";

static int get(struct conn *conn, struct task *task)
{
    int found = db_row(conn->station, document_sql, task->args, &task->body, &task->err);
    if (found == 0)
        return err_set(&task->err, ERR_NOT_FOUND,
                       "no job has used version %" PRId64 " of recipe %s",
                       arg_int(task, "recipe_version"), arg_text(task, "recipe"));
    return found < 0 ? found : 0;
}

void store_recipe_get(struct store *s, const char *name, int version, store_done_fn *done,
                      void *arg)
{
    json_t *args = json_pack("{s:s, s:i}", "recipe", name, "recipe_version", version);
    lane_submit(s, LANE_READ, task_new("recipe_get", get, args, done, arg));
}

void store_recipe_check(struct store *s, const char *name, int version, const char *sha256,
                        store_done_fn *done, void *arg)
{
    json_t *args = json_pack("{s:s, s:i, s:s}", "recipe", name, "recipe_version", version,
                             "recipe_sha256", sha256);
    lane_submit(s, LANE_READ, task_new("recipe_check", check, args, done, arg));
}
