#include "usb/format/tar.h"

#include <stdlib.h>
#include <string.h>

#include "usb/base/mem.h"

/* Places within a header block: POSIX.1-2017, pax, "ustar Interchange Format". */
enum {
    BLOCK_BYTES = 512,
    NAME_BYTES = 100,
    SIZE_AT = 124,
    SIZE_DIGITS = 11,
    SUM_AT = 148,
    SUM_BYTES = 8,
    TYPE_AT = 156
};

/* Octal digits, ended by a blank, a zero or the field's end. */
static bool octal(const uint8_t *field, size_t len, uint64_t *out)
{
    size_t i = 0;
    *out = 0;
    for (; i < len && field[i] >= '0' && field[i] <= '7'; i++)
        *out = *out * 8 + (uint64_t)(field[i] - '0');
    return i > 0 && (i == len || field[i] == ' ' || field[i] == '\0');
}

/* The sum of all bytes, its own field counted as blanks. */
static bool sum_fits(const uint8_t *block)
{
    uint64_t want, sum = 0;
    for (size_t i = 0; i < BLOCK_BYTES; i++)
        sum += i >= SUM_AT && i < SUM_AT + SUM_BYTES ? ' ' : block[i];
    return octal(block + SUM_AT, SUM_BYTES, &want) && want == sum;
}

static void name_take(const uint8_t *block, char *out)
{
    char whole[NAME_BYTES + 1] = "";
    memcpy(whole, block, NAME_BYTES);
    const char *slash = strrchr(whole, '/');
    const char *name = slash ? slash + 1 : whole;
    memcpy(out, name, strlen(name) + 1);
}

/* 1: a member, 0: the end, which is a block of zeros or that of the file. */
static int header_read(struct input *in, uint64_t at, uint8_t *block, struct err *err)
{
    static const uint8_t zeros[BLOCK_BYTES];
    ssize_t n = input_read(in, block, BLOCK_BYTES, at, err);
    if (n < 0)
        return (int)n;
    if (n == 0 || (n == BLOCK_BYTES && memcmp(block, zeros, BLOCK_BYTES) == 0))
        return 0;
    if (n < BLOCK_BYTES || memcmp(block + 257, "ustar", 5) != 0 || !sum_fits(block))
        return err_set(err, ERR_FORMAT, "the tar file is damaged at byte %llu",
                       (unsigned long long)at);
    return 1;
}

int tar_next(struct input *in, uint64_t *at, struct tar_member *out, struct err *err)
{
    uint8_t block[BLOCK_BYTES];
    int rc;
    while ((rc = header_read(in, *at, block, err)) > 0) {
        uint64_t size, start = *at + BLOCK_BYTES;
        if (!octal(block + SIZE_AT, SIZE_DIGITS, &size) || start > in->size_bytes ||
            size > in->size_bytes - start)
            return err_set(err, ERR_FORMAT, "the tar file breaks off in '%.100s'",
                           (const char *)block);
        *at = start + (size + BLOCK_BYTES - 1) / BLOCK_BYTES * BLOCK_BYTES;
        if (block[TYPE_AT] != '0' && block[TYPE_AT] != '\0')
            continue; /* folders, links, attributes */
        *out = (struct tar_member){.offset_bytes = start, .size_bytes = size};
        name_take(block, out->name);
        return 1;
    }
    return rc;
}
