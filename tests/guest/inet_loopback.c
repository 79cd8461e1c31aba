/* TCP and UDP between local addresses. */
#include "guest_test.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

static void *volatile bad_pointer = (void *)8;

static struct sockaddr_in v4(uint32_t addr, int port)
{
    return (struct sockaddr_in){.sin_family = AF_INET, .sin_addr = {htonl(addr)}, .sin_port = htons((uint16_t)port)};
}

static int port_of(int fd)
{
    struct sockaddr_in6 a;
    socklen_t len = sizeof(a);

    CHECK_OK(getsockname(fd, (void *)&a, &len));
    return ntohs(a.sin6_port); /* at the same place as sin_port */
}

static int listener(int backlog)
{
    struct sockaddr_in a = v4(INADDR_LOOPBACK, 0);
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    CHECK_OK(fd);
    CHECK_OK(bind(fd, (void *)&a, sizeof(a)));
    CHECK_OK(listen(fd, backlog));
    return fd;
}

static void connected(int s[2])
{
    int l = listener(4);
    struct sockaddr_in a = v4(INADDR_LOOPBACK, port_of(l));

    s[0] = socket(AF_INET, SOCK_STREAM, 0);
    CHECK_OK(connect(s[0], (void *)&a, sizeof(a)));
    s[1] = accept(l, NULL, NULL);
    CHECK_OK(s[1]);
    close(l);
}

static short ready(int fd, short events, int ms)
{
    struct pollfd p = {.fd = fd, .events = events};

    return poll(&p, 1, ms) < 0 ? -1 : p.revents;
}

static int sock_error(int fd)
{
    int v = -1;
    socklen_t len = sizeof(v);

    getsockopt(fd, SOL_SOCKET, SO_ERROR, &v, &len);
    return v;
}

TEST(a_connection_talks)
{
    struct sockaddr_in a, b;
    socklen_t len = sizeof(a);
    char buf[16];
    int s[2], n;

    connected(s);
    CHECK_EQ(write(s[0], "hello", 5), 5);
    CHECK_EQ(ready(s[1], POLLIN, 1000), POLLIN);
    CHECK_EQ(ioctl(s[1], FIONREAD, &n), 0);
    CHECK_EQ(n, 5);
    CHECK_EQ(recv(s[1], buf, 2, MSG_PEEK), 2);
    CHECK_EQ(recv(s[1], buf, sizeof(buf), 0), 5);
    CHECK_EQ(send(s[1], "back", 4, 0), 4);
    CHECK_EQ(recv(s[0], buf, 4, MSG_WAITALL), 4);
    CHECK_OK(getsockname(s[0], (void *)&a, &len));
    CHECK_OK(getpeername(s[1], (void *)&b, &len));
    CHECK(a.sin_port == b.sin_port && a.sin_addr.s_addr == b.sin_addr.s_addr);
    CHECK_EQ(ntohl(a.sin_addr.s_addr), INADDR_LOOPBACK);
    close(s[0]);
    close(s[1]);
}

TEST(the_end_of_a_stream)
{
    char c;
    int s[2];

    signal(SIGPIPE, SIG_IGN);
    connected(s);
    CHECK_EQ(write(s[0], "ab", 2), 2);
    CHECK_OK(shutdown(s[0], SHUT_WR));
    CHECK_EQ(recv(s[1], &c, 1, 0), 1);
    CHECK_EQ(recv(s[1], &c, 1, 0), 1);
    CHECK_EQ(recv(s[1], &c, 1, 0), 0);
    CHECK_EQ(ready(s[1], POLLIN | POLLRDHUP, 1000), POLLIN | POLLRDHUP);
    CHECK_EQ(write(s[1], "z", 1), 1);
    CHECK_EQ(recv(s[0], &c, 1, 0), 1);
    CHECK_ERR(write(s[0], "x", 1), EPIPE);
    close(s[1]);
    CHECK_EQ(recv(s[0], &c, 1, 0), 0);
    close(s[0]);
    signal(SIGPIPE, SIG_DFL);
}

TEST(closing_with_unread_data_resets)
{
    char c;
    int s[2];

    signal(SIGPIPE, SIG_IGN);
    connected(s);
    CHECK_EQ(write(s[0], "abc", 3), 3);
    CHECK_EQ(ready(s[1], POLLIN, 1000), POLLIN);
    close(s[1]);
    CHECK_EQ(ready(s[0], POLLIN, 1000) & (POLLERR | POLLHUP), POLLERR | POLLHUP);
    CHECK_ERR(recv(s[0], &c, 1, 0), ECONNRESET);
    CHECK_EQ(recv(s[0], &c, 1, 0), 0);
    CHECK_ERR(write(s[0], "x", 1), EPIPE);
    close(s[0]);
    signal(SIGPIPE, SIG_DFL);
}

TEST(zero_linger_resets)
{
    struct linger l = {.l_onoff = 1, .l_linger = 0};
    char c;
    int s[2];

    connected(s);
    CHECK_OK(setsockopt(s[0], SOL_SOCKET, SO_LINGER, &l, sizeof(l)));
    close(s[0]);
    CHECK_ERR(recv(s[1], &c, 1, 0), ECONNRESET);
    close(s[1]);
}

TEST(an_error_behind_what_was_read_is_told_next)
{
    struct linger l = {.l_onoff = 1, .l_linger = 0};
    char buf[10];
    int s[2];

    connected(s);
    CHECK_OK(send(s[0], "ab", 2, 0));
    CHECK_OK(setsockopt(s[0], SOL_SOCKET, SO_LINGER, &l, sizeof(l)));
    close(s[0]);
    CHECK(recv(s[1], buf, sizeof(buf), MSG_WAITALL) == 2);
    CHECK_ERR(recv(s[1], buf, sizeof(buf), MSG_WAITALL), ECONNRESET);
    close(s[1]);
}

TEST(nobody_listens)
{
    int l = listener(1), fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in a = v4(INADDR_LOOPBACK, port_of(l));

    close(l);
    CHECK_ERR(connect(fd, (void *)&a, sizeof(a)), ECONNREFUSED);
    close(fd);
    fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    CHECK_ERR(connect(fd, (void *)&a, sizeof(a)), EINPROGRESS);
    CHECK_EQ(ready(fd, POLLOUT, 1000), POLLOUT | POLLERR | POLLHUP);
    CHECK_EQ(sock_error(fd), ECONNREFUSED);
    CHECK_EQ(sock_error(fd), 0);
    close(fd);
}

TEST(nonblocking_connect)
{
    int l = listener(4), fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in a = v4(INADDR_LOOPBACK, port_of(l));

    CHECK_ERR(connect(fd, (void *)&a, sizeof(a)), EINPROGRESS);
    CHECK_EQ(ready(fd, POLLOUT, 1000), POLLOUT);
    CHECK_EQ(sock_error(fd), 0);
    CHECK_EQ(connect(fd, (void *)&a, sizeof(a)), 0);
    CHECK_ERR(connect(fd, (void *)&a, sizeof(a)), EISCONN);
    close(fd);
    close(l);
}

TEST(accept_rules)
{
    struct sockaddr_in a;
    socklen_t len = sizeof(a);
    int l = listener(4), fd = socket(AF_INET, SOCK_STREAM, 0), conn;

    CHECK_OK(fcntl(l, F_SETFL, O_NONBLOCK));
    CHECK_ERR(accept(l, NULL, NULL), EAGAIN);
    CHECK_ERR(accept(fd, NULL, NULL), EINVAL);
    CHECK_ERR(accept4(l, NULL, NULL, 12345), EINVAL);
    a = v4(INADDR_LOOPBACK, port_of(l));
    CHECK_OK(connect(fd, (void *)&a, sizeof(a)));
    CHECK_EQ(ready(l, POLLIN, 1000), POLLIN);
    conn = accept4(l, (void *)&a, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    CHECK_OK(conn);
    CHECK_EQ(len, sizeof(a));
    CHECK_EQ(ntohs(a.sin_port), port_of(fd));
    CHECK_EQ(fcntl(conn, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
    CHECK_EQ(fcntl(conn, F_GETFD), FD_CLOEXEC);
    close(conn);
    close(fd);
    close(l);
}

TEST(binding_rules)
{
    int l = listener(4), fd = socket(AF_INET, SOCK_STREAM, 0), on = 1, u1, u2;
    struct sockaddr_in a = v4(INADDR_LOOPBACK, port_of(l)), any = v4(INADDR_ANY, port_of(l)), far = v4(0x08080808, 0);

    CHECK_ERR(bind(fd, (void *)&a, sizeof(a)), EADDRINUSE);
    CHECK_ERR(bind(fd, (void *)&any, sizeof(any)), EADDRINUSE);
    CHECK_OK(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)));
    CHECK_ERR(bind(fd, (void *)&a, sizeof(a)), EADDRINUSE);
    CHECK_ERR(bind(fd, (void *)&far, sizeof(far)), EADDRNOTAVAIL);
    CHECK_ERR(bind(fd, (void *)&a, 4), EINVAL);
    a.sin_family = AF_UNIX;
    CHECK_ERR(bind(fd, (void *)&a, sizeof(a)), EAFNOSUPPORT);
    a = v4(INADDR_LOOPBACK + 1, port_of(l));
    CHECK_OK(bind(fd, (void *)&a, sizeof(a)));
    CHECK_ERR(bind(fd, (void *)&a, sizeof(a)), EINVAL);
    close(fd);
    /* A dead connection does not keep its listener's port. */
    a = v4(INADDR_LOOPBACK, port_of(l));
    close(l);
    fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK_OK(bind(fd, (void *)&a, sizeof(a)));
    close(fd);
    u1 = socket(AF_INET, SOCK_DGRAM, 0);
    u2 = socket(AF_INET, SOCK_DGRAM, 0);
    CHECK_OK(setsockopt(u1, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)));
    CHECK_OK(setsockopt(u2, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)));
    a = v4(INADDR_LOOPBACK, 0);
    CHECK_OK(bind(u1, (void *)&a, sizeof(a)));
    a = v4(INADDR_LOOPBACK, port_of(u1));
    CHECK_OK(bind(u2, (void *)&a, sizeof(a)));
    close(u1);
    close(u2);
}

TEST(unconnected_errors)
{
    struct sockaddr_in a;
    socklen_t len = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    char c;

    CHECK_ERR(recv(fd, &c, 1, 0), ENOTCONN);
    CHECK_ERR(send(fd, &c, 1, MSG_NOSIGNAL), EPIPE);
    CHECK_ERR(getpeername(fd, (void *)&a, &len), ENOTCONN);
    CHECK_EQ(ready(fd, POLLIN | POLLOUT, 0), POLLOUT | POLLHUP);
    CHECK_ERR(shutdown(fd, SHUT_RD), ENOTCONN);
    CHECK_EQ(ready(fd, POLLIN | POLLOUT, 0), POLLIN | POLLOUT | POLLHUP);
    CHECK_ERR(socket(AF_INET, SOCK_STREAM, IPPROTO_UDP), EPROTONOSUPPORT);
    CHECK_ERR(socket(AF_INET, SOCK_RAW, 0) == -1 && (errno == EPROTONOSUPPORT || errno == EPERM) ? -1 : 0, errno);
    close(fd);
}

static void *pump(void *arg)
{
    static char buf[123456];
    int fd = *(int *)arg;

    for (int i = 0; i < 100; i++) {
        memset(buf, i, sizeof(buf));
        if (send(fd, buf, sizeof(buf), 0) != sizeof(buf))
            abort();
    }
    shutdown(fd, SHUT_WR);
    return NULL;
}

TEST(many_bytes_arrive_in_order)
{
    char buf[40000];
    size_t at = 0;
    pthread_t th;
    ssize_t n;
    int s[2];

    connected(s);
    pthread_create(&th, NULL, pump, &s[0]);
    while ((n = recv(s[1], buf, sizeof(buf), 0)) > 0)
        for (ssize_t i = 0; i < n; i++, at++)
            CHECK_EQ(buf[i], (char)(at / 123456));
    CHECK_EQ(at, 100 * 123456);
    pthread_join(th, NULL);
    close(s[0]);
    close(s[1]);
}

TEST(a_full_stream_is_not_writable)
{
    static char buf[65536];
    size_t total = 0;
    ssize_t n;
    int s[2];

    connected(s);
    CHECK_OK(fcntl(s[0], F_SETFL, O_NONBLOCK));
    while ((n = write(s[0], buf, sizeof(buf))) > 0)
        total += (size_t)n;
    CHECK_EQ(errno, EAGAIN);
    CHECK_EQ(ready(s[0], POLLOUT, 0), 0);
    while (total > 0) {
        n = read(s[1], buf, sizeof(buf));
        CHECK(n > 0);
        total -= (size_t)n;
    }
    CHECK_EQ(ready(s[0], POLLOUT, 1000), POLLOUT);
    close(s[0]);
    close(s[1]);
}

TEST(udp_messages)
{
    struct sockaddr_in a = v4(INADDR_LOOPBACK, 0), from;
    socklen_t len = sizeof(from);
    int r = socket(AF_INET, SOCK_DGRAM, 0), s = socket(AF_INET, SOCK_DGRAM, 0), n;
    char buf[16];

    CHECK_OK(bind(r, (void *)&a, sizeof(a)));
    a = v4(INADDR_LOOPBACK, port_of(r));
    CHECK_ERR(send(s, "x", 1, 0), EDESTADDRREQ);
    CHECK_EQ(sendto(s, "hello", 5, 0, (void *)&a, sizeof(a)), 5);
    CHECK_EQ(sendto(s, "", 0, 0, (void *)&a, sizeof(a)), 0);
    CHECK_EQ(ready(r, POLLIN, 1000), POLLIN);
    CHECK_EQ(ioctl(r, FIONREAD, &n), 0);
    CHECK_EQ(n, 5);
    CHECK_EQ(recvfrom(r, buf, 2, MSG_TRUNC, (void *)&from, &len), 5);
    CHECK_EQ(ntohs(from.sin_port), port_of(s));
    CHECK_EQ(ntohl(from.sin_addr.s_addr), INADDR_LOOPBACK);
    CHECK_EQ(recv(r, buf, sizeof(buf), 0), 0);
    CHECK_OK(connect(s, (void *)&a, sizeof(a)));
    CHECK_EQ(send(s, "yy", 2, 0), 2);
    CHECK_EQ(recv(r, buf, sizeof(buf), 0), 2);
    CHECK_EQ(sendto(r, "zz", 2, 0, (void *)&from, sizeof(from)), 2);
    CHECK_EQ(recv(s, buf, sizeof(buf), 0), 2);
    close(s);
    close(r);
}

TEST(udp_refusal_comes_with_the_next_call)
{
    struct sockaddr_in a = v4(INADDR_LOOPBACK, 0);
    int r = socket(AF_INET, SOCK_DGRAM, 0), s = socket(AF_INET, SOCK_DGRAM, 0);
    static char big[70000];

    CHECK_OK(bind(r, (void *)&a, sizeof(a)));
    a = v4(INADDR_LOOPBACK, port_of(r));
    close(r);
    CHECK_OK(connect(s, (void *)&a, sizeof(a)));
    CHECK_EQ(send(s, "x", 1, 0), 1);
    CHECK_EQ(ready(s, POLLIN, 1000) & POLLERR, POLLERR);
    CHECK_ERR(send(s, "x", 1, 0), ECONNREFUSED);
    CHECK_ERR(send(s, big, sizeof(big), 0), EMSGSIZE);
    a.sin_port = 0;
    CHECK_ERR(sendto(s, "x", 1, 0, (void *)&a, sizeof(a)), EINVAL);
    a.sin_family = 99;
    CHECK_ERR(sendto(s, "x", 1, 0, (void *)&a, sizeof(a)), EAFNOSUPPORT);
    close(s);
}

TEST(ipv6_and_mapped_addresses)
{
    struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_addr = in6addr_any}, peer;
    struct sockaddr_in b;
    socklen_t len = sizeof(peer);
    int l = socket(AF_INET6, SOCK_STREAM, 0), c, s, v;

    if (l < 0)
        SKIP("no IPv6");
    CHECK_OK(bind(l, (void *)&a, sizeof(a)));
    CHECK_OK(listen(l, 4));
    b = v4(INADDR_LOOPBACK, port_of(l));
    c = socket(AF_INET, SOCK_STREAM, 0);
    CHECK_OK(connect(c, (void *)&b, sizeof(b)));
    s = accept(l, (void *)&peer, &len);
    CHECK_OK(s);
    CHECK_EQ(len, sizeof(peer));
    CHECK(IN6_IS_ADDR_V4MAPPED(&peer.sin6_addr));
    close(c);
    close(s);
    a.sin6_addr = in6addr_loopback;
    a.sin6_port = htons((uint16_t)port_of(l));
    c = socket(AF_INET6, SOCK_STREAM, 0);
    CHECK_OK(connect(c, (void *)&a, sizeof(a)));
    s = accept(l, (void *)&peer, &len);
    CHECK_OK(s);
    CHECK(IN6_IS_ADDR_LOOPBACK(&peer.sin6_addr));
    close(c);
    close(s);
    close(l);
    l = socket(AF_INET6, SOCK_STREAM, 0);
    v = 1;
    CHECK_OK(setsockopt(l, IPPROTO_IPV6, IPV6_V6ONLY, &v, sizeof(v)));
    a.sin6_addr = in6addr_any;
    a.sin6_port = 0;
    CHECK_OK(bind(l, (void *)&a, sizeof(a)));
    CHECK_OK(listen(l, 1));
    c = socket(AF_INET, SOCK_STREAM, 0);
    b = v4(INADDR_LOOPBACK, port_of(l));
    CHECK_ERR(connect(c, (void *)&b, sizeof(b)), ECONNREFUSED);
    close(c);
    close(l);
}

TEST(options_read_back)
{
    static const struct {
        int level, name, val;
    } opts[] = {
        {SOL_TCP, TCP_NODELAY, 1},    {SOL_TCP, TCP_KEEPIDLE, 30},   {SOL_TCP, TCP_KEEPINTVL, 10},
        {SOL_TCP, TCP_KEEPCNT, 3},    {SOL_SOCKET, SO_KEEPALIVE, 1}, {SOL_SOCKET, SO_REUSEADDR, 1},
        {SOL_IP, IP_TTL, 33},         {SOL_TCP, TCP_CORK, 1},        {SOL_TCP, TCP_USER_TIMEOUT, 99},
        {SOL_SOCKET, SO_RCVLOWAT, 1}, {SOL_IP, IP_TOS, 0x10},        {SOL_SOCKET, SO_OOBINLINE, 1},
    };
    struct tcp_info info;
    socklen_t len;
    char name[16];
    int fd = socket(AF_INET, SOCK_STREAM, 0), v;

    for (size_t i = 0; i < sizeof(opts) / sizeof(opts[0]); i++) {
        CHECK_OK(setsockopt(fd, opts[i].level, opts[i].name, &opts[i].val, sizeof(int)));
        len = sizeof(v);
        CHECK_OK(getsockopt(fd, opts[i].level, opts[i].name, &v, &len));
        CHECK_EQ(v, opts[i].val);
    }
    v = 0;
    CHECK_ERR(setsockopt(fd, SOL_TCP, TCP_KEEPCNT, &v, sizeof(v)), EINVAL);
    CHECK_ERR(setsockopt(fd, SOL_TCP, 9999, &v, sizeof(v)), ENOPROTOOPT);
    CHECK_ERR(getsockopt(fd, IPPROTO_UDP, 1, &v, &len), EOPNOTSUPP);
    CHECK_ERR(getsockopt(fd, SOL_TCP, TCP_NODELAY, &v, bad_pointer), EFAULT);
    len = sizeof(info);
    CHECK_OK(getsockopt(fd, SOL_TCP, TCP_INFO, &info, &len));
    CHECK_EQ(info.tcpi_state, TCP_CLOSE);
    len = sizeof(name);
    CHECK_OK(getsockopt(fd, SOL_TCP, TCP_CONGESTION, name, &len));
    close(fd);
}

TEST(the_urgent_byte)
{
    char c = 0, buf[8];
    int s[2], mark;

    connected(s);
    CHECK_ERR(recv(s[1], &c, 1, MSG_OOB), EINVAL);
    CHECK_EQ(send(s[0], "ab", 2, 0), 2);
    CHECK_EQ(send(s[0], "cX", 2, MSG_OOB), 2);
    CHECK_EQ(send(s[0], "d", 1, 0), 1);
    CHECK_EQ(ready(s[1], POLLPRI, 1000), POLLPRI);
    CHECK_EQ(recv(s[1], &c, 1, MSG_OOB), 1);
    CHECK_EQ(c, 'X');
    CHECK_EQ(recv(s[1], buf, sizeof(buf), 0), 3);
    CHECK_OK(ioctl(s[1], SIOCATMARK, &mark));
    CHECK_EQ(mark, 1);
    CHECK_EQ(recv(s[1], buf, sizeof(buf), 0), 1);
    CHECK_EQ(buf[0], 'd');
    close(s[0]);
    close(s[1]);
}

TEST(other_hosts_cannot_be_reached)
{
    struct sockaddr_in a = v4(0xc0000201, 80); /* 192.0.2.1, a documentation address */
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), r;

    r = connect(fd, (void *)&a, sizeof(a));
    CHECK(r == -1 && (errno == ENETUNREACH || errno == EINPROGRESS || errno == EHOSTUNREACH));
    close(fd);
}

TEST(disconnecting)
{
    struct sockaddr un = {.sa_family = AF_UNSPEC};
    struct sockaddr_in a;
    char c;
    int s[2], l;

    connected(s);
    CHECK_OK(connect(s[0], &un, sizeof(un)));
    CHECK_ERR(recv(s[0], &c, 1, 0), ECONNRESET);
    CHECK_ERR(recv(s[0], &c, 1, 0), ENOTCONN);
    CHECK_ERR(recv(s[1], &c, 1, 0), ECONNRESET);
    l = listener(1);
    a = v4(INADDR_LOOPBACK, port_of(l));
    CHECK_OK(connect(s[0], (void *)&a, sizeof(a)));
    close(s[0]);
    close(s[1]);
    close(l);
}

TEST(closing_the_listener_resets_waiting_clients)
{
    int l = listener(4), fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in a = v4(INADDR_LOOPBACK, port_of(l));
    char c;

    CHECK_OK(connect(fd, (void *)&a, sizeof(a)));
    close(l);
    CHECK_ERR(recv(fd, &c, 1, 0), ECONNRESET);
    close(fd);
}

TEST(descriptors_in_control_messages_are_passed_over)
{
    char control[CMSG_SPACE(sizeof(int))] = "", c = 'x';
    struct iovec iov = {&c, 1};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = CMSG_LEN(sizeof(int))};
    struct cmsghdr *h = CMSG_FIRSTHDR(&m);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    int u = socket(AF_INET, SOCK_DGRAM, 0);

    CHECK_OK(bind(u, (struct sockaddr *)&a, len));
    CHECK_OK(getsockname(u, (struct sockaddr *)&a, &len));
    CHECK_OK(connect(u, (struct sockaddr *)&a, len));
    *h = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    CHECK_EQ(sendmsg(u, &m, 0), 1);
    m.msg_controllen = sizeof(control);
    CHECK_EQ(recvmsg(u, &m, 0), 1);
    CHECK_EQ(m.msg_controllen, 0);
    close(u);
}

TEST_MAIN()
