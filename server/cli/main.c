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

/* Words that begin several commands, as in "backup verify". */
static bool is_group(const struct cli_command *c, const char *word)
{
    size_t len = strlen(word);
    return strncmp(c->name, word, len) == 0 && c->name[len] == ' ';
}

/* How many commands that word begins; printed when `to` is given. */
static int group_print(FILE *to, const char *word)
{
    int count = 0;
    for (size_t t = 0; t < ARRAY_LEN(tables); t++)
        for (const struct cli_command *c = tables[t].commands; c->name; c++)
            if (is_group(c, word)) {
                count++;
                if (to)
                    fprintf(to, "  %s %s\n", c->name, c->arguments);
            }
    return count;
}

/* A whole page of help would push what is wrong off the screen. */
static int no_command(int argc, char **argv)
{
    const char *word = argv[1];
    if (group_print(NULL, word) == 0) {
        fprintf(stderr,
                "flashrack: no command '%s'\n           flashrack --help lists the commands.\n",
                cli_printable(word));
        return CLI_USAGE;
    }
    bool help = argc > 2 && strcmp(argv[2], "--help") == 0;
    FILE *to = help ? stdout : stderr;
    if (!help)
        fprintf(to, "flashrack: '%s' begins several commands\n", word);
    fputs("usage: flashrack COMMAND ...\n", to);
    group_print(to, word);
    fprintf(to, "\nflashrack %s COMMAND --help says more.\n", word);
    return help ? CLI_FINE : CLI_USAGE;
}

/* Which station it is about may stand in front of the command, too: how many words of argv[1..] that takes. */
static int words_ahead(int argc, char **argv)
{
    static const char *const with_value[] = {"--server", "--token", "--tls-ca"};
    int n = 0;
    while (n + 1 < argc) {
        const char *word = argv[n + 1];
        int takes = strcmp(word, "--json") == 0;
        for (size_t i = 0; i < ARRAY_LEN(with_value); i++) {
            size_t len = strlen(with_value[i]);
            if (strncmp(word, with_value[i], len) == 0)
                takes = word[len] == '=' ? 1 : word[len] == '\0' ? 2 : takes;
        }
        if (!takes || n + takes >= argc)
            break;
        n += takes;
    }
    return n;
}

/* The first `ahead` words go behind the `words` after them. */
static void put_behind(char **argv, int ahead, int words)
{
    for (int i = 0; i < words; i++) {
        char *word = argv[ahead + i];
        memmove(argv + i + 1, argv + i, (size_t)ahead * sizeof(*argv));
        argv[i] = word;
    }
}

static int run(int argc, char **argv)
{
    int ahead = words_ahead(argc, argv);
    for (size_t t = 0; t < ARRAY_LEN(tables); t++) {
        for (const struct cli_command *c = tables[t].commands; c->name; c++) {
            int words = words_matching(c->name, argc - 1 - ahead, argv + 1 + ahead);
            if (!words)
                continue;
            put_behind(argv + 1, ahead, words);
            int status = c->run(c, argc - words, argv + words);
            if (fflush(stdout) != 0 && status == CLI_FINE) {
                perror("flashrack: output");
                status = CLI_BAD_INPUT;
            }
            return status;
        }
    }
    if (argc - ahead >= 2)
        return no_command(argc - ahead, argv + ahead);
    print_help(stderr);
    return CLI_USAGE;
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
    return run(argc, argv);
}
