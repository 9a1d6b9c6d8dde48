#include "server/cli/offline.h"
#include "usb/format/serial.h"

static int say_verdict(bool valid, const char *reason)
{
    struct err err;
    if (valid)
        return CLI_FINE;
    err_set(&err, ERR_INPUT, "%s", reason);
    return cli_fail(&err, NULL);
}

int serial_cmd(const struct cli_command *self, int argc, char **argv)
{
    bool json = false;
    const struct cli_option options[] = {{"json", NULL, &json, 0}, {0}};
    if (cli_options_one(self, argc, argv, options, "one serial is needed") < 0)
        return CLI_USAGE;
    struct serial_check check;
    serial_check(argv[0], SERIAL_PROJECT_X5, &check);
    bool valid = check.verdict == SERIAL_VALID;
    if (json) {
        json_t *j = json_object();
        json_object_set_new(j, "valid", json_boolean(valid));
        json_object_set_new(j, "serial", cli_json_text(argv[0]));
        json_object_set_new(j, "dm_verity_code", cli_json_text_or_null(check.dm_verity_code));
        json_object_set_new(j, "reason", cli_json_text_or_null(check.reason));
        cli_json_print(j);
    } else if (valid) {
        printf("serial          %s\ndm-verity code  %s\n", argv[0], check.dm_verity_code);
    }
    return say_verdict(valid, check.reason);
}

int imei_cmd(const struct cli_command *self, int argc, char **argv)
{
    bool json = false;
    const struct cli_option options[] = {{"json", NULL, &json, 0}, {0}};
    if (cli_options_one(self, argc, argv, options, "one IMEI is needed") < 0)
        return CLI_USAGE;
    char reason[200] = "";
    bool valid = imei_check(argv[0], reason, sizeof(reason)) == IMEI_VALID;
    if (json) {
        json_t *j = json_object();
        json_object_set_new(j, "valid", json_boolean(valid));
        json_object_set_new(j, "imei", cli_json_text(argv[0]));
        json_object_set_new(j, "reason", cli_json_text_or_null(reason));
        cli_json_print(j);
    } else if (valid) {
        printf("imei  %s\n", argv[0]);
    }
    return say_verdict(valid, reason);
}
