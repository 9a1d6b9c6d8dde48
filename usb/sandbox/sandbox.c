#include "usb/sandbox/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "usb/base/mem.h"

#if !defined(__SANITIZE_ADDRESS__)
/* All that a worker does: messages and descriptors on its channels, files and devices that were handed to it,
 * memory, time. Everything else is refused with EPERM rather than by death, so that a library that only probes
 * goes on: libusb looks for /dev/bus/usb, OpenSSL for its configuration. README.md names who needs what. */
static const int allowed[] = {
    /* descriptors that are here already */
    SCMP_SYS(read),
    SCMP_SYS(readv),
    SCMP_SYS(pread64),
    SCMP_SYS(preadv),
    SCMP_SYS(write),
    SCMP_SYS(writev),
    SCMP_SYS(pwrite64),
    SCMP_SYS(pwritev),
    SCMP_SYS(lseek),
    SCMP_SYS(close),
    SCMP_SYS(fstat),
    SCMP_SYS(ftruncate),
    SCMP_SYS(fdatasync),
    SCMP_SYS(fsync),
    SCMP_SYS(fadvise64),
    SCMP_SYS(fcntl),
    SCMP_SYS(dup),
    SCMP_SYS(dup2),
    SCMP_SYS(dup3),
    SCMP_SYS(poll),
    SCMP_SYS(ppoll),
    SCMP_SYS(recvmsg),
    SCMP_SYS(recvfrom),
    SCMP_SYS(sendmsg),
    SCMP_SYS(sendto),
    SCMP_SYS(shutdown),
    SCMP_SYS(getsockopt),
    SCMP_SYS(setsockopt),
    SCMP_SYS(readlink),
    SCMP_SYS(readlinkat),
    /* libusb's own */
    SCMP_SYS(eventfd2),
    SCMP_SYS(timerfd_create),
    SCMP_SYS(timerfd_settime),
    SCMP_SYS(pipe2),
    SCMP_SYS(uname),
    /* memory, time, threads of libraries that lock, end */
    SCMP_SYS(brk),
    SCMP_SYS(mmap),
    SCMP_SYS(munmap),
    SCMP_SYS(mremap),
    SCMP_SYS(mprotect),
    SCMP_SYS(madvise),
    SCMP_SYS(futex),
    SCMP_SYS(clock_gettime),
    SCMP_SYS(clock_getres),
    SCMP_SYS(clock_nanosleep),
    SCMP_SYS(nanosleep),
    SCMP_SYS(gettimeofday),
    SCMP_SYS(time),
    SCMP_SYS(getrandom),
    SCMP_SYS(getpid),
    SCMP_SYS(gettid),
    SCMP_SYS(tgkill),
    SCMP_SYS(getrusage),
    SCMP_SYS(sysinfo),
    SCMP_SYS(sched_yield),
    SCMP_SYS(sched_getaffinity),
    SCMP_SYS(rseq),
    SCMP_SYS(set_robust_list),
    SCMP_SYS(rt_sigaction),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(sigaltstack),
    SCMP_SYS(restart_syscall),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
};

/* Besides, for a worker that unpacks into one folder. */
static const int allowed_in_folder[] = {
    SCMP_SYS(openat),    SCMP_SYS(newfstatat), SCMP_SYS(mkdirat),   SCMP_SYS(unlinkat),
    SCMP_SYS(renameat),  SCMP_SYS(renameat2),  SCMP_SYS(fstatfs),   SCMP_SYS(statfs),
    SCMP_SYS(statx),     SCMP_SYS(getdents64), SCMP_SYS(faccessat), SCMP_SYS(faccessat2),
    SCMP_SYS(fallocate), SCMP_SYS(umask),      SCMP_SYS(flock),
};

enum { USBFS_IOCTL = 'U' << 8, IOCTL_TYPE_MASK = 0xff00 };

static int fill_filter(scmp_filter_ctx ctx, bool folder)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(allowed); i++)
        rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, allowed[i], 0);
    for (size_t i = 0; rc == 0 && folder && i < ARRAY_LEN(allowed_in_folder); i++)
        rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, allowed_in_folder[i], 0);
    /* of ioctls only those of usbfs: no terminals, no network interfaces */
    if (rc == 0)
        rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1,
                              SCMP_A1(SCMP_CMP_MASKED_EQ, IOCTL_TYPE_MASK, USBFS_IOCTL));
    /* fstat() of today's libc: by descriptor; a path beside the flag would tell metadata, never contents */
    if (rc == 0 && !folder)
        rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(newfstatat), 1,
                              SCMP_A3(SCMP_CMP_MASKED_EQ, AT_EMPTY_PATH, AT_EMPTY_PATH));
    return rc < 0 ? rc : seccomp_load(ctx);
}

static int load_filter(bool folder, struct err *err)
{
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    if (!ctx)
        return err_set(err, ERR_UNSUPPORTED, "seccomp is not available");
    int rc = fill_filter(ctx, folder);
    seccomp_release(ctx);
    return rc < 0 ? err_set(err, ERR_UNSUPPORTED, "seccomp: error %d", rc) : 0;
}

/* A rule set without rules, or with one for the folder: no other path can be opened, made or removed, whatever
 * descriptor it starts from. The second wall behind seccomp; where the kernel has none, the first stands alone. Rights of ABI 1 (Linux 5.13). */
static void close_file_system(int folder_fd)
{
    struct landlock_ruleset_attr all = {.handled_access_fs = LANDLOCK_ACCESS_FS_MAKE_SYM * 2 - 1};
    struct landlock_path_beneath_attr below = {
        .allowed_access = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE |
                          LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_MAKE_REG |
                          LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE |
                          LANDLOCK_ACCESS_FS_REMOVE_DIR,
        .parent_fd = folder_fd};
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    AUTO(fd_close)
    int fd = abi < 1 ? -1 : (int)syscall(SYS_landlock_create_ruleset, &all, sizeof(all), 0);
    if (fd >= 0 && folder_fd >= 0 &&
        syscall(SYS_landlock_add_rule, fd, LANDLOCK_RULE_PATH_BENEATH, &below, 0) < 0)
        return; /* better the first wall alone than an unpacker that can write nowhere */
    if (fd >= 0)
        (void)syscall(SYS_landlock_restrict_self, fd, 0);
}

static int build_walls(int folder_fd, struct err *err)
{
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0) /* no other process of this user looks into us */
        return err_sys(err, ERR_UNSUPPORTED, "not dumpable");
    close_file_system(folder_fd);
    return load_filter(folder_fd >= 0, err);
}
#else
/* The leak checker of sanitizer builds forks and reads /proc at exit; the sandbox is tested in the release
 * build. */
static int build_walls(int folder_fd, struct err *err)
{
    (void)folder_fd;
    (void)err;
    return 0;
}
#endif

int sandbox_enter(struct err *err)
{
    return sandbox_enter_folder(-1, err);
}

int sandbox_enter_folder(int folder_fd, struct err *err)
{
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none); /* a core would hold identity data */
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return err_sys(err, ERR_UNSUPPORTED, "no_new_privs");
    return build_walls(folder_fd, err);
}
