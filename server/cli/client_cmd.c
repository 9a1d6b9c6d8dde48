#include "server/cli/client_cmd.h"

#define JSON "[--json]"

/* Ends the --help of every command here. */
#define STATION                                                                                    \
    "\n\n"                                                                                         \
    "--server URL   the station, or FLASHRACK_SERVER; " CLIENT_SERVER_DEFAULT " unless told\n"     \
    "--token T      access token, better in FLASHRACK_TOKEN\n"                                     \
    "--tls-ca FILE  certificates that may vouch for the station, or FLASHRACK_TLS_CA\n"            \
    "--json         what the API answers"

const struct cli_command client_commands[] = {
    {"ports", "[--topology] " JSON,
     "The station's ports, and what is on each.\n\n"
     "--topology     controllers, hubs and all their sockets, also empty ones, as a tree" STATION,
     ports_cmd},
    {"calibrate", JSON,
     "Labels the ports by plugging one phone along the rack.\n"
     "At each socket the label that is written there is entered; an empty line ends it. Nothing "
     "is\n"
     "said to that phone, and no job begins meanwhile." STATION,
     calibrate_cmd},
    {"port label", "PORT --set LABEL | --remove " JSON,
     "What is written beside the socket.\n"
     "PORT is its id or its label of before; no two ports have the same label." STATION,
     port_label_cmd},
    {"port enable", "PORT " JSON,
     "Takes a port into use again.\n"
     "PORT is its id or its label. Jobs that wait for the port begin there." STATION,
     port_enable_cmd},
    {"port disable", "PORT " JSON,
     "Takes a port out of use, for repair or for good.\n"
     "PORT is its id or its label. No job begins there and none can be ordered for it; one that\n"
     "is on it goes on to its end, those that wait for it wait until it is enabled." STATION,
     port_disable_cmd},
    {"port takes-work", "PORT [--off] " JSON,
     "Lets a port run jobs that name no port.\n"
     "PORT is its id or its label. When such a job waits, whatever phone shows up there is looked\n"
     "at, and the job goes on with it if it is the right one.\n\n"
     "--off          no longer: only jobs that name the port run there" STATION,
     port_takes_work_cmd},
    {"phones", "[--serial SERIAL] " JSON,
     "The phones that the station has met, and whose identity is whole." STATION, phones_cmd},
    {"jobs", "[--open] [--state STATE] [--port PORT] [--serial SERIAL] [--limit N] " JSON,
     "Jobs, newest first.\n\n"
     "--open         only those that have not ended, in the order in which they get their turn\n"
     "--limit N      50 unless told" STATION,
     jobs_cmd},
    {"job", "ID [--follow] " JSON,
     "One job with its steps.\n\n"
     "--follow       shows it until it ends; exits 0 only when it succeeded. Ctrl-C leaves it\n"
     "               running. At a terminal the phone's numbers can be entered there." STATION,
     job_cmd},
    {"restore",
     "--serial SERIAL [--port PORT] [--firmware ID] [--backup ID] [--imei IMEI]...\n"
     "      [--finish lk|upgrade] [--accept scan|usb] [--owner-ref T] [--client-ref T]\n"
     "      [--key KEY] [--dry-run] [--follow] " JSON,
     "Orders the restore of one phone.\n\n"
     "--serial S     from the phone's label, begins with PDA\n"
     "--port PORT    id or label, see 'flashrack ports'; without it the next phone on a port that\n"
     "               takes work, or the port that shows the serial\n"
     "--firmware ID  may be left out while the station has one package\n"
     "--backup ID    the newest import for the serial, unless told\n"
     "--imei IMEI    as on the label, once for each\n"
     "--finish       lk: commercial bootloader back (default); upgrade: the whole package\n"
     "--accept       scan: a person enters the phone's numbers at the end (default);\n"
     "               usb: the serial that the phone shows on USB is enough\n"
     "--key KEY      the same order sent again with the same key is the same job\n"
     "--dry-run      checks the order and prints what would be written; no job\n"
     "--follow       shows it and exits with its result, as 'flashrack job' does" STATION,
     restore_cmd},
    {"order",
     "--recipe NAME [--port PORT] [--serial SERIAL] [--phone ID] [--firmware ID] [--backup ID]\n"
     "      [--imei IMEI]... [--finish lk|upgrade] [--accept scan|usb] [--owner-ref T]\n"
     "      [--client-ref T] [--key KEY] [--dry-run] [--follow] " JSON,
     "Orders a job of any recipe.\n\n"
     "--recipe NAME  x5-identify: whose phone it is; reads its chip and lets it go\n"
     "               x5-backup: saves its identity; wants a package, for its download agent\n"
     "               x5-upgrade: the whole package on a phone whose identity is whole\n"
     "               x5-restore: as 'flashrack restore' does\n"
     "--serial S     needed by recipes that write, unless --phone names a phone that is known\n"
     "--phone ID     for this phone only, see 'flashrack phones'\n"
     "The other options are those of 'flashrack restore'. What a recipe has no use for is "
     "refused." STATION,
     order_cmd},
    {"answer", "ID [--serial SERIAL --imei IMEI... --wlan-mac MAC --bt-mac MAC] [--abort] " JSON,
     "Answers a job's question with what the phone shows (*#06# and About).\n"
     "A question that wants no numbers is answered with ok by leaving them out.\n"
     "Exits 1 when the numbers do not fit; the job then asks again.\n\n"
     "--abort        ends the job as failed: the numbers are not the label's; or, asked whether "
     "it\n"
     "               is the phone of the job: it is another one" STATION,
     answer_cmd},
    {"pause", "ID " JSON, "Lets a job wait after the step it is in." STATION, pause_cmd},
    {"resume", "ID [--port PORT] " JSON,
     "Lets a job go on that is paused, interrupted or waits.\n\n"
     "--port PORT    where its phone is now, when it was moved; refused while the job holds "
     "it" STATION,
     resume_cmd},
    {"cancel", "ID " JSON, "Stops a job after the step it is in." STATION, cancel_cmd},
    {"report get", "ID [-o FILE] | --all -o DIR",
     "The signed report of a job that has ended, for 'flashrack report verify'.\n\n"
     "--all          every report, one file each, named so that DIR/*.json is the chain in order;\n"
     "               those that are there already are not fetched again" STATION,
     report_get_cmd},
    {"report key", "[-o FILE] " JSON,
     "The public key that the station signs reports with, and its fingerprint." STATION,
     report_key_cmd},
    {"backups", "[--serial SERIAL] [--phone ID] " JSON, "Backups of phones, newest first." STATION,
     backups_cmd},
    {"backup verify", "ID|--all " JSON,
     "Reads every image of a backup again and compares its hash. Exits 1 when one is damaged.\n"
     "The station does so by itself once a day (flashrackd --verify-every). It opens sealed ones,\n"
     "too; one whose seal is broken is damaged.\n\n"
     "--all          each of the station's backups" STATION,
     backup_verify_cmd},
    {"backup export", "ID -o DIR " JSON,
     "Writes a backup's images, SHA256SUMS and manifest.json into a new folder.\n"
     "No image gets its final name before all of them arrived and were compared. They are plain,\n"
     "also where the station seals what it stores (flashrackd --backup-key)." STATION,
     backup_export_cmd},
    {"backup prune", "[--dry-run] " JSON,
     "Lets go what retention does not keep.\n"
     "Of each phone's pre-images the newest stay (flashrackd --keep-backups), its last good one,\n"
     "pinned ones, those of open jobs and conflicts, and every import. The station does so by\n"
     "itself every ten minutes.\n\n"
     "--dry-run      only tells what would go, and why the rest stays" STATION,
     backup_prune_cmd},
    {"backup pin", "ID [--off] " JSON,
     "Keeps a backup from retention.\n\n--off          no longer" STATION, backup_pin_cmd},
    {"backup import", "DIR|TAR --serial SERIAL " JSON,
     "Makes a backup of an exported one.\n"
     "It lies below a folder that the station may read (flashrackd --import-dir): the folder of\n"
     "'backup export', or the tar file of the API.\n"
     "Every image is compared with SHA256SUMS and manifest.json; one that differs is named, and\n"
     "nothing is kept. The phone is asked for its label's serial as with any import. A chip id in\n"
     "manifest.json binds the backup: for another chip it takes an admin ('conflicts').\n\n"
     "--serial S     of the phone that the backup is of" STATION,
     import_dump_cmd},
    {"conflicts", "[ID [resolve --reason TEXT [--keep WHICH]]] [--all] " JSON,
     "Contradictions between phones that an admin must resolve: open ones, or one.\n\n"
     "--all          also those that are resolved\n"
     "--reason TEXT  why it is decided so; it stays on record\n"
     "--keep WHICH   the phone, serial or backup that is right; 'flashrack conflicts ID' says\n"
     "               which words it takes" STATION,
     conflicts_cmd},
    {"import-dump", "FILE|DIR --serial SERIAL [--scatter FILE|ID] [--offset BYTES] " JSON,
     "Makes a backup of a read-back dump that lies on the station.\n"
     "FILE lies below a folder that the station may read (flashrackd --import-dir). It or DIR may\n"
     "hold images named like 13.proinfo.img or proinfo.img, compared with SHA256SUMS when that is\n"
     "there; in an archive the largest file decides.\n\n"
     "--serial S     from the label of the phone that the dump was read from\n"
     "--scatter F    a scatter file on the station, or the id of a package: places when both\n"
     "               tables of the dump are damaged, sizes of single images\n"
     "--offset N     where in the user area the dump begins" STATION,
     import_dump_cmd},
    {"firmware list", JSON, "The firmware packages that the station knows." STATION,
     firmware_list_cmd},
    {"firmware add", "PATH " JSON,
     "Catalogues a package (a folder or an archive) that lies on the station.\n"
     "PATH lies below a folder that the station may read (flashrackd --import-dir)." STATION,
     firmware_add_cmd},
    {"db backup", "[-o DIR] " JSON,
     "Copies the station's databases while it works.\n"
     "The copy is checked, and appears when it is whole. To go back to it: stop flashrackd, put\n"
     "station.db and backups.db of the copy into the data folder, remove the -wal and -shm files\n"
     "there, start it again. Keys are not in it: keep station.key and the backup key, too.\n"
     "Exits 1 when the databases turn out to be damaged. It holds serial numbers and backups of\n"
     "phones: keep it as safe as the station.\n\n"
     "-o DIR         a new folder on the station, below DATA/copies or a folder that\n"
     "               flashrackd --copy-dir names; DATA/copies/TIME unless told" STATION,
     db_backup_cmd},
    {"db check", JSON,
     "Reads the station's databases as a whole; exits 1 and says what is damaged." STATION,
     db_check_cmd},
    {"failures", "[WORDS...] " JSON,
     "What can go wrong with a phone, and what to do about it.\n"
     "Without words all of it as a table. With words the failures whose id, code, cause or advice\n"
     "have all of them, small or capital, each with its advice: as 'google account' for what the\n"
     "phone shows, or E6. Exits 1 when there is none.\n\n"
     "class          retry: again without a change; fix: again when what the advice says was\n"
     "               done; stop: not again before somebody has decided" STATION,
     failures_cmd},
    {"events", "[--after CURSOR] [--type TYPE]... " JSON,
     "What changes, as it changes, until Ctrl-C.\n\n"
     "--after CURSOR everything since that event, 0 for all\n"
     "--type TYPE    port, job, prompt, log or phone; may be given again" STATION,
     events_cmd},
    {"doctor", JSON,
     "What is wrong with the station and this machine, and what to do about it." STATION,
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

int client_work(struct client *c, const char *path, json_t *body, json_t **out, struct err *err)
{
    struct client_request request = {
        .method = "POST", .path = path, .body = body, .wait_s = CLIENT_WORK_WAIT_S};
    return client_call(c, &request, out, err);
}

int client_fail(const struct client *c, const struct err *err)
{
    return cli_fail(err, client_advice(c));
}

void client_json_free(json_t **j)
{
    json_decref(*j);
}
