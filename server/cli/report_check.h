/* report_check.h: is a job's report what its station signed, and is nothing missing between reports? Needs the report
 * alone: no station, no network. */
#ifndef FLASHRACK_SERVER_CLI_REPORT_CHECK_H
#define FLASHRACK_SERVER_CLI_REPORT_CHECK_H

#include <jansson.h>
#include <stdint.h>

#include "usb/base/sign.h"

struct report { /* what a good one says; texts are cut to their place */
    int64_t sequence;
    char job_id[24], state[16], phone_state[48], serial[24];
    struct sign_key key;
    struct sha256 sha256;   /* of the manifest */
    struct sha256 previous; /* of the manifest before; zeros for the first one */
};

/* A document as GET /jobs/{id}/report.json gives it. `trusted` NULL: whatever key it brings along, which proves only
 * that nothing was changed since somebody signed it. ERR_FORMAT: no report; ERR_VERIFY: it was changed, or another
 * key signed it. */
int report_check(json_t *document, const struct sign_key *trusted, struct report *out,
                 struct err *err);
/* `next` comes right after `before` in the chain of one station. `keys`: those that are known to be the station's, in the
 * order in which it had them; only from one of them to a later one may the key change: 1 then, else 0, or ERR_VERIFY with
 * what is wrong. */
int report_follows(const struct report *before, const struct report *next,
                   const struct sign_key *keys, int count, struct err *err);

#endif
