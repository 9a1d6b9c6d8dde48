#include <fcntl.h>

#include "server/cli/offline.h"
#include "usb/base/input.h"
#include "usb/base/mem.h"
#include "usb/format/da_file.h"

static json_t *region_json(const struct da_region *r)
{
    json_t *j = json_object();
    json_object_set_new(j, "load_address", json_integer(r->load_address));
    json_object_set_new(j, "offset", json_integer(r->offset));
    json_object_set_new(j, "length", json_integer(r->length));
    json_object_set_new(j, "signature_length", json_integer(r->signature_length));
    return j;
}

static json_t *entry_json(const struct da_entry *e)
{
    json_t *j = json_object(), *regions = json_array();
    for (uint16_t i = 0; i < e->region_count; i++)
        json_array_append_new(regions, region_json(&e->regions[i]));
    json_object_set_new(j, "hw_code", json_integer(e->hw_code));
    json_object_set_new(j, "hw_sub_code", json_integer(e->hw_sub_code));
    json_object_set_new(j, "hw_version", json_integer(e->hw_version));
    json_object_set_new(j, "sw_version", json_integer(e->sw_version));
    json_object_set_new(j, "regions", regions);
    return j;
}

static void da_print_json(const struct da_file *da)
{
    json_t *j = json_object(), *entries = json_array();
    for (uint32_t i = 0; i < da->count; i++)
        json_array_append_new(entries, entry_json(&da->entries[i]));
    json_object_set_new(j, "version", json_integer(da->version));
    json_object_set_new(j, "build_id", cli_json_text(da->build_id));
    json_object_set_new(j, "entries", entries);
    cli_json_print(j);
}

static void da_print(const struct da_file *da)
{
    printf("%s, format %u, %u chips\n", cli_printable(da->build_id), da->version, da->count);
    for (uint32_t i = 0; i < da->count; i++) {
        const struct da_entry *e = &da->entries[i];
        printf("\nchip %04x.%04x, hardware from %04x, software from %04x%s\n", e->hw_code,
               e->hw_sub_code, e->hw_version, e->sw_version,
               e->hw_code == DA_CODE_MT6771 ? "  (MT6771: Nokia X5)" : "");
        for (uint16_t k = 0; k < e->region_count; k++)
            printf("  region %u: %u bytes at %u, loads at %08x, signature %u\n", k,
                   e->regions[k].length, e->regions[k].offset, e->regions[k].load_address,
                   e->regions[k].signature_length);
    }
}

int da_show(const struct cli_command *self, int argc, char **argv)
{
    bool json = false;
    const struct cli_option options[] = {{"json", NULL, &json, 0}, {0}};
    if (cli_options_one(self, argc, argv, options, "one download agent file is needed") < 0)
        return CLI_USAGE;
    struct err err;
    AUTO(fd_close) int fd = open(argv[0], O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        err_sys(&err, ERR_IO, "open '%s'", argv[0]);
        return cli_fail(&err, NULL);
    }
    AUTO(input_close) struct input *in = input_of_fd(fd, &err);
    if (!in)
        return cli_fail(&err, NULL);
    uint8_t head[DA_TABLE_BYTES];
    struct da_file da;
    ssize_t len = input_read(in, head, sizeof(head), 0, &err);
    if (len < 0 || da_file_decode(span_of(head, (size_t)len), in->size_bytes, &da, &err) < 0)
        return cli_fail(&err, "A download agent is called like MTK_AllInOne_DA.bin and comes with "
                              "the firmware package or the vendor's flash tool.");
    if (json)
        da_print_json(&da);
    else
        da_print(&da);
    return CLI_FINE;
}
