/* adopt.c: what becomes of spool files. One belongs to one job; it goes away when the job has ended, the store
 * has committed that, and what lies in the file is in the store. A worker that outlives its flashrackd goes on
 * writing into its spool: it holds the lock of the file (the open file that it was given carries it), and as
 * long as it does, nobody else gets its port. README.md, "Spool files". */
#include <dirent.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/station/internal.h"
#include "usb/base/log.h"
#include "usb/base/mem.h"

enum { LOCK_RETRY_MS = 250 };

struct adoption {
    struct station *s;
    struct port *port; /* held until the worker is gone; NULL: none */
    int64_t job_id, phone_id;
    int fd;
    bool said;
    struct event *timer;
    LIST_ENTRY(adoption) link;
};

static char *spool_path(const struct station *s, int64_t job_id)
{
    return xasprintf("%s/spool/job-%lld.spool", s->data_dir, (long long)job_id);
}

int spool_open(const struct station *s, const char *name, struct err *err)
{
    AUTO(free_ptr) char *dir = xasprintf("%s/spool", s->data_dir);
    if (mkdir(dir, 0700) < 0 && errno != EEXIST)
        return err_sys(err, ERR_DISK, "folder '%s'", dir);
    AUTO(free_ptr) char *path = xasprintf("%s/%s", dir, name);
    AUTO(fd_close) int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_sys(err, ERR_DISK, "spool file '%s'", path);
    if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        return err_set(err, ERR_CONFLICT, "a worker of before still writes into '%s'", path);
    return STEAL_FD(fd);
}

void spool_remove(const struct station *s, int64_t job_id)
{
    AUTO(free_ptr) char *path = spool_path(s, job_id);
    if (unlink(path) < 0 && errno != ENOENT)
        log_line(LOG_WARN, "spool", NULL, "remove '%s': %s", path, strerror(errno));
}

static void adoption_free(struct adoption *a)
{
    LIST_REMOVE(a, link);
    fd_close(&a->fd);
    if (a->timer)
        event_free(a->timer);
    free(a);
}

void adoptions_free(struct station *s)
{
    while (!LIST_EMPTY(&s->adoptions))
        adoption_free(LIST_FIRST(&s->adoptions));
}

static void release_port(struct adoption *a)
{
    struct port *p = STEAL(a->port);
    if (!p)
        return;
    p->held--;
    schedule_poke(p->s);
}

/* ---- what lies in it ---------------------------------------------------------------------------------- */

static const char *text_of(json_t *object, const char *key)
{
    const char *s = json_string_value(json_object_get(object, key));
    return s ? s : "";
}

/* Failures of these calls mean that the station had heard it already, which is the usual case. */
static void heard_before(void *arg, int code, const struct err *err, json_t *body)
{
    (void)arg, (void)code, (void)err, (void)body;
}

static void end_step(struct station *s, int64_t job_id, json_t *record)
{
    const char *code = text_of(record, "code"), *step = text_of(record, "step");
    bool ok = strcmp(code, "ok") == 0;
    json_t *error =
        ok ? NULL : json_pack("{s:s, s:s}", "code", code, "message", text_of(record, "text"));
    store_step_end(s->store, job_id, step, ok ? "done" : "failed", error, NULL, heard_before, NULL);
    json_decref(error);
}

/* Results that the station did not hear; an intent without a result is the step that was cut. */
static void take_records(struct adoption *a, json_t *records)
{
    size_t i;
    json_t *record, *open = NULL;
    json_array_foreach(records, i, record)
    {
        const char *type = text_of(record, "type");
        json_t *body = json_object_get(record, "body");
        if (strcmp(type, "step_intent") == 0)
            open = body;
        if (strcmp(type, "step_result") != 0)
            continue;
        end_step(a->s, a->job_id, body);
        open = NULL;
    }
    if (!open)
        return;
    json_t *error =
        json_pack("{s:s, s:s}", "code", "interrupted", "message",
                  "the worker ended in this step: what it did to the phone is not known");
    store_step_end(a->s->store, a->job_id, text_of(open, "step"), "interrupted", error, NULL,
                   heard_before, NULL);
    json_decref(error);
}

static void on_adopted(void *arg, int code, const struct err *err, json_t *body)
{
    struct adoption *a = arg;
    if (code == 0) {
        take_records(a, json_object_get(body, "records"));
        spool_remove(a->s, a->job_id);
    } else if (code != ERR_CANCELLED) { /* the store closes: the next start does it */
        AUTO(free_ptr) char *path = spool_path(a->s, a->job_id);
        AUTO(free_ptr) char *kept = xasprintf("%s.kept", path);
        (void)rename(path, kept);
        log_line(LOG_ERROR, "spool", LOG_KV({"err", err_name(code)}), "%s; kept as %s", err->text,
                 kept);
    }
    adoption_free(a);
}

static void look_again(struct adoption *a, int ms)
{
    struct timeval tv = {0, ms * 1000};
    evtimer_add(a->timer, &tv);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct adoption *a = arg;
    if (flock(a->fd, LOCK_EX | LOCK_NB) < 0) {
        if (!a->said && a->port)
            log_line(LOG_WARN, "spool", LOG_KV({"port", a->port->id}),
                     "a worker of before is still in its step; the port waits for it");
        a->said = true;
        look_again(a, LOCK_RETRY_MS);
        return;
    }
    release_port(a);
    struct store_backup_meta meta = {
        .job_id = a->job_id, .phone_id = a->phone_id, .origin = "station"};
    store_spool_ingest(a->s->store, a->fd, 0, &meta, on_adopted, a);
}

void spool_adopt(struct station *s, int64_t job_id, int64_t phone_id, struct port *port)
{
    AUTO(free_ptr) char *path = spool_path(s, job_id);
    struct stat st;
    AUTO(fd_close) int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0 || s->stopping)
        return;
    struct adoption *a = xcalloc(1, sizeof(*a));
    *a = (struct adoption){.s = s, .port = port, .job_id = job_id, .phone_id = phone_id};
    bool empty = fstat(fd, &st) == 0 && st.st_size == 0;
    a->fd = STEAL_FD(fd);
    a->timer = evtimer_new(s->base, on_timer, a);
    LIST_INSERT_HEAD(&s->adoptions, a, link);
    if (port)
        port->held++;
    if (empty && flock(a->fd, LOCK_EX | LOCK_NB) == 0) { /* its job never began */
        spool_remove(s, job_id);
        release_port(a);
        adoption_free(a);
        return;
    }
    look_again(a, 0);
}

/* ---- at start ----------------------------------------------------------------------------------------- */

struct found {
    struct station *s;
    int64_t job_id;
};

static void on_owner(void *arg, int code, const struct err *err, json_t *job)
{
    struct found *f = arg;
    struct station *s = f->s;
    (void)err;
    if (code == 0) {
        const char *port = json_string_value(json_object_get(job, "port"));
        int64_t phone_id = store_id(text_of(job, "phone_id"));
        spool_adopt(s, f->job_id, phone_id, port ? port_add(s, port) : NULL);
    } else if (code == ERR_NOT_FOUND) {
        spool_remove(s, f->job_id);
    }
    free(f);
    if (--s->settling == 0)
        station_settled(s);
}

void spools_find(struct station *s)
{
    AUTO(free_ptr) char *dir = xasprintf("%s/spool", s->data_dir);
    DIR *d = opendir(dir);
    s->settling++;
    for (struct dirent *e; d && (e = readdir(d)) != NULL;) {
        long long id = 0;
        int end = 0;
        if (strncmp(e->d_name, "import-", 7) ==
            0) { /* its request is gone with the former process */
            AUTO(free_ptr) char *path = xasprintf("%s/%s", dir, e->d_name);
            unlink(path);
        } else if (sscanf(e->d_name, "job-%lld.spool%n", &id, &end) == 1 && end &&
                   !e->d_name[end]) {
            struct found *f = xcalloc(1, sizeof(*f));
            *f = (struct found){s, id};
            s->settling++;
            store_job_get(s->store, id, on_owner, f);
        }
    }
    if (d)
        closedir(d);
    if (--s->settling == 0)
        station_settled(s);
}
