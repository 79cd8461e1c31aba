/* Addresses of interfaces: adding and taking away, with the routes that belong to them, and the choice of source addresses. */
#include "netstack/icmp.h"
#include "netstack/mcast.h"
#include "netstack/nic_internal.h"
#include "netstack/route.h"

#include <errno.h>
#include <linux/if_addr.h>
#include <netinet/if_ether.h>
#include <stdlib.h>

struct in6_addr nic_eui64(const struct nic *nic, const struct in6_addr *prefix)
{
    struct in6_addr a = *prefix;

    if (!addr_is_any(&nic->token)) {
        memcpy(&a.s6_addr[8], &nic->token.s6_addr[8], 8);
        return a;
    }
    memcpy(&a.s6_addr[8], nic->mac, 3);
    a.s6_addr[11] = 0xff;
    a.s6_addr[12] = 0xfe;
    memcpy(&a.s6_addr[13], nic->mac + 3, 3);
    a.s6_addr[8] ^= 2;
    return a;
}

struct in6_addr addr_solicited_node(const struct in6_addr *a)
{
    struct in6_addr m = {.s6_addr = {0xff, 2, [11] = 1, [12] = 0xff}};

    memcpy(&m.s6_addr[13], &a->s6_addr[13], 3);
    return m;
}

static struct route addr_route(const struct nic_addr *a, const struct in6_addr *dst, uint8_t plen, uint8_t type)
{
    bool local = type == RTN_LOCAL;

    return (struct route){
        .dst = *dst,
        .plen = plen,
        .protocol = RTPROT_KERNEL,
        .scope = !addr_is_v4(dst) ? RT_SCOPE_UNIVERSE
                 : local          ? RT_SCOPE_HOST
                                  : RT_SCOPE_LINK,
        .type = type,
        .table = type == RTN_UNICAST ? RT_TABLE_MAIN : RT_TABLE_LOCAL,
        .nic = a->nic,
        .prefsrc = addr_is_v4(dst) ? a->addr : in6addr_any,
        .expires = INT64_MAX,
    };
}

static void put_route(struct nic *nic, const struct route *r, bool add) NETSTACK_LOCKED
{
    if (add)
        (void)!route_add(nic->stack, r, NLM_F_CREATE | NLM_F_APPEND);
    else
        (void)route_del(nic->stack, r);
}

/* Has another address of the NIC the same prefix? Then the prefix route stays. */
static bool prefix_shared(const struct nic_addr *a)
{
    struct nic_addr *b;

    list_for_each_entry(b, &a->nic->addrs, node)
        if (b != a && b->plen == a->plen && !(b->flags & IFA_F_NOPREFIXROUTE) && addr_in_prefix(&b->addr, &a->addr, a->plen))
            return true;
    return false;
}

static void routes_v4(struct nic_addr *a, bool add) NETSTACK_LOCKED
{
    struct nic *nic = a->nic;
    bool up = nic->flags & IFF_UP, lo = nic->features & NIC_LOOPBACK;
    struct in6_addr prefix = a->peer;
    struct route r = addr_route(a, &a->addr, 32, RTN_LOCAL);

    put_route(nic, &r, add);
    if (add && !up)
        return;
    addr_mask(&prefix, a->plen);
    if (!addr_is_any(&a->broadcast) && a->plen < 31) {
        r = addr_route(a, &a->broadcast, 32, RTN_BROADCAST);
        put_route(nic, &r, add);
    }
    if (a->plen == 32 && addr_equal(&a->addr, &a->peer))
        return;
    r = addr_route(a, &prefix, a->plen, lo ? RTN_LOCAL : RTN_UNICAST);
    r.metric = a->metric;
    if (!(a->flags & IFA_F_NOPREFIXROUTE) || lo)
        if (add || !prefix_shared(a))
            put_route(nic, &r, add);
    if (lo && a->plen < 31) { /* Linux shows the last address of 127/8 as a broadcast */
        struct in6_addr last = prefix;
        last.s6_addr32[3] |= htonl(0xffffffffu >> a->plen);
        r = addr_route(a, &last, 32, RTN_BROADCAST);
        put_route(nic, &r, add);
    }
}

static void routes_v6(struct nic_addr *a, bool add) NETSTACK_LOCKED
{
    struct nic *nic = a->nic;
    struct in6_addr prefix = a->addr;
    struct route r = addr_route(a, &a->addr, 128, RTN_LOCAL);

    if (add && !(nic->flags & IFF_UP))
        return;
    put_route(nic, &r, add);
    addr_mask(&prefix, a->plen);
    if (a->plen == 128 || (a->flags & IFA_F_NOPREFIXROUTE))
        return;
    r = addr_route(a, &prefix, a->plen, RTN_UNICAST);
    r.metric = a->metric ? a->metric : 256;
    if (add || !prefix_shared(a))
        put_route(nic, &r, add);
}

void nic_addr_routes(struct nic_addr *a, bool add)
{
    if (addr_is_v4(&a->addr))
        routes_v4(a, add);
    else
        routes_v6(a, add);
}

int nic_addr_add(struct nic *nic, const struct nic_addr *tmpl)
{
    struct netstack *s = nic->stack;
    bool v4 = addr_is_v4(&tmpl->addr), lo = nic->features & NIC_LOOPBACK;
    struct nic_addr *a, *b;

    if (tmpl->plen > (v4 ? 32 : 128) || addr_is_multicast(&tmpl->addr) || (addr_is_any(&tmpl->addr) && !v4) ||
        addr_is_limited_broadcast(&tmpl->addr))
        return -EINVAL;
    if (!v4 && (nic->conf.disable_ipv6 || nic->mtu < 1280))
        return nic->conf.disable_ipv6 ? -EACCES : -EINVAL;
    if (nic->nr_addrs >= NIC_ADDR_MAX)
        return -ENOSPC;
    list_for_each_entry(b, &nic->addrs, node)
        if (addr_equal(&b->addr, &tmpl->addr) && (!v4 || b->plen == tmpl->plen))
            return -EEXIST;
    a = malloc(sizeof(*a));
    if (!a)
        return -ENOMEM;
    *a = *tmpl;
    list_init(&a->node);
    memset(&a->timer, 0, sizeof(a->timer));
    a->nic = nic;
    if (!memcmp(&a->peer, &in6addr_any, 16))
        a->peer = a->addr;
    if (!memcmp(&a->broadcast, &in6addr_any, 16))
        a->broadcast = addr_from_v4(0);
    if (!a->valid_until)
        a->valid_until = INT64_MAX;
    if (!a->preferred_until)
        a->preferred_until = a->valid_until;
    if (a->valid_until == INT64_MAX)
        a->flags |= IFA_F_PERMANENT;
    if (v4 && !a->label[0])
        memcpy(a->label, nic->name, IFNAMSIZ);
    if (!v4 || (!a->scope && lo))
        a->scope = addr_scope(&a->addr);
    a->created = a->updated = netstack_now(s);
    if (v4) {
        /* Later addresses of a prefix are its secondaries; IPv4 ones come before IPv6 ones. */
        struct list_head *at = &nic->addrs;
        list_for_each_entry(b, &nic->addrs, node) {
            if (!addr_is_v4(&b->addr)) {
                at = &b->node;
                break;
            }
            if (b->plen == a->plen && addr_in_prefix(&b->addr, &a->addr, a->plen))
                a->flags |= IFA_F_SECONDARY;
        }
        list_add_tail(&a->node, at);
        nic->nr_addrs++;
        nic_addr_routes(a, true);
    } else {
        struct in6_addr group = addr_solicited_node(&a->addr);
        list_add_tail(&a->node, &nic->addrs);
        nic->nr_addrs++;
        mcast_nic_join(nic, &group);
        nic_addr_routes(a, true);
        ndp_start_dad(a);
    }
    route_changed(s);
    netstack_notify(s, NETSTACK_ADDR_NEW, a);
    return 0;
}

int nic_addr_add_plain(struct nic *nic, const struct in6_addr *addr, unsigned int plen)
{
    struct nic_addr a = {.addr = *addr, .plen = plen};

    if (addr_is_v4(addr) && plen < 31 && !(nic->features & NIC_LOOPBACK))
        a.broadcast = addr_from_v4(addr_v4(addr) | htonl(0xffffffffu >> plen));
    return nic_addr_add(nic, &a);
}

void nic_addr_remove(struct nic_addr *a)
{
    struct nic *nic = a->nic;
    struct netstack *s = nic->stack;
    struct in6_addr group = addr_solicited_node(&a->addr);

    list_del_init(&a->node);
    nic->nr_addrs--;
    net_timer_cancel(s, &a->timer);
    nic_addr_routes(a, false);
    route_flush_src(nic, &a->addr);
    if (!addr_is_v4(&a->addr))
        mcast_nic_leave(nic, &group);
    route_changed(s);
    netstack_notify(s, NETSTACK_ADDR_DEL, a);
    free(a);
}

int nic_addr_del(struct nic *nic, const struct in6_addr *addr, int plen)
{
    struct nic_addr *a, *b, *heir = NULL;

    list_for_each_entry(a, &nic->addrs, node) {
        if (!addr_equal(&a->addr, addr) || (plen >= 0 && a->plen != plen))
            continue;
        /* Linux deletes the secondaries with their primary, or promotes one; promoting loses no address that was not named. */
        if (addr_is_v4(addr) && !(a->flags & IFA_F_SECONDARY))
            list_for_each_entry(b, &nic->addrs, node)
                if (b != a && !heir && addr_is_v4(&b->addr) && b->plen == a->plen && (b->flags & IFA_F_SECONDARY) &&
                    addr_in_prefix(&b->addr, &a->addr, a->plen))
                    heir = b;
        nic_addr_remove(a);
        if (heir) {
            heir->flags &= ~IFA_F_SECONDARY;
            nic_addr_routes(heir, false);
            nic_addr_routes(heir, true);
        }
        return 0;
    }
    return -EADDRNOTAVAIL;
}

struct nic_addr *nic_addr_find(struct nic *nic, const struct in6_addr *addr)
{
    struct nic_addr *a;

    list_for_each_entry(a, &nic->addrs, node)
        if (addr_equal(&a->addr, addr))
            return a;
    return NULL;
}

struct nic_addr *netstack_addr_find(struct netstack *s, const struct in6_addr *addr, struct nic *only, bool tentative)
{
    struct nic *nic;
    struct nic_addr *a;

    list_for_each_entry(nic, &s->nics, node) {
        if (only && nic != only)
            continue;
        a = nic_addr_find(nic, addr);
        if (a && (tentative || !(a->flags & IFA_F_TENTATIVE) || (a->flags & IFA_F_OPTIMISTIC)))
            return a;
    }
    return NULL;
}

bool netstack_addr_is_local(struct netstack *s, const struct in6_addr *addr)
{
    return route_addr_type(s, addr, NULL) == RTN_LOCAL && (addr_is_v4(addr) || netstack_addr_find(s, addr, NULL, false));
}

void nic_addrs_flush(struct nic *nic, int family)
{
    struct nic_addr *a, *tmp;

    list_for_each_entry_safe(a, tmp, &nic->addrs, node)
        if (!family || addr_family(&a->addr) == family)
            nic_addr_remove(a);
}

void nic_addr_make_linklocal(struct nic *nic)
{
    struct in6_addr prefix = {.s6_addr = {0xfe, 0x80}};
    struct nic_addr a = {.plen = 64}, *b;

    list_for_each_entry(b, &nic->addrs, node)
        if (addr_is_linklocal(&b->addr))
            return;
    a.addr = nic_eui64(nic, &prefix);
    (void)!nic_addr_add(nic, &a);
}

static void loopback_addrs(struct nic *nic) NETSTACK_LOCKED
{
    struct in6_addr v4 = addr_from_v4(htonl(INADDR_LOOPBACK));

    if (!nic_addr_find(nic, &v4))
        (void)!nic_addr_add_plain(nic, &v4, 8);
    if (!nic->conf.disable_ipv6 && !nic_addr_find(nic, &in6addr_loopback))
        (void)!nic_addr_add_plain(nic, &in6addr_loopback, 128);
}

void nic_addrs_up(struct nic *nic, bool up)
{
    struct nic_addr *a, *tmp;
    struct route mcast = {.dst = {.s6_addr = {0xff}},
                          .plen = 8,
                          .protocol = RTPROT_KERNEL,
                          .type = RTN_MULTICAST,
                          .table = RT_TABLE_LOCAL,
                          .metric = 256,
                          .nic = nic,
                          .prefsrc = in6addr_any,
                          .expires = INT64_MAX};
    bool lo = nic->features & NIC_LOOPBACK;

    if (!up) {
        nic_addrs_flush(nic, AF_INET6);
        return;
    }
    list_for_each_entry(a, &nic->addrs, node)
        nic_addr_routes(a, true);
    if (lo) {
        loopback_addrs(nic);
    } else if (!nic->conf.disable_ipv6 && nic->mtu >= 1280) {
        (void)!route_add(nic->stack, &mcast, NLM_F_CREATE | NLM_F_APPEND);
        list_for_each_entry_safe(a, tmp, &nic->addrs, node)
            if (!addr_is_v4(&a->addr))
                ndp_start_dad(a);
        nic_addr_make_linklocal(nic);
    }
}

void nic_switch_ipv6(struct nic *nic)
{
    if (nic->conf.disable_ipv6)
        nic_addrs_flush(nic, AF_INET6);
    else if (nic->flags & IFF_UP)
        nic_addrs_up(nic, true);
}

static bool source_v4(struct nic *nic, const struct in6_addr *dst, int scope, struct in6_addr *out)
{
    struct nic_addr *a, *best = NULL;

    list_for_each_entry(a, &nic->addrs, node) {
        if (!addr_is_v4(&a->addr) || (a->flags & IFA_F_SECONDARY) || a->scope > scope)
            continue;
        if (addr_in_prefix(dst, &a->peer, a->plen)) {
            best = a;
            break;
        }
        if (!best)
            best = a;
    }
    if (best)
        *out = best->addr;
    return best;
}

/* RFC 6724, section 5: is `a` a better source than `b`? */
static bool better_v6(const struct nic *nic, const struct in6_addr *dst, const struct nic_addr *a, const struct nic_addr *b)
{
    /* RT_SCOPE_* falls as the reach grows. */
    int sa = addr_scope(&a->addr), sb = addr_scope(&b->addr), sd = addr_scope(dst);
    bool ea = addr_equal(&a->addr, dst), eb = addr_equal(&b->addr, dst);

    if (ea != eb)
        return ea;
    if (sa != sb)
        return sa > sb ? sa <= sd : sb > sd;
    if ((a->flags ^ b->flags) & IFA_F_DEPRECATED)
        return b->flags & IFA_F_DEPRECATED;
    if ((a->nic == nic) != (b->nic == nic))
        return a->nic == nic;
    if ((a->flags ^ b->flags) & IFA_F_TEMPORARY)
        return a->flags & IFA_F_TEMPORARY;
    return addr_common_bits(&a->addr, dst) > addr_common_bits(&b->addr, dst);
}

static bool source_v6(struct nic *nic, const struct in6_addr *dst, struct in6_addr *out)
{
    bool only_here = addr_scope(dst) == RT_SCOPE_LINK || addr_is_multicast(dst);
    struct nic_addr *a, *best = NULL;
    struct nic *n;

    list_for_each_entry(n, &nic->stack->nics, node) {
        if (only_here && n != nic)
            continue;
        list_for_each_entry(a, &n->addrs, node) {
            if (addr_is_v4(&a->addr) || ((a->flags & IFA_F_TENTATIVE) && !(a->flags & IFA_F_OPTIMISTIC)))
                continue;
            if (n != nic && (n->features & NIC_LOOPBACK) && addr_is_loopback(&a->addr))
                continue;
            if (!best || better_v6(nic, dst, a, best))
                best = a;
        }
    }
    if (best)
        *out = best->addr;
    return best;
}

bool nic_source(struct nic *nic, const struct in6_addr *dst, int scope, struct in6_addr *out)
{
    struct nic *other;

    if (!addr_is_v4(dst))
        return source_v6(nic, dst, out);
    if (source_v4(nic, dst, scope, out))
        return true;
    /* Linux: any other interface's address will do, unless it is only good on its own link. */
    list_for_each_entry(other, &nic->stack->nics, node)
        if (other != nic && source_v4(other, dst, RT_SCOPE_UNIVERSE, out))
            return true;
    return false;
}
