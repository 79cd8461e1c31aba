/* Process descriptors. */
#include "tests/guest/guest_test.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#ifndef P_PIDFD
#define P_PIDFD 3
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open        434
#define SYS_pidfd_send_signal 424
#define SYS_pidfd_getfd       438
#endif

static int pidfd_open_(pid_t pid, unsigned int flags)
{
    return (int)syscall(SYS_pidfd_open, pid, flags);
}

static pid_t sleeper(void)
{
    pid_t pid = fork();

    if (pid == 0)
        for (;;)
            pause();
    return pid;
}

TEST(open_errors)
{
    CHECK_ERR(pidfd_open_(-1, 0), EINVAL);
    CHECK_ERR(pidfd_open_(0, 0), EINVAL);
    CHECK_ERR(pidfd_open_(getpid(), 1), EINVAL);
    CHECK_ERR(pidfd_open_(0x7ffffff, 0), ESRCH);
}

TEST(close_on_exec_and_poll)
{
    pid_t pid = sleeper();
    int fd = pidfd_open_(pid, 0);
    struct pollfd p = {.fd = fd, .events = POLLIN};

    CHECK_OK(fd);
    CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
    CHECK_EQ(poll(&p, 1, 0), 0);
    kill(pid, SIGKILL);
    CHECK_EQ(poll(&p, 1, 5000), 1);
    CHECK(p.revents & POLLIN);
    CHECK_OK(waitpid(pid, NULL, 0));
    CHECK_EQ(poll(&p, 1, 0), 1);
    close(fd);
}

TEST(epoll_works_too)
{
    pid_t pid = sleeper();
    int fd = pidfd_open_(pid, 0), ep = epoll_create1(0);
    struct epoll_event ev = {.events = EPOLLIN};

    CHECK_OK(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev));
    CHECK_EQ(epoll_wait(ep, &ev, 1, 0), 0);
    kill(pid, SIGKILL);
    CHECK_EQ(epoll_wait(ep, &ev, 1, 5000), 1);
    waitpid(pid, NULL, 0);
    close(ep);
    close(fd);
}

TEST(send_signal)
{
    pid_t pid = sleeper();
    int fd = pidfd_open_(pid, 0), status;
    siginfo_t si = {.si_signo = SIGTERM, .si_code = SI_QUEUE};

    CHECK_EQ(syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0), 0);
    CHECK_ERR(syscall(SYS_pidfd_send_signal, fd, SIGUSR1, &si, 0), EINVAL);
    CHECK_ERR(syscall(SYS_pidfd_send_signal, 0, SIGTERM, NULL, 0), EBADF);
    CHECK_ERR(syscall(SYS_pidfd_send_signal, fd, 99, NULL, 0), EINVAL);
    si.si_code = SI_USER;
    CHECK_ERR(syscall(SYS_pidfd_send_signal, fd, SIGTERM, &si, 0), EPERM);
    CHECK_EQ(syscall(SYS_pidfd_send_signal, fd, SIGTERM, NULL, 0), 0);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(WTERMSIG(status), SIGTERM);
    CHECK_ERR(syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0), ESRCH);
    close(fd);
}

TEST(waitid_by_pidfd)
{
    pid_t pid = fork();
    siginfo_t si;

    if (pid == 0)
        _exit(13);
    int fd = pidfd_open_(pid, 0);
    CHECK_OK(waitid(P_PIDFD, (id_t)fd, &si, WEXITED));
    CHECK_EQ(si.si_pid, pid);
    CHECK_EQ(si.si_status, 13);
    CHECK_ERR(waitid(P_PIDFD, (id_t)fd, &si, WEXITED), ECHILD);
    CHECK_ERR(waitid(P_PIDFD, 0, &si, WEXITED), EBADF);
    close(fd);
}

TEST(nonblocking_wait_is_eagain)
{
    pid_t pid = sleeper();
    int fd = pidfd_open_(pid, O_NONBLOCK);
    siginfo_t si;

    CHECK_OK(fd);
    CHECK_ERR(waitid(P_PIDFD, (id_t)fd, &si, WEXITED), EAGAIN);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    close(fd);
}

TEST(getfd_copies_a_descriptor)
{
    int to[2], from[2], fd, copy;
    char c;

    CHECK_OK(pipe(to));
    CHECK_OK(pipe(from));
    pid_t pid = fork();
    if (pid == 0) {
        int mine = open("/dev/zero", O_RDONLY);
        if (write(from[1], &mine, sizeof(mine)) != sizeof(mine) || read(to[0], &c, 1) != 1)
            _exit(1);
        _exit(0);
    }
    int theirs;
    CHECK_EQ(read(from[0], &theirs, sizeof(theirs)), (ssize_t)sizeof(theirs));
    fd = pidfd_open_(pid, 0);
    copy = (int)syscall(SYS_pidfd_getfd, fd, theirs, 0);
    CHECK_OK(copy);
    CHECK_EQ(fcntl(copy, F_GETFD), FD_CLOEXEC);
    c = 1;
    CHECK_EQ(read(copy, &c, 1), 1);
    CHECK_EQ(c, 0);
    CHECK_ERR(syscall(SYS_pidfd_getfd, fd, 9999, 0), EBADF);
    CHECK_ERR(syscall(SYS_pidfd_getfd, fd, theirs, 1), EINVAL);
    CHECK_ERR(syscall(SYS_pidfd_getfd, copy, theirs, 0), EBADF);
    CHECK_EQ(write(to[1], "x", 1), 1);
    CHECK_OK(waitpid(pid, NULL, 0));
    CHECK_ERR(syscall(SYS_pidfd_getfd, fd, theirs, 0), ESRCH);
    close(fd), close(copy), close(to[0]), close(to[1]), close(from[0]), close(from[1]);
}

TEST_MAIN()
