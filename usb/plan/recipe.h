/* recipe.h: a recipe as data: which steps, in which order, on what. schema/recipes/<name>.json, described by
 * schema/recipe.schema.json. A new phone is a new recipe, not an `if` in the code that talks to it. */
#ifndef FLASHRACK_USB_PLAN_RECIPE_H
#define FLASHRACK_USB_PLAN_RECIPE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "usb/base/err.h"

enum { RECIPE_STEPS_MAX = 64, RECIPE_LIST_MAX = 32, RECIPE_NAME_MAX = 40, RECIPE_TEXT_MAX = 400 };

struct recipe_list {
    size_t count;
    char names[RECIPE_LIST_MAX][RECIPE_NAME_MAX];
};

struct recipe_step {
    char id[RECIPE_NAME_MAX];        /* "S7" */
    char name[RECIPE_NAME_MAX];      /* "write identity" */
    char action[RECIPE_NAME_MAX];    /* "do" */
    char write_class[RECIPE_NAME_MAX]; /* identity, service_lk, commercial */
    char target[RECIPE_NAME_MAX];
    struct recipe_list modes, partitions, of, reopen;
    char prompt_text[RECIPE_TEXT_MAX], prompt_todo[RECIPE_TEXT_MAX];
    /* connect: what is asked after a broken link, while the phone still sits on the bus, deaf */
    char lost_text[RECIPE_TEXT_MAX], lost_todo[RECIPE_TEXT_MAX];
    int timeout_s;    /* 0: the action's own */
    int hand_after_s; /* boot: ask a person after this long */
    bool optional;    /* a failure is noted, the job goes on */
};

struct recipe {
    char name[RECIPE_NAME_MAX], title[RECIPE_TEXT_MAX];
    int version;
    char platform[RECIPE_NAME_MAX], project[RECIPE_NAME_MAX];
    uint16_t hw_code, da_code;
    struct recipe_list backup_set; /* what S5 saves: partitions, pgpt, sgpt, boot1, boot2 */
    bool wants_backup;   /* something is written back: an order needs a backup */
    bool wants_firmware; /* an order needs a package, be it for the agent in it only */
    char finish[16];     /* the only form of finish; empty: as ordered */
    struct recipe_list needs_backup, needs_backup_optional, needs_firmware;
    size_t step_count;
    struct recipe_step steps[RECIPE_STEPS_MAX];
};

/* Strict: unknown members are ERR_FORMAT, so is a reference to a step that does not come before. */
int recipe_decode(json_t *json, struct recipe *out, struct err *err);
/* Copies the steps that there are: the rest of `to` is not touched, and costs no memory where it never was. */
void recipe_copy(struct recipe *to, const struct recipe *from);
const struct recipe_step *recipe_step_find(const struct recipe *r, const char *id);
/* Does any step change the phone's flash? Then an order names the serial of its label. */
bool recipe_writes(const struct recipe *r);
bool recipe_list_has(const struct recipe_list *list, const char *name);
/* "S7 write identity": how a step is called in journal, log, API and page. */
void recipe_step_title(const struct recipe_step *step, char *out, size_t size);

#endif
