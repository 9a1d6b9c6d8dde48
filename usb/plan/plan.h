/* plan.h: everything a job may write, known before the first byte (law 3). flashrackd makes the plan from
 * recipe, package and backup; it reaches the worker in a sealed memfd; its SHA-256 is in the permit; the
 * worker's gate compares it with the phone and writes nothing else. */
#ifndef FLASHRACK_USB_PLAN_PLAN_H
#define FLASHRACK_USB_PLAN_PLAN_H

#include "usb/base/hash.h"
#include "usb/plan/phone_state.h"
#include "usb/plan/recipe.h"

enum { PLAN_WRITES_MAX = 128, PLAN_LAYOUT_MAX = 128, PLAN_IMEIS_MAX = 4 };

enum plan_class {
    PLAN_IDENTITY,    /* from the phone's own backup */
    PLAN_SERVICE_LK,  /* lk_service.img into the active slot */
    PLAN_COMMERCIAL,  /* from the package */
};

struct plan_write {
    char step[RECIPE_NAME_MAX];
    char partition[RECIPE_NAME_MAX];
    char image[RECIPE_NAME_MAX * 2]; /* name of the `file` message: backup/nvram, firmware/lk.img */
    enum plan_class write_class;
    char slot;              /* 'a' or 'b': only when this is the slot in question; 0: always */
    bool sparse;            /* Android sparse image: expanded by the worker */
    bool optional;
    uint64_t offset_bytes;  /* of the partition in USER, by the package's scatter */
    uint64_t partition_bytes;
    uint64_t size_bytes;    /* of the image when expanded */
    struct sha256 sha256;   /* of the file as it is; of an identity image also of what is on flash */
};

struct plan_extent { /* one entry of the scatter, as the phone's GPT must have it */
    char name[RECIPE_NAME_MAX];
    uint64_t offset_bytes, size_bytes; /* size 0: stretches (userdata and what follows it) */
};

struct plan {
    int64_t job_id;
    int run;                /* of this job, from 1; a later one takes up what those before it left */
    char chip_id[65];       /* the only phone that a later run may touch; empty: not known yet */
    struct phone_facts before; /* what the runs before left on the phone */
    char serial[32];
    size_t imei_count;
    char imeis[PLAN_IMEIS_MAX][20];
    char finish[16];        /* lk, upgrade */
    char accept[16];        /* scan, usb */
    char package_version[64];
    struct recipe recipe;
    size_t layout_count;
    struct plan_extent layout[PLAN_LAYOUT_MAX];
    size_t write_count;
    struct plan_write writes[PLAN_WRITES_MAX];
};

/* What the planner knows of the package: the catalogue entry's `detail` (usb/worker, run "firmware"). */
struct plan_inputs {
    int64_t job_id;
    int run;             /* 0: the first */
    const char *chip_id; /* NULL: not known */
    json_t *before;      /* phone_facts_encode(); NULL: nothing */
    const struct recipe *recipe;
    /* either may be NULL when the recipe wants none */
    json_t *package;     /* {name platform project version layout[] files[] upgrade[]} */
    json_t *backup;      /* the backup resource: partitions[{name size sha256 plausible reason}] */
    const char *serial, *finish, *accept;
    const char *const *imeis;
    size_t imei_count;
};

/* Checks that recipe, package and backup fit each other (platform, project, sizes, files, plausibility), lays out
 * every write, and proves that none is outside of what the laws allow (usb/plan/check.h). ERR_MISMATCH, ERR_FORMAT, ERR_REFUSED with a sentence for the operator; *failure is
 * set to the id of the failure (schema/failures.json) or left alone. */
int plan_build(const struct plan_inputs *in, struct plan *out, const char **failure,
               struct err *err);

/* Text form; the hash in permits is the SHA-256 of exactly these bytes. */
char *plan_encode(const struct plan *p, json_t *recipe_json);
int plan_decode(const char *text, size_t len, struct plan *out, struct err *err);

const char *plan_class_name(enum plan_class c);

#endif
