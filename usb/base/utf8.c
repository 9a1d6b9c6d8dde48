#include "usb/base/utf8.h"

#include <stdio.h>

size_t utf8_length(const char *s)
{
    const unsigned char *p = (const unsigned char *)s;
    size_t len = p[0] < 0x80                   ? 1
                 : p[0] >= 0xc2 && p[0] < 0xe0 ? 2
                 : p[0] >= 0xe0 && p[0] < 0xf0 ? 3
                 : p[0] >= 0xf0 && p[0] < 0xf5 ? 4
                                               : 0;
    for (size_t i = 1; i < len; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] >= 0xa0) ||
        (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] >= 0x90))
        return 0;
    return len;
}

bool utf8_is(const char *s)
{
    for (size_t n; *s; s += n)
        if ((n = utf8_length(s)) == 0)
            return false;
    return true;
}

bool utf8_escape(const char *s, char *out, size_t size)
{
    bool plain = utf8_is(s);
    size_t len = 0;
    for (; *s; s++) {
        bool as_it_is = plain || (unsigned char)*s < 0x80;
        if (len + (as_it_is ? 1 : 3) >= size)
            return false;
        if (as_it_is)
            out[len++] = *s;
        else
            len += (size_t)snprintf(out + len, 4, "%%%02x", (unsigned char)*s);
    }
    out[len] = '\0';
    return true;
}
