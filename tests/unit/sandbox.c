/* usb/sandbox: a child enters and tries to get out in every way we could think of. Release build only: sanitizers
 * do not live with seccomp. */
#include "tests/unit/rows.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "usb/base/hash.h"
#include "usb/sandbox/sandbox.h"

static int pipe_ends[2], folder_fd;

/* Each returns what the system call returned; a way out is closed when that is -1 with EPERM or EACCES. */
static long open_file(void)
{
    return open("/etc/passwd", O_RDONLY | O_CLOEXEC);
}
static long open_beneath(void)
{
    return openat(folder_fd, "passwd", O_RDONLY | O_CLOEXEC);
}
static long open_at_2(void)
{
    uint64_t how[3] = {O_RDONLY, 0, 0};
    return syscall(SYS_openat2, AT_FDCWD, "/etc/passwd", how, sizeof(how));
}
static long make_file(void)
{
    return open("/tmp/flashrack-sandbox", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
}
static long remove_file(void)
{
    return unlink("/tmp/flashrack-no-such-file");
}
static long rename_file(void)
{
    return rename("/tmp/flashrack-a", "/tmp/flashrack-b");
}
static long look_at(void)
{
    struct stat st;
    return stat("/etc/passwd", &st);
}
static long inet_socket(void)
{
    return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
}
static long unix_socket(void)
{
    return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
}
static long socket_pair(void)
{
    int ends[2];
    return socketpair(AF_UNIX, SOCK_STREAM, 0, ends);
}
static long start_program(void)
{
    char *const argv[] = {(char *)(uintptr_t) "true", NULL};
    return execve("/bin/true", argv, NULL);
}
static long fork_process(void)
{
    return fork();
}
static long clone_process(void)
{
    return syscall(SYS_clone, 0, 0, 0, 0, 0);
}
static long clone3_process(void)
{
    return syscall(SYS_clone3, NULL, 0);
}
static long look_into_parent(void)
{
    return syscall(SYS_ptrace, 16, getppid(), 0, 0);
}
static long read_parent(void)
{
    return syscall(SYS_process_vm_readv, getppid(), NULL, 0, NULL, 0, 0);
}
static long kill_parent(void)
{
    return syscall(SYS_kill, getppid(), 0);
}
static long io_uring(void)
{
    return syscall(SYS_io_uring_setup, 1, NULL);
}
static long bpf(void)
{
    return syscall(SYS_bpf, 0, NULL, 0);
}
static long user_namespace(void)
{
    return syscall(SYS_unshare, 0x10000000);
}
static long mount_something(void)
{
    return syscall(SYS_mount, "none", "/tmp", "tmpfs", 0, NULL);
}
static long memory_file(void)
{
    return syscall(SYS_memfd_create, "x", 0);
}
static long more_limits(void)
{
    struct rlimit limit = {100000, 100000};
    return setrlimit(RLIMIT_CORE, &limit);
}
static long terminal_ioctl(void)
{
    char c = 'x';
    return ioctl(0, 0x5412 /* TIOCSTI */, &c);
}
static long fetch_descriptor(void)
{
    return syscall(SYS_pidfd_getfd, 0, 0, 0);
}
static long open_process(void)
{
    return syscall(SYS_pidfd_open, getppid(), 0);
}

static const struct row {
    const char *name;
    long (*try)(void);
} rows[] = {
    {"open a file", open_file},
    {"open beneath a folder that is open", open_beneath},
    {"openat2", open_at_2},
    {"make a file", make_file},
    {"remove a file", remove_file},
    {"rename a file", rename_file},
    {"stat a path", look_at},
    {"internet socket", inet_socket},
    {"unix socket", unix_socket},
    {"socket pair", socket_pair},
    {"start a program", start_program},
    {"fork", fork_process},
    {"clone", clone_process},
    {"clone3", clone3_process},
    {"ptrace", look_into_parent},
    {"read another process", read_parent},
    {"signal another process", kill_parent},
    {"io_uring", io_uring},
    {"bpf", bpf},
    {"new namespace", user_namespace},
    {"mount", mount_something},
    {"memory file", memory_file},
    {"set limits", more_limits},
    {"type into a terminal", terminal_ioctl},
    {"take a descriptor of another process", fetch_descriptor},
    {"open another process", open_process},
};

/* Exit status of a child that enters the sandbox and calls `inside`. */
static int in_sandbox(int (*inside)(const void *arg), const void *arg)
{
    pid_t pid = fork();
    if (pid == 0)
        _exit(sandbox_enter(NULL) < 0 ? 99 : inside(arg));
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int try_row(const void *arg)
{
    const struct row *row = arg;
    errno = 0;
    return row->try() == -1 && (errno == EPERM || errno == EACCES) ? 0 : 1;
}

static void way_out(void **state)
{
    assert_int_equal(in_sandbox(try_row, ROW(state)), 0);
}

/* What a worker lives on still works, or the rows above would prove too little. */
static int live(const void *arg)
{
    (void)arg;
    char text[16];
    char *memory = malloc(1 << 20);
    memset(memory, 1, 1 << 20);
    struct sha256 hash = sha256_of(span_of((uint8_t *)memory, 1 << 20));
    struct stat st;
    bool fine = fstat(pipe_ends[0], &st) == 0 && S_ISFIFO(st.st_mode);
    fine = fine && write(pipe_ends[1], "hello", 5) == 5 &&
           read(pipe_ends[0], text, sizeof(text)) == 5 && hash.bytes[0] != hash.bytes[1];
    free(memory);
    return fine && prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == -1
               ? 0
               : 1; /* prctl is not on the list either */
}

static void life_goes_on(void **state)
{
    (void)state;
    assert_int_equal(in_sandbox(live, NULL), 0);
}

int main(void)
{
    if (pipe2(pipe_ends, O_CLOEXEC) < 0)
        return 1;
    folder_fd = open("/etc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const struct CMUnitTest tests[] = {cmocka_unit_test(life_goes_on)};
    int failed = RUN_ROWS(way_out, rows);
    return failed + cmocka_run_group_tests(tests, NULL, NULL);
}
