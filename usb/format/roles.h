/* roles.h: the one table of what each partition is: whose it is, how it may come back, how its
 * contents are judged. Source: README.md, "Partition roles". */
#ifndef FLASHRACK_USB_FORMAT_ROLES_H
#define FLASHRACK_USB_FORMAT_ROLES_H

#include <stdbool.h>
#include <stddef.h>

enum role_class {
    ROLE_UNKNOWN,  /* not in the table: left alone */
    ROLE_IDENTITY, /* unique, must come from this very phone */
    ROLE_DEVICE,   /* bound to this phone, made again by it */
    ROLE_MODEL,    /* the same on all phones of a model and firmware */
    ROLE_USER,
};
enum role_restore {
    RESTORE_NEVER,   /* left as it is */
    RESTORE_OWN,     /* from the phone's own backup only */
    RESTORE_PACKAGE, /* from the firmware package */
};
enum role_contents {
    CONTENTS_ANY,
    CONTENTS_EXT4,
    CONTENTS_PROINFO,
    CONTENTS_NVRAM,
    CONTENTS_ELABEL,
    CONTENTS_SECCFG,
    CONTENTS_PARA,
    CONTENTS_SYSTEMINFO,
    CONTENTS_LK
};

struct role {
    const char *name; /* without slot suffix */
    enum role_class class;
    enum role_restore restore;
    enum role_contents contents;
    bool identity_set; /* read, stored and committed before the first write */
    bool required;     /* an identity set without it cannot restore a phone */
    bool donor_ok;     /* another phone of the model may give it */
};

/* Two spellings of one partition? Old scatter files (V1.1.1) write names in capitals. */
bool role_same_name(const char *a, const char *b);
/* Role of a partition or area, in any case; _a and _b are cut off when the whole name has no row. Never NULL:
 * unknown names get a row of class ROLE_UNKNOWN. */
const struct role *role_of(const char *name);
bool role_in_identity_set(const char *name);
/* True for partitions that no firmware plan may ever touch, whatever a scatter says. */
bool role_is_protected(const char *name);
/* The identity set by name: partitions of the user area, then "pgpt", "sgpt", "boot1", "boot2". lk
 * and systeminfo stand with both slots. NULL-terminated. */
extern const char *const role_identity_names[];
/* 'a' or 'b' for x_a and x_b (or X_A and X_B), else 0. */
char role_slot(const char *name);
const char *
role_class_name(enum role_class c); /* "identity", "device", "model", "user", "unknown" */

#endif
