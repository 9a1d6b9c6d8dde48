#include "usb/plan/check.h"

#include <string.h>

#include "usb/base/mem.h"
#include "usb/format/roles.h"

/* Where the phone is after a step. */
enum place { NOWHERE, CONNECTED, AGENT, FASTBOOT, KNOWN_FASTBOOT, OFF, STARTED };
enum { ANYWHERE = -1, STAYS = -2 };

static const char *const place_names[] = {"not connected",
                                          "in download mode",
                                          "in the download agent",
                                          "in fastboot, nobody knows which phone",
                                          "in fastboot",
                                          "switched off",
                                          "started"};

enum kind {
    LOOKS,
    WRITES,    /* bytes reach the phone's flash */
    LEADS,     /* may bring a phone back after a broken link (reopen) */
    LETS_START /* after it nothing holds the phone back from starting */
};

static const struct action { /* what a step needs, where it leads, what it does */
    const char *name;
    int from, to;
    enum kind kind;
} actions[] = {
    {"connect", ANYWHERE, CONNECTED, LEADS},
    {"da_start", CONNECTED, AGENT, LEADS},
    {"identify", CONNECTED, STAYS, LOOKS},
    {"backup", AGENT, STAYS, LOOKS},
    {"inspect", AGENT, STAYS, LOOKS},
    {"survey", AGENT, STAYS, LOOKS},
    {"write", AGENT, STAYS, WRITES},
    {"verify", AGENT, STAYS, LOOKS},
    {"leave", AGENT, FASTBOOT, LEADS},
    {"fastboot_check", FASTBOOT, KNOWN_FASTBOOT, LEADS},
    {"fastboot_authorise", KNOWN_FASTBOOT, STAYS, LEADS},
    {"fastboot_flash", KNOWN_FASTBOOT, STAYS, WRITES},
    {"fastboot_halt", KNOWN_FASTBOOT, OFF, LOOKS},
    {"boot", AGENT, STARTED, LETS_START},
    {"accept", STARTED, STAYS, LETS_START},
    {"release", ANYWHERE, OFF, LETS_START},
};

static const struct action *action_of(const struct recipe_step *step)
{
    for (size_t i = 0; i < ARRAY_LEN(actions); i++)
        if (strcmp(actions[i].name, step->action) == 0)
            return &actions[i];
    return NULL;
}

static bool step_writes(const struct recipe_step *step)
{
    const struct action *a = action_of(step);
    return a && a->kind == WRITES;
}

static bool class_is(const struct recipe_step *step, enum plan_class class)
{
    return strcmp(step->write_class, plan_class_name(class)) == 0;
}

struct walk { /* what is known when a step begins */
    const struct recipe *recipe;
    int place;
    bool saved;                        /* the identity set was */
    bool inspected;                    /* gates and active slot */
    bool unverified[RECIPE_STEPS_MAX]; /* this step wrote, nobody has read it back */
    int service_lk; /* step after which a slot holds the service LK, -1: none; until a later commercial one is verified */
};

static int refuse(const struct recipe_step *step, struct err *err, const char *why)
{
    return err_set(err, ERR_REFUSED, "recipe step %s %s: %s", step->id, step->name, why);
}

/* ---- law 1 and the role table -------------------------------------------------------------------------- */

static int check_backup_set(const struct recipe *r, const struct recipe_step *step, struct err *err)
{
    for (const char *const *name = role_identity_names; *name; name++)
        if (!recipe_list_has(&r->backup_set, *name))
            return err_set(err, ERR_REFUSED, "recipe step %s %s: backup_set leaves out %s",
                           step->id, step->name, *name);
    return 0;
}

/* Identity partitions are named one by one and must be those that a phone gets from its own backup; what comes from a
 * package is laid out by the plan. */
static int check_class(const struct recipe_step *step, struct err *err)
{
    bool identity = class_is(step, PLAN_IDENTITY);
    if (!step->write_class[0])
        return refuse(step, err, "it writes, but says not from where (class)");
    if (strcmp(step->action, "fastboot_flash") == 0 && !identity)
        return refuse(step, err, "fastboot gets nothing but identity");
    if (identity != (step->partitions.count > 0))
        return refuse(step, err, "class identity names its partitions, other classes name none");
    for (size_t i = 0; i < step->partitions.count; i++)
        if (role_of(step->partitions.names[i])->restore != RESTORE_OWN)
            return err_set(err, ERR_REFUSED, "recipe step %s %s: %s is never written from a backup",
                           step->id, step->name, step->partitions.names[i]);
    return 0;
}

static int check_write(struct walk *w, const struct recipe_step *step, struct err *err)
{
    if (!w->saved)
        return refuse(step, err, "it writes before the identity set was saved (law 1)");
    if (!w->inspected)
        return refuse(step, err,
                      "it writes before the phone was inspected: its version, project and active "
                      "slot have to fit the package (law 3)");
    int rc = check_class(step, err);
    if (rc < 0)
        return rc;
    w->unverified[step - w->recipe->steps] = true;
    if (class_is(step, PLAN_SERVICE_LK))
        w->service_lk = (int)(step - w->recipe->steps);
    return 0;
}

/* ---- laws 4 and 5 -------------------------------------------------------------------------------------- */

static int check_verify(struct walk *w, const struct recipe_step *step, struct err *err)
{
    if (step->of.count == 0)
        return refuse(step, err, "it verifies nothing (of)");
    for (size_t i = 0; i < step->of.count; i++) {
        const struct recipe_step *written = recipe_step_find(w->recipe, step->of.names[i]);
        if (!written || !step_writes(written))
            return err_set(err, ERR_REFUSED, "recipe step %s %s: %s writes nothing", step->id,
                           step->name, step->of.names[i]);
        w->unverified[written - w->recipe->steps] = false;
        if (class_is(written, PLAN_COMMERCIAL) && written - w->recipe->steps > w->service_lk)
            w->service_lk = -1;
    }
    return 0;
}

static int check_all_verified(const struct walk *w, const struct recipe_step *step, struct err *err)
{
    for (size_t i = 0; i < w->recipe->step_count; i++)
        if (w->unverified[i])
            return err_set(
                err, ERR_REFUSED,
                "recipe step %s %s: what %s %s has written was not read back before (law 4)",
                step->id, step->name, w->recipe->steps[i].id, w->recipe->steps[i].name);
    return 0;
}

static int check_may_start(const struct walk *w, const struct recipe_step *step, struct err *err)
{
    int rc = check_all_verified(w, step, err);
    if (rc == 0 && w->service_lk >= 0)
        rc = refuse(step, err,
                    "a slot holds the service bootloader: the commercial one has to be written and "
                    "verified before (law 5)");
    return rc;
}

/* ---- coming back after a broken link ------------------------------------------------------------------- */

/* The steps named by reopen write nothing and lead to where this step begins. */
static int check_reopen(const struct walk *w, const struct recipe_step *step, int from,
                        struct err *err)
{
    int place = NOWHERE;
    for (size_t i = 0; i < step->reopen.count; i++) {
        const struct recipe_step *again = recipe_step_find(w->recipe, step->reopen.names[i]);
        const struct action *a = again ? action_of(again) : NULL;
        if (!a || a->kind != LEADS)
            return err_set(
                err, ERR_REFUSED,
                "recipe step %s %s: reopen repeats %s, which does more than bring the phone "
                "back",
                step->id, step->name, step->reopen.names[i]);
        if (a->from != ANYWHERE && a->from != place)
            return err_set(err, ERR_REFUSED,
                           "recipe step %s %s: reopen comes to %s with the phone %s", step->id,
                           step->name, again->id, place_names[place]);
        if (a->to != STAYS)
            place = a->to;
    }
    if (step->reopen.count && from != ANYWHERE && place != from)
        return err_set(err, ERR_REFUSED, "recipe step %s %s: after reopen the phone is %s, not %s",
                       step->id, step->name, place_names[place], place_names[from]);
    return 0;
}

/* ---- the walk ------------------------------------------------------------------------------------------ */

static int check_step(struct walk *w, const struct recipe_step *step, struct err *err)
{
    const struct action *a = action_of(step);
    if (!a)
        return refuse(step, err, "nothing is known about what it does");
    if (a->from != ANYWHERE && a->from != w->place)
        return err_set(err, ERR_REFUSED, "recipe step %s %s: the phone is %s here, it has to be %s",
                       step->id, step->name, place_names[w->place], place_names[a->from]);
    int rc = check_reopen(w, step, a->from, err);
    if (rc == 0 && strcmp(a->name, "backup") == 0) {
        rc = check_backup_set(w->recipe, step, err);
        w->saved = rc == 0;
    }
    if (rc == 0 && strcmp(a->name, "inspect") == 0)
        w->inspected = true;
    if (rc == 0 && a->kind == WRITES)
        rc = check_write(w, step, err);
    if (rc == 0 && strcmp(a->name, "verify") == 0)
        rc = check_verify(w, step, err);
    if (rc == 0 && strcmp(a->name, "leave") == 0)
        rc = check_all_verified(w, step, err); /* the bootloader that was written runs now */
    if (rc == 0 && a->kind == LETS_START)
        rc = check_may_start(w, step, err);
    if (a->to != STAYS)
        w->place = a->to;
    return rc;
}

int recipe_check(const struct recipe *r, struct err *err)
{
    AUTO(free_ptr) struct walk *w = xcalloc(1, sizeof(*w));
    w->recipe = r;
    w->service_lk = -1;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < r->step_count; i++)
        rc = check_step(w, &r->steps[i], err);
    if (rc == 0 && r->step_count) /* the end gives the phone away, whatever the last step was */
        rc = check_may_start(w, &r->steps[r->step_count - 1], err);
    return rc;
}

/* ---- the plan ------------------------------------------------------------------------------------------ */

static int refuse_write(const struct plan_write *w, struct err *err, const char *why)
{
    return err_set(err, ERR_REFUSED, "plan, step %s, partition %s: %s", w->step, w->partition, why);
}

static int check_source(const struct plan *p, const struct plan_write *w, struct err *err)
{
    const struct recipe_step *step = recipe_step_find(&p->recipe, w->step);
    bool identity = w->write_class == PLAN_IDENTITY;
    if (!step || !step_writes(step) || !class_is(step, w->write_class))
        return refuse_write(w, err, "no step of the recipe writes that");
    if (identity && !recipe_list_has(&step->partitions, w->partition))
        return refuse_write(w, err, "the step does not name it");
    if (strncmp(w->partition, "preloader", 9) == 0)
        return refuse_write(w, err,
                            "a preloader is not rewritten: a cut in it leaves a phone that only "
                            "its boot ROM can save");
    if (role_of(w->partition)->restore != (identity ? RESTORE_OWN : RESTORE_PACKAGE))
        return refuse_write(w, err,
                            identity ? "never written from a backup"
                                     : "protected: never written from a package");
    return 0;
}

static bool overlap(const struct plan_extent *a, const struct plan_extent *b)
{
    return a->size_bytes && b->size_bytes && a->offset_bytes < b->offset_bytes + b->size_bytes &&
           b->offset_bytes < a->offset_bytes + a->size_bytes;
}

/* One entry of the layout has this name, and no other one shares a byte with it. */
static int check_place(const struct plan *p, const struct plan_write *w, struct err *err)
{
    const struct plan_extent want = {.offset_bytes = w->offset_bytes,
                                     .size_bytes = w->partition_bytes};
    size_t found = 0;
    for (size_t i = 0; i < p->layout_count; i++) {
        const struct plan_extent *e = &p->layout[i];
        bool here = strcmp(e->name, w->partition) == 0;
        if (here && (e->offset_bytes != want.offset_bytes || e->size_bytes != want.size_bytes))
            return refuse_write(w, err, "the layout has it elsewhere");
        if (!here && overlap(e, &want))
            return err_set(err, ERR_REFUSED, "plan, step %s, partition %s: it overlaps %s", w->step,
                           w->partition, e->name);
        found += here;
    }
    if (found != 1 || want.size_bytes == 0)
        return refuse_write(w, err, "the layout does not say where it is");
    if (w->size_bytes == 0 || w->size_bytes > w->partition_bytes ||
        (w->write_class == PLAN_IDENTITY && w->size_bytes != w->partition_bytes))
        return refuse_write(w, err, "the image does not fit");
    return 0;
}

/* The slot that gets the service LK gets the commercial one later (law 5). */
static int check_way_back(const struct plan *p, const struct plan_write *w, struct err *err)
{
    if (w->write_class != PLAN_SERVICE_LK)
        return 0;
    for (const struct plan_write *next = w + 1; next < p->writes + p->write_count; next++)
        if (next->write_class == PLAN_COMMERCIAL && next->slot == w->slot &&
            strcmp(next->partition, w->partition) == 0)
            return 0;
    return refuse_write(w, err,
                        "gets the service bootloader, and no commercial one after it (law 5)");
}

static int check_once(const struct plan *p, const struct plan_write *w, struct err *err)
{
    for (const struct plan_write *before = p->writes; before < w; before++)
        if (strcmp(before->step, w->step) == 0 && strcmp(before->partition, w->partition) == 0)
            return refuse_write(w, err, "the step writes it twice");
    return 0;
}

/* A step that has nothing to write would be passed over as if it had. */
static int check_steps_write(const struct plan *p, struct err *err)
{
    for (size_t i = 0; i < p->recipe.step_count; i++) {
        const struct recipe_step *step = &p->recipe.steps[i];
        bool found = !step_writes(step) || step->optional;
        for (size_t k = 0; k < p->write_count && !found; k++)
            found = strcmp(p->writes[k].step, step->id) == 0;
        if (!found)
            return refuse(step, err, "the plan has nothing for it to write");
    }
    return 0;
}

int plan_check(const struct plan *p, struct err *err)
{
    int rc = recipe_check(&p->recipe, err);
    for (const struct plan_write *w = p->writes; rc == 0 && w < p->writes + p->write_count; w++) {
        rc = check_source(p, w, err);
        if (rc == 0)
            rc = check_place(p, w, err);
        if (rc == 0)
            rc = check_way_back(p, w, err);
        if (rc == 0)
            rc = check_once(p, w, err);
    }
    return rc < 0 ? rc : check_steps_write(p, err);
}
