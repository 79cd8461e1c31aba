/* poll(2), ppoll(2). */
#include "guest_test.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>

static void *volatile bad_pointer = (void *)8;

static int64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

TEST(tells_what_is_ready)
{
    struct pollfd p[4];
    int fd[2];

    CHECK_OK(pipe(fd));
    p[0] = (struct pollfd){.fd = fd[0], .events = POLLIN, .revents = 99};
    p[1] = (struct pollfd){.fd = fd[1], .events = POLLOUT, .revents = 99};
    p[2] = (struct pollfd){.fd = -1, .events = POLLIN, .revents = 99};
    p[3] = (struct pollfd){.fd = 777, .events = 0, .revents = 99};
    CHECK_EQ(poll(p, 4, 0), 2);
    CHECK_EQ(p[0].revents, 0);
    CHECK_EQ(p[1].revents, POLLOUT);
    CHECK_EQ(p[2].revents, 0);
    CHECK_EQ(p[3].revents, POLLNVAL);
    CHECK_EQ(write(fd[1], "x", 1), 1);
    CHECK_EQ(poll(p, 2, -1), 2);
    CHECK_EQ(p[0].revents, POLLIN);
    close(fd[0]);
    close(fd[1]);
}

TEST(files_are_always_ready)
{
    struct pollfd p = {.fd = open("/dev/null", O_RDWR), .events = POLLIN | POLLOUT};

    CHECK_EQ(poll(&p, 1, 1000), 1);
    CHECK_EQ(p.revents, POLLIN | POLLOUT);
    close(p.fd);
}

TEST(times_out)
{
    int64_t t = now_ms(), d;
    struct pollfd p;
    int fd[2];

    CHECK_OK(pipe(fd));
    p = (struct pollfd){.fd = fd[0], .events = POLLIN};
    CHECK_EQ(poll(&p, 1, 60), 0);
    d = now_ms() - t;
    CHECK(d >= 59 && d < 2000);
    CHECK_EQ(poll(NULL, 0, 10), 0);
    close(fd[0]);
    close(fd[1]);
}

TEST(errors)
{
    struct rlimit old, rl;
    struct pollfd p[8] = {{.fd = -1}};

    CHECK_ERR(poll(bad_pointer, 1, 0), EFAULT);
    CHECK_OK(getrlimit(RLIMIT_NOFILE, &old));
    rl = (struct rlimit){.rlim_cur = 7, .rlim_max = old.rlim_max};
    CHECK_OK(setrlimit(RLIMIT_NOFILE, &rl));
    CHECK_ERR(poll(p, 8, 0), EINVAL);
    CHECK_OK(setrlimit(RLIMIT_NOFILE, &old));
    CHECK_ERR(ppoll(p, 1, &(struct timespec){.tv_nsec = 1000000000}, NULL), EINVAL);
    CHECK_ERR(syscall(SYS_ppoll, p, 1, NULL, p, 4), EINVAL);
}

static void on_signal(int sig)
{
}

static void *poke(void *arg)
{
    wait_blocked(0, getpid());
    pthread_kill(*(pthread_t *)arg, SIGUSR1);
    return NULL;
}

TEST(a_handler_interrupts)
{
    struct sigaction sa = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    pthread_t me = pthread_self(), th;

    sigaction(SIGUSR1, &sa, NULL);
    pthread_create(&th, NULL, poke, &me);
    CHECK_ERR(poll(NULL, 0, 5000), EINTR);
    pthread_join(th, NULL);
}

TEST(ppoll_writes_back_the_rest)
{
    struct timespec ts = {.tv_sec = 10};
    struct pollfd p;
    int fd[2];

    CHECK_OK(pipe(fd));
    CHECK_EQ(write(fd[1], "x", 1), 1);
    p = (struct pollfd){.fd = fd[0], .events = POLLIN};
    CHECK_EQ(syscall(SYS_ppoll, &p, 1, &ts, NULL, 8), 1);
    CHECK(ts.tv_sec == 9 && ts.tv_nsec > 0);
    close(fd[0]);
    close(fd[1]);
}

TEST(ppoll_swaps_the_mask)
{
    struct sigaction sa = {.sa_handler = on_signal};
    struct timespec ts = {.tv_sec = 5};
    sigset_t block, none, after;

    sigemptyset(&none);
    sigemptyset(&block);
    sigaddset(&block, SIGUSR1);
    sigaction(SIGUSR1, &sa, NULL);
    sigprocmask(SIG_BLOCK, &block, NULL);
    raise(SIGUSR1);
    CHECK_ERR(ppoll(NULL, 0, &ts, &none), EINTR);
    sigprocmask(SIG_SETMASK, NULL, &after);
    CHECK(sigismember(&after, SIGUSR1));
    sigprocmask(SIG_UNBLOCK, &block, NULL);
}

static void *write_later(void *arg)
{
    usleep(50000);
    if (write(*(int *)arg, "x", 1) != 1)
        abort();
    return NULL;
}

TEST(many_descriptors)
{
    struct pollfd p[100];
    int fd[100][2];
    pthread_t th;

    for (int i = 0; i < 100; i++) {
        CHECK_OK(pipe(fd[i]));
        p[i] = (struct pollfd){.fd = fd[i][0], .events = POLLIN};
    }
    pthread_create(&th, NULL, write_later, &fd[63][1]);
    CHECK_EQ(poll(p, 100, 5000), 1);
    CHECK_EQ(p[63].revents, POLLIN);
    pthread_join(th, NULL);
    for (int i = 0; i < 100; i++) {
        close(fd[i][0]);
        close(fd[i][1]);
    }
}

TEST_MAIN()
