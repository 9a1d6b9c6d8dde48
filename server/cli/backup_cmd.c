/* backup_cmd.c: backups are read again, because somebody wants to know now. */
#include <stdio.h>
#include <string.h>

#include "server/cli/client_cmd.h"
#include "server/cli/table.h"
#include "usb/base/mem.h"

static int verify_one(struct client *c, const char *id, json_t **out, struct err *err)
{
    AUTO(free_ptr) char *path = client_path("backups", id, "verify");
    AUTO(client_json_free) json_t *body = json_object();
    struct client_request request = {
        .method = "POST", .path = path, .body = body, .wait_s = CLIENT_WORK_WAIT_S};
    return client_call(c, &request, out, err);
}

/* Damage goes to stderr; what is good is a line, or all of it JSON. */
static int verify_list(struct client *c, json_t *ids, bool json)
{
    AUTO(client_json_free) json_t *found = json_array();
    int rc = CLI_FINE;
    size_t i;
    json_t *id;
    json_array_foreach(ids, i, id)
    {
        struct err err;
        json_t *backup = NULL;
        if (verify_one(c, json_string_value(id), &backup, &err) < 0)
            return client_fail(c, &err);
        json_array_append_new(found, backup);
        const char *damage = text_of(backup, "damage");
        if (damage) {
            err_set(&err, ERR_VERIFY, "backup %s is damaged: %s", text_or_dash(backup, "id"),
                    damage);
            rc = cli_fail(&err,
                          "Do not rely on it. Restore backups.db from a copy of the data folder.");
        } else if (!json) {
            printf("backup %s: every image is as it was stored\n", text_or_dash(backup, "id"));
        }
    }
    if (json)
        cli_json_print(json_pack("{s:O}", "items", found));
    return rc;
}

int backup_verify_cmd(const struct cli_command *self, int argc, char **argv)
{
    struct client_options common = {0};
    bool all = false;
    const struct cli_option options[] = {CLIENT_OPTIONS(common), {"all", NULL, &all, 0}, {0}};
    AUTO(client_free) struct client *c = NULL;
    AUTO(client_json_free) json_t *ids = json_array();
    int n = cli_options(self, argc, argv, options);
    if (n < 0)
        return CLI_USAGE;
    if ((n == 0) != all || n > 1)
        return cli_usage(self, "one backup's id is needed, or --all");
    int rc = station_open(&common, &c);
    if (rc == CMD_GO_ON && n == 1)
        json_array_append_new(ids, cli_json_text(argv[0]));
    if (rc == CMD_GO_ON && all)
        rc = backup_ids(c, ids);
    return rc != CMD_GO_ON ? rc : verify_list(c, ids, common.json);
}
