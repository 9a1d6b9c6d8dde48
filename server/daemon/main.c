/* flashrackd: the station's server. Puts the parts together and runs the loop; has no USB rights. */
#include <errno.h>
#include <event2/event.h>
#include <limits.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/api/api.h"
#include "server/daemon/config.h"
#include "server/http/http.h"
#include "server/station/station.h"
#include "server/store/store.h"
#include "usb/base/log.h"
#include "usb/base/mem.h"

struct daemon {
    struct event_base *base;
    bool again; /* SIGHUP: this program, or a newer one at its place, takes over */
    struct store *store;
    struct station *station;
    struct http *http;
    struct api *api;
};

static void on_signal(evutil_socket_t signo, short what, void *arg)
{
    (void)what;
    struct daemon *d = arg;
    d->again = signo == SIGHUP;
    log_line(LOG_INFO, "daemon", NULL, "signal %d: %s; workers finish the step they are in",
             (int)signo, d->again ? "starting anew" : "ending");
    event_base_loopbreak(d->base);
}

static int make_dirs(struct config *c, char *data, size_t size, struct err *err)
{
    char real[PATH_MAX];
    if (mkdir(c->data, 0700) < 0 && errno != EEXIST)
        return err_sys(err, ERR_IO, "data folder '%s'", c->data);
    if (!realpath(c->data, real) || strlen(real) >= size)
        return err_sys(err, ERR_IO, "data folder '%s'", c->data);
    memcpy(data, real, strlen(real) + 1);
    AUTO(free_ptr) char *import = xasprintf("%s/import", data);
    if (mkdir(import, 0700) < 0 && errno != EEXIST)
        return err_sys(err, ERR_IO, "folder '%s'", import);
    size_t n = 0;
    while (c->import_dir[n])
        n++;
    if (n < CONFIG_LIST_MAX)
        c->import_dir[n] = STEAL(import);
    return 0;
}

/* An option whose digits config_load() has checked. */
static int number_or(const char *text, int fallback)
{
    return text ? atoi(text) : fallback;
}

static int daemon_start(struct daemon *d, const struct config *c, const char *data, struct err *err)
{
    struct store_config store = {.data_dir = data,
                                 .base = d->base,
                                 .copy_dirs = (const char *const *)c->copy_dir,
                                 .backup_key = c->backup_key,
                                 .old_backup_key = c->old_backup_key,
                                 .new_station_key = c->new_station_key};
    int rc = store_open(&store, &d->store, err);
    if (rc < 0)
        return rc;
    struct http_config http = {.listen = c->listen,
                               .allow_remote = c->allow_remote,
                               .hosts = (const char *const *)c->host,
                               .web_dir = c->web,
                               .tls_cert = c->tls_cert,
                               .tls_key = c->tls_key};
    rc = http_new(d->base, &http, &d->http, err);
    struct station_config station = {.data_dir = data,
                                     .program_dir = c->program_dir,
                                     .portwatch_path = c->portwatch,
                                     .racks = (const char *const *)c->usbip,
                                     .import_dirs = (const char *const *)c->import_dir,
                                     .schema_dir = c->schema,
                                     .usb = !c->no_usb,
                                     .jobs_max = number_or(c->jobs_max, 32),
                                     .jobs_per_controller = number_or(c->jobs_per_controller, 16),
                                     .jobs_per_hub = number_or(c->jobs_per_hub, 8),
                                     .retries = number_or(c->retries, 3),
                                     .record_keep = c->record_keep,
                                     .verify_every_ms =
                                         (int64_t)number_or(c->verify_every, 86400) * 1000,
                                     .keep_backups = number_or(c->keep_backups, 0),
                                     .time_scale = c->time_scale ? strtod(c->time_scale, NULL) : 1};
    if (rc == 0)
        rc = station_new(d->base, d->store, &station, &d->station, err);
    AUTO(free_ptr) char *recipes = xasprintf("%s/recipes", c->schema);
    struct api_config api = {.base = d->base, .recipe_dir = recipes};
    if (rc == 0)
        rc = api_new(d->http, d->station, d->store, &api, &d->api, err);
    return rc < 0 ? rc : http_listen(d->http, err);
}

static void daemon_stop(struct daemon *d)
{
    station_stop(d->station);
    store_close(&d->store); /* what was queued is committed, every answer that is due is given */
    api_free(&d->api);
    http_free(&d->http);
    station_free(&d->station);
}

/* Sixty inputs a job on many ports are more than the usual soft limit of 1024. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

/* The largest answers (a page of jobs with their steps) are some MB of small pieces, made in one thread of the store and
 * freed in another. With an arena for each thread every arena keeps the most that it ever held: 41 MB with three
 * dashboards open, 25 MB with one arena. */
static void bound_memory(void)
{
    enum { ARENAS = 1, GIVE_BACK_BYTES = 256 * 1024 };
    mallopt(M_ARENA_MAX, ARENAS);
    mallopt(M_MMAP_THRESHOLD, GIVE_BACK_BYTES);
    mallopt(M_TRIM_THRESHOLD, GIVE_BACK_BYTES);
}

/* Runs until a signal; *again: one that asks for a new start. */
static int serve(struct config *c, bool *again, struct err *err)
{
    static const int signals[] = {SIGTERM, SIGINT, SIGHUP};
    char data[PATH_MAX];
    int rc = make_dirs(c, data, sizeof(data), err);
    if (rc < 0)
        return rc;
    raise_descriptor_limit();
    bound_memory();
    struct daemon d = {.base = event_base_new()};
    struct event *stop[ARRAY_LEN(signals)];
    for (size_t i = 0; i < ARRAY_LEN(stop); i++) {
        stop[i] = evsignal_new(d.base, signals[i], on_signal, &d);
        event_add(stop[i], NULL);
    }
    rc = daemon_start(&d, c, data, err);
    if (rc == 0) {
        log_line(LOG_INFO, "daemon", NULL, "dashboard and API at %s", http_url(d.http));
        printf("Flashrack is at %s\n", http_url(d.http));
        fflush(stdout);
        event_base_dispatch(d.base);
    }
    daemon_stop(&d);
    for (size_t i = 0; i < ARRAY_LEN(stop); i++)
        event_free(stop[i]);
    event_base_free(d.base);
    *again = rc == 0 && d.again;
    return rc;
}

/* 2: an option or key does not fit; 3: a database is damaged. Starting again does not help, see flashrackd.service. */
static int exit_status(int rc)
{
    if (rc >= 0)
        return 0;
    return rc == ERR_INPUT ? 2 : rc == ERR_VERIFY ? 3 : 1;
}

/* The path of this program before anybody replaced the file: an upgrade lies under the same name. */
static int own_path(char *out, size_t size, struct err *err)
{
    ssize_t n = readlink("/proc/self/exe", out, size - 1);
    if (n < 0)
        return err_sys(err, ERR_IO, "own program");
    out[n] = '\0';
    return 0;
}

int main(int argc, char **argv)
{
    struct config c;
    struct err err = {0};
    log_program_set("flashrackd");
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file that may not grow is an error of the write, not our end */
    char program[PATH_MAX];
    bool again = false;
    int rc = config_load(&c, argc, argv, &err);
    if (rc == 0)
        rc = own_path(program, sizeof(program), &err);
    if (rc == 0) {
        log_json_set(c.log_format && strcmp(c.log_format, "json") == 0);
        rc = serve(&c, &again, &err);
    }
    if (again) {
        execv(program, argv);
        rc = err_sys(&err, ERR_IO, "start '%s' anew", program);
    }
    if (rc < 0)
        fprintf(stderr, "flashrackd: %s\n", err.text);
    config_deinit(&c);
    return exit_status(rc);
}
