/* Options of SOL_SOCKET and what they do: filters, groups of sockets on one port, time stamps, the error queue. */
#include "guest_test.h"

#include <arpa/inet.h>
#include <linux/errqueue.h>
#include <linux/filter.h>
#include <linux/net_tstamp.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>

#ifndef SO_ATTACH_REUSEPORT_CBPF
#define SO_ATTACH_REUSEPORT_CBPF 51
#endif
#ifndef SO_ZEROCOPY
#define SO_ZEROCOPY 60
#endif

#define SET(fd, name, v) setsockopt(fd, SOL_SOCKET, name, &(int){v}, sizeof(int))

static int get(int fd, int name)
{
    int v = -12345;
    socklen_t len = sizeof(v);

    CHECK_OK(getsockopt(fd, SOL_SOCKET, name, &v, &len));
    return v;
}

static int udp(struct sockaddr_in *a)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    socklen_t len = sizeof(*a);

    *a = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    CHECK_OK(bind(fd, (void *)a, sizeof(*a)));
    CHECK_OK(getsockname(fd, (void *)a, &len));
    return fd;
}

static void tcp_pair(int fd[2])
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof(a);
    int l = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    CHECK_OK(bind(l, (void *)&a, sizeof(a)));
    CHECK_OK(listen(l, 1));
    CHECK_OK(getsockname(l, (void *)&a, &len));
    fd[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_OK(connect(fd[0], (void *)&a, sizeof(a)));
    fd[1] = accept(l, NULL, NULL);
    CHECK_OK(fd[1]);
    close(l);
}

/* recvmsg(MSG_ERRQUEUE): the extended error, and what else of the given type came with it. */
static ssize_t read_error(int fd, struct sock_extended_err *ee, void *data, size_t size, struct sockaddr_in *offender,
                          int *stamps)
{
    char control[512];
    struct iovec iov = {data, size};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
    struct pollfd p = {fd, 0, 0};
    ssize_t n;

    CHECK_EQ(poll(&p, 1, 30000), 1);
    CHECK(p.revents & POLLERR);
    n = recvmsg(fd, &m, MSG_ERRQUEUE);
    CHECK(n >= 0);
    CHECK(m.msg_flags & MSG_ERRQUEUE);
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
        if (c->cmsg_level == SOL_IP && c->cmsg_type == IP_RECVERR) {
            memcpy(ee, CMSG_DATA(c), sizeof(*ee));
            if (offender)
                memcpy(offender, SO_EE_OFFENDER((struct sock_extended_err *)CMSG_DATA(c)), sizeof(*offender));
        } else if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_TIMESTAMPING && stamps) {
            ++*stamps;
            CHECK(((struct timespec *)CMSG_DATA(c))->tv_sec > 1000000000);
        }
    }
    return n;
}

TEST(zerocopy_sends_complete_on_the_error_queue)
{
    struct sock_extended_err ee = {0};
    char buf[32768] = "";
    int fd[2], u[2];

    tcp_pair(fd);
    CHECK_EQ(get(fd[0], SO_ZEROCOPY), 0);
    CHECK_ERR(SET(fd[0], SO_ZEROCOPY, 2), EINVAL);
    CHECK_OK(SET(fd[0], SO_ZEROCOPY, 1));
    CHECK_EQ(get(fd[0], SO_ZEROCOPY), 1);
    CHECK_ERR(recv(fd[0], buf, 1, MSG_ERRQUEUE), EAGAIN);
    CHECK_EQ(send(fd[0], buf, sizeof(buf), MSG_ZEROCOPY), sizeof(buf));
    CHECK_EQ(recv(fd[1], buf, sizeof(buf), MSG_WAITALL), sizeof(buf));
    CHECK_EQ(read_error(fd[0], &ee, buf, 1, NULL, NULL), 0);
    CHECK_EQ(ee.ee_origin, SO_EE_ORIGIN_ZEROCOPY);
    CHECK_EQ(ee.ee_errno, 0);
    CHECK_EQ(ee.ee_code, SO_EE_CODE_ZEROCOPY_COPIED);
    CHECK_EQ(ee.ee_info, 0);
    CHECK_EQ(ee.ee_data, 0);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(send(fd[0], buf, sizeof(buf), MSG_ZEROCOPY), sizeof(buf));
        CHECK_EQ(recv(fd[1], buf, sizeof(buf), MSG_WAITALL), sizeof(buf));
    }
    /* Usually joined. */
    do {
        CHECK_EQ(read_error(fd[0], &ee, buf, 1, NULL, NULL), 0);
    } while (ee.ee_data != 2);
    CHECK_EQ(get(fd[0], SO_ERROR), 0);
    close(fd[0]);
    close(fd[1]);
    CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, u));
    CHECK_ERR(SET(u[0], SO_ZEROCOPY, 1), EOPNOTSUPP);
    close(u[0]);
    close(u[1]);
}

TEST(icmp_errors_are_queued_for_who_asks)
{
    struct sockaddr_in to, mine, off = {0}, name = {0};
    struct sock_extended_err ee = {0};
    int closed = udp(&to), fd = udp(&mine), v;
    char buf[16] = "";

    close(closed);
    CHECK_OK(setsockopt(fd, SOL_IP, IP_RECVERR, &(int){1}, sizeof(int)));
    CHECK_EQ(sendto(fd, "hello", 5, 0, (void *)&to, sizeof(to)), 5);
    CHECK_EQ(read_error(fd, &ee, buf, sizeof(buf), &off, NULL), 5);
    CHECK_EQ(memcmp(buf, "hello", 5), 0);
    CHECK_EQ(ee.ee_errno, ECONNREFUSED);
    CHECK_EQ(ee.ee_origin, SO_EE_ORIGIN_ICMP);
    CHECK_EQ(ee.ee_type, ICMP_DEST_UNREACH);
    CHECK_EQ(ee.ee_code, ICMP_PORT_UNREACH);
    CHECK_EQ(off.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
    CHECK_ERR(recv(fd, buf, 1, MSG_ERRQUEUE), EAGAIN);
    v = get(fd, SO_ERROR);
    CHECK(v == 0 || v == ECONNREFUSED);
    (void)name;
    close(fd);
}

TEST(time_stamps_of_both_directions)
{
    struct sockaddr_in a, b;
    int rx = udp(&a), tx = udp(&b), stamps = 0, found = 0;
    struct sock_extended_err ee = {0};
    char buf[16], control[256];
    struct iovec iov = {buf, sizeof(buf)};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};

    CHECK_OK(SET(rx, SO_TIMESTAMPING, SOF_TIMESTAMPING_RX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE));
    CHECK_OK(
        SET(tx, SO_TIMESTAMPING,
            SOF_TIMESTAMPING_TX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE | SOF_TIMESTAMPING_OPT_ID | SOF_TIMESTAMPING_OPT_TSONLY));
    CHECK_ERR(SET(tx, SO_TIMESTAMPING, 1 << 30), EINVAL);
    for (unsigned int id = 0; id < 2; id++) {
        CHECK_EQ(sendto(tx, "x", 1, 0, (void *)&a, sizeof(a)), 1);
        CHECK_EQ(read_error(tx, &ee, buf, sizeof(buf), NULL, &stamps), 0);
        CHECK_EQ(stamps, (int)id + 1);
        CHECK_EQ(ee.ee_errno, ENOMSG);
        CHECK_EQ(ee.ee_origin, SO_EE_ORIGIN_TIMESTAMPING);
        CHECK_EQ(ee.ee_info, SCM_TSTAMP_SND);
        CHECK_EQ(ee.ee_data, id);
    }
    /* Linux takes a moment to begin with it. */
    for (int i = 0; i < 10000 && !found; i++) {
        m.msg_controllen = sizeof(control);
        CHECK_EQ(recvmsg(rx, &m, 0), 1);
        for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c))
            found += c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_TIMESTAMPING &&
                     ((struct timespec *)CMSG_DATA(c))->tv_sec > 1000000000;
        usleep(1000);
        CHECK_EQ(sendto(tx, "x", 1, 0, (void *)&a, sizeof(a)), 1);
    }
    CHECK_EQ(found, 1);
    close(rx);
    close(tx);
}

/* Attaches a program that keeps what its last instructions say of datagrams whose first byte is 'a'. */
static int attach(int fd, unsigned int keep)
{
    struct sock_filter insns[] = {
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 8), /* behind UDP's header */
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 'a', 0, 1),
        BPF_STMT(BPF_RET | BPF_K, keep),
        BPF_STMT(BPF_RET | BPF_K, 0),
    };
    struct sock_fprog prog = {4, insns};

    return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog));
}

TEST(filters_drop_and_cut)
{
    struct sockaddr_in a;
    int fd = udp(&a), tx = socket(AF_INET, SOCK_DGRAM, 0);
    struct sock_filter bad[] = {BPF_STMT(BPF_LD | BPF_MEM, 3), BPF_STMT(BPF_RET | BPF_A, 0)};
    struct sock_fprog prog = {2, bad};
    struct sock_filter got[8];
    socklen_t len = 0;
    char buf[16];

    CHECK_ERR(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog)), EINVAL);
    bad[0] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_B | BPF_ABS, (unsigned int)SKF_AD_OFF + 200);
    CHECK_ERR(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog)), EINVAL);
    CHECK_ERR(SET(fd, SO_DETACH_FILTER, 0), ENOENT);
    CHECK_OK(attach(fd, 8 + 2));
    CHECK_OK(getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, NULL, &len));
    CHECK_EQ(len, 4);
    CHECK_OK(getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, got, &len));
    CHECK_EQ(got[1].k, 'a');
    CHECK_EQ(sendto(tx, "bcd", 3, 0, (void *)&a, sizeof(a)), 3);
    CHECK_EQ(sendto(tx, "abc", 3, 0, (void *)&a, sizeof(a)), 3);
    CHECK_EQ(recv(fd, buf, sizeof(buf), 0), 2);
    CHECK_EQ(buf[0], 'a');
    CHECK_ERR(recv(fd, buf, sizeof(buf), MSG_DONTWAIT), EAGAIN);
    CHECK_OK(SET(fd, SO_DETACH_FILTER, 0));
    CHECK_EQ(sendto(tx, "bcd", 3, 0, (void *)&a, sizeof(a)), 3);
    CHECK_EQ(recv(fd, buf, sizeof(buf), 0), 3);
    CHECK_OK(attach(fd, 100));
    CHECK_OK(SET(fd, SO_LOCK_FILTER, 1));
    CHECK_ERR(SET(fd, SO_DETACH_FILTER, 0), EPERM);
    CHECK_ERR(attach(fd, 1), EPERM);
    CHECK_ERR(SET(fd, SO_LOCK_FILTER, 0), EPERM);
    close(fd);
    close(tx);
}

TEST(datagrams_of_unix_sockets_are_filtered)
{
    struct sock_filter insns[] = {BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 'y', 0, 1),
                                  BPF_STMT(BPF_RET | BPF_K, 100), BPF_STMT(BPF_RET | BPF_K, 0)};
    struct sock_fprog prog = {4, insns};
    int fd[2];
    char c;

    CHECK_OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, fd));
    CHECK_OK(setsockopt(fd[1], SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog)));
    CHECK_EQ(write(fd[0], "n", 1), 1);
    CHECK_EQ(write(fd[0], "y", 1), 1);
    CHECK_EQ(read(fd[1], &c, 1), 1);
    CHECK_EQ(c, 'y');
    close(fd[0]);
    close(fd[1]);
}

/* Of the sockets, the one that has something to read; it is read. */
static int who_got(int *fd, int n)
{
    char c;

    for (int i = 0; i < n; i++)
        if (recv(fd[i], &c, 1, MSG_DONTWAIT) == 1)
            return i;
    return -1;
}

TEST(a_flow_stays_with_one_socket_of_a_group)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof(a);
    int fd[4], tx, first;
    bool used[4] = {false};

    for (int i = 0; i < 4; i++) {
        fd[i] = socket(AF_INET, SOCK_DGRAM, 0);
        CHECK_OK(SET(fd[i], SO_REUSEPORT, 1));
        CHECK_OK(bind(fd[i], (void *)&a, sizeof(a)));
        CHECK_OK(getsockname(fd[i], (void *)&a, &len));
    }
    for (int flow = 0; flow < 64; flow++) {
        tx = socket(AF_INET, SOCK_DGRAM, 0);
        CHECK_EQ(sendto(tx, "x", 1, 0, (void *)&a, sizeof(a)), 1);
        first = who_got(fd, 4);
        CHECK(first >= 0);
        used[first] = true;
        for (int i = 0; i < 4; i++) {
            CHECK_EQ(sendto(tx, "x", 1, 0, (void *)&a, sizeof(a)), 1);
            CHECK_EQ(who_got(fd, 4), first);
        }
        close(tx);
    }
    CHECK(used[0] + used[1] + used[2] + used[3] > 1);
    for (int i = 0; i < 4; i++)
        close(fd[i]);
}

TEST(a_program_chooses_among_a_group)
{
    struct sock_filter insns[] = {BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0), BPF_STMT(BPF_ALU | BPF_SUB | BPF_K, '0'),
                                  BPF_STMT(BPF_RET | BPF_A, 0)};
    struct sock_fprog prog = {3, insns};
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof(a);
    int fd[3], tx = socket(AF_INET, SOCK_DGRAM, 0);

    for (int i = 0; i < 3; i++) {
        fd[i] = socket(AF_INET, SOCK_DGRAM, 0);
        CHECK_OK(SET(fd[i], SO_REUSEPORT, 1));
        if (i == 0)
            CHECK_OK(setsockopt(fd[i], SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &prog, sizeof(prog)));
        CHECK_OK(bind(fd[i], (void *)&a, sizeof(a)));
        CHECK_OK(getsockname(fd[i], (void *)&a, &len));
    }
    for (int i = 0; i < 9; i++) {
        CHECK_EQ(sendto(tx, &"012"[i % 3], 1, 0, (void *)&a, sizeof(a)), 1);
        CHECK_EQ(who_got(fd, 3), i % 3);
    }
    for (int i = 0; i < 3; i++)
        close(fd[i]);
    close(tx);
}

TEST(options_that_are_kept)
{
    static const struct {
        int name, value, want;
    } kept[] = {{49 /* SO_INCOMING_CPU */, 0, 0},     {47 /* SO_MAX_PACING_RATE */, 100000, 100000},
                {41 /* SO_WIFI_STATUS */, 1, 1},      {43 /* SO_NOFCS */, 1, 1},
                {45 /* SO_SELECT_ERR_QUEUE */, 1, 1}, {72 /* SO_BUF_LOCK */, 1, 1}};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++) {
        int r = SET(fd, kept[i].name, kept[i].value);

        if (r < 0 && errno == ENOPROTOOPT)
            continue; /* an older kernel */
        CHECK_OK(r);
        CHECK_EQ(get(fd, kept[i].name), kept[i].want);
    }
    CHECK_ERR(SET(fd, SO_BUSY_POLL, -1), EINVAL);
    CHECK_ERR(SET(fd, 50 /* SO_ATTACH_BPF */, -1), EBADF);
    close(fd);
}

TEST_MAIN()
