#include "netstack/neigh.h"

#include "netstack/icmp.h"
#include "netstack/nic_internal.h"

#include <errno.h>
#include <netinet/if_ether.h>
#include <stdlib.h>

#define NEIGH_BUCKETS    256
#define DELAY_PROBE_TIME (5 * NET_SEC)
#define GC_STALE_TIME    (60 * NET_SEC)
/* ARP: answers that contradict one so fresh are ignored (Linux's locktime). Who announces himself is heard. */
#define LOCK_TIME NET_SEC
/* Packets that may wait for one address, whatever the setting says. */
#define QUEUE_MAX 128

#define NUD_CONNECTED_STATES (NUD_PERMANENT | NUD_NOARP | NUD_REACHABLE)
#define NUD_VALID_STATES     (NUD_CONNECTED_STATES | NUD_PROBE | NUD_STALE | NUD_DELAY)

struct neigh_table {
    struct list_head hash[NEIGH_BUCKETS], lru;
    unsigned int nr;
};

static void neigh_timer(struct net_timer *t);

int neigh_create_table(struct netstack *s)
{
    struct neigh_table *t = malloc(sizeof(*t));

    if (!t)
        return -ENOMEM;
    for (size_t i = 0; i < NEIGH_BUCKETS; i++)
        list_init(&t->hash[i]);
    list_init(&t->lru);
    t->nr = 0;
    s->neigh = t;
    return 0;
}

void neigh_destroy_table(struct netstack *s)
{
    free(s->neigh); /* empty: the NICs went before */
    s->neigh = NULL;
}

static struct list_head *bucket(struct nic *nic, const struct in6_addr *addr)
{
    struct {
        struct in6_addr addr;
        int index;
    } key = {*addr, nic->index};

    return &nic->stack->neigh->hash[netstack_hash(nic->stack, &key, 20) % NEIGH_BUCKETS];
}

struct neigh *neigh_find(struct nic *nic, const struct in6_addr *addr)
{
    struct neigh *n;

    list_for_each_entry(n, bucket(nic, addr), node)
        if (n->nic == nic && addr_equal(&n->addr, addr))
            return n;
    return NULL;
}

static void neigh_free(struct neigh *n) NETSTACK_LOCKED
{
    struct netstack *s = n->nic->stack;

    list_del_init(&n->node);
    list_del_init(&n->lru);
    s->neigh->nr--;
    net_timer_cancel(s, &n->timer);
    pkt_queue_purge(&n->queue);
    netstack_notify(s, NETSTACK_NEIGH_DEL, n);
    free(n);
}

/* Makes room when the table is full: the entry that was used longest ago and is not permanent goes. */
static bool make_room(struct neigh_table *t) NETSTACK_LOCKED
{
    struct neigh *n;

    if (t->nr < NEIGH_MAX)
        return true;
    list_for_each_entry(n, &t->lru, lru)
        if (!(n->state & (NUD_PERMANENT | NUD_NOARP))) {
            neigh_free(n);
            return true;
        }
    return false;
}

static struct neigh *neigh_new(struct nic *nic, const struct in6_addr *addr) NETSTACK_LOCKED
{
    struct neigh_table *t = nic->stack->neigh;
    struct neigh *n;

    if (!make_room(t))
        return NULL;
    n = calloc(1, sizeof(*n));
    if (!n)
        return NULL;
    n->nic = nic;
    n->addr = *addr;
    n->used = n->updated = netstack_now(nic->stack);
    pkt_queue_init(&n->queue);
    net_timer_init(&n->timer, neigh_timer);
    list_add(&n->node, bucket(nic, addr));
    list_add_tail(&n->lru, &t->lru);
    t->nr++;
    return n;
}

static void solicit(struct neigh *n, bool unicast) NETSTACK_LOCKED
{
    if (addr_is_v4(&n->addr))
        arp_solicit(n->nic, &n->addr, unicast ? n->mac : NULL);
    else
        ndp_solicit(n->nic, &n->addr, unicast ? n->mac : NULL);
}

static void set_state(struct neigh *n, uint16_t state, int64_t timeout) NETSTACK_LOCKED
{
    struct netstack *s = n->nic->stack;

    n->state = state;
    if (timeout)
        net_timer_arm(s, &n->timer, netstack_now(s) + timeout);
    else
        net_timer_cancel(s, &n->timer);
    netstack_notify(s, NETSTACK_NEIGH_NEW, n);
}

/* Between half and one and a half times the configured time, so that stacks do not probe in step (RFC 4861, 6.3.2). */
static int64_t reachable_time(struct nic *nic)
{
    int64_t base = nic->conf.base_reachable;

    return base / 2 + (int64_t)(netstack_random32(nic->stack) % 1024) * base / 1024;
}

static void start_resolving(struct neigh *n) NETSTACK_LOCKED
{
    n->probes = 1;
    set_state(n, NUD_INCOMPLETE, n->nic->conf.retrans);
    solicit(n, false);
}

static void fail(struct neigh *n) NETSTACK_LOCKED
{
    struct netstack *s = n->nic->stack;
    bool v4 = addr_is_v4(&n->addr);
    struct pkt_queue dead;
    struct pkt *p;

    pkt_queue_init(&dead);
    while ((p = pkt_queue_take(&n->queue)))
        pkt_queue_add(&dead, p);
    set_state(n, NUD_FAILED, GC_STALE_TIME);
    /* The errors may need neighbours themselves, for whom this entry may have to make room. */
    while ((p = pkt_queue_take(&dead))) {
        if (v4)
            icmp_send_error(s, p, ICMP_DEST_UNREACH, ICMP_HOST_UNREACH, 0);
        else
            icmp_send_error(s, p, ICMPV6_DEST_UNREACH, ICMPV6_ADDR_UNREACH, 0);
        pkt_free(p);
    }
}

static void neigh_timer(struct net_timer *t) NETSTACK_LOCKED
{
    struct neigh *n = container_of(t, struct neigh, timer);
    const struct nic_conf *conf = &n->nic->conf;
    int64_t now = netstack_now(n->nic->stack);

    switch (n->state) {
    case NUD_INCOMPLETE:
        if (n->probes >= conf->mcast_solicit) {
            fail(n);
            return;
        }
        n->probes++;
        net_timer_arm(n->nic->stack, t, now + conf->retrans);
        solicit(n, false);
        break;
    case NUD_REACHABLE:
        set_state(n, NUD_STALE, 0);
        break;
    case NUD_DELAY:
        if (n->confirmed > now - DELAY_PROBE_TIME) {
            set_state(n, NUD_REACHABLE, reachable_time(n->nic));
            break;
        }
        n->probes = 0;
        set_state(n, NUD_PROBE, conf->retrans);
        /* fallthrough */
    case NUD_PROBE:
        if (n->probes >= conf->ucast_solicit) {
            fail(n);
            return;
        }
        n->probes++;
        net_timer_arm(n->nic->stack, t, now + conf->retrans);
        solicit(n, true);
        break;
    case NUD_FAILED:
        neigh_free(n);
        break;
    default:
        break;
    }
}

static be16 ethertype(const struct in6_addr *addr)
{
    return htons(addr_is_v4(addr) ? ETHERTYPE_IP : ETHERTYPE_IPV6);
}

void neigh_output(struct nic *nic, const struct in6_addr *addr, struct pkt *p)
{
    static const uint8_t none[MAC_LEN];
    int64_t now;
    struct neigh *n;

    if (nic->features & NIC_NO_ARP) {
        nic_xmit_to(nic, p, none, ethertype(addr));
        return;
    }
    now = netstack_now(nic->stack);
    n = neigh_find(nic, addr);
    if (!n) {
        n = neigh_new(nic, addr);
        if (!n) {
            pkt_free(p);
            return;
        }
    }
    if (now - n->used > NET_SEC) {
        n->used = now;
        list_del_init(&n->lru);
        list_add_tail(&n->lru, &nic->stack->neigh->lru);
    }
    if (n->state & NUD_VALID_STATES) {
        if (n->state == NUD_STALE)
            set_state(n, NUD_DELAY, DELAY_PROBE_TIME);
        nic_xmit_to(nic, p, n->mac, ethertype(addr));
        return;
    }
    p->nic = nic;
    if (n->queue.n >= nic->conf.unres_qlen || n->queue.n >= QUEUE_MAX)
        pkt_free(pkt_queue_take(&n->queue));
    pkt_queue_add(&n->queue, p);
    if (n->state != NUD_INCOMPLETE)
        start_resolving(n);
}

void neigh_confirm(struct nic *nic, const struct in6_addr *addr)
{
    struct neigh *n;

    if (nic->features & NIC_NO_ARP)
        return;
    n = neigh_find(nic, addr);
    if (!n || !(n->state & NUD_VALID_STATES) || (n->state & (NUD_PERMANENT | NUD_NOARP)))
        return;
    n->confirmed = netstack_now(nic->stack);
    if (n->state != NUD_REACHABLE && n->state != NUD_DELAY)
        set_state(n, NUD_REACHABLE, reachable_time(nic));
}

static void send_queue(struct neigh *n) NETSTACK_LOCKED
{
    struct pkt *p;
    struct pkt_queue q;

    pkt_queue_init(&q);
    while ((p = pkt_queue_take(&n->queue)))
        pkt_queue_add(&q, p);
    while ((p = pkt_queue_take(&q)))
        nic_xmit_to(n->nic, p, n->mac, ethertype(&n->addr));
}

static void became(struct neigh *n, const uint8_t *mac, bool confirmed) NETSTACK_LOCKED
{
    int64_t now = netstack_now(n->nic->stack);

    memcpy(n->mac, mac, MAC_LEN);
    n->updated = now;
    if (confirmed) {
        n->confirmed = now;
        set_state(n, NUD_REACHABLE, reachable_time(n->nic));
    } else {
        set_state(n, NUD_STALE, 0);
    }
    send_queue(n);
}

void neigh_heard(struct nic *nic, const struct in6_addr *addr, const uint8_t *mac, unsigned int flags)
{
    struct neigh *n = neigh_find(nic, addr);
    bool differs;

    if (mac && (mac[0] & 1)) /* a group is nobody's address */
        return;
    if (!n) {
        if (!(flags & NEIGH_CREATE) || !mac)
            return;
        n = neigh_new(nic, addr);
        if (!n)
            return;
        if (flags & NEIGH_ROUTER)
            n->flags |= NTF_ROUTER;
        became(n, mac, flags & NEIGH_SOLICITED);
        return;
    }
    if (n->state & (NUD_PERMANENT | NUD_NOARP))
        return;
    if (flags & NEIGH_HAS_ROUTER)
        n->flags = flags & NEIGH_ROUTER ? n->flags | NTF_ROUTER : n->flags & ~NTF_ROUTER;
    if (!(n->state & NUD_VALID_STATES)) {
        if (mac)
            became(n, mac, flags & NEIGH_SOLICITED);
        return;
    }
    differs = mac && memcmp(mac, n->mac, MAC_LEN);
    if (differs && addr_is_v4(addr) && !(flags & NEIGH_GRATUITOUS) && netstack_now(nic->stack) - n->updated < LOCK_TIME)
        return;
    if (differs && !(flags & NEIGH_OVERRIDE)) {
        if (n->state == NUD_REACHABLE)
            set_state(n, NUD_STALE, 0);
        return;
    }
    if (differs || (flags & NEIGH_SOLICITED))
        became(n, mac ? mac : n->mac, flags & NEIGH_SOLICITED);
}

int neigh_set(struct nic *nic, const struct in6_addr *addr, const uint8_t *mac, uint16_t state, uint8_t flags)
{
    struct neigh *n = neigh_find(nic, addr);

    if (!mac && (state & NUD_VALID_STATES) && !(state & NUD_NOARP) && !(n && (n->state & NUD_VALID_STATES)))
        return -EINVAL;
    if (!n)
        n = neigh_new(nic, addr);
    if (!n)
        return -ENOSPC;
    n->flags = flags;
    if (mac)
        memcpy(n->mac, mac, MAC_LEN);
    n->updated = n->confirmed = netstack_now(nic->stack);
    if (state & (NUD_INCOMPLETE | NUD_PROBE) && !(n->state & NUD_VALID_STATES))
        start_resolving(n);
    else
        set_state(n, state, state == NUD_REACHABLE ? reachable_time(nic) : state == NUD_DELAY ? DELAY_PROBE_TIME : 0);
    if (n->state & NUD_VALID_STATES)
        send_queue(n);
    return 0;
}

int neigh_del(struct nic *nic, const struct in6_addr *addr)
{
    struct neigh *n = neigh_find(nic, addr);

    if (!n)
        return -ENOENT;
    neigh_free(n);
    return 0;
}

int neigh_for_each(struct netstack *s, int family, int (*fn)(const struct neigh *n, void *arg), void *arg)
{
    struct neigh *n;

    list_for_each_entry(n, &s->neigh->lru, lru) {
        int err = !family || addr_family(&n->addr) == family ? fn(n, arg) : 0;
        if (err)
            return err;
    }
    return 0;
}

void neigh_flush_nic(struct nic *nic, bool permanent)
{
    struct neigh *n, *tmp;

    list_for_each_entry_safe(n, tmp, &nic->stack->neigh->lru, lru)
        if (n->nic == nic && (permanent || !(n->state & NUD_PERMANENT)))
            neigh_free(n);
}
