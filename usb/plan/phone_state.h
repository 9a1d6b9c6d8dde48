/* phone_state.h: what a phone is left as. Worker and station tell it by one pure function from the same events: what
 * was journaled about every extent before and after bytes went to the phone. usb/recipe/README.md, "phone_state". */
#ifndef FLASHRACK_USB_PLAN_PHONE_STATE_H
#define FLASHRACK_USB_PLAN_PHONE_STATE_H

#include <jansson.h>

#include "usb/base/err.h"
#include "usb/base/hash.h"

enum { PHONE_EXTENTS_MAX = 136, PHONE_NAME_MAX = 40 }; /* a plan's writes and the start */

/* In the order in which a restore touches them. */
enum phone_kind {
    PHONE_IDENTITY,   /* identity, through the download agent */
    PHONE_SERVICE_LK, /* the service bootloader */
    PHONE_NVRAM,      /* identity that only the service bootloader writes */
    PHONE_COMMERCIAL, /* from the package */
    PHONE_EXTRA,      /* optional identity, beside the nvram */
    PHONE_START,      /* no extent: the phone was let start; from then on it writes by itself */
};

enum phone_phase {
    PHONE_INTENT,   /* bytes may be on their way: the extent may be torn */
    PHONE_SENT,     /* the phone said that it has them; of a start: Android was seen */
    PHONE_VERIFIED, /* read back and equal; of a start: accepted */
    PHONE_DIFFERS,  /* a resumed job read something else there */
};

const char *phone_kind_name(enum phone_kind kind);
const char *phone_phase_name(enum phone_phase phase);
/* False: no such name. */
bool phone_kind_parse(const char *name, enum phone_kind *out);
bool phone_phase_parse(const char *name, enum phone_phase *out);

struct phone_extent {
    enum phone_kind kind;
    enum phone_phase phase;         /* the latest */
    char partition[PHONE_NAME_MAX]; /* empty for a start */
    uint64_t length_bytes;          /* of the stream; 0: not known */
    struct sha256 sha256;           /* of the stream, when it was sent or verified */
};

/* All that is known of one phone within one job, over all its runs. */
struct phone_facts {
    size_t count;
    enum phone_kind last; /* kind of the latest intent */
    struct phone_extent extents[PHONE_EXTENTS_MAX];
};

/* Takes in one event; events come in the order in which they were journaled. */
void phone_facts_note(struct phone_facts *f, const struct phone_extent *event);
/* NULL: never touched. */
const struct phone_extent *phone_facts_find(const struct phone_facts *f, enum phone_kind kind,
                                            const char *partition);
/* Was the phone let start, and nothing written to it since? */
bool phone_facts_started(const struct phone_facts *f);
/* One of the words of README "phone_state". */
const char *phone_state(const struct phone_facts *f);

/* [{kind phase partition length sha256}], in the order of the first touch, the latest intent's kind last. */
json_t *phone_facts_encode(const struct phone_facts *f);
/* Takes in a list of such events. ERR_FORMAT. */
int phone_facts_decode(json_t *list, struct phone_facts *out, struct err *err);

/* What a person is told of a phone in this state; of an unknown word what is safe. */
const char *phone_state_advice(const char *state);
/* May a phone in this state be given away (law 5)? */
bool phone_state_releasable(const char *state);

#endif
