/* flashrack-portwatch: the only process that sees USB ports come to life. It opens device nodes and USB/IP
 * connections and hands each descriptor straight to the worker of that port, keeping no copy. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "usb/base/clock.h"
#include "usb/base/log.h"
#include "usb/base/mem.h"
#include "usb/portwatch/ports.h"
#include "usb/portwatch/racks.h"
#include "usb/portwatch/sysfs.h"
#include "usb/wire/wire.h"

enum {
    RESCAN_MS = 1000,
    RESCAN_MIN_MS = 100,
    RESCAN_MAX_MS = 24 * 3600 * 1000,
    RETRY_MS = 5,
    CHANNELS_MAX = 512,
    UID_ANY = -1
};

struct portwatch {
    struct ports *ports;
    struct hubs *hubs;
    int listener, server, uevents;
    int rescan_ms;  /* sysfs is looked at at least this often, whatever the kernel announces */
    long allow_uid; /* whose flashrackd may talk to us, besides our own user and root */
    bool usb, exit_with_client;
    const char *sysfs_root;
};

static volatile sig_atomic_t stopping;

static void on_signal(int signo)
{
    (void)signo;
    stopping = 1;
}

static int listen_on(const char *path, struct err *err)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(addr.sun_path))
        return err_set(err, ERR_INPUT, "socket path '%s' is longer than %zu bytes", path,
                       sizeof(addr.sun_path) - 1);
    memcpy(addr.sun_path, path, strlen(path) + 1);
    AUTO(fd_close) int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_sys(err, ERR_IO, "socket");
    unlink(path);
    mode_t before = umask(0117); /* user and group; the peer's credentials are checked besides */
    int rc = bind(fd, (struct sockaddr *)&addr, sizeof(addr));
    umask(before);
    if (rc < 0 || listen(fd, 4) < 0)
        return err_sys(err, ERR_IO, "listen on '%s'", path);
    return STEAL_FD(fd);
}

static bool peer_allowed(const struct portwatch *pw, int fd)
{
    struct ucred peer = {0};
    socklen_t len = sizeof(peer);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
        return false;
    return peer.uid == 0 || peer.uid == geteuid() || (long)peer.uid == pw->allow_uid;
}

static void say_hello(int fd)
{
    struct wire_message m = {.type = WIRE_hello, .fd = -1, .u.hello = {.pid = getpid()}};
    WIRE_TEXT(m.u.hello.build, wire_build_id());
    WIRE_TEXT(m.u.hello.role, "portwatch");
    (void)wire_send(fd, &m, MSG_DONTWAIT, NULL);
}

/* One flashrackd at a time; a new connection replaces the old one, whose process is gone or going. */
static void accept_server(struct portwatch *pw)
{
    int fd = accept4(pw->listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0)
        return;
    if (!peer_allowed(pw, fd)) {
        log_line(LOG_WARN, "portwatch", NULL, "a process of another user was turned away");
        close(fd);
        return;
    }
    ports_server_set(pw->ports, -1);
    hubs_server_set(pw->hubs, -1);
    fd_close(&pw->server);
    pw->server = fd;
    say_hello(fd);
    ports_server_set(pw->ports, fd);
    hubs_server_set(pw->hubs, fd);
}

static void drop_server(struct portwatch *pw)
{
    ports_server_set(pw->ports, -1);
    hubs_server_set(pw->hubs, -1);
    fd_close(&pw->server);
    if (pw->exit_with_client)
        stopping = 1;
}

static void on_server_message(struct portwatch *pw, struct wire_message *m)
{
    struct err err = {0};
    switch (m->type) {
    case WIRE_hello:
        if (strcmp(m->u.hello.build, wire_build_id()) != 0) {
            log_line(LOG_ERROR, "portwatch", NULL, "flashrackd is of another build (%s, we are %s)",
                     m->u.hello.build, wire_build_id());
            drop_server(pw);
        }
        break;
    case WIRE_rack:
        if (rack_watch(pw->ports, m->u.rack.address, RACK_DEADLINE_MS, &err) < 0)
            ports_trouble(pw->ports, m->u.rack.address, "%s", err.text);
        break;
    case WIRE_watch:
        ports_watch(pw->ports, m->u.watch.port, STEAL_FD(m->fd));
        break;
    default:
        log_line(LOG_WARN, "portwatch", NULL, "unexpected message %s", wire_type_name(m->type));
        drop_server(pw);
    }
}

static void read_server(struct portwatch *pw)
{
    while (pw->server >= 0) {
        struct wire_message m = {.fd = -1};
        struct err err = {0};
        int rc = wire_recv(pw->server, &m, MSG_DONTWAIT, &err);
        if (rc == ERR_TIMEOUT)
            return;
        if (rc > 0)
            on_server_message(pw, &m);
        else
            drop_server(pw);
        wire_message_deinit(&m);
    }
}

static int collect(struct portwatch *pw, struct pollfd *fds)
{
    int channels[CHANNELS_MAX], n = 0;
    fds[n++] = (struct pollfd){.fd = pw->listener, .events = POLLIN};
    fds[n++] = (struct pollfd){.fd = pw->server, .events = POLLIN};
    fds[n++] = (struct pollfd){.fd = pw->uevents, .events = POLLIN};
    int count = ports_channels(pw->ports, channels, CHANNELS_MAX);
    for (int i = 0; i < count; i++)
        fds[n++] = (struct pollfd){.fd = channels[i], .events = POLLIN};
    return n;
}

static void run(struct portwatch *pw)
{
    static struct pollfd fds[CHANNELS_MAX + 3];
    int64_t rescan_at = 0;
    while (!stopping) {
        int n = collect(pw, fds);
        int wait_ms = pw->usb ? clock_left(rescan_at, pw->rescan_ms) : RESCAN_MS;
        bool due = hubs_flush(pw->hubs);
        if (ports_flush(pw->ports) || due)
            wait_ms = RETRY_MS;
        if (poll(fds, (nfds_t)n, wait_ms) < 0 && errno != EINTR)
            break;
        if (fds[0].revents)
            accept_server(pw);
        if (fds[1].revents)
            read_server(pw);
        bool look = fds[2].revents && sysfs_uevents_drain(pw->uevents);
        for (int i = 3; i < n; i++) {
            if (!fds[i].revents)
                continue;
            ports_channel_readable(pw->ports, fds[i].fd);
            look = true; /* a new want may be for something that is here already */
        }
        if (pw->usb && (look || clock_now_ms() >= rescan_at))
            rescan_at =
                clock_now_ms() +
                (sysfs_rescan(pw->ports, pw->hubs, pw->sysfs_root) ? RETRY_MS : pw->rescan_ms);
    }
}

static const char usage[] =
    "usage: flashrack-portwatch --listen PATH [options]\n"
    "Sees phones come and go and hands opened devices to the workers of flashrackd.\n\n"
    "  --listen PATH       unix socket for flashrackd\n"
    "  --allow-uid UID     this user's flashrackd may connect, besides root and our own user\n"
    "  --usbip HOST:PORT   also watch this USB/IP rack (repeatable; flashrackd can ask for more)\n"
    "  --no-usb            do not look at this machine's own USB ports\n"
    "  --rescan-ms N       look at all USB ports at least this often, 100 to 86400000 (default "
    "1000);\n"
    "                      kernel events tell of changes at once, this catches what they missed\n"
    "  --exit-with-client  end when flashrackd closes the connection\n"
    "  --log-format F      text (default) or json\n"
    "  --verbose           log every change of a port\n"
    "  --help, --version\n";

struct options {
    const char *path;
    char *racks[64];
    int rack_count;
};

static int start_racks(struct portwatch *pw, const struct options *o)
{
    for (int i = 0; i < o->rack_count; i++) {
        struct err err = {0};
        if (rack_watch(pw->ports, o->racks[i], RACK_DEADLINE_MS, &err) < 0) {
            fprintf(stderr, "flashrack-portwatch: --usbip %s: %s\n", o->racks[i], err.text);
            return -1;
        }
    }
    return 0;
}

static bool rescan_parse(const char *text, int *ms_out)
{
    char *end;
    long ms = strtol(text, &end, 10);
    if (end == text || *end || ms < RESCAN_MIN_MS || ms > RESCAN_MAX_MS)
        return false;
    *ms_out = (int)ms;
    return true;
}

enum { GO_ON = -1 }; /* else the exit status */

/* One option that has a value or switches something. */
static int take_option(int c, struct portwatch *pw, struct options *o)
{
    switch (c) {
    case 'l':
        o->path = optarg;
        return GO_ON;
    case 'u':
        pw->allow_uid = strtol(optarg, NULL, 10);
        return GO_ON;
    case 'r':
        if (o->rack_count < (int)ARRAY_LEN(o->racks))
            o->racks[o->rack_count++] = optarg;
        return GO_ON;
    case 'n':
        pw->usb = false;
        return GO_ON;
    case 's':
        if (rescan_parse(optarg, &pw->rescan_ms))
            return GO_ON;
        fprintf(stderr, "flashrack-portwatch: --rescan-ms takes %d to %d, not '%s'\n",
                RESCAN_MIN_MS, RESCAN_MAX_MS, optarg);
        return 2;
    case 'x':
        pw->exit_with_client = true;
        return GO_ON;
    case 'f':
        log_json_set(strcmp(optarg, "json") == 0);
        return GO_ON;
    case 'v':
        log_level_set(LOG_DEBUG);
        return GO_ON;
    case 'h':
        fputs(usage, stdout);
        return 0;
    case 'V':
        puts("flashrack-portwatch " FLASHRACK_VERSION);
        return 0;
    default:
        fputs(usage, stderr);
        return 2;
    }
}

static int parse_options(int argc, char **argv, struct portwatch *pw, struct options *o)
{
    static const struct option options[] = {{"listen", required_argument, 0, 'l'},
                                            {"allow-uid", required_argument, 0, 'u'},
                                            {"usbip", required_argument, 0, 'r'},
                                            {"no-usb", no_argument, 0, 'n'},
                                            {"exit-with-client", no_argument, 0, 'x'},
                                            {"log-format", required_argument, 0, 'f'},
                                            {"verbose", no_argument, 0, 'v'},
                                            {"help", no_argument, 0, 'h'},
                                            {"version", no_argument, 0, 'V'},
                                            {"rescan-ms", required_argument, 0, 's'},
                                            {0}};
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        int status = take_option(c, pw, o);
        if (status != GO_ON)
            return status;
    }
    if (o->path && optind == argc)
        return GO_ON;
    fputs(usage, stderr);
    return 2;
}

int main(int argc, char **argv)
{
    static struct portwatch pw = {.listener = -1, /* rack threads use it to the last moment */
                                  .server = -1,
                                  .uevents = -1,
                                  .allow_uid = UID_ANY,
                                  .usb = true,
                                  .rescan_ms = RESCAN_MS,
                                  .sysfs_root = "/sys"};
    struct options options = {0};
    log_program_set("portwatch");
    int status = parse_options(argc, argv, &pw, &options);
    if (status != GO_ON)
        return status;
    struct sigaction sa = {.sa_handler = on_signal};
    sigaction(SIGTERM, &sa, NULL);
    sigaction(SIGINT, &sa, NULL);
    signal(SIGPIPE, SIG_IGN);

    struct err err = {0};
    pw.ports = ports_new();
    pw.hubs = hubs_new();
    pw.listener = listen_on(options.path, &err);
    if (pw.listener < 0 || start_racks(&pw, &options) < 0) {
        if (err.code)
            fprintf(stderr, "flashrack-portwatch: %s\n", err.text);
        return 1;
    }
    if (pw.usb) {
        pw.uevents = sysfs_uevents_open(&err);
        if (pw.uevents < 0)
            log_line(LOG_WARN, "portwatch", NULL, "%s; looking once a second instead", err.text);
    }
    log_line(LOG_INFO, "portwatch", NULL, "listening on %s", options.path);
    run(&pw);
    unlink(options.path);
    return 0; /* rack threads and channels end with the process */
}
