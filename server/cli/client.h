/* client.h: one station, seen from the command line: requests that wait for their answer, and the stream
 * of events. Blocking, for a program that does one thing. */
#ifndef FLASHRACK_SERVER_CLI_CLIENT_H
#define FLASHRACK_SERVER_CLI_CLIENT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "usb/base/err.h"
#include "usb/base/hash.h"

#define CLIENT_API "/api/v1"

enum {
    CLIENT_WAIT_S = 60, /* lists and orders are answered at once */
    CLIENT_WORK_WAIT_S =
        660, /* hashing a dump or a package; the station itself gives up after 600 s */
};

/* What every client command takes. `server` and `token` fall back to FLASHRACK_SERVER and FLASHRACK_TOKEN. */
struct client_options {
    const char *server, *token, *ca_file;
    bool json;
};
#define CLIENT_OPTIONS(o)                                                                          \
    {"server", &(o).server, NULL, 0}, {"token", &(o).token, NULL, 0},                              \
        {"tls-ca", &(o).ca_file, NULL, 0},                                                         \
    {                                                                                              \
        "json", NULL, &(o).json, 0                                                                 \
    }
#define CLIENT_SERVER_DEFAULT "http://127.0.0.1:8080"

struct client;

/* Finds the station: ERR_INPUT for an address that is none, ERR_GONE when nobody answers there. `client_advice`
 * works on NULL, too. */
int client_open(const struct client_options *options, struct client **out, struct err *err);
void client_free(struct client **c);
const char *client_url(const struct client *c);
/* The station is this machine, by its address; known even when nobody answers there. */
bool client_is_local(const struct client *c);
const char *client_advice(const struct client *c); /* what to do about the last error; may be "" */

struct client_request {
    const char *method, *path;
    json_t *body;    /* borrowed; NULL: none */
    const char *key; /* Idempotency-Key, or NULL */
    int wait_s;      /* 0: CLIENT_WAIT_S */
};
struct client_reply {
    int status;
    char *text; /* the body, NUL-terminated */
};
/* Any HTTP answer is success; ERR_GONE or ERR_TIMEOUT when there was none. */
int client_ask(struct client *c, const struct client_request *request, struct client_reply *out,
               struct err *err);
void client_reply_deinit(struct client_reply *r);

/* An answer of the API: 2xx gives its JSON (owned by the caller), a problem document its detail as `err` and its
 * advice as client_advice(). */
int client_call(struct client *c, const struct client_request *request, json_t **out,
                struct err *err);
int client_get(struct client *c, const char *path, json_t **out, struct err *err);
/* `body` is consumed; NULL sends an empty object. */
int client_post(struct client *c, const char *path, json_t *body, json_t **out, struct err *err);

/* Writes the answer's body into fd, whatever its size, and gives its hash: compare it, a body that was cut is no error
 * of its own. */
int client_download(struct client *c, const char *path, int fd, struct sha256 *out,
                    struct err *err);

/* "/jobs/17/cancel": CLIENT_API, the noun, the id made safe for a path, and a verb ("" for none). */
char *client_path(const char *noun, const char *id, const char *verb);
/* Appends ?name=value or &name=value; a NULL value adds nothing. */
void client_query(char **path, const char *name, const char *value);

/* ---- events: reconnects by itself, for five minutes ---- */

struct client_event {
    char id[24]; /* "" for events that are not stored */
    char type
        [24]; /* as the station sends them, or "lost": the connection broke, "hello" will follow */
    json_t *data;
};
void client_event_deinit(struct client_event *e);

struct client_stream;
/* `after`: cursor of the last event that is known; NULL begins now. */
struct client_stream *client_stream_new(struct client *c, const char *after);
void client_stream_free(struct client_stream **s);
/* Also ends a wait when this descriptor can be read; -1: none. */
void client_stream_watch(struct client_stream *s, int fd);
/* 1: an event, which the caller deinits. 0: the watched descriptor can be read. ERR_CANCELLED after Ctrl-C; other
 * errors: the station refuses, or is gone for good. */
int client_stream_next(struct client_stream *s, struct client_event *out, struct err *err);

#endif
