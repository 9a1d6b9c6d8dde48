/* server/station/admit: order of the queue, limits, and what a port id says about hubs. */
#include "tests/unit/rows.h"

#include "server/station/admit.h"
#include "usb/base/mem.h"

#define XHCI "pci-0000:00:14.0-usb-0:"
#define CARD "pci-0000:03:00.0-usb-0:"
#define RACK "usbip-127.0.0.1:3240-1-"

static const struct place_row {
    const char *name, *port, *controller, *hubs[4];
} places[] = {
    {"root port", XHCI "4", "pci-0000:00:14.0", {NULL}},
    {"behind a hub", XHCI "4.2", "pci-0000:00:14.0", {XHCI "4", NULL}},
    {"hub in a hub", XHCI "4.2.13", "pci-0000:00:14.0", {XHCI "4", XHCI "4.2", NULL}},
    {"platform", "platform-vhci_hcd.0-usb-0:1", "platform-vhci_hcd.0", {NULL}},
    {"rack", RACK "1.2", "", {NULL}}, /* the dots of a rack are no hubs of ours */
};

static void place_row(void **state)
{
    const struct place_row *row = *state;
    assert_int_equal(admit_controller_len(row->port), strlen(row->controller));
    size_t depth = 0;
    for (; row->hubs[depth]; depth++)
        assert_int_equal(admit_hub_len(row->port, depth), strlen(row->hubs[depth]));
    assert_int_equal(admit_hub_len(row->port, depth), 0);
}

static const struct limit_row {
    const char *name;
    struct admit_limits limits;
    const char *busy[4], *port;
    enum admit want;
} limits[] = {
    {"nothing runs", {1, 1, 1}, {NULL}, XHCI "1.1", ADMIT_YES},
    {"no limits", {0, 0, 0}, {XHCI "1.1", XHCI "1.2", XHCI "1.3", NULL}, XHCI "1.4", ADMIT_YES},
    {"all", {2, 0, 0}, {XHCI "1", RACK "1", NULL}, CARD "1", ADMIT_ALL},
    {"controller full", {0, 2, 0}, {XHCI "1", XHCI "2.1", NULL}, XHCI "3", ADMIT_CONTROLLER},
    {"other controller", {0, 2, 0}, {XHCI "1", XHCI "2.1", NULL}, CARD "3", ADMIT_YES},
    {"hub full", {0, 0, 2}, {XHCI "1.1", XHCI "1.2", NULL}, XHCI "1.3", ADMIT_HUB},
    {"hub beside it", {0, 0, 2}, {XHCI "1.1", XHCI "1.2", NULL}, XHCI "11.3", ADMIT_YES},
    {"outer hub full", {0, 0, 2}, {XHCI "1.1.1", XHCI "1.2", NULL}, XHCI "1.3.4", ADMIT_HUB},
    {"inner hub full", {0, 0, 2}, {XHCI "1.1.1", XHCI "1.1.2", NULL}, XHCI "1.1.3", ADMIT_HUB},
    {"root port", {0, 0, 1}, {XHCI "1", XHCI "2", NULL}, XHCI "3", ADMIT_YES},
    {"racks have no hubs", {0, 1, 1}, {RACK "1", RACK "2", NULL}, RACK "3", ADMIT_YES},
};

static void limit_row(void **state)
{
    const struct limit_row *row = *state;
    size_t count = 0;
    while (row->busy[count])
        count++;
    assert_int_equal(admit_check(&row->limits, row->port, row->busy, count), row->want);
}

static const struct order_row {
    const char *name;
    int priority_a;
    int64_t id_a;
    int priority_b;
    int64_t id_b;
    bool want;
} orders[] = {
    {"arrival", 0, 1, 0, 2, true},
    {"arrival, turned round", 0, 2, 0, 1, false},
    {"priority before arrival", 5, 9, 0, 1, true},
    {"below zero", -1, 1, 0, 2, false},
    {"itself", 0, 1, 0, 1, false},
};

static void order_row(void **state)
{
    const struct order_row *row = *state;
    assert_int_equal(admit_before(row->priority_a, row->id_a, row->priority_b, row->id_b),
                     row->want);
}

int main(void)
{
    return RUN_ROWS(place_row, places) + RUN_ROWS(limit_row, limits) + RUN_ROWS(order_row, orders);
}
