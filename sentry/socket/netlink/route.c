/* NETLINK_ROUTE: links, addresses and routes of a namespace with lo alone. It can be looked at and not changed. */
#include "sentry/socket/inet_loopback/inet.h"
#include "sentry/socket/netlink/netlink.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <string.h>

#define LO_FLAGS (IFF_UP | IFF_LOOPBACK | IFF_RUNNING | 0x10000 /* IFF_LOWER_UP */)

static void put_link(struct nl_reply *r, uint16_t flags)
{
    struct ifinfomsg info = {
        .ifi_family = AF_UNSPEC, .ifi_type = ARPHRD_LOOPBACK, .ifi_index = INET_LO_INDEX, .ifi_flags = LO_FLAGS};
    struct rtnl_link_stats64 stats64 = {0};
    struct rtnl_link_stats stats = {0};
    uint8_t mac[6] = {0}, zero = 0, one = 1;

    nl_begin(r, RTM_NEWLINK, flags, &info, sizeof(info));
    nl_attr_str(r, IFLA_IFNAME, "lo");
    nl_attr_u32(r, IFLA_TXQLEN, 1000);
    nl_attr(r, IFLA_OPERSTATE, &zero, 1);
    nl_attr(r, IFLA_LINKMODE, &zero, 1);
    nl_attr_u32(r, IFLA_MTU, INET_LO_MTU);
    nl_attr_u32(r, IFLA_MIN_MTU, 0);
    nl_attr_u32(r, IFLA_MAX_MTU, 0);
    nl_attr_u32(r, IFLA_GROUP, 0);
    nl_attr_u32(r, IFLA_PROMISCUITY, 0);
    nl_attr_u32(r, IFLA_NUM_TX_QUEUES, 1);
    nl_attr_u32(r, IFLA_NUM_RX_QUEUES, 1);
    nl_attr(r, IFLA_CARRIER, &one, 1);
    nl_attr_str(r, IFLA_QDISC, "noqueue");
    nl_attr(r, IFLA_ADDRESS, mac, sizeof(mac));
    nl_attr(r, IFLA_BROADCAST, mac, sizeof(mac));
    nl_attr(r, IFLA_STATS64, &stats64, sizeof(stats64));
    nl_attr(r, IFLA_STATS, &stats, sizeof(stats));
    nl_end(r);
}

/* A message's attribute, or NULL. */
static const void *find_attr(const char *attrs, size_t n, uint16_t type, size_t *len)
{
    while (n >= NLA_HDRLEN) {
        struct nlattr a;

        memcpy(&a, attrs, sizeof(a));
        if (a.nla_len < NLA_HDRLEN || a.nla_len > n)
            return NULL;
        if ((a.nla_type & NLA_TYPE_MASK) == type) {
            *len = a.nla_len - NLA_HDRLEN;
            return attrs + NLA_HDRLEN;
        }
        if (NLA_ALIGN(a.nla_len) > n)
            return NULL;
        attrs += NLA_ALIGN(a.nla_len);
        n -= NLA_ALIGN(a.nla_len);
    }
    return NULL;
}

static int get_link(const char *body, size_t n, bool dump, struct nl_reply *r)
{
    struct ifinfomsg info = {0};
    const char *name;
    size_t len = 0;

    if (dump) {
        put_link(r, NLM_F_MULTI);
        return 1;
    }
    if (n < sizeof(info))
        return -EINVAL;
    memcpy(&info, body, sizeof(info));
    name = find_attr(body + NLMSG_ALIGN(sizeof(info)), n - sizeof(info), IFLA_IFNAME, &len);
    if (info.ifi_index <= 0 && !name)
        return -EINVAL;
    if (info.ifi_index > 0 ? info.ifi_index != INET_LO_INDEX : len < 3 || strncmp(name, "lo", len) != 0)
        return -ENODEV;
    put_link(r, 0);
    return 0;
}

static void put_addr(struct nl_reply *r, int family)
{
    struct ifaddrmsg msg = {.ifa_family = (uint8_t)family,
                            .ifa_prefixlen = family == AF_INET ? 8 : 128,
                            .ifa_flags = IFA_F_PERMANENT,
                            .ifa_scope = RT_SCOPE_HOST,
                            .ifa_index = INET_LO_INDEX};
    struct ifa_cacheinfo forever = {.ifa_prefered = UINT32_MAX, .ifa_valid = UINT32_MAX};
    uint32_t v4 = htonl(INADDR_LOOPBACK);

    nl_begin(r, RTM_NEWADDR, NLM_F_MULTI, &msg, sizeof(msg));
    if (family == AF_INET) {
        nl_attr(r, IFA_ADDRESS, &v4, sizeof(v4));
        nl_attr(r, IFA_LOCAL, &v4, sizeof(v4));
        nl_attr_str(r, IFA_LABEL, "lo");
    } else {
        nl_attr(r, IFA_ADDRESS, &in6addr_loopback, sizeof(in6addr_loopback));
    }
    nl_attr_u32(r, IFA_FLAGS, IFA_F_PERMANENT);
    nl_attr(r, IFA_CACHEINFO, &forever, sizeof(forever));
    nl_end(r);
}

/* The local table's routes. */
static void put_route(struct nl_reply *r, uint16_t flags, int family, int prefix, int type, const void *dst)
{
    struct rtmsg msg = {.rtm_family = (uint8_t)family,
                        .rtm_dst_len = (uint8_t)prefix,
                        .rtm_table = RT_TABLE_LOCAL,
                        .rtm_protocol = RTPROT_KERNEL,
                        .rtm_scope = type == RTN_BROADCAST ? RT_SCOPE_LINK
                                     : family == AF_INET   ? RT_SCOPE_HOST
                                                           : RT_SCOPE_UNIVERSE,
                        .rtm_type = (uint8_t)type};
    uint32_t lo = htonl(INADDR_LOOPBACK);

    nl_begin(r, RTM_NEWROUTE, flags, &msg, sizeof(msg));
    nl_attr_u32(r, RTA_TABLE, RT_TABLE_LOCAL);
    nl_attr(r, RTA_DST, dst, family == AF_INET ? 4 : 16);
    if (family == AF_INET)
        nl_attr(r, RTA_PREFSRC, &lo, sizeof(lo));
    else
        nl_attr_u32(r, RTA_PRIORITY, 0);
    nl_attr_u32(r, RTA_OIF, INET_LO_INDEX);
    nl_end(r);
}

static void put_routes(struct nl_reply *r, int family)
{
    uint32_t net = htonl(0x7f000000), host = htonl(INADDR_LOOPBACK), last = htonl(0x7fffffff);

    if (family == AF_INET || family == AF_UNSPEC) {
        put_route(r, NLM_F_MULTI, AF_INET, 8, RTN_LOCAL, &net);
        put_route(r, NLM_F_MULTI, AF_INET, 32, RTN_LOCAL, &host);
        put_route(r, NLM_F_MULTI, AF_INET, 32, RTN_BROADCAST, &last);
    }
    if (family == AF_INET6 || family == AF_UNSPEC)
        put_route(r, NLM_F_MULTI, AF_INET6, 128, RTN_LOCAL, &in6addr_loopback);
}

/* "How do I get to this address?" */
static int get_route(const char *body, size_t n, struct nl_reply *r)
{
    struct in6_addr addr = {0};
    struct rtmsg msg;
    const void *dst;
    size_t len = 0;

    if (n < sizeof(msg))
        return -EINVAL;
    memcpy(&msg, body, sizeof(msg));
    dst = find_attr(body + NLMSG_ALIGN(sizeof(msg)), n - sizeof(msg), RTA_DST, &len);
    if (msg.rtm_family == AF_INET6 && dst && len >= 16) {
        memcpy(&addr, dst, 16);
        if (!inet_is_local(&addr))
            return -ENETUNREACH;
        put_route(r, 0, AF_INET6, 128, RTN_LOCAL, &addr);
        return 0;
    }
    if (msg.rtm_family != AF_INET || !dst || len < 4)
        return -EINVAL;
    addr.s6_addr[10] = addr.s6_addr[11] = 0xff;
    memcpy(&addr.s6_addr[12], dst, 4);
    if (!inet_is_local(&addr))
        return -ENETUNREACH;
    put_route(r, 0, AF_INET, 32, RTN_LOCAL, dst);
    return 0;
}

int rtnetlink_request(struct task *t, const struct nlmsghdr *h, const void *body, size_t n, struct nl_reply *out)
{
    bool dump = (h->nlmsg_flags & NLM_F_DUMP) == NLM_F_DUMP;
    uint8_t family = n ? *(const uint8_t *)body : AF_UNSPEC;

    if (h->nlmsg_type > RTM_MAX)
        return -EOPNOTSUPP;
    /* Each object has four types: NEW, DEL, GET, SET. */
    if ((h->nlmsg_type & 3) != 2)
        return -EPERM;
    if (n < sizeof(struct rtgenmsg))
        return 0; /* too short to mean anything, as Linux sees it */
    switch (h->nlmsg_type) {
    case RTM_GETLINK:
        return get_link(body, n, dump, out);
    case RTM_GETADDR:
        if (!dump)
            return -EOPNOTSUPP;
        if (family == AF_INET || family == AF_UNSPEC)
            put_addr(out, AF_INET);
        if (family == AF_INET6 || family == AF_UNSPEC)
            put_addr(out, AF_INET6);
        return 1;
    case RTM_GETROUTE:
        if (!dump)
            return get_route(body, n, out);
        put_routes(out, family);
        return 1;
    case RTM_GETNEIGH:
    case RTM_GETRULE:
    case RTM_GETQDISC:
    case RTM_GETTCLASS:
    case RTM_GETTFILTER:
    case RTM_GETNETCONF:
        return dump ? 1 : -EOPNOTSUPP;
    default:
        return -EOPNOTSUPP;
    }
}
