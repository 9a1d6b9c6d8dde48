#include "tests/phone/control.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/phone/hardware.h"
#include "tests/phone/rack.h"
#include "usb/base/hash.h"
#include "usb/base/mem.h"
#include "usb/base/span.h"

enum { LINE_MAX_BYTES = 65536, CLIENTS_MAX = 256 };

static const struct {
    const char *name;
    unsigned mask;
} keys[] = {{"vol_up", KEY_VOL_UP}, {"vol_down", KEY_VOL_DOWN}, {"power", KEY_POWER}};

/* ---- commands: each fills `reply` or says in err why not
 * ------------------------------------------- */

static int key_mask(const json_t *command, unsigned *out, struct err *err)
{
    const json_t *list = json_object_get(command, "keys");
    unsigned mask = 0;
    size_t i;
    json_t *item;
    if (list && !json_is_array(list))
        return err_set(err, ERR_INPUT, "\"keys\" is a list");
    json_array_foreach(list, i, item)
    {
        unsigned bit = 0;
        for (size_t k = 0; k < ARRAY_LEN(keys); k++)
            if (json_is_string(item) && strcmp(json_string_value(item), keys[k].name) == 0)
                bit = keys[k].mask;
        if (!bit)
            return err_set(err, ERR_INPUT, "keys are vol_up, vol_down, power");
        mask |= bit;
    }
    *out = mask;
    return 0;
}

static int do_hold(struct rack *r, struct board *b, const json_t *command, json_t *reply,
                   struct err *err)
{
    unsigned mask;
    (void)r;
    (void)reply;
    int rc = key_mask(command, &mask, err);
    if (rc == 0 && !mask)
        rc = err_set(err, ERR_INPUT, "hold needs keys");
    if (rc == 0)
        board_keys_hold(b, mask);
    return rc;
}

static int do_release(struct rack *r, struct board *b, const json_t *command, json_t *reply,
                      struct err *err)
{
    unsigned mask;
    (void)r;
    (void)reply;
    int rc = key_mask(command, &mask, err);
    if (rc == 0)
        board_keys_release(b, mask ? mask : ~0u);
    return rc;
}

static int do_plug(struct rack *r, struct board *b, const json_t *command, json_t *reply,
                   struct err *err)
{
    (void)r, (void)command, (void)reply, (void)err;
    board_cable_set(b, true);
    return 0;
}

static int do_unplug(struct rack *r, struct board *b, const json_t *command, json_t *reply,
                     struct err *err)
{
    (void)r, (void)command, (void)reply, (void)err;
    board_cable_set(b, false);
    return 0;
}

static int do_power_long(struct rack *r, struct board *b, const json_t *command, json_t *reply,
                         struct err *err)
{
    (void)r, (void)command, (void)reply, (void)err;
    board_power_long(b);
    return 0;
}

static int do_force_off(struct rack *r, struct board *b, const json_t *command, json_t *reply,
                        struct err *err)
{
    (void)r, (void)command, (void)reply, (void)err;
    board_force_off(b);
    return 0;
}

static json_t *label_json(const struct phone_label *label)
{
    return json_pack("{s:s, s:[s, s], s:s, s:s}", "serial", label->serial, "imeis", label->imei[0],
                     label->imei[1], "wlan_mac", label->wlan_mac, "bt_mac", label->bt_mac);
}

static json_t *keys_json(unsigned mask)
{
    json_t *list = json_array();
    for (size_t k = 0; k < ARRAY_LEN(keys); k++)
        if (mask & keys[k].mask)
            json_array_append_new(list, json_string(keys[k].name));
    return list;
}

static int do_state(struct rack *r, struct board *b, const json_t *command, json_t *reply,
                    struct err *err)
{
    (void)r, (void)command, (void)err;
    pthread_mutex_lock(&b->lock);
    const struct usb_device *u = &b->usb;
    bool on_bus = u->gadget && !u->lost && b->cable;
    json_t *state =
        json_pack("{s:s, s:b, s:o, s:b, s:b, s:i, s:I, s:I, s:I, s:o}", "stage",
                  board_stage_name(b->stage), "cable", b->cable, "keys", keys_json(b->keys),
                  "on_bus", on_bus, "imported", u->link != NULL, "configuration", u->configuration,
                  "transfers", (json_int_t)u->transfers, "bytes", (json_int_t)u->bytes,
                  "bytes_written", (json_int_t)b->bytes_written, "label", label_json(&b->label));
    json_object_set_new(state, "last_shutdown", json_string(b->last_shutdown));
    if (on_bus) {
        char id[16];
        const uint8_t *desc = u->gadget->device_desc;
        snprintf(id, sizeof(id), "%04x:%04x", get_le16(desc + 8), get_le16(desc + 10));
        json_object_set_new(state, "usb_id", json_string(id));
    }
    pthread_mutex_unlock(&b->lock);
    json_object_update(reply, state);
    json_decref(state);
    return 0;
}

/* What a person would read: always "display", with Android's texts beside it. */
static int do_screen(struct rack *r, struct board *b, const json_t *command, json_t *reply,
                     struct err *err)
{
    (void)r, (void)command, (void)err;
    pthread_mutex_lock(&b->lock);
    json_t *screen = b->screen ? json_loads(b->screen, 0, NULL) : NULL;
    const char *display = b->stage == STAGE_CHARGING  ? "charging"
                          : b->stage == STAGE_LK      ? "bootloader"
                          : b->stage == STAGE_ANDROID ? (screen ? "android" : "booting")
                                                      : "dark";
    pthread_mutex_unlock(&b->lock);
    if (!json_is_object(screen)) {
        json_decref(screen);
        screen = json_object();
    }
    json_object_set_new(screen, "display", json_string(display));
    json_object_set_new(reply, "screen", screen);
    return 0;
}

static int do_fault(struct rack *r, struct board *b, const json_t *command, json_t *reply,
                    struct err *err)
{
    const char *spec = json_string_value(json_object_get(command, "fault"));
    (void)r;
    if (json_is_true(json_object_get(command, "clear"))) {
        size_t dropped = fault_plan_clear(&b->faults);
        json_object_set_new(reply, "dropped", json_integer((json_int_t)dropped));
        return 0;
    }
    if (!spec)
        return err_set(err, ERR_INPUT, "fault needs \"fault\": \"KIND@PLACE\"");
    return fault_plan_add(&b->faults, spec, err);
}

static json_t *seen_json(const struct fault_seen *s)
{
    char head[2 * FAULT_HEAD_BYTES + 1];
    hex_encode(span_of(s->head, MIN_OF((size_t)s->len, sizeof(s->head))), head);
    return json_pack("{s:I, s:I, s:I, s:s, s:b, s:I, s:s}", "at_ms", (json_int_t)s->at_ms, "step",
                     (json_int_t)s->step, "transfer", (json_int_t)s->transfer, "stage", s->stage,
                     "in", s->in, "len", (json_int_t)s->len, "head", head);
}

/* What went by since the last time this was asked; the first time begins the watch. */
static int do_transfers(struct rack *r, struct board *b, const json_t *command, json_t *reply,
                        struct err *err)
{
    (void)r, (void)command, (void)err;
    struct fault_plan *p = &b->faults;
    json_t *list = json_array();
    pthread_mutex_lock(&p->lock);
    json_object_set_new(reply, "steps", json_integer((json_int_t)p->steps));
    for (size_t i = 0; i < p->seen_count; i++)
        json_array_append_new(list, seen_json(&p->seen[i]));
    pthread_mutex_unlock(&p->lock);
    json_object_set_new(reply, "transfers", list);
    fault_plan_watch(p);
    return 0;
}

static void put_setting(void *arg, const char *name, const char *value)
{
    json_object_set_new(arg, name, json_string(value));
}

static int settings_change(struct board_settings *s, json_t *changes, struct err *err)
{
    const char *name;
    json_t *value;
    if (changes && !json_is_object(changes))
        return err_set(err, ERR_INPUT, "\"set\" is an object of strings");
    json_object_foreach(changes, name, value)
    {
        if (!json_is_string(value))
            return err_set(err, ERR_INPUT, "setting %s: values are strings", name);
        int rc = settings_set(s, name, json_string_value(value), err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* All changes or none. What is wrong does not depend on the phone, so this holds for all phones, too. */
static int do_settings(struct rack *r, struct board *b, const json_t *command, json_t *reply,
                       struct err *err)
{
    (void)r;
    pthread_mutex_lock(&b->lock);
    struct board_settings changed = b->settings;
    int rc = settings_change(&changed, json_object_get(command, "set"), err);
    if (rc == 0)
        b->settings = changed;
    pthread_mutex_unlock(&b->lock);
    if (rc < 0)
        return rc;
    json_t *all = json_object();
    settings_each(&changed, put_setting, all);
    json_object_set_new(reply, "settings", all);
    return 0;
}

static int do_violations(struct rack *r, struct board *b, const json_t *command, json_t *reply,
                         struct err *err)
{
    (void)r, (void)command, (void)err;
    json_t *all = json_object();
    pthread_mutex_lock(&b->lock);
    for (unsigned i = 0; i < b->violation_count; i++)
        json_object_set_new(all, b->violations[i].name, json_integer(b->violations[i].count));
    pthread_mutex_unlock(&b->lock);
    json_object_set_new(reply, "violations", all);
    return 0;
}

static int do_bytes_written(struct rack *r, struct board *b, const json_t *command, json_t *reply,
                            struct err *err)
{
    (void)r, (void)command, (void)err;
    pthread_mutex_lock(&b->lock);
    json_object_set_new(reply, "bytes_written", json_integer((json_int_t)b->bytes_written));
    pthread_mutex_unlock(&b->lock);
    return 0;
}

static int do_swap(struct rack *r, struct board *b, const json_t *command, json_t *reply,
                   struct err *err)
{
    const char *with = json_string_value(json_object_get(command, "with"));
    struct board *other = with ? rack_find(r, with) : NULL;
    (void)reply;
    if (!other)
        return err_set(err, ERR_NOT_FOUND, "swap needs \"with\": another phone");
    return board_swap(b, other, err);
}

static const struct command {
    const char *name;
    bool all; /* may be asked of all phones at once */
    int (*run)(struct rack *r, struct board *b, const json_t *command, json_t *reply,
               struct err *err);
} commands[] = {
    {"hold", false, do_hold},
    {"release", false, do_release},
    {"plug", false, do_plug},
    {"unplug", false, do_unplug},
    {"power_long", false, do_power_long},
    {"force_off", false, do_force_off},
    {"state", true, do_state},
    {"screen", true, do_screen},
    {"fault", false, do_fault},
    {"transfers", false, do_transfers},
    {"settings", true, do_settings},
    {"violations", true, do_violations},
    {"bytes_written", true, do_bytes_written},
    {"swap", false, do_swap},
};

static int run_one(struct rack *r, struct board *b, const struct command *c, const json_t *command,
                   json_t *reply, struct err *err)
{
    json_object_set_new(reply, "phone", json_string(b->name));
    return c->run(r, b, command, reply, err);
}

static int run_all(struct rack *r, const struct command *c, const json_t *command, json_t *reply,
                   struct err *err)
{
    size_t count;
    struct board **boards = rack_boards(r, &count);
    json_t *list = json_array();
    json_object_set_new(reply, "phones", list);
    for (size_t i = 0; i < count; i++) {
        json_t *one = json_object();
        json_array_append_new(list, one);
        int rc = run_one(r, boards[i], c, command, one, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int run(struct rack *r, const json_t *command, json_t *reply, struct err *err)
{
    const char *what = json_string_value(json_object_get(command, "do"));
    const json_t *phone = json_object_get(command, "phone");
    const char *name = json_string_value(phone);
    const struct command *c = NULL;
    for (size_t i = 0; what && i < ARRAY_LEN(commands); i++)
        if (strcmp(commands[i].name, what) == 0)
            c = &commands[i];
    if (!c)
        return err_set(err, ERR_INPUT, "no command '%s'", what ? what : "");
    if (phone && !name)
        return err_set(err, ERR_INPUT, "\"phone\" is a bus id, such as \"1-3\"");
    if (!name && c->all)
        return run_all(r, c, command, reply, err);
    struct board *b = name ? rack_find(r, name) : NULL;
    if (!b)
        return err_set(err, ERR_NOT_FOUND, "no phone '%s'", name ? name : "");
    return run_one(r, b, c, command, reply, err);
}

json_t *control_command(struct rack *r, const json_t *command)
{
    struct err err = {0};
    json_t *reply = json_object();
    int rc = run(r, command, reply, &err);
    json_object_set_new(reply, "ok", json_boolean(rc == 0));
    if (rc < 0) {
        json_object_set_new(reply, "error", json_string(err.text));
        json_object_set_new(reply, "code", json_string(err_name(rc)));
    }
    return reply;
}

/* ---- the socket
 * ------------------------------------------------------------------------------------- */

struct client {
    struct control_server *server;
    struct client *next;
    int fd;
};

struct control_server {
    struct rack *rack;
    char *path;
    int listen_fd, stop_fd;
    pthread_t acceptor;
    pthread_mutex_t lock;
    pthread_cond_t gone;
    struct client *clients;
    size_t client_count;
};

/* Takes the reply. */
static bool answer(struct client *c, json_t *reply)
{
    AUTO(free_ptr) char *text = json_dumps(reply, JSON_COMPACT);
    AUTO(free_ptr) char *out = xasprintf("%s\n", text ? text : "{}");
    json_decref(reply);
    return send(c->fd, out, strlen(out), MSG_NOSIGNAL) == (ssize_t)strlen(out);
}

static json_t *refusal(int code, const char *why)
{
    return json_pack("{s:b, s:s, s:s}", "ok", 0, "error", why, "code", err_name(code));
}

static bool answer_line(struct client *c, const char *line, size_t len)
{
    json_error_t why;
    json_t *command = json_loadb(line, len, JSON_REJECT_DUPLICATES, &why);
    json_t *reply = json_is_object(command)
                        ? control_command(c->server->rack, command)
                        : refusal(ERR_INPUT, command ? "a command is an object" : why.text);
    json_decref(command);
    return answer(c, reply);
}

/* Answers every whole line in the buffer; what is left of the last one stays. A line that does not fit is answered, and
 * the connection ends, because nobody knows where the next one begins. */
static bool answer_lines(struct client *c, char *buf, size_t *len)
{
    char *line = buf, *end;
    while ((end = memchr(line, '\n', *len - (size_t)(line - buf)))) {
        if (end > line && !answer_line(c, line, (size_t)(end - line)))
            return false;
        line = end + 1;
    }
    *len -= (size_t)(line - buf);
    memmove(buf, line, *len);
    if (*len == LINE_MAX_BYTES) {
        char why[64];
        snprintf(why, sizeof(why), "a line of more than %d bytes", LINE_MAX_BYTES - 1);
        answer(c, refusal(ERR_LIMIT, why));
    }
    return *len < LINE_MAX_BYTES;
}

static void client_end(struct client *c)
{
    struct control_server *s = c->server;
    pthread_mutex_lock(&s->lock);
    for (struct client **at = &s->clients; *at; at = &(*at)->next)
        if (*at == c) {
            *at = c->next;
            break;
        }
    close(c->fd);
    free(c);
    if (--s->client_count == 0)
        pthread_cond_broadcast(&s->gone);
    pthread_mutex_unlock(&s->lock);
}

static void *client_main(void *arg)
{
    struct client *c = arg;
    AUTO(free_ptr) char *buf = xcalloc(1, LINE_MAX_BYTES);
    size_t len = 0;
    for (;;) {
        ssize_t n = recv(c->fd, buf + len, LINE_MAX_BYTES - len, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        len += (size_t)n;
        if (!answer_lines(c, buf, &len))
            break;
    }
    client_end(c);
    return NULL;
}

static void client_start(struct control_server *s, int fd)
{
    struct client *c = xcalloc(1, sizeof(*c));
    pthread_t thread;
    c->server = s;
    c->fd = fd;
    pthread_mutex_lock(&s->lock);
    c->next = s->clients;
    s->clients = c;
    bool room = s->client_count++ < CLIENTS_MAX;
    pthread_mutex_unlock(&s->lock);
    if (room && pthread_create(&thread, NULL, client_main, c) == 0)
        pthread_detach(thread);
    else
        client_end(c);
}

static void *acceptor_main(void *arg)
{
    struct control_server *s = arg;
    struct pollfd fds[2] = {{s->listen_fd, POLLIN, 0}, {s->stop_fd, POLLIN, 0}};
    for (;;) {
        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            break;
        if (fds[1].revents)
            break;
        int fd = fds[0].revents ? accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC) : -1;
        if (fd >= 0)
            client_start(s, fd);
    }
    return NULL;
}

static int open_socket(struct control_server *s, struct err *err)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    if (strlen(s->path) >= sizeof(at.sun_path))
        return err_set(err, ERR_INPUT, "control socket path is too long: '%s'", s->path);
    memcpy(at.sun_path, s->path, strlen(s->path) + 1);
    unlink(s->path); /* left by a run that was killed */
    s->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (s->listen_fd < 0 || bind(s->listen_fd, (struct sockaddr *)&at, sizeof(at)) != 0 ||
        listen(s->listen_fd, 16) != 0)
        return err_sys(err, ERR_IO, "control socket '%s'", s->path);
    return 0;
}

static void control_free(struct control_server *s)
{
    fd_close(&s->listen_fd);
    fd_close(&s->stop_fd);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->gone);
    free(s->path);
    free(s);
}

int control_start(const char *path, struct rack *r, struct control_server **out, struct err *err)
{
    struct control_server *s = xcalloc(1, sizeof(*s));
    s->rack = r;
    s->path = xstrdup(path);
    s->listen_fd = -1;
    s->stop_fd = eventfd(0, EFD_CLOEXEC);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->gone, NULL);
    int rc = s->stop_fd < 0 ? err_sys(err, ERR_IO, "eventfd") : open_socket(s, err);
    if (rc == 0 && pthread_create(&s->acceptor, NULL, acceptor_main, s) != 0)
        rc = err_set(err, ERR_IO, "no thread for the control socket");
    if (rc < 0) {
        control_free(s);
        return rc;
    }
    *out = s;
    return 0;
}

void control_stop(struct control_server **sp)
{
    struct control_server *s = *sp;
    if (!s)
        return;
    uint64_t one = 1;
    if (write(s->stop_fd, &one, sizeof(one)) < 0)
        abort(); /* an eventfd that was just made always takes a 1 */
    pthread_join(s->acceptor, NULL);
    pthread_mutex_lock(&s->lock);
    for (struct client *c = s->clients; c; c = c->next)
        shutdown(c->fd, SHUT_RDWR);
    while (s->client_count)
        pthread_cond_wait(&s->gone, &s->lock);
    pthread_mutex_unlock(&s->lock);
    unlink(s->path);
    control_free(s);
    *sp = NULL;
}
