/* check.h: what can be proven about a recipe before any phone is there: that it cannot get around a law (design: laws
 * 1, 3, 4, 5), and that with a given package it writes inside its plan only. The gate in the worker (usb/recipe/gate.h)
 * and the session's end hold the same laws at run time and do not rely on this. */
#ifndef FLASHRACK_USB_PLAN_CHECK_H
#define FLASHRACK_USB_PLAN_CHECK_H

#include "usb/plan/plan.h"

/* Follows the steps as a session would and looks at each rule of usb/plan/README.md. ERR_REFUSED with the step and the
 * reason. */
int recipe_check(const struct recipe *r, struct err *err);
/* The recipe of the plan, and every write of the plan: its step, its source by the role table, its place in the
 * layout. */
int plan_check(const struct plan *p, struct err *err);

#endif
