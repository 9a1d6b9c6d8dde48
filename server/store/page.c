#include <inttypes.h>
#include <string.h>

#include "server/store/lane.h"
#include "usb/base/mem.h"

int64_t store_id(const char *text)
{
    int64_t id = 0;
    if (!text || !*text || strlen(text) > 18)
        return 0;
    for (; *text; text++) {
        if (*text < '0' || *text > '9')
            return 0;
        id = id * 10 + (*text - '0');
    }
    return id;
}

static bool is_zero(const char *text)
{
    return strcmp(text, "0") == 0;
}

int page_begin(json_t *args, const struct store_page *page, enum page_order order, struct err *err)
{
    int limit = page && page->limit ? page->limit : STORE_PAGE_DEFAULT;
    if (limit < 1 || limit > STORE_PAGE_MAX)
        return err_set(err, ERR_INPUT, "limit: 1 to %d", STORE_PAGE_MAX);
    int64_t after = order == PAGE_NEWEST_FIRST ? INT64_MAX : 0;
    if (page && page->after) {
        after = store_id(page->after);
        if (!after && !is_zero(page->after))
            return err_set(err, ERR_INPUT, "after: not a cursor of this list");
    }
    json_object_set_new(args, "after", json_integer(after));
    json_object_set_new(args, "limit", json_integer(limit + 1));
    return 0;
}

json_t *page_end(json_t *args, json_t *rows, const char *key)
{
    size_t limit = (size_t)json_integer_value(json_object_get(args, "limit")) - 1;
    json_t *next = json_null();
    if (json_array_size(rows) > limit) {
        json_array_remove(rows, limit);
        json_t *cursor = json_object_get(json_array_get(rows, limit - 1), key);
        next = json_is_integer(cursor)
                   ? json_sprintf("%" JSON_INTEGER_FORMAT, json_integer_value(cursor))
                   : json_incref(cursor);
    }
    return json_pack("{s:o, s:o}", "items", rows, "next", next);
}

int page_rows(struct conn *conn, struct task *task, const char *sql, const char *key)
{
    json_t *rows = json_array();
    int code = db_rows(conn->station, sql, task->args, rows, &task->err);
    task->body = page_end(task->args, rows, key);
    return code < 0 ? code : 0;
}

int resources_read(struct conn *conn, json_t *ids, resource_read_fn *read, json_t *items,
                   struct err *err)
{
    size_t i;
    json_t *id;
    json_array_foreach(ids, i, id)
    {
        json_t *item = NULL;
        int found = read(conn, json_integer_value(id), &item, err);
        if (found < 0)
            return found;
        if (found > 0)
            json_array_append_new(items, item);
    }
    return 0;
}

int page_resources(struct conn *conn, struct task *task, const char *sql, resource_read_fn *read)
{
    json_auto_t *ids = json_array();
    json_t *items = json_array();
    int code = db_column(conn->station, sql, task->args, ids, &task->err);
    if (code >= 0)
        code = resources_read(conn, ids, read, items, &task->err);
    task->body = page_end(task->args, items, "id");
    return code < 0 ? code : 0;
}

void page_submit(struct store *s, const char *what, task_fn *run, json_t *args,
                 const struct store_page *page, enum page_order order, store_done_fn *done,
                 void *arg)
{
    struct task *task = task_new(what, run, args, done, arg);
    struct err err = {0};
    if (args && page_begin(args, page, order, &err) < 0)
        task_refuse(s, task, err.code, err.text);
    else
        lane_submit(s, LANE_READ, task);
}
