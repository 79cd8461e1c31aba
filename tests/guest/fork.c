/* fork, vfork: what a child gets, and what it does not share. */
#include "tests/guest/guest_test.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static int wait_exit(pid_t pid)
{
    int status;

    if (waitpid(pid, &status, 0) != pid)
        return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

TEST(fork_child_has_own_pid_and_parent)
{
    pid_t me = getpid(), pid = fork();

    CHECK(pid >= 0);
    if (pid == 0)
        _exit(getppid() == me && getpid() != me && (pid_t)syscall(SYS_gettid) == getpid() ? 7 : 8);
    CHECK_EQ(wait_exit(pid), 7);
}

TEST(fork_memory_is_a_copy)
{
    volatile int x = 1;
    volatile int *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t pid;

    CHECK(shared != MAP_FAILED);
    pid = fork();
    if (pid == 0) {
        x = 2;
        *shared = 3;
        _exit(x);
    }
    CHECK_EQ(wait_exit(pid), 2);
    CHECK_EQ(x, 1);
    CHECK_EQ(*shared, 3);
    munmap((void *)shared, 4096);
}

TEST(fork_shares_file_offsets_and_copies_the_table)
{
    char name[] = "/tmp/fork-XXXXXX";
    int fd = mkstemp(name);
    pid_t pid;

    CHECK_OK(fd);
    unlink(name);
    CHECK_EQ(write(fd, "abcdef", 6), 6);
    CHECK_EQ(lseek(fd, 0, SEEK_SET), 0);
    pid = fork();
    if (pid == 0) {
        char c[2];
        int ok = read(fd, c, 2) == 2;
        close(fd);
        _exit(ok);
    }
    CHECK_EQ(wait_exit(pid), 1);
    CHECK_EQ(lseek(fd, 0, SEEK_CUR), 2);
    CHECK_OK(close(fd));
}

TEST(fork_does_not_inherit_pending_signals_nor_alarms)
{
    sigset_t set, old, pending;
    pid_t pid;

    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, &old);
    raise(SIGUSR1);
    pid = fork();
    if (pid == 0) {
        sigpending(&pending);
        _exit(sigismember(&pending, SIGUSR1) == 0 && alarm(0) == 0 && sigprocmask(SIG_BLOCK, NULL, &pending) == 0 &&
              sigismember(&pending, SIGUSR1));
    }
    CHECK_EQ(wait_exit(pid), 1);
    struct timespec zero = {0};
    CHECK_EQ(sigtimedwait(&set, NULL, &zero), SIGUSR1);
    sigprocmask(SIG_SETMASK, &old, NULL);
}

TEST(vfork_child_runs_first_and_shares_memory)
{
    static volatile int x;
    pid_t pid;

    x = 0;
    pid = vfork();
    if (pid == 0) {
        usleep(20000);
        x = 42;
        _exit(5);
    }
    CHECK_EQ(x, 42);
    CHECK_EQ(wait_exit(pid), 5);
}

TEST(fork_exit_status_keeps_eight_bits)
{
    pid_t pid = fork();

    if (pid == 0)
        _exit(0x1ff);
    CHECK_EQ(wait_exit(pid), 0xff);
}

TEST(fork_limit_nproc_gives_eagain)
{
    pid_t pid;
    struct rlimit rl = {0, 0};

    if (getuid() != 0)
        SKIP("needs root to become somebody else");
    pid = fork();
    if (pid == 0) {
        if (setresuid(54321, 54321, 54321) || setrlimit(RLIMIT_NPROC, &rl))
            _exit(100);
        pid_t p = fork();
        if (p == 0)
            _exit(0);
        _exit(p == -1 && errno == EAGAIN ? 1 : 2);
    }
    CHECK_EQ(wait_exit(pid), 1);
}

TEST(orphans_get_another_parent)
{
    int fds[2], ready[2];
    pid_t pid, middle, seen = 0;
    char c = 0;

    CHECK_OK(pipe(fds));
    CHECK_OK(pipe(ready));
    middle = fork();
    if (middle == 0) {
        pid = fork();
        if (pid == 0) {
            pid_t parent = getppid();
            write(ready[1], &c, 1);
            while (getppid() == parent)
                usleep(1000);
            parent = getppid();
            _exit(write(fds[1], &parent, sizeof(parent)) != sizeof(parent));
        }
        _exit(read(ready[0], &c, 1) != 1);
    }
    CHECK_EQ(wait_exit(middle), 0);
    CHECK_EQ(read(fds[0], &seen, sizeof(seen)), (ssize_t)sizeof(seen));
    CHECK(seen != middle);
    for (int i = 0; i < 2; i++) {
        close(fds[i]);
        close(ready[i]);
    }
}

TEST(many_forks_leave_nothing)
{
    while (wait(NULL) > 0) /* orphans of earlier tests, when this is pid 1 */
        ;
    for (int i = 0; i < 200; i++) {
        pid_t pid = fork();
        if (pid == 0)
            _exit(i & 0x7f);
        CHECK_EQ(wait_exit(pid), i & 0x7f);
    }
    CHECK_ERR(wait(NULL), ECHILD);
}

TEST(deep_chain_of_forks)
{
    pid_t pid = fork();

    if (pid == 0) {
        for (int depth = 0; depth < 20; depth++) {
            pid_t p = fork();
            if (p < 0)
                _exit(99);
            if (p > 0)
                _exit(wait_exit(p) == 20 - (depth + 1) + (depth + 1) ? 20 : 1);
        }
        _exit(20);
    }
    CHECK_EQ(wait_exit(pid), 20);
}

TEST_MAIN()
