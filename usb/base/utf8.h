/* utf8.h: text that may be anything (file names, what phones say) on its way to JSON and people, who want UTF-8. */
#ifndef FLASHRACK_USB_BASE_UTF8_H
#define FLASHRACK_USB_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* Length of a well-formed sequence at `s` (a string), 0 when there is none. */
size_t utf8_length(const char *s);
bool utf8_is(const char *s);
/* A copy of text that is no UTF-8 with %xx for every byte above ASCII; other text as it is. False when it does not
 * fit into `size` bytes. */
bool utf8_escape(const char *s, char *out, size_t size);

#endif
