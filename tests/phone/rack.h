/* rack.h: the phones of one program run: state folders, servers, hands, in the order in which they
 * have to start and end. */
#ifndef FLASHRACK_TESTS_PHONE_RACK_H
#define FLASHRACK_TESTS_PHONE_RACK_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/phone/factory.h"
#include "usb/base/err.h"

enum { RACK_PHONES_MAX = 128 };

struct rack_order {
    const char *listen, *state, *control; /* control: NULL for none */
    unsigned phones;
    enum factory_profile profile; /* of phones that do not exist yet, like seed, slot, version, tac */
    uint64_t seed;
    char slot;
    const char *version; /* of their firmware, NULL: FACTORY_VERSION */
    const char *tac;     /* of their IMEIs, NULL: that of test equipment */
    bool hands, vhci;
    double hands_speed;
    const char *const *faults; /* "1-3:unplug@transfer=120" */
    size_t fault_count;
    const char *const *settings; /* "1-3:usb_model=exact", or without a bus id for all */
    size_t setting_count;
};

struct rack;
int rack_start(const struct rack_order *order, struct rack **out, struct err *err);
const char *rack_address(const struct rack *r);
struct board **rack_boards(struct rack *r, size_t *count_out);
/* By bus id, NULL when there is none. */
struct board *rack_find(const struct rack *r, const char *name);
/* "PHONE:rest": *rest_out, and the phone; without "PHONE:" before any "=" the phone is NULL. ERR_NOT_FOUND. */
int rack_parse_target(const struct rack *r, const char *text, struct board **board_out,
                      const char **rest_out, struct err *err);
void rack_stop(struct rack **r);

#endif
