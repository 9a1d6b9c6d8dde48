/* link.h: what all conversations share: the transport of one phone identity, exact-length reads
 * over any split of the stream, progress, and the memory of a link that is lost for good. The tick
 * that runs while waiting belongs to the transport (transport_set_tick). Blocking. */
#ifndef FLASHRACK_USB_PROTO_LINK_H
#define FLASHRACK_USB_PROTO_LINK_H

#include "usb/transport/transport.h"

struct link {
    struct transport *transport; /* borrowed */
    /* May be NULL. Bytes that the wire has carried, not bytes on flash. */
    void (*progress)(void *arg, uint64_t done_bytes, uint64_t total_bytes);
    void *progress_arg;
    uint64_t before_bytes; /* of an image that goes in several transfers: those that are through */
    bool dead;             /* host and phone are out of step: only re-plugging helps */
};

/* Takes the next bytes of a stream. A negative answer stops the transfer and is what the caller
 * gets. */
typedef int link_sink_fn(void *arg, const void *data, size_t len, struct err *err);
/* Fills all `len` bytes of dst with the next bytes of a stream; negative to stop. */
typedef int link_source_fn(void *arg, void *dst, size_t len, struct err *err);

/* Exactly `len` bytes within timeout_ms (stretched by the time scale), however the phone cuts them;
 * empty transfers are skipped. ERR_TIMEOUT, ERR_GONE, ERR_IO. */
int link_read(struct link *link, void *dst, size_t len, int64_t timeout_ms, struct err *err);
/* One OUT transfer. */
int link_write(struct link *link, const void *src, size_t len, int64_t timeout_ms, struct err *err);
/* ERR_DEAD once the link is lost: every conversation asks before it sends. */
int link_check(const struct link *link, struct err *err);
/* For silence and nonsense: ERR_TIMEOUT and ERR_PROTOCOL kill the link and become ERR_DEAD, whose
 * text says what to do; a phone that is gone stays ERR_GONE. Returns the code; err must not be
 * NULL. */
int link_lost(struct link *link, const char *what, struct err *err);
void link_progress(const struct link *link, uint64_t done_bytes, uint64_t total_bytes);

#endif
