/* AF_UNIX datagram sockets. */
#include "guest_test.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

static struct sockaddr_un name_of(const char *s, socklen_t *len)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};

    memcpy(a.sun_path + 1, s, strlen(s));
    *len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(s));
    return a;
}

static int bound(const char *s)
{
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    socklen_t len;
    struct sockaddr_un a = name_of(s, &len);

    CHECK_OK(fd);
    CHECK_OK(bind(fd, (void *)&a, len));
    return fd;
}

static ssize_t send_to(int fd, const char *to, const char *what)
{
    socklen_t len;
    struct sockaddr_un a = name_of(to, &len);

    return sendto(fd, what, strlen(what), MSG_DONTWAIT, (void *)&a, len);
}

static int connect_to(int fd, const char *to)
{
    socklen_t len;
    struct sockaddr_un a = name_of(to, &len);

    return connect(fd, (void *)&a, len);
}

static short ready(int fd, short events)
{
    struct pollfd p = {.fd = fd, .events = events};

    return poll(&p, 1, 0) < 0 ? -1 : p.revents;
}

TEST(messages_keep_their_boundaries)
{
    struct sockaddr_un from;
    socklen_t len = sizeof(from);
    int a = bound("guest-dg-a"), b = bound("guest-dg-b"), n;
    char buf[16];

    CHECK_EQ(send_to(a, "guest-dg-b", "one"), 3);
    CHECK_EQ(send_to(a, "guest-dg-b", "twotwo"), 6);
    CHECK_EQ(send_to(a, "guest-dg-b", ""), 0);
    CHECK_EQ(ioctl(b, FIONREAD, &n), 0);
    CHECK_EQ(n, 3);
    CHECK_EQ(recvfrom(b, buf, sizeof(buf), 0, (void *)&from, &len), 3);
    CHECK_EQ(len, 2 + 1 + 10);
    CHECK(memcmp(from.sun_path, "\0guest-dg-a", 11) == 0);
    CHECK_EQ(recv(b, buf, 2, MSG_PEEK), 2);
    CHECK_EQ(recv(b, buf, 2, MSG_TRUNC), 6);
    CHECK_EQ(ready(b, POLLIN), POLLIN);
    CHECK_EQ(recv(b, buf, sizeof(buf), 0), 0);
    CHECK_ERR(recv(b, buf, sizeof(buf), MSG_DONTWAIT), EAGAIN);
    close(a);
    close(b);
}

TEST(truncation_is_flagged)
{
    char buf[2];
    struct iovec iov = {buf, 2};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
    int s[2];

    CHECK_OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, s));
    CHECK_EQ(send(s[0], "abcdef", 6, 0), 6);
    CHECK_EQ(recvmsg(s[1], &m, 0), 2);
    CHECK_EQ(m.msg_flags & MSG_TRUNC, MSG_TRUNC);
    close(s[0]);
    close(s[1]);
}

TEST(errors)
{
    static char big[1 << 20];
    int a = bound("guest-dg-c"), b = socket(AF_UNIX, SOCK_DGRAM, 0), st = socket(AF_UNIX, SOCK_STREAM, 0);

    CHECK_ERR(send(b, "x", 1, 0), ENOTCONN);
    CHECK_ERR(send_to(b, "guest-dg-nobody", "x"), ECONNREFUSED);
    CHECK_ERR(connect_to(st, "guest-dg-c"), ECONNREFUSED);
    CHECK_OK(connect_to(b, "guest-dg-c"));
    CHECK_ERR(send(b, big, sizeof(big), 0), EMSGSIZE);
    CHECK_ERR(listen(a, 1), EOPNOTSUPP);
    CHECK_ERR(accept(a, NULL, NULL), EOPNOTSUPP);
    CHECK_ERR(send(b, "x", 1, MSG_OOB), EOPNOTSUPP);
    close(a);
    CHECK_ERR(send(b, "x", 1, 0), ECONNREFUSED);
    CHECK_ERR(send(b, "x", 1, 0), ENOTCONN);
    close(b);
    close(st);
}

TEST(a_connected_receiver_takes_from_its_peer_alone)
{
    int a = bound("guest-dg-d"), b = bound("guest-dg-e"), c = bound("guest-dg-f");
    struct sockaddr un = {.sa_family = AF_UNSPEC};

    CHECK_OK(connect_to(a, "guest-dg-e"));
    CHECK_EQ(send_to(b, "guest-dg-d", "x"), 1);
    CHECK_ERR(send_to(c, "guest-dg-d", "x"), EPERM);
    CHECK_ERR(connect_to(c, "guest-dg-d"), EPERM);
    CHECK_OK(connect(a, &un, sizeof(un)));
    CHECK_EQ(send_to(c, "guest-dg-d", "x"), 1);
    close(a);
    close(b);
    close(c);
}

TEST(a_full_receiver_makes_senders_wait)
{
    int a = bound("guest-dg-g"), b = socket(AF_UNIX, SOCK_DGRAM, 0), n = 0;
    char buf[8];

    CHECK_OK(connect_to(b, "guest-dg-g"));
    while (n < 10000 && send(b, "x", 1, MSG_DONTWAIT) == 1)
        n++;
    CHECK_EQ(errno, EAGAIN);
    CHECK(n > 0 && n < 10000);
    CHECK_EQ(ready(b, POLLOUT), 0);
    CHECK_EQ(recv(a, buf, 8, 0), 1);
    CHECK_EQ(ready(b, POLLOUT), POLLOUT);
    CHECK_EQ(send(b, "x", 1, MSG_DONTWAIT), 1);
    close(a);
    close(b);
}

static void *drain(void *arg)
{
    char buf[8];

    usleep(50000);
    return (void *)(intptr_t)recv(*(int *)arg, buf, 8, 0);
}

TEST(a_blocked_sender_is_woken)
{
    int a = bound("guest-dg-h"), b = socket(AF_UNIX, SOCK_DGRAM, 0);
    pthread_t th;

    CHECK_OK(connect_to(b, "guest-dg-h"));
    while (send(b, "x", 1, MSG_DONTWAIT) == 1)
        ;
    pthread_create(&th, NULL, drain, &a);
    CHECK_EQ(send(b, "x", 1, 0), 1);
    pthread_join(th, NULL);
    close(a);
    close(b);
}

TEST(shutdown_ends_receiving)
{
    char c;
    int s[2];

    CHECK_OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, s));
    CHECK_OK(shutdown(s[0], SHUT_RD));
    CHECK_EQ(recv(s[0], &c, 1, 0), 0);
    CHECK_ERR(send(s[1], "x", 1, MSG_NOSIGNAL), EPIPE);
    CHECK_OK(shutdown(s[0], SHUT_WR));
    CHECK_ERR(send(s[0], "x", 1, MSG_NOSIGNAL), EPIPE);
    close(s[0]);
    close(s[1]);
}

TEST(many_messages_in_one_call)
{
    char out[3][4] = {"a", "bb", "ccc"}, in[4][8];
    struct iovec ov[3], iv[4];
    struct mmsghdr om[3] = {0}, im[4] = {0};
    struct timespec ts = {.tv_sec = 1};
    int s[2];

    CHECK_OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, s));
    for (int i = 0; i < 3; i++) {
        ov[i] = (struct iovec){out[i], strlen(out[i])};
        om[i].msg_hdr = (struct msghdr){.msg_iov = &ov[i], .msg_iovlen = 1};
    }
    for (int i = 0; i < 4; i++) {
        iv[i] = (struct iovec){in[i], sizeof(in[i])};
        im[i].msg_hdr = (struct msghdr){.msg_iov = &iv[i], .msg_iovlen = 1};
    }
    CHECK_EQ(sendmmsg(s[0], om, 3, 0), 3);
    CHECK_EQ(om[2].msg_len, 3);
    CHECK_EQ(recvmmsg(s[1], im, 4, MSG_WAITFORONE, &ts), 3);
    CHECK_EQ(im[0].msg_len, 1);
    CHECK_EQ(im[2].msg_len, 3);
    CHECK_ERR(recvmmsg(s[1], im, 4, MSG_DONTWAIT, NULL), EAGAIN);
    close(s[0]);
    close(s[1]);
}

TEST_MAIN()
