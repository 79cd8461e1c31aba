/* Links: `ip link`. Interfaces come from the launcher; inside they can be looked at, set up and down, renamed and resized. */
#include "sentry/socket/inet_net/inet_net.h"
#include "sentry/socket/netlink/rtnl.h"

#include <errno.h>
#include <linux/if_link.h>
#include <net/if_arp.h>
#include <string.h>

#define K_IFF_LOWER_UP 0x10000

static void put_stats(struct nl_reply *r, const struct nic *nic) NETSTACK_LOCKED
{
    struct rtnl_link_stats64 s64 = net_link_stats(nic->stack->ctx, nic); /* the stack's context is the namespace */
    struct rtnl_link_stats s = {
        .rx_packets = (uint32_t)s64.rx_packets,
        .tx_packets = (uint32_t)s64.tx_packets,
        .rx_bytes = (uint32_t)s64.rx_bytes,
        .tx_bytes = (uint32_t)s64.tx_bytes,
        .rx_errors = (uint32_t)s64.rx_errors,
        .tx_errors = (uint32_t)s64.tx_errors,
        .rx_dropped = (uint32_t)s64.rx_dropped,
        .tx_dropped = (uint32_t)s64.tx_dropped,
        .multicast = (uint32_t)s64.multicast,
    };

    nl_attr(r, IFLA_STATS64, &s64, sizeof(s64));
    nl_attr(r, IFLA_STATS, &s, sizeof(s));
}

void rtnl_put_link(struct nl_reply *r, uint16_t type, uint16_t flags, const struct nic *nic)
{
    bool lo = nic->arp_type == ARPHRD_LOOPBACK;
    struct ifinfomsg info = {
        .ifi_family = AF_UNSPEC, .ifi_type = nic->arp_type, .ifi_index = nic->index, .ifi_flags = nic_flags(nic)};
    uint8_t bcast[6], zero = 0, one = 1;
    uint8_t operstate = lo ? 0 : nic->flags & IFF_UP && nic->carrier ? 6 : 2;

    memset(bcast, lo ? 0 : 0xff, sizeof(bcast));
    nl_begin(r, type, flags, &info, sizeof(info));
    nl_attr_str(r, IFLA_IFNAME, nic->name);
    nl_attr_u32(r, IFLA_TXQLEN, lo ? 1000 : nic->tx_queue_len);
    nl_attr(r, IFLA_OPERSTATE, &operstate, 1);
    nl_attr(r, IFLA_LINKMODE, &zero, 1);
    nl_attr_u32(r, IFLA_MTU, nic->mtu);
    nl_attr_u32(r, IFLA_MIN_MTU, lo ? 0 : NIC_MTU_MIN);
    nl_attr_u32(r, IFLA_MAX_MTU, lo ? 0 : NIC_MTU_MAX);
    nl_attr_u32(r, IFLA_GROUP, 0);
    nl_attr_u32(r, IFLA_PROMISCUITY, (uint32_t)nic->promisc);
    nl_attr_u32(r, IFLA_NUM_TX_QUEUES, 1);
    nl_attr_u32(r, IFLA_NUM_RX_QUEUES, 1);
    nl_attr(r, IFLA_CARRIER, nic->carrier || lo ? &one : &zero, 1);
    nl_attr_str(r, IFLA_QDISC, "noqueue");
    nl_attr(r, IFLA_ADDRESS, nic->mac, sizeof(nic->mac));
    nl_attr(r, IFLA_BROADCAST, bcast, sizeof(bcast));
    put_stats(r, nic);
    nl_end(r);
}

static struct nic *find_link(const struct rtnl_request *q, const struct ifinfomsg *info) NETSTACK_LOCKED
{
    char name[IFNAMSIZ] = "";

    if (info->ifi_index > 0)
        return nic_by_index(q->s, info->ifi_index);
    if (!q->attr[IFLA_IFNAME])
        return NULL;
    memcpy(name, q->attr[IFLA_IFNAME], q->attr_len[IFLA_IFNAME] < IFNAMSIZ ? q->attr_len[IFLA_IFNAME] : IFNAMSIZ - 1);
    return nic_by_name(q->s, name);
}

int rtnl_get_link(struct rtnl_request *q, struct nl_reply *r)
{
    struct ifinfomsg info = {0};
    struct nic *nic;
    int err;

    if (q->flags & NLM_F_DUMP) {
        list_for_each_entry(nic, &q->s->nics, node)
            rtnl_put_link(r, RTM_NEWLINK, NLM_F_MULTI, nic);
        return 1;
    }
    err = rtnl_parse(q, sizeof(info));
    if (err < 0)
        return err;
    memcpy(&info, q->body, sizeof(info));
    if (info.ifi_index <= 0 && !q->attr[IFLA_IFNAME])
        return -EINVAL;
    nic = find_link(q, &info);
    if (!nic)
        return -ENODEV;
    rtnl_put_link(r, RTM_NEWLINK, 0, nic);
    return 0;
}

int rtnl_change_link(struct rtnl_request *q)
{
    struct ifinfomsg info;
    struct nic *nic;
    char name[IFNAMSIZ] = "";
    unsigned int change;
    int r = rtnl_parse(q, sizeof(info));

    if (r < 0)
        return r;
    memcpy(&info, q->body, sizeof(info));
    nic = find_link(q, &info);
    if (!nic)
        return q->type == RTM_NEWLINK && q->flags & NLM_F_CREATE ? -EOPNOTSUPP : -ENODEV;
    if (q->type == RTM_DELLINK)
        return -EOPNOTSUPP;
    if (q->flags & NLM_F_EXCL)
        return -EEXIST;
    change = info.ifi_change ? info.ifi_change : info.ifi_flags ? ~0U : 0;
    if (q->attr[IFLA_MTU] && (r = nic_set_mtu(nic, rtnl_u32(q, IFLA_MTU, 0))) < 0)
        return r;
    if (q->attr[IFLA_ADDRESS]) {
        if (q->attr_len[IFLA_ADDRESS] != sizeof(nic->mac))
            return -EINVAL;
        if ((r = nic_set_mac(nic, (const uint8_t *)q->attr[IFLA_ADDRESS])) < 0)
            return r;
    }
    if (q->attr[IFLA_TXQLEN])
        nic->tx_queue_len = rtnl_u32(q, IFLA_TXQLEN, 0);
    if (q->attr[IFLA_IFNAME] && info.ifi_index > 0) {
        memcpy(name, q->attr[IFLA_IFNAME], q->attr_len[IFLA_IFNAME] < IFNAMSIZ ? q->attr_len[IFLA_IFNAME] : IFNAMSIZ - 1);
        if (strcmp(name, nic->name) != 0 && (r = nic_set_name(nic, name)) < 0)
            return r;
    }
    if (change & IFF_PROMISC && !(info.ifi_flags & IFF_PROMISC) != !(nic->flags & IFF_PROMISC))
        nic_set_promisc(nic, info.ifi_flags & IFF_PROMISC);
    if (change & IFF_UP && !(info.ifi_flags & IFF_UP) != !(nic->flags & IFF_UP))
        r = nic_set_up(nic, info.ifi_flags & IFF_UP);
    return r;
}
