#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "server/cli/offline.h"
#include "usb/base/io.h"
#include "usb/base/mem.h"
#include "usb/format/scatter.h"

static json_t *entry_json(const struct scatter_entry *e)
{
    json_t *j = json_object();
    json_object_set_new(j, "index", json_integer(e->index));
    json_object_set_new(j, "name", cli_json_text(e->name));
    json_object_set_new(j, "file_name", cli_json_text_or_null(e->file_name));
    json_object_set_new(j, "is_download", json_boolean(e->is_download));
    json_object_set_new(j, "type", cli_json_text(e->type));
    json_object_set_new(j, "linear_start", json_integer((json_int_t)e->linear_start));
    json_object_set_new(j, "physical_start", json_integer((json_int_t)e->physical_start));
    json_object_set_new(j, "size", json_integer((json_int_t)e->size_bytes));
    json_object_set_new(j, "region", cli_json_text(e->region));
    json_object_set_new(j, "storage", cli_json_text(e->storage));
    json_object_set_new(j, "boundary_check", json_boolean(e->boundary_check));
    json_object_set_new(j, "is_reserved", json_boolean(e->is_reserved));
    json_object_set_new(j, "operation_type", cli_json_text(e->operation_type));
    json_object_set_new(j, "is_upgradable", json_boolean(e->is_upgradable));
    return j;
}

static json_t *section_json(const struct scatter_section *section)
{
    json_t *j = json_object(), *partitions = json_array();
    for (uint32_t i = 0; i < section->count; i++)
        json_array_append_new(partitions, entry_json(&section->entries[i]));
    json_object_set_new(j, "storage", cli_json_text(section->storage));
    json_object_set_new(j, "block_size", json_integer((json_int_t)section->block_bytes));
    json_object_set_new(j, "partitions", partitions);
    return j;
}

static json_t *scatter_json(const struct scatter *s)
{
    json_t *j = json_object(), *sections = json_array(), *warnings = json_array();
    for (uint32_t i = 0; i < s->section_count; i++)
        json_array_append_new(sections, section_json(&s->sections[i]));
    for (uint32_t i = 0; i < MIN_OF(s->warning_count, (uint32_t)SCATTER_WARNINGS_MAX); i++)
        json_array_append_new(warnings, cli_json_text(s->warnings[i]));
    json_object_set_new(j, "config_version", cli_json_text(s->config_version));
    json_object_set_new(j, "platform", cli_json_text(s->platform));
    json_object_set_new(j, "project", cli_json_text(s->project));
    json_object_set_new(j, "sections", sections);
    json_object_set_new(j, "warnings", warnings);
    return j;
}

static void section_print(const struct scatter_section *section)
{
    printf("\n%s, block size 0x%llx, %u partitions\n", cli_printable(section->storage),
           (unsigned long long)section->block_bytes, section->count);
    printf("%-7s %-16s %-24s %3s %12s %12s  %s\n", "index", "name", "file", "dl", "start", "size",
           "operation");
    for (uint32_t i = 0; i < section->count; i++) {
        const struct scatter_entry *e = &section->entries[i];
        printf("SYS%-4d %-16s %-24s %3s %12llx %12llx  %s%s\n", e->index, cli_printable(e->name),
               e->file_name[0] ? cli_printable(e->file_name) : "-", e->is_download ? "yes" : "-",
               (unsigned long long)e->start_bytes, (unsigned long long)e->size_bytes,
               cli_printable(e->operation_type), e->is_reserved ? ", from the end" : "");
    }
}

static void scatter_print(const struct scatter *s)
{
    printf("%s, platform %s, project %s\n", cli_printable(s->config_version),
           cli_printable(s->platform), cli_printable(s->project));
    for (uint32_t i = 0; i < s->section_count; i++)
        section_print(&s->sections[i]);
    for (uint32_t i = 0; i < MIN_OF(s->warning_count, (uint32_t)SCATTER_WARNINGS_MAX); i++)
        fprintf(stderr, "warning: %s\n", cli_printable(s->warnings[i]));
}

int scatter_show(const struct cli_command *self, int argc, char **argv)
{
    bool json = false;
    const struct cli_option options[] = {{"json", NULL, &json, 0}, {0}};
    if (cli_options_one(self, argc, argv, options, "one scatter file is needed") < 0)
        return CLI_USAGE;
    struct err err;
    AUTO(free_ptr) char *text = NULL;
    AUTO(scatter_free) struct scatter *s = NULL;
    size_t len;
    if (io_slurp(AT_FDCWD, argv[0], SCATTER_BYTES_MAX, &text, &len, &err) < 0)
        return cli_fail(&err, NULL);
    if (scatter_parse(span_of(text, len), &s, &err) < 0)
        return cli_fail(&err, "Use the vendor's own scatter file; editing one by hand breaks it.");
    if (json)
        cli_json_print(scatter_json(s));
    else
        scatter_print(s);
    return CLI_FINE;
}

/* ---- derive --------------------------------------------------------------------------------- */

/* "a,b=c.img" in place: picks point into `text`. Their number, -1 for an empty name or too many. */
static int picks_parse(char *text, struct scatter_pick picks[SCATTER_ENTRIES_MAX])
{
    int count = 0;
    for (char *word; (word = strsep(&text, ","));) {
        if (count == SCATTER_ENTRIES_MAX)
            return -1;
        char *image = strchr(word, '=');
        if (image)
            *image++ = '\0';
        if (!word[0] || (image && !image[0]))
            return -1;
        picks[count++] = (struct scatter_pick){word, image};
    }
    return count;
}

static const char *derive_advice(int code)
{
    if (code == ERR_NOT_FOUND)
        return "`flashrack scatter show` lists the names; partitions go by name, not by SYS "
               "number.";
    return code == ERR_FORMAT ? "Use the vendor's own scatter file." : NULL;
}

static bool same_file(const char *a, const char *b)
{
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

int scatter_derive_cmd(const struct cli_command *self, int argc, char **argv)
{
    const char *only = NULL, *section = NULL, *output = NULL;
    const struct cli_option options[] = {{"only", &only, NULL, 0},
                                         {"section", &section, NULL, 0},
                                         {"output", &output, NULL, 'o'},
                                         {0}};
    int n = cli_options(self, argc, argv, options);
    if (n < 0)
        return CLI_USAGE;
    if (n != 1 || !only || !output)
        return cli_usage(self, "a scatter file, --only and -o are needed");
    AUTO(free_ptr) char *names = xstrdup(only);
    struct scatter_pick picks[SCATTER_ENTRIES_MAX];
    int count = picks_parse(names, picks);
    if (count < 1)
        return cli_usage(self, "--only wants NAME or NAME=IMAGE, separated by commas");
    struct err err;
    AUTO(free_ptr) char *text = NULL;
    size_t len;
    if (same_file(argv[0], output)) {
        err_set(&err, ERR_INPUT, "'%s' is the original", output);
        return cli_fail(&err, "Give the copy another name: the vendor's own file is needed again.");
    }
    if (io_slurp(AT_FDCWD, argv[0], SCATTER_BYTES_MAX, &text, &len, &err) < 0)
        return cli_fail(&err, NULL);
    AUTO(buf_deinit) struct buf copy;
    buf_init(&copy, SCATTER_BYTES_MAX);
    int rc = scatter_derive(span_of(text, len), section, picks, (size_t)count, &copy, &err);
    if (rc >= 0)
        rc = new_file_write(output, buf_span(&copy), &err);
    return rc < 0 ? cli_fail(&err, derive_advice(rc)) : CLI_FINE;
}
