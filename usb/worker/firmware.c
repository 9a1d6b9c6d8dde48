/* firmware.c: a package judged and hashed for the catalogue: what it is, what is wrong with it, its layout, and
 * which file a whole upgrade would write where. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "usb/base/mem.h"
#include "usb/format/firmware.h"
#include "usb/worker/runs.h"

static const char prefix[] = "firmware/";

static int open_file(void *arg, const char *name, struct input **out, struct err *err)
{
    struct host *h = arg;
    host_tick(h);
    for (size_t i = 0; i < h->input_count; i++) {
        if (strncmp(h->inputs[i].name, prefix, sizeof(prefix) - 1) != 0 ||
            strcmp(h->inputs[i].name + sizeof(prefix) - 1, name) != 0)
            continue;
        *out = host_input(h, input_of_fd(h->inputs[i].fd, err));
        return *out ? 0 : err->code;
    }
    return err_set(err, ERR_NOT_FOUND, "the package has no %s", name);
}

static json_t *files_json(const struct firmware *f)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < f->file_count; i++) {
        const struct firmware_file *file = &f->files[i];
        char hex[SHA256_HEX_BYTES] = "";
        if (file->hashed)
            sha256_hex(&file->sha256, hex);
        json_array_append_new(list, json_pack("{s:s, s:I, s:s, s:b, s:I}", "name", file->name,
                                              "size", (json_int_t)file->size_bytes, "sha256", hex,
                                              "sparse", file->sparse, "expanded_bytes",
                                              (json_int_t)file->expanded_bytes));
    }
    return list;
}

/* Partitions of the user area with their places. The last one before the reserved ones (userdata) stretches to
 * the phone's own eMMC, and reserved ones count from its end: they get no place here. */
static json_t *layout_json(const struct firmware *f)
{
    json_t *list = json_array();
    const struct scatter_section *section = f->section;
    for (uint32_t i = 0; section && i < section->count; i++) {
        const struct scatter_entry *e = &section->entries[i];
        bool in_gpt = strcmp(e->region, "EMMC_USER") == 0 && strcmp(e->name, "pgpt") != 0 &&
                      strcmp(e->name, "sgpt") != 0;
        if (!in_gpt)
            continue;
        bool stretches = e->is_reserved || strcmp(e->name, "userdata") == 0;
        json_array_append_new(list, json_pack("{s:s, s:I, s:I}", "name", e->name, "offset",
                                              (json_int_t)(stretches ? 0 : scatter_start(section, e, 0)), "size",
                                              (json_int_t)(stretches ? 0 : e->size_bytes)));
    }
    return list;
}

/* What a whole upgrade writes. The preloader stays: its rewrite is the one step that a power cut makes fatal,
 * and it is not needed to end the service state (usb/recipe/README.md, "finish"). */
static json_t *upgrade_json(const struct firmware *f)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < f->upgrade.count; i++) {
        const struct firmware_step *step = &f->upgrade.steps[i];
        if (step->action != FIRMWARE_WRITE || !step->file || strcmp(step->area, "user") != 0)
            continue;
        json_array_append_new(list, json_pack("{s:s, s:s}", "partition", step->entry->name, "file",
                                              step->file->name));
    }
    return list;
}

static json_t *problems_json(const struct firmware *f)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < f->problem_count && i < FIRMWARE_PROBLEMS_MAX; i++) {
        const struct firmware_problem *p = &f->problems[i];
        json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s, s:s}", "severity",
                                              p->severity == FIRMWARE_ERROR ? "error" : "warning",
                                              "code", p->code, "where", p->where, "text", p->what,
                                              "advice", p->advice));
    }
    return list;
}

int run_firmware(struct host *h, const char *text, size_t len, struct wire_done *done,
                 struct err *err)
{
    json_error_t why;
    json_t *params = json_loadb(text, len, 0, &why);
    const char *name = json_string_value(json_object_get(params, "name"));
    const char *names[HOST_INPUTS_MAX];
    struct firmware_source source = {
        .name = name ? name : "", .names = names, .open = open_file, .arg = h};
    for (size_t i = 0; i < h->input_count; i++)
        if (strncmp(h->inputs[i].name, prefix, sizeof(prefix) - 1) == 0)
            names[source.count++] = h->inputs[i].name + sizeof(prefix) - 1;
    struct firmware_options options = {
        .model = &FIRMWARE_MODEL_X5, .storage = "EMMC", .read_all = true};
    struct firmware *f = NULL;
    int rc = firmware_check(&source, &options, &f, err);
    json_decref(params);
    if (rc < 0)
        return rc;
    done->result =
        json_pack("{s:s, s:s, s:s, s:s, s:b, s:o, s:o, s:o, s:o, s:s, s:s, s:s}", "name", f->name,
                  "platform", f->platform, "project", f->project, "version", f->version.text,
                  "usable", f->usable, "files", files_json(f), "layout", layout_json(f), "upgrade",
                  upgrade_json(f), "problems", problems_json(f), "da_file", f->da_name, "preloader",
                  f->preloader_name, "auth_file", f->auth_name);
    firmware_free(&f);
    return 0;
}
