/* clone and clone3 with their flags, without libc's help. */
#include "tests/guest/guest_test.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#ifndef CLONE_CLEAR_SIGHAND
#define CLONE_CLEAR_SIGHAND 0x100000000ULL
#endif
#ifndef CLONE_PIDFD
#define CLONE_PIDFD 0x1000
#endif

static char stack[65536] __attribute__((aligned(64)));

static long raw_clone(unsigned long flags, void *ptid, void *ctid, unsigned long tls)
{
    register void *r10 __asm__("r10") = ctid;
    register unsigned long r8 __asm__("r8") = tls;
    long r;

    __asm__ volatile("syscall"
                     : "=a"(r)
                     : "0"((long)SYS_clone), "D"(flags), "S"(0L), "d"(ptid), "r"(r10), "r"(r8)
                     : "rcx", "r11", "memory");
    return r;
}

static long clone3(struct clone_args *ca, size_t size)
{
    return syscall(SYS_clone3, ca, size);
}

static int wait_status(pid_t pid)
{
    int status;

    return waitpid(pid, &status, __WALL) == pid ? status : -1;
}

TEST(settid_and_cleartid)
{
    volatile int *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    long pid = raw_clone(CLONE_PARENT_SETTID | CLONE_CHILD_SETTID | SIGCHLD, (void *)&shared[0], (void *)&shared[1], 0);

    CHECK(pid >= 0);
    if (pid == 0)
        _exit(shared[1] == syscall(SYS_gettid) ? 0 : 1);
    CHECK_EQ(shared[0], pid);
    CHECK_EQ(wait_status((pid_t)pid), 0);
    CHECK_EQ(shared[1], pid);
    munmap((void *)shared, 4096);
}

TEST(settls_sets_fs)
{
    static unsigned long tls_block[8];
    long pid;

    /* Our own thread pointer again: libc in the child works as before. */
    unsigned long fs;
    CHECK_EQ(syscall(SYS_arch_prctl, 0x1003, &fs), 0);
    pid = raw_clone(CLONE_SETTLS | SIGCHLD, NULL, NULL, fs);
    if (pid == 0)
        _exit(0);
    CHECK_EQ(wait_status((pid_t)pid), 0);
    pid = raw_clone(CLONE_SETTLS | SIGCHLD, NULL, NULL, (unsigned long)tls_block);
    if (pid == 0) {
        unsigned long got;
        __asm__ volatile("syscall"
                         : "=a"(got)
                         : "0"((long)SYS_arch_prctl), "D"(0x1003L), "S"(&tls_block[1])
                         : "rcx", "r11", "memory");
        __asm__ volatile("syscall" ::"a"((long)SYS_exit), "D"((long)(tls_block[1] != (unsigned long)tls_block)) : "rcx", "r11");
    }
    CHECK_EQ(wait_status((pid_t)pid), 0);
    CHECK_EQ(raw_clone(CLONE_SETTLS | SIGCHLD, NULL, NULL, 0xffff800000000000UL), -EPERM);
}

TEST(invalid_combinations)
{
    CHECK_EQ(raw_clone(CLONE_THREAD, NULL, NULL, 0), -EINVAL);
    CHECK_EQ(raw_clone(CLONE_SIGHAND | SIGCHLD, NULL, NULL, 0), -EINVAL);
    CHECK_EQ(raw_clone(CLONE_NEWNS | CLONE_FS | SIGCHLD, NULL, NULL, 0), -EINVAL);
    CHECK_EQ(raw_clone(CLONE_PIDFD | CLONE_PARENT_SETTID | SIGCHLD, NULL, NULL, 0), -EINVAL);
    CHECK_EQ(raw_clone(CLONE_PIDFD | SIGCHLD, (void *)8, NULL, 0), -EFAULT);
}

TEST(clone3_checks_its_arguments)
{
    struct clone_args ca = {.exit_signal = SIGCHLD};
    char big[4097] = {0};

    CHECK_ERR(clone3(&ca, 63), EINVAL);
    CHECK_ERR(clone3(&ca, 5000), E2BIG);
    CHECK_ERR(clone3((void *)8, sizeof(ca)), EFAULT);
    memcpy(big, &ca, sizeof(ca));
    big[200] = 1;
    CHECK_ERR(clone3((struct clone_args *)big, 256), E2BIG);
    ca.exit_signal = 65;
    CHECK_ERR(clone3(&ca, sizeof(ca)), EINVAL);
    ca.exit_signal = SIGCHLD;
    ca.flags = 1; /* within CSIGNAL */
    CHECK_ERR(clone3(&ca, sizeof(ca)), EINVAL);
    ca.flags = 1ULL << 40;
    CHECK_ERR(clone3(&ca, sizeof(ca)), EINVAL);
    ca.flags = 0;
    ca.stack = (uintptr_t)stack;
    CHECK_ERR(clone3(&ca, sizeof(ca)), EINVAL);
    ca.stack = 0;
    ca.stack_size = 4096;
    CHECK_ERR(clone3(&ca, sizeof(ca)), EINVAL);
    ca.stack_size = 0;
    ca.flags = CLONE_PARENT;
    CHECK_ERR(clone3(&ca, sizeof(ca)), EINVAL);
    ca.flags = CLONE_CLEAR_SIGHAND | CLONE_SIGHAND | CLONE_VM;
    CHECK_ERR(clone3(&ca, sizeof(ca)), EINVAL);
}

static void nothing(int sig)
{
}

TEST(clone3_pidfd_and_clear_sighand)
{
    int pidfd = -1;
    struct clone_args ca = {.flags = CLONE_PIDFD | CLONE_CLEAR_SIGHAND, .exit_signal = SIGCHLD, .pidfd = (uintptr_t)&pidfd};
    struct sigaction sa;
    long pid;

    signal(SIGUSR1, nothing);
    signal(SIGUSR2, SIG_IGN);
    pid = clone3(&ca, sizeof(ca));
    CHECK(pid >= 0);
    if (pid == 0) {
        int ok = sigaction(SIGUSR1, NULL, &sa) == 0 && sa.sa_handler == SIG_DFL;
        ok = ok && sigaction(SIGUSR2, NULL, &sa) == 0 && sa.sa_handler == SIG_IGN;
        usleep(20000);
        _exit(!ok);
    }
    CHECK(pidfd >= 0);
    CHECK_EQ(fcntl(pidfd, F_GETFD), FD_CLOEXEC);
    struct pollfd p = {.fd = pidfd, .events = POLLIN};
    CHECK_EQ(poll(&p, 1, 0), 0);
    CHECK_EQ(poll(&p, 1, 5000), 1);
    CHECK_EQ(wait_status((pid_t)pid), 0);
    close(pidfd);
    signal(SIGUSR1, SIG_DFL);
    signal(SIGUSR2, SIG_DFL);
}

static int child_fn(void *arg)
{
    *(volatile int *)arg = 1;
    return 3;
}

TEST(clone_vm_shares_memory_and_exit_signal_zero_needs_wclone)
{
    volatile int x = 0;
    int status;
    pid_t pid = clone(child_fn, stack + sizeof(stack), CLONE_VM, (void *)&x);

    CHECK(pid > 0);
    CHECK_ERR(waitpid(pid, &status, 0), ECHILD);
    CHECK_EQ(waitpid(pid, &status, __WCLONE), pid);
    CHECK_EQ(WEXITSTATUS(status), 3);
    CHECK_EQ(x, 1);
}

static int close_fd(void *arg)
{
    close(*(int *)arg);
    chdir("/");
    return 0;
}

TEST(clone_files_and_fs_are_shared)
{
    int fd = open("/dev/null", O_RDONLY);
    char cwd[256];

    CHECK_OK(chdir("/tmp"));
    pid_t pid = clone(close_fd, stack + sizeof(stack), CLONE_FILES | CLONE_FS | SIGCHLD, &fd);
    CHECK_EQ(wait_status(pid), 0);
    CHECK_ERR(fcntl(fd, F_GETFD), EBADF);
    CHECK_STR(getcwd(cwd, sizeof(cwd)), "/");

    fd = open("/dev/null", O_RDONLY);
    CHECK_OK(chdir("/tmp"));
    pid = clone(close_fd, stack + sizeof(stack), SIGCHLD, &fd);
    CHECK_EQ(wait_status(pid), 0);
    CHECK_OK(fcntl(fd, F_GETFD));
    CHECK_STR(getcwd(cwd, sizeof(cwd)), "/tmp");
    close(fd);
}

TEST(clone_parent_makes_a_sibling)
{
    int fds[2];
    pid_t sibling = 0;

    CHECK_OK(pipe(fds));
    pid_t pid = fork();
    if (pid == 0) {
        long p = raw_clone(CLONE_PARENT | SIGCHLD, NULL, NULL, 0);
        if (p == 0)
            _exit(11);
        _exit(write(fds[1], &p, sizeof(pid_t)) != sizeof(pid_t));
    }
    CHECK_EQ(wait_status(pid), 0);
    CHECK_EQ(read(fds[0], &sibling, sizeof(sibling)), (ssize_t)sizeof(sibling));
    CHECK_EQ(wait_status(sibling), 11 << 8);
    close(fds[0]);
    close(fds[1]);
}

TEST(an_exit_signal_that_is_none_is_not_sent)
{
    int status;

    for (long signo = 65; signo <= 255; signo += 63) {
        pid_t pid = (pid_t)syscall(SYS_clone, signo, 0, 0, 0, 0);

        if (pid == 0)
            _exit(7);
        CHECK(pid > 0);
        CHECK_EQ(waitpid(pid, &status, __WALL), pid);
        CHECK_EQ(status, 7 << 8);
    }
}

TEST(exit_signal_can_be_another_one)
{
    sigset_t set;
    siginfo_t si;

    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    long pid = raw_clone(SIGUSR1, NULL, NULL, 0);
    if (pid == 0)
        _exit(4);
    CHECK_EQ(sigwaitinfo(&set, &si), SIGUSR1);
    CHECK_EQ(si.si_pid, pid);
    CHECK_EQ(si.si_code, CLD_EXITED);
    CHECK_EQ(wait_status((pid_t)pid), 4 << 8);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
}

TEST(subreaper_adopts)
{
    int fds[2], old;
    pid_t grandchild = 0;

    CHECK_OK(prctl(PR_GET_CHILD_SUBREAPER, &old));
    CHECK_OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
    CHECK_OK(pipe(fds));
    pid_t pid = fork();
    if (pid == 0) {
        pid_t p = fork();
        if (p == 0) {
            usleep(30000);
            _exit(12);
        }
        _exit(write(fds[1], &p, sizeof(p)) != sizeof(p));
    }
    CHECK_EQ(wait_status(pid), 0);
    CHECK_EQ(read(fds[0], &grandchild, sizeof(grandchild)), (ssize_t)sizeof(grandchild));
    CHECK_EQ(wait_status(grandchild), 12 << 8);
    CHECK_OK(prctl(PR_SET_CHILD_SUBREAPER, old));
    close(fds[0]);
    close(fds[1]);
}

TEST(pdeathsig_comes_with_the_parents_death)
{
    int fds[2];
    char c;

    CHECK_OK(pipe(fds));
    pid_t pid = fork();
    if (pid == 0) {
        pid_t p = fork();
        if (p == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            close(fds[0]);
            if (write(fds[1], "r", 1) != 1)
                _exit(1);
            for (;;)
                pause();
        }
        usleep(30000);
        _exit(0);
    }
    close(fds[1]);
    CHECK_EQ(read(fds[0], &c, 1), 1);
    CHECK_EQ(read(fds[0], &c, 1), 0); /* closed by its death */
    CHECK_EQ(wait_status(pid), 0);
    close(fds[0]);
}

TEST_MAIN()
