/* events_cmd.c: the station's stream of events, as lines. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "server/cli/client_cmd.h"
#include "server/cli/table.h"
#include "usb/base/mem.h"

static bool wanted(const char *const *types, const char *type)
{
    for (int i = 0; types[i]; i++)
        if (strcmp(types[i], type) == 0)
            return true;
    return !types[0];
}

static void log_print(json_t *line)
{
    printf("job %s  %s  %s: %s", text_or_dash(line, "job_id"), text_or_dash(line, "level"),
           text_or_dash(line, "step"), text_or_dash(line, "message"));
}

static void job_print_line(json_t *job)
{
    json_t *progress = json_object_get(job, "progress"), *prompt = json_object_get(job, "prompt");
    double total = json_number_value(json_object_get(progress, "total_bytes"));
    printf("job %s  %s  %s", text_or_dash(job, "id"), text_or_dash(job, "state"),
           text_or_dash(job, "step"));
    if (total > 0)
        printf("  %.0f %%",
               100 * json_number_value(json_object_get(progress, "done_bytes")) / total);
    if (json_is_object(prompt))
        printf("  %s", text_or_dash(prompt, "text"));
}

static void subject_print(const struct client_event *e)
{
    if (strcmp(e->type, "log") == 0)
        log_print(e->data);
    else if (strcmp(e->type, "job") == 0)
        job_print_line(e->data);
    else if (strcmp(e->type, "port") == 0)
        printf("%s  %s  %s", text_or_dash(e->data, "id"), text_or_dash(e->data, "state"),
               text_or_dash(e->data, "mode"));
    else if (strcmp(e->type, "prompt") == 0)
        printf("job %s  DO NOW: %s", text_or_dash(e->data, "job_id"),
               text_or_dash(json_object_get(e->data, "prompt"), "text"));
    else
        printf("%s  %s  %s", text_or_dash(e->data, "id"), text_or_dash(e->data, "serial"),
               text_or_dash(e->data, "identity"));
}

static void event_print(const struct client_event *e)
{
    char clock[16];
    time_t now = time(NULL);
    struct tm local;
    strftime(clock, sizeof(clock), "%H:%M:%S", localtime_r(&now, &local));
    printf("%s  %-6s  ", clock, e->type);
    subject_print(e);
    putchar('\n');
}

/* {"id","type","data"}; id is null for events that are not stored. */
static void event_print_json(const struct client_event *e)
{
    json_t *j = json_object();
    json_object_set_new(j, "id", cli_json_text_or_null(e->id));
    json_object_set_new(j, "type", cli_json_text(e->type));
    json_object_set(j, "data", e->data);
    json_dumpf(j, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(j);
}

static int events_show(struct client_stream *s, const char *const *types, bool json,
                       struct err *err)
{
    for (;;) {
        AUTO(client_event_deinit) struct client_event e = {.data = NULL};
        int rc = client_stream_next(s, &e, err);
        if (rc < 0)
            return rc;
        if (strcmp(e.type, "lost") == 0)
            fputs("flashrack: the station does not answer; trying again\n", stderr);
        bool of_stream = strcmp(e.type, "lost") == 0 || strcmp(e.type, "hello") == 0 ||
                         strcmp(e.type, "beat") == 0;
        if (of_stream || !wanted(types, e.type))
            continue;
        if (json)
            event_print_json(&e);
        else
            event_print(&e);
        if (fflush(stdout) != 0)
            return 0; /* nobody reads any more, as with `| head` */
    }
}

int events_cmd(const struct cli_command *self, int argc, char **argv)
{
    struct client_options common = {0};
    const char *after = NULL, *types[CLI_VALUES_MAX + 1] = {NULL};
    const struct cli_option options[] = {CLIENT_OPTIONS(common),
                                         {"after", &after, NULL, 0},
                                         {"type", types, NULL, CLI_REPEATS},
                                         {0}};
    AUTO(client_free) struct client *c = NULL;
    int rc = client_arguments(self, argc, argv, options, 0, "");
    if (rc == CMD_GO_ON && after &&
        (!after[0] || strlen(after) > 18 || strspn(after, "0123456789") != strlen(after)))
        rc = cli_usage(self, "--after is an event's id, a number");
    if (rc == CMD_GO_ON)
        rc = station_open(&common, &c);
    if (rc != CMD_GO_ON)
        return rc;
    struct err err;
    AUTO(client_stream_free) struct client_stream *s = client_stream_new(c, after);
    rc = events_show(s, types, common.json, &err);
    return rc == 0 || rc == ERR_CANCELLED ? CLI_FINE : client_fail(c, &err);
}
