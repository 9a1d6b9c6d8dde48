/* port_cmd.c: what a person calls a port, and what runs there. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "server/cli/client_cmd.h"
#include "server/cli/table.h"
#include "usb/base/mem.h"

#define PORT_NEEDED "a port's id or label is needed"

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

/* One member of the port is another from now on; `value` is consumed. */
static int port_change(struct client *c, const char *name, const char *member, json_t *value,
                       json_t **out, struct err *err)
{
    AUTO(client_json_free) json_t *ports = NULL;
    AUTO(client_json_free) json_t *body = json_object();
    json_object_set_new(body, member, value);
    int rc = client_get(c, CLIENT_API "/ports", &ports, err);
    if (rc < 0)
        return rc;
    json_t *port = port_by_name(ports, name);
    if (!port)
        return err_set(err, ERR_NOT_FOUND, "the station has no port '%.100s'; 'flashrack ports'",
                       name);
    AUTO(free_ptr) char *path = client_path("ports", text_or_dash(port, "id"), "");
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
    int rc = client_arguments(self, argc, argv, options, 1, PORT_NEEDED);
    if (rc == CMD_GO_ON && remove == (label != NULL))
        rc = cli_usage(self, "either --set LABEL or --remove is needed");
    if (rc == CMD_GO_ON)
        rc = station_open(&common, &c);
    if (rc != CMD_GO_ON)
        return rc;
    struct err err;
    AUTO(client_json_free) json_t *port = NULL;
    if (port_change(c, argv[0], "label", cli_json_text(remove ? "" : label), &port, &err) < 0)
        return client_fail(c, &err);
    if (common.json)
        cli_json_print(json_incref(port));
    else
        printf("port %s: label %s\n", text_or_dash(port, "id"), text_or_dash(port, "label"));
    return CLI_FINE;
}

/* ---- what runs there -------------------------------------------------------------------------------- */

bool port_is_out_of_use(json_t *port)
{
    const char *state = text_of(port, "state");
    return json_is_false(json_object_get(port, "enabled")) ||
           (state && strcmp(state, "disabled") == 0);
}

const char *port_use_note(json_t *port)
{
    if (port_is_out_of_use(port))
        return text_of(port, "job_id") ? "out of use after its job" : NULL;
    return json_is_true(json_object_get(port, "takes_work")) ? "takes work" : NULL;
}

static const char *use_words(json_t *port)
{
    bool takes_work = json_is_true(json_object_get(port, "takes_work"));
    if (!port_is_out_of_use(port))
        return takes_work ? "in use; takes work, also of jobs that name no port"
                          : "in use; only for jobs that name it";
    if (text_of(port, "job_id"))
        return "out of use; its job goes on there";
    return takes_work ? "out of use; it will take work when it is enabled" : "out of use";
}

static void use_print(json_t *port)
{
    const char *label = text_of(port, "label");
    printf("port %s", text_or_dash(port, "id"));
    if (label)
        printf(" (%s)", cli_printable(label));
    printf(": %s\n", use_words(port));
}

static int use_change(struct client *c, const char *name, const char *member, bool value, bool json)
{
    struct err err;
    AUTO(client_json_free) json_t *port = NULL;
    if (port_change(c, name, member, json_boolean(value), &port, &err) < 0)
        return client_fail(c, &err);
    if (json)
        cli_json_print(json_incref(port));
    else
        use_print(port);
    return CLI_FINE;
}

static int enabled_change(const struct cli_command *self, int argc, char **argv, bool value)
{
    struct client_options common = {0};
    const struct cli_option options[] = {CLIENT_OPTIONS(common), {0}};
    AUTO(client_free) struct client *c = NULL;
    int rc = client_begin(self, argc, argv, options, &common, 1, PORT_NEEDED, &c);
    return rc != CMD_GO_ON ? rc : use_change(c, argv[0], "enabled", value, common.json);
}

int port_enable_cmd(const struct cli_command *self, int argc, char **argv)
{
    return enabled_change(self, argc, argv, true);
}

int port_disable_cmd(const struct cli_command *self, int argc, char **argv)
{
    return enabled_change(self, argc, argv, false);
}

int port_takes_work_cmd(const struct cli_command *self, int argc, char **argv)
{
    struct client_options common = {0};
    bool off = false;
    const struct cli_option options[] = {CLIENT_OPTIONS(common), {"off", NULL, &off, 0}, {0}};
    AUTO(client_free) struct client *c = NULL;
    int rc = client_begin(self, argc, argv, options, &common, 1, PORT_NEEDED, &c);
    return rc != CMD_GO_ON ? rc : use_change(c, argv[0], "takes_work", !off, common.json);
}
