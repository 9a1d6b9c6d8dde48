/* failures_cmd.c: what can go wrong with a phone: the catalogue as a table, and looking up in it what a person sees. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "server/cli/client_cmd.h"
#include "server/cli/table.h"
#include "usb/base/buf.h"
#include "usb/base/mem.h"

enum { WORDS_TEXT_MAX = 300 };

/* An id is meant as a whole: E1 is not E10. */
static bool has_word(json_t *failure, const char *word)
{
    static const char *const texts[] = {"code", "cause", "advice"};
    const char *id = text_of(failure, "id");
    if (id && strcasecmp(id, word) == 0)
        return true;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        const char *text = text_of(failure, texts[i]);
        if (text && strcasestr(text, word))
            return true;
    }
    return false;
}

static json_t *chosen_of(json_t *items, char **words, int count)
{
    json_t *chosen = json_array(), *failure;
    size_t i;
    json_array_foreach(items, i, failure)
    {
        int k = 0;
        while (k < count && has_word(failure, words[k]))
            k++;
        if (k == count)
            json_array_append(chosen, failure);
    }
    return chosen;
}

static void table_show(json_t *items)
{
    AUTO(table_free) struct table *t = table_new("ID\0CLASS\0CAUSE\0");
    size_t i;
    json_t *failure;
    json_array_foreach(items, i, failure)
    {
        table_cell(t, text_of(failure, "id"));
        table_cell(t, text_of(failure, "class"));
        table_cell(t, text_of(failure, "cause"));
    }
    table_print(t);
    puts("\n'flashrack failures WORDS...' tells what to do: flashrack failures nvram warning");
}

static void entries_show(json_t *items)
{
    size_t i;
    json_t *failure;
    json_array_foreach(items, i, failure)
    {
        const char *seen_by = text_of(failure, "seen_by");
        bool person = seen_by && strcmp(seen_by, "person") == 0;
        printf("%s%s  %s  %s%s\n", i ? "\n" : "", text_or_dash(failure, "id"),
               text_or_dash(failure, "class"), text_or_dash(failure, "code"),
               person ? "  (only a person sees it)" : "");
        printf("  %-9s %s\n", "cause", text_or_dash(failure, "cause"));
        printf("  %-9s %s\n", "advice", text_or_dash(failure, "advice"));
    }
}

static int nothing_found(char **words, int count)
{
    AUTO(buf_deinit) struct buf text;
    buf_init(&text, WORDS_TEXT_MAX);
    for (int i = 0; i < count; i++) {
        buf_put(&text, " ", 1);
        buf_put(&text, words[i], strlen(words[i]));
    }
    struct err err;
    if (count == 0)
        err_set(&err, ERR_NOT_FOUND, "the station's failure catalogue is empty");
    else
        err_set(&err, ERR_NOT_FOUND, "no failure has %s in it:%.*s",
                count == 1 ? "this" : "all of this", (int)text.len, (const char *)text.data);
    return cli_fail(&err, count ? "Take fewer words, or others; 'flashrack failures' lists all of "
                                  "them. A job that failed: 'flashrack job ID'."
                                : "Put the schema folder that came with flashrackd back "
                                  "(flashrackd --schema).");
}

int failures_cmd(const struct cli_command *self, int argc, char **argv)
{
    struct client_options common = {0};
    const struct cli_option options[] = {CLIENT_OPTIONS(common), {0}};
    AUTO(client_free) struct client *c = NULL;
    int count = cli_options(self, argc, argv, options);
    if (count < 0)
        return CLI_USAGE;
    int rc = station_open(&common, &c);
    if (rc != CMD_GO_ON)
        return rc;
    struct err err;
    AUTO(client_json_free) json_t *list = NULL;
    if (client_get(c, CLIENT_API "/failures", &list, &err) < 0)
        return client_fail(c, &err);
    AUTO(client_json_free) json_t *chosen = chosen_of(json_object_get(list, "items"), argv, count);
    if (common.json)
        cli_json_print(json_pack("{s:O, s:n}", "items", chosen, "next"));
    if (json_array_size(chosen) == 0)
        return nothing_found(argv, count);
    if (!common.json)
        (count ? entries_show : table_show)(chosen);
    return CLI_FINE;
}
