/* select(2), pselect(2). */
#include "guest_test.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <time.h>

static void *volatile bad_pointer = (void *)8;

TEST(tells_what_is_ready)
{
    fd_set r, w, e;
    int fd[2], max;

    CHECK_OK(pipe(fd));
    max = fd[1] + 1;
    FD_ZERO(&r);
    FD_ZERO(&w);
    FD_ZERO(&e);
    FD_SET(fd[0], &r);
    FD_SET(fd[1], &w);
    FD_SET(fd[0], &e);
    CHECK_EQ(select(max, &r, &w, &e, NULL), 1);
    CHECK(!FD_ISSET(fd[0], &r) && FD_ISSET(fd[1], &w) && !FD_ISSET(fd[0], &e));
    CHECK_EQ(write(fd[1], "x", 1), 1);
    FD_SET(fd[0], &r);
    CHECK_EQ(select(max, &r, &w, NULL, NULL), 2);
    CHECK(FD_ISSET(fd[0], &r) && FD_ISSET(fd[1], &w));
    close(fd[1]);
    CHECK_EQ(select(max, &r, NULL, NULL, NULL), 1);
    close(fd[0]);
}

TEST(errors)
{
    struct timeval tv = {.tv_sec = -1};
    fd_set r;

    FD_ZERO(&r);
    CHECK_ERR(select(-1, &r, NULL, NULL, NULL), EINVAL);
    CHECK_ERR(select(1, &r, NULL, NULL, &tv), EINVAL);
    CHECK_ERR(select(1, bad_pointer, NULL, NULL, NULL), EFAULT);
    close(37);
    FD_SET(37, &r);
    tv = (struct timeval){0};
    CHECK_ERR(select(38, &r, NULL, NULL, &tv), EBADF);
}

TEST(timeout_is_written_back)
{
    struct timeval tv = {.tv_sec = 10};
    fd_set w;
    int fd[2];

    CHECK_OK(pipe(fd));
    FD_ZERO(&w);
    FD_SET(fd[1], &w);
    CHECK_EQ(select(fd[1] + 1, NULL, &w, NULL, &tv), 1);
    CHECK(tv.tv_sec == 9 && tv.tv_usec > 0);
    tv = (struct timeval){.tv_usec = 20000};
    FD_ZERO(&w);
    FD_SET(fd[0], &w);
    CHECK_EQ(select(fd[0] + 1, &w, NULL, NULL, &tv), 0);
    CHECK(!FD_ISSET(fd[0], &w));
    CHECK(tv.tv_sec == 0 && tv.tv_usec == 0);
    /* More than a second of microseconds is carried over. */
    tv = (struct timeval){.tv_usec = 2000000};
    FD_SET(fd[1], &w);
    FD_CLR(fd[0], &w);
    CHECK_EQ(select(fd[1] + 1, NULL, &w, NULL, &tv), 1);
    CHECK_EQ(tv.tv_sec, 1);
    close(fd[0]);
    close(fd[1]);
}

static void on_signal(int sig)
{
}

TEST(pselect_swaps_the_mask)
{
    struct sigaction sa = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    struct timespec ts = {.tv_sec = 5};
    sigset_t block, none, after;

    sigemptyset(&none);
    sigemptyset(&block);
    sigaddset(&block, SIGUSR1);
    sigaction(SIGUSR1, &sa, NULL);
    sigprocmask(SIG_BLOCK, &block, NULL);
    raise(SIGUSR1);
    CHECK_ERR(pselect(0, NULL, NULL, NULL, &ts, &none), EINTR);
    sigprocmask(SIG_SETMASK, NULL, &after);
    CHECK(sigismember(&after, SIGUSR1));
    sigprocmask(SIG_UNBLOCK, &block, NULL);
    ts = (struct timespec){.tv_nsec = 1000000};
    CHECK_EQ(pselect(0, NULL, NULL, NULL, &ts, NULL), 0);
}

TEST_MAIN()
