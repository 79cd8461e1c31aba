/* signalfd(2). */
#include "guest_test.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static void block(sigset_t *set, int a, int b)
{
    sigemptyset(set);
    sigaddset(set, a);
    if (b)
        sigaddset(set, b);
    sigprocmask(SIG_BLOCK, set, NULL);
}

TEST(reads_what_was_sent)
{
    struct signalfd_siginfo si[3];
    sigset_t set;
    int fd;

    block(&set, SIGUSR1, SIGUSR2);
    fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    CHECK_OK(fd);
    CHECK_ERR(read(fd, si, sizeof(si)), EAGAIN);
    kill(getpid(), SIGUSR2);
    kill(getpid(), SIGUSR1);
    CHECK_EQ(read(fd, si, sizeof(si)), 2 * sizeof(si[0]));
    CHECK_EQ(si[0].ssi_signo, SIGUSR1);
    CHECK_EQ(si[1].ssi_signo, SIGUSR2);
    CHECK_EQ(si[0].ssi_pid, getpid());
    CHECK_EQ(si[0].ssi_uid, getuid());
    CHECK_EQ(si[0].ssi_code, SI_USER);
    CHECK_ERR(read(fd, si, 100), EINVAL);
    close(fd);
}

TEST(values_come_along)
{
    struct signalfd_siginfo si;
    union sigval v = {.sival_int = 4711};
    sigset_t set;
    int fd;

    block(&set, SIGRTMIN + 1, 0);
    fd = signalfd(-1, &set, 0);
    sigqueue(getpid(), SIGRTMIN + 1, v);
    CHECK_EQ(read(fd, &si, sizeof(si)), sizeof(si));
    CHECK_EQ(si.ssi_int, 4711);
    CHECK_EQ(si.ssi_code, SI_QUEUE);
    close(fd);
}

TEST(mask_can_be_replaced)
{
    struct signalfd_siginfo si;
    sigset_t set;
    int fd;

    block(&set, SIGUSR1, SIGUSR2);
    sigdelset(&set, SIGUSR2);
    fd = signalfd(-1, &set, SFD_NONBLOCK);
    kill(getpid(), SIGUSR2);
    CHECK_ERR(read(fd, &si, sizeof(si)), EAGAIN);
    sigaddset(&set, SIGUSR2);
    CHECK_EQ(signalfd(fd, &set, 0), fd);
    CHECK_EQ(read(fd, &si, sizeof(si)), sizeof(si));
    CHECK_EQ(si.ssi_signo, SIGUSR2);
    CHECK_ERR(signalfd(0, &set, 0), EINVAL);
    CHECK_ERR(signalfd(999, &set, 0), EBADF);
    CHECK_ERR(syscall(SYS_signalfd4, -1, &set, 4, 0), EINVAL);
    CHECK_ERR(syscall(SYS_signalfd4, -1, &set, 8, 1), EINVAL);
    close(fd);
}

TEST(poll_and_epoll_see_it)
{
    struct epoll_event ev = {.events = EPOLLIN};
    struct signalfd_siginfo si;
    int fd, ep = epoll_create1(0), st;
    struct pollfd p;
    sigset_t set;
    pid_t pid;

    block(&set, SIGUSR1, 0);
    fd = signalfd(-1, &set, 0);
    p = (struct pollfd){.fd = fd, .events = POLLIN};
    CHECK_EQ(poll(&p, 1, 0), 0);
    CHECK_OK(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev));
    pid = fork();
    if (pid == 0) {
        usleep(30000);
        kill(getppid(), SIGUSR1);
        _exit(0);
    }
    CHECK_EQ(epoll_wait(ep, &ev, 1, 50000), 1);
    CHECK_EQ(poll(&p, 1, 0), 1);
    CHECK_EQ(read(fd, &si, sizeof(si)), sizeof(si));
    CHECK_EQ(si.ssi_pid, pid);
    waitpid(pid, &st, 0);
    close(fd);
    close(ep);
}

TEST(child_status_is_told)
{
    struct signalfd_siginfo si;
    sigset_t set;
    int fd, st;
    pid_t pid;

    block(&set, SIGCHLD, 0);
    fd = signalfd(-1, &set, 0);
    pid = fork();
    if (pid == 0)
        _exit(7);
    CHECK_EQ(read(fd, &si, sizeof(si)), sizeof(si));
    CHECK_EQ(si.ssi_signo, SIGCHLD);
    CHECK_EQ(si.ssi_pid, pid);
    CHECK_EQ(si.ssi_status, 7);
    CHECK_EQ(si.ssi_code, CLD_EXITED);
    CHECK_EQ(waitpid(pid, &st, 0), pid);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    close(fd);
}

/* The signals are those of whoever reads, not of whoever made the descriptor. */
TEST(a_child_reads_its_own)
{
    struct signalfd_siginfo si;
    sigset_t set;
    int fd, st;
    pid_t pid;

    block(&set, SIGUSR1, 0);
    fd = signalfd(-1, &set, 0);
    pid = fork();
    if (pid == 0) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (poll(&p, 1, 50000) != 1)
            _exit(1);
        _exit(read(fd, &si, sizeof(si)) != sizeof(si) || si.ssi_pid != (uint32_t)getppid());
    }
    wait_blocked(pid, pid);
    kill(pid, SIGUSR1);
    CHECK_EQ(waitpid(pid, &st, 0), pid);
    CHECK_EQ(st, 0);
    close(fd);
}

TEST_MAIN()
