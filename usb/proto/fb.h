/* fb.h: the host's conversation with a bootloader over fastboot. Facts: usb/codec/README.md,
 * "Fastboot". An OKAY after a flash proves that the bootloader wrote without an error, nothing
 * more. */
#ifndef FLASHRACK_USB_PROTO_FB_H
#define FLASHRACK_USB_PROTO_FB_H

#include "usb/codec/fastboot.h"
#include "usb/proto/link.h"

struct fb {
    struct link *link;           /* borrowed */
    bool answered;               /* something came back since the phone appeared */
    bool value_due;              /* the OKAY of this command stands for a value */
    bool splits;                 /* the letters of a response were seen to come in a transfer of their own */
    uint64_t max_download_bytes; /* 0: not asked yet */
};
void fb_init(struct fb *fb, struct link *link);

#define FB_LINES_MAX 16384
struct fb_reply {
    char okay[FASTBOOT_RESPONSE_MAX]; /* text of OKAY or FAIL */
    struct buf lines;                 /* INFO and TEXT, '\n' between; init by fb_reply_init() */
};
void fb_reply_init(struct fb_reply *reply);
void fb_reply_deinit(struct fb_reply *reply);
/* True when a line or the OKAY text holds `word`, any case: phones answer in either. */
bool fb_reply_has(const struct fb_reply *reply, const char *word);
/* What follows "key=" or "key:" in a line, blanks trimmed; false when no line has it. */
bool fb_reply_value(const struct fb_reply *reply, const char *key, char out[FASTBOOT_RESPONSE_MAX]);

/* One command to its OKAY. A FAIL is the classified error (fastboot_fail_err) and leaves the
 * dialogue usable, except for FASTBOOT_FAIL_LINK; `reply` is filled in both cases and may be NULL.
 * `timeout_ms` runs anew after each INFO; 0: the usual time of a query. Silence is ERR_TIMEOUT and
 * ends the dialogue. */
int fb_command(struct fb *fb, const char *verb, const char *argument, int64_t timeout_ms,
               struct fb_reply *reply, struct err *err);
/* ERR_NOT_FOUND when the phone has no such variable (or an empty one). */
int fb_getvar(struct fb *fb, const char *name, char out[FASTBOOT_RESPONSE_MAX], struct err *err);
/* partition-size:NAME in bytes. */
int fb_partition_bytes(struct fb *fb, const char *partition, uint64_t *out, struct err *err);
/* "oem ..." */
int fb_oem(struct fb *fb, const char *argument, int64_t timeout_ms, struct fb_reply *reply,
           struct err *err);

/* max-download-size in bytes, asked for once. A phone that does not say it gets 32 bits' worth: then only its own
 * answer to `download` counts. */
int fb_max_download(struct fb *fb, uint64_t *out, struct err *err);
/* Stages `size_bytes` in the phone's memory. Refused here: nothing, and more than
 * max-download-size. */
int fb_download(struct fb *fb, uint64_t size_bytes, link_source_fn *source, void *arg,
                struct err *err);
/* fb_download(), then `flash:partition`. The image is raw or Android sparse as it comes; raw images
 * of identity partitions must have the partition's size, which the caller compares. */
int fb_flash(struct fb *fb, const char *partition, uint64_t size_bytes, link_source_fn *source,
             void *arg, struct err *err);

#endif
