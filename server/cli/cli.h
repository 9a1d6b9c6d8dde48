/* cli.h: the `flashrack` program: a table of commands, and how they read options, print and exit.
 * Offline commands work on files and need no server; client commands (client_cmd.c) talk to one. */
#ifndef FLASHRACK_SERVER_CLI_CLI_H
#define FLASHRACK_SERVER_CLI_CLI_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "usb/base/err.h"

enum { CLI_FINE = 0, CLI_BAD_INPUT = 1, CLI_USAGE = 2 };

struct cli_command {
    const char *name; /* "serial", or two words: "scatter show"; NULL ends a table */
    const char *arguments;
    const char *summary; /* its first line stands in the list of commands, all of it in --help */
    int (*run)(const struct cli_command *self, int argc,
               char **argv); /* argv[0]: last word of name */
};
extern const struct cli_command offline_commands[], client_commands[];

enum { CLI_VALUES_MAX = 8, CLI_REPEATS = '+' };

/* Options of one command, given as --name VALUE, --name=VALUE, or a flag; -o is --output. */
struct cli_option {
    const char *name;   /* NULL ends the list */
    const char **value; /* takes a value; NULL for flags */
    bool *flag;
    /* 0: none. CLI_REPEATS: the option may be given again, and `value` is an array of
     * CLI_VALUES_MAX + 1 that starts as NULLs. */
    char letter;
};
/* Leaves the other arguments in argv[0..]; their number, or -1 after telling what is wrong. --help
 * prints the command's usage and exits. */
int cli_options(const struct cli_command *self, int argc, char **argv,
                const struct cli_option *options);
/* The same for a command of exactly one argument, left in argv[0]; `needed`: what to say without
 * it. 0 or -1. */
int cli_options_one(const struct cli_command *self, int argc, char **argv,
                    const struct cli_option *options, const char *needed);
int cli_usage(const struct cli_command *self, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* "flashrack: text" on stderr, and the advice when there is one. Returns CLI_BAD_INPUT. */
int cli_fail(const struct err *err, const char *advice);

/* A string as JSON whatever its bytes are: those that are no UTF-8 become U+FFFD. */
json_t *cli_json_text(const char *s);
json_t *cli_json_text_or_null(const char *s); /* "" is null */
/* Prints and frees. */
void cli_json_print(json_t *j);
/* For terminals: control characters become '?'. The buffer is one of eight, reused. */
const char *cli_printable(const char *s);
/* 1.5 MiB, 512 B ...; reused like cli_printable. */
const char *cli_bytes(uint64_t n);

#endif
