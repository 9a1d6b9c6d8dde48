#include "tests/phone/faults.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "usb/base/clock.h"
#include "usb/base/mem.h"

struct fault_item {
    struct fault_item *next;
    struct fault_spec spec; /* kind FAULT_NONE: a question of the firmware */
    char word[FAULT_WORD_BYTES];
};

void fault_plan_init(struct fault_plan *p)
{
    *p = (struct fault_plan){.first = NULL};
    pthread_mutex_init(&p->lock, NULL);
}

size_t fault_plan_clear(struct fault_plan *p)
{
    size_t count = 0;
    pthread_mutex_lock(&p->lock);
    for (; p->first; count++) {
        struct fault_item *f = p->first;
        p->first = f->next;
        free(f);
    }
    pthread_mutex_unlock(&p->lock);
    return count;
}

void fault_plan_deinit(struct fault_plan *p)
{
    fault_plan_clear(p);
    free(p->seen);
    pthread_mutex_destroy(&p->lock);
}

void fault_plan_watch(struct fault_plan *p)
{
    pthread_mutex_lock(&p->lock);
    if (!p->seen)
        p->seen = xcalloc(FAULT_SEEN_MAX, sizeof(*p->seen));
    p->seen_count = 0;
    pthread_mutex_unlock(&p->lock);
}

/* Lock held. */
static void watch(struct fault_plan *p, bool in, const void *data, size_t len)
{
    if (!p->seen || p->seen_count == FAULT_SEEN_MAX)
        return;
    struct fault_seen *s = &p->seen[p->seen_count++];
    *s = (struct fault_seen){.at_ms = clock_utc_ms(),
                             .step = p->steps,
                             .transfer = p->transfers - p->step_transfers,
                             .in = in,
                             .len = (uint32_t)len};
    memcpy(s->stage, p->stage, sizeof(s->stage));
    if (data)
        memcpy(s->head, data, MIN_OF(len, (size_t)FAULT_HEAD_BYTES));
}

static int parse(const char *text, struct fault_item *out, struct err *err)
{
    size_t word_len = strcspn(text, "@");
    if (word_len == 0 || word_len >= sizeof(out->word))
        return err_set(err, ERR_INPUT, "'%s': no such fault", text);
    memcpy(out->word, text, word_len);
    out->word[word_len] = '\0';
    if (fault_kind_of(out->word) != FAULT_NONE)
        return fault_spec_parse(text, &out->spec, err);
    /* The firmware's words have the same conditions; only the kind is not in the list. */
    AUTO(free_ptr)
    char *conditions = xasprintf("%s%s", fault_kind_word(FAULT_LIE), text + word_len);
    int rc = fault_spec_parse(conditions, &out->spec, err);
    out->spec.kind = FAULT_NONE;
    return rc;
}

int fault_plan_add(struct fault_plan *p, const char *spec, struct err *err)
{
    struct fault_item parsed = {.next = NULL};
    int rc = parse(spec, &parsed, err);
    if (rc < 0)
        return rc;
    struct fault_item *f = xcalloc(1, sizeof(*f));
    *f = parsed;
    pthread_mutex_lock(&p->lock);
    struct fault_item **end = &p->first;
    while (*end)
        end = &(*end)->next;
    *end = f;
    pthread_mutex_unlock(&p->lock);
    return 0;
}

void fault_plan_step(struct fault_plan *p, const char *stage)
{
    pthread_mutex_lock(&p->lock);
    p->steps++;
    p->step_transfers = p->transfers;
    p->step_bytes = p->bytes;
    snprintf(p->stage, sizeof(p->stage), "%s", stage);
    pthread_mutex_unlock(&p->lock);
}

static bool step_fits(const struct fault_plan *p, const struct fault_spec *s)
{
    char number[24];
    snprintf(number, sizeof(number), "%llu", (unsigned long long)p->steps);
    return !s->step[0] || strcmp(s->step, p->stage) == 0 || strcmp(s->step, number) == 0;
}

/* True when the transfer that was counted last is at, or past, the place of the fault. */
static bool transfer_fits(const struct fault_plan *p, const struct fault_spec *s)
{
    uint64_t before = s->step[0] ? p->step_transfers : 0;
    return s->transfer < 0 || p->transfers - before >= (uint64_t)s->transfer;
}

static bool byte_fits(const struct fault_plan *p, const struct fault_spec *s)
{
    uint64_t before = s->step[0] ? p->step_bytes : 0;
    return s->byte < 0 || p->bytes - before >= (uint64_t)s->byte;
}

enum fault_kind fault_plan_transfer(struct fault_plan *p, bool in, const void *data, size_t len,
                                    uint64_t *seed_out)
{
    enum fault_kind kind = FAULT_NONE;
    pthread_mutex_lock(&p->lock);
    p->transfers++;
    p->bytes += len;
    watch(p, in, data, len);
    for (struct fault_item **at = &p->first; *at; at = &(*at)->next) {
        struct fault_item *f = *at;
        if (f->spec.kind == FAULT_NONE || !step_fits(p, &f->spec) || !transfer_fits(p, &f->spec) ||
            !byte_fits(p, &f->spec))
            continue;
        kind = f->spec.kind;
        *seed_out = f->spec.seed;
        *at = f->next;
        free(f);
        break;
    }
    pthread_mutex_unlock(&p->lock);
    return kind;
}

bool fault_plan_due(struct fault_plan *p, const char *word, uint64_t at)
{
    bool due = false;
    pthread_mutex_lock(&p->lock);
    for (struct fault_item **item = &p->first; *item && !due; item = &(*item)->next) {
        struct fault_item *f = *item;
        due = f->spec.kind == FAULT_NONE && strcmp(f->word, word) == 0 && step_fits(p, &f->spec) &&
              transfer_fits(p, &f->spec) && (f->spec.byte < 0 || at >= (uint64_t)f->spec.byte);
        if (due) {
            *item = f->next;
            free(f);
            break;
        }
    }
    pthread_mutex_unlock(&p->lock);
    return due;
}
