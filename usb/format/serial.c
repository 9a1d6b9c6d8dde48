#include "usb/format/serial.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "usb/base/mem.h"

static const char where_to_find[] =
    "The serial has 16 letters and digits: see the box, the label on the back or in the SIM tray, "
    "or Settings > About phone";

static bool all_digits(const char *s)
{
    for (; *s; s++)
        if (!isdigit((unsigned char)*s))
            return false;
    return true;
}

static bool all_equal(const char *s)
{
    return *s && strspn(s, (char[]){*s, 0}) == strlen(s);
}

bool imei_luhn_ok(const char *digits15)
{
    int sum = 0;
    for (int i = 0; i < 15; i++) {
        int d = digits15[i] - '0';
        if (i % 2)
            d = d * 2 > 9 ? d * 2 - 9 : d * 2;
        sum += d;
    }
    return sum % 10 == 0;
}

void serial_dm_verity_code(const char *serial, char out[MD5_HEX_BYTES])
{
    md5_hex_upper(span_of(serial, strlen(serial)), out);
}

static bool looks_like_imei(const char *s)
{
    size_t len = strlen(s);
    if (!all_digits(s))
        return false;
    return (len == 15 && imei_luhn_ok(s)) || len == 16; /* 16 digits: IMEI with software version */
}

/* Upper-case letters and digits behind the project code; with `any_case` lower case passes, too. */
static bool has_shape(const char *s, const char *project, bool any_case)
{
    if (strlen(s) != SERIAL_LENGTH)
        return false;
    for (size_t i = 0; i < SERIAL_LENGTH; i++) {
        int c = (unsigned char)s[i];
        if (any_case)
            c = toupper(c);
        if (c >= 0x80 || (!isdigit(c) && !isupper(c)))
            return false;
        if (i < strlen(project) && c != project[i])
            return false;
    }
    return true;
}

static enum serial_verdict judge(const char *s, const char *project)
{
    if (!*s)
        return SERIAL_EMPTY;
    if (strcmp(s, SERIAL_LK_DEFAULT) == 0 || all_equal(s))
        return SERIAL_PLACEHOLDER;
    if (looks_like_imei(s))
        return SERIAL_IMEI;
    if (has_shape(s, project, false))
        return SERIAL_VALID;
    return has_shape(s, project, true) ? SERIAL_LOWER_CASE : SERIAL_MALFORMED;
}

static void malformed_reason(const char *s, const char *project, char *out, size_t max)
{
    size_t len = strlen(s);
    const char *blank = strpbrk(s, " \t\r\n");
    if (blank)
        snprintf(out, max, "There is a blank at place %d. %s", (int)(blank - s) + 1, where_to_find);
    else if (len != SERIAL_LENGTH)
        snprintf(out, max, "A serial has %d characters, this has %zu. %s", SERIAL_LENGTH, len,
                 where_to_find);
    else if (strncasecmp(s, project, strlen(project)) != 0)
        snprintf(out, max, "Serials of this model start with %s. %s", project, where_to_find);
    else
        snprintf(out, max, "Only letters A to Z and digits may stand in a serial. %s",
                 where_to_find);
}

void serial_check(const char *serial, const char *project, struct serial_check *out)
{
    *out = (struct serial_check){.verdict = judge(serial, project)};
    char *to = out->reason;
    size_t max = sizeof(out->reason);
    switch (out->verdict) {
    case SERIAL_VALID:
        serial_dm_verity_code(serial, out->dm_verity_code);
        break;
    case SERIAL_EMPTY:
        snprintf(to, max, "No serial given. %s", where_to_find);
        break;
    case SERIAL_IMEI:
        snprintf(to, max, "This is an IMEI, not the serial. %s", where_to_find);
        break;
    case SERIAL_PLACEHOLDER:
        snprintf(to, max, "This is the placeholder that a phone without identity shows. %s",
                 where_to_find);
        break;
    case SERIAL_LOWER_CASE:
        snprintf(to, max, "Write the serial in capital letters, exactly as on the label");
        break;
    case SERIAL_MALFORMED:
        malformed_reason(serial, project, to, max);
        break;
    }
}

static bool look_alike(char a, char b)
{
    static const char pairs[][2] = {{'O', '0'}, {'I', '1'}, {'S', '5'}, {'B', '8'}};
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++)
        if ((a == pairs[i][0] && b == pairs[i][1]) || (a == pairs[i][1] && b == pairs[i][0]))
            return true;
    return false;
}

enum serial_match serial_compare(const char *a, const char *b, int *at_out)
{
    if (strlen(a) != strlen(b))
        return SERIAL_DIFFERENT;
    int differing = 0, at = 0;
    for (int i = 0; a[i]; i++) {
        if (a[i] == b[i])
            continue;
        if (!look_alike(a[i], b[i]) || ++differing > 1)
            return SERIAL_DIFFERENT;
        at = i + 1;
    }
    if (at_out && differing)
        *at_out = at;
    return differing ? SERIAL_CONFUSABLE : SERIAL_SAME;
}

/* Numbers that test firmware, emulators and repair tools leave behind (README.md, "Identity
 * numbers"). The last one fails the Luhn check and is named all the same. */
static const char *const imei_placeholders[] = {"000000000000000", "004400152020002",
                                                "123456789012347", "135790246811220"};

static bool imei_is_placeholder(const char *imei)
{
    for (size_t i = 0; i < ARRAY_LEN(imei_placeholders); i++)
        if (strcmp(imei, imei_placeholders[i]) == 0)
            return true;
    return all_equal(imei);
}

enum imei_verdict imei_check(const char *imei, char *reason, size_t reason_max)
{
    if (strlen(imei) != 15 || !all_digits(imei)) {
        snprintf(reason, reason_max, "An IMEI has 15 digits%s",
                 strlen(imei) == 16 && all_digits(imei)
                     ? "; 16 digits are an IMEISV: leave out its last two and read the label again"
                     : "; read it from the label or with *#06#");
        return IMEI_MALFORMED;
    }
    if (imei_is_placeholder(imei)) {
        snprintf(reason, reason_max, "This IMEI is a placeholder: the phone has lost its own");
        return IMEI_PLACEHOLDER;
    }
    if (!imei_luhn_ok(imei)) {
        snprintf(reason, reason_max, "The check digit does not fit: one digit is mistyped");
        return IMEI_BAD_CHECK_DIGIT;
    }
    if (reason_max)
        reason[0] = '\0';
    return IMEI_VALID;
}

int proinfo_serial(struct span head, char out[SERIAL_BYTES], struct err *err)
{
    if (head.len < PROINFO_HEAD_BYTES)
        return err_set(err, ERR_FORMAT, "proinfo is cut off at %zu bytes", head.len);
    char text[SERIAL_BYTES] = {0};
    memcpy(text, head.data, PROINFO_HEAD_BYTES);
    size_t len = strlen(text);
    for (size_t i = 0; i < PROINFO_HEAD_BYTES; i++) {
        int c = head.data[i];
        if (i < len ? c >= 0x7f || !isgraph(c) : c != 0)
            return err_set(err, ERR_FORMAT,
                           "proinfo does not begin with a serial (byte %zu is %02x)", i,
                           (unsigned)c);
    }
    memcpy(out, text, sizeof(text));
    return 0;
}

void proinfo_encode(const char *serial, struct buf *out)
{
    uint8_t head[PROINFO_HEAD_BYTES] = {0};
    memcpy(head, serial, strnlen(serial, sizeof(head)));
    buf_put(out, head, sizeof(head));
}
