/* number_form.h: the phone's numbers, asked for at the terminal one by one, while the job is followed; or "ok", where
 * that is all that is wanted. It never waits: lines are given to it as they are typed. */
#ifndef FLASHRACK_SERVER_CLI_NUMBER_FORM_H
#define FLASHRACK_SERVER_CLI_NUMBER_FORM_H

#include <stdbool.h>
#include <stdio.h>

#include "server/cli/client_cmd.h"

enum { NUMBER_FIELDS = 5, NUMBER_BYTES = 64 };

struct number_form {
    bool active, confirm; /* confirm: a question that wants "ok", no numbers */
    int at; /* field that is asked for */
    char values[NUMBER_FIELDS][NUMBER_BYTES];
};

enum number_form_said { NUMBER_FORM_MORE, NUMBER_FORM_FULL, NUMBER_FORM_ABORT };

void number_form_start(struct number_form *f, bool confirm);
void number_form_ask(const struct number_form *f, FILE *out); /* the question, without a new line */
/* Takes a typed line. What cannot be right is told on `out` and asked for again. */
enum number_form_said number_form_line(struct number_form *f, const char *line, FILE *out);
/* Borrowed from `f`; empty fields are NULL. */
void number_form_numbers(const struct number_form *f, struct phone_numbers *out);

#endif
