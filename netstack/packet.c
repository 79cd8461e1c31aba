#include "netstack/packet.h"

#include "netstack/mcast.h"
#include "netstack/nic_internal.h"

#include <errno.h>
#include <netinet/if_ether.h>
#include <stdlib.h>
#include <sys/epoll.h>

#define MEMBERSHIPS_MAX 64
#define FANOUT_MAX      256

struct membership {
    struct list_head node;
    struct packet_mreq mr;
    unsigned int count;
};

void packet_ep_init(struct packet_ep *pe, struct netstack *s, const struct packet_cb *cb, void *owner, bool cooked,
                    be16 protocol)
{
    memset(pe, 0, sizeof(*pe));
    pe->stack = s;
    pe->cb = cb;
    pe->owner = owner;
    pe->cooked = cooked;
    pe->protocol = protocol;
    pe->rcvbuf = 212992;
    pkt_queue_init(&pe->rq);
    list_init(&pe->memberships);
    list_add_tail(&pe->node, &s->packet_eps);
}

static void apply(struct packet_ep *pe, const struct packet_mreq *mr, bool add) NETSTACK_LOCKED
{
    struct nic *nic = nic_by_index(pe->stack, mr->mr_ifindex);

    if (!nic)
        return;
    if (mr->mr_type == PACKET_MR_PROMISC)
        nic_set_promisc(nic, add);
    else if (mr->mr_type == PACKET_MR_ALLMULTI)
        nic->flags = add ? nic->flags | IFF_ALLMULTI : nic->flags & ~IFF_ALLMULTI;
}

static void leave_fanout(struct packet_ep *pe) NETSTACK_LOCKED
{
    struct packet_fanout *f = pe->fanout;
    struct packet_ep **at;

    if (!f)
        return;
    for (at = &f->first; *at != pe; at = &(*at)->fanout_next)
        ;
    *at = pe->fanout_next;
    pe->fanout = NULL;
    if (--f->n == 0) {
        list_del_init(&f->node);
        free(f);
    }
}

static struct packet_fanout *find_fanout(struct netstack *s, uint16_t id) NETSTACK_LOCKED
{
    struct packet_fanout *f;

    list_for_each_entry(f, &s->packet_fanouts, node) {
        if (f->id == id)
            return f;
    }
    return NULL;
}

int packet_join_fanout(struct packet_ep *pe, uint16_t id, uint8_t type, uint8_t flags)
{
    struct packet_fanout *f = find_fanout(pe->stack, id);
    struct packet_ep **at;

    if (pe->fanout)
        return -EALREADY;
    if (!pe->protocol)
        return -EINVAL;
    if (f && (f->type != type || f->flags != flags || f->first->protocol != pe->protocol || f->first->ifindex != pe->ifindex ||
              f->first->cooked != pe->cooked))
        return -EINVAL;
    if (f && f->n >= FANOUT_MAX)
        return -ENOSPC;
    if (!f) {
        f = calloc(1, sizeof(*f));
        if (!f)
            return -ENOMEM;
        *f = (struct packet_fanout){.id = id, .type = type, .flags = flags};
        list_add_tail(&f->node, &pe->stack->packet_fanouts);
    }
    for (at = &f->first; *at; at = &(*at)->fanout_next)
        ;
    *at = pe;
    pe->fanout_next = NULL;
    pe->fanout = f;
    f->n++;
    return 0;
}

/* All packets of a flow, both ways, have the same: addresses and ports as they lie behind the link header. */
static uint32_t flow_hash(struct pkt *p)
{
    uint8_t h[NIC_HDR_LEN + 60];
    uint32_t n = p->len < sizeof(h) ? p->len : sizeof(h), sum = 0, l4;
    bool v4, v6;

    pkt_copy_out(p, 0, h, n);
    v4 = p->protocol == htons(ETH_P_IP) && n >= NIC_HDR_LEN + 20;
    v6 = p->protocol == htons(ETH_P_IPV6) && n >= NIC_HDR_LEN + 40;
    if (!v4 && !v6)
        return 0;
    /* Sums do not depend on the direction. */
    for (uint32_t at = NIC_HDR_LEN + (v4 ? 12 : 8), end = NIC_HDR_LEN + (v4 ? 20 : 40); at < end; at += 2)
        sum += (uint32_t)(h[at] << 8 | h[at + 1]);
    l4 = NIC_HDR_LEN + (v4 ? (h[NIC_HDR_LEN] & 0xfu) * 4 : 40);
    if (l4 + 4 <= n)
        sum += (uint32_t)(h[l4] << 8 | h[l4 + 1]) + (uint32_t)(h[l4 + 2] << 8 | h[l4 + 3]);
    sum *= 0x9e3779b1;
    return sum ^ sum >> 15;
}

static struct packet_ep *choose(struct packet_fanout *f, struct pkt *p) NETSTACK_LOCKED
{
    struct packet_ep *pe = f->first;
    uint32_t k = 0;

    switch (f->type) {
    case PACKET_FANOUT_HASH:
        k = flow_hash(p) % f->n;
        break;
    case PACKET_FANOUT_LB:
        k = f->turn++ % f->n;
        break;
    case PACKET_FANOUT_RND:
        k = netstack_random32(pe->stack) % f->n;
        break;
    default: /* one CPU, one queue; and the first of those that have room */
        break;
    }
    while (k--)
        pe = pe->fanout_next;
    return pe;
}

void packet_ep_fini(struct packet_ep *pe)
{
    struct membership *m, *tmp;

    list_for_each_entry_safe(m, tmp, &pe->memberships, node) {
        apply(pe, &m->mr, false);
        list_del_init(&m->node);
        free(m);
    }
    leave_fanout(pe);
    list_del_init(&pe->node);
    pkt_queue_purge(&pe->rq);
}

int packet_membership(struct packet_ep *pe, bool add, const struct packet_mreq *mr)
{
    struct membership *m;
    int n = 0;

    if (mr->mr_type > PACKET_MR_UNICAST || mr->mr_alen > sizeof(mr->mr_address))
        return -EINVAL;
    list_for_each_entry(m, &pe->memberships, node) {
        n++;
        if (m->mr.mr_ifindex != mr->mr_ifindex || m->mr.mr_type != mr->mr_type || m->mr.mr_alen != mr->mr_alen ||
            memcmp(m->mr.mr_address, mr->mr_address, mr->mr_alen))
            continue;
        if (add) {
            m->count++;
        } else if (--m->count == 0) {
            apply(pe, mr, false);
            list_del_init(&m->node);
            free(m);
        }
        return 0;
    }
    if (!add)
        return -EADDRNOTAVAIL;
    if (!nic_by_index(pe->stack, mr->mr_ifindex))
        return -ENODEV;
    m = n < MEMBERSHIPS_MAX ? malloc(sizeof(*m)) : NULL;
    if (!m)
        return -ENOBUFS;
    m->mr = *mr;
    m->count = 1;
    list_add_tail(&m->node, &pe->memberships);
    apply(pe, mr, true);
    return 0;
}

int packet_bind(struct packet_ep *pe, int ifindex, be16 protocol)
{
    struct nic *nic = ifindex ? nic_by_index(pe->stack, ifindex) : NULL;

    if (ifindex && !nic)
        return -ENODEV;
    if (pe->fanout)
        return -EINVAL;
    pe->ifindex = ifindex;
    if (protocol)
        pe->protocol = protocol;
    if (nic && !(nic->flags & IFF_UP))
        pe->cb->error(pe, ENETDOWN);
    return 0;
}

int packet_send(struct packet_ep *pe, int ifindex, be16 protocol, const uint8_t *mac, struct pkt *p)
{
    struct nic *nic = nic_by_index(pe->stack, ifindex ? ifindex : pe->ifindex);
    int r = -ENXIO;

    if (!nic)
        goto fail;
    r = -ENETDOWN;
    if (!(nic->flags & IFF_UP))
        goto fail;
    r = -EMSGSIZE;
    if (p->gso == PKT_GSO_NONE && p->len > nic->mtu + (pe->cooked ? 0 : sizeof(struct eth_hdr)))
        goto fail;
    p->iif = 0;
    p->type = PACKET_OUTGOING;
    if (pe->cooked) {
        pkt_set_l3(p);
        nic_xmit_to(nic, p, mac, protocol ? protocol : pe->protocol);
        return 0;
    }
    r = -EINVAL;
    if (!pkt_need(p, sizeof(struct eth_hdr)))
        goto fail;
    p->protocol = ((struct eth_hdr *)p->data)->type;
    p->l3 = pkt_offset(p) + sizeof(struct eth_hdr);
    nic_xmit(nic, p);
    return 0;
fail:
    pkt_free(p);
    return r;
}

struct pkt *packet_recv(struct packet_ep *pe, bool peek)
{
    return peek ? pkt_queue_head(&pe->rq) : pkt_queue_take(&pe->rq);
}

static void give(struct packet_ep *pe, struct nic *nic, struct pkt *p, bool outgoing)
{
    struct pkt *c = pkt_clone(p);
    uint32_t keep;
    int taken;

    if (!c)
        goto drop;
    c->type = outgoing ? PACKET_OUTGOING : p->type;
    c->iif = nic->index;
    if (!c->tstamp)
        c->tstamp = netstack_realtime(pe->stack);
    if (pe->cooked)
        pkt_pull(c, sizeof(struct eth_hdr));
    keep = pe->cb->filter ? pe->cb->filter(pe, c) : UINT32_MAX;
    if (!keep) {
        pkt_free(c);
        return;
    }
    taken = pe->cb->take ? pe->cb->take(pe, c, keep) : -1;
    if (taken >= 0) {
        pkt_free(c);
        if (taken)
            pe->packets++;
        else
            pe->drops++;
        return;
    }
    if (pe->rq.memory >= pe->rcvbuf)
        goto drop;
    if (keep < c->len)
        pkt_trim(c, keep);
    pe->packets++;
    pkt_queue_add(&pe->rq, c);
    pe->cb->ready(pe, EPOLLIN);
    return;
drop:
    pe->drops++;
    pkt_free(c);
}

void packet_deliver(struct nic *nic, struct pkt *p, bool outgoing)
{
    struct nic_tap *tap, *tmp;
    struct packet_ep *pe;

    list_for_each_entry_safe(tap, tmp, &nic->taps, node)
        tap->fn(tap, nic, p, outgoing);
    list_for_each_entry(pe, &nic->stack->packet_eps, node) {
        if (!pe->protocol || (pe->ifindex && pe->ifindex != nic->index) || p->len < sizeof(struct eth_hdr))
            continue;
        /* What goes out is seen only by those who want everything, as in Linux. */
        if (outgoing ? pe->protocol != htons(ETH_P_ALL) || pe->ignore_outgoing
                     : pe->protocol != htons(ETH_P_ALL) && pe->protocol != p->protocol)
            continue;
        if (!pe->fanout)
            give(pe, nic, p, outgoing);
        else if (pe == pe->fanout->first)
            give(choose(pe->fanout, p), nic, p, outgoing);
    }
}

void packet_nic_gone(struct nic *nic)
{
    struct packet_ep *pe;

    list_for_each_entry(pe, &nic->stack->packet_eps, node)
        if (pe->ifindex == nic->index) {
            pe->ifindex = -1; /* bound to what is no more: hears nothing */
            pe->cb->error(pe, ENETDOWN);
        }
}
