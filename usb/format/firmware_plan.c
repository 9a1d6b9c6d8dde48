/* What Download Only and Firmware Upgrade would write: README.md, "operation_type". */
#include <string.h>

#include "usb/base/mem.h"
#include "usb/format/firmware.h"
#include "usb/format/roles.h"

static bool in_boot_area(const struct scatter_entry *e)
{
    return strstr(e->region, "BOOT") != NULL;
}

/* Reasons that hold for both ways; NULL when the entry may be written. */
static const char *kept_always(const struct scatter_entry *e)
{
    if (in_boot_area(e) || e->operation == SCATTER_OP_BOOTLOADERS)
        return "the phone starts with it: left as it is, a power cut there would be fatal";
    const struct role *role = role_of(e->name);
    switch (role->class) {
    case ROLE_IDENTITY:
        return "identity of the phone: comes back from its own backup only";
    case ROLE_DEVICE:
        return "bound to this very phone: left as it is";
    case ROLE_USER:
        return "data of the phone's owner: left as it is";
    case ROLE_MODEL:
    case ROLE_UNKNOWN:
        break;
    }
    switch (e->operation) {
    case SCATTER_OP_PROTECTED:
    case SCATTER_OP_BINREGION:
        return "protected by the scatter";
    case SCATTER_OP_INVISIBLE:
        return "not for download (invisible)";
    case SCATTER_OP_RESERVED:
        return "reserved by the phone";
    case SCATTER_OP_NEEDRESIZE:
        return "resized by the vendor's tool only: left as it is";
    case SCATTER_OP_OTHER:
        return "its operation_type is not known";
    case SCATTER_OP_BOOTLOADERS:
    case SCATTER_OP_UPDATE:
        break;
    }
    if (!e->file_name[0])
        return "the package has no image for it";
    return role_is_protected(e->name) ? "not firmware that may be replaced: left as it is" : NULL;
}

static const char *kept_download_only(const struct scatter_entry *e)
{
    const char *why = kept_always(e);
    return why ? why : e->is_download ? NULL : "not ticked (is_download false)";
}

static const char *kept_upgrade(const struct scatter_entry *e)
{
    const char *why = kept_always(e);
    if (why)
        return why;
    return e->is_upgradable ? NULL : "not upgradable";
}

static void step_add(struct firmware *f, struct firmware_plan *plan, const struct scatter_entry *e,
                     const char *why_kept)
{
    struct firmware_step *s = &plan->steps[plan->count++];
    *s = (struct firmware_step){.entry = e,
                                .area = "user",
                                .action = why_kept ? FIRMWARE_KEEP : FIRMWARE_WRITE,
                                .why = why_kept ? why_kept : "written"};
    if (why_kept)
        return;
    s->file = firmware_file(f, e->file_name);
    if (!s->file) { /* reported with the images */
        s->action = FIRMWARE_KEEP;
        s->why = "its image is missing";
        return;
    }
    s->extent = (struct extent){scatter_start(f->section, e, 0), s->file->expanded_bytes};
    plan->write_bytes += s->extent.size_bytes;
}

/* Both plans have a step for each entry, in the same order; what both write is told once. */
static void extents_check(struct firmware *f)
{
    for (uint32_t i = 0; i < f->upgrade.count; i++) {
        const struct firmware_step *a = f->download_only.steps[i].action == FIRMWARE_WRITE
                                            ? &f->download_only.steps[i]
                                            : &f->upgrade.steps[i];
        if (a->action != FIRMWARE_WRITE)
            continue;
        if (a->extent.start_bytes == UINT64_MAX)
            firmware_problem(f, FIRMWARE_ERROR, "place_unknown", a->entry->name,
                             "use the vendor's own scatter file",
                             "'%s' would be written at a reserved place", a->entry->name);
        else if (a->extent.start_bytes % 512)
            firmware_problem(f, FIRMWARE_ERROR, "misaligned", a->entry->name,
                             "use the vendor's own scatter file",
                             "line %u: '%s' starts at %llu, which is not a multiple of 512",
                             a->entry->line, a->entry->name,
                             (unsigned long long)a->extent.start_bytes);
    }
}

static void overlap_check(struct firmware *f)
{
    const struct scatter_entry *a, *b;
    if (scatter_overlap(f->section, &a, &b))
        firmware_problem(f, FIRMWARE_ERROR, "overlap", b->name, "use the vendor's own scatter file",
                         "line %u: '%s' overlaps '%s' of line %u", b->line, b->name, a->name,
                         a->line);
}

/* A package whose scatter ticks an identity partition carries somebody's identity. */
static void identity_check(struct firmware *f)
{
    for (uint32_t i = 0; i < f->section->count; i++) {
        const struct scatter_entry *e = &f->section->entries[i];
        if (e->is_download && e->file_name[0] && role_of(e->name)->class == ROLE_IDENTITY)
            firmware_problem(f, FIRMWARE_WARNING, "identity_in_package", e->name,
                             "restore a phone from its own backup; this image is never written",
                             "the scatter would write %s ('%s'): the identity of some phone",
                             e->name, e->file_name);
    }
}

void firmware_plan_make(struct firmware *f)
{
    f->download_only = f->upgrade = (struct firmware_plan){0};
    if (!f->section)
        return;
    for (uint32_t i = 0; i < f->section->count; i++) {
        const struct scatter_entry *e = &f->section->entries[i];
        step_add(f, &f->download_only, e, kept_download_only(e));
        step_add(f, &f->upgrade, e, kept_upgrade(e));
    }
    extents_check(f);
    overlap_check(f);
    identity_check(f);
}
