#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/cli/offline.h"
#include "usb/archive/stream.h"
#include "usb/base/hash.h"
#include "usb/base/io.h"
#include "usb/base/mem.h"
#include "usb/format/dump.h"

/* Options that say how to read a dump, and what reading it needs to stay open. */
struct source {
    const char *scatter_path, *offset_text;
    uint64_t offset_bytes;
    int fds[GPT_ENTRIES_MAX + 1];
    size_t fd_count;
    struct scatter *scatter;
    struct packed *packed; /* NULL: a plain file or a folder */
    struct dump *dump;
};

static void source_deinit(struct source *s)
{
    dump_close(&s->dump);
    packed_close(&s->packed);
    scatter_free(&s->scatter);
    while (s->fd_count)
        close(s->fds[--s->fd_count]);
}

/* ---- opening -------------------------------------------------------------------------------- */

static int scatter_load(struct source *s, struct err *err)
{
    AUTO(free_ptr) char *text = NULL;
    size_t len;
    int rc = io_slurp(AT_FDCWD, s->scatter_path, SCATTER_BYTES_MAX, &text, &len, err);
    if (rc >= 0)
        rc = scatter_parse(span_of(text, len), &s->scatter, err);
    return rc < 0 ? err_in(err, "'%s'", s->scatter_path) : 0;
}

/* What the options say; an error is one of usage. */
static int offset_parse(const struct source *s, uint64_t *out, struct err *err)
{
    *out = 0;
    if (!s->offset_text)
        return 0;
    char *end;
    *out = strtoull(s->offset_text, &end, 0);
    if (*end || end == s->offset_text || *out > INT64_MAX)
        return err_set(err, ERR_INPUT, "--offset '%s' is not a number of bytes", s->offset_text);
    return 0;
}

static int options_make(struct source *s, struct dump_options *out, struct err *err)
{
    *out = (struct dump_options){.start_bytes = s->offset_bytes};
    if (!s->scatter_path)
        return 0;
    int rc = scatter_load(s, err);
    if (rc < 0)
        return rc;
    out->scatter = scatter_section(s->scatter, NULL);
    if (!out->scatter)
        return err_set(err, ERR_INPUT, "'%s' has no section for EMMC", s->scatter_path);
    return 0;
}

static int folder_open(struct source *s, int dir_fd, struct err *err)
{
    DIR *dir = fdopendir(dup(dir_fd));
    if (!dir)
        return err_sys(err, ERR_IO, "read the folder");
    s->dump = dump_folder_new();
    int rc = 0;
    for (struct dirent *d; rc >= 0 && (d = readdir(dir));) {
        char name[GPT_NAME_BYTES];
        uint32_t number;
        if (!dump_file_partition(d->d_name, name, &number) || s->fd_count == GPT_ENTRIES_MAX)
            continue;
        int fd = openat(dir_fd, d->d_name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (fd < 0) {
            rc = err_sys(err, ERR_IO, "open '%s'", d->d_name);
            break;
        }
        s->fds[s->fd_count++] = fd;
        struct input *in = input_of_fd(fd, NULL);
        if (in) /* folders and the like are passed over */
            rc = dump_folder_add(s->dump, d->d_name, in, err);
    }
    closedir(dir);
    if (rc >= 0 && s->dump->count == 0)
        rc = err_set(err, ERR_FORMAT, "no files named like proinfo.img or 13.proinfo.img there");
    return rc < 0 ? rc : 0;
}

/* Single images, as somebody extracted and packed them again. */
static int images_open(struct source *s, struct err *err)
{
    int rc = 0;
    s->dump = dump_folder_new();
    for (size_t i = 0; rc >= 0 && i < s->packed->count; i++)
        rc = dump_folder_add(s->dump, s->packed->files[i].name, packed_input(s->packed, i), err);
    return rc;
}

/* A packed file holds a dump, or images of partitions: the largest file in it decides. */
static int file_open(struct source *s, int fd, const struct dump_options *options, struct err *err)
{
    char partition[GPT_NAME_BYTES];
    uint32_t number;
    struct input *in;
    if (archive_recognised(fd)) {
        int rc = packed_open(fd, &s->packed, err);
        if (rc < 0)
            return rc;
        if (dump_file_partition(s->packed->files[s->packed->largest].name, partition, &number))
            return images_open(s, err);
        in = packed_input(s->packed, s->packed->largest);
    } else {
        in = input_of_fd(fd, err);
    }
    int rc = in ? dump_open(in, options, &s->dump, err) : ERR_INPUT;
    if (rc < 0)
        input_close(&in);
    return rc;
}

static int source_open(struct source *s, const char *path, struct err *err)
{
    struct dump_options options;
    int rc = options_make(s, &options, err);
    if (rc < 0)
        return rc;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return err_sys(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "open '%s'", path);
    s->fds[s->fd_count++] = fd;
    struct stat st;
    if (fstat(fd, &st) < 0)
        return err_sys(err, ERR_IO, "'%s'", path);
    rc = S_ISDIR(st.st_mode) ? folder_open(s, fd, err) : file_open(s, fd, &options, err);
    if (rc < 0)
        return err_in(err, "'%s'", path);
    if (s->dump->table == DUMP_FOLDER)
        dump_expect(s->dump, options.scatter);
    return 0;
}

static void warnings_print(const struct dump *d)
{
    for (uint32_t i = 0; i < d->warning_count; i++)
        fprintf(stderr, "warning: %s\n", cli_printable(d->warnings[i]));
}

static const char advice_open[] =
    "A dump is SP Flash Tool's read-back of the whole user area, from address 0, or images named\n"
    "           like proinfo.img in a folder or an archive. Copy it again if it is damaged.";

/* ---- list ----------------------------------------------------------------------------------- */

static json_t *part_json(const struct dump_part *p, const struct plausible *judged)
{
    json_t *j = json_object();
    json_object_set_new(j, "number", json_integer(p->number));
    json_object_set_new(j, "name", cli_json_text(p->name));
    json_object_set_new(j, "first_lba", json_integer((json_int_t)p->first_lba));
    json_object_set_new(j, "last_lba", json_integer((json_int_t)p->last_lba));
    json_object_set_new(j, "size", json_integer((json_int_t)p->size_bytes));
    json_object_set_new(j, "complete", json_boolean(p->complete));
    json_object_set_new(j, "plausible", json_string(plausible_name(judged->verdict)));
    json_object_set_new(j, "reason", cli_json_text(judged->reason));
    return j;
}

static void list_json(const struct dump *d, const struct plausible *judged,
                      const struct set_judgement *set)
{
    json_t *j = json_object(), *warnings = json_array(), *parts = json_array(),
           *set_json = json_object();
    for (uint32_t i = 0; i < d->warning_count; i++)
        json_array_append_new(warnings, cli_json_text(d->warnings[i]));
    for (uint32_t i = 0; i < d->count; i++)
        json_array_append_new(parts, part_json(&d->parts[i], &judged[i]));
    json_object_set_new(set_json, "verdict", json_string(set_verdict_name(set->verdict)));
    json_object_set_new(set_json, "reason", cli_json_text(set->reason));
    json_object_set_new(set_json, "serial", cli_json_text_or_null(set->serial));
    json_object_set_new(j, "sector_size", json_integer(d->sector_bytes));
    json_object_set_new(j, "table", json_string(dump_table_name(d->table)));
    json_object_set_new(j, "warnings", warnings);
    json_object_set_new(j, "partitions", parts);
    json_object_set_new(j, "identity", set_json);
    cli_json_print(j);
}

static void list_print(const struct dump *d, const struct plausible *judged,
                       const struct set_judgement *set)
{
    printf("table: %s, sectors of %u bytes\n", dump_table_name(d->table), d->sector_bytes);
    printf("%3s %-16s %12s %10s  %-8s %-7s  %s\n", "no", "name", "first sector", "size", "whole",
           "fits", "why");
    for (uint32_t i = 0; i < d->count; i++) {
        const struct dump_part *p = &d->parts[i];
        printf("%3u %-16s %12llu %10s  %-8s %-7s  %s\n", p->number, cli_printable(p->name),
               (unsigned long long)p->first_lba, cli_bytes(p->size_bytes),
               p->complete ? "yes" : "NO", plausible_name(judged[i].verdict),
               cli_printable(judged[i].reason));
    }
    printf("\nidentity: %s: %s\n", set_verdict_name(set->verdict), cli_printable(set->reason));
    warnings_print(d);
}

/* Judges everything, in the order of the source. */
static int judge_all(struct dump *d, struct plausible *judged, struct err *err)
{
    uint32_t order[GPT_ENTRIES_MAX];
    bool was_unknown = d->in && d->in->size_bytes == INPUT_SIZE_UNKNOWN;
    dump_order(d, order);
    for (uint32_t i = 0; i < d->count; i++) {
        int rc = dump_judge(d, &d->parts[order[i]], &judged[order[i]], err);
        if (rc < 0)
            return rc;
    }
    int rc = dump_measure(d, err);
    for (uint32_t i = 0; rc >= 0 && was_unknown && i < d->count; i++)
        if (!d->parts[i].complete) /* a stream: its end came after the verdict */
            rc = dump_judge(d, &d->parts[i], &judged[i], err);
    return rc;
}

static void judge_set(const struct dump *d, const struct plausible *judged, const char *label,
                      struct set_judgement *out)
{
    struct set_item *items = xcalloc(d->count, sizeof(*items));
    for (uint32_t i = 0; i < d->count; i++)
        items[i] = (struct set_item){d->parts[i].name, judged[i]};
    plausible_set(items, d->count, label, out);
    free(items);
}

int dump_list(const struct cli_command *self, int argc, char **argv)
{
    AUTO(source_deinit) struct source s = {0};
    bool json = false;
    const char *label = NULL;
    const struct cli_option options[] = {{"scatter", &s.scatter_path, NULL, 0},
                                         {"offset", &s.offset_text, NULL, 0},
                                         {"serial", &label, NULL, 0},
                                         {"json", NULL, &json, 0},
                                         {0}};
    if (cli_options_one(self, argc, argv, options, "one dump is needed") < 0)
        return CLI_USAGE;
    struct err err;
    if (offset_parse(&s, &s.offset_bytes, &err) < 0)
        return cli_usage(self, "%s", err.text);
    int rc = source_open(&s, argv[0], &err);
    AUTO(free_ptr) struct plausible *judged = xcalloc(GPT_ENTRIES_MAX, sizeof(*judged));
    if (rc >= 0)
        rc = judge_all(s.dump, judged, &err);
    if (rc < 0)
        return cli_fail(&err, advice_open);
    struct set_judgement set;
    judge_set(s.dump, judged, label, &set);
    if (json)
        list_json(s.dump, judged, &set);
    else
        list_print(s.dump, judged, &set);
    return CLI_FINE;
}

/* ---- extract -------------------------------------------------------------------------------- */

enum { SUMS_BYTES_MAX = 1 << 20 };

struct extraction {
    struct dump_part *part;
    struct new_file file;
    struct sha256 sha256;
};

struct writing {
    int fd;
    uint64_t at;
    struct hasher *hasher;
};

/* Holes stay holes; the hash is of the logical contents. */
static int write_sink(void *arg, const uint8_t *data, uint64_t len, struct err *err)
{
    struct writing *w = arg;
    int rc = 0;
    if (data) {
        rc = io_pwrite(w->fd, data, (size_t)len, (int64_t)w->at, err);
        hasher_update(w->hasher, data, (size_t)len);
    } else {
        hasher_zeros(w->hasher, len);
    }
    w->at += len;
    return rc;
}

static int extract_one(struct dump *d, int dir_fd, struct extraction *x, struct err *err)
{
    AUTO(free_ptr) char *name = xasprintf("%s.img", x->part->name);
    int rc = new_file_open(dir_fd, name, &x->file, err);
    if (rc < 0)
        return rc;
    struct writing w = {x->file.fd, 0, hasher_new()};
    rc = dump_read(d, x->part, write_sink, &w, err);
    x->sha256 = hasher_finish(w.hasher);
    hasher_free(&w.hasher);
    if (rc >= 0 && ftruncate(x->file.fd, (off_t)x->part->size_bytes) < 0)
        rc = err_sys(err, ERR_IO, "write '%s'", name);
    return rc;
}

static bool extracted_now(const struct extraction *x, size_t count, const char *file, size_t len)
{
    for (size_t i = 0; i < count; i++) {
        AUTO(free_ptr) char *name = xasprintf("%s.img", x[i].part->name);
        if (strlen(name) == len && memcmp(name, file, len) == 0)
            return true;
    }
    return false;
}

/* Lines of an earlier extraction into the same folder, but of the files that are new. */
static int sums_keep(int dir_fd, int fd, const struct extraction *x, size_t count, struct err *err)
{
    enum { DIGEST = SHA256_HEX_BYTES - 1 };
    AUTO(free_ptr) char *text = NULL;
    int rc = io_slurp(dir_fd, "SHA256SUMS", SUMS_BYTES_MAX, &text, NULL, err);
    if (rc < 0)
        return rc == ERR_NOT_FOUND ? 0 : rc;
    for (char *line = text; *line && rc >= 0;) {
        size_t len = strcspn(line, "\n");
        size_t whole = len + (line[len] == '\n');
        if (len > DIGEST + 2 && !extracted_now(x, count, line + DIGEST + 2, len - DIGEST - 2))
            rc = io_write(fd, line, whole, err);
        line += whole;
    }
    return rc;
}

static int sums_write(int dir_fd, const struct extraction *x, size_t count, struct err *err)
{
    AUTO(new_file_deinit) struct new_file f = {0};
    int rc = new_file_open(dir_fd, "SHA256SUMS", &f, err);
    if (rc >= 0)
        rc = sums_keep(dir_fd, f.fd, x, count, err);
    for (size_t i = 0; rc >= 0 && i < count; i++) {
        char hex[SHA256_HEX_BYTES];
        sha256_hex(&x[i].sha256, hex);
        AUTO(free_ptr) char *line = xasprintf("%s  %s.img\n", hex, x[i].part->name);
        rc = io_write(f.fd, line, strlen(line), err);
    }
    return rc < 0 ? rc : new_file_commit(&f, err);
}

/* What a packed dump lacks shows only when it is read: without --only it is left out. */
static int extract_parts(struct dump *d, int dir_fd, bool only, struct extraction *x, size_t *count,
                         struct err *err)
{
    for (size_t i = 0; i < *count;) {
        int rc = extract_one(d, dir_fd, &x[i], err);
        bool left_out = rc == ERR_FORMAT && !only && x[i].part->known && !x[i].part->complete;
        if (rc < 0 && !left_out)
            return rc;
        if (!left_out) {
            i++;
            continue;
        }
        fprintf(stderr, "warning: %s\n", cli_printable(err->text));
        new_file_deinit(&x[i].file);
        --*count;
        memmove(&x[i], &x[i + 1], (*count - i) * sizeof(*x));
    }
    return *count ? 0 : err_set(err, ERR_FORMAT, "no whole partition in the dump");
}

/* Everything is written under temporary names before the first gets its final one. */
static int extract_all(struct dump *d, int dir_fd, bool only, struct extraction *x, size_t count,
                       struct err *err)
{
    int rc = extract_parts(d, dir_fd, only, x, &count, err);
    for (size_t i = 0; rc >= 0 && i < count; i++)
        rc = new_file_commit(&x[i].file, err);
    if (rc >= 0)
        rc = sums_write(dir_fd, x, count, err);
    for (size_t i = 0; i < count; i++)
        new_file_deinit(&x[i].file);
    return rc;
}

static int names_check(const struct dump *d, const char *only, struct err *err)
{
    AUTO(free_ptr) char *copy = xstrdup(only);
    char *rest = copy;
    for (char *name; (name = strsep(&rest, ","));)
        if (!dump_find(d, name))
            return err_set(err, ERR_NOT_FOUND, "no partition '%s' in the dump", name);
    return 0;
}

static bool in_list(const char *list, const char *name)
{
    size_t len = strlen(name);
    for (const char *at = list; at; at = strchr(at, ',')) {
        at += *at == ',';
        if (strncmp(at, name, len) == 0 && (at[len] == ',' || !at[len]))
            return true;
    }
    return false;
}

/* What to extract, in the order of the source. Without --only: all that is there as a whole. */
static int choose(struct dump *d, const char *only, bool identity, struct extraction *x,
                  size_t *count_out, struct err *err)
{
    uint32_t order[GPT_ENTRIES_MAX];
    size_t count = 0;
    dump_order(d, order);
    for (uint32_t i = 0; i < d->count; i++) {
        struct dump_part *p = &d->parts[order[i]];
        bool wanted = only ? in_list(only, p->name) : !identity || role_in_identity_set(p->name);
        if (!wanted)
            continue;
        if (!p->safe_name && only)
            return err_set(err, ERR_FORMAT, "'%s' cannot be a file name", p->name);
        if (!p->safe_name)
            fprintf(stderr, "warning: '%s' cannot be a file name: not extracted\n",
                    cli_printable(p->name));
        else if (only || p->complete || !p->known)
            x[count++].part = p;
    }
    *count_out = count;
    return count ? 0 : err_set(err, ERR_FORMAT, "no whole partition in the dump");
}

static int folder_make(const char *path, struct err *err)
{
    if (mkdir(path, 0755) < 0 && errno != EEXIST)
        return err_sys(err, ERR_IO, "make folder '%s'", path);
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? err_sys(err, ERR_IO, "open folder '%s'", path) : fd;
}

static int extract_to(struct dump *d, const char *only, bool identity, const char *output)
{
    struct err err;
    AUTO(free_ptr) struct extraction *x = xcalloc(GPT_ENTRIES_MAX, sizeof(*x));
    size_t count = 0;
    int rc = only ? names_check(d, only, &err) : 0;
    if (rc >= 0)
        rc = choose(d, only, identity, x, &count, &err);
    if (rc < 0)
        return cli_fail(&err, "`flashrack dump list` shows what is in it.");
    AUTO(fd_close) int dir_fd = folder_make(output, &err);
    if (dir_fd < 0)
        return cli_fail(&err, NULL);
    if (extract_all(d, dir_fd, only != NULL, x, count, &err) < 0)
        return cli_fail(&err,
                        "Nothing was left under a final name. `flashrack dump list` shows what "
                        "is whole.");
    return CLI_FINE;
}

int dump_extract(const struct cli_command *self, int argc, char **argv)
{
    AUTO(source_deinit) struct source s = {0};
    const char *only = NULL, *output = NULL;
    bool identity = false;
    const struct cli_option options[] = {
        {"output", &output, NULL, 'o'},      {"only", &only, NULL, 0},
        {"identity", NULL, &identity, 0},    {"scatter", &s.scatter_path, NULL, 0},
        {"offset", &s.offset_text, NULL, 0}, {0}};
    int n = cli_options(self, argc, argv, options);
    if (n < 0)
        return CLI_USAGE;
    if (n != 1 || !output || (only && identity))
        return cli_usage(self,
                         "a dump and -o are needed, and one of --only and --identity at most");
    struct err err;
    if (offset_parse(&s, &s.offset_bytes, &err) < 0)
        return cli_usage(self, "%s", err.text);
    if (source_open(&s, argv[0], &err) < 0)
        return cli_fail(&err, advice_open);
    warnings_print(s.dump);
    return extract_to(s.dump, only, identity, output);
}
