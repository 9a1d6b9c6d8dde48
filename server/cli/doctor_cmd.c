/* doctor_cmd.c: asks the station and this machine, and says in plain words what is wrong and what to do. */
#include <stdio.h>
#include <string.h>

#include "server/cli/client_cmd.h"
#include "server/cli/host_checks.h"
#include "server/cli/table.h"
#include "usb/base/mem.h"

#define DISK_FEW_BYTES ((int64_t)1 << 30)

struct doctor {
    struct client *client;
    json_t *checks;     /* told so far */
    bool json, reached; /* reached: a station answers */
    size_t worst_count[CHECK_FAIL + 1];
    size_t ports;
};

static const char *const verdicts[] = {"ok", "info", "warn", "fail"};
static const char *const shown[] = {"OK", "INFO", "WARN", "FAIL"};

static void on_check(void *arg, const struct check *check)
{
    struct doctor *d = arg;
    const char *advice = check->advice && check->advice[0] ? check->advice : NULL;
    d->worst_count[check->verdict]++;
    if (d->json) {
        json_t *j = json_object();
        json_object_set_new(j, "check", cli_json_text(check->name));
        json_object_set_new(j, "verdict", json_string(verdicts[check->verdict]));
        json_object_set_new(j, "fact", cli_json_text(check->fact));
        json_object_set_new(j, "advice", cli_json_text_or_null(advice));
        json_array_append_new(d->checks, j);
        return;
    }
    printf("%-5s %-13s %s\n", shown[check->verdict], check->name, cli_printable(check->fact));
    if (advice)
        printf("%-5s %-13s -> %s\n", "", "", cli_printable(advice));
}

static void tell(struct doctor *d, const char *name, enum check_verdict verdict, const char *fact,
                 const char *advice)
{
    on_check(d, &(struct check){name, verdict, fact, advice});
}

/* ---- the station ------------------------------------------------------------------------------------- */

static bool check_health(struct doctor *d)
{
    struct err err = {0};
    AUTO(client_reply_deinit) struct client_reply reply = {0};
    const struct client_request request = {.method = "GET", .path = "/healthz"};
    if (client_ask(d->client, &request, &reply, &err) < 0) {
        tell(d, "station", CHECK_FAIL, err.text, client_advice(d->client));
        return false;
    }
    if (reply.status != 200 || strcmp(reply.text, "ok\n") != 0) {
        tell(d, "station", CHECK_FAIL, "what answers there is not a Flashrack station",
             "Name the station with --server URL or FLASHRACK_SERVER.");
        return false;
    }
    AUTO(free_ptr) char *fact = xasprintf("answers at %s", client_url(d->client));
    tell(d, "station", CHECK_OK, fact, NULL);
    d->reached = true;
    return true;
}

static bool disk_is_short(json_t *health)
{
    json_t *disk = json_object_get(health, "disk");
    return json_is_false(json_object_get(health, "ok")) && disk &&
           (text_of(disk, "trouble") ||
            json_integer_value(json_object_get(disk, "free_bytes")) < DISK_FEW_BYTES);
}

/* A job's pre-image, its spool and its black box are some hundred megabytes before they are packed. */
static void check_disk(struct doctor *d, json_t *health)
{
    static const char todo[] = "Make room in the data folder: flashrack backup prune, old copies/ "
                               "and record/, other files on that disk.";
    json_t *disk = json_object_get(health, "disk");
    if (!disk)
        return; /* a station of before */
    const char *trouble = text_of(disk, "trouble");
    int64_t free_bytes = json_integer_value(json_object_get(disk, "free_bytes"));
    AUTO(free_ptr)
    char *fact =
        trouble ? xasprintf("nothing can be stored: %s", trouble)
                : xasprintf("%lld MB are free in the data folder", (long long)(free_bytes >> 20));
    bool few = free_bytes < DISK_FEW_BYTES;
    tell(d, "disk",
         trouble || (few && disk_is_short(health)) ? CHECK_FAIL
         : few                                     ? CHECK_WARN
                                                   : CHECK_OK,
         fact, trouble || few ? todo : NULL);
}

/* The key of before is needed, and plain bytes are on the disk, until nothing is left. */
static void check_sealing(struct doctor *d, json_t *health)
{
    json_t *sealing = json_object_get(health, "sealing");
    json_t *left = json_object_get(sealing, "chunks_left");
    const char *trouble = text_of(sealing, "trouble");
    if (!json_is_object(sealing))
        return;
    AUTO(free_ptr)
    char *count = json_is_integer(left) ? xasprintf("%lld", (long long)json_integer_value(left))
                                        : xstrdup("some");
    if (trouble) {
        AUTO(free_ptr)
        char *fact = xasprintf("%s chunks of backups are not sealed with the key, and it does not "
                               "go on: %s",
                               count, trouble);
        tell(d, "sealing", CHECK_WARN, fact,
             "Put that right, then restart flashrackd: it goes on from there.");
    } else if (json_is_integer(left) && json_integer_value(left) == 0) {
        tell(d, "sealing", CHECK_OK, "all backups are sealed with the key of --backup-key", NULL);
    } else {
        AUTO(free_ptr)
        char *fact =
            xasprintf("%s chunks of backups are being sealed with the key of --backup-key", count);
        tell(d, "sealing", CHECK_INFO, fact,
             "Until then older backups lie there as before, and a key of before is needed.");
    }
}

static void check_ready(struct doctor *d)
{
    struct err err = {0};
    AUTO(client_reply_deinit) struct client_reply reply = {0};
    const struct client_request request = {.method = "GET", .path = "/readyz"};
    if (client_ask(d->client, &request, &reply, &err) < 0) {
        tell(d, "ready", CHECK_FAIL, err.text, client_advice(d->client));
        return;
    }
    AUTO(client_json_free) json_t *health = json_loads(reply.text, 0, NULL);
    if (json_is_true(json_object_get(health, "ok"))) {
        AUTO(free_ptr)
        char *fact = xasprintf("can work; %s jobs are open", text_or_dash(health, "jobs"));
        tell(d, "ready", CHECK_OK, fact, NULL);
    } else if (text_of(health, "damage")) {
        AUTO(free_ptr)
        char *fact = xasprintf("a database is damaged: %s", text_of(health, "damage"));
        tell(d, "ready", CHECK_FAIL, fact, DAMAGE_TODO);
    } else if (json_is_false(json_object_get(health, "portwatch"))) {
        tell(d, "ready", CHECK_FAIL,
             "flashrack-portwatch does not run: no phone is seen, no job starts",
             "systemctl restart flashrack-portwatch; its log says why it ended (journalctl -u "
             "flashrack-portwatch). Without systemd start flashrackd again.");
    } else if (!disk_is_short(health)) {
        tell(d, "ready", CHECK_FAIL, "the station says that it cannot work",
             "Look at its log (journalctl -u flashrackd).");
    }
    check_disk(d, health);
    check_sealing(d, health);
}

/* The answer of a list, or NULL after telling why there is none. */
static json_t *list_get(struct doctor *d, const char *name, const char *path)
{
    struct err err = {0};
    json_t *list = NULL;
    if (client_get(d->client, path, &list, &err) == 0)
        return list;
    tell(d, name, CHECK_FAIL, err.text, client_advice(d->client));
    return NULL;
}

static void check_version(struct doctor *d)
{
    AUTO(client_json_free) json_t *doc = list_get(d, "version", CLIENT_API "/openapi.json");
    const char *version = text_of(json_object_get(doc, "info"), "version");
    if (!version)
        return;
    bool same = strcmp(version, FLASHRACK_VERSION) == 0;
    AUTO(free_ptr) char *fact = xasprintf("station %s, this program " FLASHRACK_VERSION, version);
    tell(d, "version", same ? CHECK_OK : CHECK_WARN, fact,
         same ? NULL : "Install the same version on both sides.");
}

static void check_port(struct doctor *d, json_t *port)
{
    const char *label = text_of(port, "label"), *trouble = text_of(port, "trouble");
    const char *name = label ? label : text_or_dash(port, "id");
    if (trouble) {
        AUTO(free_ptr) char *fact = xasprintf("port %s: %s", name, trouble);
        tell(d, "port", CHECK_FAIL, fact,
             "Pull the phone, wait five seconds, plug it in again; then another cable, another "
             "port.");
    }
    if (port_is_out_of_use(port)) {
        AUTO(free_ptr) char *fact = xasprintf("port %s is out of use", name);
        AUTO(free_ptr)
        char *advice = xasprintf("flashrack port enable %s", text_or_dash(port, "id"));
        tell(d, "port", CHECK_INFO, fact, advice);
    }
}

static void check_ports(struct doctor *d)
{
    AUTO(client_json_free) json_t *list = list_get(d, "ports", CLIENT_API "/ports");
    json_t *items = json_object_get(list, "items"), *port;
    if (!list)
        return;
    d->ports = json_array_size(items);
    if (d->ports == 0) {
        tell(d, "ports", CHECK_WARN, "the station has seen nothing on any port yet",
             "Plug a phone in, or start flashrackd with --usbip HOST:PORT (and without --no-usb).");
        return;
    }
    AUTO(free_ptr) char *fact = xasprintf("%zu known", d->ports);
    tell(d, "ports", CHECK_OK, fact, NULL);
    size_t i;
    json_array_foreach(items, i, port) check_port(d, port);
}

static void check_firmware(struct doctor *d)
{
    AUTO(client_json_free) json_t *list = list_get(d, "firmware", CLIENT_API "/firmware?limit=1");
    if (!list)
        return;
    if (json_array_size(json_object_get(list, "items")))
        tell(d, "firmware", CHECK_OK, "there is a package", NULL);
    else
        tell(d, "firmware", CHECK_WARN, "no package: a restore needs the vendor's firmware",
             "flashrack firmware unpack ARCHIVE -o DIR, then flashrack firmware add DIR");
}

/* What the last reading of each backup found: a phone whose identity is damaged here may have it nowhere else. */
static void check_backups(struct doctor *d)
{
    AUTO(client_json_free)
    json_t *list = list_get(d, "backups", CLIENT_API "/backups?damaged=true&limit=1000");
    size_t i;
    json_t *backup, *items = json_object_get(list, "items");
    if (list && !json_array_size(items))
        tell(d, "backups", CHECK_OK, "none is known to be damaged", NULL);
    json_array_foreach(items, i, backup)
    {
        AUTO(free_ptr)
        char *fact = xasprintf("backup %s of %s is damaged: %s", text_or_dash(backup, "id"),
                               text_or_dash(backup, "serial"), text_or_dash(backup, "damage"));
        tell(d, "backups", CHECK_FAIL, fact,
             "Import the same dump, or save this phone, once more: what is damaged is put right by "
             "it. Look after the disk: dmesg, smartctl.");
    }
}

static void check_prompts(struct doctor *d)
{
    AUTO(client_json_free)
    json_t *list = list_get(d, "jobs", CLIENT_API "/jobs?state=prompt&limit=1000");
    size_t i;
    json_t *job;
    json_array_foreach(json_object_get(list, "items"), i, job)
    {
        json_t *prompt = json_object_get(job, "prompt");
        AUTO(free_ptr)
        char *fact = xasprintf("job %s on %s waits for a person: %s", text_or_dash(job, "id"),
                               text_or_dash(job, "port"), text_or_dash(prompt, "text"));
        tell(d, "jobs", CHECK_INFO, fact, text_of(prompt, "todo"));
    }
}

static void station_checks(struct doctor *d, const struct client_options *common)
{
    struct err err;
    if (client_open(common, &d->client, &err) < 0) {
        tell(d, "station", CHECK_FAIL, err.text, client_advice(d->client));
        return;
    }
    if (!check_health(d))
        return;
    check_ready(d);
    check_version(d);
    check_ports(d);
    check_firmware(d);
    check_backups(d);
    check_prompts(d);
}

/* ---- all ---------------------------------------------------------------------------------------------- */

static void summary_print(const struct doctor *d)
{
    size_t fail = d->worst_count[CHECK_FAIL], warn = d->worst_count[CHECK_WARN];
    if (fail || warn)
        printf("\n%zu to repair, %zu to look at.\n", fail, warn);
    else
        puts("\nNothing is wrong.");
}

int doctor_cmd(const struct cli_command *self, int argc, char **argv)
{
    struct client_options common = {0};
    const struct cli_option options[] = {CLIENT_OPTIONS(common), {0}};
    int rc = client_arguments(self, argc, argv, options, 0, "");
    if (rc != CMD_GO_ON)
        return rc;
    struct doctor d = {.json = common.json, .checks = json_array()};
    station_checks(&d, &common);
    if (client_is_local(d.client))
        host_checks("", d.ports, on_check, &d);
    else if (d.reached)
        tell(&d, "machine", CHECK_INFO, "not looked at: the station is on another one",
             "Run 'flashrack doctor' there.");
    bool ok = d.worst_count[CHECK_FAIL] == 0;
    if (d.json)
        cli_json_print(json_pack("{s:b, s:O}", "ok", ok, "checks", d.checks));
    else
        summary_print(&d);
    json_decref(d.checks);
    client_free(&d.client);
    return ok ? CLI_FINE : CLI_BAD_INPUT;
}
