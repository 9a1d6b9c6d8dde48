/* script.h: a transport whose phone is a transcript. It holds the host to the letter: every OUT
 * transfer must be the next `>` line, byte for byte and boundary for boundary, and only after
 * everything the phone had said was read. What the phone says is cut into USB transfers in one of
 * the ways that genuine drivers cut. */
#ifndef FLASHRACK_TESTS_SCRIPT_H
#define FLASHRACK_TESTS_SCRIPT_H

#include "tests/transcript/transcript.h"
#include "usb/transport/transport.h"

enum script_model {
    SCRIPT_FIELD,    /* each field one transfer */
    SCRIPT_BUFFERED, /* up to 12 bytes: a transfer a byte; longer: pieces of 0xFC00, empty ones
                        between */
    SCRIPT_EXACT,    /* the pieces alone */
};
struct script {
    struct transport transport;
    const struct transcript *transcript;
    enum script_model model;
    size_t line; /* next one */
    size_t at;   /* bytes of the phone's line that were given */
    bool empty_due;
    char broke[256]; /* what the host did that the transcript does not say; "" */
};
void script_init(struct script *s, const struct transcript *t, enum script_model model);
/* True when the whole transcript was played; else `broke` says what was wrong. */
bool script_done(struct script *s);

#endif
