/* dump.h: read-back dumps ("Backup_0"): the partitions in them by name, out of a file, a stream out
 * of an archive, or a folder of files named like 13.proinfo.img. Memory does not depend on the
 * dump's size; holes are skipped. Facts: README.md, "Dumps". */
#ifndef FLASHRACK_USB_FORMAT_DUMP_H
#define FLASHRACK_USB_FORMAT_DUMP_H

#include "usb/base/input.h"
#include "usb/format/gpt.h"
#include "usb/format/plausible.h"
#include "usb/format/scatter.h"

enum dump_table { DUMP_PRIMARY, DUMP_BACKUP, DUMP_SCATTER, DUMP_FOLDER };
const char *dump_table_name(enum dump_table t); /* "primary", "backup", "scatter", "folder" */

struct dump_options {
    /* Where in the user area the file begins. 0: at its start, or found by the table in it. */
    uint64_t start_bytes;
    /* Used only when both GPTs are damaged or not in the file; NULL: then opening fails. The caller
     * asks for it explicitly: offsets of a scatter are right for one layout only. */
    const struct scatter_section *scatter;
};

struct dump_part {
    uint32_t number;
    char name[GPT_NAME_BYTES];
    bool safe_name; /* [A-Za-z0-9_.-] and the only one of its name: usable as a file name */
    uint64_t first_lba, last_lba, size_bytes;
    uint64_t expected_bytes; /* what it must have, 0 when not known: dump_expect() */
    int64_t offset_bytes;    /* in the source; negative: the dump begins behind it */
    bool known;              /* completeness is known: always, except in streams not read so far */
    bool complete;           /* the source holds all of it */
    uint64_t there_bytes;    /* how much of it, when not complete */
    struct input *own_input; /* folders: its file */
};

#define DUMP_WARNINGS_MAX 8

struct dump {
    struct input *in; /* NULL for folders */
    enum dump_table table;
    uint32_t sector_bytes;
    struct gpt gpt;      /* not for folders */
    int64_t delta_bytes; /* place in the source = place in the user area + delta */
    uint32_t count;
    struct dump_part parts[GPT_ENTRIES_MAX];
    uint32_t warning_count;
    char warnings[DUMP_WARNINGS_MAX][200];
};

/* Takes `in` over on success (closed by dump_close). */
int dump_open(struct input *in, const struct dump_options *options, struct dump **out,
              struct err *err);
void dump_close(struct dump **d); /* NULL-safe; usable with AUTO */

/* A dump made of single files, of a folder or an archive. `dump_folder_add` takes `in` over; names that are no partition files
 * are answered with 0, taken ones with 1, ERR_CONFLICT when a partition comes twice. */
struct dump *dump_folder_new(void);
int dump_folder_add(struct dump *d, const char *file_name, struct input *in, struct err *err);
/* The same for a file that lies within d->in, as in a tar. */
int dump_folder_place(struct dump *d, const char *file_name, uint64_t offset_bytes,
                      uint64_t size_bytes, struct err *err);
/* After the last file: places and sizes from the section. NULL: a warning that sizes are not
 * checked. */
void dump_expect(struct dump *d, const struct scatter_section *section);
/* "13.proinfo.img", "a/PROINFO.IMG", "proinfo.bin", "proinfo" -> "proinfo", number 14 or 0. */
bool dump_file_partition(const char *file_name, char out[GPT_NAME_BYTES], uint32_t *number_out);

const struct dump_part *dump_find(const struct dump *d, const char *name);
/* Parts in the order of the source: what a stream wants. Indices into parts[]. */
void dump_order(const struct dump *d, uint32_t order_out[GPT_ENTRIES_MAX]);
/* Feeds a partition to the sink; ERR_FORMAT "ends before ..." when it is not all there. */
int dump_read(struct dump *d, struct dump_part *part, input_sink_fn *sink, void *arg,
              struct err *err);
/* Judges a partition. Reads only what has a rule. A part that is cut short or of another size than
 * expected is judged, too: that is an answer, not an error. */
int dump_judge(struct dump *d, struct dump_part *part, struct plausible *out, struct err *err);
/* Reads a stream to its end, so that completeness of every part is known. Nothing to do for files.
 */
int dump_measure(struct dump *d, struct err *err);

#endif
