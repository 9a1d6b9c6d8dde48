#include "server/store/store.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <unistd.h>

#include "server/store/chunks.h"
#include "server/store/dbcopy.h"
#include "server/store/events.h"
#include "server/store/inside.h"
#include "server/store/keys.h"
#include "server/store/schema.h"
#include "server/store/stationkey.h"
#include "usb/base/mem.h"

enum { READERS_DEFAULT = 2 };

/* Two processes would answer each other's idempotency keys and hand out one port twice. */
static int lock_folder(struct store *s, struct err *err)
{
    AUTO(free_ptr) char *path = xasprintf("%s/lock", s->data_dir);
    s->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (s->lock_fd < 0)
        return err_sys(err, ERR_DISK, "open '%s'", path);
    if (flock(s->lock_fd, LOCK_EX | LOCK_NB) < 0)
        return err_set(err, ERR_CONFLICT, "%s is in use by another flashrackd", s->data_dir);
    return 0;
}

struct sign_key store_sign_key(const struct store *s)
{
    return signer_public(s->signer);
}

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    uint64_t count;
    ssize_t n = read(fd, &count, sizeof(count));
    (void)n; /* only empties the counter */
    lane_deliver(arg);
}

static int open_wake(struct store *s, struct event_base *base, struct err *err)
{
    s->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (s->wake_fd < 0)
        return err_sys(err, ERR_INTERNAL, "eventfd");
    s->wake_event = event_new(base, s->wake_fd, EV_READ | EV_PERSIST, on_wake, s);
    if (!s->wake_event || event_add(s->wake_event, NULL) < 0)
        return err_set(err, ERR_INTERNAL, "the event loop takes no more events");
    return 0;
}

enum access { ABSENT, READ_ONLY, READ_WRITE };

static int open_file(struct store *s, const struct schema *schema, enum access access,
                     struct db **out, struct err *err)
{
    if (access == ABSENT)
        return 0;
    AUTO(free_ptr) char *path = xasprintf("%s/%s", s->data_dir, schema->file);
    return db_open(path, access == READ_ONLY, out, err);
}

static int start_thread(struct store *s, enum lane_name lane, enum access station,
                        enum access backups, struct err *err)
{
    struct conn conn = {.store = s, .signer = s->signer, .keys = s->keys, .data_dir = s->data_dir};
    int code = open_file(s, &schema_station, station, &conn.station, err);
    if (code == 0)
        code = open_file(s, &schema_backups, backups, &conn.backups, err);
    if (code == 0)
        code = lane_start(s, lane, &conn, err);
    if (code < 0) {
        db_close(&conn.station);
        db_close(&conn.backups);
    }
    return code;
}

static int start_threads(struct store *s, int reader_count, struct err *err)
{
    int code = start_thread(s, LANE_WRITE, READ_WRITE, ABSENT, err);
    if (code == 0)
        code = start_thread(s, LANE_INGEST, READ_ONLY, READ_WRITE, err);
    if (code == 0)
        code = start_thread(s, LANE_IMAGE, READ_ONLY, READ_ONLY, err);
    if (code == 0)
        code = start_thread(s, LANE_COPY, READ_ONLY, READ_ONLY, err);
    for (int i = 0; code == 0 && i < reader_count; i++)
        code = start_thread(s, LANE_READ, READ_ONLY, ABSENT, err);
    return code;
}

int store_open(const struct store_config *config, struct store **store_out, struct err *err)
{
    int reader_count = config->reader_count ? config->reader_count : READERS_DEFAULT;
    if (reader_count < 1 || reader_count > LANE_THREADS_MAX)
        return err_set(err, ERR_INPUT, "1 to %d reader threads", LANE_THREADS_MAX);
    json_object_seed(0); /* before threads, see jansson's documentation */
    AUTO(store_close) struct store *s = xcalloc(1, sizeof(*s));
    s->data_dir = xstrdup(config->data_dir);
    s->copy_dirs = list_copy(config->copy_dirs);
    s->lock_fd = s->wake_fd = -1;
    pthread_mutex_init(&s->finished_lock, NULL);
    for (size_t i = 0; i < LANE_COUNT; i++)
        lane_init(&s->lanes[i]);

    int code = lock_folder(s, err);
    if (code == 0)
        code = schema_migrate(&schema_station, s->data_dir, err);
    if (code == 0)
        code = stationkey_open(config, &s->signer, err);
    if (code == 0)
        code = schema_migrate(&schema_backups, s->data_dir, err);
    if (code == 0)
        code = keys_open(config, &s->keys, err);
    if (code == 0)
        code = events_newest(s->data_dir, &s->event_newest, err);
    if (code == 0)
        code = open_wake(s, config->base, err);
    if (code == 0)
        code = start_threads(s, reader_count, err);
    if (code == 0)
        code = dbcopy_check_at_start(s, config->start_check_ms, err);
    if (code < 0)
        return code;
    reseal_start(s);
    *store_out = STEAL(s);
    return 0;
}

void store_close(struct store **store)
{
    struct store *s = *store;
    if (!s)
        return;
    *store = NULL;
    for (size_t i = 0; i < LANE_COUNT; i++)
        lane_stop(&s->lanes[i], i == LANE_COPY);
    while (lane_deliver(s) > 0)
        ; /* callbacks that call the store again hear that it is closing */
    for (size_t i = 0; i < LANE_COUNT; i++)
        lane_deinit(&s->lanes[i]);
    if (s->wake_event)
        event_free(s->wake_event);
    fd_close(&s->wake_fd);
    fd_close(&s->lock_fd);
    pthread_mutex_destroy(&s->finished_lock);
    list_free(&s->copy_dirs);
    signer_free(&s->signer);
    keys_free(&s->keys);
    free(s->data_dir);
    free(s);
}

int64_t store_event_newest(const struct store *s)
{
    return s->event_newest;
}

void store_on_event(struct store *s, store_event_fn *fn, void *arg)
{
    s->on_event = fn;
    s->on_event_arg = arg;
}
