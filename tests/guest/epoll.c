/* epoll(7): registering, level-triggered waiting, nesting, errors. */
#include "guest_test.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

static void *volatile bad_pointer = (void *)8;

static struct epoll_event event(uint32_t events, uint64_t data)
{
    return (struct epoll_event){.events = events, .data.u64 = data};
}

static int add(int ep, int fd, uint32_t events, uint64_t data)
{
    struct epoll_event ev = event(events, data);

    return epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev);
}

TEST(level_triggered_tells_again)
{
    struct epoll_event ev[4];
    int ep = epoll_create1(0), p[2];
    char buf[8];

    CHECK_OK(ep);
    CHECK_OK(pipe(p));
    CHECK_OK(add(ep, p[0], EPOLLIN, 42));
    CHECK_EQ(epoll_wait(ep, ev, 4, 0), 0);
    CHECK_EQ(write(p[1], "ab", 2), 2);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(epoll_wait(ep, ev, 4, 0), 1);
        CHECK_EQ(ev[0].events, EPOLLIN);
        CHECK_EQ(ev[0].data.u64, 42);
    }
    CHECK_EQ(read(p[0], buf, 8), 2);
    CHECK_EQ(epoll_wait(ep, ev, 4, 0), 0);
    close(p[1]);
    CHECK_EQ(epoll_wait(ep, ev, 4, 0), 1);
    CHECK_EQ(ev[0].events, EPOLLHUP);
    close(p[0]);
    CHECK_EQ(epoll_wait(ep, ev, 4, 0), 0);
    close(ep);
}

TEST(control_errors)
{
    struct epoll_event ev = event(EPOLLIN, 0);
    int ep = epoll_create1(EPOLL_CLOEXEC), p[2], file = open("/tmp", O_RDONLY);

    CHECK_OK(pipe(p));
    CHECK_ERR(epoll_create(0), EINVAL);
    CHECK_ERR(epoll_create1(1), EINVAL);
    CHECK_ERR(epoll_ctl(ep, EPOLL_CTL_ADD, -1, &ev), EBADF);
    CHECK_ERR(epoll_ctl(-1, EPOLL_CTL_ADD, p[0], &ev), EBADF);
    CHECK_ERR(epoll_ctl(p[0], EPOLL_CTL_ADD, p[1], &ev), EINVAL);
    CHECK_ERR(epoll_ctl(ep, EPOLL_CTL_ADD, ep, &ev), EINVAL);
    CHECK_ERR(epoll_ctl(ep, EPOLL_CTL_ADD, file, &ev), EPERM);
    CHECK_ERR(epoll_ctl(ep, EPOLL_CTL_MOD, p[0], &ev), ENOENT);
    CHECK_ERR(epoll_ctl(ep, EPOLL_CTL_DEL, p[0], &ev), ENOENT);
    CHECK_ERR(epoll_ctl(ep, 77, p[0], &ev), EINVAL);
    CHECK_ERR(epoll_ctl(ep, EPOLL_CTL_ADD, p[0], NULL), EFAULT);
    CHECK_OK(epoll_ctl(ep, EPOLL_CTL_ADD, p[0], &ev));
    CHECK_ERR(epoll_ctl(ep, EPOLL_CTL_ADD, p[0], &ev), EEXIST);
    CHECK_OK(epoll_ctl(ep, EPOLL_CTL_DEL, p[0], NULL));
    CHECK_ERR(epoll_wait(ep, &ev, 0, 0), EINVAL);
    CHECK_ERR(epoll_wait(p[0], &ev, 1, 0), EINVAL);
    CHECK_ERR(epoll_wait(-1, &ev, 1, 0), EBADF);
    close(ep);
    close(file);
    close(p[0]);
    close(p[1]);
}

TEST(bad_event_buffer_loses_nothing)
{
    struct epoll_event ev;
    int ep = epoll_create1(0), e = eventfd(1, 0);

    CHECK_OK(add(ep, e, EPOLLIN | EPOLLET, 1));
    CHECK_ERR(epoll_wait(ep, bad_pointer, 1, 0), EFAULT);
    CHECK_EQ(epoll_wait(ep, &ev, 1, 0), 1);
    close(ep);
    close(e);
}

TEST(same_file_under_two_descriptors)
{
    struct epoll_event ev[4];
    int ep = epoll_create1(0), e = eventfd(1, 0), e2 = dup(e);

    CHECK_OK(add(ep, e, EPOLLIN, 1));
    CHECK_OK(add(ep, e2, EPOLLIN, 2));
    CHECK_EQ(epoll_wait(ep, ev, 4, 0), 2);
    CHECK_OK(epoll_ctl(ep, EPOLL_CTL_DEL, e2, NULL));
    CHECK_EQ(epoll_wait(ep, ev, 4, 0), 1);
    CHECK_EQ(ev[0].data.u64, 1);
    /* The registration stays until the last descriptor of the file is closed. */
    close(e);
    CHECK_EQ(epoll_wait(ep, ev, 4, 0), 1);
    close(e2);
    CHECK_EQ(epoll_wait(ep, ev, 4, 0), 0);
    close(ep);
}

TEST(ready_files_take_turns)
{
    struct epoll_event ev;
    int ep = epoll_create1(0), e[3];
    bool seen[3] = {false};

    for (int i = 0; i < 3; i++) {
        e[i] = eventfd(1, 0);
        CHECK_OK(add(ep, e[i], EPOLLIN, (uint64_t)i));
    }
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(epoll_wait(ep, &ev, 1, 0), 1);
        seen[ev.data.u64] = true;
    }
    CHECK(seen[0] && seen[1] && seen[2]);
    for (int i = 0; i < 3; i++)
        close(e[i]);
    close(ep);
}

TEST(sets_in_sets)
{
    struct epoll_event ev;
    int outer = epoll_create1(0), inner = epoll_create1(0), e = eventfd(0, 0);
    uint64_t v = 1;

    CHECK_OK(add(inner, e, EPOLLIN, 1));
    CHECK_OK(add(outer, inner, EPOLLIN, 2));
    CHECK_EQ(epoll_wait(outer, &ev, 1, 0), 0);
    CHECK_EQ(write(e, &v, 8), 8);
    CHECK_EQ(epoll_wait(outer, &ev, 1, 0), 1);
    CHECK_EQ(ev.data.u64, 2);
    CHECK_EQ(epoll_wait(inner, &ev, 1, 0), 1);
    CHECK_EQ(read(e, &v, 8), 8);
    CHECK_EQ(epoll_wait(outer, &ev, 1, 0), 0);
    ev = event(EPOLLIN, 0);
    CHECK_ERR(epoll_ctl(inner, EPOLL_CTL_ADD, outer, &ev), ELOOP);
    close(outer);
    close(inner);
    close(e);
}

TEST(sets_nest_five_deep)
{
    int prev = eventfd(0, 0), ep = -1;
    struct epoll_event ev = event(EPOLLIN, 0);

    for (int i = 0; i < 5; i++) {
        ep = epoll_create1(0);
        CHECK_OK(epoll_ctl(ep, EPOLL_CTL_ADD, prev, &ev));
        prev = ep;
    }
    ep = epoll_create1(0);
    CHECK(epoll_ctl(ep, EPOLL_CTL_ADD, prev, &ev) == -1 && (errno == ELOOP || errno == EINVAL));
}

static void *write_later(void *arg)
{
    uint64_t v = 1;

    usleep(30000);
    if (write(*(int *)arg, &v, 8) != 8)
        abort();
    return NULL;
}

TEST(waits_and_times_out)
{
    struct timespec a, b;
    struct epoll_event ev;
    int ep = epoll_create1(0), e = eventfd(0, 0);
    pthread_t th;
    long ms;

    CHECK_OK(add(ep, e, EPOLLIN, 5));
    clock_gettime(CLOCK_MONOTONIC, &a);
    CHECK_EQ(epoll_wait(ep, &ev, 1, 50), 0);
    clock_gettime(CLOCK_MONOTONIC, &b);
    ms = (b.tv_sec - a.tv_sec) * 1000 + (b.tv_nsec - a.tv_nsec) / 1000000;
    CHECK(ms >= 49 && ms < 2000);
    pthread_create(&th, NULL, write_later, &e);
    CHECK_EQ(epoll_wait(ep, &ev, 1, -1), 1);
    CHECK_EQ(ev.data.u64, 5);
    pthread_join(th, NULL);
    close(ep);
    close(e);
}

static volatile sig_atomic_t handled;

static void on_signal(int sig)
{
    handled++;
}

TEST(pwait_swaps_the_mask)
{
    struct sigaction sa = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    struct epoll_event ev;
    sigset_t block, none, now;
    int ep = epoll_create1(0);

    sigemptyset(&none);
    sigemptyset(&block);
    sigaddset(&block, SIGUSR1);
    sigaction(SIGUSR1, &sa, NULL);
    sigprocmask(SIG_BLOCK, &block, NULL);
    handled = 0;
    kill(getpid(), SIGUSR1);
    CHECK_EQ(epoll_wait(ep, &ev, 1, 10), 0);
    CHECK_EQ(handled, 0);
    CHECK_ERR(epoll_pwait(ep, &ev, 1, 1000, &none), EINTR);
    CHECK_EQ(handled, 1);
    sigprocmask(SIG_BLOCK, NULL, &now);
    CHECK(sigismember(&now, SIGUSR1));
    CHECK_ERR(syscall(SYS_epoll_pwait, ep, &ev, 1, 0, &none, 4), EINVAL);
    sigprocmask(SIG_UNBLOCK, &block, NULL);
    close(ep);
}

TEST(pwait2_takes_nanoseconds)
{
    struct timespec ts = {.tv_nsec = 5000000}, bad = {.tv_nsec = -1};
    struct epoll_event ev;
    int ep = epoll_create1(0);

    if (syscall(SYS_epoll_pwait2, ep, &ev, 1, &ts, NULL, 0) == -1 && errno == ENOSYS)
        SKIP("no epoll_pwait2");
    CHECK_EQ(syscall(SYS_epoll_pwait2, ep, &ev, 1, &ts, NULL, 0), 0);
    CHECK_ERR(syscall(SYS_epoll_pwait2, ep, &ev, 1, &bad, NULL, 0), EINVAL);
    close(ep);
}

TEST(many_files)
{
    static struct epoll_event ev[512];
    int ep = epoll_create1(0), e[512];
    uint64_t sum = 0, v = 1;

    for (int i = 0; i < 512; i++) {
        e[i] = eventfd(0, 0);
        CHECK_OK(e[i]);
        CHECK_OK(add(ep, e[i], EPOLLIN, (uint64_t)i));
    }
    for (int i = 0; i < 512; i += 2)
        CHECK_EQ(write(e[i], &v, 8), 8);
    CHECK_EQ(epoll_wait(ep, ev, 512, 0), 256);
    for (int i = 0; i < 256; i++)
        sum += ev[i].data.u64;
    CHECK_EQ(sum, 255 * 256);
    for (int i = 0; i < 512; i++)
        close(e[i]);
    CHECK_EQ(epoll_wait(ep, ev, 512, 0), 0);
    close(ep);
}

TEST_MAIN()
