/* AF_UNIX seqpacket sockets: connections of whole messages. */
#include "guest_test.h"

#include <poll.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

static short ready(int fd, short events)
{
    struct pollfd p = {.fd = fd, .events = events};

    return poll(&p, 1, 0) < 0 ? -1 : p.revents;
}

TEST(messages_over_a_connection)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX, .sun_path = "\0guest-seq"};
    socklen_t len = offsetof(struct sockaddr_un, sun_path) + 10;
    int l = socket(AF_UNIX, SOCK_SEQPACKET, 0), c = socket(AF_UNIX, SOCK_SEQPACKET, 0), s;
    char buf[16];

    CHECK_OK(bind(l, (void *)&a, len));
    CHECK_ERR(send(c, "x", 1, MSG_NOSIGNAL), ENOTCONN);
    CHECK_ERR(recv(c, buf, 1, 0), ENOTCONN);
    CHECK_OK(listen(l, 4));
    CHECK_OK(connect(c, (void *)&a, len));
    s = accept4(l, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    CHECK_OK(s);
    CHECK_ERR(recv(s, buf, sizeof(buf), 0), EAGAIN);
    CHECK_EQ(write(c, "one", 3), 3);
    CHECK_EQ(write(c, "three", 5), 5);
    CHECK_EQ(read(s, buf, sizeof(buf)), 3);
    CHECK_EQ(recv(s, buf, 2, MSG_TRUNC), 5);
    CHECK_ERR(recv(s, buf, sizeof(buf), 0), EAGAIN);
    close(c);
    CHECK_EQ(ready(s, POLLIN | POLLRDHUP), POLLIN | POLLRDHUP | POLLHUP);
    CHECK_EQ(recv(s, buf, sizeof(buf), 0), 0);
    CHECK_ERR(send(s, "x", 1, MSG_NOSIGNAL), EPIPE);
    close(s);
    close(l);
}

TEST(pairs)
{
    char buf[8];
    int s[2], v;
    socklen_t len = sizeof(v);

    CHECK_OK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, s));
    CHECK_OK(getsockopt(s[0], SOL_SOCKET, SO_TYPE, &v, &len));
    CHECK_EQ(v, SOCK_SEQPACKET);
    for (int i = 0; i < 50; i++)
        CHECK_EQ(send(s[0], &i, 4, 0), 4);
    for (int i = 0; i < 50; i++) {
        CHECK_EQ(recv(s[1], &v, 8, 0), 4);
        CHECK_EQ(v, i);
    }
    CHECK_OK(shutdown(s[0], SHUT_WR));
    CHECK_EQ(recv(s[1], buf, 8, 0), 0);
    close(s[0]);
    close(s[1]);
}

TEST_MAIN()
