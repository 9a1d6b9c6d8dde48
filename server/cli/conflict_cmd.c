/* conflict_cmd.c: contradictions between phones: the list, both sides of one, and an admin's decision. */
#include <stdio.h>
#include <string.h>

#include "server/cli/client_cmd.h"
#include "server/cli/table.h"
#include "usb/base/mem.h"

/* ---- one -------------------------------------------------------------------------------------------- */

/* A row of the comparison: a name, then one cell for each record. */
static void compare(struct table *t, json_t *records, const char *name, const char *key)
{
    size_t i;
    json_t *record;
    table_cell(t, name);
    json_array_foreach(records, i, record)
    {
        json_t *value = json_object_get(record, key);
        char all[160] = "";
        for (size_t k = 0; k < json_array_size(value) && k < 4; k++)
            snprintf(all + strlen(all), sizeof(all) - strlen(all), "%s%s", k ? ", " : "",
                     json_string_value(json_array_get(value, k)));
        table_cell(t, json_is_array(value) ? all : text_of(record, key));
    }
}

struct compared {
    const char *name, *key;
};

static void records_print(json_t *records, const char *heads, const struct compared *rows)
{
    if (json_array_size(records) == 0)
        return;
    AUTO(table_free) struct table *t = table_new(heads);
    for (; rows->name; rows++)
        compare(t, records, rows->name, rows->key);
    putchar('\n');
    table_print(t);
}

/* What --keep may name, with the words for it. */
static void choices_print(json_t *c)
{
    const char *kind = text_or_dash(c, "kind");
    bool backups = strcmp(kind, "backup_twin") == 0;
    json_t *ids = json_object_get(c, backups ? "backups" : "phones"), *id;
    size_t i;
    printf("\nAn admin decides: flashrack conflicts %s resolve --reason WHY --keep ...\n",
           text_or_dash(c, "id"));
    if (strcmp(kind, "two_serials") == 0) {
        printf("  %s  the serial known before\n  %s  the one given now\n",
               text_or_dash(c, "other_value"), text_or_dash(c, "value"));
        return;
    }
    json_array_foreach(ids, i, id)
        printf("  %s  %s\n", cli_printable(json_string_value(id)),
               backups ? "this backup is no copy" : "it belongs to this phone");
    if (strcmp(kind, "serial") == 0 || strcmp(kind, "imei") == 0)
        puts("  both  both phones may have it");
}

static void conflict_print(json_t *c)
{
    static const struct compared phones[] = {{"id", "id"},
                                             {"serial", "serial"},
                                             {"IMEIs", "imeis"},
                                             {"chip", "chip_id"},
                                             {"first seen", "first_seen"},
                                             {"last seen", "last_seen"},
                                             {"backups", "backups"},
                                             {"jobs", "jobs"},
                                             {0}};
    static const struct compared backups[] = {{"id", "id"},
                                              {"serial", "serial"},
                                              {"origin", "origin"},
                                              {"phone", "phone_id"},
                                              {"verdict", "verdict"},
                                              {"job", "job_id"},
                                              {"created", "created_at"},
                                              {0}};
    json_t *records = json_object_get(c, "records");
    json_t *sides = json_object_get(records, "phones"),
           *images = json_object_get(records, "backups");
    printf("conflict %s (%s, noticed %s): %s\n", text_or_dash(c, "id"), text_or_dash(c, "state"),
           text_time(c, "noticed_at"), text_or_dash(c, "text"));
    records_print(sides, json_array_size(sides) > 1 ? "PHONE\0FIRST\0SECOND\0" : "PHONE\0FIRST\0",
                  phones);
    records_print(images,
                  json_array_size(images) > 1 ? "BACKUP\0FIRST\0SECOND\0" : "BACKUP\0FIRST\0",
                  backups);
    if (strcmp(text_or_dash(c, "state"), "open") == 0)
        choices_print(c);
    else
        printf("\nresolved %s by %s, kept %s: %s\n", text_time(c, "resolved_at"),
               text_or_dash(c, "resolved_by"), text_or_dash(c, "kept"), text_or_dash(c, "reason"));
}

static int conflict_show(struct client *c, const char *id, bool json)
{
    struct err err;
    AUTO(client_json_free) json_t *conflict = NULL;
    AUTO(free_ptr) char *path = client_path("conflicts", id, "");
    if (client_get(c, path, &conflict, &err) < 0)
        return client_fail(c, &err);
    if (json)
        cli_json_print(json_incref(conflict));
    else
        conflict_print(conflict);
    return CLI_FINE;
}

/* ---- the decision ----------------------------------------------------------------------------------- */

static int conflict_resolve(struct client *c, const char *id, const char *reason, const char *keep,
                            bool json)
{
    struct err err;
    AUTO(client_json_free) json_t *conflict = NULL;
    AUTO(free_ptr) char *path = client_path("conflicts", id, "resolve");
    json_t *body = json_object();
    json_object_set_new(body, "reason", cli_json_text(reason));
    if (keep)
        json_object_set_new(body, "keep", cli_json_text(keep));
    if (client_post(c, path, body, &conflict, &err) < 0)
        return client_fail(c, &err);
    if (json)
        cli_json_print(json_incref(conflict));
    else
        printf("conflict %s is resolved, kept: %s\n", text_or_dash(conflict, "id"),
               text_or_dash(conflict, "kept"));
    return CLI_FINE;
}

int conflicts_cmd(const struct cli_command *self, int argc, char **argv)
{
    struct client_options common = {0};
    const char *reason = NULL, *keep = NULL;
    bool all = false;
    const struct cli_option options[] = {CLIENT_OPTIONS(common),
                                         {"reason", &reason, NULL, 0},
                                         {"keep", &keep, NULL, 0},
                                         {"all", NULL, &all, 0},
                                         {0}};
    AUTO(client_free) struct client *c = NULL;
    int n = cli_options(self, argc, argv, options);
    if (n < 0)
        return CLI_USAGE;
    bool resolve = n == 2 && strcmp(argv[1], "resolve") == 0;
    if (n > 1 && !resolve)
        return cli_usage(self, "after the id comes 'resolve' or nothing");
    if (resolve != (reason != NULL) || (keep && !resolve))
        return cli_usage(self, resolve ? "--reason is needed: why it is decided so, in words"
                                       : "--reason and --keep belong to 'resolve'");
    int rc = station_open(&common, &c);
    if (rc != CMD_GO_ON)
        return rc;
    if (n == 0)
        return conflicts_list(c, all, common.json);
    return resolve ? conflict_resolve(c, argv[0], reason, keep, common.json)
                   : conflict_show(c, argv[0], common.json);
}
