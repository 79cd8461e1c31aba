/* Interfaces: their list, their states, and frames on their way out. nic_addr.c has their addresses, eth.c what comes in. */
#include "netstack/nic.h"

#include "netstack/icmp.h"
#include "netstack/ip_frag.h"
#include "netstack/mcast.h"
#include "netstack/neigh.h"
#include "netstack/nic_internal.h"
#include "netstack/packet.h"
#include "netstack/route.h"

#include <errno.h>
#include <net/if_arp.h>
#include <netinet/if_ether.h>
#include <stdio.h>
#include <stdlib.h>

void nic_sent_all(struct nic *nic)
{
    nic->sending = false;
}

static void forget_sender(struct nic *nic) NETSTACK_LOCKED
{
    for (struct nic **p = &nic->stack->senders; *p; p = &(*p)->next_sender) {
        if (*p == nic) {
            *p = nic->next_sender;
            return;
        }
    }
}

static bool valid_name(const char *name)
{
    size_t n = strnlen(name, IFNAMSIZ);

    if (n == 0 || n == IFNAMSIZ || !strcmp(name, ".") || !strcmp(name, ".."))
        return false;
    for (; *name; name++)
        if (*name == '/' || *name == ':' || (unsigned char)*name <= ' ')
            return false;
    return true;
}

/* Puts the first free number in the place of "%d". */
static int choose_name(struct netstack *s, struct nic *nic) NETSTACK_LOCKED
{
    char *percent = strchr(nic->name, '%'), name[IFNAMSIZ + 16];

    if (!valid_name(nic->name))
        return -EINVAL;
    if (!percent)
        return nic_by_name(s, nic->name) ? -EEXIST : 0;
    if (percent[1] != 'd' || strchr(percent + 1, '%'))
        return -EINVAL;
    for (int i = 0; i < NIC_MAX; i++) {
        snprintf(name, sizeof(name), "%.*s%d%s", (int)(percent - nic->name), nic->name, i, percent + 2);
        if (strlen(name) < IFNAMSIZ && !nic_by_name(s, name)) {
            memcpy(nic->name, name, strlen(name) + 1);
            return 0;
        }
    }
    return -ENOSPC;
}

static void default_conf(struct netstack *s, struct nic *nic)
{
    bool lo = nic->features & NIC_LOOPBACK;

    nic->conf = (struct nic_conf){
        .forwarding4 = s->sysctl.ip_forward,
        .forwarding6 = s->sysctl.ip6_forward,
        .rp_filter = s->sysctl.rp_filter,
        .disable_ipv6 = s->sysctl.disable_ipv6,
        .accept_ra = 1,
        .autoconf = 1,
        .dad_transmits = lo ? 0 : 1,
        .hop_limit = s->sysctl.ip6_hop_limit,
        .rtr_solicits = lo ? 0 : 3,
        .mtu6 = nic->mtu,
        .base_reachable = 30 * NET_SEC,
        .retrans = NET_SEC,
        .ucast_solicit = 3,
        .mcast_solicit = 3,
        .unres_qlen = 101,
    };
}

int nic_add(struct netstack *s, struct nic *nic, const struct nic_ops *ops)
{
    struct nic *other;
    int r, count = 0;

    list_for_each_entry(other, &s->nics, node)
        count++;
    if (count >= NIC_MAX)
        return -ENOSPC;
    if (nic->mtu < NIC_MTU_MIN || nic->mtu > NIC_MTU_MAX)
        return -EINVAL;
    r = choose_name(s, nic);
    if (r)
        return r;
    nic->stack = s;
    nic->ops = ops;
    nic->index = ++s->last_ifindex;
    nic->flags = nic->features & NIC_LOOPBACK ? IFF_LOOPBACK : IFF_BROADCAST | IFF_MULTICAST;
    nic->carrier = true;
    if (!nic->gso_max)
        nic->gso_max = 65536;
    if (!nic->tx_queue_len)
        nic->tx_queue_len = 1000;
    list_init(&nic->addrs);
    list_init(&nic->taps);
    list_init(&nic->groups);
    default_conf(s, nic);
    list_add_tail(&nic->node, &s->nics);
    netstack_notify(s, NETSTACK_LINK_NEW, nic);
    return 0;
}

void nic_destroy(struct nic *nic)
{
    struct netstack *s = nic->stack;

    (void)!nic_set_up(nic, false);
    nic_addrs_flush(nic, 0);
    neigh_flush_nic(nic, true);
    mcast_nic_flush(nic);
    route_flush_nic(nic, 0);
    list_del_init(&nic->node);
    forget_sender(nic);
    net_timer_cancel(s, &nic->rs_timer);
    net_timer_cancel(s, &nic->ra_timer);
    net_timer_cancel(s, &nic->mcast_timer);
    lo_forget(nic);
    packet_nic_gone(nic);
    while (!list_empty(&nic->taps))
        nic_tap_del(list_first_entry(&nic->taps, struct nic_tap, node));
    frag_flush_nic(nic);
    route_changed(s);
    netstack_notify(s, NETSTACK_LINK_DEL, nic);
    if (nic->ops->destroy)
        nic->ops->destroy(nic);
    else
        free(nic);
}

struct nic *nic_by_index(struct netstack *s, int index)
{
    struct nic *nic;

    list_for_each_entry(nic, &s->nics, node)
        if (nic->index == index)
            return nic;
    return NULL;
}

struct nic *nic_by_name(struct netstack *s, const char *name)
{
    struct nic *nic;

    list_for_each_entry(nic, &s->nics, node)
        if (!strcmp(nic->name, name))
            return nic;
    return NULL;
}

static void give_to_driver(struct nic *nic, struct pkt *p) NETSTACK_LOCKED
{
    if (p->csum == PKT_CSUM_PARTIAL && !(nic->features & NIC_CSUM) && !pkt_csum_complete(p)) {
        nic->stats.tx_dropped++;
        pkt_free(p);
        return;
    }
    nic->stats.tx_packets += p->gso_segs;
    nic->stats.tx_bytes += p->len;
    nic->ops->xmit(nic, p);
    if (nic->ops->send && !nic->sending) {
        nic->sending = true;
        nic->next_sender = nic->stack->senders;
        nic->stack->senders = nic;
    }
}

static bool takes_gso(const struct nic *nic, const struct pkt *p)
{
    static const unsigned int feature[] = {[PKT_GSO_TCPV4] = NIC_TSO4, [PKT_GSO_TCPV6] = NIC_TSO6, [PKT_GSO_UDP] = NIC_USO};

    return (nic->features & feature[p->gso]) && p->len <= nic->gso_max + NIC_HDR_LEN;
}

void nic_xmit(struct nic *nic, struct pkt *p)
{
    struct pkt_queue segments;

    if (!(nic->flags & IFF_UP) || !nic->carrier) {
        nic->stats.tx_dropped++;
        pkt_free(p);
        return;
    }
    p->nic = nic;
    pkt_set_l2(p);
    packet_deliver(nic, p, true);
    if (p->gso == PKT_GSO_NONE || takes_gso(nic, p)) {
        give_to_driver(nic, p);
        return;
    }
    pkt_queue_init(&segments);
    if (!gso_segment(p, nic->features & NIC_CSUM, &segments)) {
        nic->stats.tx_dropped++;
        return;
    }
    while ((p = pkt_queue_take(&segments)))
        give_to_driver(nic, p);
}

void nic_xmit_to(struct nic *nic, struct pkt *p, const uint8_t *dst, be16 protocol)
{
    struct eth_hdr *eth = pkt_push(p, sizeof(*eth));

    if (!eth) {
        nic->stats.tx_dropped++;
        pkt_free(p);
        return;
    }
    memcpy(eth->dst, dst, MAC_LEN);
    memcpy(eth->src, nic->mac, MAC_LEN);
    eth->type = p->protocol = protocol;
    nic_xmit(nic, p);
}

int nic_set_up(struct nic *nic, bool up)
{
    if (up == !!(nic->flags & IFF_UP))
        return 0;
    if (up) {
        nic->flags |= IFF_UP;
        mcast_nic_up(nic, true);
        ndp_nic_up(nic, true); /* before the addresses, which may ask for routers at once */
        nic_addrs_up(nic, true);
    } else {
        ndp_nic_up(nic, false);
        nic_addrs_up(nic, false);
        mcast_nic_up(nic, false);
        neigh_flush_nic(nic, false);
        route_flush_nic(nic, 0);
        nic->flags &= ~IFF_UP;
    }
    route_changed(nic->stack);
    netstack_notify(nic->stack, NETSTACK_LINK_NEW, nic);
    return 0;
}

void nic_set_carrier(struct nic *nic, bool on)
{
    if (nic->carrier == on)
        return;
    nic->carrier = on;
    netstack_notify(nic->stack, NETSTACK_LINK_NEW, nic);
}

int nic_set_mtu(struct nic *nic, uint32_t mtu)
{
    int r;

    if (mtu < NIC_MTU_MIN || mtu > NIC_MTU_MAX)
        return -EINVAL;
    r = nic->ops->set_mtu ? nic->ops->set_mtu(nic, mtu) : 0;
    if (r)
        return r;
    nic->mtu = nic->conf.mtu6 = mtu;
    if (mtu < 1280)
        nic_addrs_flush(nic, AF_INET6); /* Linux: no IPv6 on such a link */
    route_changed(nic->stack);
    netstack_notify(nic->stack, NETSTACK_LINK_NEW, nic);
    return 0;
}

int nic_set_mac(struct nic *nic, const uint8_t *mac)
{
    static const uint8_t zero[MAC_LEN];

    if ((mac[0] & 1) || !memcmp(mac, zero, MAC_LEN))
        return -EADDRNOTAVAIL;
    memcpy(nic->mac, mac, MAC_LEN);
    neigh_flush_nic(nic, false);
    netstack_notify(nic->stack, NETSTACK_LINK_NEW, nic);
    return 0;
}

int nic_set_name(struct nic *nic, const char *name)
{
    struct nic probe = {0};
    int r;

    if (strlen(name) >= IFNAMSIZ)
        return -EINVAL;
    if (!strcmp(name, nic->name))
        return 0;
    memcpy(probe.name, name, strlen(name) + 1);
    r = choose_name(nic->stack, &probe);
    if (r)
        return r;
    memcpy(nic->name, probe.name, IFNAMSIZ);
    netstack_notify(nic->stack, NETSTACK_LINK_NEW, nic);
    return 0;
}

void nic_set_promisc(struct nic *nic, bool on)
{
    bool before = nic->promisc > 0;

    nic->promisc += on ? 1 : -1;
    if (before == (nic->promisc > 0))
        return;
    nic->flags ^= IFF_PROMISC;
    if (nic->ops->set_promisc)
        nic->ops->set_promisc(nic, on);
    netstack_notify(nic->stack, NETSTACK_LINK_NEW, nic);
}

unsigned int nic_flags(const struct nic *nic)
{
    unsigned int flags = nic->flags;

    if ((flags & IFF_UP) && nic->carrier)
        flags |= IFF_RUNNING | 0x10000; /* IFF_LOWER_UP, which <net/if.h> lacks */
    return flags;
}

void nic_tap_add(struct nic *nic, struct nic_tap *tap)
{
    list_add_tail(&tap->node, &nic->taps);
}

void nic_tap_del(struct nic_tap *tap)
{
    list_del_init(&tap->node);
}
