#include "tests/phone/rack.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/phone/control.h"
#include "tests/phone/hands.h"
#include "tests/phone/hardware.h"
#include "tests/phone/usbip_server.h"
#include "tests/phone/vhci.h"
#include "usb/base/mem.h"

struct rack {
    struct board *boards[RACK_PHONES_MAX];
    struct hands *hands[RACK_PHONES_MAX];
    size_t count, running;
    struct usbip_server *server;
    struct control_server *control;
};

const char *rack_address(const struct rack *r)
{
    return usbip_server_address(r->server);
}

struct board **rack_boards(struct rack *r, size_t *count_out)
{
    *count_out = r->count;
    return r->boards;
}

struct board *rack_find(const struct rack *r, const char *name)
{
    for (size_t i = 0; i < r->count; i++)
        if (strcmp(r->boards[i]->name, name) == 0)
            return r->boards[i];
    return NULL;
}

int rack_parse_target(const struct rack *r, const char *text, struct board **board_out,
                      const char **rest_out, struct err *err)
{
    const char *colon = text + strcspn(text, ":=@");
    if (*colon != ':') { /* one further on belongs to a value */
        *board_out = NULL;
        *rest_out = text;
        return 0;
    }
    char name[16];
    snprintf(name, sizeof(name), "%.*s", (int)(colon - text), text);
    struct board *b = rack_find(r, name);
    if (!b)
        return err_set(err, ERR_NOT_FOUND, "'%s': no phone '%s'", text, name);
    *board_out = b;
    *rest_out = colon + 1;
    return 0;
}

static int make_folder(const char *path, struct err *err)
{
    if (mkdir(path, 0777) != 0 && errno != EEXIST)
        return err_sys(err, ERR_IO, "make folder '%s'", path);
    return 0;
}

/* Opens phone number `index`, made by the factory if there is none. */
static int open_phone(const struct rack_order *order, unsigned index, struct board **out,
                      struct err *err)
{
    char name[16];
    snprintf(name, sizeof(name), "1-%u", index);
    AUTO(free_ptr) char *dir = xasprintf("%s/%s", order->state, name);
    struct factory_order make = {order->profile, order->seed,    index,
                                 order->slot,    order->version, order->tac};
    int rc = factory_make_phone(dir, &make, err);
    if (rc < 0 && rc != ERR_CONFLICT) /* a conflict: the phone is there already */
        return err_in(err, "phone %s", name);
    struct board_new how = {name, dir, index, order->vhci, order->hands_speed};
    return board_open(&how, out, err);
}

static int apply_fault(const struct rack *r, const char *text, struct err *err)
{
    struct board *b;
    const char *spec;
    int rc = rack_parse_target(r, text, &b, &spec, err);
    if (rc < 0)
        return rc;
    if (!b)
        return err_set(err, ERR_INPUT, "--fault '%s' names no phone", text);
    return fault_plan_add(&b->faults, spec, err);
}

static int apply_setting(const struct rack *r, const char *text, struct err *err)
{
    struct board *only;
    const char *rest;
    int rc = rack_parse_target(r, text, &only, &rest, err);
    AUTO(free_ptr) char *name = xstrdup(rc < 0 ? "" : rest);
    char *value = strchr(name, '=');
    if (rc == 0 && !value)
        rc = err_set(err, ERR_INPUT, "--set '%s' is not NAME=VALUE", text);
    if (rc < 0)
        return rc;
    *value++ = '\0';
    for (size_t i = 0; i < r->count && rc == 0; i++)
        if (!only || only == r->boards[i])
            rc = settings_set(&r->boards[i]->settings, name, value, err);
    return rc;
}

static int apply_options(const struct rack *r, const struct rack_order *order, struct err *err)
{
    int rc = 0;
    for (size_t i = 0; i < order->fault_count && rc == 0; i++)
        rc = apply_fault(r, order->faults[i], err);
    for (size_t i = 0; i < order->setting_count && rc == 0; i++)
        rc = apply_setting(r, order->settings[i], err);
    return rc;
}

static int run_phones(struct rack *r, const struct rack_order *order, struct err *err)
{
    for (size_t i = 0; i < r->count; i++) {
        int rc = board_run(r->boards[i], err);
        if (rc < 0)
            return rc;
        r->running++;
        rc = order->hands ? hands_start(r->boards[i], order->seed, &r->hands[i], err) : 0;
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int start(struct rack *r, const struct rack_order *order, struct err *err)
{
    int rc = make_folder(order->state, err);
    for (unsigned i = 1; i <= order->phones && rc == 0; i++) {
        rc = open_phone(order, i, &r->boards[r->count], err);
        r->count += rc == 0;
    }
    if (rc == 0)
        rc = apply_options(r, order, err);
    if (rc == 0)
        rc = usbip_server_start(order->listen, r->boards, r->count, &r->server, err);
    if (rc == 0 && order->vhci)
        rc = vhci_init(r->server, r->count, err);
    if (rc == 0 && order->control)
        rc = control_start(order->control, r, &r->control, err);
    return rc == 0 ? run_phones(r, order, err) : rc;
}

int rack_start(const struct rack_order *order, struct rack **out, struct err *err)
{
    struct rack *r = xcalloc(1, sizeof(*r));
    int rc = start(r, order, err);
    if (rc < 0) {
        rack_stop(&r);
        return rc;
    }
    *out = r;
    return 0;
}

void rack_stop(struct rack **rp)
{
    struct rack *r = *rp;
    if (!r)
        return;
    for (size_t i = 0; i < r->running; i++)
        board_halt(r->boards[i]);
    control_stop(&r->control);
    for (size_t i = 0; i < r->running; i++) {
        board_stop(r->boards[i]);
        hands_stop(&r->hands[i]);
    }
    usbip_server_stop(&r->server);
    for (size_t i = 0; i < r->count; i++)
        board_close(&r->boards[i]);
    free(r);
    *rp = NULL;
}
