/* The way of a packet: device, next hop, source address, MTU. */
#include "netstack/fib.h"

#include <errno.h>

int route_addr_type(struct netstack *s, const struct in6_addr *a, struct nic *nic)
{
    struct route_key k = {.dst = *a};
    struct route *r;

    if (addr_is_limited_broadcast(a))
        return RTN_BROADCAST;
    if (addr_is_v4(a) && (addr_v4(a) & htonl(0xff000000)) == 0)
        return addr_is_any(a) ? RTN_BROADCAST : RTN_UNICAST;
    if (addr_is_multicast(a))
        return RTN_MULTICAST;
    r = fib_lookup(s, RT_TABLE_LOCAL, &k);
    /* A link-local address is ours only on its own link. */
    if (r && nic && addr_is_linklocal(a) && r->nic != nic)
        return nic_addr_find(nic, a) ? RTN_LOCAL : RTN_UNICAST;
    return r ? r->type : RTN_UNICAST;
}

static void set_mtu(struct netstack *s, const struct route_key *k, const struct route *r,
                    struct route_result *out) NETSTACK_LOCKED
{
    uint32_t mtu = addr_is_v4(&k->dst) ? out->nic->mtu : out->nic->conf.mtu6, learnt;

    if (out->nic->mtu < mtu)
        mtu = out->nic->mtu;
    if (r && r->mtu && r->mtu < mtu)
        mtu = r->mtu;
    if (out->type == RTN_UNICAST) {
        learnt = route_pmtu(s, &k->dst);
        if (learnt && learnt < mtu) {
            mtu = learnt;
            out->mtu_locked = true;
        }
    }
    out->mtu = mtu > 65535 ? (addr_is_v4(&k->dst) ? 65535 : mtu) : mtu;
    out->advmss = r ? r->advmss : 0;
    out->hoplimit = r ? r->hoplimit : 0;
}

/* Without a route, but with a device named, the destination is taken to be on that link (as Linux does). */
static int on_link(struct netstack *s, const struct route_key *k, struct route_result *out) NETSTACK_LOCKED
{
    struct nic *nic = nic_by_index(s, k->oif);

    if (!nic)
        return -ENODEV;
    if (!(nic->flags & IFF_UP))
        return -ENETUNREACH;
    if (!addr_is_v4(&k->dst) && !addr_is_multicast(&k->dst) && !addr_is_linklocal(&k->dst))
        return -ENETUNREACH;
    out->nic = nic;
    out->nexthop = k->dst;
    out->scope = RT_SCOPE_LINK;
    out->type = addr_is_multicast(&k->dst) ? RTN_MULTICAST : addr_is_limited_broadcast(&k->dst) ? RTN_BROADCAST : RTN_UNICAST;
    if (addr_is_any(&k->src)) {
        if (!nic_source(nic, &k->dst, addr_is_v4(&k->dst) ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE, &out->src))
            out->src = addr_any(addr_family(&k->dst));
    }
    set_mtu(s, k, NULL, out);
    return 0;
}

int route_lookup(struct netstack *s, const struct route_key *key, struct route_result *out)
{
    struct route_key k = *key;
    bool v4 = addr_is_v4(&k.dst), src_given = !addr_is_any(&k.src);
    struct route *r = NULL;
    int err;

    memset(out, 0, sizeof(*out));
    out->gen = s->route_gen;
    out->src = k.src;
    if (addr_is_any(&k.dst)) /* "this host" */
        k.dst = v4 ? addr_from_v4(htonl(INADDR_LOOPBACK)) : in6addr_loopback;
    if (src_given && v4 && !k.src_any_ok && route_addr_type(s, &k.src, NULL) != RTN_LOCAL)
        return -EINVAL;
    if (v4 && src_given && !k.oif && (addr_is_multicast(&k.dst) || addr_is_limited_broadcast(&k.dst))) {
        /* A source that is ours says which link is meant. */
        struct nic_addr *a = netstack_addr_find(s, &k.src, NULL, false);
        if (a) {
            k.oif = a->nic->index;
            return on_link(s, &k, out);
        }
    }
    if (k.oif && (addr_is_limited_broadcast(&k.dst) || (v4 && addr_is_multicast(&k.dst))))
        return on_link(s, &k, out);
    err = rules_lookup(s, &k, &r);
    if (err)
        return err == -ENETUNREACH && k.oif ? on_link(s, &k, out) : err;
    out->type = r->type;
    out->table = r->table;
    out->scope = r->scope;
    out->flags = r->flags;
    if (addr_is_multicast(&k.dst))
        out->type = RTN_MULTICAST;
    else if (addr_is_limited_broadcast(&k.dst))
        out->type = RTN_BROADCAST;
    if (out->type == RTN_LOCAL) {
        out->local_nic = r->nic;
        out->nic = s->lo;
        out->nexthop = k.dst;
        if (!src_given)
            out->src = v4 && !addr_is_any(&r->prefsrc) ? r->prefsrc : k.dst;
        set_mtu(s, &k, r, out);
        return s->lo && (s->lo->flags & IFF_UP) ? 0 : -ENETUNREACH;
    }
    out->nic = r->nic;
    out->gatewayed = !addr_is_any(&r->gateway);
    out->nexthop = out->gatewayed ? r->gateway : k.dst;
    if (!src_given) {
        if (!addr_is_any(&r->prefsrc))
            out->src = r->prefsrc;
        else if (!nic_source(r->nic, v4 ? &out->nexthop : &k.dst, v4 ? r->scope : RT_SCOPE_UNIVERSE, &out->src)) {
            if (!v4 && !addr_is_multicast(&k.dst))
                return -EADDRNOTAVAIL;
            out->src = addr_any(v4 ? AF_INET : AF_INET6);
        }
    }
    set_mtu(s, &k, r, out);
    return 0;
}
