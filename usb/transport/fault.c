#include "usb/transport/fault.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "usb/base/clock.h"
#include "usb/base/mem.h"

static const struct {
    const char *word, *text;
    enum fault_actor actor;
} kinds[FAULT_KIND_COUNT] = {[FAULT_NONE] = {"none", "", FAULT_BY_WIRE},
#define X(name, word, actor, text) [FAULT_##name] = {word, text, FAULT_BY_##actor},
                             FAULT_KINDS(X)
#undef X
};

const char *fault_kind_word(enum fault_kind kind)
{
    return kinds[kind].word;
}

const char *fault_kind_text(enum fault_kind kind)
{
    return kinds[kind].text;
}

enum fault_actor fault_kind_actor(enum fault_kind kind)
{
    return kinds[kind].actor;
}

bool fault_kind_on_flash(enum fault_kind kind)
{
    return kind == FAULT_STORAGE_READ || kind == FAULT_STORAGE_WRITE || kind == FAULT_LYING_WRITE ||
           kind == FAULT_FLASH_FAILS;
}

enum fault_kind fault_kind_of(const char *word)
{
    for (size_t i = 1; i < ARRAY_LEN(kinds); i++)
        if (strcmp(kinds[i].word, word) == 0)
            return (enum fault_kind)i;
    return FAULT_NONE;
}

static bool number(const char *text, int64_t *out)
{
    char *end;
    errno = 0;
    long long v = strtoll(text, &end, 0);
    if (end == text || *end || v < 0 || errno)
        return false;
    *out = v;
    return true;
}

/* Where the number of a condition goes; NULL when the kind has no such condition: a place that is
 * never reached would be a fault that never happens. */
static int64_t *condition_place(struct fault_spec *spec, const char *name)
{
    bool by_wire = fault_kind_actor(spec->kind) == FAULT_BY_WIRE;
    const struct {
        const char *name;
        int64_t *place;
        bool fits;
    } all[] = {
        {"transfer", &spec->transfer, true},
        {"control", &spec->control, by_wire},
        {"byte", &spec->byte, by_wire || fault_kind_on_flash(spec->kind)},
        {"ms", &spec->ms, spec->kind == FAULT_LATE},
        {"status", &spec->status, spec->kind == FAULT_DA_STATUS},
    };
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        if (all[i].fits && strcmp(all[i].name, name) == 0)
            return all[i].place;
    return NULL;
}

static bool area(struct fault_spec *spec, const char *name)
{
    bool known =
        strcmp(name, "boot1") == 0 || strcmp(name, "boot2") == 0 || strcmp(name, "user") == 0;
    if (known)
        snprintf(spec->area, sizeof(spec->area), "%s", name);
    return known && fault_kind_on_flash(spec->kind);
}

static bool condition(struct fault_spec *spec, char *word)
{
    char *value = strchr(word, '=');
    if (!value)
        return false;
    *value++ = '\0';
    int64_t n = 0;
    if (strcmp(word, "step") == 0) {
        snprintf(spec->step, sizeof(spec->step), "%s", value);
        return spec->step[0] && strlen(value) < sizeof(spec->step);
    }
    if (strcmp(word, "area") == 0)
        return area(spec, value);
    if (!number(value, &n))
        return false;
    if (strcmp(word, "seed") == 0) {
        spec->seed = (uint64_t)n;
        return true;
    }
    int64_t *place = condition_place(spec, word);
    if (!place || (n == 0 && (place == &spec->transfer || place == &spec->control)))
        return false; /* transfers count from 1 */
    *place = n;
    return true;
}

int fault_spec_parse(const char *text, struct fault_spec *out, struct err *err)
{
    AUTO(free_ptr) char *copy = xstrdup(text);
    char *rest = copy, *word = strsep(&rest, "@");
    struct fault_spec spec = {.kind = fault_kind_of(word),
                              .transfer = -1,
                              .control = -1,
                              .byte = -1,
                              .ms = -1,
                              .status = -1};
    if (spec.kind == FAULT_NONE)
        return err_set(err, ERR_INPUT, "'%s': no such fault; emulated-x5 --list-faults names all",
                       text);
    while ((word = strsep(&rest, "@")))
        if (!condition(&spec, word))
            return err_set(err, ERR_INPUT,
                           "'%s': conditions are transfer=N (from 1) step=NAME seed=N, byte=N for faults of "
                           "the wire or on flash, area=boot1|boot2|user for those on flash, "
                           "control=N for those of the wire, ms=N for late, status=N for da_status",
                           text);
    if (spec.status > UINT32_MAX)
        return err_set(err, ERR_INPUT, "'%s': a status has 32 bits", text);
    *out = spec;
    return 0;
}

int64_t fault_late_until_ms(const struct fault_spec *spec)
{
    return spec->ms < 0 ? clock_in(FAULT_LATE_MS) : clock_now_ms() + spec->ms;
}

void fault_garbage(uint64_t seed, void *dst, size_t len)
{
    for (uint8_t *at = dst, *end = at + len; at < end; at++)
        *at = (uint8_t)fault_random(&seed);
}

uint64_t fault_random(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}
