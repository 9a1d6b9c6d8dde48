#include "server/daemon/config.h"

#include <ctype.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "usb/base/io.h"
#include "usb/base/mem.h"

enum kind { KIND_TEXT, KIND_LIST, KIND_FLAG };

static const struct option_row {
    const char *name;
    enum kind kind;
    size_t offset;
    const char *value, *help;
} rows[] = {
#define ROW(n, k, field, v, h)                                                                     \
    {                                                                                              \
        n, k, offsetof(struct config, field), v, h                                                 \
    }
    ROW("listen", KIND_TEXT, listen, "HOST:PORT", "address of dashboard and API (127.0.0.1:8080)"),
    ROW("data", KIND_TEXT, data, "DIR", "data folder (./flashrack-data)"),
    ROW("usbip", KIND_LIST, usbip, "HOST:PORT", "USB/IP rack of phones (repeatable)"),
    ROW("no-usb", KIND_FLAG, no_usb, NULL, "leave this machine's own USB ports alone"),
    ROW("import-dir", KIND_LIST, import_dir, "DIR",
        "firmware packages and dumps may be read below it (repeatable; DATA/import)"),
    ROW("copy-dir", KIND_LIST, copy_dir, "DIR",
        "copies of the databases may be made below it (repeatable; DATA/copies)"),
    ROW("web", KIND_TEXT, web, "DIR", "files of the dashboard"),
    ROW("schema", KIND_TEXT, schema, "DIR", "recipes and failure catalogue"),
    ROW("program-dir", KIND_TEXT, program_dir, "DIR", "where flashrack-worker is"),
    ROW("portwatch", KIND_TEXT, portwatch, "PATH",
        "socket of a portwatch that runs already (otherwise one is started)"),
    ROW("tls-cert", KIND_TEXT, tls_cert, "FILE", "certificate chain, PEM"),
    ROW("tls-key", KIND_TEXT, tls_key, "FILE", "its key"),
    ROW("allow-remote", KIND_FLAG, allow_remote, NULL,
        "listen on an address that others reach (there are no tokens yet: trusted networks only)"),
    ROW("host", KIND_LIST, host, "NAME", "a further name by which browsers reach the station"),
    ROW("log-format", KIND_TEXT, log_format, "text|json", "form of log lines (text)"),
    ROW("record-keep", KIND_TEXT, record_keep, "BYTES",
        "kept of each USB transfer in DATA/record/job-N.pcapng (512)"),
    ROW("jobs-max", KIND_TEXT, jobs_max, "N", "jobs at the same time, 0: no limit (32)"),
    ROW("jobs-per-controller", KIND_TEXT, jobs_per_controller, "N",
        "of them on one USB controller (16)"),
    ROW("jobs-per-hub", KIND_TEXT, jobs_per_hub, "N", "of them behind one hub (8)"),
    ROW("retries", KIND_TEXT, retries, "N",
        "how often a run that failed in a passing way is tried again, after 10 s, 20 s, ..., or "
        "whose worker died, at once and one time in each step (3)"),
    ROW("verify-every", KIND_TEXT, verify_every, "SECONDS",
        "each backup is read and compared again once in this time (86400; 0: never)"),
    ROW("keep-backups", KIND_TEXT, keep_backups, "N",
        "pre-images of each phone that are kept, newest first, and always its last good one (0: "
        "all)"),
    ROW("backup-key", KIND_TEXT, backup_key, "FILE",
        "seals stored backups (AES-256-GCM): 32 bytes or 64 hex digits, chmod 600. From then on "
        "needed at every start; keep it apart from the backups"),
    ROW("old-backup-key", KIND_TEXT, old_backup_key, "FILE",
        "the key before: everything is sealed with --backup-key anew while the station works"),
    ROW("new-station-key", KIND_FLAG, new_station_key, NULL,
        "for one start: DATA/station.key, which signs reports, was lost; goes on with the one that "
        "is there now, or a new one"),
    ROW("time-scale", KIND_TEXT, time_scale, "X", "stretches every window and deadline (1)"),
#undef ROW
};

static void usage(FILE *out)
{
    fputs("usage: flashrackd [options]\nThe station: dashboard, API, jobs, backups.\n\n", out);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char left[48];
        snprintf(left, sizeof(left), "--%s %s", rows[i].name, rows[i].value ? rows[i].value : "");
        fprintf(out, "  %-26s %s\n", left, rows[i].help);
    }
    fputs(
        "  --config FILE              lines of `name = value`, # comments\n"
        "  --help, --version\n\n"
        "SIGTERM ends the station, SIGHUP starts it anew, as another version if one was installed; "
        "workers\n"
        "end the step they are in, and jobs go on by themselves after the next start.\n\n"
        "Make a key for backups with (umask 077; openssl rand -hex 32 > FILE), and keep a copy of "
        "it elsewhere:\n"
        "who loses it has lost every backup. Once backups are sealed, no start without their "
        "key.\n\n"
        "Every option is also a variable: --import-dir is FLASHRACK_IMPORT_DIR (lists: a "
        "':'-separated\n"
        "list for folders, ',' for the others). Command line wins over variables, they over the "
        "file.\n",
        out);
}

static const struct option_row *find_row(const char *name, size_t len)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (strlen(rows[i].name) == len && strncmp(rows[i].name, name, len) == 0)
            return &rows[i];
    return NULL;
}

/* A value that is set already stays: sources are read strongest first. Lists of one source add up. */
static int set_value(struct config *c, const struct option_row *row, const char *value,
                     unsigned *done, unsigned source, struct err *err)
{
    char *at = (char *)c + row->offset;
    size_t index = (size_t)(row - rows);
    if (done[index] && done[index] != source)
        return 0;
    if (row->kind == KIND_FLAG) {
        bool yes = !value || strcmp(value, "1") == 0 || strcmp(value, "true") == 0 ||
                   strcmp(value, "yes") == 0;
        *(bool *)(void *)at = yes;
    } else if (row->kind == KIND_TEXT) {
        free(*(char **)(void *)at);
        *(char **)(void *)at = xstrdup(value);
    } else {
        char **list = (char **)(void *)at;
        size_t n = 0;
        while (list[n])
            n++;
        if (n == CONFIG_LIST_MAX)
            return err_set(err, ERR_LIMIT, "more than %d values of %s", CONFIG_LIST_MAX, row->name);
        list[n] = xstrdup(value);
    }
    done[index] = source;
    return 0;
}

static int from_arguments(struct config *c, int argc, char **argv, unsigned *done, char **file,
                          struct err *err)
{
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i];
        if (strcmp(a, "--help") == 0 || strcmp(a, "--version") == 0) {
            if (a[2] == 'h')
                usage(stdout);
            else
                puts("flashrackd " FLASHRACK_VERSION);
            return 1;
        }
        if (strncmp(a, "--", 2) != 0)
            return err_set(err, ERR_INPUT, "'%s' is not an option; see --help", a);
        const char *equals = strchr(a, '=');
        size_t len = equals ? (size_t)(equals - a - 2) : strlen(a) - 2;
        const struct option_row *row = find_row(a + 2, len);
        bool is_config = len == 6 && strncmp(a + 2, "config", 6) == 0;
        if (!row && !is_config)
            return err_set(err, ERR_INPUT, "unknown option '%s'; see --help", a);
        const char *value = equals ? equals + 1 : NULL;
        if (!value && (is_config || row->kind != KIND_FLAG)) {
            if (i + 1 == argc)
                return err_set(err, ERR_INPUT, "%s needs a value", a);
            value = argv[++i];
        }
        if (is_config) {
            free(*file);
            *file = xstrdup(value);
            continue;
        }
        int rc = set_value(c, row, value, done, 1, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int from_environment(struct config *c, unsigned *done, struct err *err)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char name[64];
        size_t n = (size_t)snprintf(name, sizeof(name), "FLASHRACK_%s", rows[i].name);
        for (size_t k = 10; k < n; k++)
            name[k] = name[k] == '-' ? '_' : (char)toupper((unsigned char)name[k]);
        const char *value = getenv(name);
        if (!value)
            continue;
        if (rows[i].kind != KIND_LIST) {
            int rc = set_value(c, &rows[i], value, done, 2, err);
            if (rc < 0)
                return rc;
            continue;
        }
        AUTO(free_ptr) char *copy = xstrdup(value);
        const char *separator = strcmp(rows[i].value, "DIR") == 0 ? ":" : ",";
        char *save = NULL;
        for (char *p = strtok_r(copy, separator, &save); p; p = strtok_r(NULL, separator, &save)) {
            int rc = set_value(c, &rows[i], p, done, 2, err);
            if (rc < 0)
                return rc;
        }
    }
    return 0;
}

static char *trim(char *s)
{
    while (isspace((unsigned char)*s))
        s++;
    size_t n = strlen(s);
    while (n && isspace((unsigned char)s[n - 1]))
        s[--n] = '\0';
    return s;
}

static int from_file(struct config *c, const char *path, unsigned *done, struct err *err)
{
    AUTO(free_ptr) char *text = NULL;
    int rc = io_slurp(AT_FDCWD, path, 1 << 16, &text, NULL, err);
    if (rc < 0)
        return rc;
    int number = 0;
    char *next = text;
    for (char *line; (line = strsep(&next, "\n")) != NULL;) {
        number++;
        line = trim(line);
        if (!*line || *line == '#')
            continue;
        char *equals = strchr(line, '=');
        if (equals)
            *equals = '\0';
        char *key = trim(line);
        const struct option_row *row = find_row(key, strlen(key));
        if (!row || !equals)
            return err_set(err, ERR_INPUT, "%s line %d: %s '%s'", path, number,
                           equals ? "unknown key" : "no '=' after", key);
        rc = set_value(c, row, trim(equals + 1), done, 3, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* Where the programs and files of this build or installation are, seen from the running program. */
static void find_own_files(struct config *c)
{
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (n <= 0)
        return;
    self[n] = '\0';
    const char *dir = dirname(self);
    if (!c->program_dir)
        c->program_dir = xstrdup(dir);
    /* build/<preset>/flashrackd in a checkout, else PREFIX/share/flashrack of an installation */
    char *checkout = xasprintf("%s/../../schema/recipes", dir);
    bool in_checkout = access(checkout, R_OK) == 0;
    free(checkout);
    const char *base = in_checkout ? "../.." : "../share/flashrack";
    if (!c->web)
        c->web = xasprintf("%s/%s/web", dir, base);
    if (!c->schema)
        c->schema = xasprintf("%s/%s/schema", dir, base);
}

static int check_numbers(const struct config *c, struct err *err)
{
    const struct {
        const char *name, *value;
        long max;
    } numbers[] = {{"record-keep", c->record_keep, CONFIG_RECORD_KEEP_MAX},
                   {"jobs-max", c->jobs_max, CONFIG_JOBS_MAX},
                   {"jobs-per-controller", c->jobs_per_controller, CONFIG_JOBS_MAX},
                   {"jobs-per-hub", c->jobs_per_hub, CONFIG_JOBS_MAX},
                   {"retries", c->retries, CONFIG_RETRIES_MAX},
                   {"verify-every", c->verify_every, CONFIG_VERIFY_EVERY_MAX},
                   {"keep-backups", c->keep_backups, CONFIG_KEEP_BACKUPS_MAX}};
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        char *end = NULL;
        const char *value = numbers[i].value;
        long number = value ? strtol(value, &end, 10) : 0;
        if (value && (number < 0 || number > numbers[i].max || *end || end == value))
            return err_set(err, ERR_INPUT, "%s is a number from 0 to %ld, not '%s'",
                           numbers[i].name, numbers[i].max, value);
    }
    return 0;
}

int config_load(struct config *c, int argc, char **argv, struct err *err)
{
    unsigned done[ARRAY_LEN(rows)] = {0};
    AUTO(free_ptr) char *file = NULL;
    memset(c, 0, sizeof(*c));
    int rc = from_arguments(c, argc, argv, done, &file, err);
    if (rc == 0)
        rc = from_environment(c, done, err);
    if (rc == 0 && file)
        rc = from_file(c, file, done, err);
    if (rc != 0)
        return rc;
    if (!c->listen)
        c->listen = xstrdup("127.0.0.1:8080");
    if (!c->data)
        c->data = xstrdup("flashrack-data");
    if (c->log_format && strcmp(c->log_format, "text") != 0 && strcmp(c->log_format, "json") != 0)
        return err_set(err, ERR_INPUT, "log-format is text or json, not '%s'", c->log_format);
    if (c->time_scale && strtod(c->time_scale, NULL) <= 0)
        return err_set(err, ERR_INPUT, "time-scale is a number above 0, not '%s'", c->time_scale);
    rc = check_numbers(c, err);
    if (rc == 0)
        find_own_files(c);
    return rc;
}

void config_deinit(struct config *c)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char *at = (char *)c + rows[i].offset;
        if (rows[i].kind == KIND_TEXT)
            free(*(char **)(void *)at);
        for (char **p = (char **)(void *)at; rows[i].kind == KIND_LIST && *p; p++)
            free(*p);
    }
}
