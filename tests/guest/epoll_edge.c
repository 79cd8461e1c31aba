/* epoll(7): edge-triggered, one-shot and exclusive registrations. */
#include "guest_test.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

static int add(int ep, int fd, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.fd = fd};

    return epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev);
}

static int modify(int ep, int fd, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.fd = fd};

    return epoll_ctl(ep, EPOLL_CTL_MOD, fd, &ev);
}

TEST(edge_tells_once_per_write)
{
    struct epoll_event ev;
    int ep = epoll_create1(0), p[2];
    char c;

    CHECK_OK(pipe2(p, O_NONBLOCK));
    CHECK_OK(add(ep, p[0], EPOLLIN | EPOLLET));
    CHECK_EQ(epoll_wait(ep, &ev, 1, 0), 0);
    CHECK_EQ(write(p[1], "a", 1), 1);
    CHECK_EQ(epoll_wait(ep, &ev, 1, 0), 1);
    CHECK_EQ(epoll_wait(ep, &ev, 1, 0), 0);
    /* More data is a new edge although the old has not been read. */
    CHECK_EQ(write(p[1], "b", 1), 1);
    CHECK_EQ(epoll_wait(ep, &ev, 1, 0), 1);
    CHECK_EQ(read(p[0], &c, 1), 1);
    CHECK_EQ(epoll_wait(ep, &ev, 1, 0), 0);
    /* Registering anew tells what is there. */
    CHECK_OK(modify(ep, p[0], EPOLLIN | EPOLLET));
    CHECK_EQ(epoll_wait(ep, &ev, 1, 0), 1);
    close(ep);
    close(p[0]);
    close(p[1]);
}

TEST(edge_for_writing_comes_with_room)
{
    static char buf[65536];
    struct epoll_event ev;
    int ep = epoll_create1(0), p[2];

    CHECK_OK(pipe2(p, O_NONBLOCK));
    CHECK_OK(add(ep, p[1], EPOLLOUT | EPOLLET));
    CHECK_EQ(epoll_wait(ep, &ev, 1, 0), 1);
    CHECK_EQ(epoll_wait(ep, &ev, 1, 0), 0);
    CHECK_EQ(write(p[1], buf, sizeof(buf)), 65536);
    CHECK_EQ(epoll_wait(ep, &ev, 1, 0), 0);
    CHECK_EQ(read(p[0], buf, sizeof(buf)), 65536);
    CHECK_EQ(epoll_wait(ep, &ev, 1, 0), 1);
    CHECK_EQ(ev.events, EPOLLOUT);
    close(ep);
    close(p[0]);
    close(p[1]);
}

TEST(edge_on_a_socket_after_partial_read)
{
    struct epoll_event ev;
    int ep = epoll_create1(0), s[2];
    char buf[4];

    CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, s));
    CHECK_OK(add(ep, s[0], EPOLLIN | EPOLLET));
    CHECK_EQ(write(s[1], "abcd", 4), 4);
    CHECK_EQ(epoll_wait(ep, &ev, 1, 0), 1);
    CHECK_EQ(ev.events, EPOLLIN);
    CHECK_EQ(read(s[0], buf, 2), 2);
    CHECK_EQ(epoll_wait(ep, &ev, 1, 0), 0);
    close(s[1]);
    CHECK_EQ(epoll_wait(ep, &ev, 1, 0), 1);
    CHECK_EQ(ev.events, EPOLLIN | EPOLLHUP);
    close(ep);
    close(s[0]);
}

TEST(one_shot_sleeps_until_rearmed)
{
    struct epoll_event ev;
    int ep = epoll_create1(0), e = eventfd(1, 0);
    uint64_t v = 1;

    CHECK_OK(add(ep, e, EPOLLIN | EPOLLONESHOT));
    CHECK_EQ(epoll_wait(ep, &ev, 1, 0), 1);
    CHECK_EQ(epoll_wait(ep, &ev, 1, 0), 0);
    CHECK_EQ(write(e, &v, 8), 8);
    CHECK_EQ(epoll_wait(ep, &ev, 1, 0), 0);
    CHECK_OK(modify(ep, e, EPOLLIN | EPOLLONESHOT));
    CHECK_EQ(epoll_wait(ep, &ev, 1, 0), 1);
    CHECK_EQ(epoll_wait(ep, &ev, 1, 0), 0);
    close(ep);
    close(e);
}

TEST(exclusive_has_rules)
{
    struct epoll_event ev = {.events = EPOLLIN | EPOLLEXCLUSIVE};
    int ep = epoll_create1(0), inner = epoll_create1(0), e = eventfd(0, 0);

    CHECK_ERR(epoll_ctl(ep, EPOLL_CTL_ADD, inner, &ev), EINVAL);
    CHECK_OK(epoll_ctl(ep, EPOLL_CTL_ADD, e, &ev));
    CHECK_ERR(epoll_ctl(ep, EPOLL_CTL_MOD, e, &ev), EINVAL);
    ev.events = EPOLLIN;
    CHECK_ERR(epoll_ctl(ep, EPOLL_CTL_MOD, e, &ev), EINVAL);
    CHECK_OK(epoll_ctl(ep, EPOLL_CTL_DEL, e, &ev));
    ev.events = EPOLLIN | EPOLLEXCLUSIVE | EPOLLONESHOT;
    CHECK_ERR(epoll_ctl(ep, EPOLL_CTL_ADD, e, &ev), EINVAL);
    close(ep);
    close(inner);
    close(e);
}

static atomic_int woken;

static void *wait_once(void *arg)
{
    struct epoll_event ev;

    if (epoll_wait(*(int *)arg, &ev, 1, 400) == 1)
        woken++;
    return NULL;
}

TEST(an_edge_wakes_one_of_many_threads)
{
    int ep = epoll_create1(0), e = eventfd(0, 0);
    pthread_t th[4];
    uint64_t v = 1;

    woken = 0;
    CHECK_OK(add(ep, e, EPOLLIN | EPOLLET));
    for (int i = 0; i < 4; i++)
        CHECK_EQ(pthread_create(&th[i], NULL, wait_once, &ep), 0);
    wait_others_blocked(4);
    CHECK_EQ(write(e, &v, 8), 8);
    for (int i = 0; i < 4; i++)
        pthread_join(th[i], NULL);
    CHECK_EQ(woken, 1);
    close(ep);
    close(e);
}

TEST_MAIN()
