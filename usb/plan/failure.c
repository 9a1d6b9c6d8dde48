#include "usb/plan/failure.h"

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
