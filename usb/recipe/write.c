/* write.c: one entry of the plan on its way to the phone, by whichever road, journaled before and after. */
#include <string.h>

#include "usb/base/mem.h"
#include "usb/recipe/image.h"
#include "usb/recipe/internal.h"

enum { BLOCK_BYTES = 512 };

/* LK slots are filled to their end, so that nothing of the LK before stays behind a shorter one; other images
 * to the next block. Fastboot writes whole partitions only. */
uint64_t session_padded(const struct session *s, const struct plan_write *w)
{
    enum phone_kind kind = session_kind(s, w);
    if (kind != PHONE_COMMERCIAL || w->slot)
        return w->partition_bytes;
    return (w->size_bytes + BLOCK_BYTES - 1) / BLOCK_BYTES * BLOCK_BYTES;
}

int session_image_open(const struct session *s, const struct plan_write *w, struct image **out,
                       struct err *err)
{
    struct image_spec spec = {.fd = session_input(s, w->image),
                              .sparse = w->sparse,
                              .size_bytes = w->size_bytes,
                              .padded_bytes = session_padded(s, w)};
    return image_open(&spec, out, err);
}

static int changed(struct session *s, const struct plan_write *w, struct err *err)
{
    return fail(s, "B6", err, ERR_MISMATCH,
                "%s was changed after it was catalogued: unpack the package again and add it anew",
                w->image);
}

/* Whatever boots next is looked at once more before it is sent: the job may have waited for an hour. */
static int check_lk(struct session *s, const struct plan_write *w, struct err *err)
{
    struct sha256 now;
    if (!w->slot)
        return 0;
    int rc = image_file_sha256(session_input(s, w->image), &now, s->host.tick, s->host.arg, err);
    if (rc == 0 && !sha256_equal(&now, &w->sha256))
        rc = changed(s, w, err);
    return rc;
}

/* Nothing is known any more of what lay in this partition. */
static void forget(struct session *s, const struct plan_write *w)
{
    for (size_t i = 0; i < s->plan->write_count; i++)
        if (strcmp(s->plan->writes[i].partition, w->partition) == 0)
            s->writes[i].written = s->writes[i].verified = false;
    if (w->write_class == PLAN_SERVICE_LK)
        s->service_lk[w->slot - 'a'] = true; /* also when the write breaks off in the middle */
}

/* The phone has it all; was it what the plan says? */
static int sent(struct session *s, size_t index, struct image *image, struct err *err)
{
    const struct plan_write *w = &s->plan->writes[index];
    struct sha256 source;
    int rc = image_read(image, &source, err);
    if (rc < 0)
        return rc;
    if (!sha256_equal(&source, &w->sha256))
        return changed(s, w, err);
    s->writes[index].written = true;
    s->writes[index].flash = image_sent(image);
    return session_extent(s, index, PHONE_SENT, err);
}

int session_write(struct session *s, size_t index, bool by_fastboot, struct err *err)
{
    const struct plan_write *w = &s->plan->writes[index];
    AUTO(image_close) struct image *image = NULL;
    uint64_t length_bytes = session_padded(s, w);
    int rc = check_lk(s, w, err);
    if (rc == 0)
        rc = session_image_open(s, w, &image, err);
    if (rc < 0)
        return rc;
    forget(s, w);
    s->writes[index].length_bytes = length_bytes;
    rc = session_extent(s, index, PHONE_INTENT, err);
    if (rc == 0 && by_fastboot)
        rc = gate_flash(s->gate, w, &s->fb, length_bytes, image_source, image, err);
    else if (rc == 0)
        rc = gate_download(s->gate, w, &s->da, length_bytes, image_source, image, err);
    s->base_bytes += length_bytes;
    return rc < 0 ? rc : sent(s, index, image, err);
}
