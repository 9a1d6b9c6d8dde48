/* store_bench.h: a store in a folder of its own, and calls that wait for their answer on the loop.
 */
#ifndef FLASHRACK_TESTS_STORE_BENCH_H
#define FLASHRACK_TESTS_STORE_BENCH_H

#include "tests/unit/rows.h"

#include <dirent.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "server/store/db.h"
#include "server/store/store.h"
#include "usb/base/mem.h"

struct bench {
    char dir[64];
    struct event_base *base;
    struct store *store;
    int64_t last_event; /* ids must rise */
    size_t event_count;
    char last_type[8];
    json_t *last_body;
};

/* One call and its answer. */
struct call {
    struct bench *bench;
    bool ran;
    int code;
    struct err err;
    json_t *body;
    int fd;
    int64_t size_bytes;
};

static inline void bench_event(void *arg, int64_t id, const char *type, json_t *body)
{
    struct bench *b = arg;
    assert_true(id > b->last_event);
    b->last_event = id;
    b->event_count++;
    snprintf(b->last_type, sizeof(b->last_type), "%s", type);
    json_decref(b->last_body);
    b->last_body = json_incref(body);
}

static inline void bench_open(struct bench *b)
{
    struct err err = {0};
    const struct store_config config = {.data_dir = b->dir, .base = b->base};
    if (store_open(&config, &b->store, &err) < 0)
        fail_msg("%s", err.text);
    store_on_event(b->store, bench_event, b);
}

static inline int bench_setup(void **state)
{
    struct bench *b = xcalloc(1, sizeof(*b));
    snprintf(b->dir, sizeof(b->dir), "/tmp/flashrack-store-XXXXXX");
    assert_non_null(mkdtemp(b->dir));
    b->base = event_base_new();
    bench_open(b);
    *state = b;
    return 0;
}

static inline void bench_remove_dir(const char *path)
{
    DIR *dir = opendir(path);
    for (struct dirent *e; dir && (e = readdir(dir));)
        if (e->d_name[0] != '.')
            unlinkat(dirfd(dir), e->d_name, 0);
    if (dir)
        closedir(dir);
    rmdir(path);
}

static inline int bench_teardown(void **state)
{
    struct bench *b = *state;
    store_close(&b->store);
    event_base_free(b->base);
    bench_remove_dir(b->dir);
    json_decref(b->last_body);
    free(b);
    return 0;
}

static inline void bench_reopen(struct bench *b)
{
    store_close(&b->store);
    bench_open(b);
}

/* Beside the store, in one of its files: what a query says in column n; statements without answer. */
static inline int64_t bench_count(struct bench *b, const char *file, const char *sql)
{
    AUTO(free_ptr) char *path = xasprintf("%s/%s", b->dir, file);
    AUTO(db_close) struct db *db = NULL;
    json_t *row = NULL;
    assert_int_equal(db_open(path, true, &db, NULL), 0);
    assert_int_equal(db_row(db, sql, NULL, &row, NULL), 1);
    int64_t n = json_integer_value(json_object_get(row, "n"));
    json_decref(row);
    return n;
}

static inline void bench_change(struct bench *b, const char *file, const char *sql)
{
    AUTO(free_ptr) char *path = xasprintf("%s/%s", b->dir, file);
    AUTO(db_close) struct db *db = NULL;
    struct err err = {0};
    if (db_open(path, false, &db, &err) < 0 || db_exec(db, sql, &err) < 0)
        fail_msg("%s: %s", sql, err.text);
}

static inline void call_done(void *arg, int code, const struct err *err, json_t *body)
{
    struct call *c = arg;
    assert_false(c->ran);
    c->ran = true;
    c->code = code;
    c->err = *err;
    c->body = json_incref(body);
}

static inline void call_fd_done(void *arg, int code, const struct err *err, int fd, int64_t size)
{
    struct call *c = arg;
    call_done(arg, code, err, NULL);
    c->fd = fd;
    c->size_bytes = size;
}

/* Turns the loop until the answer is there. */
static inline void call_wait(struct bench *b, struct call *c)
{
    while (!c->ran)
        event_base_loop(b->base, EVLOOP_ONCE);
}

/* CALL(b, &c, store_job_get, 7): the call with its callback appended, and the wait. */
#define CALL(b, c, fn, ...)                                                                        \
    do {                                                                                           \
        json_decref((c)->body);                                                                    \
        *(c) = (struct call){.fd = -1};                                                            \
        fn((b)->store, __VA_ARGS__, call_done, (c));                                               \
        call_wait((b), (c));                                                                       \
    } while (0)
#define CALL_OK(b, c, fn, ...)                                                                     \
    do {                                                                                           \
        CALL(b, c, fn, __VA_ARGS__);                                                               \
        if ((c)->code < 0)                                                                         \
            fail_msg("%s: %s", #fn, (c)->err.text);                                                \
    } while (0)

static inline const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "(no text)";
}

static inline json_t *item(const struct call *c, size_t i)
{
    return json_array_get(json_object_get(c->body, "items"), i);
}

static inline size_t item_count(const struct call *c)
{
    return json_array_size(json_object_get(c->body, "items"));
}

static inline int64_t id_of(const json_t *object)
{
    return store_id(text_of(object, "id"));
}

#define CHIP_A "000102030405060708090a0b0c0d0e0f"
#define CHIP_B "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff"

static inline int64_t add_phone(struct bench *b, const char *chip_id, const char *serial)
{
    struct call c = {0};
    CALL_OK(b, &c, store_phone_seen,
            (&(struct store_phone_seen){.chip_id = chip_id, .serial = serial, .source = "label"}));
    int64_t id = id_of(c.body);
    json_decref(c.body);
    return id;
}

static inline int64_t add_job(struct bench *b, const char *port_id, int64_t phone_id)
{
    struct call c = {0};
    CALL_OK(b, &c, store_job_add,
            (&(struct store_job_new){
                .recipe = "x5-restore", .port_id = port_id, .phone_id = phone_id}));
    int64_t id = id_of(c.body);
    json_decref(c.body);
    return id;
}

#endif
