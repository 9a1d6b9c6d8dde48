/* fastboot.h: the text protocol of Android bootloaders (LK on MediaTek). A command is one OUT
 * transfer of at most 64 bytes, a response one IN transfer: four letters and text. See
 * usb/codec/README.md, "Fastboot". */
#ifndef FLASHRACK_USB_CODEC_FASTBOOT_H
#define FLASHRACK_USB_CODEC_FASTBOOT_H

#include "usb/base/buf.h"

/* Interface triple: the only way to know a fastboot interface. */
#define FASTBOOT_USB_CLASS    0xff
#define FASTBOOT_USB_SUBCLASS 0x42
#define FASTBOOT_USB_PROTOCOL 0x03

#define FASTBOOT_COMMAND_MAX                                                                       \
    64 /* LK reads exactly this; what is longer would be a second command */
#define FASTBOOT_KIND_BYTES      4   /* OKAY and its like, before the text */
#define FASTBOOT_RESPONSE_MAX    256 /* today's limit; LK keeps to 63 */
#define FASTBOOT_LK_RESPONSE_MAX 63  /* longer texts are cut there */
#define FASTBOOT_LK_READ_BYTES                                                                     \
    16384 /* request size of LK's data phase: a short transfer ends it                             \
           */

/* A command as sent: verb, and what follows the first ':' (`oem ...` has no separator; its argument
 * is what follows the blank). */
struct fastboot_command {
    char text[FASTBOOT_COMMAND_MAX + 1]; /* the whole command */
    char verb[FASTBOOT_COMMAND_MAX + 1]; /* "getvar", "download", "oem", ... */
    char argument[FASTBOOT_COMMAND_MAX + 1];
};
/* One transfer of a host; printable ASCII only. */
int fastboot_command_decode(struct span in, struct fastboot_command *out, struct err *err);
/* "verb:argument", or the verb alone when argument is NULL, or "oem argument". ERR_INPUT when it
 * would not fit or holds anything but printable ASCII. */
int fastboot_command_encode(const char *verb, const char *argument, struct buf *out,
                            struct err *err);
/* `download:%08x`; decode reads the argument back. */
int fastboot_download_encode(uint32_t size_bytes, struct buf *out, struct err *err);
int fastboot_download_decode(const struct fastboot_command *command, uint32_t *size_bytes_out,
                             struct err *err);

enum fastboot_kind {
    FASTBOOT_OKAY,
    FASTBOOT_FAIL,
    FASTBOOT_INFO,
    FASTBOOT_TEXT, /* INFO without a line end */
    FASTBOOT_DATA, /* 8 hex digits: so many bytes are wanted */
};
struct fastboot_response {
    enum fastboot_kind kind;
    char text[FASTBOOT_RESPONSE_MAX - 4 + 1]; /* printable, blanks and line ends trimmed */
    uint32_t data_bytes;                      /* FASTBOOT_DATA */
};
/* The kind that a response begins with; -1: it is none. */
int fastboot_response_kind(struct span in);
/* A response as it comes in one transfer. Control and non-ASCII bytes in the text become '?'. */
int fastboot_response_decode(struct span in, struct fastboot_response *out, struct err *err);
/* `text_max`: how many bytes in all, FASTBOOT_LK_RESPONSE_MAX cuts as LK does. */
void fastboot_response_encode(const struct fastboot_response *msg, size_t text_max,
                              struct buf *out);

/* Numbers as bootloaders print them: decimal or 0x hex, blanks and a leading TAB allowed. */
int fastboot_number_parse(const char *text, uint64_t *out, struct err *err);
/* partition-size: is hex also without 0x. */
int fastboot_hex_parse(const char *text, uint64_t *out, struct err *err);

/* README, "FAIL classes". */
enum fastboot_fail {
    FASTBOOT_FAIL_UNKNOWN,
    FASTBOOT_FAIL_AUTH_MISSING,
    FASTBOOT_FAIL_LOCKED,
    FASTBOOT_FAIL_POLICY,
    FASTBOOT_FAIL_SECURE,
    FASTBOOT_FAIL_UNSUPPORTED,
    FASTBOOT_FAIL_INTERNAL,
    FASTBOOT_FAIL_UNLOCK_DENIED,
    FASTBOOT_FAIL_BAD_ARG,
    FASTBOOT_FAIL_BATTERY,
    FASTBOOT_FAIL_SIZE,
    FASTBOOT_FAIL_NO_PART,
    FASTBOOT_FAIL_BAD_IMAGE,
    FASTBOOT_FAIL_STORAGE,
    FASTBOOT_FAIL_LINK, /* re-plug; the session is dead */
    FASTBOOT_FAIL_INFO, /* a getvar of a name that is not there */
};
enum fastboot_fail fastboot_fail_classify(const char *text);
const char *fastboot_fail_name(enum fastboot_fail fail);   /* "AUTH_MISSING" */
const char *fastboot_fail_advice(enum fastboot_fail fail); /* what the operator shall know or do */
/* ERR_* of the class, with the phone's text and the advice in err. */
int fastboot_fail_err(const char *text, const char *what, struct err *err);

#endif
