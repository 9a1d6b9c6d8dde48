#include "server/api/internal.h"

#include "usb/base/mem.h"

#define LABEL_MAX_BYTES 32

static void ports_list(struct http_call *call, void *arg)
{
    struct api *a = arg;
    api_reply_items(call, station_ports(a->station));
}

static void topology_get(struct http_call *call, void *arg)
{
    struct api *a = arg;
    api_reply_whole(call, station_topology(a->station));
}

static void port_get(struct http_call *call, void *arg)
{
    struct api *a = arg;
    json_t *port = station_port(a->station, http_param(call, "id"));
    if (port) {
        http_reply_json(call, 200, port);
        json_decref(port);
        return;
    }
    struct err err;
    err_set(&err, ERR_NOT_FOUND, "no port '%s'", http_param(call, "id"));
    http_reply_err(call, &err, "GET " API_BASE "/ports lists the ports of this station.");
}

static void port_history(struct http_call *call, void *arg)
{
    static const char *const names[] = {API_PAGE_NAMES, NULL};
    struct api *a = arg;
    struct err err;
    struct store_page page;
    json_t *port = station_port(a->station, http_param(call, "id"));
    int rc = port ? api_page(call, names, &page, &err)
                  : err_set(&err, ERR_NOT_FOUND, "no port '%s'", http_param(call, "id"));
    json_decref(port);
    if (rc < 0)
        http_reply_err(call, &err, NULL);
    else
        store_port_history(a->store, http_param(call, "id"), &page, ask_done,
                           ask_new(a, call, 200, NULL));
}

static int port_change_decode(struct http_call *call, json_t **body_out,
                              struct port_settings *settings, struct err *err)
{
    struct fields f;
    int rc = api_body(call, &f, body_out, err);
    if (rc < 0)
        return rc;
    settings->label = fields_string_or_empty(&f, "label", LABEL_MAX_BYTES);
    settings->enabled = fields_bool(&f, "enabled");
    settings->takes_work = fields_bool(&f, "takes_work");
    rc = fields_close(&f, err);
    if (rc == 0 && !settings->label && settings->enabled < 0 && settings->takes_work < 0)
        return err_set(err, ERR_INPUT,
                       "nothing to change: give 'label', 'enabled' or 'takes_work'");
    return rc;
}

static void port_patch(struct http_call *call, void *arg)
{
    struct api *a = arg;
    struct err err;
    json_t *body = NULL;
    struct port_settings settings;
    if (port_change_decode(call, &body, &settings, &err) < 0)
        http_reply_err(call, &err, NULL);
    else
        station_port_change(a->station, http_param(call, "id"), &settings, ask_done,
                            ask_new(a, call, 200, NULL));
    json_decref(body);
}

/* ---- labels by plugging one phone along the rack ---- */

static void calibration_get(struct http_call *call, void *arg)
{
    struct api *a = arg;
    json_t *body = station_calibration(a->station);
    http_reply_json(call, 200, body);
    json_decref(body);
}

static void calibration_set(struct http_call *call, struct api *a, bool on)
{
    struct err err;
    if (api_no_body(call, &err) < 0) {
        http_reply_err(call, &err, NULL);
        return;
    }
    json_t *state = station_calibration_set(a->station, on);
    http_reply_json(call, 200, state);
    json_decref(state);
}

static void calibration_begin(struct http_call *call, void *arg)
{
    calibration_set(call, arg, true);
}

static void calibration_end(struct http_call *call, void *arg)
{
    calibration_set(call, arg, false);
}

static void calibration_label(struct http_call *call, void *arg)
{
    struct api *a = arg;
    struct err err;
    json_t *body = NULL;
    struct fields f;
    const char *label = NULL;
    int rc = api_body(call, &f, &body, &err);
    if (rc == 0) {
        label = fields_string(&f, "label", LABEL_MAX_BYTES);
        fields_need(&f, "label");
        rc = fields_close(&f, &err);
    }
    if (rc < 0)
        http_reply_err(call, &err, NULL);
    else
        station_calibration_label(a->station, label, ask_done, ask_new(a, call, 200, NULL));
    json_decref(body);
}

static const struct http_route routes[] = {
    {"GET", API_BASE "/calibration", calibration_get, 0, 0},
    {"POST", API_BASE "/calibration/begin", calibration_begin, HTTP_JSON_MAX_BYTES, 0},
    {"POST", API_BASE "/calibration/label", calibration_label, HTTP_JSON_MAX_BYTES, 0},
    {"POST", API_BASE "/calibration/end", calibration_end, HTTP_JSON_MAX_BYTES, 0},
    {"GET", API_BASE "/ports", ports_list, 0, 0},
    {"GET", API_BASE "/ports/topology", topology_get, 0, 0},
    {"GET", API_BASE "/ports/{id}", port_get, 0, 0},
    {"GET", API_BASE "/ports/{id}/history", port_history, 0, 0},
    {"PATCH", API_BASE "/ports/{id}", port_patch, HTTP_JSON_MAX_BYTES, 0},
};
const struct api_routes api_ports_routes = {routes, ARRAY_LEN(routes)};
