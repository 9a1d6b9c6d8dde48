/* calibrate.c: "plug one phone along the rack, press OK at each": the next port that gets a device is the one the
 * person stands at, and gets the label that is written there. Nobody talks to that phone: no job begins meanwhile. */
#include <string.h>

#include "server/station/internal.h"
#include "usb/base/clock.h"
#include "usb/base/mem.h"

/* A person who went home does not stop the station's work for good. */
enum { IDLE_MS = 10 * 60 * 1000 };

bool calibration_is_on(const struct station *s)
{
    return s->calibration.until_ms > clock_now_ms();
}

static void stay_on(struct station *s)
{
    s->calibration.until_ms = clock_now_ms() + IDLE_MS;
}

void calibration_arrival(struct station *s, const struct port *p)
{
    if (calibration_is_on(s) && !p->job)
        WIRE_TEXT(s->calibration.port, p->id);
}

json_t *station_calibration(struct station *s)
{
    bool on = calibration_is_on(s);
    const struct port *p = on ? port_find(s, s->calibration.port) : NULL;
    if (on)
        stay_on(s); /* somebody looks */
    return json_pack("{s:s, s:s?, s:s?}", "state",
                     !on ? "off"
                     : p ? "seen"
                         : "waiting",
                     "port", p ? p->id : NULL, "label", p && p->label[0] ? p->label : NULL);
}

json_t *station_calibration_set(struct station *s, bool on)
{
    s->calibration.port[0] = '\0';
    s->calibration.until_ms = 0;
    if (on)
        stay_on(s);
    schedule_poke(s);
    return station_calibration(s);
}

struct label_call {
    struct station *s;
    station_done_fn *done;
    void *arg;
};

static void on_labelled(void *arg, int code, const struct err *err, json_t *port)
{
    struct label_call *c = arg;
    if (code == 0)
        c->s->calibration.port[0] = '\0'; /* the next one, please */
    c->done(c->arg, code, err, port);
    free(c);
}

void station_calibration_label(struct station *s, const char *label, station_done_fn *done,
                               void *arg)
{
    struct err err = {0};
    if (!calibration_is_on(s))
        err_set(&err, ERR_CONFLICT, "no calibration is under way: begin one first");
    else if (!s->calibration.port[0])
        err_set(&err, ERR_CONFLICT, "no phone was plugged in yet: plug it in, then give the label");
    if (err.code) {
        done_error(done, arg, &err);
        return;
    }
    struct label_call *c = xcalloc(1, sizeof(*c));
    *c = (struct label_call){s, done, arg};
    stay_on(s);
    station_port_change(s, s->calibration.port,
                        &(struct port_settings){.label = label, .enabled = -1, .takes_work = -1},
                        on_labelled, c);
}
