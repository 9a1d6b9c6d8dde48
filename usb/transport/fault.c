#include "usb/transport/fault.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "usb/base/mem.h"

static const char *const words[] = {[FAULT_NONE] = "none",
#define X(name, word) [FAULT_##name] = word,
                                    FAULT_KINDS(X)
#undef X
};

const char *fault_kind_word(enum fault_kind kind)
{
    return words[kind];
}

enum fault_kind fault_kind_of(const char *word)
{
    for (size_t i = 1; i < ARRAY_LEN(words); i++)
        if (strcmp(words[i], word) == 0)
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
    if (!number(value, &n))
        return false;
    if (strcmp(word, "transfer") == 0)
        spec->transfer = n;
    else if (strcmp(word, "byte") == 0)
        spec->byte = n;
    else if (strcmp(word, "seed") == 0)
        spec->seed = (uint64_t)n;
    else
        return false;
    return true;
}

int fault_spec_parse(const char *text, struct fault_spec *out, struct err *err)
{
    AUTO(free_ptr) char *copy = xstrdup(text);
    char *rest = NULL;
    char *word = strtok_r(copy, "@", &rest);
    struct fault_spec spec = {.kind = fault_kind_of(word ? word : ""), .transfer = -1, .byte = -1};
    if (spec.kind == FAULT_NONE)
        return err_set(err, ERR_INPUT, "'%s': no such fault", text);
    while ((word = strtok_r(NULL, "@", &rest)))
        if (!condition(&spec, word))
            return err_set(err, ERR_INPUT,
                           "'%s': conditions are transfer=N byte=N step=NAME seed=N", text);
    *out = spec;
    return 0;
}

uint64_t fault_random(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}
