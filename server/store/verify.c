/* Backups are read again: a backup that nobody reads is found broken on the day it is needed. */
#include <string.h>

#include "server/store/backups.h"
#include "server/store/events.h"
#include "server/store/images.h"
#include "server/store/resources.h"
#include "usb/base/clock.h"
#include "usb/base/log.h"
#include "usb/base/mem.h"

/* A time that is still to come was written by a clock that was ahead: it says nothing, and must not hold up the reading. */
#define DUE(which)                                                                                 \
    "(SELECT id FROM backup WHERE coalesce(verified_ms, created_ms) " which                        \
    " AND pruned_ms IS NULL ORDER BY coalesce(verified_ms, created_ms) LIMIT 1)"
static const char due_sql[] = "SELECT coalesce(" DUE("<= :before") ", " DUE("> :now") ") AS id";
static const char images_sql[] = "SELECT name, size_bytes AS size, sha256 FROM backup_partition"
                                 " WHERE backup_id = :id ORDER BY seq";
static const char damaged_sql[] =
    "SELECT id FROM backup WHERE damage IS NOT NULL AND pruned_ms IS NULL";
static const char was_sql[] = "SELECT damage FROM backup WHERE id = :id";
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
        if (found < 0 || json_is_null(json_object_get(row, "id"))) {
            task->then = NULL;
            return found < 0 ? found : 0;
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

/* What a backup was and is now: the record and its phone hear of damage, and of its end. */
static int tell(struct conn *conn, struct task *task, int64_t id, int64_t phone_id, json_t *was)
{
    json_t *damage = json_object_get(task->args, "damage");
    bool damaged = !json_is_null(damage);
    if (!damaged && json_is_null(was))
        return 0;
    int code = audit_write(conn, task, NULL, damaged ? "backup.damaged" : "backup.whole", "backup",
                           id, damaged ? damage : was);
    return code < 0 || !phone_id ? code : phone_tell(conn, task, phone_id);
}

/* In LANE_WRITE. */
static int note(struct conn *conn, struct task *task)
{
    json_auto_t *before = NULL, *row = NULL;
    json_t *backup = NULL;
    int64_t id = arg_int(task, "id");
    json_object_set_new(task->args, "now", json_integer(clock_utc_ms()));
    int code = db_row(conn->station, was_sql, task->args, &before, &task->err);
    if (code >= 0)
        code = db_row(conn->station, note_sql, task->args, &row, &task->err);
    int64_t phone_id = json_integer_value(json_object_get(row, "phone_id"));
    if (code > 0)
        code = backup_read(conn, id, &backup, &task->err);
    code = answer_with(task, code, backup, "backup", id);
    return code < 0 ? code : tell(conn, task, id, phone_id, json_object_get(before, "damage"));
}

static void submit(struct store *s, json_t *args, store_done_fn *done, void *arg)
{
    struct task *task = task_new("backup_verify", verify, args, done, arg);
    task->then = note;
    lane_submit(s, LANE_IMAGE, task);
}

static void on_verified(void *arg, int code, const struct err *err, json_t *body)
{
    (void)arg;
    const char *id = json_string_value(json_object_get(body, "id"));
    const char *damage = json_string_value(json_object_get(body, "damage"));
    if (code < 0 && code != ERR_CANCELLED) /* the store is closing */
        log_line(LOG_ERROR, "store", LOG_KV({"err", err_name(code)}),
                 "a damaged backup could not be read again: %s", err->text);
    if (code == 0)
        log_line(LOG_INFO, "store", LOG_KV({"backup", id}), "read again: %s",
                 damage ? damage : "it is whole");
}

void backups_verify_damaged(struct conn *conn)
{
    struct err err = {0};
    json_auto_t *ids = json_array();
    json_t *id;
    size_t i;
    if (db_column(conn->station, damaged_sql, NULL, ids, &err) < 0)
        log_line(LOG_ERROR, "store", NULL, "which backups are damaged: %s", err.text);
    json_array_foreach(ids, i, id)
    {
        submit(conn->store, json_pack("{s:O}", "id", id), on_verified, NULL);
    }
}

void store_backup_verify(struct store *s, int64_t backup_id, store_done_fn *done, void *arg)
{
    /* no id means the one that is due: one that does not exist is asked for as -1 */
    submit(s, json_pack("{s:I}", "id", (json_int_t)(backup_id ? backup_id : -1)), done, arg);
}

void store_backup_verify_due(struct store *s, int64_t before_ms, store_done_fn *done, void *arg)
{
    submit(s,
           json_pack("{s:n, s:I, s:I}", "id", "before", (json_int_t)before_ms, "now",
                     (json_int_t)clock_utc_ms()),
           done, arg);
}
