#include "server/cli/job_view.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "server/cli/cli.h"
#include "server/cli/table.h"
#include "usb/base/mem.h"

enum { COLUMNS_DEFAULT = 80, COLUMNS_LEAST = 40, COLUMNS_MOST = 100, BAR_CELLS = 30 };

#define ERASE_LINE "\r\033[K"
#define LOUD       "\a\033[1;7m"
#define QUIET      "\033[0m"

void job_view_init(struct job_view *v, FILE *out)
{
    const char *term = getenv("TERM");
    *v = (struct job_view){.out = out};
    v->tty = isatty(fileno(out)) && term && strcmp(term, "dumb") != 0;
}

static int columns(const struct job_view *v)
{
    struct winsize size = {0};
    if (!v->tty || ioctl(fileno(v->out), TIOCGWINSZ, &size) < 0 || size.ws_col < COLUMNS_LEAST)
        return COLUMNS_DEFAULT;
    return MIN_OF(size.ws_col, COLUMNS_MOST);
}

void job_view_clear(struct job_view *v)
{
    if (v->bar_shown)
        fputs(ERASE_LINE, v->out);
    v->bar_shown = false;
}

static void clock_print(const struct job_view *v)
{
    char text[16];
    time_t now = time(NULL);
    struct tm local;
    strftime(text, sizeof(text), "%H:%M:%S", localtime_r(&now, &local));
    fprintf(v->out, "%s  ", text);
}

void job_view_say(struct job_view *v, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    job_view_clear(v);
    clock_print(v);
    vfprintf(v->out, fmt, ap);
    fputc('\n', v->out);
    fflush(v->out);
    va_end(ap);
}

/* ---- prompts ---------------------------------------------------------------------------------------- */

/* Words of `text`, each line behind `margin`. */
static void wrapped(const struct job_view *v, const char *margin, const char *text)
{
    int width = columns(v), at = 0;
    for (const char *word = text; *word;) {
        int len = (int)strcspn(word, " ");
        if (at && at + 1 + len > width) {
            fputc('\n', v->out);
            at = 0;
        }
        at +=
            at ? fprintf(v->out, " %.*s", len, word) : fprintf(v->out, "%s%.*s", margin, len, word);
        word += len + (word[len] == ' ');
    }
    fputc('\n', v->out);
}

bool prompt_wants_ok(json_t *prompt)
{
    const char *wants = text_of(prompt, "wants");
    return wants && strcmp(wants, "confirmation") == 0;
}

static void answer_hint(const struct job_view *v, json_t *job)
{
    const char *id = text_or_dash(job, "id");
    if (prompt_wants_ok(json_object_get(job, "prompt"))) {
        if (!v->form_here)
            fprintf(v->out, "  Answer: flashrack answer %s (ok), or flashrack answer %s --abort\n",
                    id, id);
    } else if (v->form_here)
        wrapped(v, "  ", "Enter what the phone shows; 'abort' ends the job as failed.");
    else
        fprintf(v->out,
                "  Answer: flashrack answer %s --serial SERIAL --imei IMEI [--imei IMEI] "
                "--wlan-mac MAC --bt-mac MAC\n",
                id);
}

static void prompt_print(struct job_view *v, json_t *job, json_t *prompt)
{
    const char *by = text_of(prompt, "answered_by");
    job_view_clear(v);
    fprintf(v->out, "\n%s DO NOW: %s %s\n", v->tty ? LOUD : "***", text_or_dash(prompt, "text"),
            v->tty ? QUIET : "***");
    wrapped(v, "  ", text_or_dash(prompt, "todo"));
    if (by && strcmp(by, "person") == 0)
        answer_hint(v, job);
    fputc('\n', v->out);
    fflush(v->out);
}

static bool prompt_show(struct job_view *v, json_t *job)
{
    json_t *prompt = json_object_get(job, "prompt");
    char now[sizeof(v->prompt)] = "";
    if (json_is_object(prompt)) /* the text of a prompt may change while it stands */
        snprintf(now, sizeof(now), "%s %s", text_or_dash(prompt, "id"),
                 text_or_dash(prompt, "text"));
    if (strcmp(now, v->prompt) == 0)
        return false;
    memcpy(v->prompt, now, sizeof(now));
    if (now[0])
        prompt_print(v, job, prompt);
    return true;
}

/* ---- the bar ---------------------------------------------------------------------------------------- */

static void bar_print(struct job_view *v, json_t *progress)
{
    double done = json_number_value(json_object_get(progress, "done_bytes"));
    double total = json_number_value(json_object_get(progress, "total_bytes"));
    double per_s = json_number_value(json_object_get(progress, "bytes_per_s"));
    json_t *eta = json_object_get(progress, "eta_s");
    if (!v->tty || total <= 0)
        return;
    double share = MIN_OF(done / total, 1.0);
    char bar[BAR_CELLS + 1], rest[96] = "", text[200];
    for (int i = 0; i < BAR_CELLS; i++)
        bar[i] = i < share * BAR_CELLS ? '#' : '.';
    bar[BAR_CELLS] = '\0';
    if (per_s > 0)
        snprintf(rest, sizeof(rest), "  %s/s  %s left", cli_bytes((uint64_t)per_s),
                 json_is_number(eta) ? text_duration(json_number_value(eta)) : "?");
    snprintf(text, sizeof(text), "  [%s] %3.0f %%  %s of %s%s", bar, 100 * share,
             cli_bytes((uint64_t)done), cli_bytes((uint64_t)total), rest);
    fprintf(v->out, ERASE_LINE "%.*s", columns(v) - 1, text);
    fflush(v->out);
    v->bar_shown = true;
}

/* ---- the job ---------------------------------------------------------------------------------------- */

/* Keeps `now`; true when it is another text than before. */
static bool changed(char *before, size_t size, const char *now)
{
    if (!now || strcmp(before, now) == 0)
        return false;
    snprintf(before, size, "%s", now);
    return now[0] != '\0';
}

static void state_say(struct job_view *v, json_t *job, const char *state)
{
    const char *why = text_of(json_object_get(job, "waits_for"), "text");
    if (strcmp(state, "paused") == 0)
        job_view_say(v, "paused: 'flashrack resume ID' lets it go on");
    else if (strcmp(state, "waiting") == 0)
        job_view_say(v, "waiting: %s", why ? cli_printable(why) : "for its turn");
}

void job_view_step(struct job_view *v, json_t *job)
{
    if (changed(v->step, sizeof(v->step), text_or_dash(job, "step")) && strcmp(v->step, "-") != 0)
        job_view_say(v, "%s", v->step);
}

bool job_view_show(struct job_view *v, json_t *job)
{
    const char *state = text_of(job, "state");
    job_view_step(v, job);
    if (changed(v->state, sizeof(v->state), state))
        state_say(v, job, state);
    bool asked = prompt_show(v, job);
    if (state && strcmp(state, "running") == 0)
        bar_print(v, json_object_get(job, "progress"));
    return asked;
}

void job_view_log(struct job_view *v, json_t *line)
{
    const char *level = text_of(line, "level"), *message = text_of(line, "message");
    if (!level || strcmp(level, "debug") == 0)
        return;
    bool plain = strcmp(level, "info") == 0;
    if (plain && message &&
        message[0] == '{') /* facts as JSON: for `job ID --json` and the report */
        return;
    job_view_say(v, "  %s%s%s", plain ? "" : level, plain ? "" : ": ",
                 text_or_dash(line, "message"));
}
