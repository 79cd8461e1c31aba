/* Calls that a signal interrupts: which go on, and which return EINTR. */
#include "tests/guest/guest_test.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>

static volatile int calls;

static void on_signal(int sig)
{
    calls++;
}

static void handle(int flags)
{
    struct sigaction sa = {.sa_handler = on_signal, .sa_flags = flags};

    sigaction(SIGUSR1, &sa, NULL);
    calls = 0;
}

/* Sends SIGUSR1 to us once we sleep, and after another 60 ms writes a byte to `fd`. */
static pid_t helper(int fd)
{
    pid_t me = getpid(), pid = fork();

    if (pid == 0) {
        wait_blocked(me, me);
        kill(me, SIGUSR1);
        usleep(60000);
        if (fd >= 0 && write(fd, "x", 1) != 1)
            _exit(1);
        _exit(0);
    }
    return pid;
}

static long long now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

TEST(read_restarts_with_sa_restart)
{
    int fds[2];
    char c;

    CHECK_OK(pipe(fds));
    handle(SA_RESTART);
    pid_t pid = helper(fds[1]);
    CHECK_EQ(read(fds[0], &c, 1), 1);
    CHECK_EQ(calls, 1);
    waitpid(pid, NULL, 0);
    close(fds[0]);
    close(fds[1]);
}

TEST(read_is_interrupted_without)
{
    int fds[2];
    char c;

    CHECK_OK(pipe(fds));
    handle(0);
    pid_t pid = helper(fds[1]);
    CHECK_ERR(read(fds[0], &c, 1), EINTR);
    CHECK_EQ(calls, 1);
    waitpid(pid, NULL, 0);
    close(fds[0]);
    close(fds[1]);
}

TEST(ignored_signals_do_not_interrupt)
{
    int fds[2];
    char c;

    CHECK_OK(pipe(fds));
    signal(SIGUSR1, SIG_IGN);
    pid_t pid = helper(fds[1]);
    CHECK_EQ(read(fds[0], &c, 1), 1);
    waitpid(pid, NULL, 0);
    close(fds[0]);
    close(fds[1]);
}

TEST(nanosleep_reports_what_is_left)
{
    struct timespec ts = {.tv_sec = 100}, rem = {0};

    handle(SA_RESTART); /* makes no difference */
    pid_t pid = helper(-1);
    CHECK_ERR(nanosleep(&ts, &rem), EINTR);
    CHECK(rem.tv_sec > 0 && rem.tv_sec < 100);
    waitpid(pid, NULL, 0);
}

TEST(nanosleep_goes_on_after_stop_and_continue)
{
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        struct timespec ts = {.tv_nsec = 150000000};
        long long t0 = now_ns();
        int r = nanosleep(&ts, NULL);
        long long t1 = now_ns();
        _exit(r == 0 && t1 - t0 >= 150000000 ? 0 : 1);
    }
    wait_blocked(pid, pid);
    kill(pid, SIGSTOP);
    CHECK_EQ(waitpid(pid, &status, WUNTRACED), pid);
    usleep(30000);
    kill(pid, SIGCONT);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
}

TEST(read_goes_on_after_stop_and_continue)
{
    int fds[2], status;
    pid_t pid;

    CHECK_OK(pipe(fds));
    pid = fork();
    if (pid == 0) {
        char c;
        _exit(read(fds[0], &c, 1) == 1 && c == 'y' ? 0 : errno);
    }
    wait_blocked(pid, pid);
    kill(pid, SIGSTOP);
    CHECK_EQ(waitpid(pid, &status, WUNTRACED), pid);
    kill(pid, SIGCONT);
    wait_blocked(pid, pid);
    CHECK_EQ(write(fds[1], "y", 1), 1);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    close(fds[0]);
    close(fds[1]);
}

TEST(poll_never_restarts_for_handlers)
{
    int fds[2];

    CHECK_OK(pipe(fds));
    handle(SA_RESTART);
    pid_t pid = helper(fds[1]);
    struct pollfd p = {.fd = fds[0], .events = POLLIN};
    CHECK_ERR(poll(&p, 1, 1000), EINTR);
    waitpid(pid, NULL, 0);
    close(fds[0]);
    close(fds[1]);
}

TEST(epoll_wait_never_restarts)
{
    struct epoll_event ev;
    int ep = epoll_create1(0);

    CHECK_OK(ep);
    handle(SA_RESTART);
    pid_t pid = helper(-1);
    CHECK_ERR(epoll_wait(ep, &ev, 1, 1000), EINTR);
    waitpid(pid, NULL, 0);
    close(ep);
}

TEST(waitpid_restarts)
{
    pid_t sleeper = fork();

    if (sleeper == 0) {
        sleep(1);
        _exit(3);
    }
    handle(SA_RESTART);
    pid_t pid = helper(-1);
    int status;
    CHECK_EQ(waitpid(sleeper, &status, 0), sleeper);
    CHECK_EQ(calls, 1);
    waitpid(pid, NULL, 0);
}

TEST(pause_always_returns)
{
    handle(SA_RESTART);
    pid_t pid = helper(-1);
    CHECK_ERR(pause(), EINTR);
    waitpid(pid, NULL, 0);
}

TEST(partial_write_is_reported)
{
    static char buf[1 << 20];
    int fds[2];

    CHECK_OK(pipe(fds));
    handle(0);
    pid_t pid = helper(-1);
    ssize_t n = write(fds[1], buf, sizeof(buf));
    CHECK(n > 0 && n < (ssize_t)sizeof(buf));
    waitpid(pid, NULL, 0);
    close(fds[0]);
    close(fds[1]);
}

TEST(flock_style_open_of_a_fifo_restarts)
{
    char name[] = "/tmp/restart-XXXXXX";

    CHECK_OK(mkdtemp(name) ? 0 : -1);
    char fifo[64];
    snprintf(fifo, sizeof(fifo), "%s/f", name);
    CHECK_OK(mkfifo(fifo, 0600));
    handle(SA_RESTART);
    pid_t me = getpid(), pid = fork();
    if (pid == 0) {
        wait_blocked(me, me);
        kill(me, SIGUSR1);
        usleep(30000);
        _exit(open(fifo, O_WRONLY) < 0);
    }
    int fd = open(fifo, O_RDONLY);
    CHECK_OK(fd);
    CHECK_EQ(calls, 1);
    close(fd);
    waitpid(pid, NULL, 0);
    unlink(fifo);
    rmdir(name);
}

TEST_MAIN()
