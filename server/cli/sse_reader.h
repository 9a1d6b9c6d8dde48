/* sse_reader.h: the text of a stream of server-sent events, in whatever pieces it arrives, to events.
 * The format is that of the HTML standard, "Server-sent events"; what the station sends: README.md. */
#ifndef FLASHRACK_SERVER_CLI_SSE_READER_H
#define FLASHRACK_SERVER_CLI_SSE_READER_H

#include <stdbool.h>

#include "usb/base/buf.h"
#include "usb/base/err.h"
#include "usb/base/span.h"

#define SSE_ID_BYTES   24
#define SSE_TYPE_BYTES 24

struct sse_reader {
    struct buf line, data;
    char last_id[SSE_ID_BYTES]; /* where to resume; "" before the first */
    char id[SSE_ID_BYTES];      /* of the event that is being read; "" when it has none */
    char type[SSE_TYPE_BYTES];
    bool after_cr; /* a LF now belongs to the CR before it */
};

/* `data` is text that ends with NUL; `id` is "" for events that are not stored. */
typedef void sse_event_fn(void *arg, const char *id, const char *type, const char *data);

void sse_reader_init(struct sse_reader *r);
void sse_reader_deinit(struct sse_reader *r);
/* A new connection: what was half read is forgotten, last_id stays. */
void sse_reader_restart(struct sse_reader *r);
/* ERR_LIMIT for a line or an event of more than 1 MiB. */
int sse_reader_feed(struct sse_reader *r, struct span text, sse_event_fn *fn, void *arg,
                    struct err *err);

#endif
