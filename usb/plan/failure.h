/* failure.h: which entry of schema/failures.json an error is, where nobody who saw it had a better name for it. */
#ifndef FLASHRACK_USB_PLAN_FAILURE_H
#define FLASHRACK_USB_PLAN_FAILURE_H

enum failure_place {
    FAILURE_IN_DOWNLOAD, /* boot ROM, preloader, agent: the phone, or the link to it */
    FAILURE_IN_FASTBOOT,
    FAILURE_AT_STATION, /* no phone was asked */
};

/* Never empty, for every ERR_*; unknown codes are our bug. */
const char *failure_of_error(int code, enum failure_place place);

#endif
