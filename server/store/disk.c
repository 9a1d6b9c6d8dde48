/* Whether the disk takes what is committed: a full one looks like any other until somebody writes. */
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>

#include "server/store/inside.h"

void disk_note(struct store *s, int code, const struct err *err)
{
    if (code < 0 && code != ERR_DISK)
        return;
    pthread_mutex_lock(&s->finished_lock);
    snprintf(s->disk_trouble, sizeof(s->disk_trouble), "%.*s", STORE_DAMAGE_BYTES - 1,
             code < 0 ? err->text : "");
    pthread_mutex_unlock(&s->finished_lock);
}

/* Writes the first page of the file whatever was there before; nobody reads the number. */
static int probe(struct conn *conn, struct task *task)
{
    return db_exec(conn->station, "PRAGMA application_id = 1", &task->err);
}

static void on_probed(void *arg, int code, const struct err *err, json_t *body)
{
    (void)code, (void)err, (void)body; /* disk_note() has heard it */
    struct store *s = arg;
    s->disk_probed = false;
}

void store_disk(struct store *s, struct store_disk *out)
{
    struct statvfs disk;
    bool known = statvfs(s->data_dir, &disk) == 0;
    out->free_bytes = known ? (int64_t)disk.f_bavail * (int64_t)disk.f_frsize : 0;
    pthread_mutex_lock(&s->finished_lock);
    memcpy(out->trouble, s->disk_trouble, sizeof(out->trouble));
    pthread_mutex_unlock(&s->finished_lock);
    if (!out->trouble[0] || s->disk_probed)
        return;
    s->disk_probed = true;
    lane_submit(s, LANE_WRITE, task_new("disk_probe", probe, json_object(), on_probed, s));
}
