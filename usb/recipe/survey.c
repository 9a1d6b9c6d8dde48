/* survey.c: what the runs before this one have done, proven by reading the phone and not believed from the journal.
 * Identity and bootloader slots only: the rest of an upgrade is written again. */
#include <string.h>

#include "usb/base/mem.h"
#include "usb/recipe/image.h"
#include "usb/recipe/internal.h"

enum { PIECE_BYTES = 64 * 1024 };

static bool surveyed(const struct session *s, const struct plan_write *w)
{
    return (w->write_class == PLAN_IDENTITY || w->slot) && write_applies(s, w, w->step);
}

/* SHA-256 of the stream that would be sent. */
static int wanted(struct session *s, const struct plan_write *w, struct sha256 *out,
                  struct err *err)
{
    AUTO(image_close) struct image *image = NULL;
    AUTO(free_ptr) uint8_t *piece = xcalloc(1, PIECE_BYTES);
    int rc = session_image_open(s, w, &image, err);
    for (uint64_t left = session_padded(s, w); rc == 0 && left > 0;) {
        size_t n = left < PIECE_BYTES ? (size_t)left : PIECE_BYTES;
        rc = image_source(image, piece, n, err);
        left -= n;
        s->host.tick(s->host.arg);
    }
    if (rc == 0)
        *out = image_sent(image);
    return rc;
}

static int survey_one(struct session *s, size_t index, struct err *err)
{
    const struct plan_write *w = &s->plan->writes[index];
    struct write_state *state = &s->writes[index];
    struct sha256 want, have;
    int rc = wanted(s, w, &want, err);
    if (rc < 0)
        return rc;
    state->length_bytes = session_padded(s, w);
    rc = session_read_hash(s, w->partition, state->length_bytes, &have, err);
    if (rc < 0)
        return rc;
    state->written = state->verified = sha256_equal(&want, &have);
    state->flash = have;
    bool known = phone_facts_find(&s->facts, session_kind(s, w), w->partition) != NULL;
    if (known || state->verified)
        rc = session_extent(s, index, state->verified ? PHONE_VERIFIED : PHONE_DIFFERS, err);
    return rc;
}

int action_survey(struct session *s, const struct recipe_step *step, struct err *err)
{
    (void)step;
    uint64_t total = 0;
    size_t there = 0, count = 0;
    for (size_t i = 0; i < s->plan->write_count; i++)
        if (surveyed(s, &s->plan->writes[i]))
            total += session_padded(s, &s->plan->writes[i]);
    progress_begin(s, total);
    for (size_t i = 0; i < s->plan->write_count; i++) {
        if (!surveyed(s, &s->plan->writes[i]))
            continue;
        int rc = survey_one(s, i, err);
        if (rc < 0)
            return rc;
        there += s->writes[i].verified;
        count++;
    }
    s->surveyed = true;
    note(s, "info", "%zu of %zu images are on the phone already; it is left as %s", there, count,
         phone_state(&s->facts));
    return 0;
}
