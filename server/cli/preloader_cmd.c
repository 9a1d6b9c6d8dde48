#include <fcntl.h>

#include "server/cli/offline.h"
#include "usb/base/hash.h"
#include "usb/base/io.h"
#include "usb/base/mem.h"
#include "usb/format/emi.h"

static json_t *block_json(const struct emi_info *info, struct span file, struct span block)
{
    char hex[SHA256_HEX_BYTES];
    struct sha256 digest = sha256_of(block);
    sha256_hex(&digest, hex);
    json_t *j = json_object();
    json_object_set_new(j, "version", json_integer(info->version));
    json_object_set_new(j, "preloader", cli_json_text(info->preloader_name));
    json_object_set_new(j, "memory_entries", json_integer(info->entry_count));
    json_object_set_new(j, "offset", json_integer((json_int_t)(block.data - file.data)));
    json_object_set_new(j, "length", json_integer((json_int_t)block.len));
    json_object_set_new(j, "sha256", json_string(hex));
    return j;
}

int preloader_show(const struct cli_command *self, int argc, char **argv)
{
    bool json = false;
    const char *output = NULL;
    const struct cli_option options[] = {
        {"json", NULL, &json, 0}, {"output", &output, NULL, 'o'}, {0}};
    if (cli_options_one(self, argc, argv, options, "one preloader file is needed") < 0)
        return CLI_USAGE;
    struct err err;
    AUTO(free_ptr) char *data = NULL;
    size_t len;
    struct span block;
    struct emi_info info;
    if (io_slurp(AT_FDCWD, argv[0], PRELOADER_BYTES_MAX, &data, &len, &err) < 0)
        return cli_fail(&err, NULL);
    struct span file = span_of(data, len);
    if (emi_cut(file, &block, &err) < 0 || emi_decode(block, &info, &err) < 0)
        return cli_fail(&err, "A preloader is called like preloader_pda.bin and comes with the "
                              "firmware package.");
    if (output && new_file_write(output, block, &err) < 0)
        return cli_fail(&err, NULL);
    if (json)
        cli_json_print(block_json(&info, file, block));
    else
        printf("%s: memory settings version %d, %u kinds of memory, %zu bytes at %td\n",
               cli_printable(info.preloader_name), info.version, info.entry_count, block.len,
               block.data - file.data);
    return CLI_FINE;
}
