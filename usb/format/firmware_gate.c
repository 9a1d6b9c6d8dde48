/* Gates V1 to V6: README.md, "Gates". A pure function of two versions, a serial and a battery. */
#include <stdio.h>
#include <string.h>

#include "usb/base/mem.h"
#include "usb/format/firmware.h"

enum { BATTERY_MIN_PERCENT = 41 };

const char *gate_action_name(enum gate_action a)
{
    static const char *const names[] = {"pass", "warn", "confirm", "refuse"};
    return names[a];
}

static void v1_project(const struct fw_version *p, const struct gate_phone *phone,
                       struct gate_result *r)
{
    const char *project = phone->version ? phone->version->project : phone->project;
    if (project && strncmp(project, p->project, 3) == 0)
        return;
    r->action = GATE_REFUSE;
    snprintf(r->text, sizeof(r->text), "The package is for %s, this phone is %.3s: another model",
             p->project, project ? project : "unknown");
}

static void v2_generation(const struct fw_version *p, const struct gate_phone *phone,
                          struct gate_result *r)
{
    if (!phone->version || p->number[0] >= phone->version->number[0])
        return;
    r->action = GATE_REFUSE;
    snprintf(r->text, sizeof(r->text),
             "The package %s is of an older Android than the phone's %s: it may never start again. "
             "Use the package of the phone's own generation",
             p->text, phone->version->text);
}

static void v3_release(const struct fw_version *p, const struct gate_phone *phone,
                       struct gate_result *r)
{
    if (!phone->version || p->number[0] != phone->version->number[0] ||
        strncmp(p->number + 1, phone->version->number + 1, 2) >= 0)
        return;
    r->action = GATE_WARN;
    snprintf(
        r->text, sizeof(r->text),
        "The package %s is older than the phone's %s: user data may not fit and must be erased",
        p->text, phone->version->text);
}

static void v4_region(const struct fw_version *p, const struct gate_phone *phone,
                      struct gate_result *r)
{
    if (!phone->version || strcmp(p->region, phone->version->region) == 0)
        return;
    r->action = GATE_CONFIRM;
    snprintf(
        r->text, sizeof(r->text),
        "The package is for region %s, the phone has %s: a supervisor confirms that it is to be "
        "converted",
        p->region, phone->version->region);
}

static void v5_battery(const struct fw_version *p, const struct gate_phone *phone,
                       struct gate_result *r)
{
    (void)p;
    if (phone->battery_percent >= 0 && phone->battery_percent < BATTERY_MIN_PERCENT) {
        r->action = GATE_REFUSE;
        snprintf(r->text, sizeof(r->text), "Battery at %d %%: charge it to %d %% first",
                 phone->battery_percent, BATTERY_MIN_PERCENT);
    } else if (phone->battery_mv && phone->battery_mv < GATE_BATTERY_LEAST_MV) {
        r->action = GATE_REFUSE;
        snprintf(r->text, sizeof(r->text), "Battery at %u mV: charge it to %d mV first",
                 phone->battery_mv, GATE_BATTERY_LEAST_MV);
    }
}

static void v6_known(const struct fw_version *p, const struct gate_phone *phone,
                     struct gate_result *r)
{
    (void)p;
    if (phone->version)
        return;
    r->action = GATE_CONFIRM;
    snprintf(r->text, sizeof(r->text),
             "The phone's firmware version could not be read: a supervisor decides");
}

enum gate_action firmware_gates(const struct fw_version *package, const struct gate_phone *phone,
                                struct gate_result out[FIRMWARE_GATES])
{
    static const struct {
        const char *id;
        void (*rule)(const struct fw_version *, const struct gate_phone *, struct gate_result *);
    } rules[FIRMWARE_GATES] = {{"V1", v1_project}, {"V2", v2_generation}, {"V3", v3_release},
                               {"V4", v4_region},  {"V5", v5_battery},    {"V6", v6_known}};
    enum gate_action strictest = GATE_PASS;
    for (size_t i = 0; i < FIRMWARE_GATES; i++) {
        out[i] = (struct gate_result){.id = rules[i].id, .action = GATE_PASS};
        rules[i].rule(package, phone, &out[i]);
        strictest = MAX_OF(strictest, out[i].action);
    }
    return strictest;
}
