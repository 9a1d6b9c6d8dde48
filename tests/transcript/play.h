/* play.h: one conversation, spoken by our host against a scripted phone (script.h), in all the ways in which a
 * phone's USB driver may cut its answers. */
#ifndef FLASHRACK_TESTS_PLAY_H
#define FLASHRACK_TESTS_PLAY_H

#include "tests/unit/rows.h"

#include "tests/transcript/script.h"
#include "usb/proto/brom_session.h"
#include "usb/proto/da.h"
#include "usb/proto/fb.h"

struct play {
    struct transcript *t;
    struct script script;
    struct link link;
    struct da da;
    struct fb fb;
    struct err err;
};
struct play_row {
    const char *name; /* file below this folder, without ".txt" */
    int (*play)(struct play *p);
    int want;  /* code of the play */
    bool dead; /* the link must be lost afterwards, or must not */
};
/* A cmocka test of one row. Fastboot answers are whole transfers, so they are played in one way only. */
void play_test(void **state);
/* Fails when a transcript of `folder` ("" or "/host") has no row. */
void play_all_have_rows(const char *folder, const struct play_row *rows, size_t count);

/* A stream from or to memory that may stop. */
struct flow {
    struct buf bytes;
    size_t at, stop_at; /* stop_at: stopped there; 0: never. A sink stops at its first byte */
};
int flow_sink(void *arg, const void *data, size_t len, struct err *err);
int flow_source(void *arg, void *dst, size_t len, struct err *err);

#endif
