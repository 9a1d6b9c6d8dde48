/* files.c: the dashboard's files from --web DIR. Each path component is opened by itself without
 * following links, so no request leaves the folder. Files are read, not mapped: a file that is
 * rewritten while it is sent must not be able to kill the station with SIGBUS. */
#include "server/http/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "usb/base/mem.h"

#define FILE_MAX_BYTES ((off_t)4 * 1024 * 1024) /* read in one go on the loop */
#define NAME_MAX_BYTES 100

static const struct {
    const char *suffix, *type;
} types[] = {
    {".html", "text/html; charset=utf-8"},
    {".js", "text/javascript; charset=utf-8"},
    {".css", "text/css; charset=utf-8"},
    {".svg", "image/svg+xml"},
    {".png", "image/png"},
    {".ico", "image/x-icon"},
    {".json", "application/json"},
    {".webmanifest", "application/manifest+json"},
    {".woff2", "font/woff2"},
    {".txt", "text/plain; charset=utf-8"},
};

/* Names we ship have only these characters; nothing needs decoding, hidden files stay hidden. */
static bool name_ok(const char *name, size_t len)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    return len > 0 && len <= NAME_MAX_BYTES && name[0] != '.' && strspn(name, allowed) >= len;
}

/* An open regular file below `dir`, or -1. */
static int file_open(const char *dir, const char *path)
{
    AUTO(fd_close) int at = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    while (at >= 0 && *path == '/') {
        path++;
        size_t len = strcspn(path, "/");
        if (!name_ok(path, len))
            return -1;
        char name[NAME_MAX_BYTES + 1];
        memcpy(name, path, len);
        name[len] = 0;
        /* O_NONBLOCK: a named pipe in the folder must not hang the loop */
        int next = openat(at, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
        fd_close(&at);
        at = next;
        path += len;
    }
    return STEAL_FD(at);
}

static const char *type_of(const char *path)
{
    const char *dot = strrchr(path, '.');
    for (size_t i = 0; dot && i < ARRAY_LEN(types); i++)
        if (strcmp(types[i].suffix, dot) == 0)
            return types[i].type;
    return "application/octet-stream";
}

static void validators_add(struct http_call *call, const struct stat *st, char etag[64])
{
    char modified[64];
    struct tm tm;
    gmtime_r(&st->st_mtime, &tm);
    strftime(modified, sizeof(modified), "%a, %d %b %Y %H:%M:%S GMT", &tm);
    snprintf(etag, 64, "\"%llx-%llx-%lx\"", (unsigned long long)st->st_size,
             (unsigned long long)st->st_mtim.tv_sec, st->st_mtim.tv_nsec);
    http_reply_header(call, "ETag", etag);
    http_reply_header(call, "Last-Modified", modified);
    http_reply_header(call, "Cache-Control",
                      "no-cache"); /* ask each time: one page, many upgrades */
}

bool files_serve(struct http_call *call, const char *path)
{
    const char *method = call_method(call);
    if (!call->http->web_dir || (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0))
        return false;
    if (strcmp(path, "/") == 0)
        path = "/index.html";
    AUTO(fd_close) int fd = file_open(call->http->web_dir, path);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > FILE_MAX_BYTES)
        return false;

    char etag[64];
    validators_add(call, &st, etag);
    const char *known = http_header(call, "If-None-Match");
    if (known && (strcmp(known, "*") == 0 || strstr(known, etag))) {
        call_send(call, 304, NULL, NULL);
        return true;
    }
    struct evbuffer *body = evbuffer_new();
    for (off_t left = st.st_size; left > 0;) {
        int got = evbuffer_read(body, fd, (int)left);
        if (got <= 0)
            break; /* cut short under us; what is there is sent with its true length */
        left -= got;
    }
    call_send(call, 200, type_of(path), body);
    evbuffer_free(body);
    return true;
}
