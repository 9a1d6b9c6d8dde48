/* flashrack-worker: does one job on one port and ends. Everything comes as descriptors over fd 3 (flashrackd)
 * and fd 4 (portwatch); it opens no file and no socket itself. It may crash, hang or be killed: only its job
 * fails. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <locale.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "usb/base/clock.h"
#include "usb/base/io.h"
#include "usb/base/log.h"
#include "usb/base/mem.h"
#include "usb/sandbox/sandbox.h"
#include "usb/worker/runs.h"

enum {
    RUN_TEXT_MAX_BYTES = 4 << 20,
    /* Buffers from this size on go back to the system when they are freed. Left alone, glibc raises its limit with
     * each one that is, and a worker keeps what its largest step needed. */
    MMAP_FROM_BYTES = 64 * 1024,
    LAST_WORDS_MS = 60000, /* a station that stands still so long reads the end in the spool */
};

static const struct {
    const char *kind;
    run_fn *run;
} runs[] = {
    {"job", run_job}, {"import", run_import}, {"firmware", run_firmware}, {"unpack", run_unpack}};

static int read_run_text(int fd, char **text, size_t *len, struct err *err)
{
    int64_t size = io_size(fd, err);
    if (size < 0)
        return (int)size;
    if (size > RUN_TEXT_MAX_BYTES)
        return err_set(err, ERR_LIMIT, "the plan has %lld bytes", (long long)size);
    *text = xcalloc(1, (size_t)size + 1);
    *len = (size_t)size;
    return io_pread(fd, *text, (size_t)size, 0, err);
}

static void do_run(struct host *h)
{
    struct wire_message m = {.type = WIRE_done, .fd = -1, .u.done = {.job_id = h->job_id}};
    struct err err = {0};
    AUTO(free_ptr) char *text = NULL;
    size_t len = 0;
    int rc = read_run_text(h->run_fd, &text, &len, &err);
    run_fn *run = NULL;
    for (size_t i = 0; i < ARRAY_LEN(runs); i++)
        if (strcmp(runs[i].kind, h->run.kind) == 0)
            run = runs[i].run;
    if (rc == 0)
        rc = run ? run(h, text, len, &m.u.done, &err)
                 : err_set(&err, ERR_UNSUPPORTED, "unknown run '%s'", h->run.kind);
    WIRE_TEXT(m.u.done.code, err_name(rc));
    WIRE_TEXT(m.u.done.text, rc < 0 ? err.text : "");
    if (!m.u.done.result)
        m.u.done.result = json_object();
    host_send(h, &m);
    host_flush(h, clock_in(LAST_WORDS_MS));
    wire_message_deinit(&m);
}

static const char usage[] =
    "usage: flashrack-worker [--time-scale X] [--folder DIR]\n"
    "Started by flashrackd with its channel on fd 3 and portwatch's on fd 4; of no use by hand.\n";

static int channels_ok(void)
{
    return fcntl(WORKER_CHANNEL_FD, F_GETFD) >= 0 && fcntl(WORKER_DEVICE_FD, F_GETFD) >= 0;
}

int main(int argc, char **argv)
{
    const char *folder = NULL; /* the one place where this worker may make files */
    static const struct option options[] = {{"time-scale", required_argument, 0, 't'},
                                            {"folder", required_argument, 0, 'd'},
                                            {"help", no_argument, 0, 'h'},
                                            {"version", no_argument, 0, 'V'},
                                            {0}};
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (c) {
        case 't':
            clock_scale_set(strtod(optarg, NULL));
            break;
        case 'd':
            folder = optarg;
            break;
        case 'h':
            fputs(usage, stdout);
            return 0;
        case 'V':
            puts("flashrack-worker " FLASHRACK_VERSION);
            return 0;
        default:
            fputs(usage, stderr);
            return 2;
        }
    }
    if (optind != argc || !channels_ok()) {
        fputs(usage, stderr);
        return 2;
    }
    setlocale(LC_CTYPE, "C.UTF-8"); /* file names in archives: usb/archive/reader.h */
    mallopt(M_MMAP_THRESHOLD, MMAP_FROM_BYTES);
    mallopt(M_TRIM_THRESHOLD, MMAP_FROM_BYTES);
    log_program_set("worker");
    signal(SIGPIPE, SIG_IGN);
    signal(SIGINT,
           SIG_IGN); /* Ctrl-C at the station is for flashrackd; a worker ends after its step */
    fcntl(WORKER_CHANNEL_FD, F_SETFD, FD_CLOEXEC);
    fcntl(WORKER_DEVICE_FD, F_SETFD, FD_CLOEXEC);

    struct err err = {0};
    static struct host host;
    host_init(&host);
    if (folder)
        host.folder_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (sandbox_enter_folder(host.folder_fd, &err) < 0)
        log_line(LOG_WARN, "worker", NULL, "sandbox: %s", err.text);
    struct wire_message hello = {.type = WIRE_hello, .fd = -1, .u.hello = {.pid = getpid()}};
    WIRE_TEXT(hello.u.hello.build, wire_build_id());
    WIRE_TEXT(hello.u.hello.role, "worker");
    host_send(&host, &hello);
    while (!host.server_gone && !host.run_asked)
        host_pump(&host, clock_now_ms() + 1000);
    if (host.run_asked)
        do_run(&host);
    host_deinit(&host);
    return 0;
}
