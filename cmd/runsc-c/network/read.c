/* Links, addresses, routes and neighbours of a namespace, by rtnetlink. */
#include "cmd/runsc-c/network/internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_addr.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <net/if_arp.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

struct reader {
    struct net_config *c;
    const char *full; /* what there was too much of */
};

static struct in6_addr address(int family, const void *data)
{
    struct in6_addr a = {0};

    if (family == AF_INET6) {
        memcpy(&a, data, sizeof(a));
        return a;
    }
    a.s6_addr[10] = a.s6_addr[11] = 0xff;
    memcpy(&a.s6_addr[12], data, 4);
    return a;
}

/* An attribute that is an address of `family`; false: absent, or too short. */
static bool attr_address(const struct nlattr *a, int family, struct in6_addr *out)
{
    if (!a || mnl_attr_get_payload_len(a) < (family == AF_INET ? 4 : 16))
        return false;
    *out = address(family, mnl_attr_get_payload(a));
    return true;
}

static struct in6_addr any(int family)
{
    static const uint8_t zero[16];

    return address(family, zero);
}

struct attrs {
    const struct nlattr *v[64];
};

static int collect(const struct nlattr *a, void *data)
{
    struct attrs *t = data;
    unsigned int type = mnl_attr_get_type(a);

    if (type < 64)
        t->v[type] = a;
    return MNL_CB_OK;
}

static uint32_t attr_u32(const struct nlattr *a, uint32_t otherwise)
{
    return a && mnl_attr_get_payload_len(a) >= 4 ? mnl_attr_get_u32(a) : otherwise;
}

static struct net_config_if *find_if(struct net_config *c, int index)
{
    for (uint32_t i = 0; i < c->nr_ifs; i++)
        if (c->ifs[i].index == index)
            return &c->ifs[i];
    return NULL;
}

/* Ethernet interfaces that are up. Others cannot be taken over: they have no frames that we understand. */
static int on_link(const struct nlmsghdr *h, void *data)
{
    const struct ifinfomsg *info = mnl_nlmsg_get_payload(h);
    struct reader *rd = data;
    struct net_config_if *out;
    struct attrs t = {{0}};

    if (mnl_attr_parse(h, sizeof(*info), collect, &t) < 0)
        return MNL_CB_ERROR;
    if (!(info->ifi_flags & IFF_UP) || info->ifi_type != ARPHRD_ETHER || !t.v[IFLA_IFNAME] || !t.v[IFLA_ADDRESS] ||
        mnl_attr_get_payload_len(t.v[IFLA_ADDRESS]) != 6)
        return MNL_CB_OK;
    /* A bridge's or a bond's member has no addresses of its own. */
    if (t.v[IFLA_MASTER])
        return MNL_CB_OK;
    if (rd->c->nr_ifs == NET_CONFIG_IFS) {
        rd->full = "interfaces";
        return MNL_CB_OK;
    }
    out = &rd->c->ifs[rd->c->nr_ifs++];
    out->index = info->ifi_index;
    out->fd = -1;
    out->mtu = attr_u32(t.v[IFLA_MTU], 1500);
    out->tx_queue_len = attr_u32(t.v[IFLA_TXQLEN], 1000);
    snprintf(out->name, sizeof(out->name), "%s", mnl_attr_get_str(t.v[IFLA_IFNAME]));
    memcpy(out->mac, mnl_attr_get_payload(t.v[IFLA_ADDRESS]), 6);
    return MNL_CB_OK;
}

static int on_addr(const struct nlmsghdr *h, void *data)
{
    const struct ifaddrmsg *msg = mnl_nlmsg_get_payload(h);
    struct reader *rd = data;
    struct net_config_addr *out;
    struct attrs t = {{0}};
    int family = msg->ifa_family;

    if (family != AF_INET && family != AF_INET6)
        return MNL_CB_OK;
    if (mnl_attr_parse(h, sizeof(*msg), collect, &t) < 0)
        return MNL_CB_ERROR;
    if (!find_if(rd->c, (int)msg->ifa_index))
        return MNL_CB_OK;
    if (rd->c->nr_addrs == NET_CONFIG_ADDRS) {
        rd->full = "addresses";
        return MNL_CB_OK;
    }
    out = &rd->c->addrs[rd->c->nr_addrs];
    *out = (struct net_config_addr){.ifindex = (int)msg->ifa_index, .plen = msg->ifa_prefixlen, .scope = msg->ifa_scope};
    out->flags = attr_u32(t.v[IFA_FLAGS], msg->ifa_flags);
    if (!attr_address(t.v[IFA_ADDRESS], family, &out->peer) && !attr_address(t.v[IFA_LOCAL], family, &out->peer))
        return MNL_CB_OK;
    if (!attr_address(t.v[IFA_LOCAL], family, &out->addr))
        out->addr = out->peer;
    attr_address(t.v[IFA_BROADCAST], family, &out->broadcast);
    if (t.v[IFA_LABEL])
        snprintf(out->label, sizeof(out->label), "%s", mnl_attr_get_str(t.v[IFA_LABEL]));
    rd->c->nr_addrs++;
    return MNL_CB_OK;
}

static void read_metrics(const struct nlattr *nest, struct net_config_route *out)
{
    const struct nlattr *a;

    mnl_attr_for_each_nested(a, nest)
    {
        if (mnl_attr_get_type(a) == RTAX_MTU)
            out->mtu = attr_u32(a, 0);
        else if (mnl_attr_get_type(a) == RTAX_ADVMSS)
            out->advmss = attr_u32(a, 0);
    }
}

/* Routes that somebody has set: those that the kernel derives from addresses come by themselves. */
static int on_route(const struct nlmsghdr *h, void *data)
{
    const struct rtmsg *msg = mnl_nlmsg_get_payload(h);
    struct reader *rd = data;
    struct net_config_route *out;
    struct attrs t = {{0}};
    int family = msg->rtm_family;
    uint32_t table;

    if ((family != AF_INET && family != AF_INET6) || msg->rtm_flags & RTM_F_CLONED)
        return MNL_CB_OK;
    if (mnl_attr_parse(h, sizeof(*msg), collect, &t) < 0)
        return MNL_CB_ERROR;
    table = attr_u32(t.v[RTA_TABLE], msg->rtm_table);
    if (table == RT_TABLE_LOCAL || msg->rtm_protocol == RTPROT_KERNEL || msg->rtm_type == RTN_MULTICAST)
        return MNL_CB_OK;
    if (t.v[RTA_OIF] && !find_if(rd->c, (int)attr_u32(t.v[RTA_OIF], 0)))
        return MNL_CB_OK;
    if (rd->c->nr_routes == NET_CONFIG_ROUTES) {
        rd->full = "routes";
        return MNL_CB_OK;
    }
    out = &rd->c->routes[rd->c->nr_routes];
    *out = (struct net_config_route){.plen = msg->rtm_dst_len,
                                     .tos = msg->rtm_tos,
                                     .protocol = msg->rtm_protocol,
                                     .scope = msg->rtm_scope,
                                     .type = msg->rtm_type,
                                     .table = table,
                                     .flags = msg->rtm_flags & RTNH_F_ONLINK};
    out->dst = any(family);
    attr_address(t.v[RTA_DST], family, &out->dst);
    attr_address(t.v[RTA_GATEWAY], family, &out->gateway);
    attr_address(t.v[RTA_PREFSRC], family, &out->prefsrc);
    out->ifindex = (int)attr_u32(t.v[RTA_OIF], 0);
    out->metric = attr_u32(t.v[RTA_PRIORITY], 0);
    if (t.v[RTA_METRICS])
        read_metrics(t.v[RTA_METRICS], out);
    if (out->type == RTN_UNICAST && !out->ifindex)
        return MNL_CB_OK; /* over several next hops: not ours to understand */
    rd->c->nr_routes++;
    return MNL_CB_OK;
}

static int on_neigh(const struct nlmsghdr *h, void *data)
{
    const struct ndmsg *msg = mnl_nlmsg_get_payload(h);
    struct reader *rd = data;
    struct net_config_neigh *out;
    struct attrs t = {{0}};

    if ((msg->ndm_family != AF_INET && msg->ndm_family != AF_INET6) || !(msg->ndm_state & NUD_PERMANENT) ||
        !find_if(rd->c, msg->ndm_ifindex))
        return MNL_CB_OK;
    if (mnl_attr_parse(h, sizeof(*msg), collect, &t) < 0)
        return MNL_CB_ERROR;
    if (rd->c->nr_neighs == NET_CONFIG_NEIGHS) {
        rd->full = "neighbours";
        return MNL_CB_OK;
    }
    out = &rd->c->neighs[rd->c->nr_neighs];
    out->ifindex = msg->ndm_ifindex;
    if (!t.v[NDA_LLADDR] || mnl_attr_get_payload_len(t.v[NDA_LLADDR]) != 6 ||
        !attr_address(t.v[NDA_DST], msg->ndm_family, &out->addr))
        return MNL_CB_OK;
    memcpy(out->mac, mnl_attr_get_payload(t.v[NDA_LLADDR]), 6);
    rd->c->nr_neighs++;
    return MNL_CB_OK;
}

int network_request(struct mnl_socket *nl, struct nlmsghdr *h, mnl_cb_t fn, void *arg)
{
    static unsigned int seq;
    char buf[32768] __attribute__((aligned(8)));
    ssize_t n;
    int r = MNL_CB_OK;

    h->nlmsg_seq = ++seq;
    if (mnl_socket_sendto(nl, h, h->nlmsg_len) < 0)
        return -errno;
    while (r > MNL_CB_STOP) {
        n = mnl_socket_recvfrom(nl, buf, sizeof(buf));
        if (n < 0)
            return -errno;
        r = mnl_cb_run(buf, (size_t)n, seq, mnl_socket_get_portid(nl), fn, arg);
    }
    return r < 0 ? -errno : 0;
}

static int dump(struct mnl_socket *nl, uint16_t type, size_t body, mnl_cb_t fn, struct reader *rd)
{
    char buf[128] __attribute__((aligned(8)));
    struct nlmsghdr *h = mnl_nlmsg_put_header(buf);

    h->nlmsg_type = type;
    h->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
    mnl_nlmsg_put_extra_header(h, body); /* zeroed: all families */
    return network_request(nl, h, fn, rd);
}

int network_read(struct mnl_socket *nl, struct net_config *c, struct error *e)
{
    struct reader rd = {.c = c};
    int r;

    if ((r = dump(nl, RTM_GETLINK, sizeof(struct ifinfomsg), on_link, &rd)) < 0)
        return error_set(e, -r, "reading interfaces");
    if (c->nr_ifs == 0)
        return 0;
    if ((r = dump(nl, RTM_GETADDR, sizeof(struct ifaddrmsg), on_addr, &rd)) < 0)
        return error_set(e, -r, "reading addresses");
    if ((r = dump(nl, RTM_GETROUTE, sizeof(struct rtmsg), on_route, &rd)) < 0)
        return error_set(e, -r, "reading routes");
    if ((r = dump(nl, RTM_GETNEIGH, sizeof(struct ndmsg), on_neigh, &rd)) < 0)
        return error_set(e, -r, "reading neighbours");
    return rd.full ? error_set(e, 0, "the namespace has too many %s", rd.full) : 0;
}

static int remove_addr(struct mnl_socket *nl, const struct net_config_addr *a)
{
    bool v4 = IN6_IS_ADDR_V4MAPPED(&a->addr);
    char buf[256] __attribute__((aligned(8)));
    struct nlmsghdr *h = mnl_nlmsg_put_header(buf);
    struct ifaddrmsg *msg;

    h->nlmsg_type = RTM_DELADDR;
    h->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
    msg = mnl_nlmsg_put_extra_header(h, sizeof(*msg));
    msg->ifa_family = v4 ? AF_INET : AF_INET6;
    msg->ifa_prefixlen = a->plen;
    msg->ifa_index = (uint32_t)a->ifindex;
    mnl_attr_put(h, IFA_LOCAL, v4 ? 4 : 16, v4 ? &a->addr.s6_addr[12] : a->addr.s6_addr);
    mnl_attr_put(h, IFA_ADDRESS, v4 ? 4 : 16, v4 ? &a->peer.s6_addr[12] : a->peer.s6_addr);
    return network_request(nl, h, NULL, NULL);
}

int network_strip(struct mnl_socket *nl, const struct net_config *c, struct error *e)
{
    for (uint32_t i = 0; i < c->nr_addrs; i++) {
        int r = remove_addr(nl, &c->addrs[i]);

        /* A secondary address goes with its primary one. */
        if (r < 0 && r != -EADDRNOTAVAIL)
            return error_set(e, -r, "removing an address of interface %d", c->addrs[i].ifindex);
    }
    return 0;
}
