#include "usb/plan/package.h"

#include <stdio.h>
#include <string.h>

#include "usb/format/roles.h"

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
        bool in_gpt = strcmp(e->region, "EMMC_USER") == 0 && !role_same_name(e->name, "pgpt") &&
                      !role_same_name(e->name, "sgpt");
        if (!in_gpt)
            continue;
        bool stretches = e->is_reserved || role_same_name(e->name, "userdata");
        json_array_append_new(list,
                              json_pack("{s:s, s:I, s:I}", "name", e->name, "offset",
                                        (json_int_t)(stretches ? 0 : scatter_start(section, e, 0)),
                                        "size", (json_int_t)(stretches ? 0 : e->size_bytes)));
    }
    return list;
}

/* What a whole upgrade writes, for the plan of a job. */
static json_t *upgrade_json(const struct firmware *f)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < f->upgrade.count; i++) {
        const struct firmware_step *step = &f->upgrade.steps[i];
        if (step->action != FIRMWARE_WRITE)
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

/* Names come from a scatter file, which may hold any bytes; JSON holds UTF-8. */
static json_t *text_json(const char *s)
{
    json_t *plain = json_string(s);
    if (plain)
        return plain;
    char ascii[FIRMWARE_NAME_BYTES];
    snprintf(ascii, sizeof(ascii), "%s", s);
    for (char *p = ascii; *p; p++)
        if ((unsigned char)*p >= 0x80)
            *p = '?';
    return json_string(ascii);
}

static json_t *step_json(const struct firmware_step *s)
{
    if (s->action == FIRMWARE_KEEP)
        return json_pack("{s:o, s:s}", "partition", text_json(s->entry->name), "reason", s->why);
    return json_pack("{s:o, s:o, s:s, s:I, s:I, s:I}", "partition", text_json(s->entry->name),
                     "file", text_json(s->file->name), "area", s->area, "start",
                     (json_int_t)s->extent.start_bytes, "size", (json_int_t)s->extent.size_bytes,
                     "partition_size", (json_int_t)s->entry->size_bytes);
}

static json_t *plan_json(const struct firmware_plan *plan)
{
    json_t *write = json_array(), *keep = json_array();
    for (uint32_t i = 0; i < plan->count; i++)
        json_array_append_new(plan->steps[i].action == FIRMWARE_WRITE ? write : keep,
                              step_json(&plan->steps[i]));
    return json_pack("{s:I, s:o, s:o}", "write_bytes", (json_int_t)plan->write_bytes, "write",
                     write, "keep", keep);
}

json_t *plan_package_modes(const struct firmware *f)
{
    return json_pack("{s:o, s:o}", "download_only", plan_json(&f->download_only),
                     "firmware_upgrade", plan_json(&f->upgrade));
}

json_t *plan_package(const struct firmware *f)
{
    json_t *j = json_object();
    json_object_set_new(j, "name", json_string(f->name));
    json_object_set_new(j, "platform", json_string(f->platform));
    json_object_set_new(j, "project", json_string(f->project));
    json_object_set_new(j, "version", json_string(f->version.text));
    json_object_set_new(j, "usable", json_boolean(f->usable));
    json_object_set_new(j, "files", files_json(f));
    json_object_set_new(j, "layout", layout_json(f));
    json_object_set_new(j, "upgrade", upgrade_json(f));
    json_object_set_new(j, "plan", plan_package_modes(f));
    json_object_set_new(j, "problems", problems_json(f));
    json_object_set_new(j, "prefix", json_string(f->prefix));
    json_object_set_new(j, "scatter", json_string(f->scatter_name));
    json_object_set_new(j, "da_file", json_string(f->da_name));
    json_object_set_new(j, "preloader", json_string(f->preloader_name));
    json_object_set_new(j, "auth_file", json_string(f->auth_name));
    return j;
}
