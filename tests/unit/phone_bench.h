/* phone_bench.h: one emulated phone in this process and the station's conversations with it over USB/IP, for tests
 * and benchmarks that lead them by hand. What fails, fails the test. */
#ifndef FLASHRACK_TESTS_UNIT_PHONE_BENCH_H
#define FLASHRACK_TESTS_UNIT_PHONE_BENCH_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/phone/firmware.h"
#include "tests/phone/hardware.h"
#include "usb/format/gpt.h"
#include "usb/proto/brom_session.h"
#include "usb/proto/da.h"

enum { PHONE_DA2_BYTES = 0x20000 };

struct phone_bench {
    char dir[32];
    struct rack *rack;
    struct board *phone;
    char host[32];
    uint16_t port;
    struct buf da1; /* with signature */
    uint8_t da2[PHONE_DA2_BYTES];
    struct firmware *firmware;
    struct span emi;
    struct record *record; /* not NULL: what passes goes there, too */
    struct replay *replay; /* not NULL: it answers in the place of the phone */
    /* Not NULL: the phone is on this kernel's bus (vhci), and this opens it. Set before phone_bench_up(). */
    int (*open)(struct transport **out, struct usb_identity *id_out, struct err *err);
};
extern struct phone_bench phone_bench;

struct phone_session {
    struct transport *transport;
    struct usb_identity id;
    struct link link;
    struct da da;
};

int phone_bench_up(enum factory_profile profile);
int phone_bench_down(void);
void phone_ok(int rc, const struct err *err);
void phone_expect_no_violations(struct board *b);
void phone_plug(struct board *b, bool brom);
/* Off, unplugged, keys free: as the next session wants it. */
void phone_put_away(struct board *b);
/* Takes the phone in its next identity, as soon as it is on the bus as `pid`. */
void phone_take(struct phone_session *s, uint16_t pid);
/* From the start sequence to the jump: DA1 is about to say C0. */
void phone_start_da1(struct phone_session *s, enum brom_stage stage);
int phone_send_da1(struct phone_session *s, struct err *err); /* the agent of the bench */
void phone_enter_da1(struct phone_session *s);                /* the jump */
/* From C0 to the command loop of DA2; or its last step. */
void phone_bring_up(struct phone_session *s);
void phone_start_da2(struct phone_session *s);
/* All of it. */
void phone_start_agent(struct phone_session *s, enum brom_stage stage);
void phone_read_table(struct phone_session *s, struct gpt *table);
/* Ends the agent and waits until it is off the bus: the next identity may have the same id. */
void phone_finish(struct phone_session *s, const struct xflash_shutdown *how);

#endif
