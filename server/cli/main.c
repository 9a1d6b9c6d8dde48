/* flashrack: the command line of the station, and file work that needs no station. */
#include <locale.h>
#include <stdbool.h>
#include <string.h>

#include "server/cli/cli.h"
#include "usb/base/mem.h"

/* A table a kind of command. */
static const struct {
    const char *title;
    const struct cli_command *commands;
} tables[] = {
    {"At a station (--server URL, --token T, or FLASHRACK_SERVER, FLASHRACK_TOKEN):",
     client_commands},
    {"Offline file work:", offline_commands},
};

static void print_help(FILE *to)
{
    fputs("usage: flashrack COMMAND ...\n", to);
    for (size_t t = 0; t < ARRAY_LEN(tables); t++) {
        fprintf(to, "\n%s\n", tables[t].title);
        for (const struct cli_command *c = tables[t].commands; c->name; c++)
            fprintf(to, "  %s %s\n      %.*s\n", c->name, c->arguments,
                    (int)strcspn(c->summary, "\n"), c->summary);
    }
    fputs("\nflashrack COMMAND --help says more. Exit status: 0 fine, 1 the input is not "
          "acceptable or "
          "the job\ndid not succeed, 2 usage.\n",
          to);
}

/* How many words of argv the command's name takes; 0 when it is another command. */
static int words_matching(const char *name, int argc, char **argv)
{
    int words = 0;
    for (const char *word = name; word; words++) {
        size_t len = strcspn(word, " ");
        if (words == argc || strlen(argv[words]) != len || strncmp(argv[words], word, len) != 0)
            return 0;
        word = word[len] ? word + len + 1 : NULL;
    }
    return words;
}

int main(int argc, char **argv)
{
    setlocale(LC_CTYPE, "C.UTF-8"); /* file names in archives: usb/archive/reader.h */
    if (argc >= 2 && strcmp(argv[1], "--version") == 0) {
        puts("flashrack " FLASHRACK_VERSION);
        return CLI_FINE;
    }
    if (argc >= 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0)) {
        print_help(stdout);
        return CLI_FINE;
    }
    for (size_t t = 0; t < ARRAY_LEN(tables); t++) {
        for (const struct cli_command *c = tables[t].commands; c->name; c++) {
            int words = words_matching(c->name, argc - 1, argv + 1);
            if (!words)
                continue;
            int status = c->run(c, argc - words, argv + words);
            if (fflush(stdout) != 0 && status == CLI_FINE) {
                perror("flashrack: output");
                status = CLI_BAD_INPUT;
            }
            return status;
        }
    }
    if (argc >= 2)
        fprintf(stderr, "flashrack: no command '%s'\n", cli_printable(argv[1]));
    print_help(stderr);
    return CLI_USAGE;
}
