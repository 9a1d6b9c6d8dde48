/* list_cmd.c: ports, phones, jobs, backups, firmware packages: one table each. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/cli/client_cmd.h"
#include "server/cli/table.h"
#include "usb/base/mem.h"

#define PAGE_TEXT  "1000" /* the API's largest page */
#define JOBS_SHOWN "50"
#define LIMIT_MAX  1000000

struct listing {
    const char *heads;
    void (*row)(struct table *t, json_t *item);
    const char *empty; /* what is not there, and the next thing to do */
};

/* All pages, or the first items when `limit` is above 0, as one list. */
static int pages_get(struct client *c, const char *path, size_t limit, json_t **out,
                     struct err *err)
{
    AUTO(client_json_free) json_t *items = json_array();
    AUTO(client_json_free) json_t *next = json_null();
    do {
        AUTO(free_ptr) char *paged = xstrdup(path);
        AUTO(client_json_free) json_t *page = NULL;
        client_query(&paged, "after", json_string_value(next));
        int rc = client_get(c, paged, &page, err);
        if (rc < 0)
            return rc;
        json_array_extend(items, json_object_get(page, "items"));
        json_decref(next);
        next = json_incref(json_object_get(page, "next"));
    } while (json_is_string(next) && (!limit || json_array_size(items) < limit));
    *out = json_pack("{s:O, s:O}", "items", items, "next", next ? next : json_null());
    return 0;
}

static void rows_print(const struct listing *l, json_t *items, bool chosen)
{
    if (json_array_size(items) == 0) {
        puts(chosen ? "None fits. Without these options the list is whole." : l->empty);
        return;
    }
    AUTO(table_free) struct table *t = table_new(l->heads);
    size_t i;
    json_t *item;
    json_array_foreach(items, i, item) l->row(t, item);
    table_print(t);
}

static int list_show(struct client *c, const struct listing *l, const char *path, size_t limit,
                     bool json)
{
    struct err err;
    AUTO(client_json_free) json_t *list = NULL;
    if (pages_get(c, path, limit, &list, &err) < 0)
        return client_fail(c, &err);
    if (json)
        cli_json_print(json_incref(list));
    else
        rows_print(l, json_object_get(list, "items"),
                   strchr(path, '&')); /* more was asked for than a limit */
    return CLI_FINE;
}

/* "a, b" of an array of strings; NULL when it is empty. */
static char *joined(json_t *array)
{
    char *all = NULL;
    size_t i;
    json_t *item;
    json_array_foreach(array, i, item)
    {
        const char *text = json_string_value(item);
        char *longer = xasprintf("%s%s%s", all ? all : "", all ? ", " : "", text ? text : "?");
        free(all);
        all = longer;
    }
    return all;
}

/* ---- ports ------------------------------------------------------------------------------------------ */

/* How it is used, then what is wrong with it or how its last job ended; NULL: nothing to say. */
static char *port_note(json_t *port)
{
    json_t *last = json_object_get(port, "last");
    const char *use = port_use_note(port), *before = text_of(last, "state");
    AUTO(free_ptr) char *result = xstrdup(text_of(port, "trouble"));
    if (!result && before)
        result = xasprintf("job %s %s", text_or_dash(last, "job_id"), before);
    if (!use)
        return STEAL(result);
    return result ? xasprintf("%s; %s", use, result) : xstrdup(use);
}

static void port_row(struct table *t, json_t *port)
{
    AUTO(free_ptr) char *note = port_note(port);
    table_cell(t, text_of(port, "label"));
    table_cell(t, text_of(port, "state"));
    table_cell(t, text_of(port, "mode"));
    table_cell(t, text_of(port, "phone_id"));
    table_cell(t, text_of(port, "job_id"));
    table_cell(t, text_of(port, "id"));
    table_cell(t, note);
}

int ports_cmd(const struct cli_command *self, int argc, char **argv)
{
    static const struct listing listing = {
        "LABEL\0STATE\0MODE\0PHONE\0JOB\0PORT\0NOTE\0", port_row,
        "No ports yet: a port shows up when a phone is plugged into it, or with its USB/IP rack\n"
        "(flashrackd --usbip HOST:PORT). Nothing plugged in is seen? 'flashrack doctor' says why."};
    struct client_options common = {0};
    bool topology = false;
    const struct cli_option options[] = {
        CLIENT_OPTIONS(common), {"topology", NULL, &topology, 0}, {0}};
    AUTO(client_free) struct client *c = NULL;
    int rc = client_begin(self, argc, argv, options, &common, 0, "", &c);
    if (rc != CMD_GO_ON)
        return rc;
    return topology ? topology_show(c, common.json)
                    : list_show(c, &listing, CLIENT_API "/ports", 0, common.json);
}

/* ---- phones ----------------------------------------------------------------------------------------- */

static void phone_row(struct table *t, json_t *phone)
{
    AUTO(free_ptr) char *imeis = joined(json_object_get(phone, "imeis"));
    table_cell(t, text_of(phone, "id"));
    table_cell(t, text_of(phone, "serial"));
    table_cell(t, text_of(phone, "identity"));
    table_cell(t, imeis);
    table_cell(t, text_of(phone, "chip_id"));
    table_cell(t, text_time(phone, "last_seen"));
}

int phones_cmd(const struct cli_command *self, int argc, char **argv)
{
    static const struct listing listing = {"ID\0SERIAL\0IDENTITY\0IMEIS\0CHIP\0LAST SEEN\0",
                                           phone_row,
                                           "No phones. The station gets to know a phone in its "
                                           "first job: 'flashrack restore --help'."};
    struct client_options common = {0};
    const char *serial = NULL;
    const struct cli_option options[] = {CLIENT_OPTIONS(common), {"serial", &serial, NULL, 0}, {0}};
    AUTO(client_free) struct client *c = NULL;
    int rc = client_begin(self, argc, argv, options, &common, 0, "", &c);
    if (rc != CMD_GO_ON)
        return rc;
    AUTO(free_ptr) char *path = xstrdup(CLIENT_API "/phones?limit=" PAGE_TEXT);
    client_query(&path, "serial", serial);
    return list_show(c, &listing, path, 0, common.json);
}

/* ---- jobs ------------------------------------------------------------------------------------------- */

static void job_row(struct table *t, json_t *job)
{
    json_t *progress = json_object_get(job, "progress"), *error = json_object_get(job, "error");
    double total = json_number_value(json_object_get(progress, "total_bytes"));
    double done = json_number_value(json_object_get(progress, "done_bytes"));
    const char *state = text_of(job, "state");
    char percent[16] = "";
    if (total > 0 && state && strcmp(state, "running") == 0)
        snprintf(percent, sizeof(percent), "%.0f %%", 100 * done / total);
    table_cell(t, text_of(job, "id"));
    table_cell(t, state);
    table_cell(t, text_of(job, "step"));
    table_cell(t, percent);
    table_cell(t, text_of(job, "serial"));
    table_cell(t, text_of(job, "port"));
    table_cell(t, text_time(job, "created_at"));
    table_cell(t, text_of(error, "code"));
}

int jobs_cmd(const struct cli_command *self, int argc, char **argv)
{
    static const struct listing listing = {"ID\0STATE\0STEP\0DONE\0SERIAL\0PORT\0ORDERED\0ERROR\0",
                                           job_row,
                                           "No jobs. 'flashrack restore --serial S --port P' "
                                           "orders one; 'flashrack ports' lists the ports."};
    struct client_options common = {0};
    const char *state = NULL, *port = NULL, *serial = NULL, *limit = JOBS_SHOWN;
    bool open = false;
    const struct cli_option options[] = {CLIENT_OPTIONS(common),
                                         {"open", NULL, &open, 0},
                                         {"state", &state, NULL, 0},
                                         {"port", &port, NULL, 0},
                                         {"serial", &serial, NULL, 0},
                                         {"limit", &limit, NULL, 0},
                                         {0}};
    AUTO(client_free) struct client *c = NULL;
    int rc = client_arguments(self, argc, argv, options, 0, "");
    char *end;
    long most = strtol(limit, &end, 10);
    if (rc == CMD_GO_ON && (*end || most < 1 || most > LIMIT_MAX))
        rc = cli_usage(self, "--limit is a number from 1 to %d", LIMIT_MAX);
    if (rc == CMD_GO_ON)
        rc = station_open(&common, &c);
    if (rc != CMD_GO_ON)
        return rc;
    AUTO(free_ptr) char *path = xstrdup(CLIENT_API "/jobs");
    client_query(&path, "limit", most < 1000 ? limit : PAGE_TEXT);
    client_query(&path, "open", open ? "true" : NULL);
    client_query(&path, "state", state);
    client_query(&path, "port", port);
    client_query(&path, "serial", serial);
    return list_show(c, &listing, path, (size_t)most, common.json);
}

/* ---- backups ---------------------------------------------------------------------------------------- */

static const char *backup_verified(json_t *backup)
{
    if (text_of(backup, "pruned_at"))
        return "pruned";
    return text_of(backup, "damage") ? "DAMAGED" : text_time(backup, "verified_at");
}

static void backup_row(struct table *t, json_t *backup)
{
    json_t *partitions = json_object_get(backup, "partitions"), *partition;
    json_int_t bytes = 0;
    size_t i;
    json_array_foreach(partitions, i, partition) bytes +=
        json_integer_value(json_object_get(partition, "size"));
    char count[24];
    snprintf(count, sizeof(count), "%zu", json_array_size(partitions));
    table_cell(t, text_of(backup, "id"));
    table_cell(t, text_of(backup, "serial"));
    table_cell(t, text_of(backup, "origin"));
    table_cell(t, text_of(backup, "verdict"));
    table_cell(t, text_of(backup, "phone_id"));
    table_cell(t, count);
    table_cell(t, cli_bytes((uint64_t)bytes));
    table_cell(t, text_time(backup, "created_at"));
    table_cell(t, backup_verified(backup));
}

int backup_ids(struct client *c, json_t *ids)
{
    struct err err;
    AUTO(client_json_free) json_t *list = NULL;
    if (pages_get(c, CLIENT_API "/backups?limit=" PAGE_TEXT, 0, &list, &err) < 0)
        return client_fail(c, &err);
    size_t i;
    json_t *backup;
    json_array_foreach(json_object_get(list, "items"), i, backup)
    {
        if (!text_of(backup, "pruned_at"))
            json_array_append(ids, json_object_get(backup, "id"));
    }
    return CMD_GO_ON;
}

int backups_cmd(const struct cli_command *self, int argc, char **argv)
{
    static const struct listing listing = {
        "ID\0SERIAL\0ORIGIN\0VERDICT\0PHONE\0PARTITIONS\0SIZE\0CREATED\0VERIFIED\0", backup_row,
        "No backups. 'flashrack import-dump FILE --serial S' makes one of a read-back dump; each "
        "job takes\n"
        "one of its phone before it writes."};
    struct client_options common = {0};
    const char *serial = NULL, *phone = NULL;
    const struct cli_option options[] = {
        CLIENT_OPTIONS(common), {"serial", &serial, NULL, 0}, {"phone", &phone, NULL, 0}, {0}};
    AUTO(client_free) struct client *c = NULL;
    int rc = client_begin(self, argc, argv, options, &common, 0, "", &c);
    if (rc != CMD_GO_ON)
        return rc;
    AUTO(free_ptr) char *path = xstrdup(CLIENT_API "/backups?limit=" PAGE_TEXT);
    client_query(&path, "serial", serial);
    client_query(&path, "phone_id", phone);
    return list_show(c, &listing, path, 0, common.json);
}

/* ---- conflicts -------------------------------------------------------------------------------------- */

static void conflict_row(struct table *t, json_t *conflict)
{
    table_cell(t, text_of(conflict, "id"));
    table_cell(t, text_of(conflict, "state"));
    table_cell(t, text_time(conflict, "noticed_at"));
    table_cell(t, text_of(conflict, "text"));
    table_cell(t, text_of(conflict, "reason"));
}

int conflicts_list(struct client *c, bool all, bool json)
{
    static const struct listing listing = {"ID\0STATE\0NOTICED\0WHAT\0REASON\0", conflict_row,
                                           "No conflicts: every number is on one phone only."};
    AUTO(free_ptr) char *path = xstrdup(CLIENT_API "/conflicts?limit=" PAGE_TEXT);
    client_query(&path, "state", all ? NULL : "open");
    return list_show(c, &listing, path, 0, json);
}

/* ---- firmware --------------------------------------------------------------------------------------- */

static void firmware_row(struct table *t, json_t *firmware)
{
    char files[24], problems[24];
    snprintf(files, sizeof(files), "%zu", json_array_size(json_object_get(firmware, "files")));
    snprintf(problems, sizeof(problems), "%zu",
             json_array_size(json_object_get(firmware, "problems")));
    table_cell(t, text_of(firmware, "id"));
    table_cell(t, text_of(firmware, "name"));
    table_cell(t, text_of(firmware, "platform"));
    table_cell(t, text_of(firmware, "project"));
    table_cell(t, text_of(firmware, "version"));
    table_cell(t, files);
    table_cell(t, problems);
    table_cell(t, text_of(firmware, "path"));
}

int firmware_list_cmd(const struct cli_command *self, int argc, char **argv)
{
    static const struct listing listing = {
        "ID\0NAME\0PLATFORM\0PROJECT\0VERSION\0FILES\0PROBLEMS\0PATH\0", firmware_row,
        "No firmware packages. 'flashrack firmware unpack ARCHIVE -o DIR' unpacks a vendor's "
        "package,\n"
        "'flashrack firmware add DIR' adds it."};
    struct client_options common = {0};
    const struct cli_option options[] = {CLIENT_OPTIONS(common), {0}};
    AUTO(client_free) struct client *c = NULL;
    int rc = client_begin(self, argc, argv, options, &common, 0, "", &c);
    return rc != CMD_GO_ON
               ? rc
               : list_show(c, &listing, CLIENT_API "/firmware?limit=" PAGE_TEXT, 0, common.json);
}
