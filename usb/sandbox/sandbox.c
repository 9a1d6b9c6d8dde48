#include "usb/sandbox/sandbox.h"

#include <errno.h>
#include <seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "usb/base/mem.h"

#if !defined(__SANITIZE_ADDRESS__)
/* Refused with EPERM rather than by death, so that a library that only probes goes on. Everything a worker
 * needs came to it as a descriptor. libusb opens /dev/bus/usb once at init to look at it; refusal is fine, the
 * device itself is handed over. */
static const int refused[] = {
    SCMP_SYS(socket),  SCMP_SYS(connect),  SCMP_SYS(bind),     SCMP_SYS(listen),
    SCMP_SYS(execve),  SCMP_SYS(execveat), SCMP_SYS(fork),     SCMP_SYS(vfork),
    SCMP_SYS(ptrace),  SCMP_SYS(mount),    SCMP_SYS(umount2),  SCMP_SYS(unlink),
    SCMP_SYS(unlinkat), SCMP_SYS(rename),  SCMP_SYS(renameat), SCMP_SYS(renameat2),
    SCMP_SYS(creat),   SCMP_SYS(mkdir),    SCMP_SYS(mkdirat),  SCMP_SYS(chmod),
    SCMP_SYS(fchmodat), SCMP_SYS(chown),   SCMP_SYS(symlink),  SCMP_SYS(link),
    SCMP_SYS(kill),    SCMP_SYS(init_module), SCMP_SYS(finit_module), SCMP_SYS(bpf),
    SCMP_SYS(keyctl),  SCMP_SYS(process_vm_readv), SCMP_SYS(process_vm_writev),
};

static int load_filter(struct err *err)
{
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
    if (!ctx)
        return err_set(err, ERR_UNSUPPORTED, "seccomp is not available");
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(refused); i++)
        rc = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), refused[i], 0);
    if (rc == 0)
        rc = seccomp_load(ctx);
    seccomp_release(ctx);
    return rc < 0 ? err_set(err, ERR_UNSUPPORTED, "seccomp: error %d", rc) : 0;
}
#else
/* The leak checker of sanitizer builds forks and reads /proc at exit; the sandbox is tested in the release
 * build. */
static int load_filter(struct err *err)
{
    (void)err;
    return 0;
}
#endif

int sandbox_enter(struct err *err)
{
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none); /* a core would hold identity data */
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return err_sys(err, ERR_UNSUPPORTED, "no_new_privs");
    return load_filter(err);
}
