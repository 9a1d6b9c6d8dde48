/* Lines of checksum lists as packages carry them (Checksum.ini, md5 lists): a digest and a file
 * name, in either order. Digests of other lengths are not ours to judge. */
#include <ctype.h>
#include <string.h>

#include "usb/format/firmware.h"

static bool is_digest(struct span word)
{
    if (word.len != 32 && word.len != 64)
        return false;
    for (size_t i = 0; i < word.len; i++)
        if (!isxdigit(word.data[i]))
            return false;
    return true;
}

/* Blanks, and the signs that stand between name and digest in the known forms. */
static bool is_separator(uint8_t c)
{
    return c <= ' ' || memchr("=:*(),;\"", c, 8) != NULL;
}

static struct span next_word(struct span *rest)
{
    size_t i = 0, start;
    while (i < rest->len && is_separator(rest->data[i]))
        i++;
    start = i;
    while (i < rest->len && !is_separator(rest->data[i]))
        i++;
    struct span word = span_sub(*rest, start, i - start);
    *rest = span_sub(*rest, i, rest->len);
    return word;
}

/* "images\\boot.img" is images/boot.img, "./boot.img" is boot.img. */
static void path_take(struct span word, char *out)
{
    while (word.len > 2 && word.data[0] == '.' && (word.data[1] == '/' || word.data[1] == '\\'))
        word = span_sub(word, 2, word.len);
    for (size_t i = 0; i < word.len; i++)
        out[i] = word.data[i] == '\\' ? '/' : (char)word.data[i];
}

bool checksum_line_parse(struct span line, struct checksum_line *out)
{
    struct span digest = {NULL, 0}, name = {NULL, 0}, word;
    while ((word = next_word(&line)).len) {
        if (!digest.len && is_digest(word))
            digest = word;
        else if (memchr(word.data, '.', word.len))
            name = word;
    }
    if (!digest.len || !name.len || name.len >= sizeof(out->name))
        return false;
    *out = (struct checksum_line){0};
    path_take(name, out->name);
    for (size_t i = 0; i < digest.len; i++)
        out->digest[i] = (char)tolower(digest.data[i]);
    return true;
}
