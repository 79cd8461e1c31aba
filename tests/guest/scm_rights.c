/* SCM_RIGHTS: descriptors in messages, cut short, peeked at, lost, and in rings. */
#include "guest_test.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

/* Sends `n` descriptors with one byte. */
static ssize_t send_fds(int s, const int *fds, int n)
{
    union {
        char buf[CMSG_SPACE(300 * sizeof(int))];
        struct cmsghdr align;
    } u = {0};
    char c = 'x';
    struct iovec iov = {&c, 1};
    struct msghdr m = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = u.buf, .msg_controllen = CMSG_SPACE((size_t)n * sizeof(int))};
    struct cmsghdr *h = CMSG_FIRSTHDR(&m);

    h->cmsg_level = SOL_SOCKET;
    h->cmsg_type = SCM_RIGHTS;
    h->cmsg_len = CMSG_LEN((size_t)n * sizeof(int));
    memcpy(CMSG_DATA(h), fds, (size_t)n * sizeof(int));
    return sendmsg(s, &m, MSG_DONTWAIT);
}

/* Receives up to `max` into room for that many; returns how many came, -1 on error. */
static int recv_fds(int s, int *fds, int max, int flags, int *out_flags)
{
    union {
        char buf[CMSG_SPACE(300 * sizeof(int))];
        struct cmsghdr align;
    } u = {0};
    char c[8];
    struct iovec iov = {c, sizeof(c)};
    struct msghdr m = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = u.buf, .msg_controllen = CMSG_LEN((size_t)max * sizeof(int))};
    struct cmsghdr *h;
    int n = 0;

    if (max == 0)
        m.msg_controllen = 0;
    if (recvmsg(s, &m, flags) < 0)
        return -1;
    if (out_flags)
        *out_flags = m.msg_flags;
    for (h = CMSG_FIRSTHDR(&m); h; h = CMSG_NXTHDR(&m, h)) {
        if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
            continue;
        n = (int)((h->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        memcpy(fds, CMSG_DATA(h), (size_t)n * sizeof(int));
    }
    return n;
}

static bool same_file(int a, int b)
{
    struct stat x, y;

    return fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_ino == y.st_ino && x.st_dev == y.st_dev;
}

static int count_fds(void)
{
    int n = 0;

    for (int i = 0; i < 256; i++)
        n += fcntl(i, F_GETFD) != -1;
    return n;
}

TEST(descriptors_arrive)
{
    int s[2], p[2], got[4];

    CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    CHECK_OK(pipe(p));
    CHECK_EQ(send_fds(s[0], p, 2), 1);
    CHECK_EQ(recv_fds(s[1], got, 4, MSG_CMSG_CLOEXEC, NULL), 2);
    CHECK(same_file(got[0], p[0]) && same_file(got[1], p[1]));
    CHECK_EQ(fcntl(got[0], F_GETFD), FD_CLOEXEC);
    CHECK_EQ(write(got[1], "q", 1), 1);
    for (int i = 0; i < 2; i++) {
        close(got[i]);
        close(p[i]);
        close(s[i]);
    }
}

TEST(too_little_room_cuts_off)
{
    int s[2], p[2], got[4], flags, before;

    CHECK_OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, s));
    CHECK_OK(pipe(p));
    before = count_fds();
    CHECK_EQ(send_fds(s[0], p, 2), 1);
    CHECK_EQ(recv_fds(s[1], got, 1, 0, &flags), 1);
    CHECK(flags & MSG_CTRUNC);
    close(got[0]);
    CHECK_EQ(send_fds(s[0], p, 2), 1);
    CHECK_EQ(recv_fds(s[1], got, 0, 0, &flags), 0);
    CHECK(flags & MSG_CTRUNC);
    CHECK_EQ(count_fds(), before);
    for (int i = 0; i < 2; i++) {
        close(p[i]);
        close(s[i]);
    }
}

TEST(errors)
{
    int s[2], many[254], bad = 999;

    CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    for (int i = 0; i < 254; i++)
        many[i] = 0;
    CHECK_ERR(send_fds(s[0], &bad, 1), EBADF);
    CHECK_ERR(send_fds(s[0], many, 254), EINVAL);
    CHECK_EQ(send_fds(s[0], many, 253), 1);
    close(s[0]);
    close(s[1]);
}

TEST(a_file_lives_while_under_way)
{
    struct pollfd pfd;
    int s[2], p[2], got[1];

    CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    CHECK_OK(pipe(p));
    CHECK_EQ(send_fds(s[0], &p[1], 1), 1);
    close(p[1]);
    pfd = (struct pollfd){.fd = p[0], .events = POLLIN};
    CHECK_EQ(poll(&pfd, 1, 0), 0);
    CHECK_EQ(recv_fds(s[1], got, 1, 0, NULL), 1);
    CHECK_EQ(poll(&pfd, 1, 0), 0);
    CHECK_EQ(send_fds(s[0], got, 1), 1);
    close(got[0]);
    /* The message is lost with the sockets, and the file with it. */
    close(s[0]);
    close(s[1]);
    CHECK_EQ(poll(&pfd, 1, 1000), 1);
    CHECK_EQ(pfd.revents, POLLHUP);
    close(p[0]);
}

TEST(reads_stop_behind_descriptors)
{
    int s[2], got[2], fd = 0;
    char buf[8];

    CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    CHECK_EQ(write(s[0], "ab", 2), 2);
    CHECK_EQ(send_fds(s[0], &fd, 1), 1);
    CHECK_EQ(write(s[0], "cd", 2), 2);
    CHECK_EQ(recv_fds(s[1], got, 2, 0, NULL), 1);
    CHECK_EQ(recv(s[1], buf, 8, 0), 2);
    CHECK(memcmp(buf, "cd", 2) == 0);
    close(got[0]);
    /* Plain reads throw descriptors away. */
    CHECK_EQ(send_fds(s[0], &fd, 1), 1);
    CHECK_EQ(read(s[1], buf, 8), 1);
    close(s[0]);
    close(s[1]);
}

TEST(peeking_gives_copies)
{
    int s[2], p[2], a[1], b[1];

    CHECK_OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, s));
    CHECK_OK(pipe(p));
    CHECK_EQ(send_fds(s[0], p, 1), 1);
    CHECK_EQ(recv_fds(s[1], a, 1, MSG_PEEK, NULL), 1);
    CHECK_EQ(recv_fds(s[1], b, 1, 0, NULL), 1);
    CHECK(a[0] != b[0] && same_file(a[0], b[0]));
    close(a[0]);
    close(b[0]);
    for (int i = 0; i < 2; i++) {
        close(p[i]);
        close(s[i]);
    }
}

/* A socket that lies in its own queue can never be received again: what it holds must go. */
TEST(rings_are_collected)
{
    struct pollfd pfd;
    int s[2], p[2], t[2];

    CHECK_OK(pipe(p));
    CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    CHECK_EQ(send_fds(s[0], &p[1], 1), 1);
    CHECK_EQ(send_fds(s[0], &s[1], 1), 1);
    CHECK_EQ(send_fds(s[1], &s[0], 1), 1);
    close(p[1]);
    close(s[0]);
    close(s[1]);
    /* Some other socket's end makes the kernel look. */
    CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, t));
    close(t[0]);
    close(t[1]);
    pfd = (struct pollfd){.fd = p[0], .events = POLLIN};
    CHECK_EQ(poll(&pfd, 1, 2000), 1);
    CHECK_EQ(pfd.revents, POLLHUP);
    close(p[0]);
}

TEST(reachable_rings_are_not)
{
    int s[2], t[2], got[2];
    char c;

    CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, t));
    /* t[1] lies in s[1]'s queue and s[0] in t[1]'s; s[1] stays open here. */
    CHECK_EQ(write(t[0], "k", 1), 1);
    CHECK_EQ(send_fds(t[0], &s[0], 1), 1);
    CHECK_EQ(send_fds(s[0], &t[1], 1), 1);
    close(t[1]);
    close(s[0]);
    close(t[0]);
    CHECK_EQ(recv_fds(s[1], got, 1, 0, NULL), 1);
    CHECK_EQ(recv(got[0], &c, 1, MSG_PEEK), 1);
    CHECK_EQ(c, 'k');
    close(got[0]);
    close(s[1]);
}

TEST_MAIN()
