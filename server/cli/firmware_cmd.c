#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/cli/offline.h"
#include "usb/archive/stream.h"
#include "usb/archive/unpack.h"
#include "usb/base/mem.h"
#include "usb/base/tree.h"
#include "usb/format/firmware.h"
#include "usb/format/serial.h"
#include "usb/plan/package.h"

/* ---- a folder as a package ------------------------------------------------------------------ */

struct folder {
    int fd;
    struct tree files;
};

static void folder_deinit(struct folder *f)
{
    tree_deinit(&f->files);
    fd_close(&f->fd);
}

static int folder_file_open(void *arg, const char *name, struct input **out, struct err *err)
{
    const struct folder *f = arg;
    return input_open(f->fd, name, out, err);
}

/* Last part of the path: packages are named by their folder. */
static void package_name(const char *path, char out[FIRMWARE_NAME_BYTES])
{
    AUTO(free_ptr) char *real = realpath(path, NULL);
    const char *from = real ? real : path, *slash = strrchr(from, '/');
    snprintf(out, FIRMWARE_NAME_BYTES, "%s", slash ? slash + 1 : from);
}

static int folder_open(struct folder *f, const char *path, struct err *err)
{
    f->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (f->fd < 0)
        return err_sys(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "open '%s'", path);
    struct stat st;
    if (fstat(f->fd, &st) < 0)
        return err_sys(err, ERR_IO, "'%s'", path);
    if (!S_ISDIR(st.st_mode))
        return err_set(err, ERR_INPUT, "'%s' is not a folder%s", path,
                       archive_recognised(f->fd) ? "; unpack it first: flashrack firmware unpack"
                                                 : "");
    return tree_list(f->fd, FIRMWARE_FILES_MAX, &f->files, err);
}

/* ---- what is printed ------------------------------------------------------------------------ */

static json_t *file_json(const struct firmware_file *file)
{
    json_t *j = json_object();
    char hex[SHA256_HEX_BYTES] = "";
    if (file->hashed)
        sha256_hex(&file->sha256, hex);
    json_object_set_new(j, "name", cli_json_text(file->name));
    json_object_set_new(j, "size", json_integer((json_int_t)file->size_bytes));
    json_object_set_new(j, "sha256", cli_json_text_or_null(hex));
    json_object_set_new(j, "sparse", json_boolean(file->sparse));
    json_object_set_new(j, "expanded_size", json_integer((json_int_t)file->expanded_bytes));
    return j;
}

static const char *severity_name(enum firmware_severity s)
{
    return s == FIRMWARE_ERROR ? "error" : "warning";
}

static json_t *problem_json(const struct firmware_problem *p)
{
    json_t *j = json_object();
    json_object_set_new(j, "severity", json_string(severity_name(p->severity)));
    json_object_set_new(j, "code", json_string(p->code));
    json_object_set_new(j, "where", cli_json_text_or_null(p->where));
    json_object_set_new(j, "what", cli_json_text(p->what));
    json_object_set_new(j, "advice", cli_json_text(p->advice));
    return j;
}

static json_t *problems_json(const struct firmware *f)
{
    json_t *j = json_array();
    for (uint32_t i = 0; i < MIN_OF(f->problem_count, (uint32_t)FIRMWARE_PROBLEMS_MAX); i++)
        json_array_append_new(j, problem_json(&f->problems[i]));
    return j;
}

static json_t *firmware_json(const struct firmware *f)
{
    json_t *j = json_object(), *files = json_array();
    for (uint32_t i = 0; i < f->file_count; i++)
        json_array_append_new(files, file_json(&f->files[i]));
    json_object_set_new(j, "name", cli_json_text(f->name));
    json_object_set_new(j, "platform", cli_json_text_or_null(f->platform));
    json_object_set_new(j, "project", cli_json_text_or_null(f->project));
    json_object_set_new(j, "version", cli_json_text_or_null(f->version.text));
    json_object_set_new(j, "usable", json_boolean(f->usable));
    json_object_set_new(j, "scatter", cli_json_text_or_null(f->scatter_name));
    json_object_set_new(j, "download_agent", cli_json_text_or_null(f->da_name));
    json_object_set_new(j, "preloader", cli_json_text_or_null(f->preloader_name));
    json_object_set_new(j, "lk", cli_json_text_or_null(f->lk_name));
    json_object_set_new(j, "service_lk", cli_json_text_or_null(f->service_lk_name));
    json_object_set_new(j, "auth_file", cli_json_text_or_null(f->auth_name));
    json_object_set_new(j, "files", files);
    json_object_set_new(j, "problems", problems_json(f));
    json_object_set_new(j, "plans", plan_package_modes(f));
    return j;
}

static void plan_print(const char *title, const struct firmware_plan *plan)
{
    printf("\n%s writes %s:\n", title, cli_bytes(plan->write_bytes));
    for (uint32_t i = 0; i < plan->count; i++) {
        const struct firmware_step *s = &plan->steps[i];
        if (s->action == FIRMWARE_WRITE)
            printf("  %-14s %-4s %12llx + %-11llx %s\n", cli_printable(s->entry->name), s->area,
                   (unsigned long long)s->extent.start_bytes,
                   (unsigned long long)s->extent.size_bytes, cli_printable(s->file->name));
    }
    printf("and keeps:\n");
    for (uint32_t i = 0; i < plan->count; i++)
        if (plan->steps[i].action == FIRMWARE_KEEP)
            printf("  %-14s %s\n", cli_printable(plan->steps[i].entry->name), plan->steps[i].why);
}

static void or_none(const char *title, const char *value)
{
    printf("%-15s %s\n", title, value[0] ? cli_printable(value) : "-");
}

static void firmware_print(const struct firmware *f)
{
    or_none("package", f->name);
    or_none("platform", f->platform);
    or_none("project", f->project);
    or_none("version", f->version.text);
    or_none("scatter", f->scatter_name);
    or_none("download agent", f->da_name);
    or_none("preloader", f->preloader_name);
    or_none("bootloader", f->lk_name);
    or_none("service", f->service_lk_name);
    if (f->scatter) {
        plan_print("Download Only", &f->download_only);
        plan_print("Firmware Upgrade", &f->upgrade);
    }
    printf("\n%s\n", f->usable ? "usable" : "NOT usable");
}

static void problems_print(const struct firmware *f)
{
    for (uint32_t i = 0; i < MIN_OF(f->problem_count, (uint32_t)FIRMWARE_PROBLEMS_MAX); i++) {
        const struct firmware_problem *p = &f->problems[i];
        fprintf(stderr, "%s: %s: %s\n    %s\n", severity_name(p->severity), p->code,
                cli_printable(p->what), p->advice);
    }
}

int firmware_of_folder(const char *path, bool read_all, struct firmware **out, struct err *err)
{
    AUTO(folder_deinit) struct folder folder = {.fd = -1};
    char name[FIRMWARE_NAME_BYTES];
    package_name(path, name);
    int rc = folder_open(&folder, path, err);
    struct firmware_source source = {.name = name,
                                     .names = (const char *const *)folder.files.names,
                                     .count = folder.files.count,
                                     .left_out = (const char *const *)folder.files.left_out,
                                     .left_out_count = folder.files.left_out_count,
                                     .open = folder_file_open,
                                     .arg = &folder};
    struct firmware_options how = {&FIRMWARE_MODEL_X5, "EMMC", read_all};
    return rc < 0 ? rc : firmware_check(&source, &how, out, err);
}

/* ---- gates: may it go onto this phone? ------------------------------------------------------- */

struct phone {
    const char *version_text, *serial, *battery_text;
    bool asked; /* one of them was given */
    struct fw_version version;
    struct gate_phone gate;
    struct gate_result results[FIRMWARE_GATES];
    enum gate_action strictest;
};

static int battery_parse(struct phone *p, struct err *err)
{
    char *end;
    unsigned long n = strtoul(p->battery_text, &end, 10);
    if (*end || end == p->battery_text || n == 0 || n > 10000)
        return err_set(err, ERR_INPUT, "--battery '%s' is neither millivolts nor percent",
                       p->battery_text);
    if (n <= 100)
        p->gate.battery_percent = (int)n;
    else
        p->gate.battery_mv = (uint32_t)n;
    return 0;
}

static int phone_parse(struct phone *p, struct err *err)
{
    p->asked = p->version_text || p->serial || p->battery_text;
    p->gate = (struct gate_phone){.project = p->serial, .battery_percent = -1};
    int rc = p->version_text ? fw_version_parse(p->version_text, &p->version, err) : 0;
    if (rc < 0)
        return err_in(err, "--phone-version");
    if (p->version_text)
        p->gate.version = &p->version;
    struct serial_check check;
    if (p->serial) {
        serial_check(p->serial, SERIAL_PROJECT_X5, &check);
        if (check.verdict != SERIAL_VALID)
            return err_set(err, ERR_INPUT, "--serial: %s", check.reason);
    }
    return p->battery_text ? battery_parse(p, err) : 0;
}

static bool phone_allows(struct phone *p, const struct firmware *f)
{
    if (!p->asked)
        return true;
    if (!f->version.text[0]) /* reported as a problem of the package */
        return false;
    p->strictest = firmware_gates(&f->version, &p->gate, p->results);
    return p->strictest != GATE_REFUSE;
}

static json_t *gates_json(const struct phone *p)
{
    json_t *list = json_array();
    for (size_t i = 0; p->results[0].id && i < FIRMWARE_GATES; i++)
        json_array_append_new(list, json_pack("{s:s, s:s, s:s}", "id", p->results[i].id, "action",
                                              gate_action_name(p->results[i].action), "text",
                                              p->results[i].text));
    return list;
}

static void gates_print(const struct phone *p)
{
    for (size_t i = 0; p->results[0].id && i < FIRMWARE_GATES; i++)
        printf("%s  %-8s %s\n", p->results[i].id, gate_action_name(p->results[i].action),
               p->results[i].text);
    if (p->asked && !p->results[0].id)
        fprintf(stderr, "the package's version is not known: nobody can say whether it fits\n");
}

int firmware_check_cmd(const struct cli_command *self, int argc, char **argv)
{
    bool json = false, fast = false;
    struct phone phone = {0};
    const struct cli_option options[] = {{"json", NULL, &json, 0},
                                         {"fast", NULL, &fast, 0},
                                         {"phone-version", &phone.version_text, NULL, 0},
                                         {"serial", &phone.serial, NULL, 0},
                                         {"battery", &phone.battery_text, NULL, 0},
                                         {0}};
    if (cli_options_one(self, argc, argv, options, "the folder of a firmware package is needed") <
        0)
        return CLI_USAGE;
    struct err err;
    if (phone_parse(&phone, &err) < 0)
        return cli_fail(&err, NULL);
    AUTO(firmware_free) struct firmware *f = NULL;
    if (firmware_of_folder(argv[0], !fast, &f, &err) < 0)
        return cli_fail(&err, NULL);
    bool allowed = phone_allows(&phone, f);
    if (json) {
        json_t *j = firmware_json(f);
        json_object_set_new(j, "gates", phone.asked ? gates_json(&phone) : json_null());
        cli_json_print(j);
    } else {
        firmware_print(f);
        gates_print(&phone);
    }
    problems_print(f);
    return f->usable && allowed ? CLI_FINE : CLI_BAD_INPUT;
}

/* ---- unpack --------------------------------------------------------------------------------- */

int firmware_unpack(const struct cli_command *self, int argc, char **argv)
{
    const char *output = NULL;
    const struct cli_option options[] = {{"output", &output, NULL, 'o'}, {0}};
    int n = cli_options(self, argc, argv, options);
    if (n < 0)
        return CLI_USAGE;
    if (n != 1 || !output)
        return cli_usage(self, "an archive and -o are needed");
    struct err err;
    AUTO(fd_close) int fd = open(argv[0], O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        err_sys(&err, ERR_IO, "open '%s'", argv[0]);
        return cli_fail(&err, NULL);
    }
    if (mkdir(output, 0755) < 0 && errno != EEXIST) {
        err_sys(&err, ERR_IO, "make folder '%s'", output);
        return cli_fail(&err, NULL);
    }
    AUTO(fd_close) int dir = open(output, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0) {
        err_sys(&err, ERR_IO, "open folder '%s'", output);
        return cli_fail(&err, NULL);
    }
    struct unpack_result done;
    if (archive_unpack(fd, dir, &UNPACK_LIMITS_DEFAULT, NULL, NULL, &done, &err) < 0)
        return cli_fail(&err, err.code == ERR_LIMIT || err.code == ERR_IO
                                  ? "The same command again goes on where it stopped."
                                  : NULL);
    printf("%u files, %s\n", done.files, cli_bytes(done.bytes));
    return CLI_FINE;
}
