#include "server/cli/cli.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "usb/base/buf.h"
#include "usb/base/mem.h"
#include "usb/base/utf8.h"

enum { OPTIONS_MAX = 24, SLOTS = 8, SLOT_BYTES = 512, FIRST_KEY = 256 };

int cli_usage(const struct cli_command *self, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fputs("flashrack: ", stderr);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fprintf(stderr, "\nusage: flashrack %s %s\n", self->name, self->arguments);
    return CLI_USAGE;
}

int cli_fail(const struct err *err, const char *advice)
{
    fprintf(stderr, "flashrack: %s\n", cli_printable(err->text));
    if (advice && advice[0])
        fprintf(stderr, "           %s\n", advice);
    return CLI_BAD_INPUT;
}

static void help_and_exit(const struct cli_command *self)
{
    printf("usage: flashrack %s %s\n%s\n", self->name, self->arguments, self->summary);
    exit(CLI_FINE);
}

/* False when a repeated option was given too often. */
static bool value_put(const struct cli_option *o, const char *value)
{
    int i = 0;
    while (o->letter == CLI_REPEATS && o->value[i])
        if (++i == CLI_VALUES_MAX)
            return false;
    o->value[i] = value;
    return true;
}

int cli_options(const struct cli_command *self, int argc, char **argv,
                const struct cli_option *options)
{
    struct option longs[OPTIONS_MAX + 2] = {{"help", no_argument, NULL, 'h'}};
    char letters[2 * OPTIONS_MAX + 3] = "h";
    int count = 0;
    for (; options[count].name; count++) {
        const struct cli_option *o = &options[count];
        longs[count + 1] = (struct option){o->name, o->value ? required_argument : no_argument,
                                           NULL, FIRST_KEY + count};
        if (o->letter && o->letter != CLI_REPEATS)
            snprintf(letters + strlen(letters), 3, "%c%s", o->letter, o->value ? ":" : "");
    }
    optind = 0; /* glibc: start afresh, permuting */
    for (int key; (key = getopt_long(argc, argv, letters, longs, NULL)) != -1;) {
        if (key == 'h')
            help_and_exit(self);
        int i = key - FIRST_KEY;
        for (int j = 0; key < FIRST_KEY && j < count; j++)
            if (options[j].letter == key)
                i = j;
        if (i < 0 || i >= count) { /* getopt has said what is wrong */
            fprintf(stderr, "usage: flashrack %s %s\n", self->name, self->arguments);
            return -1;
        }
        if (!options[i].value) {
            *options[i].flag = true;
        } else if (!value_put(&options[i], optarg)) {
            cli_usage(self, "--%s was given more than %d times", options[i].name, CLI_VALUES_MAX);
            return -1;
        }
    }
    memmove(argv, argv + optind, (size_t)(argc - optind) * sizeof(*argv));
    return argc - optind;
}

int cli_options_one(const struct cli_command *self, int argc, char **argv,
                    const struct cli_option *options, const char *needed)
{
    int n = cli_options(self, argc, argv, options);
    if (n == 1)
        return 0;
    if (n >= 0)
        cli_usage(self, "%s", needed);
    return -1;
}

/* ---- text ----------------------------------------------------------------------------------- */

static char *slot(void)
{
    static char slots[SLOTS][SLOT_BYTES];
    static int next;
    return slots[next++ % SLOTS];
}

const char *cli_printable(const char *s)
{
    char *out = slot();
    size_t i = 0;
    for (; s[i] && i < SLOT_BYTES - 1; i++)
        out[i] = (unsigned char)s[i] < 0x20 || s[i] == 0x7f ? '?' : s[i];
    out[i] = '\0';
    return out;
}

const char *cli_bytes(uint64_t n)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double v = (double)n;
    size_t unit = 0;
    for (; v >= 1024 && unit + 1 < ARRAY_LEN(units); unit++)
        v /= 1024;
    char *out = slot();
    bool whole = v == (double)(uint64_t)v;
    snprintf(out, SLOT_BYTES, "%.*f %s", whole ? 0 : 1, v, units[unit]);
    return out;
}

/* ---- JSON ----------------------------------------------------------------------------------- */

json_t *cli_json_text(const char *s)
{
    json_t *plain = json_string(s);
    if (plain)
        return plain;
    AUTO(buf_deinit) struct buf b;
    buf_init(&b, 3 * strlen(s) + 1);
    while (*s) {
        size_t n = utf8_length(s);
        if (n)
            buf_put(&b, s, n);
        else
            buf_put(&b, "\xef\xbf\xbd", 3);
        s += n ? n : 1;
    }
    return json_stringn((const char *)b.data, b.len);
}

json_t *cli_json_text_or_null(const char *s)
{
    return s && s[0] ? cli_json_text(s) : json_null();
}

void cli_json_print(json_t *j)
{
    json_dumpf(j, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(j);
}
