/* gate.h: the one place that decides whether a byte may be written to a phone, and the only caller of the
 * functions that write (a test greps for them). A write needs all of these, seen by this worker in this very
 * session: the permit of flashrackd, which names backup, plan and chip; a chip id read from the phone that is
 * plugged in now; a partition table that equals the plan's; that it passed the gates of an upgrade; a write that stands in the plan, with the extent of
 * that table, and whose source (own backup, package) the role table allows. */
#ifndef FLASHRACK_USB_RECIPE_GATE_H
#define FLASHRACK_USB_RECIPE_GATE_H

#include "usb/format/gpt.h"
#include "usb/plan/plan.h"
#include "usb/proto/da.h"

struct gate;
struct fb; /* usb/proto/fb.h */
struct session_permit;

struct gate *gate_new(const struct plan *plan, const struct sha256 *plan_sha256);
void gate_free(struct gate **g);

/* A device was attached: whatever was known of the one before does not count any more. */
void gate_attached(struct gate *g);
/* Chip id read from boot ROM or preloader. The one that the plan pins is the job's, else the first; another one is ERR_MISMATCH and shuts
 * the gate for the rest of this process. */
int gate_see_chip(struct gate *g, const char *chip_id, struct err *err);
/* The phone's own table against the plan's layout: every partition up to the stretching one must have the same
 * place and size, and those after it must exist. */
int gate_see_layout(struct gate *g, const struct gpt *table, struct err *err);
/* Serial that LK reports: must be the job's. Takes the place of the chip id in fastboot, on the same port and
 * after this gate saw the chip go there. */
int gate_see_fastboot_serial(struct gate *g, const char *serial, struct err *err);
/* What was saved of this phone: hash of the manifest, and whether every member of the set is in it. */
void gate_see_backup(struct gate *g, const struct sha256 *manifest, bool complete);
/* Rules V1 to V6 hold for this phone and the package, and its active slot is known (README.md, "Gates"). */
void gate_see_inspection(struct gate *g);
int gate_permit(struct gate *g, const struct session_permit *permit, struct err *err);
bool gate_is_open(const struct gate *g); /* a permit was accepted */

/* Writes one entry of the plan; `length_bytes` is the padded length of the stream. */
int gate_download(struct gate *g, const struct plan_write *w, struct da *da, uint64_t length_bytes,
                  link_source_fn *source, void *arg, struct err *err);
/* The same over fastboot. What the phone does not take at once goes in sparse pieces, from the first again whenever
 * one fails: the caller opens the source anew. */
int gate_flash(struct gate *g, const struct plan_write *w, struct fb *fb, uint64_t length_bytes,
               link_source_fn *source, void *arg, struct err *err);

#endif
