/* input_cmd.c: dumps and firmware packages that lie on the station. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/cli/client_cmd.h"
#include "server/cli/table.h"
#include "usb/base/mem.h"

/* The station wants an absolute path of its own. A path that exists here is made absolute; one that does not is
 * sent as it is: the station may run in a container or on another machine. NULL after telling what is wrong. */
static char *station_path(const struct client *c, const char *path)
{
    char *real = realpath(path, NULL);
    if (real || path[0] == '/')
        return real ? real : xstrdup(path);
    struct err err;
    err_sys(&err, ERR_NOT_FOUND, "'%s'", path);
    cli_fail(&err, client_is_local(c) ? NULL : "Name it with its whole path on the station.");
    return NULL;
}

/* ---- import-dump ------------------------------------------------------------------------------------ */

static void backup_print(json_t *backup, const char *serial)
{
    printf("backup %s of %s: %s\n\n", text_or_dash(backup, "id"), text_or_dash(backup, "serial"),
           text_or_dash(backup, "verdict"));
    AUTO(table_free) struct table *t = table_new("PARTITION\0SIZE\0PLAUSIBLE\0REASON\0");
    size_t i;
    json_t *p;
    json_array_foreach(json_object_get(backup, "partitions"), i, p)
    {
        table_cell(t, text_of(p, "name"));
        table_cell(t, cli_bytes((uint64_t)json_integer_value(json_object_get(p, "size"))));
        table_cell(t, text_of(p, "plausible"));
        table_cell(t, text_of(p, "reason"));
    }
    table_print(t);
    printf("\nNext: flashrack restore --port PORT --serial %s --backup %s\n", cli_printable(serial),
           text_or_dash(backup, "id"));
}

static bool offset_parse(const char *text, int64_t *out)
{
    char *end;
    errno = 0;
    *out = strtoll(text, &end, 0);
    return !errno && end != text && !*end && *out >= 0;
}

/* The id of a package at the station, or a file. */
static char *scatter_source(const struct client *c, const char *text)
{
    return text[strspn(text, "0123456789")] ? station_path(c, text) : xstrdup(text);
}

int import_dump_cmd(const struct cli_command *self, int argc, char **argv)
{
    struct client_options common = {0};
    const char *serial = NULL, *scatter = NULL, *offset = NULL;
    const struct cli_option options[] = {CLIENT_OPTIONS(common),
                                         {"serial", &serial, NULL, 0},
                                         {"scatter", &scatter, NULL, 0},
                                         {"offset", &offset, NULL, 0},
                                         {0}};
    AUTO(client_free) struct client *c = NULL;
    int64_t offset_bytes = 0;
    int rc = client_arguments(self, argc, argv, options, 1, "a dump is needed");
    if (rc == CMD_GO_ON && !serial)
        rc = cli_usage(self, "--serial is needed: of the phone that the dump was read from");
    if (rc == CMD_GO_ON && offset && !offset_parse(offset, &offset_bytes))
        rc = cli_usage(self, "--offset '%s' is not a number of bytes", offset);
    if (rc == CMD_GO_ON)
        rc = station_open(&common, &c);
    if (rc != CMD_GO_ON)
        return rc;
    AUTO(free_ptr) char *path = station_path(c, argv[0]);
    AUTO(free_ptr) char *scatter_path = scatter ? scatter_source(c, scatter) : NULL;
    if (!path || (scatter && !scatter_path))
        return CLI_BAD_INPUT;
    struct err err;
    AUTO(client_json_free) json_t *backup = NULL;
    AUTO(client_json_free) json_t *body = json_object();
    json_object_set_new(body, "path", cli_json_text(path));
    json_object_set_new(body, "serial", cli_json_text(serial));
    if (scatter)
        json_object_set_new(body, "scatter", cli_json_text(scatter_path));
    if (offset)
        json_object_set_new(body, "offset", json_integer(offset_bytes));
    if (client_work(c, CLIENT_API "/backups", body, &backup, &err) < 0)
        return client_fail(c, &err);
    if (common.json)
        cli_json_print(json_incref(backup));
    else
        backup_print(backup, serial);
    return CLI_FINE;
}

/* ---- firmware add ----------------------------------------------------------------------------------- */

static void firmware_print(json_t *firmware)
{
    printf("firmware  %s\nname      %s\nplatform  %s\nproject   %s\nversion   %s\nfiles     %zu\n",
           text_or_dash(firmware, "id"), text_or_dash(firmware, "name"),
           text_or_dash(firmware, "platform"), text_or_dash(firmware, "project"),
           text_or_dash(firmware, "version"), json_array_size(json_object_get(firmware, "files")));
}

/* True when nothing in the package keeps it from being used. */
static bool problems_print(json_t *problems)
{
    bool usable = true;
    size_t i;
    json_t *problem;
    json_array_foreach(problems, i, problem)
    {
        const char *severity = text_of(problem, "severity");
        const char *where = text_of(problem, "where"), *advice = text_of(problem, "advice");
        usable &= severity && strcmp(severity, "error") != 0;
        fprintf(stderr, "flashrack: %s: %s%s%s\n", text_or_dash(problem, "severity"),
                where ? cli_printable(where) : "", where && where[0] ? ": " : "",
                text_or_dash(problem, "text"));
        if (advice && advice[0])
            fprintf(stderr, "           %s\n", cli_printable(advice));
    }
    return usable;
}

int firmware_add_cmd(const struct cli_command *self, int argc, char **argv)
{
    struct client_options common = {0};
    const struct cli_option options[] = {CLIENT_OPTIONS(common), {0}};
    AUTO(client_free) struct client *c = NULL;
    int rc = client_begin(self, argc, argv, options, &common, 1,
                          "the folder of an unpacked package is needed", &c);
    if (rc != CMD_GO_ON)
        return rc;
    AUTO(free_ptr) char *path = station_path(c, argv[0]);
    if (!path)
        return CLI_BAD_INPUT;
    struct err err;
    AUTO(client_json_free) json_t *firmware = NULL;
    AUTO(client_json_free) json_t *body = json_object();
    json_object_set_new(body, "path", cli_json_text(path));
    if (client_work(c, CLIENT_API "/firmware", body, &firmware, &err) < 0)
        return client_fail(c, &err);
    if (common.json)
        cli_json_print(json_incref(firmware));
    else
        firmware_print(firmware);
    return problems_print(json_object_get(firmware, "problems")) ? CLI_FINE : CLI_BAD_INPUT;
}
