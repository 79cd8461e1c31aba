/* NETLINK_SOCK_DIAG, as `ss` asks it, and the tools of iproute2 where they are installed. */
#include "guest_test.h"

#include <arpa/inet.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define LISTEN_STATE 10

static char reply[1 << 20];

static int listener(struct sockaddr_in *a)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    socklen_t len = sizeof(*a);

    *a = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    CHECK_OK(bind(fd, (void *)a, sizeof(*a)));
    CHECK_OK(listen(fd, 7));
    CHECK_OK(getsockname(fd, (void *)a, &len));
    return fd;
}

/* Sends a request and gathers the whole answer: its length. */
static ssize_t ask(const void *req, size_t n)
{
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
    bool dump = (((const struct nlmsghdr *)req)->nlmsg_flags & NLM_F_DUMP) == NLM_F_DUMP, done = false;
    size_t len = 0;

    CHECK_OK(fd);
    CHECK_EQ(send(fd, req, n, 0), n);
    while (!done) {
        ssize_t r = recv(fd, reply + len, sizeof(reply) - len, 0), left = r;

        CHECK(r > 0);
        for (struct nlmsghdr *h = (void *)(reply + len); NLMSG_OK(h, left); h = NLMSG_NEXT(h, left))
            done |= !dump || h->nlmsg_type == NLMSG_DONE || h->nlmsg_type == NLMSG_ERROR;
        len += r;
    }
    close(fd);
    return len;
}

static int error_of(const void *req, size_t n)
{
    struct nlmsghdr *h = (void *)reply;

    ask(req, n);
    /* A dump that has begun tells it at its end. */
    CHECK(h->nlmsg_type == NLMSG_ERROR || h->nlmsg_type == NLMSG_DONE);
    return *(int *)NLMSG_DATA(h);
}

struct inet_req {
    struct nlmsghdr h;
    struct inet_diag_req_v2 r;
};

static struct inet_req tcp_request(int flags, unsigned int states)
{
    return (struct inet_req){
        .h = {.nlmsg_len = sizeof(struct inet_req), .nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST | flags},
        .r = {
            .sdiag_family = AF_INET, .sdiag_protocol = IPPROTO_TCP, .idiag_states = states, .id = {.idiag_cookie = {-1, -1}}}};
}

/* The message about the socket with that port, NULL: none. */
static struct nlmsghdr *with_port(ssize_t len, in_port_t port)
{
    for (struct nlmsghdr *h = (void *)reply; NLMSG_OK(h, len); h = NLMSG_NEXT(h, len)) {
        struct inet_diag_msg *m = NLMSG_DATA(h);

        if (h->nlmsg_type == SOCK_DIAG_BY_FAMILY && m->id.idiag_sport == port)
            return h;
    }
    return NULL;
}

static struct rtattr *attr_of(struct nlmsghdr *h, size_t fixed, int type)
{
    struct rtattr *a = (void *)((char *)NLMSG_DATA(h) + NLMSG_ALIGN(fixed));
    int left = h->nlmsg_len - NLMSG_LENGTH(fixed);

    for (; RTA_OK(a, left); a = RTA_NEXT(a, left))
        if (a->rta_type == type)
            return a;
    return NULL;
}

TEST(listeners_are_dumped_by_state)
{
    struct inet_req req = tcp_request(NLM_F_DUMP, 1 << LISTEN_STATE);
    struct sockaddr_in a;
    int fd = listener(&a);
    struct inet_diag_msg *m;
    struct nlmsghdr *h;
    struct stat st;

    req.r.idiag_ext = 1 << (INET_DIAG_INFO - 1) | 1 << (INET_DIAG_SKMEMINFO - 1) | 1 << (INET_DIAG_CONG - 1);
    h = with_port(ask(&req, sizeof(req)), a.sin_port);
    CHECK(h);
    m = NLMSG_DATA(h);
    CHECK_EQ(m->idiag_state, LISTEN_STATE);
    CHECK_EQ(m->idiag_wqueue, 7);
    CHECK_EQ(m->id.idiag_src[0], a.sin_addr.s_addr);
    CHECK_OK(fstat(fd, &st));
    CHECK_EQ(m->idiag_inode, st.st_ino);
    CHECK_EQ(m->idiag_uid, getuid());
    CHECK(attr_of(h, sizeof(*m), INET_DIAG_INFO));
    CHECK_EQ(RTA_PAYLOAD(attr_of(h, sizeof(*m), INET_DIAG_SKMEMINFO)), 9 * 4);
    CHECK(attr_of(h, sizeof(*m), INET_DIAG_CONG));
    req.r.idiag_states = 1 << TCP_ESTABLISHED;
    CHECK(!with_port(ask(&req, sizeof(req)), a.sin_port));
    close(fd);
}

TEST(one_connection_is_found_by_its_addresses)
{
    struct inet_req req = tcp_request(0, -1);
    struct sockaddr_in a, me;
    socklen_t len = sizeof(me), clen = 8;
    uint64_t cookie;
    int l = listener(&a), c = socket(AF_INET, SOCK_STREAM, 0), s;
    struct inet_diag_msg *m;
    struct nlmsghdr *h;

    CHECK_OK(connect(c, (void *)&a, sizeof(a)));
    s = accept(l, NULL, NULL);
    CHECK_OK(s);
    CHECK_EQ(write(s, "hello", 5), 5);
    CHECK_OK(getsockname(c, (void *)&me, &len));
    CHECK_OK(getsockopt(c, SOL_SOCKET, SO_COOKIE, &cookie, &clen));
    req.r.id.idiag_sport = me.sin_port;
    req.r.id.idiag_dport = a.sin_port;
    req.r.id.idiag_src[0] = req.r.id.idiag_dst[0] = htonl(INADDR_LOOPBACK);
    h = with_port(ask(&req, sizeof(req)), me.sin_port);
    CHECK(h);
    m = NLMSG_DATA(h);
    CHECK_EQ(m->idiag_state, TCP_ESTABLISHED);
    CHECK_EQ(m->idiag_rqueue, 5);
    CHECK_EQ(m->id.idiag_dport, a.sin_port);
    CHECK_EQ(m->id.idiag_cookie[0], (uint32_t)cookie);
    req.r.id.idiag_cookie[0] = m->id.idiag_cookie[0] + 1;
    req.r.id.idiag_cookie[1] = 0;
    CHECK_EQ(error_of(&req, sizeof(req)), -ENOENT);
    req.r.id.idiag_cookie[0] = req.r.id.idiag_cookie[1] = -1;
    req.r.id.idiag_sport = htons(1);
    CHECK_EQ(error_of(&req, sizeof(req)), -ENOENT);
    close(l);
    close(c);
    close(s);
}

TEST(a_program_chooses_what_is_dumped)
{
    struct {
        struct inet_req r;
        struct rtattr a;
        struct inet_diag_bc_op op[4];
    } req = {.r = tcp_request(NLM_F_DUMP, -1),
             .a = {.rta_len = sizeof(struct rtattr) + sizeof(req.op), .rta_type = INET_DIAG_REQ_BYTECODE}};
    struct sockaddr_in a, b;
    int fa = listener(&a), fb = listener(&b);
    ssize_t n;

    req.r.h.nlmsg_len = sizeof(req);
    req.op[0] = (struct inet_diag_bc_op){INET_DIAG_BC_S_GE, 8, 20};
    req.op[1].no = ntohs(a.sin_port);
    req.op[2] = (struct inet_diag_bc_op){INET_DIAG_BC_S_LE, 8, 12};
    req.op[3].no = ntohs(a.sin_port);
    n = ask(&req, sizeof(req));
    CHECK(with_port(n, a.sin_port));
    CHECK(!with_port(n, b.sin_port));
    req.op[2].yes = 3;
    CHECK_EQ(error_of(&req, sizeof(req)), -EINVAL);
    close(fa);
    close(fb);
}

TEST(unix_sockets_tell_their_peers)
{
    struct {
        struct nlmsghdr h;
        struct unix_diag_req r;
    } req = {.h = {.nlmsg_len = sizeof(req), .nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST},
             .r = {.sdiag_family = AF_UNIX, .udiag_show = UDIAG_SHOW_PEER | UDIAG_SHOW_RQLEN, .udiag_cookie = {-1, -1}}};
    struct nlmsghdr *h = (void *)reply;
    struct stat st[2];
    struct rtattr *peer;
    int fd[2];

    CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, fd));
    CHECK_OK(fstat(fd[0], &st[0]));
    CHECK_OK(fstat(fd[1], &st[1]));
    req.r.udiag_ino = st[0].st_ino;
    ask(&req, sizeof(req));
    CHECK_EQ(h->nlmsg_type, SOCK_DIAG_BY_FAMILY);
    peer = attr_of(h, sizeof(struct unix_diag_msg), UNIX_DIAG_PEER);
    CHECK(peer);
    CHECK_EQ(*(uint32_t *)RTA_DATA(peer), st[1].st_ino);
    CHECK(attr_of(h, sizeof(struct unix_diag_msg), UNIX_DIAG_SHUTDOWN));
    close(fd[0]);
    close(fd[1]);
}

TEST(what_is_not_there_is_refused)
{
    struct inet_req req = tcp_request(NLM_F_DUMP, -1);

    req.r.sdiag_family = 200;
    CHECK_EQ(error_of(&req, sizeof(req)), -EINVAL);
    req.r.sdiag_family = AF_APPLETALK;
    CHECK_EQ(error_of(&req, sizeof(req)), -ENOENT);
    req.r.sdiag_family = AF_INET;
    req.r.sdiag_protocol = 200;
    CHECK_EQ(error_of(&req, sizeof(req)), -ENOENT);
    req.h.nlmsg_type = 99;
    CHECK_EQ(error_of(&req, sizeof(req)), -EINVAL);
}

TEST(device_events_can_be_waited_for)
{
    struct sockaddr_nl a = {.nl_family = AF_NETLINK, .nl_groups = 1};
    int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT), on = 1;
    char buf[64];

    CHECK_OK(fd);
    CHECK_OK(setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)));
    CHECK_OK(bind(fd, (void *)&a, sizeof(a)));
    CHECK_ERR(recv(fd, buf, sizeof(buf), 0), EAGAIN);
    close(fd);
}

/* Runs a command; `out` gets what it prints. Its exit status. */
static int run(const char *cmd, char *out, size_t size)
{
    FILE *f = popen(cmd, "r");
    size_t n = fread(out, 1, size - 1, f);

    out[n] = 0;
    return pclose(f);
}

TEST(tools_of_iproute2_work)
{
    static const char *const fine[] = {
        "ss -tanup",
        "ss -xap",
        "ss -tiem",
        "ss -0ap",
        "ss -s",
        "ss -wa",
        "ss -f netlink -a",
        "ip rule",
        "ip -6 rule",
        "ip neigh",
        "ip -s link",
        "ip -d addr",
        "ip route show table all",
        "ip -6 route show",
        "ip netconf",
        "ip -4 maddr show",
        "ip nexthop",
    };
    struct sockaddr_in a;
    char out[65536], cmd[128];
    int fd;

    if (access("/usr/bin/ss", X_OK) != 0)
        SKIP("no iproute2");
    fd = listener(&a);
    for (size_t i = 0; i < sizeof(fine) / sizeof(fine[0]); i++) {
        snprintf(cmd, sizeof(cmd), "PATH=/usr/bin:/bin:/usr/sbin:/sbin; %s 2>&1 >/dev/null", fine[i]);
        if (run(cmd, out, sizeof(out)) != 0 || out[0])
            guest_test_fail(__FILE__, __LINE__, "%s: %.200s", fine[i], out);
    }
    snprintf(cmd, sizeof(cmd), "/usr/bin/ss -Htln sport = :%d", ntohs(a.sin_port));
    CHECK_EQ(run(cmd, out, sizeof(out)), 0);
    CHECK(strncmp(out, "LISTEN 0      7", 15) == 0);
    CHECK_EQ(run("/usr/bin/ss -Htlnp", out, sizeof(out)), 0);
    CHECK(strstr(out, "pid="));
    CHECK_EQ(run("PATH=/bin:/sbin:/usr/sbin ip -o route get 127.1.2.3", out, sizeof(out)), 0);
    CHECK(strstr(out, "local 127.1.2.3 dev lo src 127.0.0.1 uid 0"));
    CHECK(strstr(out, "cache <local>"));
    close(fd);
}

TEST_MAIN()
