#include "server/cli/client_cmd.h"

#define COMMON "[--json]"

/* Said in every --help of this table. */
#define STATION_HELP                                                                               \
    "\n\nThe station: --server URL or FLASHRACK_SERVER (" CLIENT_SERVER_DEFAULT                    \
    "); --token T or FLASHRACK_TOKEN;\n"                                                           \
    "for https --tls-ca FILE or FLASHRACK_TLS_CA where the system does not know the "              \
    "certificate's issuer.\n"                                                                      \
    "--json prints what the API answers."

const struct cli_command client_commands[] = {
    {"ports", COMMON, "The station's ports, and what is on each." STATION_HELP, ports_cmd},
    {"phones", "[--serial SERIAL] " COMMON,
     "The phones that the station has met, and whose identity is whole." STATION_HELP, phones_cmd},
    {"jobs", "[--open] [--state STATE] [--port PORT] [--serial SERIAL] [--limit N] " COMMON,
     "Jobs, newest first.\n--open: only those that have not ended. --limit: 50 unless "
     "told." STATION_HELP,
     jobs_cmd},
    {"job", "ID [--follow] " COMMON,
     "One job with its steps.\n--follow shows it until it ends and exits 0 only when it succeeded. "
     "What a person "
     "must do stands out;\nat a terminal the phone's numbers can be entered there. Ctrl-C leaves "
     "the job "
     "running." STATION_HELP,
     job_cmd},
    {"restore",
     "--port PORT --serial SERIAL [--firmware ID] [--backup ID] [--imei IMEI]... [--finish "
     "lk|upgrade]\n"
     "      [--accept scan|usb] [--owner-ref T] [--client-ref T] [--key KEY] [--follow] " COMMON,
     "Orders the restore of one phone; --follow shows it and exits with its result.\n"
     "PORT: id or label. SERIAL: from the phone's label, begins with PDA. --firmware may be left "
     "out while the\n"
     "station has one package, --backup: the newest import for the serial. --imei: as on the "
     "label, once for each.\n"
     "--finish lk puts the commercial bootloader back (default), upgrade writes the whole "
     "package.\n"
     "--accept scan: a person enters the phone's numbers at the end (default); usb: its USB serial "
     "is enough.\n"
     "--key: the same order sent again with the same key is the same job (a random one unless "
     "given)." STATION_HELP,
     restore_cmd},
    {"answer", "ID [--serial SERIAL --imei IMEI... --wlan-mac MAC --bt-mac MAC] [--abort] " COMMON,
     "Answers a job's question with what the phone shows (*#06# and About).\n"
     "Exits 1 when the numbers do not fit; the job then asks again. --abort ends the job as "
     "failed." STATION_HELP,
     answer_cmd},
    {"pause", "ID " COMMON, "Lets a job wait after the step it is in." STATION_HELP, pause_cmd},
    {"resume", "ID " COMMON, "Lets a paused job go on." STATION_HELP, resume_cmd},
    {"cancel", "ID " COMMON, "Stops a job after the step it is in." STATION_HELP, cancel_cmd},
    {"backups", "[--serial SERIAL] [--phone ID] " COMMON,
     "Backups of phones, newest first." STATION_HELP, backups_cmd},
    {"import-dump", "FILE --serial SERIAL " COMMON,
     "Makes a backup of a read-back dump that lies on the station.\n"
     "FILE must lie below a folder that the station may read (flashrackd --import-dir). SERIAL: "
     "from the label of "
     "the\nphone that the dump was read from." STATION_HELP,
     import_dump_cmd},
    {"firmware list", COMMON, "The firmware packages that the station knows." STATION_HELP,
     firmware_list_cmd},
    {"firmware add", "PATH " COMMON,
     "Catalogues an unpacked package that lies on the station.\n"
     "PATH must lie below a folder that the station may read (flashrackd "
     "--import-dir)." STATION_HELP,
     firmware_add_cmd},
    {"events", "[--after CURSOR] [--type TYPE]... " COMMON,
     "What changes, as it changes, until Ctrl-C.\n"
     "--after: everything since that event, 0 for all. TYPE: port, job, prompt, log, "
     "phone." STATION_HELP,
     events_cmd},
    {"doctor", COMMON,
     "What is wrong with the station and this machine, and what to do about it." STATION_HELP,
     doctor_cmd},
    {0},
};

int client_arguments(const struct cli_command *self, int argc, char **argv,
                     const struct cli_option *options, int count, const char *needed)
{
    int n = cli_options(self, argc, argv, options);
    if (n < 0)
        return CLI_USAGE;
    if (n > count)
        return cli_usage(self, "'%s' is too much", cli_printable(argv[count]));
    return n < count ? cli_usage(self, "%s", needed) : CMD_GO_ON;
}

int station_open(const struct client_options *common, struct client **out)
{
    struct err err;
    return client_open(common, out, &err) < 0 ? client_fail(*out, &err) : CMD_GO_ON;
}

int client_begin(const struct cli_command *self, int argc, char **argv,
                 const struct cli_option *options, const struct client_options *common, int count,
                 const char *needed, struct client **out)
{
    int rc = client_arguments(self, argc, argv, options, count, needed);
    return rc != CMD_GO_ON ? rc : station_open(common, out);
}

int client_fail(const struct client *c, const struct err *err)
{
    return cli_fail(err, client_advice(c));
}

void client_json_free(json_t **j)
{
    json_decref(*j);
}
