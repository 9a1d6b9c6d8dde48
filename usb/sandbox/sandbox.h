/* sandbox.h: what a worker gives up before the first byte from a phone reaches it: new privileges, core dumps,
 * opening files and sockets, starting programs. */
#ifndef FLASHRACK_USB_SANDBOX_SANDBOX_H
#define FLASHRACK_USB_SANDBOX_SANDBOX_H

#include "usb/base/err.h"

/* Irreversible for this process. ERR_UNSUPPORTED when the kernel or a sanitizer does not allow it; then the
 * process runs as before. */
int sandbox_enter(struct err *err);
/* The same, but files and folders below this one may be made, read, changed and removed: for unpacking. Without
 * landlock in the kernel only the paths that the unpacker itself checks keep it there. */
int sandbox_enter_folder(int folder_fd, struct err *err);

#endif
