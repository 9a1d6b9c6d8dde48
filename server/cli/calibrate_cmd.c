/* calibrate_cmd.c: labels for the ports of a rack: one phone is plugged along it, at each socket a label is said. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "server/cli/client_cmd.h"
#include "server/cli/table.h"
#include "usb/base/mem.h"

#define CALIBRATION CLIENT_API "/calibration"

enum { LOOK_EVERY_MS = 200, LINE_MAX_BYTES = 64 };

/* One line without its end; false at the end of the input, or when it is empty. */
static bool line_read(char line[LINE_MAX_BYTES])
{
    if (!fgets(line, LINE_MAX_BYTES, stdin))
        return false;
    line[strcspn(line, "\r\n")] = '\0';
    return line[0] != '\0';
}

/* Pauses until the next look; true when a person pressed Enter, who is through. */
static bool enter_pressed(void)
{
    char line[LINE_MAX_BYTES];
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    if (poll(&input, 1, LOOK_EVERY_MS) <= 0)
        return false;
    if (!line_read(line))
        return true;
    puts("Plug the phone in first, then enter its label.");
    fflush(stdout);
    return false;
}

/* Waits until a port got the phone; *seen_out stays NULL when a person is through. */
static int port_wait(struct client *c, json_t **seen_out, struct err *err)
{
    for (;;) {
        AUTO(client_json_free) json_t *state = NULL;
        int rc = client_get(c, CALIBRATION, &state, err);
        if (rc < 0)
            return rc;
        const char *word = text_of(state, "state");
        if (word && strcmp(word, "off") == 0)
            return err_set(err, ERR_CANCELLED, "the calibration was ended at the station");
        if (text_of(state, "port")) {
            *seen_out = json_incref(state);
            return 0;
        }
        if (enter_pressed())
            return 0;
    }
}

static int label_send(struct client *c, const char *label, struct err *err)
{
    AUTO(client_json_free) json_t *port = NULL;
    json_t *body = json_object();
    json_object_set_new(body, "label", cli_json_text(label));
    return client_post(c, CALIBRATION "/label", body, &port, err);
}

/* One socket after the other, until a person says nothing. A label that does not do is asked for again. */
static int labels_take(struct client *c, struct err *err)
{
    char line[LINE_MAX_BYTES];
    for (int count = 0;;) {
        printf("Plug the phone into the next socket (Enter: all are done).\n");
        fflush(stdout);
        AUTO(client_json_free) json_t *seen = NULL;
        int rc = port_wait(c, &seen, err);
        if (rc < 0)
            return rc;
        if (seen) {
            const char *label = text_of(seen, "label");
            printf("It is port %s%s%s. Label:\n", text_or_dash(seen, "port"), label ? ", now " : "",
                   label ? cli_printable(label) : "");
            fflush(stdout);
        }
        if (!seen || !line_read(line)) {
            printf("%d labelled\n", count);
            return 0;
        }
        rc = label_send(c, line, err);
        if (rc == 0)
            count++;
        else if (err->code == ERR_CONFLICT || err->code == ERR_INPUT)
            fprintf(stderr, "flashrack: %s\n", cli_printable(err->text));
        else
            return rc;
    }
}

int calibrate_cmd(const struct cli_command *self, int argc, char **argv)
{
    struct client_options common = {0};
    const struct cli_option options[] = {CLIENT_OPTIONS(common), {0}};
    AUTO(client_free) struct client *c = NULL;
    int rc = client_begin(self, argc, argv, options, &common, 0, "", &c);
    if (rc != CMD_GO_ON)
        return rc;
    setvbuf(stdin, NULL, _IONBF, 0); /* what was not read yet is seen by poll(2) */
    struct err err = {0}, ended = {0};
    AUTO(client_json_free) json_t *begun = NULL;
    AUTO(client_json_free) json_t *end = NULL;
    AUTO(client_json_free) json_t *ports = NULL;
    if (client_post(c, CALIBRATION "/begin", NULL, &begun, &err) < 0)
        return client_fail(c, &err);
    rc = labels_take(c, &err);
    if (client_post(c, CALIBRATION "/end", NULL, &end, &ended) < 0 && rc == 0)
        return client_fail(c, &ended);
    if (rc < 0)
        return client_fail(c, &err);
    if (common.json && client_get(c, CLIENT_API "/ports", &ports, &err) == 0)
        cli_json_print(json_incref(ports));
    return CLI_FINE;
}
