/* reader.h: libarchive set up the one way we use it: from a descriptor, formats and filters named
 * one by one (no external programs), errors in our form. Internal to usb/archive. */
#ifndef FLASHRACK_USB_ARCHIVE_READER_H
#define FLASHRACK_USB_ARCHIVE_READER_H

#include <archive.h>
#include <archive_entry.h>

#include "usb/base/err.h"

/* Reads from the start of `fd`. `raw`: a packed file that is no archive counts as one with one
 * file. */
int archive_reader_open(int fd, bool raw, struct archive **out, struct err *err);
/* 1 and the next entry, 0 at the end. */
int archive_reader_next(struct archive *a, struct archive_entry **out, struct err *err);
/* Name of an entry: UTF-8 where the archive says what it is, else its bytes. NULL when it cannot be
 * told: libarchive needs a UTF-8 locale (LC_CTYPE) for the UTF-16 names of a .7z. */
const char *archive_reader_name(struct archive_entry *e);
int archive_reader_error(struct archive *a, struct err *err); /* what libarchive says, ERR_FORMAT */
void archive_reader_free(struct archive **a);

#endif
