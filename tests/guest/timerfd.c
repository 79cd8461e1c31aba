/* timerfd. */
#include "tests/guest/guest_test.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>

TEST(timerfd_one_shot)
{
    struct itimerspec its = {.it_value = {0, 30000000}}, cur;
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
    struct pollfd pfd = {.fd = fd, .events = POLLIN};
    uint64_t ticks;

    CHECK_OK(fd);
    CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
    CHECK_OK(timerfd_settime(fd, 0, &its, NULL));
    CHECK_OK(timerfd_gettime(fd, &cur));
    CHECK(cur.it_value.tv_nsec > 0 && cur.it_value.tv_nsec <= 30000000);
    CHECK_EQ(poll(&pfd, 1, 0), 0);
    CHECK_EQ(poll(&pfd, 1, 5000), 1);
    CHECK_EQ(read(fd, &ticks, 8), 8);
    CHECK_EQ(ticks, 1);
    CHECK_OK(timerfd_gettime(fd, &cur));
    CHECK_EQ(cur.it_value.tv_nsec, 0);
    close(fd);
}

TEST(timerfd_periodic_counts)
{
    struct itimerspec its = {{0, 5000000}, {0, 5000000}};
    int fd = timerfd_create(CLOCK_REALTIME, 0);
    uint64_t ticks, sum;

    CHECK_OK(timerfd_settime(fd, 0, &its, NULL));
    for (sum = 0; sum < 10; sum += ticks) {
        CHECK_EQ(read(fd, &ticks, 8), 8);
        CHECK(ticks > 0);
    }
    usleep(12000);
    CHECK_EQ(read(fd, &ticks, 8), 8);
    CHECK(ticks >= 2);
    CHECK_ERR(read(fd, &ticks, 4), EINVAL);
    CHECK_ERR(write(fd, &ticks, 8), EINVAL);
    close(fd);
}

TEST(timerfd_read_blocks)
{
    struct itimerspec its = {.it_value = {0, 30000000}};
    int fd = timerfd_create(CLOCK_BOOTTIME, 0);
    struct timespec a, b;
    uint64_t ticks;

    clock_gettime(CLOCK_MONOTONIC, &a);
    CHECK_OK(timerfd_settime(fd, 0, &its, NULL));
    CHECK_EQ(read(fd, &ticks, 8), 8);
    clock_gettime(CLOCK_MONOTONIC, &b);
    CHECK((b.tv_sec - a.tv_sec) * 1000000000LL + b.tv_nsec - a.tv_nsec >= 29000000);
    close(fd);
}

TEST(timerfd_absolute_and_rearming)
{
    struct itimerspec its = {0}, old;
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    uint64_t ticks;

    clock_gettime(CLOCK_MONOTONIC, &its.it_value);
    its.it_value.tv_sec -= 1;
    its.it_interval.tv_nsec = 100000000;
    CHECK_OK(timerfd_settime(fd, TFD_TIMER_ABSTIME, &its, NULL));
    usleep(10000);
    CHECK_EQ(read(fd, &ticks, 8), 8);
    CHECK(ticks >= 10 && ticks <= 12);
    /* Setting again forgets what has expired. */
    its.it_value = (struct timespec){0, 1};
    CHECK_OK(timerfd_settime(fd, 0, &its, &old));
    CHECK_EQ(old.it_interval.tv_nsec, 100000000);
    usleep(10000);
    its.it_value = (struct timespec){100, 0};
    CHECK_OK(timerfd_settime(fd, 0, &its, NULL));
    CHECK_ERR(read(fd, &ticks, 8), EAGAIN);
    close(fd);
}

TEST(timerfd_in_epoll)
{
    struct itimerspec its = {{0, 10000000}, {0, 10000000}};
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK), ep = epoll_create1(0);
    struct epoll_event ev = {.events = EPOLLIN | EPOLLET};
    uint64_t ticks;

    CHECK_OK(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev));
    CHECK_OK(timerfd_settime(fd, 0, &its, NULL));
    for (int i = 0; i < 5; i++) {
        CHECK_EQ(epoll_wait(ep, &ev, 1, 5000), 1);
        CHECK_EQ(read(fd, &ticks, 8), 8);
    }
    close(fd);
    close(ep);
}

TEST(timerfd_errors)
{
    struct itimerspec its = {0}, bad = {.it_value = {0, 1000000000}};
    int fd = timerfd_create(CLOCK_MONOTONIC, 0);

    CHECK_ERR(timerfd_create(CLOCK_MONOTONIC, 1), EINVAL);
    CHECK_ERR(timerfd_create(CLOCK_PROCESS_CPUTIME_ID, 0), EINVAL);
    CHECK_ERR(timerfd_settime(fd, 8, &its, NULL), EINVAL);
    CHECK_ERR(timerfd_settime(fd, 0, &bad, NULL), EINVAL);
    CHECK_ERR(timerfd_settime(fd, 0, (void *)1, NULL), EFAULT);
    CHECK_ERR(timerfd_settime(-1, 0, &its, NULL), EBADF);
    CHECK_ERR(timerfd_settime(0, 0, &its, NULL), EINVAL);
    CHECK_ERR(timerfd_gettime(fd, (void *)1), EFAULT);
    close(fd);
}

TEST_MAIN()
