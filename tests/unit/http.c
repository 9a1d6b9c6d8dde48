/* http.c: server/http over real sockets. The server runs in a child process, so that a leak or a crash in
 * it is an exit status; the tests are blocking clients. */
#include "server/http/fields.h"
#include "server/http/http.h"
#include "server/http/sse.h"

#include <arpa/inet.h>
#include <event2/event.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/unit/rows.h"
#include "usb/base/io.h"
#include "usb/base/mem.h"

#define ANSWER_MAX_BYTES (16 * 1024 * 1024)
#define STREAM_BYTES     (3 * 1024 * 1024)
#define STORED_MAX       2000
#define QUEUE_BYTES      (64 * 1024)

/* ---- the server, in the child ---- */

struct server {
    struct event_base *base;
    struct http *http;
    struct sse *sse;
    struct sse_event stored[STORED_MAX];
    size_t stored_count;
    struct http_call *late; /* answered by the next /finish */
    uint8_t part[32 * 1024];
    size_t streamed, streams_gone;
};

static void echo(struct http_call *call, void *arg)
{
    (void)arg;
    struct err err;
    json_t *body = NULL;
    struct fields f;
    if (http_body_json(call, &body, &err) < 0) {
        http_reply_err(call, &err, NULL);
        return;
    }
    static const char *const choices[] = {"red", "green", NULL};
    fields_open(&f, body, "");
    fields_string(&f, "text", 8);
    fields_choice(&f, "colour", choices);
    fields_int(&f, "count", 1, 9, 1);
    fields_bool(&f, "flag");
    if (fields_close(&f, &err) < 0)
        http_reply_err(call, &err, NULL);
    else
        http_reply_json(call, 200, body);
    json_decref(body);
}

static void item(struct http_call *call, void *arg)
{
    (void)arg;
    static const char *const names[] = {"limit", NULL};
    struct err err;
    int64_t limit;
    if (http_query_only(call, names, &err) < 0 ||
        http_query_int(call, "limit", 1, 10, 5, &limit, &err) < 0) {
        http_reply_err(call, &err, NULL);
        return;
    }
    json_t *body =
        json_pack("{s:s, s:I}", "id", http_param(call, "id"), "limit", (json_int_t)limit);
    http_reply_json(call, 200, body);
    json_decref(body);
}

static void late(struct http_call *call, void *arg)
{
    struct server *s = arg;
    if (s->late) /* its deadline has passed; each call is answered once all the same */
        http_reply_text(s->late, 200, "text/plain", "too late");
    s->late = call;
}

static void finish(struct http_call *call, void *arg)
{
    struct server *s = arg;
    http_reply_text(s->late, 200, "text/plain", "at last");
    s->late = NULL;
    http_reply_text(call, 200, "text/plain", "finished");
}

static void stream_gone(struct http_call *call, void *arg)
{
    (void)call;
    ((struct server *)arg)->streams_gone++;
}

static void stream_more(struct http_call *call, void *arg)
{
    struct server *s = arg;
    if (s->streamed == STREAM_BYTES) {
        http_stream_end(call);
        return;
    }
    memset(s->part, 'a' + (int)(s->streamed / sizeof(s->part) % 26), sizeof(s->part));
    s->streamed += sizeof(s->part);
    http_stream_write(call, span_of(s->part, sizeof(s->part)), stream_more, s);
}

static void stream(struct http_call *call, void *arg)
{
    struct server *s = arg;
    s->streamed = 0;
    if (http_stream_start(call, "application/octet-stream", STREAM_BYTES, stream_gone, s))
        stream_more(call, s);
}

/* {"id","subject","data"} -> sse_publish(); ids above 0 are stored, as the store does it before. */
static void publish(struct http_call *call, void *arg)
{
    struct server *s = arg;
    struct err err;
    json_t *body = NULL;
    if (http_body_json(call, &body, &err) < 0) {
        http_reply_err(call, &err, NULL);
        return;
    }
    int64_t id = json_integer_value(json_object_get(body, "id"));
    const char *data = json_string_value(json_object_get(body, "data"));
    if (id > 0 && s->stored_count < STORED_MAX)
        s->stored[s->stored_count++] = (struct sse_event){id, "job", xstrdup(data)};
    if (!json_is_true(json_object_get(body, "quiet")))
        sse_publish(s->sse, id, "job", json_string_value(json_object_get(body, "subject")), data);
    http_reply_text(call, 200, "text/plain", "published");
    json_decref(body);
}

static void events(struct http_call *call, void *arg)
{
    sse_attach(((struct server *)arg)->sse, call);
}

static void counts(struct http_call *call, void *arg)
{
    struct server *s = arg;
    AUTO(free_ptr)
    char *text = xasprintf("clients=%zu dropped=%llu gone=%zu", sse_clients(s->sse),
                           (unsigned long long)sse_dropped(s->sse), s->streams_gone);
    http_reply_text(call, 200, "text/plain", text);
}

static void fetch(void *arg, uint64_t ticket, int64_t after, size_t limit)
{
    struct server *s = arg;
    size_t from = 0;
    while (from < s->stored_count && s->stored[from].id <= after)
        from++;
    sse_fetched(s->sse, ticket, 0, s->stored + from, MIN_OF(limit, s->stored_count - from));
}

static const struct http_route routes[] = {
    {"POST", "/echo", echo, 4096, 0},
    {"GET", "/items/{id}", item, 0, 0},
    {"GET", "/late", late, 0, 300},
    {"GET", "/waits", late, 0, 0},
    {"POST", "/finish", finish, 4096, 0},
    {"GET", "/stream", stream, 0, 0},
    {"POST", "/publish", publish, 64 * 1024, 0},
    {"GET", "/events", events, 0, 0},
    {"GET", "/counts", counts, 0, 0},
};

static void parent_gone(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    event_base_loopbreak(arg);
}

static int serve(int ready_fd, int stop_fd, const char *web_dir)
{
    static struct server s;
    struct err err;
    struct http_config config = {.listen = "127.0.0.1:0",
                                 .web_dir = web_dir,
                                 .hosts = (const char *const[]){"bench.example", NULL},
                                 .idle_ms = 1500};
    s.base = event_base_new();
    struct event *stop = event_new(s.base, stop_fd, EV_READ, parent_gone, s.base);
    event_add(stop, NULL);
    if (http_new(s.base, &config, &s.http, &err) < 0 || http_listen(s.http, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        return 2;
    }
    http_routes_add(s.http, routes, ARRAY_LEN(routes), &s);
    struct sse_config sse = {
        .fetch = fetch, .arg = &s, .queue_max_bytes = QUEUE_BYTES, .heartbeat_ms = 400};
    s.sse = sse_new(s.base, &sse);
    dprintf(ready_fd, "%s", strrchr(http_url(s.http), ':') + 1);
    close(ready_fd);
    event_base_dispatch(s.base);
    sse_free(&s.sse);
    struct http_call *unanswered = s.late;
    http_free(&s.http);
    if (unanswered) /* the handler's answer after the server is gone only frees the call */
        http_reply_text(unanswered, 200, "text/plain", "too late");
    for (size_t i = 0; i < s.stored_count; i++)
        free((void *)s.stored[i].data);
    event_free(stop);
    event_base_free(s.base);
    return 0;
}

/* ---- the client ---- */

static struct {
    pid_t pid;
    int stop_fd;
    uint16_t port;
    char dir[64];
} child;

static int dial(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_port = htons(child.port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    return fd;
}

static void say(int fd, const char *text)
{
    assert_int_equal(io_write(fd, text, strlen(text), NULL), 0);
}

/* Reads until the peer closes, or `until` is in what came. Zero-terminated, the caller's. */
static char *hear(int fd, const char *until)
{
    size_t len = 0, room = 65536;
    char *text = malloc(room);
    for (;;) {
        struct pollfd p = {fd, POLLIN, 0};
        if (poll(&p, 1, 20000) <= 0) {
            text[len] = 0;
            fail_msg("no answer; so far: %.300s", text);
        }
        if (room - len < 32768)
            text = realloc(text, room *= 2);
        assert_true(text != NULL && len < ANSWER_MAX_BYTES);
        ssize_t got = read(fd, text + len, room - len - 1);
        if (got <= 0)
            break;
        len += (size_t)got;
        text[len] = 0;
        if (until && strstr(text, until))
            return text;
    }
    text[len] = 0;
    if (until)
        assert_non_null(strstr(text, until));
    return text;
}

static char *ask(const char *request)
{
    int fd = dial();
    say(fd, request);
    char *answer = hear(fd, NULL);
    close(fd);
    return answer;
}

static int status_of(const char *answer)
{
    int status = 0;
    sscanf(answer, "HTTP/1.1 %d", &status);
    return status;
}

static void publish_event(int id, const char *subject, const char *data, bool quiet)
{
    AUTO(free_ptr)
    char *body = xasprintf("{\"id\":%d,\"subject\":\"%s\",\"data\":\"%s\",\"quiet\":%s}", id,
                           subject, data, quiet ? "true" : "false");
    AUTO(free_ptr)
    char *request = xasprintf("POST /publish HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                              "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                              strlen(body), body);
    AUTO(free_ptr) char *answer = ask(request);
    assert_int_equal(status_of(answer), 200);
}

static char *server_counts(void)
{
    return ask("GET /counts HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
}

/* Waits for the server to notice something; never longer than ten seconds. */
static bool counts_become(const char *want)
{
    for (int i = 0; i < 200; i++) {
        AUTO(free_ptr) char *now = server_counts();
        if (strstr(now, want))
            return true;
        nanosleep(&(struct timespec){.tv_nsec = 50 * 1000 * 1000}, NULL);
    }
    return false;
}

/* ---- one request, one answer ---- */

#define HEAD  "Host: 127.0.0.1:8080\r\nConnection: close\r\n"
#define JSON_ "Content-Type: application/json\r\n"

static const struct row {
    const char *name, *request;
    int status;
    const char *has; /* a part of the answer */
} rows[] = {
    {"route with a parameter", "GET /items/a%3Ab?limit=7 HTTP/1.1\r\n" HEAD "\r\n", 200,
     "{\"id\":\"a:b\",\"limit\":7}"},
    {"security headers", "GET /items/1 HTTP/1.1\r\n" HEAD "\r\n", 200,
     "Content-Security-Policy: default-src 'self'"},
    {"parameter that hides a slash", "GET /items/a%2Fb HTTP/1.1\r\n" HEAD "\r\n", 404,
     "\"code\":\"not_found\""},
    {"parameter that hides a zero", "GET /items/a%00b HTTP/1.1\r\n" HEAD "\r\n", 404, "not_found"},
    {"unknown query parameter", "GET /items/1?limits=7 HTTP/1.1\r\n" HEAD "\r\n", 422,
     "query parameter 'limits'"},
    {"query out of range", "GET /items/1?limit=11 HTTP/1.1\r\n" HEAD "\r\n", 422, "from 1 to 10"},
    {"wrong method", "POST /items/1 HTTP/1.1\r\n" HEAD JSON_ "Content-Length: 2\r\n\r\n{}", 405,
     "Allow: GET"},
    {"head has no body", "HEAD /items/1 HTTP/1.1\r\n" HEAD "\r\n", 200, "application/json"},
    {"nothing there", "GET /nothing HTTP/1.1\r\n" HEAD "\r\n", 404,
     "Content-Type: application/problem+json"},
    {"known fields",
     "POST /echo HTTP/1.1\r\n" HEAD JSON_
     "Content-Length: 29\r\n\r\n{\"text\":\"ok\",\"colour\":\"red\"} ",
     200, "{\"text\":\"ok\",\"colour\":\"red\"}"},
    {"unknown field is named",
     "POST /echo HTTP/1.1\r\n" HEAD JSON_ "Content-Length: 14\r\n\r\n{\"colours\":[]}", 422,
     "field 'colours': is not known here"},
    {"choice",
     "POST /echo HTTP/1.1\r\n" HEAD JSON_ "Content-Length: 17\r\n\r\n{\"colour\":\"blue\"}", 422,
     "must be one of: red, green"},
    {"control character",
     "POST /echo HTTP/1.1\r\n" HEAD JSON_ "Content-Length: 14\r\n\r\n{\"text\":\"a\\r\"} ", 422,
     "control characters"},
    {"zero in a string",
     "POST /echo HTTP/1.1\r\n" HEAD JSON_ "Content-Length: 18\r\n\r\n{\"text\":\"a\\u0000\"} ", 422,
     "not JSON"},
    {"text too long",
     "POST /echo HTTP/1.1\r\n" HEAD JSON_ "Content-Length: 20\r\n\r\n{\"text\":\"123456789\"}", 422,
     "1 to 8 bytes"},
    {"number for a flag",
     "POST /echo HTTP/1.1\r\n" HEAD JSON_ "Content-Length: 10\r\n\r\n{\"flag\":1}", 422,
     "true or false"},
    {"real for a whole number",
     "POST /echo HTTP/1.1\r\n" HEAD JSON_ "Content-Length: 13\r\n\r\n{\"count\":1.5}", 422,
     "field 'count'"},
    {"null is absent",
     "POST /echo HTTP/1.1\r\n" HEAD JSON_ "Content-Length: 13\r\n\r\n{\"text\":null}", 200, "null"},
    {"same key twice",
     "POST /echo HTTP/1.1\r\n" HEAD JSON_ "Content-Length: 23\r\n\r\n{\"count\":1,\"count\":2}  ",
     422, "duplicate"},
    {"not JSON", "POST /echo HTTP/1.1\r\n" HEAD JSON_ "Content-Length: 4\r\n\r\n{\"a\"", 422,
     "not JSON: line 1"},
    {"a list", "POST /echo HTTP/1.1\r\n" HEAD JSON_ "Content-Length: 2\r\n\r\n[]", 422, "object"},
    {"not UTF-8",
     "POST /echo HTTP/1.1\r\n" HEAD JSON_ "Content-Length: 12\r\n\r\n{\"text\":\"\xff\"}", 422,
     "not JSON"},
    {"empty body", "POST /echo HTTP/1.1\r\n" HEAD JSON_ "Content-Length: 0\r\n\r\n", 200, "{}"},
    {"write without JSON", "POST /echo HTTP/1.1\r\n" HEAD "Content-Length: 2\r\n\r\n{}", 415,
     "unsupported_media_type"},
    {"form post",
     "POST /echo HTTP/1.1\r\n" HEAD "Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}", 415,
     "application/json"},
    {"look-alike type",
     "POST /echo HTTP/1.1\r\n" HEAD
     "Content-Type: application/jsonx\r\nContent-Length: 2\r\n\r\n{}",
     415, "application/json"},
    {"body where none is taken", "GET /items/1 HTTP/1.1\r\n" HEAD "Content-Length: 2\r\n\r\n{}",
     413, "\"code\":\"limit\""},
    {"foreign host", "GET /items/1 HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
     403, "host_refused"},
    {"foreign host with a port",
     "GET / HTTP/1.1\r\nHost: 127.0.0.1.evil.example:8080\r\nConnection: close\r\n\r\n", 403,
     "host_refused"},
    {"no host", "GET /items/1 HTTP/1.1\r\nConnection: close\r\n\r\n", 403, "host_refused"},
    {"allowed host", "GET /items/1 HTTP/1.1\r\nHost: Bench.example:80\r\nConnection: close\r\n\r\n",
     200, "limit"},
    {"loopback v6 host", "GET /items/1 HTTP/1.1\r\nHost: [::1]:80\r\nConnection: close\r\n\r\n",
     200, "limit"},
    {"own origin", "GET /items/1 HTTP/1.1\r\n" HEAD "Origin: http://127.0.0.1:8080\r\n\r\n", 200,
     "limit"},
    {"foreign origin", "GET /items/1 HTTP/1.1\r\n" HEAD "Origin: http://evil.example\r\n\r\n", 403,
     "origin_refused"},
    {"origin null", "GET /items/1 HTTP/1.1\r\n" HEAD "Origin: null\r\n\r\n", 403, "origin_refused"},
    {"other port's origin",
     "POST /echo HTTP/1.1\r\n" HEAD JSON_
     "Origin: http://127.0.0.1:9\r\nContent-Length: 2\r\n\r\n{}",
     403, "origin_refused"},
    {"as to a proxy", "GET http://evil.example/items/1 HTTP/1.1\r\n" HEAD "\r\n", 400,
     "bad_request"},
    {"index", "GET / HTTP/1.1\r\n" HEAD "\r\n", 200, "<p>bench</p>"},
    {"script's type", "GET /sub/a.js HTTP/1.1\r\n" HEAD "\r\n", 200,
     "Content-Type: text/javascript"},
    {"folder", "GET /sub HTTP/1.1\r\n" HEAD "\r\n", 404, "not_found"},
    {"dots", "GET /../secret HTTP/1.1\r\n" HEAD "\r\n", 404, "not_found"},
    {"dots, encoded", "GET /%2e%2e/secret HTTP/1.1\r\n" HEAD "\r\n", 404, "not_found"},
    {"dots within", "GET /sub/../../secret HTTP/1.1\r\n" HEAD "\r\n", 404, "not_found"},
    {"link out", "GET /link HTTP/1.1\r\n" HEAD "\r\n", 404, "not_found"},
    {"named pipe", "GET /pipe HTTP/1.1\r\n" HEAD "\r\n", 404, "not_found"},
    {"hidden file", "GET /.hidden HTTP/1.1\r\n" HEAD "\r\n", 404, "not_found"},
    {"unknown method", "BREW /items/1 HTTP/1.1\r\n" HEAD "\r\n", 501, ""},
    {"deadline", "GET /late HTTP/1.1\r\n" HEAD "\r\n", 504, "\"code\":\"timeout\""},
};

static void one_request(void **state)
{
    const struct row *row = ROW(state);
    AUTO(free_ptr) char *answer = ask(row->request);
    if (status_of(answer) != row->status || !strstr(answer, row->has))
        fail_msg("wanted %d with '%s', got: %.600s", row->status, row->has, answer);
    if (strncmp(row->request, "HEAD", 4) == 0)
        assert_string_equal(strstr(answer, "\r\n\r\n"), "\r\n\r\n");
}

/* ---- longer conversations ---- */

static void late_answer_after_deadline_is_dropped(void **state)
{
    (void)state;
    AUTO(free_ptr) char *first = ask("GET /late HTTP/1.1\r\n" HEAD "\r\n");
    assert_int_equal(status_of(first), 504);
    AUTO(free_ptr)
    char *second = ask("POST /finish HTTP/1.1\r\n" HEAD JSON_ "Content-Length: 0\r\n\r\n");
    assert_int_equal(status_of(second), 200);
}

static void late_answer_to_a_peer_that_left(void **state)
{
    (void)state;
    int fd = dial();
    say(fd, "GET /waits HTTP/1.1\r\n" HEAD "\r\n");
    AUTO(free_ptr) char *sync = server_counts(); /* by now the request has been read */
    assert_non_null(sync);
    close(fd);
    AUTO(free_ptr)
    char *second = ask("POST /finish HTTP/1.1\r\n" HEAD JSON_ "Content-Length: 0\r\n\r\n");
    assert_int_equal(status_of(second), 200);
}

static void body_larger_than_the_route(void **state)
{
    (void)state;
    int fd = dial();
    say(fd, "POST /echo HTTP/1.1\r\n" HEAD JSON_ "Content-Length: 5000\r\n\r\n");
    for (int i = 0; i < 50; i++)
        say(fd, "          "
                "                                                                                  "
                "        ");
    AUTO(free_ptr) char *answer = hear(fd, NULL);
    assert_int_equal(status_of(answer), 413);
    assert_non_null(strstr(answer, "larger than 4096 bytes"));
    close(fd);
}

static void body_larger_than_any_route(void **state)
{
    (void)state;
    int fd = dial();
    say(fd, "POST /echo HTTP/1.1\r\n" HEAD JSON_ "Content-Length: 900000000\r\n\r\n");
    AUTO(free_ptr) char *answer = hear(fd, NULL);
    assert_int_equal(status_of(answer), 413);
    close(fd);
}

static void silent_peer_is_dropped(void **state)
{
    (void)state;
    int fd = dial();
    say(fd, "GET /items/1 HTTP/1.1\r\nHost: loc"); /* and no more */
    AUTO(free_ptr) char *answer = hear(fd, NULL);  /* ends only because the server closes */
    assert_string_equal(answer, "");
    close(fd);
}

static void file_is_not_sent_twice(void **state)
{
    (void)state;
    AUTO(free_ptr) char *first = ask("GET / HTTP/1.1\r\n" HEAD "\r\n");
    char *etag = strstr(first, "ETag: ");
    assert_non_null(etag);
    AUTO(free_ptr) char *value = xasprintf("%.*s", (int)strcspn(etag + 6, "\r"), etag + 6);
    AUTO(free_ptr)
    char *request = xasprintf("GET / HTTP/1.1\r\n" HEAD "If-None-Match: %s\r\n\r\n", value);
    AUTO(free_ptr) char *second = ask(request);
    assert_int_equal(status_of(second), 304);
    assert_string_equal(strstr(second, "\r\n\r\n"), "\r\n\r\n");
}

static void keep_alive_serves_two(void **state)
{
    (void)state;
    int fd = dial();
    say(fd, "GET /items/1 HTTP/1.1\r\nHost: localhost\r\n\r\n");
    AUTO(free_ptr) char *first = hear(fd, "\"limit\":5}");
    assert_non_null(first);
    say(fd, "GET /items/2 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    AUTO(free_ptr) char *second = hear(fd, NULL);
    assert_non_null(strstr(second, "{\"id\":\"2\",\"limit\":5}"));
    close(fd);
}

static void stream_arrives_whole(void **state)
{
    (void)state;
    AUTO(free_ptr) char *answer = ask("GET /stream HTTP/1.1\r\n" HEAD "\r\n");
    char *body = strstr(answer, "\r\n\r\n") + 4;
    assert_int_equal(strlen(body), STREAM_BYTES);
    for (size_t i = 0; i < STREAM_BYTES; i++)
        if (body[i] != 'a' + (char)(i / (32 * 1024) % 26))
            fail_msg("byte %zu is %c", i, body[i]);
    AUTO(free_ptr) char *head = ask("HEAD /stream HTTP/1.1\r\n" HEAD "\r\n");
    assert_non_null(strstr(head, "Content-Length: 3145728\r\n"));
}

static void stream_peer_that_leaves(void **state)
{
    (void)state;
    AUTO(free_ptr) char *before = server_counts();
    int gone = atoi(strstr(before, "gone=") + 5);
    int fd = dial();
    say(fd, "GET /stream HTTP/1.1\r\n" HEAD "\r\n");
    AUTO(free_ptr) char *some = hear(fd, "aaaa");
    assert_non_null(some);
    close(fd);
    AUTO(free_ptr) char *want = xasprintf("gone=%d", gone + 1);
    assert_true(counts_become(want));
}

/* ---- event streams ---- */

static int stream_open(const char *headers)
{
    int fd = dial();
    AUTO(free_ptr)
    char *request = xasprintf("GET /events HTTP/1.1\r\nHost: localhost\r\n%s\r\n", headers);
    say(fd, request);
    return fd;
}

static void events_arrive_live(void **state)
{
    (void)state;
    int fd = stream_open("");
    AUTO(free_ptr) char *hello = hear(fd, "event: hello");
    assert_non_null(strstr(hello, "retry: 2000"));
    assert_non_null(strstr(hello, "Content-Type: text/event-stream"));
    publish_event(10, "7", "ten", false);
    AUTO(free_ptr) char *event = hear(fd, "data: ten\n\n");
    assert_non_null(strstr(event, "id: 10\nevent: job\ndata: ten\n\n"));
    close(fd);
    assert_true(counts_become("clients=0"));
}

static void events_resume_from_an_id(void **state)
{
    (void)state;
    for (int id = 101; id <= 700; id++) { /* three fetches and more */
        AUTO(free_ptr) char *data = xasprintf("stored-%d", id);
        publish_event(id, "7", data, true);
    }
    int fd = stream_open("Last-Event-ID: 10\r\n");
    AUTO(free_ptr) char *all = hear(fd, "data: stored-700\n\n");
    char *at = all;
    for (int id = 101; id <= 700; id++) { /* each once, in order */
        AUTO(free_ptr) char *want = xasprintf("id: %d\nevent: job\ndata: stored-%d\n\n", id, id);
        at = strstr(at, want);
        if (!at)
            fail_msg("event %d is missing or out of order", id);
        at += strlen(want);
    }
    assert_null(strstr(all, "data: ten"));
    publish_event(701, "7", "fresh", false);
    AUTO(free_ptr) char *next = hear(fd, "data: fresh\n\n");
    assert_null(strstr(next, "stored-700"));
    close(fd);

    fd = dial();
    say(fd, "GET /events?after=700 HTTP/1.1\r\nHost: localhost\r\n\r\n");
    AUTO(free_ptr) char *rest = hear(fd, "data: fresh\n\n");
    assert_null(strstr(rest, "stored-"));
    close(fd);
}

static void events_refuse_a_bad_id(void **state)
{
    (void)state;
    int fd = stream_open("Connection: close\r\nLast-Event-ID: abc\r\n");
    AUTO(free_ptr) char *answer = hear(fd, NULL);
    assert_int_equal(status_of(answer), 422);
    close(fd);
}

static void live_events_are_thinned(void **state)
{
    (void)state;
    int fd = stream_open("");
    AUTO(free_ptr) char *hello = hear(fd, "event: hello");
    assert_non_null(hello);
    for (int i = 0; i < 20; i++) { /* far faster than one in 200 ms, whatever this machine does */
        AUTO(free_ptr) char *data = xasprintf("progress-%d", i);
        publish_event(0, "7", data, false);
    }
    publish_event(0, "8", "other", false);
    AUTO(free_ptr) char *text = hear(fd, "data: progress-19\n\n");
    size_t count = 0;
    for (char *at = text; (at = strstr(at, "data: progress-")); at++)
        count++;
    assert_in_range(count, 1, 19); /* the newest always arrives, not every older one */
    assert_null(strstr(text, "id: 0"));
    close(fd);
}

static void silence_is_filled(void **state)
{
    (void)state;
    int fd = stream_open("");
    /* longer than idle_ms: a quiet stream is not an idle peer */
    AUTO(free_ptr) char *first = hear(fd, ": still here\nevent: beat\n");
    assert_non_null(first);
    for (int i = 0; i < 5; i++) {
        AUTO(free_ptr) char *beat = hear(fd, ": still here\nevent: beat\n");
        assert_non_null(beat);
    }
    close(fd);
}

static void slow_client_is_dropped(void **state)
{
    (void)state;
    assert_true(counts_become("clients=0"));
    AUTO(free_ptr) char *before = server_counts();
    int dropped = atoi(strstr(before, "dropped=") + 8);
    int slow = dial(), small = 4096;
    setsockopt(slow, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    say(slow, "GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n");
    int quick = stream_open("");
    AUTO(free_ptr) char *hello = hear(quick, "event: hello");
    assert_non_null(hello);
    static char big[32 * 1024];
    memset(big, 'x', sizeof(big) - 1);
    bool gone = false;
    for (int id = 1000; id < 1400 && !gone; id++) { /* the kernel's buffers take some megabytes */
        publish_event(id, "7", big, false);
        AUTO(free_ptr) char *end = xasprintf("id: %d\n", id);
        AUTO(free_ptr) char *text = hear(quick, end); /* the quick one gets all */
        assert_non_null(text);
        AUTO(free_ptr) char *now = server_counts();
        gone = atoi(strstr(now, "dropped=") + 8) == dropped + 1;
    }
    assert_true(gone);
    assert_true(counts_become("clients=1"));
    close(slow);
    close(quick);
}

/* ---- without a server ---- */

static void listen_rules(void **state)
{
    (void)state;
    static const struct {
        const char *listen;
        bool allow_remote;
        int want;
    } cases[] = {
        {"127.0.0.1:0", false, 0},
        {"[::1]:0", false, 0},
        {"localhost:0", false, 0},
        {"0.0.0.0:0", false, ERR_REFUSED},
        {"[::]:0", false, ERR_REFUSED},
        {"192.0.2.1:80", false, ERR_REFUSED},
        {"0.0.0.0:0", true, 0},
        {"127.0.0.1", false, ERR_INPUT},
        {"127.0.0.1:99999", false, ERR_INPUT},
        {"example.org:80", true, ERR_INPUT},
        {":80", true, ERR_INPUT},
    };
    struct event_base *base = event_base_new();
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct http *h = NULL;
        struct http_config config = {.listen = cases[i].listen,
                                     .allow_remote = cases[i].allow_remote};
        int rc = http_new(base, &config, &h, NULL);
        if (rc != cases[i].want)
            fail_msg("%s: %d, wanted %d", cases[i].listen, rc, cases[i].want);
        http_free(&h);
    }
    event_base_free(base);
}

static void every_code_is_explained(void **state)
{
    (void)state;
    static const int codes[] = {
#define X(name, api, http, retry) name,
        ERR_TABLE(X)
#undef X
    };
    static const char *const own[] = {
        "host_refused",       "origin_refused", "unsupported_media_type",
        "method_not_allowed", "bad_request",    "too_many_streams"};
    AUTO(free_ptr) char *page = NULL;
    size_t len;
    assert_int_equal(io_slurp(AT_FDCWD, PROBLEMS_HTML, 1 << 20, &page, &len, NULL), 0);
    for (size_t i = 0; i < ARRAY_LEN(codes) + ARRAY_LEN(own); i++) {
        const char *code = i < ARRAY_LEN(codes) ? err_name(codes[i]) : own[i - ARRAY_LEN(codes)];
        AUTO(free_ptr) char *anchor = xasprintf("id=\"%s\"", code);
        if (!strstr(page, anchor))
            fail_msg("web/problems.html does not explain '%s'", code);
    }
}

/* ---- set-up ---- */

static void file_write(const char *dir, const char *name, const char *text)
{
    AUTO(free_ptr) char *path = xasprintf("%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void web_make(void)
{
    strcpy(child.dir, "/tmp/flashrack-http-XXXXXX");
    assert_non_null(mkdtemp(child.dir));
    AUTO(free_ptr) char *web = xasprintf("%s/web", child.dir);
    AUTO(free_ptr) char *sub = xasprintf("%s/web/sub", child.dir);
    AUTO(free_ptr) char *link = xasprintf("%s/web/link", child.dir);
    AUTO(free_ptr) char *pipe_path = xasprintf("%s/web/pipe", child.dir);
    mkdir(web, 0700);
    mkdir(sub, 0700);
    file_write(child.dir, "secret", "secret");
    file_write(web, "index.html", "<p>bench</p>");
    file_write(web, ".hidden", "hidden");
    file_write(sub, "a.js", "export {};");
    assert_int_equal(symlink("../secret", link), 0);
    assert_int_equal(mkfifo(pipe_path, 0600), 0);
}

static int start(void **state)
{
    (void)state;
    int ready[2], stop[2];
    web_make();
    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    assert_int_equal(pipe2(stop, O_CLOEXEC), 0);
    fflush(NULL);
    child.pid = fork();
    if (child.pid == 0) {
        close(ready[0]);
        close(stop[1]);
        signal(SIGPIPE, SIG_IGN);
        AUTO(free_ptr) char *web = xasprintf("%s/web", child.dir);
        int rc = serve(ready[1], stop[0], web);
        free_ptr(&web);
        exit(rc);
    }
    close(ready[1]);
    close(stop[0]);
    child.stop_fd = stop[1];
    char text[16] = "";
    assert_true(read(ready[0], text, sizeof(text) - 1) > 0);
    close(ready[0]);
    child.port = (uint16_t)atoi(text);
    return 0;
}

static int end(void **state)
{
    (void)state;
    /* a stream, a waiting call and an idle connection are open when the server ends */
    int open_fds[] = {stream_open(""), dial(), dial()};
    say(open_fds[1], "GET /waits HTTP/1.1\r\n" HEAD "\r\n");
    free(server_counts());
    close(child.stop_fd);
    int status = -1;
    waitpid(child.pid, &status, 0);
    for (size_t i = 0; i < ARRAY_LEN(open_fds); i++)
        close(open_fds[i]);
    AUTO(free_ptr) char *command = xasprintf("rm -rf %s", child.dir);
    if (system(command) != 0 || status != 0)
        fprintf(stderr, "server ended with status %x\n", (unsigned)status);
    return status;
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest talks[] = {
        cmocka_unit_test(late_answer_after_deadline_is_dropped),
        cmocka_unit_test(late_answer_to_a_peer_that_left),
        cmocka_unit_test(body_larger_than_the_route),
        cmocka_unit_test(body_larger_than_any_route),
        cmocka_unit_test(silent_peer_is_dropped),
        cmocka_unit_test(file_is_not_sent_twice),
        cmocka_unit_test(keep_alive_serves_two),
        cmocka_unit_test(stream_arrives_whole),
        cmocka_unit_test(stream_peer_that_leaves),
        cmocka_unit_test(events_arrive_live),
        cmocka_unit_test(events_resume_from_an_id),
        cmocka_unit_test(events_refuse_a_bad_id),
        cmocka_unit_test(live_events_are_thinned),
        cmocka_unit_test(silence_is_filled),
        cmocka_unit_test(slow_client_is_dropped),
        cmocka_unit_test(listen_rules),
        cmocka_unit_test(every_code_is_explained),
    };
    start(NULL);
    int failed = RUN_ROWS(one_request, rows);
    failed += cmocka_run_group_tests(talks, NULL, NULL);
    failed += end(NULL) != 0;
    return failed;
}
