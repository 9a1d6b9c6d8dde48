/* port_cmd.c: what a person calls a port. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "server/cli/client_cmd.h"
#include "server/cli/table.h"
#include "usb/base/mem.h"

/* The port with this id or label, as the station lists it; borrowed from `ports`. Of labels a station knows one, whether
 * its letters are capitals or not. */
static json_t *port_by_name(json_t *ports, const char *name)
{
    static const struct {
        const char *key;
        int (*compare)(const char *, const char *);
    } names[] = {{"id", strcmp}, {"label", strcasecmp}};
    size_t i;
    json_t *port;
    for (size_t k = 0; k < ARRAY_LEN(names); k++) {
        json_array_foreach(json_object_get(ports, "items"), i, port)
        {
            const char *value = text_of(port, names[k].key);
            if (value && names[k].compare(value, name) == 0)
                return port;
        }
    }
    return NULL;
}

static int label_change(struct client *c, const char *name, const char *label, json_t **out,
                        struct err *err)
{
    AUTO(client_json_free) json_t *ports = NULL;
    int rc = client_get(c, CLIENT_API "/ports", &ports, err);
    if (rc < 0)
        return rc;
    json_t *port = port_by_name(ports, name);
    if (!port)
        return err_set(err, ERR_NOT_FOUND, "the station has no port '%.100s'; 'flashrack ports'",
                       name);
    AUTO(free_ptr) char *path = client_path("ports", text_or_dash(port, "id"), "");
    AUTO(client_json_free) json_t *body = json_object();
    json_object_set_new(body, "label", cli_json_text(label));
    return client_call(c, &(struct client_request){.method = "PATCH", .path = path, .body = body},
                       out, err);
}

int port_label_cmd(const struct cli_command *self, int argc, char **argv)
{
    struct client_options common = {0};
    const char *label = NULL;
    bool remove = false;
    const struct cli_option options[] = {
        CLIENT_OPTIONS(common), {"set", &label, NULL, 0}, {"remove", NULL, &remove, 0}, {0}};
    AUTO(client_free) struct client *c = NULL;
    int rc = client_arguments(self, argc, argv, options, 1, "a port's id or label is needed");
    if (rc == CMD_GO_ON && remove == (label != NULL))
        rc = cli_usage(self, "either --set LABEL or --remove is needed");
    if (rc == CMD_GO_ON)
        rc = station_open(&common, &c);
    if (rc != CMD_GO_ON)
        return rc;
    struct err err;
    AUTO(client_json_free) json_t *port = NULL;
    if (label_change(c, argv[0], remove ? "" : label, &port, &err) < 0)
        return client_fail(c, &err);
    if (common.json)
        cli_json_print(json_incref(port));
    else
        printf("port %s: label %s\n", text_or_dash(port, "id"), text_or_dash(port, "label"));
    return CLI_FINE;
}
