/* firmware.h: a vendor's firmware package: what it is, everything wrong with it, and what each way
 * of downloading it would write. Works on a list of names and a function that opens them, so that
 * the same code runs on a folder and on a worker's descriptors. Rules: README.md, "Packages". */
#ifndef FLASHRACK_USB_FORMAT_FIRMWARE_H
#define FLASHRACK_USB_FORMAT_FIRMWARE_H

#include "usb/base/hash.h"
#include "usb/base/input.h"
#include "usb/format/scatter.h"
#include "usb/format/systeminfo.h"

/* What packages of one phone model must be. A new model is a new value, not an `if`. */
struct firmware_model {
    const char *platform; /* "MT6771" */
    uint16_t da_code;     /* 0x6771 */
    const char *project;  /* "PDA": of serials, versions, scatter */
    const char *
        generic_project; /* start of the chip vendor's build name, which real packages carry, too */
};
extern const struct firmware_model FIRMWARE_MODEL_X5;

#define FIRMWARE_NAME_BYTES 256
#define FIRMWARE_FILES_MAX  512
#define FIRMWARE_IMAGES_MAX SCATTER_ENTRIES_MAX

/* The package as it lies there. Names are relative, '/' between folders. */
struct firmware_source {
    const char *name;         /* of the folder or archive: versions stand in it */
    const char *const *names; /* UTF-8 */
    size_t count;
    const char *const *left_out; /* files that are not looked at, as their names can be shown */
    size_t left_out_count;
    /* ERR_NOT_FOUND, or what opening says. The caller closes. */
    int (*open)(void *arg, const char *name, struct input **out, struct err *err);
    void *arg;
};

enum firmware_severity { FIRMWARE_WARNING, FIRMWARE_ERROR };
struct firmware_problem {
    enum firmware_severity severity;
    const char *code;                /* "image_missing": static */
    char where[FIRMWARE_NAME_BYTES]; /* file or partition, may be empty */
    char what[300], advice[200];
};
#define FIRMWARE_PROBLEMS_MAX 128

struct firmware_file {
    char name[FIRMWARE_NAME_BYTES];
    uint64_t size_bytes;
    bool hashed;
    struct sha256 sha256;
    /* Android sparse: */
    bool sparse;
    uint64_t expanded_bytes; /* of what reaches the phone; equals size_bytes when not sparse */
    bool sound;              /* read to its end without a fault */
};

enum firmware_action { FIRMWARE_WRITE, FIRMWARE_KEEP };
struct firmware_step {
    const struct scatter_entry *entry;
    enum firmware_action action;
    const struct firmware_file *file; /* NULL when kept */
    const char *area;                 /* "user": nothing is written to the boot areas */
    /* What would be written: start in the area, expanded size of the image, which need not be a
     * multiple of the sector size; whoever writes pads the last sector with zeros. */
    struct extent extent;
    const char *why; /* static text for operators */
};
struct firmware_plan {
    uint32_t count;
    struct firmware_step steps[SCATTER_ENTRIES_MAX];
    uint64_t write_bytes;
};

struct firmware {
    char name[FIRMWARE_NAME_BYTES];
    char platform[32], project[64];
    struct fw_version version;        /* text "" when not known */
    char prefix[FIRMWARE_NAME_BYTES]; /* folder of the scatter file and its images, "" or "x/" */
    char scatter_name[FIRMWARE_NAME_BYTES], da_name[FIRMWARE_NAME_BYTES];
    char preloader_name[FIRMWARE_NAME_BYTES], service_lk_name[FIRMWARE_NAME_BYTES];
    char lk_name[FIRMWARE_NAME_BYTES], auth_name[FIRMWARE_NAME_BYTES];
    struct scatter *scatter;
    const struct scatter_section *section; /* of the phone's storage */
    uint32_t file_count;
    struct firmware_file *files; /* all of the package, as listed */
    uint32_t problem_count;      /* may be more than are kept */
    struct firmware_problem problems[FIRMWARE_PROBLEMS_MAX];
    bool usable; /* no problem of severity error */
    struct firmware_plan download_only, upgrade;
};

struct firmware_options {
    const struct firmware_model *model;
    const char *storage; /* "EMMC" */
    bool read_all;       /* hash every file, unfold every sparse image, compare checksum lists */
};
/* Looks at everything and goes on after each problem. Fails (negative) only when the package cannot
 * be looked at, not when it is bad: that is problems[] and `usable`. */
int firmware_check(const struct firmware_source *source, const struct firmware_options *options,
                   struct firmware **out, struct err *err);
void firmware_free(struct firmware **f);
/* A file as the scatter names it, or by its whole name in the package; NULL. */
const struct firmware_file *firmware_file(const struct firmware *f, const char *name);

/* ---- gates: may this package go onto this phone? (README.md, "Gates") ----------------------- */

enum gate_action { GATE_PASS, GATE_WARN, GATE_CONFIRM, GATE_REFUSE };
/* Below it LK refuses downloads soon; the download agent tells the voltage only [rec]. */
#define GATE_BATTERY_LEAST_MV 3600
struct gate_phone {
    const struct fw_version *version; /* NULL: could not be read */
    const char *project;              /* first three characters of its serial */
    int battery_percent;              /* -1: not known */
    uint32_t battery_mv;              /* 0: not known */
};
struct gate_result {
    const char *id; /* "V1" .. "V6" */
    enum gate_action action;
    char text[200]; /* empty when passed */
};
#define FIRMWARE_GATES 6
const char *gate_action_name(enum gate_action a); /* pass, warn, confirm, refuse */
/* All six rules in order; returns the strictest action. */
enum gate_action firmware_gates(const struct fw_version *package, const struct gate_phone *phone,
                                struct gate_result out[FIRMWARE_GATES]);

/* ---- pieces, for the parts of the check and for tests --------------------------------------- */

/* Adds a problem; both texts may be formatted (what) or static (advice). */
void firmware_problem(struct firmware *f, enum firmware_severity severity, const char *code,
                      const char *where, const char *advice, const char *fmt, ...)
    __attribute__((format(printf, 6, 7)));
/* Fills both plans from scatter and files; refusals become problems. */
void firmware_plan_make(struct firmware *f);

/* One line of a checksum list, the name with '/' between folders ("<digest> *name", "name=<digest>", "MD5 (name) = <digest>"). False
 * for lines that are none. digest is lower case, 32 (MD5) or 64 (SHA-256) digits. */
struct checksum_line {
    char name[FIRMWARE_NAME_BYTES];
    char digest[SHA256_HEX_BYTES];
};
bool checksum_line_parse(struct span line, struct checksum_line *out);

#endif
