#include "server/cli/number_form.h"

#include <ctype.h>
#include <string.h>

#include "usb/format/serial.h"

enum { SERIAL_FIELD, IMEI_FIELD, IMEI2_FIELD, WLAN_FIELD, BT_FIELD };

static const char *const questions[NUMBER_FIELDS] = {"Serial (About)", "IMEI 1 (*#06#)",
                                                     "IMEI 2 (empty: none)", "Wi-Fi MAC (About)",
                                                     "Bluetooth MAC (About)"};

void number_form_start(struct number_form *f, bool confirm)
{
    *f = (struct number_form){.active = true, .confirm = confirm};
}

void number_form_ask(const struct number_form *f, FILE *out)
{
    fprintf(out, "  %-22s ", f->confirm ? "ok or abort?" : questions[f->at]);
    fflush(out);
}

/* Blanks around and inside are the hand's or the scanner's, not the number's. */
static void squeeze(const char *line, char out[NUMBER_BYTES])
{
    size_t n = 0;
    for (; *line && n < NUMBER_BYTES - 1; line++)
        if (!isspace((unsigned char)*line))
            out[n++] = *line;
    out[n] = '\0';
}

static bool field_ok(const struct number_form *f, const char *value, char *why, size_t size)
{
    struct serial_check check;
    switch (f->at) {
    case SERIAL_FIELD:
        serial_check(value, SERIAL_PROJECT_X5, &check);
        snprintf(why, size, "%s", check.reason);
        return check.verdict == SERIAL_VALID;
    case IMEI2_FIELD:
        return !value[0] || imei_check(value, why, size) == IMEI_VALID;
    case IMEI_FIELD:
        return imei_check(value, why, size) == IMEI_VALID;
    default: /* a phone without a MAC address shows none; its form is the station's matter */
        return true;
    }
}

enum number_form_said number_form_line(struct number_form *f, const char *line, FILE *out)
{
    char value[NUMBER_BYTES], why[200] = "";
    squeeze(line, value);
    if (strcmp(value, "abort") == 0)
        return NUMBER_FORM_ABORT;
    if (f->confirm)
        return strcmp(value, "ok") == 0 ? NUMBER_FORM_FULL : NUMBER_FORM_MORE;
    if (!field_ok(f, value, why, sizeof(why))) {
        fprintf(out, "  %s ('abort' ends the job)\n", why);
        return NUMBER_FORM_MORE;
    }
    snprintf(f->values[f->at], NUMBER_BYTES, "%s", value);
    if (++f->at < NUMBER_FIELDS)
        return NUMBER_FORM_MORE;
    f->active = false;
    return NUMBER_FORM_FULL;
}

static const char *given(const char *value)
{
    return value[0] ? value : NULL;
}

void number_form_numbers(const struct number_form *f, struct phone_numbers *out)
{
    *out = (struct phone_numbers){.serial = given(f->values[SERIAL_FIELD]),
                                  .wlan_mac = given(f->values[WLAN_FIELD]),
                                  .bt_mac = given(f->values[BT_FIELD])};
    out->imeis[0] = given(f->values[IMEI_FIELD]);
    out->imeis[1] = out->imeis[0] ? given(f->values[IMEI2_FIELD]) : NULL;
}
