/* runs.h: what a worker can be asked to do. Each run takes its inputs from the host and fills `done`. */
#ifndef FLASHRACK_USB_WORKER_RUNS_H
#define FLASHRACK_USB_WORKER_RUNS_H

#include "usb/worker/host.h"

/* text: the contents of the run's memfd. 0 or ERR_*; done->failure and done->result may be set. */
typedef int run_fn(struct host *h, const char *text, size_t len, struct wire_done *done,
                   struct err *err);
run_fn run_job;      /* a recipe for the phone on this worker's port */
run_fn run_import;   /* a read-back dump into a backup in the spool; params {serial, recipe} */
run_fn run_firmware; /* files of a package judged and hashed; params {name} */
run_fn run_unpack;   /* an archive into the worker's own folder (--folder) */

#endif
