/* schedule.c: the one queue of the station. A job names a port, or the next phone on a port that takes work; its
 * turn comes by priority and arrival, when its port is free and the limits leave room. Whoever changes something
 * that a job may wait for pokes; the queue is then looked at from the loop, so that nobody is called back. */
#include <event2/event.h>
#include <string.h>

#include "server/station/internal.h"
#include "usb/base/clock.h"
#include "usb/base/mem.h"

enum { START_GAP_MS = 50 }; /* a dozen processes that exec, map and hash at once miss each other's windows */

/* In the order of their turns. */
static void insert(struct job_queue *queue, struct job *j)
{
    struct job *at;
    TAILQ_FOREACH(at, queue, queue)
    {
        if (admit_before(j->priority, j->id, at->priority, at->id))
            break;
    }
    if (at)
        TAILQ_INSERT_BEFORE(at, j, queue);
    else
        TAILQ_INSERT_TAIL(queue, j, queue);
}

static void poke_in(struct station *s, int64_t ms)
{
    struct timeval tv = {ms / 1000, (ms % 1000) * 1000};
    evtimer_add(s->poke, &tv);
}

void schedule_poke(struct station *s)
{
    if (s->poke && !s->stopping)
        poke_in(s, 0);
}

void port_keep(struct port *p, int64_t job_id)
{
    p->kept_for = job_id;
    p->kept_ms = clock_in(PORTS_HEARD_MS);
}

void ports_keep_no_more(struct station *s, int64_t job_id)
{
    struct port *p;
    LIST_FOREACH(p, &s->ports, link)
    {
        if (p->kept_for == job_id)
            p->kept_for = 0;
    }
    schedule_poke(s);
}

bool port_is_free(const struct port *p, int64_t job_id)
{
    return p->enabled && !p->job && !p->held && (!p->kept_for || p->kept_for == job_id);
}

/* ---- where ------------------------------------------------------------------------------------------- */

static bool shows_nothing(const struct port *p)
{
    return strcmp(p->mode, "none") == 0;
}

/* A port that is kept for a half-written phone is free again when that phone is not on it. */
static bool kept_for_another(struct port *p, const struct job *j, int64_t now, int64_t *next)
{
    if (!p->kept_for || p->kept_for == j->id)
        return false;
    if (shows_nothing(p) && now >= p->kept_ms) {
        p->kept_for = 0;
        return false;
    }
    if (shows_nothing(p) && p->kept_ms < *next)
        *next = p->kept_ms;
    return true;
}

static const char *why_not_there(struct port *p, const struct job *j, int64_t now, int64_t *next)
{
    if (!p->enabled)
        return "enabled_port";
    if (p->job || p->held)
        return "port";
    return kept_for_another(p, j, now, next) ? "kept_port" : NULL;
}

/* A job that names the port goes before one that takes any. */
static bool is_named(const struct port *p)
{
    struct job *j;
    TAILQ_FOREACH(j, &p->s->queue, queue)
    {
        if (j->wants == p && !j->paused)
            return true;
    }
    return false;
}

static bool has_refused(const struct port *p, const struct job *j)
{
    for (size_t i = 0; i < p->refused_count; i++)
        if (p->refused[i] == j->id)
            return true;
    return p->refused_count == PORT_REFUSALS_MAX ||
           (p->phone_serial[0] && j->serial[0] && strcmp(p->phone_serial, j->serial) != 0);
}

/* The port whose phone shows the job's serial by itself, as fastboot and Android do. Two that show the same one
 * are told apart by nobody: then a person names the port. */
static struct port *port_that_shows(struct job *j, int64_t now, int64_t *next)
{
    struct port *p, *found = NULL;
    LIST_FOREACH(p, &j->s->ports, link)
    {
        if (!j->serial[0] || strcmp(p->serial, j->serial) != 0 || shows_nothing(p))
            continue;
        if (found)
            return NULL;
        found = p;
    }
    return found && !why_not_there(found, j, now, next) ? found : NULL;
}

static struct port *port_that_takes_work(struct job *j, int64_t now, int64_t *next)
{
    struct port *p;
    LIST_FOREACH(p, &j->s->ports, link)
    {
        if (p->takes_work && !p->spent && !shows_nothing(p) && strcmp(p->mode, "other") != 0 &&
            !has_refused(p, j) && !is_named(p) && !why_not_there(p, j, now, next))
            return p;
    }
    return NULL;
}

static bool some_port_takes_work(const struct station *s)
{
    const struct port *p;
    LIST_FOREACH(p, &s->ports, link)
    {
        if (p->takes_work && p->enabled)
            return true;
    }
    return false;
}

/* One phone, one job: also when it was moved and the other job waits for it elsewhere. */
static bool phone_is_busy(const struct job *j)
{
    const struct job *at;
    LIST_FOREACH(at, &j->s->jobs, link)
    {
        if (at != j && !at->queued && j->wanted_phone_id && at->phone_id == j->wanted_phone_id)
            return true;
    }
    return false;
}

static struct port *choose_port(struct job *j, int64_t now, int64_t *next, const char **why)
{
    *why = phone_is_busy(j) ? "phone_busy" : "phone";
    if (phone_is_busy(j))
        return NULL;
    if (!j->wants) {
        struct port *p = port_that_shows(j, now, next);
        if (!p)
            p = port_that_takes_work(j, now, next);
        if (!p && !some_port_takes_work(j->s))
            *why = "work_port";
        return p;
    }
    *why = why_not_there(j->wants, j, now, next);
    return *why ? NULL : j->wants;
}

/* ---- when -------------------------------------------------------------------------------------------- */

static bool has_room(const struct station *s, const struct port *p)
{
    enum { BUSY_MAX = 4096 };
    static const char *busy[BUSY_MAX]; /* of one call: the loop is one thread */
    size_t count = 0;
    struct port *at;
    LIST_FOREACH(at, &s->ports, link)
    {
        if (at->job && !at->job->resting && count < BUSY_MAX)
            busy[count++] = at->id;
    }
    return admit_check(&s->limits, p->id, busy, count) == ADMIT_YES;
}

static void wait_for(struct job *j, const char *what)
{
    bool news = !j->waits_for || strcmp(j->waits_for, what) != 0;
    j->waits_for = what;
    if (strcmp(j->state, "waiting") != 0)
        job_set_state(j, "waiting");
    else if (news)
        job_publish(j);
}

static void begin(struct job *j, struct port *p)
{
    struct station *s = j->s;
    schedule_remove(j);
    j->waits_for = NULL;
    j->port = p;
    p->job = j;
    p->kept_for = 0;
    p->last_job[0] = '\0';
    s->start_ms = clock_in(START_GAP_MS);
    session_start(j);
}

/* Earliest time at which something changes by itself goes to *next. */
static void consider(struct job *j, int64_t now, int64_t *next)
{
    struct station *s = j->s;
    const char *why;
    if (j->paused || j->pending) /* calls of its run before are under way; their end pokes */
        return;
    if (calibration_is_on(s)) {
        *next = s->calibration.until_ms < *next ? s->calibration.until_ms : *next;
        wait_for(j, "calibration");
        return;
    }
    if (now < j->not_before_ms) {
        *next = j->not_before_ms < *next ? j->not_before_ms : *next;
        wait_for(j, "retry");
        return;
    }
    struct port *p = choose_port(j, now, next, &why);
    if (!p) {
        wait_for(j, why);
    } else if (!has_room(s, p)) {
        wait_for(j, "slot");
    } else if (now < s->start_ms) {
        *next = s->start_ms < *next ? s->start_ms : *next;
    } else {
        begin(j, p);
    }
}

/* ---- those whose person was away --------------------------------------------------------------------- */

void schedule_rest(struct job *j)
{
    schedule_remove(j);
    j->resting = true;
    job_control(j, "hold");
    schedule_poke(j->s);
}

/* They go before those that have not begun: a phone is held for each of them. */
static void let_return(struct station *s)
{
    struct job *j, *after;
    for (j = TAILQ_FIRST(&s->returning); j; j = after) {
        after = TAILQ_NEXT(j, queue);
        if (!has_room(s, j->port))
            continue;
        bool told = j->waits_for != NULL;
        schedule_remove(j);
        job_control(j, "go");
        if (told)
            job_publish(j);
    }
}

void schedule_return(struct job *j)
{
    schedule_remove(j);
    j->returning = j->resting = true;
    insert(&j->s->returning, j);
    let_return(j->s);
    if (j->returning)
        j->waits_for = "slot";
}

static void on_poke(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct station *s = arg;
    let_return(s);
    moved_look(s);
    if (s->stopping || s->settling || !portwatch_is_up(s->portwatch))
        return; /* each of these pokes when it is over */
    int64_t next = INT64_MAX;
    struct job *j, *after;
    for (j = TAILQ_FIRST(&s->queue); j; j = after) {
        after = TAILQ_NEXT(j, queue); /* a start takes its job out, and no other */
        consider(j, clock_now_ms(), &next);
    }
    if (next != INT64_MAX)
        poke_in(s, next > clock_now_ms() ? next - clock_now_ms() : 1);
}

/* ---- the queue --------------------------------------------------------------------------------------- */

void schedule_add(struct job *j)
{
    j->queued = true;
    insert(&j->s->queue, j);
    if (j->wants && j->wants->job && !j->paused)
        wait_for(j, "port"); /* known at once, so the order's answer says it */
    schedule_poke(j->s);
}

void schedule_remove(struct job *j)
{
    if (j->queued)
        TAILQ_REMOVE(&j->s->queue, j, queue);
    if (j->returning) {
        TAILQ_REMOVE(&j->s->returning, j, queue);
        j->waits_for = NULL;
    }
    j->queued = j->returning = j->resting = false;
}

int schedule_new(struct station *s, const struct station_config *config, struct err *err)
{
    TAILQ_INIT(&s->queue);
    TAILQ_INIT(&s->returning);
    s->limits =
        (struct admit_limits){config->jobs_max, config->jobs_per_controller, config->jobs_per_hub};
    s->retries_max = config->retries;
    s->poke = evtimer_new(s->base, on_poke, s);
    return s->poke ? 0 : err_set(err, ERR_INTERNAL, "no timer for the queue");
}

void schedule_free(struct station *s)
{
    if (s->poke)
        event_free(s->poke);
    s->poke = NULL;
}
