/* Resource limits. */
#include "tests/guest/guest_test.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static int run(void (*fn)(void))
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        fn();
        _exit(0);
    }
    waitpid(pid, &status, 0);
    return status;
}

TEST(get_and_set)
{
    struct rlimit old, rl;

    CHECK_OK(getrlimit(RLIMIT_NOFILE, &old));
    CHECK(old.rlim_cur <= old.rlim_max);
    rl = old;
    rl.rlim_cur = 100;
    CHECK_OK(setrlimit(RLIMIT_NOFILE, &rl));
    CHECK_OK(getrlimit(RLIMIT_NOFILE, &rl));
    CHECK_EQ(rl.rlim_cur, 100);
    CHECK_OK(setrlimit(RLIMIT_NOFILE, &old));
    rl.rlim_cur = 10;
    rl.rlim_max = 9;
    CHECK_ERR(setrlimit(RLIMIT_NOFILE, &rl), EINVAL);
    CHECK_ERR(getrlimit(99, &rl), EINVAL);
    CHECK_ERR(setrlimit(99, &rl), EINVAL);
    CHECK_ERR(getrlimit(RLIMIT_NOFILE, (void *)8), EFAULT);
}

static void nofile(void)
{
    struct rlimit rl = {20, 20};
    int fd, n = 0;

    if (setrlimit(RLIMIT_NOFILE, &rl))
        _exit(1);
    while ((fd = open("/dev/null", O_RDONLY)) >= 0)
        n++;
    if (errno != EMFILE || n < 10 || n > 17)
        _exit(2);
    if (dup2(0, 20) != -1 || errno != EBADF)
        _exit(3);
}

TEST(nofile_bounds_descriptors)
{
    CHECK_EQ(run(nofile), 0);
}

static void lower_is_final(void)
{
    struct rlimit rl;

    if (setresuid(1000, 1000, 1000))
        _exit(1);
    getrlimit(RLIMIT_CORE, &rl);
    rl.rlim_cur = rl.rlim_max = 0;
    if (setrlimit(RLIMIT_CORE, &rl))
        _exit(2);
    rl.rlim_max = 1;
    if (setrlimit(RLIMIT_CORE, &rl) != -1 || errno != EPERM)
        _exit(3);
    if (getppid() > 0 && (prlimit(getppid(), RLIMIT_CORE, NULL, &rl) != -1 || errno != EPERM))
        _exit(4);
    if (prlimit(0x7ffffff, RLIMIT_CORE, NULL, &rl) != -1 || errno != ESRCH)
        _exit(5);
}

TEST(hard_limits_only_go_down_without_privilege)
{
    if (getuid())
        SKIP("needs root");
    CHECK_EQ(run(lower_is_final), 0);
}

TEST(prlimit_works_on_others)
{
    struct rlimit rl = {7, 4242}, got;
    int fds[2];
    char c;

    CHECK_OK(pipe(fds));
    pid_t pid = fork();
    if (pid == 0) {
        close(fds[1]);
        if (read(fds[0], &c, 1) != 0)
            _exit(1);
        getrlimit(RLIMIT_MSGQUEUE, &got);
        _exit(got.rlim_cur == 7 && got.rlim_max == 4242 ? 0 : 2);
    }
    CHECK_OK(prlimit(pid, RLIMIT_MSGQUEUE, &rl, NULL));
    CHECK_OK(prlimit(pid, RLIMIT_MSGQUEUE, NULL, &got));
    CHECK_EQ(got.rlim_cur, 7);
    close(fds[1]);
    int status;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    close(fds[0]);
}

static void cpu(void)
{
    struct rlimit rl = {1, 2};

    if (setrlimit(RLIMIT_CPU, &rl))
        _exit(1);
    for (;;)
        ;
}

TEST(cpu_limit_sends_sigxcpu)
{
    struct rlimit no_core = {0, 0};

    setrlimit(RLIMIT_CORE, &no_core);
    CHECK_EQ(run(cpu) & 0x7f, SIGXCPU);
}

static void fsize(void)
{
    struct rlimit rl = {1000, 1000};
    char buf[600] = {0}, name[] = "/tmp/rlimit-XXXXXX";
    int fd = mkstemp(name);

    unlink(name);
    if (setrlimit(RLIMIT_FSIZE, &rl))
        _exit(1);
    signal(SIGXFSZ, SIG_IGN);
    if (write(fd, buf, 600) != 600 || write(fd, buf, 600) != 400)
        _exit(2);
    if (write(fd, buf, 1) != -1 || errno != EFBIG)
        _exit(3);
    signal(SIGXFSZ, SIG_DFL);
    write(fd, buf, 1);
}

TEST(fsize_limit_sends_sigxfsz)
{
    CHECK_EQ(run(fsize) & 0x7f, SIGXFSZ);
}

static void sigpending_limit(void)
{
    struct rlimit rl = {3, 3};
    sigset_t set;
    int n = 0;

    sigfillset(&set);
    sigprocmask(SIG_BLOCK, &set, NULL);
    if (setrlimit(RLIMIT_SIGPENDING, &rl))
        _exit(1);
    while (n < 10000 && sigqueue(getpid(), 40, (union sigval){0}) == 0)
        n++;
    if (n == 10000 || errno != EAGAIN)
        _exit(2);
    if (kill(getpid(), SIGUSR1)) /* standard signals always come through */
        _exit(3);
}

TEST(sigpending_limit_is_eagain)
{
    CHECK_EQ(run(sigpending_limit), 0);
}

TEST(limits_are_inherited)
{
    struct rlimit old, rl, got;
    int status;

    CHECK_OK(getrlimit(RLIMIT_STACK, &old));
    rl = old;
    rl.rlim_cur = 4 << 20;
    CHECK_OK(setrlimit(RLIMIT_STACK, &rl));
    pid_t pid = fork();
    if (pid == 0)
        _exit(getrlimit(RLIMIT_STACK, &got) == 0 && got.rlim_cur == 4 << 20 ? 0 : 1);
    waitpid(pid, &status, 0);
    CHECK_OK(setrlimit(RLIMIT_STACK, &old));
    CHECK_EQ(status, 0);
}

TEST_MAIN()
