#include "usb/plan/phone_state.h"

#include <stdio.h>
#include <string.h>

#include "usb/base/mem.h"

static const char *const kind_names[] = {"identity",   "service_lk", "nvram",
                                         "commercial", "extra",      "start"};
static const char *const phase_names[] = {"intent", "sent", "verified", "differs"};

/* What to do is the failure's advice: an interrupted job is resumed, one that has ended is ordered again. */
static const struct {
    const char *state, *advice;
    bool releasable;
} states[] = {
    {"untouched", "Nothing was written to the phone.", true},
    {"identity_partly_written",
     "The phone's identity is partly written: do not start it before a job has finished it.",
     false},
    {"service_lk_unverified",
     "The service bootloader may be torn: the phone may not start by itself, download mode still "
     "answers; a job must finish it.",
     false},
    {"identity_verified",
     "The phone's identity is partly restored: it must not be given away before a job has "
     "finished it.",
     false},
    {"service_lk_verified",
     "The phone starts with the service bootloader: it must not be given away before a job has "
     "finished it.",
     false},
    {"nvram_partly_written_do_not_boot",
     "Do not start the phone: its nvram is half written and Android would build a new one from "
     "garbage. A job must finish it first.",
     false},
    {"nvram_written_service_lk_in_place",
     "The phone starts with the service bootloader: do not start it and do not give it away "
     "before a job has finished it.",
     false},
    {"commercial_firmware_partly_written",
     "The firmware is partly written: do not start the phone before a job has finished it.", false},
    {"commercial_lk_verified",
     "The bootloader is the commercial one again; the identity was not verified after that: do "
     "not start the phone before a job has finished it.",
     false},
    {"ready_to_start", "All is written and verified; the phone was not started yet.", true},
    {"first_start", "All is written and verified; only its first start was not seen.", true},
    {"booted", "All is written and verified.", true},
    {"restored", "All is written, verified and accepted.", true},
};

static bool parse(const char *name, const char *const *names, size_t count, int *out)
{
    for (size_t i = 0; name && i < count; i++)
        if (strcmp(name, names[i]) == 0) {
            *out = (int)i;
            return true;
        }
    return false;
}

const char *phone_kind_name(enum phone_kind kind)
{
    return kind_names[kind];
}

const char *phone_phase_name(enum phone_phase phase)
{
    return phase_names[phase];
}

bool phone_kind_parse(const char *name, enum phone_kind *out)
{
    int i = 0;
    bool known = parse(name, kind_names, ARRAY_LEN(kind_names), &i);
    *out = (enum phone_kind)i;
    return known;
}

bool phone_phase_parse(const char *name, enum phone_phase *out)
{
    int i = 0;
    bool known = parse(name, phase_names, ARRAY_LEN(phase_names), &i);
    *out = (enum phone_phase)i;
    return known;
}

/* ---- taking in ------------------------------------------------------------------------------------- */

static struct phone_extent *find(struct phone_facts *f, enum phone_kind kind, const char *partition)
{
    for (size_t i = 0; i < f->count; i++)
        if (f->extents[i].kind == kind && strcmp(f->extents[i].partition, partition) == 0)
            return &f->extents[i];
    return NULL;
}

void phone_facts_note(struct phone_facts *f, const struct phone_extent *event)
{
    struct phone_extent *e = find(f, event->kind, event->partition);
    if (!e && f->count == PHONE_EXTENTS_MAX)
        return; /* a plan has no more writes than that */
    if (!e)
        e = &f->extents[f->count++];
    *e = *event;
    if (event->phase == PHONE_INTENT)
        f->last = event->kind;
}

const struct phone_extent *phone_facts_find(const struct phone_facts *f, enum phone_kind kind,
                                            const char *partition)
{
    for (size_t i = 0; i < f->count; i++)
        if (f->extents[i].kind == kind && strcmp(f->extents[i].partition, partition) == 0)
            return &f->extents[i];
    return NULL;
}

bool phone_facts_started(const struct phone_facts *f)
{
    return f->count > 0 && f->last == PHONE_START;
}

/* ---- telling --------------------------------------------------------------------------------------- */

/* The weakest of a kind: what holds for all of its extents. */
static enum phone_phase weakest(const struct phone_facts *f, enum phone_kind kind)
{
    enum phone_phase least = PHONE_VERIFIED;
    for (size_t i = 0; i < f->count; i++) {
        enum phone_phase phase = f->extents[i].phase;
        if (f->extents[i].kind != kind)
            continue;
        if (phase == PHONE_DIFFERS || phase == PHONE_INTENT)
            return PHONE_INTENT;
        least = MIN_OF(least, phase);
    }
    return least;
}

static const char *started(const struct phone_facts *f)
{
    static const char *const words[] = {"first_start", "booted", "restored"};
    enum phone_phase phase = weakest(f, PHONE_START);
    return words[phase];
}

const char *phone_state(const struct phone_facts *f)
{
    if (f->count == 0)
        return "untouched";
    enum phone_phase phase = weakest(f, f->last);
    switch (f->last) {
    case PHONE_IDENTITY:
        return phase == PHONE_VERIFIED ? "identity_verified" : "identity_partly_written";
    case PHONE_SERVICE_LK:
        return phase == PHONE_VERIFIED ? "service_lk_verified" : "service_lk_unverified";
    case PHONE_NVRAM:
    case PHONE_EXTRA:
        return weakest(f, PHONE_NVRAM) == PHONE_INTENT ? "nvram_partly_written_do_not_boot"
                                                       : "nvram_written_service_lk_in_place";
    case PHONE_COMMERCIAL:
        if (phase != PHONE_VERIFIED)
            return "commercial_firmware_partly_written";
        return weakest(f, PHONE_IDENTITY) == PHONE_VERIFIED &&
                       weakest(f, PHONE_NVRAM) == PHONE_VERIFIED
                   ? "ready_to_start"
                   : "commercial_lk_verified";
    case PHONE_START:
        return started(f);
    }
    return "untouched";
}

const char *phone_state_advice(const char *state)
{
    for (size_t i = 0; state && i < ARRAY_LEN(states); i++)
        if (strcmp(states[i].state, state) == 0)
            return states[i].advice;
    return "It is not known what was written to the phone: do not start it before a job "
           "has finished it.";
}

bool phone_state_releasable(const char *state)
{
    for (size_t i = 0; state && i < ARRAY_LEN(states); i++)
        if (strcmp(states[i].state, state) == 0)
            return states[i].releasable;
    return false;
}

/* ---- text form ------------------------------------------------------------------------------------- */

static json_t *extent_encode(const struct phone_extent *e, const char *phase)
{
    char hex[SHA256_HEX_BYTES];
    sha256_hex(&e->sha256, hex);
    return json_pack("{s:s, s:s, s:s, s:I, s:s}", "kind", kind_names[e->kind], "phase", phase,
                     "partition", e->partition, "length", (json_int_t)e->length_bytes, "sha256",
                     hex);
}

json_t *phone_facts_encode(const struct phone_facts *f)
{
    json_t *list = json_array();
    for (size_t pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < f->count; i++) {
            const struct phone_extent *e = &f->extents[i];
            if ((e->kind == f->last) != (pass == 1))
                continue;
            /* the intent says which kind was touched last, the second line what came of it */
            json_array_append_new(list, extent_encode(e, phase_names[PHONE_INTENT]));
            if (e->phase != PHONE_INTENT)
                json_array_append_new(list, extent_encode(e, phase_names[e->phase]));
        }
    }
    return list;
}

static bool extent_decode(json_t *item, struct phone_extent *out)
{
    const char *partition = json_string_value(json_object_get(item, "partition"));
    const char *hash = json_string_value(json_object_get(item, "sha256"));
    json_int_t length = json_integer_value(json_object_get(item, "length"));
    *out = (struct phone_extent){.length_bytes = length > 0 ? (uint64_t)length : 0};
    if (!partition || strlen(partition) >= sizeof(out->partition))
        return false;
    memcpy(out->partition, partition, strlen(partition) + 1);
    return phone_kind_parse(json_string_value(json_object_get(item, "kind")), &out->kind) &&
           phone_phase_parse(json_string_value(json_object_get(item, "phase")), &out->phase) &&
           (!hash || sha256_parse(hash, &out->sha256));
}

int phone_facts_decode(json_t *list, struct phone_facts *out, struct err *err)
{
    size_t i;
    json_t *item;
    json_array_foreach(list, i, item)
    {
        struct phone_extent event;
        if (!extent_decode(item, &event))
            return err_set(err, ERR_FORMAT, "what was written so far, line %zu, cannot be read", i);
        phone_facts_note(out, &event);
    }
    return 0;
}
