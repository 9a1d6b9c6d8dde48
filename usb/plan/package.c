#include "usb/plan/package.h"

#include <string.h>

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
        json_array_append_new(list,
                              json_pack("{s:s, s:I, s:I}", "name", e->name, "offset",
                                        (json_int_t)(stretches ? 0 : scatter_start(section, e, 0)),
                                        "size", (json_int_t)(stretches ? 0 : e->size_bytes)));
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

json_t *plan_package(const struct firmware *f)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:b, s:o, s:o, s:o, s:o, s:s, s:s, s:s}", "name",
                     f->name, "platform", f->platform, "project", f->project, "version",
                     f->version.text, "usable", f->usable, "files", files_json(f), "layout",
                     layout_json(f), "upgrade", upgrade_json(f), "problems", problems_json(f),
                     "da_file", f->da_name, "preloader", f->preloader_name, "auth_file",
                     f->auth_name);
}
