/* topology_cmd.c: `flashrack ports --topology`: controllers, hubs and sockets as a tree in words. */
#include <stdio.h>
#include <string.h>

#include "server/cli/client_cmd.h"
#include "server/cli/table.h"
#include "usb/base/mem.h"

static const char *kind_words(json_t *hub)
{
    static const char *const words[][2] = {{"controller", "controller"},
                                           {"rack", "USB/IP rack"},
                                           {"full_speed", "USB 1 hub"},
                                           {"single_tt", "single-TT hub"},
                                           {"multi_tt", "multi-TT hub"}};
    const char *kind = text_of(hub, "kind");
    for (size_t i = 0; kind && i < ARRAY_LEN(words); i++)
        if (strcmp(words[i][0], kind) == 0)
            return words[i][1];
    return "hub";
}

static void hub_line(json_t *hub, int indent)
{
    const char *speed = text_of(hub, "speed"), *advice = text_of(hub, "advice");
    size_t sockets = json_array_size(json_object_get(hub, "sockets"));
    printf("%s", kind_words(hub));
    if (speed)
        printf(", %s speed", cli_printable(speed));
    printf(", %zu %s", sockets, sockets == 1 ? "socket" : "sockets");
    if (json_is_false(json_object_get(hub, "self_powered")))
        printf(", no power supply");
    putchar('\n');
    if (advice)
        printf("%*s! %s\n", indent, "", cli_printable(advice));
}

/* "A1: connected, fastboot"; of a port without a label its id. */
static void port_line(json_t *port, const char *id)
{
    const char *label = text_of(port, "label"), *mode = text_of(port, "mode");
    const char *use = port_use_note(port);
    printf("%s: %s", cli_printable(label ? label : id),
           json_is_object(port) ? text_or_dash(port, "state") : "empty, never used");
    if (mode && strcmp(mode, "none") != 0)
        printf(", %s", cli_printable(mode));
    if (use)
        printf(", %s", use);
    putchar('\n');
}

static void sockets_print(json_t *hub, int indent)
{
    size_t i;
    json_t *socket;
    json_array_foreach(json_object_get(hub, "sockets"), i, socket)
    {
        json_t *inner = json_object_get(socket, "hub");
        const char *number = text_of(socket, "number");
        printf("%*s%3s  ", indent, "", number ? number : "-");
        if (!json_is_object(inner)) {
            port_line(json_object_get(socket, "port"), text_or_dash(socket, "id"));
            continue;
        }
        hub_line(inner, indent + 5);
        sockets_print(inner, indent + 3);
    }
}

static void tree_print(json_t *topology)
{
    json_t *controllers = json_object_get(topology, "controllers");
    json_t *elsewhere = json_object_get(topology, "elsewhere"), *item;
    size_t i;
    json_array_foreach(controllers, i, item)
    {
        printf("%s: ", text_or_dash(item, "id"));
        hub_line(item, 3);
        sockets_print(item, 0);
    }
    if (json_array_size(controllers) == 0)
        puts("No controller: flashrackd was started with --no-usb and no rack, or portwatch does "
             "not run.");
    if (json_array_size(elsewhere))
        puts("In no hub that is plugged in now:");
    json_array_foreach(elsewhere, i, item)
    {
        printf("     ");
        port_line(item, text_or_dash(item, "id"));
    }
}

int topology_show(struct client *c, bool json)
{
    struct err err;
    AUTO(client_json_free) json_t *topology = NULL;
    if (client_get(c, CLIENT_API "/ports/topology", &topology, &err) < 0)
        return client_fail(c, &err);
    if (json)
        cli_json_print(json_incref(topology));
    else
        tree_print(topology);
    return CLI_FINE;
}
