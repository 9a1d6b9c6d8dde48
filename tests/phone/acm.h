/* acm.h: the serial-port gadgets of the download path: boot ROM, preloader, and the download agent
 * after its speed switch. Descriptors and class requests; README.md, "USB identities of the
 * download path". */
#ifndef FLASHRACK_TESTS_PHONE_ACM_H
#define FLASHRACK_TESTS_PHONE_ACM_H

#include <stdatomic.h>

#include "tests/phone/board.h"

enum acm_kind { ACM_BROM, ACM_PRELOADER, ACM_AGENT };

#define ACM_DEVICE_BYTES      18
#define ACM_CONFIG_BYTES      67
#define ACM_LINE_CODING_BYTES 7

struct acm {
    struct gadget gadget; /* points into this struct: do not copy after acm_init() */
    uint8_t device[ACM_DEVICE_BYTES];
    uint8_t line_coding[ACM_LINE_CODING_BYTES]; /* USB thread only */
    atomic_bool tool; /* a host has set the line coding; switches on the preloader's READY */
};

void acm_init(struct acm *a, enum acm_kind kind);
/* For the agent's speed switch, which may ask for another id. Before the attach. */
void acm_id_set(struct acm *a, uint16_t vid, uint16_t pid);

#endif
