#include "usb/format/roles.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "usb/base/mem.h"

#define ID   ROLE_IDENTITY
#define DEV  ROLE_DEVICE
#define MOD  ROLE_MODEL
#define OWN  RESTORE_OWN
#define PACK RESTORE_PACKAGE
#define NOT  RESTORE_NEVER

/* name, class, restore, contents, identity set, required, donor */
static const struct role table[] = {
    /* what makes this phone this phone */
    {"proinfo", ID, OWN, CONTENTS_PROINFO, true, true, false},
    {"nvram", ID, OWN, CONTENTS_NVRAM, true, true, false},
    {"nvcfg", ID, OWN, CONTENTS_EXT4, true, true, false},
    {"protect1", ID, OWN, CONTENTS_EXT4, true, true, false},
    {"protect2", ID, OWN, CONTENTS_EXT4, true, true, false},
    {"nvdata", ID, OWN, CONTENTS_EXT4, true, false, false},
    {"persist", ID, OWN, CONTENTS_EXT4, true, false, false},
    {"elabel", MOD, OWN, CONTENTS_ELABEL, true, false, true},
    /* made with a key of the chip: kept as evidence, never written */
    {"seccfg", ID, NOT, CONTENTS_SECCFG, true, false, false},
    /* needed to undo a job */
    {"para", DEV, NOT, CONTENTS_PARA, true, false, false},
    {"systeminfo", MOD, PACK, CONTENTS_SYSTEMINFO, true, false, false},
    {"lk", MOD, PACK, CONTENTS_LK, true, false, false},
    {"pgpt", MOD, NOT, CONTENTS_ANY, true, false, false},
    {"sgpt", MOD, NOT, CONTENTS_ANY, true, false, false},
    {"boot1", MOD, NOT, CONTENTS_ANY, true, false, false},
    {"boot2", MOD, NOT, CONTENTS_ANY, true, false, false},
    /* bound to this phone, left as they are */
    {"boot_para", DEV, NOT, CONTENTS_ANY, false, false, false},
    {"expdb", DEV, NOT, CONTENTS_ANY, false, false, false},
    {"frp", DEV, NOT, CONTENTS_ANY, false, false, false},
    {"md_udc", DEV, NOT, CONTENTS_ANY, false, false, false},
    {"metadata", DEV, NOT, CONTENTS_ANY, false, false, false},
    {"sec1", DEV, NOT, CONTENTS_ANY, false, false, false},
    {"efuse", DEV, NOT, CONTENTS_ANY, false, false, false},
    {"otp", DEV, NOT, CONTENTS_ANY, false, false, false},
    {"flashinfo", DEV, NOT, CONTENTS_ANY, false, false, false},
    {"sutinfo", DEV, NOT, CONTENTS_ANY, false, false, false},
    {"box", DEV, NOT, CONTENTS_ANY, false, false, false},
    {"userdata", ROLE_USER, NOT, CONTENTS_ANY, false, false, false},
    {"cache", ROLE_USER, NOT, CONTENTS_ANY, false, false, false},
    /* firmware */
    {"preloader", MOD, PACK, CONTENTS_ANY, false, false, false},
    {"lk2", MOD, PACK, CONTENTS_LK, false, false, false},
    {"cda", MOD, PACK, CONTENTS_ANY, false, false, false},
    {"logo", MOD, PACK, CONTENTS_ANY, false, false, false},
    {"md1img", MOD, PACK, CONTENTS_ANY, false, false, false},
    {"spmfw", MOD, PACK, CONTENTS_ANY, false, false, false},
    {"scp", MOD, PACK, CONTENTS_ANY, false, false, false},
    {"sspm", MOD, PACK, CONTENTS_ANY, false, false, false},
    {"cam_vpu1", MOD, PACK, CONTENTS_ANY, false, false, false},
    {"cam_vpu2", MOD, PACK, CONTENTS_ANY, false, false, false},
    {"cam_vpu3", MOD, PACK, CONTENTS_ANY, false, false, false},
    {"gz", MOD, PACK, CONTENTS_ANY, false, false, false},
    {"boot", MOD, PACK, CONTENTS_ANY, false, false, false},
    {"recovery", MOD, PACK, CONTENTS_ANY, false, false, false},
    {"dtbo", MOD, PACK, CONTENTS_ANY, false, false, false},
    {"odmdtbo", MOD, PACK, CONTENTS_ANY, false, false, false},
    {"tee", MOD, PACK, CONTENTS_ANY, false, false, false},
    {"vbmeta", MOD, PACK, CONTENTS_ANY, false, false, false},
    {"vendor", MOD, PACK, CONTENTS_ANY, false, false, false},
    {"system", MOD, PACK, CONTENTS_ANY, false, false, false},
};
static const struct role unknown = {"", ROLE_UNKNOWN, NOT, CONTENTS_ANY, false, false, false};

const char *const role_identity_names[] = {
    "proinfo", "nvram",  "nvcfg", "protect1",     "protect2",     "nvdata", "persist",
    "elabel",  "seccfg", "para",  "systeminfo_a", "systeminfo_b", "lk_a",   "lk_b",
    "pgpt",    "sgpt",   "boot1", "boot2",        NULL,
};

bool role_same_name(const char *a, const char *b)
{
    return strcasecmp(a, b) == 0;
}

static const struct role *row_of(const char *name, size_t len)
{
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        if (strlen(table[i].name) == len && strncasecmp(table[i].name, name, len) == 0)
            return &table[i];
    return NULL;
}

char role_slot(const char *name)
{
    size_t len = strlen(name);
    char slot = len > 2 && name[len - 2] == '_' ? (char)tolower((unsigned char)name[len - 1]) : 0;
    return slot == 'a' || slot == 'b' ? slot : 0;
}

const struct role *role_of(const char *name)
{
    const struct role *row = row_of(name, strlen(name));
    if (!row && role_slot(name))
        row = row_of(name, strlen(name) - 2);
    return row ? row : &unknown;
}

bool role_in_identity_set(const char *name)
{
    return role_of(name)->identity_set;
}

bool role_is_protected(const char *name)
{
    return role_of(name)->restore != RESTORE_PACKAGE;
}

const char *role_class_name(enum role_class c)
{
    static const char *const names[] = {"unknown", "identity", "device", "model", "user"};
    return names[c];
}
