#include "usb/plan/failure.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>

#include "usb/base/err.h"
#include "usb/base/mem.h"

/* From a phone "refused" is its word about what it was sent, in download mode that of secure boot; a range, a name or a size
 * that it does not take was compared with its own tables before; an unsupported command is one that every agent has, so it
 * was mangled on the way. At the station the same codes speak of the order. */
static const struct {
    int code;
    const char *failure[3]; /* by enum failure_place */
} table[] = {
    {ERR_TIMEOUT, {"C10", "D14", "F5"}},  {ERR_GONE, {"C11", "D14", "F5"}},
    {ERR_IO, {"C11", "D14", "G6"}},       {ERR_REFUSED, {"C9", "D11", "G4"}},
    {ERR_PROTOCOL, {"C11", "D14", "F5"}}, {ERR_FORMAT, {"C12", "C12", "B6"}},
    {ERR_LIMIT, {"C12", "D12", "G4"}},    {ERR_INPUT, {"C12", "C12", "G4"}},
    {ERR_NOT_FOUND, {"C12", "C12", "G4"}}, {ERR_CONFLICT, {"G5", "G5", "G5"}},
    {ERR_MISMATCH, {"B3", "B3", "B3"}},   {ERR_AUTH_NEEDED, {"C6", "C6", "C6"}},
    {ERR_STORAGE, {"C8", "C8", "C8"}},    {ERR_VERIFY, {"C8", "C8", "C8"}},
    {ERR_CANCELLED, {"G3", "G3", "G3"}},  {ERR_UNSUPPORTED, {"C11", "C11", "G2"}},
    {ERR_DEAD, {"C11", "D14", "F5"}},     {ERR_DISK, {"G1", "G1", "G1"}},
    {ERR_INTERNAL, {"G2", "G2", "G2"}},
};

const char *failure_of_error(int code, enum failure_place place)
{
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        if (table[i].code == code)
            return table[i].failure[place];
    return "G2";
}

static size_t word_len(const char *text)
{
    size_t n = 0;
    while (isalnum((unsigned char)text[n]) || text[n] == '_')
        n++;
    return n;
}

/* The next word in `*at`, which moves behind it; its length, 0 at the end. */
static size_t word_next(const char **at, const char **word_out)
{
    while (**at && word_len(*at) == 0)
        (*at)++;
    *word_out = *at;
    size_t n = word_len(*at);
    *at += n;
    return n;
}

static bool has_word(const char *text, const char *word, size_t len)
{
    const char *other;
    for (size_t n; (n = word_next(&text, &other)) > 0;)
        if (n == len && strncasecmp(other, word, len) == 0)
            return true;
    return false;
}

const char *failure_cause_of(json_t *error)
{
    const char *cause = json_string_value(json_object_get(error, "cause"));
    const char *message = json_string_value(json_object_get(error, "message"));
    const char *code = json_string_value(json_object_get(error, "code"));
    if (!cause || (code && strcmp(code, "cancelled") == 0))
        return NULL;
    const char *at = cause, *word;
    for (size_t n; (n = word_next(&at, &word)) > 0;)
        if (!message || !has_word(message, word, n))
            return cause;
    return NULL;
}
