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

enum { LOCK_RETRY_MS = 250, DISK_RETRY_MS = 2000 };

struct adoption {
    struct station *s;
    struct port *port; /* held until all is known; NULL: none */
    int64_t job_id, phone_id;
    struct job *job; /* of this process; NULL: see owner */
    json_t *owner;   /* the job as stored; NULL beside job NULL: the store does not know it */
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

bool spool_is_there(const struct station *s, int64_t job_id)
{
    AUTO(free_ptr) char *path = spool_path(s, job_id);
    return access(path, F_OK) == 0;
}

static void adoption_free(struct adoption *a)
{
    LIST_REMOVE(a, link);
    if (a->port)
        a->port->held--;
    json_decref(a->owner);
    fd_close(&a->fd);
    if (a->timer)
        event_free(a->timer);
    free(a);
}

void adoptions_free(struct station *s)
{
    while (!LIST_EMPTY(&s->adoptions)) {
        struct adoption *a = LIST_FIRST(&s->adoptions);
        if (a->job)
            a->job->pending--; /* station_free() frees it */
        adoption_free(a);
    }
}

static const char *text_of(json_t *object, const char *key)
{
    const char *s = json_string_value(json_object_get(object, key));
    return s ? s : "";
}

static void look_again(struct adoption *a, int ms)
{
    struct timeval tv = {ms / 1000, (ms % 1000) * 1000};
    evtimer_add(a->timer, &tv);
}

void spool_keep_aside(const struct station *s, int64_t job_id, const struct err *err)
{
    AUTO(free_ptr) char *path = spool_path(s, job_id);
    AUTO(free_ptr) char *kept = xasprintf("%s.kept", path);
    (void)rename(path, kept);
    log_line(LOG_ERROR, "spool", LOG_KV({"err", err_name(err->code)}), "%s; kept as %s", err->text,
             kept);
}

/* An older copy of the databases was put in place: nobody asks for this job any more, but what it saved of a phone may be
 * all that is left of it. The journal stays beside it, for a person. */
static void end_orphan(struct adoption *a, int code, const struct err *err, json_t *body)
{
    struct err why = {0};
    size_t count = json_array_size(json_object_get(body, "backups"));
    err_set(&why, ERR_NOT_FOUND,
            "job %lld is not in the database, as after an older copy was put in place: %zu backups "
            "of its spool were stored%s%s",
            (long long)a->job_id, count, code < 0 ? ": " : "", code < 0 ? err->text : "");
    struct station *s = a->s;
    if (code != ERR_CANCELLED)
        spool_keep_aside(s, a->job_id, &why);
    adoption_free(a);
    if (--s->settling == 0)
        station_settled(s);
}

static bool was_permitted(const struct job *j, json_t *owner)
{
    return j ? j->permitted : json_is_true(json_object_get(owner, "permitted"));
}

/* Records that nobody can read any more may tell of writes; before a permit there were none. */
static bool hides(const struct adoption *a, json_t *body)
{
    bool spoilt = json_is_true(json_object_get(body, "spoilt")) && was_permitted(a->job, a->owner);
    if (spoilt)
        log_line(LOG_ERROR, "spool", NULL,
                 "the spool of job %lld is damaged in its middle: what its worker did last to the "
                 "phone is not known",
                 (long long)a->job_id);
    return spoilt;
}

static void on_adopted(void *arg, int code, const struct err *err, json_t *body)
{
    struct adoption *a = arg;
    if (passes(code)) {
        log_line(LOG_ERROR, "spool", LOG_KV({"err", err_name(code)}),
                 "%s; job %lld waits, it is tried again", err->text, (long long)a->job_id);
        look_again(a, DISK_RETRY_MS);
        return;
    }
    if (!a->job && !a->owner) {
        end_orphan(a, code, err, body);
        return;
    }
    if (code < 0 && code != ERR_CANCELLED)
        spool_keep_aside(a->s, a->job_id, err);
    if (code != ERR_CANCELLED) /* the store closes: the next start does it */
        run_settle(a->s, a->job, a->owner, json_object_get(body, "records"), hides(a, body),
                   a->port);
    struct job *j = a->job;
    adoption_free(a);
    if (j)
        job_unref(j);
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
    struct store_backup_meta meta = {
        .job_id = a->job || a->owner ? a->job_id : 0, .phone_id = a->phone_id, .origin = "station"};
    store_spool_ingest(a->s->store, a->fd, 0, &meta, on_adopted, a);
}

static struct adoption *adoption_new(struct station *s, int64_t job_id, int fd)
{
    struct adoption *a = xcalloc(1, sizeof(*a));
    *a = (struct adoption){.s = s, .job_id = job_id, .fd = fd};
    a->timer = evtimer_new(s->base, on_timer, a);
    LIST_INSERT_HEAD(&s->adoptions, a, link);
    look_again(a, 0);
    return a;
}

void spool_adopt(struct station *s, struct job *j, json_t *owner, struct port *port)
{
    int64_t job_id = j ? j->id : store_id(text_of(owner, "id"));
    AUTO(free_ptr) char *path = spool_path(s, job_id);
    AUTO(fd_close) int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) { /* lost: without a permit nothing was written, with one nobody knows what was */
        json_auto_t *nothing = was_permitted(j, owner) ? NULL : json_array();
        run_settle(s, j, owner, nothing, false, port);
        return;
    }
    struct adoption *a = adoption_new(s, job_id, STEAL_FD(fd));
    a->port = port;
    a->job = j;
    a->phone_id = j ? j->phone_id : store_id(text_of(owner, "phone_id"));
    a->owner = json_incref(owner);
    if (port)
        port->held++;
    if (j)
        j->pending++;
}

/* Nobody knows its port: no job begins before its worker has gone. */
static void adopt_orphan(struct station *s, int64_t job_id)
{
    AUTO(free_ptr) char *path = spool_path(s, job_id);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return;
    s->settling++;
    adoption_new(s, job_id, fd);
}

/* ---- at start ----------------------------------------------------------------------------------------- */

struct found {
    struct station *s;
    int64_t job_id;
};

static void find_owner(void *arg);

static void on_owner(void *arg, int code, const struct err *err, json_t *job)
{
    struct found *f = arg;
    struct station *s = f->s;
    if (passes(code)) {
        log_line(LOG_ERROR, "spool", LOG_KV({"err", err_name(code)}),
                 "whose the spool of job %lld is: %s; it is tried again", (long long)f->job_id,
                 err->text);
        station_later(s, find_owner, free, f);
        return;
    }
    if (code == 0) {
        const char *port = json_string_value(json_object_get(job, "port"));
        spool_adopt(s, NULL, job, port ? port_add(s, port) : NULL);
    } else if (code == ERR_NOT_FOUND) {
        adopt_orphan(s, f->job_id);
    }
    free(f);
    if (--s->settling == 0)
        station_settled(s);
}

static void find_owner(void *arg)
{
    struct found *f = arg;
    store_job_get(f->s->store, f->job_id, on_owner, f);
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
            find_owner(f);
        }
    }
    if (d)
        closedir(d);
    if (--s->settling == 0)
        station_settled(s);
}
