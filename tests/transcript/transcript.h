/* transcript.h: reads the conversations of this folder; the format is in README.md. Used by the
 * replay against our host and by the one against the emulated phone. */
#ifndef FLASHRACK_TESTS_TRANSCRIPT_H
#define FLASHRACK_TESTS_TRANSCRIPT_H

#include "usb/base/buf.h"

enum transcript_kind {
    TRANSCRIPT_HOST,    /* >  one OUT transfer */
    TRANSCRIPT_PHONE,   /* <  one field */
    TRANSCRIPT_CONTROL, /* C> setup and OUT data */
};
struct transcript_line {
    enum transcript_kind kind;
    int number; /* in the file */
    uint8_t *data;
    size_t len;
};
struct transcript_head {
    char *key, *value;
};
struct transcript {
    char *name; /* file name without folder and ".txt" */
    struct transcript_head *heads;
    size_t head_count;
    struct transcript_line *lines;
    size_t line_count;
};

int transcript_load(const char *path, struct transcript **out, struct err *err);
void transcript_free(struct transcript **t); /* NULL-safe, clears *t */

/* Value of the n-th head line with this key (n from 0), NULL when there is none. */
const char *transcript_value(const struct transcript *t, const char *key, size_t n);
/* The first one as a number, decimal or 0x; `fallback` when there is none. */
uint64_t transcript_number(const struct transcript *t, const char *key, uint64_t fallback);
/* Hex digits, "text" and [linear M A N] into bytes; used for lines and for @content, @after values. */
int transcript_bytes(const char *text, struct buf *out, struct err *err);
/* "USER 0x0 [linear 7 3 1024]" of @content and @after. */
int transcript_place(const char *value, char area[16], uint64_t *address_out, struct buf *bytes_out,
                     struct err *err);

#endif
