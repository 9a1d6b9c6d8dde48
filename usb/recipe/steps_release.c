/* steps_release.c: looking at a phone without changing it, and letting it go again. */
#include "usb/base/clock.h"
#include "usb/recipe/internal.h"

enum { RELEASE_S = 3600 };

/* Switched off where the agent can do that. A boot ROM or preloader that was spoken to holds the phone until its cable is
 * out (law 10), and only hands can do that: nobody coming is no failure of what was done before. */
int action_release(struct session *s, const struct recipe_step *step, struct err *err)
{
    const struct session_host *h = &s->host;
    char serial[64];
    if (s->da_up) {
        const struct xflash_shutdown how = DA_SHUTDOWN_OFF;
        int off = da_shutdown(&s->da, &how, err);
        if (off == 0)
            session_wait_gone(s);
        return off;
    }
    session_close_device(s);
    int64_t until = clock_in((int64_t)(step->timeout_s ? step->timeout_s : RELEASE_S) * 1000);
    h->prompt(h->arg, s->title, step->id, step->prompt_text, step->prompt_todo, "usb");
    int rc = h->seen(h->arg, "none", until, serial, sizeof(serial), err);
    h->prompt(h->arg, s->title, NULL, "", "", "");
    if (rc == ERR_TIMEOUT) {
        note(s, "warn", "the phone is still plugged in: unplug it before the next job");
        err_clear(err);
        return 0;
    }
    return rc < 0 ? rc : 0;
}
