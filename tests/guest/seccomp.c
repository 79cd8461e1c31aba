/* seccomp(2): strict mode and filters. */
#include "tests/guest/guest_test.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static int run(void (*fn)(void))
{
    struct rlimit no_core = {0, 0};
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        setrlimit(RLIMIT_CORE, &no_core);
        fn();
        syscall(SYS_exit, 0);
    }
    waitpid(pid, &status, 0);
    return status;
}

static void strict(void)
{
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT);
    if (write(-1, "", 0) != -1)
        syscall(SYS_exit, 1);
    syscall(SYS_getpid);
}

TEST(strict_mode_kills)
{
    CHECK_EQ(run(strict) & 0x7f, SIGKILL);
}

/* Answers `action` for the call `nr`, allows all others. */
static int install(int nr, unsigned int action, unsigned int flags)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned int)nr, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, action),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog prog = {.len = sizeof(code) / sizeof(code[0]), .filter = code};

    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &prog);
}

static void errno_filter(void)
{
    if (install(SYS_getpid, SECCOMP_RET_ERRNO | 77, 0))
        _exit(1);
    if (syscall(SYS_getpid) != -1 || errno != 77)
        _exit(2);
    if (syscall(SYS_getuid) == -1)
        _exit(3);
    /* The stricter of two counts, in either order. */
    if (install(SYS_getpid, SECCOMP_RET_ALLOW, 0) || install(SYS_getppid, SECCOMP_RET_ERRNO | 5, 0))
        _exit(4);
    if (syscall(SYS_getpid) != -1 || errno != 77 || syscall(SYS_getppid) != -1 || errno != 5)
        _exit(5);
    /* Children have them too. */
    int status;
    pid_t pid = fork();
    if (pid == 0)
        _exit(syscall(SYS_getppid) == -1 && errno == 5 ? 0 : 1);
    waitpid(pid, &status, 0);
    if (status)
        _exit(6);
    if (prctl(PR_GET_SECCOMP) != SECCOMP_MODE_FILTER)
        _exit(7);
}

TEST(errno_filters_stack_and_are_inherited)
{
    CHECK_EQ(run(errno_filter), 0);
}

static void kill_filter(void)
{
    install(SYS_getppid, SECCOMP_RET_KILL_PROCESS, 0);
    syscall(SYS_getppid);
}

TEST(kill_is_sigsys)
{
    CHECK_EQ(run(kill_filter) & 0x7f, SIGSYS);
}

static volatile int trap_nr, trap_code, trap_errno;

static void on_sys(int sig, siginfo_t *si, void *ctx)
{
    trap_nr = si->si_syscall;
    trap_code = si->si_code;
    trap_errno = si->si_errno;
}

static void trap_filter(void)
{
    struct sigaction sa = {.sa_sigaction = on_sys, .sa_flags = SA_SIGINFO};

    sigaction(SIGSYS, &sa, NULL);
    install(SYS_getppid, SECCOMP_RET_TRAP | 9, 0);
    syscall(SYS_getppid);
    if (trap_nr != SYS_getppid || trap_code != 1 || trap_errno != 9)
        _exit(1);
}

TEST(trap_sends_sigsys_with_the_call)
{
    CHECK_EQ(run(trap_filter), 0);
}

static void trace_filter(void)
{
    install(SYS_getppid, SECCOMP_RET_TRACE, 0);
    if (syscall(SYS_getppid) != -1 || errno != ENOSYS)
        _exit(1);
}

TEST(trace_without_a_tracer_is_enosys)
{
    CHECK_EQ(run(trace_filter), 0);
}

static void bad_programs(void)
{
    struct sock_filter jump[] = {BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 5, 0), BPF_STMT(BPF_RET | BPF_K, 0)};
    struct sock_filter no_ret[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0)};
    struct sock_filter load[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 64), BPF_STMT(BPF_RET | BPF_K, 0)};
    struct sock_filter div0[] = {BPF_STMT(BPF_ALU | BPF_DIV | BPF_K, 0), BPF_STMT(BPF_RET | BPF_K, 0)};
    struct sock_fprog p[] = {{2, jump}, {1, no_ret}, {2, load}, {2, div0}, {0, jump}};
    unsigned int action = SECCOMP_RET_ERRNO, unknown = 0x12340000;

    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    for (int i = 0; i < 5; i++)
        if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &p[i]) != -1 || errno != EINVAL)
            _exit(10 + i);
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, NULL) != -1 || errno != EFAULT)
        _exit(20);
    if (syscall(SYS_seccomp, 99, 0, NULL) != -1 || errno != EINVAL)
        _exit(21);
    if (syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) != 0)
        _exit(22);
    if (syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &unknown) != -1 || errno != EOPNOTSUPP)
        _exit(23);
}

TEST(bad_programs_are_refused)
{
    CHECK_EQ(run(bad_programs), 0);
}

static volatile int ready, go;

static void *other_thread(void *arg)
{
    ready = 1;
    while (!go)
        ;
    return (void *)(syscall(SYS_getppid) == -1 && errno == 66 ? 0L : 1L);
}

static void tsync(void)
{
    pthread_t th;
    void *r;

    pthread_create(&th, NULL, other_thread, NULL);
    while (!ready)
        ;
    if (install(SYS_getppid, SECCOMP_RET_ERRNO | 66, SECCOMP_FILTER_FLAG_TSYNC))
        _exit(1);
    go = 1;
    pthread_join(th, &r);
    if (r)
        _exit(2);
}

TEST(tsync_covers_other_threads)
{
    CHECK_EQ(run(tsync), 0);
}

TEST_MAIN()
