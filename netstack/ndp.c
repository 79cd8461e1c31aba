/*
 * IPv6 neighbour discovery (RFC 4861) and address autoconfiguration (RFC 4862): solicitations and advertisements of neighbours
 * and routers, duplicate address detection. Redirects are not believed.
 */
#include "netstack/icmp.h"
#include "netstack/mcast.h"
#include "netstack/neigh.h"
#include "netstack/nic_internal.h"
#include "netstack/route.h"

#include <errno.h>
#include <linux/if_addr.h>
#include <linux/if_packet.h>

enum { ND_ROUTER_SOLICIT = 133, ND_ROUTER_ADVERT, ND_NEIGHBOR_SOLICIT, ND_NEIGHBOR_ADVERT, ND_REDIRECT };
enum { ND_OPT_SOURCE_LINKADDR = 1, ND_OPT_TARGET_LINKADDR, ND_OPT_PREFIX, ND_OPT_REDIRECTED, ND_OPT_MTU };

/* Neighbour solicitation and advertisement. */
struct nd_msg {
    struct icmp6hdr h;
    struct in6_addr target;
};

struct nd_ra {
    struct icmp6hdr h;
    be32 reachable, retrans;
};

struct nd_prefix {
    uint8_t type, len, plen, flags;
    be32 valid, preferred, reserved;
    struct in6_addr prefix;
};
enum { ND_PREFIX_ONLINK = 0x80, ND_PREFIX_AUTO = 0x40 };

/* Addresses and default routers that advertisements may give a NIC. */
#define AUTOCONF_MAX 16
#define ROUTERS_MAX  8

static const struct in6_addr all_nodes = {.s6_addr = {0xff, 2, [15] = 1}};
static const struct in6_addr all_routers = {.s6_addr = {0xff, 2, [15] = 2}};

static void put_lladdr(struct pkt *p, uint8_t type, const uint8_t *mac)
{
    uint8_t *o = pkt_put(p, 8);

    o[0] = type;
    o[1] = 1;
    memcpy(o + 2, mac, MAC_LEN);
}

static void send_ns(struct nic *nic, const struct in6_addr *target, const struct in6_addr *src,
                    const struct in6_addr *dst) NETSTACK_LOCKED
{
    struct pkt *p = pkt_alloc(PKT_HEADROOM, sizeof(struct nd_msg) + 8);
    struct nd_msg *ns;

    if (!p)
        return;
    ns = pkt_put(p, sizeof(*ns));
    *ns = (struct nd_msg){.h.icmp6_type = ND_NEIGHBOR_SOLICIT, .target = *target};
    if (!addr_is_any(src))
        put_lladdr(p, ND_OPT_SOURCE_LINKADDR, nic->mac);
    icmp6_send(nic, src, dst, 255, p);
}

void ndp_solicit(struct nic *nic, const struct in6_addr *addr, const uint8_t *mac)
{
    struct in6_addr src = in6addr_any, group = addr_solicited_node(addr);

    if (nic_source(nic, addr, RT_SCOPE_LINK, &src))
        send_ns(nic, addr, &src, mac ? addr : &group);
}

static void send_na(struct nic *nic, const struct in6_addr *target, const struct in6_addr *dst, bool solicited) NETSTACK_LOCKED
{
    struct pkt *p = pkt_alloc(PKT_HEADROOM, sizeof(struct nd_msg) + 8);
    struct nd_msg *na;

    if (!p)
        return;
    na = pkt_put(p, sizeof(*na));
    *na = (struct nd_msg){.h.icmp6_type = ND_NEIGHBOR_ADVERT, .target = *target};
    na->h.icmp6_override = 1;
    na->h.icmp6_solicited = solicited;
    na->h.icmp6_router = nic->conf.forwarding6 || nic->stack->sysctl.ip6_forward;
    put_lladdr(p, ND_OPT_TARGET_LINKADDR, nic->mac);
    icmp6_send(nic, target, dst, 255, p);
}

static void send_rs(struct nic *nic) NETSTACK_LOCKED
{
    struct pkt *p = pkt_alloc(PKT_HEADROOM, sizeof(struct icmp6hdr) + 8);
    struct in6_addr src = in6addr_any;
    struct icmp6hdr *rs;

    if (!p)
        return;
    rs = pkt_put(p, sizeof(*rs));
    *rs = (struct icmp6hdr){.icmp6_type = ND_ROUTER_SOLICIT};
    if (nic_source(nic, &all_routers, RT_SCOPE_LINK, &src))
        put_lladdr(p, ND_OPT_SOURCE_LINKADDR, nic->mac);
    icmp6_send(nic, &src, &all_routers, 255, p);
}

static bool is_host(const struct nic *nic)
{
    return nic->conf.accept_ra == 2 || (nic->conf.accept_ra == 1 && !nic->conf.forwarding6 && !nic->stack->sysctl.ip6_forward);
}

static void rs_timer(struct net_timer *t) NETSTACK_LOCKED
{
    struct nic *nic = container_of(t, struct nic, rs_timer);

    if (nic->rs_left-- <= 0)
        return;
    send_rs(nic);
    net_timer_arm(nic->stack, t, netstack_now(nic->stack) + 4 * NET_SEC);
}

static void dad_done(struct nic_addr *a) NETSTACK_LOCKED
{
    struct nic *nic = a->nic;

    a->flags &= ~(IFA_F_TENTATIVE | IFA_F_OPTIMISTIC);
    route_changed(nic->stack);
    netstack_notify(nic->stack, NETSTACK_ADDR_NEW, a);
    if (addr_is_linklocal(&a->addr) && is_host(nic) && nic->conf.rtr_solicits && !net_timer_armed(&nic->rs_timer)) {
        nic->rs_left = nic->conf.rtr_solicits;
        net_timer_arm(nic->stack, &nic->rs_timer, netstack_now(nic->stack));
    }
}

static void dad_timer(struct net_timer *t) NETSTACK_LOCKED
{
    struct nic_addr *a = container_of(t, struct nic_addr, timer);
    struct in6_addr group = addr_solicited_node(&a->addr);

    if (a->dad_left <= 0) {
        dad_done(a);
        return;
    }
    a->dad_left--;
    send_ns(a->nic, &a->addr, &in6addr_any, &group);
    net_timer_arm(a->nic->stack, t, netstack_now(a->nic->stack) + a->nic->conf.retrans);
}

void ndp_start_dad(struct nic_addr *a)
{
    struct nic *nic = a->nic;

    if (!(nic->flags & IFF_UP)) {
        a->flags |= IFA_F_TENTATIVE;
        return;
    }
    if ((a->flags & IFA_F_NODAD) || nic->conf.dad_transmits <= 0 || (nic->features & NIC_NO_ARP)) {
        dad_done(a);
        return;
    }
    a->flags = (a->flags | IFA_F_TENTATIVE) & ~IFA_F_DADFAILED;
    a->dad_left = nic->conf.dad_transmits;
    net_timer_init(&a->timer, dad_timer);
    /* Not all at once when a whole network comes up. */
    net_timer_arm(nic->stack, &a->timer, netstack_now(nic->stack) + netstack_random32(nic->stack) % NET_SEC);
}

static void dad_failed(struct nic_addr *a) NETSTACK_LOCKED
{
    net_timer_cancel(a->nic->stack, &a->timer);
    a->flags |= IFA_F_DADFAILED;
    netstack_notify(a->nic->stack, NETSTACK_ADDR_NEW, a);
}

/* The value of the first option of a type: 8*length bytes from its type on. `len` bytes of options at `o`. NULL: none; *bad: an
 * option of length 0 or beyond the end, which makes the whole message void. */
static const uint8_t *find_option(const uint8_t *o, size_t len, uint8_t type, size_t min, bool *bad)
{
    const uint8_t *found = NULL;

    while (len > 0) {
        size_t n = len >= 2 ? o[1] * 8u : 0;

        if (n == 0 || n > len) {
            *bad = true;
            return NULL;
        }
        if (o[0] == type && n >= min && !found)
            found = o;
        o += n;
        len -= n;
    }
    return found;
}

static void ns_input(struct nic *nic, struct pkt *p) NETSTACK_LOCKED
{
    const struct nd_msg *ns = (const void *)p->data;
    const struct in6_addr *src = &p->ip.src;
    struct in6_addr target = ns->target;
    const uint8_t *lladdr;
    struct nic_addr *a;
    bool bad = false, probe = addr_is_any(src);

    if (addr_is_multicast(&target))
        return;
    lladdr = find_option(p->data + sizeof(*ns), p->len - sizeof(*ns), ND_OPT_SOURCE_LINKADDR, 8, &bad);
    if (bad || (probe && (lladdr || !addr_is_multicast(&p->ip.dst))))
        return;
    a = nic_addr_find(nic, &target);
    if (!a)
        return;
    if (a->flags & IFA_F_TENTATIVE) {
        if (probe && p->type != PACKET_LOOPBACK) /* somebody else wants it too */
            dad_failed(a);
        return;
    }
    if (probe) {
        send_na(nic, &target, &all_nodes, false);
        return;
    }
    if (lladdr)
        neigh_heard(nic, src, lladdr + 2, NEIGH_CREATE | NEIGH_OVERRIDE);
    send_na(nic, &target, src, true);
}

static void na_input(struct nic *nic, struct pkt *p) NETSTACK_LOCKED
{
    const struct nd_msg *na = (const void *)p->data;
    struct in6_addr target = na->target;
    struct icmp6hdr h = na->h;
    const uint8_t *lladdr;
    struct nic_addr *a;
    bool bad = false;

    if (addr_is_multicast(&target) || (addr_is_multicast(&p->ip.dst) && h.icmp6_solicited))
        return;
    lladdr = find_option(p->data + sizeof(*na), p->len - sizeof(*na), ND_OPT_TARGET_LINKADDR, 8, &bad);
    if (bad)
        return;
    a = nic_addr_find(nic, &target);
    if (a) {
        if ((a->flags & IFA_F_TENTATIVE) && p->type != PACKET_LOOPBACK)
            dad_failed(a);
        return;
    }
    neigh_heard(nic, &target, lladdr ? lladdr + 2 : NULL,
                (h.icmp6_solicited ? NEIGH_SOLICITED : 0) | (h.icmp6_override ? NEIGH_OVERRIDE : 0) |
                    (h.icmp6_router ? NEIGH_ROUTER : 0) | NEIGH_HAS_ROUTER);
}

static int64_t lifetime(struct netstack *s, uint32_t seconds)
{
    return seconds == 0xffffffff ? INT64_MAX : netstack_now(s) + seconds * NET_SEC;
}

struct expiry {
    struct nic *nic;
    int64_t now, next;
    struct route dead; /* one that is over; .nic NULL: none */
    int routers;
};

static int note_route(const struct route *r, void *arg)
{
    struct expiry *e = arg;

    if (r->nic != e->nic || r->protocol != RTPROT_RA)
        return 0;
    if (r->plen == 0)
        e->routers++;
    if (r->expires <= e->now) {
        e->dead = *r;
        return 1;
    }
    if (r->expires < e->next)
        e->next = r->expires;
    return 0;
}

/* Ends what routers gave for a time that is over, and comes back when the next thing ends. */
static void ra_expire(struct nic *nic) NETSTACK_LOCKED
{
    struct netstack *s = nic->stack;
    struct nic_addr *a, *tmp;
    struct expiry e = {.nic = nic, .now = netstack_now(s), .next = INT64_MAX};

    while (route_for_each(s, AF_INET6, note_route, &e))
        (void)route_del(s, &e.dead);
    list_for_each_entry_safe(a, tmp, &nic->addrs, node) {
        if (a->valid_until <= e.now) {
            nic_addr_remove(a);
            continue;
        }
        if (a->preferred_until <= e.now && !(a->flags & IFA_F_DEPRECATED)) {
            a->flags |= IFA_F_DEPRECATED;
            route_changed(s);
            netstack_notify(s, NETSTACK_ADDR_NEW, a);
        }
        if (a->preferred_until > e.now && a->preferred_until < e.next)
            e.next = a->preferred_until;
        if (a->valid_until < e.next)
            e.next = a->valid_until;
    }
    if (e.next != INT64_MAX)
        net_timer_arm(s, &nic->ra_timer, e.next);
}

static void ra_timer(struct net_timer *t) NETSTACK_LOCKED
{
    ra_expire(container_of(t, struct nic, ra_timer));
}

static void set_ra_route(struct nic *nic, const struct in6_addr *dst, uint8_t plen, const struct in6_addr *gateway,
                         uint32_t seconds, uint32_t metric) NETSTACK_LOCKED
{
    struct netstack *s = nic->stack;
    struct expiry e = {.nic = nic, .now = netstack_now(s), .next = INT64_MAX};
    struct route r = {.dst = *dst,
                      .plen = plen,
                      .nic = nic,
                      .gateway = gateway ? *gateway : in6addr_any,
                      .protocol = RTPROT_RA,
                      .table = RT_TABLE_MAIN,
                      .type = RTN_UNICAST,
                      .metric = metric};

    (void)route_del(s, &r);
    if (!seconds)
        return;
    (void)route_for_each(s, AF_INET6, note_route, &e);
    if (plen == 0 && e.routers >= ROUTERS_MAX)
        return;
    r.expires = lifetime(s, seconds);
    (void)!route_add(s, &r, NLM_F_CREATE | NLM_F_APPEND);
}

static void prefix_option(struct nic *nic, const uint8_t *o) NETSTACK_LOCKED
{
    struct netstack *s = nic->stack;
    const struct nd_prefix *pi = (const void *)o;
    uint32_t valid = ntohl(pi->valid), preferred = ntohl(pi->preferred);
    struct in6_addr prefix = pi->prefix;
    uint8_t plen = pi->plen;
    int count = 0;
    struct nic_addr *a;

    if (plen > 128 || preferred > valid || addr_is_linklocal(&prefix) || addr_is_multicast(&prefix) || addr_is_v4(&prefix))
        return;
    addr_mask(&prefix, plen);
    if (pi->flags & ND_PREFIX_ONLINK)
        set_ra_route(nic, &prefix, plen, NULL, valid, 256);
    if (!(pi->flags & ND_PREFIX_AUTO) || !nic->conf.autoconf || plen != 64)
        return;
    list_for_each_entry(a, &nic->addrs, node) {
        if (addr_is_v4(&a->addr) || !(a->flags & IFA_F_MANAGETEMPADDR))
            continue;
        count++;
        if (!addr_in_prefix(&a->addr, &prefix, plen))
            continue;
        /* Nobody may end an address at once by a forged advertisement (RFC 4862, 5.5.3e). */
        int64_t left = a->valid_until == INT64_MAX ? INT64_MAX : a->valid_until - netstack_now(s);
        if (valid > 7200 || lifetime(s, valid) > a->valid_until)
            a->valid_until = lifetime(s, valid);
        else if (left > 7200 * NET_SEC)
            a->valid_until = netstack_now(s) + 7200 * NET_SEC;
        a->preferred_until = lifetime(s, preferred);
        a->updated = netstack_now(s);
        if (preferred)
            a->flags &= ~IFA_F_DEPRECATED;
        netstack_notify(s, NETSTACK_ADDR_NEW, a);
        return;
    }
    if (!valid || count >= AUTOCONF_MAX)
        return;
    /* MANAGETEMPADDR marks ours from advertisements, as in Linux's own list of them. */
    struct nic_addr fresh = {.addr = nic_eui64(nic, &prefix),
                             .plen = 64,
                             .flags = IFA_F_MANAGETEMPADDR | IFA_F_NOPREFIXROUTE,
                             .valid_until = lifetime(s, valid),
                             .preferred_until = lifetime(s, preferred)};
    (void)!nic_addr_add(nic, &fresh);
}

static void ra_input(struct nic *nic, struct pkt *p) NETSTACK_LOCKED
{
    const struct nd_ra *ra = (const void *)p->data;
    struct in6_addr router = p->ip.src;
    const uint8_t *o = p->data + sizeof(*ra), *lladdr;
    size_t len = p->len - sizeof(*ra);
    bool bad = false;

    if (!addr_is_linklocal(&router) || !is_host(nic) || nic_addr_find(nic, &router))
        return;
    lladdr = find_option(o, len, ND_OPT_SOURCE_LINKADDR, 8, &bad);
    if (bad)
        return;
    nic->rs_left = 0; /* somebody has answered */
    net_timer_cancel(nic->stack, &nic->rs_timer);
    if (lladdr)
        neigh_heard(nic, &router, lladdr + 2, NEIGH_CREATE | NEIGH_OVERRIDE | NEIGH_ROUTER | NEIGH_HAS_ROUTER);
    if (ra->h.icmp6_hop_limit)
        nic->conf.hop_limit = ra->h.icmp6_hop_limit;
    uint32_t reachable = ntohl(ra->reachable), retrans = ntohl(ra->retrans);
    if (reachable && reachable <= 3600000)
        nic->conf.base_reachable = reachable * NET_MSEC;
    if (retrans >= 100 && retrans <= 60000)
        nic->conf.retrans = retrans * NET_MSEC;
    set_ra_route(nic, &in6addr_any, 0, &router, ntohs(ra->h.icmp6_rt_lifetime), 1024);
    for (; len >= 8; len -= o[1] * 8, o += o[1] * 8) {
        if (o[0] == ND_OPT_MTU && o[1] == 1) {
            uint32_t mtu;
            memcpy(&mtu, o + 4, 4);
            mtu = ntohl(mtu);
            if (mtu >= 1280 && mtu <= nic->mtu) {
                nic->conf.mtu6 = mtu;
                route_changed(nic->stack);
            }
        } else if (o[0] == ND_OPT_PREFIX && o[1] == 4) {
            prefix_option(nic, o);
        }
    }
    ra_expire(nic);
}

void ndp_input(struct netstack *s, struct pkt *p)
{
    struct nic *nic = p->nic;
    const struct icmp6hdr *h = (const void *)p->data;

    /* A hop limit of 255 proves that no router passed it on; and all of it must be linear. */
    if (p->ip.ttl != 255 || h->icmp6_code != 0 || (nic->features & NIC_LOOPBACK) || !pkt_need(p, p->len))
        return;
    h = (const void *)p->data;
    switch (h->icmp6_type) {
    case ND_NEIGHBOR_SOLICIT:
        MIB_INC(s, Icmp6InNeighborSolicits);
        if (p->len >= sizeof(struct nd_msg))
            ns_input(nic, p);
        break;
    case ND_NEIGHBOR_ADVERT:
        MIB_INC(s, Icmp6InNeighborAdvertisements);
        if (p->len >= sizeof(struct nd_msg))
            na_input(nic, p);
        break;
    case ND_ROUTER_ADVERT:
        MIB_INC(s, Icmp6InRouterAdvertisements);
        if (p->len >= sizeof(struct nd_ra))
            ra_input(nic, p);
        break;
    case ND_ROUTER_SOLICIT:
        MIB_INC(s, Icmp6InRouterSolicits);
        break;
    default:
        MIB_INC(s, Icmp6InRedirects);
    }
}

void ndp_nic_up(struct nic *nic, bool up)
{
    if (up) {
        net_timer_init(&nic->rs_timer, rs_timer);
        net_timer_init(&nic->ra_timer, ra_timer);
    } else {
        net_timer_cancel(nic->stack, &nic->rs_timer);
        net_timer_cancel(nic->stack, &nic->ra_timer);
        nic->conf.mtu6 = nic->mtu;
    }
}
