/* Our whole host against a phone that says what the fuzzer likes: the first byte picks the conversation, the
 * second how the answers are cut. Promises: it ends, a negative answer has a sentence, a dead link stays dead,
 * streams never pass their announced length, and no empty transfer goes out. */
#include <string.h>

#include "tests/fuzz/fuzz.h"
#include "usb/base/clock.h"
#include "usb/base/mem.h"
#include "usb/proto/brom_session.h"
#include "usb/proto/da.h"
#include "usb/proto/fb.h"

struct phone {
    struct transport transport;
    struct span says;
    size_t cut; /* most bytes of one transfer; 0: all */
    unsigned calls;
};

static ssize_t phone_read(struct transport *t, void *dst, size_t len, int64_t until_ms,
                          struct err *err)
{
    struct phone *p = (struct phone *)(void *)t;
    (void)until_ms;
    if (p->says.len == 0)
        return err_set(err, p->calls++ % 2 ? ERR_GONE : ERR_TIMEOUT, "nothing more");
    size_t n = MIN_OF(len, p->says.len);
    if (p->cut)
        n = MIN_OF(n, p->cut);
    memcpy(dst, p->says.data, n);
    p->says = span_sub(p->says, n, p->says.len);
    return (ssize_t)n;
}

static ssize_t phone_write(struct transport *t, const void *src, size_t len, int64_t until_ms,
                           struct err *err)
{
    (void)t;
    (void)src;
    (void)until_ms;
    (void)err;
    MUST(len > 0); /* never an empty transfer */
    return (ssize_t)len;
}

static ssize_t phone_control(struct transport *t, const struct usb_setup *setup, void *data,
                             int64_t until_ms, struct err *err)
{
    (void)t;
    (void)data;
    (void)until_ms;
    (void)err;
    return setup->length;
}

static void phone_close(struct transport *t)
{
    (void)t;
}

static const struct transport_ops phone_ops = {"fuzz", phone_read, phone_write, phone_control,
                                               phone_close};

struct count {
    uint64_t bytes, limit;
};

static int sink(void *arg, const void *data, size_t len, struct err *err)
{
    struct count *c = arg;
    (void)data;
    c->bytes += len;
    MUST(c->bytes <= c->limit);
    return c->bytes > 40000 ? err_set(err, ERR_CANCELLED, "enough") : 0;
}

static int source(void *arg, void *dst, size_t len, struct err *err)
{
    struct count *c = arg;
    (void)err;
    memset(dst, 0x5a, len);
    c->bytes += len;
    MUST(c->bytes <= c->limit);
    return 0;
}

static int brom_talk(struct link *link, struct err *err)
{
    struct brom_info info;
    uint8_t da1[16] = {0};
    int rc = brom_start(link, BROM_STAGE_PRELOADER, 0, err);
    if (rc == 0)
        rc = brom_identify(link, &info, err);
    if (rc == 0)
        rc = brom_authenticate(link, &info, span_of(da1, 4), err);
    if (rc == 0)
        rc = brom_send_da(link, 0x200000, span_of(da1, sizeof(da1)), 4, err);
    return rc < 0 ? rc : brom_jump_da(link, 0x200000, err);
}

static int da_talk(struct link *link, unsigned kind, struct err *err)
{
    uint8_t image[16] = {0};
    struct da_images images = {0x40000000, span_of(image, 16), span_of(image, 16)};
    struct da da;
    struct count count = {0, 65536};
    uint32_t mv;
    da_init(&da, link);
    int rc = kind == 1 ? da_bring_up(&da, DA_OPTIONS_DEFAULT, &images, err) : 0;
    da.in_da2 = true;
    da.emmc.type = 1;
    da.emmc.user_bytes = 1 << 20;
    da.packet = (struct xflash_packet_length){4096, 4096};
    if (kind == 2)
        rc = da_read(&da, XFLASH_USER, 512, 65536, sink, &count, err);
    if (kind == 3)
        rc = da_write(&da, XFLASH_USER, 512, 65536, source, &count, err);
    if (kind == 4) {
        count.limit = UINT64_MAX;
        rc = da_upload(&da, "nvram", 65536, sink, &count, err);
    }
    if (kind == 5)
        rc = da_download(&da, "nvram", 65536, 4097, source, &count, err);
    bool dead = link->dead;
    struct err later;
    if (da_get_battery_mv(&da, &mv, &later) == 0)
        MUST(!dead);
    da_deinit(&da);
    return rc;
}

static int fb_talk(struct link *link, struct err *err)
{
    struct fb fb;
    struct fb_reply reply;
    struct count count = {0, 5000};
    char value[FASTBOOT_RESPONSE_MAX];
    fb_init(&fb, link);
    fb_reply_init(&reply);
    int rc = fb_command(&fb, "getvar", "all", 0, &reply, err);
    fb_reply_value(&reply, "product", value);
    fb_reply_has(&reply, "service");
    fb_reply_deinit(&reply);
    return rc < 0 ? rc : fb_flash(&fb, "nvram", 5000, source, &count, err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct phone p = {.transport = {.ops = &phone_ops}, .cut = data[1]};
    p.says = span_of(data + 2, size - 2);
    struct link link = {.transport = &p.transport};
    struct err err = {0};
    unsigned kind = data[0] % 7;
    clock_test_set(1000); /* frozen: only what the phone says decides */
    int rc = kind == 0   ? brom_talk(&link, &err)
             : kind == 6 ? fb_talk(&link, &err)
                         : da_talk(&link, kind, &err);
    MUST(rc >= 0 || err.text[0]);
    return 0;
}
