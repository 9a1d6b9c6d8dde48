/* failure.h: which entry of schema/failures.json an error is, where nobody who saw it had a better name for it. */
#ifndef FLASHRACK_USB_PLAN_FAILURE_H
#define FLASHRACK_USB_PLAN_FAILURE_H

#include <jansson.h>

enum failure_place {
    FAILURE_IN_DOWNLOAD, /* boot ROM, preloader, agent: the phone, or the link to it */
    FAILURE_IN_FASTBOOT,
    FAILURE_AT_STATION, /* no phone was asked */
};

/* Never empty, for every ERR_*; unknown codes are our bug. */
const char *failure_of_error(int code, enum failure_place place);

/* For people: the `cause` of a job's error, or NULL where it says no more than the message: all its words are there,
 * or a person stopped the job. Errors of older stations have none. web/format.js does the same. */
const char *failure_cause_of(json_t *error);

#endif
