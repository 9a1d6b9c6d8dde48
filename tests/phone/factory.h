/* factory.h: how an emulated phone leaves the factory, and how it loses its identity. A phone is a
 * folder:
 *
 *   user.img boot1.img boot2.img rpmb.img   the eMMC areas, sparse files of the areas' sizes
 *   phone.json                              hardware that is not flash, and the label on its back
 *
 * The label is for people and test drivers; the firmware never reads it: what a booted phone
 * reports it finds on its flash (identity.h). See tests/phone/README.md, "Factory". */
#ifndef FLASHRACK_TESTS_PHONE_FACTORY_H
#define FLASHRACK_TESTS_PHONE_FACTORY_H

#include <stdint.h>

#include "tests/phone/board.h"
#include "usb/base/err.h"

/* The 64s are the same phones with the larger eMMC of the model: all that grows is userdata. */
enum factory_profile {
    PROFILE_MINI,
    PROFILE_TINY,
    PROFILE_FULL,
    PROFILE_MINI64,
    PROFILE_FULL64,
    PROFILE_COUNT
};
/* Whose partitions and images a profile has but for userdata: one of the first three. */
static inline enum factory_profile factory_profile_base(enum factory_profile profile)
{
    return profile == PROFILE_MINI64   ? PROFILE_MINI
           : profile == PROFILE_FULL64 ? PROFILE_FULL
                                       : profile;
}
const char *factory_profile_name(enum factory_profile profile);
/* ERR_INPUT when there is no such profile. */
int factory_profile_parse(const char *name, enum factory_profile *out, struct err *err);

struct phone_label {
    char serial[17];   /* PDA and 13 letters or digits */
    char imei[2][16];  /* pass the Luhn check, invented type code */
    char wlan_mac[18]; /* "02:5a:..", lower case */
    char bt_mac[18];
};

struct factory_phone {
    enum factory_profile profile;
    struct board_chip chip;
    uint64_t user_bytes, boot_bytes, rpmb_bytes; /* BOOT1 and BOOT2 are equally large */
    struct phone_label label;
};

struct factory_order {
    enum factory_profile profile;
    uint64_t seed;  /* the same seed and index give the same phone, byte for byte */
    unsigned index; /* 1 for 1-1, 2 for 1-2 ... */
    char slot; /* 'a', or 'b': updated over the air once, both slots hold firmware, b is active */
    const char *version; /* of the firmware, NULL: FACTORY_VERSION */
    const char *tac;     /* type code of the IMEIs, NULL: that of test equipment */
};
#define FACTORY_VERSION "PDA-1100-0-00WW-B01"
/* A version that systeminfo and phone.json can hold; ERR_INPUT. */
int factory_version_check(const char *version, struct err *err);
/* Eight digits; ERR_INPUT. */
int factory_tac_check(const char *tac, struct err *err);

/* Creates `dir` (its parent must exist) and the phone in it; ERR_CONFLICT when there is a phone
 * already. */
int factory_make_phone(const char *dir, const struct factory_order *order, struct err *err);
/* What phone.json says. ERR_NOT_FOUND when there is no phone. */
int factory_load_phone(const char *dir, struct factory_phone *out, struct err *err);

enum factory_loss {
    LOSS_FORMAT_DOWNLOAD, /* the accident of the guide: all erased, table and slot a written again
                           */
    LOSS_IDENTITY_ONLY,   /* only the identity partitions erased; slots, para and firmware as they
                             were */
};
/* Power must be off. Writes with the firmware version that the phone was made with. */
int factory_lose_identity(const char *dir, enum factory_loss loss, struct err *err);
/* Read-back of the first `bytes` of USER (0: all of it) into the sparse file `path`. */
int factory_read_back(const char *dir, const char *path, uint64_t bytes, struct err *err);
/* Copies the first `bytes` (0: all) of a file; holes stay holes. */
int factory_copy(const char *from, const char *to, uint64_t bytes, struct err *err);

#endif
