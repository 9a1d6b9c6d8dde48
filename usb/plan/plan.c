#include "usb/plan/plan.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "usb/base/mem.h"
#include "usb/plan/check.h"

static const char *const class_names[] = {"identity", "service_lk", "commercial"};

const char *plan_class_name(enum plan_class c)
{
    return class_names[c];
}

static const char *text_of(json_t *object, const char *key)
{
    const char *s = json_string_value(json_object_get(object, key));
    return s ? s : "";
}

static uint64_t number_of(json_t *object, const char *key)
{
    json_int_t n = json_integer_value(json_object_get(object, key));
    return n > 0 ? (uint64_t)n : 0;
}

static json_t *by_name(json_t *list, const char *key, const char *name)
{
    size_t i;
    json_t *item;
    json_array_foreach(list, i, item)
    {
        if (strcmp(text_of(item, key), name) == 0)
            return item;
    }
    return NULL;
}

static const struct plan_extent *layout_find(const struct plan *p, const char *name)
{
    for (size_t i = 0; i < p->layout_count; i++)
        if (strcmp(p->layout[i].name, name) == 0)
            return &p->layout[i];
    return NULL;
}

static int copy_text(char *dst, size_t size, const char *src, const char *what, struct err *err)
{
    if (strlen(src) >= size)
        return err_set(err, ERR_LIMIT, "%s '%.60s' is longer than %zu bytes", what, src, size - 1);
    memcpy(dst, src, strlen(src) + 1);
    return 0;
}

/* A file by its whole name in the package, or beside the scatter file, which need not lie at the top. */
static json_t *package_file(const struct plan_inputs *in, const char *name)
{
    json_t *files = json_object_get(in->package, "files");
    AUTO(free_ptr) char *beside = xasprintf("%s%s", text_of(in->package, "prefix"), name);
    json_t *file = by_name(files, "name", beside);
    return file ? file : by_name(files, "name", name);
}

/* ---- checks that come before any write is laid out ------------------------------------------------ */

static int check_package(const struct plan_inputs *in, const char **failure, struct err *err)
{
    const struct recipe *r = in->recipe;
    const char *platform = text_of(in->package, "platform");
    const char *version = text_of(in->package, "version");
    if (strcmp(platform, r->platform) != 0) {
        *failure = "B3";
        return err_set(err, ERR_MISMATCH,
                       "the package is for platform %s, the phone is %s: choose the %s "
                       "package",
                       platform[0] ? platform : "(unknown)", r->platform, r->project);
    }
    if (strncmp(version, r->project, strlen(r->project)) != 0) {
        *failure = "B3";
        return err_set(err, ERR_MISMATCH,
                       "the package's version is '%s', not one of project %s: choose "
                       "the %s package",
                       version, r->project, r->project);
    }
    for (size_t i = 0; i < r->needs_firmware.count; i++) {
        const char *name = r->needs_firmware.names[i];
        if (!package_file(in, name)) {
            *failure = strcmp(name, "lk_service.img") == 0 ? "B2" : "B6";
            return err_set(err, ERR_MISMATCH, "the package has no %s%s", name,
                           strcmp(name, "lk_service.img") == 0
                               ? " (the name begins with a small L, not with a capital i)"
                               : ": unpack it again and compare its checksums");
        }
    }
    size_t i;
    json_t *problem;
    json_array_foreach(json_object_get(in->package, "problems"), i, problem)
    {
        if (strcmp(text_of(problem, "severity"), "error") != 0)
            continue; /* warnings stop nobody */
        *failure = "B6";
        return err_set(err, ERR_FORMAT, "the package is not fit for use: %s",
                       text_of(problem, "text"));
    }
    return 0;
}

static int check_image(const struct plan *p, json_t *image, const char *name, const char **failure,
                       struct err *err)
{
    if (!image) {
        *failure = "A5";
        return err_set(err, ERR_REFUSED, "the backup has no %s: it cannot restore this phone",
                       name);
    }
    if (strcmp(text_of(image, "plausible"), "no") == 0) {
        *failure = "A4";
        return err_set(err, ERR_REFUSED,
                       "%s in the backup is not whole (%s): it was taken after the loss, "
                       "look for an older dump",
                       name, text_of(image, "reason"));
    }
    const struct plan_extent *extent = layout_find(p, name);
    if (!extent) {
        *failure = "B5";
        return err_set(err, ERR_MISMATCH, "the package's scatter has no partition %s", name);
    }
    if (number_of(image, "size") != extent->size_bytes) {
        *failure = "D12";
        return err_set(err, ERR_MISMATCH,
                       "%s has %llu bytes in the backup and %llu in the package: one of "
                       "them is of another model",
                       name, (unsigned long long)number_of(image, "size"),
                       (unsigned long long)extent->size_bytes);
    }
    return 0;
}

static int check_backup(const struct plan_inputs *in, const struct plan *p, const char **failure,
                        struct err *err)
{
    json_t *images = json_object_get(in->backup, "partitions");
    for (size_t i = 0; i < in->recipe->needs_backup.count; i++) {
        const char *name = in->recipe->needs_backup.names[i];
        int rc = check_image(p, by_name(images, "name", name), name, failure, err);
        if (rc < 0)
            return rc;
    }
    const char *serial = text_of(in->backup, "serial");
    if (strcmp(serial, in->serial) != 0) {
        *failure = "A2";
        return err_set(err, ERR_REFUSED,
                       "the backup holds the identity of %s, the label says %s: find this "
                       "phone's own backup",
                       serial[0] ? serial : "no phone", in->serial);
    }
    return 0;
}

/* ---- laying out ------------------------------------------------------------------------------------ */

static int take_layout(const struct plan_inputs *in, struct plan *p, struct err *err)
{
    size_t i;
    json_t *item;
    json_array_foreach(json_object_get(in->package, "layout"), i, item)
    {
        if (p->layout_count == PLAN_LAYOUT_MAX)
            return err_set(err, ERR_LIMIT, "the scatter has more than %d partitions",
                           PLAN_LAYOUT_MAX);
        struct plan_extent *e = &p->layout[p->layout_count++];
        int rc = copy_text(e->name, sizeof(e->name), text_of(item, "name"), "partition name", err);
        if (rc < 0)
            return rc;
        e->offset_bytes = number_of(item, "offset");
        e->size_bytes = number_of(item, "size");
    }
    return 0;
}

static struct plan_write *add_write(struct plan *p, const struct recipe_step *step,
                                    const char *partition, struct err *err)
{
    const struct plan_extent *extent = layout_find(p, partition);
    if (!extent || p->write_count == PLAN_WRITES_MAX) {
        err_set(err, ERR_MISMATCH, "the package's scatter has no partition %s", partition);
        return NULL;
    }
    struct plan_write *w = &p->writes[p->write_count++];
    *w = (struct plan_write){.offset_bytes = extent->offset_bytes,
                             .partition_bytes = extent->size_bytes,
                             .optional = step->optional};
    snprintf(w->step, sizeof(w->step), "%s", step->id);
    snprintf(w->partition, sizeof(w->partition), "%s", partition);
    return w;
}

static int add_identity(const struct plan_inputs *in, struct plan *p,
                        const struct recipe_step *step, struct err *err)
{
    json_t *images = json_object_get(in->backup, "partitions");
    for (size_t i = 0; i < step->partitions.count; i++) {
        const char *name = step->partitions.names[i];
        json_t *image = by_name(images, "name", name);
        bool usable = image && strcmp(text_of(image, "plausible"), "no") != 0 &&
                      layout_find(p, name) &&
                      number_of(image, "size") == layout_find(p, name)->size_bytes;
        if (step->optional && !usable)
            continue; /* the step reports that it was not restored */
        struct plan_write *w = add_write(p, step, name, err);
        if (!w)
            return ERR_MISMATCH;
        w->write_class = PLAN_IDENTITY;
        w->size_bytes = number_of(image, "size");
        snprintf(w->image, sizeof(w->image), "backup/%s", name);
        if (!sha256_parse(text_of(image, "sha256"), &w->sha256))
            return err_set(err, ERR_FORMAT, "backup image %s has no hash", name);
    }
    return 0;
}

static int add_file(const struct plan_inputs *in, struct plan *p, const struct recipe_step *step,
                    const char *partition, const char *file, struct plan_write **out,
                    struct err *err)
{
    json_t *entry = package_file(in, file);
    if (!entry)
        return err_set(err, ERR_MISMATCH, "the package has no %s", file);
    file = text_of(entry, "name");
    struct plan_write *w = add_write(p, step, partition, err);
    if (!w)
        return ERR_MISMATCH;
    int n = snprintf(w->image, sizeof(w->image), "firmware/%s", file);
    if (n < 0 || (size_t)n >= sizeof(w->image))
        return err_set(err, ERR_LIMIT, "file name '%.60s' is too long", file);
    w->write_class = PLAN_COMMERCIAL;
    w->sparse = json_is_true(json_object_get(entry, "sparse"));
    w->size_bytes = number_of(entry, w->sparse ? "expanded_bytes" : "size");
    if (!sha256_parse(text_of(entry, "sha256"), &w->sha256))
        return err_set(err, ERR_FORMAT, "package file %s has no hash", file);
    if (w->size_bytes == 0 || w->size_bytes > w->partition_bytes)
        return err_set(err, ERR_MISMATCH, "%s has %llu bytes, partition %s holds %llu", file,
                       (unsigned long long)w->size_bytes, partition,
                       (unsigned long long)w->partition_bytes);
    *out = w;
    return 0;
}

/* Which slot is active is known only with the phone at hand: both are in the plan, the worker takes one. */
static int add_lk(const struct plan_inputs *in, struct plan *p, const struct recipe_step *step,
                  const char *file, enum plan_class write_class, struct err *err)
{
    static const char *const partitions[] = {"lk_a", "lk_b"};
    for (size_t i = 0; i < ARRAY_LEN(partitions); i++) {
        struct plan_write *w = NULL;
        int rc = add_file(in, p, step, partitions[i], file, &w, err);
        if (rc < 0)
            return rc;
        w->write_class = write_class;
        w->slot = (char)('a' + i);
    }
    return 0;
}

static int add_upgrade(const struct plan_inputs *in, struct plan *p, const struct recipe_step *step,
                       struct err *err)
{
    size_t i;
    json_t *item;
    json_array_foreach(json_object_get(in->package, "upgrade"), i, item)
    {
        struct plan_write *w = NULL;
        if (strncmp(text_of(item, "partition"), "lk_", 3) == 0)
            continue; /* those come with add_lk, so that a slot is written once */
        int rc = add_file(in, p, step, text_of(item, "partition"), text_of(item, "file"), &w, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int add_step(const struct plan_inputs *in, struct plan *p, const struct recipe_step *step,
                    struct err *err)
{
    if (strcmp(step->write_class, "identity") == 0)
        return add_identity(in, p, step, err);
    if (strcmp(step->write_class, "service_lk") == 0)
        return add_lk(in, p, step, "lk_service.img", PLAN_SERVICE_LK, err);
    if (strcmp(step->write_class, "commercial") == 0) {
        int rc = strcmp(p->finish, "upgrade") == 0 ? add_upgrade(in, p, step, err) : 0;
        return rc < 0 ? rc : add_lk(in, p, step, "lk.img", PLAN_COMMERCIAL, err);
    }
    return 0;
}

static int take_job(const struct plan_inputs *in, struct plan *p, struct err *err)
{
    p->job_id = in->job_id;
    memcpy(&p->recipe, in->recipe, sizeof(p->recipe));
    p->run = in->run > 0 ? in->run : 1;
    int rc = copy_text(p->serial, sizeof(p->serial), in->serial, "serial", err);
    if (rc == 0 && in->chip_id)
        rc = copy_text(p->chip_id, sizeof(p->chip_id), in->chip_id, "chip id", err);
    if (rc == 0)
        rc = phone_facts_decode(in->before, &p->before, err);
    const char *finish = in->recipe->finish[0] ? in->recipe->finish : in->finish;
    if (rc == 0)
        rc = copy_text(p->finish, sizeof(p->finish), finish, "finish", err);
    if (rc == 0)
        rc = copy_text(p->accept, sizeof(p->accept), in->accept, "accept", err);
    if (rc == 0)
        rc = copy_text(p->package_version, sizeof(p->package_version),
                       text_of(in->package, "version"), "version", err);
    for (size_t i = 0; rc == 0 && i < in->imei_count && i < PLAN_IMEIS_MAX; i++) {
        rc = copy_text(p->imeis[i], sizeof(p->imeis[i]), in->imeis[i], "IMEI", err);
        p->imei_count = i + 1;
    }
    return rc;
}

int plan_build(const struct plan_inputs *in, struct plan *out, const char **failure,
               struct err *err)
{
    AUTO(free_ptr) struct plan *p = xcalloc(1, sizeof(*p));
    int rc = in->recipe->wants_firmware ? check_package(in, failure, err) : 0;
    if (rc == 0)
        rc = take_job(in, p, err);
    if (rc == 0)
        rc = take_layout(in, p, err);
    if (rc == 0 && in->recipe->wants_backup)
        rc = check_backup(in, p, failure, err);
    for (size_t i = 0; rc == 0 && i < in->recipe->step_count; i++)
        rc = add_step(in, p, &in->recipe->steps[i], err);
    if (rc == 0) {
        rc = plan_check(p, err);
        *failure = rc < 0 ? "L1" : *failure;
    }
    if (rc < 0)
        return rc;
    memcpy(out, p, offsetof(struct plan, recipe));
    recipe_copy(&out->recipe, &p->recipe);
    memcpy(&out->layout_count, &p->layout_count, sizeof(*p) - offsetof(struct plan, layout_count));
    return 0;
}

/* ---- text form ------------------------------------------------------------------------------------- */

static json_t *write_encode(const struct plan_write *w)
{
    char hex[SHA256_HEX_BYTES], slot[2] = {w->slot, '\0'};
    sha256_hex(&w->sha256, hex);
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:b, s:b, s:I, s:I, s:I, s:s}", "step", w->step,
                     "partition", w->partition, "image", w->image, "class",
                     class_names[w->write_class], "slot", slot, "sparse", w->sparse, "optional",
                     w->optional, "offset_bytes", (json_int_t)w->offset_bytes, "partition_bytes",
                     (json_int_t)w->partition_bytes, "size_bytes", (json_int_t)w->size_bytes,
                     "sha256", hex);
}

char *plan_encode(const struct plan *p, json_t *recipe_json)
{
    json_t *layout = json_array(), *writes = json_array(), *imeis = json_array();
    for (size_t i = 0; i < p->layout_count; i++)
        json_array_append_new(layout,
                              json_pack("{s:s, s:I, s:I}", "name", p->layout[i].name,
                                        "offset_bytes", (json_int_t)p->layout[i].offset_bytes,
                                        "size_bytes", (json_int_t)p->layout[i].size_bytes));
    for (size_t i = 0; i < p->write_count; i++)
        json_array_append_new(writes, write_encode(&p->writes[i]));
    for (size_t i = 0; i < p->imei_count; i++)
        json_array_append_new(imeis, json_string(p->imeis[i]));
    json_t *root =
        json_pack("{s:i, s:I, s:i, s:s, s:o, s:s, s:o, s:s, s:s, s:s, s:O, s:o, s:o}",
                  "plan_version", 1, "job_id", (json_int_t)p->job_id, "run", p->run, "chip_id",
                  p->chip_id, "before", phone_facts_encode(&p->before), "serial", p->serial,
                  "imeis", imeis, "finish", p->finish, "accept", p->accept, "package_version",
                  p->package_version, "recipe", recipe_json, "layout", layout, "writes", writes);
    char *text = json_dumps(root, JSON_COMPACT);
    json_decref(root);
    return text;
}

static int write_decode(json_t *json, struct plan_write *w, struct err *err)
{
    const char *write_class = text_of(json, "class"), *slot = text_of(json, "slot");
    int rc = copy_text(w->step, sizeof(w->step), text_of(json, "step"), "step", err);
    if (rc == 0)
        rc = copy_text(w->partition, sizeof(w->partition), text_of(json, "partition"), "partition",
                       err);
    if (rc == 0)
        rc = copy_text(w->image, sizeof(w->image), text_of(json, "image"), "image", err);
    if (rc < 0)
        return rc;
    size_t c = 0;
    while (c < ARRAY_LEN(class_names) && strcmp(class_names[c], write_class) != 0)
        c++;
    if (c == ARRAY_LEN(class_names) || !sha256_parse(text_of(json, "sha256"), &w->sha256))
        return err_set(err, ERR_FORMAT, "write of '%s': class or hash", w->partition);
    w->write_class = (enum plan_class)c;
    w->slot = slot[0];
    w->sparse = json_is_true(json_object_get(json, "sparse"));
    w->optional = json_is_true(json_object_get(json, "optional"));
    w->offset_bytes = number_of(json, "offset_bytes");
    w->partition_bytes = number_of(json, "partition_bytes");
    w->size_bytes = number_of(json, "size_bytes");
    if (!w->partition[0] || w->size_bytes == 0 || w->size_bytes > w->partition_bytes)
        return err_set(err, ERR_FORMAT, "write of '%s': sizes", w->partition);
    return 0;
}

static int lists_decode(json_t *root, struct plan *p, struct err *err)
{
    json_t *layout = json_object_get(root, "layout"), *writes = json_object_get(root, "writes");
    json_t *imeis = json_object_get(root, "imeis");
    if (json_array_size(layout) > PLAN_LAYOUT_MAX || json_array_size(writes) > PLAN_WRITES_MAX ||
        json_array_size(imeis) > PLAN_IMEIS_MAX)
        return err_set(err, ERR_LIMIT, "the plan is too large");
    for (; p->layout_count < json_array_size(layout); p->layout_count++) {
        struct plan_extent *e = &p->layout[p->layout_count];
        json_t *item = json_array_get(layout, p->layout_count);
        int rc = copy_text(e->name, sizeof(e->name), text_of(item, "name"), "partition name", err);
        if (rc < 0)
            return rc;
        e->offset_bytes = number_of(item, "offset_bytes");
        e->size_bytes = number_of(item, "size_bytes");
    }
    for (; p->write_count < json_array_size(writes); p->write_count++) {
        int rc =
            write_decode(json_array_get(writes, p->write_count), &p->writes[p->write_count], err);
        if (rc < 0)
            return rc;
    }
    for (; p->imei_count < json_array_size(imeis); p->imei_count++) {
        const char *imei = json_string_value(json_array_get(imeis, p->imei_count));
        int rc =
            copy_text(p->imeis[p->imei_count], sizeof(p->imeis[0]), imei ? imei : "", "IMEI", err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int plan_decode(const char *text, size_t len, struct plan *out, struct err *err)
{
    json_error_t why;
    json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &why);
    AUTO(free_ptr) struct plan *p = xcalloc(1, sizeof(*p));
    int rc = 0;
    if (!root || number_of(root, "plan_version") != 1)
        rc = err_set(err, ERR_FORMAT, "not a plan of version 1: %s", root ? "version" : why.text);
    if (rc == 0) {
        p->job_id = (int64_t)number_of(root, "job_id");
        p->run = (int)number_of(root, "run");
        rc = copy_text(p->chip_id, sizeof(p->chip_id), text_of(root, "chip_id"), "chip id", err);
    }
    if (rc == 0)
        rc = phone_facts_decode(json_object_get(root, "before"), &p->before, err);
    if (rc == 0)
        rc = copy_text(p->serial, sizeof(p->serial), text_of(root, "serial"), "serial", err);
    if (rc == 0)
        rc = copy_text(p->finish, sizeof(p->finish), text_of(root, "finish"), "finish", err);
    if (rc == 0)
        rc = copy_text(p->accept, sizeof(p->accept), text_of(root, "accept"), "accept", err);
    if (rc == 0)
        rc = copy_text(p->package_version, sizeof(p->package_version),
                       text_of(root, "package_version"), "version", err);
    if (rc == 0)
        rc = recipe_decode(json_object_get(root, "recipe"), &p->recipe, err);
    if (rc == 0)
        rc = lists_decode(root, p, err);
    json_decref(root);
    if (rc < 0)
        return rc;
    memcpy(out, p, sizeof(*p));
    return 0;
}
