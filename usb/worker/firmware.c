/* firmware.c: a package judged and hashed for the catalogue. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "usb/base/io.h"
#include "usb/base/mem.h"
#include "usb/format/firmware.h"
#include "usb/plan/package.h"
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

/* Hundreds of files and two plans are more than a message of the channel holds: they go into the file
 * that the station sent as "result". */
static int result_write(struct host *h, json_t *found, struct err *err)
{
    AUTO(free_ptr) char *text = json_dumps(found, JSON_COMPACT);
    for (size_t i = 0; i < h->input_count; i++)
        if (strcmp(h->inputs[i].name, "result") == 0)
            return io_write(h->inputs[i].fd, text, strlen(text), err);
    return err_set(err, ERR_INTERNAL, "the station sent no file for the result");
}

int run_firmware(struct host *h, const char *text, size_t len, struct wire_done *done,
                 struct err *err)
{
    (void)done;
    json_error_t why;
    json_t *params = json_loadb(text, len, 0, &why);
    const char *name = json_string_value(json_object_get(params, "name"));
    const char *names[HOST_INPUTS_MAX];
    struct firmware_source source = {
        .name = name ? name : "", .names = names, .open = open_file, .arg = h};
    for (size_t i = 0; i < h->input_count; i++)
        if (strncmp(h->inputs[i].name, prefix, sizeof(prefix) - 1) == 0)
            names[source.count++] = h->inputs[i].name + sizeof(prefix) - 1;
    const json_t *left_out = json_object_get(params, "left_out");
    const char *shown[FIRMWARE_FILES_MAX];
    for (; source.left_out_count < MIN_OF(json_array_size(left_out), ARRAY_LEN(shown));
         source.left_out_count++)
        shown[source.left_out_count] =
            json_string_value(json_array_get(left_out, source.left_out_count));
    source.left_out = shown;
    struct firmware_options options = {
        .model = &FIRMWARE_MODEL_X5, .storage = "EMMC", .read_all = true};
    struct firmware *f = NULL;
    int rc = firmware_check(&source, &options, &f, err);
    json_decref(params);
    if (rc < 0)
        return rc;
    json_t *found = plan_package(f);
    firmware_free(&f);
    rc = result_write(h, found, err);
    json_decref(found);
    return rc;
}
