/* Backups are read again: a backup that nobody reads is found broken on the day it is needed. */
#include <string.h>

#include "server/store/events.h"
#include "server/store/images.h"
#include "server/store/resources.h"
#include "usb/base/clock.h"
#include "usb/base/mem.h"

static const char due_sql[] =
    "SELECT id FROM backup WHERE coalesce(verified_ms, created_ms) <= :before"
    " AND pruned_ms IS NULL"
    " ORDER BY coalesce(verified_ms, created_ms) LIMIT 1";
static const char images_sql[] = "SELECT name, size_bytes AS size, sha256 FROM backup_partition"
                                 " WHERE backup_id = :id ORDER BY seq";
static const char note_sql[] =
    "UPDATE backup SET verified_ms = :now, damage = :damage WHERE id = :id AND pruned_ms IS NULL"
    " RETURNING phone_id";
static const char pruned_sql[] = "SELECT id FROM backup WHERE id = :id AND pruned_ms IS NOT NULL";

/* 1: damaged, with the sentence; ERR_*: it could not be read, which says nothing about it. */
static int check_image(struct conn *conn, json_t *image, struct err *err)
{
    struct sha256 hash;
    const char *name = json_string_value(json_object_get(image, "name"));
    sha256_parse(json_string_value(json_object_get(image, "sha256")), &hash);
    int code =
        images_write(conn, &hash, json_integer_value(json_object_get(image, "size")), -1, err);
    if (code == ERR_VERIFY || code == ERR_FORMAT) {
        err_in(err, "%s", name);
        return 1;
    }
    return code;
}

/* The first image that is damaged is enough to know. */
static int check_images(struct conn *conn, struct task *task)
{
    json_auto_t *images = json_array();
    int code = db_rows(conn->station, images_sql, task->args, images, &task->err);
    size_t i;
    json_t *image;
    json_array_foreach(images, i, image)
    {
        code = code < 0 ? code : check_image(conn, image, &task->err);
        if (code < 0)
            return code;
        if (code > 0) {
            json_object_set_new(task->args, "damage", json_string(task->err.text));
            err_clear(&task->err);
            return 0;
        }
    }
    json_object_set_new(task->args, "damage", json_null());
    return code < 0 ? code : 0;
}

static int verify(struct conn *conn, struct task *task)
{
    if (!arg_int(task, "id")) {
        json_auto_t *row = NULL;
        int found = db_row(conn->station, due_sql, task->args, &row, &task->err);
        if (found <= 0) {
            task->then = NULL;
            return found;
        }
        json_object_set(task->args, "id", json_object_get(row, "id"));
        return check_images(conn, task);
    }
    json_auto_t *row = NULL;
    int pruned = db_row(conn->station, pruned_sql, task->args, &row, &task->err);
    if (pruned > 0)
        return err_set(&task->err, ERR_CONFLICT, "retention deleted the images of this backup");
    return pruned < 0 ? pruned : check_images(conn, task);
}

/* In LANE_WRITE. */
static int note(struct conn *conn, struct task *task)
{
    json_auto_t *row = NULL;
    json_t *backup = NULL, *damage = json_object_get(task->args, "damage");
    int64_t id = arg_int(task, "id");
    json_object_set_new(task->args, "now", json_integer(clock_utc_ms()));
    int code = db_row(conn->station, note_sql, task->args, &row, &task->err);
    int64_t phone_id = json_integer_value(json_object_get(row, "phone_id"));
    if (code > 0)
        code = backup_read(conn, id, &backup, &task->err);
    code = answer_with(task, code, backup, "backup", id);
    if (code == 0 && !json_is_null(damage))
        code = audit_write(conn, task, NULL, "backup.damaged", "backup", id, damage);
    return code < 0 || !phone_id || json_is_null(damage) ? code : phone_tell(conn, task, phone_id);
}

static void submit(struct store *s, json_t *args, store_done_fn *done, void *arg)
{
    struct task *task = task_new("backup_verify", verify, args, done, arg);
    task->then = note;
    lane_submit(s, LANE_IMAGE, task);
}

void store_backup_verify(struct store *s, int64_t backup_id, store_done_fn *done, void *arg)
{
    /* no id means the one that is due: one that does not exist is asked for as -1 */
    submit(s, json_pack("{s:I}", "id", (json_int_t)(backup_id ? backup_id : -1)), done, arg);
}

void store_backup_verify_due(struct store *s, int64_t before_ms, store_done_fn *done, void *arg)
{
    submit(s, json_pack("{s:n, s:I}", "id", "before", (json_int_t)before_ms), done, arg);
}
