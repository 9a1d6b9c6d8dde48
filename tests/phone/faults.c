#include "tests/phone/faults.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "usb/base/clock.h"
#include "usb/base/mem.h"

struct fault_item {
    struct fault_item *next;
    struct fault_spec spec;
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

/* A step that never comes would be a fault that never happens. Numbers are as step_fits() writes them. */
static bool step_exists(const char *step)
{
    static const char *const stages[] = {"brom", "preloader", "lk", "android"};
    bool known = step[0] == '\0' || (step[0] != '0' && step[strspn(step, "0123456789")] == '\0');
    for (size_t i = 0; i < ARRAY_LEN(stages); i++)
        known = known || strcmp(step, stages[i]) == 0;
    return known;
}

static int parse(const char *text, struct fault_spec *out, struct err *err)
{
    int rc = fault_spec_parse(text, out, err);
    if (rc == 0 && !step_exists(out->step))
        rc = err_set(err, ERR_INPUT,
                     "'%s': a step is a number from 1, brom, preloader, lk or android", text);
    if (rc == 0 && out->byte == 0 && !fault_kind_on_flash(out->kind))
        rc = err_set(err, ERR_INPUT,
                     "'%s': bytes count from 1; places on flash, for faults there, from 0", text);
    return rc;
}

int fault_plan_add(struct fault_plan *p, const char *spec, struct err *err)
{
    struct fault_spec parsed;
    int rc = parse(spec, &parsed, err);
    if (rc < 0)
        return rc;
    struct fault_item *f = xcalloc(1, sizeof(*f));
    f->spec = parsed;
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
    p->step_controls = p->controls;
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

static bool control_fits(const struct fault_plan *p, const struct fault_spec *s)
{
    uint64_t before = s->step[0] ? p->step_controls : 0;
    return p->controls - before >= (uint64_t)s->control;
}

static bool byte_fits(const struct fault_plan *p, const struct fault_spec *s)
{
    uint64_t before = s->step[0] ? p->step_bytes : 0;
    return s->byte < 0 || p->bytes - before >= (uint64_t)s->byte;
}

static void take(struct fault_item **at, struct fault_spec *spec_out)
{
    struct fault_item *f = *at;
    if (spec_out)
        *spec_out = f->spec;
    *at = f->next;
    free(f);
}

/* The first fault of the wire that is due now. Lock held. */
static enum fault_kind next_due(struct fault_plan *p, bool control, struct fault_spec *spec_out)
{
    for (struct fault_item **at = &p->first; *at; at = &(*at)->next) {
        const struct fault_spec *s = &(*at)->spec;
        if (fault_kind_actor(s->kind) != FAULT_BY_WIRE || control != (s->control >= 0) ||
            !step_fits(p, s))
            continue;
        if (control ? control_fits(p, s) : transfer_fits(p, s) && byte_fits(p, s)) {
            take(at, spec_out);
            return spec_out->kind;
        }
    }
    return FAULT_NONE;
}

enum fault_kind fault_plan_transfer(struct fault_plan *p, bool in, const void *data, size_t len,
                                    struct fault_spec *spec_out)
{
    pthread_mutex_lock(&p->lock);
    p->transfers++;
    p->bytes += len;
    watch(p, in, data, len);
    enum fault_kind kind = next_due(p, false, spec_out);
    pthread_mutex_unlock(&p->lock);
    return kind;
}

enum fault_kind fault_plan_control(struct fault_plan *p, struct fault_spec *spec_out)
{
    pthread_mutex_lock(&p->lock);
    p->controls++;
    enum fault_kind kind = next_due(p, true, spec_out);
    pthread_mutex_unlock(&p->lock);
    return kind;
}

/* A fault without byte=N is due wherever the firmware is; one without area=NAME means USER. */
static bool place_fits(const struct fault_spec *s, const struct fault_place *place)
{
    if (!place || (s->byte < 0 && !s->area[0]))
        return true;
    uint64_t byte = (uint64_t)s->byte;
    return strcmp(s->area[0] ? s->area : "user", place->area) == 0 &&
           (s->byte < 0 || (place->at <= byte && byte - place->at < place->len));
}

bool fault_plan_due(struct fault_plan *p, const char *word, const struct fault_place *place,
                    struct fault_spec *spec_out)
{
    enum fault_kind kind = fault_kind_of(word);
    bool due = false;
    assert(kind != FAULT_NONE && fault_kind_actor(kind) == FAULT_BY_PHONE);
    pthread_mutex_lock(&p->lock);
    for (struct fault_item **item = &p->first; *item && !due; item = &(*item)->next) {
        const struct fault_spec *s = &(*item)->spec;
        due = s->kind == kind && step_fits(p, s) && transfer_fits(p, s) && place_fits(s, place);
        if (due) {
            take(item, spec_out);
            break;
        }
    }
    pthread_mutex_unlock(&p->lock);
    return due;
}
