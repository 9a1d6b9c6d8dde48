/* db_cmd.c: the station's databases as a whole. */
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/cli/client_cmd.h"
#include "server/cli/table.h"
#include "usb/base/mem.h"

/* "copies/monday" is a folder that is not there yet: its parent is made absolute. One that is not on this machine is
 * sent as it is, and the station says what it thinks of it. */
static char *new_folder(const char *path)
{
    AUTO(free_ptr) char *for_dir = xstrdup(path), *for_name = xstrdup(path);
    AUTO(free_ptr) char *parent = realpath(dirname(for_dir), NULL);
    if (!parent)
        return xstrdup(path);
    return xasprintf("%s/%s", strcmp(parent, "/") == 0 ? "" : parent, basename(for_name));
}

/* What was found wrong, and what to do; CLI_FINE when it is nothing. */
static int problems_tell(json_t *answer, const char *advice)
{
    size_t i;
    json_t *problem, *problems = json_object_get(answer, "problems");
    json_array_foreach(problems, i, problem)
        fprintf(stderr, "flashrack: %s\n", cli_printable(json_string_value(problem)));
    if (json_array_size(problems) == 0)
        return CLI_FINE;
    fprintf(stderr, "           %s\n", advice);
    return CLI_BAD_INPUT;
}

static uint64_t bytes_of(json_t *answer, const char *key)
{
    return (uint64_t)json_integer_value(json_object_get(answer, key));
}

int db_backup_cmd(const struct cli_command *self, int argc, char **argv)
{
    struct client_options common = {0};
    const char *output = NULL;
    const struct cli_option options[] = {
        CLIENT_OPTIONS(common), {"output", &output, NULL, 'o'}, {0}};
    AUTO(client_free) struct client *c = NULL;
    int rc = client_begin(self, argc, argv, options, &common, 0, "", &c);
    if (rc != CMD_GO_ON)
        return rc;
    struct err err;
    AUTO(client_json_free) json_t *answer = NULL;
    AUTO(client_json_free) json_t *body = json_object();
    AUTO(free_ptr) char *folder = output ? new_folder(output) : NULL;
    if (folder)
        json_object_set_new(body, "path", cli_json_text(folder));
    if (client_work(c, CLIENT_API "/db/backup", body, &answer, &err) < 0)
        return client_fail(c, &err);
    if (common.json)
        cli_json_print(json_incref(answer));
    else
        printf("%s  station.db %s, backups.db %s\n", text_or_dash(answer, "path"),
               cli_bytes(bytes_of(answer, "station_bytes")),
               cli_bytes(bytes_of(answer, "backups_bytes")));
    return problems_tell(answer, "The copy is as damaged as the station is: keep older copies.");
}

int db_check_cmd(const struct cli_command *self, int argc, char **argv)
{
    struct client_options common = {0};
    const struct cli_option options[] = {CLIENT_OPTIONS(common), {0}};
    AUTO(client_free) struct client *c = NULL;
    int rc = client_begin(self, argc, argv, options, &common, 0, "", &c);
    if (rc != CMD_GO_ON)
        return rc;
    struct err err;
    AUTO(client_json_free) json_t *answer = NULL, *body = json_object();
    if (client_work(c, CLIENT_API "/db/check", body, &answer, &err) < 0)
        return client_fail(c, &err);
    if (common.json)
        cli_json_print(json_incref(answer));
    else if (json_array_size(json_object_get(answer, "problems")) == 0)
        puts("Both databases are whole, and every backup's images are there.");
    return problems_tell(answer, DAMAGE_TODO);
}
