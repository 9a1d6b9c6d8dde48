/* serial.h: the numbers on a phone's label: serial, IMEI, and the dm-verity code made of the
 * serial. Nothing here makes up, edits or reads an IMEI out of a phone. Rules: README.md, "Identity
 * numbers". */
#ifndef FLASHRACK_USB_FORMAT_SERIAL_H
#define FLASHRACK_USB_FORMAT_SERIAL_H

#include <stdint.h>

#include "usb/base/buf.h"
#include "usb/base/err.h"
#include "usb/base/hash.h"
#include "usb/base/span.h"

#define SERIAL_LENGTH      16
#define SERIAL_BYTES       65                 /* room for whatever stands in proinfo */
#define SERIAL_PROJECT_X5  "PDA"              /* project code of Nokia X5 / 5.1 Plus serials */
#define SERIAL_LK_DEFAULT  "0123456789ABCDEF" /* what LK reports when proinfo is lost */
#define PROINFO_HEAD_BYTES 64

enum serial_verdict {
    SERIAL_VALID,
    SERIAL_EMPTY,
    SERIAL_IMEI,        /* fifteen digits that pass the Luhn check, or IMEISV */
    SERIAL_PLACEHOLDER, /* LK's default, all-equal characters */
    SERIAL_LOWER_CASE,  /* right except for its case */
    SERIAL_MALFORMED,
};

struct serial_check {
    enum serial_verdict verdict;
    char reason[200]; /* empty when valid; else what is wrong and what to do, for an operator */
    char dm_verity_code[MD5_HEX_BYTES]; /* empty unless valid */
};

/* `project` is the three letters the serial must start with. Fills *out always. */
void serial_check(const char *serial, const char *project, struct serial_check *out);
/* MD5 of the serial's characters, 32 upper-case digits. The caller has checked the serial. */
void serial_dm_verity_code(const char *serial, char out[MD5_HEX_BYTES]);

enum serial_match { SERIAL_SAME, SERIAL_CONFUSABLE, SERIAL_DIFFERENT };
/* SERIAL_CONFUSABLE: equal but for one pair of look-alikes (O 0, I 1, S 5, B 8); then a re-scan is
 * asked for. `at_out` (may be NULL) is the 1-based position. Case is not ignored. */
enum serial_match serial_compare(const char *a, const char *b, int *at_out);

enum imei_verdict { IMEI_VALID, IMEI_MALFORMED, IMEI_BAD_CHECK_DIGIT, IMEI_PLACEHOLDER };
enum imei_verdict imei_check(const char *imei, char *reason, size_t reason_max);
bool imei_luhn_ok(const char *digits15);

/* Serial at offset 0 of proinfo, NUL padded to 64 bytes. ERR_FORMAT when those bytes are not
 * printable text followed by NULs only. An empty serial is returned as "". */
int proinfo_serial(struct span head, char out[SERIAL_BYTES], struct err *err);
/* The first 64 bytes of a proinfo partition (the emulated phone's factory writes them). */
void proinfo_encode(const char *serial, struct buf *out);

#endif
