/* NETLINK_ROUTE as libc uses it, and the interface ioctls. */
#include "guest_test.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

TEST(getifaddrs_finds_lo)
{
    struct ifaddrs *list, *i;
    bool v4 = false;

    CHECK_OK(getifaddrs(&list));
    for (i = list; i; i = i->ifa_next) {
        if (!i->ifa_addr || strcmp(i->ifa_name, "lo") != 0 || i->ifa_addr->sa_family != AF_INET)
            continue;
        v4 = ((struct sockaddr_in *)i->ifa_addr)->sin_addr.s_addr == htonl(INADDR_LOOPBACK);
        CHECK(i->ifa_flags & IFF_LOOPBACK);
    }
    freeifaddrs(list);
    CHECK(v4);
}

TEST(links_are_dumped)
{
    struct {
        struct nlmsghdr h;
        struct rtgenmsg g;
    } req = {
        .h = {.nlmsg_len = sizeof(req), .nlmsg_type = RTM_GETLINK, .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP, .nlmsg_seq = 77}};
    struct sockaddr_nl a = {.nl_family = AF_NETLINK};
    static char buf[65536];
    bool lo = false, done = false;
    socklen_t len = sizeof(a);
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    ssize_t n;

    CHECK_OK(fd);
    CHECK_OK(bind(fd, (void *)&a, sizeof(a)));
    CHECK_OK(getsockname(fd, (void *)&a, &len));
    CHECK(a.nl_pid != 0);
    CHECK_EQ(send(fd, &req, sizeof(req), 0), sizeof(req));
    while (!done) {
        n = recv(fd, buf, sizeof(buf), 0);
        CHECK(n > 0);
        for (struct nlmsghdr *h = (void *)buf; NLMSG_OK(h, n); h = NLMSG_NEXT(h, n)) {
            CHECK_EQ(h->nlmsg_seq, 77);
            CHECK_EQ(h->nlmsg_pid, a.nl_pid);
            if (h->nlmsg_type == NLMSG_DONE)
                done = true;
            else if (h->nlmsg_type == RTM_NEWLINK)
                lo |= ((struct ifinfomsg *)NLMSG_DATA(h))->ifi_index == 1;
        }
    }
    CHECK(lo);
    close(fd);
}

TEST(unknown_requests_are_answered)
{
    struct {
        struct nlmsghdr h;
        struct rtgenmsg g;
    } req = {.h = {.nlmsg_len = sizeof(req), .nlmsg_type = 0x300, .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK, .nlmsg_seq = 5}};
    struct {
        struct nlmsghdr h;
        struct nlmsgerr e;
    } reply;
    int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);

    CHECK_OK(fd);
    CHECK_EQ(send(fd, &req, sizeof(req), 0), sizeof(req));
    CHECK(recv(fd, &reply, sizeof(reply), 0) >= (ssize_t)sizeof(reply));
    CHECK_EQ(reply.h.nlmsg_type, NLMSG_ERROR);
    CHECK_EQ(reply.e.error, -EOPNOTSUPP);
    CHECK_ERR(recv(fd, &reply, sizeof(reply), MSG_DONTWAIT), EAGAIN);
    close(fd);
}

/* Asks and receives the whole answer, which is short. */
static ssize_t ask(const void *req, size_t n, void *buf, size_t size)
{
    int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
    ssize_t r;

    CHECK_OK(fd);
    CHECK_EQ(send(fd, req, n, 0), n);
    r = recv(fd, buf, size, 0);
    CHECK(r > 0);
    close(fd);
    return r;
}

TEST(a_new_namespace_has_three_rules)
{
    struct {
        struct nlmsghdr h;
        struct rtmsg m;
    } req = {
        .h = {.nlmsg_len = sizeof(req), .nlmsg_type = RTM_GETRULE, .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP, .nlmsg_seq = 3},
        .m = {.rtm_family = AF_INET}};
    static char buf[65536];
    ssize_t n = ask(&req, sizeof(req), buf, sizeof(buf));
    bool table[256] = {false};

    for (struct nlmsghdr *h = (void *)buf; NLMSG_OK(h, n); h = NLMSG_NEXT(h, n)) {
        if (h->nlmsg_type == RTM_NEWRULE)
            table[((struct rtmsg *)NLMSG_DATA(h))->rtm_table] = true;
    }
    CHECK(table[RT_TABLE_LOCAL] && table[RT_TABLE_MAIN] && table[RT_TABLE_DEFAULT]);
}

TEST(the_route_to_a_loopback_address_is_local)
{
    struct {
        struct nlmsghdr h;
        struct rtmsg m;
        struct rtattr a;
        uint32_t dst;
    } req = {.h = {.nlmsg_len = sizeof(req), .nlmsg_type = RTM_GETROUTE, .nlmsg_flags = NLM_F_REQUEST, .nlmsg_seq = 4},
             .m = {.rtm_family = AF_INET, .rtm_dst_len = 32},
             .a = {.rta_len = sizeof(struct rtattr) + 4, .rta_type = RTA_DST},
             .dst = htonl(0x7f010203)};
    static char buf[65536];
    struct nlmsghdr *h = (void *)buf;

    ask(&req, sizeof(req), buf, sizeof(buf));
    CHECK_EQ(h->nlmsg_type, RTM_NEWROUTE);
    CHECK_EQ(((struct rtmsg *)NLMSG_DATA(h))->rtm_type, RTN_LOCAL);
}

TEST(raw_sockets_reach_the_loopback)
{
    struct sockaddr_in lo = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    /* An echo request with its checksum. */
    uint8_t echo[8] = {8, 0, 0xb2, 0xfe, 0x12, 0x34, 0x32, 0xcd}, buf[128];
    int fd = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
    ssize_t n;

    if (fd < 0) {
        CHECK_ERR(fd, EPERM);
        return;
    }
    CHECK_EQ(sendto(fd, echo, sizeof(echo), 0, (void *)&lo, sizeof(lo)), sizeof(echo));
    /* The request is heard, too. */
    do
        n = recv(fd, buf, sizeof(buf), 0);
    while (n >= 28 && (buf[20] != 0 || memcmp(buf + 24, echo + 4, 4) != 0));
    CHECK_EQ(n, 28);
    close(fd);
}

TEST(interface_ioctls)
{
    struct ifreq r = {.ifr_name = "lo"};
    struct ifreq list[8];
    struct ifconf c = {.ifc_len = sizeof(list), .ifc_req = list};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);

    CHECK_OK(ioctl(fd, SIOCGIFFLAGS, &r));
    CHECK(r.ifr_flags & IFF_LOOPBACK);
    CHECK_OK(ioctl(fd, SIOCGIFINDEX, &r));
    CHECK_EQ(r.ifr_ifindex, 1);
    CHECK_OK(ioctl(fd, SIOCGIFMTU, &r));
    CHECK_EQ(r.ifr_mtu, 65536);
    CHECK_OK(ioctl(fd, SIOCGIFADDR, &r));
    CHECK_EQ(((struct sockaddr_in *)&r.ifr_addr)->sin_addr.s_addr, htonl(INADDR_LOOPBACK));
    strcpy(r.ifr_name, "none9");
    CHECK_ERR(ioctl(fd, SIOCGIFFLAGS, &r), ENODEV);
    CHECK_OK(ioctl(fd, SIOCGIFCONF, &c));
    CHECK(c.ifc_len >= (int)sizeof(struct ifreq));
    CHECK_EQ(if_nametoindex("lo"), 1);
    close(fd);
}

TEST_MAIN()
