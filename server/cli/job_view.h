/* job_view.h: a running job on a terminal (a bar that moves) or in a file (plain lines). */
#ifndef FLASHRACK_SERVER_CLI_JOB_VIEW_H
#define FLASHRACK_SERVER_CLI_JOB_VIEW_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

struct job_view {
    FILE *out;
    bool tty, bar_shown;
    bool form_here; /* a person's prompt is answered at this terminal */
    char step[96], state[16], prompt[400];
};

void job_view_init(struct job_view *v, FILE *out);
/* Its step, when that is new: what there is to tell of a job as it was some time ago. */
void job_view_step(struct job_view *v, json_t *job);
/* What is new in `job`: its step, its state, a prompt, its progress. True when a prompt came, changed or went. */
bool job_view_show(struct job_view *v, json_t *job);
/* A person is asked for ok or abort, and for no numbers. */
bool prompt_wants_ok(json_t *prompt);
void job_view_log(struct job_view *v, json_t *line);
/* A line of our own, with the time in front. */
void job_view_say(struct job_view *v, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Takes the bar away, so that something else can be written. */
void job_view_clear(struct job_view *v);

#endif
