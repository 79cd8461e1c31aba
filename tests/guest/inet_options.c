/* Options of IP, IPv6, TCP and UDP: what may be set, what is read back, and the errno of what may not. */
#include "guest_test.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>

struct row {
    int level, name, value;
    int err, want; /* of setsockopt; what is read then */
};

static void check_rows(int fd, const struct row *r, size_t n)
{
    for (size_t i = 0; i < n; i++, r++) {
        int got = -12345, e;
        socklen_t len = sizeof(got);

        errno = 0;
        e = setsockopt(fd, r->level, r->name, &r->value, sizeof(r->value)) < 0 ? errno : 0;
        if (e != r->err)
            guest_test_fail(__FILE__, __LINE__, "level %d option %d value %d: %s, want %s", r->level, r->name, r->value,
                            strerror(e), strerror(r->err));
        if (r->want == -999)
            continue;
        CHECK_OK(getsockopt(fd, r->level, r->name, &got, &len));
        if (got != r->want)
            guest_test_fail(__FILE__, __LINE__, "level %d option %d is %d, want %d", r->level, r->name, got, r->want);
    }
}

#define ROWS(fd, rows) check_rows(fd, rows, sizeof(rows) / sizeof(rows[0]))

TEST(tcp_options_before_a_connection)
{
    static const struct row rows[] = {
        {SOL_IP, IP_TOS, 0x13, 0, 0x10},
        {SOL_IP, IP_TTL, 256, EINVAL, 64},
        {SOL_IP, IP_TTL, 7, 0, 7},
        {SOL_IP, IP_MULTICAST_TTL, 5, EINVAL, 1},
        {SOL_IP, IP_MULTICAST_ALL, 2, EINVAL, 1},
        {SOL_IP, IP_NODEFRAG, 1, ENOPROTOOPT, -999},
        {SOL_IP, IP_MTU_DISCOVER, 6, EINVAL, -999},
        {SOL_TCP, TCP_MAXSEG, 0, 0, 536},
        {SOL_TCP, TCP_MAXSEG, 40, EINVAL, 536},
        {SOL_TCP, TCP_MAXSEG, 1000, 0, 1000},
        {SOL_TCP, TCP_LINGER2, 0, 0, 60},
        {SOL_TCP, TCP_LINGER2, -5, 0, -1},
        {SOL_TCP, TCP_DEFER_ACCEPT, 1, 0, 1},
        {SOL_TCP, TCP_DEFER_ACCEPT, 5, 0, 7},
        {SOL_TCP, TCP_DEFER_ACCEPT, -1, 0, 0},
        {SOL_TCP, TCP_WINDOW_CLAMP, 1, 0, 1152},
        {SOL_TCP, TCP_USER_TIMEOUT, 1234, 0, 1234},
        {SOL_TCP, TCP_USER_TIMEOUT, -1, EINVAL, 1234},
        {SOL_TCP, 25 /* TCP_NOTSENT_LOWAT */, 4096, 0, 4096},
        {SOL_TCP, TCP_THIN_DUPACK, 1, 0, 0},
        {SOL_TCP, TCP_THIN_DUPACK, 2, EINVAL, 0},
        {SOL_TCP, TCP_KEEPIDLE, 0, EINVAL, 7200},
        {SOL_TCP, TCP_SYNCNT, 128, EINVAL, 6},
        {SOL_TCP, TCP_TIMESTAMP, 1, EPERM, -999},
        {SOL_TCP, TCP_QUEUE_SEQ, 1, EINVAL, -999},
        {SOL_TCP, 99, 1, ENOPROTOOPT, -999},
    };
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    ROWS(fd, rows);
    CHECK_ERR(setsockopt(fd, SOL_TCP, TCP_NODELAY, &(char){1}, 1), EINVAL);
    CHECK_OK(setsockopt(fd, SOL_IP, IP_TTL, &(char){9}, 1));
    CHECK_ERR(setsockopt(fd, SOL_TCP, TCP_CONGESTION, "no-such", 7), ENOENT);
    CHECK_OK(setsockopt(fd, SOL_TCP, TCP_CONGESTION, "reno", 4));
    CHECK_ERR(setsockopt(fd, SOL_TCP, 31 /* TCP_ULP */, "no-such", 7), ENOENT);
    close(fd);
}

TEST(udp_options)
{
    static const struct row rows[] = {
        {SOL_IP, IP_TOS, 0x13, 0, 0x13},
        {SOL_IP, IP_MULTICAST_TTL, 5, 0, 5},
        {SOL_IP, IP_MULTICAST_TTL, 256, EINVAL, 5},
        {SOL_IP, IP_PKTINFO, 100, 0, 1},
        {SOL_IP, 25 /* IP_RECVFRAGSIZE */, 3, 0, 1},
        {SOL_IP, IP_TRANSPARENT, 0, 0, 0},
        {SOL_UDP, UDP_CORK, 1, 0, 1},
        {SOL_UDP, UDP_SEGMENT, 70000, EINVAL, 0},
        {SOL_UDP, 99, 1, ENOPROTOOPT, -999},
    };
    static const struct row rows6[] = {
        {SOL_IPV6, IPV6_TCLASS, 256, EINVAL, 0},
        {SOL_IPV6, IPV6_TCLASS, 0x13, 0, 0x13},
        {SOL_IPV6, IPV6_TCLASS, -1, 0, 0},
        {SOL_IPV6, IPV6_UNICAST_HOPS, 300, EINVAL, 64},
        {SOL_IPV6, IPV6_MULTICAST_LOOP, 2, EINVAL, 1},
        {SOL_IPV6, IPV6_MTU_DISCOVER, -1, EINVAL, -999},
        {SOL_IPV6, IPV6_RECVPKTINFO, 7, 0, 1},
        {SOL_IPV6, IPV6_2292HOPLIMIT, 1, 0, 1},
    };
    int fd = socket(AF_INET, SOCK_DGRAM, 0), fd6 = socket(AF_INET6, SOCK_DGRAM, 0);

    ROWS(fd, rows);
    if (fd6 >= 0)
        ROWS(fd6, rows6);
    close(fd);
    close(fd6);
}

TEST(ip_options_are_checked_and_told)
{
    static const uint8_t good[] = {IPOPT_NOOP, IPOPT_RR, 7, 4, 0, 0, 0, 0}, bad[] = {IPOPT_RR, 40, 4, 0}, cut[] = {IPOPT_RR};
    uint8_t buf[64];
    socklen_t len = sizeof(buf);
    int fd = socket(AF_INET, SOCK_DGRAM, 0);

    CHECK_OK(getsockopt(fd, SOL_IP, IP_OPTIONS, buf, &len));
    CHECK_EQ(len, 0);
    CHECK_ERR(setsockopt(fd, SOL_IP, IP_OPTIONS, bad, sizeof(bad)), EINVAL);
    CHECK_ERR(setsockopt(fd, SOL_IP, IP_OPTIONS, cut, sizeof(cut)), EINVAL);
    CHECK_OK(setsockopt(fd, SOL_IP, IP_OPTIONS, good, sizeof(good)));
    len = sizeof(buf);
    CHECK_OK(getsockopt(fd, SOL_IP, IP_OPTIONS, buf, &len));
    CHECK_EQ(len, sizeof(good));
    CHECK_EQ(buf[1], IPOPT_RR);
    CHECK_OK(setsockopt(fd, SOL_IP, IP_OPTIONS, NULL, 0));
    len = sizeof(buf);
    CHECK_OK(getsockopt(fd, SOL_IP, IP_OPTIONS, buf, &len));
    CHECK_EQ(len, 0);
    close(fd);
}

static int64_t now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void connected(int fd[2])
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof(a);
    int l = socket(AF_INET, SOCK_STREAM, 0);

    CHECK_OK(bind(l, (void *)&a, sizeof(a)));
    CHECK_OK(listen(l, 1));
    CHECK_OK(getsockname(l, (void *)&a, &len));
    fd[0] = socket(AF_INET, SOCK_STREAM, 0);
    CHECK_OK(connect(fd[0], (void *)&a, sizeof(a)));
    fd[1] = accept(l, NULL, NULL);
    CHECK_OK(fd[1]);
    close(l);
}

TEST(close_lingers_while_nobody_reads)
{
    struct linger lg = {1, 1};
    static char buf[65536];
    int fd[2];
    int64_t start;

    connected(fd);
    CHECK_OK(setsockopt(fd[0], SOL_SOCKET, SO_LINGER, &lg, sizeof(lg)));
    while (send(fd[0], buf, sizeof(buf), MSG_DONTWAIT) > 0)
        ;
    start = now_ms();
    CHECK_OK(close(fd[0]));
    /* All of its time has passed. */
    CHECK(now_ms() - start >= 900);
    close(fd[1]);
}

TEST(a_linger_of_zero_resets)
{
    struct linger lg = {1, 0};
    char c;
    int fd[2];

    connected(fd);
    CHECK_OK(setsockopt(fd[0], SOL_SOCKET, SO_LINGER, &lg, sizeof(lg)));
    CHECK_OK(close(fd[0]));
    CHECK_ERR(read(fd[1], &c, 1), ECONNRESET);
    close(fd[1]);
}

TEST_MAIN()
