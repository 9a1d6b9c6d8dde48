/* Identifying a package and checking its images: README.md, "Packages". */
#include "usb/format/firmware.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "usb/base/mem.h"
#include "usb/format/da_file.h"
#include "usb/format/emi.h"
#include "usb/format/firmware_read.h"
#include "usb/format/lk.h"
#include "usb/format/roles.h"
#include "usb/format/sparse.h"

const struct firmware_model FIRMWARE_MODEL_X5 = {.platform = "MT6771",
                                                 .da_code = DA_CODE_MT6771,
                                                 .project = "PDA",
                                                 .generic_project = "k71v1_64"};

enum { HEAD_BYTES = 16384, TEXT_BYTES_MAX = 1 << 20 };
static const char again[] = "unpack the package again, or fetch it again from its source";
static const char other_package[] = "choose the package of this phone model";

void firmware_problem(struct firmware *f, enum firmware_severity severity, const char *code,
                      const char *where, const char *advice, const char *fmt, ...)
{
    if (f->problem_count < FIRMWARE_PROBLEMS_MAX) {
        struct firmware_problem *p = &f->problems[f->problem_count];
        *p = (struct firmware_problem){.severity = severity, .code = code};
        snprintf(p->where, sizeof(p->where), "%s", where);
        snprintf(p->advice, sizeof(p->advice), "%s", advice);
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(p->what, sizeof(p->what), fmt, ap);
        va_end(ap);
    }
    f->problem_count++;
    if (severity == FIRMWARE_ERROR)
        f->usable = false;
}

static const struct firmware_file *file_by_name(const struct firmware *f, const char *name)
{
    for (uint32_t i = 0; i < f->file_count; i++)
        if (strcmp(f->files[i].name, name) == 0)
            return &f->files[i];
    return NULL;
}

const struct firmware_file *firmware_file(const struct firmware *f, const char *name)
{
    char whole[2 * FIRMWARE_NAME_BYTES];
    snprintf(whole, sizeof(whole), "%s%s", f->prefix, name);
    const struct firmware_file *file = file_by_name(f, whole);
    return file ? file : file_by_name(f, name);
}

/* ---- the list of files ---------------------------------------------------------------------- */

/* Head of a file into `head`; its length, or negative. */
static ssize_t head_read(const struct firmware_source *source, const char *name, uint8_t *head,
                         size_t len, struct err *err)
{
    AUTO(input_close) struct input *in = NULL;
    int rc = firmware_open(source, name, &in, err);
    return rc < 0 ? rc : input_read(in, head, len, 0, err);
}

static int file_add(struct firmware *f, const struct firmware_source *source, const char *name,
                    struct err *err)
{
    AUTO(input_close) struct input *in = NULL;
    int rc = firmware_open(source, name, &in, err);
    if (rc < 0) {
        err_in(err, "'%s'", name);
        return rc;
    }
    struct firmware_file *file = &f->files[f->file_count++];
    snprintf(file->name, sizeof(file->name), "%s", name);
    file->size_bytes = file->expanded_bytes = in->size_bytes;
    file->sound = true;
    uint8_t head[SPARSE_HEADER_BYTES];
    ssize_t n = input_read(in, head, sizeof(head), 0, err);
    if (n < 0)
        return (int)n;
    struct sparse_header h;
    struct err sparse_err;
    if (!sparse_is(span_of(head, (size_t)n)))
        return 0;
    file->sparse = true;
    if (sparse_header_decode(span_of(head, (size_t)n), &h, &sparse_err) == 0) {
        file->expanded_bytes = sparse_output_bytes(&h);
        return 0;
    }
    file->sound = false;
    firmware_problem(f, FIRMWARE_ERROR, "sparse_damaged", name, again, "'%s': %s", name,
                     sparse_err.text);
    return 0;
}

static int files_list(struct firmware *f, const struct firmware_source *source, struct err *err)
{
    if (source->count > FIRMWARE_FILES_MAX)
        return err_set(err, ERR_LIMIT, "%zu files: this is not a firmware package", source->count);
    f->files = xcalloc(source->count, sizeof(*f->files));
    for (size_t i = 0; i < source->count; i++) {
        if (strlen(source->names[i]) >= FIRMWARE_NAME_BYTES)
            return err_set(err, ERR_LIMIT, "a file name is too long");
        int rc = file_add(f, source, source->names[i], err);
        if (rc < 0)
            return rc;
    }
    for (size_t i = 0; i < source->left_out_count; i++)
        firmware_problem(f, FIRMWARE_WARNING, "name_not_utf8", source->left_out[i],
                         "give it a name of plain letters if the package needs it",
                         "'%s' is left out: its name is not UTF-8", source->left_out[i]);
    return 0;
}

/* ---- the scatter file ----------------------------------------------------------------------- */

static bool ends_with(const char *s, const char *end)
{
    size_t a = strlen(s), b = strlen(end);
    return a >= b && strcasecmp(s + a - b, end) == 0;
}

/* The vendor's own file is <platform>_Android_scatter.txt; edited copies that people leave beside
 * it have something in front. */
static const struct firmware_file *scatter_choose(struct firmware *f,
                                                  const struct firmware_model *model)
{
    char usual[64];
    snprintf(usual, sizeof(usual), "%s_Android_scatter.txt", model->platform);
    const struct firmware_file *best = NULL;
    int candidates = 0;
    for (uint32_t i = 0; i < f->file_count; i++) {
        const char *name = firmware_base_name(f->files[i].name);
        if (!ends_with(name, "scatter.txt"))
            continue;
        candidates++;
        if (!best || strcasecmp(name, usual) == 0)
            best = &f->files[i];
    }
    if (best && candidates > 1)
        firmware_problem(f, FIRMWARE_WARNING, "several_scatters", best->name,
                         "remove edited copies from the package", "%d scatter files; '%s' is used",
                         candidates, best->name);
    return best;
}

static int text_read(const struct firmware_source *source, const char *name, size_t max, char **out,
                     size_t *len_out, struct err *err)
{
    AUTO(input_close) struct input *in = NULL;
    int rc = firmware_open(source, name, &in, err);
    if (rc < 0)
        return rc;
    if (in->size_bytes > max)
        return err_set(err, ERR_LIMIT, "'%s' is larger than %zu bytes", name, max);
    AUTO(free_ptr) char *text = xcalloc(1, (size_t)in->size_bytes + 1);
    ssize_t n = input_read(in, text, (size_t)in->size_bytes, 0, err);
    if (n < 0)
        return (int)n;
    *out = STEAL(text);
    *len_out = (size_t)n;
    return 0;
}

static void prefix_take(struct firmware *f)
{
    snprintf(f->prefix, sizeof(f->prefix), "%s", f->scatter_name);
    char *slash = strrchr(f->prefix, '/');
    f->prefix[slash ? slash - f->prefix + 1 : 0] = '\0';
}

static int scatter_load(struct firmware *f, const struct firmware_source *source,
                        const struct firmware_options *o, struct err *err)
{
    const struct firmware_file *file = scatter_choose(f, o->model);
    if (!file) {
        firmware_problem(f, FIRMWARE_ERROR, "scatter_missing", "", again,
                         "no scatter file (*scatter.txt) in the package");
        return 0;
    }
    snprintf(f->scatter_name, sizeof(f->scatter_name), "%s", file->name);
    prefix_take(f);
    AUTO(free_ptr) char *text = NULL;
    size_t len;
    struct err why;
    int rc = text_read(source, file->name, SCATTER_BYTES_MAX, &text, &len, &why);
    if (rc == ERR_IO)
        return err_set(err, rc, "%s", why.text);
    if (rc >= 0)
        rc = scatter_parse(span_of(text, len), &f->scatter, &why);
    if (rc < 0) {
        firmware_problem(f, FIRMWARE_ERROR, "scatter_bad", file->name,
                         "use the vendor's own scatter file, never one edited by hand", "%s",
                         why.text);
        return 0;
    }
    snprintf(f->platform, sizeof(f->platform), "%s", f->scatter->platform);
    snprintf(f->project, sizeof(f->project), "%s", f->scatter->project);
    f->section = scatter_section(f->scatter, o->storage);
    if (!f->section)
        firmware_problem(f, FIRMWARE_ERROR, "wrong_storage", file->name, other_package,
                         "the scatter has no section for %s storage", o->storage);
    return 0;
}

/* ---- what it is ----------------------------------------------------------------------------- */

static bool version_in_text(struct firmware *f, const struct firmware_source *source,
                            const char *name)
{
    uint8_t head[HEAD_BYTES];
    ssize_t n = head_read(source, name, head, sizeof(head), NULL);
    return n > 0 && fw_version_find(span_of(head, (size_t)n), &f->version, NULL) == 0;
}

/* From the package's name, the names in it, its .mlf list, then the systeminfo image. */
static void version_find(struct firmware *f, const struct firmware_source *source)
{
    if (fw_version_find(span_of(f->name, strlen(f->name)), &f->version, NULL) == 0)
        return;
    for (uint32_t i = 0; i < f->file_count; i++) {
        const char *name = f->files[i].name;
        if (fw_version_find(span_of(name, strlen(name)), &f->version, NULL) == 0)
            return;
    }
    for (uint32_t i = 0; i < f->file_count; i++)
        if (ends_with(f->files[i].name, ".mlf") && version_in_text(f, source, f->files[i].name))
            return;
    const struct firmware_file *info = firmware_file(f, "systeminfo.img");
    if (info && version_in_text(f, source, info->name))
        return;
    firmware_problem(
        f, FIRMWARE_WARNING, "version_unknown", "",
        "a package of unknown version is good for the bootloader only, not for an upgrade",
        "no version like PDA-1100-0-00WW-B01 in the package's name or files");
}

static void identity_of_package(struct firmware *f, const struct firmware_model *m)
{
    if (!f->scatter)
        return;
    if (strcasecmp(f->platform, m->platform) != 0)
        firmware_problem(f, FIRMWARE_ERROR, "wrong_platform", f->scatter_name, other_package,
                         "the package is for platform %s, this phone has %s", f->platform,
                         m->platform);
    bool version_fits = strcmp(f->version.project, m->project) == 0;
    bool named = strncasecmp(f->project, m->project, strlen(m->project)) == 0;
    bool generic = strncasecmp(f->project, m->generic_project, strlen(m->generic_project)) == 0;
    if ((f->version.text[0] && !version_fits) || !(named || (generic && version_fits)))
        firmware_problem(f, FIRMWARE_ERROR, "wrong_project", f->scatter_name, other_package,
                         "the package is for project '%s'%s%s, this phone is %s", f->project,
                         f->version.text[0] ? ", version " : "", f->version.text, m->project);
}

/* ---- download agent, preloader, bootloaders ------------------------------------------------- */

static void da_find(struct firmware *f, const struct firmware_source *source,
                    const struct firmware_model *m)
{
    AUTO(free_ptr) struct da_file *da = xcalloc(1, sizeof(*da));
    struct err why = {0};
    for (uint32_t i = 0; i < f->file_count; i++) {
        uint8_t head[HEAD_BYTES];
        const struct firmware_file *file = &f->files[i];
        if (!ends_with(file->name, ".bin"))
            continue;
        ssize_t n = head_read(source, file->name, head, sizeof(head), NULL);
        if (n < 32 || memcmp(head, "MTK_DOWNLOAD_AGENT", 18) != 0)
            continue;
        const struct da_entry *e;
        int rc = da_file_decode(span_of(head, (size_t)n), file->size_bytes, da, &why);
        if (rc >= 0)
            rc = da_file_pick(da, m->da_code, 0, 0, &e, &why);
        if (rc >= 0) {
            snprintf(f->da_name, sizeof(f->da_name), "%s", file->name);
            return;
        }
    }
    if (why.text[0])
        firmware_problem(f, FIRMWARE_ERROR, "da_bad", "", "use the download agent of this package",
                         "%s", why.text);
    else
        firmware_problem(f, FIRMWARE_ERROR, "da_missing", "", again,
                         "no download agent file (MTK_DOWNLOAD_AGENT) in the package");
}

static bool is_preloader_name(const char *name)
{
    return strncasecmp(name, "preloader", 9) == 0 && ends_with(name, ".bin");
}

static void preloader_check(struct firmware *f, const struct firmware_source *source)
{
    for (uint32_t i = 0; i < f->file_count && !f->preloader_name[0]; i++)
        if (is_preloader_name(firmware_base_name(f->files[i].name)))
            snprintf(f->preloader_name, sizeof(f->preloader_name), "%s", f->files[i].name);
    if (!f->preloader_name[0]) {
        firmware_problem(f, FIRMWARE_ERROR, "preloader_missing", "", again,
                         "no preloader_*.bin: the phone's memory cannot be set up without it");
        return;
    }
    AUTO(free_ptr) char *data = NULL;
    size_t len = 0;
    struct span block;
    struct emi_info info;
    struct err why;
    int rc = text_read(source, f->preloader_name, PRELOADER_BYTES_MAX, &data, &len, &why);
    if (rc >= 0)
        rc = emi_cut(span_of(data, len), &block, &why);
    if (rc >= 0)
        rc = emi_decode(block, &info, &why);
    if (rc < 0)
        firmware_problem(f, FIRMWARE_ERROR, "preloader_bad", f->preloader_name, again, "%s",
                         why.text);
}

static bool lk_file_check(struct firmware *f, const struct firmware_source *source,
                          const struct firmware_file *file)
{
    uint8_t head[MTK_IMAGE_HEADER_BYTES];
    struct mtk_image image;
    struct err why = {0};
    ssize_t n = head_read(source, file->name, head, sizeof(head), &why);
    if (n >= 0 && lk_check(span_of(head, (size_t)n), file->size_bytes, &image, &why) == 0)
        return true;
    firmware_problem(f, FIRMWARE_ERROR, "lk_bad", file->name, again, "'%s': %s", file->name,
                     why.text);
    return false;
}

/* The name begins with a small L; texts on the web print a capital i. */
static const struct firmware_file *service_lk_misspelt(const struct firmware *f)
{
    for (uint32_t i = 0; i < f->file_count; i++) {
        const char *name = firmware_base_name(f->files[i].name);
        if (strcasecmp(name, "Ik_service.img") == 0 || strcasecmp(name, "1k_service.img") == 0 ||
            strcasecmp(name, "lk-service.img") == 0 || strcasecmp(name, "lk_service.img") == 0)
            return &f->files[i];
    }
    return NULL;
}

static int same_file(struct firmware *f, const struct firmware_source *source, const char *a,
                     const char *b, struct err *err)
{
    AUTO(free_ptr) char *x = NULL;
    AUTO(free_ptr) char *y = NULL;
    size_t x_len, y_len;
    (void)f;
    int rc = text_read(source, a, LK_FILE_BYTES_MAX, &x, &x_len, err);
    if (rc >= 0)
        rc = text_read(source, b, LK_FILE_BYTES_MAX, &y, &y_len, err);
    return rc < 0 ? rc : x_len == y_len && memcmp(x, y, x_len) == 0;
}

static void bootloaders_check(struct firmware *f, const struct firmware_source *source)
{
    const struct firmware_file *lk = firmware_file(f, "lk.img");
    const struct firmware_file *service = firmware_file(f, "lk_service.img");
    bool lk_good = false, service_good = false;
    if (lk) {
        snprintf(f->lk_name, sizeof(f->lk_name), "%s", lk->name);
        lk_good = lk_file_check(f, source, lk);
    } else {
        firmware_problem(f, FIRMWARE_ERROR, "lk_missing", "lk.img", again,
                         "no lk.img: a phone could not be given back its own bootloader");
    }
    const struct firmware_file *misspelt = service ? NULL : service_lk_misspelt(f);
    if (service) {
        snprintf(f->service_lk_name, sizeof(f->service_lk_name), "%s", service->name);
        service_good = lk_file_check(f, source, service);
    } else if (misspelt) {
        firmware_problem(f, FIRMWARE_ERROR, "service_lk_name", misspelt->name,
                         "rename it: the name begins with a small L",
                         "'%s' should be called lk_service.img", misspelt->name);
    } else {
        firmware_problem(f, FIRMWARE_ERROR, "service_lk_missing", "lk_service.img",
                         "get the service bootloader that belongs to this package",
                         "no lk_service.img: nvram cannot be restored without it");
    }
    if (lk_good && service_good && same_file(f, source, lk->name, service->name, NULL) == 1)
        firmware_problem(f, FIRMWARE_ERROR, "service_lk_same", service->name,
                         "get the service bootloader that belongs to this package",
                         "lk_service.img is the same file as lk.img");
}

static void auth_find(struct firmware *f)
{
    for (uint32_t i = 0; i < f->file_count && !f->auth_name[0]; i++)
        if (ends_with(f->files[i].name, ".auth"))
            snprintf(f->auth_name, sizeof(f->auth_name), "%s", f->files[i].name);
}

/* ---- images against their partitions -------------------------------------------------------- */

static bool wants_image(const struct scatter_entry *e)
{
    return e->is_download ||
           ((e->operation == SCATTER_OP_UPDATE || e->operation == SCATTER_OP_BOOTLOADERS) &&
            e->is_upgradable);
}

/* What an image of this partition begins with; NULL when nothing is known. */
static const char *head_fault(const struct scatter_entry *e, struct span head)
{
    static const char *const with_header[] = {"tee", "scp", "sspm", "spmfw", "md1img", "logo"};
    const char *name = role_of(e->name)->name; /* in small letters, without slot */
    struct mtk_image image;
    for (size_t i = 0; i < ARRAY_LEN(with_header); i++)
        if (strcmp(with_header[i], name) == 0)
            return mtk_image_decode(head, &image, NULL) < 0 ? "a MediaTek image header" : NULL;
    if (strcmp(name, "boot") == 0 && memcmp(head.data, "ANDROID!", 8) != 0)
        return "ANDROID!";
    if (strcmp(name, "vbmeta") == 0 && memcmp(head.data, "AVB0", 4) != 0)
        return "AVB0";
    return NULL;
}

static void image_check(struct firmware *f, const struct firmware_source *source,
                        const struct scatter_entry *e, const struct firmware_file *file)
{
    if (file->size_bytes == 0) {
        firmware_problem(f, FIRMWARE_ERROR, "image_empty", file->name, again, "'%s' is empty",
                         file->name);
        return;
    }
    /* What a scatter says of userdata is a placeholder: flashing stretches it to the end of the
     * area. */
    bool size_known = e->size_bytes && !role_same_name(e->name, "userdata");
    if (size_known && file->expanded_bytes > e->size_bytes)
        firmware_problem(f, FIRMWARE_ERROR, "image_too_large", file->name, other_package,
                         "'%s' has %llu bytes%s, its partition %s has %llu", file->name,
                         (unsigned long long)file->expanded_bytes,
                         file->sparse ? " when unfolded" : "", e->name,
                         (unsigned long long)e->size_bytes);
    uint8_t head[MTK_IMAGE_HEADER_BYTES] = {0};
    if (file->sparse || head_read(source, file->name, head, sizeof(head), NULL) < 0)
        return;
    const char *fault = head_fault(e, span_of(head, sizeof(head)));
    if (fault)
        firmware_problem(f, FIRMWARE_WARNING, "image_header", file->name, again,
                         "'%s' for %s does not begin with %s", file->name, e->name, fault);
}

static void images_check(struct firmware *f, const struct firmware_source *source)
{
    for (uint32_t i = 0; f->section && i < f->section->count; i++) {
        const struct scatter_entry *e = &f->section->entries[i];
        if (!e->file_name[0])
            continue;
        const struct firmware_file *file = firmware_file(f, e->file_name);
        if (file)
            image_check(f, source, e, file);
        else
            firmware_problem(f, wants_image(e) ? FIRMWARE_ERROR : FIRMWARE_WARNING, "image_missing",
                             e->file_name, again, "'%s' for %s (scatter line %u) is missing",
                             e->file_name, e->name, e->line);
    }
}

int firmware_check(const struct firmware_source *source, const struct firmware_options *options,
                   struct firmware **out, struct err *err)
{
    AUTO(firmware_free) struct firmware *f = xcalloc(1, sizeof(*f));
    f->usable = true;
    snprintf(f->name, sizeof(f->name), "%s", source->name);
    int rc = files_list(f, source, err);
    if (rc >= 0)
        rc = scatter_load(f, source, options, err);
    if (rc < 0)
        return rc;
    version_find(f, source);
    identity_of_package(f, options->model);
    da_find(f, source, options->model);
    preloader_check(f, source);
    bootloaders_check(f, source);
    auth_find(f);
    images_check(f, source);
    if (options->read_all)
        rc = firmware_read_all(f, source, err);
    if (rc < 0)
        return rc;
    firmware_plan_make(f);
    *out = STEAL(f);
    return 0;
}

void firmware_free(struct firmware **f)
{
    if (!*f)
        return;
    scatter_free(&(*f)->scatter);
    free((*f)->files);
    free(*f);
    *f = NULL;
}
