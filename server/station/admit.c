#include "server/station/admit.h"

#include <string.h>

#define CHAIN "-usb-0:" /* between controller and port chain, design of the port id */

size_t admit_controller_len(const char *port_id)
{
    const char *chain = strstr(port_id, CHAIN);
    return chain ? (size_t)(chain - port_id) : 0;
}

size_t admit_hub_len(const char *port_id, size_t depth)
{
    const char *dot = strstr(port_id, CHAIN);
    dot = dot ? strchr(dot + strlen(CHAIN), '.') : NULL;
    for (; dot && depth > 0; depth--)
        dot = strchr(dot + 1, '.');
    return dot ? (size_t)(dot - port_id) : 0;
}

/* Ports whose id begins with these bytes and goes on with `next`. */
static int count_below(const char *const *busy, size_t busy_count, const char *prefix, size_t len,
                       char next)
{
    int count = 0;
    for (size_t i = 0; i < busy_count; i++)
        count += strncmp(busy[i], prefix, len) == 0 && busy[i][len] == next;
    return count;
}

enum admit admit_check(const struct admit_limits *limits, const char *port_id,
                       const char *const *busy, size_t busy_count)
{
    if (limits->all && busy_count >= (size_t)limits->all)
        return ADMIT_ALL;
    size_t len = admit_controller_len(port_id);
    if (limits->per_controller && len &&
        count_below(busy, busy_count, port_id, len, '-') >= limits->per_controller)
        return ADMIT_CONTROLLER;
    for (size_t depth = 0; limits->per_hub && (len = admit_hub_len(port_id, depth)) > 0; depth++)
        if (count_below(busy, busy_count, port_id, len, '.') >= limits->per_hub)
            return ADMIT_HUB;
    return ADMIT_YES;
}

bool admit_before(int priority_a, int64_t id_a, int priority_b, int64_t id_b)
{
    return priority_a != priority_b ? priority_a > priority_b : id_a < id_b;
}
